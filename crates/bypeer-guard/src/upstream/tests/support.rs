//! Servers that do what a test says, to the byte, and requests to them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::{Answer, Event, Observer, Shared, Tunnel, Upstream};
use crate::account::{Account, SharedAccount};
use crate::config::{self, Destination};
use crate::failure::Failure;

/// Runs a test in a worker's loop. No test may take longer than this, whatever hangs.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await
    });
    assert!(ended.is_ok(), "the test hangs");
}

/// The server's end of a connection.
pub struct Peer {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// Reads a head and gives it; empty: the client closed.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            if !self.more().await {
                return String::new();
            }
        }
    }

    /// Reads so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more().await {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// What was read and not looked at.
    pub fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Reads until the client closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        self.taken()
    }

    /// One read from the socket. `false`: there is no more.
    pub async fn more(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }

    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        // The client may be gone: that is for the test to see at its own end.
        let _ = self.stream.write_all(text.as_ref()).await;
    }

    /// 200 with that body.
    pub async fn answer(&mut self, body: &str) {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.say(answer).await;
    }

    /// Answers every request with its number on this connection.
    pub async fn answer_all(mut self) {
        let mut count = 0;
        while !self.head().await.is_empty() {
            count += 1;
            self.answer(&count.to_string()).await;
        }
    }

    /// Ends in a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

/// A server on a port of its own. Its tasks end with the test's loop.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Rc<Cell<usize>>,
}

/// Serves each connection by `script`, which is told its number, from 1 on.
pub async fn serve<F, S>(script: S) -> Server
where
    S: Fn(usize, Peer) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_on(listener, script)
}

pub fn serve_on<F, S>(listener: TcpListener, script: S) -> Server
where
    S: Fn(usize, Peer) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let address = listener.local_addr().unwrap();
    let connections = Rc::new(Cell::new(0));
    let count = connections.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            count.set(count.get() + 1);
            let peer = Peer {
                stream,
                read: Vec::new(),
            };
            tokio::task::spawn_local(script(count.get(), peer));
        }
    });
    Server { address, connections }
}

/// Remembers events by their names.
#[derive(Default)]
pub struct Events(pub Mutex<Vec<String>>);

impl Observer for Events {
    fn event(&self, event: &Event<'_>) {
        let name = match event {
            Event::Opened { .. } => "opened".to_owned(),
            Event::Closed { .. } => "closed".to_owned(),
            Event::ClosedIdle { requests, reset, .. } => format!("closed idle after {requests}, reset {reset}"),
            Event::Unsolicited { bytes, .. } => format!("unsolicited {bytes}"),
        };
        self.0.lock().unwrap().push(name);
    }
}

/// An upstream and what it tells.
pub struct Client {
    pub upstream: Rc<Upstream>,
    pub shared: Arc<Shared>,
    pub events: Arc<Events>,
}

pub fn destination(address: SocketAddr) -> Destination {
    Destination {
        host: address.ip().to_string(),
        port: address.port(),
        tls: false,
        unix: None,
    }
}

/// Limits that a test can wait for, and a budget that is no matter.
pub fn settings(to: Vec<Destination>) -> (config::Upstream, config::Retry) {
    let upstream = config::Upstream {
        to,
        ..config::Upstream::default()
    };
    let retry = config::Retry {
        enabled: true,
        percent: 100,
        burst: 100,
    };
    (upstream, retry)
}

pub fn client(server: &Server) -> Client {
    client_with(server, |_, _| {})
}

pub fn client_with(server: &Server, change: impl FnOnce(&mut config::Upstream, &mut config::Retry)) -> Client {
    let (mut upstream, mut retry) = settings(vec![destination(server.address)]);
    change(&mut upstream, &mut retry);
    client_of(&upstream, &retry)
}

