//! One question in one version, over a connection of its own.

use std::time::{Duration, Instant};

use bypeer_wire::app::{Framing, Version};

use super::PATIENCE;
use crate::connection::{Connection, Dial, TlsDial};
use crate::http::{Ending, Exchange, Writing};
use crate::http2::{Met, Session, UPGRADE_SETTINGS};
use crate::prober::Prober;
use crate::target::Scheme;
use crate::tls;

/// What HTTP/1 gave.
#[derive(Clone, Debug)]
pub(super) enum Http1 {
    Answered {
        version: Version,
        status: u16,
        chunked: bool,
    },
    /// Closed or broken off: how.
    Ended(String),
    Silent,
    Failed(String),
    Stopped,
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/2, and this status, where it could be read.
    H2(Option<u16>),
    /// HTTP/2, but no answer came.
    H2Only(String),
    /// HTTP/1: this status.
    H1(u16),
    /// An answer of HTTP/1 that refuses what is answered well otherwise.
    Refused(u16),
    /// Closed or broken off: how.
    Ended(String),
    /// Nothing came.
    Silent,
    /// It could not be asked.
    Failed(String),
    Stopped,
}

/// What ALPN gave.
pub(super) enum Asked {
    Found { chosen: Option<String>, spoken: Spoken },
    Failed(String),
    Stopped,
}

/// How HTTP/2 is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Alpn,
    PriorKnowledge,
    Upgrade,
}

/// What became of an HTTP/2 connection that was left idle after one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    Closed {
        /// From the answer's last byte to the end.
        after: Duration,
        /// And to GOAWAY.
        goaway: Option<Duration>,
        reset: bool,
    },
    Kept,
    Failed(String),
    Stopped,
}

impl Spoken {
    pub fn is_h2(&self) -> bool {
        matches!(self, Spoken::H2(_))
    }

    pub fn is_answer(&self) -> bool {
        matches!(self, Spoken::H2(_) | Spoken::H1(_))
    }

    /// No answer of any kind.
    pub fn is_lost(&self) -> bool {
        matches!(self, Spoken::Ended(_) | Spoken::Silent)
    }

    /// As the manual lists them.
    pub fn word(&self) -> &'static str {
        match self {
            Spoken::H2(_) | Spoken::H2Only(_) => "spoken",
            Spoken::H1(_) => "ignored",
            Spoken::Refused(_) => "refused",
            Spoken::Ended(_) => "no-answer",
            Spoken::Silent => "silent",
            Spoken::Failed(_) | Spoken::Stopped => "failed",
        }
    }

    pub fn tell(&self) -> String {
        match self {
            Spoken::H2(Some(status)) => format!("it is spoken, and answers {status}"),
            Spoken::H2(None) => "it is spoken, and answers".to_owned(),
            Spoken::H2Only(why) => format!("it is spoken, but {why}"),
            Spoken::H1(status) => format!("HTTP/1 answers {status}"),
            Spoken::Refused(status) => format!("HTTP/1 refuses it with {status}"),
            Spoken::Ended(why) => format!("no answer: {why}"),
            Spoken::Silent => "no answer, and no end".to_owned(),
            Spoken::Failed(why) => why.clone(),
            Spoken::Stopped => "stopped".to_owned(),
        }
    }
}

pub(super) fn http10(prober: &Prober<'_>) -> Http1 {
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(_) if prober.stopped() => return Http1::Stopped,
        Err(error) => return Http1::Failed(error.to_string()),
    };
    let request = prober.get().version(Version::Http10);
    let exchange = connection.exchange(&request, Writing::AtOnce, prober.options.patience);
    match (&exchange.answer, &exchange.ending) {
        (_, Ending::Stopped) => Http1::Stopped,
        (Some(answer), _) => Http1::Answered {
            version: answer.head.version,
            status: answer.head.status,
            chunked: answer.framing == Framing::Chunked,
        },
        (None, Ending::TimedOut) => Http1::Silent,
        (None, ending) => Http1::Ended(ending.to_string()),
    }
}

