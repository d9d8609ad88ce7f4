//! One line on standard error that tells what a probe is doing; only on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use bypeer_probe::progress::Progress;

/// Between two updates.
const INTERVAL: Duration = Duration::from_millis(250);

/// Shows what is being done until it is dropped.
pub(super) struct Shown<'a> {
    over: &'a AtomicBool,
}

impl<'a> Shown<'a> {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        progress: &'a Progress,
        over: &'a AtomicBool,
    ) -> Shown<'a> {
        if std::io::stderr().is_terminal() {
            scope.spawn(move || {
                let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
                while !over.load(Relaxed) {
                    eprint!("\r\x1b[K{}", line(progress, width));
                    let _ = std::io::stderr().flush();
                    thread::sleep(INTERVAL);
                }
                eprint!("\r\x1b[K");
            });
        }
        Shown { over }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// What is under way, and the longest that it can still take.
fn line(progress: &Progress, width: usize) -> String {
    let now = Instant::now();
    let doing = progress.now();
    let left = doing.iter().map(|one| one.until.saturating_duration_since(now)).max();
    let names: Vec<&str> = doing.iter().map(|one| one.check).collect();
    let text = match (doing.as_slice(), left) {
        ([], _) | (_, None) => String::new(),
        ([one], Some(left)) => format!("{}: {} (at most {} s more)", one.check, one.what, left.as_secs()),
        (_, Some(left)) => format!("at most {} s more: {}", left.as_secs(), names.join(", ")),
    };
    text.chars().take(width.saturating_sub(1)).collect()
}
