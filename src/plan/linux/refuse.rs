//! What this backend cannot honour, which is refused by its path, and what has
//! no effect on Linux, which is listed.

use oci_spec::runtime::{Linux, LinuxSeccomp, LinuxSeccompAction};

use crate::config::{Config, Ignored};
use crate::error::{Error, Result};
use crate::plan::Input;

pub(super) fn unsupported(input: &Input, linux: &Linux) -> Result<()> {
    let refuse = |at: &str, why: &str| Err(Error::property(at, why));
    if linux.intel_rdt().is_some() {
        return refuse("linux.intelRdt", "is not supported");
    }
    let process = input.config.process();
    let given = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    if !input.host.apparmor && process.is_some_and(|p| given(p.apparmor_profile())) {
        return refuse(
            "process.apparmorProfile",
            "is set but this host has no AppArmor",
        );
    }
    if !input.host.selinux {
        if process.is_some_and(|p| given(p.selinux_label())) {
            return refuse(
                "process.selinuxLabel",
                "is set but this host has no SELinux",
            );
        }
        if given(linux.mount_label()) {
            return refuse("linux.mountLabel", "is set but this host has no SELinux");
        }
    }
    if let Some(seccomp) = linux.seccomp() {
        listener(seccomp)?;
    }
    let resources = linux.resources().as_ref();
    for (device, limits) in resources.iter().flat_map(|r| r.rdma().iter().flatten()) {
        if limits.hca_handles().is_none() && limits.hca_objects().is_none() {
            let at = format!("linux.resources.rdma.{device}");
            return refuse(&at, "has neither hcaHandles nor hcaObjects");
        }
    }
    if resources.is_some_and(|r| r.unified().as_ref().is_some_and(|u| !u.is_empty()))
        && !input.host.cgroup2
    {
        return refuse(
            "linux.resources.unified",
            "needs cgroup v2, which this host has not",
        );
    }
    Ok(())
}

/// What stands in the way of handing calls to a seccomp agent (config-linux.md,
/// Seccomp).
fn listener(seccomp: &LinuxSeccomp) -> Result<()> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let path = seccomp
        .listener_path()
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty());
    if given(seccomp.listener_metadata()) && path.is_none() {
        return Err(Error::property(
            "linux.seccomp.listenerMetadata",
            "is set but listenerPath is not",
        ));
    }
    let notify = LinuxSeccompAction::ScmpActNotify;
    if seccomp.default_action() == notify {
        return Err(Error::property(
            "linux.seccomp.defaultAction",
            "cannot be SCMP_ACT_NOTIFY: no call would be left to reach the agent by",
        ));
    }
    for (i, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        if rule.action() != notify {
            continue;
        }
        if path.is_none() {
            return Err(Error::property(
                "linux.seccomp.listenerPath",
                format_args!("is missing; linux.seccomp.syscalls[{i}] needs it"),
            ));
        }
        if rule.names().iter().any(|name| name == "sendmsg") {
            return Err(Error::property(
                format!("linux.seccomp.syscalls[{i}]"),
                "SCMP_ACT_NOTIFY cannot be for sendmsg, by which the agent is reached",
            ));
        }
    }
    Ok(())
}

pub(super) fn without_effect(config: &Config, linux: &Linux, ignored: &mut Vec<Ignored>) {
    let mut add = |property: &str, reason: &str| {
        ignored.push(Ignored {
            property: property.into(),
            reason: reason.into(),
        });
    };
    if config.freebsd != crate::config::FreeBsd::default() {
        add("freebsd", "is for FreeBSD");
    }
    for (property, set) in [
        ("solaris", config.spec.solaris().is_some()),
        ("windows", config.spec.windows().is_some()),
        ("vm", config.spec.vm().is_some()),
        ("zos", config.spec.zos().is_some()),
    ] {
        if set {
            add(property, "is for another platform");
        }
    }
    let memory = linux.resources().as_ref().and_then(|r| *r.memory());
    if memory.is_some_and(|m| m.kernel().is_some()) {
        add(
            "linux.resources.memory.kernel",
            "the kernel no longer limits kernel memory apart",
        );
    }
    if memory.is_some_and(|m| m.kernel_tcp().is_some()) {
        add(
            "linux.resources.memory.kernelTCP",
            "the kernel no longer limits it apart",
        );
    }
}
