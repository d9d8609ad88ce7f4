use super::bytes::Order;
use super::{CaptureError, Common, Frame, LARGEST_RECORD, LinkType, Step};
use crate::{Issue, Timestamp};

/// Section header block; reads the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
/// The obsolete packet block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
/// An entry of the systemd journal; Wireshark numbers it among the packets.
const JOURNAL: u32 = 9;
const SECRETS: u32 = 0x0a;
/// Custom blocks that tools may copy, and that they may not.
const CUSTOM: [u32; 2] = [0x0bad, 0x4000_0bad];

pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Interfaces of one section beyond this are not kept.
const MOST_INTERFACES: usize = 65_536;

/// While damage is skipped, only blocks up to this size are plausible.
const LARGEST_PLAUSIBLE: usize = 1 << 20;

/// Whether a pcapng section begins here. Needs four bytes.
pub(super) fn starts_section(bytes: &[u8]) -> bool {
    bytes.starts_with(&SECTION.to_le_bytes())
}

/// The section that is being read.
#[derive(Debug, Default)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before this one.
    interfaces_before: u32,
    /// A section of a later major version: nothing in it can be trusted.
    unreadable: bool,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// 0: unlimited.
    snap_length: u32,
    resolution: Resolution,
    /// Seconds to add to each time.
    offset: i64,
}

/// What one tick of a timestamp is.
#[derive(Clone, Copy, Debug)]
enum Resolution {
    /// This many nanoseconds.
    Nanoseconds(u64),
    /// One second has this many ticks.
    TicksPerSecond(u64),
}

impl Section {
    /// Reads the section header at the beginning of the file. `None`: more bytes are needed.
    pub(super) fn open(&mut self, bytes: &[u8]) -> Result<Option<usize>, CaptureError> {
        let Some((order, length)) = section_header(bytes) else {
            return match bytes.len() < 16 {
                true => Ok(None),
                false => Err(CaptureError::of(bytes)),
            };
        };
        if bytes.len() < length {
            return Ok(None);
        }
        self.order = order;
        let (major, minor) = (order.u16(bytes, 12), order.u16(bytes, 14));
        match major {
            1 => Ok(Some(length)),
            _ => Err(CaptureError::UnsupportedVersion { major, minor }),
        }
    }

    /// Bytes that are needed for `open` to succeed.
    pub(super) fn wanted(&self, bytes: &[u8]) -> usize {
        section_header(bytes).map_or(16, |(_, length)| length)
    }

