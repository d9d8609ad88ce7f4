//! A server's card, held to the kernel's account and to the server's configuration.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bypeer_probe::Card;
use bypeer_probe::card::Done;
use bypeer_probe::check::Severity;
use bypeer_probe::habit::{Spread, Value};
use bypeer_probe::prober::Options;
use bypeer_probe::progress::Progress;
use bypeer_probe::stop::Stop;
use bypeer_probe::target::{Instead, Target};
use bypeer_wire::Timestamp;

use crate::kernel::{Left, Recording, Seen};
use crate::server::Server;

/// How far the probe's moments may lie from the kernel's.
const NEAR: Duration = Duration::from_millis(100);
/// A timer may be this much early by its server's clock, which ticks more coarsely than ours.
const EARLY: Duration = Duration::from_millis(15);

/// What is known of a server before it is asked.
pub struct Known {
    /// Its name, for the table.
    pub name: &'static str,
    /// `idle-timeout.kept`.
    pub kept: &'static str,
    /// `idle-timeout.ends-by`; nothing where connections are not kept.
    pub ends_by: Option<&'static str>,
    /// `idle-timeout.promised`, seconds.
    pub promised: Option<u64>,
    /// The same when requests say `Connection: keep-alive`, as those of many clients do.
    pub promised_if_asked: Option<u64>,
    /// It works on one connection at a time.
    pub serial: bool,
    /// How long it waits in a situation, as configured and as its own doing.
    pub limits: &'static [(Left, Limit)],
    /// Ids of the checks that find a fault in it.
    pub faults: &'static [&'static str],
    /// Checks that may meet one of these faults, or not: chance decides.
    pub by_chance: &'static [&'static str],
}

/// How long a server waits.
#[derive(Clone, Copy)]
pub enum Limit {
    /// As configured, milliseconds.
    Is(u64),
    /// As configured, and so much of its own, milliseconds.
    Adds(u64, u64),
    /// As configured, and up to so much longer, milliseconds: its timer ticks.
    Ticks(u64, u64),
    /// As configured, and up to so much shorter, milliseconds: its timer begins before its answer has left.
    Early(u64, u64),
    /// Longer than it was waited for.
    None,
    /// It answers without waiting for the rest.
    AtOnce,
}

/// Probes the server and holds what comes of it to all that is known.
pub fn hold(server: &Server, known: &Known) {
    let recording = Recording::start(server.address);
    let card = probe(server, &|options| {
        options.only = vec!["idle-timeout".to_owned()];
        options.longest_wait = LONGEST;
    });
    recording.settle();
    let mut complaints = Vec::new();
    let times = the_kernel(&card, &recording, known, &mut complaints);
    the_configuration(&card, known, &times, &mut complaints);
    let asked = probe(server, &|options| {
        options.only = vec!["idle-timeout".to_owned()];
        options.longest_wait = Duration::from_millis(10);
        options.connections = 1;
        options.fields = vec![("Connection".to_owned(), "keep-alive".to_owned())];
    });
    promises(
        &asked,
        "Connection: keep-alive",
        known.promised_if_asked,
        &mut complaints,
    );
    let rest = probe(server, &|options| {
        options.without = vec!["idle-timeout".to_owned()];
        options.longest_wait = LONGEST;
        options.connections = 3;
        options.patience = Duration::from_secs(4);
    });
    the_faults(&[&card, &rest], known, &mut complaints);
    assert!(
        complaints.is_empty(),
        "{}:\n{}\n\nthe cards:\n{}\n\n{}",
        known.name,
        complaints.join("\n"),
        seen(&card) + &seen(&rest),
        server.said()
    );
}

/// What the checks say that they saw.
fn seen(card: &Card) -> String {
    let lines = |done: &Done| {
        let seen = done
            .outcome
            .seen
            .iter()
            .map(|line| format!("{}: {line}\n", done.check.id));
        seen.collect::<String>()
    };
    card.checks.iter().map(lines).collect()
}

/// Longer than every limit that is configured here.
pub const LONGEST: Duration = Duration::from_millis(4500);

/// The card of a server.
pub fn probe(server: &Server, set: &dyn Fn(&mut Options)) -> Card {
    let target = Target::find(&server.url(), &Instead::Name).unwrap();
    let mut options = Options::default();
    set(&mut options);
    bypeer_probe::run(&target, &options, &Stop::default(), &Progress::default())
        .unwrap_or_else(|error| panic!("{error}\n{}", server.said()))
}

/// What a card measured, by the habit's name.
pub fn measured<'a>(card: &'a Card, name: &str) -> Option<&'a Value> {
    let all = card.checks.iter().flat_map(|done| &done.outcome.measured);
    all.clone()
        .find(|measured| measured.habit.name == name)
        .map(|measured| &measured.value)
}

