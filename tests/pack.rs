//! `brig pack` by itself: what the image holds, what it leaves behind, and what
//! it says of wrong input. tests/images reads its images by the real tools.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::AT_FDCWD;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};

/// A directory that is gone at the end.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Work {
        let path = std::env::temp_dir().join(format!("brig-pack-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Work(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs brig here, without a date of the caller's environment.
    fn brig(&self, arguments: &[&str]) -> Output {
        self.brig_at(arguments, None)
    }

    fn brig_at(&self, arguments: &[&str], epoch: Option<&str>) -> Output {
        let mut command = self.command(arguments);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        let output = command.output().unwrap();
        Output {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brig"));
        command.args(arguments).current_dir(&self.0);
        command.env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
        command
    }

    /// Packs, and returns the manifest's digest.
    fn pack(&self, arguments: &[&str]) -> String {
        let output = self.brig(&[&["pack"], arguments].concat());
        assert_eq!(output.status, 0, "{}", output.err);
        output.out.split(": ").next().unwrap().to_owned()
    }

    /// What brig says of what it refuses. Nothing but what was there is there.
    fn refused(&self, arguments: &[&str]) -> String {
        let before = self.names();
        let output = self.brig(&[&["pack"], arguments].concat());
        assert_eq!(output.status, 1, "{arguments:?}: {}", output.out);
        assert_eq!(self.names(), before, "{arguments:?} left something");
        let lines: Vec<&str> = output.err.lines().collect();
        assert_eq!(lines.len(), 1, "{}", output.err);
        lines[0].strip_prefix("brig: ").unwrap().to_owned()
    }

    /// All paths, to see what is left behind.
    fn names(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        let mut left = vec![self.0.clone()];
        while let Some(path) = left.pop() {
            if path.symlink_metadata().unwrap().is_dir() {
                left.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
            all.push(path);
        }
        all.sort();
        all
    }

    /// The JSON document of a digest.
    fn document(&self, layout: &str, digest: &str) -> Value {
        let path = self.at(layout).join("blobs").join(digest.replace(':', "/"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn config(&self, layout: &str, manifest: &str) -> Value {
        let manifest = self.document(layout, manifest);
        self.document(layout, manifest["config"]["digest"].as_str().unwrap())
    }

    /// The entries of an image's last layer: name, and content or what else it is.
    fn layer(&self, layout: &str, manifest: &str) -> Vec<(String, String)> {
        let manifest = self.document(layout, manifest);
        let layer = manifest["layers"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let digest = layer["digest"].as_str().unwrap().replace(':', "/");
        let file = File::open(self.at(layout).join("blobs").join(digest)).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut all = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let kind = entry.header().entry_type();
            let mode = entry.header().mode().unwrap();
            let mut text = match entry.link_name().unwrap() {
                Some(link) if kind == tar::EntryType::Link => format!("={}", link.display()),
                Some(link) => format!("->{}", link.display()),
                None => format!("{mode:o} "),
            };
            entry.read_to_string(&mut text).unwrap();
            all.push((name, text));
        }
        all
    }

    fn layer_names(&self, layout: &str, manifest: &str) -> Vec<String> {
        self.layer(layout, manifest)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Output {
    status: i32,
    out: String,
    err: String,
}

/// Sets the time of a path, which may be a link.
fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = TimeSpec::new(seconds, nanoseconds);
    utimensat(
        AT_FDCWD,
        path,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )
    .unwrap();
}

/// Sets the times of a directory and all below.
fn touch_all(path: &Path, seconds: i64) {
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            touch_all(&entry.unwrap().path(), seconds);
        }
    }
    touch(path, seconds, 0);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A small root file system of many kinds of things.
fn tree(root: &Path) {
    for directory in [
        "",
        "etc",
        "bin",
        "var",
        "var/lib",
        "var/lib/old",
        "gone",
        "gone/deep",
    ] {
        fs::create_dir(root.join(directory)).unwrap();
        set_mode(&root.join(directory), 0o755);
    }
    for (name, text) in [
        ("etc/motd", "hello\n"),
        ("etc/hosts", "127.0.0.1\n"),
        ("bin/sh", "#!sh\n"),
        ("var/lib/old/a", "a\n"),
        ("var/lib/old/b", "b\n"),
        ("gone/deep/file", "x\n"),
        ("gone/file", "y\n"),
        ("empty", ""),
    ] {
        fs::write(root.join(name), text).unwrap();
        set_mode(&root.join(name), 0o644);
    }
    set_mode(&root.join("bin/sh"), 0o4755);
    fs::hard_link(root.join("bin/sh"), root.join("bin/csh")).unwrap();
    fs::hard_link(root.join("bin/sh"), root.join("sh")).unwrap();
    symlink("../etc/motd", root.join("var/motd")).unwrap();
    symlink("n".repeat(150), root.join("long")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    set_mode(&root.join("fifo"), 0o600);
    let deep = root.join("d".repeat(120)).join("e".repeat(130));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("ümläut"), "z").unwrap();
    touch_all(root, 1_000_000_000);
    touch(&root.join("etc/hosts"), 1_000_000_001, 123_456_789);
    touch(&root.join("empty"), -5, 500_000_000);
}

/// Copies a tree with its hard links and times.
fn copy(from: &Path, to: &Path) {
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    copy_to(from, to, &mut first);
}

fn copy_to(from: &Path, to: &Path, first: &mut BTreeMap<u64, PathBuf>) {
    let m = from.symlink_metadata().unwrap();
    if m.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy_to(&entry.path(), &to.join(entry.file_name()), first);
        }
    } else if let Some(first) = first.get(&m.ino()) {
        fs::hard_link(first, to).unwrap();
    } else if m.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if m.is_file() {
        fs::copy(from, to).unwrap();
    } else {
        nix::unistd::mkfifo(to, Mode::from_bits_truncate(0o600)).unwrap();
    }
    if !m.is_dir() {
        first.insert(m.ino(), to.into());
    }
    if !m.is_symlink() {
        set_mode(to, m.mode() & 0o7777);
    }
    touch(to, m.mtime(), m.mtime_nsec());
}

/// Each path with its type, mode, owner, time, links and content.
fn read(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let m = path.symlink_metadata().unwrap();
        let mut text = format!("{:o} {}:{}", m.mode(), m.uid(), m.gid());
        text.push_str(&format!(" {}.{:09}", m.mtime(), m.mtime_nsec()));
        if m.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if m.is_symlink() {
            text.push_str(&format!(" ->{}", fs::read_link(&path).unwrap().display()));
        } else if m.is_file() {
            text.push_str(&format!(
                " links={} {:?}",
                m.nlink(),
                fs::read(&path).unwrap()
            ));
        }
        all.insert(path.strip_prefix(root).unwrap().to_owned(), text);
    }
    all
}

/// Unpacks an image, and compares with what it was made of.
fn round_trip(work: &Work, image: &str, source: &str) {
    let mut arguments = vec!["unpack", "--image", image, "bundle"];
    if !geteuid().is_root() {
        arguments.push("--rootless");
    }
    let output = work.brig(&arguments);
    assert_eq!(output.status, 0, "{}", output.err);
    let (was, is) = (read(&work.at(source)), read(&work.at("bundle/rootfs")));
    for (path, text) in &was {
        assert_eq!(is.get(path), Some(text), "{}", path.display());
    }
    assert_eq!(is.len(), was.len());
    fs::remove_dir_all(work.at("bundle")).unwrap();
}

#[test]
fn the_tree_comes_back() {
    let work = Work::new("back");
    tree(&work.at("r"));
    for compress in ["gzip", "zstd"] {
        work.pack(&["--rootfs", "r", "--image", "l:t", "--compress", compress]);
        round_trip(&work, "l:t", "r");
    }
    work.pack(&["--rootfs", "r", "--oci-archive", "a.tar:t"]);
    round_trip(&work, "a.tar:t", "r");
    assert!(
        !work
            .names()
            .iter()
            .any(|path| path.to_str().unwrap().contains(".brig-"))
    );
}

#[test]
fn entries_are_sorted_and_links_follow_what_they_are_to() {
    let work = Work::new("entries");
    tree(&work.at("r"));
    let digest = work.pack(&["--rootfs", "r", "--image", "l:t"]);
    let all = work.layer("l", &digest);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        &names[..6],
        ["./", "bin/", "bin/csh", "bin/sh", names[4], names[5]]
    );
    let text = |name: &str| &all.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(text("bin/csh"), "4755 #!sh\n");
    assert_eq!(
        (text("bin/sh").as_str(), text("sh").as_str()),
        ("=bin/csh", "=bin/csh")
    );
    assert_eq!(text("var/motd"), "->../etc/motd");
}

#[test]
fn the_same_input_gives_the_same_digest() {
    let work = Work::new("same");
    tree(&work.at("one"));
    // The same names, made in another order.
    copy(&work.at("one"), &work.at("half"));
    fs::create_dir(work.at("two")).unwrap();
    let mut names: Vec<_> = fs::read_dir(work.at("half"))
        .unwrap()
        .map(|e| e.unwrap())
        .collect();
    names.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in names {
        fs::rename(entry.path(), work.at("two").join(entry.file_name())).unwrap();
    }
    set_mode(&work.at("two"), 0o755);
    touch_all(&work.at("two/var"), 1_000_000_000);
    touch(&work.at("two"), 1_000_000_000, 0);
    for compress in ["gzip", "zstd"] {
        let pack = |root: &str, image: &str| {
            work.pack(&["--rootfs", root, "--image", image, "--compress", compress])
        };
        assert_eq!(pack("one", "l1:t"), pack("two", "l2:t"));
        assert_eq!(pack("one", "l1:t"), pack("one", "l1:u"));
    }
    let archives = ["a1", "a2"].map(|name| {
        work.pack(&["--rootfs", "one", "--oci-archive", name]);
        fs::read(work.at(name)).unwrap()
    });
    assert!(archives[0] == archives[1]);
}

#[test]
fn source_date_epoch() {
    let work = Work::new("epoch");
    tree(&work.at("r"));
    let pack = |tag: &str, epoch| {
        let image = format!("l:{tag}");
        let output = work.brig_at(&["pack", "--rootfs", "r", "--image", &image], epoch);
        assert_eq!(output.status, 0, "{}", output.err);
        output.out.split(": ").next().unwrap().to_owned()
    };
    let without = pack("a", None);
    let early = pack("b", Some("900000000"));
    assert_ne!(without, early);
    assert_eq!(work.config("l", &early)["created"], "1998-07-09T16:00:00Z");
    assert_eq!(
        work.config("l", &without)["created"],
        "2001-09-09T01:46:41Z"
    );
    // Later times make no difference any more, earlier ones stay.
    touch_all(&work.at("r"), 1_500_000_000);
    touch(&work.at("r/empty"), -5, 500_000_000);
    assert_eq!(pack("c", Some("900000000")), early);
    assert_ne!(pack("d", None), without);
    touch(&work.at("r/empty"), 5, 0);
    assert_ne!(pack("e", Some("900000000")), early);
    for wrong in ["x", "-1", "1.5"] {
        let output = work.brig_at(&["pack", "--rootfs", "r", "--image", "n:t"], Some(wrong));
        assert_eq!(output.status, 1);
        assert!(
            output.err.contains("is not a number of seconds since 1970"),
            "{}",
            output.err
        );
        assert!(!work.at("n").exists());
    }
}

/// Packs a tree, changes a copy, and packs the difference.
fn difference(name: &str, change: impl FnOnce(&Path)) -> (Work, Vec<(String, String)>) {
    let work = Work::new(name);
    tree(&work.at("r"));
    let base = work.pack(&["--rootfs", "r", "--image", "l:base"]);
    copy(&work.at("r"), &work.at("s"));
    change(&work.at("s"));
    let digest = work.pack(&["--rootfs", "s", "--base", "l:base", "--image", "l:new"]);
    let manifest = work.document("l", &digest);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "one layer on the base's");
    assert_eq!(layers[0], work.document("l", &base)["layers"][0]);
    assert_eq!(
        manifest["annotations"]["org.opencontainers.image.base.digest"],
        base.as_str()
    );
    let config = work.config("l", &digest);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
    let layer = work.layer("l", &digest);
    round_trip(&work, "l:new", "s");
    (work, layer)
}

fn names(layer: &[(String, String)]) -> Vec<&str> {
    layer.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn what_is_added() {
    let (_work, layer) = difference("added", |root| {
        fs::create_dir_all(root.join("new/deep")).unwrap();
        fs::write(root.join("new/deep/file"), "n").unwrap();
    });
    assert_eq!(names(&layer), ["./", "new/", "new/deep/", "new/deep/file"]);
}

#[test]
fn content_of_the_same_size_and_time() {
    let (_work, layer) = difference("content", |root| {
        let time = root.join("etc").metadata().unwrap().modified().unwrap();
        fs::write(root.join("etc/motd"), "HELLO\n").unwrap();
        touch(&root.join("etc/motd"), 1_000_000_000, 0);
        File::open(root.join("etc"))
            .unwrap()
            .set_modified(time)
            .unwrap();
    });
    assert_eq!(names(&layer), ["./", "etc/", "etc/motd"]);
    assert_eq!(layer[2].1, "644 HELLO\n");
}

#[test]
fn a_mode_alone_and_a_nanosecond() {
    let (_work, layer) = difference("mode", |root| {
        set_mode(&root.join("bin/sh"), 0o755);
        set_mode(&root.join("var/lib"), 0o700);
        touch(&root.join("etc/hosts"), 1_000_000_001, 123_456_788);
    });
    // All names of a file, or those left out would stay what they were.
    let wanted = [
        "./",
        "bin/",
        "bin/csh",
        "bin/sh",
        "etc/",
        "etc/hosts",
        "sh",
        "var/",
        "var/lib/",
    ];
    assert_eq!(names(&layer), wanted);
}

#[test]
fn what_is_removed() {
    let (_work, layer) = difference("removed", |root| {
        fs::remove_dir_all(root.join("gone")).unwrap();
        fs::remove_file(root.join("etc/hosts")).unwrap();
        fs::remove_file(root.join("long")).unwrap();
        touch(root, 1_000_000_000, 0);
    });
    assert_eq!(
        names(&layer),
        ["./", ".wh.gone", ".wh.long", "etc/", "etc/.wh.hosts"]
    );
}

#[test]
fn a_directory_becomes_a_file_and_a_file_one() {
    let (_work, layer) = difference("replaced", |root| {
        fs::remove_dir_all(root.join("gone")).unwrap();
        fs::write(root.join("gone"), "now a file").unwrap();
        fs::remove_file(root.join("empty")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        fs::write(root.join("empty/inside"), "i").unwrap();
        fs::remove_dir_all(root.join("var/lib")).unwrap();
        symlink("../etc", root.join("var/lib")).unwrap();
    });
    let wanted = ["./", "empty/", "empty/inside", "gone", "var/", "var/lib"];
    assert_eq!(names(&layer), wanted);
}

#[test]
fn a_directory_with_another_name() {
    let (_work, layer) = difference("renamed", |root| {
        fs::rename(root.join("var/lib/old"), root.join("var/lib/young")).unwrap();
    });
    let wanted = [
        "./",
        "var/",
        "var/lib/",
        "var/lib/.wh.old",
        "var/lib/young/",
        "var/lib/young/a",
        "var/lib/young/b",
    ];
    assert_eq!(names(&layer), wanted);
}

#[test]
fn everything_in_a_directory_is_new() {
    let (_work, layer) = difference("opaque", |root| {
        fs::remove_dir_all(root.join("var/lib/old")).unwrap();
        fs::create_dir(root.join("var/lib/old")).unwrap();
        fs::write(root.join("var/lib/old/c"), "c").unwrap();
        set_mode(&root.join("var/lib/old"), 0o755);
    });
    let wanted = [
        "./",
        "var/",
        "var/lib/",
        "var/lib/old/",
        "var/lib/old/.wh.a",
        "var/lib/old/.wh.b",
        "var/lib/old/c",
    ];
    assert_eq!(names(&layer), wanted);
}

#[test]
fn hard_links_made_and_broken() {
    let (_work, layer) = difference("linked", |root| {
        fs::hard_link(root.join("etc/motd"), root.join("etc/motd2")).unwrap();
        fs::remove_file(root.join("sh")).unwrap();
        fs::write(root.join("sh"), "#!sh\n").unwrap();
        set_mode(&root.join("sh"), 0o4755);
        touch(&root.join("sh"), 1_000_000_000, 0);
    });
    let text = |name: &str| {
        layer
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, t)| t.as_str())
    };
    assert_eq!(text("etc/motd"), Some("644 hello\n"));
    assert_eq!(text("etc/motd2"), Some("=etc/motd"));
    assert_eq!(text("sh"), Some("4755 #!sh\n"));
    // The two that are still one file are as they were.
    assert_eq!(text("bin/sh"), None);
}

#[test]
fn no_difference_is_no_layer() {
    let work = Work::new("none");
    tree(&work.at("r"));
    work.pack(&["--rootfs", "r", "--image", "l:base"]);
    let arguments = [
        "--rootfs", "r", "--base", "l:base", "--image", "m:new", "--env", "A=1",
    ];
    let output = work.brig(&[&["pack"], &arguments[..]].concat());
    assert_eq!(output.status, 0, "{}", output.err);
    let said = "brig: warning: the root file system is the base's: no layer is added\n";
    assert_eq!(output.err, said);
    let digest = output.out.strip_suffix(": no new layer\n").unwrap();
    assert_eq!(
        work.document("m", digest)["layers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let config = work.config("m", digest);
    assert_eq!(config["config"]["Env"], json!(["A=1"]));
    assert_eq!(config["history"][1]["empty_layer"], true);
    round_trip(&work, "m:new", "r");
}

#[test]
fn three_layers_and_another_layout() {
    let work = Work::new("three");
    tree(&work.at("r"));
    work.pack(&["--rootfs", "r", "--image", "l:1", "--compress", "zstd"]);
    fs::write(work.at("r/second"), "2").unwrap();
    fs::remove_file(work.at("r/etc/motd")).unwrap();
    work.pack(&[
        "--rootfs",
        "r",
        "--base",
        "l:1",
        "--image",
        "l:2",
        "--oci-archive",
        "two.tar",
    ]);
    fs::write(work.at("r/etc/motd"), "3").unwrap();
    fs::remove_file(work.at("r/second")).unwrap();
    // The base is an archive, and the image goes to a layout that has nothing yet.
    let digest = work.pack(&["--rootfs", "r", "--base", "two.tar:2", "--image", "m:3"]);
    assert_eq!(
        work.layer_names("m", &digest),
        ["./", ".wh.second", "etc/", "etc/motd"]
    );
    assert_eq!(
        work.document("m", &digest)["layers"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    round_trip(&work, "m:3", "r");
}

#[test]
fn every_flag_of_the_configuration() {
    let work = Work::new("flags");
    fs::create_dir(work.at("r")).unwrap();
    let first = work.pack(&[
        "--rootfs",
        "r",
        "--image",
        "l:1",
        "--cmd",
        "httpd -f",
        "--entrypoint",
        "[\"/bin/e\"]",
        "--env",
        "PATH=/bin",
        "--env",
        "A=1",
        "--user",
        "www:www",
        "--workdir",
        "/srv",
        "--label",
        "a=b",
        "--label",
        "c=d=e",
        "--volume",
        "/data",
        "--stop-signal",
        "SIGINT",
        "--port",
        "80",
        "--port",
        "53/udp",
        "--os",
        "freebsd",
        "--arch",
        "aarch64",
    ]);
    let config = work.config("l", &first);
    assert_eq!(
        (&config["os"], &config["architecture"]),
        (&json!("freebsd"), &json!("arm64"))
    );
    let wanted = json!({
        "Entrypoint": ["/bin/e"], "Cmd": ["httpd", "-f"], "Env": ["PATH=/bin", "A=1"],
        "User": "www:www", "WorkingDir": "/srv", "StopSignal": "SIGINT",
        "Labels": {"a": "b", "c": "d=e"}, "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    });
    assert_eq!(config["config"], wanted);
    let index: Value = serde_json::from_slice(&fs::read(work.at("l/index.json")).unwrap()).unwrap();
    let platform = json!({"architecture": "arm64", "os": "freebsd"});
    assert_eq!(index["manifests"][0]["platform"], platform);
    // The base's values stay, but for those that are given.
    let second = work.pack(&[
        "--rootfs", "r", "--image", "l:2", "--base", "l:1", "--env", "A=2", "--cmd", "-x",
        "--label", "a=z", "--user", "",
    ]);
    let config = work.config("l", &second);
    assert_eq!(
        (&config["os"], &config["architecture"]),
        (&json!("freebsd"), &json!("arm64"))
    );
    let mut wanted = wanted;
    wanted["Env"] = json!(["PATH=/bin", "A=2"]);
    wanted["Cmd"] = json!(["-x"]);
    wanted["Labels"] = json!({"a": "z", "c": "d=e"});
    wanted.as_object_mut().unwrap().remove("User");
    assert_eq!(config["config"], wanted);
    // A file stands between the base and the flags.
    let text = json!({
        "author": "A. N. Other", "variant": "v8",
        "config": {"Env": ["B=1"], "Cmd": ["file"]},
    });
    fs::write(work.at("c.json"), text.to_string()).unwrap();
    let third = work.pack(&[
        "--rootfs", "r", "--image", "l:3", "--base", "l:1", "--config", "c.json", "--cmd", "flag",
    ]);
    let config = work.config("l", &third);
    assert_eq!(
        (&config["author"], &config["variant"]),
        (&json!("A. N. Other"), &json!("v8"))
    );
    assert_eq!(config["config"]["Env"], json!(["B=1"]));
    assert_eq!(config["config"]["Cmd"], json!(["flag"]));
    assert_eq!(config["config"]["User"], "www:www");
}

/// A tar archive with `./`, `etc/motd` and a link to it, compressed by xz -9e.
const TXZ: &[u8] = &[
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01,
    0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0xe0, 0x27, 0xff, 0x00, 0x93, 0x5d, 0x00, 0x17,
    0x0b, 0xbc, 0x1c, 0x7d, 0x01, 0x95, 0xc0, 0x1d, 0x4a, 0x3e, 0x79, 0x15, 0xc2, 0xda, 0xfe, 0x0a,
    0x25, 0x82, 0x8a, 0x33, 0x25, 0x43, 0xa2, 0xcf, 0xd1, 0x40, 0x56, 0x54, 0x16, 0x8e, 0xf3, 0x2e,
    0x60, 0x8e, 0x7c, 0xbe, 0xcd, 0x49, 0x0e, 0xe8, 0x85, 0x76, 0xe4, 0x52, 0x65, 0x88, 0xbd, 0xa8,
    0xa2, 0x4b, 0x67, 0xad, 0x67, 0x60, 0x2f, 0x26, 0x74, 0x80, 0x2a, 0xb7, 0xce, 0x70, 0x89, 0x73,
    0x0c, 0xbb, 0xc8, 0x59, 0xa6, 0x93, 0x98, 0xb8, 0xc5, 0x00, 0x2c, 0x23, 0xe2, 0xab, 0x4f, 0x31,
    0x11, 0xe8, 0xb1, 0x47, 0xbd, 0xb1, 0x7a, 0x8a, 0xb5, 0x1b, 0x1c, 0x6f, 0x4e, 0x5a, 0x9d, 0x60,
    0xe5, 0x97, 0xb9, 0x07, 0x8a, 0x93, 0xa6, 0x91, 0xb0, 0x69, 0x2e, 0x33, 0xe8, 0x77, 0x1d, 0x5a,
    0x8c, 0x77, 0xe9, 0x36, 0xaa, 0x24, 0x70, 0x64, 0xaf, 0xf6, 0x97, 0xc0, 0xc7, 0x31, 0x19, 0x7e,
    0x79, 0x64, 0x50, 0x81, 0x3e, 0xb0, 0xc8, 0x29, 0x58, 0xc5, 0xb8, 0x01, 0xad, 0x52, 0x60, 0x35,
    0x30, 0x91, 0x00, 0x00, 0x00, 0xf4, 0xd5, 0x58, 0x93, 0xca, 0xd1, 0xc8, 0x00, 0x01, 0xaf, 0x01,
    0x80, 0x50, 0x00, 0x00, 0xdd, 0xc6, 0x9a, 0x97, 0xb1, 0xc4, 0x67, 0xfb, 0x02, 0x00, 0x00, 0x00,
    0x00, 0x04, 0x59, 0x5a,
];

#[test]
fn archives_of_each_compression() {
    let work = Work::new("archives");
    let mut plain = Vec::new();
    let header = |name: &str, kind, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o755);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        header
    };
    {
        use tar::EntryType;
        let mut builder = tar::Builder::new(&mut plain);
        // Out of order, and without the directory that it is in.
        for (name, text) in [("./z", "last"), ("./etc/motd", "hello\n")] {
            let header = header(name, EntryType::Regular, text.len());
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder
            .append(&header("./bin/", EntryType::Directory, 0), &b""[..])
            .unwrap();
        let mut link = header("./a", EntryType::Link, 0);
        link.set_link_name("./z").unwrap();
        link.set_cksum();
        builder.append(&link, &b""[..]).unwrap();
        builder.finish().unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    fs::write(work.at("plain"), &plain).unwrap();
    fs::write(work.at("gzip"), gzip.finish().unwrap()).unwrap();
    fs::write(
        work.at("zstd"),
        zstd::encode_all(plain.as_slice(), 1).unwrap(),
    )
    .unwrap();
    let digests = ["plain", "gzip", "zstd"]
        .map(|name| work.pack(&["--rootfs", name, "--image", &format!("l:{name}")]));
    assert!(
        digests[1..].iter().all(|digest| *digest == digests[0]),
        "{digests:?}"
    );
    let layer = work.layer("l", &digests[0]);
    assert_eq!(names(&layer), ["./", "a", "bin/", "etc/", "etc/motd", "z"]);
    assert_eq!(
        (layer[1].1.as_str(), layer[5].1.as_str()),
        ("755 last", "=a")
    );
    // Directories that the archive only implies are the base's.
    let digest = work.pack(&["--rootfs", "plain", "--base", "l:gzip", "--image", "l:same"]);
    assert_eq!(
        work.document("l", &digest)["layers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    fs::write(work.at("base.txz"), TXZ).unwrap();
    let digest = work.pack(&["--rootfs", "base.txz", "--image", "l:txz"]);
    let layer = work.layer("l", &digest);
    assert_eq!(names(&layer), ["./", "etc/", "etc/motd", "motd"]);
    assert_eq!(layer[2].1, "644 hello\n");
    assert_eq!(work.config("l", &digest)["created"], "2001-09-09T01:46:40Z");
}

#[test]
fn wrong_input() {
    let work = Work::new("wrong");
    tree(&work.at("r"));
    work.pack(&["--rootfs", "r", "--image", "l:one"]);
    work.pack(&["--rootfs", "r", "--image", "l:two"]);
    fs::write(work.at("text"), "x".repeat(3000)).unwrap();
    fs::write(work.at("nothing"), "").unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_path_with_name(work.at("text"), "text")
        .unwrap();
    let archive = builder.into_inner().unwrap();
    fs::write(work.at("cut"), &archive[..2000]).unwrap();
    fs::write(work.at("short.txz"), &TXZ[..TXZ.len() / 2]).unwrap();
    let mut damaged = TXZ.to_vec();
    damaged[TXZ.len() / 2] ^= 0xff;
    fs::write(work.at("damaged.txz"), damaged).unwrap();
    fs::create_dir(work.at("other")).unwrap();
    fs::write(work.at("other/file"), "").unwrap();
    fs::create_dir(work.at("white")).unwrap();
    fs::write(work.at("white/.wh.x"), "").unwrap();
    let is = |arguments: &[&str], wanted: &str| {
        let said = work.refused(arguments);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    };
    let into = |root: &'static str| ["--rootfs", root, "--image", "n:t"];
    is(
        &into("missing"),
        "cannot open root file system missing: ENOENT",
    );
    is(&into("/dev/null"), "it is neither a directory nor a file");
    is(&into("text"), "or this is not a tar archive");
    is(
        &into("cut"),
        "cannot read root file system cut: the archive is truncated",
    );
    is(&into("nothing"), "it has no entries; is it a tar archive?");
    is(
        &into("short.txz"),
        "cannot read root file system short.txz: it is truncated",
    );
    is(
        &into("damaged.txz"),
        "cannot read root file system damaged.txz: it cannot be decompressed",
    );
    is(&into("white"), "the name is that of a whiteout");
    let image = |image: &'static str| ["--rootfs", "r", "--image", image];
    is(
        &image("l"),
        "--image: \"l\" is not LAYOUT:TAG; as images:latest",
    );
    is(&image("l:"), "is not LAYOUT:TAG");
    is(&image("l:a b"), "is not LAYOUT:TAG");
    is(&image("text:t"), "text is a file, not an image layout");
    is(
        &image("other:t"),
        "other is not an image layout: it has no file oci-layout",
    );
    is(&image("no/where:t"), "cannot create image layout");
    is(
        &image("r/layout:t"),
        "--image: r/layout lies in the root file system",
    );
    is(
        &["--rootfs", "r", "--oci-archive", "r/a"],
        "r/a lies in the root file system",
    );
    is(
        &["--rootfs", "r", "--oci-archive", "l"],
        "l is a directory, not an archive",
    );
    is(
        &["--rootfs", "r", "--oci-archive", "no/where"],
        "cannot create no/where: ENOENT",
    );
    is(&["--rootfs", "r"], "--image");
    let on = |base: &'static str| ["--rootfs", "r", "--image", "n:t", "--base", base];
    is(&on("l:three"), "l has no image \"three\": it has one, two");
    is(
        &on("missing:x"),
        "--base: cannot open image missing: ENOENT",
    );
    is(
        &on("other"),
        "other is neither an image layout nor an archive of one",
    );
    let with =
        |flag: &'static str, value: &'static str| ["--rootfs", "r", "--image", "n:t", flag, value];
    is(
        &with("--env", "A"),
        "--env: \"A\" is not of the form NAME=VALUE",
    );
    is(&with("--label", "=x"), "is not of the form NAME=VALUE");
    is(&with("--workdir", "a"), "--workdir: \"a\" is not absolute");
    is(&with("--volume", "a"), "--volume: \"a\" is not absolute");
    is(&with("--port", "http"), "is not PORT or PORT/PROTOCOL");
    is(
        &with("--cmd", "'a"),
        "--cmd: \"'a\" has a quote without its end",
    );
    is(&with("--config", "missing"), "cannot read missing: ENOENT");
    is(&with("--config", "text"), "--config text: not JSON");
    for (text, wanted) in [
        (
            "{\"ociVersion\": \"1.0.0\"}",
            "it is a container's configuration, not an image's",
        ),
        ("{\"config\": 1}", "config: it is no object"),
        (
            "{\"Cmd\": []}",
            "\"Cmd\" is not of an image's configuration",
        ),
        (
            "{\"config\": {\"Cmd\": \"x\"}}",
            "the image's configuration: config.Cmd",
        ),
    ] {
        fs::write(work.at("text"), text).unwrap();
        is(&with("--config", "text"), wanted);
    }
    // A layout's damage is told, and it stays as it is.
    let index = fs::read(work.at("l/index.json")).unwrap();
    fs::write(work.at("l/index.json"), "[").unwrap();
    is(&image("l:t"), "its index.json is not JSON");
    fs::write(work.at("l/index.json"), index).unwrap();
    let blobs = fs::read_dir(work.at("l/blobs/sha256")).unwrap();
    let largest = blobs
        .map(|e| e.unwrap())
        .max_by_key(|e| e.metadata().unwrap().len())
        .unwrap();
    let mut bytes = fs::read(largest.path()).unwrap();
    bytes[100] ^= 1;
    fs::write(largest.path(), bytes).unwrap();
    fs::write(work.at("r/new"), "").unwrap();
    is(&on("l:one"), "is damaged: its digest is");
}

/// Waits until something is being written next to where it is to be.
fn begun(directory: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let inside = entries.map(|entry| entry.path()).flat_map(|path| {
            let below = fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path());
            below.chain([path]).collect::<Vec<_>>()
        });
        let is_layer = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(".brig-") && path.metadata().is_ok_and(|m| m.is_file() && m.len() > 50)
        };
        if inside.into_iter().any(|path| is_layer(&path)) {
            return;
        }
        assert!(Instant::now() < until, "nothing is being written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file that takes far longer to read than the test takes.
fn endless(path: &Path) {
    File::create(path).unwrap().set_len(64 << 30).unwrap();
}

#[test]
fn an_interrupt_leaves_nothing() {
    let work = Work::new("interrupt");
    tree(&work.at("r"));
    fs::create_dir(work.at("out")).unwrap();
    work.pack(&["--rootfs", "r", "--image", "out/there:one"]);
    endless(&work.at("r/var/endless"));
    let before = work.names();
    for (arguments, signal) in [
        (["--image", "out/there:two"], Signal::SIGINT),
        (["--image", "out/new:two"], Signal::SIGTERM),
        (["--oci-archive", "out/archive"], Signal::SIGHUP),
    ] {
        let mut command = work.command(&["pack", "--rootfs", "r"]);
        let child = command
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        begun(&work.at("out"));
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "brig: interrupted; nothing was left behind\n");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(work.names(), before, "{arguments:?}");
    }
    // What a kill leaves goes with the next image.
    let mut command = work.command(&["pack", "--rootfs", "r", "--image", "out/there:two"]);
    let mut child = command.spawn().unwrap();
    begun(&work.at("out"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(work.names(), before);
    fs::remove_file(work.at("r/var/endless")).unwrap();
    work.pack(&["--rootfs", "r", "--image", "out/there:one"]);
    let left = work.names();
    assert!(
        !left
            .iter()
            .any(|path| path.to_str().unwrap().contains(".brig-")),
        "{left:?}"
    );
}

/// Whatever moment a kill comes at, the next image is whole and nothing else is
/// left.
#[test]
fn a_kill_at_any_moment() {
    let work = Work::new("killed");
    tree(&work.at("r"));
    fs::create_dir(work.at("out")).unwrap();
    // Enough for the writing to take a while.
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(work.at("r/noise"), noise).unwrap();
    touch(&work.at("r/noise"), 1_000_000_000, 0);
    touch(&work.at("r"), 1_000_000_000, 0);
    let digest = work.pack(&["--rootfs", "r", "--image", "out/there:one"]);
    let is_left = || {
        let names = work.names();
        names
            .iter()
            .any(|path| path.to_str().unwrap().contains(".brig-"))
    };
    for target in [
        ["--image", "out/new:t"],
        ["--image", "out/empty:t"],
        ["--image", "out/there:two"],
        ["--oci-archive", "out/archive"],
    ] {
        let mut left = 0;
        for round in 0..6 {
            if target[1] == "out/empty:t" {
                fs::create_dir(work.at("out/empty")).unwrap();
            }
            let arguments = [&["pack", "--rootfs", "r"], &target[..]].concat();
            let mut child = work
                .command(&arguments)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            match round {
                0 => while !is_left() && child.try_wait().unwrap().is_none() {},
                _ => std::thread::sleep(Duration::from_millis(25 * round)),
            }
            let _ = child.kill();
            child.wait().unwrap();
            left += usize::from(is_left());
            let again = work.pack(&[&["--rootfs", "r"], &target[..]].concat());
            assert_eq!(again, digest);
            assert!(!is_left(), "{target:?}, round {round}: {:?}", work.names());
            if target[0] == "--image" {
                round_trip(&work, target[1], "r");
            }
            for name in ["out/new", "out/empty"] {
                let _ = fs::remove_dir_all(work.at(name));
            }
        }
        assert!(left > 0, "no kill came in time");
    }
}

/// The blobs of a layout that none of its images has.
fn unreferenced(work: &Work, layout: &str) -> Vec<String> {
    let text = fs::read(work.at(layout).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&text).unwrap();
    let mut known = Vec::new();
    for image in index["manifests"].as_array().unwrap() {
        let digest = image["digest"].as_str().unwrap();
        let manifest = work.document(layout, digest);
        known.push(digest.to_owned());
        let layers = manifest["layers"].as_array().unwrap();
        for part in layers.iter().chain([&manifest["config"]]) {
            known.push(part["digest"].as_str().unwrap().to_owned());
        }
    }
    let blobs = fs::read_dir(work.at(layout).join("blobs/sha256")).unwrap();
    let name = |blob: std::io::Result<fs::DirEntry>| blob.unwrap().file_name().into_string();
    blobs
        .map(|blob| format!("sha256:{}", name(blob).unwrap()))
        .filter(|digest| !known.contains(digest))
        .collect()
}

/// A kill between the first blob and the index.
#[test]
fn a_kill_while_an_image_is_added() {
    let work = Work::new("adding");
    tree(&work.at("r"));
    work.pack(&["--rootfs", "r", "--image", "there:one"]);
    let blobs = || fs::read_dir(work.at("there/blobs/sha256")).unwrap().count();
    for round in 0..12 {
        let before = blobs();
        let (killed, command) = (format!("there:killed-{round}"), format!("killed-{round}"));
        let arguments = ["pack", "--rootfs", "r", "--image", &killed];
        let mut child = work
            .command(&[&arguments[..], &["--cmd", &command]].concat())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while blobs() == before && child.try_wait().unwrap().is_none() {}
        let _ = child.kill();
        child.wait().unwrap();
        let (next, command) = (format!("there:next-{round}"), format!("next-{round}"));
        work.pack(&["--rootfs", "r", "--image", &next, "--cmd", &command]);
        assert_eq!(unreferenced(&work, "there"), [""; 0], "round {round}");
        let names = work.names();
        let is_left = |path: &PathBuf| path.to_str().unwrap().contains(".brig-");
        assert!(!names.iter().any(is_left), "{names:?}");
    }
}

/// Two hundred thousand paths in memory that is less than they take.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_depend_on_the_number_of_files() {
    use std::io::BufWriter;
    let work = Work::new("memory");
    let file = BufWriter::new(File::create(work.at("many.tar")).unwrap());
    let mut builder = tar::Builder::new(file);
    for i in 0..200_000 {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        let name = format!("{}/a-name-of-some-length-{i}", i % 7);
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    drop(builder.into_inner().unwrap());
    let packed = |arguments: &str| {
        let line = format!("ulimit -d 49152; exec \"$0\" pack {arguments}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_brig")]);
        let output = command.current_dir(&work.0).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let (out, _) = packed("--rootfs many.tar --image l:one");
    assert!(out.contains(": 200008 entries"), "{out}");
    let (_, said) = packed("--rootfs many.tar --image l:two --base l:one");
    assert!(said.ends_with("no layer is added\n"), "{said}");
}

#[test]
fn a_file_that_changes_is_an_error() {
    let work = Work::new("changes");
    fs::create_dir_all(work.at("r/var")).unwrap();
    fs::create_dir(work.at("out")).unwrap();
    endless(&work.at("r/var/endless"));
    let before = work.names();
    let mut command = work.command(&["pack", "--rootfs", "r", "--image", "out/l:t"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    begun(&work.at("out"));
    let file = File::options()
        .write(true)
        .open(work.at("r/var/endless"))
        .unwrap();
    file.set_len(10).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let wanted = "brig: cannot read \"var/endless\": it changed meanwhile; \
                  stop what writes to it, or copy it first\n";
    assert_eq!(said, wanted);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(work.names(), before);
}

#[test]
fn a_socket_is_left_out() {
    let work = Work::new("socket");
    fs::create_dir(work.at("r")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(work.at("r/s")).unwrap();
    let output = work.brig(&["pack", "--rootfs", "r", "--image", "l:t"]);
    assert_eq!(output.status, 0);
    let said = "brig: warning: \"s\" is a socket, which archives have not: left out\n";
    assert_eq!(output.err, said);
    let digest = output.out.split(": ").next().unwrap();
    assert_eq!(work.layer_names("l", digest), ["./"]);
}

#[test]
fn two_at_once_both_stay() {
    let work = Work::new("two");
    tree(&work.at("r"));
    work.pack(&["--rootfs", "r", "--image", "l:first"]);
    let tags: Vec<String> = (0..6).map(|i| format!("l:t{i}")).collect();
    let children: Vec<_> = tags
        .iter()
        .map(|tag| {
            let label = format!("tag={tag}");
            let arguments = ["pack", "--rootfs", "r", "--image", tag, "--label", &label];
            work.command(&arguments)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let index: Value = serde_json::from_slice(&fs::read(work.at("l/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 7);
    for tag in &tags {
        round_trip(&work, tag, "r");
    }
}
