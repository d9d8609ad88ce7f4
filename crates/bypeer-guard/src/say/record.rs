//! A line of the access log: `bypeer.guard/1`, held to `docs/schema/guard-1.json` by a test.
//!
//! Of a request it has the method, the path without its query, at most [`LONGEST_PATH`] bytes of it, and numbers. Never a query, a field or a body.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Version;
use serde::Serialize;

use super::Refusal;
use super::ending::{Ending, How};
use super::found::Found;
use crate::account::{Account, Attempt};
use crate::failure::Failure;

/// The schema of each line.
pub const SCHEMA: &str = "bypeer.guard/1";
/// Bytes of a path that are kept: some applications put tokens there.
const LONGEST_PATH: usize = 200;
/// Bytes of a method that are kept: extensions may be of any length.
const LONGEST_METHOD: usize = 32;

#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    at: f64,
    client: Option<SocketAddr>,
    client_requests_before: Option<u64>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    version: Option<&'static str>,
    status: Option<u16>,
    ending: &'static str,
    saved_by: Option<&'static str>,
    seconds: Option<f64>,
    request_bytes: u64,
    response_bytes: u64,
    failure: Option<String>,
    proxy_error: Option<&'static str>,
    attempts: Vec<AttemptRecord<'a>>,
    findings: Vec<FoundRecord<'a>>,
}

#[derive(Serialize)]
struct AttemptRecord<'a> {
    to: &'a str,
    connection: u64,
    requests_before: u64,
    idle: Option<f64>,
    first_byte: Option<f64>,
    send_failed: bool,
    surplus: usize,
    failure: Option<String>,
    proxy_error: Option<&'static str>,
}

#[derive(Serialize)]
struct FoundRecord<'a> {
    cause: &'static str,
    confidence: String,
    rivals: Vec<&'static str>,
    verdict: &'a str,
}

/// Writes the line of an exchange.
pub(super) fn write_exchange(out: &mut dyn Write, account: &Account, found: &[Found]) {
    let ending = Ending::of(account);
    let ended = account.ended.unwrap_or_else(Instant::now);
    let record = Record {
        schema: SCHEMA,
        at: wall(account.began),
        client: account.client,
        client_requests_before: Some(account.client_requests_before),
        method: Some(first(account.method.as_str(), LONGEST_METHOD)),
        path: Some(first(without_query(&account.path), LONGEST_PATH)),
        version: version(account.version),
        status: account.status.map(|status| status.as_u16()),
        ending: ending.name(),
        saved_by: match ending {
            Ending::Saved(How::Retry) => Some("retry"),
            Ending::Saved(How::ReadOn) => Some("reading-on"),
            _ => None,
        },
        seconds: Some(seconds(ended.saturating_duration_since(account.began))),
        request_bytes: account.request_bytes,
        response_bytes: account.response_bytes,
        failure: account.failure.as_ref().map(ToString::to_string),
        proxy_error: account.failure.as_ref().map(Failure::proxy_error),
        attempts: account.attempts.iter().map(attempt).collect(),
        findings: found.iter().map(finding).collect(),
    };
    // It is written into memory: there is nothing that could fail.
    let _ = bypeer_report::json::write_record(out, &record);
}

/// Writes the line of a request that was refused before it was understood.
pub(super) fn write_refusal(out: &mut dyn Write, client: SocketAddr, refusal: &Refusal) {
    let record = Record {
        schema: SCHEMA,
        at: wall(Instant::now()),
        client: Some(client),
        client_requests_before: None,
        method: refusal.line.as_ref().map(|line| first(&line.0, LONGEST_METHOD)),
        path: refusal
            .line
            .as_ref()
            .map(|line| first(without_query(&line.1), LONGEST_PATH)),
        version: None,
        status: refusal.status.map(|status| status.as_u16()),
        ending: Ending::Refused.name(),
        saved_by: None,
        seconds: None,
        request_bytes: 0,
        response_bytes: 0,
        failure: Some(refusal.why.clone()),
        proxy_error: Some("http_request_error"),
        attempts: Vec::new(),
        findings: Vec::new(),
    };
    let _ = bypeer_report::json::write_record(out, &record);
}

fn attempt(attempt: &Attempt) -> AttemptRecord<'_> {
    AttemptRecord {
        to: &attempt.to,
        connection: attempt.connection,
        requests_before: attempt.requests_before,
        idle: attempt.idle.map(seconds),
        first_byte: attempt.first_byte.map(seconds),
        send_failed: attempt.send_failed,
        surplus: attempt.surplus,
        failure: attempt.failure.as_ref().map(ToString::to_string),
        proxy_error: attempt.failure.as_ref().map(Failure::proxy_error),
    }
}

fn finding(found: &Found) -> FoundRecord<'_> {
    FoundRecord {
        cause: found.cause.id,
        confidence: found.confidence.to_string(),
        rivals: found.rivals.iter().map(|cause| cause.id).collect(),
        verdict: &found.verdict,
    }
}

fn version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => return None,
    })
}

/// The account's path has none; a mistake there is not to put secrets into a log.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// At most so many bytes, whole characters.
fn first(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// With microseconds: more is not known.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

/// A moment by the wall clock, as it is set now.
fn wall(at: Instant) -> f64 {
    let moment = SystemTime::now().checked_sub(at.elapsed()).unwrap_or(UNIX_EPOCH);
    seconds(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}
