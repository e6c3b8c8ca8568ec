//! The emulation of Linux, for a program that turns out to need it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use oci_spec::runtime::Process;

use super::inroot::look_up;
use super::jail;
use crate::error::{Error, Kind, Result};
use crate::plan::freebsd::{interpreter, module_for};

/// How much of a program is read: its headers and what they point to lie at
/// its beginning.
const START: u64 = 4096;

/// Loads the emulation of Linux when the program in the jail is one of Linux.
/// A program that cannot be found is told of by who executes it.
///
/// # Errors
/// It needs the emulation, which cannot be loaded.
pub fn prepare_program(jid: i32, process: &Process, default_path: &str) -> Result<()> {
    let Some(root) = jail::root(jid) else {
        return Ok(());
    };
    let Some(name) = process.args().as_ref().and_then(|args| args.first()) else {
        return Ok(());
    };
    let search = process
        .env()
        .iter()
        .flatten()
        .filter_map(|entry| entry.strip_prefix("PATH="))
        .next_back()
        .unwrap_or(default_path);
    let start = if name.contains('/') {
        start_of(&root, &process.cwd().join(name))
    } else {
        search.split(':').find_map(|directory| {
            let directory = process.cwd().join(directory);
            start_of(&root, &directory.join(name))
        })
    };
    let Some(mut start) = start else {
        return Ok(());
    };
    if let Some(path) = interpreter(&start) {
        start = start_of(&root, &PathBuf::from(path)).unwrap_or_default();
    }
    let Some(module) = module_for(&start) else {
        return Ok(());
    };
    super::module(module, None).map(drop).map_err(|e| {
        let text = format!("exec: {name:?}: exec format error: it is a Linux program; {e}");
        Error::text(text).kind(Kind::ExecDenied)
    })
}

/// The first bytes of a regular file that somebody may execute.
fn start_of(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let lookup = look_up(root, path).ok().filter(|l| l.missing.is_empty())?;
    let stat = fstat(lookup.found.fd.as_fd()).ok()?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFREG || stat.st_mode & 0o111 == 0 {
        return None;
    }
    let flags = OFlag::from_bits_retain(libc::O_EMPTY_PATH) | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = openat(lookup.found.fd.as_fd(), "", flags, Mode::empty()).ok()?;
    let mut start = Vec::new();
    File::from(fd).take(START).read_to_end(&mut start).ok()?;
    Some(start)
}
