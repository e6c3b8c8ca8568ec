//! The standard streams of a container's process: between its pipes or its
//! terminal, and what containerd named: a fifo, file:// or binary://.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, spawn_local};

use crate::error::{Code, Context, Fault, Result};
use crate::options::Options;
use crate::runtime::Streams;

/// How long output may take to come to its end after the process has, as when
/// another process holds the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// How long whoever is to read an output may take to open it.
const OPENING: Duration = Duration::from_secs(10);
/// Room for what is read at once; shared, because there is one thread.
const BUFFER: usize = 32 << 10;

thread_local! {
    static BYTES: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// The names that containerd gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Fifo that standard input comes from, or empty.
    pub stdin: String,
    /// Fifo, file://, binary://, or empty.
    pub stdout: String,
    /// As stdout; empty with a terminal.
    pub stderr: String,
    /// The process has a terminal.
    pub terminal: bool,
}

/// The shim's side of a process's streams.
#[derive(Debug, Default)]
pub struct Relay {
    /// Outputs whose copying has not begun.
    waiting: RefCell<Vec<(Poll, Sink)>>,
    outputs: RefCell<Vec<JoinHandle<()>>>,
    input: RefCell<Option<JoinHandle<()>>>,
    /// Holds the input fifo open though its writers come and go; until CloseIO.
    input_open: RefCell<Option<File>>,
    console: RefCell<Option<Rc<Poll>>>,
}

/// An open file that is waited for; not blocking.
#[derive(Debug)]
pub struct Poll(AsyncFd<OwnedFd>);

impl Poll {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        crate::sys::register(fd).map(Poll)
    }

    /// Reads once there is something; 0 at the end.
    async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, bytes)?))
            .await
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = self
                .0
                .async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, bytes)?));
            let written = write.await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

/// Where output goes.
#[derive(Debug)]
enum Sink {
    /// A fifo, which is held open for reading as well: the process must not be
    /// killed by SIGPIPE because containerd is being restarted.
    Fifo { fifo: Poll, _reader: File },
    /// A file, or a device like /dev/null.
    File(File),
    /// A pipe to a logging program.
    Pipe(Poll),
    /// Nobody listens.
    Nowhere,
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Fifo { fifo, .. } | Sink::Pipe(fifo) => fifo.write_all(bytes).await,
            Sink::File(file) => file.write_all(bytes),
            Sink::Nowhere => Ok(()),
        }
    }
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo())
}

/// Opens a fifo at both ends, without waiting for anyone.
fn open_fifo(path: &Path) -> io::Result<(File, File)> {
    let mut with = OpenOptions::new();
    with.custom_flags(libc::O_NONBLOCK);
    let reader = with.clone().read(true).open(path)?;
    let writer = with.write(true).open(path)?;
    Ok((reader, writer))
}

