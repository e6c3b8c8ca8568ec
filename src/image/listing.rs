//! The paths of a directory, an archive or the layers of an image, in the order
//! of a walk through sorted names. They come in any order and are sorted outside
//! of memory, so that there may be any number of them; what is kept of each tree
//! are the names of files that have several, and of an archive's symbolic links.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::archive::{Entry, Kind, Reader, Stream, Time, shown};
use super::layer::{OPAQUE, WHITEOUT, components, is_wanted};
use super::sort::{Records, Sorted, Sorter};
use super::{Watch, flags, go_on, tree};
use crate::error::{Error, Result};

/// What is said of a name that a layer would take for another thing.
pub const IS_WHITEOUT: &str = "the name is that of a whiteout, which a root file system has not";

/// A path whose components are separated by NUL, so that the order of bytes is
/// that of a walk; empty for the root.
pub type Key = Vec<u8>;

/// Tells files apart: device and inode, or what stands for them in an archive.
pub type FileId = (u64, u64);

/// The file has no other name in the tree.
pub const ONE_NAME: FileId = (0, 0);

/// What a path is.
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
    /// The same for all names of a file; [`ONE_NAME`] where it has no other.
    pub file: FileId,
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
            file: ONE_NAME,
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

/// What is known of a path at a point of an archive. Later ones count.
enum Record {
    Node(Node),
    /// Another name of what the path was at that point.
    Link(Key),
    /// Nothing of what was there before a point, at the path and below it.
    Hide(u64),
    /// The same below it only.
    HideBelow(u64),
}

