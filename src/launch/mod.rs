//! Making the container's process: fork, handshake, what runs in the child
//! until exec, console, hooks.

#[cfg(target_os = "freebsd")]
#[path = "freebsd.rs"]
mod backend;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod backend;
mod child;
pub mod console;
pub mod foreground;
pub mod handshake;
pub mod hooks;

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::Process;

use crate::apply::journal::Journal;
use crate::config::Config;
use crate::container::{State, state};
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::sys;
use crate::sys::unix::process::Forked;
use handshake::{Channel, Message};

/// Descriptors that the program gets besides 0, 1 and 2, and how it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// How many, from 3 on.
    pub count: u32,
    /// How many of them are sockets of LISTEN_FDS (sd_listen_fds(3)).
    pub listen: u32,
}

impl Passed {
    /// `--preserve-fds` and the LISTEN_FDS of brig's own environment.
    ///
    /// # Errors
    /// One of them is not open.
    pub fn of(preserve: u32) -> Result<Passed> {
        let listen = std::env::var("LISTEN_FDS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let count = preserve.saturating_add(listen);
        for fd in 3..3_u64 + u64::from(count) {
            let open = i32::try_from(fd).is_ok_and(sys::unix::descriptors::is_open);
            if !open {
                let hint = "pass as many descriptors, from 3 on, as --preserve-fds says";
                return Err(Error::text(format_args!("descriptor {fd} is not open")).hint(hint));
            }
        }
        Ok(Passed { count, listen })
    }

    /// The first descriptor that is not passed.
    pub fn end(self) -> i32 {
        3 + self.count as i32
    }
}

#[cfg(target_os = "linux")]
pub use backend::ungrantable;

/// What a new process is made from, in both commands that make one.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The container's state.
    pub state: &'a State,
    /// The container's configuration.
    pub config: &'a Config,
    /// The program and its attributes; none for a container without one.
    pub process: Option<&'a Process>,
    /// A user of the container's /etc/passwd to run it as, in place of the
    /// process's own: NAME[:GROUP].
    pub user: Option<&'a str>,
    /// Where the terminal's master is sent.
    pub console: Option<OwnedFd>,
    /// Linux: the seccomp agent's socket.
    pub agent: Option<OwnedFd>,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// Linux: make a new session keyring.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "of Linux alone"))]
    pub new_keyring: bool,
    /// What only the first process has; none for exec.
    pub init: Option<Init<'a>>,
}

/// What only the container's first process has.
#[derive(Debug)]
pub struct Init<'a> {
    /// The plan whose inside steps it performs.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "of Linux alone"))]
    pub plan: &'a Plan,
    /// The socket it waits on for start.
    pub listener: OwnedFd,
    /// What [`mapped_mounts`] made.
    pub mapped: Vec<(usize, OwnedFd)>,
}

/// Bind mounts whose files have other owners inside, made before the process
/// loses the privilege for it; by their place in config.json, attached nowhere.
///
/// # Errors
/// One cannot be made.
pub fn mapped_mounts(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    backend::mapped_mounts(plan)
}

