//! A request on its way to the server.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};

use super::connection::Connection;
use super::head::{RequestFraming, write_chunk_size, write_field};
use super::stream::is_reset;
use crate::failure::Failure;

/// Pieces of a body up to this many bytes are copied behind what is to be sent; larger ones are sent from where they are.
const COPIED_MOST: usize = 4 << 10;
/// No more is gathered in the output buffer than this.
const OUTPUT_MOST: usize = 16 << 10;

/// Where a request's body comes from.
pub enum Source<B> {
    /// There is none.
    None,
    /// It is here whole, and can be sent again. Over HTTP/1.1 it goes with its length, which leaves no place for trailers.
    Gathered(Bytes, Option<Box<HeaderMap>>),
    /// It comes as it comes.
    Stream(B),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Source<B> {
    /// The body of a request. One that is known to have no more than `most` bytes is read whole first.
    pub async fn gather(mut body: B, most: usize) -> Result<Source<B>, Failure> {
        if body.is_end_stream() {
            return Ok(Source::None);
        }
        let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|&length| length <= most) else {
            return Ok(Source::Stream(body));
        };
        let mut whole = Bytes::new();
        let mut pieces = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = match frame?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok().map(Box::new);
                    continue;
                }
            };
            match pieces.is_empty() && whole.is_empty() {
                true if data.len() == length => whole = data,
                _ => pieces.extend_from_slice(&data),
            }
            if pieces.len() > length {
                break;
            }
        }
        if whole.is_empty() {
            whole = pieces.freeze();
        }
        match whole.len() == length {
            true => Ok(Source::Gathered(whole, trailers)),
            false => Err(wrong_length()),
        }
    }

    /// How the body is framed.
    pub fn framing(&self) -> RequestFraming {
        match self {
            Source::None => RequestFraming::None,
            Source::Gathered(bytes, _) => RequestFraming::Length(bytes.len() as u64),
            Source::Stream(body) => match body.size_hint().exact() {
                Some(length) => RequestFraming::Length(length),
                None => RequestFraming::Chunked,
            },
        }
    }
}

fn wrong_length() -> Failure {
    Failure::Request("its body has another length than was announced".to_owned())
}

/// A request's head and body on their way into a connection. The head is in the connection's output when this begins.
pub struct Sending<B> {
    source: Source<B>,
    framing: RequestFraming,
    /// Bytes of the body that were taken from the source.
    taken: u64,
    /// Nothing more comes from the source.
    exhausted: bool,
    /// The source was asked for something.
    touched: bool,
    chunk: Bytes,
    tail: &'static [u8],
    phase: Phase,
    /// Bytes that the socket took.
    pub wrote: u64,
    /// Since when it takes nothing.
    stuck: Option<Instant>,
    pause: Pause,
}

/// Whether the body is held back, because an answer comes that may mean that it is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// No answer has begun.
    Not,
    /// Since the last that was heard of the answer.
    Since(Instant),
    /// Not any more: the server waits for the rest.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Only the head is sent: the server was asked whether it wants the body.
    Asking,
    Sending,
    Sent,
    /// The socket took an error, or the body is not wanted any more.
    Stopped {
        reset: bool,
        failed: bool,
    },
}

