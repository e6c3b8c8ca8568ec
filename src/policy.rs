//! The host's policy file: what an administrator decides for every container.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// Where the policy is read from when --policy is not given.
pub const DEFAULT_PATH: &str = if cfg!(target_os = "freebsd") {
    "/usr/local/etc/brig.json"
} else {
    "/etc/brig.json"
};

/// The host's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Policy {
    /// The devfs ruleset of a devfs mount that names none (devfs.rules(5)).
    pub devfs_ruleset: u32,
    /// First and last number of the devfs rulesets that brig may make.
    pub devfs_range: (u32, u32),
    /// Whether jails are held by descriptors where the kernel has them.
    pub jail_descriptors: bool,
    /// Whether a jail is given its container's id and bundle where the kernel
    /// keeps such words.
    pub jail_meta: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            devfs_ruleset: 4,
            devfs_range: (40_000, 49_999),
            jail_descriptors: true,
            jail_meta: true,
        }
    }
}

impl Policy {
    /// Reads the policy: the given file, which must exist, or the default one,
    /// which need not.
    ///
    /// # Errors
    /// The file cannot be read or is not a policy.
    pub fn load(path: Option<&Path>) -> Result<Policy> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let raw = match std::fs::read(file) {
            Ok(raw) => raw,
            Err(e) if path.is_none() && e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Policy::default());
            }
            Err(e) => return Err(e).doing("read the policy", file.display()),
        };
        let policy: Policy = serde_json::from_slice(&raw)
            .map_err(|e| Error::new("read the policy", file.display(), e))?;
        let (first, last) = policy.devfs_range;
        let fault = |cause| Err(Error::property(file.display(), cause));
        if first > last || first == 0 || last > 65_535 {
            return fault("devfsRange must be two rising numbers from 1 to 65535");
        }
        if (first..=last).contains(&policy.devfs_ruleset) {
            return fault("devfsRuleset must not be in devfsRange");
        }
        Ok(policy)
    }
}
