//! What many rounds of one run came to, from the lab's records.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Numbers of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Rounds.
    pub rounds: u64,
    /// Rounds in which a client did not get what it asked for.
    pub failed: u64,
    /// Rounds that showed what the scenario claims.
    pub shown: u64,
    /// How clients ended, with how many.
    pub endings: BTreeMap<String, u64>,
    /// Answers that clients waited for.
    pub requests: u64,
    /// Of those, the ones that did not come whole, or were another's.
    pub unanswered: u64,
    /// Answers that belonged to another request.
    pub misdelivered: u64,
    /// By round: bytes of answers that arrived.
    pub arrived: Vec<u64>,
    /// By round: bytes of answers that had been declared and did not arrive.
    pub lost: Vec<u64>,
    /// Bytes read of each answer that did not come whole.
    pub cut: Vec<u64>,
    /// By client: seconds for each whole answer, from its first deed to its last.
    pub time_per_answer: Vec<f64>,
    /// Median seconds from the server's first deed to its last.
    pub server_time: Option<f64>,
    /// Median of the most that lay unread in a socket of the server when it died.
    pub unread: Option<u64>,
    /// Resets by `host REASON`.
    pub resets: BTreeMap<String, u64>,
    /// Counters that moved, by `host Name`.
    pub counters: BTreeMap<String, u64>,
    /// What explain made of captures, by `host verdict`.
    pub explained: BTreeMap<String, u64>,
    /// The change: owner and title.
    pub fix: Option<(String, String)>,
}

/// The records of one variant, while they come.
#[derive(Debug, Default)]
pub struct Collector {
    measured: Measured,
}

impl Collector {
    /// Adds a `bypeer.lab-round/1` record.
    pub fn add_round(&mut self, round: &Round) {
        let measured = &mut self.measured;
        measured.lost.push(round.bytes_lost);
        measured.requests += round.responses;
        measured.unanswered += round.responses_lost;
        let mut arrived = 0;
        for client in round
            .accounts
            .iter()
            .filter(|account| account.host.starts_with("client"))
        {
            let answers = || client.deeds.iter().filter(|deed| deed.reads_an_answer());
            arrived += answers().map(|deed| deed.bytes).sum::<u64>();
            let cut = answers().filter(|deed| deed.error.is_some());
            measured.cut.extend(cut.map(|deed| deed.bytes));
            let whole = answers().filter(|deed| deed.error.is_none()).count();
            let begin = client.deeds.iter().map(|deed| deed.time - deed.took).reduce(f64::min);
            let end = client.deeds.iter().map(|deed| deed.time).reduce(f64::max);
            if let (Some(begin), Some(end), 1..) = (begin, end, whole) {
                measured.time_per_answer.push((end - begin) / whole as f64);
            }
        }
        measured.arrived.push(arrived);
    }

    /// Adds the `bypeer.lab/1` record, which comes last.
    pub fn finish(mut self, tally: Tally) -> Measured {
        let measured = &mut self.measured;
        measured.rounds = tally.rounds;
        measured.failed = tally.failed.events;
        measured.shown = tally.shown.events;
        measured.endings = tally.endings;
        measured.misdelivered = tally.misdelivered;
        measured.server_time = tally.server_time_median;
        measured.unread = tally.unread_median;
        for reset in tally.kernel_resets {
            *measured
                .resets
                .entry(format!("{} {}", reset.host, reset.reason))
                .or_default() += reset.count;
        }
        measured.counters = flat(tally.counters);
        measured.explained = flat(tally.explained);
        measured.fix = tally.fix.map(|fix| (fix.owner, fix.title));
        self.measured
    }
}

/// A `bypeer.lab-round/1` record, as far as it is wanted.
#[derive(Debug, Deserialize)]
pub struct Round {
    responses: u64,
    responses_lost: u64,
    bytes_lost: u64,
    accounts: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    host: String,
    deeds: Vec<Deed>,
}

#[derive(Debug, Deserialize)]
struct Deed {
    time: f64,
    took: f64,
    what: String,
    bytes: u64,
    error: Option<String>,
    counts: bool,
}

impl Deed {
    /// `read response`, or `read SIZE` where the protocol is no HTTP: that one counts for the lab only when it fails.
    fn reads_an_answer(&self) -> bool {
        let read = self.what.split("read ").nth(1).unwrap_or_default();
        let raw = read.starts_with(|first: char| first.is_ascii_digit());
        (read == "response" && self.counts) || (raw && (self.counts || self.error.is_none()))
    }
}

/// A `bypeer.lab/1` record, as far as it is wanted.
#[derive(Debug, Deserialize)]
pub struct Tally {
    fix: Option<Fix>,
    rounds: u64,
    shown: Rate,
    failed: Rate,
    endings: BTreeMap<String, u64>,
    misdelivered: u64,
    server_time_median: Option<f64>,
    unread_median: Option<u64>,
    kernel_resets: Vec<ResetCount>,
    counters: BTreeMap<String, BTreeMap<String, u64>>,
    explained: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Deserialize)]
struct Fix {
    owner: String,
    title: String,
}

#[derive(Debug, Deserialize)]
struct Rate {
    events: u64,
}

#[derive(Debug, Deserialize)]
struct ResetCount {
    host: String,
    reason: String,
    count: u64,
}

/// Whose record it is.
#[derive(Debug, Deserialize)]
pub struct Heading {
    /// Which kind of record.
    pub schema: String,
    fix: Option<Id>,
    real: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Id {
    id: String,
}

impl Heading {
    /// Reads the beginning of a record.
    pub fn of(line: &str) -> Result<Heading> {
        serde_json::from_str(line).context("a record of the lab cannot be read")
    }

    /// Change and real software.
    pub fn variant(self) -> (Option<String>, Option<String>) {
        (self.fix.map(|fix| fix.id), self.real)
    }
}

fn flat(nested: BTreeMap<String, BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let pairs = nested.into_iter().flat_map(|(host, counts)| {
        counts
            .into_iter()
            .map(move |(name, count)| (format!("{host} {name}"), count))
    });
    pairs.collect()
}
