//! One request on one connection: it is sent, and its answer read, at the same time. What the one does, fails at or waits for never
//! keeps the other from going on.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;

use super::connection::Connection;
use super::framing::{Decoded, Decoder};
use super::head::{self, HeadReader, ResponseHead};
use super::sending::{Sending, Source, Waits};
use super::stream::is_reset;
use super::worker::Worker;
use crate::account::{Attempt, SharedAccount};
use crate::failure::Failure;

/// How long a body waits for the server's leave (`Expect: 100-continue`). RFC 9110, section 10.1.1, wants no indefinite wait: many servers
/// never heard of it. What curl waits.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a small body is held until it is whole; then it is passed on as it comes.
const HELD: Duration = Duration::from_secs(5);
/// Interim answers (1xx) before the final one.
const INTERIM_MOST: u32 = 100;

/// One request on one connection.
pub struct Exchange<B> {
    connection: Box<Connection>,
    sending: Sending<B>,
    reader: HeadReader,
    method: Method,
    switches: bool,
    worker: Rc<Worker>,
    account: SharedAccount,
    began: Instant,
    /// How long the request was on its way when the first byte of an answer came.
    first_byte: Option<Instant>,
    /// Since when the server owes something, and nothing came of it.
    silent: Option<Instant>,
    interim: u32,
    /// What the answer's head said: the connection may be used again.
    keeps: bool,
}

/// An exchange that gave no answer.
pub struct Failed<B> {
    /// Why.
    pub failure: Failure,
    /// The server cannot have acted on the request.
    pub unprocessed: bool,
    /// The connection had been used before.
    pub reused: bool,
    /// The body, if it can be sent again.
    pub source: Option<Source<B>>,
    /// A retry was taken from the budget for it already.
    pub granted: bool,
}

