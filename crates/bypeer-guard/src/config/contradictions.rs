//! Values that are right each by itself, and not together; and those that are allowed and seldom wise.

use std::net::SocketAddr;
use std::time::Duration;

use super::read::{Origin, Problem, Told};
use super::settings::LogTo;
use super::value::Time;
use super::{Destination, Listen, UpstreamVersion};

/// What cannot be meant.
pub(super) fn contradictions(told: &Told) -> Vec<Problem> {
    let mut found = Vec::new();
    let config = &told.settings.config;
    let mut say = |name: &str, what: String| {
        found.push(Problem {
            origin: told.origin(name),
            what,
        });
    };
    if config.listen.is_empty() {
        say(
            "",
            "where clients are to be answered is not said; give --listen 127.0.0.1:8080, or listen in the file"
                .to_owned(),
        );
    }
    if config.upstream.to.is_empty() {
        say(
            "",
            "the server behind is not said; give --to http://127.0.0.1:8000, or to in the file".to_owned(),
        );
    }
    for (index, listen) in config.listen.iter().enumerate() {
        let before = &config.listen[..index];
        if listen.address.port() != 0 && before.iter().any(|other| other.address == listen.address) {
            say(
                "listen.address",
                format!("{} is there twice; leave one out", listen.address),
            );
        }
    }
    for (index, destination) in config.upstream.to.iter().enumerate() {
        if config.upstream.to[..index].contains(destination) {
            say("to", format!("{destination} is there twice; leave one out"));
        }
        if leads_back(destination, told) {
            say(
                "to",
                format!("{destination} is where the guard itself listens: it would ask itself without end"),
            );
        }
    }
    if let Some(metrics) = told.settings.say.metrics
        && let Some(listen) = config
            .listen
            .iter()
            .find(|listen| holds(listen, metrics, &config.listen))
    {
        say(
            "metrics",
            match listen.address == metrics {
                true => format!("{metrics} is where clients are answered; give metrics another port"),
                false => format!(
                    "{metrics} is where clients are answered, as listen has port {} of every address; give metrics another port",
                    metrics.port()
                ),
            },
        );
    }
    let client = &config.client;
    if client.margin >= client.idle {
        say(
            later(told, "client.margin", "client.idle"),
            format!(
                "client.margin ({}) must be shorter than client.idle ({}): it is how much earlier clients are told to stop",
                Time(client.margin),
                Time(client.idle)
            ),
        );
    }
    let close = &config.close;
    if close.idle > close.total {
        say(
            later(told, "close.idle", "close.total"),
            format!(
                "close.idle ({}) must not be longer than close.total ({}), which ends the close before it",
                Time(close.idle),
                Time(close.total)
            ),
        );
    }
    let upstream = &config.upstream;
    if upstream.insecure && upstream.authority.is_some() {
        say(
            "upstream.insecure",
            "upstream.insecure accepts any certificate, and upstream.authority says whose; leave one out".to_owned(),
        );
    }
    let tls = upstream.to.iter().any(|destination| destination.tls);
    if !tls && !upstream.to.is_empty() {
        for name in ["upstream.authority", "upstream.insecure"] {
            if told.is_said(name) {
                say(
                    name,
                    format!("{name} is about TLS, and no server is https://; write https:// or leave it out"),
                );
            }
        }
    }
    let mixed = |destination: &Destination| destination.tls != tls;
    if upstream.version == UpstreamVersion::Http2 && upstream.to.iter().any(mixed) {
        say("to", "HTTP/2 is agreed on by TLS or known beforehand, not both; write all addresses with https:// or all without".to_owned());
    }
    if told.settings.group.is_some() && told.settings.user.is_none() {
        say(
            "group",
            "a group is given and no user; give the user too (--user)".to_owned(),
        );
    }
    found
}

/// Whether nobody else can listen at this address.
fn holds(listen: &Listen, address: SocketAddr, all: &[Listen]) -> bool {
    let held = listen.address;
    // `[::]` is for IPv4 too, unless that has a socket of its own.
    let ipv4_has_own = || {
        let mut all = all.iter();
        all.any(|other| other.address.is_ipv4() && other.address.port() == address.port())
    };
    let is_everywhere =
        held.ip().is_unspecified() && (held.is_ipv4() == address.is_ipv4() || held.is_ipv6() && !ipv4_has_own());
    address.port() != 0 && held.port() == address.port() && (held.ip() == address.ip() || is_everywhere)
}

