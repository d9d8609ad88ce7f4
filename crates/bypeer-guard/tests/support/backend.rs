//! A server that does as its script says, one thread for each connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub struct Request {
    pub method: String,
    pub target: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }
}

/// One connection of a client.
pub struct Peer {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

impl Peer {
    /// The head of the next request. `None`: the client is done.
    pub fn head(&mut self) -> Option<Request> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let mut words = head.split(' ');
                return Some(Request {
                    method: words.next().unwrap().to_owned(),
                    target: words.next().unwrap().to_owned(),
                    head,
                    body: Vec::new(),
                });
            }
            self.fill()?;
        }
    }

    /// The next request, whole.
    pub fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        if let Some(length) = request.fields("content-length").first() {
            let length: usize = length.parse().unwrap();
            request.body = self.exactly(length)?;
        } else if !request.fields("transfer-encoding").is_empty() {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    while self.line()?.trim() != "" {}
                    break;
                }
                let chunk = self.exactly(size + 2)?;
                request.body.extend_from_slice(&chunk[..size]);
            }
        }
        Some(request)
    }

    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            self.fill()?;
        }
    }

    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 64 << 10];
        let count = self.stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Some(())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // Who is gone gets nothing.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub fn answer(&mut self, body: &[u8]) {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        self.send(answer);
    }
}

impl Backend {
    pub fn new(script: impl Fn(Peer) + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let stopped = Arc::<AtomicBool>::default();
        let script = Arc::new(script);
        let thread = {
            let (connections, stopped) = (connections.clone(), stopped.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let script = script.clone();
                    std::thread::spawn(move || {
                        script(Peer {
                            stream,
                            buffer: Vec::new(),
                        });
                    });
                }
            })
        };
        Backend {
            address,
            connections,
            stopped,
            thread: Some(thread),
        }
    }

    /// Answers every request, whole, by its path: `/head` with the request's head, `/echo` with its body, `/size/N` with N bytes,
    /// `/chunked/N` the same in chunks, `/slow/MS` after so long, else with the path.
    pub fn plain() -> Backend {
        Backend::new(|mut peer| {
            while let Some(request) = peer.request() {
                let path = request.target.clone();
                let number = || path.rsplit('/').next().unwrap().parse::<usize>().unwrap();
                match path.as_str() {
                    "/head" => peer.answer(request.head.as_bytes()),
                    "/echo" => peer.answer(&request.body),
                    _ if path.starts_with("/size/") && request.method == "HEAD" => {
                        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", number()));
                    }
                    _ if path.starts_with("/size/") => peer.answer(&pattern(number())),
                    _ if path.starts_with("/chunked/") => {
                        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                        for chunk in pattern(number()).chunks(1000) {
                            peer.send(format!("{:x}\r\n", chunk.len()));
                            peer.send(chunk);
                            peer.send("\r\n");
                        }
                        peer.send("0\r\n\r\n");
                    }
                    _ if path.starts_with("/slow/") => {
                        std::thread::sleep(Duration::from_millis(number() as u64));
                        peer.answer(path.as_bytes());
                    }
                    _ => peer.answer(path.as_bytes()),
                }
            }
        })
    }

    /// Switches, says something at once, sends back what it gets, and after the client's FIN says good-bye.
    pub fn tunnels() -> Backend {
        Backend::new(|mut peer: Peer| {
            let Some(request) = peer.head() else { return };
            if request.method == "CONNECT" {
                assert_eq!(request.target, "inner.example:443");
                peer.send("HTTP/1.1 200 Connected\r\n\r\n");
            } else if request.target == "/refused" {
                peer.answer(b"no");
                return;
            } else {
                assert_eq!(request.fields("upgrade"), ["websocket"], "{}", request.head);
                assert_eq!(request.fields("connection"), ["upgrade"]);
                assert_eq!(request.fields("sec-websocket-key"), ["x"]);
                peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Mine: 1\r\n\r\nhello ");
            }
            let already = std::mem::take(&mut peer.buffer);
            peer.send(already);
            let mut bytes = [0; 10_000];
            while let Ok(count @ 1..) = peer.stream.read(&mut bytes) {
                let copy = bytes[..count].to_vec();
                peer.send(copy);
            }
            peer.send(" good-bye");
        })
    }
}

/// Bytes that show where they were cut.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
