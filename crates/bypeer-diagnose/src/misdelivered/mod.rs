//! Answers that go to the wrong request: who asked what, who was answered what, over all connections of a server.
//!
//! Fed with [`Event`]s, in the order in which they became known. It never says by itself that an answer was swapped: it keeps
//! *suspicions*, and holds them at the end, when it is known how each kind of request is answered, to all of these: another
//! request, older than the receiver's, was never answered; the answer has a form that is usual for that kind of request and foreign to
//! the receiver's, more than a hundred times; and both kinds have forms to tell by, which no longer change. Any of these alone happens
//! on healthy servers all day. In place of the form an echo serves: a word of the other's request in an answer that has always
//! repeated its own's.

mod absence;
/// What is found, as each connection sees it.
pub mod astray;
mod event;
mod line;
mod others;
mod profile;
mod strays;
mod suspicion;
mod told;
mod waits;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bypeer_wire::app::{Look, Noticed, Place, Protocol, Request, Route, Token};

use bypeer_wire::{Direction, Endpoint, PacketRef, Timestamp};
use hashbrown::{HashMap, HashSet};

use absence::Absences;
use astray::{Asked, Early, Fate, Swap};
pub use event::{Call, Event, What};
use line::{Ask, Line, Over, Sends};
use profile::{Profiles, USUAL, form};
use strays::Strays;
use suspicion::{Candidate, Known, Misplaced, Neighbour, Outcome, RequestId, Suspicion, Watched};

/// Connections followed at once; of more nothing is told.
const LINES: usize = 250_000;

/// Suspicions at once; then the oldest is settled with what is known.
const SUSPICIONS: usize = 4096;

/// Requests that are candidates of one suspicion, and of them of one kind.
const CANDIDATES: usize = 12;
/// See [`CANDIDATES`].
const CANDIDATES_ALIKE: usize = 3;

/// Requests that are looked at for candidates.
const LOOKED_AT: usize = 256;

/// Requests of a server that may have been given another's answer, and whose own may be under way.
const PASSING: usize = 64;

/// Requests waiting at all servers.
const WAITING: usize = 500_000;

/// Answers at a wrong place that are remembered of a connection.
const MISPLACED: usize = 8;

/// Connections of which something was found, and the clients whose ways are known.
const FOUND: usize = 8192;
/// See [`FOUND`].
const CLIENTS: usize = 20_000;

/// A request that the server's side closed upon may be answered elsewhere for so long: a serial server has others to do first.
const AFTER_A_CLOSE: Duration = Duration::from_secs(120);

/// A request whose client has left, for so long.
const AFTER_A_LEAVE: Duration = Duration::from_secs(10);

/// Live, a suspicion waits so long for its candidates to be answered.
const PATIENCE: Duration = Duration::from_secs(120);

/// Live, it waits at least so long for what else the capture may tell.
const SETTLING: Duration = Duration::from_secs(3);

/// Answers of a server go astray: see the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    lines: HashMap<u64, Box<Line>>,
    /// Whole requests without an answer, of each server, the oldest first.
    waiting: HashMap<Endpoint, BTreeMap<Key, Waiting>>,
    waiting_total: usize,
    /// Requests that may have been given another's answer, of each server: their own may go to the next.
    passing: HashMap<Endpoint, VecDeque<(Key, Waiting)>>,
    /// Of those, the ones whose connection is over, and until when they may be answered elsewhere.
    leaving: VecDeque<(Timestamp, Endpoint, Key)>,
    profiles: Profiles,
    suspicions: BTreeMap<u64, Suspicion>,
    next: u64,
    /// How many suspicions there are of an answer in this form to this kind of request.
    alike: HashMap<(Endpoint, u64, u64), u32>,
    /// Requests that were given another's answer, and whether that began with a close with a request in hand.
    wronged: HashMap<RequestId, bool>,
    watched: HashMap<RequestId, Watched>,
    /// Connections with a part in a suspicion, and in how many.
    concerned: HashMap<u64, u32>,
    /// Of receivers: the suspicion about the last of their answers.
    receivers: HashMap<u64, u64>,
    taken: HashMap<u64, Box<Swap>>,
    given: HashMap<u64, Box<Swap>>,
    early: HashMap<u64, Early>,
    misplaced: HashMap<u64, Vec<Misplaced>>,
    misread: HashMap<u64, (u32, u16, PacketRef, Route)>,
    clients: HashMap<(IpAddr, Endpoint), Sends>,
    /// Descriptors that have the number of another connection's, and whose.
    numbers: HashMap<u64, u64>,
    strays: Strays,
    absences: Absences,
    /// Connections with an answer that was recorded before its request.
    disordered: HashSet<u64>,
}

