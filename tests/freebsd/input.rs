//! Wrong input that only a kernel can tell: one line that names it and the
//! remedy, and a host as it was. What a plan can tell is in the table of
//! src/plan/freebsd/wrong_input.rs.

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, host, sh};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "input/kernel",
        run: kernel,
    },
    Case {
        name: "input/parameters",
        run: parameters,
    },
    Case {
        name: "input/taken",
        run: taken,
    },
    Case {
        name: "input/jailed",
        run: jailed,
    },
];

/// What is missing, unknown or out of range for the kernel.
fn kernel(t: &Test) -> Outcome {
    let jail = |jail: Value| json!({"freebsd": {"jail": jail}});
    let annotation =
        |key: &str, value: &str| json!({"annotations": {format!("org.freebsd.{key}"): value}});
    for (more, words) in [
        (
            jail(json!({"parent": "nobody"})),
            &["parent jail", "nobody", "create it first"][..],
        ),
        (
            annotation("parentJail", "nobody"),
            &["parent jail", "nobody", "create it first"],
        ),
        (
            jail(json!({"interface": "none0", "ip4Addr": ["10.9.8.7"]})),
            &["10.9.8.7", "there is no interface none0"],
        ),
        (
            jail(json!({"interface": "lo0", "ip4Addr": ["10.9.8.6", "127.0.0.1"]})),
            &["127.0.0.1", "lo0 has it already", "freebsd.jail.interface"],
        ),
        (
            jail(json!({"vnet": "new", "vnetInterfaces": ["none0"]})),
            &["none0", "the host has no such interface", "create it"],
        ),
        (
            jail(json!({"enforceStatfs": 1, "allow": {"mount": ["nosuch"]}})),
            &["nosuch", "allow.mount.nosuch", "kldload nosuch"],
        ),
        (
            annotation("jail.allow.mount.nosuch", "true"),
            &["allow.mount.nosuch", "kldload nosuch"],
        ),
    ] {
        wrong(t, &more, words)?;
    }
    Ok(())
}

/// Parameters that the kernel does not know, or whose values it does not take.
fn parameters(t: &Test) -> Outcome {
    for (more, words) in [
        (
            annotation("jail.allow.raw_socket", "true"),
            &["allow.raw_socket is unknown", "allow.raw_sockets"][..],
        ),
        (
            annotation("jail.secure", "1"),
            &["secure is unknown", "securelevel"],
        ),
        (
            annotation("jail.securelevel", "high"),
            &["securelevel", "\"high\" is not a number"],
        ),
        (
            annotation("jail.children.max", "x"),
            &["children.max", "\"x\" is not a number"],
        ),
        (
            annotation("jail.children.max", "99999999999"),
            &["children.max", "32 bits"],
        ),
        (
            annotation("jail.host.hostid", "x"),
            &["host.hostid", "\"x\" is not a number"],
        ),
        (
            annotation(
                "jail.host.hostuuid",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
            ),
            &["hostuuid"],
        ),
        (
            annotation("jail.osrelease", "0123456789012345678901234567890123456789"),
            &["osrelease"],
        ),
        (
            annotation("jail.devfs_ruleset", "65536"),
            &["devfs", "65536"],
        ),
        (
            annotation("jail.ip4.saddrsel", "maybe"),
            &["ip4.saddrsel", "true or false"],
        ),
        (annotation("cpuset", "900"), &["processors", "hw.ncpu"]),
        (
            json!({"mounts": [{"destination": "/dev", "type": "devfs", "options": ["ruleset=777"]}]}),
            &["ruleset 777", "service devfs restart"],
        ),
    ] {
        wrong(t, &more, words)?;
    }
    Ok(())
}

fn annotation(key: &str, value: &str) -> Value {
    json!({"annotations": {format!("org.freebsd.{key}"): value}})
}

