//! All that a probe found out.

use std::time::{Duration, Instant, SystemTime};

use crate::check::{Check, Outcome, Risk};
use crate::connection::Log;
use crate::habit::{Habit, Value};
use crate::http::Answer;
use crate::target::{Place, Target};

/// The report on one server.
#[derive(Debug)]
pub struct Card {
    /// Who was asked.
    pub target: Target,
    /// The one address that was.
    pub place: Place,
    /// When it began.
    pub began: SystemTime,
    /// The same moment by the clock that everything else is timed by.
    pub clock: Instant,
    /// How long it took.
    pub took: Duration,
    /// The answer to the first request.
    pub first: Answer,
    /// The answer to a GET of a path that nobody has: error pages tell products.
    pub unfound: Option<Answer>,
    /// About a round trip.
    pub round_trip: Duration,
    /// One connection at a time was asked.
    pub serial: bool,
    /// That was found out, not asked for: it works on so many connections at once.
    pub workers: Option<u32>,
    /// The user stopped it.
    pub stopped: bool,
    /// What the checks saw, in the table's order.
    pub checks: Vec<Done>,
    /// Connections opened.
    pub connections: u64,
    /// Each of them.
    pub logs: Vec<Log>,
}

/// A check that was done.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub check: &'static Check,
    /// What it saw.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl Card {
    /// The value of a habit, where it was measured.
    pub fn value(&self, habit: &Habit) -> Option<&Value> {
        self.checks.iter().find_map(|done| done.outcome.value(habit))
    }

    /// Every risk with its check, the worst first.
    pub fn risks(&self) -> Vec<(&'static Check, &Risk)> {
        let mut risks: Vec<_> = self
            .checks
            .iter()
            .flat_map(|done| done.outcome.risks.iter().map(|risk| (done.check, risk)))
            .collect();
        risks.sort_by_key(|(_, risk)| std::cmp::Reverse((risk.severity, risk.sure)));
        risks
    }
}
