use std::collections::BTreeMap;

use super::delivery::Carrier;
use crate::PacketRef;
use crate::app::Noticed;

/// Payload of one direction that came before the bytes in front of it. Ranges never overlap: what was held first stays.
///
/// Bounded: beyond its share of memory a range is kept without its bytes, beyond [`Assembler::RANGES`] it is let go.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    ranges: BTreeMap<u64, Range>,
    held: usize,
}

/// Bytes that lie in a stream from some offset on.
#[derive(Debug)]
pub(super) struct Range {
    /// How many.
    pub(super) len: u64,
    /// The first of them, as far as they are available.
    pub(super) bytes: Box<[u8]>,
    /// The packet that carried them.
    pub(super) carrier: Carrier,
}

/// The memory that all connections of a table share.
#[derive(Debug)]
pub(super) struct Budget {
    /// Most bytes that one direction may hold.
    pub(super) per_direction: usize,
    /// Most bytes that all directions together may hold.
    pub(super) total: usize,
    /// Bytes held now. `used <= total`
    pub(super) used: usize,
    /// For what one of them tells.
    pub(super) told: Vec<(PacketRef, Noticed)>,
}

impl Assembler {
    /// Most ranges held in one direction.
    const RANGES: usize = 4096;

    /// Keeps those of the `len` bytes from `offset` on that are not held yet; `bytes` is what is available of them.
    pub(super) fn insert(&mut self, offset: u64, len: u64, bytes: &[u8], carrier: Carrier, budget: &mut Budget) {
        let end = offset.saturating_add(len);
        let mut from = offset;
        if let Some((start, range)) = self.ranges.range(..=offset).next_back() {
            from = from.max(start + range.len);
        }
        while from < end {
            let next = self
                .ranges
                .range(from..end)
                .next()
                .map(|(start, range)| (*start, start + range.len));
            let (until, resume) = next.unwrap_or((end, end));
            if until > from {
                self.keep(
                    from,
                    until - from,
                    after(bytes, from - offset, until - from),
                    carrier,
                    budget,
                );
            }
            from = resume;
        }
    }

    /// The range that begins at or before `offset`, if any: its beginning may lie before `offset`.
    pub(super) fn take_at(&mut self, offset: u64, budget: &mut Budget) -> Option<(u64, Range)> {
        let entry = self.ranges.first_entry().filter(|entry| *entry.key() <= offset)?;
        let (start, range) = entry.remove_entry();
        self.held -= range.bytes.len();
        budget.used = budget.used.saturating_sub(range.bytes.len());
        Some((start, range))
    }

    /// The range that [`Assembler::take_at`] would take.
    pub(super) fn next(&self, offset: u64) -> Option<&Range> {
        let (start, range) = self.ranges.first_key_value()?;
        (*start <= offset).then_some(range)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Where the first range begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(start, _)| *start)
    }

    /// Whether all bytes from `offset` to `end` are held.
    pub(super) fn covers(&self, offset: u64, end: u64) -> bool {
        let mut from = offset;
        while from < end {
            match self.ranges.range(..=from).next_back() {
                Some((start, range)) if start + range.len > from => from = start + range.len,
                _ => return false,
            }
        }
        true
    }

    /// Gives its memory back.
    pub(super) fn release(&mut self, budget: &mut Budget) {
        budget.used = budget.used.saturating_sub(self.held);
        self.held = 0;
        self.ranges.clear();
    }

    fn keep(&mut self, offset: u64, len: u64, bytes: &[u8], carrier: Carrier, budget: &mut Budget) {
        if self.ranges.len() >= Self::RANGES {
            return;
        }
        let fits = self.held.saturating_add(bytes.len()) <= budget.per_direction
            && budget.used.saturating_add(bytes.len()) <= budget.total;
        let bytes: Box<[u8]> = if fits { bytes.into() } else { Box::default() };
        self.held += bytes.len();
        budget.used += bytes.len();
        self.ranges.insert(offset, Range { len, bytes, carrier });
    }
}

/// At most `len` of `bytes` from `skip` on.
pub(super) fn after(bytes: &[u8], skip: u64, len: u64) -> &[u8] {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.get(skip..).unwrap_or_default();
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    rest.get(..len).unwrap_or_default()
}
