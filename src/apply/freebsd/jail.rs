//! The jail, its place below a parent, and its processors.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::devices;
use crate::apply::Outcome;
use crate::error::{Context, Error, Result};
use crate::plan::freebsd::limits::near;
use crate::plan::freebsd::{META_ID, Parameter, Value};
use crate::sys::freebsd::sysctl::{self, Description};
use crate::sys::freebsd::{Fault, jail as sys, process};

/// Where the kernel describes its jail parameters.
const DESCRIBED: &str = "security.jail.param.";

/// A parameter as jail_set(2) takes it.
type Encoded = (String, Option<Vec<u8>>);

/// Whether this kernel has the parameter.
pub(super) fn is_parameter(name: &str) -> bool {
    description(name).is_some()
}

fn description(name: &str) -> Option<Description> {
    // Single entries of meta and env are no names of their own.
    let name = match name.split_once('.') {
        Some((whole @ ("meta" | "env"), _)) => whole,
        _ => name,
    };
    sysctl::describe(&format!("{DESCRIBED}{name}"))
}

/// The id of the jail of that name.
///
/// # Errors
/// Those of jail_get(2), except that there is none.
pub fn find(name: &str) -> Result<Option<i32>> {
    match sys::get(("name", terminated(name)), &[]) {
        Ok((jid, _)) => Ok(Some(jid)),
        Err(fault) if fault.errno == Errno::ENOENT => Ok(None),
        Err(fault) => Err(Error::new("look for jail", name, fault)),
    }
}

