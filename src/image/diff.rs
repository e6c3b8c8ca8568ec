//! What a layer has to hold to make one root file system of another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::archive::{Kind, Time};
use super::scan::{Key, Map, Node, Source, parent};
use super::{Watch, flags};
use crate::error::Result;

/// Paths for a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Paths that the layer has: what is new or changed, and the directories
    /// above, without which some tools give them another mode. None means all.
    pub present: Option<BTreeSet<Key>>,
    /// Names that are no more, by directory.
    pub removed: BTreeMap<Key, BTreeSet<Vec<u8>>>,
}

/// A time of a file, no later than `latest`: what is built from one source is
/// to be the same each time (reproducible-builds.org, SOURCE_DATE_EPOCH).
pub fn clamped(time: Time, latest: Option<Time>) -> Time {
    latest.map_or(time, |latest| time.min(latest))
}

/// Names and sizes of files whose content in a base is worth knowing.
#[derive(Debug, Default)]
pub struct Comparable<'a> {
    map: Option<&'a Map>,
    linked: HashSet<u64>,
}

impl Comparable<'_> {
    /// Those of a root file system: its own files of the same size, and any
    /// that may be another name of one.
    pub fn of(map: &Map) -> Comparable<'_> {
        let leaders = map.leaders();
        Comparable {
            map: Some(map),
            linked: leaders.values().map(|key| map.nodes[*key].size).collect(),
        }
    }

    /// Whether a name with a size is one of them.
    pub fn has(&self, key: &[u8], size: u64) -> bool {
        let same = |map: &Map| map.nodes.get(key).is_some_and(|node| node.size == size);
        self.linked.contains(&size) || self.map.is_some_and(same)
    }
}

impl Diff {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.present.as_ref().is_some_and(BTreeSet::is_empty) && self.removed.is_empty()
    }

    /// Whether the layer has a path.
    pub fn has(&self, key: &[u8]) -> bool {
        self.present.as_ref().is_none_or(|all| all.contains(key))
    }

    /// The difference of a root file system to the layers of a base: by
    /// metadata, and where that is equal, by content. Times are compared as
    /// they would be written, no later than `latest`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn between(
        base: &Map,
        source: &mut Source,
        latest: Option<Time>,
        buffer: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<Diff> {
        adopt_implied(base, &mut source.map);
        let Source {
            map,
            content,
            has_flags,
        } = source;
        let (old, new) = (base.leaders(), map.leaders());
        let mut changed = BTreeSet::new();
        for (key, node) in &map.nodes {
            let known = base.nodes.get(key).filter(|known| {
                equal(known, node, *has_flags, latest)
                    && old.get(&known.file).copied() == new.get(&node.file).copied()
            });
            let same = match known {
                Some(known) if node.kind == Kind::File => match &known.digest {
                    Some(digest) => **digest == content.digest(key, node, buffer, watch)?,
                    None => false,
                },
                known => known.is_some(),
            };
            if !same {
                changed.insert(key.clone());
            }
        }
        // A name that stays would stay with the old file.
        let mut groups: HashMap<u32, Vec<&Key>> = HashMap::new();
        let several = |node: &Node| node.kind != Kind::Directory && new.contains_key(&node.file);
        for (key, node) in map.nodes.iter().filter(|(_, node)| several(node)) {
            groups.entry(node.file).or_default().push(key);
        }
        for group in groups.values() {
            if group.iter().any(|key| changed.contains(*key)) {
                changed.extend(group.iter().map(|key| key.to_vec()));
            }
        }
        let mut removed: BTreeMap<Key, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for key in base
            .nodes
            .keys()
            .filter(|key| !map.nodes.contains_key(*key))
        {
            let Some(above) = parent(key) else { continue };
            // Where the directory is gone too, it goes with it; where it has
            // become a new one, nothing of the old is in it.
            let is_directory = |map: &Map| {
                map.nodes
                    .get(above)
                    .is_some_and(|node| node.kind == Kind::Directory)
            };
            if is_directory(map) && is_directory(base) {
                let name = &key[above.len()..];
                let name = name.strip_prefix(&[0]).unwrap_or(name);
                removed
                    .entry(above.to_vec())
                    .or_default()
                    .insert(name.to_vec());
            }
        }
        let mut present = changed.clone();
        let above_changed = changed.iter().map(|key| parent(key));
        for mut above in above_changed.chain(removed.keys().map(|key| Some(key.as_slice()))) {
            // One that is there has all above it, or gets its own turn.
            while let Some(key) = above
                && present.insert(key.to_vec())
            {
                above = parent(key);
            }
        }
        Ok(Diff {
            present: Some(present),
            removed,
        })
    }
}

