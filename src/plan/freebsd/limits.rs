//! Limits: `linux.resources` as engines write them and the annotations
//! `org.freebsd.rctl.*` become rctl(8) rules and a cpuset.

use std::fmt;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::{Input, Step};
use crate::config::Ignored;
use crate::config::annotations::{self, CPUSET, RCTL_PREFIX};
use crate::error::{Error, Result};

/// One rule of rctl(8) for a jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The jail's full name.
    pub jail: String,
    /// The resource, as `memoryuse`.
    pub resource: String,
    /// What happens at the limit, as `deny`.
    pub action: String,
    /// The limit in the resource's own unit: bytes, numbers, seconds, percent
    /// of one processor.
    pub amount: u64,
    /// What the amount is counted for, when not for the jail as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
}

impl Limit {
    /// What the rule is told from others by, in the filter form of rctl(8).
    pub fn filter(&self) -> String {
        format!("jail:{}:{}:{}", self.jail, self.resource, self.action)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.filter(), self.amount)?;
        match &self.per {
            Some(per) => write!(f, "/{per}"),
            None => Ok(()),
        }
    }
}

/// The resources of rctl(8), and those of them that cannot be denied.
const RESOURCES: [&str; 25] = [
    "cputime",
    "datasize",
    "stacksize",
    "coredumpsize",
    "memoryuse",
    "memorylocked",
    "maxproc",
    "openfiles",
    "vmemoryuse",
    "pseudoterminals",
    "swapuse",
    "nthr",
    "msgqqueued",
    "msgqsize",
    "nmsgq",
    "nsem",
    "nsemop",
    "nshm",
    "shmsize",
    "wallclock",
    "pcpu",
    "readbps",
    "writebps",
    "readiops",
    "writeiops",
];
const NOT_DENIABLE: [&str; 6] = [
    "cputime",
    "wallclock",
    "readbps",
    "writebps",
    "readiops",
    "writeiops",
];
const THROTTLED: [&str; 4] = ["readbps", "writebps", "readiops", "writeiops"];

/// The actions of rctl(8) besides signals.
const ACTIONS: [&str; 4] = ["deny", "log", "devctl", "throttle"];
const SIGNALS: [&str; 31] = [
    "sighup",
    "sigint",
    "sigquit",
    "sigill",
    "sigtrap",
    "sigabrt",
    "sigemt",
    "sigfpe",
    "sigkill",
    "sigbus",
    "sigsegv",
    "sigsys",
    "sigpipe",
    "sigalrm",
    "sigterm",
    "sigurg",
    "sigstop",
    "sigtstp",
    "sigchld",
    "sigttin",
    "sigttou",
    "sigio",
    "sigxcpu",
    "sigxfsz",
    "sigvtalrm",
    "sigprof",
    "sigwinch",
    "siginfo",
    "sigusr1",
    "sigusr2",
    "sigthr",
];

pub(super) fn plan(input: &Input, jail: &str, ignored: &mut Vec<Ignored>) -> Result<Vec<Step>> {
    let mut limits: Vec<(Limit, String)> = Vec::new();
    let mut cpus = None;
    let resources = input
        .config
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    if let Some(resources) = resources {
        let from = from_resources(resources, jail, "linux.resources", ignored)?;
        limits = from.limits;
        cpus = from.cpus;
    }
    for (key, value) in input.config.annotations() {
        if let Some(resource) = key.strip_prefix(RCTL_PREFIX) {
            let limit = annotated(jail, resource, &value, &annotations::path(&key))?;
            // What is written for FreeBSD says more than what is written for
            // Linux.
            limits.retain(|(other, at)| {
                let same = other.resource == limit.resource && other.action == limit.action;
                if same {
                    let reason =
                        format!("{} says it for FreeBSD and wins", annotations::path(&key));
                    ignored.push(Ignored {
                        property: at.clone(),
                        reason,
                    });
                }
                !same
            });
            limits.push((limit, annotations::path(&key)));
        } else if key == CPUSET {
            cpus = Some(parse_cpus(&value, &annotations::path(CPUSET))?);
        }
    }
    if let Some((_, at)) = limits.first()
        && !input.host.racct
    {
        return Err(accounting_off(at));
    }
    let mut steps: Vec<Step> = limits
        .into_iter()
        .map(|(limit, _)| Step::Rctl(limit))
        .collect();
    steps.extend(cpus.map(|cpus| Step::Cpuset {
        jail: jail.into(),
        cpus,
    }));
    Ok(steps)
}