/// Each connection's end by the kernel and by the probe; the kernel's times by situation.
fn the_kernel(
    card: &Card,
    recording: &Recording,
    known: &Known,
    complaints: &mut Vec<String>,
) -> BTreeMap<Left, (Spread, Duration)> {
    let mut idle: BTreeMap<Left, Vec<Duration>> = BTreeMap::new();
    let mut apart = Duration::ZERO;
    let mut ends = 0;
    for log in card.logs.iter().filter(|log| log.check == "idle-timeout") {
        let seen: Seen = recording.seen(log.local.unwrap());
        idle.entry(seen.left).or_default().extend(seen.idle);
        match (seen.end, log.ended_by_server()) {
            (Some(kernel), Some(probe)) => {
                let probe = moment(card.began + probe.duration_since(card.clock));
                let between = probe.since(kernel).max(kernel.since(probe));
                apart = apart.max(between);
                ends += 1;
                if between > NEAR {
                    complaints.push(format!(
                        "{:?}: the probe saw the end {between:?} apart from the kernel",
                        seen.left
                    ));
                }
                if seen.reset != (log.was_reset() && log.fin.is_none()) {
                    complaints.push(format!("{:?}: a reset to one of probe and kernel alone", seen.left));
                }
            }
            // The probe had gone before the server closed.
            (_, None) => {}
            (None, Some(_)) => complaints.push(format!("{:?}: an end that the kernel did not see", seen.left)),
        }
    }
    let mut times = BTreeMap::new();
    for (left, samples) in idle {
        let name = left.habit();
        let (Some(kernel), Some(probe)) = (Spread::of(samples), measured(card, name).and_then(Value::spread)) else {
            continue;
        };
        let between = kernel.median().abs_diff(probe.median());
        if between > NEAR {
            complaints.push(format!(
                "{name}: measured {:?}, by the kernel {:?}",
                probe.median(),
                kernel.median()
            ));
        }
        times.insert(left, (kernel, between));
    }
    if ends == 0 {
        complaints.push("the server ended no connection of the probe".to_owned());
    }
    println!(
        "{}: {ends} ends, at most {:.1} ms from the kernel's",
        known.name,
        millis(apart)
    );
    times
}

fn the_configuration(
    card: &Card,
    known: &Known,
    times: &BTreeMap<Left, (Spread, Duration)>,
    complaints: &mut Vec<String>,
) {
    let mut hold = |name: &str, is: Option<&str>, should: Option<&str>| {
        if is != should {
            complaints.push(format!("{name}: {is:?}, and should be {should:?}"));
        }
    };
    let word = |name: &str| measured(card, name).and_then(Value::word);
    hold("idle-timeout.kept", word("idle-timeout.kept"), Some(known.kept));
    hold("idle-timeout.ends-by", word("idle-timeout.ends-by"), known.ends_by);
    promises(card, "no Connection field", known.promised, complaints);
    if card.serial != known.serial {
        complaints.push(format!("serial: {}, and should be {}", card.serial, known.serial));
    }
    for (left, limit) in known.limits {
        let value = measured(card, left.habit());
        let (least, most, configured) = match *limit {
            Limit::Is(millis) => (millis, millis + 100, format!("{millis} ms")),
            Limit::Adds(millis, more) => (
                millis + more,
                millis + more + 100,
                format!("{millis} ms, and {more} of its own"),
            ),
            Limit::Early(millis, less) => (millis - less, millis + 100, format!("{millis} ms, up to {less} less")),
            Limit::Ticks(millis, more) => (millis, millis + more, format!("{millis} ms, up to {more} more")),
            Limit::AtOnce => (0, 100, "at once".to_owned()),
            Limit::None => {
                if !matches!(value, Some(Value::LongerThan(_))) {
                    complaints.push(format!("{}: {value:?}, and should not be limited", left.habit()));
                }
                continue;
            }
        };
        let Some(spread) = value.and_then(Value::spread) else {
            complaints.push(format!("{}: {value:?}, and should be {configured}", left.habit()));
            continue;
        };
        let (least, most) = (
            Duration::from_millis(least).saturating_sub(EARLY),
            Duration::from_millis(most),
        );
        if spread.low() < least || spread.median() > most {
            complaints.push(format!("{}: {spread:?}, and should be {configured}", left.habit()));
        }
        let (kernel, between) = match times.get(left) {
            Some((kernel, between)) => (millis(kernel.median()), millis(*between)),
            None => {
                complaints.push(format!("{}: the kernel saw no such connection", left.habit()));
                continue;
            }
        };
        println!(
            "| {} | {} | {configured} | {:.1} ms | {kernel:.1} ms | {between:.2} ms |",
            known.name,
            left.habit(),
            millis(spread.median()),
        );
    }
}

fn promises(card: &Card, asked: &str, should: Option<u64>, complaints: &mut Vec<String>) {
    let is = match measured(card, "idle-timeout.promised") {
        Some(Value::Count(seconds)) => Some(*seconds),
        _ => None,
    };
    if is != should {
        complaints.push(format!(
            "idle-timeout.promised with {asked}: {is:?}, and should be {should:?}"
        ));
    }
}

/// Who is well is not accused, and who is not is.
fn the_faults(cards: &[&Card], known: &Known, complaints: &mut Vec<String>) {
    let mut faults = Vec::new();
    for (check, risk) in cards.iter().flat_map(|card| card.risks()) {
        if risk.severity == Severity::Fault {
            faults.push(check.id);
            if !known.faults.contains(&check.id) && !known.by_chance.contains(&check.id) {
                complaints.push(format!("{} finds a fault that it has not: {risk:#?}", check.id));
            }
        }
    }
    for check in known.faults {
        if !faults.contains(check) {
            complaints.push(format!("{check} does not find the fault"));
        }
    }
}

fn moment(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_nanos()).unwrap())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
