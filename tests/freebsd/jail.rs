//! Every property of the specification's jail section, read back from the
//! jail, and the annotations for every parameter that the kernel has.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, host, jls, sh, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "jail/properties",
        run: properties,
    },
    Case {
        name: "jail/defaults",
        run: defaults,
    },
    Case {
        name: "jail/addresses",
        run: addresses,
    },
    Case {
        name: "jail/mount-types",
        run: mount_types,
    },
    Case {
        name: "jail/hostuuid-and-hostid",
        run: host_identity,
    },
    Case {
        name: "jail/every-parameter-of-the-kernel",
        run: every_parameter,
    },
    Case {
        name: "jail/near-names",
        run: near_names,
    },
    Case {
        name: "jail/wrong-values",
        run: wrong_values,
    },
    Case {
        name: "jail/disagreement",
        run: disagreement,
    },
    Case {
        name: "jail/parent",
        run: parent,
    },
    Case {
        name: "jail/suser",
        run: suser,
    },
    Case {
        name: "jail/fib",
        run: fib,
    },
    Case {
        name: "jail/alias-sigkill",
        run: alias_sigkill,
    },
    Case {
        name: "jail/alias-of-others",
        run: alias_of_others,
    },
    Case {
        name: "jail/vnet-interfaces",
        run: vnet_interfaces,
    },
    Case {
        name: "jail/vnet-interface-sigkill",
        run: vnet_sigkill,
    },
    Case {
        name: "jail/vnet-interface-missing",
        run: vnet_missing,
    },
];

/// The parameters of a jail as jls(8) writes them: name=value, or a switch.
fn read(jail: &str, names: &str) -> Outcome<Vec<String>> {
    let said = sh(&format!("jls -j {jail} -n {names}"))?;
    Ok(said.split(' ').map(String::from).collect())
}

/// Creates a container with a jail section, compares what jls(8) says, and
/// deletes it.
fn is(t: &Test, section: Value, names: &str, wanted: &[&str]) -> Outcome {
    let told = section.to_string();
    let bundle = t.sleeping("b", |c| c["freebsd"]["jail"] = section)?;
    matches(t, &bundle, names, wanted).map_err(|e| format!("{told}: {e}").into())
}

fn matches(t: &Test, bundle: &Path, names: &str, wanted: &[&str]) -> Outcome {
    t.ok(&["create", "-b", &bundle.to_string_lossy(), "a"])?;
    let said = read("a", names)?;
    t.down("a")?;
    for word in wanted {
        check!(said.iter().any(|own| own == word), "no {word} in {said:?}");
    }
    Ok(())
}

const ALLOWED: &str = "allow.set_hostname allow.raw_sockets allow.chflags allow.quotas \
    allow.socket_af allow.mlock allow.reserved_ports allow.suser";

/// Each property with each value that it can have.
fn properties(t: &Test) -> Outcome {
    let allow = |on: bool| {
        json!({
            "setHostname": on, "rawSockets": on, "chflags": on, "quotas": on, "socketAf": on,
            "mlock": on, "reservedPorts": on, "suser": on
        })
    };
    let names = format!("host ip4 ip6 vnet sysvmsg sysvsem sysvshm enforce_statfs {ALLOWED}");
    let on: Vec<&str> = ALLOWED.split_whitespace().collect();
    let off: Vec<String> = on
        .iter()
        .map(|name| name.replace("allow.", "allow.no"))
        .collect();
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    let first = json!({
        "host": "new", "ip4": "disable", "ip6": "disable", "vnet": "inherit", "sysvmsg": "new",
        "sysvsem": "inherit", "sysvshm": "disable", "enforceStatfs": 0, "allow": allow(true)
    });
    let wanted = [
        "host=new",
        "ip4=disable",
        "ip6=disable",
        "vnet=inherit",
        "sysvmsg=new",
        "sysvsem=inherit",
        "sysvshm=disable",
        "enforce_statfs=0",
    ];
    is(t, first, &names, &[&wanted[..], &on].concat())?;
    let second = json!({
        "host": "inherit", "ip4": "inherit", "ip6": "inherit", "sysvmsg": "inherit",
        "sysvsem": "disable", "sysvshm": "new", "enforceStatfs": 1, "allow": allow(false)
    });
    let wanted = [
        "host=inherit",
        "ip4=inherit",
        "ip6=inherit",
        "vnet=inherit",
        "sysvmsg=inherit",
        "sysvsem=disable",
        "sysvshm=new",
        "enforce_statfs=1",
    ];
    is(t, second, &names, &[&wanted[..], &off].concat())?;
    let third = json!({
        "sysvmsg": "disable", "sysvsem": "new", "sysvshm": "inherit", "enforceStatfs": 2,
        "vnet": "new"
    });
    let wanted = [
        "vnet=new",
        "sysvmsg=disable",
        "sysvsem=new",
        "sysvshm=inherit",
        "enforce_statfs=2",
    ];
    is(t, third, &names, &wanted)?;
    // Without addresses new is what the kernel shows as disable.
    is(
        t,
        json!({"ip4": "new", "ip6": "new"}),
        &names,
        &["ip4=disable", "ip6=disable"],
    )?;
    let named = t.sleeping("n", |c| {
        c["hostname"] = json!("boxed");
        c["domainname"] = json!("example");
        c["freebsd"]["jail"] = json!({"host": "new"});
    })?;
    let wanted = ["host=new", "host.hostname=boxed", "host.domainname=example"];
    matches(t, &named, "host host.hostname host.domainname", &wanted)
}

