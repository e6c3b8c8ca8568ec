//! brig: an OCI runtime for FreeBSD jails, which also runs on Linux.

mod apply;
mod cli;
mod commands;
mod config;
mod container;
mod error;
mod host;
mod image;
mod launch;
mod plan;
mod policy;
mod report;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The container's processes must not be able to write to the file that the
    // next container is started with (CVE-2019-5736).
    #[cfg(target_os = "linux")]
    if commands::enters_a_container() {
        sys::linux::reexec::from_read_only_mount();
    }
    commands::dispatch()
}
