use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use bypeer_wire::capture::CaptureError;

/// Why an input cannot be read. Each message names the input and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// There is no such file.
    #[error("{name}: no such file")]
    Missing {
        /// The path as it was given.
        name: String,
    },
    /// The file may not be read by this user.
    #[error(
        "{name}: no permission to read it; captures are often root's: `sudo chmod a+r {name}`, or `sudo cat {name} | bypeer explain -`"
    )]
    Permission {
        /// The path as it was given.
        name: String,
    },
    /// A directory.
    #[error("{name}: it is a directory; name the capture files in it, such as {name}/*.pcap")]
    Directory {
        /// The path as it was given.
        name: String,
    },
    /// Standard input is a terminal.
    #[error("standard input is a terminal; pipe a capture in: `tcpdump -U -w - tcp | bypeer explain -`")]
    Terminal,
    /// Reading failed.
    #[error("{name}: reading failed: {source}")]
    Read {
        /// The input.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Compressed, but nothing of it could be decompressed.
    #[error("{name}: it begins as {format}, but cannot be decompressed: {source}")]
    Compression {
        /// The input.
        name: String,
        /// gzip or Zstandard.
        format: &'static str,
        /// What the decompressor said.
        source: io::Error,
    },
    /// Empty, or something else than a capture.
    #[error("{name}: {source}{}", hint(source))]
    NotACapture {
        /// The input.
        name: String,
        /// What it is instead.
        source: CaptureError,
    },
    /// Two inputs were captured at the same time.
    #[error("{0}")]
    Overlapping(Overlap),
    /// The thread that reads could not be started.
    #[error("no thread could be started to read {name}: {source}")]
    Thread {
        /// The input.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Two captures of the same time: taken at two places, probably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The one that was read before.
    pub earlier: String,
    /// The one that begins before `earlier` ends.
    pub later: String,
    /// By how much.
    pub by: Duration,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { earlier, later, by } = self;
        write!(
            f,
            "{later} begins {:.3} s before {earlier} ends: captures that overlap in time (of two hosts or interfaces) are not merged yet; \
             explain them one at a time",
            by.as_secs_f64()
        )
    }
}

impl InputError {
    /// What the operating system's refusal to open a file means.
    pub(crate) fn of_open(path: &Path, source: io::Error) -> InputError {
        let name = path.display().to_string();
        match source.kind() {
            io::ErrorKind::NotFound => InputError::Missing { name },
            io::ErrorKind::PermissionDenied => InputError::Permission { name },
            io::ErrorKind::IsADirectory => InputError::Directory { name },
            _ => InputError::Read { name, source },
        }
    }
}

fn hint(error: &CaptureError) -> &'static str {
    match error {
        CaptureError::Empty | CaptureError::HeaderTorn { .. } => {
            "; tcpdump writes the first packets late unless it is told `-U`, and nothing when its disk is full"
        }
        _ => "",
    }
}
