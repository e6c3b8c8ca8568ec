//! The suite's only unsafe code: system calls that nix has no safe form of.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::{ForkResult, Pid};

/// fork(2), for the contained program, which has one thread. None in the child.
///
/// # Errors
/// Those of fork(2).
pub fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: only the contained program forks, and it never starts a thread,
    // so no lock can be held by a thread that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}

/// _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of the process.
    unsafe { libc::_exit(status) }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Gives a signal a handler that does nothing, so that the kernel queues it
/// where the default would be to drop it.
pub fn keep_signal(signal: Signal) {
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so it is safe at any instruction.
    let _ = unsafe { nix::sys::signal::sigaction(signal, &action) };
}

/// Ignores or un-ignores a signal.
pub fn ignore_signal(signal: Signal, ignore: bool) {
    let handler = if ignore {
        SigHandler::SigIgn
    } else {
        SigHandler::SigDfl
    };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, so no code can run because of it.
    let _ = unsafe { nix::sys::signal::sigaction(signal, &action) };
}

/// Whether a descriptor is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and any number may be asked about.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Takes over a descriptor that this process inherited by its number.
pub fn take(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: the number is known to be open, was inherited, and nothing else
    // in the contained program owns it.
    is_open(fd).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes over a descriptor that recvmsg(2) just installed.
pub fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel just installed it for the message, and nothing else
    // owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Rows and columns of a terminal; None where it is none.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a live winsize, which TIOCGWINSZ fills.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut size) };
    (result == 0).then_some((size.ws_row, size.ws_col))
}

/// Sets rows and columns of a terminal.
///
/// # Errors
/// ENOTTY when it is no terminal.
pub fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a live winsize, which TIOCSWINSZ reads.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) };
    Errno::result(result)?;
    Ok(())
}

/// Makes the command a session leader whose controlling terminal is its
/// standard input, which the caller has set.
pub fn with_controlling_terminal(command: &mut Command) {
    // SAFETY: between fork and exec only two system calls are made, both safe
    // in a child of a process with threads; no memory is allocated.
    unsafe {
        command.pre_exec(|| {
            Errno::result(libc::setsid())?;
            Errno::result(libc::ioctl(0, libc::TIOCSCTTY as _, 0))?;
            Ok(())
        });
    }
}

/// Passes descriptors to the command as 3, 4, 5, …
pub fn with_descriptors(command: &mut Command, fds: Vec<OwnedFd>) {
    // Numbers far above the wanted ones, so that none is overwritten before it
    // was copied.
    let high: Vec<OwnedFd> = fds
        .iter()
        .filter_map(|fd| {
            // SAFETY: F_DUPFD_CLOEXEC takes no pointer; the descriptor is open.
            let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
            // SAFETY: the call just returned this descriptor.
            (new >= 0).then(|| unsafe { OwnedFd::from_raw_fd(new) })
        })
        .collect();
    // SAFETY: between fork and exec only dup2 is called, on descriptors that
    // the closure owns; no memory is allocated.
    unsafe {
        command.pre_exec(move || {
            for (i, fd) in high.iter().enumerate() {
                Errno::result(libc::dup2(fd.as_raw_fd(), 3 + i as RawFd))?;
            }
            Ok(())
        });
    }
}

/// Makes a file descriptor 3 of this process, which its programs inherit.
pub fn give_as_third(file: &std::fs::File) {
    // SAFETY: dup2 takes no pointer; the broken runtime, which alone calls
    // this, has nothing of its own at 3 that it still needs.
    unsafe { libc::dup2(file.as_raw_fd(), 3) };
    // SAFETY: F_SETFD takes no pointer. The file may have been at 3 already,
    // where dup2 leaves its flag.
    unsafe { libc::fcntl(3, libc::F_SETFD, 0) };
}

