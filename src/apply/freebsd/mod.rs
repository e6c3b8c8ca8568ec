//! Performing and reverting the steps of FreeBSD: both of a step side by side.

mod copy;
mod datasets;
mod devices;
mod inroot;
mod jail;
mod limits;
mod linux;
mod mounts;
mod network;
mod nfs;
mod orphans;

use super::Outcome;
use super::journal::Entry;
use crate::error::{Context, Error, Result};
use crate::plan::Step as AnyStep;
use crate::plan::freebsd::{NFS_MODULE, Step};
use crate::sys::freebsd as sys;

pub use jail::{descendants, find, hold, own_jails, processes_in, without_descriptors};
pub use limits::{denied_at, usage};
pub use linux::prepare_program;
pub use mounts::claim_root;
pub use orphans::{orphans, reclaim};

fn own(step: &AnyStep) -> Result<&Step> {
    match step {
        AnyStep::Freebsd(step) => Ok(step),
        AnyStep::Linux(_) => Err(Error::text("a step of Linux cannot be done on FreeBSD")),
    }
}

/// What a step is going to leave, as far as it can be told before: it goes
/// into the journal with the intent, for a runtime that is killed before it
/// can write the outcome. It changes nothing.
///
/// # Errors
/// What makes the step impossible, before it has touched anything.
pub fn foresee(step: &AnyStep) -> Result<Option<Outcome>> {
    match own(step)? {
        Step::MountPoint {
            root,
            destination,
            source,
        } => mounts::foresee_point(root, destination, source.as_deref()).map(Some),
        Step::FileSystem {
            root, destination, ..
        } => mounts::foresee(root, destination).map(Some),
        Step::ChildrenMax { jail } => jail::foresee_children(jail).map(Some),
        Step::Alias { interface, address } => {
            network::foresee_alias(interface, *address).map(|()| None)
        }
        Step::Jail { name, .. } => jail::foresee(name).map(|()| None),
        Step::Dataset { jail, dataset } => datasets::foresee(jail, dataset).map(|()| None),
        Step::Module { .. }
        | Step::OwnMounts { .. }
        | Step::Rulesets { .. }
        | Step::DeviceRules { .. }
        | Step::JailDevices { .. }
        | Step::Rctl(_)
        | Step::Cpuset { .. }
        | Step::VnetInterface { .. } => Ok(None),
    }
}

/// Performs a step.
///
/// # Errors
/// What failed; what the step left by then is taken back by [`revert`].
pub fn perform(step: &AnyStep) -> Result<Outcome> {
    match own(step)? {
        Step::Module { name, parameter } => module(name, parameter.as_deref()),
        Step::MountPoint {
            root,
            destination,
            source,
        } => mounts::make_point(root, destination, source.as_deref()),
        Step::FileSystem {
            root,
            destination,
            fstype,
            source,
            options,
            copy_up,
        } => {
            let wanted = mounts::Wanted {
                root,
                destination,
                fstype,
                source: source.as_deref(),
                options,
            };
            mounts::mount(&wanted, *copy_up)
        }
        Step::Rulesets { range } => devices::free(*range).map(|()| Outcome::Done),
        Step::DeviceRules {
            root,
            destination,
            ruleset,
            rules,
            range,
        } => devices::apply(root, destination, *ruleset, rules, *range),
        Step::JailDevices {
            jail,
            ruleset,
            rules,
            range,
        } => devices::apply_to_jail(jail, *ruleset, rules, *range),
        Step::OwnMounts { root } => mounts::remember(root),
        Step::ChildrenMax { jail } => jail::raise_children(jail),
        Step::Alias { interface, address } => network::add_alias(interface, *address),
        Step::Jail {
            name,
            path,
            parameters,
        } => jail::create(name, path, parameters),
        Step::Rctl(limit) => limits::add(limit),
        Step::Cpuset { jail, cpus } => jail::set_processors(jail, cpus),
        Step::VnetInterface { jail, interface } => network::give(jail, interface),
        Step::Dataset { jail, dataset } => datasets::attach(jail, dataset),
    }
}

