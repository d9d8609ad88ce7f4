use std::fmt;

/// How many bytes are looked at to say what a file is that is no capture.
pub(super) const LOOK: usize = 16;

/// Why the input cannot be read as a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// Not one byte.
    #[error("it is empty")]
    Empty,
    /// It begins as a capture does, but ends inside the file header.
    #[error("it ends inside the capture's file header ({have} bytes)")]
    HeaderTorn {
        /// Bytes that there are.
        have: usize,
    },
    /// Something else.
    #[error("it is no packet capture: {0}")]
    NotACapture(Looks),
    /// A pcap or pcapng of a version that nobody writes.
    #[error("it is a capture of format version {major}.{minor}, which bypeer does not read")]
    UnsupportedVersion {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
}

impl CaptureError {
    /// Says what `first`, the first bytes of the input, look like.
    pub(super) fn of(first: &[u8]) -> CaptureError {
        if first.is_empty() {
            return CaptureError::Empty;
        }
        let begins_capture = super::pcapng::starts_section(first) || super::pcap::is_magic(first);
        if begins_capture {
            return CaptureError::HeaderTorn { have: first.len() };
        }
        CaptureError::NotACapture(Looks::like(first))
    }
}

/// What the first bytes of something look like that is no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Looks {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// LZ4.
    Lz4,
    /// A ZIP archive.
    Zip,
    /// An executable.
    Elf,
    /// HTML or XML.
    Html,
    /// JSON, as of `tshark -T json`.
    Json,
    /// Printable text, as of tcpdump without `-w`.
    Text,
    /// Solaris snoop.
    Snoop,
    /// Microsoft Network Monitor.
    NetworkMonitor,
    /// Endace ERF.
    Erf,
    /// Nothing known: its first bytes, zero beyond the end.
    Unknown([u8; 4]),
}

/// First bytes → what they are.
const MAGICS: [(&[u8], Looks); 14] = [
    (&[0x1f, 0x8b], Looks::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Looks::Zstd),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Looks::Xz),
    (b"BZh", Looks::Bzip2),
    (&[0x04, 0x22, 0x4d, 0x18], Looks::Lz4),
    (b"PK\x03\x04", Looks::Zip),
    (b"\x7fELF", Looks::Elf),
    (b"<", Looks::Html),
    (b"{", Looks::Json),
    (b"[{", Looks::Json),
    (b"[\n", Looks::Json),
    (b"snoop\0\0\0", Looks::Snoop),
    (b"GMBU", Looks::NetworkMonitor),
    (b"RTSS", Looks::NetworkMonitor),
];

impl Looks {
    /// Judges first bytes.
    fn like(first: &[u8]) -> Looks {
        if let Some((_, looks)) = MAGICS.iter().find(|(magic, _)| first.starts_with(magic)) {
            return *looks;
        }
        let head = first.get(..LOOK).unwrap_or(first);
        let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~') || *byte >= 0x80;
        if head.iter().all(printable) && head.is_ascii() {
            return Looks::Text;
        }
        // ERF: 8 bytes of timestamp, type 1..=48 (2 is Ethernet), flags, record length, loss counter, wire length.
        if let [_, _, _, _, _, _, _, _, 1..=48, _, length_high, length_low, ..] = head
            && u16::from_be_bytes([*length_high, *length_low]) >= 16
        {
            return Looks::Erf;
        }
        let mut start = [0; 4];
        start.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
        Looks::Unknown(start)
    }
}

impl fmt::Display for Looks {
    /// What it is, and what to do instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Looks::Gzip => "gzip within what was decompressed already; decompress it once more first",
            Looks::Zstd => "Zstandard within what was decompressed already; decompress it once more first",
            Looks::Xz => "it is compressed with xz; pipe it in with `xz -dc FILE | bypeer explain -`",
            Looks::Bzip2 => "it is compressed with bzip2; pipe it in with `bzip2 -dc FILE | bypeer explain -`",
            Looks::Lz4 => "it is compressed with LZ4; pipe it in with `lz4 -dc FILE | bypeer explain -`",
            Looks::Zip => "it is a ZIP archive; unpack it first",
            Looks::Elf => "it is a program",
            Looks::Html => "it is HTML or XML; was it a download that failed?",
            Looks::Json => "it is JSON; bypeer needs the capture itself, which `tshark -w FILE` writes",
            Looks::Text => "it is text; bypeer needs the capture itself, which `tcpdump -w FILE` writes",
            Looks::Snoop => "it is a snoop capture; `editcap -F pcapng IN OUT` converts it",
            Looks::NetworkMonitor => "it is a Network Monitor capture; `editcap -F pcapng IN OUT` converts it",
            Looks::Erf => "it seems to be an ERF capture; `editcap -F pcapng IN OUT` converts it",
            Looks::Unknown(start) => {
                let [a, b, c, d] = start;
                return write!(
                    f,
                    "it begins with the bytes {a:02x} {b:02x} {c:02x} {d:02x}, which are of no known capture format"
                );
            }
        })
    }
}
