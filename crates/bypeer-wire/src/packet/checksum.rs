use std::net::IpAddr;

use super::layer::Layer;

/// What a TCP checksum tells about who made a segment. Only looked at in small segments with SYN, FIN or RST.
///
/// Linux leaves the sum over the header to the network card (`CHECKSUM_PARTIAL`): on the sending host, and all along a
/// virtual link, the field then holds the pseudo-header's sum alone. A socket's own segments and the resets of
/// netfilter's REJECT (`nf_reject_ip_tcphdr_put`) are sent so; a reset for a segment that met no socket
/// (`tcp_v4_send_reset`) is summed in software and is always whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// Not looked at, or not all bytes were captured.
    #[default]
    Unchecked,
    /// Right.
    Valid,
    /// Holds the sum of the pseudo-header alone: left to be completed by hardware.
    Partial,
    /// Neither.
    Wrong,
}

/// Judges the checksum of a whole TCP segment. RFC 9293 §3.1.
pub(super) fn judge(source: IpAddr, destination: IpAddr, segment: Layer<'_>) -> Checksum {
    if segment.data.len() < segment.wire_len || segment.data.len() < 20 {
        return Checksum::Unchecked;
    }
    let mut pseudo = 6 + segment.wire_len as u64;
    for address in [source, destination] {
        pseudo += match address {
            IpAddr::V4(address) => sum(&address.octets()),
            IpAddr::V6(address) => sum(&address.octets()),
        };
    }
    let field = match segment.data {
        [.., _, _] if segment.data.len() >= 18 => u16::from_be_bytes([segment.data[16], segment.data[17]]),
        _ => return Checksum::Unchecked,
    };
    if fold(pseudo + sum(segment.data)) == 0xffff {
        Checksum::Valid
    } else if fold(pseudo) == field {
        Checksum::Partial
    } else {
        Checksum::Wrong
    }
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
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    /// RST from port 80 to 1024, seq 1, no ack, checksum as given.
    fn reset(checksum: u16) -> [u8; 20] {
        let [high, low] = checksum.to_be_bytes();
        [0, 80, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 4, 0, 0, high, low, 0, 0]
    }

    #[test]
    fn tells_whole_partial_and_wrong_sums_apart() {
        // By hand: pseudo-header 0a00+0001+0a00+0002+0006+0014 = 141d; header 0050+0400+0001+5004 = 5455.
        let whole = !(0x141d_u16 + 0x5455);
        for (checksum, expected) in [
            (whole, Checksum::Valid),
            (0x141d, Checksum::Partial),
            (0x1234, Checksum::Wrong),
        ] {
            let bytes = reset(checksum);
            assert_eq!(judge(A, B, Layer::new(&bytes, 20)), expected);
        }
        assert_eq!(judge(A, B, Layer::new(&reset(whole), 24)), Checksum::Unchecked);
    }
}
