//! HTTP/2 with the server: hyper's connection, and around it the same rules of retrying, holding and waiting as for HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::Answer;
use super::body::ResponseBody;
use super::hyper_io::{HyperIo, LocalExecutor};
use super::request::may_spend;
use super::retry::{is_idempotent, may_retry};
use super::sending::Source;
use super::shared::{Event, Shared};
use super::stream::{Stream, is_reset};
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::account::{Attempt, SharedAccount};
use crate::failure::Failure;

/// What a server may have on its way to us before we take it, for one answer and for a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How long a small body is held until it is whole; then it is passed on as it comes.
const HELD: Duration = Duration::from_secs(5);

/// The connections of a worker, for each address of the server.
#[derive(Default)]
pub struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// One connection is made at a time: those who wait for it share it.
    connecting: tokio::sync::Mutex<()>,
    draining: Cell<bool>,
}

struct Connection {
    sender: SendRequest<Outgoing>,
    target: usize,
    number: u64,
    requests: Cell<u64>,
    active: Cell<usize>,
    driver: Driver,
}

/// hyper's half of a connection, which a task polls. `None`: the connection has ended.
type Driver = Rc<RefCell<Option<hyper::client::conn::http2::Connection<HyperIo<Stream>, Outgoing, LocalExecutor>>>>;

impl Connection {
    /// Requests that the server takes at once.
    fn room(&self) -> usize {
        self.driver
            .borrow()
            .as_ref()
            .map_or(0, |driver| driver.current_max_send_streams())
    }
}

impl Connections {
    /// Lets go of all: each ends with its last request.
    pub fn drain(&self) {
        self.draining.set(true);
        self.open.borrow_mut().clear();
    }

    fn usable(&self, target: usize) -> Option<Rc<Connection>> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.sender.is_closed());
        let has_room =
            |connection: &&Rc<Connection>| connection.target == target && connection.active.get() < connection.room();
        open.iter().find(has_room).cloned()
    }

    /// A connection with room for a request. `but`: not this one.
    async fn acquire(&self, worker: &Worker, but: Option<u64>) -> Result<Rc<Connection>, Failure> {
        if let Some(but) = but {
            self.open.borrow_mut().retain(|connection| connection.number != but);
        }
        let target = worker.next_turn();
        if let Some(connection) = self.usable(target) {
            return Ok(connection);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connection) = self.usable(target) {
            return Ok(connection);
        }
        let leave = match worker.leave().await {
            Ok(leave) => leave,
            // With as many connections as are allowed, requests queue on those that there are.
            Err(failure) => {
                let busy = self
                    .open
                    .borrow()
                    .iter()
                    .min_by_key(|connection| connection.active.get())
                    .cloned();
                return busy.ok_or(failure);
            }
        };
        let connection = worker
            .connect_by(target, leave, |stream, target, _, leave| Ready {
                stream,
                target,
                leave,
            })
            .await?;
        let connection = Rc::new(handshake(worker, connection).await?);
        if !self.draining.get() {
            self.open.borrow_mut().push(connection.clone());
        }
        Ok(connection)
    }
}

struct Ready {
    stream: Stream,
    target: usize,
    leave: OwnedSemaphorePermit,
}

async fn handshake(worker: &Worker, ready: Ready) -> Result<Connection, Failure> {
    if let Stream::Tls(stream) = &ready.stream
        && stream.get_ref().1.alpn_protocol() != Some(b"h2")
    {
        return Err(Failure::Tls("the server does not speak HTTP/2".to_owned()));
    }
    let handshake = Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(worker.config.head).unwrap_or(u32::MAX))
        .handshake(HyperIo(ready.stream));
    let made = tokio::time::timeout(worker.config.connect, handshake).await;
    let (sender, driver) = made
        .map_err(|_| Failure::ConnectTimeout)?
        .map_err(|error| other(error).0)?;
    let shared = worker.shared.clone();
    let number = shared.number_connection();
    shared.counters.opened.fetch_add(1, Ordering::Relaxed);
    shared.tell(&Event::Opened {
        to: &shared.targets[ready.target].0.name,
        connection: number,
    });
    let closed = Closed {
        shared,
        target: ready.target,
        number,
        _leave: ready.leave,
    };
    let driver = Rc::new(RefCell::new(Some(driver)));
    let driven = driver.clone();
    tokio::task::spawn_local(async move {
        let _closed = closed;
        // What goes wrong is told to every request on it.
        let _ = poll_fn(|cx| match &mut *driven.borrow_mut() {
            Some(driver) => Pin::new(driver).poll(cx),
            None => Poll::Ready(Ok(())),
        })
        .await;
        driven.take();
    });
    Ok(Connection {
        sender,
        target: ready.target,
        number,
        requests: Cell::new(0),
        active: Cell::new(0),
        driver,
    })
}

