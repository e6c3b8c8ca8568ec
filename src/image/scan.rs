//! What a directory, an archive or the layers of an image hold, as one sorted
//! map of paths, and access to the content of files.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use sha2::{Digest as _, Sha256};

use super::archive::{Entry, Kind, Reader, Stream, Time, shown};
use super::blob::CHUNK;
use super::layer::{OPAQUE, WHITEOUT, components, is_wanted};
use super::tree::{self, Tree};
use super::{Watch, flags, go_on, store};
use crate::error::{Context, Error, Result, errno_name, io_name};

#[cfg(target_os = "freebsd")]
use crate::sys::freebsd::attributes;
#[cfg(target_os = "linux")]
use crate::sys::linux::attributes;

/// What is said of a name that a layer would take for another thing.
const IS_WHITEOUT: &str = "the name is that of a whiteout, which a root file system has not";

/// A path whose components are separated by NUL, so that the order of bytes is
/// that of a walk; empty for the root.
pub type Key = Vec<u8>;

/// What a path is. What few paths have is apart: there may be a million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Never a hard link: see [`Node::file`].
    pub kind: Kind,
    /// A directory that an archive has no entry of.
    pub implied: bool,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// FreeBSD's file flags.
    pub flags: u32,
    /// Names of the same file have the same number.
    pub file: u32,
    /// Size of a file in bytes.
    pub size: u64,
    /// Time of last change.
    pub mtime: Time,
    /// Where an archive has the content.
    pub offset: u64,
    /// The content's sha256, where it was read.
    pub digest: Option<Box<[u8; 32]>>,
    /// See [`Node::more`] and [`Node::with`].
    pub more: Option<Box<More>>,
}

/// What few paths have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct More {
    /// Target of a symbolic link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offsets and lengths of the pieces of a sparse file that an archive has.
    pub pieces: Option<Vec<(u64, u64)>>,
}

impl More {
    /// Nothing of it.
    pub const NONE: More = More {
        link: Vec::new(),
        device: (0, 0),
        attributes: Vec::new(),
        pieces: None,
    };
}

impl Default for Node {
    fn default() -> Node {
        Node {
            kind: Kind::File,
            implied: false,
            mode: 0,
            uid: 0,
            gid: 0,
            flags: 0,
            file: 0,
            size: 0,
            mtime: (0, 0),
            offset: 0,
            digest: None,
            more: None,
        }
    }
}

impl Node {
    /// What few paths have.
    pub fn more(&self) -> &More {
        static NONE: More = More::NONE;
        self.more.as_deref().unwrap_or(&NONE)
    }

    /// With what few paths have.
    pub fn with(mut self, more: More) -> Node {
        self.more = (more != More::NONE).then(|| Box::new(more));
        self
    }
}

/// All paths of a tree.
#[derive(Debug, Default)]
pub struct Map {
    /// Nodes by key.
    pub nodes: BTreeMap<Key, Node>,
    files: u32,
}

/// The key of the directory that holds a path; none of the root.
pub fn parent(key: &[u8]) -> Option<&[u8]> {
    if key.is_empty() {
        return None;
    }
    Some(
        key.iter()
            .rposition(|byte| *byte == 0)
            .map_or(&[], |at| &key[..at]),
    )
}

/// The path of a key, with slashes.
pub fn path(key: &[u8]) -> Vec<u8> {
    key.iter()
        .map(|byte| if *byte == 0 { b'/' } else { *byte })
        .collect()
}

/// A name in the directory of a key.
pub fn child(key: &[u8], name: &[u8]) -> Key {
    if key.is_empty() {
        name.to_vec()
    } else {
        [key, name].join(&0)
    }
}

impl Map {
    fn file(&mut self) -> u32 {
        self.files += 1;
        self.files
    }

    /// Removes what is below a key.
    fn clear(&mut self, key: &[u8]) {
        let below: Vec<Key> = self.below(key).map(|(key, _)| key.clone()).collect();
        for key in below {
            self.nodes.remove(&key);
        }
    }

    fn below<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = (&'a Key, &'a Node)> {
        let mut first = key.to_vec();
        if !key.is_empty() {
            first.push(0);
        }
        let prefix = first.clone();
        let all = self
            .nodes
            .range(first..)
            .take_while(move |(known, _)| known.starts_with(&prefix));
        all.filter(|(known, _)| !known.is_empty())
    }

