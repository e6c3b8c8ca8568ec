//! What brig and the container's process say to each other. There is no
//! time-out and no polling: the death of either side is an end of file for the
//! other.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container::Directory;
use crate::error::{Context, Error, Result};
use crate::sys::unix::socket;

/// The socket in a container's directory that start connects to.
const START: &str = "start";

/// One message of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Parent: enter the container. The number is the process's own as the
    /// host sees it.
    Enter(i32),
    /// Parent: go on.
    Go,
    /// Child: the mounts are made and the hooks of create are due.
    Mounted,
    /// Child: this path of the root file system did not exist and was made.
    Created(PathBuf),
    /// Child: all is done but the program itself.
    Ready,
    /// Child: the next thing is exec; an end of file is its success.
    Executing,
    /// Child: it failed.
    Failed(Error),
}

/// One end of the handshake: a line of JSON for each message. Sockets that
/// keep message boundaries differ between systems; a line is a line.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// What arrived and was not yet taken.
    pending: RefCell<Vec<u8>>,
}

impl Channel {
    /// Speaks over a connected stream socket.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel {
            socket,
            pending: RefCell::default(),
        }
    }

    /// The socket's number.
    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&self, message: &Message) -> Result<()> {
        let mut line =
            serde_json::to_vec(message).map_err(|e| Error::new("send", "a message", e))?;
        line.push(b'\n');
        socket::send(self.socket.as_fd(), &line).doing("reach", "the other side of the handshake")
    }

    /// Receives a message; None when the other side is gone.
    ///
    /// # Errors
    /// What arrived is not a message.
    pub fn receive(&self) -> Result<Option<Message>> {
        let mut pending = self.pending.borrow_mut();
        loop {
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let message = serde_json::from_slice(&line);
                return message
                    .map(Some)
                    .map_err(|e| Error::new("understand", "the container's process", e));
            }
            let mut buffer = [0; 4096];
            match socket::receive(self.socket.as_fd(), &mut buffer) {
                // A part of a line is the word of one that died over it.
                Ok(0) => return Ok(None),
                Ok(length) => pending.extend_from_slice(&buffer[..length]),
                // A peer that died with a message of ours unread resets.
                Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
                Err(e) => return Err(e).doing("receive", "from the container's process"),
            }
        }
    }
}

/// Listens for start in the container's directory.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(directory: &Directory) -> Result<OwnedFd> {
    socket::listen_in(directory.path(), START)
        .doing("listen on", directory.path().join(START).display())
}

/// Whether the container's process still waits for start: exec closes the
/// listening socket.
pub fn is_waiting(directory: &Directory) -> bool {
    socket::connect_in(directory.path(), START).is_ok()
}

/// Start's side: tells the process to run its program and waits until it does.
///
/// # Errors
/// The process is not waiting, a startContainer hook failed, or exec did.
pub fn start(directory: &Directory) -> Result<()> {
    let socket = match socket::connect_in(directory.path(), START) {
        Ok(socket) => socket,
        Err(e) => return Err(e).doing("reach the process of container", directory.id()),
    };
    let channel = Channel::new(socket);
    channel.send(&Message::Go)?;
    let mut executing = false;
    loop {
        match channel.receive()? {
            Some(Message::Executing) => executing = true,
            Some(Message::Failed(error)) => return Err(error),
            None if executing => return Ok(()),
            None => {
                return Err(Error::text(
                    "the container's process ended before it ran its program",
                ));
            }
            Some(other) => return Err(Error::text(format_args!("unexpected message {other:?}"))),
        }
    }
}

/// The process's side: waits for a start that means it. A connection that
/// closes without a word was a status query, or a start that was killed.
///
/// # Errors
/// The listening socket is broken.
pub fn await_start(listener: BorrowedFd<'_>) -> Result<Channel> {
    loop {
        let socket = match socket::accept(listener) {
            Ok(socket) => socket,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ECONNABORTED)) => {
                continue;
            }
            Err(e) => return Err(e).doing("wait for", "start"),
        };
        let channel = Channel::new(socket);
        if let Ok(Some(Message::Go)) = channel.receive() {
            return Ok(channel);
        }
    }
}
