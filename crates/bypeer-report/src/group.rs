use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use bypeer_diagnose::{Confidence, Finding, Retry};
use bypeer_wire::Endpoint;

/// Findings of one cause at one server, with one of them told in full.
#[derive(Clone, Debug)]
pub struct Group {
    /// The finding that shows the cause best; the others look alike.
    pub example: Finding,
    /// The connections, in the order in which they ended; at most [`Group::LISTED`] are kept.
    pub seen: Vec<Seen>,
    /// How many connections there are.
    pub count: u64,
    /// How many of them are certain.
    pub certain: u64,
    /// Requests without a complete answer, over all connections.
    pub lost_requests: u64,
    /// Response bytes lost, over the connections where that can be told.
    pub lost_bytes: u64,
    /// How many connections may retry: safe, unsafe, unknown, nothing to retry.
    pub retries: [u64; 4],
}

/// A connection of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Wireshark's `tcp.stream`.
    pub stream: u32,
    /// Who was connected.
    pub client: Endpoint,
    /// May its client send the request again?
    pub retry: Retry,
}

impl Group {
    /// Connections kept for the list; more than that are only counted, so that memory stays bounded.
    pub const LISTED: usize = 1000;

    fn new(finding: Finding) -> Group {
        Group {
            example: finding,
            seen: Vec::new(),
            count: 0,
            certain: 0,
            lost_requests: 0,
            lost_bytes: 0,
            retries: [0; 4],
        }
    }

    fn count(&mut self, finding: &Finding) {
        self.count += 1;
        self.certain += u64::from(finding.confidence == Confidence::Certain);
        self.lost_requests += u64::from(finding.lost.requests);
        self.lost_bytes = self.lost_bytes.saturating_add(finding.lost.response_bytes.unwrap_or(0));
        self.retries[retry_index(finding.retry)] += 1;
        if self.seen.len() < Group::LISTED {
            self.seen.push(Seen {
                stream: finding.stream,
                client: finding.client,
                retry: finding.retry,
            });
        }
    }

    /// Worst first: what harms, what lost most requests, what happened most often, what is surest.
    fn badness(&self) -> impl Ord + use<> {
        (
            self.example.harmless,
            // What follows from another finding stands behind it.
            self.example.follows.is_some(),
            Reverse(self.lost_requests),
            Reverse(self.count),
            Reverse(self.example.confidence),
            self.example.began(),
            self.example.stream,
        )
    }
}

pub(crate) fn retry_index(retry: Retry) -> usize {
    match retry {
        Retry::Safe => 0,
        Retry::Unsafe => 1,
        Retry::Unknown => 2,
        Retry::NotNeeded => 3,
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    cause: &'static str,
    server: Endpoint,
    undecided: bool,
    harmless: bool,
}

/// Findings gathered by cause and server. Memory grows with the number of groups and servers, not of findings.
#[derive(Default)]
pub struct Groups {
    groups: HashMap<Key, Group>,
    /// Findings beyond [`Groups::MOST`] groups, by cause.
    beyond: BTreeMap<&'static str, u64>,
    servers: HashMap<Endpoint, u64>,
}

impl Groups {
    /// Groups kept; a scan of ports makes one for each port.
    const MOST: usize = 5_000;
    /// Servers whose connections are counted; a scan of a whole network must not eat memory.
    const SERVERS: usize = 100_000;

    /// No findings yet.
    pub fn new() -> Groups {
        Groups::default()
    }

    /// Counts a connection to `server`, whatever became of it: the "of 42" in "7 of 42 connections".
    pub fn count_connection(&mut self, server: Endpoint) {
        if self.servers.len() < Groups::SERVERS {
            *self.servers.entry(server).or_default() += 1;
        } else if let Some(count) = self.servers.get_mut(&server) {
            *count += 1;
        }
    }

    /// Takes over the connections that another counted.
    pub fn take_connections(&mut self, other: Groups) {
        self.servers = other.servers;
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        let key = Key {
            cause: finding.cause.id,
            server: finding.server,
            undecided: finding.confidence == Confidence::Undecided,
            harmless: finding.harmless,
        };
        let full = self.groups.len() == Groups::MOST;
        match self.groups.get_mut(&key) {
            Some(group) => {
                group.count(&finding);
                if tells_more(&finding, &group.example) {
                    group.example = finding;
                }
            }
            None if full => *self.beyond.entry(finding.cause.id).or_default() += 1,
            None => {
                let mut group = Group::new(finding.clone());
                group.count(&finding);
                self.groups.insert(key, group);
            }
        }
    }

    /// The groups, worst first.
    pub fn ranked(&self) -> Vec<&Group> {
        let mut ranked: Vec<&Group> = self.groups.values().collect();
        ranked.sort_by_cached_key(|group| group.badness());
        ranked
    }

    /// Findings that belong to none of the groups, because there are too many, by cause.
    pub(crate) fn beyond(&self) -> &BTreeMap<&'static str, u64> {
        &self.beyond
    }

    /// Connections to a server, when they were counted.
    pub fn connections_to(&self, server: Endpoint) -> Option<u64> {
        self.servers.get(&server).copied()
    }
}

