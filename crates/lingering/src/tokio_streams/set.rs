//! Connections that linger together, in one task.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rustix::fd::BorrowedFd;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::held::Held;
use super::transport::Transport;
use crate::closer::tell;
use crate::limits::Limits;
use crate::outcome::{Counts, Outcome};
use crate::roster::{Key, Parted, Roster};
use crate::socket;
use crate::state::{Event, State};

/// Connections that are driven in one poll of the task; then other tasks have their turn.
const AT_ONCE: usize = 64;
/// Reads of one connection before the others have their turn.
const READS_AT_ONCE: usize = 4;

/// Takes over connections that are to be closed, lets each linger, and closes it: one task for all of them.
///
/// It holds at most as many as it was told to; over that the one that is in it for longest is closed at once. Clones are
/// the same set. When all of them are dropped the task ends with the last connection; when its runtime ends it closes
/// what it holds. `T` is what the caller wants to be told with the [`Outcome`], a request's id or an address.
///
/// Each connection in it is a descriptor of the process: to RLIMIT_NOFILE those that linger count as those that are served, and
/// one that is refused by `accept` for want of a descriptor cannot crowd out another. Let `most` be well below it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::time::Duration;
/// use lingering::{Limits, LingeringSet};
///
/// let set = LingeringSet::with_hook(Limits::default(), 10_000, |peer, outcome| println!("{peer}: {outcome:?}"));
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let (stream, peer) = listener.accept().await?;
/// // … the request is read as far as it is of interest, and answered …
/// set.add(stream, peer);
/// # drop(client);
/// // At the program's end:
/// let counts = set.finish(Duration::from_secs(5)).await;
/// assert_eq!((counts.added, counts.eof), (1, 1));
/// # Ok(()) }
/// ```
pub struct LingeringSet<T: Send + 'static = ()> {
    owner: Arc<Owner<T>>,
}

/// All clones of a set; the last one tells the task that nobody comes any more.
struct Owner<T: Send + 'static>(Arc<Shared<T>>);

struct Shared<T> {
    limits: Limits,
    roster: Mutex<Roster<Resident, T>>,
    /// Had to make room while it was away: the task closes it when it comes back. Set with the roster locked.
    crowded_while_away: Mutex<Option<Parted<Resident, T>>>,
    ready: Arc<Ready>,
    hook: Box<dyn Fn(T, Outcome) + Send + Sync>,
    changed: Notify,
    /// No handle is left.
    orphaned: AtomicBool,
    /// The task is gone: its runtime was shut down.
    dead: AtomicBool,
}

/// A connection in the set.
struct Resident {
    /// `None` while it is away, and if what lay on the socket took it along.
    held: Option<Held>,
    /// The task polls it, without the lock.
    is_away: bool,
    waker: Option<Waker>,
}

/// Connections to which something has happened, and the task that is to see to them.
#[derive(Default)]
struct Ready {
    keys: Mutex<VecDeque<Arc<Caller>>>,
    task: Mutex<Option<Waker>>,
}

/// Calls the task for one connection.
struct Caller {
    key: Key,
    queued: AtomicBool,
    ready: Weak<Ready>,
}

