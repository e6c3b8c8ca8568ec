//! A failure as the caller sees it: a status code of gRPC and a line.

use std::fmt;

/// Result with the shim's [`Fault`].
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// The status codes of gRPC that containerd tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Anything without a code of its own.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// There is no such container or process, or it is over.
    NotFound = 5,
    /// The id is taken.
    AlreadyExists = 6,
    /// Not in this state of the container.
    FailedPrecondition = 9,
    /// brig does not do this.
    Unimplemented = 12,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What containerd goes by.
    pub code: Code,
    /// What a person reads.
    pub text: String,
}

impl Fault {
    /// A failure with its code.
    pub fn new(code: Code, text: impl fmt::Display) -> Self {
        Fault {
            code,
            text: text.to_string(),
        }
    }

    /// A failure of the system: `cannot <doing> <object>: <errno's name>`.
    pub fn io(doing: &str, object: impl fmt::Display, error: &std::io::Error) -> Self {
        let cause = match error.raw_os_error() {
            Some(code) => format!("{:?}", nix::errno::Errno::from_raw(code)),
            None => error.to_string(),
        };
        Fault::new(
            Code::Unknown,
            format_args!("cannot {doing} {object}: {cause}"),
        )
    }

    /// There is no such container.
    pub fn no_container(id: &str) -> Self {
        Fault::new(
            Code::NotFound,
            format_args!("container {id:?} does not exist"),
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Turns system errors into [`Fault`]s with what was being done.
pub trait Context<T> {
    /// `cannot <doing> <object>: <errno's name>`.
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Fault::io(doing, object, &error))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn doing(self, doing: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Fault::io(doing, object, &errno.into()))
    }
}
