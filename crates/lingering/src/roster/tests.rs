//! The roster against a list that is searched from end to end, over every sequence of deeds up to a depth.

use std::time::{Duration, Instant};

use super::{Key, Roster};
use crate::limits::Limits;
use crate::outcome::{Ended, Outcome};
use crate::state::{Event, Next, State};

#[derive(Clone, Copy, Debug)]
enum Deed {
    Add,
    /// Of whom; the oldest is 0.
    Receive(usize),
    EndOfFile(usize),
    /// Everything that was written to the oldest is acknowledged.
    Acknowledge,
    /// A second goes by, and whoever is overdue is looked at.
    Tick,
    Stop,
}

const DEEDS: [Deed; 9] = [
    Deed::Add,
    Deed::Receive(0),
    Deed::Receive(1),
    Deed::Receive(2),
    Deed::EndOfFile(0),
    Deed::EndOfFile(1),
    Deed::Acknowledge,
    Deed::Tick,
    Deed::Stop,
];

const MOST: usize = 3;

/// The list: no slots, no links, no order but that of additions.
struct Oracle {
    here: Vec<(u32, Key, State)>,
    left: Vec<(u32, Ended)>,
    drained: u64,
}

struct Pair {
    limits: Limits,
    now: Instant,
    added: u32,
    roster: Roster<u32, u32>,
    left: Vec<(u32, Ended)>,
    oracle: Oracle,
    stopped: bool,
    /// Whose bytes are not acknowledged: of all but the first, from the beginning.
    unacknowledged: Vec<u32>,
}

impl Pair {
    fn new(limits: Limits, now: Instant) -> Pair {
        Pair {
            limits,
            now,
            added: 0,
            roster: Roster::new(limits, MOST),
            left: Vec::new(),
            oracle: Oracle {
                here: Vec::new(),
                left: Vec::new(),
                drained: 0,
            },
            stopped: false,
            unacknowledged: Vec::new(),
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Add => self.add(),
            Deed::Receive(place) => self.event(place, Event::Received(1)),
            Deed::EndOfFile(place) => {
                self.event(place, Event::EndOfFile);
                self.expire();
            }
            Deed::Acknowledge => {
                self.unacknowledged
                    .retain(|name| Some(name) != self.oracle.here.first().map(|entry| &entry.0));
            }
            Deed::Tick => {
                self.now += Duration::from_secs(1);
                self.expire();
            }
            Deed::Stop => {
                self.roster.finish(Some(self.now + Duration::from_secs(1)));
                self.stopped = true;
            }
        }
        self.compare(deed);
    }

    fn add(&mut self) {
        let name = self.added;
        self.added += 1;
        if name > 0 {
            self.unacknowledged.push(name);
        }
        let mut state = State::new(self.now, Some(self.unsent(name)));
        let _ = state.on(Event::HalfClosed, self.now, &self.limits);
        if self.oracle.here.len() == MOST {
            let (oldest, key, _) = self.oracle.here.remove(0);
            self.oracle.left.push((oldest, Ended::Crowded));
            assert_eq!(self.roster.candidate(), Some(key));
        } else {
            assert_eq!(self.roster.candidate(), None);
        }
        let (key, crowded) = self.roster.add(name, name, state.clone(), self.now);
        self.left.extend(crowded.map(|gone| (gone.tag, gone.ended)));
        self.oracle.here.push((name, key, state));
    }

    fn unsent(&self, name: u32) -> u64 {
        u64::from(self.unacknowledged.contains(&name))
    }

    fn event(&mut self, place: usize, event: Event) {
        if place >= self.oracle.here.len() {
            return;
        }
        let key = self.oracle.here[place].1;
        self.apply(key, event);
    }

    fn apply(&mut self, key: Key, event: Event) {
        let gone = self.roster.on(key, event, self.now);
        self.left.extend(gone.map(|gone| (gone.tag, gone.ended)));
        let place = self.oracle.here.iter().position(|entry| entry.1 == key);
        let Some(place) = place else {
            panic!("{key:?} is not known");
        };
        if let Event::Received(bytes) = event {
            self.oracle.drained += bytes;
        }
        if let Next::Close(ended) = self.oracle.here[place].2.on(event, self.now, &self.limits) {
            let (name, ..) = self.oracle.here.remove(place);
            self.oracle.left.push((name, ended));
        }
    }

