//! Cgroups of Linux, version 1, 2 and both at once (cgroups(7)).
//!
//! The lifecycle is ours rather than a library's: what create made must be
//! known, so that delete takes away that and nothing that others share, and
//! nothing may sleep on the way.

use std::ffi::CStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use crate::apply::Outcome;
use crate::error::{Context, Error, Result, io_name};
use crate::sys;
use crate::sys::linux::bpf::{self, DeviceRule};

/// Where cgroups are mounted on every distribution.
const MOUNT: &str = "/sys/fs/cgroup";
/// How long the kernel may take to let go of a cgroup whose last process has
/// ended.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// One hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers; empty for a version 2 hierarchy beside it, and for one
    /// that only has a name, that name.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

/// How this host has its cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone.
    V2 {
        /// Where it is mounted.
        root: PathBuf,
    },
    /// Version 1, possibly with a version 2 hierarchy that has no controllers
    /// of use.
    V1 {
        /// All of them.
        hierarchies: Vec<Hierarchy>,
    },
}

impl Layout {
    /// Asks the kernel, once.
    ///
    /// # Errors
    /// No cgroups are mounted where they are expected.
    pub fn find() -> Result<Layout> {
        static FOUND: OnceLock<Result<Layout>> = OnceLock::new();
        FOUND.get_or_init(Layout::look).clone()
    }

    fn look() -> Result<Layout> {
        let is_v2 =
            |path: &Path| statfs(path).is_ok_and(|s| s.filesystem_type() == CGROUP2_SUPER_MAGIC);
        let root = Path::new(MOUNT);
        if is_v2(root) {
            return Ok(Layout::V2 { root: root.into() });
        }
        let own = fs::read_to_string("/proc/self/cgroup").doing("read", "/proc/self/cgroup")?;
        let mut hierarchies = Vec::new();
        for line in own.lines() {
            let Some(names) = line.split(':').nth(1) else {
                continue;
            };
            if names.is_empty() {
                let mount = root.join("unified");
                if is_v2(&mount) {
                    hierarchies.push(Hierarchy {
                        controllers: Vec::new(),
                        mount,
                    });
                }
                continue;
            }
            let directory = names.strip_prefix("name=").unwrap_or(names);
            let controllers: Vec<String> = names.split(',').map(String::from).collect();
            let first = controllers.first().map(|name| root.join(name));
            let found = [Some(root.join(directory)), first]
                .into_iter()
                .flatten()
                .find(|p| p.join("cgroup.procs").exists());
            if let Some(mount) = found {
                hierarchies.push(Hierarchy { controllers, mount });
            }
        }
        if hierarchies.is_empty() {
            let fault = Error::text(format_args!("no cgroups are mounted below {MOUNT}"));
            return Err(fault.hint("mount them, or start the system's cgroup service"));
        }
        // The order of /proc/self/cgroup changes from boot to boot.
        hierarchies.sort_by(|a, b| a.mount.cmp(&b.mount));
        Ok(Layout::V1 { hierarchies })
    }

    /// The directories of a cgroup.
    pub fn directories(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Layout::V2 { root } => vec![root.join(path)],
            Layout::V1 { hierarchies } => hierarchies.iter().map(|h| h.mount.join(path)).collect(),
        }
    }

    /// The directory of a cgroup that a controller has its files in.
    pub fn directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        match self {
            Layout::V2 { root } => Some(root.join(path)),
            Layout::V1 { hierarchies } => hierarchies
                .iter()
                .find(|h| h.controllers.iter().any(|name| name == controller))
                .map(|h| h.mount.join(path)),
        }
    }

    /// Whether this is version 2.
    pub fn is_v2(&self) -> bool {
        matches!(self, Layout::V2 { .. })
    }
}

/// Makes the cgroup, with its limits, and says which directories are new.
pub(super) fn create(
    path: &Path,
    systemd: bool,
    optional: bool,
    resources: Option<&LinuxResources>,
) -> Result<Outcome> {
    if systemd {
        // A scope is made around a process, which there is none of yet.
        return systemd::check().map(|()| Outcome::Done);
    }
    let made = || -> Result<Vec<PathBuf>> {
        let layout = Layout::find()?;
        let mut made = Vec::new();
        match make_directories(&layout, path, &mut made)
            .and_then(|()| resources.map_or(Ok(()), |r| apply(&layout, path, r)))
        {
            Ok(()) => Ok(made),
            Err(error) => {
                for directory in made.iter().rev() {
                    let _ = fs::remove_dir(directory);
                }
                Err(error)
            }
        }
    };
    match made() {
        Ok(made) => Ok(Outcome::Created(made)),
        Err(error) if optional && !asks_for_limits(resources) => {
            crate::report::debug(|| format!("no cgroup: {error}"));
            Ok(Outcome::Kept)
        }
        Err(error) => Err(error),
    }
}

