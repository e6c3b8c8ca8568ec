//! What a layer has to hold to make one root file system of another.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::archive::{Kind, Time};
use super::listing::{FileId, Key, Listing, Node, ONE_NAME, Paths, parent};
use super::scan::Source;
use super::sort::{Numbers, Records, Sorted, Sorter};
use super::{Watch, flags, go_on};
use crate::error::Result;

/// Paths for a layer.
#[derive(Debug, Default)]
pub struct Diff {
    /// Paths that the layer has, by their number in the listing: what is new or
    /// changed, and the directories above, without which some tools give them
    /// another mode. None means all.
    present: Option<Bits>,
    /// Names that are no more: see [`hidden`].
    removed: Sorted,
    is_empty: bool,
    /// Bytes of the files that the layer has, and the latest time of all files
    /// in seconds; of a difference only.
    pub totals: Option<(u64, i64)>,
}

/// A set of small numbers.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Adds a number; false if it was there.
    fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    fn has(&self, number: usize) -> bool {
        let word = self.0.get(number / 64).copied().unwrap_or(0);
        word & (1 << (number % 64)) != 0
    }
}

/// A time of a file, no later than `latest`: what is built from one source is
/// to be the same each time (reproducible-builds.org, SOURCE_DATE_EPOCH).
pub fn clamped(time: Time, latest: Option<Time>) -> Time {
    latest.map_or(time, |latest| time.min(latest))
}

/// Names and sizes of files whose content in a base is worth knowing: a root
/// file system's own files of the same size, and any that may be another name
/// of one.
#[derive(Debug, Default)]
pub struct Comparable {
    hash: RandomState,
    /// Hashes of names and sizes. One too many costs a digest and no more.
    known: Numbers,
    linked: HashSet<u64>,
}

impl Comparable {
    /// Adds a path of the root file system.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub fn add(&mut self, key: &[u8], node: &Node) -> Result<()> {
        if node.file != ONE_NAME {
            self.linked.insert(node.size);
        }
        self.known.add(self.hash.hash_one((key, node.size)))
    }

    /// Whether a name with a size is one of them.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn has(&self, key: &[u8], size: u64) -> Result<bool> {
        Ok(self.linked.contains(&size) || self.known.has(self.hash.hash_one((key, size)))?)
    }
}

/// Two listings side by side.
#[derive(Debug)]
pub struct Both<'a> {
    source: Paths<'a>,
    base: Option<Paths<'a>>,
    next: Option<(Key, Node)>,
    known: Option<(Key, Node)>,
    number: usize,
}

/// A path of one or both of them.
#[derive(Debug)]
pub struct Pair {
    /// The path.
    pub key: Key,
    /// What it is now, with its number among all that are.
    pub node: Option<(usize, Node)>,
    /// What it is in the base.
    pub known: Option<Node>,
}

impl<'a> Both<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn new(source: &'a Listing, base: Option<&'a Listing>) -> Result<Both<'a>> {
        let mut source = source.paths()?;
        let mut base = base.map(Listing::paths).transpose()?;
        Ok(Both {
            next: source.next()?,
            known: match &mut base {
                Some(base) => base.next()?,
                None => None,
            },
            source,
            base,
            number: 0,
        })
    }

    /// The next path; None at the end. Directories that an archive does not have
    /// entries of are the base's.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn next(&mut self) -> Result<Option<Pair>> {
        let order = match (&self.next, &self.known) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((key, _)), Some((known, _))) => key.cmp(known),
        };
        let (mut name, mut now, mut before) = (Key::new(), None, None);
        if order.is_ge()
            && let Some(base) = &mut self.base
            && let Some((key, node)) = std::mem::replace(&mut self.known, base.next()?)
        {
            (name, before) = (key, Some(node));
        }
        if order.is_le()
            && let Some((key, mut node)) = std::mem::replace(&mut self.next, self.source.next()?)
        {
            if node.implied
                && let Some(known) = &before
                && known.kind == Kind::Directory
            {
                node = known.clone();
            }
            (name, now) = (key, Some((self.number, node)));
            self.number += 1;
        }
        Ok(Some(Pair {
            key: name,
            node: now,
            known: before,
        }))
    }
}

/// The first names of files that have several, as they are come by.
struct Leaders<'a> {
    listing: &'a Listing,
    first: HashMap<FileId, (Key, u32)>,
}

