//! The `freebsd` section of config.json (config-freebsd.md of specification
//! 1.3), which the oci-spec crate does not have.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The `freebsd` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FreeBsd {
    /// Devices beyond the devfs ruleset (config-freebsd.md, Devices).
    pub devices: Vec<Device>,
    /// Jail parameters (config-freebsd.md, Jail).
    pub jail: Option<Jail>,
}

/// Checks that the section's objects are objects: an array would be taken for
/// the values of their properties without the names.
///
/// # Errors
/// What is none, by its path.
pub(super) fn objects(section: &serde_json::Value) -> Result<()> {
    let check = |value: Option<&serde_json::Value>, path: &str| match value {
        Some(value) if !value.is_object() && !value.is_null() => {
            Err(Error::property(path, "must be an object"))
        }
        _ => Ok(()),
    };
    check(Some(section), "freebsd")?;
    let jail = section.get("jail");
    check(jail, "freebsd.jail")?;
    check(
        jail.and_then(|jail| jail.get("allow")),
        "freebsd.jail.allow",
    )?;
    let devices = section.get("devices").and_then(serde_json::Value::as_array);
    for (i, device) in devices.into_iter().flatten().enumerate() {
        check(Some(device), &format!("freebsd.devices[{i}]"))?;
    }
    Ok(())
}

/// A device to show in the container's /dev.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Path relative to /dev.
    pub path: String,
    /// File mode; absent leaves the host's.
    pub mode: Option<u32>,
}

/// The `freebsd.jail` object: values for jail(8) parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Jail {
    /// Name of the parent jail.
    pub parent: Option<String>,
    /// Whether hostname, domainname, hostuuid and hostid are the jail's own.
    pub host: Option<Sharing>,
    /// IPv4 as a whole.
    pub ip4: Option<Sharing>,
    /// The IPv4 addresses that the jail may use.
    pub ip4_addr: Option<Vec<String>>,
    /// IPv6 as a whole.
    pub ip6: Option<Sharing>,
    /// The IPv6 addresses that the jail may use.
    pub ip6_addr: Option<Vec<String>>,
    /// A network stack of the jail's own, or the parent's.
    pub vnet: Option<Sharing>,
    /// Interface that gets the addresses as aliases.
    pub interface: Option<String>,
    /// Interfaces to move into the jail's vnet.
    pub vnet_interfaces: Option<Vec<String>>,
    /// System V message queues.
    pub sysvmsg: Option<Sharing>,
    /// System V semaphores.
    pub sysvsem: Option<Sharing>,
    /// System V shared memory.
    pub sysvshm: Option<Sharing>,
    /// Which mounts the jail sees: 0 all, 1 those below its root, 2 its root.
    pub enforce_statfs: Option<u32>,
    /// Restrictions lifted.
    pub allow: Option<Allow>,
}

/// The three values of a parameter that is shared with the parent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// The jail's own.
    New,
    /// The parent's.
    Inherit,
    /// None at all.
    Disable,
}

/// The `freebsd.jail.allow` object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allow {
    /// allow.set_hostname
    pub set_hostname: Option<bool>,
    /// allow.raw_sockets
    pub raw_sockets: Option<bool>,
    /// allow.chflags
    pub chflags: Option<bool>,
    /// allow.mount and allow.mount.TYPE for each type listed
    pub mount: Option<Vec<String>>,
    /// allow.quotas
    pub quotas: Option<bool>,
    /// allow.socket_af
    pub socket_af: Option<bool>,
    /// allow.mlock
    pub mlock: Option<bool>,
    /// allow.reserved_ports
    pub reserved_ports: Option<bool>,
    /// allow.suser
    pub suser: Option<bool>,
    /// allow.sysvipc (in the mapping table of config-freebsd.md only)
    pub sysvipc: Option<bool>,
}
