//! What one worker has of the server, and how it comes to a connection.

use std::cell::Cell;
use std::mem::discriminant;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::http2;
use super::pool::Pool;
use super::retry::Budget;
use super::shared::Shared;
use super::stream::{Held, Stream};
use crate::account::{Attempt, SharedAccount};
use crate::config;
use crate::failure::Failure;

/// A server that refuses may be one that restarts. It is tried again until a connection must be there (`upstream.connect`), from its first
/// refusal on, with these pauses.
const REFUSED_PAUSE: Duration = Duration::from_millis(25);
const REFUSED_PAUSE_MOST: Duration = Duration::from_millis(200);

/// One worker's part of the upstream.
pub struct Worker {
    /// As it was configured.
    pub config: config::Upstream,
    /// Whether a request is ever sent again.
    pub retries: bool,
    /// What all workers know.
    pub shared: Arc<Shared>,
    /// Connections that wait.
    pub pool: Rc<Pool>,
    /// Retries that are left.
    pub budget: Budget,
    /// Connections over HTTP/2.
    pub http2: http2::Connections,
    turn: Cell<usize>,
    /// Since when every address refuses, and when that was last so.
    refusing: Cell<Option<(Instant, Instant)>>,
}

enum Had {
    Connection(Box<Connection>),
    Leave(OwnedSemaphorePermit),
}

impl Worker {
    /// One without connections.
    pub fn new(config: &config::Upstream, retry: &config::Retry, shared: Arc<Shared>) -> Worker {
        Worker {
            config: config.clone(),
            retries: retry.enabled,
            pool: Pool::new(shared.clone(), config.keep, config.trial),
            shared,
            budget: Budget::new(retry),
            http2: http2::Connections::default(),
            turn: Cell::new(0),
            refusing: Cell::new(None),
        }
    }

    /// Whether connections are for one request each.
    pub fn keeps_none(&self) -> bool {
        self.pool.keeps_none()
    }

    /// A connection for a request: one that waits, else a new one. `repeatable`: the request may be sent again.
    /// With it the moment at which it was had. `failed`: it failed at this address, and gets a fresh connection, to another one if there is one.
    /// `account` gets an attempt for each address that could not be connected to.
    pub async fn acquire(
        &self,
        repeatable: bool,
        failed: Option<usize>,
        account: &SharedAccount,
    ) -> Result<(Box<Connection>, Instant), Failure> {
        let target = self.next_turn_but(failed);
        let fresh = failed.is_some();
        let now = Instant::now();
        if !fresh {
            if let Some(connection) = self.reuse(target, repeatable, now) {
                return Ok((connection, now));
            }
            if let Some(rested) = self.pool.rested(repeatable, now)
                && let Some(connection) = Box::pin(self.reuse_rested(target, repeatable, rested)).await
            {
                return Ok((connection, Instant::now()));
            }
        }
        let leave = match self.shared.limit.clone().try_acquire_owned() {
            Ok(leave) => leave,
            // In boxes: a request that finds a connection waiting is not to carry the room for all this with it.
            Err(_) => match Box::pin(self.wait(target, repeatable, fresh)).await? {
                Had::Connection(connection) => return Ok((connection, Instant::now())),
                Had::Leave(leave) => leave,
            },
        };
        let connection = self.connect_by(target, leave, account, |stream, target, round_trip, leave| {
            Connection::new(stream, target, round_trip, self.shared.clone(), leave)
        });
        let connection = Box::pin(connection).await?;
        // A server that speaks first does not speak HTTP.
        match connection.peek() {
            Held::Bytes(bytes) if !connection.is_tls() => {
                connection.unsolicited(bytes);
                Err(Failure::Unsolicited { bytes })
            }
            _ => Ok((connection, Instant::now())),
        }
    }

    /// Leave for one more connection, if there is any.
    pub async fn leave(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(leave) = self.shared.limit.clone().try_acquire_owned() {
            return Ok(leave);
        }
        match self.wait(0, false, true).await? {
            Had::Leave(leave) => Ok(leave),
            Had::Connection(_) => Err(self.at_limit()),
        }
    }

