//! The access log: lines go through memory to a thread that writes them, so that no disk and no reader of a pipe holds up a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// Bytes that may wait to be written. What comes while as many wait is dropped, and counted.
const MOST_WAITING: usize = 4 << 20;
/// As many are written at once without waiting for more.
const ENOUGH: usize = 64 << 10;
/// Until lines are written, when there are few: many lines are one write.
const GATHERING: Duration = Duration::from_millis(100);

/// Dropped, it writes what waits for so long at most: a pipe may have a reader that takes nothing.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Writes lines to standard output or a file. Dropped, it writes what waits.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to do for the thread that writes.
    work: Condvar,
    /// It has ended.
    ended: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that the thread has taken and not yet written.
    taken: u64,
    reopen: bool,
    stop: bool,
    /// The thread that writes has ended.
    ended: bool,
}

/// Where the lines go: opened before privileges are given up, and written to by a thread that is started after.
#[derive(Debug)]
pub struct Target(Kind);

#[derive(Debug)]
enum Kind {
    Stdout,
    File {
        file: File,
        path: PathBuf,
        /// It was not there before.
        made: bool,
    },
}

impl Target {
    /// Standard output.
    pub fn stdout() -> Target {
        Target(Kind::Stdout)
    }

    /// A file, which is appended to, and made where it is missing.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(path: PathBuf) -> io::Result<Target> {
        // `O_EXCL` follows no link: what was made is this file, wherever somebody else may have put links.
        let (file, made) = match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(_) => (open(&path)?, false),
        };
        Ok(Target(Kind::File { file, path, made }))
    }

    /// Gives the file to the user that the process becomes, if it was made here: the next process is started as that user, and opens it.
    /// A file that was there already keeps its owner: it may be another one than it seems.
    ///
    /// # Errors
    /// This process may not.
    pub fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        match &self.0 {
            Kind::File { file, made: true, .. } => std::os::unix::fs::fchown(file, Some(user), Some(group)),
            _ => Ok(()),
        }
    }
}

impl AccessLog {
    /// Starts the thread that writes. `complain` is told when it cannot, in words.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(Target(target): Target, complain: impl Fn(String) + Send + 'static) -> io::Result<AccessLog> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: Arc::clone(&shared),
            target,
            complain: Box::new(complain),
            failing: false,
        };
        thread::Builder::new()
            .name("access log".to_owned())
            .spawn(move || writer.run())?;
        Ok(AccessLog { shared })
    }

    /// Takes one line, its newline included. Never waits for a disk.
    pub fn line(&self, line: &[u8]) {
        let mut waiting = self.shared.lock();
        if waiting.stop || waiting.lines.len() + line.len() > MOST_WAITING {
            drop(waiting);
            self.shared.dropped.fetch_add(1, Relaxed);
            return;
        }
        let before = waiting.lines.len();
        waiting.lines.extend_from_slice(line);
        let wanted = before == 0 || before < ENOUGH && waiting.lines.len() >= ENOUGH;
        drop(waiting);
        if wanted {
            self.shared.work.notify_one();
        }
    }

    /// Opens the file again by its name, after what was taken so far is in the old one: whoever rotates logs renames it and then says so.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Writes what waits, for `within` at most, and takes no more. How many lines are lost because that was not enough: they are among
    /// [`AccessLog::dropped`] then.
    pub fn finish(&self, within: Duration) -> u64 {
        let mut waiting = self.shared.lock();
        if std::mem::replace(&mut waiting.stop, true) {
            return 0;
        }
        self.shared.work.notify_one();
        let (waiting, _) = self
            .shared
            .ended
            .wait_timeout_while(waiting, within, |waiting| !waiting.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let lost = match waiting.ended {
            true => 0,
            false => waiting.taken + count(&waiting.lines),
        };
        self.shared.dropped.fetch_add(lost, Relaxed);
        lost
    }

    /// Lines that were dropped: more waited than may, or they could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish(LAST_LINES);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    shared: Arc<Shared>,
    target: Kind,
    complain: Box<dyn Fn(String) + Send>,
    /// The last write failed, and that was said.
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Vec::new();
        loop {
            let (reopen, stop) = self.wait(&mut lines);
            self.write(&lines);
            lines.clear();
            if reopen {
                self.reopen();
            }
            if stop {
                return;
            }
        }
    }

    /// Waits for lines, and a little for more of them; takes them.
    fn wait(&self, lines: &mut Vec<u8>) -> (bool, bool) {
        let mut waiting = self.shared.lock();
        while waiting.lines.is_empty() && !waiting.reopen && !waiting.stop {
            waiting = self.shared.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let more = |waiting: &mut Waiting| waiting.lines.len() < ENOUGH && !waiting.reopen && !waiting.stop;
        let (mut waiting, _) = self
            .shared
            .work
            .wait_timeout_while(waiting, GATHERING, more)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.lines, lines);
        waiting.taken = count(lines);
        (std::mem::take(&mut waiting.reopen), waiting.stop)
    }

    fn write(&mut self, lines: &[u8]) {
        let mut written = Ok(());
        // In pieces: so it is known of most lines that they are written while the next are not.
        let mut rest = lines;
        while !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at(whole_lines(rest));
            written = match &mut self.target {
                Kind::Stdout => io::stdout().lock().write_all(piece).and_then(|()| io::stdout().flush()),
                Kind::File { file, .. } => file.write_all(piece),
            };
            if written.is_err() {
                break;
            }
            self.shared.lock().taken -= count(piece);
        }
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                let count = std::mem::take(&mut self.shared.lock().taken);
                self.shared.dropped.fetch_add(count, Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    (self.complain)(format!(
                        "the access log cannot be written, and is lost until it can: {error}"
                    ));
                }
            }
        }
    }

    fn reopen(&mut self) {
        let Kind::File { file, path, .. } = &mut self.target else {
            return;
        };
        match open(path) {
            Ok(opened) => *file = opened,
            Err(error) => (self.complain)(format!(
                "{}: cannot be opened again, and the old file is written on: {error}",
                path.display()
            )),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
    }
}

