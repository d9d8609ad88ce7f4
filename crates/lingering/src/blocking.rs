//! One lingering close, in the thread that asks for it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::limits::Limits;
use crate::outcome::Outcome;
use crate::socket;
use crate::state::{Event, Next, State};

/// Closes a connected stream socket when its peer is done with it, or a bound is reached: `shutdown(SHUT_WR)`, then what
/// still comes is read and thrown away, then the close. SO_LINGER is switched off. Read timeouts do not matter.
///
/// Takes what owns a socket: `TcpStream`, `UnixStream`, `OwnedFd` (`OwnedSocket` on Windows), socket2's `Socket`. Clones that are
/// still open keep it open. Of TLS on a blocking socket say good-bye and flush first (`conn.send_close_notify()`,
/// `conn.write_tls()`), and give the socket.
///
/// ```
/// use std::io::{Read, Write};
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// # client.write_all(&[b'x'; 4096])?;
/// # let client = std::thread::spawn(move || {
/// #     let mut answer = String::new();
/// #     client.read_to_string(&mut answer).map(|_| answer)
/// # });
/// let (mut stream, _) = listener.accept()?;
/// stream.read_exact(&mut [0; 1024])?;
/// stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
/// let outcome = lingering::close(stream, &lingering::Limits::default());
/// assert_eq!(outcome.ended, lingering::Ended::Eof);
/// assert_eq!(outcome.drained, 3072);
/// # assert!(client.join().unwrap()?.starts_with("HTTP/1.1 413"));
/// # std::io::Result::Ok(())
/// ```
///
/// What is only lent cannot be closed:
///
/// ```compile_fail,E0277
/// fn end(stream: std::net::TcpStream) {
///     lingering::close(&stream, &lingering::Limits::default());
/// }
/// ```
pub fn close(stream: impl Into<OwnedFd>, limits: &Limits) -> Outcome {
    let stream = stream.into();
    let socket = stream.as_fd();
    let mut state = socket::begin(socket, Instant::now());
    state.writes_no_more();
    let mut event = match socket::never_block(socket) {
        Ok(()) => socket::half_close(socket),
        Err(error) => Event::Failed(error.kind()),
    };
    loop {
        let now = Instant::now();
        match state.on(event, now, limits) {
            Next::Close(ended) => return socket::outcome(socket, &state, ended, now),
            Next::Until(due) => event = next_event(socket, &state, due, limits),
        }
    }
}

fn next_event(socket: BorrowedFd<'_>, state: &State, due: Option<Instant>, limits: &Limits) -> Event {
    let mut woken = false;
    loop {
        // Whatever it was that woke us: no socket that is ready without end may outlast a bound.
        let is_due = due.is_some_and(|due| due <= Instant::now());
        let read = match is_due {
            true => socket::read_arrived,
            false => socket::read,
        };
        if state.reads()
            && let Some(event) = read(socket, state.allowance(limits))
        {
            return event;
        }
        if is_due {
            return socket::look(socket, state);
        }
        if !state.reads() {
            // For poll it is ready without end: its end lies there. What is waited for are acknowledgements.
            thread::sleep(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
            continue;
        }
        if woken {
            socket::empty_error_queue(socket);
        }
        woken = match wait(socket, due) {
            Ok(woken) => woken,
            Err(error) => return Event::Failed(error.kind()),
        };
    }
}

/// Waits for something to read, until the moment. Whether the socket woke us.
fn wait(socket: BorrowedFd<'_>, due: Option<Instant>) -> io::Result<bool> {
    let patience = patience(due);
    match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How long to wait until the moment; at most an hour, which every system's poll takes.
pub(crate) fn patience(due: Option<Instant>) -> Timespec {
    const LONGEST: Duration = Duration::from_secs(3600);
    let left = due.map_or(LONGEST, |due| due.saturating_duration_since(Instant::now()));
    let left = left.min(LONGEST);
    Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos() as _,
    }
}
