//! One request on one connection: it is sent, and its answer read, at the same time. What the one does, fails at or waits for never
//! keeps the other from going on.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body::Body;

use super::connection::Connection;
use super::framing::{Decoded, Decoder};
use super::habits::Age;
use super::head::{self, HeadReader, ResponseHead};
use super::sending::{Sending, Source, Waits};
use super::stream::{Held, is_reset};
use super::streaming::Streaming;
use super::worker::Worker;
use crate::account::{Attempt, SharedAccount};
use crate::failure::Failure;

/// How long a body waits for the server's leave (`Expect: 100-continue`). RFC 9110, section 10.1.1, wants no indefinite wait: many servers
/// never heard of it. What curl waits.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a small body is held until it is whole; then it is passed on as it comes.
const HELD: Duration = Duration::from_secs(5);
/// How long the rest of a request is held back while nothing more comes of an answer that seems not to want it: the server may be waiting.
const PAUSE: Duration = Duration::from_secs(1);
/// The end of a chunked body of several chunks, without trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// Interim answers (1xx) before the final one.
const INTERIM_MOST: u32 = 100;

/// One request on one connection.
pub struct Exchange<B> {
    pub connection: Box<Connection>,
    pub sending: Sending<B>,
    reader: HeadReader,
    method: Method,
    /// The protocols that it asks to switch to.
    asked: Option<HeaderValue>,
    pub worker: Rc<Worker>,
    account: SharedAccount,
    began: Instant,
    /// How long the request was on its way when the first byte of an answer came.
    first_byte: Option<Instant>,
    /// When the last bytes came, where the clock was asked then.
    heard: Option<Instant>,
    /// Since when the server owes something, and nothing came of it.
    pub silent: Option<Instant>,
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
    /// What the server's close taught: which address, and at which age.
    pub taught: Option<(usize, Age)>,
}

