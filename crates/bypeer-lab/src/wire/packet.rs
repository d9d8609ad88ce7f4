use std::net::{Ipv4Addr, SocketAddrV4};

use super::rule::Kind;

/// Bytes of the Ethernet header that every frame here begins with.
pub(super) const ETHERNET: usize = 14;
/// The largest IP packet that the hosts' interfaces take.
pub(super) const MTU: usize = 1500;

pub(super) const PROTOCOL_ICMP: u8 = 1;
pub(super) const PROTOCOL_TCP: u8 = 6;
pub(super) const PROTOCOL_UDP: u8 = 17;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

/// An IPv4 packet in its Ethernet frame, looked through once: its lengths are sound, and padding is cut off.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    bytes: Vec<u8>,
    ip_header: usize,
    /// Length of the TCP header. `None`: no TCP, or not whole.
    tcp_header: Option<usize>,
}

impl Packet {
    /// `None`: no IPv4, or not whole.
    pub(super) fn parse(frame: &[u8]) -> Option<Packet> {
        let ip = frame.get(ETHERNET..)?;
        if frame[12..14] != [0x08, 0x00] || ip.len() < 20 || ip[0] >> 4 != 4 {
            return None;
        }
        let ip_header = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip_header < 20 || total < ip_header || total > ip.len() {
            return None;
        }
        let mut packet = Packet {
            bytes: frame[..ETHERNET + total].to_vec(),
            ip_header,
            tcp_header: None,
        };
        let body = packet.body();
        if packet.protocol() == PROTOCOL_TCP && !packet.is_fragment() && body.len() >= 20 {
            let length = usize::from(body[12] >> 4) * 4;
            packet.tcp_header = (20..=body.len()).contains(&length).then_some(length);
        }
        Some(packet)
    }

    /// The Ethernet frame.
    pub(super) fn frame(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_frame(self) -> Vec<u8> {
        self.bytes
    }

    /// The IP packet.
    pub(super) fn ip(&self) -> &[u8] {
        &self.bytes[ETHERNET..]
    }

    fn ip_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[ETHERNET..]
    }

    fn body(&self) -> &[u8] {
        &self.ip()[self.ip_header..]
    }

    pub(super) fn protocol(&self) -> u8 {
        self.ip()[9]
    }

    fn is_fragment(&self) -> bool {
        let place = u16::from_be_bytes([self.ip()[6], self.ip()[7]]);
        place & 0x3fff != 0
    }

