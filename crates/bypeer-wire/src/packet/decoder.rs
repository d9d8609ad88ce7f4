use super::fragments::Fragments;
use super::layer::Layer;
use super::{IcmpError, Segment, ip, link, tcp};
use crate::capture::LinkType;
use crate::{Issue, Issues, Timestamp};

/// Tunnels within tunnels are followed this deep.
pub(super) const DEEPEST: u8 = 6;

/// Fragmented packets within a fragmented packet: this many layers are put together.
const REASSEMBLIES: usize = 2;

/// Frames to TCP segments; holds fragments of IP packets until their rest comes.
///
/// Checksums are not verified: with checksum offload the sender's own packets are captured with wrong ones.
#[derive(Debug, Default)]
pub struct Decoder {
    fragments: Fragments,
    /// Packets put together from fragments, one for each layer.
    whole: [Vec<u8>; REASSEMBLIES],
}

/// What a frame turned out to hold.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// An ICMP error that quotes a TCP segment.
    IcmpError(IcmpError),
    /// A fragment, kept until the rest of its packet comes.
    Held,
    /// Neither; the caller counts the issue.
    Unusable(Issue),
}

impl Decoder {
    /// A decoder without any fragment.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Decodes one frame of `data.len()` captured bytes that had `original_len` bytes on the wire.
    ///
    /// `now` is the frame's time; it only ages fragments.
    #[inline]
    pub fn decode<'a>(&'a mut self, link: LinkType, data: &'a [u8], original_len: u32, now: Timestamp) -> Decoded<'a> {
        let layer = Layer::new(data, original_len as usize);
        if let Some(decoded) = plain(link, layer) {
            return decoded;
        }
        let mut walk = Walk {
            fragments: &mut self.fragments,
            now,
            depth: 0,
        };
        link::decode(&mut walk, &mut self.whole, link, layer).unwrap_or_else(Decoded::Unusable)
    }

    /// Tells that no more frames come: what is still held is counted as incomplete.
    pub fn end(&mut self) {
        self.fragments.end();
    }

    /// What was found out later than at the frame itself: fragments whose rest never came or that had to be let go.
    /// Issues that [`Decoded::Unusable`] reported are not among them.
    pub fn issues(&self) -> &Issues {
        self.fragments.issues()
    }
}

/// What decoding one frame carries down through its layers.
pub(super) struct Walk<'d> {
    pub(super) fragments: &'d mut Fragments,
    pub(super) now: Timestamp,
    /// IP headers passed so far.
    pub(super) depth: u8,
}

/// Errors are the reason why the frame is of no use.
pub(super) type Outcome<'a> = Result<Decoded<'a>, Issue>;

/// The usual frame: Ethernet, IPv4 without options, not a fragment, TCP. `None` for all that is less usual or damaged.
#[inline]
fn plain<'a>(link: LinkType, layer: Layer<'a>) -> Option<Decoded<'a>> {
    if link != LinkType::ETHERNET {
        return None;
    }
    let head: &[u8; 54] = layer.head()?;
    // EtherType IPv4, version 4 with 5 words of header; neither "more fragments" nor an offset; TCP.
    let usual =
        head[12] == 0x08 && head[13] == 0 && head[14] == 0x45 && head[20] & 0x3f == 0 && head[21] == 0 && head[23] == 6;
    let total = usize::from(u16::from_be_bytes([head[16], head[17]]));
    if !usual || total < 40 {
        return None;
    }
    let ip = layer.after(14)?.of_wire_len(total);
    let addresses = ip::Addresses::v4(ip.head()?);
    tcp::decode(&addresses, ip.after(20)?).ok().map(Decoded::Tcp)
}
