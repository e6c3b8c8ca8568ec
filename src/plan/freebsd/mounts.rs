//! Mounts (config.md, Mounts; nmount(2) and the file systems' own pages).
//!
//! brig does not list file systems: whatever nmount(2) knows can be mounted,
//! and options are passed on. Only options that engines write for Linux, and
//! those that are brig's own, are taken out.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::devfs::{self, Rule};
use super::nfs;
use super::{Input, Step};
use crate::config::Ignored;
use crate::error::{Error, Result};
use crate::plan::ephemeral;

/// The options that `features` lists: those that have an effect whatever the
/// file system is. Others are handed to nmount(2).
pub fn known_options() -> Vec<&'static str> {
    vec![
        "async",
        "atime",
        "exec",
        "noatime",
        "noexec",
        "nosuid",
        "nosymfollow",
        "ratime",
        "rexec",
        "rnoatime",
        "rnoexec",
        "rnosuid",
        "ro",
        "rro",
        "rrw",
        "rsuid",
        "rw",
        "suid",
        "sync",
        "tmpcopyup",
    ]
}

/// Options that mean nothing to FreeBSD, as engines send them.
const LINUX_ONLY: [&str; 41] = [
    "bind",
    "rbind",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "dev",
    "nodev",
    "rdev",
    "rnodev",
    "relatime",
    "norelatime",
    "rrelatime",
    "rnorelatime",
    "strictatime",
    "nostrictatime",
    "rstrictatime",
    "rnostrictatime",
    "diratime",
    "nodiratime",
    "rdiratime",
    "rnodiratime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "mand",
    "nomand",
    "defaults",
    "copyup",
    "notmpcopyup",
    "z",
    "Z",
    "U",
    "newinstance",
];

/// Options of Linux whose effect FreeBSD has under another name. The recursive
/// ones reach one mount only there too, because nullfs shows a single file
/// system and never what is mounted below it.
const RENAMED: [(&str, &str); 9] = [
    ("rro", "ro"),
    ("rrw", "rw"),
    ("rnosuid", "nosuid"),
    ("rsuid", "suid"),
    ("rnoexec", "noexec"),
    ("rexec", "exec"),
    ("rnoatime", "noatime"),
    ("ratime", "atime"),
    ("dirsync", "sync"),
];

/// What nmount(2) knows for every file system (sys/kern/vfs_mount.c).
const EVERYWHERE: [&str; 29] = [
    "acls",
    "async",
    "atime",
    "automounted",
    "clusterr",
    "clusterw",
    "cover",
    "emptydir",
    "exec",
    "multilabel",
    "nfsv4acls",
    "noasync",
    "noatime",
    "noclusterr",
    "noclusterw",
    "nocover",
    "noemptydir",
    "noexec",
    "noro",
    "nosuid",
    "nosymfollow",
    "rdonly",
    "ro",
    "rw",
    "suid",
    "suiddir",
    "symfollow",
    "sync",
    "union",
];

/// What else some file systems know (their manual pages and vfs_getopt(9) in
/// their sources). The kernel passes over what others do not know, or says
/// which option that is without saying of which mount.
const OWN: [(&str, &[&str]); 11] = [
    ("nullfs", &["cache", "nocache"]),
    (
        "unionfs",
        &[
            "below", "copymode", "gid", "udir", "ufile", "uid", "whiteout",
        ],
    ),
    (
        "tmpfs",
        &[
            "easize",
            "gid",
            "inodes",
            "maxfilesize",
            "nomtime",
            "nonc",
            "pgread",
            "uid",
        ],
    ),
    ("devfs", &[]),
    ("fdescfs", &["linrdlnk", "nodup", "rdlnk"]),
    ("procfs", &[]),
    ("linprocfs", &[]),
    ("linsysfs", &[]),
    (
        "ufs",
        &["force", "groupquota", "snapshot", "untrusted", "userquota"],
    ),
    ("p9fs", &["access", "trans"]),
    (
        "nfs",
        &[
            "acdirmax",
            "acdirmin",
            "acregmax",
            "acregmin",
            "actimeo",
            "allgssname",
            "conn",
            "gssname",
            "hard",
            "intr",
            "lockd",
            "minorversion",
            "nametimeo",
            "nconnect",
            "negnametimeo",
            "nfsv4",
            "noac",
            "nocto",
            "noconn",
            "nolockd",
            "noncontigwr",
            "noresvport",
            "oneopenown",
            "pnfs",
            "port",
            "principal",
            "rdirplus",
            "readahead",
            "readdirsize",
            "resvport",
            "retrans",
            "rsize",
            "sec",
            "soft",
            "syskrb5",
            "tcp",
            "timeo",
            "timeout",
            "tls",
            "tlscertname",
            "wcommitsize",
            "wsize",
        ],
    ),
];

