//! Connections that wait for their next request. One task of the worker watches them all, so that the moment is known at which the server
//! closes one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::Sleep;

use super::connection::Connection;
use super::habits::{Age, REST};
use super::shared::Shared;
use super::stream::Held;

/// Connections that are no longer used, but watched, to learn how long the server keeps them.
const WATCHED_MOST: usize = 8;
/// How long they are watched. Longer than the idle limits that servers come with (75 s nginx, 120 s IIS).
const WATCHED_LONGEST: Duration = Duration::from_secs(150);
/// How often it is looked whether one must be retired.
const TICK: Duration = Duration::from_secs(1);
/// Where requests of other workers wait for a connection too, one in so many that become free is left to them.
const FAIR: u32 = 8;

/// The idle connections of a worker.
pub struct Pool {
    shared: Arc<Shared>,
    keep: usize,
    /// Rests in which a server must have been quiet before its connections are used without one.
    trial: u64,
    /// The one that was used last is last. In boxes, as they go from hand to hand.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Connection>>>,
    watched: RefCell<Vec<Watched>>,
    keeper: RefCell<Option<Waker>>,
    ticking: Cell<bool>,
    draining: Cell<bool>,
    /// Requests of this worker that wait for a connection.
    pub waiting: Cell<usize>,
    /// One became free, and somebody waits.
    pub freed: Notify,
    given: Cell<u32>,
}

struct Watched {
    connection: Box<Connection>,
    /// It was told of already that it outlived what was thought to be the limit.
    testified: bool,
}

impl Pool {
    /// An empty one. `keep`: the most connections that wait; `trial`: the rests that a server's trial takes.
    pub fn new(shared: Arc<Shared>, keep: usize, trial: u64) -> Rc<Pool> {
        Rc::new(Pool {
            shared,
            keep,
            trial,
            idle: RefCell::default(),
            watched: RefCell::default(),
            keeper: RefCell::default(),
            ticking: Cell::new(false),
            draining: Cell::new(false),
            waiting: Cell::new(0),
            freed: Notify::new(),
            given: Cell::new(0),
        })
    }