/// Opens it, and does not wait for somebody who reads it where it is a pipe.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NXIO) => io::Error::other("it is a pipe, and nobody reads it"),
            _ => error,
        })?;
    // Writing may wait: there is a thread for it.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Bytes of the first lines, about as many as are written at once. Only whole ones: another process may write to the same file.
fn whole_lines(lines: &[u8]) -> usize {
    let first = &lines[..lines.len().min(ENOUGH)];
    let last = first.iter().rposition(|byte| *byte == b'\n');
    last.map_or(lines.len(), |last| last + 1)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_in_order_across_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = AccessLog::start(Target::file(path.clone()).unwrap(), |complaint| panic!("{complaint}")).unwrap();
        let write = |from: usize| (from..from + 1000).for_each(|number| log.line(format!("{number}\n").as_bytes()));
        write(0);
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        // What comes before the file is open again may still go to the old one: nothing may be lost or torn.
        write(1000);
        while !path.exists() {
            thread::yield_now();
        }
        write(2000);
        drop(log);
        let read = |path| std::fs::read_to_string(path).unwrap();
        let (first, second) = (read(&old), read(&path));
        let numbers: Vec<usize> = first
            .lines()
            .chain(second.lines())
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
        assert!(first.lines().count() >= 1000 && second.lines().count() >= 1000);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_said_once() {
        if !std::path::Path::new("/dev/full").exists() {
            println!("skipped: a full disk: there is no /dev/full");
            return;
        }
        let (said, heard) = std::sync::mpsc::channel();
        let log = AccessLog::start(Target::file(PathBuf::from("/dev/full")).unwrap(), move |complaint| {
            said.send(complaint).unwrap()
        })
        .unwrap();
        log.line(b"one\n");
        assert!(heard.recv().unwrap().contains("cannot be written"));
        let shared = Arc::clone(&log.shared);
        log.line(b"two\nthree\n");
        drop(log);
        assert_eq!(shared.dropped.load(Relaxed), 3);
        assert!(heard.recv().is_err(), "it is said once");
    }

    #[test]
    fn more_than_may_wait_is_dropped_and_counted() {
        let shared = Arc::new(Shared::default());
        shared.lock().ended = true;
        let log = AccessLog {
            shared: Arc::clone(&shared),
        };
        let line = [b'x'; 1 << 20];
        (0..6).for_each(|_| log.line(&line));
        assert_eq!((log.dropped(), shared.lock().lines.len()), (2, MOST_WAITING));
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let error = Target::file(path.clone()).unwrap_err();
        assert_eq!(error.to_string(), "it is a pipe, and nobody reads it");

        // Open for both, or opening it would wait.
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = AccessLog::start(Target::file(path).unwrap(), |complaint| panic!("{complaint}")).unwrap();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let lines = 10_000_usize;
        (0..lines).for_each(|_| log.line(&line));
        let lost = log.finish(Duration::from_millis(200));
        // A pipe holds 64 KiB, or what the system says.
        assert!(lost > 0 && lost <= lines as u64, "{lost}");
        assert_eq!(log.dropped(), lost);
        log.line(&line);
        assert_eq!((log.dropped(), log.finish(LAST_LINES)), (lost + 1, 0));
        drop(log);
        // Its thread ends with the test.
        let mut rest = vec![0; 100 * lines];
        std::io::Read::read_exact(&mut reader, &mut rest).unwrap();
    }
}
