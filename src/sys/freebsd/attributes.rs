//! Extended attributes (extattr(2)) and file flags (chflags(2)). Attributes have
//! the names that tar archives give them: the namespace, a dot and the name.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

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

/// A descriptor that stands for the name itself, also where that is a symbolic
/// link (open(2), O_PATH).
fn open_at(directory: BorrowedFd<'_>, file: &OsStr) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(directory, file, flags, Mode::empty())?)
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

/// Sets an attribute of a name in a directory, which may be a symbolic link.
///
/// # Errors
/// As for [`set`].
pub fn set_at(
    directory: BorrowedFd<'_>,
    file: &OsStr,
    name: &OsStr,
    value: &[u8],
) -> io::Result<()> {
    set(open_at(directory, file)?.as_fd(), name, value)
}

/// All attributes of a name in a directory, not following a symbolic link,
/// sorted by name.
///
/// # Errors
/// Those of the calls. A file system without attributes has none.
pub fn all_at(directory: BorrowedFd<'_>, file: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let file = open_at(directory, file)?;
    let fd = file.as_raw_fd();
    let mut all = Vec::new();
    for (prefix, namespace) in NAMESPACES {
        let names = sized(|buffer, length| {
            // SAFETY: the buffer has `length` bytes, or is null to ask for the size.
            unsafe { libc::extattr_list_fd(fd, namespace, buffer.cast(), length) }
        });
        let names = match names {
            Ok(names) => names,
            Err(Errno::EOPNOTSUPP | Errno::EPERM) => continue,
            Err(errno) => return Err(errno.into()),
        };
        // Each name follows a byte with its length.
        let mut rest = names.as_slice();
        while let Some((length, after)) = rest.split_first() {
            let Some((name, after)) = after.split_at_checked(usize::from(*length)) else {
                break;
            };
            rest = after;
            let c_name = CString::new(name)?;
            let value = sized(|buffer, length| {
                // SAFETY: the name is NUL-terminated; the buffer is as above.
                unsafe {
                    libc::extattr_get_fd(fd, namespace, c_name.as_ptr(), buffer.cast(), length)
                }
            });
            let mut full = format!("{prefix}.").into_bytes();
            full.extend_from_slice(name);
            match value {
                Ok(value) => all.push((OsString::from_vec(full), value)),
                Err(Errno::ENOATTR | Errno::EPERM | Errno::EACCES) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Asks for the size, then calls with a buffer of it.
fn sized(call: impl Fn(*mut u8, usize) -> libc::ssize_t) -> Result<Vec<u8>, Errno> {
    let size = Errno::result(call(std::ptr::null_mut(), 0))? as usize;
    let mut buffer = vec![0_u8; size];
    if size > 0 {
        let length = Errno::result(call(buffer.as_mut_ptr(), size))? as usize;
        buffer.truncate(length);
    }
    Ok(buffer)
}

/// Sets the file flags of a name, not following a symbolic link (chflagsat(2)).
///
/// # Errors
/// Those of the call; EPERM in a jail without allow.chflags.
pub fn set_flags_at(directory: BorrowedFd<'_>, file: &OsStr, flags: u32) -> io::Result<()> {
    let file = CString::new(file.as_bytes())?;
    // SAFETY: the name is NUL-terminated and lives for the length of the call.
    let result = unsafe {
        libc::chflagsat(
            directory.as_raw_fd(),
            file.as_ptr(),
            libc::c_ulong::from(flags),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// The file flags in the result of stat(2).
pub fn flags(stat: &nix::sys::stat::FileStat) -> u32 {
    stat.st_flags
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
