//! Rules of rctl(8).

use std::collections::BTreeMap;

use crate::apply::Outcome;
use crate::error::{Context, Error, Result};
use crate::plan::freebsd::Limit;
use crate::plan::freebsd::limits::accounting_off;
use crate::sys::freebsd::{self as sys, rctl};

pub(super) fn add(limit: &Limit) -> Result<Outcome> {
    match rctl::add(&limit.to_string()) {
        Ok(()) => Ok(Outcome::Done),
        Err(e) => Err(explain(e, limit)),
    }
}

fn explain(error: std::io::Error, limit: &Limit) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => accounting_off(&format!("limit {limit}")),
        Some(libc::EPERM) => {
            let fault = Error::new("add the limit", limit, "EPERM");
            fault.hint("limits are set on the host, by root and not in a jail")
        }
        Some(libc::EOPNOTSUPP) => Error::new(
            "add the limit",
            limit,
            "rctl cannot do this for this resource",
        ),
        _ => Err::<(), _>(error)
            .doing("add the limit", limit)
            .expect_err("it is an error"),
    }
}

/// Removes this rule and no other: an administrator may have one for the same
/// jail.
pub(super) fn remove(limit: &Limit) -> Result<()> {
    match rctl::remove(&limit.to_string()) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOSYS)) => Ok(()),
        // In a jail it could not be added either.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && sys::in_jail() => Ok(()),
        Err(e) => Err(e).doing("remove the limit", limit),
    }
}

/// What a jail uses of each resource, in the resource's own unit.
///
/// # Errors
/// Accounting is off, or there is no such jail.
pub fn usage(jail: &str) -> Result<BTreeMap<String, u64>> {
    let text = match rctl::usage(&format!("jail:{jail}")) {
        Ok(text) => text,
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            return Err(accounting_off("statistics"));
        }
        Err(e) => return Err(e).doing("read the statistics of jail", jail),
    };
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    Ok(pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// The amount at which a jail is denied more of a resource.
pub fn denied_at(jail: &str, resource: &str) -> Option<u64> {
    let rules = rctl::rules(&format!("jail:{jail}:{resource}:deny")).ok()?;
    let amounts = rules
        .split(',')
        .filter_map(|rule| rule.rsplit_once('=')?.1.parse().ok());
    amounts.min()
}