/// An empty section has the specification's defaults, none those of engines.
fn defaults(t: &Test) -> Outcome {
    let names = format!("host ip4 ip6 sysvmsg sysvsem sysvshm enforce_statfs {ALLOWED}");
    let wanted = [
        "host=inherit",
        "sysvmsg=new",
        "sysvsem=new",
        "sysvshm=new",
        "enforce_statfs=2",
        "allow.noraw_sockets",
        "allow.nochflags",
        "allow.nomlock",
    ];
    is(t, json!({}), &names, &wanted)?;
    let bundle = t.sleeping("engine", |_| {})?;
    let wanted = [
        "host=inherit",
        "ip4=inherit",
        "ip6=inherit",
        "sysvmsg=new",
        "sysvsem=new",
        "sysvshm=new",
        "enforce_statfs=1",
        "allow.raw_sockets",
        "allow.chflags",
    ];
    matches(t, &bundle, &names, &wanted)
}

/// ip4Addr, ip6Addr and interface: aliases while the container is there.
fn addresses(t: &Test) -> Outcome {
    with_lo1(|| {
        let bundle = t.sleeping("b", |c| {
            c["freebsd"]["jail"] = json!({
                "ip4Addr": ["10.8.0.1", "10.8.0.2"], "ip6Addr": ["fd00::8"], "interface": "lo1"
            });
        })?;
        let before = host();
        t.up(&bundle, "a")?;
        let said = read("a", "ip4 ip6 ip4.addr ip6.addr")?;
        // The kernel has one flag for new and disable, and shows the latter.
        for word in [
            "ip4=disable",
            "ip6=disable",
            "ip4.addr=10.8.0.1,10.8.0.2",
            "ip6.addr=fd00::8",
        ] {
            check!(said.iter().any(|own| own == word), "no {word} in {said:?}");
        }
        let shown = sh("ifconfig lo1")?;
        for words in [
            "inet 10.8.0.1 netmask 0xffffffff",
            "inet 10.8.0.2 netmask 0xffffffff",
            "inet6 fd00::8 prefixlen 128",
        ] {
            check!(shown.contains(words), "no {words}: {shown}");
        }
        let inside = t.ok(&["exec", "a", "ifconfig", "lo1"])?;
        check!(inside.contains("10.8.0.1"), "{inside}");
        let other = t.ok(&["exec", "a", "ifconfig", "lo0"])?;
        check!(!other.contains("127.0.0.1"), "{other}");
        t.down("a")?;
        let left: Vec<_> = host().symmetric_difference(&before).cloned().collect();
        check!(left.is_empty(), "{left:?}");
        // Without interface the address must be there, and stays.
        sh("ifconfig lo1 inet 10.8.0.9/32 alias")?;
        let before = host();
        let plain = json!({"ip4Addr": ["10.8.0.9"]});
        is(
            t,
            plain,
            "ip4 ip4.addr",
            &["ip4=disable", "ip4.addr=10.8.0.9"],
        )?;
        check!(host() == before, "the address went");
        Ok(())
    })
}

/// Does something while the host has an interface lo1.
/// Does something while the host has an interface lo1.
pub fn with_lo1(act: impl FnOnce() -> Outcome) -> Outcome {
    sh("ifconfig lo1 create up")?;
    let outcome = act();
    sh("ifconfig lo1 destroy")?;
    outcome
}

