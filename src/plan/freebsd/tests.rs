use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Step, jail_name};
use crate::config::Config;
use crate::host::{HostFacts, Os};
use crate::plan::{self, Input, Plan};
use crate::policy::Policy;

fn planned(config: Json, host: &HostFacts) -> crate::error::Result<Plan> {
    planned_with(config, host, false)
}

fn planned_with(config: Json, host: &HostFacts, shared_root: bool) -> crate::error::Result<Plan> {
    let mut whole = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}});
    whole
        .as_object_mut()
        .unwrap()
        .extend(config.as_object().unwrap().clone());
    let raw = serde_json::to_vec(&whole).unwrap();
    let config = Config::parse(raw, Path::new("config.json"))?;
    plan::plan(&Input {
        id: "web",
        bundle: Path::new("/b"),
        directory: Path::new("/var/run/brig/web"),
        shared_root,
        config: &config,
        policy: &Policy::default(),
        host,
        systemd_cgroup: false,
        no_pivot: false,
    })
}

fn plan(config: Json) -> Plan {
    planned(config, &HostFacts::typical(Os::Freebsd)).unwrap()
}

fn error(config: Json) -> String {
    planned(config, &HostFacts::typical(Os::Freebsd))
        .expect_err("must be refused")
        .to_string()
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| match step {
            plan::Step::Freebsd(step) => step.to_string(),
            plan::Step::Linux(_) => panic!("a step of Linux"),
        })
        .collect()
}

fn jail_line(plan: &Plan) -> String {
    lines(plan)
        .into_iter()
        .find(|line| line.starts_with("jail "))
        .unwrap()
}

#[test]
fn names_are_the_id_wherever_it_can_be_one() {
    for same in ["web", "a-b_c+d", "0x1f", "1a", "-x", "x1", "+"] {
        assert_eq!(jail_name(same), same);
    }
    assert_eq!(jail_name("a.b"), "a~b");
    assert_eq!(jail_name("123"), "~123");
    assert_eq!(jail_name("-5"), "~-5");
    assert_eq!(jail_name("+5"), "~+5");
    assert_eq!(jail_name("1.5"), "1~5");
}

#[test]
fn engines_get_the_defaults_they_count_on() {
    let plan = plan(json!({"hostname": "h"}));
    assert_eq!(
        jail_line(&plan),
        "jail web at /b/rootfs host=new host.hostname=h ip4=inherit ip6=inherit sysvmsg=new sysvsem=new \
         sysvshm=new enforce_statfs=1 allow.raw_sockets=true allow.chflags=true meta.brig=web meta.brig.jail=web meta.brig.bundle=/b meta.brig.directory=/var/run/brig/web"
    );
}

#[test]
fn a_jail_section_has_the_defaults_of_the_specification() {
    let plan = plan(json!({"freebsd": {"jail": {}}}));
    assert_eq!(
        jail_line(&plan),
        "jail web at /b/rootfs host=inherit sysvmsg=new sysvsem=new sysvshm=new enforce_statfs=2 meta.brig=web \
         meta.brig.jail=web meta.brig.bundle=/b meta.brig.directory=/var/run/brig/web"
    );
}

