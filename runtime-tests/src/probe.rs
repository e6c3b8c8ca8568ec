//! The contained program: small acts whose outcome the suite reads.
//!
//! `probe ACT ARGS… ; ACT ARGS…` runs the acts one after the other; `;` is a
//! word of its own. What an act finds out goes to standard output, one line a
//! fact. A failed act ends the program with status 99 and a line on standard
//! error.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::unistd::{Pid, getpid, getppid, setsid};
use serde_json::{Value, json};

use crate::sys;

type Result<T = ()> = std::result::Result<T, String>;

/// The word that makes this binary the contained program whatever its name.
pub const WORD: &str = "__probe";

/// Whether this process was started as the contained program.
pub fn is_wanted() -> bool {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    name.as_bytes().ends_with(b"probe") || args.next().is_some_and(|word| word == WORD)
}

/// Runs the acts of the command line.
pub fn main() -> ! {
    let mut words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words.first().is_some_and(|word| word == WORD) {
        words.remove(0);
    }
    for act in words.split(|word| word == ";") {
        let act: Vec<&str> = act.iter().map(String::as_str).collect();
        if act.is_empty() {
            continue;
        }
        if let Err(text) = perform(&act) {
            let _ = writeln!(std::io::stderr(), "probe: {}: {text}", act.join(" "));
            sys::exit_now(99);
        }
    }
    sys::exit_now(0)
}

fn say(text: impl std::fmt::Display) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

fn io<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|e| io_name(&e))
}

fn io_name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |code| format!("{:?}", Errno::from_raw(code)),
    )
}

fn perform(act: &[&str]) -> Result {
    match act {
        ["report"] => say(report()),
        ["report", file] => io(fs::write(file, report().to_string()))?,
        ["exit", status] => sys::exit_now(number(status)?),
        ["echo", words @ ..] => say(words.join(" ")),
        ["error", words @ ..] => {
            let _ = writeln!(std::io::stderr(), "{}", words.join(" "));
        }
        ["sleep", milliseconds] => std::thread::sleep(Duration::from_millis(number(milliseconds)?)),
        ["cat"] => {
            let mut raw = Vec::new();
            io(std::io::stdin().read_to_end(&mut raw))?;
            io(std::io::stdout()
                .write_all(&raw)
                .and_then(|()| std::io::stdout().flush()))?;
        }
        ["line"] => {
            let mut line = String::new();
            io(std::io::stdin().read_line(&mut line))?;
            say(format_args!("line {}", line.trim_end()));
        }
        ["write", file, text] => io(fs::write(file, text))?,
        ["append", file, text] => {
            io(fs::OpenOptions::new().append(true).create(true).open(file))
                .and_then(|mut f| io(writeln!(f, "{text}")))?;
        }
        ["read", file] => say(io(fs::read_to_string(file))?),
        ["listen", program, arguments @ ..] => {
            use std::os::unix::process::CommandExt;
            let mut command = std::process::Command::new(program);
            command.env("LISTEN_PID", std::process::id().to_string());
            return Err(io_name(&command.args(arguments).exec()));
        }
        ["ignore-signals", program, arguments @ ..] => {
            use std::os::unix::process::CommandExt;
            for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGUSR1] {
                sys::ignore_signal(signal, true);
            }
            let mut command = std::process::Command::new(program);
            return Err(io_name(&command.args(arguments).exec()));
        }
        #[cfg(target_os = "linux")]
        ["cover", path, with, program, arguments @ ..] => {
            use std::os::unix::process::CommandExt;
            sys::cover(path, with).map_err(|e| format!("{e:?}"))?;
            let mut command = std::process::Command::new(program);
            return Err(io_name(&command.args(arguments).exec()));
        }
        ["read-fd", fd] => {
            let fd = sys::take(number(fd)?).ok_or("is not open")?;
            let mut text = String::new();
            io(fs::File::from(fd).read_to_string(&mut text))?;
            say(format_args!("fd {text}"));
        }
        ["list", directory] => {
            let mut names: Vec<String> = io(fs::read_dir(directory))?
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            say(names.join(" "));
        }
        ["stat", path] => say(stat(path)),
        ["await", path] => await_path(path),
        ["try", rest @ ..] => say(attempt(rest)),
        ["wait"] => wait_for_signal(None),
        ["trap", count] => wait_for_signal(Some(number(count)?)),
        ["ignore-term"] => {
            for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
                sys::ignore_signal(signal, true);
            }
        }
        ["ready"] => say("ready"),
        ["forever"] => forever(),
        ["die", signal] => {
            sys::ignore_signal(Signal::SIGCHLD, false);
            let signal: Signal = number(signal).map_err(|_| format!("{signal:?} is no signal"))?;
            raise(signal).map_err(|e| format!("{e:?}"))?;
        }
        ["spawn", count] => spawn(number(count)?)?,
        ["daemon"] => daemon()?,
        ["fork-until", count] => fork_until(number(count)?),
        ["fork-bomb", seconds] => fork_bomb(number(seconds)?),
        ["resize-watch", rows] => resize_watch(number(rows)?),
        ["hook", file, label] => hook(file, label)?,
        ["unshare", kinds] => unshare(kinds)?,
        ["trace-others"] => trace_others(),
        // Kept until the program ends.
        ["hold", mebibytes] => {
            let mut block = vec![0_u8; number::<usize>(mebibytes)? << 20];
            block.chunks_mut(4096).for_each(|page| page[0] = 1);
            std::mem::forget(block);
        }
        ["allocate", mebibytes] => allocate(number(mebibytes)?),
        other => return Err(format!("{other:?} is not an act")),
    }
    Ok(())
}

