//! One request on a connection of its own, what its answer says about the connection, and what is done.

use std::time::{Duration, Instant};

use bypeer_wire::app::{Close, Framing, Version};

use super::cases::{Case, Wants};
use super::soon;
use crate::connection::{Broken, Connection, Step};
use crate::http::{Answer, Ending, Request, Writing};
use crate::prober::Prober;

/// What was said and done.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub word: Word,
    /// The answer.
    said: Option<Said>,
    /// From its last byte to the server's end of the connection.
    pub after: Option<Duration>,
    /// That was a reset.
    reset: bool,
    /// Bytes after the answer.
    surplus: u64,
    /// What went otherwise.
    why: Option<String>,
}

/// What an answer says.
#[derive(Clone, Debug)]
struct Said {
    version: Version,
    status: u16,
    connection: Option<String>,
    keep_alive: Option<String>,
}

/// What became of the connection. The names stand in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Another request was answered on it.
    Kept,
    /// Closed, and the answer had said so.
    ClosedAnnounced,
    /// Closed, as the request had asked or as its version has it; the answer had not said so.
    ClosedAsAsked,
    /// Closed, and nobody had said so.
    ClosedUnannounced,
    /// Closed, although the answer had said `keep-alive`.
    ClosedThoughKeepAlive,
    /// Closed, as it had to be, but later than at once.
    ClosedLate,
    /// Not closed, although it had to be.
    OpenThoughClose,
    /// Bytes came that belong to no answer.
    Surplus,
    /// The connection was kept, but another request on it got no answer.
    Unusable,
    /// Closed or reset without an answer.
    NoAnswer,
    /// Neither an answer nor an end came.
    Silent,
    /// The answer does not end.
    Endless,
    /// No connection, or no HTTP.
    Failed,
    /// The user stopped.
    Stopped,
}

impl Word {
    pub fn name(self) -> &'static str {
        match self {
            Word::Kept => "kept",
            Word::ClosedAnnounced => "closed-announced",
            Word::ClosedAsAsked => "closed-as-asked",
            Word::ClosedUnannounced => "closed-unannounced",
            Word::ClosedThoughKeepAlive => "closed-though-keep-alive",
            Word::ClosedLate => "closed-late",
            Word::OpenThoughClose => "open-though-close",
            Word::Surplus => "surplus",
            Word::Unusable => "unusable",
            Word::NoAnswer => "no-answer",
            Word::Silent => "silent",
            Word::Endless => "endless",
            Word::Failed => "failed",
            Word::Stopped => "stopped",
        }
    }

    /// Nothing is amiss.
    pub fn is_well(self) -> bool {
        matches!(self, Word::Kept | Word::ClosedAnnounced | Word::ClosedAsAsked)
    }
}

/// How long an end is awaited that has to come.
pub(super) fn patience(prober: &Prober<'_>) -> Duration {
    prober.options.patience.min(prober.options.longest_wait)
}

pub(super) fn attempt(prober: &Prober<'_>, case: &Case, request: &Request) -> Attempt {
    let mut attempt = Attempt {
        word: Word::Failed,
        said: None,
        after: None,
        reset: false,
        surplus: 0,
        why: None,
    };
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(error) => {
            attempt.why = Some(error.to_string());
            attempt.word = if prober.stopped() { Word::Stopped } else { Word::Failed };
            return attempt;
        }
    };
    let exchange = connection.exchange(request, Writing::AtOnce, prober.options.patience);
    attempt.said = exchange.answer.as_ref().map(Said::of);
    let answer = match (exchange.ending, exchange.answer) {
        (Ending::Whole, Some(answer)) => answer,
        (ending, answer) => {
            attempt.word = match (&ending, &answer) {
                (Ending::Stopped, _) => Word::Stopped,
                (Ending::TimedOut, Some(_)) => Word::Endless,
                (Ending::TimedOut, None) => Word::Silent,
                (Ending::Closed | Ending::Broken(_), None) => Word::NoAnswer,
                _ => Word::Failed,
            };
            attempt.reset = matches!(ending, Ending::Broken(Broken::Reset));
            attempt.why = Some(match ending {
                Ending::TimedOut => format!("nothing more within {:.0} s", prober.options.patience.as_secs_f64()),
                other => other.to_string(),
            });
            return attempt;
        }
    };
    let says = answer.head.connection;
    // HTTP/1.0 persists only where both sides say so.
    let may_close = case.wants == Wants::KeptIfSaid && says != Close::KeepAlive;
    let has_to_close = case.wants == Wants::Closed || says.closes();
    let closed = |connection: &Connection, attempt: &mut Attempt, late: bool| {
        let ended = connection.log().ended_by_server();
        attempt.after = ended.map(|at| at.saturating_duration_since(answer.last));
        attempt.word = match says {
            _ if late && has_to_close => Word::ClosedLate,
            _ if says.closes() || answer.framing == Framing::Close => Word::ClosedAnnounced,
            _ if has_to_close || may_close => Word::ClosedAsAsked,
            Close::KeepAlive => Word::ClosedThoughKeepAlive,
            _ => Word::ClosedUnannounced,
        };
    };
    match wait(&mut connection, answer.last + soon(prober), &mut attempt) {
        Waited::Ended => {
            closed(&connection, &mut attempt, false);
            return attempt;
        }
        Waited::Stopped => {
            attempt.word = Word::Stopped;
            return attempt;
        }
        Waited::Open => {}
    }
    // Where the connection has to be closed, nobody reads what follows.
    if attempt.surplus > 0 && !has_to_close {
        attempt.word = Word::Surplus;
        return attempt;
    }
    if has_to_close {
        match wait(&mut connection, answer.last + patience(prober), &mut attempt) {
            Waited::Ended => closed(&connection, &mut attempt, true),
            Waited::Stopped => attempt.word = Word::Stopped,
            Waited::Open => attempt.word = Word::OpenThoughClose,
        }
        return attempt;
    }
    let another = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
    match another.ending {
        Ending::Whole => attempt.word = Word::Kept,
        Ending::Stopped => attempt.word = Word::Stopped,
        Ending::Closed | Ending::Broken(_) if another.answer.is_none() => {
            // Its close crossed ours: that is an idle limit's way, or a slow close; the time tells.
            closed(&connection, &mut attempt, false);
        }
        ending => {
            attempt.word = Word::Unusable;
            attempt.why = Some(match ending {
                Ending::NotHttp(_) => "another request is answered with what is no HTTP/1".to_owned(),
                Ending::TimedOut => format!(
                    "another request is not answered within {:.0} s",
                    prober.options.patience.as_secs_f64()
                ),
                _ => "the answer to another request is cut".to_owned(),
            });
        }
    }
    attempt
}

