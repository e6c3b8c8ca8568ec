//! The steps of Linux in words.

use std::fmt;

use super::mounts::{Mount, attribute, flag};
use super::{Layer, Step};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Cgroup {
                path,
                systemd,
                resources,
                owner,
                ..
            } => {
                let how = if *systemd { " by systemd" } else { "" };
                write!(f, "cgroup {}{how}", path.display())?;
                if let Some(owner) = owner {
                    write!(f, " of uid {owner}")?;
                }
                let limits = resources
                    .as_ref()
                    .and_then(|r| serde_json::to_value(r).ok());
                match limits.map(|limits| crate::plan::print::sorted(limits).to_string()) {
                    Some(limits) if limits != "{}" => write!(f, " with {limits}"),
                    _ => Ok(()),
                }
            }
            Step::View { rootfs, directory } => {
                write!(f, "view of {} at {}", rootfs.display(), directory.display())
            }
            Step::MadePath { root, path, .. } => {
                write!(f, "made {} in {}", path.display(), root.display())
            }
            Step::Namespaces(all) => {
                f.write_str("namespaces")?;
                for kind in &all.new {
                    write!(f, " {kind}")?;
                }
                for join in &all.join {
                    write!(f, " {}={}", join.kind, join.path.display())?;
                }
                for (name, maps) in [("uids", &all.uid_mappings), ("gids", &all.gid_mappings)] {
                    for map in maps {
                        write!(f, " {name} {}:{}:{}", map.inside, map.outside, map.size)?;
                    }
                }
                for offset in &all.time_offsets {
                    let (seconds, nanoseconds) = (offset.seconds, offset.nanoseconds);
                    write!(f, " {}{seconds:+}s", offset.clock)?;
                    if nanoseconds != 0 {
                        write!(f, "+{nanoseconds}ns")?;
                    }
                }
                Ok(())
            }
            Step::NetDevice { device, name } => write!(f, "network device {device} as {name}"),
            Step::Hostname { name } => write!(f, "hostname {name}"),
            Step::Domainname { name } => write!(f, "domainname {name}"),
            Step::Root {
                rootfs,
                propagation,
                layer,
            } => {
                write!(f, "root {}", rootfs.display())?;
                if let Some(propagation) = propagation {
                    write!(f, " ({})", propagation_name(*propagation))?;
                }
                match layer {
                    Some(Layer { size: Some(size) }) => {
                        write!(f, " below a layer in memory of {size}")
                    }
                    Some(Layer { size: None }) => f.write_str(" below a layer in memory"),
                    None => Ok(()),
                }
            }
            Step::Mount(mount) => show_mount(mount, f),
            Step::Device(node) => {
                let how = if node.bound { " bound" } else { "" };
                let (kind, major, minor) = (node.kind, node.major, node.minor);
                write!(
                    f,
                    "device {} {kind} {major}:{minor} mode {:04o}{how}",
                    node.path.display(),
                    node.mode
                )
            }
            Step::Link { path, target } => {
                write!(f, "link {} -> {}", path.display(), target.display())
            }
            Step::Sysctl { name, value } => write!(f, "sysctl {name}={value}"),
            Step::Chroot { view, propagation } => {
                write!(f, "enter {}", view.display())?;
                match propagation {
                    Some(flags) => write!(f, " ({})", propagation_name(*flags)),
                    None => Ok(()),
                }
            }
            Step::Pivot {
                moving,
                propagation,
            } => {
                f.write_str(if *moving {
                    "move the root"
                } else {
                    "pivot into the root"
                })?;
                match propagation {
                    Some(flags) => write!(f, " ({})", propagation_name(*flags)),
                    None => Ok(()),
                }
            }
            Step::ReadonlyRoot => f.write_str("read-only /"),
            Step::Mask { path } => write!(f, "mask {}", path.display()),
            Step::Readonly { path } => write!(f, "read-only {}", path.display()),
        }
    }
}

fn show_mount(mount: &Mount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "mount {} {} on {}",
        mount.fstype,
        mount.source.display(),
        mount.target.display()
    )?;
    let mut options: Vec<String> = Vec::new();
    for (bit, name) in [
        (flag::REC, "recursive"),
        (flag::RDONLY, "ro"),
        (flag::NOSUID, "nosuid"),
        (flag::NODEV, "nodev"),
        (flag::NOEXEC, "noexec"),
        (flag::SYNCHRONOUS, "sync"),
        (flag::REMOUNT, "remount"),
        (flag::NOATIME, "noatime"),
        (flag::NODIRATIME, "nodiratime"),
        (flag::RELATIME, "relatime"),
        (flag::STRICTATIME, "strictatime"),
        (flag::NOSYMFOLLOW, "nosymfollow"),
    ] {
        if mount.flags & bit != 0 {
            options.push(name.into());
        }
    }
    if let Some(map) = &mount.id_map {
        options.push(if map.recursive { "ridmap" } else { "idmap" }.into());
    }
    options.extend(
        mount
            .propagation
            .iter()
            .map(|flags| propagation_name(*flags)),
    );
    if mount.recursive_set != 0 {
        options.push(format!("below: {}", attributes(mount.recursive_set, true)));
    }
    let clear = mount.recursive_clear & !attribute::ATIME;
    if clear != 0 {
        options.push(format!("below: {}", attributes(clear, false)));
    }
    if mount.copy_up {
        options.push("copy up".into());
    }
    if !mount.data.is_empty() {
        options.push(mount.data.clone());
    }
    if options.is_empty() {
        Ok(())
    } else {
        write!(f, " ({})", options.join(","))
    }
}

/// Attributes of mount_setattr(2) by the names of their options.
fn attributes(bits: u64, set: bool) -> String {
    let names = [
        (attribute::RDONLY, "ro", "rw"),
        (attribute::NOSUID, "nosuid", "suid"),
        (attribute::NODEV, "nodev", "dev"),
        (attribute::NOEXEC, "noexec", "exec"),
        (attribute::NOATIME, "noatime", "atime"),
        (attribute::STRICTATIME, "strictatime", "nostrictatime"),
        (attribute::NODIRATIME, "nodiratime", "diratime"),
        (attribute::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let of = |(bit, on, off): &(u64, &'static str, &'static str)| {
        (bits & bit != 0).then_some(if set { *on } else { *off })
    };
    names.iter().filter_map(of).collect::<Vec<_>>().join(" ")
}

fn propagation_name(flags: u64) -> String {
    let name = match flags & !flag::REC {
        flag::PRIVATE => "private",
        flag::SLAVE => "slave",
        flag::SHARED => "shared",
        _ => "unbindable",
    };
    if flags & flag::REC != 0 {
        format!("r{name}")
    } else {
        name.into()
    }
}
