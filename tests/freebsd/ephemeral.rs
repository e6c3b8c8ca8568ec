//! An ephemeral root: the base is only read, and what is written goes with the
//! container.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, sh, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "ephemeral/written",
        run: written,
    },
    Case {
        name: "ephemeral/many",
        run: many,
    },
    Case {
        name: "ephemeral/killed",
        run: killed,
    },
    Case {
        name: "ephemeral/size",
        run: size,
    },
];

fn ephemeral(value: &str) -> impl FnOnce(&mut Value) + use<'_> {
    move |c| {
        c["annotations"] = json!({"org.freebsd.brig.ephemeral": value});
        // Neither mount point is in the base.
        c["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(json!({"destination": "/made/deep", "type": "tmpfs"}));
    }
}

/// Everything about a tree but the times of access, which reading changes.
fn tree(root: &Path) -> Outcome<String> {
    sh(&format!(
        "cd {} && find . -exec stat -f '%N %p %u %g %z %m %c %i' {{}} + | sort && \
         find . -type f ! -perm +111 -exec md5 {{}} + | sort",
        root.display()
    ))
}

/// Files of the base are changed, made, renamed and removed inside; the base
/// stays as it was, and the next container sees the base.
fn written(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", ephemeral("true"))?;
    let root = bundle.join("rootfs");
    sh(&format!(
        "cd {} && echo base > old && echo base > gone && ln -s old link && mkdir -p d/e && echo base > d/e/f",
        root.display()
    ))?;
    let before = tree(&root)?;
    t.up(&bundle, "a")?;
    let script = "set -e; echo more >> old; echo new > newer; rm gone; chmod 600 d/e/f; \
        mkdir -p x/y; echo z > x/y/z; rm -r x; cat old newer link d/e/f; test ! -e gone; \
        test ! -e x; ls /made/deep; cat /bin/sh > /tmp/sh; chmod 755 /tmp/sh; /tmp/sh -c :";
    let said = t.ok(&["exec", "a", "sh", "-c", script])?;
    check!(said == "base\nmore\nnew\nbase\nmore\nbase", "{said}");
    check!(tree(&root)? == before, "the base has changed");
    let again = t.ok(&["exec", "a", "cat", "/newer"])?;
    check!(again == "new", "{again}");
    t.down("a")?;
    check!(tree(&root)? == before, "the base has changed at the end");
    t.up(&bundle, "a")?;
    let said = t.ok(&["exec", "a", "sh", "-c", "cat old gone; test ! -e newer"])?;
    check!(said == "base\nbase", "{said}");
    t.down("a")?;
    check!(tree(&root)? == before, "the base has changed after two");
    Ok(())
}

/// Several over one base at once, each writing for itself, and each deleted
/// while the others go on.
fn many(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", ephemeral("true"))?;
    let before = tree(&bundle.join("rootfs"))?;
    let ids: Vec<String> = (0..6).map(|i| format!("c{i}")).collect();
    for id in &ids {
        t.up(&bundle, id)?;
    }
    let work = |id: &str| {
        format!(
            "i=0; while test $i -lt 40; do echo {id} > /etc/f$i; mkdir /tmp/d$i; cat /etc/passwd > /tmp/d$i/p; \
             echo {id} >> /etc/passwd; rm -r /tmp/d$i; rm /etc/f$i; i=$((i+1)); done; \
             echo {id} > /etc/mine; rm /etc/group"
        )
    };
    let mut children = Vec::new();
    for id in &ids {
        let mut command = t.command(&["exec", id, "sh", "-c", &work(id)]);
        children.push(command.spawn()?);
    }
    for mut child in children {
        let status = child.wait()?;
        check!(status.success(), "a script ended with {status}");
    }
    for (i, id) in ids.iter().enumerate() {
        let said = t.ok(&[
            "exec",
            id,
            "sh",
            "-c",
            "cat /etc/mine; tail -n 1 /etc/passwd; test ! -e /etc/group; ls /made",
        ])?;
        check!(said == format!("{id}\n{id}\ndeep"), "{said}");
        if i % 2 == 0 {
            t.down(id)?;
        }
    }
    for id in ids.iter().skip(1).step_by(2) {
        t.down(id)?;
    }
    check!(
        tree(&bundle.join("rootfs"))? == before,
        "the base has changed"
    );
    Ok(())
}

/// A create killed at any moment, and a container whose brig is gone: gc and
/// delete take the layers away.
fn killed(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", ephemeral("8m"))?;
    let before = tree(&bundle.join("rootfs"))?;
    let path = bundle.to_string_lossy().into_owned();
    for wait in [0, 4, 8, 12, 16, 20, 25, 30, 40, 60, 90] {
        let id = format!("k{wait}");
        t.killed_after(&["create", "-b", &path, &id], wait)?;
        std::thread::sleep(Duration::from_millis(20));
        t.ok(&["gc"])?;
        t.down(&id)?;
        until("no mount is left", || {
            sh("mount -p").is_ok_and(|all| !all.contains(&*t.state().to_string_lossy()))
        })?;
    }
    check!(
        tree(&bundle.join("rootfs"))? == before,
        "the base has changed"
    );
    Ok(())
}

/// The layer is as large as was asked for and no larger, and costs little.
fn size(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", ephemeral("1m"))?;
    t.up(&bundle, "a")?;
    let output = t.output(&["exec", "a", "sh", "-c", "cat /bin/sh > /big"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check!(
        !output.status.success() && said.contains("No space left"),
        "{said}"
    );
    t.ok(&[
        "exec",
        "a",
        "sh",
        "-c",
        "rm /big; echo 1 > /small; cat /small",
    ])?;
    t.down("a")?;
    // A whole container, its mount points and a small file fit in little.
    let bundle = t.sleeping("b", ephemeral("32k"))?;
    t.up(&bundle, "b")?;
    t.ok(&["exec", "b", "sh", "-c", "echo 1 > /small; cat /small"])?;
    t.down("b")
}
