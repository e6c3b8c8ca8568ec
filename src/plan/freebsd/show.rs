//! The steps of FreeBSD in words.

use std::fmt;

use super::{Rule, Step, Value};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Module { name, parameter } => {
                let purpose = parameter.as_deref().unwrap_or("Linux programs");
                write!(f, "kernel module {name} for {purpose}")
            }
            Step::MountPoint {
                root, destination, ..
            } => {
                write!(
                    f,
                    "mount point {} in {}",
                    destination.display(),
                    root.display()
                )
            }
            Step::FileSystem {
                destination,
                fstype,
                source,
                options,
                copy_up,
                ..
            } => {
                write!(f, "mount {fstype}")?;
                if let Some(source) = source {
                    write!(f, " {}", source.display())?;
                }
                write!(f, " on {}", destination.display())?;
                if !options.is_empty() {
                    write!(f, " ({})", options.join(", "))?;
                }
                if *copy_up {
                    f.write_str(" with what it covers")
                } else {
                    Ok(())
                }
            }
            Step::Rulesets { range } => {
                let (first, last) = range;
                write!(
                    f,
                    "at the end free unused devfs rulesets from {first} to {last}"
                )
            }
            Step::DeviceRules {
                destination, rules, ..
            } => {
                write!(f, "devices of {}:", destination.display())?;
                list(f, rules)
            }
            Step::JailDevices { jail, rules, .. } => {
                write!(f, "devices of what jail {jail} mounts:")?;
                list(f, rules)
            }
            Step::OwnMounts { root } => {
                write!(
                    f,
                    "unmount at the end what is mounted from inside {}",
                    root.display()
                )
            }
            Step::ChildrenMax { jail } => write!(f, "one more child for jail {jail}"),
            Step::Alias { interface, address } => write!(f, "address {address} on {interface}"),
            Step::Jail {
                name,
                path,
                parameters,
            } => {
                write!(f, "jail {name} at {}", path.display())?;
                for parameter in parameters {
                    write!(f, " {}={}", parameter.name, parameter.value)?;
                }
                Ok(())
            }
            Step::Rctl(limit) => write!(f, "limit {limit}"),
            Step::Cpuset { jail, cpus } => {
                let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
                write!(f, "processors {} for jail {jail}", cpus.join(","))
            }
            Step::VnetInterface { jail, interface } => {
                write!(f, "interface {interface} into jail {jail}")
            }
            Step::Dataset { jail, dataset } => {
                write!(f, "ZFS dataset {dataset} for jail {jail}")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, rules: &[Rule]) -> fmt::Result {
    for (i, rule) in rules.iter().enumerate() {
        write!(f, "{} {rule}", if i == 0 { "" } else { ";" })?;
    }
    Ok(())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(on) => write!(f, "{on}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.path.as_ref().map(|path| format!("path {path}")));
        words.extend(self.include.map(|number| format!("include {number}")));
        words.extend(
            self.show
                .map(|show| if show { "unhide" } else { "hide" }.to_owned()),
        );
        words.extend(self.user.map(|user| format!("user {user}")));
        words.extend(self.group.map(|group| format!("group {group}")));
        words.extend(self.mode.map(|mode| format!("mode {mode:04o}")));
        f.write_str(&words.join(" "))
    }
}
