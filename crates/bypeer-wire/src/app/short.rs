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
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text) {
            *place = if (b' '..=b'~').contains(byte) { *byte } else { b'?' };
            self.len += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
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
