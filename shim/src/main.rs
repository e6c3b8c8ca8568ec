//! containerd's shim for brig (containerd, core/runtime/v2/README.md): one
//! process for each container, or each pod, that drives `brig` by its command
//! line, holds the streams, waits for the processes and tells containerd.
//!
//! `start` makes the socket and leaves a server behind, without an action it
//! is that server, and `delete` cleans up after one that died.

mod args;
mod error;
mod events;
mod log;
mod mount;
mod oom;
mod options;
mod proto;
mod reap;
mod runtime;
mod service;
mod stats;
mod streams;
#[allow(unsafe_code)]
mod sys;
mod task;
#[cfg(test)]
mod whole_tests;
mod wire;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use prost::Message;
use tokio::signal::unix::{SignalKind, signal};

use args::Args;
use error::{Code, Context, Fault, Result};
use options::Options;
use proto::{Any, DeleteResponse, RuntimeInfo, RuntimeVersion};
use runtime::Runtime;

/// The runtime's name in containerd.
const RUNTIME: &str = "io.containerd.brig.v1";
/// The descriptor that the server finds its socket at.
const LISTENER: i32 = 3;
/// Annotations whose value names a group of containers with one shim, the
/// first found counts: the CRI's is a pod.
const GROUPS: [&str; 3] = [
    "io.containerd.brig.v1.group",
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

fn main() -> ExitCode {
    let done = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => run(&args),
        Err(text) => Err(Fault::new(Code::InvalidArgument, text)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "containerd-shim-brig-v1: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.version {
        return print(format!("{RUNTIME} {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    }
    if args.info {
        return info();
    }
    for (flag, value) in [("namespace", &args.namespace), ("id", &args.id)] {
        // They become parts of paths.
        if value.is_empty() || value.contains('/') || value.starts_with('.') {
            let text = format!("-{flag}: {value:?} is not a name");
            return Err(Fault::new(Code::InvalidArgument, text));
        }
    }
    match args.action.as_str() {
        "start" => start(args),
        "delete" => delete(args),
        "" => serve(args),
        other => {
            let text = format!("action {other:?} is unknown; use start or delete");
            Err(Fault::new(Code::InvalidArgument, text))
        }
    }
}

fn print(bytes: &[u8]) -> Result<()> {
    io::stdout().write_all(bytes).doing("write", "the answer")
}

/// The bundle: containerd starts the shim in it, but on FreeBSD says so for
/// `delete`.
fn bundle(args: &Args) -> Result<PathBuf> {
    match &args.bundle {
        Some(bundle) => Ok(bundle.clone()),
        None => std::env::current_dir().doing("find", "the bundle"),
    }
}

/// Where this containerd keeps what is alive: beside its own socket.
fn state_directory(address: &str) -> PathBuf {
    let path = Path::new(address.strip_prefix("unix://").unwrap_or(address));
    match path.parent() {
        Some(parent) if path.is_absolute() => parent.into(),
        _ if cfg!(target_os = "freebsd") => "/var/run/containerd".into(),
        _ => "/run/containerd".into(),
    }
}

/// The name of a group's socket: its path must fit 104 bytes, so it is a
/// number (FNV-1a; nobody but root chooses names here).
fn socket_name(namespace: &str, group: &str) -> String {
    let bytes = namespace.bytes().chain([b'/']).chain(group.bytes());
    let hash = bytes.fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b),
    );
    format!("{hash:032x}")
}

/// The group that the bundle's annotations name, or the container's own id.
fn group(bundle: &Path, id: &str) -> Result<String> {
    let path = bundle.join("config.json");
    let raw = std::fs::read(&path).doing("read", path.display())?;
    let config: serde_json::Value = serde_json::from_slice(&raw).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        Fault::new(Code::InvalidArgument, text)
    })?;
    let named = |name: &&str| config["annotations"][*name].as_str();
    Ok(GROUPS.iter().find_map(named).unwrap_or(id).into())
}

/// Prints the address of the shim for this container, which may be the one of
/// its pod.
fn start(args: &Args) -> Result<()> {
    let bundle = bundle(args)?;
    let sockets = state_directory(&args.address).join("s");
    make_private(&sockets)?;
    let name = socket_name(&args.namespace, &group(&bundle, &args.id)?);
    let path = sockets.join(&name);
    let address = format!("unix://{}", path.display());
    // One start at a time: between bind and listen a socket looks dead.
    let lock = File::create(sockets.join(".lock")).doing("lock", sockets.display())?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Fault::io("lock", sockets.display(), &errno.into()))?;
    if UnixStream::connect(&path).is_err() {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).doing("listen on", path.display())?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).doing("protect", path.display())?;
        spawn_server(args, &bundle, listener.into()).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
    }
    // containerd 1 finds the shim by it after a restart.
    let file = bundle.join("address");
    std::fs::write(&file, &address).doing("write", file.display())?;
    // Plain, which containerd 1 and 2 understand, and not the JSON that only
    // 1.7 and later do.
    print(address.as_bytes())
}

fn make_private(directory: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .doing("create", directory.display())
}

