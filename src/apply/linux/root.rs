//! The root file system: made a mount, entered, and closed off.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::Inside;
use super::mounts::by_descriptor;
use crate::config::annotations::EPHEMERAL;
use crate::error::{Context, Error, Result, errno_name};
use crate::plan::linux::Layer;

const NONE: Option<&str> = None;

/// Cuts the namespace off from the host's mounts and binds the root file
/// system onto itself.
pub(super) fn prepare(rootfs: &Path, propagation: u64) -> Result<()> {
    let flags = MsFlags::from_bits_truncate(propagation as _);
    mount(NONE, "/", NONE, flags, NONE).doing("set the propagation of", "/")?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let bound = mount(Some(rootfs), rootfs, NONE, flags, NONE);
    bound.doing("bind", format_args!("root.path {}", rootfs.display()))?;
    // pivot_root(2) refuses a root that is shared.
    mount(NONE, rootfs, NONE, MsFlags::MS_PRIVATE, NONE).doing("make private", rootfs.display())
}

/// Covers the root file system with an overlay of itself and a tmpfs, which
/// both belong to the mount namespace and end with it.
pub(super) fn cover(rootfs: &Path, layer: &Layer, user_namespace: bool) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
    let object = || format!("an ephemeral root over {}", rootfs.display());
    let directory = || {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        open(rootfs, flags, Mode::empty()).doing("open", rootfs.display())
    };
    let lower = directory()?;
    let found = std::fs::metadata(rootfs).doing("look at", rootfs.display())?;
    let size = layer.size.as_ref().map(|size| format!("size={size}"));
    let tmpfs = Some("tmpfs");
    mount(tmpfs, rootfs, tmpfs, MsFlags::empty(), size.as_deref()).doing("mount", object())?;
    let memory = directory()?;
    let within = |name: &str| format!("{}/{name}", by_descriptor(&memory));
    for name in ["upper", "work"] {
        let made = std::fs::DirBuilder::new().mode(0o700).create(within(name));
        made.doing("prepare", object())?;
    }
    // The upper directory is what the container sees as /.
    let upper = within("upper");
    chown(&upper, Some(found.uid()), Some(found.gid())).doing("prepare", object())?;
    let mode = std::fs::Permissions::from_mode(found.mode() & 0o7777);
    std::fs::set_permissions(&upper, mode).doing("prepare", object())?;
    // By descriptors: a path may have a colon or a comma in it.
    let options = format!(
        "lowerdir={},upperdir={upper},workdir={}{}",
        by_descriptor(&lower),
        within("work"),
        // The attributes that mark what is gone are root's, and in a user
        // namespace nobody is that root.
        if user_namespace { ",userxattr" } else { "" },
    );
    let overlay = Some("overlay");
    let options = Some(options.as_str());
    mount(overlay, rootfs, overlay, MsFlags::empty(), options).map_err(|errno| {
        let fault = Error::new(
            "mount",
            object(),
            format_args!("overlay: {}", errno_name(errno)),
        );
        match errno {
            Errno::ENODEV => fault.hint("load it with: modprobe overlay"),
            _ => fault.hint(format!("leave the annotation {EPHEMERAL} out")),
        }
    })
}

/// Makes the root file system the root, and lets go of the host's.
pub(super) fn pivot(rootfs: &Path, moving: bool, propagation: Option<u64>) -> Result<()> {
    if moving {
        chdir(rootfs).doing("enter", rootfs.display())?;
        let moved = mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE);
        moved.doing("move to /", rootfs.display())?;
        chroot(".").doing("enter", rootfs.display())?;
    } else {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        let new = open(rootfs, flags, Mode::empty()).doing("open", rootfs.display())?;
        let old = open("/", flags, Mode::empty()).doing("open", "/")?;
        fchdir(&new).doing("enter", rootfs.display())?;
        // The old root lands on top of the new one, and goes from there.
        pivot_root(".", ".").map_err(|errno| {
            let fault = Error::new("pivot into", rootfs.display(), errno_name(errno));
            match errno {
                Errno::EINVAL => fault.hint("where / is a ramdisk, use --no-pivot"),
                _ => fault,
            }
        })?;
        // `.` is the new root here, whose mounts keep their propagation.
        fchdir(&old).doing("enter", "the old root")?;
        let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(NONE, ".", NONE, slave, NONE).doing("cut off", "the old root")?;
        umount2(".", MntFlags::MNT_DETACH).doing("leave", "the old root")?;
    }
    chdir("/").doing("enter", "/")?;
    if let Some(flags) = propagation {
        let flags = MsFlags::from_bits_truncate(flags as _);
        mount(NONE, "/", NONE, flags, NONE).doing("set", "linux.rootfsPropagation")?;
    }
    Ok(())
}

/// Stops mounts on a path, and all below, from passing theirs on. The host's
/// unmounts still arrive.
pub(super) fn cut_off(path: &str) -> nix::Result<()> {
    mount(NONE, path, NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)
}

/// Binds the root file system on a directory of the container's, which is made.
/// Nothing that is mounted there reaches any other place.
pub(super) fn view(rootfs: &Path, directory: &Path) -> Result<()> {
    match std::fs::create_dir(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).doing("create", directory.display());
        }
        _ => {}
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let bound = mount(Some(rootfs), directory, NONE, flags, NONE);
    bound.doing("bind", format_args!("root.path {}", rootfs.display()))?;
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(NONE, directory, NONE, flags, NONE).doing("cut off", directory.display())
}

