//! Ctrl-C and SIGTERM in the lab's processes, of which the outer ones pass them on to the inner ones.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Set by Ctrl-C or SIGTERM, for a process whose child decides what to do about it.
pub(super) fn passed_on() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).context("signals cannot be handled")?;
    }
    Ok(stop)
}

/// Set by the first Ctrl-C or SIGTERM, for a process that may be told twice of one Ctrl-C, by the terminal and by its parent's SIGTERM: only the second
/// signal *of a kind* ends it at once.
pub(super) fn flag_of_a_child() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())
            .and_then(|_| signal_hook::flag::register(signal, seen))
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .context("signals cannot be handled")?;
    }
    Ok(stop)
}
