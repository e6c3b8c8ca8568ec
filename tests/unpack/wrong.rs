//! What wrong input gets: one clear line, status 1, and nothing left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::builder::*;

fn small(name: &str) -> Layout {
    Layout::of(name, &[directory("etc"), file("etc/motd", "hello\n")])
}

#[test]
fn a_truncated_blob() {
    let layout = small("truncated");
    let layer = layout.first_layer();
    let (digest, size) = (
        layer["digest"].as_str().unwrap(),
        layer["size"].as_u64().unwrap(),
    );
    let path = layout.blob(digest);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..100]).unwrap();
    let text = format!("layer {digest} is damaged: it has 100 bytes in place of {size}");
    layout.wrong(&[], &text);
}

#[test]
fn an_altered_blob() {
    let layout = small("altered");
    let digest = layout.first_layer()["digest"].as_str().unwrap().to_owned();
    let path = layout.blob(&digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[600] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let text = format!(
        "layer {digest} is damaged: its digest is {}",
        sha256(&bytes)
    );
    layout.wrong(&[], &text);
}

#[test]
fn a_size_that_does_not_match() {
    let layout = Layout::new("size");
    let manifest = layout.image(&[layer(&[file("a", "a")])], json!({}));
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    let mut larger = named(manifest, "latest");
    larger["size"] = json!(larger["size"].as_u64().unwrap() + 1);
    layout.index(&[larger]);
    layout.wrong(&[], &format!("manifest {digest} is damaged: it has"));
}

#[test]
fn content_that_is_not_what_the_configuration_says() {
    let layout = Layout::new("diff-id");
    let (media_type, bytes, _) = layer(&[file("a", "a")]);
    let other = sha256(b"something else");
    let manifest = layout.image(&[(media_type, bytes, other.clone())], json!({}));
    layout.index(&[named(manifest, "latest")]);
    layout.wrong(
        &[],
        &format!("the uncompressed layer {other} is damaged: its digest is sha256:"),
    );
}

#[test]
fn a_missing_blob() {
    let layout = small("missing");
    let digest = layout.first_layer()["digest"].as_str().unwrap().to_owned();
    fs::remove_file(layout.blob(&digest)).unwrap();
    let text = format!("{} lacks the layer {digest}", layout.path().display());
    layout.wrong(&[], &text);
}

#[test]
fn an_unknown_media_type() {
    let layout = Layout::new("media-type");
    let (_, bytes, diff_id) = layer(&[file("a", "a")]);
    let manifest = layout.image(
        &[("application/vnd.example".into(), bytes, diff_id)],
        json!({}),
    );
    layout.index(&[named(manifest, "latest")]);
    layout.wrong(
        &[],
        "layers[0]: the media type \"application/vnd.example\" is unknown",
    );
    let mut other = named(
        json!({"mediaType": "text/plain", "digest": sha256(b""), "size": 0}),
        "x",
    );
    layout.index(&[other.clone()]);
    layout.wrong(&[], "the media type \"text/plain\" is unknown");
    other["mediaType"] = json!(7);
    layout.index(&[other]);
    layout.wrong(&[], "index.json");
}

#[test]
fn a_manifest_that_is_not_one() {
    let layout = Layout::new("manifest");
    for (bytes, text) in [
        (&b"\x1f\x8b\x08\x00 no text"[..], "not JSON"),
        (b"[]", "it is not a manifest"),
        (
            b"{\"schemaVersion\":2,\"manifests\":[]}",
            "it is not a manifest",
        ),
        (
            b"{\"schemaVersion\":2,\"config\":{},\"layers\":[],\"manifests\":[]}",
            "it is not a manifest",
        ),
        (
            b"{\"schemaVersion\":2,\"config\":{},\"layers\":[]}",
            "config",
        ),
        (
            b"{\"schemaVersion\":2,\"mediaType\":\"text/plain\",\"config\":{},\"layers\":[]}",
            "it says it is \"text/plain\"",
        ),
    ] {
        let digest = sha256(bytes);
        layout.index(&[named(layout.put(MANIFEST, bytes), "latest")]);
        layout.wrong(&[], &format!("manifest {digest}: "));
        layout.wrong(&[], text);
    }
    fs::write(layout.path().join("index.json"), "{").unwrap();
    layout.wrong(&[], "index.json of ");
    fs::remove_file(layout.path().join("index.json")).unwrap();
    layout.wrong(&[], "is neither an image layout nor an archive of one");
}

#[test]
fn a_reference_that_is_not_there() {
    let layout = Layout::new("reference");
    let one = layout.image(&[layer(&[file("a", "1")])], json!({}));
    let two = layout.image(&[layer(&[file("a", "2")])], json!({}));
    layout.index(&[named(one, "one"), named(two, "two")]);
    let path = layout.path();
    let path = path.to_str().unwrap();
    let image = format!("{path}:three");
    let run = Command::new(env!("CARGO_BIN_EXE_brig"))
        .args(["unpack", "--image", &image])
        .arg(layout.out())
        .output()
        .unwrap();
    let text = String::from_utf8(run.stderr).unwrap();
    assert_eq!(
        text,
        format!("brig: {path} has no image \"three\": it has one, two\n")
    );
    assert_eq!(run.status.code(), Some(1));
    layout.wrong(&[], "holds several images: one, two; name one:");
}

#[test]
fn a_platform_that_is_not_there() {
    let layout = small("platform");
    let text = "has no image for linux/s390x; it has one with --platform linux/amd64";
    layout.wrong(&["--platform", "linux/s390x"], text);
    layout.wrong(
        &["--platform", "linux"],
        "--platform: \"linux\" is not OS/ARCH",
    );
    let layers = [layer(&[file("a", "1")])];
    let a = on(
        layout.image_for("linux", "arm64", &layers, json!({})),
        "linux",
        "arm64",
    );
    let b = on(
        layout.image_for("freebsd", "riscv64", &layers, json!({})),
        "freebsd",
        "riscv64",
    );
    let index = json!({"schemaVersion": 2, "manifests": [a, b]});
    let index = layout.put(INDEX, index.to_string().as_bytes());
    layout.index(&[named(index, "latest")]);
    layout.wrong(
        &["--platform", "linux/s390x"],
        "has no image for linux/s390x: it has freebsd/riscv64, linux/arm64; name one with --platform",
    );
}

/// The line that tells of an entry.
fn told(layout: &Layout, entry: &str, text: &str) {
    let digest = layout.first_layer()["digest"].as_str().unwrap().to_owned();
    let start = format!("cannot unpack layer 1 of 1, {digest}: entry {entry:?}: ");
    layout.wrong(&[], &format!("{start}{text}"));
}

#[test]
fn entries_that_leave_the_root() {
    let up = "it leads out of the root file system through ..";
    let link = "it leads out of the root file system through a symbolic link";
    told(&Layout::of("up", &[file("../x", "x")]), "../x", up);
    told(
        &Layout::of("up-inside", &[file("a/../../x", "x")]),
        "a/../../x",
        up,
    );
    told(
        &Layout::of("absolute", &[file("/x", "x")]),
        "/x",
        "its name is absolute",
    );
    let climbing = [symlink("out", "../.."), file("out/x", "x")];
    told(&Layout::of("climbing", &climbing), "out/x", link);
    let deeper = [
        directory("a"),
        symlink("a/out", "../../b"),
        directory("a/out/c"),
    ];
    told(&Layout::of("climbing-deeper", &deeper), "a/out/c", link);
    let whiteout = [symlink("out", "../.."), file("out/.wh.layout", "")];
    let layout = Layout::new("whiteout");
    let layers = [layer(&[file("a", "1")]), layer(&whiteout)];
    let manifest = layout.image(&layers, json!({}));
    layout.index(&[named(manifest, "latest")]);
    layout.wrong(&[], &format!("entry \"out/.wh.layout\": {link}"));
    assert!(layout.path().is_dir());
}

#[test]
fn an_absolute_link_stays_inside() {
    let layout = Layout::of(
        "inside",
        &[directory("a"), symlink("link", "/a"), file("link/x", "x")],
    );
    layout.good();
    assert_eq!(fs::read(layout.rootfs().join("a/x")).unwrap(), b"x");
}

#[test]
fn hard_links_that_leave_the_root() {
    let up = "cannot link to \"../../layout/oci-layout\": it leads out of the root file system through ..";
    told(
        &Layout::of("link-up", &[hard_link("l", "../../layout/oci-layout")]),
        "l",
        up,
    );
    // An absolute target is looked for inside, where it is not.
    let text = "cannot link to \"/etc/shadow-of-the-host\": ENOENT";
    told(
        &Layout::of(
            "link-absolute",
            &[hard_link("l", "/etc/shadow-of-the-host")],
        ),
        "l",
        text,
    );
    let through = [
        symlink("out", "../../layout"),
        hard_link("l", "out/oci-layout"),
    ];
    let text = "cannot link to \"out/oci-layout\": it leads out of the root file system through a symbolic link";
    told(&Layout::of("link-through", &through), "l", text);
    let directory = [directory("d"), hard_link("l", "d")];
    told(
        &Layout::of("link-directory", &directory),
        "l",
        "cannot link to \"d\": it is a directory",
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    let entries = [
        file("a", "first"),
        hard_link("b", "a"),
        symlink("c", "a"),
        file("b", "second"),
        file("c", "third"),
    ];
    let layout = Layout::of("through", &entries);
    layout.good();
    for (name, content) in [("a", "first"), ("b", "second"), ("c", "third")] {
        assert_eq!(
            fs::read_to_string(layout.rootfs().join(name)).unwrap(),
            content
        );
        assert!(
            layout
                .rootfs()
                .join(name)
                .symlink_metadata()
                .unwrap()
                .is_file()
        );
    }
}

#[test]
fn a_device_when_rootless() {
    let entries = [special("null", b'3', (1, 3)), file("a", "a")];
    let layout = Layout::of("device", &entries);
    let run = layout.unpack(&["--rootless"]);
    assert_eq!(run.status, Some(0), "{}", run.err);
    assert_eq!(
        run.err,
        "brig: warning: device nodes are left out without root, the first is \"null\"\n"
    );
    assert!(!layout.rootfs().join("null").exists() && layout.rootfs().join("a").exists());
}

#[test]
fn a_bundle_directory_that_is_not_empty() {
    let layout = small("not-empty");
    fs::create_dir(layout.out()).unwrap();
    layout.good();
    let config = fs::read(layout.out().join("config.json")).unwrap();
    layout.wrong(
        &[],
        &format!("bundle {} is not empty", layout.out().display()),
    );
    assert_eq!(fs::read(layout.out().join("config.json")).unwrap(), config);
    fs::remove_dir_all(layout.out()).unwrap();
    fs::write(layout.out(), "mine").unwrap();
    layout.wrong(&[], "is not a directory");
    assert_eq!(fs::read(layout.out()).unwrap(), b"mine");
}

#[test]
fn a_disk_that_fills_up() {
    if !nix::unistd::geteuid().is_root() {
        panic!("a file system is mounted for this: run it as root");
    }
    let layout = Layout::of(
        "full",
        &[file("small", "x"), file("large", vec![7; 3 << 20])],
    );
    let disk = layout.base.join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |arguments: &[&str]| {
        let mounted = Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&disk)
            .status();
        assert!(mounted.unwrap().success(), "{arguments:?}");
    };
    if cfg!(target_os = "linux") {
        mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    } else {
        mount(&["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
    }
    let run = Command::new(env!("CARGO_BIN_EXE_brig"))
        .args(["unpack", "--image", layout.path().to_str().unwrap()])
        .arg(disk.join("out"))
        .output()
        .unwrap();
    let left = fs::read_dir(&disk).unwrap().count();
    mount(&["umount"]);
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(
        text.ends_with("entry \"large\": cannot write it: ENOSPC\n"),
        "{text}"
    );
    assert_eq!(
        (run.status.code(), text.lines().count(), left),
        (Some(1), 1, 0)
    );
}

/// Waits until a process has something in the directory that it fills.
fn begun(directory: &Path, process: u32, name: &str) {
    let prefix = format!(".brig-{process}-");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut stages = entries.filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(&prefix))
        });
        if stages.any(|stage| stage.path().join(name).exists()) {
            return;
        }
        assert!(Instant::now() < until, "it never began");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupt_in_the_middle() {
    let bytes = archive(&[file("first", "1"), file("zeros", vec![0; 300 << 20])]);
    let (diff_id, blob) = (sha256(&bytes), zstd(&bytes));
    drop(bytes);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let layout = Layout::new(signal.as_str());
        let layer = (format!("{LAYER}+zstd"), blob.clone(), diff_id.clone());
        let manifest = layout.image(&[layer], json!({}));
        layout.index(&[named(manifest, "latest")]);
        let child = Command::new(env!("CARGO_BIN_EXE_brig"))
            .args(["unpack", "--image", layout.path().to_str().unwrap()])
            .arg(layout.out())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        begun(&layout.base, child.id(), "rootfs/zeros");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "brig: interrupted; nothing was left behind\n"
        );
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(layout.names(), ["layout"]);
    }
}

