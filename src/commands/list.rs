//! `brig list`: all containers, as a table, JSON or ids.

use super::Session;
use crate::cli::{List, TableFormat};
use crate::container::state::OCI_VERSION;
use crate::container::{Directory, Orphan, control, status};
use crate::error::{Kind, Result};
use crate::report;

pub fn command(session: &Session, args: &List) -> Result<()> {
    let mut rows = Vec::new();
    for directory in Directory::all(&session.root)? {
        if args.quiet {
            rows.push((directory, None));
            continue;
        }
        match status::read(&directory) {
            Ok(read) => rows.push((directory, Some(read))),
            // Deleted, or not yet written, since the directory was read.
            Err(error) if error.kind == Kind::NoContainer => {}
            Err(error) => report::debug(|| error.to_string()),
        }
    }
    if args.quiet {
        let ids: String = rows
            .iter()
            .map(|(directory, _)| format!("{}\n", directory.id()))
            .collect();
        return super::write(&ids);
    }
    let orphans = control::orphans(&session.root)?;
    let rows = rows.into_iter().filter_map(|(_, read)| read);
    match args.format {
        TableFormat::Json => {
            let known = rows.map(|(s, status)| super::state::document(&s, status));
            let all: Vec<_> = known.chain(orphans.iter().map(orphan)).collect();
            super::write(&format!("{}\n", serde_json::Value::from(all)))
        }
        TableFormat::Table => {
            let mut table =
                vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
            for (state, status) in rows {
                let pid = state
                    .init
                    .filter(|_| status.is_alive())
                    .map_or(0, |init| init.pid);
                let bundle = state.bundle.display().to_string();
                let row = [
                    state.id,
                    pid.to_string(),
                    status.to_string(),
                    bundle,
                    state.created,
                    state.owner,
                ];
                table.push(row);
            }
            for orphan in orphans {
                let bundle = orphan.bundle.display().to_string();
                let unknown = || "-".to_owned();
                let pid = "0".to_owned();
                table.push([
                    orphan.id,
                    pid,
                    ORPHANED.into(),
                    bundle,
                    unknown(),
                    unknown(),
                ]);
            }
            super::write(&columns(&table))
        }
    }
}

/// The status of a jail without a container: gc takes it away.
const ORPHANED: &str = "orphaned";

fn orphan(orphan: &Orphan) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": OCI_VERSION,
        "id": orphan.id,
        "pid": 0,
        "status": ORPHANED,
        "bundle": orphan.bundle,
        "rootfs": orphan.rootfs,
        "created": "",
        "annotations": {},
        "owner": "",
        "jail": {"name": orphan.jail, "jid": orphan.jid},
    })
}

/// Lays rows out in columns, three spaces apart.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