/// The root directory of a jail; none when it is gone.
pub(super) fn root(jid: i32) -> Option<PathBuf> {
    let key = ("jid", jid.to_ne_bytes().to_vec());
    // MAXPATHLEN of sys/param.h.
    let (_, values) = sys::get(key, &[("path", 1024)]).ok()?;
    let path = values.first()?.split(|byte| *byte == 0).next()?;
    Some(OsStr::from_bytes(path).into())
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A name in use is told before anything is journaled, so that the other
/// jail is never taken for this one.
pub(super) fn foresee(name: &str) -> Result<()> {
    match find(name)? {
        None => Ok(()),
        Some(jid) => {
            let fault = Error::new(
                "create jail",
                name,
                format_args!("the name is in use by jail {jid}"),
            );
            Err(fault.hint("use another container id, or remove the jail"))
        }
    }
}

pub(super) fn create(name: &str, path: &Path, parameters: &[Parameter]) -> Result<Outcome> {
    let ruleset = parameters.iter().find(|p| p.name == "devfs_ruleset");
    let ruleset = ruleset.and_then(|p| p.value.to_string().parse().ok());
    if let Some(number) = ruleset.filter(|number| *number != 0) {
        devices::check(number)?;
    }
    let set = |with_defaults: bool| -> Result<std::result::Result<i32, Fault>> {
        let mut all: Vec<Encoded> = vec![
            ("name".into(), Some(terminated(name))),
            (
                "path".into(),
                Some([path.as_os_str().as_bytes(), &[0]].concat()),
            ),
            ("persist".into(), None),
        ];
        for parameter in parameters.iter().filter(|p| with_defaults || !p.default) {
            all.extend(encode(parameter)?);
        }
        Ok(sys::set(&all, sys::CREATE))
    };
    let mut result = set(true)?;
    // Inside a jail, or below a parent that may less, what nobody asked for
    // is not worth a failure.
    if matches!(&result, Err(fault) if fault.errno == Errno::EPERM) {
        result = set(false)?;
    }
    match result {
        Ok(jid) => Ok(Outcome::Jail { jid }),
        Err(fault) => {
            let error = Error::new("create jail", name, &fault);
            Err(match fault.errno {
                Errno::EPERM => error
                    .hint("a jail may have no more than its parent has, and children.max children"),
                Errno::EEXIST => error.hint("use another container id, or remove the jail"),
                _ => error,
            })
        }
    }
}

fn encode(parameter: &Parameter) -> Result<Option<Encoded>> {
    let name = &parameter.name;
    let Some(description) = description(name) else {
        return if parameter.default {
            Ok(None)
        } else {
            Err(unknown(name))
        };
    };
    let bad = |what: &str| {
        Error::property(
            format!("jail parameter {name}"),
            format_args!("\"{}\" is not {what}", parameter.value),
        )
    };
    if description.format == "B" {
        let on = match &parameter.value {
            Value::Switch(on) => *on,
            Value::Number(number @ (0 | 1)) => *number == 1,
            Value::Text(word) if matches!(word.as_str(), "true" | "1" | "yes" | "on") => true,
            Value::Text(word) if matches!(word.as_str(), "false" | "0" | "no" | "off") => false,
            _ => return Err(bad("true or false")),
        };
        return Ok(Some((if on { name.clone() } else { negated(name) }, None)));
    }
    let number = || match &parameter.value {
        Value::Number(number) => Some(*number),
        Value::Text(word) => word.parse().ok(),
        Value::Switch(on) => Some(i64::from(*on)),
        Value::List(_) => None,
    };
    let list = || match &parameter.value {
        Value::List(items) => items.clone(),
        other => other.to_string().split(',').map(String::from).collect(),
    };
    let value = match (description.kind, description.format.as_str()) {
        (_, "E,jailsys") => {
            let word = parameter.value.to_string();
            let number: i32 = match word.as_str() {
                "disable" => libc::JAIL_SYS_DISABLE,
                "new" => libc::JAIL_SYS_NEW,
                "inherit" => libc::JAIL_SYS_INHERIT,
                _ => return Err(bad("new, inherit or disable")),
            };
            number.to_ne_bytes().to_vec()
        }
        (_, "S,in_addr" | "S,in_addr,a") => {
            let mut bytes = Vec::new();
            for address in list() {
                let address: Ipv4Addr = address
                    .parse()
                    .map_err(|_| bad("a list of IPv4 addresses"))?;
                bytes.extend(address.octets());
            }
            bytes
        }
        (_, "S,in6_addr" | "S,in6_addr,a") => {
            let mut bytes = Vec::new();
            for address in list() {
                let address: Ipv6Addr = address
                    .parse()
                    .map_err(|_| bad("a list of IPv6 addresses"))?;
                bytes.extend(address.octets());
            }
            bytes
        }
        // CTLTYPE_STRING
        (3, _) => terminated(&parameter.value.to_string()),
        // CTLTYPE_INT, _UINT, _S32, _U32
        (2 | 6 | 0xe | 0xf, _) => {
            let number = number().ok_or_else(|| bad("a number"))?;
            let small = i32::try_from(number).map_err(|_| bad("a number of 32 bits"))?;
            small.to_ne_bytes().to_vec()
        }
        // CTLTYPE_S64, _LONG, _ULONG, _U64
        (4 | 7 | 8 | 9, _) => number()
            .ok_or_else(|| bad("a number"))?
            .to_ne_bytes()
            .to_vec(),
        (kind, format) => {
            let cause = format!("brig cannot set values of kind {kind} {format:?}");
            return Err(Error::property(format!("jail parameter {name}"), cause));
        }
    };
    Ok(Some((name.clone(), Some(value))))
}

/// The name that clears a switch, as `allow.nomlock` (jail(3lib)).
fn negated(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((above, last)) => format!("{above}.no{last}"),
        None => format!("no{name}"),
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::text(format_args!("{name} is unknown to this kernel"));
    if let Some(kind) = name.strip_prefix("allow.mount.") {
        return error.hint(format!("load it with: kldload {kind}"));
    }
    if name.starts_with("linux.") {
        return error.hint("load it with: kldload linux64");
    }
    if name == "vnet" {
        return error.hint("build the kernel with: options VIMAGE");
    }
    let names = sysctl::names_below(DESCRIBED);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // The last word is what people mistype: allow.raw_socket.
    let near = match name.rsplit_once('.') {
        Some((above, last)) => {
            let below: Vec<&str> = names
                .iter()
                .filter_map(|n| n.strip_prefix(above)?.strip_prefix('.'))
                .collect();
            let found = near(last, &below);
            if found.is_empty() {
                found
            } else {
                format!("{above}.{}", found.replace(", ", &format!(", {above}.")))
            }
        }
        None => near(name, &names),
    };
    if near.is_empty() {
        error
    } else {
        error.hint(format!("known: {near}"))
    }
}

/// How long processes of a removed jail may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn remove(name: &str, path: &Path, outcome: Option<&Outcome>) -> Result<()> {
    let Some(jid) = find(name)? else {
        return Ok(());
    };
    let ours = match outcome {
        Some(Outcome::Jail { jid: own }) => *own == jid,
        _ => is_made_by_us(jid, path)?,
    };
    if !ours {
        return Ok(());
    }
    let mut jids = descendants(name)?;
    jids.push(jid);
    match sys::remove(jid) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
        Err(e) => return Err(e).doing("remove jail", name),
    }
    // Its mounts are in use until the last process is gone.
    wait_until_empty(&jids, END_LIMIT, name)
}

