//! The command line: clap types, nothing else. Flags and words are runc's.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An OCI runtime for FreeBSD jails, which also runs on Linux.
#[derive(Debug, Parser)]
#[command(
    name = "brig",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Directory of the containers' state [default: /run/brig, on FreeBSD
    /// /var/run/brig, without root $XDG_RUNTIME_DIR/brig]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// File that errors and warnings are written to, besides standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of --log
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// The least level that is logged: debug, info, warn, error
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
    /// Log what is being done
    #[arg(long)]
    pub debug: bool,
    /// Let systemd manage the cgroup (Linux only)
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Ignore cgroup errors without root: true, false or auto
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub rootless: Option<String>,
    /// Host policy file [default: /etc/brig.json, on FreeBSD
    /// /usr/local/etc/brig.json]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
    #[value(name = "jail.conf")]
    JailConf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOs {
    Freebsd,
    Linux,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a container from a bundle
    Create(Create),
    /// Run the program of a created container
    Start(Id),
    /// Print the state of a container as JSON
    State(Id),
    /// Send a signal to a container's process
    Kill(Kill),
    /// Remove a container and all it holds on the host
    Delete(Delete),
    /// Create and start a container, and wait for it
    Run(Run),
    /// Run another program in a container
    Exec(Exec),
    /// List the containers
    List(List),
    /// List the processes of a container
    Ps(Ps),
    /// Stop the execution of a container's processes
    Pause(Id),
    /// Let a paused container's processes go on
    Resume(Id),
    /// Change the resource limits of a container
    Update(Update),
    /// Print resource statistics
    Events(Events),
    /// Print what this runtime supports, as JSON
    Features,
    /// Write a sample config.json
    Spec(Spec),
    /// Print the steps that create would take, on any OS, touching nothing
    Plan(Plan),
    /// Make an image of a root file system
    Pack(Box<Pack>),
    /// Take back what killed runtimes and reboots left behind
    Gc(Gc),
    /// Make a bundle of an image
    Unpack(Unpack),
    /// Tell what an image layout or an archive holds
    #[command(subcommand, disable_help_subcommand = true)]
    Image(Image),
}

#[derive(Debug, Args)]
pub struct Id {
    /// The container's id
    pub id: String,
}

