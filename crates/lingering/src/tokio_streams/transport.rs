//! What can linger: sockets, and what lies on them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fd::{AsFd, BorrowedFd};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::socket;

/// A connected socket of tokio's.
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A [`Socket`], borrowed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SocketRef<'a> {
    /// TCP.
    Tcp(&'a TcpStream),
    /// A unix socket.
    #[cfg(unix)]
    Unix(&'a UnixStream),
}

/// A stream that can linger: a socket, or TLS or another layer on one.
///
/// A layer says good-bye in its `poll_shutdown` (TLS sends close_notify), which must also end in `shutdown(SHUT_WR)` of
/// the socket, as that of tokio-rustls, tokio-native-tls and tokio-openssl does. Then it is thrown away, and the bare
/// socket is drained: what the peer still sends is not decrypted. No peer's close_notify is waited for; RFC 8446 6.1 asks
/// each side for its own only. Where the good-bye fails, or panics, and the connection is still there, the bare socket is
/// half-closed and drained all the same ([`Outcome::good_bye_failed`](crate::Outcome::good_bye_failed)).
///
/// A set may call [`Transport::socket`] with its lock held: that must not call the set.
pub trait Transport: AsyncWrite + Unpin + Send + 'static {
    /// The socket at the bottom.
    fn socket(&self) -> SocketRef<'_>;

    /// The socket at the bottom, without what lay on it.
    fn into_socket(self: Box<Self>) -> Socket;

    /// Whether SO_LINGER may be set on the socket: then it is looked for, and switched off. Who knows that it is not (accepted sockets
    /// have it from the one that listens) says so, and saves a system call for each.
    fn may_have_so_linger(&self) -> bool {
        true
    }

    /// The stream itself, if it is a socket and nothing lies on it: then nothing is put into a box.
    fn plain(self) -> Result<Socket, Self>
    where
        Self: Sized,
    {
        Err(self)
    }
}

impl Transport for TcpStream {
    fn socket(&self) -> SocketRef<'_> {
        SocketRef::Tcp(self)
    }

    fn into_socket(self: Box<Self>) -> Socket {
        Socket::Tcp(*self)
    }

    fn plain(self) -> Result<Socket, TcpStream> {
        Ok(Socket::Tcp(self))
    }
}

#[cfg(unix)]
impl Transport for UnixStream {
    fn socket(&self) -> SocketRef<'_> {
        SocketRef::Unix(self)
    }

    fn into_socket(self: Box<Self>) -> Socket {
        Socket::Unix(*self)
    }

    fn plain(self) -> Result<Socket, UnixStream> {
        Ok(Socket::Unix(self))
    }
}

#[cfg(feature = "tokio-rustls")]
impl<S: Transport + tokio::io::AsyncRead> Transport for tokio_rustls::server::TlsStream<S> {
    fn socket(&self) -> SocketRef<'_> {
        self.get_ref().0.socket()
    }

    fn into_socket(self: Box<Self>) -> Socket {
        Box::new(self.into_inner().0).into_socket()
    }
}

#[cfg(feature = "tokio-rustls")]
impl<S: Transport + tokio::io::AsyncRead> Transport for tokio_rustls::client::TlsStream<S> {
    fn socket(&self) -> SocketRef<'_> {
        self.get_ref().0.socket()
    }

    fn into_socket(self: Box<Self>) -> Socket {
        Box::new(self.into_inner().0).into_socket()
    }
}

#[cfg(feature = "tokio-rustls")]
impl<S: Transport + tokio::io::AsyncRead> Transport for tokio_rustls::TlsStream<S> {
    fn socket(&self) -> SocketRef<'_> {
        self.get_ref().0.socket()
    }

    fn into_socket(self: Box<Self>) -> Socket {
        match *self {
            tokio_rustls::TlsStream::Client(stream) => Box::new(stream).into_socket(),
            tokio_rustls::TlsStream::Server(stream) => Box::new(stream).into_socket(),
        }
    }
}

impl Socket {
    /// Borrowed.
    pub fn borrowed(&self) -> SocketRef<'_> {
        match self {
            Socket::Tcp(stream) => SocketRef::Tcp(stream),
            #[cfg(unix)]
            Socket::Unix(stream) => SocketRef::Unix(stream),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Socket {
        Socket::Unix(stream)
    }
}

impl<'a> SocketRef<'a> {
    /// The descriptor, for the system.
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        match self {
            SocketRef::Tcp(stream) => stream.as_fd(),
            #[cfg(unix)]
            SocketRef::Unix(stream) => stream.as_fd(),
        }
    }

    /// Waits for something to come, and throws at most so much of it away. 0: the peer's FIN.
    pub(crate) fn poll_discard(self, cx: &mut Context<'_>, most: u64) -> Poll<io::Result<u64>> {
        loop {
            ready!(match self {
                SocketRef::Tcp(stream) => stream.poll_read_ready(cx),
                #[cfg(unix)]
                SocketRef::Unix(stream) => stream.poll_read_ready(cx),
            })?;
            let read = || socket::discard(self.fd(), most);
            let result = match self {
                SocketRef::Tcp(stream) => stream.try_io(Interest::READABLE, read),
                #[cfg(unix)]
                SocketRef::Unix(stream) => stream.try_io(Interest::READABLE, read),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Transport for Socket {
    fn socket(&self) -> SocketRef<'_> {
        self.borrowed()
    }

    fn into_socket(self: Box<Self>) -> Socket {
        *self
    }

    fn plain(self) -> Result<Socket, Socket> {
        Ok(self)
    }
}