impl Leaders<'_> {
    fn new(listing: &Listing) -> Leaders<'_> {
        Leaders {
            listing,
            first: HashMap::new(),
        }
    }

    /// The first name of the file of a path; None if it is the only one.
    fn of(&mut self, key: &Key, node: &Node) -> Option<Key> {
        let names = self.listing.names(node.file)?;
        let (first, left) = self
            .first
            .entry(node.file)
            .or_insert_with(|| (key.clone(), names));
        *left -= 1;
        match *left {
            0 => self.first.remove(&node.file).map(|(first, _)| first),
            _ => Some(first.clone()),
        }
    }
}

/// The name in a directory, in the order of the directories: what is removed
/// from one comes before what is removed below it.
fn hidden(directory: &[u8], name: &[u8]) -> Key {
    [directory, name].join(&[0, 0][..])
}

/// Reads the names that are no more.
#[derive(Debug)]
pub struct Removed<'a> {
    records: Records<'a>,
    next: Option<Key>,
}

impl Removed<'_> {
    /// The next name that is no more in a directory. Directories are asked for
    /// in the order of their keys.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn next(&mut self, directory: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(next) = &self.next else {
            return Ok(None);
        };
        let name = next.strip_prefix(directory);
        let Some(name) = name.and_then(|rest| rest.strip_prefix(&[0, 0])) else {
            return Ok(None);
        };
        let name = name.to_vec();
        self.next = self.records.next()?.map(|(key, _)| key.to_vec());
        Ok(Some(name))
    }
}

impl Diff {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether the layer has a path, which is named by its number.
    pub fn has(&self, number: usize) -> bool {
        self.present.as_ref().is_none_or(|all| all.has(number))
    }

    /// The names that are no more.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn removed(&self) -> Result<Removed<'_>> {
        let mut records = self.removed.records()?;
        let next = records.next()?.map(|(key, _)| key.to_vec());
        Ok(Removed { records, next })
    }

    /// The difference of a root file system to the layers of a base: by
    /// metadata, and where that is equal, by content. Times are compared as
    /// they would be written, no later than `latest`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn between(
        base: &Listing,
        source: &mut Source,
        latest: Option<Time>,
        buffer: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<Diff> {
        let Source {
            listing,
            content,
            has_flags,
        } = source;
        let (mut old, mut new) = (Leaders::new(base), Leaders::new(listing));
        let mut present = Bits::default();
        let mut changed_files = HashSet::new();
        let mut removed = Sorter::default();
        let mut is_empty = true;
        let mut newest = i64::MIN;
        // Those above that are directories in both, with their numbers.
        let mut above: Vec<(Key, usize)> = Vec::new();
        let mut both = Both::new(listing, Some(base))?;
        while let Some(Pair { key, node, known }) = both.next()? {
            go_on(watch)?;
            while above
                .last()
                .is_some_and(|(directory, _)| !is_in(&key, directory))
            {
                above.pop();
            }
            let old_leader = known.as_ref().and_then(|known| old.of(&key, known));
            let Some((number, node)) = node else {
                // Where the directory is gone too, it goes with it; where it has
                // become a new one, nothing of the old is in it.
                let directory = parent(&key);
                if let Some((last, number)) = above.last()
                    && directory == Some(last)
                {
                    let name = &key[last.len()..];
                    let name = name.strip_prefix(&[0]).unwrap_or(name);
                    removed.add(&hidden(last, name), &[])?;
                    present.insert(*number);
                    is_empty = false;
                }
                continue;
            };
            newest = newest.max(node.mtime.0);
            let new_leader = new.of(&key, &node);
            let is_directory = |node: &Node| node.kind == Kind::Directory;
            let in_both = is_directory(&node) && known.as_ref().is_some_and(is_directory);
            let known = known.filter(|known| {
                equal(known, &node, *has_flags, latest) && old_leader == new_leader
            });
            let same = match known {
                Some(known) if node.kind == Kind::File => match &known.digest {
                    Some(digest) => **digest == content.digest(&key, &node, buffer, watch)?,
                    None => false,
                },
                known => known.is_some(),
            };
            if !same {
                present.insert(number);
                is_empty = false;
                // A name that stays would stay with the old file.
                if new_leader.is_some() {
                    changed_files.insert(node.file);
                }
            }
            if in_both {
                above.push((key, number));
            }
        }
        let total = close(listing, &mut present, &changed_files)?;
        Ok(Diff {
            present: Some(present),
            removed: removed.finish()?,
            is_empty,
            totals: Some((total, newest)),
        })
    }
}

/// Whether a path is below a directory.
fn is_in(key: &[u8], directory: &[u8]) -> bool {
    let rest = key.strip_prefix(directory);
    rest.is_some_and(|rest| !rest.is_empty() && (directory.is_empty() || rest[0] == 0))
}

