//! What a kernel said of one of its sockets when the connection died.

use std::net::SocketAddr;
use std::time::Duration;

use bypeer_wire::app::{RequestHead, ResponseHead};
use bypeer_wire::{Direction, Timestamp};

/// The testimony of the kernel of one end, about one connection.
///
/// Every figure is of the moment of the event. `None` means that this kernel, or the source that was used, does not tell.
#[derive(Clone, Debug, Default)]
pub struct Testimony {
    /// When.
    pub at: Timestamp,
    /// The event's number, from 1, in the order in which events were told.
    pub number: u64,
    /// What it tells of.
    pub told: Told,
    /// Which end of the connection the socket is; `None` where that could not be told.
    pub side: Option<Side>,
    /// `enum sk_rst_reason` without its prefix: `TCP_ABORT_ON_CLOSE`. Since Linux 6.10 for resets that answer a segment, since 6.12
    /// for the others.
    pub reason: Option<String>,
    /// By which way through the kernel a reset came.
    pub path: Option<ResetPath>,
    /// State of the socket before it died, as in RFC 9293, without what the kernel's own names add: `ESTABLISHED`, `TIME-WAIT`; `CLOSED` for
    /// a socket that its program has closed.
    pub state: Option<State>,
    /// Payload bytes received and not read by the program.
    pub unread: Option<u64>,
    /// Payload bytes that the program wrote and that were not sent yet.
    pub unsent: Option<u64>,
    /// Payload bytes sent and not acknowledged.
    pub unacked: Option<u64>,
    /// Payload bytes received in order since the connection began.
    pub received: Option<u64>,
    /// Payload bytes that the peer acknowledged since the connection began.
    pub acked: Option<u64>,
    /// The peer had sent a FIN, which had been received.
    pub fin_received: Option<bool>,
    /// `SO_LINGER` as the program set it: `Some(None)` when it is off, else its time (zero: abort at close).
    pub linger: Option<Option<Duration>>,
    /// Since the last segment with payload came in. The kernel's tick is its precision: see `tick`.
    pub since_received: Option<Duration>,
    /// Since the last segment with payload was sent.
    pub since_sent: Option<Duration>,
    /// Length of the kernel's tick: what `since_received` and `since_sent` may be off.
    pub tick: Duration,
    /// Smoothed round trip.
    pub round_trip: Option<Duration>,
    /// Retransmissions of what is outstanding, without an answer.
    pub retransmits: Option<u32>,
    /// Keep-alive and window probes that went unanswered.
    pub probes: Option<u32>,
    /// The largest segment that this peer sends, in bytes.
    pub segment_size: Option<u32>,
    /// `errno` that the program gets, where the event is an error: 110 ETIMEDOUT, 113 EHOSTUNREACH.
    pub error: Option<i32>,
    /// Who did it: the process that owned the socket, and what it was doing. For a reset that answers a segment after a close: who had
    /// closed.
    pub actor: Option<Actor>,
    /// How the socket had been closed before, when a reset answers what came later.
    pub closed: Option<Closed>,
    /// The connection that had the descriptor before, where that is what is told of.
    pub predecessor: Option<Predecessor>,
    /// The segment that a reset answers.
    pub trigger: Option<Trigger>,
    /// Calls and segments of the socket, oldest first, at most 16, where they were recorded.
    pub history: Vec<Deed>,
    /// What the last request said of itself, where payload was asked for.
    pub request: Option<PartialMessage<RequestHead>>,
    /// What the last response said of itself, where payload was asked for.
    pub response: Option<PartialMessage<ResponseHead>>,
    /// A firewall of this machine dropped a packet of this connection within the last second.
    pub firewalled: bool,
    /// A listener of this machine dropped a packet of this connection, or of another of its own within the last second, because its queue
    /// was full.
    pub overflowed: bool,
    /// The listener's queue, when it was full.
    pub queue: Option<Queue>,
    /// Somebody listens on the local port now.
    pub listening: Option<bool>,
    /// Whether resets that this machine's kernel sends are all seen: then one that was received and not sent here came from elsewhere.
    pub peer_is_local: bool,
}

/// An accept queue that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Connections that wait for `accept`.
    pub waiting: u32,
    /// How many may wait: one fewer than fit.
    pub backlog: u32,
    /// Attempts dropped since the last look, where they can only be of this listener.
    pub dropped: Option<u64>,
}

/// A message's head, and how far the program got with the message.
#[derive(Clone, Debug)]
pub struct PartialMessage<H> {
    /// The head.
    pub head: Box<H>,
    /// Bytes of the whole message, head included, as its head declares them; `None` for chunked and close-delimited bodies, and where the
    /// head was not whole.
    pub length: Option<u64>,
    /// Bytes of it that the program read or wrote.
    pub passed: u64,
    /// When the program read or wrote of it last.
    pub at: Timestamp,
}

