//! One connection, and what can be done to it exactly: never a byte more from the kernel than was asked for.

use std::mem::ManuallyDrop;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::failure::Failure;
use super::http::Dialogue;
use super::script::{Side, SocketOption};

/// How often a state that nobody announces is looked at.
const GLANCE: Duration = Duration::from_micros(100);

/// A connection. It is never closed but by [`Connection::close`]: its socket lives until the process ends.
#[derive(Debug)]
pub(super) struct Connection {
    /// An object with the descriptor's number. Dropping it would close the number a second time: a script may have done so
    /// already (`close fd of`), and the number may be somebody else's by now, which is the point of that statement.
    socket: ManuallyDrop<Socket>,
    /// Its own end.
    pub(super) local: Option<SocketAddrV4>,
    /// Its other end.
    pub(super) peer: SocketAddrV4,
    /// It was opened from here.
    pub(super) connected: bool,
    /// Its own FIN was sent or queued by a shutdown.
    wrote_end: AtomicBool,
    /// The connection was closed, and knows it.
    closed: AtomicBool,
    /// What was asked and answered on it.
    pub(super) dialogue: Mutex<Dialogue>,
}

/// What a poll without waiting saw.
#[derive(Clone, Copy, Debug)]
struct Glance {
    /// The peer's FIN or RST is there.
    ended: bool,
    /// An error is pending.
    error: bool,
    /// Both directions are over.
    hung_up: bool,
}

impl Connection {
    /// Opens a connection, within the time to `deadline`. An error comes with the own end where the kernel had chosen one.
    pub(super) fn open(
        peer: SocketAddrV4,
        options: &[SocketOption],
        deadline: Instant,
    ) -> Result<Self, (Failure, Option<SocketAddrV4>)> {
        let begin = || -> Result<Socket, Failure> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            options.iter().try_for_each(|option| set(&socket, option))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = begin().map_err(|failure| (failure, None))?;
        let started = socket.connect(&peer.into());
        let local = socket.local_addr().ok().and_then(|address| address.as_socket_ipv4());
        let finish = || -> Result<(), Failure> {
            match started {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
                started => return Ok(started?),
            }
            wait(&socket, PollFlags::OUT, deadline)?;
            match socket.take_error()? {
                Some(error) => Err(error.into()),
                None => Ok(()),
            }
        };
        match finish() {
            Ok(()) => Ok(Connection::new(socket, peer, true)),
            Err(failure) => Err((failure, local)),
        }
    }

    /// A connection that was accepted.
    pub(super) fn accepted(socket: Socket, peer: SocketAddrV4) -> Self {
        Connection::new(socket, peer, false)
    }

    fn new(socket: Socket, peer: SocketAddrV4, connected: bool) -> Self {
        let local = socket.local_addr().ok().and_then(|address| address.as_socket_ipv4());
        let socket = ManuallyDrop::new(socket);
        Connection {
            socket,
            local,
            peer,
            connected,
            wrote_end: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dialogue: Mutex::default(),
        }
    }

    fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Exactly one `recv`. 0 is the end of file.
    pub(super) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Failure> {
        self.receive_with(buffer, MsgFlags::empty(), deadline)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: MsgFlags, deadline: Instant) -> Result<usize, Failure> {
        loop {
            match recv(self.number(), buffer, flags | MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => wait(&self.socket, PollFlags::IN | PollFlags::RDHUP, deadline)?,
                Err(Errno::EINTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Reads `size` bytes and hands them on. Returns how many came, and why there are no more of them.
    pub(super) fn read(&self, size: u64, deadline: Instant, sink: &mut dyn FnMut(&[u8])) -> (u64, Result<(), Failure>) {
        let mut buffer = vec![0; size.min(256 * 1024) as usize];
        let mut done = 0;
        while done < size {
            let most = (size - done).min(buffer.len() as u64) as usize;
            match self.receive(&mut buffer[..most], deadline) {
                Ok(0) => return (done, Err(Failure::EndOfFile)),
                Ok(count) => {
                    sink(&buffer[..count]);
                    done += count as u64;
                }
                Err(failure) => return (done, Err(failure)),
            }
        }
        (done, Ok(()))
    }

    /// Reads to the end of the first `mark`, and not one byte further. Before that is there, nothing is read at all.
    ///
    /// [`Failure::EndOfFile`] comes with whether any byte lay there; more than `limit` bytes without it are malformed.
    pub(super) fn read_through(
        &self,
        mark: &[u8],
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, (Failure, usize)> {
        let there = self.peek_through(mark, limit, deadline)?;
        let mut found = vec![];
        let (count, result) = self.read(there.len() as u64, deadline, &mut |bytes| {
            found.extend_from_slice(bytes)
        });
        result.map(|()| found).map_err(|failure| (failure, count as usize))
    }

    /// What [`Connection::read_through`] would read, left where it is.
    pub(super) fn peek_through(
        &self,
        mark: &[u8],
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, (Failure, usize)> {
        let mut buffer = vec![0; 4096.min(limit)];
        let mut seen = 0;
        loop {
            // Looked at before the queue: what the peer sent before its end is in the queue then.
            let glance = self.glance().map_err(|failure| (failure, seen))?;
            let fail = |failure| (failure, seen);
            let count = self
                .receive_with(&mut buffer, MsgFlags::MSG_PEEK, deadline)
                .map_err(fail)?;
            if let Some(at) = buffer[..count].windows(mark.len()).position(|window| window == mark) {
                buffer.truncate(at + mark.len());
                return Ok(buffer);
            }
            if count == buffer.len() {
                if count == limit {
                    return Err((Failure::Malformed, count));
                }
                buffer.resize((count * 4).min(limit), 0);
                continue;
            }
            let stands_still = count == seen;
            seen = count;
            if count == 0 {
                return Err((Failure::EndOfFile, 0));
            }
            if glance.ended && stands_still {
                return Err((self.what_reading_meets(), count));
            }
            pause(deadline).map_err(|failure| (failure, seen))?;
        }
    }

    /// Writes what `fill` puts into the buffer until it puts nothing. Returns how many bytes the kernel took.
    pub(super) fn write(&self, deadline: Instant, fill: &mut dyn FnMut(&mut Vec<u8>)) -> (u64, Result<(), Failure>) {
        self.write_unless(PollFlags::empty(), deadline, fill)
    }

    /// The same, and stops as soon as there is something to read: an answer, an end, an error.
    pub(super) fn write_until_answered(
        &self,
        deadline: Instant,
        fill: &mut dyn FnMut(&mut Vec<u8>),
    ) -> (u64, Result<(), Failure>) {
        self.write_unless(PollFlags::IN | PollFlags::RDHUP, deadline, fill)
    }

    fn write_unless(
        &self,
        stops: PollFlags,
        deadline: Instant,
        fill: &mut dyn FnMut(&mut Vec<u8>),
    ) -> (u64, Result<(), Failure>) {
        let mut buffer = vec![];
        let mut taken = 0;
        loop {
            buffer.clear();
            fill(&mut buffer);
            if buffer.is_empty() {
                return (taken, Ok(()));
            }
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                if !stops.is_empty() && !look(&self.socket, stops, Duration::ZERO).is_ok_and(|seen| seen.is_empty()) {
                    return (taken, Ok(()));
                }
                let written = match send(self.number(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                    Ok(count) => {
                        rest = &rest[count..];
                        taken += count as u64;
                        Ok(())
                    }
                    Err(Errno::EAGAIN) => wait(&self.socket, PollFlags::OUT | stops, deadline),
                    Err(Errno::EINTR) => Ok(()),
                    Err(errno) => Err(errno.into()),
                };
                if let Err(failure) = written {
                    return (taken, Err(failure));
                }
            }
        }
    }

    /// Waits, without reading, until `size` bytes lie in the receive queue.
    pub(super) fn await_unread(&self, size: u64, deadline: Instant) -> Result<u64, Failure> {
        loop {
            let glance = self.glance()?;
            let unread = rustix::io::ioctl_fionread(&*self.socket)?;
            if unread >= size {
                return Ok(unread);
            }
            if glance.ended {
                return Err(self.what_reading_meets());
            }
            pause(deadline)?;
        }
    }

    /// Waits until the peer's kernel has acknowledged everything, a FIN too.
    pub(super) fn await_sent(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let glance = self.glance()?;
            if glance.error {
                return Err(self.take_error().unwrap_or(Failure::Errno(Errno::ECONNRESET)));
            }
            match self.unacknowledged()? {
                Some(0) => return Ok(()),
                // A connection that has ended on both sides is in no list any more.
                None if glance.hung_up && self.wrote_end.load(Ordering::Relaxed) => return Ok(()),
                None if glance.hung_up => return Err(Failure::Errno(Errno::ECONNRESET)),
                _ => pause(deadline)?,
            }
        }
    }

    /// What SIOCOUTQ tells: bytes written and not acknowledged. None if the kernel lists the socket no more.
    ///
    /// Read from /proc because there is no safe wrapper of that ioctl; both are `write_seq - snd_una`.
    fn unacknowledged(&self) -> Result<Option<u64>, Failure> {
        let inode = rustix::fs::fstat(&*self.socket)?.st_ino.to_string();
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
        for line in table.lines() {
            let mut fields = line.split_ascii_whitespace();
            let queues = fields.nth(4);
            if fields.nth(4) == Some(inode.as_str()) {
                let sent = queues.and_then(|queues| queues.split_once(':'));
                return Ok(sent.and_then(|(sent, _)| u64::from_str_radix(sent, 16).ok()));
            }
        }
        Ok(None)
    }

    /// Waits, without reading, for the peer's FIN.
    pub(super) fn await_fin(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let glance = self.glance()?;
            if glance.error {
                return Err(self.take_error().unwrap_or(Failure::Errno(Errno::ECONNRESET)));
            }
            if glance.ended {
                return Ok(());
            }
            pause(deadline)?;
        }
    }

    /// Waits, without reading, for the peer's RST. The error stays pending: the next read or write meets it.
    pub(super) fn await_reset(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let glance = self.glance()?;
            if glance.error || glance.hung_up && !self.wrote_end.load(Ordering::Relaxed) {
                return Ok(());
            }
            pause(deadline)?;
        }
    }

    /// Whether an idle connection is no good any more: the peer's FIN or RST is there, or bytes that nobody asked for, or it
    /// was closed here.
    pub(super) fn is_spoilt(&self) -> Result<bool, Failure> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let glance = self.glance()?;
        Ok(glance.ended || glance.error || glance.hung_up || rustix::io::ioctl_fionread(&*self.socket)? > 0)
    }

    fn glance(&self) -> Result<Glance, Failure> {
        let flags = look(&self.socket, PollFlags::RDHUP, Duration::ZERO)?;
        if flags.contains(PollFlags::NVAL) {
            return Err(Failure::Errno(Errno::EBADF));
        }
        Ok(Glance {
            ended: flags.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR),
            error: flags.contains(PollFlags::ERR),
            hung_up: flags.contains(PollFlags::HUP),
        })
    }

    /// What a `recv` would end with, once it had taken what still lies there.
    ///
    /// After a FIN it is the end of file, also where a reset came behind it: the kernel keeps EPIPE for that (`tcp_reset`), and
    /// tells only writers and who asks for SO_ERROR.
    fn what_reading_meets(&self) -> Failure {
        match self.take_error() {
            None | Some(Failure::Errno(Errno::EPIPE)) => Failure::EndOfFile,
            Some(failure) => failure,
        }
    }

    fn take_error(&self) -> Option<Failure> {
        match self.socket.take_error() {
            Ok(error) => error.map(Failure::from),
            Err(error) => Some(error.into()),
        }
    }

    /// `shutdown`.
    pub(super) fn shutdown(&self, side: Side) -> Result<(), Failure> {
        let how = match side {
            Side::Write => std::net::Shutdown::Write,
            Side::Read => std::net::Shutdown::Read,
            Side::Both => std::net::Shutdown::Both,
        };
        self.socket.shutdown(how)?;
        if side != Side::Read {
            self.wrote_end.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets an option.
    pub(super) fn set(&self, option: &SocketOption) -> Result<(), Failure> {
        set(&self.socket, option)
    }

    /// Closes the connection. Like everything else it goes by the descriptor's number, whosever that is by now.
    pub(super) fn close(&self) -> Result<(), Failure> {
        self.closed.store(true, Ordering::Relaxed);
        self.close_descriptor()
    }

    /// Closes the connection unless [`Connection::close`] did.
    pub(super) fn close_once(&self) -> Result<(), Failure> {
        if self.closed.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.close()
        }
    }

    /// Closes the descriptor's number behind the connection's back.
    pub(super) fn close_descriptor(&self) -> Result<(), Failure> {
        Ok(nix::unistd::close(self.number())?)
    }
}

/// Sets an option of a socket.
pub(super) fn set(socket: &Socket, option: &SocketOption) -> Result<(), Failure> {
    match *option {
        SocketOption::Linger(time) => socket.set_linger(time)?,
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on)?,
        SocketOption::UserTimeout(time) => socket.set_tcp_user_timeout(Some(time))?,
        SocketOption::KeepAlive { idle, interval, count } => {
            let keepalive = TcpKeepalive::new()
                .with_time(idle)
                .with_interval(interval)
                .with_retries(count);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        SocketOption::ReceiveBuffer(size) => socket.set_recv_buffer_size(size)?,
        SocketOption::SendBuffer(size) => socket.set_send_buffer_size(size)?,
    }
    Ok(())
}

/// Waits a moment before the next look, or fails because there is no time left.
pub(super) fn pause(deadline: Instant) -> Result<(), Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::Timeout);
    }
    std::thread::sleep(GLANCE.min(left));
    Ok(())
}

/// Waits until one of these is so, or an error is.
fn wait(socket: &Socket, flags: PollFlags, deadline: Instant) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = look(socket, flags, left)?;
        if !seen.is_empty() {
            return Ok(());
        }
        if left.is_zero() {
            return Err(Failure::Timeout);
        }
    }
}

/// One poll.
fn look(socket: &Socket, flags: PollFlags, wait: Duration) -> Result<PollFlags, Failure> {
    let mut descriptors = [PollFd::new(socket, flags)];
    let time = Timespec {
        tv_sec: wait.as_secs() as i64,
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(&mut descriptors, Some(&time)) {
        Ok(_) => Ok(descriptors[0].revents()),
        Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno.into()),
    }
}
