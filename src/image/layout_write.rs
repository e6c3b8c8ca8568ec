//! Adding an image to a layout, and writing an archive of one. What is not
//! whole never has the name that it is looked for by.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::Digest;
use serde_json::{Value, json};

use super::archive::Kind;
use super::blob::{self, Blob, CHUNK, Hasher};
use super::layout::{INDEX, REF_NAME};
use super::listing::Node;
use super::temporary::{self, Temporary};
use super::tree;
use super::unpack::Stage;
use super::write::Writer;
use super::{Watch, go_on};
use crate::error::{Context, Error, Result, io_name};

/// The file that says a directory is a layout (image-layout.md), and its text.
const LAYOUT: &str = "oci-layout";
const LAYOUT_TEXT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
const INDEX_FILE: &str = "index.json";
/// What a layout has, in the order in which it gets it.
const MEMBERS: [&str; 3] = ["blobs", LAYOUT, INDEX_FILE];
/// In the directory of a writer: the new blobs, a line each. The index that
/// makes them an image's lies beside it until that is what it does.
const ADDED: &str = "added";

/// A blob of the image that is written.
#[derive(Debug)]
pub struct Piece {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub blob: Blob,
    /// The file that becomes it, where it was written as one.
    pub temporary: Option<Temporary>,
}

impl Piece {
    /// A document.
    pub fn of(bytes: Vec<u8>) -> Piece {
        Piece {
            digest: blob::sha256(&bytes),
            blob: Blob::Memory(Arc::from(bytes)),
            temporary: None,
        }
    }

    fn path(&self) -> String {
        format!("blobs/{}/{}", self.digest.algorithm(), self.digest.digest())
    }
}

/// A layout that gets an image.
#[derive(Debug)]
pub struct Target {
    /// The layout, or the directory that becomes it.
    path: PathBuf,
    /// Of a new one.
    stage: Option<Stage>,
}

impl Target {
    /// Opens a layout, or begins a new one.
    ///
    /// # Errors
    /// There is something else, or it cannot be written.
    pub fn open(path: &Path) -> Result<Target> {
        take_back(path);
        Stage::recover(path, &MEMBERS);
        let is_empty = match std::fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                let text = format!("{} is a file, not an image layout", path.display());
                return Err(Error::text(text).hint("an archive is written with --oci-archive"));
            }
            Err(e) => return Err(e).doing("open", object(path)),
        };
        if !is_empty {
            read_index(path)?;
            return Ok(Target {
                path: path.into(),
                stage: None,
            });
        }
        // A path of one component has no directory to be removed from.
        let whole = std::path::absolute(path).doing("create", object(path))?;
        let stage = Stage::begin(&whole)
            .map_err(|error| Error::new("create", object(path), error.cause))?;
        let inside = stage.path().to_owned();
        write(&inside.join(LAYOUT), LAYOUT_TEXT)?;
        write(&inside.join(INDEX_FILE), &index_text(&empty_index()))?;
        Ok(Target {
            path: inside,
            stage: Some(stage),
        })
    }

    /// Where files that become blobs are written.
    pub fn directory(&self) -> &Path {
        &self.path
    }

    /// Adds blobs, and then the image by its name, in place of one that has it.
    ///
    /// # Errors
    /// Something cannot be written; then nothing was added.
    pub fn publish(
        self,
        tag: &str,
        descriptor: &Value,
        pieces: Vec<Piece>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let (mut ready, mut there) = (Vec::new(), Vec::new());
        for piece in pieces {
            let name = piece.path();
            let path = self.path.join(&name);
            let temporary = match piece.temporary {
                Some(temporary) => temporary,
                // The base's blobs in its own layout.
                None if has(&path, &piece, watch)? => {
                    there.push(path);
                    continue;
                }
                None => {
                    let temporary = Temporary::file(&self.path)?;
                    let object = path.display().to_string();
                    let mut file = temporary.open()?;
                    transfer(&piece.digest, &piece.blob, watch, &mut |bytes| {
                        file.write_all(bytes).doing("write", &object)
                    })?;
                    temporary
                }
            };
            ready.push((name, temporary));
        }
        let Target { path, stage } = self;
        // One that is being made is locked, and nobody else's.
        let lock = match &stage {
            Some(_) => None,
            None => Some(lock(&path)?),
        };
        // Looked at before there was a lock.
        if let Some(gone) = there.iter().find(|path| !path.exists()) {
            let text = format!("{} was removed meanwhile", gone.display());
            return Err(Error::text(text).hint("try again"));
        }
        let mut added = Vec::new();
        let done = add(&path, ready, &mut added, tag, descriptor, watch);
        if done.is_err() {
            for path in &added {
                let _ = std::fs::remove_file(path);
            }
        }
        done?;
        drop(lock);
        match stage {
            Some(stage) => stage.publish(&MEMBERS),
            None => Ok(()),
        }
    }
}

