//! nmount(2), unmount(2) and getfsstat(2).

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Fault, with_pairs};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its id (f_fsid).
    pub fsid: [i32; 2],
    /// Its type.
    pub fstype: String,
    /// What is mounted (f_mntfromname).
    pub from: PathBuf,
    /// Where (f_mntonname).
    pub on: PathBuf,
    /// Whether df(1) leaves it out (MNT_IGNORE), as what [`mount`] makes.
    pub is_hidden: bool,
}

/// The value of an option of nmount(2).
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// There is none.
    Switch,
    /// Text, which the kernel wants with a NUL at its end.
    Text(&'a OsStr),
    /// Bytes as they stand.
    Bytes(&'a [u8]),
}

/// Mounts with the options given, hidden from df(1) without -a.
///
/// # Errors
/// Those of nmount(2), with the kernel's words.
pub fn mount(options: &[(&str, Value)]) -> Result<(), Fault> {
    let einval = |_| Fault {
        errno: Errno::EINVAL,
        message: "an option contains a NUL byte".into(),
    };
    let mut pairs = Vec::with_capacity(options.len());
    for (name, value) in options {
        let value = match value {
            Value::Switch => None,
            Value::Text(text) => {
                let text = CString::new(text.as_bytes()).map_err(einval)?;
                Some(text.into_bytes_with_nul())
            }
            Value::Bytes(bytes) => Some(bytes.to_vec()),
        };
        pairs.push((CString::new(*name).map_err(einval)?, value));
    }
    with_pairs(&mut pairs, |iov, count| {
        // SAFETY: the iovec names live buffers with their true lengths, and
        // errmsg's is writable.
        unsafe { libc::nmount(iov, count, libc::MNT_IGNORE as libc::c_int) }
    })?;
    Ok(())
}

/// Unmounts by file system id, so that no path is looked up.
///
/// # Errors
/// ENOENT or EINVAL when it is not mounted, EBUSY while it is used.
pub fn unmount(fsid: [i32; 2], force: bool) -> io::Result<()> {
    let id = CString::new(format!("FSID:{}:{}", fsid[0], fsid[1]))?;
    let force = if force {
        libc::MNT_FORCE as libc::c_int
    } else {
        0
    };
    // SAFETY: the string is NUL-terminated and live.
    Errno::result(unsafe { libc::unmount(id.as_ptr(), libc::MNT_BYFSID | force) })?;
    Ok(())
}

/// Unmounts by the path of the mount point, for a mount whose id is not told.
///
/// # Errors
/// EINVAL when nothing is mounted there, EBUSY while it is used.
pub fn unmount_on(path: &Path, force: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = if force {
        libc::MNT_FORCE as libc::c_int
    } else {
        0
    };
    // SAFETY: the string is NUL-terminated and live.
    Errno::result(unsafe { libc::unmount(path.as_ptr(), flags) })?;
    Ok(())
}

/// The file system that a descriptor is in.
///
/// # Errors
/// Those of fstatfs(2).
pub fn of(fd: BorrowedFd<'_>) -> io::Result<Mount> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the buffer is a whole statfs, which the call fills.
    Errno::result(unsafe { libc::fstatfs(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: fstatfs succeeded, and any bytes are a valid statfs.
    Ok(convert(unsafe { stat.assume_init_ref() }))
}

/// Every mounted file system, in the order in which they were mounted.
///
/// # Errors
/// Those of getfsstat(2).
pub fn all() -> io::Result<Vec<Mount>> {
    // SAFETY: with a null buffer the call returns the number only.
    let count = unsafe { libc::getfsstat(std::ptr::null_mut(), 0, libc::MNT_NOWAIT) };
    let room = Errno::result(count)? as usize + 16;
    let mut buffer: Vec<libc::statfs> = Vec::with_capacity(room);
    let size = room * size_of::<libc::statfs>();
    // SAFETY: the buffer has room for `size` bytes.
    let count =
        unsafe { libc::getfsstat(buffer.as_mut_ptr(), size as libc::c_long, libc::MNT_NOWAIT) };
    let count = (Errno::result(count)? as usize).min(room);
    // SAFETY: the kernel has filled `count` entries.
    unsafe { buffer.set_len(count) };
    Ok(buffer.iter().map(convert).collect())
}

fn convert(stat: &libc::statfs) -> Mount {
    let text = |chars: &[libc::c_char]| {
        // SAFETY: the kernel ends the names of a statfs with a NUL within
        // their arrays.
        let text = unsafe { CStr::from_ptr(chars.as_ptr()) };
        OsStr::from_bytes(text.to_bytes()).to_owned()
    };
    // SAFETY: fsid_t is a structure of two ints (sys/_types.h), whose field
    // the libc crate keeps to itself.
    let fsid = unsafe { *(&raw const stat.f_fsid).cast::<[i32; 2]>() };
    Mount {
        fsid,
        fstype: text(&stat.f_fstypename).to_string_lossy().into_owned(),
        from: text(&stat.f_mntfromname).into(),
        on: text(&stat.f_mntonname).into(),
        is_hidden: stat.f_flags & libc::MNT_IGNORE != 0,
    }
}