/// A body that came whole with its head, or will come piece by piece.
pub enum Arrived<B> {
    /// There is none, or it is here.
    Whole(Bytes),
    /// It is on its way.
    Streaming(Box<Streaming<B>>),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Exchange<B> {
    /// Puts the head into the connection's output. Nothing is sent yet.
    pub fn new(
        mut connection: Box<Connection>,
        parts: &Parts,
        source: Source<B>,
        worker: &Rc<Worker>,
        account: &SharedAccount,
    ) -> Exchange<B> {
        let framing = source.framing();
        let habits = connection.habits();
        let asks = parts
            .headers
            .get(http::header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let switches = parts.method == Method::CONNECT || parts.headers.contains_key(http::header::UPGRADE);
        let close = !switches && (worker.keeps_none() || habits.closes_each());
        let now = Instant::now();
        account.borrow_mut().attempts.push(Attempt {
            to: connection.to().clone(),
            connection: connection.number,
            requests_before: connection.requests,
            idle: (connection.requests > 0).then(|| now.saturating_duration_since(connection.idle_since)),
            first_byte: None,
            send_failed: false,
            surplus: 0,
            failure: None,
        });
        let shared = worker.shared.clone();
        let host = &shared.targets[connection.target].0.host;
        head::write_request(&mut connection.output, parts, framing, host, close);
        Exchange {
            sending: Sending::new(source, framing, asks),
            reader: HeadReader::default(),
            method: parts.method.clone(),
            switches,
            worker: worker.clone(),
            account: account.clone(),
            began: now,
            first_byte: None,
            silent: None,
            interim: 0,
            keeps: !close,
            connection,
        }
    }

    /// Sends, and reads until the final answer's head is there.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            let waits = match self.sending.poll(cx, &mut self.connection) {
                Ok(waits) => waits,
                Err(failure) => return Poll::Ready(Err(failure)),
            };
            if !self.connection.input.is_empty()
                && let Some(head) = self.read_head()?
            {
                match self.judge_head(head)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue,
                }
            }
            match self.connection.poll_read(cx, 0) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.ended_unanswered(false))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ended_unanswered(is_reset(&error)))),
                Poll::Ready(Ok(bytes)) => {
                    if self.sending.wrote == 0 {
                        self.connection.unsolicited(bytes);
                        return Poll::Ready(Err(Failure::Unsolicited { bytes }));
                    }
                    if self.first_byte.is_none() {
                        self.first_byte();
                    }
                    continue;
                }
                Poll::Pending => {}
            }
            let limits = &self.worker.config;
            let (deadline, late) = match (waits, self.first_byte) {
                (Waits::Leave, None) => (self.began + LEAVE, None),
                (Waits::Server(since), None) => (since + limits.silence, Some(Failure::WriteTimeout)),
                (Waits::Client, None) => return Poll::Pending,
                (Waits::Over, None) => {
                    let since = *self.silent.get_or_insert_with(Instant::now);
                    (since + limits.answer, Some(Failure::AnswerTimeout))
                }
                // A head that began must become whole, however slowly its bytes come.
                (_, Some(began)) => (began + limits.silence, Some(Failure::BodyTimeout)),
            };
            if !self.connection.is_past(cx, deadline) {
                return Poll::Pending;
            }
            match late {
                Some(failure) => return Poll::Ready(Err(failure)),
                None => self.sending.go_on(),
            }
        }
    }

    fn first_byte(&mut self) {
        let now = Instant::now();
        self.first_byte = Some(now);
        if let Some(attempt) = self.account.borrow_mut().attempts.last_mut() {
            attempt
                .first_byte
                .get_or_insert(now.saturating_duration_since(self.began));
        }
    }

    fn read_head(&mut self) -> Result<Option<ResponseHead>, Failure> {
        let limit = self.worker.config.head;
        self.reader.read(&mut self.connection.input, &self.method, limit)
    }

    /// `None`: an interim answer, which is not passed on.
    fn judge_head(&mut self, head: ResponseHead) -> Result<Option<ResponseHead>, Failure> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return match self.switches {
                true => Ok(Some(head)),
                false => Err(Failure::Malformed("it switches protocols, and was not asked to")),
            };
        }
        if !head.status.is_informational() {
            self.keeps &= head.keeps;
            return Ok(Some(head));
        }
        self.interim += 1;
        if self.interim > INTERIM_MOST {
            return Err(Failure::Malformed("it has no end of interim answers"));
        }
        if head.status == StatusCode::CONTINUE {
            self.sending.go_on();
        }
        // The final answer has its own time.
        self.first_byte = None;
        self.silent = None;
        if !self.connection.input.is_empty() {
            self.first_byte();
        }
        Ok(None)
    }

    /// The server's stream ended where an answer should be.
    fn ended_unanswered(&self, reset: bool) -> Failure {
        // An error is reported once: where writing took it, reading sees no more than an end.
        let reset = reset || self.sending.failed() == Some(true);
        if !self.connection.input.is_empty() {
            return Failure::Incomplete {
                have: 0,
                expected: None,
                reset,
            };
        }
        match (self.connection.requests, reset) {
            (1.., _) => {
                let age = self.connection.age(self.began);
                self.connection.habits().closed(&age);
                Failure::Stale { reset }
            }
            (0, true) => Failure::Reset { acknowledged: None },
            (0, false) => Failure::ClosedUnanswered,
        }
    }

    /// Waits for a small body, so that it is passed on whole or not at all; others are begun.
    pub fn poll_held(&mut self, cx: &mut Context<'_>, length: usize, until: Instant) -> Poll<Result<bool, Failure>> {
        loop {
            let have = self.connection.input.len();
            if have >= length {
                return Poll::Ready(Ok(true));
            }
            // An answer is there: what the client's body does is no longer a reason to fail.
            if self.sending.poll(cx, &mut self.connection).is_err() {
                self.sending.give_up();
            }
            match self.connection.poll_read(cx, length - have) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.cut(have as u64, Some(length as u64), false))),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.cut(have as u64, Some(length as u64), is_reset(&error))));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    return match self.connection.is_past(cx, until) {
                        true => Poll::Ready(Ok(false)),
                        false => Poll::Pending,
                    };
                }
            }
        }
    }

    fn cut(&self, have: u64, expected: Option<u64>, reset: bool) -> Failure {
        Failure::Incomplete {
            have,
            expected,
            reset: reset || self.sending.failed() == Some(true),
        }
    }

    /// What is told of a failure, and may be done about it.
    pub fn fail(self, failure: Failure) -> Failed<B> {
        self.note_failed_send();
        // What the server had not one byte of, it cannot have acted on. Neither if the kernel took none.
        let unprocessed = self.sending.wrote == 0;
        Failed {
            failure,
            unprocessed,
            reused: self.connection.requests > 0,
            source: self.sending.into_source(),
            granted: false,
        }
    }

    /// Whether this answer, as it begins, says no more than that the connection was idle for too long.
    ///
    /// RFC 9110, section 15.5.9: the server did not receive a complete request in the time that it was prepared to wait. Servers send it
    /// on idle connections, where it meets a request that is on its way: the client MAY repeat that on a new connection.
    pub fn is_farewell(&self, head: &ResponseHead) -> bool {
        head.status == StatusCode::REQUEST_TIMEOUT && !head.keeps && self.connection.requests > 0
    }

    /// Takes the body: what is here whole, or a stream of it.
    pub async fn into_body(mut self, head: &ResponseHead) -> Result<Arrived<B>, Failed<B>> {
        let mut decoder = Decoder::new(head.framing);
        self.told(head);
        if decoder.is_ended() {
            self.finish();
            return Ok(Arrived::Whole(Bytes::new()));
        }
        let small = decoder.left().and_then(|length| usize::try_from(length).ok());
        if let Some(length) = small.filter(|&length| length <= self.worker.config.hold) {
            let mut until = None;
            let held = std::future::poll_fn(|cx| {
                // The clock is asked only where there is something to wait for.
                if self.connection.input.len() >= length {
                    return Poll::Ready(Ok(true));
                }
                let until = *until.get_or_insert_with(|| Instant::now() + HELD);
                self.poll_held(cx, length, until)
            });
            match held.await {
                Ok(true) => {
                    let body = self.connection.input.split_to(length).freeze();
                    self.finish();
                    return Ok(Arrived::Whole(body));
                }
                Ok(false) => {}
                Err(failure) => return Err(self.fail(failure)),
            }
        }
        self.silent = None;
        // A chunked body that is here whole needs no more of the connection: the next request may have it.
        let first = match decoder.length() {
            Some(_) => None,
            None => match decoder.decode(&mut self.connection.input) {
                Ok(Decoded::Data(data)) => Some(Piece::Data(data)),
                Ok(Decoded::Trailers(trailers)) => Some(Piece::Trailers(trailers)),
                // What is wrong will be said by whoever reads on.
                Ok(Decoded::More | Decoded::End) | Err(_) => None,
            },
        };
        if !decoder.is_ended() {
            return Ok(Arrived::Streaming(Box::new(Streaming {
                exchange: Some(self),
                first,
                decoder,
            })));
        }
        self.finish();
        Ok(match first {
            None => Arrived::Whole(Bytes::new()),
            Some(Piece::Data(data)) => Arrived::Whole(data),
            Some(trailers) => Arrived::Streaming(Box::new(Streaming {
                exchange: None,
                first: Some(trailers),
                decoder,
            })),
        })
    }

    fn told(&mut self, head: &ResponseHead) {
        let connection = &mut self.connection;
        if head.timeout.is_some() {
            connection.told.timeout = head.timeout;
        }
        if let Some(max) = head.max {
            connection.told.requests = Some((connection.requests + 1).saturating_add(max));
        }
    }

    /// The answer is whole. The connection is kept, if nothing speaks against it.
    fn finish(mut self) {
        self.note_failed_send();
        let surplus = self.connection.input.len();
        if self.connection.requests > 0 {
            let age = self.connection.age(self.began);
            self.connection.habits().answered(&age);
        }
        self.connection.requests += 1;
        if surplus > 0 {
            self.connection.unsolicited(surplus);
            if let Some(attempt) = self.account.borrow_mut().attempts.last_mut() {
                attempt.surplus = surplus;
            }
        } else if self.sending.failed().is_some() {
            self.worker.shared.counters.saved.fetch_add(1, Ordering::Relaxed);
        } else if self.keeps && self.sending.is_sent() {
            self.worker.pool.put(self.connection, Instant::now());
        }
    }

    fn note_failed_send(&self) {
        if self.sending.failed().is_some()
            && let Some(attempt) = self.account.borrow_mut().attempts.last_mut()
        {
            attempt.send_failed = true;
        }
    }

    /// The connection as a stream of bytes, and what was already read of it.
    pub fn into_tunnel(self) -> (Box<Connection>, BytesMut) {
        let mut connection = self.connection;
        let read = std::mem::take(&mut connection.input);
        (connection, read)
    }
}

