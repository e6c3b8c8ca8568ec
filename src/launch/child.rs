//! What runs in the new process from fork to exec.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, chdir, execve};
use oci_spec::runtime::Process;

use super::handshake::{Channel, Message, await_start};
use super::{Launch, backend, console, hooks};
use crate::container::Status;
use crate::error::{Context, Error, Kind, Result, errno_name};
use crate::sys;

/// The search path of a program whose environment has none (execvp(3)).
pub(super) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Never returns: ends in the program, or with its error sent to the other
/// side.
pub(super) fn run(launch: &Launch, channel: Channel) -> ! {
    let mut channel = channel;
    if let Err(error) = until_exec(launch, &mut channel) {
        let _ = channel.send(&Message::Failed(error));
    }
    sys::unix::process::exit_now(1)
}

fn until_exec(launch: &Launch, channel: &mut Channel) -> Result<()> {
    let pid = match channel.receive()? {
        Some(Message::Enter(pid)) => pid,
        // brig was killed: there is no one to tell.
        _ => sys::unix::process::exit_now(1),
    };
    backend::seal()?;
    let mut keep = vec![channel.raw()];
    keep.extend(launch.console.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(launch.agent.as_ref().map(AsRawFd::as_raw_fd));
    if let Some(init) = &launch.init {
        keep.push(init.listener.as_raw_fd());
        keep.extend(init.mapped.iter().map(|(_, mount)| mount.as_raw_fd()));
    }
    let first = launch.passed.end();
    sys::unix::descriptors::close_from_except(first, &keep).doing("close", "descriptors")?;
    console::new_session()?;
    backend::enter(launch, channel)?;
    let Some(process) = launch.process else {
        return wait_without_program(launch, channel);
    };
    let mut process = process.clone();
    if let Some(user) = launch.user {
        crate::container::user::resolve(user, process.user_mut())?;
    }
    crate::container::user::check(process.user())?;
    let process = &process;
    if let Some(receiver) = &launch.console {
        let device = console::attach(process, receiver.as_fd())?;
        backend::bind_console(launch, Path::new(&device))?;
    }
    if let Some(umask) = process.user().umask() {
        sys::unix::process::set_umask(umask);
    }
    backend::confine(launch, process, pid)?;
    enter_directory(process.cwd())?;
    let program = find_program(process)?;
    let program = c_string(program.as_os_str().as_bytes())?;
    let arguments = process
        .args()
        .iter()
        .flatten()
        .map(|arg| c_string(arg.as_bytes()));
    let arguments = arguments.collect::<Result<Vec<_>>>()?;
    let environment = environment(launch, process)?;

    if let Some(init) = &launch.init {
        *channel = wait(channel, init)?;
        let hooks = launch
            .config
            .spec
            .hooks()
            .as_ref()
            .and_then(|all| all.start_container().clone());
        if hooks.is_some() {
            let state = hooks::state(
                launch.state,
                Status::Created,
                Some(std::process::id() as i32),
            );
            hooks::run("startContainer", &hooks, &state, None)?;
        }
    }
    for fd in 3..first {
        sys::unix::descriptors::keep_on_exec(fd).doing("pass on descriptor", fd)?;
    }
    // The filter that comes last need not allow what the handshake does.
    channel.send(&Message::Executing)?;
    reset_signals();
    backend::last(launch, process, pid)?;
    let Err(errno) = execve(&program, &arguments, &environment);
    Err(exec_error(
        process.args().as_ref().map_or("", |args| &args[0]),
        errno,
    ))
}

/// The hooks of create: those outside, which brig runs once it hears that the
/// mounts are made, and then those inside. `root` is where the container's root
/// is for the process.
pub(super) fn create_hooks(launch: &Launch, channel: &Channel, root: &Path) -> Result<()> {
    let Some(all) = launch.config.spec.hooks() else {
        return Ok(());
    };
    #[allow(deprecated)]
    let outside = [all.prestart(), all.create_runtime()];
    if outside
        .iter()
        .any(|hooks| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()))
    {
        channel.send(&Message::Mounted)?;
        match channel.receive()? {
            Some(Message::Go) => {}
            _ => sys::unix::process::exit_now(1),
        }
    }
    let pid = Some(std::process::id() as i32);
    let state = hooks::state(launch.state, Status::Creating, pid);
    // As the peers have it: in the root file system, with the host's paths.
    hooks::run(
        "createContainer",
        all.create_container(),
        &state,
        Some(root),
    )
}

