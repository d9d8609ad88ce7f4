//! From what was measured to what clients and the server are to be set to.

use std::time::Duration;

use bypeer_diagnose::facts::{self, Parameter, Place, Recognised, Setting, Signs, Sure, Value as SettingValue};

use crate::card::Card;
use crate::check::{Remedy, Risk};
use crate::checks;
use crate::habit::{Habit, Value};
use crate::http::Answer;

/// What to set.
#[derive(Clone, Debug)]
pub struct Advice {
    /// The products that answer, those in front first; empty: unknown.
    pub products: Vec<Recognised>,
    /// What a client must keep to.
    pub client: ClientRule,
    /// The lines for it, by client.
    pub clients: Vec<Lines>,
    /// The server's own settings, where its product is known.
    pub server: Vec<Lines>,
    /// Some faults are beyond any client.
    pub beyond_clients: bool,
}

/// What a client must keep to, whatever it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientRule {
    /// Use each connection once.
    pub no_reuse: bool,
    /// Do not use a connection again that was idle for longer.
    pub pool_idle: Option<Duration>,
    /// Use a connection for at most so many requests.
    pub pool_requests: Option<u64>,
    /// Do not use a connection that is older.
    pub pool_lifetime: Option<Duration>,
    /// Why, in a sentence each.
    pub because: Vec<String>,
}

/// Lines for one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Its id in the facts.
    pub software: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it is this product is not sure.
    pub perhaps: bool,
    /// To paste.
    pub lines: Vec<Line>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Where it goes.
    pub place: &'static str,
    /// The line or lines.
    pub text: String,
    /// What else to know.
    pub note: Option<&'static str>,
}

/// Clients that have pools, in the order of the card.
const CLIENTS: [&str; 23] = [
    "go-client",
    "undici",
    "node-client",
    "python-requests",
    "httpx",
    "aiohttp-client",
    "jdk-httpclient",
    "apache-httpclient",
    "okhttp",
    "dotnet",
    "reqwest",
    "curl",
    "guzzle",
    "ruby-net-http",
    "net-http-persistent",
    "nginx",
    "haproxy",
    "envoy",
    "apache-proxy",
    "traefik",
    "caddy",
    "varnish",
    "ingress-nginx",
];

/// Most of what the client's clock, its scheduling and the server's timer may be off, beside what was measured.
const SLACK: Duration = Duration::from_millis(100);
/// Clients that nobody has set keep connections for about this long; a server that keeps them longer is never first.
const LONGEST_COMMON_POOL: Duration = Duration::from_secs(120);

impl Advice {
    /// From all that was measured.
    pub fn of(card: &Card) -> Advice {
        let products = products(card);
        let client = rule(card);
        let clients = CLIENTS.iter().filter_map(|id| client_lines(id, &client)).collect();
        // What stands behind another is not what was measured; where nothing is sure, each that may be there gets its lines.
        let in_front = || products.iter().filter(|found| found.place == Place::Front);
        let sure = in_front().find(|found| found.sure > Sure::Perhaps);
        let server = match sure {
            Some(found) => server_lines(found, card).into_iter().collect(),
            None => in_front().filter_map(|found| server_lines(found, card)).collect(),
        };
        let beyond_clients = card.risks().iter().any(|(_, risk)| is_beyond_clients(risk));
        Advice {
            products,
            client,
            clients,
            server,
            beyond_clients,
        }
    }

    /// The lines for any client, by its id; `None`: it cannot be told so, as far as is known.
    pub fn for_client(&self, id: &str) -> Option<Lines> {
        client_lines(id, &self.client)
    }
}

/// No client setting keeps it from losing data.
pub fn is_beyond_clients(risk: &Risk) -> bool {
    risk.remedy == Remedy::Server && risk.severity > crate::check::Severity::Note
}

impl ClientRule {
    /// Nothing is to be kept to.
    pub fn is_empty(&self) -> bool {
        !self.no_reuse && self.pool_idle.is_none() && self.pool_requests.is_none() && self.pool_lifetime.is_none()
    }
}

/// The longest that a pool may keep connections to a server that closes idle ones after `shortest`, `spread` apart.
///
/// The client must be the first to let go: earlier than the server by the round trip that the FIN and a request may need, by the
/// spread of the server's timer, by the slack of timers, and by a tenth.
pub fn pool_limit(shortest: Duration, spread: Duration, round_trip: Duration) -> Duration {
    let margin = round_trip * 2 + SLACK + spread.min(shortest / 4);
    shortest.saturating_sub(margin.max(shortest / 10)).max(shortest / 4)
}

