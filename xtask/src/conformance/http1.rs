//! HTTP/1: the requests of gunicorn's own tests, through a proxy. Valid ones arrive as they were meant; invalid ones do not arrive.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::origin::{Origin, Received};

/// How long something may take to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// Silence after which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(150);

/// A line of `gunicorn.py`.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub name: String,
    valid: bool,
    /// Depends on a setting or on limits of gunicorn's: not for others.
    pub setting: bool,
    /// Hexadecimal, as bodies.
    data: String,
    requests: Vec<Expected>,
}

#[derive(Clone, Debug, Deserialize)]
struct Expected {
    method: String,
    target: String,
    body: String,
}

impl Case {
    /// `None`: as it should be; else what was wrong.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn run(&self, proxy: SocketAddr, origin: &Origin) -> Result<Option<String>> {
        let data = with_host(&bytes(&self.data)?);
        origin.take();
        let statuses = send(proxy, &data, self.requests.len())?;
        let received = origin.take();
        Ok(if self.valid {
            let expected = self
                .requests
                .iter()
                .map(|request| Ok((request.method.as_str(), request.target.as_str(), bytes(&request.body)?)))
                .collect::<Result<Vec<_>>>()?;
            judge_valid(&expected, &received, &statuses)
        } else {
            judge_invalid(&received, &statuses)
        })
    }
}

fn judge_valid(expected: &[(&str, &str, Vec<u8>)], received: &Received, statuses: &[u16]) -> Option<String> {
    if let Some(malformed) = received.malformed.first() {
        return Some(format!("passed on malformed: {malformed}"));
    }
    if let Some(status) = statuses.iter().find(|status| **status >= 400) {
        return Some(format!("refused with {status}"));
    }
    if received.requests.len() != expected.len() {
        return Some(format!(
            "{} of {} requests arrived",
            received.requests.len(),
            expected.len()
        ));
    }
    for (request, (method, target, body)) in received.requests.iter().zip(expected) {
        if request.method != *method || origin_form(&request.target) != origin_form(target) {
            return Some(format!(
                "{method} {target} arrived as {} {}",
                request.method, request.target
            ));
        }
        if request.body != *body {
            return Some(format!(
                "the body arrived with {} of {} bytes",
                request.body.len(),
                body.len()
            ));
        }
    }
    None
}

/// A request that is whole behind the proxy was passed on; a head alone, whose body turned out invalid, may have been.
fn judge_invalid(received: &Received, statuses: &[u16]) -> Option<String> {
    if let Some(malformed) = received.malformed.first() {
        return Some(format!("passed on malformed: {malformed}"));
    }
    if let Some(request) = received.requests.first() {
        return Some(format!("passed on as {} {}", request.method, request.target));
    }
    let good = statuses.iter().find(|status| (200..400).contains(*status));
    good.map(|status| format!("answered with {status}"))
}

/// Path and query: a proxy may take away the rest (RFC 9112 3.2.2), and fragments are no part of a target.
fn origin_form(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let Some((_, rest)) = target.split_once("://") else {
        return target.to_owned();
    };
    rest.find(['/', '?'])
        .map_or_else(|| "/".to_owned(), |at| rest[at..].to_owned())
}

/// gunicorn does not ask for Host; others must refuse HTTP/1.1 without (RFC 9112 3.2), which is not what its cases are about.
fn with_host(data: &[u8]) -> Vec<u8> {
    const VERSION: &[u8] = b" HTTP/1.1";
    let find = |data: &[u8], what: &[u8]| data.windows(what.len()).position(|bytes| bytes == what);
    let mut all = Vec::new();
    let mut rest = data;
    let has_length = |head: &[u8]| {
        String::from_utf8_lossy(head)
            .to_ascii_lowercase()
            .contains("content-length")
    };
    if has_length(&data[..find(data, b"\r\n\r\n").unwrap_or(0)]) && find(data, b" HTTP/1.0\r\n").is_some() {
        return data.to_vec();
    }
    while let Some(at) = find(rest, b" HTTP/1.1\r\n") {
        let (line, after) = rest.split_at(at + VERSION.len());
        all.extend_from_slice(line);
        let head = &after[..find(after, b"\r\n\r\n").unwrap_or(after.len())];
        if !String::from_utf8_lossy(head).to_ascii_lowercase().contains("\nhost") {
            all.extend_from_slice(b"\r\nHost: localhost");
        }
        rest = after;
        // What looks like a request may be its body.
        if has_length(head) {
            break;
        }
    }
    [&all, rest].concat()
}

