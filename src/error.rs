//! The one error type: what brig was doing, to what, why it failed, and the
//! act that would fix it.

use std::fmt;

use nix::errno::Errno;

/// Result with brig's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the caller beyond its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Anything without a meaning of its own.
    #[default]
    Other,
    /// No container has the id.
    NoContainer,
    /// The container has no running process.
    NotRunning,
    /// The program to execute does not exist (engines: exit code 127).
    ExecNotFound,
    /// The program to execute may not be executed (engines: exit code 126).
    ExecDenied,
}

/// A failure that a user reads as one line:
/// `cannot <doing> <object>: <cause>; <hint>`.
///
/// With an empty `doing` the line is `<object>: <cause>`, the form of an error
/// in a configuration, where the object is the property's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// A verb phrase ("mount", "read"), without "cannot".
    pub doing: String,
    /// What it was done to.
    pub object: String,
    /// Why it failed.
    pub cause: String,
    /// The one act that would fix it, if there is one.
    pub hint: Option<String>,
    /// What the failure means to engines.
    pub kind: Kind,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.doing.is_empty() {
            write!(f, "cannot {}", self.doing)?;
            separator = " ";
        }
        if !self.object.is_empty() {
            write!(f, "{separator}{}", self.object)?;
            separator = ": ";
        } else if !separator.is_empty() {
            separator = ": ";
        }
        if !self.cause.is_empty() {
            write!(f, "{separator}{}", self.cause)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Error {
    /// `cannot <doing> <object>: <cause>`.
    pub fn new(
        doing: impl Into<String>,
        object: impl fmt::Display,
        cause: impl fmt::Display,
    ) -> Self {
        Error {
            doing: doing.into(),
            object: object.to_string(),
            cause: cause.to_string(),
            hint: None,
            kind: Kind::Other,
        }
    }

    /// An error in a configuration: `<path>: <cause>`.
    pub fn property(path: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Error::new("", path, cause)
    }

    /// A whole sentence.
    pub fn text(text: impl fmt::Display) -> Self {
        Error::new("", "", text)
    }

    /// Adds the act that would fix it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what the failure means to engines.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The error of an id that no container has, in the words engines match.
    pub fn no_container(id: &str) -> Self {
        Error::text(format_args!("container {id:?} does not exist")).kind(Kind::NoContainer)
    }
}

/// The name of an errno ("EACCES"). Engines turn strerror(3)'s phrases into
/// exit codes, so those phrases are kept for failures of exec itself.
pub fn errno_name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// The name of the errno in an I/O error, or its text where it carries none.
pub fn io_name(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => errno_name(Errno::from_raw(code)),
        None => error.to_string(),
    }
}

/// Turns system errors into [`Error`] with what was being done.
pub trait Context<T> {
    /// `cannot <doing> <object>: <errno's name>`.
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::new(doing, object, io_name(&error)))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::new(doing, object, errno_name(errno)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_each_form() {
        let mount = Error::new("mount", "/data on rootfs/data", "nullfs: EACCES");
        assert_eq!(
            mount.to_string(),
            "cannot mount /data on rootfs/data: nullfs: EACCES"
        );
        let property = Error::property(
            "freebsd.jail.ip4Addr[1]",
            "\"10.0.0.300\" is not an IPv4 address",
        );
        assert_eq!(
            property.to_string(),
            "freebsd.jail.ip4Addr[1]: \"10.0.0.300\" is not an IPv4 address"
        );
        let hint = Error::text("allow.mount.zfs is unknown to this kernel")
            .hint("load it with: kldload zfs");
        assert_eq!(
            hint.to_string(),
            "allow.mount.zfs is unknown to this kernel; load it with: kldload zfs"
        );
        assert_eq!(
            Error::no_container("x").to_string(),
            "container \"x\" does not exist"
        );
    }

    #[test]
    fn errno_is_named_and_never_worded() {
        let failed: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(
            failed.doing("open", "/x").unwrap_err().to_string(),
            "cannot open /x: EACCES"
        );
    }
}
