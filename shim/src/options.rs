//! What containerd's configuration says of this runtime; kept in the bundle,
//! because `delete` is not told.

use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Context, Fault, Result};
use crate::proto::{Any, RuncOptions, RuntimeOptions};

/// The bundle's file that keeps them.
const FILE: &str = "brig-shim.json";

/// Options of the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Options {
    /// brig's program; `BRIG_BINARY` of the environment, or brig in PATH.
    #[serde(rename = "BinaryName", skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// Directory of brig's state, to which the namespace is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Let systemd manage cgroups.
    pub systemd_cgroup: bool,
    /// Move the root file system instead of pivoting into it.
    pub no_pivot_root: bool,
    /// Do not make a session keyring.
    pub no_new_keyring: bool,
    /// The owner of the pipes for standard input and output.
    pub io_uid: u32,
    /// Its group.
    pub io_gid: u32,
    /// containerd's own, which its table passes on with the rest.
    #[serde(skip_serializing)]
    type_url: String,
    #[serde(skip_serializing)]
    config_path: String,
}

impl Options {
    /// From the options of a create request.
    ///
    /// # Errors
    /// They cannot be decoded, or name what does not exist.
    pub fn decode(any: Option<&Any>) -> Result<Self> {
        let Some(any) = any.filter(|any| !any.value.is_empty()) else {
            return Ok(Options::default());
        };
        let wrong = |error| {
            let text = format!("options of type {}: {error}", any.type_url);
            Fault::new(Code::InvalidArgument, text)
        };
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        match name {
            "containerd.runc.v1.Options" => RuncOptions::decode(any.value.as_slice())
                .map(Options::from)
                .map_err(wrong),
            "runtimeoptions.v1.Options" => {
                let options = RuntimeOptions::decode(any.value.as_slice()).map_err(wrong)?;
                Options::from_config(&options)
            }
            _ => {
                let text = format!("options of type {} are not known to brig", any.type_url);
                Err(Fault::new(Code::InvalidArgument, text))
            }
        }
    }

    /// The file at ConfigPath, or the table that containerd's configuration has
    /// for this runtime: TOML either way.
    fn from_config(options: &RuntimeOptions) -> Result<Self> {
        let (source, raw) = if options.config_path.is_empty() {
            let table = "the runtime's options in containerd's configuration";
            (table.to_string(), options.config_body.clone())
        } else {
            let path = &options.config_path;
            (path.clone(), std::fs::read(path).doing("read", path)?)
        };
        let wrong = |error: &dyn std::fmt::Display| {
            let text = format!("{source}: {error}");
            Fault::new(Code::InvalidArgument, text)
        };
        let text = std::str::from_utf8(&raw).map_err(|error| wrong(&error))?;
        // Its own message quotes the file on several lines.
        toml::from_str(text).map_err(|error| wrong(&error.message()))
    }

    /// Reads what [`Options::store`] wrote; the defaults when it is not there.
    pub fn load(bundle: &Path) -> Self {
        std::fs::read(bundle.join(FILE))
            .ok()
            .and_then(|raw| serde_json::from_slice(&raw).ok())
            .unwrap_or_default()
    }

    /// Keeps them for `delete`.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn store(&self, bundle: &Path) -> Result<()> {
        let path = bundle.join(FILE);
        let raw = serde_json::to_vec(self).unwrap_or_default();
        std::fs::write(&path, raw).doing("write", path.display())
    }
}

impl From<RuncOptions> for Options {
    fn from(o: RuncOptions) -> Self {
        let named = |name: String| (!name.is_empty()).then(|| PathBuf::from(name));
        Options {
            binary: named(o.binary_name),
            root: named(o.root),
            systemd_cgroup: o.systemd_cgroup,
            no_pivot_root: o.no_pivot_root,
            no_new_keyring: o.no_new_keyring,
            io_uid: o.io_uid,
            io_gid: o.io_gid,
            ..Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_runc_are_understood() {
        let runc = RuncOptions {
            binary_name: "/opt/brig".into(),
            systemd_cgroup: true,
            ..RuncOptions::default()
        };
        let options = Options::decode(Some(&Any::of("containerd.runc.v1.Options", &runc))).unwrap();
        assert_eq!(options.binary, Some("/opt/brig".into()));
        assert!(options.systemd_cgroup && options.root.is_none());
    }

    #[test]
    fn the_table_of_containerds_configuration_is_understood() {
        let table = RuntimeOptions {
            config_body: b"BinaryName = \"/opt/brig\"\nSystemdCgroup = true\nTypeUrl = \"x\"\n"
                .to_vec(),
            ..RuntimeOptions::default()
        };
        let options = Options::decode(Some(&Any::of("runtimeoptions.v1.Options", &table))).unwrap();
        assert_eq!(options.binary, Some("/opt/brig".into()));
        assert!(options.systemd_cgroup);
        // What is kept in the bundle is read back the same.
        let kept = serde_json::to_vec(&options).unwrap();
        let back: Options = serde_json::from_slice(&kept).unwrap();
        assert_eq!((back.binary, back.systemd_cgroup), (options.binary, true));
    }

    #[test]
    fn unknown_options_are_refused_by_name() {
        let body = RuntimeOptions {
            config_body: b"BinryName = \"/opt/brig\"".to_vec(),
            ..RuntimeOptions::default()
        };
        let fault =
            Options::decode(Some(&Any::of("runtimeoptions.v1.Options", &body))).unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument);
        assert!(fault.text.contains("unknown field `BinryName`"), "{fault}");
        let fault = Options::decode(Some(&Any::of("other.Options", &body))).unwrap_err();
        assert!(fault.text.contains("other.Options"), "{fault}");
    }
}
