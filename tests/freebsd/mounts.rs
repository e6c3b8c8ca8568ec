//! Mounts: types and their options, mount points, and unmounting what is used.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, sh, skipped, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "mounts/union",
        run: union,
    },
    Case {
        name: "mounts/ufs",
        run: ufs,
    },
    Case {
        name: "mounts/nfs",
        run: nfs,
    },
    Case {
        name: "mounts/pseudo",
        run: pseudo,
    },
    Case {
        name: "mounts/points",
        run: points,
    },
    Case {
        name: "mounts/foreign",
        run: foreign,
    },
    Case {
        name: "mounts/busy",
        run: busy,
    },
    Case {
        name: "mounts/root-is-free",
        run: root_is_free,
    },
    Case {
        name: "mounts/df",
        run: df,
    },
    Case {
        name: "mounts/refused",
        run: refused,
    },
    Case {
        name: "mounts/reboot",
        run: reboot,
    },
];

fn add(c: &mut Value, mounts: Value) {
    let all = c["mounts"].as_array_mut().expect("mounts");
    all.extend(mounts.as_array().expect("a list").iter().cloned());
}

/// An engine unmounts the root when delete has returned, and not by force.
fn root_is_free(t: &Test) -> Outcome {
    let own = t.dir.join("b");
    let own = own.display();
    for _ in 0..5 {
        sh(&format!("mkdir -p {own}; mount -t tmpfs tmpfs {own}"))?;
        let bundle = t.sleeping("b", |_| {})?;
        t.up(&bundle, "a")?;
        t.ok(&["exec", "a", "sh", "-c", "sleep 1000 & cd /tmp"])?;
        t.down("a")?;
        sh(&format!("umount {own}"))?;
    }
    Ok(())
}

/// unionfs over a directory of the root: what is written goes to the upper one.
fn union(t: &Test) -> Outcome {
    let upper = t.dir.join("upper");
    sh(&format!("mkdir {}", upper.display()))?;
    let bundle = t.sleeping("b", |c| {
        add(
            c,
            json!([{"destination": "/etc", "type": "unionfs", "source": upper}]),
        );
    })?;
    t.up(&bundle, "a")?;
    let said = t.ok(&[
        "exec",
        "a",
        "sh",
        "-c",
        "echo new > /etc/new; rm /etc/group; ls /etc",
    ])?;
    check!(said == "new\npasswd", "{said}");
    t.down("a")?;
    let said = sh(&format!(
        "ls {}/rootfs/etc; cat {}/new",
        bundle.display(),
        upper.display()
    ))?;
    check!(said == "group\npasswd\nnew", "{said}");
    Ok(())
}

/// A file system of a memory disk.
fn ufs(t: &Test) -> Outcome {
    let disk = sh("mdconfig -a -t malloc -s 8m")?;
    let made = sh(&format!("newfs -L brig /dev/{disk}"));
    let outcome = made.and_then(|_| {
        for (options, said) in [(json!(["noatime"]), "kept"), (json!(["ro"]), "kept")] {
            let bundle = t.sleeping("b", |c| {
                add(
                    c,
                    json!([{"destination": "/disk", "type": "ufs", "source": format!("/dev/{disk}"),
                        "options": options}]),
                );
            })?;
            t.up(&bundle, "a")?;
            let write = t.output(&["exec", "a", "sh", "-c", "echo kept > /disk/file"])?;
            let readonly = options == json!(["ro"]);
            check!(write.status.success() != readonly, "{options}: {write:?}");
            let read = t.ok(&["exec", "a", "cat", "/disk/file"])?;
            check!(read == said, "{options}: {read}");
            t.down("a")?;
        }
        Ok(())
    });
    sh(&format!("mdconfig -d -u {disk}"))?;
    outcome
}

