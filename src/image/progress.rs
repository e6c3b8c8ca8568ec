//! How far the work is: a bar on a terminal, a line at the end elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The work as a whole, in bytes of blobs.
#[derive(Debug)]
pub struct Progress {
    /// Bytes that were worked off.
    pub done: Arc<AtomicU64>,
    total: u64,
    verb: &'static str,
    begun: Instant,
    shown: Option<Instant>,
    bar: bool,
}

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 24;

impl Progress {
    /// Work of `total` bytes; a bar is drawn if standard error is a terminal.
    pub fn new(verb: &'static str, total: u64, quiet: bool) -> Progress {
        Progress {
            done: Arc::default(),
            total,
            verb,
            begun: Instant::now(),
            shown: None,
            bar: !quiet && std::io::stderr().is_terminal(),
        }
    }

    /// Whether there is a bar.
    pub fn is_drawn(&self) -> bool {
        self.bar
    }

    /// Draws the bar if it is time to.
    pub fn tick(&mut self) {
        if !self.bar || self.shown.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        self.shown = Some(Instant::now());
        let done = self.done.load(Ordering::Relaxed);
        let line = line(self.verb, done, self.total, self.begun.elapsed());
        let _ = write!(std::io::stderr().lock(), "\r{line}\x1b[K");
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if self.bar && self.shown.take().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// Time since the work began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(verb: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let part = if total == 0 {
        1.0
    } else {
        (done as f64 / total as f64).min(1.0)
    };
    let filled = (part * WIDTH as f64) as usize;
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let left = match total.saturating_sub(done) {
        0 => clock(0),
        // There is no rate to go by yet.
        _ if done == 0 => "-:--".to_owned(),
        left => clock((left as f64 / rate).ceil() as u64),
    };
    format!(
        "{verb} [{}{}] {} of {}, {}/s, {left} left",
        "#".repeat(filled),
        ".".repeat(WIDTH - filled),
        bytes(done),
        bytes(total),
        bytes(rate as u64),
    )
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_bar() {
        let text = line("unpack", 512 << 20, 1 << 30, Duration::from_secs(4));
        assert_eq!(
            text,
            "unpack [############............] 512.0 MiB of 1.00 GiB, 128.0 MiB/s, 0:04 left"
        );
        assert!(line("unpack", 0, 0, Duration::ZERO).ends_with("0:00 left"));
        assert!(line("unpack", 0, 3, Duration::ZERO).ends_with("-:-- left"));
        assert!(line("unpack", 5, 3, Duration::from_secs(1)).contains('#'));
    }
}
