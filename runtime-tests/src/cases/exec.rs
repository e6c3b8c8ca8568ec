//! exec.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Case, Outcome, Test};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "exec/runs-inside",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec runs a program in the container and passes its output on.",
        run: |t| {
            let c = t.running()?;
            let report = c.exec_report(&[])?;
            same!(report["hostname"], json!("inside"), "the hostname");
            c.is("running")
        },
    },
    Case {
        name: "exec/joins-every-namespace",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "The program of exec is in all namespaces and the cgroup of the container.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["report", ";", "wait"]);
            let bundle = bundle.set("/linux/namespaces/-", json!({"type": "cgroup"}));
            let c = t.ready(&bundle)?;
            let own: Value = serde_json::from_str(c.output().lines().next().unwrap_or_default())?;
            let other = c.exec_report(&[])?;
            same!(other["ns"], own["ns"], "the namespaces");
            same!(other["cgroup"], own["cgroup"], "the cgroups");
            Ok(())
        },
    },
    Case {
        name: "exec/exit-status",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec ends with the program's exit status.",
        run: |t| {
            t.running()?.exec(&[], &["exit", "42"])?.status(42)?;
            Ok(())
        },
    },
    Case {
        name: "exec/status-of-a-signal",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec ends with 128 and the signal that killed the program.",
        run: |t| {
            t.running()?.exec(&[], &["die", "SIGKILL"])?.status(137)?;
            Ok(())
        },
    },
    Case {
        name: "exec/standard-input",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec passes its standard input on.",
        run: |t| {
            let c = t.running()?;
            let run = t
                .call(&["exec", &c.id, "/bin/probe", "cat"])
                .stdin_text("typed in")?
                .run()?
                .ok()?;
            same!(run.out, "typed in", "the output");
            Ok(())
        },
    },
    Case {
        name: "exec/missing-program-is-127",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A program that does not exist ends exec with 127 or 255 as runc, and says so.",
        run: |t| {
            let c = t.running()?;
            let run = t.call(&["exec", &c.id, "/no/such"]).run()?.fails()?;
            check!(
                [127, 255, 1].contains(&run.code),
                "the status is {}",
                run.code
            );
            check!(
                run.err.to_lowercase().contains("no such file or directory"),
                "{:?}",
                run.err
            );
            Ok(())
        },
    },
    Case {
        name: "exec/not-in-path-is-127",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A name that PATH does not have ends exec with 127.",
        run: |t| {
            let c = t.running()?;
            let run = t.call(&["exec", &c.id, "no-such"]).run()?.status(127)?;
            check!(
                run.err.contains("executable file not found in $PATH"),
                "{:?}",
                run.err
            );
            Ok(())
        },
    },
    Case {
        name: "exec/not-executable-is-126",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A file that may not be executed ends exec with 126.",
        run: |t| {
            let c = t.running()?;
            let run = t.call(&["exec", &c.id, "/etc/passwd"]).run()?.status(126)?;
            check!(run.err.contains("permission denied"), "{:?}", run.err);
            Ok(())
        },
    },
    Case {
        name: "exec/of-unknown-is-255",
        platforms: Any,
        section: "robustness, wrong input",
        says: "exec in an id that no container has ends with 255 and says that it does not exist.",
        run: |t| {
            let run = t
                .call(&["exec", &t.id(), "/bin/probe", "exit", "0"])
                .run()?
                .status(255)?;
            check!(run.err.contains("does not exist"), "{:?}", run.err);
            Ok(())
        },
    },
    Case {
        name: "exec/in-stopped-fails",
        platforms: Any,
        section: "engines, containerd",
        says: "exec in a stopped container fails and says that it is not running.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            let run = c.exec(&[], &["exit", "0"])?.fails()?;
            check!(
                run.err.contains("not running") || run.err.contains("stopped"),
                "{:?}",
                run.err
            );
            Ok(())
        },
    },
    Case {
        name: "exec/in-created",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec works in a container that waits for start.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            c.exec(&[], &["exit", "5"])?.status(5)?;
            c.is("created")
        },
    },
    Case {
        name: "exec/in-paused-is-refused",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec in a paused container fails at once instead of hanging.",
        run: |t| {
            let c = t.running()?;
            t.call(&["pause", &c.id]).run()?.ok()?;
            c.exec(&[], &["exit", "0"])?.fails()?;
            t.call(&["resume", &c.id]).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "exec/environment-flag",
        platforms: Any,
        section: "robustness, exec",
        says: "-e adds to the container's environment and replaces what is there.",
        run: |t| {
            let c = t.ready(&t.waiting()?.env("KEPT=1").env("CHANGED=old"))?;
            let report = c.exec_report(&["-e", "ADDED=2", "-e", "CHANGED=new"])?;
            let env: Vec<String> = serde_json::from_value(report["env"].clone())?;
            for entry in ["KEPT=1", "ADDED=2", "CHANGED=new"] {
                check!(
                    env.iter().any(|e| e == entry),
                    "{entry} is missing: {env:?}"
                );
            }
            let last = env.iter().rfind(|e| e.starts_with("CHANGED="));
            same!(
                last.map(String::as_str),
                Some("CHANGED=new"),
                "the entry that counts"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/cwd-flag",
        platforms: Any,
        section: "engines, exec",
        says: "--cwd is the program's working directory.",
        run: |t| {
            let report = t.running()?.exec_report(&["--cwd", "/home/alice"])?;
            same!(report["cwd"], json!("/home/alice"), "the working directory");
            Ok(())
        },
    },
    Case {
        name: "exec/user-by-number",
        platforms: Any,
        section: "engines, exec",
        says: "-u UID:GID is the program's user and group.",
        run: |t| {
            let report = t.running()?.exec_report(&["-u", "1000:1001"])?;
            same!(
                (&report["uid"], &report["gid"]),
                (&json!(1000), &json!(1001)),
                "uid and gid"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/user-by-name",
        platforms: Any,
        section: "robustness, exec",
        says: "-u NAME is looked up in the container's own /etc/passwd, with its group.",
        run: |t| {
            let report = t.running()?.exec_report(&["-u", "alice"])?;
            same!(
                (&report["uid"], &report["gid"]),
                (&json!(1000), &json!(1001)),
                "uid and gid"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/group-by-name",
        platforms: Any,
        section: "robustness, exec",
        says: "-u NAME:GROUP is looked up in the container's own /etc/group.",
        run: |t| {
            let report = t.running()?.exec_report(&["-u", "alice:video"])?;
            same!(
                (&report["uid"], &report["gid"]),
                (&json!(1000), &json!(44)),
                "uid and gid"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/unknown-user",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A user that the container does not have fails exec with its name and 255.",
        run: |t| {
            let c = t.running()?;
            let run = c.exec(&["-u", "nosuchuser"], &["exit", "0"])?.status(255)?;
            check!(run.err.contains("nosuchuser"), "{:?}", run.err);
            run.no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "exec/process-file",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "--process FILE gives the whole process object.",
        run: |t| {
            let c = t.running()?;
            let file = process_file(
                t,
                json!({
                    "args": ["/bin/probe", "report"], "cwd": "/tmp", "user": {"uid": 1000, "gid": 5, "umask": 0o77},
                    "env": ["PATH=/bin", "ONLY=this"], "noNewPrivileges": true,
                    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}],
                }),
            )?;
            let run = t.call(&["exec", "--process", &file, &c.id]).run()?.ok()?;
            let report: Value = serde_json::from_str(&run.out)?;
            same!(report["uid"], json!(1000), "uid");
            same!(report["gid"], json!(5), "gid");
            same!(report["cwd"], json!("/tmp"), "cwd");
            same!(report["umask"], json!(0o77), "umask");
            same!(report["noNewPrivs"], json!(true), "no_new_privs");
            same!(
                report["rlimits"]["RLIMIT_NOFILE"],
                json!({"soft": 99, "hard": 100}),
                "the limit"
            );
            let env = report["env"].to_string();
            check!(env.contains("ONLY=this"), "the environment is {env}");
            check!(
                !env.contains("RUNTIME_TESTS_CASE"),
                "the container's environment is there: {env}"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/detach-and-pid-file",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "--detach returns while the program runs; the pid file names it.",
        run: |t| {
            let c = t.running()?;
            let pid_file = t.fresh("pid");
            let run = c
                .exec(
                    &["--detach", "--pid-file", &pid_file.to_string_lossy()],
                    &["wait"],
                )?
                .ok()?;
            let pid: i32 = fs::read_to_string(&pid_file)?
                .parse()
                .map_err(|e| format!("pid file: {e}"))?;
            check!(pid != c.pid, "it names the container's own process");
            crate::harness::test::until(|| {
                fs::read_to_string(&run.out_path).is_ok_and(|o| o.contains("ready"))
            })
            .ok_or("the program did not start")?;
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            )?;
            let code = crate::harness::reaper::wait(pid, crate::harness::test::patience());
            same!(
                code,
                Some(143),
                "the program's status, as a child of the suite"
            );
            c.is("running")
        },
    },
    Case {
        name: "exec/no-pid-file-on-failure",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "When exec fails there is no pid file: conmon has no other sign.",
        run: |t| {
            let c = t.running()?;
            let pid_file = t.fresh("pid");
            let file = pid_file.to_string_lossy();
            t.call(&["exec", "--detach", "--pid-file", &file, &c.id, "/no/such"])
                .run()?
                .fails()?;
            check!(
                !pid_file.exists(),
                "there is one: {:?}",
                fs::read_to_string(&pid_file)
            );
            Ok(())
        },
    },
    Case {
        name: "exec/detached-survives-nothing",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "Programs of exec end with the container.",
        run: |t| {
            let c = t.running()?;
            c.exec(&["--detach"], &["forever"])?.ok()?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "exec/no-descriptor-leaks",
        platforms: Any,
        section: "hostile, descriptors",
        says: "The program of exec has descriptors 0, 1 and 2 only.",
        run: |t| {
            let c = t.running()?;
            let null = || std::fs::File::open("/dev/null").map(std::os::fd::OwnedFd::from);
            let call = t
                .call(&["exec", &c.id, "/bin/probe", "report"])
                .fd(null()?)
                .fd(null()?);
            let report: Value = serde_json::from_str(&call.run()?.ok()?.out)?;
            same!(
                report["fds"].as_array().map(Vec::len),
                Some(3),
                format!("descriptors {}", report["fds"])
            );
            Ok(())
        },
    },
    Case {
        name: "exec/preserve-fds",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec --preserve-fds passes descriptors on.",
        run: |t| {
            let c = t.running()?;
            let file = std::fs::File::open(t.host_file("passed")?)?;
            let call = t.call(&[
                "exec",
                "--preserve-fds",
                "1",
                &c.id,
                "/bin/probe",
                "read-fd",
                "3",
            ]);
            same!(
                call.fd(file.into()).run()?.ok()?.out,
                "fd passed\n",
                "what was read"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/capabilities-of-the-container",
        platforms: Linux,
        section: "robustness, exec",
        says: "exec has the container's capabilities, seccomp state and no_new_privs, no more.",
        run: |t| {
            let c = t.ready(&t.bundle()?.acts(&["report", ";", "wait"]))?;
            let own: Value = serde_json::from_str(c.output().lines().next().unwrap_or_default())?;
            let other = c.exec_report(&[])?;
            for field in [
                "CapBnd",
                "CapEff",
                "CapPrm",
                "CapInh",
                "CapAmb",
                "Seccomp",
                "NoNewPrivs",
            ] {
                same!(other["status"][field], own["status"][field], field);
            }
            Ok(())
        },
    },
    Case {
        name: "exec/root-is-the-containers",
        platforms: Any,
        section: "runtime.md, Create",
        says: "The program of exec sees the container's root.",
        run: |t| {
            let c = t.ready(&t.waiting()?.file("/only-here", "yes", 0o644)?)?;
            same!(
                c.exec(&[], &["read", "/only-here"])?.ok()?.out,
                "yes\n",
                "what was read"
            );
            Ok(())
        },
    },
    Case {
        name: "exec/forwards-signals",
        platforms: Any,
        section: "engines, exec",
        says: "exec in the foreground forwards a signal to its program.",
        run: |t| {
            let c = t.running()?;
            let process = t.call(&["exec", &c.id, "/bin/probe", "wait"]).spawn()?;
            process.await_out("ready")?;
            process.signal(nix::sys::signal::Signal::SIGTERM)?;
            let run = process
                .wait(crate::harness::test::patience())?
                .status(143)?;
            check!(run.out.contains("got SIGTERM"), "{:?}", run.out);
            Ok(())
        },
    },
    Case {
        name: "exec/no-command",
        platforms: Any,
        section: "robustness, wrong input",
        says: "exec without a program fails with a reason.",
        run: |t| {
            let c = t.running()?;
            let run = t.call(&["exec", &c.id]).run()?.fails()?;
            check!(!run.err.is_empty(), "it says nothing");
            Ok(())
        },
    },
];

fn process_file(t: &Test, process: Value) -> Outcome<String> {
    Ok(t.host_file(&process.to_string())?
        .to_string_lossy()
        .into_owned())
}
