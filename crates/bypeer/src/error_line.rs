//! What an error line from a log tells about the connection it speaks of.

mod kind;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bypeer_wire::Endpoint;
use bypeer_wire::app::Head;
use bypeer_wire::conn::Connection;

use crate::moment::Moment;

pub use kind::Kind;

/// A pasted line, understood as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLine {
    /// Both ends, in the order of the line.
    pub pair: Option<(Endpoint, Endpoint)>,
    /// Other addresses, where both ends are not known.
    pub addresses: Vec<Address>,
    /// What kind of failure it tells of.
    pub kind: Option<Kind>,
    /// Paths, without queries, that the request can have had.
    pub paths: Vec<String>,
    pub(crate) time: Option<Moment>,
}

/// An address in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which host.
    pub host: Host,
    /// Which port, when the line says so.
    pub port: Option<u16>,
    /// Which end it is.
    pub end: End,
}

/// A host in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By address.
    Ip(IpAddr),
    /// By name; names are not looked up.
    Name(String),
}

/// Which end of a connection an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server's.
    Server,
    /// The client's.
    Client,
    /// The line does not tell.
    Either,
}

impl ErrorLine {
    /// Reads what a line tells; `None` when it tells neither an address, nor a time, nor a kind of failure.
    pub fn parse(line: &str) -> Option<ErrorLine> {
        let found = Moment::find(line);
        let (time, rest) = match found {
            // A time must not be taken for an address.
            Some((moment, place)) => (Some(moment), format!("{} {}", &line[..place.start], &line[place.end..])),
            None => (None, line.to_owned()),
        };
        let pair = [arrow, netty, socket_object].into_iter().find_map(|read| read(&rest));
        let addresses = match pair {
            Some(_) => Vec::new(),
            None => nginx(&rest).unwrap_or_else(|| anywhere(&rest)),
        };
        let kind = Kind::find(line);
        let told = pair.is_some() || !addresses.is_empty() || time.is_some() || kind.is_some();
        told.then(|| ErrorLine {
            pair,
            addresses,
            kind,
            paths: paths(line),
            time,
        })
    }

    /// Whether it names neither an address nor a time, but a kind of failure alone.
    pub(crate) fn tells_only_a_kind(&self) -> bool {
        self.pair.is_none() && self.addresses.is_empty() && self.time.is_none()
    }

    /// Whether one of the connection's requests that are known had a path of the line.
    pub(crate) fn carried(&self, connection: &Connection) -> bool {
        let path = |head: &Head| match head {
            Head::Request(head) => self.paths.iter().any(|path| **path == *head.path),
            _ => false,
        };
        connection
            .app
            .exchanges
            .iter()
            .filter_map(|exchange| exchange.request.as_ref())
            .any(|request| path(&request.head))
    }

    /// Whether the line can speak of this connection, its time aside.
    pub fn fits(&self, connection: &Connection) -> bool {
        let (client, server) = (connection.client, connection.server);
        if let Some((a, b)) = self.pair {
            return (same(a, client) && same(b, server)) || (same(a, server) && same(b, client));
        }
        self.addresses.is_empty()
            || self.addresses.iter().any(|address| {
                let at_server = address.is_at(
                    server,
                    connection.app.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
                );
                let at_client = address.is_at(client, None);
                match address.end {
                    End::Server => at_server,
                    End::Client => at_client,
                    End::Either => at_server || (at_client && matches!(address.host, Host::Ip(_))),
                }
            })
    }
}

impl fmt::Display for ErrorLine {
    /// "the line names 127.0.0.1:8000, one end only".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((a, b)) = self.pair {
            return write!(f, "the line names both ends, {a} and {b}");
        }
        let names: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        match names.as_slice() {
            [] if self.time.is_none() => f.write_str("the line names neither an address nor a time")?,
            [] => f.write_str("the line names no address, only a time")?,
            [one] => write!(f, "the line names only {one}")?,
            several => write!(f, "the line names {}", several.join(" and "))?,
        }
        match self.kind {
            Some(kind) if self.tells_only_a_kind() => write!(f, ", only {}", kind.noun()),
            Some(kind) => write!(f, ", and tells of {}", kind.noun()),
            None => Ok(()),
        }
    }
}

impl Address {
    fn is_at(&self, endpoint: Endpoint, server_name: Option<&str>) -> bool {
        if self.port.is_some_and(|port| port != endpoint.port) {
            return false;
        }
        match &self.host {
            Host::Ip(ip) => ip.to_canonical() == endpoint.addr.to_canonical(),
            Host::Name(name) if name == "localhost" => endpoint.addr.to_canonical().is_loopback(),
            Host::Name(name) => match server_name {
                Some(server_name) => server_name.eq_ignore_ascii_case(name),
                None => self.port.is_some(),
            },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Server => f.write_str("the server ")?,
            End::Client => f.write_str("the client ")?,
            End::Either => {}
        }
        match (&self.host, self.port) {
            (Host::Ip(addr), Some(port)) => Endpoint { addr: *addr, port }.fmt(f),
            (Host::Ip(addr), None) => write!(f, "{addr} without a port"),
            (Host::Name(name), port) => {
                f.write_str(name)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                if name == "localhost" {
                    Ok(())
                } else {
                    f.write_str(" (a name, which is not looked up)")
                }
            }
        }
    }
}