/// Whether the configuration wants a limit, and not only device rules as every
/// engine writes them.
fn asks_for_limits(resources: Option<&LinuxResources>) -> bool {
    resources.is_some_and(|r| {
        let mut rest = r.clone();
        rest.set_devices(None);
        rest != LinuxResources::default()
    })
}

fn make_directories(layout: &Layout, path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let mounts: Vec<PathBuf> = match layout {
        Layout::V2 { root } => vec![root.clone()],
        Layout::V1 { hierarchies } => hierarchies.iter().map(|h| h.mount.clone()).collect(),
    };
    for mount in mounts {
        let is_cpuset = layout
            .directory("cpuset", Path::new(""))
            .is_some_and(|d| d == mount);
        let mut tries = 0;
        while let Err((directory, e)) = make_below(&mount, path, layout.is_v2(), is_cpuset, made) {
            // The last other container below a parent took it away just now.
            tries += 1;
            if e.kind() != ErrorKind::NotFound || tries == MOST_TRIES {
                return Err(e).doing("create cgroup", directory.display());
            }
        }
    }
    Ok(())
}

/// How often a parent may vanish while a cgroup is made below it.
const MOST_TRIES: u32 = 100;
/// Marks the parents that brig made, so that the last container below one
/// takes it away, whichever made it.
const MARK: &CStr = c"trusted.brig";

