use super::bytes::Order;
use super::{CaptureError, Common, Frame, LARGEST_RECORD, LinkType, Step};
use crate::Timestamp;

/// Length of the file header.
pub(super) const FILE_HEADER: usize = 24;

/// Records up to here are taken even where the file's snap length is smaller: some writers state it wrongly.
const LARGEST_USUAL: u32 = 256 << 10;

/// While damage is skipped, a record within this many seconds of the last good one is plausible.
const PLAUSIBLE_GAP: i64 = 24 * 3600;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetzov's variant: eight more bytes in each record header.
const KUZNETZOV: u32 = 0xa1b2_cd34;

/// Whether a classic pcap begins here. Needs four bytes.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && order_of(bytes).is_some()
}

/// The byte order and magic at the beginning of `bytes`.
fn order_of(bytes: &[u8]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big]
        .map(|order| (order, order.u32(bytes, 0)))
        .into_iter()
        .find(|(_, magic)| matches!(*magic, MICROSECONDS | NANOSECONDS | KUZNETZOV))
}

/// What the file header said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    order: Order,
    magic: u32,
    link: LinkType,
    /// Captured lengths beyond this are corrupt.
    largest: u32,
    /// Nanoseconds in one unit of the fraction.
    unit: i64,
    /// Bytes of a record header: 16, or 24 in Kuznetzov's variant.
    record_header: usize,
}

impl Header {
    /// Reads the file header; `None` when more bytes are needed.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, CaptureError> {
        if bytes.len() < FILE_HEADER {
            return Ok(None);
        }
        let Some((order, magic)) = order_of(bytes) else {
            return Err(CaptureError::of(bytes));
        };
        let (major, minor) = (order.u16(bytes, 4), order.u16(bytes, 6));
        if major != 2 {
            return Err(CaptureError::UnsupportedVersion { major, minor });
        }
        let snap_length = order.u32(bytes, 16);
        let largest = snap_length.max(LARGEST_USUAL).min(LARGEST_RECORD as u32);
        let unit = if magic == NANOSECONDS { 1 } else { 1000 };
        let record_header = if magic == KUZNETZOV { 24 } else { 16 };
        // The upper half holds the length of a frame check sequence, which counts as padding here.
        let link = LinkType(order.u32(bytes, 20) as u16);
        Ok(Some(Header {
            order,
            magic,
            link,
            largest,
            unit,
            record_header,
        }))
    }

    /// The record at the beginning of `buffer`.
    #[inline]
    pub(super) fn next<'a>(&mut self, common: &mut Common, buffer: &'a [u8]) -> Step<'a> {
        let Some((head, rest)) = buffer.split_at_checked(self.record_header) else {
            return Step::NeedMore {
                total: self.record_header,
            };
        };
        if common.resyncing {
            return self.resync(common, buffer);
        }
        let seconds = self.order.u32(head, 0);
        let captured = self.order.u32(head, 8);
        let original = self.order.u32(head, 12);
        if captured > self.largest || original > LARGEST_RECORD as u32 {
            common.corrupt();
            return self.resync(common, buffer);
        }
        if captured == 0 && original == 0 {
            // Zeroes that a crash left in the file, or the header of a file that was appended with `cat`.
            if seconds == self.magic {
                return self.appended(buffer);
            }
            if head.iter().all(|byte| *byte == 0) {
                common.corrupt();
                return self.resync(common, buffer);
            }
        }
        let Some(data) = rest.get(..captured as usize) else {
            return Step::NeedMore {
                total: self.record_header + captured as usize,
            };
        };
        let at = common.packet(self.time(head));
        let frame = Frame {
            at,
            interface: 0,
            link: self.link,
            data,
            original_len: original.max(captured),
        };
        Step::Frame {
            consumed: self.record_header + captured as usize,
            frame,
        }
    }

    #[inline]
    fn time(&self, head: &[u8]) -> Timestamp {
        let (seconds, fraction) = (self.order.u32(head, 0), self.order.u32(head, 4));
        Timestamp(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.unit)
    }

    /// A second file header in the middle.
    #[cold]
    fn appended<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        match Header::parse(buffer) {
            Ok(Some(header)) => {
                *self = header;
                Step::Skipped { consumed: FILE_HEADER }
            }
            Ok(None) => Step::NeedMore { total: FILE_HEADER },
            Err(_) => Step::Skipped {
                consumed: self.record_header,
            },
        }
    }

    /// Searches for the next plausible record header. `buffer` holds at least one record header.
    #[cold]
    fn resync<'a>(&mut self, common: &mut Common, buffer: &'a [u8]) -> Step<'a> {
        // Byte 0 is known to be bad when the damage was just met, and was left over as undecided otherwise.
        let last = buffer.len() - self.record_header;
        for at in 0..=last {
            if self.plausible(common, buffer, at, true) {
                common.resyncing = false;
                if at == 0 {
                    return self.next(common, buffer);
                }
                return Step::Skipped { consumed: at };
            }
        }
        Step::Skipped { consumed: last + 1 }
    }

    /// Whether a record header may lie at `at`, and another one behind its data where that is here already.
    fn plausible(&self, common: &Common, buffer: &[u8], at: usize, look_behind: bool) -> bool {
        let Some(head) = buffer.get(at..at + self.record_header) else {
            return true;
        };
        let (captured, original) = (self.order.u32(head, 8), self.order.u32(head, 12));
        let whole_fraction = i64::from(self.order.u32(head, 4)) * self.unit < 1_000_000_000;
        let lengths = (1..=self.largest.min(LARGEST_USUAL)).contains(&captured)
            && (captured..=self.largest.max(LARGEST_USUAL)).contains(&original);
        if !lengths || !whole_fraction {
            return false;
        }
        let gap = self.time(head).0.saturating_sub(common.time.0).saturating_abs();
        if common.has_time && gap > PLAUSIBLE_GAP * 1_000_000_000 {
            return false;
        }
        let behind = at + self.record_header + captured as usize;
        !look_behind || self.plausible(common, buffer, behind, false)
    }
}
