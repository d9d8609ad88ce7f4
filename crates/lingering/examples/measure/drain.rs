//! Processor time of the receiving thread for what is thrown away, and for the same when it is read.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lingering::{Limits, close};

use crate::process::thread_time;

pub fn measure(gigabytes: usize) -> io::Result<()> {
    println!("| {gigabytes} GB over loopback | processor time a GB | GB/s |");
    println!("|---|---|---|");
    let hour = Duration::from_secs(3600);
    let limits = Limits::default().bytes(u64::MAX).idle(hour).total(hour);
    row("`close`", gigabytes, |stream| close(stream, &limits).drained)?;
    row("read into 64 KiB", gigabytes, |mut stream| {
        let mut buffer = vec![0; 64 << 10];
        let mut received = 0;
        while let Ok(bytes) = stream.read(&mut buffer) {
            received += bytes as u64;
            if bytes == 0 {
                break;
            }
        }
        received
    })
}

fn row(what: &str, gigabytes: usize, receive: impl FnOnce(TcpStream) -> u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = thread::spawn(move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![b'u'; 1_000_000];
        for _ in 0..1000 * gigabytes {
            stream.write_all(&piece)?;
        }
        Ok(())
    });
    let (stream, _) = listener.accept()?;
    let (began, before) = (Instant::now(), thread_time());
    let received = receive(stream);
    let (lasted, spent) = (began.elapsed(), thread_time() - before);
    assert_eq!(received, gigabytes as u64 * 1_000_000_000);
    sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
    println!(
        "| {what} | {:.0} ms | {:.2} |",
        spent.as_secs_f64() * 1000.0 / gigabytes as f64,
        gigabytes as f64 / lasted.as_secs_f64()
    );
    Ok(())
}
