//! What comes behind an answer that is whole.

use std::time::Instant;

use crate::connection::{Connection, Step};

/// What came behind an answer, while nothing more was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// Bytes that nobody had asked for.
    pub surplus: usize,
    /// The server's FIN, when it came.
    pub fin: Option<Instant>,
    /// A reset, or another end by error, when it came.
    pub reset: Option<Instant>,
}

impl Connection {
    /// Reads on behind an answer, until a reset or until `until`. A FIN does not end it: a reset may follow.
    pub fn afterwards(&mut self, until: Instant) -> Afterwards {
        let mut surplus = self.take().len();
        loop {
            match self.step(&[], until) {
                Step::Received(_) => surplus += self.take().len(),
                Step::Closed | Step::Sent(_) => {}
                _ => break,
            }
        }
        let log = self.log();
        Afterwards {
            surplus,
            fin: log.fin,
            reset: log.reset.map(|(at, _)| at),
        }
    }
}
