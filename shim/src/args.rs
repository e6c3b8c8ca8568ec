//! The shim's command line, in the manner of Go's flag package: one dash or
//! two, the value after a space or an equals sign.

use std::path::PathBuf;

/// What containerd asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub id: String,
    /// The bundle; the working directory when it is not given.
    pub bundle: Option<PathBuf>,
    /// containerd's own socket.
    pub address: String,
    /// More in the log.
    pub debug: bool,
    /// Print the version.
    pub version: bool,
    /// Print a RuntimeInfo.
    pub info: bool,
    /// start, delete, or empty: serve.
    pub action: String,
}

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// A flag is unknown or has no value.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = Args::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                args.action = word;
                break;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (flag, None),
            };
            let on = match name {
                "debug" => Some(&mut args.debug),
                "v" | "version" => Some(&mut args.version),
                "info" => Some(&mut args.info),
                _ => None,
            };
            if let Some(on) = on {
                *on = value.is_none_or(|v| v == "true" || v == "1");
                continue;
            }
            let mut value = || value.clone().or_else(|| words.next());
            let value = value().ok_or_else(|| format!("flag -{name} needs a value"))?;
            match name {
                "namespace" => args.namespace = value,
                "id" => args.id = value,
                "bundle" => args.bundle = Some(value.into()),
                "address" => args.address = value,
                // The events go to TTRPC_ADDRESS, the socket comes as descriptor 3.
                "publish-binary" | "socket" | "debug-socket" => {}
                _ => return Err(format!("flag -{name} is unknown")),
            }
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split(' ').map(String::from))
    }

    #[test]
    fn flags_of_containerd() {
        let args = parse(
            "-namespace n -address /run/c.sock -publish-binary /bin/c -id x --bundle=/b -debug delete",
        );
        let args = args.unwrap();
        assert_eq!(
            args,
            Args {
                namespace: "n".into(),
                id: "x".into(),
                bundle: Some("/b".into()),
                address: "/run/c.sock".into(),
                debug: true,
                action: "delete".into(),
                ..Args::default()
            }
        );
        assert!(parse("-info").unwrap().info);
        assert_eq!(parse("-id").unwrap_err(), "flag -id needs a value");
        assert_eq!(parse("-x y").unwrap_err(), "flag -x is unknown");
    }
}