#[derive(Debug, Args)]
pub struct BundleAndIo {
    /// Directory with config.json [default: the working directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Unix socket that the terminal's master is sent to
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// File that the process id is written to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are passed to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Move the root file system instead of pivoting into it (Linux)
    #[arg(long)]
    pub no_pivot: bool,
    /// Do not make a new session keyring (Linux)
    #[arg(long)]
    pub no_new_keyring: bool,
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    pub io: BundleAndIo,
    /// The container's id
    pub id: String,
    /// The bundle, when not given by --bundle
    #[arg(value_name = "BUNDLE", conflicts_with = "bundle")]
    pub bundle_argument: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub io: BundleAndIo,
    /// Do not wait for the program
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when its program has ended (the default)
    #[arg(long, conflicts_with = "keep")]
    pub rm: bool,
    /// Keep the container when its program has ended
    #[arg(long)]
    pub keep: bool,
    /// Do not adopt orphaned processes of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// Image to run in place of a bundle, which is made and removed
    #[arg(long, value_name = "SOURCE[:REF]", conflicts_with_all = ["bundle", "bundle_argument"])]
    pub image: Option<String>,
    /// The image's platform, as linux/arm64 [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", requires = "image")]
    pub platform: Option<String>,
    /// The container's id [default, of an image: a new one]
    #[arg(required_unless_present = "image")]
    pub id: Option<String>,
    /// The bundle, when not given by --bundle
    #[arg(value_name = "BUNDLE", conflicts_with = "bundle")]
    pub bundle_argument: Option<PathBuf>,
    /// What to run in place of the image's Cmd
    #[arg(last = true, value_name = "CMD", requires = "image")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// Signal every process of the container
    #[arg(short, long)]
    pub all: bool,
    /// The container's id
    pub id: String,
    /// Name with or without SIG, or number
    #[arg(default_value = "TERM", allow_hyphen_values = true)]
    pub signal: String,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Kill what still runs, and succeed where there is nothing to delete
    #[arg(short, long)]
    pub force: bool,
    /// The container's id
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Unix socket that the terminal's master is sent to
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// NAME=value to set in the environment (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Give the program a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// UID[:GID], or a name from the container's /etc/passwd
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Additional group id (repeatable)
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// File with a process object, in place of flags and CMD
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for the program
    #[arg(short, long)]
    pub detach: bool,
    /// File that the process id is written to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Forbid the program to gain privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Capability to add (repeatable, Linux)
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// How many descriptors from 3 on are passed to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// The container's id
    pub id: String,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Print the ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Form of the list
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: TableFormat,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Form of the list
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// The container's id
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Update {
    /// File with a resources object (config-linux.md), - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Memory limit in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory: Option<i64>,
    /// Memory and swap limit in bytes, -1 for none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// Soft memory limit in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_reservation: Option<i64>,
    /// CPU period in microseconds
    #[arg(long, value_name = "USEC")]
    pub cpu_period: Option<u64>,
    /// CPU quota in microseconds for each period
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// CPU shares, relative to other containers
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,
    /// CPUs to run on, as 0-3,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use, as 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Highest number of processes, -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Block I/O weight, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// The container's id
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Print the statistics once and end
    #[arg(long)]
    pub stats: bool,
    /// Time between two prints, as 5s or 500ms
    #[arg(long, default_value = "5s", value_name = "TIME")]
    pub interval: String,
    /// The container's id
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Spec {
    /// For a runtime without root (Linux)
    #[arg(long)]
    pub rootless: bool,
    /// Directory to write config.json to [default: the working directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// The system the configuration is for [default: this one]
    #[arg(long, value_enum)]
    pub os: Option<PlanOs>,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// Directory with config.json [default: the working directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Plan for a typical host of this system [default: this very host]
    #[arg(long, value_enum)]
    pub os: Option<PlanOs>,
    /// Form of the plan
    #[arg(short, long, value_enum, default_value = "text")]
    pub format: PlanFormat,
    /// The container's id [default: the bundle directory's name]
    pub id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compress {
    Gzip,
    Zstd,
}

#[derive(Debug, Args)]
pub struct Pack {
    /// Directory, tar archive or distribution set (base.txz) to make it of
    #[arg(long, value_name = "DIR|FILE")]
    pub rootfs: PathBuf,
    /// Image layout to add the image to, and its name there
    #[arg(
        long,
        value_name = "LAYOUT:TAG",
        required_unless_present = "oci_archive"
    )]
    pub image: Option<String>,
    /// Archive to write the image to
    #[arg(long, value_name = "FILE[:TAG]")]
    pub oci_archive: Option<String>,
    /// Image to add one layer to, with what differs from it
    #[arg(long, value_name = "SOURCE[:REF]")]
    pub base: Option<String>,
    /// Image configuration whose values go over the base's
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Program, or arguments of --entrypoint: words or a JSON array
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub cmd: Vec<String>,
    /// Program that arguments are given to: words or a JSON array
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub entrypoint: Vec<String>,
    /// Variable of the environment (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// User to run the program as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Working directory of the program
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Label of the image (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Directory for data that outlives containers (repeatable)
    #[arg(long, value_name = "DIR")]
    pub volume: Vec<String>,
    /// Port that the program listens on (repeatable)
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub port: Vec<String>,
    /// Signal that asks the program to end
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// System the image is for [default: the base's, or what the files tell]
    #[arg(long, value_enum)]
    pub os: Option<PlanOs>,
    /// Architecture the image is for, as amd64 [default: the base's, or this]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Compression of the layer
    #[arg(long, value_enum, default_value = "gzip")]
    pub compress: Compress,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Print what would be taken back, and take nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Unpack {
    /// Image layout, oci-archive or docker-archive, and a tag or digest in it
    #[arg(long, value_name = "SOURCE[:REF]")]
    pub image: String,
    /// The image's platform, as linux/arm64 [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Leave owners and device nodes out: all files belong to the caller
    #[arg(long)]
    pub rootless: bool,
    /// Directory to make, or an empty one
    pub bundle: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// List the images
    Ls(ImageLs),
    /// Print the images' manifests and configurations as JSON
    Inspect(ImageInspect),
}

#[derive(Debug, Args)]
pub struct ImageLs {
    /// Form of the list
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Image layout, oci-archive or docker-archive
    #[arg(value_name = "LAYOUT[:REF]")]
    pub image: String,
}

#[derive(Debug, Args)]
pub struct ImageInspect {
    /// Image layout, oci-archive or docker-archive, and a tag or digest in it
    #[arg(value_name = "LAYOUT[:REF]")]
    pub image: String,
}
