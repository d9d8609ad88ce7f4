//! What can be asked of a run, and how the answer is written.

use bypeer_lab::statistics::{Rate, Spread};

use super::lexer::Tokens;
use super::measured::Measured;
use super::template::Wrong;

/// One question, with what it is asked about where it needs that: `ended[ECONNRESET]`.
#[derive(Clone, Debug)]
pub struct Metric {
    kind: &'static Kind,
    of: String,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As it is.
    Number,
    /// 0 to 1, written as per cent.
    Share,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The head of its column.
    title: &'static str,
    ask: Ask,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// So many of so many.
    Count(fn(&Measured) -> Rate),
    /// The 95 % interval of such a share.
    Interval(fn(&Measured) -> Rate),
    /// A number; none where there is nothing to measure.
    Value(Unit, fn(&Measured) -> Option<f64>),
    /// How many of what stands in brackets, and what that must be.
    Selected(&'static str, fn(&Measured, &str) -> u64),
}

/// The one place that lists them.
static KINDS: [Kind; 33] = [
    Kind::new("failures", "failures", Ask::Count(failed)),
    Kind::new("rate", "failed", Ask::Value(Unit::Share, |run| failed(run).share())),
    Kind::new("interval", "95 %", Ask::Interval(failed)),
    Kind::new(
        "low",
        "95 % from",
        Ask::Value(Unit::Share, |run| Some(failed(run).interval().0)),
    ),
    Kind::new(
        "high",
        "95 % to",
        Ask::Value(Unit::Share, |run| Some(failed(run).interval().1)),
    ),
    Kind::new("shown", "shown", Ask::Count(shown)),
    Kind::new("unanswered", "requests without their answer", Ask::Count(unanswered)),
    Kind::new(
        "unanswered-rate",
        "without an answer",
        Ask::Value(Unit::Share, |run| unanswered(run).share()),
    ),
    Kind::new("unanswered-interval", "95 %", Ask::Interval(unanswered)),
    Kind::new(
        "unanswered-low",
        "95 % from",
        Ask::Value(Unit::Share, |run| Some(unanswered(run).interval().0)),
    ),
    Kind::new(
        "unanswered-high",
        "95 % to",
        Ask::Value(Unit::Share, |run| Some(unanswered(run).interval().1)),
    ),
    Kind::new("caught", "clients that failed", Ask::Count(caught)),
    Kind::new(
        "caught-rate",
        "clients that failed",
        Ask::Value(Unit::Share, |run| caught(run).share()),
    ),
    Kind::new("caught-interval", "95 %", Ask::Interval(caught)),
    Kind::new(
        "caught-low",
        "95 % from",
        Ask::Value(Unit::Share, |run| Some(caught(run).interval().0)),
    ),
    Kind::new(
        "caught-high",
        "95 % to",
        Ask::Value(Unit::Share, |run| Some(caught(run).interval().1)),
    ),
    Kind::new(
        "requests",
        "requests",
        Ask::Value(Unit::Number, |run| Some(run.requests as f64)),
    ),
    Kind::new(
        "rounds",
        "rounds",
        Ask::Value(Unit::Number, |run| Some(run.rounds as f64)),
    ),
    Kind::new(
        "misdelivered",
        "answers that were another's",
        Ask::Value(Unit::Number, |run| Some(run.misdelivered as f64)),
    ),
    Kind::new("lost", "bytes lost", Ask::Value(Unit::Bytes, |run| median(&run.lost))),
    Kind::new(
        "arrived",
        "bytes that arrived",
        Ask::Value(Unit::Bytes, |run| median(&run.arrived)),
    ),
    Kind::new(
        "arrived-least",
        "least that arrived",
        Ask::Value(Unit::Bytes, |run| least(&run.arrived)),
    ),
    Kind::new(
        "arrived-most",
        "most that arrived",
        Ask::Value(Unit::Bytes, |run| most(&run.arrived)),
    ),
    Kind::new(
        "cut",
        "bytes before it failed",
        Ask::Value(Unit::Bytes, |run| median(&run.cut)),
    ),
    Kind::new(
        "cut-least",
        "least before it failed",
        Ask::Value(Unit::Bytes, |run| least(&run.cut)),
    ),
    Kind::new(
        "cut-most",
        "most before it failed",
        Ask::Value(Unit::Bytes, |run| most(&run.cut)),
    ),
    Kind::new("time", "time for an answer", Ask::Value(Unit::Seconds, time)),
    Kind::new(
        "unread",
        "bytes unread at the close",
        Ask::Value(Unit::Bytes, |run| run.unread.map(|bytes| bytes as f64)),
    ),
    Kind::new(
        "server-time",
        "server's time",
        Ask::Value(Unit::Seconds, |run| run.server_time),
    ),
    Kind::new(
        "ended",
        "clients that ended with",
        Ask::Selected("an ending, as ECONNRESET", |run, ending| count(&run.endings, ending)),
    ),
    Kind::new(
        "resets",
        "resets",
        Ask::Selected(
            "any, REASON or HOST REASON, as server TCP_ABORT_ON_CLOSE",
            |run, which| {
                let fits = |name: &str| which == "any" || name == which || name.split(' ').nth(1) == Some(which);
                run.resets
                    .iter()
                    .filter(|(name, _)| fits(name))
                    .map(|(_, count)| count)
                    .sum()
            },
        ),
    ),
    Kind::new(
        "counter",
        "counted",
        Ask::Selected("HOST NAME, as server ListenOverflows", |run, which| {
            count(&run.counters, which)
        }),
    ),
    Kind::new(
        "explained",
        "explained",
        Ask::Selected("HOST VERDICT, as client right", |run, which| {
            count(&run.explained, which)
        }),
    ),
];

impl Kind {
    const fn new(name: &'static str, title: &'static str, ask: Ask) -> Kind {
        Kind { name, title, ask }
    }
}

impl Metric {
    /// Takes one from the front.
    pub fn parse(tokens: &mut Tokens) -> Result<Metric, Wrong> {
        let name = tokens.word("what is asked, as `failures`")?;
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            return Err(tokens.wrong(format!("`{name}` cannot be asked; known are {}", known.join(", "))));
        };
        let mut words = Vec::new();
        if let Ask::Selected(what, _) = kind.ask {
            if !tokens.takes("[") {
                return Err(tokens.wrong(format!("{name} needs {what} in [brackets]")));
            }
            while !tokens.takes("]") {
                words.push(tokens.value(what)?);
            }
        }
        Ok(Metric {
            kind,
            of: words.join(" "),
        })
    }