/// What a testimony tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Told {
    /// This kernel sent a reset.
    #[default]
    ResetSent,
    /// This kernel received a reset and believed it.
    ResetReceived,
    /// The connection failed without a reset: a timeout, an ICMP error.
    Failed,
    /// The socket was destroyed: all that sources without privileges tell.
    Destroyed,
    /// A listener's queue was full: a connection attempt was dropped.
    Overflowed,
    /// An answer was written to another connection than the one its request was read from, under the same descriptor.
    Swapped,
    /// A thread reads from this connection under a descriptor that another thread had closed over a request without an answer: the first
    /// had read that request from another connection, to which nothing was ever written, and whose client had not left.
    Retaken,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// It connected.
    Client,
    /// It listened.
    Server,
}

impl Side {
    /// The direction in which this side sends.
    pub fn sends(self) -> Direction {
        match self {
            Side::Client => Direction::ToServer,
            Side::Server => Direction::ToClient,
        }
    }

    /// "client", "server".
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// A state of RFC 9293 §3.3.2; `NewSynReceived` is Linux's request socket, before the handshake's last ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// ESTABLISHED
    Established,
    /// SYN-SENT
    SynSent,
    /// SYN-RECEIVED
    SynReceived,
    /// FIN-WAIT-1
    FinWait1,
    /// FIN-WAIT-2
    FinWait2,
    /// TIME-WAIT
    TimeWait,
    /// CLOSED
    Closed,
    /// CLOSE-WAIT
    CloseWait,
    /// LAST-ACK
    LastAck,
    /// LISTEN
    Listen,
    /// CLOSING
    Closing,
    /// Linux's NEW_SYN_RECV
    NewSynReceived,
}

impl State {
    /// From the kernel's number (`net/tcp_states.h`).
    pub fn of(number: u32) -> Option<State> {
        use State::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, NewSynReceived, SynReceived,
            SynSent, TimeWait,
        };
        const STATES: [State; 12] = [
            Established,
            SynSent,
            SynReceived,
            FinWait1,
            FinWait2,
            TimeWait,
            Closed,
            CloseWait,
            LastAck,
            Listen,
            Closing,
            NewSynReceived,
        ];
        STATES.get((number as usize).checked_sub(1)?).copied()
    }

    /// As RFC 9293 spells it.
    pub fn name(self) -> &'static str {
        match self {
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "CLOSED",
            State::CloseWait => "CLOSE-WAIT",
            State::LastAck => "LAST-ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
            State::NewSynReceived => "NEW-SYN-RECEIVED",
        }
    }
}

/// A way through Linux that ends in a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResetPath {
    /// `close`, `exit` or a kill with bytes received and unread: `__tcp_close` itself sends.
    CloseUnread,
    /// `close` with `SO_LINGER` on and 0 seconds: `tcp_disconnect` from `__tcp_close`.
    LingerZero,
    /// The listener was closed over connections that nobody had accepted: `inet_csk_listen_stop`.
    ListenerClosed,
    /// `ss -K`, or another that destroys sockets from outside: `tcp_abort`.
    Killed,
    /// `connect` to `AF_UNSPEC`: `tcp_disconnect` from `__inet_stream_connect`.
    Disconnected,
    /// The answer to a segment that has no place: `tcp_v4_send_reset` or its twin for IPv6.
    Answer,
    /// A timer gave up: keep-alive, retransmission, out of resources.
    Timer,
    /// None of these, or no stack.
    Other,
}

impl ResetPath {
    /// In words with hyphens, as in scenarios and JSON.
    pub fn name(self) -> &'static str {
        match self {
            ResetPath::CloseUnread => "close-unread",
            ResetPath::LingerZero => "linger-zero",
            ResetPath::ListenerClosed => "listener-closed",
            ResetPath::Killed => "destroyed",
            ResetPath::Disconnected => "disconnected",
            ResetPath::Answer => "answer",
            ResetPath::Timer => "timer",
            ResetPath::Other => "other",
        }
    }
}

/// A process, and what it was doing to the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Its id, as the program that watches sees it.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Effective user of the process.
    pub uid: u32,
    /// Name of the task (at most 15 bytes), from the kernel.
    pub name: String,
    /// Path of its program, where it could be read.
    pub program: Option<String>,
    /// Its command line, at most 200 bytes, where it could be read. Arguments may hold secrets: not shown unless asked for.
    pub command: Option<String>,
    /// Path of its cgroup.
    pub cgroup: Option<String>,
    /// The container, as its cgroup names it.
    pub container: Option<String>,
    /// The Kubernetes pod's UID, as its cgroup names it.
    pub pod: Option<String>,
    /// What it was doing.
    pub act: Act,
    /// The call in the kernel's words: `close(7)`; `None` when it was in none.
    pub call: Option<String>,
    /// Where in the program, innermost first; empty where the stack was not recorded or could not be read.
    pub frames: Vec<Frame>,
    /// How it was found out that this process owned the socket.
    pub known: Known,
    /// The first signal that told it to end, as far as that was heard: it may have come before what it did here, or after.
    pub told_to_end: Option<ToldToEnd>,
}

