//! `brig ps`: the processes of a container.

use super::Session;
use crate::cli::{Ps, TableFormat};
use crate::container::{Directory, control};
use crate::error::Result;
use crate::sys;

pub fn command(session: &Session, args: &Ps) -> Result<()> {
    let directory = Directory::of(&session.root, &args.id)?;
    let state = directory.load()?;
    let pids = control::processes(&state)?;
    if args.format == TableFormat::Json {
        return super::write(&format!("{}\n", serde_json::Value::from(pids)));
    }
    let mut table = vec![["UID", "PID", "PPID", "TIME", "CMD"].map(String::from)];
    for pid in pids {
        // It may have ended since the list was made.
        let Some(info) = sys::process_info(pid) else {
            continue;
        };
        let seconds = info.cpu_milliseconds / 1000;
        let time = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let row = [
            info.uid.to_string(),
            pid.to_string(),
            info.parent.to_string(),
            time,
            info.command,
        ];
        table.push(row);
    }
    super::write(&super::list::columns(&table))
}