/// Says that all is done, and waits for start once brig has published this
/// process; if brig dies before, nobody would ever find it.
fn wait(channel: &Channel, init: &super::Init) -> Result<Channel> {
    channel.send(&Message::Ready)?;
    match channel.receive()? {
        Some(Message::Go) => await_start(init.listener.as_fd()),
        _ => sys::unix::process::exit_now(1),
    }
}

/// A container without a process waits like any other; start is refused before
/// it gets here (runtime.md, Start: it must fail when process was not set).
fn wait_without_program(launch: &Launch, channel: &mut Channel) -> Result<()> {
    let Some(init) = &launch.init else {
        return Err(Error::property("process", "is missing"));
    };
    *channel = wait(channel, init)?;
    Err(Error::property(
        "process",
        "is missing, so there is no program to start",
    ))
}

/// Enters the working directory, which is created inside when it is missing,
/// as engines expect.
fn enter_directory(cwd: &Path) -> Result<()> {
    match chdir(cwd) {
        Ok(()) => {}
        Err(Errno::ENOENT) => {
            let made = std::fs::create_dir_all(cwd);
            made.doing("create process.cwd", cwd.display())?;
            chdir(cwd).doing("enter process.cwd", cwd.display())?;
        }
        Err(errno) => return Err(errno).doing("enter process.cwd", cwd.display()),
    }
    // A directory outside the root (a descriptor that leaked in, or a file
    // system moved away) has no path from the root.
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => Err(Error::property(
            "process.cwd",
            "is outside of the container's root",
        )),
        Err(errno) => Err(errno).doing("enter process.cwd", cwd.display()),
    }
}

/// Finds the program as execvp(3) does, with the process's own PATH.
///
/// # Errors
/// In the words that engines turn into exit codes 127 and 126.
fn find_program(process: &Process) -> Result<PathBuf> {
    let name = process.args().as_ref().map_or("", |args| &args[0]);
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(errno) => Err(exec_error(name, errno)),
        };
    }
    let path = process
        .env()
        .iter()
        .flatten()
        .filter_map(|entry| entry.strip_prefix("PATH="))
        .next_back();
    let mut denied = false;
    for directory in path.unwrap_or(DEFAULT_PATH).split(':') {
        let candidate = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(candidate).join(name);
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES | Errno::EISDIR) if candidate.exists() => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(exec_error(name, Errno::EACCES));
    }
    let error = Error::text(format_args!(
        "exec: {name:?}: executable file not found in $PATH"
    ));
    Err(error.kind(Kind::ExecNotFound))
}

fn runnable(path: &Path) -> nix::Result<()> {
    if path.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn exec_error(name: &str, errno: Errno) -> Error {
    let (cause, kind) = match errno {
        Errno::ENOENT => ("no such file or directory".into(), Kind::ExecNotFound),
        Errno::EACCES => ("permission denied".into(), Kind::ExecDenied),
        Errno::EISDIR => ("is a directory: permission denied".into(), Kind::ExecDenied),
        Errno::ENOEXEC => ("exec format error".into(), Kind::ExecDenied),
        other => (errno_name(other), Kind::Other),
    };
    Error::text(format_args!("exec: {name:?}: {cause}")).kind(kind)
}

fn environment(launch: &Launch, process: &Process) -> Result<Vec<CString>> {
    let mut all = Vec::new();
    let mut has_home = false;
    for entry in process.env().iter().flatten() {
        has_home |= entry.starts_with("HOME=");
        all.push(c_string(entry.as_bytes())?);
    }
    if !has_home {
        let home = crate::container::user::home(process.user().uid());
        all.push(c_string(format!("HOME={home}").as_bytes())?);
    }
    if launch.passed.listen > 0 {
        all.push(c_string(
            format!("LISTEN_FDS={}", launch.passed.listen).as_bytes(),
        )?);
        all.push(c_string(
            format!("LISTEN_PID={}", std::process::id()).as_bytes(),
        )?);
    }
    Ok(all)
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes)
        .map_err(|_| Error::property("process", "has a string with a NUL byte in it"))
}

/// What brig, or who called it, ignores or blocks must not be inherited by the
/// program: ignored signals stay ignored across exec.
fn reset_signals() {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    for signal in Signal::iterator() {
        sys::unix::process::default_signal(signal as i32);
    }
}
