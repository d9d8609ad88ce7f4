//! Rounds and tallies as JSON: `bypeer.lab-round/1` and `bypeer.lab/1`. `docs/schema` holds the schemas.
//!
//! Within a version keys may be added, never removed or given another meaning. What is not known is `null`, never absent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use bypeer_report::json::write_record;
use bypeer_wire::Timestamp;
use serde::Serialize;

use crate::actor::Deed;
use crate::round::Round;
use crate::scenario::Scenario;
use crate::statistics::{Rate, median};
use crate::tally::{Explained, Tally, Variant};

/// Schema of a round's record.
pub const ROUND: &str = "bypeer.lab-round/1";
/// Schema of a tally's record.
pub const TALLY: &str = "bypeer.lab/1";
/// Schema of a scenario's record in the list.
pub const SCENARIO: &str = "bypeer.lab-scenario/1";

/// Writes a round; `explained`: by host, what `explain` made of its capture.
pub fn write_round(
    out: &mut dyn Write,
    variant: &Variant,
    round: &Round,
    explained: &[(String, Explained)],
) -> io::Result<()> {
    write_record(out, &RoundRecord::of(variant, round, explained))
}

/// Writes a tally.
pub fn write_tally(out: &mut dyn Write, tally: &Tally, without: Option<&Tally>) -> io::Result<()> {
    write_record(out, &TallyRecord::of(tally, without))
}

/// Writes what a scenario is.
pub fn write_scenario(out: &mut dyn Write, scenario: &Scenario) -> io::Result<()> {
    let record = ScenarioRecord {
        schema: SCENARIO,
        scenario: &scenario.id,
        title: &scenario.title,
        cause: scenario.cause.as_deref(),
        story: scenario.story,
        deterministic: scenario.deterministic,
        about: scenario.about.trim(),
        fixes: scenario
            .fixes
            .iter()
            .map(|fix| FixRecord {
                id: &fix.id,
                owner: &fix.owner,
                title: &fix.title,
                claim: fix.claim.name(),
            })
            .collect(),
        real: scenario.reals.iter().map(|real| real.id.as_str()).collect(),
    };
    write_record(out, &record)
}

#[derive(Serialize)]
struct ScenarioRecord<'a> {
    schema: &'static str,
    scenario: &'a str,
    title: &'a str,
    cause: Option<&'a str>,
    story: Option<u8>,
    deterministic: bool,
    about: &'a str,
    fixes: Vec<FixRecord<'a>>,
    real: Vec<&'a str>,
}

#[derive(Serialize)]
struct FixRecord<'a> {
    id: &'a str,
    owner: &'a str,
    title: &'a str,
    claim: &'static str,
}

#[derive(Serialize)]
struct VariantRecord<'a> {
    scenario: &'a str,
    cause: Option<&'a str>,
    fix: Option<FixRecord<'a>>,
    real: Option<&'a str>,
    set: &'a BTreeMap<String, String>,
    deterministic: bool,
}

impl<'a> VariantRecord<'a> {
    fn of(variant: &'a Variant) -> VariantRecord<'a> {
        VariantRecord {
            scenario: &variant.scenario,
            cause: variant.cause.as_deref(),
            fix: variant.fix.as_ref().map(|(id, owner, title, claim)| FixRecord {
                id,
                owner,
                title,
                claim: claim.name(),
            }),
            real: variant.real.as_deref(),
            set: &variant.set,
            deterministic: variant.deterministic,
        }
    }
}

#[derive(Serialize)]
struct RoundRecord<'a> {
    schema: &'static str,
    #[serde(flatten)]
    variant: VariantRecord<'a>,
    round: u32,
    seed: u64,
    began: f64,
    ended: f64,
    took: f64,
    port: u16,
    hosts: Vec<HostRecord<'a>>,
    shown: bool,
    failed: bool,
    complaints: &'a [String],
    unchecked: &'a [String],
    responses: u64,
    responses_lost: u64,
    bytes_lost: u64,
    misdelivered: u64,
    accounts: Vec<AccountRecord<'a>>,
    kernel_resets: Vec<ResetRecord<'a>>,
    deaths: Vec<DeathRecord<'a>>,
    counters: &'a BTreeMap<String, BTreeMap<String, u64>>,
    marks: Vec<MarkRecord<'a>>,
    lost_events: u64,
    unused_rules: &'a [String],
    explained: BTreeMap<&'a str, &'static str>,
}

