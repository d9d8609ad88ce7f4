//! Pairs of hops: who closes first, whether that is right, and what else of their settings loses requests.

use std::time::Duration;

use bypeer_diagnose::facts::Repeats;

use crate::hop::{Hop, Limit, Origin, Told};
use crate::mend::{self, Mend};
use crate::risk::{Risk, USUAL_ROUND_TRIP};
use crate::time::words;

/// Where a round trip is not known, the distance between limits allows for this one: half the earth.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(200);
/// Timers fire late by so much on a busy machine.
const TIMER_SLACK: Duration = Duration::from_millis(100);

const INVERSION: &str = "idle-timeout-inversion";
const UNANNOUNCED: &str = "unannounced-close-each-response";
const MAX_REQUESTS: &str = "proxy-max-requests";
const CANCEL: &str = "client-cancel";

/// A chain, from the client to the last server.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Its hops.
    pub hops: Vec<Hop>,
    /// How much goes over it.
    pub traffic: Traffic,
    /// Round trip between hops that do not say their own.
    pub round_trip: Option<Duration>,
}

/// How much goes over a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Requests a second: over all `connections`, or over each one where their number is not known.
    pub rate: Option<f64>,
    /// Connections of each pool that share the rate.
    pub connections: Option<f64>,
}

/// What is to be said of a chain.
#[derive(Clone, Debug)]
pub struct Report {
    /// The pairs, from the client on: as many as hops, less one.
    pub pairs: Vec<Pair>,
}

/// A hop and the next.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Index of the hop that opens connections; the next one accepts them.
    pub opener: usize,
    /// Whose limit ends an idle connection.
    pub closes_first: ClosesFirst,
    /// Whether that is right.
    pub order: Order,
    /// By how much the acceptor's limit lies beyond the opener's, seconds; negative: before it.
    pub margin: Option<f64>,
    /// By how much it must, at least.
    pub needed: Duration,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is good to know.
    pub notes: Vec<String>,
}

/// Who closes an idle connection first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosesFirst {
    /// The one that opened it: as it should be.
    Opener,
    /// The one that accepted it.
    Acceptor,
    /// Now this one, now that one.
    Either,
    /// Nobody: it stays open.
    Nobody,
    /// It is closed after each response.
    EachResponse,
    /// A limit is not known.
    Unknown,
}

/// Whether the limits of a pair are in the right order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The opener lets go first, with room.
    Right,
    /// The opener lets go first, but so shortly before the acceptor that they can still cross.
    Tight,
    /// The acceptor closes first.
    Wrong,
    /// Connections are not used twice.
    NotReused,
    /// It cannot be told.
    CannotTell(Vec<Missing>),
}

/// What is missing for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Index of the hop.
    pub hop: usize,
    /// What of it, and why that decides.
    pub what: String,
    /// How to find out.
    pub how: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Requests are lost.
    Fault,
    /// Worth to know; nobody's idle limits are to blame.
    Note,
}

/// Something that is wrong with a pair.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Id of the cause, as `bypeer causes` lists them.
    pub cause: &'static str,
    /// How bad.
    pub level: Level,
    /// What is wrong, in a sentence or two.
    pub what: String,
    /// Which requests the opener repeats by itself, and so does not lose.
    pub repeats: Option<Repeats>,
    /// What it costs.
    pub risk: Option<Risk>,
    /// What mends it, best first; each was tried on the chain: the fault is gone and no other has come.
    pub mends: Vec<Mend>,
}

impl Report {
    /// Whether anything is at fault.
    pub fn has_faults(&self) -> bool {
        self.faults() > 0
    }

    /// How many faults there are.
    pub fn faults(&self) -> usize {
        let findings = self.pairs.iter().flat_map(|pair| &pair.findings);
        findings.filter(|finding| finding.level == Level::Fault).count()
    }

    /// Pairs that cannot be judged.
    pub fn untold(&self) -> usize {
        let untold = |pair: &&Pair| matches!(pair.order, Order::CannotTell(_));
        self.pairs.iter().filter(untold).count()
    }
}

