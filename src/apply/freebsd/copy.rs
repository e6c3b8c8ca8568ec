//! Filling a new tmpfs with what it covers (the option tmpcopyup).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{fchown, fchownat, symlinkat};

use crate::error::{Context, Result};

/// Copies directories, regular files and symbolic links with owner and mode;
/// what else there is (sockets, fifos) belongs to who made it.
///
/// # Errors
/// The first entry that cannot be copied.
pub(super) fn copy_tree(from: OwnedFd, to: OwnedFd) -> Result<()> {
    let stat = fstat(&from).doing("read", "a covered directory")?;
    let mut entries = Dir::from_fd(from.try_clone().doing("read", "a covered directory")?)
        .doing("read", "a covered directory")?;
    for entry in entries.iter() {
        let entry = entry.doing("read", "a covered directory")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from.as_fd(), to.as_fd(), name).doing("copy up", name.to_string_lossy())??;
    }
    own(to.as_fd(), &stat).doing("copy up", "a covered directory")
}

/// The outer result is of the entry itself, the inner one of what is in it.
fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
) -> nix::Result<Result<()>> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            let flags = read | OFlag::O_DIRECTORY;
            let below = openat(from, name, flags, Mode::empty())?;
            mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
            return Ok(copy_tree(below, openat(to, name, flags, Mode::empty())?));
        }
        SFlag::S_IFREG => {
            let mut source = File::from(openat(from, name, read, Mode::empty())?);
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut copy = File::from(openat(to, name, flags, Mode::from_bits_truncate(0o600))?);
            if let Err(error) = std::io::copy(&mut source, &mut copy) {
                return Ok(Err(error).doing("copy up", name.to_string_lossy()));
            }
            own(copy.as_fd(), &stat)?;
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(from, name)?;
            symlinkat(target.as_os_str(), to, name)?;
            let (uid, gid) = owner(&stat);
            fchownat(to, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        _ => {}
    }
    Ok(Ok(()))
}

/// Gives owner and mode; the owner first, because changing it clears setuid.
fn own(fd: BorrowedFd<'_>, stat: &FileStat) -> nix::Result<()> {
    let (uid, gid) = owner(stat);
    fchown(fd, uid, gid)?;
    fchmod(fd, Mode::from_bits_truncate(stat.st_mode & 0o7777))
}

fn owner(stat: &FileStat) -> (Option<nix::unistd::Uid>, Option<nix::unistd::Gid>) {
    (Some(stat.st_uid.into()), Some(stat.st_gid.into()))
}
