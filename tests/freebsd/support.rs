//! What the cases have in hand: bundles, brig, the host before and after.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A case that fails says why.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// One case.
pub struct Case {
    /// Group and name, as `devices/shared`.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Test) -> Outcome,
}

/// Ends the case with a text unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+).into());
        }
    };
}

/// Why a case cannot run on this host: it counts as skipped, not as passed.
#[derive(Debug)]
struct Skipped(String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Skipped {}

/// Ends a case that this host cannot run.
pub fn skipped<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Skipped(why.into())))
}

/// The exit status of a case that was skipped.
const SKIPPED: u8 = 77;

/// How long one case may take: the guest is emulated, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the cases work.
const DIRECTORY: &str = "/tmp/brig-freebsd";

/// One run of one case.
pub struct Test {
    /// Its own directory.
    pub dir: PathBuf,
    brig: PathBuf,
    policy: Option<PathBuf>,
}

/// Runs the cases that the command line names, and tells of each.
pub fn run(groups: &[&[Case]]) -> ExitCode {
    let (mut brig, mut policy, mut one) = (PathBuf::from(env!("CARGO_BIN_EXE_brig")), None, None);
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value behind the flag");
        match argument.as_str() {
            "--brig" => brig = fs::canonicalize(value()).expect("brig"),
            "--policy" => policy = Some(fs::canonicalize(value()).expect("policy")),
            "--one" => one = Some(value()),
            _ => words.push(argument),
        }
    }
    let all = || groups.iter().flat_map(|group| group.iter());
    if let Some(name) = one {
        let case = all().find(|case| case.name == name).expect("a case");
        return in_own_process(case, brig, policy);
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("containers are made by root");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    let mut before = host();
    for case in all() {
        if !words.is_empty() && !words.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        let began = Instant::now();
        let outcome = spawn(case, &brig, policy.as_deref());
        let after = settled();
        let (mut text, why) = match outcome {
            Ok(()) => (String::new(), None),
            Err(e) if e.is::<Skipped>() => (String::new(), Some(e)),
            Err(e) => (e.to_string(), None),
        };
        for (sign, left) in [
            ("+", after.difference(&before)),
            ("-", before.difference(&after)),
        ] {
            for line in left {
                text.push_str(&format!("\nhost: {sign} {line}"));
            }
        }
        let seconds = began.elapsed().as_secs_f32();
        if let (true, Some(why)) = (text.is_empty(), why) {
            skipped += 1;
            println!("skip {}: {why}", case.name);
        } else if text.is_empty() {
            passed += 1;
            println!("ok   {} ({seconds:.1} s)", case.name);
        } else {
            println!("FAIL {} ({seconds:.1} s): {}", case.name, text.trim());
            failed.push(case.name);
            clean(&before);
            before = host();
        }
    }
    println!(
        "freebsd: {passed} passed, {} failed, {skipped} skipped",
        failed.len()
    );
    if failed.is_empty() && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The case in a process of its own, ended when it takes too long.
fn spawn(case: &Case, brig: &Path, policy: Option<&Path>) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--one", case.name, "--brig"]).arg(brig);
    if let Some(policy) = policy {
        command.arg("--policy").arg(policy);
    }
    fs::create_dir_all(DIRECTORY)?;
    let log = Path::new(DIRECTORY).join("log");
    let file = fs::File::create(&log)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut child = command.process_group(0).spawn()?;
    let ended = until_within(LIMIT, || matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        let group = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL)?;
    }
    let status = child.wait()?;
    let said = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    check!(ended, "it takes more than {LIMIT:?}: {said}");
    if status.code() == Some(i32::from(SKIPPED)) {
        return skipped(said.trim());
    }
    check!(status.success(), "{}", said.trim());
    Ok(())
}

