//! An axum server that refuses large uploads early, and whose refusals arrive. What is small enough is drained, and its
//! connection is kept.
//!
//! `cargo run -p lingering --features http-body --example axum -- 127.0.0.1:8080`, then
//! `head -c 8M /dev/zero | curl -T - http://127.0.0.1:8080/`

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::Listener;
use lingering::{Limits, Lingering, LingeringSet, drain_http_body};
use tokio::net::{TcpListener, TcpStream};

/// Nobody may upload here. A body of up to 64 KiB is read and thrown away, so that the connection can be kept; of a larger
/// one the rest is left to the set, and the close is announced. Who asks before it sends is told at once: to read would make
/// hyper say `100 Continue`.
async fn refuse(request: Request) -> Response {
    if request.headers().contains_key(header::EXPECT) {
        return (
            StatusCode::EXPECTATION_FAILED,
            [(header::CONNECTION, "close")],
            "no uploads\n",
        )
            .into_response();
    }
    let limits = Limits::default().bytes(64 << 10).total(Duration::from_secs(5));
    let drained = drain_http_body(request.into_body(), &limits).await;
    match drained.is_complete() {
        true => (StatusCode::METHOD_NOT_ALLOWED, "no uploads\n").into_response(),
        false => (
            StatusCode::PAYLOAD_TOO_LARGE,
            [(header::CONNECTION, "close")],
            "no uploads, and not this large\n",
        )
            .into_response(),
    }
}

/// A listener whose connections linger.
pub struct LingeringListener {
    /// Where they come from.
    pub listener: TcpListener,
    /// Where they go to.
    pub set: LingeringSet<SocketAddr>,
}

impl Listener for LingeringListener {
    type Io = Lingering<TcpStream, SocketAddr>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Axum's own listener goes on after errors.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Lingering::with_set(stream, self.set.clone(), peer), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves the router; the set closes its connections.
pub async fn serve(listener: TcpListener, set: LingeringSet<SocketAddr>) -> io::Result<()> {
    let router = Router::new().fallback(any(refuse));
    axum::serve(LingeringListener { listener, set }, router).await
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/", listener.local_addr()?);
    let set = LingeringSet::with_hook(Limits::default(), 10_000, |peer, outcome| {
        println!("{peer}: {outcome:?}")
    });
    serve(listener, set).await
}
