//! `brig features`: what this runtime supports (features.md).

use serde_json::json;

use crate::container::state::OCI_VERSION;
use crate::error::Result;
use crate::host::Os;
use crate::plan;

pub fn command() -> Result<()> {
    let mut features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "annotations": {
            "org.freebsd.brig.version": env!("CARGO_PKG_VERSION"),
        },
    });
    if Os::this() == Os::Linux {
        features["mountOptions"] = plan::linux::mounts::known_options().into();
        features["linux"] = linux();
    } else {
        features["mountOptions"] = plan::freebsd::known_options().into();
    }
    super::write(&format!("{features:#}\n"))
}

#[cfg(target_os = "linux")]
fn linux() -> serde_json::Value {
    let mut capabilities: Vec<String> = caps::all()
        .into_iter()
        .filter(|capability| caps::has_cap(None, caps::CapSet::Bounding, *capability).is_ok())
        .map(|capability| capability.to_string())
        .collect();
    capabilities.sort();
    json!({
        "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        "capabilities": capabilities,
        "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true},
        "seccomp": {
            "enabled": true,
            "actions": [
                "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
                "SCMP_ACT_TRAP",
            ],
            "operators": [
                "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
            ],
            "archs": [
                "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64",
                "SCMP_ARCH_S390X", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64",
            ],
            "knownFlags": [
                "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
            ],
            "supportedFlags": [
                "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
            ],
        },
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": false},
        "mountExtensions": {"idmap": {"enabled": true}},
        "netDevices": {"enabled": true},
        "memoryPolicy": {
            "modes": [
                "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
            ],
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        },
    })
}

#[cfg(not(target_os = "linux"))]
fn linux() -> serde_json::Value {
    serde_json::Value::Null
}
