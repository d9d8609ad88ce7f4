//! Connections that linger together, in one thread.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};

use crate::blocking::patience;
use crate::limits::Limits;
use crate::outcome::{Counts, Outcome};
use crate::poller::Poller;
use crate::roster::{Key, Parted, Roster};
use crate::socket;
use crate::state::Event;

/// Reads of one connection before the others have their turn.
const READS_AT_ONCE: usize = 4;

/// Takes over connections that are to be closed, lets each linger, and closes it: one thread for all of them.
///
/// It holds at most as many as it was told to; over that the one that is in it for longest is closed at once. Clones are
/// the same closer. When all of them are dropped the thread ends with the last connection. A program that ends takes it
/// along with what it holds: [`Closer::finish`] waits. `T` is what the caller wants to be told with the [`Outcome`].
///
/// Each connection in it is a descriptor of the process: to RLIMIT_NOFILE those that linger count as those that are served, and
/// one that is refused by `accept` for want of a descriptor cannot crowd out another. Let `most` be well below it.
///
/// fork(2) copies no threads: a closer that was made before it closes nothing in the child, which also keeps open what its
/// parent closes. Make it after the fork.
///
/// ```
/// use std::time::Duration;
/// use lingering::{Closer, Limits};
///
/// let closer = Closer::with_hook(Limits::default(), 10_000, |peer, outcome| println!("{peer}: {outcome:?}"))?;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let (stream, peer) = listener.accept()?;
/// // … the request is read as far as it is of interest, and answered …
/// closer.add(stream, peer);
/// # drop(client);
/// // At the program's end:
/// let counts = closer.finish(Duration::from_secs(5));
/// assert_eq!((counts.added, counts.eof), (1, 1));
/// # std::io::Result::Ok(())
/// ```
pub struct Closer<T: Send + 'static = ()> {
    owner: Arc<Owner<T>>,
}

/// All clones of a closer; the last one tells the thread that nobody comes any more.
struct Owner<T: Send + 'static>(Arc<Shared<T>>);

struct Shared<T> {
    roster: Mutex<Roster<Arc<OwnedFd>, T>>,
    poller: Poller,
    hook: Box<dyn Fn(T, Outcome) + Send + Sync>,
    settled: Condvar,
    /// No handle is left.
    orphaned: AtomicBool,
}

