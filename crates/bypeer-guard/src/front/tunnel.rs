//! After a switch of protocols (WebSocket, CONNECT): bytes both ways, until both ends have said that there are no more.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::client::{Client, Order};
use super::stream::ClientStream;
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::say::Why;
use crate::upstream::Tunnel;

/// Bytes that are held for each direction.
const BUFFER: usize = 16 << 10;

/// The connection behind, and the exchange that it came from.
pub(crate) struct Switched {
    pub(crate) server: Tunnel,
    pub(crate) exchange: Exchange,
}

/// Carries bytes over a connection that is nothing else any more, until both directions are at their end, one has failed, nothing came for
/// too long, or the client's task is told to stop.
pub(super) async fn run(client: &Rc<Client>, mut stream: ClientStream, ahead: [Bytes; 2], switched: Switched) -> Why {
    client.tunnel();
    let end = carry(client, &mut stream, ahead, switched, |cx| match client.poll_order(cx) {
        Some(Order::Break(why)) => Some(why),
        _ => None,
    })
    .await;
    match end {
        Why::Tunnel | Why::TunnelIdle => client.worker.lingering.add(stream, client.address),
        _ => client.worker.lingering.add_broken_off(stream, client.address),
    }
    end
}

/// The same in a stream of HTTP/2 (RFC 9113, section 8.5), in a task of its own. With the client's connection the stream ends.
pub(crate) fn within_http2(stream: OnUpgrade, switched: Switched) {
    let client = switched.exchange.client.clone();
    tokio::task::spawn_local(async move {
        // Without the connection there is no stream: the exchange ends with what is dropped here.
        if let Ok(stream) = stream.await {
            let mut stream = TokioIo::new(stream);
            carry(&client, &mut stream, [Bytes::new(), Bytes::new()], switched, |_| None).await;
        }
    });
}

/// Carries bytes, and tells of it. Why it ended.
async fn carry<S>(
    client: &Client,
    stream: &mut S,
    ahead: [Bytes; 2],
    switched: Switched,
    ordered: impl Fn(&Context<'_>) -> Option<Why>,
) -> Why
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Switched { mut server, exchange } = switched;
    let mut up = Direction::new(ahead);
    let mut down = Direction::new([Bytes::new(), Bytes::new()]);
    let mut silence = Silence::new(client.worker.settings().config.client.tunnel);
    let end = poll_fn(|cx| {
        if let Some(why) = ordered(cx) {
            return Poll::Ready(why);
        }
        // Both go on: what one end sent before it failed is still carried to the other.
        let sent = up.poll(cx, stream, &mut server);
        let received = down.poll(cx, &mut server, stream);
        match (sent, received) {
            (Poll::Ready(Err(End::Source)), _) | (_, Poll::Ready(Err(End::Sink))) => Poll::Ready(Why::PeerBroke),
            (Poll::Ready(Err(End::Sink)), _) | (_, Poll::Ready(Err(End::Source))) => Poll::Ready(Why::AnswerBroke),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Why::Tunnel),
            _ => silence
                .poll_over(cx, up.carried + down.carried)
                .map(|()| Why::TunnelIdle),
        }
    })
    .await;
    exchange.carried(up.carried, down.carried);
    exchange.over(match end {
        Why::Tunnel => None,
        Why::TunnelIdle => Some(Failure::TunnelIdle),
        Why::AnswerBroke => Some(Failure::Incomplete {
            have: down.carried,
            expected: None,
            reset: true,
        }),
        _ => Some(client.why_cut()),
    });
    end
}

/// Ready when nothing was carried for as long as is allowed. One timer, which is set anew when it has run out.
struct Silence {
    limit: Duration,
    /// `None`: any silence is allowed.
    timer: Option<Pin<Box<Sleep>>>,
    carried: u64,
    since: Instant,
}

impl Silence {
    fn new(limit: Option<Duration>) -> Silence {
        Silence {
            limit: limit.unwrap_or_default(),
            timer: limit.map(|limit| Box::pin(tokio::time::sleep(limit))),
            carried: 0,
            since: Instant::now(),
        }
    }

    /// `carried`: bytes in both directions so far.
    fn poll_over(&mut self, cx: &mut Context<'_>, carried: u64) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        if carried != self.carried {
            self.carried = carried;
            self.since = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let until = self.since + self.limit;
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// Which end failed.
enum End {
    Source,
    Sink,
}

/// One direction.
struct Direction {
    ahead: [Bytes; 2],
    buffer: Box<[u8]>,
    held: std::ops::Range<usize>,
    carried: u64,
    state: State,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum State {
    Open,
    /// The source is at its end.
    Ending,
    Ended,
}

impl Direction {
    fn new(ahead: [Bytes; 2]) -> Direction {
        Direction {
            ahead,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            held: 0..0,
            carried: 0,
            state: State::Open,
        }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, source: &mut R, sink: &mut W) -> Poll<Result<(), End>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.state == State::Ended {
                return Poll::Ready(Ok(()));
            }
            if self.state == State::Ending {
                ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(|_| End::Sink)?;
                self.state = State::Ended;
                continue;
            }
            if ready!(self.poll_write(cx, sink)).is_err() {
                return Poll::Ready(Err(End::Sink));
            }
            let mut room = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *source).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if room.filled().is_empty() => self.state = State::Ending,
                Poll::Ready(Ok(())) => self.held = 0..room.filled().len(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Source)),
                Poll::Pending => {
                    ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(|_| End::Sink)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes everything that is held.
    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, sink: &mut W) -> Poll<io::Result<()>> {
        loop {
            let ahead = self.ahead.iter_mut().find(|bytes| !bytes.is_empty());
            let written = match ahead {
                Some(bytes) => {
                    let written = ready!(Pin::new(&mut *sink).poll_write(cx, bytes))?;
                    bytes.advance(written);
                    written
                }
                None if self.held.is_empty() => return Poll::Ready(Ok(())),
                None => {
                    let written = ready!(Pin::new(&mut *sink).poll_write(cx, &self.buffer[self.held.clone()]))?;
                    self.held.start += written;
                    written
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.carried += written as u64;
        }
    }
}
