//! What `brig pack` writes, read by the tools to the tree that it was made of.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Case, Outcome, Result, Work, finish, missing, run, sh};
use crate::source;
use crate::tree::{self, Ignore};

/// The cases of this file.
pub const CASES: &[Case] = &[
    ("pack and unpack", by_brig),
    ("pack for skopeo", by_skopeo),
    ("pack for umoci", by_umoci),
    ("pack for umoci zstd", by_umoci_zstd),
    ("pack for containerd", by_containerd),
    ("pack for podman", by_podman),
    ("pack for buildah", by_buildah),
    ("pack archives of tar and bsdtar", from_archives),
    ("pack on the images of others", on_others),
    ("pack onto a full disk", full_disk),
];

/// An image that brig wrote: its name, and the directory that it was made of.
const IMAGES: [(&str, &str); 4] = [
    ("gzip", "first"),
    ("zstd", "first"),
    ("two", "second"),
    ("two-zstd", "second"),
];

macro_rules! needs {
    ($($tool:literal),+) => {
        if let Some(why) = missing(&[$($tool),+]) {
            return Ok(Outcome::Skipped(why));
        }
    };
}

/// The images, in a layout and each in an archive.
struct Packed {
    base: PathBuf,
}

impl Packed {
    fn get(work: &Work) -> Result<Packed> {
        let base = work.shared("packed");
        let packed = Packed { base };
        if packed.base.exists() {
            return Ok(packed);
        }
        std::fs::create_dir(&packed.base).map_err(|e| e.to_string())?;
        let first = packed.source("first");
        source::first(&first)?;
        // Something to run.
        // Tools in Go give times before 1970 that of 1970.
        sh(&first, "touch -d '2001-02-03 04:05:06.5 UTC' usr/bin/small")?;
        let program = "cp $(command -v busybox) bin/busybox; for a in sh cat echo; do ln -s busybox bin/$a; done";
        sh(&first, program)?;
        sh(&first, "mkdir becomes-file && echo x >becomes-file/inside")?;
        sh(&packed.base, "cp -a first second")?;
        source::second(&packed.source("second"))?;
        let change = "rm -r becomes-file && echo y >becomes-file";
        sh(&packed.source("second"), change)?;
        for (name, from, flags) in [
            ("gzip", "first", ""),
            ("zstd", "first", "--compress zstd"),
            ("two", "second", "--base l:gzip"),
            ("two-zstd", "second", "--base l:zstd --compress zstd"),
        ] {
            let brig = work.brig.display();
            let line = format!(
                "{brig} pack --rootfs {from} --image l:{name} --oci-archive {name}.tar {flags} \
                 --cmd 'cat /etc/passwd' --env NAME={name} --label org.example.name={name}"
            );
            sh(&packed.base, &line)?;
        }
        Ok(packed)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    fn tree(&self, name: &str) -> Result<tree::Tree> {
        tree::read(&self.source(name), Ignore::default())
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.base.join(format!("{name}.tar"))
    }

    fn layout(&self, name: &str) -> String {
        format!("{}/l:{name}", self.base.display())
    }

    /// Compares a tree with the one that an image was made of.
    fn compare(&self, from: &str, what: &str, root: &Path) -> Result<()> {
        let mut found = tree::read(root, Ignore::default())?;
        let mut wanted = self.tree(from)?;
        match what {
            "brig" | "umoci" => {}
            // They do not set the time of the root itself, ...
            _ => {
                let ignore = Ignore {
                    root: true,
                    ..Ignore::default()
                };
                wanted = tree::read(&self.source(from), ignore)?;
                found = tree::read(root, ignore)?;
            }
        }
        for line in wanted.values_mut().chain(found.values_mut()) {
            let from = match what {
                // ... and these two take names of one symbolic link apart.
                "podman" | "buildah" if line.starts_with("120") => line.find(" file="),
                _ => None,
            };
            if let Some(from) = from {
                let after = [" size=", " -> ", " mtime="].iter();
                let to = after.filter_map(|end| line[from..].find(end)).min();
                line.replace_range(from..to.map_or(line.len(), |to| from + to), "");
            }
        }
        tree::compare(("source", &wanted), (what, &found))
    }
}

fn by_brig(work: &mut Work) -> Result<Outcome> {
    needs!("getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    for (name, from) in IMAGES {
        for (i, source) in [
            packed.layout(name),
            packed.archive(name).display().to_string(),
        ]
        .iter()
        .enumerate()
        {
            let bundle = work.path(&format!("{name}-{i}"));
            work.brig(&[&"unpack", &"--image", source, &bundle]).ok()?;
            packed.compare(from, "brig", &bundle.join("rootfs"))?;
        }
    }
    Ok(Outcome::Passed)
}

fn by_skopeo(work: &mut Work) -> Result<Outcome> {
    needs!("skopeo", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    for (name, from) in IMAGES {
        let layout = format!("oci:{}", packed.layout(name));
        let archive = format!("oci-archive:{}", packed.archive(name).display());
        for source in [&layout, &archive] {
            let text = run("skopeo", &[&"inspect", source]).ok()?;
            let wanted = format!("\"org.example.name\": \"{name}\"");
            if !text.contains(&wanted) {
                return Err(format!("skopeo inspect {source}: {text}"));
            }
        }
        // To another layout and to docker's form, which brig reads in turn.
        for (to, source) in [("oci", &layout), ("docker-archive", &archive)] {
            // Docker's manifests know no zstd.
            if to == "docker-archive" && name.contains("zstd") {
                continue;
            }
            let copy = work.path(&format!("{name}.{to}"));
            let target = format!("{to}:{}:{}", copy.display(), "example.com/a:b");
            let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] =
                [&"copy", &"--quiet", &"--insecure-policy", source, &target];
            run("skopeo", &arguments).ok()?;
            let bundle = work.path(&format!("{name}.{to}.bundle"));
            work.brig(&[&"unpack", &"--image", &copy, &bundle]).ok()?;
            packed.compare(from, "brig", &bundle.join("rootfs"))?;
        }
    }
    Ok(Outcome::Passed)
}

fn umoci(work: &Work, packed: &Packed, name: &str, from: &str) -> Result<()> {
    let root = tree::by_umoci(&packed.layout(name), &work.path(name))?;
    packed.compare(from, "umoci", &root)
}

fn by_umoci(work: &mut Work) -> Result<Outcome> {
    needs!("umoci", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    umoci(work, &packed, "gzip", "first")?;
    umoci(work, &packed, "two", "second")?;
    Ok(Outcome::Passed)
}

fn by_umoci_zstd(work: &mut Work) -> Result<Outcome> {
    needs!("umoci", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    match umoci(work, &packed, "zstd", "first") {
        Err(why) if why.contains("not correct mediatype") => {
            Ok(Outcome::Skipped("this umoci reads no zstd".into()))
        }
        result => result.map(|()| Outcome::Passed),
    }
}

fn by_containerd(work: &mut Work) -> Result<Outcome> {
    needs!("containerd", "ctr", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    for (name, from) in IMAGES {
        let target = work.path(name);
        std::fs::create_dir(&target).map_err(|e| e.to_string())?;
        let image = format!("example.com/packed:{name}");
        let archive = packed.archive(name);
        let containerd = work.containerd()?;
        let import: [&dyn AsRef<std::ffi::OsStr>; 7] = [
            &"image",
            &"import",
            &"--snapshotter",
            &"native",
            &"--base-name",
            &"example.com/packed",
            &archive,
        ];
        containerd.ctr(&import).ok()?;
        let mount: [&dyn AsRef<std::ffi::OsStr>; 6] = [
            &"image",
            &"mount",
            &"--snapshotter",
            &"native",
            &image,
            &target,
        ];
        containerd.ctr(&mount).ok()?;
        let compared = packed.compare(from, "containerd", &target);
        let unmounted = containerd
            .ctr(&[&"image", &"unmount", &"--rm", &target])
            .ok();
        containerd.ctr(&[&"image", &"rm", &"--sync", &image]).ok()?;
        compared?;
        unmounted?;
    }
    Ok(Outcome::Passed)
}

/// Storage of the test's own for podman and buildah, and their configuration.
struct Engine<'a> {
    work: &'a Work,
    base: PathBuf,
}

impl Engine<'_> {
    fn new(work: &Work) -> Result<Engine<'_>> {
        let base = work.path("storage");
        std::fs::create_dir(&base).map_err(|e| e.to_string())?;
        let shown = base.display();
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [network]\nnetwork_config_dir = \"{shown}/networks\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             lock_type = \"file\"\ntmp_dir = \"{shown}/tmp\"\n"
        );
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{shown}/root\"\nrunroot = \"{shown}/run\"\n"
        );
        std::fs::write(base.join("containers.conf"), containers).map_err(|e| e.to_string())?;
        std::fs::write(base.join("storage.conf"), storage).map_err(|e| e.to_string())?;
        Ok(Engine { work, base })
    }

    /// Runs a line of sh(1) with podman and buildah in it.
    fn sh(&self, line: &str) -> Result<String> {
        let mut command = Command::new("/bin/sh");
        command.arg("-ec").arg(line).current_dir(self.work.path(""));
        command.env("CONTAINERS_CONF", self.base.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.base.join("storage.conf"));
        command.env("BUILDAH_ISOLATION", "chroot");
        Ok(finish(command).ok()?.trim().to_owned())
    }
}

