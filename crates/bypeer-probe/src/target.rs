//! What is asked: a URL, and where its server is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use http::Uri;

/// The server that is probed, and the resource that it is asked for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whether TLS is spoken.
    pub scheme: Scheme,
    /// Host as the URL spells it, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query of the URL; "/" where it has none.
    pub path: String,
    /// Where connections go.
    pub place: Place,
}

/// How the URL begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// http://
    Http,
    /// https://
    Https,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP: the addresses of its name, at least one, in the resolver's order.
    Tcp(Vec<SocketAddr>),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// Why a URL cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is none.
    #[error("{0:?} is not a URL that can be probed: it must look like http://host:port/path or https://host/path")]
    NotAUrl(String),
    /// Another scheme.
    #[error("{0}:// cannot be probed: http:// and https:// can")]
    Scheme(String),
    /// user:password@
    #[error("the URL holds a user or password: leave it out, and give --header 'Authorization: …' where it is needed")]
    UserInfo,
    /// The resolver's answer.
    #[error("the name {host} cannot be resolved: {why}; check its spelling, or give --connect ADDRESS")]
    Name {
        /// The name.
        host: String,
        /// The resolver's words.
        why: String,
    },
    /// `--connect` that is no address.
    #[error("{0:?} is no address to connect to: give ADDRESS, ADDRESS:PORT or [IPV6]:PORT")]
    Address(String),
}

/// Where to connect instead of where the URL's name leads.
#[derive(Clone, Debug, Default)]
pub enum Instead {
    /// Follow the name.
    #[default]
    Name,
    /// This host, name or address, perhaps with a port.
    Host(String),
    /// This unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads a URL and finds its server. Asks the resolver unless `instead` makes that needless.
    ///
    /// # Errors
    /// When the URL is none that can be probed or its name leads nowhere.
    pub fn find(url: &str, instead: &Instead) -> Result<Target, TargetError> {
        let text = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let not_a_url = || TargetError::NotAUrl(url.to_owned());
        let uri: Uri = text.parse().map_err(|_| not_a_url())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => return Err(TargetError::Scheme(other.to_owned())),
            None => return Err(not_a_url()),
        };
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let host = uri.host().ok_or_else(not_a_url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(not_a_url());
        }
        // What cannot be a port is no port to the parser.
        let behind = authority
            .as_str()
            .rsplit_once(']')
            .map_or(authority.as_str(), |(_, behind)| behind);
        let port = match (uri.port(), behind.contains(':')) {
            (Some(port), _) => port.as_u16(),
            (None, true) => return Err(not_a_url()),
            (None, false) => scheme.port(),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let place = match instead {
            Instead::Unix(path) => Place::Unix(path.clone()),
            Instead::Name => Place::Tcp(resolve(&host, port)?),
            Instead::Host(other) => {
                let (host, port) = host_and_port(other, port).ok_or_else(|| TargetError::Address(other.clone()))?;
                Place::Tcp(resolve(&host, port)?)
            }
        };
        Ok(Target {
            scheme,
            host,
            port,
            path,
            place,
        })
    }

    /// The `Host` field's value.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The path without its query, which may hold secrets.
    pub fn shown_path(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(path, _)| path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.path.contains('?') { "?…" } else { "" };
        write!(
            f,
            "{}://{}{}{query}",
            self.scheme.name(),
            self.authority(),
            self.shown_path()
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(addresses) => match addresses.first() {
                Some(first) => write!(f, "{first}"),
                None => f.write_str("no address"),
            },
            Place::Unix(path) => write!(f, "unix socket {}", path.display()),
        }
    }
}

impl Scheme {
    /// "http", "https".
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Its port where the URL names none.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Place {
    /// The unix socket, where it is one.
    pub fn unix(&self) -> Option<&Path> {
        match self {
            Place::Unix(path) => Some(path),
            Place::Tcp(_) => None,
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |why: String| TargetError::Name {
        host: host.to_owned(),
        why,
    };
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(addresses)
}

fn host_and_port(text: &str, port: u16) -> Option<(String, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Some((bare.to_owned(), port));
    }
    match text.split_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None => (!text.is_empty()).then(|| (text.to_owned(), port)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(url: &str) -> Target {
        Target::find(url, &Instead::Host("127.0.0.1:9".to_owned())).unwrap()
    }

    #[test]
    fn a_url_says_what_is_asked_and_of_whom() {
        let target = found("https://shop.example/cart?id=7");
        assert_eq!(
            (target.scheme, &*target.host, target.port),
            (Scheme::Https, "shop.example", 443)
        );
        assert_eq!((&*target.path, target.shown_path()), ("/cart?id=7", "/cart"));
        assert_eq!(target.authority(), "shop.example");
        assert_eq!(target.to_string(), "https://shop.example/cart?…");
        assert_eq!(target.place, Place::Tcp(vec!["127.0.0.1:9".parse().unwrap()]));
        assert_eq!(found("http://[::1]:8080").authority(), "[::1]:8080");
        assert_eq!(found("localhost:8080").path, "/");
        assert_eq!(found("http://host?x=1").path, "/?x=1");
    }

    #[test]
    fn an_address_needs_no_resolver() {
        let target = Target::find("http://[::1]:8080/x", &Instead::Name).unwrap();
        assert_eq!(target.place, Place::Tcp(vec!["[::1]:8080".parse().unwrap()]));
        let target = Target::find("http://name.example/", &Instead::Unix("/run/x".into())).unwrap();
        assert_eq!(target.place.unix(), Some(Path::new("/run/x")));
    }

    #[test]
    fn what_cannot_be_probed_is_refused_with_a_reason() {
        let says = |url: &str| Target::find(url, &Instead::Name).unwrap_err().to_string();
        assert!(says("ftp://host/").contains("ftp:// cannot be probed"));
        assert!(says("http://me:secret@host/").contains("--header"));
        assert!(!says("http://me:secret@host/").contains("secret"));
        for url in [
            "",
            "http://",
            "http:///path",
            "http://host:99999/",
            "http://host:/",
            "http://[::1]:x/",
            "http://a b/",
        ] {
            assert!(says(url).contains("is not a URL"), "{url:?}: {}", says(url));
        }
    }
}
