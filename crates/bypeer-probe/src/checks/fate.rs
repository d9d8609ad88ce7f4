//! What became of an answer: for checks that try whether one arrives whole.

use std::time::{Duration, Instant};

use bypeer_wire::app::Method;

use crate::check::Loses;
use crate::connection::{Broken, Buffers, Connection, OpenError};
use crate::http::{Ending, Exchange};
use crate::prober::{Options, Prober};

/// A receive buffer as small as Linux gives it: almost all of an answer is still under way when the server closes, as on a long path.
pub(super) const SMALL: Buffers = Buffers {
    receive: Some(4096),
    send: None,
};

/// One answer, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Status, where the head came.
    pub status: Option<u16>,
    /// Bytes of its body that came.
    pub got: u64,
    /// Bytes of its body that its head declares.
    pub declared: Option<u64>,
    /// It said that the connection would close.
    pub announced: bool,
    /// Sending failed before all was sent.
    pub send_failed: Option<Broken>,
    /// Bytes behind it that nobody had asked for.
    pub surplus: usize,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It came whole, and the connection stayed open as long as was waited.
    Open,
    /// It came whole, and a FIN behind it.
    Fin,
    /// It came whole; so much later the connection was reset, without a FIN before: data was unread at the close.
    ResetBehind(Duration),
    /// It came whole, then a FIN, then a reset: data arrived at a closed socket.
    ResetAfterFin,
    /// A reset, or another error, before its end.
    Cut(Broken),
    /// A reset, or another error, before its first byte.
    Nothing(Broken),
    /// A FIN before its end.
    Short,
    /// A FIN before its first byte.
    Empty,
    /// It did not end in time.
    TimedOut,
    /// There is nothing to judge: no connection, another protocol.
    Odd(String),
    /// The user stopped.
    Stopped,
}

/// Some answers to the same request.
#[derive(Clone, Debug, Default)]
pub(super) struct Fates<'a>(pub Vec<&'a Seen>);

impl Seen {
    /// Of a connection that could not be had.
    pub fn unopened(error: &OpenError, prober: &Prober<'_>) -> Seen {
        Seen::without_answer(if prober.stopped() {
            Fate::Stopped
        } else {
            Fate::Odd(error.to_string())
        })
    }

    /// Without an answer.
    pub fn without_answer(fate: Fate) -> Seen {
        Seen {
            status: None,
            got: 0,
            declared: None,
            announced: false,
            send_failed: None,
            surplus: 0,
            fate,
        }
    }

    /// Of a whole answer, when it is known what came behind it.
    pub fn whole(exchange: &Exchange, fate: Fate) -> Seen {
        let answer = exchange.answer.as_ref();
        Seen {
            status: answer.map(|answer| answer.head.status),
            got: answer.map_or(0, |answer| answer.body_len),
            declared: answer.and_then(|answer| answer.declared),
            announced: answer.is_some_and(|answer| answer.head.connection.closes()),
            send_failed: exchange.send_failed,
            surplus: 0,
            fate,
        }
    }

    /// Reads the answer to what was sent, and for a little while what comes behind it.
    pub fn read(connection: &mut Connection, prober: &Prober<'_>, method: &Method) -> Seen {
        let exchange = connection.answer(method, Instant::now() + prober.options.patience);
        Seen::of(connection, prober, &exchange)
    }

    /// Of an exchange, after a look at what comes behind it.
    pub fn of(connection: &mut Connection, prober: &Prober<'_>, exchange: &Exchange) -> Seen {
        let last = connection.log().last_received.unwrap_or_else(Instant::now);
        let mut surplus = 0;
        let fate = match &exchange.ending {
            Ending::Whole => {
                let after = connection.afterwards(Instant::now() + behind(prober));
                surplus = after.surplus;
                match (after.reset, after.fin) {
                    _ if prober.stopped() => Fate::Stopped,
                    (Some(_), Some(_)) => Fate::ResetAfterFin,
                    (Some(at), None) => Fate::ResetBehind(at.saturating_duration_since(last)),
                    (None, Some(_)) => Fate::Fin,
                    (None, None) => Fate::Open,
                }
            }
            Ending::Broken(broken) if exchange.answer.is_some() => Fate::Cut(*broken),
            Ending::Broken(broken) => Fate::Nothing(*broken),
            Ending::Closed if exchange.answer.is_some() => Fate::Short,
            Ending::Closed => Fate::Empty,
            Ending::TimedOut => Fate::TimedOut,
            Ending::Stopped => Fate::Stopped,
            odd @ (Ending::NotHttp(_) | Ending::TlsBroken(_)) => Fate::Odd(odd.to_string()),
        };
        Seen {
            surplus,
            ..Seen::whole(exchange, fate)
        }
    }

    /// The answer came whole.
    pub fn is_whole(&self) -> bool {
        matches!(
            self.fate,
            Fate::Open | Fate::Fin | Fate::ResetBehind(_) | Fate::ResetAfterFin
        )
    }

    /// A reset, or another error, took the answer or its end.
    pub fn is_lost(&self) -> bool {
        matches!(self.fate, Fate::Cut(_) | Fate::Nothing(_))
    }

