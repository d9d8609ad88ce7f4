//! A card as JSON: `bypeer.probe/1`. `docs/schema` holds the schema.
//!
//! Within a version keys may be added, never removed or given another meaning. What is not known is `null`, never absent.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use bypeer_diagnose::facts::{Place, Sure};
use bypeer_report::json::write_record;
use bypeer_wire::app::Version;
use serde::{Deserialize, Serialize};

use crate::advice::{Advice, Line, Lines, is_beyond_clients};
use crate::baseline::Comparison;
use crate::card::{Card, Done};
use crate::check::{Risk, Status};
use crate::habit::{Measured, Spread, Value};

/// Schema of a card's record.
pub const CARD: &str = "bypeer.probe/1";

/// Writes a card. `exit`: the program's status and what it means.
pub fn write_card(
    out: &mut dyn Write,
    card: &Card,
    advice: &Advice,
    against: Option<&Comparison>,
    exit: (u8, &str),
) -> io::Result<()> {
    write_record(out, &CardRecord::of(card, advice, against, exit))
}

#[derive(Serialize)]
struct CardRecord<'a> {
    schema: &'static str,
    bypeer: &'static str,
    target: TargetRecord<'a>,
    /// Seconds since the epoch.
    began: f64,
    took_seconds: f64,
    round_trip_seconds: f64,
    serial: bool,
    workers: Option<u32>,
    stopped: bool,
    first_answer: FirstRecord<'a>,
    products: Vec<ProductRecord<'a>>,
    connections: u64,
    checks: Vec<CheckRecord<'a>>,
    client_rule: RuleRecord<'a>,
    client_settings: Vec<LinesRecord<'a>>,
    server_settings: Vec<LinesRecord<'a>>,
    beyond_clients: bool,
    against: Option<ComparisonRecord<'a>>,
    exit: u8,
    exit_meaning: &'a str,
}

#[derive(Serialize)]
struct TargetRecord<'a> {
    url: String,
    host: &'a str,
    port: u16,
    tls: bool,
    address: String,
}

#[derive(Serialize)]
struct FirstRecord<'a> {
    status: u16,
    version: &'static str,
    server: Option<&'a str>,
}

#[derive(Serialize)]
struct ProductRecord<'a> {
    software: &'a str,
    name: &'a str,
    version: Option<String>,
    sure: &'static str,
    stands: &'static str,
    why: &'a str,
}

#[derive(Serialize)]
struct CheckRecord<'a> {
    check: &'static str,
    title: &'static str,
    status: &'static str,
    reason: Option<&'a str>,
    took_seconds: f64,
    seen: &'a [String],
    measured: Vec<MeasuredRecord>,
    risks: Vec<RiskRecord<'a>>,
}

/// A habit and its value, as it is written and read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRecord {
    /// The habit's name.
    pub habit: String,
    /// Its value.
    #[serde(flatten)]
    pub value: ValueRecord,
}

/// A habit's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ValueRecord {
    /// A time over several samples, seconds.
    Time {
        /// The middle one.
        median: f64,
        /// The shortest.
        low: f64,
        /// The longest.
        high: f64,
        /// How many.
        samples: usize,
    },
    /// Longer than was waited, seconds.
    LongerThan {
        /// How long that was.
        value: f64,
    },
    /// A number.
    Count {
        /// It.
        value: u64,
    },
    /// More than was tried.
    MoreThan {
        /// How many that were.
        value: u64,
    },
    /// So many of so many.
    Share {
        /// Had it.
        had: u64,
        /// Of those.
        of: u64,
    },
    /// Yes or no.
    Flag {
        /// Which.
        value: bool,
    },
    /// A word of the check's manual, or of the server's.
    Word {
        /// It.
        value: String,
    },
}

#[derive(Serialize)]
struct RiskRecord<'a> {
    cause: &'static str,
    severity: &'static str,
    what: &'a str,
    loses: &'static str,
    confidence: String,
    because: &'a [String],
    remedy: &'static str,
    beyond_clients: bool,
    clauses: &'a [&'static str],
}

#[derive(Serialize)]
struct RuleRecord<'a> {
    no_reuse: bool,
    pool_idle_seconds: Option<f64>,
    pool_requests: Option<u64>,
    pool_lifetime_seconds: Option<f64>,
    because: &'a [String],
}

#[derive(Serialize)]
struct LinesRecord<'a> {
    software: &'a str,
    name: &'a str,
    perhaps: bool,
    lines: Vec<LineRecord<'a>>,
}

#[derive(Serialize)]
struct LineRecord<'a> {
    purpose: &'a str,
    place: &'a str,
    text: &'a str,
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct ComparisonRecord<'a> {
    same: usize,
    changed: Vec<ChangeRecord<'a>>,
    failed_now: &'a [String],
    not_measured_now: &'a [String],
    not_measured_before: &'a [String],
}

#[derive(Serialize)]
struct ChangeRecord<'a> {
    habit: &'a str,
    before: &'a str,
    now: &'a str,
}

