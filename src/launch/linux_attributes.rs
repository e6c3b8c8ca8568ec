//! Attributes of a process on Linux: scheduling, limits, labels, capabilities.

use std::fs;
use std::ops::RangeInclusive;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use oci_spec::runtime::{
    Capabilities as SpecSet, IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType, Process,
};

use crate::config::Config;
use crate::error::{Context, Error, Result};
use crate::sys::linux::process::{self, SchedulingAttributes};
use crate::sys::unix::process::set_rlimit;

/// Sets priorities and, for exec, the CPUs.
pub(super) fn scheduling(process: &Process, is_init: bool) -> Result<()> {
    if let Some(scheduler) = process.scheduler() {
        let policy = match scheduler.policy() {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        };
        let flags = scheduler.flags().iter().flatten().fold(0, |flags, flag| {
            flags
                | match flag {
                    LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                    LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                    LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                    LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                    LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                    LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                    LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
                }
        });
        let attributes = SchedulingAttributes {
            policy,
            flags,
            nice: scheduler.nice().unwrap_or(0),
            priority: scheduler.priority().unwrap_or(0).max(0) as u32,
            runtime: scheduler.runtime().unwrap_or(0),
            deadline: scheduler.deadline().unwrap_or(0),
            period: scheduler.period().unwrap_or(0),
            ..SchedulingAttributes::default()
        };
        process::set_scheduling(attributes).doing("set", "process.scheduler")?;
    }
    if let Some(io) = process.io_priority() {
        let class = match io.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u32::try_from(io.priority())
            .ok()
            .filter(|level| *level <= 7);
        let fault = || Error::property("process.ioPriority.priority", "is not from 0 to 7");
        process::set_io_priority(class, level.ok_or_else(fault)?)
            .doing("set", "process.ioPriority")?;
    }
    // config.md: the affinity is for processes that exec adds.
    let affinity = process.exec_cpu_affinity().as_ref().filter(|_| !is_init);
    let cpus = affinity.and_then(|a| a.cpu_affinity_final().clone().or(a.initial().clone()));
    if let Some(cpus) = cpus.filter(|cpus| !cpus.is_empty()) {
        let set = cpu_set(&cpus).ok_or_else(|| {
            Error::property(
                "process.execCPUAffinity",
                format_args!("{cpus:?} is not a list like 0-3,7"),
            )
        })?;
        sched_setaffinity(Pid::from_raw(0), &set).doing("set", "process.execCPUAffinity")?;
    }
    Ok(())
}

/// The ranges of a list like 0-3,7.
fn ranges(list: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let parts = list.split(',').map(str::trim).filter(|p| !p.is_empty());
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    parts.map(range).collect()
}

fn cpu_set(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for cpu in ranges(list)?.into_iter().flatten() {
        set.set(cpu).ok()?;
    }
    Some(set)
}

/// Sets where the container's memory comes from (config-linux.md, Memory
/// policy).
pub(super) fn memory_policy(config: &Config) -> Result<()> {
    use MemoryPolicyFlagType as Flag;
    use MemoryPolicyModeType as Mode;
    let linux = config.spec.linux().as_ref();
    let Some(policy) = linux.and_then(|linux| linux.memory_policy().as_ref()) else {
        return Ok(());
    };
    // linux/mempolicy.h
    let mode = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten();
    let mode = flags.fold(mode, |mode, flag| {
        mode | match flag {
            Flag::MpolFStaticNodes => 1 << 15,
            Flag::MpolFRelativeNodes => 1 << 14,
            Flag::MpolFNumaBalancing => 1 << 13,
        }
    });
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = node_mask(list).ok_or_else(|| {
        let cause = format!("{list:?} is not a list like 0-3,7");
        Error::property("linux.memoryPolicy.nodes", cause)
    })?;
    process::set_memory_policy(mode, &nodes).map_err(|e| {
        let fault = Error::new("set", "linux.memoryPolicy", crate::error::io_name(&e));
        match e.raw_os_error() {
            Some(libc::EINVAL) => fault.hint("the nodes must exist and fit the mode"),
            Some(libc::ENOSYS) => fault.hint("this kernel has no NUMA"),
            _ => fault,
        }
    })
}

fn node_mask(list: &str) -> Option<Vec<libc::c_ulong>> {
    const WORD: usize = libc::c_ulong::BITS as usize;
    let mut mask = Vec::new();
    for range in ranges(list)? {
        // More nodes than any kernel has (MAX_NUMNODES).
        if range.is_empty() || *range.end() >= 1 << 12 {
            return None;
        }
        for node in range {
            let (word, bit) = (node / WORD, node % WORD);
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            mask[word] |= 1 << bit;
        }
    }
    Some(mask)
}

/// Sets the limits of `process.rlimits`.
pub(super) fn rlimits(process: &Process) -> Result<()> {
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let resource = match limit.typ() {
            PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
        };
        let object = format!("process.rlimits[{i}] {}", limit.typ());
        set_rlimit(resource as i32, limit.soft(), limit.hard()).doing("set", object)?;
    }
    Ok(())
}

