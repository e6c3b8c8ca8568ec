//! Directories below a root, each opened beneath the descriptor of the one
//! above: nothing that an archive says leads out of it. A symbolic link on the
//! way is followed as a process with this root would, and refused where it
//! climbs above it.

use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat, futimens, mkdirat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::archive::shown;
use crate::error::{Error, Result, errno_name};

/// How deep directories may nest: one descriptor is open for each level.
pub const DEEPEST: usize = 400;
/// As many links as the kernel follows in one path (path_resolution(7)).
pub const MOST_LINKS: usize = 40;
/// Names that are read from a directory before they are worked off, and what
/// they take in bytes: every level of a tree may have as many.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 64 << 10;

/// What a directory is to have when it is left.
#[derive(Debug, Clone, Copy)]
pub struct Restore {
    /// Time of last access.
    pub atime: TimeSpec,
    /// Time of last change.
    pub mtime: TimeSpec,
    /// Mode, where the present one is only for the work.
    pub mode: Option<Mode>,
}

/// An open directory.
#[derive(Debug)]
struct Place {
    name: Vec<u8>,
    /// Shared, so that it can be used while the walk is told of changes.
    fd: Rc<OwnedFd>,
    /// Whether new files get the directory's group.
    gives_group: bool,
    /// Identifies the directory by its path.
    key: u64,
    restore: Restore,
    /// Whether something was changed that [`Restore`] must put back.
    changed: bool,
    /// Whether the caller has been told of this directory.
    touched: bool,
}

/// The directory that work goes on in, and all above it.
#[derive(Debug)]
pub struct Tree {
    /// The root is the first.
    places: Vec<Place>,
    keys: std::hash::RandomState,
    /// Without root, directories may be closed to their owner.
    rootless: bool,
}

