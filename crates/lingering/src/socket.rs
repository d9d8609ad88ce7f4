//! What is asked of the system, for any connected stream socket. No call here waits.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{RecvFlags, Shutdown, sockopt};

use crate::outcome::{Ended, Outcome};
use crate::state::{Event, State};

/// How much one read throws away at most. Where the kernel can drop received bytes without copying them this is address
/// space, and no memory.
const SCRATCH: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    256 << 10
} else {
    16 << 10
};

thread_local! {
    static DISCARDED: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Bytes that arrived and were not read: `FIONREAD`. A close with any of them unread sends a reset, on Linux as RFC 1122
/// 4.2.2.13 and RFC 2525 2.17 have it. `None` where the system does not say.
pub fn unread(socket: impl AsFd) -> Option<u64> {
    rustix::io::ioctl_fionread(socket).ok()
}

/// Bytes that were written and not acknowledged by the peer's kernel: `SIOCOUTQ`. A FIN that is under way counts as one
/// more. For unix sockets what the peer has not read, in kernel memory. `None` where the system does not say, which is
/// everywhere but on Linux.
pub fn unsent(socket: impl AsFd) -> Option<u64> {
    crate::outq::unsent(socket.as_fd())
}

/// SO_LINGER, if it is set.
pub fn so_linger(socket: impl AsFd) -> Option<Duration> {
    sockopt::socket_linger(socket).ok().flatten()
}

/// Switches SO_LINGER off. With 0 s the close would reset and throw away what is not acknowledged; with more it would
/// block the thread, also for a socket that never blocks.
pub(crate) fn clear_so_linger(socket: BorrowedFd<'_>) {
    if so_linger(socket).is_some() {
        // The worst of a failure is the close that the owner had asked for.
        let _ = sockopt::set_socket_linger(socket, None);
    }
}

/// A close that begins now. SO_LINGER is off from here on.
pub(crate) fn begin(socket: BorrowedFd<'_>, now: Instant) -> State {
    clear_so_linger(socket);
    begin_without_so_linger(socket, now)
}

/// The same, where SO_LINGER is known to be off.
pub(crate) fn begin_without_so_linger(socket: BorrowedFd<'_>, now: Instant) -> State {
    State::new(now, unsent(socket))
}

/// Queues our FIN behind everything that was written.
pub(crate) fn half_close(socket: BorrowedFd<'_>) -> Event {
    match rustix::net::shutdown(socket, Shutdown::Write) {
        Ok(()) => Event::HalfClosed,
        Err(error) => half_close_failed(socket, error.into()),
    }
}

/// The same, after a layer has done so by tokio's `poll_shutdown`, which keeps ENOTCONN to itself. A second half-close is
/// no harm.
#[cfg(feature = "tokio")]
pub(crate) fn half_closed_by_layer(socket: BorrowedFd<'_>) -> Event {
    match half_close(socket) {
        // The peer's FIN was there before ours, and ours is acknowledged: that is no connection any more, either.
        Event::Failed(io::ErrorKind::NotConnected) => Event::HalfClosed,
        event => event,
    }
}

/// Why a half-close failed: behind ENOTCONN may stand a reset that nobody was told of yet.
fn half_close_failed(socket: BorrowedFd<'_>, error: io::Error) -> Event {
    Event::Failed(match error.kind() {
        io::ErrorKind::NotConnected => pending_error(socket).unwrap_or(io::ErrorKind::NotConnected),
        kind => kind,
    })
}

/// The connection's own error, which is told once: SO_ERROR.
pub(crate) fn pending_error(socket: BorrowedFd<'_>) -> Option<io::ErrorKind> {
    match sockopt::socket_error(socket) {
        Ok(Err(error)) => Some(io::Error::from(error).kind()),
        _ => None,
    }
}

/// There is no connection (any more), and why, as far as somebody was not told before.
#[cfg(feature = "tokio")]
pub(crate) fn not_connected(socket: BorrowedFd<'_>) -> Option<Event> {
    match rustix::net::getpeername(socket) {
        Err(rustix::io::Errno::NOTCONN) => Some(half_close_failed(socket, io::ErrorKind::NotConnected.into())),
        _ => None,
    }
}

/// What lies there to be read, of which so much is thrown away at most. `None`: nothing yet.
pub(crate) fn read(socket: BorrowedFd<'_>, most: u64) -> Option<Event> {
    loop {
        match discard(socket, most) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            result => return Some(read_event(result)),
        }
    }
}