impl<'a> CardRecord<'a> {
    fn of(card: &'a Card, advice: &'a Advice, against: Option<&'a Comparison>, exit: (u8, &'a str)) -> CardRecord<'a> {
        let rule = &advice.client;
        CardRecord {
            schema: CARD,
            bypeer: env!("CARGO_PKG_VERSION"),
            target: TargetRecord {
                url: card.target.to_string(),
                host: &card.target.host,
                port: card.target.port,
                tls: card.target.scheme == crate::target::Scheme::Https,
                address: card.place.to_string(),
            },
            began: seconds(card.began.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took_seconds: seconds(card.took),
            round_trip_seconds: seconds(card.round_trip),
            serial: card.serial,
            workers: card.workers,
            stopped: card.stopped,
            first_answer: FirstRecord {
                status: card.first.head.status,
                version: match card.first.head.version {
                    Version::Http10 => "1.0",
                    Version::Http11 => "1.1",
                },
                server: card.first.head.server.as_deref(),
            },
            products: advice
                .products
                .iter()
                .map(|found| ProductRecord {
                    software: &found.software.id,
                    name: &found.software.name,
                    version: found.version.as_ref().map(ToString::to_string),
                    sure: match found.sure {
                        Sure::Perhaps => "perhaps",
                        Sure::Marked => "marked",
                        Sure::Named => "named",
                    },
                    stands: match found.place {
                        Place::Front => "front",
                        Place::Behind => "behind",
                    },
                    why: &found.why,
                })
                .collect(),
            connections: card.connections,
            checks: card.checks.iter().map(CheckRecord::of).collect(),
            client_rule: RuleRecord {
                no_reuse: rule.no_reuse,
                pool_idle_seconds: rule.pool_idle.map(seconds),
                pool_requests: rule.pool_requests,
                pool_lifetime_seconds: rule.pool_lifetime.map(seconds),
                because: &rule.because,
            },
            client_settings: advice.clients.iter().map(LinesRecord::of).collect(),
            server_settings: advice.server.iter().map(LinesRecord::of).collect(),
            beyond_clients: advice.beyond_clients,
            against: against.map(|comparison| ComparisonRecord {
                same: comparison.same,
                changed: comparison
                    .changed
                    .iter()
                    .map(|change| ChangeRecord {
                        habit: &change.habit,
                        before: &change.before,
                        now: &change.now,
                    })
                    .collect(),
                failed_now: &comparison.failed_now,
                not_measured_now: &comparison.not_measured_now,
                not_measured_before: &comparison.not_measured_before,
            }),
            exit: exit.0,
            exit_meaning: exit.1,
        }
    }
}

impl CheckRecord<'_> {
    fn of(done: &Done) -> CheckRecord<'_> {
        let (status, reason) = match &done.outcome.status {
            Status::Done => ("done", None),
            Status::Cut(why) => ("cut", Some(why)),
            Status::Skipped(why) => ("skipped", Some(why)),
            Status::Failed(why) => ("failed", Some(why)),
        };
        CheckRecord {
            check: done.check.id,
            title: done.check.title,
            status,
            reason: reason.map(String::as_str),
            took_seconds: seconds(done.took),
            seen: &done.outcome.seen,
            measured: done.outcome.measured.iter().map(MeasuredRecord::of).collect(),
            risks: done.outcome.risks.iter().map(RiskRecord::of).collect(),
        }
    }
}

impl MeasuredRecord {
    /// Of a measurement.
    pub fn of(measured: &Measured) -> MeasuredRecord {
        MeasuredRecord {
            habit: measured.habit.name.to_owned(),
            value: ValueRecord::of(&measured.value),
        }
    }
}

impl ValueRecord {
    /// Of a value.
    pub fn of(value: &Value) -> ValueRecord {
        match value {
            Value::Time(spread) => ValueRecord::time(spread),
            Value::LongerThan(time) => ValueRecord::LongerThan { value: seconds(*time) },
            Value::Count(value) => ValueRecord::Count { value: *value },
            Value::MoreThan(value) => ValueRecord::MoreThan { value: *value },
            Value::Share { of, had } => ValueRecord::Share { had: *had, of: *of },
            Value::Flag(value) => ValueRecord::Flag { value: *value },
            Value::Word(word) => ValueRecord::Word {
                value: (*word).to_owned(),
            },
            Value::Text(text) => ValueRecord::Word { value: text.clone() },
        }
    }

    fn time(spread: &Spread) -> ValueRecord {
        ValueRecord::Time {
            median: seconds(spread.median()),
            low: seconds(spread.low()),
            high: seconds(spread.high()),
            samples: spread.count(),
        }
    }
}

impl RiskRecord<'_> {
    fn of(risk: &Risk) -> RiskRecord<'_> {
        RiskRecord {
            cause: risk.cause,
            severity: risk.severity.name(),
            what: &risk.what,
            loses: risk.loses.name(),
            confidence: risk.sure.to_string(),
            because: &risk.because,
            remedy: risk.remedy.name(),
            beyond_clients: is_beyond_clients(risk),
            clauses: &risk.clauses,
        }
    }
}

impl LinesRecord<'_> {
    fn of(lines: &Lines) -> LinesRecord<'_> {
        LinesRecord {
            software: lines.software,
            name: lines.name,
            perhaps: lines.perhaps,
            lines: lines.lines.iter().map(LineRecord::of).collect(),
        }
    }
}

impl LineRecord<'_> {
    fn of(line: &Line) -> LineRecord<'_> {
        LineRecord {
            purpose: line.purpose,
            place: line.place,
            text: &line.text,
            note: line.note,
        }
    }
}

/// With microseconds: nothing here is measured better.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
