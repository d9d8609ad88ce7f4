//! The smallest changes that mend a fault, each tried on the chain before it is told.

use std::time::Duration;

use bypeer_diagnose::facts::{Parameter, Setting, Value, habits, setting_of_version};

use crate::assemble::{later, times};
use crate::hop::{Hop, Limit, Origin, Told};
use crate::judge::{Chain, Finding, Level, Pair, Report, without_mends};
use crate::time::words;

/// Below this no opener can keep a safe distance, so that only a longer limit helps.
const SHORTEST_TO_UNDERCUT: Duration = Duration::from_secs(3);
/// Nobody wants servers to keep connections for longer, if there is another way.
const LONG: Duration = Duration::from_secs(600);
/// So far beyond the opener's limit an acceptor's is put.
const ROOM: Duration = Duration::from_secs(5);

/// A change of one setting of one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mend {
    /// Index of the hop.
    pub hop: usize,
    /// What to change, in a few words.
    pub what: String,
    /// The line to put into its configuration, in its own words, if it is known.
    pub line: Option<String>,
    /// Where that goes: a file and its line, or the place by its name.
    pub place: Option<String>,
}

/// What mends a finding; best first.
pub(crate) fn mends(chain: &Chain, before: &Report, pair: &Pair, finding: &Finding) -> Vec<Mend> {
    if finding.level != Level::Fault {
        return Vec::new();
    }
    let candidates = match finding.cause {
        "idle-timeout-inversion" => inversion(chain, pair),
        "unannounced-close-each-response" => unannounced(chain, pair),
        _ => max_requests(chain, pair),
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.helps(chain, before, pair.opener, finding))
        .map(|candidate| candidate.mend)
        .collect()
}

/// A change, and what it does to the hop.
struct Candidate {
    mend: Mend,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    Idle(Limit),
    Pool(Limit),
    Both(Limit),
    AnnouncesClose,
    MaxRequests(u64),
}

impl Candidate {
    /// The fault is gone and no other has come.
    fn helps(&self, chain: &Chain, before: &Report, pair: usize, finding: &Finding) -> bool {
        let mut changed = chain.clone();
        let Some(hop) = changed.hops.get_mut(self.mend.hop) else {
            return false;
        };
        match self.change {
            Change::Idle(limit) => hop.accepts.idle = Some(Told::given(limit)),
            Change::Pool(limit) => hop.opens.pool = Some(Told::given(limit)),
            Change::Both(limit) => {
                hop.accepts.idle = Some(Told::given(limit));
                hop.opens.pool = Some(Told::given(limit));
            }
            Change::AnnouncesClose => hop.accepts.announces_close = Some(Told::given(true)),
            Change::MaxRequests(count) => hop.opens.max_requests = Some(Told::given(Some(count))),
        }
        let after = without_mends(&changed);
        let is_gone = after.pairs[pair]
            .findings
            .iter()
            .all(|other| other.cause != finding.cause || other.level != Level::Fault);
        is_gone && after.faults() < before.faults()
    }
}

fn inversion(chain: &Chain, pair: &Pair) -> Vec<Candidate> {
    let (opener, acceptor) = (pair.opener, pair.opener + 1);
    let pool = chain.hops[opener].opens.pool.as_ref().map(|told| told.value);
    let idle = chain.hops[acceptor].accepts.idle.as_ref().map(|told| told.value);
    let mut candidates = Vec::new();
    let mut is_first = true;
    if let Some(Limit::After { latest, .. }) = pool {
        let target = round_up(latest + ROOM.max(pair.needed * 2));
        candidates.extend(longer(&chain.hops[acceptor], acceptor, target));
        is_first = latest <= LONG;
    }
    if let Some(Limit::After { earliest, .. }) = idle.filter(|idle| at_least(*idle, SHORTEST_TO_UNDERCUT)) {
        let room = pair.needed + (earliest / 10).clamp(Duration::from_secs(1), ROOM);
        let target = earliest.saturating_sub(room);
        let found = shorter(&chain.hops[opener], opener, target);
        let at = if is_first { candidates.len() } else { 0 };
        candidates.splice(at..at, found);
    }
    if candidates.is_empty() {
        candidates.extend(no_reuse(&chain.hops[opener], opener));
    }
    candidates
}

fn at_least(limit: Limit, least: Duration) -> bool {
    matches!(limit, Limit::After { earliest, .. } if earliest >= least)
}

/// To whole seconds, and beyond ten of them to multiples of five: numbers that people use.
fn round_up(time: Duration) -> Duration {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(if seconds > 10 {
        seconds.next_multiple_of(5)
    } else {
        seconds
    })
}

fn longer(hop: &Hop, index: usize, target: Duration) -> Option<Candidate> {
    let late = hop
        .software
        .and_then(|software| habits(&software.id))
        .map_or(Duration::ZERO, |habits| habits.late());
    let (line, set) = line(hop, Parameter::Idle, target);
    let limit = later(Limit::exactly(set), late);
    let one_limit = has_one_limit(hop);
    Some(Candidate {
        mend: Mend {
            hop: index,
            what: format!("{}: keep idle connections for {}", hop.name, words(set)),
            line,
            place: place(hop, Parameter::Idle, hop.accepts.idle.as_ref()),
        },
        change: if one_limit {
            Change::Both(limit)
        } else {
            Change::Idle(limit)
        },
    })
}

