//! Calls of the runtime's command line.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::test::patience;
use super::{Outcome, Test, reaper};
use crate::sys;

/// A call that is being put together.
#[derive(Debug)]
pub struct Call<'t> {
    test: &'t Test<'t>,
    root: PathBuf,
    globals: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Option<Stdio>,
    terminal: Option<OwnedFd>,
    cwd: Option<PathBuf>,
    fds: Vec<OwnedFd>,
    launcher: Vec<OsString>,
}

/// A command that was started.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    out: PathBuf,
    err: PathBuf,
    words: String,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its status, or 128 and the signal.
    pub code: i32,
    /// What it had written to standard output when it ended.
    pub out: String,
    /// What it had written to standard error when it ended.
    pub err: String,
    /// Where its standard output goes, which a container may still write.
    pub out_path: PathBuf,
    /// Where its standard error goes.
    pub err_path: PathBuf,
    words: String,
}

impl<'t> Call<'t> {
    /// The runtime with its global flags for this case, then `args`.
    pub fn new<S: AsRef<OsStr>>(test: &'t Test<'t>, args: &[S]) -> Call<'t> {
        Call {
            test,
            root: test.state_root(),
            globals: Vec::new(),
            args: args.iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env: vec![
                (
                    "PATH".into(),
                    "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin".into(),
                ),
                ("HOME".into(), "/root".into()),
                ("RUNTIME_TESTS_CASE".into(), test.mark.clone()),
            ],
            stdin: None,
            terminal: None,
            cwd: None,
            fds: Vec::new(),
            launcher: Vec::new(),
        }
    }

    /// Sets the runtime's `--root`, which is the case's otherwise.
    pub fn root(mut self, root: &Path) -> Self {
        self.root = root.into();
        self
    }

    /// Adds a flag before the command.
    pub fn global(mut self, words: &[&str]) -> Self {
        self.globals.extend(words.iter().map(OsString::from));
        self
    }

    /// Sets a variable of the runtime's own environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes a variable out of the runtime's own environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self
    }

    /// Gives it a text as standard input.
    ///
    /// # Errors
    /// The file that holds it cannot be made.
    pub fn stdin_text(mut self, text: &str) -> Outcome<Self> {
        let path = self.test.fresh("stdin");
        fs::write(&path, text)?;
        self.stdin = Some(File::open(path)?.into());
        Ok(self)
    }

    /// Makes a terminal its standard streams and controlling terminal.
    pub fn terminal(mut self, slave: OwnedFd) -> Self {
        self.terminal = Some(slave);
        self
    }

    /// Sets its working directory.
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Passes a descriptor, from 3 on.
    pub fn fd(mut self, fd: OwnedFd) -> Self {
        self.fds.push(fd);
        self
    }

    /// Tells it, as conmon does, that the first `count` descriptors from 3 on
    /// are sockets for the program (sd_listen_fds(3)).
    pub fn listens(mut self, count: u32) -> Self {
        self.env.push(("LISTEN_FDS".into(), count.to_string()));
        self.launcher = vec!["listen".into()];
        self
    }

    /// Starts it as nohup(1) and shells without job control do, with signals
    /// ignored.
    pub fn ignoring_signals(mut self) -> Self {
        self.launcher = vec!["ignore-signals".into()];
        self
    }

    /// Shows it a file or directory at another path, in a mount namespace of
    /// its own.
    pub fn covering(mut self, path: &str, with: &Path) -> Self {
        self.launcher = vec!["cover".into(), path.into(), with.into()];
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(self) -> Outcome<Process> {
        let (out, err) = (self.test.fresh("out"), self.test.fresh("err"));
        let suite = self.test.suite;
        let mut command = match self.launcher.is_empty() {
            true => Command::new(&suite.runtime),
            // It has the runtime's process id and then becomes the runtime.
            false => {
                let mut command = Command::new(&suite.probe);
                command.args(&self.launcher).arg(&suite.runtime);
                command
            }
        };
        command.args(&suite.arguments);
        command.arg("--root").arg(&self.root);
        command.args(&self.globals).args(&self.args);
        command
            .env_clear()
            .envs(self.env.iter().map(|(n, v)| (n, v)));
        let words: Vec<_> = self.args.iter().map(|a| a.to_string_lossy()).collect();
        let words = words.join(" ");
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let append = |path: &Path| fs::OpenOptions::new().append(true).create(true).open(path);
        match self.terminal {
            Some(slave) => {
                command
                    .stdin(slave.try_clone()?)
                    .stdout(slave.try_clone()?)
                    .stderr(slave);
                sys::with_controlling_terminal(&mut command);
            }
            None => {
                command.stdin(self.stdin.unwrap_or_else(Stdio::null));
                command.stdout(append(&out)?);
                command.stderr(append(&err)?);
                command.process_group(0);
            }
        }
        if !self.fds.is_empty() {
            sys::with_descriptors(&mut command, self.fds);
        }
        let pid = reaper::spawn(&mut command)?;
        Ok(Process {
            pid,
            out,
            err,
            words,
        })
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or hangs.
    pub fn run(self) -> Outcome<Run> {
        self.spawn()?.wait(patience())
    }
}

impl Process {
    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended in time; it is killed then.
    pub fn wait(&self, limit: Duration) -> Outcome<Run> {
        let Some(code) = reaper::wait(self.pid, limit) else {
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            let words = &self.words;
            return Err(format!(
                "`{words}` hangs: it had not ended after {} s",
                limit.as_secs()
            )
            .into());
        };
        Ok(Run {
            code,
            out: self.out_so_far(),
            err: fs::read_to_string(&self.err).unwrap_or_default(),
            out_path: self.out.clone(),
            err_path: self.err.clone(),
            words: self.words.clone(),
        })
    }

    /// What it has written to standard output until now.
    pub fn out_so_far(&self) -> String {
        fs::read(&self.out)
            .map(|raw| String::from_utf8_lossy(&raw).into_owned())
            .unwrap_or_default()
    }

    /// Waits until standard output has this text.
    ///
    /// # Errors
    /// It does not come.
    pub fn await_out(&self, text: &str) -> Outcome {
        super::test::until(|| self.out_so_far().contains(text)).ok_or_else(|| {
            format!(
                "`{}` did not print {text:?}: {:?}",
                self.words,
                self.out_so_far()
            )
            .into()
        })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Those of kill(2).
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }
}

impl Run {
    /// Asks for status 0.
    ///
    /// # Errors
    /// It is another one.
    pub fn ok(self) -> Outcome<Run> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(format!(
            "`{}` failed with status {}: {}",
            self.words,
            self.code,
            self.err.trim()
        )
        .into())
    }

    /// Asks for this status.
    ///
    /// # Errors
    /// It is another one.
    pub fn status(self, code: i32) -> Outcome<Run> {
        if self.code == code {
            return Ok(self);
        }
        let (words, got, err) = (&self.words, self.code, self.err.trim());
        Err(format!("`{words}` ended with status {got}, not {code}: {err}").into())
    }

    /// Asks for a failure.
    ///
    /// # Errors
    /// It succeeded, or was killed by a signal.
    pub fn fails(self) -> Outcome<Run> {
        match self.code {
            0 => Err(format!("`{}` succeeded, but must fail", self.words).into()),
            code if code > 128 && code < 160 => {
                Err(format!("`{}` was killed by signal {}", self.words, code - 128).into())
            }
            _ => Ok(self),
        }
    }

    /// Asks for one line on standard error, with status 1 and each of the
    /// words in it; the runtime's own name may stand before the line.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn one_line(self, words: &[&str]) -> Outcome<Run> {
        let run = self.fails()?;
        let lines = run.err.trim_end_matches('\n').lines().count();
        if run.code != 1 {
            return Err(format!("`{}` ended with status {}, not 1", run.words, run.code).into());
        }
        if lines != 1 {
            return Err(format!("standard error has {lines} lines, not 1: {:?}", run.err).into());
        }
        for word in words {
            if !run.err.contains(word) {
                return Err(format!("the error does not say {word:?}: {:?}", run.err).into());
            }
        }
        Ok(run)
    }

    /// Asks for an error without the phrases that engines take for a failed
    /// exec.
    ///
    /// # Errors
    /// One of them is there.
    pub fn no_exec_phrase(self) -> Outcome<Run> {
        let lower = self.err.to_lowercase();
        for phrase in EXEC_PHRASES {
            if lower.contains(phrase) {
                return Err(format!("the error has {phrase:?} in it: {:?}", self.err).into());
            }
        }
        Ok(self)
    }
}

/// Phrases that podman turns into the exit codes 126 and 127.
pub const EXEC_PHRASES: [&str; 5] = [
    "permission denied",
    "operation not permitted",
    "executable file not found in",
    "no such file or directory",
    "open executable",
];
