//! A set that attackers fill, and honest uploads meanwhile.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lingering::{Closer, Counts, Limits};

use crate::process::{Helper, resident};

/// Of each kind.
const ATTACKERS: usize = 500;
const KINDS: [&str; 4] = ["trickle", "silent", "never-read", "flood"];
const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const LARGE: usize = 4 << 20;

pub fn measure(seconds: usize) -> io::Result<()> {
    println!(
        "| attackers | set of | most in it | their closes | memory grown | honest uploads | answered | cut, and told so | the slowest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    // Room for half of them, and for all.
    row(KINDS.len() * ATTACKERS / 2, seconds)?;
    row(KINDS.len() * ATTACKERS * 2, seconds)
}

fn row(room: usize, seconds: usize) -> io::Result<()> {
    let honest_cut = Arc::new(AtomicU64::new(0));
    let cut = honest_cut.clone();
    // The tag: whether the peer is one of the honest.
    let closer = Closer::with_hook(Limits::default(), room, move |honest, outcome| {
        if honest && outcome.is_cut() {
            cut.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = closer.clone();
    thread::spawn(move || serve(&listener, &server));

    let before = resident();
    let attackers = KINDS
        .iter()
        .map(|kind| Helper::start(&["attack".to_owned(), address.to_string(), (*kind).to_owned()]));
    let attackers = attackers.collect::<io::Result<Vec<_>>>()?;
    let full = room.min(KINDS.len() * ATTACKERS * 3 / 4) as u64;
    while closer.counts().lingering < full {
        thread::sleep(Duration::from_millis(10));
    }
    let began = Instant::now();
    let (mut honest, mut arrived, mut most, mut largest) = (0, 0, 0, 0);
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        let upload = Instant::now();
        honest += 1;
        arrived += u64::from(honest_upload(address).is_ok_and(|answer| answer == ANSWER));
        slowest = slowest.max(upload.elapsed());
        most = most.max(closer.counts().lingering);
        largest = largest.max(resident());
    }
    let counts = closer.counts();
    drop(attackers);
    let grown = largest.saturating_sub(before) as f64 / 1e6;
    let cut = honest_cut.load(Ordering::Relaxed);
    println!(
        "| {} | {room} | {most} | {} | {grown:.1} MB | {honest} | {arrived} | {cut} | {} ms |",
        KINDS.len() * ATTACKERS,
        told(&counts),
        slowest.as_millis(),
    );
    let held = most <= room as u64 && honest - arrived <= cut;
    held.then_some(())
        .ok_or_else(|| io::Error::other("an answer was lost in silence"))
}

fn told(counts: &Counts) -> String {
    format!(
        "{} crowded out, {} byte bound, {} idle, {} deadline, {} reset",
        counts.crowded, counts.byte_bound, counts.idle, counts.deadline, counts.reset
    )
}

/// The first byte says who it is: h is honest, n never reads and is answered at length.
fn serve(listener: &TcpListener, closer: &Closer<bool>) {
    let long_answer = vec![b'r'; LARGE];
    for stream in listener.incoming().flatten() {
        let mut kind = [0];
        if (&stream).read_exact(&mut kind).is_err() {
            continue;
        }
        if kind == *b"n" {
            let _ = stream.set_nonblocking(true);
            let _ = (&stream).write(&long_answer);
        } else if (&stream).write_all(ANSWER).is_err() {
            continue;
        }
        closer.add(stream, kind == *b"h");
    }
}

fn honest_upload(server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"h")?;
    let piece = [b'u'; 64_000];
    for _ in 0..125 {
        stream.write_all(&piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Connections of one kind; each that is closed is made anew.
pub fn attack(arguments: &[String]) -> io::Result<()> {
    let address: SocketAddr = arguments[0].parse().map_err(io::Error::other)?;
    let kind = arguments[1].as_str();
    let connect = || -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(if kind == "never-read" { b"n" } else { b"a" })?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let mut streams = (0..ATTACKERS).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let piece = [b'a'; 64 << 10];
    loop {
        for stream in &mut streams {
            let alive = match kind {
                "trickle" => is_open(stream.write(b"t")),
                "flood" => is_open(stream.write(&piece)),
                // Whether it was closed shows nowhere but in a write, which would not be silent.
                _ => true,
            };
            if !alive && let Ok(new) = connect() {
                *stream = new;
            }
        }
        if kind != "flood" {
            thread::sleep(Duration::from_secs(1));
            if kind != "trickle" {
                // Half of them anew, so that the set is full at all times.
                for stream in streams.iter_mut().take(ATTACKERS / 2) {
                    if let Ok(new) = connect() {
                        *stream = new;
                    }
                }
            }
        }
    }
}

fn is_open(written: io::Result<usize>) -> bool {
    written.is_ok() || written.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
