//! config.json: reading a bundle's configuration (config.md of the OCI runtime
//! specification 1.3), with every fault named by its path in the file.

pub mod annotations;
pub mod freebsd;
mod required;
mod validate;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};
pub use freebsd::FreeBsd;

/// A property of the configuration that has no effect, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// The property's path in the file, as `linux.resources.memory.kernel`.
    pub property: String,
    /// Why it has no effect.
    pub reason: String,
}

/// A loaded and validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The properties that the oci-spec crate knows.
    pub spec: Spec,
    /// The `freebsd` section (config-freebsd.md).
    pub freebsd: FreeBsd,
    /// Properties that were read and dropped.
    pub ignored: Vec<Ignored>,
    /// The bytes that were read: what the container keeps as its own copy, so
    /// that later changes of the bundle do not reach it (runtime.md, Create).
    pub raw: Vec<u8>,
}

impl Config {
    /// Reads `config.json` of the bundle directory.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, has a property of a wrong type, or
    /// breaks a rule of config.md.
    pub fn from_bundle(bundle: &Path) -> Result<Config> {
        let path = bundle.join("config.json");
        let raw = std::fs::read(&path).doing("read", path.display())?;
        Config::parse(raw, &path)
    }

    /// Reads create's own copy of a configuration, which was validated then.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn parse_copy(path: &Path) -> Result<Config> {
        let raw = std::fs::read(path).doing("read", path.display())?;
        Config::parse(raw, path)
    }

    /// Parses and validates the bytes of a config.json that came from `path`.
    pub fn parse(raw: Vec<u8>, path: &Path) -> Result<Config> {
        let required::Strict(mut root) = serde_json::from_slice(&raw)
            .map_err(|e| Error::property(path.display(), format_args!("not JSON: {e}")))?;
        if !root.is_object() {
            return Err(Error::property(path.display(), "must be a JSON object"));
        }
        let mut ignored = Vec::new();
        let section = root
            .as_object_mut()
            .and_then(|root| root.shift_remove("freebsd"));
        let freebsd = match section {
            None | Some(Value::Null) => FreeBsd::default(),
            Some(section) => {
                freebsd::objects(&section)?;
                typed(section, "freebsd", &mut ignored)?
            }
        };
        drop_unknown_capabilities(&mut root, &mut ignored);
        let own = root.clone();
        let spec: Spec = typed(root, "", &mut ignored)?;
        let config = Config {
            spec,
            freebsd,
            ignored,
            raw,
        };
        validate::validate(&config)?;
        required::check(&own)?;
        Ok(config)
    }

    /// The container's process, which may be absent until start.
    pub fn process(&self) -> Option<&Process> {
        self.spec.process().as_ref()
    }

    /// The root file system's absolute path; `root.path` is relative to the
    /// bundle. `.` and doubled slashes are taken out; `..` is left to the
    /// kernel, which may have to walk a symbolic link first.
    pub fn rootfs(&self, bundle: &Path) -> PathBuf {
        let path = self.spec.root().as_ref().map(|root| root.path().as_path());
        let path = path.unwrap_or_else(|| Path::new("rootfs"));
        bundle.join(path).components().collect()
    }

    /// Whether the root file system is to be read-only.
    pub fn root_readonly(&self) -> bool {
        self.spec
            .root()
            .as_ref()
            .and_then(|root| root.readonly())
            .unwrap_or(false)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.spec
            .annotations()
            .as_ref()
            .and_then(|all| all.get(key))
            .map(String::as_str)
    }

    /// All annotations, sorted by key.
    pub fn annotations(&self) -> std::collections::BTreeMap<String, String> {
        match self.spec.annotations() {
            Some(all) => all.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            None => Default::default(),
        }
    }
}

/// Reads a `process` object as `exec --process` takes it.
pub fn parse_process(raw: &[u8], path: &Path) -> Result<Process> {
    let mut ignored = Vec::new();
    let mut value: Value = serde_json::from_slice(raw)
        .map_err(|e| Error::property(path.display(), format_args!("not JSON: {e}")))?;
    filter_capabilities(&mut value, "process", &mut ignored);
    required::check(&serde_json::json!({"process": value}))?;
    let process = typed(value, "process", &mut ignored)?;
    validate::process(&process)?;
    Ok(process)
}

/// What an object stands for that is not in the file: nothing. The library's
/// own defaults are those of a sample configuration, with capabilities and
/// namespaces in them.
pub fn absent<T: for<'de> Deserialize<'de>>() -> Result<T> {
    let object = serde_json::json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
    serde_json::from_value(object).map_err(|e| Error::new("read", "an empty object", e))
}

/// Reads the resources that `update --resources` takes.
pub fn parse_resources(raw: &[u8], path: &Path) -> Result<oci_spec::runtime::LinuxResources> {
    let value: Value = serde_json::from_slice(raw)
        .map_err(|e| Error::property(path.display(), format_args!("not JSON: {e}")))?;
    typed(value, "resources", &mut Vec::new())
}

