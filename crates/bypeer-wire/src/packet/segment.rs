use super::Checksum;
use crate::Endpoint;

/// One TCP segment, checked: every accessor is infallible, the payload is what the capture holds of it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it (or pretends to have).
    pub source: Endpoint,
    /// Whom it is for.
    pub destination: Endpoint,
    /// Sequence number of the first payload byte (of the SYN where there is one).
    pub seq: u32,
    /// Acknowledgement number; meaningful only with [`Flags::ACK`].
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// The window field, unscaled.
    pub window: u16,
    /// The options that matter here.
    pub options: TcpOptions,
    /// IP time to live, or hop limit.
    pub ttl: u8,
    /// IPv4 identification; `None` for IPv6.
    pub ip_id: Option<u16>,
    /// Payload bytes on the wire, from the IP length (from the captured length where that is 0: segmentation offload).
    pub payload_len: u32,
    /// What its checksum tells about its maker.
    pub checksum: Checksum,
    /// What the capture holds of the payload; shorter than `payload_len` under a snap length.
    pub payload: &'a [u8],
}

/// TCP control bits, as in the header's last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement field is significant.
    pub const ACK: Flags = Flags(0x10);

    /// Whether every bit of `other` is set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The TCP options that tell something about how a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift, at most 14.
    pub window_scale: Option<u8>,
    /// Timestamps: (TSval, TSecr).
    pub timestamps: Option<(u32, u32)>,
    /// SACK permitted (SYN).
    pub sack_permitted: bool,
    /// A SACK block whose range lies below the ACK: a D-SACK (RFC 2883), that is, the sender got something twice.
    pub sack: Option<(u32, u32)>,
    /// Multipath TCP (option 30): the subtype.
    pub mptcp: Option<u8>,
}

/// An ICMP error that quotes a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent the error: the host itself, or a router or firewall between.
    pub reporter: std::net::IpAddr,
    /// What it says.
    pub kind: IcmpKind,
    /// The ICMP type on the wire (v4 or v6 numbering, by the reporter's family).
    pub icmp_type: u8,
    /// The ICMP code on the wire.
    pub icmp_code: u8,
    /// Sender of the quoted segment.
    pub source: Endpoint,
    /// Destination of the quoted segment.
    pub destination: Endpoint,
    /// Sequence number of the quoted segment (RFC 792 guarantees these 8 bytes).
    pub seq: u32,
}

/// What an ICMP error means to TCP (RFC 1122 §4.2.3.9, RFC 5927).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpKind {
    /// No route to host or network.
    Unreachable,
    /// Port or protocol unreachable.
    PortUnreachable,
    /// Prohibited by an administrator: a firewall that answers.
    Prohibited,
    /// Too big for the next link; the value is the next hop's MTU, 0 when not said.
    TooBig(u32),
    /// TTL exceeded on the way.
    TimeExceeded,
    /// Anything else.
    Other,
}
