//! `brig run`: create and start, and in the foreground wait and remove. With an
//! image, its bundle is made before and removed with the container.

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use super::create::Until;
use super::image::{self, Interrupts};
use super::{Session, create, start, unpack};
use crate::cli::Run;
use crate::container::Temporary;
use crate::error::Result;
use crate::image::config::Wishes;
use crate::image::go_on;
use crate::image::progress::Progress;
use crate::launch::{Passed, foreground};
use crate::report;

pub fn command(session: &Session, mut args: Run, passed: Passed) -> Result<ExitCode> {
    let Some(text) = args.image.take() else {
        let id = args.id.take().unwrap_or_default();
        let bundle = create::bundle(args.io.bundle.clone().or(args.bundle_argument.take()))?;
        return run(session, &args, &id, bundle, passed, None);
    };
    let id = args.id.take().unwrap_or_else(new_id);
    let watch = Interrupts::catch()?;
    let image = image::find(&text, args.platform.as_deref(), &watch)?;
    let temporary = Temporary::create(&session.root, &id)?;
    let wishes = Wishes {
        command: std::mem::take(&mut args.command),
        terminal: args.io.console_socket.is_some() || (!args.detach && on_terminal()),
        hostname: Some(id.clone()),
        rootless: !nix::unistd::geteuid().is_root(),
    };
    let mut progress = Progress::new("unpack", image.size(), false);
    let bundle = temporary.path().to_owned();
    let result = unpack::bundle_of(
        &image,
        &bundle,
        &wishes,
        &mut progress,
        &watch,
        &mut |line| report::debug(|| line),
    )
    .and_then(|_| {
        drop(progress);
        run(session, &args, &id, bundle, passed, Some(watch))
    });
    // The container that has the bundle takes it along; otherwise it goes here.
    match crate::container::Directory::of(&session.root, &id) {
        Ok(directory) if directory.exists() => result,
        _ => match temporary.remove() {
            Ok(()) => result,
            Err(left) => {
                report::warning(&left.to_string());
                result
            }
        },
    }
}

/// Whether a person types there and reads what is printed.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// An id for a container that was given none.
fn new_id() -> String {
    let number = RandomState::new().hash_one(std::process::id());
    format!("run-{:012x}", number & 0xffff_ffff_ffff)
}

fn run(
    session: &Session,
    args: &Run,
    id: &str,
    bundle: PathBuf,
    passed: Passed,
    watch: Option<Interrupts>,
) -> Result<ExitCode> {
    if args.detach {
        if let Some(watch) = &watch {
            go_on(watch)?;
        }
        let (io, until) = (&args.io, Until::Deleted);
        let mut created = create::create(session, id, bundle, io, passed, until, None)?;
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
    if let Some(watch) = watch {
        // From here on they are the program's.
        go_on(&watch)?;
    }
    let until = if args.keep {
        Until::DeletedButWaited
    } else {
        // Whatever ends this process, nothing goes on to run.
        #[cfg(target_os = "freebsd")]
        crate::apply::freebsd::own_jails();
        Until::Waited
    };
    let mut created = create::create(session, id, bundle, &args.io, passed, until, theirs)?;
    let terminal = created
        .config
        .process()
        .and_then(|p| p.terminal())
        .unwrap_or(false);
    let master = match ours {
        Some(ours) if terminal => foreground::receive_terminal(ours)?,
        _ => None,
    };
    // The program may ask for the size as the first thing it does.
    if let Some(master) = &master {
        foreground::copy_size(master.as_fd());
    }
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
