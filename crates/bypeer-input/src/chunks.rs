//! Bytes from a reading thread, handed over in recycled chunks, and the window in which records are whole.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Room in front of each chunk, for the beginning of a record that the chunk before it ended in.
const HEADROOM: usize = 128 << 10;
/// Chunks that wait at most.
const WAITING: usize = 3;

/// The reading thread, as seen by the one who takes its chunks.
pub(crate) struct Chunks {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
}

enum Message {
    Chunk {
        buffer: Vec<u8>,
        /// Where the bytes end; they begin at `HEADROOM`.
        end: usize,
    },
    End(io::Result<()>),
}

/// What came within the time one was ready to wait.
pub(crate) enum Arrival {
    More,
    Nothing,
    End(io::Result<()>),
}

impl Chunks {
    /// Starts to read. With `whole` chunks are filled up; without, they are handed over with whatever one read gave.
    ///
    /// The thread ends with its reader, or when this is dropped, but not before a read that blocks returns: it is never joined.
    pub(crate) fn start(reader: impl Read + Send + 'static, whole: bool) -> io::Result<Chunks> {
        let (full, receive) = sync_channel(WAITING);
        let (empty, recycled) = channel();
        let work = move || read_all(reader, whole, &full, &recycled);
        thread::Builder::new().name("read".to_owned()).spawn(work)?;
        Ok(Chunks { full: receive, empty })
    }
}

fn read_all(mut reader: impl Read, whole: bool, full: &SyncSender<Message>, recycled: &Receiver<Vec<u8>>) {
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
            return;
        }
        if let Some(result) = finished {
            // Nobody listens any more after a stop.
            let _ = full.send(Message::End(result));
            return;
        }
    }
}

/// The bytes that have arrived and were not consumed yet, without a gap.
pub(crate) struct Window {
    chunks: Chunks,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    pub(crate) fn new(chunks: Chunks) -> Window {
        Window {
            chunks,
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

    /// Waits at most `patience` for more bytes.
    pub(crate) fn grow(&mut self, patience: Duration) -> Arrival {
        match self.chunks.full.recv_timeout(patience) {
            Ok(Message::Chunk { buffer, end }) => {
                self.take(buffer, end);
                Arrival::More
            }
            Ok(Message::End(result)) => Arrival::End(result),
            Err(RecvTimeoutError::Timeout) => Arrival::Nothing,
            Err(RecvTimeoutError::Disconnected) => Arrival::End(Err(io::Error::other("the reading thread died"))),
        }
    }

    /// Puts a chunk behind what is left.
    fn take(&mut self, mut chunk: Vec<u8>, end: usize) {
        let left = self.end - self.start;
        let start = HEADROOM.saturating_sub(left);
        if left <= HEADROOM
            && let Some(room) = chunk.get_mut(start..HEADROOM)
        {
            room.copy_from_slice(self.bytes());
            let old = std::mem::replace(&mut self.buffer, chunk);
            (self.start, self.end) = (start, end);
            self.recycle(old);
            return;
        }
        // A record larger than the headroom: it is put together aside.
        self.buffer.truncate(self.end);
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer
            .extend_from_slice(chunk.get(HEADROOM..end).unwrap_or_default());
        self.end = self.buffer.len();
        self.recycle(chunk);
    }

    fn recycle(&self, buffer: Vec<u8>) {
        if buffer.len() == HEADROOM + CHUNK {
            // The reading thread may have ended already.
            let _ = self.chunks.empty.send(buffer);
        }
    }
}
