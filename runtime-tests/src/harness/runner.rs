//! Runs the cases and compares the host before and after.

use std::collections::VecDeque;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::print::{Printer, Verdict};
use super::test::Suite;
use super::{Case, Outcome, Stop, Test, host};

/// How the cases are run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many at once.
    pub jobs: usize,
    /// Do not compare the host as a whole: others change it meanwhile.
    pub busy_host: bool,
}

/// Runs the cases; true when none failed.
pub fn run(
    suite: &Suite,
    cases: &[&'static Case],
    options: Options,
    printer: &mut Printer,
) -> bool {
    let before = host::snapshot();
    let queue: Mutex<VecDeque<(usize, &'static Case)>> =
        Mutex::new(cases.iter().copied().enumerate().collect());
    let (sender, receiver) = channel();
    printer.begin(cases.len() + usize::from(!options.busy_host));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            let sender = sender.clone();
            let queue = &queue;
            scope.spawn(move || {
                loop {
                    let next = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((number, case)) = next else { return };
                    let begin = Instant::now();
                    let verdict = one(suite, case, number);
                    if sender.send((case, verdict, begin.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (case, verdict, time) in receiver {
            printer.case(case.name, &verdict, time);
        }
    });
    if !options.busy_host {
        let begin = Instant::now();
        printer.case("host/is-as-before", &compare(&before), begin.elapsed());
    }
    printer.end()
}

fn one(suite: &Suite, case: &Case, number: usize) -> Verdict {
    let test = match Test::new(suite, number) {
        Ok(test) => test,
        Err(stop) => return verdict(Err(stop)),
    };
    let outcome = (case.run)(&test);
    let cleaned = test.clean_up();
    match (outcome, cleaned) {
        (Ok(()), cleaned) => verdict(cleaned),
        (Err(Stop::Skip(why)), Err(Stop::Fail(left))) => Verdict::Failed(format!("{why}; {left}")),
        (Err(Stop::Fail(why)), Err(Stop::Fail(left))) if why != left => {
            Verdict::Failed(format!("{why}; {left}"))
        }
        (outcome, _) => verdict(outcome),
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(Stop::Fail(why)) => Verdict::Failed(why),
        Err(Stop::Skip(why)) => Verdict::Skipped(why),
    }
}

/// Compares the host with how it was; what others do for a moment only is not
/// held against the runtime.
fn compare(before: &std::collections::BTreeSet<String>) -> Verdict {
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let after = host::snapshot();
        let more = after.difference(before).map(|x| format!("+ {x}"));
        let less = before.difference(&after).map(|x| format!("- {x}"));
        let all: Vec<String> = more.chain(less).collect();
        if all.is_empty() {
            return Verdict::Passed;
        }
        if Instant::now() > end {
            return Verdict::Failed(format!("the host has changed: {}", all.join("; ")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
