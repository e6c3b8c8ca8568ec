//! What the tools write, unpacked by brig to the same tree as by umoci and by
//! containerd; and images that run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{Case, Outcome, Result, Work, missing, run, sh};
use crate::tree::{self, Ignore};
use crate::{common, source};

/// The cases of this file.
pub const CASES: &[Case] = &[
    ("unpack umoci layout", umoci_layout),
    ("unpack skopeo oci-archive", skopeo_oci_archive),
    ("unpack skopeo docker-archive", skopeo_docker_archive),
    ("unpack skopeo zstd", skopeo_zstd),
    ("unpack skopeo uncompressed", skopeo_uncompressed),
    ("unpack buildah oci", buildah_oci),
    ("unpack buildah docker-archive", buildah_docker),
    ("unpack podman save oci-archive", podman_oci_archive),
    ("unpack podman save docker-archive", podman_docker_archive),
    ("unpack containerd export", containerd_export),
    ("unpack GNU tar formats", tar_formats),
    ("unpack bsdtar layer", bsdtar_layer),
    ("run an image", run_image),
    ("run an image that is interrupted", run_interrupted),
    ("run an image that is killed", run_killed),
];

/// The layout `two` of two layers, written by umoci.
fn two(work: &Work) -> Result<PathBuf> {
    let layout = work.shared("two");
    if layout.exists() {
        return Ok(layout);
    }
    // It gets its name when it is whole.
    let made = work.path("made");
    let image = format!("{}:latest", made.display());
    run("umoci", &[&"init", &"--layout", &made]).ok()?;
    run("umoci", &[&"new", &"--image", &image]).ok()?;
    for (name, change) in [
        ("first", source::first as fn(&Path) -> Result<()>),
        ("second", source::second),
    ] {
        let bundle = work.path(name);
        run("umoci", &[&"unpack", &"--image", &image, &bundle]).ok()?;
        change(&bundle.join("rootfs"))?;
        run("umoci", &[&"repack", &"--image", &image, &bundle]).ok()?;
    }
    run(
        "umoci",
        &[
            &"config",
            &"--image",
            &image,
            &"--config.cmd",
            &"/bin/program",
        ],
    )
    .ok()?;
    std::fs::rename(&made, &layout).map_err(|e| e.to_string())?;
    Ok(layout)
}

/// Compares what brig makes of `source` with what umoci makes of the layout, and
/// containerd of the archive.
fn compare(work: &mut Work, source: &str, layout: &str, archive: Option<&Path>) -> Result<Outcome> {
    let bundle = work.path("brig");
    work.brig(&[&"unpack", &"--image", &source, &bundle]).ok()?;
    let rootfs = bundle.join("rootfs");
    // An image need not say what the root's time is.
    let ignore = Ignore {
        root: true,
        ..Ignore::default()
    };
    let mut ours = tree::read(&rootfs, ignore)?;
    if ours.len() < 60 {
        return Err(format!("only {} paths were made", ours.len()));
    }
    let theirs = tree::by_umoci(layout, &work.path("umoci"))?;
    tree::compare(("brig", &ours), ("umoci", &tree::read(&theirs, ignore)?))?;
    let Some(archive) = archive else {
        return Ok(Outcome::Passed);
    };
    let target = work.path("mounted");
    std::fs::create_dir(&target).map_err(|e| e.to_string())?;
    let name = "example.com/test:latest";
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.map_err(|e| e.to_string())?.as_secs() as i64;
    let containerd = work.containerd()?;
    let import: [&dyn AsRef<std::ffi::OsStr>; 8] = [
        &"image",
        &"import",
        &"--snapshotter",
        &"native",
        &"--base-name",
        &"example.com/test",
        &"--digests",
        &archive,
    ];
    let imported = containerd.ctr(&import).ok()?;
    // An archive of docker has a name of its own.
    let listed = containerd.ctr(&[&"image", &"ls", &"-q"]).ok()?;
    let name = listed
        .lines()
        .find(|line| *line == name)
        .or_else(|| listed.lines().find(|line| !line.contains("@sha256")))
        .or_else(|| listed.lines().next())
        .ok_or(format!("ctr import names no image: {imported}{listed}"))?;
    containerd
        .ctr(&[
            &"image",
            &"mount",
            &"--snapshotter",
            &"native",
            &name,
            &target,
        ])
        .ok()?;
    let found = tree::read(&target, ignore);
    let unmounted = containerd
        .ctr(&[&"image", &"unmount", &"--rm", &target])
        .ok();
    for line in listed.lines() {
        containerd.ctr(&[&"image", &"rm", &"--sync", &line]).ok()?;
    }
    unmounted?;
    let mut found = found?;
    tree::forget_fresh(&mut ours, &mut found, since);
    tree::compare(("brig", &ours), ("containerd", &found))?;
    Ok(Outcome::Passed)
}

