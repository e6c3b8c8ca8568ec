//! features: what a runtime says that it knows, it must take.

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Bundle, Case, Outcome, Test};
use crate::{check, same, skip};

const VERSIONS: &str = "features.md, Specification version";

pub const CASES: &[Case] = &[
    Case {
        name: "features/versions",
        platforms: Any,
        section: VERSIONS,
        says: "ociVersionMin and ociVersionMax are versions, and the second is not below the first.",
        run: |t| {
            let all = features(t)?;
            let (min, max) = (
                version(&all, "ociVersionMin")?,
                version(&all, "ociVersionMax")?,
            );
            check!(min <= max, "{min:?} is above {max:?}");
            Ok(())
        },
    },
    Case {
        name: "features/its-versions-are-accepted",
        platforms: Any,
        section: VERSIONS,
        says: "ociVersionMin and ociVersionMax are accepted as the ociVersion of config.json.",
        run: |t| {
            let all = features(t)?;
            for name in ["ociVersionMin", "ociVersionMax"] {
                accepted(t, t.bundle()?.set("/ociVersion", all[name].clone()), name)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/nothing-that-is-not-defined",
        platforms: Any,
        section: VERSIONS,
        says: "There is no property that the specification does not define.",
        run: |t| {
            let all = features(t)?;
            only(
                &all,
                "",
                &[
                    "ociVersionMin",
                    "ociVersionMax",
                    "hooks",
                    "mountOptions",
                    "annotations",
                    "potentiallyUnsafeConfigAnnotations",
                    "linux",
                    "freebsd",
                ],
            )?;
            only(
                &all,
                "/linux",
                &[
                    "namespaces",
                    "capabilities",
                    "cgroup",
                    "seccomp",
                    "apparmor",
                    "selinux",
                    "memoryPolicy",
                    "intelRdt",
                    "mountExtensions",
                    "netDevices",
                ],
            )?;
            only(
                &all,
                "/linux/cgroup",
                &["v1", "v2", "systemd", "systemdUser", "rdma"],
            )?;
            only(
                &all,
                "/linux/seccomp",
                &[
                    "enabled",
                    "actions",
                    "operators",
                    "archs",
                    "knownFlags",
                    "supportedFlags",
                ],
            )?;
            only(&all, "/linux/memoryPolicy", &["modes", "flags"])?;
            only(&all, "/linux/mountExtensions", &["idmap"])?;
            only(&all, "/linux/netDevices", &["enabled"])
        },
    },
    Case {
        name: "features/its-hooks-are-called",
        platforms: Any,
        section: "features.md, Hooks",
        says: "Each kind of hook in the list is called.",
        run: |t| {
            let all = features(t)?;
            let log = t.fresh("log");
            let mut bundle = t.bundle()?.acts(&["exit", "0"]);
            let inside = bundle.root().join("log");
            let kinds = words(&all, "/hooks");
            check!(!kinds.is_empty(), "no hooks are named");
            for kind in &kinds {
                bundle = bundle.hook(
                    kind,
                    if kind == "startContainer" {
                        json!({"path": "/bin/probe", "args": ["probe", "hook", "/log", kind]})
                    } else {
                        json!({"path": t.suite.probe, "args": ["probe", "hook", log, kind]})
                    },
                );
            }
            t.output(&bundle)?;
            let mut called = crate::harness::test::json_lines(&log)?;
            called.extend(crate::harness::test::json_lines(&inside)?);
            for kind in &kinds {
                let found = called.iter().any(|line| line["label"] == **kind);
                check!(found, "the {kind} hook was not called");
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-mount-options-are-known",
        platforms: Any,
        section: "features.md, Mount Options",
        says: "Each mount option in the list is taken: never handed to the file system, which would refuse it.",
        run: |t| {
            let all = features(t)?;
            let options = words(&all, "/mountOptions");
            if options.is_empty() {
                skip!("the runtime names no mount options");
            }
            for option in options {
                // These need more than an option.
                if ["remount", "idmap", "ridmap", "tmpcopyup", "update"].contains(&option.as_str())
                {
                    continue;
                }
                // A tmpfs refuses what it does not know; a bind mount may not.
                // The file systems of FreeBSD each know some of what mount(8) does.
                if cfg!(target_os = "freebsd") {
                    let bind = t.bundle()?.bind(&t.host_dir()?, "/mnt", &[&option]);
                    if accepted(t, bind, &option).is_ok() {
                        continue;
                    }
                }
                let bundle = if ["bind", "rbind"].contains(&option.as_str()) {
                    t.bundle()?.bind(&t.host_dir()?, "/mnt", &[&option])
                } else {
                    t.bundle()?.tmpfs("/mnt", &[&option])
                };
                accepted(t, bundle, &option)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/no-options-of-a-file-system",
        platforms: Linux,
        section: "features.md, Mount Options",
        says: "The list has no option that only some file systems know.",
        run: |t| {
            let options = words(&features(t)?, "/mountOptions");
            for option in [
                "size",
                "mode",
                "uid",
                "gid",
                "nr_inodes",
                "ptmxmode",
                "newinstance",
            ] {
                let bad = options
                    .iter()
                    .any(|o| o == option || o.starts_with(&format!("{option}=")));
                check!(!bad, "{option} is listed");
            }
            Ok(())
        },
    },
    Case {
        name: "features/annotations",
        platforms: Any,
        section: "features.md, Annotations",
        says: "Annotations are a map of strings without an empty key.",
        run: |t| {
            let all = features(t)?;
            if let Some(annotations) = all.get("annotations").filter(|a| !a.is_null()) {
                let map = annotations.as_object().ok_or("annotations are no map")?;
                for (key, value) in map {
                    check!(!key.is_empty() && value.is_string(), "{key:?}: {value}");
                }
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-namespaces-are-known",
        platforms: Linux,
        section: "features-linux.md, Namespaces",
        says: "Each kind of namespace in the list is taken.",
        run: |t| {
            for kind in words(&features(t)?, "/linux/namespaces") {
                let bundle = t.bundle()?;
                let there = bundle.config["linux"]["namespaces"].to_string();
                if there.contains(&format!("\"{kind}\"")) {
                    continue;
                }
                let map = json!([{"containerID": 0, "hostID": 0, "size": 65_536}]);
                let mut bundle = bundle.set("/linux/namespaces/-", json!({"type": kind}));
                if kind == "user" {
                    bundle = bundle.set("/linux/uidMappings", map.clone());
                    bundle = bundle.set("/linux/gidMappings", map);
                }
                accepted(t, bundle, &kind)?;
            }
            accepted(t, t.bundle()?, "the usual ones")
        },
    },
    Case {
        name: "features/its-capabilities-are-known",
        platforms: Linux,
        section: "features-linux.md, Capabilities",
        says: "Each capability in the list is taken without a word.",
        run: |t| {
            let names = words(&features(t)?, "/linux/capabilities");
            check!(names.len() > 30, "{} capabilities are named", names.len());
            let all = json!({"bounding": names, "permitted": names, "effective": names});
            accepted(
                t,
                t.bundle()?.set("/process/capabilities", all),
                "all of them",
            )
        },
    },
    Case {
        name: "features/its-seccomp-actions-are-known",
        platforms: Linux,
        section: "features-linux.md, Seccomp",
        says: "Each action in the list is taken.",
        run: |t| {
            for action in words(&features(t)?, "/linux/seccomp/actions") {
                if action == "SCMP_ACT_NOTIFY" {
                    // It needs a listener; seccomp/notify has one.
                    continue;
                }
                let rule = json!([{"names": ["umount2"], "action": action}]);
                let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
                if action == "SCMP_ACT_ALLOW" {
                    continue;
                }
                accepted(t, t.bundle()?.set("/linux/seccomp", seccomp), &action)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-seccomp-operators-are-known",
        platforms: Linux,
        section: "features-linux.md, Seccomp",
        says: "Each operator in the list is taken.",
        run: |t| {
            for operator in words(&features(t)?, "/linux/seccomp/operators") {
                let argument = json!([{"index": 0, "value": 77, "valueTwo": 77, "op": operator}]);
                let rule =
                    json!([{"names": ["umount2"], "action": "SCMP_ACT_LOG", "args": argument}]);
                let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
                accepted(t, t.bundle()?.set("/linux/seccomp", seccomp), &operator)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-seccomp-architectures-are-known",
        platforms: Linux,
        section: "features-linux.md, Seccomp",
        says: "Each architecture in the list is taken.",
        run: |t| {
            let all = words(&features(t)?, "/linux/seccomp/archs");
            for architecture in all {
                let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": [architecture],
                    "syscalls": [{"names": ["umount2"], "action": "SCMP_ACT_ERRNO"}]});
                accepted(t, t.bundle()?.set("/linux/seccomp", seccomp), &architecture)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-seccomp-flags-are-known",
        platforms: Linux,
        section: "features-linux.md, Seccomp",
        says: "Each flag in the list of supported ones is taken.",
        run: |t| {
            let all = features(t)?;
            let known = words(&all, "/linux/seccomp/knownFlags");
            for flag in words(&all, "/linux/seccomp/supportedFlags") {
                check!(known.contains(&flag), "{flag} is supported but not known");
                if flag.contains("WAIT_KILLABLE") {
                    // The kernel takes it with a listener only.
                    continue;
                }
                let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
                    "syscalls": [{"names": ["umount2"], "action": "SCMP_ACT_ERRNO"}]});
                accepted(t, t.bundle()?.set("/linux/seccomp", seccomp), &flag)?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/its-memory-policies-are-known",
        platforms: Linux,
        section: "features-linux.md, MemoryPolicy",
        says: "Each mode of a memory policy in the list is taken; without a list policies are refused.",
        run: |t| {
            let all = features(t)?;
            let modes = words(&all, "/linux/memoryPolicy/modes");
            for mode in &modes {
                // The list is the runtime's, whatever this kernel has.
                if mode == "MPOL_WEIGHTED_INTERLEAVE" && kernel() < (6, 9) {
                    continue;
                }
                let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) {
                    json!({"mode": mode})
                } else {
                    json!({"mode": mode, "nodes": "0"})
                };
                accepted(t, t.bundle()?.set("/linux/memoryPolicy", nodes), mode)?;
            }
            if modes.is_empty() {
                let policy = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"});
                t.refused(&t.bundle()?.set("/linux/memoryPolicy", policy), &[])?;
            }
            Ok(())
        },
    },
    Case {
        name: "features/mount-extensions",
        platforms: Linux,
        section: "features-linux.md, MountExtensions",
        says: "mountExtensions.idmap.enabled tells whether idmap with mappings is recognized.",
        run: |t| {
            let all = features(t)?;
            let Some(enabled) = all.pointer("/linux/mountExtensions/idmap/enabled") else {
                skip!("the runtime says nothing of id-mapped mounts");
            };
            if kernel() < (6, 3) && is_tmpfs(&t.dir) {
                skip!("this kernel maps no ids of a tmpfs");
            }
            let map = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
            let bundle = t.bundle()?.mount(json!({
                "destination": "/mnt", "source": t.host_dir()?, "type": "bind",
                "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map,
            }));
            let (call, ..) = t.create_call(&bundle, &[])?;
            same!(
                json!(call.run()?.code == 0),
                *enabled,
                "whether it is taken"
            );
            Ok(())
        },
    },
];

fn features(t: &Test) -> Outcome<Value> {
    let run = t.call(&["features"]).run()?;
    if run.code != 0 {
        // The specification leaves it to the runtime; features/json asks for it.
        skip!("this runtime does not tell its features");
    }
    Ok(serde_json::from_str(&run.out)?)
}

/// The version of the kernel.
fn kernel() -> (u32, u32) {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_owned());
    let release = release.unwrap_or_default();
    let release = release.to_string_lossy();
    let mut parts = release.split('.').map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(target_os = "linux")]
fn is_tmpfs(path: &std::path::Path) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_tmpfs(_: &std::path::Path) -> bool {
    false
}

fn words(all: &Value, pointer: &str) -> Vec<String> {
    let list = all.pointer(pointer).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(String::from).collect()
}

fn version(all: &Value, name: &str) -> Outcome<[u64; 3]> {
    let text = all[name]
        .as_str()
        .ok_or(format!("there is no {name}: {all}"))?;
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<u64> = core.split('.').filter_map(|n| n.parse().ok()).collect();
    let numbers = numbers.try_into();
    numbers.map_err(|_| format!("{name} is no version: {text:?}").into())
}

fn only(all: &Value, pointer: &str, known: &[&str]) -> Outcome {
    for name in all
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        check!(
            known.contains(&name.0.as_str()),
            "{pointer}/{} is not defined",
            name.0
        );
    }
    Ok(())
}

/// create takes the configuration, and says nothing.
fn accepted(t: &Test, bundle: Bundle, what: &str) -> Outcome {
    let (call, id, _) = t.create_call(&bundle, &[])?;
    let run = call.run()?;
    // Known, but nothing without a value.
    if run.code != 0 && run.err.contains("needs a value") {
        return Ok(());
    }
    check!(
        run.code == 0,
        "{what} is listed and refused: {}",
        run.err.trim()
    );
    check!(
        !run.err.contains(what),
        "{what} is listed and not known: {}",
        run.err.trim()
    );
    t.call(&["delete", "--force", &id]).run()?.ok()?;
    Ok(())
}
