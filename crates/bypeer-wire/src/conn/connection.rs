use std::collections::VecDeque;
use std::time::Duration;

use crate::app::Application;
use crate::packet::{Checksum, Flags, IcmpKind};
use crate::{Direction, Endpoint, PacketRef, Timestamp};

/// All that a capture told about one TCP connection. Plain facts; what they mean is for `bypeer-diagnose`.
///
/// Offsets count payload bytes of one direction from 0 (the byte after the SYN; in a connection that began before the
/// capture, the first byte seen). They are `i64` because a SYN sits at −1 and a keep-alive probe may too.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Wireshark's `tcp.stream` index.
    pub stream: u32,
    /// Who opened it (see `roles`).
    pub client: Endpoint,
    /// Who was connected to.
    pub server: Endpoint,
    /// How client and server were told apart.
    pub roles: Roles,
    /// Its first packet.
    pub opened: PacketRef,
    /// Its last packet.
    pub ended: PacketRef,
    /// Time of the last packet of the *whole capture* that was seen before this record was made: how long it was watched.
    pub watched_until: Timestamp,
    /// Why the record was made now.
    pub ending: Ending,
    /// SYN, SYN-ACK, ACK.
    pub handshake: Handshake,
    /// What the client sent.
    pub to_server: Flow,
    /// What the server sent.
    pub to_client: Flow,
    /// Resets in either direction, in order; at most 16 are kept, `resets_total` counts all.
    pub resets: Vec<Reset>,
    /// How many resets there were.
    pub resets_total: u32,
    /// ICMP errors about it; at most 8 are kept.
    pub icmp: Vec<IcmpNote>,
    /// The segments that matter: its beginning, its end, and every control segment as far as the bound allows.
    pub timeline: Timeline,
    /// What was said on it.
    pub app: Application,
    /// The IP identification or TTL tells that the same 4-tuple was used before in this capture.
    pub reused_tuple: bool,
}

impl Connection {
    /// The flow in a direction.
    pub fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// Whether the beginning was seen: otherwise nothing before the first packet is known.
    pub fn seen_from_start(&self) -> bool {
        self.handshake.syn.is_some()
    }

    /// Whether both ends agreed on the connection: SYN, SYN-ACK and an ACK of it, or anything that only follows them, were seen, or it began before the capture.
    pub fn established(&self) -> bool {
        let spoken = self.to_client.sent > 0 || self.to_server.acked > 0;
        !self.seen_from_start() || spoken || (self.handshake.syn_ack.is_some() && self.handshake.ack.is_some())
    }
}

/// How the roles were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// The client sent the SYN.
    Handshake,
    /// The bytes tell (a request line, a ClientHello).
    Protocol,
    /// A guess: the lower or well-known port is the server's.
    Ports,
}

/// Why a connection's record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both FINs were seen and acknowledged, or a valid reset, and then nothing more for a while.
    Ended,
    /// A new SYN used the same addresses and ports.
    TupleReused,
    /// The capture ended first.
    CaptureEnded,
    /// The table was full and this one had been silent longest.
    Evicted,
}

/// The three-way handshake.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// First SYN.
    pub syn: Option<PacketRef>,
    /// SYNs, retransmissions included.
    pub syns: u32,
    /// Last SYN.
    pub last_syn: Option<PacketRef>,
    /// First SYN-ACK.
    pub syn_ack: Option<PacketRef>,
    /// SYN-ACKs, retransmissions included.
    pub syn_acks: u32,
    /// Last SYN-ACK.
    pub last_syn_ack: Option<PacketRef>,
    /// First segment of the client that acknowledges the SYN-ACK.
    pub ack: Option<PacketRef>,
    /// A plain ACK of the server's side that answered a SYN (challenge ACK: an old connection was still there).
    pub syn_answered_by_ack: Option<PacketRef>,
}

impl Handshake {
    /// Round trip between the capture point and both ends together: SYN to the client's ACK, when nothing was retransmitted.
    pub fn round_trip(&self) -> Option<Duration> {
        let (syn, ack) = (self.syn?, self.ack?);
        (self.syns == 1 && self.syn_acks == 1).then(|| ack.time.since(syn.time))
    }

