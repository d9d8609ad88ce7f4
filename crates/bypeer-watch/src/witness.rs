//! One event → one testimony: the kernel's raw figures, in the terms that causes ask for.

use std::net::SocketAddr;
use std::time::Duration;

use bypeer_diagnose::testimony::{
    Act, Actor, Closed, Deed, DeedKind, Known, PartialMessage, Predecessor, ResetPath, Side, State, Testimony, Told,
    Trigger,
};
use bypeer_wire::Timestamp;
use bypeer_wire::app::{sole_request, sole_response};

use crate::event::{
    Closing, Event, History, Kind, OtherConnection, RawDeed, RawDeedKind, Segment, Task, Tcp, UserStack,
};

/// What is asked about an event beyond its figures: names, owners, places in programs. The machine answers, or a test.
pub trait Machine {
    /// The moment of a reading of `CLOCK_MONOTONIC`, in nanoseconds.
    fn real_time(&self, monotonic: u64) -> Timestamp;
    /// Length of the kernel's tick.
    fn tick(&self) -> Duration;
    /// Name of a reset reason.
    fn reset_reason(&self, number: u32) -> Option<String>;
    /// Name of a reason to drop a packet.
    fn drop_reason(&self, number: u32) -> Option<String>;
    /// By which way through the kernel these functions lead.
    fn reset_path(&self, kernel_stack: &[u64]) -> ResetPath;
    /// The process of a task, and what it was doing when a reset came by `path`.
    fn actor(&mut self, task: &Task, path: Option<ResetPath>) -> Actor;
    /// A process that holds a descriptor of the socket with this inode.
    fn owner(&mut self, inode: u64) -> Option<Actor>;
    /// Where in the program of this process it was.
    fn frames(&mut self, task: &Task, stack: &UserStack) -> Vec<bypeer_diagnose::testimony::Frame>;
    /// Whether somebody listens at a local address, in the network namespace with this inode; `None` where that cannot be asked.
    fn listening(&mut self, netns: u32, local: SocketAddr) -> Option<bool>;
    /// Whether somebody was ever seen to listen there.
    fn listened(&self, netns: u32, local: SocketAddr) -> bool;
}

/// Linux gives ephemeral ports from here on, unless it was told otherwise (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32768;

/// The testimony that an event is.
pub fn testimony(event: &Event, number: u64, machine: &mut dyn Machine) -> Testimony {
    let told = match event.kind {
        Kind::ResetSent => Told::ResetSent,
        Kind::ResetReceived => Told::ResetReceived,
        Kind::Failed => Told::Failed,
        Kind::Swapped => Told::Swapped,
        Kind::Retaken => Told::Retaken,
        Kind::Closed => Told::Destroyed,
        // Nothing is testified of the second.
        Kind::Dropped | Kind::Signalled => Told::Overflowed,
    };
    let path = (told == Told::ResetSent).then(|| reset_path(event, machine));
    let tick = machine.tick();
    let mut testimony = Testimony {
        at: machine.real_time(event.at),
        number,
        told,
        side: side(event, machine),
        reason: event.reason.filter(|_| told == Told::ResetSent).map(|reason| {
            machine
                .reset_reason(reason)
                .unwrap_or_else(|| format!("reason {reason}"))
        }),
        path,
        state: State::of(event.state),
        error: event
            .tcp
            .filter(|_| told == Told::Failed)
            .and_then(|tcp| i32::try_from(tcp.error).ok()),
        trigger: event.segment.as_ref().map(|segment| Trigger {
            source: segment.source,
            destination: segment.destination,
            len: segment.len,
            syn: segment.flags & 2 != 0,
            ack: segment.flags & 16 != 0,
            fin: segment.flags & 1 != 0,
        }),
        tick,
        ..Testimony::default()
    };
    if let Some(tcp) = &event.tcp {
        // The error is told when the socket is taken apart already; one that connected and never sent or got a byte was still connecting.
        let never_spoke = tcp.sent == 0 && tcp.received == 0 && tcp.unsent == 0 && tcp.backlog == 0;
        if told == Told::Failed && never_spoke && testimony.state == Some(State::Closed) {
            testimony.state = Some(State::SynSent);
        }
        add_sums(&mut testimony, tcp, tick);
    }
    if closing(event).is_some() {
        // Its FIN is among what it was given to send.
        let unsent = testimony.unsent.filter(|unsent| *unsent > 0);
        let unacked = testimony.unacked.filter(|unacked| *unacked > 0 && unsent.is_none());
        testimony.unsent = unsent.map(|unsent| unsent - 1).or(testimony.unsent);
        testimony.unacked = unacked.map(|unacked| unacked - 1).or(testimony.unacked);
    }
    if let Some(closing) = closing(event) {
        testimony.closed = Some(closed(closing, tick, machine));
    }
    testimony.predecessor = event.other.as_ref().map(|other| predecessor(other, machine));
    add_actor(&mut testimony, event, path, machine);
    if let Some(history) = &event.history {
        add_history(&mut testimony, history, machine);
    }
    testimony
}

