use std::collections::VecDeque;

use super::exchange::{Exchange, Exchanges, Framing, Head, Message};
use crate::{Direction, PacketRef};

/// The exchanges of a connection while it lives: open ones in a queue, the whole ones reduced to the first and the last.
///
/// Open exchanges are kept all (the parser bounds how many it begins), so a response always finds the request that it
/// answers. Only [`Ledger::into_exchanges`] cuts down to [`Exchanges::LAST`]: the oldest exchange that is still owed a
/// response goes before all others, then the newest.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    first: Option<Box<Exchange>>,
    done: VecDeque<Box<Exchange>>,
    /// In order of `index`.
    open: VecDeque<Box<Exchange>>,
    total: u32,
    complete: u32,
    pub(super) announced: u32,
    /// A request was seen.
    pub(super) asked: bool,
    /// Lower bound of the next offset per direction whose acknowledgement somebody waits for.
    next_ack: [u64; 2],
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            first: None,
            done: VecDeque::new(),
            open: VecDeque::new(),
            total: 0,
            complete: 0,
            announced: 0,
            asked: false,
            next_ack: [u64::MAX; 2],
        }
    }
}

impl Ledger {
    /// A new exchange; returns its index. Older ones whose response is complete beyond guessing are closed.
    pub(super) fn begin(&mut self, request: Option<Message>) -> u32 {
        while let Some(oldest) = self.open.front().filter(|_| request.is_some()) {
            let sure = oldest
                .response
                .as_ref()
                .is_some_and(|m| m.complete && m.framing != Framing::Unknown);
            if !sure {
                break;
            }
            self.close_oldest();
        }
        self.asked |= request.is_some();
        let index = self.total;
        self.total = self.total.saturating_add(1);
        self.open.push_back(Box::new(Exchange {
            index,
            request,
            response: None,
            interim: 0,
            continued: None,
        }));
        index
    }

    /// Takes the newest exchange back, when it is `index`: its first bytes did not turn out to be a request.
    pub(super) fn undo(&mut self, index: u32) {
        if self.open.back().is_some_and(|newest| newest.index == index) {
            self.open.pop_back();
            self.total = self.total.saturating_sub(1);
        }
    }

