//! What a layer has to hold to make one root file system of another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Watch;
use super::archive::Kind;
use super::scan::{Key, Map, Node, Source, parent};
use crate::error::Result;

/// Paths for a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Paths that the layer has: what is new or changed, and the directories
    /// above, without which some tools give them another mode.
    pub present: BTreeSet<Key>,
    /// Names that are no more, by directory.
    pub removed: BTreeMap<Key, BTreeSet<Vec<u8>>>,
}

impl Diff {
    /// All of a root file system.
    pub fn whole(source: &Source) -> Diff {
        Diff {
            present: source.map.nodes.keys().cloned().collect(),
            removed: BTreeMap::new(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty() && self.removed.is_empty()
    }

    /// The difference of a root file system to the layers of a base: by
    /// metadata, and where that is equal, by content.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn between(
        base: &Map,
        source: &mut Source,
        buffer: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<Diff> {
        let mut changed = BTreeSet::new();
        let keys: Vec<Key> = source.map.nodes.keys().cloned().collect();
        {
            let (old, new) = (base.leaders(), source.map.leaders());
            for (key, node) in &source.map.nodes {
                let same = base.nodes.get(key).is_some_and(|known| {
                    equal(known, node, source.has_flags)
                        && old.get(&known.file).copied() == new.get(&node.file).copied()
                });
                if !same {
                    changed.insert(key.clone());
                }
            }
        }
        for key in keys {
            let Some(node) = source.map.nodes.get(&key) else {
                continue;
            };
            if node.kind != Kind::File || changed.contains(&key) {
                continue;
            }
            let known = base.nodes.get(&key).and_then(|known| known.digest);
            if known != Some(source.digest(&key, buffer, watch)?) {
                changed.insert(key);
            }
        }
        // A name that stays would stay with the old file.
        let mut groups: HashMap<usize, Vec<&Key>> = HashMap::new();
        let leaders = source.map.leaders();
        for (key, node) in source
            .map
            .nodes
            .iter()
            .filter(|(_, node)| leaders.contains_key(&node.file))
        {
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
            .filter(|key| !source.map.nodes.contains_key(*key))
        {
            let Some(above) = parent(key) else { continue };
            // Where the directory is gone too, it goes with it.
            if source
                .map
                .nodes
                .get(above)
                .is_some_and(|node| node.kind == Kind::Directory)
            {
                let name = key[above.len()..]
                    .strip_prefix(&[0])
                    .unwrap_or(&key[above.len()..]);
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
        Ok(Diff { present, removed })
    }
}

/// Whether two nodes have the same metadata. Flags count where both sides have
/// them: Linux keeps none of FreeBSD's.
fn equal(base: &Node, node: &Node, has_flags: bool) -> bool {
    let fields = |node: &Node| {
        (
            node.kind,
            node.mode,
            node.uid,
            node.gid,
            node.size,
            node.mtime,
            node.device,
        )
    };
    fields(base) == fields(node)
        && base.link == node.link
        && base.attributes == node.attributes
        && (!has_flags || base.flags == node.flags)
}

#[cfg(test)]
mod tests {
    use super::super::Quiet;
    use super::super::archive::Reader;
    use super::super::write::Writer;
    use super::*;

    type Entries<'a> = &'a [(&'a str, &'a [u8])];

    /// An archive of directories (a name with a slash at the end), files and
    /// hard links (`name=target`).
    fn archive(entries: Entries<'_>) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, content) in entries {
            let (name, link) = match name.split_once('=') {
                Some((name, link)) => (name, Some(link.as_bytes())),
                None => (*name, None),
            };
            let kind = if name.ends_with('/') {
                Kind::Directory
            } else {
                Kind::File
            };
            let node = Node {
                kind,
                mode: 0o755,
                size: content.len() as u64,
                ..Node::default()
            };
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
                true,
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
        let diff = Diff::between(base, &mut source, &mut [0; 512], &Quiet::default()).unwrap();
        let present = diff.present.iter().map(|key| text(key)).collect();
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
}
