//! Attempts to get out of the root or at the runtime, and what is at the edge
//! of every limit.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, FreeBsd, Linux};
use crate::harness::test::until;
use crate::harness::{Bundle, Call, Case, Container, Outcome, Test, host};
use crate::{check, same};

const PATHS: &str = "hostile, paths";
const LIMITS: &str = "hostile, limits";

/// A case: properties that get values at the edges of every type.
macro_rules! edges {
    ($name:literal, $platforms:ident, $($pointer:literal),+) => {
        Case {
            name: concat!("hostile/edges-of-", $name),
            platforms: $platforms,
            section: LIMITS,
            says: "Values at the edges of every type are an error or work, never crash the runtime, and leave nothing.",
            run: |t| edges(t, &[$($pointer),+]),
        }
    };
}

pub const CASES: &[Case] = &[
    Case {
        name: "hostile/swapped-component-of-a-mount",
        platforms: Any,
        section: PATHS,
        says: "A directory that is swapped with a link to the host, over and over during create, never leads a mount out of the root.",
        run: |t| {
            swapped(t, |bundle, dir| {
                bundle
                    .tmpfs("/swap/made", &[])
                    .bind(dir, "/swap/bound", &[])
            })
        },
    },
    Case {
        name: "hostile/swapped-component-of-a-file-mount",
        platforms: Any,
        section: PATHS,
        says: "The same for a file, whose mount point is made.",
        run: |t| {
            let file = t.host_file("content")?;
            swapped(t, |bundle, _| bundle.bind(&file, "/swap/file", &[]))
        },
    },
    Case {
        name: "hostile/swapped-component-of-masks-and-devices",
        platforms: Linux,
        section: PATHS,
        says: "The same for masked and read-only paths and for devices.",
        run: |t| {
            swapped(t, |bundle, _| {
                bundle
                    .set("/linux/maskedPaths", json!(["/swap/victim"]))
                    .set("/linux/readonlyPaths", json!(["/swap/precious"]))
                    .set(
                        "/linux/devices",
                        json!([
                            {"path": "/swap/device", "type": "c", "major": 1, "minor": 3},
                        ]),
                    )
            })
        },
    },
    Case {
        name: "hostile/swapped-component-of-the-cwd",
        platforms: Any,
        section: PATHS,
        says: "The same for the working directory, which is made when it is missing.",
        run: |t| {
            swapped(t, |bundle, _| {
                bundle.set("/process/cwd", json!("/swap/made/cwd"))
            })
        },
    },
    Case {
        name: "hostile/cwd-through-a-link",
        platforms: Any,
        section: PATHS,
        says: "A working directory that is a link to the host, or climbs with .., stays inside.",
        run: |t| {
            let victim = t.host_dir()?;
            let bundle = t.bundle()?.link("/out", &victim.to_string_lossy())?;
            let climb = "/../../../../../../../../etc";
            for cwd in ["/out", "/out/made", climb] {
                let bundle = bundle.clone().set("/process/cwd", json!(cwd));
                let bundle = bundle.acts(&["write", "mine", "x", ";", "report"]);
                let (call, id, pid_file) = t.create_call(&bundle, &[])?;
                let run = call.run()?;
                if run.code == 0 {
                    let c = Container::made(t, id, &pid_file, &run)?;
                    if t.call(&["start", &c.id]).run()?.code == 0 {
                        c.await_status("stopped")?;
                    }
                }
                check!(
                    fs::read_dir(&victim)?.next().is_none(),
                    "{cwd}: the host was written"
                );
            }
            check!(
                !Path::new("/etc/mine").exists(),
                "the host's /etc was written"
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/exec-cwd-descriptor-escape",
        platforms: Linux,
        section: "hostile, descriptors",
        says: "exec with a working directory of /proc/self/fd/N leads nowhere on the host (CVE-2024-21626).",
        run: |t| {
            let c = t.running()?;
            for fd in 3..12 {
                let cwd = format!("/proc/self/fd/{fd}");
                let run = c.exec(&["--cwd", &cwd], &["report"])?;
                if run.code != 0 {
                    continue;
                }
                let report: Value = serde_json::from_str(&run.out)?;
                let cwd = report["cwd"].as_str().unwrap_or_default();
                check!(
                    cwd.starts_with('/'),
                    "fd {fd}: the working directory is {cwd:?}"
                );
            }
            c.is("running")
        },
    },
    Case {
        name: "hostile/hundred-descriptors",
        platforms: Any,
        section: "hostile, descriptors",
        says: "Of a hundred descriptors that the caller leaks, directories among them, none reaches a program.",
        run: |t| leaking(t),
    },
    Case {
        name: "hostile/dev-is-a-link",
        platforms: Linux,
        section: PATHS,
        says: "Default devices are not made on the host when /dev of the root is a link to it.",
        run: |t| {
            let victim = t.host_dir()?;
            let mut bundle = t.bundle()?;
            for destination in ["/dev", "/dev/pts", "/dev/shm"] {
                bundle = bundle.without_mount(destination);
            }
            fs::remove_dir(bundle.root().join("dev"))?;
            let bundle = bundle.link("/dev", &victim.to_string_lossy())?;
            let (call, ..) = t.create_call(&bundle, &[])?;
            call.run()?;
            check!(
                fs::read_dir(&victim)?.next().is_none(),
                "the host was written"
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/mount-point-is-a-link",
        platforms: Any,
        section: PATHS,
        says: "A mount on a path that is itself a link to the host is not made there.",
        run: |t| {
            let victim = t.host_dir()?;
            fs::write(victim.join("precious"), "")?;
            let bundle = t.bundle()?.link("/out", &victim.to_string_lossy())?;
            let (call, ..) = t.create_call(&bundle.tmpfs("/out", &[]), &[])?;
            call.run()?;
            check!(
                victim.join("precious").exists(),
                "the host's directory is covered"
            );
            check!(
                !host::has_mounts_below(&victim),
                "something is mounted on the host"
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/fifo-as-a-destination",
        platforms: Any,
        section: PATHS,
        says: "A destination that is a FIFO of the root does not make create hang.",
        run: |t| {
            let bundle = t.bundle()?;
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            nix::unistd::mkfifo(&bundle.root().join("fifo"), mode)?;
            let (call, ..) = t.create_call(&bundle.bind(&t.host_file("x")?, "/fifo", &[]), &[])?;
            call.spawn()?.wait(std::time::Duration::from_secs(10))?;
            Ok(())
        },
    },
    Case {
        name: "hostile/passwd-is-a-fifo",
        platforms: Any,
        section: PATHS,
        says: "exec of a user by name does not hang when /etc/passwd of the root is a FIFO.",
        run: |t| {
            let bundle = t.waiting()?;
            let passwd = bundle.root().join("etc/passwd");
            fs::remove_file(&passwd)?;
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            nix::unistd::mkfifo(&passwd, mode)?;
            let c = t.ready(&bundle)?;
            let words = ["exec", "-u", "alice", &c.id, "/bin/probe", "exit", "0"];
            let exec = t.call(&words).spawn()?;
            exec.wait(std::time::Duration::from_secs(10))?.fails()?;
            c.is("running")
        },
    },
    Case {
        name: "hostile/passwd-is-a-link-to-the-host",
        platforms: Any,
        section: PATHS,
        says: "exec of a user by name never reads the host's files through a link.",
        run: |t| {
            let secret = t.host_file("mallory:x:4242:4242::/:/bin/sh\n")?;
            let bundle = t.waiting()?;
            fs::remove_file(bundle.root().join("etc/passwd"))?;
            let bundle = bundle.link("/etc/passwd", &secret.to_string_lossy())?;
            let c = t.ready(&bundle)?;
            let run = c.exec(&["-u", "mallory"], &["report"])?;
            check!(
                run.code != 0 && !run.out.contains("4242"),
                "it was read: {run:?}"
            );
            c.is("running")
        },
    },
    Case {
        name: "hostile/created-process-cannot-be-traced",
        platforms: Linux,
        section: "hostile, tracing",
        says: "A process inside cannot trace or read the process of another container that joins its pid namespace, until that has exec'd.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["trace-others"]);
            let root = bundle.root();
            let first = t.ready(&bundle.set("/process/noNewPrivileges", json!(false)))?;
            for _ in 0..15 {
                let namespace =
                    json!({"type": "pid", "path": format!("/proc/{}/ns/pid", first.pid)});
                let joining = t.bundle()?.acts(&["exit", "0"]).without_namespace("pid");
                let c = t.create(&joining.set("/linux/namespaces/-", namespace))?;
                t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            }
            fs::write(root.join("stop"), "")?;
            first.await_output("traced ")?;
            let output = first.output();
            let line = output.lines().last().unwrap_or_default();
            check!(line.starts_with("traced 0 read 0 of "), "it could: {line}");
            check!(
                !line.ends_with(" of 0"),
                "it never saw one before its exec: {line}"
            );
            Ok(())
        },
    },
    Case {
        name: "hostile/fork-bomb-against-kill-all",
        platforms: Any,
        section: LIMITS,
        says: "kill --all ends a fork bomb at work, each of its processes.",
        run: |t| {
            let c = bomb(t)?;
            t.call(&["kill", "--all", &c.id, "KILL"]).run()?.ok()?;
            c.await_status("stopped")?;
            let words = || host::processes_of(&t.mark);
            let inside = |all: &[(i32, String)]| all.iter().any(|(_, w)| w.contains("fork-bomb"));
            let gone = until(|| !inside(&words()));
            gone.ok_or_else(|| format!("{} are left", words().len()))?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/fork-bomb-against-delete",
        platforms: Any,
        section: LIMITS,
        says: "delete --force ends a fork bomb at work and leaves nothing of it.",
        run: |t| {
            let c = bomb(t)?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/thousands-of-mounts",
        platforms: Any,
        section: LIMITS,
        says: "Two thousand mounts are made and taken back.",
        run: |t| {
            let dir = t.host_dir()?;
            let mut bundle = t.waiting()?;
            for i in 0..2000 {
                bundle = bundle.bind(&dir, &format!("/mnt/d{i}"), &[]);
            }
            // Some take a millisecond for each, and that is no fault.
            let limit = 4 * crate::harness::test::patience();
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.spawn()?.wait(limit)?.ok()?;
            let c = Container::made(t, id, &pid_file, &run)?;
            let delete = t.call(&["delete", "--force", &c.id]).spawn()?;
            delete.wait(limit)?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/huge-environment",
        platforms: Any,
        section: LIMITS,
        says: "An environment of 400 KiB in four thousand variables arrives whole.",
        run: |t| {
            let mut bundle = t.bundle()?;
            for i in 0..4000 {
                bundle = bundle.env(&format!("V{i}={}", "x".repeat(90)));
            }
            let report = t.report(&bundle)?;
            let count = report["env"].as_array().map_or(0, |all| {
                all.iter()
                    .filter(|e| e.as_str().is_some_and(|e| e.starts_with('V')))
                    .count()
            });
            same!(count, 4000, "the number of variables");
            Ok(())
        },
    },
    Case {
        name: "hostile/environment-too-large",
        platforms: Any,
        section: LIMITS,
        says: "An environment that no kernel takes (8 MiB) is an error of create or start, and leaves nothing.",
        run: |t| {
            let mut bundle = t.bundle()?;
            for i in 0..128 {
                bundle = bundle.env(&format!("V{i}={}", "x".repeat(65_000)));
            }
            let (call, id, _) = t.create_call(&bundle, &[])?;
            if call.run()?.code == 0 {
                t.call(&["start", &id]).run()?.fails()?;
                t.call(&["delete", "--force", &id]).run()?.ok()?;
            }
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/many-arguments",
        platforms: Any,
        section: LIMITS,
        says: "Ten thousand arguments arrive whole.",
        run: |t| {
            let mut acts = vec!["report", ";", "echo"];
            acts.extend(std::iter::repeat_n("argument", 10_000));
            let output = t.output(&t.bundle()?.acts(&acts))?;
            let last = output.lines().last().unwrap_or_default();
            same!(last.split(' ').count(), 10_000, "the number of arguments");
            Ok(())
        },
    },
    Case {
        name: "hostile/long-component",
        platforms: Any,
        section: LIMITS,
        says: "A mount point whose name has 255 bytes works, one with 256 is refused.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let good = format!("/{}", "n".repeat(255));
            let bundle = t.bundle()?.bind(&dir, &good, &[]).acts(&["list", &good]);
            same!(t.output(&bundle)?, "here\n", "what is mounted");
            let bad = format!("/{}", "n".repeat(256));
            t.refused(&t.bundle()?.bind(&dir, &bad, &[]), &[])?;
            Ok(())
        },
    },
    Case {
        name: "hostile/long-destination",
        platforms: Any,
        section: LIMITS,
        says: "A destination longer than any path is refused, and nothing of it is left.",
        run: |t| {
            let bundle = t.bundle()?;
            let long = "/component-of-a-path".repeat(400);
            t.refused(&bundle.clone().tmpfs(&long, &[]), &[])?;
            let left = bundle.root().join("component-of-a-path");
            let empty = !left.exists() || fs::read_dir(&left)?.next().is_none();
            check!(empty, "directories are left below the root");
            Ok(())
        },
    },
    Case {
        name: "hostile/deep-destination",
        platforms: Any,
        section: LIMITS,
        says: "A destination of a hundred components works.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let deep = "/d".repeat(100);
            let bundle = t.bundle()?.bind(&dir, &deep, &[]).acts(&["list", &deep]);
            same!(t.output(&bundle)?, "here\n", "what is mounted");
            Ok(())
        },
    },
    Case {
        name: "hostile/long-bundle-path",
        platforms: Any,
        section: LIMITS,
        says: "A bundle whose path has more than 700 bytes works.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["echo", "x"]);
            let mut deep = t.fresh("deep");
            while deep.as_os_str().len() < 700 {
                deep.push("n".repeat(60));
            }
            fs::create_dir_all(&deep)?;
            let dir = deep.join("bundle");
            fs::rename(&bundle.dir, &dir)?;
            let moved = Bundle { dir, ..bundle };
            same!(t.output(&moved)?, "x\n", "the output");
            Ok(())
        },
    },
    Case {
        name: "hostile/deep-json",
        platforms: Any,
        section: LIMITS,
        says: "A config.json of a hundred thousand brackets is refused and does not crash the runtime.",
        run: |t| {
            let bundle = t.bundle()?;
            let text = format!("{{\"annotations\": {}", "[".repeat(100_000));
            fs::write(bundle.dir.join("config.json"), text)?;
            let dir = bundle.dir.to_string_lossy();
            let run = t.call(&["create", "--bundle", &dir, &t.id()]).run()?;
            run.status(1)?;
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/large-config",
        platforms: Any,
        section: LIMITS,
        says: "Annotations of 2 MiB are kept, and a container with them lives as any other.",
        run: |t| {
            let mut all = serde_json::Map::new();
            for i in 0..2000 {
                all.insert(format!("com.example.k{i}"), json!("v".repeat(1000)));
            }
            let c = t.ready(&t.waiting()?.set("/annotations", Value::from(all)))?;
            let state = c.state()?;
            same!(
                state["annotations"].as_object().map(serde_json::Map::len),
                Some(2000),
                "annotations"
            );
            c.stop()?;
            c.delete()?;
            t.nothing_left()
        },
    },
    Case {
        name: "hostile/pid-file-is-a-link",
        platforms: Any,
        section: PATHS,
        says: "A pid file that is a link to a file of the host does not write through it, or replaces it.",
        run: |t| {
            let victim = t.host_file("precious")?;
            let bundle = t.waiting()?;
            bundle.write()?;
            let (id, link) = (t.id(), t.fresh("pid"));
            std::os::unix::fs::symlink(&victim, &link)?;
            let (dir, file) = (bundle.dir.to_string_lossy(), link.to_string_lossy());
            t.call(&["create", "--bundle", &dir, "--pid-file", &file, &id])
                .run()?;
            same!(
                fs::read_to_string(&victim)?,
                "precious",
                "the file behind the link"
            );
            Ok(())
        },
    },
    edges!(
        "process",
        Any,
        "/process",
        "/process/args",
        "/process/args/0",
        "/process/cwd",
        "/process/env",
        "/process/env/0",
        "/process/terminal",
        "/process/consoleSize",
        "/process/noNewPrivileges",
        "/process/rlimits"
    ),
    edges!(
        "user",
        Any,
        "/process/user",
        "/process/user/uid",
        "/process/user/gid",
        "/process/user/umask",
        "/process/user/additionalGids",
        "/process/user/additionalGids/0"
    ),
    edges!(
        "rlimits",
        Any,
        "/process/rlimits/0/type",
        "/process/rlimits/0/soft",
        "/process/rlimits/0/hard"
    ),
    edges!(
        "root-and-names",
        Any,
        "/ociVersion",
        "/root",
        "/root/path",
        "/root/readonly",
        "/hostname",
        "/domainname",
        "/annotations",
        "/annotations/com.example.a"
    ),
    edges!(
        "mounts",
        Any,
        "/mounts",
        "/mounts/0",
        "/mounts/0/destination",
        "/mounts/0/source",
        "/mounts/0/type",
        "/mounts/0/options",
        "/mounts/0/options/0"
    ),
    edges!(
        "hooks",
        Any,
        "/hooks",
        "/hooks/createRuntime",
        "/hooks/createRuntime/0/path",
        "/hooks/createRuntime/0/args",
        "/hooks/createRuntime/0/env",
        "/hooks/createRuntime/0/timeout"
    ),
    edges!(
        "linux",
        Linux,
        "/linux",
        "/linux/namespaces",
        "/linux/namespaces/0/type",
        "/linux/namespaces/0/path",
        "/linux/devices",
        "/linux/devices/0/major",
        "/linux/devices/0/fileMode",
        "/linux/cgroupsPath",
        "/linux/sysctl",
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/rootfsPropagation",
        "/linux/mountLabel",
        "/linux/seccomp",
        "/linux/personality"
    ),
    edges!(
        "resources",
        Linux,
        "/linux/resources",
        "/linux/resources/memory/limit",
        "/linux/resources/memory/swap",
        "/linux/resources/memory/swappiness",
        "/linux/resources/cpu/shares",
        "/linux/resources/cpu/quota",
        "/linux/resources/cpu/period",
        "/linux/resources/cpu/cpus",
        "/linux/resources/pids/limit",
        "/linux/resources/devices",
        "/linux/resources/devices/0/major",
        "/linux/resources/blockIO/weight",
        "/linux/resources/hugepageLimits",
        "/linux/resources/unified"
    ),
    edges!(
        "linux-process",
        Linux,
        "/process/capabilities",
        "/process/capabilities/bounding",
        "/process/oomScoreAdj",
        "/process/scheduler",
        "/process/scheduler/nice",
        "/process/scheduler/priority",
        "/process/ioPriority",
        "/process/ioPriority/priority",
        "/process/execCPUAffinity"
    ),
    edges!(
        "jail",
        FreeBsd,
        "/freebsd",
        "/freebsd/devices",
        "/freebsd/devices/0",
        "/freebsd/devices/0/path",
        "/freebsd/devices/0/mode",
        "/freebsd/jail",
        "/freebsd/jail/parent",
        "/freebsd/jail/host",
        "/freebsd/jail/ip4",
        "/freebsd/jail/ip4Addr",
        "/freebsd/jail/ip6Addr",
        "/freebsd/jail/vnet",
        "/freebsd/jail/interface",
        "/freebsd/jail/vnetInterfaces",
        "/freebsd/jail/sysvmsg",
        "/freebsd/jail/enforceStatfs",
        "/freebsd/jail/allow",
        "/freebsd/jail/allow/mount",
        "/freebsd/jail/allow/mlock"
    ),
];

/// Creates containers while a component of the root is swapped with a link to
/// a directory of the host, which must stay as it is.
fn swapped(t: &Test, with: impl Fn(Bundle, &Path) -> Bundle) -> Outcome {
    let (victim, dir) = (t.host_dir()?, t.host_dir()?);
    for name in ["victim", "precious"] {
        fs::write(victim.join(name), "data")?;
    }
    let bundle = t.bundle()?.directory("/swap")?.directory("/real")?;
    let root = bundle.root();
    // Seen from the host's root, as a runtime that follows it would.
    let bundle = bundle.link("/link", &victim.to_string_lossy())?;
    for name in ["victim", "precious"] {
        fs::write(root.join("swap").join(name), "inside")?;
    }
    let bundle = with(bundle.acts(&["exit", "0"]), &dir);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, link, aside) = (root.join("swap"), root.join("link"), root.join("aside"));
            while !stop.load(Ordering::Relaxed) {
                // While something is mounted below it cannot be moved: fine.
                if fs::rename(&swap, &aside).is_ok() {
                    let _ = fs::rename(&link, &swap);
                    std::thread::yield_now();
                    let _ = fs::rename(&swap, &link);
                    let _ = fs::rename(&aside, &swap);
                }
            }
        });
        let outcome = (|| {
            for round in 0..25 {
                let (call, id, _) = t.create_call(&bundle, &[])?;
                if call.run()?.code == 0 {
                    t.call(&["start", &id]).run()?;
                }
                check!(
                    !host::has_mounts_below(&victim),
                    "round {round}: something is mounted on the host's directory"
                );
                t.call(&["delete", "--force", &id]).run()?.ok()?;
                let mut names: Vec<_> = fs::read_dir(&victim)?
                    .flatten()
                    .map(|e| e.file_name())
                    .collect();
                names.sort();
                check!(
                    names == ["precious", "victim"],
                    "round {round}: the host's directory holds {names:?}"
                );
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    for name in ["victim", "precious"] {
        same!(fs::read_to_string(victim.join(name))?, "data", name);
    }
    Ok(())
}

fn leak(mut call: Call<'_>) -> Call<'_> {
    for i in 0..100 {
        let path = if i % 2 == 0 { "/" } else { "/dev/null" };
        call = call.fd(fs::File::open(path).expect("it can be opened").into());
    }
    call
}

fn leaking(t: &Test) -> Outcome {
    let bundle = t.bundle()?.acts(&["report", ";", "wait"]);
    let (call, id, pid_file) = t.create_call(&bundle, &[])?;
    let run = leak(call).run()?.ok()?;
    let c = Container::made(t, id, &pid_file, &run)?;
    leak(t.call(&["start", &c.id])).run()?.ok()?;
    c.await_output("ready")?;
    let exec = leak(t.call(&["exec", &c.id, "/bin/probe", "report"]));
    let of_exec = exec.run()?.ok()?.out;
    let output = c.output();
    for text in [output.lines().next().unwrap_or_default(), of_exec.trim()] {
        let report: Value = serde_json::from_str(text)?;
        let all = report["fds"].as_array().cloned().unwrap_or_default();
        let numbers: Vec<i64> = all.iter().filter_map(|fd| fd["fd"].as_i64()).collect();
        check!(numbers == [0, 1, 2], "open are {}", report["fds"]);
    }
    Ok(())
}

/// A container whose processes fork without end, up to 150 at a time.
fn bomb<'s>(t: &'s Test<'s>) -> Outcome<Container<'s>> {
    let limit = json!([{"type": "RLIMIT_NPROC", "soft": 150, "hard": 150}]);
    let bundle = t
        .bundle()?
        .set("/process/user", json!({"uid": 61_234, "gid": 61_234}))
        .set("/process/rlimits", limit);
    let c = t.start(&bundle.acts(&["fork-bomb", "20"]))?;
    c.await_output("ready")?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    Ok(c)
}

fn edges(t: &Test, pointers: &[&str]) -> Outcome {
    let long = "x".repeat(5000);
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(i32::MAX),
        json!(u32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5e300),
        json!(""),
        json!("a\u{0}b"),
        json!(long),
        json!([]),
        json!([null]),
        json!({}),
    ];
    for pointer in pointers {
        for value in &values {
            let bundle = complete(t.bundle()?.acts(&["exit", "0"])).set(pointer, value.clone());
            let shown: String = value.to_string().chars().take(30).collect();
            let what = format!("{pointer} = {shown}");
            let (call, id, _) = t.create_call(&bundle, &[])?;
            let run = call.run().map_err(|stop| format!("{what}: {stop:?}"))?;
            // 255 is how some end with any error.
            let is_error = run.code < 2 || run.code == 255;
            check!(is_error, "{what}: status {}: {}", run.code, run.err);
            for word in ["panic", "goroutine", "RUST_BACKTRACE", "assertion"] {
                check!(!run.err.contains(word), "{what}: {}", run.err);
            }
            if run.code == 0 {
                t.call(&["delete", "--force", &id]).run()?.ok()?;
            }
            fs::remove_dir_all(&bundle.dir).or_else(|e| {
                // What is mounted still is found below.
                if host::has_mounts_below(&bundle.dir) {
                    Ok(())
                } else {
                    Err(e)
                }
            })?;
            t.nothing_left()
                .map_err(|stop| format!("{what}: {stop:?}"))?;
        }
    }
    Ok(())
}

/// A configuration that has what the pointers name.
fn complete(mut bundle: Bundle) -> Bundle {
    let parts = [
        ("/annotations", json!({"com.example.a": "b"})),
        ("/process/user/additionalGids", json!([7])),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 600}]),
        ),
        (
            "/hooks",
            json!({"createRuntime": [{"path": "/bin/true", "args": ["true"], "env": []}]}),
        ),
    ];
    for (pointer, value) in parts {
        bundle = bundle.set(pointer, value);
    }
    if cfg!(target_os = "freebsd") {
        let devices = json!([{"path": "mem", "mode": 256}]);
        return bundle.set(
            "/freebsd",
            json!({"devices": devices, "jail": {"allow": {}}}),
        );
    }
    let device = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]);
    bundle.set("/linux/devices", device)
}
