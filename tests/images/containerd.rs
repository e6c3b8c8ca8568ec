//! A containerd of the test's own, with its files below one directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Result, Run, run};

/// The running daemon; dropped, it ends.
pub struct Containerd {
    daemon: Child,
    socket: PathBuf,
}

impl Containerd {
    /// Starts it, and waits until it answers.
    pub fn start(base: &Path) -> Result<Containerd> {
        let text = |e: std::io::Error| format!("containerd: {e}");
        std::fs::create_dir(base).map_err(text)?;
        let (socket, config) = (base.join("c.sock"), base.join("containerd.toml"));
        let shown = base.display();
        let toml = format!(
            "version = 2\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{shown}/c.sock\"\n[ttrpc]\naddress = \"{shown}/c.sock.ttrpc\"\n"
        );
        std::fs::write(&config, toml).map_err(text)?;
        let log = File::create(base.join("log")).map_err(text)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(text)?).stderr(log);
        let daemon = command.spawn().map_err(text)?;
        let containerd = Containerd { daemon, socket };
        let begun = Instant::now();
        while containerd.ctr(&[&"version"]).status != 0 {
            if begun.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(base.join("log")).unwrap_or_default();
                let last = log.lines().next_back().unwrap_or_default().to_owned();
                return Err(format!("containerd does not answer: {last}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(containerd)
    }

    /// Runs ctr against it.
    pub fn ctr(&self, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--address", &self.socket];
        all.extend([&"--namespace" as &dyn AsRef<std::ffi::OsStr>, &"brig-test"]);
        all.extend(arguments);
        run("ctr", &all)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
