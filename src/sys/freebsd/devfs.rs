//! Rulesets of devfs by ioctl (sys/fs/devfs/devfs.h). Each call is made on a
//! directory of a devfs mount (not O_PATH), by root and not in a jail.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// DEVFS_MAGIC.
const MAGIC: u32 = 0xdb0a_087a;
/// DEVFS_MAXPTRNLEN.
const PATTERN: usize = 200;

/// struct devfs_rule.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
const INCLUDE: libc::c_int = ACTIONS[4];
/// DRB_HIDE and DRB_UNHIDE.
const HIDE: libc::c_int = 0x1;
const UNHIDE: libc::c_int = 0x2;

/// What a rule does, and to which paths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Words<'a> {
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

/// A rule without its place; two are equal when the kernel does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule(RawRule);

impl Rule {
    /// A rule of these words.
    ///
    /// # Errors
    /// ENAMETOOLONG for a pattern of 200 bytes and more.
    pub fn new(words: Words<'_>) -> io::Result<Rule> {
        let mut raw = empty();
        if let Some(pattern) = words.pattern {
            let pattern = pattern.as_bytes();
            if pattern.len() >= PATTERN {
                return Err(Errno::ENAMETOOLONG.into());
            }
            raw.pattern[..pattern.len()].copy_from_slice(pattern);
            raw.conditions = BY_PATTERN;
        }
        let [on_off, uid, gid, mode, include] = ACTIONS;
        if let Some(show) = words.show {
            raw.actions |= on_off;
            raw.on_off = if show { UNHIDE } else { HIDE };
        }
        if let Some(value) = words.uid {
            raw.actions |= uid;
            raw.uid = value;
        }
        if let Some(value) = words.gid {
            raw.actions |= gid;
            raw.gid = value;
        }
        if let Some(value) = words.mode {
            raw.actions |= mode;
            raw.mode = value as u16;
        }
        if let Some(value) = words.include {
            raw.actions |= include;
            raw.include = value as u16;
        }
        Ok(Rule(raw))
    }

    /// As the kernel gave it: what it does not look at is left out.
    fn plain(mut raw: RawRule) -> Rule {
        raw.id = 0;
        if raw.conditions & BY_PATTERN == 0 {
            raw.pattern = [0; PATTERN];
        } else if let Some(end) = raw.pattern.iter().position(|byte| *byte == 0) {
            raw.pattern[end..].fill(0);
        }
        Rule(raw)
    }

    /// The ruleset that it includes.
    pub fn include(&self) -> Option<u32> {
        (self.0.actions & INCLUDE != 0).then_some(self.0.include.into())
    }

    /// Whether it is for every device.
    pub fn is_for_all(&self) -> bool {
        self.0.conditions == 0
    }

    /// The same without what it includes; none when it does nothing else.
    pub fn without_include(mut self) -> Option<Rule> {
        self.0.actions &= !INCLUDE;
        self.0.include = 0;
        (self.0.actions != 0).then_some(self)
    }

    /// Its pattern; empty for a rule that has none.
    pub fn pattern(&self) -> &[u8] {
        let end = self.0.pattern.iter().position(|byte| *byte == 0);
        &self.0.pattern[..end.unwrap_or(PATTERN)]
    }

    /// Bytes that equal rules share and others do not.
    pub fn bytes(&self) -> Vec<u8> {
        let raw = &self.0;
        let numbers = [
            raw.conditions as u32,
            raw.switch_flags as u32,
            raw.actions as u32,
            raw.on_off as u32,
            raw.uid,
            raw.gid,
            raw.mode.into(),
            raw.include.into(),
        ];
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.extend(raw.pattern);
        bytes
    }
}

/// An ioctl number of group 'D': IOC_IN, with IOC_OUT for `both`.
const fn number(number: u64, size: usize, both: bool) -> libc::c_ulong {
    let direction = if both { 0xc000_0000 } else { 0x8000_0000 };
    direction | ((size as u64 & 0x1fff) << 16) | ((b'D' as u64) << 8) | number
}

const RULE: usize = size_of::<RawRule>();

/// The rule of a ruleset that comes after a number, and its own number
/// (DEVFSIO_RGETNEXT). Ruleset 0 is that of the mount itself.
///
/// # Errors
/// EPERM in a jail, ENOTTY when the directory is not in a devfs.
pub fn next(
    directory: BorrowedFd<'_>,
    ruleset: u32,
    after: u16,
) -> io::Result<Option<(u32, u16, Rule)>> {
    let mut raw = empty();
    raw.id = ruleset << 16 | u32::from(after);
    match call(directory, number(4, RULE, true), &mut raw) {
        Ok(()) => Ok(Some((raw.id >> 16, raw.id as u16, Rule::plain(raw)))),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The rulesets that exist above a number (DEVFSIO_SGETNEXT), those without
/// rules too; the first.
///
/// # Errors
/// As [`next`].
pub fn next_ruleset(directory: BorrowedFd<'_>, after: u32) -> io::Result<Option<u32>> {
    let mut ruleset = after as u16;
    match call(directory, number(12, size_of::<u16>(), true), &mut ruleset) {
        Ok(()) => Ok(Some(ruleset.into())),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Adds a rule to a ruleset, which is made when it is missing
/// (DEVFSIO_RADD).
///
/// # Errors
/// EEXIST when there is a rule of that number, ESRCH when it includes a
/// ruleset that does not exist, EPERM in a jail.
pub fn add(directory: BorrowedFd<'_>, ruleset: u32, place: u16, rule: Rule) -> io::Result<()> {
    let mut raw = rule.0;
    raw.id = ruleset << 16 | u32::from(place);
    call(directory, number(0, RULE, true), &mut raw)
}

/// Deletes a rule (DEVFSIO_RDEL); a ruleset without rules that nothing uses
/// ends with its last one.
///
/// # Errors
/// ENOENT when there is none of that number, EPERM in a jail.
pub fn delete(directory: BorrowedFd<'_>, ruleset: u32, place: u16) -> io::Result<()> {
    let mut id = ruleset << 16 | u32::from(place);
    call(directory, number(1, size_of::<u32>(), false), &mut id)
}

/// Makes a ruleset that of the mount that the directory is in (DEVFSIO_SUSE)
/// and applies it to the devices that are there (DEVFSIO_SAPPLY); those that
/// come later get it by themselves.
///
/// # Errors
/// ESRCH when there is no such ruleset, EPERM in a jail.
pub fn use_ruleset(directory: BorrowedFd<'_>, ruleset: u32) -> io::Result<()> {
    let mut ruleset = ruleset as u16;
    let size = size_of::<u16>();
    call(directory, number(10, size, false), &mut ruleset)?;
    call(directory, number(11, size, false), &mut ruleset)
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

fn call<T>(directory: BorrowedFd<'_>, number: libc::c_ulong, value: &mut T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the size that is part of the
    // number, which is all the kernel reads and writes.
    Errno::result(unsafe { libc::ioctl(directory.as_raw_fd(), number, value as *mut T) })?;
    Ok(())
}
