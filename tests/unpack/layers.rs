//! Layers of each kind.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Value, json};

use crate::builder::*;

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn image(name: &str, layers: &[Layer], config: Value) -> Layout {
    let layout = Layout::new(name);
    let manifest = layout.image(layers, config);
    layout.index(&[named(manifest, "latest")]);
    layout
}

#[test]
fn compressions_and_media_types() {
    let bytes = |i: usize| archive(&[file(&format!("file{i}"), i.to_string())]);
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    type Packed = fn(&[u8]) -> Vec<u8>;
    let kinds: [(&str, Packed); 8] = [
        (LAYER, <[u8]>::to_vec),
        ("application/vnd.oci.image.layer.v1.tar+gzip", gzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", zstd),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            gzip,
        ),
        (docker, <[u8]>::to_vec),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", zstd),
        // What is wrong about a compression is put right by the first bytes.
        (LAYER, gzip),
    ];
    let layers: Vec<Layer> = kinds
        .iter()
        .enumerate()
        .map(|(i, (media_type, pack))| (media_type.to_string(), pack(&bytes(i)), sha256(&bytes(i))))
        .collect();
    let layout = image("kinds", &layers, json!({}));
    let run = layout.good();
    for i in 0..layers.len() {
        let content = fs::read_to_string(layout.rootfs().join(format!("file{i}"))).unwrap();
        assert_eq!(content, i.to_string());
    }
    assert!(
        run.out.starts_with("layer 1 of 8: 1 entries, 1 B\n"),
        "{}",
        run.out
    );
    assert!(
        run.out
            .lines()
            .last()
            .unwrap()
            .contains("linux/amd64, 8 entries, 8 B in")
    );
    assert_eq!(run.err, "");
}

#[test]
fn digests_of_sha512() {
    let mut layout = Layout::new("sha512");
    layout.digest = sha512;
    let bytes = archive(&[file("a", "a")]);
    let layers = [(format!("{LAYER}+gzip"), gzip(&bytes), sha512(&bytes))];
    let manifest = layout.image(&layers, json!({}));
    layout.index(&[named(manifest, "latest")]);
    layout.good();
    let digest = layout.first_layer()["digest"].as_str().unwrap().to_owned();
    assert!(digest.starts_with("sha512:"));
    fs::remove_dir_all(layout.out()).unwrap();
    let mut bytes = fs::read(layout.blob(&digest)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(layout.blob(&digest), &bytes).unwrap();
    layout.wrong(
        &[],
        &format!("layer {digest} is damaged: its digest is sha512:"),
    );
}

#[test]
fn an_archive_of_a_layout_and_one_of_docker() {
    let layout = Layout::of("archive", &[file("a", "a")]);
    let tar = |files: &[(&str, Vec<u8>)]| {
        let entries: Vec<Entry> = files.iter().map(|(name, data)| file(name, data)).collect();
        archive(&entries)
    };
    let mut files = Vec::new();
    for name in ["index.json", "oci-layout"] {
        files.push((name.to_owned(), fs::read(layout.path().join(name)).unwrap()));
    }
    for entry in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("blobs/sha256/{}", entry.file_name().to_str().unwrap());
        files.push((name, fs::read(entry.path()).unwrap()));
    }
    let members: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(n, d)| (n.as_str(), d.clone())).collect();
    let oci = tar(&members);
    let bytes = archive(&[file("a", "a")]);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(&bytes)]}});
    let manifest =
        json!([{"Config": "c.json", "RepoTags": ["example/x:1"], "Layers": ["l/layer.tar"]}]);
    let docker = tar(&[
        ("manifest.json", manifest.to_string().into_bytes()),
        ("c.json", config.to_string().into_bytes()),
        ("l/layer.tar", bytes),
    ]);
    for (name, bytes, reference) in [
        ("oci.tar", &oci, "latest"),
        ("oci.tar.gz", &gzip(&oci), "latest"),
        ("docker.tar", &docker, "example/x:1"),
        ("docker-short.tar", &docker, "1"),
    ] {
        let path = layout.base.join(name);
        fs::write(&path, bytes).unwrap();
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_brig"))
            .arg("unpack")
            .arg("--image")
            .arg(format!("{}:{reference}", path.display()))
            .arg(layout.out())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        assert_eq!(fs::read(layout.rootfs().join("a")).unwrap(), b"a");
        fs::remove_dir_all(layout.out()).unwrap();
    }
}

