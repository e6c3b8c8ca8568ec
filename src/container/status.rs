//! The status of a container, derived from the kernel each time.

use std::fmt;

use super::{Directory, State};
use crate::error::Result;
use crate::sys;

/// The statuses of runtime.md, and `paused` as runc has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Create is under way.
    Creating,
    /// The process waits for start.
    Created,
    /// The program runs.
    Running,
    /// The program is held by pause.
    Paused,
    /// The process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

impl Status {
    /// Whether the container's process lives.
    pub fn is_alive(self) -> bool {
        matches!(self, Status::Created | Status::Running | Status::Paused)
    }
}

/// Whether the process of the state is still that process: the stored pid
/// counts only with its start time and on the boot it was seen.
pub fn init_alive(state: &State) -> bool {
    let Some(init) = state.init else { return false };
    state.boot == sys::boot_id() && sys::process_start_time(init.pid) == Some(init.start_time)
}

/// Reads the state and asks the kernel, without the lock.
///
/// # Errors
/// The container does not exist, or its state file is truncated or foreign.
pub fn read(directory: &Directory) -> Result<(State, Status)> {
    let state = directory.load()?;
    let now = status(&state, directory);
    if state.init.is_some() || now != Status::Stopped {
        return Ok((state, now));
    }
    // Create may have published its process and let go of the lock between the
    // two looks; a state that is read after that has the process.
    let state = directory.load()?;
    let now = status(&state, directory);
    Ok((state, now))
}

/// Asks the kernel, for a state that was read.
pub fn status(state: &State, directory: &Directory) -> Status {
    if state.init.is_none() {
        // Create publishes the process last, and holds the lock until then.
        return if directory.is_locked() {
            Status::Creating
        } else {
            Status::Stopped
        };
    }
    if !init_alive(state) {
        return Status::Stopped;
    }
    if super::control::is_paused(state) {
        return Status::Paused;
    }
    // A start that was killed before it could write may have started the
    // program all the same; the socket that exec closes tells.
    if state.started || !crate::launch::handshake::is_waiting(directory) {
        Status::Running
    } else {
        Status::Created
    }
}
