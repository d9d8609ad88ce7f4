//! One connection of our own, and the moment of everything that happens to it.
//!
//! Nothing here waits longer than it is told to, and everything stops within [`SLICE`] when the user asks to stop.

mod log;
mod open;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::ClientConnection;
use socket2::Socket;

pub use log::{Broken, Log, Roll};
pub use open::{Buffers, Dial, OpenError, TlsDial};

use crate::gate::Permit;
use crate::stop::Stop;

/// Longest wait without a look at whether to stop.
pub const SLICE: Duration = Duration::from_millis(100);
/// Received bytes that wait for whoever drives the connection; then nothing more is read.
const INBOX: usize = 256 << 10;
/// Taken at most of what comes after a wait is over: more than a kernel holds, and not what a peer sends for ever.
const OVERDUE: u64 = 8 << 20;
/// Read at once.
const CHUNK: usize = 32 << 10;

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const PEER_CLOSED: PollFlags = PollFlags::RDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const PEER_CLOSED: PollFlags = PollFlags::empty();

/// An open connection.
pub struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    stop: Stop,
    log: Log,
    roll: Arc<Roll>,
    inbox: Vec<u8>,
    /// Nothing more will be read: the peer's FIN was read, or an error.
    read_all: bool,
    /// We sent FIN.
    shut: bool,
    /// Bytes received until the first step whose time was over when it began; `None` while there is time.
    overdue: Option<u64>,
    _permit: Permit,
}

/// What happened next.
#[derive(Debug)]
pub enum Step {
    /// The kernel, or TLS, took so many of the bytes.
    Sent(usize),
    /// So many bytes came: [`Connection::take`] has them.
    Received(usize),
    /// The peer's FIN, after all data. Sending may still go on.
    Closed,
    /// A reset or another end by error, after all data that came before it.
    Broken(Broken),
    /// Sending failed. Data that came before may still be read.
    SendFailed(Broken),
    /// What came is not TLS, or a TLS alert.
    TlsBroken(String),
    /// Both directions had ended before.
    Over,
    /// The time is over.
    TimedOut,
    /// The user asks to stop.
    Stopped,
}

impl Connection {
    /// Waits for the next thing to happen, until `until`, and sends of `out` when it can be sent.
    ///
    /// Data that came is given out before the end that came after it, however late it is asked for. Of a peer that never ceases to
    /// send, a bounded part is given out after `until`.
    pub fn step(&mut self, out: &[u8], until: Instant) -> Step {
        if Instant::now() < until {
            self.overdue = None;
        } else if self.log.received - *self.overdue.get_or_insert(self.log.received) > OVERDUE {
            return Step::TimedOut;
        }
        loop {
            if self.stop.is_set() {
                return Step::Stopped;
            }
            if let Some(step) = self.plaintext() {
                return step;
            }
            if self.read_all && self.log.reset.is_some() {
                return Step::Over;
            }
            let wants_write = !out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
            let ready = match self.wait(wants_write, until) {
                Ok(ready) => ready,
                Err(errno) => return Step::Broken(self.log.note_reset(Instant::now(), errno)),
            };
            let now = Instant::now();
            self.note(ready, now);
            if let Some(step) = self.read_if(ready, now) {
                return step;
            }
            if ready.contains(PollFlags::OUT)
                && let Some(step) = self.write(out, now)
            {
                return step;
            }
            // What cannot be read, for nobody took what came before, is reported over and over.
            if now >= until && (ready.is_empty() || self.inbox.len() >= INBOX) {
                return Step::TimedOut;
            }
        }
    }

