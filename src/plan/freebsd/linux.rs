//! Linux programs in a jail (linux(4)).
//!
//! A plan is made without looking at the root file system, so it goes by what
//! the configuration says: the image's system, file systems that are only for
//! Linux programs, or jail parameters of the Linux emulation. A `linux` section
//! says nothing, because engines on FreeBSD write one for every container. What
//! the program itself is, is looked at when it is launched.

use std::path::Path;

use super::mounts::Planned;
use super::{Input, Rule, Step};
use crate::config::annotations::{IMAGE_OS, JAIL_PREFIX};

/// The module that runs Linux programs of the kernel's own word size.
pub const MODULE: &str = "linux64";

/// What Linux programs expect to be mounted: destination, type, option.
const EXPECTED: [(&str, &str, Option<&str>); 4] = [
    ("/proc", "linprocfs", None),
    ("/sys", "linsysfs", None),
    ("/dev/fd", "fdescfs", Some("linrdlnk")),
    ("/dev/shm", "tmpfs", Some("mode=1777")),
];

/// The file systems among them that have a module of their own.
const FILE_SYSTEMS: [&str; 2] = ["linprocfs", "linsysfs"];

/// The modules that the configuration asks for without naming them.
pub(super) fn modules(input: &Input, steps: &[Step]) -> Vec<Step> {
    let mut modules = Vec::new();
    for kind in FILE_SYSTEMS {
        let is_kind =
            |step: &Step| matches!(step, Step::FileSystem { fstype, .. } if fstype == kind);
        if steps.iter().any(is_kind) {
            modules.push(Step::Module {
                name: kind.into(),
                parameter: Some(format!("allow.mount.{kind}")),
            });
        }
    }
    let prefix = format!("{JAIL_PREFIX}linux");
    let has_parameter = || {
        let all = input.config.annotations();
        all.keys().any(|key| {
            key.strip_prefix(&prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let wanted = match input.config.annotation(IMAGE_OS) {
        Some(os) => os == "linux" || has_parameter(),
        None => !modules.is_empty() || has_parameter(),
    };
    if wanted {
        modules.push(Step::Module {
            name: MODULE.into(),
            parameter: None,
        });
    }
    modules
}

/// What a Linux image expects and the configuration does not mount: the file
/// systems that config-linux.md lists as the default ones. Those below /dev
/// need a devfs there.
pub(super) fn expected_mounts(input: &Input, mounts: &mut Vec<Planned>) {
    if input.config.annotation(IMAGE_OS) != Some("linux") {
        return;
    }
    let dev = Path::new("/dev");
    let has_dev = mounts
        .iter()
        .any(|mount| mount.destination == dev && mount.fstype == "devfs");
    for (destination, fstype, option) in EXPECTED {
        let destination = Path::new(destination);
        let is_there = mounts.iter().any(|mount| mount.destination == destination);
        if is_there || (destination.starts_with(dev) && !has_dev) {
            continue;
        }
        mounts.push(Planned {
            destination: destination.into(),
            fstype: fstype.into(),
            source: Some(fstype.into()),
            options: option.into_iter().map(Into::into).collect(),
            copy_up: false,
            rules: Vec::new(),
        });
    }
}

/// Shows the directory /dev/shm, which the Linux emulation makes in every devfs
/// to be mounted on, where devices are hidden; none can be made there.
pub(super) fn show_shm(mounts: &mut [Planned]) {
    let Some(shm) = mounts
        .iter()
        .position(|mount| mount.destination == Path::new("/dev/shm"))
    else {
        return;
    };
    let dev = mounts[..shm]
        .iter_mut()
        .rfind(|mount| mount.fstype == "devfs" && mount.destination == Path::new("/dev"));
    if let Some(dev) = dev {
        dev.rules.push(Rule {
            path: Some("shm".into()),
            show: Some(true),
            ..Rule::default()
        });
    }
}

/// Whether the kernel takes a program for one of Linux, by the first bytes of
/// its file: the marks that its Linux emulation looks for (elf(5)).
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "for the FreeBSD backend")
)]
pub fn is_linux_program(start: &[u8]) -> bool {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const OSABI_LINUX: u8 = 3;
    const OSABI_FREEBSD: u8 = 9;
    const PT_INTERP: u64 = 3;
    const PT_NOTE: u64 = 4;
    if start.len() < 64 || !start.starts_with(b"\x7fELF") {
        return false;
    }
    if start[4] != CLASS_64 || start[5] != LITTLE_ENDIAN {
        return false;
    }
    match start[7] {
        OSABI_LINUX => return true,
        OSABI_FREEBSD => return false,
        _ => {}
    }
    let header = || {
        let table = usize::try_from(number(start, 32, 8)?).ok()?;
        let (size, count) = (
            number(start, 54, 2)? as usize,
            number(start, 56, 2)? as usize,
        );
        Some((table, size, count))
    };
    let Some((table, size, count)) = header() else {
        return false;
    };
    for i in 0..count {
        let segment = || {
            let at = table.checked_add(i.checked_mul(size)?)?;
            let kind = number(start, at, 4)?;
            let from = usize::try_from(number(start, at.checked_add(8)?, 8)?).ok()?;
            let length = usize::try_from(number(start, at.checked_add(32)?, 8)?).ok()?;
            Some((kind, start.get(from..from.checked_add(length)?)?))
        };
        match segment() {
            Some((PT_INTERP, path)) => {
                let path = String::from_utf8_lossy(path);
                let name = path.trim_end_matches('\0').rsplit('/').next();
                if name.is_some_and(|n| n.starts_with("ld-linux") || n.starts_with("ld-musl")) {
                    return true;
                }
            }
            Some((PT_NOTE, notes)) if has_linux_note(notes) => return true,
            _ => {}
        }
    }
    false
}

/// Whether there is a note of the GNU tool chain that names Linux: owner "GNU",
/// type 1 (NT_GNU_ABI_TAG), first word 0.
fn has_linux_note(mut notes: &[u8]) -> bool {
    loop {
        let note = || {
            let owner = usize::try_from(number(notes, 0, 4)?).ok()?;
            let length = usize::try_from(number(notes, 4, 4)?).ok()?;
            let value = 12_usize.checked_add(owner.checked_next_multiple_of(4)?)?;
            let end = value.checked_add(length.checked_next_multiple_of(4)?)?;
            let is_linux = notes.get(12..)?.starts_with(b"GNU\0")
                && number(notes, 8, 4)? == 1
                && number(notes, value, 4)? == 0;
            Some((is_linux, end))
        };
        match note() {
            Some((true, _)) => return true,
            Some((false, end)) => match notes.get(end..) {
                Some(rest) => notes = rest,
                None => return false,
            },
            None => return false,
        }
    }
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    Some(bytes.iter().rev().fold(0, add))
}

/// The interpreter of a script, by the first bytes of its file (execve(2)).
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "for the FreeBSD backend")
)]
pub fn interpreter(start: &[u8]) -> Option<&str> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    std::str::from_utf8(line).ok()?.split_whitespace().next()
}