// ---------------------------------------------------------------- processes

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Blocks everything that can be blocked, says so, and takes the signals one
/// by one. A blocked signal is queued even for the first process of a pid
/// namespace, for which one with the default action would be dropped.
fn wait_for_signal(count: Option<u32>) {
    let wanted = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGWINCH,
    ];
    let mut set = SigSet::empty();
    for signal in wanted {
        sys::keep_signal(signal);
        set.add(signal);
    }
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None);
    say("ready");
    let mut left = count.unwrap_or(1);
    while left > 0 {
        let Ok(signal) = set.wait() else { continue };
        say(format_args!("got {signal}"));
        if count.is_none() {
            sys::exit_now(128 + signal as i32);
        }
        left -= 1;
    }
}

/// Children that sleep until they are killed.
fn spawn(count: u32) -> Result {
    for _ in 0..count {
        if sys::fork().map_err(|e| format!("{e:?}"))?.is_none() {
            forever();
        }
    }
    Ok(())
}

/// A grandchild in a session of its own, which ignores SIGTERM and whose
/// parent is gone.
fn daemon() -> Result {
    match sys::fork().map_err(|e| format!("{e:?}"))? {
        None => {
            let _ = setsid();
            match sys::fork() {
                Ok(None) => {
                    sys::ignore_signal(Signal::SIGTERM, true);
                    forever();
                }
                _ => sys::exit_now(0),
            }
        }
        Some(child) => {
            let _ = nix::sys::wait::waitpid(child, None);
            Ok(())
        }
    }
}

/// Processes that fork until there are `count`, or the kernel says no.
fn fork_until(count: u32) {
    let mut made = 0;
    let mut fault = None;
    while made < count {
        match sys::fork() {
            Ok(None) => forever(),
            Ok(Some(_)) => made += 1,
            Err(errno) => {
                fault = Some(errno);
                break;
            }
        }
    }
    say(format_args!(
        "forked {made} {}",
        fault.map_or("ok".into(), |e| format!("{e:?}"))
    ));
}

