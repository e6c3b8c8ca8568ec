//! Lines for containerd's log: it reads the fifo `log` in the bundle.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

thread_local! {
    static LOG: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Opens the bundle's log, when containerd has made one.
pub fn open(bundle: &Path) {
    let path = bundle.join("log");
    if !std::fs::metadata(&path).is_ok_and(|m| m.file_type().is_fifo()) {
        return;
    }
    // For reading as well: it opens though containerd has not yet, and stays
    // whole when containerd goes. What nobody reads is dropped.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    LOG.with_borrow_mut(|log| *log = file.ok());
}

/// Something went wrong that no caller waits for.
pub fn warning(message: &str) {
    let message = serde_json::Value::from(message);
    let line = format!("level=warning msg={message} runtime={}\n", crate::RUNTIME);
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            let _ = log.write_all(line.as_bytes());
        } else {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    });
}