fn in_own_process(case: &Case, brig: PathBuf, policy: Option<PathBuf>) -> ExitCode {
    let dir = Path::new(DIRECTORY).join(case.name.replace('/', "-"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory");
    let test = Test { dir, brig, policy };
    let outcome = (case.run)(&test);
    // A case may end early; what it left on the host is told by the caller.
    test.delete_all();
    match outcome {
        Ok(()) => {
            // Nothing below a live mount is ever removed.
            if !host()
                .iter()
                .any(|line| line.contains(&*test.dir.to_string_lossy()))
            {
                let _ = sh(&format!("chflags -R 0 {0}; rm -rf {0}", test.dir.display()));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            if error.is::<Skipped>() {
                ExitCode::from(SKIPPED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Takes away what a failed case left, so that the next ones are not
/// disturbed by it.
fn clean(before: &BTreeSet<String>) {
    for line in host().difference(before) {
        let name = line.split(' ').nth(1).unwrap_or_default();
        let _ = match line.split(' ').next() {
            Some("jail") => sh(&format!("jail -r {name}")),
            Some("rctl") => sh(&format!("rctl -r {name}")),
            Some("ruleset") => sh(&format!("devfs rule -s {name} delset")),
            _ => Ok(String::new()),
        };
    }
    for _ in 0..3 {
        for line in host()
            .difference(before)
            .filter(|line| line.starts_with("mount "))
        {
            let on = line.split(' ').nth(1).unwrap_or_default();
            let _ = sh(&format!("umount -f {on}"));
        }
    }
}

/// Everything on the host that a container can leave behind.
pub fn host() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut add = |what: &str, command: &str, pick: fn(&str) -> Option<String>| {
        let text = sh(command).unwrap_or_default();
        all.extend(
            text.lines()
                .filter_map(pick)
                .map(|line| format!("{what} {line}")),
        );
    };
    let whole = |line: &str| Some(line.trim().to_owned());
    add("mount", "mount -p", |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(format!(
            "{} {} {}",
            words.get(1)?,
            words.get(2)?,
            words.first()?
        ))
    });
    add("jail", "jls -n name path children.max", |line| {
        line.strip_prefix("name=").map(String::from)
    });
    // Not those that a zombie holds, which is init's to reap, when it comes to it.
    let dying = "for jid in $(jls -d dying jid | sed -n 's/^true //p'); do \
        ps -axo jid,state | grep -q \"^ *$jid Z\" || jls -d -j $jid -n name path; done";
    add("dying jail", dying, |line| {
        line.strip_prefix("name=").map(String::from)
    });
    add("rctl", "rctl 2>/dev/null", whole);
    add("ruleset", "devfs rule showsets", whole);
    add("address", "ifconfig -a", |line| {
        let line = line.trim();
        (line.starts_with("inet") || line.contains("flags=")).then(|| {
            // What changes by itself is left out.
            line.split(" metric").next().unwrap_or(line).to_owned()
        })
    });
    // A zombie is init's to reap, when it comes to it.
    add("process", "ps -axo pid,jid,state,command", |line| {
        let mut words = line.split_whitespace();
        let (pid, jid, state) = (words.next()?, words.next()?, words.next()?);
        let is_inside = jid != "0" && jid != "JID" && !state.starts_with('Z');
        is_inside.then(|| format!("{pid} in jail {jid}"))
    });
    all
}

/// The host, once no jail is dying: one goes with the last of its processes. It
/// is told when one stays.
fn settled() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    until_within(Duration::from_secs(3), || {
        all = host();
        !all.iter().any(|line| line.starts_with("dying"))
    });
    all
}

/// Runs a line of sh(1) and returns what it printed.
///
/// # Errors
/// Its status is not 0.
pub fn sh(line: &str) -> Outcome<String> {
    let output = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()?;
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).trim_end().to_owned();
    check!(
        output.status.success(),
        "{line}: {:?}: {}{}",
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// Asks over and over until it is so.
///
/// # Errors
/// It is not so for long.
pub fn until(what: &str, condition: impl FnMut() -> bool) -> Outcome {
    check!(
        until_within(PATIENCE, condition),
        "{what}: not within {PATIENCE:?}"
    );
    Ok(())
}

fn until_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// The programs of a container's root, which are one static file.
const PROGRAMS: &str = "cat chflags chmod date df echo hostname id ifconfig kill ls mkdir mount \
    ping ps pwd rm sh sleep stty sysctl tail test touch umount";

impl Test {
    /// Makes a bundle whose program is `arguments`, with devfs on /dev, and
    /// lets `edit` change its configuration.
    pub fn bundle(
        &self,
        name: &str,
        arguments: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Outcome<PathBuf> {
        let bundle = self.dir.join(name);
        let root = bundle.join("rootfs");
        if !root.exists() {
            for directory in ["bin", "dev", "etc", "tmp"] {
                fs::create_dir_all(root.join(directory))?;
            }
            let program = root.join("bin/sh");
            fs::copy("/rescue/rescue", &program)?;
            for name in PROGRAMS.split_whitespace().filter(|name| *name != "sh") {
                fs::hard_link(&program, root.join("bin").join(name))?;
            }
            let users = "root:*:0:0:root:/root:/bin/sh\nwww:*:80:80:w:/home/www:/bin/sh\n";
            fs::write(root.join("etc/passwd"), users)?;
            fs::write(root.join("etc/group"), "wheel:*:0:root\nwww:*:80:\n")?;
        }
        let mut config = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/",
                "env": ["PATH=/bin"],
                "args": arguments,
                "user": {"uid": 0, "gid": 0}
            },
            "mounts": [{"destination": "/dev", "type": "devfs", "options": ["ruleset=4"]}]
        });
        edit(&mut config);
        fs::write(
            bundle.join("config.json"),
            serde_json::to_vec_pretty(&config)?,
        )?;
        Ok(bundle)
    }

    /// Puts a program of the host's with its libraries into a bundle's root.
    pub fn add_program(&self, bundle: &Path, program: &str) -> Outcome {
        sh(&format!(
            "for file in {program} /libexec/ld-elf.so.1 $(ldd -f '%p\\n' {program} | grep ^/); do \
             mkdir -p {0}$(dirname $file) && cp $file {0}$file || exit; done",
            bundle.join("rootfs").display()
        ))
        .map(drop)
    }

    /// A bundle that sleeps.
    pub fn sleeping(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Outcome<PathBuf> {
        self.bundle(name, &["sleep", "1000"], edit)
    }

    /// A command line of brig on this case's own state.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.brig);
        command.arg("--root").arg(self.state());
        if let Some(policy) = &self.policy {
            command.arg("--policy").arg(policy);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// brig's own file.
    pub fn program(&self) -> &Path {
        &self.brig
    }

    /// The directory of this case's containers.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Runs brig to its end.
    pub fn output(&self, arguments: &[&str]) -> Outcome<Output> {
        // Files, because a detached program keeps what it inherits open.
        let (out, err) = (self.dir.join(".out"), self.dir.join(".err"));
        let mut command = self.command(arguments);
        command
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?);
        let status = command.status()?;
        Ok(Output {
            status,
            stdout: fs::read(out)?,
            stderr: fs::read(err)?,
        })
    }

    /// Runs brig and returns what it, or the program, printed.
    ///
    /// # Errors
    /// Its status is not 0.
    pub fn ok(&self, arguments: &[&str]) -> Outcome<String> {
        let output = self.output(arguments)?;
        let err = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        let out = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        check!(
            output.status.success(),
            "brig {}: {:?} {:?}: {out}{err}",
            arguments.join(" "),
            output.status.code(),
            output.status.signal()
        );
        Ok(out)
    }

    /// Runs brig, which must fail with one line that has all the words, and
    /// leave the host as it was. Returns the line.
    pub fn refused(&self, arguments: &[&str], words: &[&str]) -> Outcome<String> {
        let before = host();
        let output = self.output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        let line = arguments.join(" ");
        check!(!output.status.success(), "brig {line} succeeded");
        // Warnings about what is ignored stand above the error.
        let errors: Vec<&str> = said.lines().filter(|l| !l.contains("warning")).collect();
        check!(errors.len() == 1, "brig {line}: not one line: {said}");
        for word in words {
            check!(said.contains(word), "brig {line}: no {word:?} in: {said}");
        }
        let after = host();
        let changed: Vec<_> = before.symmetric_difference(&after).collect();
        check!(
            changed.is_empty(),
            "brig {line}: the host changed: {changed:?}"
        );
        Ok(said)
    }

    /// Creates and starts a container in the background.
    pub fn up(&self, bundle: &Path, id: &str) -> Outcome {
        let bundle = bundle.to_string_lossy();
        self.ok(&["run", "-d", "-b", &bundle, id]).map(drop)
    }

    /// Deletes a container, whatever its status.
    pub fn down(&self, id: &str) -> Outcome {
        self.ok(&["delete", "--force", id]).map(drop)
    }

    /// Starts brig and does not wait for it.
    pub fn spawn(&self, arguments: &[&str]) -> Outcome<Child> {
        let log = fs::File::create(self.dir.join(".log"))?;
        Ok(self
            .command(arguments)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?)
    }

    /// Starts brig and kills it with SIGKILL after a while.
    pub fn killed_after(&self, arguments: &[&str], milliseconds: u64) -> Outcome {
        let mut child = self.spawn(arguments)?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// This case's policy with more keys, as arguments of brig that stand
    /// before the command.
    pub fn policy_with(&self, more: Value) -> Outcome<PathBuf> {
        let mut policy = match &self.policy {
            Some(file) => serde_json::from_slice(&fs::read(file)?)?,
            None => json!({}),
        };
        for (key, value) in more.as_object().into_iter().flatten() {
            policy[key] = value.clone();
        }
        let file = self.dir.join("policy.json");
        fs::write(&file, policy.to_string())?;
        Ok(file)
    }

    /// Whether brig uses jail descriptors here: the kernel has them and the
    /// policy does not switch them off.
    pub fn has_descriptors(&self) -> Outcome<bool> {
        self.is_on("jailDescriptors")
    }

    /// Whether jails say which container they are, in the same way.
    pub fn has_meta(&self) -> Outcome<bool> {
        self.is_on("jailMeta")
    }

    /// For a case about what jails say of themselves.
    pub fn needs_meta(&self) -> Outcome {
        if self.has_meta()? {
            return Ok(());
        }
        skipped("jails say nothing of themselves here")
    }

    fn is_on(&self, key: &str) -> Outcome<bool> {
        let kernel: u32 = sh("sysctl -n kern.osreldate")?.parse()?;
        let policy: Value = match &self.policy {
            Some(file) => serde_json::from_slice(&fs::read(file)?)?,
            None => json!({}),
        };
        Ok(kernel >= 1_500_000 && policy[key] != json!(false))
    }

    /// The same case under another policy file.
    pub fn under(&self, policy: PathBuf) -> Test {
        Test {
            dir: self.dir.clone(),
            brig: self.brig.clone(),
            policy: Some(policy),
        }
    }

    fn delete_all(&self) {
        for entry in fs::read_dir(self.state()).into_iter().flatten().flatten() {
            let id: OsString = entry.file_name();
            if let Err(error) = self.down(&id.to_string_lossy()) {
                println!("{error}");
            }
        }
    }
}

/// Adds a mount to a configuration.
pub fn mount(config: &mut Value, mount: Value) {
    if let Some(all) = config["mounts"].as_array_mut() {
        all.push(mount);
    }
}

/// A parameter of a jail, as jls(8) prints it.
pub fn jls(jail: &str, parameter: &str) -> Outcome<String> {
    sh(&format!("jls -j {jail} {parameter}"))
}
