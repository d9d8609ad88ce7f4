//! One connection to the server: its stream, its buffers, its age.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::habits::{Age, Habits, Told};
use super::shared::{Event, Shared};
use super::stream::{self, Held, Stream};

/// Room that is made for reading: enough for a small answer and its head in one read.
const READ_LEAST: usize = 8 << 10;
/// Room for reading when much is coming.
const READ_MOST: usize = 64 << 10;
/// An output buffer that grew larger than this is not kept.
const OUTPUT_KEPT: usize = 16 << 10;

/// One connection to the server.
pub struct Connection {
    /// Received and not yet understood.
    pub input: BytesMut,
    /// To be sent before anything else.
    pub output: Vec<u8>,
    /// Bytes of `output` that were sent.
    written: usize,
    stream: Stream,
    alarm: Option<Pin<Box<Sleep>>>,
    /// The last read filled the room that it had.
    much: bool,
    /// Unique in this process.
    pub number: u64,
    /// Which address of the server.
    pub target: usize,
    /// Requests that it carried.
    pub requests: u64,
    /// What the server said of it.
    pub told: Told,
    /// When its last answer was whole.
    pub idle_since: Instant,
    opened: Instant,
    round_trip: Duration,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection that was just made.
    pub fn new(
        stream: Stream,
        target: usize,
        round_trip: Duration,
        shared: Arc<Shared>,
        permit: OwnedSemaphorePermit,
    ) -> Box<Connection> {
        let number = shared.number_connection();
        shared.counters.opened.fetch_add(1, Ordering::Relaxed);
        shared.tell(&Event::Opened {
            to: &shared.targets[target].0.name,
            connection: number,
        });
        let now = Instant::now();
        Box::new(Connection {
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            stream,
            alarm: None,
            much: false,
            number,
            target,
            requests: 0,
            told: Told::default(),
            idle_since: now,
            opened: now,
            round_trip,
            shared,
            _permit: permit,
        })
    }

    /// The server's address.
    pub fn to(&self) -> &Arc<str> {
        &self.shared.targets[self.target].0.name
    }

    /// What is known of that address.
    pub fn habits(&self) -> &Habits {
        &self.shared.targets[self.target].1
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Age {
        Age {
            requests: self.requests,
            idle: now.saturating_duration_since(self.idle_since),
            lifetime: now.saturating_duration_since(self.opened),
            round_trip: self.round_trip,
        }
    }

    /// Reads what there is, room for at least `room` bytes made. 0: the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let least = if self.much { READ_MOST } else { READ_LEAST };
        let room = room.clamp(least, READ_MOST);
        if self.input.capacity() - self.input.len() < room / 2 {
            self.input.reserve(room);
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        self.much = read == room;
        Poll::Ready(Ok(read))
    }

    /// Writes as much as it takes of what is left of `output`, and `chunk` and `tail` behind it, in one call. They are moved on by what
    /// was taken. Ready when all of it was; the error is the socket's.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
        tail: &mut &'static [u8],
    ) -> Poll<io::Result<usize>> {
        let head = &self.output[self.written..];
        let stream = Pin::new(&mut self.stream);
        let written = if chunk.is_empty() && tail.is_empty() {
            stream.poll_write(cx, head)
        } else if head.is_empty() && tail.is_empty() {
            stream.poll_write(cx, chunk)
        } else {
            stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(chunk), IoSlice::new(tail)])
        };
        let written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(head.len());
        let of_chunk = (written - of_head).min(chunk.len());
        let of_tail = written - of_head - of_chunk;
        self.written += of_head;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        chunk.advance(of_chunk);
        *tail = &tail[of_tail..];
        Poll::Ready(Ok(written))
    }

    /// Passes on what TLS may still hold.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Whether `deadline` has passed; if not, the task is woken when it has.
    ///
    /// The timer is set once and not with each request: when it goes off too early it is set again.
    pub fn is_past(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if alarm.deadline() > deadline.into() {
            alarm.as_mut().reset(deadline.into());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            alarm.as_mut().reset(deadline.into());
        }
        false
    }

    /// Whether there is something to read, or an end to be seen, that the event loop may not have told of yet. One system call.
    pub fn is_answered(&self) -> bool {
        self.stream.socket().peek() != Held::Nothing
    }

    /// Whether what was read last, bytes or the end of the server's stream, was sent before the first of the last `count` bytes had come to
    /// the server: it was not made of them.
    ///
    /// Each segment acknowledges all that came before it. Not so a reset: Linux looks at no acknowledgment in that. Not known with TLS, whose
    /// records are other bytes than these.
    pub fn came_before(&self, count: u64) -> bool {
        match &self.stream {
            Stream::Plain(socket) => socket.unacknowledged().is_some_and(|bytes| bytes >= count),
            Stream::Tls(_) => false,
        }
    }

    /// Whether what was received and not yet understood begins as the word of a server that it was idle for too long.
    pub fn holds_farewell(&self) -> bool {
        stream::held(&self.input) == Held::Farewell
    }

    /// Of the last `count` bytes that were sent, those that the server's TCP has acknowledged, where that is known. They may have been read
    /// by nobody; and it may have had more, which a reset does not tell.
    pub fn acknowledged(&self, count: u64) -> Option<u64> {
        match &self.stream {
            Stream::Plain(socket) => socket.unacknowledged().map(|bytes| count.saturating_sub(bytes)),
            Stream::Tls(_) => None,
        }
    }

    /// What it holds although nothing was asked of it. One system call.
    pub fn peek(&self) -> Held {
        match self.input.len() {
            0 => self.stream.socket().peek(),
            bytes => Held::Bytes(bytes),
        }
    }

    /// Whether TLS is spoken: then bytes that lie in the socket need not be the application's.
    pub fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    /// Watches it while it is idle. Ready with what is wrong.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Held> {
        self.stream.poll_idle(cx)
    }

    /// Makes it small for the time that it is idle.
    pub fn rest(&mut self, now: Instant) {
        self.idle_since = now;
        self.much = false;
        if self.input.capacity() > READ_LEAST {
            self.input = BytesMut::new();
        }
        if self.output.capacity() > OUTPUT_KEPT {
            self.output = Vec::new();
        }
    }

    /// The server closed it while it was idle: no request was lost.
    pub fn closed_idle(&self, now: Instant, reset: bool) {
        let age = self.age(now);
        self.habits().closed(&age);
        self.shared.counters.stale_avoided.fetch_add(1, Ordering::Relaxed);
        self.shared.tell(&Event::ClosedIdle {
            to: self.to(),
            connection: self.number,
            idle: age.idle,
            requests: self.requests,
            reset,
        });
    }

    /// It held bytes that no request had asked for.
    pub fn unsolicited(&self, bytes: usize) {
        self.habits().distrust();
        self.shared.counters.unsolicited.fetch_add(1, Ordering::Relaxed);
        self.shared.tell(&Event::Unsolicited {
            to: self.to(),
            connection: self.number,
            bytes,
            requests: self.requests,
        });
    }

    /// The stream itself, for a tunnel.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
        self.shared.tell(&Event::Closed {
            to: self.to(),
            connection: self.number,
            requests: self.requests,
        });
    }
}
