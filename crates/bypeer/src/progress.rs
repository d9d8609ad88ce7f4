use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use bypeer_input::Meter;

/// Nothing is shown before this much time has passed: most captures are read sooner.
const PATIENCE: Duration = Duration::from_millis(700);
/// Between two updates.
const INTERVAL: Duration = Duration::from_millis(200);

/// One line on standard error that tells how far reading has come; only on a terminal, gone when dropped.
pub(crate) struct Progress {
    meter: Meter,
    next: Instant,
    shown: bool,
    active: bool,
}

impl Progress {
    /// Shows nothing for a pipe: its end is not known, and its findings are printed as they come.
    pub(crate) fn of(meter: Meter) -> Progress {
        let active = std::io::stderr().is_terminal() && meter.total().is_some();
        Progress {
            meter,
            next: Instant::now() + PATIENCE,
            shown: false,
            active,
        }
    }

    /// Redraws the line where it is time. Cheap enough to be called every few thousand packets.
    pub(crate) fn update(&mut self, connections: u64) {
        if !self.active || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        self.shown = true;
        let (read, total) = (self.meter.read(), self.meter.total().unwrap_or(0).max(1));
        let percent = read.saturating_mul(100) / total;
        let megabytes = read / 1_000_000;
        eprint!("\r\x1b[Kreading: {percent:>3} %, {megabytes} MB, {connections} connections over");
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
