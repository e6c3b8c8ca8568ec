//! The whole shim but for its subcommands: over ttrpc on one side, a stand-in
//! for brig on the other, so that it runs anywhere and without root.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;
use tokio::task::{LocalSet, spawn_local};

use crate::error::{Code, Result};
use crate::events::Publisher;
use crate::proto::{self, Any, Empty, ForwardRequest, ProcessRequest, Request, TaskStatus};
use crate::service::Service;
use crate::task::Host;
use crate::wire::{Client, Serve};

/// brig as a shell script: "containers" are shell scripts of the host.
const STAND_IN: &str = r#"#!/bin/sh
log=
while :; do
	case $1 in
	--root) root=$2; shift 2 ;;
	--log) log=$2; shift 2 ;;
	--log-format) shift 2 ;;
	*) break ;;
	esac
done
command=$1; shift
fail() {
	[ -z "$log" ] || echo "{\"level\":\"error\",\"msg\":\"$1\"}" >"$log"
	echo "brig: $1" >&2
	exit 1
}
while :; do
	case $1 in
	--bundle) bundle=$2; shift 2 ;;
	--console-socket) shift 2 ;;
	--pid-file) pid_file=$2; shift 2 ;;
	--process) process=$(cat "$2"); shift 2 ;;
	--resources) resources=$2; shift 2 ;;
	--format) shift 2 ;;
	--*) shift ;;
	*) break ;;
	esac
done
id=$1
mkdir -p "$root"
exec 3<&0
case $command in
create)
	[ ! -e "$bundle/refuse" ] || fail "mounts[0].source: /nosuch does not exist"
	(while [ ! -e "$root/$id.go" ]; do sleep 0.05; done; exec sh "$bundle/program" 3<&-) <&3 &
	echo $! >"$pid_file"; echo $! >"$root/$id" ;;
exec)
	case $process in nosuch) fail "exec: nosuch: executable file not found in \$PATH" ;; esac
	(while [ ! -e "$pid_file.told" ]; do sleep 0.01; done; exec sh -c "$process" 3<&-) <&3 &
	echo $! >"$pid_file"
	# A shell may take the end of its child; touch takes none.
	exec touch "$pid_file.told" ;;
start) touch "$root/$id.go" ;;
kill) kill -s "$2" "$(cat "$root/$id")" ;;
delete) [ -e "$root/$id" ] || fail "container \"$id\" does not exist"
	kill -9 "$(cat "$root/$id")" 2>/dev/null; rm -f "$root/$id" "$root/$id.go" ;;
ps) echo "[$(cat "$root/$id")]" ;;
events) echo '{"data":{"pids":{"current":3}}}' ;;
update) cp "$resources" "$root/updated" ;;
esac
exit 0
"#;

/// Takes the events in containerd's place.
#[derive(Default)]
struct Recorder(RefCell<Vec<(String, Any)>>);

impl Serve for Recorder {
    async fn call(self: Rc<Self>, request: Request) -> Result<Vec<u8>> {
        assert_eq!(
            request.service,
            "containerd.services.events.ttrpc.v1.Events"
        );
        let forward = ForwardRequest::decode(request.payload.as_slice()).unwrap();
        let envelope = forward.envelope.unwrap();
        assert_eq!(envelope.namespace, "test");
        self.0
            .borrow_mut()
            .push((envelope.topic, envelope.event.unwrap()));
        Ok(Empty {}.encode_to_vec())
    }
}

/// The reaper takes any child of this process: one bench at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

struct Bench {
    directory: PathBuf,
    client: Client,
    recorder: Rc<Recorder>,
    events: Publisher,
}

impl Bench {
    async fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("brig-shim-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let brig = directory.join("stand-in");
        std::fs::write(&brig, STAND_IN).unwrap();
        std::fs::set_permissions(&brig, PermissionsExt::from_mode(0o755)).unwrap();
        crate::sys::adopt_orphans().unwrap();
        spawn_local(crate::reap::run());
        let recorder = Rc::new(Recorder::default());
        let listen = |name| tokio::net::UnixListener::bind(directory.join(name)).unwrap();
        spawn_local(crate::wire::serve(listen("c.ttrpc"), Rc::clone(&recorder)));
        let address = format!("unix://{}", directory.join("c.ttrpc").display());
        let events = Publisher::start(address, "test".into());
        let host = Host {
            namespace: "test".into(),
            sockets: directory.clone(),
            state: directory.clone(),
            events: events.clone(),
        };
        let service = Rc::new(Service::new(Rc::new(host)));
        spawn_local(crate::wire::serve(listen("shim"), service));
        Bench {
            client: Bench::connect(&directory).await,
            directory,
            recorder,
            events,
        }
    }