    /// Reads an archive's entries over what is there. With `layer`, whiteouts
    /// hide; otherwise their names are refused. The content of files is hashed
    /// where `hash` says so of the name and the size.
    ///
    /// # Errors
    /// The archive is damaged, or names what is not in it.
    pub fn read<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        layer: bool,
        hash: &dyn Fn(&[u8], u64) -> bool,
        watch: &dyn Watch,
    ) -> Result<()> {
        let mut hidden: Vec<(Key, bool)> = Vec::new();
        let mut upper = Map {
            nodes: BTreeMap::new(),
            files: self.files,
        };
        while let Some(entry) = reader.entry()? {
            go_on(watch)?;
            let named =
                |error: Error| Error::property(format_args!("entry {}", shown(&entry.path)), error);
            let parts = components(&entry.path).map_err(named)?;
            let key = self.resolve(&upper, &parts).map_err(named)?;
            let name = parts.last().copied().unwrap_or_default();
            if name.starts_with(WHITEOUT) {
                if !layer {
                    return Err(named(Error::text(IS_WHITEOUT)));
                }
                let above = parent(&key).unwrap_or_default();
                if name == OPAQUE {
                    hidden.push((above.to_vec(), true));
                } else {
                    hidden.push((child(above, &name[WHITEOUT.len()..]), false));
                }
                continue;
            }
            let node = match entry.kind {
                Kind::HardLink => {
                    let link = entry.link.strip_prefix(b"/").unwrap_or(&entry.link);
                    let target = components(link).map_err(named)?;
                    let target = self.resolve(&upper, &target).map_err(named)?;
                    let found = upper.nodes.get(&target).or_else(|| self.nodes.get(&target));
                    let found = found.filter(|node| node.kind != Kind::Directory);
                    found
                        .cloned()
                        .ok_or_else(|| named(Error::new("link to", shown(&entry.link), "ENOENT")))?
                }
                _ => {
                    let wanted = hash(&key, entry.size);
                    upper.node(reader, &entry, wanted, watch).map_err(|error| {
                        match watch.interrupted() {
                            true => error,
                            false => named(error),
                        }
                    })?
                }
            };
            if node.kind != Kind::Directory {
                upper.clear(&key);
            }
            upper.nodes.insert(key, node);
        }
        // What a layer hides is of the layers below, wherever it stands.
        for (key, opaque) in hidden {
            self.clear(&key);
            if !opaque {
                self.nodes.remove(&key);
            }
        }
        self.files = upper.files;
        for (key, node) in upper.nodes {
            if node.kind != Kind::Directory {
                self.clear(&key);
            }
            self.nodes.insert(key, node);
        }
        Ok(())
    }

    /// The key of a name whose directories may be symbolic links, which are
    /// followed as a process with this root would.
    fn resolve(&self, upper: &Map, parts: &[&[u8]]) -> Result<Key> {
        let mut left: Vec<&[u8]> = parts.iter().rev().copied().collect();
        let mut key = Key::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part {
                b"" | b"." => continue,
                b".." => {
                    key = parent(&key).unwrap_or_default().to_vec();
                    continue;
                }
                _ => {}
            }
            let next = child(&key, part);
            let found = upper.nodes.get(&next).or_else(|| self.nodes.get(&next));
            match found {
                Some(node) if node.kind == Kind::Symlink && !left.is_empty() => {
                    links += 1;
                    if links > tree::MOST_LINKS {
                        return Err(Error::text("ELOOP"));
                    }
                    let target = &node.more().link;
                    if target.starts_with(b"/") {
                        key.clear();
                    }
                    left.extend(target.split(|byte| *byte == b'/').rev());
                }
                _ => key = next,
            }
        }
        Ok(key)
    }

    fn node<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        hash: bool,
        watch: &dyn Watch,
    ) -> Result<Node> {
        let offset = reader.position();
        let digest = match (entry.kind, hash) {
            (Kind::File, true) => Some(Box::new(hashed(reader, entry, watch)?)),
            _ => None,
        };
        let wanted = entry.attributes.iter().filter(|(name, _)| is_wanted(name));
        let mut attributes: Vec<_> = wanted.cloned().collect();
        attributes.sort();
        let link = match entry.kind {
            Kind::Symlink => entry.link.clone(),
            _ => Vec::new(),
        };
        let node = Node {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            flags: flags::parse(&entry.flags),
            file: self.file(),
            size: entry.size,
            mtime: entry.mtime,
            offset,
            digest,
            ..Node::default()
        };
        Ok(node.with(More {
            link,
            device: entry.device,
            attributes,
            pieces: entry.pieces.clone(),
        }))
    }

    /// The first name of each file that has several, by the file's number.
    pub fn leaders(&self) -> HashMap<u32, &Key> {
        let files = self
            .nodes
            .iter()
            .filter(|(_, node)| node.kind != Kind::Directory);
        let mut count = vec![0_u8; self.files as usize + 1];
        for (_, node) in files.clone() {
            let count = &mut count[node.file as usize];
            *count = count.saturating_add(1);
        }
        let mut first = HashMap::new();
        for (key, node) in files.filter(|(_, node)| count[node.file as usize] > 1) {
            first.entry(node.file).or_insert(key);
        }
        first
    }

    /// Directories that an archive implies and does not have are made.
    ///
    /// # Errors
    /// Something is below what is no directory.
    pub fn fill_in(&mut self) -> Result<()> {
        let mut missing = Vec::new();
        for key in self.nodes.keys() {
            let mut above = parent(key);
            while let Some(here) = above {
                match self.nodes.get(here) {
                    Some(node) if node.kind == Kind::Directory => break,
                    Some(_) => {
                        let cause = format!("{} is not a directory", shown(&path(here)));
                        return Err(Error::property(
                            format_args!("entry {}", shown(&path(key))),
                            cause,
                        ));
                    }
                    None => missing.push(here.to_vec()),
                }
                above = parent(here);
            }
        }
        if self.nodes.is_empty() {
            missing.push(Key::new());
        }
        for key in missing {
            let file = self.file();
            let node = Node {
                kind: Kind::Directory,
                implied: true,
                mode: 0o755,
                file,
                ..Node::default()
            };
            self.nodes.entry(key).or_insert(node);
        }
        Ok(())
    }
}

