//! Mount points, mounts and the devices of devfs.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use super::copy::copy_tree;
use super::devices;
use super::inroot::{Lookup, again, look_up, made_before, make_missing, remove_made};
use super::nfs;
use crate::apply::Outcome;
use crate::error::{Context, Error, Result};
use crate::sys::freebsd::mount::{self as sys, Value};

/// What is to be mounted.
pub(super) struct Wanted<'a> {
    pub root: &'a Path,
    pub destination: &'a Path,
    pub fstype: &'a str,
    pub source: Option<&'a Path>,
    pub options: &'a [String],
}

/// A root file system that is being mounted into; dropped, it is free.
#[derive(Debug)]
pub struct Claim {
    /// Whether one of the mount points has a mount on it already.
    pub shared: bool,
    _lock: Option<Flock<OwnedFd>>,
}

/// Whether this process has a claim: a create that fails takes its steps back
/// under it, and a second lock would wait for the first.
static CLAIMED: AtomicBool = AtomicBool::new(false);

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.store(false, Ordering::Relaxed);
    }
}

/// Waits until no other create mounts into the root file system, and looks
/// whether one did.
///
/// # Errors
/// A mount point cannot be resolved. A root that is missing is told later.
pub fn claim_root(root: &Path, mounts: Option<&[oci_spec::runtime::Mount]>) -> Result<Claim> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut fd) = open(root, flags, Mode::empty()) else {
        return Ok(Claim {
            shared: false,
            _lock: None,
        });
    };
    let lock = loop {
        fd = match Flock::lock(fd, FlockArg::LockExclusive) {
            Ok(lock) => break lock,
            Err((fd, Errno::EINTR)) => fd,
            Err((_, errno)) => return Err(errno).doing("lock", root.display()),
        }
    };
    let mut shared = false;
    for mount in mounts.into_iter().flatten() {
        let Lookup {
            found,
            parent,
            missing,
        } = look_up(root, mount.destination())?;
        if let (Some(parent), true) = (parent, missing.is_empty()) {
            let at =
                |fd: &OwnedFd| sys::of(fd.as_fd()).doing("look at", mount.destination().display());
            shared |= at(&found.fd)?.fsid != at(&parent)?.fsid;
        }
    }
    CLAIMED.store(true, Ordering::Relaxed);
    Ok(Claim {
        shared,
        _lock: Some(lock),
    })
}

pub(super) fn foresee_point(
    root: &Path,
    destination: &Path,
    source: Option<&Path>,
) -> Result<Outcome> {
    is_file(source)?;
    Ok(Outcome::Created(made(root, &look_up(root, destination)?)))
}

pub(super) fn make_point(
    root: &Path,
    destination: &Path,
    source: Option<&Path>,
) -> Result<Outcome> {
    let file = is_file(source)?;
    let lookup = look_up(root, destination)?;
    let created = made(root, &lookup);
    make_missing(root, lookup, file)?;
    Ok(Outcome::Created(created))
}

/// What of a path is brig's to take away: what it made for containers that
/// share the root file system, and what it is going to make.
fn made(root: &Path, lookup: &Lookup) -> Vec<PathBuf> {
    let mut all = made_before(root, &lookup.found);
    all.extend(lookup.to_make());
    all
}

pub(super) fn remove_points(root: &Path, outcome: Option<&Outcome>) -> Result<()> {
    let created = match outcome {
        Some(Outcome::Created(created)) => created,
        _ => return Ok(()),
    };
    remove_all_made(root, created)
}

/// Removes mount points that were made, last first. One that a container still
/// mounts on stays, for that container to take away: the mark tells it that
/// brig made it. A mount does not keep the directory below it where it is
/// mounted in a view of the root file system.
pub(super) fn remove_all_made(root: &Path, created: &[PathBuf]) -> Result<()> {
    if created.is_empty() {
        return Ok(());
    }
    let own = std::fs::canonicalize(root).unwrap_or_else(|_| root.into());
    // The view may be read-only.
    let there = File::open(&own).and_then(|root| sys::of(root.as_fd()));
    let view = there.ok().filter(|m| m.fstype == "nullfs" && m.on == own);
    let lower = view.map_or_else(|| own.clone(), |m| m.from);
    // A create that has made its mount points and not yet mounted on them
    // holds the lock.
    let lock = lock_shortly(&lower);
    let all = sys::all().doing("list", "the mounted file systems")?;
    let is_view = |m: &&sys::Mount| m.fstype == "nullfs" && m.from == lower;
    if lock.is_none() && all.iter().any(|m| is_view(&m) && m.on != own) {
        return Ok(());
    }
    let mut roots = vec![lower.as_path()];
    roots.extend(all.iter().filter(is_view).map(|m| m.on.as_path()));
    for path in created.iter().rev() {
        let is_used = |root: &&Path| {
            let point = root.join(path);
            all.iter().any(|m| m.on.starts_with(&point))
        };
        if !roots.iter().any(is_used) {
            remove_made(&lower, path)?;
        }
    }
    Ok(())
}

