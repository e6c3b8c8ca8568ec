//! Jail descriptors and what a jail says of itself (FreeBSD 15), and the same
//! without them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::jail::{with_lo1, with_pair};
use super::support::{Case, Outcome, Test, host, jls, mount, sh, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "descriptors/run-is-killed",
        run: run_is_killed,
    },
    Case {
        name: "descriptors/run-keeps",
        run: run_keeps,
    },
    Case {
        name: "descriptors/delete-after-a-killed-run",
        run: delete_after_killed_run,
    },
    Case {
        name: "descriptors/jid-of-another",
        run: jid_of_another,
    },
    Case {
        name: "descriptors/name-of-another",
        run: name_of_another,
    },
    Case {
        name: "descriptors/jail-removed-from-outside",
        run: removed_from_outside,
    },
    Case {
        name: "descriptors/meta",
        run: meta,
    },
    Case {
        name: "descriptors/orphan-gc",
        run: orphan_gc,
    },
    Case {
        name: "descriptors/orphan-delete",
        run: orphan_delete,
    },
    Case {
        name: "descriptors/orphan-network",
        run: orphan_network,
    },
    Case {
        name: "descriptors/orphan-of-others",
        run: orphan_of_others,
    },
    Case {
        name: "descriptors/not-in-the-container",
        run: not_inside,
    },
];

fn is_jail(name: &str) -> bool {
    jls(name, "jid").is_ok()
}

/// SIGKILL of `brig run` leaves no jail where the kernel has descriptors; gc
/// takes the rest. Without them the program goes on, and gc leaves it alone.
fn run_is_killed(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        mount(c, json!({"destination": "/tmp", "type": "tmpfs"}));
        c["freebsd"]["devices"] = json!([{"path": "mem"}]);
        c["linux"]["resources"]["pids"]["limit"] = json!(20);
    })?;
    let mut run = t.spawn(&["run", "-b", &bundle.to_string_lossy(), "a"])?;
    until("the container runs", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("running"))
    })?;
    let kept = t.ok(&["gc"])?;
    check!(kept.is_empty(), "gc takes a running container: {kept}");
    run.kill()?;
    run.wait()?;
    if t.has_descriptors()? {
        // The kernel does it while the process ends.
        check!(!is_jail("a"), "the jail is there");
        // A zombie has ended; init reaps it when it comes to it.
        until("its processes end", || {
            sh("ps -axo state,comm | grep -v ^Z | grep -w sleep").is_err()
        })?;
        check!(
            t.ok(&["state", "a"])?.contains("\"stopped\""),
            "not stopped"
        );
        let said = t.ok(&["gc"])?;
        check!(said.contains("a: its run was killed"), "{said}");
        check!(
            t.refused(&["state", "a"], &["does not exist"]).is_ok(),
            "gc left it"
        );
        return Ok(());
    }
    check!(
        t.ok(&["state", "a"])?.contains("\"running\""),
        "not running"
    );
    let said = t.ok(&["gc"])?;
    check!(said.is_empty(), "gc takes a running container: {said}");
    t.ok(&["kill", "--all", "a", "KILL"])?;
    until("it stops", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("stopped"))
    })?;
    let said = t.ok(&["gc"])?;
    check!(said.contains("a: its run was killed"), "{said}");
    Ok(())
}

/// `run --keep` and `run --detach` leave a container that is deleted later.
fn run_keeps(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let mut run = t.spawn(&["run", "--keep", "-b", &bundle.to_string_lossy(), "a"])?;
    until("the container runs", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("running"))
    })?;
    run.kill()?;
    run.wait()?;
    check!(
        t.ok(&["state", "a"])?.contains("\"running\""),
        "not running"
    );
    t.down("a")?;
    let short = t.bundle("s", &["sh", "-c", "exit 7"], |_| {})?;
    let output = t.output(&["run", "--keep", "-b", &short.to_string_lossy(), "k"])?;
    check!(output.status.code() == Some(7), "{output:?}");
    check!(is_jail("k"), "the jail went");
    check!(t.ok(&["gc"])?.is_empty(), "gc takes what was kept");
    t.ok(&["delete", "k"])?;
    // And without: nothing is left.
    let output = t.output(&["run", "-b", &short.to_string_lossy(), "k"])?;
    check!(output.status.code() == Some(7), "{output:?}");
    check!(!is_jail("k"), "the jail is there");
    Ok(())
}

