//! SOURCE[:REF]: a path and, behind a colon or an @, what is wanted there.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, errno_name};

/// Where an image is, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// A layout directory or an archive.
    pub path: PathBuf,
    /// A tag or a digest; None where there is one image only.
    pub name: Option<String>,
}

/// The names that other tools put before a path.
const TRANSPORTS: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];

fn without_transport(text: &str) -> &str {
    if Path::new(text).exists() {
        return text;
    }
    TRANSPORTS
        .iter()
        .find_map(|transport| text.strip_prefix(transport))
        .unwrap_or(text)
}

impl Reference {
    /// Reads a reference to what exists: the longest path that does is the
    /// source, so that paths may have colons.
    ///
    /// # Errors
    /// Nothing there exists.
    pub fn existing(text: &str) -> Result<Reference> {
        let text = without_transport(text);
        if Path::new(text).exists() {
            return Ok(Reference {
                path: text.into(),
                name: None,
            });
        }
        for (at, _) in text.rmatch_indices([':', '@']) {
            let (path, name) = (&text[..at], &text[at + 1..]);
            if !path.is_empty() && Path::new(path).exists() {
                // TAG@DIGEST is the digest.
                let name = name.rsplit_once('@').map_or(name, |(_, digest)| digest);
                if name.is_empty() {
                    let cause = format!("{text:?} has an empty name behind the path");
                    return Err(Error::property("--image", cause));
                }
                return Ok(Reference {
                    path: path.into(),
                    name: Some(name.into()),
                });
            }
        }
        let path = text.rsplit_once(':').map_or(text, |(path, _)| path);
        Err(Error::new(
            "open",
            format_args!("image {path}"),
            errno_name(nix::errno::Errno::ENOENT),
        ))
    }

    /// Reads LAYOUT:TAG of a layout that is to be written.
    ///
    /// # Errors
    /// It is of another form, or the tag has characters that a tag has not.
    pub fn to_write(text: &str) -> Result<(PathBuf, String)> {
        let wrong = || {
            let cause = format!("{text:?} is not LAYOUT:TAG");
            Error::property("--image", cause).hint("as images:latest")
        };
        let plain = without_transport(text);
        let (path, tag) = plain.rsplit_once(':').ok_or_else(wrong)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        if path.is_empty() || tag.is_empty() || tag.len() > 128 || !tag.chars().all(allowed) {
            return Err(wrong());
        }
        Ok((path.into(), tag.into()))
    }
}

/// Whether one of an image's names is what was asked for: the same, or the same
/// once docker's defaults are filled in, or its tag.
pub fn fits(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| {
        name == wanted || full(name) == full(wanted) || tag(name).is_some_and(|tag| tag == wanted)
    })
}

/// A docker name with all that may be left out.
fn full(name: &str) -> String {
    let (repository, tag) = match tag(name) {
        Some(tag) => (&name[..name.len() - tag.len() - 1], tag),
        None => (name, "latest"),
    };
    let repository = repository.strip_prefix("docker.io/").unwrap_or(repository);
    let repository = repository.strip_prefix("library/").unwrap_or(repository);
    format!("{repository}:{tag}")
}

/// The tag of a docker name: behind the last colon, unless that is a port's.
fn tag(name: &str) -> Option<&str> {
    name.rsplit_once(':')
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_that_exists() {
        let base = std::env::temp_dir().join(format!("brig-reference-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a:b")).unwrap();
        let at = |text: &str| Reference::existing(&format!("{}/{text}", base.display()));
        assert_eq!(at("a:b").unwrap().name, None);
        assert_eq!(at("a:b:tag").unwrap().name.as_deref(), Some("tag"));
        assert_eq!(
            at("a:b@sha256:00").unwrap().name.as_deref(),
            Some("sha256:00")
        );
        assert_eq!(
            at("a:b:x@sha256:00").unwrap().name.as_deref(),
            Some("sha256:00")
        );
        assert_eq!(
            at("a:b:docker.io/x:1").unwrap().name.as_deref(),
            Some("docker.io/x:1")
        );
        assert!(at("a:b:").is_err());
        assert!(at("c:tag").unwrap_err().to_string().ends_with("/c: ENOENT"));
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn targets() {
        assert_eq!(
            Reference::to_write("oci:x/y:1.0").unwrap(),
            ("x/y".into(), "1.0".into())
        );
        for wrong in ["x", "x:", ":t", "x:a/b", "x:a b"] {
            assert!(Reference::to_write(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn docker_names() {
        let names = ["docker.io/library/busybox:1.36".to_owned()];
        for wanted in [
            "busybox:1.36",
            "1.36",
            "library/busybox:1.36",
            "docker.io/library/busybox:1.36",
        ] {
            assert!(fits(&names, wanted), "{wanted}");
        }
        assert!(!fits(&names, "busybox") && !fits(&names, "box:1.36"));
        assert!(fits(&["host:5000/a".to_owned()], "host:5000/a:latest"));
    }
}