/// How long a delete waits for a create on the same root file system.
const LOCK_RETRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lock of [`claim_root`], by this process or now; none when a create
/// holds it for long, perhaps the one whose hook waits for this delete, or
/// when the root is gone.
fn lock_shortly(root: &Path) -> Option<Option<Flock<OwnedFd>>> {
    if CLAIMED.load(Ordering::Relaxed) {
        return Some(None);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut fd = open(root, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_RETRIES {
        fd = match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(Some(lock)),
            Err((fd, Errno::EWOULDBLOCK)) => fd,
            Err(_) => return None,
        };
        std::thread::sleep(LOCK_PAUSE);
    }
    None
}

pub(super) fn foresee(root: &Path, destination: &Path) -> Result<Outcome> {
    let lookup = look_up(root, destination)?;
    let below = sys::of(lookup.found.fd.as_fd())
        .doing("look at", destination.display())?
        .fsid;
    Ok(Outcome::Mounting {
        below,
        created: made(root, &lookup),
    })
}

/// Whether a file is to be mounted rather than a directory; nullfs takes
/// nothing else.
fn is_file(source: Option<&Path>) -> Result<bool> {
    let Some(source) = source else {
        return Ok(false);
    };
    let kind = std::fs::metadata(source)
        .doing("mount", source.display())?
        .file_type();
    if kind.is_dir() || kind.is_file() {
        return Ok(kind.is_file());
    }
    let what = if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a fifo"
    } else {
        "a device"
    };
    let fault = Error::new(
        "mount",
        source.display(),
        format_args!("it is {what}; nullfs takes directories and regular files"),
    );
    Err(fault.hint("mount the directory that it is in"))
}

/// How often a mount that met a lock held elsewhere is tried again: nullfs
/// gives EDEADLK now and then while others look at the same directories.
const DEADLOCK_RETRIES: u32 = 10;