    /// The address whose turn it is.
    pub fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.shared.targets.len());
        turn
    }

    /// The same, but not this one if there are others.
    pub fn next_turn_but(&self, failed: Option<usize>) -> usize {
        let target = self.next_turn();
        match failed == Some(target) {
            true => self.next_turn(),
            false => target,
        }
    }

    /// The same, or the next one where that could lately not be connected to.
    pub fn next_turn_of_those_there(&self, failed: Option<usize>) -> usize {
        let turn = self.next_turn_but(failed);
        let targets = &self.shared.targets;
        let from_turn = (0..targets.len()).map(|step| (turn + step) % targets.len());
        let mut there = from_turn.filter(|&target| failed != Some(target) && !targets[target].0.has_failed_lately());
        there.next().unwrap_or(turn)
    }

    fn reuse(&self, target: usize, repeatable: bool, now: Instant) -> Option<Box<Connection>> {
        let connection = self.pool.take(target, repeatable, now)?;
        self.shared.counters.reused.fetch_add(1, Ordering::Relaxed);
        Some(connection)
    }

    /// The same, when one will have rested.
    async fn reuse_rested(&self, target: usize, repeatable: bool, rested: Instant) -> Option<Box<Connection>> {
        tokio::time::sleep_until(rested.into()).await;
        self.reuse(target, repeatable, Instant::now())
    }

    /// Waits until there are fewer connections than are allowed, or one of this worker's becomes free.
    async fn wait(&self, target: usize, repeatable: bool, fresh: bool) -> Result<Had, Failure> {
        let _waiting = Waiting::new(self);
        // Connections that wait for requests elsewhere are of less use than this one.
        self.shared.ask_for_connections();
        let late = tokio::time::sleep(self.config.connect);
        let leave = self.shared.limit.clone().acquire_owned();
        tokio::pin!(late, leave);
        loop {
            tokio::select! {
                biased;
                leave = &mut leave => return match leave {
                    Ok(leave) => Ok(Had::Leave(leave)),
                    Err(_) => Err(self.at_limit()),
                },
                () = self.pool.freed.notified() => {
                    if !fresh && let Some(connection) = self.reuse(target, repeatable, Instant::now()) {
                        return Ok(Had::Connection(connection));
                    }
                    // It is none that this request may have: closed, it makes room for one that is.
                    self.pool.give_up_one();
                }
                () = &mut late => return Err(self.at_limit()),
            }
        }
    }

    fn at_limit(&self) -> Failure {
        Failure::ConnectionLimit {
            limit: self.config.most,
        }
    }

    /// A new connection, to the address whose turn it is, or the next one that takes it. Addresses that did not are attempts of `account`.
    pub async fn connect_by<T>(
        &self,
        first: usize,
        leave: OwnedSemaphorePermit,
        account: &SharedAccount,
        make: impl Fn(Stream, usize, Duration, OwnedSemaphorePermit) -> T,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let mut pause = REFUSED_PAUSE;
        loop {
            let failure = match self.connect_to_any(first, began, account).await {
                Ok((stream, target, round_trip)) => {
                    self.refusing.set(None);
                    return Ok(make(stream, target, round_trip, leave));
                }
                Err(failure) => failure,
            };
            // A unix socket is made anew by a server that restarts.
            let (Failure::Refused | Failure::NoSocket(_)) = failure else {
                return Err(failure);
            };
            let patience = self.config.connect;
            let now = Instant::now();
            // What nobody has tried for so long may have been there in the meantime, and be on its way back again.
            let since = match self.refusing.get() {
                Some((since, last)) if now.saturating_duration_since(last) <= patience => since,
                _ => now,
            };
            self.refusing.set(Some((since, now)));
            if !self.retries || since.elapsed() + pause > patience {
                return Err(failure);
            }
            goes_on(account, failure);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REFUSED_PAUSE_MOST);
        }
    }

    /// Each address in its turn, those that have just failed last. One that is silent takes no more than its share of the time.
    async fn connect_to_any(
        &self,
        first: usize,
        began: Instant,
        account: &SharedAccount,
    ) -> Result<(Stream, usize, Duration), Failure> {
        let targets = &self.shared.targets;
        let count = targets.len();
        let mut order = Vec::new();
        if count > 1 {
            order.extend((0..count).map(|step| (first + step) % count));
            order.sort_by_cached_key(|&target| targets[target].0.is_to_be_last(target == first));
        }
        let mut last: Option<Failure> = None;
        for step in 0..count {
            let target = order.get(step).copied().unwrap_or(first);
            let left = || self.config.connect.saturating_sub(began.elapsed());
            match last {
                Some(failure) if left().is_zero() => return Err(failure),
                Some(failure) => goes_on(account, failure),
                None => {}
            }
            let share = || left() / u32::try_from(count - step).unwrap_or(u32::MAX);
            let (address, habits) = &targets[target];
            let mut connected = address.connect(share()).await;
            if let Err(Failure::Descriptors) = connected
                && self.pool.give_up_one()
            {
                connected = address.connect(share()).await;
            }
            let failure = match connected {
                Ok((stream, round_trip)) => {
                    address.works();
                    return Ok((stream, target, round_trip));
                }
                // The other addresses need one as well.
                Err(Failure::Descriptors) => return Err(Failure::Descriptors),
                // No byte of the request went anywhere: the next address may do better.
                Err(failure) => failure,
            };
            if let Failure::Refused | Failure::NoSocket(_) = failure {
                habits.begin_trial();
            }
            address.fails();
            tried(account, &address.name, &failure);
            last = Some(failure);
        }
        Err(last.unwrap_or(Failure::Refused))
    }
}

/// There is no connection to an address. One that is tried again and again while it refuses is one attempt.
fn tried(account: &SharedAccount, to: &Arc<str>, failure: &Failure) {
    let attempts = &mut account.borrow_mut().attempts;
    let is_told = attempts.iter().any(|attempt| {
        let before = attempt.failure.as_ref().map(discriminant);
        attempt.connection == 0 && attempt.to == *to && before == Some(discriminant(failure))
    });
    if !is_told {
        attempts.push(Attempt::new(to.clone(), 0));
    }
}

/// Another try follows.
fn goes_on(account: &SharedAccount, failure: Failure) {
    if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
        attempt.failure.get_or_insert(failure);
    }
}

/// Counts a request that waits for as long as it does.
struct Waiting<'a>(&'a Worker);

impl Waiting<'_> {
    fn new(worker: &Worker) -> Waiting<'_> {
        worker.pool.waiting.set(worker.pool.waiting.get() + 1);
        worker.shared.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(worker)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pool.waiting.set(self.0.pool.waiting.get() - 1);
        self.0.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
