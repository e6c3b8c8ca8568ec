//! Interfaces by ioctl (net/if.h, netinet/in_var.h, netinet6/in6_var.h).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// IFNAMSIZ.
const NAME: usize = 16;

/// struct ifreq: a name and a union of 16 bytes, here a jail id.
#[repr(C)]
struct JailRequest {
    name: [u8; NAME],
    jid: libc::c_int,
    rest: [u8; 12],
}

/// struct ifreq with an address, for SIOCDIFADDR.
#[repr(C)]
struct AddressRequest {
    name: [u8; NAME],
    address: libc::sockaddr_in,
}

/// struct in_aliasreq.
#[repr(C)]
struct Alias4 {
    name: [u8; NAME],
    address: libc::sockaddr_in,
    broadcast: libc::sockaddr_in,
    mask: libc::sockaddr_in,
    vhid: libc::c_int,
}

/// struct in6_aliasreq.
#[repr(C)]
struct Alias6 {
    name: [u8; NAME],
    address: libc::sockaddr_in6,
    destination: libc::sockaddr_in6,
    mask: libc::sockaddr_in6,
    flags: libc::c_int,
    lifetime: Lifetime6,
    vhid: libc::c_int,
}

/// struct in6_addrlifetime.
#[repr(C)]
struct Lifetime6 {
    expires: libc::time_t,
    preferred: libc::time_t,
    valid_seconds: u32,
    preferred_seconds: u32,
}

/// struct in6_ifreq: its union is as large as struct icmp6_ifstat.
#[repr(C)]
struct AddressRequest6 {
    name: [u8; NAME],
    address: libc::sockaddr_in6,
    rest: [u8; 272 - 28],
}

const _: () = assert!(size_of::<libc::sockaddr_in>() == 16);
const _: () = assert!(size_of::<libc::sockaddr_in6>() == 28);
const _: () = assert!(size_of::<JailRequest>() == 32);
const _: () = assert!(size_of::<AddressRequest>() == 32);
const _: () = assert!(size_of::<Alias4>() == 68);
const _: () = assert!(size_of::<Alias6>() == 136);
const _: () = assert!(size_of::<AddressRequest6>() == 288);

/// An ioctl number of group 'i': IOC_IN, with IOC_OUT for `both`.
const fn number(number: u64, size: usize, both: bool) -> libc::c_ulong {
    let direction = if both { 0xc000_0000 } else { 0x8000_0000 };
    direction | ((size as u64 & 0x1fff) << 16) | ((b'i' as u64) << 8) | number
}

/// Moves an interface of this network stack into a jail's (SIOCSIFVNET).
///
/// # Errors
/// ENXIO without such an interface, EEXIST when the jail has one of the name.
pub fn give(interface: &str, jid: i32) -> io::Result<()> {
    jail_request(90, interface, jid)
}

/// Takes an interface back from a jail's network stack (SIOCSIFRVNET).
///
/// # Errors
/// ENXIO when the jail does not have it.
pub fn take_back(interface: &str, jid: i32) -> io::Result<()> {
    jail_request(91, interface, jid)
}

fn jail_request(code: u64, interface: &str, jid: i32) -> io::Result<()> {
    let mut request = JailRequest {
        name: name(interface)?,
        jid,
        rest: [0; 12],
    };
    call(
        AddressFamily::Unix,
        number(code, 32, true),
        &raw mut request,
    )
}

/// Adds an address as a host's own to an interface (SIOCAIFADDR).
///
/// # Errors
/// ENXIO without such an interface.
pub fn add_address(interface: &str, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let mut request = Alias4 {
                name: name(interface)?,
                address: socket4(address),
                broadcast: socket4(address),
                mask: socket4(Ipv4Addr::BROADCAST),
                vhid: 0,
            };
            call(
                AddressFamily::Inet,
                number(43, size_of::<Alias4>(), false),
                &raw mut request,
            )
        }
        IpAddr::V6(address) => {
            let mut request = Alias6 {
                name: name(interface)?,
                address: socket6(address),
                destination: absent6(),
                mask: socket6(Ipv6Addr::from([0xff_u8; 16])),
                flags: 0,
                lifetime: Lifetime6 {
                    expires: 0,
                    preferred: 0,
                    // ND6_INFINITE_LIFETIME
                    valid_seconds: u32::MAX,
                    preferred_seconds: u32::MAX,
                },
                vhid: 0,
            };
            call(
                AddressFamily::Inet6,
                number(27, size_of::<Alias6>(), false),
                &raw mut request,
            )
        }
    }
}

