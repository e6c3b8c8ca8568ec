//! Mounts below the container's root, each made on a descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::inroot::Make;
use super::{Inside, cgroup};
use crate::error::{Context, Error, Result, errno_name};
use crate::plan::linux::Mount;
use crate::plan::linux::mounts::{attribute, flag};
use crate::sys;

const NONE: Option<&str> = None;

/// The path of an open file, which mount(2) takes where it wants a path.
pub(super) fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(super) fn perform(plan: &Mount, cx: &mut Inside) -> Result<()> {
    if matches!(plan.fstype.as_str(), "cgroup" | "cgroup2") {
        return cgroups(plan, cx);
    }
    if plan.is_bind() && plan.flags & flag::REMOUNT == 0 {
        bind(plan, cx)?;
    } else {
        file_system(plan, cx)?;
    }
    finish(plan, cx)
}

fn failed(plan: &Mount, errno: Errno) -> Error {
    let object = format!("{} on {}", plan.source.display(), plan.target.display());
    Error::new(
        "mount",
        object,
        format_args!("{}: {} ({})", plan.fstype, errno_name(errno), plan.at()),
    )
}

fn file_system(plan: &Mount, cx: &mut Inside) -> Result<()> {
    let target = cx
        .target(&plan.target, Some(Make::Directory))
        .map_err(|e| at(plan, e))?;
    let flags = MsFlags::from_bits_retain((plan.flags & !flag::REC) as _);
    let data = Some(plan.data.as_str()).filter(|data| !data.is_empty());
    if plan.flags & flag::REMOUNT != 0 {
        let remounted = mount(NONE, by_descriptor(&target).as_str(), NONE, flags, data);
        return remounted.map_err(|errno| failed(plan, errno));
    }
    // What is copied must get in before the mount is closed off.
    let first = if plan.copy_up {
        flags & !MsFlags::MS_RDONLY
    } else {
        flags
    };
    let mounted = mount(
        Some(&plan.source),
        by_descriptor(&target).as_str(),
        Some(plan.fstype.as_str()),
        first,
        data,
    );
    match mounted {
        Ok(()) => {}
        // A user namespace without its own network may not mount sysfs; the
        // host's appears, as the peers have it.
        Err(Errno::EPERM) if plan.fstype == "sysfs" && cx.user_namespace => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            let bound = mount(
                Some("/sys"),
                by_descriptor(&target).as_str(),
                NONE,
                flags,
                NONE,
            );
            bound.map_err(|errno| failed(plan, errno))?;
            return Ok(());
        }
        // mqueue takes no label, and some kernels refuse data they do not know.
        Err(errno) => return Err(failed(plan, errno)),
    }
    if plan.copy_up {
        let new = cx.target(&plan.target, None)?;
        copy_up(&target, &new).map_err(|e| at(plan, e))?;
        if flags.contains(MsFlags::MS_RDONLY) {
            let flags = flags | MsFlags::MS_REMOUNT;
            let remounted = mount(NONE, by_descriptor(&new).as_str(), NONE, flags, data);
            remounted.map_err(|errno| failed(plan, errno))?;
        }
    }
    Ok(())
}

