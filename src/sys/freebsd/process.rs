//! Processes: sysctl(3) kern.proc, procctl(2), kqueue(2).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::sysctl;

/// What `ps` prints of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its user.
    pub uid: u32,
    /// Its parent.
    pub parent: i32,
    /// User and kernel time, in milliseconds.
    pub cpu_milliseconds: u64,
    /// Its arguments, or its name in brackets.
    pub command: String,
}

/// A process as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub pid: i32,
    /// Its jail, 0 for the host.
    pub jid: i32,
    /// It has exited and waits for its parent.
    pub zombie: bool,
    /// It is held by a signal.
    pub stopped: bool,
}

/// All processes, zombies too.
///
/// # Errors
/// Those of sysctl(3).
pub fn all() -> io::Result<Vec<Listed>> {
    let found = read(libc::KERN_PROC_PROC, 0)?;
    Ok(found.iter().map(listed).collect())
}

/// One process; None when there is none of that id.
pub fn one(pid: i32) -> Option<Listed> {
    read(libc::KERN_PROC_PID, pid).ok()?.first().map(listed)
}

fn listed(info: &libc::kinfo_proc) -> Listed {
    Listed {
        pid: info.ki_pid,
        jid: info.ki_jid,
        zombie: info.ki_stat == libc::SZOMB,
        stopped: info.ki_stat == libc::SSTOP,
    }
}

fn read(what: libc::c_int, which: libc::c_int) -> io::Result<Vec<libc::kinfo_proc>> {
    const SIZE: usize = size_of::<libc::kinfo_proc>();
    let mib = [libc::CTL_KERN, libc::KERN_PROC, what, which];
    let (mib, first) = if what == libc::KERN_PROC_PID {
        (&mib[..], SIZE)
    } else {
        (&mib[..3], SIZE * 256)
    };
    let raw = sysctl::by_number(mib, first)?;
    let mut all = Vec::with_capacity(raw.len() / SIZE);
    for entry in raw.chunks_exact(SIZE) {
        // SAFETY: the chunk is as long as the structure, whose fields are
        // numbers, byte arrays and pointers that are never followed: any
        // bytes are valid.
        let info = unsafe { entry.as_ptr().cast::<libc::kinfo_proc>().read_unaligned() };
        if info.ki_structsize as usize != SIZE {
            return Err(io::Error::other(
                "kinfo_proc of this kernel has another size",
            ));
        }
        all.push(info);
    }
    Ok(all)
}

/// When a process started, in microseconds since boot. The kernel tells wall
/// clock time and moves it when the clock is set; without the boot time it
/// stays. None for a process that does not exist or is a zombie.
pub fn process_start_time(pid: i32) -> Option<u64> {
    loop {
        let before = boot_time()?;
        let info = *read(libc::KERN_PROC_PID, pid).ok()?.first()?;
        if info.ki_stat == libc::SZOMB {
            return None;
        }
        // The clock was set in between: read again.
        if boot_time()? == before {
            let start = info.ki_start.tv_sec * 1_000_000 + info.ki_start.tv_usec;
            return u64::try_from(start - before).ok();
        }
    }
}

/// kern.boottime, in microseconds since 1970.
fn boot_time() -> Option<i64> {
    let raw = sysctl::raw("kern.boottime")?;
    let seconds = i64::from_ne_bytes(raw.get(..8)?.try_into().ok()?);
    let microseconds = i64::from_ne_bytes(raw.get(8..16)?.try_into().ok()?);
    Some(seconds * 1_000_000 + microseconds)
}

/// What `ps` prints of a process; None when it is gone.
pub fn process_info(pid: i32) -> Option<ProcessInfo> {
    let info = *read(libc::KERN_PROC_PID, pid).ok()?.first()?;
    // KERN_PROC_ARGS of sys/sysctl.h is 7.
    let arguments =
        sysctl::by_number(&[libc::CTL_KERN, libc::KERN_PROC, 7, pid], 4096).unwrap_or_default();
    let words: Vec<_> = arguments
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let mut command = words.join(" ").trim_end().to_owned();
    if command.is_empty() {
        // SAFETY: the kernel ends the name with a NUL within its array.
        let name = unsafe { CStr::from_ptr(info.ki_comm.as_ptr()) };
        command = format!("[{}]", name.to_string_lossy());
    }
    let cpu_milliseconds = info.ki_runtime / 1000;
    Some(ProcessInfo {
        uid: info.ki_uid,
        parent: info.ki_ppid,
        cpu_milliseconds,
        command,
    })
}

/// What processes use, and have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub total: u64,
    /// Of it, in the kernel.
    pub kernel: u64,
    /// Of it, in programs.
    pub user: u64,
    /// Resident memory now, in bytes; a page that two share counts twice, as it
    /// does for rctl(8)'s memoryuse.
    pub resident: u64,
}