/// A kill leaves a hidden directory, and no bundle; the next one takes it away.
#[test]
fn a_kill_at_any_moment() {
    let entries: Vec<Entry> = (0..400).map(|i| file(&format!("f{i}"), "x")).collect();
    let layout = Layout::of("killed", &entries);
    let unpack = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brig"));
        command.args(["unpack", "--image", layout.path().to_str().unwrap()]);
        command.arg(layout.out()).stderr(Stdio::null());
        command
    };
    // To a new directory, and into an empty one that is there.
    for is_there in [false, true] {
        let mut left = 0;
        for round in 0..12 {
            if is_there {
                fs::create_dir(layout.out()).unwrap();
            }
            let mut child = unpack().spawn().unwrap();
            match round % 4 {
                0 if is_there => begun(&layout.out(), child.id(), "rootfs/f1"),
                0 => begun(&layout.base, child.id(), "rootfs/f1"),
                _ => std::thread::sleep(Duration::from_millis(4 * round)),
            }
            let _ = child.kill();
            child.wait().unwrap();
            left += usize::from(layout.all_names().iter().any(is_hidden));
            if !layout.out().join("config.json").exists() {
                let run = layout.good();
                assert!(run.err.lines().count() <= 1, "{}", run.err);
            }
            assert_eq!(fs::read_dir(layout.rootfs()).unwrap().count(), 400);
            assert!(!layout.all_names().iter().any(is_hidden));
            fs::remove_dir_all(layout.out()).unwrap();
        }
        assert!(left > 0, "no kill came in time");
    }
}

