//! Interfaces: addresses as aliases on a host's interface, and interfaces for
//! the jail's own network stack.

use std::net::IpAddr;

use super::{Input, Step};
use crate::config::Ignored;
use crate::config::annotations::{self, JAIL_PREFIX};
use crate::config::freebsd::Sharing;
use crate::error::{Error, Result};

/// Steps before and after the jail is made.
pub(super) struct Planned {
    pub before: Vec<Step>,
    pub after: Vec<Step>,
}

pub(super) fn plan(input: &Input, jail: &str, ignored: &mut Vec<Ignored>) -> Result<Planned> {
    let section = input.config.freebsd.jail.clone().unwrap_or_default();
    let own_stack = match section.vnet {
        Some(vnet) => vnet == Sharing::New,
        None => input.config.annotation(&format!("{JAIL_PREFIX}vnet")) == Some("new"),
    };
    let mut planned = Planned {
        before: Vec::new(),
        after: Vec::new(),
    };

    let key = format!("{JAIL_PREFIX}interface");
    let annotated = input.config.annotation(&key);
    let interface = match (section.interface.as_deref(), annotated) {
        (Some(own), other) => {
            let at = "freebsd.jail.interface";
            if other.is_some_and(|other| other != own) {
                ignored.push(Ignored {
                    property: annotations::path(&key),
                    reason: format!("{at} says otherwise and wins"),
                });
            }
            Some((own, at.to_owned()))
        }
        (None, Some(other)) => Some((other, annotations::path(&key))),
        (None, None) => None,
    };
    if let Some((interface, at)) = interface {
        check_name(interface, &at)?;
        let parse = |list: &Option<Vec<String>>, family: &str| -> Vec<IpAddr> {
            let key = format!("{JAIL_PREFIX}{family}.addr");
            let annotated = input.config.annotation(&key).map(|value| {
                let words = value.split(',').map(str::trim);
                words.map(String::from).collect::<Vec<_>>()
            });
            let list = list.clone().or(annotated).unwrap_or_default();
            list.iter()
                .filter_map(|address| address.parse().ok())
                .collect()
        };
        // jail.rs has refused what does not parse.
        let addresses = [
            parse(&section.ip4_addr, "ip4"),
            parse(&section.ip6_addr, "ip6"),
        ]
        .concat();
        if own_stack {
            return Err(Error::property(
                at,
                "cannot be set while the container has a network stack of its own",
            ));
        }
        if addresses.is_empty() {
            let fault = Error::property(at, "has no addresses to carry");
            return Err(fault.hint("set freebsd.jail.ip4Addr or ip6Addr"));
        }
        for address in addresses {
            planned.before.push(Step::Alias {
                interface: interface.into(),
                address,
            });
        }
    }

    let key = format!("{JAIL_PREFIX}vnet.interface");
    let annotated = input.config.annotation(&key);
    let interfaces: Vec<(String, String)> = match (&section.vnet_interfaces, annotated) {
        (Some(list), annotated) => {
            let at = "freebsd.jail.vnetInterfaces";
            if annotated.is_some_and(|other| other.split(',').ne(list.iter().map(String::as_str))) {
                let reason = format!("{at} says otherwise and wins");
                ignored.push(Ignored {
                    property: annotations::path(&key),
                    reason,
                });
            }
            list.iter()
                .enumerate()
                .map(|(i, name)| (name.clone(), format!("{at}[{i}]")))
                .collect()
        }
        (None, Some(list)) => {
            let names = list
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names
                .map(|name| (name.to_owned(), annotations::path(&key)))
                .collect()
        }
        (None, None) => Vec::new(),
    };
    let mut seen: Vec<&str> = Vec::new();
    for (interface, at) in &interfaces {
        check_name(interface, at)?;
        if !own_stack {
            let fault = Error::property(at, "needs a network stack of the container's own");
            return Err(fault.hint("set freebsd.jail.vnet to new"));
        }
        if seen.contains(&interface.as_str()) {
            return Err(Error::property(
                at,
                format_args!("{interface} is given twice"),
            ));
        }
        seen.push(interface);
        planned.after.push(Step::VnetInterface {
            jail: jail.into(),
            interface: interface.clone(),
        });
    }
    Ok(planned)
}

/// An interface's name fits IFNAMSIZ (16 with its NUL).
fn check_name(name: &str, at: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '|');
    if name.is_empty() || name.len() > 15 || !name.chars().all(plain) {
        return Err(Error::property(
            at,
            format_args!("{name:?} is not the name of an interface"),
        ));
    }
    Ok(())
}
