//! What the cases are written with: bundles, calls of the runtime, the host
//! before and after, and the runner.

pub mod bundle;
pub mod call;
pub mod console;
pub mod container;
pub mod host;
pub mod print;
pub mod reaper;
pub mod runner;
pub mod test;

pub use bundle::Bundle;
pub use call::{Call, Process, Run};
pub use container::Container;
pub use test::Test;

use crate::sentences::SENTENCES;

/// Systems that a case applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platforms {
    /// Every system.
    Any,
    /// Linux only.
    Linux,
    /// FreeBSD only.
    FreeBsd,
}

impl Platforms {
    /// Whether a case of these platforms runs on this system.
    pub fn here(self) -> bool {
        match self {
            Platforms::Any => true,
            Platforms::Linux => cfg!(target_os = "linux"),
            Platforms::FreeBsd => cfg!(target_os = "freebsd"),
        }
    }

    /// As `--list` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Platforms::Any => "any",
            Platforms::Linux => "linux",
            Platforms::FreeBsd => "freebsd",
        }
    }
}

/// Why a case ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The runtime did not do what the case says.
    Fail(String),
    /// The case cannot be run here, and why.
    Skip(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Fail(text)
    }
}

impl From<&str> for Stop {
    fn from(text: &str) -> Stop {
        Stop::Fail(text.into())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Fail(error.to_string())
    }
}

impl From<nix::errno::Errno> for Stop {
    fn from(errno: nix::errno::Errno) -> Stop {
        Stop::Fail(format!("{errno:?}"))
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Stop {
        Stop::Fail(format!("not JSON: {error}"))
    }
}

/// What a case returns.
pub type Outcome<T = ()> = Result<T, Stop>;

/// One case.
#[derive(Debug)]
pub struct Case {
    /// `group/what-is-checked`.
    pub name: &'static str,
    /// Where it applies.
    pub platforms: Platforms,
    /// The document and section that asks for it.
    pub section: &'static str,
    /// What it checks, as a sentence.
    pub says: &'static str,
    /// The check.
    pub run: fn(&Test) -> Outcome,
}

impl Case {
    /// The group: `specification`, `engines` (what they rely on beyond it),
    /// `hostile` (attempts to get out or at the runtime) or `robustness`.
    pub fn group(&self) -> &'static str {
        if self.name.starts_with("hostile/") || self.section.starts_with("hostile,") {
            "hostile"
        } else if self.section.starts_with("engines,") {
            "engines"
        } else if self.section.starts_with("robustness,") {
            "robustness"
        } else {
            "specification"
        }
    }

    /// Sections and words that the case is held to: sentences of the
    /// specification where it checks some, else its own.
    pub fn citations(&self) -> Vec<(String, &'static str)> {
        let mut all: Vec<(String, &'static str)> = SENTENCES
            .iter()
            .filter(|sentence| sentence.is_checked_by(self.name))
            .map(|s| (format!("{}, {}", s.document, s.section), s.text))
            .collect();
        if all.is_empty() {
            all.push((self.section.to_owned(), self.says));
        }
        all
    }
}

/// Ends the case with a failure unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::harness::Stop::Fail(format!($($text)+)));
        }
    };
}

/// Ends the case with a failure unless both are equal.
#[macro_export]
macro_rules! same {
    ($left:expr, $right:expr, $what:expr) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err($crate::harness::Stop::Fail(format!(
                "{}: it is {left:?}, it should be {right:?}",
                $what
            )));
        }
    }};
}

/// Ends the case as skipped.
#[macro_export]
macro_rules! skip {
    ($($text:tt)+) => {
        return Err($crate::harness::Stop::Skip(format!($($text)+)))
    };
}
