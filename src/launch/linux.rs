//! The process on Linux: its namespaces, cgroup, privileges and filters.

#[path = "linux_attributes.rs"]
mod attributes;
#[path = "linux_seccomp.rs"]
mod seccomp;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, pipe2, read, setgroups, setresgid, setresuid, write};
use oci_spec::runtime::Process;

use super::Launch;
use super::handshake::{Channel, Message};
use crate::apply::journal::Journal;
use crate::apply::linux::net_device::{self, Moved};
use crate::apply::linux::{Inside, cgroup, enter_root, mapped, perform_inside};
use crate::config::Config;
use crate::error::{Context, Error, Result};
use crate::plan::linux::mounts::Ids;
use crate::plan::linux::{Kind, Mapping, Namespaces, Step as LinuxStep};
use crate::plan::{Plan, Step};
use crate::sys::linux::{namespace, process as sys_process};
use crate::sys::unix::process::{self, Forked};

/// The capabilities of the configuration that cannot be granted. In a user
/// namespace of its own a container has them all.
pub fn ungrantable(config: &crate::config::Config) -> Vec<String> {
    use oci_spec::runtime::LinuxNamespaceType;
    let linux = config.spec.linux().as_ref();
    let mut namespaces = linux
        .and_then(|l| l.namespaces().as_ref())
        .into_iter()
        .flatten();
    let own_users = namespaces.any(|n| n.typ() == LinuxNamespaceType::User);
    match config.process() {
        Some(process) if !own_users => attributes::ungrantable(process),
        _ => Vec::new(),
    }
}

fn flag(kind: Kind) -> CloneFlags {
    match kind {
        Kind::User => CloneFlags::CLONE_NEWUSER,
        Kind::Pid => CloneFlags::CLONE_NEWPID,
        Kind::Network => CloneFlags::CLONE_NEWNET,
        Kind::Mount => CloneFlags::CLONE_NEWNS,
        Kind::Ipc => CloneFlags::CLONE_NEWIPC,
        Kind::Uts => CloneFlags::CLONE_NEWUTS,
        Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        Kind::Time => CloneFlags::from_bits_retain(libc::CLONE_NEWTIME),
    }
}

/// The namespaces of the plan that is being launched.
fn namespaces<'a>(launch: &'a Launch) -> Option<&'a Namespaces> {
    let steps = &launch.init.as_ref()?.plan.steps;
    steps.iter().find_map(|step| match step {
        Step::Linux(LinuxStep::Namespaces(all)) => Some(all),
        _ => None,
    })
}

/// The kinds of namespace that a container's configuration has.
fn configured(launch: &Launch) -> Vec<oci_spec::runtime::LinuxNamespaceType> {
    let linux = launch.config.spec.linux().as_ref();
    let all = linux.and_then(|linux| linux.namespaces().as_ref());
    all.into_iter()
        .flatten()
        .map(|namespace| namespace.typ())
        .collect()
}

/// Forks into the container's namespaces, as far as they are entered by the
/// fork itself.
pub(super) fn fork(launch: &Launch) -> Result<Forked> {
    let Some(all) = namespaces(launch) else {
        return fork_into_container(launch);
    };
    // The cgroup namespace's root is the cgroup that the process is in when
    // the namespace is made, so it comes after the cgroup; a time namespace is
    // entered by the next fork only.
    let later = |kind: &Kind| matches!(kind, Kind::Cgroup | Kind::Time);
    let new = all.new.iter().filter(|kind| !later(kind));
    let flags = new.fold(CloneFlags::empty(), |flags, kind| flags | flag(*kind));
    let through = all.makes(Kind::Time)
        || all
            .join
            .iter()
            .any(|join| matches!(join.kind, Kind::User | Kind::Pid | Kind::Time));
    if !through {
        return fork_now(flags);
    }
    let joins = all
        .join
        .iter()
        .filter(|join| matches!(join.kind, Kind::User | Kind::Pid | Kind::Time));
    let joins = joins.map(|join| Ok((join.kind, open_namespace(&join.path)?)));
    let joins = joins.collect::<Result<Vec<_>>>()?;
    fork_through(flags, || {
        for (kind, file) in &joins {
            setns(file, flag(*kind)).doing("join", format_args!("the {kind} namespace"))?;
        }
        if all.makes(Kind::Time) {
            unshare(flag(Kind::Time)).doing("make", "a time namespace")?;
            let lines: String = all
                .time_offsets
                .iter()
                .map(|o| format!("{} {} {}\n", o.clock, o.seconds, o.nanoseconds))
                .collect();
            if !lines.is_empty() {
                let written = fs::write("/proc/self/timens_offsets", lines);
                written.doing("set", "linux.timeOffsets")?;
            }
        }
        Ok(())
    })
}

