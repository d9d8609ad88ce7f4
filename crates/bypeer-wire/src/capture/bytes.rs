//! Bounds-checked integers of either byte order.

/// Byte order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// The 16 bits at `at`; 0 beyond the end, which callers rule out first.
    #[inline]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let raw = bytes
            .get(at..at + 2)
            .and_then(|raw| raw.try_into().ok())
            .unwrap_or_default();
        match self {
            Order::Little => u16::from_le_bytes(raw),
            Order::Big => u16::from_be_bytes(raw),
        }
    }

    /// The 32 bits at `at`; 0 beyond the end, which callers rule out first.
    #[inline]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = bytes
            .get(at..at + 4)
            .and_then(|raw| raw.try_into().ok())
            .unwrap_or_default();
        match self {
            Order::Little => u32::from_le_bytes(raw),
            Order::Big => u32::from_be_bytes(raw),
        }
    }

    /// The 64 bits at `at`; 0 beyond the end, which callers rule out first.
    #[inline]
    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let raw = bytes
            .get(at..at + 8)
            .and_then(|raw| raw.try_into().ok())
            .unwrap_or_default();
        match self {
            Order::Little => u64::from_le_bytes(raw),
            Order::Big => u64::from_be_bytes(raw),
        }
    }
}