/// When a request was whole, its connection, and its number there.
type Key = (Timestamp, u64, u32);

/// A whole request without an answer.
#[derive(Debug)]
struct Waiting {
    client: Endpoint,
    asked: PacketRef,
    end: u64,
    request: Request,
    over: Option<Over>,
    /// It was answered, with what may be another's, and its own may be under way: then since when.
    misanswered: Option<PacketRef>,
}

impl Waiting {
    fn outcome(&self) -> Outcome {
        match (self.misanswered, self.over) {
            (Some(at), _) => Outcome::Misanswered(at),
            (None, Some(over)) => Outcome::Ended(over),
            (None, None) => Outcome::Waits,
        }
    }
}

impl Deliveries {
    /// Takes what happened.
    pub fn take(&mut self, event: &Event<'_>) {
        let Event { connection, at, .. } = *event;
        match event.what {
            What::Called(call) => self.called(connection, call, at),
            What::Said(&Noticed::Begun { protocol, whole }) => {
                if self.lines.len() < LINES {
                    let line = Line::new(event.client, event.server, protocol, whole, at);
                    self.lines.insert(connection, Box::new(line));
                }
            }
            What::Said(Noticed::Gone) => self.gone(connection),
            What::Said(said) => {
                if let Some(line) = self.lines.get_mut(&connection) {
                    line.last_said = at;
                    self.said(connection, said, at);
                }
            }
        }
    }

    fn said(&mut self, connection: u64, said: &Noticed, at: PacketRef) {
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        match said {
            Noticed::Asking { index, .. } => {
                if !line.asking(*index, at) {
                    self.lost(connection);
                }
            }
            Noticed::Asked {
                index,
                head_end,
                request,
            } => {
                if line.asked(*index, *head_end, request.clone()) && self.disordered.len() < FOUND {
                    self.disordered.insert(connection);
                }
            }
            Noticed::AskedAll { index, end } => self.asked_all(connection, *index, *end, at),
            Noticed::Answering { index, acked, .. } => {
                line.answering(*index, at, *acked);
                if let Some(index) = index {
                    self.no_longer_waits((connection, *index));
                }
            }
            Noticed::Answered {
                index: Some(index),
                complete,
                look,
                ..
            } => self.answered(connection, *index, *complete, look, at),
            Noticed::Answered { index: None, look, .. } => self.unasked(connection, look, at),
            Noticed::Over { by, how, acked, .. } => {
                if line.ends(*by, *how, at, *acked) {
                    self.over(connection);
                }
            }
            Noticed::Lost => self.lost(connection),
            Noticed::Begun { .. } | Noticed::Gone => {}
        }
    }

    fn asked_all(&mut self, connection: u64, index: u32, end: u64, at: PacketRef) {
        let full = self.waiting_total >= WAITING;
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let (client, server, follow) = (line.client, line.server, line.whole && line.protocol == Protocol::Http1);
        let Some(ask) = line.ask(index) else { return };
        ask.whole = Some((at, end));
        let Some(request) = ask
            .request
            .clone()
            .filter(|_| follow && !full && ask.answering.is_none())
        else {
            return;
        };
        let waiting = Waiting {
            client,
            asked: ask.at,
            end,
            request,
            over: None,
            misanswered: None,
        };
        let server = self.waiting.entry(server).or_default();
        if server.insert((at.time, connection, index), waiting).is_none() {
            self.waiting_total += 1;
        }
    }

    /// It is answered, or cannot be told any more.
    fn no_longer_waits(&mut self, (connection, index): RequestId) {
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let server = line.server;
        let Some((whole, _)) = line.ask(index).and_then(|ask| ask.whole) else {
            return;
        };
        self.stop_waiting(server, (whole.time, connection, index));
    }

