//! Properties that config.md and its parts call REQUIRED, which the library
//! reads as a default when they are absent, and rules between properties that
//! its types do not state. They are checked on the file's own objects.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Objects (`*` is each element of an array) and what each of them needs.
const REQUIRED: &[(&str, &[&str])] = &[
    ("process.user", &["uid", "gid"]),
    ("process.consoleSize", &["height", "width"]),
    ("process.rlimits.*", &["type", "soft", "hard"]),
    ("process.scheduler", &["policy"]),
    ("process.ioPriority", &["class", "priority"]),
    ("linux.uidMappings.*", &["containerID", "hostID", "size"]),
    ("linux.gidMappings.*", &["containerID", "hostID", "size"]),
    ("linux.resources.devices.*", &["allow"]),
    ("linux.resources.hugepageLimits.*", &["pageSize", "limit"]),
    (
        "linux.resources.network.priorities.*",
        &["name", "priority"],
    ),
    (
        "linux.resources.blockIO.weightDevice.*",
        &["major", "minor"],
    ),
    (
        "linux.resources.blockIO.throttleReadBpsDevice.*",
        &["major", "minor", "rate"],
    ),
    (
        "linux.resources.blockIO.throttleWriteBpsDevice.*",
        &["major", "minor", "rate"],
    ),
    (
        "linux.resources.blockIO.throttleReadIOPSDevice.*",
        &["major", "minor", "rate"],
    ),
    (
        "linux.resources.blockIO.throttleWriteIOPSDevice.*",
        &["major", "minor", "rate"],
    ),
];

/// Checks them all.
///
/// # Errors
/// The path of what is missing or breaks a rule.
pub(super) fn check(root: &Value) -> Result<()> {
    for (path, names) in REQUIRED {
        each(root, path, &mut |at, object| {
            for name in *names {
                if object.get(*name).is_none_or(Value::is_null) {
                    return Err(Error::property(format_args!("{at}.{name}"), "is missing"));
                }
            }
            Ok(())
        })?;
    }
    each(root, "linux.devices.*", &mut |at, device| {
        let fifo = device.get("type").is_some_and(|kind| kind == "p");
        let missing = |name: &&&str| !device.contains_key(**name);
        match ["major", "minor"].iter().find(missing) {
            Some(name) if !fifo => Err(Error::property(format_args!("{at}.{name}"), "is missing")),
            _ => Ok(()),
        }
    })?;
    let weights = "linux.resources.blockIO.weightDevice.*";
    each(root, weights, &mut |at, device| {
        if device.contains_key("weight") || device.contains_key("leafWeight") {
            return Ok(());
        }
        Err(Error::property(at, "has neither weight nor leafWeight"))
    })?;
    each(root, "annotations", &mut |at, all| {
        if all.contains_key("") {
            return Err(Error::property(at, "has an empty key"));
        }
        Ok(())
    })?;
    seccomp(root)
}

fn seccomp(root: &Value) -> Result<()> {
    // EPERM stands for an absent errno, so a value where none can be used is
    // seen here only.
    let takes_errno = |action: Option<&Value>| {
        action.and_then(Value::as_str).is_some_and(|action| {
            ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"].contains(&action)
        })
    };
    let given = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    each(root, "linux.seccomp", &mut |at, filter| {
        if given(filter.get("defaultErrnoRet")) && !takes_errno(filter.get("defaultAction")) {
            let at = format_args!("{at}.defaultErrnoRet");
            return Err(Error::property(at, "is set but defaultAction has no errno"));
        }
        Ok(())
    })?;
    each(root, "linux.seccomp.syscalls.*", &mut |at, rule| {
        if rule
            .get("names")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
        {
            return Err(Error::property(format_args!("{at}.names"), "is empty"));
        }
        if given(rule.get("errnoRet")) && !takes_errno(rule.get("action")) {
            let at = format_args!("{at}.errnoRet");
            return Err(Error::property(at, "is set but the action has no errno"));
        }
        Ok(())
    })
}

/// What is asked of an object at a path.
type Check<'a> = &'a mut dyn FnMut(&str, &Map<String, Value>) -> Result<()>;

/// Calls `check` with the path and every object there is at the pattern.
fn each(root: &Value, pattern: &str, check: Check<'_>) -> Result<()> {
    fn walk(value: &Value, steps: &[&str], at: &str, check: Check<'_>) -> Result<()> {
        match (steps, value) {
            ([], Value::Object(object)) => check(at, object),
            (["*", rest @ ..], Value::Array(all)) => {
                for (i, value) in all.iter().enumerate() {
                    walk(value, rest, &format!("{at}[{i}]"), check)?;
                }
                Ok(())
            }
            ([step, rest @ ..], Value::Object(object)) => match object.get(*step) {
                Some(value) if at.is_empty() => walk(value, rest, step, check),
                Some(value) => walk(value, rest, &format!("{at}.{step}"), check),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
    let steps: Vec<&str> = pattern.split('.').collect();
    walk(root, &steps, "", check)
}

/// JSON whose objects have no name twice (glossary.md, JSON): a reader that
/// takes the other one sees another configuration.
pub(super) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = all.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = all.next_key::<String>()? {
            let Strict(value) = all.next_value()?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "the name {name:?} is there twice"
                )));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        for (config, path) in [
            (json!({"process": {"user": {"uid": 0}}}), "process.user.gid"),
            (
                json!({"linux": {"resources": {"devices": [{"allow": true}, {}]}}}),
                "linux.resources.devices[1].allow",
            ),
            (
                json!({"linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB"}]}}}),
                "linux.resources.hugepageLimits[0].limit",
            ),
            (
                json!({"linux": {"devices": [{"type": "p"}, {"type": "c", "major": 1}]}}),
                "linux.devices[1].minor",
            ),
            (
                json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}}}),
                "linux.seccomp.defaultErrnoRet",
            ),
            (json!({"annotations": {"": "x"}}), "annotations"),
        ] {
            let error = check(&config).expect_err(path).to_string();
            assert!(error.starts_with(&format!("{path}: ")), "{error}");
        }
        assert!(check(&json!({"process": {"args": ["x"]}, "linux": null})).is_ok());
    }

    #[test]
    fn a_name_twice_is_no_json_of_ours() {
        let Strict(value) = serde_json::from_str(r#"{"a": [1, -1, 1.5, null, true, "x", {}]}"#)
            .expect("it is JSON");
        assert_eq!(value, json!({"a": [1, -1, 1.5, null, true, "x", {}]}));
        assert!(serde_json::from_str::<Strict>(r#"{"a": {"b": 1, "b": 1}}"#).is_err());
    }
}