#[test]
fn links_modes_owners_and_times() {
    let owner = |entry: Entry, uid, gid| if root() { entry.owner(uid, gid) } else { entry };
    let entries = [
        directory(".").mode(0o711),
        owner(directory("dir").mode(0o1775), 7, 8).pax("mtime", "1234567890.5"),
        owner(file("dir/setuid", "x").mode(0o4755), 9, 10).pax("mtime", "-1.25"),
        hard_link("linked", "dir/setuid"),
        owner(symlink("link", "dir/setuid"), 11, 12).pax("mtime", "99.000000001"),
        special("fifo", b'6', (0, 0)).mode(0o2640),
        file("none", "").mode(0),
        file("after", "z")
            .pax("mtime", "5.123456789")
            .pax("atime", "6.5"),
    ];
    let layout = Layout::of("modes", &entries);
    layout.good();
    let at = |name: &str| layout.rootfs().join(name).symlink_metadata().unwrap();
    let mode = |name: &str| at(name).mode() & 0o7777;
    assert_eq!(mode(""), 0o711);
    assert_eq!((mode("dir"), mode("dir/setuid")), (0o1775, 0o4755));
    assert_eq!((mode("fifo"), mode("none")), (0o2640, 0));
    assert!(at("fifo").file_type().is_fifo());
    assert_eq!(at("linked").ino(), at("dir/setuid").ino());
    let time = |name: &str| (at(name).mtime(), at(name).mtime_nsec());
    assert_eq!(time("dir"), (1_234_567_890, 500_000_000));
    assert_eq!(time("dir/setuid"), (-2, 750_000_000));
    assert_eq!(time("link"), (99, 1));
    assert_eq!(time("after"), (5, 123_456_789));
    assert_eq!(time(""), (1_000_000_000, 0));
    assert_eq!(
        (at("after").atime(), at("after").atime_nsec()),
        (6, 500_000_000)
    );
    if root() {
        let owner = |name: &str| (at(name).uid(), at(name).gid());
        assert_eq!(owner("dir"), (7, 8));
        assert_eq!(owner("dir/setuid"), (9, 10));
        assert_eq!(owner("link"), (11, 12));
    }
}

#[test]
fn devices() {
    assert!(root(), "devices are made by root");
    let entries = [
        special("null", b'3', (1, 3)).mode(0o666),
        special("disk", b'4', (7, 200)),
    ];
    let layout = Layout::of("devices", &entries);
    layout.good();
    let at = |name: &str| layout.rootfs().join(name).symlink_metadata().unwrap();
    assert!(
        at("null").file_type().is_char_device() && at("disk").file_type().is_block_device()
            || cfg!(target_os = "freebsd")
    );
    assert_eq!(at("null").rdev() as libc::dev_t, libc::makedev(1, 3));
    assert_eq!(at("disk").rdev() as libc::dev_t, libc::makedev(7, 200));
    assert_eq!(at("null").mode() & 0o7777, 0o666);
}

#[test]
fn long_names_in_both_forms() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let target = "t/".repeat(90);
    let entries = [
        file(&long, "gnu"),
        symlink("gnu", &target),
        file("short", "pax").pax("path", "p".repeat(180)),
        symlink("pax", "short").pax("linkpath", &target),
        file("umlaut", "x").pax("path", "\u{fc}"),
        hard_link("hard", "short").pax("linkpath", &long),
    ];
    let layout = Layout::of("names", &entries);
    layout.good();
    let at = |name: &str| layout.rootfs().join(name);
    assert_eq!(fs::read(at(&long)).unwrap(), b"gnu");
    assert_eq!(fs::read(at(&"p".repeat(180))).unwrap(), b"pax");
    for name in ["gnu", "pax"] {
        assert_eq!(fs::read_link(at(name)).unwrap().to_str().unwrap(), target);
    }
    assert!(at("\u{fc}").exists() && !at("short").exists());
    assert_eq!(fs::read(at("hard")).unwrap(), b"gnu");
}

