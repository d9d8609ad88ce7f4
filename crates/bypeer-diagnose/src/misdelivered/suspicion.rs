//! An answer that may be another's, and what it is held to before it is believed.

use std::time::Duration;

use bypeer_wire::app::{Place, Route};
use bypeer_wire::{Direction, Endpoint, PacketRef, Timestamp};
use hashbrown::HashMap;

use super::absence::Absences;
use super::astray::{Asked, Fate, ShiftSign, Sign, Swap};
use super::line::Over;
use super::profile::{Profiles, USUAL};

/// How much better the form must fit the other request.
const ODDS: f64 = 100.0;

/// The same, where the receiver was given its own answer too: two answers to one request are a sign by themselves.
const ODDS_WITH_ITS_OWN: f64 = 10.0;

/// Other kinds that may be answered in the same form before it tells nothing: an envelope, an error with status 200.
const SHARED: usize = 1;

/// Answers to the kind that it was due to.
const OF_DUE: u32 = 10;

/// A request, by its connection and its number there.
pub type RequestId = (u64, u32);

/// See the module.
#[derive(Debug)]
pub struct Suspicion {
    pub server: Endpoint,
    pub receiver: u64,
    /// The number of its request.
    pub index: u32,
    pub given: Asked,
    pub route: Route,
    pub form: u64,
    pub answer: PacketRef,
    /// The first byte that the server said on the receiver's connection.
    pub served: Option<PacketRef>,
    pub candidates: Vec<Candidate>,
    /// An answer that nobody had asked for, behind this one.
    pub tail: Option<(PacketRef, u64)>,
    /// That came before this one: the receiver was answered, and then came what may be another's.
    pub tail_came_first: bool,
    pub receiver_opened: Option<Timestamp>,
    pub receiver_over: Option<Over>,
    pub receiver_last: PacketRef,
    /// Seen in calls: whose answer it is.
    pub called: Option<u64>,
}

/// A request that was waiting then.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub id: RequestId,
    pub asked: Asked,
    pub route: Route,
    /// After its last byte.
    pub end: u64,
    /// What was known of it by then.
    pub outcome: Outcome,
    /// A place of the receiver's request whose word the answer lacks, while it has this request's.
    pub echo: Option<Place>,
}

/// What a suspicion is held to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub profiles: &'a Profiles,
    pub watched: &'a HashMap<RequestId, Watched>,
    /// See [`Fate::GivenAnothers`].
    pub wronged: &'a HashMap<RequestId, bool>,
    pub absences: &'a Absences,
}

/// A request that is a candidate of these suspicions.
#[derive(Debug)]
pub struct Watched {
    pub outcome: Outcome,
    pub suspicions: Vec<u64>,
}

/// What became of a request that is a candidate.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It waits.
    Waits,
    /// It was answered on its own connection, in this form.
    Answered { form: u64, at: PacketRef },
    /// Its connection ended first.
    Ended(Over),
    /// It was answered, with what may be another's.
    Misanswered(PacketRef),
    /// It was answered, in an answer that lacks the word of its own that answers to its kind repeat.
    Lacked(PacketRef),
    /// It cannot be told.
    Unknown,
}

impl Suspicion {
    /// Whose answers in which form it is about.
    pub fn kind(&self) -> (Endpoint, u64, u64) {
        (self.server, self.route.key, self.form)
    }

