//! The shim's only unsafe code: what neither the standard library nor nix
//! offers safely.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::unix::AsyncFd;

/// Makes this process the parent of its descendants' orphans.
///
/// # Errors
/// Those of prctl(2), procctl(2).
pub fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a number and touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    #[cfg(target_os = "freebsd")]
    // SAFETY: PROC_REAP_ACQUIRE takes no argument, so the pointer may be null.
    Errno::result(unsafe {
        libc::procctl(
            libc::P_PID,
            libc::getpid().into(),
            libc::PROC_REAP_ACQUIRE,
            std::ptr::null_mut(),
        )
    })?;
    Ok(())
}

/// Takes one child that has ended: its process id and wait status. nix's
/// waitpid loses a child that a real-time signal killed.
pub fn reap_one() -> Option<(u32, i32)> {
    let mut status = 0;
    // SAFETY: the status is a live integer that the call may write.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then(|| (pid.unsigned_abs(), status))
}

/// A wait status as engines give it: the exit code, or 128 and the signal.
pub fn exit_code(status: i32) -> u32 {
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status).unsigned_abs()
    } else {
        128 + libc::WTERMSIG(status).unsigned_abs()
    }
}

/// Sends a signal, real-time ones too, which nix has no names for.
///
/// # Errors
/// Those of kill(2); EINVAL for what is not the id of one process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: kill takes two numbers and touches no memory.
    Errno::result(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Sets a terminal's size in characters.
///
/// # Errors
/// Those of tty_ioctl(4).
pub fn set_size(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and TIOCSWINSZ reads one winsize.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}

/// Receives one descriptor from a socket.
///
/// # Errors
/// Those of recvmsg(2); `InvalidData` when the message carries none.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0; 256];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let fd = socket.as_fd().as_raw_fd();
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(all) = part {
            // SAFETY: the kernel has just made these descriptors for this
            // process; nothing else owns them.
            received.extend(
                all.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    received
        .pop()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor was sent"))
}

/// The descriptor that `start` gave to this process. Call it once.
///
/// # Errors
/// EBADF when it is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD touches no memory.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, it was opened before this process began, and the one
    // call of this function takes it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    // Not for the containers.
    nix::fcntl::fcntl(
        &fd,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )?;
    Ok(fd)
}

/// Registers a descriptor with the event loop.
///
/// # Errors
/// EPERM for a file that cannot be waited for.
pub fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and nobody closes or replaces it while the
    // AsyncFd owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Lets the command see each descriptor under its number.
///
/// # Errors
/// EMFILE.
pub fn pass(command: &mut Command, descriptors: Vec<(OwnedFd, RawFd)>) -> io::Result<()> {
    // Above every target, so that no dup2 covers a descriptor still needed.
    let mut moved = Vec::with_capacity(descriptors.len());
    for (fd, target) in descriptors {
        let raw = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(64))?;
        // SAFETY: the call has just made it; nothing else owns it.
        moved.push((unsafe { OwnedFd::from_raw_fd(raw) }, target));
    }
    let enter = move || {
        for (fd, target) in &moved {
            // SAFETY: dup2 is async-signal-safe and touches no memory; the
            // target's flag close-on-exec is off afterwards.
            Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), *target) })?;
        }
        Ok(())
    };
    // SAFETY: the closure calls only dup2, and allocates nothing.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(3 << 8), 3);
        assert_eq!(exit_code(libc::SIGKILL), 137);
        // A real-time signal, which has no name.
        assert_eq!(exit_code(40), 168);
    }
}
