//! Jails of brig's whose state directory is gone: what the jail itself says of
//! its container, and what the kernel shows below its root.

use std::path::{Path, PathBuf};

use super::inroot::{look_up, made_before};
use super::{devices, jail, mounts};
use crate::apply::Outcome;
use crate::container::Orphan;
use crate::error::{Context, Error, Result};
use crate::plan::Step as AnyStep;
use crate::plan::freebsd::{Step, meta};
use crate::sys::freebsd::{mount, rctl};

/// The jails that say of themselves that their container is in the state
/// directory, where nothing tells of it. A jail that a runtime inside another
/// jail made says so of another directory of the same path, but knows itself
/// by another name than the host does.
///
/// # Errors
/// Those of jail_get(2).
pub fn orphans(root: &Path) -> Result<Vec<Orphan>> {
    let mut found = Vec::new();
    for (jid, name) in jail::all()? {
        let entry = |key| jail::entry(jid, key).filter(|value| !value.is_empty());
        let (Some(id), Some(directory)) = (entry(meta::ID), entry(meta::DIRECTORY)) else {
            continue;
        };
        let directory = PathBuf::from(directory);
        let is_ours = directory == root.join(&id) && entry(meta::JAIL).as_ref() == Some(&name);
        // The journal is there before the jail is, and longer.
        if !is_ours || directory.join("journal").exists() {
            continue;
        }
        let Some(rootfs) = jail::root(jid) else {
            continue;
        };
        found.push(Orphan {
            id,
            bundle: entry(meta::BUNDLE).unwrap_or_default().into(),
            directory,
            jail: name,
            jid,
            rootfs,
        });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Removes the jail, its limits, its addresses, and the mounts below its root
/// that are hidden from df(1) as brig makes them, unless another jail is there
/// too. Interfaces and datasets are taken back first.
///
/// # Errors
/// What could not be taken away; the jail is gone by then.
pub fn reclaim(orphan: &Orphan, range: (u32, u32)) -> Result<()> {
    if let Some(held) = jail::hold(&orphan.jail, Some(orphan.jid))? {
        let said = jail::entry(orphan.jid, meta::HOST).unwrap_or_default();
        let (addresses, given): (Vec<_>, Vec<_>) = meta::left_on_host(&orphan.jail, &said)
            .into_iter()
            .partition(|step| matches!(step, Step::Alias { .. }));
        for step in given.into_iter().rev() {
            super::revert(&AnyStep::Freebsd(step), None)?;
        }
        jail::end(&held, &orphan.jail)?;
        for step in addresses {
            super::revert(&AnyStep::Freebsd(step), None)?;
        }
    }
    let limits = rctl::remove(&format!("jail:{}", orphan.jail));
    match limits {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOSYS)) => {
            return Err(e).doing("remove the limits of jail", &orphan.jail);
        }
        _ => {}
    }
    for (jid, name) in jail::all()? {
        let other = jail::root(jid).is_some_and(|own| own.starts_with(&orphan.rootfs));
        if other {
            let cause = format!("jail {name} is in it");
            let object = orphan.rootfs.display();
            return Err(Error::new("unmount what is below", object, cause));
        }
    }
    let root = &orphan.rootfs;
    let view = root.starts_with(&orphan.directory);
    let is_ours =
        |m: &&mount::Mount| m.is_hidden && m.on.starts_with(root) && (view || m.on != *root);
    let all = mount::all().doing("list", "the mounted file systems")?;
    for mounted in all.iter().rev().filter(is_ours) {
        mounts::detach(
            mounted,
            &mount::all().doing("list", "the mounted file systems")?,
        )?;
        let Ok(below) = mounted.on.strip_prefix(root) else {
            continue;
        };
        let made = look_up(root, below).map(|lookup| made_before(root, &lookup.found));
        mounts::remove_points(root, Some(&Outcome::Created(made.unwrap_or_default())))?;
    }
    devices::free(range)
}
