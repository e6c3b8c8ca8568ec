//! Devices of a container: freebsd.devices, the options of devfs.

use serde_json::json;

use super::support::{Case, Outcome, Test};
use crate::check;

pub const CASES: &[Case] = &[Case {
    name: "devices/listed",
    run: listed,
}];

/// freebsd.devices: the device is there with its mode, the rest stays hidden.
fn listed(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["freebsd"]["devices"] = json!([{"path": "mem", "mode": 0o400}]);
    })?;
    t.up(&bundle, "a")?;
    let said = t.ok(&["exec", "a", "ls", "-l", "/dev/mem", "/dev/null"])?;
    check!(said.contains("cr--------"), "{said}");
    let all = t.ok(&["exec", "a", "ls", "/dev"])?;
    check!(!all.contains("kmem"), "{all}");
    t.down("a")
}
