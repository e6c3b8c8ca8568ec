//! Unix sockets: named beneath a directory of any length, and carrying
//! descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, recvmsg, sendmsg, socket, socketpair,
};

/// A connected pair; both close on exec.
///
/// # Errors
/// Those of socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        flags,
    )?)
}

/// Listens on the socket `name` in `directory`, whatever that path's length.
///
/// # Errors
/// Those of bind(2) and listen(2).
pub fn listen_in(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    with_address(directory, name, |address, directory| {
        named(&fd, address, directory, true)
    })?;
    nix::sys::socket::listen(&fd, Backlog::new(8)?)?;
    Ok(fd)
}

/// Connects to the socket `name` in `directory`.
///
/// # Errors
/// ECONNREFUSED when nobody listens, ENOENT when it does not exist.
pub fn connect_in(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    with_address(directory, name, |address, directory| {
        named(&fd, address, directory, false)
    })?;
    Ok(fd)
}

/// Waits for a connection; it closes on exec.
///
/// # Errors
/// Those of accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 just returned this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn with_address<T>(
    directory: &Path,
    name: &str,
    call: impl FnOnce(UnixAddr, &OwnedFd) -> io::Result<T>,
) -> io::Result<T> {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    // A socket's address holds about 100 bytes, and a container's directory
    // may be longer; on Linux procfs gives it a short name.
    let path = if cfg!(target_os = "linux") {
        format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())
    } else {
        name.to_owned()
    };
    call(UnixAddr::new(path.as_str())?, &directory)
}

#[cfg(target_os = "linux")]
fn named(fd: &OwnedFd, address: UnixAddr, _: &OwnedFd, bind: bool) -> io::Result<()> {
    if bind {
        nix::sys::socket::bind(fd.as_raw_fd(), &address)?;
    } else {
        nix::sys::socket::connect(fd.as_raw_fd(), &address)?;
    }
    Ok(())
}

#[cfg(target_os = "freebsd")]
fn named(fd: &OwnedFd, address: UnixAddr, directory: &OwnedFd, bind: bool) -> io::Result<()> {
    use nix::sys::socket::SockaddrLike;
    // bindat(2) and connectat(2), which the libc crate lacks.
    unsafe extern "C" {
        fn bindat(
            directory: libc::c_int,
            socket: libc::c_int,
            address: *const libc::sockaddr,
            length: libc::socklen_t,
        ) -> libc::c_int;
        fn connectat(
            directory: libc::c_int,
            socket: libc::c_int,
            address: *const libc::sockaddr,
            length: libc::socklen_t,
        ) -> libc::c_int;
    }
    let (at, raw) = (directory.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: the pointer and the length are those of a live socket address.
    let result = unsafe {
        if bind {
            bindat(at, raw, address.as_ptr().cast(), address.len())
        } else {
            connectat(at, raw, address.as_ptr().cast(), address.len())
        }
    };
    Errno::result(result)?;
    Ok(())
}

/// Connects to a stream socket by its path, as a console socket is given.
///
/// # Errors
/// Those of connect(2).
pub fn connect_stream(path: &Path) -> io::Result<OwnedFd> {
    Ok(std::os::unix::net::UnixStream::connect(path)?.into())
}

/// Sends all of it.
///
/// write(2) and read(2) rather than the calls of sockets: what is in place of
/// a contained process may be under a filter that allows no others.
///
/// # Errors
/// Those of write(2).
pub fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(socket, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Receives what there is, at most `buffer`'s length; 0 is the peer's end.
///
/// # Errors
/// Those of read(2).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match nix::unistd::read(socket, buffer) {
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends a descriptor with a message of at least one byte.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send_descriptor(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fd: &impl AsRawFd,
) -> io::Result<()> {
    let iov = [io::IoSlice::new(message)];
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &iov,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives a descriptor; None when the peer closed without sending one.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive_descriptor(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0; 4096];
    let mut iov = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &mut iov,
        Some(&mut space),
        flags,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel just installed this descriptor for the
            // message, and nothing else owns it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
    Ok(None)
}