#[test]
fn sparse_files_in_each_form() {
    // Two pieces: "abc" at 4096, "de" at the end of 1,000,000 bytes.
    let map = "4096,3,999998,2";
    let gnu = |entry: Entry| {
        entry
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
    };
    let mut data = b"2\n4096\n3\n999998\n2\n".to_vec();
    data.resize(512, 0);
    data.extend(b"abcde");
    let pax1 = gnu(file("x", data))
        .pax("GNU.sparse.name", "pax1.0")
        .pax("GNU.sparse.realsize", "1000000");
    let pax01 = file("pax0.1", "abcde")
        .pax("GNU.sparse.size", "1000000")
        .pax("GNU.sparse.numblocks", "2")
        .pax("GNU.sparse.map", map);
    let mut pax00 = file("pax0.0", "abcde").pax("GNU.sparse.size", "1000000");
    for (offset, length) in [("4096", "3"), ("999998", "2")] {
        pax00 = pax00
            .pax("GNU.sparse.offset", offset)
            .pax("GNU.sparse.numbytes", length);
    }
    let mut bytes = Vec::new();
    for entry in [&pax1, &pax01, &pax00] {
        let mut part = archive(std::slice::from_ref(entry));
        part.truncate(part.len() - 1024);
        bytes.extend(part);
    }
    // GNU's old form: pieces in the header, and in a block behind it.
    let mut header = [0_u8; 512];
    let mut old = Vec::new();
    block(
        &mut old,
        &Entry {
            data: b"abcde".to_vec(),
            kind: b'S',
            ..file("gnu", "")
        },
    );
    header.copy_from_slice(&old[..512]);
    header[257..265].copy_from_slice(b"ustar  \0");
    header[329..345].fill(0);
    header[386..].fill(0);
    header[386..397].copy_from_slice(b"00000010000");
    header[398..409].copy_from_slice(b"00000000003");
    header[482] = 1;
    header[483..494].copy_from_slice(b"00003641100");
    seal(&mut header);
    let mut more = [0_u8; 512];
    more[..11].copy_from_slice(format!("{:011o}", 999_998).as_bytes());
    more[12..23].copy_from_slice(b"00000000002");
    bytes.extend(header);
    bytes.extend(more);
    bytes.extend(&old[512..]);
    bytes.resize(bytes.len() + 1024, 0);
    let diff_id = sha256(&bytes);
    let layout = image("sparse", &[(LAYER.into(), bytes, diff_id)], json!({}));
    layout.good();
    let mut wanted = vec![0_u8; 1_000_000];
    wanted[4096..4099].copy_from_slice(b"abc");
    wanted[999_998..].copy_from_slice(b"de");
    for name in ["pax1.0", "pax0.1", "pax0.0", "gnu"] {
        let path = layout.rootfs().join(name);
        assert!(fs::read(&path).unwrap() == wanted, "{name}");
        assert!(
            path.metadata().unwrap().blocks() * 512 < 500_000,
            "{name} has no holes"
        );
    }
    assert!(!layout.rootfs().join("x").exists());
}

#[test]
fn whiteouts() {
    let first = [
        directory("a"),
        file("a/one", "1"),
        file("a/two", "2"),
        directory("a/sub"),
        file("a/sub/deep", "3"),
        directory("o"),
        file("o/old", "4"),
        directory("o/sub"),
        file("o/sub/old", "5"),
        file("kept", "6"),
        file("both", "old"),
        directory("was-directory"),
        file("was-directory/inside", "7"),
        file("was-file", "8"),
    ];
    let second = [
        file("a/.wh.one", ""),
        file("a/.wh.sub", ""),
        file("o/sub/new", "9"),
        // After what the layer itself has there: it hides the layers below only.
        file("o/.wh..wh..opq", ""),
        file("o/new", "10"),
        file(".wh.missing", ""),
        file("both", "new"),
        file(".wh.both", ""),
        file("was-directory", "file"),
        // umoci hides what was in a directory that is one no more.
        file("was-directory/.wh.inside", ""),
        directory("was-file"),
        file("was-file/inside", "11"),
        file(".wh..wh.plnk", ""),
    ];
    let layout = image("whiteouts", &[layer(&first), layer(&second)], json!({}));
    layout.good();
    let mut found = Vec::new();
    let mut left = vec![layout.rootfs()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry
                .path()
                .strip_prefix(layout.rootfs())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
                found.push(format!("{name}/"));
            } else {
                found.push(format!(
                    "{name}={}",
                    fs::read_to_string(entry.path()).unwrap()
                ));
            }
        }
    }
    found.sort();
    let wanted = [
        "a/",
        "a/two=2",
        "both=new",
        "kept=6",
        "o/",
        "o/new=10",
        "o/sub/",
        "o/sub/new=9",
        "was-directory=file",
        "was-file/",
        "was-file/inside=11",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_whiteout_of_the_first_layer_hides_nothing() {
    let layout = Layout::of("first", &[file(".wh.a", ""), file("a", "a")]);
    layout.good();
    assert_eq!(fs::read_dir(layout.rootfs()).unwrap().count(), 1);
}

#[test]
fn a_directory_keeps_its_time_when_a_later_layer_writes_into_it() {
    let first = [directory("d").pax("mtime", "100.5")];
    let second = [file("d/x", "x")];
    let layout = image("times", &[layer(&first), layer(&second)], json!({}));
    layout.good();
    let time = layout.rootfs().join("d").metadata().unwrap();
    assert_eq!((time.mtime(), time.mtime_nsec()), (100, 500_000_000));
}

#[test]
fn nested_indexes_and_platforms() {
    let layout = Layout::new("nested");
    let one = |text: &str| [layer(&[file("which", text)])];
    let host = layout.image(&one("linux/amd64"), json!({}));
    let arm = layout.image_for("linux", "arm64", &one("linux/arm64"), json!({}));
    let jail = layout.image_for("freebsd", "amd64", &one("freebsd/amd64"), json!({}));
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        on(arm, "linux", "arm64"), on(host, "linux", "amd64"),
        // What a builder notes beside an image.
        on(layout.put(MANIFEST, b"{}"), "unknown", "unknown"),
    ]});
    let inner = layout.put(INDEX, inner.to_string().as_bytes());
    let outer = json!({"schemaVersion": 2, "manifests": [on(jail, "freebsd", "amd64"), inner]});
    let outer = layout.put(INDEX, outer.to_string().as_bytes());
    layout.index(&[named(outer, "latest")]);
    for platform in [
        "linux/amd64",
        "linux/arm64",
        "linux/aarch64",
        "freebsd/amd64",
    ] {
        let run = layout.unpack(&["--platform", platform]);
        assert_eq!(run.status, Some(0), "{platform}: {}", run.err);
        let which = fs::read_to_string(layout.rootfs().join("which")).unwrap();
        assert_eq!(which, platform.replace("aarch64", "arm64"));
        let config = fs::read_to_string(layout.out().join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        let is_jail = platform.starts_with("freebsd") || cfg!(target_os = "freebsd");
        assert_eq!(config.get("freebsd").is_some(), is_jail);
        fs::remove_dir_all(layout.out()).unwrap();
    }
}