impl<T: Send + 'static> LingeringSet<T> {
    /// A set of at most so many connections (at least 1), which are counted and not told of.
    ///
    /// # Panics
    /// Outside of a tokio runtime, whose IO and time must be enabled.
    pub fn new(limits: Limits, most: usize) -> LingeringSet<T> {
        LingeringSet::with_hook(limits, most, |_, _| {})
    }

    /// The same, and what became of each is told, right after its close, with the tag that came with it. The hook is
    /// called from the set's task, and from `add` for the one that had to make room: it must not block. Its
    /// panics are caught.
    ///
    /// # Panics
    /// Outside of a tokio runtime, whose IO and time must be enabled.
    pub fn with_hook(
        limits: Limits,
        most: usize,
        hook: impl Fn(T, Outcome) + Send + Sync + 'static,
    ) -> LingeringSet<T> {
        let shared = Arc::new(Shared {
            limits,
            roster: Mutex::new(Roster::new(limits, most)),
            crowded_while_away: Mutex::default(),
            ready: Arc::default(),
            hook: Box::new(hook),
            changed: Notify::new(),
            orphaned: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        });
        let mut task = Task {
            shared: shared.clone(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        tokio::spawn(std::future::poll_fn(move |cx| task.poll(cx)));
        LingeringSet {
            owner: Arc::new(Owner(shared)),
        }
    }

    /// Takes over a stream whose last byte was written, and closes it when its peer is done with it. What a layer on the
    /// socket still holds is sent, with its good-bye. SO_LINGER is switched off. Neither blocks nor waits.
    pub fn add(&self, stream: impl Transport, tag: T) {
        self.owner.0.add(Some(Held::new(stream)), tag);
    }

    /// Takes over a stream that breaks off: a layer's good-bye is not said, so that its peer does not take what it got for
    /// the whole, but the bytes that are in the kernel's hands arrive.
    pub fn add_broken_off(&self, stream: impl Transport, tag: T) {
        self.owner.0.add(Held::new(stream).bare(), tag);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.owner.0.roster().counts()
    }

    /// Waits until the set is empty and all are told of, and for so long at most; who is still in it then is closed
    /// ([`Ended::Stopped`](crate::Ended::Stopped)). Those that come after that moment, and after this call, are closed as soon
    /// as the task gets to them, and not waited for: they could come without end. To drop this future changes nothing about
    /// that.
    pub async fn finish(&self, within: Duration) -> Counts {
        let shared = &self.owner.0;
        shared.roster().finish(Instant::now().into_std().checked_add(within));
        shared.ready.call_task();
        loop {
            let changed = shared.changed.notified();
            let counts = {
                let roster = shared.roster();
                roster.is_settled().then(|| roster.counts())
            };
            if let Some(counts) = counts {
                return counts;
            }
            changed.await;
        }
    }
}

impl<T> Shared<T> {
    /// `None`: what lay on the socket took it along.
    fn add(&self, held: Option<Held>, tag: T) {
        let now = Instant::now().into_std();
        let state = match &held {
            Some(held) => held.begin(now, &self.limits),
            None => State::new(now, None),
        };
        let is_gone = held.is_none();
        let resident = Resident {
            held,
            is_away: false,
            waker: None,
        };
        let mut roster = self.roster();
        let done = match roster.candidate() {
            Some(oldest) => read_arrived(&mut roster, oldest, now),
            None => None,
        };
        let (key, mut crowded) = roster.add(resident, tag, state, now);
        if let Some(away) = crowded.take_if(|crowded| crowded.stream.is_away) {
            *lock(&self.crowded_while_away) = Some(away);
        }
        let caller = Arc::new(Caller {
            key,
            queued: AtomicBool::new(false),
            ready: Arc::downgrade(&self.ready),
        });
        if let Some((resident, _)) = roster.get(key) {
            resident.waker = Some(Waker::from(caller.clone()));
        }
        // Whether the task lives is asked under the lock under which its end empties the roster.
        let over = if is_gone {
            roster.on(key, Event::Failed(io::ErrorKind::Other), now)
        } else if self.dead.load(Ordering::Acquire) {
            read_arrived(&mut roster, key, now).or_else(|| roster.on(key, Event::Stop, now))
        } else {
            None
        };
        drop(roster);
        self.part(done);
        self.part(crowded);
        match over {
            // Also: there may be no task any more that takes what stands in its queue.
            Some(over) => self.part(Some(over)),
            None => caller.wake(),
        }
    }

    /// Closes, and tells.
    fn part(&self, parted: Option<Parted<Resident, T>>) {
        let Some(Parted {
            stream,
            tag,
            state,
            ended,
            late,
        }) = parted
        else {
            return;
        };
        let now = Instant::now().into_std();
        let asked = |held: &Held| held.ask(|socket| socket::outcome(socket, &state, ended, now));
        let outcome = stream.held.as_ref().and_then(asked);
        let outcome = outcome.unwrap_or_else(|| Outcome::without_socket(&state, ended, now));
        if let Some(held) = stream.held {
            held.close();
        }
        tell(&self.hook, tag, outcome);
        self.roster().told(&outcome, late);
        self.changed.notify_waiters();
    }

    /// Goes on with one connection as far as it gets without waiting. Whether there may be more to do at once.
    fn drive(&self, caller: &Arc<Caller>) -> bool {
        let mut roster = self.roster();
        let limits = roster.limits();
        for _ in 0..READS_AT_ONCE {
            let Some((resident, state)) = roster.get(caller.key) else {
                return false;
            };
            let (Some(held), Some(waker)) = (&mut resident.held, &resident.waker) else {
                return false;
            };
            let allowance = state.allowance(&limits);
            let event = if held.is_layered() {
                let (held, waker, state) = (resident.held.take(), waker.clone(), state.clone());
                resident.is_away = true;
                // A layer is not ours: what it does in its poll, or when it is dropped, may come to the set again.
                drop(roster);
                let poll = |held: Held| held.advance(&mut Context::from_waker(&waker), &state, allowance);
                let (held, event) = held.map(poll).unwrap_or((None, Poll::Pending));
                roster = self.roster();
                let Some((resident, _)) = roster.get(caller.key) else {
                    // It had to make room meanwhile.
                    drop(roster);
                    let crowded = lock(&self.crowded_while_away).take();
                    self.part(crowded.map(|mut crowded| {
                        crowded.stream.held = held;
                        crowded
                    }));
                    return false;
                };
                resident.held = held;
                resident.is_away = false;
                event
            } else {
                held.poll_event(&mut Context::from_waker(waker), state, allowance)
            };
            let Poll::Ready(event) = event else {
                return false;
            };
            let parted = roster.on(caller.key, event, Instant::now().into_std());
            if parted.is_some() {
                drop(roster);
                self.part(parted);
                return false;
            }
        }
        true
    }

    /// Sees to everybody whose moment has come; the next moment.
    fn expire(&self) -> Option<Instant> {
        loop {
            let now = Instant::now().into_std();
            let mut roster = self.roster();
            let Some(key) = roster.overdue(now) else {
                return roster.due().map(Instant::from_std);
            };
            let stopped = roster.is_stopped(now);
            // What the peer did comes before what the clock says: this task may have been late, and not the peer.
            let parted = read_arrived(&mut roster, key, now).or_else(|| {
                let event = match roster.get(key) {
                    Some((Resident { held: Some(held), .. }, state)) if !stopped => {
                        let looked = held.ask(|socket| socket::look(socket, state));
                        looked.unwrap_or(Event::Failed(io::ErrorKind::Other))
                    }
                    _ => Event::Stop,
                };
                roster.on(key, event, now)
            });
            drop(roster);
            self.part(parted);
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster<Resident, T>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What drives all connections of a set.
struct Task<T> {
    shared: Arc<Shared<T>>,
    timer: Pin<Box<Sleep>>,
}

impl<T> Task<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.shared;
        *lock(&shared.ready.task) = Some(cx.waker().clone());
        for _ in 0..AT_ONCE {
            let Some(caller) = lock(&shared.ready.keys).pop_front() else {
                break;
            };
            caller.queued.store(false, Ordering::Release);
            if shared.drive(&caller) {
                caller.wake();
            }
        }
        if !lock(&shared.ready.keys).is_empty() {
            cx.waker().wake_by_ref();
        }
        while let Some(due) = shared.expire() {
            // A timer that is early looks again, and is cheaper than one that is set with each read.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        match shared.orphaned.load(Ordering::Acquire) && shared.roster().is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let shared = &self.shared;
        let mut roster = shared.roster();
        shared.dead.store(true, Ordering::Release);
        *lock(&shared.ready.task) = None;
        let now = Instant::now().into_std();
        while let Some(oldest) = roster.oldest() {
            let parted = read_arrived(&mut roster, oldest, now).or_else(|| roster.on(oldest, Event::Stop, now));
            drop(roster);
            shared.part(parted);
            roster = shared.roster();
        }
        drop(roster);
        lock(&shared.ready.keys).clear();
    }
}

impl Ready {
    fn call_task(&self) {
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        // A connection stands in the queue once, however often it calls.
        if let Some(ready) = self.ready.upgrade()
            && !self.queued.swap(true, Ordering::AcqRel)
        {
            lock(&ready.keys).push_back(self);
            ready.call_task();
        }
    }
}

impl<T: Send + 'static> Clone for LingeringSet<T> {
    fn clone(&self) -> LingeringSet<T> {
        LingeringSet {
            owner: self.owner.clone(),
        }
    }
}

impl<T: Send + 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        self.0.orphaned.store(true, Ordering::Release);
        self.0.ready.call_task();
    }
}

