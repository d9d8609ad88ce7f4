//! A connection that is kept busy until it ends, and what ended it: the number of its requests, its age, or the moment.

use std::time::{Duration, Instant};

use bypeer_wire::app::Framing;

use crate::connection::Step;
use crate::habit::Spread;
use crate::http::{Ending, Writing};
use crate::prober::Prober;

/// How a connection is kept busy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between an answer and the next request.
    pub pause: Duration,
    /// Requests at most.
    pub requests: u32,
    /// Bytes of answers at most.
    pub bytes: u64,
    /// No request after that.
    pub until: Instant,
}

/// One connection, from its opening to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// It was open.
    pub began: Instant,
    /// The server ended it.
    pub ended: Option<Instant>,
    /// The last answer was whole.
    pub last_answer: Instant,
    /// Requests that were answered.
    pub answered: u32,
    /// The last answer said that the connection would close.
    pub announced: bool,
    /// `Keep-Alive: max` of the first answer.
    pub first_max: Option<u32>,
    /// `Keep-Alive: max` of the last answer.
    pub last_max: Option<u32>,
    /// How it ended.
    pub end: End,
}

/// How a busy connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server closed between two requests.
    Closed,
    /// The server reset it between two requests.
    Reset,
    /// A request was sent, and the server closed or reset without an answer to it.
    Lost,
    /// A bound was reached first.
    Bound,
    /// The server asks to be asked less often: its status.
    Slowed(u16),
    /// It did not come so far: why.
    Never(String),
    /// The user stopped.
    Stopped,
}

/// What a limit goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// As many requests on each.
    Requests(u32),
    /// As old each.
    Age(Spread),
    /// All at the same moment, whatever their age: a restart, or a worker that was retired.
    Moment,
    /// It cannot be told.
    Unknown,
}

/// An announced close has to happen within this time, or we close.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

impl Life {
    /// The server ended it.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// From its opening to its end.
    pub fn age(&self) -> Option<Duration> {
        Some(self.ended?.saturating_duration_since(self.began))
    }

    /// From the last answer to its end.
    pub fn idle(&self) -> Option<Duration> {
        Some(self.ended?.saturating_duration_since(self.last_answer))
    }
}

/// Opens a connection and keeps it busy until the server ends it or a bound is reached.
pub(super) fn live(prober: &Prober<'_>, pace: &Pace) -> Life {
    let now = Instant::now();
    let mut life = Life {
        began: now,
        ended: None,
        last_answer: now,
        answered: 0,
        announced: false,
        first_max: None,
        last_max: None,
        end: End::Bound,
    };
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(error) => {
            life.end = if prober.stopped() {
                End::Stopped
            } else {
                End::Never(error.to_string())
            };
            return life;
        }
    };
    life.began = connection.log().opened;
    let mut bytes = 0;
    while life.answered < pace.requests && bytes < pace.bytes && Instant::now() < pace.until {
        let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
        let answer = match (exchange.ending, exchange.answer) {
            (Ending::Whole, Some(answer)) => answer,
            (Ending::Stopped, _) => {
                life.end = End::Stopped;
                return life;
            }
            (Ending::Closed | Ending::Broken(_), _) if life.answered > 0 => {
                life.ended = connection.log().ended_by_server();
                life.end = End::Lost;
                return life;
            }
            (Ending::TimedOut, Some(_)) => {
                life.end = End::Never("the answer does not end".to_owned());
                return life;
            }
            (ending, _) => {
                life.end = End::Never(format!("a request got no answer ({ending})"));
                return life;
            }
        };
        life.answered += 1;
        life.last_answer = answer.last;
        life.announced = answer.head.connection.closes();
        life.last_max = answer.head.keep_alive_max;
        if life.answered == 1 {
            life.first_max = life.last_max;
        }
        bytes += answer.head_len + answer.body_len;
        if matches!(answer.head.status, 429 | 503) && answer.head.status != prober.first.head.status {
            life.end = End::Slowed(answer.head.status);
            return life;
        }
        if answer.framing == Framing::Close {
            // Its end was the connection's: every client knows that from the head.
            life.announced = true;
            life.ended = connection.log().ended_by_server();
            life.end = End::Closed;
            return life;
        }
        let pause_until = if life.announced {
            Instant::now() + CLOSES_WITHIN
        } else {
            // Even the last request's close is waited for, so that a limit that equals the bound is seen.
            Instant::now() + pace.pause
        };
        loop {
            match connection.step(&[], pause_until) {
                Step::TimedOut => break,
                Step::Received(_) => drop(connection.take()),
                Step::Sent(_) => {}
                Step::Stopped => {
                    life.end = End::Stopped;
                    return life;
                }
                step => {
                    life.ended = connection.log().ended_by_server();
                    life.end = match step {
                        Step::Closed | Step::Over => End::Closed,
                        _ => End::Reset,
                    };
                    return life;
                }
            }
        }
        if life.announced {
            // It said that this was the last one: that counts, whoever closes.
            life.ended = Some(Instant::now());
            life.end = End::Closed;
            return life;
        }
    }
    life
}