/// A runtime killed in the middle left no id: the jail is the one that has the
/// same root and, where the kernel keeps such words, the mark of a container.
fn is_made_by_us(jid: i32, path: &Path) -> Result<bool> {
    let key = || ("jid", jid.to_ne_bytes().to_vec());
    let own = match sys::get(key(), &[("path", 1024)]) {
        Ok((_, values)) => text(&values[0]),
        Err(fault) if fault.errno == Errno::ENOENT => return Ok(false),
        Err(fault) => return Err(Error::new("look at jail", jid, fault)),
    };
    let same = match (std::fs::canonicalize(path), std::fs::canonicalize(&own)) {
        (Ok(wanted), Ok(own)) => wanted == own,
        _ => Path::new(&own) == path,
    };
    let marked = match sys::get(key(), &[(META_ID, 1024)]) {
        Ok((_, values)) => !text(&values[0]).is_empty(),
        Err(_) => true,
    };
    Ok(same && marked)
}

/// The ids of the jails below the one of that name.
///
/// # Errors
/// Those of jail_get(2).
pub fn descendants(name: &str) -> Result<Vec<i32>> {
    let prefix = format!("{name}.");
    let (mut last, mut found) = (0_i32, Vec::new());
    loop {
        match sys::get(("lastjid", last.to_ne_bytes().to_vec()), &[("name", 256)]) {
            Ok((jid, values)) => {
                if text(&values[0]).starts_with(&prefix) {
                    found.push(jid);
                }
                last = jid;
            }
            Err(fault) if fault.errno == Errno::ENOENT => return Ok(found),
            Err(fault) => return Err(Error::new("list the jails below", name, fault)),
        }
    }
}

/// The processes of jails that have not exited.
///
/// # Errors
/// Those of sysctl(3).
pub fn processes_in(jids: &[i32]) -> Result<Vec<process::Listed>> {
    let mut all = process::all().doing("list", "the processes")?;
    all.retain(|process| jids.contains(&process.jid) && !process.zombie);
    Ok(all)
}

/// Waits until no process of the jails is left. A zombie has released its
/// files, so it is none.
///
/// # Errors
/// Some are left when the time is over.
pub fn wait_until_empty(jids: &[i32], limit: Duration, name: &str) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let left = processes_in(jids)?;
        let Some(first) = left.first() else {
            return Ok(());
        };
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            let cause = format!(
                "{} processes do not react to SIGKILL, the first is {}",
                left.len(),
                first.pid
            );
            return Err(Error::new("end the processes of jail", name, cause));
        }
        match process::wait_exit(first.pid, rest) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(e) => return Err(e).doing("wait for the processes of jail", name),
        }
    }
}