/// Takes a step back: what `outcome` names, or, for a runtime that was killed
/// in the middle of it, what the kernel shows of it.
///
/// # Errors
/// What could not be taken back.
pub fn revert(step: &AnyStep, outcome: Option<&Outcome>) -> Result<()> {
    if outcome == Some(&Outcome::Kept) {
        return Ok(());
    }
    match own(step)? {
        // Others may have come to use the module, or the next container will.
        Step::Module { .. } => Ok(()),
        Step::MountPoint { root, .. } => mounts::remove_points(root, outcome),
        Step::FileSystem {
            root,
            destination,
            fstype,
            ..
        } => mounts::unmount(root, destination, fstype, outcome),
        // The mounts and the jail that named them are gone by now.
        Step::Rulesets { range } => devices::free(*range),
        // A name of a ruleset ends with the mount or the jail that has it.
        Step::DeviceRules { .. } | Step::JailDevices { .. } => Ok(()),
        Step::OwnMounts { root } => mounts::unmount_others(root, outcome),
        Step::ChildrenMax { jail } => jail::lower_children(jail, outcome),
        Step::Alias { interface, address } => network::remove_alias(interface, *address),
        Step::Jail {
            name,
            path,
            parameters,
        } => jail::remove(name, path, parameters, outcome),
        Step::Rctl(limit) => limits::remove(limit),
        // It belongs to the jail and ends with it.
        Step::Cpuset { .. } => Ok(()),
        Step::VnetInterface { jail, interface } => network::take_back(jail, interface),
        Step::Dataset { jail, dataset } => datasets::detach(jail, dataset),
    }
}

/// Takes back what outlives a boot of the host: mount points on disk. Of those
/// that were made through a view of the root, `all` has what it was a view of.
///
/// # Errors
/// What could not be taken back.
pub fn revert_after_boot(step: &AnyStep, outcome: Option<&Outcome>, all: &[Entry]) -> Result<()> {
    let created = match outcome {
        Some(
            Outcome::Created(created)
            | Outcome::Mounted { created, .. }
            | Outcome::Mounting { created, .. },
        ) => created,
        _ => return Ok(()),
    };
    let (Step::MountPoint { root, .. } | Step::FileSystem { root, .. }) = own(step)? else {
        return Ok(());
    };
    let view = all.iter().find_map(|entry| match own(&entry.step) {
        Ok(Step::FileSystem {
            root: directory,
            destination,
            fstype,
            source: Some(source),
            ..
        }) if fstype == "nullfs" => {
            let destination = destination.strip_prefix("/").unwrap_or(destination);
            (directory.join(destination) == *root).then_some(source)
        }
        _ => None,
    });
    mounts::remove_all_made(view.unwrap_or(root), created)
}

/// Loads a kernel module unless the parameter that it brings is there, or for
/// no parameter unless the kernel has the feature of the module's name, as for
/// the two that run Linux programs and for NFS.
fn module(name: &str, parameter: Option<&str>) -> Result<Outcome> {
    let feature = || sys::sysctl::number(&format!("kern.features.{name}")) == Some(1);
    let is_there = || parameter.map_or_else(feature, jail::is_parameter);
    if is_there() {
        return Ok(Outcome::Kept);
    }
    let purpose = match parameter {
        Some(parameter) => parameter,
        None if name == NFS_MODULE => "NFS",
        None => "Linux programs",
    };
    sys::load_module(name)
        .doing(
            "load the kernel module",
            format_args!("{name} for {purpose}"),
        )
        .map_err(|e| {
            let place = if sys::in_jail() { " on the host" } else { "" };
            e.hint(format!("load it{place} with: kldload {name}"))
        })?;
    if is_there() {
        return Ok(Outcome::Done);
    }
    Err(Error::text(format_args!(
        "{purpose}: unknown to this kernel, with its module {name} too"
    )))
}