fn fork_now(flags: CloneFlags) -> Result<Forked> {
    namespace::fork_into_new(flags.bits() as u32 as u64).map_err(|e| {
        let fault = Error::new(
            "make",
            "the container's namespaces",
            crate::error::io_name(&e),
        );
        match e.raw_os_error() {
            Some(libc::EPERM) => fault.hint("run brig as root, or allow user namespaces"),
            Some(libc::ENOSPC) => fault.hint("raise the limits in /proc/sys/user"),
            _ => fault,
        }
    })
}

fn open_namespace(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).doing("open namespace", path.display())?;
    Ok(file.into())
}

/// Forks twice: a helper enters what only its children are then in, and its
/// child becomes ours. brig itself stays where it is.
fn fork_through(flags: CloneFlags, enter: impl FnOnce() -> Result<()>) -> Result<Forked> {
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing("make", "a pipe")?;
    let helper = match process::fork().doing("fork", "a helper")? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(reader);
            let flags = flags.bits() as u32 as u64 | namespace::CLONE_PARENT;
            let forked = enter().and_then(|()| {
                namespace::fork_into_new(flags).doing("make", "the container's namespaces")
            });
            let message = match forked {
                Ok(Forked::Child) => return Ok(Forked::Child),
                Ok(Forked::Parent(pid)) => serde_json::to_vec(&Ok::<i32, Error>(pid)),
                Err(error) => serde_json::to_vec(&Err::<i32, Error>(error)),
            };
            let _ = write(&writer, &message.unwrap_or_default());
            process::exit_now(0)
        }
    };
    drop(writer);
    let mut message = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match read(&reader, &mut buffer) {
            Ok(0) => break,
            Ok(length) => message.extend_from_slice(&buffer[..length]),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("hear from", "the helper"),
        }
        // The writer's other copy lives on in the new process.
        if serde_json::from_slice::<std::result::Result<i32, Error>>(&message).is_ok() {
            break;
        }
    }
    while let Err(nix::errno::Errno::EINTR) = waitpid(Pid::from_raw(helper), None) {}
    match serde_json::from_slice::<std::result::Result<i32, Error>>(&message) {
        Ok(result) => result.map(Forked::Parent),
        Err(_) => Err(Error::text(
            "the helper that forks the container's process died",
        )),
    }
}

/// For exec: forks into the namespaces of the container's process.
fn fork_into_container(launch: &Launch) -> Result<Forked> {
    let gone = || Error::text("container not running").kind(crate::error::Kind::NotRunning);
    let init = launch.state.init.ok_or_else(gone)?;
    let pidfd = sys_process::open_pidfd(init.pid).map_err(|_| gone())?;
    let kinds = configured(launch);
    let mut all = kinds
        .iter()
        .fold(CloneFlags::empty(), |flags, kind| flags | spec_flag(*kind));
    // Without a mount namespace of its own, only its process's root tells where
    // it is, in the namespace that create was called in.
    let mut root = None;
    if !all.contains(CloneFlags::CLONE_NEWNS) {
        all |= CloneFlags::CLONE_NEWNS;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{}/root", init.pid);
        let opened = nix::fcntl::open(path.as_str(), flags, Mode::empty());
        root = Some(opened.map_err(|_| gone())?);
    }
    // The number may have been given to another process before it was opened.
    if crate::sys::process_start_time(init.pid) != Some(init.start_time) {
        return Err(gone());
    }
    fork_through(CloneFlags::empty(), || {
        setns(&pidfd, all).doing("join", "the container's namespaces")?;
        root.as_ref().map_or(Ok(()), enter_root)
    })
}

