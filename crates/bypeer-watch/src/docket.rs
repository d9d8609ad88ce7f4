//! Events → hearings: the two ends of a connection are brought together, follow-ups are kept out, owners that become known later are
//! written in.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bypeer_diagnose::Hearing;
use bypeer_diagnose::testimony::{Act, Known, ResetPath, Side, State, Testimony, Told};
use bypeer_wire::{Endpoint, Timestamp};

use crate::event::{Event, Kind};
use crate::witness::{Machine, testimony};

/// How long a hearing waits for the other end, and for its owner: on loopback a reset's receipt is told before its sending, and an owner is
/// often known only when it closes.
const SETTLES: Duration = Duration::from_millis(300);
/// For how long a connection that was told of is remembered: what its ends still send is no story of its own. Linux repeats itself for a
/// minute in FIN-WAIT and TIME-WAIT.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Drops by a firewall or a full queue are believed to belong to what follows within this.
const RELATED: Duration = Duration::from_secs(2);
/// An attempt that a full queue drops is repeated after 1, 2, 4, … seconds: told once.
const OVERFLOW_REPEATS: Duration = Duration::from_secs(70);
/// How much later than its receipt the sending of a reset may be told.
const TOLD_WITHIN: Duration = Duration::from_millis(10);
const EPIPE: u32 = 32;
const ECONNRESET: u32 = 104;
/// Connections and drops remembered.
const KEPT: usize = 16_384;
/// Hearings that wait at once; beyond this the oldest is handed out as it is.
const WAITING: usize = 8_192;

/// Brings events together. Bounded: see the constants.
#[derive(Debug, Default)]
pub struct Docket {
    waiting: VecDeque<Waiting>,
    /// Sequence number in `waiting` of the one with these ends.
    by_ends: HashMap<Ends, u64>,
    /// The same by the cookies of the sockets that testified.
    by_cookie: HashMap<u64, u64>,
    /// How many were taken out of the front of `waiting`.
    taken: u64,
    told: Remembered<Ends>,
    firewalled: Remembered<Ends>,
    overflowed: Remembered<SocketAddr>,
    dropped_attempts: Remembered<Ends>,
    events: u64,
    hearings: u32,
    follow_ups: u64,
    resets_sent: u64,
    resets_received: u64,
    failures: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Resets that this machine's kernel sent.
    pub resets_sent: u64,
    /// Resets that it received and believed.
    pub resets_received: u64,
    /// Connections that failed without a reset.
    pub failures: u64,
    /// Events that belong to a connection which had been told of.
    pub follow_ups: u64,
}

impl Counted {
    /// How many resets and failures more than in an earlier count.
    pub fn since(&self, before: &Counted) -> u64 {
        let total = |counted: &Counted| counted.resets_sent + counted.resets_received + counted.failures;
        total(self).saturating_sub(total(before))
    }
}

/// Both ends, the lesser first: the same for both kernels.
type Ends = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Waiting {
    since: u64,
    ends: Ends,
    /// Cookies of the sockets that testified, with the numbers of their testimonies.
    cookies: Vec<(u64, u64)>,
    /// Inodes of sockets whose owners are not known, with the numbers of their testimonies.
    inodes: Vec<(u64, u64)>,
    local: SocketAddr,
    remote: SocketAddr,
    deciding: Testimony,
    peer: Option<Testimony>,
    opened: Option<Timestamp>,
}

impl Docket {
    /// An empty one.
    pub fn new() -> Docket {
        Docket::default()
    }