    fn expire(&mut self) {
        while let Some(key) = self.roster.overdue(self.now) {
            let due = |state: &State| state.due(&self.limits).is_some_and(|due| due <= self.now);
            let stopped = self.roster.is_stopped(self.now);
            assert!(
                stopped || self.oracle.here.iter().any(|entry| entry.1 == key && due(&entry.2)),
                "{key:?} is not overdue"
            );
            let name = *self.roster.get(key).expect("who is overdue is here").0;
            let looked = Event::Looked(Some(self.unsent(name)));
            self.apply(key, if stopped { Event::Stop } else { looked });
        }
        let due = |state: &State| state.due(&self.limits).is_some_and(|due| due <= self.now);
        assert!(!self.oracle.here.iter().any(|entry| due(&entry.2)), "one was forgotten");
    }

    fn compare(&mut self, deed: Deed) {
        assert_eq!(self.left, self.oracle.left, "after {deed:?}");
        let earliest = self
            .oracle
            .here
            .iter()
            .filter_map(|entry| entry.2.due(&self.limits))
            .min();
        match self.stopped {
            false => assert_eq!(self.roster.due(), earliest, "after {deed:?}"),
            true => assert!(self.roster.due() <= earliest || earliest.is_none()),
        }
        for (name, key, state) in &self.oracle.here {
            assert_eq!(
                self.roster.get(*key).map(|(name, state)| (*name, state.clone())),
                Some((*name, state.clone()))
            );
        }
        let counts = self.roster.counts();
        assert_eq!(counts.added, u64::from(self.added));
        assert_eq!(counts.lingering as usize, self.oracle.here.len());
        assert_eq!(counts.drained, self.oracle.drained);
        assert_eq!(counts.added, counts.lingering + counts.eof + counts.cut());
        assert!(self.roster.slots.len() <= MOST, "a slot is used again");
        assert_eq!(
            self.roster.vacant.len() + self.oracle.here.len(),
            self.roster.slots.len()
        );
    }
}

/// Each sequence is a number to the base of all deeds, and run from its beginning.
fn explore(limits: Limits, depth: u32) {
    let began = Instant::now();
    for number in 0..(DEEDS.len() as u64).pow(depth) {
        let mut pair = Pair::new(limits, began);
        // Two are here from the beginning: what is interesting needs them.
        pair.act(Deed::Add);
        pair.act(Deed::Add);
        let mut rest = number;
        for _ in 0..depth {
            pair.act(DEEDS[(rest % DEEDS.len() as u64) as usize]);
            rest /= DEEDS.len() as u64;
        }
        for _ in 0..8 {
            pair.act(Deed::Tick);
        }
        assert!(pair.roster.is_empty() && pair.roster.due().is_none());
        assert!(pair.roster.looks.iter().all(|looks| looks.is_empty()));
    }
}

#[test]
fn every_sequence_is_as_in_a_list() {
    let second = Duration::from_secs(1);
    explore(Limits::default().bytes(2).idle(2 * second).total(3 * second), 5);
    explore(Limits::default().bytes(9).idle(second).total(9 * second), 4);
}

#[test]
fn a_key_never_names_another() {
    let now = Instant::now();
    let mut roster = Roster::new(Limits::default(), 1);
    let (first, _) = roster.add("first", (), State::new(now, None), now);
    let (second, crowded) = roster.add("second", (), State::new(now, None), now);
    assert_eq!(
        crowded.map(|gone| (gone.stream, gone.ended)),
        Some(("first", Ended::Crowded))
    );
    assert_eq!(first.slot, second.slot);
    assert!(roster.get(first).is_none());
    assert!(roster.on(first, Event::Stop, now).is_none());
    assert!(roster.get(second).is_some());
    assert_eq!(Key::of_token(second.token()), second);
}

#[test]
fn who_comes_after_the_stop_is_not_waited_for() {
    let now = Instant::now();
    let mut roster = Roster::new(Limits::default(), 10);
    let (in_time, _) = roster.add("in time", (), State::new(now, None), now);
    roster.finish(Some(now));
    let (late, _) = roster.add("late", (), State::new(now, None), now);
    let leaves = |roster: &mut Roster<_, ()>, key| {
        let gone = roster.on(key, Event::Stop, now).expect("it is here");
        roster.told(&Outcome::without_socket(&gone.state, gone.ended, now), gone.late);
        roster.is_settled()
    };
    assert!(!leaves(&mut roster, late), "one who came in time is here");
    assert!(leaves(&mut roster, in_time));
    let (later, _) = roster.add("later", (), State::new(now, None), now);
    assert!(roster.is_settled());
    // Who asks again waits for it.
    roster.finish(None);
    assert!(!roster.is_settled());
    assert!(leaves(&mut roster, later));
}
