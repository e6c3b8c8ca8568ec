//! FreeBSD's calls. Layouts and numbers that the libc crate lacks are from the
//! headers named beside them (FreeBSD 14 and 15, 64-bit).

pub mod attributes;
pub mod devfs;
pub mod jail;
pub mod mount;
pub mod network;
pub mod process;
pub mod rctl;
pub mod sysctl;
pub mod zfs;

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::host::{HostFacts, Os};
pub use process::{adopt_orphans, process_info, process_start_time};

/// A failed call whose kernel part may have said why in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The error number.
    pub errno: Errno,
    /// The kernel's `errmsg`, often empty.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{:?}", self.errno),
            message => write!(f, "{message} ({:?})", self.errno),
        }
    }
}

/// Names and values as jail_set(2) and nmount(2) take them.
type Pairs<'a> = &'a mut [(CString, Option<Vec<u8>>)];

/// Calls with an iovec of names and values and the buffer for `errmsg`.
fn with_pairs(
    pairs: Pairs<'_>,
    call: impl FnOnce(*mut libc::iovec, libc::c_uint) -> libc::c_int,
) -> Result<i32, Fault> {
    let mut message = vec![0_u8; 1024];
    let mut iov = Vec::with_capacity(pairs.len() * 2 + 2);
    for (name, value) in pairs.iter_mut() {
        let length = name.as_bytes_with_nul().len();
        iov.push(libc::iovec {
            iov_base: name.as_ptr().cast_mut().cast(),
            iov_len: length,
        });
        iov.push(match value {
            Some(value) => libc::iovec {
                iov_base: value.as_mut_ptr().cast(),
                iov_len: value.len(),
            },
            None => libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
        });
    }
    let name = c"errmsg";
    iov.push(libc::iovec {
        iov_base: name.as_ptr().cast_mut().cast(),
        iov_len: name.count_bytes() + 1,
    });
    iov.push(libc::iovec {
        iov_base: message.as_mut_ptr().cast(),
        iov_len: message.len(),
    });
    let result = call(iov.as_mut_ptr(), iov.len() as libc::c_uint);
    if result >= 0 {
        return Ok(result);
    }
    let errno = Errno::last();
    let end = message
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(message.len());
    Err(Fault {
        errno,
        message: String::from_utf8_lossy(&message[..end]).trim().to_owned(),
    })
}

/// What tells one boot of this host from another: the kernel's random boot id.
pub fn boot_id() -> String {
    let id = sysctl::raw("kern.boot_id").unwrap_or_default();
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the facts that a plan depends on.
pub fn host_facts() -> HostFacts {
    HostFacts {
        os: Os::Freebsd,
        euid: nix::unistd::geteuid().as_raw(),
        nested: in_jail(),
        osreldate: sysctl::number("kern.osreldate").unwrap_or(0) as u32,
        racct: sysctl::number("kern.racct.enable") == Some(1),
        cgroup2: false,
        apparmor: false,
        selinux: false,
    }
}

/// Whether this process is in a jail.
pub fn in_jail() -> bool {
    sysctl::number("security.jail.jailed") == Some(1)
}

/// Loads a kernel module (kldload(2)).
///
/// # Errors
/// ENOENT when there is no such file; EPERM in a jail.
pub fn load_module(name: &str) -> io::Result<()> {
    unsafe extern "C" {
        fn kldload(file: *const libc::c_char) -> libc::c_int;
    }
    let name = CString::new(name)?;
    // SAFETY: the name is NUL-terminated and live for the length of the call.
    match Errno::result(unsafe { kldload(name.as_ptr()) }) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
