//! Fields that are for one connection only (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::forwarded;

/// Takes out what is for one connection only: what `Connection` lists, and what everybody knows to be so.
///
/// `Connection` must not list fields that are for everybody, as Cache-Control (RFC 9110, section 7.6.1). Those without which a message
/// is another one are kept, so that no client has them taken out before the server sees them.
pub(super) fn strip(headers: &mut HeaderMap) {
    // Most messages have none of them, or one: to look at the names once costs less than to look for each.
    if !headers.keys().any(is_for_one_connection) {
        return;
    }
    if let header::Entry::Occupied(entry) = headers.entry(header::CONNECTION) {
        let (_, lists) = entry.remove_entry_mult();
        for list in lists.collect::<Vec<_>>() {
            strip_listed(headers, &list);
        }
    }
    while let Some(name) = headers.keys().find(|name| is_for_one_connection(name)).cloned() {
        headers.remove(name);
    }
}

fn is_for_one_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "http2-settings" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

fn strip_listed(headers: &mut HeaderMap, list: &HeaderValue) {
    for token in tokens(list) {
        if token.eq_ignore_ascii_case("close") || token.eq_ignore_ascii_case("keep-alive") {
            continue;
        }
        let Ok(name) = HeaderName::try_from(token) else {
            continue;
        };
        let kept = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_RANGE,
            header::AUTHORIZATION,
            header::COOKIE,
            header::SET_COOKIE,
            header::CACHE_CONTROL,
            header::VIA,
        ];
        if !kept.contains(&name) && !forwarded::is_claim(&name) {
            headers.remove(name);
        }
    }
}

/// Takes out of a trailer section what must not be in one (RFC 9110, section 6.5.1): what frames or routes a message, says who sends it, or
/// how it is to be read. Servers that merge trailers into the head would believe it, and nobody on the way has checked it there.
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    for name in [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ] {
        trailers.remove(name);
    }
    let is_claim = |name: &HeaderName| forwarded::is_claim(name) || forwarded::is_look_alike(name.as_str());
    while let Some(name) = trailers.keys().find(|name| is_claim(name)).cloned() {
        trailers.remove(name);
    }
}

/// Whether a switch to what is asked for may be passed on. Not to another HTTP, or to TLS with HTTP in it: requests in such a tunnel
/// (`h2c`; RFC 9113 took it out of HTTP) would reach the server unseen.
pub(super) fn may_be_tunnelled(upgrade: &HeaderValue) -> bool {
    let is_http = |protocol: &str| {
        let name = protocol.split('/').next().unwrap_or_default().trim();
        ["h2c", "h2", "http", "tls"]
            .iter()
            .any(|http| name.eq_ignore_ascii_case(http))
    };
    upgrade.to_str().is_ok() && !tokens(upgrade).any(is_http)
}

/// Whether one of the lists of this name has the token.
pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .any(|list| tokens(list).any(|other| other.eq_ignore_ascii_case(token)))
}

fn tokens(list: &HeaderValue) -> impl Iterator<Item = &str> {
    list.to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
}