/// Adds the other names of files that have changed, and all directories above
/// what there is. Returns the size of all of it.
fn close(listing: &Listing, present: &mut Bits, changed: &HashSet<FileId>) -> Result<u64> {
    let mut total = 0;
    // Each with its number, and whether those above it were added.
    let mut above: Vec<(Key, usize, bool)> = Vec::new();
    let mut paths = listing.paths()?;
    let mut number = 0;
    while let Some((key, node)) = paths.next()? {
        while above
            .last()
            .is_some_and(|(directory, ..)| !is_in(&key, directory))
        {
            above.pop();
        }
        if node.file != ONE_NAME && changed.contains(&node.file) {
            present.insert(number);
        }
        let is_present = present.has(number);
        if is_present {
            total += listing.share(&node);
            for (_, number, done) in above.iter_mut().rev() {
                if std::mem::replace(done, true) {
                    break;
                }
                present.insert(*number);
            }
        }
        if node.kind == Kind::Directory {
            above.push((key, number, false));
        }
        number += 1;
    }
    Ok(total)
}

/// Whether two nodes have the same metadata. Flags count where both sides have
/// them: Linux keeps none of FreeBSD's. `uarch` does not: file systems set it
/// when they please. Nor does the mode of a symbolic link, which is always the
/// same on Linux and means nothing on FreeBSD.
fn equal(base: &Node, node: &Node, has_flags: bool, latest: Option<Time>) -> bool {
    let mode = |node: &Node| (node.kind != Kind::Symlink).then_some(node.mode);
    let fields = |node: &Node| (node.kind, mode(node), node.uid, node.gid, node.size);
    let flags = |node: &Node| node.flags & !flags::ARCHIVE;
    let (more, other) = (base.more(), node.more());
    fields(base) == fields(node)
        && base.mtime == clamped(node.mtime, latest)
        && (&more.link, more.device, &more.attributes)
            == (&other.link, other.device, &other.attributes)
        && (!has_flags || flags(base) == flags(node))
}

#[cfg(test)]
mod tests {
    use super::super::Quiet;
    use super::super::archive::Reader;
    use super::super::listing::{Lister, More};
    use super::super::write::Writer;
    use super::*;

    type Entries<'a> = &'a [(&'a str, &'a [u8])];

