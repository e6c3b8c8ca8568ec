//! Running from a file that cannot be written through /proc/PID/exe.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::mount;

const SELF: &str = "/proc/self/exe";
/// MOUNT_ATTR_RDONLY
const READ_ONLY: u64 = 1;

/// Executes this program again from a read-only mount of its file that is
/// attached nowhere, or from a sealed copy in memory. What runs in a container
/// can then not change the file that the host runs next.
///
/// Returns when this is so already, or when it cannot be had; a program
/// without the privilege for either has none over the file.
pub fn from_read_only_mount() {
    let Ok(file) = File::open(SELF) else { return };
    let protected = fstatvfs(&file).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY))
        || fcntl(&file, FcntlArg::F_GET_SEALS)
            .is_ok_and(|seals| seals & SealFlag::F_SEAL_WRITE.bits() != 0);
    if protected {
        return;
    }
    if let Ok(program) = read_only_mount().or_else(|_| sealed_copy(file)) {
        let _ = execute(&program);
    }
}

fn read_only_mount() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    let copy = mount::detached_copy(Path::new(SELF), false)?;
    mount::set_attributes(copy.as_fd(), READ_ONLY, 0, false)?;
    Ok(copy)
}

fn sealed_copy(mut file: File) -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated constant.
    let fd = unsafe {
        libc::memfd_create(
            c"brig".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    let fd = nix::errno::Errno::result(fd)?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    let mut copy: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
    io::copy(&mut file, &mut copy)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy.into())
}

fn execute(program: &OwnedFd) -> io::Result<()> {
    let strings = |all: Vec<std::ffi::OsString>| -> io::Result<Vec<CString>> {
        all.into_iter()
            .map(|s| Ok(CString::new(s.into_vec())?))
            .collect()
    };
    let arguments = strings(std::env::args_os().collect())?;
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let environment = strings(environment.collect())?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: the path and all strings are NUL-terminated, both arrays end in
    // NULL, and all of them live until the program is replaced.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(io::Error::last_os_error())
}
