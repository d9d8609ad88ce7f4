//! HTTP/2 with a client.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::{Client, Order};
use super::stream::Io;
use crate::exchange;
use crate::say::Why;
use crate::worker::Millis;

/// Streams that a client may have at once. As nginx's `http2_max_concurrent_streams`.
const STREAMS: u32 = 128;
/// Bytes of an answer that wait in the guard for one stream's window.
const SEND_BUFFER: usize = 128 << 10;
/// Bytes of a body that a client may send before they are read: for each stream, and for all of them. Half of the second is what h2 lets small
/// frames cost that wait to be read, each the bytes that it is smaller than 256, before it ends the connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Heads up to so many times `client.head` are read, and answered 431 with the reason. To larger ones h2 says 431 and nothing else, and from
/// four times that it ends the connection (`MAX_HEADER_LIST_ABUSE_MULTIPLIER`).
const HEADS: usize = 4;

/// Answers until the connection is over. Why it is.
pub(super) async fn serve(client: &Rc<Client>, ahead: Bytes) -> Why {
    client.http2.set(true);
    client.wait();
    let io = TokioIo::new(Io::new(client.clone(), ahead));
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange::answer(client.clone(), request))
    };
    let most = client.worker.settings().config.client.head.saturating_mul(HEADS);
    let mut builder = hyper::server::conn::http2::Builder::new(Streams { client: client.clone() });
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(most.try_into().unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut finishing = None;
    if client.worker.draining() {
        client.order(Order::Finish(Why::Announced));
    }
    poll_fn(|cx| {
        match client.poll_order(cx) {
            Some(Order::Break(why)) => return Poll::Ready(why),
            Some(Order::Finish(why)) => {
                finishing.get_or_insert(why);
                connection.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            Some(Order::Rest) | None => {}
        }
        connection.as_mut().poll(cx).map(|result| match result {
            Ok(()) => finishing.unwrap_or(Why::Peer),
            Err(error) => why_ended(client, &error),
        })
    })
    .await
}

fn why_ended(client: &Client, error: &hyper::Error) -> Why {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    match error {
        _ if client.is_broken() => Why::PeerBroke,
        Some(error) if error.is_io() && client.running() == 0 => Why::Peer,
        Some(error) if error.is_io() || error.is_remote() => Why::PeerBroke,
        Some(error) => {
            // In GOAWAY there is the same in one word. Requests that ran have their own lines.
            client.refused(None, &format!("it is not valid HTTP/2: {error}"));
            Why::NotHttp
        }
        None => Why::NotHttp,
    }
}

/// h2 has reset a stream because of what came on it: it says so to the client, in one word, and to nobody here.
pub(super) fn refused_stream(client: &Client) {
    client.refused(
        None,
        "its stream was reset with PROTOCOL_ERROR: it is no request of HTTP/2, its target has one of \" < > ` in it, or its body is not as \
         long as its head says",
    );
}

/// Makes a task of each stream, which ends early if its client does not take the answer.
#[derive(Clone)]
struct Streams {
    client: Rc<Client>,
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let turn = self.client.next_turn.take();
        let client = self.client.clone();
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if let Some(turn) = &turn {
                    if turn.cancelled.get() {
                        return Poll::Ready(());
                    }
                    *turn.task.borrow_mut() = Some(cx.waker().clone());
                }
                future.as_mut().poll(cx).map(drop)
            })
            .await;
            if let Some(turn) = turn {
                client.turns.borrow_mut().retain(|other| !Rc::ptr_eq(other, &turn));
            }
        });
    }
}

/// Whose turn it is in an exchange over HTTP/2: there a client that does not read blocks no write, but only its own stream.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// When bytes of the answer were handed over, and nobody has asked for more. `None`: it is not the client's turn.
    since: Cell<Option<Millis>>,
    cancelled: Cell<bool>,
    /// Its answer was begun.
    answered: Cell<bool>,
    /// There is no more time for an answer of the server's.
    left: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Turn {
    /// It is the client's turn since this moment, or the server's.
    pub(crate) fn clients(&self, since: Option<Millis>) {
        self.since.set(since);
    }

    pub(crate) fn clients_since(&self) -> Option<Millis> {
        self.since.get()
    }

    /// Ends the stream: its client has been silent for too long.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Its answer is begun.
    pub(crate) fn answers(&self) {
        self.answered.set(true);
    }

    /// Gives up waiting for the server. `false`: the answer is begun already.
    pub(super) fn leave(&self) -> bool {
        let waits = !self.answered.get();
        if waits
            && !self.left.replace(true)
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
        waits
    }

    /// Whether the server is not waited for any more.
    pub(crate) fn is_left(&self) -> bool {
        self.left.get()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }
}
