//! The container's terminal, made inside so that it is visible there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use oci_spec::runtime::Process;

use crate::error::{Context, Result};
use crate::sys::unix::{socket, terminal};

/// Makes the terminal, sends its master away, and makes its other end the
/// process's standard streams and controlling terminal. Returns that end's
/// path. The caller has already become a session leader.
///
/// # Errors
/// There is no pseudo-terminal device inside, or the receiver is gone.
pub fn attach(process: &Process, receiver: BorrowedFd<'_>) -> Result<String> {
    let opened = terminal::open_pair().doing("open a terminal", "inside the container");
    let (master, slave, path) = opened.map_err(|e| {
        let hint = if cfg!(target_os = "freebsd") {
            "mount devfs with ruleset 4 on /dev"
        } else {
            "mount devpts on /dev/pts"
        };
        e.hint(hint)
    })?;
    if let Some(size) = process.console_size() {
        let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        let size = terminal::Size {
            rows: clamp(size.height()),
            columns: clamp(size.width()),
        };
        terminal::resize(slave.as_fd(), size).doing("resize", "the terminal")?;
    }
    socket::send_descriptor(receiver, path.as_bytes(), &master)
        .doing("send the terminal over", "the console socket")?;
    drop(master);
    // A program opens its terminal again by name (ssh, screen, gpg), as its
    // user. A user namespace that does not map the user leaves it to root.
    let owner = nix::unistd::Uid::from_raw(process.user().uid());
    match nix::unistd::fchown(&slave, Some(owner), None) {
        Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
        Err(errno) => return Err(errno).doing("give the terminal to", format_args!("uid {owner}")),
    }
    terminal::make_controlling(slave.as_fd()).doing("take", "the terminal")?;
    let name = "the standard streams";
    dup2_stdin(&slave).doing("set up", name)?;
    dup2_stdout(&slave).doing("set up", name)?;
    dup2_stderr(&slave).doing("set up", name)?;
    debug_assert!(slave.as_raw_fd() > 2);
    Ok(path)
}

/// Becomes a session leader, which a child of fork(2) always may.
///
/// # Errors
/// Those of setsid(2).
pub fn new_session() -> Result<()> {
    setsid().doing("start", "a session").map(drop)
}