/// Sends, and gives the statuses of all answers until the proxy closes or says nothing more.
fn send(proxy: SocketAddr, data: &[u8], answers: usize) -> Result<Vec<u16>> {
    let mut stream = TcpStream::connect(proxy).with_context(|| proxy.to_string())?;
    stream.set_read_timeout(Some(SILENCE))?;
    // It may be closed before all is sent.
    let _ = stream.write_all(data);
    let begin = Instant::now();
    let mut text = Vec::new();
    let mut buffer = [0; 16384];
    let mut closed = false;
    while begin.elapsed() < PATIENCE {
        match stream.read(&mut buffer) {
            Ok(0) => {
                closed = true;
                break;
            }
            Ok(read) => text.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if statuses(&text).len() >= answers.max(1) {
                    break;
                }
                // What is not whole is waited for by some: it will not come.
                let _ = stream.shutdown(Shutdown::Write);
            }
            Err(_) => {
                closed = true;
                break;
            }
        }
    }
    if closed {
        std::thread::sleep(SILENCE / 5);
    }
    Ok(statuses(&text))
}

/// Of answers without `HTTP/1.` in their bodies.
fn statuses(text: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(text);
    let lines = text.split("HTTP/1.").skip(1);
    lines
        .filter_map(|line| line.split(' ').nth(1)?.get(..3)?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>> {
    (0..hexadecimal.len())
        .step_by(2)
        .map(|at| {
            let digits = hexadecimal.get(at..at + 2).context("half a byte")?;
            u8::from_str_radix(digits, 16).context("not hexadecimal")
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::origin::Request;
    use super::*;

    fn received(target: &str, body: &[u8]) -> Received {
        Received {
            requests: vec![Request {
                method: "POST".to_owned(),
                target: target.to_owned(),
                body: body.to_vec(),
            }],
            malformed: vec![],
        }
    }

    #[test]
    fn valid_requests_arrive_as_they_were_meant() {
        let expected = [("POST", "http://a/b?c#d", b"body".to_vec())];
        assert_eq!(judge_valid(&expected, &received("/b?c", b"body"), &[200]), None);
        for (received, statuses) in [
            (received("/b", b"body"), [200]),
            (received("/b?c", b"bod"), [200]),
            (received("/b?c", b"body"), [400]),
            (Received::default(), [200]),
        ] {
            assert!(judge_valid(&expected, &received, &statuses).is_some(), "{received:?}");
        }
    }

    #[test]
    fn invalid_requests_do_not_arrive() {
        assert_eq!(judge_invalid(&Received::default(), &[400]), None);
        assert_eq!(judge_invalid(&Received::default(), &[]), None);
        assert!(judge_invalid(&Received::default(), &[200]).is_some());
        assert!(judge_invalid(&received("/", b""), &[400]).is_some());
    }

    #[test]
    fn a_host_is_given_to_whom_it_lacks() {
        let host = |text: &str| String::from_utf8(with_host(text.as_bytes())).unwrap();
        assert_eq!(
            host("GET / HTTP/1.1\r\nA: b\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"
        );
        assert_eq!(
            host("GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        for same in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET\r\n/\r\nHTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(host(same), same);
        }
    }

    #[test]
    fn statuses_of_answers() {
        let text =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 400 Bad\r\n\r\n";
        assert_eq!(statuses(text), [200, 400]);
        assert_eq!(bytes("0aff").unwrap(), [10, 255]);
        assert!(bytes("0").is_err());
    }
}