    /// Whether no connection is kept.
    pub fn keeps_none(&self) -> bool {
        self.keep == 0 || self.draining.get()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Takes a connection for a request. `target`: the address whose turn it is. `repeatable`: the request may be sent again if it is lost.
    ///
    /// What the server closed is dropped here, and what it sent though nothing was asked of it, and what is near a limit. What still rests
    /// is left.
    pub fn take(self: &Rc<Self>, target: usize, repeatable: bool, now: Instant) -> Option<Box<Connection>> {
        self.take_where(repeatable, now, |connection| connection.target == target)
            .or_else(|| self.take_where(repeatable, now, |connection| connection.target != target))
    }

    fn take_where(
        self: &Rc<Self>,
        repeatable: bool,
        now: Instant,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Option<Box<Connection>> {
        let mut at = self.len();
        while at > 0 {
            at -= 1;
            let mut idle = self.idle.borrow_mut();
            let connection = &idle[at];
            if !wanted(connection) {
                continue;
            }
            let age = connection.age(now);
            let may = |repeatable| connection.habits().may_carry(&age, &connection.told, repeatable);
            if !may(true) {
                let connection = idle.remove(at);
                drop(idle);
                self.retire(connection);
                continue;
            }
            if !repeatable && !may(false) || self.is_resting(connection, &age) {
                continue;
            }
            let connection = idle.remove(at);
            drop(idle);
            match connection.peek() {
                Held::Nothing => {
                    if age.idle >= REST {
                        connection.habits().was_quiet(self.trial);
                    }
                    return Some(connection);
                }
                held => judge(&connection, held, now),
            }
        }
        None
    }

    /// Whether it is kept from a request only for what may still come behind its last answer. Not where requests have to wait for any.
    fn is_resting(&self, connection: &Connection, age: &Age) -> bool {
        age.idle < REST && self.waiting.get() == 0 && connection.habits().is_on_trial(self.trial)
    }

    /// When the connection that was used last has rested, where it must, and may carry the request then. By then all have that wait now: one
    /// for each request that came behind their answers.
    pub fn rested(&self, repeatable: bool, now: Instant) -> Option<Instant> {
        let idle = self.idle.borrow();
        let last = idle.last()?;
        let age = last.age(now);
        let rested = Age { idle: REST, ..age };
        let may = self.is_resting(last, &age) && last.habits().may_carry(&rested, &last.told, repeatable);
        may.then(|| last.idle_since + REST)
    }

    /// Keeps a connection whose answer is whole.
    pub fn put(self: &Rc<Self>, mut connection: Box<Connection>, now: Instant) {
        if self.keeps_none() {
            return;
        }
        connection.rest(now);
        if !connection
            .habits()
            .may_carry(&connection.age(now), &connection.told, true)
        {
            return self.watch(connection);
        }
        let waiting = self.waiting.get();
        let elsewhere = self.shared.waiting.load(Ordering::Relaxed) > waiting;
        if elsewhere {
            self.given.set(self.given.get().wrapping_add(1));
            if waiting == 0 || self.given.get().is_multiple_of(FAIR) {
                return;
            }
        }
        let Some(connection) = self.begin_watch(connection, now) else {
            return;
        };
        let mut idle = self.idle.borrow_mut();
        idle.push(connection);
        let most_idle = (idle.len() > self.keep).then(|| idle.remove(0));
        drop(idle);
        drop(most_idle);
        if waiting > 0 {
            self.freed.notify_one();
        }
    }

    /// Closes a connection that waits, for the sake of a request that needs another one.
    pub fn give_up_one(&self) -> bool {
        let watched = self.watched.borrow_mut().pop();
        let idle = match watched {
            Some(_) => None,
            None => {
                let mut idle = self.idle.borrow_mut();
                (!idle.is_empty()).then(|| idle.remove(0))
            }
        };
        watched.is_some() || idle.is_some()
    }

    /// Closes all, and keeps none from now on.
    pub fn drain(&self) {
        self.draining.set(true);
        drop(self.idle.take());
        drop(self.watched.take());
    }

    /// No request will go on it any more.
    fn retire(self: &Rc<Self>, connection: Box<Connection>) {
        self.shared.counters.retired.fetch_add(1, Ordering::Relaxed);
        self.watch(connection);
    }

    /// Keeps it only to see when the server closes it, where that is not known.
    fn watch(self: &Rc<Self>, connection: Box<Connection>) {
        let learning = connection.habits().is_learning() && connection.told == Default::default();
        if !learning || self.watched.borrow().len() >= WATCHED_MOST {
            return;
        }
        if let Some(connection) = self.begin_watch(connection, Instant::now()) {
            self.watched.borrow_mut().push(Watched {
                connection,
                testified: false,
            });
        }
    }

    /// Has the keeper woken when something happens to the connection. `None`: it already has.
    fn begin_watch(self: &Rc<Self>, mut connection: Box<Connection>, now: Instant) -> Option<Box<Connection>> {
        let keeper = self.keeper.borrow();
        let Some(waker) = &*keeper else {
            drop(keeper);
            self.start_keeper();
            // It looks at all connections when it begins.
            return Some(connection);
        };
        if !self.ticking.get() {
            waker.wake_by_ref();
        }
        match connection.poll_idle(&mut Context::from_waker(waker)) {
            Poll::Pending => Some(connection),
            Poll::Ready(held) => {
                judge(&connection, held, now);
                None
            }
        }
    }

    fn start_keeper(self: &Rc<Self>) {
        if self.ticking.replace(true) {
            return;
        }
        tokio::task::spawn_local(Keeper {
            pool: Rc::downgrade(self),
            // Somebody may have asked before this task was known.
            asked: Arc::new(AtomicBool::new(true)),
            tick: Box::pin(tokio::time::sleep(TICK)),
        });
    }

    /// Looks at every connection, and leaves `cx` to be woken.
    fn look(&self, cx: &mut Context<'_>, now: Instant) {
        self.idle
            .borrow_mut()
            .retain_mut(|connection| match connection.poll_idle(cx) {
                Poll::Pending => true,
                Poll::Ready(held) => {
                    judge(connection, held, now);
                    false
                }
            });
        self.watched
            .borrow_mut()
            .retain_mut(|watched| match watched.connection.poll_idle(cx) {
                Poll::Pending => true,
                Poll::Ready(held) => {
                    judge(&watched.connection, held, now);
                    false
                }
            });
    }

    /// Retires what is near its limit, and learns from what is still open.
    fn tick(self: &Rc<Self>, now: Instant) {
        let old: Vec<Box<Connection>> = {
            let mut idle = self.idle.borrow_mut();
            let usable = |connection: &Connection| {
                connection
                    .habits()
                    .may_carry(&connection.age(now), &connection.told, true)
            };
            idle.extract_if(.., |connection| !usable(connection)).collect()
        };
        for connection in old {
            self.retire(connection);
        }
        self.watched.borrow_mut().retain_mut(|watched| {
            let age = watched.connection.age(now);
            let habits = watched.connection.habits();
            let limit = habits.learned_idle().unwrap_or_default();
            if !watched.testified && age.idle > limit + limit / 4 + TICK / 2 {
                watched.testified = true;
                habits.is_open(&age);
            }
            age.idle < WATCHED_LONGEST
        });
    }
}

/// Tells what was wrong with an idle connection. It is dropped after that.
fn judge(connection: &Connection, held: Held, now: Instant) {
    match held {
        Held::Nothing => {}
        Held::End { reset } => connection.closed_idle(now, reset),
        Held::Farewell => connection.closed_idle(now, false),
        // With TLS it is most likely the alert that says that the server closes.
        Held::Bytes(_) if connection.is_tls() => connection.closed_idle(now, false),
        Held::Bytes(bytes) => connection.unsolicited(bytes),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.wake();
        }
    }
}

/// The task that watches. It ends with its pool.
struct Keeper {
    pool: Weak<Pool>,
    asked: Arc<AtomicBool>,
    tick: Pin<Box<Sleep>>,
}

impl Future for Keeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pool) = self.pool.upgrade() else {
            return Poll::Ready(());
        };
        let now = Instant::now();
        let known = pool
            .keeper
            .borrow()
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            pool.keeper.replace(Some(cx.waker().clone()));
            pool.shared.add_keeper(self.asked.clone(), cx.waker().clone());
        }
        if self.asked.swap(false, Ordering::Acquire) && pool.shared.waiting.load(Ordering::Relaxed) > 0 {
            pool.give_up_one();
        }
        pool.look(cx, now);
        if !pool.ticking.replace(true) {
            self.tick.as_mut().reset((now + TICK).into());
        }
        while self.tick.as_mut().poll(cx).is_ready() {
            pool.tick(now);
            self.tick.as_mut().reset((now + TICK).into());
            if pool.idle.borrow().is_empty() && pool.watched.borrow().is_empty() {
                // Whoever puts a connection here wakes this task.
                pool.ticking.set(false);
                break;
            }
        }
        Poll::Pending
    }
}
