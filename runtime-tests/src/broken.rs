//! A runtime that is broken on purpose, in one way at a time: it stands before
//! a real one and drops or changes one property of what passes through. The
//! suite is tested with it: a case that never fails checks nothing.
//!
//! `runtime-tests __broken MUTATION RUNTIME ARGUMENTS…`; see [`perform`] for
//! the mutations.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The word that makes this binary the broken runtime.
pub const WORD: &str = "__broken";

/// Whether this process was started as the broken runtime.
pub fn is_wanted() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == WORD)
}

/// The commands of the runtimes.
const COMMANDS: [&str; 18] = [
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "run",
    "exec",
    "list",
    "ps",
    "pause",
    "resume",
    "update",
    "events",
    "features",
    "spec",
    "gc",
    "checkpoint",
    "restore",
];

/// One call that passes through.
struct Through {
    runtime: OsString,
    arguments: Vec<OsString>,
    command: String,
}

/// Runs the broken runtime.
pub fn main() -> ! {
    let mut words = std::env::args_os().skip(2);
    let mutation = words.next().unwrap_or_default();
    let runtime = words.next().unwrap_or_default();
    let arguments: Vec<OsString> = words.collect();
    let command = command_of(&arguments);
    let mut through = Through {
        runtime,
        arguments,
        command,
    };
    let mutation = mutation.to_string_lossy().into_owned();
    let words: Vec<&str> = mutation.split(' ').collect();
    let status = perform(&mut through, &words).unwrap_or_else(|| through.replace());
    std::process::exit(status)
}

/// The command, before which only global flags stand.
fn command_of(arguments: &[OsString]) -> String {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if ["--root", "--log", "--log-format", "--log-level"]
            .iter()
            .any(|f| word == f)
        {
            words.next();
        } else if let Some(command) = COMMANDS.iter().find(|command| word == **command) {
            return (*command).to_owned();
        }
    }
    String::new()
}