    async fn connect(directory: &Path) -> Client {
        let path = directory.join("shim");
        Client::connect(path.to_str().unwrap()).await.unwrap()
    }

    /// A call that is answered: the message, or the status's code and text.
    async fn call<M: Message + Default>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<M, (i32, String)> {
        let call = self.client.call("containerd.task.v3.Task", method, message);
        let limit = Duration::from_secs(20);
        let answer = tokio::time::timeout(limit, call).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} is not answered"));
        match answer.unwrap() {
            Ok(payload) => Ok(M::decode(payload.as_slice()).unwrap()),
            Err(status) => Err((status.code, status.message)),
        }
    }

    fn bundle(&self, id: &str, program: &str) -> PathBuf {
        let bundle = self.directory.join(id);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(
            bundle.join("config.json"),
            r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#,
        )
        .unwrap();
        std::fs::write(bundle.join("program"), program).unwrap();
        bundle
    }

    fn request(&self, id: &str, program: &str) -> proto::CreateTaskRequest {
        let options = proto::RuncOptions {
            binary_name: self.directory.join("stand-in").to_str().unwrap().into(),
            ..Default::default()
        };
        proto::CreateTaskRequest {
            id: id.into(),
            bundle: self.bundle(id, program).to_str().unwrap().into(),
            stdout: format!("file://{}", self.directory.join("out").display()),
            stderr: format!("file://{}", self.directory.join("out").display()),
            options: Some(Any::of("containerd.runc.v1.Options", &options)),
            ..Default::default()
        }
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.directory.join("out")).unwrap()
    }

    /// The topics that came, once the last is there.
    async fn topics(&self, last: &str) -> Vec<String> {
        self.events.flush().await;
        let all = self.recorder.0.borrow();
        let topics: Vec<_> = all.iter().map(|(topic, _)| topic.clone()).collect();
        assert_eq!(topics.last().map(String::as_str), Some(last));
        topics
    }
}

fn named(id: &str, exec_id: &str) -> ProcessRequest {
    ProcessRequest {
        id: id.into(),
        exec_id: exec_id.into(),
    }
}

#[test]
fn a_container_from_create_to_delete() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut bench = Bench::new().await;
        lifecycle(&mut bench).await;
        exec(&mut bench).await;
        input_ends_with_close_io(&mut bench).await;
        failures(&mut bench).await;
        std::fs::remove_dir_all(&bench.directory).unwrap();
    });
}

async fn lifecycle(bench: &mut Bench) {
    let request = bench.request(
        "one",
        "echo out; echo err >&2; trap 'exit 5' TERM; while :; do sleep 0.05; done",
    );
    let created: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let state: proto::StateResponse = bench.call("State", &named("one", "")).await.unwrap();
    assert_eq!(state.status(), TaskStatus::Created);
    assert_eq!(state.pid, created.pid);
    let again = bench.call::<Empty>("Create", &request).await.unwrap_err();
    assert_eq!(again.0, Code::AlreadyExists as i32);
    let started: proto::PidResponse = bench.call("Start", &named("one", "")).await.unwrap();
    assert_eq!(started.pid, created.pid);
    let running = bench
        .call::<Empty>("Delete", &named("one", ""))
        .await
        .unwrap_err();
    assert_eq!(running.0, Code::FailedPrecondition as i32);
    while bench.out().lines().count() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bench.out(), "out\nerr\n");

    let _: Empty = bench.call("Pause", &named("one", "")).await.unwrap();
    let state: proto::StateResponse = bench.call("State", &named("one", "")).await.unwrap();
    assert_eq!(state.status(), TaskStatus::Paused);
    let _: Empty = bench.call("Resume", &named("one", "")).await.unwrap();
    let update = proto::UpdateTaskRequest {
        id: "one".into(),
        resources: Some(Any {
            type_url: "resources".into(),
            value: b"{\"pids\":{\"limit\":7}}".to_vec(),
        }),
    };
    let _: Empty = bench.call("Update", &update).await.unwrap();
    let updated = std::fs::read_to_string(bench.directory.join("brig/test/updated"));
    assert_eq!(updated.unwrap(), "{\"pids\":{\"limit\":7}}");
    let pids: proto::PidsResponse = bench.call("Pids", &named("one", "")).await.unwrap();
    assert_eq!(pids.processes[0].pid, created.pid);
    let stats: proto::StatsResponse = bench.call("Stats", &named("one", "")).await.unwrap();
    assert!(stats.stats.unwrap().type_url.ends_with(".Metrics"));
    let connect: proto::ConnectResponse = bench.call("Connect", &named("one", "")).await.unwrap();
    assert_eq!(
        (connect.shim_pid, connect.task_pid),
        (std::process::id(), created.pid)
    );
    let checkpoint = bench.call::<Empty>("Checkpoint", &named("one", "")).await;
    assert_eq!(checkpoint.unwrap_err().0, Code::Unimplemented as i32);

    let kill = proto::KillRequest {
        id: "one".into(),
        signal: 15,
        ..Default::default()
    };
    let _: Empty = bench.call("Kill", &kill).await.unwrap();
    let end: proto::WaitResponse = bench.call("Wait", &named("one", "")).await.unwrap();
    assert_eq!(end.exit_status, 5);
    let over = bench.call::<Empty>("Kill", &kill).await.unwrap_err();
    assert_eq!(
        over,
        (Code::NotFound as i32, "process already finished".into())
    );
    let deleted: proto::DeleteResponse = bench.call("Delete", &named("one", "")).await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (created.pid, 5));
    let gone = bench
        .call::<Empty>("State", &named("one", ""))
        .await
        .unwrap_err();
    assert_eq!(gone.0, Code::NotFound as i32);
    assert_eq!(
        bench.topics("/tasks/delete").await,
        [
            "/tasks/create",
            "/tasks/start",
            "/tasks/paused",
            "/tasks/resumed",
            "/tasks/exit",
            "/tasks/delete"
        ]
    );
    bench.recorder.0.borrow_mut().clear();
}