/// An export of this host's own server, by name and by address; a server that
/// is not there is one line.
fn nfs(t: &Test) -> Outcome {
    let served = t.dir.join("served");
    std::fs::create_dir_all(served.join("inner"))?;
    std::fs::write(served.join("file"), "from the server\n")?;
    let at = |c: &mut Value, source: String, options: Value| {
        let mount =
            json!({"destination": "/net", "type": "nfs", "source": source, "options": options});
        add(c, json!([mount]));
    };
    let bundle = t.sleeping("none", |c| {
        at(c, "127.0.0.1:/x".into(), json!(["port=9"]));
    })?;
    let words = [
        "127.0.0.1:/x",
        "no server answers at 127.0.0.1:9",
        "ECONNREFUSED",
    ];
    let asked = t.refused(&["create", "-b", &bundle.to_string_lossy(), "n"], &words);
    match asked {
        Err(e) if e.to_string().contains("kldload nfscl") => {
            return skipped("this kernel has no NFS client");
        }
        other => other?,
    };
    if sh("kldload -n nfsd && test -x /usr/sbin/nfsd -a -x /usr/sbin/mountd").is_err() {
        return skipped("there is no NFS server");
    }
    let exports = t.dir.join("exports");
    std::fs::write(
        &exports,
        format!(
            "V4: {0}\n{0} -alldirs -maproot=root 127.0.0.1 ::1\n",
            served.display()
        ),
    )?;
    // Version 4 alone needs no rpcbind(8).
    sh(&format!(
        "sysctl vfs.nfsd.server_min_nfsvers=4 >/dev/null; mountd -R {} && nfsd -t -n 2",
        exports.display()
    ))?;
    let outcome = (|| {
        until("the server listens", || {
            sh("sockstat -4l | grep -q :2049").is_ok()
        })?;
        for (source, options) in [
            ("127.0.0.1:/", json!([])),
            ("localhost:/inner", json!(["vers=4.1", "ro", "soft"])),
        ] {
            let bundle = t.sleeping("b", |c| at(c, source.into(), options.clone()))?;
            t.up(&bundle, "a")?;
            if source.ends_with("inner") {
                let write = t.output(&["exec", "a", "sh", "-c", "echo x > /net/new"])?;
                check!(!write.status.success(), "{source}: it is not read-only");
                t.ok(&["exec", "a", "ls", "/net"])?;
                check!(!served.join("inner/new").exists(), "{source}: written");
            } else {
                let said = t.ok(&["exec", "a", "cat", "/net/file"])?;
                check!(said == "from the server", "{said}");
                t.ok(&["exec", "a", "sh", "-c", "echo back > /net/back"])?;
                let back = std::fs::read_to_string(served.join("back"))?;
                check!(back == "back\n", "{back}");
            }
            let listed = sh("mount -p -t nfs")?;
            check!(listed.contains(source.trim_end_matches('/')), "{listed}");
            t.down("a")?;
            check!(sh("mount -p -t nfs")?.is_empty(), "it is mounted still");
        }
        // Another file system of the server, which is not among its exports.
        let other = served.join("other");
        std::fs::create_dir(&other)?;
        sh(&format!("mount -t tmpfs tmpfs {}", other.display()))?;
        let bundle = t.sleeping("o", |c| at(c, "127.0.0.1:/other".into(), json!([])))?;
        let words = [
            "127.0.0.1:/other",
            "the server does not export it to this host",
        ];
        let said = t.refused(&["create", "-b", &bundle.to_string_lossy(), "o"], &words);
        sh(&format!("umount {}", other.display()))?;
        said.map(drop)
    })();
    // nfsd(8) ends by SIGUSR1 alone.
    sh("pkill -USR1 nfsd; pkill mountd; sysctl vfs.nfsd.server_min_nfsvers=2 >/dev/null")?;
    until("the server ends", || sh("pgrep nfsd mountd").is_err())?;
    outcome
}

/// The file systems of the kernel, with options of their own.
fn pseudo(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        add(
            c,
            json!([
                {"destination": "/proc", "type": "procfs", "source": "proc"},
                {"destination": "/dev/fd", "type": "fdescfs", "options": ["linrdlnk"]},
                {"destination": "/t", "type": "tmpfs", "options":
                    ["size=1m", "mode=1770", "uid=80", "gid=80", "inodes=64", "nosuid", "nosymfollow"]},
                {"destination": "/lproc", "type": "linprocfs"},
                {"destination": "/lsys", "type": "linsysfs", "options": ["ro"]}
            ]),
        );
    })?;
    t.up(&bundle, "a")?;
    let script = "cat /proc/curproc/status | tail -c 2; ls -ld /t; cat /lproc/version; ls /lsys; ls /dev/fd; mount -v";
    let said = t.ok(&["exec", "a", "sh", "-c", script])?;
    for word in [
        "drwxrwx--T",
        "Linux version",
        "class",
        "nosymfollow",
        "linsysfs, local, read-only",
    ] {
        check!(said.contains(word), "no {word} in: {said}");
    }
    let of_80 = said.replace("www", "80");
    check!(
        of_80.contains(" 80 80 ") || of_80.contains(" 80  80 "),
        "{said}"
    );
    let many = "i=0; while test $i -lt 100; do : > /t/$i || exit 3; i=$((i+1)); done";
    let output = t.output(&["exec", "a", "sh", "-c", many])?;
    check!(!output.status.success(), "more than 64 inodes");
    t.down("a")
}