/// Sets the execution domain (config-linux.md, Personality).
pub(super) fn personality(config: &Config) -> Result<()> {
    let linux = config.spec.linux().as_ref();
    let Some(personality) = linux.and_then(|linux| linux.personality().clone()) else {
        return Ok(());
    };
    if personality
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::property(
            "linux.personality.flags",
            "has a flag, and none is defined",
        ));
    }
    let domain = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    process::set_personality(domain).doing("set", "linux.personality")
}

/// Names the security label that the program gets at exec.
pub(super) fn labels(process: &Process) -> Result<()> {
    if let Some(profile) = process
        .apparmor_profile()
        .as_ref()
        .filter(|p| !p.is_empty())
    {
        let files = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"];
        let file = files
            .iter()
            .find(|file| fs::metadata(file).is_ok())
            .unwrap_or(&files[1]);
        let set = fs::write(file, format!("exec {profile}"));
        set.doing("set", format_args!("process.apparmorProfile {profile:?}"))?;
    }
    if let Some(label) = process.selinux_label().as_ref().filter(|l| !l.is_empty()) {
        let set = fs::write("/proc/self/attr/exec", label);
        set.doing("set", format_args!("process.selinuxLabel {label:?}"))?;
    }
    Ok(())
}

/// Brings the loopback interface of a new network namespace up. Nothing in the
/// specification asks for it, but every peer does it.
pub(super) fn loopback_up() {
    let _ = crate::sys::linux::loopback_up();
}

/// The capability sets of a process (config.md, Linux Process). A process
/// without them has none.
pub(super) struct Capabilities {
    bounding: CapsHashSet,
    effective: CapsHashSet,
    inheritable: CapsHashSet,
    permitted: CapsHashSet,
    ambient: CapsHashSet,
}

impl Capabilities {
    pub(super) fn of(process: &Process) -> Result<Capabilities> {
        let sets = match process.capabilities() {
            Some(sets) => sets.clone(),
            None => crate::config::absent()?,
        };
        let set = |set: &Option<SpecSet>| -> Result<CapsHashSet> {
            let mut known = CapsHashSet::new();
            for capability in set.iter().flatten() {
                // The library prints the name without its prefix.
                let name = format!("CAP_{capability}");
                let parsed = name.parse::<Capability>();
                let parsed = parsed.map_err(|e| Error::new("understand", &name, e))?;
                // What this kernel does not have cannot be granted.
                if is_known(parsed) {
                    known.insert(parsed);
                }
            }
            Ok(known)
        };
        Ok(Capabilities {
            bounding: set(sets.bounding())?,
            effective: set(sets.effective())?,
            inheritable: set(sets.inheritable())?,
            permitted: set(sets.permitted())?,
            ambient: set(sets.ambient())?,
        })
    }

    /// Limits what exec can ever give back.
    pub(super) fn limit_bounding(&self) -> Result<()> {
        for capability in caps::all() {
            let has = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
            if has && !self.bounding.contains(&capability) {
                let object = format!("{capability} from process.capabilities.bounding");
                caps::drop(None, CapSet::Bounding, capability)
                    .map_err(|e| Error::new("drop", object, e))?;
            }
        }
        Ok(())
    }

    /// Sets the sets of the process, after its ids.
    pub(super) fn apply(&self) -> Result<()> {
        let fault = |set: &str, e: caps::errors::CapsError| {
            let hint = "a runtime can only grant what it has itself";
            Error::new("set", format_args!("process.capabilities.{set}"), e).hint(hint)
        };
        let own = caps::read(None, CapSet::Permitted).map_err(|e| fault("permitted", e))?;
        // create has warned of what cannot be granted.
        let granted = |set: &CapsHashSet| -> CapsHashSet { set & &own };
        // Each set is taken from one that is still larger.
        caps::set(None, CapSet::Inheritable, &granted(&self.inheritable))
            .map_err(|e| fault("inheritable", e))?;
        caps::set(None, CapSet::Effective, &granted(&self.effective))
            .map_err(|e| fault("effective", e))?;
        caps::set(None, CapSet::Permitted, &granted(&self.permitted))
            .map_err(|e| fault("permitted", e))?;
        let _ = caps::clear(None, CapSet::Ambient);
        for capability in &self.ambient {
            // What is not permitted and inheritable cannot be ambient, which
            // the specification makes a warning.
            let _ = caps::raise(None, CapSet::Ambient, *capability);
        }
        Ok(())
    }
}

/// The capabilities that a process asks for and that this one, which makes its
/// container, does not have itself: they cannot be granted, which is a warning
/// (config.md, Linux Process).
pub(super) fn ungrantable(process: &Process) -> Vec<String> {
    let Ok(own) = caps::read(None, CapSet::Permitted) else {
        return Vec::new();
    };
    let Ok(wanted) = Capabilities::of(process) else {
        return Vec::new();
    };
    let missing = wanted.permitted.difference(&own);
    let mut names: Vec<String> = missing
        .map(|capability| format!("{capability:?}"))
        .collect();
    names.sort();
    names
}

/// Whether the running kernel has the capability.
fn is_known(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Bounding, capability).is_ok()
}
