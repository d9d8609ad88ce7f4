use std::collections::VecDeque;

use hashbrown::HashTable;

use super::vantage::Vantage;
use crate::packet::Flags;

/// What Wireshark would remember of a conversation to number the next one of the same addresses and ports.
///
/// Wireshark (4.0) never forgets a conversation. A SYN without ACK whose sequence number differs from the first of its
/// sender begins a new one; nothing else does. A TCP header quoted by an ICMP error counts as a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lineage {
    /// `tcp.stream`.
    pub(super) stream: u32,
    /// First sequence number of either side, by the order of the endpoints; where a SYN was not seen, one less.
    base: [Option<u32>; 2],
    /// Segments of it were judged, or of an earlier one of the same endpoints: not only a quotation was seen, nor only what
    /// other interfaces saw that are not asked for.
    pub(super) begun: bool,
    /// Which interface's segments belong to it.
    pub(super) vantage: Vantage,
}

impl Lineage {
    pub(super) fn new(stream: u32) -> Self {
        Self {
            stream,
            ..Self::default()
        }
    }

    /// Whether this segment begins another conversation. `side` is its sender's place in the order of the endpoints.
    pub(super) fn is_broken_by(&self, side: usize, flags: Flags, seq: u32) -> bool {
        let opens = flags.has(Flags::SYN) && !flags.has(Flags::ACK);
        opens && self.base.get(side).copied().flatten().is_some_and(|base| base != seq)
    }

    /// Takes a segment of this conversation in.
    pub(super) fn note(&mut self, side: usize, flags: Flags, seq: u32, ack: u32) {
        let first = if flags.has(Flags::SYN) {
            seq
        } else {
            seq.wrapping_sub(1)
        };
        if let Some(base) = self.base.get_mut(side) {
            if flags.has(Flags::SYN) && flags.has(Flags::ACK) {
                // A SYN-ACK's number replaces what was noted before.
                *base = Some(first);
            }
            base.get_or_insert(first);
        }
        if flags.has(Flags::ACK)
            && let Some(base) = self.base.get_mut(1 - side.min(1))
        {
            base.get_or_insert(ack.wrapping_sub(1));
        }
    }
}

/// The lineages of connections that left the table, the newest of them, by the hash of their endpoints.
#[derive(Debug)]
pub(super) struct Remembered {
    by_hash: HashTable<(u64, Lineage)>,
    order: VecDeque<(u64, u32)>,
    limit: usize,
}

impl Remembered {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            by_hash: HashTable::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    pub(super) fn put(&mut self, hash: u64, lineage: Lineage) {
        self.take(hash);
        while self.order.len() >= self.limit.max(1) {
            let Some((oldest, stream)) = self.order.pop_front() else {
                break;
            };
            if let Ok(entry) = self
                .by_hash
                .find_entry(oldest, |(key, kept)| *key == oldest && kept.stream == stream)
            {
                entry.remove();
            }
        }
        self.order.push_back((hash, lineage.stream));
        self.by_hash.insert_unique(hash, (hash, lineage), |(key, _)| *key);
    }

    pub(super) fn knows(&self, hash: u64) -> bool {
        self.by_hash.find(hash, |(key, _)| *key == hash).is_some()
    }

    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut Lineage> {
        self.by_hash
            .find_mut(hash, |(key, _)| *key == hash)
            .map(|(_, lineage)| lineage)
    }

    pub(super) fn take(&mut self, hash: u64) -> Option<Lineage> {
        let entry = self.by_hash.find_entry(hash, |(key, _)| *key == hash).ok()?;
        Some(entry.remove().0.1)
    }
}