impl<T: Send + 'static> Closer<T> {
    /// A closer of at most so many connections (at least 1), which are counted and not told of.
    ///
    /// # Errors
    /// No thread could be started, or no descriptor was to be had for it.
    pub fn new(limits: Limits, most: usize) -> io::Result<Closer<T>> {
        Closer::with_hook(limits, most, |_, _| {})
    }

    /// The same, and what became of each is told, right after its close, with the tag that came with it. The hook is
    /// called from the closer's thread, and from `add` for the one that had to make room or could not be waited for: it
    /// must not block. Its panics are caught.
    ///
    /// # Errors
    /// No thread could be started, or no descriptor was to be had for it.
    pub fn with_hook(
        limits: Limits,
        most: usize,
        hook: impl Fn(T, Outcome) + Send + Sync + 'static,
    ) -> io::Result<Closer<T>> {
        Closer::with_poller(limits, most, hook, Poller::new()?)
    }

    fn with_poller(
        limits: Limits,
        most: usize,
        hook: impl Fn(T, Outcome) + Send + Sync + 'static,
        poller: Poller,
    ) -> io::Result<Closer<T>> {
        let shared = Arc::new(Shared {
            roster: Mutex::new(Roster::new(limits, most)),
            poller,
            hook: Box::new(hook),
            settled: Condvar::new(),
            orphaned: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("lingering".to_owned())
            .spawn(move || of_thread.run())?;
        let owner = Arc::new(Owner(shared));
        Ok(Closer { owner })
    }

    /// Takes over a connected stream socket whose last byte was written, and closes it when its peer is done with it.
    /// SO_LINGER is switched off. Neither blocks nor waits.
    pub fn add(&self, stream: impl Into<OwnedFd>, tag: T) {
        self.owner.0.add(Arc::new(stream.into()), tag);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.owner.0.roster().counts()
    }

    /// Waits until no connection is left and all are told of, and for so long at most; those that still are here then are closed
    /// ([`Ended::Stopped`](crate::Ended::Stopped)). Those that come after that moment, and after this call, are closed as soon
    /// as the thread gets to them, and not waited for: they could come without end.
    pub fn finish(&self, within: Duration) -> Counts {
        let shared = &self.owner.0;
        let mut roster = shared.roster();
        roster.finish(Instant::now().checked_add(within));
        shared.poller.wake();
        while !roster.is_settled() {
            roster = shared.settled.wait(roster).unwrap_or_else(PoisonError::into_inner);
        }
        roster.counts()
    }
}

impl<T> Shared<T> {
    fn add(&self, socket: Arc<OwnedFd>, tag: T) {
        let now = Instant::now();
        let mut state = socket::begin(socket.as_fd(), now);
        state.writes_no_more();
        let refused = socket::never_block(socket.as_fd()).err();
        let event = match refused {
            None => socket::half_close(socket.as_fd()),
            Some(error) => Event::Failed(error.kind()),
        };
        let mut parted = Vec::new();
        let mut roster = self.roster();
        if event == Event::HalfClosed {
            // Limits of 0 end it here; the thread will find the same.
            let _ = state.on(event, now, &roster.limits());
        }
        let was_empty = roster.is_empty();
        if let Some(oldest) = roster.candidate() {
            parted.extend(read_arrived(&mut roster, oldest, now).map(|gone| (oldest, gone)));
        }
        let oldest = roster.candidate();
        let (key, crowded) = roster.add(socket.clone(), tag, state, now);
        parted.extend(oldest.zip(crowded));
        let event = match event {
            Event::HalfClosed => self.poller.register(&socket, key.token()).err(),
            _ => None,
        }
        .map_or(event, |error| Event::Failed(error.kind()));
        if event != Event::HalfClosed {
            parted.extend(roster.on(key, event, now).map(|gone| (key, gone)));
        }
        drop(roster);
        drop(socket);
        for (key, gone) in parted {
            self.part(key, gone);
        }
        if was_empty {
            // The thread waits without end.
            self.poller.wake();
        }
    }

    fn run(&self) {
        loop {
            let due = self.expire();
            if self.orphaned.load(Ordering::Acquire) && self.roster().is_empty() {
                return;
            }
            match self.poller.wait(&patience(due)) {
                Ok(tokens) => tokens.into_iter().for_each(|token| self.drive(Key::of_token(token))),
                // Memory is short. What is overdue is read from and closed all the same.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Goes on with one connection as far as it gets without waiting.
    fn drive(&self, key: Key) {
        for read in 0..READS_AT_ONCE {
            let mut roster = self.roster();
            let limits = roster.limits();
            let Some((socket, state)) = roster.get(key) else {
                return;
            };
            if !state.reads() {
                // It is ready without end: its end lies there. What is waited for are acknowledgements.
                self.poller.deregister(socket, key.token());
                return;
            }
            let Some(event) = socket::read(socket.as_fd(), state.allowance(&limits)) else {
                if read == 0 {
                    socket::empty_error_queue(socket.as_fd());
                }
                return;
            };
            if let Some(gone) = roster.on(key, event, Instant::now()) {
                drop(roster);
                self.part(key, gone);
                return;
            }
        }
    }

    /// Sees to everybody whose moment has come; the next moment.
    fn expire(&self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            let mut roster = self.roster();
            let Some(key) = roster.overdue(now) else {
                return roster.due();
            };
            let stopped = roster.is_stopped(now);
            // What the peer did comes before what the clock says: this thread may have been late, and not the peer.
            let gone = read_arrived(&mut roster, key, now).or_else(|| {
                let event = match roster.get(key) {
                    Some((socket, state)) if !stopped => socket::look(socket.as_fd(), state),
                    _ => Event::Stop,
                };
                roster.on(key, event, now)
            });
            drop(roster);
            if let Some(gone) = gone {
                self.part(key, gone);
            }
        }
    }

    /// Closes, and tells.
    fn part(&self, key: Key, gone: Parted<Arc<OwnedFd>, T>) {
        let outcome = socket::outcome(gone.stream.as_fd(), &gone.state, gone.ended, Instant::now());
        self.poller.deregister(&gone.stream, key.token());
        drop(gone.stream);
        tell(&self.hook, gone.tag, outcome);
        self.roster().told(&outcome, gone.late);
        self.settled.notify_all();
    }

    fn roster(&self) -> MutexGuard<'_, Roster<Arc<OwnedFd>, T>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hook is not ours: its panic must not end what sees to all the others.
pub(crate) fn tell<T>(hook: &(dyn Fn(T, Outcome) + Send + Sync), tag: T, outcome: Outcome) {
    let _ = catch_unwind(AssertUnwindSafe(|| hook(tag, outcome)));
}

/// What has arrived for a connection that has to go, and the end behind it.
fn read_arrived<T>(roster: &mut Roster<Arc<OwnedFd>, T>, key: Key, now: Instant) -> Option<Parted<Arc<OwnedFd>, T>> {
    let limits = roster.limits();
    for _ in 0..2 {
        let (socket, state) = roster.get(key).filter(|(_, state)| state.reads())?;
        let event = socket::read_arrived(socket.as_fd(), state.allowance(&limits))?;
        let parted = roster.on(key, event, now);
        if parted.is_some() {
            return parted;
        }
    }
    None
}

impl<T: Send + 'static> Clone for Closer<T> {
    fn clone(&self) -> Closer<T> {
        let owner = self.owner.clone();
        Closer { owner }
    }
}

impl<T: Send + 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        self.0.orphaned.store(true, Ordering::Release);
        self.0.poller.wake();
    }
}

impl<T: Send + 'static> fmt::Debug for Closer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests;
