//! The container's root: containerd says what to mount on BUNDLE/rootfs.

use std::path::Path;

use crate::error::Result;
use crate::proto::Mount;

/// Mounts all of them in order; after a failure none is left.
///
/// # Errors
/// Those of mount(2), nmount(2), with what was to be mounted.
pub fn all(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    for mount in mounts {
        // containerd 2 mounts some of them below the root.
        let target = mount.target.trim_start_matches('/');
        if let Err(fault) = platform::one(mount, &rootfs.join(target)) {
            undo(rootfs);
            return Err(fault);
        }
    }
    Ok(())
}

/// Unmounts whatever is mounted on the root.
pub fn undo(rootfs: &Path) {
    // An end, should the system never say that nothing is mounted.
    for _ in 0..64 {
        if platform::unmount(rootfs).is_err() {
            return;
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::path::{Path, PathBuf};

    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    use crate::error::{Code, Context, Fault, Result};
    use crate::proto::Mount;

    /// The kernel takes one page of options, and ends the last with NUL.
    const PAGE: usize = 4095;

    /// Options that are flags, and whether they set or clear one (mount(8)).
    const FLAGS: &[(&str, MsFlags, bool)] = &[
        ("async", MsFlags::MS_SYNCHRONOUS, false),
        ("atime", MsFlags::MS_NOATIME, false),
        ("bind", MsFlags::MS_BIND, true),
        ("dev", MsFlags::MS_NODEV, false),
        ("diratime", MsFlags::MS_NODIRATIME, false),
        ("dirsync", MsFlags::MS_DIRSYNC, true),
        ("exec", MsFlags::MS_NOEXEC, false),
        ("noatime", MsFlags::MS_NOATIME, true),
        ("nodev", MsFlags::MS_NODEV, true),
        ("nodiratime", MsFlags::MS_NODIRATIME, true),
        ("noexec", MsFlags::MS_NOEXEC, true),
        ("nosuid", MsFlags::MS_NOSUID, true),
        (
            "rbind",
            MsFlags::from_bits_retain(libc::MS_BIND | libc::MS_REC),
            true,
        ),
        ("relatime", MsFlags::MS_RELATIME, true),
        ("ro", MsFlags::MS_RDONLY, true),
        ("rw", MsFlags::MS_RDONLY, false),
        ("suid", MsFlags::MS_NOSUID, false),
        ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ];

    pub fn one(spec: &Mount, target: &Path) -> Result<()> {
        let mut flags = MsFlags::empty();
        let mut data: Vec<&str> = Vec::new();
        for option in &spec.options {
            match FLAGS.iter().find(|(name, _, _)| name == option) {
                Some((_, flag, true)) => flags |= *flag,
                Some((_, flag, false)) => flags &= !*flag,
                None if option == "loop" => {
                    let text = format!("cannot mount {}: loop is not supported", spec.source);
                    return Err(Fault::new(Code::Unimplemented, text));
                }
                None if option == "defaults" => {}
                None => data.push(option),
            }
        }
        if matches!(spec.kind.as_str(), "bind" | "rbind") {
            flags |= MsFlags::MS_BIND;
        }
        let data = data.join(",");
        let what = format!("{} on {}", spec.source, target.display());
        if data.len() > PAGE && spec.kind == "overlay" {
            return overlay_of_many(spec, target, flags, &data).doing("mount", what);
        }
        // The kernel ignores all but these in the first step of a bind mount.
        let (bind, rest) = (
            flags & (MsFlags::MS_BIND | MsFlags::MS_REC),
            flags & !(MsFlags::MS_BIND | MsFlags::MS_REC),
        );
        let (source, kind) = (spec.source.as_str(), spec.kind.as_str());
        mount(Some(source), target, Some(kind), flags, Some(data.as_str()))
            .doing("mount", &what)?;
        if bind.contains(MsFlags::MS_BIND) && !rest.is_empty() {
            let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | rest;
            mount(None::<&str>, target, None::<&str>, again, None::<&str>)
                .doing("remount", &what)
                .inspect_err(|_| {
                    let _ = unmount(target);
                })?;
        }
        Ok(())
    }

    /// More layers than a page has room for: their paths are told from the
    /// directory that they have in common. The shim has one thread, so its
    /// working directory is its own for as long as nothing is awaited.
    fn overlay_of_many(spec: &Mount, target: &Path, flags: MsFlags, data: &str) -> nix::Result<()> {
        let layers: Vec<&str> = data
            .split(',')
            .find_map(|option| option.strip_prefix("lowerdir="))
            .into_iter()
            .flat_map(|layers| layers.split(':'))
            .collect();
        let Some(common) = common_directory(&layers) else {
            return Err(nix::errno::Errno::E2BIG);
        };
        let prefix = format!("{}/", common.display());
        let short: Vec<String> = data
            .split(',')
            .map(|option| match option.strip_prefix("lowerdir=") {
                Some(layers) => {
                    let relative: Vec<&str> = layers
                        .split(':')
                        .map(|layer| layer.strip_prefix(&prefix).unwrap_or(layer))
                        .collect();
                    format!("lowerdir={}", relative.join(":"))
                }
                None => option.to_string(),
            })
            .collect();
        let (short, target) = (short.join(","), std::path::absolute(target));
        let target = target.map_err(|_| nix::errno::Errno::ENOENT)?;
        nix::unistd::chdir(&common)?;
        let source = Some(spec.source.as_str());
        let done = mount(
            source,
            &target,
            Some("overlay"),
            flags,
            Some(short.as_str()),
        );
        let _ = nix::unistd::chdir("/");
        done
    }

    fn common_directory(layers: &[&str]) -> Option<PathBuf> {
        let mut common = Path::new(layers.first()?).parent()?.to_path_buf();
        while !layers
            .iter()
            .all(|layer| Path::new(layer).starts_with(&common))
        {
            if !common.pop() {
                return None;
            }
        }
        (common != Path::new("/")).then_some(common)
    }

    pub fn unmount(target: &Path) -> nix::Result<()> {
        umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn layers_share_a_directory() {
            let layers = ["/a/snapshots/1/fs", "/a/snapshots/20/fs"];
            assert_eq!(common_directory(&layers), Some("/a/snapshots".into()));
            assert_eq!(common_directory(&["/a/1", "/b/1"]), None);
            assert_eq!(common_directory(&[]), None);
        }
    }
}

#[cfg(target_os = "freebsd")]
mod platform {
    use std::path::Path;

    use nix::mount::{MntFlags, Nmount, unmount as unmount_path};

    use crate::error::{Context, Result};
    use crate::proto::Mount;

    pub fn one(spec: &Mount, target: &Path) -> Result<()> {
        // What snapshotters call a bind mount is nullfs here.
        let kind = match spec.kind.as_str() {
            "bind" | "rbind" => "nullfs",
            kind => kind,
        };
        let mut mount = Nmount::new();
        mount
            .str_opt_owned("fstype", kind)
            .str_opt_owned("fspath", target)
            .str_opt_owned("from", spec.source.as_str());
        for option in &spec.options {
            match option.split_once('=') {
                _ if matches!(option.as_str(), "rw" | "bind" | "rbind" | "defaults") => {}
                Some((name, value)) => {
                    mount.str_opt_owned(name, value);
                }
                None => {
                    mount.null_opt_owned(option.as_str());
                }
            }
        }
        let what = format!("{} on {}", spec.source, target.display());
        mount
            .nmount(MntFlags::empty())
            .map_err(std::io::Error::from)
            .doing("mount", what)
    }

    pub fn unmount(target: &Path) -> nix::Result<()> {
        match unmount_path(target, MntFlags::empty()) {
            // A jail that is dying still holds its root, without a process.
            Err(nix::errno::Errno::EBUSY) => unmount_path(target, MntFlags::MNT_FORCE),
            other => other,
        }
    }
}
