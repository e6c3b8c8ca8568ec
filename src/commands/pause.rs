//! `brig pause` and `brig resume`.

use super::Session;
use crate::container::{Directory, Status, control, status};
use crate::error::{Error, Kind, Result};

pub fn command(session: &Session, id: &str, pause: bool) -> Result<()> {
    let directory = Directory::of(&session.root, id)?;
    let _lock = directory.lock()?;
    let state = directory.load()?;
    let now = status::status(&state, &directory);
    let fits = match now {
        Status::Running | Status::Created => pause,
        Status::Paused => !pause,
        Status::Creating | Status::Stopped => false,
    };
    if !fits {
        let verb = if pause { "pause" } else { "resume" };
        let text = format!("cannot {verb} container {id:?}: it is {now}");
        return Err(Error::text(text).kind(Kind::NotRunning));
    }
    control::pause(&state, pause)
}