/// The error of a limit on a host that does not count resources.
pub fn accounting_off(at: &str) -> Error {
    let fault = Error::property(at, "resource accounting is switched off in this kernel");
    fault.hint("put kern.racct.enable=1 into /boot/loader.conf and reboot")
}

/// Limits of `linux.resources`, each with its property's path.
#[derive(Debug, Default)]
pub struct FromResources {
    /// Rules.
    pub limits: Vec<(Limit, String)>,
    /// Properties that set no limit any more (-1), as resource names.
    pub lifted: Vec<&'static str>,
    /// Processors.
    pub cpus: Option<Vec<u32>>,
}

/// Maps `linux.resources`, at create and at update.
///
/// # Errors
/// A value out of range, by its path below `at`.
pub fn from_resources(
    resources: &LinuxResources,
    jail: &str,
    at: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<FromResources> {
    let mut from = FromResources::default();
    let mut ignore = |property: &str, is_set: bool, reason: &str| {
        if is_set {
            ignored.push(Ignored {
                property: format!("{at}.{property}"),
                reason: reason.into(),
            });
        }
    };
    let mut limit = |resource: &'static str, property: &str, amount: Option<i64>| match amount {
        None | Some(0) => {}
        Some(amount) if amount < 0 => from.lifted.push(resource),
        Some(amount) => {
            let limit = Limit {
                jail: jail.into(),
                resource: resource.into(),
                action: "deny".into(),
                amount: amount.unsigned_abs(),
                per: None,
            };
            from.limits.push((limit, format!("{at}.{property}")));
        }
    };
    if let Some(memory) = resources.memory() {
        limit("memoryuse", "memory.limit", memory.limit());
        // swapuse counts the swap space that is reserved for anonymous
        // memory, whether it is in memory or not: the sum that the
        // specification means (config-linux.md, Memory).
        limit("swapuse", "memory.swap", memory.swap());
        let reason = "rctl has nothing like it";
        ignore("memory.reservation", memory.reservation().is_some(), reason);
        ignore("memory.swappiness", memory.swappiness().is_some(), reason);
        ignore(
            "memory.disableOOMKiller",
            memory.disable_oom_killer().is_some(),
            reason,
        );
        ignore(
            "memory.useHierarchy",
            memory.use_hierarchy().is_some(),
            reason,
        );
        ignore(
            "memory.checkBeforeUpdate",
            memory.check_before_update().is_some(),
            reason,
        );
    }
    if let Some(pids) = resources.pids() {
        limit("maxproc", "pids.limit", Some(pids.limit()));
    }
    if let Some(cpu) = resources.cpu() {
        let percent = match cpu.quota() {
            None => None,
            Some(quota) if quota < 0 => Some(-1),
            Some(quota) => {
                let period = cpu.period().unwrap_or(100_000);
                if period == 0 {
                    return Err(Error::property(
                        format!("{at}.cpu.period"),
                        "must be above 0 (microseconds)",
                    ));
                }
                // Whole percents of one processor; less than one would be no limit.
                let percent = (quota.unsigned_abs() as u128 * 100).div_ceil(u128::from(period));
                Some(i64::try_from(percent).unwrap_or(i64::MAX))
            }
        };
        limit("pcpu", "cpu.quota", percent);
        if let Some(list) = cpu.cpus().as_ref().filter(|list| !list.is_empty()) {
            from.cpus = Some(parse_cpus(list, &format!("{at}.cpu.cpus"))?);
        }
        ignore(
            "cpu.shares",
            cpu.shares().is_some(),
            "rctl has limits and no weights",
        );
        let reason = "FreeBSD has nothing like it";
        ignore(
            "cpu.mems",
            cpu.mems().as_ref().is_some_and(|mems| !mems.is_empty()),
            reason,
        );
        ignore("cpu.burst", cpu.burst().is_some(), reason);
        ignore(
            "cpu.realtimeRuntime",
            cpu.realtime_runtime().is_some(),
            reason,
        );
        ignore(
            "cpu.realtimePeriod",
            cpu.realtime_period().is_some(),
            reason,
        );
        ignore("cpu.idle", cpu.idle().is_some(), reason);
    }
    let reason = "rctl limits the container as a whole and not by device; use the annotations \
                  org.freebsd.rctl.readbps, writebps, readiops and writeiops";
    ignore("blockIO", resources.block_io().is_some(), reason);
    let hugepages = resources
        .hugepage_limits()
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let reason = "FreeBSD has nothing like it";
    ignore("hugepageLimits", hugepages, reason);
    ignore("network", resources.network().is_some(), reason);
    ignore("rdma", resources.rdma().is_some(), reason);
    ignore(
        "unified",
        resources
            .unified()
            .as_ref()
            .is_some_and(|all| !all.is_empty()),
        "FreeBSD has no cgroups",
    );
    let devices = resources
        .devices()
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    ignore(
        "devices",
        devices,
        "devfs shows the devices that may be used",
    );
    Ok(from)
}