/// Whether `candidate` serves better as a group's example than the present one.
fn tells_more(candidate: &Finding, present: &Finding) -> bool {
    let worth = |finding: &Finding| {
        (
            finding.confidence,
            finding.lost.requests > 0,
            finding.server_software.is_some(),
            has_a_place(finding),
            finding.evidence.len().min(4),
        )
    };
    worth(candidate) > worth(present)
}

/// A kernel's finding that tells where in the program it was.
fn has_a_place(finding: &Finding) -> bool {
    finding.heard.as_deref().is_some_and(|hearing| {
        let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
        by.actor.as_ref().is_some_and(|actor| !actor.frames.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example::{SO_LINGER_ZERO, UNREAD_BODY, finding};

    fn ids(groups: &Groups) -> Vec<(&'static str, bool, u64)> {
        groups
            .ranked()
            .iter()
            .map(|group| (group.example.cause.id, group.example.harmless, group.count))
            .collect()
    }

    #[test]
    fn worst_comes_first_and_harmless_last() {
        let mut groups = Groups::new();
        for stream in 0..9 {
            let mut harmless = finding(&SO_LINGER_ZERO, stream);
            harmless.harmless = true;
            harmless.lost.requests = 0;
            groups.add(harmless);
        }
        for stream in 10..15 {
            let mut often = finding(&SO_LINGER_ZERO, stream);
            often.lost.requests = 0;
            groups.add(often);
        }
        groups.add(finding(&UNREAD_BODY, 20));
        assert_eq!(
            ids(&groups),
            [
                ("unread-request-body", false, 1),
                ("so-linger-zero", false, 5),
                ("so-linger-zero", true, 9)
            ]
        );
    }

    #[test]
    fn the_surest_finding_is_the_example() {
        let mut groups = Groups::new();
        groups.add(finding(&UNREAD_BODY, 1));
        let mut sure = finding(&UNREAD_BODY, 2);
        sure.confidence = Confidence::Certain;
        groups.add(sure);
        groups.add(finding(&UNREAD_BODY, 3));
        let ranked = groups.ranked();
        assert_eq!(ranked.len(), 1);
        assert_eq!(
            (ranked[0].example.stream, ranked[0].count, ranked[0].certain),
            (2, 3, 1)
        );
        assert_eq!(ranked[0].lost_requests, 3);
    }

    #[test]
    fn undecided_findings_stand_apart() {
        let mut groups = Groups::new();
        groups.add(finding(&UNREAD_BODY, 1));
        let mut open = finding(&UNREAD_BODY, 2);
        open.confidence = Confidence::Undecided;
        groups.add(open);
        assert_eq!(groups.ranked().len(), 2);
    }
}
