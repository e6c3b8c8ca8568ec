//! `brig plan` of every configuration in tests/golden and of every sample
//! bundle, on both systems, against the files kept beside it.
//!
//! `BRIG_BLESS=1 cargo test --test plan_golden` writes the files anew; read
//! each difference before it is committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that hold a plan, and the arguments that print it.
const PLANS: [(&str, [&str; 4]); 3] = [
    ("plan.freebsd.txt", ["--os", "freebsd", "--format", "text"]),
    ("plan.linux.txt", ["--os", "linux", "--format", "text"]),
    ("jail.conf", ["--os", "freebsd", "--format", "jail.conf"]),
];

fn tree(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Runs `brig plan`: its output, or its error. The bundle's place in the
/// checkout shows as BUNDLE.
fn plan(bundle: &Path, arguments: &[&str]) -> Result<String, String> {
    let ids = fs::read_to_string(bundle.join("args")).unwrap_or_default();
    let output = Command::new(env!("CARGO_BIN_EXE_brig"))
        // What would differ between hosts and users.
        .args(["--root", "/var/run/brig", "--policy"])
        .arg(tree("tests/golden/policy.json"))
        .args(["plan", "--bundle"])
        .arg(bundle)
        .args(arguments)
        .args(ids.lines())
        .output()
        .expect("brig runs");
    let shown = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.replace(bundle.to_str().expect("UTF-8"), "BUNDLE")
    };
    let (out, err) = (shown(output.stdout), shown(output.stderr));
    if output.status.success() {
        assert_eq!(
            err,
            "",
            "{}: a plan has nothing to say on standard error",
            bundle.display()
        );
        return Ok(out);
    }
    assert_eq!(output.status.code(), Some(1), "{}: {err}", bundle.display());
    assert_eq!(out, "", "{}: half a plan", bundle.display());
    assert_eq!(
        err.lines().count(),
        1,
        "{}: one line: {err}",
        bundle.display()
    );
    Err(err)
}

/// What is expected beside one configuration: by file, its text.
fn planned(bundle: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (name, arguments) in PLANS {
        match plan(bundle, &arguments) {
            Ok(text) => drop(files.insert(name.to_owned(), text)),
            // A refused configuration has no jail.conf either.
            Err(_) if name == "jail.conf" => {}
            Err(text) => drop(files.insert(name.replace(".txt", ".err"), text)),
        }
    }
    files
}

fn kept(bundle: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(bundle)
        .expect("directory")
        .map(|entry| entry.expect("entry"))
    {
        let name = entry.file_name().into_string().expect("UTF-8");
        if name != "config.json" && name != "args" {
            files.insert(name, fs::read_to_string(entry.path()).expect("readable"));
        }
    }
    files
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of)
        .expect("directory")
        .map(|entry| entry.expect("entry").path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

#[test]
fn every_plan_is_the_one_that_is_kept() {
    let bless = std::env::var_os("BRIG_BLESS").is_some();
    let mut differences = Vec::new();
    let cases = directories(&tree("tests/golden"));
    assert!(cases.len() >= 30, "only {} configurations", cases.len());
    for bundle in cases {
        let (now, before) = (planned(&bundle), kept(&bundle));
        if now == before {
            continue;
        }
        let case = bundle
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        if bless {
            for name in before.keys() {
                fs::remove_file(bundle.join(name)).expect("removable");
            }
            for (name, text) in &now {
                fs::write(bundle.join(name), text).expect("writable");
            }
            continue;
        }
        for name in now
            .keys()
            .chain(before.keys().filter(|name| !now.contains_key(*name)))
        {
            let (now, before) = (now.get(name), before.get(name));
            if now != before {
                let none = "(no such file)\n".to_owned();
                let (now, before) = (now.unwrap_or(&none), before.unwrap_or(&none));
                differences.push(format!("{case}/{name}\n-- kept\n{before}-- now\n{now}"));
            }
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn json_has_the_steps_of_the_text() {
    for bundle in directories(&tree("tests/golden")) {
        for os in ["freebsd", "linux"] {
            let Ok(text) = plan(&bundle, &["--os", os]) else {
                continue;
            };
            let json = plan(&bundle, &["--os", os, "--format", "json"]).expect("as the text");
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            let steps = json["steps"].as_array().expect("steps");
            let ignored = json["ignored"].as_array().expect("ignored");
            let is_step = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
            assert_eq!(
                text.lines().filter(is_step).count(),
                steps.len(),
                "{}",
                bundle.display()
            );
            assert_eq!(
                text.lines()
                    .filter(|line| line.starts_with("ignored "))
                    .count(),
                ignored.len(),
                "{}",
                bundle.display()
            );
            assert_eq!(json["os"], os);
        }
    }
}

#[test]
fn sample_bundles_are_planned_with_nothing_ignored() {
    let mut count = 0;
    for sample in directories(&tree("bundles")) {
        for bundle in directories(&sample) {
            let os = bundle.file_name().expect("name").to_str().expect("UTF-8");
            if !bundle.join("config.json").is_file() {
                continue;
            }
            let text = plan(&bundle, &["--os", os])
                .unwrap_or_else(|e| panic!("{}: {e}", bundle.display()));
            assert!(!text.contains("\nignored "), "{}: {text}", bundle.display());
            count += 1;
        }
    }
    assert_eq!(count, 14);
}
