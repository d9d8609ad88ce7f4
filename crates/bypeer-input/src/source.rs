use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::InputError;

/// Where one capture comes from.
pub struct Source {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

pub(crate) enum Origin {
    /// A regular file: opened when its turn comes, so that a thousand rotated files need one descriptor.
    File {
        path: PathBuf,
        /// Bytes in it when it was looked at.
        size: u64,
    },
    /// A pipe, a device, a socket: can be read once.
    Stream(Box<dyn Read + Send>),
}

impl Source {
    /// A file, a named pipe, or standard input for `-`.
    ///
    /// # Errors
    /// When it cannot be opened for reading, or is a directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Source, InputError> {
        let path = path.as_ref();
        if path == Path::new("-") {
            return Source::stdin();
        }
        let name = path.display().to_string();
        let of_open = |error| InputError::of_open(path, error);
        // Opened even where it is a file for later: this is when permissions are found out.
        let file = File::open(path).map_err(of_open)?;
        let metadata = file.metadata().map_err(of_open)?;
        if metadata.is_dir() {
            return Err(InputError::Directory { name });
        }
        let origin = match metadata.is_file() {
            true => Origin::File {
                path: path.to_owned(),
                size: metadata.len(),
            },
            false => Origin::Stream(Box::new(file)),
        };
        Ok(Source { name, origin })
    }

    /// Standard input.
    ///
    /// # Errors
    /// When it is a terminal.
    pub fn stdin() -> Result<Source, InputError> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(InputError::Terminal);
        }
        Ok(Source::reader("standard input", stdin))
    }

    /// Anything that can be read, under a name for messages. Frames are delivered as soon as `reader` yields them.
    pub fn reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Source {
        Source {
            name: name.into(),
            origin: Origin::Stream(Box::new(reader)),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes to read, as far as that is known: `None` for pipes.
    pub fn size(&self) -> Option<u64> {
        match self.origin {
            Origin::File { size, .. } => Some(size),
            Origin::Stream(_) => None,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("size", &self.size())
            .finish()
    }
}

/// Counts the bytes that are read, and remembers whether the failure came from below the decompressor.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) bytes: Arc<AtomicU64>,
    pub(crate) failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(into) {
                Ok(count) => {
                    self.bytes.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                // A signal; the one who waits for the chunks looks at the stop flag.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }
}