/// Says that tools are not there, and otherwise does the work.
macro_rules! needs {
    ($($tool:literal),+) => {
        if let Some(why) = missing(&[$($tool),+]) {
            return Ok(Outcome::Skipped(why));
        }
    };
}

fn layout_archive(work: &Work, layout: &Path) -> Result<PathBuf> {
    let archive = work.path("layout.tar");
    run("tar", &[&"-C", &layout, &"-cf", &archive, &"."]).ok()?;
    Ok(archive)
}

fn umoci_layout(work: &mut Work) -> Result<Outcome> {
    needs!("umoci", "containerd", "ctr", "getfattr", "setcap");
    let layout = two(work)?;
    let archive = layout_archive(work, &layout)?;
    let image = format!("{}:latest", layout.display());
    compare(work, &image, &image, Some(&archive))
}

/// Has skopeo copy the layout to another form, for all three to read.
fn skopeo(work: &mut Work, arguments: &[&str], to: &str, is_file: bool) -> Result<Outcome> {
    needs!("umoci", "skopeo", "containerd", "ctr", "getfattr", "setcap");
    let layout = two(work)?;
    let path = work.path("copy");
    let from = format!("oci:{}:latest", layout.display());
    let name = if to == "docker-archive" {
        "example.com/test:latest"
    } else {
        "latest"
    };
    let target = format!("{to}:{}:{name}", path.display());
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"copy", &"--insecure-policy", &"--quiet"];
    all.extend(arguments.iter().map(|a| a as &dyn AsRef<std::ffi::OsStr>));
    all.extend([&from as &dyn AsRef<std::ffi::OsStr>, &target]);
    run("skopeo", &all).ok()?;
    let source = format!("{}:{name}", path.display());
    let archive = if is_file {
        path
    } else {
        layout_archive(work, &path)?
    };
    let image = format!("{}:latest", layout.display());
    compare(work, &source, &image, Some(&archive))
}

fn skopeo_oci_archive(work: &mut Work) -> Result<Outcome> {
    skopeo(work, &[], "oci-archive", true)
}

fn skopeo_docker_archive(work: &mut Work) -> Result<Outcome> {
    skopeo(work, &[], "docker-archive", true)
}

fn skopeo_zstd(work: &mut Work) -> Result<Outcome> {
    skopeo(work, &["--dest-compress-format", "zstd"], "oci", false)
}

fn skopeo_uncompressed(work: &mut Work) -> Result<Outcome> {
    skopeo(work, &["--dest-decompress"], "oci", false)
}

/// Storage of the test's own for podman and buildah.
fn storage(work: &Work) -> String {
    let base = work.shared("storage");
    let shown = base.display();
    format!("--root {shown}/root --runroot {shown}/run --storage-driver vfs")
}

/// An image that buildah built of the same two steps, in podman's storage.
fn built(work: &Work) -> Result<&'static str> {
    if work.shared("storage").exists() {
        return Ok("localhost/test:latest");
    }
    let storage = storage(work);
    let base = work.path("build");
    std::fs::create_dir(&base).map_err(|e| e.to_string())?;
    let mut from = "scratch".to_owned();
    for (step, change) in [
        ("first", source::first as fn(&Path) -> Result<()>),
        ("test", source::second),
    ] {
        let buildah = |line: &str| sh(&base, &format!("buildah {storage} {line}"));
        let container = buildah(&format!("from --pull-never {from}"))?;
        let container = container.trim();
        let mounted = PathBuf::from(buildah(&format!("mount {container}"))?.trim());
        if step == "first" {
            std::fs::remove_dir(&mounted).map_err(|e| e.to_string())?;
        }
        change(&mounted)?;
        from = format!("localhost/{step}:latest");
        buildah(&format!("commit -q --rm {container} {from}"))?;
    }
    Ok("localhost/test:latest")
}

