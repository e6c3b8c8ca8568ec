//! brig on a FreeBSD host, by root: what only brig has, or what can only be
//! seen from the host. `make vm-test` runs it in a guest; what any runtime can
//! be asked for is in runtime-tests.
//!
//!     freebsd [--brig PATH] [--policy FILE] [WORD…]
//!
//! runs the cases whose name contains one of the words. Each runs in a process
//! of its own, and the host must be as before when it is over.

#[cfg(target_os = "freebsd")]
mod datasets;
#[cfg(target_os = "freebsd")]
mod descriptors;
#[cfg(target_os = "freebsd")]
mod devices;
#[cfg(target_os = "freebsd")]
mod ephemeral;
#[cfg(target_os = "freebsd")]
mod images;
#[cfg(target_os = "freebsd")]
mod input;
#[cfg(target_os = "freebsd")]
mod jail;
#[cfg(target_os = "freebsd")]
mod limits;
#[cfg(target_os = "freebsd")]
mod linux;
#[cfg(target_os = "freebsd")]
mod mounts;
#[cfg(target_os = "freebsd")]
mod nested;
#[cfg(target_os = "freebsd")]
mod processes;
#[cfg(target_os = "freebsd")]
mod support;

#[cfg(target_os = "freebsd")]
fn main() -> std::process::ExitCode {
    let groups: &[&[support::Case]] = &[
        datasets::CASES,
        descriptors::CASES,
        devices::CASES,
        ephemeral::CASES,
        jail::CASES,
        processes::CASES,
        images::CASES,
        input::CASES,
        limits::CASES,
        linux::CASES,
        mounts::CASES,
        nested::CASES,
    ];
    support::run(groups)
}

#[cfg(not(target_os = "freebsd"))]
fn main() {
    println!("the cases of tests/freebsd need a FreeBSD host: make vm-test");
}
