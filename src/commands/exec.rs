//! `brig exec`: another program in a running container.

use std::process::ExitCode;

use oci_spec::runtime::Process;

use super::Session;
use crate::cli::Exec;
use crate::config::{self, Config};
use crate::container::{Directory, Status, status};
use crate::error::{Context, Error, Kind, Result};
use crate::launch::{self, Launch, Passed, foreground};

pub fn command(session: &Session, args: Exec, passed: Passed) -> Result<ExitCode> {
    let directory = Directory::of(&session.root, &args.id)?;
    let (state, now) = status::read(&directory)?;
    match now {
        Status::Running | Status::Created => {}
        Status::Paused => {
            let fault = Error::text(format_args!(
                "cannot exec in container {:?}: it is paused",
                args.id
            ));
            return Err(fault.hint(format!("resume it first: brig resume {}", args.id)));
        }
        other => {
            let text = format!(
                "cannot exec in container {:?}: container not running, it is {other}",
                args.id
            );
            return Err(Error::text(text).kind(Kind::NotRunning));
        }
    }
    let config = Config::parse_copy(&directory.config())?;
    let process = process(&args, &config)?;
    let terminal = process.terminal().unwrap_or(false);
    let user = args.user.as_deref().filter(|_| args.process.is_none());

    let console = launch::connect_console(args.console_socket.as_deref(), terminal, args.detach)?;
    let own = terminal && console.is_none();
    let (ours, theirs) = if own {
        foreground::console_pair(false)?
    } else {
        (None, None)
    };
    let signals = if args.detach {
        None
    } else {
        Some(foreground::Signals::catch()?)
    };
    let launch = Launch {
        state: &state,
        config: &config,
        process: Some(&process),
        user,
        console: console.or(theirs),
        agent: launch::connect_agent(&config)?,
        passed,
        new_keyring: false,
        init: None,
    };
    let child = launch::launch(&launch, None)?.process;
    drop(launch);
    // The pid file is how conmon learns that exec worked.
    if let Some(path) = &args.pid_file {
        launch::write_pid_file(path, child.pid).inspect_err(|_| launch::end(child.pid))?;
    }
    let Some(signals) = signals else {
        return Ok(ExitCode::SUCCESS);
    };
    let master = match ours {
        Some(ours) => foreground::receive_terminal(ours)?,
        None => None,
    };
    Ok(ExitCode::from(foreground::wait(
        child.pid, master, signals,
    )?))
}

/// The process to run: the file's, or the container's own with the flags on it.
fn process(args: &Exec, config: &Config) -> Result<Process> {
    if let Some(path) = &args.process {
        let raw = std::fs::read(path).doing("read", path.display())?;
        let mut process = config::parse_process(&raw, path)?;
        if args.tty {
            process.set_terminal(Some(true));
        }
        return Ok(process);
    }
    if args.command.is_empty() {
        let fault = Error::text("exec: no program is given");
        return Err(fault.hint("name one behind the id, or give --process FILE"));
    }
    let mut process = match config.process() {
        Some(process) => process.clone(),
        None => config::absent()?,
    };
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty)).set_console_size(None);
    if let Some(cwd) = &args.cwd {
        if !cwd.starts_with('/') {
            return Err(Error::property(
                "--cwd",
                format_args!("{cwd:?} is not an absolute path"),
            ));
        }
        process.set_cwd(cwd.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for entry in &args.env {
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::property(
                "--env",
                format_args!("{entry:?} is not of the form NAME=value"),
            ));
        };
        env.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
        env.push(entry.clone());
    }
    if args.user.is_some() {
        // Another user has another home.
        let given = args.env.iter().any(|entry| entry.starts_with("HOME="));
        env.retain(|entry| given || !entry.starts_with("HOME="));
    }
    process.set_env(Some(env));
    if !args.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(&args.additional_gids);
        process.user_mut().set_additional_gids(Some(gids));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&args.cap, &mut process)?;
    Ok(process)
}

/// Adds a capability to every set but the ambient one, as runc does.
fn add_capabilities(names: &[String], process: &mut Process) -> Result<()> {
    use oci_spec::runtime::{Capabilities, Capability};
    use serde::Deserialize;
    for name in names {
        let upper = name.to_uppercase();
        let long = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        let capability = Capability::deserialize(serde_json::Value::from(long))
            .map_err(|_| Error::property("--cap", format_args!("{name:?} is not a capability")))?;
        let mut sets = match process.capabilities() {
            Some(sets) => sets.clone(),
            None => config::absent()?,
        };
        let with = |set: &Option<Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective) = (with(sets.bounding()), with(sets.effective()));
        let permitted = with(sets.permitted());
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted);
        process.set_capabilities(Some(sets));
    }
    Ok(())
}
