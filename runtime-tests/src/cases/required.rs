//! A configuration that lacks what config.md and its parts call REQUIRED must
//! be refused: config.md says that runtimes generate an error for what is not
//! valid.

use serde_json::{Value, json};

use crate::harness::Case;
use crate::harness::Platforms::{Any, FreeBsd, Linux};
use crate::harness::{Outcome, Test};

/// A case: the configuration gets `$value` at `$at`, from which `$absent` is
/// taken away.
macro_rules! required {
    ($name:literal, $platforms:ident, $section:literal, $at:literal, $value:tt, $absent:literal) => {
        Case {
            name: concat!("required/", $name),
            platforms: $platforms,
            section: $section,
            says: concat!(
                "A configuration without the REQUIRED ",
                $absent,
                " is refused."
            ),
            run: |t| lacks(t, $at, json!($value), $absent),
        }
    };
}

pub const CASES: &[Case] = &[
    required!("root-path", Any, "config.md, Root", "/root", {"readonly": false, "path": "rootfs"}, "/root/path"),
    required!("mounts-destination", Any, "config.md, Mounts", "/mounts/-", {"type": "tmpfs", "source": "tmpfs", "destination": "/mnt"}, "/mounts/LAST/destination"),
    required!(
        "process-cwd",
        Any,
        "config.md, Process",
        "/process/cwd",
        "/",
        "/process/cwd"
    ),
    required!("process-consoleSize-height", Any, "config.md, Process", "/process/consoleSize", {"height": 24, "width": 80}, "/process/consoleSize/height"),
    required!("process-consoleSize-width", Any, "config.md, Process", "/process/consoleSize", {"height": 24, "width": 80}, "/process/consoleSize/width"),
    required!("process-rlimits-type", Any, "config.md, POSIX process", "/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}], "/process/rlimits/0/type"),
    required!("process-rlimits-soft", Any, "config.md, POSIX process", "/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}], "/process/rlimits/0/soft"),
    required!("process-rlimits-hard", Any, "config.md, POSIX process", "/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}], "/process/rlimits/0/hard"),
    required!("process-user-uid", Any, "config.md, POSIX-platform User", "/process/user", {"uid": 0, "gid": 0}, "/process/user/uid"),
    required!("process-user-gid", Any, "config.md, POSIX-platform User", "/process/user", {"uid": 0, "gid": 0}, "/process/user/gid"),
    required!("process-scheduler-policy", Linux, "config.md, Linux Process", "/process/scheduler", {"policy": "SCHED_OTHER", "nice": 1}, "/process/scheduler/policy"),
    required!("process-ioPriority-class", Linux, "config.md, Linux Process", "/process/ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 4}, "/process/ioPriority/class"),
    required!("process-ioPriority-priority", Linux, "config.md, Linux Process", "/process/ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 4}, "/process/ioPriority/priority"),
    required!("hooks-prestart-path", Any, "config.md, POSIX-platform Hooks", "/hooks/prestart", [{"path": "/bin/true", "args": ["true"]}], "/hooks/prestart/0/path"),
    required!("hooks-path", Any, "config.md, POSIX-platform Hooks", "/hooks/createRuntime", [{"path": "/bin/true", "args": ["true"]}], "/hooks/createRuntime/0/path"),
    required!("linux-namespaces-type", Linux, "config-linux.md, Namespaces", "/linux/namespaces/-", {"type": "cgroup"}, "/linux/namespaces/LAST/type"),
    required!("linux-uidMappings-containerID", Linux, "config-linux.md, User namespace mappings", "/linux/uidMappings", [{"containerID": 0, "hostID": 100000, "size": 65536}], "/linux/uidMappings/0/containerID"),
    required!("linux-uidMappings-hostID", Linux, "config-linux.md, User namespace mappings", "/linux/uidMappings", [{"containerID": 0, "hostID": 100000, "size": 65536}], "/linux/uidMappings/0/hostID"),
    required!("linux-uidMappings-size", Linux, "config-linux.md, User namespace mappings", "/linux/uidMappings", [{"containerID": 0, "hostID": 100000, "size": 65536}], "/linux/uidMappings/0/size"),
    required!("linux-devices-type", Linux, "config-linux.md, Devices", "/linux/devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}], "/linux/devices/0/type"),
    required!("linux-devices-path", Linux, "config-linux.md, Devices", "/linux/devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}], "/linux/devices/0/path"),
    required!("linux-devices-major", Linux, "config-linux.md, Devices", "/linux/devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}], "/linux/devices/0/major"),
    required!("linux-devices-minor", Linux, "config-linux.md, Devices", "/linux/devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}], "/linux/devices/0/minor"),
    required!("linux-resources-devices-allow", Linux, "config-linux.md, Allowed Device list", "/linux/resources/devices", [{"allow": false, "access": "rwm"}], "/linux/resources/devices/0/allow"),
    required!("linux-resources-blockIO-weightDevice-major", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/weightDevice", [{"major": 8, "minor": 0, "weight": 500}], "/linux/resources/blockIO/weightDevice/0/major"),
    required!("linux-resources-blockIO-weightDevice-minor", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/weightDevice", [{"major": 8, "minor": 0, "weight": 500}], "/linux/resources/blockIO/weightDevice/0/minor"),
    required!("linux-resources-blockIO-throttleReadBpsDevice-major", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadBpsDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadBpsDevice/0/major"),
    required!("linux-resources-blockIO-throttleReadBpsDevice-minor", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadBpsDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadBpsDevice/0/minor"),
    required!("linux-resources-blockIO-throttleReadBpsDevice-rate", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadBpsDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadBpsDevice/0/rate"),
    required!("linux-resources-blockIO-throttleReadIOPSDevice-major", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadIOPSDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadIOPSDevice/0/major"),
    required!("linux-resources-blockIO-throttleReadIOPSDevice-minor", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadIOPSDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadIOPSDevice/0/minor"),
    required!("linux-resources-blockIO-throttleReadIOPSDevice-rate", Linux, "config-linux.md, Block IO", "/linux/resources/blockIO/throttleReadIOPSDevice", [{"major": 8, "minor": 0, "rate": 500}], "/linux/resources/blockIO/throttleReadIOPSDevice/0/rate"),
    required!("linux-resources-hugepageLimits-pageSize", Linux, "config-linux.md, Huge page limits", "/linux/resources/hugepageLimits", [{"pageSize": "2MB", "limit": 4194304}], "/linux/resources/hugepageLimits/0/pageSize"),
    required!("linux-resources-hugepageLimits-limit", Linux, "config-linux.md, Huge page limits", "/linux/resources/hugepageLimits", [{"pageSize": "2MB", "limit": 4194304}], "/linux/resources/hugepageLimits/0/limit"),
    required!("linux-resources-network-priorities-name", Linux, "config-linux.md, Network", "/linux/resources/network/priorities", [{"name": "lo", "priority": 5}], "/linux/resources/network/priorities/0/name"),
    required!("linux-resources-network-priorities-priority", Linux, "config-linux.md, Network", "/linux/resources/network/priorities", [{"name": "lo", "priority": 5}], "/linux/resources/network/priorities/0/priority"),
    required!("linux-memoryPolicy-mode", Linux, "config-linux.md, Memory policy", "/linux/memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": ""}, "/linux/memoryPolicy/mode"),
    required!("linux-seccomp-defaultAction", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}, "/linux/seccomp/defaultAction"),
    required!("linux-seccomp-syscalls-names", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]}, "/linux/seccomp/syscalls/0/names"),
    required!("linux-seccomp-syscalls-action", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]}, "/linux/seccomp/syscalls/0/action"),
    required!("linux-seccomp-syscalls-args-index", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}, "/linux/seccomp/syscalls/0/args/0/index"),
    required!("linux-seccomp-syscalls-args-value", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}, "/linux/seccomp/syscalls/0/args/0/value"),
    required!("linux-seccomp-syscalls-args-op", Linux, "config-linux.md, Seccomp", "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}, "/linux/seccomp/syscalls/0/args/0/op"),
    required!("linux-personality-domain", Linux, "config-linux.md, Personality", "/linux/personality", {"domain": "LINUX"}, "/linux/personality/domain"),
    required!("freebsd-devices-path", FreeBsd, "config-freebsd.md, Devices", "/freebsd/devices", [{"path": "mem", "mode": 256}], "/freebsd/devices/0/path"),
];

/// The configuration with the value lacks a property and is refused; `LAST` in
/// the pointer is the last of an array.
fn lacks(t: &Test, at: &str, value: Value, absent: &str) -> Outcome {
    let mut bundle = t.bundle()?.set(at, value);
    if at == "/linux/uidMappings" {
        bundle = bundle
            .set(
                "/linux/gidMappings",
                json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]),
            )
            .set("/linux/namespaces/-", json!({"type": "user"}));
    }
    let last = |config: &Value, array: &str| {
        let all = config.pointer(array).and_then(Value::as_array);
        all.map_or(0, |all| all.len().saturating_sub(1)).to_string()
    };
    let mut pointer = absent.to_owned();
    if let Some((array, _)) = absent.split_once("/LAST") {
        pointer = absent.replace("LAST", &last(&bundle.config, array));
    }
    if bundle.config.pointer(&pointer).is_none() {
        return Err(format!("the case has no {pointer} to take away").into());
    }
    bundle = bundle.unset(&pointer);
    t.refused(&bundle, &[])?;
    Ok(())
}
