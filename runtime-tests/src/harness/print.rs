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
    /// The XML that build servers read.
    Junit,
    /// One JSON object.
    Json,
}

impl Format {
    /// The form of this name.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "human" => Some(Format::Human),
            "tap" => Some(Format::Tap),
            "junit" => Some(Format::Junit),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// Prints verdicts and counts them.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    passed: usize,
    failed: usize,
    skipped: usize,
    all: Vec<(String, &'static str, Verdict, Duration)>,
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
    pub fn case(&mut self, name: &str, group: &'static str, verdict: &Verdict, time: Duration) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
        let number = self.passed + self.failed + self.skipped;
        let text = why(verdict);
        match (self.format, verdict) {
            (Format::Human, Verdict::Passed) => {
                line(&format!("pass  {name}  ({} ms)", time.as_millis()));
            }
            (Format::Human, Verdict::Skipped(_)) => line(&format!("skip  {name}: {text}")),
            (Format::Human, Verdict::Failed(_)) => line(&format!("FAIL  {name}: {text}")),
            (Format::Tap, Verdict::Passed) => line(&format!("ok {number} - {name}")),
            (Format::Tap, Verdict::Skipped(_)) => {
                line(&format!("ok {number} - {name} # SKIP {text}"));
            }
            (Format::Tap, Verdict::Failed(_)) => {
                line(&format!("not ok {number} - {name}\n# {text}"));
            }
            (Format::Json | Format::Junit, _) => {
                self.all
                    .push((name.to_owned(), group, verdict.clone(), time));
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
                let cases: Vec<Value> = self.all.iter().map(record).collect();
                let object = json!({
                    "cases": cases, "passed": passed, "failed": failed, "skipped": skipped,
                });
                line(&format!("{object:#}"));
            }
            Format::Junit => line(&self.junit()),
        }
        failed == 0
    }

    fn junit(&self) -> String {
        let time: Duration = self.all.iter().map(|(.., time)| *time).sum();
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite \
             name=\"runtime-tests\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" \
             time=\"{:.3}\">\n",
            self.all.len(),
            self.failed,
            self.skipped,
            time.as_secs_f64()
        );
        for (name, group, verdict, time) in &self.all {
            let head = format!(
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                xml(group),
                xml(name),
                time.as_secs_f64()
            );
            let text = xml(&why(verdict));
            out += &match verdict {
                Verdict::Passed => format!("{head}/>\n"),
                Verdict::Failed(_) => {
                    format!("{head}><failure message=\"{text}\"/></testcase>\n")
                }
                Verdict::Skipped(_) => {
                    format!("{head}><skipped message=\"{text}\"/></testcase>\n")
                }
            };
        }
        out + "  </testsuite>\n</testsuites>"
    }
}

fn record((name, group, verdict, time): &(String, &'static str, Verdict, Duration)) -> Value {
    let word = match verdict {
        Verdict::Passed => "pass",
        Verdict::Failed(_) => "fail",
        Verdict::Skipped(_) => "skip",
    };
    let text = (*verdict != Verdict::Passed).then(|| why(verdict));
    json!({
        "name": name, "group": group, "verdict": word, "text": text,
        "milliseconds": time.as_millis() as u64,
    })
}

/// The reason on one line.
fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => String::new(),
        Verdict::Failed(why) | Verdict::Skipped(why) => why.trim().replace('\n', " | "),
    }
}

/// A text as an attribute of XML 1.0, which has no way to write most control
/// characters.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

/// A reader that has gone away must not end the suite before it has cleaned up.
fn line(text: &str) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_no_forbidden_characters() {
        assert_eq!(
            xml("a<b>&\"c\" \u{1}\u{fffe}"),
            "a&lt;b&gt;&amp;&quot;c&quot; \u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn junit_counts_and_names() {
        let mut printer = Printer::new(Format::Junit);
        let time = Duration::from_millis(1500);
        printer.case("a/b", "engines", &Verdict::Passed, time);
        printer.case("a/c", "engines", &Verdict::Failed("x < y".into()), time);
        printer.case("a/d", "hostile", &Verdict::Skipped("no".into()), time);
        let text = printer.junit();
        assert!(
            text.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"4.500\"")
        );
        assert!(text.contains("<failure message=\"x &lt; y\"/>"));
        assert!(text.contains("classname=\"hostile\" name=\"a/d\""));
    }
}
