//! Runs the cases and compares the host before and after.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The case that stands for the comparison of the host.
const COMPARISON: &str = "host/is-as-before";

/// Runs the cases; true when none failed.
pub fn run(
    suite: &Suite,
    cases: &[&'static Case],
    options: Options,
    printer: &mut Printer,
) -> bool {
    let mut watch = Watch::new();
    printer.begin(cases.len() + usize::from(!options.busy_host));
    let running: Mutex<BTreeSet<&'static str>> = Mutex::default();
    let work: Vec<_> = cases.iter().map(|case| (suite, *case)).collect();
    each(&work, options.jobs, &running, |number, verdict, time| {
        let case = cases[number];
        printer.case(case.name, case.group(), &verdict, time);
        if !options.busy_host {
            watch.look(case.name, &lock(&running));
        }
    });
    if !options.busy_host {
        let begin = Instant::now();
        let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        let verdict = watch.compare(&names);
        printer.case(COMPARISON, "robustness", &verdict, begin.elapsed());
    }
    printer.end()
}

/// Runs cases in several threads and hands each verdict over as it comes, with
/// the number of its piece of work.
pub fn each(
    work: &[(&Suite, &'static Case)],
    jobs: usize,
    running: &Mutex<BTreeSet<&'static str>>,
    mut done: impl FnMut(usize, Verdict, Duration),
) {
    let queue: Mutex<VecDeque<_>> = Mutex::new(work.iter().enumerate().collect());
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let sender = sender.clone();
            let queue = &queue;
            scope.spawn(move || {
                loop {
                    let next = lock(queue).pop_front();
                    let Some((number, (suite, case))) = next else {
                        return;
                    };
                    lock(running).insert(case.name);
                    let begin = Instant::now();
                    let verdict = one(suite, case, number);
                    lock(running).remove(case.name);
                    if sender.send((number, verdict, begin.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (number, verdict, time) in receiver {
            done(number, verdict, time);
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The host as it was, and which case each difference was first seen with.
struct Watch {
    before: BTreeSet<String>,
    since: BTreeMap<String, String>,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            before: host::snapshot(),
            since: BTreeMap::new(),
        }
    }

    /// Looks at the host when a case has ended. Cases that run beside it may
    /// be the reason as well, so they are named, too.
    fn look(&mut self, ended: &str, beside: &BTreeSet<&'static str>) {
        let now = self.differences();
        self.since.retain(|difference, _| now.contains(difference));
        for difference in now {
            self.since.entry(difference).or_insert_with(|| {
                let mut text = format!("since {ended}");
                if !beside.is_empty() {
                    let all: Vec<_> = beside.iter().copied().collect();
                    text += &format!(", or {} beside it", all.join(", "));
                }
                text
            });
        }
    }

    fn differences(&self) -> BTreeSet<String> {
        let after = host::snapshot();
        let more = after.difference(&self.before).map(|x| format!("+ {x}"));
        let less = self.before.difference(&after).map(|x| format!("- {x}"));
        more.chain(less).collect()
    }

    /// Compares the host with how it was; what others do for a moment only is
    /// not held against the runtime.
    fn compare(&self, names: &[&str]) -> Verdict {
        let end = Instant::now() + Duration::from_secs(3);
        loop {
            let mut all: Vec<String> = Vec::new();
            for difference in self.differences() {
                let case = marked_case(&difference, names)
                    .map(|name| format!("of {name}"))
                    .or_else(|| self.since.get(&difference).cloned());
                all.push(match case {
                    Some(case) => format!("{difference} ({case})"),
                    None => difference,
                });
            }
            for (pid, words, env) in host::descendants() {
                let case = marked_case(&env, names).unwrap_or("a case that cannot be told");
                all.push(format!("+ process {pid} {words} (of {case})"));
            }
            if all.is_empty() {
                return Verdict::Passed;
            }
            if Instant::now() > end {
                return Verdict::Failed(format!("the host has changed: {}", all.join("; ")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The case whose mark a text bears.
fn marked_case<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let prefix = super::test::mark_prefix();
    let at = text.find(&prefix)? + prefix.len();
    let number: usize = text.get(at..at + 4)?.parse().ok()?;
    names.get(number).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_case() {
        let mark = super::super::test::mark(1);
        let names = ["a/one", "a/two"];
        let text = format!("+ mount /tmp/x/{mark}/bundle2/rootfs tmpfs");
        assert_eq!(marked_case(&text, &names), Some("a/two"));
        assert_eq!(marked_case("+ mount /mnt", &names), None);
    }

    #[test]
    fn a_lasting_difference_names_the_case_that_it_came_with() {
        let mut watch = Watch::new();
        watch.before.insert("mount /that/is/gone".into());
        watch.look("a/first", &BTreeSet::from(["a/beside"]));
        watch.look("a/second", &BTreeSet::new());
        let since = &watch.since["- mount /that/is/gone"];
        assert_eq!(since, "since a/first, or a/beside beside it");
    }
}
