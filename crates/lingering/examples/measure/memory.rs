//! Memory of connections that linger, in this process.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lingering::{Closer, Counts, Limits, LingeringSet};

use crate::process::{Helper, resident};

const HOUR: Duration = Duration::from_secs(3600);

pub fn measure(number: usize) -> io::Result<()> {
    println!("| {number} connections in | the sockets, before | lingering | a connection, in all | of it lingering |");
    println!("|---|---|---|---|---|");
    let limits = Limits::default().idle(HOUR).total(HOUR);

    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let set = LingeringSet::new(limits, number);
    let (add, counts) = (set.clone(), set.clone());
    row(
        "`LingeringSet`",
        number,
        |stream| {
            stream.set_nonblocking(true)?;
            tokio::net::TcpStream::from_std(stream)
        },
        |stream| add.add(stream, ()),
        || counts.counts(),
    )?;
    runtime.block_on(set.finish(Duration::ZERO));

    let closer = Closer::new(limits, number)?;
    row(
        "`Closer`",
        number,
        Ok,
        |stream| closer.add(stream, ()),
        || closer.counts(),
    )?;
    closer.finish(Duration::ZERO);
    Ok(())
}

fn row<S>(
    what: &str,
    number: usize,
    adopt: impl Fn(TcpStream) -> io::Result<S>,
    add: impl Fn(S),
    counts: impl Fn() -> Counts,
) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut streams = Vec::with_capacity(number);
    let before = resident();
    let mut peers = Helper::start(&["hold".to_owned(), address, number.to_string()])?;
    for _ in 0..number {
        streams.push(adopt(listener.accept()?.0)?);
    }
    let accepted = resident();
    for stream in streams.drain(..) {
        add(stream);
    }
    // Each sends 1000 bytes once all are there, so that each was awake.
    if let Some(stdin) = &mut peers.0.stdin {
        stdin.write_all(b"!")?;
    }
    let sent = 1000 * number as u64;
    while counts().drained < sent {
        std::thread::sleep(Duration::from_millis(10));
    }
    let held = resident();
    assert_eq!(counts().lingering, number as u64);
    let each = |bytes: u64| bytes as f64 / number as f64;
    let grown = held.saturating_sub(before);
    let sockets = accepted.saturating_sub(before);
    println!(
        "| {what} | {:.1} MB | {:.1} MB | {:.0} bytes | {:.0} bytes |",
        sockets as f64 / 1e6,
        grown as f64 / 1e6,
        each(grown),
        each(grown.saturating_sub(sockets)),
    );
    Ok(())
}

/// The peers: so many connections, which send when they are told, and stay.
pub fn hold(arguments: &[String]) -> io::Result<()> {
    let address: SocketAddr = arguments[0].parse().map_err(io::Error::other)?;
    let number: usize = arguments[1].parse().map_err(io::Error::other)?;
    let mut streams = (0..number)
        .map(|_| TcpStream::connect(address))
        .collect::<io::Result<Vec<_>>>()?;
    io::stdin().read_exact(&mut [0])?;
    for stream in &mut streams {
        stream.write_all(&[0; 1000])?;
    }
    // Until our parent ends us, or itself.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
