//! From what was asked for to hops: numbers given, files read, defaults of products, in this order.

use std::time::Duration;

use bypeer_diagnose::facts::{self, Parameter, Version, habits, software_by_id};

use crate::config::{self, Read};
use crate::hop::{Hop, Limit, Note, Origin, Told};
use crate::request::{Limits, Request};
use crate::time::words;

/// Where files come from.
pub trait Files {
    /// A file's text; what is no UTF-8 in it replaced. The error says what is wrong with it, without its name.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The files that a pattern with `*`, `?` and `[]` names, sorted; without any of these, the file itself.
    fn glob(&self, pattern: &str) -> Result<Vec<String>, String>;
}

/// Who measures a server's idle limit.
pub trait Measure {
    /// How long the server at a URL keeps an idle connection. The error says why that was not measured.
    fn measure(&self, url: &str) -> Result<Measured, String>;
}

/// What was measured of a server.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How long it keeps idle connections.
    pub idle: Limit,
    /// What it announces with `Keep-Alive: timeout=`; `Some` of `None`: nothing.
    pub announces_idle: Option<Option<Duration>>,
    /// It says `close` in its last response. `None`: not known.
    pub announces_close: Option<bool>,
}

/// Nobody measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotMeasured;

impl Measure for NotMeasured {
    fn measure(&self, _: &str) -> Result<Measured, String> {
        Err("not measured".to_owned())
    }
}

/// A chain that cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// There is no pair.
    #[error("a chain has at least two hops, from the client to the last server; there is {0}")]
    TooShort(usize),
    /// Neither numbers nor anything that tells them.
    #[error("{name}: bypeer knows no product of this name{alike}; give {want}")]
    Unknown {
        /// The hop.
        name: String,
        /// Products with a similar name.
        alike: String,
        /// What to write.
        want: String,
    },
    /// A product that is not known.
    #[error("{name}: bypeer knows no product {product:?}")]
    UnknownProduct {
        /// The hop.
        name: String,
        /// What it was said to be.
        product: String,
    },
    /// A version that is none.
    #[error("{name}: {version:?} is no version")]
    BadVersion {
        /// The hop.
        name: String,
        /// What was given.
        version: String,
    },
    /// A file that could not be read or used.
    #[error("{name}: {text}")]
    Config {
        /// The hop.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// It could not be measured.
    #[error("{name}: {url}: {text}; give its idle limit instead, as in {name}=60")]
    Measure {
        /// The hop.
        name: String,
        /// Where.
        url: String,
        /// Why.
        text: String,
    },
}

/// Puts the hops together, from the client to the last server.
pub fn assemble(requests: &[Request], files: &dyn Files, measure: &dyn Measure) -> Result<Vec<Hop>, AssembleError> {
    if requests.len() < 2 {
        return Err(AssembleError::TooShort(requests.len()));
    }
    let last = requests.len() - 1;
    requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            let place = match index {
                0 => Place::First,
                index if index == last => Place::Last,
                _ => Place::Middle,
            };
            hop(request, place, files, measure)
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Middle,
    Last,
}

fn hop(request: &Request, place: Place, files: &dyn Files, measure: &dyn Measure) -> Result<Hop, AssembleError> {
    let name = &request.name;
    let software = match &request.product {
        Some(product) => Some(software_by_id(product).ok_or_else(|| AssembleError::UnknownProduct {
            name: name.clone(),
            product: product.clone(),
        })?),
        None => software_by_id(name),
    };
    let version = match &request.version {
        Some(text) => Some(Version::parse(text).ok_or_else(|| AssembleError::BadVersion {
            name: name.clone(),
            version: text.clone(),
        })?),
        None => None,
    };
    let mut hop = Hop {
        name: name.clone(),
        software,
        version,
        round_trip: request.round_trip,
        ..Hop::default()
    };
    if request.file.is_some() || request.flags.is_some() {
        let kind = software.map_or(name.as_str(), |software| software.id.as_str());
        let read = config::read(kind, request, hop.version.as_ref(), files).map_err(|text| AssembleError::Config {
            name: name.clone(),
            text,
        })?;
        take(&mut hop, read);
    }
    if let Some(url) = &request.url {
        let measured = measure.measure(url).map_err(|text| AssembleError::Measure {
            name: name.clone(),
            url: url.clone(),
            text,
        })?;
        take_measured(&mut hop, &measured, url);
    }
    given(&mut hop, request, place);
    defaults(&mut hop);
    habits_of(&mut hop);
    check(&hop, request, place)?;
    Ok(hop)
}

fn take(hop: &mut Hop, read: Read) {
    hop.accepts = read.accepts;
    hop.opens = read.opens;
    hop.part = read.part;
    hop.notes = read.notes;
}

