//! The address of the server behind, as a URL.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::Destination;

/// Reads `http://host:port`, `https://host`, `unix:/path`.
///
/// # Errors
/// What is wrong with it, in one line.
pub(super) fn destination(text: &str) -> Result<Destination, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(Destination {
                host: "localhost".to_owned(),
                port: 0,
                tls: false,
                unix: Some(PathBuf::from(path)),
            }),
            false => Err(format!("{text:?} has no absolute path; write \"unix:/run/app.sock\"")),
        };
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("{text:?} has no scheme; write \"http://{text}\""));
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => {
            return Err(format!(
                "{scheme}:// is not spoken here; http://, https:// and unix: are"
            ));
        }
    };
    if rest
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
    {
        return Err("has a user's name in it, which would be sent to nobody; leave it out".to_owned());
    }
    let authority = rest.trim_end_matches('/');
    if let Some((authority, _)) = authority.split_once(['/', '?', '#']) {
        return Err(format!(
            "{text:?} has a path, and paths are passed on as clients send them; write \"{scheme}://{authority}\""
        ));
    }
    let (host, port) = split(authority).ok_or_else(|| match in_brackets(authority) {
        Some(right) => format!("{authority:?} is no host and port; write {scheme}://{right}"),
        None => format!("{authority:?} is no host and port"),
    })?;
    let port = match port {
        None => Ok(if tls { 443 } else { 80 }),
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(port),
    };
    match port {
        Ok(port) => Ok(Destination {
            host: host.to_owned(),
            port,
            tls,
            unix: None,
        }),
        Err(port) => Err(format!("{port:?} is no port; ports are 1 to 65535")),
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return None,
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(is_name)).then_some((host, port))
}

/// An IPv6 address without its brackets, and with a port if the last part can be one.
fn in_brackets(authority: &str) -> Option<String> {
    let is_address = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    match authority.rsplit_once(':') {
        Some((host, port)) if is_address(host) && port.parse::<u16>().is_ok() => Some(format!("[{host}]:{port}")),
        _ => is_address(authority).then(|| format!("[{authority}]")),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.unix {
            return write!(f, "unix:{}", path.display());
        }
        let scheme = if self.tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_written() {
        let cases = [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("HTTPS://shop.example", "https://shop.example:443"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://app", "http://app:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ];
        for (text, written) in cases {
            assert_eq!(destination(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_server_is_said() {
        let cases = [
            ("127.0.0.1:8000", "write \"http://127.0.0.1:8000\""),
            ("ftp://x", "not spoken"),
            ("http://x/api", "write \"http://x\""),
            ("http://user:secret@x", "leave it out"),
            ("http://x:0", "is no port"),
            ("http://x:99999", "is no port"),
            ("http://", "is no host"),
            ("http://a b", "is no host"),
            ("http://[::1", "is no host"),
            ("http://::1:8000", "is no host and port; write http://[::1]:8000"),
            ("https://::1", "is no host and port; write https://[::1]"),
            ("http://fe80::1", "is no host and port; write http://[fe80::1]"),
            ("http://[1.2.3.4]", "is no host"),
            ("unix:app.sock", "absolute"),
        ];
        for (text, expected) in cases {
            let wrong = destination(text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
        for text in [
            "http://user:secret@x",
            "http://user:secret@x/path",
            "https://user:secret@x?q",
        ] {
            assert!(!destination(text).unwrap_err().contains("secret"));
        }
    }
}
