//! Rules of devfs by ioctl (sys/fs/devfs/devfs.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// DEVFS_MAGIC.
const MAGIC: u32 = 0xdb0a_087a;
/// DEVFS_MAXPTRNLEN.
const PATTERN: usize = 200;

/// struct devfs_rule.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawRule {
    magic: u32,
    id: u32,
    conditions: libc::c_int,
    switch_flags: libc::c_int,
    pattern: [u8; PATTERN],
    actions: libc::c_int,
    on_off: libc::c_int,
    uid: u32,
    gid: u32,
    mode: u16,
    include: u16,
}

const _: () = assert!(size_of::<RawRule>() == 236);

/// DRC_PATHPTRN.
const BY_PATTERN: libc::c_int = 0x2;
/// DRA_BACTS, DRA_UID, DRA_GID, DRA_MODE, DRA_INCSET.
const ACTIONS: [libc::c_int; 5] = [0x1, 0x2, 0x4, 0x8, 0x10];
/// DRB_HIDE and DRB_UNHIDE.
const HIDE: libc::c_int = 0x1;
const UNHIDE: libc::c_int = 0x2;

/// What a rule does, and to which paths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rule<'a> {
    /// Pattern of paths; none for all.
    pub pattern: Option<&'a str>,
    /// Some(true) shows, Some(false) hides.
    pub show: Option<bool>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// A ruleset to apply.
    pub include: Option<u32>,
}

/// An _IOW ioctl number of group 'D'.
const fn write_number(number: u64, size: usize) -> libc::c_ulong {
    0x8000_0000 | ((size as u64 & 0x1fff) << 16) | ((b'D' as u64) << 8) | number
}

/// Applies a rule once to the devfs mount that `directory` (not O_PATH) is in.
///
/// # Errors
/// EINVAL for a ruleset that does not exist, EPERM in a jail.
pub fn apply(directory: BorrowedFd<'_>, rule: Rule<'_>) -> io::Result<()> {
    let mut raw = empty();
    if let Some(pattern) = rule.pattern {
        let pattern = pattern.as_bytes();
        if pattern.len() >= PATTERN {
            return Err(Errno::ENAMETOOLONG.into());
        }
        raw.pattern[..pattern.len()].copy_from_slice(pattern);
        raw.conditions = BY_PATTERN;
    }
    let [on_off, uid, gid, mode, include] = ACTIONS;
    if let Some(show) = rule.show {
        raw.actions |= on_off;
        raw.on_off = if show { UNHIDE } else { HIDE };
    }
    if let Some(value) = rule.uid {
        raw.actions |= uid;
        raw.uid = value;
    }
    if let Some(value) = rule.gid {
        raw.actions |= gid;
        raw.gid = value;
    }
    if let Some(value) = rule.mode {
        raw.actions |= mode;
        raw.mode = value as u16;
    }
    if let Some(value) = rule.include {
        raw.actions |= include;
        raw.include = value as u16;
    }
    // DEVFSIO_RAPPLY.
    call(directory, write_number(2, size_of::<RawRule>()), &mut raw)
}

/// Whether a ruleset has a rule, asked of the devfs that `directory` (not
/// O_PATH) is in.
///
/// # Errors
/// EPERM in a jail, ENOTTY when the directory is not in a devfs.
pub fn has_rules(directory: BorrowedFd<'_>, ruleset: u32) -> io::Result<bool> {
    let mut raw = empty();
    raw.id = ruleset << 16;
    // DEVFSIO_RGETNEXT is _IOWR: IOC_IN and IOC_OUT.
    match call(
        directory,
        write_number(4, size_of::<RawRule>()) | 0x4000_0000,
        &mut raw,
    ) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn empty() -> RawRule {
    RawRule {
        magic: MAGIC,
        id: 0,
        conditions: 0,
        switch_flags: 0,
        pattern: [0; PATTERN],
        actions: 0,
        on_off: 0,
        uid: 0,
        gid: 0,
        mode: 0,
        include: 0,
    }
}

fn call(directory: BorrowedFd<'_>, number: libc::c_ulong, rule: &mut RawRule) -> io::Result<()> {
    // SAFETY: the pointer is to a live rule of the size that is part of the
    // number, which is all the kernel reads and writes.
    Errno::result(unsafe { libc::ioctl(directory.as_raw_fd(), number, rule as *mut RawRule) })?;
    Ok(())
}
