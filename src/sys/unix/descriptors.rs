//! Descriptors in bulk.

use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;

/// Whether the descriptor is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only reads the flags of the descriptor table's entry; a
    // number that is not open gives EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Clears close-on-exec, so that the descriptor enters the next program.
///
/// # Errors
/// EBADF when it is not open.
pub fn keep_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD changes one flag of the descriptor table's entry.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(())
}

/// Closes every descriptor from `first` on but those in `keep`.
///
/// # Errors
/// Those of close_range(2).
///
/// This breaks every owner of a closed descriptor in this process, so it is
/// for a forked child that from here on uses only `keep` and never drops the
/// other owners (it ends by exec or _exit).
pub fn close_from_except(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from as u32, fd as u32 - 1, 0)?;
        }
        from = fd + 1;
    }
    close_range(from as u32, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointer is passed. That no owner uses a closed descriptor
    // afterwards is the documented duty of close_from_except's caller.
    #[cfg(target_os = "linux")]
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) as libc::c_int };
    // SAFETY: as above.
    #[cfg(target_os = "freebsd")]
    let result = unsafe { libc::close_range(first, last, flags) };
    Errno::result(result)?;
    Ok(())
}
