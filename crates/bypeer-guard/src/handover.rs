//! Listening sockets that go from one process to the next, so that no client is refused or lost in between.
//!
//! The old process starts the new one with a socket as its standard input, and sends the listening sockets over it (`SCM_RIGHTS`): they
//! are the same sockets in the kernel, with the same queue. The new one says when it accepts; only then the old one stops.
//! From systemd they come as file descriptors from 3 on (`LISTEN_FDS`).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Tells the new process that its standard input is the socket.
const VARIABLE: &str = "BYPEER_GUARD_HANDOVER";
/// What comes with the sockets.
const GREETING: &[u8] = b"bypeer guard hands over\n";
/// What the new process says when it accepts.
const READY: &[u8] = b"ready\n";
/// So many sockets go in one message (`SCM_MAX_FD` is 253).
const MOST: usize = 128;
/// Where systemd's begin (sd_listen_fds(3)).
const FIRST_OF_SYSTEMD: i32 = 3;
/// How long the new process waits for the sockets.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a handover failed. The old process goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The new process could not be started, or spoken to.
    #[error("the new process could not be started: {0}")]
    Start(io::Error),
    /// It ended, or closed the socket, before it was ready.
    #[error("the new process ended before it was ready")]
    Ended,
    /// It was not ready in time, and was ended.
    #[error("the new process was not ready in time")]
    Late,
    /// There is nothing to hand over: the guard drains already.
    #[error("no socket is left to hand over: the guard drains already")]
    Nothing,
    /// What the process was started with cannot be used.
    #[error("the listening sockets that the process was started with could not be taken over: {0}")]
    Inherit(io::Error),
}

/// Listening sockets that this process was started with.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<TcpListener>,
    old: Option<UnixStream>,
    is_systemds: bool,
}

/// What the process was started with: by `Guard::hand_over` of the one before, or by systemd (`LISTEN_FDS`). Empty if neither.
/// To be called once, before anything else is opened.
pub fn inherited() -> Result<Inherited, HandoverError> {
    if std::env::var_os(VARIABLE).is_some() {
        return from_old_process().map_err(HandoverError::Inherit);
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if Pid::from_raw(pid) == Some(getpid()) => {
            from_systemd(count).map_err(HandoverError::Inherit)
        }
        _ => Ok(Inherited::default()),
    }
}

impl Inherited {
    /// Those that come over this socket, from `Guard::send_sockets`.
    pub fn receive(old: UnixStream) -> io::Result<Inherited> {
        old.set_read_timeout(Some(PATIENCE))?;
        let mut listeners = Vec::new();
        let mut greeting = [0; GREETING.len()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut greeting)];
        let received = recvmsg(&old, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                listeners.extend(sockets.map(TcpListener::from));
            }
        }
        if received.bytes != GREETING.len() || greeting != GREETING || received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("the process before did not send them"));
        }
        Ok(Inherited {
            listeners,
            old: Some(old),
            is_systemds: false,
        })
    }

    /// The one that listens at this address; for port 0, which is any free one, the one that was chosen for this host.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.listeners.iter().position(|listener| {
            let local = listener.local_addr();
            local.is_ok_and(|local| local == address || address.port() == 0 && local.ip() == address.ip())
        })?;
        Some(self.listeners.swap_remove(place))
    }

    /// Whether systemd holds them, and listens on.
    pub(crate) fn is_systemds(&self) -> bool {
        self.is_systemds
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Whether a process before waits to be told that clients are answered here.
    pub fn is_from_process_before(&self) -> bool {
        self.old.is_some()
    }

    /// Tells the process before that clients are answered here: it drains then. Sockets that were not taken are closed.
    pub fn ready(self) {
        if let Some(mut old) = self.old {
            // If it is gone there is nobody to tell.
            let _ = old.write_all(READY);
        }
    }
}

fn from_old_process() -> io::Result<Inherited> {
    let old: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(null)?;
    Inherited::receive(UnixStream::from(old))
}

fn from_systemd(count: i32) -> io::Result<Inherited> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut inherited = Inherited {
        is_systemds: true,
        ..Inherited::default()
    };
    for number in FIRST_OF_SYSTEMD..FIRST_OF_SYSTEMD.saturating_add(count) {
        // A copy: to own the descriptor itself by its number would be `unsafe`.
        let socket = pidfd_getfd(&this, number, PidfdGetfdFlags::empty())?;
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let listener = TcpListener::from(socket);
        if !listens || listener.local_addr().is_err() {
            return Err(io::Error::other(format!(
                "descriptor {number} of LISTEN_FDS is no TCP socket that listens; write ListenStream= with address and port, and Accept=no"
            )));
        }
        inherited.listeners.push(listener);
    }
    Ok(inherited)
}

/// A new process that is not ready yet. Dropped, it is ended.
#[derive(Debug)]
pub struct Handover {
    child: Option<Child>,
    socket: UnixStream,
    said: Vec<u8>,
}

/// Starts the new process and hands the sockets over.
pub(crate) fn start(mut command: Command, sockets: &[TcpListener]) -> Result<Handover, HandoverError> {
    let (ours, theirs) = UnixStream::pair().map_err(HandoverError::Start)?;
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .env(VARIABLE, "1")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS");
    let child = command.spawn().map_err(HandoverError::Start)?;
    // With it goes our copy of its end: so its death is seen here.
    drop(command);
    let handover = Handover {
        child: Some(child),
        socket: ours,
        said: Vec::new(),
    };
    // Where it has ended already there is nobody to send them to.
    send(&handover.socket, sockets).map_err(|_| HandoverError::Ended)?;
    Ok(handover)
}

impl Handover {
    /// Waits until it is ready, for `within` at most. `None`: it is not yet.
    pub(crate) fn wait(&mut self, within: Duration) -> Result<Option<Child>, HandoverError> {
        match self.hear(within) {
            Ok(()) => Ok(self.child.take()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(_) => Err(HandoverError::Ended),
        }
    }

    fn hear(&mut self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        while self.said.len() < READY.len() {
            let left = until.saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut more = [0; READY.len()];
            let missing = READY.len() - self.said.len();
            match self.socket.read(&mut more[..missing]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.said.extend_from_slice(&more[..read]),
                // A signal is no reason to wait for longer.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(error) => return Err(error),
            }
        }
        match self.said == READY {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends them.
pub(crate) fn send(socket: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let sockets: Vec<_> = listeners.iter().take(MOST).map(TcpListener::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("there are too many sockets"));
    }
    sendmsg(socket, &[IoSlice::new(GREETING)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits until the new process says that it accepts, for `within` at most.
pub fn wait_ready(mut socket: &UnixStream, within: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
    let mut said = [0; READY.len()];
    socket.read_exact(&mut said)?;
    match said == READY {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
