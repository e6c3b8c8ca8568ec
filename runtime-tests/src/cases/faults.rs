//! What wrong input gets: one line that says what is wrong, status 1, and a
//! host on which nothing is left.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Bundle, Case, Outcome, Test};
use crate::{check, same};

const TABLE: &str = "robustness, wrong input";

pub const CASES: &[Case] = &[
    Case {
        name: "faults/not-json",
        platforms: Any,
        section: TABLE,
        says: "A config.json that is not JSON is named.",
        run: |t| {
            let bundle = t.bundle()?;
            raw(t, &bundle, "{\"ociVersion\": ", &["config.json"])
        },
    },
    Case {
        name: "faults/empty-config",
        platforms: Any,
        section: TABLE,
        says: "An empty config.json is named.",
        run: |t| raw(t, &t.bundle()?, "", &["config.json"]),
    },
    Case {
        name: "faults/json-but-no-object",
        platforms: Any,
        section: TABLE,
        says: "A config.json that is an array is named.",
        run: |t| raw(t, &t.bundle()?, "[]", &["config.json"]),
    },
    Case {
        name: "faults/no-config",
        platforms: Any,
        section: TABLE,
        says: "A missing config.json is named.",
        run: |t| {
            let bundle = t.bundle()?;
            let id = t.id();
            let run = t
                .call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &id])
                .run()?;
            run.one_line(&["config.json"])?.no_exec_phrase()?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/no-bundle",
        platforms: Any,
        section: TABLE,
        says: "A bundle that does not exist is named.",
        run: |t| {
            let missing = t.fresh("missing");
            let missing = missing.to_string_lossy();
            let run = t.call(&["create", "--bundle", &missing, &t.id()]).run()?;
            run.one_line(&[&missing])?.no_exec_phrase()?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/wrong-type",
        platforms: Any,
        section: TABLE,
        says: "A property of a wrong type is named by its path.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/process/cwd", json!(7)),
                &["process.cwd"],
            )
        },
    },
    Case {
        name: "faults/wrong-type-in-an-array",
        platforms: Any,
        section: TABLE,
        says: "An array's element of a wrong type is named by its path.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/process/args", json!(["/bin/probe", 7])),
                &["process.args[1]"],
            )
        },
    },
    Case {
        name: "faults/no-version",
        platforms: Any,
        section: TABLE,
        says: "A missing ociVersion is named.",
        run: |t| wrong(t, t.bundle()?.unset("/ociVersion"), &["ociVersion"]),
    },
    Case {
        name: "faults/version-2",
        platforms: Any,
        section: TABLE,
        says: "ociVersion 2.0.0 is refused.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/ociVersion", json!("2.0.0")),
                &["ociVersion", "2.0.0"],
            )
        },
    },
    Case {
        name: "faults/version-no-semver",
        platforms: Any,
        section: TABLE,
        says: "An ociVersion that is not a version is refused.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/ociVersion", json!("latest")),
                &["ociVersion", "latest"],
            )
        },
    },
    Case {
        name: "faults/every-1.x-is-accepted",
        platforms: Any,
        section: "engines, versions",
        says: "Every ociVersion 1.x is accepted.",
        run: |t| {
            for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.99.0"] {
                let bundle = t
                    .bundle()?
                    .set("/ociVersion", json!(version))
                    .acts(&["echo", version]);
                same!(t.output(&bundle)?, format!("{version}\n"), version);
            }
            Ok(())
        },
    },
    Case {
        name: "faults/no-root",
        platforms: Any,
        section: TABLE,
        says: "A missing root is named.",
        run: |t| wrong(t, t.bundle()?.unset("/root"), &["root"]),
    },
    Case {
        name: "faults/rootfs-missing",
        platforms: Any,
        section: TABLE,
        says: "A root file system that does not exist is named.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/root/path", json!("no-such-root")),
                &["no-such-root"],
            )
        },
    },
    Case {
        name: "faults/rootfs-is-a-file",
        platforms: Any,
        section: TABLE,
        says: "A root file system that is a file is named.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.set("/root/path", json!("config.json")),
                &["config.json"],
            )
        },
    },
    Case {
        name: "faults/no-process",
        platforms: Any,
        section: "config.md, Process",
        says: "A container without process fails at create or at start, with process in the error.",
        run: |t| {
            let (call, id, _) = t.create_call(&t.bundle()?.unset("/process"), &[])?;
            let mut run = call.run()?;
            if run.code == 0 {
                run = t.call(&["start", &id]).run()?;
            }
            run.one_line(&["process"])?.no_exec_phrase()?;
            t.call(&["delete", "--force", &id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/no-args",
        platforms: Any,
        section: TABLE,
        says: "Missing process.args are named.",
        run: |t| wrong(t, t.bundle()?.unset("/process/args"), &["args"]),
    },
    Case {
        name: "faults/empty-args",
        platforms: Any,
        section: "config.md, Process",
        says: "Empty process.args are refused.",
        run: |t| wrong(t, t.bundle()?.set("/process/args", json!([])), &["args"]),
    },
    Case {
        name: "faults/relative-cwd",
        platforms: Any,
        section: "config.md, Process",
        says: "A process.cwd that is not absolute is refused.",
        run: |t| wrong(t, t.bundle()?.set("/process/cwd", json!("tmp")), &["cwd"]),
    },
    Case {
        name: "faults/relative-hook",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "A hook's path that is not absolute is refused.",
        run: |t| {
            wrong(
                t,
                t.bundle()?.hook("createRuntime", json!({"path": "bin/x"})),
                &["path"],
            )
        },
    },
    Case {
        name: "faults/negative-hook-timeout",
        platforms: Any,
        section: "config.md, POSIX-platform Hooks",
        says: "A hook's timeout that is not above zero is refused.",
        run: |t| {
            let hook = json!({"path": t.suite.probe, "args": ["probe", "exit", "0"], "timeout": 0});
            wrong(t, t.bundle()?.hook("createRuntime", hook), &["timeout"])
        },
    },
    Case {
        name: "faults/nul-byte",
        platforms: Any,
        section: TABLE,
        says: "A string with a NUL byte is refused.",
        run: |t| {
            wrong(
                t,
                t.bundle()?
                    .set("/process/args", json!(["/bin/probe", "a\u{0}b"])),
                &["args"],
            )
        },
    },
    Case {
        name: "faults/bad-ids",
        platforms: Any,
        section: TABLE,
        says: "Ids with a slash, of dots, with spaces, or empty are refused, and nothing is made anywhere.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let dir = bundle.dir.to_string_lossy();
            for id in ["", ".", "..", "a/b", "../up", "a b", "a\nb", "ä", "a:b"] {
                let run = t.call(&["create", "--bundle", &dir, id]).run()?;
                run.one_line(&[])
                    .map_err(|stop| format!("{id:?}: {stop:?}"))?;
            }
            check!(
                !t.dir.join("up").exists(),
                "something was made beside the state directory"
            );
            t.nothing_left()
        },
    },
    Case {
        name: "faults/long-ids",
        platforms: Any,
        section: "hostile, limits",
        says: "An id of 64 bytes works, and one of 5000 is refused.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let dir = bundle.dir.to_string_lossy();
            let id = format!("{}{}", t.mark, "x".repeat(64 - t.mark.len()));
            t.owns(&id);
            t.call(&["create", "--bundle", &dir, &id]).run()?.ok()?;
            t.call(&["delete", "--force", &id]).run()?.ok()?;
            t.call(&["create", "--bundle", &dir, &"y".repeat(5000)])
                .run()?
                .fails()?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/odd-but-good-ids",
        platforms: Any,
        section: "engines, podman and buildah on FreeBSD",
        says: "Ids with dots, of digits only, and with + - _ work.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let dir = bundle.dir.to_string_lossy();
            let digits = t
                .mark
                .bytes()
                .map(|b| (b'0' + b % 10) as char)
                .collect::<String>();
            for id in [format!("{}.a.b", t.mark), digits, format!("{}_+-", t.mark)] {
                t.owns(&id);
                t.call(&["create", "--bundle", &dir, &id]).run()?.ok()?;
                t.call(&["start", &id]).run()?.ok()?;
                let run = t.call(&["state", &id]).run()?.ok()?;
                let state: Value = serde_json::from_str(&run.out)?;
                same!(state["id"], json!(id), "the id");
                t.call(&["delete", "--force", &id]).run()?.ok()?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "faults/id-in-use",
        platforms: Any,
        section: TABLE,
        says: "An id in use is named.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            let run = t
                .call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &c.id])
                .run()?;
            run.one_line(&[&c.id])?.no_exec_phrase()?;
            c.is("running")
        },
    },
    Case {
        name: "faults/unknown-signal",
        platforms: Any,
        section: TABLE,
        says: "A signal that does not exist is named.",
        run: |t| {
            let c = t.running()?;
            for signal in ["NOSUCH", "SIGNOSUCH", "999", "9x"] {
                c.kill(signal)?.one_line(&[signal])?.no_exec_phrase()?;
            }
            c.is("running")
        },
    },
    Case {
        name: "faults/unknown-command",
        platforms: Any,
        section: TABLE,
        says: "An unknown command is named.",
        run: |t| {
            t.call(&["dance"]).run()?.one_line(&["dance"])?;
            Ok(())
        },
    },
    Case {
        name: "faults/unknown-flag",
        platforms: Any,
        section: TABLE,
        says: "An unknown flag is named.",
        run: |t| {
            t.call(&["create", "--no-such-flag", "x"])
                .run()?
                .one_line(&["--no-such-flag"])?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/missing-argument",
        platforms: Any,
        section: TABLE,
        says: "A command without its id fails.",
        run: |t| {
            for command in ["create", "start", "state", "kill", "delete"] {
                t.call(&[command]).run()?.one_line(&[])?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "faults/mount-through-a-link",
        platforms: Any,
        section: TABLE,
        says: "A mount over a link that leads out of the root never reaches the host.",
        run: |t| {
            let victim = t.host_dir()?;
            let bundle = t
                .bundle()?
                .link("/out", &victim.to_string_lossy())?
                .tmpfs("/out", &[]);
            let (call, id, _) = t.create_call(&bundle.acts(&["wait"]), &[])?;
            let run = call.run()?;
            if run.code == 0 {
                t.call(&["start", &id]).run()?.ok()?;
                let run = t
                    .call(&["exec", &id, "/bin/probe", "write", "/out/x", "y"])
                    .run()?;
                drop(run);
            }
            same!(
                fs::read_dir(&victim)?.count(),
                0,
                "the number of files in the host's directory"
            );
            t.call(&["delete", "--force", &id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "faults/log-is-one-json-object",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "With --log-format json a fault is one object with level, msg and time in the log.",
        run: |t| {
            let log = t.fresh("log");
            let bundle = t.bundle()?.mount(json!({
                "destination": "/mnt", "type": "nosuchfs", "source": "none",
            }));
            let (call, _, _) = t.create_call(&bundle, &[])?;
            call.global(&["--log", &log.to_string_lossy(), "--log-format", "json"])
                .run()?
                .fails()?;
            one_record(&log, "")
        },
    },
    Case {
        name: "faults/log-with-warnings-is-one-json-object",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A warning before the fault does not make the log two objects.",
        run: |t| {
            let log = t.fresh("log");
            let bundle = t
                .bundle()?
                .set("/noSuchProperty", json!(1))
                .set("/process/args", json!(["/no/such"]));
            let (call, id, _) = t.create_call(&bundle, &[])?;
            let file = log.to_string_lossy();
            let flags = ["--log", &file, "--log-format", "json"];
            let run = call.global(&flags).run()?;
            if run.code == 0 {
                t.call(&["start", &id]).global(&flags).run()?.fails()?;
            }
            one_record(&log, "no such file or directory")
        },
    },
    Case {
        name: "faults/log-of-a-wrong-flag",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A fault on the command line is logged, too.",
        run: |t| {
            let log = t.fresh("log");
            let flags = ["--log", &log.to_string_lossy(), "--log-format", "json"];
            t.call(&["create", "--no-such-flag", "x"])
                .global(&flags)
                .run()?
                .fails()?;
            one_record(&log, "no-such-flag")
        },
    },
    Case {
        name: "faults/error-is-one-write",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "An error is one line, even when it is long.",
        run: |t| {
            let long = format!("/{}", "n".repeat(3000));
            let run = t.refused(
                &t.bundle()?.bind(std::path::Path::new(&long), "/mnt", &[]),
                &[],
            )?;
            check!(
                run.err.len() < 8192,
                "it has {} bytes; conmon reads 8191",
                run.err.len()
            );
            run.one_line(&[])?;
            Ok(())
        },
    },
    Case {
        name: "faults/user-namespace-without-mappings",
        platforms: Linux,
        section: TABLE,
        says: "A user namespace without mappings is named.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/linux/namespaces/-", json!({"type": "user"}));
            wrong(t, bundle, &["Mappings"])
        },
    },
    Case {
        name: "faults/edge-numbers",
        platforms: Any,
        section: "hostile, limits",
        says: "Numbers at the edges of their types are an error or work, and never crash.",
        run: |t| {
            let edges = [
                ("/process/user/uid", json!(-1)),
                ("/process/user/uid", json!(4_294_967_296_u64)),
                ("/process/user/gid", json!(1.5)),
                ("/process/user/umask", json!(4_294_967_295_u64)),
                (
                    "/process/rlimits",
                    json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
                ),
                (
                    "/process/rlimits",
                    json!([{"type": "RLIMIT_NOFILE", "soft": -5, "hard": 1}]),
                ),
                ("/process/oomScoreAdj", json!(99_999)),
                ("/process/consoleSize", json!({"height": -1, "width": 3})),
            ];
            for (pointer, value) in edges {
                let (call, id, _) =
                    t.create_call(&t.waiting()?.set(pointer, value.clone()), &[])?;
                let run = call.run()?;
                check!(
                    run.code < 2,
                    "{pointer} = {value}: status {}: {}",
                    run.code,
                    run.err
                );
                check!(
                    !run.err.contains("panic"),
                    "{pointer} = {value}: {}",
                    run.err
                );
                t.call(&["delete", "--force", &id]).run()?.ok()?;
                t.nothing_left()?;
            }
            Ok(())
        },
    },
];

/// A configuration that must be refused in one line with these words in it.
fn wrong(t: &Test, bundle: Bundle, words: &[&str]) -> Outcome {
    t.refused(&bundle, &[])?.one_line(words)?.no_exec_phrase()?;
    Ok(())
}

/// As [`wrong`], with these bytes as config.json.
fn raw(t: &Test, bundle: &Bundle, text: &str, words: &[&str]) -> Outcome {
    fs::write(bundle.dir.join("config.json"), text)?;
    let run = t
        .call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &t.id()])
        .run()?;
    run.one_line(words)?.no_exec_phrase()?;
    t.nothing_left()
}

fn one_record(log: &std::path::Path, text: &str) -> Outcome {
    let content = fs::read_to_string(log)?;
    let record: Value = serde_json::from_str(&content)
        .map_err(|e| format!("the log is not one object: {e}: {content:?}"))?;
    same!(record["level"], json!("error"), "level");
    // podman looks for its phrases in either case.
    let message = record["msg"].as_str().unwrap_or_default().to_lowercase();
    check!(
        !message.is_empty() && message.contains(text),
        "msg: {record}"
    );
    let time = record["time"].as_str().unwrap_or_default();
    check!(
        time.len() >= 20 && time.as_bytes()[10] == b'T',
        "time is not RFC 3339: {time:?}"
    );
    Ok(())
}