    /// Bytes received and not taken yet.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// Puts back bytes that belong to what comes next.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.inbox.splice(0..0, bytes.iter().copied());
    }

    /// Bytes wait to be taken.
    pub fn holds(&self) -> usize {
        self.inbox.len()
    }

    /// Sends all of `bytes` and reads nothing, so that what comes meanwhile stays in the kernel.
    ///
    /// # Errors
    /// The step that kept it from being sent: [`Step::SendFailed`], [`Step::TimedOut`], [`Step::Stopped`].
    pub fn send_all(&mut self, bytes: &[u8], until: Instant) -> Result<(), Step> {
        let mut rest = bytes;
        loop {
            if self.stop.is_set() {
                return Err(Step::Stopped);
            }
            let now = Instant::now();
            match self.write(rest, now) {
                Some(Step::Sent(sent)) => {
                    rest = &rest[sent..];
                    continue;
                }
                Some(failed) => return Err(failed),
                None if rest.is_empty() && !self.tls.as_ref().is_some_and(|tls| tls.wants_write()) => return Ok(()),
                None => {}
            }
            if now >= until {
                return Err(Step::TimedOut);
            }
            let slice = until.saturating_duration_since(now).min(SLICE);
            if poll_once(&self.socket, PollFlags::OUT, slice).is_err() {
                return Err(Step::TimedOut);
            }
        }
    }

    /// Waits, reads nothing and sends nothing, and keeps the moment in which the peer's FIN or a reset arrives; true when one did.
    pub fn watch(&mut self, until: Instant) -> bool {
        while !self.stop.is_set() && self.log.fin.is_none() && self.log.reset.is_none() {
            let now = Instant::now();
            if now >= until {
                return false;
            }
            let slice = until.saturating_duration_since(now).min(SLICE);
            match poll_once(&self.socket, PEER_CLOSED, slice) {
                Ok(ready) if ready.intersects(PollFlags::ERR | PollFlags::HUP) => return true,
                Ok(ready) => self.note(ready, Instant::now()),
                Err(_) => return false,
            }
        }
        self.log.fin.is_some() || self.log.reset.is_some()
    }

    /// Waits, reads nothing and sends nothing, until `until` or until both directions have ended; keeps the moments of that.
    ///
    /// What comes meanwhile stays in the kernel, and what does not fit there stays with the peer.
    pub fn hold(&mut self, until: Instant) {
        while !self.stop.is_set() && self.log.hung_up.is_none() {
            let now = Instant::now();
            if now >= until {
                return;
            }
            let events = if self.log.fin.is_none() {
                PEER_CLOSED
            } else {
                PollFlags::empty()
            };
            match poll_once(&self.socket, events, until.saturating_duration_since(now).min(SLICE)) {
                Ok(ready) => self.note(ready, Instant::now()),
                Err(_) => return,
            }
        }
    }

    /// Sends FIN and goes on reading. TLS is not told: see [`Connection::close_notify`].
    pub fn half_close(&mut self) {
        self.shut = true;
        // It fails when the peer has reset already, which shows by itself.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Sends TLS's close_notify; nothing without TLS.
    pub fn close_notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.write(&[], Instant::now());
        }
    }

    /// Closes with a reset, as clients do that give up on an answer.
    pub fn abort(self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// What happened so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The protocol that ALPN chose.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.tls
            .as_ref()
            .and_then(|tls| tls.alpn_protocol())
            .map(<[u8]>::to_vec)
    }

    /// Keeps the receive buffer small, so that a peer that sends much is held up.
    pub fn shrink_receive_buffer(&self, bytes: usize) {
        let _ = self.socket.set_recv_buffer_size(bytes);
    }

    /// Decrypted bytes that TLS holds already.
    fn plaintext(&mut self) -> Option<Step> {
        let tls = self.tls.as_mut()?;
        if self.inbox.len() >= INBOX {
            return None;
        }
        let before = self.inbox.len();
        let mut chunk = [0; 4096];
        // `Ok(0)` is close_notify, an error that there is nothing more for now, or the end without close_notify.
        while let Ok(read) = tls.reader().read(&mut chunk) {
            if read == 0 {
                self.log.close_notify.get_or_insert_with(Instant::now);
                break;
            }
            self.inbox.extend_from_slice(&chunk[..read]);
        }
        let read = self.inbox.len() - before;
        if read == 0 {
            return None;
        }
        self.log.received(read, Instant::now());
        Some(Step::Received(read))
    }

    fn wait(&self, wants_write: bool, until: Instant) -> Result<PollFlags, Errno> {
        let mut events = PollFlags::empty();
        if !self.read_all && self.inbox.len() < INBOX {
            events |= PollFlags::IN;
        }
        if self.log.fin.is_none() {
            events |= PEER_CLOSED;
        }
        if wants_write {
            events |= PollFlags::OUT;
        }
        let slice = until.saturating_duration_since(Instant::now()).min(SLICE);
        poll_once(&self.socket, events, slice)
    }

    /// The FIN shows as soon as it arrives, even while data before it is unread.
    fn note(&mut self, ready: PollFlags, now: Instant) {
        let broken = ready.intersects(PollFlags::ERR | PollFlags::HUP);
        // After our own FIN the peer's hangs up too; a reset does in any case, and leaves an error until that is read.
        let by_fins = self.shut && !ready.contains(PollFlags::ERR) && self.log.reset.is_none();
        if ready.contains(PEER_CLOSED) && !PEER_CLOSED.is_empty() && (!broken || by_fins) {
            self.log.fin.get_or_insert(now);
        }
        if broken && self.log.hung_up.is_none() {
            self.log.hung_up = Some(now);
        }
    }

    fn read_if(&mut self, ready: PollFlags, now: Instant) -> Option<Step> {
        let hung_up = ready.intersects(PollFlags::ERR | PollFlags::HUP);
        if self.read_all {
            return hung_up.then(|| self.after_the_end(now));
        }
        if !(hung_up || ready.intersects(PollFlags::IN | PEER_CLOSED)) || self.inbox.len() >= INBOX {
            return None;
        }
        match self.read(now) {
            Ok(0) => {
                self.read_all = true;
                // Where sending met the reset, its error is used up, and reading tells of a plain end.
                if self.log.send_failed.is_none() {
                    self.log.fin.get_or_insert(now);
                    return Some(Step::Closed);
                }
                let (at, broken) = self.log.send_failed?;
                match self.log.fin {
                    Some(_) => Some(Step::Closed),
                    None => {
                        self.log.reset.get_or_insert((at, broken));
                        Some(Step::Broken(broken))
                    }
                }
            }
            Ok(_) => self.plaintext().or_else(|| {
                let read = self.inbox.len();
                (self.tls.is_none() && read > 0).then_some(Step::Received(read))
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.read_all = true;
                Some(Step::TlsBroken(error.to_string()))
            }
            Err(error) => {
                self.read_all = true;
                let at = self.log.hung_up.unwrap_or(now);
                Some(Step::Broken(self.log.note_reset(at, errno(&error))))
            }
        }
    }

    /// A reset after the FIN. RFC 9293 calls the state CLOSE-WAIT; Linux's error is EPIPE there.
    fn after_the_end(&mut self, now: Instant) -> Step {
        let at = self.log.hung_up.unwrap_or(now);
        match self.socket.take_error() {
            Ok(Some(error)) => Step::Broken(self.log.note_reset(at, errno(&error))),
            _ if self.shut || self.log.send_failed.is_some() => Step::Over,
            _ => Step::Broken(self.log.note_reset(at, Errno::PIPE)),
        }
    }

    /// Some bytes: into the inbox, or into TLS. 0: the peer's FIN.
    fn read(&mut self, now: Instant) -> io::Result<usize> {
        match &mut self.tls {
            None => {
                let before = self.inbox.len();
                self.inbox.resize(before + CHUNK, 0);
                let result = (&self.socket).read(&mut self.inbox[before..]);
                self.inbox.truncate(before + result.as_ref().map_or(0, |read| *read));
                if let Ok(read @ 1..) = result {
                    self.log.received(read, now);
                }
                result
            }
            Some(tls) => {
                let read = tls.read_tls(&mut &self.socket)?;
                match tls.process_new_packets() {
                    Ok(_) => Ok(read),
                    Err(error) => {
                        // The alert that says why.
                        let _ = tls.write_tls(&mut &self.socket);
                        Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
                    }
                }
            }
        }
    }

    /// Sends what can be sent now; `None` when that is nothing.
    fn write(&mut self, out: &[u8], now: Instant) -> Option<Step> {
        let result = match &mut self.tls {
            None if out.is_empty() => return None,
            None => (&self.socket).write(out),
            Some(tls) => {
                let taken = tls.writer().write(out).unwrap_or(0);
                let mut result = Ok(taken);
                while tls.wants_write() {
                    match tls.write_tls(&mut &self.socket) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => {
                            result = Err(error);
                            break;
                        }
                    }
                }
                result
            }
        };
        match result {
            Ok(0) => None,
            Ok(sent) => {
                self.log.sent(sent, now);
                Some(Step::Sent(sent))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => {
                let broken = Broken::of(errno(&error));
                self.log.send_failed.get_or_insert((now, broken));
                Some(Step::SendFailed(broken))
            }
        }
    }
}

impl Drop for Connection {
    /// Good manners: no reset for data that was not read, as far as it is here.
    fn drop(&mut self) {
        let linger_zero = matches!(self.socket.linger(), Ok(Some(Duration::ZERO)));
        if !linger_zero {
            if let Some(tls) = &mut self.tls {
                tls.send_close_notify();
                let _ = tls.write_tls(&mut &self.socket);
            }
            let _ = self.socket.shutdown(Shutdown::Write);
            let mut chunk = [0; 4096];
            for _ in 0..64 {
                if !matches!((&self.socket).read(&mut chunk), Ok(1..)) {
                    break;
                }
            }
        }
        self.log.closed = Some(Instant::now());
        self.roll.add(self.log.clone());
    }
}

fn poll_once(socket: &Socket, events: PollFlags, slice: Duration) -> Result<PollFlags, Errno> {
    let mut fds = [PollFd::new(socket, events)];
    // Rounded up, so that a wait is never shorter than asked for.
    let timeout = Timespec::try_from(slice).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
