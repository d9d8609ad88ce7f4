//! A stream that lingers by itself when it is shut down.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::held;
use super::set::LingeringSet;
use super::transport::{SocketRef, Transport};
use crate::limits::Limits;
use crate::outcome::Outcome;
use crate::socket;
use crate::state::{Next, State};

/// A stream whose `poll_shutdown` closes it right: put around what a server reads and writes, it needs nothing else.
///
/// It lingers where it is ([`Lingering::new`]: the shutdown is over when the peer is done), or in a [`LingeringSet`]
/// ([`Lingering::with_set`]: the shutdown, or the drop of a stream that was not shut down, gives it to the set, and the
/// connection's task and buffers are free at once).
///
/// **A shutdown ends both directions.** What the peer still sends is thrown away, as it is the request that was not of
/// interest. Where a half-closed connection goes on, in tunnels (CONNECT, WebSocket, `copy_bidirectional`), take the stream
/// out ([`Lingering::into_inner`]) first.
///
/// With TLS it can lie above, around the `TlsStream`, or below. Below it closes also what never becomes one: of a handshake
/// that fails the alert arrives, which a plain close destroys where the client had sent more than was read.
///
/// ```no_run
/// # async fn serve(acceptor: tokio_rustls::TlsAcceptor, tcp: tokio::net::TcpStream, set: lingering::LingeringSet) {
/// # use lingering::Lingering;
/// match acceptor.accept(Lingering::with_set(tcp, set, ())).await {
///     Ok(stream) => { /* whose shutdown sends close_notify, and gives the socket to the set */ }
///     Err(error) => { /* the socket is in the set, and its alert on the way */ }
/// }
/// # }
/// ```
pub struct Lingering<S: Transport, T: Send + 'static = ()> {
    /// `None`: a set has it.
    stream: Option<S>,
    way: Way<T>,
}

enum Way<T: Send + 'static> {
    Here {
        limits: Limits,
        closing: Option<Closing>,
        outcome: Option<Outcome>,
    },
    Set(LingeringSet<T>, Option<T>),
}

struct Closing {
    state: State,
    timer: Pin<Box<Sleep>>,
}

impl<S: Transport> Lingering<S> {
    /// A stream whose shutdown takes until the peer is done with it, within the limits. If it is dropped without shutdown
    /// the best that can be done without waiting is: what has arrived is thrown away, within the limit of bytes and 16 MiB, so
    /// that this does not make a reset; what arrives later will.
    ///
    /// # Panics
    /// Not here, but its shutdown outside of a tokio runtime whose time is enabled.
    pub fn new(stream: S, limits: Limits) -> Lingering<S> {
        Lingering {
            stream: Some(stream),
            way: Way::Here {
                limits,
                closing: None,
                outcome: None,
            },
        }
    }
}

impl<S: Transport, T: Send + 'static> Lingering<S, T> {
    /// A stream that goes into the set when it is shut down, or dropped.
    pub fn with_set(stream: S, set: LingeringSet<T>, tag: T) -> Lingering<S, T> {
        Lingering {
            stream: Some(stream),
            way: Way::Set(set, Some(tag)),
        }
    }

    /// What became of it, once the shutdown is over. `None` before, and always with a set, whose hook is told.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.way {
            Way::Here { outcome, .. } => *outcome,
            Way::Set(..) => None,
        }
    }

    /// The stream, which then closes as it always did. `None` if a set has it already.
    pub fn into_inner(mut self) -> Option<S> {
        self.stream.take()
    }

    /// The stream. `None` if a set has it already.
    pub fn get_ref(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    /// The stream. `None` if a set has it already.
    pub fn get_mut(&mut self) -> Option<&mut S> {
        self.stream.as_mut()
    }

    fn poll_stream<R>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        match &mut self.get_mut().stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<S: Transport + AsyncRead, T: Send + 'static> AsyncRead for Lingering<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(|stream| stream.poll_read(cx, buffer))
    }
}

impl<S: Transport, T: Send + 'static> AsyncWrite for Lingering<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_stream(|stream| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_stream(|stream| stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(|stream| stream.poll_flush(cx))
    }

    /// Ends with `Ok` also where a bound or the peer cut it short: [`Lingering::outcome`] says so.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.way {
            Way::Set(set, tag) => {
                if let Some((stream, tag)) = this.stream.take().zip(tag.take()) {
                    set.add(stream, tag);
                }
                Poll::Ready(Ok(()))
            }
            Way::Here {
                limits,
                closing,
                outcome,
            } => {
                let Some(stream) = this.stream.as_mut().filter(|_| outcome.is_none()) else {
                    return Poll::Ready(Ok(()));
                };
                let closing = closing.get_or_insert_with(|| Closing::begin(stream.socket()));
                *outcome = Some(ready!(closing.poll(stream, limits, cx)));
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Closing {
    fn begin(socket: SocketRef<'_>) -> Closing {
        Closing {
            state: socket::begin(socket.fd(), Instant::now().into_std()),
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
        }
    }

    fn poll<S: Transport>(&mut self, stream: &mut S, limits: &Limits, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let event = held::poll_event(stream, cx, &self.state, self.state.allowance(limits));
            let event = match event {
                Poll::Ready(event) => event,
                Poll::Pending => {
                    let Some(due) = self.state.due(limits).map(Instant::from_std) else {
                        return Poll::Pending;
                    };
                    if due > Instant::now() {
                        if self.timer.deadline() != due {
                            self.timer.as_mut().reset(due);
                        }
                        ready!(self.timer.as_mut().poll(cx));
                    }
                    socket::look(stream.socket().fd(), &self.state)
                }
            };
            let now = Instant::now().into_std();
            if let Next::Close(ended) = self.state.on(event, now, limits) {
                return Poll::Ready(socket::outcome(stream.socket().fd(), &self.state, ended, now));
            }
        }
    }
}

impl<S: Transport + fmt::Debug, T: Send + 'static> fmt::Debug for Lingering<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lingering")
            .field("stream", &self.stream)
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}

/// Neither the stream, which is `Unpin` itself, nor the tag is ever pinned.
impl<S: Transport, T: Send + 'static> Unpin for Lingering<S, T> {}

impl<S: Transport, T: Send + 'static> Drop for Lingering<S, T> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        match &mut self.way {
            Way::Set(set, tag) => {
                if let Some(tag) = tag.take() {
                    set.add_broken_off(stream, tag);
                }
            }
            Way::Here { limits, outcome, .. } => {
                if outcome.is_none() {
                    let _ = socket::begin(stream.socket().fd(), Instant::now().into_std());
                    let _ = socket::half_close(stream.socket().fd());
                    let _ = socket::read_arrived(stream.socket().fd(), limits.bytes);
                }
            }
        }
    }
}