/// allow.mount of every type that this kernel can have; the module of another
/// is named.
fn mount_types(t: &Test) -> Outcome {
    let kinds = [
        "nullfs",
        "tmpfs",
        "devfs",
        "fdescfs",
        "procfs",
        "linprocfs",
        "linsysfs",
    ];
    let section = json!({"enforceStatfs": 1, "allow": {"mount": kinds}});
    let all: Vec<String> = kinds
        .iter()
        .map(|kind| format!("allow.mount.{kind}"))
        .collect();
    let mut wanted: Vec<&str> = all.iter().map(String::as_str).collect();
    wanted.push("allow.mount");
    is(t, section, &wanted.join(" "), &wanted)?;
    let section = json!({"enforceStatfs": 1, "allow": {"mount": ["nosuchfs"]}});
    let bundle = t.sleeping("b", |c| c["freebsd"]["jail"] = section)?;
    let words = ["allow.mount.nosuchfs", "kldload nosuchfs"];
    t.refused(&["create", "-b", &bundle.to_string_lossy(), "a"], &words)
        .map(drop)
}

/// host.hostuuid and host.hostid, which the specification leaves to runtimes.
fn host_identity(t: &Test) -> Outcome {
    let uuid = "11111111-2222-3333-4444-555555555555";
    let bundle = t.sleeping("b", |c| {
        c["annotations"] = json!({
            "org.freebsd.jail.host.hostuuid": uuid, "org.freebsd.jail.host.hostid": "77"
        });
    })?;
    t.up(&bundle, "a")?;
    let said = t.ok(&["exec", "a", "sysctl", "-n", "kern.hostuuid", "kern.hostid"])?;
    check!(said.lines().eq([uuid, "77"]), "{said}");
    let said = read("a", "host host.hostuuid host.hostid")?;
    check!(
        said[0] == "host=new" && said[2] == "host.hostid=77",
        "{said:?}"
    );
    t.down("a")?;
    let own = sh("sysctl -n kern.hostid")?;
    check!(own != "77", "the host's id was changed");
    Ok(())
}

/// The names below security.jail.param, of which some are kinds of others.
fn kernel_parameters() -> Outcome<Vec<String>> {
    sh("kldload -n linux64 linprocfs linsysfs 2>/dev/null; true")?;
    let all = sh("sysctl -t security.jail.param")?;
    let name = |line: &str| {
        let (name, kind) = line
            .strip_prefix("security.jail.param.")?
            .split_once(": ")?;
        (kind != "node").then(|| name.trim_end_matches('.').to_owned())
    };
    let mut names: Vec<String> = all.lines().filter_map(name).collect();
    names.sort();
    names.dedup();
    check!(names.len() > 40, "the kernel lists only {names:?}");
    Ok(names)
}

