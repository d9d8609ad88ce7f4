//! Request bodies that nobody wants, read to their end within bounds: then the connection can be kept, and a close has
//! nothing to reset for.

use std::io::{self, Read};
use std::time::Instant;

use crate::limits::Limits;
use crate::outcome::Ended;
use crate::socket::read_event;
use crate::state::{Event, Next, State};

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Bytes that were read and thrown away.
    pub bytes: u64,
    /// Why no more was read: [`Ended::Eof`] at the body's end, or a bound, or an error.
    pub ended: Ended,
}

impl Drained {
    /// The body was read to its end, and the connection may be kept. If not, announce the close (`connection: close`) and
    /// let it linger.
    pub fn is_complete(&self) -> bool {
        self.ended == Ended::Eof
    }
}

/// Reads a body to its end and throws it away, within [`Limits::bytes`] and [`Limits::total`]. A read blocks as long as the
/// stream below lets it: set `set_read_timeout`; a read that times out ends it as [`Ended::Idle`].
///
/// Nothing beyond the byte that passes the bound is taken from the stream.
///
/// ```
/// use lingering::{Ended, Limits, drain_body};
/// let mut body = std::io::Cursor::new(vec![0; 100_000]);
/// assert!(drain_body(&mut body, &Limits::default()).is_complete());
/// body.set_position(0);
/// let drained = drain_body(&mut body, &Limits::default().bytes(65_536));
/// assert_eq!((drained.bytes, drained.ended), (65_537, Ended::ByteBound));
/// ```
pub fn drain_body(body: &mut (impl Read + ?Sized), limits: &Limits) -> Drained {
    let mut buffer = [0; 16 << 10];
    let mut state = State::new(Instant::now(), None);
    let mut event = Event::HalfClosed;
    loop {
        if let Next::Close(ended) = state.on(event, Instant::now(), limits) {
            let bytes = state.drained();
            return Drained { bytes, ended };
        }
        let most = usize::try_from(state.allowance(limits)).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        event = loop {
            match body.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    let bytes = state.drained();
                    let ended = Ended::Idle;
                    return Drained { bytes, ended };
                }
                result => break read_event(result.map(|bytes| bytes as u64)),
            }
        };
    }
}

/// Reads a body of hyper, axum or another library that has `http_body::Body`, to its end, and throws it away, within all
/// three limits. The frame that passes the bound of bytes is the last.
///
/// **Not for a request with `Expect: 100-continue`** whose body nobody has asked for: to poll the body makes hyper send
/// `100 Continue`, upon which the client sends what it would have kept. Answer such a request at once, with
/// `connection: close` (RFC 9110 10.1.1), and let the connection linger: a client may send the body all the same.
///
/// # Panics
/// Outside of a tokio runtime whose time is enabled.
///
/// ```no_run
/// # async fn answer(mut request: http::Request<hyper::body::Incoming>) {
/// let drained = lingering::drain_http_body(request.body_mut(), &lingering::Limits::default()).await;
/// if !drained.is_complete() {
///     // Answer with `connection: close`.
/// }
/// # }
/// ```
#[cfg(feature = "http-body")]
pub async fn drain_http_body<B: http_body::Body>(body: B, limits: &Limits) -> Drained {
    use bytes::Buf;
    use tokio::time::{Instant, timeout_at};

    let mut body = std::pin::pin!(body);
    let mut state = State::new(Instant::now().into_std(), None);
    let mut event = Event::HalfClosed;
    loop {
        let now = Instant::now().into_std();
        let due = match state.on(event, now, limits) {
            Next::Until(due) => due,
            Next::Close(ended) => {
                let bytes = state.drained();
                return Drained { bytes, ended };
            }
        };
        // Frames may be there without end; other tasks have their turn.
        tokio::task::coop::consume_budget().await;
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx));
        let frame = match due {
            Some(due) => timeout_at(Instant::from_std(due), frame).await,
            None => Ok(frame.await),
        };
        event = match frame {
            Err(_) => Event::Looked(None),
            Ok(None) => Event::EndOfFile,
            Ok(Some(Ok(frame))) => Event::Received(frame.data_ref().map_or(0, |data| data.remaining() as u64)),
            // What the connection said lies somewhere below, in a type that is the library's own.
            Ok(Some(Err(_))) => Event::Failed(io::ErrorKind::Other),
        };
    }
}