/// A delete that comes while the kernel is still ending what a killed run owned
/// unmounts what those processes use.
fn delete_after_killed_run(t: &Test) -> Outcome {
    let script = "cd /tmp; for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; exec sleep 100";
    let bundle = t.bundle("b", &["sh", "-c", script], |c| {
        mount(c, json!({"destination": "/tmp", "type": "tmpfs"}));
    })?;
    let before = host();
    for step in 0..10 {
        let mut run = t.spawn(&["run", "-b", &bundle.to_string_lossy(), "a"])?;
        std::thread::sleep(Duration::from_millis(100 + 60 * step));
        run.kill()?;
        run.wait()?;
        t.down("a")?;
        let left: Vec<_> = host().difference(&before).cloned().collect();
        check!(left.is_empty(), "killed at step {step}: {left:?}");
    }
    Ok(())
}

/// What brig remembers of a jail is its name and id: a jail that got the id
/// since is never entered, signalled or removed.
fn jid_of_another(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    t.up(&bundle, "a")?;
    sh("jail -c name=brigother path=/ persist && jexec brigother sleep 500 >/dev/null 2>&1 &")?;
    until("the other jail runs", || {
        sh("pgrep -j brigother sleep").is_ok()
    })?;
    let jid = jls("brigother", "jid")?;
    sh("jail -r a")?;
    until("the first process ends", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("stopped"))
    })?;
    pretend_jid(t, &jid)?;
    let outcome = untouched(t, "brigother");
    sh("jail -r brigother")?;
    outcome
}

/// A later jail of the same name is another one too.
fn name_of_another(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    t.up(&bundle, "a")?;
    sh("jail -r a")?;
    until("the first process ends", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("stopped"))
    })?;
    sh("jail -c name=a path=/ persist && jexec a sleep 500 >/dev/null 2>&1 &")?;
    until("the other jail runs", || sh("pgrep -j a sleep").is_ok())?;
    let outcome = untouched(t, "a");
    sh("jail -r a")?;
    outcome
}

/// Writes another jail's id where the container's is remembered.
fn pretend_jid(t: &Test, jid: &str) -> Outcome {
    for file in ["state.json", "journal"] {
        let path = t.state().join("a").join(file);
        let text = fs::read_to_string(&path)?;
        let mut fresh = String::new();
        for part in text.split_inclusive("\"jid\":") {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            if fresh.ends_with("\"jid\":") && digits > 0 {
                fresh.push_str(jid);
                fresh.push_str(&part[digits..]);
            } else {
                fresh.push_str(part);
            }
        }
        check!(fresh != text, "{file} has no jid");
        fs::write(&path, fresh)?;
    }
    Ok(())
}

/// Every command that enters, signals or removes leaves the jail alone.
fn untouched(t: &Test, jail: &str) -> Outcome {
    let pid = sh(&format!("pgrep -j {jail} sleep"))?;
    let output = t.output(&["exec", "a", "sh", "-c", "echo in"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check!(
        !output.status.success() && said.contains("container not running"),
        "exec: {said}"
    );
    let _ = t.output(&["kill", "--all", "a", "KILL"])?;
    let _ = t.output(&["kill", "a", "KILL"])?;
    let _ = t.output(&["pause", "a"])?;
    let listed = t.output(&["ps", "a"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    check!(!listed.contains(&pid), "ps shows the other's: {listed}");
    t.down("a")?;
    check!(
        sh(&format!("pgrep -j {jail} sleep"))? == pid,
        "the other's process is gone"
    );
    let state = sh(&format!("ps -o state= -p {pid}"))?;
    check!(!state.starts_with('T'), "the other's process is stopped");
    Ok(())
}

/// A jail that is removed from outside takes the container to stopped, and
/// exec, kill and delete say or do what they should.
fn removed_from_outside(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let mut run = t.spawn(&["run", "-b", &bundle.to_string_lossy(), "a"])?;
    until("the container runs", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("running"))
    })?;
    sh("jail -r a")?;
    let status = run.wait()?;
    // jail(8) begins with SIGTERM.
    check!(status.code() == Some(143), "{status:?}");
    check!(!t.state().join("a").exists(), "run left its state");

    // A hook that removes the jail just before it is entered.
    let bundle = t.sleeping("h", |c| {
        c["hooks"]["createContainer"] =
            json!([{"path": "/usr/sbin/jail", "args": ["jail", "-r", "h"]}]);
    })?;
    let words = ["its jail is gone"];
    t.refused(&["create", "-b", &bundle.to_string_lossy(), "h"], &words)
        .map(drop)
}

/// The jail says which container it is, to the host only; the words are
/// brig's own to set.
fn meta(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["annotations"] = json!({
            "org.freebsd.jail.meta.color": "blue",
            "org.freebsd.jail.env.flavour": "sour"
        });
    })?;
    t.up(&bundle, "a")?;
    let said = sh("jls -j a meta")?;
    check!(said.contains("color=blue"), "{said}");
    check!(jls("a", "env")?.contains("flavour=sour"), "no env");
    let own = [
        "brig=a".to_owned(),
        "brig.jail=a".to_owned(),
        format!("brig.bundle={}", bundle.display()),
        format!("brig.directory={}/a", t.state().display()),
    ];
    for line in own {
        let is_there = said.lines().any(|l| l.trim() == line);
        check!(is_there == t.has_meta()?, "{line:?} in: {said}");
    }
    t.down("a")?;
    for name in ["meta.brig", "meta.brig.directory"] {
        let bad = t.sleeping("bad", |c| {
            c["annotations"][format!("org.freebsd.jail.{name}")] = json!("x");
        })?;
        t.refused(
            &["create", "-b", &bad.to_string_lossy(), "a"],
            &[name, "brig's own"],
        )?;
    }
    Ok(())
}