    /// The part of the round trip beyond the capture point on the server's side: SYN to SYN-ACK.
    pub fn server_side(&self) -> Option<Duration> {
        (self.syns == 1).then_some(())?;
        Some(self.syn_ack?.time.since(self.syn?.time))
    }
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Payload bytes sent: highest offset seen + 1, retransmissions not counted twice. Excludes SYN and FIN.
    pub sent: u64,
    /// Payload bytes that the other side acknowledged; `acked <= sent` unless the capture missed packets.
    pub acked: u64,
    /// Bytes that the other side acknowledged but the capture does not hold.
    pub missed: u64,
    /// All packets.
    pub packets: u64,
    /// Packets with payload, retransmissions and keep-alive probes not counted.
    pub data_packets: u64,
    /// Retransmitted packets (SYN and FIN too).
    pub retransmissions: u32,
    /// Retransmissions since the last packet of the *other* direction, resets and its own repetitions aside: what went
    /// unanswered at the end.
    pub unanswered_retransmissions: u32,
    /// Keep-alive probes (0 or 1 byte at snd_nxt − 1).
    pub keep_alive_probes: u32,
    /// Keep-alive probes since the last packet of the other direction.
    pub unanswered_probes: u32,
    /// Zero-window probes of this sender.
    pub window_probes: u32,
    /// Times this side advertised a window of zero.
    pub zero_windows: u32,
    /// The last window this side advertised was zero.
    pub window_closed: bool,
    /// The last window this side advertised, scaled, in bytes.
    pub window: u32,
    /// Packet that carried the first payload byte.
    pub first_data: Option<PacketRef>,
    /// Last packet with new payload.
    pub last_data: Option<PacketRef>,
    /// Last packet of any kind in this direction except resets.
    pub last_packet: Option<PacketRef>,
    /// The packet of the other direction that last moved `acked`.
    pub last_ack_of_it: Option<PacketRef>,
    /// This side's FIN.
    pub fin: Option<Fin>,
    /// TTL of this direction's first packet that is not a reset.
    pub ttl: Option<u8>,
    /// Other TTLs appeared in this direction on packets that are not resets (routes change, boxes answer).
    pub ttl_varies: bool,
    /// Timestamps (RFC 7323) are in use by this side.
    pub timestamps: bool,
    /// This side's window scale shift, when its SYN was seen.
    pub window_scale: Option<u8>,
    /// This side's maximum segment size, when its SYN was seen.
    pub mss: Option<u16>,
    /// IPv4 identification of this side's non-reset packets is always zero (some stacks, or DF).
    pub ip_id_always_zero: bool,
    /// The checksums of this side's own segments are left to hardware ([`Checksum::Partial`]): it is captured on its own
    /// host, or across virtual links only. Then a reset with a whole checksum was made by its TCP for a missing socket.
    pub checksums_offloaded: bool,
}

impl Flow {
    /// Bytes sent and never acknowledged.
    pub fn unacked(&self) -> u64 {
        self.sent.saturating_sub(self.acked)
    }
}

/// A FIN.
#[derive(Clone, Copy, Debug)]
pub struct Fin {
    /// The packet that carried it first.
    pub at: PacketRef,
    /// Payload bytes before it in its direction.
    pub offset: u64,
    /// How far it acknowledged the other direction when it was first sent: a request beyond this crossed it.
    pub ack: u64,
    /// The first packet of the other side that acknowledged it.
    pub acked: Option<PacketRef>,
}

/// A segment with RST.
#[derive(Clone, Debug)]
pub struct Reset {
    /// The packet.
    pub at: PacketRef,
    /// `ToClient`: sent by the server's side, or in its name.
    pub direction: Direction,
    /// Which kernel path makes a segment of this look.
    pub shape: ResetShape,
    /// Offset of its sequence number in its own direction: equals `sent` (+1 after a FIN) when exact.
    pub seq: i64,
    /// Offset that its acknowledgement number covers of the other direction, when it has one. For an active reset these
    /// bytes reached the resetting kernel.
    pub ack: Option<i64>,
    /// Window field as it was on the wire.
    pub window: u16,
    /// It carried timestamps.
    pub timestamps: bool,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Its IPv4 identification.
    pub ip_id: Option<u16>,
    /// What its checksum tells about its maker.
    pub checksum: Checksum,
    /// Bytes of text in it (RFC 9293 §3.10.7 allows some).
    pub payload_len: u32,
    /// Whether its receiver had to believe it (RFC 5961 §3.2).
    pub validity: ResetValidity,
    /// The segment of the other side that most plausibly drew it: for a passive reset the newest one whose ACK equals its
    /// sequence number.
    pub trigger: Option<SegmentNote>,
    /// Its own side had sent a FIN before.
    pub after_own_fin: bool,
    /// The other side had sent a FIN before.
    pub after_peer_fin: bool,
    /// The side in whose name it came went on sending new data, or acknowledged new data, afterwards: it did not send it.
    pub sender_went_on: Option<PacketRef>,
}

impl Reset {
    /// TTL differs from the rest of its direction's packets.
    pub fn ttl_differs(&self, flow: &Flow) -> bool {
        flow.ttl.is_some_and(|ttl| ttl != self.ttl) && !flow.ttl_varies
    }
}

