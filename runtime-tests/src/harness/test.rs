//! What one case has in hand.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bundle, Call, Container, Outcome, host};
use crate::skip;

/// What all cases share.
#[derive(Debug)]
pub struct Suite {
    /// The runtime's program.
    pub runtime: PathBuf,
    /// Arguments that stand before all others.
    pub arguments: Vec<OsString>,
    /// Directory of everything that is made.
    pub directory: PathBuf,
    /// The contained program on the host.
    pub probe: PathBuf,
    /// Leave the cases' directories behind.
    pub keep: bool,
}

/// One run of one case.
#[derive(Debug)]
pub struct Test<'s> {
    /// What all cases share.
    pub suite: &'s Suite,
    /// A word that everything of this case bears: in paths, ids, environments.
    pub mark: String,
    /// The case's directory.
    pub dir: PathBuf,
    ids: RefCell<Vec<String>>,
    helpers: RefCell<Vec<i32>>,
    count: Cell<u32>,
}

/// Seconds after which what has not happened counts as never happening.
static PATIENCE: AtomicU64 = AtomicU64::new(30);

/// Sets how long a case waits for anything.
pub fn set_patience(seconds: u64) {
    PATIENCE.store(seconds, Ordering::Relaxed);
}

/// How long a case waits for anything.
pub fn patience() -> Duration {
    Duration::from_secs(PATIENCE.load(Ordering::Relaxed))
}