/// Flags for every directory that is opened.
fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Looks at a name without following it.
pub fn look(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<FileStat> {
    fstatat(directory, os(name), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The type bits of a mode.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

impl Tree {
    /// Begins at a root, which the caller has opened.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn new(root: OwnedFd, rootless: bool) -> nix::Result<Tree> {
        let (restore, gives_group) = restore(&root)?;
        let place = Place {
            name: Vec::new(),
            fd: Rc::new(root),
            gives_group,
            key: 0,
            restore,
            changed: false,
            touched: false,
        };
        Ok(Tree {
            places: vec![place],
            keys: std::hash::RandomState::new(),
            rootless,
        })
    }

    /// The directory that [`Tree::enter`] went to.
    pub fn here(&self) -> BorrowedFd<'_> {
        self.top().fd.as_fd()
    }

    /// The same, for as long as it is kept.
    pub fn here_kept(&self) -> Rc<OwnedFd> {
        self.top().fd.clone()
    }

    /// Whether new files of the present directory get its group (S_ISGID;
    /// always so on FreeBSD).
    pub fn gives_group(&self) -> bool {
        self.top().gives_group
    }

    fn top(&self) -> &Place {
        self.places.last().expect("the root is never left")
    }

    /// Identifies a name in the present directory among all paths below the
    /// root. The key is random, so that no archive is made to collide.
    pub fn key(&self, name: &[u8]) -> u64 {
        self.keys.hash_one((self.top().key, name))
    }

    /// The path of the present directory from the root, without links.
    pub fn path(&self) -> OsString {
        let names: Vec<&[u8]> = self.places[1..]
            .iter()
            .map(|place| place.name.as_slice())
            .collect();
        OsString::from_vec(names.join(&b'/'))
    }

    /// Notes that something in the present directory is changed, so that its
    /// times are put back when it is left.
    pub fn change(&mut self) {
        if let Some(place) = self.places.last_mut() {
            place.changed = true;
        }
    }

    /// Sets what the present directory is to have when it is left, and tells
    /// the mode that it was given.
    pub fn set_restore(&mut self, restore: Restore, mode: Mode) {
        if let Some(place) = self.places.last_mut() {
            place.restore = restore;
            place.gives_group = gives_group(mode);
            place.changed = true;
        }
    }

    /// The keys of the present directory and those above it that were not told
    /// before.
    pub fn untold(&mut self, mut tell: impl FnMut(u64) -> Result<()>) -> Result<()> {
        for place in self.places[1..].iter_mut().rev() {
            if place.touched {
                break;
            }
            place.touched = true;
            tell(place.key)?;
        }
        Ok(())
    }

    /// Forgets what was told, for the next layer.
    pub fn tell_again(&mut self) {
        for place in &mut self.places {
            place.touched = false;
        }
    }

    /// Whether the root itself is the present directory.
    pub fn at_root(&self) -> bool {
        self.places.len() == 1
    }

    /// Goes to a directory, whose path is from the root and has no `.` and no
    /// `..`. What is missing is made with mode 0755 where `make` says so;
    /// otherwise the answer is false, and the present directory is a parent. It
    /// is false as well where a file has the name of a directory.
    ///
    /// # Errors
    /// The path leads out of the root, or through what is no directory.
    pub fn enter(&mut self, path: &[&[u8]], make: bool) -> Result<bool> {
        let common = self.places[1..]
            .iter()
            .zip(path)
            .take_while(|(place, name)| place.name == **name)
            .count();
        self.leave_to(common)?;
        // The names still to go, last first; a link puts its own on top.
        let mut left: Vec<Vec<u8>> = path[common..]
            .iter()
            .rev()
            .map(|name| name.to_vec())
            .collect();
        let mut links = 0;
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if self.at_root() {
                        return Err(Error::text(
                            "it leads out of the root file system through a symbolic link",
                        ));
                    }
                    self.leave_to(self.places.len() - 2)?;
                    continue;
                }
                _ => {}
            }
            match self.open(&name) {
                Ok(()) => {}
                Err(Errno::ENOENT) if make => {
                    let mode = Mode::from_bits_truncate(0o755);
                    mkdirat(self.here(), os(&name), mode)
                        .map_err(|errno| at("create", &name, errno))?;
                    self.change();
                    self.open(&name).map_err(|errno| at("open", &name, errno))?;
                }
                Err(Errno::ENOENT) => return Ok(false),
                // A link is told apart by what the systems say of it: ENOTDIR,
                // ELOOP, EMLINK.
                Err(errno) => {
                    let target = match readlinkat(self.here(), os(&name)) {
                        Ok(target) => target,
                        // Something else has the name, so nothing is below it.
                        Err(_) if errno == Errno::ENOTDIR && !make => return Ok(false),
                        Err(_) => return Err(at("open the directory", &name, errno)),
                    };
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(at("resolve", &name, Errno::ELOOP));
                    }
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        self.leave_to(0)?;
                    }
                    left.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
            }
        }
        Ok(true)
    }

    /// Opens a directory of the present one and goes there.
    fn open(&mut self, name: &[u8]) -> nix::Result<()> {
        if self.places.len() > DEEPEST {
            return Err(Errno::ENAMETOOLONG);
        }
        let (fd, mode) = open_directory(self.here(), name, self.rootless)?;
        let (mut restore, gives_group) = restore(&fd)?;
        restore.mode = mode;
        let key = self.key(name);
        let changed = mode.is_some();
        self.places.push(Place {
            name: name.to_vec(),
            fd: Rc::new(fd),
            gives_group,
            key,
            restore,
            changed,
            touched: false,
        });
        Ok(())
    }

    /// Goes into a directory of the present one that was just made or found.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn descend(&mut self, name: &[u8]) -> Result<()> {
        self.open(name)
            .map_err(|errno| at("open the directory", name, errno))
    }

    /// Goes up until `depth` directories below the root are open.
    fn leave_to(&mut self, depth: usize) -> Result<()> {
        while self.places.len() > depth + 1 {
            let Some(place) = self.places.pop() else {
                break;
            };
            finish(&place)?;
        }
        Ok(())
    }

    /// Leaves all directories, and puts the root's times in place.
    ///
    /// # Errors
    /// Times or a mode cannot be set.
    pub fn finish(&mut self) -> Result<()> {
        self.leave_to(0)?;
        finish(self.top())?;
        self.places[0].changed = false;
        Ok(())
    }
}