fn take_measured(hop: &mut Hop, measured: &Measured, url: &str) {
    let origin = || Origin::Measured(url.to_owned());
    hop.accepts.idle = Some(Told::new(measured.idle, origin()));
    hop.accepts.announces_idle = measured.announces_idle.map(|told| Told::new(told, origin()));
    hop.accepts.announces_close = measured.announces_close.map(|told| Told::new(told, origin()));
}

/// What the user says goes before everything else.
fn given(hop: &mut Hop, request: &Request, place: Place) {
    let one_limit = habits(hop.product()).is_some_and(|habits| habits.one_limit);
    let (idle, pool) = match request.limits {
        Limits::Unsaid => (None, None),
        Limits::One(limit) if place == Place::First => (None, Some(limit)),
        Limits::One(limit) => (Some(limit), Some(limit).filter(|_| one_limit)),
        Limits::Both { idle, pool } => (idle, pool),
    };
    set(&mut hop.accepts.idle, idle);
    set(&mut hop.opens.pool, pool);
    set(&mut hop.accepts.announces_idle, request.announces);
    set(&mut hop.accepts.announces_close, request.says_close);
    set(&mut hop.accepts.max_requests, request.max_requests.map(Some));
    set(&mut hop.accepts.lifetime, request.lifetime.map(Some));
    set(&mut hop.opens.honours_idle, request.honours);
    set(&mut hop.opens.checks, request.checks);
    set(&mut hop.opens.repeats, request.repeats);
    set(&mut hop.opens.max_requests, request.pool_max_requests.map(Some));
    set(&mut hop.opens.lifetime, request.pool_lifetime.map(Some));
    set(&mut hop.opens.waits, request.waits.map(Some));
}

fn set<T>(slot: &mut Option<Told<T>>, value: Option<T>) {
    if let Some(value) = value {
        *slot = Some(Told::given(value));
    }
}

fn defaults(hop: &mut Hop) {
    let Some(software) = hop.software else {
        return;
    };
    let version = hop.version.as_ref().map(ToString::to_string);
    let defaults = facts::defaults(&software.id, version.as_deref());
    let known = version.is_some();
    let opened = facts::defaults(hop.product_as_opener(), version.as_deref());
    let riddles: Vec<Parameter> = hop.notes.iter().filter_map(|note| note.about).collect();
    let sure = |parameter: Parameter| !riddles.contains(&parameter);
    fill(
        &mut hop.accepts.idle,
        defaults.idle.filter(|_| sure(Parameter::Idle)),
        known,
        idle,
    );
    fill(
        &mut hop.opens.pool,
        opened.pool_idle.clone().filter(|_| sure(Parameter::PoolIdle)),
        known,
        idle,
    );
    fill(
        &mut hop.accepts.max_requests,
        defaults.max_requests.filter(|_| sure(Parameter::MaxRequests)),
        known,
        count,
    );
    let pool_max_requests = opened
        .pool_max_requests
        .clone()
        .filter(|_| sure(Parameter::PoolMaxRequests));
    fill(&mut hop.opens.max_requests, pool_max_requests, known, count);
    fill(
        &mut hop.accepts.lifetime,
        defaults.lifetime.filter(|_| sure(Parameter::Lifetime)),
        known,
        time,
    );
    let pool_lifetime = opened.pool_lifetime.clone().filter(|_| sure(Parameter::PoolLifetime));
    fill(&mut hop.opens.lifetime, pool_lifetime, known, time);
    let waits = opened
        .limit(Parameter::ResponseTimeout)
        .filter(|_| sure(Parameter::ResponseTimeout));
    fill(&mut hop.opens.waits, waits, known, time);
    fill(
        &mut hop.accepts.announces_close,
        defaults.announces_close,
        known,
        |says| Some(*says),
    );
    fill(
        &mut hop.opens.checks,
        opened.checks_before_reuse.clone(),
        known,
        |checks| Some(*checks),
    );
    fill(&mut hop.opens.repeats, opened.retries.clone(), known, |repeats| {
        Some(*repeats)
    });
    let announced = match hop.accepts.idle.as_ref().map(|told| told.value) {
        Some(Limit::After { earliest, .. }) => Some(earliest),
        _ => None,
    };
    let announces = defaults.announces_idle.filter(|_| sure(Parameter::AnnounceIdle));
    fill(&mut hop.accepts.announces_idle, announces, known, |says| {
        Some(announced.filter(|_| *says))
    });
}

/// Takes a default where nothing is known yet.
fn fill<T, U>(
    slot: &mut Option<Told<T>>,
    default: Option<facts::Known<U>>,
    version_is_known: bool,
    read: impl Fn(&U) -> Option<T>,
) {
    let Some(default) = default.filter(|_| slot.is_none()) else {
        return;
    };
    let Some(value) = read(&default.value) else {
        return;
    };
    let mut told = Told::new(
        value,
        Origin::Default {
            source: default.source,
            verified: default.verified,
            note: default.note,
        },
    );
    if !version_is_known {
        let others = default.otherwise.iter();
        told.otherwise = others
            .filter_map(|(when, value)| Some((when.clone(), read(value)?)))
            .collect();
    }
    *slot = Some(told);
}