    fn stop_waiting(&mut self, server: Endpoint, key: Key) {
        if let Some(waiting) = self.waiting.get_mut(&server)
            && waiting.remove(&key).is_some()
        {
            self.waiting_total -= 1;
            if waiting.is_empty() {
                self.waiting.remove(&server);
            }
        }
    }

    fn answered(&mut self, connection: u64, index: u32, complete: bool, look: &Look, at: PacketRef) {
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let server = line.server;
        let Some(ask) = line.answered(index, at) else { return };
        let has_body = |ask: &Ask| {
            ask.whole
                .zip(ask.head_end)
                .is_none_or(|((_, end), head_end)| end > head_end)
        };
        let behind_a_body = std::mem::replace(&mut line.had_body, has_body(&ask));
        if let Some(status @ (400 | 405 | 501 | 505)) = look.status
            && line.whole
            && let Some(request) = &ask.request
        {
            self.profiles.refused(server, &request.route, behind_a_body);
            if behind_a_body && self.misread.len() < FOUND {
                let at = ask.answering.map_or(at, |(at, _)| at);
                self.misread
                    .insert(connection, (ask.index, status, at, request.route.clone()));
            }
        }
        // A refusal may come before its request, and looks alike for all kinds.
        let refused = look.is_error || look.status.is_none_or(|status| status >= 400);
        if line.protocol != Protocol::Http1 || !line.whole || refused {
            self.settle_candidate((connection, index), Got::Unknown, at);
            return;
        }
        if let Some(early) = line.early(&ask)
            && self.early.len() < FOUND
        {
            self.early.entry(connection).or_insert(early);
        }
        let Some(request) = &ask.request else { return };
        let formless = look.shape.is_bodiless || request.is_head || !complete || look.shape.is_cut;
        if formless {
            self.settle_candidate((connection, index), Got::Unknown, at);
            return;
        }
        line.remember(&ask, look, at);
        let rare = self.profiles.learn(server, &request.route, look);
        self.profiles.learn_echo(server, &request.route, &request.tokens, look);
        let lacks = self.lacks(server, request, look);
        let how = if lacks.is_empty() {
            Got::Form(form(look), rare)
        } else {
            Got::Lacking(form(look), rare)
        };
        self.settle_candidate((connection, index), how, at);
        self.suspect(connection, &ask, request, look, rare, &lacks, at);
    }

    /// Compares an answer with what else was waiting for one.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one answer")]
    fn suspect(
        &mut self,
        connection: u64,
        ask: &Ask,
        request: &Request,
        look: &Look,
        rare: bool,
        lacks: &[Place],
        at: PacketRef,
    ) {
        let Some(line) = self.lines.get(&connection) else {
            return;
        };
        let server = line.server;
        if !rare && lacks.is_empty() {
            return;
        }
        if line.pipelines {
            self.misplace(connection, ask, request, look, rare, lacks);
        }
        let answer = ask.answering.map_or(at, |(at, _)| at);
        let since = ask.whole.map_or(ask.at, |(at, _)| at);
        let candidates = self.candidates(
            connection,
            server,
            [since.time, answer.time],
            request,
            look,
            rare,
            lacks,
        );
        let called = self.numbers.get(&connection).copied();
        if candidates.is_empty() {
            return;
        }
        let Some(line) = self.lines.get(&connection) else {
            return;
        };
        let suspicion = Suspicion {
            server,
            receiver: connection,
            index: ask.index,
            given: asked(connection, line.client, ask.at, &request.route),
            route: request.route.clone(),
            form: form(look),
            answer,
            served: line.served,
            candidates,
            tail: None,
            tail_came_first: false,
            receiver_opened: None,
            receiver_over: line.over,
            receiver_last: line.last_said,
            called,
        };
        self.keep(suspicion);
        self.passes_on(connection, ask, request, at);
    }