/// Forks without end, and every child does; all end by themselves after so
/// many seconds, lest a runtime that cannot end them spoils the host.
fn fork_bomb(seconds: u64) {
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    sys::ignore_signal(Signal::SIGTERM, true);
    // Nobody waits for the children.
    sys::ignore_signal(Signal::SIGCHLD, true);
    say("ready");
    while std::time::Instant::now() < end {
        let _ = sys::fork();
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn allocate(mebibytes: usize) {
    let mut block = vec![0_u8; mebibytes << 20];
    for page in block.chunks_mut(4096) {
        page[0] = 1;
    }
    say(format_args!(
        "allocated {}",
        block.iter().map(|b| usize::from(*b)).sum::<usize>()
    ));
}

fn await_path(path: &str) {
    while !Path::new(path).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says the size, and each new one, until there are so many rows.
fn resize_watch(until: u16) {
    sys::keep_signal(Signal::SIGWINCH);
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None);
    let stdin = std::io::stdin();
    let size = || sys::window_size(stdin.as_fd()).unwrap_or((0, 0));
    let mut last = size();
    say(format_args!("size {} {}", last.0, last.1));
    while last.0 != until {
        // It may have changed while the first one was said.
        if size() == last {
            let _ = set.wait();
        }
        last = size();
        say(format_args!("resized {} {}", last.0, last.1));
    }
}

#[cfg(target_os = "linux")]
fn unshare(kinds: &str) -> Result {
    use nix::sched::{CloneFlags, unshare};
    let mut flags = CloneFlags::empty();
    for kind in kinds.split(',') {
        flags |= match kind {
            "network" => CloneFlags::CLONE_NEWNET,
            "uts" => CloneFlags::CLONE_NEWUTS,
            "ipc" => CloneFlags::CLONE_NEWIPC,
            "mount" => CloneFlags::CLONE_NEWNS,
            other => return Err(format!("{other:?} is not a kind")),
        };
    }
    unshare(flags).map_err(|e| format!("{e:?}"))
}

#[cfg(target_os = "freebsd")]
fn unshare(_: &str) -> Result {
    Err("there are no namespaces here".into())
}

/// Tries to trace every other process that is visible, over and over, until
/// the file /stop exists; says what it saw.
fn trace_others() {
    let me = getpid().as_raw();
    let (mut early, mut traced, mut read) = (0_u64, 0_u64, 0_u64);
    say("ready");
    while !Path::new("/stop").exists() {
        for pid in others(me) {
            // A process that runs this program has exec'd: it may be traced.
            if runs_probe(pid) {
                continue;
            }
            // Each counts only if it has still not exec'd afterwards.
            let (reads, traces) = (may_read(pid), may_trace(pid));
            if !runs_probe(pid) {
                early += 1;
                read += u64::from(reads);
                traced += u64::from(traces);
            }
        }
    }
    say(format_args!("traced {traced} read {read} of {early}"));
}

#[cfg(target_os = "linux")]
fn may_read(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/root")).is_ok()
        || fs::read_link(format!("/proc/{pid}/fd/0")).is_ok()
}

#[cfg(target_os = "freebsd")]
fn may_read(_: i32) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn others(me: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != me)
        .collect()
}

#[cfg(target_os = "freebsd")]
fn others(me: i32) -> Vec<i32> {
    sys::freebsd::processes()
        .into_iter()
        .map(|(pid, ..)| pid)
        .filter(|pid| *pid != me)
        .collect()
}

/// Opening the memory needs the same rights as attaching, and leaves the
/// process alone.
#[cfg(target_os = "linux")]
fn may_trace(pid: i32) -> bool {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .is_ok()
}

#[cfg(target_os = "freebsd")]
fn may_trace(pid: i32) -> bool {
    let target = Pid::from_raw(pid);
    if nix::sys::ptrace::attach(target).is_err() {
        return false;
    }
    let _ = nix::sys::wait::waitpid(target, None);
    let _ = nix::sys::ptrace::detach(target, None);
    true
}

#[cfg(target_os = "linux")]
fn runs_probe(pid: i32) -> bool {
    // An end between the listing and here counts as harmless.
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(raw) => raw.is_empty() || raw.starts_with(b"/bin/probe"),
        Err(_) => true,
    }
}

#[cfg(target_os = "freebsd")]
fn runs_probe(pid: i32) -> bool {
    let words = sys::freebsd::words(pid);
    words.iter().all(|b| *b == 0) || words.starts_with(b"/bin/probe")
}

// -------------------------------------------------------------------- hooks

