//! The jail, its place below a parent, and its processors.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::devices;
use crate::apply::Outcome;
use crate::error::{Context, Error, Result};
use crate::plan::freebsd::limits::near;
use crate::plan::freebsd::{Parameter, Value, meta};
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

/// Whether jails are held by descriptors: until the policy or the kernel says
/// otherwise.
static DESCRIPTORS: AtomicBool = AtomicBool::new(true);

/// Switches the use of jail descriptors off (the policy's `jailDescriptors`).
pub fn without_descriptors() {
    DESCRIPTORS.store(false, Ordering::Relaxed);
}

/// Whether a call failed because the kernel has no jail descriptors: FreeBSD 14
/// refuses the flag before it looks at anything else. It is not asked again.
fn lacks_descriptors(fault: &Fault) -> bool {
    let lacks = fault.errno == Errno::EINVAL && fault.message.is_empty();
    if lacks {
        without_descriptors();
    }
    lacks
}

/// A jail that was looked up once. By a descriptor it is that jail whatever
/// happens meanwhile; by its id alone, another one may have got the id.
#[derive(Debug)]
pub struct Held {
    /// Its id.
    pub jid: i32,
    descriptor: Option<OwnedFd>,
}

impl Held {
    /// Moves this process into the jail.
    ///
    /// # Errors
    /// EINVAL when it is gone, EPERM while a directory is open.
    pub fn attach(&self) -> std::io::Result<()> {
        self.call(sys::attach_to, sys::attach)
    }

    /// Removes the jail and kills every process in it.
    fn remove(&self) -> std::io::Result<()> {
        self.call(sys::remove_by, sys::remove)
    }

    fn call(
        &self,
        by_descriptor: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<()>,
        by_id: impl FnOnce(i32) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let Some(descriptor) = &self.descriptor else {
            return by_id(self.jid);
        };
        match by_descriptor(descriptor.as_fd()) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Err(Errno::EINVAL.into()),
            result => result,
        }
    }
}

/// Holds the jail of that name, if it has that id.
///
/// # Errors
/// Those of jail_get(2), except that there is none.
pub fn hold(name: &str, jid: Option<i32>) -> Result<Option<Held>> {
    let fault = |fault| Err(Error::new("look for jail", name, fault));
    if DESCRIPTORS.load(Ordering::Relaxed) {
        // Name and descriptor in one call: they are of the same jail.
        let opened = match jid {
            Some(jid) => sys::open(("jid", jid.to_ne_bytes().to_vec()), &[("name", 256)]),
            None => sys::open(("name", terminated(name)), &[]),
        };
        match opened {
            Ok((_, _, values)) if values.first().is_some_and(|own| text(own) != name) => {
                return Ok(None);
            }
            Ok((descriptor, jid, _)) => {
                let descriptor = Some(descriptor);
                return Ok(Some(Held { jid, descriptor }));
            }
            Err(e) if e.errno == Errno::ENOENT => return Ok(None),
            Err(e) if lacks_descriptors(&e) => {}
            Err(e) => return fault(e),
        }
    }
    let found = find(name)?.filter(|found| jid.is_none_or(|jid| jid == *found));
    let held = |jid| Held {
        jid,
        descriptor: None,
    };
    Ok(found.map(held))
}

/// What keeps the jails of this process: [`own_jails`].
static OWNS: AtomicBool = AtomicBool::new(false);
static OWNED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// From now on the jails that this process creates end with it, however it
/// ends, where the kernel has jail descriptors.
pub fn own_jails() {
    OWNS.store(true, Ordering::Relaxed);
}

