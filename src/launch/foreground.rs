//! The foreground of run and exec: forwards signals, carries the terminal, and
//! returns the program's status.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};
use signal_hook::consts as sig;
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::error::{Context, Result};
use crate::sys::unix::{socket, terminal};

/// Signals that go to the program.
const FORWARDED: [i32; 9] = [
    sig::SIGHUP,
    sig::SIGINT,
    sig::SIGQUIT,
    sig::SIGTERM,
    sig::SIGUSR1,
    sig::SIGUSR2,
    sig::SIGALRM,
    sig::SIGTSTP,
    sig::SIGCONT,
];

/// Two ends of the socket that the terminal comes over; none when another
/// program receives it.
///
/// # Errors
/// Those of socketpair(2).
pub fn console_pair(elsewhere: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if elsewhere {
        return Ok((None, None));
    }
    let (ours, theirs) = UnixStream::pair().doing("make", "a socket pair")?;
    Ok((Some(ours.into()), Some(theirs.into())))
}

/// Receives the terminal that the child sent; None when it sent none.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive_terminal(socket: OwnedFd) -> Result<Option<OwnedFd>> {
    socket::receive_descriptor(socket.as_fd()).doing("receive", "the terminal")
}

/// The signals of this process, from before the program exists, so that none
/// is lost.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    handle: Handle,
}

impl Signals {
    /// Begins to catch.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn catch() -> Result<Signals> {
        let (reader, writer) = UnixStream::pair().doing("make", "a socket pair")?;
        let mut all = FORWARDED.to_vec();
        all.extend([sig::SIGCHLD, sig::SIGWINCH]);
        let delivery = SignalDelivery::with_pipe(reader, writer, SignalOnly, all);
        let delivery = delivery.doing("catch", "signals")?;
        let handle = delivery.handle();
        Ok(Signals { delivery, handle })
    }
}

/// Our own terminal in raw mode, and back again when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Raw> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Waits for the program and returns its status: its own, or 128 and the
/// signal that killed it.
///
/// # Errors
/// Those of poll(2).
pub fn wait(pid: i32, master: Option<OwnedFd>, mut signals: Signals) -> Result<u8> {
    let stdin = std::io::stdin();
    let _raw = master.as_ref().and_then(|_| Raw::enter());
    if let Some(master) = &master {
        copy_size(master.as_fd());
    }
    // The program may have ended before its signal was caught.
    let mut status = reap(pid);
    let mut input_open = master.is_some();
    let mut output_open = master.is_some();
    while status.is_none() {
        let (mut from_signals, mut from_stdin, mut from_master) = (false, false, false);
        {
            let pipe = signals.delivery.get_read();
            let mut fds = vec![PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            let mut sources = vec![&mut from_signals];
            if let Some(master) = &master {
                if input_open {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                    sources.push(&mut from_stdin);
                }
                if output_open {
                    fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
                    sources.push(&mut from_master);
                }
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).doing("wait for", "the program"),
            }
            for (fd, ready) in fds.iter().zip(sources) {
                *ready = fd.any().unwrap_or(false);
            }
        }
        if let Some(master) = &master {
            if from_stdin {
                input_open = copy(stdin.as_fd(), master.as_fd());
                if !input_open {
                    // A terminal's end of file is a character of its own.
                    let _ = write(master, &[4]);
                }
            }
            if from_master {
                output_open = copy(master.as_fd(), std::io::stdout().as_fd());
            }
        }
        let arrived: Vec<i32> = signals.delivery.pending().collect();
        for signal in arrived {
            match signal {
                sig::SIGCHLD => status = status.or_else(|| reap(pid)),
                sig::SIGWINCH => master.iter().for_each(|master| copy_size(master.as_fd())),
                signal => forward(pid, signal),
            }
        }
    }
    if let Some(master) = &master {
        drain(master);
    }
    signals.handle.close();
    Ok(status.unwrap_or(255))
}

fn forward(pid: i32, signal: i32) {
    if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Takes the exit of every child that has ended; the program's is returned.
fn reap(pid: i32) -> Option<u8> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(child, code)) if child.as_raw() == pid => {
                found = Some(code as u8)
            }
            Ok(WaitStatus::Signaled(child, signal, _)) if child.as_raw() == pid => {
                found = Some(128 + signal as u8);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return found,
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return found,
        }
    }
}

/// Gives the program's terminal the size of ours.
pub fn copy_size(master: BorrowedFd<'_>) {
    if let Ok(size) = terminal::size(std::io::stdin().as_fd()) {
        let _ = terminal::resize(master, size);
    }
}

/// Copies what there is now; false at the end of the source.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 * 1024];
    let length = match read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(Errno::EINTR | Errno::EAGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(
                    &mut [PollFd::new(to, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                );
            }
            Err(_) => return false,
        }
    }
    true
}

/// Carries out what the program wrote before it ended.
fn drain(master: &OwnedFd) {
    debug_assert!(master.as_raw_fd() > 2);
    loop {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let ready = matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0);
        let data = fds[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if !ready || !data || !copy(master.as_fd(), std::io::stdout().as_fd()) {
            return;
        }
    }
}