fn products(card: &Card) -> Vec<Recognised> {
    let signs = |answer: &Answer, tell: &mut dyn FnMut(&Signs<'_>)| {
        let fields: Vec<(&str, &str)> = answer
            .fields
            .iter()
            .map(|field| (field.name.as_str(), field.value.as_str()))
            .collect();
        tell(&Signs {
            fields: &fields,
            status: Some(answer.head.status),
            body: &answer.body,
        });
    };
    let mut found: Vec<Recognised> = Vec::new();
    for answer in std::iter::once(&card.first).chain(&card.unfound) {
        signs(answer, &mut |signs| {
            for product in facts::recognise(signs) {
                match found.iter_mut().find(|known| known.software.id == product.software.id) {
                    Some(known) if product.sure > known.sure => *known = product,
                    Some(_) => {}
                    None => found.push(product),
                }
            }
        });
    }
    found
}

fn rule(card: &Card) -> ClientRule {
    let mut rule = ClientRule::default();
    let kept = card.value(&checks::KEPT).and_then(Value::word);
    if kept == Some("closed-unannounced") {
        rule.no_reuse = true;
        rule.because
            .push("the server closes after each answer and does not say so".to_owned());
        return rule;
    }
    if kept == Some("closed-announced") {
        rule.because
            .push("the server says Connection: close with each answer, and clients heed that".to_owned());
        return rule;
    }
    if let Some(limit) = idle_limit(card) {
        rule.pool_idle = Some(limit.pool);
        rule.because.push(limit.because);
    }
    // Limits that answers announce are heeded without being told.
    let is_risky = |check: &str| {
        card.risks()
            .iter()
            .any(|(by, risk)| by.id == check && risk.cause == "proxy-max-requests")
    };
    if let (Some(Value::Count(requests)), true) = (card.value(&checks::REQUESTS), is_risky("request-limit")) {
        rule.pool_requests = Some((*requests).saturating_sub(1).max(1));
        rule.because
            .push(format!("it closes after {requests} requests and does not say so"));
    }
    if let (Some(Value::Time(ages)), true) = (card.value(&checks::AGE), is_risky("lifetime")) {
        rule.pool_lifetime = Some(pool_limit(ages.low(), ages.high() - ages.low(), card.round_trip));
        rule.because.push(format!(
            "it closes connections at the age of {} and does not say so",
            seconds(ages.low())
        ));
    }
    rule
}

/// An idle limit and what follows from it.
struct IdleLimit {
    pool: Duration,
    because: String,
}

/// The shortest limit of used connections, and what of it a pool may use.
fn idle_limit(card: &Card) -> Option<IdleLimit> {
    let values = [&checks::AFTER_ONE, &checks::AFTER_SEVERAL].map(|habit: &Habit| card.value(habit));
    let spreads: Vec<_> = values.iter().flatten().filter_map(|value| value.spread()).collect();
    let Some(low) = spreads.iter().map(|spread| spread.low()).min() else {
        let Some(Value::LongerThan(longest)) = values.into_iter().flatten().next() else {
            return None;
        };
        let pool = pool_limit(*longest, Duration::ZERO, card.round_trip);
        return Some(IdleLimit {
            pool,
            because: format!(
                "the server keeps idle connections for at least {}; what it does later was not waited for",
                seconds(*longest)
            ),
        });
    };
    let high = spreads.iter().map(|spread| spread.high()).max().unwrap_or(low);
    let promised = match card.value(&checks::PROMISED) {
        Some(Value::Count(promised)) => Some(Duration::from_secs(*promised)).filter(|promised| !promised.is_zero()),
        _ => None,
    };
    // What is promised holds after the next deployment too.
    let shortest = promised.map_or(low, |promised| promised.min(low));
    let pool = pool_limit(shortest, high.saturating_sub(low), card.round_trip);
    let because = match promised.filter(|promised| *promised < low) {
        Some(promised) => format!(
            "the server promises {} to idle connections (and closes after {})",
            seconds(promised),
            seconds(low)
        ),
        None => format!("the server closes idle connections after {}", seconds(low)),
    };
    Some(IdleLimit { pool, because })
}