/// Opens a fifo for output at both ends, once somebody reads it: what is in a
/// fifo is lost when its last end is closed, and a short program may be over
/// before a slow reader comes. Without one it goes on after a while.
async fn open_output(path: &Path) -> io::Result<(File, File)> {
    let end = tokio::time::Instant::now() + OPENING;
    let mut pause = Duration::from_millis(1);
    loop {
        let mut with = OpenOptions::new();
        let writer = with.write(true).custom_flags(libc::O_NONBLOCK).open(path);
        match writer {
            Ok(writer) => {
                let mut with = OpenOptions::new();
                let reader = with.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
                return Ok((reader, writer));
            }
            Err(error) if error.raw_os_error() != Some(libc::ENXIO) => return Err(error),
            Err(_) if tokio::time::Instant::now() > end => return open_fifo(path),
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}

/// A name of an output as containerd writes it.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    Path(PathBuf),
    File(PathBuf),
    Program {
        path: PathBuf,
        arguments: Vec<String>,
    },
}

impl Target {
    fn parse(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Ok(Target::Nowhere);
        }
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(Target::Path(name.into()));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(decode(path));
        Ok(match scheme {
            "fifo" => Target::Path(path),
            "file" => Target::File(path),
            "binary" => Target::Program {
                path,
                // Each key is an argument, and so is its value if it has one.
                arguments: query
                    .split('&')
                    .filter(|pair| !pair.is_empty())
                    .flat_map(|pair| match pair.split_once('=') {
                        Some((key, value)) => vec![decode(key), decode(value)],
                        None => vec![decode(pair)],
                    })
                    .filter(|word| !word.is_empty())
                    .collect(),
            },
            _ => {
                let text = format!("output {name:?}: brig's shim knows fifo, file and binary");
                return Err(Fault::new(Code::InvalidArgument, text));
            }
        })
    }

    async fn open(&self) -> Result<Sink> {
        match self {
            Target::Nowhere => Ok(Sink::Nowhere),
            Target::Path(path) if is_fifo(path) => {
                let (reader, writer) = open_output(path).await.doing("open", path.display())?;
                let fifo = Poll::new(writer.into()).doing("open", path.display())?;
                Ok(Sink::Fifo {
                    fifo,
                    _reader: reader,
                })
            }
            Target::Path(path) | Target::File(path) => {
                if let (Target::File(_), Some(directory)) = (self, path.parent()) {
                    std::fs::create_dir_all(directory).doing("create", directory.display())?;
                }
                let file = OpenOptions::new().append(true).create(true).open(path);
                Ok(Sink::File(file.doing("open", path.display())?))
            }
            Target::Program { .. } => Err(Fault::new(
                Code::InvalidArgument,
                "a logging program takes both outputs",
            )),
        }
    }
}

/// Percent-encoding undone.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match (first, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Streams of a process without a terminal: the process's ends, and the relay.
///
/// # Errors
/// What containerd named cannot be opened.
pub async fn pipes(names: &Names, options: &Options, of: &Owner<'_>) -> Result<(Streams, Relay)> {
    let relay = Relay::default();
    let stdin = if names.stdin.is_empty() {
        Stdio::null()
    } else {
        let (theirs, ours) = std::io::pipe().doing("make", "a pipe")?;
        own(&theirs, options)?;
        relay.feed(
            &names.stdin,
            Rc::new(Poll::new(ours.into()).doing("make", "a pipe")?),
        )?;
        theirs.into()
    };
    let stdout = Target::parse(&names.stdout)?;
    if let Target::Program { path, arguments } = &stdout {
        let (out, err) = logger(path, arguments, of).await?;
        own(&out, options)?;
        own(&err, options)?;
        return Ok((Streams([stdin, out.into(), err.into()]), relay));
    }
    let stdout = relay.collect(&stdout, options).await?;
    let stderr = Target::parse(&names.stderr)?;
    let stderr = relay.collect(&stderr, options).await?;
    Ok((Streams([stdin, stdout, stderr]), relay))
}

/// Streams of brig itself when the process has a terminal.
pub fn no_streams() -> Streams {
    Streams([Stdio::null(), Stdio::null(), Stdio::null()])
}