#[test]
fn every_property_of_the_section_is_a_parameter() {
    let plan = plan(json!({"domainname": "d", "freebsd": {"jail": {
        "parent": "pod", "host": "new", "ip4Addr": ["10.0.0.1", "10.0.0.2"], "ip6": "disable",
        "sysvmsg": "inherit", "sysvsem": "disable", "enforceStatfs": 0, "interface": "lo1",
        "allow": {"setHostname": false, "rawSockets": true, "chflags": false, "mount": ["tmpfs", "devfs"],
            "quotas": true, "socketAf": true, "mlock": true, "reservedPorts": false, "suser": false}}}}));
    assert_eq!(
        lines(&plan),
        [
            "kernel module tmpfs for allow.mount.tmpfs",
            "kernel module devfs for allow.mount.devfs",
            "one more child for jail pod",
            "address 10.0.0.1 on lo1",
            "address 10.0.0.2 on lo1",
            "unmount at the end what is mounted from inside /b/rootfs",
            "jail pod.web at /b/rootfs host=new host.domainname=d ip4=new ip4.addr=10.0.0.1,10.0.0.2 ip6=disable \
             sysvmsg=inherit sysvsem=disable sysvshm=new enforce_statfs=0 allow.set_hostname=false \
             allow.raw_sockets=true allow.chflags=false allow.quotas=true allow.socket_af=true allow.mlock=true \
             allow.reserved_ports=false allow.suser=false allow.mount=true allow.mount.tmpfs=true devfs_ruleset=4 \
             allow.mount.devfs=true meta.brig=web meta.brig.jail=pod.web meta.brig.bundle=/b meta.brig.directory=/var/run/brig/web",
        ]
    );
}

#[test]
fn vnet_takes_interfaces_and_no_addresses() {
    let plan =
        plan(json!({"freebsd": {"jail": {"vnet": "new", "vnetInterfaces": ["epair0b", "tap1"]}}}));
    let all = lines(&plan);
    assert!(
        all[0].contains(" vnet=new ") && !all[0].contains("ip4"),
        "{}",
        all[0]
    );
    assert_eq!(
        all[1..],
        [
            "interface epair0b into jail web",
            "interface tap1 into jail web"
        ]
    );
    let with = |jail: Json| error(json!({"freebsd": {"jail": jail}}));
    assert_eq!(
        with(json!({"vnet": "new", "ip4Addr": ["10.0.0.1"]})),
        "freebsd.jail.ip4Addr: cannot be set while freebsd.jail.vnet is new; set addresses inside the \
         container's own network stack"
    );
    assert_eq!(
        with(json!({"vnetInterfaces": ["epair0b"]})),
        "freebsd.jail.vnetInterfaces[0]: needs a network stack of the container's own; set freebsd.jail.vnet to new"
    );
    assert!(
        with(json!({"vnet": "new", "vnetInterfaces": ["a", "a"]}))
            .contains("[1]: a is given twice")
    );
    assert!(
        with(json!({"vnet": "disable"}))
            .starts_with("freebsd.jail.vnet: \"disable\" is not one of new, inherit")
    );
}

#[test]
fn faults_of_the_section_name_the_property() {
    let with = |jail: Json| error(json!({"freebsd": {"jail": jail}}));
    assert_eq!(
        with(json!({"ip4Addr": ["10.0.0.1", "10.0.0.300"]})),
        "freebsd.jail.ip4Addr[1]: \"10.0.0.300\" is not an IPv4 address"
    );
    assert!(with(json!({"ip6Addr": ["10.0.0.1"]})).starts_with("freebsd.jail.ip6Addr[0]: "));
    assert!(
        with(json!({"ip4": "inherit", "ip4Addr": ["10.0.0.1"]}))
            .starts_with("freebsd.jail.ip4Addr: cannot be set")
    );
    assert_eq!(
        with(json!({"enforceStatfs": 3})),
        "freebsd.jail.enforceStatfs: 3 is not 0, 1 or 2"
    );
    assert!(
        with(json!({"allow": {"mount": ["tmpfs"]}}))
            .starts_with("freebsd.jail.allow.mount: has no effect")
    );
    assert!(
        with(json!({"enforceStatfs": 1, "allow": {"mount": ["a/b"]}}))
            .starts_with("freebsd.jail.allow.mount[0]: ")
    );
    assert!(
        with(json!({"interface": "lo1"})).starts_with("freebsd.jail.interface: has no addresses")
    );
    assert!(
        with(json!({"interface": "much-too-long-a-name", "ip4Addr": ["10.0.0.1"]}))
            .contains("not the name of an interface")
    );
    assert!(with(json!({"parent": ""})).starts_with("freebsd.jail.parent: "));
    let both = json!({"hostname": "h", "freebsd": {"jail": {"host": "inherit"}}});
    assert!(error(both).starts_with("hostname: cannot be set while freebsd.jail.host is inherit"));
}