    /// What it amounts to, with all that is known by now.
    pub fn settle(&self, known: Known<'_>, suspected_alike: u32) -> Option<Swap> {
        let Known { profiles, watched, .. } = known;
        let mut best: Option<(&Candidate, Fate, Sign, f64)> = None;
        let mut fates: Vec<(&Candidate, Fate)> = Vec::new();
        for candidate in &self.candidates {
            let outcome = watched
                .get(&candidate.id)
                .map_or(Outcome::Unknown, |watched| watched.outcome);
            let Some(fate) = self.fate(candidate, outcome, known) else {
                continue;
            };
            fates.push((candidate, fate));
            let Some((sign, weight)) = self.sign(candidate, fate, outcome, profiles, suspected_alike) else {
                continue;
            };
            // Of equals the one that waited longest, but one that was closed before all others.
            let weight = if matches!(fate, Fate::ClosedInHand(_)) {
                weight * 2.0
            } else {
                weight
            };
            if best.as_ref().is_none_or(|(.., before)| weight > *before) {
                best = Some((candidate, fate, sign, weight));
            }
        }
        let (due, fate, sign, _) = best?;
        let waiting = fates.iter().filter(|(other, _)| other.route == due.route).count();
        let until = match self.receiver_over {
            Some(over) => over.at,
            None => self.receiver_last,
        };
        let closed = match fate {
            Fate::ClosedInHand(at) => Some(at),
            _ => None,
        };
        Some(Swap {
            server: self.server,
            due: due.asked.clone(),
            given: self.given.clone(),
            answer: self.answer,
            fate,
            sign,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            own_followed: self.own_followed(profiles),
            own_came_first: self.tail_came_first,
            own_could_follow: Some(until.time.since(self.answer.time)).filter(|open| *open > Duration::ZERO),
            receiver_opened: self.receiver_opened,
            receiver_was_served: self
                .served
                .zip(closed)
                .is_some_and(|(served, closed)| served.number < closed.number),
        })
    }

    /// The answer that the receiver had asked for, behind the wrong one.
    fn own_followed(&self, profiles: &Profiles) -> Option<PacketRef> {
        let (at, form) = self.tail?;
        let own = profiles.of(self.server, &self.route)?;
        // Of a kind that nobody else asked for, nothing speaks against it.
        (own.answers() <= 1 || own.share(form) >= USUAL).then_some(at)
    }

    /// What became of the candidate; `None`: it is owed nothing.
    fn fate(&self, candidate: &Candidate, outcome: Outcome, known: Known<'_>) -> Option<Fate> {
        let Known {
            profiles,
            wronged,
            absences,
            ..
        } = known;
        if let Outcome::Ended(over) = outcome
            && let Some(opened) = self.receiver_opened
            && absences.between(self.server, over.at.time, opened)
        {
            return None;
        }
        match outcome {
            Outcome::Waits => Some(Fate::Silent),
            Outcome::Unknown => None,
            Outcome::Misanswered(at) | Outcome::Lacked(at) if wronged.contains_key(&candidate.id) => {
                Some(Fate::GivenAnothers {
                    at,
                    closed_in_hand: wronged.get(&candidate.id).copied().unwrap_or(false),
                })
            }
            Outcome::Misanswered(_) => None,
            // Its own word is in the other's answer, and not in the one that it got, where such answers repeat it.
            Outcome::Lacked(at) => {
                let own = profiles.of(self.server, &candidate.route)?;
                own.echoes(candidate.echo?).map(|_| Fate::Exchanged(at))
            }
            Outcome::Ended(over) if over.at.number > self.answer.number => Some(Fate::Silent),
            Outcome::Ended(over) if over.by == Direction::ToServer => Some(Fate::ClientLeft(over.at)),
            // One that had not arrived when the server closed met a closed door: it is owed nothing.
            Outcome::Ended(over) => (over.acked? >= candidate.end).then_some(Fate::ClosedInHand(over.at)),
            Outcome::Answered { form, at } => {
                let own = profiles.of(self.server, &candidate.route)?;
                let other = profiles.of(self.server, &self.route)?;
                let odds = other.likelihood(form, 0) / own.likelihood(form, 1);
                let known = |route: &Route, form| profiles.knows(self.server, route, &[form]);
                (odds > ODDS && known(&candidate.route, form) && known(&self.route, self.form))
                    .then_some(Fate::Exchanged(at))
            }
        }
    }

