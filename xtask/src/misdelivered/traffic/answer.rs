//! Answers to the byte, as one who pipelines must read them.

use std::io::{self, Error, ErrorKind, Read};
use std::net::TcpStream;

/// What came and was not looked at yet.
#[derive(Default)]
pub struct Reader {
    held: Vec<u8>,
}

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The connection ends with it.
    pub last: bool,
}

impl Reader {
    /// Reads the next final answer; interim ones are passed over. `bodiless`: to HEAD.
    pub fn answer(&mut self, stream: &mut TcpStream, bodiless: bool) -> io::Result<Answer> {
        loop {
            let head = self.until(stream, b"\r\n\r\n")?.to_ascii_lowercase();
            let status = status(&head)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let announced = head.contains("\r\nconnection: close") || head.starts_with("http/1.0");
            if bodiless || matches!(status, 101 | 204 | 304) {
                return Ok(Answer {
                    status,
                    last: announced,
                });
            }
            if head.contains("\r\ntransfer-encoding: chunked") {
                self.chunks(stream)?;
                return Ok(Answer {
                    status,
                    last: announced,
                });
            }
            match length(&head) {
                Some(length) => self.skip(stream, length)?,
                None => {
                    while self.more(stream)? > 0 {}
                    self.held.clear();
                    return Ok(Answer { status, last: true });
                }
            }
            return Ok(Answer {
                status,
                last: announced,
            });
        }
    }

    /// Reads something more; 0 at the end.
    pub fn more(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let read = stream.read(&mut buffer)?;
        self.held.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn must(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        match self.more(stream)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn until(&mut self, stream: &mut TcpStream, mark: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.held.windows(mark.len()).position(|window| window == mark) {
                let all: Vec<u8> = self.held.drain(..at + mark.len()).collect();
                return Ok(String::from_utf8_lossy(&all).into_owned());
            }
            self.must(stream)?;
        }
    }

    fn skip(&mut self, stream: &mut TcpStream, mut length: usize) -> io::Result<()> {
        loop {
            let now = length.min(self.held.len());
            self.held.drain(..now);
            length -= now;
            if length == 0 {
                return Ok(());
            }
            self.must(stream)?;
        }
    }

    fn chunks(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let line = self.until(stream, b"\r\n")?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| Error::from(ErrorKind::InvalidData))?;
            self.skip(stream, size + 2)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn status(head: &str) -> io::Result<u16> {
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn length(head: &str) -> Option<usize> {
    let (_, rest) = head.split_once("\r\ncontent-length:")?;
    rest.split("\r\n").next()?.trim().parse().ok()
}
