use super::{SegmentNote, Timeline};

/// A timeline in the making: one allocation, small while the connection is; the tail is a ring once it is full.
#[derive(Debug, Default)]
pub(super) struct Notes {
    kept: Vec<SegmentNote>,
    /// Index of the tail's oldest note, counted from the tail's beginning.
    oldest: u8,
    let_go: u64,
}

impl Notes {
    const FULL: usize = Timeline::HEAD + Timeline::TAIL;

    pub(super) fn push(&mut self, note: SegmentNote) {
        let len = self.kept.len();
        if len < Self::FULL {
            if len == self.kept.capacity() {
                // A handshake and a small exchange are seven; doubling would waste much where connections are short.
                let more = if len == 0 {
                    7
                } else {
                    (len / 2).clamp(4, Self::FULL - len)
                };
                self.kept.reserve_exact(more);
            }
            self.kept.push(note);
            return;
        }
        let oldest = usize::from(self.oldest);
        if let Some(slot) = self.kept.get_mut(Timeline::HEAD + oldest) {
            *slot = note;
        }
        self.oldest = ((oldest + 1) % Timeline::TAIL) as u8;
        self.let_go += 1;
    }

    /// Newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &SegmentNote> + '_ {
        let (head, tail) = self.kept.split_at(self.kept.len().min(Timeline::HEAD));
        let (newer, older) = tail.split_at(usize::from(self.oldest).min(tail.len()));
        newer.iter().rev().chain(older.iter().rev()).chain(head.iter().rev())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SegmentNote> + '_ {
        self.kept.iter_mut()
    }

    pub(super) fn into_timeline(self) -> Timeline {
        let mut head = self.kept;
        let mut tail = head.split_off(head.len().min(Timeline::HEAD));
        let oldest = usize::from(self.oldest).min(tail.len());
        tail.rotate_left(oldest);
        Timeline {
            head,
            tail: tail.into(),
            let_go: self.let_go,
        }
    }
}