/// The same address and port; `::ffff:1.2.3.4` is 1.2.3.4.
pub(crate) fn same(a: Endpoint, b: Endpoint) -> bool {
    a.port == b.port && a.addr.to_canonical() == b.addr.to_canonical()
}

/// Reads `1.2.3.4:80`, `[::1]:80`, `[fe80::1%eth0]:80`.
pub(crate) fn endpoint(text: &str) -> Option<Endpoint> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let (addr, port) = (socket.ip(), socket.port());
        return Some(Endpoint { addr, port });
    }
    let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
    let addr = host.split('%').next()?.parse::<Ipv6Addr>().ok()?.into();
    let port = port.parse().ok()?;
    Some(Endpoint { addr, port })
}

/// Go, lsof: `A->B`.
fn arrow(line: &str) -> Option<(Endpoint, Endpoint)> {
    ["->", "→", "=>"].into_iter().find_map(|arrow| {
        let (before, after) = line.split_once(arrow)?;
        let left = before.trim_end().rsplit(is_boundary).next()?;
        let right = after.trim_start().split(is_boundary).next()?;
        Some((endpoint(left)?, endpoint(right.trim_end_matches([':', '.']))?))
    })
}

/// Netty: `[id: 0x5f, L:/127.0.0.1:5000 ! R:localhost/127.0.0.1:80]`.
fn netty(line: &str) -> Option<(Endpoint, Endpoint)> {
    let side = |mark: &str| {
        let (_, after) = line.split_once(mark)?;
        let token = after.split([' ', ']', ',']).next()?;
        endpoint(token.rsplit('/').next()?)
    };
    Some((side("L:")?, side("R:")?))
}

/// Node: `localAddress: '127.0.0.1', localPort: 56312, remoteAddress: '127.0.0.1', remotePort: 8080`.
fn socket_object(line: &str) -> Option<(Endpoint, Endpoint)> {
    let side = |address: &str, port: &str| {
        let addr = value_of(line, address)?.parse().ok()?;
        let port = value_of(line, port)?.parse().ok()?;
        Some(Endpoint { addr, port })
    };
    Some((side("localAddress", "localPort")?, side("remoteAddress", "remotePort")?))
}

/// nginx: the upstream, else the client.
fn nginx(line: &str) -> Option<Vec<Address>> {
    if let Some((_, after)) = line.split_once("upstream: \"") {
        let mut address = located(after.split('"').next()?)?;
        address.end = End::Server;
        return Some(vec![address]);
    }
    let (_, after) = line.split_once(", client: ")?;
    let host = Host::Ip(after.split(',').next()?.trim().parse().ok()?);
    Some(vec![Address {
        host,
        port: None,
        end: End::Client,
    }])
}

/// The request's path as nginx logs it, and the upstream's, which nginx may have rewritten. Queries are left out.
fn paths(line: &str) -> Vec<String> {
    let quoted = |mark: &str| line.split_once(mark)?.1.split('"').next();
    let request = quoted("request: \"").and_then(|request| request.split(' ').nth(1));
    let upstream = quoted("upstream: \"").and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        rest.get(rest.find('/')?..)
    });
    let mut paths: Vec<String> = Vec::new();
    for path in [request, upstream].into_iter().flatten() {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        if path.starts_with('/') && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

/// Addresses wherever they stand.
fn anywhere(line: &str) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    let mut add = |address: Address| {
        if !found.contains(&address) {
            found.push(address);
        }
    };
    // Python: ('127.0.0.1', 8000); Node: address: '127.0.0.1', port: 80; urllib3: host='127.0.0.1', port=8000.
    let port = port_of(line);
    for key in ["host", "address", "hostname", "addr"] {
        if let (Some(host), Some(port)) = (value_of(line, key).and_then(host), port) {
            add(Address {
                host,
                port: Some(port),
                end: End::Server,
            });
        }
    }
    tuples(line).for_each(&mut add);
    for token in line.split(is_boundary).map(trimmed) {
        if let Some(address) = located(token).filter(|address| address.port.is_some()) {
            add(address);
        }
    }
    if found.is_empty() {
        let bare = line
            .split(is_boundary)
            .map(trimmed)
            .filter_map(|token| token.parse::<IpAddr>().ok());
        found.extend(bare.take(1).map(|ip| Address {
            host: Host::Ip(ip),
            port,
            end: End::Either,
        }));
    }
    if found.is_empty() && port.is_some() {
        // curl: Failed to connect to example.com port 8080
        let named = line
            .split_once("onnect to ")
            .and_then(|(_, after)| after.split(is_boundary).next())
            .map(trimmed);
        found.extend(named.and_then(host).map(|host| Address {
            host,
            port,
            end: End::Server,
        }));
    }
    // An address that is told with and without a role is one address.
    let sure: Vec<(Host, Option<u16>)> = found
        .iter()
        .filter(|address| address.end != End::Either)
        .map(|address| (address.host.clone(), address.port))
        .collect();
    found.retain(|address| address.end != End::Either || !sure.contains(&(address.host.clone(), address.port)));
    found
}