fn spec_flag(kind: oci_spec::runtime::LinuxNamespaceType) -> CloneFlags {
    use oci_spec::runtime::LinuxNamespaceType as T;
    match kind {
        T::User => flag(Kind::User),
        T::Pid => flag(Kind::Pid),
        T::Network => flag(Kind::Network),
        T::Mount => flag(Kind::Mount),
        T::Ipc => flag(Kind::Ipc),
        T::Uts => flag(Kind::Uts),
        T::Cgroup => flag(Kind::Cgroup),
        T::Time => flag(Kind::Time),
    }
}

/// What the host gives to a container; when this is dropped without
/// [`Given::keep`], the host has it again.
#[derive(Debug, Default)]
pub(super) struct Given {
    devices: Vec<Moved>,
    /// Where they are. It outlives the container's process.
    namespace: Option<OwnedFd>,
}

impl Given {
    /// Nothing yet.
    pub(super) fn none() -> Given {
        Given::default()
    }

    /// The host has it again.
    pub(super) fn take_back(self) {}

    /// The container is there and keeps it: what its namespace does with its
    /// devices in the end is the kernel's business (config-linux.md, Namespace
    /// Lifecycle and Container Termination).
    pub(super) fn keep(&mut self) {
        self.devices.clear();
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(namespace) = &self.namespace {
            let devices = self.devices.iter();
            devices.for_each(|device| device.take_back(namespace.as_fd()));
        }
    }
}

/// What brig does to the new process before it goes on: its ids, cgroup, OOM
/// score and network devices, for which it lacks the privilege itself.
pub(super) fn admit(
    launch: &Launch,
    pid: i32,
    _: Option<&mut Journal>,
    given: &mut Given,
) -> Result<()> {
    let optional = crate::sys::host_facts().euid != 0;
    match (&launch.init, &launch.state.cgroup) {
        (Some(init), _) => {
            let step = init.plan.steps.iter().find_map(|step| match step {
                Step::Linux(LinuxStep::Cgroup {
                    path,
                    systemd,
                    optional,
                    resources,
                    owner,
                }) => Some((path, *systemd, *optional, resources, *owner)),
                _ => None,
            });
            if let Some((path, systemd, optional, resources, owner)) = step {
                let resources = resources.as_deref();
                cgroup::admit(path, systemd, optional, &launch.state.id, resources, pid)?;
                if let Some(owner) = owner {
                    match cgroup::give(pid, owner) {
                        Err(_) if optional => {}
                        given => given?,
                    }
                }
            }
        }
        (None, Some(group)) => {
            let into = match group.systemd {
                true => Err(()),
                false => cgroup::admit(&group.path, false, optional, "", None, pid).map_err(drop),
            };
            if let (Err(()), Some(container)) = (into, launch.state.init) {
                cgroup::join(container.pid, pid, optional)?;
            }
        }
        (None, None) => {}
    }
    if let Some(score) = launch.process.and_then(|process| process.oom_score_adj()) {
        let file = format!("/proc/{pid}/oom_score_adj");
        let set = fs::write(file, score.to_string());
        match set {
            Err(e) if optional && e.raw_os_error() == Some(libc::EACCES) => {}
            set => set.doing("set", format_args!("process.oomScoreAdj to {score}"))?,
        }
    }
    if let Some(all) = namespaces(launch).filter(|all| all.makes(Kind::User)) {
        write_maps(pid, &all.uid_mappings, &all.gid_mappings, "linux")?;
    }
    give_devices(launch, pid, given)
}