    /// Takes an event.
    pub fn push(&mut self, event: &Event, machine: &mut dyn Machine) {
        match event.kind {
            Kind::Closed => return self.owner(event, machine),
            // Of a process, and of no connection.
            Kind::Signalled => return,
            Kind::ResetSent => self.resets_sent += 1,
            Kind::ResetReceived => self.resets_received += 1,
            Kind::Failed | Kind::Swapped | Kind::Retaken | Kind::Dropped => {}
        }
        let (Some(local), Some(remote)) = (event.local, event.remote) else {
            self.follow_ups += 1;
            return;
        };
        // The error of a reset is told after the reset itself; tcp_disconnect() has wiped the peer's port by then.
        let error = event.tcp.map_or(0, |tcp| tcp.error);
        // Without an error it is a soft one, which ends nothing yet: an ICMP message while the program was in a call.
        let ends_nothing = matches!(error, 0 | ECONNRESET | EPIPE);
        if event.kind == Kind::Failed && (remote.port() == 0 || local.port() == 0 || ends_nothing) {
            self.follow_ups += 1;
            return;
        }
        // Only a server answers what it read: a client that reads an answer and sends its next request on a new connection swaps nothing.
        if matches!(event.kind, Kind::Swapped | Kind::Retaken) && event.tcp.is_none_or(|tcp| tcp.backlog == 0) {
            return;
        }
        let ends = ends(local, remote);
        if event.kind == Kind::Dropped {
            return self.dropped(event, ends, machine);
        }
        self.events += 1;
        let mut testimony = testimony(event, self.events, machine);
        testimony.firewalled = self.firewalled.within(&ends, event.at, RELATED);
        testimony.overflowed = self.overflowed.within(&local, event.at, OVERFLOW_REPEATS)
            || self.overflowed.within(&remote, event.at, OVERFLOW_REPEATS);
        testimony.peer_is_local = remote.ip().is_loopback() || remote.ip() == local.ip();
        if testimony.path == Some(ResetPath::Answer) && testimony.listening.is_none() {
            testimony.listening = machine.listening(event.netns, local);
        }
        let place = self.by_ends.get(&ends).copied();
        if let Some(waiting) = self.with_ends(&ends) {
            let was_received = waiting.deciding.told == Told::ResetReceived && waiting.local == local;
            if waiting.hear(event, local, testimony) {
                if was_received && waiting.deciding.told == Told::ResetSent {
                    self.resets_received = self.resets_received.saturating_sub(1);
                }
                if let Some(place) = place.filter(|_| event.cookie != 0) {
                    self.by_cookie.insert(event.cookie, place);
                }
                return;
            }
            self.follow_ups += 1;
            return;
        }
        if is_follow_up(&testimony) && self.told.within(&ends, event.at, REMEMBERED) {
            self.told.note(ends, event.at);
            self.follow_ups += 1;
            return;
        }
        self.failures += u64::from(testimony.told == Told::Failed);
        self.wait(event, ends, local, remote, testimony);
    }

    /// Takes a testimony that comes from a source without events of its own.
    pub fn hear(&mut self, local: SocketAddr, remote: SocketAddr, cookie: u64, at: u64, mut testimony: Testimony) {
        let ends = ends(local, remote);
        self.events += 1;
        testimony.number = self.events;
        match testimony.told {
            Told::ResetSent => self.resets_sent += 1,
            Told::ResetReceived => self.resets_received += 1,
            Told::Failed => self.failures += 1,
            Told::Destroyed | Told::Overflowed | Told::Swapped | Told::Retaken => {}
        }
        let event = Event {
            kind: match testimony.told {
                Told::ResetReceived => Kind::ResetReceived,
                Told::Failed => Kind::Failed,
                _ => Kind::ResetSent,
            },
            at,
            cookie,
            ..Event::default()
        };
        if let Some(waiting) = self.with_ends(&ends) {
            if !waiting.hear(&event, local, testimony) {
                self.follow_ups += 1;
            }
            return;
        }
        let again = testimony.told == Told::Overflowed && self.told.within(&ends, at, OVERFLOW_REPEATS);
        if again || is_follow_up(&testimony) && self.told.within(&ends, at, REMEMBERED) {
            self.follow_ups += 1;
            return;
        }
        self.wait(&event, ends, local, remote, testimony);
    }

