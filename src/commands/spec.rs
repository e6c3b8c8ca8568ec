//! `brig spec`: a sample config.json for this system.

use serde_json::{Value, json};

use crate::cli::{PlanOs, Spec};
use crate::container::state::OCI_VERSION;
use crate::error::{Context, Error, Result};
use crate::host::Os;

pub fn command(args: &Spec) -> Result<()> {
    let bundle = super::create::bundle(args.bundle.clone())?;
    let path = bundle.join("config.json");
    let os = match args.os {
        Some(PlanOs::Freebsd) => Os::Freebsd,
        Some(PlanOs::Linux) => Os::Linux,
        None => Os::this(),
    };
    if os == Os::Freebsd && args.rootless {
        return Err(Error::text("--rootless: a jail needs root"));
    }
    let config = sample(os, args.rootless);
    let text = format!("{config:#}\n");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path);
    let mut file = file.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::text(format_args!("{} exists already", path.display())).hint("remove it first")
        }
        _ => Error::new("create", path.display(), crate::error::io_name(&e)),
    })?;
    use std::io::Write;
    file.write_all(text.as_bytes())
        .doing("write", path.display())
}

/// What every container of a system has.
pub fn sample(os: Os, rootless: bool) -> Value {
    match os {
        Os::Linux => linux(rootless),
        Os::Freebsd => freebsd(),
    }
}

fn process() -> Value {
    json!({
        "terminal": true,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "noNewPrivileges": true,
    })
}

/// A jail with a devfs, sharing nothing but the host's network.
fn freebsd() -> Value {
    json!({
        "ociVersion": OCI_VERSION,
        "process": process(),
        "root": {"path": "rootfs"},
        "hostname": "brig",
        "mounts": [
            {"destination": "/dev", "type": "devfs", "source": "devfs", "options": ["ruleset=4"]},
            {"destination": "/dev/fd", "type": "fdescfs", "source": "fdescfs"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        ],
        "freebsd": {
            "jail": {"host": "new", "ip4": "inherit", "ip6": "inherit", "enforceStatfs": 1},
        },
    })
}

fn linux(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut process = process();
    process["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]);
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
        json!({"type": "cgroup"}),
    ];
    let sys = if rootless {
        json!({"destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    } else {
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]})
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
    ];
    let mut devpts: Vec<String> = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ]
    .map(String::from)
    .to_vec();
    if !rootless {
        devpts.push("gid=5".into());
    }
    mounts.push(
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": devpts}),
    );
    mounts.push(
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
    );
    mounts.push(
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"]}),
    );
    mounts.push(sys);
    let mut linux = json!({
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        namespaces.push(json!({"type": "user"}));
        let (uid, gid) = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    } else {
        namespaces.push(json!({"type": "network"}));
        mounts.push(
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
        );
        linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    }
    linux["namespaces"] = namespaces.into();
    json!({
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "brig",
        "mounts": mounts,
        "linux": linux,
    })
}
