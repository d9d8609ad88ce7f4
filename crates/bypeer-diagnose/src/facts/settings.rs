//! The settings of products, as lines to paste.

use std::sync::LazyLock;
use std::time::Duration;

use super::software::software_by_id;
use super::version::Version;

/// What a setting governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// How long an accepted connection may be idle between requests.
    Idle,
    /// How many requests an accepted connection may carry.
    MaxRequests,
    /// How old an accepted connection may become.
    Lifetime,
    /// How long the head of a request may take, from the connection's begin or the request's first byte.
    HeaderTimeout,
    /// How long the body of a request may take, or may pause.
    BodyTimeout,
    /// How large the body of a request may be, bytes.
    MaxBody,
    /// How long it reads on after it half-closed.
    Linger,
    /// How many bytes of an unread body it reads before it closes.
    Drain,
    /// How many connections wait to be accepted.
    Backlog,
    /// It announces its idle limit: `Keep-Alive: timeout=`.
    AnnounceIdle,
    /// It announces that a response is the connection's last: `Connection: close`.
    AnnounceClose,
    /// How long an opened connection may be idle and is still used again.
    PoolIdle,
    /// How many requests an opened connection carries.
    PoolMaxRequests,
    /// How old an opened connection may become.
    PoolLifetime,
    /// It looks whether an opened connection is still alive before it uses it again.
    PoolCheck,
    /// How long it waits for a response.
    ResponseTimeout,
    /// It repeats requests that may be repeated when a connection used again turns out to be closed.
    Retry,
    /// It uses no connection twice.
    NoReuse,
}

/// What a setting is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A time.
    Time(Duration),
    /// A number of requests, connections or bytes.
    Count(u64),
    /// Nothing is to be filled in: the line stands as it is.
    Fixed,
}

/// A setting of one product.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Setting {
    /// `id` of the software.
    pub software: String,
    /// What it governs.
    pub parameter: Parameter,
    /// The line or lines to paste, with one or more of the placeholders of [`Unit`] or none.
    template: String,
    /// Where it goes: a file and block of it, a type, a command line.
    pub place: String,
    /// What else must be known to use it.
    pub note: Option<String>,
    /// Smallest number that may stand in the template; 1 if absent, since 0 mostly means "no limit". Durations: milliseconds.
    least: Option<u64>,
    /// Largest number that may stand in the template.
    most: Option<u64>,
    /// First version that has it.
    pub since: Option<Version>,
    /// First version that has it no more.
    pub until: Option<Version>,
    /// Where it was read.
    pub source: String,
    /// It was read in the source or documentation, or tried; false: from memory.
    pub verified: bool,
}

/// A setting with a value, ready to paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// One or more lines.
    pub text: String,
    /// The value that stands there, after rounding.
    pub set: Value,
}

/// The setting of a product for something, of its newest version; of what is inside it if it has none of its own.
pub fn setting(software: &str, parameter: Parameter) -> Option<&'static Setting> {
    setting_of_version(software, parameter, None)
}

/// As [`setting`], of a version. `None`: the newest.
pub fn setting_of_version(software: &str, parameter: Parameter, version: Option<&Version>) -> Option<&'static Setting> {
    software_by_id(software)?
        .and_inside()
        .enumerate()
        .find_map(|(depth, row)| {
            // The version is the outer product's; what is inside has others.
            let version = version.filter(|_| depth == 0);
            SETTINGS
                .iter()
                .find(|setting| setting.software == row.id && setting.parameter == parameter && setting.fits(version))
        })
}

/// All settings of a product, its own before those of what is inside it; of each parameter those of all versions.
pub fn settings_of(software: &str) -> Vec<&'static Setting> {
    let mut found: Vec<&'static Setting> = Vec::new();
    for row in software_by_id(software)
        .into_iter()
        .flat_map(|known| known.and_inside())
    {
        let outer = found.len();
        for setting in SETTINGS.iter().filter(|setting| setting.software == row.id) {
            if found[..outer].iter().all(|other| other.parameter != setting.parameter) {
                found.push(setting);
            }
        }
    }
    found
}