/// Creates a container with `more` in its configuration, which must fail with
/// the words and leave its root as it was.
fn wrong(t: &Test, more: &Value, words: &[&str]) -> Outcome {
    let bundle = t.bundle("b", &["true"], |c| {
        let all = c.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
    })?;
    let tree = || sh(&format!("cd {}/rootfs && find . | sort", bundle.display()));
    let before = tree()?;
    let path = bundle.to_string_lossy().into_owned();
    t.refused(&["create", "-b", &path, "wrong"], words)
        .map_err(|e| format!("{more}: {e}"))?;
    check!(tree()? == before, "{more}: {}", tree()?);
    Ok(())
}

/// A name that another jail has, and an interface that another jail has.
fn taken(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let path = bundle.to_string_lossy().into_owned();
    sh("jail -c name=taken path=/ persist vnet")?;
    let named = t.refused(
        &["create", "-b", &path, "taken"],
        &["taken", "in use by jail"],
    );
    let epair = sh("ifconfig epair create")?;
    let other = epair.replace('a', "b").replace("epbir", "epair");
    let moved = sh(&format!("ifconfig {other} vnet taken")).and_then(|_| {
        t.sleeping("b", |c| {
            c["freebsd"]["jail"] = json!({"vnet": "new", "vnetInterfaces": [epair, other]});
        })?;
        t.refused(
            &["create", "-b", &path, "mine"],
            &[&other, "take it back from the jail that has it"],
        )
    });
    sh(&format!("jail -r taken; sleep 1; ifconfig {epair} destroy"))?;
    named?;
    moved?;
    Ok(())
}

/// brig in a jail that may nothing: each act that is forbidden is one line.
fn jailed(t: &Test) -> Outcome {
    let run = |name: &str, edit: &dyn Fn(&mut Value)| -> Outcome<String> {
        let bundle = t.bundle("b", &["true"], edit)?;
        let before = host();
        let said = sh(&format!(
            "! jail -c name=guest path=/ host=inherit ip4=inherit {name} command={} --root {} create -b {} in 2>&1",
            t.program().display(),
            t.state().display(),
            bundle.display()
        ))?;
        let after = host();
        check!(
            before == after,
            "the host changed: {:?}",
            before.symmetric_difference(&after).collect::<Vec<_>>()
        );
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("brig:") && !line.contains("warning"))
            .collect();
        check!(lines.len() == 1, "not one line: {said}");
        Ok(lines[0].to_owned())
    };
    // Another case may have loaded it; then the jail lacks the permission.
    let lacks = if sh("kldstat -q -n linprocfs.ko").is_ok() {
        "no more than its parent has"
    } else {
        "linprocfs"
    };
    let lacks = [lacks];
    for (permissions, edit, words) in [
        (
            "",
            (&|_: &mut Value| {}) as &dyn Fn(&mut Value),
            &["mount", "allow.mount"][..],
        ),
        (
            "",
            &|c| c["mounts"] = json!([]),
            &["create jail", "children.max"],
        ),
        (
            "children.max=2",
            &|c| {
                c["mounts"] = json!([]);
                c["annotations"] = json!({"org.freebsd.rctl.maxproc": "deny:5"});
            },
            &["limit", "on the host"],
        ),
        (
            "children.max=2",
            &|c| {
                c["mounts"] = json!([]);
                c["freebsd"]["jail"] = json!({"allow": {"mlock": true}});
            },
            &["create jail", "no more than its parent has"],
        ),
        (
            "children.max=2",
            &|c| {
                c["mounts"] = json!([]);
                c["freebsd"]["jail"] = json!({"interface": "lo0", "ip4Addr": ["10.9.8.7"]});
            },
            &["10.9.8.7", "EPERM"],
        ),
        (
            "children.max=2",
            &|c| {
                c["mounts"] = json!([]);
                c["freebsd"]["jail"] =
                    json!({"enforceStatfs": 1, "allow": {"mount": ["linprocfs"]}});
            },
            &lacks,
        ),
    ] {
        let said = run(permissions, edit)?;
        for word in words {
            check!(said.contains(word), "no {word:?} in: {said}");
        }
        println!("{said}");
    }
    Ok(())
}