/// Locks a layout. There is one writer at a time: another one might rely on a
/// blob that is taken back.
fn lock(layout: &Path) -> Result<Flock<File>> {
    let file = File::open(layout).doing("open", layout.display())?;
    temporary::lock(file, FlockArg::LockExclusive).doing("lock", layout.display())
}

/// Gives blobs their names and writes the index. A directory tells what is
/// new until the index is there.
fn add(
    layout: &Path,
    ready: Vec<(String, Temporary)>,
    added: &mut Vec<PathBuf>,
    tag: &str,
    descriptor: &Value,
    watch: &dyn Watch,
) -> Result<()> {
    // What takes long is done first.
    for (name, temporary) in &ready {
        go_on(watch)?;
        temporary.sync().doing("write", name)?;
    }
    let mut index = read_index(layout)?;
    put(&mut index, tag, descriptor);
    // One that is there may be damaged, but it is not ours to remove.
    let new: Vec<bool> = ready
        .iter()
        .map(|(name, _)| !layout.join(name).exists())
        .collect();
    let names = ready.iter().zip(&new).filter(|(_, new)| **new);
    let names: String = names.map(|((name, _), _)| format!("{name}\n")).collect();
    let intent = Temporary::directory(layout)?;
    let prepared = intent.path().join(INDEX_FILE);
    write(&intent.path().join(ADDED), &names)?;
    write(&prepared, &index_text(&index))?;
    sync(intent.path())?;
    sync(layout)?;
    let mut directories = Vec::new();
    for ((name, temporary), is_new) in ready.into_iter().zip(new) {
        go_on(watch)?;
        let path = layout.join(name);
        let Some(directory) = path.parent() else {
            continue;
        };
        std::fs::create_dir_all(directory).doing("create", directory.display())?;
        if !directories.iter().any(|known| known == directory) {
            directories.push(directory.to_owned());
        }
        temporary.name(&path).doing("create", path.display())?;
        if is_new {
            added.push(path);
        }
    }
    for directory in directories {
        sync(&directory)?;
    }
    go_on(watch)?;
    let path = layout.join(INDEX_FILE);
    std::fs::rename(&prepared, &path).doing("create", path.display())?;
    // The image is there: what cannot be undone does not fail any more.
    added.clear();
    sync(layout)
}

/// Removes the blobs that a killed writer added without an image.
fn take_back(layout: &Path) {
    // What is not to be opened is told of later.
    if !layout.is_dir() {
        return;
    }
    let Ok(lock) = lock(layout) else {
        return;
    };
    temporary::each_left(layout, |left| {
        // Without its index, which is in its place, the image is whole.
        let Ok(added) = std::fs::read_to_string(left.join(ADDED)) else {
            return;
        };
        if left.join(INDEX_FILE).exists() {
            for name in added.lines().filter(|name| is_blob(name)) {
                let _ = std::fs::remove_file(layout.join(name));
            }
        }
        let _ = tree::remove_path(left);
    });
    drop(lock);
}