#[derive(Serialize)]
struct HostRecord<'a> {
    name: &'a str,
    address: String,
}

#[derive(Serialize)]
struct AccountRecord<'a> {
    host: &'a str,
    scripted: bool,
    ending: String,
    ended: Option<&'a str>,
    deeds: Vec<DeedRecord<'a>>,
}

#[derive(Serialize)]
struct DeedRecord<'a> {
    time: f64,
    took: f64,
    what: &'a str,
    local: Option<String>,
    peer: Option<String>,
    bytes: u64,
    expected: Option<u64>,
    status: Option<u16>,
    error: Option<&'a str>,
    counts: bool,
}

#[derive(Serialize)]
struct ResetRecord<'a> {
    host: &'a str,
    time: f64,
    source: String,
    destination: String,
    state: &'a str,
    reason: Option<&'a str>,
    path: &'static str,
    stack: &'a [String],
}

#[derive(Serialize)]
struct DeathRecord<'a> {
    host: &'a str,
    time: f64,
    local: String,
    remote: String,
    unread: Option<u32>,
    unsent: Option<u32>,
}

#[derive(Serialize)]
struct MarkRecord<'a> {
    time: f64,
    name: &'a str,
}

impl<'a> RoundRecord<'a> {
    fn of(variant: &'a Variant, round: &'a Round, explained: &'a [(String, Explained)]) -> RoundRecord<'a> {
        let verdict = &round.verdict;
        RoundRecord {
            schema: ROUND,
            variant: VariantRecord::of(variant),
            round: round.number,
            seed: round.seed,
            began: seconds(round.began),
            ended: seconds(round.ended),
            took: round.took.as_secs_f64(),
            port: round.port,
            hosts: round
                .hosts
                .iter()
                .map(|(name, address)| HostRecord {
                    name,
                    address: address.to_string(),
                })
                .collect(),
            shown: verdict.shows(),
            failed: verdict.failed(),
            complaints: &verdict.complaints,
            unchecked: &verdict.unchecked,
            responses: verdict.responses,
            responses_lost: verdict.responses_lost,
            bytes_lost: verdict.bytes_lost,
            misdelivered: verdict.misdelivered,
            accounts: round
                .accounts
                .iter()
                .map(|account| AccountRecord {
                    host: &account.host,
                    scripted: account.scripted,
                    ending: account.ending(),
                    ended: account.ended.as_deref(),
                    deeds: account.deeds.iter().map(DeedRecord::of).collect(),
                })
                .collect(),
            kernel_resets: round
                .resets
                .iter()
                .map(|(host, event)| ResetRecord {
                    host,
                    time: seconds(event.time),
                    source: event.source.to_string(),
                    destination: event.destination.to_string(),
                    state: &event.state,
                    reason: event.reason.as_deref(),
                    path: event.path().name(),
                    stack: &event.stack,
                })
                .collect(),
            deaths: round
                .deaths
                .iter()
                .map(|(host, death)| DeathRecord {
                    host,
                    time: seconds(death.time),
                    local: death.local.to_string(),
                    remote: death.remote.to_string(),
                    unread: death.unread,
                    unsent: death.unsent,
                })
                .collect(),
            counters: &round.counters,
            marks: round
                .marks
                .iter()
                .map(|(time, name)| MarkRecord {
                    time: seconds(*time),
                    name,
                })
                .collect(),
            lost_events: round.lost_events + round.recording.lost,
            unused_rules: &round.recording.unused_rules,
            explained: explained
                .iter()
                .map(|(host, verdict)| (host.as_str(), verdict.name()))
                .collect(),
        }
    }
}

impl<'a> DeedRecord<'a> {
    fn of(deed: &'a Deed) -> DeedRecord<'a> {
        DeedRecord {
            time: seconds(Timestamp(deed.time)),
            took: Duration::from_nanos(deed.took).as_secs_f64(),
            what: &deed.what,
            local: deed.local.map(|address| address.to_string()),
            peer: deed.peer.map(|address| address.to_string()),
            bytes: deed.bytes,
            expected: deed.expected,
            status: deed.status,
            error: deed.error.as_deref(),
            counts: deed.counts,
        }
    }
}

#[derive(Serialize)]
struct TallyRecord<'a> {
    schema: &'static str,
    #[serde(flatten)]
    variant: VariantRecord<'a>,
    title: &'a str,
    rounds: u64,
    shown: RateRecord,
    failed: RateRecord,
    claim_holds: Option<bool>,
    complaints: &'a BTreeMap<String, u64>,
    unchecked: &'a BTreeMap<String, u64>,
    endings: &'a BTreeMap<String, u64>,
    responses: u64,
    responses_lost: u64,
    misdelivered: u64,
    bytes_lost_median: Option<u64>,
    bytes_lost_total: u64,
    client_time_median: Option<f64>,
    server_time_median: Option<f64>,
    unread_median: Option<u64>,
    kernel_resets: Vec<ResetCount<'a>>,
    counters: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
    explained: BTreeMap<&'a str, BTreeMap<&'static str, u64>>,
    accusations: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct RateRecord {
    events: u64,
    of: u64,
    low: f64,
    high: f64,
}

impl RateRecord {
    fn of(rate: Rate) -> RateRecord {
        let (low, high) = rate.interval();
        RateRecord {
            events: rate.events,
            of: rate.of,
            low,
            high,
        }
    }
}

#[derive(Serialize)]
struct ResetCount<'a> {
    host: &'a str,
    reason: &'a str,
    state: &'a str,
    count: u64,
}

impl<'a> TallyRecord<'a> {
    fn of(tally: &'a Tally, without: Option<&Tally>) -> TallyRecord<'a> {
        let mut counters: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((host, name), by) in &tally.counters {
            counters.entry(host).or_default().insert(name, *by);
        }
        TallyRecord {
            schema: TALLY,
            variant: VariantRecord::of(&tally.variant),
            title: &tally.variant.title,
            rounds: tally.rounds,
            shown: RateRecord::of(tally.shown_rate()),
            failed: RateRecord::of(tally.failure_rate()),
            claim_holds: without.and_then(|without| tally.claim_holds(without)),
            complaints: &tally.complaints,
            unchecked: &tally.unchecked,
            endings: &tally.endings,
            responses: tally.responses,
            responses_lost: tally.responses_lost,
            misdelivered: tally.misdelivered,
            bytes_lost_median: median(&tally.bytes_lost),
            bytes_lost_total: tally.bytes_lost.iter().sum(),
            client_time_median: median(&tally.client_time).map(|time| time.as_secs_f64()),
            server_time_median: median(&tally.server_time).map(|time| time.as_secs_f64()),
            unread_median: median(&tally.unread),
            kernel_resets: tally
                .resets
                .iter()
                .map(|((host, reason, state), count)| ResetCount {
                    host,
                    reason,
                    state,
                    count: *count,
                })
                .collect(),
            counters,
            explained: tally
                .explained
                .iter()
                .map(|(host, counts)| {
                    (
                        host.as_str(),
                        counts.iter().map(|(verdict, count)| (verdict.name(), *count)).collect(),
                    )
                })
                .collect(),
            accusations: &tally.accusations,
        }
    }
}

/// Seconds since the epoch.
fn seconds(time: Timestamp) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
