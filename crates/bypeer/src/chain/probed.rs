//! A hop that is a URL: its server is probed for how long it keeps idle connections.

use std::time::Duration;

use bypeer_chain::{Limit, Measure, Measured};
use bypeer_probe::habit::{Habit, Value};
use bypeer_probe::prober::Options;
use bypeer_probe::progress::Progress;
use bypeer_probe::stop::Stop;
use bypeer_probe::target::{Instead, Target};
use bypeer_probe::{Card, checks, chosen, run, words};
use bypeer_report::Look;

/// Asks servers.
pub(super) struct Probed {
    /// Longest wait for a server to close an idle connection.
    pub(super) longest_wait: Duration,
    /// Set by Ctrl-C.
    pub(super) stop: Stop,
}

/// Connections for each situation: a chain wants one number.
const CONNECTIONS: u32 = 3;

impl Measure for Probed {
    fn measure(&self, url: &str) -> Result<Measured, String> {
        let options = Options {
            only: vec![checks::IDLE.to_owned()],
            connections: CONNECTIONS,
            longest_wait: self.longest_wait,
            ..Options::default()
        };
        let checks = chosen(&options).map_err(|error| error.to_string())?;
        let target = Target::find(url, &Instead::Name).map_err(|error| error.to_string())?;
        eprint!("{}", words::plan(&target, &options, &checks, Look::PLAIN));
        let card = run(&target, &options, &self.stop, &Progress::default()).map_err(|error| error.to_string())?;
        measured(&card)
    }
}

fn measured(card: &Card) -> Result<Measured, String> {
    let kept = card.value(&checks::KEPT).and_then(Value::word);
    let idle = match kept {
        Some("closed-announced" | "closed-unannounced") => Limit::AtOnce,
        Some(_) => idle_limit(card)?,
        None => return Err(not_measured(card)),
    };
    let promised = match card.value(&checks::PROMISED) {
        Some(Value::Count(seconds)) => Some(Duration::from_secs(*seconds)),
        _ => None,
    };
    Ok(Measured {
        idle,
        announces_idle: Some(promised),
        announces_close: match kept {
            Some("closed-announced") => Some(true),
            Some("closed-unannounced") => Some(false),
            _ => None,
        },
    })
}

fn idle_limit(card: &Card) -> Result<Limit, String> {
    let values = [&checks::AFTER_ONE, &checks::AFTER_SEVERAL].map(|habit: &Habit| card.value(habit));
    let spreads: Vec<_> = values.iter().flatten().filter_map(|value| value.spread()).collect();
    let earliest = spreads.iter().map(|spread| spread.low()).min();
    let latest = spreads.iter().map(|spread| spread.high()).max();
    match (earliest, latest, values[0]) {
        (Some(earliest), Some(latest), _) => Ok(Limit::After { earliest, latest }),
        (_, _, Some(Value::LongerThan(longest))) => Err(format!(
            "it keeps idle connections for longer than {:.0} s, which was as long as was waited: wait longer (--longest-wait), or give \
             its number",
            longest.as_secs_f64()
        )),
        _ => Err(not_measured(card)),
    }
}

fn not_measured(card: &Card) -> String {
    let seen = card.checks.iter().flat_map(|done| &done.outcome.seen).next_back();
    let why = if card.stopped {
        "stopped before its idle limit was seen"
    } else {
        "its idle limit could not be measured"
    };
    match seen {
        Some(line) if !card.stopped => format!("{why}: {line}"),
        _ => why.to_owned(),
    }
}