struct Closed {
    shared: Arc<Shared>,
    target: usize,
    number: u64,
    _leave: OwnedSemaphorePermit,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
        self.shared.tell(&Event::Closed {
            to: &self.shared.targets[self.target].0.name,
            connection: self.number,
            requests: 0,
        });
    }
}

/// Sends a request over HTTP/2.
pub async fn send<B>(worker: &Rc<Worker>, request: Request<B>, account: &SharedAccount) -> Result<Answer<B>, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin + 'static,
{
    let (mut parts, body) = request.into_parts();
    let mut source = Source::gather(body, worker.config.gather).await?;
    let idempotent = is_idempotent(&parts.method);
    worker.budget.earn();
    let mut before = None;
    loop {
        let connection = worker.http2.acquire(worker, before).await?;
        if before.is_none() {
            prepare(&mut parts, worker, connection.target)?;
        }
        let (outgoing, spare) = match source {
            Source::None => (Outgoing::Whole(None), Some(Source::None)),
            Source::Gathered(bytes) => (Outgoing::Whole(Some(bytes.clone())), Some(Source::Gathered(bytes))),
            Source::Stream(body) => (Outgoing::Stream(Box::pin(body)), None),
        };
        let failed = match attempt(worker, &connection, &parts, outgoing, account).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let may = before.is_none() && may_retry(&failed.failure, idempotent, failed.unprocessed, failed.reused);
        source = match spare {
            Some(source) if may && may_spend(worker) => source,
            _ => return Err(failed.failure),
        };
        if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
            attempt.failure = Some(failed.failure);
        }
        // A stream that was refused does not speak against the connection, but another one has room.
        before = Some(connection.number);
    }
}

/// Makes a head one of HTTP/2: with scheme and authority in place of `Host`, and without what belongs to a connection (RFC 9113, 8.2.2).
fn prepare(parts: &mut Parts, worker: &Worker, target: usize) -> Result<(), Failure> {
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING, CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    parts.version = Version::HTTP_2;
    let host = parts.headers.remove(HOST);
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let target = &worker.shared.targets[target].0;
    let named = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let authority = host
        .as_ref()
        .and_then(|host| host.to_str().ok())
        .map(str::to_owned)
        .or(named);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::builder()
        .scheme(if target.is_tls() { "https" } else { "http" })
        .authority(authority.as_deref().unwrap_or(&target.host))
        .path_and_query(path)
        .build()
        .map_err(|_| Failure::Request("its target cannot be told in HTTP/2".to_owned()))?;
    Ok(())
}

struct Failed {
    failure: Failure,
    unprocessed: bool,
    reused: bool,
}