#[test]
fn annotations_of_engines_mean_the_same() {
    let plan = plan(json!({"annotations": {
        "org.freebsd.parentJail": "pod", "org.freebsd.jail.vnet": "new", "org.freebsd.jail.sysvshm": "inherit",
        "org.freebsd.jail.allow.mlock": "true", "org.freebsd.jail.allow.chflags": "false",
        "org.freebsd.jail.securelevel": "2", "org.freebsd.jail.vnet.interface": "epair1b", "other": "x"}}));
    assert_eq!(
        lines(&plan),
        [
            "one more child for jail pod",
            "jail pod.web at /b/rootfs host=inherit vnet=new sysvmsg=new sysvsem=new sysvshm=inherit \
             enforce_statfs=1 allow.raw_sockets=true allow.chflags=false allow.mlock=true securelevel=2 \
             meta.brig=web meta.brig.jail=pod.web meta.brig.bundle=/b meta.brig.directory=/var/run/brig/web",
            "interface epair1b into jail pod.web",
        ]
    );
    assert!(plan.ignored.is_empty(), "{:?}", plan.ignored);
}

#[test]
fn a_property_wins_over_its_annotation_with_a_warning() {
    let plan = plan(json!({
        "annotations": {"org.freebsd.jail.ip4.addr": "10.0.0.9", "org.freebsd.jail.sysvmsg": "new",
            "org.freebsd.jail.allow.mlock": "1"},
        "freebsd": {"jail": {"ip4Addr": ["10.0.0.1"], "sysvmsg": "disable", "allow": {"mlock": false}}}}));
    let line = jail_line(&plan);
    assert!(
        line.contains("ip4.addr=10.0.0.1 ")
            && line.contains("sysvmsg=disable")
            && line.contains("mlock=false")
    );
    assert!(
        !line.contains("mlock=true") && !line.contains("10.0.0.9"),
        "{line}"
    );
    let ignored: Vec<&str> = plan.ignored.iter().map(|i| i.property.as_str()).collect();
    assert_eq!(
        ignored,
        [
            "annotations[\"org.freebsd.jail.ip4.addr\"]",
            "annotations[\"org.freebsd.jail.sysvmsg\"]",
            "annotations[\"org.freebsd.jail.allow.mlock\"]",
        ]
    );
}

#[test]
fn faults_of_annotations_name_the_annotation() {
    let with = |key: &str, value: &str| error(json!({"annotations": {key: value}}));
    let key = "org.freebsd.jail.vnet";
    assert_eq!(
        with(key, "x"),
        "annotations[\"org.freebsd.jail.vnet\"]: \"x\" is not one of new, inherit"
    );
    assert!(with("org.freebsd.jail.path", "/").ends_with("is brig's own to set"));
    assert!(
        with("org.freebsd.jail.allow.mlock", "maybe").ends_with("\"maybe\" is not true or false")
    );
    assert!(
        with("org.freebsd.jail.ip4.addr", "1.2.3").contains("\"1.2.3\" is not an IPv4 address")
    );
    assert!(with("org.freebsd.jail.exec.fib", "x").contains("routing table"));
    assert!(with("org.freebsd.cpuset", "3-1").contains("not a list of processors"));
    assert!(
        with("org.freebsd.rctl.memoryusage", "deny:1g").contains("known: memoryuse, memorylocked")
    );
    assert!(with("org.freebsd.rctl.maxproc", "deny").contains("has no amount"));
    assert!(
        with("org.freebsd.rctl.readbps", "deny:1m")
            .ends_with("rctl cannot deny readbps; use throttle")
    );
    assert!(with("org.freebsd.rctl.maxproc", "throttle:1").ends_with("use deny"));
    assert!(with("org.freebsd.rctl.maxproc", "deny:many").contains("\"many\" is not an amount"));
    assert!(with("org.freebsd.rctl.maxproc", "stop:1").contains("\"stop\" is not an action"));
    assert!(
        with("org.freebsd.rctl.maxproc", "deny:1/house")
            .contains("\"house\" is not what rctl counts for")
    );
}

