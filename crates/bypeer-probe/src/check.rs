//! What a check is, and what it gives.

use std::time::Duration;

use bypeer_diagnose::Confidence;

use crate::habit::{Habit, Measured, Value};
use crate::prober::{Options, Prober};

/// One question to a server.
#[derive(Debug)]
pub struct Check {
    /// Its name: `idle-timeout`.
    pub id: &'static str,
    /// The question, in a few words.
    pub title: &'static str,
    /// Its manual: Markdown, with the sections that every check's has.
    pub manual: &'static str,
    /// Only done when it is asked for (`--also ID`): it is heavier than a client's everyday.
    pub opt_in: bool,
    /// When it is done.
    pub turn: Turn,
    /// What it measures.
    pub habits: &'static [&'static Habit],
    /// What it will do.
    pub plan: fn(&Options) -> Plan,
    /// Does it.
    pub run: fn(&Prober<'_>) -> Outcome,
}

/// When a check is done. Where the server works on few connections at once, each is done by itself, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// By itself, before all others: it needs a server that is not busy, and is short.
    First,
    /// Side by side with others.
    Together,
    /// By itself, after all others: it disturbs what they measure.
    Alone,
}

/// What a check will do, at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In one line, for people.
    pub what: String,
    /// Connections in all.
    pub connections: u32,
    /// Requests in all.
    pub requests: u32,
    /// How long it takes at most.
    pub longest: Duration,
}

/// What a check saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How far it came.
    pub status: Status,
    /// What was seen: lines for people.
    pub seen: Vec<String>,
    /// What was measured.
    pub measured: Vec<Measured>,
    /// What can go wrong because of it.
    pub risks: Vec<Risk>,
}

/// How far a check came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// To its end.
    #[default]
    Done,
    /// Not to its end, for this reason: what is told was seen before.
    Cut(String),
    /// It does not apply, or was not asked for.
    Skipped(String),
    /// It could not be done.
    Failed(String),
}

/// What a habit of the server can do to its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Risk {
    /// The cause that `explain` names when it happens: an id of `bypeer causes`.
    pub cause: &'static str,
    /// What happens, in one line: "a request sent as the server closes is reset".
    pub what: String,
    /// How bad.
    pub severity: Severity,
    /// What is lost when it happens.
    pub loses: Loses,
    /// How sure it is that the server has this habit.
    pub sure: Confidence,
    /// What was seen that shows it, and what was done to tell it from something else.
    pub because: Vec<String>,
    /// Who can mend it.
    pub remedy: Remedy,
    /// Clauses of standards (`RFC 9112 §9.6`), best first.
    pub clauses: Vec<&'static str>,
}

/// How bad a habit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; loses nothing by itself.
    Note,
    /// Loses data of clients that are not set to fit it.
    Trap,
    /// Loses data, or breaks a MUST of the standard, however the client is set.
    Fault,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    /// Nothing.
    Nothing,
    /// The request gets no answer; it was not processed.
    Request,
    /// The request gets no answer, and whether it was processed cannot be told.
    Outcome,
    /// The answer, or its end: the request was processed.
    Answer,
    /// An answer reaches another request.
    Identity,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A client's settings are enough.
    Client,
    /// Only the server's owner.
    Server,
    /// Either.
    Either,
}

impl Outcome {
    /// Of a check that does not apply.
    pub fn skipped(why: impl Into<String>) -> Outcome {
        Outcome {
            status: Status::Skipped(why.into()),
            ..Outcome::default()
        }
    }

    /// Of a check that could not be done.
    pub fn failed(why: impl Into<String>) -> Outcome {
        Outcome {
            status: Status::Failed(why.into()),
            ..Outcome::default()
        }
    }

    /// Was seen.
    pub fn saw(&mut self, line: impl Into<String>) {
        self.seen.push(line.into());
    }

    /// Was measured.
    pub fn measure(&mut self, habit: &'static Habit, value: Value) {
        self.measured.push(Measured { habit, value });
    }

    /// The value of a habit, where it was measured.
    pub fn value(&self, habit: &Habit) -> Option<&Value> {
        self.measured
            .iter()
            .find(|measured| measured.habit.name == habit.name)
            .map(|measured| &measured.value)
    }
}

impl Severity {
    /// "note", "trap", "fault".
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Trap => "trap",
            Severity::Fault => "fault",
        }
    }
}

impl Loses {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Loses::Nothing => "nothing",
            Loses::Request => "request",
            Loses::Outcome => "outcome",
            Loses::Answer => "answer",
            Loses::Identity => "identity",
        }
    }

    /// In words: "a request, unprocessed".
    pub fn words(self) -> &'static str {
        match self {
            Loses::Nothing => "nothing is lost",
            Loses::Request => "the request gets no answer; it was not processed",
            Loses::Outcome => "the request gets no answer, and nobody knows whether it was processed",
            Loses::Answer => "the answer is lost, wholly or in part, although the request was processed",
            Loses::Identity => "an answer reaches another request",
        }
    }
}

impl Remedy {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Remedy::Client => "client",
            Remedy::Server => "server",
            Remedy::Either => "either",
        }
    }
}