/// Directories that an archive does not have entries of are the base's.
fn adopt_implied(base: &Map, map: &mut Map) {
    let implied = map.nodes.iter_mut().filter(|(_, node)| node.implied);
    for (key, node) in implied {
        if let Some(known) = base.nodes.get(key)
            && known.kind == Kind::Directory
        {
            *node = Node {
                file: node.file,
                ..known.clone()
            };
        }
    }
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
    use super::super::scan::More;
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

    fn base(layers: &[Entries<'_>]) -> Map {
        let mut map = Map::default();
        for layer in layers {
            let bytes = archive(layer);
            map.read(
                &mut Reader::new(bytes.as_slice()),
                true,
                &|_, _| true,
                &Quiet::default(),
            )
            .unwrap();
        }
        map
    }

    fn text(key: &[u8]) -> String {
        String::from_utf8(super::super::scan::path(key)).unwrap()
    }

    /// What a layer has, and what it hides as `directory|name`.
    fn difference(name: &str, base: &Map, entries: Entries<'_>) -> (Vec<String>, Vec<String>) {
        let path = std::env::temp_dir().join(format!("brig-diff-{name}-{}", std::process::id()));
        std::fs::write(&path, archive(entries)).unwrap();
        let mut source = Source::open(&path, &Quiet::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let diff =
            Diff::between(base, &mut source, None, &mut [0; 512], &Quiet::default()).unwrap();
        let present = diff.present.iter().flatten().map(|key| text(key)).collect();
        let removed = diff.removed.iter().flat_map(|(key, names)| {
            names
                .iter()
                .map(move |name| format!("{}|{}", text(key), text(name)))
        });
        (present, removed.collect())
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
    fn layers_of_a_base() {
        let upper: Entries<'_> = &[
            ("a/.wh.b", b""),
            ("a/b/", b""),
            ("a/b/new", b"9"),
            (".wh.f", b""),
        ];
        let map = base(&[BASE, upper]);
        let keys: Vec<String> = map.nodes.keys().map(|key| text(key)).collect();
        assert_eq!(keys, ["", "a", "a/b", "a/b/new", "d", "e"]);
        let opaque: Entries<'_> = &[("a/x", b""), ("a/.wh..wh..opq", b"")];
        let map = base(&[BASE, opaque]);
        assert!(
            map.nodes.contains_key(b"a\0x".as_slice())
                && !map.nodes.contains_key(b"a\0b".as_slice())
        );
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
        let keys: Vec<String> = map.nodes.keys().map(|key| text(key)).collect();
        assert_eq!(
            keys,
            ["", "c", "lib", "usr", "usr/lib", "usr/lib/b", "usr/lib64"]
        );
        let endless: Entries<'_> = &[("a>b", b""), ("b>a", b""), ("a/x", b"")];
        let bytes = archive(endless);
        let mut reader = Reader::new(bytes.as_slice());
        let result = Map::default().read(&mut reader, true, &|_, _| false, &Quiet::default());
        assert_eq!(result.unwrap_err().to_string(), "entry \"a/x\": ELOOP");
    }

    #[test]
    fn nothing_is_below_a_file() {
        let bytes = archive(&[("a", b"1"), ("a/b", b"2")]);
        let mut map = Map::default();
        let mut reader = Reader::new(bytes.as_slice());
        map.read(&mut reader, false, &|_, _| false, &Quiet::default())
            .unwrap();
        let error = map.fill_in().unwrap_err().to_string();
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