impl Record {
    /// As bytes, with its point.
    fn encode(&self, at: u64, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&at.to_le_bytes());
        match self {
            Record::Node(node) => {
                bytes.push(0);
                node.encode(bytes);
            }
            Record::Link(target) => {
                bytes.push(1);
                bytes.extend_from_slice(target);
            }
            Record::Hide(before) => {
                bytes.push(2);
                bytes.extend_from_slice(&before.to_le_bytes());
            }
            Record::HideBelow(before) => {
                bytes.push(3);
                bytes.extend_from_slice(&before.to_le_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<(u64, Record)> {
        let damaged = || Error::text("a temporary file is damaged");
        let mut bytes = Bytes(bytes);
        let mut decode = || {
            let at = bytes.u64()?;
            let record = match bytes.u8()? {
                0 => Record::Node(Node::decode(&mut bytes)?),
                1 => Record::Link(bytes.0.to_vec()),
                2 => Record::Hide(bytes.u64()?),
                3 => Record::HideBelow(bytes.u64()?),
                _ => return None,
            };
            Some((at, record))
        };
        decode().ok_or_else(damaged)
    }
}

/// Takes values off encoded bytes.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn counted(&mut self) -> Option<Vec<u8>> {
        let count = self.u32()? as usize;
        Some(self.take(count)?.to_vec())
    }
}

const KINDS: [Kind; 7] = [
    Kind::File,
    Kind::HardLink,
    Kind::Symlink,
    Kind::Character,
    Kind::Block,
    Kind::Directory,
    Kind::Fifo,
];

impl Node {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        bytes.push(kind.unwrap_or_default() as u8);
        for number in [self.mode, self.uid, self.gid, self.flags, self.mtime.1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let seconds = self.mtime.0 as u64;
        for number in [self.file.0, self.file.1, self.size, seconds, self.offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.push(u8::from(self.digest.is_some()) | u8::from(self.more.is_some()) << 1);
        bytes.extend_from_slice(self.digest.as_deref().map_or(&[], |digest| digest));
        let Some(more) = &self.more else { return };
        let counted = |bytes: &mut Vec<u8>, value: &[u8]| {
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        };
        counted(bytes, &more.link);
        bytes.extend_from_slice(&more.device.0.to_le_bytes());
        bytes.extend_from_slice(&more.device.1.to_le_bytes());
        bytes.extend_from_slice(&(more.attributes.len() as u32).to_le_bytes());
        for (name, value) in &more.attributes {
            counted(bytes, name);
            counted(bytes, value);
        }
        if let Some(pieces) = &more.pieces {
            for (offset, length) in pieces {
                bytes.extend_from_slice(&offset.to_le_bytes());
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            // Not a multiple of a piece, so that no pieces are some.
            bytes.push(0);
        }
    }

    fn decode(bytes: &mut Bytes<'_>) -> Option<Node> {
        let kind = *KINDS.get(usize::from(bytes.u8()?))?;
        let mut node = Node {
            kind,
            mode: bytes.u32()?,
            uid: bytes.u32()?,
            gid: bytes.u32()?,
            flags: bytes.u32()?,
            ..Node::default()
        };
        let nanoseconds = bytes.u32()?;
        node.file = (bytes.u64()?, bytes.u64()?);
        node.size = bytes.u64()?;
        node.mtime = (bytes.u64()? as i64, nanoseconds);
        node.offset = bytes.u64()?;
        let has = bytes.u8()?;
        if has & 1 != 0 {
            node.digest = Some(Box::new(bytes.take(32)?.try_into().ok()?));
        }
        if has & 2 == 0 {
            return Some(node);
        }
        let link = bytes.counted()?;
        let device = (bytes.u32()?, bytes.u32()?);
        let count = bytes.u32()?;
        let attributes = (0..count).map(|_| Some((bytes.counted()?, bytes.counted()?)));
        let attributes = attributes.collect::<Option<_>>()?;
        let mut pieces = None;
        if !bytes.0.is_empty() {
            let count = bytes.0.len() / 16;
            let all = (0..count).map(|_| Some((bytes.u64()?, bytes.u64()?)));
            pieces = Some(all.collect::<Option<_>>()?);
        }
        Some(node.with(More {
            link,
            device,
            attributes,
            pieces,
        }))
    }
}

/// Makes a list of paths that come in any order.
#[derive(Debug, Default)]
pub struct Lister {
    sorter: Sorter,
    /// Points are counted from 1.
    last: u64,
    buffer: Vec<u8>,
    /// Symbolic links of archives as they are at the present point, with the
    /// points that they are from.
    symlinks: BTreeMap<Key, (u64, Vec<u8>)>,
    /// What hard links of archives are to.
    targets: HashMap<Key, Vec<(u64, Target)>>,
    /// Whether a file may have several names.
    has_links: bool,
}

/// What a path is that a hard link is to.
#[derive(Debug)]
enum Target {
    Node(Box<Node>),
    Link(Key),
}

impl Lister {
    /// Adds a path. A file that may have several names has its id.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub fn add(&mut self, key: &[u8], node: Node) -> Result<()> {
        self.has_links |= node.file != ONE_NAME;
        self.put(key, &Record::Node(node))
    }

    fn put(&mut self, key: &[u8], record: &Record) -> Result<()> {
        self.last += 1;
        record.encode(self.last, &mut self.buffer);
        self.sorter.add(key, &self.buffer)
    }

    /// How many paths were added.
    pub fn count(&self) -> u64 {
        self.last
    }

    /// Adds an archive's entries over what is there. With `layer`, whiteouts
    /// hide; otherwise their names are refused. The content of files is hashed
    /// where `hash` says so of the name and the size.
    ///
    /// # Errors
    /// The archive is damaged; a temporary file cannot be written.
    pub fn read<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        layer: bool,
        hash: &dyn Fn(&[u8], u64) -> Result<bool>,
        watch: &dyn Watch,
    ) -> Result<()> {
        // What a layer hides is of the layers below, wherever it stands.
        let begin = self.last + 1;
        while let Some(entry) = reader.entry()? {
            go_on(watch)?;
            let named =
                |error: Error| Error::property(format_args!("entry {}", shown(&entry.path)), error);
            let parts = components(&entry.path).map_err(named)?;
            let key = self.resolve(&parts).map_err(named)?;
            let name = parts.last().copied().unwrap_or_default();
            if name.starts_with(WHITEOUT) {
                if !layer {
                    return Err(named(Error::text(IS_WHITEOUT)));
                }
                let above = parent(&key).unwrap_or_default();
                if name == OPAQUE {
                    self.forget(above, true, begin);
                    self.put(above, &Record::HideBelow(begin))?;
                } else {
                    let hidden = child(above, &name[WHITEOUT.len()..]);
                    self.forget(&hidden, false, begin);
                    self.put(&hidden, &Record::Hide(begin))?;
                }
                continue;
            }
            if entry.kind == Kind::HardLink {
                let link = entry.link.strip_prefix(b"/").unwrap_or(&entry.link);
                let target = components(link).map_err(named)?;
                let target = self.resolve(&target).map_err(named)?;
                let symlink = self.symlinks.get(&target).cloned();
                self.forget(&key, false, u64::MAX);
                if let Some((_, link)) = symlink {
                    self.symlinks.insert(key.clone(), (self.last + 1, link));
                }
                self.has_links = true;
                self.targets.entry(target.clone()).or_default();
                self.put(&key, &Record::Link(target))?;
                continue;
            }
            let node = node(reader, &entry, &key, hash, watch).map_err(|error| {
                match watch.interrupted() {
                    true => error,
                    false => named(error),
                }
            })?;
            match entry.kind {
                Kind::Directory => drop(self.symlinks.remove(&key)),
                _ => self.forget(&key, false, u64::MAX),
            }
            if entry.kind == Kind::Symlink {
                let link = (self.last + 1, node.more().link.clone());
                self.symlinks.insert(key.clone(), link);
            }
            self.put(&key, &Record::Node(node))?;
        }
        Ok(())
    }

