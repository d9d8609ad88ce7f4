//! What the upstream costs: CPU time of the worker's thread for each request, against servers in threads of their own.
//!
//! `cargo run --release -p bypeer-guard --example upstream_cost -- [REQUESTS] [BYTES OF EACH ANSWER] [AT ONCE]`

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bypeer_guard::account::{Account, SharedAccount};
use bypeer_guard::config::{Destination, Retry, Upstream as Settings};
use bypeer_guard::failure::Failure;
use bypeer_guard::upstream::{Answer, Shared, Upstream};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Empty};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<usize>().unwrap());
    let requests = arguments.next().unwrap_or(200_000);
    let bytes = arguments.next().unwrap_or(200);
    let at_once = arguments.next().unwrap_or(16);
    let address = serve(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, ask(address, requests, bytes, at_once));
}

/// Answers whatever comes in one read with the same bytes.
fn serve(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut answer = format!("HTTP/1.1 200 OK\r\nServer: example\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|count| count > 0) {
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn ask(address: SocketAddr, requests: usize, bytes: usize, at_once: usize) {
    let settings = Settings {
        to: vec![Destination {
            host: address.ip().to_string(),
            port: address.port(),
            tls: false,
            unix: None,
        }],
        ..Settings::default()
    };
    let retry = Retry::default();
    let shared = Shared::new(&settings, &retry, Arc::new(())).unwrap();
    let upstream = Rc::new(Upstream::new(&settings, &retry, shared));
    let left = Rc::new(Cell::new(requests));
    let (began, cpu) = (Instant::now(), thread_nanos());
    let askers: Vec<_> = (0..at_once)
        .map(|_| {
            let (upstream, left) = (upstream.clone(), left.clone());
            tokio::task::spawn_local(async move {
                while let Some(fewer) = left.get().checked_sub(1) {
                    left.set(fewer);
                    assert_eq!(one(&upstream).await, bytes);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    let (wall, cpu) = (began.elapsed(), thread_nanos() - cpu);
    println!(
        "{requests} requests of {bytes} bytes, {at_once} at once: {:.2} µs of CPU and {:.2} µs of time each",
        cpu as f64 / 1e3 / requests as f64,
        wall.as_secs_f64() * 1e6 / requests as f64,
    );
}

async fn one(upstream: &Upstream) -> usize {
    let request = http::Request::get("/some/path?with=query")
        .header("host", "127.0.0.1:8080")
        .header("user-agent", "example/1.0")
        .header("accept", "*/*")
        .header("x-forwarded-for", "127.0.0.1")
        .header("via", "1.1 bypeer")
        .body(Empty::<Bytes>::new().map_err(|never| -> Failure { match never {} }))
        .unwrap();
    let account: SharedAccount = Rc::new(RefCell::new(Account {
        began: Instant::now(),
        client: None,
        client_requests_before: 0,
        method: http::Method::GET,
        path: String::new(),
        version: http::Version::HTTP_11,
        status: None,
        attempts: Vec::new(),
        request_bytes: 0,
        response_bytes: 0,
        failure: None,
        ended: None,
    }));
    let Ok(Answer::Response(response)) = upstream.send(request, &account).await else {
        panic!("no answer");
    };
    let mut body = response.into_body();
    let mut count = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        count += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    count
}

/// Time that this thread was on a processor.
fn thread_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}
