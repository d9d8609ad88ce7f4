//! The table of keys: the file, the flags, `--help` and the manual's table are made from it, or held to it.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{LogTo, Settings};
use super::value::{Kind, Value};
use super::{UpstreamVersion, server};

/// Something that can be set, by a flag or in the file.
#[derive(Debug)]
pub struct Key {
    /// In the file: `client.idle` is `idle` under `[client]`.
    pub name: &'static str,
    /// On the command line, without `--`.
    pub flag: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value where nothing is said, as one would write it; empty: none.
    pub default: &'static str,
    /// Whether it may be given several times, or as a list.
    pub many: bool,
    /// What it does, in one line.
    pub about: &'static str,
    /// Sets it. What is wrong with the value, in one line, is the error.
    pub(super) set: fn(&mut Settings, Value) -> Result<(), String>,
}

const fn time(least_ms: u64, most_seconds: u64, word: Option<&'static str>) -> Kind {
    Kind::Duration {
        least: Duration::from_millis(least_ms),
        most: Duration::from_secs(most_seconds),
        word,
    }
}

const fn size(least: u64, most: u64, word: Option<&'static str>) -> Kind {
    Kind::Size { least, most, word }
}

const fn count(least: u64, most: u64, word: Option<&'static str>) -> Kind {
    Kind::Count { least, most, word }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One row of the table; the path of the field it sets, and how a value becomes its.
macro_rules! key {
    ($name:literal, $flag:literal, $kind:expr, $default:literal, $about:literal, $set:expr) => {
        Key {
            name: $name,
            flag: $flag,
            kind: $kind,
            default: $default,
            many: false,
            about: $about,
            set: $set,
        }
    };
}

/// Every key, in the order of the manual.
pub static KEYS: &[Key] = &[
    Key {
        many: true,
        ..key!(
            "listen.address",
            "listen",
            Kind::Address,
            "",
            "Where clients are answered",
            |_, _| Ok(())
        )
    },
    key!(
        "listen.certificate",
        "certificate",
        Kind::Path,
        "",
        "TLS for clients: the certificate chain (PEM)",
        |_, _| Ok(())
    ),
    key!(
        "listen.key",
        "key",
        Kind::Path,
        "",
        "TLS for clients: the certificate's key (PEM)",
        |_, _| Ok(())
    ),
    key!(
        "listen.backlog",
        "backlog",
        count(1, 65_535, None),
        "1024",
        "Connections that the kernel holds until they are accepted",
        |_, _| Ok(())
    ),
    Key {
        many: true,
        ..key!(
            "to",
            "to",
            Kind::Server,
            "",
            "The server behind; several addresses of it are taken in turn",
            |settings, value| {
                settings.config.upstream.to.push(server::destination(&text(value))?);
                Ok(())
            }
        )
    },
    key!(
        "workers",
        "workers",
        count(0, 256, None),
        "0",
        "Threads, each with an event loop; 0: one for each processor",
        |settings, value| {
            settings.config.workers = index(value);
            Ok(())
        }
    ),
    key!(
        "user",
        "user",
        Kind::Text,
        "",
        "The user to become once the sockets are open, by name or number",
        |settings, value| {
            settings.user = Some(text(value));
            Ok(())
        }
    ),
    key!(
        "group",
        "group",
        Kind::Text,
        "",
        "The group to become; the user's own otherwise",
        |settings, value| {
            settings.group = Some(text(value));
            Ok(())
        }
    ),
    key!(
        "log",
        "log",
        Kind::Path,
        "-",
        "The access log: a file, - for standard output, off for none",
        |settings, value| {
            settings.say.log = match text(value).as_str() {
                "-" => LogTo::Stdout,
                "off" => LogTo::Nowhere,
                path => LogTo::File(PathBuf::from(path)),
            };
            Ok(())
        }
    ),
    key!(
        "metrics",
        "metrics",
        Kind::Address,
        "",
        "Answer Prometheus on this loopback address",
        |settings, value| {
            let Value::Address(address) = value else { return Ok(()) };
            if !address.ip().to_canonical().is_loopback() {
                return Err(format!(
                    "{address} is no loopback address, and metrics have no access control: write 127.0.0.1:{}",
                    address.port()
                ));
            }
            settings.say.metrics = Some(address);
            Ok(())
        }
    ),
    key!(
        "proxy_status",
        "proxy-status",
        Kind::Choice(&["own", "all"]),
        "own",
        "Proxy-Status on the guard's own answers, or on all",
        |settings, value| {
            settings.config.proxy_status = text(value) == "all";
            Ok(())
        }
    ),
    key!(
        "client.connections",
        "client-connections",
        count(1, 1_000_000, None),
        "10000",
        "Connections of clients at once",
        |settings, value| {
            settings.config.client.connections = index(value);
            Ok(())
        }
    ),
    key!(
        "client.idle",
        "client-idle",
        time(1000, HOUR, None),
        "95s",
        "How long an idle connection of a client is kept",
        |settings, value| {
            settings.config.client.idle = duration(value);
            Ok(())
        }
    ),
    key!(
        "client.margin",
        "client-margin",
        time(0, HOUR, None),
        "5s",
        "How much earlier than that clients are told to stop using it",
        |settings, value| {
            settings.config.client.margin = duration(value);
            Ok(())
        }
    ),
    key!(
        "client.head_time",
        "client-head-time",
        time(1000, HOUR, None),
        "30s",
        "Until a request's head must be whole",
        |settings, value| {
            settings.config.client.head_time = duration(value);
            Ok(())
        }
    ),
    key!(
        "client.head",
        "client-head",
        size(8 << 10, 1 << 20, None),
        "64KiB",
        "The largest head of a request",
        |settings, value| {
            settings.config.client.head = index(value);
            Ok(())
        }
    ),
    key!(
        "client.body",
        "client-body",
        size(0, 1 << 40, Some("any")),
        "any",
        "The largest body of a request; larger ones are answered 413",
        |settings, value| {
            settings.config.client.body = number(value);
            Ok(())
        }
    ),
    key!(
        "client.silence",
        "client-silence",
        time(1000, DAY, None),
        "60s",
        "Silence in the middle of a request, or of an answer that the client does not read",
        |settings, value| {
            settings.config.client.silence = duration(value);
            Ok(())
        }
    ),
    key!(
        "client.tunnel",
        "client-tunnel",
        time(1000, 7 * DAY, Some("any")),
        "1h",
        "Silence in both directions of a tunnel (WebSocket, CONNECT) after which it is ended",
        |settings, value| {
            settings.config.client.tunnel = known(value);
            Ok(())
        }
    ),
    key!(
        "client.requests",
        "client-requests",
        count(1, 1_000_000_000, Some("any")),
        "any",
        "Requests on one connection; the last answer announces the close",
        |settings, value| {
            settings.config.client.requests = number(value);
            Ok(())
        }
    ),
    key!(
        "client.trusted",
        "client-trusted",
        Kind::Bool,
        "false",
        "Clients are proxies: pass on what they say of X-Forwarded-Proto, X-Forwarded-Host and the like",
        |settings, value| {
            settings.config.client.trusted = value == Value::Bool(true);
            Ok(())
        }
    ),
    key!(
        "upstream.version",
        "upstream-version",
        Kind::Choice(&["1.1", "2"]),
        "1.1",
        "What is spoken with the server: HTTP/1.1 or HTTP/2",
        |settings, value| {
            settings.config.upstream.version = match text(value).as_str() {
                "2" => UpstreamVersion::Http2,
                _ => UpstreamVersion::Http1,
            };
            Ok(())
        }
    ),
    key!(
        "upstream.authority",
        "upstream-authority",
        Kind::Path,
        "",
        "TLS to the server: its certificate authorities (PEM), in place of the system's",
        |settings, value| {
            settings.config.upstream.authority = Some(PathBuf::from(text(value)));
            Ok(())
        }
    ),
    key!(
        "upstream.insecure",
        "upstream-insecure",
        Kind::Bool,
        "false",
        "TLS to the server: accept any certificate",
        |settings, value| {
            settings.config.upstream.insecure = value == Value::Bool(true);
            Ok(())
        }
    ),
    key!(
        "upstream.idle",
        "upstream-idle",
        time(100, DAY, Some("learned")),
        "learned",
        "How long the server keeps an idle connection",
        |settings, value| {
            settings.config.upstream.idle = known(value);
            Ok(())
        }
    ),
    key!(
        "upstream.keep",
        "upstream-keep",
        count(0, 100_000, None),
        "64",
        "Idle connections that each worker keeps; 0: each request has its own",
        |settings, value| {
            settings.config.upstream.keep = index(value);
            Ok(())
        }
    ),
    key!(
        "upstream.trial",
        "upstream-trial",
        count(0, 1_000_000, None),
        "1000",
        "Answers behind which a connection rests for 10 ms before its next request, until the server is trusted",
        |settings, value| {
            settings.config.upstream.trial = number(value).unwrap_or_default();
            Ok(())
        }
    ),
    key!(
        "upstream.most",
        "upstream-most",
        count(1, 1_000_000, None),
        "1024",
        "Connections to the server at once",
        |settings, value| {
            settings.config.upstream.most = index(value);
            Ok(())
        }
    ),
    key!(
        "upstream.connect",
        "upstream-connect",
        time(10, HOUR, None),
        "5s",
        "Until a connection must be there",
        |settings, value| {
            settings.config.upstream.connect = duration(value);
            Ok(())
        }
    ),
    key!(
        "upstream.answer",
        "upstream-answer",
        time(10, DAY, None),
        "60s",
        "Until the answer must begin, from the last byte of the request",
        |settings, value| {
            settings.config.upstream.answer = duration(value);
            Ok(())
        }
    ),
    key!(
        "upstream.silence",
        "upstream-silence",
        time(10, DAY, None),
        "60s",
        "Silence in the middle of an answer, or of a request that is being sent",
        |settings, value| {
            settings.config.upstream.silence = duration(value);
            Ok(())
        }
    ),
    key!(
        "upstream.head",
        "upstream-head",
        size(8 << 10, 1 << 20, None),
        "64KiB",
        "The largest head of an answer",
        |settings, value| {
            settings.config.upstream.head = index(value);
            Ok(())
        }
    ),
    key!(
        "upstream.gather",
        "upstream-gather",
        size(0, 16 << 20, None),
        "64KiB",
        "A request's body up to this size is sent in one write with its head",
        |settings, value| {
            settings.config.upstream.gather = index(value);
            Ok(())
        }
    ),
    key!(
        "upstream.hold",
        "upstream-hold",
        size(0, 16 << 20, None),
        "64KiB",
        "An answer of a known length up to this size is held until it is whole",
        |settings, value| {
            settings.config.upstream.hold = index(value);
            Ok(())
        }
    ),
    key!(
        "close.bytes",
        "close-bytes",
        size(0, 1 << 40, None),
        "64MiB",
        "Bytes that are read and thrown away after a connection's last answer",
        |settings, value| {
            settings.config.close.bytes = number(value).unwrap_or_default();
            Ok(())
        }
    ),
    key!(
        "close.idle",
        "close-idle",
        time(100, HOUR, None),
        "5s",
        "Silence after which a closing peer is given up",
        |settings, value| {
            settings.config.close.idle = duration(value);
            Ok(())
        }
    ),
    key!(
        "close.total",
        "close-total",
        time(100, HOUR, None),
        "30s",
        "How long a close may take in all",
        |settings, value| {
            settings.config.close.total = duration(value);
            Ok(())
        }
    ),
    key!(
        "close.most",
        "close-most",
        count(1, 1_000_000, None),
        "4096",
        "Connections of each worker that may be closing at once",
        |settings, value| {
            settings.config.close.most = index(value);
            Ok(())
        }
    ),
    key!(
        "close.drain",
        "close-drain",
        time(0, DAY, None),
        "30s",
        "How long requests may go on after SIGTERM or a handover",
        |settings, value| {
            settings.config.close.drain = duration(value);
            Ok(())
        }
    ),
    key!(
        "retry.enabled",
        "retry",
        Kind::Bool,
        "true",
        "Send a request again where that is safe",
        |settings, value| {
            settings.config.retry.enabled = value == Value::Bool(true);
            Ok(())
        }
    ),
    key!(
        "retry.percent",
        "retry-percent",
        count(0, 100, None),
        "20",
        "Retries for each hundred requests",
        |settings, value| {
            settings.config.retry.percent = small(value);
            Ok(())
        }
    ),
    key!(
        "retry.burst",
        "retry-burst",
        count(0, 100_000, None),
        "10",
        "Retries in a second that are allowed beyond that",
        |settings, value| {
            settings.config.retry.burst = small(value);
            Ok(())
        }
    ),
];

/// The key of a name in the file.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn text(value: Value) -> String {
    match value {
        Value::Text(text) => text,
        _ => String::new(),
    }
}

