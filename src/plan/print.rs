//! The plan as text, JSON and a jail.conf(5) fragment.

use std::fmt::Write;
use std::path::Path;

use super::freebsd::{self, Value};
use super::{Plan, Step};

/// The plan as JSON.
pub fn json(plan: &Plan) -> String {
    format!(
        "{:#}\n",
        sorted(serde_json::to_value(plan).unwrap_or_default())
    )
}

/// Objects that were maps come in any order; sorted, one plan is always
/// printed alike.
pub(super) fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let free = ["unified", "rdma"];
            let sort = |(key, value): (String, Value)| match value {
                Value::Object(mut map) if free.contains(&key.as_str()) => {
                    map.sort_keys();
                    (key, Value::Object(map))
                }
                value => (key, sorted(value)),
            };
            Value::Object(object.into_iter().map(sort).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        value => value,
    }
}

/// The plan as text: a line for each step, what runs, and what is ignored.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let jail_root = plan.steps.iter().find_map(|step| match step {
        Step::Freebsd(freebsd::Step::Jail { path, .. }) => Some(path),
        _ => None,
    });
    for (i, step) in plan.steps.iter().enumerate() {
        match step {
            // What the jail's root is made of is no place inside it.
            Step::Freebsd(freebsd::Step::FileSystem {
                root,
                destination,
                fstype,
                source: Some(source),
                options,
                ..
            }) if jail_root.is_some_and(|path| path != root) => {
                let (at, from) = (below(root, destination), source.display());
                let mut words = format!("mount {fstype} {from} on {}", at.display());
                if !options.is_empty() {
                    let _ = write!(words, " ({})", options.join(", "));
                }
                line(&mut text, format_args!("{:3}  {words}", i + 1));
            }
            Step::Freebsd(step) => line(&mut text, format_args!("{:3}  {step}", i + 1)),
            Step::Linux(step) => line(&mut text, format_args!("{:3}  {step}", i + 1)),
        }
    }
    match &plan.process {
        None => line(
            &mut text,
            format_args!("no process: the container cannot be started"),
        ),
        Some(process) => {
            let arguments = process.args().iter().flatten().map(|word| quoted(word));
            let arguments = arguments.collect::<Vec<_>>().join(" ");
            line(&mut text, format_args!("run {arguments}"));
            let user = process.user();
            let mut about = format!("uid {} gid {}", user.uid(), user.gid());
            if let Some(groups) = user
                .additional_gids()
                .as_ref()
                .filter(|groups| !groups.is_empty())
            {
                let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
                let _ = write!(about, " groups {}", groups.join(","));
            }
            if let Some(umask) = user.umask() {
                let _ = write!(about, " umask {umask:03o}");
            }
            let _ = write!(about, " in {}", process.cwd().display());
            if process.terminal() == Some(true) {
                about.push_str(" on a terminal");
            }
            if process.no_new_privileges() == Some(true) {
                about.push_str(" without new privileges");
            }
            line(&mut text, format_args!("    as {about}"));
            if plan.os == crate::host::Os::Linux {
                capabilities(&mut text, process);
            }
            for limit in process.rlimits().iter().flatten() {
                line(
                    &mut text,
                    format_args!("    {} {} of {}", limit.typ(), limit.soft(), limit.hard()),
                );
            }
        }
    }
    if let Some(seccomp) = &plan.seccomp {
        line(&mut text, format_args!("    seccomp {seccomp}"));
    }
    for hook in &plan.hooks {
        let limit = hook
            .timeout
            .map_or(String::new(), |seconds| format!(" for at most {seconds} s"));
        line(
            &mut text,
            format_args!("hook {} {}{limit}", hook.kind, hook.path.display()),
        );
    }
    for ignored in &plan.ignored {
        line(
            &mut text,
            format_args!("ignored {}: {}", ignored.property, ignored.reason),
        );
    }
    text
}