    pub(super) fn source(&self) -> Ipv4Addr {
        let ip = self.ip();
        Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15])
    }

    pub(super) fn destination(&self) -> Ipv4Addr {
        let ip = self.ip();
        Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19])
    }

    /// The two ends of a TCP segment or UDP datagram.
    pub(super) fn ends(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let has_ports = self.is_tcp() || (self.protocol() == PROTOCOL_UDP && !self.is_fragment());
        match self.body() {
            [a, b, c, d, ..] if has_ports => Some((
                SocketAddrV4::new(self.source(), u16::from_be_bytes([*a, *b])),
                SocketAddrV4::new(self.destination(), u16::from_be_bytes([*c, *d])),
            )),
            _ => None,
        }
    }

    /// Only where there are [`Packet::ends`]; checksums are made on exit.
    pub(super) fn set_source(&mut self, end: SocketAddrV4) {
        self.set_end(12, 0, end);
    }

    pub(super) fn set_destination(&mut self, end: SocketAddrV4) {
        self.set_end(16, 2, end);
    }

    fn set_end(&mut self, address_at: usize, port_at: usize, end: SocketAddrV4) {
        let port_at = self.ip_header + port_at;
        let ip = self.ip_mut();
        ip[address_at..address_at + 4].copy_from_slice(&end.ip().octets());
        ip[port_at..port_at + 2].copy_from_slice(&end.port().to_be_bytes());
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.tcp_header.is_some()
    }

    /// 0 where it is no TCP.
    pub(super) fn flags(&self) -> u8 {
        self.tcp_header.map_or(0, |_| self.body()[13])
    }

    pub(super) fn seq(&self) -> u32 {
        let body = self.body();
        self.tcp_header
            .map_or(0, |_| u32::from_be_bytes([body[4], body[5], body[6], body[7]]))
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.tcp_header.map_or(&[], |length| &self.body()[length..])
    }

    /// The places that it takes in the sequence: payload, SYN and FIN.
    pub(super) fn seq_len(&self) -> u32 {
        let flags = self.flags();
        self.payload().len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
    }

    /// Whether a TCP segment, or any packet, is of this kind.
    pub(super) fn is(&self, kind: Kind) -> bool {
        let flags = self.flags() & (SYN | FIN | RST | ACK);
        match kind {
            Kind::Any => true,
            _ if !self.is_tcp() => false,
            Kind::Syn => flags & (SYN | ACK) == SYN,
            Kind::SynAck => flags & (SYN | ACK) == SYN | ACK,
            Kind::Fin => flags & FIN != 0,
            Kind::Rst => flags & RST != 0,
            Kind::Ack => flags == ACK && self.payload().is_empty(),
            Kind::Data => !self.payload().is_empty(),
            Kind::Request => begins_request(self.payload()),
            Kind::Response => self.payload().starts_with(b"HTTP/"),
        }
    }

    /// The same question about what lies behind the first `old` bytes of payload: those came before.
    pub(super) fn is_behind(&self, old: usize, kind: Kind) -> bool {
        let payload = self.payload().get(old..).unwrap_or_default();
        match kind {
            Kind::Any => true,
            Kind::Fin => self.is(kind),
            Kind::Data => !payload.is_empty(),
            Kind::Request => begins_request(payload),
            Kind::Response => payload.starts_with(b"HTTP/"),
            Kind::Syn | Kind::SynAck | Kind::Rst | Kind::Ack => false,
        }
    }

    /// Cuts a TCP packet that segmentation offload left whole into packets of at most [`MTU`], as the card would have.
    pub(super) fn segments(self) -> Vec<Packet> {
        let Some(tcp_header) = self.tcp_header.filter(|_| self.ip().len() > MTU) else {
            return vec![self];
        };
        let head = ETHERNET + self.ip_header + tcp_header;
        let most = MTU - self.ip_header - tcp_header;
        let identification = u16::from_be_bytes([self.ip()[4], self.ip()[5]]);
        let count = self.payload().len().div_ceil(most);
        let pieces = self.payload().chunks(most).enumerate();
        pieces
            .map(|(index, piece)| {
                let mut bytes = self.bytes[..head].to_vec();
                bytes.extend_from_slice(piece);
                let mut packet = Packet { bytes, ..self };
                let total = (packet.bytes.len() - ETHERNET) as u16;
                let seq = self.seq().wrapping_add((index * most) as u32);
                let mut flags = self.flags();
                if index + 1 < count {
                    flags &= !(FIN | PSH);
                }
                if index > 0 {
                    flags &= !CWR;
                }
                let ip_header = packet.ip_header;
                let ip = packet.ip_mut();
                ip[2..4].copy_from_slice(&total.to_be_bytes());
                ip[4..6].copy_from_slice(&identification.wrapping_add(index as u16).to_be_bytes());
                ip[ip_header + 4..ip_header + 8].copy_from_slice(&seq.to_be_bytes());
                ip[ip_header + 13] = flags;
                packet
            })
            .collect()
    }

    /// Makes it ready to leave: addresses of the link, and all checksums. A host leaves its own to the card, and a
    /// virtual link has none.
    pub(super) fn finish(&mut self, destination: [u8; 6], source: [u8; 6]) {
        self.bytes[..6].copy_from_slice(&destination);
        self.bytes[6..12].copy_from_slice(&source);
        let (ip_header, protocol, is_fragment) = (self.ip_header, self.protocol(), self.is_fragment());
        let ip = self.ip_mut();
        ip[10..12].fill(0);
        let head_checksum = !fold(sum(&ip[..ip_header]));
        ip[10..12].copy_from_slice(&head_checksum.to_be_bytes());
        if is_fragment {
            return;
        }
        let (head, body) = ip.split_at_mut(ip_header);
        let pseudo = sum_of_pseudo_header(&head[12..20], protocol, body.len());
        let (at, start) = match protocol {
            PROTOCOL_TCP => (16, pseudo),
            PROTOCOL_UDP => (6, pseudo),
            PROTOCOL_ICMP => (2, 0),
            _ => return,
        };
        let Some(field) = body.get_mut(at..at + 2) else {
            return;
        };
        // RFC 768: a datagram without a checksum.
        if protocol == PROTOCOL_UDP && *field == [0, 0] {
            return;
        }
        field.fill(0);
        let mut checksum = !fold(start + sum(body));
        if protocol == PROTOCOL_UDP && checksum == 0 {
            checksum = 0xffff;
        }
        body[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn sum_of_pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    sum(addresses) + u64::from(protocol) + length as u64
}

fn begins_request(payload: &[u8]) -> bool {
    let methods: [&[u8]; 9] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"CONNECT ",
        b"OPTIONS ",
        b"TRACE ",
        b"PATCH ",
    ];
    methods.iter().any(|method| payload.starts_with(method))
}

/// The sum of RFC 1071, not folded yet.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    last + words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum::<u64>()
}

pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