fn at(doing: &str, name: &[u8], errno: Errno) -> Error {
    let cause = match errno {
        Errno::ENAMETOOLONG if name.len() <= 255 => {
            format!("directories nest more than {DEEPEST} deep")
        }
        errno => errno_name(errno),
    };
    Error::new(doing, shown(name), cause)
}

/// Opens a directory without following a link. Without root, one that is closed
/// to us is opened for the work; then its mode is returned.
fn open_directory(
    parent: BorrowedFd<'_>,
    name: &[u8],
    rootless: bool,
) -> nix::Result<(OwnedFd, Option<Mode>)> {
    let name = os(name);
    let opened = openat(parent, name, directory_flags(), Mode::empty());
    if !rootless {
        return opened.map(|fd| (fd, None));
    }
    let full = Mode::S_IRWXU;
    match opened {
        Ok(fd) => {
            let mode = Mode::from_bits_truncate(fstat(&fd)?.st_mode);
            if mode.contains(full) {
                return Ok((fd, None));
            }
            fchmod(&fd, mode | full)?;
            Ok((fd, Some(mode)))
        }
        Err(Errno::EACCES) => {
            let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if kind(&stat) != SFlag::S_IFDIR {
                return Err(Errno::EACCES);
            }
            let mode = Mode::from_bits_truncate(stat.st_mode);
            fchmodat(parent, name, mode | full, FchmodatFlags::FollowSymlink)?;
            let fd = openat(parent, name, directory_flags(), Mode::empty())?;
            Ok((fd, Some(mode)))
        }
        Err(errno) => Err(errno),
    }
}

/// What a directory has now, and whether it gives new files its group.
fn restore(fd: &OwnedFd) -> nix::Result<(Restore, bool)> {
    let stat = fstat(fd)?;
    let restore = Restore {
        atime: TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
        mode: None,
    };
    Ok((restore, gives_group(Mode::from_bits_truncate(stat.st_mode))))
}

fn gives_group(mode: Mode) -> bool {
    !cfg!(target_os = "linux") || mode.contains(Mode::S_ISGID)
}

fn finish(place: &Place) -> Result<()> {
    if !place.changed {
        return Ok(());
    }
    if let Some(mode) = place.restore.mode {
        fchmod(&*place.fd, mode).map_err(|errno| at("set the mode of", &place.name, errno))?;
    }
    futimens(&*place.fd, &place.restore.atime, &place.restore.mtime)
        .map_err(|errno| at("set the times of", &place.name, errno))
}

/// What becomes of a name when a directory is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes, with all below it.
    Remove,
    /// It stays; a directory is gone through in turn.
    Keep,
}

/// Names of a directory that `pick` chooses, at most a batch; true if there
/// were more.
fn names(
    directory: &mut Dir,
    pick: &mut dyn FnMut(&[u8]) -> bool,
) -> nix::Result<(Vec<Vec<u8>>, bool)> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || !pick(name) {
            continue;
        }
        if found.len() == BATCH || bytes > BATCH_BYTES {
            return Ok((found, true));
        }
        bytes += name.len() + size_of::<Vec<u8>>();
        found.push(name.to_vec());
    }
    Ok((found, false))
}

/// Removes a path with all below it, following no link but those of the
/// directories above.
///
/// # Errors
/// Those of the calls. ENOENT when there is nothing.
pub fn remove_path(path: &Path) -> std::io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL.into());
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = nix::fcntl::open(parent, flags, Mode::empty())?;
    let rootless = !nix::unistd::geteuid().is_root();
    remove(parent.as_fd(), name.as_bytes(), rootless)?;
    Ok(())
}

