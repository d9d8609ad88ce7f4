//! A server of threads that block: each thread answers and goes on, and one more closes all connections.
//!
//! `cargo run -p lingering --example blocking -- 127.0.0.1:8080`, then
//! `head -c 8M /dev/zero | curl -T - http://127.0.0.1:8080/`

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use lingering::{Closer, Limits};

/// Reads the request's head, and answers without a look at its body.
fn answer(stream: &TcpStream) -> io::Result<()> {
    // A head has an end; a server for strangers would bound it in time too.
    let head = io::Read::take(stream, 64 << 10);
    for line in BufReader::with_capacity(1 << 10, head).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let answer = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 10\r\n\r\ntoo large\n";
    (&mut &*stream).write_all(answer)
}

/// A thread for each connection; the closer closes it.
pub fn serve(listener: &TcpListener, closer: &Closer<SocketAddr>) -> io::Result<()> {
    thread::scope(|scope| {
        loop {
            let (stream, peer) = listener.accept()?;
            scope.spawn(move || match answer(&stream) {
                // `lingering::close(stream, &limits)` would do the same in this thread, which then is busy until the peer
                // is done.
                Ok(()) => closer.add(stream, peer),
                Err(error) => eprintln!("{peer}: {error}"),
            });
        }
    })
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("http://{}/", listener.local_addr()?);
    let closer = Closer::with_hook(Limits::default(), 10_000, |peer, outcome| {
        println!("{peer}: {outcome:?}")
    })?;
    serve(&listener, &closer)
}