/// A plain request of HTTP/1.1, the control of others.
pub(super) fn plain(prober: &Prober<'_>) -> Spoken {
    match prober.open() {
        Ok(mut connection) => spoken(
            prober,
            &connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience),
        ),
        Err(_) if prober.stopped() => Spoken::Stopped,
        Err(error) => Spoken::Failed(error.to_string()),
    }
}

/// Offers these by ALPN, and speaks what is chosen.
pub(super) fn alpn(prober: &Prober<'_>, offers: &[&[u8]]) -> Asked {
    let mut connection = match open_offering(prober, offers) {
        Ok(connection) => connection,
        Err(_) if prober.stopped() => return Asked::Stopped,
        Err(why) => return Asked::Failed(why),
    };
    let chosen = connection
        .alpn()
        .map(|name| String::from_utf8_lossy(&name).into_owned());
    let spoken = if chosen.as_deref() == Some("h2") {
        match Session::ask(connection, &prober.get(), Scheme::Https, until(prober)) {
            Ok(mut session) => h2(&mut session, until(prober)),
            Err(met) => of_met(met),
        }
    } else {
        let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
        spoken(prober, &exchange)
    };
    match spoken {
        Spoken::Stopped => Asked::Stopped,
        spoken => Asked::Found { chosen, spoken },
    }
}

fn open_offering(prober: &Prober<'_>, offers: &[&[u8]]) -> Result<Connection, String> {
    let known = prober.dial();
    let tls = known.tls.as_ref().ok_or("no TLS")?;
    let config = tls::configuration(&prober.options.trust, offers).map_err(|error| error.to_string())?;
    let dial = Dial {
        tls: Some(TlsDial {
            config,
            name: tls.name.clone(),
        }),
        ..known.clone()
    };
    prober.open_by(&dial).map_err(|error| error.to_string())
}

/// Speaks HTTP/2 without a word before.
pub(super) fn prior_knowledge(prober: &Prober<'_>) -> Spoken {
    let connection = match prober.open() {
        Ok(connection) => connection,
        Err(_) if prober.stopped() => return Spoken::Stopped,
        Err(error) => return Spoken::Failed(error.to_string()),
    };
    let until = Instant::now() + PATIENCE.min(prober.options.patience);
    match Session::ask(connection, &prober.get(), Scheme::Http, until) {
        Ok(mut session) => h2(&mut session, until),
        Err(met) => of_met(met),
    }
}

/// Offers h2c in a request of HTTP/1.1, and goes on in it where that is taken.
pub(super) fn upgrade(prober: &Prober<'_>) -> Spoken {
    match upgraded(prober) {
        Ok(mut session) => h2(&mut session, until(prober)),
        Err(spoken) => spoken,
    }
}

fn upgraded(prober: &Prober<'_>) -> Result<Session, Spoken> {
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(_) if prober.stopped() => return Err(Spoken::Stopped),
        Err(error) => return Err(Spoken::Failed(error.to_string())),
    };
    let request = prober
        .get()
        .with("Connection", "Upgrade, HTTP2-Settings")
        .with("Upgrade", "h2c")
        .with("HTTP2-Settings", UPGRADE_SETTINGS);
    let exchange = connection.exchange(&request, Writing::AtOnce, prober.options.patience);
    let switched = exchange.answer.as_ref().is_some_and(|answer| answer.head.status == 101);
    if !switched {
        return Err(spoken(prober, &exchange));
    }
    Session::upgraded(connection, until(prober)).map_err(of_met)
}

fn until(prober: &Prober<'_>) -> Instant {
    Instant::now() + prober.options.patience
}