/// Whether a line names a blob of a layout, and nothing else.
fn is_blob(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    parts.len() == 3 && parts[0] == "blobs" && parts[1..].iter().all(is_word)
}

/// Writes a file to the disk.
fn write(path: &Path, text: &str) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.doing("write", path.display())
}

fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.doing("write", directory.display())
}

/// Whether a blob is there and is what it should be.
fn has(path: &Path, piece: &Piece, watch: &dyn Watch) -> Result<bool> {
    let Ok(file) = File::open(path) else {
        return Ok(false);
    };
    let length = file.metadata().doing("read", path.display())?.len();
    let blob = Blob::File {
        file: Arc::new(file),
        start: 0,
        length,
    };
    let verified = blob::verify("blob", &blob, &piece.digest, piece.blob.length(), watch);
    go_on(watch)?;
    Ok(verified.is_ok())
}

/// Calls `each` with a blob's bytes, and then compares their digest.
fn transfer(
    digest: &Digest,
    blob: &Blob,
    watch: &dyn Watch,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut hasher = Hasher::of(digest)?;
    let mut reader = blob.reader();
    let mut buffer = vec![0_u8; CHUNK];
    loop {
        go_on(watch)?;
        let read = reader.read(&mut buffer);
        let read = read.map_err(|e| Error::new("read", digest, io_name(&e)))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        each(&buffer[..read])?;
    }
    let found = hasher.finish();
    if found != digest.digest() {
        return Err(blob::mismatch("blob", digest, &found));
    }
    Ok(())
}

fn object(layout: &Path) -> String {
    format!("image layout {}", layout.display())
}

fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
}

fn index_text(index: &Value) -> String {
    format!("{index}\n")
}

/// The index of a layout, with all that it has.
fn read_index(layout: &Path) -> Result<Value> {
    let wrong = |why: &str| {
        let text = format!("{} is not an image layout: {why}", layout.display());
        Error::text(text).hint("name a new directory")
    };
    if !layout.join(LAYOUT).is_file() {
        return Err(wrong("it has no file oci-layout"));
    }
    let path = layout.join(INDEX_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong("it has no index.json"));
        }
        Err(e) => return Err(e).doing("read", path.display()),
    };
    let length = file.metadata().doing("read", path.display())?.len();
    let blob = Blob::File {
        file: Arc::new(file),
        start: 0,
        length,
    };
    let text = blob::whole("index.json", &blob)?;
    let index: Value = serde_json::from_slice(&text)
        .map_err(|error| wrong(&format!("its index.json is not JSON: {error}")))?;
    match index.get("manifests") {
        Some(Value::Array(_)) => Ok(index),
        _ => Err(wrong("its index.json has no manifests")),
    }
}

/// Puts a descriptor in the place of those that have its name, or at the end.
fn put(index: &mut Value, tag: &str, descriptor: &Value) {
    let Some(all) = index["manifests"].as_array_mut() else {
        return;
    };
    let is_it = |known: &Value| known["annotations"][REF_NAME] == tag;
    let at = all.iter().position(is_it).unwrap_or(all.len());
    all.retain(|known| !is_it(known));
    all.insert(at.min(all.len()), descriptor.clone());
}

/// An archive that waits for its name.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    temporary: Temporary,
}

