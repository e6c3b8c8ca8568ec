//! The seccomp filter (config-linux.md, Seccomp), through libseccomp.

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::super::{Launch, hooks};
use crate::container::Status;
use crate::error::{Context, Error, Result};
use crate::sys::unix::socket;

fn fault(at: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    Error::new("set", format_args!("linux.seccomp{at}"), error)
}

/// Builds the filter and loads it into this process, which is `pid` to the
/// host. A filter that asks an agent is handed to it.
pub(super) fn load(given: &LinuxSeccomp, launch: &Launch, pid: i32) -> Result<()> {
    let filter = build(given)?;
    let agent = launch.agent.as_ref().filter(|_| asks(given));
    // What comes after loading may already need the agent's answer.
    let message = match agent {
        Some(_) => process_state(given, launch, pid)?,
        None => Vec::new(),
    };
    filter.load().map_err(|e| fault("", e))?;
    if let Some(agent) = agent {
        let listener = filter.get_notify_fd().map_err(|e| fault("", e))?;
        let sent = socket::send_descriptor(agent.as_fd(), &message, &listener);
        sent.doing("send the seccomp listener to", "linux.seccomp.listenerPath")?;
    }
    Ok(())
}

/// Whether a rule leaves the decision to an agent.
fn asks(given: &LinuxSeccomp) -> bool {
    let mut rules = given.syscalls().iter().flatten();
    rules.any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// Connects to the agent of a filter that asks one; otherwise the path has no
/// meaning (config-linux.md, Seccomp, listenerPath).
pub(super) fn connect(given: &LinuxSeccomp) -> Result<Option<OwnedFd>> {
    let Some(path) = given.listener_path().as_ref().filter(|_| asks(given)) else {
        return Ok(None);
    };
    let connected = socket::connect_stream(path);
    let connected = connected.doing("connect to linux.seccomp.listenerPath", path.display());
    connected
        .map(Some)
        .map_err(|e| e.hint("start the seccomp agent first"))
}

/// config-linux.md, The Container Process State.
fn process_state(given: &LinuxSeccomp, launch: &Launch, pid: i32) -> Result<Vec<u8>> {
    let (status, first) = match &launch.init {
        Some(_) => (Status::Creating, pid),
        None => (
            Status::Running,
            launch.state.init.map_or(0, |init| init.pid),
        ),
    };
    let state = hooks::state(launch.state, status, Some(first));
    let state: serde_json::Value =
        serde_json::from_slice(&state).map_err(|e| fault(".listenerPath", e))?;
    let mut message = json!({
        "ociVersion": launch.state.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state,
    });
    if let Some(metadata) = given.listener_metadata() {
        message["metadata"] = metadata.as_str().into();
    }
    Ok(message.to_string().into_bytes())
}

fn build(given: &LinuxSeccomp) -> Result<ScmpFilterContext> {
    let default = action(given.default_action(), given.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).map_err(|e| fault(".defaultAction", e))?;
    // It is set by process.noNewPrivileges alone.
    filter.set_ctl_nnp(false).map_err(|e| fault("", e))?;
    for (i, arch) in given.architectures().iter().flatten().enumerate() {
        let at = format!(".architectures[{i}]");
        let arch: ScmpArch = arch.to_string().parse().map_err(|e| fault(&at, e))?;
        if !filter.is_arch_present(arch).unwrap_or(false) {
            filter.add_arch(arch).map_err(|e| fault(&at, e))?;
        }
    }
    for flag in given.flags().iter().flatten() {
        match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => filter.set_ctl_log(true),
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => filter.set_ctl_tsync(true),
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => filter.set_ctl_ssb(true),
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                filter.set_ctl_waitkill(true)
            }
        }
        .map_err(|e| fault(".flags", e))?;
    }
    for (i, rule) in given.syscalls().iter().flatten().enumerate() {
        let at = format!(".syscalls[{i}]");
        let act = action(rule.action(), rule.errno_ret());
        // libseccomp refuses a rule that says what the default says.
        if act == default {
            continue;
        }
        let arguments: &[LinuxSeccompArg] = rule.args().as_deref().unwrap_or_default();
        for name in rule.names() {
            // A call that this kernel's architecture does not have cannot be
            // made, so there is nothing to filter.
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            add(&mut filter, act, call, arguments).map_err(|e| fault(format!("{at} {name}"), e))?;
        }
    }
    Ok(filter)
}

/// Conditions on different arguments must hold together; of several on one
/// argument, which libseccomp cannot join, any will do, as with the peers.
fn add(
    filter: &mut ScmpFilterContext,
    act: ScmpAction,
    call: ScmpSyscall,
    arguments: &[LinuxSeccompArg],
) -> std::result::Result<(), libseccomp::error::SeccompError> {
    let conditions: Vec<ScmpArgCompare> = arguments.iter().map(condition).collect();
    let mut indices: Vec<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    indices.sort_unstable();
    indices.dedup();
    if conditions.is_empty() {
        filter.add_rule(act, call)?;
    } else if indices.len() == conditions.len() {
        filter.add_rule_conditional(act, call, &conditions)?;
    } else {
        for one in conditions {
            filter.add_rule_conditional(act, call, &[one])?;
        }
    }
    Ok(())
}

fn condition(given: &LinuxSeccompArg) -> ScmpArgCompare {
    let value = given.value();
    let (operator, datum) = match given.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(value),
            given.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(given.index() as u32, operator, datum)
}

fn action(given: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(libc::EPERM as u32);
    match given {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}
