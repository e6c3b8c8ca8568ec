//! A root file system that is to become an image: the list of what it holds,
//! and access to the content of its files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use sha2::{Digest as _, Sha256};

use super::archive::{Kind, Reader, Time, shown};
use super::blob::CHUNK;
use super::layer::{WHITEOUT, is_wanted};
use super::listing::{IS_WHITEOUT, Key, Lister, Listing, More, Node, ONE_NAME, child, path};
use super::tree::{self, Tree};
use super::{Watch, go_on, store};
use crate::error::{Context, Error, Result, errno_name, io_name};

#[cfg(target_os = "freebsd")]
use crate::sys::freebsd::attributes;
#[cfg(target_os = "linux")]
use crate::sys::linux::attributes;

/// Where contents come from.
#[derive(Debug)]
pub enum Content {
    /// Files below a directory.
    Directory(Tree),
    /// Data of an archive, which is not compressed.
    Archive(File),
}

/// A root file system that is to become an image.
#[derive(Debug)]
pub struct Source {
    /// All its paths.
    pub listing: Listing,
    /// What its files hold.
    pub content: Content,
    /// Whether file flags are known of it.
    pub has_flags: bool,
}

impl Source {
    /// Reads a directory, or an archive that may be compressed.
    ///
    /// # Errors
    /// It cannot be read, or is no archive.
    pub fn open(at: &Path, watch: &dyn Watch) -> Result<Source> {
        let object = || format!("root file system {}", at.display());
        let metadata = std::fs::metadata(at).doing("open", object())?;
        let wrap = |error: Error| match watch.interrupted() {
            true => error,
            false => Error::new("read", object(), error),
        };
        if metadata.is_dir() {
            return Source::directory(at, watch).map_err(wrap);
        }
        if !metadata.is_file() {
            let cause = "it is neither a directory nor a file";
            return Err(Error::new("open", object(), cause));
        }
        let file = File::open(at).doing("open", object())?;
        Source::archive(file, watch).map_err(wrap)
    }

    fn directory(at: &Path, watch: &dyn Watch) -> Result<Source> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(at, flags, Mode::empty()).doing("open", "it")?;
        let again = root.try_clone().doing("open", "it")?;
        let mut walk = Walk {
            lister: Lister::default(),
            watch,
        };
        walk.root(&root)?;
        let tree = Tree::new(again, false).doing("open", "it")?;
        Ok(Source {
            listing: walk.lister.finish()?,
            content: Content::Directory(tree),
            has_flags: cfg!(target_os = "freebsd"),
        })
    }

    fn archive(file: File, watch: &dyn Watch) -> Result<Source> {
        let file = store::plain(file, watch)?;
        let again = file.try_clone().doing("open", "it")?;
        let mut reader = Reader::new(BufReader::with_capacity(CHUNK, again));
        let mut lister = Lister::default();
        lister.read(&mut reader, false, &|_, _| Ok(false), watch)?;
        if lister.count() == 0 {
            return Err(Error::text("it has no entries").hint("is it a tar archive?"));
        }
        Ok(Source {
            listing: lister.finish()?,
            content: Content::Archive(file),
            has_flags: true,
        })
    }
}

impl Content {
    /// Calls `each` with a file's content, piece by piece.
    ///
    /// # Errors
    /// It cannot be read, or is not what it was when the tree was looked at.
    pub fn read(
        &mut self,
        key: &[u8],
        node: &Node,
        buffer: &mut [u8],
        watch: &dyn Watch,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let object = || shown(&path(key));
        match self {
            Content::Directory(tree) => {
                let file =
                    open_file(tree, key).map_err(|error| Error::new("read", object(), error))?;
                copy(&file, node, &object, buffer, watch, each)
            }
            Content::Archive(file) => {
                let whole = [(0, node.size)];
                let pieces = node.more().pieces.as_deref().unwrap_or(&whole);
                let (mut at, mut position) = (node.offset, 0);
                for (offset, length) in pieces.iter().copied().chain([(node.size, 0)]) {
                    let mut hole = offset - position;
                    buffer.fill(0);
                    while hole > 0 {
                        go_on(watch)?;
                        let step = hole.min(buffer.len() as u64);
                        each(&buffer[..step as usize])?;
                        hole -= step;
                    }
                    let mut left = length;
                    while left > 0 {
                        go_on(watch)?;
                        let step = left.min(buffer.len() as u64) as usize;
                        file.read_exact_at(&mut buffer[..step], at)
                            .doing("read", object())?;
                        each(&buffer[..step])?;
                        at += step as u64;
                        left -= step as u64;
                    }
                    position = offset + length;
                }
                Ok(())
            }
        }
    }

    /// The sha256 of a file's content.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn digest(
        &mut self,
        key: &[u8],
        node: &Node,
        buffer: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<[u8; 32]> {
        let mut hasher = Sha256::new();
        self.read(key, node, buffer, watch, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hasher.finalize().into())
    }
}

