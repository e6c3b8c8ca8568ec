//! Paths below the container's root: walked component by component, each
//! opened beneath a descriptor, so that nothing leads out of it, whatever its
//! links say and whoever changes them meanwhile.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat, mknodat};

use crate::error::{Context, Error, Result, errno_name};

/// As many links as the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What is made where a path does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// An empty directory.
    Directory,
    /// An empty file.
    File,
}

/// A descriptor (O_PATH) of `path` below `root`. What does not exist is made,
/// as `make` says, and named to `made` first.
///
/// # Errors
/// A path that leads out of the root, or cannot be made.
pub fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    make: Option<Make>,
    made: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    let flags = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(flags);
    match openat2(root, relative, how) {
        Ok(fd) => Ok(fd),
        // An absolute link, or one that climbs, or something is missing.
        Err(Errno::EXDEV | Errno::ENOENT | Errno::ELOOP | Errno::EAGAIN | Errno::ENOSYS) => {
            walk(root, path, make, made)
        }
        Err(errno) => Err(errno).doing("open", path.display()),
    }
}

/// One directory of the walk, with its path from the root.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
}

fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    make: Option<Make>,
    made: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<OwnedFd> {
    let outside = || {
        let cause = "leads out of the container's root through a symbolic link or ..";
        Error::property(path.display(), cause)
    };
    let mut left: Vec<OsString> = components(path);
    let mut places: Vec<Place> = Vec::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        let (here, above) = match places.last() {
            Some(place) => (place.fd.as_fd(), place.path.clone()),
            None => (root, PathBuf::from("/")),
        };
        if name == ".." {
            if places.pop().is_none() {
                return Err(outside());
            }
            continue;
        }
        let below = above.join(&name);
        let stat = match stat(here, &name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => {
                let Some(make) = make else {
                    return Err(Error::new(
                        "find",
                        path.display(),
                        errno_name(Errno::ENOENT),
                    ));
                };
                made(&below)?;
                let kind = if left.is_empty() {
                    make
                } else {
                    Make::Directory
                };
                create(here, &name, kind).doing("create", below.display())?;
                stat(here, &name).doing("create", below.display())?
            }
            Err(errno) => return Err(errno).doing("look at", below.display()),
        };
        if kind(&stat) == SFlag::S_IFLNK {
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::new(
                    "resolve",
                    path.display(),
                    errno_name(Errno::ELOOP),
                ));
            }
            let target = readlinkat(here, name.as_os_str()).doing("read", below.display())?;
            let target = Path::new(&target);
            if target.is_absolute() {
                places.clear();
            }
            left.extend(components(target));
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            openat(here, name.as_os_str(), flags, Mode::empty()).doing("open", below.display())?;
        let is_directory = kind(&stat) == SFlag::S_IFDIR;
        if left.is_empty() {
            return Ok(fd);
        }
        if !is_directory {
            return Err(Error::new(
                "open",
                path.display(),
                errno_name(Errno::ENOTDIR),
            ));
        }
        places.push(Place { fd, path: below });
    }
    match places.pop() {
        Some(place) => Ok(place.fd),
        None => root.try_clone_to_owned().doing("open", path.display()),
    }
}

/// The parts of a path, last first.
fn components(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    parts.collect()
}

fn stat(at: BorrowedFd<'_>, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The type bits of a file's mode.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn create(at: BorrowedFd<'_>, name: &OsStr, make: Make) -> nix::Result<()> {
    let result = match make {
        Make::Directory => mkdirat(at, name, Mode::from_bits_truncate(0o755)),
        Make::File => mknodat(at, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0),
    };
    match result {
        // Somebody else was faster; the walk looks at what it is.
        Err(Errno::EEXIST) => Ok(()),
        result => result,
    }
}

/// The parent directory of a path below the root, made if it is missing, and
/// the last name.
///
/// # Errors
/// Those of [`open`], or a path that names no file.
pub fn parent(
    root: BorrowedFd<'_>,
    path: &Path,
    made: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<(OwnedFd, OsString)> {
    let name = path
        .file_name()
        .map(|name| OsString::from_vec(name.as_bytes().to_vec()));
    let name = name.ok_or_else(|| Error::property(path.display(), "names no file"))?;
    let above = path.parent().unwrap_or(Path::new("/"));
    Ok((open(root, above, Some(Make::Directory), made)?, name))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tree(name: &str) -> (Tree, OwnedFd) {
        let base = std::env::temp_dir().join(format!("brig-inroot-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("root/dir")).unwrap();
        fs::create_dir(base.join("outside")).unwrap();
        let fd = nix::fcntl::open(
            &base.join("root"),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        (Tree(base), fd)
    }

    fn opened(fd: &OwnedFd, path: &str) -> Result<(OwnedFd, Vec<PathBuf>)> {
        let mut made = Vec::new();
        let fd = open(
            fd.as_fd(),
            Path::new(path),
            Some(Make::Directory),
            &mut |path| {
                made.push(path.to_path_buf());
                Ok(())
            },
        )?;
        Ok((fd, made))
    }

    fn same(fd: &OwnedFd, path: &Path) -> bool {
        let here = nix::sys::stat::fstat(fd).unwrap();
        fs::metadata(path)
            .is_ok_and(|there| there.ino() == here.st_ino && there.dev() == here.st_dev)
    }

    #[test]
    fn links_stay_inside() {
        let (tree, root) = tree("links");
        let at = |path: &str| tree.0.join("root").join(path);
        symlink("/dir", at("absolute")).unwrap();
        symlink("dir/../dir", at("relative")).unwrap();
        symlink("../outside", at("climbing")).unwrap();
        symlink("/missing/deep", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert!(same(&opened(&root, "/absolute").unwrap().0, &at("dir")));
        assert!(same(&opened(&root, "/relative").unwrap().0, &at("dir")));
        assert!(
            opened(&root, "/climbing/x")
                .unwrap_err()
                .to_string()
                .contains("leads out")
        );
        assert!(
            opened(&root, "/../outside")
                .unwrap_err()
                .to_string()
                .contains("leads out")
        );
        assert!(
            opened(&root, "/loop")
                .unwrap_err()
                .to_string()
                .contains("ELOOP")
        );
        let (fd, made) = opened(&root, "/dangling/x").unwrap();
        assert!(same(&fd, &at("missing/deep/x")));
        let names: Vec<_> = made.iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(names, ["/missing", "/missing/deep", "/missing/deep/x"]);
        assert!(
            fs::read_dir(tree.0.join("outside"))
                .unwrap()
                .next()
                .is_none()
        );
    }

    #[test]
    fn the_root_itself() {
        let (tree, root) = tree("self");
        assert!(same(&opened(&root, "/").unwrap().0, &tree.0.join("root")));
        assert!(same(
            &opened(&root, "/dir/..").unwrap().0,
            &tree.0.join("root")
        ));
    }
}
