//! The test of the suite itself: each case must fail with a runtime that is
//! broken in a way that the case is there to notice.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Mutex;

use crate::broken;
use crate::harness::print::Verdict;
use crate::harness::runner;
use crate::harness::test::{Suite, set_patience};
use crate::harness::{Case, Platforms};
use crate::mutants::MUTANTS;

/// One way to break a runtime, and the cases that must notice it.
#[derive(Debug)]
pub struct Mutant {
    /// The words of the mutation; see [`broken`].
    pub mutation: &'static str,
    /// Where it can be seen.
    pub platforms: Platforms,
    /// Patterns of the cases.
    pub cases: &'static [&'static str],
}

/// Seconds that a case waits here for what a broken runtime may never do.
const PATIENCE: u64 = 4;

/// Runs every mutant with its cases; true when every chosen case has failed at
/// least once.
pub fn run(suite: &Suite, chosen: &[&'static Case], jobs: usize) -> bool {
    set_patience(PATIENCE);
    let mut pairs: Vec<(Suite, &'static str, &'static Case)> = Vec::new();
    for mutant in MUTANTS {
        for case in chosen.iter().filter(|case| mutant.fits(case)) {
            pairs.push((suite.broken(mutant.mutation), mutant.mutation, case));
        }
    }
    let work: Vec<_> = pairs
        .iter()
        .map(|(suite, _, case)| (suite, *case))
        .collect();
    let mut noticed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missed = 0;
    let running: Mutex<BTreeSet<&'static str>> = Mutex::default();
    runner::each(&work, jobs, &running, |number, verdict, time| {
        let (_, mutation, case) = &pairs[number];
        let ms = time.as_millis();
        match verdict {
            Verdict::Failed(_) => {
                *noticed.entry(case.name).or_default() += 1;
                println!("noticed  {}  {mutation}  ({ms} ms)", case.name);
            }
            Verdict::Passed => {
                missed += 1;
                println!("MISSED   {}  {mutation}", case.name);
            }
            Verdict::Skipped(why) => {
                missed += 1;
                println!("SKIPPED  {}  {mutation}: {why}", case.name);
            }
        }
    });
    let never: Vec<&str> = chosen
        .iter()
        .map(|case| case.name)
        .filter(|name| !noticed.contains_key(name))
        .collect();
    for name in &never {
        println!("NEVER FAILED  {name}");
    }
    println!(
        "{} broken runs, {missed} of them not noticed; {} cases failed at least once, {} never",
        pairs.len(),
        noticed.len(),
        never.len(),
    );
    never.is_empty()
}

impl Mutant {
    /// Whether a case must notice it.
    pub fn fits(&self, case: &Case) -> bool {
        self.platforms.here() && self.names(case.name)
    }

    /// Whether one of its patterns fits the name as a whole.
    pub fn names(&self, name: &str) -> bool {
        let fits = |pattern: &str| match pattern.contains('*') {
            true => crate::fits(pattern, name),
            false => pattern == name,
        };
        self.cases.iter().any(|pattern| fits(pattern))
    }
}

impl Suite {
    /// The same suite with its runtime broken.
    fn broken(&self, mutation: &str) -> Suite {
        let mut arguments: Vec<OsString> = vec![
            broken::WORD.into(),
            mutation.into(),
            self.runtime.clone().into(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        Suite {
            runtime: self.probe.with_file_name("broken"),
            arguments,
            directory: self.directory.clone(),
            probe: self.probe.clone(),
            keep: self.keep,
        }
    }
}
