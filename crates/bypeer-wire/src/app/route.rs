//! Requests to kinds of requests: what of a path or a name is a value, and what tells where it leads.

use std::sync::Arc;

use super::notice::Route;
use super::short::Short;
use super::words::plain_hash;

/// Most bytes of a route's text.
const TEXT_MAX: usize = 160;
/// Segments of a path that are kept.
const SEGMENTS: usize = 12;
/// Longest segment that is kept as it is.
const SEGMENT_MAX: usize = 48;

impl Route {
    fn of(text: &str) -> Route {
        Route {
            key: plain_hash(text.as_bytes()),
            text: Arc::from(text),
        }
    }

    /// The last one again where it is the same, so that the text is held once.
    fn or<const N: usize>(text: &Short<N>, last: Option<&Route>) -> Route {
        match last {
            Some(last) if last.text.as_bytes() == text.as_bytes() => last.clone(),
            _ => Route::of(text.as_str()),
        }
    }

    /// Of an HTTP request, by method and target.
    pub(super) fn of_request(method: &str, target: &str, last: Option<&Route>) -> Route {
        let mut text = Short::<TEXT_MAX>::of(method.get(..method.len().min(24)).unwrap_or("?"));
        text.push(b" ");
        for (index, segment) in segments(target).enumerate() {
            if index > 0 {
                text.push(b"/");
            }
            let room = TEXT_MAX.saturating_sub(text.len() + 2);
            if index > SEGMENTS || room == 0 {
                text.push(b"*");
                break;
            }
            push_template(&mut text, segment, room);
        }
        Route::or(&text, last)
    }

    /// Of a Redis command: its name, and that of the subcommand where it has one.
    pub(super) fn of_command(name: &[u8], subcommand: Option<&[u8]>, last: Option<&Route>) -> Route {
        let mut text = Short::<64>::default();
        for word in [Some(name), subcommand].into_iter().flatten() {
            if text.len() > 0 {
                text.push(b" ");
            }
            match is_command_word(word) {
                true => text.push(&word.to_ascii_uppercase()),
                false => text.push(b"*"),
            }
        }
        Route::or(&text, last)
    }
}

/// The path's segments; the first is what is before the first slash: nothing, as a rule.
pub(super) fn segments(target: &str) -> impl Iterator<Item = &str> {
    path(target).split('/')
}

/// A target's path and its query, where it has one.
fn split(target: &str) -> (&str, Option<&str>) {
    let bytes = target.as_bytes();
    let end = bytes.iter().position(|&byte| matches!(byte, b'?' | b'#'));
    let Some((before, rest)) = end.and_then(|end| target.split_at_checked(end)) else {
        return (target, None);
    };
    let query = rest.strip_prefix('?').and_then(|rest| rest.split('#').next());
    (before, query)
}

/// The target's path, or what stands in its place (`*`, an authority, of which nobody learns a user's name).
fn path(target: &str) -> &str {
    let (target, _) = split(target);
    if target.starts_with('/') {
        return target;
    }
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
        None => target.rsplit('@').next().unwrap_or_default(),
    }
}

/// The query's parameters.
pub(super) fn query(target: &str) -> impl Iterator<Item = (&str, &str)> {
    let parameters = split(target).1.into_iter().flat_map(|query| query.split('&'));
    parameters.filter_map(|parameter| parameter.split_once('='))
}

fn push_template(text: &mut Short<TEXT_MAX>, segment: &str, room: usize) {
    // RFC 3986 §3.3: parameters of a segment, of which session ids are one.
    let end = segment.bytes().position(|byte| byte == b';').unwrap_or(segment.len());
    let segment = segment.get(..end).unwrap_or_default();
    if is_plain(segment) && segment.len() <= room.min(SEGMENT_MAX) {
        if !looks_like_value(segment.as_bytes()) {
            return match segment.rsplit_once('.') {
                Some((stem, extension)) if is_extension(extension) && looks_like_value(stem.as_bytes()) => {
                    text.push(b"*.");
                    text.push(extension.as_bytes());
                }
                _ => text.push(segment.as_bytes()),
            };
        }
        if let Some((_, extension)) = segment.rsplit_once('.')
            && is_extension(extension)
            && extension.len() + 2 <= room
        {
            text.push(b"*.");
            return text.push(extension.as_bytes());
        }
    }
    text.push(b"*");
}

fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Printable, and nothing encoded.
fn is_plain(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%')
}

