//! Bundles: a root file system with the contained program in it, and a
//! configuration to change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Outcome;

/// A bundle that is being made.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its directory.
    pub dir: PathBuf,
    /// What config.json will hold.
    pub config: Value,
}

/// The users of the containers.
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/probe\nalice:x:1000:1001:Alice:/home/alice:/bin/probe\n";
const GROUP: &str = "root:x:0:\nstaff:x:1001:\nvideo:x:44:alice\n";

impl Bundle {
    /// Makes the directory, with the platform's usual configuration.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn new(dir: PathBuf, probe: &Path, mark: &str) -> Outcome<Bundle> {
        let root = dir.join("rootfs");
        for name in [
            "bin",
            "dev",
            "proc",
            "sys",
            "tmp",
            "etc",
            "root",
            "home/alice",
            "mnt",
        ] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        // One copy serves all: a case that changes the program makes its own.
        if fs::hard_link(probe, root.join("bin/probe")).is_err() {
            fs::copy(probe, root.join("bin/probe"))?;
        }
        fs::write(root.join("etc/passwd"), PASSWD)?;
        fs::write(root.join("etc/group"), GROUP)?;
        Ok(Bundle {
            dir,
            config: usual(mark),
        })
    }

    /// The root file system's directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Sets what the contained program does: the words of the acts.
    pub fn acts(mut self, words: &[&str]) -> Bundle {
        let mut args = vec!["/bin/probe"];
        args.extend(words);
        self.config["process"]["args"] = json!(args);
        self
    }

    /// Sets a property by its JSON pointer; objects on the way are made. `-`
    /// behind an array appends.
    pub fn set(mut self, pointer: &str, value: Value) -> Bundle {
        let mut at = &mut self.config;
        for step in pointer.split('/').skip(1) {
            if at.is_null() {
                *at = if step == "-" { json!([]) } else { json!({}) };
            }
            at = if let Value::Array(all) = at {
                let index = if step == "-" {
                    all.push(Value::Null);
                    all.len() - 1
                } else {
                    step.parse().expect("an index in the pointer")
                };
                &mut all[index]
            } else {
                &mut at[step]
            };
        }
        *at = value;
        self
    }

    /// Takes a property away.
    pub fn unset(mut self, pointer: &str) -> Bundle {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        if let Some(parent) = self
            .config
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
        {
            parent.shift_remove(name);
        }
        self
    }

    /// Appends a mount.
    pub fn mount(self, mount: Value) -> Bundle {
        self.set("/mounts/-", mount)
    }

    /// Binds a path of the host, in the words of the platform.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Bundle {
        let source = source.display().to_string();
        if cfg!(target_os = "freebsd") {
            let mount = json!({"destination": destination, "source": source, "type": "nullfs", "options": options});
            return self.mount(mount);
        }
        let mut all = vec!["bind"];
        all.extend(options);
        self.mount(
            json!({"destination": destination, "source": source, "type": "bind", "options": all}),
        )
    }

    /// Mounts a tmpfs.
    pub fn tmpfs(self, destination: &str, options: &[&str]) -> Bundle {
        self.mount(json!({
            "destination": destination, "source": "tmpfs", "type": "tmpfs", "options": options,
        }))
    }

    /// Adds an environment variable.
    pub fn env(self, entry: &str) -> Bundle {
        self.set("/process/env/-", json!(entry))
    }

    /// Adds a hook of a kind.
    pub fn hook(self, kind: &str, hook: Value) -> Bundle {
        self.set(&format!("/hooks/{kind}/-"), hook)
    }

    /// Puts a file below the root.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn file(self, path: &str, text: &str, mode: u32) -> Outcome<Bundle> {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a file has a parent"))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(self)
    }

    /// Puts a directory below the root.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(self, path: &str) -> Outcome<Bundle> {
        fs::create_dir_all(self.root().join(path.trim_start_matches('/')))?;
        Ok(self)
    }

    /// Puts a symbolic link below the root.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn link(self, path: &str, target: &str) -> Outcome<Bundle> {
        std::os::unix::fs::symlink(target, self.root().join(path.trim_start_matches('/')))?;
        Ok(self)
    }

    /// Removes one of the default namespaces (Linux).
    pub fn without_namespace(mut self, kind: &str) -> Bundle {
        if let Some(all) = self.config["linux"]["namespaces"].as_array_mut() {
            all.retain(|n| n["type"] != kind);
        }
        self
    }

    /// Removes the mount on a destination.
    pub fn without_mount(mut self, destination: &str) -> Bundle {
        if let Some(all) = self.config["mounts"].as_array_mut() {
            all.retain(|m| m["destination"] != destination);
        }
        self
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Outcome {
        fs::write(
            self.dir.join("config.json"),
            serde_json::to_vec_pretty(&self.config)?,
        )?;
        Ok(())
    }
}

fn usual(mark: &str) -> Value {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe", "report"],
            "env": ["PATH=/bin", format!("RUNTIME_TESTS_CASE={mark}")],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "mounts": [],
    });
    if cfg!(target_os = "freebsd") {
        config["ociVersion"] = json!("1.3.0");
        config["mounts"] = json!([
            {"destination": "/dev", "type": "devfs", "source": "devfs", "options": ["ruleset=4"]},
        ]);
        return config;
    }
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETUID",
        "CAP_SETGID"
    ]);
    config["process"]["capabilities"] = json!({
        "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
    });
    config["process"]["noNewPrivileges"] = json!(true);
    config["mounts"] = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]);
    config["linux"] = json!({
        "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        "namespaces": [
            {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
        ],
    });
    config
}
