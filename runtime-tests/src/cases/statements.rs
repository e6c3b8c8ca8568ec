//! What is left of config-linux.md beside linux.rs: namespaces, devices,
//! network devices, control groups, seccomp.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::linux::{capable, mapped, value};
use crate::harness::Platforms::Linux;
use crate::harness::console::ConsoleSocket;
use crate::harness::{Bundle, Case, Container, Outcome, Test, host};
use crate::{check, same, skip};

const NET: &str = "config-linux.md, Network Devices";
const SECCOMP: &str = "config-linux.md, Seccomp";

pub const CASES: &[Case] = &[
    Case {
        name: "namespaces/relative-path",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "The path of a namespace that is not absolute is refused.",
        run: |t| {
            let bundle = t.bundle()?;
            std::os::unix::fs::symlink("/proc/1/ns/net", bundle.dir.join("net"))?;
            let namespace = json!({"type": "network", "path": "net"});
            let bundle = bundle
                .without_namespace("network")
                .set("/linux/namespaces/-", namespace);
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "namespaces/time",
        platforms: Linux,
        section: "config-linux.md, Offset for Time Namespace",
        says: "A time namespace is a new one, with the offsets of timeOffsets, or is refused.",
        run: |t| {
            if fs::metadata("/proc/self/ns/time").is_err() {
                skip!("this kernel has no time namespaces");
            }
            let offsets = json!({"boottime": {"secs": 86_400, "nanosecs": 0}});
            let bundle = t
                .bundle()?
                .set("/linux/namespaces/-", json!({"type": "time"}))
                .set("/linux/timeOffsets", offsets)
                .acts(&["report", ";", "read", "/proc/uptime"]);
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.run()?;
            if run.code != 0 {
                return t.nothing_left();
            }
            let c = Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            c.await_status("stopped")?;
            let output = c.output();
            let (report, uptime) = output.split_once('\n').unwrap_or_default();
            let report: Value = serde_json::from_str(report)?;
            let own = crate::probe::report();
            check!(
                report["ns"]["time"] != own["ns"]["time"],
                "it is the runtime's: {}",
                own["ns"]["time"]
            );
            let seconds = |text: &str| {
                let first = text.split(['.', ' ']).next().unwrap_or_default();
                first.parse::<i64>().unwrap_or(0)
            };
            let shift = seconds(uptime) - seconds(&fs::read_to_string("/proc/uptime")?);
            check!(
                (86_390..=86_410).contains(&shift),
                "boottime is {shift} s off"
            );
            Ok(())
        },
    },
    Case {
        name: "namespaces/user-leaves-the-owners",
        platforms: Linux,
        section: "config-linux.md, User namespace mappings",
        says: "A user namespace does not change who owns the files of the root file system.",
        run: |t| {
            let bundle = mapped(t)?.file("/etc/of-root", "x", 0o644)?;
            let files = ["etc/of-root", "bin", "etc/passwd", "home/alice"];
            let owners = |bundle: &Bundle| -> Outcome<Vec<(u32, u32)>> {
                let one = |name: &&str| -> Outcome<(u32, u32)> {
                    let m = fs::symlink_metadata(bundle.root().join(name))?;
                    Ok((m.uid(), m.gid()))
                };
                files.iter().map(one).collect()
            };
            let before = owners(&bundle)?;
            let c = t.ready(&bundle.clone().acts(&["wait"]))?;
            same!(owners(&bundle)?, before, "the owners while it runs");
            c.stop()?;
            c.delete()?;
            same!(owners(&bundle)?, before, "the owners afterwards");
            Ok(())
        },
    },
    Case {
        name: "devices/another-file-is-in-the-way",
        platforms: Linux,
        section: "config-linux.md, Devices",
        says: "A device whose path is another file already is an error.",
        run: |t| {
            let device = json!([{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}]);
            let bundle = t.bundle()?.without_mount("/dev").without_mount("/dev/pts");
            let bundle = bundle
                .without_mount("/dev/shm")
                .file("/dev/x", "in the way", 0o644)?;
            let root = bundle.root();
            t.refused(&bundle.set("/linux/devices", device), &[])?;
            same!(
                fs::read_to_string(root.join("dev/x"))?,
                "in the way",
                "the file"
            );
            Ok(())
        },
    },
    Case {
        name: "devices/rules-in-order",
        platforms: Linux,
        section: "config-linux.md, Allowed Device list",
        says: "Of two rules for one device the later one counts.",
        run: |t| {
            // 10:229 is no device that a runtime supplies by itself.
            let rule = |allow: bool| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
            for (rules, last) in [
                (
                    json!([{"allow": false, "access": "rwm"}, rule(true), rule(false)]),
                    false,
                ),
                (
                    json!([{"allow": false, "access": "rwm"}, rule(false), rule(true)]),
                    true,
                ),
            ] {
                let bundle = capable(t.bundle()?, "CAP_MKNOD");
                let device = json!([{"type": "c", "path": "/dev/x", "major": 10, "minor": 229}]);
                let bundle = bundle.set("/linux/resources/devices", rules);
                let bundle = bundle.set("/linux/devices", device);
                let output = t.output(&bundle.acts(&["try", "device", "/dev/x"]))?;
                let allowed = output != "EPERM\n";
                same!(
                    allowed,
                    last,
                    format!("whether it may be opened ({output:?})")
                );
            }
            Ok(())
        },
    },
    Case {
        name: "masks/relative-readonly-path",
        platforms: Linux,
        section: "config-linux.md, Readonly Paths",
        says: "A read-only path that is not absolute is refused.",
        run: |t| {
            t.refused(
                &t.bundle()?.set("/linux/readonlyPaths", json!(["proc/sys"])),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "cgroups/relative-path",
        platforms: Linux,
        section: "config-linux.md, Cgroups Path",
        says: "A cgroupsPath that is not absolute is taken, and goes with the container, or is refused.",
        run: |t| {
            let path = format!("{}-relative", t.mark);
            let bundle = t.waiting()?.set("/linux/cgroupsPath", json!(path));
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.run()?;
            if run.code != 0 {
                return t.nothing_left();
            }
            let c = Container::made(t, id, &pid_file, &run)?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid))?;
            check!(text.contains(&path), "it is in: {text}");
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "cgroups/same-place-each-time",
        platforms: Linux,
        section: "config-linux.md, Cgroups Path",
        says: "The same cgroupsPath leads to the same place each time.",
        run: |t| {
            let path = format!("/{}-again", t.mark);
            let mut places = Vec::new();
            for _ in 0..2 {
                let c = t.create(&t.waiting()?.set("/linux/cgroupsPath", json!(path)))?;
                places.push(fs::read_to_string(format!("/proc/{}/cgroup", c.pid))?);
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            }
            same!(places[0], places[1], "the cgroups");
            check!(places[0].contains(&path), "they are: {}", places[0]);
            t.nothing_left()
        },
    },
    Case {
        name: "cgroups/frozen-is-refused",
        platforms: Linux,
        section: "config-linux.md, Control groups",
        says: "create in a cgroup that is frozen fails instead of hanging.",
        run: |t| {
            let path = format!("/{}-frozen", t.mark);
            let with =
                || -> Outcome<Bundle> { Ok(t.waiting()?.set("/linux/cgroupsPath", json!(path))) };
            let c = t.ready(&with()?)?;
            t.call(&["pause", &c.id]).run()?.ok()?;
            let (call, ..) = t.create_call(&with()?, &[])?;
            let run = call.run()?.fails();
            t.call(&["resume", &c.id]).run()?.ok()?;
            run?;
            c.is("running")
        },
    },
    Case {
        name: "cgroups/owner-is-left-alone",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "Where cgroups are not mounted to be written, their owner is not changed.",
        run: |t| {
            let path = format!("/{}-owner", t.mark);
            let bundle = mapped(t)?.acts(&["wait"]);
            let c = t.ready(&bundle.set("/linux/cgroupsPath", json!(path)))?;
            let mut seen = 0;
            for group in host::cgroups().iter().filter(|g| g.ends_with(&path)) {
                let files = ["", "/cgroup.procs", "/tasks", "/cgroup.subtree_control"];
                for file in files {
                    if let Ok(m) = fs::metadata(format!("{group}{file}")) {
                        same!(
                            (m.uid(), m.gid()),
                            (0, 0),
                            format!("owner of {group}{file}")
                        );
                        seen += 1;
                    }
                }
            }
            check!(seen > 0, "there is no cgroup of that path");
            c.is("running")
        },
    },
    Case {
        name: "cgroups/owner-is-the-process",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "With cgroup v2, a cgroup namespace and the hierarchy mounted to be written, the cgroup and the files that the kernel lists belong to the host's user that stands for the container's, and no other file does.",
        run: |t| {
            let (bundle, path) = delegated(t, &[])?;
            let c = t.ready(&bundle)?;
            let listed = fs::read_to_string(DELEGATE).unwrap_or_else(|_| FALLBACK.into());
            given(&path, &listed)?;
            c.is("running")
        },
    },
    Case {
        name: "cgroups/owner-may-divide-it",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "The container's user makes cgroups below its own and moves there, and delete removes them.",
        run: |t| {
            let (bundle, path) = delegated(t, &[])?;
            let below = "/sys/fs/cgroup/below";
            let procs = format!("{below}/cgroup.procs");
            let acts = [
                "try", "mkdir", below, ";", "write", &procs, "0", ";", "wait",
            ];
            let c = t.ready(&bundle.acts(&acts))?;
            let there = fs::read_to_string(format!("{path}/below/cgroup.procs"))?;
            same!(
                there.trim(),
                c.pid.to_string(),
                "who is in the cgroup below"
            );
            c.stop()?;
            c.delete()?;
            check!(!Path::new(&path).exists(), "{path} is left");
            Ok(())
        },
    },
    Case {
        name: "cgroups/owner-of-read-only",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "Where the hierarchy is mounted read-only, the cgroup's owner is not changed.",
        run: |t| {
            let (bundle, path) = delegated(t, &["ro"])?;
            let c = t.ready(&bundle)?;
            given(&path, NOTHING)?;
            c.is("running")
        },
    },
    Case {
        name: "cgroups/owner-without-namespace",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "Without a new cgroup namespace the cgroup's owner is not changed.",
        run: |t| {
            let (bundle, path) = delegated(t, &[])?;
            let c = t.ready(&bundle.without_namespace("cgroup"))?;
            given(&path, NOTHING)?;
            c.is("running")
        },
    },
    Case {
        name: "cgroups/owner-of-listed-files",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "The kernel's list says which files change their owner, and one that the cgroup does not have is no error.",
        run: |t| {
            let (bundle, path) = delegated(t, &[])?;
            let listed = "no.such.file\ncgroup.procs\n";
            let list = t.host_file(listed)?;
            let c = t.create_with(&bundle, &[], |call| call.covering(DELEGATE, &list))?;
            given(&path, listed)?;
            c.is("created")
        },
    },
    Case {
        name: "cgroups/owner-without-a-list",
        platforms: Linux,
        section: "config-linux.md, Cgroup ownership",
        says: "Without the kernel's list the files are cgroup.procs, cgroup.subtree_control and cgroup.threads.",
        run: |t| {
            let (bundle, path) = delegated(t, &[])?;
            let above = DELEGATE.trim_end_matches("/delegate");
            let empty = t.host_dir()?;
            let c = t.create_with(&bundle, &[], |call| call.covering(above, &empty))?;
            given(&path, FALLBACK)?;
            c.is("created")
        },
    },
    Case {
        name: "cgroups/pids-limit-zero",
        platforms: Linux,
        section: "config-linux.md, PIDs",
        says: "A pids limit of 0 is a limit: no further process can be made.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/linux/resources/pids", json!({"limit": 0}));
            let c = t.create(&bundle)?;
            same!(value(c.pid, "pids", &["pids.max"])?, "0", "the limit");
            Ok(())
        },
    },
    Case {
        name: "cgroups/burst-above-the-quota",
        platforms: Linux,
        section: "config-linux.md, CPU",
        says: "A burst above the quota is refused, and never lets the container have more than the kernel says.",
        run: |t| {
            let cpu = json!({"quota": 10_000, "period": 100_000, "burst": 50_000});
            t.refused(&t.waiting()?.set("/linux/resources/cpu", cpu), &[])?;
            Ok(())
        },
    },
    Case {
        name: "cgroups/unified",
        platforms: Linux,
        section: "config-linux.md, Unified",
        says: "Entries of unified are written to the files of cgroup v2, also those that the runtime does not know.",
        run: |t| {
            let controllers = "/sys/fs/cgroup/cgroup.controllers";
            if !fs::read_to_string(controllers).is_ok_and(|text| text.contains("pids")) {
                skip!("this host has no cgroup v2 with controllers");
            }
            let unified = json!({"pids.max": "123", "cgroup.max.descendants": "7"});
            let bundle = t.waiting()?.set("/linux/resources/unified", unified);
            let c = t.create(&bundle)?;
            same!(value(c.pid, "", &["pids.max"])?, "123", "pids.max");
            let descendants = value(c.pid, "", &["cgroup.max.descendants"])?;
            same!(descendants, "7", "cgroup.max.descendants");
            Ok(())
        },
    },
    Case {
        name: "cgroups/unified-of-no-controller",
        platforms: Linux,
        section: "config-linux.md, Unified",
        says: "An entry of unified for a controller that is not there is an error.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/linux/resources/unified", json!({"nosuch.max": "1"}));
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "update/limit-below-the-usage",
        platforms: Linux,
        section: "config-linux.md, Memory",
        says: "With checkBeforeUpdate a memory limit below the usage is rejected, and nothing is killed.",
        run: |t| {
            let memory = json!({"limit": 268_435_456, "checkBeforeUpdate": true});
            let bundle = t.bundle()?.set("/linux/resources/memory", memory);
            let c = t.ready(&bundle.acts(&["hold", "64", ";", "wait"]))?;
            let text = json!({"memory": {"limit": 16_777_216, "checkBeforeUpdate": true}});
            t.call(&["update", "--resources=-", &c.id])
                .stdin_text(&text.to_string())?
                .run()?
                .fails()?;
            let names = ["memory.limit_in_bytes", "memory.max"];
            same!(value(c.pid, "memory", &names)?, "268435456", "the limit");
            c.is("running")
        },
    },
    Case {
        name: "seccomp/no-names",
        platforms: Linux,
        section: SECCOMP,
        says: "A rule whose names are empty is an error.",
        run: |t| {
            let rule = json!([{"names": [], "action": "SCMP_ACT_ERRNO"}]);
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
            t.refused(&t.bundle()?.set("/linux/seccomp", seccomp), &[])?;
            Ok(())
        },
    },
    Case {
        name: "seccomp/errno-of-a-killing-default",
        platforms: Linux,
        section: SECCOMP,
        says: "defaultErrnoRet with a defaultAction that has no errno is an error.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5});
            t.refused(&t.bundle()?.set("/linux/seccomp", seccomp), &[])?;
            Ok(())
        },
    },
    Case {
        name: "seccomp/errno-of-a-killing-rule",
        platforms: Linux,
        section: SECCOMP,
        says: "errnoRet with an action that has no errno is an error.",
        run: |t| {
            let rule = json!([{"names": ["getcwd"], "action": "SCMP_ACT_KILL", "errnoRet": 5}]);
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
            t.refused(&t.bundle()?.set("/linux/seccomp", seccomp), &[])?;
            Ok(())
        },
    },
    Case {
        name: "seccomp/arguments",
        platforms: Linux,
        section: SECCOMP,
        says: "A rule with arguments holds for calls that have them, and for no others.",
        run: |t| {
            // personality(0xffffffff) asks; the report does so.
            let rule = |value: u32| {
                json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
                        "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]}])
            };
            for (argument, denied) in [(0xffff_ffff_u32, true), (0x1234, false)] {
                let seccomp =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule(argument)});
                let report = t.report(&t.bundle()?.set("/linux/seccomp", seccomp))?;
                same!(
                    report["personality"] == json!(-1),
                    denied,
                    "whether it failed"
                );
            }
            Ok(())
        },
    },
    Case {
        name: "seccomp/notify",
        platforms: Linux,
        section: "config-linux.md, The Container Process State",
        says: "The state and one descriptor of seccomp come over listenerPath, once, and the connection is closed; or it is refused.",
        run: |t| {
            let socket = ConsoleSocket::listen(t.fresh("notify"))?;
            let bundle = notifying(t, socket.argument())?;
            let (call, id, _) = t.create_call(&bundle, &[])?;
            let create = call.spawn()?;
            // Some send it when the program starts.
            let run = create.wait(crate::harness::test::patience())?;
            if run.code != 0 {
                check!(!socket.is_asked_again(), "refused, but something was sent");
                return t.nothing_left();
            }
            t.call(&["start", &id]).run()?.ok()?;
            let (first, later, text) = socket.receive_message()?;
            same!(
                (first, later),
                (1, 0),
                "descriptors of the first and later messages"
            );
            let state: Value = serde_json::from_str(&text)?;
            check!(state["ociVersion"].is_string(), "ociVersion: {state}");
            same!(state["fds"], json!(["seccompFd"]), "fds");
            check!(state["pid"].as_u64().is_some_and(|p| p > 0), "pid: {state}");
            same!(state["metadata"], json!("of the case"), "metadata");
            same!(state["state"]["id"], json!(id), "the id in the state");
            check!(!socket.is_asked_again(), "a second connection came");
            Ok(())
        },
    },
    Case {
        name: "seccomp/notify-nobody-listens",
        platforms: Linux,
        section: SECCOMP,
        says: "A listenerPath that nobody listens on is an error of create or start.",
        run: |t| {
            let missing = t.fresh("nobody");
            let bundle = notifying(t, &missing.to_string_lossy())?;
            let (call, id, _) = t.create_call(&bundle, &[])?;
            if call.run()?.code == 0 {
                t.call(&["start", &id]).run()?.fails()?;
                t.call(&["delete", "--force", &id]).run()?.ok()?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "seccomp/metadata-without-a-listener",
        platforms: Linux,
        section: SECCOMP,
        says: "listenerMetadata without listenerPath is refused.",
        run: |t| {
            let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"});
            t.refused(&t.bundle()?.set("/linux/seccomp", seccomp), &[])?;
            Ok(())
        },
    },
    Case {
        name: "net-devices/moved",
        platforms: Linux,
        section: NET,
        says: "A network device is in the container by its new name, up, and not on the host; or it is refused.",
        run: |t| {
            with_device(t, json!({"name": "moved0"}), |c, name| {
                let acts = ["report", ";", "read", "/sys/class/net/moved0/flags"];
                let run = c.exec(&[], &acts)?.ok()?;
                let (report, flags) = run.out.split_once('\n').unwrap_or_default();
                let report: Value = serde_json::from_str(report)?;
                let inside = report["interfaces"].to_string();
                check!(inside.contains("\"moved0\""), "inside are {inside}");
                let flags = flags.trim().trim_start_matches("0x");
                let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
                check!(flags & 1 == 1, "it is not up");
                check!(!interface(name), "it is on the host still");
                Ok(())
            })
        },
    },
    Case {
        name: "net-devices/addresses-are-kept",
        platforms: Linux,
        section: NET,
        says: "A network device keeps its permanent addresses, or it is refused.",
        run: |t| {
            with_device(t, json!({}), |c, _| {
                let report = c.exec_report(&[])?;
                let all = report["addresses"].to_string();
                check!(all.contains("10.213."), "the addresses are {all}");
                Ok(())
            })
        },
    },
    Case {
        name: "net-devices/template",
        platforms: Linux,
        section: NET,
        says: "A name with %d lets the kernel choose one, or is refused.",
        run: |t| {
            with_device(t, json!({"name": "some%d"}), |c, _| {
                let all = c.exec_report(&[])?["interfaces"].to_string();
                check!(all.contains("\"some0\""), "inside are {all}");
                Ok(())
            })
        },
    },
    Case {
        name: "net-devices/not-taken-back",
        platforms: Linux,
        section: "config-linux.md, Namespace Lifecycle and Container Termination",
        says: "The runtime does not take a network device back, also not at delete; or it is refused.",
        run: |t| {
            with_device(t, json!({}), |c, name| {
                c.stop()?;
                check!(!interface(name), "it was taken back");
                c.delete()?;
                check!(!interface(name), "it was taken back at delete");
                Ok(())
            })
        },
    },
    Case {
        name: "net-devices/missing-is-refused",
        platforms: Linux,
        section: NET,
        says: "A network device that does not exist is an error.",
        run: |t| {
            let devices = json!({"nosuchdevice": {}});
            t.refused(&t.bundle()?.set("/linux/netDevices", devices), &[])?;
            Ok(())
        },
    },
    Case {
        name: "net-devices/name-is-taken",
        platforms: Linux,
        section: NET,
        says: "A name that the container's namespace has already is an error, and the host keeps the device.",
        run: |t| {
            let tap = tap(t)?;
            let devices = json!({tap.name.as_str(): {"name": "lo"}});
            t.refused(&t.bundle()?.set("/linux/netDevices", devices), &[])?;
            check!(interface(&tap.name), "the host has lost the device");
            Ok(())
        },
    },
];

fn notifying(t: &Test, path: &str) -> Outcome<Bundle> {
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule,
        "listenerPath": path, "listenerMetadata": "of the case",
    });
    Ok(t.waiting()?.set("/linux/seccomp", seccomp))
}

