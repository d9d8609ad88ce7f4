use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// What compressed bytes are read through.
const COMPRESSED_BLOCK: usize = 256 << 10;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame that decoders skip; its first byte is 0x50 to 0x5f (RFC 8878 §3.1.2).
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

type Raw<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The plain bytes of a stream that may be compressed.
pub(crate) enum Plain<R: Read> {
    /// Not compressed.
    Stored(Chain<Cursor<Vec<u8>>, R>),
    /// gzip, any number of members.
    Gzip(Box<MultiGzDecoder<Raw<R>>>),
    /// Zstandard, any number of frames.
    Zstd(Box<zstd::stream::read::Decoder<'static, Raw<R>>>),
}

impl<R: Read> Plain<R> {
    /// Looks at the first four bytes.
    pub(crate) fn open(mut reader: R) -> io::Result<Plain<R>> {
        let mut magic = Vec::with_capacity(4);
        reader.by_ref().take(4).read_to_end(&mut magic)?;
        let is_gzip = magic.starts_with(&GZIP);
        let is_zstd = magic == ZSTD || matches!(*magic, [0x50..=0x5f, ref rest @ ..] if rest == ZSTD_SKIPPABLE);
        let whole = Cursor::new(magic).chain(reader);
        let buffered = |whole| BufReader::with_capacity(COMPRESSED_BLOCK, whole);
        Ok(match (is_gzip, is_zstd) {
            (true, _) => Plain::Gzip(Box::new(MultiGzDecoder::new(buffered(whole)))),
            (_, true) => Plain::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(buffered(whole))?)),
            _ => Plain::Stored(whole),
        })
    }

    /// The compression's name.
    pub(crate) fn format(&self) -> Option<&'static str> {
        match self {
            Plain::Stored(_) => None,
            Plain::Gzip(_) => Some("gzip"),
            Plain::Zstd(_) => Some("Zstandard"),
        }
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Plain::Stored(reader) => reader.read(into),
            Plain::Gzip(reader) => reader.read(into),
            Plain::Zstd(reader) => reader.read(into),
        }
    }
}
