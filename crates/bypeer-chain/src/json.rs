//! A chain as JSON: `bypeer.chain/1`. `docs/schema` holds the schema.
//!
//! Within a version keys may be added, never removed or given another meaning. What is not known is `null`, never absent.

use std::io::{self, Write};
use std::time::Duration;

use bypeer_diagnose::facts::Repeats;
use bypeer_report::json::write_record;
use serde::Serialize;

use crate::hop::{Hop, Limit, Note, NoteKind, Origin, Told};
use crate::judge::{Chain, ClosesFirst, Finding, Level, Order, Pair, Report};

/// Schema of the record.
pub const CHAIN: &str = "bypeer.chain/1";

/// Writes the chain and its verdict.
pub fn write(out: &mut dyn Write, chain: &Chain, report: &Report) -> io::Result<()> {
    let record = ChainRecord {
        schema: CHAIN,
        rate: chain.traffic.rate,
        connections: chain.traffic.connections,
        faults: report.faults(),
        untold: report.untold(),
        hops: chain.hops.iter().map(HopRecord::of).collect(),
        pairs: report.pairs.iter().map(|pair| PairRecord::of(chain, pair)).collect(),
    };
    write_record(out, &record)
}

#[derive(Serialize)]
struct ChainRecord<'a> {
    schema: &'static str,
    rate: Option<f64>,
    connections: Option<f64>,
    faults: usize,
    untold: usize,
    hops: Vec<HopRecord<'a>>,
    pairs: Vec<PairRecord<'a>>,
}

#[derive(Serialize)]
struct HopRecord<'a> {
    name: &'a str,
    software: Option<&'a str>,
    version: Option<String>,
    part: Option<&'a str>,
    idle: Option<LimitRecord<'a>>,
    pool: Option<LimitRecord<'a>>,
    announces_idle: Option<ValueRecord<'a, Option<f64>>>,
    announces_close: Option<ValueRecord<'a, bool>>,
    max_requests: Option<ValueRecord<'a, Option<u64>>>,
    lifetime: Option<ValueRecord<'a, Option<f64>>>,
    honours_idle: Option<ValueRecord<'a, bool>>,
    checks: Option<ValueRecord<'a, bool>>,
    repeats: Option<ValueRecord<'a, &'static str>>,
    pool_max_requests: Option<ValueRecord<'a, Option<u64>>>,
    pool_lifetime: Option<ValueRecord<'a, Option<f64>>>,
    waits: Option<ValueRecord<'a, Option<f64>>>,
    notes: Vec<NoteRecord<'a>>,
}

#[derive(Serialize)]
struct LimitRecord<'a> {
    kind: &'static str,
    earliest: Option<f64>,
    latest: Option<f64>,
    origin: OriginRecord<'a>,
}

#[derive(Serialize)]
struct ValueRecord<'a, T> {
    value: T,
    origin: OriginRecord<'a>,
}

#[derive(Serialize)]
struct OriginRecord<'a> {
    kind: &'static str,
    file: Option<&'a str>,
    line: Option<u32>,
    source: Option<&'a str>,
    verified: Option<bool>,
}

#[derive(Serialize)]
struct NoteRecord<'a> {
    kind: &'static str,
    file: Option<&'a str>,
    line: Option<u32>,
    text: &'a str,
}

#[derive(Serialize)]
struct PairRecord<'a> {
    opener: &'a str,
    acceptor: &'a str,
    order: &'static str,
    closes_first: &'static str,
    margin: Option<f64>,
    needed: f64,
    missing: Vec<MissingRecord<'a>>,
    findings: Vec<FindingRecord<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct MissingRecord<'a> {
    hop: &'a str,
    what: &'a str,
    how: &'a str,
}

#[derive(Serialize)]
struct FindingRecord<'a> {
    cause: &'a str,
    fault: bool,
    what: &'a str,
    repeats: Option<&'static str>,
    risk: Option<RiskRecord>,
    clauses: &'a [&'static str],
    mends: Vec<MendRecord<'a>>,
}

#[derive(Serialize)]
struct RiskRecord {
    window: f64,
    checks: bool,
    rate: Option<f64>,
    share: Option<f64>,
    worst_share: f64,
    worst_rate: f64,
}

#[derive(Serialize)]
struct MendRecord<'a> {
    hop: &'a str,
    what: &'a str,
    line: Option<&'a str>,
    place: Option<&'a str>,
}

impl<'a> HopRecord<'a> {
    fn of(hop: &'a Hop) -> HopRecord<'a> {
        let seconds = |time: &Option<Duration>| time.map(|time| time.as_secs_f64());
        HopRecord {
            name: &hop.name,
            software: hop.software.map(|software| software.id.as_str()),
            version: hop.version.as_ref().map(ToString::to_string),
            part: hop.part.as_deref(),
            idle: hop.accepts.idle.as_ref().map(LimitRecord::of),
            pool: hop.opens.pool.as_ref().map(LimitRecord::of),
            announces_idle: value(&hop.accepts.announces_idle, seconds),
            announces_close: value(&hop.accepts.announces_close, |says| *says),
            max_requests: value(&hop.accepts.max_requests, |count| *count),
            lifetime: value(&hop.accepts.lifetime, seconds),
            honours_idle: value(&hop.opens.honours_idle, |honours| *honours),
            checks: value(&hop.opens.checks, |checks| *checks),
            repeats: value(&hop.opens.repeats, |repeats| repeats_name(*repeats)),
            pool_max_requests: value(&hop.opens.max_requests, |count| *count),
            pool_lifetime: value(&hop.opens.lifetime, seconds),
            waits: value(&hop.opens.waits, seconds),
            notes: hop.notes.iter().map(NoteRecord::of).collect(),
        }
    }
}

fn value<'a, T, U>(told: &'a Option<Told<T>>, read: impl Fn(&T) -> U) -> Option<ValueRecord<'a, U>> {
    let told = told.as_ref()?;
    Some(ValueRecord {
        value: read(&told.value),
        origin: OriginRecord::of(&told.origin),
    })
}

