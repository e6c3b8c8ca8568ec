//! brig inside a container that may have children, mounts and a network stack.

use std::fs;

use serde_json::json;

use super::support::{Case, Outcome, Test, host, sh};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "nested/runs",
        run: runs,
    },
    Case {
        name: "nested/forbidden",
        run: forbidden,
    },
];

/// A bundle with brig and a bundle in it; `more` is its jail.
fn outer(t: &Test, more: serde_json::Value) -> Outcome<std::path::PathBuf> {
    let bundle = t.sleeping("outer", |c| {
        c["freebsd"]["jail"] = more;
        c["mounts"].as_array_mut().expect("mounts").push(
            json!({"destination": "/bin/brig", "type": "nullfs", "source": t.program(), "options": ["ro"]}),
        );
    })?;
    let inner = bundle.join("rootfs/inner");
    if !inner.exists() {
        fs::create_dir_all(inner.join("rootfs"))?;
        fs::create_dir_all(bundle.join("rootfs/var/run"))?;
        let root = bundle.join("rootfs");
        sh(&format!(
            "cd {} && mkdir inner/rootfs/tmp inner/rootfs/dev && cp -Rp bin etc inner/rootfs/ && rm -f inner/rootfs/bin/brig",
            root.display()
        ))?;
        let config = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "hostname": "inner",
            "process": {"cwd": "/", "env": ["PATH=/bin"], "args": ["sleep", "1000"], "user": {"uid": 0, "gid": 0}},
            "freebsd": {"jail": {"vnet": "new", "enforceStatfs": 1}},
            "mounts": [
                {"destination": "/dev", "type": "devfs"},
                {"destination": "/made/tmp", "type": "tmpfs"},
                {"destination": "/etc/passwd", "source": "rootfs/etc/group", "options": ["bind", "ro"]}
            ]
        });
        fs::write(inner.join("config.json"), config.to_string())?;
    }
    Ok(bundle)
}

/// create, start, exec, ps, kill and delete inside; and a delete from outside
/// takes what is left inside with it.
fn runs(t: &Test) -> Outcome {
    let bundle = outer(
        t,
        json!({"host": "new", "vnet": "new", "enforceStatfs": 1,
            "allow": {"mount": ["nullfs", "devfs", "tmpfs"], "chflags": true}}),
    )?;
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["annotations"] = json!({"org.freebsd.jail.children.max": "10"});
    fs::write(&file, config.to_string())?;
    t.up(&bundle, "outer")?;
    let before = host();
    let inside = |words: &[&str]| t.ok(&[&["exec", "outer"], words].concat());
    inside(&["brig", "run", "-d", "-b", "/inner", "in"])?;
    let said = inside(&[
        "brig",
        "exec",
        "in",
        "sh",
        "-c",
        "hostname; cat /etc/passwd; ls /made; ls /dev/null; ifconfig -l; echo x > /made/tmp/x",
    ])?;
    check!(
        said.starts_with("inner\nwheel:*:0:root\nwww:*:80:\ntmp\n/dev/null\nlo0"),
        "{said}"
    );
    let state = inside(&["brig", "state", "in"])?;
    check!(state.contains("\"running\""), "{state}");
    let names = sh("jls name")?;
    check!(names.contains("outer.in"), "{names}");
    let listed = t.ok(&["ps", "--format", "json", "outer"])?;
    check!(listed.split(',').count() == 2, "{listed}");
    inside(&["brig", "kill", "in", "KILL"])?;
    inside(&["brig", "delete", "--force", "in"])?;
    let after = host();
    check!(
        before == after,
        "left inside: {:?}",
        before.symmetric_difference(&after).collect::<Vec<_>>()
    );
    inside(&["brig", "run", "-d", "-b", "/inner", "in"])?;
    t.down("outer")
}

/// The lines that are no warnings.
fn errors(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = said.lines().filter(|line| !line.contains("warning"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Without the permissions: one line each, and nothing is left.
fn forbidden(t: &Test) -> Outcome {
    let bundle = outer(t, json!({"enforceStatfs": 1}))?;
    t.up(&bundle, "outer")?;
    let before = host();
    let output = t.output(&["exec", "outer", "brig", "run", "-b", "/inner", "in"])?;
    let said = errors(&output);
    check!(
        !output.status.success()
            && said.lines().count() == 1
            && said.contains("EPERM")
            && said.contains("allow.mount"),
        "{said}"
    );
    t.down("outer")?;
    let bundle = outer(
        t,
        json!({"vnet": "new", "enforceStatfs": 1, "allow": {"mount": ["nullfs", "devfs", "tmpfs"]}}),
    )?;
    t.up(&bundle, "outer")?;
    let output = t.output(&["exec", "outer", "brig", "run", "-b", "/inner", "in"])?;
    let said = errors(&output);
    check!(
        !output.status.success() && said.lines().count() == 1 && said.contains("children.max"),
        "{said}"
    );
    let left = t.ok(&[
        "exec",
        "outer",
        "sh",
        "-c",
        "mount -v; ls /var/run/brig; ls /inner/rootfs",
    ])?;
    check!(
        !left.contains("made") && !left.contains("inner/rootfs"),
        "{left}"
    );
    t.down("outer")?;
    check!(before.is_superset(&host()), "something is left on the host");
    Ok(())
}
