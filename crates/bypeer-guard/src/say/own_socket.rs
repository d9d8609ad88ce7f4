//! What the guard's own socket tells of a connection to the server that was reset, refused or never came about, judged by the engine of
//! `bypeer watch`; then what the guard knows beyond the socket is held against each candidate.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bypeer_diagnose::facts::fixes_of_http;
use bypeer_diagnose::testimony::{Side, State, Testimony, Told};
use bypeer_diagnose::{Cause, Confidence, Hearing, decide_heard};
use bypeer_wire::{Endpoint, Timestamp};

use super::found::{Found, words};
use crate::account::{Account, Attempt};
use crate::failure::Failure;

/// ETIMEDOUT, where the kernel did not say it and the guard's own limit was over.
const TIMED_OUT: i32 = rustix::io::Errno::TIMEDOUT.raw_os_error();

/// What a reset, a refusal or silence shows. `None`: no cause has anything to say.
pub(super) fn judge(account: &Account, attempt: Option<&Attempt>, failure: &Failure) -> Option<Found> {
    let heard = decide_heard(&hearing(attempt, failure)?)?;
    let mut candidates: Vec<(&'static Cause, String)> = vec![(heard.cause, heard.verdict)];
    candidates.extend(heard.rivals.into_iter().map(|rival| (rival.cause, rival.because)));
    candidates.retain(|(cause, _)| !is_refuted(cause, account, attempt));
    let mut candidates = candidates.into_iter();
    let (cause, because) = candidates.next()?;
    let rivals: Vec<&'static Cause> = candidates.map(|(cause, _)| cause).collect();
    // Who is left alone because others were struck out was not shown to be it.
    let confidence = match (heard.confidence, rivals.is_empty()) {
        (Confidence::Undecided, true) => return None,
        (confidence, _) => confidence,
    };
    let has_body = account.request_bytes > 0;
    Some(Found {
        cause,
        confidence,
        rivals,
        verdict: verdict(attempt, failure).unwrap_or(because),
        settle: heard.settle,
        fixes: match confidence {
            Confidence::Undecided => Vec::new(),
            _ => fixes_of_http(cause.id, None, has_body, None, attempt.and_then(|attempt| attempt.idle)),
        },
        server: attempt.map(|attempt| attempt.to.to_string()),
        saved: false,
    })
}

/// What was seen, before anything is concluded from it.
fn verdict(attempt: Option<&Attempt>, failure: &Failure) -> Option<String> {
    let before = attempt.map_or(0, |attempt| attempt.requests_before);
    Some(match failure {
        Failure::Stale { .. } => {
            let idle = attempt.and_then(|attempt| attempt.idle).unwrap_or_default();
            format!(
                "a connection that had carried {before} requests and had been idle for {} was reset as a request was sent on it",
                words(idle)
            )
        }
        Failure::Reset { .. } if before == 0 => {
            "the server's end reset a fresh connection in place of an answer".to_owned()
        }
        Failure::Reset { .. } => "the server's end reset the connection in place of an answer".to_owned(),
        Failure::Incomplete { have, expected, .. } => {
            let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
            format!("the server's end reset the connection after {have}{of} bytes of its answer's body")
        }
        _ => return None,
    })
}

fn hearing(attempt: Option<&Attempt>, failure: &Failure) -> Option<Hearing> {
    let idle = attempt.and_then(|attempt| attempt.idle);
    let used = attempt.is_some_and(|attempt| attempt.requests_before > 0);
    let base = Testimony {
        at: now(),
        number: 1,
        side: Some(Side::Client),
        tick: Duration::from_millis(1),
        ..Testimony::default()
    };
    let deciding = match failure {
        Failure::Refused => Testimony {
            told: Told::ResetReceived,
            state: Some(State::SynSent),
            ..base
        },
        Failure::ConnectTimeout => Testimony {
            told: Told::Failed,
            state: Some(State::SynSent),
            error: Some(TIMED_OUT),
            ..base
        },
        // A request is outstanding: sent just now, the last answer came before.
        Failure::Stale { .. } | Failure::Reset { .. } => Testimony {
            told: Told::ResetReceived,
            state: Some(State::Established),
            received: Some(u64::from(used)),
            acked: Some(1),
            since_sent: Some(Duration::ZERO),
            since_received: Some(idle.unwrap_or_default()),
            ..base
        },
        // An answer was coming.
        Failure::Incomplete { have, .. } => Testimony {
            told: Told::ResetReceived,
            state: Some(State::Established),
            received: Some((*have).max(1)),
            acked: Some(1),
            since_sent: Some(Duration::from_millis(10)),
            since_received: Some(Duration::ZERO),
            ..base
        },
        _ => return None,
    };
    Some(Hearing {
        number: 1,
        client: NOWHERE,
        server: attempt.and_then(endpoint).unwrap_or(NOWHERE),
        opened: None,
        deciding,
        peer: None,
    })
}

/// What the guard knows beyond its socket.
fn is_refuted(cause: &Cause, account: &Account, attempt: Option<&Attempt>) -> bool {
    let fresh = attempt.is_none_or(|attempt| attempt.requests_before == 0);
    match cause.id {
        // A handshake was just made: the server's host knows the connection, and nothing was kept.
        "half-open-after-reboot" | "keepalive-race-unannounced-close" => fresh,
        // Without a body there was none to leave unread.
        "unread-request-body" => account.request_bytes == 0,
        _ => false,
    }
}

const NOWHERE: Endpoint = Endpoint {
    addr: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    port: 0,
};

fn endpoint(attempt: &Attempt) -> Option<Endpoint> {
    let address: std::net::SocketAddr = attempt.to.parse().ok()?;
    Some(Endpoint {
        addr: address.ip().to_canonical(),
        port: address.port(),
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
