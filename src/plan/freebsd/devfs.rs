//! Devices: the mount options `ruleset=N` and `rule=…` of devfs, and
//! `freebsd.devices`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Step;
use super::jail::{self, Value};
use crate::config::freebsd::Device;
use crate::error::{Error, Result};

/// A rule for the devices of one mount, in the terms of devfs(8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Pattern of paths below /dev (fnmatch(3)); none for all devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Some(true) shows, Some(false) hides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show: Option<bool>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Another ruleset whose rules are applied in this one's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<u32>,
}

/// DEVFS_MAXPTRNLEN of sys/fs/devfs/devfs.h without the NUL.
const LONGEST_PATTERN: usize = 199;

/// The highest ruleset number (devfs_rsnum is 16 bits).
pub(super) const HIGHEST_RULESET: u32 = 65_535;

/// Parses a rule as devfs(8) takes it behind `rule add`:
/// `[path PATTERN] ACTION…`. The number that may stand first there has no
/// meaning for a rule of one mount.
///
/// # Errors
/// What is wrong, with the option's path.
pub(super) fn rule(text: &str, at: &str) -> Result<Rule> {
    let fault = |cause: String| {
        Error::property(at, cause).hint("write it as: path PATTERN unhide mode 0660")
    };
    let mut words = text.split_whitespace();
    let mut rule = Rule::default();
    let mut acts = false;
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| fault(format!("{word:?} has no value in rule {text:?}")))
        };
        match word {
            "path" => {
                let pattern = value()?;
                let pattern = pattern.strip_prefix("/dev/").unwrap_or(pattern);
                if pattern.is_empty() || pattern.len() > LONGEST_PATTERN {
                    return Err(fault(format!(
                        "{pattern:?} is empty or longer than {LONGEST_PATTERN} bytes"
                    )));
                }
                rule.path = Some(pattern.into());
                continue;
            }
            "hide" => rule.show = Some(false),
            "unhide" => rule.show = Some(true),
            "mode" => {
                let mode = value()?;
                let parsed = u32::from_str_radix(mode, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777);
                rule.mode =
                    Some(parsed.ok_or_else(|| fault(format!("{mode:?} is not an octal mode")))?);
            }
            "user" | "group" => {
                let id = value()?;
                let parsed: u32 = match (word, id) {
                    (_, "root") | ("group", "wheel") => 0,
                    _ => id.parse().map_err(|_| {
                        fault(format!("{id:?} is not a number; names are the host's"))
                    })?,
                };
                if word == "user" {
                    rule.user = Some(parsed)
                } else {
                    rule.group = Some(parsed)
                }
            }
            "include" => {
                let number = value()?;
                let parsed = number
                    .parse()
                    .ok()
                    .filter(|n| (1..=HIGHEST_RULESET).contains(n));
                rule.include = Some(parsed.ok_or_else(|| {
                    fault(format!(
                        "{number:?} is not a ruleset from 1 to {HIGHEST_RULESET}"
                    ))
                })?);
            }
            _ => {
                return Err(fault(format!(
                    "{word:?} is not understood in rule {text:?}"
                )));
            }
        }
        acts = true;
    }
    if acts {
        Ok(rule)
    } else {
        Err(fault(format!("rule {text:?} does nothing")))
    }
}

/// Rules for `freebsd.devices`: each device and the directories above it.
pub(super) fn devices(devices: &[Device]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        let at = format!("freebsd.devices[{i}]");
        let path = device.path.strip_prefix("/dev/").unwrap_or(&device.path);
        let bad = path.is_empty()
            || path.starts_with('/')
            || path.len() > LONGEST_PATTERN
            || path.contains('\0')
            || path.split('/').any(|part| matches!(part, "" | "." | ".."));
        if bad {
            let fault = format!("{:?} is not a path relative to /dev", device.path);
            return Err(Error::property(format!("{at}.path"), fault));
        }
        if device.mode.is_some_and(|mode| mode > 0o7777) {
            return Err(Error::property(
                format!("{at}.mode"),
                "is above 4095 (octal 7777)",
            ));
        }
        rules.extend(with_parents(Rule {
            path: Some(path.into()),
            show: Some(true),
            mode: device.mode,
            ..Rule::default()
        }));
    }
    Ok(rules)
}

/// A device in a directory cannot be reached while the directory is hidden.
pub(super) fn with_parents(rule: Rule) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let (Some(path), Some(true)) = (&rule.path, rule.show) {
        for (at, _) in path.match_indices('/') {
            rules.push(Rule {
                path: Some(path[..at].into()),
                show: Some(true),
                ..Rule::default()
            });
        }
    }
    rules.push(rule);
    rules
}

/// The ruleset among a devfs mount's options; 0 for none.
pub(super) fn ruleset_of(options: &[String]) -> u32 {
    let number = options.iter().find_map(|o| o.strip_prefix("ruleset="));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a jail that may mount devfs sees in it: the devices that it has in
/// /dev, unless an annotation names a ruleset for it.
pub(super) fn of_jail(jail: &jail::Planned, mounts: &[Step], range: (u32, u32)) -> Option<Step> {
    let given = jail.parameters.iter().find(|p| p.name == "devfs_ruleset")?;
    // A number was put there for allow.mount.devfs; an annotation is text.
    let Value::Number(ruleset) = given.value else {
        return None;
    };
    let dev = mounts.iter().rev().find_map(|step| match step {
        Step::DeviceRules {
            destination, rules, ..
        } if destination == Path::new("/dev") => Some(rules),
        _ => None,
    });
    Some(Step::JailDevices {
        jail: jail.name.clone(),
        ruleset: u32::try_from(ruleset).unwrap_or(0),
        rules: dev?.clone(),
        range,
    })
}