/// The same for a close that comes next: all that has arrived goes, since any of it would make that close a reset. A peer that
/// sends as fast as this reads does not hold it up: 16 MiB are more than a receive buffer has.
pub(crate) fn read_arrived(socket: BorrowedFd<'_>, most: u64) -> Option<Event> {
    let most = most.min(16 << 20);
    let mut received = match read(socket, most)? {
        Event::Received(bytes) => bytes,
        end => return Some(end),
    };
    // Asked before each read, so that an error, which is told once, is not found here.
    while received < most
        && unread(socket).is_some_and(|bytes| bytes > 0)
        && let Some(Event::Received(bytes)) = read(socket, most - received)
    {
        received += bytes;
    }
    Some(Event::Received(received))
}

/// Throws away what lies in the socket's error queue: completions of MSG_ZEROCOPY, stamps of SO_TIMESTAMPING. As long as
/// any lies there the socket is ready (POLLERR), whether it has something to read or not. To be called when it was ready and had nothing.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn empty_error_queue(socket: BorrowedFd<'_>) {
    // Unix sockets do not heed MSG_ERRQUEUE: they would be read from.
    if !is_unix(socket) {
        while rustix::net::recv(socket, &mut [0_u8; 1], RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT).is_ok() {}
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn empty_error_queue(_: BorrowedFd<'_>) {}

/// Whether what was written lies in the peer's own queue, from where nothing takes it. `false` where it is not asked for.
pub(crate) fn is_unix(_socket: BorrowedFd<'_>) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return sockopt::socket_domain(_socket).is_ok_and(|family| family == rustix::net::AddressFamily::UNIX);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    false
}

/// What a read that did not have to wait tells.
pub(crate) fn read_event(result: io::Result<u64>) -> Event {
    match result {
        Ok(0) => Event::EndOfFile,
        Ok(bytes) => Event::Received(bytes),
        Err(error) => Event::Failed(error.kind()),
    }
}

/// Nothing happened until now.
pub(crate) fn look(socket: BorrowedFd<'_>, state: &State) -> Event {
    let unsent = unsent_data(socket, state);
    if state.reads() || unsent.is_none_or(|bytes| bytes == 0) {
        return Event::Looked(unsent);
    }
    // Behind the peer's FIN reads find its end, and no reset.
    match pending_error(socket) {
        Some(kind) => Event::Failed(kind),
        None if is_unix(socket) => Event::Looked(None),
        None => Event::Looked(unsent),
    }
}

/// What became of a close that ends now; asked while the socket is still open.
pub(crate) fn outcome(socket: BorrowedFd<'_>, state: &State, ended: Ended, now: Instant) -> Outcome {
    let unsent = match state.is_acknowledged() {
        true => Some(0),
        false => unsent_data(socket, state),
    };
    Outcome {
        ended,
        drained: state.drained(),
        unsent,
        unsent_is_there: unsent > Some(0) && is_unix(socket),
        // Behind the peer's FIN there is nothing.
        unread: match ended {
            Ended::Eof => Some(0),
            _ => unread(socket),
        },
        good_bye_failed: state.good_bye_failed(),
        lasted: now.saturating_duration_since(state.began()),
    }
}

fn unsent_data(socket: BorrowedFd<'_>, state: &State) -> Option<u64> {
    match state.is_half_closed() {
        true => crate::outq::unsent_before_fin(socket),
        false => unsent(socket),
    }
}

/// Reads and throws away at most so many bytes. 0: the peer's FIN. `WouldBlock`: nothing is there.
pub(crate) fn discard(socket: BorrowedFd<'_>, most: u64) -> io::Result<u64> {
    DISCARDED
        .try_with(|scratch| discard_into(&mut scratch.borrow_mut(), socket, most))
        // This thread ends, and something that it dropped is closed after the buffer.
        .unwrap_or_else(|_| discard_into(&mut [0; 4 << 10], socket, most))
}

fn discard_into(scratch: &mut [u8], socket: BorrowedFd<'_>, most: u64) -> io::Result<u64> {
    let length = usize::try_from(most).unwrap_or(usize::MAX).clamp(1, scratch.len());
    let (_, received) = rustix::net::recv(socket, &mut scratch[..length], discarding())?;
    Ok(received as u64)
}

/// tcp(7): with MSG_TRUNC received bytes are discarded and not copied. Unix sockets do not heed it, and copy.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn discarding() -> RecvFlags {
    RecvFlags::DONTWAIT | RecvFlags::TRUNC
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn discarding() -> RecvFlags {
    RecvFlags::DONTWAIT
}

/// Windows has no MSG_DONTWAIT: see `never_block`.
#[cfg(windows)]
fn discarding() -> RecvFlags {
    RecvFlags::empty()
}

/// Makes reads return at once, where a flag of each read cannot say it.
pub(crate) fn never_block(socket: BorrowedFd<'_>) -> io::Result<()> {
    if cfg!(windows) {
        rustix::io::ioctl_fionbio(socket, true)?;
    }
    Ok(())
}
