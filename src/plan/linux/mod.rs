//! The plan for Linux: namespaces, cgroup, mounts and devices
//! (config-linux.md).

mod devices;
pub mod mounts;
mod namespaces;
mod refuse;
mod show;

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::{Input, Plan, ephemeral};
use crate::error::{Error, Result};
use crate::host::Os;
pub use devices::Node;
pub use mounts::Mount;
#[cfg(target_os = "linux")]
pub use namespaces::Mapping;
pub use namespaces::{Kind, Namespaces};

/// One act of the Linux backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "step",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Step {
    /// Makes or joins a cgroup and sets its limits.
    Cgroup {
        /// Path below the hierarchies' roots, or slice:prefix:name (systemd).
        path: PathBuf,
        /// Whether systemd makes it.
        systemd: bool,
        /// Whether it may fail for want of privilege.
        optional: bool,
        /// The limits.
        resources: Option<Box<LinuxResources>>,
        /// The user of the host who may divide it further.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<u32>,
    },
    /// A path of the root file system that did not exist before.
    MadePath {
        /// The root file system.
        root: PathBuf,
        /// The path below it.
        path: PathBuf,
        /// The view of the root through which it was made; what is mounted
        /// there goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<PathBuf>,
    },
    /// Binds the root file system on a directory of the container's own, for
    /// one that is in the host's mount namespace: all that it mounts is below
    /// that, and is taken back with it.
    View {
        /// The root file system.
        rootfs: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// Makes and joins namespaces while the process is forked.
    Namespaces(Namespaces),
    /// Moves a network device of the host to the network namespace.
    NetDevice {
        /// Its name on the host.
        device: String,
        /// Its name inside; `%d` in it stands for a number.
        name: String,
    },
    /// Sets the host name.
    Hostname {
        /// The name.
        name: String,
    },
    /// Sets the NIS domain name.
    Domainname {
        /// The name.
        name: String,
    },
    /// Cuts the mount namespace off from the host's and binds the root file
    /// system onto itself, which makes it a mount.
    Root {
        /// The root file system, or the view of it.
        rootfs: PathBuf,
        /// Propagation of the namespace's mounts (MS_* flags). There is none
        /// for a view, which is a mount already, in a namespace that is left
        /// alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<u64>,
        /// A layer in memory that takes all writes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layer: Option<Layer>,
    },
    /// Mounts below the root.
    Mount(Mount),
    /// Makes a device node.
    Device(Node),
    /// Makes a symbolic link, unless there is something already.
    Link {
        /// Where.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// Sets a kernel parameter of the namespaces.
    Sysctl {
        /// With dots.
        name: String,
        /// As written to /proc/sys.
        value: String,
    },
    /// Makes the root file system the root.
    Pivot {
        /// Move the mount onto / instead of pivot_root(2).
        moving: bool,
        /// Propagation of the new root (MS_* flags), if it is set.
        propagation: Option<u64>,
    },
    /// Makes the view of the root file system the root of the process.
    Chroot {
        /// The view.
        view: PathBuf,
        /// Its propagation (MS_* flags), if it is set.
        propagation: Option<u64>,
    },
    /// Makes the root file system read-only.
    ReadonlyRoot,
    /// Makes a path unreadable.
    Mask {
        /// The path.
        path: PathBuf,
    },
    /// Makes a path read-only.
    Readonly {
        /// The path.
        path: PathBuf,
    },
}

/// A tmpfs that takes the writes to a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its size as tmpfs takes it, when it is limited.
    pub size: Option<String>,
}

impl Step {
    /// Whether the container's process performs it.
    pub fn is_inside(&self) -> bool {
        !matches!(
            self,
            Step::Cgroup { .. } | Step::MadePath { .. } | Step::View { .. }
        )
    }
}