fn make_below(
    mount: &Path,
    path: &Path,
    is_v2: bool,
    is_cpuset: bool,
    made: &mut Vec<PathBuf>,
) -> std::result::Result<(), (PathBuf, std::io::Error)> {
    let mut directory = mount.to_path_buf();
    let mut parts = path.components().peekable();
    while let Some(name) = parts.next() {
        if is_v2 {
            delegate(&directory);
        }
        let above = directory.clone();
        directory.push(name);
        match fs::create_dir(&directory) {
            Ok(()) => {
                made.push(directory.clone());
                if parts.peek().is_some() {
                    // Without privilege for it the parent stays, as it does
                    // with the peers.
                    let _ = sys::linux::set_mark(&directory, MARK);
                }
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err((directory, e)),
        }
        if is_cpuset && !is_v2 {
            inherit_cpuset(&above, &directory).map_err(|e| (directory.clone(), e))?;
        }
    }
    Ok(())
}

/// Lets the children of a cgroup use its controllers. One that cannot be given
/// on is missed only when a limit needs it.
fn delegate(directory: &Path) {
    let has = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    let given = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
    for name in has
        .split_whitespace()
        .filter(|name| !given.split_whitespace().any(|g| g == *name))
    {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{name}"));
    }
}

/// A new cpuset of version 1 is empty, and nothing can run in it.
fn inherit_cpuset(above: &Path, directory: &Path) -> std::io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let file_path = directory.join(file);
        let now = fs::read_to_string(&file_path).unwrap_or_default();
        if now.trim().is_empty() {
            fs::write(&file_path, fs::read_to_string(above.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Moves a process into the cgroup, or into the new scope around it.
///
/// # Errors
/// The kernel or systemd refuses.
pub fn admit(
    path: &Path,
    systemd: bool,
    optional: bool,
    id: &str,
    resources: Option<&LinuxResources>,
    pid: i32,
) -> Result<()> {
    if systemd {
        return systemd::make_scope(path, id, resources, pid);
    }
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(_) if optional => return Ok(()),
        Err(error) => return Err(error),
    };
    for directory in layout.directories(path) {
        if is_frozen(&directory) {
            let object = directory.display();
            let fault = Error::new("enter cgroup", object, "it is frozen");
            return Err(fault.hint("resume the container that it belongs to"));
        }
        let file = directory.join("cgroup.procs");
        match fs::write(&file, pid.to_string()) {
            Ok(()) => {}
            Err(_) if optional => {}
            // Its processes have moved on to cgroups of their own making.
            Err(e) if layout.is_v2() && e.raw_os_error() == Some(libc::EBUSY) => {
                return Err(e).doing("enter cgroup", directory.display());
            }
            Err(e) => return Err(e).doing("enter cgroup", directory.display()),
        }
    }
    Ok(())
}

/// Where the kernel says what a cgroup's new owner gets.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

/// Gives the cgroup that a process is in, and the files by which it is divided
/// further, to a user (config-linux.md, Cgroup ownership). Its limits stay
/// root's.
///
/// # Errors
/// The owner cannot be changed.
pub fn give(pid: i32, owner: u32) -> Result<()> {
    let Layout::V2 { root } = Layout::find()? else {
        return Ok(());
    };
    let Some(path) = path_of(pid) else {
        return Ok(());
    };
    let directory = root.join(path);
    let files = fs::read_to_string(DELEGATE)
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    let names = files.lines().filter(|name| !name.contains('/'));
    for name in std::iter::once("").chain(names) {
        let file = match name {
            "" => directory.clone(),
            name => directory.join(name),
        };
        match std::os::unix::fs::lchown(&file, Some(owner), None) {
            // Not every cgroup has every file.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            given => given.doing("give to the container's user", file.display())?,
        }
    }
    Ok(())
}

/// Whether what enters a cgroup stops there (config-linux.md, Control groups).
fn is_frozen(directory: &Path) -> bool {
    let is = |file: &str, words: &[&str]| {
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        words.contains(&text.trim())
    };
    is("freezer.state", &["FROZEN", "FREEZING"]) || is("cgroup.freeze", &["1"])
}

/// Moves a process to where another one is, in every hierarchy.
///
/// # Errors
/// The other one is gone, or the kernel refuses.
pub fn join(other: i32, pid: i32, optional: bool) -> Result<()> {
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(_) if optional => return Ok(()),
        Err(error) => return Err(error),
    };
    let text = fs::read_to_string(format!("/proc/{other}/cgroup"))
        .doing("find the cgroup of process", other)?;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let below = path.trim_start_matches('/');
        let directory = match &layout {
            Layout::V2 { root } if names.is_empty() => root.join(below),
            Layout::V2 { .. } => continue,
            Layout::V1 { hierarchies } => {
                let found = hierarchies
                    .iter()
                    .find(|h| h.controllers.join(",") == names);
                let Some(found) = found else { continue };
                found.mount.join(below)
            }
        };
        match fs::write(directory.join("cgroup.procs"), pid.to_string()) {
            Err(e) if !optional => return Err(e).doing("enter cgroup", directory.display()),
            _ => {}
        }
    }
    Ok(())
}

/// The processes of a cgroup and those below it.
///
/// # Errors
/// It cannot be read.
pub fn processes(path: &Path) -> Result<Vec<i32>> {
    let layout = Layout::find()?;
    let candidates = ["pids", "memory", "cpu", "devices", "freezer"];
    let directory = candidates
        .iter()
        .find_map(|name| layout.directory(name, path));
    let directory = directory.or_else(|| layout.directories(path).into_iter().next());
    let mut all = Vec::new();
    if let Some(directory) = directory {
        collect(&directory, &mut all)?;
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn collect(directory: &Path, all: &mut Vec<i32>) -> Result<()> {
    let text = match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => {
            return Ok(());
        }
        Err(e) => return Err(e).doing("read cgroup", directory.display()),
    };
    // 0 is a process of another pid namespace, which no number here names.
    all.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    for below in subdirectories(directory) {
        collect(&below, all)?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries
        .flatten()
        .filter(is_dir)
        .map(|entry| entry.path())
        .collect()
}

/// Removes the directories that create made, with what the container made
/// below its own.
pub(super) fn remove(path: &Path, systemd: bool, outcome: Option<&Outcome>) -> Result<()> {
    if systemd {
        return systemd::stop(path);
    }
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(_) => return Ok(()),
    };
    let leaves = layout.directories(path);
    let mut failures = Vec::new();
    match outcome {
        Some(Outcome::Created(made)) => {
            for directory in made.iter().rev() {
                let own = leaves.contains(directory);
                if let Err(e) = remove_directory(directory, own) {
                    failures.push(format!(
                        "cannot remove cgroup {}: {}",
                        directory.display(),
                        io_name(&e)
                    ));
                }
            }
        }
        // Killed in the middle: an empty leaf is ours, and one that has
        // processes in it is somebody else's.
        None => {
            for directory in leaves {
                let _ = fs::remove_dir(directory);
            }
        }
        Some(_) => {}
    }
    for leaf in layout.directories(path) {
        // A parent with another container below it is not empty.
        let parents = leaf.ancestors().skip(1);
        for parent in parents.take_while(|parent| sys::linux::has_mark(parent, MARK)) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::text(failures.join("; ")))
    }
}

fn remove_directory(directory: &Path, own: bool) -> std::io::Result<()> {
    let begun = Instant::now();
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            // A parent that another container now uses stays.
            Err(_) if !own => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && begun.elapsed() < REMOVE_LIMIT => {
                for below in subdirectories(directory) {
                    remove_directory(&below, true)?;
                }
                let mut left = Vec::new();
                let _ = collect(directory, &mut left);
                for pid in left {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid),
                        nix::sys::signal::SIGKILL,
                    );
                }
                // The kernel lets go shortly after the last exit and tells
                // nobody in version 1.
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Sets limits.
///
/// # Errors
/// The file that the kernel refused, and the value.
pub fn apply(layout: &Layout, path: &Path, resources: &LinuxResources) -> Result<()> {
    let target = Target { layout, path };
    if layout.is_v2() {
        target.version_2(resources)
    } else {
        target.version_1(resources)
    }
}

struct Target<'a> {
    layout: &'a Layout,
    path: &'a Path,
}

