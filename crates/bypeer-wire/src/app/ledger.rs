use std::collections::VecDeque;

use super::draft::{Draft, HeadDraft, Part};
use super::exchange::{Exchange, Exchanges, Framing, Unasked};
use super::http1_head::{RequestFacts, ResponseFacts};
use super::texts::Texts;
use crate::{Direction, PacketRef};

/// Closed exchanges that are kept, besides the first, while all was well.
const CLOSED_MAX: usize = 2;

/// The exchanges of a connection while it lives: open ones in a queue, the whole ones reduced to the first and the last.
///
/// Open exchanges are kept all (the parser bounds how many it begins), so a response always finds the request that it
/// answers. Only [`Ledger::into_exchanges`] cuts down to [`Exchanges::LAST`]: the oldest exchange that is still owed a
/// response, and the one before it, go before all others, then the newest. While requests are answered one by one, nothing is allocated:
/// a new exchange takes the place of the oldest closed one.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// The first exchange, once closed.
    first: Option<Box<Draft>>,
    /// `closed` closed ones in order of closing, then the open ones in order of `index`.
    kept: VecDeque<Box<Draft>>,
    texts: Texts,
    /// Number of the first packet.
    base: u64,
    /// Lower bound of the next offset per direction whose acknowledgement somebody waits for.
    next_ack: [u64; 2],
    closed: u32,
    total: u32,
    complete: u32,
    pub(super) announced: u32,
    /// A request was seen.
    pub(super) asked: bool,
    /// The server said what nobody asked for, or left a request without its answer: from then on more is kept.
    pub(super) irregular: bool,
    /// A head of a closed exchange was not seen whole.
    heads_cut: bool,
    unasked: Option<Box<Unasked>>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            first: None,
            kept: VecDeque::new(),
            texts: Texts::default(),
            base: 0,
            next_ack: [u64::MAX; 2],
            closed: 0,
            total: 0,
            complete: 0,
            announced: 0,
            asked: false,
            irregular: false,
            heads_cut: false,
            unasked: None,
        }
    }
}

impl Ledger {
    /// A new exchange; returns its index. Older ones whose response is complete beyond guessing are closed.
    pub(super) fn begin(&mut self, request: Option<Part>, at: PacketRef) -> u32 {
        while let Some(oldest) = self.oldest_open().filter(|_| request.is_some()) {
            let sure = oldest
                .response
                .as_ref()
                .is_some_and(|m| m.complete && m.framing() != Framing::Unknown);
            if !sure {
                break;
            }
            self.close(self.closed as usize);
        }
        if self.total == 0 {
            self.base = at.number;
        }
        self.asked |= request.is_some();
        let index = self.total;
        self.total = self.total.saturating_add(1);
        let mut draft = self.take_unneeded().unwrap_or_default();
        draft.reuse(index, request);
        if self.kept.capacity() == 0 {
            self.kept.reserve_exact(CLOSED_MAX);
        }
        self.kept.push_back(draft);
        index
    }

    /// Takes the newest exchange back, when it is `index`: its first bytes did not turn out to be a request.
    pub(super) fn undo(&mut self, index: u32) {
        if self.open_len() > 0 && self.kept.back().is_some_and(|newest| newest.index == index) {
            self.kept.pop_back();
            self.total = self.total.saturating_sub(1);
        }
    }

    /// How many there were.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// How many are open.
    pub(super) fn open_len(&self) -> usize {
        self.kept.len().saturating_sub(self.closed as usize)
    }

