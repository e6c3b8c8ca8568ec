//! An image to a bundle: the layers applied in a directory beside the bundle's
//! name, which gets that name when all is there.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, umask};

use super::archive::Reader;
use super::blob;
use super::layer::{Applier, Counts};
use super::layout::{Image, Layer};
use super::progress::{Progress, bytes};
use super::temporary::{self, Temporary};
use super::{Counted, Watch, go_on, stream, tree};
use crate::error::{Context, Error, Result};

/// A directory that is being filled, and is removed unless it is published.
#[derive(Debug)]
pub struct Stage {
    /// Where it is filled.
    temporary: Temporary,
    /// Where it is to be.
    target: PathBuf,
    /// The target is there and empty, and is filled from inside: it may be a
    /// mount, or have an owner of its own.
    inside: bool,
}

/// Says of a directory that what it holds is being moved into the target.
const MOVING: &str = ".moving";
/// What a bundle has, in the order in which it gets it.
const MEMBERS: [&str; 2] = ["rootfs", "config.json"];

/// Looks whether a bundle can be made, after what a killed process left there
/// was taken away.
///
/// # Errors
/// There is something else than an empty directory.
pub fn prepare(bundle: &Path) -> Result<()> {
    Stage::recover(bundle, &MEMBERS);
    check_target(bundle).map(drop)
}

/// Whether the target is an empty directory, rather than not there.
///
/// # Errors
/// It is something else.
fn check_target(target: &Path) -> Result<bool> {
    let object = || format!("bundle {}", target.display());
    match std::fs::read_dir(target) {
        Ok(mut entries) => {
            match entries.next() {
                None => Ok(true),
                Some(_) => Err(Error::text(format_args!("{} is not empty", object()))
                    .hint("name a new directory")),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
            Err(Error::text(format_args!("{} is not a directory", object())))
        }
        Err(e) => Err(e).doing("open", object()),
    }
}

impl Stage {
    /// Makes the directory to fill for a target that is missing or empty.
    ///
    /// # Errors
    /// The target is something else, or nothing can be made there.
    pub fn begin(target: &Path) -> Result<Stage> {
        let inside = check_target(target)?;
        let parent = match inside {
            true => target,
            false => target.parent().unwrap_or(Path::new("/")),
        };
        let temporary = Temporary::directory(parent).map_err(|error| {
            let object = format!("bundle {}", target.display());
            Error::new("create", object, error.cause)
        })?;
        Ok(Stage {
            temporary,
            target: target.into(),
            inside,
        })
    }

    /// Takes back, or where it was being published finishes, what a killed
    /// process left in a target.
    pub fn recover(target: &Path, order: &[&str]) {
        temporary::each_left(target, |left| {
            if left.join(MOVING).exists() {
                for name in order {
                    let (from, to) = (left.join(name), target.join(name));
                    if from.symlink_metadata().is_ok()
                        && (to.symlink_metadata().is_ok() || std::fs::rename(from, to).is_err())
                    {
                        return;
                    }
                }
            }
            remove(left);
        });
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the directory its name, or moves what it holds into the target,
    /// the last of `order` last.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn publish(self, order: &[&str]) -> Result<()> {
        let object = || self.target.display().to_string();
        if !self.inside {
            // Something may have appeared there meanwhile.
            let named = self.temporary.name(&self.target);
            return named.doing("create", self.target.display());
        }
        File::create(self.path().join(MOVING)).doing("create", object())?;
        for (i, name) in order.iter().enumerate() {
            let moved = std::fs::rename(self.path().join(name), self.target.join(name));
            if let Err(error) = moved {
                for done in &order[..i] {
                    remove(&self.target.join(done));
                }
                return Err(error).doing("create", object());
            }
        }
        Ok(())
    }
}

/// Removes a path with all below it, as far as that is possible.
fn remove(path: &Path) {
    let _ = tree::remove_path(path);
}

/// The umask of the process, put back at the end.
struct Umask(Mode);

impl Umask {
    fn none() -> Umask {
        Umask(umask(Mode::empty()))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        umask(self.0);
    }
}

/// A watch that also ends when the work has failed elsewhere.
struct Until<'a> {
    watch: &'a dyn Watch,
    over: &'a AtomicBool,
}

impl Watch for Until<'_> {
    fn warning(&self, text: &str) {
        self.watch.warning(text);
    }

    fn interrupted(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.watch.interrupted()
    }
}