/// Writes one JSON line about how this hook was called.
fn hook(file: &str, label: &str) -> Result {
    let mut stdin = String::new();
    io(std::io::stdin().read_to_string(&mut stdin))?;
    let state: Value = serde_json::from_str(&stdin).unwrap_or(Value::String(stdin));
    let line = json!({
        "label": label,
        "args": std::env::args().collect::<Vec<_>>(),
        "env": environment(),
        "state": state,
        "ns": namespaces(),
        "others": others_namespaces(&state),
        "jails": jail_names(),
        "hostname": hostname(),
        "jailed": jailed(),
        "root": names("/"),
    });
    let mut out = io(fs::OpenOptions::new().append(true).create(true).open(file))?;
    io(out.write_all(format!("{line}\n").as_bytes()))
}

/// The namespaces of the process that the state names.
fn others_namespaces(state: &Value) -> Value {
    let pid = state["pid"].as_i64().unwrap_or(0);
    let link = |kind: &&str| {
        let target = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
        Some(((*kind).to_owned(), json!(target.to_string_lossy())))
    };
    ["net", "ipc", "uts"]
        .iter()
        .filter_map(link)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn jail_names() -> Vec<String> {
    #[cfg(target_os = "freebsd")]
    return sys::freebsd::jails()
        .into_iter()
        .map(|(_, name, ..)| name)
        .collect();
    #[cfg(target_os = "linux")]
    Vec::new()
}

fn jailed() -> Option<i64> {
    #[cfg(target_os = "freebsd")]
    return sys::freebsd::sysctl_number("security.jail.jailed");
    #[cfg(target_os = "linux")]
    None
}

// ----------------------------------------------------------------- attempts

/// Tries one thing: "ok" or the errno's name.
fn attempt(act: &[&str]) -> String {
    let outcome: std::result::Result<(), String> = match act {
        ["write", path] => io(fs::OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut f| f.write_all(b"x"))),
        ["open-write", path] => io(fs::OpenOptions::new().write(true).open(path).map(drop)),
        ["create", path] => io(fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)),
        ["read", path] => io(fs::read(path).map(drop)),
        ["list", path] => match fs::read_dir(path) {
            Ok(mut entries) => entries.next().map(drop).ok_or_else(|| "empty".into()),
            Err(e) => Err(io_name(&e)),
        },
        ["mkdir", path] => io(fs::create_dir(path)),
        ["unlink", path] => io(fs::remove_file(path)),
        ["chown", path, uid] => {
            number(uid).and_then(|uid| io(std::os::unix::fs::chown(path, Some(uid), None)))
        }
        ["execute", path] => io(std::process::Command::new(path)
            .arg("exit")
            .arg("0")
            .status()
            .map(drop)),
        ["sethostname", name] => nix::unistd::sethostname(name).map_err(|e| format!("{e:?}")),
        ["setuid", uid] => number(uid).and_then(|uid| {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(uid)).map_err(|e| format!("{e:?}"))
        }),
        ["kill", pid, signal] => number(pid).and_then(|pid| {
            let signal: Signal = number(signal)?;
            kill(Pid::from_raw(pid), signal).map_err(|e| format!("{e:?}"))
        }),
        ["trace", pid] => number(pid).and_then(|pid| {
            nix::sys::ptrace::attach(Pid::from_raw(pid)).map_err(|e| format!("{e:?}"))
        }),
        ["device", path] => io(fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(drop)),
        ["msg"] => sys::message_queue().map_err(|e| format!("{e:?}")),
        ["sem"] => sys::semaphores().map_err(|e| format!("{e:?}")),
        ["mlock"] => sys::lock_a_page().map_err(|e| format!("{e:?}")),
        ["raw-socket"] => sys::raw_socket().map_err(|e| format!("{e:?}")),
        ["bind", address] => io(std::net::TcpListener::bind(address).map(drop)),
        ["chflags", path] => sys::change_flags(path).map_err(|e| format!("{e:?}")),
        ["shm"] => sys::shared_memory().map_err(|e| format!("{e:?}")),
        ["mount-tmpfs", path] => mount_tmpfs(path),
        other => Err(format!("{other:?} is not an attempt")),
    };
    match outcome {
        Ok(()) => "ok".into(),
        Err(text) => text,
    }
}