/// Has buildah or podman write the image to a file or directory.
fn saved(work: &mut Work, line: &str, is_file: bool, name: &str) -> Result<Outcome> {
    needs!(
        "buildah",
        "podman",
        "skopeo",
        "umoci",
        "containerd",
        "ctr",
        "getfattr",
        "setcap"
    );
    built(work)?;
    let path = work.path("saved");
    let line = line
        .replace("STORAGE", &storage(work))
        .replace("PATH", path.to_str().unwrap_or_default());
    sh(&work.path(""), &line)?;
    let kind = match (is_file, line.contains("docker-archive")) {
        (_, true) => "docker-archive",
        (true, _) => "oci-archive",
        (false, _) => "oci",
    };
    // umoci reads directories only.
    let (from, layout) = (path.display(), work.path("layout"));
    let copy = format!(
        "skopeo copy -q --insecure-policy {kind}:{from}:{name} oci:{}:latest",
        layout.display()
    );
    sh(&work.path(""), &copy)?;
    let archive = if is_file {
        path.clone()
    } else {
        layout_archive(work, &path)?
    };
    let source = format!("{}:{name}", path.display());
    compare(
        work,
        &source,
        &format!("{}:latest", layout.display()),
        Some(&archive),
    )
}

fn buildah_oci(work: &mut Work) -> Result<Outcome> {
    let line = "buildah STORAGE push -q localhost/test:latest oci:PATH:latest";
    saved(work, line, false, "latest")
}

fn buildah_docker(work: &mut Work) -> Result<Outcome> {
    let line =
        "buildah STORAGE push -q localhost/test:latest docker-archive:PATH:example.com/test:latest";
    saved(work, line, true, "example.com/test:latest")
}

fn podman_oci_archive(work: &mut Work) -> Result<Outcome> {
    let line = "podman STORAGE save -q --format oci-archive -o PATH localhost/test:latest";
    saved(work, line, true, "localhost/test:latest")
}

fn podman_docker_archive(work: &mut Work) -> Result<Outcome> {
    let line = "podman STORAGE save -q --format docker-archive -o PATH localhost/test:latest";
    saved(work, line, true, "localhost/test:latest")
}

fn containerd_export(work: &mut Work) -> Result<Outcome> {
    needs!("umoci", "containerd", "ctr", "getfattr", "setcap");
    let layout = two(work)?;
    let archive = layout_archive(work, &layout)?;
    let exported = work.path("exported.tar");
    let name = "example.com/export:latest";
    let containerd = work.containerd()?;
    let import: [&dyn AsRef<std::ffi::OsStr>; 7] = [
        &"image",
        &"import",
        &"--snapshotter",
        &"native",
        &"--base-name",
        &"example.com/export",
        &archive,
    ];
    containerd.ctr(&import).ok()?;
    containerd
        .ctr(&[&"image", &"export", &exported, &name])
        .ok()?;
    containerd.ctr(&[&"image", &"rm", &"--sync", &name]).ok()?;
    let source = format!("{}:{name}", exported.display());
    compare(
        work,
        &source,
        &format!("{}:latest", layout.display()),
        Some(&exported),
    )
}

/// Puts an archive as the only layer into a new layout.
fn layout_of(work: &Work, name: &str, archive: &Path) -> Result<PathBuf> {
    let layout = work.path(name);
    let bytes = std::fs::read(archive).map_err(|e| e.to_string())?;
    common::write_layout(&layout, &bytes).map_err(|e| e.to_string())?;
    Ok(layout)
}

/// Archives in every format that GNU tar writes give the same tree as the
/// directory that they were made of, as far as the format can say it.
fn tar_formats(work: &mut Work) -> Result<Outcome> {
    needs!("tar", "getfattr", "setcap");
    let root = work.path("source");
    source::first(&root)?;
    for (name, flags, ignore, attributes) in [
        ("gnu", "--format=gnu", true, false),
        ("gnu-sparse", "--format=gnu -S", true, false),
        ("oldgnu-sparse", "--format=oldgnu -S", true, false),
        (
            "posix",
            "--format=posix --xattrs --xattrs-include=*",
            false,
            true,
        ),
        (
            "posix-0.0",
            "--format=posix -S --sparse-version=0.0 --xattrs --xattrs-include=*",
            false,
            true,
        ),
        (
            "posix-0.1",
            "--format=posix -S --sparse-version=0.1 --xattrs --xattrs-include=*",
            false,
            true,
        ),
        (
            "posix-1.0",
            "--format=posix -S --sparse-version=1.0 --xattrs --xattrs-include=*",
            false,
            true,
        ),
    ] {
        let archive = work.path(&format!("{name}.tar"));
        let line = format!(
            "tar {flags} --numeric-owner -cf {} -C {} .",
            archive.display(),
            root.display()
        );
        sh(&work.path(""), &line)?;
        let layout = layout_of(work, name, &archive)?;
        let bundle = work.path(&format!("{name}.bundle"));
        work.brig(&[&"unpack", &"--image", &layout, &bundle]).ok()?;
        let ignore = Ignore {
            nanoseconds: ignore,
            ..Ignore::default()
        };
        let (mut wanted, mut found) = (
            tree::read(&root, ignore)?,
            tree::read(&bundle.join("rootfs"), ignore)?,
        );
        if !attributes {
            for all in [&mut wanted, &mut found] {
                for line in all.values_mut() {
                    let end = line
                        .find(" user.")
                        .or(line.find(" security."))
                        .unwrap_or(line.len());
                    line.truncate(end);
                }
            }
        }
        tree::compare(("source", &wanted), (name, &found))?;
    }
    Ok(Outcome::Passed)
}

