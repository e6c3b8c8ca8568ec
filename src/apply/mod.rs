//! Applying a plan: a loop that writes the intent of a step to the journal,
//! performs it, and writes the outcome. Reverting takes the journal back, last
//! step first. Nothing here knows OCI types or decides anything.

#[cfg(target_os = "freebsd")]
pub mod freebsd;
pub mod journal;
#[cfg(target_os = "linux")]
pub mod linux;

#[cfg(target_os = "freebsd")]
use freebsd as backend;
#[cfg(target_os = "linux")]
use linux as backend;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::Step;
use crate::report;
use journal::Journal;

/// What performing a step left on the host: all that its revert needs besides
/// the step itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Nothing, or nothing beyond what the step names.
    #[default]
    Done,
    /// Paths that were created for the step, outermost first.
    Created(Vec<std::path::PathBuf>),
    /// A mount, by its file system id (f_fsid of statfs(2)).
    Mounted {
        fsid: [i32; 2],
        created: Vec<std::path::PathBuf>,
    },
    /// What a mount is going to be, in case the runtime dies while it mounts:
    /// the file system below it, and the paths that will be created.
    Mounting {
        below: [i32; 2],
        created: Vec<std::path::PathBuf>,
    },
    /// What was mounted in a root already, by the file system ids.
    MountedBefore(Vec<[i32; 2]>),
    /// A limit that was raised.
    Raised { before: i32, by: i32 },
    /// A jail, by its id.
    Jail { jid: i32 },
    /// It was as wanted already, so there is nothing to take back.
    Kept,
}

/// Performs one step, journaled, and returns what it left. On an error the
/// caller reverts the journal, which names the step already.
///
/// # Errors
/// The step failed, or the journal could not be written.
pub fn perform(step: &Step, journal: &mut Journal) -> Result<Outcome> {
    #[cfg(target_os = "freebsd")]
    let foreseen = backend::foresee(step)?;
    let sequence = journal.intend(step)?;
    #[cfg(target_os = "freebsd")]
    if let Some(foreseen) = foreseen {
        journal.outcome(sequence, &foreseen)?;
    }
    let outcome = backend::perform(step)?;
    journal.outcome(sequence, &outcome)?;
    Ok(outcome)
}

/// Takes every step of the journal back, last first. It is idempotent and goes
/// on past a failure.
///
/// # Errors
/// All failures in one line; the journal then still names what is left.
pub fn revert(journal: &mut Journal) -> Result<()> {
    let mut failures = Vec::new();
    let pending = journal.pending();
    let is_over = journal.is_of_earlier_boot();
    for entry in &pending {
        let outcome = entry.outcome.as_ref();
        let reverted = if is_over {
            backend::revert_after_boot(&entry.step, outcome, &pending)
        } else {
            backend::revert(&entry.step, outcome)
        };
        match reverted {
            Ok(()) => journal.reverted(entry.sequence),
            Err(error) => {
                report::debug(|| format!("revert: {error}"));
                failures.push(error.to_string());
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::text(failures.join("; ")))
    }
}