/// Takes a view away with everything that is mounted in it. The directory is
/// the container's own, so whatever is mounted there is the container's.
///
/// # Errors
/// umount2(2) refuses.
pub(super) fn end_view(directory: &Path) -> Result<()> {
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    loop {
        match umount2(directory, flags) {
            // There may be another one below.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).doing("unmount", directory.display()),
        }
    }
}

/// Makes the view the root of this process, whose mount namespace is the
/// host's and has its own.
pub(super) fn enter_view(view: &Path, propagation: Option<u64>) -> Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(view, flags, Mode::empty()).doing("open", view.display())?;
    enter_root(&root)?;
    if let Some(flags) = propagation {
        let flags = MsFlags::from_bits_truncate(flags as _);
        mount(NONE, "/", NONE, flags, NONE).doing("set", "linux.rootfsPropagation")?;
    }
    Ok(())
}

/// Makes a directory the root and working directory of this process.
///
/// # Errors
/// The process may not.
pub fn enter_root(directory: &OwnedFd) -> Result<()> {
    let object = "the container's root";
    fchdir(directory).doing("enter", object)?;
    chroot(".").doing("enter", object)?;
    chdir("/").doing("enter", object)
}

/// Makes a path below the view read-only; one that is not there needs nothing.
pub(super) fn read_only_below(path: &Path, cx: &mut Inside) -> Result<()> {
    let object = || path.display();
    let Some(found) = cx.existing(path)? else {
        return Ok(());
    };
    let found = by_descriptor(&found);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let bound = mount(Some(found.as_str()), found.as_str(), NONE, flags, NONE);
    bound.doing("make read-only", object())?;
    // The path leads to the new mount now.
    let Some(new) = cx.existing(path)? else {
        return Ok(());
    };
    let new = by_descriptor(&new);
    cut_off(&new).doing("make read-only", object())?;
    read_only(Path::new(&new), true)
}

/// Makes a path below the view unreadable, as [`mask`] does.
pub(super) fn mask_below(path: &Path, cx: &mut Inside) -> Result<()> {
    let object = || path.display();
    let Some(found) = cx.existing(path)? else {
        return Ok(());
    };
    let stat = fstat(&found).doing("look at", object())?;
    let found = by_descriptor(&found);
    let masked = match super::inroot::kind(&stat) {
        SFlag::S_IFDIR => mount(
            Some("tmpfs"),
            found.as_str(),
            Some("tmpfs"),
            EMPTY_FLAGS,
            EMPTY,
        ),
        _ => {
            let Some(null) = cx.existing(Path::new("/dev/null"))? else {
                let hint = "mount a tmpfs on /dev, or leave linux.maskedPaths out";
                return Err(Error::new("mask", object(), "there is no /dev/null").hint(hint));
            };
            let null = by_descriptor(&null);
            let flags = MsFlags::MS_BIND;
            mount(Some(null.as_str()), found.as_str(), NONE, flags, NONE)
        }
    };
    masked.doing("mask", object())
}

/// What is mounted over a masked directory.
const EMPTY: Option<&str> = Some("nr_blocks=1,nr_inodes=1");
const EMPTY_FLAGS: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Makes the mount on a path read-only and keeps its other flags, which a user
/// namespace may have locked.
pub(super) fn read_only(path: &Path, recursive: bool) -> Result<()> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let have = statvfs(path).doing("look at", path.display())?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (has, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if have.contains(has) {
            flags |= flag;
        }
    }
    if recursive {
        flags |= MsFlags::MS_REC;
    }
    mount(NONE, path, NONE, flags, NONE).doing("make read-only", path.display())
}

/// Makes a path read-only; one that is not there needs nothing.
pub(super) fn read_only_path(path: &Path) -> Result<()> {
    match mount(
        Some(path),
        path,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    ) {
        Ok(()) => read_only(path, true),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
        Err(errno) => Err(errno).doing("make read-only", path.display()),
    }
}

/// Makes a path unreadable: a file becomes /dev/null, a directory an empty
/// read-only one.
pub(super) fn mask(path: &Path) -> Result<()> {
    match mount(Some("/dev/null"), path, NONE, MsFlags::MS_BIND, NONE) {
        Ok(()) => Ok(()),
        // A directory, which a file cannot be bound on.
        Err(Errno::ENOTDIR) if path.is_dir() => {
            let mounted = mount(Some("tmpfs"), path, Some("tmpfs"), EMPTY_FLAGS, EMPTY);
            mounted.doing("mask", path.display())
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) if !path.exists() => Ok(()),
        Err(errno) => Err(errno).doing("mask", path.display()),
    }
}

/// Shows the terminal as /dev/console, which programs look for.
///
/// # Errors
/// /dev cannot be written to, or the bind mount fails.
pub fn bind_console(terminal: &Path) -> Result<()> {
    let console = Path::new("/dev/console");
    match std::fs::symlink_metadata(console) {
        Ok(found) if found.file_type().is_symlink() => {
            return Err(Error::property(
                "/dev/console",
                "is a symbolic link inside the container",
            ));
        }
        Ok(_) => {}
        Err(_) => {
            let made = std::fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(console);
            // Without a /dev of its own the container does without.
            if made.is_err() {
                return Ok(());
            }
        }
    }
    let bound = mount(Some(terminal), console, NONE, MsFlags::MS_BIND, NONE);
    bound.doing("bind the terminal on", console.display())
}
