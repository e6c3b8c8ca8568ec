//! Signals by name and number.

use nix::sys::signal::Signal;

use crate::error::{Error, Result};

/// SIGKILL.
pub const KILL: i32 = libc::SIGKILL;

/// Parses a name, with or without SIG and in any case, or a number of this
/// platform (real-time signals by number or as RTMIN+n).
///
/// # Errors
/// No such signal.
pub fn parse(text: &str) -> Result<i32> {
    let unknown = || {
        let fault = Error::text(format_args!("unknown signal {text:?}"));
        fault.hint("give a name such as TERM or SIGTERM, or a number")
    };
    if let Ok(number) = text.parse::<i32>() {
        // 0 only asks whether the process is there, as kill(2) has it.
        let known = (0..=highest()).contains(&number);
        return if known { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('+').and_then(|n| n.parse().ok())
        };
        let number = offset.map(|n: i32| lowest_realtime() + n);
        return number
            .filter(|n| (lowest_realtime()..=highest()).contains(n))
            .ok_or_else(unknown);
    }
    format!("SIG{name}")
        .parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

#[cfg(target_os = "linux")]
fn lowest_realtime() -> i32 {
    libc::SIGRTMIN()
}

#[cfg(target_os = "linux")]
fn highest() -> i32 {
    libc::SIGRTMAX()
}

/// SIGRTMIN of FreeBSD's signal(3).
#[cfg(target_os = "freebsd")]
fn lowest_realtime() -> i32 {
    65
}

/// SIGRTMAX of FreeBSD's signal(3).
#[cfg(target_os = "freebsd")]
fn highest() -> i32 {
    126
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        for text in ["TERM", "SIGTERM", "term", "15", "SigTerm"] {
            assert_eq!(parse(text).unwrap(), 15, "{text}");
        }
        assert_eq!(parse("KILL").unwrap(), 9);
        assert_eq!(parse("0").unwrap(), 0);
        assert!(parse("RTMIN+1").unwrap() > 32);
        for text in ["", "SIG", "NOPE", "SIGNOPE", "999", "-1", "RTMIN+99", "9x"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("unknown signal {text:?}")),
                "{error}"
            );
        }
    }
}