/// Judges a chain, and finds what mends it.
pub fn judge(chain: &Chain) -> Report {
    let mut report = without_mends(chain);
    for index in 0..report.pairs.len() {
        let pair = report.pairs[index].clone();
        for (number, finding) in pair.findings.iter().enumerate() {
            report.pairs[index].findings[number].mends = mend::mends(chain, &report, &pair, finding);
        }
    }
    report
}

/// The verdict alone.
pub(crate) fn without_mends(chain: &Chain) -> Report {
    let pairs = (0..chain.hops.len().saturating_sub(1))
        .map(|opener| pair(chain, opener))
        .collect();
    Report { pairs }
}

/// Least distance between the limits of a pair.
fn needed(chain: &Chain, opener: usize) -> Duration {
    chain.round_trip_after(opener).unwrap_or(LONGEST_ROUND_TRIP) + TIMER_SLACK
}

impl Chain {
    /// Round trip from a hop to the next, if it was given.
    pub fn round_trip_after(&self, hop: usize) -> Option<Duration> {
        self.hops.get(hop).and_then(|hop| hop.round_trip).or(self.round_trip)
    }

    /// Requests a second on each connection.
    pub fn rate_of_each(&self) -> Option<f64> {
        let rate = self.traffic.rate?;
        Some(match self.traffic.connections {
            Some(connections) if connections > 0.0 => rate / connections,
            _ => rate,
        })
    }
}

fn pair(chain: &Chain, index: usize) -> Pair {
    let (opener, acceptor) = (&chain.hops[index], &chain.hops[index + 1]);
    let needed = needed(chain, index);
    let mut pair = Pair {
        opener: index,
        closes_first: ClosesFirst::Unknown,
        order: Order::Right,
        margin: None,
        needed,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    idle_limits(chain, index, &mut pair);
    requests_and_lifetimes(opener, acceptor, &mut pair);
    waits(opener, acceptor, &mut pair);
    pair
}

/// The order of two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    Tight,
    Wrong,
    NotReused,
    /// The acceptor closes after each response.
    Each,
}

fn outcome(pool: Limit, idle: Limit, needed: Duration) -> Outcome {
    match (pool, idle) {
        (Limit::AtOnce, _) => Outcome::NotReused,
        (_, Limit::AtOnce) => Outcome::Each,
        (_, Limit::Never) => Outcome::Right,
        (Limit::Never, Limit::After { .. }) => Outcome::Wrong,
        (Limit::After { latest, .. }, Limit::After { earliest, .. }) if latest >= earliest => Outcome::Wrong,
        (Limit::After { latest, .. }, Limit::After { earliest, .. }) if latest + needed > earliest => Outcome::Tight,
        _ => Outcome::Right,
    }
}

fn closes_first(pool: Limit, idle: Limit) -> ClosesFirst {
    match (pool, idle) {
        (Limit::AtOnce, _) | (_, Limit::AtOnce) => ClosesFirst::EachResponse,
        (Limit::Never, Limit::Never) => ClosesFirst::Nobody,
        (_, Limit::Never) => ClosesFirst::Opener,
        (Limit::Never, _) => ClosesFirst::Acceptor,
        (Limit::After { latest, .. }, Limit::After { earliest, .. }) if latest < earliest => ClosesFirst::Opener,
        (Limit::After { earliest, .. }, Limit::After { latest, .. }) if earliest > latest => ClosesFirst::Acceptor,
        _ => ClosesFirst::Either,
    }
}