    /// How many there were.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// How many are open.
    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    /// An exchange by its index, while it is kept.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Exchange> {
        let front = self.open.front().map_or(self.total, |exchange| exchange.index);
        if index >= front {
            let guess = (index - front) as usize;
            // Without gaps the position follows from the index; with gaps it lies before that.
            let position = (0..=guess.min(self.open.len().saturating_sub(1)))
                .rev()
                .find(|&at| self.open.get(at).is_some_and(|exchange| exchange.index == index))?;
            return self.open.get_mut(position).map(Box::as_mut);
        }
        let first = self.first.as_mut().filter(|exchange| exchange.index == index);
        first
            .or_else(|| self.done.iter_mut().find(|exchange| exchange.index == index))
            .map(Box::as_mut)
    }

    /// One message of an exchange.
    pub(super) fn message(&mut self, direction: Direction, index: u32) -> Option<&mut Message> {
        let exchange = self.get(index)?;
        match direction {
            Direction::ToServer => exchange.request.as_mut(),
            Direction::ToClient => exchange.response.as_mut(),
        }
    }

    /// The newest exchange.
    pub(super) fn newest(&mut self) -> Option<&mut Exchange> {
        let newest = self.open.back_mut().or(self.done.back_mut()).or(self.first.as_mut());
        newest.map(Box::as_mut)
    }

    /// The oldest exchange that is owed a response, or the rest of one.
    pub(super) fn answering(&self) -> Option<u32> {
        self.open
            .iter()
            .find(|exchange| !exchange.response_complete())
            .map(|exchange| exchange.index)
    }

    /// Closes an exchange whose messages are both complete (or that never had a request and got its response).
    pub(super) fn settle(&mut self, index: u32) {
        let whole = |exchange: &Exchange| {
            exchange.response_complete() && (exchange.request.is_none() || exchange.request_complete())
        };
        let Some(position) = self.open.iter().position(|exchange| exchange.index == index) else {
            return;
        };
        if !self.open.get(position).is_some_and(|exchange| whole(exchange)) {
            return;
        }
        if let Some(exchange) = self.open.remove(position) {
            self.keep(exchange);
        }
    }

    /// Closes those before `index`, to which the server has gone on; one whose request is still coming stays open.
    pub(super) fn close_before(&mut self, index: u32) {
        let over = |exchange: &Exchange| exchange.index < index && exchange.request.as_ref().is_none_or(|r| r.complete);
        while self.open.front().is_some_and(|exchange| over(exchange)) {
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        if let Some(exchange) = self.open.pop_front() {
            self.keep(exchange);
        }
    }

    fn keep(&mut self, exchange: Box<Exchange>) {
        self.complete += u32::from(exchange.request_complete() && exchange.response_complete());
        if exchange.index == 0 {
            self.first = Some(exchange);
            return;
        }
        if self.done.len() == Exchanges::LAST {
            self.done.pop_front();
        }
        self.done.push_back(exchange);
    }

    /// A message of `direction` ends, or has so far come, to `end`: its acknowledgement is of interest.
    pub(super) fn await_ack(&mut self, direction: Direction, end: u64) {
        let next = &mut self.next_ack[direction.index()];
        *next = (*next).min(end);
    }

    /// `u64::MAX` when none.
    pub(super) fn next_ack(&self, direction: Direction) -> u64 {
        self.next_ack[direction.index()]
    }

    /// Notes who acknowledged what.
    pub(super) fn acked(&mut self, direction: Direction, offset: u64, at: PacketRef) {
        if offset < self.next_ack[direction.index()] {
            return;
        }
        let mut next = u64::MAX;
        let kept = self
            .first
            .iter_mut()
            .chain(self.done.iter_mut())
            .chain(self.open.iter_mut());
        for exchange in kept {
            let message = match direction {
                Direction::ToServer => exchange.request.as_mut(),
                Direction::ToClient => exchange.response.as_mut(),
            };
            let Some(message) = message.filter(|message| message.acked.is_none()) else {
                continue;
            };
            let Some(end) = message.ack_of_interest() else { continue };
            if end <= offset {
                message.acked = Some(at);
            } else {
                next = next.min(end);
            }
        }
        self.next_ack[direction.index()] = next;
    }

    /// First, last, and the oldest owed one among the last.
    pub(super) fn into_exchanges(self) -> Exchanges {
        let Ledger {
            mut first,
            done,
            open,
            total,
            mut complete,
            announced,
            ..
        } = self;
        complete += open
            .iter()
            .filter(|e| e.request_complete() && e.response_complete())
            .count() as u32;
        let mut rest: VecDeque<Box<Exchange>> = done;
        for exchange in open {
            if exchange.index == 0 {
                first = Some(exchange)
            } else {
                rest.push_back(exchange)
            }
        }
        // `done` holds what was closed in order of closing; early answers can make that differ from the order of begin.
        rest.make_contiguous().sort_by_key(|exchange| exchange.index);
        let owed = match &first {
            Some(first) if !first.response_complete() => None,
            _ => rest.iter().position(|exchange| !exchange.response_complete()),
        };
        let excess = rest.len().saturating_sub(Exchanges::LAST);
        if excess > 0 {
            let owed = owed
                .filter(|&position| position < excess)
                .and_then(|position| rest.remove(position));
            let keep = Exchanges::LAST - usize::from(owed.is_some());
            while rest.len() > keep {
                rest.pop_front();
            }
            if let Some(owed) = owed {
                rest.push_front(owed);
            }
        }
        let mut last = VecDeque::with_capacity(rest.len());
        last.extend(rest.into_iter().map(|exchange| *exchange));
        Exchanges {
            first,
            last,
            total,
            complete,
            announced,
        }
    }
}

impl Message {
    /// A message of which nothing is known but where it begins.
    pub(super) fn begin(start: u64, at: PacketRef, head: Head) -> Message {
        Message {
            start,
            head_end: None,
            end: None,
            seen: start,
            complete: false,
            begun: at,
            last: at,
            acked: None,
            framing: Framing::Unknown,
            head,
        }
    }

    /// Bytes of it up to `seen` were sent. A guessed end is taken back.
    pub(super) fn grow(&mut self, seen: u64, at: PacketRef) {
        if seen <= self.seen {
            return;
        }
        self.seen = seen;
        self.last = at;
        if self.framing == Framing::Unknown || self.complete {
            self.complete = false;
            self.end = None;
            self.acked = None;
        }
    }

    /// It ends here: by its framing, or by a guess where that is unknown.
    pub(super) fn finish_here(&mut self) {
        self.end = Some(self.seen);
        self.complete = true;
    }

    fn ack_of_interest(&self) -> Option<u64> {
        match self.framing {
            Framing::Unknown => Some(self.seen),
            _ => self.end,
        }
    }
}
