//! Calls of Linux.

pub mod attributes;
pub mod bpf;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod reexec;

use std::sync::OnceLock;

use crate::host::{HostFacts, Os};
pub use process::{adopt_orphans, process_info, process_start_time};

/// Tells this boot of the host from every other (random(4), boot_id).
pub fn boot_id() -> String {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.unwrap_or_default().trim().to_owned()
    })
    .clone()
}

/// Reads the facts that plans depend on.
pub fn host_facts() -> HostFacts {
    use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
    let apparmor = std::fs::read("/sys/module/apparmor/parameters/enabled");
    HostFacts {
        euid: nix::unistd::geteuid().as_raw(),
        nested: in_user_namespace(),
        cgroup2: statfs("/sys/fs/cgroup").is_ok_and(|s| s.filesystem_type() == CGROUP2_SUPER_MAGIC),
        apparmor: apparmor.is_ok_and(|on| on.starts_with(b"Y")),
        selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        ..HostFacts::typical(Os::Linux)
    }
}

/// The first user namespace maps all ids to themselves.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    let first = (fields.next(), fields.next(), fields.next());
    !map.is_empty() && first != (Some("0"), Some("0"), Some("4294967295"))
}

/// Brings the loopback interface up (netdevice(7)).
///
/// # Errors
/// EPERM without privilege over the network namespace.
pub fn loopback_up() -> std::io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // SAFETY: an all-zero ifreq is valid; it is a name and numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the pointer is to a live ifreq, which SIOCSIFFLAGS reads.
    Errno::result(unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    })?;
    Ok(())
}

/// Sets an extended attribute of a file to nothing, for a mark.
///
/// # Errors
/// Those of setxattr(2).
pub fn set_mark(path: &std::path::Path, name: &std::ffi::CStr) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: path and name are NUL-terminated; a value of no bytes is not read.
    let result = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), std::ptr::null(), 0, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Whether a file has an extended attribute.
pub fn has_mark(path: &std::path::Path, name: &std::ffi::CStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: path and name are NUL-terminated; with size 0 nothing is written.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}
