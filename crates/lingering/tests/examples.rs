//! The examples do what they say.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Their `main` is not called here.
#![allow(dead_code)]

#[path = "../examples/axum.rs"]
mod axum_server;
#[path = "../examples/blocking.rs"]
mod blocking_server;
#[path = "../examples/hyper.rs"]
mod hyper_server;
#[path = "../examples/plain_tokio.rs"]
mod plain_tokio_server;
mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lingering::{Closer, Ended, Limits, LingeringSet, Outcome};
use support::{ENOUGH, UPLOAD, eventually};

const ROUNDS: usize = 20;

/// Uploads all before it reads anything, and gives up when it cannot send.
fn request(server: SocketAddr, head: &str, body: usize) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(ENOUGH))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&vec![b'u'; body])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn upload(server: SocketAddr, body: usize) -> io::Result<String> {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {body}\r\n\r\n");
    request(server, &head, body)
}

type Outcomes = Arc<Mutex<Vec<Outcome>>>;

fn remember(outcomes: &Outcomes) -> impl Fn(SocketAddr, Outcome) + Send + Sync + 'static {
    let outcomes = outcomes.clone();
    move |_, outcome| outcomes.lock().unwrap().push(outcome)
}

/// A tokio server in threads of its own, which end with the test.
fn with_tokio<Serve, Served>(serve: Serve, test: impl FnOnce(SocketAddr, &Outcomes))
where
    Serve: FnOnce(tokio::net::TcpListener, LingeringSet<SocketAddr>) -> Served,
    Served: Future<Output = io::Result<()>> + Send + 'static,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcomes = Outcomes::default();
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let set = LingeringSet::with_hook(Limits::default(), 1000, remember(&outcomes));
        tokio::spawn(serve(listener, set));
        address
    });
    test(address, &outcomes);
}

fn refusals_arrive(server: SocketAddr, outcomes: &Outcomes) {
    for _ in 0..ROUNDS {
        let answer = upload(server, UPLOAD).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    eventually("all are told of", || outcomes.lock().unwrap().len() == ROUNDS);
    for outcome in outcomes.lock().unwrap().iter() {
        assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    }
}

#[test]
fn hyper() {
    with_tokio(hyper_server::serve, refusals_arrive);
}

#[test]
fn axum() {
    with_tokio(axum_server::serve, |server, outcomes| {
        refusals_arrive(server, outcomes);
        // Who asks before it sends is not told to.
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\nexpect: 100-continue\r\n\r\n";
        let answer = request(server, head, 0).unwrap();
        assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
        // A small upload does not cost its connection.
        let mut stream = TcpStream::connect(server).unwrap();
        for _ in 0..2 {
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 50_000);
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[b'u'; 50_000]).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"no uploads\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 405 "));
        }
    });
}

#[test]
fn plain_tokio() {
    with_tokio(plain_tokio_server::serve, |server, _| {
        for _ in 0..ROUNDS {
            assert_eq!(request(server, "hello\n", UPLOAD).unwrap(), "you said \"hello\"\n");
        }
    });
}

#[test]
fn blocking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let outcomes = Outcomes::default();
    let closer = Closer::with_hook(Limits::default(), 1000, remember(&outcomes)).unwrap();
    // Ends with the process of this test.
    thread::spawn(move || blocking_server::serve(&listener, &closer));
    refusals_arrive(server, &outcomes);
}