async fn exec(bench: &mut Bench) {
    let request = bench.request("two", "exec sleep 1000");
    let _: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let _: proto::PidResponse = bench.call("Start", &named("two", "")).await.unwrap();
    for (exec_id, program, status) in [("x", "exit 9", 9), ("y", "kill -9 $$", 137)] {
        let exec = proto::ExecProcessRequest {
            id: "two".into(),
            exec_id: exec_id.into(),
            spec: Some(Any {
                type_url: "process".into(),
                value: program.into(),
            }),
            ..Default::default()
        };
        let _: Empty = bench.call("Exec", &exec).await.unwrap();
        let _: proto::PidResponse = bench.call("Start", &named("two", exec_id)).await.unwrap();
        let end: proto::WaitResponse = bench.call("Wait", &named("two", exec_id)).await.unwrap();
        assert_eq!(end.exit_status, status);
        let deleted: proto::DeleteResponse =
            bench.call("Delete", &named("two", exec_id)).await.unwrap();
        assert_eq!(deleted.exit_status, status);
    }
    let mut exec = proto::ExecProcessRequest {
        id: "two".into(),
        exec_id: "z".into(),
        spec: Some(Any {
            type_url: "process".into(),
            value: b"nosuch".to_vec(),
        }),
        ..Default::default()
    };
    let _: Empty = bench.call("Exec", &exec).await.unwrap();
    let missing = bench.call::<Empty>("Start", &named("two", "z")).await;
    let text = missing.unwrap_err().1;
    assert!(
        text.ends_with("executable file not found in $PATH"),
        "{text}"
    );
    exec.exec_id = "../z".into();
    let bad = bench.call::<Empty>("Exec", &exec).await.unwrap_err();
    assert_eq!(bad.0, Code::InvalidArgument as i32);

    // The end of an exec'd process is told before that of the container.
    exec.exec_id = "last".into();
    exec.spec = Some(Any {
        type_url: "process".into(),
        value: b"sleep 0.5; exit 3".to_vec(),
    });
    let _: Empty = bench.call("Exec", &exec).await.unwrap();
    let _: proto::PidResponse = bench.call("Start", &named("two", "last")).await.unwrap();
    let kill = proto::KillRequest {
        id: "two".into(),
        signal: 9,
        ..Default::default()
    };
    let _: Empty = bench.call("Kill", &kill).await.unwrap();
    let end: proto::WaitResponse = bench.call("Wait", &named("two", "")).await.unwrap();
    assert_eq!(end.exit_status, 137);
    bench.topics("/tasks/exit").await;
    let ends: Vec<_> = bench
        .recorder
        .0
        .borrow()
        .iter()
        .filter(|(topic, _)| topic == "/tasks/exit")
        .map(|(_, event)| proto::TaskExit::decode(event.value.as_slice()).unwrap())
        .map(|exit| (exit.id, exit.exit_status))
        .collect();
    let expected = [("x", 9), ("y", 137), ("last", 3), ("two", 137)];
    assert_eq!(ends, expected.map(|(id, status)| (id.to_string(), status)));
    let _: proto::DeleteResponse = bench.call("Delete", &named("two", "")).await.unwrap();
}

