//! Namespaces of Linux.

use std::io;

use nix::errno::Errno;

use crate::sys::unix::process::Forked;

/// Gives the child to this process's parent.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;

/// clone3(2) in the manner of fork(2), with new namespaces for the child.
///
/// # Errors
/// EPERM without privilege, EINVAL for a kind that the kernel has not, ENOSPC
/// when there are too many.
pub fn fork_into_new(flags: u64) -> io::Result<Forked> {
    // SAFETY: an all-zero clone_args is valid; every field is a number.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    // With CLONE_PARENT the child's exit signal is that of its creator.
    args.exit_signal = if flags & CLONE_PARENT != 0 {
        0
    } else {
        libc::SIGCHLD as u64
    };
    let size = size_of::<libc::clone_args>();
    // SAFETY: the pointer is to a live structure of the size passed. Without a
    // stack and CLONE_VM this is fork(2), and brig has one thread wherever it
    // forks, so the child may do whatever the parent may.
    match Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}