    /// What shows that the answer is this candidate's, and how much.
    fn sign(
        &self,
        candidate: &Candidate,
        fate: Fate,
        outcome: Outcome,
        profiles: &Profiles,
        alike: u32,
    ) -> Option<(Sign, f64)> {
        if self.called == Some(candidate.id.0) {
            return Some((Sign::Calls, f64::MAX / 4.0));
        }
        let of_given = profiles.of(self.server, &self.route)?;
        if let Some(place) = candidate.echo
            && let Some(of) = of_given.echoes(place)
        {
            return Some((Sign::Echo { place, of }, 1e12));
        }
        let exchanged = match outcome {
            Outcome::Answered { form, .. } => form,
            _ => self.form,
        };
        if let Some((sign, odds)) = self.shape(candidate, exchanged, profiles, alike) {
            return Some((sign, odds));
        }
        // Two answers to one request on a connection that may have the number of one that was closed. Forms that are known speak against it.
        let closed = match fate {
            Fate::ClosedInHand(closed) => closed,
            _ => return None,
        };
        let after = self.receiver_opened.is_some_and(|opened| opened > closed.time);
        let (_, tail) = self.tail?;
        let at_home = of_given.answers() > 2 && of_given.share(self.form) >= USUAL;
        let repeated = tail == self.form;
        (after && !at_home && !repeated).then_some((Sign::Surplus, 1.0))
    }

    fn shape(&self, candidate: &Candidate, exchanged: u64, profiles: &Profiles, alike: u32) -> Option<(Sign, f64)> {
        if candidate.route == self.route {
            return None;
        }
        let due = profiles.of(self.server, &candidate.route)?;
        let given = profiles.of(self.server, &self.route)?;
        let its_own = self.own_followed(profiles).is_some();
        let odds = due.likelihood(self.form, 0) / given.likelihood(self.form, alike.max(1));
        let (shape, detailed) = due.describe(self.form)?;
        let knows = |route: &Route, form| profiles.knows(self.server, route, &[form]);
        let known = due.answers() >= OF_DUE && knows(&candidate.route, exchanged) && knows(&self.route, self.form);
        let alone = profiles.others_with(self.server, self.form, [&candidate.route, &self.route]) <= SHARED;
        let usual = due.share(self.form) >= USUAL;
        let enough = if its_own { ODDS_WITH_ITS_OWN } else { ODDS };
        (odds > enough && known && usual && (detailed && alone || its_own)).then_some((
            Sign::Shape {
                shape,
                odds,
                of_due: due.answers(),
                of_given: given.answers(),
            },
            odds,
        ))
    }
}

/// A request whose answer has a form that other requests beside it on the connection have, and its own kind has not; or a word of theirs.
#[derive(Clone, Debug)]
pub struct Misplaced {
    pub given: Asked,
    pub route: Route,
    pub form: u64,
    pub answer: PacketRef,
    pub neighbours: Vec<Neighbour>,
}

/// A request beside another one on its connection.
#[derive(Clone, Debug)]
pub struct Neighbour {
    pub asked: Asked,
    pub route: Route,
    /// A place of the other request whose word its answer lacks, while it has this request's.
    pub echo: Option<Place>,
}

impl Misplaced {
    /// Whose it is, and its form.
    pub fn settle(&self, server: Endpoint, profiles: &Profiles, all: &[Misplaced]) -> Option<(&Asked, ShiftSign)> {
        let given = profiles.of(server, &self.route)?;
        let forms: Vec<u64> = all.iter().map(|one| one.form).collect();
        let alike = |of: &Route, form: u64| {
            let same = all.iter().filter(|one| one.route == *of && one.form == form).count();
            u32::try_from(same).unwrap_or(u32::MAX)
        };
        let by_echo = self.neighbours.iter().find_map(|neighbour| {
            let place = neighbour.echo?;
            let of = given.echoes(place)?;
            Some((&neighbour.asked, ShiftSign::Echo { place, of }))
        });
        if by_echo.is_some() {
            return by_echo;
        }
        if !profiles.knows(server, &self.route, &forms) {
            return None;
        }
        self.neighbours.iter().find_map(|Neighbour { asked, route, .. }| {
            let due = profiles.of(server, route)?;
            let (shape, detailed) = due.describe(self.form)?;
            let odds = due.likelihood(self.form, alike(route, self.form))
                / given.likelihood(self.form, alike(&self.route, self.form));
            let known = profiles.knows(server, route, &forms);
            let sure = odds > ODDS && detailed && known && due.share(self.form) >= USUAL && *route != self.route;
            sure.then_some((asked, ShiftSign::Shape(shape)))
        })
    }
}
