//! What products do if nobody says otherwise, by version.

use std::sync::LazyLock;
use std::time::Duration;

use super::settings::Parameter;
use super::software::{Software, software_by_id};
use super::version::Version;

/// What a product does with connections if nobody says otherwise. `None`: unknown.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// How long a connection that it accepted may be idle between requests.
    pub idle: Option<Known<Limit>>,
    /// How long a connection that it opened may be idle and is still used again.
    pub pool_idle: Option<Known<Limit>>,
    /// How many requests a connection that it accepted may carry.
    pub max_requests: Option<Known<Limit>>,
    /// How many requests a connection that it opened carries.
    pub pool_max_requests: Option<Known<Limit>>,
    /// How old a connection that it accepted may become.
    pub lifetime: Option<Known<Limit>>,
    /// How old a connection that it opened may become.
    pub pool_lifetime: Option<Known<Limit>>,
    /// It says `Connection: close` in the last response before it closes on its own count (not before an idle close, which
    /// nothing can announce).
    pub announces_close: Option<Known<bool>>,
    /// It says `Keep-Alive: timeout=` with its idle limit.
    pub announces_idle: Option<Known<bool>>,
    /// Which requests it repeats when a connection that it used again turns out to be closed.
    pub retries: Option<Known<Repeats>>,
    /// It looks whether a connection has been closed before it uses it again. The race remains, but only for as long as a
    /// packet travels.
    pub checks_before_reuse: Option<Known<bool>>,
    rows: Vec<&'static Row>,
    version: Option<Version>,
}

/// One default.
#[derive(Clone, Debug)]
pub struct Known<T> {
    /// The value, as documented or configured.
    pub value: T,
    /// What a stopwatch shows, where that is not `value`: Node's 5 s last 6 s.
    pub observed: Option<Duration>,
    /// What else there is to know.
    pub note: Option<&'static str>,
    /// Where it was read.
    pub source: &'static str,
    /// It was read in the source or documentation, or measured; false: from memory.
    pub verified: bool,
    /// The first version that does so, if it was not always so.
    pub since: Option<&'static Version>,
    /// What other versions do: "before 26", and the value. If the version is not known, these may be true instead.
    pub otherwise: Vec<(String, T)>,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So long.
    Time(Duration),
    /// So many, or so many bytes.
    Count(u64),
    /// No limit: until the other end closes.
    None,
    /// Connections are not kept at all: one request, and it closes.
    NotKept,
}

/// Which requests are repeated on a stale connection, without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeats {
    /// None: the caller gets the error.
    Nothing,
    /// Those of which nothing was sent.
    Unsent,
    /// Those without a body, whatever their method.
    Bodyless,
    /// Those with a safe method (GET, HEAD, OPTIONS, TRACE).
    Safe,
    /// Those with an idempotent method (the safe ones, PUT, DELETE).
    Idempotent,
    /// All whose body can be sent again, POST too.
    Any,
}

/// What a product does if nobody says otherwise, of a version or, without one, of the newest. Empty for software that is not
/// known.
pub fn defaults(software: &str, version: Option<&str>) -> Defaults {
    let version = version.and_then(Version::parse);
    let Some(software) = software_by_id(software) else {
        return Defaults::default();
    };
    let rows = rows_of(software, version.as_ref());
    let found = Defaults {
        rows,
        version,
        ..Defaults::default()
    };
    Defaults {
        idle: found.limit(Parameter::Idle),
        pool_idle: found.limit(Parameter::PoolIdle),
        max_requests: found.limit(Parameter::MaxRequests),
        pool_max_requests: found.limit(Parameter::PoolMaxRequests),
        lifetime: found.limit(Parameter::Lifetime),
        pool_lifetime: found.limit(Parameter::PoolLifetime),
        announces_close: found.known(Parameter::AnnounceClose, Content::holds),
        announces_idle: found.known(Parameter::AnnounceIdle, Content::holds),
        retries: found.known(Parameter::Retry, Content::repeats),
        checks_before_reuse: found.known(Parameter::PoolCheck, Content::holds),
        ..found
    }
}