    /// One by its name that needs no brackets.
    pub fn named(name: &str) -> Option<Metric> {
        let kind = KINDS.iter().find(|kind| kind.name == name)?;
        let of = String::new();
        (!matches!(kind.ask, Ask::Selected(..))).then_some(Metric { kind, of })
    }

    /// The number; none where there is nothing to measure.
    pub fn value(&self, run: &Measured) -> Option<f64> {
        match self.kind.ask {
            Ask::Count(rate) => Some(rate(run).events as f64),
            Ask::Interval(rate) => rate(run).share(),
            Ask::Value(_, value) => value(run),
            Ask::Selected(_, count) => Some(count(run, &self.of) as f64),
        }
    }

    /// The number in words; a dash where there is nothing to measure.
    pub fn words(&self, run: &Measured) -> String {
        match self.kind.ask {
            Ask::Count(rate) => format!("{} of {}", rate(run).events, rate(run).of),
            Ask::Interval(rate) => interval(rate(run)),
            Ask::Value(unit, value) => value(run).map_or("–".to_owned(), |value| unit.write(value)),
            Ask::Selected(_, count) => count(run, &self.of).to_string(),
        }
    }

    /// The head of its column.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.title, self.of).trim_end().to_owned()
    }

    /// As the template names it.
    pub fn name(&self) -> String {
        if self.of.is_empty() {
            self.kind.name.to_owned()
        } else {
            format!("{}[{}]", self.kind.name, self.of)
        }
    }
}