/// Adds where in the configuration the mount stands.
fn at(plan: &Mount, mut error: Error) -> Error {
    error.cause = format!("{} ({})", error.cause, plan.at());
    error
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn no_source(plan: &Mount, errno: Errno) -> Error {
    let source = plan.source.display();
    let cause = match errno {
        Errno::ENOENT => format!("{source} does not exist"),
        errno => format!("{source} cannot be opened: {}", errno_name(errno)),
    };
    Error::property(format_args!("{}.source", plan.at()), cause)
}

/// Makes a bind mount whose files have the owners that a user namespace gives
/// them, attached nowhere. Only who is root over the file system may; a
/// container's own root is not.
///
/// # Errors
/// The source cannot be opened, or its file system cannot be mapped.
pub fn mapped(plan: &Mount, user_namespace: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let with_below = plan.flags & flag::REC != 0;
    let copy = sys::linux::mount::detached_copy(&plan.source, with_below);
    let copy = copy.map_err(|e| no_source(plan, errno(&e)))?;
    let set = sys::linux::mount::map_ids(copy.as_fd(), user_namespace, recursive);
    set.map_err(|e| {
        let errno = errno(&e);
        let source = plan.source.display();
        let cause = format!("{} ({})", errno_name(errno), plan.at());
        let fault = Error::new("map the owners of", source, cause);
        match errno {
            Errno::EINVAL => fault.hint("its file system, or this kernel, cannot"),
            Errno::EPERM => fault.hint("it takes root on the host"),
            _ => fault,
        }
    })?;
    Ok(copy)
}

fn bind(plan: &Mount, cx: &mut Inside) -> Result<()> {
    let mapped = cx.mapped.iter().find(|(index, _)| *index == plan.index);
    let opened;
    let source = match mapped {
        Some((_, mapped)) => mapped,
        None => {
            let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
            let mode = nix::sys::stat::Mode::empty();
            opened = nix::fcntl::open(&plan.source, flags, mode)
                .map_err(|errno| no_source(plan, errno))?;
            &opened
        }
    };
    let stat = nix::sys::stat::fstat(source).doing("look at", plan.source.display())?;
    let make = match super::inroot::kind(&stat) {
        nix::sys::stat::SFlag::S_IFDIR => Make::Directory,
        _ => Make::File,
    };
    let target = cx
        .target(&plan.target, Some(make))
        .map_err(|e| at(plan, e))?;
    if mapped.is_some() {
        let attached = sys::linux::mount::attach(source.as_fd(), target.as_fd());
        attached.map_err(|e| failed(plan, errno(&e)))?;
    } else {
        let recursive = MsFlags::from_bits_retain((plan.flags & flag::REC) as _);
        let flags = MsFlags::MS_BIND | recursive;
        let (source, target) = (by_descriptor(source), by_descriptor(&target));
        let bound = mount(Some(source.as_str()), target.as_str(), NONE, flags, NONE);
        bound.map_err(|errno| failed(plan, errno))?;
    }
    if cx.of_host {
        // A copy of the host's mount would pass on what is mounted below it.
        let new = cx.target(&plan.target, None)?;
        super::root::cut_off(&by_descriptor(&new)).map_err(|errno| failed(plan, errno))?;
    }
    let settable = flag::RDONLY
        | flag::NOSUID
        | flag::NODEV
        | flag::NOEXEC
        | flag::NOATIME
        | flag::NODIRATIME
        | flag::RELATIME
        | flag::STRICTATIME
        | flag::NOSYMFOLLOW;
    if (plan.flags | plan.cleared) & settable == 0 {
        return Ok(());
    }
    // The kernel sets a bind mount's own flags in a second call, which replaces
    // all of them: those that no option names are its source's.
    let new = cx.target(&plan.target, None)?;
    let have = fstatvfs(&new)
        .doing("look at", plan.target.display())?
        .flags();
    let mut flags = plan.flags & settable;
    for (has, bit) in [
        (FsFlags::ST_RDONLY, flag::RDONLY),
        (FsFlags::ST_NOSUID, flag::NOSUID),
        (FsFlags::ST_NODEV, flag::NODEV),
        (FsFlags::ST_NOEXEC, flag::NOEXEC),
        (FsFlags::ST_NOATIME, flag::NOATIME),
        (FsFlags::ST_NODIRATIME, flag::NODIRATIME),
        (FsFlags::ST_RELATIME, flag::RELATIME),
    ] {
        let atime = bit & (flag::NOATIME | flag::RELATIME) != 0
            && plan.flags & (flag::NOATIME | flag::RELATIME | flag::STRICTATIME) != 0;
        if have.contains(has) && plan.cleared & bit == 0 && !atime {
            flags |= bit;
        }
    }
    let flags = MsFlags::from_bits_retain(flags as _) | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    let set = mount(NONE, by_descriptor(&new).as_str(), NONE, flags, NONE);
    set.map_err(|errno| failed(plan, errno))
}

/// Propagation and attributes, on the mount that is now at the target.
fn finish(plan: &Mount, cx: &mut Inside) -> Result<()> {
    let recursive = plan.recursive_set | plan.recursive_clear;
    if plan.propagation.is_empty() && recursive == 0 {
        return Ok(());
    }
    let mounted = cx.target(&plan.target, None)?;
    for flags in &plan.propagation {
        let flags = MsFlags::from_bits_retain(*flags as _);
        let set = mount(NONE, by_descriptor(&mounted).as_str(), NONE, flags, NONE);
        set.map_err(|errno| failed(plan, errno))?;
    }
    if recursive != 0 {
        let clear = plan.recursive_clear & !(plan.recursive_set & !attribute::ATIME);
        let set =
            sys::linux::mount::set_attributes(mounted.as_fd(), plan.recursive_set, clear, true);
        set.map_err(|e| failed(plan, errno(&e)))?;
    }
    Ok(())
}

/// The container's part of the cgroup hierarchies.
fn cgroups(plan: &Mount, cx: &mut Inside) -> Result<()> {
    let flags = plan.flags & !(flag::REC | flag::BIND);
    let layout = cgroup::Layout::find()?;
    match layout {
        cgroup::Layout::V2 { root } => {
            let mut one = Mount {
                fstype: "cgroup2".into(),
                source: "cgroup".into(),
                data: String::new(),
                flags,
                ..plan.clone()
            };
            if cx.cgroup_namespace {
                match file_system(&one, cx) {
                    Ok(()) => return finish(&one, cx),
                    Err(error) if !cx.user_namespace => return Err(error),
                    // Without a cgroup namespace owned by the user namespace.
                    Err(_) => {}
                }
            }
            one.source = match &cx.cgroup {
                Some(path) if !cx.cgroup_namespace => root.join(path),
                _ => root,
            };
            one.fstype = "bind".into();
            one.flags |= flag::BIND | flag::REC;
            bind(&one, cx)?;
            finish(&one, cx)
        }
        cgroup::Layout::V1 { hierarchies } => {
            let tmpfs = Mount {
                fstype: "tmpfs".into(),
                source: "tmpfs".into(),
                data: "mode=755".into(),
                flags: flags & !flag::RDONLY,
                ..plan.clone()
            };
            file_system(&tmpfs, cx)?;
            for hierarchy in &hierarchies {
                let Some(name) = hierarchy.mount.file_name() else {
                    continue;
                };
                let mut one = Mount {
                    target: plan.target.join(name),
                    propagation: Vec::new(),
                    flags,
                    ..plan.clone()
                };
                if cx.cgroup_namespace {
                    one.fstype = if hierarchy.controllers.is_empty() {
                        "cgroup2"
                    } else {
                        "cgroup"
                    }
                    .into();
                    one.source = "cgroup".into();
                    one.data = hierarchy.controllers.join(",");
                    file_system(&one, cx)?;
                } else {
                    one.fstype = "bind".into();
                    one.source = match &cx.cgroup {
                        Some(path) => hierarchy.mount.join(path),
                        None => hierarchy.mount.clone(),
                    };
                    if !one.source.exists() {
                        one.source = hierarchy.mount.clone();
                    }
                    one.flags |= flag::BIND | flag::REC;
                    bind(&one, cx)?;
                }
                if hierarchy.controllers.len() > 1 {
                    for controller in &hierarchy.controllers {
                        let path = plan.target.join(controller);
                        super::devices::link(&path, Path::new(name), cx)?;
                    }
                }
            }
            if flags & flag::RDONLY != 0 {
                let mounted = cx.target(&plan.target, None)?;
                super::root::read_only(&PathBuf::from(by_descriptor(&mounted)), false)?;
            }
            finish(plan, cx)
        }
    }
}

/// Copies a directory's contents into the file system mounted over it, with
/// owners, modes and links.
fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let (from, to) = (
        PathBuf::from(by_descriptor(from)),
        PathBuf::from(by_descriptor(to)),
    );
    copy_attributes(&from, &to).doing("copy up", "the directory")?;
    copy_directory(&from, &to)
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    for entry in std::fs::read_dir(from).doing("copy up", from.display())? {
        let entry = entry.doing("copy up", from.display())?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let object = || format!("{}", Path::new("…").join(entry.file_name()).display());
        let kind = entry.file_type().doing("copy up", object())?;
        if kind.is_dir() {
            std::fs::create_dir(&new).doing("copy up", object())?;
            copy_directory(&old, &new)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&old).doing("copy up", object())?;
            std::os::unix::fs::symlink(target, &new).doing("copy up", object())?;
        } else if kind.is_file() {
            std::fs::copy(&old, &new).doing("copy up", object())?;
        } else if kind.is_socket() {
            continue;
        } else {
            use nix::sys::stat::{Mode, SFlag, mknod};
            let stat = nix::sys::stat::lstat(&old).doing("copy up", object())?;
            let sort = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            mknod(
                &new,
                sort,
                Mode::from_bits_truncate(stat.st_mode),
                stat.st_rdev,
            )
            .doing("copy up", object())?;
        }
        copy_attributes(&old, &new).doing("copy up", object())?;
    }
    Ok(())
}

fn copy_attributes(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    // The top directories are links of procfs to be followed.
    let top = from.starts_with("/proc/self/fd") && from.components().count() == 5;
    let old = if top {
        std::fs::metadata(from)?
    } else {
        std::fs::symlink_metadata(from)?
    };
    if top {
        std::os::unix::fs::chown(to, Some(old.uid()), Some(old.gid()))?;
    } else {
        lchown(to, Some(old.uid()), Some(old.gid()))?;
    }
    if !old.file_type().is_symlink() {
        std::fs::set_permissions(to, old.permissions())?;
    }
    Ok(())
}
