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

use std::path::PathBuf;

pub use directory::Directory;
pub use state::State;
pub use status::Status;
pub use temporary::Temporary;

/// A container whose files in the state directory are gone and of which a jail
/// is left (FreeBSD 15).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "of FreeBSD alone")
)]
pub struct Orphan {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Where its files were.
    pub directory: PathBuf,
    /// The jail's full name.
    pub jail: String,
    /// The jail's id.
    pub jid: i32,
    /// The jail's root directory.
    pub rootfs: PathBuf,
}
