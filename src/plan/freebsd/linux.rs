//! Linux programs in a jail (linux(4)).
//!
//! A plan is made without looking at the root file system, so it goes by what
//! the configuration says: the image's system, file systems that are only for
//! Linux programs, or jail parameters of the Linux emulation. A `linux` section
//! says nothing, because engines on FreeBSD write one for every container. What
//! the program itself is, is looked at when it is launched.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::mounts::Planned;
use super::{Input, Rule, Step};
use crate::config::Ignored;
use crate::config::annotations::{IMAGE_OS, JAIL_PREFIX};
use crate::error::{Error, Result};

/// The module that runs Linux programs of the kernel's own word size.
pub const MODULE: &str = "linux64";

/// The module that runs 32-bit ones on a 64-bit kernel.
const MODULE_32: &str = "linux";

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

/// Whether the configuration was written for Linux programs: by the image's
/// system, or where that is not told by file systems of Linux.
fn is_for_linux(input: &Input) -> bool {
    match input.config.annotation(IMAGE_OS) {
        Some(os) => os == "linux",
        None => {
            let mut types = input.config.spec.mounts().iter().flatten();
            types.any(|mount| matches!(mount.typ().as_deref(), Some("proc" | "sysfs" | "devpts")))
        }
    }
}

/// What a mount of a type that only Linux has becomes: the file system that
/// takes its place for Linux programs, nothing where the jail or devfs has
/// what it is for, or an error in a container that is for another system.
///
/// # Errors
/// The type, by its path.
pub(super) fn translated(
    input: &Input,
    i: usize,
    mount: &Mount,
    ignored: &mut Vec<Ignored>,
) -> Result<Option<Mount>> {
    let os = input.config.annotation(IMAGE_OS);
    let kind = mount.typ().as_deref().unwrap_or_default();
    let at = format!("mounts[{i}].type");
    let is_dev = mount.destination() == Path::new("/dev");
    let (own, reason) = match kind {
        "proc" => (Some("linprocfs"), ""),
        "sysfs" => (Some("linsysfs"), ""),
        // Devices cannot be made in it, whose nodes a Linux runtime makes.
        "tmpfs" if is_dev && is_for_linux(input) => (Some("devfs"), ""),
        "devpts" => (None, "devfs has the terminals"),
        "mqueue" => (None, "devfs has no directory to mount it on"),
        "cgroup" | "cgroup2" => (None, "limits are the jail's own"),
        "overlay" => {
            let fault = Error::property(at, "\"overlay\" is a file system of Linux");
            return Err(fault.hint("use unionfs"));
        }
        _ => return Ok(Some(mount.clone())),
    };
    if let Some(os) = os.filter(|os| *os != "linux") {
        let fault = format!("{kind:?} is a file system of Linux, and the image is for {os}");
        let hint = match kind {
            "proc" => "use procfs",
            _ => "leave it out",
        };
        return Err(Error::property(at, fault).hint(hint));
    }
    let Some(own) = own else {
        ignored.push(Ignored {
            property: format!("mounts[{i}]"),
            reason: format!("{kind} is a file system of Linux; {reason}"),
        });
        return Ok(None);
    };
    let mut mount = mount.clone();
    mount.set_typ(Some(own.into()));
    if own == "devfs" {
        // Size and mode were for the tmpfs.
        mount.set_source(Some(own.into()));
        mount.set_options(None);
    }
    Ok(Some(mount))
}

/// The module that runs a program, by the first bytes of its file, when it
/// bears the marks of Linux that the kernel looks for (elf(5)).
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "for the FreeBSD backend")
)]
pub fn module_for(start: &[u8]) -> Option<&'static str> {
    const LITTLE_ENDIAN: u8 = 1;
    const OSABI_LINUX: u8 = 3;
    const OSABI_FREEBSD: u8 = 9;
    const PT_INTERP: u64 = 3;
    const PT_NOTE: u64 = 4;
    if start.len() < 52 || !start.starts_with(b"\x7fELF") || start[5] != LITTLE_ENDIAN {
        return None;
    }
    let layout = match start[4] {
        1 => &ELF32,
        2 => &ELF64,
        _ => return None,
    };
    match start[7] {
        OSABI_LINUX => return Some(layout.module),
        OSABI_FREEBSD => return None,
        _ => {}
    }
    let word = |at: usize| number(start, at, layout.word);
    let table = usize::try_from(word(layout.table)?).ok()?;
    let size = number(start, layout.count - 2, 2)? as usize;
    let count = number(start, layout.count, 2)? as usize;
    for i in 0..count {
        let segment = || {
            let at = table.checked_add(i.checked_mul(size)?)?;
            let kind = number(start, at, 4)?;
            let from = usize::try_from(word(at.checked_add(layout.offset)?)?).ok()?;
            let length = usize::try_from(word(at.checked_add(layout.length)?)?).ok()?;
            Some((kind, start.get(from..from.checked_add(length)?)?))
        };
        match segment() {
            Some((PT_INTERP, path)) => {
                let path = String::from_utf8_lossy(path);
                let name = path.trim_end_matches('\0').rsplit('/').next();
                if name.is_some_and(|n| n.starts_with("ld-linux") || n.starts_with("ld-musl")) {
                    return Some(layout.module);
                }
            }
            Some((PT_NOTE, notes)) if has_linux_note(notes) => return Some(layout.module),
            _ => {}
        }
    }
    None
}

/// Where the fields of an ELF file lie that are of interest here.
struct Layout {
    /// The module that runs such programs.
    module: &'static str,
    /// Bytes of an address.
    word: usize,
    /// e_phoff in the file's header, and e_phnum, which e_phentsize stands
    /// before.
    table: usize,
    count: usize,
    /// p_offset and p_filesz in a program header.
    offset: usize,
    length: usize,
}

const ELF32: Layout = Layout {
    module: MODULE_32,
    word: 4,
    table: 28,
    count: 44,
    offset: 4,
    length: 16,
};
const ELF64: Layout = Layout {
    module: MODULE,
    word: 8,
    table: 32,
    count: 56,
    offset: 8,
    length: 32,
};

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