/// Removes an address from an interface (SIOCDIFADDR).
///
/// # Errors
/// EADDRNOTAVAIL when it does not have it, ENXIO without such an interface.
pub fn remove_address(interface: &str, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let mut request = AddressRequest {
                name: name(interface)?,
                address: socket4(address),
            };
            call(AddressFamily::Inet, number(25, 32, false), &raw mut request)
        }
        IpAddr::V6(address) => {
            let mut request = AddressRequest6 {
                name: name(interface)?,
                address: socket6(address),
                rest: [0; 272 - 28],
            };
            let size = size_of::<AddressRequest6>();
            call(
                AddressFamily::Inet6,
                number(25, size, false),
                &raw mut request,
            )
        }
    }
}

/// The interfaces of this network stack that have the address.
///
/// # Errors
/// Those of getifaddrs(3).
pub fn holders(address: IpAddr) -> io::Result<Vec<String>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is live; on success it receives a list.
    Errno::result(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut found = Vec::new();
    let mut at = first;
    while !at.is_null() {
        // SAFETY: getifaddrs made a list whose entries live until it is freed.
        let entry = unsafe { &*at };
        if !entry.ifa_addr.is_null() {
            // SAFETY: every address has a family, and an address of a family
            // is as long as that family's structure.
            let own = unsafe {
                match i32::from((*entry.ifa_addr).sa_family) {
                    libc::AF_INET => {
                        let own = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        Some(IpAddr::from(own.sin_addr.s_addr.to_ne_bytes()))
                    }
                    libc::AF_INET6 => {
                        let own = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        Some(IpAddr::from(own.sin6_addr.s6_addr))
                    }
                    _ => None,
                }
            };
            if own == Some(address) {
                // SAFETY: the name is NUL-terminated and lives with the list.
                let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
                found.push(name.to_string_lossy().into_owned());
            }
        }
        at = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and nothing points into it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// An address and its port as the kernel has them (sockaddr_in, sockaddr_in6).
pub fn socket_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be();
    match address {
        SocketAddr::V4(v4) => bytes(&libc::sockaddr_in {
            sin_port: port,
            ..socket4(*v4.ip())
        }),
        SocketAddr::V6(v6) => bytes(&libc::sockaddr_in6 {
            sin6_port: port,
            sin6_scope_id: v6.scope_id(),
            ..socket6(*v6.ip())
        }),
    }
}

fn bytes<T>(address: &T) -> Vec<u8> {
    // SAFETY: both are made of numbers and byte arrays without padding (their
    // sizes are those of netinet/in.h), so every byte is written.
    let bytes = unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(address).cast::<u8>(), size_of::<T>())
    };
    bytes.to_vec()
}

fn name(interface: &str) -> io::Result<[u8; NAME]> {
    let mut name = [0; NAME];
    let bytes = interface.as_bytes();
    if bytes.len() >= NAME {
        return Err(Errno::ENAMETOOLONG.into());
    }
    name[..bytes.len()].copy_from_slice(bytes);
    Ok(name)
}

fn socket4(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_len: size_of::<libc::sockaddr_in>() as u8,
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    }
}

fn socket6(address: Ipv6Addr) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_len: size_of::<libc::sockaddr_in6>() as u8,
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr {
            s6_addr: address.octets(),
        },
        sin6_scope_id: 0,
    }
}

/// An address of length 0, which means none.
fn absent6() -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_len: 0,
        sin6_family: 0,
        ..socket6(Ipv6Addr::UNSPECIFIED)
    }
}

fn call<T>(family: AddressFamily, number: libc::c_ulong, request: *mut T) -> io::Result<()> {
    let fd: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the pointer is to a live request of the size that is part of the
    // number, which is all the kernel reads and writes.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number, request) })?;
    Ok(())
}