fn shorter(hop: &Hop, index: usize, target: Duration) -> Option<Candidate> {
    let habits = hop.software.and_then(|software| habits(&software.id));
    // What was given is how long it keeps them, not its setting.
    let is_given = hop.opens.pool.as_ref().is_some_and(|told| told.origin == Origin::Given);
    let governed = habits
        .filter(|_| !is_given)
        .and_then(|habits| Some((habits.pool_line.as_deref()?, habits.pool_times?)));
    let (least, most) = governed.map_or((1, 1), |(_, times)| times);
    let value = target / most;
    let whole = Duration::from_secs(value.as_secs());
    let value = if whole.is_zero() {
        Duration::from_millis(u64::try_from(value.as_millis()).ok()? / 10 * 10)
    } else {
        whole
    };
    if value < Duration::from_millis(100) {
        return None;
    }
    let (line, set) = match governed {
        Some((name, _)) if value.subsec_millis() == 0 => (Some(format!("{name} {}s", value.as_secs())), value),
        Some((name, _)) => (Some(format!("{name} {}ms", value.as_millis())), value),
        None => line(hop, Parameter::PoolIdle, value),
    };
    let limit = times(Limit::exactly(set), least, most);
    let change = if has_one_limit(hop) {
        Change::Both(limit)
    } else {
        Change::Pool(limit)
    };
    let what = match most {
        1 => format!("{}: keep connections that it opened for {} only", hop.name, words(set)),
        _ => format!(
            "{}: keep connections that it opened for {} at most",
            hop.name,
            words(set * most)
        ),
    };
    Some(Candidate {
        mend: Mend {
            hop: index,
            what,
            line,
            place: place(hop, Parameter::PoolIdle, hop.opens.pool.as_ref()),
        },
        change,
    })
}

fn no_reuse(hop: &Hop, index: usize) -> Option<Candidate> {
    let setting = setting_of_version(hop.product_as_opener(), Parameter::NoReuse, hop.version.as_ref());
    Some(Candidate {
        mend: Mend {
            hop: index,
            what: format!("{}: use no connection to the next hop twice", hop.name),
            line: setting
                .and_then(|setting| setting.line(Value::Fixed))
                .map(|line| line.text),
            place: setting.map(|setting| setting.place.clone()),
        },
        change: Change::Pool(Limit::AtOnce),
    })
}

fn unannounced(chain: &Chain, pair: &Pair) -> Vec<Candidate> {
    let acceptor = &chain.hops[pair.opener + 1];
    let setting = setting_of_version(acceptor.product(), Parameter::AnnounceClose, acceptor.version.as_ref());
    let says = Candidate {
        mend: Mend {
            hop: pair.opener + 1,
            what: format!("{}: send `Connection: close` in each response", acceptor.name),
            line: setting
                .and_then(|setting| setting.line(Value::Fixed))
                .map(|line| line.text),
            place: setting.map(|setting| setting.place.clone()),
        },
        change: Change::AnnouncesClose,
    };
    std::iter::once(says)
        .chain(no_reuse(&chain.hops[pair.opener], pair.opener))
        .collect()
}

fn max_requests(chain: &Chain, pair: &Pair) -> Vec<Candidate> {
    let (opener, acceptor) = (&chain.hops[pair.opener], &chain.hops[pair.opener + 1]);
    let mut candidates = vec![Candidate {
        mend: Mend {
            hop: pair.opener + 1,
            what: format!("{}: send `Connection: close` in the last response", acceptor.name),
            line: None,
            place: None,
        },
        change: Change::AnnouncesClose,
    }];
    let count = acceptor.accepts.max_requests.as_ref().and_then(|told| told.value);
    if let Some(fewer) = count.map(|count| count / 10 * 9).filter(|count| *count > 0) {
        let setting = setting_of_version(
            opener.product_as_opener(),
            Parameter::PoolMaxRequests,
            opener.version.as_ref(),
        );
        candidates.push(Candidate {
            mend: Mend {
                hop: pair.opener,
                what: format!("{}: send at most {fewer} requests over one connection", opener.name),
                line: setting
                    .and_then(|setting| setting.line(Value::Count(fewer)))
                    .map(|line| line.text),
                place: setting.map(|setting| setting.place.clone()),
            },
            change: Change::MaxRequests(fewer),
        });
    }
    candidates
}

/// The product's line for a time, and the time that it then has: products round.
fn line(hop: &Hop, parameter: Parameter, time: Duration) -> (Option<String>, Duration) {
    let setting = setting_of(hop, parameter);
    match setting.and_then(|setting| setting.line(Value::Time(time))) {
        Some(line) => match line.set {
            Value::Time(set) => (Some(line.text), set),
            _ => (Some(line.text), time),
        },
        None => (None, time),
    }
}

/// Where the value stands now, else where such a setting goes.
fn place(hop: &Hop, parameter: Parameter, told: Option<&Told<Limit>>) -> Option<String> {
    match told.map(|told| &told.origin) {
        Some(Origin::File { file, line }) => Some(format!("{file}:{line}")),
        _ => setting_of(hop, parameter).map(|setting| setting.place.clone()),
    }
}

fn setting_of(hop: &Hop, parameter: Parameter) -> Option<&'static Setting> {
    let product = if parameter.is_of_opener() {
        hop.product_as_opener()
    } else {
        hop.product()
    };
    setting_of_version(product, parameter, hop.version.as_ref())
}

fn has_one_limit(hop: &Hop) -> bool {
    hop.software
        .and_then(|software| habits(&software.id))
        .is_some_and(|habits| habits.one_limit)
}