/// Does what the mutation says; None when the call goes through as it now is.
fn perform(through: &mut Through, words: &[&str]) -> Option<i32> {
    let command = through.command.clone();
    let is = |names: &str| names == "any" || names.split(',').any(|name| name == command);
    match words {
        // Takes properties out of config.json.
        ["drop", pointers @ ..] => through.change(|config| {
            for pointer in pointers {
                remove(config, pointer);
            }
        }),
        // Sets properties in config.json; ~ stands for a space.
        ["set", pairs @ ..] => through.change(|config| {
            for pair in pairs.chunks_exact(2) {
                if let Ok(value) = serde_json::from_str(&pair[1].replace('~', " ")) {
                    put(config, pair[0], value);
                }
            }
        }),
        // Appends to an array in config.json.
        ["append", pointer, value] => through.change(|config| {
            if config.pointer(pointer).is_none() {
                put(config, pointer, json!([]));
            }
            if let (Some(Value::Array(all)), Ok(value)) =
                (config.pointer_mut(pointer), serde_json::from_str(value))
            {
                all.push(value);
            }
        }),
        // Turns an array of config.json round.
        ["reverse", pointers @ ..] => through.change(|config| {
            for pointer in pointers {
                if let Some(Value::Array(all)) = config.pointer_mut(pointer) {
                    all.reverse();
                }
            }
        }),
        // Replaces a text anywhere in config.json.
        ["replace", old, new] if !old.is_empty() => through.edit(|text| text.replace(old, new)),
        // Takes flags out, and the values of those that end with `=`.
        ["swallow", flags @ ..] => through.swallow(flags),
        // Puts words behind the command.
        ["insert", commands, more @ ..] if is(commands) => {
            let at = through
                .arguments
                .iter()
                .position(|word| *word == *command)?;
            for (i, word) in more.iter().enumerate() {
                through.arguments.insert(at + 1 + i, word.into());
            }
        }
        // Replaces an argument.
        ["argument", old, new] => {
            for word in &mut through.arguments {
                if *word == **old {
                    *word = new.into();
                }
            }
        }
        // Does nothing, and says that all is well.
        ["noop", commands] if is(commands) => return Some(0),
        // Does nothing but fail.
        ["fail", commands] if is(commands) => {
            let _ = writeln!(std::io::stderr(), "broken");
            return Some(1);
        }
        // Runs the command, whose status is lost.
        ["status", commands, code] if is(commands) => {
            through.pass();
            return code.parse().ok();
        }
        // A failure of the runtime is told as a success.
        ["succeed", commands] if is(commands) => {
            through.pass();
            return Some(0);
        }
        // Another line on standard error.
        ["noise", commands] if is(commands) => {
            let _ = writeln!(std::io::stderr(), "noise of the broken runtime");
        }
        // No word of what was wrong.
        ["mute", commands] if is(commands) => {
            let output = through.output()?;
            let _ = std::io::stdout().write_all(&output.stdout);
            if !output.status.success() {
                let _ = writeln!(std::io::stderr(), "failed");
            }
            return Some(code(&output));
        }
        // A word of the error is another one; ~ stands for a space.
        ["reword", commands, old, new] if is(commands) => {
            let output = through.output()?;
            let _ = std::io::stdout().write_all(&output.stdout);
            let text = String::from_utf8_lossy(&output.stderr)
                .replace(&old.replace('~', " "), &new.replace('~', " "));
            let _ = std::io::stderr().write_all(text.as_bytes());
            return Some(code(&output));
        }
        // A property of the JSON on standard output is another one, or none.
        ["json", commands, pointer, value @ ..] if is(commands) => {
            return through.rewrite(|text| {
                let mut object: Value = serde_json::from_str(text).ok()?;
                match value.first().and_then(|v| serde_json::from_str(v).ok()) {
                    Some(value) => put(&mut object, pointer, value),
                    None => remove(&mut object, pointer),
                }
                Some(object.to_string())
            });
        }
        // Standard output is another one; ~ stands for a space.
        ["output", commands, text @ ..] if is(commands) => {
            let text = text.join(" ").replace('~', " ");
            return through.rewrite(|_| Some(text));
        }
        // What the pid file holds is another number.
        ["pid-file", text] => {
            let file = through.value(&["--pid-file"])?;
            let status = through.pass();
            if Path::new(&file).exists() {
                let _ = fs::write(&file, text);
            }
            return Some(status);
        }
        // The pid file is written before anything was done.
        ["pid-file-early"] => {
            if let Some(file) = through.value(&["--pid-file"]) {
                let _ = fs::write(file, "1");
            }
        }
        // Something of the container is left on the host.
        ["leak", what, commands] if is(commands) => {
            let status = through.pass();
            through.leak(what);
            return Some(status);
        }
        // What another command undoes is done by this one as well.
        ["also", commands, more @ ..] if is(commands) => {
            let status = through.pass();
            let id = through.arguments.last()?.clone();
            let mut command = Command::new(&through.runtime);
            if let Some(root) = through.value(&["--root"]) {
                command.arg("--root").arg(root);
            }
            let _ = command
                .args(more)
                .arg(id)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            return Some(status);
        }
        // It takes its time.
        ["slow", commands, milliseconds] if is(commands) => {
            let milliseconds = milliseconds.parse().unwrap_or(0);
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        }
        // It stays when all is done.
        ["linger", commands] if is(commands) => {
            through.pass();
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        // The environment of the runtime is not passed on.
        ["environment", names @ ..] => {
            let mut command = Command::new(&through.runtime);
            command.args(&through.arguments);
            for name in names {
                command.env_remove(name);
            }
            let _ = command.exec();
        }
        // Descriptors are closed: no listener's, no preserved ones.
        ["descriptors"] => {
            let mut command = Command::new(&through.runtime);
            command.args(&through.arguments).env_remove("LISTEN_FDS");
            crate::sys::without_descriptors(&mut command);
            let _ = command.exec();
        }
        // Paths of the configuration are followed out of the root.
        ["follow"] => through.follow(),
        // What a mount was made of is taken away with it.
        ["wipe", commands] if is(commands) => through.wipe(),
        // The processes of a cgroup end with a create that failed.
        ["end-cgroup"] => {
            let status = through.pass();
            if status != 0 {
                through.end_cgroup();
            }
            return Some(status);
        }
        // start makes the container again from the bundle as it is by now.
        ["again", commands] if is(commands) => through.again(),
        // The runtime's own program is another one afterwards.
        ["change-self", commands] if is(commands) => {
            let path = std::env::current_exe().ok()?;
            let mut raw = fs::read(&path).ok()?;
            raw.push(0);
            let new = path.with_extension(std::process::id().to_string());
            fs::write(&new, raw).ok()?;
            fs::set_permissions(&new, fs::metadata(&path).ok()?.permissions()).ok()?;
            fs::rename(new, path).ok()?;
        }
        // A directory of the host is open in what the runtime starts.
        ["open-directory", commands] if is(commands) => {
            let directory = fs::File::open("/").ok()?;
            crate::sys::give_as_third(&directory);
            let at = through
                .arguments
                .iter()
                .position(|word| *word == *command)?;
            for (i, word) in ["--preserve-fds", "1"].into_iter().enumerate() {
                through.arguments.insert(at + 1 + i, word.into());
            }
            return Some(through.replace());
        }
        // Whatever the command, a state file is removed, when there is one.
        ["forget", commands] if is(commands) => {
            let root = through.value(&["--root"])?;
            let id = through.arguments.last()?.clone();
            let status = through.pass();
            let _ = fs::remove_dir_all(Path::new(&root).join(id));
            return Some(status);
        }
        _ => {}
    }
    None
}

fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0))
}

