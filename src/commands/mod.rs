//! One file for each command.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod gc;
mod image;
mod kill;
mod list;
mod pack;
mod pause;
mod plan;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod unpack;
mod update;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command};
use crate::container::state::OCI_VERSION;
use crate::error::{Context, Error, Result};
use crate::host::{HostFacts, Os};
use crate::policy::Policy;
use crate::report;

/// What every command may need of the global flags.
#[derive(Debug)]
pub struct Session {
    /// Directory of the containers' state.
    pub root: PathBuf,
    /// Whether --root was given.
    pub root_is_given: bool,
    /// Let systemd manage the cgroup.
    pub systemd_cgroup: bool,
    /// The policy file given, if any.
    pub policy: Option<PathBuf>,
}

impl Session {
    /// Reads the host's policy.
    pub fn policy(&self) -> Result<Policy> {
        Policy::load(self.policy.as_deref())
    }
}

/// Parses the command line, runs the command, and turns its result into the
/// exit status: 0, the program's own for run and exec, 1 for an error (exec:
/// 126, 127 or 255, as runc and shells have it).
pub fn dispatch() -> ExitCode {
    // go programs ask for the version before anything else, in one argument.
    if std::env::args_os()
        .skip(1)
        .any(|a| a == "--version" || a == "-v")
        && is_version_request()
    {
        return print(&version());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => return print(&e.render().to_string()),
        Err(e) => return usage(&e),
    };
    let global = cli.global;
    // Before the log takes the first free number.
    let passed = match &cli.command {
        Command::Create(c) => c.io.preserve_fds,
        Command::Run(c) => c.io.preserve_fds,
        Command::Exec(c) => c.preserve_fds,
        _ => 0,
    };
    let passed = match &cli.command {
        Command::Create(_) | Command::Run(_) | Command::Exec(_) => {
            crate::launch::Passed::of(passed)
        }
        _ => Ok(crate::launch::Passed::default()),
    };
    let opened = report::open(
        global.log.as_deref(),
        global.log_format,
        &global.log_level,
        global.debug,
    );
    let is_exec = matches!(cli.command, Command::Exec(_));
    let result = opened.and_then(|()| {
        if global.systemd_cgroup && Os::this() != Os::Linux {
            return Err(Error::text(
                "--systemd-cgroup: there is no systemd on this system",
            ));
        }
        if let Some(when) = &global.rootless
            && !["true", "false", "auto"].contains(&when.as_str())
        {
            return Err(Error::text(format_args!(
                "--rootless: {when:?} is not true, false or auto"
            )));
        }
        let session = Session {
            root_is_given: global.root.is_some(),
            root: absolute(global.root.unwrap_or_else(default_root))?,
            systemd_cgroup: global.systemd_cgroup,
            policy: global.policy,
        };
        run(&session, cli.command, passed)
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            use crate::error::Kind;
            match (is_exec, error.kind) {
                (true, Kind::ExecNotFound) => ExitCode::from(127),
                (true, Kind::ExecDenied) => ExitCode::from(126),
                (true, _) => ExitCode::from(255),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(
    session: &Session,
    command: Command,
    passed: Result<crate::launch::Passed>,
) -> Result<ExitCode> {
    // A policy that cannot be read is told of by the commands that need it.
    #[cfg(target_os = "freebsd")]
    if session
        .policy()
        .is_ok_and(|policy| !policy.jail_descriptors)
    {
        crate::apply::freebsd::without_descriptors();
    }
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Create(args) => done(create::command(session, args, passed?)),
        Command::Start(args) => done(start::command(session, &args.id)),
        Command::State(args) => done(state::command(session, &args.id)),
        Command::Kill(args) => done(kill::command(session, &args)),
        Command::Delete(args) => done(delete::command(session, &args.id, args.force)),
        Command::Run(args) => run::command(session, args, passed?),
        Command::Exec(args) => exec::command(session, args, passed?),
        Command::List(args) => done(list::command(session, &args)),
        Command::Ps(args) => done(ps::command(session, &args)),
        Command::Pause(args) => done(pause::command(session, &args.id, true)),
        Command::Resume(args) => done(pause::command(session, &args.id, false)),
        Command::Update(args) => done(update::command(session, &args)),
        Command::Events(args) => done(events::command(session, &args)),
        Command::Features => done(features::command()),
        Command::Spec(args) => done(spec::command(&args)),
        Command::Plan(args) => done(plan::command(session, &args)),
        Command::Pack(args) => done(pack::command(*args)),
        Command::Gc(args) => done(gc::command(session, &args)),
        Command::Unpack(args) => done(unpack::command(&args)),
        Command::Image(args) => done(image::command(&args)),
    }
}

/// Whether the command puts a process of brig's into a container. A word of
/// the command line that only looks like it costs one exec.
#[cfg(target_os = "linux")]
pub fn enters_a_container() -> bool {
    let words = ["create", "run", "exec"];
    std::env::args_os()
        .skip(1)
        .any(|argument| words.iter().any(|word| argument == *word))
}

/// Whether --version stands before the command, where it is brig's.
fn is_version_request() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let Some(argument) = argument.to_str() else {
            return false;
        };
        match argument {
            "--version" | "-v" => return true,
            "--root" | "--log" | "--log-format" | "--log-level" | "--policy" => {
                drop(arguments.next())
            }
            flag if flag.starts_with('-') => {}
            _ => return false,
        }
    }
    false
}

/// What --version prints.
fn version() -> String {
    format!(
        "brig version {}\nspec: {OCI_VERSION}\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn usage(error: &clap::Error) -> ExitCode {
    // One line: what is wrong; clap's tips and usage follow only in --help.
    let text = error.render().to_string();
    let text = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command is given".to_owned(),
        _ => {
            let mut first: Vec<&str> = Vec::new();
            for line in text.lines().take_while(|line| !line.starts_with("Usage")) {
                let line = line.trim();
                if !line.is_empty() {
                    first.push(line);
                }
            }
            first.join(" ").trim_start_matches("error: ").to_owned()
        }
    };
    // The flags were not understood, but a log that can be found gets its record.
    let log = flag_value("--log").map(PathBuf::from);
    let json = flag_value("--log-format").is_some_and(|format| format == "json");
    let format = if json {
        crate::cli::LogFormat::Json
    } else {
        crate::cli::LogFormat::Text
    };
    let _ = report::open(log.as_deref(), format, "info", false);
    report::error(&Error::text(text).hint("see brig --help"));
    ExitCode::FAILURE
}

fn flag_value(name: &str) -> Option<String> {
    let arguments: Vec<String> = std::env::args_os()
        .filter_map(|argument| argument.into_string().ok())
        .collect();
    arguments.iter().enumerate().find_map(|(i, argument)| {
        let rest = argument.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => arguments.get(i + 1).cloned(),
            None => None,
        }
    })
}

