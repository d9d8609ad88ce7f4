//! Early answers to large uploads, by server and way of closing, to peers of two kinds.

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lingering::{Closer, Limits, Lingering, LingeringSet};

const UPLOAD: usize = 8_000_000;
const TEXT: &str = "too large\n";

/// What a peer does when it cannot send any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// It gives up.
    GivesUp,
    /// It looks whether there is an answer.
    Reads,
}

#[derive(Clone, Copy)]
enum Way {
    Plain,
    Lingering,
    Set,
}

pub fn measure(rounds: usize) -> io::Result<()> {
    println!(
        "| server | close | answers to a peer that gives up when it cannot send | to one that still reads | ms each |"
    );
    println!("|---|---|---|---|---|");
    row("hyper", "as it is", Way::Plain, rounds, hyper_server)?;
    row("hyper", "`Lingering::new`", Way::Lingering, rounds, hyper_server)?;
    row("hyper", "`Lingering::with_set`", Way::Set, rounds, hyper_server)?;
    row("blocking", "as it is", Way::Plain, rounds, blocking_server)?;
    row("blocking", "`close`", Way::Lingering, rounds, blocking_server)?;
    row("blocking", "`Closer`", Way::Set, rounds, blocking_server)
}

fn row(server: &str, close: &str, way: Way, rounds: usize, start: fn(Way) -> io::Result<SocketAddr>) -> io::Result<()> {
    let address = start(way)?;
    let began = Instant::now();
    let arrived = |peer: Peer| {
        (0..rounds)
            .filter(|_| upload(address, peer).is_ok_and(is_whole))
            .count()
    };
    let (gives_up, reads) = (arrived(Peer::GivesUp), arrived(Peer::Reads));
    let each = began.elapsed().as_secs_f64() * 1000.0 / (2 * rounds) as f64;
    println!("| {server} | {close} | {gives_up} of {rounds} | {reads} of {rounds} | {each:.2} |");
    let promised = matches!(way, Way::Plain) || (gives_up, reads) == (rounds, rounds);
    promised
        .then_some(())
        .ok_or_else(|| io::Error::other("an answer was lost"))
}

fn is_whole(answer: String) -> bool {
    answer.starts_with("HTTP/1.1 413 ") && answer.ends_with(TEXT)
}

fn upload(server: SocketAddr, peer: Peer) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    write!(stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n")?;
    let piece = [b'u'; 64 << 10];
    let mut left = UPLOAD;
    while left > 0 {
        match stream.write(&piece[..left.min(piece.len())]) {
            Ok(bytes) => left -= bytes,
            Err(error) if peer == Peer::GivesUp => return Err(error),
            Err(_) => break,
        }
    }
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // A whole answer is one whatever came behind it.
    match peer {
        Peer::GivesUp => read.map(|_| answer),
        Peer::Reads => Ok(answer),
    }
}

/// Servers live until the program ends.
fn hyper_server(way: Way) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    thread::spawn(move || tokio::runtime::Runtime::new()?.block_on(serve(listener, way)));
    Ok(address)
}

async fn serve(listener: TcpListener, way: Way) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let set = LingeringSet::new(Limits::default(), 10_000);
    loop {
        let (stream, _) = listener.accept().await?;
        match way {
            Way::Plain => drop(tokio::spawn(connection(stream))),
            Way::Lingering => drop(tokio::spawn(connection::<Lingering<_>>(Lingering::new(
                stream,
                Limits::default(),
            )))),
            Way::Set => drop(tokio::spawn(connection(Lingering::with_set(stream, set.clone(), ())))),
        }
    }
}

async fn connection<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: S) {
    let service = service_fn(refuse);
    // Its errors are the peers', which count for themselves.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn refuse(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(TEXT));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    Ok(response)
}

fn blocking_server(way: Way) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let closer = Closer::new(Limits::default(), 10_000)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let closer = closer.clone();
            thread::spawn(move || {
                if answer(&stream).is_err() {
                    return;
                }
                match way {
                    Way::Plain => drop(stream),
                    Way::Lingering => drop(lingering::close(stream, &Limits::default())),
                    Way::Set => closer.add(stream, ()),
                }
            });
        }
    });
    Ok(address)
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::with_capacity(1 << 10, stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = TEXT.len();
    let answer =
        format!("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{TEXT}");
    (&mut &*stream).write_all(answer.as_bytes())
}