pub(super) fn mount(wanted: &Wanted, copy_up: bool) -> Result<Outcome> {
    let file = is_file(wanted.source.filter(|_| wanted.fstype == "nullfs"))?;
    if wanted.fstype == "devfs" {
        let ruleset = wanted
            .options
            .iter()
            .find_map(|o| o.strip_prefix("ruleset="));
        ruleset.map_or(Ok(()), |number| devices::check(number.parse().unwrap_or(0)))?;
    }
    let lookup = look_up(wanted.root, wanted.destination)?;
    let created = made(wanted.root, &lookup);
    make_missing(wanted.root, lookup, file)?;
    let Lookup { found, parent, .. } = look_up(wanted.root, wanted.destination)?;
    let place = wanted.destination.display();
    let below = sys::of(found.fd.as_fd()).doing("look at", place)?.fsid;
    if found.is_dir == file {
        let (is, source) = if file {
            ("a directory", "a file")
        } else {
            ("a file", "a directory")
        };
        return Err(fault(
            wanted,
            format_args!("the mount point is {is} and the source {source}"),
        ));
    }
    if let Some(source) = wanted.source.filter(|_| wanted.fstype == "nullfs")
        && is_same(source, &found.fd).doing("look at", source.display())?
    {
        return Err(fault(wanted, "the source is the mount point itself")
            .hint("leave the mount out, or mount it elsewhere"));
    }
    let covered = if copy_up {
        Some(open_directory(found.fd.as_fd())?)
    } else {
        None
    };
    // A directory is mounted on by its descriptor alone; a file by its name in
    // a directory whose descriptor was found without following links.
    let name = found
        .path
        .file_name()
        .filter(|_| file)
        .map(ToOwned::to_owned);
    let at = match (&name, &parent) {
        (Some(_), Some(parent)) => parent,
        _ => &found.fd,
    };
    within(at, || {
        call(wanted, name.as_deref().unwrap_or(OsStr::new(".")))
    })?;

    // The directories above may be moved meanwhile, but not what is mounted on:
    // that is where the mount is, and where it is taken back.
    let there = again(wanted.root, parent.as_ref(), &found)?;
    let place = wanted.destination.display();
    let mounted = sys::of(there.as_fd()).doing("look at", &place)?;
    let is_new = mounted.fsid != below && is_type(&mounted.fstype, wanted.fstype);
    let now = look_up(wanted.root, wanted.destination)
        .and_then(|now| sys::of(now.found.fd.as_fd()).doing("look at", &place));
    if !is_new || !now.is_ok_and(|now| now.fsid == mounted.fsid) {
        if is_new && mounted.fsid != NO_ID {
            let _ = sys::unmount(mounted.fsid, true);
        }
        return Err(fault(
            wanted,
            "another process changed the mount point meanwhile",
        ));
    }
    if wanted.fstype == "nfs"
        && let Err(cause) = nfs::is_served(there.as_fd())
    {
        let _ = sys::unmount(mounted.fsid, true);
        return Err(fault(wanted, cause));
    }
    if let Some(covered) = covered {
        let copied = copy_tree(covered, open_directory(there.as_fd())?);
        if let Err(error) = copied {
            let _ = sys::unmount(mounted.fsid, true);
            return Err(error);
        }
    }
    Ok(Outcome::Mounted {
        fsid: mounted.fsid,
        created,
    })
}

/// Whether both are one file, perhaps seen through nullfs, which shows its
/// own device but everything else as below: the kernel never returns from a
/// mount of a file on itself.
fn is_same(source: &Path, point: &OwnedFd) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let one = std::fs::metadata(source)?;
    let other = nix::sys::stat::fstat(point)?;
    Ok(one.ino() == other.st_ino
        && one.ctime() == other.st_ctime
        && one.ctime_nsec() == other.st_ctime_nsec
        && one.mode() == u32::from(other.st_mode))
}

/// The type that statfs(2) shows for a mount of the wanted one.
fn is_type(shown: &str, wanted: &str) -> bool {
    shown == wanted || shown.starts_with("fusefs")
}

fn fault(wanted: &Wanted, cause: impl std::fmt::Display) -> Error {
    let on = wanted.root.join(
        wanted
            .destination
            .strip_prefix("/")
            .unwrap_or(wanted.destination),
    );
    let source = wanted.source.unwrap_or(Path::new(wanted.fstype));
    Error::new(
        "mount",
        format_args!("{} on {}", source.display(), on.display()),
        format_args!("{}: {cause}", wanted.fstype),
    )
}

/// Does something with the directory as working directory.
fn within<T>(directory: &OwnedFd, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let before = open(".", flags, Mode::empty());
    fchdir(directory).doing("enter", "the mount point")?;
    let result = act();
    // Relative paths of the command line go on to mean what they meant.
    match before {
        Ok(before) => fchdir(&before).doing("return to", "the working directory")?,
        Err(_) => nix::unistd::chdir("/").doing("leave", "the mount point")?,
    }
    result
}

