//! A container as brig keeps it: its id, directory, lock, state and status.

#[cfg(target_os = "freebsd")]
#[path = "control_freebsd.rs"]
pub mod control;
#[cfg(target_os = "linux")]
#[path = "control_linux.rs"]
pub mod control;
pub mod directory;
pub mod id;
pub mod signal;
pub mod state;
pub mod stats;
pub mod status;
pub mod temporary;
pub mod user;

pub use directory::Directory;
pub use state::State;
pub use status::Status;
pub use temporary::Temporary;
