//! The process on FreeBSD: into the jail, and its limits and user.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use oci_spec::runtime::Process;

use super::Launch;
use super::handshake::Channel;
use crate::apply::freebsd::{hold, prepare_program};
use crate::apply::journal::Journal;
use crate::config::{Config, annotations};
use crate::container::user;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::freebsd::{check_process, resource_number};
use crate::sys::freebsd::process as sys_process;
use crate::sys::unix::process::{self, Forked};

/// Forks the process; it enters the jail by itself.
pub(super) fn fork(launch: &Launch) -> Result<Forked> {
    // The plan has checked the container's own; exec brings another one.
    if let (Some(process), None) = (launch.process, &launch.init) {
        check_process(process, "process")?;
    }
    if let (Some(process), Some(jail)) = (launch.process, &launch.state.jail) {
        prepare_program(jail.jid, process, super::child::DEFAULT_PATH)?;
    }
    process::fork().doing("fork", "the container's process")
}

/// What the host gives, such as interfaces, is in the journal here.
#[derive(Debug)]
pub(super) struct Given;

impl Given {
    pub(super) fn none() -> Given {
        Given
    }

    pub(super) fn take_back(self) {}

    pub(super) fn keep(&mut self) {}
}

/// A process counts as the jail's from its attach on: there is nothing to
/// admit it to.
pub(super) fn admit(_: &Launch, _: i32, _: Option<&mut Journal>, _: &mut Given) -> Result<()> {
    Ok(())
}

/// There is no seccomp here.
pub(super) fn connect_agent(_: &Config) -> Result<Option<OwnedFd>> {
    Ok(None)
}

/// The plan has refused mounts with ids of their own.
pub(super) fn mapped_mounts(_: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    Ok(Vec::new())
}

/// Mount points are made by steps of the host here, so none is reported.
pub(super) fn note_created(_: &Launch, path: &Path, _: &mut Journal) -> Result<u32> {
    Err(Error::text(format_args!(
        "unexpected path {} from inside",
        path.display()
    )))
}

/// Forbids what is in the jail already to trace this process, which holds
/// descriptors of the host until its exec; exec gives the permission back.
pub(super) fn seal() -> Result<()> {
    sys_process::forbid_tracing().doing("forbid tracing of", "the container's process")
}

/// Runs the hooks that are due and enters the jail. The createContainer hooks
/// come before jail_attach(2), which is what pivot_root(2) is on Linux
/// (config.md: they "MUST be called … before the pivot_root or any equivalent
/// operation"): afterwards their paths, which are the host's, would mean
/// something else.
pub(super) fn enter(launch: &Launch, channel: &mut Channel) -> Result<()> {
    if launch.init.is_some() {
        super::child::create_hooks(launch, channel, &launch.state.rootfs)?;
    }
    attach(launch)
}

fn attach(launch: &Launch) -> Result<()> {
    let own = launch.state.jail.as_ref();
    let own = own
        .ok_or_else(|| Error::text(format_args!("container {:?} has no jail", launch.state.id)))?;
    // In a jail without allow.suser root has no privilege, not even that of
    // becoming what it is already.
    setgroups(&[Gid::from_raw(0)]).doing("set the groups of", "the container's process")?;
    sys_process::set_login("root").doing("set the login name", "root")?;
    // The jail that was created, and no later one of its id.
    let attached = match hold(&own.name, Some(own.jid))? {
        Some(held) => held.attach(),
        None => Err(Errno::EINVAL.into()),
    };
    let error = match attached {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let object = format!("jail {}", own.name);
    match error.raw_os_error() {
        Some(libc::EINVAL) => {
            let text = format!("cannot enter {object}: container not running, its jail is gone");
            Err(Error::text(text).kind(Kind::NotRunning))
        }
        Some(libc::EPERM) => {
            let passed = 0..launch.passed.end();
            let directory = passed.into_iter().find(|fd| is_directory(*fd));
            match directory {
                Some(fd) => {
                    let cause =
                        format!("descriptor {fd} is a directory, by which the jail could be left");
                    Err(Error::new("enter", object, cause).hint("pass files and sockets only"))
                }
                None => Err(Error::new("enter", object, "EPERM").hint("run brig as root")),
            }
        }
        _ => Err(error).doing("enter", object),
    }
}

fn is_directory(fd: i32) -> bool {
    let stat = sys_process::stat_descriptor(fd);
    stat.is_ok_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
    })
}

/// The terminal was made inside and shows in the jail's own devfs.
pub(super) fn bind_console(_: &Launch, _: &Path) -> Result<()> {
    Ok(())
}

/// Why even root may not change what it is.
const WITHOUT_SUSER: &str = "only uid 0 and gid 0 can run in a jail without allow.suser";

/// Limits and user, in this order: only root may raise a limit, and only root
/// may set groups.
pub(super) fn confine(launch: &Launch, process: &Process, _: i32) -> Result<()> {
    for limit in process.rlimits().iter().flatten() {
        let Some(number) = resource_number(limit.typ()) else {
            continue;
        };
        // Linux writes "no limit" as the highest number of 64 bits, FreeBSD as
        // the highest signed one.
        let fit = |value: u64| value.min(i64::MAX as u64);
        let set = process::set_rlimit(number, fit(limit.soft()), fit(limit.hard()));
        set.doing("set", format_args!("process.rlimits {}", limit.typ()))?;
    }
    if let Some(fib) = launch.config.annotation(annotations::EXEC_FIB) {
        let number = fib.parse().unwrap_or(0);
        let at = annotations::path(annotations::EXEC_FIB);
        sys_process::set_fib(number).doing("use the routing table of", at)?;
    }
    let own = process.user();
    // getlogin(2) would go on to tell the name of the host's user.
    let name = user::name(own.uid());
    match sys_process::set_login(&name) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && own.uid() == 0 => {}
        Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
            let error = Err(e).doing("set the login name", name);
            error.map_err(|e: Error| e.hint(WITHOUT_SUSER))?;
        }
        _ => {}
    }
    // The first of the list is the effective group (setgroups(2) before
    // FreeBSD 15).
    let gid = Gid::from_raw(own.gid());
    let mut groups = vec![gid];
    groups.extend(
        own.additional_gids()
            .iter()
            .flatten()
            .copied()
            .map(Gid::from_raw),
    );
    let are_set = groups == [Gid::from_raw(0)];
    match setgroups(&groups) {
        Err(Errno::EPERM) if are_set => {}
        result => {
            let result = result.doing("set", "process.user.additionalGids");
            result.map_err(|e| e.hint(WITHOUT_SUSER))?;
        }
    }
    setgid(gid).doing("set", "process.user.gid")?;
    setuid(Uid::from_raw(own.uid())).doing("set", "process.user.uid")?;
    if process.no_new_privileges() == Some(true) {
        sys_process::no_new_privileges().doing("set", "process.noNewPrivileges")?;
    }
    Ok(())
}

/// Everything was done in [`confine`]: nothing here is undone by waiting.
pub(super) fn last(_: &Launch, _: &Process, _: i32) -> Result<()> {
    Ok(())
}