/// Each parameter that the kernel lists can be set by its annotation and is
/// read back, or is brig's own and refused.
fn every_parameter(t: &Test) -> Outcome {
    let all = kernel_parameters()?;
    let own = [
        "name",
        "path",
        "jid",
        "parent",
        "persist",
        "dying",
        "children.cur",
        "cpuset.id",
    ];
    let text: BTreeMap<&str, (&str, &str)> = BTreeMap::from([
        ("children.max", ("3", "children.max=3")),
        ("devfs_ruleset", ("5", "devfs_ruleset=5")),
        ("enforce_statfs", ("1", "enforce_statfs=1")),
        ("env", ("flavour=sour", "env=flavour=sour")),
        ("host", ("new", "host=new")),
        ("host.domainname", ("example", "host.domainname=example")),
        ("host.hostid", ("77", "host.hostid=77")),
        ("host.hostname", ("boxed", "host.hostname=boxed")),
        ("host.hostuuid", ("abc", "host.hostuuid=abc")),
        ("ip4", ("new", "ip4=disable")),
        ("ip4.addr", ("127.0.0.1", "ip4.addr=127.0.0.1")),
        ("ip4.saddrsel", ("false", "ip4.nosaddrsel")),
        ("ip6", ("new", "ip6=disable")),
        ("ip6.addr", ("::1", "ip6.addr=::1")),
        ("ip6.saddrsel", ("false", "ip6.nosaddrsel")),
        ("linux", ("new", "linux=new")),
        ("linux.osname", ("Lx", "linux.osname=Lx")),
        ("linux.osrelease", ("6.1.2", "linux.osrelease=6.1.2")),
        ("linux.oss_version", ("198000", "linux.oss_version=198000")),
        ("mac", ("inherit", "mac=inherit")),
        ("meta", ("color=blue", "")),
        ("osreldate", ("1400097", "osreldate=1400097")),
        ("osrelease", ("14.0-RELEASE", "osrelease=14.0-RELEASE")),
        ("securelevel", ("2", "securelevel=2")),
        ("sysvmsg", ("inherit", "sysvmsg=inherit")),
        ("sysvsem", ("disable", "sysvsem=disable")),
        ("sysvshm", ("inherit", "sysvshm=inherit")),
        ("vnet", ("inherit", "vnet=inherit")),
        ("zfs", ("new", "zfs=new")),
        ("zfs.mount_snapshot", ("1", "zfs.mount_snapshot=1")),
    ]);
    let mut values = serde_json::Map::new();
    let mut wanted = Vec::new();
    let mut not_tried = Vec::new();
    let key = |name: &str| format!("org.freebsd.jail.{name}");
    let mut switches = Vec::new();
    for name in &all {
        if own.contains(&name.as_str()) {
            let bundle = t.sleeping("own", |c| c["annotations"][key(name)] = json!("1"))?;
            t.refused(
                &["create", "-b", &bundle.to_string_lossy(), "a"],
                &[name, "brig's own"],
            )?;
        } else if let Some((value, shown)) = text.get(name.as_str()) {
            values.insert(key(name), json!(value));
            if !shown.is_empty() {
                wanted.push((*shown).to_owned());
            }
        } else if name.starts_with("allow.") || name == "allow.mount" {
            switches.push(name.clone());
        } else {
            not_tried.push(name);
        }
    }
    check!(
        not_tried.is_empty(),
        "new parameters, not tried: {not_tried:?}"
    );
    check!(switches.len() > 20, "switches: {switches:?}");
    for on in [true, false] {
        let bundle = t.sleeping("b", |c| {
            let mut annotations = values.clone();
            for name in &switches {
                annotations.insert(key(name), json!(on.to_string()));
            }
            c["annotations"] = Value::Object(annotations);
        })?;
        t.ok(&["create", "-b", &bundle.to_string_lossy(), "a"])?;
        let names: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "meta")
            .collect();
        let said = read("a", &names.join(" "))?;
        let meta = jls("a", "meta")?;
        t.down("a")?;
        check!(meta.contains("color=blue"), "{meta}");
        let switched = switches.iter().map(|name| match name.rsplit_once('.') {
            Some((above, last)) if !on => format!("{above}.no{last}"),
            _ => name.clone(),
        });
        for word in wanted.iter().cloned().chain(switched) {
            check!(said.contains(&word), "no {word} in {said:?}");
        }
    }
    Ok(())
}

/// An annotation of no parameter tells those that look like it.
fn near_names(t: &Test) -> Outcome {
    for (name, near) in [
        ("allow.raw_socket", "allow.raw_sockets"),
        ("allow.mlok", "allow.mlock"),
        ("securelvl", "securelevel"),
        ("children.maxx", "children.max"),
        ("host.hostuid", "host.hostuuid"),
    ] {
        let key = format!("org.freebsd.jail.{name}");
        let bundle = t.sleeping("b", |c| c["annotations"][&key] = json!("1"))?;
        t.refused(
            &["create", "-b", &bundle.to_string_lossy(), "a"],
            &[name, "unknown", near],
        )?;
    }
    Ok(())
}

/// The kernel's own description decides what a value can be.
fn wrong_values(t: &Test) -> Outcome {
    for (name, value, words) in [
        ("securelevel", "high", "not a number"),
        ("osreldate", "99999999999", "32 bits"),
        ("allow.mlock", "perhaps", "true or false"),
        ("ip4.saddrsel", "perhaps", "true or false"),
        ("ip4.addr", "10.0.0.300", "IPv4"),
        ("ip6.addr", "10.0.0.1", "IPv6"),
        ("sysvmsg", "old", "sysvmsg"),
        ("enforce_statfs", "3", "enforce_statfs"),
        ("host.hostid", "x", "not a number"),
    ] {
        let key = format!("org.freebsd.jail.{name}");
        let bundle = t.sleeping("b", |c| c["annotations"][&key] = json!(value))?;
        t.refused(
            &["create", "-b", &bundle.to_string_lossy(), "a"],
            &[name, words],
        )?;
    }
    Ok(())
}