fn number(value: Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn index(value: Value) -> usize {
    usize::try_from(number(value).unwrap_or_default()).unwrap_or(usize::MAX)
}

fn small(value: Value) -> u32 {
    u32::try_from(number(value).unwrap_or_default()).unwrap_or(u32::MAX)
}

/// `None`: a word stands in its place.
fn known(value: Value) -> Option<Duration> {
    match value {
        Value::Duration(duration) => Some(duration),
        _ => None,
    }
}

fn duration(value: Value) -> Duration {
    match value {
        Value::Duration(duration) => duration,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_default_of_the_table_is_the_default() {
        let mut settings = Settings::default();
        let mut set = 0;
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            (key.set)(&mut settings, key.kind.parse(key.default).unwrap()).unwrap();
            set += 1;
        }
        assert_eq!(settings, Settings::default());
        assert!(set > 25, "{set}");
    }

    #[test]
    fn each_key_sets_something_of_its_own() {
        let other = |key: &Key| -> Option<Value> {
            Some(match key.kind {
                Kind::Duration { most, .. } => Value::Duration(most),
                Kind::Size { most, .. } | Kind::Count { most, .. } => Value::Number(most),
                Kind::Bool => Value::Bool(key.default != "true"),
                Kind::Choice(words) => Value::Text((*words.iter().find(|word| **word != key.default)?).to_owned()),
                Kind::Path | Kind::Text => Value::Text("other".to_owned()),
                Kind::Address => Value::Address("127.0.0.1:1".parse().unwrap()),
                Kind::Server => Value::Text("http://127.0.0.1:1".to_owned()),
            })
        };
        let mut seen = HashSet::new();
        // Those of a place to listen are put together by the reader.
        for key in KEYS.iter().filter(|key| !key.name.starts_with("listen.")) {
            let mut settings = Settings::default();
            (key.set)(&mut settings, other(key).unwrap()).unwrap();
            assert_ne!(settings, Settings::default(), "{}", key.name);
            assert!(
                seen.insert(format!("{settings:?}")),
                "{} sets what another sets",
                key.name
            );
        }
    }

    #[test]
    fn names_and_flags_are_each_there_once() {
        let names: HashSet<&str> = KEYS.iter().map(|key| key.name).collect();
        let flags: HashSet<&str> = KEYS.iter().map(|key| key.flag).collect();
        assert_eq!((names.len(), flags.len()), (KEYS.len(), KEYS.len()));
        assert_eq!(key("client.idle").unwrap().flag, "client-idle");
    }
}
