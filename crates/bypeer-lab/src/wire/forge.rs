use std::net::{Ipv4Addr, SocketAddrV4};

use super::packet::{ACK, PROTOCOL_ICMP, PROTOCOL_TCP, Packet, RST};
use super::rule::Refusal;

/// What a forged reset says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) seq: u32,
    /// With the ACK flag, and this number.
    pub(super) ack: Option<u32>,
    pub(super) ttl: u8,
}

impl Reset {
    pub(super) fn packet(&self) -> Option<Packet> {
        let flags = RST | if self.ack.is_some() { ACK } else { 0 };
        let mut tcp = Vec::with_capacity(20);
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.unwrap_or(0).to_be_bytes());
        tcp.extend([0x50, flags]);
        // No window, no checksum yet, no urgent data.
        tcp.extend([0; 6]);
        ipv4(*self.source.ip(), *self.destination.ip(), self.ttl, PROTOCOL_TCP, &tcp)
    }
}

/// The ICMP error that the wire, at `from`, answers a packet with. It quotes up to 128 bytes, as RFC 1812 4.3.2.3 wants more
/// than the 8 behind the IP header: the whole head of a segment.
pub(super) fn refusal(from: Ipv4Addr, refused: &Packet, with: Refusal) -> Option<Packet> {
    let quote = refused.ip();
    let quote = &quote[..quote.len().min(128)];
    let mut icmp = vec![3, with.code, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quote);
    ipv4(from, refused.source(), 64, PROTOCOL_ICMP, &icmp)
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, protocol: u8, body: &[u8]) -> Option<Packet> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(u16::try_from(20 + body.len()).ok()?.to_be_bytes());
    // No identification, not to be fragmented.
    frame.extend([0, 0, 0x40, 0, ttl, protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend_from_slice(body);
    Packet::parse(&frame)
}