/// Checks an option against the file system's own, where those are known.
fn fits(fstype: &str, name: &str, at: &str) -> Result<()> {
    let Some((_, own)) = OWN.iter().find(|(kind, _)| *kind == fstype) else {
        return Ok(());
    };
    if own.contains(&name) || EVERYWHERE.contains(&name) {
        return Ok(());
    }
    let known: Vec<&str> = own.iter().chain(&EVERYWHERE).copied().collect();
    let near = super::limits::near(name, &known);
    let fault = Error::property(at, format_args!("{name:?} is not an option of {fstype}"));
    Err(match (near.as_str(), own) {
        ("", []) => fault,
        ("", own) => fault.hint(format!("it has: {}", own.join(", "))),
        (near, _) => fault.hint(format!("known: {near}")),
    })
}

/// Options that ask for what FreeBSD cannot do.
const REFUSED: [&str; 4] = ["idmap", "ridmap", "remount", "update"];

/// The mounts, and the directory that becomes the jail's root.
pub(super) struct Mounts {
    pub steps: Vec<Step>,
    pub root: PathBuf,
}

pub(super) fn plan(input: &Input, rootfs: &Path, ignored: &mut Vec<Ignored>) -> Result<Mounts> {
    let list: Vec<&Mount> = input.config.spec.mounts().iter().flatten().collect();
    let mut steps = Vec::new();
    let mut root = rootfs.to_owned();
    let mut mounts = Vec::new();
    for (i, mount) in list.iter().enumerate() {
        match super::linux::translated(input, i, mount, ignored)? {
            Some(mount) => mounts.push(one(input, i, &mount, rootfs, ignored)?),
            None => continue,
        }
    }
    super::linux::expected_mounts(input, &mut mounts);
    super::linux::show_shm(&mut mounts);
    device_rules(input, &mut mounts)?;

    let readonly = input.config.root_readonly();
    let ephemeral = ephemeral::of(input.config)?;
    if readonly {
        // A mount point that is missing cannot be made in a read-only root;
        // one that lies in another mount is made there when its turn comes.
        for (i, mount) in mounts.iter().enumerate() {
            let inside = mounts[..i].iter().any(|other| {
                mount.destination.starts_with(&other.destination)
                    && other.destination != Path::new("/")
            });
            if !inside {
                steps.push(Step::MountPoint {
                    root: rootfs.into(),
                    destination: mount.destination.clone(),
                    source: mount.source.clone().filter(|_| mount.fstype == "nullfs"),
                });
            }
        }
    }
    if let Some(ephemeral) = ephemeral {
        // The layer that is written to lies below: the kernel then locks the
        // two in one order, and the mount is free as soon as its processes
        // are (with the layer above it stays busy now and then; seen on 15.1).
        let size = ephemeral.size.map(|size| format!("size={size}"));
        let mut layer = |fstype: &str, source: &Path, options: Vec<String>| {
            steps.push(Step::FileSystem {
                root: input.directory.into(),
                destination: "/root".into(),
                fstype: fstype.into(),
                source: Some(source.into()),
                options,
                copy_up: false,
            });
        };
        layer("tmpfs", Path::new("tmpfs"), size.into_iter().collect());
        layer("unionfs", rootfs, vec!["below".into()]);
        root = input.directory.join("root");
    } else if readonly || input.shared_root {
        // A view of the root, elsewhere: nullfs over the directory that it
        // shows never returns from the kernel (seen on 15.1: both have one
        // lock, and nmount(2) wants it twice). And the mounts of containers
        // that share a root file system do not stack up this way, of which
        // only the topmost could be unmounted.
        steps.push(Step::FileSystem {
            root: input.directory.into(),
            destination: "/root".into(),
            fstype: "nullfs".into(),
            source: Some(rootfs.into()),
            options: if readonly {
                vec!["ro".into()]
            } else {
                Vec::new()
            },
            copy_up: false,
        });
        root = input.directory.join("root");
    }
    for mount in mounts {
        let Planned {
            destination,
            fstype,
            source,
            options,
            copy_up,
            rules,
        } = mount;
        let at = destination.clone();
        let ruleset = devfs::ruleset_of(&options);
        steps.push(Step::FileSystem {
            root: root.clone(),
            destination,
            fstype,
            source,
            options,
            copy_up,
        });
        if !rules.is_empty() {
            steps.push(Step::DeviceRules {
                root: root.clone(),
                destination: at,
                ruleset,
                rules,
                range: input.policy.devfs_range,
            });
        }
    }
    Ok(Mounts { steps, root })
}

