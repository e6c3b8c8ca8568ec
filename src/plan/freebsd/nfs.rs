//! NFS: the server and its directory, and what only mount_nfs(8) could do.

use super::Step;
use crate::error::{Error, Result};

/// Where an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export<'a> {
    /// A name, or an address of IPv4 or IPv6, without brackets.
    pub host: &'a str,
    /// The directory on the server.
    pub path: &'a str,
}

/// Takes `HOST:/PATH` or `[ADDRESS]:/PATH` apart, as mount_nfs(8) does.
pub fn export(source: &str) -> Option<Export<'_>> {
    let (host, path) = match source.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        // An address of IPv6 without brackets has colons of its own.
        None => {
            let (host, path) = source.split_at(source.find(":/")?);
            (host, &path[1..])
        }
    };
    let is_whole = !host.is_empty() && path.starts_with('/');
    is_whole.then_some(Export { host, path })
}

/// Refuses a source that is no export.
pub(super) fn check_source(source: Option<&str>, at: &str) -> Result<()> {
    match source {
        None => Err(Error::property(at, "is missing; nfs needs it").hint(HINT)),
        Some(source) if export(source).is_none() => {
            Err(Error::property(at, format_args!("{source:?} is not an export")).hint(HINT))
        }
        Some(_) => Ok(()),
    }
}

const HINT: &str = "write it as: server:/directory";

/// An option of mount_nfs(8) that the kernel does not know, or none where it
/// is the kernel's.
///
/// # Errors
/// Versions 2 and 3, whose file handle the server's mountd would have to be
/// asked for, and what is not a port.
pub(super) fn translated(name: &str, value: Option<&str>, at: &str) -> Result<Option<Vec<String>>> {
    let version = match (name, value) {
        ("vers" | "nfsvers", Some(version)) => version,
        ("nfsv4", None) => "4",
        ("nfsv2" | "nfsv3" | "mntudp" | "udp", None) => "3",
        ("proto", Some("tcp" | "tcp6")) => return Ok(Some(Vec::new())),
        ("port", Some(port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            return Ok(Some(vec![format!("port={port}")]));
        }
        ("port", _) => return Err(Error::property(at, "needs a port from 1 to 65535")),
        _ => return Ok(None),
    };
    match version.split_once('.') {
        None if version == "4" => Ok(Some(Vec::new())),
        Some(("4", minor @ ("0" | "1" | "2"))) => Ok(Some(vec![format!("minorversion={minor}")])),
        _ => {
            let fault = Error::property(at, "only version 4 of NFS can be mounted");
            Err(fault.hint("leave it out, or mount the export on the host and bind it"))
        }
    }
}

/// The module of the client, where an export is mounted.
pub(super) fn module(mounts: &[Step]) -> Option<Step> {
    let is_nfs = |step: &Step| matches!(step, Step::FileSystem { fstype, .. } if fstype == "nfs");
    mounts.iter().any(is_nfs).then(|| Step::Module {
        name: MODULE.into(),
        parameter: None,
    })
}

/// The kernel module of the client, and the name of its feature.
pub const MODULE: &str = "nfscl";

#[cfg(test)]
mod tests {
    use super::{Export, export};

    #[test]
    fn an_export_is_a_host_and_a_directory() {
        for (source, host, path) in [
            ("nas:/export/home", "nas", "/export/home"),
            ("10.0.0.1:/", "10.0.0.1", "/"),
            ("[fd00::1]:/a:/b", "fd00::1", "/a:/b"),
            ("nas:/a:/b", "nas", "/a:/b"),
            ("fd00::1:/a", "fd00::1", "/a"),
        ] {
            assert_eq!(export(source), Some(Export { host, path }), "{source}");
        }
        for source in ["", "nas", ":/a", "nas:a", "/a", "[fd00::1]/a", "[]:/a"] {
            assert_eq!(export(source), None, "{source}");
        }
    }
}
