//! What only several connections together show: idle limits, request limits, closes after every answer, bursts.

use std::collections::BTreeMap;
use std::time::Duration;

use bypeer_wire::app::Exchange;
use bypeer_wire::{Endpoint, Timestamp};

use crate::causes::{self, proof};
use crate::ledger::{Ledger, TOGETHER};
use crate::{Finding, Insight, Story};

/// Notes about the failures of each server, gathered while they are judged.
#[derive(Debug, Default)]
pub struct Groups {
    reuses: BTreeMap<Endpoint, Reuses>,
    deaths: BTreeMap<Endpoint, Deaths>,
}

#[derive(Debug, Default)]
struct Reuses {
    failed: u32,
    longest_idle: Duration,
}

/// The largest number of deaths in one moment.
#[derive(Debug, Default)]
struct Deaths {
    last: Timestamp,
    run: u32,
    most: u32,
}

/// Causes that mean: a request fell into a closing connection.
const RACES: &[&str] = &[
    "keepalive-race-unannounced-close",
    "idle-timeout-inversion",
    "unannounced-close-each-response",
    "proxy-max-requests",
];

/// Servers with failures that are remembered.
const SERVERS: usize = 10_000;

impl Groups {
    /// Takes note of a finding.
    pub fn note(&mut self, story: &Story<'_>, finding: &Finding) {
        if RACES.contains(&finding.cause.id)
            && (self.reuses.len() < SERVERS || self.reuses.contains_key(&finding.server))
        {
            let reuses = self.reuses.entry(finding.server).or_default();
            reuses.failed += 1;
            let idle = story
                .unfinished()
                .and_then(|exchange: &Exchange| story.idle_before(exchange))
                .unwrap_or_default();
            reuses.longest_idle = reuses.longest_idle.max(idle);
        }
        if finding.cause.id == "process-killed" && self.deaths.len() < SERVERS {
            let deaths = self.deaths.entry(finding.server).or_default();
            let together = finding.ended.since(deaths.last).max(deaths.last.since(finding.ended)) <= TOGETHER;
            deaths.run = if together { deaths.run + 1 } else { 1 };
            deaths.most = deaths.most.max(deaths.run);
            deaths.last = finding.ended;
        }
    }

    /// What they amount to.
    pub fn insights(&self, ledger: &Ledger) -> Vec<Insight> {
        let mut insights = Vec::new();
        for (server, around) in ledger.limits() {
            let reuses = self.reuses.get(&server);
            if let (Some(limit), Some(reuses)) = (around.idle_limit, reuses)
                && let Some(cause) = causes::find("idle-timeout-inversion")
            {
                let margin = limit
                    .median
                    .saturating_sub(Duration::from_secs(1))
                    .max(limit.median / 2);
                insights.push(Insight {
                    cause,
                    server,
                    what: format!(
                        "the server closes after {} idle ± {} (seen on {} connections); a client reused a connection after {}: set the client's idle limit below {}",
                        proof::time(limit.median),
                        proof::time(limit.spread),
                        limit.count,
                        proof::time(reuses.longest_idle),
                        proof::time(margin),
                    ),
                    connections: limit.count + reuses.failed,
                });
            }
            if around.closed_after_answer >= 3
                && around.closed_after_answer * 10 >= around.could_close_after_answer * 8
                && let Some(cause) = causes::find("unannounced-close-each-response")
                && around.request_limit.is_none()
            {
                insights.push(Insight {
                    cause,
                    server,
                    what: format!(
                        "the server closed right after its answer on {} of {} connections, and never said Connection: close",
                        around.closed_after_answer, around.could_close_after_answer
                    ),
                    connections: around.could_close_after_answer,
                });
            }
            if let (Some((limit, count)), Some(cause)) = (around.request_limit, causes::find("proxy-max-requests")) {
                insights.push(Insight {
                    cause,
                    server,
                    what: format!(
                        "the server closes after {limit} requests without announcing it (seen on {count} connections)"
                    ),
                    connections: count,
                });
            }
            if let (Some(deaths), Some(cause)) = (self.deaths.get(&server), causes::find("process-killed"))
                && deaths.most > 1
            {
                insights.push(Insight {
                    cause,
                    server,
                    what: format!(
                        "{0} connections of this server ended at the same moment: one event, not {0} faults",
                        deaths.most
                    ),
                    connections: deaths.most,
                });
            }
        }
        insights
    }
}
