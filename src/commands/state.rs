//! `brig state`: the state of runtime.md as JSON.

use serde_json::{Value, json};

use super::Session;
use crate::container::{Directory, State, Status, status};
use crate::error::Result;

pub fn command(session: &Session, id: &str) -> Result<()> {
    let directory = Directory::of(&session.root, id)?;
    let (state, now) = status::read(&directory)?;
    let object = document(&state, now);
    super::write(&format!("{object:#}\n"))
}

/// The state as engines read it, from state and list.
pub fn document(state: &State, status: Status) -> Value {
    // runc prints 0 for a process that is no more, and go-runc expects it.
    let pid = match state.init {
        Some(init) if status.is_alive() => init.pid,
        _ => 0,
    };
    let mut object = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": pid,
        "status": status.to_string(),
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "annotations": state.annotations,
        "owner": state.owner,
    });
    if let Some(jail) = &state.jail {
        object["jail"] = json!({"name": jail.name, "jid": jail.jid});
    }
    object
}
