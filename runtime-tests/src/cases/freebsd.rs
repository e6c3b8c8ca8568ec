//! What config-freebsd.md has, and the annotations that mean the same.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::harness::Platforms::FreeBsd;
use crate::harness::test::json_lines;
use crate::harness::{Bundle, Case, Outcome, Test, host};
use crate::{check, same, skip};

const JAIL: &str = "config-freebsd.md, Jail";

pub const CASES: &[Case] = &[
    Case {
        name: "freebsd/is-a-jail",
        platforms: FreeBsd,
        section: JAIL,
        says: "The program runs in a jail.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            same!(
                report["jail"]["security.jail.jailed"],
                json!(1),
                "security.jail.jailed"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/jail-name-is-the-id",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The jail's name is the container's id, and its path the root file system.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.ready(&bundle)?;
            let wanted = format!("{} {}", c.id, bundle.root().display());
            let all = host::snapshot();
            check!(
                all.contains(&format!("jail {wanted}")),
                "there is no jail {wanted}: {all:?}"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/jail-lives-through-stopped",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The jail lives from create until delete, also when its program has ended.",
        run: |t| {
            let c = t.create(&t.bundle()?.acts(&["exit", "0"]))?;
            check!(jail(&c.id), "there is no jail after create");
            c.start()?;
            c.await_status("stopped")?;
            check!(jail(&c.id), "the jail went with the program");
            c.delete()?;
            check!(!jail(&c.id), "the jail is there after delete");
            t.nothing_left()
        },
    },
    Case {
        name: "freebsd/hooks-inside-and-outside",
        platforms: FreeBsd,
        section: "config.md, POSIX-platform Hooks",
        says: "startContainer hooks run in the jail, createRuntime and poststart hooks outside.",
        run: |t| {
            let bundle = t.waiting()?;
            let log = bundle.root().join("log");
            let outside =
                |kind: &str| json!({"path": t.suite.probe, "args": ["probe", "hook", log, kind]});
            let inside =
                json!({"path": "/bin/probe", "args": ["probe", "hook", "/log", "startContainer"]});
            let bundle = bundle.hook("createRuntime", outside("createRuntime"));
            let bundle = bundle
                .hook("poststart", outside("poststart"))
                .hook("startContainer", inside);
            let _c = t.ready(&bundle)?;
            for line in json_lines(&log)? {
                let wanted = i64::from(line["label"] == "startContainer");
                same!(
                    line["jailed"],
                    json!(wanted),
                    format!("whether {} runs in a jail", line["label"])
                );
            }
            Ok(())
        },
    },
    Case {
        name: "freebsd/jail-is-there-for-network-hooks",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "Between create and start the jail can be addressed by its name.",
        run: |t| {
            let c = t.create(&t.waiting()?)?;
            check!(jail(&c.id), "there is no jail of that name");
            Ok(())
        },
    },
    Case {
        name: "freebsd/vnet-new",
        platforms: FreeBsd,
        section: JAIL,
        says: "vnet new gives the jail a network stack of its own.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/freebsd/jail/vnet", json!("new")))?;
            own_network(&report)
        },
    },
    Case {
        name: "freebsd/vnet-by-annotation",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The annotation org.freebsd.jail.vnet=new does the same.",
        run: |t| {
            let annotations = json!({"org.freebsd.jail.vnet": "new"});
            own_network(&t.report(&t.bundle()?.set("/annotations", annotations))?)
        },
    },
    Case {
        name: "freebsd/vnet-inherit",
        platforms: FreeBsd,
        section: JAIL,
        says: "vnet inherit shares the host's network stack.",
        run: |t| {
            let bundle = t.bundle()?.set("/freebsd/jail/vnet", json!("inherit"));
            let report = t.report(&bundle.set("/freebsd/jail/ip4", json!("inherit")))?;
            same!(
                report["jail"]["security.jail.vnet"],
                json!(0),
                "security.jail.vnet"
            );
            same!(
                report["interfaces"],
                crate::probe::report()["interfaces"],
                "the interfaces"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/ip4-inherit",
        platforms: FreeBsd,
        section: JAIL,
        says: "ip4 inherit shows the host's addresses.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/freebsd/jail/ip4", json!("inherit")))?;
            check!(
                addresses(&report).contains("127.0.0.1"),
                "{}",
                report["addresses"]
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/ip4-disable",
        platforms: FreeBsd,
        section: JAIL,
        says: "ip4 disable leaves no IPv4 address.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/freebsd/jail/ip4", json!("disable")))?;
            check!(
                !addresses(&report).contains("127.0.0.1"),
                "{}",
                report["addresses"]
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/ip4-addresses",
        platforms: FreeBsd,
        section: JAIL,
        says: "ip4Addr restricts the jail to these addresses.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/ip4Addr", json!(["127.0.0.1"]));
            let report = t.report(&bundle.set("/freebsd/jail/ip4", json!("new")))?;
            let text = addresses(&report);
            check!(text.contains("127.0.0.1"), "{text}");
            Ok(())
        },
    },
    Case {
        name: "freebsd/ip4-address-malformed",
        platforms: FreeBsd,
        section: "robustness, wrong input",
        says: "An address that is none is refused with its path.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/ip4Addr", json!(["10.0.0.1", "10.0.0.300"]));
            t.refused(&bundle, &[])?
                .one_line(&["freebsd.jail.ip4Addr[1]", "10.0.0.300"])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/interface-alias",
        platforms: FreeBsd,
        section: JAIL,
        says: "interface gets the addresses as aliases for the container's life, and loses them after.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/ip4Addr", json!(["127.0.0.77"]));
            let before = host::snapshot();
            let report = t.report(&bundle.set("/freebsd/jail/interface", json!("lo0")))?;
            check!(
                addresses(&report).contains("127.0.0.77"),
                "{}",
                report["addresses"]
            );
            let after = host::snapshot();
            let left: Vec<_> = after
                .difference(&before)
                .filter(|x| x.contains("127.0.0.77"))
                .collect();
            check!(left.is_empty(), "left on the host: {left:?}");
            Ok(())
        },
    },
    Case {
        name: "freebsd/enforce-statfs",
        platforms: FreeBsd,
        section: JAIL,
        says: "enforceStatfs is the jail's.",
        run: |t| {
            for value in [0, 1, 2] {
                let report =
                    t.report(&t.bundle()?.set("/freebsd/jail/enforceStatfs", json!(value)))?;
                same!(
                    report["jail"]["security.jail.enforce_statfs"],
                    json!(value),
                    "enforce_statfs"
                );
            }
            Ok(())
        },
    },
    Case {
        name: "freebsd/enforce-statfs-out-of-range",
        platforms: FreeBsd,
        section: JAIL,
        says: "An enforceStatfs above 2 is refused with its path.",
        run: |t| {
            let bundle = t.bundle()?.set("/freebsd/jail/enforceStatfs", json!(3));
            t.refused(&bundle, &[])?.one_line(&["enforceStatfs"])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/allow-raw-sockets",
        platforms: FreeBsd,
        section: JAIL,
        says: "allow.rawSockets is given and withheld as asked.",
        run: |t| allow(t, "rawSockets", "security.jail.allow_raw_sockets"),
    },
    Case {
        name: "freebsd/allow-chflags",
        platforms: FreeBsd,
        section: JAIL,
        says: "allow.chflags is given and withheld as asked.",
        run: |t| allow(t, "chflags", "security.jail.chflags_allowed"),
    },
    Case {
        name: "freebsd/allow-by-annotation",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The annotation org.freebsd.jail.allow.raw_sockets=true does the same.",
        run: |t| {
            let annotations = json!({"org.freebsd.jail.allow.raw_sockets": "true"});
            let report = t.report(&t.bundle()?.set("/annotations", annotations))?;
            same!(
                report["jail"]["security.jail.allow_raw_sockets"],
                json!(1),
                "allow_raw_sockets"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/set-hostname-forbidden",
        platforms: FreeBsd,
        section: JAIL,
        says: "allow.setHostname false keeps root inside from changing the hostname.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/allow/setHostname", json!(false));
            same!(
                t.output(&bundle.acts(&["try", "sethostname", "x"]))?,
                "EPERM\n",
                "sethostname"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/set-hostname-allowed",
        platforms: FreeBsd,
        section: JAIL,
        says: "allow.setHostname true lets root inside change the jail's own hostname only.",
        run: |t| {
            let before = nix::unistd::gethostname()?;
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/allow/setHostname", json!(true));
            same!(
                t.output(&bundle.acts(&["try", "sethostname", "x"]))?,
                "ok\n",
                "sethostname"
            );
            same!(nix::unistd::gethostname()?, before, "the host's name");
            Ok(())
        },
    },
    Case {
        name: "freebsd/sysvshm-new",
        platforms: FreeBsd,
        section: JAIL,
        says: "sysvshm new gives shared memory of the jail's own.",
        run: |t| {
            let bundle = t.bundle()?.set("/freebsd/jail/sysvshm", json!("new"));
            same!(t.output(&bundle.acts(&["try", "shm"]))?, "ok\n", "shmget");
            Ok(())
        },
    },
    Case {
        name: "freebsd/sysvshm-disable",
        platforms: FreeBsd,
        section: JAIL,
        says: "sysvshm disable leaves no shared memory.",
        run: |t| {
            let bundle = t.bundle()?.set("/freebsd/jail/sysvshm", json!("disable"));
            same!(
                t.output(&bundle.acts(&["try", "shm"]))?,
                "ENOSYS\n",
                "shmget"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/sysvshm-by-annotation",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The annotation org.freebsd.jail.sysvshm=new does the same.",
        run: |t| {
            let annotations = json!({"org.freebsd.jail.sysvshm": "new"});
            let bundle = t.bundle()?.set("/annotations", annotations);
            same!(t.output(&bundle.acts(&["try", "shm"]))?, "ok\n", "shmget");
            Ok(())
        },
    },
    Case {
        name: "freebsd/devfs-ruleset-hides",
        platforms: FreeBsd,
        section: "engines, containerd",
        says: "devfs with ruleset 4 shows the harmless devices and hides the rest.",
        run: |t| {
            let report = t.report(&t.bundle()?)?;
            let dev = report["dev"].to_string();
            for name in ["null", "zero", "random", "urandom", "fd", "stdin"] {
                check!(
                    dev.contains(&format!("\"{name}\"")),
                    "{name} is missing: {dev}"
                );
            }
            for name in ["mem", "kmem", "io", "geom.ctl"] {
                check!(
                    !dev.contains(&format!("\"{name}\"")),
                    "{name} is there: {dev}"
                );
            }
            Ok(())
        },
    },
    Case {
        name: "freebsd/device-listed",
        platforms: FreeBsd,
        section: "config-freebsd.md, Devices",
        says: "A device in freebsd.devices is visible with its mode, and the host's keeps its own.",
        run: |t| {
            let before = fs::metadata("/dev/mem")?;
            let device = json!({"path": "mem", "mode": 0o400});
            let bundle = t
                .bundle()?
                .set("/freebsd/devices/-", device)
                .acts(&["stat", "/dev/mem"]);
            let stat: Value = serde_json::from_str(&t.output(&bundle)?)?;
            same!(stat["kind"], json!("char"), "type");
            same!(stat["mode"], json!(0o400), "mode");
            let after = fs::metadata("/dev/mem")?;
            use std::os::unix::fs::MetadataExt;
            same!(after.mode(), before.mode(), "the host's mode");
            Ok(())
        },
    },
    Case {
        name: "freebsd/devfs-rule-option",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "The devfs option rule=path X unhide mode NNNN shows a device.",
        run: |t| {
            let bundle = t.bundle()?.set(
                "/mounts/0/options",
                json!(["ruleset=4", "rule=path mem unhide mode 0440"]),
            );
            let stat: Value =
                serde_json::from_str(&t.output(&bundle.acts(&["stat", "/dev/mem"]))?)?;
            same!(stat["mode"], json!(0o440), format!("mode in {stat}"));
            Ok(())
        },
    },
    Case {
        name: "freebsd/fdescfs",
        platforms: FreeBsd,
        section: "engines, containerd",
        says: "A fdescfs can be mounted on /dev/fd.",
        run: |t| {
            let mount = json!({"destination": "/dev/fd", "type": "fdescfs", "source": "fdesc"});
            let output = t.output(&t.bundle()?.mount(mount).acts(&["list", "/dev/fd"]))?;
            check!(output.starts_with("0 1 2"), "{output:?}");
            t.nothing_left()
        },
    },
    Case {
        name: "freebsd/nullfs-of-a-socket",
        platforms: FreeBsd,
        section: "robustness, wrong input",
        says: "A socket, which nullfs does not take, is refused with that reason.",
        run: |t| {
            let path = t.dir.join("s.sock");
            let _listener = UnixListener::bind(&path)?;
            let run = t.refused(&t.bundle()?.bind(&path, "/s.sock", &[]), &[])?;
            run.one_line(&["socket"])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/mount-inside",
        platforms: FreeBsd,
        section: JAIL,
        says: "allow.mount lets root inside mount that type, and delete takes such mounts back.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/allow/mount", json!(["tmpfs"]));
            let bundle = bundle.set("/freebsd/jail/enforceStatfs", json!(1));
            let c = t.start(&bundle.acts(&["try", "mount-tmpfs", "/mnt", ";", "wait"]))?;
            c.await_output("ready")?;
            check!(
                c.output().starts_with("ok\n"),
                "mounting inside: {:?}",
                c.output()
            );
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "freebsd/mount-inside-forbidden",
        platforms: FreeBsd,
        section: JAIL,
        says: "Without allow.mount root inside cannot mount.",
        run: |t| {
            let output = t.output(&t.bundle()?.acts(&["try", "mount-tmpfs", "/mnt"]))?;
            same!(output, "EPERM\n", "mounting inside");
            Ok(())
        },
    },
    Case {
        name: "freebsd/allow-mount-unknown",
        platforms: FreeBsd,
        section: "robustness, wrong input",
        says: "allow.mount of a type that the kernel does not know is refused with the type.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/allow/mount", json!(["nosuchfs"]));
            let bundle = bundle.set("/freebsd/jail/enforceStatfs", json!(1));
            t.refused(&bundle, &[])?.one_line(&["nosuchfs"])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/parent-jail-by-annotation",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "org.freebsd.parentJail puts the jail below that one, named PARENT.ID.",
        run: |t| {
            let parent = t.create(&t.waiting()?)?;
            let annotations = json!({"org.freebsd.parentJail": parent.id});
            child(t, &parent.id, t.waiting()?.set("/annotations", annotations))
        },
    },
    Case {
        name: "freebsd/parent-jail",
        platforms: FreeBsd,
        section: JAIL,
        says: "freebsd.jail.parent puts the jail below that one.",
        run: |t| {
            let parent = t.create(&t.waiting()?)?;
            child(
                t,
                &parent.id,
                t.waiting()?.set("/freebsd/jail/parent", json!(parent.id)),
            )
        },
    },
    Case {
        name: "freebsd/parent-jail-missing",
        platforms: FreeBsd,
        section: JAIL,
        says: "A parent jail that does not exist is refused with its name.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/parent", json!("nosuchparent"));
            t.refused(&bundle, &[])?.one_line(&["nosuchparent"])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/host-inherit",
        platforms: FreeBsd,
        section: JAIL,
        says: "host inherit shares the host's name.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/host", json!("inherit"))
                .unset("/hostname");
            let report = t.report(&bundle)?;
            let own = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            same!(report["hostname"], json!(own), "the hostname");
            Ok(())
        },
    },
    Case {
        name: "freebsd/processes-of-the-host-are-hidden",
        platforms: FreeBsd,
        section: JAIL,
        says: "A process inside can neither see nor signal one of the host.",
        run: |t| {
            let pid = t.helper(&["ready", ";", "forever"])?.to_string();
            let output = t.output(&t.bundle()?.acts(&["try", "kill", &pid, "SIGKILL"]))?;
            same!(output, "ESRCH\n", "kill");
            Ok(())
        },
    },
    Case {
        name: "freebsd/limits-by-rctl",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "linux.resources.pids becomes an rctl rule of the jail, which goes with it.",
        run: |t| {
            if host::rules().is_none() {
                skip!("kern.racct.enable is 0 on this host");
            }
            let c = t.ready(
                &t.waiting()?
                    .set("/linux/resources/pids", json!({"limit": 20})),
            )?;
            let (rules, wanted) = (host::rules(), format!("jail:{}:maxproc:deny=20", c.id));
            let found = rules.iter().flatten().any(|rule| rule.starts_with(&wanted));
            check!(found, "there is no {wanted}: {rules:?}");
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
    Case {
        name: "freebsd/linux-section-is-no-obstacle",
        platforms: FreeBsd,
        section: "engines, podman and buildah on FreeBSD",
        says: "Namespaces and masked paths of a linux section that an engine wrote are no reason to fail.",
        run: |t| {
            let linux = json!({"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]});
            same!(
                t.output(&t.bundle()?.set("/linux", linux).acts(&["echo", "x"]))?,
                "x\n",
                "the output"
            );
            Ok(())
        },
    },
];

fn jail(name: &str) -> bool {
    let prefix = format!("jail {name} ");
    host::snapshot()
        .iter()
        .any(|entry| entry.starts_with(&prefix))
}

fn addresses(report: &Value) -> String {
    report["addresses"].to_string()
}

fn own_network(report: &Value) -> Outcome {
    same!(
        report["jail"]["security.jail.vnet"],
        json!(1),
        "security.jail.vnet"
    );
    // Some drivers put an unconfigured interface into every new stack.
    let cloned = ["lo0", "pflog0", "pfsync0", "enc0", "ipfw0"];
    let all: Vec<String> = serde_json::from_value(report["interfaces"].clone())?;
    let foreign: Vec<_> = all
        .iter()
        .filter(|name| !cloned.contains(&name.as_str()))
        .collect();
    check!(foreign.is_empty(), "interfaces of the host: {foreign:?}");
    check!(
        !addresses(report).contains("127.0.0.1"),
        "the host's addresses: {}",
        report["addresses"]
    );
    Ok(())
}

fn allow(t: &Test, property: &str, sysctl: &str) -> Outcome {
    for (value, wanted) in [(true, 1), (false, 0)] {
        let bundle = t
            .bundle()?
            .set(&format!("/freebsd/jail/allow/{property}"), json!(value));
        same!(t.report(&bundle)?["jail"][sysctl], json!(wanted), sysctl);
    }
    Ok(())
}

fn child(t: &Test, parent: &str, bundle: Bundle) -> Outcome {
    let c = t.ready(&bundle)?;
    let name = format!("{parent}.{}", c.id);
    check!(jail(&name), "there is no jail {name}");
    c.stop()?;
    c.delete()?;
    check!(!jail(&name), "the jail {name} is there after delete");
    check!(jail(parent), "the parent is gone, too");
    Ok(())
}
