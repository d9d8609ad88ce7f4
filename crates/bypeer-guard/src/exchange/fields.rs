//! Fields that are for one connection only (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes out what is for one connection only: what `Connection` lists, and what everybody knows to be so.
///
/// `Connection` must not list fields that are for everybody, as Cache-Control (RFC 9110, section 7.6.1). Those without which a message
/// is another one are kept, so that no client has them taken out before the server sees them.
pub(super) fn strip(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(entry) = headers.entry(header::CONNECTION) {
        let (_, lists) = entry.remove_entry_mult();
        for list in lists.collect::<Vec<_>>() {
            strip_listed(headers, &list);
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
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
            header::FORWARDED,
            header::VIA,
        ];
        if !kept.contains(&name) && !name.as_str().starts_with("x-forwarded-") {
            headers.remove(name);
        }
    }
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