    /// The block at the beginning of `buffer`.
    #[inline]
    pub(super) fn next<'a>(&mut self, common: &mut Common, buffer: &'a [u8]) -> Step<'a> {
        if buffer.len() < 12 {
            return Step::NeedMore { total: 12 };
        }
        if common.resyncing {
            return self.resync(common, buffer, 0);
        }
        let kind = self.order.u32(buffer, 0);
        if kind == SECTION {
            return self.next_section(common, buffer);
        }
        let stated = self.order.u32(buffer, 4) as usize;
        if !(12..=LARGEST_RECORD).contains(&stated) {
            common.corrupt();
            return self.resync(common, buffer, 4);
        }
        // Some writers forget to pad; Wireshark rounds up as well.
        let length = stated.next_multiple_of(4);
        let Some(block) = buffer.get(..length) else {
            return Step::NeedMore { total: length };
        };
        if stated == length && self.order.u32(block, length - 4) as usize != stated {
            return self.mismatch(common, buffer, length);
        }
        let body = block.get(8..stated - 4).unwrap_or_default();
        if self.unreadable {
            common.issues.note(Issue::UnknownBlock);
            return Step::Skipped { consumed: length };
        }
        let frame = match kind {
            ENHANCED_PACKET => self.enhanced_packet(common, body),
            INTERFACE => return self.interface(common, body, length),
            PACKET => self.packet(common, body),
            SIMPLE_PACKET => self.simple_packet(common, body),
            other => {
                self.other_block(common, other);
                return Step::Skipped { consumed: length };
            }
        };
        match frame {
            Some(frame) => Step::Frame {
                consumed: length,
                frame,
            },
            None => {
                common.issues.note(Issue::CorruptRecord);
                Step::Skipped { consumed: length }
            }
        }
    }

    #[inline]
    fn enhanced_packet<'a>(&self, common: &mut Common, body: &'a [u8]) -> Option<Frame<'a>> {
        let (head, rest) = body.split_at_checked(20)?;
        let index = self.order.u32(head, 0);
        self.timed_packet(common, index, head, rest)
    }

    #[cold]
    fn packet<'a>(&self, common: &mut Common, body: &'a [u8]) -> Option<Frame<'a>> {
        let (head, rest) = body.split_at_checked(20)?;
        let index = self.order.u16(head, 0);
        self.timed_packet(common, u32::from(index), head, rest)
    }

    /// What enhanced and obsolete packet blocks have in common: from byte 4 on they are the same.
    #[inline]
    fn timed_packet<'a>(&self, common: &mut Common, index: u32, head: &[u8], rest: &'a [u8]) -> Option<Frame<'a>> {
        let interface = self.interfaces.get(index as usize)?;
        let ticks = u64::from(self.order.u32(head, 4)) << 32 | u64::from(self.order.u32(head, 8));
        let (captured, original) = (self.order.u32(head, 12), self.order.u32(head, 16));
        let data = rest.get(..captured as usize)?;
        let at = common.packet(interface.time(ticks));
        let interface_number = self.interfaces_before.saturating_add(index);
        Some(Frame {
            at,
            interface: interface_number,
            link: interface.link,
            data,
            original_len: original.max(captured),
        })
    }

    /// Simple packets have no time; they get the one before them.
    #[cold]
    fn simple_packet<'a>(&self, common: &mut Common, body: &'a [u8]) -> Option<Frame<'a>> {
        let interface = self.interfaces.first()?;
        let (head, rest) = body.split_at_checked(4)?;
        let original = self.order.u32(head, 0);
        let limit = if interface.snap_length == 0 {
            u32::MAX
        } else {
            interface.snap_length
        };
        let captured = original.min(limit) as usize;
        let data = rest.get(..captured).unwrap_or(rest);
        let at = common.packet(common.time);
        Some(Frame {
            at,
            interface: self.interfaces_before,
            link: interface.link,
            data,
            original_len: original,
        })
    }

    #[cold]
    fn interface<'a>(&mut self, common: &mut Common, body: &[u8], consumed: usize) -> Step<'a> {
        match Interface::parse(self.order, body) {
            Some((interface, name)) if self.interfaces.len() < MOST_INTERFACES => {
                self.interfaces.push(interface);
                common.interfaces.push(name);
            }
            _ => common.issues.note(Issue::CorruptRecord),
        }
        Step::Skipped { consumed }
    }

    #[cold]
    fn other_block(&self, common: &mut Common, kind: u32) {
        match kind {
            NAME_RESOLUTION | STATISTICS => {}
            SECRETS => common.secrets += 1,
            JOURNAL => common.number += 1,
            kind if CUSTOM.contains(&kind) => common.number += 1,
            _ => common.issues.note(Issue::UnknownBlock),
        }
    }

    #[cold]
    fn next_section<'a>(&mut self, common: &mut Common, buffer: &'a [u8]) -> Step<'a> {
        let Some((order, length)) = section_header(buffer) else {
            if buffer.len() < 16 {
                return Step::NeedMore { total: 16 };
            }
            common.corrupt();
            return self.resync(common, buffer, 4);
        };
        if buffer.len() < length {
            return Step::NeedMore { total: length };
        }
        let seen = self.interfaces.len() as u32;
        self.interfaces_before = self.interfaces_before.saturating_add(seen);
        self.interfaces.clear();
        self.order = order;
        self.unreadable = order.u16(buffer, 12) != 1;
        common.resyncing = false;
        Step::Skipped { consumed: length }
    }

    /// The two lengths of a block differ: which one is wrong?
    #[cold]
    fn mismatch<'a>(&mut self, common: &mut Common, buffer: &'a [u8], length: usize) -> Step<'a> {
        common.corrupt();
        if buffer.len() >= length + 12 && self.plausible(buffer, length) {
            common.resyncing = false;
            return Step::Skipped { consumed: length };
        }
        self.resync(common, buffer, 4)
    }

    /// Searches for the next plausible block from `from` on; blocks are aligned to 4 bytes.
    #[cold]
    fn resync<'a>(&mut self, common: &mut Common, buffer: &'a [u8], from: usize) -> Step<'a> {
        let mut at = from;
        while at + 12 <= buffer.len() {
            if self.plausible(buffer, at) {
                common.resyncing = false;
                return match at {
                    0 => self.next(common, buffer),
                    _ => Step::Skipped { consumed: at },
                };
            }
            at += 4;
        }
        match at {
            0 => Step::NeedMore { total: 12 },
            _ => Step::Skipped {
                consumed: at.min(buffer.len()),
            },
        }
    }

    fn plausible(&self, buffer: &[u8], at: usize) -> bool {
        let Some(block) = buffer.get(at..) else {
            return false;
        };
        if starts_section(block) {
            return section_header(block).is_some();
        }
        let (kind, length) = (self.order.u32(block, 0), self.order.u32(block, 4) as usize);
        let known = matches!(kind, INTERFACE..=ENHANCED_PACKET | JOURNAL | SECRETS) || CUSTOM.contains(&kind);
        if !known || !(12..=LARGEST_PLAUSIBLE).contains(&length) || !length.is_multiple_of(4) {
            return false;
        }
        block.len() < length || self.order.u32(block, length - 4) as usize == length
    }
}

