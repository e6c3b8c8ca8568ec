//! The mount options of config.md, each by its effect.

use std::fs;

use serde_json::{Value, json};

use crate::check;
use crate::harness::Platforms::Linux;
use crate::harness::{Case, Outcome, Test, host};

const OPTIONS: &str = "config.md, Linux mount options";

/// A case for one option.
macro_rules! option {
    ($name:literal, $run:expr) => {
        Case {
            name: concat!("mount-options/", $name),
            platforms: Linux,
            section: OPTIONS,
            says: concat!(
                "The mount option ",
                $name,
                " does what mount(8) says of it."
            ),
            run: $run,
        }
    };
}

pub const CASES: &[Case] = &[
    option!("async", |t| fresh(t, &["sync", "async"], &[], &["sync"])),
    option!("atime", |t| fresh(
        t,
        &["noatime", "atime"],
        &[],
        &["noatime"]
    )),
    option!("bind", |t| bound(t, &["bind"], false)),
    option!("defaults", |t| fresh(
        t,
        &["defaults"],
        &["rw"],
        &["ro", "nosuid", "nodev", "noexec"]
    )),
    option!("dev", |t| fresh(t, &["nodev", "dev"], &[], &["nodev"])),
    option!("diratime", |t| fresh(
        t,
        &["nodiratime", "diratime"],
        &[],
        &["nodiratime"]
    )),
    option!("dirsync", |t| fresh(t, &["dirsync"], &["dirsync"], &[])),
    option!("exec", |t| fresh(t, &["noexec", "exec"], &[], &["noexec"])),
    option!("iversion", |t| fresh(t, &["iversion"], &[], &[])),
    option!("lazytime", |t| fresh(t, &["lazytime"], &["lazytime"], &[])),
    option!("loud", |t| fresh(t, &["silent", "loud"], &[], &[])),
    option!("noatime", |t| fresh(t, &["noatime"], &["noatime"], &[])),
    option!("nodev", |t| fresh(t, &["nodev"], &["nodev"], &[])),
    option!("nodiratime", |t| fresh(
        t,
        &["nodiratime"],
        &["nodiratime"],
        &[]
    )),
    option!("noexec", |t| fresh(t, &["noexec"], &["noexec"], &[])),
    option!("noiversion", |t| fresh(
        t,
        &["iversion", "noiversion"],
        &[],
        &[]
    )),
    option!("nolazytime", |t| fresh(
        t,
        &["lazytime", "nolazytime"],
        &[],
        &["lazytime"]
    )),
    option!("norelatime", |t| fresh(
        t,
        &["relatime", "norelatime"],
        &[],
        &["noatime"]
    )),
    option!("nostrictatime", |t| fresh(
        t,
        &["strictatime", "nostrictatime"],
        &["relatime"],
        &[]
    )),
    option!("nosuid", |t| fresh(t, &["nosuid"], &["nosuid"], &[])),
    option!("nosymfollow", |t| fresh(
        t,
        &["nosymfollow"],
        &["nosymfollow"],
        &[]
    )),
    option!("private", |t| propagated(
        t,
        &["bind", "private"],
        &[],
        &["shared:", "master:"],
        false
    )),
    option!("ratime", |t| tree(
        t,
        "ratime",
        "noatime",
        &[],
        &["noatime"]
    )),
    option!("rbind", |t| bound(t, &["rbind"], true)),
    option!("rdev", |t| tree(t, "rdev", "nodev", &[], &["nodev"])),
    option!("rdiratime", |t| tree(
        t,
        "rdiratime",
        "nodiratime",
        &[],
        &["nodiratime"]
    )),
    option!("relatime", |t| fresh(t, &["relatime"], &["relatime"], &[])),
    option!("remount", |t| remounted(t)),
    option!("rexec", |t| tree(t, "rexec", "noexec", &[], &["noexec"])),
    option!("rnoatime", |t| tree(t, "rnoatime", "", &["noatime"], &[])),
    option!("rnodiratime", |t| tree(
        t,
        "rnodiratime",
        "",
        &["nodiratime"],
        &[]
    )),
    option!("rnoexec", |t| tree(t, "rnoexec", "", &["noexec"], &[])),
    option!("rnorelatime", |t| tree(
        t,
        "rnorelatime",
        "",
        &[],
        &["noatime"]
    )),
    option!("rnostrictatime", |t| tree(
        t,
        "rnostrictatime",
        "strictatime",
        &["relatime"],
        &[]
    )),
    option!("rnosuid", |t| tree(t, "rnosuid", "", &["nosuid"], &[])),
    option!("rnosymfollow", |t| tree(
        t,
        "rnosymfollow",
        "",
        &["nosymfollow"],
        &[]
    )),
    option!("ro", |t| fresh(t, &["ro"], &["ro"], &[])),
    option!("rprivate", |t| propagated(
        t,
        &["rbind", "rprivate"],
        &[],
        &["shared:", "master:"],
        true
    )),
    option!("rrelatime", |t| tree(
        t,
        "rrelatime",
        "noatime",
        &["relatime"],
        &["noatime"]
    )),
    option!("rro", |t| tree(t, "rro", "", &["ro"], &[])),
    option!("rrw", |t| tree(t, "rrw", "ro", &["rw"], &["ro"])),
    option!("rshared", |t| propagated(
        t,
        &["rbind", "rshared"],
        &["shared:"],
        &[],
        true
    )),
    option!("rslave", |t| propagated(
        t,
        &["rbind", "rslave"],
        &["master:"],
        &["shared:"],
        true
    )),
    option!("rstrictatime", |t| tree(
        t,
        "rstrictatime",
        "",
        &[],
        &["relatime", "noatime"]
    )),
    option!("rsuid", |t| tree(t, "rsuid", "nosuid", &[], &["nosuid"])),
    option!("rsymfollow", |t| tree(
        t,
        "rsymfollow",
        "",
        &[],
        &["nosymfollow"]
    )),
    option!("runbindable", |t| propagated(
        t,
        &["rbind", "runbindable"],
        &["unbindable"],
        &["shared:", "master:"],
        true
    )),
    option!("rw", |t| fresh(t, &["ro", "rw"], &["rw"], &["ro"])),
    option!("shared", |t| propagated(
        t,
        &["bind", "shared"],
        &["shared:"],
        &[],
        false
    )),
    option!("silent", |t| fresh(t, &["silent"], &[], &[])),
    option!("slave", |t| propagated(
        t,
        &["bind", "slave"],
        &["master:"],
        &["shared:"],
        false
    )),
    option!("strictatime", |t| fresh(
        t,
        &["strictatime"],
        &[],
        &["relatime", "noatime"]
    )),
    option!("suid", |t| fresh(t, &["nosuid", "suid"], &[], &["nosuid"])),
    option!("symfollow", |t| fresh(
        t,
        &["nosymfollow", "symfollow"],
        &[],
        &["nosymfollow"]
    )),
    option!("sync", |t| fresh(t, &["sync"], &["sync"], &[])),
    option!("unbindable", |t| propagated(
        t,
        &["bind", "unbindable"],
        &["unbindable"],
        &["shared:", "master:"],
        false
    )),
    Case {
        name: "mount-options/unknown-goes-to-the-file-system",
        platforms: Linux,
        section: OPTIONS,
        says: "An option that is not listed goes to the file system, which refuses what it does not know.",
        run: |t| {
            t.refused(&t.bundle()?.tmpfs("/mnt", &["nosuchoption=1"]), &[])?;
            fresh(t, &["nr_inodes=123"], &["nr_inodes=123"], &[])
        },
    },
    Case {
        name: "mount-options/idmap",
        platforms: Linux,
        section: OPTIONS,
        says: "idmap maps the owners of a bind mount by its mappings, or is refused.",
        run: |t| mapped(t, "idmap"),
    },
    Case {
        name: "mount-options/ridmap",
        platforms: Linux,
        section: OPTIONS,
        says: "ridmap maps the owners of a bind mount by its mappings, or is refused.",
        run: |t| mapped(t, "ridmap"),
    },
    Case {
        name: "mount-options/idmap-without-mappings",
        platforms: Linux,
        section: OPTIONS,
        says: "idmap without mappings and without a user namespace is an error.",
        run: |t| {
            t.refused(&t.bundle()?.bind(&t.host_dir()?, "/mnt", &["idmap"]), &[])?;
            Ok(())
        },
    },
    Case {
        name: "mount-options/ridmap-without-mappings",
        platforms: Linux,
        section: OPTIONS,
        says: "ridmap without mappings and without a user namespace is an error.",
        run: |t| {
            t.refused(&t.bundle()?.bind(&t.host_dir()?, "/mnt", &["ridmap"]), &[])?;
            Ok(())
        },
    },
    Case {
        name: "mount-options/uid-mappings-alone",
        platforms: Linux,
        section: "config.md, POSIX-platform Mounts",
        says: "uidMappings of a mount without gidMappings are an error.",
        run: |t| alone(t, "uidMappings"),
    },
    Case {
        name: "mount-options/gid-mappings-alone",
        platforms: Linux,
        section: "config.md, POSIX-platform Mounts",
        says: "gidMappings of a mount without uidMappings are an error.",
        run: |t| alone(t, "gidMappings"),
    },
];

