//! Containers without a mount namespace of their own: what they mount is on the
//! host, and goes with them.

use std::fs;

use serde_json::json;

use crate::harness::Platforms::Linux;
use crate::harness::{Bundle, Case};
use crate::{check, same};

const NAMESPACES: &str = "config-linux.md, Namespaces";

pub const CASES: &[Case] = &[
    Case {
        name: "host-mounts/namespace-is-the-runtimes",
        platforms: Linux,
        section: NAMESPACES,
        says: "Without a mount namespace the process is in the runtime's, with the configured root and mounts.",
        run: |t| {
            let file = t.host_file("content")?;
            let bundle = without(t.bundle()?.bind(&file, "/mnt/file", &[]));
            let acts = ["report", ";", "read", "/mnt/file", ";", "list", "/"];
            let output = t.output(&bundle.acts(&acts))?;
            let (report, rest) = output.split_once('\n').unwrap_or_default();
            let report: serde_json::Value = serde_json::from_str(report)?;
            let host = crate::probe::report()["ns"]["mnt"].clone();
            same!(report["ns"]["mnt"], host, "the mount namespace");
            same!(report["cwd"], json!("/"), "the working directory");
            check!(rest.starts_with("content\n"), "what was read: {rest:?}");
            check!(
                rest.contains(" home ") && !rest.contains("boot"),
                "the root: {rest:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "host-mounts/delete-takes-them-back",
        platforms: Linux,
        section: "runtime.md, Delete",
        says: "Nothing that such a container mounted is left after delete, nor before it anywhere but where the runtime puts it.",
        run: |t| {
            let victim = t.host_dir()?;
            let bundle = without(t.waiting()?.bind(&victim, "/mnt", &["rbind", "rshared"]));
            let bundle = bundle.tmpfs("/mnt/below", &[]);
            let bundle = bundle.set("/linux/rootfsPropagation", json!("rshared"));
            let before = propagation();
            let c = t.ready(&bundle)?;
            let during = propagation();
            let mut changed = Vec::new();
            for (id, path, kind) in &before {
                let now = during.iter().find(|(other, ..)| other == id);
                let Some((_, _, now)) = now.filter(|(_, _, now)| now != kind) else {
                    continue;
                };
                changed.push(format!("{path} was {kind:?} and is {now:?}"));
                // Whatever the runtime does, the host stays as it was.
                #[cfg(target_os = "linux")]
                if kind.is_empty() {
                    crate::sys::make_private(path);
                }
            }
            check!(
                changed.is_empty(),
                "the host's mounts: {}",
                changed.join(", ")
            );
            check!(
                !crate::harness::host::has_mounts_below(&victim),
                "a mount has reached the directory that was bound"
            );
            c.stop()?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "host-mounts/failed-create-leaves-nothing",
        platforms: Linux,
        section: "runtime.md, Errors",
        says: "A create that fails among the mounts of such a container leaves neither mounts nor mount points.",
        run: |t| {
            let bundle = without(t.bundle()?.tmpfs("/made/for/it", &[])).mount(json!({
                "destination": "/other", "type": "nosuchfs", "source": "none",
            }));
            t.refused(&bundle, &[])?;
            for name in ["made", "other"] {
                check!(!bundle.root().join(name).exists(), "/{name} is left");
            }
            Ok(())
        },
    },
    Case {
        name: "host-mounts/create-killed",
        platforms: Linux,
        section: "robustness, crashes",
        says: "A create of such a container killed with SIGKILL at any time leaves what delete --force takes back.",
        run: |t| super::engines::killed_creates(t, || Ok(without(t.waiting()?.tmpfs("/tmp", &[])))),
    },
    Case {
        name: "host-mounts/exec",
        platforms: Linux,
        section: "engines, podman and conmon",
        says: "exec in such a container is in its root.",
        run: |t| {
            let c = t.ready(&without(t.waiting()?.file("/etc/mine", "inside", 0o644)?))?;
            let run = c
                .exec(&[], &["read", "/etc/mine", ";", "list", "/"])?
                .ok()?;
            check!(run.out.starts_with("inside\n"), "{:?}", run.out);
            check!(!run.out.contains("boot"), "the root: {:?}", run.out);
            c.is("running")
        },
    },
    Case {
        name: "host-mounts/closed-paths",
        platforms: Linux,
        section: "config-linux.md, Masked Paths",
        says: "Masked and read-only paths and a read-only root are so inside, and the root file system is as before outside, or the runtime refuses them.",
        run: |t| {
            let bundle = without(t.bundle()?.file("/secret/file", "text", 0o644)?);
            let bundle = bundle
                .file("/hidden", "text", 0o644)?
                .file("/data/file", "text", 0o644)?
                .set("/linux/maskedPaths", json!(["/secret", "/hidden", "/none"]))
                .set("/linux/readonlyPaths", json!(["/data"]))
                .set("/root/readonly", json!(true));
            let acts: Vec<&str> = "try list /secret ; read /hidden ; read /data/file ; \
                 try write /data/file ; try create /x ; wait"
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect();
            let bundle = bundle.acts(&acts);
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.run()?;
            if run.code != 0 {
                return t.nothing_left();
            }
            let c = crate::harness::Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            c.await_output("ready")?;
            same!(
                c.output(),
                "empty\n\ntext\nEROFS\nEROFS\nready\n",
                "what was seen inside"
            );
            let file = bundle.root().join("data/file");
            fs::write(&file, "of the host")?;
            same!(
                fs::read_to_string(bundle.root().join("secret/file"))?,
                "text",
                "what is masked inside"
            );
            Ok(())
        },
    },
    Case {
        name: "host-mounts/links-stay-inside",
        platforms: Linux,
        section: "hostile, paths",
        says: "Without a mount namespace, no mount, mask or read-only path leads to the host by a link, one of /proc included.",
        run: |t| {
            let victim = t.host_dir()?;
            fs::create_dir(victim.join("directory"))?;
            fs::write(victim.join("file"), "precious")?;
            let path = victim.to_string_lossy();
            let through = format!("/proc/1/root{path}");
            for target in [&*path, &through] {
                let bundle = without(t.waiting()?.link("/out", target)?);
                let bundle = bundle
                    .set("/linux/maskedPaths", json!(["/out/file"]))
                    .set("/linux/readonlyPaths", json!(["/out/directory"]));
                let (call, id, _) = t.create_call(&bundle, &[])?;
                let run = call.run()?;
                check!(
                    !crate::harness::host::has_mounts_below(&victim),
                    "{target}: the host has a mount"
                );
                if run.code == 0 {
                    t.call(&["delete", "--force", &id]).run()?.ok()?;
                }
                let bundle = without(t.waiting()?.link("/out", target)?).tmpfs("/out/made", &[]);
                let (call, id, _) = t.create_call(&bundle, &[])?;
                let run = call.run()?;
                check!(!victim.join("made").exists(), "{target}: it was made");
                if run.code == 0 {
                    t.call(&["delete", "--force", &id]).run()?.ok()?;
                }
            }
            Ok(())
        },
    },
];

/// The bundle without a mount namespace, and with the host's processes in
/// sight.
fn without(bundle: Bundle) -> Bundle {
    let bundle = bundle.without_namespace("mount");
    bundle.without_namespace("pid").without_mount("/sys")
}

/// Ids of the host's mounts, where they are, and how each propagates
/// (proc_pid_mountinfo(5)).
fn propagation() -> Vec<(String, String, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let one = |line: &str| {
        let (fields, _) = line.split_once(" - ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        Some((
            fields[0].to_owned(),
            fields[4].to_owned(),
            fields[6..].join(" "),
        ))
    };
    text.lines().filter_map(one).collect()
}
