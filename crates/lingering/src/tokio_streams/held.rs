//! One stream that lingers, and how it is driven.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::fd::BorrowedFd;
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

    /// The next thing that happens to it. The waker of `cx` is called when there may be another. A layer that panics could not
    /// say its good-bye.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, state: &State, allowance: u64) -> Poll<Event> {
        match &mut self.form {
            Form::Layered(stream) => caught(|| poll_event(&mut **stream, cx, state, allowance))
                .unwrap_or(Poll::Ready(Event::GoodByeFailed(io::ErrorKind::Other))),
            Form::Bare(socket) if state.is_half_closed() => poll_read(socket.borrowed(), cx, state, allowance),
            Form::Bare(socket) => Poll::Ready(socket::half_close(socket.borrowed().fd())),
        }
    }

    /// The same. A layer that has said its good-bye, or cannot, is thrown away. `None`: it panicked, and the socket went with it.
    pub(crate) fn advance(
        mut self,
        cx: &mut Context<'_>,
        state: &State,
        allowance: u64,
    ) -> (Option<Held>, Poll<Event>) {
        let event = self.poll_event(cx, state, allowance);
        if !matches!(event, Poll::Ready(Event::HalfClosed | Event::GoodByeFailed(_))) {
            return (Some(self), event);
        }
        match self.bare() {
            Some(bare) => (Some(bare), event),
            None => (None, Poll::Ready(Event::Failed(io::ErrorKind::Other))),
        }
    }

    pub(crate) fn is_layered(&self) -> bool {
        matches!(self.form, Form::Layered(_))
    }

    /// Throws away what lies on the socket. When it has said its good-bye it is of no more use, and may be tens of
    /// kilobytes. `None`: it panicked, and the socket went with it.
    pub(crate) fn bare(self) -> Option<Held> {
        let form = match self.form {
            Form::Layered(stream) => Form::Bare(caught(|| stream.into_socket())?),
            bare => bare,
        };
        Some(Held { form, ..self })
    }

    /// Asks the system. `None`: the layer panicked.
    pub(crate) fn ask<R>(&self, ask: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        match &self.form {
            Form::Layered(stream) => caught(|| ask(stream.socket().fd())),
            Form::Bare(socket) => Some(ask(socket.borrowed().fd())),
        }
    }

    /// Closes it.
    pub(crate) fn close(self) {
        let _ = caught(|| drop(self));
    }

    fn socket(&self) -> SocketRef<'_> {
        match &self.form {
            Form::Layered(stream) => stream.socket(),
            Form::Bare(socket) => socket.borrowed(),
        }
    }
}

/// A layer is not ours: its panic must not end what sees to all the others.
fn caught<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// The next thing that happens to the stream.
pub(crate) fn poll_event<S: Transport + ?Sized>(
    stream: &mut S,
    cx: &mut Context<'_>,
    state: &State,
    allowance: u64,
) -> Poll<Event> {
    if !state.is_half_closed()
        && let Poll::Ready(event) = poll_good_bye(stream, cx, state)
    {
        return Poll::Ready(event);
    }
    // Also while the good-bye waits for room: a peer that reads nothing before all of its upload is taken would else
    // wait for us as we for it.
    poll_read(stream.socket(), cx, state, allowance)
}

/// The layer's good-bye, and the half-close of the socket.
fn poll_good_bye<S: Transport + ?Sized>(stream: &mut S, cx: &mut Context<'_>, state: &State) -> Poll<Event> {
    if state.good_bye_failed().is_some() {
        return Poll::Ready(socket::half_close(stream.socket().fd()));
    }
    // Asked before: `poll_shutdown` is content with a connection that is over.
    if let Some(event) = socket::not_connected(stream.socket().fd()) {
        return Poll::Ready(event);
    }
    Poll::Ready(match ready!(Pin::new(&mut *stream).poll_shutdown(cx)) {
        Ok(()) => socket::half_closed_by_layer(stream.socket().fd()),
        Err(error) => match socket::not_connected(stream.socket().fd()) {
            // To whom its reset was told is not of interest here.
            Some(Event::Failed(io::ErrorKind::NotConnected)) => Event::Failed(error.kind()),
            Some(event) => event,
            None => Event::GoodByeFailed(error.kind()),
        },
    })
}

fn poll_read(socket: SocketRef<'_>, cx: &mut Context<'_>, state: &State, allowance: u64) -> Poll<Event> {
    match state.reads() {
        true => socket.poll_discard(cx, allowance).map(socket::read_event),
        false => Poll::Pending,
    }
}
