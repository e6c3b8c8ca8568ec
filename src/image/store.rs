//! Where an image's files are: a directory, or a tar archive of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Kind, Reader, Stream};
use super::blob::Blob;
use super::temporary::Temporary;
use super::{Watch, go_on, stream};
use crate::error::{Context, Error, Result, io_name};

/// The most files that an archive of an image may have, and the length of all
/// their names in bytes.
const MOST_FILES: usize = 100_000;
const MOST_NAMES: usize = 16 << 20;

/// Named files.
#[derive(Debug)]
pub enum Store {
    /// Files below a directory.
    Directory(PathBuf),
    /// Members of an uncompressed tar archive.
    Archive {
        /// The archive.
        file: Arc<File>,
        /// Where each member's data begins, and its length.
        members: HashMap<Vec<u8>, (u64, u64)>,
    },
    /// Bytes in memory.
    #[allow(dead_code, reason = "for the fuzz targets")]
    Memory(HashMap<String, Arc<[u8]>>),
}

impl Stream for BufReader<File> {
    /// Beyond the end of a file can be sought, so the end is looked at.
    fn pass(&mut self, count: u64) -> io::Result<()> {
        if count <= self.buffer().len() as u64 {
            self.consume(count as usize);
            return Ok(());
        }
        let position = self.stream_position()?;
        let target = position.checked_add(count);
        let target =
            target.filter(|target| self.get_ref().metadata().is_ok_and(|m| m.len() >= *target));
        let target = target.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.seek(SeekFrom::Start(target)).map(drop)
    }
}

impl Store {
    /// Opens a directory, or reads an archive's list of members. A compressed
    /// archive is decompressed to a file without a name first.
    ///
    /// # Errors
    /// It cannot be read, or is not an archive.
    pub fn open(path: &Path, watch: &dyn Watch) -> Result<Store> {
        let object = || format!("image {}", path.display());
        let metadata = std::fs::metadata(path).doing("open", object())?;
        if metadata.is_dir() {
            return Ok(Store::Directory(path.into()));
        }
        if !metadata.is_file() {
            return Err(Error::new(
                "open",
                object(),
                "it is neither a directory nor a file",
            ));
        }
        let file = File::open(path).doing("open", object())?;
        let file = plain(file, watch).map_err(|error| Error::new("read", object(), error))?;
        Store::index(file, watch).map_err(|error| Error::new("read", object(), error))
    }

    fn index(file: File, watch: &dyn Watch) -> Result<Store> {
        let again = file.try_clone().doing("open", "the archive")?;
        let mut reader = Reader::new(BufReader::new(again));
        let mut members = HashMap::new();
        let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut names = 0;
        while let Some(entry) = reader.entry()? {
            go_on(watch)?;
            let name = clean(&entry.path);
            names += name.len() + entry.link.len();
            if members.len() + links.len() > MOST_FILES || names > MOST_NAMES {
                return Err(Error::text("it has more files than an image has"));
            }
            match entry.kind {
                Kind::File if entry.pieces.is_none() => {
                    members.insert(name, (reader.position(), entry.size));
                }
                Kind::HardLink => links.push((name, clean(&entry.link))),
                // docker save of old writes a layer once, and links to it.
                Kind::Symlink => {
                    let parent = name
                        .iter()
                        .rposition(|byte| *byte == b'/')
                        .map_or(0, |at| at + 1);
                    let mut target = name[..parent].to_vec();
                    target.extend_from_slice(&entry.link);
                    links.push((name, clean(&target)));
                }
                _ => {}
            }
        }
        // A member may be cut off: its data is looked for when it is used.
        let end = file.metadata().doing("open", "the archive")?.len();
        if members
            .values()
            .any(|(start, length)| start.checked_add(*length).is_none_or(|e| e > end))
        {
            return Err(Error::text("the archive is truncated"));
        }
        for _ in 0..4 {
            for (name, target) in &links {
                if let Some(found) = members.get(target).copied() {
                    members.entry(name.clone()).or_insert(found);
                }
            }
        }
        Ok(Store::Archive {
            file: Arc::new(file),
            members,
        })
    }

    /// Opens a file by its path in the image; None when there is none.
    ///
    /// # Errors
    /// It exists and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Blob>> {
        match self {
            Store::Directory(path) => {
                let path = path.join(name);
                let metadata = match std::fs::metadata(&path) {
                    Ok(metadata) => metadata,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(e).doing("read", path.display()),
                };
                // Opening a pipe would wait for a writer.
                if !metadata.is_file() {
                    return Err(Error::new("read", path.display(), "it is not a file"));
                }
                let file = File::open(&path).doing("read", path.display())?;
                let length = file.metadata().doing("read", path.display())?.len();
                Ok(Some(Blob::File {
                    file: Arc::new(file),
                    start: 0,
                    length,
                }))
            }
            Store::Archive { file, members } => {
                let found = members.get(clean(name.as_bytes()).as_slice());
                Ok(found.map(|(start, length)| Blob::File {
                    file: file.clone(),
                    start: *start,
                    length: *length,
                }))
            }
            Store::Memory(files) => Ok(files.get(name).cloned().map(Blob::Memory)),
        }
    }
}

/// A name without `.`, `..` and doubled slashes: what it is looked up by.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The file itself, or its decompressed content.
///
/// # Errors
/// It cannot be read or decompressed, or there is no room for that.
pub fn plain(mut file: File, watch: &dyn Watch) -> Result<File> {
    let mut magic = [0_u8; 6];
    let mut filled = 0;
    while filled < magic.len() {
        match file.read(&mut magic[filled..]).doing("read", "it")? {
            0 => break,
            read => filled += read,
        }
    }
    file.rewind().doing("read", "it")?;
    if stream::Compression::of(&magic[..filled]).is_none() {
        return Ok(file);
    }
    let mut decoder = stream::decoder(BufReader::new(file), stream::ARCHIVE)
        .map_err(|e| Error::text(io_name(&e)))?;
    let mut plain = unnamed()?;
    let mut buffer = vec![0_u8; super::blob::CHUNK];
    loop {
        go_on(watch)?;
        let read = decoder
            .read(&mut buffer)
            .map_err(|e| Error::text(stream::told(&e)))?;
        if read == 0 {
            break;
        }
        io::Write::write_all(&mut plain, &buffer[..read]).doing("write", "a temporary file")?;
    }
    plain.rewind().doing("read", "it")?;
    Ok(plain)
}

/// A file in the directory for temporary ones, without a name.
///
/// # Errors
/// It cannot be made.
pub fn unnamed() -> Result<File> {
    Temporary::file(&temporary())?.unnamed()
}

/// The directory for what is large and temporary. /tmp is memory on many hosts.
pub fn temporary() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(path) if path.as_bytes().starts_with(b"/") => path.into(),
        _ => "/var/tmp".into(),
    }
}
