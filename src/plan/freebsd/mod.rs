//! The plan for FreeBSD: a jail, the mounts in it, its devices, network and
//! limits.

mod datasets;
mod devfs;
mod ignored;
mod jail;
pub mod limits;
mod linux;
pub mod meta;
mod mounts;
mod network;
mod nfs;
mod process;
mod show;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_input;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Input, Plan};
use crate::error::{Error, Result};
use crate::host::Os;
pub use devfs::Rule;
pub use jail::{Parameter, Value};
pub use limits::Limit;
#[cfg(target_os = "freebsd")]
pub use linux::{interpreter, module_for};
pub use mounts::known_options;
#[cfg(target_os = "freebsd")]
pub use nfs::{MODULE as NFS_MODULE, export};
#[cfg(target_os = "freebsd")]
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(unused_imports, reason = "for the FreeBSD backend")
)]
pub use process::{check_process, resource_number};

/// One act of the FreeBSD backend, done on the host and taken back at delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "step",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Step {
    /// Loads a kernel module, unless what it brings is there already. It stays
    /// loaded: others may use it by then.
    Module {
        /// Name for kldload(8).
        name: String,
        /// The jail parameter that needs it; none where Linux programs do.
        parameter: Option<String>,
    },
    /// Makes a mount point before the root becomes read-only.
    MountPoint {
        /// The root file system.
        root: PathBuf,
        /// Path in it.
        destination: PathBuf,
        /// What will be mounted there: a file needs a file to be mounted on.
        source: Option<PathBuf>,
    },
    /// Mounts a file system; a mount point that is missing is made.
    FileSystem {
        /// The root file system; `destination` is resolved in it.
        root: PathBuf,
        /// Path in the root, as the configuration has it.
        destination: PathBuf,
        /// The type for nmount(2).
        fstype: String,
        /// The `from` of nmount(2), or nullfs's target.
        source: Option<PathBuf>,
        /// Options for nmount(2), as `ro` or `size=1m`.
        options: Vec<String>,
        /// Fill it with what it covers.
        copy_up: bool,
    },
    /// Frees, at the end, the devfs rulesets that were made for containers and
    /// that no mount and no jail uses any more.
    Rulesets {
        /// The first and the last number that brig may use.
        range: (u32, u32),
    },
    /// Shows, hides or changes devices of a devfs mount, those too that come
    /// later, by a ruleset that containers with the same rules share.
    DeviceRules {
        /// The root file system.
        root: PathBuf,
        /// Where devfs is mounted in it.
        destination: PathBuf,
        /// The host's ruleset that comes before; 0 for none.
        ruleset: u32,
        /// What to change.
        rules: Vec<Rule>,
        /// The first and the last number for a new ruleset.
        range: (u32, u32),
    },
    /// The same for the devfs that the jail mounts itself.
    JailDevices {
        /// The jail's full name.
        jail: String,
        /// The host's ruleset that comes before.
        ruleset: u32,
        /// What to change.
        rules: Vec<Rule>,
        /// The first and the last number for a new ruleset.
        range: (u32, u32),
    },
    /// Remembers what is mounted in the root, so that what a jail that may
    /// mount has mounted is told apart and taken away when it is gone.
    OwnMounts {
        /// The jail's root directory.
        root: PathBuf,
    },
    /// Lets a jail have one more child.
    ChildrenMax {
        /// The jail's full name.
        jail: String,
    },
    /// Adds an address to a host's interface.
    Alias {
        /// The interface.
        interface: String,
        /// The address, as a host's own (/32, /128).
        address: IpAddr,
    },
    /// Makes the jail.
    Jail {
        /// Full name, with its parents.
        name: String,
        /// The root directory.
        path: PathBuf,
        /// Its parameters besides name, path and persist.
        parameters: Vec<Parameter>,
    },
    /// Adds a resource limit.
    Rctl(Limit),
    /// Restricts the jail to some processors.
    Cpuset {
        /// The jail's full name.
        jail: String,
        /// Processor numbers.
        cpus: Vec<u32>,
    },
    /// Moves an interface into the jail's network stack.
    VnetInterface {
        /// The jail's full name.
        jail: String,
        /// The interface.
        interface: String,
    },
    /// Lets the jail administer a dataset of ZFS.
    Dataset {
        /// The jail's full name.
        jail: String,
        /// The dataset.
        dataset: String,
    },
}