    /// If this answer was another's, the receiver's own may go to a third.
    fn passes_on(&mut self, connection: u64, ask: &Ask, request: &Request, at: PacketRef) {
        let (Some(line), Some((whole, end))) = (self.lines.get(&connection), ask.whole) else {
            return;
        };
        let key = (whole.time, connection, ask.index);
        let waiting = Waiting {
            client: line.client,
            asked: ask.at,
            end,
            request: request.clone(),
            over: None,
            misanswered: Some(at),
        };
        let server = line.server;
        if self.passing.len() < FOUND || self.passing.contains_key(&server) {
            let passing = self.passing.entry(server).or_default();
            let old = |(_, one): &(Key, Waiting)| {
                one.misanswered
                    .is_some_and(|then| later(then.time, AFTER_A_LEAVE) < at.time)
            };
            while passing.len() >= PASSING || passing.front().is_some_and(old) {
                passing.pop_front();
            }
            passing.push_back((key, waiting));
        }
    }

    fn keep(&mut self, suspicion: Suspicion) {
        let id = self.next;
        self.next += 1;
        *self.concerned.entry(suspicion.receiver).or_default() += 1;
        self.receivers.insert(suspicion.receiver, id);
        for candidate in &suspicion.candidates {
            *self.concerned.entry(candidate.id.0).or_default() += 1;
            let watched = self.watched.entry(candidate.id).or_insert_with(|| Watched {
                outcome: candidate.outcome,
                suspicions: Vec::new(),
            });
            watched.suspicions.push(id);
        }
        *self.alike.entry(suspicion.kind()).or_default() += 1;
        self.suspicions.insert(id, suspicion);
        if self.suspicions.len() > SUSPICIONS
            && let Some(oldest) = self.suspicions.keys().next().copied()
        {
            self.settle(oldest);
        }
    }

    /// A request that may be the one that an answer was due to has got an answer on its own connection; in the form that is usual
    /// for it, it is out of the question.
    fn settle_candidate(&mut self, id: RequestId, got: Got, at: PacketRef) {
        let Some(watched) = self.watched.get_mut(&id) else {
            return;
        };
        watched.outcome = match got {
            Got::Form(form, true) | Got::Lacking(form, true) => Outcome::Answered { form, at },
            Got::Lacking(_, false) => Outcome::Lacked(at),
            Got::Form(_, false) | Got::Unknown => Outcome::Unknown,
        };
        if !matches!(watched.outcome, Outcome::Unknown) {
            return;
        }
        for suspicion in watched.suspicions.clone() {
            let Some(one) = self.suspicions.get(&suspicion) else {
                continue;
            };
            let unknown = |candidate: &Candidate| {
                self.watched
                    .get(&candidate.id)
                    .is_none_or(|watched| matches!(watched.outcome, Outcome::Unknown))
            };
            if one.candidates.iter().all(unknown) {
                self.drop_suspicion(suspicion);
            }
        }
    }

    fn over(&mut self, connection: u64) {
        let Some(line) = self.lines.get(&connection) else {
            return;
        };
        let Some(over) = line.over else { return };
        if let Some(suspicion) = self
            .receivers
            .get(&connection)
            .and_then(|id| self.suspicions.get_mut(id))
        {
            suspicion.receiver_over = Some(over);
        }
        let server = line.server;
        let window = if over.by == Direction::ToClient {
            AFTER_A_CLOSE
        } else {
            AFTER_A_LEAVE
        };
        let until = later(over.at.time, window);
        let owed: Vec<(u32, Timestamp)> = line
            .owed
            .iter()
            .filter_map(|ask| Some((ask.index, ask.whole?.0.time)))
            .collect();
        for (index, whole) in owed {
            let key = (whole, connection, index);
            if let Some(waiting) = self.waiting.get_mut(&server).and_then(|waiting| waiting.get_mut(&key)) {
                waiting.over = Some(over);
                self.leaving.push_back((until, server, key));
            }
            if let Some(watched) = self.watched.get_mut(&(connection, index))
                && matches!(watched.outcome, Outcome::Waits)
            {
                watched.outcome = Outcome::Ended(over);
            }
        }
        self.let_go(over.at.time);
    }

    /// Those who left long enough ago wait no longer.
    fn let_go(&mut self, now: Timestamp) {
        while self.leaving.front().is_some_and(|(until, ..)| *until < now) {
            if let Some((_, server, key)) = self.leaving.pop_front() {
                self.stop_waiting(server, key);
            }
        }
    }

