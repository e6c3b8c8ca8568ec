//! The jail's parameters (config-freebsd.md, Jail; jail(8)).
//!
//! With a `freebsd.jail` object the defaults are the specification's. Without
//! one they are those that engines on FreeBSD count on, because they write
//! their configurations for a runtime that has them: mounts below the root
//! are visible, raw sockets and chflags(2) work, and without a network stack
//! of its own the container uses the host's addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::meta;
use super::{Input, Step};
use crate::config::Ignored;
use crate::config::annotations::{self, JAIL_PREFIX, PARENT_JAIL};
use crate::config::freebsd::{Jail, Sharing};
use crate::error::{Error, Result};

/// A jail parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// Its name, as `allow.raw_sockets`.
    pub name: String,
    /// Its value; the kernel's own description decides how it is passed.
    pub value: Value,
    /// Nobody asked for it: it is left out where the kernel does not know it
    /// or the parent jail may not grant it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Set or cleared.
    Switch(bool),
    /// A number.
    Number(i64),
    /// Text, or one of `new`, `inherit` and `disable`.
    Text(String),
    /// Addresses.
    List(Vec<String>),
}

impl From<Sharing> for Value {
    fn from(sharing: Sharing) -> Value {
        Value::Text(word(sharing).into())
    }
}

fn word(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::New => "new",
        Sharing::Inherit => "inherit",
        Sharing::Disable => "disable",
    }
}

/// What the jail needs.
pub(super) struct Planned {
    pub name: String,
    pub parent: Option<String>,
    pub parameters: Vec<Parameter>,
    pub modules: Vec<Step>,
}

/// A property and where it was written.
struct Source<'a> {
    input: &'a Input<'a>,
    ignored: &'a mut Vec<Ignored>,
    set: Vec<Parameter>,
}

/// Parameters that brig decides itself, or that cannot be set.
const RESERVED: [&str; 10] = [
    "name",
    "path",
    "jid",
    "parent",
    "persist",
    "dying",
    "children.cur",
    "cpuset.id",
    "errmsg",
    "desc",
];

/// Annotations below the prefix that are not parameters of the kernel.
const NOT_PARAMETERS: [&str; 4] = ["exec.fib", "vnet.interface", "interface", "zfs.dataset"];

pub(super) fn plan(input: &Input, rootfs: &Path, ignored: &mut Vec<Ignored>) -> Result<Planned> {
    let section = input.config.freebsd.jail.clone();
    let engine = section.is_none();
    let jail = section.unwrap_or_default();
    let mut modules = Vec::new();
    let parent = parent(input, &jail, ignored)?;
    let name = super::full_name(parent.as_deref(), input.id)?;
    path_fits(rootfs)?;

    let mut source = Source {
        input,
        ignored,
        set: Vec::new(),
    };
    source.host(&jail)?;
    source.network(&jail, engine)?;
    source.sysv("sysvmsg", jail.sysvmsg, engine)?;
    source.sysv("sysvsem", jail.sysvsem, engine)?;
    source.sysv("sysvshm", jail.sysvshm, engine)?;
    source.enforce_statfs(&jail, engine)?;
    source.allow(&jail, engine, &mut modules)?;
    source.others(&mut modules)?;
    let mut parameters = source.set;
    parameters.extend(meta::whose(input, &name));
    Ok(Planned {
        name,
        parent,
        parameters,
        modules,
    })
}

/// jail_set(2) takes a path of at most MAXPATHLEN with its NUL.
fn path_fits(rootfs: &Path) -> Result<()> {
    if rootfs.as_os_str().len() >= 1024 {
        return Err(Error::property("root.path", "is longer than 1023 bytes"));
    }
    Ok(())
}

