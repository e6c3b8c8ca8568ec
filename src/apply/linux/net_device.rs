//! Network devices that a container takes from the host (config-linux.md,
//! Network Devices), by rtnetlink(7).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use crate::error::{Context, Error, Result, errno_name};

/// Sizes of struct nlmsghdr, ifinfomsg and ifaddrmsg.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// A device that was moved, and how it is found again.
#[derive(Debug)]
pub struct Moved {
    /// Its name on the host.
    name: String,
    /// Its number inside.
    index: i32,
    /// Its addresses.
    addresses: Vec<Address>,
    /// Whether it was up on the host.
    up: bool,
}

/// An address as the kernel told it: struct ifaddrmsg, and attributes.
#[derive(Debug, Clone)]
struct Address {
    fixed: [u8; ADDRESS],
    attributes: Vec<u8>,
}

/// Moves a device of this network namespace to another one, where it keeps its
/// permanent global addresses and is up. `name` with a `%d` in it is completed
/// by the kernel.
///
/// # Errors
/// There is no such device, it cannot be moved, or the name is taken; then the
/// device is where it was.
pub fn give(device: &str, name: &str, namespace: BorrowedFd<'_>) -> Result<Moved> {
    let at = || format!("linux.netDevices.{device}");
    let mut here = Netlink::open().doing("reach", "the network devices")?;
    let (index, up) = here.find(device).map_err(|errno| match errno {
        Errno::ENODEV => Error::property(at(), "is not a network device of this host"),
        errno => Error::new("look at", at(), errno_name(errno)),
    })?;
    let addresses = here.addresses(index).doing("read the addresses of", at())?;
    let mut there = within(namespace, Netlink::open)
        .and_then(|opened| opened.doing("reach", "the container's network devices"))?;
    let before = there.indices().doing("list", "the container's devices")?;
    let result = here.relocate(index, name, namespace.as_raw_fd());
    let after = there.indices().doing("list", "the container's devices")?;
    // The kernel moves first and then renames, so a failure may be either's.
    let new = after.iter().find(|index| !before.contains(index));
    let moved = new.map(|index| Moved {
        name: device.to_owned(),
        index: *index,
        addresses,
        up,
    });
    let result = match (result, &moved) {
        (Ok(()), Some(moved)) => there.restore(moved.index, &moved.addresses, true),
        (Ok(()), None) => Err(Errno::ENODEV),
        (Err(errno), _) => Err(errno),
    };
    let errno = match (result, moved) {
        (Ok(()), Some(moved)) => return Ok(moved),
        (result, moved) => {
            moved.inspect(|moved| moved.take_back(namespace));
            result.err().unwrap_or(Errno::ENODEV)
        }
    };
    Err(match errno {
        Errno::EEXIST => {
            let cause = format!("{name:?} is the name of a device of the container already");
            Error::property(format!("{}.name", at()), cause)
                .hint("choose another name, or one with %d in it")
        }
        Errno::EINVAL => Error::new("move", at(), "EINVAL")
            .hint("such a device cannot leave its network namespace"),
        errno => Error::new("move", at(), errno_name(errno)),
    })
}

impl Moved {
    /// Moves it to this network namespace again, because create failed.
    pub fn take_back(&self, namespace: BorrowedFd<'_>) {
        let Ok(here) = File::open("/proc/self/ns/net") else {
            return;
        };
        let Ok(Ok(mut there)) = within(namespace, Netlink::open) else {
            return;
        };
        let moved = there.relocate(self.index, &self.name, here.as_raw_fd());
        if moved.is_ok()
            && let Ok(mut here) = Netlink::open()
            && let Ok((index, _)) = here.find(&self.name)
        {
            let _ = here.restore(index, &self.addresses, self.up);
        }
    }
}

/// Opens the network namespace of a process, or of a file that stands for one.
///
/// # Errors
/// It is gone.
pub fn namespace(pid: i32, joined: Option<&Path>) -> Result<OwnedFd> {
    let path = match joined {
        Some(path) => path.to_owned(),
        None => format!("/proc/{pid}/ns/net").into(),
    };
    let file = File::open(&path).doing("open namespace", path.display())?;
    Ok(file.into())
}

