//! Bundles that live as long as their container: `run --image` makes them,
//! delete takes them away, and gc what a killed run left.
//!
//! `ROOT/@bundles/ID` holds the bundle's path, and is there before the bundle.
//! It is locked while a run is at work; no id has an `@`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Directory;
use crate::error::{Context, Error, Result, io_name};
use crate::image::{store, temporary, tree};

/// Where the records are, below the containers' root.
const RECORDS: &str = "@bundles";
/// What the bundles' names begin with.
const PREFIX: &str = "brig-bundle-";

/// A bundle that is removed with its container.
#[derive(Debug)]
pub struct Temporary {
    record: PathBuf,
    path: PathBuf,
    lock: Flock<File>,
}

impl Temporary {
    /// Makes an empty directory for the bundle of a container that is to be.
    ///
    /// # Errors
    /// The id is in use, or the directory cannot be made.
    pub fn create(root: &Path, id: &str) -> Result<Temporary> {
        let in_use = || {
            let hint = format!("delete it first: brig delete {id}");
            Err(Error::text(format_args!("container id {id:?} is in use")).hint(hint))
        };
        let directory = Directory::of(root, id)?;
        let records = root.join(RECORDS);
        let made = DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&records);
        made.doing("create", records.display())?;
        let record = records.join(id);
        let Some(lock) = lock(&record, true)? else {
            return in_use();
        };
        if directory.exists() {
            return in_use();
        }
        // What a killed run of this id left.
        remove_bundle(&read(&lock, &record)?)?;
        let mut attempt = 0;
        let path = loop {
            let path = new_path();
            lock.set_len(0).doing("write", record.display())?;
            let bytes = path.as_os_str().as_bytes();
            std::os::unix::fs::FileExt::write_all_at(&*lock, bytes, 0)
                .doing("write", record.display())?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                Err(e) if e.kind() == ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(e) => {
                    let _ = std::fs::remove_file(&record);
                    return Err(e).doing("create", path.display());
                }
            }
        };
        Ok(Temporary { record, path, lock })
    }

    /// Where the bundle is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the bundle of a container that came to nothing.
    ///
    /// # Errors
    /// Something in it cannot be removed, or is a mount point.
    pub fn remove(self) -> Result<()> {
        remove_bundle(&self.path)?;
        // Where the container was deleted, its id may be another's by now.
        if temporary::is_at(&self.lock, &self.record) {
            unlink(&self.record)?;
        }
        Ok(())
    }
}

/// Removes a container's bundle if it is a temporary one. Nothing of the
/// container may be mounted there any more, and its lock is held.
///
/// # Errors
/// As [`Temporary::remove`].
pub fn remove_with(directory: &Directory, bundle: &Path) -> Result<()> {
    let Some(root) = directory.path().parent() else {
        return Ok(());
    };
    let record = root.join(RECORDS).join(directory.id());
    let file = match File::open(&record) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).doing("read", record.display()),
    };
    if read(&file, &record)? != bundle {
        return Ok(());
    }
    remove_bundle(bundle)?;
    unlink(&record)
}

/// Removes the bundle that a killed run left without a container; false if
/// there is none, or somebody is at work on it.
///
/// # Errors
/// As [`Temporary::remove`].
pub fn remove_left(root: &Path, id: &str) -> Result<bool> {
    let directory = Directory::of(root, id)?;
    let record = root.join(RECORDS).join(id);
    let Some(lock) = lock(&record, false)? else {
        return Ok(false);
    };
    if directory.exists() {
        return Ok(false);
    }
    remove_bundle(&read(&lock, &record)?)?;
    unlink(&record)?;
    Ok(true)
}

/// The ids of bundles that killed runs left without a container, sorted.
///
/// # Errors
/// The records cannot be read.
pub fn left(root: &Path) -> Result<Vec<String>> {
    let records = root.join(RECORDS);
    let entries = match std::fs::read_dir(&records) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).doing("read", records.display()),
    };
    let mut ids = Vec::new();
    for entry in entries.flatten() {
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        let Ok(directory) = Directory::of(root, &id) else {
            continue;
        };
        if lock(&entry.path(), false)?.is_some() && !directory.exists() {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Locks a record; None if another holds it, or if it is not there and is not
/// to be made.
fn lock(record: &Path, make: bool) -> Result<Option<Flock<File>>> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).mode(0o600);
        let file = match options.truncate(false).open(record) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).doing("open", record.display()),
        };
        let lock = match temporary::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err(Errno::EWOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno).doing("lock", record.display()),
        };
        // The record may have been removed in between, and be another's now.
        if temporary::is_at(&lock, record) {
            return Ok(Some(lock));
        }
    }
}

