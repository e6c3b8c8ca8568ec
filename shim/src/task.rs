//! One container and its processes, from create to delete.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_local;

use crate::error::{Code, Context, Fault, Result};
use crate::events::Publisher;
use crate::oom;
use crate::options::Options;
use crate::proto::{self, CreateTaskRequest, ExecProcessRequest, TaskStatus};
use crate::reap::{self, Exit};
use crate::runtime::{Runtime, Streams};
use crate::streams::{self, ConsoleSocket, Names, Owner, Relay};

/// What every container of this shim has in common.
#[derive(Debug)]
pub struct Host {
    /// containerd's namespace.
    pub namespace: String,
    /// Directory for sockets, with a short path.
    pub sockets: PathBuf,
    /// Directory below which brig keeps its state.
    pub state: PathBuf,
    /// Where events go.
    pub events: Publisher,
}

/// A process of a container: its first, or one that was exec'd.
#[derive(Debug)]
pub struct Process {
    /// The exec id; empty for the first.
    pub exec_id: String,
    /// Process id on the host; 0 before it is there.
    pub pid: Cell<u32>,
    /// What containerd named for its streams.
    pub names: Names,
    relay: RefCell<Rc<Relay>>,
    is_started: Cell<bool>,
    exit: watch::Sender<Option<Exit>>,
    /// The process object of an exec.
    spec: Vec<u8>,
}

impl Process {
    fn new(exec_id: &str, names: Names, spec: Vec<u8>) -> Rc<Self> {
        Rc::new(Process {
            exec_id: exec_id.into(),
            pid: Cell::new(0),
            names,
            relay: RefCell::default(),
            is_started: Cell::new(false),
            exit: watch::Sender::new(None),
            spec,
        })
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It was deleted before it ever ran.
    pub async fn end(&self) -> Result<Exit> {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|exit| *exit);
        ended.ok_or_else(|| Fault::new(Code::NotFound, "the process never ran"))
    }

    fn status(&self) -> TaskStatus {
        match (self.ended(), self.is_started.get()) {
            (Some(_), _) => TaskStatus::Stopped,
            (None, true) => TaskStatus::Running,
            (None, false) => TaskStatus::Created,
        }
    }

    fn relay(&self) -> Rc<Relay> {
        Rc::clone(&self.relay.borrow())
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// Those of tty_ioctl(4).
    pub fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        self.relay().resize(columns, rows)
    }

    /// Ends its standard input.
    pub fn close_input(&self) {
        self.relay().close_input();
    }
}

/// A container.
#[derive(Debug)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its first process.
    pub init: Rc<Process>,
    host: Rc<Host>,
    options: Options,
    runtime: Runtime,
    execs: RefCell<BTreeMap<String, Rc<Process>>>,
    /// How many of them run: the container's end is told after theirs.
    running: watch::Sender<usize>,
    is_paused: Cell<bool>,
    /// Processes outlive the first: it has no process namespace of its own.
    outlived: bool,
    /// One change at a time; also keeps an end from being told before its start.
    change: Mutex<()>,
    oom: RefCell<Option<oom::Watch>>,
}

impl Task {
    /// Mounts the root, and creates the container.
    ///
    /// # Errors
    /// Nothing is left mounted, and brig has left nothing.
    pub async fn create(host: Rc<Host>, request: &CreateTaskRequest) -> Result<Rc<Self>> {
        if !request.checkpoint.is_empty() {
            let text = "brig has no checkpoints to restore from";
            return Err(Fault::new(Code::Unimplemented, text));
        }
        let options = Options::decode(request.options.as_ref())?;
        let bundle = PathBuf::from(&request.bundle);
        options.store(&bundle)?;
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let task = Rc::new(Task {
            id: request.id.clone(),
            runtime: Runtime::new(&options, &host.state, &host.namespace),
            init: Process::new("", names, Vec::new()),
            outlived: is_outlived(&bundle)?,
            bundle,
            host,
            options,
            execs: RefCell::default(),
            running: watch::Sender::new(0),
            is_paused: Cell::new(false),
            change: Mutex::new(()),
            oom: RefCell::default(),
        });
        let rootfs = task.bundle.join("rootfs");
        if !request.rootfs.is_empty() {
            std::fs::create_dir_all(&rootfs).doing("create", rootfs.display())?;
            crate::mount::all(&request.rootfs, &rootfs)?;
        }
        let mut arguments: Vec<OsString> = vec!["create".into(), "--bundle".into()];
        arguments.push(task.bundle.clone().into());
        for (flag, on) in [
            ("--no-pivot", task.options.no_pivot_root),
            ("--no-new-keyring", task.options.no_new_keyring),
        ] {
            if on {
                arguments.push(flag.into());
            }
        }
        let created = task.launch(&task.init, arguments, &task.id.clone()).await;
        if let Err(fault) = created {
            crate::mount::undo(&rootfs);
            let text = format!("OCI runtime create failed: {fault}");
            return Err(Fault::new(fault.code, text));
        }
        Ok(task)
    }