/// Order and nesting as listed; files on files; mount points that were made
/// are gone, those that were there stay.
fn points(t: &Test) -> Outcome {
    let file = t.dir.join("file");
    std::fs::write(&file, "of the host\n")?;
    let bundle = t.sleeping("b", |c| {
        add(
            c,
            json!([
                {"destination": "/a/b", "type": "tmpfs"},
                {"destination": "/a/b/c/d", "type": "tmpfs"},
                {"destination": "/a/b/c/file", "type": "nullfs", "source": file},
                {"destination": "/etc/group", "type": "bind", "source": file, "options": ["rbind", "ro"]},
                {"destination": "/new/file", "source": file, "options": ["bind"]},
                {"destination": "/a/b/../up", "type": "tmpfs"}
            ]),
        );
    })?;
    let tree = || sh(&format!("cd {} && find . | sort", bundle.display()));
    let before = tree()?;
    t.up(&bundle, "a")?;
    let script = "cat /a/b/c/file /etc/group /new/file; echo x >> /new/file; echo y >> /etc/group; \
        ls -d /a/up /a/b/c/d";
    let said = t.ok(&["exec", "a", "sh", "-c", script])?;
    check!(
        said == "of the host\nof the host\nof the host\n/a/b/c/d\n/a/up",
        "{said}"
    );
    t.down("a")?;
    check!(tree()? == before, "{}", tree()?);
    let file = std::fs::read_to_string(&file)?;
    check!(file == "of the host\nx\n", "{file}");
    Ok(())
}

/// What somebody mounts inside a container from the host: delete says so and
/// touches nothing below it, and goes on when it is gone.
fn foreign(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        add(c, json!([{"destination": "/made/it", "type": "tmpfs"}]));
    })?;
    t.up(&bundle, "a")?;
    let point = bundle.join("rootfs/made/it");
    let on = point.join("theirs");
    sh(&format!(
        "mkdir {0} && mount -t tmpfs tmpfs {0} && echo kept > {0}/file",
        on.display()
    ))?;
    let output = t.output(&["delete", "--force", "a"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check!(
        !output.status.success() && said.contains("theirs") && said.contains("unmount it first"),
        "{said}"
    );
    let kept = std::fs::read_to_string(on.join("file"))?;
    check!(kept == "kept\n", "{kept}");
    sh(&format!("umount {}", on.display()))?;
    t.down("a")?;
    check!(!bundle.join("rootfs/made").exists(), "/made is left");
    Ok(())
}

/// A process of the host works in a mount of the container: it is unmounted
/// all the same.
fn busy(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        add(c, json!([{"destination": "/busy", "type": "tmpfs"}]));
    })?;
    t.up(&bundle, "a")?;
    let mut holder = Command::new("/bin/sleep")
        .arg("100")
        .current_dir(bundle.join("rootfs/busy"))
        .spawn()?;
    let outcome = t.down("a");
    holder.kill()?;
    holder.wait()?;
    outcome?;
    check!(!bundle.join("rootfs/busy").exists(), "/busy is left");
    Ok(())
}

/// df(1) stays as it is without containers.
fn df(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["root"]["readonly"] = json!(true);
        add(c, json!([{"destination": "/tmp", "type": "tmpfs"}]));
    })?;
    let before = sh("df | awk '{ print $NF }'")?;
    t.up(&bundle, "a")?;
    let after = sh("df | awk '{ print $NF }'")?;
    check!(before == after, "{after}");
    let all = sh("df -a")?;
    check!(all.contains(&*t.state().to_string_lossy()), "{all}");
    t.down("a")
}

