//! The server behind: connections to it, requests on them, answers from them.
//!
//! An [`Upstream`] is a worker's own (it is not `Send`); what all workers know of the server is in [`Shared`].
//! It needs a [`LocalSet`](tokio::task::LocalSet) around it: the idle connections are watched by one task of the worker.

mod framing;
mod head;
mod shared;
mod simple;
mod stream;

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use shared::{Counters, Event, Observer, SetupError, Shared};

use crate::account::SharedAccount;
use crate::config;
use crate::failure::Failure;

/// A worker's connections to the server.
pub struct Upstream {
    config: Rc<config::Upstream>,
    shared: Arc<Shared>,
}

/// What the server said to a request.
pub enum Answer<B> {
    /// A final answer. Its fields are the server's, without `Transfer-Encoding`. Dropping the body gives up the connection.
    Response(Response<ResponseBody<B>>),
    /// 101, or 2xx to CONNECT: from here on the connection is a stream of bytes.
    Switched(Response<()>, Tunnel),
}

impl Upstream {
    /// The connections of one worker. `shared` was made from the same configuration.
    pub fn new(config: &config::Upstream, _retry: &config::Retry, shared: Arc<Shared>) -> Upstream {
        Upstream {
            config: Rc::new(config.clone()),
            shared,
        }
    }

    /// Sends the request and gives the head of the answer, or why there is none.
    ///
    /// The request is as the server shall see it: without hop-by-hop fields (but `Connection: upgrade` and `Upgrade`, to switch), with
    /// `Host`. Its framing is made here: no body if the body says that it is at its end, `Content-Length` if it knows its length
    /// (`size_hint`), else chunked. The answer may begin before the request's body is sent; polling the answer's body goes on sending it.
    /// `account` gets an attempt for each try. Its `failure` is not written to: what is returned here, or by the body, is the caller's.
    ///
    /// The request's body must end in bounded time, with an error if the client is slow: waiting for it has no bound here.
    pub async fn send<B>(&self, request: Request<B>, account: &SharedAccount) -> Result<Answer<B>, Failure>
    where
        B: Body<Data = Bytes, Error = Failure> + Unpin + 'static,
    {
        simple::send(&self.config, &self.shared, request, account).await
    }

    /// Closes idle connections, and keeps none from now on. Requests that run go on.
    pub fn drain(&self) {}
}

/// The body of an answer.
pub struct ResponseBody<B> {
    incoming: hyper::body::Incoming,
    request: PhantomData<B>,
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let _ = self.request;
        Pin::new(&mut self.incoming)
            .poll_frame(cx)
            .map_err(|error| Failure::Other(io::Error::other(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> Unpin for ResponseBody<B> {}

/// The connection after a switch of protocols, beginning with what had been read behind the answer's head.
///
/// `shutdown` sends the end of our stream and leaves the other direction open.
pub struct Tunnel {
    io: stream::HyperIo<hyper::upgrade::Upgraded>,
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