enum Waited {
    Ended,
    Open,
    Stopped,
}

/// Waits for the end; counts what comes before it.
fn wait(connection: &mut Connection, until: Instant, attempt: &mut Attempt) -> Waited {
    attempt.surplus += connection.take().len() as u64;
    // Where the end of the answer was the end of the connection, it has been told already.
    if connection.log().ended_by_server().is_some() {
        attempt.reset = connection.log().was_reset();
        return Waited::Ended;
    }
    loop {
        match connection.step(&[], until) {
            Step::Received(_) => attempt.surplus += connection.take().len() as u64,
            Step::Sent(_) => {}
            Step::TimedOut => return Waited::Open,
            Step::Stopped => return Waited::Stopped,
            Step::Closed | Step::Over => return Waited::Ended,
            Step::Broken(_) | Step::SendFailed(_) | Step::TlsBroken(_) => {
                attempt.reset = true;
                return Waited::Ended;
            }
        }
    }
}

impl Said {
    fn of(answer: &Answer) -> Said {
        Said {
            version: answer.head.version,
            status: answer.head.status,
            connection: answer.field("connection").map(short),
            keep_alive: answer.field("keep-alive").map(short),
        }
    }

    /// "HTTP/1.1 200, Connection: close".
    fn tell(&self) -> String {
        let version = match self.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let mut told = format!("HTTP/{version} {}", self.status);
        if let Some(connection) = &self.connection {
            told += &format!(", Connection: {connection}");
        }
        if let Some(keep_alive) = &self.keep_alive {
            told += &format!(", Keep-Alive: {keep_alive}");
        }
        told
    }
}

/// A stranger's words, fit for a terminal.
fn short(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl Attempt {
    /// "HTTP/1.1 200, Connection: close; closed after 0.001 s".
    pub fn tell(&self) -> String {
        let by = if self.reset { "reset" } else { "closed" };
        let after = self
            .after
            .map(|after| format!(" after {:.3} s", after.as_secs_f64()))
            .unwrap_or_default();
        let why = self.why.as_deref().unwrap_or_default();
        let done = match self.word {
            Word::Kept => "kept: another request is answered".to_owned(),
            Word::ClosedAnnounced | Word::ClosedAsAsked => format!("{by}{after}"),
            Word::ClosedUnannounced => format!("{by}{after}, and nothing said so"),
            Word::ClosedThoughKeepAlive => format!("{by}{after} all the same"),
            Word::ClosedLate => format!("{by} only{after}"),
            Word::OpenThoughClose => "left open all the same".to_owned(),
            Word::Surplus => format!("{} bytes after the answer belong to none", self.surplus),
            Word::Unusable => format!("kept, but {why}"),
            Word::NoAnswer => format!("{why} without an answer"),
            Word::Silent => format!("no answer: {why}"),
            Word::Endless => format!("the answer does not end: {why}"),
            Word::Failed => format!("failed: {why}"),
            Word::Stopped => "stopped".to_owned(),
        };
        match &self.said {
            Some(said) => format!("{}; {done}", said.tell()),
            None => done,
        }
    }
}
