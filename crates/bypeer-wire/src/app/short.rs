/// A text of at most `N` bytes of printable ASCII, in place: what is longer is cut, what is something else becomes `?`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Short { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Short<N> {
    pub(super) fn of(text: &str) -> Self {
        let mut short = Short::default();
        short.push(text.as_bytes());
        short
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let kept = room.len().min(text.len());
        for (place, byte) in room.iter_mut().zip(text) {
            *place = if (b' '..=b'~').contains(byte) { *byte } else { b'?' };
        }
        self.len += kept;
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Short;

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut short = Short::<5>::of("ab\u{1b}");
        short.push(b"cdefg");
        assert_eq!((short.as_str(), short.len()), ("ab?cd", 5));
    }
}
