//! Calls that both systems have.

pub mod descriptors;
pub mod process;
pub mod socket;
pub mod terminal;
