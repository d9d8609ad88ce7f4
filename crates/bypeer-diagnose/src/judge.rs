use bypeer_wire::Timestamp;
use bypeer_wire::conn::Connection;

use crate::{Accounts, Finding, Insight};

/// Takes connections as they end, gives findings.
#[derive(Default)]
pub struct Judge {}

/// What is left to say at the end.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Findings not yet handed out by [`Judge::ripe`], in the order in which the connections ended.
    pub findings: Vec<Finding>,
    /// What only several connections together show.
    pub insights: Vec<Insight>,
    /// Every connection, accounted for; including those handed out before.
    pub accounts: Accounts,
}

impl Judge {
    /// A judge who has seen nothing.
    pub fn new() -> Judge {
        Judge::default()
    }

    /// Takes a connection that has ended, or that the capture's end cut off.
    pub fn push(&mut self, _connection: Connection) {}

    /// Findings about connections that ended long enough before `now` for their surroundings to be known: for a live
    /// capture, where one does not want to wait for the end. Without calls of this all findings come from `finish`,
    /// except that memory is bounded: when too many are held, the oldest are handed out here, whatever `now` is.
    pub fn ripe(&mut self, _now: Timestamp) -> Vec<Finding> {
        Vec::new()
    }

    /// The capture is over.
    pub fn finish(self) -> Verdicts {
        Verdicts::default()
    }
}
