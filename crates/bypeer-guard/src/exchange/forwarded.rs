//! What the server is told of where a request comes from, and what a client must not tell it in the guard's name.
//!
//! Servers build links, choose who is logged and who may do what from these fields. From a client they are a claim: so they are the
//! guard's own, unless `client.trusted` says that clients are proxies that have checked them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::front::Client;

const PREFIX: &str = "x-forwarded-";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// To the list of `X-Forwarded-For` the client is added. Scheme and host are the guard's to say, as far as a proxy that is `trusted` has not.
pub(super) fn say(headers: &mut HeaderMap, client: &Client, trusted: bool) {
    drop_claims(headers, trusted);
    match headers.entry(X_FORWARDED_FOR) {
        header::Entry::Vacant(entry) => {
            entry.insert(client.forwarded_for().clone());
        }
        header::Entry::Occupied(mut entry) => {
            let mut list = Vec::new();
            for value in entry.iter() {
                list.extend_from_slice(value.as_bytes());
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(client.forwarded_for().as_bytes());
            if let Ok(list) = HeaderValue::try_from(list) {
                entry.insert(list);
            }
        }
    }
    if let header::Entry::Vacant(entry) = headers.entry(X_FORWARDED_PROTO) {
        let scheme = if client.tls.get() { "https" } else { "http" };
        entry.insert(HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Whether a field says where a message comes from.
pub(super) fn is_claim(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX) || *name == header::FORWARDED || *name == X_REAL_IP
}

fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let is_dropped = |name: &HeaderName| {
        let is_claim = !trusted && is_claim(name) && *name != X_FORWARDED_FOR;
        is_claim || is_look_alike(name.as_str())
    };
    // Nearly no request has any.
    while let Some(name) = headers.keys().find(|name| is_dropped(name)).cloned() {
        headers.remove(name);
    }
}

/// CGI, FastCGI and WSGI write `-` as `_`: behind them `X_Forwarded_For` cannot be told from `X-Forwarded-For`.
pub(super) fn is_look_alike(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
    name.starts_with(PREFIX) || matches!(name.as_str(), "x-real-ip" | "content-length" | "transfer-encoding")
}

#[cfg(test)]
mod tests {
    use super::is_look_alike;

    #[test]
    fn names_that_servers_take_for_another() {
        for name in [
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_real-ip",
            "content_length",
            "transfer_encoding",
        ] {
            assert!(is_look_alike(name), "{name}");
        }
        for name in ["x-forwarded-for", "content-length", "os_token", "forwarded_for"] {
            assert!(!is_look_alike(name), "{name}");
        }
    }
}
