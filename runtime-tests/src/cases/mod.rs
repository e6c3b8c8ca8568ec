//! The cases, by what they are about.

mod commands;
mod engines;
mod exec;
mod faults;
mod features;
mod freebsd;
mod hooks;
mod host_mounts;
mod hostile;
mod jail;
mod kill;
mod lifecycle;
mod linux;
mod mounts;
mod operations;
mod options;
mod process;
mod required;
mod statements;
mod terminal;

use crate::harness::Case;

/// Every case, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let tables: [&'static [Case]; 20] = [
        lifecycle::CASES,
        kill::CASES,
        process::CASES,
        hooks::CASES,
        exec::CASES,
        commands::CASES,
        terminal::CASES,
        mounts::CASES,
        linux::CASES,
        freebsd::CASES,
        faults::CASES,
        engines::CASES,
        operations::CASES,
        required::CASES,
        options::CASES,
        statements::CASES,
        features::CASES,
        host_mounts::CASES,
        jail::CASES,
        hostile::CASES,
    ];
    tables.into_iter().flatten()
}