    /// The hearings that have waited long enough at `now` (`CLOCK_MONOTONIC`); all with `u64::MAX`. Owners that are not known yet are
    /// asked for once more.
    pub fn ripe(&mut self, now: u64, machine: &mut dyn Machine) -> Vec<Hearing> {
        let mut ripe = Vec::new();
        let settles = u64::try_from(SETTLES.as_nanos()).unwrap_or(u64::MAX);
        while self
            .waiting
            .front()
            .is_some_and(|waiting| now.saturating_sub(waiting.since) >= settles || self.waiting.len() > WAITING)
        {
            let Some(mut waiting) = self.waiting.pop_front() else {
                break;
            };
            waiting.ask_for_owners(machine);
            self.taken += 1;
            self.by_ends.remove(&waiting.ends);
            for (cookie, _) in &waiting.cookies {
                self.by_cookie.remove(cookie);
            }
            // That tells of another's end: this connection goes on, and what it dies of is a story of its own.
            if waiting.deciding.told != Told::Retaken {
                self.told.note(waiting.ends, waiting.since);
            }
            self.hearings = self.hearings.saturating_add(1);
            ripe.push(waiting.into_hearing(self.hearings));
        }
        ripe
    }

    /// Whether nothing waits to ripen.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        Counted {
            resets_sent: self.resets_sent,
            resets_received: self.resets_received,
            failures: self.failures,
            follow_ups: self.follow_ups,
        }
    }

    fn with_ends(&mut self, ends: &Ends) -> Option<&mut Waiting> {
        self.at(*self.by_ends.get(ends)?)
    }

    fn at(&mut self, place: u64) -> Option<&mut Waiting> {
        let index = usize::try_from(place.checked_sub(self.taken)?).ok()?;
        self.waiting.get_mut(index)
    }

    fn wait(&mut self, event: &Event, ends: Ends, local: SocketAddr, remote: SocketAddr, deciding: Testimony) {
        let place = self.taken + self.waiting.len() as u64;
        self.by_ends.insert(ends, place);
        if event.cookie != 0 {
            self.by_cookie.insert(event.cookie, place);
        }
        let first = event.history.as_ref().map(|history| history.first);
        let opened = first.filter(|first| *first > 0);
        self.waiting.push_back(Waiting {
            since: event.at,
            ends,
            cookies: vec![(event.cookie, deciding.number)],
            inodes: vec![(event.inode, deciding.number)],
            local,
            remote,
            // The oldest deed that is kept is not the first that was.
            opened: opened.map(|first| {
                let before = i64::try_from(event.at.saturating_sub(first)).unwrap_or(i64::MAX);
                Timestamp(deciding.at.0.saturating_sub(before))
            }),
            deciding,
            peer: None,
        });
    }

    /// A firewall's drop is remembered for what follows; a full queue's is a story.
    fn dropped(&mut self, event: &Event, ends: Ends, machine: &mut dyn Machine) {
        let reason = event.reason.and_then(|reason| machine.drop_reason(reason));
        match reason.as_deref() {
            Some("TCP_LISTEN_OVERFLOW") => {}
            Some("NETFILTER_DROP") => {
                self.firewalled.note(ends, event.at);
                if let Some(waiting) = self.with_ends(&ends) {
                    waiting.deciding.firewalled = true;
                }
                return;
            }
            // Of those that concern connections, none that a cause asks for.
            _ => return,
        }
        let Some(local) = event.local else { return };
        self.overflowed.note(local, event.at);
        let again = self.dropped_attempts.within(&ends, event.at, OVERFLOW_REPEATS);
        self.dropped_attempts.note(ends, event.at);
        if again {
            self.follow_ups += 1;
            return;
        }
        self.events += 1;
        let testimony = testimony(event, self.events, machine);
        let Some(remote) = event.remote else { return };
        if let Some(waiting) = self.with_ends(&ends) {
            waiting.deciding.overflowed = true;
            return;
        }
        self.wait(event, ends, local, remote, testimony);
    }

    /// The task that destroyed a socket was its owner.
    fn owner(&mut self, event: &Event, machine: &mut dyn Machine) {
        // A socket that is destroyed in an interrupt was closed by somebody else than who ran.
        if event.cookie == 0 || !event.task.acting {
            return;
        }
        let place = self.by_cookie.get(&event.cookie).copied();
        let Some(waiting) = place.and_then(|place| self.at(place)) else {
            return;
        };
        let Some(number) = waiting
            .cookies
            .iter()
            .find(|(cookie, _)| *cookie == event.cookie)
            .map(|(_, number)| *number)
        else {
            return;
        };
        for testimony in std::iter::once(&mut waiting.deciding).chain(waiting.peer.as_mut()) {
            if testimony.number == number && testimony.actor.is_none() {
                let mut actor = machine.actor(&event.task, None);
                actor.known = Known::ClosedLater;
                actor.act = Act::Owned;
                testimony.actor = Some(actor);
            }
        }
    }
}

