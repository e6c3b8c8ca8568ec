//! An ephemeral root by annotation: the root file system is only read, and what
//! the container writes is kept in memory until it is deleted.

use crate::config::Config;
use crate::config::annotations::{self, EPHEMERAL};
use crate::error::{Error, Result};

/// An ephemeral root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ephemeral {
    /// How much may be written, as tmpfs takes it (`64m`); none for tmpfs's
    /// own default.
    pub size: Option<String>,
}

/// What the annotation asks for.
///
/// # Errors
/// A value that is neither a switch nor a size, or a root that may not be
/// written to at all.
pub(super) fn of(config: &Config) -> Result<Option<Ephemeral>> {
    let Some(value) = config.annotation(EPHEMERAL) else {
        return Ok(None);
    };
    let at = annotations::path(EPHEMERAL);
    let size = match value.to_ascii_lowercase().as_str() {
        "false" | "0" | "no" | "off" => return Ok(None),
        "true" | "1" | "yes" | "on" | "" => None,
        size if is_size(size) => Some(size.to_owned()),
        _ => {
            let fault = format!("{value:?} is neither true or false nor a size");
            return Err(Error::property(at, fault).hint("write a size as: 64m"));
        }
    };
    if config.root_readonly() {
        let fault = Error::property(at, "has no effect while root.readonly is true");
        return Err(fault.hint("leave one of them out"));
    }
    Ok(Some(Ephemeral { size }))
}

/// Whether it is a number of bytes, with k, m, g or t behind it or not. tmpfs
/// takes 0 for no limit.
pub(super) fn is_size(text: &str) -> bool {
    let digits = text
        .strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T'])
        .unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok()
}
