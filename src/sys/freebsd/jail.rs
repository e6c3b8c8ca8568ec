//! jail(2).

use std::ffi::CString;
use std::io;

use nix::errno::Errno;

use super::{Fault, with_pairs};

/// Creates the jail; it must not exist.
pub const CREATE: i32 = libc::JAIL_CREATE;
/// Changes the jail, which must exist.
pub const UPDATE: i32 = libc::JAIL_UPDATE;

/// Sets parameters, each a name and its bytes (none for a switch), and returns
/// the jail's id.
///
/// # Errors
/// Those of jail_set(2), with the kernel's words.
pub fn set(parameters: &[(String, Option<Vec<u8>>)], flags: i32) -> Result<i32, Fault> {
    let mut pairs = pairs(parameters)?;
    with_pairs(&mut pairs, |iov, count| {
        // SAFETY: the iovec names live buffers with their true lengths; with
        // CREATE and UPDATE the kernel only reads them, but for errmsg, which
        // is writable.
        unsafe { libc::jail_set(iov, count, flags) }
    })
}

/// Reads parameters of the jail that `key` names ("jid", "name" or "lastjid"),
/// each into a buffer of the size given, and returns the jail's id with them.
///
/// # Errors
/// ENOENT when there is no such jail.
pub fn get(key: (&str, Vec<u8>), wanted: &[(&str, usize)]) -> Result<(i32, Vec<Vec<u8>>), Fault> {
    let mut all = vec![(key.0.to_owned(), Some(key.1))];
    all.extend(
        wanted
            .iter()
            .map(|(name, size)| ((*name).to_owned(), Some(vec![0; *size]))),
    );
    let mut pairs = pairs(&all)?;
    let jid = with_pairs(&mut pairs, |iov, count| {
        // SAFETY: the iovec names live, writable buffers with their true
        // lengths.
        unsafe { libc::jail_get(iov, count, 0) }
    })?;
    Ok((
        jid,
        pairs
            .into_iter()
            .skip(1)
            .filter_map(|(_, value)| value)
            .collect(),
    ))
}

/// Names and values, ready for the kernel.
type Pairs = Vec<(CString, Option<Vec<u8>>)>;

fn pairs(all: &[(String, Option<Vec<u8>>)]) -> Result<Pairs, Fault> {
    let einval = |_| Fault {
        errno: Errno::EINVAL,
        message: "a name contains a NUL byte".into(),
    };
    let pair = |(name, value): &(String, Option<Vec<u8>>)| {
        Ok((CString::new(name.as_str()).map_err(einval)?, value.clone()))
    };
    all.iter().map(pair).collect()
}

/// Moves this process into the jail; its root and working directory become
/// the jail's root.
///
/// # Errors
/// EPERM while a descriptor of a directory is open; EINVAL without such a jail.
pub fn attach(jid: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::jail_attach(jid) })?;
    Ok(())
}

/// Removes the jail and those in it, and kills every process in them.
///
/// # Errors
/// EINVAL without such a jail.
pub fn remove(jid: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::jail_remove(jid) })?;
    Ok(())
}

/// Restricts the jail to processors, each below 1024.
///
/// # Errors
/// EDEADLK when the jail's set has none of them.
pub fn set_processors(jid: i32, cpus: &[u32]) -> io::Result<()> {
    let mut words = [0_u64; 1024 / 64];
    for cpu in cpus {
        if let Some(word) = words.get_mut(*cpu as usize / 64) {
            *word |= 1 << (cpu % 64);
        }
    }
    unsafe extern "C" {
        // sys/cpuset.h; the libc crate's set is too small for this kernel's.
        fn cpuset_setaffinity(
            level: libc::c_int,
            which: libc::c_int,
            id: i64,
            size: usize,
            mask: *const u64,
        ) -> libc::c_int;
    }
    // CPU_LEVEL_WHICH of sys/cpuset.h.
    const LEVEL_WHICH: libc::c_int = 3;
    // SAFETY: the mask is live and its true size is passed.
    let set = unsafe {
        let size = size_of_val(&words);
        cpuset_setaffinity(
            LEVEL_WHICH,
            libc::CPU_WHICH_JAIL,
            i64::from(jid),
            size,
            words.as_ptr(),
        )
    };
    Errno::result(set)?;
    Ok(())
}