pub fn client_of(upstream: &config::Upstream, retry: &config::Retry) -> Client {
    let events = Arc::new(Events::default());
    let shared = Shared::new(upstream, retry, events.clone()).unwrap();
    Client {
        upstream: Rc::new(Upstream::new(upstream, retry, shared.clone())),
        shared,
        events,
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Outcome {
    pub status: StatusCode,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// `Err`: the body was cut.
    pub end: Result<(), Failure>,
}

/// A request's body that a test feeds.
pub struct TestBody {
    length: Option<u64>,
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Failure>>,
    ended: bool,
    pub polled: Rc<Cell<bool>>,
}

pub type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, Failure>>;

impl TestBody {
    pub fn none() -> TestBody {
        TestBody {
            ended: true,
            ..TestBody::fed(Some(0)).1
        }
    }

    pub fn whole(bytes: impl Into<Bytes>) -> TestBody {
        let bytes = bytes.into();
        let (feed, body) = TestBody::fed(Some(bytes.len() as u64));
        feed.send(Ok(Frame::data(bytes))).unwrap();
        body
    }

    pub fn fed(length: Option<u64>) -> (Feed, TestBody) {
        let (feed, frames) = mpsc::unbounded_channel();
        let body = TestBody {
            length,
            frames,
            ended: false,
            polled: Rc::new(Cell::new(false)),
        };
        (feed, body)
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.polled.set(true);
        self.frames.poll_recv(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}

pub fn account() -> SharedAccount {
    Rc::new(RefCell::new(Account {
        began: Instant::now(),
        client: None,
        client_requests_before: 0,
        method: Method::GET,
        path: "/".to_owned(),
        version: Version::HTTP_11,
        status: None,
        attempts: Vec::new(),
        request_bytes: 0,
        response_bytes: 0,
        failure: None,
        ended: None,
    }))
}

pub fn request(method: Method, body: TestBody) -> Request<TestBody> {
    Request::builder()
        .method(method)
        .uri("/path")
        .header("host", "test")
        .body(body)
        .unwrap()
}

impl Client {
    pub async fn get(&self) -> Result<Outcome, Failure> {
        self.send(Method::GET, TestBody::none()).await.1
    }

    pub async fn post(&self) -> Result<Outcome, Failure> {
        self.send(Method::POST, TestBody::whole("post")).await.1
    }

    pub async fn send(&self, method: Method, body: TestBody) -> (SharedAccount, Result<Outcome, Failure>) {
        self.send_request(request(method, body)).await
    }

    pub async fn send_request(&self, request: Request<TestBody>) -> (SharedAccount, Result<Outcome, Failure>) {
        let account = account();
        let outcome = match self.upstream.send(request, &account).await {
            Ok(Answer::Response(response)) => Ok(collect(response).await),
            Ok(Answer::Switched(..)) => panic!("switched"),
            Err(failure) => Err(failure),
        };
        (account, outcome)
    }

    pub async fn switch(&self, request: Request<TestBody>) -> (http::Response<()>, Tunnel) {
        match self.upstream.send(request, &account()).await {
            Ok(Answer::Switched(response, tunnel)) => (response, tunnel),
            Ok(Answer::Response(response)) => panic!("answered {}", response.status()),
            Err(failure) => panic!("{failure}"),
        }
    }

    pub fn events(&self) -> Vec<String> {
        self.events.0.lock().unwrap().clone()
    }

    /// Waits for an event that must come.
    pub async fn until(&self, event: &str) {
        while !self.events().iter().any(|seen| seen.starts_with(event)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub async fn collect<T>(response: http::Response<T>) -> Outcome
where
    T: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let (parts, mut body) = response.into_parts();
    let mut outcome = Outcome {
        status: parts.status,
        fields: parts.headers,
        body: Vec::new(),
        trailers: None,
        end: Ok(()),
    };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => outcome.body.extend_from_slice(&data),
                Err(frame) => outcome.trailers = frame.into_trailers().ok(),
            },
            Err(failure) => {
                outcome.end = Err(failure);
                break;
            }
        }
    }
    outcome
}