/// The path in a record; empty when its writer was killed before.
fn read(mut file: &File, record: &Path) -> Result<PathBuf> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .doing("read", record.display())?;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

fn unlink(record: &Path) -> Result<()> {
    match std::fs::remove_file(record) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).doing("remove", record.display()),
        _ => Ok(()),
    }
}

/// A name that nobody can have guessed: the directory may be everyone's.
fn new_path() -> PathBuf {
    let number = RandomState::new().hash_one(std::process::id());
    store::temporary().join(format!("{PREFIX}{number:016x}"))
}

/// Removes a bundle, if it is there and ours. A damaged record must not cost
/// anybody a directory, and nothing is removed below a mount.
fn remove_bundle(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let name = path.file_name().map(|name| name.to_string_lossy());
    if !name.is_some_and(|name| name.starts_with(PREFIX)) {
        return Err(Error::new(
            "remove",
            path.display(),
            "it is no bundle of run's",
        ));
    }
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).doing("remove", path.display()),
    };
    let ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if !ours {
        return Err(Error::new("remove", path.display(), "it is another's"));
    }
    let real = path.canonicalize().doing("resolve", path.display())?;
    if let Some(mounted) = mounts()?.into_iter().find(|at| at.starts_with(&real)) {
        let cause = format!("{} is mounted", mounted.display());
        return Err(Error::new("remove", path.display(), cause));
    }
    tree::remove_path(path).map_err(|e| Error::new("remove", path.display(), io_name(&e)))
}

/// Where file systems are mounted.
#[cfg(target_os = "linux")]
fn mounts() -> Result<Vec<PathBuf>> {
    let table = "/proc/self/mountinfo";
    let text = std::fs::read(table).doing("read", table)?;
    let lines = text.split(|byte| *byte == b'\n');
    // proc_pid_mountinfo(5): the fifth field, with blanks as \040.
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(fields
        .map(|field| {
            let mut path = Vec::new();
            let mut rest = field;
            while let Some((byte, after)) = rest.split_first() {
                let code = after.get(..3).filter(|_| *byte == b'\\');
                let code = code.and_then(|code| std::str::from_utf8(code).ok());
                match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
                    Some(code) => {
                        path.push(code);
                        rest = &after[3..];
                    }
                    None => {
                        path.push(*byte);
                        rest = after;
                    }
                }
            }
            PathBuf::from(std::ffi::OsString::from_vec(path))
        })
        .collect())
}

/// Where file systems are mounted.
#[cfg(target_os = "freebsd")]
fn mounts() -> Result<Vec<PathBuf>> {
    let all = crate::sys::freebsd::mount::all().doing("read", "the list of mounts")?;
    Ok(all.into_iter().map(|mount| mount.on).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_leaves_is_found() {
        let root = std::env::temp_dir().join(format!("brig-temporary-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let made = Temporary::create(&root, "a").unwrap();
        let path = made.path().to_owned();
        std::fs::create_dir(path.join("rootfs")).unwrap();
        // At work: nobody takes it away, and nobody else gets the id.
        assert!(left(&root).unwrap().is_empty());
        assert!(!remove_left(&root, "a").unwrap());
        let error = Temporary::create(&root, "a").unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        // Killed: the lock is gone, the files are not.
        drop(made);
        assert_eq!(left(&root).unwrap(), ["a"]);
        let again = Temporary::create(&root, "a").unwrap();
        assert!(!path.exists());
        let path = again.path().to_owned();
        drop(again);
        assert!(remove_left(&root, "a").unwrap());
        assert!(!path.exists() && left(&root).unwrap().is_empty());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_record_is_not_believed() {
        let root = std::env::temp_dir().join(format!("brig-record-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let records = root.join(RECORDS);
        std::fs::create_dir_all(&records).unwrap();
        let precious = root.join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(records.join("a"), precious.as_os_str().as_bytes()).unwrap();
        assert!(remove_left(&root, "a").is_err());
        assert!(precious.exists());
        std::fs::remove_dir_all(root).unwrap();
    }
}