fn idle_limits(chain: &Chain, index: usize, pair: &mut Pair) {
    let (opener, acceptor) = (&chain.hops[index], &chain.hops[index + 1]);
    let (pool, idle) = match (&opener.opens.pool, &acceptor.accepts.idle) {
        (Some(pool), Some(idle)) => (pool, idle),
        // One of them can be enough.
        (Some(pool), None) if pool.value == Limit::AtOnce && pool.otherwise.is_empty() => {
            pair.order = Order::NotReused;
            pair.closes_first = ClosesFirst::EachResponse;
            return;
        }
        (None, Some(idle)) if idle.value == Limit::Never && idle.otherwise.is_empty() => {
            pair.closes_first = ClosesFirst::Opener;
            return;
        }
        (None, Some(idle)) if says_close(idle.value, acceptor) => {
            pair.closes_first = ClosesFirst::EachResponse;
            pair.order = Order::NotReused;
            return;
        }
        (pool, idle) => {
            let mut missing = Vec::new();
            if pool.is_none() {
                missing.push(missing_pool(index, opener));
            }
            if idle.is_none() {
                missing.push(missing_idle(index + 1, acceptor));
            }
            pair.order = Order::CannotTell(missing);
            return;
        }
    };
    pair.closes_first = closes_first(pool.value, idle.value);
    pair.margin = margin(pool.value, idle.value);
    let main = outcome(pool.value, idle.value, pair.needed);
    let is_fault = |outcome: Outcome| matches!(outcome, Outcome::Wrong | Outcome::Tight);
    let missing = other_versions(index, opener, pool, acceptor, idle, pair.needed, is_fault(main));
    if !missing.is_empty() {
        pair.order = Order::CannotTell(missing);
        return;
    }
    match main {
        Outcome::Right => pair.order = Order::Right,
        Outcome::NotReused => pair.order = Order::NotReused,
        Outcome::Each => each_response(index, pool, acceptor, pair),
        Outcome::Tight | Outcome::Wrong => match follows(opener, acceptor) {
            Follows::Yes(announced) => {
                pair.order = Order::Right;
                pair.closes_first = ClosesFirst::Opener;
                pair.notes.push(format!(
                    "{} announces {} and {} lets go before that",
                    acceptor.name,
                    words(announced),
                    opener.name
                ));
            }
            Follows::Unknown(announced) if pool.origin != Origin::Given => {
                pair.order = Order::CannotTell(vec![Missing {
                    hop: index,
                    what: format!(
                        "whether {} follows the limit that {} announces (Keep-Alive: timeout={})",
                        opener.name,
                        acceptor.name,
                        announced.as_secs()
                    ),
                    how: format!(
                        "see its documentation; {}=SECONDS says how long it really keeps connections",
                        opener.name
                    ),
                }]);
            }
            _ => inverted(chain, index, pool, idle, main, pair),
        },
    }
}

fn margin(pool: Limit, idle: Limit) -> Option<f64> {
    match (pool, idle) {
        (Limit::After { latest, .. }, Limit::After { earliest, .. }) => {
            Some(earliest.as_secs_f64() - latest.as_secs_f64())
        }
        _ => None,
    }
}

fn says_close(idle: Limit, acceptor: &Hop) -> bool {
    idle == Limit::AtOnce && acceptor.accepts.announces_close.as_ref().is_some_and(|told| told.value)
}

fn missing_pool(hop: usize, opener: &Hop) -> Missing {
    let name = &opener.name;
    Missing {
        hop,
        what: format!("how long {name} keeps idle connections that it opened"),
        how: match hop {
            0 => format!("look for its pool's idle timeout, and give it: {name}=SECONDS"),
            _ => format!("look for its pool's idle timeout, and give it behind '/': {name}=IDLE/POOL"),
        },
    }
}

fn missing_idle(hop: usize, acceptor: &Hop) -> Missing {
    let name = &acceptor.name;
    Missing {
        hop,
        what: format!("how long {name} keeps idle connections"),
        how: format!(
            "measure it (`bypeer causes {INVERSION}` has the lines, under \"How to prove it\"), and give it: {name}=SECONDS"
        ),
    }
}