/// `ACTION[:AMOUNT][/PER]`, the amount with an optional suffix k, m, g, t or p.
fn annotated(jail: &str, resource: &str, value: &str, at: &str) -> Result<Limit> {
    let fault = |cause: String| Error::property(at, cause);
    if !RESOURCES.contains(&resource) {
        let near = near(resource, &RESOURCES);
        let hint = if near.is_empty() {
            RESOURCES.join(", ")
        } else {
            near
        };
        return Err(
            fault(format!("{resource:?} is not a resource of rctl")).hint(format!("known: {hint}"))
        );
    }
    let (rest, per) = match value.split_once('/') {
        Some((rest, per)) => (rest, Some(per)),
        None => (value, None),
    };
    let Some((action, amount)) = rest.split_once([':', '=']) else {
        return Err(fault(format!("{value:?} has no amount")).hint("write it as: deny:512m"));
    };
    if !ACTIONS.contains(&action) && !SIGNALS.contains(&action) {
        let hint = "known: deny, log, devctl, throttle, and signals as sigterm";
        return Err(fault(format!("{action:?} is not an action of rctl")).hint(hint));
    }
    if action == "deny" && NOT_DENIABLE.contains(&resource) {
        let other = if THROTTLED.contains(&resource) {
            "throttle"
        } else {
            "a signal"
        };
        return Err(fault(format!("rctl cannot deny {resource}")).hint(format!("use {other}")));
    }
    if action == "throttle" && !THROTTLED.contains(&resource) {
        return Err(fault(format!("rctl cannot throttle {resource}")).hint("use deny"));
    }
    let amount = size(amount).ok_or_else(|| {
        fault(format!("{amount:?} is not an amount"))
            .hint("give a number, with k, m, g, t or p behind it")
    })?;
    match per {
        None | Some("process" | "user" | "loginclass" | "jail") => {}
        Some(per) => {
            let hint = "known: process, user, loginclass, jail";
            return Err(fault(format!("{per:?} is not what rctl counts for")).hint(hint));
        }
    }
    let per = per.filter(|per| *per != "jail").map(String::from);
    Ok(Limit {
        jail: jail.into(),
        resource: resource.into(),
        action: action.into(),
        amount,
        per,
    })
}

fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        'p' => (&text[..text.len() - 1], 50),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok()?;
    // The kernel counts in signed 64 bits.
    number
        .checked_mul(1 << shift)
        .filter(|amount| *amount <= i64::MAX as u64)
}

/// Known words that share a start with an unknown one.
pub fn near(word: &str, known: &[&str]) -> String {
    let start: String = word.chars().take(3).collect();
    let found: Vec<&str> = known
        .iter()
        .copied()
        .filter(|k| !start.is_empty() && k.starts_with(&start))
        .collect();
    found.join(", ")
}

/// The highest processor number that a cpuset holds (CPU_MAXSIZE).
const HIGHEST_CPU: u32 = 1023;

/// A list such as `0-3,7` (cpuset(1)).
fn parse_cpus(text: &str, at: &str) -> Result<Vec<u32>> {
    let fault = || {
        Error::property(at, format_args!("{text:?} is not a list of processors"))
            .hint("write it as: 0-3,7")
    };
    let number = |part: &str| {
        part.trim()
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= HIGHEST_CPU)
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None => (number(part), number(part)),
        };
        let (Some(first), Some(last)) = (first, last) else {
            return Err(fault());
        };
        if first > last {
            return Err(fault());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}
