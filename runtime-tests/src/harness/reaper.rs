//! Takes the exit of every child, also of the containers' processes, which
//! become children of the suite as they become children of conmon.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};

use crate::harness::Outcome;

static ENDED: Mutex<Option<HashMap<i32, i32>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

fn ended() -> MutexGuard<'static, Option<HashMap<i32, i32>>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to reap, in a thread of its own.
pub fn start() {
    *ended() = Some(HashMap::new());
    std::thread::spawn(|| {
        loop {
            let (pid, code) = match waitpid(None, None) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Err(Errno::ECHILD) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                _ => continue,
            };
            if let Some(all) = ended().as_mut() {
                all.insert(pid.as_raw(), code);
            }
            CHANGED.notify_all();
        }
    });
}

/// Starts a child and returns its process id.
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: &mut Command) -> Outcome<i32> {
    // Held so that an old exit of the same number is gone before the new one
    // can be entered.
    let mut all = ended();
    let child = command.spawn()?;
    let pid = child.id() as i32;
    if let Some(all) = all.as_mut() {
        all.remove(&pid);
    }
    Ok(pid)
}

/// Waits until a child has ended: its status, or 128 and the signal. None when
/// the time is over.
pub fn wait(pid: i32, limit: Duration) -> Option<i32> {
    let end = Instant::now() + limit;
    let mut all = ended();
    loop {
        if let Some(code) = all.as_ref().and_then(|all| all.get(&pid)) {
            return Some(*code);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        all = CHANGED
            .wait_timeout(all, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}
