//! Small requests and responses, by two threads on one core: there every instruction of the kernel counts, and no wake-up of another core.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};

use super::{Slice, Traffic};
use crate::bench::core::Core;

const REQUEST: &[u8] = &[b'r'; 100];
const RESPONSE: &[u8] = &[b'a'; 1000];
/// Ends a server.
const GOOD_BYE: &[u8] = b"g";
/// How many are made between two looks at the clock.
const BATCH: u64 = 16;

/// Client and server.
pub struct PingPong {
    /// The same for all slices, so that what is in TIME-WAIT is no more than the ports to one address. The server closes first, and the
    /// client's port is free at once.
    listener: TcpListener,
    address: SocketAddr,
    keep_alive: bool,
    core: Core,
}

impl PingPong {
    pub fn over_one_connection() -> Result<PingPong> {
        PingPong::new(true)
    }

    pub fn over_a_connection_each() -> Result<PingPong> {
        PingPong::new(false)
    }

    fn new(keep_alive: bool) -> Result<PingPong> {
        let listener = TcpListener::bind("127.0.0.1:0").context("loopback")?;
        let address = listener.local_addr()?;
        let [core, _] = Core::two()?;
        Ok(PingPong {
            listener,
            address,
            keep_alive,
            core,
        })
    }

    fn serve(&self) -> Result<()> {
        self.core.hold_me()?;
        loop {
            let (stream, _) = self.listener.accept().context("accept")?;
            if !answer(stream, self.keep_alive)? {
                return Ok(());
            }
        }
    }

    fn ask(&self, span: Duration) -> Result<Slice> {
        self.core.hold_me()?;
        let slice = if self.keep_alive {
            let mut stream = self.connect()?;
            measure(span, || request(&mut stream))
        } else {
            measure(span, || {
                let mut stream = self.connect()?;
                request(&mut stream)?;
                // The server has closed: the end of the response.
                let more = stream.read(&mut [0])?;
                (more == 0)
                    .then_some(())
                    .ok_or_else(|| anyhow!("more than the response came"))
            })
        };
        self.connect()?.write_all(GOOD_BYE)?;
        slice
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).context("connect")?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Traffic for PingPong {
    fn slice(&mut self, span: Duration) -> Result<Slice> {
        let this = &*self;
        std::thread::scope(|scope| {
            let server = scope.spawn(|| this.serve());
            let client = scope.spawn(|| this.ask(span));
            let failed = |_| anyhow!("a thread of the benchmark panicked");
            let slice = client.join().map_err(failed)??;
            server.join().map_err(failed)??;
            Ok(slice)
        })
    }
}

/// False when that was the good-bye.
fn answer(mut stream: TcpStream, keep_alive: bool) -> Result<bool> {
    let mut request = [0; 256];
    stream.set_nodelay(true)?;
    loop {
        match stream.read(&mut request).context("the server's read")? {
            0 => return Ok(true),
            read if &request[..read] == GOOD_BYE => return Ok(false),
            _ => stream.write_all(RESPONSE).context("the server's write")?,
        }
        if !keep_alive {
            return Ok(true);
        }
    }
}

fn request(stream: &mut TcpStream) -> Result<()> {
    let mut response = [0; RESPONSE.len()];
    stream.write_all(REQUEST).context("the client's write")?;
    stream.read_exact(&mut response).context("the client's read")
}

fn measure(span: Duration, mut one: impl FnMut() -> Result<()>) -> Result<Slice> {
    let mut requests = 0;
    // The first finds the threads asleep.
    for _ in 0..BATCH {
        one()?;
    }
    let used = processor_time();
    let begin = Instant::now();
    while begin.elapsed() < span {
        for _ in 0..BATCH {
            one()?;
        }
        requests += BATCH;
    }
    Ok(Slice {
        requests,
        elapsed: begin.elapsed(),
        processor: processor_time().saturating_sub(used),
    })
}

/// Of this process, in which nobody but client and server does anything.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