impl Target<'_> {
    fn set(
        &self,
        controller: &str,
        file: &str,
        value: impl ToString,
        property: &str,
    ) -> Result<()> {
        let at = format!("linux.resources.{property}");
        let Some(directory) = self.layout.directory(controller, self.path) else {
            return Err(Error::property(
                at,
                format_args!("needs the cgroup controller {controller}, which this host has not"),
            ));
        };
        let value = value.to_string();
        match fs::write(directory.join(file), &value) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let cause = format!(
                    "needs the cgroup controller {controller} ({file}), which is not available here"
                );
                Err(Error::property(at, cause))
            }
            Err(e) => Err(Error::new(
                format!("set {at} to"),
                value,
                format_args!("{file}: {}", io_name(&e)),
            )),
        }
    }

    /// Sets a value where there is the file for it.
    fn set_if_there(
        &self,
        controller: &str,
        file: &str,
        value: impl ToString,
        property: &str,
    ) -> Result<()> {
        match self.layout.directory(controller, self.path) {
            Some(directory) if directory.join(file).exists() => {
                self.set(controller, file, value, property)
            }
            _ => Ok(()),
        }
    }

    fn version_1(&self, r: &LinuxResources) -> Result<()> {
        if let Some(memory) = r.memory() {
            let limit = memory.limit();
            let swap = memory.swap();
            // Memory may not exceed memory and swap at any time, so a rising
            // pair is set from above and a falling one from below.
            let rising = swap.is_some_and(|swap| {
                swap == -1
                    || self
                        .current_memory_and_swap()
                        .is_some_and(|now| swap as u64 > now)
            });
            if rising && let Some(swap) = swap {
                self.set("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap")?;
            }
            if let Some(limit) = limit.filter(|limit| *limit != 0) {
                self.set("memory", "memory.limit_in_bytes", limit, "memory.limit")?;
            }
            if !rising && let Some(swap) = swap.filter(|swap| *swap != 0) {
                self.set("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap")?;
            }
            if let Some(value) = memory.reservation().filter(|value| *value != 0) {
                self.set(
                    "memory",
                    "memory.soft_limit_in_bytes",
                    value,
                    "memory.reservation",
                )?;
            }
            if let Some(value) = memory.swappiness() {
                self.set("memory", "memory.swappiness", value, "memory.swappiness")?;
            }
            if memory.disable_oom_killer() == Some(true) {
                self.set("memory", "memory.oom_control", 1, "memory.disableOOMKiller")?;
            }
        }
        if let Some(cpu) = r.cpu() {
            if let Some(value) = cpu.shares().filter(|value| *value != 0) {
                self.set("cpu", "cpu.shares", value, "cpu.shares")?;
            }
            if let Some(value) = cpu.period().filter(|value| *value != 0) {
                self.set("cpu", "cpu.cfs_period_us", value, "cpu.period")?;
            }
            if let Some(value) = cpu.quota().filter(|value| *value != 0) {
                self.set("cpu", "cpu.cfs_quota_us", value, "cpu.quota")?;
            }
            if let Some(value) = cpu.burst() {
                self.set("cpu", "cpu.cfs_burst_us", value, "cpu.burst")?;
            }
            if let Some(value) = cpu.idle() {
                self.set("cpu", "cpu.idle", value, "cpu.idle")?;
            }
            if let Some(value) = cpu.realtime_period().filter(|value| *value != 0) {
                self.set("cpu", "cpu.rt_period_us", value, "cpu.realtimePeriod")?;
            }
            if let Some(value) = cpu.realtime_runtime().filter(|value| *value != 0) {
                self.set("cpu", "cpu.rt_runtime_us", value, "cpu.realtimeRuntime")?;
            }
        }
        self.cpuset(r)?;
        if let Some(pids) = r.pids() {
            self.pids(pids.limit())?;
        }
        if let Some(io) = r.block_io() {
            if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
                let file = self.first_file("blkio", &["blkio.weight", "blkio.bfq.weight"]);
                self.set("blkio", file, weight, "blockIO.weight")?;
            }
            let leaf = io.leaf_weight().filter(|weight| *weight != 0);
            if let Some(weight) = leaf {
                self.set("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight")?;
            }
            for device in io.weight_device().iter().flatten() {
                let file =
                    self.first_file("blkio", &["blkio.weight_device", "blkio.bfq.weight_device"]);
                if let Some(weight) = device.weight() {
                    let line = format!("{}:{} {weight}", device.major(), device.minor());
                    self.set("blkio", file, line, "blockIO.weightDevice")?;
                }
            }
            for (devices, file, property) in [
                (
                    io.throttle_read_bps_device(),
                    "blkio.throttle.read_bps_device",
                    "blockIO.throttleReadBpsDevice",
                ),
                (
                    io.throttle_write_bps_device(),
                    "blkio.throttle.write_bps_device",
                    "blockIO.throttleWriteBpsDevice",
                ),
                (
                    io.throttle_read_iops_device(),
                    "blkio.throttle.read_iops_device",
                    "blockIO.throttleReadIOPSDevice",
                ),
                (
                    io.throttle_write_iops_device(),
                    "blkio.throttle.write_iops_device",
                    "blockIO.throttleWriteIOPSDevice",
                ),
            ] {
                for d in devices.iter().flatten() {
                    self.set(
                        "blkio",
                        file,
                        format!("{}:{} {}", d.major(), d.minor(), d.rate()),
                        property,
                    )?;
                }
            }
        }
        for page in r.hugepage_limits().iter().flatten() {
            let file = format!("hugetlb.{}.limit_in_bytes", page.page_size());
            self.set("hugetlb", &file, page.limit(), "hugepageLimits")?;
            let reserved = format!("hugetlb.{}.rsvd.limit_in_bytes", page.page_size());
            self.set_if_there("hugetlb", &reserved, page.limit(), "hugepageLimits")?;
        }
        self.rdma(r)?;
        if let Some(network) = r.network() {
            if let Some(class) = network.class_id() {
                self.set("net_cls", "net_cls.classid", class, "network.classID")?;
            }
            for p in network.priorities().iter().flatten() {
                let line = format!("{} {}", p.name(), p.priority());
                self.set("net_prio", "net_prio.ifpriomap", line, "network.priorities")?;
            }
        }
        for rule in rules(r) {
            let file = if rule.allow() {
                "devices.allow"
            } else {
                "devices.deny"
            };
            self.set("devices", file, rule_line(&rule), "devices")?;
        }
        Ok(())
    }

    fn version_2(&self, r: &LinuxResources) -> Result<()> {
        if let Some(property) = of_version_1_alone(r) {
            let at = format!("linux.resources.{property}");
            return Err(Error::property(at, "is of cgroup v1, and this host has v2"));
        }
        if let Some(memory) = r.memory() {
            let limit = memory.limit().filter(|limit| *limit != 0);
            if let Some(limit) = limit {
                if memory.check_before_update() == Some(true) {
                    self.check_usage(limit)?;
                }
                self.set("memory", "memory.max", or_max(limit), "memory.limit")?;
            }
            // The file counts swap alone; the property counts memory with it.
            if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
                let alone = match (swap, limit) {
                    (-1, _) => "max".into(),
                    (swap, Some(limit)) if limit > 0 && swap >= limit => (swap - limit).to_string(),
                    _ => {
                        let at = "linux.resources.memory.swap";
                        return Err(Error::property(
                            at,
                            "is memory and swap together, so it needs a memory.limit that is not above it",
                        ));
                    }
                };
                self.set("memory", "memory.swap.max", alone, "memory.swap")?;
            }
            if let Some(value) = memory.reservation().filter(|value| *value != 0) {
                self.set("memory", "memory.low", or_max(value), "memory.reservation")?;
            }
        }
        if let Some(cpu) = r.cpu() {
            if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
                self.set("cpu", "cpu.weight", weight_of_shares(shares), "cpu.shares")?;
            }
            if cpu.quota().is_some() || cpu.period().is_some() {
                let quota = cpu.quota().filter(|quota| *quota > 0);
                let quota = quota.map_or("max".into(), |quota| quota.to_string());
                let period = cpu
                    .period()
                    .filter(|period| *period != 0)
                    .unwrap_or(100_000);
                self.set("cpu", "cpu.max", format!("{quota} {period}"), "cpu.quota")?;
            }
            if let Some(value) = cpu.burst() {
                self.set("cpu", "cpu.max.burst", value, "cpu.burst")?;
            }
            if let Some(value) = cpu.idle() {
                self.set("cpu", "cpu.idle", value, "cpu.idle")?;
            }
        }
        self.cpuset(r)?;
        if let Some(pids) = r.pids() {
            self.pids(pids.limit())?;
        }
        if let Some(io) = r.block_io() {
            if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
                let file = self.first_file("io", &["io.bfq.weight", "io.weight"]);
                self.set("io", file, io_weight(file, weight), "blockIO.weight")?;
            }
            for device in io.weight_device().iter().flatten() {
                if let Some(weight) = device.weight() {
                    let file = self.first_file("io", &["io.bfq.weight", "io.weight"]);
                    let weight = io_weight(file, weight);
                    let line = format!("{}:{} {weight}", device.major(), device.minor());
                    self.set("io", file, line, "blockIO.weightDevice")?;
                }
            }
            for (devices, key, property) in [
                (
                    io.throttle_read_bps_device(),
                    "rbps",
                    "blockIO.throttleReadBpsDevice",
                ),
                (
                    io.throttle_write_bps_device(),
                    "wbps",
                    "blockIO.throttleWriteBpsDevice",
                ),
                (
                    io.throttle_read_iops_device(),
                    "riops",
                    "blockIO.throttleReadIOPSDevice",
                ),
                (
                    io.throttle_write_iops_device(),
                    "wiops",
                    "blockIO.throttleWriteIOPSDevice",
                ),
            ] {
                for d in devices.iter().flatten() {
                    let line = format!("{}:{} {key}={}", d.major(), d.minor(), d.rate());
                    self.set("io", "io.max", line, property)?;
                }
            }
        }
        for page in r.hugepage_limits().iter().flatten() {
            let file = format!("hugetlb.{}.max", page.page_size());
            self.set("hugetlb", &file, page.limit(), "hugepageLimits")?;
            let reserved = format!("hugetlb.{}.rsvd.max", page.page_size());
            self.set_if_there("hugetlb", &reserved, page.limit(), "hugepageLimits")?;
        }
        self.rdma(r)?;
        let mut unified: Vec<_> = r.unified().iter().flatten().collect();
        unified.sort();
        for (file, value) in unified {
            if file.contains('/') {
                return Err(Error::property(
                    format!("linux.resources.unified[{file}]"),
                    "is not the name of a file",
                ));
            }
            let controller = file.split('.').next().unwrap_or(file);
            self.set(controller, file, value, &format!("unified[{file}]"))?;
        }
        let rules = rules(r);
        if !rules.is_empty() {
            self.device_filter(&rules)?;
        }
        Ok(())
    }

    /// The kernel of version 2 would end processes until the usage fits
    /// (config-linux.md, Memory, checkBeforeUpdate).
    fn check_usage(&self, limit: i64) -> Result<()> {
        let directory = self.layout.directory("memory", self.path);
        let file = directory.map(|directory| directory.join("memory.current"));
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        let usage = text.and_then(|text| text.trim().parse().ok());
        match (usage, u64::try_from(limit)) {
            (Some(usage), Ok(limit)) if limit < usage => {
                let cause = format!("{limit} is below the usage, which is {usage}");
                Err(Error::property("linux.resources.memory.limit", cause))
            }
            _ => Ok(()),
        }
    }

    fn device_filter(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        use std::os::fd::AsFd;
        let Some(directory) = self.layout.directory("devices", self.path) else {
            return Ok(());
        };
        let cgroup = fs::File::open(&directory).doing("open cgroup", directory.display())?;
        let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
        let filter: Vec<DeviceRule> = rules
            .iter()
            .map(|rule| DeviceRule {
                allow: rule.allow(),
                block: match rule.typ() {
                    Some(LinuxDeviceType::B) => Some(true),
                    Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(false),
                    _ => None,
                },
                major: number(rule.major()),
                minor: number(rule.minor()),
                access: access_bits(rule),
            })
            .collect();
        let set = bpf::set_device_filter(cgroup.as_fd(), &filter, true);
        set.doing("set", "linux.resources.devices")
    }

    fn cpuset(&self, r: &LinuxResources) -> Result<()> {
        let Some(cpu) = r.cpu() else { return Ok(()) };
        for (value, file, property) in [
            (cpu.cpus(), "cpuset.cpus", "cpu.cpus"),
            (cpu.mems(), "cpuset.mems", "cpu.mems"),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                self.set("cpuset", file, value, property)?;
            }
        }
        Ok(())
    }

    /// Both versions have one file with a line for each device.
    fn rdma(&self, r: &LinuxResources) -> Result<()> {
        for (device, limits) in r.rdma().iter().flatten() {
            let both = [
                ("hca_handle", limits.hca_handles()),
                ("hca_object", limits.hca_objects()),
            ];
            let mut line = device.clone();
            for (name, limit) in both {
                if let Some(limit) = limit {
                    line.push_str(&format!(" {name}={limit}"));
                }
            }
            self.set("rdma", "rdma.max", line, &format!("rdma.{device}"))?;
        }
        Ok(())
    }

    fn pids(&self, limit: i64) -> Result<()> {
        // 0 is a limit, unlike with the peers (config-linux.md, PIDs).
        let limit = if limit >= 0 {
            limit.to_string()
        } else {
            "max".into()
        };
        self.set("pids", "pids.max", limit, "pids.limit")
    }

    fn first_file<'f>(&self, controller: &str, files: &[&'f str]) -> &'f str {
        let directory = self
            .layout
            .directory(controller, self.path)
            .unwrap_or_default();
        files
            .iter()
            .find(|file| directory.join(file).exists())
            .unwrap_or(&files[0])
    }

    fn current_memory_and_swap(&self) -> Option<u64> {
        let directory = self.layout.directory("memory", self.path)?;
        fs::read_to_string(directory.join("memory.memsw.limit_in_bytes"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

/// The first limit that has no file in version 2.
fn of_version_1_alone(r: &LinuxResources) -> Option<&'static str> {
    let (memory, cpu, io) = (r.memory(), r.cpu().as_ref(), r.block_io().as_ref());
    let network = r.network().as_ref();
    let devices = io.and_then(|io| io.weight_device().as_ref());
    let mut devices = devices.into_iter().flatten();
    let some = |value: Option<u64>| value.is_some_and(|value| value != 0);
    [
        (
            "memory.swappiness",
            memory.is_some_and(|m| m.swappiness().is_some()),
        ),
        (
            "memory.disableOOMKiller",
            memory.is_some_and(|m| m.disable_oom_killer() == Some(true)),
        ),
        (
            "cpu.realtimePeriod",
            cpu.is_some_and(|c| some(c.realtime_period())),
        ),
        (
            "cpu.realtimeRuntime",
            cpu.is_some_and(|c| c.realtime_runtime().is_some_and(|value| value != 0)),
        ),
        (
            "blockIO.leafWeight",
            io.is_some_and(|io| some(io.leaf_weight().map(u64::from))),
        ),
        (
            "blockIO.weightDevice",
            devices.any(|device| device.leaf_weight().is_some()),
        ),
        (
            "network.classID",
            network.is_some_and(|n| some(n.class_id().map(u64::from))),
        ),
        (
            "network.priorities",
            network.is_some_and(|n| n.priorities().as_ref().is_some_and(|p| !p.is_empty())),
        ),
    ]
    .into_iter()
    .find_map(|(name, given)| given.then_some(name))
}

/// A weight of version 1 (10 to 1000) for a file of version 2: it counts from 1
/// to 10000 where BFQ does not rule.
fn io_weight(file: &str, weight: u16) -> u64 {
    let weight = u64::from(weight);
    match file {
        "io.weight" => 1 + weight.saturating_sub(10) * 9999 / 990,
        _ => weight,
    }
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".into()
    } else {
        value.to_string()
    }
}

/// Shares of version 1 (2 to 262144, default 1024) as a weight of version 2 (1
/// to 10000, default 100): the curve through the three points that the peers
/// agreed on.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    if shares == 2 {
        return 1;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// The device rules as given, and behind them those for the devices that every
/// container has. Without given rules there are none.
fn rules(r: &LinuxResources) -> Vec<LinuxDeviceCgroup> {
    let mut all = r.devices().clone().unwrap_or_default();
    if all.iter().all(LinuxDeviceCgroup::allow) {
        return all;
    }
    let mut add = |typ, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(typ))
            .set_major(major)
            .set_minor(minor);
        rule.set_access(Some(access.into()));
        all.push(rule);
    };
    add(LinuxDeviceType::C, None, None, "m");
    add(LinuxDeviceType::B, None, None, "m");
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
    ] {
        add(LinuxDeviceType::C, Some(major), Some(minor), "rwm");
    }
    add(LinuxDeviceType::C, Some(136), None, "rwm");
    all
}

