//! What a proxy must do to an answer.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, StatusCode, Version};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use super::{Exchange, fields};
use crate::worker::Settings;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Takes out what was for the server's connection, and says what becomes of the client's.
pub(super) fn rewrite(
    parts: &mut Parts,
    body: &impl Body,
    method: &Method,
    version: Version,
    keeps: bool,
    exchange: &Exchange,
    settings: &Settings,
) {
    // RFC 9110, section 15.5.22: it says which protocol is asked for.
    let upgrade = match parts.status {
        StatusCode::UPGRADE_REQUIRED if version == Version::HTTP_11 => parts.headers.remove(header::UPGRADE),
        _ => None,
    };
    fields::strip(&mut parts.headers);
    // To a client of HTTP/1.0 the end of a body of unknown length is the connection's end.
    let until_close = version == Version::HTTP_10
        && method != Method::HEAD
        && !body.is_end_stream()
        && body.size_hint().exact().is_none();
    if until_close {
        exchange.client.end_answer_by_close();
    }
    say_whether_kept(&mut parts.headers, version, keeps && !until_close, exchange, settings);
    if let Some(upgrade) = upgrade {
        parts
            .headers
            .append(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, upgrade);
    }
    parts.version = spoken(version);
    // hyper would say `<none>` (RFC 9112, section 4: the phrase may be empty).
    if parts.status.canonical_reason().is_none() {
        parts.extensions.insert(ReasonPhrase::from_static(b""));
    }
}

/// hyper adds `Connection: keep-alive` to what it takes for an answer of HTTP/1.1 to a client of HTTP/1.0, also behind our `close`.
pub(super) fn spoken(version: Version) -> Version {
    match version {
        Version::HTTP_10 => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

/// `Connection: close`, or for how long the connection is kept: shorter than it is, so that no client comes too late.
pub(super) fn say_whether_kept(
    headers: &mut HeaderMap,
    version: Version,
    keeps: bool,
    exchange: &Exchange,
    settings: &Settings,
) {
    if exchange.is_http2() {
        return;
    }
    if !keeps {
        exchange.client.announce();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        return;
    }
    match &settings.keep_alive {
        Some(keep_alive) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
            headers.insert(KEEP_ALIVE, keep_alive.clone());
        }
        None if version == Version::HTTP_10 => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        None => {}
    }
}

/// Of a 101: `Upgrade` is what it is about. Neither that nor a 2xx to CONNECT has a body, whatever it says (RFC 9110, section 9.3.6).
pub(super) fn rewrite_switch(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    let upgrade = headers.remove(header::UPGRADE);
    fields::strip(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}