/// Where root's containers are on a system.
pub fn system_root(os: Os) -> &'static str {
    match os {
        Os::Freebsd => "/var/run/brig",
        Os::Linux => "/run/brig",
    }
}

fn default_root() -> PathBuf {
    let system = system_root(Os::this());
    if nix::unistd::geteuid().is_root() {
        return system.into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory).join("brig"),
        _ => system.into(),
    }
}

/// Makes a path absolute without asking for the working directory when it is
/// absolute already.
pub fn absolute(path: PathBuf) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path);
    }
    let here = std::env::current_dir().doing("find", "the working directory")?;
    Ok(here.join(path).components().collect())
}

/// Writes to standard output; a reader that went away is an error like others.
pub fn print(text: &str) -> ExitCode {
    match write(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard output in one write.
///
/// # Errors
/// It is closed or full.
pub fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .doing("write", "standard output")
}

/// The facts that a plan is made from: this host's, or those of a typical host
/// of the system that is asked for, so that its plan is the same everywhere.
pub fn facts_for(os: Option<crate::cli::PlanOs>) -> HostFacts {
    use crate::cli::PlanOs;
    match os {
        None => HostFacts::read(),
        Some(PlanOs::Freebsd) => HostFacts::typical(Os::Freebsd),
        Some(PlanOs::Linux) => HostFacts::typical(Os::Linux),
    }
}
