//! What a proxy must do to a request: refuse what others on the way could take for something else, and say who it comes from.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri, Version};

use super::refusal::Refused;
use super::request_body::RequestBody;
use super::{fields, forwarded};
use crate::config::UpstreamVersion;
use crate::front::Client;
use crate::worker::Settings;

/// Refuses what must not be passed on. `has_length`: there was a `Content-Length` in its head, whatever hyper made of it.
pub(super) fn check(mut parts: Parts, has_length: bool, settings: &Settings) -> Result<Parts, Refused> {
    check_size(&parts, settings.config.client.head)?;
    check_framing(&parts, has_length)?;
    check_target(&mut parts)?;
    if let Some(expect) = parts.headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Refused::new(
            StatusCode::EXPECTATION_FAILED,
            "the only expectation that is known is 100-continue",
        ));
    }
    count_forwards(&mut parts)?;
    if let Some(limit) = settings.config.client.body
        && content_length(&parts.headers).is_some_and(|length| length > limit)
    {
        return Err(Refused::too_large(limit));
    }
    Ok(parts)
}

/// Over HTTP/1 hyper has looked already.
fn check_size(parts: &Parts, limit: usize) -> Result<(), Refused> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    // RFC 9113, section 6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE counts each field so.
    const FIELD: usize = 32;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    match target + fields.sum::<usize>() > limit {
        true => Err(Refused::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            &format!("its head is larger than {limit} bytes"),
        )),
        false => Ok(()),
    }
}

/// RFC 9112, section 6: where the request ends must be sure to everybody.
fn check_framing(parts: &Parts, has_length: bool) -> Result<(), Refused> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if has_length || parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Refused::closing(
                StatusCode::BAD_REQUEST,
                "it has both Content-Length and Transfer-Encoding",
            ));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refused::closing(
                StatusCode::NOT_IMPLEMENTED,
                "the only transfer coding that is known is chunked",
            ));
        }
    }
    Ok(())
}

/// RFC 9112, section 3.2: one `Host`, and that of the target where it has one.
fn check_target(parts: &mut Parts) -> Result<(), Refused> {
    let bad = |why| Err(Refused::closing(StatusCode::BAD_REQUEST, why));
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return bad("it has more than one Host");
    }
    match host {
        Some(host) if !is_host(host.as_bytes()) => return bad("its Host is not valid"),
        None if parts.version == Version::HTTP_11 => return bad("it has no Host"),
        _ => {}
    }
    if parts.method == Method::CONNECT {
        if parts.headers.contains_key(header::TRANSFER_ENCODING)
            || content_length(&parts.headers).is_some_and(|length| length > 0)
        {
            // RFC 9110, section 9.3.6: some would take it for the first of what the tunnel carries.
            return bad("CONNECT has a body");
        }
        let named = match parts.uri.authority() {
            Some(authority) if authority.port().is_some() => authority.as_str().to_owned(),
            _ => return bad("CONNECT is to a host and port"),
        };
        return match name_host(parts, &named) {
            true => Ok(()),
            false => bad("the host of its target is not valid"),
        };
    }
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    match parts.uri.authority() {
        // http::Uri takes `*` for a path.
        _ if path == "*" && parts.method != Method::OPTIONS => return bad("* is for OPTIONS only"),
        None if path.is_empty() => return bad("its target is not valid"),
        None => {}
        Some(_) if parts.uri.scheme().is_none() => return bad("its target is not valid"),
        Some(authority) => {
            let named = authority.as_str().to_owned();
            if !name_host(parts, &named) {
                return bad("the host of its target is not valid");
            }
            let path = parts.uri.path_and_query().cloned();
            parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        }
    }
    Ok(())
}

/// Makes `Host` what the target names. Whether that is a host.
fn name_host(parts: &mut Parts, named: &str) -> bool {
    if !is_host(named.as_bytes()) {
        return false;
    }
    let host = parts.headers.get(header::HOST);
    if host.is_none_or(|host| host.as_bytes() != named.as_bytes()) {
        let Ok(host) = HeaderValue::try_from(named) else {
            return false;
        };
        parts.headers.insert(header::HOST, host);
    }
    true
}

fn is_host(bytes: &[u8]) -> bool {
    bytes.is_empty()
        || (!bytes.contains(&b'@') && Authority::try_from(bytes).is_ok_and(|authority| has_port_or_none(&authority)))
}

/// `Authority` takes anything behind the host.
fn has_port_or_none(authority: &Authority) -> bool {
    let port = &authority.as_str()[authority.host().len()..];
    match port.strip_prefix(':') {
        Some(digits) => {
            digits.is_empty() || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    }
}

/// RFC 9110, section 7.6.2.
fn count_forwards(parts: &mut Parts) -> Result<(), Refused> {
    if !matches!(parts.method, Method::TRACE | Method::OPTIONS) {
        return Ok(());
    }
    let Some(most) = parts.headers.get(header::MAX_FORWARDS) else {
        return Ok(());
    };
    let most: Option<u64> = most.to_str().ok().and_then(|text| text.parse().ok());
    match most {
        Some(0) if parts.method == Method::OPTIONS => Err(Refused::options()),
        Some(0) => Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "TRACE is not answered here",
        )),
        Some(most) => {
            parts.headers.insert(header::MAX_FORWARDS, HeaderValue::from(most - 1));
            Ok(())
        }
        None => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "its Max-Forwards is not a number",
        )),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Makes it the request that the server is sent.
pub(super) fn rewrite(request: Request<RequestBody>, client: &Client, settings: &Settings) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    let headers = &mut parts.headers;
    let upgrade = match parts.version {
        Version::HTTP_11 if fields::has_token(headers, header::CONNECTION, "upgrade") => {
            headers.remove(header::UPGRADE).filter(fields::may_be_tunnelled)
        }
        _ => None,
    };
    let trailers = settings.config.upstream.version == UpstreamVersion::Http2
        && fields::has_token(headers, header::TE, "trailers");
    fields::strip(headers);
    headers.remove(header::TE);
    // It was answered by hyper, when the body was asked for.
    headers.remove(header::EXPECT);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    forwarded::say(headers, client, settings.config.client.trusted);
    headers.append(
        header::VIA,
        HeaderValue::from_static(match parts.version {
            Version::HTTP_10 => "1.0 bypeer",
            Version::HTTP_2 => "2.0 bypeer",
            _ => "1.1 bypeer",
        }),
    );
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

/// RFC 9113, section 8.2.3: HTTP/2 may split a cookie's field, which HTTP/1 must not have twice.
fn join_cookies(headers: &mut HeaderMap) {
    let header::Entry::Occupied(entry) = headers.entry(header::COOKIE) else {
        return;
    };
    if entry.iter().nth(1).is_none() {
        return;
    }
    let (_, cookies) = entry.remove_entry_mult();
    let cookies: Vec<HeaderValue> = cookies.collect();
    let joined = cookies
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::try_from(joined) {
        headers.insert(header::COOKIE, joined);
    }
}
