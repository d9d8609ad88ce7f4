use super::ip::Addresses;
use super::layer::Layer;
use super::{Checksum, Flags, Segment, TcpOptions, checksum};
use crate::{Endpoint, Issue};

/// No option at the beginning of the list but timestamps, as nearly every segment of an established connection has it.
const TIMESTAMPS_ALONE: [u8; 4] = [1, 1, 8, 10];

/// The segment in an IP payload.
#[inline(always)]
pub(super) fn decode<'a>(addresses: &Addresses, layer: Layer<'a>) -> Result<Segment<'a>, Issue> {
    let Some(head) = layer.head::<20>() else {
        return Err(if layer.wire_len < 20 {
            Issue::Malformed
        } else {
            Issue::HeaderCut
        });
    };
    let header_len = usize::from(head[12] >> 4) * 4;
    if header_len < 20 {
        return Err(Issue::Malformed);
    }
    let payload = layer.after(header_len).ok_or(Issue::Malformed)?;
    let ack = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    // Options that the snap length cut are read as far as they go.
    let options = layer.data.get(20..header_len.min(layer.data.len())).unwrap_or_default();
    let flags = Flags(head[13]);
    let telling = flags.0 & (Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0) != 0 && layer.wire_len <= 128;
    let checksum = if telling {
        checksum::judge(addresses.source, addresses.destination, layer)
    } else {
        Checksum::Unchecked
    };
    Ok(Segment {
        source: Endpoint {
            addr: addresses.source,
            port: u16::from_be_bytes([head[0], head[1]]),
        },
        destination: Endpoint {
            addr: addresses.destination,
            port: u16::from_be_bytes([head[2], head[3]]),
        },
        seq: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        ack,
        flags,
        window: u16::from_be_bytes([head[14], head[15]]),
        options: TcpOptions::parse(options, ack),
        checksum,
        ttl: addresses.ttl,
        ip_id: addresses.id,
        payload_len: u32::try_from(payload.wire_len).unwrap_or(u32::MAX),
        payload: payload.data,
    })
}

impl TcpOptions {
    /// Reads the option list; stops at the first option whose length is wrong.
    #[inline]
    fn parse(list: &[u8], ack: u32) -> TcpOptions {
        let mut options = TcpOptions::default();
        if let Some((head, values)) = list.split_first_chunk::<4>()
            && *head == TIMESTAMPS_ALONE
            && let [a, b, c, d, e, f, g, h] = *values
        {
            options.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            return options;
        }
        if !list.is_empty() {
            options.read(list, ack);
        }
        options
    }

    fn read(&mut self, mut list: &[u8], ack: u32) {
        loop {
            let (kind, value) = match *list {
                [] | [0, ..] => return,
                [1, ref rest @ ..] => {
                    list = rest;
                    continue;
                }
                [kind, length, ref rest @ ..] => {
                    let Some((value, rest)) = usize::from(length)
                        .checked_sub(2)
                        .and_then(|n| rest.split_at_checked(n))
                    else {
                        return;
                    };
                    list = rest;
                    (kind, value)
                }
                [_] => return,
            };
            match (kind, value) {
                (2, [high, low]) => self.mss = Some(u16::from_be_bytes([*high, *low])),
                // RFC 7323 §2.3: a greater shift is used as 14.
                (3, [shift]) => self.window_scale = Some((*shift).min(14)),
                (4, []) => self.sack_permitted = true,
                (5, blocks) => self.sack = self.sack.or_else(|| duplicate_sack(blocks, ack)),
                (8, [a, b, c, d, e, f, g, h]) => {
                    let (value, echo) = (
                        u32::from_be_bytes([*a, *b, *c, *d]),
                        u32::from_be_bytes([*e, *f, *g, *h]),
                    );
                    self.timestamps = Some((value, echo));
                }
                (30, [first, ..]) => self.mptcp = Some(first >> 4),
                _ => {}
            }
        }
    }
}

/// The first SACK block, where it lies below the acknowledgement number (RFC 2883 §4).
fn duplicate_sack(blocks: &[u8], ack: u32) -> Option<(u32, u32)> {
    let (left, rest) = blocks.split_first_chunk()?;
    let (left, right) = (u32::from_be_bytes(*left), u32::from_be_bytes(*rest.first_chunk()?));
    let below = |a: u32, b: u32| b.wrapping_sub(a) < 1 << 31;
    (left != right && below(left, right) && below(right, ack)).then_some((left, right))
}