#[test]
fn devfs_is_never_without_a_ruleset_unless_asked() {
    let with = |options: Json| {
        let plan = plan(
            json!({"mounts": [{"destination": "/dev", "type": "devfs", "source": "devfs", "options": options}]}),
        );
        lines(&plan)[0].clone()
    };
    assert_eq!(with(json!([])), "mount devfs devfs on /dev (ruleset=4)");
    assert_eq!(
        with(json!(["ruleset=7", "nosuid"])),
        "mount devfs devfs on /dev (nosuid, ruleset=7)"
    );
    assert_eq!(with(json!(["ruleset=0"])), "mount devfs devfs on /dev");
    let bad = |option: &str| {
        error(json!({"mounts": [{"destination": "/dev", "type": "devfs", "options": [option]}]}))
    };
    assert!(bad("ruleset=x").starts_with("mounts[0].options[0]: \"x\" is not a ruleset"));
    assert!(bad("ruleset").starts_with("mounts[0].options[0]: "));
    assert!(bad("rule=path x").contains("does nothing"));
    assert!(bad("rule=path x mode 9").contains("\"9\" is not an octal mode"));
}

#[test]
fn devices_are_shown_with_the_directories_above_them() {
    let planned = plan(json!({
        "mounts": [{"destination": "/dev", "type": "devfs", "options": ["rule=path tun* unhide mode 0660 group wheel"]}],
        "freebsd": {"devices": [{"path": "dri/card0", "mode": 438}]}}));
    assert_eq!(
        lines(&planned)[0],
        "at the end free unused devfs rulesets from 40000 to 49999"
    );
    assert_eq!(
        lines(&planned)[2],
        "devices of /dev: path tun* unhide group 0 mode 0660; path dri unhide; path dri/card0 unhide mode 0666"
    );
    let jail = json!({
        "mounts": [{"destination": "/dev", "type": "devfs"}],
        "freebsd": {
            "devices": [{"path": "pf"}],
            "jail": {"enforceStatfs": 1, "allow": {"mount": ["devfs"]}}}});
    let by_itself = "devices of what jail web mounts: path pf unhide";
    assert!(lines(&plan(jail)).iter().any(|line| line == by_itself));
    let alone = json!({"freebsd": {"devices": [{"path": "pf"}]}});
    assert!(error(alone).starts_with("freebsd.devices: needs a devfs mount on /dev"));
    let out = json!({"freebsd": {"devices": [{"path": "../etc"}]}});
    assert!(
        error(out)
            .starts_with("freebsd.devices[0].path: \"../etc\" is not a path relative to /dev")
    );
}

#[test]
fn mounts_take_the_options_of_engines() {
    let plan = plan(json!({"mounts": [
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "rprivate", "nodev", "ro"]},
        {"destination": "etc/x", "source": "/x", "options": ["rbind", "rro"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["size=65536k", "mode=1777", "tmpcopyup", "nosuid", "rw"]},
        {"destination": "/proc", "type": "linprocfs", "source": "linproc"}]}));
    assert_eq!(
        lines(&plan)[2..6],
        [
            "mount nullfs /b/data on /data (ro)",
            "mount nullfs /x on /etc/x (ro)",
            "mount tmpfs tmpfs on /tmp (size=65536k, mode=1777, nosuid) with what it covers",
            "mount linprocfs linproc on /proc",
        ]
    );
    assert_eq!(plan.ignored[0].property, "mounts[0].options");
    assert_eq!(
        plan.ignored[0].reason,
        "rbind, rprivate, nodev mean nothing to FreeBSD"
    );
    assert_eq!(plan.ignored.len(), 2);
    let with = |mount: Json| error(json!({"mounts": [mount]}));
    assert!(
        with(json!({"destination": "/a", "type": "nullfs"}))
            .starts_with("mounts[0].source: is missing")
    );
    assert!(with(json!({"destination": "/a"})).starts_with("mounts[0].type: is missing"));
    assert!(
        with(json!({"destination": "/a", "type": "tmpfs", "options": ["size=10%"]}))
            .contains("not a size")
    );
    assert!(
        with(json!({"destination": "/a", "type": "tmpfs", "options": ["fspath=/etc"]}))
            .contains("brig's own")
    );
    assert!(
        with(json!({"destination": "/a", "source": "/b", "options": ["idmap"]}))
            .contains("not possible")
    );
}