async fn attempt<B>(
    worker: &Worker,
    connection: &Rc<Connection>,
    parts: &Parts,
    body: Outgoing,
    account: &SharedAccount,
) -> Result<Answer<B>, Failed> {
    let began = Instant::now();
    let requests = connection.requests.get();
    connection.requests.set(requests + 1);
    if requests > 0 {
        worker.shared.counters.reused.fetch_add(1, Ordering::Relaxed);
    }
    account.borrow_mut().attempts.push(Attempt {
        to: worker.shared.targets[connection.target].0.name.clone(),
        connection: connection.number,
        requests_before: requests,
        idle: None,
        first_byte: None,
        send_failed: false,
        surplus: 0,
        failure: None,
    });
    let active = Active::new(connection);
    let progress = Rc::new(Progress::new(&body));
    let body = Watched {
        body,
        progress: progress.clone(),
    };
    let mut request = Request::new(Outgoing::Watched(Box::new(body)));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = parts.headers.clone();
    let failed = |(failure, unprocessed)| Failed {
        failure,
        unprocessed,
        reused: requests > 0,
    };
    let sent = connection.sender.clone().send_request(request);
    let response = progress
        .wait(worker, sent)
        .await
        .map_err(|failure| failed((failure, false)))?;
    let mut response = response.map_err(|error| failed(progress.failure(error)))?;
    if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
        attempt.first_byte = Some(began.elapsed());
    }
    if parts.method == Method::CONNECT && response.status().is_success() {
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| failed(other(error)))?;
        let (head, _) = response.into_parts();
        return Ok(Answer::Switched(
            Response::from_parts(head, ()),
            Tunnel::http2(upgraded),
        ));
    }
    let (head, incoming) = response.into_parts();
    let length = incoming.size_hint().exact();
    let mut incoming = Http2Body {
        incoming,
        begun: None,
        given: 0,
        length,
        silence: worker.config.silence,
        alarm: None,
        silent: None,
        progress,
        _active: active,
    };
    let small = length.filter(|&length| length <= worker.config.hold as u64 && !incoming.is_end_stream());
    if small.is_some() {
        incoming.hold().await.map_err(|failure| failed((failure, false)))?;
    }
    Ok(Answer::Response(Response::from_parts(
        head,
        ResponseBody::http2(incoming),
    )))
}

/// Counts a request on its connection for as long as it runs.
struct Active(Rc<Connection>);

impl Active {
    fn new(connection: &Rc<Connection>) -> Active {
        connection.active.set(connection.active.get() + 1);
        Active(connection.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// A request's body, of whatever type it was.
enum Outgoing {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = Failure>>>),
    Watched(Box<Watched>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Outgoing::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Outgoing::Stream(body) => body.as_mut().poll_frame(cx),
            Outgoing::Watched(watched) => watched.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(bytes) => bytes.is_none(),
            Outgoing::Stream(body) => body.is_end_stream(),
            Outgoing::Watched(watched) => watched.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Outgoing::Stream(body) => body.size_hint(),
            Outgoing::Watched(watched) => watched.body.size_hint(),
        }
    }
}

/// A body that notes who waits for whom.
struct Watched {
    body: Outgoing,
    progress: Rc<Progress>,
}

impl Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let waits = match &frame {
            Poll::Pending => Waits::Client,
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => Waits::Server(Instant::now()),
            Poll::Ready(_) => Waits::Over(Instant::now()),
        };
        self.progress.waits.set(waits);
        match frame {
            // hyper takes no more than a word of it: what it was is kept for whoever tells of it.
            Poll::Ready(Some(Err(failure))) => {
                self.progress.client.replace(Some(failure));
                Poll::Ready(Some(Err(Failure::ClientGone)))
            }
            frame => frame,
        }
    }
}

struct Progress {
    waits: Cell<Waits>,
    /// What the client's body failed with.
    client: RefCell<Option<Failure>>,
}

#[derive(Clone, Copy)]
enum Waits {
    /// For the client, to give more of the body.
    Client,
    /// For the server, to take more of it.
    Server(Instant),
    /// For the answer.
    Over(Instant),
}

impl Progress {
    fn new(body: &Outgoing) -> Progress {
        let now = Instant::now();
        Progress {
            waits: Cell::new(if body.is_end_stream() {
                Waits::Over(now)
            } else {
                Waits::Server(now)
            }),
            client: RefCell::new(None),
        }
    }

    /// Waits for the head of an answer, and not too long.
    async fn wait<T>(&self, worker: &Worker, answer: impl Future<Output = T>) -> Result<T, Failure> {
        let limits = &worker.config;
        let look_again = limits.answer.min(limits.silence);
        let mut answer = pin!(answer);
        let mut alarm = pin!(tokio::time::sleep(look_again));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                ready!(alarm.as_mut().poll(cx));
                let now = Instant::now();
                let (deadline, late) = match self.waits.get() {
                    Waits::Client => (now + look_again, None),
                    Waits::Server(since) => (since + limits.silence, Some(Failure::WriteTimeout)),
                    Waits::Over(since) => (since + limits.answer, Some(Failure::AnswerTimeout)),
                };
                match late {
                    Some(failure) if now >= deadline => return Poll::Ready(Err(failure)),
                    _ => alarm.as_mut().reset(deadline.into()),
                }
            }
        })
        .await
    }

    fn failure(&self, error: hyper::Error) -> (Failure, bool) {
        match self.client.take() {
            Some(failure) => (failure, false),
            None => other(error),
        }
    }
}

