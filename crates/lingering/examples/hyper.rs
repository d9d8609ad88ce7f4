//! A hyper server that refuses large uploads early, and whose refusals arrive.
//!
//! `cargo run -p lingering --features tokio --example hyper -- 127.0.0.1:8080`, then
//! `head -c 8M /dev/zero | curl -T - http://127.0.0.1:8080/`

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lingering::{Limits, Lingering, LingeringSet};
use tokio::net::TcpListener;

/// The answer is given at the first look, and nothing of the body is read: hyper then closes the connection.
async fn refuse_what_is_large(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_large = request.body().size_hint().upper().is_none_or(|bytes| bytes > 1 << 20);
    let (status, text) = match is_large {
        true => (StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        false => (StatusCode::OK, "thank you\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// Serves each connection; the set closes it.
pub async fn serve(listener: TcpListener, set: LingeringSet<SocketAddr>) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        // This is all: hyper shuts the stream down, and the set takes over.
        let stream = Lingering::with_set(stream, set.clone(), peer);
        tokio::spawn(async move {
            let service = service_fn(refuse_what_is_large);
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/", listener.local_addr()?);
    let set = LingeringSet::with_hook(Limits::default(), 10_000, |peer, outcome| {
        println!("{peer}: {outcome:?}")
    });
    tokio::select! {
        served = serve(listener, set.clone()) => served?,
        _ = tokio::signal::ctrl_c() => {}
    }
    println!("{:?}", set.finish(Duration::from_secs(5)).await);
    Ok(())
}