fn own(pipe: impl AsFd, options: &Options) -> Result<()> {
    if (options.io_uid, options.io_gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (options.io_uid.into(), options.io_gid.into());
    nix::unistd::fchown(pipe, Some(uid), Some(gid)).doing("change the owner of", "a pipe")
}

/// Whose output a logging program gets.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The container.
    pub id: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// Starts a logging program: 3 and 4 are the outputs, and it closes 5 when it
/// is ready (containerd, docs/runtime-v2.md, Logging).
async fn logger(path: &Path, arguments: &[String], of: &Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let pipe = || std::io::pipe().doing("make", "a pipe");
    let (out_reader, out) = pipe()?;
    let (err_reader, err) = pipe()?;
    let (ready, ready_writer) = pipe()?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("CONTAINER_ID", of.id)
        .env("CONTAINER_NAMESPACE", of.namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let passed = vec![
        (out_reader.into(), 3),
        (err_reader.into(), 4),
        (ready_writer.into(), 5),
    ];
    crate::sys::pass(&mut command, passed).doing("run", path.display())?;
    let child = command.spawn().doing("run the logger", path.display())?;
    // The command holds the other ends.
    drop(command);
    let mut end = crate::reap::end_of(child.id());
    let ready = Poll::new(ready.into()).doing("make", "a pipe")?;
    let mut byte = [0];
    tokio::select! {
        _ = ready.read(&mut byte) => {}
        _ = &mut end => {}
    }
    // Its end closes 5 as well.
    if let Ok(exit) = end.try_recv() {
        let text = format!(
            "the logger {} ended with status {}",
            path.display(),
            exit.status
        );
        return Err(Fault::new(Code::Unknown, text));
    }
    Ok((out.into(), err.into()))
}

impl Relay {
    /// A pipe whose end the process gets, and that is copied to the target.
    async fn collect(&self, target: &Target, options: &Options) -> Result<Stdio> {
        if *target == Target::Nowhere {
            return Ok(Stdio::null());
        }
        let (ours, theirs) = std::io::pipe().doing("make", "a pipe")?;
        own(&theirs, options)?;
        let from = Poll::new(ours.into()).doing("make", "a pipe")?;
        let to = target.open().await?;
        self.waiting.borrow_mut().push((from, to));
        Ok(theirs.into())
    }

    /// Copies the outputs from now on. Call it once the process is there: what
    /// brig says of its failure is told by the answer, and not here as well.
    pub fn begin(&self) {
        for (from, to) in self.waiting.take() {
            let copy = spawn_local(copy_out(Rc::new(from), to));
            self.outputs.borrow_mut().push(copy);
        }
    }

    /// Copies the fifo to the process's standard input.
    fn feed(&self, name: &str, to: Rc<Poll>) -> Result<()> {
        let path = Path::new(name.strip_prefix("fifo://").unwrap_or(name));
        let (reader, writer) = if is_fifo(path) {
            let (reader, writer) = open_fifo(path).doing("open", path.display())?;
            (reader, Some(writer))
        } else {
            (File::open(path).doing("open", path.display())?, None)
        };
        let is_polled = writer.is_some();
        *self.input_open.borrow_mut() = writer;
        let copy = if is_polled {
            let from = Poll::new(reader.into()).doing("open", path.display())?;
            spawn_local(copy_in(from, to))
        } else {
            spawn_local(copy_file_in(reader, to))
        };
        *self.input.borrow_mut() = Some(copy);
        Ok(())
    }

    /// Takes over a terminal: its master is copied to and from what containerd
    /// named.
    ///
    /// # Errors
    /// What containerd named cannot be opened.
    pub async fn attach(&self, master: OwnedFd, names: &Names, of: &Owner<'_>) -> Result<()> {
        let console = Rc::new(Poll::new(master).doing("open", "the terminal")?);
        let sink = match Target::parse(&names.stdout)? {
            Target::Program { path, arguments } => {
                let (out, _) = logger(&path, &arguments, of).await?;
                Sink::Pipe(Poll::new(out).doing("make", "a pipe")?)
            }
            target => target.open().await?,
        };
        let copy = spawn_local(copy_out(Rc::clone(&console), sink));
        self.outputs.borrow_mut().push(copy);
        if !names.stdin.is_empty() {
            self.feed(&names.stdin, Rc::clone(&console))?;
        }
        *self.console.borrow_mut() = Some(console);
        Ok(())
    }

    /// Sets the terminal's size; nothing without a terminal.
    ///
    /// # Errors
    /// Those of tty_ioctl(4).
    pub fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        let Some(console) = &*self.console.borrow() else {
            return Ok(());
        };
        let short = |n: u32| n.try_into().unwrap_or(u16::MAX);
        crate::sys::set_size(&console.0, short(columns), short(rows))
            .doing("resize", "the terminal")
    }

    /// Standard input ends when its last writer goes.
    pub fn close_input(&self) {
        self.input_open.borrow_mut().take();
    }

    /// Ends the relay of a process that has ended: what it wrote is delivered.
    pub async fn finish(&self) {
        self.close_input();
        if let Some(copy) = self.input.borrow_mut().take() {
            copy.abort();
        }
        let outputs = self.outputs.take();
        let end = tokio::time::Instant::now() + DRAIN;
        for mut copy in outputs {
            if tokio::time::timeout_at(end, &mut copy).await.is_err() {
                copy.abort();
            }
        }
        self.console.borrow_mut().take();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for copy in self.outputs.take().into_iter().chain(self.input.take()) {
            copy.abort();
        }
    }
}

/// Takes what is there into the shared room, and out of it again before
/// anything else can run.
async fn take(from: &Poll) -> io::Result<Vec<u8>> {
    from.0
        .async_io(Interest::READABLE, |fd| {
            BYTES.with_borrow_mut(|bytes| {
                let read = nix::unistd::read(fd, bytes)?;
                Ok(bytes[..read].to_vec())
            })
        })
        .await
}

async fn copy_out(from: Rc<Poll>, mut to: Sink) {
    loop {
        match take(&from).await {
            Ok(bytes) if bytes.is_empty() => return,
            // EIO: the terminal's last user has closed it (Linux).
            Err(_) => return,
            Ok(bytes) => {
                // The process must not stand still for a full disk: what
                // cannot be written is lost.
                if let Err(error) = to.write(&bytes).await {
                    crate::log::warning(&format!("output is lost: {error}"));
                    to = Sink::Nowhere;
                }
            }
        }
    }
}

async fn copy_in(from: Poll, to: Rc<Poll>) {
    while let Ok(bytes) = take(&from).await {
        if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// From a file that cannot be waited for.
async fn copy_file_in(mut from: File, to: Rc<Poll>) {
    let mut bytes = [0; 4096];
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// The socket that brig sends a terminal's master to.
#[derive(Debug)]
pub struct ConsoleSocket {
    /// Its path.
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Listens on a new socket in the directory.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen(directory: &Path) -> Result<Self> {
        thread_local! {
            static NUMBER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        }
        let number = NUMBER.replace(NUMBER.get() + 1);
        let path = directory.join(format!("tty-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).doing("listen on", path.display())?;
        Ok(ConsoleSocket { path, listener })
    }

    /// The master, once brig has ended well: it waits in the socket by then.
    ///
    /// # Errors
    /// brig has sent none.
    pub async fn receive(&self) -> Result<OwnedFd> {
        let accepted = tokio::time::timeout(DRAIN, self.listener.accept()).await;
        let (stream, _) = accepted
            .map_err(|_| Fault::new(Code::Unknown, "brig has sent no terminal"))?
            .doing("accept", "the terminal")?;
        let receive = || crate::sys::receive_descriptor(&stream);
        stream
            .async_io(Interest::READABLE, receive)
            .await
            .doing("receive", "the terminal")
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs() {
        assert_eq!(Target::parse("").unwrap(), Target::Nowhere);
        assert_eq!(Target::parse("/f").unwrap(), Target::Path("/f".into()));
        assert_eq!(
            Target::parse("file:///a%20b").unwrap(),
            Target::File("/a b".into())
        );
        assert_eq!(
            Target::parse("binary:///log?-k=v%2F&flag").unwrap(),
            Target::Program {
                path: "/log".into(),
                arguments: vec!["-k".into(), "v/".into(), "flag".into()]
            }
        );
        assert_eq!(
            Target::parse("npipe://x").unwrap_err().code,
            Code::InvalidArgument
        );
    }

    #[test]
    fn what_is_written_before_the_reader_comes_is_not_lost() {
        let path = std::env::temp_dir().join(format!("brig-fifo-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let late = path.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            std::fs::read_to_string(late).unwrap()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut sink = Target::Path(path.clone()).open().await.unwrap();
            sink.write(b"all of it").await.unwrap();
        });
        assert_eq!(reader.join().unwrap(), "all of it");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn percent_is_kept_where_it_encodes_nothing() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz+%41"), "%zz A");
    }
}