fn give_devices(launch: &Launch, pid: i32, given: &mut Given) -> Result<()> {
    let steps = launch.init.iter().flat_map(|init| &init.plan.steps);
    for step in steps {
        let Step::Linux(LinuxStep::NetDevice { device, name }) = step else {
            continue;
        };
        if given.namespace.is_none() {
            let joined = namespaces(launch).and_then(|all| all.joined(Kind::Network));
            given.namespace = Some(net_device::namespace(pid, joined)?);
        }
        if let Some(namespace) = &given.namespace {
            let moved = net_device::give(device, name, namespace.as_fd())?;
            given.devices.push(moved);
        }
    }
    Ok(())
}

/// See [`super::mapped_mounts`].
pub(super) fn mapped_mounts(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    let mut mounts = Vec::new();
    // Volumes of one container mostly have the same mappings.
    let mut known: Vec<(&Ids, OwnedFd)> = Vec::new();
    for step in &plan.steps {
        let Step::Linux(LinuxStep::Mount(mount)) = step else {
            continue;
        };
        let Some(map) = &mount.id_map else { continue };
        let found = known.iter().position(|(ids, _)| **ids == map.ids);
        let place = match found {
            Some(place) => place,
            None => {
                let namespace = match &map.ids {
                    Ids::Namespace(path) => open_namespace(path)?,
                    Ids::Mappings { uids, gids } => user_namespace(uids, gids, &mount.at())?,
                };
                known.push((&map.ids, namespace));
                known.len() - 1
            }
        };
        let namespace = known[place].1.as_fd();
        mounts.push((mount.index, mapped(mount, namespace, map.recursive)?));
    }
    Ok(mounts)
}

/// A user namespace for its mappings alone: its only process is gone when this
/// returns, and it is with the descriptor.
fn user_namespace(uids: &[Mapping], gids: &[Mapping], at: &str) -> Result<OwnedFd> {
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing("make", "a pipe")?;
    let pid = match fork_now(CloneFlags::CLONE_NEWUSER)? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(writer);
            while let Err(nix::errno::Errno::EINTR) = read(&reader, &mut [0]) {}
            process::exit_now(0)
        }
    };
    let namespace = write_maps(pid, uids, gids, at)
        .and_then(|()| open_namespace(Path::new(&format!("/proc/{pid}/ns/user"))));
    drop(writer);
    while let Err(nix::errno::Errno::EINTR) = waitpid(Pid::from_raw(pid), None) {}
    namespace
}

/// Writes the id mappings of a new user namespace, which stand in config.json
/// below `at`.
fn write_maps(pid: i32, uids: &[Mapping], gids: &[Mapping], at: &str) -> Result<()> {
    let lines = |maps: &[Mapping]| -> String {
        maps.iter()
            .map(|m| format!("{} {} {}\n", m.inside, m.outside, m.size))
            .collect()
    };
    let root = nix::unistd::geteuid().is_root();
    let own =
        |maps: &[Mapping], id: u32| maps.len() == 1 && maps[0].size == 1 && maps[0].outside == id;
    let (uid, gid) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let own_ids = own(uids, uid) && own(gids, gid);
    if !root && !own_ids {
        // Only these programs, which are setuid, may map ids that are granted
        // to the user in /etc/subuid and /etc/subgid (user_namespaces(7)).
        map_by_helper("newuidmap", pid, uids)?;
        return map_by_helper("newgidmap", pid, gids);
    }
    if !root {
        let denied = fs::write(format!("/proc/{pid}/setgroups"), "deny");
        denied.doing("deny", "setgroups in the user namespace")?;
    }
    let gids = fs::write(format!("/proc/{pid}/gid_map"), lines(gids));
    gids.doing("set", format_args!("{at}.gidMappings"))?;
    let uids = fs::write(format!("/proc/{pid}/uid_map"), lines(uids));
    uids.doing("set", format_args!("{at}.uidMappings"))
}