/// A head is enough: streams may never end.
fn h2(session: &mut Session, until: Instant) -> Spoken {
    let met = session.answer(until);
    let seen = session.seen();
    match met {
        Met::Stopped => Spoken::Stopped,
        _ if seen.status.is_some() => Spoken::H2(seen.status),
        Met::Answer => Spoken::H2(None),
        Met::NotHttp2(_) => of_met(met),
        _ if seen.settings => Spoken::H2Only(match met {
            Met::Refused(code) => format!("the request is refused with the code {code}"),
            Met::TimedOut => "no answer comes".to_owned(),
            Met::Broken(broken) => format!("the connection breaks ({broken})"),
            _ => "the connection is closed before the answer".to_owned(),
        }),
        met => of_met(met),
    }
}

fn of_met(met: Met) -> Spoken {
    match met {
        Met::NotHttp2(bytes) => match status_of(&bytes) {
            Some(status) => Spoken::Refused(status),
            None => Spoken::Ended("what came is no HTTP".to_owned()),
        },
        Met::Closed => Spoken::Ended("closed".to_owned()),
        Met::Broken(broken) => Spoken::Ended(format!("broken off ({broken})")),
        Met::TlsBroken(why) => Spoken::Ended(why),
        Met::TimedOut => Spoken::Silent,
        Met::Stopped => Spoken::Stopped,
        Met::Answer | Met::Refused(_) => Spoken::H2(None),
    }
}

/// Of "HTTP/1.1 400 Bad Request".
fn status_of(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok()
}

fn spoken(prober: &Prober<'_>, exchange: &Exchange) -> Spoken {
    match (&exchange.answer, &exchange.ending) {
        (_, Ending::Stopped) => Spoken::Stopped,
        (Some(answer), _) if answer.head.status >= 400 && prober.first.head.status < 400 => {
            Spoken::Refused(answer.head.status)
        }
        (Some(answer), _) => Spoken::H1(answer.head.status),
        (None, Ending::TimedOut) => Spoken::Silent,
        (None, ending) => Spoken::Ended(ending.to_string()),
    }
}

/// Asks once over HTTP/2, and waits for the end.
pub(super) fn idle(prober: &Prober<'_>, way: Way) -> Idle {
    let session = match way {
        Way::Upgrade => upgraded(prober),
        Way::PriorKnowledge => prober
            .open()
            .map_err(|error| Spoken::Failed(error.to_string()))
            .and_then(|connection| {
                Session::ask(connection, &prober.get(), Scheme::Http, until(prober)).map_err(of_met)
            }),
        Way::Alpn => open_offering(prober, &[b"h2"])
            .map_err(Spoken::Failed)
            .and_then(|connection| {
                Session::ask(connection, &prober.get(), Scheme::Https, until(prober)).map_err(of_met)
            }),
    };
    let mut session = match session {
        Ok(session) => session,
        Err(_) if prober.stopped() => return Idle::Stopped,
        Err(spoken) => return Idle::Failed(spoken.tell()),
    };
    match session.answer(until(prober)) {
        Met::Answer => {}
        Met::Stopped => return Idle::Stopped,
        Met::TimedOut => return Idle::Failed("the answer does not end".to_owned()),
        _ => return Idle::Failed("a request got no whole answer".to_owned()),
    }
    let log = session.connection().log();
    let since = log.last_received.unwrap_or(log.opened);
    let met = session.end(since + prober.options.longest_wait);
    let ended = session.connection().log().ended_by_server();
    match met {
        Met::Stopped => Idle::Stopped,
        Met::TimedOut => Idle::Kept,
        Met::NotHttp2(_) => Idle::Failed("what came is no HTTP/2".to_owned()),
        met => {
            let ended = ended.unwrap_or_else(Instant::now);
            Idle::Closed {
                after: ended.saturating_duration_since(since),
                goaway: session.seen().goaway.map(|(at, _)| at.saturating_duration_since(since)),
                reset: matches!(met, Met::Broken(_)),
            }
        }
    }
}
