//! Files and directories that are being made beside where they are to be. Each
//! is locked for as long as its maker lives, so that what a killed one left is
//! told from what another one is making: the next maker there takes it away.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::blob::Blob;
use super::tree;
use crate::error::{Context, Error, Result, errno_name};

/// What the names begin with.
const PREFIX: &str = ".brig-";

/// A file or a directory that is removed unless it gets its name.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    file: Flock<File>,
    named: bool,
}

impl Temporary {
    /// Makes a file in a directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(directory: &Path) -> Result<Temporary> {
        Temporary::make(directory, |path| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true).open(path)
        })
    }

    /// Makes a directory in another one, with mode 0755.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(parent: &Path) -> Result<Temporary> {
        Temporary::make(parent, |path| {
            std::fs::DirBuilder::new().mode(0o755).create(path)?;
            File::open(path)
        })
    }

    fn make(parent: &Path, make: impl Fn(&Path) -> std::io::Result<File>) -> Result<Temporary> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep(parent);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let file = match make(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                // Swept away before it was locked.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && parent.is_dir() => continue,
                made => made.doing("create a file in", parent.display())?,
            };
            // One that sweeps may have the lock for a moment.
            let file = lock(file, FlockArg::LockExclusive).map_err(|errno| {
                let _ = tree::remove_path(&path);
                Error::new("lock", path.display(), errno_name(errno))
            })?;
            if is_at(&file, &path) {
                return Ok(Temporary {
                    path,
                    file,
                    named: false,
                });
            }
        }
    }

    /// Where it is until it gets its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for writing.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn open(&self) -> Result<File> {
        self.file.try_clone().doing("write", self.path.display())
    }

    /// What was written, as a blob.
    ///
    /// # Errors
    /// Those of dup(2) and fstat(2).
    pub fn blob(&self) -> Result<Blob> {
        let file = self.open()?;
        let length = file.metadata().doing("read", self.path.display())?.len();
        Ok(Blob::File {
            file: Arc::new(file),
            start: 0,
            length,
        })
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }

    /// Gives it a name in the same file system.
    ///
    /// # Errors
    /// Those of rename(2); then it is removed.
    pub fn name(mut self, path: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.named = true;
        Ok(())
    }

    /// Takes the name away from a file, which lives until it is closed.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn unnamed(mut self) -> Result<File> {
        let file = self.open()?;
        std::fs::remove_file(&self.path).doing("remove", self.path.display())?;
        self.named = true;
        Ok(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            let _ = tree::remove_path(&self.path);
        }
    }
}

/// Locks an open file, whatever signals come.
///
/// # Errors
/// Those of flock(2): EWOULDBLOCK where another one has the lock and `how` says
/// not to wait.
pub fn lock(mut file: File, how: FlockArg) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

/// Whether a name is that of an open file.
pub fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(ours), Ok(there)) => id(ours) == id(there),
        _ => false,
    }
}

/// Removes what killed makers left in a directory.
pub fn sweep(directory: &Path) {
    each_left(directory, |path| {
        let _ = tree::remove_path(path);
    });
}

/// Calls `each` with what killed makers left in a directory, which nobody else
/// gets to see meanwhile.
pub fn each_left(directory: &Path, mut each: impl FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // The directory may be everyone's: nothing else is opened, for a pipe
        // would wait, and nothing of another user is removed.
        let path = entry.path();
        let is_ours = path.symlink_metadata().is_ok_and(|metadata| {
            (metadata.is_file() || metadata.is_dir())
                && metadata.uid() == nix::unistd::geteuid().as_raw()
        });
        if !is_ours {
            continue;
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut options = File::options();
        let opened = options.read(true).custom_flags(flags.bits()).open(&path);
        // The lock of one that lives is held.
        if let Ok(file) = opened
            && let Ok(lock) = lock(file, FlockArg::LockExclusiveNonblock)
            && is_at(&lock, &path)
        {
            each(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_maker_left_goes() {
        let base = std::env::temp_dir().join(format!("brig-left-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join(".brig-1-0/deep/er")).unwrap();
        std::fs::write(base.join(".brig-1-0/deep/file"), "x").unwrap();
        std::fs::write(base.join(".brig-1-1"), "x").unwrap();
        std::fs::write(base.join("brig-1-1"), "not ours").unwrap();
        // Neither waited for nor followed.
        nix::unistd::mkfifo(&base.join(".brig-1-2"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("brig-1-1", base.join(".brig-1-3")).unwrap();
        let rest = [".brig-1-2", ".brig-1-3", "brig-1-1"];
        let first = Temporary::file(&base).unwrap();
        assert_eq!(names(&base).len(), rest.len() + 1);
        // Those that live stay.
        let second = Temporary::directory(&base).unwrap();
        std::fs::write(second.path().join("x"), "").unwrap();
        let third = Temporary::file(&base).unwrap();
        assert_eq!(names(&base).len(), rest.len() + 3);
        let mut file = third.unnamed().unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        assert_eq!(names(&base).len(), rest.len() + 2);
        second.name(&base.join("named")).unwrap();
        drop(first);
        sweep(&base);
        assert_eq!(names(&base), [&rest[..], &["named"]].concat());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn makers_at_once_do_not_hinder_each_other() {
        let base = std::env::temp_dir().join(format!("brig-makers-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..100 {
                        let made = match i % 2 {
                            0 => Temporary::file(&base),
                            _ => Temporary::directory(&base),
                        };
                        let made = made.unwrap();
                        assert!(made.path().exists());
                    }
                });
            }
        });
        assert!(names(&base).is_empty());
        std::fs::remove_dir_all(base).unwrap();
    }
}
