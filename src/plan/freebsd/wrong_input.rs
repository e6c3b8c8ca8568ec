//! Wrong values of every property of the `freebsd` section and of every
//! annotation, and the line that each gets. The table is kept in
//! `wrong_input.txt`; `BRIG_BLESS=1 cargo test wrong_input` writes it anew.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::host::{HostFacts, Os};
use crate::plan::{self, Input};
use crate::policy::Policy;

/// What planning says to a configuration; None when it plans.
fn said(more: &Json) -> Option<String> {
    let mut whole = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}});
    let object = whole.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    let raw = serde_json::to_vec(&whole).unwrap();
    let planned = Config::parse(raw, Path::new("config.json")).and_then(|config| {
        plan::plan(&Input {
            id: "web",
            bundle: Path::new("/b"),
            directory: Path::new("/var/run/brig/web"),
            shared_root: false,
            config: &config,
            policy: &Policy::default(),
            host: &HostFacts::typical(Os::Freebsd),
            systemd_cgroup: false,
            no_pivot: false,
        })
    });
    planned.err().map(|error| error.to_string())
}

/// Each configuration and the property whose path the line must begin with.
fn cases() -> Vec<(Json, String)> {
    let mut all = Vec::new();
    let mut add = |config: Json, path: &str| all.push((config, path.to_owned()));
    let dev = json!([{"destination": "/dev", "type": "devfs"}]);

    for section in [json!("x"), json!([])] {
        add(json!({"freebsd": section}), "freebsd");
    }
    for (devices, path) in [
        (json!({}), ""),
        (json!(["mem"]), "[0]"),
        (json!([{"mode": 384}]), "[0]"),
        (json!([{"path": 1}]), "[0].path"),
        (json!([{"path": ""}]), "[0].path"),
        (json!([{"path": "../mem"}]), "[0].path"),
        (json!([{"path": "/dev/../mem"}]), "[0].path"),
        (json!([{"path": "/etc"}]), "[0].path"),
        (json!([{"path": "mem", "mode": "0600"}]), "[0].mode"),
        (json!([{"path": "mem", "mode": -1}]), "[0].mode"),
        (json!([{"path": "mem", "mode": 4096}]), "[0].mode"),
    ] {
        let config = json!({"freebsd": {"devices": devices}, "mounts": dev});
        add(config, &format!("freebsd.devices{path}"));
    }
    add(
        json!({"freebsd": {"devices": [{"path": "mem"}]}}),
        "freebsd.devices",
    );

    let mut jail = |jail: Json, path: &str| {
        let path = format!("freebsd.jail{path}");
        add(json!({"freebsd": {"jail": jail}}), &path);
    };
    jail(json!("x"), "");
    for wrong in [json!(1), json!(""), json!("a\0b"), json!("a\nb")] {
        jail(json!({"parent": wrong}), ".parent");
    }
    for (name, unknown) in [
        ("host", "disable"),
        ("ip4", "yes"),
        ("ip6", "on"),
        ("vnet", "disable"),
        ("sysvmsg", "none"),
        ("sysvsem", "New"),
        ("sysvshm", ""),
    ] {
        for wrong in [json!(unknown), json!(true), json!(1)] {
            jail(json!({name: wrong}), &format!(".{name}"));
        }
    }
    for (family, good, bad) in [
        ("ip4", "10.0.0.1", "10.0.0.300"),
        ("ip6", "fd00::1", "10.0.0.1"),
    ] {
        let addresses = format!("{family}Addr");
        let at = format!(".{addresses}");
        jail(json!({addresses.clone(): good}), &at);
        jail(json!({addresses.clone(): [1]}), &format!("{at}[0]"));
        jail(json!({addresses.clone(): [good, bad]}), &format!("{at}[1]"));
        jail(
            json!({addresses.clone(): [good, good]}),
            &format!("{at}[1]"),
        );
        for other in ["inherit", "disable"] {
            jail(json!({family: other, addresses.clone(): [good]}), &at);
        }
        jail(json!({"vnet": "new", addresses.clone(): [good]}), &at);
        jail(
            json!({"vnet": "new", family: "inherit"}),
            &format!(".{family}"),
        );
    }
    for (interface, more) in [
        (json!(1), json!({})),
        (json!(""), json!({"ip4Addr": ["10.0.0.1"]})),
        (json!("a/b"), json!({"ip4Addr": ["10.0.0.1"]})),
        (json!("sixteen-letters-"), json!({"ip4Addr": ["10.0.0.1"]})),
        (json!("lo1"), json!({})),
        (json!("lo1"), json!({"vnet": "new"})),
    ] {
        let mut whole = json!({"interface": interface});
        let object = whole.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        jail(whole, ".interface");
    }
    for (list, more, path) in [
        (json!("epair0b"), "new", ""),
        (json!([1]), "new", "[0]"),
        (json!([""]), "new", "[0]"),
        (json!(["a b"]), "new", "[0]"),
        (json!(["epair0b", "epair0b"]), "new", "[1]"),
        (json!(["epair0b"]), "inherit", "[0]"),
    ] {
        let whole = json!({"vnetInterfaces": list, "vnet": more});
        jail(whole, &format!(".vnetInterfaces{path}"));
    }
    for wrong in [json!("1"), json!(-1), json!(3), json!(1.5)] {
        jail(json!({"enforceStatfs": wrong}), ".enforceStatfs");
    }
    jail(json!({"allow": "mount"}), ".allow");
    for name in [
        "setHostname",
        "rawSockets",
        "chflags",
        "quotas",
        "socketAf",
        "mlock",
        "reservedPorts",
        "suser",
    ] {
        jail(json!({"allow": {name: "true"}}), &format!(".allow.{name}"));
    }
    for (list, path) in [
        (json!("tmpfs"), ""),
        (json!(true), ""),
        (json!([1]), "[0]"),
        (json!([""]), "[0]"),
        (json!(["a/b"]), "[0]"),
        (json!(["sixteen_letters_"]), "[0]"),
    ] {
        let whole = json!({"enforceStatfs": 1, "allow": {"mount": list}});
        jail(whole, &format!(".allow.mount{path}"));
    }
    for level in [json!(2), json!(null)] {
        let whole = json!({"enforceStatfs": level, "allow": {"mount": ["tmpfs"]}});
        jail(whole, ".allow.mount");
    }
    for name in ["hostname", "domainname"] {
        let config = json!({name: "h", "freebsd": {"jail": {"host": "inherit"}}});
        add(config, name);
    }

    let mut annotation = |key: &str, value: Json| {
        let config = json!({"annotations": {key: value}});
        add(config, &format!("annotations[{key:?}]"));
    };
    for (key, wrong) in [
        ("parentJail", &["", "a\0b"][..]),
        ("jail.host", &["disable"]),
        ("jail.vnet", &["disable", "1"]),
        ("jail.ip4", &["yes"]),
        ("jail.ip6", &["yes"]),
        ("jail.ip4.addr", &["10.0.0", "10.0.0.1,10.0.0.1"]),
        ("jail.ip6.addr", &["fd00::x"]),
        ("jail.interface", &["lo1", "a/b"]),
        ("jail.vnet.interface", &["epair0b", "a/b"]),
        ("jail.sysvmsg", &["yes"]),
        ("jail.sysvsem", &["yes"]),
        ("jail.sysvshm", &["yes"]),
        ("jail.enforce_statfs", &["x", "-1", "3"]),
        ("jail.exec.fib", &["x", "-1", "65536"]),
        ("jail.allow.raw_sockets", &["maybe"]),
        ("jail.allow.mount.tmpfs", &["maybe"]),
        (
            "jail.zfs.dataset",
            &["", "/tank", "tank/../x", "tank@snap", "a,a"],
        ),
        ("jail.name", &["x"]),
        ("jail.path", &["/"]),
        ("jail.jid", &["1"]),
        ("jail.parent", &["1"]),
        ("jail.persist", &["1"]),
        ("jail.dying", &["1"]),
        ("jail.children.cur", &["1"]),
        ("jail.cpuset.id", &["1"]),
        ("jail.errmsg", &["x"]),
        ("jail.desc", &["1"]),
        ("jail.", &["1"]),
        ("jail.a b", &["1"]),
        ("jail.osrelease", &["a\0b"]),
        ("rctl.", &["deny:1"]),
        ("rctl.memory", &["deny:1g"]),
        (
            "rctl.maxproc",
            &[
                "",
                "deny",
                "deny:",
                "deny:x",
                "deny:-1",
                "deny:9e",
                "deny:9999999p",
                "stop:1",
                "throttle:1",
                "deny:1/house",
            ],
        ),
        ("rctl.readbps", &["deny:1m"]),
        ("rctl.wallclock", &["deny:1"]),
        ("cpuset", &["", "x", "3-1", "1024", "0,,1"]),
        ("brig.ephemeral", &["much", "-1", "1e"]),
    ] {
        let key = format!("org.freebsd.{key}");
        for wrong in wrong {
            annotation(&key, json!(wrong));
        }
    }
    let mut annotations = |all: Json, key: &str| {
        add(
            json!({"annotations": all, "hostname": "h"}),
            &format!("annotations[{key:?}]"),
        );
    };
    annotations(
        json!({"org.freebsd.jail.vnet": "new", "org.freebsd.jail.ip4.addr": "10.0.0.1"}),
        "org.freebsd.jail.ip4.addr",
    );
    annotations(
        json!({"org.freebsd.jail.vnet": "new", "org.freebsd.jail.ip6": "inherit"}),
        "org.freebsd.jail.ip6",
    );
    annotations(
        json!({"org.freebsd.jail.enforce_statfs": "2", "org.freebsd.jail.allow.mount.tmpfs": "1"}),
        "org.freebsd.jail.allow.mount.tmpfs",
    );
    add(
        json!({"annotations": {"org.freebsd.jail.host": "inherit", "org.freebsd.jail.host.hostid": "7"}}),
        "annotations[\"org.freebsd.jail.host.hostid\"]",
    );
    add(
        json!({"hostname": "h", "annotations": {"org.freebsd.jail.host": "inherit"}}),
        "hostname",
    );
    add(
        json!({"annotations": {"org.freebsd.cpuset": 1}}),
        "annotations.org.freebsd.cpuset",
    );

    let mut mount = |mount: Json, path: &str| {
        add(json!({"mounts": [mount]}), &format!("mounts[0]{path}"));
    };
    let at = "/mnt";
    mount(json!({"destination": at, "type": "a/b"}), ".type");
    mount(json!({"destination": at, "type": "overlay"}), ".type");
    mount(json!({"destination": at}), ".type");
    mount(json!({"destination": at, "type": "nullfs"}), ".source");
    mount(json!({"destination": at, "type": "unionfs"}), ".source");
    mount(json!({"destination": at, "type": "nfs"}), ".source");
    mount(
        json!({"destination": at, "type": "nfs", "source": "/x"}),
        ".source",
    );
    for (kind, option) in [
        ("tmpfs", "size=lots"),
        ("tmpfs", "size=10%"),
        ("tmpfs", "mode=9"),
        ("tmpfs", "ruleset=4"),
        ("tmpfs", "fspath=/etc"),
        ("tmpfs", "below"),
        ("tmpfs", "inode=4"),
        ("nullfs", "size=1m"),
        ("nullfs", "idmap"),
        ("nullfs", "update"),
        ("devfs", "ruleset=x"),
        ("devfs", "ruleset=65536"),
        ("devfs", "rule=path"),
        ("devfs", "rule=mode 9"),
        ("devfs", "rule=path x"),
        ("devfs", "linrdlnk"),
        ("procfs", "hidepid=2"),
        ("fdescfs", "links"),
        ("unionfs", "upperdir=/x"),
        ("nfs", "nfsv3"),
        ("nfs", "vers=3"),
        ("nfs", "nfsvers=4.3"),
        ("nfs", "port=0"),
        ("nfs", "rsizes=1"),
    ] {
        let options = json!([option]);
        let source = if kind == "nfs" { "nas:/x" } else { "/x" };
        mount(
            json!({"destination": at, "type": kind, "source": source, "options": options}),
            ".options[0]",
        );
    }
    for kind in ["proc", "sysfs", "mqueue"] {
        let config = json!({"annotations": {"org.opencontainers.image.os": "freebsd"},
            "mounts": [{"destination": at, "type": kind}]});
        add(config, "mounts[0].type");
    }
    all
}

#[test]
fn wrong_input_is_one_line_that_names_the_property() {
    let (mut table, mut faults) = (String::new(), Vec::new());
    for (config, path) in cases() {
        let line = said(&config).unwrap_or_else(|| "it was planned".into());
        if !line.starts_with(&format!("{path}: ")) || line.lines().count() != 1 {
            faults.push(format!("{config} must name {path}: {line}"));
        }
        let _ = writeln!(table, "{config}\n    {line}");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/freebsd/wrong_input.txt");
    if std::env::var_os("BRIG_BLESS").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(table, kept, "BRIG_BLESS=1 writes {} anew", file.display());
}