/// Byte order and length of the section header block at the beginning of `bytes`, if it is a sound one.
fn section_header(bytes: &[u8]) -> Option<(Order, usize)> {
    let bytes = starts_section(bytes)
        .then_some(bytes)
        .filter(|bytes| bytes.len() >= 16)?;
    let order = [Order::Little, Order::Big]
        .into_iter()
        .find(|order| order.u32(bytes, 8) == BYTE_ORDER_MAGIC)?;
    let length = order.u32(bytes, 4) as usize;
    ((28..=LARGEST_RECORD).contains(&length) && length.is_multiple_of(4)).then_some((order, length))
}

impl Interface {
    /// The interface and its name.
    fn parse(order: Order, body: &[u8]) -> Option<(Interface, Option<&[u8]>)> {
        let (head, mut options) = body.split_at_checked(8)?;
        let mut interface = Interface {
            link: LinkType(order.u16(head, 0)),
            snap_length: order.u32(head, 4),
            resolution: Resolution::Nanoseconds(1000),
            offset: 0,
        };
        let mut name = None;
        while let Some((head, rest)) = options.split_at_checked(4) {
            let (code, length) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
            let Some(value) = rest.get(..length) else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (2, value) => name = Some(value),
                (9, [resolution]) => interface.resolution = Resolution::of(*resolution),
                (14, value) if length == 8 => interface.offset = order.u64(value, 0) as i64,
                _ => {}
            }
            options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some((interface, name))
    }

    #[inline]
    fn time(&self, ticks: u64) -> Timestamp {
        let nanoseconds = match self.resolution {
            Resolution::Nanoseconds(each) => ticks.saturating_mul(each).min(i64::MAX as u64) as i64,
            Resolution::TicksPerSecond(per_second) => {
                let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(per_second.max(1));
                nanoseconds.min(i64::MAX as u128) as i64
            }
        };
        Timestamp(nanoseconds.saturating_add(self.offset.saturating_mul(1_000_000_000)))
    }
}

impl Resolution {
    /// `if_tsresol`: a power of ten, of two where the highest bit is set.
    fn of(option: u8) -> Resolution {
        let exponent = u32::from(option & 0x7f);
        match (option & 0x80 != 0, exponent) {
            (false, 0..=9) => Resolution::Nanoseconds(10_u64.pow(9 - exponent)),
            (false, exponent) => Resolution::TicksPerSecond(10_u64.saturating_pow(exponent)),
            (true, exponent) => Resolution::TicksPerSecond(1_u64.checked_shl(exponent).unwrap_or(u64::MAX)),
        }
    }
}