/// Whether a name is one that is different each time: a number, a hash, a UUID, a date, a key.
///
/// Errs on the side of calling it a value: then two kinds are taken for one, and tell less.
pub(super) fn looks_like_value(name: &[u8]) -> bool {
    let digits = name.iter().filter(|byte| byte.is_ascii_digit()).count();
    if name.len() >= 8 && name.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') {
        let hexadecimal = name.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
        if hexadecimal >= 8 {
            return true;
        }
    }
    if digits == 0 {
        return name.len() > SEGMENT_MAX || is_mixed(name) && name.len() >= 20;
    }
    if digits == name.len() || (name.len() >= 3 && digits * 2 > name.len()) {
        return true;
    }
    // order-17, item_3
    let last = name.rsplit(|byte| matches!(byte, b'-' | b'_' | b':')).next();
    if last.is_some_and(|last| last.len() < name.len() && !last.is_empty() && last.iter().all(u8::is_ascii_digit)) {
        return true;
    }
    name.len() >= 16 && digits >= 2 && changes(name) >= 4
}

/// Ends in base64's padding, or is of many changes between small and capital letters: no camel case has as many.
fn is_mixed(name: &[u8]) -> bool {
    name.ends_with(b"=") || changes(name) * 2 > name.len()
}

/// How often a name changes between small letters, capitals and digits.
fn changes(name: &[u8]) -> usize {
    let class = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    name.iter()
        .zip(name.iter().skip(1))
        .filter(|(here, next)| class(**here) != class(**next) && class(**here) != 3 && class(**next) != 3)
        .count()
}

/// A word that a Redis command can be: modules have dots in theirs.
pub(super) fn is_command_word(word: &[u8]) -> bool {
    (1..=24).contains(&word.len())
        && word.first().is_some_and(u8::is_ascii_alphabetic)
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !looks_like_value(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: &str) -> String {
        let text = Route::of_request("GET", target, None).text;
        text.strip_prefix("GET ").unwrap_or_default().to_owned()
    }

    #[test]
    fn values_in_paths_are_stars() {
        let alike = [
            ("/", "/"),
            ("*", "*"),
            ("/users/17/orders", "/users/*/orders"),
            ("/users/17/orders?next=secret#x", "/users/*/orders"),
            ("/api/v1/items", "/api/v1/items"),
            ("/blobs/0a1b2c3d", "/blobs/*"),
            ("/blobs/DEADBEEF", "/blobs/*"),
            ("/j/6fa459ea-ee8a-3ca4-894e-db77e160355e", "/j/*"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "/t/*"),
            ("/s/caf%C3%A9/x", "/s/*/x"),
            ("/d/2024-05-06/log", "/d/*/log"),
            ("/order-17/item_3", "/*/*"),
            ("/img/12345.png", "/img/*.png"),
            ("/index.html;jsessionid=1F", "/index.html"),
            ("/getUserAccountDetailsByName", "/getUserAccountDetailsByName"),
            ("/a//b/", "/a//b/"),
            ("http://user:pass@host:80/x/1", "/x/*"),
            ("host.example:443", "host.example:443"),
            ("user@host.example", "host.example"),
            ("/oauth2-authorization-server", "/oauth2-authorization-server"),
        ];
        for (target, template) in alike {
            // An authority is one segment with a port behind it.
            let expected = if target == "host.example:443" { "*" } else { template };
            assert_eq!(route(target), expected, "{target}");
        }
    }

    #[test]
    fn routes_are_bounded_and_printable() {
        for target in [
            "/a".repeat(1000),
            "/abcdefghijkl".repeat(100),
            format!("/{}", "x".repeat(5000)),
            "/\u{e9}\u{1b}[2J/\u{7f}".to_owned(),
        ] {
            let route = Route::of_request("GET", &target, None);
            assert!(route.text.len() <= TEXT_MAX, "{}", route.text);
            assert!(route.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    #[test]
    fn a_text_is_held_once() {
        let first = Route::of_request("GET", "/a/1", None);
        let second = Route::of_request("GET", "/a/2", Some(&first));
        assert!(Arc::ptr_eq(&first.text, &second.text) && first == second);
    }

    #[test]
    fn commands_are_named_where_they_can_be_some() {
        let of = |name: &[u8], sub: Option<&[u8]>| Route::of_command(name, sub, None).text.to_string();
        assert_eq!(of(b"hgetall", None), "HGETALL");
        assert_eq!(of(b"json.get", None), "JSON.GET");
        assert_eq!(of(b"client", Some(b"setinfo")), "CLIENT SETINFO");
        assert_eq!(of(b"s3cr3t pass", None), "*");
        assert_eq!(of(b"0123", None), "*");
    }
}
