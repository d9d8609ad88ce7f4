//! Connections that linger at the same time: who is the oldest, who was silent for longest, whose moment has come.
//! No socket, no clock. Everything takes constant time, and nothing is left of a connection that is over.
//!
//! Limits are the same for all, so the order of additions is the order of deadlines, and the order of the last signs of
//! life that of idle limits: two lists through the slots take the place of a timer for each. So is the pause before a look
//! of one rank, and a queue for each rank is in order. What stands in one of these may be over; it is forgotten when it is
//! its turn, after a second at the latest.

use std::array;
use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::Limits;
use crate::outcome::{Counts, Ended, Outcome};
use crate::state::{Event, Next, State};

/// A place in the roster. It never names another connection than the one it was given out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// As a number, for those who keep it for us. The largest number is none.
    pub(crate) fn token(self) -> u64 {
        u64::from(self.slot) | u64::from(self.generation) << 32
    }

    pub(crate) fn of_token(token: u64) -> Key {
        Key {
            slot: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// A connection that was taken out.
#[derive(Debug)]
pub(crate) struct Parted<S, T> {
    pub(crate) stream: S,
    pub(crate) tag: T,
    pub(crate) state: State,
    pub(crate) ended: Ended,
    pub(crate) late: Late,
}

/// Whether one came after the stop, and after how many finishes: it is nobody's to wait for before the next. They could come
/// without end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late(Option<u16>);

/// More cannot be named. No slot is `u32::MAX`.
const MOST: usize = u32::MAX as usize;

/// Those who linger.
#[derive(Debug)]
pub(crate) struct Roster<S, T> {
    limits: Limits,
    most: usize,
    slots: Vec<Slot<S, T>>,
    vacant: Vec<u32>,
    by_age: Ends,
    by_life: Ends,
    /// Looks for acknowledgements, by rank. Who has looked since, or is over, may still stand there.
    looks: [VecDeque<(Instant, Key)>; State::RANKS as usize],
    counts: Counts,
    /// Of those who left, so many were told of. `told <= added - lingering`.
    told: u64,
    /// So many are here, or not told of yet, and are waited for.
    awaited: u64,
    /// How often it was said that all who are here are waited for.
    finishes: u16,
    stop: Option<Instant>,
}

#[derive(Debug)]
struct Slot<S, T> {
    generation: u32,
    late: Late,
    entry: Option<Entry<S, T>>,
}

#[derive(Debug)]
struct Entry<S, T> {
    stream: S,
    tag: T,
    state: State,
    age: Links,
    life: Links,
}

/// The first and the last of a list.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: Option<u32>,
    last: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    before: Option<u32>,
    after: Option<u32>,
}

#[derive(Clone, Copy)]
enum Order {
    Age,
    Life,
}

impl<S, T> Roster<S, T> {
    pub(crate) fn new(limits: Limits, most: usize) -> Roster<S, T> {
        Roster {
            limits,
            most: most.clamp(1, MOST),
            slots: Vec::new(),
            vacant: Vec::new(),
            by_age: Ends::default(),
            by_life: Ends::default(),
            looks: array::from_fn(|_| VecDeque::new()),
            counts: Counts::default(),
            told: 0,
            awaited: 0,
            finishes: 0,
            stop: None,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.lingering == 0
    }

    /// One who left is closed, and was told of.
    pub(crate) fn told(&mut self, outcome: &Outcome, late: Late) {
        self.counts.closed(outcome);
        self.told += 1;
        self.awaited = self.awaited.saturating_sub(u64::from(late.0 != Some(self.finishes)));
    }

    /// All who are here are waited for, and those who come before the moment, at which they have to go.
    pub(crate) fn finish(&mut self, moment: Option<Instant>) {
        self.stop = self.stop.into_iter().chain(moment).min();
        self.finishes = self.finishes.wrapping_add(1);
        self.awaited = self.counts.added - self.told;
    }

    /// Nobody who is waited for is here, nor on the way out.
    pub(crate) fn is_settled(&self) -> bool {
        self.awaited == 0
    }

    /// Who would have to go if another came. It may be read from before: what lies there would make a reset of its close.
    pub(crate) fn candidate(&self) -> Option<Key> {
        let is_full = self.counts.lingering as usize >= self.most;
        self.first(Order::Age).filter(|_| is_full).map(|(key, _)| key)
    }

    /// Takes a connection in. Where there is no room the oldest has to go: it had the most time, and most that are well
    /// are over after one round trip. To refuse the new one instead would let whoever fills the roster once keep
    /// everybody else out of it for the total time.
    pub(crate) fn add(&mut self, stream: S, tag: T, state: State, now: Instant) -> (Key, Option<Parted<S, T>>) {
        let late = Late(self.is_stopped(now).then_some(self.finishes));
        let candidate = self.candidate().map(|key| key.slot);
        let crowded = candidate.and_then(|slot| self.take(slot, Ended::Crowded));
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                late: Late::default(),
                entry: None,
            });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.late = late;
        place.entry = Some(Entry {
            stream,
            tag,
            state,
            age: Links::default(),
            life: Links::default(),
        });
        let generation = place.generation;
        let key = Key { slot, generation };
        self.append(Order::Age, slot);
        self.append(Order::Life, slot);
        self.counts.added += 1;
        self.awaited += u64::from(late.0.is_none());
        self.counts.lingering += 1;
        (key, crowded)
    }

    /// The connection, if it still lingers.
    pub(crate) fn get(&mut self, key: Key) -> Option<(&mut S, &State)> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        let entry = slot.entry.as_mut().filter(|_| slot.generation == key.generation)?;
        Some((&mut entry.stream, &entry.state))
    }

    /// Something happened to a connection. If that was its end it is given out.
    pub(crate) fn on(&mut self, key: Key, event: Event, now: Instant) -> Option<Parted<S, T>> {
        let limits = self.limits;
        let slot = self.slots.get_mut(key.slot as usize)?;
        let entry = slot.entry.as_mut().filter(|_| slot.generation == key.generation)?;
        let heard = entry.state.heard();
        let look = entry.state.look();
        if let Event::Received(bytes) = event {
            self.counts.drained += bytes;
        }
        let next = entry.state.on(event, now, &limits);
        if let Some((rank, moment)) = entry.state.look().filter(|next| look != Some(*next)) {
            self.looks[rank].push_back((moment, key));
        }
        if entry.state.heard() != heard {
            self.unlink(Order::Life, key.slot);
            self.append(Order::Life, key.slot);
        }
        match next {
            Next::Close(ended) => self.take(key.slot, ended),
            Next::Until(_) => None,
        }
    }

    /// Whether whoever is here has to go.
    pub(crate) fn is_stopped(&self, now: Instant) -> bool {
        self.stop.is_some_and(|stop| stop <= now)
    }

    /// The next moment at which somebody must be looked at.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let look = self.look().map(|(moment, _)| moment);
        let oldest = self.first(Order::Age)?;
        let silent = self.first(Order::Life)?;
        let moments = [oldest.1.due(&self.limits), silent.1.due(&self.limits), self.stop, look];
        moments.into_iter().flatten().min()
    }

    /// Somebody whose moment has come. To be called again after that one was looked at.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Key> {
        let look = self.look().filter(|(moment, _)| *moment <= now);
        let oldest = self.first(Order::Age)?;
        let silent = self.first(Order::Life)?;
        let is_due = |state: &State| state.due(&self.limits).is_some_and(|due| due <= now);
        if is_due(oldest.1) || self.is_stopped(now) {
            Some(oldest.0)
        } else if is_due(silent.1) {
            Some(silent.0)
        } else {
            look.map(|(_, key)| key)
        }
    }

    /// The next look for acknowledgements.
    fn look(&mut self) -> Option<(Instant, Key)> {
        for rank in 0..self.looks.len() {
            while let Some((moment, key)) = self.looks[rank].front().copied()
                && self.get(key).and_then(|(_, state)| state.look()) != Some((rank, moment))
            {
                self.looks[rank].pop_front();
            }
        }
        let first = self.looks.iter().filter_map(VecDeque::front);
        first.min_by_key(|(moment, _)| *moment).copied()
    }

    /// The connection that has been here for longest.
    #[cfg(feature = "tokio")]
    pub(crate) fn oldest(&self) -> Option<Key> {
        self.first(Order::Age).map(|(key, _)| key)
    }

    fn first(&self, order: Order) -> Option<(Key, &State)> {
        let slot = match order {
            Order::Age => self.by_age.first,
            Order::Life => self.by_life.first,
        }?;
        let place = &self.slots[slot as usize];
        let key = Key {
            slot,
            generation: place.generation,
        };
        place.entry.as_ref().map(|entry| (key, &entry.state))
    }

    fn take(&mut self, slot: u32, ended: Ended) -> Option<Parted<S, T>> {
        self.unlink(Order::Age, slot);
        self.unlink(Order::Life, slot);
        let place = &mut self.slots[slot as usize];
        let entry = place.entry.take()?;
        let late = place.late;
        place.generation = place.generation.wrapping_add(1);
        self.vacant.push(slot);
        self.counts.ended(ended);
        Some(Parted {
            stream: entry.stream,
            tag: entry.tag,
            state: entry.state,
            ended,
            late,
        })
    }

    fn append(&mut self, order: Order, slot: u32) {
        let last = self.ends(order).last;
        if let Some(links) = self.links(order, slot) {
            *links = Links {
                before: last,
                after: None,
            };
        }
        match last.and_then(|last| self.links(order, last)) {
            Some(links) => links.after = Some(slot),
            None => self.ends(order).first = Some(slot),
        }
        self.ends(order).last = Some(slot);
    }

    fn unlink(&mut self, order: Order, slot: u32) {
        let Some(&mut Links { before, after }) = self.links(order, slot) else {
            return;
        };
        match before.and_then(|before| self.links(order, before)) {
            Some(links) => links.after = after,
            None => self.ends(order).first = after,
        }
        match after.and_then(|after| self.links(order, after)) {
            Some(links) => links.before = before,
            None => self.ends(order).last = before,
        }
    }

    fn ends(&mut self, order: Order) -> &mut Ends {
        match order {
            Order::Age => &mut self.by_age,
            Order::Life => &mut self.by_life,
        }
    }

    fn links(&mut self, order: Order, slot: u32) -> Option<&mut Links> {
        let entry = self.slots.get_mut(slot as usize)?.entry.as_mut()?;
        Some(match order {
            Order::Age => &mut entry.age,
            Order::Life => &mut entry.life,
        })
    }
}

#[cfg(test)]
mod tests;
