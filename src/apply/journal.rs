//! The journal: one line of JSON for each intent, outcome and revert, appended
//! with one write each, so that a runtime killed at any instruction leaves a
//! file from which everything can be taken back.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::error::{Context, Error, Result};
use crate::plan::Step;
use crate::sys;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// The boot of the host that the outcomes belong to.
    Boot {
        id: String,
    },
    Intent {
        sequence: u32,
        step: Step,
    },
    Outcome {
        sequence: u32,
        outcome: Outcome,
    },
    Reverted {
        sequence: u32,
    },
    /// The container was made, and its process let go.
    Complete,
}

/// A step that was begun and not taken back.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the order.
    pub sequence: u32,
    /// What was intended.
    pub step: Step,
    /// What it left; absent when the runtime died in the middle of it.
    pub outcome: Option<Outcome>,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    entries: Vec<Entry>,
    next: u32,
    boot: Option<String>,
}

impl Journal {
    /// Makes a new journal; the file must not exist.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Journal> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.doing("create the journal", path.display())?;
        let mut journal = Journal {
            file,
            path: path.into(),
            entries: Vec::new(),
            next: 0,
            boot: None,
        };
        journal.append(Line::Boot { id: sys::boot_id() })?;
        Ok(journal)
    }

    /// Opens the journal of an earlier command. A last line that was cut off
    /// in the middle of its write is passed over: its step was not begun.
    ///
    /// # Errors
    /// The file cannot be read, or holds what brig did not write.
    pub fn open(path: &Path) -> Result<Journal> {
        let text = std::fs::read_to_string(path).doing("read the journal", path.display())?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let file = OpenOptions::new().append(true).open(path);
        let mut file = file.doing("open the journal", path.display())?;
        if whole.len() + 1 < text.len() {
            file.write_all(b"\n")
                .doing("write the journal", path.display())?;
        }
        let mut journal = Journal {
            file,
            path: path.into(),
            entries: Vec::new(),
            next: 0,
            boot: None,
        };
        let lines = whole.lines().filter(|line| !line.is_empty()).count();
        for (i, line) in whole.lines().filter(|line| !line.is_empty()).enumerate() {
            match serde_json::from_str(line) {
                Ok(line) => journal.replay(line),
                // A line that a killed runtime cut off, and a later command
                // closed with a newline, stands in the middle.
                Err(e) if e.is_eof() => {}
                Err(e) => {
                    let at = format!("{} (line {} of {lines})", path.display(), i + 1);
                    return Err(Error::new("read the journal", at, e));
                }
            }
        }
        Ok(journal)
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Boot { id } => self.boot = Some(id),
            Line::Intent { sequence, step } => {
                self.entries.push(Entry {
                    sequence,
                    step,
                    outcome: None,
                });
                self.next = self.next.max(sequence + 1);
            }
            Line::Outcome { sequence, outcome } => {
                if let Some(entry) = self.entries.iter_mut().find(|e| e.sequence == sequence) {
                    entry.outcome = Some(outcome);
                }
            }
            Line::Reverted { sequence } => self.entries.retain(|e| e.sequence != sequence),
            Line::Complete => {}
        }
    }

    /// Records that a step is about to be performed.
    ///
    /// # Errors
    /// The file cannot be written; the step must then not be performed.
    pub fn intend(&mut self, step: &Step) -> Result<u32> {
        let sequence = self.next;
        self.append(Line::Intent {
            sequence,
            step: step.clone(),
        })?;
        Ok(sequence)
    }

    /// Records what a step left.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn outcome(&mut self, sequence: u32, outcome: &Outcome) -> Result<()> {
        self.append(Line::Outcome {
            sequence,
            outcome: outcome.clone(),
        })
    }

    /// Records that a step was taken back. A failing write is no fault: revert
    /// is idempotent and may be repeated.
    pub fn reverted(&mut self, sequence: u32) {
        let _ = self.append(Line::Reverted { sequence });
    }

    /// Records that the container was made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn complete(&mut self) -> Result<()> {
        self.append(Line::Complete)
    }

    /// Whether a journal tells of a create that went to its end. One that
    /// cannot be read tells of none.
    pub fn is_complete(path: &Path) -> bool {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        lines.any(|line| matches!(serde_json::from_str(line), Ok(Line::Complete)))
    }

    /// Whether the host was booted since: no file system id, jail, address or
    /// limit of then is there any more, and one that looks alike is not it.
    pub fn is_of_earlier_boot(&self) -> bool {
        self.boot.as_ref().is_some_and(|id| *id != sys::boot_id())
    }

    /// The steps that are not taken back, last first.
    pub fn pending(&self) -> Vec<Entry> {
        self.entries.iter().rev().cloned().collect()
    }

    fn append(&mut self, line: Line) -> Result<()> {
        let doing = || ("write the journal", self.path.display().to_string());
        let mut bytes =
            serde_json::to_vec(&line).map_err(|e| Error::new(doing().0, doing().1, e))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).doing(doing().0, doing().1)?;
        self.replay(line);
        Ok(())
    }
}
