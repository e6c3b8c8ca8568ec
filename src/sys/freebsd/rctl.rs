//! Resource limits (rctl_add_rule(2)).

use std::ffi::CString;
use std::io;

use nix::errno::Errno;

type Call =
    unsafe extern "C" fn(*const libc::c_char, usize, *mut libc::c_char, usize) -> libc::c_int;

unsafe extern "C" {
    // sys/rctl.h
    fn rctl_add_rule(
        input: *const libc::c_char,
        length: usize,
        out: *mut libc::c_char,
        size: usize,
    ) -> libc::c_int;
    fn rctl_remove_rule(
        input: *const libc::c_char,
        length: usize,
        out: *mut libc::c_char,
        size: usize,
    ) -> libc::c_int;
    fn rctl_get_rules(
        input: *const libc::c_char,
        length: usize,
        out: *mut libc::c_char,
        size: usize,
    ) -> libc::c_int;
    fn rctl_get_racct(
        input: *const libc::c_char,
        length: usize,
        out: *mut libc::c_char,
        size: usize,
    ) -> libc::c_int;
}

/// Adds a rule, as `jail:NAME:maxproc:deny=10`.
///
/// # Errors
/// ENOSYS when the kernel does not account resources, EPERM in a jail.
pub fn add(rule: &str) -> io::Result<()> {
    call(rctl_add_rule, rule, 0).map(drop)
}

/// Removes every rule that the filter fits.
///
/// # Errors
/// ESRCH when there is none.
pub fn remove(filter: &str) -> io::Result<()> {
    call(rctl_remove_rule, filter, 0).map(drop)
}

/// The use of resources by a subject, as `jail:NAME`: `name=value,…`.
///
/// # Errors
/// ESRCH when there is no such subject.
pub fn usage(subject: &str) -> io::Result<String> {
    call(rctl_get_racct, subject, 4096)
}

/// The rules that the filter fits, separated by commas.
///
/// # Errors
/// ERANGE when they do not fit 64 KiB.
pub fn rules(filter: &str) -> io::Result<String> {
    call(rctl_get_rules, filter, 65_536)
}

fn call(function: Call, input: &str, room: usize) -> io::Result<String> {
    let input = CString::new(input)?;
    let mut out = vec![0_u8; room];
    let (pointer, size) = match room {
        0 => (std::ptr::null_mut(), 0),
        _ => (out.as_mut_ptr().cast(), room),
    };
    // SAFETY: both buffers are live and their true lengths are passed.
    let result = unsafe {
        function(
            input.as_ptr(),
            input.as_bytes_with_nul().len(),
            pointer,
            size,
        )
    };
    Errno::result(result)?;
    let end = out.iter().position(|byte| *byte == 0).unwrap_or(out.len());
    Ok(String::from_utf8_lossy(&out[..end]).into_owned())
}
