//! Addresses and interfaces.

use std::net::IpAddr;

use super::jail;
use crate::apply::Outcome;
use crate::error::{Context, Error, Result, io_name};
use crate::sys::freebsd::{in_jail, network as sys};

/// An address that is there already is someone else's, and would be taken
/// from them at delete.
pub(super) fn foresee_alias(interface: &str, address: IpAddr) -> Result<()> {
    let holders = sys::holders(address).doing("look for", address)?;
    match holders.first() {
        None => Ok(()),
        Some(holder) => {
            let object = format!("{address} to {interface}");
            Err(Error::new(
                "add the address",
                object,
                format_args!("{holder} has it already"),
            )
            .hint("leave freebsd.jail.interface out to use an address that is there"))
        }
    }
}

pub(super) fn add_alias(interface: &str, address: IpAddr) -> Result<Outcome> {
    let object = format!("{address} to {interface}");
    match sys::add_address(interface, address) {
        Ok(()) => Ok(Outcome::Done),
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => Err(Error::new(
            "add the address",
            object,
            format_args!("there is no interface {interface}"),
        )),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            let fault = Error::new("add the address", object, "EPERM");
            Err(fault.hint("addresses are the host's, or a network stack's of its own, to set"))
        }
        Err(e) => Err(Error::new("add the address", object, io_name(&e))),
    }
}

pub(super) fn remove_alias(interface: &str, address: IpAddr) -> Result<()> {
    match sys::remove_address(interface, address) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENXIO)) => Ok(()),
        // In a jail it could not be added either.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && in_jail() => Ok(()),
        Err(e) => Err(e).doing(
            "remove the address",
            format_args!("{address} from {interface}"),
        ),
    }
}

pub(super) fn give(jail: &str, interface: &str) -> Result<Outcome> {
    let object = format!("{interface} into jail {jail}");
    let jid = jail::find(jail)?
        .ok_or_else(|| Error::new("move the interface", &object, "there is no such jail"))?;
    match sys::give(interface, jid) {
        Ok(()) => Ok(Outcome::Done),
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {
            let fault = Error::new(
                "move the interface",
                object,
                "the host has no such interface",
            );
            Err(fault.hint(
                "create it, or take it back from the jail that has it: ifconfig NAME -vnet JAIL",
            ))
        }
        Err(e) => Err(Error::new("move the interface", object, io_name(&e))),
    }
}

/// Before the jail goes: when its network stack would give it back is not
/// told.
pub(super) fn take_back(jail: &str, interface: &str) -> Result<()> {
    let Some(jid) = jail::find(jail)? else {
        return Ok(());
    };
    match sys::take_back(interface, jid) {
        Ok(()) => Ok(()),
        // It is not there, or was destroyed.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => Ok(()),
        Err(e) => Err(e).doing(
            "take back the interface",
            format_args!("{interface} from jail {jail}"),
        ),
    }
}