/// Where a version that may be there changes the verdict, it is the version that is missing.
fn other_versions(
    index: usize,
    opener: &Hop,
    pool: &Told<Limit>,
    acceptor: &Hop,
    idle: &Told<Limit>,
    needed: Duration,
    is_fault: bool,
) -> Vec<Missing> {
    let differs = |pool: Limit, idle: Limit| {
        let is_other = matches!(outcome(pool, idle, needed), Outcome::Wrong | Outcome::Tight);
        is_other != is_fault
    };
    let mut missing = Vec::new();
    let mut look = |hop: usize, name: &str, told: &Told<Limit>, others: Vec<&(String, Limit)>| {
        if others.is_empty() {
            return;
        }
        let others: Vec<String> = others
            .iter()
            .map(|(when, limit)| format!("{when} {}", limit.words()))
            .collect();
        missing.push(Missing {
            hop,
            what: format!(
                "which version {name} is: the newest keeps connections for {}, {}",
                told.value.words(),
                others.join(", ")
            )
            .replace("for not kept", "for one request"),
            how: format!("say it, as in {name}@VERSION, or give the limit"),
        });
    };
    let pools = pool
        .otherwise
        .iter()
        .filter(|(_, limit)| differs(*limit, idle.value))
        .collect();
    look(index, &opener.name, pool, pools);
    let idles = idle
        .otherwise
        .iter()
        .filter(|(_, limit)| differs(pool.value, *limit))
        .collect();
    look(index + 1, &acceptor.name, idle, idles);
    missing
}

/// Whether the opener lets go within the time that the acceptor announces.
enum Follows {
    Yes(Duration),
    No,
    Unknown(Duration),
}

fn follows(opener: &Hop, acceptor: &Hop) -> Follows {
    let announced = acceptor.accepts.announces_idle.as_ref().and_then(|told| told.value);
    let limit = acceptor.accepts.idle.as_ref().map(|told| told.value);
    match (
        announced,
        limit,
        opener.opens.honours_idle.as_ref().map(|told| told.value),
    ) {
        // A promise that is longer than what is kept helps nobody.
        (Some(announced), Some(Limit::After { latest, .. }), _) if announced > latest => Follows::No,
        (Some(announced), _, Some(true)) => Follows::Yes(announced),
        (Some(announced), _, None) => Follows::Unknown(announced),
        _ => Follows::No,
    }
}

fn each_response(index: usize, pool: &Told<Limit>, acceptor: &Hop, pair: &mut Pair) {
    match acceptor.accepts.announces_close.as_ref().map(|told| told.value) {
        Some(true) => {
            pair.order = Order::NotReused;
            pair.notes
                .push(format!("{} closes after each response and says so", acceptor.name));
        }
        Some(false) => {
            pair.order = Order::Wrong;
            pair.findings.push(Finding {
                cause: UNANNOUNCED,
                level: Level::Fault,
                what: format!(
                    "{} closes after each response without saying so, and the hop before it keeps connections ({}): a request that is \
                     sent over one at once meets the close",
                    acceptor.name,
                    pool.value.words()
                ),
                repeats: None,
                risk: None,
                mends: Vec::new(),
            });
        }
        None => {
            pair.order = Order::CannotTell(vec![Missing {
                hop: index + 1,
                what: format!("whether {} says `Connection: close` in its responses", acceptor.name),
                how: "look at one: `curl -sv URL -o /dev/null`".to_owned(),
            }]);
        }
    }
}

fn inverted(chain: &Chain, index: usize, pool: &Told<Limit>, idle: &Told<Limit>, main: Outcome, pair: &mut Pair) {
    let (opener, acceptor) = (&chain.hops[index], &chain.hops[index + 1]);
    let (left, right) = (&opener.name, &acceptor.name);
    let kept = match pool.value {
        Limit::Never => "until the other end closes".to_owned(),
        limit => format!("for {}", limit.words()),
    };
    let what = match main {
        Outcome::Tight => {
            pair.order = Order::Tight;
            format!(
                "{left} keeps idle connections {kept}, {right} closes them after {}: nearer than {}, so that a request and a close \
                 can cross",
                idle.value.words(),
                words(pair.needed)
            )
        }
        _ => {
            pair.order = Order::Wrong;
            format!(
                "{right} closes connections that were idle for {}; {left} keeps them {kept}, and sends requests over them",
                idle.value.words()
            )
        }
    };
    let checks = opener.opens.checks.as_ref().is_none_or(|told| told.value);
    let round_trip = chain.round_trip_after(index).unwrap_or(USUAL_ROUND_TRIP);
    pair.findings.push(Finding {
        cause: INVERSION,
        level: Level::Fault,
        what,
        repeats: opener.opens.repeats.as_ref().map(|told| told.value),
        risk: Risk::of(pool.value, idle.value, round_trip, checks, chain.rate_of_each()),
        mends: Vec::new(),
    });
}

