//! The only writer of `--log` and of standard error: one fault, one record.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::cli::LogFormat;
use crate::error::{Context, Error, Result};

struct Report {
    log: Option<File>,
    format: LogFormat,
    debug: bool,
    warnings: bool,
}

static REPORT: OnceLock<Report> = OnceLock::new();

/// Opens the log before anything else is done, so that no fault is lost.
///
/// # Errors
/// The log file cannot be opened, or the level is unknown.
pub fn open(log: Option<&Path>, format: LogFormat, level: &str, debug: bool) -> Result<()> {
    let rank = match level.to_ascii_lowercase().as_str() {
        "trace" | "debug" => 0,
        "info" => 1,
        "warn" | "warning" => 2,
        "error" | "fatal" | "panic" => 3,
        _ => {
            let hint = "use debug, info, warn or error";
            return Err(
                Error::property("--log-level", format_args!("{level:?} is unknown")).hint(hint),
            );
        }
    };
    let log = match log {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Some(file.doing("open the log", path.display())?)
        }
        None => None,
    };
    let _ = REPORT.set(Report {
        log,
        format,
        debug: debug || rank == 0,
        warnings: rank <= 2,
    });
    Ok(())
}

/// The descriptor of the log, which must not enter a container.
#[cfg(test)]
fn is_open() -> bool {
    REPORT.get().is_some()
}

/// Reports a fault that ends the command: one write to standard error (conmon
/// reads it once) and one record in the log.
pub fn error(error: &Error) {
    let message = error.to_string();
    to_log("error", &message);
    let _ = std::io::stderr().write_all(format!("brig: {message}\n").as_bytes());
}

/// Reports what is wrong but does not end the command.
///
/// With `--log-format json` it is written only with `--debug`: podman reads the
/// whole file as one object, and a warning before an error would hide both.
pub fn warning(message: &str) {
    let Some(report) = REPORT.get() else { return };
    if !report.warnings {
        return;
    }
    if report.log.is_some() {
        if report.format == LogFormat::Text || report.debug {
            to_log("warning", message);
        }
    } else {
        let _ = std::io::stderr().write_all(format!("brig: warning: {message}\n").as_bytes());
    }
}

/// Reports what is being done, with `--debug`.
pub fn debug(message: impl FnOnce() -> String) {
    let Some(report) = REPORT.get() else { return };
    if !report.debug {
        return;
    }
    if report.log.is_some() {
        to_log("debug", &message());
    } else {
        let _ = std::io::stderr().write_all(format!("brig: {}\n", message()).as_bytes());
    }
}

fn to_log(level: &str, message: &str) {
    let Some(report) = REPORT.get() else { return };
    let Some(mut log) = report.log.as_ref() else {
        return;
    };
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let record = match report.format {
        LogFormat::Json => {
            let record = serde_json::json!({"level": level, "msg": message, "time": time});
            format!("{record}\n")
        }
        LogFormat::Text => {
            let message = serde_json::Value::from(message);
            format!("time=\"{time}\" level={level} msg={message}\n")
        }
    };
    let _ = log.write_all(record.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_level_is_refused() {
        let error = open(None, LogFormat::Text, "loud", false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--log-level: \"loud\" is unknown; use debug, info, warn or error"
        );
        assert!(!is_open());
    }
}
