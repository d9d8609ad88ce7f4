//! HTTP/2 with the server: hyper's connection, and around it the same rules of retrying, holding and waiting as for HTTP/1.1.

mod body;
mod failure;
mod sending;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use tokio::sync::OwnedSemaphorePermit;

pub use body::Http2Body;
use failure::failure_of;
use sending::{Outgoing, Progress, Watched};

use super::Answer;
use super::body::ResponseBody;
use super::hyper_io::{HyperIo, LocalExecutor};
use super::request::may_spend;
use super::retry::{is_idempotent, may_retry};
use super::sending::Source;
use super::shared::{Event, Shared};
use super::stream::Stream;
use super::tls;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::account::{Attempt, SharedAccount};
use crate::failure::Failure;

/// What a server may have on its way to us before we take it, for one answer and for a connection.
///
/// h2 ends a connection on which too many small frames wait to be read: each costs what it is smaller than 256 bytes, and there is half of the
/// connection's window to spend. Frames wait where a client reads slowly, and so a stream's window is so small that not even one of frames
/// of one byte can end the connection for the others: 64 Ki times 255 is less than half of 32 Mi.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// The connections of a worker, for each address of the server.
#[derive(Default)]
pub struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// One connection is made at a time: those who wait for it share it.
    connecting: tokio::sync::Mutex<()>,
    draining: Cell<bool>,
    /// There was an answer over HTTP/2.
    answered: Cell<bool>,
}

struct Connection {
    sender: SendRequest<Outgoing>,
    target: usize,
    number: u64,
    requests: Rc<Cell<u64>>,
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

    /// A connection with room for a request. `but`: not this one, by its number, nor its address if there are others.
    async fn acquire(
        &self,
        worker: &Worker,
        but: Option<(u64, usize)>,
        account: &SharedAccount,
    ) -> Result<Rc<Connection>, Failure> {
        if let Some((but, _)) = but {
            self.open.borrow_mut().retain(|connection| connection.number != but);
        }
        // Else each request whose turn it is at an address that is not there would have another connection made, elsewhere.
        let target = worker.next_turn_of_those_there(but.map(|(_, target)| target));
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
            .connect_by(target, leave, account, |stream, target, _, leave| Ready {
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
        return Err(Failure::Tls(tls::NO_HTTP2.to_owned()));
    }
    let handshake = Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(worker.config.head).unwrap_or(u32::MAX))
        .handshake(HyperIo(ready.stream));
    let made = tokio::time::timeout(worker.config.connect, handshake).await;
    let (sender, driver) = made
        .map_err(|_| Failure::HandshakeTimeout)?
        .map_err(|error| failure_of(error).0)?;
    let shared = worker.shared.clone();
    let number = shared.number_connection();
    shared.counters.opened.fetch_add(1, Ordering::Relaxed);
    shared.tell(&Event::Opened {
        to: &shared.targets[ready.target].0.name,
        connection: number,
    });
    let requests = Rc::new(Cell::new(0));
    let closed = Closed {
        requests: requests.clone(),
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
        requests,
        active: Cell::new(0),
        driver,
    })
}

struct Closed {
    shared: Arc<Shared>,
    target: usize,
    number: u64,
    requests: Rc<Cell<u64>>,
    _leave: OwnedSemaphorePermit,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
        self.shared.tell(&Event::Closed {
            to: &self.shared.targets[self.target].0.name,
            connection: self.number,
            requests: self.requests.get(),
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
        let connection = worker.http2.acquire(worker, before, account).await?;
        if before.is_none() {
            prepare(&mut parts, worker, connection.target)?;
        }
        let (outgoing, spare) = match source {
            Source::None => (Outgoing::Whole(None, None), Some(Source::None)),
            Source::Gathered(bytes, trailers) => (
                Outgoing::Whole(Some(bytes.clone()), trailers.clone()),
                Some(Source::Gathered(bytes, trailers)),
            ),
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
        before = Some((connection.number, connection.target));
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
    // Of `http://host?query` (RFC 9113, section 8.3.1).
    let rooted = path.starts_with('?').then(|| format!("/{path}"));
    parts.uri = Uri::builder()
        .scheme(if target.is_tls() { "https" } else { "http" })
        .authority(authority.as_deref().unwrap_or(&target.host))
        .path_and_query(rooted.as_deref().unwrap_or(path))
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
    let to = worker.shared.targets[connection.target].0.name.clone();
    account.borrow_mut().attempts.push(Attempt {
        requests_before: requests,
        ..Attempt::new(to, connection.number)
    });
    let active = Active::new(connection);
    let progress = Rc::new(Progress::new(&body));
    let body = Watched::new(body, progress.clone());
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
        .wait(&worker.config, sent)
        .await
        .map_err(|failure| failed((failure, false)))?;
    let mut response = response.map_err(|error| {
        failed(match progress.failure(error) {
            (Failure::ClosedUnanswered, unprocessed) if !worker.http2.answered.get() => (Failure::NoHttp2, unprocessed),
            failure => failure,
        })
    })?;
    worker.http2.answered.set(true);
    if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
        attempt.first_byte = Some(began.elapsed());
    }
    if parts.method == Method::CONNECT && response.status().is_success() {
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| failed(failure_of(error)))?;
        let (head, _) = response.into_parts();
        return Ok(Answer::Switched(
            Response::from_parts(head, ()),
            Tunnel::http2(upgraded),
        ));
    }
    let (head, incoming) = response.into_parts();
    if parts.method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // Whatever comes behind it is no body, and nobody reads it.
        return Ok(Answer::Response(Response::from_parts(head, ResponseBody::none())));
    }
    let length = incoming.size_hint().exact();
    let mut incoming = Http2Body::new(incoming, worker.config.silence, progress, active);
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
pub struct Active(Rc<Connection>);

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