/// Removes a name of a directory, with all below it, following no link.
///
/// # Errors
/// Those of the calls. ENOENT when there is nothing.
pub fn remove(parent: BorrowedFd<'_>, name: &[u8], rootless: bool) -> nix::Result<()> {
    match unlink(parent, name, UnlinkatFlags::NoRemoveDir) {
        // Linux says EISDIR of a directory, FreeBSD EPERM.
        Err(errno @ (Errno::EISDIR | Errno::EPERM)) => {
            if kind(&look(parent, name)?) != SFlag::S_IFDIR {
                return Err(errno);
            }
        }
        result => return result,
    }
    // An explicit stack: how deep directories nest is not ours to say.
    let mut open = vec![Emptied::open(parent, name, rootless)?];
    while let Some(top) = open.last_mut() {
        let fd = top.directory.as_fd();
        if let Some(name) = top.names.pop() {
            match unlink(fd, &name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR | Errno::EPERM) => {}
                Err(errno) => return Err(errno),
            }
            match unlink(fd, &name, UnlinkatFlags::RemoveDir) {
                Ok(()) => {}
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) => {
                    let inner = Emptied::open(fd, &name, rootless)?;
                    open.push(inner);
                }
                Err(errno) => return Err(errno),
            }
            continue;
        }
        // What is left is read anew, from the beginning.
        (top.names, _) = names(&mut top.directory, &mut |_| true)?;
        if top.names.is_empty() {
            let Some(done) = open.pop() else { break };
            let above = open.last().map(|above| above.directory.as_fd());
            unlink(
                above.unwrap_or(parent),
                &done.name,
                UnlinkatFlags::RemoveDir,
            )?;
        }
    }
    Ok(())
}

/// A directory that is being emptied.
struct Emptied {
    name: Vec<u8>,
    directory: Dir,
    /// Those that were read and are still to be removed.
    names: Vec<Vec<u8>>,
}

impl Emptied {
    fn open(parent: BorrowedFd<'_>, name: &[u8], rootless: bool) -> nix::Result<Emptied> {
        Ok(Emptied {
            name: name.to_vec(),
            directory: opened(parent, name, rootless)?,
            names: Vec::new(),
        })
    }
}

fn opened(parent: BorrowedFd<'_>, name: &[u8], rootless: bool) -> nix::Result<Dir> {
    Dir::from_fd(open_directory(parent, name, rootless)?.0)
}

/// unlinkat(2), also of what has a flag that forbids it (chflags(2)).
fn unlink(parent: BorrowedFd<'_>, name: &[u8], flag: UnlinkatFlags) -> nix::Result<()> {
    match unlinkat(parent, os(name), flag) {
        Err(Errno::EPERM) if cfg!(target_os = "freebsd") => {
            super::layer::clear_flags(parent, name);
            unlinkat(parent, os(name), flag)
        }
        result => result,
    }
}

