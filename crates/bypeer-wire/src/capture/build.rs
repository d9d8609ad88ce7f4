//! Captures for tests, written field by field.

/// Numbers that look random, the same ones for each seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Changes a few bytes, and sometimes the length.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = 0,
                1 => bytes[at] = 0xff,
                2 => bytes[at] ^= 1 << self.below(8),
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.next() as u8),
                _ => bytes[at] = self.next() as u8,
            }
        }
    }
}

/// Writes integers in one byte order.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) big: bool,
}

impl Writer {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    pub(super) fn u64(self, value: u64) -> [u8; 8] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    pub(super) fn pcap_header(self, magic: u32, snap_length: u32, link: u32) -> Vec<u8> {
        [
            &self.u32(magic)[..],
            &self.u16(2),
            &self.u16(4),
            &[0; 8],
            &self.u32(snap_length),
            &self.u32(link),
        ]
        .concat()
    }

    pub(super) fn pcap_record(self, seconds: u32, fraction: u32, original: u32, data: &[u8]) -> Vec<u8> {
        let captured = self.u32(data.len() as u32);
        [
            &self.u32(seconds)[..],
            &self.u32(fraction),
            &captured,
            &self.u32(original),
            data,
        ]
        .concat()
    }

    pub(super) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = self.u32((12 + body.len() + padding.len()) as u32);
        [&self.u32(kind)[..], &length, body, &padding, &length].concat()
    }

    pub(super) fn section(self) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    pub(super) fn interface(self, link: u16, snap_length: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [&self.u16(link)[..], &[0; 2], &self.u32(snap_length)].concat();
        for (code, value) in options {
            body.extend([self.u16(*code), self.u16(value.len() as u16)].concat());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body)
    }

    pub(super) fn enhanced_packet(self, interface: u32, ticks: u64, original: u32, data: &[u8]) -> Vec<u8> {
        let (high, low) = (self.u32((ticks >> 32) as u32), self.u32(ticks as u32));
        let lengths = [self.u32(data.len() as u32), self.u32(original)].concat();
        self.block(6, &[&self.u32(interface)[..], &high, &low, &lengths, data].concat())
    }
}