fn make(parameters: &[Encoded]) -> std::result::Result<i32, Fault> {
    let owns = OWNS.load(Ordering::Relaxed) && DESCRIPTORS.load(Ordering::Relaxed);
    if owns {
        match sys::create_owned(parameters) {
            Ok((descriptor, jid)) => {
                if let Ok(mut owned) = OWNED.lock() {
                    owned.push(descriptor);
                }
                return Ok(jid);
            }
            Err(fault) if lacks_descriptors(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
    sys::set(parameters, sys::CREATE)
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
        Ok(make(&all))
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
        (3, _) => {
            let text = parameter.value.to_string();
            // Of a parameter of text the kernel tells how much it takes, with
            // the NUL (jail(3lib) reads it so too).
            let room = sysctl::raw(&format!("{DESCRIBED}{name}"))
                .and_then(|raw| String::from_utf8(raw).ok())
                .and_then(|room| room.trim_end_matches('\0').parse::<usize>().ok())
                .unwrap_or(0);
            if room > 0 && text.len() >= room {
                return Err(bad(&format!("text of less than {room} bytes")));
            }
            terminated(&text)
        }
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

pub(super) fn remove(
    name: &str,
    path: &Path,
    parameters: &[Parameter],
    outcome: Option<&Outcome>,
) -> Result<()> {
    let jid = match outcome {
        Some(Outcome::Jail { jid }) => Some(*jid),
        _ => None,
    };
    match (hold(name, jid)?, jid) {
        (Some(held), None) if !is_made_by_us(held.jid, path, parameters)? => Ok(()),
        (Some(held), _) => end(&held, name),
        // Someone removed it, perhaps the end of a process that owned it just
        // now: what ran in it may still have files open.
        (None, Some(jid)) if !exists(jid)? => wait_until_empty(&[jid], END_LIMIT, name),
        (None, _) => Ok(()),
    }
}

/// Removes a jail and waits until its processes have ended.
///
/// # Errors
/// They do not.
pub(super) fn end(held: &Held, name: &str) -> Result<()> {
    let mut jids = descendants(name)?;
    jids.push(held.jid);
    match held.remove() {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
        Err(e) => return Err(e).doing("remove jail", name),
    }
    // Its mounts are in use until the last process is gone.
    wait_until_empty(&jids, END_LIMIT, name)
}

fn exists(jid: i32) -> Result<bool> {
    match sys::get(("jid", jid.to_ne_bytes().to_vec()), &[]) {
        Ok(_) => Ok(true),
        Err(fault) if fault.errno == Errno::ENOENT => Ok(false),
        Err(fault) => Err(Error::new("look for jail", jid, fault)),
    }
}

/// A runtime killed in the middle left no id: the jail is the one that has the
/// same root and, where the kernel keeps such words, no other container's mark.
fn is_made_by_us(jid: i32, path: &Path, parameters: &[Parameter]) -> Result<bool> {
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
    let wanted = parameters.iter().find(|p| p.name == meta::ID);
    // A jail that may not have what nobody asked for has no mark.
    let mark = entry(jid, meta::ID).filter(|mark| !mark.is_empty());
    let other = match (wanted, mark) {
        (Some(wanted), Some(mark)) => wanted.value.to_string() != mark,
        (None, Some(_)) | (_, None) => false,
    };
    Ok(same && !other)
}

/// One entry of a jail's meta; none where the kernel keeps none.
pub(super) fn entry(jid: i32, key: &str) -> Option<String> {
    let key = (key, meta::ROOM);
    let (_, values) = sys::get(("jid", jid.to_ne_bytes().to_vec()), &[key]).ok()?;
    values.first().map(|value| text(value))
}

/// Every jail that is alive: its id and its full name.
pub(super) fn all() -> Result<Vec<(i32, String)>> {
    let (mut last, mut found) = (0_i32, Vec::new());
    loop {
        match sys::get(("lastjid", last.to_ne_bytes().to_vec()), &[("name", 256)]) {
            Ok((jid, values)) => {
                found.push((jid, text(&values[0])));
                last = jid;
            }
            Err(fault) if fault.errno == Errno::ENOENT => return Ok(found),
            Err(fault) => return Err(Error::new("list", "the jails", fault)),
        }
    }
}

/// The ids of the jails below the one of that name.
///
/// # Errors
/// Those of jail_get(2).
pub fn descendants(name: &str) -> Result<Vec<i32>> {
    let prefix = format!("{name}.");
    let below = all()?
        .into_iter()
        .filter(|(_, own)| own.starts_with(&prefix));
    Ok(below.map(|(jid, _)| jid).collect())
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
    let (max, now) = children(jail)?.ok_or_else(|| parent_missing(jail))?;
    // By how much is not told before it is done: see lower_children.
    Ok(match raise(max, now) {
        Outcome::Raised { before, .. } => Outcome::Raised { before, by: 0 },
        other => other,
    })
}

/// The kernel counts a child that has been removed until the last of its
/// sockets has gone, so a place for one more may be several above the limit.
fn raise(max: i32, now: i32) -> Outcome {
    if max > now {
        return Outcome::Kept;
    }
    let by = now.saturating_add(1) - max;
    Outcome::Raised { before: max, by }
}

pub(super) fn raise_children(jail: &str) -> Result<Outcome> {
    let (max, now) = children(jail)?.ok_or_else(|| parent_missing(jail))?;
    let outcome = raise(max, now);
    if let Outcome::Raised { before, by } = outcome {
        set_children(jail, before.saturating_add(by))?;
    }
    Ok(outcome)
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

/// Gives the place back. Siblings may have raised the limit since, so it is
/// not set to what it was, and never below the children that are there.
pub(super) fn lower_children(jail: &str, outcome: Option<&Outcome>) -> Result<()> {
    let Some(Outcome::Raised { before, by }) = outcome else {
        return Ok(());
    };
    let Some((max, _)) = children(jail)? else {
        return Ok(());
    };
    // A runtime that was killed over it may have raised the limit or not.
    let by = if *by == 0 {
        max.saturating_sub(*before).clamp(0, 1)
    } else {
        *by
    };
    let alive = i32::try_from(descendants(jail)?.len()).unwrap_or(i32::MAX);
    let lower = max.saturating_sub(by).max(alive);
    if lower < max {
        set_children(jail, lower)?;
    }
    Ok(())
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
