//! Peers of every kind, on real sockets.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longer than any test takes, also on a loaded machine. What waits for it has failed.
pub const ENOUGH: Duration = Duration::from_secs(60);

pub const UPLOAD: usize = 8 << 20;
pub const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 9\r\n\r\ntoo large";

/// A connection: our end, and the peer's.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// What can be the peer's end.
pub trait Stream: Read + Write + Send + 'static {
    fn half_close(&self);
}

impl Stream for TcpStream {
    fn half_close(&self) {
        // A reset may have been faster.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// A peer that reads nothing before it has sent everything, as many clients do, and gives up when it cannot send.
pub fn upload_then_read(mut stream: impl Stream, bytes: usize) -> io::Result<Vec<u8>> {
    let piece = [b'u'; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        left -= stream.write(&piece[..left.min(piece.len())])?;
    }
    stream.half_close();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Reads one byte, so that the request has begun, and answers.
pub fn answer_early(stream: &mut (impl Read + Write)) {
    stream.read_exact(&mut [0]).unwrap();
    stream.write_all(ANSWER).unwrap();
}

/// Writes until the kernel takes no more. How much.
pub fn fill(stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    let piece = [b'r'; 64 << 10];
    loop {
        match (&mut &*stream).write(&piece) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    written
}

/// Writes, and has a stamp of when that was sent laid into the socket's error queue.
#[cfg(target_os = "linux")]
pub fn write_stamped(mut stream: &TcpStream) {
    use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt::Timestamping};
    let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    setsockopt(&stream, Timestamping, &flags).unwrap();
    stream.write_all(b"stamped").unwrap();
}

/// Whether poll(2) has anything to say of it.
pub fn is_ready(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < ENOUGH, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