/// What an error of hyper's means, and whether the server cannot have acted on the request.
fn other(error: hyper::Error) -> (Failure, bool) {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return h2_failure(h2);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return (ended(is_reset(io)), false);
        }
        source = inner.source();
    }
    match error.is_canceled() || error.is_closed() {
        // It was not taken from the queue before the connection ended.
        true => (Failure::Stale { reset: false }, true),
        false => (Failure::Malformed("it is no valid HTTP/2"), false),
    }
}

fn h2_failure(error: &h2::Error) -> (Failure, bool) {
    if let Some(io) = error.get_io() {
        return (ended(is_reset(io)), false);
    }
    // RFC 9113, sections 8.7 and 6.8: REFUSED_STREAM, and GOAWAY for streams above the one that it names: not processed. With NO_ERROR
    // h2 fails no other streams.
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let gone = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    match () {
        () if refused || gone => (Failure::Stale { reset: refused }, true),
        () if error.is_remote() => (Failure::Reset { acknowledged: None }, false),
        () => (Failure::Malformed("it is no valid HTTP/2"), false),
    }
}

fn ended(reset: bool) -> Failure {
    match reset {
        true => Failure::Reset { acknowledged: None },
        false => Failure::ClosedUnanswered,
    }
}

/// The body of an answer over HTTP/2.
pub struct Http2Body {
    incoming: Incoming,
    /// What was read of it while it was held.
    begun: Option<Bytes>,
    given: u64,
    length: Option<u64>,
    silence: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    silent: Option<Instant>,
    progress: Rc<Progress>,
    _active: Active,
}

impl Http2Body {
    /// Reads the body until it is whole, but not for ever.
    async fn hold(&mut self) -> Result<(), Failure> {
        let mut held = BytesMut::new();
        let until = tokio::time::sleep(HELD);
        tokio::pin!(until);
        let whole = poll_fn(|cx| {
            loop {
                if until.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(self.poll(cx)) {
                    None => return Poll::Ready(Ok(())),
                    Some(Err(failure)) => return Poll::Ready(Err(failure)),
                    Some(Ok(frame)) => held.extend_from_slice(&frame.into_data().unwrap_or_default()),
                }
                if self.incoming.is_end_stream() {
                    return Poll::Ready(Ok(()));
                }
            }
        });
        whole.await?;
        self.begun = Some(held.freeze()).filter(|held| !held.is_empty());
        Ok(())
    }

    /// The next of it.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_alarm(cx);
        };
        self.silent = None;
        Poll::Ready(match frame {
            None => None,
            Some(Ok(frame)) => {
                self.given += frame.data_ref().map_or(0, |data| data.len() as u64);
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(match other(error).0 {
                failure @ Failure::Malformed(_) => failure,
                failure => Failure::Incomplete {
                    have: self.given,
                    expected: self.length,
                    reset: matches!(failure, Failure::Reset { .. }),
                },
            })),
        })
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let since = *self.silent.get_or_insert_with(Instant::now);
        let deadline = since + self.silence;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // The server may be waiting for what the client has not given.
            let late = now >= deadline && !matches!(self.progress.waits.get(), Waits::Client);
            if late {
                return Poll::Ready(Some(Err(Failure::BodyTimeout)));
            }
            alarm
                .as_mut()
                .reset(if now >= deadline { now + self.silence } else { deadline }.into());
        }
        Poll::Pending
    }

    /// Whether there is no more.
    pub fn is_end_stream(&self) -> bool {
        self.begun.is_none() && self.incoming.is_end_stream()
    }

    /// What is known of its length.
    pub fn size_hint(&self) -> SizeHint {
        match (&self.begun, self.incoming.size_hint().exact()) {
            (None, _) => self.incoming.size_hint(),
            (Some(begun), Some(left)) => SizeHint::with_exact(begun.len() as u64 + left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}
