//! The sections for other systems. Engines on FreeBSD write a `linux` section
//! into every configuration, because their spec generators were made for
//! Linux; what has no counterpart here is listed and passed over, except what
//! a container would run wrongly without.

use super::Input;
use crate::config::Ignored;
use crate::error::{Error, Result};

pub(super) fn check(input: &Input, ignored: &mut Vec<Ignored>) -> Result<()> {
    let mut ignore = |property: &str, is_set: bool, reason: &str| {
        if is_set {
            ignored.push(Ignored {
                property: property.into(),
                reason: reason.into(),
            });
        }
    };
    let spec = &input.config.spec;
    if let Some(process) = input.config.process() {
        let reason = "FreeBSD has no capabilities; the jail's allow parameters take their place";
        ignore(
            "process.capabilities",
            process.capabilities().is_some(),
            reason,
        );
        let reason = "FreeBSD chooses by protect(1) and memory use";
        ignore(
            "process.oomScoreAdj",
            process.oom_score_adj().is_some(),
            reason,
        );
        ignore(
            "process.commandLine",
            process.command_line().is_some(),
            "is for Windows",
        );
        let named = process.user().username().is_some();
        ignore(
            "process.user.username",
            named,
            "is for Windows; process.user.uid counts",
        );
    }
    ignore("solaris", spec.solaris().is_some(), "is for another system");
    ignore("windows", spec.windows().is_some(), "is for another system");
    ignore("vm", spec.vm().is_some(), "is for virtual machines");
    ignore("zos", spec.zos().is_some(), "is for another system");

    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    // With these a container's root would be another user than was asked for.
    let maps = [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ];
    for (path, maps) in maps {
        if maps.as_ref().is_some_and(|maps| !maps.is_empty()) {
            return Err(Error::property(path, "FreeBSD has no user namespaces"));
        }
    }
    fn any<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|list| !list.is_empty())
    }
    ignore(
        "linux.namespaces",
        any(linux.namespaces()),
        "the jail takes their place",
    );
    ignore(
        "linux.devices",
        any(linux.devices()),
        "use freebsd.devices or a devfs ruleset",
    );
    ignore(
        "linux.cgroupsPath",
        linux.cgroups_path().is_some(),
        "limits are the jail's own (rctl)",
    );
    ignore(
        "linux.seccomp",
        linux.seccomp().is_some(),
        "FreeBSD has no system call filter",
    );
    let reason = "devfs and the jail restrict what they would hide";
    ignore("linux.maskedPaths", any(linux.masked_paths()), reason);
    ignore("linux.readonlyPaths", any(linux.readonly_paths()), reason);
    let sysctls = linux.sysctl().as_ref().is_some_and(|all| !all.is_empty());
    ignore(
        "linux.sysctl",
        sysctls,
        "they are Linux's; set FreeBSD's inside a vnet jail",
    );
    let reason = "a jail sees the host's mounts";
    ignore(
        "linux.rootfsPropagation",
        linux.rootfs_propagation().is_some(),
        reason,
    );
    let reason = "FreeBSD has nothing like it";
    ignore("linux.mountLabel", linux.mount_label().is_some(), reason);
    ignore("linux.intelRdt", linux.intel_rdt().is_some(), reason);
    ignore(
        "linux.memoryPolicy",
        linux.memory_policy().is_some(),
        reason,
    );
    ignore("linux.personality", linux.personality().is_some(), reason);
    ignore(
        "linux.timeOffsets",
        linux
            .time_offsets()
            .as_ref()
            .is_some_and(|all| !all.is_empty()),
        reason,
    );
    let reason = "use freebsd.jail.vnetInterfaces";
    ignore(
        "linux.netDevices",
        linux
            .net_devices()
            .as_ref()
            .is_some_and(|all| !all.is_empty()),
        reason,
    );
    Ok(())
}
