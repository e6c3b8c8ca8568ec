//! `brig gc`: takes back what killed runtimes and reboots left behind.

use super::{Session, delete};
use crate::apply::journal::Journal;
use crate::cli::Gc;
use crate::config::Config;
use crate::container::state::Process;
use crate::container::{Directory, State, control, status, temporary};
use crate::error::{Error, Result};
use crate::sys;

pub fn command(session: &Session, args: &Gc) -> Result<()> {
    let mut failures = Vec::new();
    for orphan in control::orphans(&session.root)? {
        let (id, jail) = (&orphan.id, &orphan.jail);
        super::write(&format!("{id}: its state is gone, jail {jail} is left\n"))?;
        if args.dry_run {
            continue;
        }
        if let Err(error) = delete::orphan(session, &orphan) {
            failures.push(format!("{id}: {error}"));
        }
    }
    for directory in Directory::all(&session.root)? {
        let Some(reason) = leftover(&directory) else {
            continue;
        };
        super::write(&format!("{}: {reason}\n", directory.id()))?;
        if args.dry_run {
            continue;
        }
        if let Err(error) = reclaim(&directory) {
            failures.push(format!("{}: {error}", directory.id()));
        }
    }
    for id in temporary::left(&session.root)? {
        super::write(&format!("{id}: its run was killed, its bundle is left\n"))?;
        if !args.dry_run
            && let Err(error) = temporary::remove_left(&session.root, &id)
        {
            failures.push(format!("{id}: {error}"));
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::text(failures.join("; ")))
    }
}

/// As [`why`]; None for one that a command is at work on.
fn leftover(directory: &Directory) -> Option<&'static str> {
    if directory.is_locked() {
        return None;
    }
    why(directory)
}

/// Why nobody can need the container any more; None for one that somebody may.
/// A stopped container of this boot stays: its engine deletes it.
fn why(directory: &Directory) -> Option<&'static str> {
    match directory.load() {
        Ok(state) if state.boot != sys::boot_id() => Some("the host was rebooted since"),
        Ok(state) if is_half_made(directory, &state) => Some("its create was killed"),
        // A program that goes on without it may still be of use to someone.
        Ok(state) if is_left_by_run(&state) => Some("its run was killed"),
        Ok(_) => None,
        Err(_) if directory.exists() => Some("its state file is missing or damaged"),
        Err(_) => None,
    }
}

/// The process of a create that was killed before it let it go has ended.
fn is_half_made(directory: &Directory, state: &State) -> bool {
    let is_dead = !status::init_alive(state);
    state.init.is_none() || (is_dead && !Journal::is_complete(&directory.journal()))
}

fn is_left_by_run(state: &State) -> bool {
    let is_gone = |runner: Process| sys::process_start_time(runner.pid) != Some(runner.start_time);
    state.runner.is_some_and(is_gone) && !status::init_alive(state)
}

fn reclaim(directory: &Directory) -> Result<()> {
    let lock = directory.lock()?;
    // The wait for the lock may have been a create that ended well.
    if why(directory).is_none() {
        return Ok(());
    }
    let state = directory.load().ok();
    let config = Config::parse_copy(&directory.config()).ok();
    delete::remove(directory, state.as_ref(), config.as_ref(), lock)
}