/// What cannot be mounted: one line, and nothing is left of the mounts before.
fn refused(t: &Test) -> Outcome {
    let dir = &t.dir;
    let socket = dir.join("socket");
    let _listener = UnixListener::bind(&socket)?;
    check!(
        std::fs::metadata(&socket)?.file_type().is_socket(),
        "a socket"
    );
    sh(&format!(
        "mkfifo {0}/fifo; mkdir {0}/d; : > {0}/f",
        dir.display()
    ))?;
    for (mount, words) in [
        (
            json!({"destination": "/x", "source": socket, "options": ["bind"]}),
            &["it is a socket", "mount the directory"][..],
        ),
        (
            json!({"destination": "/x", "source": dir.join("fifo"), "options": ["bind"]}),
            &["it is a fifo"],
        ),
        (
            json!({"destination": "/x", "source": "/dev/null", "options": ["bind"]}),
            &["it is a device"],
        ),
        (
            json!({"destination": "/x", "source": dir.join("none"), "options": ["bind"]}),
            &["none", "ENOENT"],
        ),
        (
            json!({"destination": "/etc/passwd", "source": dir.join("d"), "options": ["bind"]}),
            &["the mount point is a file and the source a directory"],
        ),
        (
            json!({"destination": "/etc", "source": dir.join("f"), "options": ["bind"]}),
            &["the mount point is a directory and the source a file"],
        ),
        (
            json!({"destination": "/etc/passwd/x", "type": "tmpfs"}),
            &["/etc/passwd/x", "ENOTDIR"],
        ),
        (
            json!({"destination": "/x", "type": "nosuchfs"}),
            &["nosuchfs", "kldload nosuchfs"],
        ),
        (
            json!({"destination": "/x", "type": "ufs", "source": "/dev/none"}),
            &["/dev/none", "ENOENT"],
        ),
        (
            json!({"destination": "/x", "type": "tmpfs", "options": ["below"]}),
            &[
                "mounts[2].options[0]",
                "\"below\" is not an option of tmpfs",
            ],
        ),
    ] {
        let bundle = t.sleeping("b", |c| {
            add(
                c,
                json!([{"destination": "/before/it", "type": "tmpfs"}, mount]),
            );
        })?;
        let tree = || sh(&format!("cd {}/rootfs && find . | sort", bundle.display()));
        let before = tree()?;
        let path = bundle.to_string_lossy().into_owned();
        t.refused(&["create", "-b", &path, "a"], words)?;
        check!(tree()? == before, "{mount}: {}", tree()?);
    }
    Ok(())
}

/// A journal of an earlier boot, which is made by forging the boot's id: gc
/// takes mount points away and touches no jail, mount or limit of this boot.
fn reboot(t: &Test) -> Outcome {
    // By its meta the jail would be known as brig's own of this boot.
    let t = &t.under(t.policy_with(json!({"jailMeta": false}))?);
    let bundle = t.sleeping("b", |c| {
        c["annotations"] = json!({"org.freebsd.rctl.maxproc": "deny:50"});
        add(c, json!([{"destination": "/made/it", "type": "tmpfs"}]));
    })?;
    t.up(&bundle, "rebooted")?;
    let id = sh("sysctl -bn kern.boot_id | hexdump -v -e '1/1 \"%02x\"'")?;
    let other = format!("{}00", &id[..id.len() - 2]);
    let other = if other == id {
        format!("{}01", &id[..id.len() - 2])
    } else {
        other
    };
    let directory = t.state().join("rebooted");
    sh(&format!(
        "cd {} && grep -q {id} journal && sed -i '' s/{id}/{other}/ journal state.json",
        directory.display()
    ))?;
    let live = || sh("jls -n name; mount -p | grep brig-freebsd; rctl");
    let before = live()?;
    check!(before.contains("/made/it"), "{before}");
    let said = t.ok(&["gc"])?;
    check!(said.contains("rebooted"), "{said}");
    let after = live()?;
    check!(
        after == before,
        "gc of an earlier boot: {before} is now {after}"
    );
    check!(!directory.exists(), "the state of the earlier boot is left");
    // In use now, so it was left.
    check!(bundle.join("rootfs/made/it").exists(), "/made/it is gone");
    let root = bundle.join("rootfs");
    sh(&format!(
        "rctl -r jail:rebooted; jail -r rebooted; sleep 1; umount {0}/made/it; umount {0}/dev; rm -r {0}/made",
        root.display()
    ))?;
    Ok(())
}