fn map_by_helper(program: &str, pid: i32, maps: &[Mapping]) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.arg(pid.to_string());
    for map in maps {
        command.args([map.inside, map.outside, map.size].map(|n| n.to_string()));
    }
    let output = command.output().map_err(|e| {
        let fault = Error::new("run", program, crate::error::io_name(&e));
        fault.hint("install it (package uidmap), or map only your own id")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', " | ");
    Err(Error::new("run", program, words))
}

/// Remembers, until create has succeeded, a path that the process makes.
pub(super) fn note_created(launch: &Launch, path: &Path, journal: &mut Journal) -> Result<u32> {
    let root = launch.state.rootfs.clone();
    let view = launch.init.as_ref().and_then(|init| view(init.plan));
    journal.intend(&Step::Linux(LinuxStep::MadePath {
        root,
        path: path.into(),
        view: view.map(PathBuf::from),
    }))
}

/// Where the root file system of a container in the host's mount namespace is.
fn view(plan: &Plan) -> Option<&Path> {
    plan.steps.iter().find_map(|step| match step {
        Step::Linux(LinuxStep::View { directory, .. }) => Some(directory.as_path()),
        _ => None,
    })
}

/// Nobody may trace the process or look at its descriptors until it has
/// executed its program.
pub(super) fn seal() -> Result<()> {
    sys_process::forbid_tracing().doing("forbid", "tracing")
}

/// Enters the container and performs the plan's inside steps.
pub(super) fn enter(launch: &Launch, channel: &mut Channel) -> Result<()> {
    let Some(init) = &launch.init else {
        if configured(launch).contains(&oci_spec::runtime::LinuxNamespaceType::User) {
            become_root()?;
        }
        return Ok(());
    };
    let none = Namespaces::default();
    let all = namespaces(launch).unwrap_or(&none);
    for join in &all.join {
        if !matches!(join.kind, Kind::User | Kind::Pid | Kind::Time) {
            let file = open_namespace(&join.path)?;
            setns(file, flag(join.kind))
                .doing("join", format_args!("the {} namespace", join.kind))?;
        }
    }
    if all.has(Kind::User) {
        become_root()?;
    }
    if all.makes(Kind::Cgroup) {
        unshare(flag(Kind::Cgroup)).doing("make", "a cgroup namespace")?;
    }
    if all.makes(Kind::Network) {
        attributes::loopback_up();
    }
    if launch.new_keyring {
        // A kernel without keyrings has none to keep apart.
        let _ = sys_process::new_session_keyring(&format!("_ses.{}", launch.state.id));
    }
    process::set_umask(0);
    let cgroup = init.plan.steps.iter().find_map(|step| match step {
        Step::Linux(LinuxStep::Cgroup {
            path,
            systemd: false,
            ..
        }) => Some(path.clone()),
        Step::Linux(LinuxStep::Cgroup { .. }) => cgroup::path_of(std::process::id() as i32),
        _ => None,
    });
    // What comes after the hooks.
    let before_pivot = |step: &&LinuxStep| {
        use LinuxStep::{Chroot, Mask, Pivot, Readonly};
        !matches!(
            step,
            Pivot { .. } | Chroot { .. } | Mask { .. } | Readonly { .. }
        )
    };
    let steps: Vec<&LinuxStep> = init
        .plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Linux(step) if step.is_inside() => Some(step),
            _ => None,
        })
        .collect();
    let mut made = |path: &Path| channel.send(&Message::Created(path.into()));
    let view = view(init.plan);
    let of_host = view.is_some();
    let mut cx = Inside {
        rootfs: view.unwrap_or(&init.plan.rootfs).into(),
        root: None,
        of_host,
        cgroup,
        cgroup_namespace: all.has(Kind::Cgroup),
        user_namespace: all.has(Kind::User) || crate::sys::host_facts().nested,
        mapped: &init.mapped,
        ephemeral: false,
        made: &mut made,
    };
    let mut rest = steps.iter().copied();
    for step in rest.by_ref().take_while(|step| before_pivot(step)) {
        perform_inside(step, &mut cx)?;
    }
    // take_while has taken the pivot.
    let pivot = steps.iter().copied().find(|step| !before_pivot(step));
    let rootfs: PathBuf = std::mem::take(&mut cx.rootfs);
    process::set_umask(0o022);
    super::child::create_hooks(launch, channel, &rootfs)?;
    process::set_umask(0);
    let mut made = |path: &Path| channel.send(&Message::Created(path.into()));
    let mut cx = Inside {
        rootfs,
        root: None,
        of_host,
        cgroup: None,
        cgroup_namespace: false,
        user_namespace: false,
        mapped: &[],
        ephemeral: false,
        made: &mut made,
    };
    cx.reopen_root()?;
    for step in pivot.into_iter().chain(rest) {
        perform_inside(step, &mut cx)?;
    }
    process::set_umask(0o022);
    Ok(())
}