    /// From here on the end of the first process is told. Call it after the
    /// creation was told.
    pub fn watch(self: &Rc<Self>) {
        let (host, id) = (Rc::clone(&self.host), self.id.clone());
        let told = move || {
            let event = proto::TaskOf {
                container_id: id.clone(),
            };
            host.events.publish("/tasks/oom", "TaskOOM", &event);
        };
        *self.oom.borrow_mut() = Some(oom::Watch::start(self.init.pid.get(), Rc::new(told)));
    }

    /// Runs create or exec with the process's streams. Its pid is known when
    /// this is done, and its end is being waited for.
    async fn launch(
        self: &Rc<Self>,
        process: &Rc<Process>,
        mut arguments: Vec<OsString>,
        name: &str,
    ) -> Result<()> {
        let owner = Owner {
            id: &self.id,
            namespace: &self.host.namespace,
        };
        let pid_file = self.bundle.join(format!("{name}.pid"));
        arguments.push("--pid-file".into());
        arguments.push(pid_file.clone().into());
        // Its end may come before its pid is read.
        let _expecting = reap::expect();
        if process.names.terminal {
            let socket = ConsoleSocket::listen(&self.host.sockets)?;
            arguments.push("--console-socket".into());
            arguments.push(socket.path.clone().into());
            arguments.push(self.id.clone().into());
            self.runtime
                .run_with(streams::no_streams(), &self.bundle, arguments)
                .await?;
            process.pid.set(read_pid(&pid_file)?);
            let relay = Rc::new(Relay::default());
            let attached = async {
                let master = socket.receive().await?;
                relay.attach(master, &process.names, &owner).await
            };
            if let Err(fault) = attached.await {
                self.take_back(process).await;
                return Err(fault);
            }
            *process.relay.borrow_mut() = relay;
        } else {
            let (streams, relay): (Streams, Relay) =
                streams::pipes(&process.names, &self.options, &owner).await?;
            *process.relay.borrow_mut() = Rc::new(relay);
            arguments.push(self.id.clone().into());
            self.runtime
                .run_with(streams, &self.bundle, arguments)
                .await
                // Nobody will delete a process that never was.
                .inspect_err(|_| *process.relay.borrow_mut() = Rc::default())?;
            process.relay().begin();
            process.pid.set(read_pid(&pid_file)?);
        }
        let end = reap::end_of(process.pid.get());
        let (task, process) = (Rc::downgrade(self), Rc::clone(process));
        spawn_local(async move {
            if let Ok(exit) = end.await {
                Task::ended(&task, &process, exit).await;
            }
        });
        Ok(())
    }

    /// Ends what brig has made and containerd will be told has failed.
    async fn take_back(&self, process: &Process) {
        let done = if process.exec_id.is_empty() {
            let delete = ["delete", "--force", &self.id];
            self.runtime.run(delete).await.map(|_| ())
        } else {
            let pid = i32::try_from(process.pid.get()).unwrap_or(0);
            crate::sys::kill(pid, libc::SIGKILL).doing("end", format_args!("process {pid}"))
        };
        if let Err(fault) = done {
            crate::log::warning(&format!("{}: {fault}", self.id));
        }
    }