/// Keeps every descriptor from 3 on out of the command.
pub fn without_descriptors(command: &mut Command) {
    // SAFETY: between fork and exec only fcntl is called, which takes any
    // number and here no pointer; no memory is allocated.
    unsafe {
        command.pre_exec(|| {
            for fd in 3..256 {
                // Not closed but marked: the channel that tells a failed exec
                // is among them.
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            Ok(())
        });
    }
}

/// Stops what is mounted below a mount from reaching any other place.
#[cfg(target_os = "linux")]
pub fn make_private(path: &str) {
    use nix::mount::{MsFlags, mount};
    const NONE: Option<&str> = None;
    let _ = mount(NONE, path, NONE, MsFlags::MS_PRIVATE, NONE);
}

/// Binds a file or directory over another path, in a new mount namespace.
///
/// # Errors
/// Those of unshare(2) or mount(2).
#[cfg(target_os = "linux")]
pub fn cover(path: &str, with: &str) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    const NONE: Option<&str> = None;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(NONE, "/", NONE, private, NONE)?;
    mount(Some(with), path, NONE, MsFlags::MS_BIND, NONE)
}

/// Becomes the parent of the orphans among the descendants, as conmon does.
///
/// # Errors
/// Those of prctl(2) or procctl(2).
pub fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    #[cfg(target_os = "freebsd")]
    {
        let (kind, null) = (libc::P_PID, std::ptr::null_mut());
        // SAFETY: PROC_REAP_ACQUIRE takes no argument.
        Errno::result(unsafe { libc::procctl(kind, 0, libc::PROC_REAP_ACQUIRE, null) })?;
    }
    Ok(())
}

/// The NIS domain name.
pub fn domain_name() -> String {
    let mut name = [0 as libc::c_char; 256];
    // SAFETY: the buffer is live and its true length, less the NUL, is passed.
    if unsafe { libc::getdomainname(name.as_mut_ptr(), 255) } != 0 {
        return String::new();
    }
    // SAFETY: the buffer was zeroed and its last byte never written.
    unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// getgroups(2).
pub fn groups() -> Vec<u32> {
    let mut groups = [0 as libc::gid_t; 1024];
    // SAFETY: the buffer is live and its true length is passed.
    let count = unsafe { libc::getgroups(1024, groups.as_mut_ptr()) };
    groups.iter().take(count.max(0) as usize).copied().collect()
}

/// Makes and removes a segment of System V shared memory.
///
/// # Errors
/// Those of shmget(2).
pub fn shared_memory() -> nix::Result<()> {
    // SAFETY: no pointer is passed.
    let id = Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) })?;
    // SAFETY: IPC_RMID takes no pointer.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) })?;
    Ok(())
}

/// Makes and removes a System V message queue.
///
/// # Errors
/// Those of msgget(2).
pub fn message_queue() -> nix::Result<()> {
    // SAFETY: no pointer is passed.
    let id = Errno::result(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) })?;
    // SAFETY: IPC_RMID takes no pointer.
    Errno::result(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) })?;
    Ok(())
}

/// Makes and removes a System V semaphore.
///
/// # Errors
/// Those of semget(2).
pub fn semaphores() -> nix::Result<()> {
    // SAFETY: no pointer is passed.
    let id = Errno::result(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) })?;
    // SAFETY: IPC_RMID takes no fourth argument.
    Errno::result(unsafe { libc::semctl(id, 0, libc::IPC_RMID) })?;
    Ok(())
}

/// mlock(2) and munlock(2) of one page.
///
/// # Errors
/// Those of mlock(2).
pub fn lock_a_page() -> nix::Result<()> {
    let page = vec![0_u8; 4096];
    // SAFETY: the memory is live for the length that is passed.
    unsafe {
        Errno::result(libc::mlock(page.as_ptr().cast(), page.len()))?;
        Errno::result(libc::munlock(page.as_ptr().cast(), page.len()))?;
    }
    Ok(())
}

/// A raw socket for ICMP.
///
/// # Errors
/// Those of socket(2).
pub fn raw_socket() -> nix::Result<()> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) };
    drop(received(Errno::result(fd)?));
    Ok(())
}

/// Sets and clears the system's immutable flag of a file.
///
/// # Errors
/// Those of chflags(2).
#[cfg(target_os = "freebsd")]
pub fn change_flags(path: &str) -> nix::Result<()> {
    let path = std::ffi::CString::new(path).map_err(|_| Errno::EINVAL)?;
    for flags in [libc::SF_IMMUTABLE, 0] {
        // SAFETY: the path is NUL-terminated and lives through the call.
        Errno::result(unsafe { libc::chflags(path.as_ptr(), flags as _) })?;
    }
    Ok(())
}