/// A bundle with something of each kind that an orphan leaves.
fn rich(t: &Test, name: &str, readonly: bool) -> Outcome<std::path::PathBuf> {
    fs::create_dir_all(t.dir.join("data"))?;
    let data = t.dir.join("data");
    t.sleeping(name, |c| {
        c["root"]["readonly"] = json!(readonly);
        mount(c, json!({"destination": "/new/point", "type": "tmpfs"}));
        mount(
            c,
            json!({"destination": "/data", "type": "nullfs", "source": data}),
        );
        c["freebsd"]["devices"] = json!([{"path": "mem"}]);
        c["linux"]["resources"]["pids"]["limit"] = json!(20);
    })
}

/// A jail whose state directory is gone: list shows it, gc takes it away with
/// its limits, mounts, mount points and ruleset, and nothing else.
fn orphan_gc(t: &Test) -> Outcome {
    let before = host();
    for readonly in [false, true] {
        let bundle = rich(t, "b", readonly)?;
        t.up(&bundle, "a")?;
        let gone = t.state().join("a");
        // What is mounted in it stays, as root's rm(1) leaves it.
        sh(&format!(
            "rm -rf {0} 2>/dev/null; ! test -e {0}/journal",
            gone.display()
        ))?;
        if !t.has_meta()? {
            check!(!t.ok(&["list"])?.contains("orphaned"), "list knows");
            sh("jail -r a; rctl -r jail:a")?;
            let root = bundle.join("rootfs");
            let own = if readonly { gone.join("root") } else { root };
            for point in ["data", "new/point", "dev"] {
                until("unmount", || {
                    sh(&format!("umount {}/{point}", own.display())).is_ok()
                })?;
            }
            sh("devfs rule -s 40000 delset")?;
            if readonly {
                sh(&format!(
                    "umount {0} && rm -r {1}",
                    own.display(),
                    gone.display()
                ))?;
            }
            continue;
        }
        let said = t.ok(&["list"])?;
        check!(said.contains("orphaned"), "list: {said}");
        let said = t.ok(&["list", "--format", "json"])?;
        let all: serde_json::Value = serde_json::from_str(&said)?;
        check!(
            all[0]["status"] == "orphaned" && all[0]["id"] == "a",
            "{said}"
        );
        check!(
            t.ok(&["gc", "--dry-run"])?.contains("jail a is left"),
            "gc --dry-run"
        );
        check!(is_jail("a"), "a dry run took it");
        let said = t.ok(&["gc"])?;
        check!(
            said.contains("a: its state is gone, jail a is left"),
            "gc: {said}"
        );
        let left: Vec<_> = host().difference(&before).cloned().collect();
        check!(left.is_empty(), "readonly {readonly}: {left:?}");
        check!(!gone.exists(), "the directory is there");
        check!(
            !bundle.join("rootfs/new").exists(),
            "a mount point is there"
        );
    }
    Ok(())
}

/// `delete --force` of an orphan's id takes it too, and a new container can
/// have the id.
fn orphan_delete(t: &Test) -> Outcome {
    t.needs_meta()?;
    let before = host();
    let bundle = rich(t, "b", false)?;
    t.up(&bundle, "a")?;
    fs::remove_dir_all(t.state())?;
    t.refused(&["delete", "a"], &["does not exist"])?;
    t.down("a")?;
    let left: Vec<_> = host().difference(&before).cloned().collect();
    check!(left.is_empty(), "{left:?}");
    t.up(&bundle, "a")?;
    t.down("a")
}