/// Mounts a tmpfs.
///
/// # Errors
/// The errno's name.
#[cfg(target_os = "linux")]
pub fn mount_tmpfs(path: &str) -> std::result::Result<(), String> {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), none).map_err(|e| format!("{e:?}"))
}

/// Mounts a tmpfs.
///
/// # Errors
/// The errno's name.
#[cfg(target_os = "freebsd")]
pub fn mount_tmpfs(path: &str) -> std::result::Result<(), String> {
    let mut nmount = nix::mount::Nmount::new();
    nmount
        .str_opt_owned("fstype", "tmpfs")
        .str_opt_owned("fspath", path);
    nmount
        .nmount(nix::mount::MntFlags::empty())
        .map_err(|e| format!("{:?}", e.error()))
}

fn stat(path: &str) -> Value {
    match fs::symlink_metadata(path) {
        Ok(m) => {
            let kind = m.file_type();
            let kind = if kind.is_dir() {
                "dir"
            } else if kind.is_symlink() {
                "link"
            } else if kind.is_char_device() {
                "char"
            } else if kind.is_block_device() {
                "block"
            } else if kind.is_fifo() {
                "fifo"
            } else if kind.is_socket() {
                "socket"
            } else {
                "file"
            };
            let target = fs::read_link(path)
                .ok()
                .map(|t| t.to_string_lossy().into_owned());
            json!({
                "kind": kind, "mode": m.mode() & 0o7777, "uid": m.uid(), "gid": m.gid(),
                "major": libc::major(m.rdev() as _), "minor": libc::minor(m.rdev() as _),
                "target": target,
            })
        }
        Err(e) => json!({"error": io_name(&e)}),
    }
}

// ------------------------------------------------------------------- report

