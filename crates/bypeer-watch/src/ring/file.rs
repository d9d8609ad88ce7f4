use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bypeer_wire::capture::{About, LinkType, PcapngWriter};

use super::{Options, Packet};

/// Bytes beyond which nothing more is written, unless the caller says otherwise.
pub const LARGEST_FILE: u64 = 1 << 30;

/// Interfaces that one file describes.
const MOST_INTERFACES: usize = 4096;

const WITHOUT_PAYLOAD: &str = "The last packets of connections that failed, by bypeer watch. Payload was left out when they were \
                               recorded: packets end behind their TCP header, their lengths are those on the wire.";
const WITH_PAYLOAD: &str = "The last packets of connections that failed, with payload, by bypeer watch.";

/// A pcapng file that grows by a few packets and one comment with each finding, and is whole between.
#[derive(Debug)]
pub struct CaptureFile {
    path: PathBuf,
    file: File,
    writer: PcapngWriter,
    /// Interfaces that were described, by number and name.
    interfaces: HashMap<(u32, String), u32>,
    written: u64,
    largest: u64,
}

/// What became of a finding's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many packets are in the file.
    Packets(usize),
    /// There were none; a comment has nowhere to stand.
    NoPackets,
    /// The file is as large as it may be.
    Full,
}

/// Why a capture file cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It would be written through.
    #[error("{} is a symbolic link, which --write does not follow: name the file itself", .0.display())]
    Symlink(PathBuf),
    /// A folder, a device, a pipe.
    #[error("{} is not a regular file, which --write needs", .0.display())]
    NotAFile(PathBuf),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CaptureFile {
    /// Makes the file, readable and writable by its owner alone: captures hold secrets. One of that name is replaced by a new one.
    ///
    /// `options` are those of the [`Ring`](super::Ring): the file says whether payload is in it. At most `largest` bytes are written.
    ///
    /// # Errors
    /// The name is that of a symbolic link or of no regular file; the system refuses.
    pub fn create(path: &Path, options: &Options, largest: u64) -> Result<CaptureFile, FileError> {
        let refused = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_symlink() => return Err(FileError::Symlink(path.to_owned())),
            Ok(there) if !there.is_file() => return Err(FileError::NotAFile(path.to_owned())),
            // Not emptied but replaced: it may have other names, another owner, and readers.
            Ok(_) => fs::remove_file(path).map_err(refused)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        // `create_new` follows no link that was put there meanwhile.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(refused)?;
        let os = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let writer = PcapngWriter::with(&About {
            hardware: std::env::consts::ARCH,
            os: format!("Linux {}", os.trim()).trim_end(),
            application: concat!("bypeer ", env!("CARGO_PKG_VERSION")),
            comment: if options.payload { WITH_PAYLOAD } else { WITHOUT_PAYLOAD },
        });
        let mut made = CaptureFile {
            path: path.to_owned(),
            file,
            writer,
            interfaces: HashMap::new(),
            written: 0,
            largest,
        };
        made.flush()?;
        Ok(made)
    }

    /// Adds a finding's packets, `comment` at the last of them. When this returns, they are the system's: the program may be killed.
    ///
    /// # Errors
    /// The system refuses. The file is then as it was before.
    pub fn add(&mut self, packets: &[Packet], comment: &str) -> Result<Written, FileError> {
        let Some(last) = packets.len().checked_sub(1) else {
            return Ok(Written::NoPackets);
        };
        // A block's own bytes: 32, flags, ends of options, padding.
        let size: usize = packets.iter().map(|packet| packet.bytes.len() + 64).sum();
        if self.written + (size + comment.len()) as u64 > self.largest {
            return Ok(Written::Full);
        }
        let before = self.writer.clone();
        for (index, packet) in packets.iter().enumerate() {
            let interface = self.interface(packet);
            let comment = (index == last).then_some(comment);
            self.writer.cut_packet(
                interface,
                packet.time,
                &packet.bytes,
                packet.original_len,
                packet.direction,
                comment,
            );
        }
        if let Err(error) = self.flush() {
            // Interfaces that only the lost blocks described are no longer in the file.
            self.writer = before;
            self.interfaces.clear();
            return Err(error);
        }
        Ok(Written::Packets(packets.len()))
    }

    /// Bytes in the file.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The number of the packet's interface in the file, which describes it if it does not yet.
    fn interface(&mut self, packet: &Packet) -> u32 {
        let key = (packet.interface.index, packet.interface.name.clone());
        if let Some(number) = self.interfaces.get(&key) {
            return *number;
        }
        if self.interfaces.len() >= MOST_INTERFACES {
            self.interfaces.clear();
        }
        let number = self.writer.interface_of(LinkType::RAW, &packet.interface.name, None);
        self.interfaces.insert(key, number);
        number
    }

    fn flush(&mut self) -> Result<(), FileError> {
        let blocks = self.writer.take();
        let outcome = self.file.write_all(&blocks);
        match outcome {
            Ok(()) => self.written += blocks.len() as u64,
            Err(_) => {
                // What did not fit on a full disk is taken off again, so that what stands before it stays readable.
                let _ = self.file.set_len(self.written);
                let _ = self.file.seek(io::SeekFrom::Start(self.written));
            }
        }
        outcome.map_err(|source| FileError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