#[test]
fn a_read_only_root_comes_after_the_mount_points_and_before_the_mounts() {
    let plan = plan(json!({"root": {"path": "/r", "readonly": true}, "mounts": [
        {"destination": "/tmp", "type": "tmpfs"},
        {"destination": "/tmp/x", "type": "nullfs", "source": "/x"},
        {"destination": "/data", "type": "nullfs", "source": "/y"}]}));
    assert_eq!(
        lines(&plan)[..6],
        [
            "mount point /tmp in /r",
            "mount point /data in /r",
            "mount nullfs /r on /root (ro)",
            "mount tmpfs on /tmp",
            "mount nullfs /x on /tmp/x",
            "mount nullfs /y on /data",
        ]
    );
    assert!(jail_line(&plan).starts_with("jail web at /var/run/brig/web/root "));
    for step in &plan.steps[3..6] {
        let plan::Step::Freebsd(Step::FileSystem { root, .. }) = step else {
            panic!("{step:?}")
        };
        assert_eq!(root, Path::new("/var/run/brig/web/root"));
    }
}

#[test]
fn a_root_that_is_in_use_is_mounted_on_through_a_view_of_its_own() {
    let config = json!({"mounts": [{"destination": "/tmp", "type": "tmpfs"}]});
    let plan = planned_with(config, &HostFacts::typical(Os::Freebsd), true).unwrap();
    assert_eq!(
        lines(&plan)[..2],
        ["mount nullfs /b/rootfs on /root", "mount tmpfs on /tmp"]
    );
    assert!(jail_line(&plan).starts_with("jail web at /var/run/brig/web/root "));
}

#[test]
fn an_ephemeral_root_is_read_only_below_a_layer_in_memory() {
    let ephemeral = |value: &str| json!({"annotations": {"org.freebsd.brig.ephemeral": value}});
    let all = lines(&plan(ephemeral("64m")));
    assert_eq!(
        all[..2],
        [
            "mount tmpfs tmpfs on /root (size=64m)",
            "mount unionfs /b/rootfs on /root (below)",
        ]
    );
    assert!(
        all[2].starts_with("jail web at /var/run/brig/web/root "),
        "{}",
        all[2]
    );
    assert_eq!(
        lines(&plan(ephemeral("true")))[0],
        "mount tmpfs tmpfs on /root"
    );
    assert_eq!(lines(&plan(ephemeral("no"))).len(), 1);
    for bad in ["m", "-1", "+1", "1 m", "99999999999999999999", "unionfs"] {
        assert_eq!(
            error(ephemeral(bad)),
            format!(
                "annotations[\"org.freebsd.brig.ephemeral\"]: {bad:?} is neither true or false nor a \
                 size; write a size as: 64m"
            )
        );
    }
}