impl Defaults {
    /// The default limit of anything that has one.
    pub fn limit(&self, parameter: Parameter) -> Option<Known<Limit>> {
        self.known(parameter, Content::limit)
    }

    fn known<T>(&self, parameter: Parameter, read: fn(Content) -> Option<T>) -> Option<Known<T>> {
        let rows = || self.rows.iter().filter(|row| row.parameter == parameter);
        let row = rows().find(|row| row.fits(self.version.as_ref()))?;
        let others = rows().filter(|other| !std::ptr::eq(**other, *row));
        Some(Known {
            value: read(row.value)?,
            observed: row.observed.map(|Span(observed)| observed),
            note: row.note.as_deref(),
            source: &row.source,
            verified: row.verified,
            since: row.since.as_ref(),
            otherwise: others
                .filter_map(|other| Some((other.range(), read(other.value)?)))
                .collect(),
        })
    }
}

/// The product's rows, and of what is inside it those about which it has none. What is inside has versions of its own: then
/// only rows that hold for all of them are certain, and the newest is taken with the others beside it.
fn rows_of(software: &'static Software, version: Option<&Version>) -> Vec<&'static Row> {
    let mut rows: Vec<&'static Row> = Vec::new();
    for (depth, known) in software.and_inside().enumerate() {
        let outer = rows.len();
        for row in DEFAULTS.iter().filter(|row| row.software == known.id) {
            let has_own = rows[..outer].iter().any(|other| other.parameter == row.parameter);
            let is_certain = depth == 0 || version.is_none() || (row.since.is_none() && row.until.is_none());
            if !has_own && is_certain {
                rows.push(row);
            }
        }
    }
    rows
}

#[derive(serde::Deserialize)]
struct Table {
    default: Vec<Row>,
}

#[derive(Debug, serde::Deserialize)]
struct Row {
    software: String,
    parameter: Parameter,
    value: Content,
    observed: Option<Span>,
    note: Option<String>,
    since: Option<Version>,
    until: Option<Version>,
    source: String,
    #[serde(default)]
    verified: bool,
}

// The file is part of the program; a test parses it, so a table that does not parse never ships.
static DEFAULTS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("../../facts/defaults.toml"))
        .map(|table| table.default)
        .unwrap_or_default()
});

impl Row {
    fn fits(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => version.is_within(self.since.as_ref(), self.until.as_ref()),
            None => self.until.is_none(),
        }
    }

    fn range(&self) -> String {
        match (&self.since, &self.until) {
            (Some(since), Some(until)) => format!("{since} to before {until}"),
            (Some(since), None) => format!("since {since}"),
            (None, Some(until)) => format!("before {until}"),
            (None, None) => "always".to_owned(),
        }
    }
}

/// What stands in `value`: `"60s"`, `1000`, `"none"`, `"not-kept"`, `true`, or one of [`Repeats`].
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(untagged)]
enum Content {
    Holds(bool),
    Count(u64),
    Repeats(Repeats),
    Absent(Absent),
    Time(Span),
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Absent {
    None,
    NotKept,
}

impl Content {
    fn limit(self) -> Option<Limit> {
        match self {
            Content::Time(Span(time)) => Some(Limit::Time(time)),
            Content::Count(count) => Some(Limit::Count(count)),
            Content::Absent(Absent::None) => Some(Limit::None),
            Content::Absent(Absent::NotKept) => Some(Limit::NotKept),
            Content::Holds(_) | Content::Repeats(_) => None,
        }
    }

    fn holds(self) -> Option<bool> {
        match self {
            Content::Holds(holds) => Some(holds),
            _ => None,
        }
    }

