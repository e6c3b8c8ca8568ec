//! A container that the runtime made.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::test::{patience, until};
use super::{Outcome, Run, Test, reaper};

/// A container by its id.
#[derive(Debug)]
pub struct Container<'t> {
    test: &'t Test<'t>,
    /// Its id.
    pub id: String,
    /// The process id that the runtime wrote to the pid file.
    pub pid: i32,
    /// Where its standard output goes.
    pub out: PathBuf,
    /// Where its standard error goes.
    pub err: PathBuf,
}

impl<'t> Container<'t> {
    /// Takes a container over that a call made.
    ///
    /// # Errors
    /// The pid file is not a bare decimal.
    pub fn made(
        test: &'t Test<'t>,
        id: String,
        pid_file: &std::path::Path,
        run: &Run,
    ) -> Outcome<Self> {
        let text = fs::read_to_string(pid_file)
            .map_err(|e| format!("there is no pid file after create returned: {e}"))?;
        let pid = text
            .parse()
            .map_err(|_| format!("the pid file holds {text:?}, not a bare decimal"))?;
        Ok(Container {
            test,
            id,
            pid,
            out: run.out_path.clone(),
            err: run.err_path.clone(),
        })
    }

    /// `start`.
    ///
    /// # Errors
    /// It fails.
    pub fn start(&self) -> Outcome<Run> {
        self.test.call(&["start", &self.id]).run()?.ok()
    }

    /// `state` as JSON.
    ///
    /// # Errors
    /// It fails or is not JSON.
    pub fn state(&self) -> Outcome<Value> {
        let run = self.test.call(&["state", &self.id]).run()?.ok()?;
        Ok(serde_json::from_str(&run.out)?)
    }

    /// The status that `state` tells.
    ///
    /// # Errors
    /// It fails.
    pub fn status(&self) -> Outcome<String> {
        Ok(self.state()?["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Asks for a status.
    ///
    /// # Errors
    /// It is another one.
    pub fn is(&self, wanted: &str) -> Outcome {
        let status = self.status()?;
        if status == wanted {
            return Ok(());
        }
        Err(format!("the status is {status:?}, it should be {wanted:?}").into())
    }

    /// Waits until the status is this one.
    ///
    /// # Errors
    /// It does not become so.
    pub fn await_status(&self, wanted: &str) -> Outcome {
        let mut last = String::new();
        let reached = until(|| {
            last = self.status().unwrap_or_else(|stop| format!("{stop:?}"));
            last == wanted
        });
        reached
            .ok_or_else(|| format!("the status stays {last:?}, it should become {wanted:?}").into())
    }

    /// Waits for the end of its process and returns its status, when the
    /// process became a child of the suite.
    ///
    /// # Errors
    /// It does not end.
    pub fn exit_code(&self) -> Outcome<i32> {
        reaper::wait(self.pid, patience()).ok_or_else(|| {
            format!("process {} did not end as a child of the suite", self.pid).into()
        })
    }

    /// `kill` with a signal.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kill(&self, signal: &str) -> Outcome<Run> {
        self.test.call(&["kill", &self.id, signal]).run()
    }

    /// Kills it and waits until it is stopped.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop(&self) -> Outcome {
        self.kill("KILL")?.ok()?;
        self.await_status("stopped")
    }

    /// `delete`.
    ///
    /// # Errors
    /// It fails.
    pub fn delete(&self) -> Outcome<Run> {
        self.test.call(&["delete", &self.id]).run()?.ok()
    }

    /// `exec ID probe ACTS…`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn exec(&self, flags: &[&str], acts: &[&str]) -> Outcome<Run> {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.push(&self.id);
        words.push("/bin/probe");
        words.extend(acts);
        self.test.call(&words).run()
    }

    /// The report of a program run by `exec`.
    ///
    /// # Errors
    /// It fails.
    pub fn exec_report(&self, flags: &[&str]) -> Outcome<Value> {
        let run = self.exec(flags, &["report"])?.ok()?;
        Ok(serde_json::from_str(&run.out)?)
    }

    /// What it has written to standard output.
    pub fn output(&self) -> String {
        fs::read(&self.out)
            .map(|raw| String::from_utf8_lossy(&raw).into_owned())
            .unwrap_or_default()
    }

    /// Waits until its standard output has this text.
    ///
    /// # Errors
    /// It does not come.
    pub fn await_output(&self, text: &str) -> Outcome {
        until(|| self.output().contains(text)).ok_or_else(|| {
            let err = fs::read_to_string(&self.err).unwrap_or_default();
            format!(
                "the program did not print {text:?}: {:?} {:?}",
                self.output(),
                err.trim()
            )
            .into()
        })
    }
}