/// How a number stands in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// `{milliseconds}`: a whole number.
    Milliseconds,
    /// `{seconds}`: a whole number.
    Seconds,
    /// `{minutes}`: a whole number.
    Minutes,
    /// `{decimal-seconds}`: seconds with up to three places, `4` or `4.5`.
    DecimalSeconds,
    /// `{duration}`: `4s` or `4500ms`, as nginx and HAProxy, Go's command lines and Caddyfiles read it.
    Duration,
    /// `{go-duration}`: `4 * time.Second` or `4500 * time.Millisecond`.
    GoDuration,
    /// `{clock}`: `00:01:15`, hours, minutes and seconds.
    Clock,
    /// `{count}`: a whole number of something that is not a time.
    Count,
}

const UNITS: [(&str, Unit); 8] = [
    ("milliseconds", Unit::Milliseconds),
    ("seconds", Unit::Seconds),
    ("minutes", Unit::Minutes),
    ("decimal-seconds", Unit::DecimalSeconds),
    ("duration", Unit::Duration),
    ("go-duration", Unit::GoDuration),
    ("clock", Unit::Clock),
    ("count", Unit::Count),
];

#[derive(serde::Deserialize)]
struct Settings {
    setting: Vec<Setting>,
}

// The file is part of the program; a test parses it, so a table that does not parse never ships.
static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    toml::from_str::<Settings>(include_str!("../../facts/settings.toml"))
        .map(|table| table.setting)
        .unwrap_or_default()
});

impl Parameter {
    /// All of them.
    pub const ALL: [Parameter; 18] = [
        Parameter::Idle,
        Parameter::MaxRequests,
        Parameter::Lifetime,
        Parameter::HeaderTimeout,
        Parameter::BodyTimeout,
        Parameter::MaxBody,
        Parameter::Linger,
        Parameter::Drain,
        Parameter::Backlog,
        Parameter::AnnounceIdle,
        Parameter::AnnounceClose,
        Parameter::PoolIdle,
        Parameter::PoolMaxRequests,
        Parameter::PoolLifetime,
        Parameter::PoolCheck,
        Parameter::ResponseTimeout,
        Parameter::Retry,
        Parameter::NoReuse,
    ];

    /// It concerns connections that the software opened; otherwise those it accepted.
    pub fn is_of_opener(self) -> bool {
        use Parameter::{NoReuse, PoolCheck, PoolIdle, PoolLifetime, PoolMaxRequests, ResponseTimeout, Retry};
        matches!(
            self,
            PoolIdle | PoolMaxRequests | PoolLifetime | PoolCheck | ResponseTimeout | Retry | NoReuse
        )
    }

    /// A value between two that the product knows becomes the smaller one. The opener must let go of a connection first, so
    /// what limits its use of one is rounded down, and all else up.
    fn rounds_down(self) -> bool {
        matches!(
            self,
            Parameter::PoolIdle | Parameter::PoolMaxRequests | Parameter::PoolLifetime | Parameter::PoolCheck
        )
    }
}

impl Setting {
    /// The setting as a line to paste that keeps the promise of the value: what limits the use of an opened connection is
    /// rounded down, everything else up.
    ///
    /// `None` if the product cannot be told so: a pool that counts whole seconds has nothing below one, and the value may be
    /// beyond the product's range; also if the value is not of the kind that stands in the setting.
    pub fn line(&self, value: impl Into<Value>) -> Option<Line> {
        let value = value.into();
        let mut text = String::new();
        let mut set = Value::Fixed;
        let mut rest = self.template.as_str();
        while let Some((before, placeholder, after)) = next_placeholder(rest) {
            let number = self.number(placeholder.unit, value)?;
            // A second number that must lie beyond the first says so: `{milliseconds+1000}`.
            let shown = number.checked_add(placeholder.more)?;
            text.push_str(before);
            text.push_str(&placeholder.unit.text(shown));
            if placeholder.more == 0 {
                set = placeholder.unit.value(number);
            }
            rest = after;
        }
        text.push_str(rest);
        Some(Line { text, set })
    }

