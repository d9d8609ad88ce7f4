//! The sink that tells: a log, metrics, findings, and lines for whoever runs the guard.

use std::cell::RefCell;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lingering::Outcome;

use super::found::{Found, found};
use super::log::AccessLog;
use super::metrics::Metrics;
use super::record;
use super::tally::{Tally, is_told};
use super::{Change, Ending, Notice, Refusal, Sink};
use crate::account::{Account, Attempt};
use crate::config::Upstream;
use crate::failure::Failure;
use crate::upstream::Event;

/// Takes a line for whoever runs the guard.
pub type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// Servers and kinds of failures for which no cause is named, at most.
const UNNAMED_MOST: usize = 256;

/// Tells what happens.
pub struct Reporter {
    log: Option<AccessLog>,
    metrics: Arc<Metrics>,
    tally: Tally,
    /// The server behind, as it is configured.
    behind: Mutex<String>,
    /// Failures for which no cause is named, by server and kind.
    unnamed: Mutex<Vec<(String, Discriminant<Failure>, Unnamed)>>,
    /// Where lines for people go.
    tell: Tell,
    /// When notices that repeat themselves were said last.
    said: Mutex<Vec<(Discriminant<Notice>, Instant)>>,
    /// What the server's idle limit is said to be, in milliseconds; 0: nothing is said.
    idle: AtomicU64,
}

/// Failures of a kind.
struct Unnamed {
    count: u64,
    first: String,
    /// Each was told of in the same words.
    alike: bool,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// A line as it is made: each worker has its own.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Reporter {
    /// `upstream`: for the server's name, and its idle limit, to be contradicted where it is wrong.
    pub fn new(log: Option<AccessLog>, metrics: Arc<Metrics>, upstream: &Upstream, tell: Tell) -> Reporter {
        let reporter = Reporter {
            log,
            metrics,
            tally: Tally::default(),
            behind: Mutex::default(),
            unnamed: Mutex::default(),
            tell,
            idle: AtomicU64::new(0),
            said: Mutex::default(),
        };
        reporter.expect(upstream);
        reporter
    }

    /// The server behind from now on, and what `upstream.idle` says of it.
    pub fn expect(&self, upstream: &Upstream) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = behind(upstream);
        let millis = upstream
            .idle
            .map_or(0, |idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        self.idle.store(millis, Relaxed);
    }

    /// Opens the log again by its name.
    pub fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Writes what the log still has, for `within` at most, and says what is lost because whoever reads it takes nothing.
    pub fn finish_log(&self, within: Duration) {
        let Some(log) = &self.log else { return };
        let lost = log.finish(within);
        self.metrics.set_log_dropped(log.dropped());
        if lost > 0 {
            (self.tell)(&format!(
                "{lost} lines of the access log are lost: they could not be written within {} s",
                within.as_secs()
            ));
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What was found.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(log) = &self.log else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            write(line);
            log.line(line);
        });
        let dropped = log.dropped();
        if dropped > 0 {
            self.metrics.set_log_dropped(dropped);
        }
    }

    /// Whether it was said a moment ago, and is of a kind that comes with every client.
    fn is_told_again(&self, notice: &Notice) -> bool {
        /// Between two of a kind.
        const PAUSE: Duration = Duration::from_secs(10);
        let repeats = matches!(
            notice,
            Notice::Descriptors { .. } | Notice::ConnectionLimit { .. } | Notice::AcceptFailed(_)
        );
        if !repeats {
            return false;
        }
        let kind = discriminant(notice);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, at)| at.elapsed() < PAUSE);
        let again = said.iter().any(|(known, _)| *known == kind);
        if !again {
            said.push((kind, Instant::now()));
        }
        again
    }

    fn behind(&self) -> String {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names that are not found, certificates, timeouts: no cause of `explain` is behind them, and whoever runs the guard must know of them.
    fn tell_unnamed(&self, attempt: Option<&Attempt>, failure: &Failure, saved: bool) {
        let server = match attempt {
            Some(attempt) => attempt.to.to_string(),
            None => self.behind(),
        };
        let kind = discriminant(failure);
        let words = failure.to_string();
        let (count, alike) = {
            let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
            let full = unnamed.len() >= UNNAMED_MOST;
            match unnamed
                .iter_mut()
                .find(|(known, other, _)| *known == server && *other == kind)
            {
                Some((_, _, known)) => {
                    known.count += 1;
                    known.alike &= known.first == words;
                    (known.count, known.alike)
                }
                None if full => return,
                None => {
                    let first = words.clone();
                    let (count, alike) = (1, true);
                    unnamed.push((server.clone(), kind, Unnamed { count, first, alike }));
                    (count, alike)
                }
            }
        };
        if !is_told(count) {
            return;
        }
        let fate = if saved { "; the client got its answer" } else { "" };
        let times = match (count, alike) {
            (1, _) => String::new(),
            (_, true) => format!(", {count} times so far"),
            (_, false) => format!("; the last of {count} such failures, not all for the same reason"),
        };
        (self.tell)(&format!("{server}: {words}{fate}{times}"));
    }

    fn tell_of(&self, found: &Found, count: u64) {
        let server = found
            .server
            .as_deref()
            .map_or_else(String::new, |server| format!(" at {server}"));
        let rivals: Vec<&str> = found.rivals.iter().map(|cause| cause.id).collect();
        let rivals = if rivals.is_empty() {
            String::new()
        } else {
            format!(" (or {})", rivals.join(", "))
        };
        let times = if count == 1 {
            String::new()
        } else {
            format!(", {count} times so far")
        };
        let fate = if found.saved { "; the client got its answer" } else { "" };
        (self.tell)(&format!(
            "{} {}{rivals}{server}: {}{fate}{times}",
            found.confidence, found.cause.id, found.verdict
        ));
    }
}

