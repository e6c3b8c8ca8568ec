//! Hooks of the six kinds.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::test::json_lines;
use crate::harness::{Bundle, Case, Outcome, Test, host};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "hooks/order",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "Hooks run in the order of their kinds and of their entries.",
        run: |t| {
            let lines = all(t)?;
            let labels: Vec<&str> = lines.iter().filter_map(|l| l["label"].as_str()).collect();
            let mut wanted = vec![];
            for kind in KINDS {
                wanted.extend([format!("{kind}0"), format!("{kind}1")]);
            }
            same!(labels, wanted, "the order");
            Ok(())
        },
    },
    Case {
        name: "hooks/status-in-the-state",
        platforms: Any,
        section: "runtime.md, State",
        says: "The state on standard input has the status of the phase.",
        run: |t| {
            let statuses = [
                ("prestart", "creating"),
                ("createRuntime", "creating"),
                ("createContainer", "creating"),
                ("startContainer", "created"),
                ("poststart", "running"),
                ("poststop", "stopped"),
            ];
            let lines = all(t)?;
            for (kind, wanted) in statuses {
                let line = find(&lines, kind)?;
                same!(
                    line["state"]["status"],
                    json!(wanted),
                    format!("the status that {kind} gets")
                );
            }
            Ok(())
        },
    },
    Case {
        name: "hooks/id-bundle-and-version-in-the-state",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "The state on standard input has ociVersion, id, bundle and annotations.",
        run: |t| {
            for line in all(t)? {
                let (state, label) = (&line["state"], &line["label"]);
                check!(
                    state["id"]
                        .as_str()
                        .is_some_and(|id| id.starts_with(&t.mark)),
                    "{label}: {state}"
                );
                check!(
                    state["bundle"]
                        .as_str()
                        .is_some_and(|b| Path::new(b).is_absolute()),
                    "{label}: {state}"
                );
                check!(state["ociVersion"].is_string(), "{label}: {state}");
                same!(
                    state["annotations"]["a"],
                    json!("b"),
                    format!("the annotation for {label}")
                );
            }
            Ok(())
        },
    },
    Case {
        name: "hooks/pid-in-the-state",
        platforms: Any,
        section: "runtime.md, State",
        says: "The state has the process's pid of the host in the hooks outside, and none that lives in poststop.",
        run: |t| {
            let (bundle, log) = recorded(t)?;
            let c = t.ready(&bundle)?;
            c.stop()?;
            c.delete()?;
            let lines = json_lines(&log)?;
            for kind in ["prestart", "createRuntime", "poststart"] {
                same!(
                    find(&lines, kind)?["state"]["pid"],
                    json!(c.pid),
                    format!("the pid that {kind} gets")
                );
            }
            let last = &find(&lines, "poststop")?["state"]["pid"];
            check!(
                last.is_null() || last == 0 || *last == json!(c.pid),
                "the pid that poststop gets: {last}"
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/arguments",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "args is the whole argv of the hook, argv[0] included.",
        run: |t| {
            let log = t.fresh("log");
            let hook = json!({
                "path": t.suite.probe,
                "args": ["another-name", crate::probe::WORD, "hook", log, "a b"],
            });
            t.create(&t.waiting()?.hook("createRuntime", hook))?;
            let lines = json_lines(&log)?;
            same!(lines.len(), 1, "the number of runs");
            same!(
                lines[0]["args"],
                json!(["another-name", crate::probe::WORD, "hook", log, "a b"]),
                "the hook's argv"
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/environment",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "env is the whole environment of the hook.",
        run: |t| {
            let (bundle, log) = (t.waiting()?, t.fresh("log"));
            let mut hook = hook(t, &log, "x");
            hook["env"] = json!(["ONE=1", "TWO=2=2"]);
            t.create(&bundle.hook("createRuntime", hook))?;
            let mut env: Vec<String> = serde_json::from_value(only(&log)?["env"].clone())?;
            env.sort();
            same!(env, vec!["ONE=1", "TWO=2=2"], "the hook's environment");
            Ok(())
        },
    },
    Case {
        name: "hooks/no-environment",
        platforms: Any,
        section: "robustness, hooks",
        says: "A hook without env does not inherit the runtime's environment.",
        run: |t| {
            let (bundle, log) = (t.waiting()?, t.fresh("log"));
            t.create(&bundle.hook("createRuntime", hook(t, &log, "x")))?;
            let env = only(&log)?["env"].to_string();
            check!(!env.contains("RUNTIME_TESTS_CASE"), "it inherited: {env}");
            Ok(())
        },
    },
    Case {
        name: "hooks/namespaces",
        platforms: Linux,
        section: "config.md, POSIX-platform Hooks",
        says: "createContainer and startContainer run in the container's namespaces, the others in the runtime's.",
        run: |t| {
            let lines = all(t)?;
            let host = crate::probe::report()["ns"].clone();
            for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
                same!(
                    find(&lines, kind)?["ns"]["mnt"],
                    host["mnt"],
                    format!("{kind}: mount namespace")
                );
                same!(
                    find(&lines, kind)?["ns"]["uts"],
                    host["uts"],
                    format!("{kind}: uts namespace")
                );
            }
            for kind in ["createContainer", "startContainer"] {
                let ns = &find(&lines, kind)?["ns"];
                for which in ["mnt", "uts", "ipc"] {
                    check!(
                        ns[which] != host[which],
                        "{kind} runs in the runtime's {which} namespace"
                    );
                }
            }
            same!(
                find(&lines, "startContainer")?["hostname"],
                json!("inside"),
                "the hostname"
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/create-container-is-before-pivot",
        platforms: Any,
        section: "config.md, CreateContainer Hooks",
        says: "The path of createContainer hooks resolves in the runtime's namespace.",
        run: |t| {
            // The hook's path and its log are paths of the host.
            let (bundle, log) = (t.waiting()?, t.fresh("log"));
            t.create(&bundle.hook("createContainer", hook(t, &log, "x")))?;
            same!(json_lines(&log)?.len(), 1, "the number of runs");
            Ok(())
        },
    },
    Case {
        name: "hooks/start-container-is-inside",
        platforms: Any,
        section: "config.md, StartContainer Hooks",
        says: "The path of startContainer hooks resolves inside, and they run before the program.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["append", "/log", "program"]);
            let bundle = bundle.hook("startContainer", inside(&["append", "/log", "hook"]));
            let log = bundle.root().join("log");
            let c = t.create(&bundle)?;
            check!(!log.exists(), "it ran at create");
            c.start()?;
            c.await_status("stopped")?;
            same!(
                std::fs::read_to_string(log)?,
                "hook\nprogram\n",
                "the order"
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/prestart-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing prestart hook fails create and leaves nothing.",
        run: |t| fails_create(t, "prestart"),
    },
    Case {
        name: "hooks/create-runtime-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing createRuntime hook fails create and leaves nothing.",
        run: |t| fails_create(t, "createRuntime"),
    },
    Case {
        name: "hooks/create-container-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing createContainer hook fails create and leaves nothing.",
        run: |t| fails_create(t, "createContainer"),
    },
    Case {
        name: "hooks/start-container-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing startContainer hook fails start, the program never runs, and the container is stopped.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["echo", "ran"]);
            let c = t.create(&bundle.hook("startContainer", inside(&["exit", "3"])))?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.await_status("stopped")?;
            check!(!c.output().contains("ran"), "the program ran");
            t.call(&["delete", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "hooks/poststart-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing poststart hook fails start and the container is stopped.",
        run: |t| {
            let c = t.create(&t.waiting()?.hook("poststart", failing(t)))?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.await_status("stopped")
        },
    },
    Case {
        name: "hooks/poststop-failure",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A failing poststop hook is a warning: the other hooks run and delete succeeds.",
        run: |t| {
            let log = t.fresh("log");
            let bundle = t
                .waiting()?
                .hook("poststop", failing(t))
                .hook("poststop", hook(t, &log, "second"));
            let c = t.ready(&bundle)?;
            c.stop()?;
            c.delete()?;
            same!(
                json_lines(&log)?.len(),
                1,
                "the number of runs of the second hook"
            );
            t.nothing_left()
        },
    },
    Case {
        name: "hooks/poststop-after-failed-start-container",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "After a failed startContainer hook, delete still runs the poststop hooks.",
        run: |t| {
            let log = t.fresh("log");
            let bundle = t.waiting()?.hook("startContainer", inside(&["exit", "3"]));
            let c = t.create(&bundle.hook("poststop", hook(t, &log, "x")))?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.await_status("stopped")?;
            c.delete()?;
            same!(json_lines(&log)?.len(), 1, "the number of runs");
            Ok(())
        },
    },
    Case {
        name: "hooks/missing-program",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "A hook whose program does not exist fails create and leaves nothing.",
        run: |t| {
            let bundle = t
                .waiting()?
                .hook("createRuntime", json!({"path": "/no/such/hook"}));
            t.refused(&bundle, &[])?;
            Ok(())
        },
    },
    Case {
        name: "hooks/failure-names-the-hook",
        platforms: Any,
        section: "robustness, wrong input",
        says: "The error of a failing hook says which one it was, and its status.",
        run: |t| {
            let run = t.refused(&t.waiting()?.hook("createRuntime", failing(t)), &[])?;
            run.one_line(&["createRuntime", "3"])?.no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "hooks/timeout-kills-the-process-group",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "A hook that runs longer than its timeout is ended with its descendants, and fails create.",
        run: |t| {
            let mut hook = outside(t, &["spawn", "3", ";", "forever"]);
            hook["timeout"] = json!(1);
            hook["env"] = json!([format!("RUNTIME_TESTS_CASE={}", t.mark)]);
            let begin = Instant::now();
            t.refused(&t.waiting()?.hook("createRuntime", hook), &[])?;
            let took = begin.elapsed();
            check!(
                took >= Duration::from_millis(900),
                "it was not given its second: {took:?}"
            );
            check!(took < Duration::from_secs(8), "it took {took:?}");
            check!(
                host::processes_of(&t.mark).is_empty(),
                "{:?}",
                host::processes_of(&t.mark)
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/timeout-is-not-waited-out",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "A hook that ends before its timeout is not waited for any longer.",
        run: |t| {
            let mut hook = outside(t, &["exit", "0"]);
            hook["timeout"] = json!(20);
            let begin = Instant::now();
            t.create(&t.waiting()?.hook("createRuntime", hook))?;
            check!(
                begin.elapsed() < Duration::from_secs(5),
                "create took {:?}",
                begin.elapsed()
            );
            Ok(())
        },
    },
    Case {
        name: "hooks/that-reads-nothing",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "A hook that never reads its standard input is no failure.",
        run: |t| {
            let long = "x".repeat(200_000);
            let bundle = t.waiting()?.set("/annotations", json!({"long": long}));
            t.create(&bundle.hook("createRuntime", outside(t, &["exit", "0"])))?;
            Ok(())
        },
    },
    Case {
        name: "hooks/that-writes-a-lot",
        platforms: Any,
        section: "robustness, hooks",
        says: "A hook that writes more than a pipe holds does not hang create.",
        run: |t| {
            let word = "y".repeat(100_000);
            let acts = ["echo", &word, ";", "error", &word];
            t.create(&t.waiting()?.hook("createRuntime", outside(t, &acts)))?;
            Ok(())
        },
    },
    Case {
        name: "hooks/poststop-runs-after-everything-is-gone",
        platforms: Any,
        section: "runtime.md, Lifecycle",
        says: "poststop hooks run once, at delete and not before.",
        run: |t| {
            let log = t.fresh("log");
            let c = t.ready(&t.waiting()?.hook("poststop", hook(t, &log, "x")))?;
            c.stop()?;
            same!(
                json_lines(&log)?.len(),
                0,
                "the number of runs before delete"
            );
            c.delete()?;
            same!(
                json_lines(&log)?.len(),
                1,
                "the number of runs after delete"
            );
            Ok(())
        },
    },
];

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook of the host that does these acts.
fn outside(t: &Test, acts: &[&str]) -> Value {
    let mut args = vec!["probe"];
    args.extend(acts);
    json!({"path": t.suite.probe, "args": args})
}

/// A hook inside the container that does these acts.
fn inside(acts: &[&str]) -> Value {
    let mut args = vec!["probe"];
    args.extend(acts);
    json!({"path": "/bin/probe", "args": args})
}

fn failing(t: &Test) -> Value {
    outside(t, &["exit", "3"])
}

/// A hook of the host that records how it was called.
fn hook(t: &Test, log: &Path, label: &str) -> Value {
    outside(t, &["hook", &log.to_string_lossy(), label])
}

/// A bundle with two recording hooks of each kind, and the record's path.
fn recorded(t: &Test) -> Outcome<(Bundle, std::path::PathBuf)> {
    let mut bundle = t.waiting()?.set("/annotations", json!({"a": "b"}));
    let log = bundle.root().join("hooks.log");
    for kind in KINDS {
        for i in 0..2 {
            let label = format!("{kind}{i}");
            let hook = match kind {
                "startContainer" => inside(&["hook", "/hooks.log", &label]),
                _ => hook(t, &log, &label),
            };
            bundle = bundle.hook(kind, hook);
        }
    }
    Ok((bundle, log))
}

/// The record of a whole life.
fn all(t: &Test) -> Outcome<Vec<Value>> {
    let (bundle, log) = recorded(t)?;
    let c = t.ready(&bundle)?;
    c.stop()?;
    c.delete()?;
    let lines = json_lines(&log)?;
    same!(lines.len(), 2 * KINDS.len(), "the number of hooks that ran");
    Ok(lines)
}

/// The one record of a hook.
fn only(log: &Path) -> Outcome<Value> {
    let mut lines = json_lines(log)?;
    same!(lines.len(), 1, "the number of hooks that ran");
    Ok(lines.remove(0))
}

fn find<'a>(lines: &'a [Value], kind: &str) -> Outcome<&'a Value> {
    let label = format!("{kind}0");
    let found = lines.iter().find(|line| line["label"] == label.as_str());
    found.ok_or_else(|| format!("the {kind} hook did not run").into())
}

fn fails_create(t: &Test, kind: &str) -> Outcome {
    let log = t.fresh("log");
    let bundle = t
        .waiting()?
        .hook(kind, failing(t))
        .hook(kind, hook(t, &log, "second"));
    t.refused(&bundle, &[])?;
    same!(
        json_lines(&log)?.len(),
        0,
        "the number of runs of the hook behind the failing one"
    );
    Ok(())
}
