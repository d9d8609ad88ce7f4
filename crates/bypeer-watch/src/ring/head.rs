use bypeer_wire::Endpoint;

use super::filter::{EXTENSIONS, VLAN};

const TCP: u8 = 6;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// What the headers of a TCP packet say, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// As in the TCP header's last byte.
    pub(super) flags: u8,
    /// IPv4 identification.
    pub(super) id: u16,
    /// Bytes from the IP header to the end of the TCP header.
    pub(super) len: usize,
    /// Bytes of the packet from its IP header on, as that says; `None` where it does not (segmentation offload beyond 64 KiB).
    pub(super) total: Option<usize>,
}

impl Head {
    /// Whether it has SYN and not ACK: a connection begins.
    pub(super) fn opens(&self) -> bool {
        self.flags & 0x12 == 0x02
    }

    /// Whether it has SYN.
    pub(super) fn has_syn(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// Reads a packet that begins with its IP header. `None`: it is no TCP, or not its first fragment, or cut before the end of its headers.
    pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
        match bytes.first()? >> 4 {
            4 => Head::v4(bytes),
            6 => Head::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &[u8]) -> Option<Head> {
        let ip: &[u8; 20] = bytes.first_chunk()?;
        let at = usize::from(ip[0] & 0x0f) * 4;
        let later_fragment = u16(ip, 6)? & 0x1fff != 0;
        if at < 20 || ip[9] != TCP || later_fragment {
            return None;
        }
        let address = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|bytes| (*bytes).into());
        Head::tcp(bytes, at, [address(12)?, address(16)?], u16(ip, 4)?, u16(ip, 2)?.into())
    }

    fn v6(bytes: &[u8]) -> Option<Head> {
        let ip: &[u8; 40] = bytes.first_chunk()?;
        let (mut next, mut at) = (ip[6], 40);
        while next != TCP {
            if !EXTENSIONS.contains(&next) {
                return None;
            }
            let header: &[u8; 8] = bytes.get(at..)?.first_chunk()?;
            at += match next {
                FRAGMENT if u16(header, 2)? & 0xfff8 != 0 => return None,
                FRAGMENT => 8,
                AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            next = header[0];
        }
        let address = |at: usize| bytes.get(at..)?.first_chunk::<16>().map(|bytes| (*bytes).into());
        let payload = usize::from(u16(ip, 4)?);
        let total = if payload == 0 { 0 } else { 40 + payload };
        Head::tcp(bytes, at, [address(8)?, address(24)?], 0, total)
    }

    fn tcp(bytes: &[u8], at: usize, addresses: [std::net::IpAddr; 2], id: u16, total: usize) -> Option<Head> {
        let tcp: &[u8; 20] = bytes.get(at..)?.first_chunk()?;
        let len = at + usize::from(tcp[12] >> 4) * 4;
        let is_sound = len >= at + 20 && len <= bytes.len() && (total == 0 || total >= len);
        let [source, destination] = addresses;
        is_sound.then_some(Head {
            source: Endpoint {
                addr: source,
                port: u16(tcp, 0)?,
            },
            destination: Endpoint {
                addr: destination,
                port: u16(tcp, 2)?,
            },
            seq: u32(tcp, 4)?,
            ack: u32(tcp, 8)?,
            flags: tcp[13],
            id,
            len,
            total: (total != 0).then_some(total),
        })
    }
}

/// Takes off a VLAN tag that stands in the packet; `protocol` is the one that the kernel told of it.
///
/// A packet that went out with a tag has that protocol, whether the tag is still in front of the IP header or not.
pub(super) fn untagged(protocol: u16, bytes: &[u8]) -> &[u8] {
    let inner = bytes.get(4..).unwrap_or_default();
    let version = inner.first().map(|first| first >> 4);
    let is_tag = matches!(
        (u16(bytes, 2), version),
        (Some(0x0800), Some(4)) | (Some(0x86dd), Some(6))
    );
    if VLAN.contains(&protocol) && is_tag {
        inner
    } else {
        bytes
    }
}

fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}
