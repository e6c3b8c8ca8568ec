//! The operations of runtime.md, their arguments, and what the state says.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, FreeBsd, Linux};
use crate::harness::{Case, Container, Outcome, Test};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "lifecycle/has-the-five-operations",
        platforms: Any,
        section: "runtime.md, Operations",
        says: "create, state, start, kill and delete work on a container, each called by itself.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            same!(c.status()?, "created", "the status");
            c.start()?;
            c.await_output("ready")?;
            same!(c.status()?, "running", "the status");
            c.kill("KILL")?.ok()?;
            c.await_status("stopped")?;
            c.delete()?;
            t.call(&["state", &c.id]).run()?.fails()?;
            Ok(())
        },
    },
    Case {
        name: "lifecycle/environment-is-there-after-create",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "After create, before start, the mounts and the hostname are those of the configuration.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let bundle = t.waiting()?.bind(&dir, "/mnt", &[]);
            let c = t.create(&bundle.set("/hostname", json!("early")))?;
            let run = c.exec(&[], &["list", "/mnt", ";", "report"])?.ok()?;
            let (first, report) = run.out.split_once('\n').unwrap_or_default();
            same!(first, "here", "what is mounted");
            let report: Value = serde_json::from_str(report)?;
            same!(report["hostname"], json!("early"), "the hostname");
            c.is("created")
        },
    },
    Case {
        name: "lifecycle/delete-of-created-fails",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete of a container that is created, not stopped, fails and has no effect on it.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            t.call(&["delete", &c.id]).run()?.fails()?;
            c.is("created")?;
            c.start()?;
            c.is("running")
        },
    },
    Case {
        name: "delete/spares-what-it-did-not-make",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete leaves the bundle, its root file system and the sources of mounts as they are.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("file"), "kept")?;
            let bundle = t.waiting()?.bind(&dir, "/mnt", &[]);
            let bundle = bundle.file("/etc/of-the-root", "kept", 0o600)?;
            let c = t.ready(&bundle)?;
            c.stop()?;
            c.delete()?;
            same!(fs::read_to_string(dir.join("file"))?, "kept", "the source");
            let file = bundle.root().join("etc/of-the-root");
            same!(fs::read_to_string(file)?, "kept", "the root's file");
            check!(
                bundle.dir.join("config.json").exists(),
                "config.json is gone"
            );
            t.nothing_left()
        },
    },
    Case {
        name: "operations/state-without-an-id",
        platforms: Any,
        section: "runtime.md, Query State",
        says: "state without an id is an error.",
        run: |t| without_id(t, "state"),
    },
    Case {
        name: "operations/create-without-an-id",
        platforms: Any,
        section: "runtime.md, Create",
        says: "create without an id is an error.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let dir = bundle.dir.to_string_lossy();
            t.call(&["create", "--bundle", &dir]).run()?.fails()?;
            t.nothing_left()
        },
    },
    Case {
        name: "operations/start-without-an-id",
        platforms: Any,
        section: "runtime.md, Start",
        says: "start without an id is an error.",
        run: |t| without_id(t, "start"),
    },
    Case {
        name: "operations/kill-without-an-id",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "kill without an id is an error.",
        run: |t| without_id(t, "kill"),
    },
    Case {
        name: "operations/delete-without-an-id",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete without an id is an error.",
        run: |t| without_id(t, "delete"),
    },
    Case {
        name: "kill/created-is-reached",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A signal reaches the process of a container that is created.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            c.kill("KILL")?.ok()?;
            same!(c.exit_code()?, 137, "how the process ended");
            c.await_status("stopped")
        },
    },
    Case {
        name: "bundle/only-config-json-is-read",
        platforms: Any,
        section: "bundle.md, Container Format",
        says: "A configuration of another name or in another directory of the bundle is none.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let file = bundle.dir.join("config.json");
            fs::create_dir(bundle.dir.join("config"))?;
            fs::copy(&file, bundle.dir.join("config/config.json"))?;
            fs::copy(&file, bundle.root().join("config.json"))?;
            fs::rename(&file, bundle.dir.join("CONFIG.JSON"))?;
            let dir = bundle.dir.to_string_lossy();
            t.call(&["create", "--bundle", &dir, &t.id()])
                .run()?
                .fails()?;
            t.nothing_left()
        },
    },
    Case {
        name: "state/bundle-is-absolute",
        platforms: Any,
        section: "runtime.md, State",
        says: "The bundle in the state is an absolute path also when create got a relative one.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, name) = (t.id(), bundle.dir.file_name().expect("a name"));
            let name = name.to_string_lossy();
            t.call(&["create", "--bundle", &name, &id])
                .cwd(&t.dir)
                .run()?
                .ok()?;
            let run = t.call(&["state", &id]).run()?.ok()?;
            let state: Value = serde_json::from_str(&run.out)?;
            same!(state["bundle"], json!(bundle.dir), "bundle");
            Ok(())
        },
    },
    Case {
        name: "state/fits-the-schema",
        platforms: Any,
        section: "runtime.md, State",
        says: "In each phase the state fits the specification's schema of it.",
        run: |t| {
            let annotations = json!({"com.example.a": "1", "com.example.b": ""});
            let c = t.create(&t.waiting()?.set("/annotations", annotations))?;
            schema(&c.state()?)?;
            c.start()?;
            schema(&c.state()?)?;
            c.stop()?;
            schema(&c.state()?)
        },
    },
    Case {
        name: "hooks/poststart-is-over-when-start-returns",
        platforms: Any,
        section: "config.md, Poststart",
        says: "poststart hooks have run to their end when start returns.",
        run: |t| {
            let done = t.fresh("done");
            let args = [
                "probe",
                "sleep",
                "300",
                ";",
                "write",
                &done.to_string_lossy(),
                "x",
            ];
            let hook = json!({"path": t.suite.probe, "args": args});
            let c = t.create(&t.waiting()?.hook("poststart", hook))?;
            check!(!done.exists(), "the hook ran before start");
            c.start()?;
            check!(done.exists(), "start returned before the hook was over");
            Ok(())
        },
    },
    Case {
        name: "hooks/poststop-is-over-when-delete-returns",
        platforms: Any,
        section: "config.md, Poststop",
        says: "poststop hooks have run to their end when delete returns.",
        run: |t| {
            let done = t.fresh("done");
            let args = [
                "probe",
                "sleep",
                "300",
                ";",
                "write",
                &done.to_string_lossy(),
                "x",
            ];
            let hook = json!({"path": t.suite.probe, "args": args});
            let c = t.ready(&t.waiting()?.hook("poststop", hook))?;
            c.stop()?;
            check!(!done.exists(), "the hook ran before delete");
            c.delete()?;
            check!(done.exists(), "delete returned before the hook was over");
            Ok(())
        },
    },
    Case {
        name: "hooks/environment-is-there",
        platforms: Any,
        section: "config.md, CreateRuntime Hooks",
        says: "When prestart and createRuntime hooks are called the container's environment exists.",
        run: |t| {
            let log = t.fresh("log");
            let mut bundle = t.waiting()?;
            for kind in ["prestart", "createRuntime"] {
                let hook = json!({"path": t.suite.probe, "args": ["probe", "hook", log, kind]});
                bundle = bundle.hook(kind, hook);
            }
            let _c = t.create(&bundle)?;
            let lines = crate::harness::test::json_lines(&log)?;
            same!(lines.len(), 2, "the number of hooks");
            for line in lines {
                let pid = line["state"]["pid"].as_i64().unwrap_or(0);
                check!(pid > 0, "{}: there is no process yet", line["label"]);
                if cfg!(target_os = "freebsd") {
                    let there = line["jails"].to_string().contains(&t.mark);
                    check!(there, "{}: there is no jail yet: {line}", line["label"]);
                    continue;
                }
                for kind in ["net", "ipc", "uts"] {
                    let of = &line["others"][kind];
                    check!(
                        of.is_string() && *of != line["ns"][kind],
                        "{}: the process has no {kind} namespace of its own yet: {line}",
                        line["label"]
                    );
                }
            }
            Ok(())
        },
    },
    Case {
        name: "terminal/console-size-is-ignored-without-a-terminal",
        platforms: Any,
        section: "config.md, Process",
        says: "consoleSize is ignored when terminal is false or absent.",
        run: |t| {
            for terminal in [Some(false), None] {
                let size = json!({"height": 7, "width": 9});
                let mut bundle = t.bundle()?.set("/process/consoleSize", size);
                bundle = match terminal {
                    Some(value) => bundle.set("/process/terminal", json!(value)),
                    None => bundle.unset("/process/terminal"),
                };
                let report = t.report(&bundle)?;
                same!(report["tty"]["stdin"], Value::Null, "the terminal");
            }
            Ok(())
        },
    },
    Case {
        name: "process/every-rlimit",
        platforms: Any,
        section: "config.md, POSIX process",
        says: "Each limit that getrlimit knows is the program's, soft and hard, and the others are as before.",
        run: |t| {
            let own = crate::probe::report()["rlimits"].clone();
            let mut wanted = own.clone();
            let mut all = Vec::new();
            let names: Vec<String> = own
                .as_object()
                .map(|o| o.keys().cloned().collect())
                .unwrap_or_default();
            // A program needs memory to run, and processor time.
            let spared = ["RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CPU"];
            for name in names.iter().filter(|n| !spared.contains(&n.as_str())) {
                let hard = own[name]["hard"].as_u64().unwrap_or(0).min(1_000_000);
                let soft = hard - hard / 4;
                wanted[name] = json!({"soft": soft, "hard": hard});
                all.push(json!({"type": name, "soft": soft, "hard": hard}));
            }
            let report = t.report(&t.bundle()?.set("/process/rlimits", json!(all)))?;
            for name in &names {
                same!(report["rlimits"][name], wanted[name], name);
            }
            Ok(())
        },
    },
    Case {
        name: "process/unknown-capability-is-logged",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "A capability that cannot be granted is logged as a warning.",
        run: |t| {
            let log = t.fresh("log");
            let bundle = t
                .bundle()?
                .set("/process/capabilities/bounding/-", json!("CAP_NO_SUCH"));
            // In the JSON log that engines read a warning would hide the error.
            let flags = ["--log", &log.to_string_lossy(), "--log-format", "text"];
            let (call, ..) = t.create_call(&bundle, &[])?;
            let run = call.global(&flags).run()?.ok()?;
            let text = fs::read_to_string(&log).unwrap_or_default() + &run.err;
            check!(text.contains("CAP_NO_SUCH"), "no word of it: {text:?}");
            Ok(())
        },
    },
    Case {
        name: "process/scheduler",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "scheduler sets the program's scheduling policy and nice value.",
        run: |t| {
            let scheduler = json!({"policy": "SCHED_BATCH", "nice": 7});
            let bundle = t.bundle()?.set("/process/scheduler", scheduler);
            let report = t.report(&bundle)?;
            same!(report["scheduler"]["policy"], json!(3), "the policy");
            same!(report["scheduler"]["nice"], json!(7), "the nice value");
            Ok(())
        },
    },
    Case {
        name: "process/io-priority",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "ioPriority sets the program's class and priority.",
        run: |t| {
            let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            let bundle = t.bundle()?.set("/process/ioPriority", priority);
            same!(
                t.report(&bundle)?["ioPriority"],
                json!(2 << 13 | 6),
                "ioprio_get"
            );
            Ok(())
        },
    },
    Case {
        name: "process/personality",
        platforms: Linux,
        section: "config-linux.md, Personality",
        says: "personality sets the program's execution domain.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/personality", json!({"domain": "LINUX32"}));
            same!(
                t.report(&bundle)?["personality"],
                json!(8),
                "personality(2)"
            );
            Ok(())
        },
    },
    Case {
        name: "process/personality-absent",
        platforms: Linux,
        section: "config-linux.md, Personality",
        says: "Without personality the execution domain is left.",
        run: |t| {
            let own = crate::probe::report()["personality"].clone();
            same!(
                t.report(&t.bundle()?)?["personality"],
                own,
                "personality(2)"
            );
            Ok(())
        },
    },
    Case {
        name: "process/cpu-affinity-is-left-alone",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "Without execCPUAffinity the processors that the program may use are those of the runtime's caller.",
        run: |t| {
            let own = crate::probe::report()["status"]["Cpus_allowed"].clone();
            let c = t.running()?;
            let text = fs::read_to_string(format!("/proc/{}/status", c.pid))?;
            let line = text.lines().find_map(|l| l.strip_prefix("Cpus_allowed:\t"));
            same!(json!(line), own, "the program's processors");
            same!(
                c.exec_report(&[])?["status"]["Cpus_allowed"],
                own,
                "those of exec"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/cpu-affinity",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "execCPUAffinity.final is the set of processors that a program of exec may use.",
        run: |t| {
            let affinity = json!({"initial": "0", "final": "0"});
            let bundle = t.waiting()?.set("/process/execCPUAffinity", affinity);
            let c = t.ready(&bundle)?;
            let report = c.exec_report(&[])?;
            same!(
                report["status"]["Cpus_allowed_list"],
                json!("0"),
                "the processors"
            );
            Ok(())
        },
    },
    Case {
        name: "faults/annotations-as-an-array",
        platforms: Any,
        section: "config.md, Annotations",
        says: "Annotations that are no key-value map are refused.",
        run: |t| {
            t.refused(&t.bundle()?.set("/annotations", json!(["a", "b"])), &[])?;
            Ok(())
        },
    },
    Case {
        name: "faults/annotation-not-a-string",
        platforms: Any,
        section: "config.md, Annotations",
        says: "An annotation whose value is not a string is refused.",
        run: |t| {
            t.refused(
                &t.bundle()?.set("/annotations", json!({"com.example.a": 5})),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "faults/annotation-without-a-key",
        platforms: Any,
        section: "config.md, Annotations",
        says: "An annotation whose key is empty is refused.",
        run: |t| {
            t.refused(&t.bundle()?.set("/annotations", json!({"": "value"})), &[])?;
            Ok(())
        },
    },
    Case {
        name: "faults/not-utf-8",
        platforms: Any,
        section: "glossary.md, JSON",
        says: "A config.json that is not UTF-8 is refused.",
        run: |t| {
            let bundle = t.bundle()?.set("/hostname", json!("MARK"));
            bundle.write()?;
            let file = bundle.dir.join("config.json");
            let text = fs::read_to_string(&file)?;
            let (before, after) = text.split_once("MARK").expect("the mark is there");
            let mut raw = before.as_bytes().to_vec();
            raw.extend([0xff, 0xfe, b'x']);
            raw.extend(after.as_bytes());
            raw_refused(t, &bundle.dir, &raw)
        },
    },
    Case {
        name: "faults/duplicate-names",
        platforms: Any,
        section: "glossary.md, JSON",
        says: "A config.json with a name twice in one object is refused.",
        run: |t| {
            let bundle = t.bundle()?;
            bundle.write()?;
            let text = fs::read_to_string(bundle.dir.join("config.json"))?;
            let twice = text.replacen('{', "{\"hostname\": \"other\",", 1);
            raw_refused(t, &bundle.dir, twice.as_bytes())
        },
    },
    Case {
        name: "faults/weight-device-without-a-weight",
        platforms: Linux,
        section: "config-linux.md, Block IO",
        says: "A weightDevice with neither weight nor leafWeight is refused.",
        run: |t| {
            let device = json!([{"major": 8, "minor": 0}]);
            let bundle = t
                .bundle()?
                .set("/linux/resources/blockIO/weightDevice", device);
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "faults/rdma-without-a-limit",
        platforms: Linux,
        section: "config-linux.md, RDMA",
        says: "An rdma entry with neither hcaHandles nor hcaObjects is refused.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/resources/rdma", json!({"mlx5_1": {}}));
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/relative-destination",
        platforms: FreeBsd,
        section: "config.md, Mounts",
        says: "A destination that is not absolute is refused, or counts from the root as on Linux.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let bundle = t.bundle()?.bind(&dir, "mnt", &[]).acts(&["list", "/mnt"]);
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.run()?;
            if run.code != 0 {
                return t.nothing_left();
            }
            let c = Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            c.await_output("here")
        },
    },
];

fn without_id(t: &Test, command: &str) -> Outcome {
    let c = t.running()?;
    t.call(&[command]).run()?.fails()?;
    c.is("running")
}

fn raw_refused(t: &Test, dir: &std::path::Path, raw: &[u8]) -> Outcome {
    fs::write(dir.join("config.json"), raw)?;
    t.call(&["create", "--bundle", &dir.to_string_lossy(), &t.id()])
        .run()?
        .fails()?;
    t.nothing_left()
}

/// As state-schema.json has it.
fn schema(state: &Value) -> Outcome {
    for name in ["ociVersion", "id", "status", "bundle"] {
        check!(state[name].is_string(), "{name} is no string: {state}");
    }
    let version = state["ociVersion"].as_str().unwrap_or_default();
    let parts: Vec<&str> = version.splitn(3, '.').collect();
    check!(
        parts.len() == 3 && parts[..2].iter().all(|p| p.parse::<u32>().is_ok()),
        "ociVersion is no version: {version:?}"
    );
    let known = ["creating", "created", "running", "stopped"];
    let status = state["status"].as_str().unwrap_or_default();
    check!(known.contains(&status), "status is {status:?}");
    match state.get("pid") {
        None => check!(status == "stopped", "there is no pid: {state}"),
        Some(pid) => check!(pid.as_u64().is_some(), "pid is {pid}"),
    }
    if let Some(annotations) = state.get("annotations").filter(|a| !a.is_null()) {
        let all = annotations.as_object();
        check!(
            all.is_some_and(|all| all.values().all(Value::is_string)),
            "annotations: {annotations}"
        );
    }
    Ok(())
}