/// What the processes of jails use, with the processor time of those of their
/// children that they have waited for, to the microsecond.
///
/// # Errors
/// Those of sysctl(3).
pub fn usage(jids: &[i32]) -> io::Result<Usage> {
    // SAFETY: no pointer is passed.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut sum = Usage::default();
    let nanoseconds = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
        seconds * 1_000_000_000 + microseconds * 1000
    };
    for info in read(libc::KERN_PROC_PROC, 0)? {
        if !jids.contains(&info.ki_jid) {
            continue;
        }
        let (own, children) = (&info.ki_rusage, &info.ki_rusage_ch);
        let of_children = nanoseconds(children.ru_utime) + nanoseconds(children.ru_stime);
        sum.total += info.ki_runtime * 1000 + of_children;
        sum.user += nanoseconds(own.ru_utime) + nanoseconds(children.ru_utime);
        sum.kernel += nanoseconds(own.ru_stime) + nanoseconds(children.ru_stime);
        sum.resident += u64::try_from(info.ki_rssize).unwrap_or(0) * page;
    }
    Ok(sum)
}

/// Makes this process the parent of orphaned descendants (PROC_REAP_ACQUIRE).
pub fn adopt_orphans(on: bool) {
    let command = if on {
        libc::PROC_REAP_ACQUIRE
    } else {
        libc::PROC_REAP_RELEASE
    };
    // SAFETY: these commands take no data.
    let _ = unsafe { libc::procctl(libc::P_PID, own_id(), command, std::ptr::null_mut()) };
}

/// Forbids others to trace this process or read its memory until it has
/// executed a program (PROC_TRACE_CTL).
///
/// # Errors
/// Those of procctl(2).
pub fn forbid_tracing() -> io::Result<()> {
    control(libc::PROC_TRACE_CTL, libc::PROC_TRACE_CTL_DISABLE)
}

/// Lets no later exec gain privileges (PROC_NO_NEW_PRIVS_CTL).
///
/// # Errors
/// Those of procctl(2).
pub fn no_new_privileges() -> io::Result<()> {
    control(libc::PROC_NO_NEW_PRIVS_CTL, libc::PROC_NO_NEW_PRIVS_ENABLE)
}

fn control(command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let mut value = value;
    // SAFETY: these commands read one int, which is live.
    let result = unsafe { libc::procctl(libc::P_PID, own_id(), command, (&raw mut value).cast()) };
    Errno::result(result)?;
    Ok(())
}

fn own_id() -> libc::id_t {
    libc::id_t::from(std::process::id())
}

/// The session's login name (getlogin(2)).
///
/// # Errors
/// EINVAL when it is longer than the kernel takes.
pub fn set_login(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the name is NUL-terminated and live.
    Errno::result(unsafe { libc::setlogin(name.as_ptr()) })?;
    Ok(())
}

/// The routing table of this process (setfib(2)).
///
/// # Errors
/// EINVAL when there is no such table.
pub fn set_fib(number: i32) -> io::Result<()> {
    unsafe extern "C" {
        fn setfib(number: libc::c_int) -> libc::c_int;
    }
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { setfib(number) })?;
    Ok(())
}

/// Waits until a process has exited, at most `limit`; whoever its parent is
/// may not have taken its status yet. False when the time is over.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn wait_exit(pid: i32, limit: Duration) -> io::Result<bool> {
    // SAFETY: no pointer is passed.
    let queue = Errno::result(unsafe { libc::kqueue() })?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    // SAFETY: a kevent is numbers and a pointer, for which zero is valid.
    let mut change: libc::kevent = unsafe { std::mem::zeroed() };
    change.ident = pid as libc::uintptr_t;
    change.filter = libc::EVFILT_PROC;
    change.flags = libc::EV_ADD;
    change.fflags = libc::NOTE_EXIT;
    let end = Instant::now() + limit;
    let mut pending = 1;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = libc::timespec {
            tv_sec: left.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut event = change;
        // SAFETY: one change is read and room for one event is given, both
        // live.
        let count = unsafe {
            libc::kevent(
                queue.as_raw_fd(),
                &raw const change,
                pending,
                &raw mut event,
                1,
                &raw const left,
            )
        };
        match Errno::result(count) {
            Ok(0) if Instant::now() >= end => return Ok(false),
            Ok(0) => {}
            Ok(_) if event.flags & libc::EV_ERROR != 0 => {
                return Err(io::Error::from_raw_os_error(event.data as i32));
            }
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // The change was taken in the first call, whatever ended it.
        pending = 0;
    }
}

/// fstat(2) of a number that may or may not be open.
///
/// # Errors
/// EBADF when it is not open.
pub fn stat_descriptor(fd: i32) -> nix::Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the buffer is a whole stat, which the call fills.
    Errno::result(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: fstat succeeded.
    Ok(unsafe { stat.assume_init() })
}

/// Sends a signal to every process that this one may signal, but itself.
///
/// # Errors
/// ESRCH when there is none.
pub fn signal_everyone(signal: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::kill(-1, signal) })?;
    Ok(())
}

/// Sends a signal, real-time ones too.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    Errno::result(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}
