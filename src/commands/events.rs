//! `brig events`: statistics in the form that containerd reads.

use std::time::Duration;

use serde_json::json;

use super::Session;
use crate::cli::Events;
use crate::container::{Directory, control, status};
use crate::error::{Error, Kind, Result};

pub fn command(session: &Session, args: &Events) -> Result<()> {
    let interval = humantime::parse_duration(&args.interval)
        .map_err(|e| Error::property("--interval", e).hint("use a form like 5s or 500ms"))?;
    if interval.is_zero() {
        return Err(Error::property("--interval", "must be above 0"));
    }
    let directory = Directory::of(&session.root, &args.id)?;
    if args.stats {
        return print(&directory);
    }
    loop {
        let state = directory.load()?;
        let Some(init) = state.init.filter(|_| status::init_alive(&state)) else {
            return Ok(());
        };
        print(&directory)?;
        if wait(init, interval)? {
            return Ok(());
        }
    }
}

/// Waits out the interval, or less when the container ends.
fn wait(init: crate::container::state::Process, interval: Duration) -> Result<bool> {
    control::await_exit(init, interval)
}

fn print(directory: &Directory) -> Result<()> {
    let state = directory.load()?;
    if !status::init_alive(&state) {
        let text = format!(
            "cannot read statistics of container {:?}: container not running",
            state.id
        );
        return Err(Error::text(text).kind(Kind::NotRunning));
    }
    let data = control::stats(&state)?;
    super::write(&format!(
        "{}\n",
        json!({"type": "stats", "id": state.id, "data": data})
    ))
}
