//! `brig start`: the waiting process runs its program.

use super::Session;
use crate::config::Config;
use crate::container::{Directory, State, Status, status};
use crate::error::{Error, Kind, Result};
use crate::launch::{handshake, hooks};

pub fn command(session: &Session, id: &str) -> Result<()> {
    let directory = Directory::of(&session.root, id)?;
    let _lock = directory.lock()?;
    let mut state = directory.load()?;
    let config = Config::parse_copy(&directory.config())?;
    start(&directory, &mut state, &config)
}

/// Starts a created container whose lock is held.
pub fn start(directory: &Directory, state: &mut State, config: &Config) -> Result<()> {
    match status::status(state, directory) {
        Status::Created => {}
        other => {
            let text = format!(
                "cannot start container {:?}: it is {other}, not created",
                state.id
            );
            return Err(Error::text(text).kind(Kind::NotRunning));
        }
    }
    if config.process().is_none() {
        return Err(Error::property(
            "process",
            "is missing, so there is no program to start",
        ));
    }
    handshake::start(directory).inspect_err(|_| await_end(state))?;
    state.started = true;
    directory.store(state)?;
    let Some(all) = config.spec.hooks() else {
        return Ok(());
    };
    let pid = state.init.map(|init| init.pid);
    let document = hooks::state(state, Status::Running, pid);
    hooks::run("poststart", all.poststart(), &document, Some(&state.bundle)).inspect_err(|_| {
        // runtime.md: the container is stopped and its life goes on at delete.
        if let Err(error) = super::delete::kill_and_wait(state) {
            crate::report::warning(&error.to_string());
        }
    })
}

/// A process whose exec failed is about to end: after start's error, state
/// says stopped.
fn await_end(state: &State) {
    if let Some(init) = state.init {
        let _ = crate::container::control::await_exit(init, std::time::Duration::from_secs(10));
    }
}
