//! What every case uses: a directory to work in, and programs to run.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::containerd::Containerd;

/// Why a case failed.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// What became of a case that did not fail.
pub enum Outcome {
    /// All that it checks holds.
    Passed,
    /// It could not be tried here.
    Skipped(String),
}

/// A case: its name, and what it does.
pub type Case = (&'static str, fn(&mut Work) -> Result<Outcome>);

/// A directory of its own below TMPDIR, which is gone at the end.
pub struct Work {
    /// The program that is tested.
    pub brig: PathBuf,
    base: PathBuf,
    case: PathBuf,
    containerd: Option<Containerd>,
}

impl Work {
    /// Makes the directory.
    pub fn new(brig: PathBuf) -> Work {
        // Short, because a socket's path must fit 108 bytes.
        let base = std::env::temp_dir().join(format!("brig-i{}", std::process::id()));
        std::fs::create_dir(&base).expect("a directory below TMPDIR");
        Work {
            brig,
            case: base.clone(),
            base,
            containerd: None,
        }
    }

    /// Begins a case in a directory of its own.
    pub fn begin(&mut self, name: &str) {
        self.case = self.base.join(name.replace(' ', "-"));
        std::fs::create_dir(&self.case).expect("a case has a name of its own");
    }

    /// A path in the case's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.case.join(name)
    }

    /// A path that all cases share, made by the first that needs it.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// A containerd of its own, started by the first case that needs it.
    pub fn containerd(&mut self) -> Result<&Containerd> {
        if self.containerd.is_none() {
            self.containerd = Some(Containerd::start(&self.base.join("c"))?);
        }
        Ok(self.containerd.as_ref().expect("it was just started"))
    }

    /// Runs brig.
    pub fn brig(&self, arguments: &[&dyn AsRef<OsStr>]) -> Run {
        run(&self.brig, arguments)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.containerd = None;
        if std::env::var_os("KEEP").is_some() {
            println!("kept: {}", self.base.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.base) {
            println!("{}: {error}", self.base.display());
        }
    }
}

/// What a program printed, and its status.
pub struct Run {
    /// The command line.
    pub line: String,
    /// Exit status, or 128 and the signal.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// The standard output of a program that succeeded.
    pub fn ok(self) -> Result<String> {
        if self.status == 0 {
            return Ok(self.out);
        }
        let Run {
            line, status, err, ..
        } = self;
        Err(format!("{line}: status {status}: {}", err.trim_end()))
    }
}

/// Runs a program with these arguments, without an input.
pub fn run(program: impl AsRef<OsStr>, arguments: &[&dyn AsRef<OsStr>]) -> Run {
    let mut command = Command::new(&program);
    command.args(arguments.iter().map(|a| (*a).as_ref()));
    finish(command)
}

/// Runs a prepared command.
pub fn finish(mut command: Command) -> Run {
    let line = format!("{command:?}").replace('"', "");
    match command.stdin(Stdio::null()).output() {
        Ok(output) => Run {
            line,
            status: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Run {
            line,
            status: 127,
            out: String::new(),
            err: error.to_string(),
        },
    }
}

/// Runs a line of sh(1) in a directory.
pub fn sh(directory: &Path, line: &str) -> Result<String> {
    let mut command = Command::new("/bin/sh");
    command.arg("-ec").arg(line).current_dir(directory);
    finish(command).ok()
}

/// The tools that are not there.
pub fn missing(tools: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |tool: &str| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let absent: Vec<&str> = tools
        .iter()
        .copied()
        .filter(|tool| !is_there(tool))
        .collect();
    (!absent.is_empty()).then(|| format!("without {}", absent.join(", ")))
}

/// Writes a layout of one plain layer, named `latest`, for this machine.
pub fn write_layout(layout: &Path, layer: &[u8]) -> std::io::Result<()> {
    use sha2::{Digest, Sha256};
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: &str| -> std::io::Result<serde_json::Value> {
        let digest = Sha256::digest(bytes);
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(blobs.join(&hex), bytes)?;
        let media_type = format!("application/vnd.oci.image.{media_type}");
        Ok(
            serde_json::json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}),
        )
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let layer = put(layer, "layer.v1.tar")?;
    let config = serde_json::json!({
        "architecture": arch, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put(config.to_string().as_bytes(), "config.v1+json")?;
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let mut manifest = put(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "latest"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}