/// The body of an answer on its way.
pub struct Streaming<B> {
    /// `None`: the answer is whole, or was cut.
    exchange: Option<Exchange<B>>,
    first: Option<Piece>,
    decoder: Decoder,
}

/// The next of a body.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Trailer fields, the last of it.
    Trailers(HeaderMap),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Streaming<B> {
    /// The next piece, and the rest of the request sent.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        let piece = ready!(poll_piece(exchange, &mut self.decoder, cx));
        if self.decoder.is_ended() || !matches!(piece, Some(Ok(_))) {
            let exchange = self.exchange.take();
            match (&piece, exchange) {
                (Some(Err(_)), Some(exchange)) => exchange.note_failed_send(),
                (_, Some(exchange)) => exchange.finish(),
                _ => {}
            }
        }
        Poll::Ready(piece)
    }

    /// Whether there is no more.
    pub fn is_over(&self) -> bool {
        self.exchange.is_none() && self.first.is_none()
    }

    /// Bytes that are yet to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        self.decoder.left()
    }
}

fn poll_piece<B: Body<Data = Bytes, Error = Failure> + Unpin>(
    exchange: &mut Exchange<B>,
    decoder: &mut Decoder,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Piece, Failure>>> {
    let waits = exchange.sending.poll(cx, &mut exchange.connection).unwrap_or_else(|_| {
        exchange.sending.give_up();
        Waits::Over
    });
    loop {
        match decoder.decode(&mut exchange.connection.input) {
            Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
            Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
            Ok(Decoded::End) => return Poll::Ready(None),
            Ok(Decoded::More) => {}
            Err(wrong) => return Poll::Ready(Some(Err(Failure::Malformed(wrong)))),
        }
        let room = decoder
            .left()
            .map_or(0, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let end = match exchange.connection.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => None,
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(_)) => {
                exchange.silent = None;
                continue;
            }
            Poll::Pending => {
                let (since, late) = match waits {
                    // The server may be waiting for what the client has not given.
                    Waits::Client => return Poll::Pending,
                    Waits::Server(since) => (since, Failure::WriteTimeout),
                    Waits::Leave | Waits::Over => {
                        (*exchange.silent.get_or_insert_with(Instant::now), Failure::BodyTimeout)
                    }
                };
                return match exchange.connection.is_past(cx, since + exchange.worker.config.silence) {
                    true => Poll::Ready(Some(Err(late))),
                    false => Poll::Pending,
                };
            }
        };
        return Poll::Ready(end_of_stream(exchange, decoder, end));
    }
}

/// What the end of the server's stream means for a body.
fn end_of_stream<B: Body<Data = Bytes, Error = Failure> + Unpin>(
    exchange: &Exchange<B>,
    decoder: &Decoder,
    end: Option<io::Error>,
) -> Option<Result<Piece, Failure>> {
    // A failed send took the error that told of a reset: the end that follows is no proof that the body is whole.
    let whole = end.is_none() && decoder.ends_with_stream() && exchange.sending.failed() != Some(true);
    if whole {
        return None;
    }
    let reset = end.is_some_and(|error| is_reset(&error));
    Some(Err(exchange.cut(decoder.given(), decoder.length(), reset)))
}