fn hashed<R: Stream>(reader: &mut Reader<R>, entry: &Entry, watch: &dyn Watch) -> Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let whole = [(0, entry.size)];
    let pieces = entry.pieces.as_deref().unwrap_or(&whole);
    let mut position = 0;
    for (offset, length) in pieces {
        zeros(&mut hasher, offset - position, watch)?;
        let mut left = *length;
        while left > 0 {
            go_on(watch)?;
            let here = reader.data()?;
            let count = here.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(Error::text("the archive is truncated"));
            }
            hasher.update(&here[..count]);
            reader.consume(count);
            left -= count as u64;
        }
        position = offset + length;
    }
    zeros(&mut hasher, entry.size - position, watch)?;
    Ok(hasher.finalize().into())
}

fn zeros(hasher: &mut Sha256, mut count: u64, watch: &dyn Watch) -> Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while count > 0 {
        go_on(watch)?;
        let step = count.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..step as usize]);
        count -= step;
    }
    Ok(())
}

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
    pub map: Map,
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
        let mut map = Map::default();
        let mut walk = Walk {
            map: &mut map,
            files: HashMap::new(),
            watch,
        };
        walk.root(&root)?;
        let tree = Tree::new(again, false).doing("open", "it")?;
        Ok(Source {
            map,
            content: Content::Directory(tree),
            has_flags: cfg!(target_os = "freebsd"),
        })
    }

    fn archive(file: File, watch: &dyn Watch) -> Result<Source> {
        let file = store::plain(file, watch)?;
        let again = file.try_clone().doing("open", "it")?;
        let mut reader = Reader::new(BufReader::with_capacity(CHUNK, again));
        let mut map = Map::default();
        map.read(&mut reader, false, &|_, _| false, watch)?;
        if map.nodes.is_empty() {
            return Err(Error::text("it has no entries").hint("is it a tar archive?"));
        }
        map.fill_in()?;
        Ok(Source {
            map,
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

/// Goes through a directory.
struct Walk<'a> {
    map: &'a mut Map,
    files: HashMap<(u64, u64), u32>,
    watch: &'a dyn Watch,
}

impl Walk<'_> {
    fn root(&mut self, root: &OwnedFd) -> Result<()> {
        let stat = fstat(root).doing("look at", "it")?;
        let node = self.node(root.as_fd(), b".", &stat)?;
        self.map.nodes.insert(Key::new(), node);
        self.directory(root.as_fd(), &[], 0)
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, key: &[u8], depth: usize) -> Result<()> {
        if depth == tree::DEEPEST {
            let cause = format!("directories nest more than {} deep", tree::DEEPEST);
            return Err(Error::property(shown(&path(key)), cause));
        }
        for name in tree::list(directory).doing("read", shown(&path(key)))? {
            go_on(self.watch)?;
            let key = child(key, &name);
            let object = || shown(&path(&key));
            if name.starts_with(WHITEOUT) {
                return Err(Error::property(object(), IS_WHITEOUT));
            }
            let stat = tree::look(directory, &name).doing("look at", object())?;
            if tree::kind(&stat) == SFlag::S_IFSOCK {
                let text = format!(
                    "{} is a socket, which archives have not: left out",
                    object()
                );
                self.watch.warning(&text);
                continue;
            }
            let node = self
                .node(directory, &name, &stat)
                .map_err(|error| Error::property(object(), error))?;
            let kind = node.kind;
            self.map.nodes.insert(key.clone(), node);
            if kind == Kind::Directory {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let inner = openat(directory, OsStr::from_bytes(&name), flags, Mode::empty());
                self.directory(inner.doing("open", object())?.as_fd(), &key, depth + 1)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, directory: BorrowedFd<'_>, name: &[u8], stat: &FileStat) -> Result<Node> {
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
        let inode = (stat.st_dev as u64, stat.st_ino as u64);
        let file = if kind != Kind::Directory && stat.st_nlink > 1 {
            let next = self.map.files + 1;
            let file = *self.files.entry(inode).or_insert(next);
            if file == next {
                self.map.files = next;
            }
            file
        } else {
            self.map.file()
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
