//! A client that sends bytes, and sees bytes, FIN and RST.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect(address).unwrap())
    }

    pub fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer()
    }

    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads one answer, not to HEAD.
    pub fn answer(&mut self) -> Answer {
        match self.try_answer() {
            Ok(answer) => answer,
            Err(end) => {
                let shown = &self.buffer[..self.buffer.len().min(200)];
                panic!(
                    "{end:?} in place of an answer, after {} bytes: {:?}",
                    self.buffer.len(),
                    String::from_utf8_lossy(shown)
                )
            }
        }
    }

    pub fn try_answer(&mut self) -> Result<Answer, End> {
        let head = self.try_head()?;
        let mut answer = Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        let chunked = answer.field("transfer-encoding").is_some();
        let length = answer
            .field("content-length")
            .map(|length| length.parse::<usize>().unwrap());
        if chunked {
            loop {
                let line = self.until(b"\r\n")?;
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    while self.until(b"\r\n")?.trim() != "" {}
                    break;
                }
                let chunk = self.exactly(size + 2)?;
                answer.body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = length {
            answer.body = self.exactly(length)?;
        } else if answer.status >= 200 && answer.status != 204 && answer.status != 304 {
            while self.fill().is_ok() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Ok(answer)
    }

    /// Reads the head of an answer only.
    pub fn head(&mut self) -> String {
        self.try_head().unwrap()
    }

    fn try_head(&mut self) -> Result<String, End> {
        self.until(b"\r\n\r\n")
    }

    /// Everything up to such a text.
    pub fn until_text(&mut self, mark: &str) -> String {
        self.until(mark.as_bytes()).unwrap()
    }

    fn until(&mut self, mark: &[u8]) -> Result<String, End> {
        loop {
            if let Some(place) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                let head = self.buffer.drain(..place + mark.len()).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            self.fill()?;
        }
    }

    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything until the end, and which end it was.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(End::Fin),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Err(End::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    /// Resets the connection.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }
}
