//! The process object: what the program finds itself with.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Case, Container, Outcome};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "process/args",
        platforms: Any,
        section: "config.md, Process",
        says: "args is the program's argv, word for word.",
        run: |t| {
            let words = ["report", ";", "echo", "", "a b", "$x", "ä", "\"", "\\n"];
            let output = t.output(&t.bundle()?.acts(&words))?;
            let report: Value = serde_json::from_str(output.lines().next().unwrap_or_default())?;
            let mut wanted = vec!["/bin/probe"];
            wanted.extend(words);
            same!(report["args"], json!(wanted), "argv");
            Ok(())
        },
    },
    Case {
        name: "process/args-found-in-path",
        platforms: Any,
        section: "config.md, Process",
        says: "A program without a slash is found by the PATH of process.env, as execvp does.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/process/args", json!(["probe", "echo", "found"]));
            same!(t.output(&bundle)?, "found\n", "the output");
            Ok(())
        },
    },
    Case {
        name: "process/env",
        platforms: Any,
        section: "config.md, Process",
        says: "env is the program's environment, and the runtime's own is not in it.",
        run: |t| {
            let bundle = t.bundle()?.env("A=1").env("B=b=c").env("EMPTY=");
            let c = t.create_with(&bundle, &[], |call| call.env("RUNTIME_SECRET", "1"))?;
            c.start()?;
            c.await_status("stopped")?;
            let report: Value = serde_json::from_str(&c.output())?;
            let env: Vec<String> = serde_json::from_value(report["env"].clone())?;
            for entry in ["A=1", "B=b=c", "EMPTY=", "PATH=/bin"] {
                check!(
                    env.iter().any(|e| e == entry),
                    "{entry} is missing: {env:?}"
                );
            }
            check!(
                !env.iter().any(|e| e.starts_with("RUNTIME_SECRET")),
                "the runtime's own is there: {env:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "process/env-large",
        platforms: Any,
        section: "config.md, Process",
        says: "An environment of 100 KiB arrives whole.",
        run: |t| {
            let mut bundle = t.bundle()?;
            for i in 0..100 {
                bundle = bundle.env(&format!("V{i}={}", "x".repeat(1000)));
            }
            let env = t.report(&bundle)?["env"].as_array().map_or(0, Vec::len);
            check!(env >= 102, "{env} entries arrived");
            Ok(())
        },
    },
    Case {
        name: "process/cwd",
        platforms: Any,
        section: "config.md, Process",
        says: "cwd is the program's working directory.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/process/cwd", json!("/home/alice")))?;
            same!(report["cwd"], json!("/home/alice"), "the working directory");
            Ok(())
        },
    },
    Case {
        name: "process/cwd-is-made",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A working directory that does not exist is made, as runc does.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/process/cwd", json!("/new/deep")))?;
            same!(report["cwd"], json!("/new/deep"), "the working directory");
            Ok(())
        },
    },
    Case {
        name: "process/user",
        platforms: Any,
        section: "config.md, POSIX-platform User",
        says: "uid and gid are the program's, real and effective.",
        run: |t| {
            let report = t.report(
                &t.bundle()?
                    .set("/process/user", json!({"uid": 1000, "gid": 1001})),
            )?;
            for (name, wanted) in [("uid", 1000), ("euid", 1000), ("gid", 1001), ("egid", 1001)] {
                same!(report[name], json!(wanted), name);
            }
            Ok(())
        },
    },
    Case {
        name: "process/no-groups-of-the-host",
        platforms: Any,
        section: "config.md, POSIX-platform User",
        says: "Without additionalGids there are no further groups than gid.",
        run: |t| {
            let report = t.report(
                &t.bundle()?
                    .set("/process/user", json!({"uid": 1000, "gid": 1001})),
            )?;
            let groups: Vec<u32> = serde_json::from_value(report["groups"].clone())?;
            check!(groups.iter().all(|gid| *gid == 1001), "groups {groups:?}");
            Ok(())
        },
    },
    Case {
        name: "process/additional-gids",
        platforms: Any,
        section: "config.md, POSIX-platform User",
        says: "additionalGids are the program's further groups.",
        run: |t| {
            let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 44, 70_000]});
            let report = t.report(&t.bundle()?.set("/process/user", user))?;
            let mut groups: Vec<u32> = serde_json::from_value(report["groups"].clone())?;
            groups.retain(|gid| *gid != 1001);
            groups.sort_unstable();
            same!(groups, vec![5, 44, 70_000], "the groups");
            Ok(())
        },
    },
    Case {
        name: "process/umask",
        platforms: Any,
        section: "config.md, POSIX-platform User",
        says: "umask is the program's file mode creation mask.",
        run: |t| {
            let user = json!({"uid": 0, "gid": 0, "umask": 0o027});
            let bundle = t
                .bundle()?
                .set("/process/user", user)
                .acts(&["report", ";", "write", "/made", "x"]);
            let output = t.output(&bundle)?;
            let report: Value = serde_json::from_str(output.trim())?;
            same!(report["umask"], json!(0o027), "the mask");
            let mode = std::fs::metadata(bundle.root().join("made"))?
                .permissions()
                .mode()
                & 0o777;
            same!(format!("{mode:o}"), "640", "the mode of a new file");
            Ok(())
        },
    },
    Case {
        name: "process/umask-not-inherited-oddly",
        platforms: Any,
        section: "config.md, POSIX-platform User",
        says: "Without umask the program's mask is an ordinary one, not 0777 or the like.",
        run: |t| {
            let umask = t.report(&t.bundle()?)?["umask"]
                .as_u64()
                .unwrap_or(u64::MAX);
            check!(umask & 0o700 == 0, "the mask is {umask:o}");
            Ok(())
        },
    },
    Case {
        name: "process/rlimits",
        platforms: Any,
        section: "config.md, POSIX process",
        says: "rlimits are the program's soft and hard limits.",
        run: |t| {
            let limits = json!([
                {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 600},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": 2_000_000},
            ]);
            let report = t.report(&t.bundle()?.set("/process/rlimits", limits))?;
            let limits = &report["rlimits"];
            same!(
                limits["RLIMIT_NOFILE"],
                json!({"soft": 512, "hard": 600}),
                "RLIMIT_NOFILE"
            );
            same!(
                limits["RLIMIT_CORE"],
                json!({"soft": 0, "hard": 0}),
                "RLIMIT_CORE"
            );
            same!(
                limits["RLIMIT_FSIZE"],
                json!({"soft": 1_000_000, "hard": 2_000_000}),
                "RLIMIT_FSIZE"
            );
            Ok(())
        },
    },
    Case {
        name: "process/rlimit-unknown-is-refused",
        platforms: Any,
        section: "config.md, POSIX process",
        says: "An rlimit type that the platform does not have is an error.",
        run: |t| {
            let limits = json!([{"type": "RLIMIT_NO_SUCH", "soft": 1, "hard": 1}]);
            t.refused(&t.bundle()?.set("/process/rlimits", limits), &[])?;
            Ok(())
        },
    },
    Case {
        name: "process/rlimit-twice-is-refused",
        platforms: Any,
        section: "config.md, POSIX process",
        says: "Two rlimits of the same type are an error.",
        run: |t| {
            let limit = json!({"type": "RLIMIT_NOFILE", "soft": 512, "hard": 600});
            t.refused(
                &t.bundle()?.set("/process/rlimits", json!([limit, limit])),
                &[],
            )?;
            Ok(())
        },
    },
    Case {
        name: "process/no-new-privileges-set",
        platforms: Any,
        section: "config.md, Linux Process",
        says: "noNewPrivileges true keeps the program from gaining privileges.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/process/noNewPrivileges", json!(true)))?;
            same!(report["noNewPrivs"], json!(true), "no_new_privs");
            Ok(())
        },
    },
    Case {
        name: "process/no-new-privileges-clear",
        platforms: Any,
        section: "config.md, Linux Process",
        says: "noNewPrivileges false leaves it unset.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/process/noNewPrivileges", json!(false)))?;
            same!(report["noNewPrivs"], json!(false), "no_new_privs");
            Ok(())
        },
    },
    Case {
        name: "process/oom-score-adj",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "oomScoreAdj is the program's.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/process/oomScoreAdj", json!(321)))?;
            same!(report["oomScoreAdj"], json!(321), "oom_score_adj");
            Ok(())
        },
    },
    Case {
        name: "process/oom-score-adj-absent",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "Without oomScoreAdj the value of the runtime's caller is left.",
        run: |t| {
            let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
            let report = t.report(&t.bundle()?)?;
            same!(
                report["oomScoreAdj"].to_string(),
                own.trim(),
                "oom_score_adj"
            );
            Ok(())
        },
    },
    Case {
        name: "process/capability-sets",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "Each capability set holds what is listed and nothing else.",
        run: |t| {
            let sets = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"],
                "ambient": [],
            });
            let report = t.report(&t.bundle()?.set("/process/capabilities", sets))?;
            // An exec by root fills permitted and effective up from bounding.
            capabilities(&report, "CapBnd", &[0, 5, 18])?;
            capabilities(&report, "CapInh", &[5])?;
            capabilities(&report, "CapAmb", &[])
        },
    },
    Case {
        name: "process/capabilities-of-a-user",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "A user other than root gets the ambient set, and no other capability.",
        run: |t| {
            let sets = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
            });
            let bundle = t.bundle()?.set("/process/capabilities", sets);
            let report =
                t.report(&bundle.set("/process/user", json!({"uid": 1000, "gid": 1001})))?;
            for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                capabilities(&report, set, &[5])?;
            }
            capabilities(&report, "CapBnd", &[0, 5])
        },
    },
    Case {
        name: "process/no-capabilities",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "Empty sets leave root without any capability.",
        run: |t| {
            let sets = json!({
                "bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": [],
            });
            let bundle = t.bundle()?.set("/process/capabilities", sets);
            let bundle = bundle.acts(&["report", ";", "try", "chown", "/etc/passwd", "5"]);
            let output = t.output(&bundle)?;
            let mut lines = output.lines();
            let report: Value = serde_json::from_str(lines.next().unwrap_or_default())?;
            capabilities(&report, "CapBnd", &[])?;
            capabilities(&report, "CapEff", &[])?;
            same!(lines.next(), Some("EPERM"), "chown(2) without CAP_CHOWN");
            Ok(())
        },
    },
    Case {
        name: "process/unknown-capability-is-a-warning",
        platforms: Linux,
        section: "config.md, Linux Process",
        says: "A capability that cannot be granted must not fail create.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/process/capabilities/bounding/-", json!("CAP_NO_SUCH"));
            t.report(&bundle)?;
            Ok(())
        },
    },
    Case {
        name: "process/session",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "The program leads a session of its own.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            same!(report["sid"], report["pid"], "the session");
            Ok(())
        },
    },
    Case {
        name: "process/first-in-its-pid-namespace",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "In a new pid namespace the program is process 1 without a visible parent.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            same!(report["pid"], json!(1), "the pid");
            same!(report["ppid"], json!(0), "the parent");
            Ok(())
        },
    },
    Case {
        name: "process/signals-are-default",
        platforms: Linux,
        section: "config.md, Process",
        says: "The program starts with no signal blocked or ignored.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            same!(
                report["status"]["SigBlk"],
                json!("0000000000000000"),
                "blocked signals"
            );
            none_ignored(&report)
        },
    },
    Case {
        name: "process/ignored-signals-are-not-inherited",
        platforms: Linux,
        section: "robustness, signals",
        says: "Signals that the runtime was started with as ignored are the default for the program.",
        run: |t| {
            let bundle = t.bundle()?;
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.ignoring_signals().run()?.ok()?;
            let c = Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            c.await_status("stopped")?;
            let report: Value = serde_json::from_str(&c.output())?;
            none_ignored(&report)
        },
    },
    Case {
        name: "process/standard-streams",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "Without a terminal the program has create's standard streams.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["cat", ";", "error", "to stderr"]);
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.stdin_text("typed")?.run()?.ok()?;
            let c = crate::harness::Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            c.await_status("stopped")?;
            same!(c.output(), "typed", "standard output");
            let err = std::fs::read_to_string(&c.err)?;
            check!(err.ends_with("to stderr\n"), "standard error: {err:?}");
            Ok(())
        },
    },
    Case {
        name: "descriptors/none-leak",
        platforms: Any,
        section: "hostile, descriptors",
        says: "The program has descriptors 0, 1 and 2 only, even when its caller leaks others.",
        run: |t| {
            let c = t.create_with(&t.bundle()?, &[], |call| {
                call.fd(null()).fd(null()).fd(null())
            })?;
            c.start()?;
            c.await_status("stopped")?;
            let report: Value = serde_json::from_str(&c.output())?;
            only_descriptors(&report, &[0, 1, 2])
        },
    },
    Case {
        name: "descriptors/preserve-fds",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "--preserve-fds N passes N descriptors from 3 on, and no more.",
        run: |t| {
            let bundle = t
                .bundle()?
                .acts(&["report", ";", "read-fd", "3", ";", "read-fd", "4"]);
            let (first, second) = (t.host_file("one")?, t.host_file("two")?);
            let c = t.create_with(&bundle, &["--preserve-fds", "2"], |call| {
                call.fd(open(&first)).fd(open(&second)).fd(null())
            })?;
            c.start()?;
            c.await_status("stopped")?;
            let output = c.output();
            let report: Value = serde_json::from_str(output.lines().next().unwrap_or_default())?;
            only_descriptors(&report, &[0, 1, 2, 3, 4])?;
            check!(
                output.ends_with("fd one\nfd two\n"),
                "what was read: {output:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "descriptors/listen-fds",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "LISTEN_FDS passes descriptors, and the program sees LISTEN_FDS and its own LISTEN_PID.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["report", ";", "read-fd", "3"]);
            let file = t.host_file("socket")?;
            let c = t.create_with(&bundle, &[], |call| call.listens(1).fd(open(&file)))?;
            c.start()?;
            c.await_status("stopped")?;
            let output = c.output();
            let report: Value = serde_json::from_str(output.lines().next().unwrap_or_default())?;
            let env: Vec<String> = serde_json::from_value(report["env"].clone())?;
            check!(
                env.iter().any(|e| e == "LISTEN_FDS=1"),
                "LISTEN_FDS is missing: {env:?}"
            );
            let pid = format!("LISTEN_PID={}", report["pid"]);
            check!(env.contains(&pid), "{pid} is missing: {env:?}");
            check!(output.ends_with("fd socket\n"), "what was read: {output:?}");
            Ok(())
        },
    },
    Case {
        name: "descriptors/preserved-but-closed-is-refused",
        platforms: Any,
        section: "robustness, wrong input",
        says: "--preserve-fds of a descriptor that is not open is an error.",
        run: |t| {
            t.refused(&t.bundle()?, &["--preserve-fds", "3"])?;
            Ok(())
        },
    },
    Case {
        name: "exec-failure/missing-program",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A program that does not exist is an error that says so, and nothing is left.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/process/args", json!(["/no/such/program"]));
            t.exec_refused(
                &bundle,
                &["no such file or directory", "executable file not found in"],
            )
        },
    },
    Case {
        name: "exec-failure/not-in-path",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A program that PATH does not have is an error that says so, and nothing is left.",
        run: |t| {
            let bundle = t.bundle()?.set("/process/args", json!(["no-such-program"]));
            t.exec_refused(
                &bundle,
                &["executable file not found in", "no such file or directory"],
            )
        },
    },
    Case {
        name: "exec-failure/not-executable",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A program that may not be executed is an error that says so, and nothing is left.",
        run: |t| {
            let bundle = t.bundle()?.file("/plain", "text", 0o644)?;
            t.exec_refused(
                &bundle.set("/process/args", json!(["/plain"])),
                &["permission denied"],
            )
        },
    },
    Case {
        name: "exec-failure/directory",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A directory as the program is an error that says so, and nothing is left.",
        run: |t| {
            let bundle = t.bundle()?.set("/process/args", json!(["/etc"]));
            t.exec_refused(&bundle, &["permission denied", "operation not permitted"])
        },
    },
    Case {
        name: "exec-failure/not-a-program",
        platforms: Any,
        section: "runtime.md, Start",
        says: "A file that the kernel cannot execute fails start with the reason, and nothing is left.",
        run: |t| {
            let bundle = t
                .bundle()?
                .file("/garbage", "\u{1}\u{2}no program", 0o755)?;
            t.exec_refused(
                &bundle.set("/process/args", json!(["/garbage"])),
                &["exec format error", "enoexec"],
            )
        },
    },
    Case {
        name: "exec-failure/missing-interpreter",
        platforms: Any,
        section: "runtime.md, Start",
        says: "A script whose interpreter is missing fails start, and nothing is left.",
        run: |t| {
            let bundle = t
                .bundle()?
                .file("/script", "#!/no/such/interpreter\n", 0o755)?;
            t.exec_refused(
                &bundle.set("/process/args", json!(["/script"])),
                &["no such file or directory"],
            )
        },
    },
];

