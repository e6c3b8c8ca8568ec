//! run, list, ps, update, events, features, spec, version.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::test::patience;
use crate::harness::{Bundle, Call, Case, Outcome, Test, host};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "run/returns-the-status",
        platforms: Any,
        section: "engines, run",
        says: "run ends with the program's status, prints its output, and removes the container.",
        run: |t| {
            let run = foreground(t, t.bundle()?.acts(&["echo", "out", ";", "exit", "9"]), &[])?
                .run()?
                .status(9)?;
            same!(run.out, "out\n", "the output");
            t.nothing_left()
        },
    },
    Case {
        name: "run/status-of-a-signal",
        platforms: Any,
        section: "engines, run",
        says: "run ends with 128 and the signal that killed the program.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
            let process = t.call(&["run", "--bundle", &dir, &id]).spawn()?;
            process.await_out("ready")?;
            t.call(&["kill", &id, "KILL"]).run()?.ok()?;
            process.wait(patience())?.status(137)?;
            t.nothing_left()
        },
    },
    Case {
        name: "run/standard-input",
        platforms: Any,
        section: "engines, run",
        says: "run passes its standard input on to its end.",
        run: |t| {
            let text = "line\n".repeat(50_000);
            let run = foreground(t, t.bundle()?.acts(&["cat"]), &[])?
                .stdin_text(&text)?
                .run()?
                .ok()?;
            same!(run.out.len(), text.len(), "the number of bytes");
            Ok(())
        },
    },
    Case {
        name: "run/forwards-signals",
        platforms: Any,
        section: "engines, run",
        says: "run forwards the signals that it gets to the program.",
        run: |t| {
            let process = foreground(t, t.bundle()?.acts(&["trap", "2"]), &[])?.spawn()?;
            process.await_out("ready")?;
            process.signal(Signal::SIGUSR1)?;
            process.await_out("got SIGUSR1")?;
            process.signal(Signal::SIGTERM)?;
            process.await_out("got SIGTERM")?;
            process.wait(patience())?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "run/keep",
        platforms: Any,
        section: "robustness, run",
        says: "run --keep leaves the stopped container to be deleted.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["exit", "0"]);
            bundle.write()?;
            let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
            t.call(&["run", "--keep", "--bundle", &dir, &id])
                .run()?
                .ok()?;
            let run = t.call(&["state", &id]).run()?.ok()?;
            check!(run.out.contains("\"stopped\""), "{}", run.out);
            t.call(&["delete", &id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "run/detach",
        platforms: Any,
        section: "engines, run",
        says: "run --detach returns while the program runs.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
            let pid_file = t.fresh("pid");
            let file = pid_file.to_string_lossy();
            let run = t
                .call(&["run", "-d", "--bundle", &dir, "--pid-file", &file, &id])
                .run()?
                .ok()?;
            let c = crate::harness::Container::made(t, id, &pid_file, &run)?;
            c.await_output("ready")?;
            c.is("running")
        },
    },
    Case {
        name: "run/missing-program-leaves-nothing",
        platforms: Any,
        section: "robustness, wrong input",
        says: "run of a program that does not exist fails and leaves nothing.",
        run: |t| {
            let bundle = t.bundle()?.set("/process/args", json!(["/no/such"]));
            let run = foreground(t, bundle, &[])?.run()?.fails()?;
            check!(
                run.err.to_lowercase().contains("no such file or directory"),
                "{:?}",
                run.err
            );
            t.nothing_left()
        },
    },
    Case {
        name: "run/ends-with-its-daemons-left",
        platforms: Any,
        section: "robustness, run",
        says: "run ends with the first program, and nothing of its daemons is left.",
        run: |t| {
            let bundle = t
                .bundle()?
                .acts(&["daemon", ";", "exit", "4"])
                .without_namespace("pid");
            foreground(t, bundle, &[])?.run()?.status(4)?;
            t.nothing_left()
        },
    },
    Case {
        name: "list/quiet",
        platforms: Any,
        section: "engines, list",
        says: "list -q prints the ids, one a line.",
        run: |t| {
            let (a, b) = (t.running()?, t.create(&t.waiting()?)?);
            let out = t.call(&["list", "-q"]).run()?.ok()?.out;
            let mut ids: Vec<&str> = out.lines().collect();
            ids.sort_unstable();
            let mut wanted = vec![a.id.as_str(), b.id.as_str()];
            wanted.sort_unstable();
            same!(ids, wanted, "the ids");
            Ok(())
        },
    },
    Case {
        name: "list/json",
        platforms: Any,
        section: "engines, containerd",
        says: "list --format=json prints an array of states.",
        run: |t| {
            let c = t.running()?;
            let run = t.call(&["list", "--format=json"]).run()?.ok()?;
            let all: Value = serde_json::from_str(&run.out)?;
            same!(
                all.as_array().map(Vec::len),
                Some(1),
                "the number of containers"
            );
            same!(all[0]["id"], json!(c.id), "id");
            same!(all[0]["pid"], json!(c.pid), "pid");
            same!(all[0]["status"], json!("running"), "status");
            check!(
                all[0]["bundle"].is_string() && all[0]["created"].is_string(),
                "{}",
                all[0]
            );
            Ok(())
        },
    },
    Case {
        name: "list/json-of-none",
        platforms: Any,
        section: "engines, containerd",
        says: "list --format=json without containers prints an empty array or null, and no error.",
        run: |t| {
            let run = t.call(&["list", "--format=json"]).run()?.ok()?;
            let all: Value = serde_json::from_str(&run.out)?;
            check!(all.is_null() || all == json!([]), "{all}");
            same!(run.err, "", "standard error");
            Ok(())
        },
    },
    Case {
        name: "list/table",
        platforms: Any,
        section: "engines, list",
        says: "list prints a table with a heading, and a line for each container.",
        run: |t| {
            let c = t.running()?;
            let out = t.call(&["list"]).run()?.ok()?.out;
            let lines: Vec<&str> = out.lines().collect();
            same!(lines.len(), 2, "the number of lines");
            check!(
                lines[0].contains("PID") && lines[0].contains("STATUS"),
                "the heading is {:?}",
                lines[0]
            );
            check!(
                lines[1].starts_with(&c.id) && lines[1].contains("running"),
                "{:?}",
                lines[1]
            );
            Ok(())
        },
    },
    Case {
        name: "list/skips-what-is-no-container",
        platforms: Any,
        section: "robustness, state files",
        says: "A foreign file or directory in the state directory does not break list.",
        run: |t| {
            let c = t.running()?;
            std::fs::write(t.state_root().join(".foreign"), "x")?;
            std::fs::create_dir(t.state_root().join(".directory"))?;
            let all: Value =
                serde_json::from_str(&t.call(&["list", "--format=json"]).run()?.ok()?.out)?;
            same!(
                all.as_array().map(Vec::len),
                Some(1),
                "the number of containers"
            );
            c.is("running")
        },
    },
    Case {
        name: "ps/json",
        platforms: Any,
        section: "engines, containerd",
        says: "ps --format json prints an array with the host's pid of every process.",
        run: |t| {
            let c = t.ready(
                &t.bundle()?
                    .acts(&["spawn", "2", ";", "daemon", ";", "wait"]),
            )?;
            let run = t.call(&["ps", "--format", "json", &c.id]).run()?.ok()?;
            let mut pids: Vec<i32> = serde_json::from_str(&run.out)?;
            pids.sort_unstable();
            let mut wanted: Vec<i32> = host::processes_of(&t.mark)
                .iter()
                .map(|(pid, _)| *pid)
                .collect();
            wanted.sort_unstable();
            same!(pids, wanted, "the processes");
            Ok(())
        },
    },
    Case {
        name: "ps/table",
        platforms: Any,
        section: "engines, ps",
        says: "ps prints a heading and a line for each process.",
        run: |t| {
            let c = t.running()?;
            let out = t.call(&["ps", &c.id]).run()?.ok()?.out;
            check!(
                out.lines().next().is_some_and(|line| line.contains("PID")),
                "{out:?}"
            );
            check!(
                out.lines()
                    .skip(1)
                    .any(|line| line.contains(&c.pid.to_string())),
                "{out:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "features/json",
        platforms: Any,
        section: "engines, containerd",
        says: "features prints JSON with the versions and the hooks, and mount options if any.",
        run: |t| {
            t.needs_command("features")?;
            let run = t.call(&["features"]).run()?.ok()?;
            let all: Value = serde_json::from_str(&run.out)?;
            check!(
                all["ociVersionMin"]
                    .as_str()
                    .is_some_and(|v| v.starts_with("1.")),
                "ociVersionMin: {all}"
            );
            check!(
                all["ociVersionMax"]
                    .as_str()
                    .is_some_and(|v| v.starts_with("1.")),
                "ociVersionMax: {all}"
            );
            let hooks: Vec<String> = serde_json::from_value(all["hooks"].clone())?;
            for hook in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                check!(
                    hooks.iter().any(|h| h == hook),
                    "{hook} is missing: {hooks:?}"
                );
            }
            check!(
                all["mountOptions"].is_null()
                    || all["mountOptions"]
                        .as_array()
                        .is_some_and(|o| !o.is_empty()),
                "mountOptions: {all}"
            );
            same!(run.err, "", "standard error");
            Ok(())
        },
    },
    Case {
        name: "features/linux",
        platforms: Linux,
        section: "engines, containerd",
        says: "features names the namespaces, capabilities, cgroup and seccomp support.",
        run: |t| {
            t.needs_command("features")?;
            let all: Value = serde_json::from_str(&t.call(&["features"]).run()?.ok()?.out)?;
            let linux = &all["linux"];
            let namespaces = linux["namespaces"].to_string();
            for kind in ["mount", "pid", "network", "ipc", "uts", "user", "cgroup"] {
                check!(namespaces.contains(kind), "{kind} is missing: {namespaces}");
            }
            check!(
                linux["capabilities"].to_string().contains("CAP_CHOWN"),
                "capabilities: {linux}"
            );
            check!(linux["cgroup"]["v1"].is_boolean(), "cgroup: {linux}");
            check!(linux["seccomp"]["enabled"].is_boolean(), "seccomp: {linux}");
            Ok(())
        },
    },
    Case {
        name: "spec/is-accepted-by-create",
        platforms: Any,
        section: "engines, spec",
        says: "spec writes a configuration that create accepts.",
        run: |t| {
            let bundle = t.bundle()?;
            t.call(&["spec"]).cwd(&bundle.dir).run()?.ok()?;
            let file = bundle.dir.join("config.json");
            let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
            config["process"]["args"] = json!(["/bin/probe", "echo", "from spec"]);
            config["process"]["terminal"] = json!(false);
            let bundle = Bundle { config, ..bundle };
            same!(t.output(&bundle)?, "from spec\n", "the output");
            Ok(())
        },
    },
    Case {
        name: "spec/does-not-overwrite",
        platforms: Any,
        section: "engines, spec",
        says: "spec does not overwrite a config.json that exists.",
        run: |t| {
            let dir = t.host_dir()?;
            std::fs::write(dir.join("config.json"), "mine")?;
            t.call(&["spec"]).cwd(&dir).run()?.fails()?;
            same!(
                std::fs::read_to_string(dir.join("config.json"))?,
                "mine",
                "the file"
            );
            Ok(())
        },
    },
    Case {
        name: "version/names-the-specification",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "--version prints the name, the version and the specification's version, and ends with 0.",
        run: |t| {
            let run = t.call(&["--version"]).run()?.ok()?;
            check!(
                run.out.contains("version ") && run.out.contains("spec: 1."),
                "{:?}",
                run.out
            );
            Ok(())
        },
    },
    Case {
        name: "checkpoint/is-not-there",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "checkpoint --help fails where there is no checkpoint, which is how podman asks, and else prints its usage.",
        run: |t| {
            let run = t.call(&["checkpoint", "--help"]).run()?;
            // Where there is one, it says how to use it.
            check!(
                run.code != 0 || run.out.contains("checkpoint"),
                "it succeeds and prints {:?}",
                run.out
            );
            Ok(())
        },
    },
    Case {
        name: "events/stats",
        platforms: Any,
        section: "engines, containerd",
        says: "events --stats prints one JSON object with type, id and data, and ends.",
        run: |t| {
            t.needs_command("events")?;
            let c = t.running()?;
            let run = t.call(&["events", "--stats", &c.id]).run()?.ok()?;
            let object: Value = serde_json::from_str(&run.out)?;
            same!(object["type"], json!("stats"), "type");
            same!(object["id"], json!(c.id), "id");
            for part in ["cpu", "memory", "pids"] {
                check!(
                    object["data"][part].is_object(),
                    "data.{part} is missing: {object}"
                );
            }
            Ok(())
        },
    },
    Case {
        name: "events/ends-with-the-container",
        platforms: Any,
        section: "robustness, events",
        says: "events prints statistics at each interval and ends when the container does.",
        run: |t| {
            t.needs_command("events")?;
            let c = t.running()?;
            let process = t.call(&["events", "--interval", "1s", &c.id]).spawn()?;
            process.await_out("\"stats\"")?;
            c.stop()?;
            process.wait(patience())?;
            Ok(())
        },
    },
    Case {
        name: "events/of-stopped-fails",
        platforms: Any,
        section: "engines, containerd",
        says: "events --stats of a stopped container fails.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            t.call(&["events", "--stats", &c.id]).run()?.fails()?;
            Ok(())
        },
    },
];

/// The runtime's `run` of a bundle, in the foreground.
fn foreground<'t>(t: &'t Test<'t>, bundle: Bundle, flags: &[&str]) -> Outcome<Call<'t>> {
    bundle.write()?;
    let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
    let mut words = vec!["run"];
    words.extend(flags);
    words.extend(["--bundle", &dir, &id]);
    Ok(t.call(&words))
}