/// Linux has no such flags.
///
/// # Errors
/// Always.
#[cfg(target_os = "linux")]
pub fn change_flags(_: &str) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// What only Linux has.
#[cfg(target_os = "linux")]
pub mod linux {
    use serde_json::{Value, json};

    /// A network interface of the host that lives until it is closed or
    /// destroyed elsewhere.
    #[derive(Debug)]
    pub struct Tap {
        /// Its name on the host.
        pub name: String,
        _file: std::fs::File,
    }

    impl Tap {
        /// Makes it, with this address, up.
        ///
        /// # Errors
        /// ENOENT or ENODEV where the kernel has no such interfaces.
        pub fn new(name: &str, address: [u8; 4]) -> std::io::Result<Tap> {
            use std::os::fd::AsRawFd;
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/net/tun")?;
            let mut request = request(name);
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: TUNSETIFF reads a live ifreq and writes its name.
            nix::errno::Errno::result(unsafe {
                libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request)
            })?;
            let tap = Tap {
                name: name.to_owned(),
                _file: file,
            };
            tap.set_address(address)?;
            Ok(tap)
        }

        fn set_address(&self, address: [u8; 4]) -> std::io::Result<()> {
            use std::os::fd::AsRawFd;
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            let mut request = request(&self.name);
            let inet = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: both structures are plain bytes of the same size.
            request.ifr_ifru.ifru_addr =
                unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet) };
            // SAFETY: SIOCSIFADDR reads a live ifreq.
            nix::errno::Errno::result(unsafe {
                libc::ioctl(
                    socket.as_raw_fd(),
                    libc::SIOCSIFADDR as _,
                    &raw const request,
                )
            })?;
            Ok(())
        }
    }

    fn request(name: &str) -> libc::ifreq {
        // SAFETY: zeros are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from as libc::c_char;
        }
        request
    }

    /// Policy and nice value of this process.
    pub fn scheduler() -> Value {
        // SAFETY: neither call takes a pointer; 0 is this process.
        let (policy, nice) = unsafe {
            (
                libc::sched_getscheduler(0),
                libc::getpriority(libc::PRIO_PROCESS, 0),
            )
        };
        json!({"policy": policy, "nice": nice})
    }

    /// ioprio_get(2) of this process: the class above bit 13, and the priority.
    pub fn io_priority() -> i64 {
        const IOPRIO_WHO_PROCESS: libc::c_int = 1;
        // SAFETY: the call takes no pointer; 0 is this process.
        unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) }
    }

    /// personality(2) of this process.
    pub fn personality() -> i32 {
        const QUERY: libc::c_ulong = 0xffff_ffff;
        // SAFETY: the call takes no pointer, and this value changes nothing.
        unsafe { libc::personality(QUERY) }
    }
}

/// What only FreeBSD has.
#[cfg(target_os = "freebsd")]
pub mod freebsd {
    use std::ffi::{CStr, CString};

    /// One mount, as getfsstat(2) has it.
    #[derive(Debug, Clone)]
    pub struct Mount {
        /// Where.
        pub target: String,
        /// File system type.
        pub fstype: String,
        /// From what.
        pub source: String,
        /// MNT_* flags.
        pub flags: u64,
    }

