//! What the kernel part tells, decoded: the one form in which everything behind the loader knows it. `bpf/event.h` is its form on the ring.

use std::net::SocketAddr;

/// One event of the kernel part.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// The kernel's own number of the socket, 0 where there was none. Not in order, never used twice.
    pub cookie: u64,
    /// Inode of the socket's file: what `/proc/PID/fd` shows. 0 when no program holds it (any more).
    pub inode: u64,
    /// Both ends, of the socket, or of the triggering segment where there is no socket. IPv4 addresses of IPv6 sockets are unmapped.
    pub local: Option<SocketAddr>,
    /// The peer.
    pub remote: Option<SocketAddr>,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Number of the reason: `enum sk_rst_reason`, or `enum skb_drop_reason` for a drop. The running kernel's BTF has the names.
    pub reason: Option<u32>,
    /// State of the socket at the event: `net/tcp_states.h`; 0 without a socket.
    pub state: u32,
    /// Sums of the socket; `None` without a full socket (TIME_WAIT, NEW_SYN_RECV, none).
    pub tcp: Option<Tcp>,
    /// The task that ran.
    pub task: Task,
    /// The segment that it is about: what a reset answers, what was dropped.
    pub segment: Option<Segment>,
    /// How this connection had been closed on this machine before, if it was remembered.
    pub closing: Option<Closing>,
    /// What was recorded of the socket; from tier [`Tier::Calls`](crate::Tier::Calls) on.
    pub history: Option<History>,
    /// Addresses of the kernel's functions, innermost first.
    pub kernel_stack: Vec<u64>,
    /// The program's stack, when the task was in a call.
    pub user_stack: Option<UserStack>,
    /// For [`Kind::Swapped`] and [`Kind::Retaken`]: the connection that the request was read from.
    pub other: Option<OtherConnection>,
}

/// Kinds of events. The numbers are those of `bpf/event.h`, from 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tcp_send_reset`.
    #[default]
    ResetSent,
    /// `tcp_receive_reset`.
    ResetReceived,
    /// `inet_sk_error_report`: a timeout, an ICMP error, also the error of a reset received.
    Failed,
    /// A socket that an earlier event was about was destroyed: the task tells who closed it.
    Closed,
    /// A thread wrote to another connection than it had read from, under the same descriptor.
    Swapped,
    /// `kfree_skb` for a reason that concerns connections: a firewall, a full listen queue.
    Dropped,
    /// `signal_generate`: a process was told to end. `inode` is its id, `cookie` when it started (as [`Task::started`]), `reason` the signal,
    /// `state` 1 where the kernel sent it of itself; else the task sent it.
    Signalled,
    /// A thread reads from a connection under a descriptor that another thread had closed over the request that the first had read there:
    /// nothing had been written to that connection, and its client had not left.
    Retaken,
}

/// Sums of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// `sk_shutdown`: 1 receive, 2 send.
    pub shutdown: u32,
    /// `sk_err`.
    pub error: u32,
    /// `SOCK_LINGER`.
    pub linger: bool,
    /// `sk_lingertime`, in ticks.
    pub linger_ticks: u64,
    /// The socket has no file any more.
    pub orphan: bool,
    /// A task holds the socket's lock: it is in a call on it.
    pub owned: bool,
    /// `rcv_nxt` − `copied_seq`, wrapping: a FIN counts as one.
    pub unread: u32,
    /// `write_seq` − `snd_nxt`, wrapping.
    pub unsent: u32,
    /// `snd_nxt` − `snd_una`, wrapping.
    pub unacked: u32,
    /// `bytes_received`: a FIN counts as one.
    pub received: u64,
    /// `bytes_acked`.
    pub acked: u64,
    /// `bytes_sent`, retransmissions included.
    pub sent: u64,
    /// `bytes_retrans`.
    pub retransmitted: u64,
    /// A FIN was received: `sk_shutdown` has it, or the state.
    pub fin_received: bool,
    /// `srtt_us` / 8, microseconds.
    pub round_trip: u32,
    /// `icsk_retransmits`.
    pub retransmits: u32,
    /// `icsk_probes_out`.
    pub probes: u32,
    /// `icsk_user_timeout`, milliseconds.
    pub user_timeout: u32,
    /// `rcv_mss`, as `tcp_info` has it.
    pub receive_mss: u32,
    /// Ticks since `lsndtime`.
    pub ticks_since_sent: u32,
    /// Ticks since `lrcvtime`.
    pub ticks_since_received: u32,
    /// `rcv_wnd`.
    pub receive_window: u32,
    /// `sk_ack_backlog`: of a listener, how many wait.
    pub waiting: u32,
    /// `sk_max_ack_backlog`: of a listener its backlog. A connection that was accepted inherits it; one that connected has 0.
    pub backlog: u32,
    /// `rcv_nxt`: the sequence number that the peer's next byte has.
    pub receive_next: u32,
}

