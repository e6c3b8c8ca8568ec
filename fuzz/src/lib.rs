//! The parts of brig that read what others wrote, for the fuzz targets. brig is
//! a program, so its modules are taken by their paths.
#![allow(dead_code)]

#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/host.rs"]
pub mod host;
#[path = "../../src/image/mod.rs"]
pub mod image;
#[path = "../../src/sys/mod.rs"]
pub mod sys;

pub mod archive;
pub mod documents;
