//! `brig run`: create and start, and in the foreground wait and remove.

use std::process::ExitCode;

use super::{Session, create, start};
use crate::cli::Run;
use crate::error::Result;
use crate::launch::{Passed, foreground};
use crate::report;

pub fn command(session: &Session, args: Run, passed: Passed) -> Result<ExitCode> {
    let bundle = create::bundle(args.io.bundle.clone().or(args.bundle_argument))?;
    if args.detach {
        let mut created = create::create(session, &args.id, bundle, &args.io, passed, true, None)?;
        let started = start::start(&created.directory, &mut created.state, &created.config);
        return match started {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(remove(created, error)),
        };
    }
    if !args.no_subreaper {
        crate::sys::adopt_orphans(true);
    }
    let (ours, theirs) = foreground::console_pair(args.io.console_socket.is_some())?;
    let signals = foreground::Signals::catch()?;
    let mut created = create::create(session, &args.id, bundle, &args.io, passed, false, theirs)?;
    let terminal = created
        .config
        .process()
        .and_then(|p| p.terminal())
        .unwrap_or(false);
    let master = match ours {
        Some(ours) if terminal => foreground::receive_terminal(ours)?,
        _ => None,
    };
    let pid = created.state.init.map_or(0, |init| init.pid);
    if let Err(error) = start::start(&created.directory, &mut created.state, &created.config) {
        return Err(remove(created, error));
    }
    // Other commands must get at the container while its program runs.
    let create::Created {
        directory, lock, ..
    } = created;
    drop(lock);
    let code = foreground::wait(pid, master, signals)?;
    if !args.keep {
        super::delete::command(session, directory.id(), true)?;
    }
    Ok(ExitCode::from(code))
}

/// Removes a container whose start failed, as run made it.
fn remove(created: create::Created, error: crate::error::Error) -> crate::error::Error {
    let create::Created {
        directory,
        state,
        config,
        lock,
    } = created;
    let removed = super::delete::remove(&directory, Some(&state), Some(&config), lock);
    if let Err(left) = removed {
        report::warning(&left.to_string());
    }
    error
}