impl Tree {
    /// Goes through the present directory and all below it, and removes what
    /// `fate` says, which is asked with each name's key.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn prune(&mut self, fate: &mut dyn FnMut(u64) -> Result<Fate>) -> Result<()> {
        let depth = self.places.len();
        loop {
            let fd = openat(self.here(), ".", directory_flags(), Mode::empty());
            let mut directory = fd
                .and_then(Dir::from_fd)
                .map_err(|errno| at("read", b".", errno))?;
            let mut fault = None;
            let mut pick = |name: &[u8]| match fate(self.key(name)) {
                Ok(fate) => fate == Fate::Remove,
                Err(error) => {
                    fault = Some(error);
                    false
                }
            };
            let (batch, more) =
                names(&mut directory, &mut pick).map_err(|errno| at("read", b".", errno))?;
            if let Some(error) = fault {
                return Err(error);
            }
            for name in &batch {
                self.change();
                remove(self.here(), name, self.rootless)
                    .map_err(|errno| at("remove", name, errno))?;
            }
            if !more {
                break;
            }
        }
        // Only what stays is left, and there may be any number of it.
        let fd = openat(self.here(), ".", directory_flags(), Mode::empty());
        let mut directory = fd
            .and_then(Dir::from_fd)
            .map_err(|errno| at("read", b".", errno))?;
        for entry in directory.iter() {
            let entry = entry.map_err(|errno| at("read", b".", errno))?;
            let name = entry.file_name().to_bytes();
            let is_directory = name != b"."
                && name != b".."
                && look(self.here(), name).is_ok_and(|stat| kind(&stat) == SFlag::S_IFDIR);
            if is_directory {
                self.descend(name)?;
                self.prune(fate)?;
                self.leave_to(depth - 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Temporary(PathBuf);

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tree(name: &str) -> (Temporary, Tree) {
        let base = std::env::temp_dir().join(format!("brig-tree-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("root/dir")).unwrap();
        fs::create_dir(base.join("outside")).unwrap();
        let root = nix::fcntl::open(&base.join("root"), directory_flags(), Mode::empty()).unwrap();
        (Temporary(base), Tree::new(root, false).unwrap())
    }

    fn go(tree: &mut Tree, path: &str, make: bool) -> Result<bool> {
        let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        tree.enter(&parts, make)
    }

    #[test]
    fn links_stay_inside() {
        let (base, mut tree) = tree("links");
        let at = |path: &str| base.0.join("root").join(path);
        symlink("/dir", at("absolute")).unwrap();
        symlink("dir/../dir", at("relative")).unwrap();
        symlink("../outside", at("climbing")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for name in ["absolute", "relative"] {
            assert!(go(&mut tree, name, false).unwrap());
            let here = fstat(tree.here()).unwrap();
            assert_eq!(here.st_ino, fs::metadata(at("dir")).unwrap().ino());
            assert_eq!(tree.path(), "dir");
        }
        assert!(
            go(&mut tree, "climbing/x", true)
                .unwrap_err()
                .to_string()
                .contains("leads out")
        );
        assert!(
            go(&mut tree, "loop", true)
                .unwrap_err()
                .to_string()
                .contains("ELOOP")
        );
        assert!(!go(&mut tree, "missing/x", false).unwrap());
        assert!(go(&mut tree, "missing/x", true).unwrap());
        assert!(at("missing/x").is_dir());
        assert_eq!(fs::read_dir(base.0.join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn times_are_put_back() {
        let (base, mut tree) = tree("times");
        let path = base.0.join("root/dir");
        let before = fs::metadata(&path).unwrap();
        assert!(go(&mut tree, "dir/new/deep", true).unwrap());
        tree.finish().unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (before.mtime(), before.mtime_nsec()),
            (after.mtime(), after.mtime_nsec())
        );
    }

    #[test]
    fn removal_is_whole_and_follows_nothing() {
        let (base, tree) = tree("remove");
        let dir = base.0.join("root/dir");
        fs::write(base.0.join("outside/kept"), "x").unwrap();
        symlink(base.0.join("outside"), dir.join("link")).unwrap();
        for i in 0..3000 {
            fs::write(dir.join(format!("file{i}")), "").unwrap();
        }
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::write(dir.join("a/b/file"), "").unwrap();
        remove(tree.here(), b"dir", false).unwrap();
        assert!(!dir.exists());
        assert!(base.0.join("outside/kept").exists());
        assert_eq!(remove(tree.here(), b"dir", false), Err(Errno::ENOENT));
    }

    #[test]
    fn nesting_has_an_end() {
        let (_base, mut tree) = tree("deep");
        let path = vec![b"d".as_slice(); DEEPEST + 1];
        let error = tree.enter(&path, true).unwrap_err().to_string();
        assert!(
            error.ends_with("directories nest more than 400 deep"),
            "{error}"
        );
    }
}