/// The mount on a path: its own options, those of its file system, and its
/// propagation.
fn shown(report: &Value, target: &str) -> Outcome<Vec<String>> {
    let mounts = report["mounts"].as_array().into_iter().flatten();
    let mut found: Vec<&Value> = mounts.filter(|m| m["target"] == target).collect();
    let mount = found
        .pop()
        .ok_or(format!("nothing is mounted on {target}"))?;
    let lists = ["options", "data", "propagation"];
    let words = lists
        .iter()
        .filter_map(|name| mount[*name].as_array())
        .flatten();
    Ok(words.filter_map(|w| w.as_str().map(String::from)).collect())
}

fn compare(words: &[String], wanted: &[&str], unwanted: &[&str], what: &str) -> Outcome {
    let has = |option: &str| {
        words
            .iter()
            .any(|w| w == option || (option.ends_with(':') && w.starts_with(option)))
    };
    for option in wanted {
        check!(has(option), "{what} is not {option}: {words:?}");
    }
    for option in unwanted {
        // `rw` of the file system says nothing of the mount, and the reverse.
        check!(!has(option), "{what} is {option}: {words:?}");
    }
    Ok(())
}

/// A new tmpfs with these options.
fn fresh(t: &Test, options: &[&str], wanted: &[&str], unwanted: &[&str]) -> Outcome {
    let report = t.report(&t.bundle()?.tmpfs("/mnt", options))?;
    compare(&shown(&report, "/mnt")?, wanted, unwanted, "the mount")
}

