use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::decoder::{DEEPEST, Decoded, Outcome, Walk};
use super::fragments::{Fragment, Kept};
use super::layer::Layer;
use super::{icmp, tcp, tunnel};
use crate::Issue;

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const IP_IN_IP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;
const ESP: u8 = 50;
const AUTHENTICATION: u8 = 51;
const ICMP_V6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const MPLS_IN_IP: u8 = 137;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// What of the IP header goes into a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// IPv4 identification.
    pub(super) id: Option<u16>,
}

impl Addresses {
    /// Of an IPv4 header.
    #[inline]
    pub(super) fn v4(head: &[u8; 20]) -> Addresses {
        Addresses {
            source: Ipv4Addr::new(head[12], head[13], head[14], head[15]).into(),
            destination: Ipv4Addr::new(head[16], head[17], head[18], head[19]).into(),
            ttl: head[8],
            id: Some(u16::from_be_bytes([head[4], head[5]])),
        }
    }

    /// Of an IPv6 header.
    #[inline]
    pub(super) fn v6(head: &[u8; 40]) -> Addresses {
        let address = |at: usize| {
            let raw: [u8; 16] = head
                .get(at..at + 16)
                .and_then(|raw| raw.try_into().ok())
                .unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from(raw))
        };
        Addresses {
            source: address(8),
            destination: address(24),
            ttl: head[7],
            id: None,
        }
    }
}

/// An IP packet whose version is in its first four bits.
pub(super) fn any<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    match layer.data.first().map(|first| first >> 4) {
        Some(4) => v4(walk, spare, layer),
        Some(6) => v6(walk, spare, layer),
        Some(_) => Err(Issue::NotIp),
        None => Err(cut(layer, 1)),
    }
}

/// An IPv4 packet, maybe with padding behind it.
pub(super) fn v4<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    descend(walk)?;
    let head: &[u8; 20] = layer.head().ok_or(cut(layer, 20))?;
    let header_len = usize::from(head[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] >> 4 != 4 || header_len < 20 {
        return Err(Issue::Malformed);
    }
    // Segmentation offload: the length is filled in by the network card, after the capture.
    let layer = if total == 0 { layer } else { layer.of_wire_len(total) };
    let payload = layer.after(header_len).ok_or(Issue::Malformed)?;
    let addresses = Addresses::v4(head);
    let (protocol, flags) = (head[9], u16::from_be_bytes([head[6], head[7]]));
    let (more, offset) = (flags & 0x2000 != 0, usize::from(flags & 0x1fff) * 8);
    if !more && offset == 0 {
        return transport(walk, spare, &addresses, protocol, payload);
    }
    let id = u32::from(addresses.id.unwrap_or_default());
    let fragment = Fragment {
        addresses,
        id,
        protocol,
        offset,
        more,
        payload,
    };
    reassemble(walk, spare, &fragment, transport)
}

/// An IPv6 packet, maybe with padding behind it.
pub(super) fn v6<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    descend(walk)?;
    let head: &[u8; 40] = layer.head().ok_or(cut(layer, 40))?;
    if head[0] >> 4 != 6 {
        return Err(Issue::Malformed);
    }
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    // 0: a jumbogram (RFC 2675) or segmentation offload.
    let layer = if length == 0 {
        layer
    } else {
        layer.of_wire_len(40 + length)
    };
    let payload = layer.after(40).ok_or(Issue::Malformed)?;
    transport(walk, spare, &Addresses::v6(head), head[6], payload)
}

/// What an IP packet carries: extension headers, another packet, TCP, ICMP.
fn transport<'a>(
    walk: &mut Walk<'_>,
    spare: &'a mut [Vec<u8>],
    addresses: &Addresses,
    protocol: u8,
    layer: Layer<'a>,
) -> Outcome<'a> {
    let (mut protocol, mut layer) = (protocol, layer);
    loop {
        let header_len = match protocol {
            TCP => return tcp::decode(addresses, layer).map(Decoded::Tcp),
            ICMP => return icmp::v4(addresses, layer).map(Decoded::IcmpError),
            ICMP_V6 => return icmp::v6(addresses, layer).map(Decoded::IcmpError),
            UDP => return tunnel::udp(walk, spare, layer),
            GRE => return tunnel::gre(walk, spare, layer),
            IP_IN_IP => return v4(walk, spare, layer),
            IPV6_IN_IP => return v6(walk, spare, layer),
            MPLS_IN_IP => return super::link::mpls(walk, spare, layer),
            ESP => return Err(Issue::Encrypted),
            FRAGMENT if addresses.id.is_none() => return v6_fragment(walk, spare, addresses, layer),
            AUTHENTICATION => (extension_length(layer)? + 2) * 4,
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 if addresses.id.is_none() => {
                (extension_length(layer)? + 1) * 8
            }
            _ => return Err(Issue::NotTcp),
        };
        protocol = *layer.data.first().ok_or(cut(layer, 1))?;
        layer = layer.after(header_len).ok_or(Issue::Malformed)?;
    }
}

/// The length field of an extension header.
fn extension_length(layer: Layer<'_>) -> Result<usize, Issue> {
    layer
        .data
        .get(1)
        .map(|length| usize::from(*length))
        .ok_or(cut(layer, 2))
}

fn v6_fragment<'a>(
    walk: &mut Walk<'_>,
    spare: &'a mut [Vec<u8>],
    addresses: &Addresses,
    layer: Layer<'a>,
) -> Outcome<'a> {
    let head: &[u8; 8] = layer.head().ok_or(cut(layer, 8))?;
    let payload = layer.after(8).ok_or(Issue::Malformed)?;
    let place = u16::from_be_bytes([head[2], head[3]]);
    let (more, offset) = (place & 1 != 0, usize::from(place & 0xfff8));
    if !more && offset == 0 {
        // An atomic fragment (RFC 6946).
        return transport(walk, spare, addresses, head[0], payload);
    }
    let id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let fragment = Fragment {
        addresses: *addresses,
        id,
        protocol: head[0],
        offset,
        more,
        payload,
    };
    reassemble(walk, spare, &fragment, transport)
}

type Next = for<'d, 'w, 'a, 'b> fn(&'d mut Walk<'w>, &'a mut [Vec<u8>], &'b Addresses, u8, Layer<'a>) -> Outcome<'a>;

/// Keeps a fragment; goes on with the whole packet when it was the last one missing.
fn reassemble<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], fragment: &Fragment<'_>, next: Next) -> Outcome<'a> {
    let (whole, spare) = spare.split_first_mut().ok_or(Issue::FragmentsDropped)?;
    match walk.fragments.keep(fragment, walk.now, whole)? {
        Kept::Held => Ok(Decoded::Held),
        Kept::Whole {
            wire_len,
            addresses,
            protocol,
        } => next(walk, spare, &addresses, protocol, Layer::new(whole, wire_len)),
    }
}

fn descend(walk: &mut Walk<'_>) -> Result<(), Issue> {
    if walk.depth > DEEPEST {
        return Err(Issue::TunnelTooDeep);
    }
    walk.depth += 1;
    Ok(())
}

/// Why a header of `need` bytes is not there: cut by the snap length, or never sent.
pub(super) fn cut(layer: Layer<'_>, need: usize) -> Issue {
    if layer.wire_len >= need {
        Issue::HeaderCut
    } else {
        Issue::Malformed
    }
}