fn by_podman(work: &mut Work) -> Result<Outcome> {
    needs!("podman", "conmon", "runc", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    let engine = Engine::new(work)?;
    for (name, from) in IMAGES {
        let archive = packed.archive(name);
        for line in [
            format!("podman load -q -i {}", archive.display()),
            format!("podman pull -q oci:{}", packed.layout(name)),
        ] {
            let said = engine.sh(&line)?;
            let image = said.lines().last().unwrap_or_default();
            let image = image.strip_prefix("Loaded image: ").unwrap_or(image);
            let mounted = PathBuf::from(engine.sh(&format!("podman image mount {image}"))?);
            packed.compare(from, "podman", &mounted)?;
            engine.sh(&format!("podman image umount {image}"))?;
            // The image's own command, and its environment.
            let flags = "--rm --network none";
            let out = engine.sh(&format!("podman --runtime runc run {flags} {image}"))?;
            if !out.contains("web:x:80:81") {
                return Err(format!("{line}: the image's program printed {out:?}"));
            }
            let out = engine.sh(&format!(
                "podman --runtime runc run {flags} {image} sh -c 'echo $NAME'"
            ))?;
            if out != name {
                return Err(format!("{line}: NAME is {out:?}"));
            }
            engine.sh(&format!("podman rmi -f {image}"))?;
        }
    }
    Ok(Outcome::Passed)
}

fn by_buildah(work: &mut Work) -> Result<Outcome> {
    needs!("buildah", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    let engine = Engine::new(work)?;
    for (name, from) in IMAGES {
        let archive = packed.archive(name);
        for source in [
            format!("oci:{}", packed.layout(name)),
            format!("oci-archive:{}", archive.display()),
        ] {
            let container = engine.sh(&format!("buildah from -q {source}"))?;
            let mounted = PathBuf::from(engine.sh(&format!("buildah mount {container}"))?);
            packed.compare(from, "buildah", &mounted)?;
            let out = engine.sh(&format!("buildah run {container} -- sh -c 'echo $NAME'"))?;
            if out != name {
                return Err(format!("buildah run of {source}: NAME is {out:?}"));
            }
            engine.sh(&format!("buildah rm {container}; buildah rmi -a -f"))?;
        }
    }
    Ok(Outcome::Passed)
}

/// Archives as people and FreeBSD's release scripts make them.
fn from_archives(work: &mut Work) -> Result<Outcome> {
    needs!(
        "tar", "bsdtar", "xz", "gzip", "zstd", "getfattr", "setcap", "busybox"
    );
    let packed = Packed::get(work)?;
    let all = "--xattrs --xattrs-include=* --numeric-owner";
    for (name, line) in [
        (
            "pax",
            format!("tar --format=posix {all} -cf pax -C first ."),
        ),
        (
            "sparse",
            format!("tar --format=posix -S {all} -cf sparse -C first ."),
        ),
        ("gz", format!("tar --format=posix {all} -czf gz -C first .")),
        (
            "zst",
            format!("tar --format=posix {all} --zstd -cf zst -C first ."),
        ),
        (
            "txz",
            format!("tar --format=posix {all} -cJf txz -C first ."),
        ),
        (
            "bsdtar.txz",
            "bsdtar --format=pax -cJf bsdtar.txz -C first .".into(),
        ),
    ] {
        sh(&packed.base, &line)?;
        let from = packed.source(name);
        let layout = work.path(&format!("{name}.layout"));
        let image = format!("{}:t", layout.display());
        work.brig(&[&"pack", &"--rootfs", &from, &"--image", &image])
            .ok()?;
        let bundle = work.path(&format!("{name}.bundle"));
        work.brig(&[&"unpack", &"--image", &image, &bundle]).ok()?;
        packed.compare("first", "brig", &bundle.join("rootfs"))?;
        // The directory itself differs from it in nothing.
        let same = format!("{}:same", layout.display());
        let first = packed.source("first");
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] = [
            &"pack",
            &"--rootfs",
            &first,
            &"--base",
            &image,
            &"--image",
            &same,
        ];
        let out = work.brig(&arguments).ok()?;
        if !out.ends_with(": no new layer\n") {
            return Err(format!(
                "{name}: the directory differs from its archive: {out}"
            ));
        }
    }
    Ok(Outcome::Passed)
}

/// An image of several layers that umoci, skopeo or docker's form has is a base.
fn on_others(work: &mut Work) -> Result<Outcome> {
    needs!("umoci", "skopeo", "getfattr", "setcap", "busybox");
    let packed = Packed::get(work)?;
    let base = work.path("");
    let (two, third) = (packed.layout("two"), work.path("third"));
    let copied = format!(
        "cp -a {} {}; echo more >{}/more",
        packed.source("second").display(),
        third.display(),
        third.display()
    );
    sh(&base, &copied)?;
    let wanted = tree::read(&third, Ignore::default())?;
    for (name, line, from) in [
        // umoci writes its own layer on brig's.
        (
            "umoci",
            format!(
                "cp -r {l} u; umoci unpack --image u:two b; echo 1 >b/rootfs/layer; \
                 umoci repack --image u:two b; rm b/rootfs/layer; umoci repack --image u:two b",
                l = two.trim_end_matches(":two")
            ),
            "u:two",
        ),
        (
            "docker",
            format!("skopeo copy -q --insecure-policy oci:{two} docker-archive:d.tar:a.b/c:two"),
            "d.tar:a.b/c:two",
        ),
        (
            "schema 2",
            format!(
                "skopeo copy -q --insecure-policy --dest-decompress oci:{two} oci-archive:p.tar:two"
            ),
            "p.tar",
        ),
    ] {
        sh(&base, &line)?;
        let brig = work.brig.display();
        let out = sh(
            &base,
            &format!("{brig} pack --rootfs third --base {from} --image out:{name}")
                .replace("schema 2", "plain"),
        )?;
        let name = name.replace("schema 2", "plain");
        // The root's own entry, whose time has changed, and the file.
        if !out.contains(": 2 entries") {
            return Err(format!("{name}: the difference is {out}"));
        }
        let image = format!("{}:{name}", work.path("out").display());
        let bundle = work.path(&format!("{name}.bundle"));
        work.brig(&[&"unpack", &"--image", &image, &bundle]).ok()?;
        let found = tree::read(&bundle.join("rootfs"), Ignore::default())?;
        tree::compare(("source", &wanted), (&name, &found))?;
        let root = tree::by_umoci(&image, &work.path(&format!("{name}.umoci")))?;
        let found = tree::read(&root, Ignore::default())?;
        tree::compare(("source", &wanted), ("umoci", &found))?;
    }
    Ok(Outcome::Passed)
}

/// A small file system of its own for a case.
struct Small(PathBuf);

impl Small {
    fn mount(work: &Work, options: &str) -> Result<Small> {
        let path = work.path("small");
        std::fs::create_dir(&path).map_err(|e| e.to_string())?;
        run(
            "mount",
            &[&"-t", &"tmpfs", &"-o", &options, &"tmpfs", &path],
        )
        .ok()?;
        Ok(Small(path))
    }

    fn names(&self) -> Result<String> {
        sh(&self.0, "find . | sort")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = run("umount", &[&self.0]);
    }
}

fn full_disk(work: &mut Work) -> Result<Outcome> {
    needs!("mount", "umount");
    let root = work.path("root");
    std::fs::create_dir(&root).map_err(|e| e.to_string())?;
    let small = Small::mount(work, "size=2m")?;
    sh(&root, "echo x >file")?;
    let at = |name: &str| format!("{}/{name}", small.0.display());
    work.brig(&[&"pack", &"--rootfs", &root, &"--image", &at("there:one")])
        .ok()?;
    let before = small.names()?;
    sh(
        &root,
        "head -c 8000000 /dev/urandom >large; gzip -1 <large >large.gz; tar -czf ../root.tgz .",
    )?;
    for (flag, target) in [
        ("--image", "there:two"),
        ("--image", "new:two"),
        ("--oci-archive", "archive"),
    ] {
        let target = at(target);
        let failed = work.brig(&[&"pack", &"--rootfs", &root, &flag, &target]);
        let told = failed.err.lines().count() == 1 && failed.err.trim_end().ends_with(": ENOSPC");
        if failed.status != 1 || !told {
            return Err(format!("{}: {} {}", failed.line, failed.status, failed.err));
        }
        let after = small.names()?;
        if after != before {
            return Err(format!("{}: left {after}, where {before} was", failed.line));
        }
    }
    // The place for a decompressed archive is full.
    let mut command = Command::new(&work.brig);
    command.env("TMPDIR", &small.0).args(["pack", "--rootfs"]);
    command
        .arg(work.path("root.tgz"))
        .arg("--image")
        .arg(work.path("out:t"));
    let failed = finish(command);
    if failed.status != 1 || !failed.err.trim_end().ends_with("ENOSPC") {
        return Err(format!("{}: {} {}", failed.line, failed.status, failed.err));
    }
    if small.names()? != before || work.path("out").exists() {
        return Err("something is left".into());
    }
    Ok(Outcome::Passed)
}