async fn input_ends_with_close_io(bench: &mut Bench) {
    let fifo = bench.directory.join("in");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut request = bench.request("three", "cat; echo end");
    request.stdin = fifo.to_str().unwrap().into();
    let _: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let _: proto::PidResponse = bench.call("Start", &named("three", "")).await.unwrap();
    // Two writers, as when a client goes and another comes.
    std::fs::write(&fifo, "first\n").unwrap();
    while !bench.out().ends_with("first\n") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(&fifo, "second\n").unwrap();
    let close = proto::CloseIoRequest {
        id: "three".into(),
        stdin: true,
        ..Default::default()
    };
    let _: Empty = bench.call("CloseIO", &close).await.unwrap();
    let end: proto::WaitResponse = bench.call("Wait", &named("three", "")).await.unwrap();
    assert_eq!(end.exit_status, 0);
    let _: proto::DeleteResponse = bench.call("Delete", &named("three", "")).await.unwrap();
    assert!(
        bench.out().ends_with("first\nsecond\nend\n"),
        "{}",
        bench.out()
    );
}

async fn failures(bench: &mut Bench) {
    let request = bench.request("four", "");
    std::fs::write(bench.directory.join("four/refuse"), "").unwrap();
    let refused = bench.call::<Empty>("Create", &request).await.unwrap_err();
    let text = "OCI runtime create failed: mounts[0].source: /nosuch does not exist";
    assert_eq!(refused, (Code::Unknown as i32, text.into()));
    // Told once, and not among the container's output as well.
    assert!(!bench.out().contains("/nosuch"), "{}", bench.out());
    let unknown = bench.call::<Empty>("Dance", &named("four", "")).await;
    assert_eq!(unknown.unwrap_err().0, Code::Unimplemented as i32);

    // Deleted before it ran: it is killed.
    std::fs::remove_file(bench.directory.join("four/refuse")).unwrap();
    let _: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let deleted: proto::DeleteResponse = bench.call("Delete", &named("four", "")).await.unwrap();
    assert_eq!(deleted.exit_status, 137);

    // brig has made it, but there is no terminal: it is taken back.
    let mut terminal = bench.request("six", "");
    terminal.terminal = true;
    terminal.stderr.clear();
    let none = bench.call::<Empty>("Create", &terminal).await.unwrap_err();
    assert!(none.1.ends_with("brig has sent no terminal"), "{none:?}");
    assert!(!bench.directory.join("brig/test/six").exists());

    let mut missing = bench.request("five", "");
    let options = proto::RuncOptions {
        binary_name: "/nonexistent/brig".into(),
        ..Default::default()
    };
    missing.options = Some(Any::of("containerd.runc.v1.Options", &options));
    let text = bench.call::<Empty>("Create", &missing).await.unwrap_err().1;
    assert!(
        text.contains("cannot run /nonexistent/brig: ENOENT; install brig"),
        "{text}"
    );
}

/// With a real brig, on either system: `BRIG=FILE ROOTFS=DIRECTORY`, as root,
/// and a root of static programs, as tools/make-rootfs makes it.
#[test]
#[ignore = "needs root, BRIG and ROOTFS"]
fn a_container_of_brig() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut bench = Bench::new().await;
        real_lifecycle(&mut bench).await;
        real_terminal(&mut bench).await;
        std::fs::remove_dir_all(&bench.directory).unwrap();
    });
}

