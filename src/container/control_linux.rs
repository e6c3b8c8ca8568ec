//! What later commands do to a container on Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

use super::stats::{Blkio, BlkioEntry, MemoryEntry, Stats};
use super::{Directory, Orphan, State, state};
use crate::apply::Outcome;
use crate::apply::linux::cgroup::{self, Layout};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Step;
use crate::plan::linux::Step as LinuxStep;
use crate::policy::Policy;
use crate::sys;
use crate::sys::linux::process as sys_process;

/// Whether taking a container back ends its processes, too: a cgroup with
/// processes in it cannot be removed.
pub const REMOVAL_KILLS: bool = false;

/// What a jail says of itself is FreeBSD's.
pub fn orphans(_: &Path) -> Result<Vec<Orphan>> {
    Ok(Vec::new())
}

/// There is none.
pub fn reclaim(orphan: &Orphan, _: &Policy) -> Result<()> {
    Err(Error::no_container(&orphan.id))
}

/// How long a freezer may take before it is reported as a failure.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// Remembers in the state what a step made.
pub fn record(step: &Step, outcome: &Outcome, state: &mut State) {
    if let (
        Step::Linux(LinuxStep::Cgroup { path, systemd, .. }),
        Outcome::Created(_) | Outcome::Done,
    ) = (step, outcome)
    {
        // The last part of the path is what this container has for itself.
        let made = match outcome {
            Outcome::Created(made) => made.iter().any(|directory| directory.ends_with(path)),
            _ => true,
        };
        let shared = !systemd && !made;
        state.cgroup = Some(state::Cgroup {
            path: path.clone(),
            systemd: *systemd,
            shared,
        });
    }
}

/// The cgroup's path below the hierarchies' roots.
fn path(state: &State) -> Option<PathBuf> {
    let group = state.cgroup.as_ref()?;
    match (group.systemd, state.init) {
        (false, _) => Some(group.path.clone()),
        (true, Some(init)) => cgroup::path_of(init.pid),
        (true, None) => None,
    }
}

/// The same, when no other container can be in it.
fn own_path(state: &State) -> Option<PathBuf> {
    if state.cgroup.as_ref()?.shared {
        None
    } else {
        path(state)
    }
}

fn no_cgroup(state: &State) -> Error {
    Error::text(format_args!("container {:?} has no cgroup", state.id))
}

/// Whether the container's processes are held.
pub fn is_paused(state: &State) -> bool {
    let Some(path) = path(state) else {
        return false;
    };
    let Ok(layout) = Layout::find() else {
        return false;
    };
    let (file, paused): (_, fn(&str) -> bool) = match layout {
        Layout::V2 { .. } => ("cgroup.events", |text| {
            text.lines().any(|line| line == "frozen 1")
        }),
        Layout::V1 { .. } => ("freezer.state", |text| text.trim() == "FROZEN"),
    };
    let directory = layout.directory("freezer", &path);
    directory
        .and_then(|d| fs::read_to_string(d.join(file)).ok())
        .is_some_and(|text| paused(&text))
}

