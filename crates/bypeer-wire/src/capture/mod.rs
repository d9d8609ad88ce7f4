//! pcap and pcapng as they are in real life, parsed from whatever bytes have arrived so far.
//!
//! [`Parser`] is pushed: the caller shows it the bytes that it holds, from the first one not yet consumed, and is told
//! what lies at their beginning. Nothing is copied.

mod bytes;
mod error;
mod interface;
mod link;
mod pcap;
mod pcapng;
mod write;

#[cfg(test)]
pub(crate) mod build;

pub use error::{CaptureError, Looks};
pub use interface::Interface;
pub use link::LinkType;
pub use write::{About, PacketDirection, PcapngWriter};

use crate::{Issue, Issues, PacketRef, Timestamp};

/// A record or block beyond this many bytes is corrupt, whatever the file claims of itself.
const LARGEST_RECORD: usize = 256 << 20;

/// One captured packet, as it lies in the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number and time.
    pub at: PacketRef,
    /// Which interface saw it: 0 in classic pcap; in pcapng counted over all sections of the file.
    pub interface: u32,
    /// What the first byte of `data` belongs to.
    pub link: LinkType,
    /// The bytes that the capture holds.
    pub data: &'a [u8],
    /// Bytes on the wire; never less than `data.len()`.
    pub original_len: u32,
}

/// What lies at the beginning of the buffer.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A packet.
    Frame {
        /// Bytes to advance by.
        consumed: usize,
        /// The packet.
        frame: Frame<'a>,
    },
    /// A header, a block without a packet, or damage.
    Skipped {
        /// Bytes to advance by, at least 1.
        consumed: usize,
    },
    /// Not decidable yet.
    NeedMore {
        /// How many bytes the buffer must hold, always more than it does; at most 256 MiB and a little.
        total: usize,
    },
}

/// A push parser of one capture file or stream.
///
/// Reads classic pcap (microseconds, nanoseconds, both byte orders, Kuznetzov's variant; files that were concatenated)
/// and pcapng (several sections and interfaces, any time resolution). Damage is skipped and counted.
#[derive(Debug, Default)]
pub struct Parser {
    format: Format,
    common: Common,
}

/// What both formats need.
#[derive(Debug, Default)]
struct Common {
    /// Number of the last packet.
    number: u64,
    /// Time of the last packet.
    time: Timestamp,
    /// Whether `time` is that of a packet of this file.
    has_time: bool,
    /// Inside damage that has been counted already.
    resyncing: bool,
    secrets: u64,
    interfaces: interface::Names,
    issues: Issues,
}

#[derive(Debug, Default)]
enum Format {
    #[default]
    Unknown,
    Pcap(pcap::Header),
    Pcapng(pcapng::Section),
}

impl Parser {
    /// Starts at a file's first byte; the first packet gets number 1.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Starts at the first byte of a further file of the same capture: the first packet gets number `last_number + 1`.
    pub fn continuing(last_number: u64) -> Parser {
        let common = Common {
            number: last_number,
            ..Common::default()
        };
        Parser {
            common,
            ..Parser::default()
        }
    }

    /// Looks at the beginning of `buffer`: all bytes that came and were not consumed yet.
    ///
    /// # Errors
    /// Only at the beginning of the file, when it is no capture. Damage further on is skipped and counted instead.
    #[inline]
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Result<Step<'a>, CaptureError> {
        match &mut self.format {
            Format::Pcap(header) => Ok(header.next(&mut self.common, buffer)),
            Format::Pcapng(section) => Ok(section.next(&mut self.common, buffer)),
            Format::Unknown => self.begin(buffer),
        }
    }

    /// Tells that no more bytes come; `leftover` is what was not consumed. A torn last record is counted.
    ///
    /// # Errors
    /// When the file was too short to be a capture at all.
    pub fn end(&mut self, leftover: &[u8]) -> Result<(), CaptureError> {
        if let Format::Unknown = self.format {
            return Err(CaptureError::of(leftover));
        }
        if !leftover.is_empty() && !self.common.resyncing {
            self.common.issues.note(Issue::TornRecord);
        }
        Ok(())
    }

    /// What could not be used so far.
    pub fn issues(&self) -> &Issues {
        &self.common.issues
    }

    /// Number of the last packet, 0 before the first one.
    pub fn last_number(&self) -> u64 {
        self.common.number
    }

    /// How many pcapng blocks with decryption secrets (TLS keys) there were; they are not used yet.
    pub fn decryption_secrets(&self) -> u64 {
        self.common.secrets
    }

    /// How many interfaces were described so far; more can follow anywhere. Always 1 in classic pcap.
    pub fn interfaces(&self) -> u32 {
        self.common.interfaces.count()
    }

    /// An interface by the number that [`Frame::interface`] has, if it was described already.
    pub fn interface(&self, number: u32) -> Option<Interface<'_>> {
        self.common.interfaces.get(number)
    }

    #[cold]
    fn begin<'a>(&mut self, buffer: &'a [u8]) -> Result<Step<'a>, CaptureError> {
        if buffer.len() < 4 {
            return Ok(Step::NeedMore { total: 4 });
        }
        if pcapng::starts_section(buffer) {
            let mut section = pcapng::Section::default();
            return match section.open(buffer)? {
                Some(consumed) => {
                    self.format = Format::Pcapng(section);
                    Ok(Step::Skipped { consumed })
                }
                None => Ok(Step::NeedMore {
                    total: section.wanted(buffer),
                }),
            };
        }
        if !pcap::is_magic(buffer) {
            // A few more bytes make the error better, where they come at all.
            return match buffer.len() < error::LOOK {
                true => Ok(Step::NeedMore { total: error::LOOK }),
                false => Err(CaptureError::of(buffer)),
            };
        }
        let Some(header) = pcap::Header::parse(buffer)? else {
            return Ok(Step::NeedMore {
                total: pcap::FILE_HEADER,
            });
        };
        self.common.interfaces.push(None);
        self.format = Format::Pcap(header);
        Ok(Step::Skipped {
            consumed: pcap::FILE_HEADER,
        })
    }
}

impl Common {
    /// Numbers a packet.
    #[inline]
    fn packet(&mut self, time: Timestamp) -> PacketRef {
        self.number += 1;
        self.time = time;
        self.has_time = true;
        self.resyncing = false;
        PacketRef {
            number: self.number,
            time,
        }
    }

    /// Counts damage, once for each stretch of it.
    #[cold]
    fn corrupt(&mut self) {
        if !self.resyncing {
            self.issues.note(Issue::CorruptRecord);
        }
        self.resyncing = true;
    }
}

#[cfg(test)]
mod tests;