/// Becomes root of the user namespace that was just entered.
fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).doing("become", "gid 0 of the user namespace")?;
    setresuid(uid, uid, uid).doing("become", "uid 0 of the user namespace")
}

/// Shows the terminal as /dev/console in the first process's view.
pub(super) fn bind_console(launch: &Launch, terminal: &Path) -> Result<()> {
    if launch.init.is_none() {
        return Ok(());
    }
    crate::apply::linux::bind_console(terminal)
}

/// Gives up what the process shall not have.
pub(super) fn confine(launch: &Launch, process: &Process, pid: i32) -> Result<()> {
    attributes::scheduling(process, launch.init.is_some())?;
    attributes::rlimits(process)?;
    attributes::personality(launch.config)?;
    attributes::memory_policy(launch.config)?;
    attributes::labels(process)?;
    let nnp = process.no_new_privileges().unwrap_or(false);
    if nnp {
        sys_process::no_new_privileges().doing("set", "process.noNewPrivileges")?;
    } else if let Some(filter) = seccomp_of(launch) {
        // Without no_new_privs only a privileged process may load a filter.
        seccomp::load(filter, launch, pid)?;
    }
    let wanted = attributes::Capabilities::of(process)?;
    wanted.limit_bounding()?;
    sys_process::keep_capabilities(true).doing("keep", "capabilities")?;
    let user = process.user();
    let gid = Gid::from_raw(user.gid());
    let groups: Vec<Gid> = user
        .additional_gids()
        .iter()
        .flatten()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    match setgroups(&groups) {
        // A user namespace of one's own id alone has no groups to set.
        Err(nix::errno::Errno::EPERM) if groups.is_empty() && setgroups_is_denied() => {}
        result => result.doing("set", "process.user.additionalGids")?,
    }
    let object = format!("process.user.gid {}", user.gid());
    setresgid(gid, gid, gid).doing("become", object)?;
    let uid = Uid::from_raw(user.uid());
    setresuid(uid, uid, uid).doing("become", format_args!("process.user.uid {}", user.uid()))?;
    wanted.apply()?;
    sys_process::keep_capabilities(false).doing("give up", "capabilities")?;
    // A change of ids makes a process traceable again by its new user.
    seal()
}

fn setgroups_is_denied() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|s| s.trim() == "deny")
}

/// See [`super::connect_agent`].
pub(super) fn connect_agent(config: &Config) -> Result<Option<OwnedFd>> {
    let linux = config.spec.linux().as_ref();
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref());
    seccomp.map_or(Ok(None), seccomp::connect)
}

fn seccomp_of<'a>(launch: &'a Launch) -> Option<&'a oci_spec::runtime::LinuxSeccomp> {
    launch.config.spec.linux().as_ref()?.seccomp().as_ref()
}

/// The last act before exec: with no_new_privs the filter is loaded as late as
/// can be, so that it need not allow what brig does.
pub(super) fn last(launch: &Launch, process: &Process, pid: i32) -> Result<()> {
    if process.no_new_privileges().unwrap_or(false)
        && let Some(filter) = seccomp_of(launch)
    {
        seccomp::load(filter, launch, pid)?;
    }
    Ok(())
}
