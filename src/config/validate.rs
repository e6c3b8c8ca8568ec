//! The rules of config.md that types alone do not state. Rules that depend on
//! the host or on the platform are the plan's.

use std::path::Path;

use oci_spec::runtime::{Hook, Process};

use super::Config;
use crate::error::{Error, Result};

/// Checks what holds on every platform.
pub(super) fn validate(config: &Config) -> Result<()> {
    version(config.spec.version())?;
    let root = config
        .spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::property("root", "is missing; brig needs root.path"))?;
    if root.path().as_os_str().is_empty() {
        return Err(Error::property("root.path", "is empty"));
    }
    if let Some(p) = config.process() {
        process(p)?;
    }
    for (i, mount) in config.spec.mounts().iter().flatten().enumerate() {
        let at = format!("mounts[{i}].destination");
        no_nul(&at, mount.destination())?;
        if mount.destination().as_os_str().is_empty() {
            return Err(Error::property(at, "is empty"));
        }
    }
    hooks(config)
}

/// Any 1.x is accepted: minor versions only add (a strict check broke peers).
fn version(version: &str) -> Result<()> {
    if version.is_empty() {
        return Err(Error::property(
            "ociVersion",
            "is missing; brig supports 1.x",
        ));
    }
    let mut parts = version.split('.');
    let major_is_one = parts.next() == Some("1");
    let minor_is_number = parts
        .next()
        .is_some_and(|minor| minor.parse::<u32>().is_ok());
    if major_is_one && minor_is_number && parts.next().is_some() {
        return Ok(());
    }
    Err(Error::property(
        "ociVersion",
        format_args!("{version:?} is not supported; brig supports 1.x"),
    ))
}

/// Checks a `process` object.
pub(super) fn process(process: &Process) -> Result<()> {
    match process.args() {
        Some(args) if !args.is_empty() => {
            for (i, arg) in args.iter().enumerate() {
                no_nul(&format!("process.args[{i}]"), Path::new(arg))?;
            }
            if args[0].is_empty() {
                return Err(Error::property("process.args[0]", "is empty"));
            }
        }
        _ => {
            let hint = "name the program to run";
            return Err(Error::property("process.args", "is missing or empty").hint(hint));
        }
    }
    if !process.cwd().is_absolute() {
        let cwd = process.cwd().display();
        return Err(Error::property(
            "process.cwd",
            format_args!("\"{cwd}\" is not an absolute path"),
        ));
    }
    no_nul("process.cwd", process.cwd())?;
    for (i, entry) in process.env().iter().flatten().enumerate() {
        let at = format!("process.env[{i}]");
        no_nul(&at, Path::new(entry))?;
        if entry.find('=').is_none_or(|at| at == 0) {
            return Err(Error::property(
                at,
                format_args!("{entry:?} is not of the form NAME=value"),
            ));
        }
    }
    let mut seen = Vec::new();
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let at = format!("process.rlimits[{i}]");
        if seen.contains(&limit.typ()) {
            return Err(Error::property(
                at,
                format_args!("{} is given twice", limit.typ()),
            ));
        }
        seen.push(limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Error::property(at, "soft is above hard"));
        }
    }
    crate::container::user::check(process.user())?;
    if let Some(umask) = process.user().umask()
        && umask > 0o777
    {
        return Err(Error::property(
            "process.user.umask",
            format_args!("{umask} is above 511 (octal 0777)"),
        ));
    }
    Ok(())
}

fn hooks(config: &Config) -> Result<()> {
    let Some(hooks) = config.spec.hooks() else {
        return Ok(());
    };
    #[allow(deprecated)]
    let kinds: [(&str, &Option<Vec<Hook>>); 6] = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (i, hook) in hooks.iter().flatten().enumerate() {
            let at = format!("hooks.{kind}[{i}]");
            if !hook.path().is_absolute() {
                let path = hook.path().display();
                return Err(Error::property(
                    format!("{at}.path"),
                    format_args!("\"{path}\" is not an absolute path"),
                ));
            }
            no_nul(&format!("{at}.path"), hook.path())?;
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(Error::property(
                    format!("{at}.timeout"),
                    "must be above 0 (seconds)",
                ));
            }
        }
    }
    Ok(())
}

/// The kernel ends a string at NUL; a value that goes on behind it would be
/// applied other than it reads.
fn no_nul(at: &str, value: &Path) -> Result<()> {
    if value.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::property(at, "contains a NUL byte"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn every_one_dot_x_and_nothing_else() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.7", "1.2.0-rc.1"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "1.x.0", "v1.0.0", "one"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
