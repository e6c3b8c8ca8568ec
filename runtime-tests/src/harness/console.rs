//! Terminals: the socket that a runtime sends one over, and one for the
//! runtime itself.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::Outcome;
use super::test::patience;
use crate::sys;

/// The listening end of a console socket.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    /// Where it listens.
    pub path: PathBuf,
}

impl ConsoleSocket {
    /// Listens.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen(path: PathBuf) -> Outcome<ConsoleSocket> {
        let listener = UnixListener::bind(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(ConsoleSocket { listener, path })
    }

    /// The path as an argument.
    pub fn argument(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// Receives the terminal.
    ///
    /// # Errors
    /// None arrives in time.
    pub fn receive(&self) -> Outcome<Terminal> {
        ready(self.listener.as_fd(), patience())
            .ok_or("nothing connected to the console socket")?;
        let (stream, _) = self.listener.accept()?;
        ready(stream.as_fd(), patience()).ok_or("nothing came over the console socket")?;
        let mut bytes = [0; 4096];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(
            stream.as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                if fds.len() != 1 {
                    return Err(
                        format!("{} descriptors came over the console socket", fds.len()).into(),
                    );
                }
                return Ok(Terminal {
                    master: sys::received(fds[0]).into(),
                    seen: String::new(),
                });
            }
        }
        Err("a message without a descriptor came over the console socket".into())
    }
}

impl ConsoleSocket {
    /// Receives everything of one connection until it is closed: how many
    /// descriptors came with the first message and with the others, and the
    /// text.
    ///
    /// # Errors
    /// Nothing connects, or the connection stays open.
    pub fn receive_message(&self) -> Outcome<(usize, usize, String)> {
        ready(self.listener.as_fd(), patience()).ok_or("nothing connected to the socket")?;
        let (stream, _) = self.listener.accept()?;
        let (mut first, mut later, mut raw) = (None, 0, Vec::new());
        loop {
            ready(stream.as_fd(), patience()).ok_or("the connection stays open")?;
            let mut bytes = [0; 65536];
            let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
            let mut iov = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
            let mut fds = 0;
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(all) = control {
                    fds += all.into_iter().map(sys::received).count();
                }
            }
            let length = message.bytes;
            if length == 0 {
                let text = String::from_utf8_lossy(&raw).into_owned();
                return Ok((first.unwrap_or(0), later, text));
            }
            raw.extend(&bytes[..length]);
            match first {
                None => first = Some(fds),
                Some(_) => later += fds,
            }
        }
    }

    /// Whether another connection comes within a moment.
    pub fn is_asked_again(&self) -> bool {
        ready(self.listener.as_fd(), Duration::from_millis(300)).is_some()
    }
}

fn ready(fd: std::os::fd::BorrowedFd<'_>, limit: Duration) -> Option<()> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now()).as_millis() as u16;
        match poll(
            &mut [PollFd::new(fd, PollFlags::POLLIN)],
            PollTimeout::from(left),
        ) {
            Ok(n) if n > 0 => return Some(()),
            _ if Instant::now() >= end => return None,
            _ => {}
        }
    }
}

/// The master of a terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// What was read so far.
    pub seen: String,
}

impl Terminal {
    /// A new terminal of the host, and its other end for the runtime.
    ///
    /// # Errors
    /// Those of openpty(3).
    pub fn pair(rows: u16, columns: u16) -> Outcome<(Terminal, OwnedFd)> {
        let pty = openpty(None, None)?;
        for fd in [pty.master.as_fd(), pty.slave.as_fd()] {
            nix::fcntl::fcntl(
                fd,
                nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
            )?;
        }
        sys::set_window_size(pty.slave.as_fd(), rows, columns)?;
        Ok((
            Terminal {
                master: pty.master.into(),
                seen: String::new(),
            },
            pty.slave,
        ))
    }

    /// Types.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn type_in(&mut self, text: &str) -> Outcome {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Changes the size.
    ///
    /// # Errors
    /// Those of TIOCSWINSZ.
    pub fn resize(&self, rows: u16, columns: u16) -> Outcome {
        Ok(sys::set_window_size(self.master.as_fd(), rows, columns)?)
    }

    /// Reads until the text was seen.
    ///
    /// # Errors
    /// It does not come in time.
    pub fn await_text(&mut self, text: &str) -> Outcome {
        let end = Instant::now() + patience();
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            if ready(self.master.as_fd(), left).is_none() || !self.read_some() {
                return Err(format!("the terminal did not show {text:?}: {:?}", self.seen).into());
            }
        }
        Ok(())
    }

    /// Reads until the other end is closed.
    pub fn read_all(&mut self) -> &str {
        while ready(self.master.as_fd(), patience()).is_some() && self.read_some() {}
        &self.seen
    }

    fn read_some(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // Linux ends a terminal with EIO, FreeBSD with an end of file.
        match self.master.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
                true
            }
        }
    }
}

/// A path for a console socket that fits into a socket's address.
///
/// # Errors
/// The case's directory is too long for that.
pub fn socket_path(directory: &Path) -> Outcome<PathBuf> {
    let path = directory.join("tty.sock");
    if path.as_os_str().len() > 100 {
        return Err(format!("{} is too long for a socket; set TMPDIR", path.display()).into());
    }
    Ok(path)
}