/// How a reset looks; Linux has three ways to make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetShape {
    /// RST,ACK with a window and, where negotiated, timestamps; seq = snd_nxt: `tcp_send_active_reset`.
    Active,
    /// Bare RST, window 0, no options, seq = the trigger's ack: a segment met a socket that was not there (any more).
    Passive,
    /// RST,ACK, seq 0 (or the SYN's own ack), window 0, acknowledges the SYN: nobody listens.
    Refusal,
    /// Anything else: another system, a middlebox, a forger.
    Other,
}

/// RFC 5961 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetValidity {
    /// Sequence number is exactly what the receiver expects next.
    Exact,
    /// Within the window: draws a challenge ACK.
    InWindow,
    /// Outside the window: ignored.
    OutOfWindow,
    /// Cannot be told (picked up mid-stream, packets missed).
    Unknown,
}

/// An ICMP error about a connection.
#[derive(Clone, Copy, Debug)]
pub struct IcmpNote {
    /// The packet that carried it.
    pub at: PacketRef,
    /// Who reported.
    pub reporter: std::net::IpAddr,
    /// What.
    pub kind: IcmpKind,
    /// Type on the wire.
    pub icmp_type: u8,
    /// Code on the wire.
    pub icmp_code: u8,
    /// Direction of the quoted segment.
    pub about: Direction,
    /// It quoted a SYN's sequence number.
    pub about_syn: bool,
}

/// One segment, summarised.
#[derive(Clone, Copy, Debug)]
pub struct SegmentNote {
    /// The packet.
    pub at: PacketRef,
    /// Offset of its first byte in its direction (−1 for a SYN).
    pub seq: i64,
    /// Offset in the other direction up to which it acknowledges; 0 without ACK. One more than `sent` when it covers a FIN.
    pub ack: i64,
    /// Payload bytes on the wire.
    pub len: u32,
    /// Window, scaled, in bytes.
    pub window: u32,
    /// IPv4 identification, 0 where there is none.
    pub ip_id: u16,
    /// Control bits.
    pub flags: Flags,
    /// Which way.
    pub direction: Direction,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What the table saw in it.
    pub marks: Marks,
}

impl SegmentNote {
    /// Offset after its last payload byte.
    pub fn end(&self) -> i64 {
        self.seq + i64::from(self.len) + i64::from(self.flags.has(Flags::SYN))
    }
}

/// What the table saw in a segment, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(pub u8);

impl Marks {
    /// All its payload (or its SYN or FIN) had been sent before.
    pub const RETRANSMISSION: Marks = Marks(1);
    /// A keep-alive probe.
    pub const KEEP_ALIVE: Marks = Marks(2);
    /// Its payload begins after a byte not yet seen.
    pub const OUT_OF_ORDER: Marks = Marks(4);
    /// An ACK that says nothing new and carries nothing.
    pub const DUPLICATE_ACK: Marks = Marks(8);
    /// Advertises a window of zero.
    pub const ZERO_WINDOW: Marks = Marks(16);
    /// A probe of a closed window.
    pub const WINDOW_PROBE: Marks = Marks(32);
    /// Acknowledges bytes the capture does not hold.
    pub const ACKS_MISSED: Marks = Marks(64);
    /// Carries an acknowledgement of bytes not acknowledged before.
    pub const ACKS_NEW: Marks = Marks(128);

    /// Whether every bit of `other` is set.
    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    pub fn set(&mut self, other: Marks) {
        self.0 |= other.0;
    }
}

/// The segments kept: the first ones and the last ones, in time order, and how many were let go between.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The first, at most [`Timeline::HEAD`].
    pub head: Vec<SegmentNote>,
    /// The last, at most [`Timeline::TAIL`]; those in `head` are not repeated.
    pub tail: VecDeque<SegmentNote>,
    /// How many between them were let go.
    pub let_go: u64,
}

impl Timeline {
    /// Segments kept from the beginning.
    pub const HEAD: usize = 6;
    /// Segments kept from the end.
    pub const TAIL: usize = 40;

    /// The kept segments in time order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &SegmentNote> + '_ {
        self.head.iter().chain(self.tail.iter())
    }

    /// Keeps `note`, lets the oldest of the tail go.
    pub fn push(&mut self, note: SegmentNote) {
        if self.head.len() < Self::HEAD {
            self.head.push(note);
            return;
        }
        if self.tail.len() == Self::TAIL {
            self.tail.pop_front();
            self.let_go += 1;
        }
        self.tail.push_back(note);
    }

    /// The kept note of a packet.
    pub fn find(&self, number: u64) -> Option<&SegmentNote> {
        self.iter().find(|note| note.at.number == number)
    }
}
