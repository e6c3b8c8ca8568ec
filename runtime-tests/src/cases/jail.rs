//! Each property of config-freebsd.md, by the jail's parameter in the kernel
//! and by what it does to a program inside.

use serde_json::{Value, json};

use crate::harness::Platforms::FreeBsd;
use crate::harness::{Bundle, Case, Container, Outcome, Test, host};
use crate::{check, same};

const JAIL: &str = "config-freebsd.md, Jail";
const DEVICES: &str = "config-freebsd.md, Devices";

/// JAIL_SYS_DISABLE, JAIL_SYS_NEW and JAIL_SYS_INHERIT of sys/jail.h.
const DISABLE: i64 = 0;
const NEW: i64 = 1;
const INHERIT: i64 = 2;

/// A case: with this value of a property the kernel's parameter has that value.
macro_rules! parameter {
    ($name:literal, $property:literal, $value:tt, $parameter:literal, $wanted:expr) => {
        Case {
            name: concat!("freebsd/", $name),
            platforms: FreeBsd,
            section: JAIL,
            says: concat!($property, " becomes the jail's parameter ", $parameter, "."),
            run: |t| {
                let pointer = concat!("/freebsd/jail/", $property);
                // A hostname and the host's own exclude each other.
                let bundle = t.waiting()?.unset("/hostname");
                let bundle = bundle.set(pointer, json!($value));
                same!(parameter(t, &bundle, $parameter)?, $wanted, $parameter);
                Ok(())
            },
        }
    };
}

/// A case: without the property the kernel's parameter has this value.
macro_rules! default {
    ($name:literal, $parameter:literal, $wanted:expr) => {
        Case {
            name: concat!("freebsd/", $name),
            platforms: FreeBsd,
            section: JAIL,
            says: concat!(
                "When nothing is said the jail's ",
                $parameter,
                " has the default."
            ),
            run: |t| {
                // Without the section engines expect defaults of their own.
                let bundle = t.waiting()?.set("/freebsd/jail", json!({}));
                same!(parameter(t, &bundle, $parameter)?, $wanted, $parameter);
                Ok(())
            },
        }
    };
}

/// A case: this value of a property is refused.
macro_rules! refused {
    ($name:literal, $property:literal, $value:tt) => {
        Case {
            name: concat!("freebsd/", $name),
            platforms: FreeBsd,
            section: "config.md, Valid values",
            says: concat!(
                "A value that freebsd.jail.",
                $property,
                " cannot have is refused."
            ),
            run: |t| {
                let pointer = concat!("/freebsd/jail/", $property);
                t.refused(&t.bundle()?.set(pointer, json!($value)), &[])?;
                Ok(())
            },
        }
    };
}

/// A case: `try WORDS` inside says one thing with the permission, another one
/// without.
macro_rules! allowed {
    ($name:literal, $property:literal, $act:expr, $with:literal, $without:literal) => {
        Case {
            name: concat!("freebsd/", $name),
            platforms: FreeBsd,
            section: JAIL,
            says: concat!(
                "allow.",
                $property,
                " decides what a program inside may do."
            ),
            run: |t| {
                for (value, wanted) in [(true, $with), (false, $without)] {
                    let pointer = concat!("/freebsd/jail/allow/", $property);
                    let bundle = t.bundle()?.set(pointer, json!(value));
                    let bundle = bundle.set("/freebsd/jail/ip4", json!("inherit"));
                    let output = t.output(&bundle.acts(&$act))?;
                    same!(output.trim(), wanted, format!("with {value}"));
                }
                Ok(())
            },
        }
    };
}