/// The capability sets, each set of names once.
fn capabilities(text: &mut String, process: &oci_spec::runtime::Process) {
    let Some(sets) = process.capabilities() else {
        line(text, format_args!("    capabilities none"));
        return;
    };
    let mut rows: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for (name, set) in [
        ("bounding", sets.bounding()),
        ("effective", sets.effective()),
        ("permitted", sets.permitted()),
        ("inheritable", sets.inheritable()),
        ("ambient", sets.ambient()),
    ] {
        let mut members: Vec<String> = set.iter().flatten().map(ToString::to_string).collect();
        members.sort();
        match rows.iter_mut().find(|(other, _)| *other == members) {
            Some((_, names)) => names.push(name),
            None => rows.push((members, vec![name])),
        }
    }
    for (members, names) in rows {
        let members = if members.is_empty() {
            "none".into()
        } else {
            members.join(" ")
        };
        line(
            text,
            format_args!("    capabilities {}: {members}", names.join(",")),
        );
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{words}");
}

/// A word as a shell would have to read it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A fragment of jail.conf(5) that makes the same jail.
pub fn jail_conf(plan: &Plan) -> String {
    let steps = plan.steps.iter().filter_map(|step| match step {
        Step::Freebsd(step) => Some(step),
        Step::Linux(_) => None,
    });
    let (mut name, mut body, mut before) = ("", String::new(), String::new());
    let (mut after, mut stop) = (String::new(), String::new());
    for step in steps {
        use freebsd::Step as S;
        match step {
            S::Module { name, .. } => {
                line(
                    &mut before,
                    format_args!("    exec.prepare += \"kldload -n {name}\";"),
                );
            }
            S::MountPoint { .. } | S::OwnMounts { .. } | S::Rulesets { .. } => {}
            S::JailDevices { rules, .. } => {
                for rule in rules {
                    line(&mut body, format_args!("    # devfs_ruleset needs: {rule}"));
                }
            }
            S::FileSystem {
                root,
                destination,
                fstype,
                source,
                options,
                copy_up,
            } => {
                let at = below(root, destination);
                let source = source.as_deref().unwrap_or(Path::new(fstype));
                let options = if options.is_empty() {
                    "rw".into()
                } else {
                    options.join(",")
                };
                let entry = format!("{} {} {fstype} {options} 0 0", fstab(source), fstab(&at));
                line(&mut body, format_args!("    mount += {};", value(&entry)));
                if *copy_up {
                    line(&mut body, format_args!("    # filled with what it covers"));
                }
            }
            S::DeviceRules {
                root,
                destination,
                rules,
                ..
            } => {
                let at = below(root, destination);
                for rule in rules {
                    let command = format!(
                        "devfs -m {} rule apply {rule}",
                        quoted(&at.to_string_lossy())
                    );
                    line(
                        &mut after,
                        format_args!("    exec.created += {};", value(&command)),
                    );
                }
            }
            S::ChildrenMax { jail } => {
                line(
                    &mut body,
                    format_args!("    # jail {jail} needs children.max for one more"),
                );
            }
            S::Alias { interface, address } => {
                let parameter = if address.is_ipv4() {
                    "ip4.addr"
                } else {
                    "ip6.addr"
                };
                line(
                    &mut body,
                    format_args!(
                        "    {parameter} += {};",
                        value(&format!("{interface}|{address}"))
                    ),
                );
            }
            S::Jail {
                name: full,
                path,
                parameters,
            } => {
                name = full;
                line(
                    &mut body,
                    format_args!("    path = {};", value(&path.to_string_lossy())),
                );
                line(&mut body, format_args!("    persist;"));
                for parameter in parameters {
                    jail_parameter(&mut body, &without_aliases(parameter, plan));
                }
            }
            S::Rctl(limit) => {
                line(
                    &mut after,
                    format_args!(
                        "    exec.created += {};",
                        value(&format!("rctl -a {limit}"))
                    ),
                );
                line(
                    &mut stop,
                    format_args!(
                        "    exec.release += {};",
                        value(&format!("rctl -r {}", limit.filter()))
                    ),
                );
            }
            S::Cpuset { jail, cpus } => {
                let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
                let command = format!("cpuset -l {} -j {jail}", cpus.join(","));
                line(
                    &mut after,
                    format_args!("    exec.created += {};", value(&command)),
                );
            }
            S::Dataset { dataset, .. } => {
                line(
                    &mut body,
                    format_args!("    zfs.dataset += {};", value(dataset)),
                );
            }
            S::VnetInterface { interface, .. } => {
                line(
                    &mut body,
                    format_args!("    vnet.interface += {};", value(interface)),
                );
            }
        }
    }
    if let Some(arguments) = plan
        .process
        .as_ref()
        .and_then(|process| process.args().as_ref())
    {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        line(
            &mut after,
            format_args!("    exec.start = {};", value(&words.join(" "))),
        );
    }
    format!("{} {{\n{before}{body}{after}{stop}}}\n", value(name))
}

/// jail(8) gives the kernel the addresses of aliases by itself, and the kernel
/// refuses one that it is given twice.
fn without_aliases(parameter: &freebsd::Parameter, plan: &Plan) -> freebsd::Parameter {
    let mut parameter = parameter.clone();
    if let Value::List(items) = &mut parameter.value {
        let is_alias = |item: &str| {
            plan.steps.iter().any(|step| match step {
                Step::Freebsd(freebsd::Step::Alias { address, .. }) => address.to_string() == item,
                _ => false,
            })
        };
        items.retain(|item| !is_alias(item));
    }
    parameter
}

fn jail_parameter(body: &mut String, parameter: &freebsd::Parameter) {
    let name = &parameter.name;
    match &parameter.value {
        Value::Switch(true) => line(body, format_args!("    {name};")),
        Value::Switch(false) => {
            let (parents, last) = name
                .rsplit_once('.')
                .map_or(("", name.as_str()), |(p, last)| (p, last));
            let dot = if parents.is_empty() { "" } else { "." };
            line(body, format_args!("    {parents}{dot}no{last};"));
        }
        Value::Number(number) => line(body, format_args!("    {name} = {number};")),
        Value::Text(text) => line(body, format_args!("    {name} = {};", value(text))),
        Value::List(items) => {
            for item in items {
                line(body, format_args!("    {name} += {};", value(item)));
            }
        }
    }
}

/// A path below the root without resolving anything.
fn below(root: &Path, destination: &Path) -> std::path::PathBuf {
    destination.strip_prefix("/").map_or_else(
        |_| root.to_owned(),
        |rest| root.join(rest).components().collect(),
    )
}

/// A value in jail.conf(5): quoted, with what is special there escaped.
fn value(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A path in fstab(5), where a blank is written in octal.
fn fstab(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
}