/// Makes the plan.
///
/// # Errors
/// A property that Linux or this host cannot honour, by its path.
pub fn plan(input: &Input) -> Result<Plan> {
    let config = input.config;
    // The library's default is a whole sandbox; a section that is not there
    // says nothing.
    let linux = match config.spec.linux() {
        Some(linux) => linux.clone(),
        None => crate::config::absent()?,
    };
    let mut ignored = config.ignored.clone();
    refuse::unsupported(input, &linux)?;
    refuse::without_effect(config, &linux, &mut ignored);

    let rootfs = config.rootfs(input.bundle);
    let namespaces = namespaces::plan(input, &linux)?;
    let nodes_are_bound = input.host.euid != 0 || input.host.nested || namespaces.has(Kind::User);
    let mut steps = Vec::new();
    steps.push(cgroup(input, &linux, &namespaces)?);
    let (own_uts, own_mount) = (namespaces.has(Kind::Uts), namespaces.has(Kind::Mount));
    // The host's mounts are nothing that the root of a user namespace changes.
    if !own_mount && namespaces.has(Kind::User) {
        let fault = Error::property(
            "linux.namespaces",
            "has a user namespace and no mount namespace, so nothing could be mounted",
        );
        return Err(fault.hint("add {\"type\": \"mount\"}"));
    }
    let view = (!own_mount).then(|| input.directory.join("root"));
    if let Some(directory) = view.clone() {
        steps.push(Step::View {
            rootfs: rootfs.clone(),
            directory,
        });
    }
    let sysctls = sysctls(&linux, &namespaces)?;
    steps.push(Step::Namespaces(namespaces.clone()));
    steps.extend(net_devices(&linux, &namespaces)?);
    if let Some(name) = config
        .spec
        .hostname()
        .clone()
        .filter(|name| !name.is_empty())
    {
        uts("hostname", own_uts)?;
        steps.push(Step::Hostname { name });
    }
    if let Some(name) = config
        .spec
        .domainname()
        .clone()
        .filter(|name| !name.is_empty())
    {
        uts("domainname", own_uts)?;
        steps.push(Step::Domainname { name });
    }
    let wanted = linux.rootfs_propagation().as_deref();
    let root = mounts::root_propagation(wanted)?;
    steps.push(Step::Root {
        rootfs: view.as_ref().unwrap_or(&rootfs).clone(),
        propagation: own_mount.then_some(root.namespace),
        layer: ephemeral::of(config)?.map(|ephemeral| Layer {
            size: ephemeral.size,
        }),
    });
    let mut dev_is_bound = false;
    let label = linux.mount_label().as_deref();
    for (i, mount) in config.spec.mounts().iter().flatten().enumerate() {
        let mount = mounts::plan(i, mount, input.bundle, label, &namespaces)?;
        if mount.target == Path::new("/dev") {
            dev_is_bound = mount.is_bind();
        }
        steps.push(Step::Mount(mount));
    }
    if !dev_is_bound {
        steps.extend(devices::plan(&linux, nodes_are_bound)?);
    }
    let absolute = |at: &str, path: &str| {
        if path.starts_with('/') {
            return Ok(PathBuf::from(path));
        }
        Err(Error::property(
            at,
            format_args!("{path:?} is not an absolute path"),
        ))
    };
    let mut closed = Vec::new();
    for (i, path) in linux.readonly_paths().iter().flatten().enumerate() {
        let path = absolute(&format!("linux.readonlyPaths[{i}]"), path)?;
        closed.push(Step::Readonly { path });
    }
    for (i, path) in linux.masked_paths().iter().flatten().enumerate() {
        let path = absolute(&format!("linux.maskedPaths[{i}]"), path)?;
        closed.push(Step::Mask { path });
    }
    let propagation = root.after_pivot;
    match view {
        None => {
            steps.push(Step::Pivot {
                moving: input.no_pivot,
                propagation,
            });
            steps.extend(sysctls);
            steps.extend(closed);
        }
        // What is closed off is found by descriptors, for which the host's
        // /proc must still be in sight.
        Some(view) => {
            steps.extend(closed);
            steps.push(Step::Chroot { view, propagation });
            steps.extend(sysctls);
        }
    }
    if config.root_readonly() {
        steps.push(Step::ReadonlyRoot);
    }
    let steps = steps.into_iter().map(super::Step::Linux).collect();
    let process = input.config.process().cloned();
    let seccomp = linux.seccomp().as_ref().map(|filter| {
        let rules = filter.syscalls().as_ref().map_or(0, Vec::len);
        format!("{} with {rules} rules", filter.default_action())
    });
    Ok(Plan {
        seccomp,
        hooks: Vec::new(),
        os: Os::Linux,
        id: input.id.into(),
        rootfs,
        steps,
        process,
        ignored,
    })
}

fn uts(property: &str, own: bool) -> Result<()> {
    if own {
        return Ok(());
    }
    let fault = Error::property(property, "is set but the host's UTS namespace is used");
    Err(fault.hint("add {\"type\": \"uts\"} to linux.namespaces"))
}

/// The cgroup of a container that names none. It has no parent of its own,
/// which the last container of many would have to take away while the next one
/// is being created in it.
fn default_cgroup(id: &str) -> PathBuf {
    let name = format!("brig-{id}");
    // A file name has 255 bytes; one that long is nobody else's as it is.
    if name.len() > 255 {
        id.into()
    } else {
        name.into()
    }
}

/// Who gets the cgroup: the container's user, if it has the hierarchy mounted,
/// to be written, in a cgroup namespace of its own (config-linux.md, Cgroup
/// ownership).
fn cgroup_owner(input: &Input, namespaces: &Namespaces) -> Option<u32> {
    let mut mounts = input.config.spec.mounts().iter().flatten();
    let mounted = mounts.any(|mount| {
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|name| name == "ro")
    });
    if !input.host.cgroup2 || !mounted || !namespaces.makes(Kind::Cgroup) {
        return None;
    }
    let user = input.config.process()?.user().uid();
    if !namespaces.has(Kind::User) {
        return Some(user);
    }
    // The mappings of a namespace that is joined are not known here.
    let mut mappings = namespaces.uid_mappings.iter();
    mappings.find_map(|m| {
        let offset = user.checked_sub(m.inside).filter(|n| *n < m.size)?;
        m.outside.checked_add(offset)
    })
}

