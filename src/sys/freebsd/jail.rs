//! jail(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// JAIL_GET_DESC and JAIL_OWN_DESC of sys/jail.h (FreeBSD 15).
const GET_DESCRIPTOR: i32 = 0x40;
const OWN_DESCRIPTOR: i32 = 0x80;
/// The parameter that a descriptor comes back in.
const DESCRIPTOR: &str = "desc";

/// As [`get`], with a descriptor of the jail, which means no other one ever.
/// It is closed on exec.
///
/// # Errors
/// ENOENT when there is no such jail; EINVAL without words from a kernel that
/// has no jail descriptors.
pub fn open(
    key: (&str, Vec<u8>),
    wanted: &[(&str, usize)],
) -> Result<(OwnedFd, i32, Vec<Vec<u8>>), Fault> {
    let mut all = vec![(key.0.to_owned(), Some(key.1))];
    let mut add = |name: &str, size: usize| all.push((name.to_owned(), Some(vec![0; size])));
    wanted.iter().for_each(|(name, size)| add(name, *size));
    add(DESCRIPTOR, size_of::<libc::c_int>());
    let mut pairs = pairs(&all)?;
    let jid = with_pairs(&mut pairs, |iov, count| {
        // SAFETY: the iovec names live, writable buffers with their true
        // lengths.
        unsafe { libc::jail_get(iov, count, GET_DESCRIPTOR) }
    })?;
    let descriptor = returned(&mut pairs)?;
    let values = pairs.into_iter().skip(1).filter_map(|(_, value)| value);
    Ok((descriptor, jid, values.collect()))
}

/// Creates a jail that is removed when the descriptor is closed, by this
/// process or by its end. It is closed on exec.
///
/// # Errors
/// As [`set`] and [`open`].
pub fn create_owned(parameters: &[(String, Option<Vec<u8>>)]) -> Result<(OwnedFd, i32), Fault> {
    let mut all = parameters.to_vec();
    let none = (-1 as libc::c_int).to_ne_bytes().to_vec();
    all.push((DESCRIPTOR.into(), Some(none)));
    let mut pairs = pairs(&all)?;
    let jid = with_pairs(&mut pairs, |iov, count| {
        // SAFETY: the iovec names live buffers with their true lengths; the
        // kernel writes to those of desc and errmsg, which are writable.
        unsafe { libc::jail_set(iov, count, CREATE | OWN_DESCRIPTOR) }
    })?;
    Ok((returned(&mut pairs)?, jid))
}

/// Takes the descriptor out of the last pair.
fn returned(pairs: &mut Pairs) -> Result<OwnedFd, Fault> {
    let bytes = pairs.pop().and_then(|(_, value)| value);
    let number = bytes.and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    let fault = |errno| Fault {
        errno,
        message: "no descriptor came back".into(),
    };
    let number = number
        .filter(|number| *number >= 0)
        .ok_or_else(|| fault(Errno::EBADF))?;
    // SAFETY: the kernel just installed this descriptor and nothing else owns
    // it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: F_SETFD changes one flag of the descriptor table's entry.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    Errno::result(set).map_err(fault)?;
    Ok(descriptor)
}

/// JAIL_USE_DESC of sys/jail.h (FreeBSD 15): the jail is the descriptor's.
const USE_DESCRIPTOR: i32 = 0x10;

/// As [`attach`], by descriptor.
///
/// Not by jail_attach_jd(2): each of its calls keeps a reference to the jail for
/// good (seen with 15.1), so that the jail never ends dying. What it holds stays
/// with it: its root directory's file system, its vnet, and the account of its
/// name, which the next jail of that name gets.
///
/// # Errors
/// As there; ENOENT when the jail is gone.
pub fn attach_to(jail: BorrowedFd<'_>) -> io::Result<()> {
    let number = jail.as_raw_fd().to_ne_bytes().to_vec();
    let flags = UPDATE | USE_DESCRIPTOR | libc::JAIL_ATTACH;
    set(&[(DESCRIPTOR.into(), Some(number))], flags).map_err(|fault| fault.errno)?;
    Ok(())
}

/// jail_remove_jd(2) by number (sys/syscall.h): the C library of FreeBSD 14 does
/// not have it.
const SYS_REMOVE: libc::c_int = 598;

/// As [`remove`], by descriptor.
///
/// # Errors
/// ENOENT when the jail is gone.
pub fn remove_by(jail: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes one int. A kernel without it would answer with
    // SIGSYS, but gives no jail descriptors either.
    Errno::result(unsafe { libc::syscall(SYS_REMOVE, jail.as_raw_fd()) })?;
    Ok(())
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
