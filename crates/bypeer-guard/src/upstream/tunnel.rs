//! A connection after a switch of protocols.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use hyper::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::hyper_io::HyperIo;

/// The connection after a switch of protocols, beginning with what had been read behind the answer's head.
///
/// `shutdown` sends the end of our stream and leaves the other direction open.
pub struct Tunnel {
    kind: Kind,
    read: BytesMut,
}

enum Kind {
    Http1(Box<Connection>),
    Http2(HyperIo<Upgraded>),
}

impl Tunnel {
    pub(super) fn new(connection: Box<Connection>, read: BytesMut) -> Tunnel {
        Tunnel {
            kind: Kind::Http1(connection),
            read,
        }
    }

    pub(super) fn http2(stream: Upgraded) -> Tunnel {
        Tunnel {
            kind: Kind::Http2(HyperIo(stream)),
            read: BytesMut::new(),
        }
    }
}

macro_rules! stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.kind {
            Kind::Http1(connection) => {
                let $stream = Pin::new(connection.stream());
                $call
            }
            Kind::Http2(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return stream!(self, stream => stream.poll_read(cx, buffer));
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        stream!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        stream!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => stream.poll_shutdown(cx))
    }
}
