//! The server behind: connections to it, requests on them, answers from them.
//!
//! An [`Upstream`] is a worker's own (it is not `Send`); what all workers know of the server is in [`Shared`].
//! It needs a [`LocalSet`](tokio::task::LocalSet) around it: the idle connections are watched by one task of the worker.
//!
//! ```text
//! request: which connection, tries, retries ──► exchange: one request on one connection ──► connection: stream, buffers, age
//!    │                                             │ sending: head and body out                  ▲
//!    └─► worker ──► pool: idle ones, watched       └ head, framing: bytes to an answer           │
//!          ├─► connect, tls: fresh ones ─────────────────────────────────────────────────────────┘
//!          └─► http2: the same rules around hyper's connection
//! shared by all workers: habits (what is learned of the server), the limit of connections, counters
//! ```

mod body;
mod connect;
mod connection;
mod exchange;
mod framing;
mod habits;
mod head;
mod http2;
mod hyper_io;
mod pool;
mod request;
mod retry;
mod sending;
mod shared;
mod stream;
mod streaming;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod worker;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

pub use body::ResponseBody;
pub use habits::Habits;
pub use shared::{Counters, Event, Observer, SetupError, Shared};
pub use tunnel::Tunnel;

use crate::account::SharedAccount;
use crate::config::{self, UpstreamVersion};
use crate::failure::Failure;
use worker::Worker;

/// A worker's connections to the server.
pub struct Upstream {
    worker: Rc<Worker>,
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
    pub fn new(config: &config::Upstream, retry: &config::Retry, shared: Arc<Shared>) -> Upstream {
        Upstream {
            worker: Rc::new(Worker::new(config, retry, shared)),
        }
    }

    /// Sends the request and gives the head of the answer, or why there is none.
    ///
    /// The request is as the server shall see it: without hop-by-hop fields (but `Connection: upgrade` and `Upgrade`, to switch), with
    /// `Host`. Its framing is made here: no body if the body says that it is at its end, `Content-Length` if it knows its length
    /// (`size_hint`), else chunked. With `Expect: 100-continue` the body is not asked for before the server asked for it. The answer may
    /// begin before the request's body is sent; polling the answer's body goes on sending it. Interim answers (1xx) are not passed on.
    ///
    /// `account` gets an attempt for each try. Its `failure` is not written to: what is returned here, or by the body, is the caller's.
    ///
    /// The request's body must end in bounded time, with an error if the client is slow: waiting for it has no bound here.
    pub async fn send<B>(&self, request: Request<B>, account: &SharedAccount) -> Result<Answer<B>, Failure>
    where
        B: Body<Data = Bytes, Error = Failure> + Unpin + 'static,
    {
        match self.worker.config.version {
            UpstreamVersion::Http1 => request::send(&self.worker, request, account).await,
            // In a box: this future is moved for each request, also where it is not for HTTP/2.
            UpstreamVersion::Http2 => Box::pin(http2::send(&self.worker, request, account)).await,
        }
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.worker.pool.len()
    }

    /// Closes idle connections, and keeps none from now on. Requests that run go on.
    pub fn drain(&self) {
        self.worker.pool.drain();
        self.worker.http2.drain();
    }
}
