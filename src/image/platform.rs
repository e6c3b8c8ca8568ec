//! Platforms as indexes name them: `OS/ARCHITECTURE[/VARIANT]`, in Go's words.

use std::fmt;

use crate::error::{Error, Result};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`, `freebsd`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7` of arm.
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Go's name of an architecture, from that of a compiler or of uname(1).
pub fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" | "x86" => "386",
        "powerpc64" => "ppc64",
        "powerpc64le" => "ppc64le",
        "armv7" | "armv6" => "arm",
        other => other,
    }
}

impl Platform {
    /// A platform without a variant.
    pub fn new(os: &str, arch: &str) -> Platform {
        Platform {
            os: os.into(),
            architecture: architecture(arch).into(),
            variant: None,
        }
    }

    /// Reads `OS/ARCHITECTURE[/VARIANT]`.
    ///
    /// # Errors
    /// It is of another form.
    pub fn parse(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, arch, variant) = match parts.as_slice() {
            [os, arch] => (os, arch, None),
            [os, arch, variant] => (os, arch, Some(*variant)),
            _ => (&"", &"", None),
        };
        if os.is_empty() || arch.is_empty() || variant.is_some_and(str::is_empty) {
            let cause = format!("{text:?} is not OS/ARCH or OS/ARCH/VARIANT");
            return Err(Error::property("--platform", cause).hint("as linux/amd64"));
        }
        let mut platform = Platform::new(&os.to_lowercase(), arch);
        platform.variant = variant.map(String::from);
        Ok(platform)
    }

    /// What this host runs, the best first. FreeBSD runs Linux's programs.
    pub fn of_host() -> Vec<Platform> {
        let arch = std::env::consts::ARCH;
        let mut all = vec![Platform::new(std::env::consts::OS, arch)];
        if cfg!(target_os = "freebsd") {
            all.push(Platform::new("linux", arch));
        }
        all
    }

    /// How well an image's platform fits this one that is wanted: None not at
    /// all, and the least number best.
    pub fn fit(&self, image: &Platform) -> Option<u32> {
        if self.os != image.os || self.architecture != image.architecture {
            return None;
        }
        // The variant that an architecture has when none is named.
        let implied = match self.architecture.as_str() {
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            "amd64" => Some("v1"),
            _ => None,
        };
        let wanted = self.variant.as_deref();
        let has = image.variant.as_deref();
        match (wanted, has) {
            (Some(wanted), Some(has)) if wanted == has => Some(0),
            (Some(wanted), None) if Some(wanted) == implied => Some(1),
            (Some(_), _) => None,
            (None, None) => Some(0),
            (None, Some(has)) if Some(has) == implied => Some(1),
            // A newer amd64 might not run here.
            (None, Some(_)) if self.architecture == "amd64" => None,
            (None, Some(_)) => Some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing() {
        let arm = Platform::parse("linux/arm/v6").unwrap();
        assert_eq!(arm.to_string(), "linux/arm/v6");
        assert_eq!(
            Platform::parse("Linux/x86_64").unwrap().to_string(),
            "linux/amd64"
        );
        for wrong in ["", "linux", "linux/", "/amd64", "a/b/c/d", "a/b/"] {
            assert!(Platform::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variants() {
        let fit = |wanted: &str, has: &str| {
            Platform::parse(wanted)
                .unwrap()
                .fit(&Platform::parse(has).unwrap())
        };
        assert_eq!(fit("linux/arm64", "linux/arm64/v8"), Some(1));
        assert_eq!(fit("linux/arm64/v8", "linux/arm64"), Some(1));
        assert_eq!(fit("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(fit("linux/amd64", "freebsd/amd64"), None);
        assert_eq!(fit("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(fit("linux/amd64/v3", "linux/amd64/v3"), Some(0));
    }
}
