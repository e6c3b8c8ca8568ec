//! Facts about the host that a plan depends on. Reading them changes nothing.

use serde::{Deserialize, Serialize};

/// An operating system that brig runs containers on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// FreeBSD 14 or newer.
    Freebsd,
    /// Linux 5.10 or newer.
    Linux,
}

impl Os {
    /// The system that this program was built for.
    pub const fn this() -> Os {
        if cfg!(target_os = "freebsd") {
            Os::Freebsd
        } else {
            Os::Linux
        }
    }
}

/// What a plan depends on. Each field has a typical value for plans made on
/// another system ([`HostFacts::typical`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The system to plan for.
    pub os: Os,
    /// Effective user id of the runtime.
    pub euid: u32,
    /// Whether the runtime is itself inside a user namespace or a jail.
    pub nested: bool,
    /// FreeBSD: kern.osreldate, as 1501000; 0 elsewhere.
    pub osreldate: u32,
    /// FreeBSD: whether the kernel accounts resources (kern.racct.enable).
    pub racct: bool,
    /// Linux: whether cgroup v2 alone is mounted.
    pub cgroup2: bool,
    /// Linux: whether AppArmor is on.
    pub apparmor: bool,
    /// Linux: whether SELinux is on.
    pub selinux: bool,
}

impl HostFacts {
    /// A current host of the given system, run by root.
    pub fn typical(os: Os) -> HostFacts {
        HostFacts {
            os,
            euid: 0,
            nested: false,
            osreldate: if os == Os::Freebsd { 1_500_000 } else { 0 },
            racct: os == Os::Freebsd,
            cgroup2: os == Os::Linux,
            apparmor: false,
            selinux: false,
        }
    }

    /// Reads the facts of this host.
    pub fn read() -> HostFacts {
        crate::sys::host_facts()
    }
}