/// Where a property and an annotation disagree, the property wins and a
/// warning says so; where they agree there is none.
fn disagreement(t: &Test) -> Outcome {
    let pairs = [
        ("ip4", json!("disable"), "ip4", "inherit", "ip4=disable"),
        (
            "sysvshm",
            json!("disable"),
            "sysvshm",
            "new",
            "sysvshm=disable",
        ),
        (
            "enforceStatfs",
            json!(0),
            "enforce_statfs",
            "1",
            "enforce_statfs=0",
        ),
        ("host", json!("inherit"), "host", "new", "host=inherit"),
    ];
    let with = |agree: bool| {
        let mut section = json!({"allow": {"mlock": true}});
        let mut annotations =
            json!({"org.freebsd.jail.allow.mlock": if agree { "true" } else { "false" }});
        for (property, value, name, other, _) in &pairs {
            section[property] = value.clone();
            let same = value.as_str().map_or(value.to_string(), String::from);
            let value = if agree { same } else { (*other).to_owned() };
            annotations[format!("org.freebsd.jail.{name}")] = json!(value);
        }
        t.sleeping("b", |c| {
            c["freebsd"]["jail"] = section;
            c["annotations"] = annotations;
        })
    };
    for agree in [true, false] {
        let bundle = with(agree)?;
        let output = t.output(&["create", "-b", &bundle.to_string_lossy(), "a"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        check!(output.status.success(), "{said}");
        let names = "ip4 sysvshm enforce_statfs host allow.mlock";
        let values = read("a", names)?;
        t.down("a")?;
        for (property, _, name, _, wanted) in &pairs {
            check!(
                values.iter().any(|v| v == wanted),
                "no {wanted} in {values:?}"
            );
            let at = format!("org.freebsd.jail.{name}");
            let words = format!("freebsd.jail.{property} says otherwise and wins");
            let warned = said.lines().any(|l| l.contains(&at) && l.contains(&words));
            check!(warned != agree, "agree {agree}, {name}: {said}");
        }
        check!(values.iter().any(|v| v == "allow.mlock"), "{values:?}");
        let warned = said.contains("freebsd.jail.allow.mlock says otherwise and wins");
        check!(warned != agree, "agree {agree}, allow.mlock: {said}");
    }
    Ok(())
}

/// parent: the name is parent.id, its children.max is raised for each child
/// and given back, and a missing one is told.
fn parent(t: &Test) -> Outcome {
    let pod = t.sleeping("pod", |_| {})?;
    let child = t.sleeping("child", |c| c["freebsd"]["jail"] = json!({"parent": "pod"}))?;
    let annotated = t.sleeping("annotated", |c| {
        c["annotations"]["org.freebsd.parentJail"] = json!("pod");
    })?;
    let path = child.to_string_lossy().into_owned();
    t.refused(
        &["create", "-b", &path, "one"],
        &["pod", "no jail of that name"],
    )?;
    t.up(&pod, "pod")?;
    check!(
        jls("pod", "children.max")? == "0",
        "{}",
        jls("pod", "children.max")?
    );
    t.up(&child, "one")?;
    t.up(&annotated, "two")?;
    check!(
        jls("pod", "children.max")? == "2",
        "{}",
        jls("pod", "children.max")?
    );
    check!(
        jls("pod.one", "name")? == "pod.one" && jls("pod.two", "name")? == "pod.two",
        "names"
    );
    check!(
        t.ok(&["ps", "pod"])?.matches("sleep").count() == 3,
        "{}",
        t.ok(&["ps", "pod"])?
    );
    t.down("one")?;
    check!(
        jls("pod", "children.max")? == "1",
        "{}",
        jls("pod", "children.max")?
    );
    t.down("two")?;
    check!(
        jls("pod", "children.max")? == "0",
        "{}",
        jls("pod", "children.max")?
    );
    // A create that is killed gives the place back too.
    for step in 0..8 {
        t.killed_after(&["create", "-b", &path, "one"], 20 + 40 * step)?;
        t.down("one")?;
        check!(
            jls("pod", "children.max")? == "0",
            "step {step}: {}",
            jls("pod", "children.max")?
        );
    }
    // The parent goes with the child in it.
    t.up(&child, "one")?;
    t.down("pod")?;
    t.down("one")
}

/// allow.suser off: only root without other groups runs, and another user is
/// an error that says so.
fn suser(t: &Test) -> Outcome {
    let section = json!({"allow": {"suser": false}});
    let root = t.bundle("root", &["id"], |c| c["freebsd"]["jail"] = section.clone())?;
    let said = t.ok(&["run", "-b", &root.to_string_lossy(), "a"])?;
    check!(said.contains("uid=0"), "{said}");
    let www = t.bundle("www", &["id"], |c| {
        c["freebsd"]["jail"] = section.clone();
        c["process"]["user"] = json!({"uid": 80, "gid": 80});
    })?;
    t.refused(
        &["create", "-b", &www.to_string_lossy(), "a"],
        &["allow.suser"],
    )
    .map(drop)
}

/// org.freebsd.jail.exec.fib: the process has that routing table.
fn fib(t: &Test) -> Outcome {
    sh("test $(sysctl -n net.fibs) -ge 2 || sysctl net.fibs=2")?;
    let bundle = t.bundle("b", &["sysctl", "-n", "net.my_fibnum"], |c| {
        c["annotations"]["org.freebsd.jail.exec.fib"] = json!("1");
    })?;
    let said = t.ok(&["run", "-b", &bundle.to_string_lossy(), "a"])?;
    check!(said == "1", "{said}");
    let bad = t.sleeping("bad", |c| {
        c["annotations"]["org.freebsd.jail.exec.fib"] = json!("9999")
    })?;
    t.refused(
        &["create", "-b", &bad.to_string_lossy(), "a"],
        &["exec.fib"],
    )?;
    let bad = t.sleeping("bad", |c| {
        c["annotations"]["org.freebsd.jail.exec.fib"] = json!("x")
    })?;
    t.refused(
        &["create", "-b", &bad.to_string_lossy(), "a"],
        &["exec.fib"],
    )
    .map(drop)
}

/// Aliases of a create, or a delete, that was killed at any point go with the
/// next delete; nothing else does.
fn alias_sigkill(t: &Test) -> Outcome {
    with_lo1(|| {
        sh("ifconfig lo1 inet 10.8.0.7/32 alias")?;
        let bundle = t.sleeping("b", |c| {
            c["freebsd"]["jail"] = json!({
                "ip4Addr": ["10.8.0.1", "10.8.0.2"], "ip6Addr": ["fd00::8", "fd00::9"],
                "interface": "lo1"
            });
        })?;
        let path = bundle.to_string_lossy();
        let before = host();
        for step in 0..20 {
            t.killed_after(&["create", "-b", &path, "a"], 10 + 12 * step)?;
            t.down("a")?;
            let left: Vec<_> = host().symmetric_difference(&before).cloned().collect();
            check!(left.is_empty(), "create killed at step {step}: {left:?}");
        }
        for step in 0..8 {
            t.ok(&["create", "-b", &path, "a"])?;
            t.killed_after(&["delete", "--force", "a"], 5 + 15 * step)?;
            t.down("a")?;
            let left: Vec<_> = host().symmetric_difference(&before).cloned().collect();
            check!(left.is_empty(), "delete killed at step {step}: {left:?}");
        }
        Ok(())
    })
}

/// An address that the host has already is refused, on this interface and on
/// another one, and stays; so is one of another container.
fn alias_of_others(t: &Test) -> Outcome {
    with_lo1(|| {
        sh("ifconfig lo1 inet 10.8.0.1/32 alias && ifconfig lo1 inet6 fd00::1/128 alias")?;
        let with =
            |name: &str, section: Value| t.sleeping(name, |c| c["freebsd"]["jail"] = section);
        for (section, word) in [
            (
                json!({"ip4Addr": ["10.8.0.1"], "interface": "lo1"}),
                "10.8.0.1",
            ),
            (
                json!({"ip4Addr": ["10.8.0.5", "10.8.0.1"], "interface": "lo1"}),
                "10.8.0.1",
            ),
            (
                json!({"ip4Addr": ["127.0.0.1"], "interface": "lo1"}),
                "127.0.0.1",
            ),
            (
                json!({"ip6Addr": ["fd00::1"], "interface": "lo1"}),
                "fd00::1",
            ),
        ] {
            let bundle = with("b", section)?;
            let words = [word, "has it already", "freebsd.jail.interface"];
            t.refused(&["create", "-b", &bundle.to_string_lossy(), "a"], &words)?;
        }
        let section = json!({"ip4Addr": ["10.8.0.6"], "interface": "lo1"});
        let one = with("one", section.clone())?;
        let two = with("two", section)?;
        t.up(&one, "one")?;
        let words = ["10.8.0.6", "has it already"];
        t.refused(&["create", "-b", &two.to_string_lossy(), "two"], &words)?;
        t.down("one")?;
        t.up(&two, "two")?;
        t.down("two")?;
        let none = with(
            "none",
            json!({"ip4Addr": ["10.8.0.6"], "interface": "nope0"}),
        )?;
        let words = ["there is no interface nope0"];
        t.refused(&["create", "-b", &none.to_string_lossy(), "a"], &words)
            .map(drop)
    })
}

/// Does something while the host has a pair of interfaces.
pub fn with_pair(act: impl FnOnce(&str, &str) -> Outcome) -> Outcome {
    let one = sh("ifconfig epair create")?;
    let other = format!("{}b", one.trim_end_matches('a'));
    let outcome = act(&one, &other);
    sh(&format!("ifconfig {one} destroy"))?;
    outcome
}

fn vnet(t: &Test, name: &str, interface: &str) -> Outcome<std::path::PathBuf> {
    t.sleeping(name, |c| {
        c["freebsd"]["jail"] = json!({
            "vnet": "new", "vnetInterfaces": [interface], "allow": {"rawSockets": true}
        });
    })
}

/// vnetInterfaces are in the container, and on the host again after delete.
fn vnet_interfaces(t: &Test) -> Outcome {
    with_pair(|one, other| {
        let bundle = vnet(t, "b", other)?;
        let before = host();
        t.up(&bundle, "a")?;
        check!(!sh("ifconfig -l")?.contains(other), "the host has it still");
        t.ok(&["exec", "a", "ifconfig", other, "inet", "10.9.0.2/24", "up"])?;
        sh(&format!("ifconfig {one} inet 10.9.0.1/24 up"))?;
        let answered = sh("ping -c1 -t5 10.9.0.2");
        sh(&format!(
            "ifconfig {one} inet 10.9.0.1 delete; ifconfig {one} down"
        ))?;
        answered?;
        t.down("a")?;
        check!(sh("ifconfig -l")?.contains(other), "it did not come back");
        until("the host is as before", || {
            // The address inside went with the network stack.
            host()
                .difference(&before)
                .all(|line| line.contains(one) || line.contains(other))
        })?;
        // By annotation.
        let bundle = t.sleeping("n", |c| {
            c["annotations"] = json!({
                "org.freebsd.jail.vnet": "new", "org.freebsd.jail.vnet.interface": other
            });
        })?;
        t.up(&bundle, "a")?;
        check!(
            t.ok(&["exec", "a", "ifconfig", "-l"])?.contains(other),
            "it is not inside"
        );
        t.down("a")?;
        check!(sh("ifconfig -l")?.contains(other), "it did not come back");
        Ok(())
    })
}

/// An interface of a create that was killed comes back with the next delete.
fn vnet_sigkill(t: &Test) -> Outcome {
    with_pair(|_, other| {
        let bundle = vnet(t, "b", other)?;
        let path = bundle.to_string_lossy();
        for step in 0..8 {
            t.killed_after(&["create", "-b", &path, "a"], 40 + 60 * step)?;
            t.down("a")?;
            until("it comes back", || {
                sh("ifconfig -l").is_ok_and(|all| all.contains(other))
            })?;
        }
        Ok(())
    })
}

/// An interface that is missing, or in another jail, is told.
fn vnet_missing(t: &Test) -> Outcome {
    with_pair(|_, other| {
        let missing = vnet(t, "m", "nope0")?;
        let words = ["nope0", "no such interface"];
        t.refused(&["create", "-b", &missing.to_string_lossy(), "a"], &words)?;
        let bundle = vnet(t, "b", other)?;
        t.up(&bundle, "one")?;
        let words = [other, "no such interface", "-vnet"];
        t.refused(&["create", "-b", &bundle.to_string_lossy(), "a"], &words)?;
        t.down("one")?;
        let shared = t.sleeping("s", |c| {
            c["freebsd"]["jail"] = json!({"vnetInterfaces": [other]});
        })?;
        let words = [
            "freebsd.jail.vnetInterfaces[0]",
            "network stack",
            "vnet to new",
        ];
        t.refused(&["create", "-b", &shared.to_string_lossy(), "a"], &words)
            .map(drop)
    })
}