#[test]
fn resources_become_rules() {
    let config = json!({"linux": {"resources": {
        "memory": {"limit": 536870912, "swap": -1}, "pids": {"limit": 100},
        "cpu": {"quota": 150000, "period": 100000, "cpus": "0-1,3", "shares": 512},
        "blockIO": {"weight": 10}}},
        "annotations": {"org.freebsd.rctl.openfiles": "deny:1k", "org.freebsd.rctl.maxproc": "deny=50/user",
            "org.freebsd.rctl.readbps": "throttle:10m"}});
    let plan = plan(config.clone());
    let all = lines(&plan);
    assert_eq!(
        all[1..],
        [
            "limit jail:web:memoryuse:deny=536870912",
            "limit jail:web:pcpu:deny=150",
            "limit jail:web:maxproc:deny=50/user",
            "limit jail:web:openfiles:deny=1024",
            "limit jail:web:readbps:throttle=10485760",
            "processors 0,1,3 for jail web",
        ]
    );
    let ignored: Vec<&str> = plan.ignored.iter().map(|i| i.property.as_str()).collect();
    assert_eq!(
        ignored,
        [
            "linux.resources.cpu.shares",
            "linux.resources.blockIO",
            "linux.resources.pids.limit"
        ]
    );

    let host = HostFacts {
        racct: false,
        ..HostFacts::typical(Os::Freebsd)
    };
    let fault = planned(config, &host).unwrap_err().to_string();
    assert_eq!(
        fault,
        "linux.resources.memory.limit: resource accounting is switched off in this kernel; put \
         kern.racct.enable=1 into /boot/loader.conf and reboot"
    );
}

#[test]
fn the_linux_section_is_listed_and_passed_over() {
    let plan = plan(
        json!({"linux": {"namespaces": [{"type": "pid"}], "maskedPaths": ["/proc/kcore"],
        "cgroupsPath": "/x"}, "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0},
        "oomScoreAdj": 5}}),
    );
    let ignored: Vec<&str> = plan.ignored.iter().map(|i| i.property.as_str()).collect();
    assert_eq!(
        ignored,
        [
            "process.oomScoreAdj",
            "linux.namespaces",
            "linux.cgroupsPath",
            "linux.maskedPaths"
        ]
    );
    let mapped = json!({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}]}});
    assert_eq!(
        error(mapped),
        "linux.uidMappings: FreeBSD has no user namespaces"
    );
}

#[test]
fn limits_of_the_process_that_freebsd_lacks_are_refused() {
    let with = |kind: &str| {
        json!({"process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0},
            "rlimits": [{"type": kind, "soft": 1, "hard": 1}]}})
    };
    assert_eq!(
        error(with("RLIMIT_NICE")),
        "process.rlimits[0].type: FreeBSD has no RLIMIT_NICE"
    );
    plan(with("RLIMIT_NOFILE"));
}

#[test]
fn steps_come_back_from_the_journal_as_they_were() {
    let plan = plan(json!({
        "root": {"path": "/r", "readonly": true},
        "mounts": [{"destination": "/dev", "type": "devfs", "options": ["rule=path x unhide"]}],
        "annotations": {"org.freebsd.parentJail": "p", "org.freebsd.jail.vnet": "new",
            "org.freebsd.jail.vnet.interface": "e0", "org.freebsd.jail.allow.mount.zfs": "1",
            "org.freebsd.rctl.maxproc": "deny:5/user", "org.freebsd.cpuset": "0"}}));
    for step in plan.steps {
        let text = serde_json::to_string(&step).unwrap();
        let back: plan::Step = serde_json::from_str(&text).unwrap();
        assert!(matches!(back, plan::Step::Freebsd(_)), "{text}");
        assert_eq!(back, step);
    }
    let alias = Step::Alias {
        interface: "lo1".into(),
        address: "fd00::1".parse().unwrap(),
    };
    let text = serde_json::to_string(&plan::Step::Freebsd(alias.clone())).unwrap();
    assert_eq!(
        serde_json::from_str::<plan::Step>(&text).unwrap(),
        plan::Step::Freebsd(alias)
    );
}

