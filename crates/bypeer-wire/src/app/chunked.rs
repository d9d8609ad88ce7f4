/// The framing of a chunked body (RFC 9112 §7.1): where chunks, their lines and the trailer end.
///
/// Lone LF line ends are taken, as most recipients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    /// In the digits of a chunk's size.
    Size {
        /// So far.
        size: u64,
        /// How many digits.
        digits: u8,
    },
    /// After the digits: extension, CR, up to LF.
    Extension {
        /// The chunk's size.
        size: u64,
    },
    /// In a chunk: so many bytes are left.
    Data(u64),
    /// At the line end after a chunk.
    DataEnd,
    /// In the trailer section.
    Trailer {
        /// The line has no byte but CR yet.
        empty: bool,
    },
}

/// How far [`Chunked::read`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedRead {
    /// All bytes belong to the body, and it goes on.
    More,
    /// The body ended after so many of the bytes.
    End(usize),
    /// This is not chunked framing.
    Invalid,
}

impl Default for Chunked {
    fn default() -> Chunked {
        Chunked::new()
    }
}

impl Chunked {
    /// At the beginning of a body.
    pub fn new() -> Chunked {
        Chunked::Size { size: 0, digits: 0 }
    }

    /// Bytes ahead that are chunk data.
    pub fn unwanted(self) -> u64 {
        match self {
            Chunked::Data(left) => left,
            _ => 0,
        }
    }

    /// Passes over chunk data; false when that runs beyond the chunk, so that the framing is lost.
    pub fn skip(&mut self, len: u64) -> bool {
        match self {
            Chunked::Data(left) if len <= *left => {
                *left -= len;
                if *left == 0 {
                    *self = Chunked::DataEnd;
                }
                true
            }
            _ => len == 0,
        }
    }

    /// Reads on.
    pub fn read(&mut self, bytes: &[u8]) -> ChunkedRead {
        self.read_data(bytes, &mut |_| {})
    }

    /// The same, and `data` is given what the chunks hold.
    pub(super) fn read_data(&mut self, bytes: &[u8], data: &mut dyn FnMut(&[u8])) -> ChunkedRead {
        let mut position = 0;
        while let Some(&byte) = bytes.get(position) {
            if let Chunked::Data(left) = *self {
                let here = ((bytes.len() - position) as u64).min(left);
                self.skip(here);
                data(bytes.get(position..position + here as usize).unwrap_or_default());
                position += here as usize;
                continue;
            }
            position += 1;
            let next = self.after(byte);
            match next {
                Some(Some(next)) => *self = next,
                Some(None) => return ChunkedRead::End(position),
                None => return ChunkedRead::Invalid,
            }
        }
        ChunkedRead::More
    }

    /// The state after a byte that is not chunk data: `None` invalid, `Some(None)` the end.
    fn after(self, byte: u8) -> Option<Option<Chunked>> {
        Some(Some(match (self, byte) {
            (Chunked::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16)?);
                let size = size.checked_mul(16)?.checked_add(digit)?;
                Chunked::Size {
                    size,
                    digits: digits.saturating_add(1),
                }
            }
            (Chunked::Size { digits: 0, .. }, _) => return None,
            (Chunked::Size { size, .. }, b';' | b' ' | b'\t' | b'\r') => Chunked::Extension { size },
            (Chunked::Size { size, .. } | Chunked::Extension { size }, b'\n') => match size {
                0 => Chunked::Trailer { empty: true },
                _ => Chunked::Data(size),
            },
            (Chunked::Size { .. }, _) => return None,
            (Chunked::Extension { .. }, _) => self,
            (Chunked::DataEnd, b'\r') => self,
            (Chunked::DataEnd, b'\n') => Chunked::new(),
            (Chunked::DataEnd, _) => return None,
            (Chunked::Trailer { empty: true }, b'\n') => return Some(None),
            (Chunked::Trailer { .. }, b'\n') => Chunked::Trailer { empty: true },
            (Chunked::Trailer { .. }, b'\r') => self,
            (Chunked::Trailer { .. }, _) => Chunked::Trailer { empty: false },
            (Chunked::Data(_), _) => self,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(body: &[u8]) -> ChunkedRead {
        Chunked::new().read(body)
    }

    #[test]
    fn ends_where_the_trailer_ends() {
        assert_eq!(end(b"5\r\nhello\r\n0\r\n\r\nHTTP"), ChunkedRead::End(15));
        assert_eq!(
            end(b"5;a=\"b;c\"\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
            ChunkedRead::End(39)
        );
        assert_eq!(end(b"5\nhello\n0\n\n"), ChunkedRead::End(11));
        assert_eq!(end(b"00A \r\n0123456789\r\n0\r\n\r\n"), ChunkedRead::End(23));
        assert_eq!(end(b"0\r\n\r"), ChunkedRead::More);
    }

    #[test]
    fn refuses_what_is_not_a_size() {
        assert_eq!(end(b"\r\n"), ChunkedRead::Invalid);
        assert_eq!(end(b"5x\r\n"), ChunkedRead::Invalid);
        assert_eq!(end(b"10000000000000000\r\n"), ChunkedRead::Invalid);
        assert_eq!(end(b"1\r\nab"), ChunkedRead::Invalid);
        assert_eq!(end(b"HTTP/1.1 200 OK\r\n"), ChunkedRead::Invalid);
    }

    #[test]
    fn every_split_reads_alike() {
        let body = b"3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n";
        for split in 0..body.len() {
            let mut chunked = Chunked::new();
            assert_eq!(chunked.read(&body[..split]), ChunkedRead::More, "prefix {split}");
            assert_eq!(
                chunked.read(&body[split..]),
                ChunkedRead::End(body.len() - split),
                "rest {split}"
            );
        }
    }
}