/// A body that came whole with its head, or will come piece by piece.
pub enum Arrived<B> {
    /// There is none, or it is here.
    Whole(Bytes),
    /// It is on its way.
    Streaming(Box<Streaming<B>>),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Exchange<B> {
    /// Puts the head into the connection's output. Nothing is sent yet. `now`: the connection was had at this moment.
    pub fn new(
        mut connection: Box<Connection>,
        now: Instant,
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
        let close = !switches && (worker.keeps_none() || habits.is_distrusted() || habits.closes_each());
        account.borrow_mut().attempts.push(Attempt {
            requests_before: connection.requests,
            idle: (connection.requests > 0).then(|| now.saturating_duration_since(connection.idle_since)),
            ..Attempt::new(connection.to().clone(), connection.number)
        });
        let shared = worker.shared.clone();
        let host = &shared.targets[connection.target].0.host;
        head::write_request(&mut connection.output, parts, framing, host, close);
        Exchange {
            sending: Sending::new(source, framing, asks),
            reader: HeadReader::default(),
            method: parts.method.clone(),
            asked: parts.headers.get(http::header::UPGRADE).cloned(),
            worker: worker.clone(),
            account: account.clone(),
            began: now,
            first_byte: None,
            heard: None,
            silent: None,
            interim: 0,
            keeps: !close,
            connection,
        }
    }

    /// Sends, and reads until the final answer's head is there. What can be read is read before more is sent.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            if !self.connection.input.is_empty()
                && let Some(head) = self.read_head()?
            {
                match self.judge_head(head)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue,
                }
            }
            if self.sending.wrote > 0
                && let Poll::Ready(read) = self.poll_read_head(cx)
            {
                read?;
                continue;
            }
            let before = self.sending.wrote;
            let waits = match self.sending.poll(cx, &mut self.connection, false) {
                Ok(waits) => waits,
                Err(failure) => return Poll::Ready(Err(failure)),
            };
            if (before == 0 || waits == Waits::Over)
                && let Poll::Ready(read) = self.poll_read_head(cx)
            {
                read?;
                continue;
            }
            let limits = &self.worker.config;
            let (deadline, late) = match (waits, self.first_byte) {
                (Waits::Leave, None) => (self.began + LEAVE, None),
                (Waits::Server(since), None) => (since + limits.silence, Some(Failure::WriteTimeout)),
                (Waits::Client | Waits::Look, None) => return Poll::Pending,
                (Waits::Over, None) => {
                    // Most requests are sent whole as soon as they begin: the clock is not asked again for them.
                    let sent = || if before == 0 { self.began } else { Instant::now() };
                    let since = *self.silent.get_or_insert_with(sent);
                    (since + limits.answer, Some(Failure::AnswerTimeout))
                }
                (Waits::Answer(since), _) if Instant::now() < since + PAUSE => (since + PAUSE, None),
                (Waits::Answer(_), _) => {
                    self.sending.resume();
                    continue;
                }
                // A head that began must become whole, however slowly its bytes come.
                (_, Some(began)) => (began + limits.silence, Some(Failure::BodyTimeout)),
            };
            if !self.connection.is_past(cx, deadline) {
                return Poll::Pending;
            }
            match (late, waits) {
                (Some(failure), _) => return Poll::Ready(Err(failure)),
                (None, Waits::Leave) => self.sending.go_on(),
                (None, _) => {}
            }
        }
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(match ready!(self.connection.poll_read(cx, 0)) {
            Ok(0) => Err(self.ended_unanswered(false)),
            Err(error) => Err(self.ended_unanswered(is_reset(&error))),
            Ok(bytes) if self.sending.wrote == 0 || self.is_of_another() => {
                self.connection.unsolicited(bytes);
                Err(Failure::Unsolicited { bytes })
            }
            Ok(_) => {
                match self.first_byte {
                    None => self.first_byte(),
                    Some(_) => self.heard = None,
                }
                self.sending.heard();
                Ok(())
            }
        })
    }

    /// Whether what was read first met the request on its way: when it was sent, not one byte of the request had come to the server. It
    /// answers another request then, or none; also whoever asks again cannot be sure that this one is not answered after it.
    fn is_of_another(&self) -> bool {
        self.first_byte.is_none()
            && self.interim == 0
            && self.connection.requests > 0
            && !self.connection.holds_farewell()
            && self.connection.came_before(self.sending.wrote)
    }

    fn first_byte(&mut self) {
        let now = Instant::now();
        self.first_byte = Some(now);
        self.heard = Some(now);
        self.sending.pause();
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
            // RFC 9110, section 7.8.
            return match (&self.asked, head.fields.get(http::header::UPGRADE)) {
                (None, _) => Err(Failure::Malformed("it switches protocols, and was not asked to")),
                // What follows our request's head would be taken for the new protocol.
                _ if !self.sending.is_sent() => Err(Failure::Malformed("it switches protocols within a request")),
                (Some(asked), Some(chosen)) if is_one_of(chosen, asked) => Ok(Some(head)),
                _ => Err(Failure::Malformed("it switches to a protocol that was not asked for")),
            };
        }
        if !head.status.is_informational() {
            self.keeps &= head.keeps;
            self.judge_rest(&head);
            return Ok(Some(head));
        }
        self.sending.unpause();
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

    /// Whether the rest of the request is still sent, now that the final answer has begun.
    ///
    /// RFC 9112, section 9.5: one who sees an answer that says that the body is not wanted, and that the server closes, is to cease sending.
    /// Our side of the stream stays open: the server may take a FIN for a request that is not whole. Where the server keeps the connection,
    /// or only sends the client elsewhere, the rest waits for as long as the answer makes progress: mostly it is whole at once. All others
    /// get the rest, also if the server closes: an answer that says so may be made of the body while that comes.
    fn judge_rest(&mut self, head: &ResponseHead) {
        let refuses = head.status.is_client_error() || head.status.is_server_error();
        match (refuses, head.keeps) {
            (true, false) => self.sending.give_up(),
            (true, true) => {}
            (false, false) if head.status.is_redirection() => {}
            (false, _) => self.sending.unpause(),
        }
    }

    /// Sends what may be sent while an answer's body comes. What the client's body does is no longer a reason to fail.
    pub fn poll_rest(&mut self, cx: &mut Context<'_>) -> Waits {
        loop {
            match self.sending.poll(cx, &mut self.connection, true) {
                Ok(Waits::Answer(since)) if self.connection.is_past(cx, since + PAUSE) => self.sending.resume(),
                Ok(waits) => return waits,
                Err(_) => self.sending.give_up(),
            }
        }
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
            (0, true) => Failure::Reset {
                acknowledged: self.connection.acknowledged(self.sending.wrote),
            },
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
            match self.connection.poll_read(cx, length - have) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.cut(have as u64, Some(length as u64), false))),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.cut(have as u64, Some(length as u64), is_reset(&error))));
                }
                Poll::Ready(Ok(_)) => {
                    self.heard = None;
                    self.sending.heard();
                }
                Poll::Pending => {
                    self.poll_rest(cx);
                    return match self.connection.is_past(cx, until) {
                        true => Poll::Ready(Ok(false)),
                        false => Poll::Pending,
                    };
                }
            }
        }
    }

    /// The failure that a body is which has not come whole.
    pub fn cut(&self, have: u64, expected: Option<u64>, reset: bool) -> Failure {
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
        let unprocessed = self.sending.wrote == 0 || self.closed_before(&failure);
        Failed {
            unprocessed,
            reused: self.connection.requests > 0,
            taught: match failure {
                Failure::Stale { .. } => Some((self.connection.target, self.connection.age(self.began))),
                _ => None,
            },
            failure,
            source: self.sending.into_source(),
            granted: false,
        }
    }

    /// Whether the server had closed before any of the request came to it. A FIN and no reset tells of that: what comes to a socket that is
    /// closed, no process reads, and where only the sending side was closed, there is no answer to be had.
    fn closed_before(&self, failure: &Failure) -> bool {
        let by_fin = matches!(failure, Failure::Stale { reset: false } | Failure::ClosedUnanswered);
        by_fin && self.connection.came_before(self.sending.wrote)
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
        let input = &mut self.connection.input;
        let mut trailers = None;
        let mut first = None;
        if decoder.length().is_none() {
            match decoder.decode(input) {
                Ok(Decoded::Data(data)) => first = Some(data),
                Ok(Decoded::Trailers(fields)) => trailers = Some(fields),
                // What is wrong will be said by whoever reads on.
                Ok(Decoded::More | Decoded::End) | Err(_) => {}
            }
        }
        if let Some(begun) = &mut first
            && input.ends_with(LAST_CHUNK)
            && input.len() <= self.worker.config.hold
        {
            // So its length is known, without which a client of HTTP/1.0 cannot see whether it was cut.
            let mut joined = BytesMut::with_capacity(begun.len() + input.len());
            joined.extend_from_slice(begun);
            loop {
                match decoder.decode(input) {
                    Ok(Decoded::Data(data)) => joined.extend_from_slice(&data),
                    Ok(Decoded::Trailers(fields)) => {
                        trailers = Some(fields);
                        break;
                    }
                    Ok(Decoded::More | Decoded::End) | Err(_) => break,
                }
            }
            *begun = joined.freeze();
        }
        if !decoder.is_ended() {
            self.heard = None;
            return Ok(Arrived::Streaming(Box::new(Streaming {
                exchange: Some(self),
                first,
                trailers,
                decoder,
            })));
        }
        self.finish();
        Ok(match trailers {
            None => Arrived::Whole(first.unwrap_or_default()),
            Some(_) => Arrived::Streaming(Box::new(Streaming {
                exchange: None,
                first,
                trailers,
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
    pub fn finish(mut self) {
        let saved = self.note_failed_send();
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
        } else if saved {
            self.worker.shared.counters.saved.fetch_add(1, Ordering::Relaxed);
        } else if self.keeps && self.sending.is_sent() {
            let now = self.heard.unwrap_or_else(Instant::now);
            self.worker.pool.put(self.connection, now);
        }
    }

    /// The server reset the connection while the rest of the request was held back: to go on would have failed.
    fn was_reset(&self) -> bool {
        self.sending.is_ceased() && self.connection.peek() == Held::End { reset: true }
    }

    /// Tells that sending failed, if it did, or would have. Asked once: it takes a reset's error from the socket.
    pub fn note_failed_send(&self) -> bool {
        let failed = self.sending.failed().is_some() || self.was_reset();
        if failed && let Some(attempt) = self.account.borrow_mut().attempts.last_mut() {
            attempt.send_failed = true;
        }
        failed
    }

    /// The connection as a stream of bytes, and what was already read of it.
    pub fn into_tunnel(self) -> (Box<Connection>, BytesMut) {
        let mut connection = self.connection;
        let read = std::mem::take(&mut connection.input);
        (connection, read)
    }
}

/// Whether the protocols that were chosen are among those that were asked for, in whatever version.
fn is_one_of(chosen: &HeaderValue, asked: &HeaderValue) -> bool {
    let asked = asked.to_str().unwrap_or_default();
    let chosen = chosen.to_str().unwrap_or_default();
    chosen.split(',').all(|chosen| {
        asked
            .split(',')
            .any(|asked| name(asked).eq_ignore_ascii_case(name(chosen)))
    })
}

fn name(protocol: &str) -> &str {
    protocol.split('/').next().unwrap_or_default().trim()
}
