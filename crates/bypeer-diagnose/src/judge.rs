use std::collections::VecDeque;
use std::time::Duration;

use bypeer_wire::Timestamp;
use bypeer_wire::app::Notice;
use bypeer_wire::conn::{Connection, Ending};

use crate::accounts::Counter;
use crate::ledger::Ledger;
use crate::misdelivered::Deliveries;
use crate::story::{Stand, tls_closed_silently, tls_record_cut};
use crate::{Accounts, Finding, Insight, NotJudged, Story, Surroundings, arbiter, groups, hops};

/// Takes connections as they end, gives findings.
///
/// A finding waits until its surroundings are known: what other connections of the same server did a moment later can
/// turn "the response is incomplete" into "the process was killed". Healthy connections are counted and let go at once.
#[derive(Default)]
pub struct Judge {
    ledger: Ledger,
    waiting: VecDeque<Box<Connection>>,
    /// Those with a part in a suspicion that is not settled: they wait longer.
    suspected: VecDeque<Box<Connection>>,
    deliveries: Deliveries,
    overflow: Vec<Finding>,
    counter: Counter,
    groups: groups::Groups,
    unexplained: Vec<u32>,
}

/// What is left to say at the end.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Findings not yet handed out by [`Judge::ripe`], in the order in which the connections ended.
    pub findings: Vec<Finding>,
    /// What only several connections together show.
    pub insights: Vec<Insight>,
    /// Streams that ended abnormally in a way that no cause describes, at most 100.
    pub unexplained: Vec<u32>,
    /// Every connection, accounted for; including those handed out before.
    pub accounts: Accounts,
}

/// Streams without an explanation that are named.
pub const UNEXPLAINED: usize = 100;

/// How long a live finding waits for its surroundings.
const RIPE: Duration = Duration::from_secs(3);

/// Connections held at once because an answer on them may be another's. About 4 kB each.
const SUSPECTED: usize = 4096;

/// Suspicious connections held at once; beyond this the oldest is judged with what is known. About 4 kB each.
const HELD: usize = 4096;

impl Judge {
    /// A judge who has seen nothing.
    pub fn new() -> Judge {
        Judge::default()
    }

    /// Takes what was said on a connection, before its record comes, in the order of [`bypeer_wire::conn::Table::notices`].
    pub fn notice(&mut self, notice: &Notice) {
        self.deliveries.take(&notice.into());
    }

    /// Takes a connection that has ended, or that the capture's end cut off.
    pub fn push(&mut self, connection: Connection) {
        self.ledger.note(&connection);
        self.deliveries.note(&connection);
        self.counter.seen();
        if self.deliveries.is_open(connection.stream) {
            self.suspected.push_back(Box::new(connection));
            self.hold_few(SUSPECTED, |judge| &mut judge.suspected);
            return;
        }
        if ended_well(&connection) && !self.deliveries.concerns(connection.stream) {
            self.counter.well(&connection);
            return;
        }
        self.waiting.push_back(Box::new(connection));
        self.hold_few(HELD, |judge| &mut judge.waiting);
    }

    /// Judges the oldest with what is known, when there are too many.
    fn hold_few(&mut self, most: usize, queue: fn(&mut Judge) -> &mut VecDeque<Box<Connection>>) {
        if queue(self).len() > most
            && let Some(oldest) = queue(self).pop_front()
            && let Some(finding) = self.judge(&oldest)
        {
            self.overflow.push(finding);
        }
    }