#[test]
fn what_a_layout_holds() {
    let layout = Layout::new("ls");
    let one = layout.image(&[layer(&[file("a", "a")])], json!({"Cmd": ["sh"]}));
    let digest = one["digest"].as_str().unwrap().to_owned();
    let absent = on(
        json!({"mediaType": MANIFEST, "digest": sha256(b"x"), "size": 1}),
        "linux",
        "arm64",
    );
    let index = json!({"schemaVersion": 2, "manifests": [on(one, "linux", "amd64"), absent]});
    let index = layout.put(INDEX, index.to_string().as_bytes());
    layout.index(&[named(index, "v1")]);
    let brig = |arguments: &[&str]| {
        let path = layout.path();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_brig"))
            .arg("image")
            .args(arguments)
            .arg(format!("{}:v1", path.display()))
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let table = brig(&["ls"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("NAME   PLATFORM      LAYERS   SIZE"),
        "{table}"
    );
    assert!(
        lines[1].starts_with("v1     linux/amd64   1        2.0 KiB")
            && lines[1].ends_with(&digest),
        "{table}"
    );
    assert!(
        lines[2].starts_with("v1     linux/arm64   -        -"),
        "{table}"
    );
    let json: Value = serde_json::from_str(&brig(&["ls", "--format", "json"])).unwrap();
    assert_eq!(json[0]["digest"], digest);
    assert!(
        json[1]["error"]
            .as_str()
            .unwrap()
            .contains("lacks the manifest")
    );
    let json: Value = serde_json::from_str(&brig(&["inspect"])).unwrap();
    assert_eq!(json[0]["config"]["config"]["Cmd"], json!(["sh"]));
    assert_eq!(json[0]["manifest"]["schemaVersion"], 2);
}

#[test]
fn attributes_of_each_writer() {
    let entries = [
        file("schily", "x").pax("SCHILY.xattr.user.a", "1\n2"),
        file("libarchive", "x").pax("LIBARCHIVE.xattr.user.b", "aGVsbG8="),
        directory("directory").pax("SCHILY.xattr.user.c", "3"),
        file("foreign", "x").pax("SCHILY.xattr.trusted.overlay.opaque", "y"),
    ];
    let layout = Layout::of("attributes", &entries);
    let run = layout.good();
    let warning = "brig: warning: extended attributes other than user.* are left out, the first is \
        \"trusted.overlay.opaque\"\n";
    assert_eq!(run.err, warning);
    let read = |name: &str, attribute: &str| {
        let path = layout.rootfs().join(name);
        let output = if cfg!(target_os = "freebsd") {
            std::process::Command::new("getextattr")
                .args(["-q", "user", attribute])
                .arg(path)
                .output()
        } else {
            std::process::Command::new("getfattr")
                .args([
                    "--only-values",
                    "--absolute-names",
                    "-n",
                    &format!("user.{attribute}"),
                ])
                .arg(path)
                .output()
        };
        let output = output.expect("getfattr of Debian's package attr, or getextattr");
        String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned()
    };
    assert_eq!(read("schily", "a"), "1\n2");
    assert_eq!(read("libarchive", "b"), "hello");
    assert_eq!(read("directory", "c"), "3");
}