/// Deserializes with the path of what is wrong, and collects what is unknown.
fn typed<T: for<'de> Deserialize<'de>>(
    value: Value,
    prefix: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<T> {
    let mut unknown = Vec::new();
    let mut collect = |path: serde_ignored::Path<'_>| unknown.push(plain_path(&path.to_string()));
    let tracked = serde_ignored::Deserializer::new(value, &mut collect);
    let result = serde_path_to_error::deserialize(tracked).map_err(|error| {
        let inner = plain_path(&error.path().to_string());
        Error::property(joined(prefix, &inner), error.inner())
    });
    for property in unknown {
        let property = joined(prefix, &property);
        ignored.push(Ignored {
            property,
            reason: "unknown property".into(),
        });
    }
    result
}

/// Joins two parts of a property's path.
fn joined(prefix: &str, rest: &str) -> String {
    match (prefix, rest) {
        ("", "" | ".") => "config.json".into(),
        (_, "" | ".") => prefix.into(),
        ("", _) => rest.into(),
        _ => format!("{prefix}.{rest}"),
    }
}

/// Takes the `?` steps (an Option entered) out of a path of serde_ignored.
fn plain_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').filter(|part| *part != "?").collect();
    parts.join(".")
}

/// A capability that the library does not know cannot be granted, which the
/// specification makes a warning (config.md, "capabilities"), not an error.
fn drop_unknown_capabilities(root: &mut Value, ignored: &mut Vec<Ignored>) {
    if let Some(process) = root.get_mut("process") {
        filter_capabilities(process, "process", ignored);
    }
}

fn filter_capabilities(process: &mut Value, prefix: &str, ignored: &mut Vec<Ignored>) {
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let known =
                oci_spec::runtime::Capability::deserialize(name).is_ok() || !name.is_string();
            if !known {
                ignored.push(Ignored {
                    property: format!("{prefix}.capabilities.{set}"),
                    reason: format!("{name} is not a known capability"),
                });
            }
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config> {
        Config::parse(json.as_bytes().to_vec(), Path::new("config.json"))
    }

    fn error(json: &str) -> String {
        parse(json).expect_err("must be refused").to_string()
    }

    const MINIMAL: &str = r#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"mounts":[
        {"destination":"/dev","type":"devfs","source":"devfs","options":["ruleset=4"]}]}"#;

    #[test]
    fn minimal_is_accepted() {
        let config = parse(MINIMAL).unwrap();
        assert_eq!(config.rootfs(Path::new("/b")), Path::new("/b/rootfs"));
        assert!(config.ignored.is_empty(), "{:?}", config.ignored);
    }

    #[test]
    fn faults_carry_their_path() {
        assert!(error("{").starts_with("config.json: not JSON: "));
        assert_eq!(error("[]"), "config.json: must be a JSON object");
        let wrong = MINIMAL.replace("\"/dev\"", "7");
        assert!(
            error(&wrong).starts_with("mounts[0].destination: invalid type"),
            "{}",
            error(&wrong)
        );
        let wrong = r#"{"ociVersion":"1.3.0","root":{"path":"r"},"freebsd":{"jail":{"enforceStatfs":"x"}}}"#;
        assert!(
            error(wrong).starts_with("freebsd.jail.enforceStatfs: "),
            "{}",
            error(wrong)
        );
        assert!(error(r#"{"root":{"path":"r"}}"#).starts_with("ociVersion: "));
    }

    #[test]
    fn unknown_properties_are_listed() {
        let json =
            r#"{"ociVersion":"1.3.0","root":{"path":"r","x":1},"freebsd":{"jail":{"y":2}},"z":3}"#;
        let ignored = parse(json).unwrap().ignored;
        let mut paths: Vec<_> = ignored.iter().map(|i| i.property.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["freebsd.jail.y", "root.x", "z"]);
    }

    #[test]
    fn what_is_absent_grants_nothing() {
        let sets: oci_spec::runtime::LinuxCapabilities = absent().unwrap();
        assert!(
            sets.bounding().is_none() && sets.effective().is_none() && sets.ambient().is_none()
        );
        let linux: oci_spec::runtime::Linux = absent().unwrap();
        assert!(linux.namespaces().is_none() && linux.masked_paths().is_none());
        let process: Process = absent().unwrap();
        assert!(process.capabilities().is_none() && process.args().is_none());
    }

    #[test]
    fn unknown_capability_is_a_warning() {
        let json = r#"{"ociVersion":"1.3.0","root":{"path":"r"},"process":{"cwd":"/","args":["a"],
            "user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_CHOWN","CAP_NO_SUCH"]}}}"#;
        let config = parse(json).unwrap();
        assert_eq!(config.ignored.len(), 1);
        assert_eq!(config.ignored[0].property, "process.capabilities.bounding");
    }
}
