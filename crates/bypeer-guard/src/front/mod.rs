//! Clients: their connections from accept to close.
//!
//! A connection has one task. It agrees on TLS, tells HTTP/1 from HTTP/2, and lets hyper do the rest. What the connection is doing is
//! written down in a [`Client`], and the worker's sweep looks at all of them now and then and gives orders to those whose
//! time is over: that is in place of a timer for each of the limits on each of the connections.

mod client;
mod cut;
mod frames;
mod head;
mod http1;
mod http2;
mod stream;
mod tls;
mod tunnel;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(crate) use client::{Client, Order};
pub(crate) use head::HeadLook;
pub(crate) use http1::builder as http1_builder;
pub(crate) use http2::Turn;
pub(crate) use stream::ClientStream;
pub(crate) use tls::{Presented, acceptor};
pub(crate) use tunnel::{Switched, within_http2};

use crate::say::{Change, Why};
use crate::worker::{Seat, Worker};

/// How an HTTP/2 client begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is read at once to tell HTTP/1 from HTTP/2: more than most requests have.
const FIRST_READ: usize = 4 << 10;

/// Answers a client until its connection is over.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    seat: Seat,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> impl Future<Output = ()> + 'static {
    // An IPv4 client of a socket for both families.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let client = Client::new(worker, ClientStream::Plain(stream), address);
    worker.list(&client);
    worker.sink.client(address, Change::Opened);
    let listed = Listed {
        client,
        _seat: seat,
        why: Cell::new(Why::Other),
    };
    async move { listed.why.set(talk(&listed.client, tls).await) }
}

/// A client in the worker's list, until it is dropped.
struct Listed {
    client: Rc<Client>,
    _seat: Seat,
    why: Cell<Why>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        // It holds the client itself, and is still here if the client went before the switch.
        drop(self.client.switched.take());
        self.client.settle();
        let worker = &self.client.worker;
        worker.unlist(&self.client);
        worker.sink.client(self.client.address, Change::Closed(self.why.get()));
    }
}

async fn talk(client: &Rc<Client>, tls: Option<TlsAcceptor>) -> Why {
    match tls {
        // What is large and not for every client is in boxes.
        Some(acceptor) => match unless_ordered(client, Box::pin(tls::agree(client, acceptor))).await {
            Ok(Ok(true)) => Box::pin(http2::serve(client, Bytes::new())).await,
            Ok(Ok(false)) => http1::serve(client, Bytes::new()).await,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Why::Peer,
            Ok(Err(_)) => Why::Tls,
            Err(why) => why,
        },
        None => match unless_ordered(client, first_bytes(client)).await {
            Ok(Ok(bytes)) if bytes.is_empty() => {
                client.close(b"");
                Why::Peer
            }
            Ok(Ok(bytes)) if bytes.starts_with(PREFACE) => Box::pin(http2::serve(client, bytes)).await,
            Ok(Ok(bytes)) => http1::serve(client, bytes).await,
            Ok(Err(_)) => Why::PeerBroke,
            Err(why) => why,
        },
    }
}

/// Reads until it is clear whether they are the beginning of HTTP/2. None: the client had nothing to say.
async fn first_bytes(client: &Client) -> io::Result<Bytes> {
    let Some(mut lingering) = client.stream.take() else {
        return Ok(Bytes::new());
    };
    let result = match lingering.get_ref() {
        Some(ClientStream::Plain(socket)) => socket.readable().await,
        _ => Ok(()),
    };
    let mut bytes = BytesMut::new();
    let result = match result {
        Ok(()) => loop {
            bytes.reserve(FIRST_READ);
            match lingering.read_buf(&mut bytes).await {
                Ok(0) => break Ok(()),
                Ok(_) if bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        },
        Err(error) => Err(error),
    };
    *client.stream.borrow_mut() = Some(lingering);
    result.map(|()| bytes.freeze())
}

/// Goes on until the client's task is told to stop.
async fn unless_ordered<F: Future>(client: &Client, future: F) -> Result<F::Output, Why> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Some(Order::Break(why) | Order::Finish(why)) = client.poll_order(cx) {
            return Poll::Ready(Err(why));
        }
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}