/// A mount that was checked.
pub(super) struct Planned {
    pub destination: PathBuf,
    pub fstype: String,
    pub source: Option<PathBuf>,
    pub options: Vec<String>,
    pub copy_up: bool,
    pub rules: Vec<Rule>,
}

fn one(
    input: &Input,
    i: usize,
    mount: &Mount,
    rootfs: &Path,
    ignored: &mut Vec<Ignored>,
) -> Result<Planned> {
    let at = format!("mounts[{i}]");
    for (name, maps) in [
        ("uidMappings", mount.uid_mappings()),
        ("gidMappings", mount.gid_mappings()),
    ] {
        if maps.as_ref().is_some_and(|maps| !maps.is_empty()) {
            return Err(Error::property(
                format!("{at}.{name}"),
                "FreeBSD has no mounts with mapped users",
            ));
        }
    }
    let given = mount.options().as_deref().unwrap_or_default();
    let bound = given
        .iter()
        .any(|option| option == "bind" || option == "rbind");
    let fstype = match mount.typ().as_deref() {
        Some("" | "none" | "bind") | None => {
            if mount.source().is_none() && !bound {
                return Err(Error::property(format!("{at}.type"), "is missing"));
            }
            "nullfs"
        }
        Some(kind) => kind,
    };
    if fstype.len() > 15 || fstype.contains(['\0', '/']) {
        return Err(Error::property(
            format!("{at}.type"),
            format_args!("{fstype:?} is not a file system type"),
        ));
    }
    let destination = absolute(mount.destination());
    let source = source(input, mount, fstype, &at)?;
    if destination == Path::new("/") && fstype == "nullfs" && source.as_deref() == Some(rootfs) {
        let hint = "use root.readonly for a read-only root";
        return Err(Error::property(format!("{at}.source"), "is the root itself").hint(hint));
    }

    let mut planned = Planned {
        destination,
        fstype: fstype.into(),
        source,
        options: Vec::new(),
        copy_up: false,
        rules: Vec::new(),
    };
    let mut passed_over = Vec::new();
    let mut ruleset = None;
    for (j, option) in given.iter().enumerate() {
        let path = format!("{at}.options[{j}]");
        if option.contains('\0') {
            return Err(Error::property(path, "contains a NUL byte"));
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        };
        if REFUSED.contains(&name) {
            return Err(Error::property(
                path,
                format_args!("{name:?} is not possible on FreeBSD"),
            ));
        }
        match (fstype, name, value) {
            (_, "", _) => {}
            ("devfs", "ruleset", Some(number)) => {
                let parsed: Option<u32> =
                    number.parse().ok().filter(|n| *n <= devfs::HIGHEST_RULESET);
                let Some(parsed) = parsed else {
                    let fault = format!(
                        "{number:?} is not a ruleset from 0 to {}",
                        devfs::HIGHEST_RULESET
                    );
                    return Err(Error::property(path, fault));
                };
                ruleset = Some(parsed);
            }
            ("devfs", "rule", Some(rule)) => {
                planned
                    .rules
                    .extend(devfs::with_parents(devfs::rule(rule, &path)?));
            }
            (_, "ruleset" | "rule", _) => {
                let fault = format!("{name:?} is for devfs and needs a value");
                return Err(Error::property(path, fault));
            }
            ("tmpfs", "tmpcopyup" | "copyup", None) => planned.copy_up = true,
            (_, "tmpcopyup", None) => passed_over.push(option.as_str()),
            ("tmpfs", "nr_inodes", Some(number)) => {
                planned.options.push(format!("inodes={number}"))
            }
            ("tmpfs", "nr_blocks" | "huge" | "mpol" | "noswap", _) => {
                passed_over.push(option.as_str())
            }
            ("tmpfs", "size", Some(size)) => {
                if !ephemeral::is_size(size) {
                    let hint = "give bytes, or a number with k, m or g behind it";
                    return Err(
                        Error::property(path, format_args!("{size:?} is not a size")).hint(hint),
                    );
                }
                planned.options.push(format!("size={size}"));
            }
            ("tmpfs", "mode", Some(mode)) => {
                if u32::from_str_radix(mode, 8).map_or(true, |mode| mode > 0o7777) {
                    return Err(Error::property(
                        path,
                        format_args!("{mode:?} is not an octal mode"),
                    ));
                }
                planned.options.push(format!("mode={mode}"));
            }
            ("nfs", _, _) if let Some(own) = nfs::translated(name, value, &path)? => {
                planned.options.extend(own)
            }
            // One of the kernel's own switches would undo the checks above.
            (_, "fstype" | "fspath" | "from" | "target" | "errmsg", _) => {
                return Err(Error::property(
                    path,
                    format_args!("{name:?} is brig's own to set"),
                ));
            }
            _ if LINUX_ONLY.contains(&option.as_str()) => passed_over.push(option.as_str()),
            _ => match RENAMED.iter().find(|(linux, _)| linux == option) {
                Some((_, own)) => planned.options.push((*own).into()),
                None => {
                    fits(fstype, name, &path)?;
                    planned.options.push(option.clone());
                }
            },
        }
    }
    if fstype == "devfs" {
        // A ruleset that was never applied shows every device of the host.
        match ruleset.unwrap_or(input.policy.devfs_ruleset) {
            0 if ruleset.is_some() => {}
            number => planned.options.push(format!("ruleset={number}")),
        }
    }
    // The last of contradicting words counts, as with mount(8).
    for pair in [
        ["ro", "rw"],
        ["exec", "noexec"],
        ["suid", "nosuid"],
        ["atime", "noatime"],
    ] {
        let last = planned
            .options
            .iter()
            .rposition(|option| pair.contains(&option.as_str()));
        let mut index = 0;
        planned.options.retain(|option| {
            let keep = !pair.contains(&option.as_str()) || Some(index) == last;
            index += 1;
            keep
        });
    }
    // These are what a mount is without any word, and not every file system
    // knows them.
    planned
        .options
        .retain(|option| !matches!(option.as_str(), "rw" | "exec" | "suid" | "atime"));
    if !passed_over.is_empty() {
        let reason = format!("{} mean nothing to FreeBSD", passed_over.join(", "));
        ignored.push(Ignored {
            property: format!("{at}.options"),
            reason,
        });
    }
    Ok(planned)
}

