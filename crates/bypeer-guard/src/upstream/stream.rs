//! Streams of bytes to the server.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connected socket.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A socket, with TLS or without.
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// With TLS.
    Tls(Box<TlsStream<Socket>>),
}

/// What lies in a socket that should hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing, and it is open.
    Nothing,
    /// Bytes, at least so many.
    Bytes(usize),
    /// A 408: the server says that it was idle for too long, before it closes.
    Farewell,
    /// The end of the server's stream; by a reset, or by FIN.
    End {
        /// A reset.
        reset: bool,
    },
}

impl Socket {
    /// Looks at what was received and leaves it there. One system call, no waiting.
    pub fn peek(&self) -> Held {
        match peek(self.as_fd()) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Held::Nothing,
            Err(_) => Held::End { reset: true },
        }
    }

    /// Bytes that were written and that the peer's TCP did not acknowledge, where that is known: TCP on Linux. Still known after a reset.
    pub fn unacknowledged(&self) -> Option<u64> {
        match self {
            Socket::Tcp(stream) => lingering::unsent(stream),
            Socket::Unix(_) => None,
        }
    }

    /// The same, and arranges for the task to be woken when that changes.
    fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<Held> {
        loop {
            let readable = match self {
                Socket::Tcp(stream) => stream.poll_read_ready(cx),
                Socket::Unix(stream) => stream.poll_read_ready(cx),
            };
            if ready!(readable).is_err() {
                return Poll::Ready(Held::End { reset: true });
            }
            let peeked = match self {
                Socket::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
                Socket::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
            };
            return Poll::Ready(match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => Held::End { reset: true },
                Ok(held) => held,
            });
        }
    }
}

fn peek(socket: BorrowedFd<'_>) -> io::Result<Held> {
    let mut bytes = [0_u8; 256];
    let (_, length) = rustix::net::recv(socket, &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(held(&bytes[..length.min(256)]))
}

/// What was read where nothing should be.
pub fn held(bytes: &[u8]) -> Held {
    match bytes {
        [] => Held::End { reset: false },
        // RFC 9110, section 15.5.9.
        _ if bytes.starts_with(b"HTTP/1.") && bytes.get(8..12) == Some(b" 408") => Held::Farewell,
        _ => Held::Bytes(bytes.len()),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Watches an idle connection. Ready with what is wrong with it.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Held> {
        match self {
            Stream::Plain(socket) => socket.poll_peek(cx),
            Stream::Tls(stream) => {
                ready!(stream.get_ref().0.poll_peek(cx));
                // Session tickets come whenever the server likes; only what is left of the application's is wrong.
                let mut bytes = [0; 256];
                let mut buffer = ReadBuf::new(&mut bytes);
                Poll::Ready(match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
                    Ok(()) => held(buffer.filled()),
                    Err(error) => Held::End {
                        reset: is_reset(&error),
                    },
                })
            }
        }
    }
}

/// Whether an error means that the connection was reset, with no FIN before.
///
/// Linux's `tcp_reset` reports EPIPE for a reset that comes behind the FIN (in CLOSE-WAIT) and ECONNRESET for one that comes without: after
/// EPIPE everything that the server had sent is here.
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

macro_rules! with_stream {
    ($self:ident, $enum:ident { $($variant:ident),+ }, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            $($enum::$variant($stream) => $call,)+
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, Socket { Tcp, Unix }, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self, Socket { Tcp, Unix }, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, Socket { Tcp, Unix }, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, Socket { Tcp, Unix }, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, Stream { Plain, Tls }, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self, Stream { Plain, Tls }, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, Stream { Plain, Tls }, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, Stream { Plain, Tls }, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, Stream { Plain, Tls }, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