#[test]
fn jail_conf_is_what_an_administrator_would_write() {
    let plan = plan(json!({
        "hostname": "h\"x",
        "process": {"cwd": "/", "args": ["/bin/sh", "-c", "echo 'hi'"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/dev", "type": "devfs"}, {"destination": "/a b", "source": "/x", "type": "nullfs"}],
        "freebsd": {"jail": {"vnet": "new", "vnetInterfaces": ["e0b"], "allow": {"chflags": false, "mlock": true}}},
        "annotations": {"org.freebsd.rctl.maxproc": "deny:5"}}));
    assert_eq!(
        plan::print::jail_conf(&plan),
        r#""web" {
    mount += "devfs /b/rootfs/dev devfs ruleset=4 0 0";
    mount += "/x /b/rootfs/a\\040b nullfs rw 0 0";
    path = "/b/rootfs";
    persist;
    host = "new";
    host.hostname = "h\"x";
    vnet = "new";
    sysvmsg = "new";
    sysvsem = "new";
    sysvshm = "new";
    enforce_statfs = 2;
    allow.nochflags;
    allow.mlock;
    meta.brig = "web";
    meta.brig.jail = "web";
    meta.brig.bundle = "/b";
    meta.brig.directory = "/var/run/brig/web";
    meta.brig.host = "interface e0b";
    vnet.interface += "e0b";
    exec.created += "rctl -a jail:web:maxproc:deny=5";
    exec.start = "/bin/sh -c 'echo '\\''hi'\\'''";
    exec.release += "rctl -r jail:web:maxproc:deny";
}
"#
    );
}

#[test]
fn text_numbers_the_steps_and_names_what_is_ignored() {
    let plan = plan(
        json!({"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["nodev"]}],
        "process": {"cwd": "/", "args": ["sh", "-c", "a b"], "user": {"uid": 5, "gid": 6, "umask": 18}}}),
    );
    let text = plan::print::text(&plan);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("  1  mount tmpfs on /m"));
    assert!(
        text.contains("\nrun sh -c 'a b'\n    as uid 5 gid 6 umask 022 in /\n"),
        "{text}"
    );
    assert!(
        text.ends_with("ignored mounts[0].options: nodev mean nothing to FreeBSD\n"),
        "{text}"
    );
}

#[test]
fn linux_programs_get_their_emulation() {
    let linprocfs = json!([{"destination": "/proc", "type": "linprocfs", "source": "linprocfs"}]);
    let modules = |config: Json| {
        let all = lines(&plan(config));
        let only = all.into_iter().filter(|line| line.contains("module"));
        only.collect::<Vec<_>>()
    };
    let linux64 = "kernel module linux64 for Linux programs";
    assert_eq!(
        modules(json!({"mounts": linprocfs})),
        ["kernel module linprocfs for allow.mount.linprocfs", linux64]
    );
    let parameter = json!({"org.freebsd.jail.linux.osrelease": "6.1.0"});
    assert_eq!(modules(json!({"annotations": parameter})), [linux64]);
    // A program of FreeBSD may read linprocfs too.
    let freebsd = json!({"org.opencontainers.image.os": "freebsd"});
    assert_eq!(
        modules(json!({"mounts": linprocfs, "annotations": freebsd})),
        ["kernel module linprocfs for allow.mount.linprocfs"]
    );
    // Engines write a linux section for every container.
    assert_eq!(
        modules(json!({"linux": {}, "annotations": freebsd})),
        [""; 0]
    );
    // One that jails may mount as well is loaded once.
    let jail = json!({"jail": {"enforceStatfs": 1, "allow": {"mount": ["linprocfs"]}}});
    assert_eq!(
        modules(json!({"mounts": linprocfs, "freebsd": jail})),
        ["kernel module linprocfs for allow.mount.linprocfs", linux64]
    );
}