/// Whether a cause of `explain` is behind it: then it is a finding.
fn has_cause(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused | Failure::ConnectTimeout)
}

fn behind(upstream: &Upstream) -> String {
    let names: Vec<String> = upstream.to.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl Sink for Reporter {
    fn exchange(&self, account: &Account) {
        let found = found(account, || self.behind());
        let ended = account.ended.unwrap_or_else(Instant::now);
        self.metrics
            .exchange(account, &found, ended.saturating_duration_since(account.began));
        for found in &found {
            if let Some(count) = self.tally.add(account, found) {
                self.tell_of(found, count);
            }
        }
        let ending = Ending::of(account);
        let saved = matches!(ending, Ending::Saved(_));
        // An address that no connection came of is told of whatever became of the request.
        for attempt in account.attempts.iter().filter(|attempt| attempt.connection == 0) {
            if let Some(failure) = attempt.failure.as_ref().filter(|failure| !has_cause(failure)) {
                self.tell_unnamed(Some(attempt), failure, saved);
            }
        }
        if let Some(failure) = &account.failure
            && matches!(ending, Ending::Failed | Ending::Cut)
            && (found.is_empty() || failure.is_of_connecting() && !has_cause(failure))
            && !matches!(failure, Failure::DrainEnded)
        {
            let last = account.attempts.last().filter(|attempt| attempt.failure.is_none());
            self.tell_unnamed(last, failure, false);
        }
        self.line(|line| record::write_exchange(line, account, &found));
    }

    fn refused(&self, client: SocketAddr, refusal: Refusal) {
        self.metrics.refused();
        self.line(|line| record::write_refusal(line, client, &refusal));
    }

    fn client(&self, _: SocketAddr, change: Change) {
        self.metrics.client(change);
    }

    fn server(&self, event: &Event<'_>) {
        self.metrics.server(event);
        let said = Duration::from_millis(self.idle.load(Relaxed));
        match event {
            Event::ClosedIdle { to, idle, .. } if *idle < said && self.metrics.closed_idle() == 1 => {
                (self.tell)(&format!(
                    "{to} closed an idle connection after {:.1} s, and upstream.idle says {:.1} s: lower it, or leave it to be learned",
                    idle.as_secs_f64(),
                    said.as_secs_f64()
                ))
            }
            Event::Unsolicited {
                to, bytes, requests, ..
            } if self.metrics.unsolicited() == 1 => (self.tell)(&format!(
                "{to} sent {bytes} bytes on an idle connection after {requests} requests, and no request had asked for them: a good-bye, or \
                 the answer to another request, and then earlier answers on that connection may have been wrong; it was given up, and for five minutes \
                 each request has a connection of its own (bypeer_guard_unsolicited_total counts)"
            )),
            _ => {}
        }
    }

    fn closed(&self, _: SocketAddr, outcome: &Outcome) {
        self.metrics.closed(outcome);
    }

    fn notice(&self, notice: &Notice) {
        if !self.is_told_again(notice) {
            (self.tell)(&notice.to_string());
        }
    }
}