impl Archive {
    /// Begins an archive.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn create(path: &Path) -> Result<Archive> {
        if path.is_dir() {
            let text = format!("{} is a directory, not an archive", path.display());
            return Err(Error::text(text).hint("a layout is written with --image"));
        }
        let temporary = Temporary::file(directory_of(path))
            .map_err(|error| Error::new("create", path.display(), error.cause))?;
        Ok(Archive {
            path: path.into(),
            temporary,
        })
    }

    /// Writes the layout of one image.
    ///
    /// # Errors
    /// It cannot be written, or a blob is damaged.
    pub fn write(
        &self,
        descriptor: &Value,
        pieces: &[Piece],
        time: i64,
        watch: &dyn Watch,
    ) -> Result<()> {
        let fault = |e: std::io::Error| Error::new("write", self.path.display(), io_name(&e));
        let file = self.temporary.open()?;
        let mut writer = Writer::new(std::io::BufWriter::with_capacity(CHUNK, file));
        let node = |kind, size| Node {
            kind,
            size,
            mode: if kind == Kind::File { 0o644 } else { 0o755 },
            mtime: (time, 0),
            ..Node::default()
        };
        let mut index = empty_index();
        index["manifests"] = json!([descriptor]);
        let index = index_text(&index);
        for (name, text) in [(LAYOUT, LAYOUT_TEXT), ("index.json", &index)] {
            let node = node(Kind::File, text.len() as u64);
            writer.header(name.as_bytes(), &node, None).map_err(fault)?;
            writer.data(text.as_bytes()).map_err(fault)?;
        }
        let mut sorted: Vec<&Piece> = pieces.iter().collect();
        sorted.sort_by_key(|piece| piece.path());
        sorted.dedup_by_key(|piece| piece.path());
        let mut directories = vec!["blobs/".to_owned()];
        for piece in &sorted {
            let directory = format!("blobs/{}/", piece.digest.algorithm());
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        for directory in &directories {
            let node = node(Kind::Directory, 0);
            writer
                .header(directory.as_bytes(), &node, None)
                .map_err(fault)?;
        }
        for piece in sorted {
            let node = node(Kind::File, piece.blob.length());
            writer
                .header(piece.path().as_bytes(), &node, None)
                .map_err(fault)?;
            transfer(&piece.digest, &piece.blob, watch, &mut |bytes| {
                writer.data(bytes).map_err(fault)
            })?;
        }
        let buffered = writer.finish().map_err(fault)?;
        buffered.into_inner().map_err(|e| fault(e.into_error()))?;
        Ok(())
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn publish(self) -> Result<()> {
        let object = self.path.display();
        self.temporary.sync().doing("write", &object)?;
        self.temporary.name(&self.path).doing("create", &object)?;
        sync(directory_of(&self.path))
    }
}

/// The directory that a path is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::Quiet;
    use super::super::layout::Layout;
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path =
                std::env::temp_dir().join(format!("brig-layout-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        fn names(&self, below: &str) -> Vec<String> {
            let entries = std::fs::read_dir(self.0.join(below)).unwrap();
            let name = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.unwrap().file_name().into_string().unwrap()
            };
            let mut names: Vec<String> = entries.map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn descriptor(piece: &Piece, tag: &str) -> Value {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": piece.digest.to_string(),
            "size": piece.blob.length(),
            "annotations": {REF_NAME: tag},
        })
    }

    fn publish(layout: &Path, tag: &str, text: &str) -> Result<()> {
        let piece = Piece::of(text.as_bytes().to_vec());
        let descriptor = descriptor(&piece, tag);
        let target = Target::open(layout)?;
        target.publish(tag, &descriptor, vec![piece], &Quiet::default())
    }

    #[test]
    fn names_are_added_and_replaced() {
        let base = Directory::new("names");
        let layout = base.0.join("images");
        publish(&layout, "a", "1").unwrap();
        publish(&layout, "b", "2").unwrap();
        publish(&layout, "a", "3").unwrap();
        assert_eq!(base.names(""), ["images"]);
        assert_eq!(base.names("images"), ["blobs", "index.json", "oci-layout"]);
        assert_eq!(base.names("images/blobs/sha256").len(), 3);
        let read = Layout::open(&layout, &Quiet::default()).unwrap();
        let named = |at: usize| (read.images[at].names.clone(), read.images[at].digest());
        let digest = |text: &str| blob::sha256(text.as_bytes()).to_string();
        assert_eq!(named(0), (vec!["a".into()], Some(digest("3").as_str())));
        assert_eq!(named(1), (vec!["b".into()], Some(digest("2").as_str())));
    }

    #[test]
    fn what_others_wrote_into_the_index_stays() {
        let base = Directory::new("index");
        let text = "{\"schemaVersion\":2,\"x\":[1],\"manifests\":[{\"y\":2}]}";
        std::fs::write(base.0.join(LAYOUT), LAYOUT_TEXT).unwrap();
        std::fs::write(base.0.join("index.json"), text).unwrap();
        publish(&base.0, "t", "1").unwrap();
        let index = read_index(&base.0).unwrap();
        assert_eq!(
            (&index["x"], &index["manifests"][0]),
            (&json!([1]), &json!({"y": 2}))
        );
        assert_eq!(index["manifests"][1]["annotations"][REF_NAME], "t");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let base = Directory::new("failure");
        let layout = base.0.join("images");
        publish(&layout, "a", "1").unwrap();
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let quiet = Quiet::default();
        quiet.stop.store(true, Ordering::Relaxed);
        let piece = Piece::of(b"2".to_vec());
        let entry = descriptor(&piece, "b");
        let target = Target::open(&layout).unwrap();
        let result = target.publish("b", &entry, vec![piece], &quiet);
        assert!(result.unwrap_err().to_string().starts_with("interrupted"));
        // A blob that is not what its digest says.
        let mut piece = Piece::of(b"2".to_vec());
        piece.blob = Blob::Memory(Arc::from(&b"3"[..]));
        let target = Target::open(&layout).unwrap();
        let result = target.publish("b", &entry, vec![piece], &Quiet::default());
        assert!(result.unwrap_err().to_string().contains("is damaged"));
        assert_eq!(base.names("images"), ["blobs", "index.json", "oci-layout"]);
        assert_eq!(base.names("images/blobs/sha256").len(), 1);
        assert_eq!(std::fs::read(layout.join("index.json")).unwrap(), index);
        // The same for a layout that was to be new.
        let piece = Piece::of(b"2".to_vec());
        let target = Target::open(&base.0.join("new")).unwrap();
        assert!(target.publish("b", &entry, vec![piece], &quiet).is_err());
        assert_eq!(base.names(""), ["images"]);
    }

    #[test]
    fn what_a_killed_writer_added_goes() {
        let base = Directory::new("added");
        let layout = base.0.join("images");
        publish(&layout, "a", "1").unwrap();
        let blobs = layout.join("blobs/sha256");
        let writer = |name: &str, has_index: bool| {
            std::fs::write(blobs.join(name), "").unwrap();
            std::fs::write(base.0.join("beside"), "").unwrap();
            let left = layout.join(format!(".brig-1-{name}"));
            std::fs::create_dir(&left).unwrap();
            let added = format!("blobs/sha256/{name}\nblobs/../../beside\n../beside\n");
            std::fs::write(left.join(ADDED), added).unwrap();
            if has_index {
                std::fs::write(left.join(INDEX_FILE), "{}").unwrap();
            }
        };
        writer("dead", true);
        writer("beef", false);
        publish(&layout, "b", "2").unwrap();
        assert!(blobs.join("beef").exists() && !blobs.join("dead").exists());
        assert_eq!(base.names("images/blobs/sha256").len(), 3);
        assert_eq!(base.names("images"), ["blobs", INDEX_FILE, LAYOUT]);
        assert_eq!(base.names(""), ["beside", "images"]);
    }

    #[test]
    fn what_is_no_layout() {
        let base = Directory::new("wrong");
        let open = |name: &str| Target::open(&base.0.join(name)).unwrap_err().to_string();
        std::fs::write(base.0.join("file"), "").unwrap();
        assert!(
            open("file").ends_with(
                "is a file, not an image layout; an archive is written with --oci-archive"
            )
        );
        assert!(open("").contains("is not an image layout: it has no file oci-layout"));
        std::fs::write(base.0.join(LAYOUT), LAYOUT_TEXT).unwrap();
        assert!(open("").contains("it has no index.json"));
        std::fs::write(base.0.join("index.json"), "{}").unwrap();
        assert!(open("").contains("its index.json has no manifests"));
        assert_eq!(base.names(""), ["file", "index.json", LAYOUT]);
    }
}
