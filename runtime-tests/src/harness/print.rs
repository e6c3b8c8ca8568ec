//! The forms of the result.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Otherwise, and how.
    Failed(String),
    /// It was not run, and why.
    Skipped(String),
}

/// A form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a case.
    Human,
    /// The Test Anything Protocol, version 13.
    Tap,
    /// One JSON object.
    Json,
}

/// Prints verdicts and counts them.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    passed: usize,
    failed: usize,
    skipped: usize,
    all: Vec<Value>,
}

impl Printer {
    /// Prints in a form.
    pub fn new(format: Format) -> Printer {
        Printer {
            format,
            passed: 0,
            failed: 0,
            skipped: 0,
            all: Vec::new(),
        }
    }

    /// Tells how many verdicts will come.
    pub fn begin(&mut self, count: usize) {
        if self.format == Format::Tap {
            line(&format!("TAP version 13\n1..{count}"));
        }
    }

    /// Prints one verdict.
    pub fn case(&mut self, name: &str, verdict: &Verdict, time: Duration) {
        let (word, text) = match verdict {
            Verdict::Passed => ("pass", None),
            Verdict::Failed(why) => ("fail", Some(why.trim().replace('\n', " | "))),
            Verdict::Skipped(why) => ("skip", Some(why.trim().replace('\n', " | "))),
        };
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
        let number = self.passed + self.failed + self.skipped;
        let ms = time.as_millis();
        match (self.format, verdict) {
            (Format::Human, Verdict::Passed) => line(&format!("pass  {name}  ({ms} ms)")),
            (Format::Human, _) => {
                let word = if word == "fail" { "FAIL" } else { word };
                line(&format!("{word}  {name}: {}", text.unwrap_or_default()));
            }
            (Format::Tap, Verdict::Passed) => line(&format!("ok {number} - {name}")),
            (Format::Tap, Verdict::Skipped(_)) => {
                line(&format!(
                    "ok {number} - {name} # SKIP {}",
                    text.unwrap_or_default()
                ));
            }
            (Format::Tap, Verdict::Failed(_)) => {
                line(&format!(
                    "not ok {number} - {name}\n# {}",
                    text.unwrap_or_default()
                ));
            }
            (Format::Json, _) => {
                let record =
                    json!({"name": name, "verdict": word, "text": text, "milliseconds": ms as u64});
                self.all.push(record);
            }
        }
    }

    /// Prints the closing line; true when nothing failed.
    pub fn end(&mut self) -> bool {
        let (passed, failed, skipped) = (self.passed, self.failed, self.skipped);
        let closing = format!("{passed} passed, {failed} failed, {skipped} skipped");
        match self.format {
            Format::Human => line(&closing),
            Format::Tap => line(&format!("# {closing}")),
            Format::Json => {
                let object = json!({
                    "cases": self.all, "passed": passed, "failed": failed, "skipped": skipped,
                });
                line(&format!("{object:#}"));
            }
        }
        failed == 0
    }
}

/// A reader that has gone away must not end the suite before it has cleaned up.
fn line(text: &str) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}