fn access_bits(rule: &LinuxDeviceCgroup) -> u32 {
    let access = rule
        .access()
        .as_deref()
        .filter(|access| !access.is_empty())
        .unwrap_or("rwm");
    access.chars().fold(0, |bits, c| {
        bits | match c {
            'r' => bpf::ACCESS_READ,
            'w' => bpf::ACCESS_WRITE,
            'm' => bpf::ACCESS_MKNOD,
            _ => 0,
        }
    })
}

fn rule_line(rule: &LinuxDeviceCgroup) -> String {
    let kind = match rule.typ() {
        Some(LinuxDeviceType::B) => "b",
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => "c",
        _ => "a",
    };
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map_or("*".into(), |n| n.to_string());
    let access = rule
        .access()
        .as_deref()
        .filter(|access| !access.is_empty())
        .unwrap_or("rwm");
    format!(
        "{kind} {}:{} {access}",
        number(rule.major()),
        number(rule.minor())
    )
}

/// The scope that systemd makes, through the library's D-Bus client.
mod systemd {
    use std::path::{Path, PathBuf};

    use libcgroups::common::{
        AnyCgroupManager, CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager,
    };
    use oci_spec::runtime::LinuxResources;

    use crate::error::{Error, Result};

    fn fault(doing: &str, cause: impl std::fmt::Display) -> Error {
        Error::new(doing, "the cgroup through systemd", cause)
    }