    /// There is something to judge.
    pub fn is_judged(&self) -> bool {
        !matches!(self.fate, Fate::Odd(_) | Fate::Stopped)
    }
}

impl<'a> Fates<'a> {
    /// Those for which `which` is true.
    pub fn of<T: 'a>(all: &'a [T], which: impl Fn(&'a T) -> Option<&'a Seen>) -> Fates<'a> {
        Fates(all.iter().filter_map(which).filter(|seen| seen.is_judged()).collect())
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// For how many `is` is true.
    pub fn that(&self, is: impl Fn(&Seen) -> bool) -> usize {
        self.0.iter().filter(|seen| is(seen)).count()
    }

    /// Lost, wholly or in part, to a reset.
    pub fn lost(&self) -> usize {
        self.that(Seen::is_lost)
    }

    /// Not whole, for whatever reason.
    pub fn missing(&self) -> usize {
        self.count() - self.that(Seen::is_whole)
    }

    /// At least so many, each whole, and no reset for unread data behind any: something to compare with.
    pub fn are_well(&self, at_least: usize) -> bool {
        self.count() >= at_least && self.missing() == 0 && self.reset_behind() == 0
    }

    /// Whole, with a reset for unread data right behind.
    pub fn reset_behind(&self) -> usize {
        self.that(|seen| matches!(seen.fate, Fate::ResetBehind(_)))
    }

    /// The largest body that came whole or was declared, bytes.
    pub fn size(&self) -> u64 {
        let size = |seen: &&Seen| seen.declared.unwrap_or(0).max(seen.got);
        self.0.iter().map(size).max().unwrap_or(0)
    }

    /// The status of most use: the first that came.
    pub fn status(&self) -> Option<u16> {
        self.0.iter().find_map(|seen| seen.status)
    }

    /// What is lost where some were: the answer's end, or all that told of it.
    pub fn loses(&self) -> Loses {
        if self.0.iter().any(|seen| matches!(seen.fate, Fate::Cut(_))) {
            Loses::Answer
        } else {
            Loses::Outcome
        }
    }

    /// What became of them: "3 of 5 cut by a reset, 2 whole".
    pub fn words(&self) -> String {
        let total = self.count();
        let of = |is: fn(&Fate) -> bool| self.that(|seen| is(&seen.fate));
        let kinds = [
            (of(|fate| matches!(fate, Fate::Cut(_))), "cut by a reset"),
            (of(|fate| matches!(fate, Fate::Nothing(_))), "reset before any of it"),
            (
                of(|fate| matches!(fate, Fate::ResetBehind(_))),
                "whole with a reset right behind",
            ),
            (of(|fate| *fate == Fate::ResetAfterFin), "whole, then FIN, then a reset"),
            (of(|fate| matches!(fate, Fate::Open | Fate::Fin)), "whole"),
            (of(|fate| *fate == Fate::Short), "cut short by a FIN"),
            (of(|fate| *fate == Fate::Empty), "closed without an answer"),
            (of(|fate| *fate == Fate::TimedOut), "not answered in time"),
        ];
        let parts: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .enumerate()
            .map(|(index, (count, words))| match index {
                0 => format!("{count} of {total} {words}"),
                _ => format!("{count} {words}"),
            })
            .collect();
        if parts.is_empty() {
            "none came so far".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// How much of the cut ones came: "4096 to 12288 of 614400 bytes, ECONNRESET"; `None` where none was.
    pub fn cut_words(&self) -> Option<String> {
        let cut: Vec<(u64, Option<u64>, Broken)> = self
            .0
            .iter()
            .filter_map(|seen| match seen.fate {
                Fate::Cut(broken) | Fate::Nothing(broken) => Some((seen.got, seen.declared, broken)),
                _ => None,
            })
            .collect();
        let (_, _, broken) = *cut.first()?;
        let low = cut.iter().map(|(got, _, _)| *got).min()?;
        let high = cut.iter().map(|(got, _, _)| *got).max()?;
        let range = if low == high {
            format!("{low}")
        } else {
            format!("{low} to {high}")
        };
        let declared = cut.iter().find_map(|(_, declared, _)| *declared);
        Some(match declared {
            Some(declared) => format!("{range} of {declared} bytes of the body came, then {broken}"),
            None => format!("{range} bytes of the body came, then {broken}"),
        })
    }
}

/// How long a reset may take to show behind an answer.
fn behind(prober: &Prober<'_>) -> Duration {
    Duration::from_millis(150) + prober.round_trip * 2
}

/// How long to leave an answer unread: the server has written it and closed by then.
pub(super) fn unread_for(prober: &Prober<'_>) -> Duration {
    (prober.first_took + prober.round_trip * 2 + Duration::from_millis(120)).min(Duration::from_secs(2))
}

/// Most that one connection of such a check takes, with so many answers on it.
pub(super) fn longest(options: &Options, answers: u32) -> Duration {
    options.handshake_patience * 2 + (options.patience + Duration::from_secs(3)) * answers
}

#[cfg(test)]
mod tests;
