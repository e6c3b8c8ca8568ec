//! Mounts of Linux: options become flags of mount(2), attributes of
//! mount_setattr(2), or data for the file system.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::namespaces::{Kind, Mapping, Namespaces, mappings};
use crate::error::{Error, Result};

/// Flags of mount(2). They are part of Linux's interface and stand here as
/// numbers, because a plan for Linux can be made on any system.
pub mod flag {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 2;
    pub const NODEV: u64 = 4;
    pub const NOEXEC: u64 = 8;
    pub const SYNCHRONOUS: u64 = 16;
    pub const REMOUNT: u64 = 32;
    pub const MANDLOCK: u64 = 64;
    pub const DIRSYNC: u64 = 128;
    pub const NOSYMFOLLOW: u64 = 256;
    pub const NOATIME: u64 = 1024;
    pub const NODIRATIME: u64 = 2048;
    pub const BIND: u64 = 4096;
    pub const REC: u64 = 16384;
    pub const SILENT: u64 = 32768;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const I_VERSION: u64 = 1 << 23;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

/// Attributes of mount_setattr(2).
pub mod attribute {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 2;
    pub const NODEV: u64 = 4;
    pub const NOEXEC: u64 = 8;
    pub const ATIME: u64 = 0x70;
    pub const RELATIME: u64 = 0;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Its place in config.json, for errors.
    pub index: usize,
    /// The file system's type; "bind" for a bind mount.
    pub fstype: String,
    /// The device, the directory to bind, or a name.
    pub source: PathBuf,
    /// Where it appears inside, absolute.
    pub target: PathBuf,
    /// Flags of mount(2).
    pub flags: u64,
    /// Flags that an option switches off; a bind mount otherwise keeps its
    /// source's.
    pub cleared: u64,
    /// Options for the file system.
    pub data: String,
    /// Propagation, in order (MS_* flags).
    pub propagation: Vec<u64>,
    /// Attributes to set on all mounts below, too.
    pub recursive_set: u64,
    /// Attributes to clear on all mounts below, too.
    pub recursive_clear: u64,
    /// Copy what lies at the target into the new file system.
    pub copy_up: bool,
    /// Show the files with other owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_map: Option<IdMap>,
}

/// Owners of a bind mount's files (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdMap {
    /// The mappings.
    pub ids: Ids,
    /// Map all mounts below, too.
    pub recursive: bool,
}

/// Where a mount's mappings come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ids {
    /// From config.json: the mount's own, or those of the container's new user
    /// namespace.
    Mappings {
        /// User ids.
        uids: Vec<Mapping>,
        /// Group ids.
        gids: Vec<Mapping>,
    },
    /// From the user namespace that the container joins.
    Namespace(PathBuf),
}

impl Mount {
    /// Whether it binds a part of the host's file system.
    pub fn is_bind(&self) -> bool {
        self.flags & flag::BIND != 0
    }

    /// The path of the mount in config.json.
    #[cfg(target_os = "linux")]
    pub fn at(&self) -> String {
        format!("mounts[{}]", self.index)
    }
}

/// What an option does.
enum Act {
    Set(u64),
    Clear(u64),
    Propagate(u64),
    Recursive { set: u64, clear: u64 },
    CopyUp,
    MapIds { recursive: bool },
    Nothing,
}

