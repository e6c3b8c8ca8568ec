//! What mount_nfs(8) does before it calls nmount(2): the kernel looks up no
//! names, and waits for a server that is not there for as long as it takes.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::io_name;
use crate::plan::freebsd::export;
use crate::sys::freebsd::network::socket_address;

/// The port of NFS (services(5)).
const PORT: u16 = 2049;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The export for nmount(2): the server's address as the kernel has it, the
/// source, and the directory.
pub(super) struct Found {
    pub address: Vec<u8>,
    pub source: String,
    pub directory: String,
}

/// Looks for the server, and takes its first address that answers.
///
/// # Errors
/// In words, for a cause: there is none.
pub(super) fn find(source: &Path, options: &[String]) -> Result<Found, String> {
    let source = source.to_string_lossy();
    let Some(export) = export(&source) else {
        return Err("it is not server:/directory".into());
    };
    let port = options.iter().find_map(|o| o.strip_prefix("port="));
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(PORT);
    let all = (export.host, port).to_socket_addrs().map_err(|e| {
        let why = e
            .raw_os_error()
            .map_or_else(|| e.to_string(), |_| io_name(&e));
        format!("cannot find the server {}: {why}", export.host)
    })?;
    let mut fault = format!("the server {} has no address", export.host);
    for address in all {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => {
                return Ok(Found {
                    address: socket_address(address),
                    source: source.trim_end_matches('/').into(),
                    directory: export.path.into(),
                });
            }
            Err(e) => fault = unreachable(address, &e),
        }
    }
    Err(fault)
}

/// Whether the server serves what was mounted: nmount(2) succeeds for an export
/// that it keeps from this host, and every use of it then fails.
///
/// # Errors
/// In words, for a cause: it does not. A directory that may not be read is one
/// that is served.
pub(super) fn is_served(mounted: BorrowedFd<'_>) -> Result<(), String> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let first = Dir::openat(mounted, ".", flags, Mode::empty())
        .and_then(|mut directory| directory.iter().next().transpose().map(drop));
    match first {
        Err(Errno::EIO | Errno::ESTALE) => Err("the server does not export it to this host".into()),
        _ => Ok(()),
    }
}

fn unreachable(address: SocketAddr, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::TimedOut => "ETIMEDOUT".into(),
        _ => io_name(error),
    };
    format!("no server answers at {address}: {why}")
}