/// A segment further from what the closed connection expected than this is of another one, on the same addresses and ports.
const SAME_CONNECTION: u32 = 1 << 24;

/// How the connection had been closed. The kernel part knows it by addresses and ports alone; sequence numbers tell whether it is the same one.
fn closing(event: &Event) -> Option<&Closing> {
    let closing = event.closing.as_ref()?;
    let far = |segment: &Segment| {
        let distance = segment.seq.wrapping_sub(closing.receive_next);
        distance.min(distance.wrapping_neg()) > SAME_CONNECTION
    };
    let other = closing.receive_next != 0 && event.tcp.is_none() && event.segment.as_ref().is_some_and(far);
    (!other).then_some(closing)
}

/// By its stack; by the reason where there is none (a timer that fires on an idle processor has none).
fn reset_path(event: &Event, machine: &mut dyn Machine) -> ResetPath {
    let by_stack = machine.reset_path(&event.kernel_stack);
    let reason = event.reason.and_then(|reason| machine.reset_reason(reason));
    match (by_stack, reason.as_deref()) {
        (ResetPath::Other, _) if event.segment.is_some() => ResetPath::Answer,
        (ResetPath::Other, Some("TCP_KEEPALIVE_TIMEOUT")) => ResetPath::Timer,
        (ResetPath::Other, Some("TCP_ABORT_ON_CLOSE")) => ResetPath::CloseUnread,
        // Where the kernel's addresses are hidden: what the program had asked for, and that it was closing.
        (ResetPath::Other, Some("TCP_STATE")) if is_closing(event) => ResetPath::LingerZero,
        // __tcp_close() has these too: TCP_LINGER2 below zero, and too many orphans.
        (ResetPath::CloseUnread, Some("TCP_ABORT_ON_LINGER" | "TCP_ABORT_ON_MEMORY")) => ResetPath::Other,
        (path, _) => path,
    }
}

/// A task that closes its socket with `SO_LINGER` on and 0 seconds.
fn is_closing(event: &Event) -> bool {
    let lingers = event.tcp.is_some_and(|tcp| tcp.linger && tcp.linger_ticks == 0);
    lingers && event.task.acting && event.kernel_stack.is_empty()
}

