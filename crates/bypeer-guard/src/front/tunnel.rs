//! After a switch of protocols (WebSocket, CONNECT): bytes both ways, until both ends have said that there are no more.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

/// Carries bytes until both directions are at their end, one has failed, or the client's task is told to stop.
pub(super) async fn run(client: &Rc<Client>, stream: ClientStream, ahead: [Bytes; 2], switched: Switched) -> Why {
    client.tunnel();
    let Switched { mut server, exchange } = switched;
    let mut stream = stream;
    let mut up = Direction::new(ahead);
    let mut down = Direction::new([Bytes::new(), Bytes::new()]);
    let end = poll_fn(|cx| {
        if let Some(Order::Break(why)) = client.poll_order(cx) {
            return Poll::Ready(Err(why));
        }
        // Both go on: what one end sent before it failed is still carried to the other.
        let sent = up.poll(cx, &mut stream, &mut server);
        let received = down.poll(cx, &mut server, &mut stream);
        match (sent, received) {
            (Poll::Ready(Err(End::Source)), _) | (_, Poll::Ready(Err(End::Sink))) => Poll::Ready(Err(Why::PeerBroke)),
            (Poll::Ready(Err(End::Sink)), _) | (_, Poll::Ready(Err(End::Source))) => Poll::Ready(Err(Why::AnswerBroke)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(Why::Tunnel)),
            _ => Poll::Pending,
        }
    })
    .await;
    exchange.carried(up.carried, down.carried);
    let failure = match end {
        Ok(_) => None,
        Err(Why::AnswerBroke) => Some(Failure::Incomplete {
            have: down.carried,
            expected: None,
            reset: true,
        }),
        Err(_) => Some(client.why_cut()),
    };
    exchange.over(failure);
    match end {
        Ok(_) => client.worker.lingering.add(stream, client.address),
        Err(_) => client.worker.lingering.add_broken_off(stream, client.address),
    }
    end.unwrap_or_else(|why| why)
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