fn option(name: &str) -> Option<Act> {
    use Act::{Clear, Nothing, Propagate, Recursive, Set};
    use {attribute as a, flag as f};
    Some(match name {
        "defaults" => Nothing,
        "async" => Clear(f::SYNCHRONOUS),
        "atime" => Clear(f::NOATIME),
        "bind" => Set(f::BIND),
        "rbind" => Set(f::BIND | f::REC),
        "dev" => Clear(f::NODEV),
        "diratime" => Clear(f::NODIRATIME),
        "dirsync" => Set(f::DIRSYNC),
        "exec" => Clear(f::NOEXEC),
        "iversion" => Set(f::I_VERSION),
        "lazytime" => Set(f::LAZYTIME),
        "loud" => Clear(f::SILENT),
        "mand" => Set(f::MANDLOCK),
        "noatime" => Set(f::NOATIME),
        "nodev" => Set(f::NODEV),
        "nodiratime" => Set(f::NODIRATIME),
        "noexec" => Set(f::NOEXEC),
        "noiversion" => Clear(f::I_VERSION),
        "nolazytime" => Clear(f::LAZYTIME),
        "nomand" => Clear(f::MANDLOCK),
        "norelatime" => Clear(f::RELATIME),
        "nostrictatime" => Clear(f::STRICTATIME),
        "nosuid" => Set(f::NOSUID),
        "nosymfollow" => Set(f::NOSYMFOLLOW),
        "relatime" => Set(f::RELATIME),
        "remount" => Set(f::REMOUNT),
        "ro" => Set(f::RDONLY),
        "rw" => Clear(f::RDONLY),
        "silent" => Set(f::SILENT),
        "strictatime" => Set(f::STRICTATIME),
        "suid" => Clear(f::NOSUID),
        "symfollow" => Clear(f::NOSYMFOLLOW),
        "sync" => Set(f::SYNCHRONOUS),
        "private" => Propagate(f::PRIVATE),
        "shared" => Propagate(f::SHARED),
        "slave" => Propagate(f::SLAVE),
        "unbindable" => Propagate(f::UNBINDABLE),
        "rprivate" => Propagate(f::PRIVATE | f::REC),
        "rshared" => Propagate(f::SHARED | f::REC),
        "rslave" => Propagate(f::SLAVE | f::REC),
        "runbindable" => Propagate(f::UNBINDABLE | f::REC),
        "rro" => Recursive {
            set: a::RDONLY,
            clear: 0,
        },
        "rrw" => Recursive {
            set: 0,
            clear: a::RDONLY,
        },
        "rnosuid" => Recursive {
            set: a::NOSUID,
            clear: 0,
        },
        "rsuid" => Recursive {
            set: 0,
            clear: a::NOSUID,
        },
        "rnodev" => Recursive {
            set: a::NODEV,
            clear: 0,
        },
        "rdev" => Recursive {
            set: 0,
            clear: a::NODEV,
        },
        "rnoexec" => Recursive {
            set: a::NOEXEC,
            clear: 0,
        },
        "rexec" => Recursive {
            set: 0,
            clear: a::NOEXEC,
        },
        "rnodiratime" => Recursive {
            set: a::NODIRATIME,
            clear: 0,
        },
        "rdiratime" => Recursive {
            set: 0,
            clear: a::NODIRATIME,
        },
        "rrelatime" => Recursive {
            set: a::RELATIME,
            clear: a::ATIME,
        },
        "rnorelatime" => Recursive {
            set: a::RELATIME,
            clear: a::ATIME,
        },
        "rnoatime" => Recursive {
            set: a::NOATIME,
            clear: a::ATIME,
        },
        "ratime" => Recursive {
            set: a::RELATIME,
            clear: a::ATIME,
        },
        "rstrictatime" => Recursive {
            set: a::STRICTATIME,
            clear: a::ATIME,
        },
        "rnostrictatime" => Recursive {
            set: a::RELATIME,
            clear: a::ATIME,
        },
        "rnosymfollow" => Recursive {
            set: a::NOSYMFOLLOW,
            clear: 0,
        },
        "rsymfollow" => Recursive {
            set: 0,
            clear: a::NOSYMFOLLOW,
        },
        "tmpcopyup" => Act::CopyUp,
        "idmap" => Act::MapIds { recursive: false },
        "ridmap" => Act::MapIds { recursive: true },
        _ => return None,
    })
}

/// The options that `features` lists.
pub fn known_options() -> Vec<&'static str> {
    vec![
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "idmap",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "private",
        "ratime",
        "rbind",
        "rdev",
        "rdiratime",
        "relatime",
        "remount",
        "rexec",
        "ridmap",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "ro",
        "rprivate",
        "rrelatime",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "tmpcopyup",
        "unbindable",
    ]
}

