//! What is learned of the server: how long it keeps an idle connection, for how many requests, for how long in all.
//!
//! Nothing that is learned stays for ever: what a connection outlives is doubted, and forgotten when it happened often enough. So a
//! restart, which closes connections of every age, teaches for a short time only.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle connection is used where nothing is known of the server: what nginx has for its `keepalive_timeout`.
const IDLE_UNKNOWN: Duration = Duration::from_secs(60);
/// A close that comes no later than this (and two round trips) behind an answer is the answer's, not the idle time's.
const AT_ONCE: Duration = Duration::from_millis(100);
/// An idle connection that is open after this (and two round trips) will not be closed because of its last answer.
const STAYED: Duration = Duration::from_millis(500);
/// Most limits of one kind that are held to be possible.
const OBSERVED_MOST: usize = 8;
/// So many connections must outlive a limit, for each time that it was seen, until it is forgotten.
const DOUBTS: u32 = 3;
/// Closes that are remembered to find a limit of the whole life.
const CLOSES_MOST: usize = 16;
/// Closes at one age that make a limit of it.
const SAME_AGE: usize = 3;
/// With a server that closes after each answer, one request in so many does not ask for that close, to see whether it still does.
const LOOK_AGAIN: u64 = 64;
/// How long a server that sent what nobody had asked for gets a connection for each request. A second answer that comes late is taken for the
/// next request's; where there is no next request, it harms nobody.
pub const DISTRUST: Duration = Duration::from_secs(300);
/// How long a connection to a server on trial rests behind an answer. What is sent twice by a slip comes within some milliseconds.
pub const REST: Duration = Duration::from_millis(10);

const NO_LIMIT: u64 = u64::MAX;

/// What is known of one address of the server. Read by all workers without a lock; the lock is for what is seldom.
#[derive(Debug)]
pub struct Habits {
    given: Option<Duration>,
    proven: AtomicBool,
    idle: AtomicU64,
    requests: AtomicU64,
    lifetime: AtomicU64,
    single: AtomicBool,
    asked: AtomicU64,
    began: Instant,
    /// When it last sent what nobody had asked for, in nanoseconds since `began`.
    strange: AtomicU64,
    /// Rests of connections in which it sent nothing, since its trial began.
    quiet: AtomicU64,
    learned: Mutex<Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    idle: Limits,
    requests: Limits,
    closes: VecDeque<Age>,
}

/// A connection's age in the three ways that a server counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Age {
    /// Requests that it carried.
    pub requests: u64,
    /// Since its last answer was whole.
    pub idle: Duration,
    /// Since it was opened.
    pub lifetime: Duration,
    /// What a round trip takes.
    pub round_trip: Duration,
}

/// What the server said of one connection with `Keep-Alive`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Told {
    /// `timeout=`.
    pub timeout: Option<Duration>,
    /// Requests on the connection, from its first one, after which `max=` allows no more.
    pub requests: Option<u64>,
}

impl Habits {
    /// Nothing learned. `given`: the idle limit, where it was configured.
    pub fn new(given: Option<Duration>) -> Habits {
        Habits {
            given,
            proven: AtomicBool::new(false),
            idle: AtomicU64::new(NO_LIMIT),
            requests: AtomicU64::new(NO_LIMIT),
            lifetime: AtomicU64::new(NO_LIMIT),
            single: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            began: Instant::now(),
            strange: AtomicU64::new(NO_LIMIT),
            quiet: AtomicU64::new(0),
            learned: Mutex::new(Learned::default()),
        }
    }

    /// Whether a connection of that age may carry one more request. `repeatable`: the request may be sent again if it is lost.
    pub fn may_carry(&self, age: &Age, told: &Told, repeatable: bool) -> bool {
        if self.is_distrusted() {
            return false;
        }
        // A request that cannot be repeated stays away from limits by double the margin, and by two requests.
        let (margins, requests) = if repeatable { (1, 0) } else { (2, 1) };
        let most_requests = self
            .requests
            .load(Ordering::Relaxed)
            .min(told.requests.unwrap_or(NO_LIMIT));
        if age.requests.saturating_add(requests) >= most_requests {
            return false;
        }
        if age.idle >= self.usable_idle(age.round_trip, told, margins) {
            return false;
        }
        let lifetime = self.lifetime.load(Ordering::Relaxed);
        if lifetime != NO_LIMIT {
            let lifetime = Duration::from_nanos(lifetime);
            if age.lifetime >= lifetime.saturating_sub(margin(lifetime, age.round_trip) * margins) {
                return false;
            }
        }
        repeatable || self.proven.load(Ordering::Relaxed) || age.idle >= STAYED + 2 * age.round_trip
    }

