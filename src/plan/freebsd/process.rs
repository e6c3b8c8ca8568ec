//! What of `process` FreeBSD cannot honour.

use oci_spec::runtime::{PosixRlimitType, Process};

use super::Input;
use crate::config::annotations;
use crate::error::{Error, Result};

/// Checks the container's process and the annotations that concern it.
pub(super) fn check(input: &Input) -> Result<()> {
    if let Some(process) = input.config.process() {
        check_process(process, "process")?;
    }
    if let Some(fib) = input.config.annotation(annotations::EXEC_FIB)
        && fib.parse::<u16>().is_err()
    {
        let path = annotations::path(annotations::EXEC_FIB);
        return Err(Error::property(
            path,
            format_args!("{fib:?} is not the number of a routing table"),
        ));
    }
    Ok(())
}

/// Checks a `process` object, which exec may bring too.
pub fn check_process(process: &Process, at: &str) -> Result<()> {
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        if resource_number(limit.typ()).is_none() {
            let path = format!("{at}.rlimits[{i}].type");
            return Err(Error::property(
                path,
                format_args!("FreeBSD has no {}", limit.typ()),
            ));
        }
    }
    let refused = [
        (
            "apparmorProfile",
            process
                .apparmor_profile()
                .as_ref()
                .is_some_and(|p| !p.is_empty()),
        ),
        (
            "selinuxLabel",
            process
                .selinux_label()
                .as_ref()
                .is_some_and(|l| !l.is_empty()),
        ),
        ("ioPriority", process.io_priority().is_some()),
        ("scheduler", process.scheduler().is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ];
    match refused.iter().find(|(_, set)| *set) {
        Some((name, _)) => Err(Error::property(
            format!("{at}.{name}"),
            "is for Linux; FreeBSD has nothing like it",
        )),
        None => Ok(()),
    }
}

/// The number of a resource for setrlimit(2) (sys/resource.h), or None for
/// one that only Linux has.
pub fn resource_number(kind: PosixRlimitType) -> Option<i32> {
    use PosixRlimitType as T;
    Some(match kind {
        T::RlimitCpu => 0,
        T::RlimitFsize => 1,
        T::RlimitData => 2,
        T::RlimitStack => 3,
        T::RlimitCore => 4,
        T::RlimitRss => 5,
        T::RlimitMemlock => 6,
        T::RlimitNproc => 7,
        T::RlimitNofile => 8,
        T::RlimitAs => 10,
        T::RlimitLocks
        | T::RlimitSigpending
        | T::RlimitMsgqueue
        | T::RlimitNice
        | T::RlimitRtprio
        | T::RlimitRttime => return None,
    })
}
