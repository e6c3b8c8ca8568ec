//! Images by the real tools: what skopeo, umoci, podman, buildah and containerd
//! write and read, beside brig. Linux, as root; `make test-images` installs the
//! tools. Each case is told as passed, failed or skipped, and the last line is
//! the tally.
//!
//!     cargo test --test images -- [--brig FILE] [WORD]...
//!
//! runs the cases whose names have one of the words.

mod common;
mod containerd;
mod pack;
mod source;
mod tree;
mod unpack;

use std::process::ExitCode;

use common::{Case, Outcome, Work};

fn main() -> ExitCode {
    let mut words = Vec::new();
    let mut brig = env!("CARGO_BIN_EXE_brig").to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brig" => brig = arguments.next().expect("--brig FILE"),
            word => words.push(word.to_owned()),
        }
    }
    if !nix::unistd::geteuid().is_root() {
        println!("0 passed, 0 failed, all skipped: owners and devices are made by root");
        return ExitCode::FAILURE;
    }
    let mut cases: Vec<Case> = unpack::CASES.to_vec();
    cases.extend(pack::CASES);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut work = Work::new(brig.into());
    for (name, run) in cases {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        work.begin(name);
        match run(&mut work) {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("passed   {name}");
            }
            Ok(Outcome::Skipped(why)) => {
                skipped += 1;
                println!("skipped  {name}: {why}");
            }
            Err(why) => {
                failed += 1;
                println!("FAILED   {name}: {why}");
            }
        }
    }
    drop(work);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
