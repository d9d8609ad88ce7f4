use crate::PacketRef;

/// The record a direction is in, for protocols of records with a header of `N` bytes. Only headers are collected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framed<const N: usize> {
    header: [u8; N],
    have: usize,
    /// Bytes of the record behind the header that are still to come.
    pub(super) left: u64,
    /// Offset of the record's first byte.
    pub(super) start: u64,
    /// The packet of that byte.
    pub(super) at: PacketRef,
}

impl<const N: usize> Default for Framed<N> {
    fn default() -> Self {
        Framed {
            header: [0; N],
            have: 0,
            left: 0,
            start: 0,
            at: PacketRef::default(),
        }
    }
}

impl<const N: usize> Framed<N> {
    /// A record is begun and not at its end.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0 || self.have > 0
    }

    /// Takes header bytes; how many, and the header when it is whole. The caller then sets `left`.
    pub(super) fn take(&mut self, offset: u64, bytes: &[u8], at: PacketRef) -> (usize, Option<[u8; N]>) {
        if self.have == 0 {
            (self.start, self.at) = (offset, at);
        }
        let mut taken = 0;
        for (slot, byte) in self.header.iter_mut().skip(self.have).zip(bytes) {
            *slot = *byte;
            taken += 1;
        }
        self.have += taken;
        if self.have < N {
            return (taken, None);
        }
        self.have = 0;
        (taken, Some(self.header))
    }

    /// Passes over bytes behind the header; how many of `len` belong to this record.
    pub(super) fn pass(&mut self, len: u64) -> u64 {
        let here = len.min(self.left);
        self.left -= here;
        here
    }

    /// The header collected so far is none.
    pub(super) fn forget(&mut self) {
        self.have = 0;
        self.left = 0;
    }
}