fn is_hidden(name: &std::ffi::OsString) -> bool {
    name.to_string_lossy().contains(".brig-")
}

/// Killed between two names: what is there is finished, and nothing is removed
/// that may be the user's.
#[test]
fn a_kill_while_the_bundle_gets_its_name() {
    let layout = small("moving");
    let (out, stage) = (layout.out(), layout.out().join(".brig-1-0"));
    fs::create_dir_all(&stage).unwrap();
    fs::create_dir(out.join("rootfs")).unwrap();
    fs::write(stage.join("config.json"), "{}").unwrap();
    fs::write(stage.join(".moving"), "").unwrap();
    let run = layout.unpack(&[]);
    assert_eq!(run.status, Some(1));
    assert!(run.err.contains("is not empty"), "{}", run.err);
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!((names(&out), names(&out.join("rootfs"))), (2, 0));
    assert_eq!(fs::read(out.join("config.json")).unwrap(), b"{}");
}

#[test]
fn damaged_archives() {
    let good = archive(&[file("a", vec![1; 2000])]);
    let mut checksum = good.clone();
    checksum[0] = b'b';
    let mut kind = good.clone();
    kind[156] = b'Q';
    let mut header: [u8; 512] = kind[..512].try_into().unwrap();
    seal(&mut header);
    kind[..512].copy_from_slice(&header);
    // Each is short enough; together they would fill the memory.
    let many: Vec<Entry> = (0..2)
        .map(|i| Entry {
            data: [
                format!("600000 SCHILY.xattr.user.{i}=").as_bytes(),
                &vec![b'x'; 600_000],
            ]
            .concat(),
            ..special("pax", b'x', (0, 0))
        })
        .map(|mut header| {
            header.data.truncate(599_999);
            header.data.push(b'\n');
            header
        })
        .collect();
    let long = "the extension headers of an entry are longer than 1 MiB";
    let giant = Entry {
        data: vec![b'n'; 1_100_000],
        ..special("././@LongLink", b'L', (0, 0))
    };
    for (name, bytes, text) in [
        (
            "extensions",
            archive(&[&many[..], &[file("a", "")]].concat()),
            long,
        ),
        ("long-name", archive(&[giant, file("a", "")]), long),
        ("cut", good[..1000].to_vec(), "the archive is truncated"),
        (
            "checksum",
            checksum,
            "a header's checksum is wrong, or this is not a tar archive",
        ),
        ("kind", kind, "an entry of unknown type 'Q'"),
        ("text", vec![b'x'; 2048], "this is not a tar archive"),
    ] {
        let layout = Layout::new(&format!("damaged-{name}"));
        let diff_id = sha256(&bytes);
        let manifest = layout.image(&[(LAYER.into(), bytes, diff_id)], json!({}));
        layout.index(&[named(manifest, "latest")]);
        layout.wrong(&[], text);
    }
    // Right by its digest, but cut off before it was compressed to the end.
    let layout = Layout::new("damaged-gzip");
    let compressed = gzip(&good);
    let cut = compressed[..compressed.len() - 12].to_vec();
    let manifest = layout.image(&[(format!("{LAYER}+gzip"), cut, sha256(&good))], json!({}));
    layout.index(&[named(manifest, "latest")]);
    layout.wrong(&[], "truncated");
}

