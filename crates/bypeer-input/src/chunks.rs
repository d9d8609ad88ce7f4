//! Bytes, block by block, and the window in which records are whole.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::compression::Plain;

/// Bytes that the reading thread hands over at once: what a few of fit into the cache that two processors share. With
/// 1 MiB the gain over reading where the bytes are used was lost again.
const CHUNK: usize = 256 << 10;
/// Room in front of each block, for the beginning of a record that the block before it ended in.
const HEADROOM: usize = 128 << 10;
/// Chunks that wait at most.
const WAITING: usize = 3;

/// The reading thread, as seen by the one who takes its chunks.
pub(crate) struct Threaded {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
}

enum Message {
    Chunk {
        buffer: Vec<u8>,
        /// Where the bytes end; they begin at `HEADROOM`.
        end: usize,
    },
    End(End),
}

/// How the bytes ended.
pub(crate) struct End {
    pub(crate) result: io::Result<()>,
    /// The compression's name.
    pub(crate) format: Option<&'static str>,
}

/// What came within the time one was ready to wait.
pub(crate) enum Arrival {
    More,
    Nothing,
    End(End),
}

impl Threaded {
    /// Starts to read. With `whole` chunks are filled up; without, they are handed over with whatever one read gave.
    ///
    /// `open` runs on the thread, too, since it waits for the first bytes. The thread ends with its reader, or when this
    /// is dropped, but not before a read that blocks returns: it is never joined.
    pub(crate) fn start<R: Read + 'static>(
        open: impl FnOnce() -> io::Result<Plain<R>> + Send + 'static,
        whole: bool,
    ) -> io::Result<Threaded> {
        let (full, receive) = sync_channel(WAITING);
        let (empty, recycled) = channel();
        let work = move || {
            let end = match open() {
                Ok(mut plain) => End {
                    format: plain.format(),
                    result: read_all(&mut plain, whole, &full, &recycled),
                },
                Err(error) => End {
                    format: None,
                    result: Err(error),
                },
            };
            // Nobody listens any more after a stop.
            let _ = full.send(Message::End(end));
        };
        thread::Builder::new().name("read".to_owned()).spawn(work)?;
        Ok(Threaded { full: receive, empty })
    }
}

/// Ends without an error, too, when nobody wants the chunks any more.
fn read_all(
    reader: &mut impl Read,
    whole: bool,
    full: &SyncSender<Message>,
    recycled: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut buffer = recycled.try_recv().unwrap_or_else(|_| vec![0; HEADROOM + CHUNK]);
        let mut end = HEADROOM;
        let mut finished = None;
        while finished.is_none() && end < buffer.len() && (whole || end == HEADROOM) {
            match reader.read(buffer.get_mut(end..).unwrap_or_default()) {
                Ok(0) => finished = Some(Ok(())),
                Ok(count) => end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => finished = Some(Err(error)),
            }
        }
        if end > HEADROOM && full.send(Message::Chunk { buffer, end }).is_err() {
            return Ok(());
        }
        if let Some(result) = finished {
            return result;
        }
    }
}

/// The bytes that have arrived and were not consumed yet, without a gap.
pub(crate) struct Window {
    feed: Threaded,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    pub(crate) fn new(feed: Threaded) -> Window {
        Window {
            feed,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Advances by `count`.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Waits at most `patience` for more bytes; a file is taken never to make wait.
    pub(crate) fn grow(&mut self, patience: Duration) -> Arrival {
        let died = || End {
            result: Err(io::Error::other("the reading thread died")),
            format: None,
        };
        match self.feed.full.recv_timeout(patience) {
            Ok(Message::Chunk { buffer, end }) => {
                let unused = self.append(buffer, end);
                // Nobody listens when the reading thread has ended already.
                if unused.len() == HEADROOM + CHUNK {
                    let _ = self.feed.empty.send(unused);
                }
                Arrival::More
            }
            Ok(Message::End(end)) => Arrival::End(end),
            Err(RecvTimeoutError::Timeout) => Arrival::Nothing,
            Err(RecvTimeoutError::Disconnected) => Arrival::End(died()),
        }
    }

    /// Puts a chunk behind what is left; returns the buffer that is free now.
    fn append(&mut self, mut chunk: Vec<u8>, end: usize) -> Vec<u8> {
        let left = self.end - self.start;
        let start = HEADROOM.saturating_sub(left);
        if left <= HEADROOM
            && let Some(room) = chunk.get_mut(start..HEADROOM)
        {
            room.copy_from_slice(self.bytes());
            (self.start, self.end) = (start, end);
            return std::mem::replace(&mut self.buffer, chunk);
        }
        self.make_room_aside();
        self.buffer
            .extend_from_slice(chunk.get(HEADROOM..end).unwrap_or_default());
        self.end = self.buffer.len();
        chunk
    }

    /// Makes `end` the end of the buffer. A record larger than the headroom is put together there, and moved rarely.
    fn make_room_aside(&mut self) {
        self.buffer.truncate(self.end);
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.end = self.buffer.len();
    }
}
