//! Performing and reverting the steps of Linux. Those inside the container are
//! performed by its process and vanish with its namespaces.

pub mod cgroup;
mod devices;
mod inroot;
mod mounts;
pub mod net_device;
mod root;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::Outcome;
use super::journal::Entry;
use crate::error::{Context, Error, Result};
use crate::plan::Step;
use crate::plan::linux::Step as LinuxStep;
pub use mounts::mapped;
pub use root::{bind_console, enter_root};

/// Performs a step on the host.
pub(super) fn perform(step: &Step) -> Result<Outcome> {
    match step {
        Step::Linux(LinuxStep::Cgroup {
            path,
            systemd,
            optional,
            resources,
            ..
        }) => cgroup::create(path, *systemd, *optional, resources.as_deref()),
        Step::Linux(LinuxStep::View { rootfs, directory }) => {
            root::view(rootfs, directory).map(|()| Outcome::Done)
        }
        // Made by the container's process, which tells before it does.
        Step::Linux(LinuxStep::MadePath { .. }) => Ok(Outcome::Done),
        other => Err(Error::text(format_args!(
            "{other:?} is not a step on this host"
        ))),
    }
}

/// Takes a step on the host back.
pub(super) fn revert(step: &Step, outcome: Option<&Outcome>) -> Result<()> {
    match step {
        Step::Linux(LinuxStep::Cgroup { path, systemd, .. }) => {
            cgroup::remove(path, *systemd, outcome)
        }
        Step::Linux(LinuxStep::View { directory, .. }) => root::end_view(directory),
        Step::Linux(LinuxStep::MadePath { root, path, view }) => {
            // A directory with a mount on it cannot be removed.
            view.as_deref().map_or(Ok(()), root::end_view)?;
            unmake(root, path)
        }
        other => Err(Error::text(format_args!(
            "{other:?} is not a step on this host"
        ))),
    }
}

/// Takes back what outlives a boot of the host: paths on disk.
pub(super) fn revert_after_boot(step: &Step, _: Option<&Outcome>, _: &[Entry]) -> Result<()> {
    match step {
        Step::Linux(LinuxStep::MadePath { root, path, .. }) => unmake(root, path),
        _ => Ok(()),
    }
}

/// Removes what was made below a root: an empty directory or file, a device
/// node or a link. What has been filled since then stays.
fn unmake(root: &Path, path: &Path) -> Result<()> {
    let rootfd = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let Ok(rootfd) = rootfd else { return Ok(()) };
    let above = path.parent().unwrap_or(Path::new("/"));
    let Ok(parent) = inroot::open(rootfd.as_fd(), above, None, &mut |_| Ok(())) else {
        return Ok(());
    };
    use std::os::fd::AsRawFd;
    let name = path.file_name().unwrap_or_default();
    let full = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
    let Ok(found) = std::fs::symlink_metadata(&full) else {
        return Ok(());
    };
    let kind = found.file_type();
    if kind.is_dir() {
        let _ = std::fs::remove_dir(&full);
    } else if !kind.is_file() || found.len() == 0 {
        let _ = std::fs::remove_file(&full);
    }
    Ok(())
}

/// What performing inside needs besides the steps.
pub struct Inside<'a> {
    /// The root file system's path on the host.
    pub rootfs: PathBuf,
    /// Its descriptor, once it is a mount.
    pub root: Option<OwnedFd>,
    /// The cgroup's path below the hierarchies' roots.
    pub cgroup: Option<PathBuf>,
    /// Whether the container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// Whether its mounts are in the host's mount namespace.
    pub of_host: bool,
    /// Whether it has a user namespace, where locked flags stay.
    pub user_namespace: bool,
    /// Bind mounts with other owners, which only the host's root can make: by
    /// their place in config.json, attached nowhere yet.
    pub mapped: &'a [(usize, OwnedFd)],
    /// Whether what is made in the root goes with the container.
    pub ephemeral: bool,
    /// Tells brig of a path before it is made.
    pub made: &'a mut dyn FnMut(&Path) -> Result<()>,
}

