//! What config-linux.md has: namespaces, devices, masks, sysctl, cgroups,
//! seccomp; and hostname and domainname of config.md.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Bundle, Case, Outcome, Stop, Test, host};
use crate::{check, same, skip};

pub const CASES: &[Case] = &[
    Case {
        name: "uts/hostname",
        platforms: Any,
        section: "config.md, Hostname",
        says: "hostname is the container's, and the host keeps its own.",
        run: |t| {
            let before = nix::unistd::gethostname()?;
            let report = t.report(&t.bundle()?.set("/hostname", json!("box.example.org")))?;
            same!(report["hostname"], json!("box.example.org"), "inside");
            same!(nix::unistd::gethostname()?, before, "outside");
            Ok(())
        },
    },
    Case {
        name: "uts/domainname",
        platforms: Any,
        section: "config.md, Domainname",
        says: "domainname is the container's, and the host keeps its own.",
        run: |t| {
            let before = crate::sys::domain_name();
            let report = t.report(&t.bundle()?.set("/domainname", json!("nis.example")))?;
            same!(report["domainname"], json!("nis.example"), "inside");
            same!(crate::sys::domain_name(), before, "outside");
            Ok(())
        },
    },
    Case {
        name: "uts/hostname-without-namespace",
        platforms: Linux,
        section: "config.md, Hostname",
        says: "hostname without a UTS namespace never changes the host's name.",
        run: |t| {
            let before = nix::unistd::gethostname()?;
            t.refused(&t.bundle()?.without_namespace("uts"), &[])?;
            same!(nix::unistd::gethostname()?, before, "the host's name");
            Ok(())
        },
    },
    Case {
        name: "namespaces/new",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A namespace without a path is a new one.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/namespaces/-", json!({"type": "cgroup"}));
            let (host, inside) = (
                crate::probe::report()["ns"].clone(),
                t.report(&bundle)?["ns"].clone(),
            );
            for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
                check!(host[kind] != inside[kind], "{kind} is the host's");
            }
            same!(
                inside["user"],
                host["user"],
                "the user namespace, which was not asked for"
            );
            Ok(())
        },
    },
    Case {
        name: "namespaces/absent-is-the-runtimes",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A kind that is not listed is the runtime's own namespace.",
        run: |t| {
            let bundle = t
                .bundle()?
                .without_namespace("network")
                .without_namespace("ipc");
            let bundle = bundle.without_namespace("pid").without_mount("/sys");
            let (host, inside) = (
                crate::probe::report()["ns"].clone(),
                t.report(&bundle)?["ns"].clone(),
            );
            for kind in ["net", "ipc", "pid"] {
                same!(inside[kind], host[kind], kind);
            }
            Ok(())
        },
    },
    Case {
        name: "namespaces/by-path",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A namespace with a path is that one.",
        run: |t| {
            let pid = t.helper(&["unshare", "network,ipc,uts", ";", "ready", ";", "forever"])?;
            let mut bundle = t.bundle()?.unset("/hostname");
            for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                let namespace = json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")});
                bundle = bundle
                    .without_namespace(kind)
                    .set("/linux/namespaces/-", namespace);
            }
            let report = t.report(&bundle)?;
            for file in ["net", "ipc", "uts"] {
                let target = fs::read_link(format!("/proc/{pid}/ns/{file}"))?;
                same!(report["ns"][file], json!(target), file);
            }
            Ok(())
        },
    },
    Case {
        name: "namespaces/of-another-container",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A container can join the pid, network and ipc namespaces of another one.",
        run: |t| {
            let first = t.running()?;
            let mut bundle = t.bundle()?;
            for (kind, file) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc")] {
                let namespace =
                    json!({"type": kind, "path": format!("/proc/{}/ns/{file}", first.pid)});
                bundle = bundle
                    .without_namespace(kind)
                    .set("/linux/namespaces/-", namespace);
            }
            let report = t.report(&bundle)?;
            for file in ["pid", "net", "ipc"] {
                let target = fs::read_link(format!("/proc/{}/ns/{file}", first.pid))?;
                same!(report["ns"][file], json!(target), file);
            }
            check!(
                report["pid"] != json!(1),
                "it is process 1 of the other's pid namespace"
            );
            first.is("running")
        },
    },
    Case {
        name: "namespaces/path-of-another-kind",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A path that is a namespace of another kind is an error.",
        run: |t| {
            let namespace = json!({"type": "network", "path": "/proc/1/ns/uts"});
            let bundle = t
                .bundle()?
                .without_namespace("network")
                .set("/linux/namespaces/-", namespace);
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "namespaces/path-missing",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A path that does not exist is an error.",
        run: |t| {
            let namespace = json!({"type": "network", "path": "/proc/1/ns/nosuch"});
            let bundle = t
                .bundle()?
                .without_namespace("network")
                .set("/linux/namespaces/-", namespace);
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "namespaces/listed-twice",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A kind that is listed twice is an error.",
        run: |t| {
            t.refused(
                &t.bundle()?
                    .set("/linux/namespaces/-", json!({"type": "uts"})),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "namespaces/network-has-loopback-only",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "A new network namespace has no interface of the host.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            // Modules may put an unconfigured tunnel into each new namespace.
            let addresses = report["addresses"].to_string();
            check!(
                !addresses.contains("eth") && !addresses.contains("ens"),
                "addresses: {addresses}"
            );
            check!(
                report["interfaces"].to_string().contains("\"lo\""),
                "{}",
                report["interfaces"]
            );
            Ok(())
        },
    },
    Case {
        name: "namespaces/user-with-mappings",
        platforms: Linux,
        section: "config-linux.md, User namespace mappings",
        says: "In a user namespace root inside is the mapped id outside.",
        run: |t| {
            let bundle = mapped(t)?.acts(&["report", ";", "write", "/tmp/made", "x", ";", "wait"]);
            let c = t.ready(&bundle)?;
            let report: Value =
                serde_json::from_str(c.output().lines().next().unwrap_or_default())?;
            same!(report["uid"], json!(0), "uid inside");
            let status = fs::read_to_string(format!("/proc/{}/status", c.pid))?;
            let uid = status
                .lines()
                .find(|line| line.starts_with("Uid:"))
                .unwrap_or_default();
            check!(uid.contains("100000"), "outside: {uid}");
            let owner =
                std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.root().join("tmp/made"))?);
            same!(owner, 100_000, "the owner of a file that was made inside");
            Ok(())
        },
    },
    Case {
        name: "namespaces/user-exec",
        platforms: Linux,
        section: "config-linux.md, User namespace mappings",
        says: "exec enters the user namespace as well.",
        run: |t| {
            let c = t.ready(&mapped(t)?.acts(&["wait"]))?;
            let report = c.exec_report(&[])?;
            same!(report["uid"], json!(0), "uid inside");
            let target = fs::read_link(format!("/proc/{}/ns/user", c.pid))?;
            same!(report["ns"]["user"], json!(target), "the user namespace");
            Ok(())
        },
    },
    Case {
        name: "namespaces/user-with-devices-and-masks",
        platforms: Linux,
        section: "config-linux.md, Default Devices",
        says: "In a user namespace the default devices work, and masked paths are masked.",
        run: |t| {
            let bundle = mapped(t)?.set("/linux/maskedPaths", json!(["/proc/cpuinfo"]));
            let acts = [
                "try",
                "device",
                "/dev/null",
                ";",
                "try",
                "device",
                "/dev/zero",
                ";",
                "stat",
                "/proc/cpuinfo",
            ];
            let output = t.output(&bundle.acts(&acts))?;
            check!(output.starts_with("ok\nok\n"), "{output:?}");
            check!(output.contains("\"char\""), "/proc/cpuinfo: {output:?}");
            Ok(())
        },
    },
    Case {
        name: "namespaces/mappings-without-namespace",
        platforms: Linux,
        section: "robustness, wrong input",
        says: "Mappings without a user namespace are an error.",
        run: |t| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            t.refused(&t.bundle()?.set("/linux/uidMappings", map), &[])?;
            Ok(())
        },
    },
    Case {
        name: "rootfs-propagation/private",
        platforms: Linux,
        section: "config-linux.md, Rootfs Mount Propagation",
        says: "rootfsPropagation private makes the root a private mount.",
        run: |t| {
            let report = t.report(
                &t.bundle()?
                    .set("/linux/rootfsPropagation", json!("private")),
            )?;
            let text = propagation(&report)?;
            check!(
                !text.contains("shared:") && !text.contains("master:"),
                "it is {text}"
            );
            Ok(())
        },
    },
    Case {
        name: "rootfs-propagation/shared",
        platforms: Linux,
        section: "config-linux.md, Rootfs Mount Propagation",
        says: "rootfsPropagation shared makes the root a shared mount.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/linux/rootfsPropagation", json!("shared")))?;
            let text = propagation(&report)?;
            check!(text.contains("shared:"), "it is {text}");
            Ok(())
        },
    },
    Case {
        name: "rootfs-propagation/unknown",
        platforms: Linux,
        section: "config-linux.md, Rootfs Mount Propagation",
        says: "An unknown rootfsPropagation is an error.",
        run: |t| {
            t.refused(
                &t.bundle()?
                    .set("/linux/rootfsPropagation", json!("sideways")),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "devices/default",
        platforms: Linux,
        section: "config-linux.md, Default Devices",
        says: "null, zero, full, random, urandom and tty are there and can be opened by everyone.",
        run: |t| {
            let mut acts = Vec::new();
            let names = ["null", "zero", "full", "random", "urandom", "tty"];
            let paths: Vec<String> = names.iter().map(|name| format!("/dev/{name}")).collect();
            for path in &paths {
                acts.extend(["stat", path, ";"]);
            }
            let output = t.output(&t.bundle()?.acts(&acts))?;
            let numbers = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];
            for ((line, name), (major, minor)) in output.lines().zip(names).zip(numbers) {
                let stat: Value = serde_json::from_str(line)?;
                same!(stat["kind"], json!("char"), name);
                same!(
                    (&stat["major"], &stat["minor"]),
                    (&json!(major), &json!(minor)),
                    name
                );
                same!(stat["mode"], json!(0o666), name);
            }
            Ok(())
        },
    },
    Case {
        name: "devices/null-works",
        platforms: Linux,
        section: "config-linux.md, Default Devices",
        says: "The default devices can be used under a deny-all device rule, also by a user.",
        run: |t| {
            let acts = [
                "try",
                "device",
                "/dev/null",
                ";",
                "try",
                "device",
                "/dev/zero",
                ";",
                "try",
                "read",
                "/dev/null",
            ];
            let bundle = t
                .bundle()?
                .set("/process/user", json!({"uid": 1000, "gid": 1001}));
            same!(t.output(&bundle.acts(&acts))?, "ok\nok\nok\n", "opening");
            Ok(())
        },
    },
    Case {
        name: "devices/links",
        platforms: Linux,
        section: "runtime-linux.md, Dev symbolic links",
        says: "fd, stdin, stdout, stderr and ptmx are links.",
        run: |t| {
            let links = [
                ("/dev/fd", "/proc/self/fd"),
                ("/dev/stdin", "/proc/self/fd/0"),
                ("/dev/stdout", "/proc/self/fd/1"),
                ("/dev/stderr", "/proc/self/fd/2"),
            ];
            let mut acts = Vec::new();
            for (path, _) in links {
                acts.extend(["stat", path, ";"]);
            }
            acts.extend(["stat", "/dev/ptmx"]);
            let output = t.output(&t.bundle()?.acts(&acts))?;
            let mut lines = output.lines();
            for (path, target) in links {
                let stat: Value = serde_json::from_str(lines.next().unwrap_or_default())?;
                same!(stat["target"], json!(target), path);
            }
            let ptmx: Value = serde_json::from_str(lines.next().unwrap_or_default())?;
            check!(
                ptmx["target"]
                    .as_str()
                    .is_some_and(|t| t.ends_with("pts/ptmx")),
                "/dev/ptmx: {ptmx}"
            );
            Ok(())
        },
    },
    Case {
        name: "devices/configured",
        platforms: Linux,
        section: "config-linux.md, Devices",
        says: "A listed device has its type, numbers, mode and owner.",
        run: |t| {
            let device = json!({"path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 3,
                "fileMode": 0o640, "uid": 1000, "gid": 1001});
            let bundle = t
                .bundle()?
                .set("/linux/devices/-", device)
                .acts(&["stat", "/dev/sub/mine"]);
            let stat: Value = serde_json::from_str(&t.output(&bundle)?)?;
            same!(stat["kind"], json!("char"), "type");
            same!(
                (&stat["major"], &stat["minor"]),
                (&json!(1), &json!(3)),
                "numbers"
            );
            same!(stat["mode"], json!(0o640), "mode");
            same!(
                (&stat["uid"], &stat["gid"]),
                (&json!(1000), &json!(1001)),
                "owner"
            );
            Ok(())
        },
    },
    Case {
        name: "devices/fifo",
        platforms: Linux,
        section: "config-linux.md, Devices",
        says: "A device of type p is a FIFO.",
        run: |t| {
            let device = json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600});
            let bundle = t
                .bundle()?
                .set("/linux/devices/-", device)
                .acts(&["stat", "/dev/pipe"]);
            let stat: Value = serde_json::from_str(&t.output(&bundle)?)?;
            same!(stat["kind"], json!("fifo"), "type");
            Ok(())
        },
    },
    Case {
        name: "devices/rules-deny",
        platforms: Linux,
        section: "config-linux.md, Allowed Device list",
        says: "A device that no rule allows cannot be opened, even by root with its node.",
        run: |t| {
            let device =
                json!({"path": "/dev/k", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
            let bundle = t.bundle()?.set("/linux/devices/-", device);
            let acts = [
                "try",
                "open-write",
                "/dev/k",
                ";",
                "try",
                "device",
                "/dev/null",
            ];
            same!(t.output(&bundle.acts(&acts))?, "EPERM\nok\n", "opening");
            Ok(())
        },
    },
    Case {
        name: "devices/rules-allow",
        platforms: Linux,
        section: "config-linux.md, Allowed Device list",
        says: "A rule behind the deny-all one allows a device.",
        run: |t| {
            let device =
                json!({"path": "/dev/k", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
            let rules = json!([{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
            // Writing to /dev/kmsg needs no privilege, so the rule alone decides.
            let bundle = t
                .bundle()?
                .set("/linux/devices/-", device)
                .set("/linux/resources/devices", rules);
            same!(
                t.output(&bundle.acts(&["try", "open-write", "/dev/k"]))?,
                "ok\n",
                "opening"
            );
            Ok(())
        },
    },
    Case {
        name: "masks/masked-file",
        platforms: Linux,
        section: "config-linux.md, Masked Paths",
        says: "A masked file reads as empty.",
        run: |t| {
            let bundle = t
                .bundle()?
                .file("/secret", "text", 0o644)?
                .set("/linux/maskedPaths", json!(["/secret"]));
            same!(
                t.output(&bundle.acts(&["read", "/secret"]))?,
                "\n",
                "what was read"
            );
            Ok(())
        },
    },
    Case {
        name: "masks/masked-directory",
        platforms: Linux,
        section: "config-linux.md, Masked Paths",
        says: "A masked directory is empty and read-only.",
        run: |t| {
            let bundle = t.bundle()?.file("/secret/file", "text", 0o644)?;
            let bundle = bundle.set("/linux/maskedPaths", json!(["/secret"]));
            let acts = ["try", "list", "/secret", ";", "try", "create", "/secret/x"];
            same!(
                t.output(&bundle.acts(&acts))?,
                "empty\nEROFS\n",
                "the directory"
            );
            Ok(())
        },
    },
    Case {
        name: "masks/missing-path",
        platforms: Linux,
        section: "config-linux.md, Masked Paths",
        says: "Masked and read-only paths that do not exist are passed over.",
        run: |t| {
            let bundle = t.bundle()?.set("/linux/maskedPaths", json!(["/no/such"]));
            t.report(&bundle.set("/linux/readonlyPaths", json!(["/no/such/either"])))?;
            Ok(())
        },
    },
    Case {
        name: "masks/readonly-path",
        platforms: Linux,
        section: "config-linux.md, Readonly Paths",
        says: "A read-only path can be read and not written.",
        run: |t| {
            let bundle = t.bundle()?.file("/data/file", "text", 0o644)?;
            let bundle = bundle.set("/linux/readonlyPaths", json!(["/data"]));
            let acts = [
                "read",
                "/data/file",
                ";",
                "try",
                "write",
                "/data/file",
                ";",
                "try",
                "create",
                "/data/x",
            ];
            same!(
                t.output(&bundle.acts(&acts))?,
                "text\nEROFS\nEROFS\n",
                "the directory"
            );
            Ok(())
        },
    },
    Case {
        name: "masks/relative-path",
        platforms: Linux,
        section: "config-linux.md, Masked Paths",
        says: "Masked paths must be absolute.",
        run: |t| {
            t.refused(
                &t.bundle()?.set("/linux/maskedPaths", json!(["proc/kcore"])),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "masks/link-stays-inside",
        platforms: Linux,
        section: "hostile, paths",
        says: "A masked path that is a link to the host masks nothing there.",
        run: |t| {
            let victim = t.host_file("precious")?;
            let bundle = t.bundle()?.link("/secret", &victim.to_string_lossy())?;
            let (call, _, _) =
                t.create_call(&bundle.set("/linux/maskedPaths", json!(["/secret"])), &[])?;
            call.run()?;
            same!(fs::read_to_string(&victim)?, "precious", "the host's file");
            Ok(())
        },
    },
    Case {
        name: "sysctl/set",
        platforms: Linux,
        section: "config-linux.md, Sysctl",
        says: "sysctl sets a parameter of the container's namespaces, and not the host's.",
        run: |t| {
            let file = "/proc/sys/net/ipv4/ip_forward";
            let before = fs::read_to_string(file)?;
            let sysctl = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"});
            let bundle = t.bundle()?.set("/linux/sysctl", sysctl);
            let acts = ["read", file, ";", "read", "/proc/sys/kernel/msgmax"];
            let output = t.output(&bundle.acts(&acts))?;
            same!(
                output.split_whitespace().collect::<Vec<_>>(),
                vec!["1", "12345"],
                "the values inside"
            );
            same!(fs::read_to_string(file)?, before, "the value outside");
            Ok(())
        },
    },
    Case {
        name: "sysctl/of-the-host-is-refused",
        platforms: Linux,
        section: "config-linux.md, Sysctl",
        says: "A parameter that is the host's is refused, and the host keeps its value.",
        run: |t| {
            let file = "/proc/sys/vm/swappiness";
            let before = fs::read_to_string(file)?;
            let run = t.refused(
                &t.bundle()?
                    .set("/linux/sysctl", json!({"vm.swappiness": "1"})),
                &[],
            )?;
            check!(run.err.contains("swappiness"), "{:?}", run.err);
            same!(fs::read_to_string(file)?, before, "the value outside");
            Ok(())
        },
    },
    Case {
        name: "sysctl/without-namespace-is-refused",
        platforms: Linux,
        section: "config-linux.md, Sysctl",
        says: "A parameter of a namespace that the container shares with the host is refused.",
        run: |t| {
            let bundle = t
                .bundle()?
                .without_namespace("network")
                .without_mount("/sys");
            t.refused(
                &bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "filesystems/proc-sys-shm-pts",
        platforms: Linux,
        section: "config-linux.md, Default Filesystems",
        says: "/proc, /sys, /dev/pts and /dev/shm are there.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            for (target, fstype) in [
                ("/proc", "proc"),
                ("/sys", "sysfs"),
                ("/dev/pts", "devpts"),
                ("/dev/shm", "tmpfs"),
            ] {
                let mounts = report["mounts"].as_array().into_iter().flatten();
                let found = mounts.into_iter().find(|m| m["target"] == target);
                same!(found.map(|m| &m["fstype"]), Some(&json!(fstype)), target);
            }
            Ok(())
        },
    },
    Case {
        name: "cgroups/path-and-removal",
        platforms: Linux,
        section: "config-linux.md, Control groups",
        says: "The process is in the cgroup of cgroupsPath, which goes with the container.",
        run: |t| {
            let path = format!("/runtime-tests/{}-cg", t.mark);
            let c = t.ready(&t.waiting()?.set("/linux/cgroupsPath", json!(path)))?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid))?;
            check!(text.contains(&path), "it is in: {text}");
            c.stop()?;
            c.delete()?;
            let left = t.nothing_left();
            remove_parents();
            left
        },
    },
    Case {
        name: "cgroups/pids-limit",
        platforms: Linux,
        section: "config-linux.md, PIDs",
        says: "pids.limit is the highest number of processes.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/resources/pids", json!({"limit": 10}));
            let output = t.output(&bundle.acts(&["fork-until", "50"]))?;
            same!(output, "forked 9 EAGAIN\n", "what a fork bomb gets");
            t.nothing_left()
        },
    },
    Case {
        name: "cgroups/memory-limit",
        platforms: Linux,
        section: "config-linux.md, Memory",
        says: "memory.limit is written to the cgroup, and a program above it is killed.",
        run: |t| {
            let limit = json!({"limit": 67_108_864, "swap": 67_108_864});
            let bundle = t.waiting()?.set("/linux/resources/memory", limit);
            // Without swap accounting there is no swap limit to write.
            let bundle = if swap_accounting() {
                bundle
            } else {
                bundle.set("/linux/resources/memory", json!({"limit": 67_108_864}))
            };
            let c = t.ready(&bundle)?;
            same!(
                value(c.pid, "memory", &["memory.limit_in_bytes", "memory.max"])?,
                "67108864",
                "the limit"
            );
            let run = c.exec(&[], &["allocate", "200"])?;
            check!(
                run.code == 137 || !swap_accounting(),
                "200 MiB under a limit of 64: {run:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "cgroups/cpu",
        platforms: Linux,
        section: "config-linux.md, CPU",
        says: "shares, quota and period are written to the cgroup.",
        run: |t| {
            let cpu = json!({"shares": 512, "quota": 50_000, "period": 200_000});
            let c = t.ready(&t.waiting()?.set("/linux/resources/cpu", cpu))?;
            if value(c.pid, "cpu", &["cpu.max"]).is_ok() {
                same!(
                    value(c.pid, "cpu", &["cpu.max"])?,
                    "50000 200000",
                    "cpu.max"
                );
                return Ok(());
            }
            same!(value(c.pid, "cpu", &["cpu.shares"])?, "512", "shares");
            same!(
                value(c.pid, "cpu", &["cpu.cfs_quota_us"])?,
                "50000",
                "quota"
            );
            same!(
                value(c.pid, "cpu", &["cpu.cfs_period_us"])?,
                "200000",
                "period"
            );
            Ok(())
        },
    },
    Case {
        name: "cgroups/cpuset",
        platforms: Linux,
        section: "config-linux.md, CPU",
        says: "cpus is the set of processors that the program may use.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/resources/cpu", json!({"cpus": "0"}));
            let report = t.report(&bundle)?;
            same!(
                report["status"]["Cpus_allowed_list"],
                json!("0"),
                "Cpus_allowed_list"
            );
            Ok(())
        },
    },
    Case {
        name: "cgroups/exec-joins",
        platforms: Linux,
        section: "config-linux.md, Control groups",
        says: "The program of exec is in the container's cgroups.",
        run: |t| {
            let c = t.running()?;
            let pid_file = t.fresh("pid");
            c.exec(
                &["-d", "--pid-file", &pid_file.to_string_lossy()],
                &["forever"],
            )?
            .ok()?;
            let pid = fs::read_to_string(&pid_file)?;
            let cgroup = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup"));
            same!(cgroup(&pid)?, cgroup(&c.pid.to_string())?, "the cgroups");
            Ok(())
        },
    },
    Case {
        name: "cgroups/path-with-dots",
        platforms: Linux,
        section: "hostile, paths",
        says: "A cgroupsPath that climbs with .. does not leave the hierarchy.",
        run: |t| {
            let path = format!("/../../../../../tmp/{}-cg", t.mark);
            let (call, _, _) =
                t.create_call(&t.waiting()?.set("/linux/cgroupsPath", json!(path)), &[])?;
            call.run()?;
            let outside = Path::new("/tmp").join(format!("{}-cg", t.mark));
            let there = outside.exists();
            let _ = fs::remove_dir(outside);
            check!(!there, "/tmp was written");
            Ok(())
        },
    },
    Case {
        name: "update/resources-file",
        platforms: Linux,
        section: "engines, podman and conmon",
        says: "update --resources=FILE changes the limits of a running container.",
        run: |t| {
            let c = t.ready(
                &t.waiting()?
                    .set("/linux/resources/pids", json!({"limit": 100})),
            )?;
            let file = t.host_file(&json!({"pids": {"limit": 77}}).to_string())?;
            t.call(&["update", &format!("--resources={}", file.display()), &c.id])
                .run()?
                .ok()?;
            same!(value(c.pid, "pids", &["pids.max"])?, "77", "the limit");
            Ok(())
        },
    },
    Case {
        name: "update/resources-on-standard-input",
        platforms: Linux,
        section: "engines, containerd",
        says: "update --resources=- reads standard input.",
        run: |t| {
            let c = t.running()?;
            let text = json!({"cpu": {"shares": 333}, "pids": {"limit": 55}}).to_string();
            t.call(&["update", "--resources=-", &c.id])
                .stdin_text(&text)?
                .run()?
                .ok()?;
            same!(value(c.pid, "pids", &["pids.max"])?, "55", "the limit");
            Ok(())
        },
    },
    Case {
        name: "update/flags",
        platforms: Linux,
        section: "engines, update",
        says: "update --pids-limit changes that limit.",
        run: |t| {
            let c = t.running()?;
            t.call(&["update", "--pids-limit", "44", &c.id])
                .run()?
                .ok()?;
            same!(value(c.pid, "pids", &["pids.max"])?, "44", "the limit");
            Ok(())
        },
    },
    Case {
        name: "update/not-json",
        platforms: Linux,
        section: "robustness, wrong input",
        says: "update of something that is not JSON fails.",
        run: |t| {
            let c = t.running()?;
            t.call(&["update", "--resources=-", &c.id])
                .stdin_text("{")?
                .run()?
                .fails()?;
            c.is("running")
        },
    },
    Case {
        name: "events/counts-processes",
        platforms: Linux,
        section: "engines, containerd",
        says: "events --stats counts the processes and names the limit.",
        run: |t| {
            t.needs_command("events")?;
            let bundle = t
                .bundle()?
                .set("/linux/resources/pids", json!({"limit": 99}));
            let c = t.ready(&bundle.acts(&["spawn", "3", ";", "wait"]))?;
            let run = t.call(&["events", "--stats", &c.id]).run()?.ok()?;
            let data = &serde_json::from_str::<Value>(&run.out)?["data"];
            same!(data["pids"], json!({"current": 4, "limit": 99}), "pids");
            check!(
                data["memory"]["usage"]["usage"]
                    .as_u64()
                    .is_some_and(|n| n > 0),
                "memory: {data}"
            );
            Ok(())
        },
    },
    Case {
        name: "seccomp/errno",
        platforms: Linux,
        section: "config-linux.md, Seccomp",
        says: "A system call with SCMP_ACT_ERRNO fails with the errno given.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            ]});
            let bundle = t.bundle()?.set("/linux/seccomp", seccomp);
            let acts = ["try", "mkdir", "/made", ";", "try", "create", "/file"];
            same!(t.output(&bundle.acts(&acts))?, "ENOSPC\nok\n", "the calls");
            Ok(())
        },
    },
    Case {
        name: "seccomp/with-privileges",
        platforms: Linux,
        section: "config-linux.md, Seccomp",
        says: "The filter is loaded with and without noNewPrivileges, for a user as well.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]});
            for privileges in [true, false] {
                let bundle = t.bundle()?.set("/linux/seccomp", seccomp.clone());
                let bundle = bundle.set("/process/noNewPrivileges", json!(privileges));
                let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1001}));
                let report = t.report(&bundle)?;
                same!(report["status"]["Seccomp"], json!("2"), "the seccomp mode");
            }
            Ok(())
        },
    },
    Case {
        name: "seccomp/exec",
        platforms: Linux,
        section: "config-linux.md, Seccomp",
        says: "The program of exec is filtered, too.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            ]});
            let c = t.ready(&t.waiting()?.set("/linux/seccomp", seccomp))?;
            same!(
                c.exec(&[], &["try", "mkdir", "/made"])?.ok()?.out,
                "ENOSPC\n",
                "mkdir"
            );
            Ok(())
        },
    },
    Case {
        name: "seccomp/unknown-call-name",
        platforms: Linux,
        section: "config-linux.md, Seccomp",
        says: "A system call that this kernel does not have is passed over, as engines' profiles need.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["no_such_call_at_all"], "action": "SCMP_ACT_ERRNO"},
            ]});
            t.report(&t.bundle()?.set("/linux/seccomp", seccomp))?;
            Ok(())
        },
    },
    Case {
        name: "seccomp/unknown-action",
        platforms: Linux,
        section: "config-linux.md, Seccomp",
        says: "An unknown action is an error.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_DANCE"});
            t.refused(&t.bundle()?.set("/linux/seccomp", seccomp), &[])?;
            Ok(())
        },
    },
    Case {
        name: "unsupported/is-refused-by-path",
        platforms: Linux,
        section: "config.md, Valid values",
        says: "intelRdt on a host that has none is refused with its path.",
        run: |t| {
            if Path::new("/sys/fs/resctrl/schemata").exists() {
                skip!("this host has resctrl");
            }
            let bundle = t.bundle()?.set(
                "/linux/intelRdt",
                json!({"closID": "x", "l3CacheSchema": "L3:0=f"}),
            );
            let run = t.refused(&bundle, &[])?;
            check!(
                run.err.contains("intelRdt") || run.err.to_lowercase().contains("rdt"),
                "{:?}",
                run.err
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/waiting-process-cannot-be-traced",
        platforms: Any,
        section: "hostile, tracing",
        says: "A process inside cannot trace or read a process that enters with exec until it has exec'd.",
        run: |t| {
            // With CAP_SYS_PTRACE of the host's user namespace Linux lets it.
            let bundle = t.bundle()?.acts(&["trace-others"]);
            let bundle = bundle.set("/process/noNewPrivileges", json!(false));
            let root = bundle.root();
            let c = t.ready(&bundle)?;
            for _ in 0..40 {
                c.exec(&[], &["exit", "0"])?.ok()?;
            }
            fs::write(root.join("stop"), "")?;
            c.await_output("traced ")?;
            let line = c.output();
            let line = line.lines().last().unwrap_or_default();
            check!(line.starts_with("traced 0 read 0 of "), "it could: {line}");
            check!(
                !line.ends_with(" of 0"),
                "it never saw a process before its exec: {line}"
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/runtime-binary-is-safe",
        platforms: Linux,
        section: "hostile, escapes",
        says: "A process inside cannot open the runtime's program for writing through an entering process.",
        run: |t| {
            let before = fs::read(&t.suite.runtime)?;
            // The container's program is a link to /proc/self/exe: exec of it
            // runs whatever file the entering process is running.
            let bundle =
                capable(t.waiting()?, "CAP_DAC_OVERRIDE").link("/bin/self", "/proc/self/exe")?;
            let root = bundle.root();
            let c = t.ready(&bundle)?;
            let run = t.call(&["exec", &c.id, "/bin/self", "--version"]).run()?;
            let run2 = c.exec(&[], &["try", "open-write", &format!("/proc/{}/exe", 1)])?;
            // Writing to our own program's file must say busy, not succeed.
            check!(
                !run2.out.contains("ok"),
                "process 1's program can be written: {run2:?}"
            );
            same!(
                fs::read(&t.suite.runtime)? == before,
                true,
                "whether the runtime is as before"
            );
            let _ = (run, root);
            Ok(())
        },
    },
    Case {
        name: "hostile/waiting-process-has-no-host-directory",
        platforms: Linux,
        section: "hostile, descriptors",
        says: "The waiting process holds no descriptor of a directory of the host.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            let mut seen = Vec::new();
            for entry in fs::read_dir(format!("/proc/{}/fd", c.pid))?.flatten() {
                if let Ok(target) = fs::read_link(entry.path())
                    && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir())
                {
                    seen.push(target);
                }
            }
            check!(seen.is_empty(), "it holds {seen:?}");
            Ok(())
        },
    },
    Case {
        name: "hostile/cwd-descriptor-escape",
        platforms: Linux,
        section: "hostile, descriptors",
        says: "A working directory of /proc/self/fd/N leads nowhere on the host (CVE-2024-21626).",
        run: |t| {
            for fd in 3..12 {
                let bundle = t
                    .bundle()?
                    .set("/process/cwd", json!(format!("/proc/self/fd/{fd}")));
                let bundle = bundle.acts(&[
                    "try",
                    "list",
                    "../../../../../../../../nowhere",
                    ";",
                    "report",
                ]);
                let (call, id, _) = t.create_call(&bundle, &[])?;
                let run = call.run()?;
                if run.code != 0 {
                    continue;
                }
                if t.call(&["start", &id]).run()?.code != 0 {
                    continue;
                }
                let out = run.out_path.clone();
                crate::harness::test::until(|| {
                    fs::read_to_string(&out).is_ok_and(|o| o.contains("\"cwd\""))
                });
                let output = fs::read_to_string(&out)?;
                let report: Value =
                    serde_json::from_str(output.lines().last().unwrap_or_default())?;
                let cwd = report["cwd"].as_str().unwrap_or_default();
                check!(
                    cwd.starts_with('/'),
                    "fd {fd}: the working directory is {cwd:?}"
                );
            }
            Ok(())
        },
    },
    Case {
        name: "hostile/cgroup-of-others",
        platforms: Linux,
        section: "runtime.md, Create",
        says: "A cgroup that is in use by another container is not removed with a second one's failed create.",
        run: |t| {
            let path = format!("/runtime-tests/{}-shared", t.mark);
            let first = t.ready(&t.waiting()?.set("/linux/cgroupsPath", json!(path)))?;
            let bundle = t.waiting()?.set("/linux/cgroupsPath", json!(path)).bind(
                &t.fresh("missing"),
                "/mnt",
                &[],
            );
            let (call, _, _) = t.create_call(&bundle, &[])?;
            call.run()?.fails()?;
            let groups = host::cgroups();
            let there = groups
                .iter()
                .any(|g| g.ends_with(&format!("{}-shared", t.mark)));
            check!(there, "the cgroup is gone");
            first.is("running")?;
            first.stop()?;
            first.delete()?;
            remove_parents();
            Ok(())
        },
    },
];

/// A bundle in a user namespace whose root is 100000 outside.
pub(super) fn mapped(t: &Test) -> Outcome<Bundle> {
    if t.call(&["features"]).run()?.out.is_empty() && !Path::new("/proc/self/ns/user").exists() {
        skip!("this kernel has no user namespaces");
    }
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        skip!("user namespaces are switched off on this host");
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = t
        .bundle()?
        .set("/linux/namespaces/-", json!({"type": "user"}));
    let bundle = bundle
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    owned(&bundle.root())?;
    Ok(bundle)
}

fn owned(path: &Path) -> Outcome {
    // The program is a hard link that other cases share.
    if !path.ends_with("bin/probe") {
        std::os::unix::fs::lchown(path, Some(100_000), Some(100_000))?;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            owned(&entry?.path())?;
        }
    }
    Ok(())
}