    /// Every mount that this process may see.
    pub fn mounts() -> Vec<Mount> {
        // SAFETY: a null buffer makes the call count only.
        let count = unsafe { libc::getfsstat(std::ptr::null_mut(), 0, libc::MNT_NOWAIT) };
        let room = count.max(0) as usize + 16;
        let mut all: Vec<libc::statfs> = Vec::with_capacity(room);
        let bytes = (room * size_of::<libc::statfs>()) as libc::c_long;
        // SAFETY: the buffer has room for that many bytes.
        let got = unsafe { libc::getfsstat(all.as_mut_ptr(), bytes, libc::MNT_NOWAIT) };
        // SAFETY: the kernel filled that many entries.
        unsafe { all.set_len((got.max(0) as usize).min(room)) };
        // SAFETY: the kernel ends each of these arrays with NUL.
        let text = |array: &[libc::c_char]| unsafe {
            CStr::from_ptr(array.as_ptr())
                .to_string_lossy()
                .into_owned()
        };
        let convert = |m: &libc::statfs| Mount {
            target: text(&m.f_mntonname),
            fstype: text(&m.f_fstypename),
            source: text(&m.f_mntfromname),
            flags: m.f_flags,
        };
        all.iter().map(convert).collect()
    }

    /// An integer sysctl; None where there is none.
    pub fn sysctl_number(name: &str) -> Option<i64> {
        let raw = sysctl(name)?;
        match raw.len() {
            1 => Some(raw[0].into()),
            4 => Some(i32::from_ne_bytes(raw[..4].try_into().ok()?).into()),
            8 => Some(i64::from_ne_bytes(raw[..8].try_into().ok()?)),
            _ => None,
        }
    }

    /// A string sysctl.
    pub fn sysctl_text(name: &str) -> Option<String> {
        let raw = sysctl(name)?;
        let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
        Some(String::from_utf8_lossy(&raw[..end]).into_owned())
    }

    fn sysctl(name: &str) -> Option<Vec<u8>> {
        let name = CString::new(name).ok()?;
        let mut raw = vec![0_u8; 4096];
        let mut length = raw.len();
        // SAFETY: name is NUL-terminated; the buffer is live with that length.
        let result = unsafe {
            libc::sysctlbyname(
                name.as_ptr(),
                raw.as_mut_ptr().cast(),
                &mut length,
                std::ptr::null(),
                0,
            )
        };
        (result == 0).then(|| {
            raw.truncate(length);
            raw
        })
    }

    fn sysctl_mib(mib: &[i32], room: usize) -> Option<Vec<u8>> {
        let mut raw = vec![0_u8; room];
        let mut length = raw.len();
        // SAFETY: the name has that many numbers; the buffer is live with that
        // length; nothing is set.
        let result = unsafe {
            let (name, old) = (mib.as_ptr(), raw.as_mut_ptr().cast());
            libc::sysctl(
                name,
                mib.len() as u32,
                old,
                &mut length,
                std::ptr::null(),
                0,
            )
        };
        (result == 0).then(|| {
            raw.truncate(length);
            raw
        })
    }

    /// Id, parent, jail id of every process.
    pub fn processes() -> Vec<(i32, i32, i32)> {
        let mib = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PROC, 0];
        let me = std::process::id() as i32;
        // The kernel wires the whole buffer, which may fail for a moment when
        // others do the same. A list without this process is none.
        for attempt in 0..200_usize {
            let raw = sysctl_mib(&mib, (256 + attempt * 16) << 10).unwrap_or_default();
            let all = parse_processes(&raw);
            if all.iter().any(|(pid, ..)| *pid == me) {
                return all;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the kernel does not list the processes");
    }

    fn parse_processes(raw: &[u8]) -> Vec<(i32, i32, i32)> {
        const SZOMB: libc::c_char = 5;
        let mut all = Vec::new();
        let mut at = 0;
        while at + size_of::<libc::kinfo_proc>() <= raw.len() {
            // SAFETY: the range was checked; any bytes make a valid kinfo_proc
            // for reading its integers; the read is unaligned.
            let info: libc::kinfo_proc =
                unsafe { std::ptr::read_unaligned(raw[at..].as_ptr().cast()) };
            if info.ki_structsize <= 0 {
                break;
            }
            if info.ki_stat != SZOMB {
                all.push((info.ki_pid, info.ki_ppid, info.ki_jid));
            }
            at += info.ki_structsize as usize;
        }
        all
    }

    /// Arguments and environment of a process, joined.
    pub fn words(pid: i32) -> Vec<u8> {
        let mut all = Vec::new();
        for what in [libc::KERN_PROC_ARGS, libc::KERN_PROC_ENV] {
            let mib = [libc::CTL_KERN, libc::KERN_PROC, what, pid];
            all.extend(sysctl_mib(&mib, 512 << 10).unwrap_or_default());
            all.push(0);
        }
        all
    }

    /// Every jail below this one: id, name, path, whether it is dying.
    pub fn jails() -> Vec<(i32, String, String, bool)> {
        let mut all = Vec::new();
        let mut last = 0_i32;
        loop {
            let mut name = [0_u8; 1024];
            let mut path = [0_u8; 1024];
            let mut dying = 0_i32;
            let part = |base: *mut libc::c_void, len: usize| libc::iovec {
                iov_base: base,
                iov_len: len,
            };
            let key = |text: &'static CStr| {
                part(
                    text.as_ptr().cast_mut().cast(),
                    text.to_bytes_with_nul().len(),
                )
            };
            let mut iov = [
                key(c"lastjid"),
                part((&raw mut last).cast(), 4),
                key(c"name"),
                part(name.as_mut_ptr().cast(), name.len()),
                key(c"path"),
                part(path.as_mut_ptr().cast(), path.len()),
                key(c"dying"),
                part((&raw mut dying).cast(), 4),
            ];
            // SAFETY: every iovec points to live memory of the length it says;
            // names are NUL-terminated and only read.
            let jid =
                unsafe { libc::jail_get(iov.as_mut_ptr(), iov.len() as u32, libc::JAIL_DYING) };
            if jid < 0 {
                return all;
            }
            let text = |raw: &[u8]| {
                let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
                String::from_utf8_lossy(&raw[..end]).into_owned()
            };
            all.push((jid, text(&name), text(&path), dying != 0));
            last = jid;
        }
    }