fn interface(name: &str) -> bool {
    let all = nix::net::if_::if_nameindex();
    all.is_ok_and(|all| all.iter().any(|i| i.name().to_string_lossy() == name))
}

/// Runs a check on a container that a device of the host was moved to, unless
/// the runtime refuses network devices as a whole.
fn with_device(
    t: &Test,
    entry: Value,
    look: impl FnOnce(&Container<'_>, &str) -> Outcome,
) -> Outcome {
    let tap = tap(t)?;
    let devices = json!({tap.name.as_str(): entry});
    let bundle = t.waiting()?.set("/linux/netDevices", devices);
    let (call, id, pid_file) = t.create_call(&bundle, &[])?;
    let run = call.run()?;
    if run.code != 0 {
        check!(
            interface(&tap.name),
            "refused, but the host has lost the device"
        );
        return t.nothing_left();
    }
    let c = Container::made(t, id, &pid_file, &run)?;
    c.start()?;
    c.await_output("ready")?;
    look(&c, &tap.name)
}

/// Where the kernel lists the files of a cgroup that its new owner gets.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// What they are where it has no such list.
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
/// The list of a cgroup that is not given to anyone.
const NOTHING: &str = "";

/// A bundle with a user namespace and cgroup v2 mounted in a cgroup namespace,
/// and its cgroup's directory.
fn delegated(t: &Test, options: &[&str]) -> Outcome<(Bundle, String)> {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        skip!("this host has not cgroup v2 alone");
    }
    let path = format!("/{}-owner", t.mark);
    let bundle = mapped(t)?
        .without_namespace("cgroup")
        .set("/linux/namespaces/-", json!({"type": "cgroup"}))
        .mount(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": options,
        }))
        .set("/linux/cgroupsPath", json!(path));
    Ok((bundle.acts(&["wait"]), format!("/sys/fs/cgroup{path}")))
}

