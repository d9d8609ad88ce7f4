//! ICMP errors that quote a TCP segment.

use std::net::IpAddr;

use super::ip::{Addresses, cut};
use super::layer::Layer;
use super::{IcmpError, IcmpKind};
use crate::{Endpoint, Issue};

const TCP: u8 = 6;

/// Extension headers in a quoted IPv6 packet beyond this many are not followed.
const MOST_EXTENSIONS: usize = 8;

/// RFC 792, RFC 1812 §5.2.7.1.
pub(super) fn v4(addresses: &Addresses, layer: Layer<'_>) -> Result<IcmpError, Issue> {
    let head: &[u8; 8] = layer.head().ok_or(cut(layer, 8))?;
    let kind = match (head[0], head[1]) {
        (3, 2 | 3) => IcmpKind::PortUnreachable,
        (3, 4) => IcmpKind::TooBig(u32::from(u16::from_be_bytes([head[6], head[7]]))),
        (3, 9 | 10 | 13) => IcmpKind::Prohibited,
        (3, 0 | 1 | 5..=8 | 11 | 12) => IcmpKind::Unreachable,
        (11, _) => IcmpKind::TimeExceeded,
        (3 | 4 | 12, _) => IcmpKind::Other,
        _ => return Err(Issue::NotTcp),
    };
    quoted(
        addresses,
        [head[0], head[1]],
        kind,
        layer.after(8).ok_or(Issue::Malformed)?,
    )
}

/// RFC 4443.
pub(super) fn v6(addresses: &Addresses, layer: Layer<'_>) -> Result<IcmpError, Issue> {
    let head: &[u8; 8] = layer.head().ok_or(cut(layer, 8))?;
    let kind = match (head[0], head[1]) {
        (1, 4) => IcmpKind::PortUnreachable,
        (1, 1 | 5 | 6) => IcmpKind::Prohibited,
        (1, 0 | 2 | 3) => IcmpKind::Unreachable,
        (2, _) => IcmpKind::TooBig(u32::from_be_bytes([head[4], head[5], head[6], head[7]])),
        (3, _) => IcmpKind::TimeExceeded,
        (1 | 4, _) => IcmpKind::Other,
        _ => return Err(Issue::NotTcp),
    };
    quoted(
        addresses,
        [head[0], head[1]],
        kind,
        layer.after(8).ok_or(Issue::Malformed)?,
    )
}

/// The packet that the error is about; at least the first 8 bytes of its payload are needed.
fn quoted(
    reporter: &Addresses,
    [icmp_type, icmp_code]: [u8; 2],
    kind: IcmpKind,
    layer: Layer<'_>,
) -> Result<IcmpError, Issue> {
    let (addresses, tcp) = match layer.data.first().ok_or(cut(layer, 1))? >> 4 {
        4 => quoted_v4(layer)?,
        6 => quoted_v6(layer)?,
        _ => return Err(Issue::Malformed),
    };
    let head: &[u8; 8] = tcp.head().ok_or(cut(tcp, 8))?;
    let endpoint = |addr: IpAddr, high: u8, low: u8| Endpoint {
        addr,
        port: u16::from_be_bytes([high, low]),
    };
    Ok(IcmpError {
        reporter: reporter.source,
        kind,
        icmp_type,
        icmp_code,
        source: endpoint(addresses.source, head[0], head[1]),
        destination: endpoint(addresses.destination, head[2], head[3]),
        seq: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
    })
}

fn quoted_v4(layer: Layer<'_>) -> Result<(Addresses, Layer<'_>), Issue> {
    let head: &[u8; 20] = layer.head().ok_or(cut(layer, 20))?;
    let first_fragment = u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
    if head[9] != TCP || !first_fragment {
        return Err(Issue::NotTcp);
    }
    let header_len = usize::from(head[0] & 0x0f) * 4;
    if header_len < 20 {
        return Err(Issue::Malformed);
    }
    let tcp = layer.after(header_len).ok_or(Issue::Malformed)?;
    Ok((Addresses::v4(head), tcp))
}

fn quoted_v6(layer: Layer<'_>) -> Result<(Addresses, Layer<'_>), Issue> {
    let head: &[u8; 40] = layer.head().ok_or(cut(layer, 40))?;
    let (mut protocol, mut rest) = (head[6], layer.after(40).ok_or(Issue::Malformed)?);
    for _ in 0..MOST_EXTENSIONS {
        let header_len = match protocol {
            TCP => return Ok((Addresses::v6(head), rest)),
            // Hop by hop, routing, destination options.
            0 | 43 | 60 => {
                let length = *rest.data.get(1).ok_or(cut(rest, 2))?;
                (usize::from(length) + 1) * 8
            }
            44 if rest.u16(2).ok_or(cut(rest, 4))? & 0xfff8 == 0 => 8,
            _ => return Err(Issue::NotTcp),
        };
        protocol = *rest.data.first().ok_or(cut(rest, 1))?;
        rest = rest.after(header_len).ok_or(Issue::Malformed)?;
    }
    Err(Issue::NotTcp)
}
