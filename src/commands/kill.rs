//! `brig kill`: a signal to the container's process, or to all of them.

use super::Session;
use crate::cli::Kill;
use crate::container::{Directory, Status, control, signal, status};
use crate::error::{Error, Kind, Result};

pub fn command(session: &Session, args: &Kill) -> Result<()> {
    let signal = signal::parse(&args.signal)?;
    let directory = Directory::of(&session.root, &args.id)?;
    let (state, now) = status::read(&directory)?;
    if args.all && now == Status::Stopped {
        // Engines stop with --all after the process has ended, to reach what
        // it left behind.
        return control::signal_all(&state, signal);
    }
    if !now.is_alive() {
        let text = format!(
            "cannot signal container {:?}: container not running",
            args.id
        );
        return Err(Error::text(text).kind(Kind::NotRunning));
    }
    if args.all {
        control::signal_all(&state, signal)
    } else {
        control::signal_init(&state, signal)
    }
}
