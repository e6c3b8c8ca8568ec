//! `brig delete`: everything that create made is taken back from the journal;
//! config.json of the bundle is never asked again.

use std::time::Duration;

use super::Session;
use crate::apply::{self, journal::Journal};
use crate::config::Config;
use crate::container::directory::Lock;
use crate::container::{Directory, Orphan, State, Status, control, signal, status, temporary};
use crate::error::{Error, Kind, Result};
use crate::launch::hooks;
use crate::report;
use crate::sys;

/// How long SIGKILL may take before it is reported as a failure.
const KILL_LIMIT: Duration = Duration::from_secs(10);

pub fn command(session: &Session, id: &str, force: bool) -> Result<()> {
    let directory = Directory::of(&session.root, id)?;
    let lock = match directory.lock() {
        Ok(lock) => lock,
        Err(error) if error.kind == Kind::NoContainer => {
            // A run may have been killed while it made the bundle.
            let was_there = temporary::remove_left(&session.root, id)?;
            if !force {
                return if was_there { Ok(()) } else { Err(error) };
            }
            let all = control::orphans(&session.root)?;
            let own = all.into_iter().find(|orphan| orphan.id == id);
            return own.map_or(Ok(()), |own| orphan(session, &own));
        }
        Err(error) => return Err(error),
    };
    let state = match directory.load() {
        Ok(state) => Some(state),
        Err(error) if !force => return Err(error),
        Err(error) => {
            report::warning(&error.to_string());
            None
        }
    };
    if let Some(state) = &state
        && !force
    {
        let now = status::status(state, &directory);
        // runc deletes a created one as well; runtime.md, Delete forbids it.
        if now != Status::Stopped {
            let text = format!("cannot delete container {id:?}: it is {now}");
            return Err(Error::text(text).hint("stop it first, or use --force"));
        }
    }
    let config = Config::parse_copy(&directory.config()).ok();
    remove(&directory, state.as_ref(), config.as_ref(), lock)
}

/// Takes away a container of which a jail is left and no state.
///
/// # Errors
/// What could not be taken away.
pub fn orphan(session: &Session, own: &Orphan) -> Result<()> {
    let directory = Directory::of(&session.root, &own.id)?;
    // Nobody gets the id meanwhile.
    let lock = match directory.lock() {
        Err(error) if error.kind == Kind::NoContainer => directory.create()?,
        lock => lock?,
    };
    // The wait for the lock may have been for a delete of the same.
    if control::orphans(&session.root)?.contains(own) {
        let policy = session.policy().unwrap_or_default();
        control::reclaim(own, &policy)?;
    }
    directory.remove(lock)
}

/// Takes the container back, removes its directory, and runs its poststop
/// hooks, which is the end of its life (runtime.md, Lifecycle 12 and 13).
///
/// # Errors
/// What could not be taken back; the container then still exists.
pub fn remove(
    directory: &Directory,
    state: Option<&State>,
    config: Option<&Config>,
    lock: Lock,
) -> Result<()> {
    take_back(directory, state)?;
    if let Some(state) = state {
        // While the id is still taken: the next run of it makes its own.
        temporary::remove_with(directory, &state.bundle)?;
    }
    directory.remove(lock)?;
    if let (Some(state), Some(all)) = (state, config.and_then(|c| c.spec.hooks().as_ref())) {
        poststop(state, all);
    }
    Ok(())
}

/// Ends what still runs and reverts the journal; the directory stays.
///
/// # Errors
/// What could not be taken back; the journal still names it.
pub fn take_back(directory: &Directory, state: Option<&State>) -> Result<()> {
    match state.map_or(Ok(()), kill_and_wait) {
        // What forks faster than it is killed ends with the jail, which the
        // kernel lets nobody fork in once it is going.
        Err(_) if control::REMOVAL_KILLS => {}
        killed => killed?,
    }
    let path = directory.journal();
    if !path.exists() {
        return Ok(());
    }
    apply::revert(&mut Journal::open(&path)?)
}

/// Kills every process of the container and waits until they are gone.
pub fn kill_and_wait(state: &State) -> Result<()> {
    if status::init_alive(state) {
        control::signal_init(state, signal::KILL)?;
    }
    control::kill_all(state)?;
    match state.init {
        // A process of an earlier boot is gone, whoever has its id now.
        Some(init) if state.boot == sys::boot_id() && !control::await_exit(init, KILL_LIMIT)? => {
            let object = format!("process {} of container {:?}", init.pid, state.id);
            Err(Error::new("end", object, "it does not react to SIGKILL"))
        }
        _ => Ok(()),
    }
}

/// runtime.md: a poststop hook that fails is a warning, and the rest run.
fn poststop(state: &State, all: &oci_spec::runtime::Hooks) {
    let document = hooks::state(state, Status::Stopped, None);
    let directory = state.bundle.is_dir().then_some(state.bundle.as_path());
    for (i, hook) in all.poststop().iter().flatten().enumerate() {
        let at = format!("hooks.poststop[{i}]");
        if let Err(error) = hooks::one(&at, hook, &document, directory) {
            report::warning(&error.to_string());
        }
    }
}
