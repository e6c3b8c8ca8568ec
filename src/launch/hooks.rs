//! Hooks (config.md, POSIX-platform Hooks; runtime.md, Lifecycle).

use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::Hook;
use serde_json::json;

use crate::container::{State, Status};
use crate::error::{Context, Error, Result};
use crate::sys;

/// The longest part of a failed hook's own words in the error.
const LONGEST_OUTPUT: usize = 1024;

/// The state of runtime.md as hooks get it on standard input.
pub fn state(state: &State, status: Status, pid: Option<i32>) -> Vec<u8> {
    let mut object = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "status": status.to_string(),
        "bundle": state.bundle,
        "annotations": state.annotations,
    });
    if let Some(pid) = pid {
        object["pid"] = pid.into();
    }
    object.to_string().into_bytes()
}

/// Runs the hooks of one kind in order, until one fails.
///
/// # Errors
/// The hook by its place in the file, how it failed, and what it said.
pub fn run(
    kind: &str,
    hooks: &Option<Vec<Hook>>,
    state: &[u8],
    directory: Option<&Path>,
) -> Result<()> {
    for (i, hook) in hooks.iter().flatten().enumerate() {
        one(&format!("hooks.{kind}[{i}]"), hook, state, directory)?;
    }
    Ok(())
}

/// Runs one hook: in a process group of its own, which is killed when the
/// hook's time is over.
pub fn one(at: &str, hook: &Hook, state: &[u8], directory: Option<&Path>) -> Result<()> {
    let object = format!("{at} {}", hook.path().display());
    let said = sys::unix::process::memory_file().doing("make", "a file in memory")?;
    let said = std::fs::File::from(said);
    let out = |said: &std::fs::File| -> Result<Stdio> {
        Ok(Stdio::from(OwnedFd::from(
            said.try_clone().doing("run", &object)?,
        )))
    };
    let input = sys::unix::process::memory_file().doing("make", "a file in memory")?;
    let mut input = std::fs::File::from(input);
    input
        .write_all(state)
        .and_then(|()| input.rewind())
        .doing("write the state for", &object)?;

    let mut command = Command::new(hook.path());
    if let Some([name, rest @ ..]) = hook.args().as_deref() {
        command.arg0(name).args(rest);
    }
    command
        .env_clear()
        .stdin(Stdio::from(input))
        .stdout(out(&said)?)
        .stderr(out(&said)?);
    for entry in hook.env().iter().flatten() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(name, value);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.process_group(0);
    let child = command.spawn().doing("run", &object)?;
    judge(&object, hook, child.id() as i32, said)
}

/// Waits for a hook, which leads a process group, and tells how it ended.
fn judge(object: &str, hook: &Hook, pid: i32, said: std::fs::File) -> Result<()> {
    let pid = Pid::from_raw(pid);
    if let Some(seconds) = hook.timeout() {
        // A clock cannot count to more than some centuries.
        let limit = Duration::from_secs(seconds.clamp(0, u32::MAX.into()) as u64);
        let ended = sys::unix::process::wait_exit(pid.as_raw(), limit).doing("wait for", object)?;
        if !ended {
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = wait(pid);
            return Err(Error::new(
                "run",
                object,
                format_args!("still ran after {seconds} s and was killed"),
            ));
        }
    }
    let how = match wait(pid).doing("wait for", object)? {
        WaitStatus::Exited(_, 0) => return Ok(()),
        WaitStatus::Exited(_, code) => format!("exited with status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
        _ => "failed".into(),
    };
    let mut said = said;
    let mut words = Vec::new();
    let _ = said.rewind().and_then(|()| said.read_to_end(&mut words));
    words.truncate(LONGEST_OUTPUT);
    let words = String::from_utf8_lossy(&words).trim().replace('\n', " | ");
    let cause = if words.is_empty() {
        how
    } else {
        format!("{how}: {words}")
    };
    Err(Error::new("run", object, cause))
}

fn wait(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