fn capabilities(report: &Value, set: &str, wanted: &[u32]) -> Outcome {
    let text = report["status"][set].as_str().unwrap_or("?");
    let mask = u64::from_str_radix(text, 16).map_err(|e| format!("{set} {text}: {e}"))?;
    let wanted = wanted.iter().fold(0, |sum, bit| sum | 1_u64 << bit);
    same!(format!("{mask:x}"), format!("{wanted:x}"), set);
    Ok(())
}

fn only_descriptors(report: &Value, wanted: &[i64]) -> Outcome {
    let all = report["fds"].as_array().cloned().unwrap_or_default();
    let numbers: Vec<i64> = all.iter().filter_map(|fd| fd["fd"].as_i64()).collect();
    check!(
        numbers == wanted,
        "the open descriptors are {:?}, they should be {wanted:?}",
        report["fds"]
    );
    Ok(())
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null")
        .expect("every host has /dev/null")
        .into()
}

fn open(path: &std::path::Path) -> OwnedFd {
    std::fs::File::open(path)
        .expect("the file was just made")
        .into()
}

/// Checks that the program of a report ignores no signal.
fn none_ignored(report: &Value) -> Outcome {
    let ignored = report["status"]["SigIgn"].as_str().unwrap_or("?");
    let ignored = u64::from_str_radix(ignored, 16).map_err(|e| e.to_string())?;
    // Rust's own start ignores SIGPIPE (13, bit 12); those from 32 on are the C
    // libraries' own.
    same!(ignored & 0x7fff_ffff & !(1 << 12), 0, "ignored signals");
    Ok(())
}