fn parent(input: &Input, jail: &Jail, ignored: &mut Vec<Ignored>) -> Result<Option<String>> {
    let annotation = input.config.annotation(PARENT_JAIL);
    let (parent, at) = match (jail.parent.as_deref(), annotation) {
        (Some(parent), other) => {
            if other.is_some_and(|other| other != parent) {
                overruled(ignored, PARENT_JAIL, "freebsd.jail.parent");
            }
            (parent, "freebsd.jail.parent".to_owned())
        }
        (None, Some(parent)) => (parent, annotations::path(PARENT_JAIL)),
        (None, None) => return Ok(None),
    };
    if parent.is_empty() || parent.contains(['\0', '\n']) {
        return Err(Error::property(
            at,
            format_args!("{parent:?} is not the name of a jail"),
        ));
    }
    Ok(Some(parent.into()))
}

fn overruled(ignored: &mut Vec<Ignored>, key: &str, property: &str) {
    let reason = format!("{property} says otherwise and wins");
    ignored.push(Ignored {
        property: annotations::path(key),
        reason,
    });
}

impl Source<'_> {
    fn push(&mut self, name: &str, value: impl Into<Value>) {
        self.set.push(Parameter {
            name: name.into(),
            value: value.into(),
            default: false,
        });
    }

    fn push_default(&mut self, name: &str, value: impl Into<Value>) {
        self.set.push(Parameter {
            name: name.into(),
            value: value.into(),
            default: true,
        });
    }

    fn has(&self, name: &str) -> bool {
        self.set.iter().any(|parameter| parameter.name == name)
    }

    /// An annotation of a parameter, with the annotation's path.
    fn annotation(&self, name: &str) -> Option<(&str, String)> {
        let key = format!("{JAIL_PREFIX}{name}");
        self.input
            .config
            .annotation(&key)
            .map(|value| (value, annotations::path(&key)))
    }

    /// The value of a parameter that has a property and an annotation: the
    /// property wins, and a warning tells where they differ.
    fn sharing(
        &mut self,
        name: &str,
        property: Option<Sharing>,
        allowed: &[Sharing],
    ) -> Result<Option<(Sharing, String)>> {
        let words = allowed
            .iter()
            .map(|s| word(*s))
            .collect::<Vec<_>>()
            .join(", ");
        let annotated = match self.annotation(name) {
            None => None,
            Some((value, at)) => match allowed.iter().find(|s| word(**s) == value) {
                Some(sharing) => Some((*sharing, at)),
                None => {
                    return Err(Error::property(
                        at,
                        format_args!("{value:?} is not one of {words}"),
                    ));
                }
            },
        };
        let at = format!("freebsd.jail.{name}");
        match (property, annotated) {
            (Some(own), _) if !allowed.contains(&own) => Err(Error::property(
                at,
                format_args!("{:?} is not one of {words}", word(own)),
            )),
            (Some(own), Some((other, _))) if own != other => {
                overruled(self.ignored, &format!("{JAIL_PREFIX}{name}"), &at);
                Ok(Some((own, at)))
            }
            (Some(own), _) => Ok(Some((own, at))),
            (None, annotated) => Ok(annotated),
        }
    }

    /// host, host.hostname and host.domainname.
    fn host(&mut self, jail: &Jail) -> Result<()> {
        let given = self.sharing("host", jail.host, &[Sharing::New, Sharing::Inherit])?;
        let spec = &self.input.config.spec;
        let names = [
            ("hostname", spec.hostname()),
            ("domainname", spec.domainname()),
        ];
        let named = names
            .iter()
            .find(|(_, name)| name.is_some())
            .map(|(property, _)| *property);
        if let (Some((Sharing::Inherit, at)), Some(property)) = (&given, named) {
            let fault = Error::property(
                property,
                format_args!("cannot be set while {at} is inherit"),
            );
            return Err(fault.hint(format!("set {at} to new, or leave {property} out")));
        }
        let annotations = self.input.config.annotations();
        let annotated = annotations
            .keys()
            .find(|key| key.starts_with("org.freebsd.jail.host."));
        if let (Some((Sharing::Inherit, at)), Some(key)) = (&given, annotated) {
            let fault = Error::property(
                annotations::path(key),
                format_args!("cannot be set while {at} is inherit"),
            );
            return Err(fault.hint(format!("set {at} to new, or leave it out")));
        }
        let own =
            named.is_some() || matches!(given, Some((Sharing::New, _))) || annotated.is_some();
        self.push("host", if own { Sharing::New } else { Sharing::Inherit });
        for (property, name) in names {
            let Some(name) = name else { continue };
            if name.len() > 255 || name.contains('\0') {
                return Err(Error::property(
                    property,
                    "is longer than 255 bytes or contains a NUL byte",
                ));
            }
            let parameter = format!("host.{property}");
            if self
                .annotation(&parameter)
                .is_some_and(|(other, _)| other != name)
            {
                overruled(self.ignored, &format!("{JAIL_PREFIX}{parameter}"), property);
            }
            self.push(&parameter, Value::Text(name.clone()));
        }
        Ok(())
    }

    /// vnet, ip4, ip6 and their addresses.
    fn network(&mut self, jail: &Jail, engine: bool) -> Result<()> {
        let vnet = self.sharing("vnet", jail.vnet, &[Sharing::New, Sharing::Inherit])?;
        let own_stack = matches!(vnet, Some((Sharing::New, _)));
        // inherit is the kernel's default, and a kernel without network
        // stacks of jails does not know the parameter.
        if own_stack {
            self.push("vnet", Sharing::New);
        }
        self.family(
            "ip4",
            jail.ip4,
            jail.ip4_addr.as_deref(),
            &vnet,
            engine,
            |text| {
                text.parse::<Ipv4Addr>()
                    .map(|address| address.to_string())
                    .map_err(|_| "an IPv4 address")
            },
        )?;
        self.family(
            "ip6",
            jail.ip6,
            jail.ip6_addr.as_deref(),
            &vnet,
            engine,
            |text| {
                text.parse::<Ipv6Addr>()
                    .map(|address| address.to_string())
                    .map_err(|_| "an IPv6 address")
            },
        )
    }

    fn family(
        &mut self,
        name: &str,
        property: Option<Sharing>,
        addresses: Option<&[String]>,
        vnet: &Option<(Sharing, String)>,
        engine: bool,
        parse: impl Fn(&str) -> std::result::Result<String, &'static str>,
    ) -> Result<()> {
        let all = [Sharing::New, Sharing::Inherit, Sharing::Disable];
        let given = self.sharing(name, property, &all)?;
        let annotated = self
            .annotation(&format!("{name}.addr"))
            .map(|(value, at)| (value.to_owned(), at));
        let list: Option<(Vec<(String, String)>, String)> = match (addresses, annotated) {
            (Some(list), annotated) => {
                let at = format!("freebsd.jail.{name}Addr");
                if annotated
                    .is_some_and(|(other, _)| other.split(',').ne(list.iter().map(String::as_str)))
                {
                    overruled(self.ignored, &format!("{JAIL_PREFIX}{name}.addr"), &at);
                }
                let items = list
                    .iter()
                    .enumerate()
                    .map(|(i, a)| (a.clone(), format!("{at}[{i}]")));
                Some((items.collect(), at.clone()))
            }
            (None, Some((value, at))) => {
                let parts = value
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty());
                Some((
                    parts.map(|part| (part.to_owned(), at.clone())).collect(),
                    at,
                ))
            }
            (None, None) => None,
        };
        let mut parsed: Vec<String> = Vec::new();
        for (text, at) in list.iter().flat_map(|(items, _)| items) {
            let address = parse(text)
                .map_err(|what| Error::property(at, format_args!("{text:?} is not {what}")))?;
            if parsed.contains(&address) {
                return Err(Error::property(
                    at,
                    format_args!("{address} is given twice"),
                ));
            }
            parsed.push(address);
        }
        let addresses_at = list.map(|(_, at)| at);

        if let Some((Sharing::New, vnet_at)) = vnet {
            let own = given.map(|(_, at)| at).or(addresses_at);
            if let Some(at) = own {
                let fault =
                    Error::property(at, format_args!("cannot be set while {vnet_at} is new"));
                return Err(fault.hint("set addresses inside the container's own network stack"));
            }
            return Ok(());
        }
        match (given, addresses_at) {
            (Some((Sharing::New, _)) | None, Some(_)) => {
                self.push(name, Sharing::New);
                self.push(&format!("{name}.addr"), Value::List(parsed));
            }
            (Some((sharing, at)), Some(addresses_at)) => {
                let fault = format!("cannot be set while {at} is {}", word(sharing));
                return Err(Error::property(addresses_at, fault).hint(format!("leave {at} out")));
            }
            (Some((sharing, _)), None) => self.push(name, sharing),
            (None, None) if engine => self.push_default(name, Sharing::Inherit),
            (None, None) => {}
        }
        Ok(())
    }

    fn sysv(&mut self, name: &str, property: Option<Sharing>, engine: bool) -> Result<()> {
        let all = [Sharing::New, Sharing::Inherit, Sharing::Disable];
        match self.sharing(name, property, &all)? {
            Some((sharing, _)) => self.push(name, sharing),
            // The old switch for all three would be overruled by them.
            None if self
                .input
                .config
                .freebsd
                .jail
                .iter()
                .flat_map(|j| &j.allow)
                .any(|a| a.sysvipc.is_some()) => {}
            None if engine && self.annotation("allow.sysvipc").is_some() => {}
            // A kernel may lack System V IPC as a whole.
            None => self.push_default(name, Sharing::New),
        }
        Ok(())
    }

    fn enforce_statfs(&mut self, jail: &Jail, engine: bool) -> Result<()> {
        let key = "enforce_statfs";
        let annotated = match self.annotation(key) {
            None => None,
            Some((value, at)) => {
                let level: u32 = value
                    .parse()
                    .map_err(|_| Error::property(&at, format_args!("{value:?} is not a number")))?;
                Some((level, at))
            }
        };
        let property = jail
            .enforce_statfs
            .map(|level| (level, "freebsd.jail.enforceStatfs".to_owned()));
        if let (Some((own, at)), Some((other, _))) = (&property, &annotated)
            && own != other
        {
            overruled(self.ignored, &format!("{JAIL_PREFIX}{key}"), at);
        }
        let given = property.or(annotated);
        if let Some((level, at)) = &given
            && *level > 2
        {
            return Err(Error::property(
                at,
                format_args!("{level} is not 0, 1 or 2"),
            ));
        }
        let level = given
            .as_ref()
            .map_or(if engine { 1 } else { 2 }, |(level, _)| *level);
        let mounts = jail.allow.as_ref().and_then(|allow| allow.mount.as_ref());
        if level == 2 && mounts.is_some_and(|types| !types.is_empty()) {
            let fault = Error::property(
                "freebsd.jail.allow.mount",
                "has no effect while enforceStatfs is 2",
            );
            return Err(fault.hint("set freebsd.jail.enforceStatfs to 1"));
        }
        for (key, value) in self.input.config.annotations() {
            let at = annotations::path(&key);
            let is_mount = key
                .strip_prefix(JAIL_PREFIX)
                .is_some_and(|name| name.starts_with("allow.mount"));
            if level == 2 && is_mount && switch(&value, &at)? {
                let fault = Error::property(at, "has no effect while enforce_statfs is 2");
                return Err(fault.hint("set freebsd.jail.enforceStatfs to 1"));
            }
        }
        match given {
            Some((level, _)) => self.push(key, Value::Number(level.into())),
            None => self.push_default(key, Value::Number(level.into())),
        }
        Ok(())
    }

    fn allow(&mut self, jail: &Jail, engine: bool, modules: &mut Vec<Step>) -> Result<()> {
        let allow = jail.allow.clone().unwrap_or_default();
        let switches = [
            ("set_hostname", "setHostname", allow.set_hostname),
            ("raw_sockets", "rawSockets", allow.raw_sockets),
            ("chflags", "chflags", allow.chflags),
            ("quotas", "quotas", allow.quotas),
            ("socket_af", "socketAf", allow.socket_af),
            ("mlock", "mlock", allow.mlock),
            ("reserved_ports", "reservedPorts", allow.reserved_ports),
            ("suser", "suser", allow.suser),
            ("sysvipc", "sysvipc", allow.sysvipc),
        ];
        for (name, property, value) in switches {
            let Some(value) = value else { continue };
            let parameter = format!("allow.{name}");
            let at = format!("freebsd.jail.allow.{property}");
            if let Some((other, path)) = self.annotation(&parameter)
                && switch(other, &path)? != value
            {
                overruled(self.ignored, &format!("{JAIL_PREFIX}{parameter}"), &at);
            }
            self.push(&parameter, Value::Switch(value));
        }
        for (i, kind) in allow.mount.iter().flatten().enumerate() {
            let at = format!("freebsd.jail.allow.mount[{i}]");
            if !is_fstype(kind) {
                return Err(Error::property(
                    at,
                    format_args!("{kind:?} is not a file system type"),
                ));
            }
            if !self.has("allow.mount") {
                self.push("allow.mount", Value::Switch(true));
            }
            self.mount_type(kind, true, modules);
        }
        if engine {
            for name in ["allow.raw_sockets", "allow.chflags"] {
                if self.annotation(name).is_none() {
                    self.push_default(name, Value::Switch(true));
                }
            }
        }
        Ok(())
    }

    /// allow.mount.TYPE, which exists once the type's module is loaded.
    fn mount_type(&mut self, kind: &str, allowed: bool, modules: &mut Vec<Step>) {
        let parameter = format!("allow.mount.{kind}");
        if self.has(&parameter) {
            return;
        }
        if allowed {
            modules.push(Step::Module {
                name: module(kind).into(),
                parameter: Some(parameter.clone()),
            });
            // A jail without a ruleset of its own could mount a /dev with
            // every device of the host in it.
            if kind == "devfs" && self.annotation("devfs_ruleset").is_none() {
                let ruleset = self.input.policy.devfs_ruleset;
                self.push("devfs_ruleset", Value::Number(ruleset.into()));
            }
        }
        self.push(&parameter, Value::Switch(allowed));
    }

    /// Every other annotation below the prefix names a parameter of the
    /// kernel, which checks it: new kernels need no new brig.
    fn others(&mut self, modules: &mut Vec<Step>) -> Result<()> {
        let known = [
            "host", "vnet", "ip4", "ip6", "ip4.addr", "ip6.addr", "sysvmsg", "sysvsem", "sysvshm",
        ];
        for (key, value) in self.input.config.annotations() {
            let Some(name) = key.strip_prefix(JAIL_PREFIX) else {
                continue;
            };
            if known.contains(&name) || NOT_PARAMETERS.contains(&name) || self.has(name) {
                continue;
            }
            let at = annotations::path(&key);
            if RESERVED.contains(&name) || name == meta::ID || name.starts_with("meta.brig.") {
                return Err(Error::property(at, "is brig's own to set"));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let meta = name.starts_with("meta.") || name.starts_with("env.");
            if name.is_empty()
                || !(meta || name.chars().all(plain))
                || name.contains(['\0', '\n', '='])
            {
                return Err(Error::property(
                    at,
                    format_args!("{name:?} is not the name of a jail parameter"),
                ));
            }
            if value.contains('\0') {
                return Err(Error::property(at, "contains a NUL byte"));
            }
            if let Some(kind) = name.strip_prefix("allow.mount.") {
                self.mount_type(kind, switch(&value, &at)?, modules);
            } else if name.starts_with("allow.") {
                self.push(name, Value::Switch(switch(&value, &at)?));
            } else {
                self.push(name, Value::Text(value));
            }
        }
        Ok(())
    }
}

fn is_fstype(kind: &str) -> bool {
    !kind.is_empty()
        && kind.len() < 16
        && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The kernel module that brings a file system type.
fn module(kind: &str) -> &str {
    match kind {
        "nfs" => "nfscl",
        "fuse" => "fusefs",
        other => other,
    }
}

/// A switch in an annotation.
fn switch(value: &str, at: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Error::property(
            at,
            format_args!("{value:?} is not true or false"),
        )),
    }
}
