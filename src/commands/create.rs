//! `brig create`: the container's environment and its waiting process.

use std::path::PathBuf;

use super::Session;
use crate::apply::{self, journal::Journal};
use crate::cli::{BundleAndIo, Create};
use crate::config::Config;
use crate::container::directory::Lock;
use crate::container::{Directory, State, control, state};
use crate::error::{Error, Result};
use crate::host::HostFacts;
use crate::launch::{self, Init, Launch, Passed, handshake};
use crate::plan::{self, Input};
use crate::report;
use crate::sys;

pub fn command(session: &Session, args: Create, passed: Passed) -> Result<()> {
    let bundle = bundle(args.io.bundle.clone().or(args.bundle_argument))?;
    let (id, io) = (&args.id, &args.io);
    let created = create(session, id, bundle, io, passed, Until::Deleted, None)?;
    drop(created);
    Ok(())
}

/// How long a container is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until someone deletes it.
    Deleted,
    /// The same, but this process waits for its program.
    DeletedButWaited,
    /// Until this process has waited for its program.
    Waited,
}

/// A container that was just created, still locked.
pub struct Created {
    pub directory: Directory,
    pub state: State,
    pub config: Config,
    pub lock: Lock,
}

/// The bundle's absolute path; the default is the working directory.
pub fn bundle(given: Option<PathBuf>) -> Result<PathBuf> {
    let bundle = super::absolute(given.unwrap_or_default())?;
    if !bundle.is_dir() {
        return Err(Error::text(format_args!(
            "bundle {} is not a directory",
            bundle.display()
        )));
    }
    Ok(bundle)
}

/// Creates the container, or leaves the host as it was.
pub fn create(
    session: &Session,
    id: &str,
    bundle: PathBuf,
    io: &BundleAndIo,
    passed: Passed,
    until: Until,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Created> {
    let directory = Directory::of(&session.root, id)?;
    let config = Config::from_bundle(&bundle)?;
    let (policy, host) = (session.policy()?, HostFacts::read());
    // Until the mounts are made, so that of two creates on one root file
    // system the second sees the first.
    #[cfg(target_os = "freebsd")]
    let claim =
        apply::freebsd::claim_root(&config.rootfs(&bundle), config.spec.mounts().as_deref())?;
    let plan = plan::plan(&Input {
        id,
        bundle: &bundle,
        directory: directory.path(),
        #[cfg(target_os = "freebsd")]
        shared_root: claim.shared,
        #[cfg(not(target_os = "freebsd"))]
        shared_root: false,
        config: &config,
        policy: &policy,
        host: &host,
        systemd_cgroup: session.systemd_cgroup,
        no_pivot: io.no_pivot,
    })?;
    if !plan.rootfs.is_dir() {
        let path = plan.rootfs.display();
        return Err(Error::property(
            "root.path",
            format_args!("{path} is not a directory"),
        ));
    }
    for ignored in &plan.ignored {
        report::warning(&format!(
            "{} is ignored: {}",
            ignored.property, ignored.reason
        ));
    }
    #[cfg(target_os = "linux")]
    for capability in launch::ungrantable(&config) {
        report::warning(&format!(
            "process.capabilities: {capability} cannot be granted, because brig does not have it"
        ));
    }
    let terminal = config.process().and_then(|p| p.terminal()).unwrap_or(false);
    let console = match console {
        Some(console) => Some(console).filter(|_| terminal),
        None => {
            let detached = until == Until::Deleted;
            launch::connect_console(io.console_socket.as_deref(), terminal, detached)?
        }
    };

    let lock = directory.create()?;
    let mut state = State {
        oci_version: config.spec.version().clone(),
        id: id.into(),
        rootfs: plan.rootfs.clone(),
        created: humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string(),
        owner: crate::container::user::name(host.euid),
        annotations: config.annotations(),
        boot: sys::boot_id(),
        init: None,
        started: false,
        runner: own_process().filter(|_| until == Until::Waited),
        jail: None,
        cgroup: None,
        bundle,
    };
    let made = make(&directory, &mut state, &config, &plan, io, passed, console);
    if let Err(error) = made {
        return Err(undo(&directory, &state, &config, lock, error));
    }
    Ok(Created {
        directory,
        state,
        config,
        lock,
    })
}

/// This process, as others can tell it from a later one.
fn own_process() -> Option<state::Process> {
    let pid = std::process::id() as i32;
    let start_time = sys::process_start_time(pid)?;
    Some(state::Process { pid, start_time })
}

fn make(
    directory: &Directory,
    state: &mut State,
    config: &Config,
    plan: &plan::Plan,
    io: &BundleAndIo,
    passed: Passed,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<()> {
    directory.store(state)?;
    directory.replace("config.json", &config.raw)?;
    let mut journal = Journal::create(&directory.journal())?;
    for step in plan.steps.iter().filter(|step| !step.is_inside()) {
        report::debug(|| format!("{step:?}"));
        let outcome = apply::perform(step, &mut journal)?;
        control::record(step, &outcome, state);
    }
    // Hooks and a later delete find the jail and the cgroup here.
    directory.store(state)?;
    let launch = Launch {
        state,
        config,
        process: config.process(),
        user: None,
        console,
        agent: launch::connect_agent(config)?,
        passed,
        new_keyring: !io.no_new_keyring,
        init: Some(Init {
            plan,
            listener: handshake::listen(directory)?,
            mapped: launch::mapped_mounts(plan)?,
        }),
    };
    let launched = launch::launch(&launch, Some(&mut journal))?;
    drop(launch);
    let process = launched.process;
    let mut publish = || {
        if let Some(path) = &io.pid_file {
            launch::write_pid_file(path, process.pid)?;
        }
        state.init = Some(process);
        directory.store(state)
    };
    publish()
        .and_then(|()| launched.release())
        .and_then(|()| journal.complete())
        .inspect_err(|_| launch::end(process.pid))
}

/// Takes a failed create back and completes its error with what could not be.
fn undo(directory: &Directory, state: &State, config: &Config, lock: Lock, error: Error) -> Error {
    match super::delete::remove(directory, Some(state), Some(config), lock) {
        Ok(()) => error,
        Err(left) => {
            let text = format!("{error}; afterwards {left}");
            let hint = format!(
                "then remove what is left with: brig delete --force {}",
                state.id
            );
            Error::text(text).hint(hint).kind(error.kind)
        }
    }
}