/// An archive of an image with names that would fill the memory.
#[test]
fn names_without_end() {
    let layout = small("names");
    let entries: Vec<Entry> = (0..4500)
        .map(|i| file(&format!("{i:04}/{}", "n".repeat(4000)), ""))
        .collect();
    let path = layout.base.join("names.tar");
    fs::write(&path, archive(&entries)).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_brig"))
        .args(["unpack", "--image", path.to_str().unwrap()])
        .arg(layout.out())
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(
        said.ends_with("it has more files than an image has\n"),
        "{said}"
    );
    assert_eq!((run.status.code(), said.lines().count()), (Some(1), 1));
}

/// Each index lists the next one so often that nobody would live to see the end.
#[test]
fn indexes_without_end() {
    let layout = Layout::new("endless");
    let manifest = layout.image(&[layer(&[file("a", "a")])], json!({}));
    let mut all = vec![manifest; 2];
    for _ in 0..6 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
        all = vec![layout.put(INDEX, index.to_string().as_bytes()); 60];
    }
    layout.index(&[named(all.remove(0), "latest")]);
    layout.wrong(&[], "has more than 512 manifests");
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    let mut all = vec![layout.put(INDEX, empty.to_string().as_bytes()); 60];
    for _ in 0..5 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
        all = vec![layout.put(INDEX, index.to_string().as_bytes()); 60];
    }
    layout.index(&[named(all.remove(0), "latest")]);
    layout.wrong(&[], "has more than 512 indexes");
}