impl Waiting {
    fn ask_for_owners(&mut self, machine: &mut dyn Machine) {
        for testimony in std::iter::once(&mut self.deciding).chain(self.peer.as_mut()) {
            let inode = self.inodes.iter().find(|(_, number)| *number == testimony.number);
            let unknown = testimony.actor.is_none() && testimony.path != Some(ResetPath::Answer);
            if let Some((inode, _)) = inode.filter(|(inode, _)| unknown && *inode != 0)
                && let Some(mut actor) = machine.owner(*inode)
            {
                actor.known = Known::Descriptor;
                actor.act = Act::Owned;
                testimony.actor = Some(actor);
            }
        }
    }

    /// Takes what the other end, or the same end once more, says; false when it adds nothing.
    fn hear(&mut self, event: &Event, local: SocketAddr, testimony: Testimony) -> bool {
        let same_end = |own: SocketAddr| local == own && self.local != self.remote;
        let known = self
            .cookies
            .iter()
            .find(|(cookie, _)| event.cookie != 0 && *cookie == event.cookie)
            .map(|(_, number)| *number);
        let speaks_again = |before: &Testimony, own| known == Some(before.number) || same_end(own);
        // The very socket, and not what answers in its place when it is gone.
        let is_known = known.is_some();
        let corrects =
            |before: &Testimony, now: &Testimony| is_known && corrects(before, now) || comes_before(before, now);
        if speaks_again(&self.deciding, self.local) {
            let corrects = corrects(&self.deciding, &testimony);
            if corrects {
                self.cookies.push((event.cookie, testimony.number));
                self.deciding = testimony;
            }
            return corrects;
        }
        if let Some(peer) = &self.peer {
            let corrects = speaks_again(peer, self.remote) && corrects(peer, &testimony);
            if corrects {
                self.cookies.push((event.cookie, testimony.number));
                self.decide_by_peer(testimony);
            }
            return corrects;
        }
        self.cookies.push((event.cookie, testimony.number));
        self.inodes.push((event.inode, testimony.number));
        // Who sent the reset decides, whoever was heard first; of two that did, the one that answers data.
        let says_more =
            self.deciding.told != Told::ResetSent || answers_nothing(&self.deciding) && !answers_nothing(&testimony);
        if testimony.told == Told::ResetSent && says_more {
            self.decide_by_peer(testimony);
        } else {
            self.peer = Some(testimony);
        }
        true
    }

    fn decide_by_peer(&mut self, testimony: Testimony) {
        std::mem::swap(&mut self.local, &mut self.remote);
        self.peer = Some(std::mem::replace(&mut self.deciding, testimony));
    }