/// Asks that of a cgroup the listed files, and with them the directory, belong
/// to the user that [`mapped`] makes of root, and all else to root.
fn given(path: &str, listed: &str) -> Outcome {
    let owner = |file: &Path| fs::metadata(file).map(|m| m.uid());
    let wanted = |is: bool| if is { 100_000 } else { 0 };
    same!(owner(Path::new(path))?, wanted(listed != NOTHING), path);
    let mut seen = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is = listed.lines().any(|line| line == name);
        same!(owner(&entry.path())?, wanted(is), name);
        seen += u32::from(is);
    }
    check!(listed == NOTHING || seen > 0, "none of the files is there");
    Ok(())
}

/// A device of the host that goes with this value.
#[cfg(target_os = "linux")]
fn tap(t: &Test) -> Outcome<crate::sys::linux::Tap> {
    let number = t
        .mark
        .bytes()
        .rev()
        .take(4)
        .fold(0_u32, |n, b| n * 10 + u32::from(b - b'0'));
    let name = format!("rt{}n{number}", std::process::id() % 100_000);
    let address = [10, 213, (number >> 8) as u8, number as u8];
    match crate::sys::linux::Tap::new(&name, address) {
        Ok(tap) => Ok(tap),
        Err(e) => skip!("no tap interface can be made here: {e}"),
    }
}

#[cfg(target_os = "freebsd")]
fn tap(_: &Test) -> Outcome<Tap> {
    skip!("network devices are Linux's")
}

#[cfg(target_os = "freebsd")]
struct Tap {
    name: String,
}