impl<T: Send + 'static> fmt::Debug for LingeringSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LingeringSet")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// What has arrived for a connection that has to go, and the end behind it.
fn read_arrived<T>(roster: &mut Roster<Resident, T>, key: Key, now: std::time::Instant) -> Option<Parted<Resident, T>> {
    let limits = roster.limits();
    for _ in 0..2 {
        let (resident, state) = roster.get(key).filter(|(_, state)| state.reads())?;
        let read = |socket: BorrowedFd<'_>| socket::read_arrived(socket, state.allowance(&limits));
        let event = resident.held.as_ref()?.ask(read)??;
        let parted = roster.on(key, event, now);
        if parted.is_some() {
            return parted;
        }
    }
    None
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::UnixStream;
    use tokio::runtime::Runtime;

    use super::*;

    #[test]
    fn nothing_is_kept_for_a_task_that_is_gone() {
        let gone = Runtime::new().unwrap();
        let set = gone.block_on(async { LingeringSet::new(Limits::default(), 10) });
        drop(gone);
        let runtime = Runtime::new().unwrap();
        let _entered = runtime.enter();
        let (server, _peer) = UnixStream::pair().unwrap();
        set.add(server, ());
        assert_eq!(set.counts().stopped, 1);
        let ready = &set.owner.0.ready;
        assert!(lock(&ready.keys).is_empty() && lock(&ready.task).is_none());
    }
}
