//! create, start, state, delete, and the pid file.

use std::fs;

use serde_json::json;

use crate::harness::Platforms::Any;
use crate::harness::test::until;
use crate::harness::{Case, Outcome, Test, host};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "lifecycle/create-leaves-created",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "After create the status is created and the program has not run.",
        run: |t| {
            let c = t.create(&t.bundle()?.acts(&["echo", "ran"]))?;
            c.is("created")?;
            check!(!c.output().contains("ran"), "the program ran before start");
            Ok(())
        },
    },
    Case {
        name: "lifecycle/start-runs-the-program",
        platforms: Any,
        section: "runtime.md, Start",
        says: "start runs the program given by process.",
        run: |t| {
            let c = t.running()?;
            c.is("running")
        },
    },
    Case {
        name: "lifecycle/end-leaves-stopped",
        platforms: Any,
        section: "runtime.md, State",
        says: "When the program has ended the status is stopped.",
        run: |t| {
            let c = t.start(&t.bundle()?.acts(&["exit", "7"]))?;
            c.await_status("stopped")?;
            same!(c.exit_code()?, 7, "the program's exit status");
            Ok(())
        },
    },
    Case {
        name: "lifecycle/process-is-a-child-of-the-subreaper",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "The contained process ends as a child of the nearest subreaper.",
        run: |t| {
            let c = t.running()?;
            c.kill("KILL")?.ok()?;
            same!(c.exit_code()?, 137, "the status that the subreaper gets");
            Ok(())
        },
    },
    Case {
        name: "lifecycle/delete-removes-everything",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete of a stopped container deletes what create made.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            c.delete()?;
            t.nothing_left()?;
            t.call(&["state", &c.id]).run()?.fails()?;
            Ok(())
        },
    },
    Case {
        name: "lifecycle/deleted-id-is-free-at-once",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "Once deleted, the id may be used by the next container.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            for _ in 0..3 {
                c.stop()?;
                c.delete()?;
                t.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &c.id])
                    .run()?
                    .ok()?;
                c.is("created")?;
                c.start()?;
            }
            Ok(())
        },
    },
    Case {
        name: "lifecycle/bundle-may-be-used-twice",
        platforms: Any,
        section: "runtime.md, Create",
        says: "A second container of another id can be made from the same bundle.",
        run: |t| {
            let bundle = t.waiting()?;
            let (a, b) = (t.ready(&bundle)?, t.ready(&bundle)?);
            check!(a.pid != b.pid, "both have the same process");
            a.stop()?;
            b.is("running")
        },
    },
    Case {
        name: "lifecycle/duplicate-id-is-refused",
        platforms: Any,
        section: "runtime.md, Create",
        says: "create with an id in use fails and leaves the first container alone.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            let before = c.state()?;
            let dir = bundle.dir.to_string_lossy();
            t.call(&["create", "--bundle", &dir, &c.id])
                .run()?
                .fails()?;
            same!(c.state()?, before, "the first container's state");
            let cgroups = host::cgroups()
                .into_iter()
                .filter(|g| g.contains(&c.id))
                .count();
            check!(
                cfg!(target_os = "freebsd") || cgroups > 0,
                "the first container lost its cgroup"
            );
            c.is("running")
        },
    },
    Case {
        name: "lifecycle/start-twice-fails",
        platforms: Any,
        section: "runtime.md, Start",
        says: "start of a container that is not created fails and has no effect on it.",
        run: |t| {
            let c = t.running()?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.is("running")
        },
    },
    Case {
        name: "lifecycle/start-of-stopped-fails",
        platforms: Any,
        section: "runtime.md, Start",
        says: "start of a stopped container fails.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.is("stopped")
        },
    },
    Case {
        name: "lifecycle/start-of-unknown-fails",
        platforms: Any,
        section: "runtime.md, Start",
        says: "start of an id that no container has fails.",
        run: |t| unknown(t, &["start"]),
    },
    Case {
        name: "lifecycle/state-of-unknown-fails",
        platforms: Any,
        section: "runtime.md, Query State",
        says: "state of an id that no container has fails.",
        run: |t| unknown(t, &["state"]),
    },
    Case {
        name: "lifecycle/kill-of-unknown-fails",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "kill of an id that no container has fails.",
        run: |t| unknown(t, &["kill"]),
    },
    Case {
        name: "lifecycle/delete-of-unknown-fails",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete of an id that no container has fails.",
        run: |t| unknown(t, &["delete"]),
    },
    Case {
        name: "lifecycle/force-delete-of-unknown-succeeds",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "delete --force of an id that no container has succeeds, as with runc.",
        run: |t| {
            t.call(&["delete", "--force", &t.id()]).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "lifecycle/delete-of-running-fails",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete of a running container fails and has no effect on it.",
        run: |t| {
            let c = t.running()?;
            t.call(&["delete", &c.id]).run()?.fails()?;
            c.is("running")
        },
    },
    Case {
        name: "lifecycle/force-delete-of-running",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "delete --force ends a running container and deletes it.",
        run: |t| {
            let c = t.running()?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "lifecycle/force-delete-of-created",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "delete --force ends a container that was never started and deletes it.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "lifecycle/force-delete-of-many-processes",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete --force ends many processes, sessions of their own among them.",
        run: |t| {
            let c = t.ready(
                &t.bundle()?
                    .acts(&["spawn", "40", ";", "daemon", ";", "daemon", ";", "wait"]),
            )?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "lifecycle/delete-after-kill-of-created",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A created container can be killed, is stopped then, and can be deleted.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            c.stop()?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "lifecycle/create-argument-order",
        platforms: Any,
        section: "runtime.md, Create",
        says: "create uses the working directory as the bundle when none is given.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let id = t.id();
            t.call(&["create", &id]).cwd(&bundle.dir).run()?.ok()?;
            let run = t.call(&["state", &id]).run()?.ok()?;
            let state: serde_json::Value = serde_json::from_str(&run.out)?;
            same!(
                state["bundle"],
                json!(bundle.dir),
                "the bundle in the state"
            );
            Ok(())
        },
    },
    Case {
        name: "lifecycle/later-config-changes-have-no-effect",
        platforms: Any,
        section: "runtime.md, Create",
        says: "Changes of config.json after create have no effect on the container.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["echo", "first"]);
            let c = t.create(&bundle)?;
            bundle.clone().acts(&["echo", "second"]).write()?;
            c.start()?;
            c.await_status("stopped")?;
            same!(c.output(), "first\n", "the program's output");
            Ok(())
        },
    },
    Case {
        name: "lifecycle/bundle-may-vanish-before-delete",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete does not need the bundle's config.json any more.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            fs::remove_file(bundle.dir.join("config.json"))?;
            c.stop()?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "state/has-every-field",
        platforms: Any,
        section: "runtime.md, State",
        says: "The state has ociVersion, id, status, pid and bundle.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            let state = c.state()?;
            check!(
                state["ociVersion"]
                    .as_str()
                    .is_some_and(|v| v.starts_with("1.")),
                "ociVersion: {state}"
            );
            same!(state["id"], json!(c.id), "id");
            same!(state["status"], json!("running"), "status");
            same!(
                state["pid"],
                json!(c.pid),
                "pid, beside that in the pid file"
            );
            same!(state["bundle"], json!(bundle.dir), "bundle");
            Ok(())
        },
    },
    Case {
        name: "state/has-what-engines-read",
        platforms: Any,
        section: "engines, containerd",
        says: "The state has rootfs, created in RFC 3339, and annotations.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            let state = c.state()?;
            // Of the bundle, where it is not absolute.
            let rootfs = state["rootfs"].as_str().unwrap_or_default();
            same!(bundle.dir.join(rootfs), bundle.root(), "rootfs");
            let created = state["created"].as_str().unwrap_or_default();
            check!(
                created.len() > 19 && &created[10..11] == "T",
                "created is not RFC 3339: {created:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "state/has-the-annotations",
        platforms: Any,
        section: "runtime.md, State",
        says: "The state has the annotations of the configuration.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/annotations", json!({"com.example.key": "value", "b": ""}));
            let c = t.create(&bundle)?;
            let annotations = &c.state()?["annotations"];
            same!(
                annotations["com.example.key"],
                json!("value"),
                "the annotation"
            );
            same!(annotations["b"], json!(""), "an empty annotation");
            Ok(())
        },
    },
    Case {
        name: "state/unknown-annotations-are-ignored",
        platforms: Any,
        section: "config.md, Annotations",
        says: "Implementations must not fail on annotation keys they do not know.",
        run: |t| {
            let bundle = t
                .bundle()?
                .acts(&["echo", "x"])
                .set("/annotations", json!({"org.example.unknown": "1"}));
            t.output(&bundle)?;
            Ok(())
        },
    },
    Case {
        name: "state/unknown-properties-are-ignored",
        platforms: Any,
        section: "config.md, Extensibility",
        says: "Implementations must not fail on properties they do not know.",
        run: |t| {
            let bundle = t
                .bundle()?
                .acts(&["echo", "x"])
                .set("/noSuchProperty", json!({"a": 1}));
            let bundle = bundle.set("/process/noSuchProperty", json!(true));
            same!(t.output(&bundle)?, "x\n", "the output");
            Ok(())
        },
    },
    Case {
        name: "state/pid-is-alive",
        platforms: Any,
        section: "runtime.md, State",
        says: "The pid is that of the container's process as seen by the host.",
        run: |t| {
            let c = t.running()?;
            let found = host::processes_of(&t.mark);
            let me = found.iter().find(|(pid, _)| *pid == c.pid);
            check!(
                me.is_some_and(|(_, words)| words.starts_with("/bin/probe wait")),
                "{found:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "state/stopped-has-no-live-pid",
        platforms: Any,
        section: "runtime.md, State",
        says: "The state of a stopped container does not name a process that lives.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            let pid = c.state()?["pid"].as_i64().unwrap_or(0);
            check!(
                pid == 0 || pid == i64::from(c.pid),
                "pid {pid} is not the container's"
            );
            Ok(())
        },
    },
    Case {
        name: "pid-file/is-a-bare-decimal",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "The pid file holds a bare decimal and exists when create returns.",
        run: |t| {
            // Container::made reads it so.
            let c = t.create(&t.waiting()?)?;
            same!(c.state()?["pid"], json!(c.pid), "the pid in the state");
            Ok(())
        },
    },
    Case {
        name: "pid-file/is-replaced-whole",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A pid file that exists already is replaced.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, file) = (t.id(), t.host_file("1234567890123 and more")?);
            let (dir, file_word) = (bundle.dir.to_string_lossy(), file.to_string_lossy());
            t.call(&["create", "-b", &dir, "--pid-file", &file_word, &id])
                .run()?
                .ok()?;
            let text = fs::read_to_string(&file)?;
            check!(
                text.parse::<i32>().is_ok_and(|pid| pid > 0),
                "it holds {text:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "pid-file/not-writable-is-an-error",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "create fails, leaving nothing, when the pid file cannot be written.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let dir = bundle.dir.to_string_lossy();
            let file = t.fresh("missing").join("pid");
            let run = t
                .call(&[
                    "create",
                    "-b",
                    &dir,
                    "--pid-file",
                    &file.to_string_lossy(),
                    &t.id(),
                ])
                .run()?;
            run.fails()?;
            t.nothing_left()
        },
    },
    Case {
        name: "lifecycle/nothing-resident-after-start",
        platforms: Any,
        section: "robustness, scale",
        says: "After start only the container's own process is left running.",
        run: |t| {
            let c = t.running()?;
            let alone = || {
                let found = host::processes_of(&t.mark);
                found.len() == 1 && found[0].0 == c.pid
            };
            until(alone).ok_or_else(|| format!("{:?}", host::processes_of(&t.mark)))?;
            Ok(())
        },
    },
    Case {
        name: "lifecycle/one-process-resident-after-create",
        platforms: Any,
        section: "robustness, scale",
        says: "After create only the waiting process is left running.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            let alone = || {
                let found = host::processes_of(&t.mark);
                found.len() == 1 && found[0].0 == c.pid
            };
            until(alone).ok_or_else(|| format!("{:?}", host::processes_of(&t.mark)))?;
            Ok(())
        },
    },
];

fn unknown(t: &Test, words: &[&str]) -> Outcome {
    let mut all = words.to_vec();
    let id = t.id();
    all.push(&id);
    t.call(&all).run()?.fails()?;
    t.nothing_left()
}