    /// An archive of directories (a name with a slash at the end), files, hard
    /// links (`name=target`) and symbolic ones (`name>target`).
    fn archive(entries: Entries<'_>) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, content) in entries {
            let (name, link) = match name.split_once('=') {
                Some((name, link)) => (name, Some(link.as_bytes())),
                None => (*name, None),
            };
            let (name, target) = name.split_once('>').unwrap_or((name, ""));
            let kind = match (name.ends_with('/'), target) {
                (true, _) => Kind::Directory,
                (false, "") => Kind::File,
                (false, _) => Kind::Symlink,
            };
            let node = Node {
                kind,
                mode: 0o755,
                size: content.len() as u64,
                ..Node::default()
            };
            let node = node.with(More {
                link: target.into(),
                ..More::NONE
            });
            writer.header(name.as_bytes(), &node, link).unwrap();
            if link.is_none() {
                writer.data(content).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    fn base(layers: &[Entries<'_>]) -> Listing {
        let mut lister = Lister::default();
        for layer in layers {
            let bytes = archive(layer);
            let mut reader = Reader::new(bytes.as_slice());
            lister
                .read(&mut reader, true, &|_, _| Ok(true), &Quiet::default())
                .unwrap();
        }
        lister.finish().unwrap()
    }

    fn text(key: &[u8]) -> String {
        String::from_utf8(super::super::listing::path(key)).unwrap()
    }

    fn keys(listing: &Listing) -> Vec<String> {
        let mut paths = listing.paths().unwrap();
        let mut keys = Vec::new();
        while let Some((key, _)) = paths.next().unwrap() {
            keys.push(text(&key));
        }
        keys
    }

    /// What a layer has, and what it hides as `directory|name`.
    fn difference(name: &str, base: &Listing, entries: Entries<'_>) -> (Vec<String>, Vec<String>) {
        let path = std::env::temp_dir().join(format!("brig-diff-{name}-{}", std::process::id()));
        std::fs::write(&path, archive(entries)).unwrap();
        let mut source = Source::open(&path, &Quiet::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let diff =
            Diff::between(base, &mut source, None, &mut [0; 512], &Quiet::default()).unwrap();
        let (mut present, mut hidden) = (Vec::new(), Vec::new());
        let mut removed = diff.removed().unwrap();
        let mut both = Both::new(&source.listing, Some(base)).unwrap();
        while let Some(pair) = both.next().unwrap() {
            if !pair.node.is_some_and(|(number, _)| diff.has(number)) {
                continue;
            }
            present.push(text(&pair.key));
            while let Some(name) = removed.next(&pair.key).unwrap() {
                hidden.push(format!("{}|{}", text(&pair.key), text(&name)));
            }
        }
        assert_eq!(removed.next, None);
        assert_eq!(diff.is_empty(), present.is_empty());
        (present, hidden)
    }

    const BASE: Entries<'static> = &[
        ("./", b""),
        ("a/", b""),
        ("a/b/", b""),
        ("a/b/c", b"1"),
        ("d", b"2"),
        ("e=d", b""),
        ("f", b"3"),
    ];

    #[test]
    fn nothing_changed() {
        let (present, removed) = difference("none", &base(&[BASE]), BASE);
        assert!(
            present.is_empty() && removed.is_empty(),
            "{present:?} {removed:?}"
        );
    }

    #[test]
    fn content_and_removal() {
        let new: Entries<'_> = &[
            ("./", b""),
            ("a/", b""),
            ("a/b/", b""),
            ("a/b/c", b"X"),
            ("d", b"2"),
            ("e=d", b""),
        ];
        let (present, removed) = difference("content", &base(&[BASE]), new);
        assert_eq!(present, ["", "a", "a/b", "a/b/c"]);
        assert_eq!(removed, ["|f"]);
        let new: Entries<'_> = &[("./", b""), ("d", b"2"), ("e=d", b""), ("f", b"3")];
        assert_eq!(
            difference("removed", &base(&[BASE]), new),
            (vec!["".into()], vec!["|a".into()])
        );
    }

    #[test]
    fn all_names_of_a_changed_file() {
        let mut new = BASE.to_vec();
        new.push(("g=d", b""));
        assert_eq!(
            difference("names", &base(&[BASE]), &new).0,
            ["", "d", "e", "g"]
        );
        let mut new = BASE.to_vec();
        new[5] = ("e", b"2");
        assert_eq!(difference("apart", &base(&[BASE]), &new).0, ["", "d", "e"]);
    }

    #[test]
    fn a_file_with_several_names_counts_once() {
        let listing = base(&[&[
            ("a", b"123456"),
            ("b=a", b""),
            ("c=a", b""),
            ("d", b"12"),
            ("e", b""),
        ]]);
        let mut paths = listing.paths().unwrap();
        let mut total = 0;
        while let Some((_, node)) = paths.next().unwrap() {
            total += listing.share(&node);
        }
        assert_eq!(total, 8);
    }

    #[test]
    fn layers_of_a_base() {
        let upper: Entries<'_> = &[
            ("a/.wh.b", b""),
            ("a/b/", b""),
            ("a/b/new", b"9"),
            (".wh.f", b""),
        ];
        let map = base(&[BASE, upper]);
        assert_eq!(keys(&map), ["", "a", "a/b", "a/b/new", "d", "e"]);
        let opaque: Entries<'_> = &[("a/x", b""), ("a/.wh..wh..opq", b"")];
        let map = base(&[BASE, opaque]);
        assert_eq!(keys(&map), ["", "a", "a/x", "d", "e", "f"]);
    }

    #[test]
    fn directories_that_are_links() {
        let lower: Entries<'_> = &[
            ("./", b""),
            ("usr/", b""),
            ("usr/lib/", b""),
            ("usr/lib/a", b"1"),
            ("lib>/usr/lib", b""),
            ("usr/lib64>../lib", b""),
        ];
        let upper: Entries<'_> = &[("lib/b", b"2"), ("usr/lib64/.wh.a", b""), ("c=lib/b", b"")];
        let map = base(&[lower, upper]);
        assert_eq!(
            keys(&map),
            ["", "c", "lib", "usr", "usr/lib", "usr/lib/b", "usr/lib64"]
        );
        let endless: Entries<'_> = &[("a>b", b""), ("b>a", b""), ("a/x", b"")];
        let bytes = archive(endless);
        let mut reader = Reader::new(bytes.as_slice());
        let result =
            Lister::default().read(&mut reader, true, &|_, _| Ok(false), &Quiet::default());
        assert_eq!(result.unwrap_err().to_string(), "entry \"a/x\": ELOOP");
    }

    /// Paths with their sizes and how many names their files have.
    fn files(listing: &Listing) -> Vec<(String, u64, u32)> {
        let mut paths = listing.paths().unwrap();
        let mut files = Vec::new();
        while let Some((key, node)) = paths.next().unwrap() {
            if node.kind != Kind::Directory {
                files.push((text(&key), node.size, listing.names(node.file).unwrap_or(1)));
            }
        }
        files
    }