/// A bind mount of a directory in which something is mounted.
fn bound(t: &Test, options: &[&str], deep: bool) -> Outcome {
    let tree = Tree::new(t, false)?;
    let bundle = t.bundle()?.mount(json!({
        "destination": "/mnt", "source": tree.outer(), "type": "none", "options": options,
    }));
    let output = t.output(&bundle.acts(&["list", "/mnt", ";", "list", "/mnt/inner"]))?;
    let wanted = if deep { "inner\nfile\n" } else { "inner\n\n" };
    check!(output == wanted, "the directories are {output:?}");
    Ok(())
}

/// A recursive option on a bind mount of a directory in which a tmpfs is
/// mounted that has these flags.
fn tree(t: &Test, option: &str, flag: &str, wanted: &[&str], unwanted: &[&str]) -> Outcome {
    let tree = Tree::new(t, false)?;
    host::set_mount_flag(&tree.inner, flag)?;
    let report = t.report(&t.bundle()?.mount(json!({
        "destination": "/mnt", "source": tree.outer(), "type": "none",
        "options": ["rbind", option],
    })))?;
    for target in ["/mnt", "/mnt/inner"] {
        // The file system below the outer directory is the host's.
        let words = options_of(&report, target)?;
        compare(&words, wanted, unwanted, target)?;
    }
    Ok(())
}