/// A signal that asks or forces a process to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldToEnd {
    /// Its number: 2, 3, 9, 15.
    pub signal: u8,
    /// When.
    pub at: Timestamp,
    /// Id and name of the process that sent it; `None` when the kernel did, for a terminal or for want of memory.
    pub by: Option<(u32, String)>,
}

impl ToldToEnd {
    /// "SIGTERM from systemd (pid 1)".
    pub fn words(&self) -> String {
        let name = match self.signal {
            2 => "SIGINT".to_owned(),
            3 => "SIGQUIT".to_owned(),
            9 => "SIGKILL".to_owned(),
            15 => "SIGTERM".to_owned(),
            other => format!("signal {other}"),
        };
        match &self.by {
            Some((pid, from)) => format!("{name} from {from} (pid {pid})"),
            None => format!("{name} from the kernel"),
        }
    }
}

/// What a process did that ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Act {
    /// Cannot be told.
    #[default]
    Unknown,
    /// It called `close`, or replaced the descriptor (`dup2`).
    Close,
    /// It called `shutdown`.
    Shutdown,
    /// It exited by itself with this status.
    Exit(u8),
    /// A signal ended it.
    Killed(u8),
    /// It replaced its program (`execve`), and the descriptor was close-on-exec.
    Exec,
    /// It called `connect` to dissolve the connection (`AF_UNSPEC`).
    Disconnect,
    /// It destroyed a socket that is not its own (`ss -K`).
    Destroy,
    /// Another call, or none: it owned the socket when something came from outside.
    Owned,
}

/// How the owner of a socket was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Known {
    /// It was in a call on that very socket.
    #[default]
    InCall,
    /// It had closed the socket before: the kernel part remembered.
    Remembered,
    /// It holds a descriptor of the socket (`/proc`); other processes may hold one too.
    Descriptor,
    /// It closed the socket later.
    ClosedLater,
}

/// A place in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Address in the process.
    pub address: u64,
    /// Function, demangled.
    pub function: Option<String>,
    /// Source file, as the debug information names it.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u32>,
    /// Program or library that holds it: the file's name without folders.
    pub module: Option<String>,
}

/// How a socket was closed, remembered until something comes too late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// Payload bytes it had received.
    pub received: u64,
    /// Payload bytes it had been given to send.
    pub sent: u64,
    /// From its last received payload to the close.
    pub since_received: Duration,
    /// From its last sent payload to the close.
    pub since_sent: Duration,
    /// The close was a `shutdown` for writing only: the program goes on reading.
    pub half: bool,
}

/// Another connection, which had the same descriptor and from which a request was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its end on this machine.
    pub local: SocketAddr,
    /// Its peer.
    pub remote: SocketAddr,
    /// The descriptor.
    pub descriptor: u32,
    /// When the last was read from it.
    pub read_at: Timestamp,
    /// When it was closed and by whom, where that is remembered.
    pub closed: Option<(Timestamp, Actor)>,
}

impl Predecessor {
    /// Whether a library closed it that closes files there, and sockets elsewhere: it took the number for a file's.
    ///
    /// libuv runs `uv_fs_close` in its pool of threads (`uv__fs_work` in `src/unix/fs.c`); sockets it closes in the thread of their loop
    /// (`uv__stream_close`).
    pub fn closed_as_a_file(&self) -> bool {
        let frames = self.closed.iter().flat_map(|(_, actor)| &actor.frames);
        frames
            .filter_map(|frame| frame.function.as_deref())
            .any(|function| matches!(function, "uv__fs_close" | "uv__fs_work"))
    }
}

/// A segment that drew a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Payload bytes.
    pub len: u32,
    /// It opens a connection.
    pub syn: bool,
    /// It acknowledges.
    pub ack: bool,
    /// It closes.
    pub fin: bool,
}

/// Something that happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When; of several alike the last.
    pub at: Timestamp,
    /// What.
    pub what: DeedKind,
    /// Thread, 0 where none was in a call.
    pub tid: u32,
    /// Descriptor, where it was a call with one.
    pub descriptor: u32,
    /// How many alike in a row.
    pub count: u32,
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeedKind {
    /// The program read this many bytes.
    Read(u64),
    /// The program wrote this many bytes.
    Wrote(u64),
    /// Segments with this many payload bytes came in.
    Arrived(u64),
    /// The state changed.
    State(State, State),
}