/// Unpacks an image to a bundle. `config` makes config.json's text from the root
/// file system that was made.
///
/// # Errors
/// A layer is damaged, or cannot be applied; the target is not empty; the work
/// was interrupted. Then nothing is left.
pub fn unpack(
    image: &Image,
    bundle: &Path,
    rootless: bool,
    progress: &mut Progress,
    watch: &dyn Watch,
    said: &mut dyn FnMut(String),
    config: &mut dyn FnMut(BorrowedFd<'_>) -> Result<String>,
) -> Result<Counts> {
    prepare(bundle)?;
    let stage = Stage::begin(bundle)?;
    let made = fill(image, &stage, rootless, progress, watch, said, config);
    // Whatever the interrupt made fail is not the reason.
    go_on(watch)?;
    let counts = made?;
    stage.publish(&MEMBERS)?;
    Ok(counts)
}

fn fill(
    image: &Image,
    stage: &Stage,
    rootless: bool,
    progress: &mut Progress,
    watch: &dyn Watch,
    said: &mut dyn FnMut(String),
    config: &mut dyn FnMut(BorrowedFd<'_>) -> Result<String>,
) -> Result<Counts> {
    let rootfs = stage.path().join("rootfs");
    std::fs::create_dir(&rootfs).doing("create", rootfs.display())?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open(&rootfs, flags, Mode::empty()).doing("open", rootfs.display())?;
    let counts = {
        let _umask = Umask::none();
        layers(image, &root, rootless, progress, watch, said)?
    };
    let text = config(root.as_fd())?;
    let path = stage.path().join("config.json");
    let file = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    file.doing("write", path.display())?;
    Ok(counts)
}

/// Applies the layers. A thread verifies blobs ahead, so that no byte of one is
/// used before all of it was read once; what is applied is hashed again as it
/// is decompressed.
fn layers(
    image: &Image,
    root: &OwnedFd,
    rootless: bool,
    progress: &mut Progress,
    watch: &dyn Watch,
    said: &mut dyn FnMut(String),
) -> Result<Counts> {
    let again = root.try_clone().doing("open", "the root file system")?;
    let mut applier = Applier::new(again, rootless, watch)?;
    let over = AtomicBool::new(false);
    let until = Until { watch, over: &over };
    let count = image.layers.len();
    std::thread::scope(|scope| {
        let (verdicts, verified) = channel();
        let counted = Counted::new();
        let until = &until;
        let verifying = scope.spawn(move || {
            let _counted = counted;
            for layer in &image.layers {
                let verdict = verify(layer, until);
                let failed = verdict.is_err();
                if verdicts.send(verdict).is_err() || failed {
                    break;
                }
            }
        });
        let done = progress.done.clone();
        let mut apply = || -> Result<()> {
            for (i, layer) in image.layers.iter().enumerate() {
                let verdict = verified
                    .recv()
                    .map_err(|_| Error::text("a thread ended unexpectedly"))?;
                verdict?;
                let before = applier.counts;
                let name = layer.digest.as_ref().unwrap_or(&layer.diff_id);
                let named = |error: Error| {
                    Error::new(
                        "unpack",
                        format_args!("layer {} of {count}, {name}", i + 1),
                        error,
                    )
                };
                if i > 0 {
                    applier.next_layer();
                }
                stream::with(&layer.blob, &layer.diff_id, &done, watch, |chunks| {
                    applier.apply(&mut Reader::new(chunks), &mut || progress.tick())
                })
                .map_err(named)?;
                let entries = applier.counts.entries - before.entries;
                let size = bytes(applier.counts.bytes - before.bytes);
                said(format!(
                    "layer {} of {count}: {entries} entries, {size}",
                    i + 1
                ));
            }
            Ok(())
        };
        let applied = apply();
        over.store(true, Ordering::Relaxed);
        let joined = verifying.join();
        applied?;
        joined.map_err(|_| Error::text("a thread ended unexpectedly"))
    })?;
    progress.clear();
    applier.finish()
}

fn verify(layer: &Layer, watch: &dyn Watch) -> Result<()> {
    match &layer.digest {
        Some(digest) => blob::verify("layer", &layer.blob, digest, layer.size, watch),
        None => stream::verify(&layer.blob, &layer.diff_id, watch),
    }
}
