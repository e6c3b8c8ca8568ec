//! The plan: what create does, decided before anything is done.
//!
//! Planning is pure: `(Config, Policy, HostFacts) → Plan`, without I/O, clock
//! or environment, so both platforms' plans compile and are tested everywhere.

mod ephemeral;
pub mod freebsd;
pub mod linux;
pub mod print;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Ignored};
use crate::error::Result;
use crate::host::{HostFacts, Os};
use crate::policy::Policy;

/// All that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's absolute path.
    pub bundle: &'a Path,
    /// The container's own directory, below --root.
    pub directory: &'a Path,
    /// Whether a mount is on one of the bundle's mount points already, so that
    /// another container seems to use its root file system (FreeBSD).
    pub shared_root: bool,
    /// The bundle's configuration.
    pub config: &'a Config,
    /// The host's policy.
    pub policy: &'a Policy,
    /// What was read from the host beforehand.
    pub host: &'a HostFacts,
    /// Let systemd manage the cgroup.
    pub systemd_cgroup: bool,
    /// Move the root instead of pivoting into it.
    pub no_pivot: bool,
}

/// The ordered steps of a create, and what of the configuration has no effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The system that the plan is for.
    pub os: Os,
    /// The container's id.
    pub id: String,
    /// The root file system on the host.
    pub rootfs: PathBuf,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What runs inside when it is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<oci_spec::runtime::Process>,
    /// The seccomp filter in words (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// The hooks of all kinds, in the order of a container's life.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// What has no effect, and why.
    pub ignored: Vec<Ignored>,
}

/// A hook and when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// "createRuntime" and the like.
    pub kind: &'static str,
    /// The program.
    pub path: PathBuf,
    /// Seconds until it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// One act on the host or inside the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// An act of the FreeBSD backend.
    Freebsd(freebsd::Step),
    /// An act of the Linux backend.
    Linux(linux::Step),
}

impl Step {
    /// Whether the container's process performs it, rather than brig.
    pub fn is_inside(&self) -> bool {
        match self {
            Step::Freebsd(_) => false,
            Step::Linux(step) => step.is_inside(),
        }
    }
}

/// Makes the plan for `input.host.os`.
///
/// # Errors
/// A property that the platform cannot honour, by its path.
pub fn plan(input: &Input) -> Result<Plan> {
    let mut plan = match input.host.os {
        Os::Freebsd => freebsd::plan(input),
        Os::Linux => linux::plan(input),
    }?;
    plan.hooks = hooks(input.config);
    Ok(plan)
}

fn hooks(config: &Config) -> Vec<Hook> {
    let Some(all) = config.spec.hooks() else {
        return Vec::new();
    };
    #[allow(deprecated)]
    let kinds = [
        ("prestart", all.prestart()),
        ("createRuntime", all.create_runtime()),
        ("createContainer", all.create_container()),
        ("startContainer", all.start_container()),
        ("poststart", all.poststart()),
        ("poststop", all.poststop()),
    ];
    let of_kind = |(kind, hooks): (&'static str, &Option<Vec<oci_spec::runtime::Hook>>)| {
        let hooks = hooks.clone().unwrap_or_default().into_iter();
        hooks.map(move |hook| Hook {
            kind,
            path: hook.path().clone(),
            timeout: hook.timeout(),
        })
    };
    kinds.into_iter().flat_map(of_kind).collect()
}
