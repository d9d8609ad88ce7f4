//! The end of an answer that only its connection's end would have ended, and that was cut.
//!
//! To a client of HTTP/1.0 our FIN says that such an answer is whole. So it gets a reset in place of the FIN, once its kernel has everything that
//! was written: what it has acknowledged, a reset does not take from it on Linux.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use lingering::{SocketRef, Transport};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client::{Client, Order};
use super::stream::ClientLingering;

/// Of acknowledgements the kernel tells nobody: they are looked for again and again, after pauses that grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Resets the client's connection, when everything that was written is acknowledged, or is not within the limits of a close.
///
/// An answer before this one may be among what is not acknowledged then: it is whole, and must not be lost. So such a connection lingers.
pub(super) async fn reset(client: &Client, stream: ClientLingering) {
    let Some(socket) = socket(&stream) else { return };
    let is_acknowledged = acknowledged(client, socket).await;
    if is_acknowledged || client.requests.get() == 1 {
        // Where that fails, it lingers.
        if socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).is_ok() {
            drop(stream.into_inner());
        }
    }
}

fn socket(stream: &ClientLingering) -> Option<&TcpStream> {
    match stream.get_ref()?.socket() {
        SocketRef::Tcp(socket) => Some(socket),
        _ => None,
    }
}

/// Waits until the client's kernel has everything, but no longer than a close may take.
async fn acknowledged(client: &Client, socket: &TcpStream) -> bool {
    let limits = client.worker.settings().config.close.clone();
    let began = Instant::now();
    let mut progress = (u64::MAX, began);
    let mut pause = PAUSES.0;
    loop {
        let unsent = match lingering::unsent(socket) {
            None | Some(0) => return true,
            Some(unsent) => unsent,
        };
        let now = Instant::now();
        if unsent < progress.0 {
            progress = (unsent, now);
        }
        let late = now - progress.1 > limits.idle || now - began > limits.total;
        // An error is the peer's reset: it knows.
        if late || !matches!(socket.take_error(), Ok(None)) || ordered_within(client, pause).await {
            return false;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Whether the client's task is told to stop before so much time has passed.
async fn ordered_within(client: &Client, time: Duration) -> bool {
    let mut sleep = pin!(tokio::time::sleep(time));
    poll_fn(|cx| match client.poll_order(cx) {
        Some(Order::Break(_)) => Poll::Ready(true),
        _ => sleep.as_mut().poll(cx).map(|()| false),
    })
    .await
}