/// The options of the mount itself.
fn options_of(report: &Value, target: &str) -> Outcome<Vec<String>> {
    let mounts = report["mounts"].as_array().into_iter().flatten();
    let mount = mounts.into_iter().find(|m| m["target"] == target);
    let mount = mount.ok_or(format!("nothing is mounted on {target}"))?;
    let words = mount["options"].as_array().into_iter().flatten();
    Ok(words.filter_map(|w| w.as_str().map(String::from)).collect())
}

/// A bind mount of a shared mount, with an option of propagation.
fn propagated(
    t: &Test,
    options: &[&str],
    wanted: &[&str],
    unwanted: &[&str],
    deep: bool,
) -> Outcome {
    let tree = Tree::new(t, true)?;
    let bundle = t.bundle()?.mount(json!({
        "destination": "/mnt", "source": tree.outer(), "type": "none", "options": options,
    }));
    // Else what is a slave depends on how the runtime leaves the host's mounts.
    let report = t.report(&bundle.set("/linux/rootfsPropagation", json!("slave")))?;
    let targets = ["/mnt", "/mnt/inner"];
    for target in &targets[..1 + usize::from(deep)] {
        compare(&shown(&report, target)?, wanted, unwanted, target)?;
    }
    Ok(())
}

/// A later entry that remounts an earlier one.
fn remounted(t: &Test) -> Outcome {
    let bundle = t.bundle()?.tmpfs("/mnt", &["size=64k"]);
    let report = t.report(&bundle.tmpfs("/mnt", &["remount", "ro", "size=64k"]))?;
    let mounts = report["mounts"].as_array().into_iter().flatten();
    let count = mounts.filter(|m| m["target"] == "/mnt").count();
    check!(count == 1, "{count} mounts are on /mnt");
    compare(&shown(&report, "/mnt")?, &["ro"], &[], "the mount")
}

fn mapped(t: &Test, option: &str) -> Outcome {
    let dir = t.host_dir()?;
    fs::write(dir.join("file"), "")?;
    std::os::unix::fs::chown(dir.join("file"), Some(1000), Some(1000))?;
    let map = json!([{"containerID": 1000, "hostID": 2000, "size": 10}]);
    let bundle = t.bundle()?.mount(json!({
        "destination": "/mnt", "source": dir, "type": "bind", "options": ["rbind", option],
        "uidMappings": map, "gidMappings": map,
    }));
    let (call, id, _) = t.create_call(&bundle.clone(), &[])?;
    if call.run()?.code != 0 {
        // The options are SHOULD: it may say that it has none.
        t.refused(&bundle, &[])?;
        return Ok(());
    }
    t.call(&["delete", "--force", &id]).run()?.ok()?;
    let stat: Value = serde_json::from_str(&t.output(&bundle.acts(&["stat", "/mnt/file"]))?)?;
    check!(
        stat["uid"] == 2000 && stat["gid"] == 2000,
        "the owner is not mapped: {stat}"
    );
    Ok(())
}

fn alone(t: &Test, property: &str) -> Outcome {
    let map = json!([{"containerID": 1000, "hostID": 2000, "size": 10}]);
    let mut mount = json!({
        "destination": "/mnt", "source": t.host_dir()?, "type": "bind", "options": ["bind", "idmap"],
    });
    mount[property] = map;
    t.refused(&t.bundle()?.mount(mount), &[])?;
    Ok(())
}

/// A directory of the host on which a tmpfs is mounted, with another one in
/// it; taken back at the end.
struct Tree {
    inner: std::path::PathBuf,
}

impl Tree {
    fn new(t: &Test, shared: bool) -> Outcome<Tree> {
        let outer = t.host_dir()?;
        let tree = Tree {
            inner: outer.join("inner"),
        };
        for dir in [&outer, &tree.inner] {
            fs::create_dir_all(dir)?;
            crate::probe::mount_tmpfs(&dir.to_string_lossy())?;
            host::set_propagation(dir, shared)?;
        }
        fs::write(tree.inner.join("file"), "")?;
        Ok(tree)
    }

    fn outer(&self) -> &std::path::Path {
        self.inner.parent().expect("inner lies in outer")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        host::unmount(&self.inner.to_string_lossy());
        host::unmount(&self.outer().to_string_lossy());
    }
}
