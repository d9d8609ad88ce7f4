use super::LinkType;
use super::pcapng::{BYTE_ORDER_MAGIC, ENHANCED_PACKET, INTERFACE, SECTION};
use crate::Timestamp;

/// Option codes of draft-ietf-opsawg-pcapng: any block, then interfaces, then packets.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// Which way a packet went, seen from the interface that it is recorded at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketDirection {
    /// The interface received it.
    Inbound,
    /// The interface sent it.
    Outbound,
}

/// What a section says of itself. Texts that are empty are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// The machine that captured: "x86_64".
    pub hardware: &'a str,
    /// Its operating system: "Linux 6.18.0".
    pub os: &'a str,
    /// The program that writes: "bypeer 0.1.0".
    pub application: &'a str,
    /// What a reader should know of all packets.
    pub comment: &'a str,
}

/// Writes pcapng, one section in little-endian order, into memory. Times keep their nanoseconds.
#[derive(Clone, Debug)]
pub struct PcapngWriter {
    bytes: Vec<u8>,
    interfaces: u32,
}

impl Default for PcapngWriter {
    fn default() -> PcapngWriter {
        PcapngWriter::new()
    }
}

impl PcapngWriter {
    /// A section without interfaces, and without a word about itself.
    pub fn new() -> PcapngWriter {
        PcapngWriter::with(&About::default())
    }

    /// A section without interfaces.
    pub fn with(about: &About<'_>) -> PcapngWriter {
        let mut writer = PcapngWriter {
            bytes: Vec::new(),
            interfaces: 0,
        };
        writer.block(SECTION, |bytes| {
            bytes.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            bytes.extend(1_u16.to_le_bytes());
            bytes.extend(0_u16.to_le_bytes());
            // The section's length: not told.
            bytes.extend([0xff; 8]);
            let texts = [
                (SHB_HARDWARE, about.hardware),
                (SHB_OS, about.os),
                (SHB_USERAPPL, about.application),
                (COMMENT, about.comment),
            ];
            for (code, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                option(bytes, code, text.as_bytes());
            }
            if *about != About::default() {
                option(bytes, END_OF_OPTIONS, &[]);
            }
        });
        writer
    }

    /// Describes the next Ethernet interface, and returns its number: 0 for the first.
    pub fn interface(&mut self, name: &str, description: Option<&str>) -> u32 {
        self.interface_of(LinkType::ETHERNET, name, description)
    }

    /// Describes the next interface, whose packets begin as `link` says, and returns its number: 0 for the first.
    pub fn interface_of(&mut self, link: LinkType, name: &str, description: Option<&str>) -> u32 {
        self.block(INTERFACE, |bytes| {
            bytes.extend(link.0.to_le_bytes());
            bytes.extend([0; 2]);
            // No snap length: each packet says how much of it there is.
            bytes.extend([0; 4]);
            option(bytes, IF_NAME, name.as_bytes());
            if let Some(description) = description {
                option(bytes, IF_DESCRIPTION, description.as_bytes());
            }
            option(bytes, IF_TSRESOL, &[9]);
            option(bytes, END_OF_OPTIONS, &[]);
        });
        self.interfaces += 1;
        self.interfaces - 1
    }

    /// Adds a whole packet that `interface` saw. Times before 1970 become 1970: the format has no sign.
    ///
    /// An interface that was not described makes readers skip the packet.
    pub fn packet(
        &mut self,
        interface: u32,
        time: Timestamp,
        data: &[u8],
        direction: PacketDirection,
        comment: Option<&str>,
    ) {
        self.cut_packet(interface, time, data, data.len() as u32, direction, comment);
    }

    /// Adds what there is of a packet that had `original_len` bytes on the wire.
    ///
    /// As for [`packet`](PcapngWriter::packet).
    pub fn cut_packet(
        &mut self,
        interface: u32,
        time: Timestamp,
        data: &[u8],
        original_len: u32,
        direction: PacketDirection,
        comment: Option<&str>,
    ) {
        let ticks = time.0.max(0) as u64;
        let length = data.len() as u32;
        self.block(ENHANCED_PACKET, |bytes| {
            let original_len = original_len.max(length);
            for word in [interface, (ticks >> 32) as u32, ticks as u32, length, original_len] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend_from_slice(data);
            pad(bytes, data.len());
            let flags: u32 = match direction {
                PacketDirection::Inbound => 1,
                PacketDirection::Outbound => 2,
            };
            option(bytes, EPB_FLAGS, &flags.to_le_bytes());
            if let Some(comment) = comment {
                option(bytes, COMMENT, comment.as_bytes());
            }
            option(bytes, END_OF_OPTIONS, &[]);
        });
    }

    /// What was written since this was asked last: whole blocks. All of them one behind the other are the file.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The file, or what [`take`](PcapngWriter::take) left of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend([0; 4]);
        body(&mut self.bytes);
        let length = ((self.bytes.len() - start + 4) as u32).to_le_bytes();
        self.bytes.extend(length);
        self.bytes[start + 4..start + 8].copy_from_slice(&length);
    }
}

