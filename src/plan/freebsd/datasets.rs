//! Datasets of ZFS that a container administers, by annotation: what jail(8)
//! calls zfs.dataset.

use super::{Input, Step};
use crate::config::annotations::{self, ZFS_DATASET};
use crate::error::{Error, Result};

/// ZFS_MAX_DATASET_NAME_LEN without its NUL.
const LONGEST_NAME: usize = 255;

/// The modules and steps for the datasets.
pub(super) struct Planned {
    pub modules: Vec<Step>,
    pub after: Vec<Step>,
}

pub(super) fn plan(input: &Input, jail: &str) -> Result<Planned> {
    let mut planned = Planned {
        modules: Vec::new(),
        after: Vec::new(),
    };
    let Some(list) = input.config.annotation(ZFS_DATASET) else {
        return Ok(planned);
    };
    let at = annotations::path(ZFS_DATASET);
    let mut seen = Vec::new();
    for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
        // zfsconcepts(7) and zfs(8), Names.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
        if name.len() > LONGEST_NAME || !name.split('/').all(part) {
            let fault = format!("{name:?} is not the name of a ZFS file system");
            return Err(Error::property(at, fault).hint("write it as: pool/path"));
        }
        if seen.contains(&name) {
            return Err(Error::property(at, format_args!("{name} is given twice")));
        }
        seen.push(name);
        planned.after.push(Step::Dataset {
            jail: jail.into(),
            dataset: name.into(),
        });
    }
    if planned.after.is_empty() {
        return Err(Error::property(at, "names no dataset").hint("write it as: pool/path"));
    }
    planned.modules.push(Step::Module {
        name: "zfs".into(),
        parameter: Some("allow.mount.zfs".into()),
    });
    Ok(planned)
}