impl Through {
    /// Becomes the real runtime.
    fn replace(&self) -> i32 {
        let error = Command::new(&self.runtime).args(&self.arguments).exec();
        let _ = writeln!(std::io::stderr(), "broken: {error}");
        125
    }

    /// Runs the real runtime to its end.
    fn pass(&self) -> i32 {
        let status = Command::new(&self.runtime).args(&self.arguments).status();
        status.map_or(125, |status| {
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
        })
    }

    /// Runs the real runtime to its end and takes what it writes. Files stand
    /// between, because a container would hold a pipe open.
    fn output(&self) -> Option<Output> {
        let path =
            |name: &str| std::env::temp_dir().join(format!("broken.{}.{name}", std::process::id()));
        let (out, err) = (path("out"), path("err"));
        let status = Command::new(&self.runtime)
            .args(&self.arguments)
            .stdout(fs::File::create(&out).ok()?)
            .stderr(fs::File::create(&err).ok()?)
            .status();
        let (stdout, stderr) = (fs::read(&out), fs::read(&err));
        let _ = (fs::remove_file(&out), fs::remove_file(&err));
        Some(Output {
            status: status.ok()?,
            stdout: stdout.ok()?,
            stderr: stderr.ok()?,
        })
    }

    /// Runs the real runtime and changes what it writes to standard output.
    fn rewrite(&self, change: impl FnOnce(&str) -> Option<String>) -> Option<i32> {
        let output = self.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = change(&text).unwrap_or(text);
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stderr().write_all(&output.stderr);
        Some(code(&output))
    }

    /// The value of a flag.
    fn value(&self, names: &[&str]) -> Option<OsString> {
        let mut words = self.arguments.iter();
        while let Some(word) = words.next() {
            if names.iter().any(|name| word == *name) {
                return words.next().cloned();
            }
            for name in names {
                let prefix = format!("{name}=");
                if let Some(value) = word.as_bytes().strip_prefix(prefix.as_bytes()) {
                    return Some(OsStr::from_bytes(value).to_owned());
                }
            }
        }
        None
    }

    fn bundle(&self) -> PathBuf {
        self.value(&["--bundle", "-b"])
            .map_or_else(|| PathBuf::from("."), PathBuf::from)
    }