/// Forks the process, runs the hooks of create, and returns when it is ready
/// (create) or has executed its program (exec). On an error nothing is left
/// of the process.
///
/// # Errors
/// The child's reason, word for word.
pub fn launch(launch: &Launch, journal: Option<&mut Journal>) -> Result<Launched> {
    let (ours, theirs) = sys::unix::socket::pair().doing("make", "a socket pair")?;
    let pid = match backend::fork(launch)? {
        Forked::Child => {
            drop(ours);
            child::run(launch, Channel::new(theirs))
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let channel = Channel::new(ours);
    let mut given = backend::Given::none();
    let followed = follow(launch, pid, &channel, journal, &mut given);
    match followed {
        Ok(process) => Ok(Launched {
            process,
            channel,
            given,
        }),
        Err(error) => {
            // Before what the process holds goes with it.
            given.take_back();
            end(pid);
            Err(error)
        }
    }
}

/// A process that is ready. The first one of a container ends when this is
/// dropped without [`Launched::release`]: a create that is killed before it
/// has published the process leaves none behind.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub process: state::Process,
    channel: Channel,
    given: backend::Given,
}

impl Launched {
    /// Lets the published process wait for start.
    ///
    /// # Errors
    /// It has died.
    pub fn release(mut self) -> Result<()> {
        self.channel.send(&Message::Go)?;
        self.given.keep();
        Ok(())
    }
}

/// The parent's side of the handshake.
fn follow(
    launch: &Launch,
    pid: i32,
    channel: &Channel,
    mut journal: Option<&mut Journal>,
    given: &mut backend::Given,
) -> Result<state::Process> {
    let start_time = sys::process_start_time(pid);
    let start_time = start_time.ok_or_else(|| died(pid))?;
    backend::admit(launch, pid, journal.as_deref_mut(), given)?;
    channel.send(&Message::Enter(pid))?;
    let process = state::Process { pid, start_time };
    let mut will_exec = false;
    let mut noted = Vec::new();
    loop {
        match channel.receive()? {
            Some(Message::Mounted) => {
                runtime_hooks(launch, pid)?;
                channel.send(&Message::Go)?;
            }
            Some(Message::Created(path)) => {
                if let Some(journal) = journal.as_deref_mut() {
                    noted.push(backend::note_created(launch, &path, journal)?);
                }
            }
            Some(Message::Ready) => {
                // Another container may already use what was made in the root
                // file system, so from now on it stays.
                if let Some(journal) = journal {
                    noted
                        .into_iter()
                        .for_each(|sequence| journal.reverted(sequence));
                }
                return Ok(process);
            }
            Some(Message::Executing) => will_exec = true,
            Some(Message::Failed(error)) => return Err(error),
            // The other end closes on exec.
            None if will_exec && launch.init.is_none() => return Ok(process),
            None => return Err(died(pid)),
            Some(Message::Enter(_) | Message::Go) => {
                return Err(Error::text("the container's process broke the handshake"));
            }
        }
    }
}

/// The hooks that run outside while the container is being created.
fn runtime_hooks(launch: &Launch, pid: i32) -> Result<()> {
    let Some(all) = launch.config.spec.hooks() else {
        return Ok(());
    };
    let state = hooks::state(launch.state, crate::container::Status::Creating, Some(pid));
    #[allow(deprecated)]
    hooks::run(
        "prestart",
        all.prestart(),
        &state,
        Some(&launch.state.bundle),
    )?;
    hooks::run(
        "createRuntime",
        all.create_runtime(),
        &state,
        Some(&launch.state.bundle),
    )
}

/// Ends a child that failed and takes its exit, so that no zombie is left to
/// an engine that adopts orphans.
pub fn end(pid: i32) {
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    while let Err(nix::errno::Errno::EINTR) = waitpid(Pid::from_raw(pid), None) {}
}

/// The error of a child that ended without a word.
fn died(pid: i32) -> Error {
    let end = waitpid(Pid::from_raw(pid), None);
    let how = match end {
        Ok(WaitStatus::Exited(_, code)) => format!("exited with status {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("was killed by {signal}"),
        _ => "ended".into(),
    };
    let error = Error::text(format_args!(
        "the container's process {how} before it was ready"
    ));
    match end {
        // As the kernel does with one that has no memory.
        Ok(WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _)) => {
            error.hint("its memory limit may be too low")
        }
        _ => error,
    }
}

/// Writes a pid file whole: its reader never sees a part of the number.
///
/// # Errors
/// It cannot be written.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written =
        std::fs::write(&fresh, pid.to_string()).and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written.doing("write the pid file", path.display())
}

/// Connects to the seccomp agent, if the configuration has one, while its path
/// is the host's.
///
/// # Errors
/// Nobody listens there.
pub fn connect_agent(config: &Config) -> Result<Option<OwnedFd>> {
    backend::connect_agent(config)
}

/// Connects to the console socket before anything is made, so that a missing
/// listener costs nothing.
///
/// # Errors
/// Nobody listens there, or the process has no terminal to send.
pub fn connect_console(
    socket: Option<&Path>,
    terminal: bool,
    detached: bool,
) -> Result<Option<OwnedFd>> {
    match (socket, terminal) {
        (Some(path), true) => match sys::unix::socket::connect_stream(path) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) => {
                let hint = "start the program that receives the terminal first";
                Err(e)
                    .doing("connect to the console socket", path.display())
                    .map_err(|e| e.hint(hint))
            }
        },
        (Some(_), false) => {
            let hint = "set process.terminal or leave --console-socket out";
            Err(
                Error::text("--console-socket is given but process.terminal is not true")
                    .hint(hint),
            )
        }
        (None, true) if detached => {
            let hint = "give --console-socket, or run in the foreground";
            Err(Error::text("process.terminal is true but there is no console socket").hint(hint))
        }
        _ => Ok(None),
    }
}
