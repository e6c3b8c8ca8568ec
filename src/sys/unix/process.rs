//! Processes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Which side of a fork(2) this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process.
    Child,
    /// The process that forked, and the child's id.
    Parent(i32),
}

/// fork(2). brig has one thread here, so the child may do whatever the parent
/// may.
///
/// # Errors
/// Those of fork(2).
pub fn fork() -> io::Result<Forked> {
    // SAFETY: brig is single-threaded wherever it forks (threads are started by
    // the image code only, and have all ended before a container is created), so
    // no lock can be held by a thread that the child lacks.
    match Errno::result(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// _exit(2): ends the process without running destructors or exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of the process.
    unsafe { libc::_exit(status) }
}

/// An anonymous file in memory, close-on-exec.
///
/// # Errors
/// Those of memfd_create(2).
pub fn memory_file() -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated constant.
    let fd = unsafe { libc::memfd_create(c"brig".as_ptr(), libc::MFD_CLOEXEC) };
    let fd = Errno::result(fd)?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// umask(2): sets the file mode creation mask and returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: umask always succeeds and touches no memory.
    unsafe { libc::umask(mask as libc::mode_t) as u32 }
}

/// A soft and a hard limit by the resource's number (RLIMIT_*).
///
/// # Errors
/// Those of setrlimit(2).
pub fn set_rlimit(resource: i32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft as libc::rlim_t,
        rlim_max: hard as libc::rlim_t,
    };
    // SAFETY: the pointer is to a live rlimit for the length of the call.
    Errno::result(unsafe { libc::setrlimit(resource as _, &limit) })?;
    Ok(())
}

/// Gives a signal its default disposition.
pub fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL installs no handler, so no code can run because of it.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Waits until a child has exited, at most `limit`; its status is left to
/// wait(2). False when the time is over.
///
/// # Errors
/// ESRCH when there is no such process.
#[cfg(target_os = "linux")]
pub fn wait_exit(pid: i32, limit: std::time::Duration) -> io::Result<bool> {
    poll_until(&crate::sys::linux::process::open_pidfd(pid)?, limit)
}

/// Waits until the descriptor is readable, at most `limit`, whatever signals
/// arrive meanwhile.
///
/// # Errors
/// Those of poll(2).
#[cfg(target_os = "linux")]
pub fn poll_until(fd: &OwnedFd, limit: std::time::Duration) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let end = std::time::Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        // Rounded up, so that the last part of a millisecond does not spin.
        let left = left.as_millis() + u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
        let left =
            PollTimeout::try_from(left.min(i32::MAX as u128) as i32).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], left) {
            Ok(ready) if ready > 0 => return Ok(true),
            Ok(_) if std::time::Instant::now() >= end => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(target_os = "freebsd")]
pub use crate::sys::freebsd::process::wait_exit;
