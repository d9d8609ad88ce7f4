/// The bytes of one protocol layer: what the capture holds of them, and how many there were on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    /// What was captured.
    pub(super) data: &'a [u8],
    /// Length on the wire; at least `data.len()`.
    pub(super) wire_len: usize,
}

impl<'a> Layer<'a> {
    /// A layer of which `wire_len` bytes were sent.
    pub(super) fn new(data: &'a [u8], wire_len: usize) -> Layer<'a> {
        Layer {
            data,
            wire_len: wire_len.max(data.len()),
        }
    }

    /// What follows a header of `length` bytes; `None` when not even the wire held that many.
    #[inline]
    pub(super) fn after(self, length: usize) -> Option<Layer<'a>> {
        let wire_len = self.wire_len.checked_sub(length)?;
        Some(Layer {
            data: self.data.get(length..).unwrap_or_default(),
            wire_len,
        })
    }

    /// Only the first `length` bytes on the wire: what lies behind them is padding. Longer than this layer where the header says so.
    #[inline]
    pub(super) fn of_wire_len(self, length: usize) -> Layer<'a> {
        Layer {
            data: self.data.get(..length).unwrap_or(self.data),
            wire_len: length,
        }
    }

    /// The first `N` bytes.
    #[inline]
    pub(super) fn head<const N: usize>(self) -> Option<&'a [u8; N]> {
        self.data.first_chunk()
    }

    /// The big-endian 16 bits at `at`.
    #[inline]
    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.data.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// The big-endian 32 bits at `at`.
    #[inline]
    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }
}