fn client_lines(id: &str, rule: &ClientRule) -> Option<Lines> {
    let software = facts::software_by_id(id)?;
    let mut lines = Vec::new();
    let mut add = |parameter, value: SettingValue, purpose| {
        let line = facts::setting(&software.id, parameter).and_then(|setting| line(setting, value, purpose));
        let found = line.is_some();
        lines.extend(line);
        found
    };
    if rule.no_reuse {
        add(Parameter::NoReuse, SettingValue::Fixed, "use each connection once");
    }
    if let Some(limit) = rule.pool_idle
        && !add(Parameter::PoolIdle, SettingValue::Time(limit), "idle limit of the pool")
    {
        // It cannot be told a limit, or none so short.
        add(
            Parameter::NoReuse,
            SettingValue::Fixed,
            "use each connection once, for no limit so short can be set",
        );
    }
    if let Some(requests) = rule.pool_requests {
        add(
            Parameter::PoolMaxRequests,
            SettingValue::Count(requests),
            "requests per connection",
        );
    }
    if let Some(lifetime) = rule.pool_lifetime {
        add(
            Parameter::PoolLifetime,
            SettingValue::Time(lifetime),
            "age of connections",
        );
    }
    (!lines.is_empty()).then_some(Lines {
        software: &software.id,
        name: &software.name,
        perhaps: false,
        lines,
    })
}

/// What the server's owner can set instead, so that its clients need not.
fn server_lines(found: &Recognised, card: &Card) -> Option<Lines> {
    let id = &found.software.id;
    let mut lines = Vec::new();
    let mut add = |parameter, value: SettingValue, purpose| {
        let setting = facts::setting_of_version(id, parameter, found.version.as_ref());
        lines.extend(setting.and_then(|setting| line(setting, value, purpose)));
    };
    match card.value(&checks::KEPT).and_then(Value::word) {
        Some("closed-unannounced") => add(Parameter::AnnounceClose, SettingValue::Fixed, "say that it closes"),
        Some("kept") => {
            let limit = card
                .value(&checks::AFTER_ONE)
                .and_then(Value::spread)
                .map(|spread| spread.low());
            if limit.is_some_and(|limit| limit <= LONGEST_COMMON_POOL) {
                let longer = LONGEST_COMMON_POOL + Duration::from_secs(10);
                add(
                    Parameter::Idle,
                    SettingValue::Time(longer),
                    "outlast clients that keep connections for two minutes, as most do at the longest",
                );
                add(Parameter::AnnounceIdle, SettingValue::Time(longer), "say so");
            }
        }
        _ => {}
    }
    (!lines.is_empty()).then_some(Lines {
        software: &found.software.id,
        name: &found.software.name,
        perhaps: found.sure == Sure::Perhaps,
        lines,
    })
}

fn line(setting: &'static Setting, value: SettingValue, purpose: &'static str) -> Option<Line> {
    let line = match setting.takes_value() {
        true => setting.line(value),
        false => setting.line(SettingValue::Fixed),
    }?;
    Some(Line {
        purpose,
        place: &setting.place,
        text: line.text,
        note: setting.note.as_deref(),
    })
}

/// As people write seconds.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.1 => format!("{:.0} ms", seconds * 1000.0),
        ..10.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_known_and_can_be_told_something() {
        let rule = ClientRule {
            no_reuse: true,
            pool_idle: Some(Duration::from_secs(4)),
            ..ClientRule::default()
        };
        for id in CLIENTS {
            let lines = client_lines(id, &rule);
            assert!(lines.is_some_and(|lines| !lines.lines.is_empty()), "{id}");
        }
        assert!(client_lines("no such client", &rule).is_none());
    }

    #[test]
    fn a_pool_lets_go_before_the_server_does() {
        let millis = Duration::from_millis;
        assert_eq!(pool_limit(millis(5000), millis(1), millis(1)), millis(4500));
        assert_eq!(pool_limit(millis(75_000), millis(0), millis(80)), millis(67_500));
        // A server that sweeps once a second, over a long way.
        assert_eq!(
            pool_limit(millis(5000), millis(1000), millis(300)),
            millis(5000 - 600 - 100 - 1000)
        );
        for shortest in [1, 10, 100, 250, 1000, 2000, 600_000] {
            for spread in [0, 5, 1000, 60_000] {
                for round_trip in [0, 1, 50, 900] {
                    let limit = pool_limit(millis(shortest), millis(spread), millis(round_trip));
                    assert!(
                        limit < millis(shortest) && limit >= millis(shortest) / 4,
                        "{shortest} {spread} {round_trip}: {limit:?}"
                    );
                }
            }
        }
    }
}
