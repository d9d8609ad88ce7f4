//! A client's stream: a socket, or TLS on one, and what is noted of each read and write.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use lingering::{Lingering, Socket, SocketRef, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::frames::FrameLook;
use super::http2;

/// A socket, or TLS on one.
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport for ClientStream {
    fn socket(&self) -> SocketRef<'_> {
        match self {
            ClientStream::Plain(stream) => stream.socket(),
            ClientStream::Tls(stream) => stream.socket(),
        }
    }

    fn into_socket(self: Box<Self>) -> Socket {
        match *self {
            ClientStream::Plain(stream) => Socket::Tcp(stream),
            ClientStream::Tls(stream) => stream.into_socket(),
        }
    }

    /// The sockets that listen have none: see `listener`.
    fn may_have_so_linger(&self) -> bool {
        false
    }

    fn plain(self) -> Result<Socket, Self> {
        match self {
            ClientStream::Plain(stream) => Ok(Socket::Tcp(stream)),
            tls => Err(tls),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            ClientStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            ClientStream::Plain(stream) => stream.is_write_vectored(),
            ClientStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A client's stream while the guard has it. Shut down or dropped, it lingers.
pub(crate) type ClientLingering = Lingering<ClientStream, SocketAddr>;

/// What hyper reads from and writes to: the stream that lies in the [`Client`]. Dropped, it lets go of it.
pub(crate) struct Io {
    client: Rc<Client>,
    /// What was read to tell HTTP/1 from HTTP/2, and is to be read again.
    ahead: Bytes,
    /// The stream stays where it is.
    leaves: bool,
    /// HTTP/2: what h2 writes.
    frames: FrameLook,
}

impl Io {
    pub(crate) fn new(client: Rc<Client>, ahead: Bytes) -> Io {
        Io {
            client,
            ahead,
            leaves: false,
            frames: FrameLook::default(),
        }
    }

    /// What of it was not read again.
    pub(crate) fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    /// Lets the stream stay with the client. What is still to be read again.
    pub(crate) fn leave(mut self) -> Bytes {
        self.leaves = true;
        self.take_ahead()
    }

    /// So many bytes of these were written.
    fn wrote<'a>(&mut self, written: &Poll<io::Result<usize>>, data: impl Iterator<Item = &'a [u8]>) {
        self.client.wrote(written);
        if let Poll::Ready(Ok(mut left)) = *written
            && self.client.http2.get()
        {
            for part in data {
                let part = &part[..part.len().min(left)];
                left -= part.len();
                for _ in 0..self.frames.on(part) {
                    http2::refused_stream(&self.client);
                }
            }
        }
    }

    fn poll_stream<R>(
        &self,
        poll: impl FnOnce(Pin<&mut ClientLingering>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        match &mut *self.client.stream.borrow_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if !self.leaves {
            self.client.settle();
            drop(self.client.stream.take());
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !self.ahead.is_empty() {
            let most = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..most]);
            self.ahead.advance(most);
            if self.ahead.is_empty() {
                // An empty one would keep its memory.
                self.ahead = Bytes::new();
            }
        } else if let Err(error) = ready!(self.poll_stream(|stream| stream.poll_read(cx, buffer))) {
            self.client.broken();
            return Poll::Ready(Err(error));
        }
        self.client.read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.client.withholds(data) {
            return Poll::Ready(Ok(data.len()));
        }
        let result = self.poll_stream(|stream| stream.poll_write(cx, data));
        self.wrote(&result, std::iter::once(data));
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.client.withholds(data.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(data.iter().map(|part| part.len()).sum()));
        }
        let result = self.poll_stream(|stream| stream.poll_write_vectored(cx, data));
        self.wrote(&result, data.iter().map(|part| &**part));
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.client
            .stream
            .borrow()
            .as_ref()
            .is_some_and(|stream| stream.is_write_vectored())
    }

    /// hyper flushes when its own buffer is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_stream(|stream| stream.poll_flush(cx));
        self.client.flushed(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.client.shuts_down() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.client.poll_settled(cx));
        match &mut *self.client.stream.borrow_mut() {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