/// The processes of the container, by their ids on the host.
pub fn processes(state: &State) -> Result<Vec<i32>> {
    if let Some(path) = own_path(state) {
        return cgroup::processes(&path);
    }
    // Without a cgroup the pid namespace tells.
    let Some(init) = state.init.filter(|_| super::status::init_alive(state)) else {
        return Ok(Vec::new());
    };
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(init.pid);
    // Only the namespace that it is the first process of is the container's.
    if !is_first_of_namespace(init.pid) {
        return Ok(vec![init.pid]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").doing("read", "/proc")?.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid.filter(|pid| namespace(*pid) == own) {
            all.push(pid);
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Whether the process has the id 1 in its own pid namespace, and that is not
/// the host's (proc_pid_status(5), NSpid).
fn is_first_of_namespace(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let ids: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

/// Sends a signal to the container's process and to no later one of its id.
pub fn signal_init(state: &State, signal: i32) -> Result<()> {
    let gone = || Error::text("container not running").kind(Kind::NotRunning);
    let init = state.init.ok_or_else(gone)?;
    let pidfd = sys_process::open_pidfd(init.pid).map_err(|_| gone())?;
    if sys::process_start_time(init.pid) != Some(init.start_time) {
        return Err(gone());
    }
    use std::os::fd::AsFd;
    match sys_process::signal_pidfd(pidfd.as_fd(), signal) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Err(gone()),
        Err(e) => return Err(e).doing("signal", format_args!("process {}", init.pid)),
    }
    if signal == libc::SIGKILL && is_paused(state) {
        // A frozen process of version 1 dies only when it is thawed.
        pause(state, false)?;
    }
    Ok(())
}

/// Sends a signal to every process of the container.
pub fn signal_all(state: &State, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL {
        return kill_all(state);
    }
    for pid in processes(state)? {
        send(pid, signal)?;
    }
    Ok(())
}

fn send(pid: i32, signal: i32) -> Result<()> {
    let result = match signal {
        0 => kill(Pid::from_raw(pid), None),
        // A real-time signal has no name in the library.
        _ => match Signal::try_from(signal) {
            Ok(signal) => kill(Pid::from_raw(pid), signal),
            Err(_) => {
                use std::os::fd::AsFd;
                let sent = sys_process::open_pidfd(pid)
                    .and_then(|fd| sys_process::signal_pidfd(fd.as_fd(), signal));
                return match sent {
                    Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                        Err(e).doing("signal", format_args!("process {pid}"))
                    }
                    _ => Ok(()),
                };
            }
        },
    };
    match result {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).doing("signal", format_args!("process {pid}")),
    }
}

/// Kills every process of the container, also those that are being forked
/// meanwhile: until the kernel lists none.
pub fn kill_all(state: &State) -> Result<()> {
    let Some(path) = own_path(state) else {
        for pid in processes(state)? {
            send(pid, libc::SIGKILL)?;
        }
        return Ok(());
    };
    let Ok(layout) = Layout::find() else {
        return Ok(());
    };
    if let Layout::V2 { root } = &layout {
        // Linux 5.14: the kernel kills the whole tree at once.
        let file = root.join(&path).join("cgroup.kill");
        if fs::write(&file, "1").is_ok() {
            return Ok(());
        }
    }
    let begun = Instant::now();
    loop {
        let all = cgroup::processes(&path)?;
        if all.is_empty() {
            return Ok(());
        }
        // Held, they cannot fork faster than they are killed.
        let held = all.len() > 1 && freeze(&layout, &path, true).is_ok();
        for pid in &cgroup::processes(&path)? {
            send(*pid, libc::SIGKILL)?;
        }
        if held || is_paused(state) {
            freeze(&layout, &path, false)?;
        }
        if begun.elapsed() > FREEZE_LIMIT {
            let fault = Error::new(
                "end",
                format_args!("the processes of container {:?}", state.id),
                "they do not react to SIGKILL",
            );
            return Err(fault);
        }
        for pid in all {
            if let Ok(pidfd) = sys_process::open_pidfd(pid) {
                let _ = sys_process::wait_pidfd(&pidfd, Duration::from_secs(1));
            }
        }
    }
}

/// Waits until a process has ended, at most `limit`.
pub fn await_exit(process: state::Process, limit: Duration) -> Result<bool> {
    let Ok(pidfd) = sys_process::open_pidfd(process.pid) else {
        return Ok(true);
    };
    if sys::process_start_time(process.pid) != Some(process.start_time) {
        return Ok(true);
    }
    sys_process::wait_pidfd(&pidfd, limit)
        .doing("wait for", format_args!("process {}", process.pid))
}

/// Holds the container's processes, or lets them go on.
pub fn pause(state: &State, pause: bool) -> Result<()> {
    let path = path(state).ok_or_else(|| no_cgroup(state))?;
    freeze(&Layout::find()?, &path, pause)
}

fn freeze(layout: &Layout, path: &Path, on: bool) -> Result<()> {
    let missing = || Error::text("this host has no cgroup freezer");
    let directory = layout.directory("freezer", path).ok_or_else(missing)?;
    let object = format!("cgroup {}", directory.display());
    let begun = Instant::now();
    if layout.is_v2() {
        let value = if on { "1" } else { "0" };
        fs::write(directory.join("cgroup.freeze"), value).doing("freeze", &object)?;
        let wanted = format!("frozen {value}");
        while !fs::read_to_string(directory.join("cgroup.events"))
            .doing("read", &object)?
            .lines()
            .any(|l| l == wanted)
        {
            if begun.elapsed() > FREEZE_LIMIT {
                return Err(Error::new("freeze", object, "it takes too long"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        return Ok(());
    }
    let value = if on { "FROZEN" } else { "THAWED" };
    loop {
        // FREEZING may stay so when processes fork meanwhile: it is asked for
        // again until all are held.
        fs::write(directory.join("freezer.state"), value).doing("freeze", &object)?;
        let now = fs::read_to_string(directory.join("freezer.state")).doing("read", &object)?;
        if now.trim() == value {
            return Ok(());
        }
        if begun.elapsed() > FREEZE_LIMIT {
            let _ = fs::write(directory.join("freezer.state"), "THAWED");
            return Err(Error::new("freeze", object, "it takes too long"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Sets new limits.
pub fn update(state: &State, _: &Directory, resources: &LinuxResources) -> Result<()> {
    let path = path(state).ok_or_else(|| no_cgroup(state))?;
    cgroup::apply(&Layout::find()?, &path, resources)
}

/// Statistics from the cgroup's files.
pub fn stats(state: &State) -> Result<Stats> {
    let path = path(state).ok_or_else(|| no_cgroup(state))?;
    let layout = Layout::find()?;
    let source = Source {
        layout: &layout,
        path: &path,
    };
    Ok(if layout.is_v2() {
        source.version_2()
    } else {
        source.version_1()
    })
}

struct Source<'a> {
    layout: &'a Layout,
    path: &'a Path,
}

impl Source<'_> {
    fn text(&self, controller: &str, file: &str) -> String {
        let directory = self.layout.directory(controller, self.path);
        directory
            .and_then(|d| fs::read_to_string(d.join(file)).ok())
            .unwrap_or_default()
    }

    /// A number; "max" counts as no limit, the highest number.
    fn number(&self, controller: &str, file: &str) -> u64 {
        match self.text(controller, file).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }

    /// Lines of a name and a number.
    fn table(&self, controller: &str, file: &str) -> std::collections::BTreeMap<String, u64> {
        let text = self.text(controller, file);
        let row = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        text.lines().filter_map(row).collect()
    }

    fn version_1(&self) -> Stats {
        let mut stats = Stats::default();
        stats.cpu.usage.total = self.number("cpuacct", "cpuacct.usage");
        let percpu = self.text("cpuacct", "cpuacct.usage_percpu");
        stats.cpu.usage.percpu = percpu
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        stats.cpu.usage.user = self.number("cpuacct", "cpuacct.usage_user");
        stats.cpu.usage.kernel = self.number("cpuacct", "cpuacct.usage_sys");
        let throttled = self.table("cpu", "cpu.stat");
        let get = |table: &std::collections::BTreeMap<String, u64>, name: &str| {
            table.get(name).copied().unwrap_or(0)
        };
        stats.cpu.throttling.periods = get(&throttled, "nr_periods");
        stats.cpu.throttling.throttled_periods = get(&throttled, "nr_throttled");
        stats.cpu.throttling.throttled_time = get(&throttled, "throttled_time");
        let entry = |prefix: &str| MemoryEntry {
            limit: self.number("memory", &format!("{prefix}.limit_in_bytes")),
            usage: self.number("memory", &format!("{prefix}.usage_in_bytes")),
            max: self.number("memory", &format!("{prefix}.max_usage_in_bytes")),
            failcnt: self.number("memory", &format!("{prefix}.failcnt")),
        };
        stats.memory.usage = entry("memory");
        stats.memory.swap = entry("memory.memsw");
        stats.memory.kernel = entry("memory.kmem");
        stats.memory.raw = self.table("memory", "memory.stat");
        stats.memory.cache = get(&stats.memory.raw, "cache");
        self.pids(&mut stats);
        let entries = |file: &str| -> Vec<BlkioEntry> {
            let text = self.text("blkio", file);
            let row = |line: &str| {
                let mut fields = line.split_whitespace();
                let (major, minor) = fields.next()?.split_once(':')?;
                let op = fields.next()?.to_owned();
                let value = fields.next()?.parse().ok()?;
                Some(BlkioEntry {
                    major: major.parse().ok()?,
                    minor: minor.parse().ok()?,
                    op,
                    value,
                })
            };
            text.lines().filter_map(row).collect()
        };
        stats.blkio = Blkio {
            io_service_bytes_recursive: entries("blkio.throttle.io_service_bytes_recursive"),
            io_serviced_recursive: entries("blkio.throttle.io_serviced_recursive"),
        };
        stats
    }

    fn version_2(&self) -> Stats {
        let mut stats = Stats::default();
        let cpu = self.table("cpu", "cpu.stat");
        let get = |table: &std::collections::BTreeMap<String, u64>, name: &str| {
            table.get(name).copied().unwrap_or(0)
        };
        // Microseconds there, nanoseconds here.
        stats.cpu.usage.total = get(&cpu, "usage_usec") * 1000;
        stats.cpu.usage.user = get(&cpu, "user_usec") * 1000;
        stats.cpu.usage.kernel = get(&cpu, "system_usec") * 1000;
        stats.cpu.throttling.periods = get(&cpu, "nr_periods");
        stats.cpu.throttling.throttled_periods = get(&cpu, "nr_throttled");
        stats.cpu.throttling.throttled_time = get(&cpu, "throttled_usec") * 1000;
        let events = self.table("memory", "memory.events");
        stats.memory.usage = MemoryEntry {
            limit: self.number("memory", "memory.max"),
            usage: self.number("memory", "memory.current"),
            max: self.number("memory", "memory.peak"),
            failcnt: get(&events, "max"),
        };
        stats.memory.swap = MemoryEntry {
            limit: self.number("memory", "memory.swap.max"),
            usage: self.number("memory", "memory.swap.current"),
            max: self.number("memory", "memory.swap.peak"),
            failcnt: 0,
        };
        stats.memory.raw = self.table("memory", "memory.stat");
        stats.memory.cache = get(&stats.memory.raw, "file");
        self.pids(&mut stats);
        for line in self.text("io", "io.stat").lines() {
            let mut fields = line.split_whitespace();
            let Some((major, minor)) = fields.next().and_then(|f| f.split_once(':')) else {
                continue;
            };
            let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
                continue;
            };
            for field in fields {
                let Some((key, value)) = field.split_once('=') else {
                    continue;
                };
                let value = value.parse().unwrap_or(0);
                let (list, op) = match key {
                    "rbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Read"),
                    "wbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Write"),
                    "rios" => (&mut stats.blkio.io_serviced_recursive, "Read"),
                    "wios" => (&mut stats.blkio.io_serviced_recursive, "Write"),
                    _ => continue,
                };
                list.push(BlkioEntry {
                    major,
                    minor,
                    op: op.into(),
                    value,
                });
            }
        }
        stats
    }

    fn pids(&self, stats: &mut Stats) {
        stats.pids.current = self.number("pids", "pids.current");
        let limit = self.number("pids", "pids.max");
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
}
