//! sysctl(3).

use std::ffi::CString;
use std::io;

use nix::errno::Errno;

/// A value's bytes; None when there is no such name.
pub fn raw(name: &str) -> Option<Vec<u8>> {
    let name = CString::new(name).ok()?;
    let mut length = 0;
    // SAFETY: the name is NUL-terminated; with a null buffer only the length
    // is written.
    let sized = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            std::ptr::null_mut(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    Errno::result(sized).ok()?;
    let mut value = vec![0_u8; length];
    // SAFETY: the buffer is live and `length` is its true size.
    let read = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    Errno::result(read).ok()?;
    value.truncate(length);
    Some(value)
}

/// An integer of one, four or eight bytes.
pub fn number(name: &str) -> Option<i64> {
    let value = raw(name)?;
    match value.len() {
        1 => Some(value[0].into()),
        4 => Some(i32::from_ne_bytes(value.try_into().ok()?).into()),
        8 => Some(i64::from_ne_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// Reads by number, into a buffer that grows until it is large enough.
///
/// # Errors
/// Those of sysctl(3).
pub fn by_number(mib: &[libc::c_int], first: usize) -> io::Result<Vec<u8>> {
    let mut size = first;
    loop {
        let mut value = vec![0_u8; size];
        let mut length = size;
        // SAFETY: the number list and the buffer are live and their true
        // lengths are passed.
        let read = unsafe {
            libc::sysctl(
                mib.as_ptr(),
                mib.len() as libc::c_uint,
                value.as_mut_ptr().cast(),
                &raw mut length,
                std::ptr::null(),
                0,
            )
        };
        match Errno::result(read) {
            Ok(_) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(Errno::ENOMEM) => size = size.max(4096) * 2,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// How the kernel describes a value (CTLTYPE_* of sys/sysctl.h and a format).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The type: 2 int, 3 string, 5 structure, 7 long, 8 unsigned long, …
    pub kind: u32,
    /// The format, as "B", "I", "A", "E,jailsys" or "S,in_addr".
    pub format: String,
}

/// CTLTYPE_NODE: a name with others below it.
const NODE: u32 = 1;

/// The description of a name; None when there is no such name. A node is
/// described by the leaf without a name below it, if it has one: the kernel
/// numbers that one just before or just behind the node (jail(3lib) finds it
/// so too).
pub fn describe(name: &str) -> Option<Description> {
    let mib = numbers(name)?;
    let own = description(&mib)?;
    if own.kind != NODE {
        return Some(own);
    }
    [-1, 1].into_iter().find_map(|step| {
        let leaf = [mib.as_slice(), &[mib.last()? + step]].concat();
        let named = name_of(&leaf)?;
        (named.strip_suffix('.') == Some(name)).then(|| description(&leaf))?
    })
}

fn description(mib: &[libc::c_int]) -> Option<Description> {
    // sysctl.oidfmt: {0, 4, …}.
    let raw = by_number(&[&[0, 4], mib].concat(), 256).ok()?;
    let kind = u32::from_ne_bytes(raw.get(..4)?.try_into().ok()?);
    let text = raw[4..].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Description {
        kind: kind & 0xf,
        format: String::from_utf8_lossy(text).into_owned(),
    })
}

fn name_of(mib: &[libc::c_int]) -> Option<String> {
    // sysctl.name: {0, 1, …}.
    let name = by_number(&[&[0, 1], mib].concat(), 256).ok()?;
    let text = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The numbers of a name (sysctl.name2oid).
fn numbers(name: &str) -> Option<Vec<libc::c_int>> {
    let mut mib = [0 as libc::c_int; 24];
    let mut length = size_of_val(&mib);
    let query: [libc::c_int; 2] = [0, 3];
    // SAFETY: all four buffers are live and their true lengths are passed.
    let found = unsafe {
        libc::sysctl(
            query.as_ptr(),
            2,
            mib.as_mut_ptr().cast(),
            &raw mut length,
            name.as_ptr().cast(),
            name.len(),
        )
    };
    Errno::result(found).ok()?;
    Some(mib[..length / size_of::<libc::c_int>()].to_vec())
}

/// All names below `prefix` (which ends with a dot), without it.
pub fn names_below(prefix: &str) -> Vec<String> {
    let Some(start) = numbers(prefix.trim_end_matches('.')) else {
        return Vec::new();
    };
    let (mut found, mut at) = (Vec::new(), start.clone());
    // sysctl.next: {0, 2, …}.
    while let Ok(next) = by_number(&[&[0, 2], at.as_slice()].concat(), 256) {
        at = next
            .chunks_exact(4)
            .map(|n| i32::from_ne_bytes([n[0], n[1], n[2], n[3]]))
            .collect();
        if !at.starts_with(&start) {
            break;
        }
        let Some(name) = name_of(&at) else { break };
        found.extend(
            name.trim_end_matches('.')
                .strip_prefix(prefix)
                .map(String::from),
        );
    }
    found
}