impl Inside<'_> {
    fn root(&self) -> Result<BorrowedFd<'_>> {
        let root = self.root.as_ref().map(AsFd::as_fd);
        root.ok_or_else(|| Error::text("the root file system is not open yet"))
    }

    /// Opens the root file system again, after what hooks may have done.
    ///
    /// # Errors
    /// It is gone.
    pub fn reopen_root(&mut self) -> Result<()> {
        self.open_root()
    }

    /// Opens the root file system once it is a mount.
    fn open_root(&mut self) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&self.rootfs, flags, Mode::empty());
        self.root = Some(root.doing("open", self.rootfs.display())?);
        Ok(())
    }

    /// Opens or makes a path below the root.
    fn target(&mut self, path: &Path, make: Option<inroot::Make>) -> Result<OwnedFd> {
        let root = self
            .root
            .take()
            .ok_or_else(|| Error::text("the root file system is not open yet"))?;
        let (mut unmentioned, made) = (|_: &Path| Ok(()), &mut *self.made);
        let made = if self.ephemeral {
            &mut unmentioned
        } else {
            made
        };
        let opened = inroot::open(root.as_fd(), path, make, made);
        self.root = Some(root);
        opened
    }

    /// Opens a path below the root, if there is one.
    fn existing(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let mut missing = false;
        let found = inroot::open(self.root()?, path, Some(inroot::Make::File), &mut |_| {
            missing = true;
            Err(Error::text("is not there"))
        });
        match found {
            Err(_) if missing => Ok(None),
            found => found.map(Some),
        }
    }

    /// Opens the directory of a path below the root, and names the last part.
    fn parent(&mut self, path: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        let root = self
            .root
            .take()
            .ok_or_else(|| Error::text("the root file system is not open yet"))?;
        let (mut unmentioned, made) = (|_: &Path| Ok(()), &mut *self.made);
        let made = if self.ephemeral {
            &mut unmentioned
        } else {
            made
        };
        let opened = inroot::parent(root.as_fd(), path, made);
        self.root = Some(root);
        opened
    }
}

/// Performs a step inside the container, in its process.
///
/// # Errors
/// What failed, to be sent to brig word for word.
pub fn perform_inside(step: &LinuxStep, cx: &mut Inside) -> Result<()> {
    match step {
        LinuxStep::Hostname { name } => {
            nix::unistd::sethostname(name).doing("set", format_args!("hostname {name:?}"))
        }
        LinuxStep::Domainname { name } => {
            let file = "/proc/sys/kernel/domainname";
            std::fs::write(file, name).doing("set", format_args!("domainname {name:?}"))
        }
        LinuxStep::Root {
            rootfs,
            propagation,
            layer,
        } => {
            if let Some(propagation) = propagation {
                root::prepare(rootfs, *propagation)?;
            }
            if let Some(layer) = layer {
                root::cover(rootfs, layer, cx.user_namespace)?;
                cx.ephemeral = true;
            }
            cx.open_root()
        }
        LinuxStep::Mount(mount) => mounts::perform(mount, cx),
        LinuxStep::Device(node) => devices::perform(node, cx),
        LinuxStep::Link { path, target } => devices::link(path, target, cx),
        LinuxStep::Pivot {
            moving,
            propagation,
        } => {
            cx.root()?;
            cx.root = None;
            root::pivot(&cx.rootfs, *moving, *propagation)
        }
        LinuxStep::Chroot { view, propagation } => {
            cx.root = None;
            root::enter_view(view, *propagation)
        }
        LinuxStep::Sysctl { name, value } => sysctl(name, value),
        LinuxStep::ReadonlyRoot => root::read_only(Path::new("/"), false),
        LinuxStep::Readonly { path } if cx.of_host => root::read_only_below(path, cx),
        LinuxStep::Readonly { path } => root::read_only_path(path),
        LinuxStep::Mask { path } if cx.of_host => root::mask_below(path, cx),
        LinuxStep::Mask { path } => root::mask(path),
        // brig has done it, as root of the host.
        LinuxStep::Namespaces(_) | LinuxStep::NetDevice { .. } => Ok(()),
        LinuxStep::Cgroup { .. } | LinuxStep::MadePath { .. } | LinuxStep::View { .. } => {
            Err(Error::text(format_args!("{step:?} is not a step inside")))
        }
    }
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    // A name with slashes keeps its dots: net/ipv4/conf/eth0.1/forwarding.
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let at = format!("linux.sysctl[{name}]");
    let mut file = File::options()
        .write(true)
        .open(Path::new("/proc/sys").join(path))
        .map_err(|e| {
            let hint = "mount proc on /proc and check the name";
            Error::new("open", &at, crate::error::io_name(&e)).hint(hint)
        })?;
    use std::io::Write;
    file.write_all(value.as_bytes())
        .doing("set", format_args!("{at} to {value:?}"))
}
