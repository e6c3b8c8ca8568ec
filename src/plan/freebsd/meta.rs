//! What a jail says of itself in its `meta` (FreeBSD 15): which container it
//! is, and what would be left on the host without it. By that a jail is told
//! from another one of the same name, and is taken away when its journal is
//! gone.

use std::path::Path;

use super::{Input, Parameter, Step, Value};

/// The parameter that holds the container's id.
pub const ID: &str = "meta.brig";
/// The parameter that holds the bundle's path.
pub const BUNDLE: &str = "meta.brig.bundle";
/// The parameter that holds the path of the container's state.
pub const DIRECTORY: &str = "meta.brig.directory";
/// The parameter that holds the jail's full name, as the one who made it has it.
pub const JAIL: &str = "meta.brig.jail";
/// The parameter that holds what [`left_on_host`] reads.
pub const HOST: &str = "meta.brig.host";

/// The room for one of these, in bytes: all of a jail's meta has to fit
/// security.jail.meta_maxbufsize, which is 4096.
pub const ROOM: usize = 2048;

fn parameter(name: &str, value: impl Into<String>) -> Parameter {
    Parameter {
        name: name.into(),
        value: Value::Text(value.into()),
        default: true,
    }
}

fn is_on(input: &Input) -> bool {
    input.host.osreldate >= 1_500_000 && input.policy.jail_meta
}

/// Which container the jail of that full name is.
pub(super) fn whose(input: &Input, jail: &str) -> Vec<Parameter> {
    if !is_on(input) {
        return Vec::new();
    }
    // A line is what separates one entry of a jail's meta from the next.
    let text = |path: &Path| {
        path.to_str()
            .filter(|p| !p.contains('\n'))
            .map(String::from)
    };
    let paths = [
        (BUNDLE, text(input.bundle)),
        (DIRECTORY, text(input.directory)),
    ];
    let mut all = vec![parameter(ID, input.id), parameter(JAIL, jail)];
    all.extend(
        paths
            .into_iter()
            .filter_map(|(key, path)| Some(parameter(key, path?))),
    );
    all
}

/// What the steps leave on the host: addresses, and what is moved into the
/// jail. A jail below another one is not believed, so it says nothing.
pub(super) fn on_host<'a>(
    input: &Input,
    jail: &str,
    steps: impl Iterator<Item = &'a Step>,
) -> Option<Parameter> {
    let words: Vec<String> = steps
        .filter_map(|step| match step {
            Step::Alias { interface, address } => Some(format!("address {address} {interface}")),
            Step::VnetInterface { interface, .. } => Some(format!("interface {interface}")),
            Step::Dataset { dataset, .. } => Some(format!("dataset {dataset}")),
            _ => None,
        })
        .collect();
    let text = words.join(", ");
    let fits = !text.is_empty() && text.len() < ROOM;
    (is_on(input) && is_believed(jail) && fits).then(|| parameter(HOST, text))
}

/// Whether a jail's word counts for what is done to the host: a process in a
/// jail that may have children can make one that says anything.
fn is_believed(jail: &str) -> bool {
    !jail.contains('.')
}

/// The steps to take back that a jail's [`HOST`] names, first to last.
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "for the FreeBSD backend")
)]
pub fn left_on_host(jail: &str, text: &str) -> Vec<Step> {
    if !is_believed(jail) {
        return Vec::new();
    }
    let read = |words: &str| {
        let (kind, object) = words.split_once(' ')?;
        match (kind, object.split_once(' ')) {
            ("address", Some((address, interface))) => Some(Step::Alias {
                interface: interface.into(),
                address: address.parse().ok()?,
            }),
            ("interface", None) => Some(Step::VnetInterface {
                jail: jail.into(),
                interface: object.into(),
            }),
            ("dataset", None) => Some(Step::Dataset {
                jail: jail.into(),
                dataset: object.into(),
            }),
            _ => None,
        }
    };
    text.split(", ").filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_jail_says_is_read_back() {
        let text = "address 10.8.0.1 lo1, address fd00::8 lo1, interface e0b, dataset pool/own";
        let steps = left_on_host("web", text);
        assert_eq!(steps.len(), 4);
        assert_eq!(
            steps[1],
            Step::Alias {
                interface: "lo1".into(),
                address: "fd00::8".parse().unwrap()
            }
        );
        assert_eq!(
            steps[3],
            Step::Dataset {
                jail: "web".into(),
                dataset: "pool/own".into()
            }
        );
        assert_eq!(left_on_host("web", "address x lo1, nothing, interface"), []);
        assert_eq!(left_on_host("pod.web", text), []);
    }
}