/// The source for nmount(2): a path for nullfs (relative to the bundle), the
/// word as it stands for others.
fn source(input: &Input, mount: &Mount, fstype: &str, at: &str) -> Result<Option<PathBuf>> {
    let path = format!("{at}.source");
    match (fstype, mount.source()) {
        ("nullfs" | "unionfs", None) => Err(Error::property(
            path,
            format_args!("is missing; {fstype} needs it"),
        )),
        ("nullfs" | "unionfs", Some(source)) => {
            if source.as_os_str().as_encoded_bytes().contains(&0) {
                return Err(Error::property(path, "contains a NUL byte"));
            }
            Ok(Some(input.bundle.join(source).components().collect()))
        }
        (_, Some(source)) if source.as_os_str().as_encoded_bytes().contains(&0) => {
            Err(Error::property(path, "contains a NUL byte"))
        }
        ("nfs", source) => {
            let text = source.as_ref().map(|source| source.to_string_lossy());
            nfs::check_source(text.as_deref(), &path)?;
            Ok(source.clone())
        }
        (_, source) => Ok(source.clone()),
    }
}

/// `.` and doubled slashes are taken out; `..` is resolved in the root when
/// the mount is made, as chroot(2) would.
fn absolute(destination: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(
        destination
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir)),
    );
    path
}

/// `freebsd.devices` belong to the devfs on /dev.
fn device_rules(input: &Input, mounts: &mut [Planned]) -> Result<()> {
    let rules = devfs::devices(&input.config.freebsd.devices)?;
    if rules.is_empty() {
        return Ok(());
    }
    let dev = mounts
        .iter_mut()
        .rev()
        .find(|m| m.fstype == "devfs" && m.destination == Path::new("/dev"));
    match dev {
        Some(mount) => {
            mount.rules.extend(rules);
            Ok(())
        }
        None => {
            let fault = Error::property("freebsd.devices", "needs a devfs mount on /dev");
            Err(fault.hint("add {\"destination\": \"/dev\", \"type\": \"devfs\"} to mounts"))
        }
    }
}
