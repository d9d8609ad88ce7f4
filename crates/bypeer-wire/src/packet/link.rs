use super::decoder::{DEEPEST, Outcome, Walk};
use super::ip::{self, cut};
use super::layer::Layer;
use crate::Issue;
use crate::capture::LinkType;

const IPV4: u16 = 0x0800;
const TRANSPARENT_ETHERNET: u16 = 0x6558;
const VLAN: u16 = 0x8100;
const PPP_IN_GRE: u16 = 0x880b;
const IPV6: u16 = 0x86dd;
const MPLS_UNICAST: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
/// Provider tags: 802.1ad and what was used before it.
const PROVIDER_VLAN: [u16; 4] = [0x88a8, 0x9100, 0x9200, 0x9300];

/// A frame of any link type.
pub(super) fn decode<'a>(
    walk: &mut Walk<'_>,
    spare: &'a mut [Vec<u8>],
    link: LinkType,
    layer: Layer<'a>,
) -> Outcome<'a> {
    match link {
        LinkType::ETHERNET => ethernet(walk, spare, layer),
        LinkType::LINUX_SLL => {
            let ether_type = layer.u16(14).ok_or(cut(layer, 16))?;
            payload(walk, spare, ether_type, layer.after(16).ok_or(Issue::Malformed)?)
        }
        LinkType::LINUX_SLL2 => {
            let ether_type = layer.u16(0).ok_or(cut(layer, 2))?;
            payload(walk, spare, ether_type, layer.after(20).ok_or(Issue::Malformed)?)
        }
        LinkType::NULL | LinkType::LOOP => loopback(walk, spare, layer),
        LinkType::RAW | LinkType::RAW_DLT | LinkType::RAW_OPENBSD => ip::any(walk, spare, layer),
        LinkType::IPV4 => ip::v4(walk, spare, layer),
        LinkType::IPV6 => ip::v6(walk, spare, layer),
        LinkType::PPP | LinkType::PPP_HDLC => ppp(walk, spare, layer),
        _ => Err(Issue::UnknownLinkType),
    }
}

/// An Ethernet frame without preamble.
pub(super) fn ethernet<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let ether_type = layer.u16(12).ok_or(cut(layer, 14))?;
    payload(walk, spare, ether_type, layer.after(14).ok_or(Issue::Malformed)?)
}

/// What follows an EtherType.
pub(super) fn payload<'a>(
    walk: &mut Walk<'_>,
    spare: &'a mut [Vec<u8>],
    ether_type: u16,
    layer: Layer<'a>,
) -> Outcome<'a> {
    let (mut ether_type, mut layer) = (ether_type, layer);
    while ether_type == VLAN || PROVIDER_VLAN.contains(&ether_type) {
        ether_type = layer.u16(2).ok_or(cut(layer, 4))?;
        layer = layer.after(4).ok_or(Issue::Malformed)?;
    }
    match ether_type {
        IPV4 => ip::v4(walk, spare, layer),
        IPV6 => ip::v6(walk, spare, layer),
        MPLS_UNICAST | MPLS_MULTICAST => mpls(walk, spare, layer),
        PPPOE_SESSION => ppp(walk, spare, layer.after(6).ok_or(Issue::Malformed)?),
        PPP_IN_GRE => ppp(walk, spare, layer),
        TRANSPARENT_ETHERNET => nested_ethernet(walk, spare, layer),
        // Below 0x600 it is a length, and LLC follows: SNAP may carry IP.
        0..0x600 => match layer.head() {
            Some([0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0]) => ip::v4(walk, spare, layer.after(8).ok_or(Issue::Malformed)?),
            Some([0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd]) => ip::v6(walk, spare, layer.after(8).ok_or(Issue::Malformed)?),
            None => Err(cut(layer, 8)),
            Some(_) => Err(Issue::NotIp),
        },
        _ => Err(Issue::NotIp),
    }
}

/// An Ethernet frame inside of something; counts as a tunnel.
pub(super) fn nested_ethernet<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    if walk.depth > DEEPEST {
        return Err(Issue::TunnelTooDeep);
    }
    walk.depth += 1;
    ethernet(walk, spare, layer)
}

/// A stack of MPLS labels. Nothing names what follows it: the first four bits are looked at (RFC 4928).
pub(super) fn mpls<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let mut layer = layer;
    loop {
        let label = layer.u32(0).ok_or(cut(layer, 4))?;
        layer = layer.after(4).ok_or(Issue::Malformed)?;
        if label & 0x100 != 0 {
            break;
        }
    }
    match layer.data.first().map(|first| first >> 4) {
        Some(4) => ip::v4(walk, spare, layer),
        Some(6) => ip::v6(walk, spare, layer),
        // A pseudowire's control word (RFC 4385), then Ethernet.
        Some(0) => nested_ethernet(walk, spare, layer.after(4).ok_or(Issue::Malformed)?),
        Some(_) => nested_ethernet(walk, spare, layer),
        None => Err(cut(layer, 1)),
    }
}

/// PPP, with or without HDLC's address and control bytes.
fn ppp<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let layer = if layer.data.starts_with(&[0xff, 3]) {
        layer.after(2).ok_or(Issue::Malformed)?
    } else {
        layer
    };
    // An odd first byte is a protocol field compressed to one byte (RFC 1661 §6.5).
    let (protocol, length) = match *layer.data {
        [0xff] => return Err(cut(layer, 2)),
        [first, ..] if first & 1 == 1 => (u16::from(first), 1),
        [first, second, ..] => (u16::from_be_bytes([first, second]), 2),
        _ => return Err(cut(layer, 2)),
    };
    let layer = layer.after(length).ok_or(Issue::Malformed)?;
    match protocol {
        0x0021 => ip::v4(walk, spare, layer),
        0x0057 => ip::v6(walk, spare, layer),
        0x0281 => mpls(walk, spare, layer),
        0x0053 => Err(Issue::Encrypted),
        _ => Err(Issue::NotIp),
    }
}

/// BSD loopback. The family's byte order is the capturing host's, IPv6's number its operating system's.
fn loopback<'a>(walk: &mut Walk<'_>, spare: &'a mut [Vec<u8>], layer: Layer<'a>) -> Outcome<'a> {
    let family = layer.u32(0).ok_or(cut(layer, 4))?;
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    let layer = layer.after(4).ok_or(Issue::Malformed)?;
    match family {
        2 => ip::v4(walk, spare, layer),
        10 | 24 | 28 | 30 => ip::v6(walk, spare, layer),
        _ => Err(Issue::NotIp),
    }
}