/// Asks over and over until it is so; None when the patience is over.
pub fn until(mut condition: impl FnMut() -> bool) -> Option<()> {
    let end = Instant::now() + patience();
    loop {
        if condition() {
            return Some(());
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// What the marks of all cases begin with.
pub fn mark_prefix() -> String {
    format!("rt{}x", std::process::id())
}

/// The mark of the case of this number.
pub fn mark(number: usize) -> String {
    format!("{}{number:04}", mark_prefix())
}

impl<'s> Test<'s> {
    /// Makes the case's directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(suite: &'s Suite, number: usize) -> Outcome<Test<'s>> {
        let mark = mark(number);
        let dir = suite.directory.join(&mark);
        fs::create_dir_all(dir.join("state"))?;
        let count = Cell::new(0);
        Ok(Test {
            suite,
            mark,
            dir,
            ids: RefCell::default(),
            helpers: RefCell::default(),
            count,
        })
    }

    /// The runtime's `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn next(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// A path that does not exist yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{}", self.next()))
    }

    /// A new id, which is deleted by force when the case ends.
    pub fn id(&self) -> String {
        let id = format!("{}-{}", self.mark, self.next());
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// Has an id deleted by force when the case ends.
    pub fn owns(&self, id: &str) {
        self.ids.borrow_mut().push(id.to_owned());
    }

    /// A new bundle.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn bundle(&self) -> Outcome<Bundle> {
        Bundle::new(self.fresh("bundle"), &self.suite.probe, &self.mark)
    }

    /// A new bundle whose program runs until it is signalled.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn waiting(&self) -> Outcome<Bundle> {
        Ok(self.bundle()?.acts(&["wait"]))
    }

    /// A call of the runtime.
    pub fn call<S: AsRef<OsStr>>(&'s self, args: &[S]) -> Call<'s> {
        Call::new(self, args)
    }

    /// The call that creates a container, its id and its pid file.
    ///
    /// # Errors
    /// The bundle cannot be written.
    pub fn create_call(
        &'s self,
        bundle: &Bundle,
        flags: &[&str],
    ) -> Outcome<(Call<'s>, String, PathBuf)> {
        bundle.write()?;
        let (id, pid_file) = (self.id(), self.fresh("pid"));
        let mut args: Vec<OsString> = vec!["create".into(), "--bundle".into()];
        args.push(bundle.dir.clone().into());
        args.push("--pid-file".into());
        args.push(pid_file.clone().into());
        args.extend(flags.iter().map(OsString::from));
        args.push(id.clone().into());
        Ok((self.call(&args), id, pid_file))
    }

    /// Creates a container.
    ///
    /// # Errors
    /// create fails.
    pub fn create(&'s self, bundle: &Bundle) -> Outcome<Container<'s>> {
        self.create_with(bundle, &[], |call| call)
    }

    /// Creates a container with flags and a changed call.
    ///
    /// # Errors
    /// create fails.
    pub fn create_with(
        &'s self,
        bundle: &Bundle,
        flags: &[&str],
        change: impl FnOnce(Call<'s>) -> Call<'s>,
    ) -> Outcome<Container<'s>> {
        let (call, id, pid_file) = self.create_call(bundle, flags)?;
        let run = change(call).run()?.ok()?;
        Container::made(self, id, &pid_file, &run)
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// create or start fails.
    pub fn start(&'s self, bundle: &Bundle) -> Outcome<Container<'s>> {
        let container = self.create(bundle)?;
        container.start()?;
        Ok(container)
    }

    /// Creates and starts a container whose program says "ready".
    ///
    /// # Errors
    /// It does not come so far.
    pub fn ready(&'s self, bundle: &Bundle) -> Outcome<Container<'s>> {
        let container = self.start(bundle)?;
        container.await_output("ready")?;
        Ok(container)
    }

    /// A container that runs until it is signalled.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn running(&'s self) -> Outcome<Container<'s>> {
        self.ready(&self.waiting()?)
    }

    /// Runs a bundle to its end and returns what it printed.
    ///
    /// # Errors
    /// It cannot be created or started, or ends with another status than 0.
    pub fn output(&'s self, bundle: &Bundle) -> Outcome<String> {
        let container = self.start(bundle)?;
        container.await_status("stopped")?;
        let code = container.exit_code()?;
        let output = container.output();
        container.delete()?;
        if code == 0 {
            return Ok(output);
        }
        let err = fs::read_to_string(&container.err).unwrap_or_default();
        Err(format!(
            "the program ended with status {code}: {} {}",
            output.trim(),
            err.trim()
        )
        .into())
    }

    /// Runs a bundle whose program reports, and returns the report.
    ///
    /// # Errors
    /// As [`Test::output`].
    pub fn report(&'s self, bundle: &Bundle) -> Outcome<Value> {
        let output = self.output(bundle)?;
        serde_json::from_str(&output).map_err(|e| format!("no report: {e}: {output:?}").into())
    }

    /// Tries to create a container that must not come to be; nothing may be
    /// left.
    ///
    /// # Errors
    /// create succeeds or leaves something.
    pub fn refused(&'s self, bundle: &Bundle, flags: &[&str]) -> Outcome<super::Run> {
        let (call, _, pid_file) = self.create_call(bundle, flags)?;
        let run = call.run()?.fails()?;
        if pid_file.exists() {
            return Err("create failed but left a pid file".into());
        }
        self.nothing_left()?;
        Ok(run)
    }

    /// Tries to run a program that cannot be executed: the failure may come
    /// from create or from start, and says one of the texts.
    ///
    /// # Errors
    /// Neither fails, the text is another one, or something is left.
    pub fn exec_refused(&'s self, bundle: &Bundle, texts: &[&str]) -> Outcome {
        let (call, id, _) = self.create_call(bundle, &[])?;
        let mut run = call.run()?;
        if run.code == 0 {
            run = self.call(&["start", &id]).run()?.fails()?;
            self.call(&["delete", "--force", &id]).run()?.ok()?;
        }
        if !texts
            .iter()
            .any(|text| run.err.to_lowercase().contains(text))
        {
            return Err(format!("the error says none of {texts:?}: {:?}", run.err).into());
        }
        self.nothing_left()
    }

    /// Skips the case where the runtime has no such command.
    ///
    /// # Errors
    /// It has none, or cannot be called.
    pub fn needs_command(&self, command: &str) -> Outcome {
        if self.call(&[command, "--help"]).run()?.code != 0 {
            skip!("this runtime has no {command}");
        }
        Ok(())
    }

    /// Asks for a host on which nothing of this case is left.
    ///
    /// # Errors
    /// What is left.
    pub fn nothing_left(&self) -> Outcome {
        let mut left = host::marked(&self.mark, &self.state_root());
        // A process that was killed may take a moment to be gone, and a jail
        // with it.
        let end = Instant::now() + Duration::from_secs(1);
        let passes = |l: &String| l.starts_with("process") || l.starts_with("dying jail");
        while !left.is_empty() && left.iter().all(passes) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            left = host::marked(&self.mark, &self.state_root());
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("left on the host: {}", left.join("; ")).into())
    }

    /// Deletes what the case made, and tells what could not be.
    pub fn clean_up(&'s self) -> Outcome {
        for id in self.ids.take() {
            // Ids that are gone already make no difference to delete --force,
            // and an id that is not valid has made nothing.
            let _ = self.call(&["delete", "--force", &id]).run();
        }
        for pid in self.helpers.take() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let left = self.nothing_left();
        if left.is_err() {
            host::sweep(&self.mark);
        }
        if !self.suite.keep && !host::has_mounts_below(&self.dir) {
            let _ = fs::remove_dir_all(&self.dir);
        }
        left
    }

    /// Starts the contained program on the host, outside of any container,
    /// and waits until it says "ready"; it is killed when the case ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn helper(&self, acts: &[&str]) -> Outcome<i32> {
        let mut command = std::process::Command::new(&self.suite.probe);
        let (out_path, null) = (self.fresh("helper"), std::process::Stdio::null());
        command
            .args(acts)
            .env_clear()
            .stdin(null)
            .stdout(fs::File::create(&out_path)?);
        let pid = super::reaper::spawn(&mut command)?;
        self.helpers.borrow_mut().push(pid);
        let said = until(|| fs::read_to_string(&out_path).is_ok_and(|text| text.contains("ready")));
        said.ok_or("the helper did not become ready")?;
        Ok(pid)
    }

    /// The path of a file that was made on the host, with a text in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn host_file(&self, text: &str) -> Outcome<PathBuf> {
        let path = self.fresh("file");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A new directory on the host.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn host_dir(&self) -> Outcome<PathBuf> {
        let path = self.fresh("dir");
        fs::create_dir(&path)?;
        Ok(path)
    }
}

/// Reads a file of JSON lines.
///
/// # Errors
/// A line is not JSON.
pub fn json_lines(path: &Path) -> Outcome<Vec<Value>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}
