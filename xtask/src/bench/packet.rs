//! IP packets with TCP in them: made, and taken from captures with other ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP as IP's protocol number.
const TCP: u8 = 6;

/// What a made segment says.
#[derive(Clone, Copy)]
pub struct Header {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Milliseconds; goes into the timestamps.
    pub clock: u32,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// An IPv4 packet with a segment as Linux makes them: timestamps on all, MSS, SACK and window scale on a SYN.
pub fn make(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut options = Vec::with_capacity(20);
    if header.flags & SYN != 0 {
        options.extend([2, 4, 5, 0xb4, 4, 2]); // MSS 1460, SACK permitted
    } else {
        options.extend([1, 1]);
    }
    options.extend([8, 10]);
    options.extend(header.clock.to_be_bytes());
    options.extend(header.clock.wrapping_sub(1).to_be_bytes());
    if header.flags & SYN != 0 {
        options.extend([1, 3, 3, 7]);
    }
    let total = 20 + 20 + options.len() + payload.len();
    let mut packet = Vec::with_capacity(total);
    packet.extend([0x45, 0]);
    packet.extend((total as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
    packet.extend(header.source.0.octets());
    packet.extend(header.destination.0.octets());
    packet.extend(header.source.1.to_be_bytes());
    packet.extend(header.destination.1.to_be_bytes());
    packet.extend(header.seq.to_be_bytes());
    packet.extend(header.ack.to_be_bytes());
    packet.extend([((20 + options.len()) / 4 * 16) as u8, header.flags, 1, 0xf5, 0, 0, 0, 0]);
    packet.extend(&options);
    packet.extend(payload);
    sum_up(&mut packet);
    packet
}

/// Whether it is a whole packet, IPv4 or IPv6 without extension headers, with a TCP segment in it.
pub fn is_tcp(packet: &[u8]) -> bool {
    match packet {
        [0x45, _, high, low, _, _, flags, fragment, _, TCP, ..] => {
            let total = usize::from(u16::from_be_bytes([*high, *low]));
            total == packet.len() && total >= 40 && flags & 0x3f == 0 && *fragment == 0
        }
        [first, _, _, _, high, low, TCP, ..] if first >> 4 == 6 => {
            let payload = usize::from(u16::from_be_bytes([*high, *low]));
            payload + 40 == packet.len() && payload >= 20
        }
        _ => false,
    }
}

/// The addresses of a packet that [`is_tcp`].
pub fn addresses(packet: &[u8]) -> [IpAddr; 2] {
    match packet[0] >> 4 {
        4 => [12, 16].map(|at| IpAddr::from(four(packet, at))),
        _ => [8, 24].map(|at| IpAddr::from(sixteen(packet, at))),
    }
}

/// Gives a packet that [`is_tcp`] other addresses and moves its sequence numbers. Every stream of an address moves by
/// as much as that address says, so that acknowledgements still fit.
pub fn redirect(packet: &mut [u8], [source, destination]: [(u32, u32); 2]) {
    let tcp = match packet[0] >> 4 {
        4 => {
            packet[12..16].copy_from_slice(&four_of(source.0));
            packet[16..20].copy_from_slice(&four_of(destination.0));
            20
        }
        _ => {
            packet[8..24].copy_from_slice(&sixteen_of(source.0));
            packet[24..40].copy_from_slice(&sixteen_of(destination.0));
            40
        }
    };
    let segment = &mut packet[tcp..];
    shift(segment, 4, source.1);
    if segment[13] & ACK != 0 {
        shift(segment, 8, destination.1);
    }
    shift_sack(segment, destination.1);
    sum_up(packet);
}

/// 10.0.0.0/8 and its likeness in IPv6.
fn four_of(host: u32) -> [u8; 4] {
    (0x0a00_0000 | (host & 0x00ff_ffff)).to_be_bytes()
}

fn sixteen_of(host: u32) -> [u8; 16] {
    (0xfd00_u128 << 112 | u128::from(host)).to_be_bytes()
}

fn four(packet: &[u8], at: usize) -> Ipv4Addr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&packet[at..at + 4]);
    octets.into()
}

fn sixteen(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    octets.into()
}

fn shift(bytes: &mut [u8], at: usize, by: u32) {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    bytes[at..at + 4].copy_from_slice(&u32::from_be_bytes(word).wrapping_add(by).to_be_bytes());
}

/// SACK blocks hold sequence numbers of the other direction.
fn shift_sack(segment: &mut [u8], by: u32) {
    let end = (usize::from(segment[12] >> 4) * 4).min(segment.len());
    let mut at = 20;
    while at + 1 < end {
        match (segment[at], usize::from(segment[at + 1])) {
            (0, _) => return,
            (1, _) => at += 1,
            (_, length) if length < 2 || at + length > end => return,
            (kind, length) => {
                if kind == 5 {
                    (at + 2..at + length - 3)
                        .step_by(4)
                        .for_each(|word| shift(segment, word, by));
                }
                at += length;
            }
        }
    }
}

/// Writes the checksums.
fn sum_up(packet: &mut [u8]) {
    let (tcp, addresses) = match packet[0] >> 4 {
        4 => {
            packet[10..12].fill(0);
            let sum = !fold(sum(&packet[..20]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            (20, 12..20)
        }
        _ => (40, 8..40),
    };
    packet[tcp + 16..tcp + 18].fill(0);
    let length = (packet.len() - tcp) as u64;
    let sum = !fold(sum(&packet[addresses]) + u64::from(TCP) + length + sum(&packet[tcp..]));
    packet[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)))
        .sum::<u64>()
        + last
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use bypeer_wire::Timestamp;
    use bypeer_wire::capture::LinkType;
    use bypeer_wire::packet::{Checksum, Decoded, Decoder};

    use super::*;

    /// What bypeer itself makes of it: addresses, sequence numbers, sum.
    #[test]
    fn redirected_packets_are_whole_and_moved() {
        let header = Header {
            source: (Ipv4Addr::new(1, 2, 3, 4), 1000),
            destination: (Ipv4Addr::new(5, 6, 7, 8), 80),
            seq: 10,
            ack: 20,
            flags: FIN | ACK,
            clock: 7,
        };
        let mut packet = make(&header, b"hello");
        assert!(is_tcp(&packet));
        redirect(&mut packet, [(1, 100), (2, 200)]);
        let mut decoder = Decoder::new();
        let length = packet.len() as u32;
        let Decoded::Tcp(segment) = decoder.decode(LinkType(101), &packet, length, Timestamp::default()) else {
            panic!("not understood")
        };
        assert_eq!(segment.source.to_string(), "10.0.0.1:1000");
        assert_eq!(segment.destination.to_string(), "10.0.0.2:80");
        assert_eq!(
            (segment.seq, segment.ack, segment.payload),
            (110, 220, b"hello".as_slice())
        );
        assert_eq!(segment.checksum, Checksum::Valid);
    }
}
