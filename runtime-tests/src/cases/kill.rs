//! Signals, pause and resume.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::Platforms::{Any, Linux};
use crate::harness::test::until;
use crate::harness::{Case, Outcome, Test, host};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "kill/default-is-term",
        platforms: Any,
        section: "engines, buildah",
        says: "kill without a signal sends SIGTERM.",
        run: |t| {
            let c = t.running()?;
            t.call(&["kill", &c.id]).run()?.ok()?;
            same!(c.exit_code()?, 128 + 15, "the program's exit status");
            check!(c.output().contains("got SIGTERM"), "{:?}", c.output());
            Ok(())
        },
    },
    Case {
        name: "kill/name-without-sig",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A signal may be named without SIG.",
        run: |t| sends(t, "USR1", Signal::SIGUSR1),
    },
    Case {
        name: "kill/name-with-sig",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A signal may be named with SIG.",
        run: |t| sends(t, "SIGUSR2", Signal::SIGUSR2),
    },
    Case {
        name: "kill/number",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A signal may be given by the platform's number.",
        run: |t| sends(t, &(Signal::SIGUSR1 as i32).to_string(), Signal::SIGUSR1),
    },
    Case {
        name: "kill/lower-case",
        platforms: Any,
        section: "robustness, signals",
        says: "A signal's name may be in lower case, as runc accepts it.",
        run: |t| sends(t, "hup", Signal::SIGHUP),
    },
    Case {
        name: "kill/program-goes-on",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "A signal that the program handles leaves the container running.",
        run: |t| {
            let c = t.ready(&t.bundle()?.acts(&["trap", "3"]))?;
            for signal in ["USR1", "USR2", "HUP"] {
                c.is("running")?;
                c.kill(signal)?.ok()?;
                c.await_output(&format!("got SIG{signal}"))?;
            }
            c.await_status("stopped")
        },
    },
    Case {
        name: "kill/kill-ends-what-ignores-term",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "SIGKILL ends a program that ignores SIGTERM.",
        run: |t| {
            let c = t.ready(
                &t.bundle()?
                    .acts(&["ignore-term", ";", "ready", ";", "forever"]),
            )?;
            c.kill("TERM")?.ok()?;
            std::thread::sleep(Duration::from_millis(50));
            c.is("running")?;
            c.stop()
        },
    },
    Case {
        name: "kill/stopped-fails",
        platforms: Any,
        section: "runtime.md, Kill",
        says: "kill of a stopped container fails and has no effect on it.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            c.kill("TERM")?.fails()?;
            c.is("stopped")
        },
    },
    Case {
        name: "kill/all-of-stopped-succeeds",
        platforms: Any,
        section: "engines, podman and buildah on FreeBSD",
        says: "kill --all of a stopped container succeeds: stop always sends it.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            t.call(&["kill", "--all", &c.id, "9"]).run()?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "kill/all-reaches-descendants",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "kill --all reaches children and daemons in sessions of their own.",
        run: |t| {
            let acts = [
                "spawn",
                "3",
                ";",
                "daemon",
                ";",
                "ignore-term",
                ";",
                "ready",
                ";",
                "forever",
            ];
            let c = t.ready(&t.bundle()?.acts(&acts))?;
            same!(
                host::processes_of(&t.mark).len(),
                5,
                "the number of processes"
            );
            t.call(&["kill", "--all", &c.id, "KILL"]).run()?.ok()?;
            until(|| host::processes_of(&t.mark).is_empty())
                .ok_or_else(|| format!("{:?} live on", host::processes_of(&t.mark)))?;
            c.await_status("stopped")
        },
    },
    Case {
        name: "kill/all-without-pid-namespace",
        platforms: Linux,
        section: "runtime.md, Delete",
        says: "Processes of a container without a pid namespace end with kill --all and delete.",
        run: |t| {
            let acts = ["spawn", "3", ";", "daemon", ";", "wait"];
            let c = t.ready(&t.bundle()?.acts(&acts).without_namespace("pid"))?;
            t.call(&["kill", "--all", &c.id, "KILL"]).run()?.ok()?;
            until(|| host::processes_of(&t.mark).is_empty())
                .ok_or_else(|| format!("{:?} live on", host::processes_of(&t.mark)))?;
            c.await_status("stopped")?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "kill/delete-ends-survivors-of-the-first-process",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete ends what the first process left behind where there is no pid namespace.",
        run: |t| {
            let bundle = t
                .bundle()?
                .acts(&["daemon", ";", "ready"])
                .without_namespace("pid");
            let c = t.ready(&bundle)?;
            c.await_status("stopped")?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "kill/fork-bomb",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "Hundreds of processes are ended by one delete --force.",
        run: |t| {
            let c = t.ready(&t.bundle()?.acts(&["fork-until", "300", ";", "wait"]))?;
            check!(c.output().contains("forked 300 ok"), "{:?}", c.output());
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "pause/stops-and-resumes",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "pause stops every process, the status is paused, resume lets them go on.",
        run: |t| {
            let acts = [
                "ready", ";", "await", "/go", ";", "echo", "went on", ";", "wait",
            ];
            let bundle = t.bundle()?.acts(&acts);
            let c = t.ready(&bundle)?;
            t.call(&["pause", &c.id]).run()?.ok()?;
            c.is("paused")?;
            std::fs::write(bundle.root().join("go"), "")?;
            std::thread::sleep(Duration::from_millis(100));
            check!(
                !c.output().contains("went on"),
                "it went on while it was paused"
            );
            t.call(&["resume", &c.id]).run()?.ok()?;
            c.await_output("went on")?;
            c.is("running")
        },
    },
    Case {
        name: "pause/killed-while-paused",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A paused container can be deleted by force.",
        run: |t| {
            let c = t.running()?;
            t.call(&["pause", &c.id]).run()?.ok()?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "pause/of-stopped-fails",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "pause of a stopped container fails.",
        run: |t| {
            let c = t.running()?;
            c.stop()?;
            t.call(&["pause", &c.id]).run()?.fails()?;
            c.is("stopped")
        },
    },
    Case {
        name: "pause/resume-of-running-fails",
        platforms: Any,
        section: "robustness, wrong input",
        says: "resume of a container that is not paused fails, as with runc.",
        run: |t| {
            let c = t.running()?;
            t.call(&["resume", &c.id]).run()?.fails()?;
            c.is("running")
        },
    },
];

fn sends(t: &Test, word: &str, signal: Signal) -> Outcome {
    let c = t.running()?;
    c.kill(word)?.ok()?;
    same!(
        c.exit_code()?,
        128 + signal as i32,
        "the program's exit status"
    );
    Ok(())
}