    fn repeats(self) -> Option<Repeats> {
        match self {
            Content::Repeats(repeats) => Some(repeats),
            _ => None,
        }
    }
}

/// A time such as `75s`, `500ms`, `4m`, `1h`.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let milliseconds = match unit {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60 * 1000),
            "h" => Some(3600 * 1000),
            _ => None,
        };
        let number: Option<u64> = number.parse().ok();
        number
            .zip(milliseconds)
            .and_then(|(number, unit)| number.checked_mul(unit))
            .map(|milliseconds| Span(Duration::from_millis(milliseconds)))
            .ok_or_else(|| format!("{text:?} is no time"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses() {
        let table: Table = toml::from_str(include_str!("../../facts/defaults.toml")).unwrap();
        assert!(table.default.len() > 200);
    }

    #[test]
    fn every_row_names_software_has_a_source_and_a_value_of_its_kind() {
        for row in DEFAULTS.iter() {
            let known = software_by_id(&row.software).unwrap_or_else(|| panic!("unknown software {}", row.software));
            assert_eq!(known.id, row.software, "an alias in defaults.toml");
            assert!(!row.source.trim().is_empty(), "{row:?} has no source");
            assert!(!(row.verified && row.source.starts_with("from memory")), "{row:?}");
            let right = match row.parameter {
                Parameter::AnnounceClose | Parameter::AnnounceIdle | Parameter::PoolCheck => {
                    row.value.holds().is_some()
                }
                Parameter::Retry => row.value.repeats().is_some(),
                _ => row.value.limit().is_some(),
            };
            assert!(right, "{row:?}");
        }
    }

    #[test]
    fn each_parameter_has_one_newest_value_and_ranges_that_do_not_overlap() {
        for row in DEFAULTS.iter() {
            let of_it: Vec<&Row> = DEFAULTS
                .iter()
                .filter(|other| other.software == row.software && other.parameter == row.parameter)
                .collect();
            assert_eq!(of_it.iter().filter(|row| row.until.is_none()).count(), 1, "{of_it:#?}");
            for other in of_it.iter().filter(|other| !std::ptr::eq(**other, row)) {
                let ends_before = |one: &Row, two: &Row| {
                    one.until
                        .as_ref()
                        .zip(two.since.as_ref())
                        .is_some_and(|(until, since)| until <= since)
                };
                assert!(ends_before(row, other) || ends_before(other, row), "{row:?} {other:?}");
            }
        }
    }

    #[test]
    fn versions_decide_and_without_one_the_newest_does() {
        let idle = |version| defaults("node", version).idle.unwrap();
        assert_eq!(idle(Some("20.20.2")).value, Limit::Time(Duration::from_secs(5)));
        assert_eq!(idle(Some("20.20.2")).observed, Some(Duration::from_secs(6)));
        assert_eq!(idle(Some("26.0.0")).value, Limit::Time(Duration::from_secs(65)));
        let unknown = idle(None);
        assert_eq!(unknown.value, Limit::Time(Duration::from_secs(65)));
        assert_eq!(
            unknown.otherwise,
            [("before 26".to_owned(), Limit::Time(Duration::from_secs(5)))]
        );
        let pool = |version| defaults("nginx", version).pool_idle.unwrap().value;
        assert_eq!(pool(Some("1.22.1")), Limit::NotKept);
        assert_eq!(pool(Some("1.29.7")), Limit::Time(Duration::from_secs(60)));
        assert_eq!(
            defaults("puma", Some("6.4.2")).idle.unwrap().value,
            Limit::Time(Duration::from_secs(20))
        );
        assert_eq!(defaults("requests", None).pool_idle.unwrap().value, Limit::None);
        assert_eq!(defaults("curl", None).retries.unwrap().value, Repeats::Any);
        assert!(defaults("nothing", None).idle.is_none());
    }

    #[test]
    fn what_is_inside_lends_what_its_outside_lacks() {
        // Express 5 runs on any Node: its version says nothing of Node's.
        let express = defaults("express", Some("5.3.0"));
        assert!(express.idle.is_none() && express.announces_idle.unwrap().value);
        assert!(defaults("express", None).idle.is_some());
        // Fastify has its own.
        assert_eq!(
            defaults("fastify", Some("5")).idle.unwrap().value,
            Limit::Time(Duration::from_secs(72))
        );
    }

    #[test]
    fn times_parse_and_nonsense_does_not() {
        for (text, milliseconds) in [
            ("75s", 75_000),
            ("500ms", 500),
            ("4m", 240_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(
                Span::try_from(text.to_owned()).unwrap().0,
                Duration::from_millis(milliseconds)
            );
        }
        for text in [
            "",
            "s",
            "5",
            "5 s",
            "-1s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(Span::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
