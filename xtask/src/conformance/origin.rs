//! The server behind the proxy: keeps what it is sent, to the byte, and answers 200.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;

/// A whole request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Without its chunks.
    pub body: Vec<u8>,
}

/// What came behind a proxy since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub requests: Vec<Request>,
    /// What is not HTTP, or may be read in two ways. A proxy must not pass on such.
    pub malformed: Vec<String>,
}

/// Listens until the program ends.
pub struct Origin {
    pub address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

impl Origin {
    /// Starts it on this port; 0: on a free one.
    ///
    /// # Errors
    /// When it is not free.
    pub fn start(port: u16) -> Result<Origin> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Received::default()));
        let all = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || serve(stream, &all));
            }
        });
        Ok(Origin { address, received })
    }

    /// What has come, and forgets it.
    pub fn take(&self) -> Received {
        let mut received = self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *received)
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Received>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut bytes = Vec::new();
    let mut buffer = [0; 16384];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        loop {
            let (outcome, used) = match request(&bytes) {
                Ok(None) => break,
                Ok(Some((request, used))) => (Ok(request), used),
                Err(why) => (Err(why), bytes.len()),
            };
            bytes.drain(..used);
            let mut received = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match outcome {
                Ok(request) => received.requests.push(request),
                Err(why) => received.malformed.push(why),
            }
            drop(received);
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_err()
            {
                return;
            }
        }
    }
}

/// Reads one request, strictly (RFC 9112). `None` while it is not whole, else with how many bytes it has.
fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    // ISO 8859-1, so that each byte is a character.
    let head: String = bytes[..end].iter().copied().map(char::from).collect();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = line.split(' ').collect();
    let &[method, target, "HTTP/1.1" | "HTTP/1.0"] = &parts[..] else {
        return Err(format!("the line of the request is {line:?}"));
    };
    let mut lengths = Vec::new();
    let mut codings = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no field"))?;
        let is_token = |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
        if name.is_empty() || !name.chars().all(is_token) || value.contains(['\r', '\n', '\0']) {
            return Err(format!("{line:?} is no field"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim()),
            "transfer-encoding" => codings.push(value.trim().to_ascii_lowercase()),
            _ => {}
        }
    }
    let rest = &bytes[end + 4..];
    let (body, used) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), 0),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| format!("a body of {length}"))?;
            if rest.len() < length {
                return Ok(None);
            }
            (rest[..length].to_vec(), length)
        }
        ([], [coding]) if coding == "chunked" => match chunks(rest)? {
            Some(body) => body,
            None => return Ok(None),
        },
        _ => return Err(format!("Content-Length {lengths:?}, Transfer-Encoding {codings:?}")),
    };
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        body,
    };
    Ok(Some((request, end + 4 + used)))
}

/// A chunked body, and how many bytes it took.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    let line = |at: usize| {
        let length = bytes[at..].windows(2).position(|bytes| bytes == b"\r\n")?;
        Some(&bytes[at..at + length])
    };
    loop {
        let Some(head) = line(at) else { return Ok(None) };
        at += head.len() + 2;
        let size = String::from_utf8_lossy(head);
        let size = size.split(';').next().unwrap_or_default().trim_end();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("a chunk of {size:?}"))?;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk does not end where it says".to_owned());
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    // Trailers.
    loop {
        let Some(trailer) = line(at) else { return Ok(None) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_requests_and_beginnings() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: x\r\n\r\n",
        ] {
            for have in 0..text.len() {
                assert_eq!(request(&text.as_bytes()[..have]).unwrap(), None, "{:?}", &text[..have]);
            }
            let more = format!("{text}GET /");
            let (request, used) = request(more.as_bytes()).unwrap().unwrap();
            assert_eq!(used, text.len());
            assert_eq!(
                request.body,
                if text.starts_with("GET") { "" } else { "abc" }.as_bytes()
            );
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_malformed() {
        for head in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
            "GET / HTTP/1.1\r\nContent-Length: +1",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, identity",
            "GET / HTTP/1.1\r\nBad Name: x",
            "GET / HTTP/1.1\r\nA: b\r\n folded",
            "GET / HTTP/1.1\r\nA: b\nC: d",
        ] {
            assert!(request(format!("{head}\r\n\r\nx").as_bytes()).is_err(), "{head:?}");
        }
        assert!(chunks(b"2\r\nabc\r\n0\r\n\r\n").is_err());
        assert!(chunks(b"x\r\n").is_err());
    }
}