    /// An exchange by its index, while it is kept.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Draft> {
        // Mostly it is the newest.
        if self.kept.back().is_some_and(|newest| newest.index == index) {
            return self.kept.back_mut().map(Box::as_mut);
        }
        let closed = self.closed as usize;
        let front = self.oldest_open().map_or(self.total, |draft| draft.index);
        if index >= front {
            let guess = closed.saturating_add((index - front) as usize);
            // Without gaps the position follows from the index; with gaps it lies before that.
            let position = (closed..=guess.min(self.kept.len().saturating_sub(1)))
                .rev()
                .find(|&at| self.kept.get(at).is_some_and(|draft| draft.index == index))?;
            return self.kept.get_mut(position).map(Box::as_mut);
        }
        let first = self.first.as_mut().filter(|draft| draft.index == index);
        first
            .or_else(|| self.kept.iter_mut().take(closed).find(|draft| draft.index == index))
            .map(Box::as_mut)
    }

    /// One message of an exchange.
    pub(super) fn message(&mut self, direction: Direction, index: u32) -> Option<&mut Part> {
        self.get(index)?.part(direction).as_mut()
    }

    /// The newest exchange.
    pub(super) fn newest(&mut self) -> Option<&mut Draft> {
        let newest = self.kept.back_mut().or(self.first.as_mut());
        newest.map(Box::as_mut)
    }

    /// The oldest exchange that is owed a response, or the rest of one.
    pub(super) fn answering(&self) -> Option<u32> {
        self.kept
            .iter()
            .skip(self.closed as usize)
            .find(|draft| !draft.response_complete())
            .map(|draft| draft.index)
    }

    /// The packet in which a message began.
    pub(super) fn begun(&mut self, direction: Direction, index: u32) -> PacketRef {
        let base = self.base;
        self.message(direction, index)
            .map(|message| message.begun(base))
            .unwrap_or_default()
    }

    /// A request's head is known.
    pub(super) fn set_request_head(&mut self, index: u32, facts: &RequestFacts<'_>) {
        let mut texts = std::mem::take(&mut self.texts);
        if let Some(draft) = self.get(index) {
            draft.set_request_head(facts, &mut texts);
        }
        self.put_back(texts);
    }

    /// A response's head is known.
    pub(super) fn set_response_head(&mut self, index: u32, facts: &ResponseFacts<'_>) {
        let mut texts = std::mem::take(&mut self.texts);
        if let Some(draft) = self.get(index) {
            draft.set_response_head(facts, &mut texts);
        }
        self.put_back(texts);
    }

    fn put_back(&mut self, mut texts: Texts) {
        if texts.is_crowded() {
            let drafts = self.first.iter_mut().chain(self.kept.iter_mut());
            texts.clear_unused(drafts.flat_map(|draft| draft.texts()));
        }
        self.texts = texts;
    }

    /// Closes an exchange whose messages are both complete (or that never had a request and got its response).
    pub(super) fn settle(&mut self, index: u32) {
        let closed = self.closed as usize;
        let whole = |draft: &Draft| draft.response_complete() && (draft.request.is_none() || draft.request_complete());
        let position = self.kept.iter().skip(closed).position(|draft| draft.index == index);
        let Some(position) = position.map(|position| closed + position) else {
            return;
        };
        if self.kept.get(position).is_some_and(|draft| whole(draft)) {
            self.close(position);
        }
    }

    /// Closes those before `index`, to which the server has gone on; one whose request is still coming stays open.
    pub(super) fn close_before(&mut self, index: u32) {
        let over = |draft: &Draft| draft.index < index && draft.request.as_ref().is_none_or(|r| r.complete);
        while self.oldest_open().is_some_and(over) {
            self.close(self.closed as usize);
        }
    }

    /// The server says what no request asked for. What that is and what it came behind is kept: they may be long gone when somebody asks.
    pub(super) fn unasked_begins(&mut self, at: PacketRef) {
        self.irregular = true;
        if self.unasked.is_some() {
            return;
        }
        let answered = |draft: &&Draft| draft.request.is_some() && draft.response_complete();
        let drafts = self.first.iter().chain(&self.kept).map(Box::as_ref);
        let behind = drafts.filter(answered).max_by_key(|draft| draft.index);
        self.unasked = Some(Box::new(Unasked {
            at,
            behind: behind.map(|draft| Box::new(draft.clone()).finish(self.base, &self.texts)),
            answer: None,
        }));
    }

    /// It was no answer, nor the rest of one.
    pub(super) fn forget_unasked(&mut self) {
        self.unasked = None;
    }

    fn oldest_open(&self) -> Option<&Draft> {
        self.kept.get(self.closed as usize).map(Box::as_ref)
    }

    /// Moves the open exchange at `position` behind the closed ones.
    fn close(&mut self, position: usize) {
        let closed = self.closed as usize;
        let Some(draft) = self.kept.get(position).filter(|_| position >= closed) else {
            return;
        };
        self.complete += u32::from(draft.request_complete() && draft.response_complete());
        self.irregular |= self.asked && (draft.request.is_none() || !draft.response_complete());
        if let Some(unasked) = &mut self.unasked
            && draft.request.is_none()
            && unasked.answer.is_none()
        {
            unasked.answer = Some(Box::new(draft.as_ref().clone()).finish(self.base, &self.texts));
        }
        let mut messages = draft.request.iter().chain(&draft.response);
        self.heads_cut |= messages.any(|part| match part.head {
            HeadDraft::Request(_) | HeadDraft::Response(_) => part.head_end().is_none(),
            HeadDraft::Partial => true,
            HeadDraft::FastCgi { .. } | HeadDraft::Opaque => false,
        });
        if draft.index == 0 {
            self.first = self.kept.remove(position);
            return;
        }
        if position > closed
            && let Some(draft) = self.kept.remove(position)
        {
            self.kept.insert(closed, draft);
        }
        self.closed += 1;
        if self.closed as usize > self.closed_max() {
            self.kept.pop_front();
            self.closed -= 1;
        }
    }

    fn closed_max(&self) -> usize {
        if self.irregular { Exchanges::LAST } else { CLOSED_MAX }
    }

    /// The oldest closed exchange, when there will be enough others.
    fn take_unneeded(&mut self) -> Option<Box<Draft>> {
        // The last before those that are owed says what was to come.
        let last_of_them = self.closed == 1 && self.oldest_open().is_some_and(|open| open.response.is_none());
        if self.closed == 0 || last_of_them || self.kept.len() < self.closed_max() {
            return None;
        }
        self.closed -= 1;
        self.kept.pop_front()
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
        // What comes before an acknowledged message was acknowledged with it.
        for draft in self.kept.iter_mut().rev().chain(self.first.iter_mut()) {
            let Some(message) = draft.part(direction) else {
                continue;
            };
            if message.is_acked() {
                break;
            }
            let Some(end) = message.ack_of_interest() else { continue };
            if end <= offset {
                message.set_acked(at);
            } else {
                next = next.min(end);
            }
        }
        self.next_ack[direction.index()] = next;
    }

    /// First, last, and among the last the oldest that is owed, with the one before it.
    pub(super) fn into_exchanges(mut self) -> Exchanges {
        self.complete += self
            .kept
            .iter()
            .skip(self.closed as usize)
            .filter(|e| e.request_complete() && e.response_complete())
            .count() as u32;
        let Ledger {
            mut first,
            kept: mut rest,
            texts,
            base,
            total,
            complete,
            announced,
            heads_cut,
            unasked,
            ..
        } = self;
        if let Some(position) = rest.iter().position(|draft| draft.index == 0) {
            first = rest.remove(position);
        }
        // What was closed is in order of closing; early answers can make that differ from the order of begin.
        rest.make_contiguous().sort_by_key(|draft| draft.index);
        let owed = match &first {
            Some(first) if !first.response_complete() => None,
            _ => rest.iter().position(|draft| !draft.response_complete()),
        };
        let excess = rest.len().saturating_sub(Exchanges::LAST);
        if excess > 0 {
            // The one that is owed, and the one before it, which says what was to come.
            let must = owed.map(|owed| owed.saturating_sub(1)..=owed);
            let needed = |position: usize| must.as_ref().is_some_and(|must| must.contains(&position));
            let of_needed = (0..rest.len()).filter(|&position| needed(position)).count();
            let mut room = Exchanges::LAST - of_needed;
            let mut at = rest.len();
            while at > 0 {
                at -= 1;
                if needed(at) {
                    continue;
                }
                match room {
                    0 => drop(rest.remove(at)),
                    _ => room -= 1,
                }
            }
        }
        let finish = |draft: Box<Draft>| -> Exchange { draft.finish(base, &texts) };
        Exchanges {
            first: first.map(|first| Box::new(finish(first))),
            last: rest.into_iter().map(finish).collect(),
            total,
            complete,
            announced,
            heads_cut,
            unasked,
        }
    }
}

impl Draft {
    fn part(&mut self, direction: Direction) -> &mut Option<Part> {
        match direction {
            Direction::ToServer => &mut self.request,
            Direction::ToClient => &mut self.response,
        }
    }
}