/// Addresses that were added for an orphan go with it, and the interfaces of
/// its network stack come back; nobody inside a jail has a say in it.
fn orphan_network(t: &Test) -> Outcome {
    t.needs_meta()?;
    with_lo1(|| {
        with_pair(|_, other| {
            sh("ifconfig lo1 inet 10.8.0.7/32 alias")?;
            let before = host();
            let bundle = t.sleeping("b", |c| {
                c["freebsd"]["jail"] = json!({
                    "ip4Addr": ["10.8.0.1"], "ip6Addr": ["fd00::8"], "interface": "lo1"
                });
            })?;
            let stack = t.sleeping("s", |c| {
                c["freebsd"]["jail"] = json!({"vnet": "new", "vnetInterfaces": [other]});
            })?;
            t.up(&bundle, "a")?;
            t.up(&stack, "s")?;
            check!(sh("ifconfig lo1")?.contains("10.8.0.1"), "no address");
            fs::remove_dir_all(t.state())?;
            t.ok(&["gc"])?;
            until("the interface is back", || {
                sh("ifconfig -l").is_ok_and(|all| all.contains(other))
            })?;
            let left: Vec<_> = host().symmetric_difference(&before).cloned().collect();
            check!(left.is_empty(), "{left:?}");

            // A jail below another one may have been made by who is in there.
            let directory = t.state().join("x");
            let step = "address 10.8.0.7 lo1";
            sh(&format!(
                "jail -c name=brigother path=/ persist children.max=1 && \
                 jail -c name=brigother.x path={} persist meta.brig=x \
                 meta.brig.jail=brigother.x meta.brig.directory={} 'meta.brig.host={step}'",
                t.dir.join("s").display(),
                directory.display()
            ))?;
            let said = t.ok(&["gc"]);
            let stays = sh("ifconfig lo1")?.contains("10.8.0.7");
            sh("jail -r brigother")?;
            check!(said?.contains("x: its state is gone"), "gc left it");
            check!(stays, "an address of the host went");
            Ok(())
        })
    })
}

/// gc takes no jail of another state directory, none that a runtime inside a
/// jail made, and unmounts nothing where another jail lives.
fn orphan_of_others(t: &Test) -> Outcome {
    t.needs_meta()?;
    let bundle = rich(t, "b", false)?;
    let state = t.state();
    let directory = state.join("x");
    sh(&format!(
        "jail -c name=brigother path=/ persist meta.brig=x meta.brig.jail=x \
         meta.brig.directory={}",
        directory.display()
    ))?;
    let said = t.ok(&["gc"]);
    let stays = is_jail("brigother");
    sh("jail -r brigother")?;
    check!(said?.is_empty() && stays, "gc took the jail of another");

    t.up(&bundle, "a")?;
    let elsewhere = t.dir.join("elsewhere");
    fs::rename(&state, &elsewhere)?;
    let other = t.command(&["gc"]);
    let program = other.get_program().to_owned();
    let output = std::process::Command::new(program)
        .arg("--root")
        .arg(Path::new("/var/run/brig-none"))
        .arg("gc")
        .output()?;
    check!(
        output.status.success() && is_jail("a"),
        "gc of another root took it: {output:?}"
    );
    // An administrator's jail in the same root.
    sh(&format!(
        "jail -c name=brigother path={}/rootfs persist",
        bundle.display()
    ))?;
    let output = t.output(&["gc"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mounted = sh("mount -p")?.contains("rootfs/new/point");
    sh("jail -r brigother")?;
    check!(
        said.contains("jail brigother is in it") && mounted,
        "{said}"
    );
    // The journal still knows everything.
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::rename(&elsewhere, &state)?;
    t.down("a")
}

/// The program has no descriptor but its standard streams; the one that waits
/// for start has two sockets besides.
fn not_inside(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let pid = t.dir.join("pid");
    let file = pid.to_string_lossy().into_owned();
    let path = bundle.to_string_lossy().into_owned();
    t.ok(&["create", "--pid-file", &file, "-b", &path, "a"])?;
    let pid = fs::read_to_string(pid)?;
    let kinds = |pid: &str| -> Outcome<Vec<(String, String)>> {
        let all = sh(&format!("procstat -h files {pid} | tail -n +2"))?;
        let words = all.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[2].to_owned(), words[3].to_owned())
        });
        Ok(words
            .filter(|(fd, _)| fd.parse::<u32>().is_ok_and(|fd| fd > 2))
            .collect())
    };
    let waiting = kinds(&pid)?;
    // accept(2) takes a number, which shows as nothing while it waits.
    let nothing = waiting.iter().filter(|(_, kind)| kind == "?").count();
    let sockets = waiting.iter().filter(|(_, kind)| kind == "s").count();
    check!(
        nothing < 2 && nothing + sockets == waiting.len(),
        "waiting: {waiting:?}"
    );
    t.ok(&["start", "a"])?;
    let running = kinds(&pid)?;
    check!(running.is_empty(), "running: {running:?}");
    t.down("a")?;

    let mut run = t.spawn(&["run", "-b", &path, "a"])?;
    until("the container runs", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("running"))
    })?;
    let pid = sh("pgrep -j a sleep")?;
    let running = kinds(&pid)?;
    t.down("a")?;
    run.wait()?;
    check!(running.is_empty(), "run: {running:?}");
    Ok(())
}