/// Of two keys the one that was said last: there the contradiction came about.
fn later<'a>(told: &Told, one: &'a str, other: &'a str) -> &'a str {
    match (told.origin(one), told.origin(other)) {
        (Origin::Flag(_), _) => one,
        (_, Origin::Flag(_)) => other,
        (Origin::File { line, .. }, Origin::File { line: below, .. }) if below > line => other,
        (Origin::File { .. }, _) => one,
        _ => other,
    }
}

fn leads_back(destination: &Destination, told: &Told) -> bool {
    let Ok(address) = destination.host.parse() else {
        return destination.host == "localhost" && destination.unix.is_none() && {
            let local = |ip: std::net::IpAddr| ip.is_loopback() || ip.is_unspecified();
            told.settings
                .config
                .listen
                .iter()
                .any(|listen| listen.address.port() == destination.port && local(listen.address.ip()))
        };
    };
    let address: std::net::IpAddr = address;
    let same = |listen: std::net::IpAddr| listen == address || listen.is_unspecified() && address.is_loopback();
    let mut places = told.settings.config.listen.iter();
    places.any(|listen| listen.address.port() == destination.port && same(listen.address.ip()))
}

/// Idle limits of boxes between, which forget connections in silence: Azure's load balancer 240 s, AWS's NLB 350 s.
const FORGOTTEN: Duration = Duration::from_secs(240);
/// What Go's client keeps idle connections for: the longest of the common clients that pool.
const POOLS: Duration = Duration::from_secs(90);
/// What systemd (`TimeoutStopSec`) waits for before it kills; Kubernetes waits 30 s.
const KILLED: Duration = Duration::from_secs(90);

/// What is allowed and seldom wise: each with the reason.
pub fn risks(told: &Told) -> Vec<Problem> {
    let mut found = Vec::new();
    let settings = &told.settings;
    let config = &settings.config;
    let mut say = |name: &str, what: String| {
        found.push(Problem {
            origin: told.origin(name),
            what,
        });
    };
    let promised = config.client.idle.saturating_sub(config.client.margin);
    if promised < POOLS {
        say(
            "client.idle",
            format!(
                "idle connections are promised {} (client.idle less client.margin): clients that heed no Keep-Alive and keep theirs for \
                 longer (Go 90 s) will send into a close; raise it, or lower theirs",
                Time(promised)
            ),
        );
    }
    if config.client.idle >= FORGOTTEN {
        say(
            "client.idle",
            format!(
                "client.idle is {}: boxes between forget idle connections in silence (Azure's load balancer after 240 s, AWS's NLB \
                 after 350 s); lower it if there are such boxes between clients and here",
                Time(config.client.idle)
            ),
        );
    }
    if config.close.drain.is_zero() {
        say(
            "close.drain",
            "close.drain is 0: requests that run when the guard ends are cut".to_owned(),
        );
    } else if config.close.drain >= KILLED {
        say(
            "close.drain",
            format!(
                "close.drain is {}: systemd kills after 90 s (TimeoutStopSec), Kubernetes after 30 s \
                 (terminationGracePeriodSeconds), unless they are told otherwise",
                Time(config.close.drain)
            ),
        );
    }
    if config.close.bytes < 8 << 20 {
        say(
            "close.bytes",
            "close.bytes is smaller than what may be under way (some 8 MiB in two sockets' buffers): answers to uploads may be lost \
             to a reset"
                .to_owned(),
        );
    }
    if let Some(idle) = config.upstream.idle
        && idle >= Duration::from_secs(60)
    {
        say(
            "upstream.idle",
            format!(
                "upstream.idle is {}: few servers keep idle connections for so long, and where this one does not, requests meet its \
                 close; measure it (bypeer probe), or leave it to be learned",
                Time(idle)
            ),
        );
    }
    if config.upstream.insecure {
        say(
            "upstream.insecure",
            "upstream.insecure: whoever can reach the way to the server can read and change what is sent".to_owned(),
        );
    }
    if !config.retry.enabled {
        say(
            "retry.enabled",
            "retry.enabled is false: a request that meets the server's close is answered 502".to_owned(),
        );
    } else if config.retry.percent == 0 && config.retry.burst == 0 {
        say(
            "retry.percent",
            "retry.percent and retry.burst are both 0: nothing is ever sent again".to_owned(),
        );
    }
    if config.upstream.keep == 0 {
        say(
            "upstream.keep",
            "upstream.keep is 0: each request costs a connection to the server".to_owned(),
        );
    }
    if settings.say.log == LogTo::Nowhere && settings.say.metrics.is_none() {
        say(
            "log",
            "there is neither a log nor metrics: what the guard saved, and what it could not, is said at its end alone"
                .to_owned(),
        );
    }
    found
}