    /// A process has ended.
    async fn ended(task: &Weak<Task>, process: &Rc<Process>, exit: Exit) {
        let Some(task) = task.upgrade() else {
            process.exit.send_replace(Some(exit));
            return;
        };
        if process.exec_id.is_empty() {
            // A start that is under way is told of first.
            drop(task.change.lock().await);
            if task.outlived {
                let all = ["kill", "--all", &task.id, "KILL"];
                if let Err(fault) = task.runtime.run(all).await {
                    crate::log::warning(&format!("{}: {fault}", task.id));
                }
            }
            let mut running = task.running.subscribe();
            let _ = running.wait_for(|running| *running == 0).await;
            if let Some(watch) = task.oom.borrow_mut().take() {
                watch.last_look();
            }
        } else {
            drop(task.change.lock().await);
        }
        process.exit.send_replace(Some(exit));
        let event = proto::TaskExit {
            container_id: task.id.clone(),
            id: task.process_id(process),
            pid: process.pid.get(),
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        };
        let events = &task.host.events;
        events.publish("/tasks/exit", "TaskExit", &event);
        if !process.exec_id.is_empty() {
            task.running.send_modify(|running| *running -= 1);
        }
    }

    /// The id of a process in containerd's events: a container's first has
    /// the container's.
    fn process_id(&self, process: &Process) -> String {
        if process.exec_id.is_empty() {
            self.id.clone()
        } else {
            process.exec_id.clone()
        }
    }

    /// The process with the exec id; the first for an empty one.
    ///
    /// # Errors
    /// There is none.
    pub fn process(&self, exec_id: &str) -> Result<Rc<Process>> {
        if exec_id.is_empty() {
            return Ok(Rc::clone(&self.init));
        }
        let found = self.execs.borrow().get(exec_id).cloned();
        found.ok_or_else(|| {
            let text = format!("process {exec_id:?} does not exist");
            Fault::new(Code::NotFound, text)
        })
    }

    /// Its status as containerd knows them.
    pub fn status(&self, process: &Process) -> TaskStatus {
        match process.status() {
            TaskStatus::Running if self.is_paused.get() => TaskStatus::Paused,
            status => status,
        }
    }

    /// Starts the container's program.
    ///
    /// # Errors
    /// brig's.
    pub async fn start(&self) -> Result<u32> {
        let _change = self.change.lock().await;
        let pid = self.init.pid.get();
        self.runtime
            .run(["start", &self.id])
            .await
            .map_err(|fault| {
                let text = format!("OCI runtime start failed: {fault}");
                Fault::new(Code::Unknown, text)
            })?;
        self.init.is_started.set(true);
        let event = proto::TaskStart {
            container_id: self.id.clone(),
            pid,
        };
        let events = &self.host.events;
        events.publish("/tasks/start", "TaskStart", &event);
        Ok(pid)
    }

    /// Notes a process that start will run in the container.
    ///
    /// # Errors
    /// The exec id is taken, or the specification is missing.
    pub fn add_exec(&self, request: &ExecProcessRequest) -> Result<()> {
        check_exec_id(&request.exec_id)?;
        let mut execs = self.execs.borrow_mut();
        if execs.contains_key(&request.exec_id) {
            let text = format!("process {:?} exists already", request.exec_id);
            return Err(Fault::new(Code::AlreadyExists, text));
        }
        let spec = request.spec.as_ref().map(|spec| spec.value.clone());
        let spec =
            spec.ok_or_else(|| Fault::new(Code::InvalidArgument, "exec has no process to run"))?;
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let process = Process::new(&request.exec_id, names, spec);
        execs.insert(request.exec_id.clone(), process);
        let event = proto::TaskExec {
            container_id: self.id.clone(),
            exec_id: request.exec_id.clone(),
            pid: 0,
        };
        let events = &self.host.events;
        events.publish("/tasks/exec-added", "TaskExecAdded", &event);
        Ok(())
    }