    /// Forgets symbolic links from before a point, at a path and below it.
    fn forget(&mut self, key: &[u8], only_below: bool, before: u64) {
        let below = |known: &[u8]| {
            key.is_empty() && !known.is_empty()
                || known
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.first() == Some(&0))
        };
        let gone: Vec<Key> = self
            .symlinks
            .range(key.to_vec()..)
            .take_while(|(known, _)| known.as_slice() == key || below(known))
            .filter(|(known, (at, _))| *at < before && (!only_below || known.as_slice() != key))
            .map(|(known, _)| known.clone())
            .collect();
        for key in gone {
            self.symlinks.remove(&key);
        }
    }

    /// The key of a name whose directories may be symbolic links, which are
    /// followed as a process with this root would.
    fn resolve(&self, parts: &[&[u8]]) -> Result<Key> {
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
            match self.symlinks.get(&next) {
                Some((_, target)) if !left.is_empty() => {
                    links += 1;
                    if links > tree::MOST_LINKS {
                        return Err(Error::text("ELOOP"));
                    }
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

    /// The list of what was added.
    ///
    /// # Errors
    /// Something is below what is no directory, or a hard link is to what is not
    /// there; a temporary file cannot be written.
    pub fn finish(mut self) -> Result<Listing> {
        let sorted = self.sorter.finish()?;
        if !self.targets.is_empty() {
            let mut records = sorted.records()?;
            while let Some((key, value)) = records.next()? {
                let Some(versions) = self.targets.get_mut(key) else {
                    continue;
                };
                match Record::decode(value)? {
                    (at, Record::Node(mut node)) => {
                        node.file = (at, 0);
                        versions.push((at, Target::Node(Box::new(node))));
                    }
                    (at, Record::Link(target)) => versions.push((at, Target::Link(target))),
                    _ => {}
                }
            }
        }
        let mut listing = Listing {
            sorted,
            targets: self.targets,
            files: None,
        };
        let mut files = HashMap::new();
        if self.has_links {
            // Most links may be to files outside of the tree.
            let mut names = Sorter::default();
            let mut paths = listing.paths()?;
            while let Some((_, node)) = paths.next()? {
                if node.file != ONE_NAME && node.kind != Kind::Directory {
                    let id = [node.file.0.to_be_bytes(), node.file.1.to_be_bytes()];
                    names.add(id.as_flattened(), &[])?;
                }
            }
            drop(paths);
            let names = names.finish()?;
            let mut records = names.records()?;
            let (mut last, mut count) = (ONE_NAME, 1);
            while let Some((id, _)) = records.next()? {
                let half = |at| u64::from_be_bytes(id[at..at + 8].try_into().unwrap_or_default());
                let id = (half(0), half(8));
                count = if id == last { count + 1 } else { 1 };
                last = id;
                if count > 1 {
                    files.insert(id, count);
                }
            }
        }
        listing.files = Some(files);
        Ok(listing)
    }
}

fn node<R: Stream>(
    reader: &mut Reader<R>,
    entry: &Entry,
    key: &[u8],
    hash: &dyn Fn(&[u8], u64) -> Result<bool>,
    watch: &dyn Watch,
) -> Result<Node> {
    let offset = reader.position();
    let digest = match entry.kind {
        Kind::File if hash(key, entry.size)? => Some(Box::new(hashed(reader, entry, watch)?)),
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

/// All paths of a tree.
#[derive(Debug)]
pub struct Listing {
    sorted: Sorted,
    targets: HashMap<Key, Vec<(u64, Target)>>,
    /// How many names each file has that has several. None while they are
    /// counted, when each may be one.
    files: Option<HashMap<FileId, u32>>,
}

impl Listing {
    /// Reads all paths, each directory before what is in it, in the order of the
    /// bytes of keys. Directories that an archive implies and does not have are
    /// among them.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn paths(&self) -> Result<Paths<'_>> {
        Ok(Paths {
            listing: self,
            records: self.sorted.records()?,
            next: None,
            above: Vec::new(),
            ready: VecDeque::new(),
            any: false,
        })
    }

    /// How many names a file has that has several.
    pub fn names(&self, file: FileId) -> Option<u32> {
        self.files.as_ref().and_then(|all| all.get(&file).copied())
    }

    /// What falls to one of a file's names of its bytes, rounded up, so that those
    /// of all names are the size of what a layer has of it.
    pub fn share(&self, node: &Node) -> u64 {
        let names = self.names(node.file).unwrap_or(1);
        node.size.div_ceil(u64::from(names.max(1)))
    }

    /// What a path was before a point.
    fn target<'a>(&'a self, mut key: &'a [u8], mut before: u64) -> Option<&'a Node> {
        loop {
            let versions = self.targets.get(key)?;
            match versions.iter().rev().find(|(at, _)| *at < before)? {
                (_, Target::Node(node)) => {
                    return Some(node.as_ref()).filter(|node| node.kind != Kind::Directory);
                }
                // Each is of an earlier point, so this ends.
                (at, Target::Link(target)) => (key, before) = (target, *at),
            }
        }
    }
}

/// A path that may be above the next one.
#[derive(Debug)]
struct Above {
    key: Key,
    /// What is below it and not from after this point is gone.
    barrier: u64,
    /// None of one that only hides, until something is seen below it.
    kind: Option<Kind>,
}

/// Reads paths.
#[derive(Debug)]
pub struct Paths<'a> {
    listing: &'a Listing,
    records: Records<'a>,
    /// A record that was read and not used.
    next: Option<(Key, u64, Record)>,
    above: Vec<Above>,
    ready: VecDeque<(Key, Node)>,
    any: bool,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

/// Whether a path is below a directory.
fn is_below(key: &[u8], directory: &[u8]) -> bool {
    match directory {
        [] => !key.is_empty(),
        _ => key
            .strip_prefix(directory)
            .is_some_and(|rest| rest.first() == Some(&0)),
    }
}

impl Paths<'_> {
    /// The next path; None at the end.
    ///
    /// # Errors
    /// Something is below what is no directory, or a hard link is to what is not
    /// there; a temporary file cannot be read.
    pub fn next(&mut self) -> Result<Option<(Key, Node)>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                self.any = true;
                return Ok(Some(ready));
            }
            if !self.group()? {
                if self.any {
                    return Ok(None);
                }
                // Nothing at all is an empty root.
                self.any = true;
                return Ok(Some((Key::new(), implied())));
            }
        }
    }