/// What ends an address token.
fn is_boundary(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '"' | '\'' | '`' | ',' | ';' | '(' | ')' | '<' | '>' | '{' | '}' | '=' | '|' | '!'
        )
}

fn trimmed(token: &str) -> &str {
    let token = token.trim_end_matches(['.', ':', '/']);
    // A bracket that was opened elsewhere.
    if token.contains('[') {
        token.trim_start_matches('/')
    } else {
        token.trim_end_matches(']').trim_start_matches('/')
    }
}

/// A URL, an endpoint, `name/1.2.3.4:80` or `name:80`.
fn located(token: &str) -> Option<Address> {
    let (scheme, rest) = match token.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, token),
    };
    let end = if scheme.is_some() { End::Server } else { End::Either };
    let authority = match scheme {
        Some(_) => rest.split(['/', '?', '#']).next()?,
        // Java: InetSocketAddress prints name/address:port.
        None => rest.rsplit('/').next()?,
    };
    let authority = authority.rsplit('@').next()?;
    if let Some(endpoint) = endpoint(authority) {
        return Some(Address {
            host: Host::Ip(endpoint.addr),
            port: Some(endpoint.port),
            end,
        });
    }
    let usual = match scheme {
        Some("http" | "ws") => Some(80),
        Some("https" | "wss") => Some(443),
        Some("redis") => Some(6379),
        Some("postgres" | "postgresql") => Some(5432),
        Some("mysql") => Some(3306),
        Some("amqp") => Some(5672),
        _ => None,
    };
    if let Some(ip) = authority.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Some(Address {
            host: Host::Ip(ip.parse().ok()?),
            port: usual,
            end,
        });
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().ok().filter(|port| *port > 0)?)),
        None => (authority, usual),
    };
    port?;
    let name = host(name)?;
    let plausible =
        scheme.is_some() || matches!(&name, Host::Ip(_)) || matches!(&name, Host::Name(name) if is_host_in_prose(name));
    plausible.then_some(Address {
        host: name,
        port,
        end: if scheme.is_some() { end } else { End::Server },
    })
}

/// A host by address or by a name that could be one.
fn host(text: &str) -> Option<Host> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Some(Host::Ip(ip));
    }
    let is_name = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name.then(|| Host::Name(text.to_ascii_lowercase()))
}

/// Whether `name` in `name:123` is a host and not a source file with its line.
fn is_host_in_prose(name: &str) -> bool {
    const SOURCES: [&str; 20] = [
        "c", "cc", "cjs", "cpp", "cs", "ex", "go", "h", "java", "js", "jsx", "kt", "mjs", "php", "py", "rb", "rs",
        "scala", "ts", "tsx",
    ];
    name == "localhost"
        || name
            .rsplit_once('.')
            .is_some_and(|(_, last)| !SOURCES.contains(&last) && !last.is_empty())
}

/// The value after `key:` or `key=`, its quotes removed.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.match_indices(key).find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '_') {
            return None;
        }
        let after = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        let after = after
            .strip_prefix([':', '='])?
            .trim_start()
            .trim_start_matches(['"', '\'']);
        let value = after.split([',', ' ', '"', '\'', ')', '}', ';']).next()?;
        (!value.is_empty()).then_some(value)
    })
}

/// `port: 80`, `port=80`, `port 80`.
fn port_of(line: &str) -> Option<u16> {
    let after_word = || {
        line.match_indices("port ").find_map(|(at, word)| {
            line[at + word.len()..]
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
    };
    value_of(line, "port")
        .and_then(|port| port.parse().ok())
        .or_else(after_word)
        .filter(|port: &u16| *port > 0)
}

/// Python's `('127.0.0.1', 8000)`.
fn tuples(line: &str) -> impl Iterator<Item = Address> + '_ {
    line.split('(').skip(1).filter_map(|inner| {
        let (host_text, rest) = inner.split(')').next()?.split_once(',')?;
        let host = host(host_text.trim().trim_matches(['"', '\'']))?;
        let port = rest.split(',').next()?.trim().parse().ok()?;
        Some(Address {
            host,
            port: Some(port),
            end: End::Server,
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