/// Makes the plan. The order is that of need: modules before the parameters
/// they bring, mounts before the jail that sees them, the jail before what is
/// attached to it.
///
/// # Errors
/// A property that FreeBSD cannot honour, by its path.
pub fn plan(input: &Input) -> Result<Plan> {
    let mut ignored = input.config.ignored.clone();
    let rootfs = input.config.rootfs(input.bundle);
    ignored::check(input, &mut ignored)?;
    process::check(input)?;

    let mut jail = jail::plan(input, &rootfs, &mut ignored)?;
    let mounts = mounts::plan(input, &rootfs, &mut ignored)?;
    let network = network::plan(input, &jail.name, &mut ignored)?;
    let limits = limits::plan(input, &jail.name, &mut ignored)?;

    let range = input.policy.devfs_range;
    let own_rules = devfs::of_jail(&jail, &mounts.steps, range);
    let datasets = datasets::plan(input, &jail.name)?;
    let on_host = [&network.before, &network.after, &datasets.after];
    let on_host = meta::on_host(input, &jail.name, on_host.into_iter().flatten());
    jail.parameters.extend(on_host);

    let mut steps = jail.modules;
    let linux = linux::modules(input, &mounts.steps);
    let nfs = nfs::module(&mounts.steps);
    for module in linux.into_iter().chain(nfs).chain(datasets.modules) {
        if !steps.contains(&module) {
            steps.push(module);
        }
    }
    if let Some(parent) = jail.parent {
        steps.push(Step::ChildrenMax { jail: parent });
    }
    if mounts
        .steps
        .iter()
        .any(|step| matches!(step, Step::DeviceRules { .. }))
    {
        steps.push(Step::Rulesets { range });
    }
    steps.extend(mounts.steps);
    steps.extend(network.before);
    let may_mount = |parameter: &Parameter| {
        let is_on = !matches!(parameter.value, Value::Switch(false));
        parameter.name.starts_with("allow.mount") && is_on
    };
    if jail.parameters.iter().any(may_mount) {
        steps.push(Step::OwnMounts {
            root: mounts.root.clone(),
        });
    }
    steps.push(Step::Jail {
        name: jail.name,
        path: mounts.root,
        parameters: jail.parameters,
    });
    steps.extend(own_rules);
    steps.extend(limits);
    steps.extend(network.after);
    steps.extend(datasets.after);
    let steps = steps.into_iter().map(super::Step::Freebsd).collect();
    let process = input.config.process().cloned();
    Ok(Plan {
        os: Os::Freebsd,
        id: input.id.into(),
        rootfs,
        steps,
        process,
        seccomp: None,
        hooks: Vec::new(),
        ignored,
    })
}

/// The jail's own name for a container id: the id itself wherever jail(8) can
/// have it. `.` separates a jail's parents, and a name that reads as a number
/// is taken for a jail id; both get a `~`, which no container id has, so no
/// two ids share a name and the id can be read back.
pub fn jail_name(id: &str) -> String {
    let digits = id.strip_prefix(['+', '-']).unwrap_or(id);
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let name = id.replace('.', "~");
    if numeric { format!("~{name}") } else { name }
}

/// The longest full name of a jail in bytes (MAXHOSTNAMELEN without its NUL).
const LONGEST_NAME: usize = 255;

fn full_name(parent: Option<&str>, id: &str) -> Result<String> {
    let own = jail_name(id);
    let name = match parent {
        Some(parent) => format!("{parent}.{own}"),
        None => own,
    };
    if name.len() > LONGEST_NAME {
        let fault = Error::new("name the jail", &name, "the name is longer than 255 bytes");
        return Err(fault.hint("use a shorter container id"));
    }
    Ok(name)
}
