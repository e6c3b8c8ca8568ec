//! `brig update`: new resource limits for a container.

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::{LinuxPids, LinuxResources};

use super::Session;
use crate::cli::Update;
use crate::config;
use crate::container::{Directory, control, status};
use crate::error::{Context, Error, Kind, Result};

pub fn command(session: &Session, args: &Update) -> Result<()> {
    let resources = resources(args)?;
    let directory = Directory::of(&session.root, &args.id)?;
    let _lock = directory.lock()?;
    let state = directory.load()?;
    let now = status::status(&state, &directory);
    if !now.is_alive() {
        let text = format!(
            "cannot update container {:?}: container not running",
            args.id
        );
        return Err(Error::text(text).kind(Kind::NotRunning));
    }
    control::update(&state, &directory, &resources)
}

fn resources(args: &Update) -> Result<LinuxResources> {
    let mut resources = match &args.resources {
        Some(path) if path == Path::new("-") => {
            let mut raw = Vec::new();
            std::io::stdin()
                .read_to_end(&mut raw)
                .doing("read", "standard input")?;
            config::parse_resources(&raw, Path::new("standard input"))?
        }
        Some(path) => {
            let raw = std::fs::read(path).doing("read", path.display())?;
            config::parse_resources(&raw, path)?
        }
        None => LinuxResources::default(),
    };
    flags(args, &mut resources)?;
    Ok(resources)
}

/// The flags win over the file, as with runc.
fn flags(args: &Update, resources: &mut LinuxResources) -> Result<()> {
    let mut memory = resources.memory().unwrap_or_default();
    let before = memory;
    if args.memory.is_some() {
        memory.set_limit(args.memory);
    }
    if args.memory_swap.is_some() {
        memory.set_swap(args.memory_swap);
    }
    if args.memory_reservation.is_some() {
        memory.set_reservation(args.memory_reservation);
    }
    if memory != before {
        resources.set_memory(Some(memory));
    }
    let mut cpu = resources.cpu().clone().unwrap_or_default();
    let before = cpu.clone();
    if args.cpu_period.is_some() {
        cpu.set_period(args.cpu_period);
    }
    if args.cpu_quota.is_some() {
        cpu.set_quota(args.cpu_quota);
    }
    if args.cpu_share.is_some() {
        cpu.set_shares(args.cpu_share);
    }
    if args.cpuset_cpus.is_some() {
        cpu.set_cpus(args.cpuset_cpus.clone());
    }
    if args.cpuset_mems.is_some() {
        cpu.set_mems(args.cpuset_mems.clone());
    }
    if cpu != before {
        resources.set_cpu(Some(cpu));
    }
    if let Some(limit) = args.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    if let Some(weight) = args.blkio_weight {
        if !(10..=1000).contains(&weight) {
            return Err(Error::property(
                "--blkio-weight",
                format_args!("{weight} is not from 10 to 1000"),
            ));
        }
        let mut io = resources.block_io().clone().unwrap_or_default();
        io.set_weight(Some(weight));
        resources.set_block_io(Some(io));
    }
    Ok(())
}