fn bsdtar_layer(work: &mut Work) -> Result<Outcome> {
    needs!("bsdtar", "getfattr", "setcap");
    let root = work.path("source");
    source::first(&root)?;
    // libarchive writes a fraction before 1970 in a way of its own.
    sh(&root, "touch -d '1969-12-31 23:59:58 UTC' usr/bin/small")?;
    let archive = work.path("bsdtar.tar");
    run(
        "bsdtar",
        &[&"--format=pax", &"-cf", &archive, &"-C", &root, &"."],
    )
    .ok()?;
    let layout = layout_of(work, "layout", &archive)?;
    let bundle = work.path("bundle");
    work.brig(&[&"unpack", &"--image", &layout, &bundle]).ok()?;
    let ignore = Ignore::default();
    let (wanted, found) = (
        tree::read(&root, ignore)?,
        tree::read(&bundle.join("rootfs"), ignore)?,
    );
    tree::compare(("source", &wanted), ("bsdtar", &found))?;
    Ok(Outcome::Passed)
}

/// A layout with busybox, which sleeps when nothing else is asked for.
fn busybox(work: &Work) -> Result<PathBuf> {
    let layout = work.shared("busybox");
    if layout.exists() {
        return Ok(layout);
    }
    let root = work.path("busybox-root");
    std::fs::create_dir(&root).map_err(|e| e.to_string())?;
    sh(
        &root,
        "mkdir bin etc tmp; cp $(command -v busybox) bin/busybox; for a in sh sleep id echo; do ln -s busybox bin/$a; done; \
         echo root:x:0:0::/:/bin/sh >etc/passwd; tar -cf ../busybox.tar .",
    )?;
    let archive = work.path("busybox.tar");
    let bytes = std::fs::read(&archive).map_err(|e| e.to_string())?;
    common::write_layout(&layout, &bytes).map_err(|e| e.to_string())?;
    Ok(layout)
}

/// Where bundles and state of `run --image` are, and whether nothing is left.
struct Places {
    state: PathBuf,
    bundles: PathBuf,
}

impl Places {
    fn new(work: &Work) -> Result<Places> {
        let places = Places {
            state: work.path("state"),
            bundles: work.path("bundles"),
        };
        std::fs::create_dir(&places.bundles).map_err(|e| e.to_string())?;
        Ok(places)
    }

    fn command(&self, work: &Work, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&work.brig);
        command.env("TMPDIR", &self.bundles).arg("--root");
        command.arg(&self.state).args(arguments);
        command
    }

    fn count(path: &Path) -> usize {
        std::fs::read_dir(path).map_or(0, Iterator::count)
    }

    fn check(&self) -> Result<()> {
        let records = Places::count(&self.state.join("@bundles"));
        let states = Places::count(&self.state).saturating_sub(1);
        let bundles = Places::count(&self.bundles);
        if (records, states, bundles) == (0, 0, 0) {
            return Ok(());
        }
        Err(format!(
            "left: {records} records, {states} containers, {bundles} bundles"
        ))
    }
}

