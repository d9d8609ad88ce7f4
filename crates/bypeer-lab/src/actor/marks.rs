//! The points that somebody in the round has reached.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::locked;

/// How often each name was marked. One thread tells, any number wait.
#[derive(Debug, Default)]
pub(super) struct Marks {
    counts: Mutex<HashMap<String, u64>>,
    changed: Condvar,
}

impl Marks {
    /// Somebody reached this point.
    pub(super) fn set(&self, name: String) {
        let mut counts = locked(&self.counts);
        *counts.entry(name).or_default() += 1;
        self.changed.notify_all();
    }

    /// How often it was reached.
    pub(super) fn count(&self, name: &str) -> u64 {
        let counts = locked(&self.counts);
        counts.get(name).copied().unwrap_or(0)
    }

    /// Waits until it was reached more than `before` times; false if that does not come true by `deadline`.
    pub(super) fn wait(&self, name: &str, before: u64, deadline: Instant) -> bool {
        let mut counts = locked(&self.counts);
        loop {
            if counts.get(name).copied().unwrap_or(0) > before {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            counts = self
                .changed
                .wait_timeout(counts, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
