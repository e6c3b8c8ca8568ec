//! The directory of a container below --root, and the lock on it.
//!
//! `ROOT/ID/` holds `state.json`, `config.json` (create's own copy), `journal`,
//! `lock` and, until start, the socket `start`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::State;
use crate::error::{Context, Error, Result};

/// A container's directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    id: String,
}

/// The exclusive lock on a container's directory; dropped, it is released.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its drop")] Flock<File>);

impl Directory {
    /// The directory of a container, which need not exist.
    ///
    /// # Errors
    /// The id is not valid.
    pub fn of(root: &Path, id: &str) -> Result<Directory> {
        super::id::check(id)?;
        Ok(Directory {
            path: root.join(id),
            id: id.into(),
        })
    }

    /// The directories of all containers below `root`, sorted by id.
    ///
    /// # Errors
    /// `root` exists and cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Directory>> {
        let entries = match std::fs::read_dir(root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).doing("read", root.display()),
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Ok(id)) = (is_dir, entry.file_name().into_string())
                && super::id::check(&id).is_ok()
            {
                all.push(Directory {
                    path: entry.path(),
                    id,
                });
            }
        }
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Makes the directory and takes its lock. Of two creates of one id, one
    /// succeeds: mkdir(2) decides.
    ///
    /// # Errors
    /// The id is in use, or the directory cannot be made.
    pub fn create(&self) -> Result<Lock> {
        let root = self.path.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().mode(0o700).recursive(true).create(root);
        made.doing("create", root.display())?;
        match DirBuilder::new().mode(0o711).create(&self.path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let hint = format!("delete it first: brig delete {}", self.id);
                return Err(
                    Error::text(format_args!("container id {:?} is in use", self.id)).hint(hint),
                );
            }
            Err(e) => return Err(e).doing("create", self.path.display()),
        }
        self.lock()
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// The container does not exist (any more).
    pub fn lock(&self) -> Result<Lock> {
        let path = self.path.join("lock");
        loop {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    return Err(Error::no_container(&self.id));
                }
                Err(e) => return Err(e).doing("open", path.display()),
            };
            let lock = loop {
                match Flock::lock(
                    file.try_clone().doing("lock", path.display())?,
                    FlockArg::LockExclusive,
                ) {
                    Ok(lock) => break lock,
                    Err((_, nix::errno::Errno::EINTR)) => continue,
                    Err((_, errno)) => return Err(errno).doing("lock", path.display()),
                }
            };
            // While this command waited, a delete may have removed the file,
            // and a create may have made the next container of that id.
            let same = match (std::fs::metadata(&path), lock.metadata()) {
                (Ok(now), Ok(held)) => now.dev() == held.dev() && now.ino() == held.ino(),
                _ => false,
            };
            if same {
                return Ok(Lock(lock));
            }
        }
    }

    /// Whether a command holds the lock now.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.path.join("lock")) else {
            return false;
        };
        matches!(
            Flock::lock(file, FlockArg::LockSharedNonblock),
            Err((_, nix::errno::Errno::EWOULDBLOCK))
        )
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's path.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The path of create's own copy of the configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// Whether the container exists.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Reads the state file.
    ///
    /// # Errors
    /// The container does not exist, or its state file is truncated or foreign.
    pub fn load(&self) -> Result<State> {
        let path = self.path.join("state.json");
        let raw = match std::fs::read(&path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == ErrorKind::NotFound && !self.exists() => {
                return Err(Error::no_container(&self.id));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // mkdir(2) was done and the state is about to be written, or
                // its writer was killed between the two.
                let hint = format!("if no create is under way: brig delete --force {}", self.id);
                let fault = Error::text(format_args!("container {:?} has no state file", self.id));
                return Err(fault.hint(hint));
            }
            Err(e) => return Err(e).doing("read", path.display()),
        };
        serde_json::from_slice(&raw).map_err(|e| {
            let hint = format!("remove the container with: brig delete --force {}", self.id);
            Error::new("read the state", path.display(), e).hint(hint)
        })
    }

    /// Replaces the state file whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn store(&self, state: &State) -> Result<()> {
        let raw =
            serde_json::to_vec(state).map_err(|e| Error::new("write the state", &self.id, e))?;
        self.replace("state.json", &raw)
    }

    /// Replaces a file of the directory whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn replace(&self, name: &str, raw: &[u8]) -> Result<()> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!(".{name}")));
        let write = || {
            let mut open = OpenOptions::new();
            open.write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?
                .write_all(raw)?;
            std::fs::rename(&fresh, &path)
        };
        write().doing("write", path.display())
    }

    /// Removes the directory. Only files that brig makes are removed, so that
    /// nothing is ever deleted below a mount that was left behind.
    ///
    /// # Errors
    /// Something else lies in it.
    pub fn remove(&self, lock: Lock) -> Result<()> {
        let entries = std::fs::read_dir(&self.path).doing("read", self.path.display())?;
        let mut last = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name() == "lock" {
                last.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir(&path).doing("remove", path.display())?;
            } else {
                std::fs::remove_file(&path).doing("remove", path.display())?;
            }
        }
        for path in last {
            std::fs::remove_file(&path).doing("remove", path.display())?;
        }
        std::fs::remove_dir(&self.path).doing("remove", self.path.display())?;
        drop(lock);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("brig-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        root
    }

    #[test]
    fn one_create_wins_and_a_removed_id_is_free() {
        let root = root("directory");
        let directory = Directory::of(&root, "a").unwrap();
        let lock = directory.create().unwrap();
        assert!(
            directory
                .create()
                .unwrap_err()
                .to_string()
                .contains("in use")
        );
        directory.remove(lock).unwrap();
        assert!(
            directory
                .lock()
                .unwrap_err()
                .to_string()
                .contains("does not exist")
        );
        let lock = directory.create().unwrap();
        directory.remove(lock).unwrap();
        std::fs::remove_dir(root).unwrap();
    }

    #[test]
    fn truncated_state_names_the_file() {
        let root = root("state");
        let directory = Directory::of(&root, "a").unwrap();
        let lock = directory.create().unwrap();
        directory.replace("state.json", b"{\"id\":").unwrap();
        let error = directory.load().unwrap_err().to_string();
        assert!(
            error.contains("a/state.json") && error.contains("delete --force a"),
            "{error}"
        );
        directory.remove(lock).unwrap();
        std::fs::remove_dir(root).unwrap();
    }
}
