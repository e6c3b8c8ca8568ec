//! Extended attributes of files (xattr(7)), with the names that tar archives
//! have for them: `user.x`, `security.capability`.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

fn c_string(bytes: &OsStr) -> io::Result<CString> {
    Ok(CString::new(bytes.as_bytes())?)
}

/// The path of a name in an open directory: there is no *at(2) form of these
/// calls before Linux 6.13. The last component is not followed by the l* calls.
fn at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    Ok(CString::new(path)?)
}

/// Sets an attribute of an open file (fsetxattr(2)).
///
/// # Errors
/// Those of the call; EOPNOTSUPP where the file system keeps none.
pub fn set(file: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> io::Result<()> {
    let name = c_string(name)?;
    let (data, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: the name is NUL-terminated, the value is `length` bytes, and both
    // live for the length of the call.
    let result = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), data, length, 0) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Sets an attribute of a name in a directory, which may be a symbolic link
/// (lsetxattr(2)).
///
/// # Errors
/// As for [`set`].
pub fn set_at(
    directory: BorrowedFd<'_>,
    file: &OsStr,
    name: &OsStr,
    value: &[u8],
) -> io::Result<()> {
    let (path, name) = (at(directory, file)?, c_string(name)?);
    let (data, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: path and name are NUL-terminated, the value is `length` bytes, and
    // all live for the length of the call.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), data, length, 0) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// All attributes of a name in a directory, not following a symbolic link,
/// sorted by name (llistxattr(2), lgetxattr(2)).
///
/// # Errors
/// Those of the calls. A file system without attributes has none.
pub fn all_at(directory: BorrowedFd<'_>, file: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let path = at(directory, file)?;
    let names = grown(|buffer, length| {
        // SAFETY: the path is NUL-terminated and the buffer has `length` bytes.
        unsafe { libc::llistxattr(path.as_ptr(), buffer.cast(), length) }
    });
    let names = match names {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut all = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let c_name = CString::new(name)?;
        let value = grown(|buffer, length| {
            // SAFETY: both strings are NUL-terminated, the buffer has `length` bytes.
            unsafe { libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), buffer.cast(), length) }
        });
        match value {
            Ok(value) => all.push((OsString::from_vec(name.to_vec()), value)),
            // Removed since it was listed, or not for us to read.
            Err(Errno::ENODATA | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    all.sort();
    Ok(all)
}

/// Calls with a buffer that is large enough; a length of 0 asks for the size.
fn grown(call: impl Fn(*mut u8, usize) -> libc::ssize_t) -> Result<Vec<u8>, Errno> {
    loop {
        let size = Errno::result(call(std::ptr::null_mut(), 0))? as usize;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0_u8; size];
        match Errno::result(call(buffer.as_mut_ptr(), size)) {
            Ok(length) => {
                buffer.truncate(length as usize);
                return Ok(buffer);
            }
            // It grew in between.
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// File flags are FreeBSD's.
///
/// # Errors
/// Always EOPNOTSUPP.
pub fn set_flags_at(_: BorrowedFd<'_>, _: &OsStr, _: u32) -> io::Result<()> {
    Err(Errno::EOPNOTSUPP.into())
}

/// The file flags of a file: Linux has none in stat(2).
pub fn flags(_: &nix::sys::stat::FileStat) -> u32 {
    0
}