pub(super) fn capable(mut bundle: Bundle, capability: &str) -> Bundle {
    if cfg!(target_os = "linux") {
        for set in ["bounding", "permitted", "effective"] {
            bundle = bundle.set(&format!("/process/capabilities/{set}/-"), json!(capability));
        }
    }
    bundle
}

fn propagation(report: &Value) -> Outcome<String> {
    let mounts = report["mounts"].as_array().into_iter().flatten();
    let root = mounts.into_iter().find(|m| m["target"] == "/");
    root.map(|m| m["propagation"].to_string())
        .ok_or_else(|| Stop::from("no mount on /"))
}

/// The cgroup that both cases with a parent of ours made.
fn remove_parents() {
    for group in host::cgroups()
        .iter()
        .filter(|g| g.ends_with("/runtime-tests"))
    {
        let _ = fs::remove_dir(group);
    }
}

fn swap_accounting() -> bool {
    host::cgroups().iter().take(1).count() > 0
        && fs::read_dir("/sys/fs/cgroup/memory")
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| e.file_name() == "memory.memsw.limit_in_bytes")
}

/// The value of a file in the cgroup of a process.
pub(super) fn value(pid: i32, controller: &str, names: &[&str]) -> Outcome<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let roots = if controllers.is_empty() {
            vec![
                "/sys/fs/cgroup".to_owned(),
                "/sys/fs/cgroup/unified".to_owned(),
            ]
        } else if controllers.split(',').any(|c| c == controller) {
            vec![
                format!("/sys/fs/cgroup/{controllers}"),
                format!("/sys/fs/cgroup/{controller}"),
            ]
        } else {
            continue;
        };
        for root in roots {
            for name in names {
                if let Ok(text) = fs::read_to_string(format!("{root}{path}/{name}")) {
                    return Ok(text.trim().to_owned());
                }
            }
        }
    }
    Err(format!("process {pid} has none of {names:?}: {text}").into())
}
