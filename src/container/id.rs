//! Container ids.

use crate::error::{Error, Result};

/// The longest id: it is the name of a directory.
pub const LONGEST: usize = 255;

/// Checks an id: letters, digits, `_`, `+`, `-` and `.`, as runc accepts them.
///
/// # Errors
/// The id is empty, too long, `.` or `..`, or has another character.
pub fn check(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let fault = if id.is_empty() {
        "is empty".into()
    } else if id.len() > LONGEST {
        format!("is longer than {LONGEST} bytes")
    } else if id == "." || id == ".." {
        "names a directory".into()
    } else if let Some(c) = id.chars().find(|c| !allowed(*c)) {
        format!("has the character {c:?}; letters, digits and _+-. are allowed")
    } else {
        return Ok(());
    };
    Err(Error::text(format_args!("container id {id:?} {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "0", "a.b_c+d-e", "-x", &"x".repeat(LONGEST)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "ä",
            "a\n",
            "a\0",
            &"x".repeat(LONGEST + 1),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
