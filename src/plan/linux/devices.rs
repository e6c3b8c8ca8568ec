//! Device nodes (config-linux.md, Devices and Default Devices).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use super::Step;
use crate::error::{Error, Result};

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it appears, absolute.
    pub path: PathBuf,
    /// 'c', 'b' or 'p'.
    pub kind: char,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bind the host's node instead, where mknod(2) is not allowed.
    pub bound: bool,
}

/// The devices that every container has.
const DEFAULT: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links that programs expect in /dev.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn plan(linux: &Linux, bound: bool) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let given: Vec<&LinuxDevice> = linux.devices().iter().flatten().collect();
    for (path, major, minor) in DEFAULT {
        if given.iter().any(|device| device.path() == Path::new(path)) {
            continue;
        }
        let path = PathBuf::from(path);
        steps.push(Step::Device(Node {
            path,
            kind: 'c',
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            bound,
        }));
    }
    for (i, device) in given.iter().enumerate() {
        steps.push(Step::Device(node(i, device, bound)?));
    }
    for (path, target) in LINKS {
        steps.push(Step::Link {
            path: path.into(),
            target: target.into(),
        });
    }
    Ok(steps)
}

fn node(i: usize, device: &LinuxDevice, bound: bool) -> Result<Node> {
    let at = format!("linux.devices[{i}]");
    if !device.path().is_absolute() {
        let fault = format!("\"{}\" is not an absolute path", device.path().display());
        return Err(Error::property(format!("{at}.path"), fault));
    }
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::P => 'p',
        LinuxDeviceType::A => {
            return Err(Error::property(
                format!("{at}.type"),
                "must be c, b, u or p",
            ));
        }
    };
    let number = |name: &str, value: i64| {
        let fault = || Error::property(format!("{at}.{name}"), format_args!("{value} is below 0"));
        u64::try_from(value).map_err(|_| fault())
    };
    let (major, minor) = match kind {
        'p' => (0, 0),
        _ => (
            number("major", device.major())?,
            number("minor", device.minor())?,
        ),
    };
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    Ok(Node {
        path: device.path().clone(),
        kind,
        major,
        minor,
        mode,
        uid,
        gid,
        bound: bound && kind != 'p',
    })
}