    /// Runs a process that was added.
    ///
    /// # Errors
    /// brig's.
    pub async fn start_exec(self: &Rc<Self>, exec_id: &str) -> Result<u32> {
        let process = self.process(exec_id)?;
        // Ends are told when this is over.
        let _change = self.change.lock().await;
        if process.is_started.replace(true) {
            let text = format!("process {exec_id:?} was started before");
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        self.running.send_modify(|running| *running += 1);
        let spec = self.bundle.join(format!("exec-{exec_id}.json"));
        let launched = async {
            std::fs::write(&spec, &process.spec).doing("write", spec.display())?;
            let arguments = vec![
                "exec".into(),
                "--detach".into(),
                "--process".into(),
                spec.clone().into(),
            ];
            let name = format!("exec-{exec_id}");
            self.launch(&process, arguments, &name).await
        };
        let launched = launched.await;
        let _ = std::fs::remove_file(&spec);
        if let Err(fault) = launched {
            self.running.send_modify(|running| *running -= 1);
            let text = format!("OCI runtime exec failed: {fault}");
            // As with a shell: it is over before it was.
            process.exit.send_replace(Some(Exit {
                status: 255,
                at: std::time::SystemTime::now(),
            }));
            return Err(Fault::new(Code::Unknown, text));
        }
        let event = proto::TaskExec {
            container_id: self.id.clone(),
            exec_id: exec_id.into(),
            pid: process.pid.get(),
        };
        let events = &self.host.events;
        events.publish("/tasks/exec-started", "TaskExecStarted", &event);
        Ok(process.pid.get())
    }

    /// Signals the container, or one exec'd process.
    ///
    /// # Errors
    /// It has ended, or has not begun.
    pub async fn kill(&self, exec_id: &str, signal: u32, all: bool) -> Result<()> {
        let process = self.process(exec_id)?;
        if process.ended().is_some() && !all {
            return Err(Fault::new(Code::NotFound, "process already finished"));
        }
        if exec_id.is_empty() {
            let signal = signal.to_string();
            let mut arguments = vec!["kill"];
            if all {
                arguments.push("--all");
            }
            arguments.extend([self.id.as_str(), &signal]);
            self.runtime.run(arguments).await?;
            return Ok(());
        }
        let pid = process.pid.get();
        if pid == 0 {
            let text = format!("process {exec_id:?} was not started");
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        // It is this process's own child and not yet taken, so the pid is its.
        let pid = pid.try_into().map_or(0, |pid: i32| pid);
        let signal = signal.try_into().unwrap_or(i32::MAX);
        crate::sys::kill(pid, signal).doing("signal", format_args!("process {exec_id:?}"))
    }

    /// Ends a process's time here; for the first one, the container's.
    ///
    /// # Errors
    /// It still runs; or brig's.
    pub async fn delete(&self, exec_id: &str) -> Result<(Rc<Process>, Exit)> {
        let process = self.process(exec_id)?;
        let never_ran = Exit {
            status: 0,
            at: std::time::SystemTime::now(),
        };
        if process.ended().is_none() && process.is_started.get() {
            let text = format!(
                "process {:?} is running and must be stopped before it is deleted",
                self.process_id(&process)
            );
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        if !exec_id.is_empty() {
            process.relay().finish().await;
            self.execs.borrow_mut().remove(exec_id);
            let _ = std::fs::remove_file(self.bundle.join(format!("exec-{exec_id}.pid")));
            return Ok((Rc::clone(&process), process.ended().unwrap_or(never_ran)));
        }
        let change = self.change.lock().await;
        match self.runtime.run(["delete", &self.id]).await {
            Err(fault) if fault.code != Code::NotFound => return Err(fault),
            _ => {}
        }
        drop(change);
        // One that never ran has been killed by that.
        let exit = process.end().await?;
        process.relay().finish().await;
        crate::mount::undo(&self.bundle.join("rootfs"));
        let event = proto::TaskDelete {
            container_id: self.id.clone(),
            pid: process.pid.get(),
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
            id: String::new(),
        };
        let events = &self.host.events;
        events.publish("/tasks/delete", "TaskDelete", &event);
        Ok((process, exit))
    }

    /// Stops its processes for a while.
    ///
    /// # Errors
    /// brig's.
    pub async fn pause(&self) -> Result<()> {
        self.set_paused(true, "pause", "/tasks/paused", "TaskPaused")
            .await
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// brig's.
    pub async fn resume(&self) -> Result<()> {
        self.set_paused(false, "resume", "/tasks/resumed", "TaskResumed")
            .await
    }

    async fn set_paused(&self, paused: bool, command: &str, topic: &str, name: &str) -> Result<()> {
        let _change = self.change.lock().await;
        self.runtime.run([command, &self.id]).await?;
        self.is_paused.set(paused);
        let event = proto::TaskOf {
            container_id: self.id.clone(),
        };
        self.host.events.publish(topic, name, &event);
        Ok(())
    }

    /// Sets resource limits: a resources object in JSON.
    ///
    /// # Errors
    /// brig's.
    pub async fn update(&self, resources: &[u8]) -> Result<()> {
        let _change = self.change.lock().await;
        let path = self.bundle.join("brig-update.json");
        std::fs::write(&path, resources).doing("write", path.display())?;
        let file = path.to_string_lossy();
        let done = self
            .runtime
            .run(["update", "--resources", &file, &self.id])
            .await;
        let _ = std::fs::remove_file(&path);
        done.map(|_| ())
    }

    /// Its processes: pid, and the exec id where it has one.
    ///
    /// # Errors
    /// brig's.
    pub async fn pids(&self) -> Result<Vec<(u32, Option<String>)>> {
        let printed = self
            .runtime
            .run(["ps", "--format", "json", &self.id])
            .await?;
        let pids: Vec<u32> = serde_json::from_slice(&printed)
            .map_err(|error| Fault::new(Code::Unknown, format_args!("brig ps: {error}")))?;
        let execs = self.execs.borrow();
        let exec_of = |pid| {
            let found = execs
                .values()
                .find(|e| e.pid.get() == pid && e.ended().is_none());
            found.map(|e| e.exec_id.clone())
        };
        Ok(pids.into_iter().map(|pid| (pid, exec_of(pid))).collect())
    }

    /// Its metrics.
    ///
    /// # Errors
    /// brig's.
    pub async fn stats(&self) -> Result<proto::Any> {
        let printed = self.runtime.run(["events", "--stats", &self.id]).await?;
        crate::stats::metrics(&printed)
    }
}

fn read_pid(path: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(path).doing("read", path.display())?;
    text.trim().parse().map_err(|error| {
        let text = format!("{}: {error}", path.display());
        Fault::new(Code::Unknown, text)
    })
}

/// It becomes part of a file's name.
fn check_exec_id(id: &str) -> Result<()> {
    let is_good = !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if is_good {
        return Ok(());
    }
    let text = format!("{id:?} is not an id for a process");
    Err(Fault::new(Code::InvalidArgument, text))
}

/// Whether other processes may outlive the first: it is not the first of a
/// process namespace that ends with it, as in a jail.
fn is_outlived(bundle: &Path) -> Result<bool> {
    let path = bundle.join("config.json");
    let raw = std::fs::read(&path).doing("read", path.display())?;
    let config: Value = serde_json::from_slice(&raw).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        Fault::new(Code::InvalidArgument, text)
    })?;
    Ok(!has_own_processes(&config))
}

fn has_own_processes(config: &Value) -> bool {
    cfg!(target_os = "linux")
        && config["linux"]["namespaces"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|n| n["type"] == "pid" && n["path"].as_str().is_none_or(str::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_processes_are_names_of_files() {
        assert!(check_exec_id("a-1.b_c").is_ok());
        for bad in ["", "../x", ".hidden", "a/b", "a b"] {
            assert!(check_exec_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_shared_process_namespace_outlives_the_first_process() {
        let own = serde_json::json!({"linux": {"namespaces": [{"type": "pid"}]}});
        let shared = serde_json::json!({"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}});
        assert!(has_own_processes(&own));
        assert!(!has_own_processes(&shared));
        assert!(!has_own_processes(&serde_json::json!({})));
    }
}