    /// systemd runs, and on cgroup v2, which is what its client supports.
    pub(super) fn check() -> Result<()> {
        if !Path::new("/run/systemd/system").exists() {
            let error = Error::text("--systemd-cgroup: systemd does not run on this host");
            return Err(error.hint("leave the flag out"));
        }
        if !super::Layout::find()?.is_v2() {
            let error =
                Error::text("--systemd-cgroup: this host has no unified cgroup hierarchy (v2)");
            return Err(error.hint("leave the flag out"));
        }
        Ok(())
    }

    fn manager(path: &Path, id: &str) -> Result<AnyCgroupManager> {
        let cgroup_path: PathBuf = path.into();
        let config = CgroupConfig {
            cgroup_path,
            systemd_cgroup: true,
            container_name: id.into(),
        };
        create_cgroup_manager(config).map_err(|e| fault("reach", e))
    }

    pub(super) fn make_scope(
        path: &Path,
        id: &str,
        resources: Option<&LinuxResources>,
        pid: i32,
    ) -> Result<()> {
        let manager = manager(path, id)?;
        manager
            .add_task(nix_of_the_library(pid))
            .map_err(|e| fault("make", e))?;
        let Some(resources) = resources else {
            return Ok(());
        };
        let options = ControllerOpt {
            resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        manager.apply(&options).map_err(|e| fault("limit", e))
    }

    pub(super) fn stop(path: &Path) -> Result<()> {
        let name = path.to_string_lossy();
        let id = name.rsplit(':').next().unwrap_or_default();
        manager(path, id)?.remove().map_err(|e| fault("remove", e))
    }

    /// The library's own version of nix names the type of a process id.
    fn nix_of_the_library(pid: i32) -> libcgroups_pid::Pid {
        libcgroups_pid::Pid::from_raw(pid)
    }

    use nix_0_29::unistd as libcgroups_pid;
}

/// What [`systemd`] says of a container's cgroup: the path of a process in the
/// unified hierarchy.
pub fn path_of(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_start_matches('/').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_at_the_known_points() {
        assert_eq!(weight_of_shares(2), 1);
        assert_eq!(weight_of_shares(1024), 100);
        assert_eq!(weight_of_shares(262_144), 10_000);
        assert_eq!(weight_of_shares(0), 1);
    }

    #[test]
    fn rules_end_with_the_default_devices() {
        let mut deny = LinuxDeviceCgroup::default();
        deny.set_allow(false).set_access(Some("rwm".into()));
        let mut r = LinuxResources::default();
        r.set_devices(Some(vec![deny]));
        let all = rules(&r);
        assert_eq!(rule_line(&all[0]), "a *:* rwm");
        assert!(all.iter().any(|rule| rule_line(rule) == "c 1:3 rwm"));
        assert!(rules(&LinuxResources::default()).is_empty());
    }
}