    #[test]
    fn names_of_files_that_are_replaced() {
        let lower: Entries<'_> = &[
            ("a", b"1"),
            ("b=a", b""),
            ("c=b", b""),
            ("a", b"22"),
            ("d=a", b""),
            ("d=d", b""),
        ];
        let file = |name: &str, size, names| (name.to_owned(), size, names);
        let wanted = [
            file("a", 2, 2),
            file("b", 1, 2),
            file("c", 1, 2),
            file("d", 2, 2),
        ];
        assert_eq!(files(&base(&[lower])), wanted);
        // A name that has gone does not count.
        let upper: Entries<'_> = &[("e=c", b""), (".wh.a", b""), ("b", b"333")];
        let wanted = [
            file("b", 3, 1),
            file("c", 1, 2),
            file("d", 2, 1),
            file("e", 1, 2),
        ];
        assert_eq!(files(&base(&[lower, upper])), wanted);
        let bytes = archive(&[("a/", b""), ("b=a", b"")]);
        for missing in [&bytes, &archive(&[("b=a", b"")]), &archive(&[("b=b", b"")])] {
            let mut lister = Lister::default();
            let mut reader = Reader::new(missing.as_slice());
            lister
                .read(&mut reader, true, &|_, _| Ok(true), &Quiet::default())
                .unwrap();
            let error = lister.finish().unwrap_err().to_string();
            assert!(error.starts_with("entry \"b\": cannot link to "), "{error}");
        }
    }

    #[test]
    fn what_is_replaced_takes_what_is_below_along() {
        let lower: Entries<'_> = &[("d/x", b"1"), ("d", b"f"), ("d/", b""), ("d/y", b"2")];
        assert_eq!(keys(&base(&[lower])), ["", "d", "d/y"]);
        let upper: Entries<'_> = &[("d/z/w", b"3"), (".wh.d", b"")];
        assert_eq!(keys(&base(&[lower, upper])), ["", "d", "d/z", "d/z/w"]);
        let file: Entries<'_> = &[("d", b"f")];
        assert_eq!(keys(&base(&[lower, upper, file])), ["", "d"]);
        // In the order of the entries, as they are applied.
        let lower: Entries<'_> = &[("usr/", b""), ("lib>usr", b"")];
        let upper: Entries<'_> = &[(".wh.lib", b""), ("lib/x", b"1")];
        assert_eq!(keys(&base(&[lower, upper])), ["", "lib", "lib/x", "usr"]);
    }

    #[test]
    fn nothing_is_below_a_file() {
        let bytes = archive(&[("a", b"1"), ("a/b", b"2")]);
        let mut lister = Lister::default();
        let mut reader = Reader::new(bytes.as_slice());
        lister
            .read(&mut reader, false, &|_, _| Ok(false), &Quiet::default())
            .unwrap();
        let listing = lister.finish().unwrap();
        let mut paths = listing.paths().unwrap();
        let error = loop {
            match paths.next() {
                Ok(next) => assert!(next.is_some()),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(error, "entry \"a/b\": \"a\" is not a directory");
    }

    #[test]
    fn a_directory_becomes_a_file() {
        let new: Entries<'_> = &[
            ("./", b""),
            ("a", b"file"),
            ("d", b"2"),
            ("e=d", b""),
            ("f", b"3"),
        ];
        let wanted = (vec!["".into(), "a".into()], Vec::new());
        assert_eq!(difference("type", &base(&[BASE]), new), wanted);
    }

    #[test]
    fn what_does_not_count() {
        let link = |mode| Node {
            kind: Kind::Symlink,
            mode,
            ..Node::default()
        };
        assert!(equal(&link(0o777), &link(0o755), true, None));
        let file = |mode, flags, mtime| Node {
            mode,
            flags,
            mtime,
            ..Node::default()
        };
        let base = file(0o644, 0, (5, 0));
        assert!(equal(
            &base,
            &file(0o644, flags::ARCHIVE, (5, 0)),
            true,
            None
        ));
        assert!(!equal(&base, &file(0o644, 1, (5, 0)), true, None));
        assert!(equal(&base, &file(0o644, 1, (5, 0)), false, None));
        assert!(!equal(&base, &file(0o755, 0, (5, 0)), true, None));
        assert!(equal(&base, &file(0o644, 0, (9, 9)), true, Some((5, 0))));
        assert!(!equal(&base, &file(0o644, 0, (4, 0)), true, Some((5, 0))));
    }
}
