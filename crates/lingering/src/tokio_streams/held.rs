//! One stream that lingers, and how it is driven.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::transport::{Socket, SocketRef, Transport};
use crate::outcome::{Ended, Outcome};
use crate::state::{Event, State};

/// A stream on its way out.
pub(crate) enum Held {
    /// The good-bye of what lies on the socket is not said yet.
    Layered(Box<dyn Transport>),
    /// A socket.
    Bare(Socket),
}

impl Held {
    pub(crate) fn new(stream: impl Transport) -> Held {
        match stream.plain() {
            Ok(socket) => Held::Bare(socket),
            Err(stream) => Held::Layered(Box::new(stream)),
        }
    }

    /// The next thing that happens to it. The waker of `cx` is called when there may be another.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, state: &State, allowance: u64) -> Poll<Event> {
        match self {
            Held::Layered(stream) => poll_event(&mut **stream, cx, state, allowance),
            Held::Bare(socket) => poll_event(socket, cx, state, allowance),
        }
    }

    /// Throws away what lies on the socket. When it has said its good-bye it is of no more use, and may be tens of
    /// kilobytes.
    pub(crate) fn bare(self) -> Held {
        match self {
            Held::Layered(stream) => Held::Bare(stream.into_socket()),
            bare => bare,
        }
    }

    pub(crate) fn socket(&self) -> SocketRef<'_> {
        match self {
            Held::Layered(stream) => stream.socket(),
            Held::Bare(socket) => socket.borrowed(),
        }
    }
}

/// A close that begins now. Nothing has happened to the socket but that SO_LINGER is off.
pub(crate) fn begin(socket: SocketRef<'_>, now: Instant) -> State {
    socket.clear_so_linger();
    State::new(now, socket.unsent(false))
}

/// The next thing that happens to the stream.
pub(crate) fn poll_event<S: Transport + ?Sized>(
    stream: &mut S,
    cx: &mut Context<'_>,
    state: &State,
    allowance: u64,
) -> Poll<Event> {
    if !state.is_half_closed()
        && let Poll::Ready(result) = Pin::new(&mut *stream).poll_shutdown(cx)
    {
        return Poll::Ready(match result {
            Ok(()) => Event::HalfClosed,
            Err(error) => Event::Failed(kind_behind(error, stream.socket())),
        });
    }
    if !state.reads() {
        return Poll::Pending;
    }
    // Also while the good-bye waits for room: a peer that reads nothing before all of its upload is taken would else
    // wait for us as we for it.
    let read = stream.socket().poll_discard(cx, allowance);
    read.map(|result| match result {
        Ok(0) => Event::EndOfFile,
        Ok(bytes) => Event::Received(bytes),
        Err(error) => Event::Failed(error.kind()),
    })
}

/// Why the half-close failed: behind ENOTCONN stands a reset that nobody was told of yet, and a read is told.
fn kind_behind(error: io::Error, socket: SocketRef<'_>) -> io::ErrorKind {
    match error.kind() {
        io::ErrorKind::NotConnected => match socket.discard(1) {
            Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => cause.kind(),
            _ => io::ErrorKind::NotConnected,
        },
        kind => kind,
    }
}

/// What became of a close that ends now, to be asked while the socket is still open.
pub(crate) fn outcome(socket: SocketRef<'_>, state: &State, ended: Ended, now: Instant) -> Outcome {
    Outcome {
        ended,
        drained: state.drained(),
        unsent: socket.unsent(state.is_half_closed()),
        unread: socket.unread(),
        lasted: now.saturating_duration_since(state.began()),
    }
}