/// Limits that end a connection in the middle of its use, without a word.
fn requests_and_lifetimes(opener: &Hop, acceptor: &Hop, pair: &mut Pair) {
    let is_pooled = opener
        .opens
        .pool
        .as_ref()
        .is_some_and(|told| told.value != Limit::AtOnce);
    let is_kept = acceptor
        .accepts
        .idle
        .as_ref()
        .is_some_and(|told| told.value != Limit::AtOnce);
    if !is_pooled || !is_kept {
        return;
    }
    let limits = [
        acceptor
            .accepts
            .max_requests
            .as_ref()
            .and_then(|told| told.value)
            .map(|count| {
                let ends_first = opener
                    .opens
                    .max_requests
                    .as_ref()
                    .and_then(|told| told.value)
                    .is_some_and(|own| own < count);
                (format!("{count} requests"), ends_first)
            }),
        acceptor
            .accepts
            .lifetime
            .as_ref()
            .and_then(|told| told.value)
            .map(|age| {
                let ends_first = opener
                    .opens
                    .lifetime
                    .as_ref()
                    .and_then(|told| told.value)
                    .is_some_and(|own| own < age);
                (format!("an age of {}", words(age)), ends_first)
            }),
    ];
    let name = &acceptor.name;
    let (own, others): (Vec<_>, Vec<_>) = limits.into_iter().flatten().partition(|(_, ends_first)| *ends_first);
    let joined = |limits: Vec<(String, bool)>| {
        limits
            .into_iter()
            .map(|(limit, _)| limit)
            .collect::<Vec<_>>()
            .join(" or ")
    };
    if !own.is_empty() {
        pair.notes.push(format!(
            "{} ends its connections before {name} does, at {}",
            opener.name,
            joined(own)
        ));
    }
    if others.is_empty() {
        return;
    }
    let limit = joined(others);
    match acceptor.accepts.announces_close.as_ref().map(|told| told.value) {
        Some(true) => pair
            .notes
            .push(format!("{name} ends a connection at {limit}, and says so in the last response")),
        Some(false) => pair.findings.push(Finding {
            cause: MAX_REQUESTS,
            level: Level::Fault,
            what: format!(
                "{name} ends a connection at {limit} without saying so in the last response: the next request meets the close"
            ),
            repeats: opener.opens.repeats.as_ref().map(|told| told.value),
            risk: None,
            mends: Vec::new(),
        }),
        // Nobody is accused of what is not known.
        None => {}
    }
}

/// An outer hop that gives up before the inner one.
fn waits(opener: &Hop, acceptor: &Hop, pair: &mut Pair) {
    let (Some(outer), Some(inner)) = (&opener.opens.waits, &acceptor.opens.waits) else {
        return;
    };
    let Some(outer) = outer.value else {
        return;
    };
    if inner.value.is_some_and(|inner| inner <= outer) {
        return;
    }
    let inner = inner.value.map_or_else(|| "for ever".to_owned(), words);
    pair.findings.push(Finding {
        cause: CANCEL,
        level: Level::Note,
        what: format!(
            "{} waits {} for a response, {} behind it {inner}: a slow request is given up outside first, and {} sees its client go \
             away (nginx logs 499)",
            opener.name,
            words(outer),
            acceptor.name,
            acceptor.name
        ),
        repeats: None,
        risk: None,
        mends: Vec::new(),
    });
}
