//! Namespaces (config-linux.md, Namespaces, User namespace mappings, Offset
//! for Time Namespace).

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::Input;

/// A kind of namespace, named as in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// User ids.
    User,
    /// Process ids.
    Pid,
    /// Network stack.
    Network,
    /// Mounts.
    Mount,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Root of the cgroup hierarchies.
    Cgroup,
    /// Monotonic and boot time.
    Time,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Network => "network",
            Kind::Mount => "mount",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        })
    }
}

/// A namespace that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its kind.
    pub kind: Kind,
    /// A file that stands for it, as /proc/PID/ns/net.
    pub path: PathBuf,
}

/// A range of ids inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// An offset of a clock of a time namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffset {
    /// "monotonic" or "boottime".
    pub clock: String,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// All namespaces of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespaces {
    /// Made for it.
    pub new: Vec<Kind>,
    /// Joined.
    pub join: Vec<Join>,
    /// User ids of a new user namespace.
    pub uid_mappings: Vec<Mapping>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Vec<Mapping>,
    /// Clocks of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

impl Namespaces {
    /// Whether the container has one of this kind that is not the runtime's.
    pub fn has(&self, kind: Kind) -> bool {
        self.new.contains(&kind) || self.join.iter().any(|join| join.kind == kind)
    }

    /// The file that stands for the one of this kind that is joined.
    pub fn joined(&self, kind: Kind) -> Option<&Path> {
        let join = self.join.iter().find(|join| join.kind == kind)?;
        Some(&join.path)
    }

    /// Whether one of this kind is made.
    pub fn makes(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }
}

/// Ranges of ids as config.json has them.
pub(super) fn mappings(given: &Option<Vec<LinuxIdMapping>>) -> Vec<Mapping> {
    let one = |m: &LinuxIdMapping| Mapping {
        inside: m.container_id(),
        outside: m.host_id(),
        size: m.size(),
    };
    given.iter().flatten().map(one).collect()
}

pub(super) fn kind(typ: LinuxNamespaceType) -> Kind {
    match typ {
        LinuxNamespaceType::Mount => Kind::Mount,
        LinuxNamespaceType::Cgroup => Kind::Cgroup,
        LinuxNamespaceType::Uts => Kind::Uts,
        LinuxNamespaceType::Ipc => Kind::Ipc,
        LinuxNamespaceType::User => Kind::User,
        LinuxNamespaceType::Pid => Kind::Pid,
        LinuxNamespaceType::Network => Kind::Network,
        LinuxNamespaceType::Time => Kind::Time,
    }
}

pub(super) fn plan(input: &Input, linux: &Linux) -> Result<Namespaces> {
    let mut all = Namespaces::default();
    for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind(namespace.typ());
        let at = format!("linux.namespaces[{i}]");
        if all.has(kind) {
            return Err(Error::property(
                at,
                format_args!("a {kind} namespace is listed twice"),
            ));
        }
        match namespace
            .path()
            .clone()
            .filter(|path| !path.as_os_str().is_empty())
        {
            Some(path) if path.is_absolute() => all.join.push(Join { kind, path }),
            Some(path) => {
                let fault = format!("\"{}\" is not an absolute path", path.display());
                return Err(Error::property(format!("{at}.path"), fault));
            }
            None => all.new.push(kind),
        }
    }
    all.new.sort();
    all.join.sort_by_key(|join| join.kind);
    all.uid_mappings = mappings(linux.uid_mappings());
    all.gid_mappings = mappings(linux.gid_mappings());
    let mapped = !all.uid_mappings.is_empty() || !all.gid_mappings.is_empty();
    if mapped && !all.has(Kind::User) {
        let fault = Error::property("linux.uidMappings", "is set but there is no user namespace");
        return Err(fault.hint("add {\"type\": \"user\"} to linux.namespaces"));
    }
    if all.makes(Kind::User) && (all.uid_mappings.is_empty() || all.gid_mappings.is_empty()) {
        let which = if all.uid_mappings.is_empty() {
            "linux.uidMappings"
        } else {
            "linux.gidMappings"
        };
        return Err(Error::property(
            which,
            "is missing; a new user namespace needs it",
        ));
    }
    if input.host.euid != 0 && !all.has(Kind::User) {
        let fault = Error::property(
            "linux.namespaces",
            "has no user namespace, which brig needs without root",
        );
        return Err(fault.hint("make the configuration with: brig spec --rootless"));
    }
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            let at = format!("linux.timeOffsets.{clock}");
            return Err(Error::property(
                at,
                "is not a clock of a time namespace: monotonic or boottime",
            ));
        }
        all.time_offsets.push(TimeOffset {
            clock: clock.clone(),
            seconds: offset.secs().unwrap_or(0),
            nanoseconds: offset.nanosecs().unwrap_or(0),
        });
    }
    all.time_offsets.sort_by(|a, b| a.clock.cmp(&b.clock));
    if !all.time_offsets.is_empty() && !all.makes(Kind::Time) {
        let fault = Error::property("linux.timeOffsets", "is set but no time namespace is made");
        return Err(fault.hint("add {\"type\": \"time\"} to linux.namespaces"));
    }
    Ok(all)
}