/// Unpacks with so much memory for data, in KiB.
#[cfg(target_os = "linux")]
fn unpack_within(layout: &Layout, memory: u32) -> (Option<i32>, String) {
    let line = format!("ulimit -d {memory}; exec \"$0\" unpack --image \"$1\" \"$2\"");
    let run = Command::new("/bin/sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_brig")])
        .args([layout.path(), layout.out()])
        .output()
        .unwrap();
    (run.status.code(), String::from_utf8(run.stderr).unwrap())
}

/// Documents within their limit whose values would take many times as much.
#[cfg(target_os = "linux")]
#[test]
fn documents_of_small_values() {
    let layout = small("documents");
    let numbers = vec![0; 1 << 20];
    let path = layout.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.blob(&digest)).unwrap()).unwrap();
    manifest["x"] = json!(numbers);
    index["x"] = json!(numbers);
    index["manifests"] = json!([named(layout.manifest(manifest), "latest")]);
    fs::write(&path, index.to_string()).unwrap();
    assert_eq!(unpack_within(&layout, 32 << 10), (Some(0), String::new()));
}

/// A directory that hides what is below has a name for each of many files.
#[cfg(target_os = "linux")]
#[test]
fn an_opaque_directory_of_any_size() {
    let layout = Layout::new("opaque");
    let name = |i: u32| format!("d/{}{i:06}", "n".repeat(220));
    let mut entries: Vec<Entry> = (0..60_000).map(|i| file(&name(i), "")).collect();
    entries.push(file("d/.wh..wh..opq", ""));
    let layers = [layer(&[directory("d"), file("d/old", "")]), layer(&entries)];
    let manifest = layout.image(&layers, json!({}));
    layout.index(&[named(manifest, "latest")]);
    assert_eq!(unpack_within(&layout, 24 << 10), (Some(0), String::new()));
    assert_eq!(
        fs::read_dir(layout.rootfs().join("d")).unwrap().count(),
        60_000
    );
}

#[test]
fn sources_that_are_none() {
    let layout = small("source");
    for (image, text) in [
        (
            "/nonexistent/image",
            "cannot open image /nonexistent/image: ENOENT",
        ),
        ("/dev/null", "it is neither a directory nor a file"),
        ("/etc/passwd", "cannot read image /etc/passwd: "),
    ] {
        let run = Command::new(env!("CARGO_BIN_EXE_brig"))
            .args(["unpack", "--image", image])
            .arg(layout.out())
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(said.contains(text), "{said}");
        assert_eq!((run.status.code(), said.lines().count()), (Some(1), 1));
    }
    assert_eq!(layout.names(), ["layout"]);
}
