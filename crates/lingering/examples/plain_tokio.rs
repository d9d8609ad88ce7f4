//! A server on tokio's streams alone: it reads a line, answers, and closes, whatever else is sent.
//!
//! `cargo run -p lingering --features tokio --example plain_tokio -- 127.0.0.1:8080`, then
//! `(echo hello; head -c 8M /dev/zero) | nc 127.0.0.1 8080`

use std::io;
use std::net::SocketAddr;

use lingering::{Limits, LingeringSet};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

async fn answer(mut stream: TcpStream, peer: SocketAddr, set: LingeringSet<SocketAddr>) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    stream
        .write_all(format!("you said {:?}\n", line.trim_end()).as_bytes())
        .await?;
    // In place of the drop at the end of this function.
    set.add(stream, peer);
    Ok(())
}

/// Answers each connection, and gives it to the set.
pub async fn serve(listener: TcpListener, set: LingeringSet<SocketAddr>) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(answer(stream, peer, set.clone()));
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let set = LingeringSet::with_hook(Limits::default(), 10_000, |peer, outcome| {
        println!("{peer}: {outcome:?}")
    });
    serve(listener, set).await
}