fn open_file(tree: &mut Tree, key: &[u8]) -> Result<File> {
    let parts: Vec<&[u8]> = key.split(|byte| *byte == 0).collect();
    let Some((name, parents)) = parts.split_last() else {
        return Err(Error::text("it is the root"));
    };
    if !tree.enter(parents, false)? {
        return Err(Error::text("ENOENT"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = openat(tree.here(), OsStr::from_bytes(name), flags, Mode::empty());
    Ok(File::from(fd.map_err(|errno| {
        Error::text(crate::error::errno_name(errno))
    })?))
}

/// Reads a file that must be, before and after, what it was when the tree was
/// looked at.
fn copy(
    file: &File,
    node: &Node,
    object: &dyn Fn() -> String,
    buffer: &mut [u8],
    watch: &dyn Watch,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let fault = |cause: &str| Error::new("read", object(), cause);
    let changed = || fault("it changed meanwhile").hint("stop what writes to it, or copy it first");
    let is_same = || {
        let stat = fstat(file).map_err(|errno| fault(&errno_name(errno)))?;
        Ok::<_, Error>(stat.st_size as u64 == node.size && mtime(&stat) == node.mtime)
    };
    if !is_same()? {
        return Err(changed());
    }
    let mut left = node.size;
    loop {
        go_on(watch)?;
        let read = (&mut &*file)
            .read(buffer)
            .map_err(|e| fault(&io_name(&e)))?;
        if read as u64 > left || (read == 0 && left > 0) {
            return Err(changed());
        }
        if read == 0 {
            break;
        }
        left -= read as u64;
        each(&buffer[..read])?;
    }
    if is_same()? { Ok(()) } else { Err(changed()) }
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
fn mtime(stat: &FileStat) -> Time {
    (stat.st_mtime as i64, stat.st_mtime_nsec as u32)
}

/// Goes through a directory, in the order in which it has its names.
struct Walk<'a> {
    lister: Lister,
    watch: &'a dyn Watch,
}

impl Walk<'_> {
    fn root(&mut self, root: &OwnedFd) -> Result<()> {
        let stat = fstat(root).doing("look at", "it")?;
        let node = self.node(root.as_fd(), b".", &stat)?;
        self.lister.add(&[], node)?;
        self.directory(root.as_fd(), b".", &Key::new(), 0)
    }

    /// Adds what is in a directory, which stays open meanwhile: any number of
    /// names may be left to read. The deepest tree has 800 descriptors.
    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        key: &Key,
        depth: usize,
    ) -> Result<()> {
        let object = || shown(&path(key));
        if depth == tree::DEEPEST {
            let cause = format!("directories nest more than {} deep", tree::DEEPEST);
            return Err(Error::property(object(), cause));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(parent, OsStr::from_bytes(name), flags, Mode::empty());
        let again = fd.doing("open", object())?;
        let fd = again.try_clone().doing("open", object())?;
        let mut entries = Dir::from_fd(again).doing("read", object())?;
        for entry in entries.iter() {
            let entry = entry.doing("read", object())?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.entry(fd.as_fd(), name, child(key, name), depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        key: Key,
        depth: usize,
    ) -> Result<()> {
        go_on(self.watch)?;
        let object = || shown(&path(&key));
        if name.starts_with(WHITEOUT) {
            return Err(Error::property(object(), IS_WHITEOUT));
        }
        let stat = tree::look(directory, name).doing("look at", object())?;
        if tree::kind(&stat) == SFlag::S_IFSOCK {
            let text = format!(
                "{} is a socket, which archives have not: left out",
                object()
            );
            self.watch.warning(&text);
            return Ok(());
        }
        let node = self
            .node(directory, name, &stat)
            .map_err(|error| Error::property(object(), error))?;
        let kind = node.kind;
        self.lister.add(&key, node)?;
        if kind == Kind::Directory {
            self.directory(directory, name, &key, depth + 1)?;
        }
        Ok(())
    }

    fn node(&self, directory: BorrowedFd<'_>, name: &[u8], stat: &FileStat) -> Result<Node> {
        let kind = match tree::kind(stat) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFIFO => Kind::Fifo,
            SFlag::S_IFCHR => Kind::Character,
            SFlag::S_IFBLK => Kind::Block,
            _ => return Err(Error::text("it is of a type that archives have not")),
        };
        let os = OsStr::from_bytes(name);
        let link = match kind {
            Kind::Symlink => readlinkat(directory, os)
                .doing("read", "the link")?
                .as_bytes()
                .to_vec(),
            _ => Vec::new(),
        };
        let all = attributes::all_at(directory, os).doing("read", "its extended attributes")?;
        let all = all
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value));
        #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
        let file = match kind != Kind::Directory && stat.st_nlink > 1 {
            true => (stat.st_dev as u64, stat.st_ino as u64),
            false => ONE_NAME,
        };
        let device = match kind {
            Kind::Character | Kind::Block => (
                libc::major(stat.st_rdev) as u32,
                libc::minor(stat.st_rdev) as u32,
            ),
            _ => (0, 0),
        };
        #[allow(
            clippy::useless_conversion,
            reason = "the types differ between systems"
        )]
        let mode = u32::from(stat.st_mode) & 0o7777;
        let node = Node {
            kind,
            mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            flags: attributes::flags(stat),
            file,
            size: if kind == Kind::File {
                stat.st_size as u64
            } else {
                0
            },
            mtime: mtime(stat),
            ..Node::default()
        };
        Ok(node.with(More {
            link,
            device,
            attributes: all.filter(|(name, _)| is_wanted(name)).collect(),
            pieces: None,
        }))
    }
}
