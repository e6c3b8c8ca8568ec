//! What later commands do to a container on FreeBSD: always to the jail and
//! those in it, never to a process tree.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

use super::stats::{MemoryEntry, Stats};
use super::{Directory, Orphan, State, state};
use crate::apply::journal::Journal;
use crate::apply::{self, Outcome, freebsd as backend};
use crate::error::{Context, Error, Kind, Result, errno_name};
use crate::host::HostFacts;
use crate::plan::Step;
use crate::plan::freebsd::limits::{self, accounting_off};
use crate::plan::freebsd::{Limit, Step as Own};
use crate::policy::Policy;
use crate::report;
use crate::sys;
use crate::sys::freebsd::process;
use crate::sys::unix::descriptors::close_from_except;
use crate::sys::unix::process::{Forked, exit_now, fork};

/// Whether taking a container back ends its processes, too: the jail is
/// removed, and nobody stays alive in it.
pub const REMOVAL_KILLS: bool = true;

/// How long SIGKILL and SIGSTOP may take before they are reported as failed.
const LIMIT: Duration = Duration::from_secs(10);

/// Remembers in the state what a step made.
pub fn record(step: &Step, outcome: &Outcome, state: &mut State) {
    if let (Step::Freebsd(Own::Jail { name, .. }), Outcome::Jail { jid }) = (step, outcome) {
        state.jail = Some(state::Jail {
            name: name.clone(),
            jid: *jid,
        });
    }
}

/// The jails of containers that nothing is known of any more.
pub fn orphans(root: &Path) -> Result<Vec<Orphan>> {
    backend::orphans(root)
}

/// Takes such a jail away, with what can be told for its container's.
pub fn reclaim(orphan: &Orphan, policy: &Policy) -> Result<()> {
    backend::reclaim(orphan, policy.devfs_range)
}

/// The container's jail, while it is there: of this boot, and with the id that
/// was seen then.
fn own_jail(state: &State) -> Result<Option<&state::Jail>> {
    let Some(jail) = &state.jail else {
        return Ok(None);
    };
    if state.boot != sys::boot_id() {
        return Ok(None);
    }
    Ok((backend::find(&jail.name)? == Some(jail.jid)).then_some(jail))
}

/// The jail and those below it.
fn jids(jail: &state::Jail) -> Result<Vec<i32>> {
    let mut jids = backend::descendants(&jail.name)?;
    jids.push(jail.jid);
    Ok(jids)
}

fn listed(state: &State) -> Result<Vec<process::Listed>> {
    match own_jail(state)? {
        Some(jail) => backend::processes_in(&jids(jail)?),
        None => Ok(Vec::new()),
    }
}

/// Whether the container's processes are held.
pub fn is_paused(state: &State) -> bool {
    let Some(init) = state.init else { return false };
    process::one(init.pid).is_some_and(|process| process.stopped)
}

/// The processes of the container, by their ids on the host.
pub fn processes(state: &State) -> Result<Vec<i32>> {
    let mut pids: Vec<i32> = listed(state)?.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Sends a signal to the container's process and to no later one of its id.
pub fn signal_init(state: &State, signal: i32) -> Result<()> {
    let gone = || Error::text("container not running").kind(Kind::NotRunning);
    let init = state
        .init
        .filter(|_| super::status::init_alive(state))
        .ok_or_else(gone)?;
    match process::signal(init.pid, signal) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(gone()),
        Err(e) => Err(e).doing("signal", format_args!("process {}", init.pid)),
    }
}

/// Sends a signal to every process of the container.
pub fn signal_all(state: &State, signal: i32) -> Result<()> {
    match own_jail(state)? {
        Some(jail) => broadcast(jail, signal),
        None => Ok(()),
    }
}

/// Signals from inside: kill(2) of -1 reaches every process of the jail and of
/// those below it in one go, and cannot hit a process of the host whose id was
/// in a list and has changed hands since.
fn broadcast(own: &state::Jail, signal: i32) -> Result<()> {
    let object = || format!("the processes of jail {}", own.name);
    match fork().doing("fork", "a process that signals")? {
        Forked::Child => exit_now(match from_inside(own, signal) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }),
        Forked::Parent(pid) => loop {
            return match waitpid(Pid::from_raw(pid), None) {
                Err(nix::errno::Errno::EINTR) => continue,
                // ESRCH: nobody is there; EINVAL: the jail has gone meanwhile.
                Ok(WaitStatus::Exited(_, 0 | libc::ESRCH | libc::EINVAL)) => Ok(()),
                Ok(WaitStatus::Exited(_, code)) => {
                    let errno = nix::errno::Errno::from_raw(code);
                    Err(Error::new("signal", object(), errno_name(errno)))
                }
                Ok(_) => Err(Error::new(
                    "signal",
                    object(),
                    "the signalling process was killed inside",
                )),
                Err(errno) => Err(errno).doing("signal", object()),
            };
        },
    }
}

fn from_inside(own: &state::Jail, signal: i32) -> std::io::Result<()> {
    process::forbid_tracing()?;
    // A directory among them would keep the kernel from letting it in.
    close_from_except(0, &[])?;
    let gone = std::io::Error::from_raw_os_error(libc::EINVAL);
    let held = backend::hold(&own.name, Some(own.jid)).ok().flatten();
    held.ok_or(gone)?.attach()?;
    process::signal_everyone(signal)
}