    fn into_hearing(self, number: u32) -> Hearing {
        let side = self
            .deciding
            .side
            .or_else(|| self.peer.as_ref().and_then(|peer| peer.side).map(other));
        let (mut deciding, mut peer) = (self.deciding, self.peer);
        deciding.side = side;
        // The kernel tells of a reset when it has sent it; over loopback it has been received by then.
        if let Some(receipt) = peer.as_ref().filter(|peer| peer.told == Told::ResetReceived)
            && deciding.told == Told::ResetSent
            && deciding.at > receipt.at
            && deciding.at.since(receipt.at) <= TOLD_WITHIN
        {
            deciding.at = receipt.at;
        }
        if let Some(peer) = peer.as_mut()
            && peer.side.is_none()
        {
            peer.side = side.map(other);
        }
        let (client, server) = match side {
            Some(Side::Client) => (self.local, self.remote),
            _ => (self.remote, self.local),
        };
        Hearing {
            number,
            client: endpoint(client),
            server: endpoint(server),
            opened: self.opened,
            deciding,
            peer,
        }
    }
}

/// Whether what a socket says now stands in place of what it said before.
///
/// One that its program has closed calls `tcp_reset()` on itself when data comes, before it sends its reset: the kernel tells of a reset
/// received that nobody sent. A thread that reads under a number that was taken away, and then answers what it had read there before, has
/// shown that it took the one connection for the other.
fn corrects(before: &Testimony, now: &Testimony) -> bool {
    let reset = now.told == Told::ResetSent && matches!(before.told, Told::ResetReceived | Told::Overflowed);
    reset || now.told == Told::Swapped && before.told == Told::Retaken
}

/// A close that resets, against the answer to a segment that came for the closed socket: an interrupt may tell of the second first.
fn comes_before(before: &Testimony, now: &Testimony) -> bool {
    let is_answer = |testimony: &Testimony| testimony.path == Some(ResetPath::Answer);
    let both_sent = before.told == Told::ResetSent && now.told == Told::ResetSent;
    both_sent && is_answer(before) && !is_answer(now)
}

/// A reset that answers a segment without payload: what is left of a connection that both ends have done with.
fn answers_nothing(testimony: &Testimony) -> bool {
    let empty = testimony
        .trigger
        .as_ref()
        .is_some_and(|trigger| trigger.len == 0 && !trigger.syn);
    testimony.path == Some(ResetPath::Answer) && empty
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

/// What the ends of a connection that is over still send, and what is answered to that.
fn is_follow_up(testimony: &Testimony) -> bool {
    let opens = testimony.trigger.as_ref().is_some_and(|trigger| trigger.syn);
    let without_socket = matches!(
        testimony.state,
        None | Some(State::TimeWait | State::Listen | State::Closed)
    );
    match testimony.told {
        Told::ResetSent => testimony.path == Some(ResetPath::Answer) && !opens && without_socket,
        // The other end's share of a story that was told.
        Told::ResetReceived => true,
        Told::Destroyed => without_socket,
        Told::Failed | Told::Overflowed | Told::Swapped | Told::Retaken => false,
    }
}

fn ends(a: SocketAddr, b: SocketAddr) -> Ends {
    if a <= b { (a, b) } else { (b, a) }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        addr: address.ip(),
        port: address.port(),
    }
}

/// Moments by key, the oldest let go.
#[derive(Debug)]
struct Remembered<K> {
    moments: HashMap<K, u64>,
    order: VecDeque<K>,
}

impl<K> Default for Remembered<K> {
    fn default() -> Remembered<K> {
        Remembered {
            moments: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Remembered<K> {
    fn note(&mut self, key: K, at: u64) {
        if self.moments.insert(key, at).is_none() {
            self.order.push_back(key);
            if self.order.len() > KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.moments.remove(&oldest);
            }
        }
    }

    fn within(&self, key: &K, now: u64, span: Duration) -> bool {
        self.moments
            .get(key)
            .is_some_and(|at| u128::from(now.saturating_sub(*at)) <= span.as_nanos())
    }
}

#[cfg(test)]
mod tests;
