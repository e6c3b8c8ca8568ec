//! brig's command line: the shim knows no other way into it.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{Code, Context, Fault, Result};
use crate::options::Options;
use crate::reap;

/// brig, with the state of one container's namespace.
#[derive(Debug, Clone)]
pub struct Runtime {
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
}

/// What a command's process gets as 0, 1 and 2.
#[derive(Debug)]
pub struct Streams(pub [Stdio; 3]);

thread_local! {
    static COMMANDS: Cell<u64> = const { Cell::new(0) };
}

impl Runtime {
    /// The runtime for a namespace; `state` is the directory below which the
    /// containers' state is kept when the options name none.
    pub fn new(options: &Options, state: &Path, namespace: &str) -> Self {
        let binary = options
            .binary
            .clone()
            .or_else(|| std::env::var_os("BRIG_BINARY").map(PathBuf::from))
            .unwrap_or_else(|| "brig".into());
        let root = options.root.clone().unwrap_or_else(|| state.join("brig"));
        Runtime {
            binary,
            root: root.join(namespace),
            systemd_cgroup: options.systemd_cgroup,
        }
    }

    /// brig with the flags that every command has.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        // They are for containerd, which has its own.
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and gives what it printed.
    ///
    /// # Errors
    /// brig's own line.
    pub async fn run<A: Into<OsString>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>> {
        let mut command = self.command();
        command.args(arguments.into_iter().map(Into::into));
        let (out_reader, out_writer) = std::io::pipe().doing("make", "a pipe")?;
        let (error_reader, error_writer) = std::io::pipe().doing("make", "a pipe")?;
        command.stdout(out_writer).stderr(error_writer);
        let end = self.start(command)?;
        let (out, errors) = tokio::join!(read_all(out_reader), read_all(error_reader));
        let exit = end.await.map_err(|_| lost())?;
        if exit.status == 0 {
            return out;
        }
        let errors = String::from_utf8_lossy(&errors?).into_owned();
        let line = errors.lines().rfind(|line| !line.trim().is_empty());
        Err(self.fault(line.unwrap_or_default(), exit.status))
    }

    /// Runs a command whose standard streams are the container's; what it has
    /// to say comes through a log.
    ///
    /// # Errors
    /// brig's own line.
    pub async fn run_with<A: Into<OsString>>(
        &self,
        streams: Streams,
        bundle: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<()> {
        let number = COMMANDS.replace(COMMANDS.get() + 1);
        let log = bundle.join(format!("brig-log.{number}.json"));
        let mut command = self.command();
        command
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        command.args(arguments.into_iter().map(Into::into));
        let Streams([stdin, stdout, stderr]) = streams;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let exit = self.start(command)?.await.map_err(|_| lost())?;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        if exit.status == 0 {
            return Ok(());
        }
        Err(self.fault(&last_error(&said), exit.status))
    }

    fn start(&self, mut command: Command) -> Result<tokio::sync::oneshot::Receiver<reap::Exit>> {
        let child = command
            .spawn()
            .doing("run", self.binary.display())
            .map_err(|fault| {
                let hint = "install brig in PATH, or name it in the runtime's options";
                Fault::new(fault.code, format_args!("{fault}; {hint}"))
            })?;
        // The reaper waits for it: the handle has no more use.
        Ok(reap::end_of(child.id()))
    }

    fn fault(&self, line: &str, status: u32) -> Fault {
        let line = line.strip_prefix("brig: ").unwrap_or(line);
        if line.is_empty() {
            let text = format!("{} ended with status {status}", self.binary.display());
            return Fault::new(Code::Unknown, text);
        }
        Fault::new(code_of(line), line)
    }
}

fn lost() -> Fault {
    Fault::new(Code::Unknown, "the end of brig was not seen")
}

/// What brig's words mean to containerd.
fn code_of(line: &str) -> Code {
    let over = [
        "does not exist",
        "container not running",
        "no such process",
        "process already finished",
    ];
    // "does not exist" of a mount's source is no missing container.
    if line.starts_with("container ") && line.ends_with(over[0])
        || over[1..].iter().any(|words| line.contains(words))
    {
        Code::NotFound
    } else {
        Code::Unknown
    }
}

/// The last record of level error in a log of JSON lines.
fn last_error(log: &str) -> String {
    log.lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|record| record["level"] == "error")
        .and_then(|record| record["msg"].as_str().map(String::from))
        .unwrap_or_default()
}

async fn read_all(pipe: PipeReader) -> Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut all = Vec::new();
    let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))
        .doing("read", "brig's output")?;
    pipe.read_to_end(&mut all)
        .await
        .doing("read", "brig's output")?;
    Ok(all)
}

/// As [`Runtime::run`], for the subcommands that have no event loop.
///
/// # Errors
/// brig's own line.
pub fn run_now(mut command: Command) -> Result<Vec<u8>> {
    let (mut reader, writer) = std::io::pipe().doing("make", "a pipe")?;
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .doing("run", &name)?;
    // The command holds the pipe's other end.
    drop(command);
    let mut printed = Vec::new();
    reader
        .read_to_end(&mut printed)
        .doing("read", "brig's output")?;
    let out = out.wait_with_output().doing("wait for", &name)?;
    if out.status.success() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_string();
    Err(Fault::new(Code::Unknown, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_counts() {
        let log = concat!(
            "{\"level\":\"error\",\"msg\":\"first\"}\n",
            "{\"level\":\"error\",\"msg\":\"second\"}\n",
            "{\"level\":\"warning\",\"msg\":\"third\"}\nno json\n"
        );
        assert_eq!(last_error(log), "second");
        assert_eq!(last_error(""), "");
    }

    #[test]
    fn words_become_codes() {
        assert_eq!(code_of("container \"a\" does not exist"), Code::NotFound);
        assert_eq!(
            code_of("cannot signal container \"a\": container not running"),
            Code::NotFound
        );
        assert_eq!(
            code_of("mounts[7].source: /nosuch does not exist"),
            Code::Unknown
        );
    }
}
