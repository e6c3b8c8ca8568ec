//! Concurrency, crashes, and what engines take for granted.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::Platforms::Any;
use crate::harness::test::patience;
use crate::harness::{Bundle, Case, Outcome, Test, host};
use crate::{check, same, skip};

pub const CASES: &[Case] = &[
    Case {
        name: "engines/quiet-on-success",
        platforms: Any,
        section: "engines, containerd",
        says: "Commands that succeed write nothing to standard error.",
        run: |t| {
            let (call, id, _) = t.create_call(&t.waiting()?, &[])?;
            let run = call.run()?.ok()?;
            same!(run.err, "", "create's standard error");
            for words in [
                vec!["start", &id],
                vec!["state", &id],
                vec!["ps", "--format", "json", &id],
                vec!["list", "--format", "json"],
                vec!["pause", &id],
                vec!["resume", &id],
                vec!["kill", &id, "KILL"],
            ] {
                let run = t.call(&words).run()?.ok()?;
                same!(run.err, "", format!("standard error of {}", words[0]));
            }
            let gone = || {
                t.call(&["state", &id])
                    .run()
                    .is_ok_and(|run| run.out.contains("stopped"))
            };
            crate::harness::test::until(gone).ok_or("it does not stop")?;
            same!(
                t.call(&["delete", &id]).run()?.ok()?.err,
                "",
                "standard error of delete"
            );
            Ok(())
        },
    },
    Case {
        name: "engines/without-path",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "The whole life works without PATH, HOME and XDG_RUNTIME_DIR.",
        run: |t| {
            let (call, id, _) = t.create_call(&t.waiting()?, &[])?;
            call.without_env("PATH")
                .without_env("HOME")
                .env("XDG_RUNTIME_DIR", "")
                .run()?
                .ok()?;
            for words in [
                vec!["start", &id],
                vec!["kill", &id, "KILL"],
                vec!["delete", "--force", &id],
            ] {
                t.call(&words)
                    .without_env("PATH")
                    .without_env("HOME")
                    .run()?
                    .ok()?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "engines/conmon-flags",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "create takes every flag of conmon.",
        run: |t| {
            let flags = ["--no-pivot", "--no-new-keyring", "--preserve-fds", "0"];
            let (call, id, _) = t.create_call(&t.waiting()?, &flags)?;
            call.run()?.ok()?;
            t.call(&["start", &id]).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "engines/containerd-flags",
        platforms: Any,
        section: "engines, containerd",
        says: "The global flags of go-runc are taken.",
        run: |t| {
            let log = t.fresh("log");
            let (call, id, _) = t.create_call(&t.waiting()?, &[])?;
            let flags = [
                "--debug",
                "--log",
                &log.to_string_lossy(),
                "--log-format",
                "json",
            ];
            call.global(&flags).run()?.ok()?;
            t.call(&["start", &id]).global(&flags).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "engines/rootless-flag",
        platforms: Any,
        section: "robustness, global flags",
        says: "The --rootless of go-runc is taken, which none of the engines sets.",
        run: |t| {
            let (call, id, _) = t.create_call(&t.waiting()?, &[])?;
            let flags = ["--rootless=false"];
            call.global(&flags).run()?.ok()?;
            t.call(&["start", &id]).global(&flags).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "engines/kill-number-of-conmon",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "kill --all ID NUMBER ends the container.",
        run: |t| {
            let c = t.running()?;
            t.call(&["kill", "--all", &c.id, "9"]).run()?.ok()?;
            same!(c.exit_code()?, 137, "the program's status");
            c.await_status("stopped")
        },
    },
    Case {
        name: "engines/state-is-one-of-four",
        platforms: Any,
        section: "engines, podman and buildah on FreeBSD",
        says: "state, asked all the time through a life, only ever says creating, created, running or stopped.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["sleep", "150"]);
            let (call, id, _) = t.create_call(&bundle, &[])?;
            let create = call.spawn()?;
            let mut seen = Vec::new();
            let mut look = || -> Outcome {
                let run = t.call(&["state", &id]).run()?;
                if run.code == 0 {
                    let state: Value = serde_json::from_str(&run.out)?;
                    let status = state["status"].as_str().unwrap_or_default().to_owned();
                    if seen.last() != Some(&status) {
                        seen.push(status);
                    }
                }
                Ok(())
            };
            for _ in 0..10 {
                look()?;
            }
            create.wait(patience())?.ok()?;
            look()?;
            t.call(&["start", &id]).run()?.ok()?;
            look()?;
            let end = std::time::Instant::now() + Duration::from_secs(10);
            while seen.last().is_none_or(|last| last != "stopped")
                && std::time::Instant::now() < end
            {
                let run = t.call(&["state", &id]).run()?.ok()?;
                let state: Value = serde_json::from_str(&run.out)?;
                let status = state["status"].as_str().unwrap_or_default().to_owned();
                if seen.last() != Some(&status) {
                    seen.push(status);
                }
            }
            let order = ["creating", "created", "running", "stopped"];
            let places: Vec<_> = seen
                .iter()
                .map(|s| order.iter().position(|o| o == s))
                .collect();
            check!(
                places.iter().all(Option::is_some) && places.is_sorted(),
                "it said {seen:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "engines/does-not-exist-words",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "state, start, kill and delete of an id that no container has say that it does not exist.",
        run: |t| {
            for command in ["state", "start", "kill", "delete"] {
                let run = t.call(&[command, &t.id()]).run()?.fails()?;
                let said = run.err.contains("does not exist");
                check!(said, "{command} says {:?}", run.err);
            }
            Ok(())
        },
    },
    Case {
        name: "engines/kill-twice",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A second kill --all of a container that has ended succeeds, a plain one says that it is not running.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            for _ in 0..2 {
                t.call(&["kill", "--all", &c.id, "KILL"]).run()?.ok()?;
                let run = c.kill("KILL")?.fails()?;
                check!(is_over(&run.err), "it says {:?}", run.err);
            }
            c.is("stopped")
        },
    },
    Case {
        name: "engines/delete-twice",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A second delete says that the container does not exist; a second delete --force succeeds.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            c.delete()?;
            let run = t.call(&["delete", &c.id]).run()?.fails()?;
            check!(run.err.contains("does not exist"), "it says {:?}", run.err);
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "engines/exec-process-file-missing",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec --process of a file that does not exist, or is no JSON, fails with a reason.",
        run: |t| {
            let c = t.running()?;
            let (missing, garbage) = (t.fresh("missing"), t.host_file("{")?);
            for file in [missing, garbage] {
                let file = file.to_string_lossy();
                let run = t
                    .call(&["exec", "--process", &file, &c.id])
                    .run()?
                    .fails()?;
                check!(!run.err.trim().is_empty(), "there is no reason");
            }
            c.is("running")
        },
    },
    Case {
        name: "concurrency/kill-and-delete",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "kill, state and delete --force at once never hang, and nothing is left.",
        run: |t| {
            for _ in 0..5 {
                let c = t.running()?;
                let calls = [
                    t.call(&["kill", &c.id, "KILL"]).spawn()?,
                    t.call(&["state", &c.id]).spawn()?,
                    t.call(&["delete", "--force", &c.id]).spawn()?,
                    t.call(&["kill", "--all", &c.id, "TERM"]).spawn()?,
                ];
                for (i, call) in calls.into_iter().enumerate() {
                    let run = call.wait(patience())?;
                    check!(
                        run.code < 2,
                        "call {i} ended with {}: {}",
                        run.code,
                        run.err
                    );
                    if i == 2 {
                        run.ok()?;
                    }
                }
                t.nothing_left()?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/start-and-delete",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "start and delete --force at once never hang, and nothing is left.",
        run: |t| {
            for delay in [0, 1, 3, 6, 10] {
                let c = t.create(&t.waiting()?)?;
                let start = t.call(&["start", &c.id]).spawn()?;
                std::thread::sleep(Duration::from_millis(delay));
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
                start.wait(patience())?;
                t.nothing_left()?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/exec-and-kill",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "execs during a kill end, each with a status, and the container is stopped.",
        run: |t| {
            let c = t.running()?;
            let mut execs = Vec::new();
            for _ in 0..6 {
                let words = ["exec", &c.id, "/bin/probe", "sleep", "30000"];
                execs.push(t.call(&words).spawn()?);
            }
            std::thread::sleep(Duration::from_millis(20));
            t.call(&["kill", "--all", &c.id, "KILL"]).run()?.ok()?;
            c.await_status("stopped")?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            for exec in execs {
                let run = exec.wait(patience())?;
                check!(run.code != 0, "an exec ended with 0");
            }
            t.nothing_left()
        },
    },
    Case {
        name: "concurrency/two-creates-of-one-id",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "Of several creates of one id at once exactly one succeeds, and its container works.",
        run: |t| {
            for _ in 0..3 {
                let bundle = t.waiting()?;
                bundle.write()?;
                let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
                let calls: Vec<_> = (0..4)
                    .map(|_| t.call(&["create", "--bundle", &dir, &id]).spawn())
                    .collect::<Result<_, _>>()?;
                let mut won = 0;
                for call in calls {
                    won += usize::from(call.wait(patience())?.code == 0);
                }
                same!(won, 1, "the number of creates that succeeded");
                t.call(&["start", &id]).run()?.ok()?;
                t.call(&["delete", "--force", &id]).run()?.ok()?;
                t.nothing_left()?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/parallel-lives",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "Eight containers live and die at the same time.",
        run: |t| {
            let mut lives = Vec::new();
            for i in 0..8 {
                let bundle = t.bundle()?.acts(&["exit", &(10 + i).to_string()]);
                bundle.write()?;
                let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
                lives.push((t.call(&["run", "--bundle", &dir, &id]).spawn()?, 10 + i));
            }
            for (life, status) in lives {
                life.wait(patience())?.status(status)?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "concurrency/delete-during-create",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "A delete --force during create leaves nothing, whoever wins.",
        run: |t| {
            for delay in [0, 1, 2, 4, 8, 15, 30] {
                let (call, id, _) = t.create_call(&t.waiting()?, &[])?;
                let create = call.spawn()?;
                std::thread::sleep(Duration::from_millis(delay));
                t.call(&["delete", "--force", &id]).run()?;
                create.wait(patience())?;
                // Where the delete came first there was nothing to delete yet.
                t.call(&["delete", "--force", &id]).run()?.ok()?;
                t.nothing_left()
                    .map_err(|stop| format!("after {delay} ms: {stop:?}"))?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/two-deletes",
        platforms: Any,
        section: "robustness, concurrent calls",
        says: "Two delete --force at once both end well and leave nothing.",
        run: |t| {
            for _ in 0..3 {
                let c = t.running()?;
                let first = t.call(&["delete", "--force", &c.id]).spawn()?;
                let second = t.call(&["delete", "--force", &c.id]).spawn()?;
                first.wait(patience())?.ok()?;
                second.wait(patience())?.ok()?;
                t.nothing_left()?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/two-starts",
        platforms: Any,
        section: "runtime.md, Start",
        says: "Of two starts at once exactly one succeeds, and the program runs once.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["append", "/log", "ran", ";", "wait"]);
            let c = t.create(&bundle)?;
            let calls = [
                t.call(&["start", &c.id]).spawn()?,
                t.call(&["start", &c.id]).spawn()?,
            ];
            let mut won = 0;
            for call in calls {
                won += usize::from(call.wait(patience())?.code == 0);
            }
            same!(won, 1, "the number of starts that succeeded");
            c.await_output("ready")?;
            same!(
                fs::read_to_string(bundle.root().join("log"))?,
                "ran\n",
                "the program's log"
            );
            Ok(())
        },
    },
    Case {
        name: "concurrency/list-during-lives",
        platforms: Any,
        section: "engines, concurrent calls",
        says: "list prints valid JSON while containers come and go.",
        run: |t| {
            let mut lives = Vec::new();
            for _ in 0..4 {
                let bundle = t.bundle()?.acts(&["exit", "0"]);
                bundle.write()?;
                let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
                lives.push(t.call(&["run", "--bundle", &dir, &id]).spawn()?);
            }
            for _ in 0..20 {
                let run = t.call(&["list", "--format=json"]).run()?.ok()?;
                serde_json::from_str::<Value>(&run.out)?;
            }
            for life in lives {
                life.wait(patience())?.ok()?;
            }
            Ok(())
        },
    },
    Case {
        name: "concurrency/many-execs",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "Ten execs at once each get their own output and status.",
        run: |t| {
            let c = t.running()?;
            let mut execs = Vec::new();
            for i in 0..10 {
                let (word, status) = (format!("word{i}"), (20 + i).to_string());
                let words = [
                    "exec",
                    &c.id,
                    "/bin/probe",
                    "echo",
                    &word,
                    ";",
                    "exit",
                    &status,
                ];
                execs.push((t.call(&words).spawn()?, word, 20 + i));
            }
            for (exec, word, status) in execs {
                let run = exec.wait(patience())?.status(status)?;
                same!(run.out.trim(), word, "the output");
            }
            c.is("running")
        },
    },
    Case {
        name: "crash/create-killed",
        platforms: Any,
        section: "robustness, crashes",
        says: "A create killed with SIGKILL at any time leaves what delete --force takes back.",
        run: |t| {
            killed_creates(t, || {
                let bundle = t.waiting()?.tmpfs("/tmp", &[]);
                Ok(bundle.bind(&t.host_dir()?, "/mnt", &[]))
            })
        },
    },
    Case {
        name: "crash/gc-after-killed-creates",
        platforms: Any,
        section: "robustness, crashes",
        says: "gc takes back what killed creates left, and leaves living containers alone.",
        run: |t| {
            if t.call(&["gc", "--help"]).run()?.code != 0 {
                skip!("this runtime has no gc");
            }
            let keeper = t.running()?;
            let begin = std::time::Instant::now();
            let waiting = t.create(&t.waiting()?)?;
            // At any moment of a create, however long one takes here.
            let step_time = begin.elapsed() / 18;
            let mut finished = Vec::new();
            for step in 0..20_u32 {
                let (call, id, _) = t.create_call(&t.waiting()?.tmpfs("/tmp", &[]), &[])?;
                let create = call.spawn()?;
                std::thread::sleep(step_time * step);
                let _ = create.signal(Signal::SIGKILL);
                if create.wait(patience())?.code == 0 {
                    finished.push(id);
                }
            }
            t.call(&["gc"]).run()?.ok()?;
            let mut wanted = vec![keeper.id.clone(), waiting.id.clone()];
            wanted.extend(finished);
            wanted.sort();
            let out = t.call(&["list", "-q"]).run()?.ok()?.out;
            let mut ids: Vec<&str> = out.lines().collect();
            ids.sort_unstable();
            // A create may have published its process before it was killed.
            for id in &wanted {
                check!(
                    ids.contains(&id.as_str()),
                    "{id} is gone; there are {ids:?}"
                );
            }
            let extra: Vec<_> = ids
                .iter()
                .filter(|id| !wanted.iter().any(|w| w == **id))
                .collect();
            for id in extra {
                let run = t.call(&["state", id]).run()?.ok()?;
                let state: Value = serde_json::from_str(&run.out)?;
                check!(state["status"] == "created", "{id} was left: {state}");
            }
            for entry in fs::read_dir(t.state_root())?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let known = name.starts_with('.') || ids.contains(&name.as_str());
                check!(known, "{name} was left in the state directory");
            }
            keeper.is("running")?;
            waiting.is("created")
        },
    },
    Case {
        name: "crash/start-killed",
        platforms: Any,
        section: "robustness, crashes",
        says: "A start killed with SIGKILL at any time leaves a container with a true status.",
        run: |t| {
            for step in 0..12_u64 {
                let c = t.create(&t.waiting()?)?;
                let start = t.call(&["start", &c.id]).spawn()?;
                std::thread::sleep(Duration::from_micros(step * 300));
                let _ = start.signal(Signal::SIGKILL);
                start.wait(patience())?;
                std::thread::sleep(Duration::from_millis(30));
                let runs = c.output().contains("ready");
                let status = c.status()?;
                let truth = if runs { "running" } else { "created" };
                check!(
                    status == truth || (status == "stopped" && !runs),
                    "killed after {} µs: it is {truth}, state says {status}",
                    step * 300
                );
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
                t.nothing_left()?;
            }
            Ok(())
        },
    },
    Case {
        name: "crash/delete-killed",
        platforms: Any,
        section: "robustness, crashes",
        says: "A delete killed with SIGKILL at any time can be done again.",
        run: |t| {
            for step in 0..12_u64 {
                let c = t.ready(&t.waiting()?.tmpfs("/tmp", &[]))?;
                let delete = t.call(&["delete", "--force", &c.id]).spawn()?;
                std::thread::sleep(Duration::from_micros(step * 400));
                let _ = delete.signal(Signal::SIGKILL);
                delete.wait(patience())?;
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
                t.nothing_left()
                    .map_err(|stop| format!("killed after {} µs: {stop:?}", step * 400))?;
            }
            Ok(())
        },
    },
    Case {
        name: "crash/run-killed",
        platforms: Any,
        section: "robustness, crashes",
        says: "After a foreground run was killed, its container can be deleted.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, dir) = (t.id(), bundle.dir.to_string_lossy().into_owned());
            let process = t.call(&["run", "--bundle", &dir, &id]).spawn()?;
            process.await_out("ready")?;
            process.signal(Signal::SIGKILL)?;
            process.wait(patience())?;
            t.call(&["delete", "--force", &id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "crash/waiting-process-killed",
        platforms: Any,
        section: "robustness, crashes",
        says: "When the waiting process was killed, start fails at once and the status is stopped.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(c.pid), Signal::SIGKILL)?;
            c.exit_code()?;
            t.call(&["start", &c.id]).run()?.fails()?;
            c.is("stopped")?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "crash/truncated-state",
        platforms: Any,
        section: "robustness, state files",
        says: "A truncated state file is an error that names the file, and delete --force cleans up.",
        run: |t| {
            let c = t.running()?;
            let file = state_file(t, &c.id)?;
            let text = fs::read_to_string(&file)?;
            fs::write(&file, &text[..text.len() / 2])?;
            let run = t.call(&["state", &c.id]).run()?.fails()?;
            let name = file
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            check!(
                run.err.contains(&name),
                "the error does not name {name}: {:?}",
                run.err
            );
            t.call(&["list"]).run()?.ok()?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "crash/empty-state",
        platforms: Any,
        section: "robustness, state files",
        says: "An empty state file is an error, and delete --force cleans up.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            fs::write(state_file(t, &c.id)?, "")?;
            t.call(&["state", &c.id]).run()?.fails()?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "engines/relative-root",
        platforms: Any,
        section: "robustness, global flags",
        says: "A relative --root works.",
        run: |t| {
            let bundle = t.waiting()?;
            bundle.write()?;
            let id = t.id();
            let dir = bundle.dir.to_string_lossy();
            t.call(&["create", "--bundle", &dir, &id])
                .root("state".as_ref())
                .cwd(&t.dir)
                .run()?
                .ok()?;
            t.call(&["start", &id])
                .root("state".as_ref())
                .cwd(&t.dir)
                .run()?
                .ok()?;
            t.call(&["delete", "--force", &id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "engines/long-state-root",
        platforms: Any,
        section: "hostile, limits",
        says: "A state directory with a path longer than a socket's address works.",
        run: |t| {
            let mut root = t.state_root();
            for _ in 0..3 {
                root = root.join("d".repeat(60));
            }
            fs::create_dir_all(&root)?;
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, dir) = (t.id(), bundle.dir.to_string_lossy());
            let with = |words: &[&str]| t.call(words).root(&root).run()?.ok();
            let outcome =
                with(&["create", "--bundle", &dir, &id]).and_then(|_| with(&["start", &id]));
            with(&["delete", "--force", &id])?;
            let _ = fs::remove_dir_all(t.state_root().join("d".repeat(60)));
            outcome?;
            Ok(())
        },
    },
    Case {
        name: "engines/log-file-keeps-old-records",
        platforms: Any,
        section: "engines, containerd",
        says: "The log is appended to, so that containerd finds the last record.",
        run: |t| {
            let log = t.fresh("log");
            fs::write(&log, "before\n")?;
            t.call(&["state", "none"])
                .global(&["--log", &log.to_string_lossy()])
                .run()?
                .fails()?;
            let text = fs::read_to_string(&log)?;
            let added = text.strip_prefix("before\n");
            check!(added.is_some_and(|added| !added.is_empty()), "{text:?}");
            Ok(())
        },
    },
    Case {
        name: "engines/not-running-words",
        platforms: Any,
        section: "engines, containerd",
        says: "kill of a container that has ended says one of the words that containerd knows.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            let err = c.kill("TERM")?.fails()?.err;
            check!(is_over(&err), "{err:?}");
            Ok(())
        },
    },
    Case {
        name: "engines/annotations-of-podman",
        platforms: Any,
        section: "config.md, Annotations",
        says: "Annotations of podman are kept word for word and do no harm.",
        run: |t| {
            let annotations = json!({"io.podman.annotations.autoremove": "FALSE", "io.container.manager": "libpod"});
            let c = t.ready(&t.waiting()?.set("/annotations", annotations))?;
            same!(
                c.state()?["annotations"]["io.container.manager"],
                json!("libpod"),
                "the annotation"
            );
            Ok(())
        },
    },
    Case {
        name: "engines/many-containers",
        platforms: Any,
        section: "robustness, scale",
        says: "Thirty containers are listed, each with its status, and all go away.",
        run: |t| {
            let bundle = t.waiting()?;
            let all: Vec<_> = (0..30)
                .map(|_| t.create(&bundle))
                .collect::<Result<_, _>>()?;
            let run = t.call(&["list", "--format=json"]).run()?.ok()?;
            let listed: Value = serde_json::from_str(&run.out)?;
            same!(
                listed.as_array().map(Vec::len),
                Some(30),
                "the number of containers"
            );
            for c in &all {
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "engines/host-check-finds-a-leak",
        platforms: Any,
        section: "robustness, this suite",
        says: "The comparison of the host sees a running container, so that it can see a leak.",
        run: |t| {
            let c = t.running()?;
            let seen = host::marked(&t.mark, &t.state_root());
            check!(
                seen.iter().any(|s| s.starts_with("process ")),
                "no process: {seen:?}"
            );
            check!(
                seen.iter().any(|s| s.starts_with("state ")),
                "no state: {seen:?}"
            );
            let other = if cfg!(target_os = "freebsd") {
                "jail "
            } else {
                "cgroup "
            };
            check!(
                seen.iter().any(|s| s.starts_with(other)),
                "no {other}: {seen:?}"
            );
            c.is("running")
        },
    },
];

/// The file in which a runtime keeps a container's state: the JSON file of its
/// directory that has the process id in it.
fn state_file(t: &Test, id: &str) -> Outcome<std::path::PathBuf> {
    let directory = t.state_root().join(id);
    for name in ["state.json", "status"] {
        let path = directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    skip!("this runtime keeps its state elsewhere")
}

/// Whether an error says, in words that containerd's shim looks for, that there
/// is no process any more.
fn is_over(err: &str) -> bool {
    err.contains("container not running")
        || err.contains("os: process already finished")
        || err.to_lowercase().contains("no such process")
}

/// Kills creates with SIGKILL at twenty points, and checks that delete takes
/// each back.
pub fn killed_creates(t: &Test, bundle: impl Fn() -> Outcome<Bundle>) -> Outcome {
    for step in 0..20_u64 {
        let (call, id, _) = t.create_call(&bundle()?, &[])?;
        let create = call.spawn()?;
        std::thread::sleep(Duration::from_micros(step * 700));
        let _ = create.signal(Signal::SIGKILL);
        create.wait(patience())?;
        t.call(&["delete", "--force", &id]).run()?.ok()?;
        t.nothing_left()
            .map_err(|stop| format!("killed after {} µs: {stop:?}", step * 700))?;
    }
    Ok(())
}