    /// Changes the text of config.json before a container is made of it.
    fn edit(&self, change: impl FnOnce(&str) -> String) {
        if self.command != "create" && self.command != "run" {
            return;
        }
        let path = self.bundle().join("config.json");
        if let Ok(text) = fs::read_to_string(&path) {
            let _ = fs::write(&path, change(&text));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        self.edit(|text| match serde_json::from_str(text) {
            Ok(mut config) => {
                change(&mut config);
                config.to_string()
            }
            Err(_) => text.to_owned(),
        });
    }

    fn swallow(&mut self, flags: &[&str]) {
        let mut kept = Vec::new();
        let mut words = std::mem::take(&mut self.arguments).into_iter();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy();
            if flags.iter().any(|flag| text == *flag) {
                continue;
            }
            // `--flag VALUE`, and `--flag=VALUE`.
            if flags
                .iter()
                .any(|flag| flag.strip_suffix('=') == Some(&text))
            {
                words.next();
                continue;
            }
            if flags
                .iter()
                .any(|flag| flag.ends_with('=') && text.starts_with(flag))
            {
                continue;
            }
            kept.push(word);
        }
        self.arguments = kept;
    }

    fn config(&self, bundle: &Path) -> Option<Value> {
        let text = fs::read_to_string(bundle.join("config.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What a runtime does that joins the root's path and one of the
    /// configuration, and lets the kernel follow whatever is there.
    fn follow(&self) {
        if self.command != "create" && self.command != "run" {
            return;
        }
        let bundle = self.bundle();
        let Some(config) = self.config(&bundle) else {
            return;
        };
        let root = bundle.join("rootfs");
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        // Only what the suite itself has made may be written.
        let ours = |path: &Path| {
            let parent = path.ancestors().find_map(|p| p.canonicalize().ok());
            parent.is_some_and(|p| p.display().to_string().contains("runtime-tests."))
        };
        let touch = |path: &Path| {
            if ours(path) {
                let _ = fs::write(path, "");
            }
        };
        let each = |pointer: &str, name: &str| -> Vec<String> {
            let all = config.pointer(pointer).and_then(Value::as_array);
            let texts = all.into_iter().flatten();
            texts
                .filter_map(|v| v.get(name).unwrap_or(v).as_str().map(String::from))
                .collect()
        };
        for (i, destination) in each("/mounts", "destination").iter().enumerate() {
            let target = inside(destination);
            let source = config["mounts"][i]["source"].as_str().unwrap_or_default();
            if target.is_symlink() && target.is_dir() && ours(&target) {
                let _ = crate::probe::mount_tmpfs(&target.to_string_lossy());
            } else if Path::new(source).is_file() {
                touch(&target);
            } else if ours(&target) {
                let _ = fs::create_dir_all(&target);
            }
        }
        for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
            each(pointer, "")
                .iter()
                .for_each(|path| touch(&inside(path)));
        }
        for path in each("/linux/devices", "path") {
            touch(&inside(&path));
        }
        touch(&inside("/dev/null"));
        if let Some(cwd) = config.pointer("/process/cwd").and_then(Value::as_str) {
            let cwd = inside(cwd);
            if ours(&cwd) {
                let _ = fs::create_dir_all(&cwd);
                touch(&cwd.join("followed"));
            }
        }
        if let Some(path) = config.pointer("/linux/cgroupsPath").and_then(Value::as_str)
            && path.contains("..")
        {
            let _ = fs::create_dir(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')));
        }
    }

    /// The bundle of the container that the command is about.
    fn bundle_of_state(&self) -> Option<PathBuf> {
        let mut command = Command::new(&self.runtime);
        if let Some(root) = self.value(&["--root"]) {
            command.arg("--root").arg(root);
        }
        let output = command
            .arg("state")
            .arg(self.arguments.last()?)
            .output()
            .ok()?;
        let state: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(PathBuf::from(state["bundle"].as_str()?))
    }

    fn wipe(&self) {
        let config = self
            .bundle_of_state()
            .and_then(|bundle| self.config(&bundle));
        let mounts = config.as_ref().and_then(|c| c["mounts"].as_array());
        for mount in mounts.into_iter().flatten() {
            let source = mount["source"].as_str().unwrap_or_default();
            // Only what the suite itself has made may be wiped.
            if !source.contains("runtime-tests.") {
                continue;
            }
            for entry in fs::read_dir(source).into_iter().flatten().flatten() {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn end_cgroup(&self) {
        let config = self.config(&self.bundle());
        let path = config
            .as_ref()
            .and_then(|c| c.pointer("/linux/cgroupsPath"));
        let Some(path) = path.and_then(Value::as_str) else {
            return;
        };
        for group in crate::harness::host::cgroups() {
            if !group.ends_with(path) {
                continue;
            }
            let text = fs::read_to_string(Path::new(&group).join("cgroup.procs"));
            for pid in text
                .unwrap_or_default()
                .lines()
                .filter_map(|l| l.parse().ok())
            {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    fn again(&self) {
        let (Some(bundle), Some(id)) = (self.bundle_of_state(), self.arguments.last()) else {
            return;
        };
        for words in [
            vec!["delete".into(), "--force".into()],
            vec![OsString::from("create"), "--bundle".into(), bundle.into()],
        ] {
            let mut command = Command::new(&self.runtime);
            if let Some(root) = self.value(&["--root"]) {
                command.arg("--root").arg(root);
            }
            let _ = command.args(words).arg(id).status();
        }
    }

    fn leak(&self, what: &str) {
        let id = self.arguments.last().cloned().unwrap_or_default();
        let id = id.to_string_lossy();
        match what {
            "process" => {
                let program = std::env::current_exe().unwrap_or_default();
                let _ = Command::new(program)
                    .args([crate::probe::WORD, "forever", ";", "echo", &id])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
            }
            "state" => {
                if let Some(root) = self.value(&["--root"]) {
                    let _ = fs::create_dir_all(Path::new(&root).join(format!("{id}-left")));
                }
            }
            "mount" => {
                let target = std::env::temp_dir().join(format!("left-{id}"));
                let _ = fs::create_dir(&target);
                let _ = crate::probe::mount_tmpfs(&target.to_string_lossy());
            }
            "cgroup" => {
                let group = crate::harness::host::cgroups().into_iter().next();
                let parent = group.as_deref().and_then(|g| Path::new(g).parent());
                if let Some(parent) = parent {
                    let _ = fs::create_dir(parent.join(format!("left-{id}")));
                }
            }
            _ => {}
        }
    }
}

/// The pointer with the index of the last element for each `-`.
fn resolve(object: &Value, pointer: &str) -> String {
    let mut at = String::new();
    for step in pointer.split('/').skip(1) {
        let length = object.pointer(&at).and_then(Value::as_array).map(Vec::len);
        match (step, length) {
            ("-", Some(length)) => at += &format!("/{}", length.saturating_sub(1)),
            _ => at += &format!("/{step}"),
        }
    }
    at
}

/// Takes the property out; `-` is the last of an array.
fn remove(object: &mut Value, pointer: &str) {
    let pointer = resolve(object, pointer);
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    match object.pointer_mut(parent) {
        Some(Value::Object(all)) => {
            all.shift_remove(name);
        }
        Some(Value::Array(all)) => {
            let index: Option<usize> = name.parse().ok();
            if let Some(index) = index.filter(|i| *i < all.len()) {
                all.remove(index);
            }
        }
        _ => {}
    }
}

/// Sets a property; objects on the way are made, other values are left alone.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let pointer = resolve(object, pointer);
    let mut at = object;
    for step in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = match at {
            Value::Object(all) => all.entry(step).or_insert(Value::Null),
            Value::Array(all) => {
                let Some(next) = step.parse::<usize>().ok().and_then(|i| all.get_mut(i)) else {
                    return;
                };
                next
            }
            _ => return,
        };
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_set_and_taken_away() {
        let mut config = json!({"a": {"b": [1, 2, 3]}});
        put(&mut config, "/a/c/d", json!(true));
        put(&mut config, "/a/b/0", json!(9));
        put(&mut config, "/a/b/7", json!(9));
        remove(&mut config, "/a/b/-");
        remove(&mut config, "/a/no/such");
        assert_eq!(config, json!({"a": {"b": [9, 2], "c": {"d": true}}}));
    }

    #[test]
    fn flags_are_swallowed_in_both_forms() {
        let words = ["--log", "x", "kill", "--all", "--log=y", "id"];
        let mut through = Through {
            runtime: "x".into(),
            arguments: words.iter().map(OsString::from).collect(),
            command: "kill".into(),
        };
        through.swallow(&["--log=", "--all"]);
        assert_eq!(through.arguments, ["kill", "id"]);
    }
}