fn hostname() -> String {
    nix::unistd::gethostname()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn environment() -> Vec<String> {
    let pair = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        format!("{}={}", name.to_string_lossy(), value.to_string_lossy())
    };
    std::env::vars_os().map(pair).collect()
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn namespaces() -> Value {
    let kinds = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"];
    let link = |kind: &str| {
        let target = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        Some(target.to_string_lossy().into_owned())
    };
    kinds
        .iter()
        .map(|kind| ((*kind).to_owned(), json!(link(kind))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn descriptors() -> Vec<Value> {
    let mut all = Vec::new();
    for fd in (0..1024).filter(|fd| sys::is_open(*fd)) {
        let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        // A descriptor that only this listing opened is gone again by now.
        let target = target.map(|t| t.to_string_lossy().into_owned());
        all.push(json!({"fd": fd, "target": target}));
    }
    all
}

fn terminal(fd: BorrowedFd<'_>) -> Value {
    if !nix::unistd::isatty(fd).unwrap_or(false) {
        return Value::Null;
    }
    let name = nix::unistd::ttyname(fd)
        .map(|p| p.display().to_string())
        .map_err(|e| format!("{e:?}"));
    let (rows, columns) = sys::window_size(fd).unwrap_or((0, 0));
    let mode = name
        .as_ref()
        .ok()
        .and_then(|n| fs::metadata(n).ok())
        .map(|m| m.mode() & 0o777);
    json!({
        "name": name.unwrap_or_else(|e| e), "rows": rows, "columns": columns, "mode": mode,
        "controlling": fs::File::open("/dev/tty").is_ok(),
    })
}

fn limits() -> Value {
    let all = [
        #[cfg(target_os = "linux")]
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let one = |(name, resource): &(&str, Resource)| {
        let (soft, hard) = getrlimit(*resource).ok()?;
        Some(((*name).to_owned(), json!({"soft": soft, "hard": hard})))
    };
    all.iter()
        .filter_map(one)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn addresses() -> Vec<String> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let one = |a: nix::ifaddrs::InterfaceAddress| {
        let address = a.address?;
        let text = address.to_string();
        Some(format!("{} {text}", a.interface_name))
    };
    all.filter_map(one).collect()
}

/// Everything that the suite may want to know about this process.
pub fn report() -> Value {
    // Asked first: nothing of the report itself is open yet.
    let fds = descriptors();
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(umask);
    let stdin = std::io::stdin();
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let mut all = json!({
        "platform": std::env::consts::OS,
        "args": std::env::args().collect::<Vec<_>>(),
        "env": environment(),
        "pid": getpid().as_raw(), "ppid": getppid().as_raw(),
        "sid": nix::unistd::getsid(None).map(Pid::as_raw).unwrap_or(-1),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "uid": nix::unistd::getuid().as_raw(), "euid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getgid().as_raw(), "egid": nix::unistd::getegid().as_raw(),
        "groups": sys::groups(),
        "umask": u64::from(umask.bits()),
        "cwd": std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_else(|e| io_name(&e)),
        "hostname": hostname(), "domainname": sys::domain_name(),
        "rlimits": limits(),
        "fds": fds,
        "tty": {"stdin": terminal(stdin.as_fd()), "stdout": terminal(stdout.as_fd()), "stderr": terminal(stderr.as_fd())},
        "root": names("/"), "dev": names("/dev"), "devPts": names("/dev/pts"),
        "interfaces": nix::net::if_::if_nameindex().map(|all| {
            all.iter().map(|i| i.name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        }).unwrap_or_default(),
        "addresses": addresses(),
    });
    platform(&mut all);
    all
}

#[cfg(target_os = "linux")]
fn platform(all: &mut Value) {
    let read = |file: &str| {
        fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let status: serde_json::Map<String, Value> = read("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), json!(value.trim())))
        .collect();
    all["noNewPrivs"] = json!(status.get("NoNewPrivs").map(|v| v == "1"));
    all["status"] = status.into();
    all["oomScoreAdj"] =
        json!(read("/proc/self/oom_score_adj").and_then(|t| t.parse::<i64>().ok()));
    all["cgroup"] = json!(read("/proc/self/cgroup"));
    all["ns"] = namespaces();
    all["scheduler"] = sys::linux::scheduler();
    all["ioPriority"] = json!(sys::linux::io_priority());
    all["personality"] = json!(sys::linux::personality());
    let mounts: Vec<Value> = read("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            Some(json!({
                "target": left[4], "root": left[3], "options": left[5].split(',').collect::<Vec<_>>(),
                "propagation": left[6..], "fstype": right[0], "source": right[1],
                "data": right.get(2).map(|d| d.split(',').collect::<Vec<_>>()),
            }))
        })
        .collect();
    all["mounts"] = mounts.into();
}

#[cfg(target_os = "freebsd")]
fn platform(all: &mut Value) {
    use sys::freebsd;
    all["noNewPrivs"] = json!(freebsd::no_new_privs());
    let option = |flags: u64| {
        let known = [
            (libc::MNT_RDONLY as u64, "ro"),
            (libc::MNT_NOEXEC as u64, "noexec"),
            (libc::MNT_NOSUID as u64, "nosuid"),
            (libc::MNT_NOATIME as u64, "noatime"),
        ];
        known
            .iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
    };
    let mounts: Vec<Value> = freebsd::mounts()
        .iter()
        .map(|m| json!({"target": m.target, "fstype": m.fstype, "source": m.source, "options": option(m.flags)}))
        .collect();
    all["mounts"] = mounts.into();
    let numbers = [
        "security.jail.jailed",
        "security.jail.vnet",
        "security.jail.enforce_statfs",
        "security.jail.set_hostname_allowed",
        "security.jail.socket_unixiproute_only",
        "security.jail.sysvipc_allowed",
        "security.jail.allow_raw_sockets",
        "security.jail.chflags_allowed",
        "security.jail.mount_allowed",
        "security.jail.devfs_ruleset",
        "security.jail.children.max",
        "kern.securelevel",
        "kern.hostid",
    ];
    let mut jail = serde_json::Map::new();
    for name in numbers {
        jail.insert(name.into(), json!(freebsd::sysctl_number(name)));
    }
    jail.insert(
        "kern.hostuuid".into(),
        json!(freebsd::sysctl_text("kern.hostuuid")),
    );
    all["jail"] = jail.into();
    let me = getpid().as_raw();
    all["jid"] = json!(freebsd::processes().iter().find(|p| p.0 == me).map(|p| p.2));
}