    /// Nothing can be told of this connection any more.
    fn lost(&mut self, connection: u64) {
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        line.whole = false;
        line.reuse = None;
        let server = line.server;
        let owed: Vec<(u32, Option<Timestamp>)> = line
            .owed
            .drain(..)
            .map(|ask| (ask.index, ask.whole.map(|(at, _)| at.time)))
            .collect();
        for (index, whole) in owed {
            if let Some(whole) = whole {
                self.stop_waiting(server, (whole, connection, index));
            }
            let at = PacketRef::default();
            self.settle_candidate((connection, index), Got::Unknown, at);
        }
        self.misplaced.remove(&connection);
    }

    fn gone(&mut self, connection: u64) {
        self.count_client(connection);
        let keep = self.lines.get(&connection).is_some_and(|line| self.may_be_reuse(line));
        if let Some(line) = self.lines.get(&connection)
            && line.over.is_none()
        {
            // It was put out, or its addresses are used again: nobody saw how it ended.
            self.lost(connection);
        }
        if !keep {
            self.lines.remove(&connection);
        }
    }

    /// Takes note of how a client sends, once a connection.
    fn count_client(&mut self, connection: u64) {
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let key = (line.client.addr, line.server);
        let known = self.clients.len() < CLIENTS || self.clients.contains_key(&key);
        if known && !std::mem::replace(&mut line.counted, true) {
            self.clients.entry(key).or_default().add(line.sends);
        }
    }

    /// A request was sent while an answer was owed, by one who seems not to do this as a rule.
    fn may_be_reuse(&self, line: &Line) -> bool {
        let known = line.whole && line.reuse.as_ref().is_some_and(|slip| slip.answer.is_some());
        let few = match line.protocol {
            Protocol::Redis => line.sends.late <= 2,
            _ => true,
        };
        known && few && line.sends.at_one_go == 0
    }

    fn called(&mut self, connection: u64, call: Call, at: PacketRef) {
        match call {
            Call::StrayClose => {
                if let Some(line) = self.lines.get_mut(&connection) {
                    line.stray_close = Some(at);
                }
            }
            Call::NumberFrom { of } => {
                let stray = self.lines.get(&of).is_some_and(|line| line.stray_close.is_some());
                if stray && self.numbers.len() < FOUND {
                    self.numbers.insert(connection, of);
                }
            }
            Call::WroteElsewhere { on } => {
                if self.numbers.len() < FOUND {
                    self.numbers.insert(on, connection);
                }
            }
        }
    }

    fn settle(&mut self, id: u64) {
        let Some(suspicion) = self.suspicions.get(&id) else {
            return;
        };
        let alike = self.alike.get(&suspicion.kind()).copied().unwrap_or(1);
        let swap = suspicion.settle(self.known(), alike);
        let request = (suspicion.receiver, suspicion.index);
        let at_home = self.is_off_by_one(suspicion.receiver, suspicion.server);
        self.drop_suspicion(id);
        if let Some(swap) = swap.filter(|_| !at_home) {
            self.wrongs(request, &swap);
            self.found(swap);
        }
    }

    /// Answers on this connection stand at the places of others of its own: what it was given came from there.
    fn is_off_by_one(&self, connection: u64, server: Endpoint) -> bool {
        self.shifted(connection, server).is_some_and(|shift| shift.count > 1)
    }

