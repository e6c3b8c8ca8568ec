//! Mounts and the root file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::Platforms::{Any, Linux};
use crate::harness::{Bundle, Case, Outcome, Test, host};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "mounts/bind-directory",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A directory of the host appears at the destination and can be written.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("in"), "from outside")?;
            let acts = ["read", "/mnt/in", ";", "write", "/mnt/out", "from inside"];
            let output = t.output(&t.bundle()?.bind(&dir, "/mnt", &["rw"]).acts(&acts))?;
            same!(output, "from outside\n", "what was read");
            same!(
                fs::read_to_string(dir.join("out"))?,
                "from inside",
                "what was written"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/bind-file",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A regular file of the host appears at the destination, which is made when it is missing.",
        run: |t| {
            let file = t.host_file("content")?;
            let bundle = t
                .bundle()?
                .bind(&file, "/etc/made/file", &[])
                .acts(&["read", "/etc/made/file"]);
            same!(t.output(&bundle)?, "content\n", "what was read");
            Ok(())
        },
    },
    Case {
        name: "mounts/bind-over-existing-file",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A file can be mounted over a file of the root, which is unchanged afterwards.",
        run: |t| {
            let file = t.host_file("new")?;
            let bundle = t.bundle()?.file("/etc/name", "old", 0o644)?;
            let root = bundle.root();
            let bundle = bundle
                .bind(&file, "/etc/name", &[])
                .acts(&["read", "/etc/name"]);
            same!(t.output(&bundle)?, "new\n", "what was read");
            same!(
                fs::read_to_string(root.join("etc/name"))?,
                "old",
                "the root's file"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/bind-read-only",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A mount with ro cannot be written.",
        run: |t| {
            let dir = t.host_dir()?;
            let bundle = t
                .bundle()?
                .bind(&dir, "/mnt", &["ro"])
                .acts(&["try", "create", "/mnt/x"]);
            same!(t.output(&bundle)?, "EROFS\n", "creating a file");
            Ok(())
        },
    },
    Case {
        name: "mounts/bind-file-read-only",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A file mounted with ro cannot be written.",
        run: |t| {
            let file = t.host_file("x")?;
            let bundle = t
                .bundle()?
                .bind(&file, "/file", &["ro"])
                .acts(&["try", "write", "/file"]);
            same!(t.output(&bundle)?, "EROFS\n", "writing");
            Ok(())
        },
    },
    Case {
        name: "mounts/destination-is-made",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A destination that does not exist is made, and taken back with the container or left empty.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let bundle = t
                .bundle()?
                .bind(&dir, "/a/b/c", &[])
                .acts(&["list", "/a/b/c"]);
            same!(t.output(&bundle)?, "here\n", "the directory");
            Ok(())
        },
    },
    Case {
        name: "mounts/source-missing",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A source that does not exist fails create with its path, and nothing is left.",
        run: |t| {
            let source = t.fresh("missing");
            let run = t.refused(&t.bundle()?.bind(&source, "/mnt", &[]), &[])?;
            check!(
                run.err.contains(&*source.to_string_lossy()),
                "the path is missing: {:?}",
                run.err
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/source-missing-is-no-exec-failure",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A failing mount is not reported in the words of a failing exec.",
        run: |t| {
            t.refused(&t.bundle()?.bind(&t.fresh("missing"), "/mnt", &[]), &[])?
                .no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "mounts/unknown-type",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A file system that the kernel does not have fails create, and nothing is left.",
        run: |t| {
            let mount = json!({"destination": "/mnt", "type": "nosuchfs", "source": "none"});
            t.refused(&t.bundle()?.mount(mount), &[])?;
            Ok(())
        },
    },
    Case {
        name: "mounts/failure-in-the-middle-leaves-nothing",
        platforms: Any,
        section: "runtime.md, Errors",
        says: "When the last of several mounts fails, the ones before are taken back.",
        run: |t| {
            let (one, two) = (t.host_dir()?, t.host_dir()?);
            let bundle =
                t.bundle()?
                    .bind(&one, "/mnt", &[])
                    .tmpfs("/tmp", &[])
                    .bind(&two, "/tmp/two", &[]);
            t.refused(&bundle.bind(&t.fresh("missing"), "/home", &[]), &[])?;
            Ok(())
        },
    },
    Case {
        name: "mounts/tmpfs",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A tmpfs is empty, can be written, and does not change the root.",
        run: |t| {
            let bundle = t.bundle()?.file("/tmp/below", "", 0o644)?;
            let root = bundle.root();
            let acts = [
                "try",
                "list",
                "/tmp",
                ";",
                "write",
                "/tmp/above",
                "x",
                ";",
                "list",
                "/tmp",
            ];
            same!(
                t.output(&bundle.tmpfs("/tmp", &[]).acts(&acts))?,
                "empty\nabove\n",
                "the tmpfs"
            );
            check!(!root.join("tmp/above").exists(), "the root was written");
            Ok(())
        },
    },
    Case {
        name: "mounts/tmpfs-mode-and-size",
        platforms: Any,
        section: "config.md, Mounts",
        says: "mode and size reach the tmpfs.",
        run: |t| {
            let bundle = t.bundle()?.tmpfs("/mnt", &["mode=0751", "size=1048576"]);
            let acts = ["stat", "/mnt", ";", "report"];
            let output = t.output(&bundle.acts(&acts))?;
            let stat: Value = serde_json::from_str(output.lines().next().unwrap_or_default())?;
            same!(stat["mode"], json!(0o751), "the mode");
            let report: Value = serde_json::from_str(output.lines().nth(1).unwrap_or_default())?;
            if cfg!(target_os = "linux") {
                let data = mount_at(&report, "/mnt")?["data"].to_string();
                check!(data.contains("size=1024k"), "the size: {data}");
            }
            Ok(())
        },
    },
    Case {
        name: "mounts/options-nosuid-noexec",
        platforms: Any,
        section: "config.md, Mounts",
        says: "nosuid, noexec and ro are options of the mount.",
        run: |t| {
            let report = t.report(&t.bundle()?.tmpfs("/mnt", &["nosuid", "noexec", "ro"]))?;
            let options = mount_at(&report, "/mnt")?["options"].to_string();
            for option in ["nosuid", "noexec", "ro"] {
                check!(options.contains(option), "{option} is missing: {options}");
            }
            Ok(())
        },
    },
    Case {
        name: "mounts/noexec-holds",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A program on a noexec mount cannot be executed.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::copy(&t.suite.probe, dir.join("probe"))?;
            let bundle = t.bundle()?.bind(&dir, "/mnt", &["noexec"]);
            same!(
                t.output(&bundle.acts(&["try", "execute", "/mnt/probe"]))?,
                "EACCES\n",
                "exec"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/bind-keeps-and-adds-options",
        platforms: Linux,
        section: "config.md, Mounts",
        says: "Options of a bind mount are applied to it.",
        run: |t| {
            let bundle =
                t.bundle()?
                    .bind(&t.host_dir()?, "/mnt", &["ro", "nosuid", "nodev", "noexec"]);
            let report = t.report(&bundle)?;
            let options = mount_at(&report, "/mnt")?["options"].to_string();
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                check!(options.contains(option), "{option} is missing: {options}");
            }
            Ok(())
        },
    },
    Case {
        name: "mounts/recursive-bind",
        platforms: Linux,
        section: "config.md, Mounts",
        says: "rbind takes the mounts below the source along, bind does not.",
        run: |t| {
            let outer = t.host_dir()?;
            fs::create_dir(outer.join("inner"))?;
            crate::probe::mount_tmpfs(&outer.join("inner").to_string_lossy())?;
            fs::write(outer.join("inner/file"), "")?;
            let with = |kind: &str| {
                let bundle = t.bundle()?.mount(json!({
                    "destination": "/mnt", "source": outer, "type": "none", "options": [kind],
                }));
                t.output(&bundle.acts(&["try", "list", "/mnt/inner"]))
            };
            let (deep, flat) = (with("rbind"), with("bind"));
            host::unmount(&outer.join("inner").to_string_lossy());
            same!(deep?, "ok\n", "rbind");
            same!(flat?, "empty\n", "bind");
            Ok(())
        },
    },
    Case {
        name: "mounts/recursive-read-only",
        platforms: Linux,
        section: "config.md, Linux mount options",
        says: "rro makes the mounts below the source read-only, too.",
        run: |t| {
            let outer = t.host_dir()?;
            fs::create_dir(outer.join("inner"))?;
            crate::probe::mount_tmpfs(&outer.join("inner").to_string_lossy())?;
            let bundle = t.bundle()?.mount(json!({
                "destination": "/mnt", "source": outer, "type": "none", "options": ["rbind", "rro"],
            }));
            let output = t.output(&bundle.acts(&["try", "create", "/mnt/inner/x"]));
            host::unmount(&outer.join("inner").to_string_lossy());
            same!(output?, "EROFS\n", "creating a file");
            Ok(())
        },
    },
    Case {
        name: "mounts/tmpcopyup",
        platforms: Linux,
        section: "engines, podman and conmon",
        says: "tmpcopyup copies what lies at the destination into the tmpfs.",
        run: |t| {
            let bundle = t
                .bundle()?
                .file("/data/sub/file", "kept", 0o640)?
                .link("/data/link", "sub/file")?;
            let bundle = bundle.tmpfs("/data", &["tmpcopyup"]);
            let acts = [
                "read",
                "/data/link",
                ";",
                "stat",
                "/data/sub/file",
                ";",
                "write",
                "/data/sub/file",
                "x",
            ];
            let root = bundle.root();
            let output = t.output(&bundle.acts(&acts))?;
            check!(output.starts_with("kept\n"), "{output:?}");
            check!(
                output.contains(&format!("\"mode\":{}", 0o640)),
                "the mode is lost: {output:?}"
            );
            same!(
                fs::read_to_string(root.join("data/sub/file"))?,
                "kept",
                "the root's file"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/in-order",
        platforms: Any,
        section: "config.md, Mounts",
        says: "Mounts are made in the order listed, so that a later one can lie in an earlier one.",
        run: |t| {
            let (outer, inner) = (t.host_dir()?, t.host_dir()?);
            fs::create_dir(outer.join("sub"))?;
            fs::write(outer.join("outer"), "")?;
            fs::write(inner.join("inner"), "")?;
            let bundle = t
                .bundle()?
                .bind(&outer, "/mnt", &[])
                .bind(&inner, "/mnt/sub", &[]);
            let output = t.output(&bundle.acts(&["list", "/mnt", ";", "list", "/mnt/sub"]))?;
            same!(output, "outer sub\ninner\n", "the directories");
            Ok(())
        },
    },
    Case {
        name: "mounts/over-each-other",
        platforms: Any,
        section: "config.md, Mounts",
        says: "Of two mounts on one destination the later one is seen, and both are taken back.",
        run: |t| {
            let (first, second) = (t.host_dir()?, t.host_dir()?);
            fs::write(second.join("second"), "")?;
            let bundle = t
                .bundle()?
                .bind(&first, "/mnt", &[])
                .bind(&second, "/mnt", &[]);
            same!(
                t.output(&bundle.acts(&["list", "/mnt"]))?,
                "second\n",
                "the directory"
            );
            t.nothing_left()
        },
    },
    Case {
        name: "mounts/relative-destination",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A relative destination counts from the root.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            same!(
                t.output(&t.bundle()?.bind(&dir, "mnt", &[]).acts(&["list", "/mnt"]))?,
                "here\n",
                "the directory"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/relative-source",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A relative source of a bind mount counts from the bundle.",
        run: |t| {
            let bundle = t.bundle()?;
            fs::create_dir(bundle.dir.join("data"))?;
            fs::write(bundle.dir.join("data/here"), "")?;
            let bundle = bundle.bind(std::path::Path::new("data"), "/mnt", &[]);
            same!(
                t.output(&bundle.acts(&["list", "/mnt"]))?,
                "here\n",
                "the directory"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/link-stays-inside",
        platforms: Any,
        section: "hostile, paths",
        says: "A destination that is an absolute symbolic link leads to the same path inside the root.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("here"), "")?;
            let bundle = t.bundle()?.directory("/real")?.link("/link", "/real")?;
            let bundle = bundle
                .bind(&dir, "/link/sub", &[])
                .acts(&["list", "/real/sub"]);
            same!(t.output(&bundle)?, "here\n", "the directory");
            Ok(())
        },
    },
    Case {
        name: "hostile/link-to-the-host",
        platforms: Any,
        section: "hostile, paths",
        says: "A link to a directory of the host leads nothing out of the root.",
        run: |t| {
            let victim = t.host_dir()?;
            let bundle = t.bundle()?.link("/escape", &victim.to_string_lossy())?;
            escape(t, bundle.tmpfs("/escape/x", &[]), &victim)
        },
    },
    Case {
        name: "hostile/link-with-dots",
        platforms: Any,
        section: "hostile, paths",
        says: "A link that climbs with .. leads nothing out of the root.",
        run: |t| {
            let victim = t.host_dir()?;
            let climb = format!("../../../../../../../../../../..{}", victim.display());
            escape(
                t,
                t.bundle()?.link("/climb", &climb)?.tmpfs("/climb/x", &[]),
                &victim,
            )
        },
    },
    Case {
        name: "hostile/destination-with-dots",
        platforms: Any,
        section: "hostile, paths",
        says: "A destination that climbs with .. stays inside the root or is refused.",
        run: |t| {
            let victim = t.host_dir()?;
            let destination = format!("/../../../../../../../../..{}/x", victim.display());
            escape(t, t.bundle()?.tmpfs(&destination, &[]), &victim)
        },
    },
    Case {
        name: "hostile/link-chain",
        platforms: Any,
        section: "hostile, paths",
        says: "A chain of links through several directories leads nothing out of the root.",
        run: |t| {
            let victim = t.host_dir()?;
            let bundle = t.bundle()?.directory("/d")?.link("/d/one", "../two")?;
            let bundle = bundle.link("/two", "d/../three")?;
            let bundle = bundle.link("/three", &format!("/../..{}", victim.display()))?;
            escape(t, bundle.tmpfs("/d/one/x", &[]), &victim)
        },
    },
    Case {
        name: "hostile/link-loop",
        platforms: Any,
        section: "hostile, paths",
        says: "A destination that is a loop of links fails create with a reason, and nothing is left.",
        run: |t| {
            let bundle = t
                .bundle()?
                .link("/a", "b")?
                .link("/b", "a")?
                .tmpfs("/a/x", &[]);
            t.refused(&bundle, &[])?.no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "hostile/file-as-directory",
        platforms: Any,
        section: "runtime.md, Errors",
        says: "A destination below a regular file fails create with a reason, and nothing is left.",
        run: |t| {
            let bundle = t.bundle()?.bind(&t.host_dir()?, "/etc/passwd/x", &[]);
            t.refused(&bundle, &[])?.no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "hostile/delete-spares-a-live-bind",
        platforms: Any,
        section: "runtime.md, Delete",
        says: "delete removes nothing below a bind mount.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::write(dir.join("precious"), "data")?;
            let c = t.ready(&t.waiting()?.bind(&dir, "/mnt", &["rw"]))?;
            t.call(&["delete", "--force", &c.id]).run()?.ok()?;
            same!(
                fs::read_to_string(dir.join("precious"))?,
                "data",
                "the file"
            );
            Ok(())
        },
    },
    Case {
        name: "mounts/none-on-the-host",
        platforms: Linux,
        section: "config-linux.md, Namespaces",
        says: "Mounts of a running container are not seen in the host's namespace.",
        run: |t| {
            let c = t.ready(&t.waiting()?.tmpfs("/mnt", &[]))?;
            let left = host::marked(&t.mark, &t.state_root());
            let seen = left
                .iter()
                .find(|l| l.starts_with("mount") && l.contains("rootfs/"));
            check!(seen.is_none(), "{seen:?}");
            c.is("running")
        },
    },
    Case {
        name: "mounts/many",
        platforms: Any,
        section: "hostile, limits",
        says: "A hundred mounts are made and taken back.",
        run: |t| {
            let dir = t.host_dir()?;
            let mut bundle = t.bundle()?;
            for i in 0..100 {
                bundle = bundle.bind(&dir, &format!("/m/{i}"), &["ro"]);
            }
            let mounts = t.report(&bundle)?["mounts"].clone();
            let seen = mounts.as_array().into_iter().flatten();
            let seen = seen
                .filter(|m| m["target"].as_str().is_some_and(|x| x.contains("/m/")))
                .count();
            // A jail that sees only its root's mount can count none.
            check!(
                seen == 100 || cfg!(target_os = "freebsd"),
                "{seen} mounts are seen"
            );
            Ok(())
        },
    },
    Case {
        name: "root/readonly",
        platforms: Any,
        section: "config.md, Root",
        says: "A read-only root cannot be written, a mount in it can.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/root/readonly", json!(true))
                .tmpfs("/tmp", &[]);
            let acts = ["try", "create", "/x", ";", "try", "create", "/tmp/x"];
            same!(
                t.output(&bundle.acts(&acts))?,
                "EROFS\nok\n",
                "creating files"
            );
            Ok(())
        },
    },
    Case {
        name: "root/readonly-leaves-the-host-writable",
        platforms: Any,
        section: "config.md, Root",
        says: "The directory of a read-only root stays writable on the host.",
        run: |t| {
            let bundle = t.waiting()?.set("/root/readonly", json!(true));
            let c = t.ready(&bundle)?;
            c.stop()?;
            c.delete()?;
            fs::write(bundle.root().join("new"), "")?;
            Ok(())
        },
    },
    Case {
        name: "root/writable",
        platforms: Any,
        section: "config.md, Root",
        says: "Without readonly the root can be written.",
        run: |t| {
            let bundle = t.bundle()?.acts(&["write", "/made", "x"]);
            t.output(&bundle)?;
            check!(
                bundle.root().join("made").exists(),
                "the file is not on the host"
            );
            Ok(())
        },
    },
    Case {
        name: "root/absolute-path",
        platforms: Any,
        section: "config.md, Root",
        says: "root.path may be absolute and outside of the bundle.",
        run: |t| {
            let other = t.bundle()?.file("/name", "other root", 0o644)?;
            let bundle = t
                .bundle()?
                .set("/root/path", json!(other.root()))
                .acts(&["read", "/name"]);
            same!(t.output(&bundle)?, "other root\n", "what was read");
            Ok(())
        },
    },
    Case {
        name: "root/is-the-root",
        platforms: Any,
        section: "config.md, Root",
        says: "The program sees the root file system as /, and .. leads no further.",
        run: |t| {
            let bundle = t.bundle()?.file("/mark", "", 0o644)?;
            let output = t.output(&bundle.acts(&["list", "/../../.."]))?;
            check!(
                output.split(' ').any(|name| name.trim() == "mark"),
                "{output:?}"
            );
            check!(!output.contains("state"), "{output:?}");
            Ok(())
        },
    },
    Case {
        name: "root/with-odd-name",
        platforms: Any,
        section: "config.md, Root",
        says: "A root path with spaces, quotes and commas works.",
        run: |t| {
            let bundle = t.bundle()?;
            let odd = bundle.dir.join("a b,c\"d=e\\f");
            fs::rename(bundle.root(), &odd)?;
            let bundle = bundle.set("/root/path", json!(odd)).acts(&["echo", "odd"]);
            same!(t.output(&bundle)?, "odd\n", "the output");
            t.nothing_left()
        },
    },
    Case {
        name: "root/mode-of-made-directories",
        platforms: Any,
        section: "config.md, Mounts",
        says: "A destination that is made can be entered by every user.",
        run: |t| {
            let dir = t.host_dir()?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
            fs::write(dir.join("here"), "")?;
            let bundle = t.bundle()?.bind(&dir, "/deep/er/mnt", &[]);
            let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1001}));
            same!(
                t.output(&bundle.acts(&["list", "/deep/er/mnt"]))?,
                "here\n",
                "the directory"
            );
            Ok(())
        },
    },
];

fn mount_at<'a>(report: &'a Value, target: &str) -> Outcome<&'a Value> {
    // A jail may see the host's whole path.
    let mounts = report["mounts"].as_array().into_iter().flatten();
    let mut fitting = mounts.filter(|m| m["target"].as_str().is_some_and(|t| t.ends_with(target)));
    fitting
        .next_back()
        .ok_or_else(|| format!("{target} is not mounted: {}", report["mounts"]).into())
}

/// Runs a bundle that tries to reach the victim, a directory of the host: it
/// may be refused or work inside, but the victim stays as it is.
fn escape(t: &Test, bundle: Bundle, victim: &std::path::Path) -> Outcome {
    let untouched = || -> Outcome {
        let names: Vec<_> = fs::read_dir(victim)?
            .flatten()
            .map(|e| e.file_name())
            .collect();
        check!(
            names.is_empty(),
            "the directory of the host has {names:?} now"
        );
        let left = host::marked(&t.mark, std::path::Path::new("/nonexistent"));
        let inside = left
            .iter()
            .find(|l| l.starts_with("mount ") && l.contains(&*victim.to_string_lossy()));
        // Inside the root the same words may stand behind the root's path.
        let outside = inside.filter(|l| !l.contains("rootfs"));
        check!(outside.is_none(), "mounted on the host: {outside:?}");
        Ok(())
    };
    let (call, id, _) = t.create_call(&bundle.acts(&["wait"]), &[])?;
    let run = call.run()?;
    untouched()?;
    if run.code == 0 {
        t.call(&["delete", "--force", &id]).run()?.ok()?;
    }
    untouched()?;
    t.nothing_left()
}
