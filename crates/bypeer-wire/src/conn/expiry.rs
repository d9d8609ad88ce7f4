use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::Timestamp;

/// Names a connection in the table for as long as it lives: its slot, and its serial number against a slot used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handle {
    pub(super) slot: u32,
    pub(super) serial: u32,
}

/// Connections that ended, by when they may be let go. Whoever takes one out looks whether it was disturbed meanwhile and
/// puts it back.
#[derive(Debug, Default)]
pub(super) struct Settling {
    queue: BinaryHeap<Reverse<(Timestamp, Handle)>>,
}

impl Settling {
    pub(super) fn push(&mut self, due: Timestamp, handle: Handle) {
        self.queue.push(Reverse((due, handle)));
    }

    /// The next one whose time has come.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Handle> {
        let Reverse((due, _)) = self.queue.peek()?;
        if *due > now {
            return None;
        }
        self.queue.pop().map(|Reverse((_, handle))| handle)
    }
}

/// Connections by how long they were silent, made only once the table is full. Lazy like a clock: an entry says when its
/// connection had last spoken as the entry was made; one that spoke since goes to the back.
#[derive(Debug, Default)]
pub(super) struct Silence {
    queue: VecDeque<(Timestamp, Handle)>,
}

impl Silence {
    /// Begins with all connections there are, in any order.
    pub(super) fn rebuild(&mut self, all: impl Iterator<Item = (Timestamp, Handle)>) {
        self.queue.clear();
        self.queue.extend(all);
        self.queue
            .make_contiguous()
            .sort_unstable_by_key(|(time, handle)| (*time, handle.serial));
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, spoke: Timestamp, handle: Handle) {
        self.queue.push_back((spoke, handle));
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, Handle)> {
        self.queue.pop_front()
    }
}
