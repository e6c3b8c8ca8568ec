//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows, in characters.
    pub rows: u16,
    /// Columns, in characters.
    pub columns: u16,
}

/// A new pseudo-terminal of the file system view that this process has: the
/// master, the other end, and the latter's path. Both close on exec.
///
/// # Errors
/// Those of posix_openpt(2): ENOENT when there is no pts device.
pub fn open_pair() -> io::Result<(OwnedFd, OwnedFd, String)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: no pointer is passed.
    let master = Errno::result(unsafe { libc::posix_openpt(flags) })?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    // SAFETY: no pointer is passed; the descriptor is open.
    Errno::result(unsafe { libc::grantpt(master.as_raw_fd()) })?;
    // SAFETY: as above.
    Errno::result(unsafe { libc::unlockpt(master.as_raw_fd()) })?;
    let mut name = [0 as libc::c_char; 128];
    // SAFETY: the buffer is live and its true length is passed.
    let status = unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) };
    if status != 0 {
        return Err(Errno::last().into());
    }
    // SAFETY: ptsname_r succeeded, so the buffer holds a NUL-terminated string.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) };
    // SAFETY: the path is NUL-terminated and live.
    let slave = Errno::result(unsafe { libc::open(name.as_ptr(), flags) })?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    Ok((master, slave, name.to_string_lossy().into_owned()))
}

/// Makes the terminal the controlling one of this session leader.
///
/// # Errors
/// Those of TIOCSCTTY.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes no pointer.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as _, 0) })?;
    Ok(())
}

/// The terminal's size.
///
/// # Errors
/// ENOTTY when it is not a terminal.
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a live winsize, which TIOCGWINSZ fills.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut size) };
    Errno::result(result)?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Sets the terminal's size.
///
/// # Errors
/// ENOTTY when it is not a terminal.
pub fn resize(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a live winsize, which TIOCSWINSZ reads.
    let result =
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) };
    Errno::result(result)?;
    Ok(())
}
