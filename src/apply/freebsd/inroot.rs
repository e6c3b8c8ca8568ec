//! Paths of a container's root, resolved from outside as chroot(2) would
//! inside: each component is opened by itself beneath a descriptor, so that no
//! symbolic link leads out of the root, whoever may have put it there.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Context, Error, Result, errno_name};
use crate::sys::freebsd::attributes;

/// MAXSYMLINKS of sys/param.h.
const MOST_LINKS: usize = 32;

/// One component and nothing behind it.
const BENEATH: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::from_bits_retain(libc::O_RESOLVE_BENEATH));

/// What a path names.
#[derive(Debug)]
pub struct Found {
    /// It, open for its path only.
    pub fd: OwnedFd,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The path without symbolic links, relative to the root.
    pub path: PathBuf,
}

/// As much of a path as exists, and the rest.
#[derive(Debug)]
pub struct Lookup {
    /// The deepest part that exists.
    pub found: Found,
    /// Its parent directory; none for the root.
    pub parent: Option<OwnedFd>,
    /// Components that do not exist yet.
    pub missing: Vec<OsString>,
}

impl Lookup {
    /// The paths that have to be made, outermost first.
    pub fn to_make(&self) -> Vec<PathBuf> {
        let mut path = self.found.path.clone();
        let mut all = Vec::new();
        for name in &self.missing {
            path.push(name);
            all.push(path.clone());
        }
        all
    }
}

/// Opens a root, whose own path is the host's and is followed as such.
///
/// # Errors
/// It is not a directory that can be opened.
pub fn open_root(root: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(root, flags, Mode::empty()).doing("open the root", root.display())
}

/// Opens what is now where something was found: what has been mounted on it
/// since, and that only.
///
/// # Errors
/// Nothing is there.
pub fn again(root: &Path, parent: Option<&OwnedFd>, found: &Found) -> Result<OwnedFd> {
    match (parent, found.path.file_name()) {
        (Some(parent), Some(name)) => {
            openat(parent, name, BENEATH, Mode::empty()).doing("open", found.path.display())
        }
        _ => open_root(root),
    }
}

/// Resolves a path in the root.
///
/// # Errors
/// A component that is neither a directory nor the last, or too many links.
pub fn look_up(root: &Path, path: &Path) -> Result<Lookup> {
    let fault = |errno: Errno| {
        Error::new(
            "resolve",
            format_args!("{} in {}", path.display(), root.display()),
            errno_name(errno),
        )
    };
    let top = open_root(root)?;
    // The directories from the root down: `..` goes back along them, and at
    // the root it stays there.
    let mut above: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut queue: VecDeque<OsString> = parts(path);
    let mut missing: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(name) = queue.pop_front() {
        if name == ".." {
            if missing.pop().is_none() {
                above.pop();
            }
            continue;
        }
        if !missing.is_empty() {
            missing.push(name);
            continue;
        }
        let here = above.last().map_or(top.as_fd(), |(fd, _)| fd.as_fd());
        let fd = match openat(here, name.as_os_str(), BENEATH, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => {
                missing.push(name);
                continue;
            }
            Err(errno) => return Err(fault(errno)),
        };
        match kind(fd.as_fd()).map_err(fault)? {
            SFlag::S_IFLNK => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(fault(Errno::ELOOP));
                }
                let target = PathBuf::from(readlinkat(here, name.as_os_str()).map_err(fault)?);
                if target.is_absolute() {
                    above.clear();
                }
                for part in parts(&target).into_iter().rev() {
                    queue.push_front(part);
                }
            }
            SFlag::S_IFDIR => above.push((fd, name)),
            _ => {
                // Even `..` behind it needs a directory.
                if !queue.is_empty() {
                    return Err(fault(Errno::ENOTDIR));
                }
                let path = joined(&above, Some(&name));
                let parent = above.pop().map_or(top, |(fd, _)| fd);
                let found = Found {
                    fd,
                    is_dir: false,
                    path,
                };
                return Ok(Lookup {
                    found,
                    parent: Some(parent),
                    missing,
                });
            }
        }
    }
    let path = joined(&above, None);
    let (fd, parent) = match above.pop() {
        Some((fd, _)) => (fd, Some(above.pop().map_or(top, |(fd, _)| fd))),
        None => (top, None),
    };
    Ok(Lookup {
        found: Found {
            fd,
            is_dir: true,
            path,
        },
        parent,
        missing,
    })
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let keep = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(keep).collect()
}

fn joined(above: &[(OwnedFd, OsString)], last: Option<&OsStr>) -> PathBuf {
    above
        .iter()
        .map(|(_, name)| name.as_os_str())
        .chain(last)
        .collect()
}