/// Does something in another network namespace. A socket belongs to the one it
/// is made in for good.
fn within<T>(namespace: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T> {
    let own = File::open("/proc/self/ns/net").doing("open", "brig's network namespace")?;
    setns(namespace, CloneFlags::CLONE_NEWNET).doing("join", "the network namespace")?;
    let done = act();
    setns(own, CloneFlags::CLONE_NEWNET).doing("return to", "brig's network namespace")?;
    Ok(done)
}

struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

type Answer = std::result::Result<Vec<(u16, Vec<u8>)>, Errno>;

impl Netlink {
    fn open() -> io::Result<Netlink> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and returns what it is answered with.
    fn ask(&mut self, kind: u16, flags: i32, payload: &[u8]) -> Answer {
        self.sequence += 1;
        let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(((HEADER + payload.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags as u16).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(payload);
        let fd = self.socket.as_fd().as_raw_fd();
        send(fd, &message, MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match recv(fd, &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let mut rest = &buffer[..length];
            while rest.len() >= HEADER {
                let size = number(rest, 0) as usize;
                if size < HEADER || size > rest.len() {
                    return Err(Errno::EBADMSG);
                }
                let (message, after) = rest.split_at(aligned(size).min(rest.len()));
                rest = after;
                let kind = u16::from_ne_bytes([message[4], message[5]]);
                if number(message, 8) != self.sequence {
                    continue;
                }
                let body = &message[HEADER..size];
                match i32::from(kind) {
                    libc::NLMSG_ERROR if body.len() >= 4 => {
                        return match number(body, 0) as i32 {
                            0 => Ok(answers),
                            error => Err(Errno::from_raw(-error)),
                        };
                    }
                    libc::NLMSG_DONE => return Ok(answers),
                    _ => answers.push((kind, body.to_vec())),
                }
            }
        }
    }

    /// The number of the device with a name, and whether it is up.
    fn find(&mut self, name: &str) -> std::result::Result<(i32, bool), Errno> {
        let mut payload = vec![0; LINK];
        attribute(&mut payload, libc::IFLA_IFNAME, &terminated(name));
        let answers = self.ask(libc::RTM_GETLINK, 0, &payload)?;
        let link = answers.iter().find(|(_, body)| body.len() >= LINK);
        let (_, body) = link.ok_or(Errno::ENODEV)?;
        let up = number(body, 8) & libc::IFF_UP as u32 != 0;
        Ok((number(body, 4) as i32, up))
    }

    /// The numbers of all devices.
    fn indices(&mut self) -> std::result::Result<Vec<i32>, Errno> {
        let answers = self.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK])?;
        let links = answers.iter().filter(|(_, body)| body.len() >= LINK);
        Ok(links.map(|(_, body)| number(body, 4) as i32).collect())
    }

    /// The permanent addresses of a device with global scope, of any family.
    fn addresses(&mut self, index: i32) -> std::result::Result<Vec<Address>, Errno> {
        let answers = self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS])?;
        let mut found = Vec::new();
        for (_, body) in answers {
            let Some((fixed, rest)) = body.split_first_chunk::<ADDRESS>() else {
                continue;
            };
            if number(fixed, 4) as i32 != index || fixed[3] != libc::RT_SCOPE_UNIVERSE {
                continue;
            }
            let mut flags = u32::from(fixed[2]);
            let mut attributes = Vec::new();
            for (kind, value) in Attributes(rest) {
                match kind {
                    libc::IFA_FLAGS if value.len() >= 4 => {
                        flags = number(value, 0);
                        attribute(&mut attributes, kind, value);
                    }
                    // The label has the old name in it; the lifetimes are those
                    // of a permanent address.
                    libc::IFA_LABEL | libc::IFA_CACHEINFO => {}
                    _ => attribute(&mut attributes, kind, value),
                }
            }
            if flags & libc::IFA_F_PERMANENT != 0 {
                found.push(Address {
                    fixed: *fixed,
                    attributes,
                });
            }
        }
        Ok(found)
    }

    /// Moves a device to another network namespace.
    fn relocate(
        &mut self,
        index: i32,
        name: &str,
        namespace: i32,
    ) -> std::result::Result<(), Errno> {
        let mut payload = link(index, 0);
        attribute(
            &mut payload,
            libc::IFLA_NET_NS_FD,
            &(namespace as u32).to_ne_bytes(),
        );
        attribute(&mut payload, libc::IFLA_IFNAME, &terminated(name));
        self.ask(libc::RTM_NEWLINK, 0, &payload).map(drop)
    }

    /// Gives a device its addresses, and brings it up.
    fn restore(
        &mut self,
        index: i32,
        addresses: &[Address],
        up: bool,
    ) -> std::result::Result<(), Errno> {
        for address in addresses {
            let mut payload = address.fixed.to_vec();
            payload[4..8].copy_from_slice(&index.to_ne_bytes());
            payload.extend(&address.attributes);
            let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
            self.ask(libc::RTM_NEWADDR, flags, &payload)?;
        }
        if !up {
            return Ok(());
        }
        let up = link(index, libc::IFF_UP as u32);
        self.ask(libc::RTM_NEWLINK, 0, &up).map(drop)
    }
}

/// struct ifinfomsg, with flags that are to be set.
fn link(index: i32, flags: u32) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend(index.to_ne_bytes());
    payload.extend(flags.to_ne_bytes());
    payload.extend(flags.to_ne_bytes());
    payload
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(four)
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Appends a struct rtattr and its value.
fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    payload.resize(aligned(payload.len()), 0);
    payload.extend(((4 + value.len()) as u16).to_ne_bytes());
    payload.extend(kind.to_ne_bytes());
    payload.extend(value);
    payload.resize(aligned(payload.len()), 0);
}

/// Goes through a list of struct rtattr.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let size = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = self.0.get(4..size)?;
        self.0 = self.0.get(aligned(size)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut payload = Vec::new();
        attribute(&mut payload, 3, b"eth0\0");
        attribute(&mut payload, 28, &7_u32.to_ne_bytes());
        assert_eq!(payload.len(), 12 + 8);
        let read: Vec<_> = Attributes(&payload).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (28, &7_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn a_truncated_list_ends() {
        let mut payload = Vec::new();
        attribute(&mut payload, 3, b"eth0\0");
        assert_eq!(Attributes(&payload[..8]).count(), 0);
        assert_eq!(Attributes(&[4, 0, 1]).count(), 0);
        assert_eq!(Attributes(&[2, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
    }
}