/// Kills every process of the container, also those that are being forked
/// meanwhile: until the kernel lists none.
pub fn kill_all(state: &State) -> Result<()> {
    let Some(jail) = own_jail(state)? else {
        return Ok(());
    };
    let end = Instant::now() + LIMIT;
    loop {
        let left = backend::processes_in(&jids(jail)?)?;
        let Some(first) = left.first() else {
            return Ok(());
        };
        if Instant::now() >= end {
            let object = format!("the processes of container {:?}", state.id);
            return Err(Error::new("end", object, "they do not react to SIGKILL"));
        }
        broadcast(jail, libc::SIGKILL)?;
        match process::wait_exit(first.pid, Duration::from_secs(1)) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(e) => return Err(e).doing("wait for", format_args!("process {}", first.pid)),
        }
    }
}

/// Waits until a process has ended, at most `limit`; its parent need not have
/// taken its status.
pub fn await_exit(own: state::Process, limit: Duration) -> Result<bool> {
    if sys::process_start_time(own.pid) != Some(own.start_time) {
        return Ok(true);
    }
    match process::wait_exit(own.pid, limit) {
        Ok(ended) => Ok(ended),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(true),
        Err(e) => Err(e).doing("wait for", format_args!("process {}", own.pid)),
    }
}

/// Holds the container's processes, or lets them go on. A process that was
/// forked meanwhile is found in the next round.
pub fn pause(state: &State, pause: bool) -> Result<()> {
    let missing = || Error::text(format_args!("container {:?} has no jail", state.id));
    let jail = own_jail(state)?.ok_or_else(missing)?;
    let signal = if pause { libc::SIGSTOP } else { libc::SIGCONT };
    let end = Instant::now() + LIMIT;
    loop {
        broadcast(jail, signal)?;
        let all = backend::processes_in(&jids(jail)?)?;
        if all.iter().all(|process| process.stopped == pause) {
            return Ok(());
        }
        if Instant::now() >= end {
            let verb = if pause { "pause" } else { "resume" };
            return Err(Error::new(
                verb,
                format_args!("container {:?}", state.id),
                "it takes too long",
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sets new limits. They are journaled, so that delete takes them back too.
pub fn update(state: &State, directory: &Directory, resources: &LinuxResources) -> Result<()> {
    let missing = || Error::text(format_args!("container {:?} has no jail", state.id));
    let jail = own_jail(state)?.ok_or_else(missing)?;
    let mut ignored = Vec::new();
    let from = limits::from_resources(resources, &jail.name, "resources", &mut ignored)?;
    for ignored in ignored {
        report::warning(&format!(
            "{} is ignored: {}",
            ignored.property, ignored.reason
        ));
    }
    if let Some((_, at)) = from.limits.first()
        && !HostFacts::read().racct
    {
        return Err(accounting_off(at));
    }
    let mut journal = Journal::open(&directory.journal())?;
    let mut steps = Vec::new();
    for (limit, _) in from.limits {
        let before = existing(&journal, &limit.resource);
        if before.iter().any(|(_, old)| *old == limit) {
            continue;
        }
        // The new rule first: at no time is there none.
        let resource = limit.resource.clone();
        apply::perform(&Step::Freebsd(Own::Rctl(limit)), &mut journal)?;
        steps.extend(
            before
                .into_iter()
                .filter(|(_, old)| old.resource == resource),
        );
    }
    for resource in from.lifted {
        steps.extend(existing(&journal, resource));
    }
    for (sequence, old) in steps {
        backend::revert(&Step::Freebsd(Own::Rctl(old)), None)?;
        journal.reverted(sequence);
    }
    if let Some(cpus) = from.cpus {
        let step = Own::Cpuset {
            jail: jail.name.clone(),
            cpus,
        };
        apply::perform(&Step::Freebsd(step), &mut journal)?;
    }
    Ok(())
}

/// The container's own rules that deny more of a resource.
fn existing(journal: &Journal, resource: &str) -> Vec<(u32, Limit)> {
    let rule = |entry: apply::journal::Entry| match entry.step {
        Step::Freebsd(Own::Rctl(limit)) if limit.resource == resource && limit.action == "deny" => {
            Some((entry.sequence, limit))
        }
        _ => None,
    };
    journal.pending().into_iter().filter_map(rule).collect()
}

/// Statistics from the jail's resource accounting (rctl_get_racct(2)).
pub fn stats(state: &State) -> Result<Stats> {
    let missing = || Error::text(format_args!("container {:?} has no jail", state.id));
    let jail = own_jail(state)?.ok_or_else(missing)?;
    let usage = backend::usage(&jail.name)?;
    let get = |name: &str| usage.get(name).copied().unwrap_or(0);
    let entry = |resource: &str| MemoryEntry {
        limit: backend::denied_at(&jail.name, resource).unwrap_or(0),
        usage: get(resource),
        ..MemoryEntry::default()
    };
    let mut stats = Stats::default();
    // The jail's account has what processes used that are gone, in whole
    // seconds; the processes tell of their own to the microsecond.
    let own = process::usage(&jids(jail)?).doing("read", "what the processes use")?;
    stats.cpu.usage.total = own.total.max(get("cputime") * 1_000_000_000);
    stats.cpu.usage.kernel = own.kernel;
    stats.cpu.usage.user = own.user;
    stats.memory.usage = entry("memoryuse");
    // The account of it is the same sum, made once a second.
    stats.memory.usage.usage = own.resident;
    stats.memory.swap = entry("swapuse");
    stats.pids.current = get("maxproc");
    stats.pids.limit = backend::denied_at(&jail.name, "maxproc").unwrap_or(0);
    stats.memory.raw = usage;
    Ok(stats)
}