    /// Whether a value has to be given.
    pub fn takes_value(&self) -> bool {
        next_placeholder(&self.template).is_some()
    }

    fn number(&self, unit: Unit, value: Value) -> Option<u64> {
        let number = match (value, unit) {
            (Value::Count(count), Unit::Count) => count,
            (Value::Time(time), unit) if unit != Unit::Count => {
                let step = unit.step().as_nanos();
                let steps = if self.parameter.rounds_down() {
                    time.as_nanos() / step
                } else {
                    time.as_nanos().div_ceil(step)
                };
                u64::try_from(steps).ok()?
            }
            _ => return None,
        };
        let (least, most) = (self.least.unwrap_or(1), self.most.unwrap_or(u64::MAX));
        match self.parameter.rounds_down() {
            // The next smaller one that the product knows, the next larger one.
            true => (number >= least).then_some(number.min(most)),
            false => (number <= most).then_some(number.max(least)),
        }
    }

    fn fits(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => version.is_within(self.since.as_ref(), self.until.as_ref()),
            None => self.until.is_none(),
        }
    }
}

impl Unit {
    /// The smallest difference that can be told.
    fn step(self) -> Duration {
        match self {
            Unit::Milliseconds | Unit::DecimalSeconds | Unit::Duration | Unit::GoDuration => Duration::from_millis(1),
            Unit::Seconds | Unit::Clock | Unit::Count => Duration::from_secs(1),
            Unit::Minutes => Duration::from_secs(60),
        }
    }

    /// A number of steps, as it stands in a line.
    fn text(self, number: u64) -> String {
        let whole = number.is_multiple_of(1000);
        match self {
            Unit::Milliseconds | Unit::Seconds | Unit::Minutes | Unit::Count => number.to_string(),
            Unit::DecimalSeconds | Unit::Duration | Unit::GoDuration if whole => {
                let unit = match self {
                    Unit::Duration => "s",
                    Unit::GoDuration => " * time.Second",
                    _ => "",
                };
                format!("{}{unit}", number / 1000)
            }
            Unit::Clock => format!("{:02}:{:02}:{:02}", number / 3600, number / 60 % 60, number % 60),
            Unit::Duration => format!("{number}ms"),
            Unit::GoDuration => format!("{number} * time.Millisecond"),
            Unit::DecimalSeconds => {
                let text = format!("{}.{:03}", number / 1000, number % 1000);
                text.trim_end_matches('0').to_owned()
            }
        }
    }