    fn record(&mut self) -> Result<Option<(Key, u64, Record)>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        match self.records.next()? {
            None => Ok(None),
            Some((key, value)) => {
                let (at, record) = Record::decode(value)?;
                Ok(Some((key.to_vec(), at, record)))
            }
        }
    }

    /// Reads all records of one path; false when there are none.
    fn group(&mut self) -> Result<bool> {
        let Some((key, mut at, mut record)) = self.record()? else {
            return Ok(false);
        };
        while self
            .above
            .last()
            .is_some_and(|above| !is_below(&key, &above.key))
        {
            self.above.pop();
        }
        // Of what is above, and of the path itself for what is below it.
        let barrier = self.above.last().map_or(0, |above| above.barrier);
        let mut below = barrier;
        let mut found: Option<(u64, Node)> = None;
        loop {
            match record {
                Record::Hide(before) => {
                    found = found.filter(|(at, _)| *at >= before);
                    below = below.max(before - 1);
                }
                Record::HideBelow(before) => below = below.max(before - 1),
                Record::Node(mut node) => {
                    if self.listing.targets.contains_key(&key) {
                        node.file = (at, 0);
                    }
                    if node.kind != Kind::Directory {
                        below = below.max(at);
                    }
                    if at > barrier {
                        found = Some((at, node));
                    }
                }
                Record::Link(target) => {
                    let node = self.listing.target(&target, at).ok_or_else(|| {
                        let error = Error::new("link to", shown(&path(&target)), "ENOENT");
                        Error::property(format_args!("entry {}", shown(&path(&key))), error)
                    })?;
                    below = below.max(at);
                    if at > barrier {
                        found = Some((at, node.clone()));
                    }
                }
            }
            match self.record()? {
                Some((same, next_at, next)) if same == key => (at, record) = (next_at, next),
                next => {
                    self.next = next;
                    break;
                }
            }
        }
        let kind = found.as_ref().map(|(_, node)| node.kind);
        if let Some((_, mut node)) = found {
            if let Some(files) = &self.listing.files
                && (node.kind == Kind::Directory || !files.contains_key(&node.file))
            {
                node.file = ONE_NAME;
            }
            self.imply(&key)?;
            self.ready.push_back((key.clone(), node));
        }
        self.above.push(Above {
            key,
            barrier: below,
            kind,
        });
        Ok(true)
    }

    /// Sees to it that all above a path are directories.
    fn imply(&mut self, key: &[u8]) -> Result<()> {
        if key.is_empty() {
            return Ok(());
        }
        let ends = key.iter().enumerate().filter(|(_, byte)| **byte == 0);
        let ends = std::iter::once(0).chain(ends.map(|(at, _)| at));
        for (i, end) in ends.enumerate() {
            let here = &key[..end];
            if self.above.get(i).is_none_or(|above| above.key != here) {
                let barrier = match i {
                    0 => 0,
                    _ => self.above[i - 1].barrier,
                };
                let above = Above {
                    key: here.to_vec(),
                    barrier,
                    kind: None,
                };
                self.above.insert(i, above);
            }
            let above = &mut self.above[i];
            match above.kind {
                Some(Kind::Directory) => {}
                None => {
                    above.kind = Some(Kind::Directory);
                    self.ready.push_back((here.to_vec(), implied()));
                }
                Some(_) => {
                    let cause = format!("{} is not a directory", shown(&path(here)));
                    return Err(Error::property(
                        format_args!("entry {}", shown(&path(key))),
                        cause,
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A directory that an archive does not have.
fn implied() -> Node {
    Node {
        kind: Kind::Directory,
        implied: true,
        mode: 0o755,
        ..Node::default()
    }
}