/// A jail's limit and number of children.
fn children(jail: &str) -> Result<Option<(i32, i32)>> {
    let number = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().unwrap_or_default());
    match sys::get(
        ("name", terminated(jail)),
        &[("children.max", 4), ("children.cur", 4)],
    ) {
        Ok((_, values)) => Ok(Some((number(&values[0]), number(&values[1])))),
        Err(fault) if fault.errno == Errno::ENOENT => Ok(None),
        Err(fault) => Err(Error::new("look at jail", jail, fault)),
    }
}

fn parent_missing(jail: &str) -> Error {
    let error = Error::new("use the parent jail", jail, "there is no jail of that name");
    error.hint("create it first")
}

pub(super) fn foresee_children(jail: &str) -> Result<Outcome> {
    match children(jail)? {
        Some((before, _)) => Ok(Outcome::Raised { before }),
        None => Err(parent_missing(jail)),
    }
}

pub(super) fn raise_children(jail: &str) -> Result<Outcome> {
    let (max, now) = children(jail)?.ok_or_else(|| parent_missing(jail))?;
    if max > now {
        return Ok(Outcome::Kept);
    }
    set_children(jail, max.max(now).saturating_add(1))?;
    Ok(Outcome::Raised { before: max })
}

fn set_children(jail: &str, max: i32) -> Result<()> {
    let parameters = [
        ("name".into(), Some(terminated(jail))),
        ("children.max".into(), Some(max.to_ne_bytes().to_vec())),
    ];
    match sys::set(&parameters, sys::UPDATE) {
        Ok(_) => Ok(()),
        Err(fault) => Err(Error::new("set children.max of jail", jail, fault)),
    }
}

/// Gives one place back. Siblings may have raised the limit since, so it is
/// not set to what it was, and never below what is used.
pub(super) fn lower_children(jail: &str, outcome: Option<&Outcome>) -> Result<()> {
    let Some(Outcome::Raised { before }) = outcome else {
        return Ok(());
    };
    match children(jail)? {
        Some((max, now)) if max > *before && max > now => set_children(jail, max - 1),
        _ => Ok(()),
    }
}

/// The devfs rulesets that jails name for what they mount themselves.
///
/// # Errors
/// Those of jail_get(2).
pub(super) fn rulesets() -> Result<devices::Named> {
    let (mut last, mut found) = (0_i32, devices::Named::new());
    loop {
        let key = ("lastjid", last.to_ne_bytes().to_vec());
        match sys::get(key, &[("devfs_ruleset", 4)]) {
            Ok((jid, values)) => {
                let number = <[u8; 4]>::try_from(values[0].as_slice());
                found.extend(number.map(u32::from_ne_bytes));
                last = jid;
            }
            Err(fault) if fault.errno == Errno::ENOENT => return Ok(found),
            Err(fault) => return Err(Error::new("list", "the jails", fault)),
        }
    }
}

/// Sets what a jail sees of the devfs that it mounts itself.
pub(super) fn set_ruleset(jail: &str, ruleset: u32) -> Result<()> {
    let number = ruleset.to_ne_bytes().to_vec();
    let parameters = [
        ("name".into(), Some(terminated(jail))),
        ("devfs_ruleset".into(), Some(number)),
    ];
    match sys::set(&parameters, sys::UPDATE) {
        Ok(_) => Ok(()),
        Err(fault) => Err(Error::new("set devfs_ruleset of jail", jail, fault)),
    }
}

pub(super) fn set_processors(jail: &str, cpus: &[u32]) -> Result<Outcome> {
    let jid = find(jail)?
        .ok_or_else(|| Error::new("set the processors of jail", jail, "there is no such jail"))?;
    match sys::set_processors(jid, cpus) {
        Ok(()) => Ok(Outcome::Done),
        Err(e) => {
            let fault = Err(e).doing("set the processors of jail", jail);
            fault.map_err(|e: Error| e.hint("name processors that the host has: sysctl hw.ncpu"))
        }
    }
}