/// What sending waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For nothing: everything was sent, or nothing more will be.
    Over,
    /// For the server's leave.
    Leave,
    /// For the client, to give more of the body.
    Client,
    /// For the socket to take more; since when.
    Server(Instant),
    /// For what lies in the socket to be read first.
    Look,
    /// For the rest of an answer that may make the body needless; since when nothing came of it.
    Answer(Instant),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Sending<B> {
    /// `ask`: the request says `Expect: 100-continue`, and the body waits for that.
    pub fn new(source: Source<B>, framing: RequestFraming, ask: bool) -> Sending<B> {
        let exhausted = matches!(source, Source::None);
        Sending {
            phase: if ask && !exhausted {
                Phase::Asking
            } else {
                Phase::Sending
            },
            source,
            framing,
            taken: 0,
            exhausted,
            touched: false,
            chunk: Bytes::new(),
            tail: b"",
            wrote: 0,
            stuck: None,
            pause: Pause::Not,
        }
    }

    /// The server wants the body, or was given enough time to say that it does not.
    pub fn go_on(&mut self) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Sending;
        }
    }

    /// Whether everything was sent.
    pub fn is_sent(&self) -> bool {
        self.phase == Phase::Sent
    }

    /// Whether the socket took an error; whether that was a reset.
    pub fn failed(&self) -> Option<bool> {
        match self.phase {
            Phase::Stopped { reset, failed: true } => Some(reset),
            _ => None,
        }
    }

    /// The body, if it can be sent again from its beginning.
    pub fn into_source(self) -> Option<Source<B>> {
        (!self.touched).then_some(self.source)
    }

    /// An answer has begun: no more is sent until it is known whether it makes the body needless.
    pub fn pause(&mut self) {
        if self.pause == Pause::Not && !self.is_over() {
            self.pause = Pause::Since(Instant::now());
        }
    }

    /// More came of the answer.
    pub fn heard(&mut self) {
        if let Pause::Since(_) = self.pause {
            self.pause = Pause::Since(Instant::now());
        }
    }

    /// The answer that had begun says nothing against the body: it was an interim one.
    pub fn unpause(&mut self) {
        if let Pause::Since(_) = self.pause {
            self.pause = Pause::Not;
        }
    }

    /// The rest is sent whatever is heard.
    pub fn resume(&mut self) {
        self.pause = Pause::Over;
    }

    /// Whether the body was held back or given up because of the answer.
    pub fn is_ceased(&self) -> bool {
        matches!(self.pause, Pause::Since(_)) && !self.is_sent() && self.failed().is_none()
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Sent | Phase::Stopped { .. })
    }

    /// Sends what can be sent, or until there is something to read: what the server says may make the rest needless, and what is sent to one
    /// that has closed destroys what it said. The error is the client's: its body is not whole.
    ///
    /// `unseen`: the first write is not preceded by a look, or an answer without end would keep the request from its end.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        mut unseen: bool,
    ) -> Result<Waits, Failure> {
        loop {
            if self.is_over() {
                return Ok(Waits::Over);
            }
            if let Pause::Since(since) = self.pause {
                return Ok(Waits::Answer(since));
            }
            let client = self.phase == Phase::Sending && self.take(cx, connection)?.is_pending();
            if connection.output.is_empty() && self.chunk.is_empty() && self.tail.is_empty() {
                match connection.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => self.stop(&error),
                    Poll::Pending => return Ok(self.wait_for_server()),
                }
                if client {
                    return Ok(Waits::Client);
                }
                match self.phase {
                    Phase::Asking => return Ok(Waits::Leave),
                    Phase::Sending => self.phase = Phase::Sent,
                    _ => {}
                }
                continue;
            }
            if !unseen && self.touched && self.wrote > 0 && connection.is_answered() {
                return Ok(Waits::Look);
            }
            match connection.poll_write(cx, &mut self.chunk, &mut self.tail) {
                Poll::Ready(Ok(written)) => {
                    self.wrote += written as u64;
                    self.stuck = None;
                    unseen = false;
                }
                Poll::Ready(Err(error)) => self.stop(&error),
                Poll::Pending => return Ok(self.wait_for_server()),
            }
        }
    }

    /// No more of the body is sent: an answer is on its way, and the client gives no more, or the server wants no more.
    pub fn give_up(&mut self) {
        if !self.is_over() {
            self.phase = Phase::Stopped {
                reset: false,
                failed: false,
            };
            self.let_go();
        }
    }

    /// Lets go of a body that cannot be sent again: what the client still has of it may be thrown away from now on, not only when the
    /// answer is at its end, which a client that reads nothing before it has sent everything would never let come.
    fn let_go(&mut self) {
        if let Source::Stream(_) = self.source {
            self.touched = true;
            self.source = Source::None;
            self.chunk = Bytes::new();
        }
    }

    fn wait_for_server(&mut self) -> Waits {
        Waits::Server(*self.stuck.get_or_insert_with(Instant::now))
    }

    fn stop(&mut self, error: &io::Error) {
        self.phase = Phase::Stopped {
            reset: is_reset(error),
            failed: true,
        };
        if self.touched {
            self.let_go();
        }
    }

    /// Takes pieces of the body, until there is one that is sent from where it is, or enough. Pending: the client has no more just now.
    fn take(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Result<Poll<()>, Failure> {
        let output = &mut connection.output;
        while !self.exhausted && self.chunk.is_empty() && self.tail.is_empty() && output.len() < OUTPUT_MOST {
            let data = match &mut self.source {
                Source::None => break,
                Source::Gathered(bytes, _) => {
                    self.exhausted = true;
                    bytes.clone()
                }
                Source::Stream(body) => {
                    self.touched = true;
                    match Pin::new(body).poll_frame(cx) {
                        Poll::Pending => return Ok(Poll::Pending),
                        Poll::Ready(None) => {
                            self.end(output, None)?;
                            break;
                        }
                        Poll::Ready(Some(frame)) => match frame?.into_data() {
                            Ok(data) => data,
                            Err(frame) => {
                                self.end(output, Some(frame))?;
                                break;
                            }
                        },
                    }
                }
            };
            if data.is_empty() {
                continue;
            }
            self.taken += data.len() as u64;
            let chunked = self.framing == RequestFraming::Chunked;
            if chunked {
                write_chunk_size(output, data.len());
            } else if let RequestFraming::Length(length) = self.framing {
                if self.taken > length {
                    return Err(wrong_length());
                }
                self.exhausted |= self.taken == length;
            }
            let end: &[u8] = if chunked { b"\r\n" } else { b"" };
            if data.len() <= COPIED_MOST {
                output.extend_from_slice(&data);
                output.extend_from_slice(end);
            } else {
                self.chunk = data;
                self.tail = if chunked { b"\r\n" } else { b"" };
            }
        }
        Ok(Poll::Ready(()))
    }

    fn end(&mut self, output: &mut Vec<u8>, trailers: Option<Frame<Bytes>>) -> Result<(), Failure> {
        self.exhausted = true;
        match self.framing {
            RequestFraming::Chunked => {
                output.extend_from_slice(b"0\r\n");
                let trailers = trailers
                    .and_then(|frame| frame.into_trailers().ok())
                    .unwrap_or_default();
                for (name, value) in &trailers {
                    write_field(output, name.as_str().as_bytes(), value.as_bytes());
                }
                output.extend_from_slice(b"\r\n");
                Ok(())
            }
            RequestFraming::Length(length) if self.taken == length => Ok(()),
            RequestFraming::None => Ok(()),
            RequestFraming::Length(_) => Err(wrong_length()),
        }
    }
}