impl Unit {
    /// Reads what stands behind `as`.
    pub fn named(name: &str) -> Option<Unit> {
        match name {
            "time" => Some(Unit::Seconds),
            "share" => Some(Unit::Share),
            "bytes" => Some(Unit::Bytes),
            "number" => Some(Unit::Number),
            _ => None,
        }
    }

    /// A number of this unit.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Number if value.fract().abs() < 1e-9 => format!("{value:.0}"),
            Unit::Number => format!("{value:.1}"),
            Unit::Share => format!("{} %", percent(value)),
            Unit::Bytes => grouped(value),
            Unit::Seconds if value.abs() >= 1.0 => format!("{value:.2} s"),
            Unit::Seconds if value.abs() >= 0.1 => format!("{:.0} ms", value * 1e3),
            Unit::Seconds => format!("{:.1} ms", value * 1e3),
        }
    }
}

fn failed(run: &Measured) -> Rate {
    Rate {
        events: run.failed,
        of: run.rounds,
    }
}

fn shown(run: &Measured) -> Rate {
    Rate {
        events: run.shown,
        of: run.rounds,
    }
}

fn unanswered(run: &Measured) -> Rate {
    Rate {
        events: run.unanswered,
        of: run.requests,
    }
}

/// Clients, where several run side by side in a round.
fn caught(run: &Measured) -> Rate {
    let of = run.endings.values().sum();
    Rate {
        events: of - count(&run.endings, "ok"),
        of,
    }
}

fn time(run: &Measured) -> Option<f64> {
    let microseconds = run.time_per_answer.iter().map(|seconds| (seconds * 1e6) as u64);
    Spread::of(microseconds).map(|spread| spread.median() as f64 / 1e6)
}

fn median(values: &[u64]) -> Option<f64> {
    Spread::of(values.iter().copied()).map(|spread| spread.median() as f64)
}

fn least(values: &[u64]) -> Option<f64> {
    values.iter().min().map(|value| *value as f64)
}

fn most(values: &[u64]) -> Option<f64> {
    values.iter().max().map(|value| *value as f64)
}

fn count(counts: &std::collections::BTreeMap<String, u64>, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

fn interval(rate: Rate) -> String {
    let (low, high) = rate.interval();
    format!("{}–{} %", percent(low), percent(high))
}

/// With as many places as tell something.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent.abs() < 1e-9 => "0".to_owned(),
        ..1.0 => format!("{percent:.2}"),
        ..10.0 => format!("{percent:.1}"),
        _ => format!("{percent:.0}"),
    }
}

/// `614 400`
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A space at which no line is broken.
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("−{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (unit, value, expected) in [
            (Unit::Number, 3.0, "3"),
            (Unit::Number, 3.25, "3.2"),
            (Unit::Share, 0.0, "0 %"),
            (Unit::Share, 0.0012, "0.12 %"),
            (Unit::Share, 0.037, "3.7 %"),
            (Unit::Share, 1.0, "100 %"),
            (Unit::Bytes, 614_400.0, "614\u{a0}400"),
            (Unit::Bytes, 22.0, "22"),
            (Unit::Bytes, 1000.0, "1\u{a0}000"),
            (Unit::Seconds, 0.0089, "8.9 ms"),
            (Unit::Seconds, 0.25, "250 ms"),
            (Unit::Seconds, 10.0, "10.00 s"),
        ] {
            assert_eq!(unit.write(value), expected);
        }
    }

    #[test]
    fn every_question_has_a_name_of_its_own_and_answers_without_a_round() {
        let nothing = Measured::default();
        for (at, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..at].iter().all(|other| other.name != kind.name), "{}", kind.name);
            let metric = Metric { kind, of: "any".into() };
            assert!(!metric.words(&nothing).is_empty(), "{}", kind.name);
        }
    }
}