    fn value(self, number: u64) -> Value {
        match self {
            Unit::Count => Value::Count(number),
            Unit::Milliseconds | Unit::DecimalSeconds | Unit::Duration | Unit::GoDuration => {
                Value::Time(Duration::from_millis(number))
            }
            Unit::Seconds | Unit::Clock => Value::Time(Duration::from_secs(number)),
            Unit::Minutes => Value::Time(Duration::from_secs(number.saturating_mul(60))),
        }
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Value {
        Value::Time(time)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

struct Placeholder {
    unit: Unit,
    /// Steps that are added to the value.
    more: u64,
}

/// The text before the first placeholder, that one, and the text behind it. Other braces are the language's own.
fn next_placeholder(text: &str) -> Option<(&str, Placeholder, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let inner = &text[open + 1..];
        if let Some((inner, after)) = inner.split_once('}') {
            let (name, more) = inner.split_once('+').unwrap_or((inner, "0"));
            let unit = UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
            if let (Some(unit), Ok(more)) = (unit, more.parse()) {
                return Some((&text[..open], Placeholder { unit, more }, after));
            }
        }
        from = open + 1;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::facts::defaults;

    #[test]
    fn the_table_parses() {
        let table: Settings = toml::from_str(include_str!("../../facts/settings.toml")).unwrap();
        assert!(table.setting.len() > 150);
    }

    #[test]
    fn every_row_names_software_and_has_a_source_and_a_place() {
        for row in SETTINGS.iter() {
            let known = software_by_id(&row.software).unwrap_or_else(|| panic!("unknown software {}", row.software));
            assert_eq!(known.id, row.software, "an alias in settings.toml");
            for text in [&row.source, &row.place, &row.template] {
                assert!(!text.trim().is_empty(), "{row:?}");
            }
            let memory = row.source.starts_with("from memory");
            assert!(!(row.verified && memory), "{row:?} is verified from memory");
            let (since, until) = (row.since.as_ref(), row.until.as_ref());
            assert!(since.zip(until).is_none_or(|(since, until)| since < until), "{row:?}");
        }
    }

    #[test]
    fn no_two_rows_are_for_the_same_version() {
        for (at, row) in SETTINGS.iter().enumerate() {
            for other in SETTINGS[..at]
                .iter()
                .filter(|other| other.software == row.software && other.parameter == row.parameter)
            {
                let ends_before = |one: &Setting, two: &Setting| {
                    one.until
                        .as_ref()
                        .zip(two.since.as_ref())
                        .is_some_and(|(until, since)| until <= since)
                };
                assert!(ends_before(row, other) || ends_before(other, row), "{row:?}\n{other:?}");
            }
        }
    }

    /// What the rendered text of a placeholder says, read by other means than it was written with.
    fn read(text: &str, unit: Unit) -> Duration {
        let number = |text: &str| text.trim().parse::<f64>().unwrap();
        let (seconds, text) = match unit {
            Unit::Milliseconds => (0.001, text),
            Unit::Seconds | Unit::DecimalSeconds => (1.0, text),
            Unit::Minutes => (60.0, text),
            Unit::Duration => match text.strip_suffix("ms") {
                Some(text) => (0.001, text),
                None => (1.0, text.strip_suffix('s').unwrap()),
            },
            Unit::GoDuration => match text.split_once(" * time.") {
                Some((text, "Millisecond")) => (0.001, text),
                Some((text, "Second")) => (1.0, text),
                _ => panic!("{text}"),
            },
            Unit::Clock => {
                let parts: Vec<f64> = text.split(':').map(number).collect();
                return Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]);
            }
            Unit::Count => panic!("a count is no time"),
        };
        Duration::from_nanos((number(text) * seconds * 1e9).round() as u64)
    }

    #[test]
    fn every_template_renders_to_the_right_side() {
        let samples = [
            1, 2, 400, 999, 1000, 1001, 4000, 4500, 4999, 59_999, 75_000, 600_001, 3_600_000,
        ]
        .map(Duration::from_millis)
        .into_iter()
        .chain([Duration::from_nanos(1), Duration::from_micros(4_999_999)]);
        for (row, time) in SETTINGS
            .iter()
            .flat_map(|row| samples.clone().map(move |time| (row, time)))
        {
            let Some((before, placeholder, after)) = next_placeholder(&row.template) else {
                assert_eq!(row.line(Value::Fixed).unwrap().text, row.template);
                continue;
            };
            if placeholder.unit == Unit::Count {
                let line = row.line(1000).unwrap();
                assert_eq!(line.set, Value::Count(1000), "{row:?}");
                assert!(line.text.contains("1000") && row.line(time).is_none(), "{row:?}");
                continue;
            }
            assert!(row.line(1000).is_none() && row.line(Value::Fixed).is_none(), "{row:?}");
            let Some(line) = row.line(time) else {
                let step = placeholder.unit.step();
                let too_small = time < step * u32::try_from(row.least.unwrap_or(1)).unwrap();
                let too_large = row.most.is_some_and(|most| time > step * u32::try_from(most).unwrap());
                assert!(
                    if row.parameter.rounds_down() {
                        too_small
                    } else {
                        too_large
                    },
                    "{row:?} {time:?}"
                );
                continue;
            };
            let Value::Time(set) = line.set else {
                panic!("{row:?}: {line:?}")
            };
            if row.parameter.rounds_down() {
                assert!(set <= time, "{row:?} {time:?}: {line:?}");
            } else {
                assert!(set >= time, "{row:?} {time:?}: {line:?}");
            }
            let rest = line.text.strip_prefix(before).unwrap();
            let end = match next_placeholder(after) {
                Some((literal, _, _)) => literal,
                None => after,
            };
            let shown = &rest[..rest.find(end).unwrap()];
            let shown = if end.is_empty() { rest } else { shown };
            assert_eq!(read(shown, placeholder.unit), set, "{row:?} {time:?}: {line:?}");
            assert!(next_placeholder(&line.text).is_none(), "{line:?}");
        }
    }

    #[test]
    fn what_a_product_cannot_be_told_is_not_said() {
        let line = |software, parameter, milliseconds| {
            setting(software, parameter)
                .unwrap()
                .line(Duration::from_millis(milliseconds))
        };
        // Zero would mean "no limit".
        assert_eq!(line("curl", Parameter::PoolIdle, 999), None);
        assert_eq!(
            line("curl", Parameter::PoolIdle, 4999).unwrap().text,
            "curl_easy_setopt(curl, CURLOPT_MAXAGE_CONN, 4L);"
        );
        assert_eq!(
            line("go", Parameter::Idle, 75_000).unwrap().text,
            "IdleTimeout: 75 * time.Second,"
        );
        assert_eq!(
            line("go-client", Parameter::PoolIdle, 4500).unwrap().text,
            "IdleConnTimeout: 4500 * time.Millisecond,"
        );
        assert_eq!(
            line("iis", Parameter::Idle, 3_725_001).unwrap().text,
            r#"<limits connectionTimeout="01:02:06" />"#
        );
        assert_eq!(
            line("httpx", Parameter::PoolIdle, 4250).unwrap().text,
            "httpx.Client(limits=httpx.Limits(keepalive_expiry=4.25))"
        );
        // More than CloudFront takes: what it takes is below it, and right.
        assert_eq!(
            line("cloudfront", Parameter::PoolIdle, 500_000).unwrap().set,
            Value::Time(Duration::from_secs(120))
        );
        // Less than Azure takes, for a limit that must not be shorter: what it takes.
        assert_eq!(
            line("azure-lb", Parameter::Idle, 1000).unwrap().set,
            Value::Time(Duration::from_secs(240))
        );
        assert_eq!(line("azure-lb", Parameter::Idle, 7_200_000), None);
    }

    #[test]
    fn settings_follow_versions_aliases_and_what_is_inside() {
        let at = |version: &str| {
            let version = Version::parse(version).unwrap();
            &setting_of_version("nginx", Parameter::PoolIdle, Some(&version))
                .unwrap()
                .template
        };
        assert!(at("1.22.1").starts_with("keepalive 32;"));
        assert!(at("1.29.7").starts_with("keepalive_timeout"));
        let newest = setting("openresty", Parameter::PoolIdle).unwrap();
        assert_eq!(newest.since, Version::parse("1.29.7"));
        let express = setting("express", Parameter::Idle).unwrap();
        assert_eq!(express.software, "node");
        assert!(
            settings_of("express")
                .iter()
                .any(|setting| setting.parameter == Parameter::HeaderTimeout)
        );
        assert!(
            settings_of("fastify")
                .iter()
                .filter(|setting| setting.parameter == Parameter::Idle)
                .count()
                == 1
        );
        assert!(settings_of("nothing").is_empty() && setting("nothing", Parameter::Idle).is_none());
    }

    #[test]
    fn every_client_that_keeps_connections_can_be_told_not_to() {
        use crate::facts::Role;
        for known in crate::facts::software::SOFTWARE
            .iter()
            .filter(|known| known.role == Role::Client)
        {
            let keeps = defaults(&known.id, None).pool_idle.is_some();
            let told =
                [Parameter::PoolIdle, Parameter::NoReuse].map(|parameter| setting(&known.id, parameter).is_some());
            assert!(
                !keeps || told.contains(&true),
                "{} keeps connections, and nothing ends it",
                known.id
            );
        }
    }

    #[test]
    fn the_parameters_are_listed_once() {
        let mut all = Parameter::ALL.to_vec();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Parameter::ALL.len());
        assert!(SETTINGS.iter().all(|row| Parameter::ALL.contains(&row.parameter)));
        assert!(
            Parameter::ALL
                .iter()
                .all(|parameter| !parameter.rounds_down() || parameter.is_of_opener())
        );
    }
}
