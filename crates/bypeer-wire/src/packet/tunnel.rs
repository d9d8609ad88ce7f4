//! Packets within packets: GRE, VXLAN, Geneve.

use super::decoder::{Outcome, Walk};
use super::ip::cut;
use super::layer::Layer;
use super::link;
use crate::Issue;

/// VXLAN's assigned port, and the one that Linux used before there was one.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
/// ESP in UDP, through address translation (RFC 3948).
const IPSEC_PORT: u16 = 4500;

const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;

/// A UDP datagram: a tunnel by its destination port, or of no interest.
pub(super) fn udp<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let port = layer.u16(2).ok_or(cut(layer, 8))?;
    let inner = layer.after(8).ok_or(Issue::Malformed)?;
    match port {
        port if VXLAN_PORTS.contains(&port) => vxlan(walk, spare, inner),
        GENEVE_PORT => geneve(walk, spare, inner),
        // Four zero bytes mark key exchange, one byte alone is a keep-alive.
        IPSEC_PORT if inner.u32(0).is_some_and(|spi| spi != 0) => Err(Issue::Encrypted),
        _ => Err(Issue::NotTcp),
    }
}

/// RFC 7348.
fn vxlan<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let flags = *layer.data.first().ok_or(cut(layer, 8))?;
    if flags & 0x08 == 0 {
        return Err(Issue::NotTcp);
    }
    link::nested_ethernet(walk, spare, layer.after(8).ok_or(Issue::Malformed)?)
}

/// RFC 8926.
fn geneve<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let head: &[u8; 4] = layer.head().ok_or(cut(layer, 8))?;
    if head[0] >> 6 != 0 {
        return Err(Issue::NotTcp);
    }
    let options = usize::from(head[0] & 0x3f) * 4;
    let inner = layer.after(8 + options).ok_or(Issue::Malformed)?;
    link::payload(walk, spare, u16::from_be_bytes([head[2], head[3]]), inner)
}

/// RFC 2784 and 2890, version 1 for PPTP (RFC 2637), ERSPAN and NVGRE.
pub(super) fn gre<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let head: &[u8; 4] = layer.head().ok_or(cut(layer, 4))?;
    let (flags, protocol) = (
        u16::from_be_bytes([head[0], head[1]]),
        u16::from_be_bytes([head[2], head[3]]),
    );
    let field = |bit: u16| if flags & bit != 0 { 4 } else { 0 };
    let (checksum, routing, key, sequence, acknowledgement) = (0x8000, 0x4000, 0x2000, 0x1000, 0x0080);
    let header_len = match flags & 7 {
        // Source routing is obsolete, and nothing is known to send it.
        0 if flags & routing != 0 => return Err(Issue::Malformed),
        0 => 4 + field(checksum) + field(key) + field(sequence),
        1 => 4 + field(key) + field(sequence) + field(acknowledgement),
        _ => return Err(Issue::Malformed),
    };
    let inner = layer.after(header_len).ok_or(Issue::Malformed)?;
    match protocol {
        // Type I has no header of its own and no sequence number; type II has eight bytes.
        ERSPAN if flags & sequence == 0 => link::nested_ethernet(walk, spare, inner),
        ERSPAN => link::nested_ethernet(walk, spare, inner.after(8).ok_or(Issue::Malformed)?),
        ERSPAN_III => {
            let last = *inner.data.get(11).ok_or(cut(inner, 12))?;
            let platform = if last & 1 != 0 { 8 } else { 0 };
            link::nested_ethernet(walk, spare, inner.after(12 + platform).ok_or(Issue::Malformed)?)
        }
        other => link::payload(walk, spare, other, inner),
    }
}
