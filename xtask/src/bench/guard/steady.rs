//! Requests at a fixed rate, whatever becomes of those before: an open loop.
//!
//! The time of an answer counts from the moment at which its request was due, not from when it could be sent: what waits behind a slow
//! answer waited too (G. Tene calls leaving that out coordinated omission). Arrivals are random, as those of many clients are (Poisson).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bypeer_lab::statistics::Spread;

use super::backend::SMALL;
use crate::bench::core::Core;

const PATIENCE: Duration = Duration::from_secs(10);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: u32,
    /// Each with a thread of its own.
    pub connections: u32,
    pub span: Duration,
}

impl Rate {
    /// Asks, and gives the time that each answer took.
    ///
    /// # Errors
    /// When an answer is missing or not 200.
    pub fn ask(self, address: SocketAddr, core: Core) -> Result<Spread<Duration>> {
        // All connections are there before the first request is due.
        let begin = Instant::now() + Duration::from_millis(50);
        let mut times = Vec::new();
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..self.connections)
                .map(|number| scope.spawn(move || self.one(number, address, core, begin)))
                .collect();
            for thread in threads {
                times.extend(thread.join().map_err(|_| anyhow!("a thread of the load panicked"))??);
            }
            Ok(())
        })?;
        Spread::of(times).context("nothing was due in so short a time")
    }

    /// One connection's part.
    fn one(self, number: u32, address: SocketAddr, core: Core, begin: Instant) -> Result<Vec<Duration>> {
        core.hold_me()?;
        // The kernel wakes a thread up to 50 µs late, to save energy.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("timer slack")?;
        let mut client = Client::connect(address)?;
        let mut random = Random(u64::from(number).wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mean = f64::from(self.connections) / f64::from(self.per_second);
        let mut due = begin;
        let mut times = Vec::new();
        loop {
            due += Duration::from_secs_f64(-mean * random.share().ln());
            if due >= begin + self.span {
                return Ok(times);
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.ask()?;
            times.push(due.elapsed());
        }
    }
}

/// A client with one connection.
pub struct Client {
    stream: TcpStream,
    request: String,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            request: format!("GET {SMALL} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        })
    }

    /// One request, and its whole answer.
    ///
    /// # Errors
    /// When that does not come, or is not 200 with a length.
    pub fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.request.as_bytes())?;
        let mut answer = [0; 4096];
        let mut have = 0;
        loop {
            let read = self.stream.read(&mut answer[have..]).context("no answer")?;
            ensure!(read > 0, "the connection was closed");
            have += read;
            if let Some(whole) = length(&answer[..have])? {
                ensure!(have <= whole, "{} bytes too many", have - whole);
                if have == whole {
                    return Ok(());
                }
            }
            ensure!(have < answer.len(), "the answer is too long");
        }
    }
}

/// Bytes of head and body; `None` while the head is not whole.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "the answer is {status}");
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Some(end + 4 + value.trim().parse::<usize>()?));
        }
    }
    bail!("the answer has no length")
}

/// xorshift64*: S. Vigna 2016. Never 0.
struct Random(u64);

impl Random {
    /// More than 0, at most 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        (bits + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_length() {
        let answer = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 3\r\n\r\nabc";
        for have in 0..answer.len() - 3 {
            assert_eq!(length(&answer[..have]).unwrap(), None, "{have}");
        }
        for have in answer.len() - 3..=answer.len() {
            assert_eq!(length(&answer[..have]).unwrap(), Some(answer.len()), "{have}");
        }
        assert!(length(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// A server that is slow once makes all late that were due meanwhile.
    #[test]
    fn what_waits_behind_a_slow_answer_waited_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pause = Duration::from_millis(300);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let mut answered = 0;
            while stream.read(&mut request).unwrap() > 0 {
                if answered == 0 {
                    std::thread::sleep(pause);
                }
                answered += 1;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        let rate = Rate {
            per_second: 200,
            connections: 1,
            span: Duration::from_millis(600),
        };
        let times = rate.ask(address, Core::two().unwrap()[0]).unwrap();
        server.join().unwrap();
        // The first took 300 ms, those due after it less by and by: about half of all are late. Without, one of a hundred would be.
        assert!(times.max() >= pause, "{times:?}");
        assert!(times.quantile(0.75) >= Duration::from_millis(50), "{times:?}");
    }
}
