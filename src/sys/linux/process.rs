//! Processes of Linux: procfs, prctl(2), pidfds and attributes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

/// What `ps` prints of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Effective user id.
    pub uid: u32,
    /// Parent's process id.
    pub parent: i32,
    /// Processor time used, in milliseconds.
    pub cpu_milliseconds: u64,
    /// Command line, or its short name in brackets.
    pub command: String,
}

/// The fields of /proc/PID/stat behind the name, which may hold anything.
fn stat(pid: i32) -> Option<(char, Vec<u64>)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.get(text.rfind(')')? + 2..)?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((
        state,
        fields.map(|field| field.parse().unwrap_or(0)).collect(),
    ))
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field
/// 22). None for one that does not exist or is dead.
pub fn process_start_time(pid: i32) -> Option<u64> {
    let (state, fields) = stat(pid)?;
    if matches!(state, 'Z' | 'X' | 'x') {
        return None;
    }
    fields.get(18).copied()
}

/// What `ps` prints of a process; None when it is gone.
pub fn process_info(pid: i32) -> Option<ProcessInfo> {
    use std::os::unix::fs::MetadataExt;
    let (_, fields) = stat(pid)?;
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let ticks = fields.get(10)? + fields.get(11)?;
    // SAFETY: sysconf takes no pointer.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|b| *b == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let mut command = words.join(" ").trim_end().to_owned();
    if command.is_empty() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        command = format!("[{}]", name.trim_end());
    }
    let parent = *fields.first()? as i32;
    Some(ProcessInfo {
        uid,
        parent,
        cpu_milliseconds: ticks * 1000 / per_second,
        command,
    })
}

/// Makes this process the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER).
pub fn adopt_orphans(on: bool) {
    let _ = prctl(libc::PR_SET_CHILD_SUBREAPER, u64::from(on));
}

fn prctl(option: libc::c_int, value: u64) -> io::Result<()> {
    // SAFETY: the options used here take plain numbers.
    Errno::result(unsafe { libc::prctl(option, value, 0_u64, 0_u64, 0_u64) })?;
    Ok(())
}

/// Forbids others to trace this process or read its memory until it has
/// executed a program (PR_SET_DUMPABLE).
///
/// # Errors
/// Those of prctl(2).
pub fn forbid_tracing() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Forbids this process and its children to gain privileges by exec.
///
/// # Errors
/// Those of prctl(2).
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Whether a change of user ids keeps the permitted capabilities.
///
/// # Errors
/// Those of prctl(2).
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep))
}

/// A descriptor that stands for a process, whatever becomes of its number.
///
/// # Errors
/// ESRCH when it does not exist.
pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process of a pidfd.
///
/// # Errors
/// ESRCH when it has ended and was waited for.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let (fd, none) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })?;
    Ok(())
}

/// Waits until the process of a pidfd has ended, at most `limit`.
///
/// # Errors
/// Those of poll(2).
pub fn wait_pidfd(pidfd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    crate::sys::unix::process::poll_until(pidfd, limit)
}

/// Joins a new session keyring (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
///
/// # Errors
/// ENOSYS where the kernel has no keyrings.
pub fn new_session_keyring(name: &str) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name is NUL-terminated and lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(result)?;
    Ok(())
}

/// Sets the execution domain (personality(2)).
///
/// # Errors
/// Those of personality(2).
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::personality(domain) })?;
    Ok(())
}

/// Sets where the process's memory comes from (set_mempolicy(2)). `nodes` is a
/// mask, the lowest node in the first word's lowest bit.
///
/// # Errors
/// EINVAL for nodes that do not exist or do not fit the mode; ENOSYS without
/// NUMA.
pub fn set_memory_policy(mode: i32, nodes: &[libc::c_ulong]) -> io::Result<()> {
    // The kernel takes one bit less than it is told (set_mempolicy(2), BUGS).
    let bits = match nodes.len() {
        0 => 0,
        words => words * libc::c_ulong::BITS as usize + 1,
    };
    let mask = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // SAFETY: the mask is null, or has at least `bits` - 1 bits, which is what
    // the kernel reads.
    Errno::result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })?;
    Ok(())
}

/// Sets class and priority of the process's I/O (ioprio_set(2)).
///
/// # Errors
/// EPERM for a class that needs privilege.
pub fn set_io_priority(class: u32, priority: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    let value = (class << 13) | priority;
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) })?;
    Ok(())
}

/// The argument of sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulingAttributes {
    /// Set by the call.
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Priority of real-time policies.
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
}

/// Sets the scheduling policy of this process.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn set_scheduling(mut attributes: SchedulingAttributes) -> io::Result<()> {
    attributes.size = size_of::<SchedulingAttributes>() as u32;
    // SAFETY: the pointer is to a live structure of the size it names.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    Errno::result(result)?;
    Ok(())
}