/// A task at an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Process id, in the first process namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Effective user.
    pub uid: u32,
    /// The task was in a call on the socket (or ended with it): it is who did it. Otherwise it only held the processor.
    pub acting: bool,
    /// `orig_ax`: the call's number, −1 for none.
    pub call: i64,
    /// Its first arguments.
    pub arguments: [u64; 3],
    /// `PF_EXITING`.
    pub exiting: bool,
    /// `group_exit_code`: as `wait` gives it. Signal in the low 7 bits, status in bits 8 to 15.
    pub exit_code: u32,
    /// `start_boottime`, nanoseconds: tells two processes with one id apart.
    pub started: u64,
    /// Id of its cgroup (version 2), 0 when unknown.
    pub cgroup: u64,
    /// `comm`.
    pub name: String,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits as on the wire: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// Payload bytes.
    pub len: u32,
    /// Window as on the wire.
    pub window: u16,
}

/// A close that was remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// `bytes_received`.
    pub received: u64,
    /// `write_seq` less the initial sequence number and the SYN: all that it was given to send.
    pub sent: u64,
    /// Ticks since the last payload was received, at the close.
    pub ticks_since_received: u32,
    /// Ticks since the last payload was sent, at the close.
    pub ticks_since_sent: u32,
    /// Who closed.
    pub task: Task,
    /// It was `shutdown`, not `close`.
    pub half: bool,
    /// It had been accepted: `sk_max_ack_backlog` was not 0.
    pub backlog: u32,
    /// The state that the close led to: FIN_WAIT1, or CLOSE where it reset the connection.
    pub state: u32,
    /// `rcv_nxt` at the close: a segment that is answered much later by a reset, and does not lie near, is of another connection.
    pub receive_next: u32,
    /// The program's stack at the close: only with [`Kind::Swapped`] and [`Kind::Retaken`].
    pub user_stack: Option<UserStack>,
}

/// What was recorded of a socket.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When it was first seen, `CLOCK_MONOTONIC`.
    pub first: u64,
    /// Deeds, oldest first, at most 16; deeds alike in a row are one.
    pub deeds: Vec<RawDeed>,
    /// Deeds before those.
    pub let_go: u32,
    /// Who read last: pid, tid, descriptor (0xffff where it is not known).
    pub reader: Option<(u32, u32, u32)>,
    /// Who wrote last: pid, tid, descriptor.
    pub writer: Option<(u32, u32, u32)>,
    /// First bytes of the last run of reads, where payload was asked for, and how long the run is.
    pub read: Vec<u8>,
    /// Bytes of the last run of reads.
    pub read_total: u64,
    /// First bytes of the last run of writes.
    pub written: Vec<u8>,
    /// Bytes of the last run of writes.
    pub written_total: u64,
    /// When the last run of reads had its last.
    pub read_at: u64,
    /// When the last run of writes had its last.
    pub written_at: u64,
    /// Reads and writes whose bytes could not be had, from tier [`Tier::Payload`](crate::Tier::Payload) on: `sendfile`, io_uring, memory
    /// that was not there.
    pub unreadable: u32,
}

/// One thing that happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDeed {
    /// `CLOCK_MONOTONIC`; of several alike the last.
    pub at: u64,
    /// What.
    pub what: RawDeedKind,
    /// Thread, 0 for none.
    pub tid: u32,
    /// Descriptor; `u16::MAX` where it is not known: other calls than those of the `read` and `write` families, io_uring.
    pub descriptor: u16,
    /// How many in a row.
    pub count: u8,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawDeedKind {
    /// Bytes read by the program.
    Read(u64),
    /// Bytes written by the program.
    Wrote(u64),
    /// Payload bytes that came in.
    Arrived(u64),
    /// From and to, as in `net/tcp_states.h`.
    State(u32, u32),
}

/// A program's stack as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserStack {
    /// Instruction pointer at the call.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register, whatever it holds.
    pub bp: u64,
    /// The bytes from `sp` on; empty where they were not copied.
    pub bytes: Vec<u8>,
    /// Return addresses as frame pointers give them, innermost first: often cut short.
    pub by_frame_pointers: Vec<u64>,
}

/// The other connection of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherConnection {
    /// Its cookie.
    pub cookie: u64,
    /// Its local end.
    pub local: SocketAddr,
    /// Its peer.
    pub remote: SocketAddr,
    /// When the request was read from it, `CLOCK_MONOTONIC`.
    pub read_at: u64,
    /// The descriptor that both had.
    pub descriptor: u32,
    /// The thread had written to it after it last read from it.
    pub answered: bool,
    /// Who closed that connection, if another thread did: the stray close.
    pub closed_by: Option<Closing>,
}
