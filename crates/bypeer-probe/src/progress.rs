//! How far a probe is, for whoever shows it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What is done now. Shared between the checks and whoever shows it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Vec<Doing>>);

/// One check that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// The check.
    pub check: &'static str,
    /// What it does.
    pub what: String,
    /// It takes until then at most.
    pub until: Instant,
}

impl Progress {
    /// What runs now, in the order of its beginning.
    pub fn now(&self) -> Vec<Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn doing(&self, check: &'static str, what: &str, until: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = Doing {
            check,
            what: what.to_owned(),
            until,
        };
        match all.iter_mut().find(|known| known.check == check) {
            Some(known) => *known = doing,
            None => all.push(doing),
        }
    }

    pub(crate) fn done(&self, check: &'static str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|known| known.check != check);
    }
}