    /// It sent what nobody had asked for.
    pub fn distrust(&self) {
        self.begin_trial();
        self.strange.store(nanos(self.began.elapsed()), Ordering::Relaxed);
    }

    /// Whether it did so lately: then each request has a connection of its own.
    pub fn is_distrusted(&self) -> bool {
        match self.strange.load(Ordering::Relaxed) {
            NO_LIMIT => false,
            since => is_lately(since, self.began.elapsed()),
        }
    }

    /// It is not, or no longer, known to be quiet: after what was strange, and when it refused connections, as one does that is started anew.
    pub fn begin_trial(&self) {
        self.quiet.store(0, Ordering::Relaxed);
    }

    /// A connection had rested for [`REST`] when it was used again, and nothing had come on it.
    pub fn was_quiet(&self, trial: u64) {
        if self.is_on_trial(trial) {
            self.quiet.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there were fewer than `trial` such rests.
    pub fn is_on_trial(&self, trial: u64) -> bool {
        self.quiet.load(Ordering::Relaxed) < trial
    }

    /// How long an idle connection is used.
    pub fn usable_idle(&self, round_trip: Duration, told: &Told, margins: u32) -> Duration {
        let learned = match self.idle.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        let known = [self.given, told.timeout, learned].into_iter().flatten().min();
        match known {
            Some(limit) => limit.saturating_sub(margin(limit, round_trip) * margins),
            None => IDLE_UNKNOWN,
        }
    }

    /// Whether the configured idle limit is this one.
    pub fn is_given(&self, given: Option<Duration>) -> bool {
        self.given == given
    }

    /// Whether a limit is still to be learned by watching connections that are not used any more.
    pub fn is_learning(&self) -> bool {
        self.given.is_none()
    }

    /// Whether the server closes after each answer without saying so, so that it is asked to: then it waits for nothing, and says so.
    pub fn closes_each(&self) -> bool {
        self.single.load(Ordering::Relaxed) && !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_AGAIN)
    }

    /// Whether it has proved to keep connections.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// The idle limit that was learned.
    pub fn learned_idle(&self) -> Option<Duration> {
        match self.idle.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// The most requests on a connection, as learned.
    pub fn learned_requests(&self) -> Option<u64> {
        Some(self.requests.load(Ordering::Relaxed)).filter(|&requests| requests != NO_LIMIT)
    }

    /// The longest life of a connection, as learned.
    pub fn learned_lifetime(&self) -> Option<Duration> {
        match self.lifetime.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Whether what was learned is what most closes agree on. Restarts close connections of every age: what those teach is kept to for a
    /// time, and is no habit.
    pub fn is_steady(&self) -> bool {
        let learned = self.learned();
        learned.idle.is_steady() && learned.requests.is_steady()
    }

    /// The server closed a connection of that age, and had not said that it would.
    pub fn closed(&self, age: &Age) {
        let mut learned = self.learned();
        if is_at_once(age) {
            self.proven.store(false, Ordering::Relaxed);
            learned.requests.saw(age.requests);
        } else {
            learned.idle.saw(nanos(age.idle));
        }
        learned.closes.push_back(*age);
        if learned.closes.len() > CLOSES_MOST {
            learned.closes.pop_front();
        }
        self.publish(&learned);
    }

    /// What was taken for a close of that age was none: the same request met the same end on a fresh connection.
    pub fn was_mistaken(&self, age: &Age) {
        let mut learned = self.learned();
        match is_at_once(age) {
            true => learned.requests.unsaw(age.requests),
            false => learned.idle.unsaw(nanos(age.idle)),
        }
        if let Some(at) = learned.closes.iter().rposition(|close| close == age) {
            learned.closes.remove(at);
        }
        self.publish(&learned);
    }

    /// Whether the idle limit that was learned was seen once only.
    pub fn saw_idle_once(&self) -> bool {
        self.learned().idle.least().is_some_and(|(_, seen)| seen == 1)
    }

    /// A connection that had been used before answered. `age`: as it was when the request was sent.
    pub fn answered(&self, age: &Age) {
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
        let outlived = nanos(age.idle) > self.idle.load(Ordering::Relaxed)
            || age.requests >= self.requests.load(Ordering::Relaxed)
            || nanos(age.lifetime) > self.lifetime.load(Ordering::Relaxed);
        if outlived {
            self.outlived(age);
        }
    }

    /// An idle connection of that age is open.
    pub fn is_open(&self, age: &Age) {
        if age.idle >= STAYED + 2 * age.round_trip {
            self.outlived(age);
        }
    }

    fn outlived(&self, age: &Age) {
        let mut learned = self.learned();
        learned.idle.outlived(nanos(age.idle));
        // So many requests, and it was not closed behind the last of them.
        learned.requests.outlived(age.requests.saturating_add(1));
        let lifetime = age.lifetime.mul_f64(0.9);
        learned
            .closes
            .retain(|close| close.lifetime >= lifetime || !same_age(close.lifetime, self.learned_lifetime()));
        self.publish(&learned);
    }

    fn publish(&self, learned: &Learned) {
        let idle = learned.idle.least().map_or(NO_LIMIT, |(idle, _)| idle);
        self.idle.store(idle, Ordering::Relaxed);
        let (requests, seen) = learned.requests.least().unwrap_or((NO_LIMIT, 0));
        self.requests.store(requests, Ordering::Relaxed);
        self.single.store(requests == 1 && seen >= DOUBTS, Ordering::Relaxed);
        let lifetime = learned.lifetime().map_or(NO_LIMIT, nanos);
        self.lifetime.store(lifetime, Ordering::Relaxed);
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learned {
    /// Connections that were closed at one age, whatever they had carried and however long they had been idle.
    fn lifetime(&self) -> Option<Duration> {
        let oldest = self.closes.iter().map(|close| close.lifetime).max()?;
        let alike: Vec<&Age> = self
            .closes
            .iter()
            .filter(|close| same_age(close.lifetime, Some(oldest)))
            .collect();
        let spread = |value: fn(&Age) -> f64| {
            let values = || alike.iter().map(|close| value(close));
            values().fold(0.0, f64::max) > 1.25 * values().fold(f64::INFINITY, f64::min)
        };
        let by_age = alike.len() >= SAME_AGE
            && oldest >= Duration::from_secs(1)
            && spread(|close| close.idle.as_secs_f64())
            && spread(|close| close.requests as f64);
        by_age.then(|| alike.iter().map(|close| close.lifetime).min()).flatten()
    }
}

/// Limits of one kind that the server may have.
#[derive(Debug, Default)]
struct Limits {
    observed: Vec<Observed>,
}

#[derive(Debug)]
struct Observed {
    value: u64,
    seen: u32,
    outlived: u32,
}

impl Limits {
    fn saw(&mut self, value: u64) {
        if let Some(same) = self.observed.iter_mut().find(|observed| alike(observed.value, value)) {
            same.value = same.value.min(value);
            same.seen += 1;
            same.outlived = 0;
            return;
        }
        if self.observed.len() == OBSERVED_MOST
            && let Some(least) = (0..OBSERVED_MOST).min_by_key(|&at| self.observed[at].seen)
        {
            self.observed.swap_remove(least);
        }
        self.observed.push(Observed {
            value,
            seen: 1,
            outlived: 0,
        });
    }

    /// It was not seen.
    fn unsaw(&mut self, value: u64) {
        self.observed.retain_mut(|observed| {
            observed.seen -= u32::from(alike(observed.value, value));
            observed.seen > 0
        });
    }

    fn outlived(&mut self, value: u64) {
        self.observed.retain_mut(|observed| {
            if value > observed.value && !alike(value, observed.value) {
                observed.outlived += 1;
            }
            observed.outlived < DOUBTS * observed.seen.min(5)
        });
    }

    fn is_steady(&self) -> bool {
        let all: u32 = self.observed.iter().map(|observed| observed.seen).sum();
        self.least().is_none_or(|(_, seen)| seen * 2 >= all)
    }

    fn least(&self) -> Option<(u64, u32)> {
        self.observed
            .iter()
            .map(|observed| (observed.value, observed.seen))
            .min()
    }
}

/// Within a tenth of each other.
fn alike(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.min(other) / 10
}

fn same_age(one: Duration, other: Option<Duration>) -> bool {
    other.is_some_and(|other| one.abs_diff(other) <= one.min(other) / 20)
}

fn is_at_once(age: &Age) -> bool {
    age.idle <= AT_ONCE + 2 * age.round_trip
}

/// How long before a limit a connection is retired.
///
/// A request must arrive before the limit: that takes half a round trip, and the FIN that tells of the limit took another half to be seen.
/// Two whole ones, for a network that is not always equally fast, and 50 ms for the server's timers and ours. A fifth of the limit where
/// that is more, up to a second: servers that count in whole seconds close up to one early.
fn margin(limit: Duration, round_trip: Duration) -> Duration {
    (limit / 5).clamp(Duration::from_millis(50), Duration::from_secs(1)) + 2 * round_trip
}

fn is_lately(since: u64, now: Duration) -> bool {
    now.saturating_sub(Duration::from_nanos(since)) < DISTRUST
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NO_LIMIT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(requests: u64, idle_ms: u64, lifetime_ms: u64) -> Age {
        Age {
            requests,
            idle: Duration::from_millis(idle_ms),
            lifetime: Duration::from_millis(lifetime_ms),
            round_trip: Duration::from_millis(1),
        }
    }

    const NOTHING_TOLD: Told = Told {
        timeout: None,
        requests: None,
    };

    #[test]
    fn what_cannot_be_repeated_waits_for_proof() {
        let habits = Habits::new(None);
        assert!(habits.may_carry(&age(1, 10, 100), &NOTHING_TOLD, true));
        assert!(!habits.may_carry(&age(1, 10, 100), &NOTHING_TOLD, false));
        // It stayed open through an idle time, or another one was reused.
        assert!(habits.may_carry(&age(1, 600, 700), &NOTHING_TOLD, false));
        habits.answered(&age(1, 10, 100));
        assert!(habits.is_proven());
        assert!(habits.may_carry(&age(1, 10, 100), &NOTHING_TOLD, false));
        // A close behind an answer takes the proof back.
        habits.closed(&age(7, 1, 500));
        assert!(!habits.may_carry(&age(1, 10, 100), &NOTHING_TOLD, false));
    }

    #[test]
    fn an_idle_limit_is_kept_with_its_margin() {
        let habits = Habits::new(None);
        habits.closed(&age(3, 5000, 9000));
        assert_eq!(habits.learned_idle(), Some(Duration::from_secs(5)));
        assert!(habits.may_carry(&age(1, 3990, 9000), &NOTHING_TOLD, true));
        assert!(!habits.may_carry(&age(1, 4000, 9000), &NOTHING_TOLD, true));
        // Twice the margin for what cannot be repeated.
        assert!(habits.may_carry(&age(1, 2990, 9000), &NOTHING_TOLD, false));
        assert!(!habits.may_carry(&age(1, 3000, 9000), &NOTHING_TOLD, false));
    }

    #[test]
    fn what_is_outlived_often_enough_is_forgotten() {
        let habits = Habits::new(None);
        habits.closed(&age(3, 5000, 9000));
        habits.closed(&age(3, 700, 9000));
        assert_eq!(habits.learned_idle(), Some(Duration::from_millis(700)));
        for _ in 0..DOUBTS {
            assert_eq!(habits.learned_idle(), Some(Duration::from_millis(700)));
            habits.answered(&age(1, 4000, 5000));
        }
        assert_eq!(habits.learned_idle(), Some(Duration::from_secs(5)));
        // What is only as old as the limit is no doubt.
        for _ in 0..20 {
            habits.is_open(&age(1, 5100, 6000));
        }
        assert_eq!(habits.learned_idle(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn requests_are_counted_where_the_close_comes_with_the_answer() {
        let habits = Habits::new(None);
        habits.closed(&age(100, 1, 9000));
        assert_eq!((habits.learned_requests(), habits.learned_idle()), (Some(100), None));
        assert!(habits.may_carry(&age(99, 1, 100), &NOTHING_TOLD, true));
        assert!(!habits.may_carry(&age(100, 1, 100), &NOTHING_TOLD, true));
        habits.answered(&age(5, 1, 100));
        assert!(!habits.may_carry(&age(99, 1, 100), &NOTHING_TOLD, false));
        assert!(habits.may_carry(&age(98, 1, 100), &NOTHING_TOLD, false));
        for _ in 0..DOUBTS {
            habits.is_open(&age(120, 600, 9000));
        }
        assert_eq!(habits.learned_requests(), None);
    }

    #[test]
    fn a_server_that_closes_each_time_is_asked_to() {
        let habits = Habits::new(None);
        for _ in 0..DOUBTS {
            assert!(!habits.closes_each());
            habits.closed(&age(1, 1, 10));
        }
        let asked = (0..2 * LOOK_AGAIN).filter(|_| habits.closes_each()).count() as u64;
        assert_eq!(asked, 2 * (LOOK_AGAIN - 1));
        // Connections that stay open after their one request end that.
        for _ in 0..DOUBTS * DOUBTS {
            habits.is_open(&age(1, 600, 700));
        }
        assert!(!habits.closes_each());
    }

    #[test]
    fn what_was_mistaken_for_a_limit_is_forgotten_and_no_other() {
        let habits = Habits::new(None);
        habits.closed(&age(3, 5000, 9000));
        assert!(habits.saw_idle_once());
        habits.closed(&age(3, 5010, 9000));
        habits.closed(&age(2, 400, 900));
        habits.closed(&age(2, 1, 900));
        habits.was_mistaken(&age(2, 400, 900));
        habits.was_mistaken(&age(2, 1, 900));
        assert_eq!(
            (habits.learned_idle(), habits.learned_requests()),
            (Some(Duration::from_secs(5)), None)
        );
        assert!(!habits.saw_idle_once());
        assert_eq!(habits.learned().closes.len(), 2);
    }

    #[test]
    fn closes_of_every_age_are_no_habit() {
        let restarts = Habits::new(None);
        for (requests, idle) in [(3, 1200), (1, 40), (9, 300), (4, 20), (6, 700)] {
            restarts.closed(&age(requests, idle, 9000));
        }
        assert!(!restarts.is_steady());

        // The near miss: a habit, and one restart.
        let habit = Habits::new(None);
        for _ in 0..4 {
            habit.closed(&age(3, 5000, 9000));
        }
        habit.closed(&age(2, 9000, 9500));
        assert!(habit.is_steady());
    }

    #[test]
    fn a_lifetime_is_learned_from_closes_at_one_age() {
        let habits = Habits::new(None);
        habits.closed(&age(3, 2000, 30_000));
        habits.closed(&age(50, 700, 30_100));
        assert_eq!(habits.learned_lifetime(), None);
        habits.closed(&age(9, 9000, 30_050));
        assert_eq!(habits.learned_lifetime(), Some(Duration::from_secs(30)));
        assert!(!habits.may_carry(&age(1, 10, 29_100), &NOTHING_TOLD, true));
        assert!(habits.may_carry(&age(1, 10, 28_900), &NOTHING_TOLD, true));

        // The near miss: one idle limit, and connections that carried the same and so have the same age.
        let idle = Habits::new(None);
        for _ in 0..5 {
            idle.closed(&age(3, 5000, 30_000));
        }
        assert_eq!(idle.learned_lifetime(), None);
    }

    #[test]
    fn a_server_that_sent_what_nobody_asked_for_has_no_connection_used_again() {
        let habits = Habits::new(None);
        habits.answered(&age(1, 10, 10));
        assert!(habits.may_carry(&age(1, 10, 10), &NOTHING_TOLD, false));
        habits.distrust();
        assert!(!habits.may_carry(&age(1, 10, 10), &NOTHING_TOLD, true));
        let second = Duration::from_secs(1);
        assert!(is_lately(nanos(second), second + DISTRUST - second / 2));
        assert!(!is_lately(nanos(second), second + DISTRUST));
    }

    #[test]
    fn a_trial_ends_after_so_many_quiet_rests_and_begins_anew_after_what_was_strange() {
        let habits = Habits::new(None);
        assert!(!habits.is_on_trial(0));
        for _ in 0..3 {
            assert!(habits.is_on_trial(3));
            habits.was_quiet(3);
        }
        assert!(!habits.is_on_trial(3));
        habits.distrust();
        assert!(habits.is_on_trial(3));
        for _ in 0..3 {
            habits.was_quiet(3);
        }
        habits.begin_trial();
        assert!(habits.is_on_trial(3));
    }

    #[test]
    fn what_is_told_or_given_is_kept() {
        let habits = Habits::new(Some(Duration::from_secs(10)));
        assert!(!habits.is_learning());
        assert!(habits.may_carry(&age(1, 8900, 9000), &NOTHING_TOLD, true));
        assert!(!habits.may_carry(&age(1, 9000, 9000), &NOTHING_TOLD, true));
        let told = Told {
            timeout: Some(Duration::from_secs(5)),
            requests: Some(3),
        };
        assert!(habits.may_carry(&age(2, 3900, 9000), &told, true));
        assert!(!habits.may_carry(&age(3, 3900, 9000), &told, true));
        assert!(!habits.may_carry(&age(2, 4000, 9000), &told, true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let habits = Habits::new(None);
        for step in 0..1000 {
            habits.closed(&age(1 + step * step, 200 + step * step, 10));
            habits.closed(&age(1 + step * step, 0, 10));
        }
        let learned = habits.learned();
        assert!(learned.idle.observed.len() <= OBSERVED_MOST);
        assert!(learned.requests.observed.len() <= OBSERVED_MOST);
        assert!(learned.closes.len() <= CLOSES_MOST);
    }
}
