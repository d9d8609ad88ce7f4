//! One stream that lingers, and how it is driven.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::net::Shutdown;

use super::transport::{Socket, SocketRef, Transport};
use crate::limits::Limits;
use crate::socket;
use crate::state::{Event, State};

/// A stream on its way out.
pub(crate) struct Held {
    form: Form,
    may_have_so_linger: bool,
}

enum Form {
    /// The good-bye of what lies on the socket is not said yet.
    Layered(Box<dyn Transport>),
    /// A socket.
    Bare(Socket),
}

impl Held {
    pub(crate) fn new(stream: impl Transport) -> Held {
        Held {
            may_have_so_linger: stream.may_have_so_linger(),
            form: match stream.plain() {
                Ok(socket) => Form::Bare(socket),
                Err(stream) => Form::Layered(Box::new(stream)),
            },
        }
    }

    /// The close begins. A socket is half-closed at once, whenever the task gets to it.
    pub(crate) fn begin(&self, now: Instant, limits: &Limits) -> State {
        let mut state = match self.may_have_so_linger {
            true => socket::begin(self.socket().fd(), now),
            false => socket::begin_without_so_linger(self.socket().fd(), now),
        };
        if let Form::Bare(socket) = &self.form {
            state.writes_no_more();
            // Why it fails is told once, and to the task, which tries again.
            if rustix::net::shutdown(socket.borrowed().fd(), Shutdown::Write).is_ok() {
                // Limits of 0 end it here; the task, which is called in any case, will find the same.
                let _ = state.on(Event::HalfClosed, now, limits);
            }
        }
        state
    }

    /// The next thing that happens to it. The waker of `cx` is called when there may be another.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, state: &State, allowance: u64) -> Poll<Event> {
        match &mut self.form {
            Form::Layered(stream) => poll_event(&mut **stream, cx, state, allowance),
            Form::Bare(socket) if state.is_half_closed() => poll_read(socket.borrowed(), cx, state, allowance),
            Form::Bare(socket) => Poll::Ready(socket::half_close(socket.borrowed().fd())),
        }
    }

    /// Throws away what lies on the socket. When it has said its good-bye it is of no more use, and may be tens of
    /// kilobytes.
    pub(crate) fn bare(self) -> Held {
        Held {
            form: match self.form {
                Form::Layered(stream) => Form::Bare(stream.into_socket()),
                bare => bare,
            },
            ..self
        }
    }

    pub(crate) fn socket(&self) -> SocketRef<'_> {
        match &self.form {
            Form::Layered(stream) => stream.socket(),
            Form::Bare(socket) => socket.borrowed(),
        }
    }
}

/// The next thing that happens to the stream.
pub(crate) fn poll_event<S: Transport + ?Sized>(
    stream: &mut S,
    cx: &mut Context<'_>,
    state: &State,
    allowance: u64,
) -> Poll<Event> {
    if !state.is_half_closed()
        && let Poll::Ready(event) = poll_good_bye(stream, cx)
    {
        return Poll::Ready(event);
    }
    // Also while the good-bye waits for room: a peer that reads nothing before all of its upload is taken would else
    // wait for us as we for it.
    poll_read(stream.socket(), cx, state, allowance)
}

/// The layer's good-bye, and the half-close of the socket.
fn poll_good_bye<S: Transport + ?Sized>(stream: &mut S, cx: &mut Context<'_>) -> Poll<Event> {
    // Asked before: `poll_shutdown` is content with a connection that is over.
    if let Some(event) = socket::not_connected(stream.socket().fd()) {
        return Poll::Ready(event);
    }
    Poll::Ready(match ready!(Pin::new(&mut *stream).poll_shutdown(cx)) {
        Ok(()) => socket::half_closed_by_layer(stream.socket().fd()),
        Err(error) => Event::Failed(error.kind()),
    })
}

fn poll_read(socket: SocketRef<'_>, cx: &mut Context<'_>, state: &State, allowance: u64) -> Poll<Event> {
    match state.reads() {
        true => socket.poll_discard(cx, allowance).map(socket::read_event),
        false => Poll::Pending,
    }
}