fn kind(fd: BorrowedFd<'_>) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(
        fstat(fd)?.st_mode & SFlag::S_IFMT.bits(),
    ))
}

/// Marks mount points that brig made, so that the last container that uses one
/// takes it away, whichever made it.
const MARK: &str = "system.brig";

/// The parts of a path that brig made for another container, outermost first.
/// Those in a file system mounted inside the root are not the root's.
pub fn made_before(root: &Path, found: &Found) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let device = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| stat.st_dev);
    let Ok(mut here) = open_root(root) else {
        return all;
    };
    let Ok(top) = device(here.as_fd()) else {
        return all;
    };
    let mut path = PathBuf::new();
    for name in &found.path {
        let Ok(fd) = openat(here.as_fd(), name, BENEATH, Mode::empty()) else {
            break;
        };
        if device(fd.as_fd()) != Ok(top) {
            break;
        }
        path.push(name);
        if attributes::has(fd.as_fd(), OsStr::new(MARK)) {
            all.push(path.clone());
        }
        here = fd;
    }
    all
}

/// Makes what is missing, one component after the other: directories, and a
/// file as the last one when `file` is set.
///
/// # Errors
/// What could not be made; what was made by then is left for the revert.
pub fn make_missing(root: &Path, lookup: Lookup, file: bool) -> Result<Found> {
    let Lookup {
        mut found, missing, ..
    } = lookup;
    let last = missing.len().saturating_sub(1);
    for (i, name) in missing.iter().enumerate() {
        let path = found.path.join(name);
        let fault = |errno: Errno| {
            let object = format!("{} in {}", path.display(), root.display());
            Error::new("create the mount point", object, errno_name(errno))
        };
        let is_dir = !(file && i == last);
        let made = if is_dir {
            mkdirat(
                found.fd.as_fd(),
                name.as_os_str(),
                Mode::from_bits_truncate(0o755),
            )
        } else {
            let flags = OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_WRONLY
                | OFlag::O_CLOEXEC
                | OFlag::O_NOFOLLOW;
            openat(
                found.fd.as_fd(),
                name.as_os_str(),
                flags,
                Mode::from_bits_truncate(0o644),
            )
            .map(drop)
        };
        made.map_err(fault)?;
        let fd =
            openat(found.fd.as_fd(), name.as_os_str(), BENEATH, Mode::empty()).map_err(fault)?;
        // Between the two calls nobody may have put something else there.
        let is = kind(fd.as_fd()).map_err(fault)?;
        let wanted = if is_dir {
            SFlag::S_IFDIR
        } else {
            SFlag::S_IFREG
        };
        if is != wanted {
            return Err(fault(Errno::EEXIST));
        }
        // Where the file system keeps no attributes, a mount point that
        // containers shared stays when its maker goes first.
        let _ = attributes::set(fd.as_fd(), OsStr::new(MARK), b"");
        found = Found { fd, is_dir, path };
    }
    Ok(found)
}

/// Removes what brig made: an empty directory or an empty file, without
/// following any link. What is gone, or has got contents, is no fault.
///
/// # Errors
/// It is there and cannot be removed: EBUSY below a mount.
pub fn remove_made(root: &Path, path: &Path) -> Result<()> {
    let fault = |errno: Errno| {
        let object = format!("{} in {}", path.display(), root.display());
        Error::new("remove the mount point", object, errno_name(errno))
    };
    let flags = BENEATH | OFlag::O_DIRECTORY;
    let mut here = match open_root(root) {
        Ok(fd) => fd,
        // The root itself is gone, and everything in it.
        Err(_) if !root.exists() => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut names = parts(path);
    let Some(last) = names.pop_back() else {
        return Ok(());
    };
    for name in names {
        here = match openat(here.as_fd(), name.as_os_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EMLINK) => return Ok(()),
            Err(errno) => return Err(fault(errno)),
        };
    }
    let stat = match openat(here.as_fd(), last.as_os_str(), BENEATH, Mode::empty()).and_then(fstat)
    {
        Ok(stat) => stat,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(fault(errno)),
    };
    let removed = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => unlinkat(here.as_fd(), last.as_os_str(), UnlinkatFlags::RemoveDir),
        SFlag::S_IFREG if stat.st_size == 0 => {
            unlinkat(here.as_fd(), last.as_os_str(), UnlinkatFlags::NoRemoveDir)
        }
        _ => return Ok(()),
    };
    match removed {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
        Err(errno) => Err(fault(errno)),
    }
}
