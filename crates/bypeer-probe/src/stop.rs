//! A request to stop that everything looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set once, by the user's Ctrl-C or a bound; everything that waits returns within a tenth of a second.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Heeds a flag that a signal handler sets.
    pub fn at(flag: Arc<AtomicBool>) -> Stop {
        Stop(flag)
    }

    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Relaxed);
    }

    /// Somebody asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}