fn idle(limit: &facts::Limit) -> Option<Limit> {
    match limit {
        facts::Limit::Time(time) => Some(Limit::exactly(*time)),
        facts::Limit::None => Some(Limit::Never),
        facts::Limit::NotKept => Some(Limit::AtOnce),
        facts::Limit::Count(_) => None,
    }
}

fn time(limit: &facts::Limit) -> Option<Option<Duration>> {
    match limit {
        facts::Limit::Time(time) => Some(Some(*time)),
        facts::Limit::None => Some(None),
        _ => None,
    }
}

fn count(limit: &facts::Limit) -> Option<Option<u64>> {
    match limit {
        facts::Limit::Count(count) => Some(Some(*count)),
        facts::Limit::None => Some(None),
        _ => None,
    }
}

/// What the product makes of the values of its settings.
fn habits_of(hop: &mut Hop) {
    let Some(habits) = hop.software.and_then(|software| habits(&software.id)) else {
        return;
    };
    if let (true, None, Some(idle)) = (habits.one_limit, &hop.opens.pool, &hop.accepts.idle) {
        hop.opens.pool = Some(idle.clone());
    }
    let late = habits.late();
    if let Some(idle) = &mut hop.accepts.idle {
        // A range that was given or measured is what is seen.
        let is_setting = !matches!(idle.origin, Origin::Measured(_));
        if is_setting && !late.is_zero() {
            *idle = idle.map(|limit| later(*limit, late));
        }
    }
    pool_of(hop, habits);
    if hop.opens.honours_idle.is_none() {
        hop.opens.honours_idle = habits.honours.map(|honours| {
            let source = habits.source.as_str();
            Told::new(
                honours,
                Origin::Default {
                    source,
                    verified: habits.verified,
                    note: None,
                },
            )
        });
    }
}

/// A pool without a firm limit, of which the setting or its default is known.
fn pool_of(hop: &mut Hop, habits: &'static facts::Habits) {
    let (Some((least, most)), Some(pool)) = (habits.pool_times, &mut hop.opens.pool) else {
        return;
    };
    let is_setting = matches!(pool.origin, Origin::File { .. } | Origin::Default { .. });
    let setting = match pool.value {
        Limit::After { earliest, latest } if earliest == latest => Some(earliest),
        Limit::Never => habits.pool_setting(),
        _ => None,
    };
    let Some(setting) = setting.filter(|_| is_setting) else {
        return;
    };
    let limit = times(Limit::exactly(setting), least, most);
    hop.notes.push(Note::known(format!(
        "{} has no firm limit for connections that it opened: {} {} lets them live for {} ({})",
        hop.name,
        habits.pool_line.as_deref().unwrap_or("its setting"),
        words(setting),
        limit.words(),
        habits.source
    )));
    pool.value = limit;
}

/// A limit of which the other end sees so much more.
pub(crate) fn later(limit: Limit, late: Duration) -> Limit {
    match limit {
        Limit::After { earliest, latest } if earliest == latest => Limit::After {
            earliest,
            latest: latest + late,
        },
        other => other,
    }
}

/// What a pool's setting means where connections live between so many times its value.
pub(crate) fn times(limit: Limit, least: u32, most: u32) -> Limit {
    match limit {
        Limit::After { earliest, latest } => Limit::After {
            earliest: earliest.saturating_mul(least),
            latest: latest.saturating_mul(most),
        },
        other => other,
    }
}

/// A hop of which nothing is known is a mistake, not a riddle.
fn check(hop: &Hop, request: &Request, place: Place) -> Result<(), AssembleError> {
    let said = request.limits != Limits::Unsaid || request.file.is_some() || request.flags.is_some();
    let name = &hop.name;
    let want = match place {
        Place::First => format!("how long it keeps connections that it opened, as in {name}=90"),
        Place::Middle => {
            format!("its idle limits, as in {name}=60/30 (of connections that it accepted / that it opened)")
        }
        Place::Last => format!("how long it keeps idle connections, as in {name}=60"),
    };
    if said || hop.software.is_some() || hop.accepts.idle.is_some() || hop.opens.pool.is_some() {
        return Ok(());
    }
    Err(AssembleError::Unknown {
        name: name.clone(),
        alike: alike(name),
        want,
    })
}

/// The products that a name could mean.
fn alike(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let near: Vec<&str> = facts::all_software()
        .map(|row| row.id.as_str())
        .filter(|id| {
            name.len() >= 3 && (id.contains(&name) || name.contains(id) || distance(id, &name) <= 1 + id.len() / 5)
        })
        .take(4)
        .collect();
    if near.is_empty() {
        String::new()
    } else {
        format!(" (it knows {})", near.join(", "))
    }
}

/// Levenshtein's distance; names are short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