fn cgroup(
    input: &Input,
    linux: &oci_spec::runtime::Linux,
    namespaces: &Namespaces,
) -> Result<Step> {
    let userns = namespaces.has(Kind::User);
    let given = linux
        .cgroups_path()
        .clone()
        .filter(|path| !path.as_os_str().is_empty());
    let path = if input.systemd_cgroup {
        let path = given.unwrap_or_else(|| format!("system.slice:brig:{}", input.id).into());
        if path.to_string_lossy().split(':').count() != 3 {
            let fault = format!(
                "\"{}\" is not of the form slice:prefix:name",
                path.display()
            );
            let fault = Error::property("linux.cgroupsPath", fault);
            return Err(fault.hint("leave --systemd-cgroup out for a path"));
        }
        path
    } else {
        let path = given.unwrap_or_else(|| default_cgroup(input.id));
        let mut clean = PathBuf::new();
        for part in path.components() {
            use std::path::Component;
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    let fault = format!("\"{}\" has .. in it", path.display());
                    return Err(Error::property("linux.cgroupsPath", fault));
                }
                _ => {}
            }
        }
        if clean.as_os_str().is_empty() {
            return Err(Error::property(
                "linux.cgroupsPath",
                "is the root of the hierarchy",
            ));
        }
        clean
    };
    let optional = input.host.euid != 0 || (input.host.nested && userns);
    let resources = linux.resources().clone().map(Box::new);
    Ok(Step::Cgroup {
        path,
        systemd: input.systemd_cgroup,
        optional,
        resources,
        owner: cgroup_owner(input, namespaces),
    })
}

/// The network devices that the container takes (config-linux.md, Network
/// Devices).
fn net_devices(linux: &oci_spec::runtime::Linux, namespaces: &Namespaces) -> Result<Vec<Step>> {
    let mut all: Vec<_> = linux.net_devices().iter().flatten().collect();
    all.sort_by_key(|(device, _)| device.as_str());
    if !all.is_empty() && !namespaces.has(Kind::Network) {
        let fault = Error::property(
            "linux.netDevices",
            "is set but there is no network namespace",
        );
        return Err(fault.hint("add {\"type\": \"network\"} to linux.namespaces"));
    }
    let mut steps = Vec::new();
    for (device, given) in all {
        let name = given.name().as_ref().filter(|name| !name.is_empty());
        let name = name.unwrap_or(device);
        let at = format!("linux.netDevices.{device}");
        // The kernel's rules (dev_valid_name), and its template.
        let valid = |name: &str| {
            let odd = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\0';
            (1..16).contains(&name.len()) && name != "." && name != ".." && !name.contains(odd)
        };
        let template = name.matches('%').count() == 1 && name.contains("%d");
        if !valid(device) || device.contains('%') {
            return Err(Error::property(at, "is not a name for a network device"));
        }
        if !valid(name) || (name.contains('%') && !template) {
            let cause = format!("{name:?} is not a name for a network device");
            return Err(Error::property(format!("{at}.name"), cause));
        }
        steps.push(Step::NetDevice {
            device: device.clone(),
            name: name.clone(),
        });
    }
    Ok(steps)
}

/// Only parameters of a namespace that the container has are its own; any
/// other would change the host.
fn sysctls(linux: &oci_spec::runtime::Linux, namespaces: &Namespaces) -> Result<Vec<Step>> {
    let mut all: Vec<_> = linux.sysctl().iter().flatten().collect();
    all.sort();
    let mut steps = Vec::new();
    for (name, value) in all {
        let dotted = name.replace('/', ".");
        let kind = match dotted.as_str() {
            "kernel.hostname" | "kernel.domainname" => Some(Kind::Uts),
            n if n.starts_with("kernel.msg")
                || n.starts_with("kernel.shm")
                || n == "kernel.sem" =>
            {
                Some(Kind::Ipc)
            }
            n if n.starts_with("fs.mqueue.") => Some(Kind::Ipc),
            n if n.starts_with("net.") => Some(Kind::Network),
            n if n.starts_with("user.") => Some(Kind::User),
            _ => None,
        };
        let at = format!("linux.sysctl[{name}]");
        match kind {
            None => {
                return Err(Error::property(
                    at,
                    "is not a parameter of any namespace, so it would change the host",
                ));
            }
            Some(kind) if !namespaces.has(kind) => {
                let fault =
                    Error::property(at, format_args!("would change the host's {kind} namespace"));
                return Err(fault.hint(format!("add {{\"type\": \"{kind}\"}} to linux.namespaces")));
            }
            // A slash stands for a dot in an interface's name, as in sysctl(8).
            Some(_) => steps.push(Step::Sysctl {
                name: name.clone(),
                value: value.clone(),
            }),
        }
    }
    Ok(steps)
}
