//! The state file of a container: what later commands need to know. It is
//! replaced whole and never trusted about what the kernel knows better.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The specification version that brig implements.
pub const OCI_VERSION: &str = "1.3.0";

/// What `state.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The ociVersion of the bundle's configuration.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root file system's absolute path.
    pub rootfs: PathBuf,
    /// When create began, RFC 3339.
    pub created: String,
    /// Name of the user that created it.
    pub owner: String,
    /// The configuration's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Which boot of the host the container belongs to.
    pub boot: String,
    /// The container's process, absent until create has finished.
    pub init: Option<Process>,
    /// Whether start has run.
    pub started: bool,
    /// The `brig run` that waits for the container's end and then deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Process>,
    /// FreeBSD: the jail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jail: Option<Jail>,
    /// Linux: the cgroup's path below the hierarchies' roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
}

/// A process, told from a later one with the same id by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The process id on the host.
    pub pid: i32,
    /// When it started, in the kernel's unit: clock ticks since boot on Linux,
    /// microseconds since boot on FreeBSD.
    pub start_time: u64,
}

/// A jail, told from a later one with the same name by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jail {
    /// Full name, with its parents.
    pub name: String,
    /// The kernel's id.
    pub jid: i32,
}

/// A cgroup and who manages it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    /// Path below the hierarchies' roots, or slice:prefix:name for systemd.
    pub path: PathBuf,
    /// Whether systemd manages it.
    pub systemd: bool,
    /// Whether it was there before create, so that others may be in it.
    #[serde(default)]
    pub shared: bool,
}