/// What ended these: requests, when their number agrees although the ages do not; age, the other way round. `apart` is what two ages may
/// differ by and still be one limit.
pub(super) fn by(lives: &[Life], apart: Duration) -> By {
    let over: Vec<(&Life, Instant, Duration)> = lives
        .iter()
        .filter_map(|life| Some((life, life.ended?, life.age()?)))
        .collect();
    if over.len() < 2 || over.len() < lives.len() {
        return By::Unknown;
    }
    let span = |of: &dyn Fn(&(&Life, Instant, Duration)) -> Duration| {
        let all = || over.iter().map(of);
        let (low, high) = (all().min().unwrap_or_default(), all().max().unwrap_or_default());
        (high - low, high)
    };
    let first = over.iter().map(|(life, ..)| life.began).min().unwrap_or(over[0].1);
    let (ages_apart, oldest) = span(&|(_, _, age)| *age);
    let (starts_apart, _) = span(&|(life, ..)| life.began.saturating_duration_since(first));
    let (ends_apart, _) = span(&|(_, ended, _)| ended.saturating_duration_since(first));
    let fewest = over.iter().map(|(life, ..)| life.answered).min().unwrap_or(0);
    let most = over.iter().map(|(life, ..)| life.answered).max().unwrap_or(0);
    // A request that was under way makes one more or less.
    let same_number = most - fewest <= 1;
    let same_age = ages_apart <= apart + oldest / 20;
    match (same_number, same_age) {
        (true, false) => By::Requests(fewest),
        // Connections that began together and end together are as old, and tell nothing.
        (false, _) if starts_apart > apart && ends_apart < starts_apart / 2 => By::Moment,
        (false, true) if starts_apart > apart => {
            Spread::of(over.iter().map(|(_, _, age)| *age)).map_or(By::Unknown, By::Age)
        }
        _ => By::Unknown,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn life(base: Instant, began: u64, ended: u64, answered: u32) -> Life {
        Life {
            began: base + Duration::from_millis(began),
            ended: Some(base + Duration::from_millis(ended)),
            last_answer: base,
            answered,
            announced: false,
            first_max: None,
            last_max: None,
            end: End::Closed,
        }
    }

    #[test]
    fn two_lives_tell_a_number_from_an_age_and_from_a_moment() {
        let base = Instant::now();
        let tell = |a: (u64, u64, u32), b: (u64, u64, u32)| {
            by(
                &[life(base, a.0, a.1, a.2), life(base, b.0, b.1, b.2)],
                Duration::from_millis(1500),
            )
        };
        // 100 requests, one a second and five in three seconds.
        assert_eq!(tell((0, 100_000, 100), (4000, 64_000, 100)), By::Requests(100));
        assert_eq!(tell((0, 101_000, 101), (4000, 64_000, 100)), By::Requests(100));
        // A minute, whatever the number.
        assert!(matches!(tell((0, 60_000, 60), (4000, 64_300, 100)), By::Age(_)));
        // One restart.
        assert_eq!(tell((0, 60_000, 60), (4000, 60_010, 93)), By::Moment);
        // They agree in nothing.
        assert_eq!(tell((0, 60_000, 60), (4000, 30_000, 43)), By::Unknown);
        // They agree in everything: too short to tell.
        assert_eq!(tell((0, 1000, 2), (4000, 5000, 3)), By::Unknown);
        // They began together.
        assert_eq!(tell((0, 60_000, 60), (30, 60_010, 100)), By::Unknown);
        assert_eq!(by(&[life(base, 0, 5000, 5)], Duration::ZERO), By::Unknown);
    }

    #[test]
    fn one_that_did_not_end_leaves_it_open() {
        let base = Instant::now();
        let mut kept = life(base, 0, 100_000, 500);
        kept.ended = None;
        kept.end = End::Bound;
        assert_eq!(
            by(&[life(base, 0, 5000, 100), kept], Duration::from_millis(100)),
            By::Unknown
        );
    }
}