    fn known(&self) -> Known<'_> {
        Known {
            profiles: &self.profiles,
            watched: &self.watched,
            wronged: &self.wronged,
            absences: &self.absences,
        }
    }

    /// Its own answer may have gone to another, unless it came as well.
    fn wrongs(&mut self, request: RequestId, swap: &Swap) {
        let closed = match swap.fate {
            Fate::ClosedInHand(_) => true,
            Fate::GivenAnothers { closed_in_hand, .. } => closed_in_hand,
            Fate::Silent | Fate::ClientLeft(_) | Fate::Exchanged(_) => false,
        };
        if swap.own_followed.is_none() && self.wronged.len() < FOUND {
            self.wronged.insert(request, closed);
        }
    }

    fn found(&mut self, swap: Swap) {
        if self.taken.len() >= FOUND || self.given.len() >= FOUND {
            return;
        }
        // A surplus alone shows where an answer went, not whose it was: who was closed upon is not to be told so.
        if !matches!(swap.sign, astray::Sign::Surplus) {
            self.taken
                .entry(u64::from(swap.due.stream))
                .or_insert_with(|| Box::new(swap.clone()));
        }
        self.given
            .entry(u64::from(swap.given.stream))
            .or_insert_with(|| Box::new(swap));
    }

    fn drop_suspicion(&mut self, id: u64) {
        let Some(suspicion) = self.suspicions.remove(&id) else {
            return;
        };
        if self.receivers.get(&suspicion.receiver) == Some(&id) {
            self.receivers.remove(&suspicion.receiver);
        }
        take_one(&mut self.alike, suspicion.kind());
        let parts = suspicion.candidates.iter().map(|candidate| candidate.id.0);
        for connection in parts.chain([suspicion.receiver]) {
            take_one(&mut self.concerned, connection);
        }
        for candidate in &suspicion.candidates {
            if let Some(watched) = self.watched.get_mut(&candidate.id) {
                watched.suspicions.retain(|other| *other != id);
                if watched.suspicions.is_empty() {
                    self.watched.remove(&candidate.id);
                }
            }
        }
    }

    /// Settles what waited long enough, when it is `now`: of a live capture.
    pub fn advance(&mut self, now: Timestamp) {
        self.let_go(now);
        let waits = |candidate: &Candidate| {
            self.watched
                .get(&candidate.id)
                .is_some_and(|watched| matches!(watched.outcome, Outcome::Waits))
        };
        let ripe: Vec<u64> = self
            .suspicions
            .iter()
            .filter(|(_, suspicion)| {
                let age = now.since(suspicion.answer.time);
                age >= PATIENCE
                    || age >= SETTLING && suspicion.receiver_over.is_some() && !suspicion.candidates.iter().any(waits)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ripe {
            self.settle(id);
        }
    }

    /// Settles everything: the capture is over.
    pub fn finish(&mut self) {
        let lines: Vec<u64> = self.lines.keys().copied().collect();
        for connection in lines {
            self.count_client(connection);
        }
        // None is dropped before all are settled: each is held to the same, and those settled first would else count as ordinary.
        let ids: Vec<u64> = self.suspicions.keys().copied().collect();
        let mut swaps = Vec::new();
        let mut told: HashSet<u64> = HashSet::new();
        // Who got an older one's answer is known by what became of that, and in a chain the other way round by what became of a younger.
        for id in ids.iter().chain(ids.iter().rev()) {
            let Some(suspicion) = self.suspicions.get(id).filter(|_| !told.contains(id)) else {
                continue;
            };
            if self.is_off_by_one(suspicion.receiver, suspicion.server) {
                continue;
            }
            let alike = self.alike.get(&suspicion.kind()).copied().unwrap_or(1);
            let request = (suspicion.receiver, suspicion.index);
            if let Some(swap) = suspicion.settle(self.known(), alike) {
                self.wrongs(request, &swap);
                swaps.push(swap);
                told.insert(*id);
            }
        }
        for id in ids {
            self.drop_suspicion(id);
        }
        for swap in swaps {
            self.found(swap);
        }
    }
}

/// What a request got for an answer that may be another's candidate.
#[derive(Clone, Copy)]
enum Got {
    /// In this form; whether that is rare for its kind.
    Form(u64, bool),
    /// The same, without the word of its own that answers to its kind may be wont to repeat.
    Lacking(u64, bool),
    /// What tells nothing.
    Unknown,
}

/// The first of these places whose word, of these, the answer has.
fn repeated(tokens: &[Token], places: &[Place], look: &Look) -> Option<Place> {
    let has = |place: &&Place| {
        let mut words = tokens.iter().filter(|token| token.place == **place);
        words.any(|token| look.tokens.binary_search(&token.word).is_ok())
    };
    places.iter().find(has).copied()
}

fn take_one<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, of: K) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}

fn asked(connection: u64, client: Endpoint, at: PacketRef, route: &Route) -> Asked {
    Asked {
        stream: u32::try_from(connection).unwrap_or(u32::MAX),
        client,
        route: route.text.clone(),
        at,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