/// An option; its text is cut where 16 bits cannot tell its length, between two characters.
fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = match std::str::from_utf8(value) {
        Ok(text) => &value[..text.floor_char_boundary(usize::from(u16::MAX))],
        Err(_) => &value[..value.len().min(usize::from(u16::MAX))],
    };
    bytes.extend(code.to_le_bytes());
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend_from_slice(value);
    pad(bytes, value.len());
}

/// Zeros behind something of this length, up to the next multiple of 4.
fn pad(bytes: &mut Vec<u8>, length: usize) {
    bytes.resize(bytes.len() + length.next_multiple_of(4) - length, 0);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::capture::{Parser, Step};

    const TIMES: [i64; 3] = [1_700_000_000_123_456_789, 1_700_000_000_123_456_790, -5];

    fn written() -> Vec<u8> {
        let mut writer = PcapngWriter::new();
        assert_eq!(writer.interface("client", None), 0);
        assert_eq!(writer.interface("server", Some("behind the wire")), 1);
        writer.packet(0, Timestamp(TIMES[0]), &[7; 61], PacketDirection::Outbound, None);
        writer.packet(1, Timestamp(TIMES[1]), &[8; 60], PacketDirection::Inbound, Some("held"));
        writer.packet(1, Timestamp(TIMES[2]), &[], PacketDirection::Outbound, None);
        writer.into_bytes()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = written();
        let (mut parser, mut at, mut frames) = (Parser::new(), 0, Vec::new());
        while at < bytes.len() {
            match parser.next(&bytes[at..]).unwrap() {
                Step::Frame { consumed, frame } => {
                    frames.push((frame.interface, frame.at.time.0, frame.link, frame.data.to_vec()));
                    at += consumed;
                }
                Step::Skipped { consumed } => at += consumed,
                Step::NeedMore { .. } => panic!("a torn block at {at} of {}", bytes.len()),
            }
        }
        parser.end(&bytes[at..]).unwrap();
        assert_eq!(parser.issues().iter().count(), 0);
        let expected = [
            (0, TIMES[0], LinkType::ETHERNET, vec![7; 61]),
            (1, TIMES[1], LinkType::ETHERNET, vec![8; 60]),
            (1, 0, LinkType::ETHERNET, vec![]),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn what_is_taken_piece_by_piece_is_the_file() {
        let about = About {
            application: "bypeer",
            comment: "ä comment",
            ..About::default()
        };
        let mut writer = PcapngWriter::with(&about);
        let mut whole = writer.clone();
        let mut pieces = writer.take();
        for (index, writer) in [&mut writer, &mut whole].into_iter().enumerate() {
            writer.interface_of(LinkType::RAW, "lo", None);
            if index == 0 {
                pieces.extend(writer.take());
            }
            writer.cut_packet(
                0,
                Timestamp(TIMES[0]),
                &[0x45; 40],
                1500,
                PacketDirection::Inbound,
                None,
            );
        }
        pieces.extend(writer.take());
        assert_eq!(pieces, whole.into_bytes());
        let (mut parser, mut at, mut lengths) = (Parser::new(), 0, Vec::new());
        while at < pieces.len() {
            match parser.next(&pieces[at..]).unwrap() {
                Step::Frame { consumed, frame } => {
                    lengths.push((frame.link, frame.data.len(), frame.original_len));
                    at += consumed;
                }
                Step::Skipped { consumed } => at += consumed,
                Step::NeedMore { .. } => panic!("a torn block at {at} of {}", pieces.len()),
            }
        }
        assert_eq!(lengths, [(LinkType::RAW, 40, 1500)]);
        assert_eq!(parser.issues().iter().count(), 0);
    }

    #[test]
    fn a_text_too_long_is_cut_between_characters() {
        let mut bytes = Vec::new();
        option(&mut bytes, COMMENT, "€".repeat(30_000).as_bytes());
        let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        assert_eq!(length, 65_535 / 3 * 3);
        assert!(std::str::from_utf8(&bytes[4..4 + length]).is_ok());
    }

    #[test]
    #[ignore = "needs tshark"]
    fn tshark_reads_names_directions_and_comments() {
        let path = std::env::temp_dir().join(format!("bypeer-write-{}.pcapng", std::process::id()));
        std::fs::write(&path, written()).unwrap();
        let fields = [
            "frame.interface_name",
            "frame.packet_flags_direction",
            "frame.comment",
            "frame.len",
        ];
        let output = std::process::Command::new("tshark")
            .arg("-r")
            .arg(&path)
            .args(["-T", "fields"])
            .args(fields.iter().flat_map(|field| ["-e", field]))
            .output();
        std::fs::remove_file(&path).unwrap();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0][0], "client");
        assert!(lines[0][1].ends_with('2'), "{text}");
        assert_eq!((lines[1][0], lines[1][2]), ("server", "held"));
        assert!(lines[1][1].ends_with('1'), "{text}");
    }
}