/// A connection that was accepted inherits its listener's backlog; one that connected has none. Without a socket, ports tell.
fn side(event: &Event, machine: &mut dyn Machine) -> Option<Side> {
    let backlog = event
        .tcp
        .map(|tcp| tcp.backlog)
        .or(closing(event).map(|closing| closing.backlog));
    if backlog.is_some_and(|backlog| backlog > 0) {
        return Some(Side::Server);
    }
    let state = State::of(event.state);
    // A full queue is a server's, whoever holds the socket that the segment was for.
    if event.kind == Kind::Dropped {
        return Some(Side::Server);
    }
    match state {
        Some(State::SynSent) => return Some(Side::Client),
        Some(State::Listen | State::SynReceived | State::NewSynReceived) => return Some(Side::Server),
        _ => {}
    }
    if let Some(segment) = &event.segment
        && segment.flags & 2 != 0
    {
        // A SYN comes to a server, a SYN-ACK to a client.
        return Some(if segment.flags & 16 == 0 {
            Side::Server
        } else {
            Side::Client
        });
    }
    let (local, remote) = (event.local?, event.remote?);
    if machine.listened(event.netns, local) {
        return Some(Side::Server);
    }
    match machine.listening(event.netns, local) {
        Some(true) => Some(Side::Server),
        _ if backlog.is_some() => Some(Side::Client),
        _ if local.port() < FIRST_EPHEMERAL && remote.port() >= FIRST_EPHEMERAL => Some(Side::Server),
        _ if remote.port() < FIRST_EPHEMERAL && local.port() >= FIRST_EPHEMERAL => Some(Side::Client),
        _ => None,
    }
}

fn add_sums(testimony: &mut Testimony, tcp: &Tcp, tick: Duration) {
    let state = testimony.state;
    // A FIN has a sequence number too.
    let unread_fin = u64::from(tcp.fin_received && tcp.unread > 0);
    let fin_sent = matches!(state, Some(State::FinWait1 | State::Closing | State::LastAck));
    // Numbers beyond a window are those of a socket that was taken apart before the event (tcp_disconnect()).
    let sane = |bytes: u32| (bytes < 1 << 30).then_some(u64::from(bytes));
    testimony.unread = sane(tcp.unread).map(|unread| unread - unread_fin.min(unread));
    let in_flight = sane(tcp.unacked);
    let queued = sane(tcp.unsent);
    let fin_in_flight = fin_sent && in_flight.is_some_and(|bytes| bytes > 0) && queued == Some(0);
    // So has a SYN.
    let syn_in_flight = matches!(state, Some(State::SynSent | State::SynReceived));
    testimony.unacked = in_flight.map(|bytes| bytes - u64::from(fin_in_flight || syn_in_flight).min(bytes));
    testimony.unsent = queued.map(|bytes| bytes - u64::from(fin_sent && bytes > 0).min(bytes));
    testimony.received = Some(tcp.received.saturating_sub(u64::from(tcp.fin_received)));
    // bytes_acked counts the SYN of one that connected, and the FIN; what was sent counts payload alone.
    let sent = tcp.sent.saturating_sub(tcp.retransmitted);
    testimony.acked = testimony.unacked.map(|unacked| sent.saturating_sub(unacked));
    testimony.fin_received = Some(tcp.fin_received);
    testimony.linger = Some(tcp.linger.then(|| ticks(tcp.linger_ticks, tick)));
    testimony.since_received = Some(ticks(u64::from(tcp.ticks_since_received), tick));
    testimony.since_sent = Some(ticks(u64::from(tcp.ticks_since_sent), tick));
    testimony.round_trip = (tcp.round_trip > 0).then(|| Duration::from_micros(u64::from(tcp.round_trip)));
    testimony.retransmits = Some(tcp.retransmits);
    testimony.probes = Some(tcp.probes);
    testimony.segment_size = (tcp.receive_mss > 0).then_some(tcp.receive_mss);
}

