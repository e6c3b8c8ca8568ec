//! The cases, by what they are about.

mod commands;
mod engines;
mod exec;
mod faults;
mod freebsd;
mod hooks;
mod kill;
mod lifecycle;
mod linux;
mod mounts;
mod process;
mod terminal;

use crate::harness::Case;

/// Every case, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let tables: [&'static [Case]; 12] = [
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
    ];
    tables.into_iter().flatten()
}