    /// The value of a parameter of a jail, which has at most this length.
    ///
    /// # Errors
    /// What jail_get(2) says.
    pub fn jail_parameter(jail: &str, name: &str, length: usize) -> Result<Vec<u8>, String> {
        let (jail, name) = (
            CString::new(jail).map_err(|e| e.to_string())?,
            CString::new(name).map_err(|e| e.to_string())?,
        );
        let mut value = vec![0_u8; length];
        let mut message = [0_u8; 256];
        let part = |base: *mut libc::c_void, len: usize| libc::iovec {
            iov_base: base,
            iov_len: len,
        };
        let text = |text: &CStr| {
            part(
                text.as_ptr().cast_mut().cast(),
                text.to_bytes_with_nul().len(),
            )
        };
        let mut iov = [
            text(c"name"),
            text(&jail),
            text(&name),
            part(value.as_mut_ptr().cast(), value.len()),
            text(c"errmsg"),
            part(message.as_mut_ptr().cast(), message.len()),
        ];
        // SAFETY: every iovec points to live memory of the length it says; the
        // names are NUL-terminated and only read.
        let jid = unsafe { libc::jail_get(iov.as_mut_ptr(), iov.len() as u32, 0) };
        if jid < 0 {
            let why = nix::errno::Errno::last();
            let end = message.iter().position(|b| *b == 0).unwrap_or(0);
            return Err(format!(
                "{why:?} {}",
                String::from_utf8_lossy(&message[..end])
            ));
        }
        value.truncate(iov[3].iov_len);
        Ok(value)
    }

    /// A pair of network interfaces of the host, destroyed with this value.
    #[derive(Debug)]
    pub struct Pair {
        name: String,
    }

    impl Pair {
        /// Makes it.
        ///
        /// # Errors
        /// EINVAL where the kernel has no epair(4).
        pub fn new() -> std::io::Result<Pair> {
            let mut request = request("epair");
            control(SIOCIFCREATE, &mut request)?;
            let end = request.iter().position(|b| *b == 0).unwrap_or(16).min(16);
            let name = String::from_utf8_lossy(&request[..end]).into_owned();
            Ok(Pair { name })
        }

        /// The name of its first half.
        pub fn name(&self) -> &str {
            &self.name
        }
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            // It may be on its way back from a vnet that is going away.
            for _ in 0..100 {
                if control(SIOCIFDESTROY, &mut request(&self.name)).is_ok() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }

    /// _IOWR('i', 122, struct ifreq).
    const SIOCIFCREATE: libc::c_ulong = 0xc020_697a;
    /// _IOW('i', 121, struct ifreq).
    const SIOCIFDESTROY: libc::c_ulong = 0x8020_6979;

    /// struct ifreq with this name: 16 bytes of it, and 16 of the union.
    fn request(name: &str) -> [u8; 32] {
        let mut request = [0; 32];
        for (to, from) in request.iter_mut().zip(name.bytes().take(15)) {
            *to = from;
        }
        request
    }

    fn control(number: libc::c_ulong, request: &mut [u8; 32]) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        // SAFETY: both numbers read and write a struct ifreq of 32 bytes, which
        // lives through the call.
        nix::errno::Errno::result(unsafe {
            libc::ioctl(socket.as_raw_fd(), number, request.as_mut_ptr())
        })?;
        Ok(())
    }

    /// The devfs(8) rulesets, each with the number of its rules.
    pub fn devfs_rulesets() -> Vec<(u16, usize)> {
        use std::os::fd::AsRawFd;
        let Ok(devfs) = std::fs::File::open("/dev") else {
            return Vec::new();
        };
        let mut all = Vec::new();
        let mut number = 0_u16;
        // SAFETY: DEVFSIO_SGETNEXT reads and writes the two bytes of a number,
        // which lives through the call.
        while unsafe {
            libc::ioctl(
                devfs.as_raw_fd(),
                DEVFSIO_SGETNEXT,
                (&raw mut number).cast::<libc::c_void>(),
            )
        } == 0
        {
            let mut rule = DevfsRule {
                magic: DEVFS_MAGIC,
                id: u32::from(number) << 16,
                rest: [0; 228],
            };
            let mut rules = 0;
            // SAFETY: DEVFSIO_RGETNEXT reads and writes a rule, for which there
            // is room, and which lives through the call.
            while unsafe {
                libc::ioctl(
                    devfs.as_raw_fd(),
                    DEVFSIO_RGETNEXT,
                    (&raw mut rule).cast::<libc::c_void>(),
                )
            } == 0
            {
                rules += 1;
            }
            all.push((number, rules));
        }
        all
    }

    /// struct devfs_rule of sys/fs/devfs/devfs.h.
    #[repr(C)]
    struct DevfsRule {
        magic: u32,
        id: u32,
        rest: [u8; 228],
    }

    /// DEVFS_MAGIC of the same file.
    const DEVFS_MAGIC: u32 = 0xdb0a_087a;
    /// _IOWR('D', 12, devfs_rsnum).
    const DEVFSIO_SGETNEXT: libc::c_ulong = 0xc002_440c;
    /// _IOWR('D', 4, struct devfs_rule).
    const DEVFSIO_RGETNEXT: libc::c_ulong = 0xc0ec_4404;

    /// The rctl(8) rules of the host; None where racct is off.
    pub fn rctl_rules() -> Option<String> {
        const SYS_RCTL_GET_RULES: i32 = 526;
        let filter = c"::";
        let mut out = vec![0_u8; 16_384];
        // SAFETY: the filter is NUL-terminated and passed with its length, the
        // buffer is live with its length.
        let result = unsafe {
            libc::syscall(
                SYS_RCTL_GET_RULES,
                filter.as_ptr(),
                filter.to_bytes_with_nul().len(),
                out.as_mut_ptr(),
                out.len(),
            )
        };
        (result == 0).then(|| {
            let end = out.iter().position(|b| *b == 0).unwrap_or(0);
            String::from_utf8_lossy(&out[..end]).into_owned()
        })
    }

    /// Whether this process may gain no privileges.
    pub fn no_new_privs() -> Option<bool> {
        let mut value = 0_i32;
        // SAFETY: PROC_NO_NEW_PRIVS_STATUS writes one int.
        let result = unsafe {
            libc::procctl(
                libc::P_PID,
                0,
                libc::PROC_NO_NEW_PRIVS_STATUS,
                (&raw mut value).cast(),
            )
        };
        (result == 0).then_some(value == libc::PROC_NO_NEW_PRIVS_ENABLE)
    }
}
