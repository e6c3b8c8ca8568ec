//! Device nodes and links in the container's /dev.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use super::Inside;
use super::inroot::{Make, kind};
use crate::error::{Context, Error, Result};
use crate::plan::linux::Node;

pub(super) fn perform(node: &Node, cx: &mut Inside) -> Result<()> {
    if node.bound {
        return bind(node, cx);
    }
    let (parent, name) = cx.parent(&node.path)?;
    let object = || format!("device {}", node.path.display());
    let sort = match node.kind {
        'b' => SFlag::S_IFBLK,
        'p' => SFlag::S_IFIFO,
        _ => SFlag::S_IFCHR,
    };
    let number = makedev(node.major, node.minor);
    let found = fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
    match found {
        Ok(found)
            if kind(&found) == sort && (sort == SFlag::S_IFIFO || found.st_rdev == number) =>
        {
            return Ok(());
        }
        Ok(_) => {
            let cause = "something else is in its place in the root file system";
            return Err(Error::new("make", object(), cause));
        }
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).doing("look at", object()),
    }
    (cx.made)(&node.path)?;
    let mode = Mode::from_bits_truncate(node.mode);
    mknodat(&parent, name.as_os_str(), sort, mode, number).doing("make", object())?;
    // The umask took a part of the mode away.
    let flags = FchmodatFlags::FollowSymlink;
    fchmodat(&parent, name.as_os_str(), mode, flags).doing("set the mode of", object())?;
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(&parent, name.as_os_str(), Some(uid), Some(gid), flags)
        .doing("set the owner of", object())
}

/// Where mknod(2) is not allowed, the host's node appears in its place.
fn bind(node: &Node, cx: &mut Inside) -> Result<()> {
    let target = cx.target(&node.path, Some(Make::File))?;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    let bound = mount(
        Some(&node.path),
        target.as_str(),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    );
    bound.doing("bind", format_args!("device {}", node.path.display()))
}

pub(super) fn link(path: &Path, target: &Path, cx: &mut Inside) -> Result<()> {
    let (parent, name) = cx.parent(path)?;
    if fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    (cx.made)(path)?;
    match symlinkat(target, &parent, name.as_os_str()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).doing("link", path.display()),
    }
}
