//! Extended attributes (extattr(2)), with the names that tar archives give them:
//! the namespace, a dot and the name.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

/// The namespaces (sys/extattr.h) and what tar calls them.
const NAMESPACES: [(&str, libc::c_int); 2] = [
    ("user", libc::EXTATTR_NAMESPACE_USER),
    ("system", libc::EXTATTR_NAMESPACE_SYSTEM),
];

/// Namespace and name of a tar archive's name.
fn split(name: &OsStr) -> io::Result<(libc::c_int, CString)> {
    for (prefix, namespace) in NAMESPACES {
        let rest = name.as_bytes().strip_prefix(prefix.as_bytes());
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b".")) {
            return Ok((namespace, CString::new(rest)?));
        }
    }
    Err(Errno::EOPNOTSUPP.into())
}

/// Sets an attribute of an open file (extattr_set_fd(2)).
///
/// # Errors
/// Those of the call; EOPNOTSUPP where the file system keeps none, or for a
/// name of a namespace that FreeBSD has not.
pub fn set(file: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> io::Result<()> {
    let (namespace, name) = split(name)?;
    let (data, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: the name is NUL-terminated, the value is `length` bytes, and both
    // live for the length of the call.
    let result =
        unsafe { libc::extattr_set_fd(file.as_raw_fd(), namespace, name.as_ptr(), data, length) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Whether an open file has an attribute (extattr_get_fd(2)); a file system
/// without attributes has none.
pub fn has(file: BorrowedFd<'_>, name: &OsStr) -> bool {
    let Ok((namespace, name)) = split(name) else {
        return false;
    };
    // SAFETY: the name is NUL-terminated and lives for the length of the call;
    // without a buffer only the size is told.
    let size = unsafe {
        let fd = file.as_raw_fd();
        libc::extattr_get_fd(fd, namespace, name.as_ptr(), std::ptr::null_mut(), 0)
    };
    size >= 0
}
