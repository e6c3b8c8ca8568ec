//! The ends of children: those that this process started, and the containers'
//! processes that it adopts.
//!
//! A container's process may end before the runtime's pid file has told which
//! one it is; so while an [`Expecting`] lives, no end is forgotten.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::SystemTime;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 and the signal.
    pub status: u32,
    /// When it was seen.
    pub at: SystemTime,
}

#[derive(Default)]
struct Reaper {
    awaited: HashMap<u32, oneshot::Sender<Exit>>,
    /// Ends of processes that nobody has asked for yet.
    early: HashMap<u32, Exit>,
    expecting: usize,
}

thread_local! {
    static REAPER: RefCell<Reaper> = RefCell::default();
}

/// Ends are kept as long as one of these lives.
#[derive(Debug)]
pub struct Expecting(());

/// From here on, no end is forgotten.
pub fn expect() -> Expecting {
    REAPER.with_borrow_mut(|r| r.expecting += 1);
    Expecting(())
}

impl Drop for Expecting {
    fn drop(&mut self) {
        REAPER.with_borrow_mut(|r| {
            r.expecting -= 1;
            if r.expecting == 0 {
                r.early.clear();
            }
        });
    }
}

/// The end of a child. Call it before the next await after the child was
/// started, or while expecting.
pub fn end_of(pid: u32) -> oneshot::Receiver<Exit> {
    let (send, receive) = oneshot::channel();
    REAPER.with_borrow_mut(|r| match r.early.remove(&pid) {
        Some(exit) => {
            let _ = send.send(exit);
        }
        None => {
            r.awaited.insert(pid, send);
        }
    });
    receive
}

/// Takes ended children for ever.
///
/// # Errors
/// No handler for SIGCHLD can be had.
pub async fn run() -> std::io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    loop {
        take_all();
        if children.recv().await.is_none() {
            return Ok(());
        }
    }
}

fn take_all() {
    while let Some((pid, status)) = crate::sys::reap_one() {
        let exit = Exit {
            status: crate::sys::exit_code(status),
            at: SystemTime::now(),
        };
        REAPER.with_borrow_mut(|r| match r.awaited.remove(&pid) {
            Some(waiting) => {
                let _ = waiting.send(exit);
            }
            None if r.expecting > 0 => {
                r.early.insert(pid, exit);
            }
            None => {}
        });
    }
}