/// Plans one mount.
pub(super) fn plan(
    index: usize,
    given: &oci_spec::runtime::Mount,
    bundle: &Path,
    label: Option<&str>,
    namespaces: &Namespaces,
) -> Result<Mount> {
    let at = format!("mounts[{index}]");
    let fstype = given.typ().clone().unwrap_or_default();
    // A relative destination is deprecated and counts from the root
    // (config.md, Mounts).
    let target = Path::new("/")
        .join(given.destination())
        .components()
        .collect();
    let mut mount = Mount {
        index,
        fstype,
        target,
        ..Mount::default()
    };
    let mut data: Vec<&str> = Vec::new();
    let mut map_ids = None;
    for name in given.options().iter().flatten() {
        match option(name) {
            Some(Act::Set(flag)) => {
                mount.flags |= flag;
                mount.cleared &= !flag;
            }
            Some(Act::Clear(flag)) => {
                mount.flags &= !flag;
                mount.cleared |= flag;
            }
            Some(Act::Propagate(flags)) => mount.propagation.push(flags),
            Some(Act::Recursive { set, clear }) => {
                mount.recursive_set = (mount.recursive_set & !clear) | set;
                mount.recursive_clear = (mount.recursive_clear & !set) | clear;
            }
            Some(Act::CopyUp) => mount.copy_up = true,
            Some(Act::MapIds { recursive }) => {
                map_ids = Some(map_ids.unwrap_or(false) || recursive);
            }
            Some(Act::Nothing) => {}
            None => data.push(name),
        }
    }
    if mount.fstype == "bind" {
        mount.flags |= flag::BIND;
    }
    if mount.copy_up && mount.fstype != "tmpfs" {
        return Err(Error::property(
            format!("{at}.options"),
            "tmpcopyup is for a tmpfs",
        ));
    }
    mount.source = match given.source() {
        Some(source) if mount.is_bind() => bundle.join(source).components().collect(),
        Some(source) => source.clone(),
        None if mount.is_bind() => {
            return Err(Error::property(
                format!("{at}.source"),
                "is missing; a bind mount needs it",
            ));
        }
        None => PathBuf::from(&mount.fstype),
    };
    if mount.fstype.is_empty() && !mount.is_bind() && mount.flags & flag::REMOUNT == 0 {
        return Err(Error::property(
            format!("{at}.type"),
            "is missing; only a bind mount needs none",
        ));
    }
    if mount.is_bind() {
        mount.fstype = "bind".into();
        // Options for a file system have no effect on what is mounted already.
        data.clear();
    }
    mount.id_map = id_map(&at, given, map_ids, mount.is_bind(), namespaces)?;
    mount.data = data.join(",");
    if let Some(label) = label.filter(|label| !label.is_empty())
        && !mount.is_bind()
        && !matches!(
            mount.fstype.as_str(),
            "proc" | "sysfs" | "cgroup" | "cgroup2"
        )
    {
        let separator = if mount.data.is_empty() { "" } else { "," };
        mount.data = format!("{}{separator}context=\"{label}\"", mount.data);
    }
    Ok(mount)
}

/// The mappings of a mount (config.md, Mounts: idmap, ridmap, uidMappings,
/// gidMappings). `option` is whether one of the options is there, and maps the
/// mounts below, too.
fn id_map(
    at: &str,
    given: &oci_spec::runtime::Mount,
    option: Option<bool>,
    bind: bool,
    namespaces: &Namespaces,
) -> Result<Option<IdMap>> {
    let uids = mappings(given.uid_mappings());
    let gids = mappings(given.gid_mappings());
    let own = match (uids.is_empty(), gids.is_empty()) {
        (true, true) => false,
        (false, false) => true,
        (true, false) => {
            return Err(Error::property(
                format!("{at}.uidMappings"),
                "is missing beside gidMappings",
            ));
        }
        (false, true) => {
            return Err(Error::property(
                format!("{at}.gidMappings"),
                "is missing beside uidMappings",
            ));
        }
    };
    if !own && option.is_none() {
        return Ok(None);
    }
    if !bind {
        let fault = Error::property(at, "only a bind mount can map ids");
        return Err(fault.hint("take uidMappings, gidMappings, idmap and ridmap away"));
    }
    let ids = match namespaces.joined(Kind::User) {
        _ if own => Ids::Mappings { uids, gids },
        Some(path) => Ids::Namespace(path.into()),
        None if namespaces.makes(Kind::User) => Ids::Mappings {
            uids: namespaces.uid_mappings.clone(),
            gids: namespaces.gid_mappings.clone(),
        },
        None => {
            return Err(Error::property(
                format!("{at}.options"),
                "idmap needs uidMappings and gidMappings, or a user namespace whose it takes",
            ));
        }
    };
    Ok(Some(IdMap {
        ids,
        recursive: option.unwrap_or(false),
    }))
}

/// What linux.rootfsPropagation becomes.
pub(super) struct RootPropagation {
    /// Set on all mounts of the new namespace first.
    pub namespace: u64,
    /// Set on the new root after pivot_root(2).
    pub after_pivot: Option<u64>,
}

/// The default is rprivate towards the host, with the host's unmounts still
/// arriving (slave), as the peers have it.
pub(super) fn root_propagation(wanted: Option<&str>) -> Result<RootPropagation> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        return Ok(RootPropagation {
            namespace: flag::SLAVE | flag::REC,
            after_pivot: None,
        });
    };
    let Some(Act::Propagate(flags)) = option(wanted) else {
        let fault = format!("{wanted:?} is unknown");
        let fault = Error::property("linux.rootfsPropagation", fault);
        return Err(fault
            .hint("use shared, slave, private or unbindable, or one of them with an r before it"));
    };
    // Mounts that are shared or unbindable cannot be the base of a pivot; the
    // namespace starts as slave and the root gets its propagation afterwards.
    let namespace = if flags & flag::PRIVATE != 0 {
        flag::PRIVATE
    } else {
        flag::SLAVE
    };
    Ok(RootPropagation {
        namespace: namespace | flag::REC,
        after_pivot: Some(flags),
    })
}