fn until(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !there() {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(format!("{what} after a minute"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn run_image(work: &mut Work) -> Result<Outcome> {
    needs!("busybox");
    let layout = busybox(work)?;
    let image = layout.to_str().unwrap_or_default().to_owned() + ":latest";
    let places = Places::new(work)?;
    let command = |arguments: &[&str]| common::finish(places.command(work, arguments));
    let out = command(&[
        "run",
        "--image",
        &image,
        "--",
        "/bin/sh",
        "-c",
        "id -u; echo $0 $HOSTNAME",
    ])
    .ok()?;
    if !out.starts_with("0\n") {
        return Err(format!("the program printed {out:?}"));
    }
    places.check()?;
    let status = command(&[
        "run", "--image", &image, "a", "--", "/bin/sh", "-c", "exit 7",
    ])
    .status;
    if status != 7 {
        return Err(format!("status {status} in place of the program's 7"));
    }
    places.check()?;
    let failed = command(&["run", "--image", &image, "a", "--", "/bin/none"]);
    if failed.status != 1 || !failed.err.contains("no such file") {
        return Err(format!(
            "a missing program: {} {}",
            failed.status, failed.err
        ));
    }
    places.check()?;
    // Detached, the bundle lives until delete.
    let line = [
        "run",
        "-d",
        "--image",
        &image,
        "b",
        "--",
        "/bin/sleep",
        "600",
    ];
    let mut detached = places.command(work, &line);
    // It has the descriptors for as long as it runs.
    let null = std::process::Stdio::null;
    detached.stdin(null()).stdout(null()).stderr(null());
    if !detached.status().is_ok_and(|status| status.success()) {
        return Err("run --detach failed".into());
    }
    let again = command(&["run", "--image", &image, "b", "--", "/bin/true"]);
    if again.status != 1 || !again.err.contains("\"b\" is in use") {
        return Err(format!("an id in use: {} {}", again.status, again.err));
    }
    command(&["gc"]).ok()?;
    if Places::count(&places.bundles) != 1 {
        return Err("the bundle of a running container is gone".into());
    }
    command(&["delete", "--force", "b"]).ok()?;
    places.check()?;
    Ok(Outcome::Passed)
}

fn run_interrupted(work: &mut Work) -> Result<Outcome> {
    needs!("busybox");
    let layout = busybox(work)?;
    let image = layout.to_str().unwrap_or_default().to_owned();
    let places = Places::new(work)?;
    let line = [
        "run",
        "--image",
        &image,
        "a",
        "--",
        "/bin/sh",
        "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done",
    ];
    let mut command = places.command(work, &line);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut first = [0; 3];
    let out = child.stdout.as_mut().ok_or("no output")?;
    std::io::Read::read_exact(out, &mut first).map_err(|e| e.to_string())?;
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).map_err(|e| e.to_string())?;
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.code() != Some(9) {
        return Err(format!("the program's status was lost: {status}"));
    }
    places.check()?;
    Ok(Outcome::Passed)
}

fn run_killed(work: &mut Work) -> Result<Outcome> {
    needs!("busybox");
    let layout = busybox(work)?;
    let image = layout.to_str().unwrap_or_default().to_owned();
    let places = Places::new(work)?;
    let kill = |pid: u32| {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).map_err(|e| e.to_string())
    };
    // While the program runs: the container lives on, and delete takes all.
    let mut command = places.command(
        work,
        &["run", "--image", &image, "a", "--", "/bin/sleep", "600"],
    );
    let null = std::process::Stdio::null;
    command.stdin(null()).stdout(null()).stderr(null());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let state = || common::finish(places.command(work, &["state", "a"])).out;
    until("the container does not run", || {
        state().contains("\"running\"")
    })?;
    kill(child.id())?;
    child.wait().map_err(|e| e.to_string())?;
    common::finish(places.command(work, &["gc"])).ok()?;
    if Places::count(&places.bundles) != 1 {
        return Err("gc took the bundle of a running container".into());
    }
    common::finish(places.command(work, &["delete", "--force", "a"])).ok()?;
    places.check()?;
    // At many moments before that: gc or delete takes what is left.
    for round in 0..24 {
        let mut command = places.command(
            work,
            &["run", "--image", &image, "a", "--", "/bin/sleep", "0.1"],
        );
        command.stdin(null()).stdout(null()).stderr(null());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        std::thread::sleep(Duration::from_millis(10 * round));
        kill(child.id())?;
        child.wait().map_err(|e| e.to_string())?;
        if round % 2 == 0 {
            // A create that was killed a moment ago may still be ending.
            until("gc leaves something", || {
                common::finish(places.command(work, &["gc"]));
                let _ = common::finish(places.command(work, &["delete", "--force", "a"]));
                places.check().is_ok()
            })?;
        } else {
            common::finish(places.command(work, &["delete", "--force", "a"])).ok()?;
            places.check()?;
        }
    }
    Ok(Outcome::Passed)
}