pub const CASES: &[Case] = &[
    parameter!("sysvmsg-new", "sysvmsg", "new", "sysvmsg", NEW),
    parameter!("sysvmsg-inherit", "sysvmsg", "inherit", "sysvmsg", INHERIT),
    parameter!("sysvmsg-disable", "sysvmsg", "disable", "sysvmsg", DISABLE),
    parameter!("sysvsem-new", "sysvsem", "new", "sysvsem", NEW),
    parameter!("sysvsem-inherit", "sysvsem", "inherit", "sysvsem", INHERIT),
    parameter!("sysvsem-disable", "sysvsem", "disable", "sysvsem", DISABLE),
    parameter!("sysvshm-inherit", "sysvshm", "inherit", "sysvshm", INHERIT),
    parameter!("ip4-is-a-parameter", "ip4", "inherit", "ip4", INHERIT),
    parameter!(
        "ip4-disable-is-a-parameter",
        "ip4",
        "disable",
        "ip4",
        DISABLE
    ),
    parameter!("ip6-inherit", "ip6", "inherit", "ip6", INHERIT),
    parameter!("ip6-disable", "ip6", "disable", "ip6", DISABLE),
    parameter!("vnet-is-a-parameter", "vnet", "new", "vnet", NEW),
    parameter!("host-is-a-parameter", "host", "inherit", "host", INHERIT),
    parameter!(
        "enforce-statfs-is-a-parameter",
        "enforceStatfs",
        1,
        "enforce_statfs",
        1
    ),
    parameter!("allow-quotas", "allow/quotas", true, "allow.quotas", 1),
    parameter!(
        "allow-socket-af",
        "allow/socketAf",
        true,
        "allow.socket_af",
        1
    ),
    parameter!("allow-mlock", "allow/mlock", true, "allow.mlock", 1),
    parameter!(
        "allow-reserved-ports",
        "allow/reservedPorts",
        true,
        "allow.reserved_ports",
        1
    ),
    parameter!(
        "allow-no-reserved-ports",
        "allow/reservedPorts",
        false,
        "allow.reserved_ports",
        0
    ),
    parameter!("allow-suser", "allow/suser", false, "allow.suser", 0),
    parameter!(
        "allow-raw-sockets-is-a-parameter",
        "allow/rawSockets",
        true,
        "allow.raw_sockets",
        1
    ),
    parameter!(
        "allow-chflags-is-a-parameter",
        "allow/chflags",
        true,
        "allow.chflags",
        1
    ),
    parameter!(
        "set-hostname-is-a-parameter",
        "allow/setHostname",
        true,
        "allow.set_hostname",
        1
    ),
    default!("sysvmsg-default", "sysvmsg", NEW),
    default!("sysvsem-default", "sysvsem", NEW),
    default!("sysvshm-default", "sysvshm", NEW),
    default!("enforce-statfs-default", "enforce_statfs", 2),
    default!("children-max-default", "children.max", 0),
    default!("allow-raw-sockets-default", "allow.raw_sockets", 0),
    default!("allow-chflags-default", "allow.chflags", 0),
    default!("allow-quotas-default", "allow.quotas", 0),
    default!("allow-socket-af-default", "allow.socket_af", 0),
    default!("allow-mlock-default", "allow.mlock", 0),
    default!("allow-mount-default", "allow.mount", 0),
    default!("allow-suser-default", "allow.suser", 1),
    default!("securelevel-default", "securelevel", -1),
    default!("read-msgbuf-default", "allow.read_msgbuf", 0),
    refused!("sysvmsg-unknown", "sysvmsg", "sometimes"),
    refused!("sysvsem-unknown", "sysvsem", "sometimes"),
    refused!("sysvshm-unknown", "sysvshm", "sometimes"),
    refused!("ip4-unknown", "ip4", "sometimes"),
    refused!("ip6-unknown", "ip6", "sometimes"),
    refused!("vnet-unknown", "vnet", "sometimes"),
    refused!("vnet-disable", "vnet", "disable"),
    refused!("host-unknown", "host", "sometimes"),
    refused!("ip6-address-malformed", "ip6Addr", ["fd10::1", "fd10::g"]),
    refused!("ip4-address-of-the-other-family", "ip4Addr", ["fd10::1"]),
    refused!("ip6-address-of-the-other-family", "ip6Addr", ["10.0.0.1"]),
    refused!("interface-missing", "interface", "nosuchif0"),
    refused!("vnet-interfaces-missing", "vnetInterfaces", ["nosuchif0"]),
    refused!("enforce-statfs-negative", "enforceStatfs", (-1)),
    refused!("allow-not-a-boolean", "allow/mlock", "yes"),
    allowed!("mlock-inside", "mlock", ["try", "mlock"], "ok", "EPERM"),
    allowed!(
        "raw-socket-inside",
        "rawSockets",
        ["try", "raw-socket"],
        "ok",
        "EPERM"
    ),
    allowed!(
        "reserved-port-inside",
        "reservedPorts",
        ["try", "bind", "127.0.0.1:777"],
        "ok",
        "EACCES"
    ),
    allowed!(
        "suser-inside",
        "suser",
        ["try", "chown", "/etc/passwd", "5"],
        "ok",
        "EPERM"
    ),
    allowed!(
        "chflags-inside",
        "chflags",
        ["try", "chflags", "/etc/passwd"],
        "ok",
        "EPERM"
    ),
    Case {
        name: "freebsd/sysvmsg-inside",
        platforms: FreeBsd,
        section: JAIL,
        says: "sysvmsg new gives message queues, and disable leaves none.",
        run: |t| ipc(t, "sysvmsg", "msg"),
    },
    Case {
        name: "freebsd/sysvsem-inside",
        platforms: FreeBsd,
        section: JAIL,
        says: "sysvsem new gives semaphores, and disable leaves none.",
        run: |t| ipc(t, "sysvsem", "sem"),
    },
    Case {
        name: "freebsd/ip6-addresses",
        platforms: FreeBsd,
        section: JAIL,
        says: "ip6Addr restricts the jail to these addresses.",
        run: |t| {
            let bundle = t.waiting()?.set("/freebsd/jail/ip6Addr", json!(["::1"]));
            let c = t.create(&bundle)?;
            let raw = jail_bytes(&c.id, "ip6.addr", 16)?;
            let mut loopback = [0_u8; 16];
            loopback[15] = 1;
            same!(raw, loopback.to_vec(), "ip6.addr");
            Ok(())
        },
    },
    Case {
        name: "freebsd/ip4-addresses-are-a-parameter",
        platforms: FreeBsd,
        section: JAIL,
        says: "ip4Addr is the jail's ip4.addr, in its order.",
        run: |t| {
            let addresses = json!(["127.0.0.1", "10.99.0.7"]);
            let c = t.create(&t.waiting()?.set("/freebsd/jail/ip4Addr", addresses))?;
            let raw = jail_bytes(&c.id, "ip4.addr", 8)?;
            same!(raw, vec![127, 0, 0, 1, 10, 99, 0, 7], "ip4.addr");
            Ok(())
        },
    },
    Case {
        name: "freebsd/interface-alias-ip6",
        platforms: FreeBsd,
        section: JAIL,
        says: "interface gets IPv6 addresses as well, and loses them afterwards.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/freebsd/jail/ip6Addr", json!(["fd10:2:3::77"]))
                .set("/freebsd/jail/interface", json!("lo0"));
            let before = host::snapshot();
            let there = |s: &std::collections::BTreeSet<String>| {
                s.iter()
                    .any(|x| x.contains("lo0") && x.contains("fd10:2:3::77"))
            };
            let c = t.create(&bundle)?;
            check!(there(&host::snapshot()), "lo0 does not have it");
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            check!(!there(&host::snapshot()), "lo0 has it still");
            check!(!there(&before), "the host had it already");
            Ok(())
        },
    },
    Case {
        name: "freebsd/vnet-new-has-no-addresses",
        platforms: FreeBsd,
        section: JAIL,
        says: "A container with vnet new, ip4 and ip6 unchanged, has a network of its own to be set up.",
        run: |t| {
            let report = t.report(&t.bundle()?.set("/freebsd/jail/vnet", json!("new")))?;
            same!(report["jail"]["security.jail.vnet"], json!(1), "vnet");
            let all = report["addresses"].to_string();
            check!(!all.contains("127.0.0.1") && !all.contains("10."), "{all}");
            Ok(())
        },
    },
    Case {
        name: "freebsd/shared-network",
        platforms: FreeBsd,
        section: JAIL,
        says: "A container with vnet unset, ip4 and ip6 inherit, shares the host's network.",
        run: |t| {
            let bundle = t.bundle()?.set("/freebsd/jail/ip4", json!("inherit"));
            let bundle = bundle.set("/freebsd/jail/ip6", json!("inherit"));
            let mut report = t.report(&bundle)?;
            let mut own = crate::probe::report();
            // Other cases make interfaces and take them away meanwhile.
            for _ in 0..9 {
                if report["interfaces"] == own["interfaces"]
                    && report["addresses"] == own["addresses"]
                {
                    break;
                }
                report = t.report(&bundle)?;
                own = crate::probe::report();
            }
            same!(report["interfaces"], own["interfaces"], "the interfaces");
            same!(report["addresses"], own["addresses"], "the addresses");
            Ok(())
        },
    },
    Case {
        name: "freebsd/vnet-interfaces",
        platforms: FreeBsd,
        section: JAIL,
        says: "vnetInterfaces are in the container's vnet during its life, and back on the host afterwards.",
        run: |t| {
            let pair = pair()?;
            let bundle = t
                .waiting()?
                .set("/freebsd/jail/vnet", json!("new"))
                .set("/freebsd/jail/vnetInterfaces", json!([pair.name()]));
            let c = t.ready(&bundle)?;
            check!(!interface(pair.name()), "the host has it still");
            let inside = c.exec_report(&[])?["interfaces"].to_string();
            check!(inside.contains(pair.name()), "inside are {inside}");
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            let back = crate::harness::test::until(|| interface(pair.name()));
            back.ok_or("the host has not got it back")?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/vnet-of-the-parent",
        platforms: FreeBsd,
        section: JAIL,
        says: "A child with vnet inherit has the network stack of its parent, not the host's.",
        run: |t| {
            let parent = t.ready(&t.waiting()?.set("/freebsd/jail/vnet", json!("new")))?;
            let bundle = t
                .bundle()?
                .set("/freebsd/jail/parent", json!(parent.id))
                .set("/freebsd/jail/vnet", json!("inherit"));
            let of_child = t.report(&bundle)?["interfaces"].clone();
            let of_parent = parent.exec_report(&[])?["interfaces"].clone();
            same!(of_child, of_parent, "the interfaces");
            Ok(())
        },
    },
    Case {
        name: "freebsd/children-max-of-a-parent",
        platforms: FreeBsd,
        section: JAIL,
        says: "The runtime sees to children.max when a container is made below another one.",
        run: |t| {
            let parent = t.create(&t.waiting()?)?;
            let bundle = t.waiting()?.set("/freebsd/jail/parent", json!(parent.id));
            let (first, second) = (t.create(&bundle)?, t.create(&bundle.clone())?);
            for child in [&first, &second] {
                let name = format!("{}.{}", parent.id, child.id);
                jail_number(&name, "jid")?;
            }
            let max = jail_number(&parent.id, "children.max")?;
            check!(max >= 2, "children.max of the parent is {max}");
            Ok(())
        },
    },
    Case {
        name: "freebsd/host-new",
        platforms: FreeBsd,
        section: JAIL,
        says: "host new takes hostname and domainname from the configuration.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/freebsd/jail/host", json!("new"))
                .set("/hostname", json!("own.example"))
                .set("/domainname", json!("nis.example"));
            let c = t.create(&bundle)?;
            same!(jail_number(&c.id, "host")?, NEW, "host");
            same!(
                jail_text(&c.id, "host.hostname")?,
                "own.example",
                "host.hostname"
            );
            same!(
                jail_text(&c.id, "host.domainname")?,
                "nis.example",
                "host.domainname"
            );
            Ok(())
        },
    },
    Case {
        name: "freebsd/host-inherit-with-a-hostname",
        platforms: FreeBsd,
        section: JAIL,
        says: "host inherit beside a hostname is refused, or the container has the host's name.",
        run: |t| {
            let before = nix::unistd::gethostname()?;
            let bundle = t
                .bundle()?
                .acts(&["report"])
                .set("/freebsd/jail/host", json!("inherit"))
                .set("/hostname", json!("other.example"));
            let (call, id, pid_file) = t.create_call(&bundle, &[])?;
            let run = call.run()?;
            same!(nix::unistd::gethostname()?, before, "the host's name");
            if run.code != 0 {
                return t.nothing_left();
            }
            let c = Container::made(t, id, &pid_file, &run)?;
            c.start()?;
            let name = json!(before.to_string_lossy());
            c.await_output(&format!("\"hostname\":{name}"))
        },
    },
    Case {
        name: "freebsd/path-is-the-root",
        platforms: FreeBsd,
        section: JAIL,
        says: "root.path is the jail's path.",
        run: |t| {
            let bundle = t.waiting()?;
            let c = t.create(&bundle)?;
            let path = jail_text(&c.id, "path")?;
            same!(path, bundle.root().display().to_string(), "path");
            Ok(())
        },
    },
    Case {
        name: "freebsd/enforce-statfs-inside",
        platforms: FreeBsd,
        section: JAIL,
        says: "enforceStatfs 2 shows the root only, 1 what is mounted below it, 0 all of the host's mounts.",
        run: |t| {
            let mut seen = Vec::new();
            for value in [2, 1, 0] {
                let bundle = t.bundle()?.tmpfs("/mnt", &[]);
                let bundle = bundle.set("/freebsd/jail/enforceStatfs", json!(value));
                let report = t.report(&bundle)?;
                seen.push(report["mounts"].as_array().map_or(0, Vec::len));
            }
            check!(seen[0] <= 1, "with 2 it sees {} mounts", seen[0]);
            check!(seen[0] < seen[1], "with 2, 1, 0 it sees {seen:?} mounts");
            check!(seen[1] <= seen[2], "with 2, 1, 0 it sees {seen:?} mounts");
            Ok(())
        },
    },
    Case {
        name: "freebsd/mount-several-types",
        platforms: FreeBsd,
        section: JAIL,
        says: "Each type in allow.mount becomes allow.mount.TYPE, and others do not.",
        run: |t| {
            let bundle = t
                .waiting()?
                .set("/freebsd/jail/allow/mount", json!(["tmpfs", "nullfs"]))
                .set("/freebsd/jail/enforceStatfs", json!(1));
            let c = t.create(&bundle)?;
            for (name, wanted) in [
                ("allow.mount", 1),
                ("allow.mount.tmpfs", 1),
                ("allow.mount.nullfs", 1),
                ("allow.mount.devfs", 0),
            ] {
                same!(jail_number(&c.id, name)?, wanted, name);
            }
            Ok(())
        },
    },
    Case {
        name: "freebsd/device-with-its-usual-mode",
        platforms: FreeBsd,
        section: DEVICES,
        says: "A device without a mode is visible with the one that it has on the host.",
        run: |t| {
            use std::os::unix::fs::MetadataExt;
            let mode = std::fs::metadata("/dev/mem")?.mode() & 0o7777;
            let bundle = t
                .bundle()?
                .set("/freebsd/devices", json!([{"path": "mem"}]));
            let output = t.output(&bundle.acts(&["stat", "/dev/mem"]))?;
            let stat: Value = serde_json::from_str(&output)?;
            same!(stat["mode"], json!(mode), format!("the mode in {stat}"));
            Ok(())
        },
    },
    Case {
        name: "freebsd/devices-several",
        platforms: FreeBsd,
        section: DEVICES,
        says: "Several devices are visible, each with its mode, and no other one is.",
        run: |t| {
            let devices = json!([{"path": "mem", "mode": 256}, {"path": "io", "mode": 384}]);
            let acts = [
                "stat",
                "/dev/mem",
                ";",
                "stat",
                "/dev/io",
                ";",
                "stat",
                "/dev/kmem",
            ];
            let bundle = t.bundle()?.set("/freebsd/devices", devices);
            let output = t.output(&bundle.acts(&acts))?;
            let all: Vec<Value> = output
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_default())
                .collect();
            same!(all[0]["mode"], json!(256), "the mode of mem");
            same!(all[1]["mode"], json!(384), "the mode of io");
            same!(all[2]["error"], json!("ENOENT"), "kmem");
            Ok(())
        },
    },
    Case {
        name: "freebsd/device-outside-of-dev",
        platforms: FreeBsd,
        section: "hostile, paths",
        says: "A device whose path climbs out of /dev is refused.",
        run: |t| {
            let devices = json!([{"path": "../etc/passwd", "mode": 438}]);
            t.refused(&t.bundle()?.set("/freebsd/devices", devices), &[])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/parent-is-not-a-string",
        platforms: FreeBsd,
        section: "config.md, Valid values",
        says: "A parent that is no string is refused.",
        run: |t| {
            t.refused(&t.bundle()?.set("/freebsd/jail/parent", json!(7)), &[])?;
            Ok(())
        },
    },
    Case {
        name: "freebsd/delete-of-a-parent-takes-its-children",
        platforms: FreeBsd,
        section: "runtime.md, Delete",
        says: "delete --force of a parent leaves no jail, process or mount of its children.",
        run: |t| {
            let parent = t.ready(&t.waiting()?)?;
            let bundle = t.waiting()?.set("/freebsd/jail/parent", json!(parent.id));
            let child = t.ready(&bundle.tmpfs("/mnt", &[]))?;
            t.call(&["delete", "--force", &parent.id]).run()?.ok()?;
            t.call(&["delete", "--force", &child.id]).run()?.ok()?;
            t.nothing_left()
        },
    },
];