#[test]
fn a_linux_image_gets_the_mounts_it_expects() {
    let annotations = json!({"org.opencontainers.image.os": "linux"});
    let mounts = |list: Json| {
        let plan = plan(json!({"annotations": annotations, "mounts": list}));
        let all = lines(&plan).into_iter();
        all.filter(|line| line.starts_with("mount ") || line.starts_with("devices "))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        mounts(json!([
            {"destination": "/dev", "type": "devfs"},
            {"destination": "/proc", "type": "procfs", "source": "own"}
        ])),
        [
            "mount devfs on /dev (ruleset=4)",
            "devices of /dev: path shm unhide",
            "mount procfs own on /proc",
            "mount linsysfs linsysfs on /sys",
            "mount fdescfs fdescfs on /dev/fd (linrdlnk)",
            "mount tmpfs tmpfs on /dev/shm (mode=1777)",
        ]
    );
    assert_eq!(
        mounts(json!([])),
        [
            "mount linprocfs linprocfs on /proc",
            "mount linsysfs linsysfs on /sys"
        ]
    );
}

/// An ELF file with one segment behind its headers.
fn elf(bits: u8, osabi: u8, kind: u32, segment: &[u8]) -> Vec<u8> {
    let (class, header, entry) = if bits == 64 { (2, 64, 56) } else { (1, 52, 32) };
    let mut file = vec![0_u8; header + entry];
    file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1, osabi]);
    // e_phoff, e_phentsize, e_phnum; p_type, p_offset, p_filesz.
    let [table, size, count, offset, length] = if bits == 64 {
        [32, 54, 56, 8, 32]
    } else {
        [28, 42, 44, 4, 16]
    };
    let byte = |n: usize| u8::try_from(n).unwrap();
    file[table] = byte(header);
    file[size] = byte(entry);
    file[count] = 1;
    file[header..header + 4].copy_from_slice(&kind.to_le_bytes());
    file[header + offset] = byte(header + entry);
    file[header + length] = byte(segment.len());
    file.extend_from_slice(segment);
    file
}

#[test]
fn linux_programs_are_told_by_their_marks() {
    use super::linux::{interpreter, module_for};
    const INTERP: u32 = 3;
    const NOTE: u32 = 4;
    let note = |owner: &[u8; 4], kind: u8, system: u8| {
        let mut note = vec![4, 0, 0, 0, 16, 0, 0, 0, kind, 0, 0, 0];
        note.extend_from_slice(owner);
        note.extend_from_slice(&[system, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        note
    };
    let mut two_notes = note(b"GNU\0", 3, 0);
    two_notes.extend(note(b"GNU\0", 1, 0));
    for (bits, module) in [(64, "linux64"), (32, "linux")] {
        let elf = |osabi, kind, segment: &[u8]| elf(bits, osabi, kind, segment);
        for linux in [
            elf(3, 1, b""),
            elf(0, INTERP, b"/lib64/ld-linux-x86-64.so.2\0"),
            elf(0, INTERP, b"/lib/ld-musl-x86_64.so.1\0"),
            elf(0, NOTE, &two_notes),
        ] {
            assert_eq!(module_for(&linux), Some(module), "{linux:?}");
        }
        let mut beyond = elf(0, INTERP, b"/lib64/ld-linux-x86-64.so.2\0");
        let offset = if bits == 64 {
            64 + 8..64 + 16
        } else {
            52 + 4..52 + 8
        };
        beyond[offset].fill(0xff);
        for other in [
            elf(9, INTERP, b"/lib64/ld-linux-x86-64.so.2\0"),
            elf(0, INTERP, b"/libexec/ld-elf.so.1\0"),
            elf(0, NOTE, &note(b"GNU\0", 3, 0)),
            elf(0, NOTE, &note(b"GNU\0", 1, 2)),
            elf(0, NOTE, b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0"),
            elf(0, 1, b""),
            beyond,
            b"#!/bin/sh\n".to_vec(),
            Vec::new(),
        ] {
            assert_eq!(module_for(&other), None, "{other:?}");
        }
    }
    assert_eq!(interpreter(b"#! /bin/sh -e\nexit\n"), Some("/bin/sh"));
    assert_eq!(interpreter(b"#!\n"), None);
    assert_eq!(interpreter(b"echo"), None);
}