fn spawn_server(args: &Args, bundle: &Path, listener: OwnedFd) -> Result<()> {
    let this = std::env::current_exe().doing("find", "the shim's program")?;
    let mut command = Command::new(&this);
    command
        .args(["-namespace", &args.namespace, "-id", &args.id])
        .args(["-address", &args.address])
        .arg("-bundle")
        .arg(bundle)
        // The bundle goes away under it when it serves a pod.
        .current_dir("/")
        // containerd reads these to their end.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal for containerd's group is not for its containers.
        .process_group(0);
    if args.debug {
        command.arg("-debug");
    }
    sys::pass(&mut command, vec![(listener, LISTENER)]).doing("run", this.display())?;
    command.spawn().doing("run", this.display())?;
    Ok(())
}

/// Answers containerd until the last container is gone.
fn serve(args: &Args) -> Result<()> {
    let listener = sys::inherited(LISTENER).map_err(|_| {
        let text = "there is no socket to serve; containerd runs the shim with: start";
        Fault::new(Code::InvalidArgument, text)
    })?;
    log::open(&bundle(args)?);
    sys::adopt_orphans().doing("adopt", "the containers' processes")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("start", "the event loop")?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(served(args, listener.into())))
}

async fn served(args: &Args, listener: UnixListener) -> Result<()> {
    let path = listener.local_addr().ok();
    let path = path.and_then(|address| address.as_pathname().map(PathBuf::from));
    listener
        .set_nonblocking(true)
        .doing("serve", "the socket")?;
    let listener = tokio::net::UnixListener::from_std(listener).doing("serve", "the socket")?;
    let state = state_directory(&args.address);
    let events = std::env::var("TTRPC_ADDRESS").ok();
    let events = events.filter(|address| !address.is_empty());
    let host = Rc::new(task::Host {
        namespace: args.namespace.clone(),
        sockets: state.join("s"),
        events: events::Publisher::start(
            events.unwrap_or_else(|| format!("{}.ttrpc", args.address)),
            args.namespace.clone(),
        ),
        state,
    });
    let service = Rc::new(service::Service::new(Rc::clone(&host)));
    let mut terminate = signal(SignalKind::terminate()).doing("handle", "SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).doing("handle", "SIGINT")?;
    let ended = tokio::select! {
        reaped = reap::run() => reaped.doing("wait for", "processes"),
        () = wire::serve(listener, Rc::clone(&service)) => Ok(()),
        () = service.over.notified() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // Nobody is to find this shim any more.
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
    // The answer to Shutdown, and the last events, are still on their way.
    host.events.flush().await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    ended
}

/// Cleans up after a shim that died, and prints how its container ended.
fn delete(args: &Args) -> Result<()> {
    let bundle = bundle(args)?;
    // containerd 1 runs it in the bundle of another container of the pod.
    let bundle = match bundle.parent() {
        Some(parent) if args.bundle.is_none() => parent.join(&args.id),
        _ => bundle,
    };
    let options = Options::load(&bundle);
    let state = state_directory(&args.address);
    let runtime = Runtime::new(&options, &state, &args.namespace);
    let mut command = runtime.command();
    command.args(["delete", "--force", &args.id]);
    if let Err(fault) = runtime::run_now(command) {
        let _ = writeln!(io::stderr(), "containerd-shim-brig-v1: {fault}");
    }
    mount::undo(&bundle.join("rootfs"));
    remove_dead_socket(&bundle);
    let pid = std::fs::read_to_string(bundle.join(format!("{}.pid", args.id)));
    let response = DeleteResponse {
        pid: pid
            .ok()
            .and_then(|pid| pid.trim().parse().ok())
            .unwrap_or(0),
        exit_status: 128 + libc::SIGKILL.unsigned_abs(),
        exited_at: Some(SystemTime::now().into()),
    };
    print(&response.encode_to_vec())
}

/// The socket of a shim that answers no more; a pod's may still.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else {
        return;
    };
    let path = address.strip_prefix("unix://").unwrap_or(&address);
    if UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
}

/// Prints what this runtime is and can do: `-info` of containerd 2.
fn info() -> Result<()> {
    let mut given = Vec::new();
    // The options of the runtime, if any; containerd 1 gives none.
    io::stdin()
        .read_to_end(&mut given)
        .doing("read", "the options")?;
    let given = Any::decode(given.as_slice()).ok();
    let given = given.filter(|any| !any.value.is_empty());
    let options = Options::decode(given.as_ref())?;
    let runtime = Runtime::new(&options, Path::new("/nonexistent"), "");
    let mut command = runtime.command();
    command.arg("features");
    let features = runtime::run_now(command).ok().map(|json| Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".into(),
        value: json,
    });
    let info = RuntimeInfo {
        name: RUNTIME.into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            revision: String::new(),
        }),
        options: given,
        features,
        ..RuntimeInfo::default()
    };
    print(&info.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_short_names_of_their_own() {
        let one = socket_name("default", "a");
        assert_eq!(one.len(), 32);
        assert_ne!(one, socket_name("default", "b"));
        assert_ne!(socket_name("a", "b/c"), socket_name("a/b", "d"));
        // FNV-1a of 128 bits: a shim of another version finds the socket.
        assert_eq!(socket_name("", ""), "d228cb69251a8caf78912b704e4a2e56");
    }

    #[test]
    fn state_is_beside_containerds_socket() {
        assert_eq!(state_directory("/tmp/x/c.sock"), PathBuf::from("/tmp/x"));
        assert_eq!(
            state_directory("unix:///tmp/x/c.sock"),
            PathBuf::from("/tmp/x")
        );
        assert!(state_directory("").ends_with("run/containerd"));
    }
}