/// The value of a jail's parameter in the kernel, for a container of the
/// bundle.
fn parameter(t: &Test, bundle: &Bundle, name: &str) -> Outcome<i64> {
    let c: Container<'_> = t.create(bundle)?;
    let value = jail_number(&c.id, name)?;
    t.call(&["delete", "--force", &c.id]).run()?.ok()?;
    Ok(value)
}

fn ipc(t: &Test, property: &str, kind: &str) -> Outcome {
    for (value, wanted) in [("new", "ok"), ("disable", "ENOSYS")] {
        let pointer = format!("/freebsd/jail/{property}");
        let bundle = t.bundle()?.set(&pointer, json!(value));
        let output = t.output(&bundle.acts(&["try", kind]))?;
        same!(output.trim(), wanted, format!("with {value}"));
    }
    Ok(())
}

fn interface(name: &str) -> bool {
    let all = nix::net::if_::if_nameindex();
    all.is_ok_and(|all| all.iter().any(|i| i.name().to_string_lossy() == name))
}

#[cfg(target_os = "freebsd")]
mod kernel {
    use crate::harness::{Outcome, Stop};
    use crate::sys::freebsd;

    pub fn bytes(jail: &str, name: &str, length: usize) -> Outcome<Vec<u8>> {
        let failed = |e| Stop::from(format!("{name} of the jail {jail}: {e}"));
        freebsd::jail_parameter(jail, name, length).map_err(failed)
    }

    pub fn pair() -> Outcome<freebsd::Pair> {
        freebsd::Pair::new().map_err(|e| Stop::Skip(format!("no epair can be made here: {e}")))
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use crate::harness::{Outcome, Stop};

    pub fn bytes(_: &str, _: &str, _: usize) -> Outcome<Vec<u8>> {
        Err(Stop::Skip("there are no jails here".into()))
    }

    pub struct Pair;

    impl Pair {
        pub fn name(&self) -> &str {
            ""
        }
    }

    pub fn pair() -> Outcome<Pair> {
        Err(Stop::Skip("there are no jails here".into()))
    }
}

use kernel::{bytes as jail_bytes, pair};

fn jail_number(jail: &str, name: &str) -> Outcome<i64> {
    let raw = jail_bytes(jail, name, 4)?;
    let raw: [u8; 4] = raw.try_into().map_err(|_| "a number has four bytes")?;
    Ok(i32::from_ne_bytes(raw).into())
}

fn jail_text(jail: &str, name: &str) -> Outcome<String> {
    let raw = jail_bytes(jail, name, 1024)?;
    let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
    Ok(String::from_utf8_lossy(&raw[..end]).into_owned())
}