fn ticks(count: u64, tick: Duration) -> Duration {
    tick.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

fn closed(closing: &Closing, tick: Duration, machine: &dyn Machine) -> Closed {
    Closed {
        at: machine.real_time(closing.at),
        // Whoever closes second had received a FIN, which counts.
        received: closing
            .received
            .saturating_sub(u64::from(State::of(closing.state) == Some(State::LastAck))),
        sent: closing.sent,
        since_received: ticks(u64::from(closing.ticks_since_received), tick),
        since_sent: ticks(u64::from(closing.ticks_since_sent), tick),
        half: closing.half,
    }
}

fn predecessor(other: &OtherConnection, machine: &mut dyn Machine) -> Predecessor {
    Predecessor {
        local: other.local,
        remote: other.remote,
        descriptor: other.descriptor,
        read_at: machine.real_time(other.read_at),
        closed: other.closed_by.as_ref().map(|closing| {
            let mut actor = machine.actor(&closing.task, None);
            if let Some(stack) = &closing.user_stack {
                actor.frames = machine.frames(&closing.task, stack);
            }
            actor.known = Known::Remembered;
            (machine.real_time(closing.at), actor)
        }),
    }
}

/// Who did it, or whose socket it was: never simply the task that ran.
fn add_actor(testimony: &mut Testimony, event: &Event, path: Option<ResetPath>, machine: &mut dyn Machine) {
    let passive = path == Some(ResetPath::Answer);
    // Who reads does nothing but its work.
    if event.kind == Kind::Retaken {
        let closed = testimony.predecessor.as_ref().and_then(|before| before.closed.as_ref());
        testimony.actor = closed.map(|(_, closer)| closer.clone());
    } else if event.task.acting && !passive {
        let mut actor = machine.actor(&event.task, path);
        if let Some(stack) = &event.user_stack {
            actor.frames = machine.frames(&event.task, stack);
        }
        actor.known = Known::InCall;
        testimony.actor = Some(actor);
    } else if let Some(closing) = closing(event) {
        let mut actor = machine.actor(&closing.task, None);
        if let Some(stack) = &closing.user_stack {
            actor.frames = machine.frames(&closing.task, stack);
        }
        actor.known = Known::Remembered;
        testimony.actor = Some(actor);
    } else if event.inode != 0
        && let Some(mut actor) = machine.owner(event.inode)
    {
        actor.known = Known::Descriptor;
        actor.act = Act::Owned;
        testimony.actor = Some(actor);
    }
}

fn add_history(testimony: &mut Testimony, history: &History, machine: &dyn Machine) {
    testimony.history = history.deeds.iter().map(|deed| deed_of(deed, machine)).collect();
    let request_bytes = match testimony.side {
        Some(Side::Client) => (&history.written, history.written_total, history.written_at),
        _ => (&history.read, history.read_total, history.read_at),
    };
    let response_bytes = match testimony.side {
        Some(Side::Client) => (&history.read, history.read_total, history.read_at),
        _ => (&history.written, history.written_total, history.written_at),
    };
    let (bytes, total, at) = request_bytes;
    testimony.request = sole_request(bytes).map(|sole| PartialMessage {
        head: Box::new(sole.head),
        length: sole.length,
        passed: total,
        at: machine.real_time(at),
    });
    let method = testimony.request.as_ref().map(|request| request.head.method.clone());
    let (bytes, total, at) = response_bytes;
    testimony.response = sole_response(bytes, method.as_ref()).map(|sole| PartialMessage {
        head: Box::new(sole.head),
        length: sole.length,
        passed: total,
        at: machine.real_time(at),
    });
}

fn deed_of(deed: &RawDeed, machine: &dyn Machine) -> Deed {
    let closed = State::Closed;
    Deed {
        at: machine.real_time(deed.at),
        what: match deed.what {
            RawDeedKind::Read(bytes) => DeedKind::Read(bytes),
            RawDeedKind::Wrote(bytes) => DeedKind::Wrote(bytes),
            RawDeedKind::Arrived(bytes) => DeedKind::Arrived(bytes),
            RawDeedKind::State(from, to) => {
                DeedKind::State(State::of(from).unwrap_or(closed), State::of(to).unwrap_or(closed))
            }
        },
        tid: deed.tid,
        descriptor: u32::from(deed.descriptor),
        count: u32::from(deed.count),
    }
}