impl<'a> LimitRecord<'a> {
    fn of(told: &'a Told<Limit>) -> LimitRecord<'a> {
        let (kind, earliest, latest) = match told.value {
            Limit::After { earliest, latest } => ("after", Some(earliest), Some(latest)),
            Limit::Never => ("never", None, None),
            Limit::AtOnce => ("not-kept", None, None),
        };
        LimitRecord {
            kind,
            earliest: earliest.map(|time| time.as_secs_f64()),
            latest: latest.map(|time| time.as_secs_f64()),
            origin: OriginRecord::of(&told.origin),
        }
    }
}

impl<'a> OriginRecord<'a> {
    fn of(origin: &'a Origin) -> OriginRecord<'a> {
        let nothing = OriginRecord {
            kind: "given",
            file: None,
            line: None,
            source: None,
            verified: None,
        };
        match origin {
            Origin::Given => nothing,
            Origin::File { file, line } => OriginRecord {
                kind: "file",
                file: Some(file),
                line: Some(*line),
                ..nothing
            },
            Origin::Default { source, verified, .. } => OriginRecord {
                kind: "default",
                source: Some(source),
                verified: Some(*verified),
                ..nothing
            },
            Origin::Follows(why) => OriginRecord {
                kind: "follows",
                source: Some(why),
                ..nothing
            },
            Origin::Measured(url) => OriginRecord {
                kind: "measured",
                source: Some(url),
                ..nothing
            },
        }
    }
}

impl<'a> NoteRecord<'a> {
    fn of(note: &'a Note) -> NoteRecord<'a> {
        NoteRecord {
            kind: match note.kind {
                NoteKind::NotUnderstood => "not-understood",
                NoteKind::Assumed => "assumed",
                NoteKind::Known => "known",
            },
            file: note.place.as_ref().map(|(file, _)| file.as_str()),
            line: note.place.as_ref().map(|(_, line)| *line).filter(|line| *line > 0),
            text: &note.text,
        }
    }
}

impl<'a> PairRecord<'a> {
    fn of(chain: &'a Chain, pair: &'a Pair) -> PairRecord<'a> {
        let name = |index: usize| chain.hops.get(index).map_or("", |hop| hop.name.as_str());
        let (order, missing) = match &pair.order {
            Order::Right => ("right", &[][..]),
            Order::Tight => ("tight", &[][..]),
            Order::Wrong => ("wrong", &[][..]),
            Order::NotReused => ("not-reused", &[][..]),
            Order::CannotTell(missing) => ("cannot-tell", missing.as_slice()),
        };
        PairRecord {
            opener: name(pair.opener),
            acceptor: name(pair.opener + 1),
            order,
            closes_first: match pair.closes_first {
                ClosesFirst::Opener => "opener",
                ClosesFirst::Acceptor => "acceptor",
                ClosesFirst::Either => "either",
                ClosesFirst::Nobody => "nobody",
                ClosesFirst::EachResponse => "each-response",
                ClosesFirst::Unknown => "unknown",
            },
            margin: pair.margin,
            needed: pair.needed.as_secs_f64(),
            missing: missing
                .iter()
                .map(|missing| MissingRecord {
                    hop: name(missing.hop),
                    what: &missing.what,
                    how: &missing.how,
                })
                .collect(),
            findings: pair
                .findings
                .iter()
                .map(|finding| FindingRecord::of(chain, finding))
                .collect(),
            notes: &pair.notes,
        }
    }
}

impl<'a> FindingRecord<'a> {
    fn of(chain: &'a Chain, finding: &'a Finding) -> FindingRecord<'a> {
        FindingRecord {
            cause: finding.cause,
            fault: finding.level == Level::Fault,
            what: &finding.what,
            repeats: finding.repeats.map(repeats_name),
            risk: finding.risk.map(|risk| RiskRecord {
                window: risk.window.as_secs_f64(),
                checks: risk.checks,
                rate: risk.rate,
                share: risk.share,
                worst_share: risk.worst_share,
                worst_rate: risk.worst_rate,
            }),
            clauses: bypeer_diagnose::causes::find(finding.cause).map_or(&[], |cause| cause.clauses),
            mends: finding
                .mends
                .iter()
                .map(|mend| MendRecord {
                    hop: chain.hops.get(mend.hop).map_or("", |hop| hop.name.as_str()),
                    what: &mend.what,
                    line: mend.line.as_deref(),
                    place: mend.place.as_deref(),
                })
                .collect(),
        }
    }
}

fn repeats_name(repeats: Repeats) -> &'static str {
    match repeats {
        Repeats::Nothing => "nothing",
        Repeats::Unsent => "unsent",
        Repeats::Bodyless => "bodyless",
        Repeats::Safe => "safe",
        Repeats::Idempotent => "idempotent",
        Repeats::Any => "any",
    }
}
