//! OCI image layouts to bundles, and root file systems to images (image-spec
//! 1.1). Nothing here reports or prints: notices go to the caller's [`Watch`].
//!
//!     reference ─▶ layout (index ▸ manifest ▸ config) ─▶ stream ─▶ layer ─▶ tree
//!                     │ store: directory or tar            │ decompress, hash
//!                     ▼                                    ▼
//!                  config ─▶ config.json             archive (tar)
//!
//! Threads are started here and nowhere else in brig; all of them have ended
//! when a function of this module returns, because a runtime forks.

pub mod archive;
pub mod blob;
pub mod compress;
pub mod config;
pub mod diff;
pub mod flags;
pub mod layer;
pub mod layout;
pub mod layout_write;
pub mod listing;
pub mod pack;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod scan;
pub mod sort;
pub mod store;
pub mod stream;
pub mod temporary;
pub mod tree;
pub mod unpack;
pub mod write;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Threads of this module that have not ended.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread for as long as it lives.
pub struct Counted(());

impl Counted {
    /// To be called before the thread is started, and moved into it.
    pub fn new() -> Counted {
        THREADS.fetch_add(1, Ordering::SeqCst);
        Counted(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many threads of this module run: 0 before anything may fork.
pub fn threads() -> usize {
    THREADS.load(Ordering::SeqCst)
}

/// What the work is told by its caller, and tells it.
pub trait Watch: Sync {
    /// Something was passed over.
    fn warning(&self, text: &str);
    /// Set when the work is to end with an error.
    fn interrupted(&self) -> bool;
}

/// A [`Watch`] that goes by a flag, and keeps the warnings.
#[cfg_attr(not(test), allow(dead_code, reason = "for tests and the fuzz targets"))]
#[derive(Debug, Default)]
pub struct Quiet {
    /// Set to interrupt.
    pub stop: AtomicBool,
    /// What was warned of.
    pub warnings: std::sync::Mutex<Vec<String>>,
}

impl Watch for Quiet {
    fn warning(&self, text: &str) {
        if let Ok(mut all) = self.warnings.lock() {
            all.push(text.to_owned());
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The error of work that was interrupted.
///
/// # Errors
/// It was.
pub fn go_on(watch: &dyn Watch) -> Result<()> {
    if watch.interrupted() {
        return Err(Error::text("interrupted; nothing was left behind"));
    }
    Ok(())
}