fn real_request(
    bench: &Bench,
    id: &str,
    args: &[&str],
    terminal: bool,
) -> proto::CreateTaskRequest {
    let (brig, rootfs) = (
        std::env::var("BRIG").unwrap(),
        std::env::var("ROOTFS").unwrap(),
    );
    let mut request = bench.request(id, "");
    let bundle = bench.directory.join(id);
    std::fs::remove_file(bundle.join("config.json")).unwrap();
    let spec = std::process::Command::new(&brig)
        .args(["spec", "--bundle", bundle.to_str().unwrap()])
        .status();
    assert!(spec.unwrap().success());
    let path = bundle.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["args"] = args.into();
    config["process"]["terminal"] = terminal.into();
    config["root"] = serde_json::json!({"path": "rootfs"});
    std::fs::write(&path, config.to_string()).unwrap();
    let options = proto::RuncOptions {
        binary_name: brig,
        ..Default::default()
    };
    request.options = Some(Any::of("containerd.runc.v1.Options", &options));
    request.terminal = terminal;
    if terminal {
        request.stderr.clear();
    }
    // As a snapshotter would have it: nullfs on FreeBSD.
    request.rootfs = vec![proto::Mount {
        kind: "bind".into(),
        source: rootfs,
        options: vec!["rbind".into(), "rw".into()],
        ..Default::default()
    }];
    request
}

async fn real_lifecycle(bench: &mut Bench) {
    // The second process outlives the first where there is no process
    // namespace; the shim ends it.
    let program = "echo up; sleep 1000 & trap 'exit 5' TERM; while :; do sleep 0.1; done";
    let request = real_request(bench, "shim-real", &["/bin/sh", "-c", program], false);
    let created: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let _: proto::PidResponse = bench.call("Start", &named("shim-real", "")).await.unwrap();
    while bench.out().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bench.out(), "up\n");
    let pids: proto::PidsResponse = bench.call("Pids", &named("shim-real", "")).await.unwrap();
    assert!(pids.processes.iter().any(|p| p.pid == created.pid));
    assert!(pids.processes.len() >= 2, "{pids:?}");
    for (exec_id, program, status) in [("x", "exit 9", 9), ("y", "kill -9 $$", 137)] {
        let process = serde_json::json!({"args": ["/bin/sh", "-c", program], "cwd": "/",
            "env": ["PATH=/bin:/rescue"], "user": {"uid": 0, "gid": 0}});
        let exec = proto::ExecProcessRequest {
            id: "shim-real".into(),
            exec_id: exec_id.into(),
            spec: Some(Any {
                type_url: "process".into(),
                value: process.to_string().into(),
            }),
            ..Default::default()
        };
        let _: Empty = bench.call("Exec", &exec).await.unwrap();
        let _: proto::PidResponse = bench
            .call("Start", &named("shim-real", exec_id))
            .await
            .unwrap();
        let end: proto::WaitResponse = bench
            .call("Wait", &named("shim-real", exec_id))
            .await
            .unwrap();
        assert_eq!(end.exit_status, status);
        let _: proto::DeleteResponse = bench
            .call("Delete", &named("shim-real", exec_id))
            .await
            .unwrap();
    }
    let _: Empty = bench.call("Pause", &named("shim-real", "")).await.unwrap();
    let _: Empty = bench.call("Resume", &named("shim-real", "")).await.unwrap();
    let kill = proto::KillRequest {
        id: "shim-real".into(),
        signal: 15,
        ..Default::default()
    };
    let _: Empty = bench.call("Kill", &kill).await.unwrap();
    let end: proto::WaitResponse = bench.call("Wait", &named("shim-real", "")).await.unwrap();
    assert_eq!(end.exit_status, 5);
    let _: proto::DeleteResponse = bench.call("Delete", &named("shim-real", "")).await.unwrap();
    // The root is unmounted.
    let rootfs = bench.directory.join("shim-real/rootfs");
    assert_eq!(std::fs::read_dir(rootfs).unwrap().count(), 0);
}

async fn real_terminal(bench: &mut Bench) {
    std::fs::remove_file(bench.directory.join("out")).unwrap();
    // FreeBSD's /rescue has no tty(1).
    let program = "PATH=$PATH:/rescue; test -t 0 && echo terminal; stty size; exit 7";
    let request = real_request(bench, "shim-tty", &["/bin/sh", "-c", program], true);
    let _: proto::PidResponse = bench.call("Create", &request).await.unwrap();
    let resize = proto::ResizePtyRequest {
        id: "shim-tty".into(),
        width: 99,
        height: 33,
        ..Default::default()
    };
    let _: Empty = bench.call("ResizePty", &resize).await.unwrap();
    let _: proto::PidResponse = bench.call("Start", &named("shim-tty", "")).await.unwrap();
    let end: proto::WaitResponse = bench.call("Wait", &named("shim-tty", "")).await.unwrap();
    assert_eq!(end.exit_status, 7);
    let _: proto::DeleteResponse = bench.call("Delete", &named("shim-tty", "")).await.unwrap();
    let out = bench.out();
    assert!(out.contains("terminal") && out.contains("33 99"), "{out:?}");
}
