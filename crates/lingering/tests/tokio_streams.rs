//! Tokio's streams on real sockets.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::sync::mpsc;
use std::time::Duration;

use lingering::{Ended, Limits, Lingering, LingeringSet, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (TcpStream, Blocking) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().await.unwrap().0, client)
}

/// A set whose outcomes come through a channel.
fn told(limits: Limits, most: usize) -> (LingeringSet<u32>, mpsc::Receiver<(u32, Outcome)>) {
    let (tell, told) = mpsc::channel();
    let set = LingeringSet::with_hook(limits, most, move |tag, outcome| tell.send((tag, outcome)).unwrap());
    (set, told)
}

const ENOUGH: Duration = Duration::from_secs(20);

/// A client that writes all of its upload before it reads anything.
fn upload_then_read(mut client: Blocking, bytes: usize) -> std::io::Result<String> {
    client.write_all(&vec![b'u'; bytes])?;
    client.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn a_set_lets_an_early_answer_arrive() {
    let (mut server, client) = pair().await;
    let client = std::thread::spawn(move || upload_then_read(client, 8 << 20));
    server.read_exact(&mut [0; 1]).await.unwrap();
    server.write_all(b"too large").await.unwrap();
    let (set, told) = told(Limits::default(), 10);
    set.add(server, 7);
    let counts = set.finish(ENOUGH).await;
    assert_eq!(client.join().unwrap().unwrap(), "too large");
    let (tag, outcome) = told.recv().unwrap();
    assert_eq!((tag, outcome.ended, outcome.drained), (7, Ended::Eof, (8 << 20) - 1));
    assert_eq!(outcome.delivered(), Some(true));
    assert_eq!(
        (counts.added, counts.lingering, counts.eof, counts.drained),
        (1, 0, 1, (8 << 20) - 1)
    );
}

#[tokio::test]
async fn a_wrapper_lets_an_early_answer_arrive() {
    let (mut server, client) = pair().await;
    let client = std::thread::spawn(move || upload_then_read(client, 8 << 20));
    server.read_exact(&mut [0; 1]).await.unwrap();
    let mut server: Lingering<_> = Lingering::new(server, Limits::default());
    server.write_all(b"too large").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.join().unwrap().unwrap(), "too large");
    let outcome = server.outcome().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
}