    /// Findings about connections that ended long enough before `now` for their surroundings to be known: for a live
    /// capture, where one does not want to wait for the end. Without calls of this all findings come from `finish`,
    /// except that memory is bounded: when too many are held, the oldest are handed out here, whatever `now` is.
    pub fn ripe(&mut self, now: Timestamp) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.overflow);
        self.deliveries.advance(now);
        let (settled, suspected) = std::mem::take(&mut self.suspected).into_iter().partition(|connection| {
            now.since(connection.ended.time) >= RIPE && !self.deliveries.is_open(connection.stream)
        });
        self.suspected = suspected;
        let settled: VecDeque<Box<Connection>> = settled;
        for connection in settled {
            findings.extend(self.judge(&connection));
        }
        while self
            .waiting
            .front()
            .is_some_and(|connection| now.since(connection.ended.time) >= RIPE)
        {
            if let Some(connection) = self.waiting.pop_front() {
                findings.extend(self.judge(&connection));
            }
        }
        hops::link(&mut findings);
        findings
    }

    /// The capture is over.
    pub fn finish(mut self) -> Verdicts {
        let mut findings = std::mem::take(&mut self.overflow);
        self.deliveries.finish();
        let mut left: Vec<Box<Connection>> = self.waiting.drain(..).chain(self.suspected.drain(..)).collect();
        left.sort_by_key(|connection| connection.ended.number);
        for connection in left {
            findings.extend(self.judge(&connection));
        }
        hops::link(&mut findings);
        let insights = self.groups.insights(&self.ledger);
        Verdicts {
            findings,
            insights,
            unexplained: self.unexplained,
            accounts: self.counter.into_accounts(),
        }
    }

    fn judge(&mut self, connection: &Connection) -> Option<Finding> {
        let mut around = self.ledger.around(connection);
        around.astray = self.deliveries.astray(connection);
        self.deliveries.forget(connection.stream);
        // Recorded in another order than it came in: which answer was for which request is not known, and by its end it was well.
        let disordered = around.astray.is_disordered && connection.resets.is_empty();
        if disordered || around.astray.is_empty() && ended_well(connection) {
            self.counter.well(connection);
            return None;
        }
        let story = Story {
            connection,
            around: &around,
        };
        let Some(finding) = arbiter::decide(&story) else {
            let abnormal = abnormal(&story);
            if abnormal == Some(NotJudged::NoCauseFits) && self.unexplained.len() < UNEXPLAINED {
                self.unexplained.push(connection.stream);
            }
            self.counter.no_cause(connection, abnormal);
            return None;
        };
        self.counter.finding(&finding);
        self.groups.note(&story, &finding);
        Some(finding)
    }
}

/// Nothing about it needs an explanation. Errs on the side of looking closer.
fn ended_well(connection: &Connection) -> bool {
    let around = Surroundings::default();
    let story = Story {
        connection,
        around: &around,
    };
    let silent = |flow: &bypeer_wire::conn::Flow| {
        flow.unanswered_retransmissions >= 2
            || flow.unanswered_probes >= 2
            || flow.unacked() > 0 && flow.retransmissions >= 3
    };
    // What is left of a connection whose record was made before: stray segments of a story that has been told.
    if connection.reused_tuple && !connection.seen_from_start() {
        return true;
    }
    connection.resets_total == 0
        && connection.icmp.is_empty()
        && connection.established()
        && !silent(&connection.to_server)
        && !silent(&connection.to_client)
        && connection.app.surplus_response_bytes == 0
        && !tls_closed_silently(connection)
        && !tls_record_cut(connection)
        && !story.chunk_was_broken()
        && matches!(story.stand(), Stand::Idle)
}

/// It ended, and not as connections should.
fn abnormal(story: &Story<'_>) -> Option<NotJudged> {
    let connection = story.connection;
    if story.one_sided() {
        return Some(NotJudged::TooLittleSeen);
    }
    if connection.resets_total > 0 {
        return Some(NotJudged::NoCauseFits);
    }
    if connection.ending == Ending::Evicted {
        return Some(NotJudged::Evicted);
    }
    let closed = story.server_fin().is_some() || story.client_fin().is_some();
    match story.stand() {
        Stand::Unanswered(exchange) | Stand::Answering(exchange) if closed && story.understood(exchange) => {
            Some(NotJudged::NoCauseFits)
        }
        _ if !connection.established() && connection.handshake.syns > 1 => Some(NotJudged::NoCauseFits),
        _ => None,
    }
}