fn call(wanted: &Wanted, on: &OsStr) -> Result<()> {
    let text = |text| Value::Text(OsStr::new(text));
    let mut options = vec![("fstype", text(wanted.fstype)), ("fspath", Value::Text(on))];
    let export = match wanted.source {
        Some(source) if wanted.fstype == "nfs" => {
            Some(nfs::find(source, wanted.options).map_err(|cause| fault(wanted, cause))?)
        }
        _ => None,
    };
    match (&export, wanted.source) {
        (Some(export), _) => options.extend([
            ("hostname", text(&export.source)),
            ("dirpath", text(&export.directory)),
            ("addr", Value::Bytes(&export.address)),
            ("nfsv4", Value::Switch),
        ]),
        (None, Some(source)) => options.push(("from", Value::Text(source.as_os_str()))),
        (None, None) => {}
    }
    for option in wanted.options {
        match option.split_once('=') {
            // It is in the address.
            Some(("port", _)) if export.is_some() => {}
            Some((name, value)) => options.push((name, text(value))),
            None => options.push((option.as_str(), Value::Switch)),
        }
    }
    let mut tries = 0;
    loop {
        let error = match sys::mount(&options) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.errno == Errno::EDEADLK && tries < DEADLOCK_RETRIES {
            tries += 1;
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let fault = fault(wanted, &error);
        return Err(match error.errno {
            // "Invalid fstype" or, from a jail, ENODEV: there is no such type.
            Errno::ENODEV | Errno::EINVAL
                if error.errno == Errno::ENODEV || error.message == "Invalid fstype" =>
            {
                fault.hint(format!("load its module with: kldload {}", wanted.fstype))
            }
            Errno::EPERM => {
                fault.hint("mounting needs root, and in a jail allow.mount and its type")
            }
            _ => fault,
        });
    }
}

fn open_directory(fd: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(fd, ".", flags, Mode::empty()).doing("open", "the mount point")
}

/// Unmounts what the outcome names; for a mount that a killed runtime may have
/// made, what is there now and was not before.
pub(super) fn unmount(
    root: &Path,
    destination: &Path,
    fstype: &str,
    outcome: Option<&Outcome>,
) -> Result<()> {
    let (fsid, created) = match outcome {
        Some(Outcome::Mounted { fsid, created }) => (Some(*fsid), created.as_slice()),
        Some(Outcome::Mounting { below, created }) => (
            made_since(root, destination, fstype, *below),
            created.as_slice(),
        ),
        _ => (None, &[] as &[PathBuf]),
    };
    if let Some(fsid) = fsid
        && !unmount_what_is_there(root, destination, fsid, fstype)
    {
        let all = sys::all().doing("list", "the mounted file systems")?;
        // Ids are given anew after a boot: what is not in this root is not it.
        let top = std::fs::canonicalize(root).unwrap_or_else(|_| root.into());
        let ours = |m: &&sys::Mount| {
            m.fsid == fsid && is_type(&m.fstype, fstype) && m.on.starts_with(&top)
        };
        match all.iter().find(ours) {
            Some(mounted) => detach(mounted, &all)?,
            None => {
                if let Some(hidden) = hidden(root, destination, fsid, fstype) {
                    let_go(&hidden)?;
                }
            }
        }
    }
    remove_all_made(root, created)
}

/// Unmounts what is on the destination, if it is this mount and nothing holds
/// it. That is all but always so, and the list of all mounts, of which there may
/// be thousands, need not be asked for.
fn unmount_what_is_there(root: &Path, destination: &Path, fsid: [i32; 2], fstype: &str) -> bool {
    let top = std::fs::canonicalize(root).unwrap_or_else(|_| root.into());
    hidden(root, destination, fsid, fstype)
        .filter(|there| there.fsid != NO_ID && there.on.starts_with(&top))
        .is_some_and(|there| sys::unmount(there.fsid, false).is_ok())
}

/// The id of a mount that a jail may not see, as the jail is told it.
const NO_ID: [i32; 2] = [0, 0];

/// The mount of a file that was made from inside a jail: the kernel (15.1)
/// names it by the path that the jail knows, so that the jail, which is shown
/// what lies below its root, is not shown it, and the host finds it by no path
/// of its own. Where it is, it can be looked at.
fn hidden(root: &Path, destination: &Path, fsid: [i32; 2], fstype: &str) -> Option<sys::Mount> {
    let lookup = look_up(root, destination).ok()?;
    let mut there = sys::of(lookup.found.fd.as_fd()).ok()?;
    if there.fsid == NO_ID {
        // In the jail itself, which is not told the name either. It is the
        // path by which the kernel finds the mount again.
        let top = std::fs::canonicalize(root).ok()?;
        there.on = top.join(&lookup.found.path);
    }
    let is_it = lookup.missing.is_empty() && there.fsid == fsid && is_type(&there.fstype, fstype);
    is_it.then_some(there)
}

fn made_since(root: &Path, destination: &Path, fstype: &str, below: [i32; 2]) -> Option<[i32; 2]> {
    let lookup = look_up(root, destination)
        .ok()
        .filter(|lookup| lookup.missing.is_empty())?;
    let there = sys::of(lookup.found.fd.as_fd()).ok()?;
    (there.fsid != below && is_type(&there.fstype, fstype)).then_some(there.fsid)
}

/// How long a mount that is in use is waited for: processes that have just
/// ended release their files a moment later.
const BUSY_RETRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn detach(mounted: &sys::Mount, all: &[sys::Mount]) -> Result<()> {
    let object = mounted.on.display();
    // A mount on top of this one, or inside it, is someone else's: brig's own
    // are gone by now. Forcing would cut it off where nobody could reach it.
    let at = all.iter().position(|m| m.fsid == mounted.fsid).unwrap_or(0);
    let inside = |m: &&sys::Mount| m.on != mounted.on && m.on.starts_with(&mounted.on);
    let on_top = all[at + 1..].iter().find(|m| m.on == mounted.on);
    if let Some(other) = all[at + 1..].iter().find(inside).or(on_top) {
        let cause = format!(
            "{} is still mounted on {}",
            other.from.display(),
            other.on.display()
        );
        return Err(Error::new("unmount", object, cause).hint("unmount it first"));
    }
    let_go(mounted)
}

/// Unmounts what nothing is mounted on.
fn let_go(mounted: &sys::Mount) -> Result<()> {
    let object = mounted.on.display();
    let unmount = |force| match mounted.fsid {
        NO_ID => unmount_by_name(&mounted.on, force),
        fsid => sys::unmount(fsid, force),
    };
    for _ in 0..BUSY_RETRIES {
        match unmount(false) {
            Ok(()) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(BUSY_PAUSE),
            Err(e) if is_gone(&e) => return Ok(()),
            Err(e) => return Err(e).doing("unmount", object),
        }
    }
    match unmount(true) {
        Ok(()) => Ok(()),
        Err(e) if is_gone(&e) => Ok(()),
        Err(e) => Err(e).doing("unmount by force", object),
    }
}

/// Unmounts by the very name that the kernel keeps. It looks a path up first
/// and goes by what it found, which is not that name for a file mounted from
/// inside a jail; so a process does it to whom the path leads nowhere.
fn unmount_by_name(path: &Path, force: bool) -> std::io::Result<()> {
    use crate::sys::unix::process::{Forked, exit_now, fork};
    use nix::sys::wait::{WaitStatus, waitpid};
    match fork()? {
        Forked::Child => {
            let away = path.parent().unwrap_or(Path::new("/"));
            let done = nix::unistd::chroot(away)
                .map_err(std::io::Error::from)
                .and_then(|()| sys::unmount_on(path, force));
            exit_now(match done {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            })
        }
        Forked::Parent(pid) => loop {
            return match waitpid(nix::unistd::Pid::from_raw(pid), None) {
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                Ok(WaitStatus::Exited(_, code)) => Err(std::io::Error::from_raw_os_error(code)),
                Ok(_) => Err(Errno::EIO.into()),
                Err(errno) => Err(errno.into()),
            };
        },
    }
}

/// What is mounted in the root before there is a jail.
pub(super) fn remember(root: &Path) -> Result<Outcome> {
    let below = mounted_below(root)?;
    Ok(Outcome::MountedBefore(
        below.iter().map(|m| m.fsid).collect(),
    ))
}

/// Unmounts what was mounted while the jail was there, last first. Left alone
/// it would be the host's for ever.
pub(super) fn unmount_others(root: &Path, outcome: Option<&Outcome>) -> Result<()> {
    let Some(Outcome::MountedBefore(before)) = outcome else {
        return Ok(());
    };
    for mounted in mounted_below(root)?.iter().rev() {
        if !before.contains(&mounted.fsid) {
            let all = sys::all().doing("list", "the mounted file systems")?;
            detach(mounted, &all)?;
        }
    }
    Ok(())
}

/// The mounts on and below a directory, oldest first.
fn mounted_below(root: &Path) -> Result<Vec<sys::Mount>> {
    let top = std::fs::canonicalize(root).unwrap_or_else(|_| root.into());
    let mut all = sys::all().doing("list", "the mounted file systems")?;
    all.retain(|m| {
        m.on.starts_with(&top)
            || (m.fstype == "nullfs" && hidden(&top, &m.on, m.fsid, &m.fstype).is_some())
    });
    Ok(all)
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL))
}
