//! One connection: what is owed on it, and what that alone shows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bypeer_wire::app::{How, Look, Protocol, Request, Route, Token};
use bypeer_wire::{Direction, Endpoint, PacketRef};

use super::astray::{Asked, Early, GIVEN_UP, Reuse};
use super::profile::form;
use super::waits::Waits;

/// Requests that are sent within this of each other are sent at one go: that is pipelining. The bug, a connection that is put back
/// while an answer is owed, takes as long as somebody waited before he gave up.
const AT_ONE_GO: Duration = Duration::from_millis(20);

/// An answer must come so much later than a request to be behind it whatever order the capture saw them in.
const CLEARLY: Duration = Duration::from_millis(5);

/// Requests owed an answer on one connection; with more, nothing is told of it any more.
const OWED: usize = 256;

/// Answers remembered of a connection on which requests are pipelined; of others the last one is.
const ANSWERS: usize = 4;

/// A connection on which answers stand for requests by order.
#[derive(Debug)]
pub struct Line {
    pub client: Endpoint,
    pub server: Endpoint,
    pub protocol: Protocol,
    /// Everything was seen so far. Where not, nothing can be told of who is owed what.
    pub whole: bool,
    pub owed: VecDeque<Ask>,
    /// An answer that the capture has before its request.
    early_answer: Option<(u32, PacketRef, Option<u64>)>,
    pub answers: VecDeque<Answer>,
    pub served: Option<PacketRef>,
    pub last_said: PacketRef,
    /// The newest packet that ended an answer.
    answered: Option<PacketRef>,
    /// The request that was answered last had a body.
    pub had_body: bool,
    pub over: Option<Over>,
    pub sends: Sends,
    /// The newest request was sent while nothing was owed, and is not answered.
    is_alone: bool,
    /// They are among its client's.
    pub counted: bool,
    pub reuse: Option<Box<Slip>>,
    /// Several requests were sent at one go.
    pub pipelines: bool,
    /// The program closed its descriptor behind its own back.
    pub stray_close: Option<PacketRef>,
}

/// A request.
#[derive(Debug)]
pub struct Ask {
    pub index: u32,
    pub at: PacketRef,
    pub head_end: Option<u64>,
    pub request: Option<Request>,
    pub whole: Option<(PacketRef, u64)>,
    pub answering: Option<(PacketRef, Option<u64>)>,
    /// The capture has its answer first.
    pub answered_first: bool,
}

/// An answer that came whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub index: u32,
    pub asked: PacketRef,
    pub route: Route,
    pub form: u64,
    pub at: PacketRef,
    /// Words of the request, where requests are pipelined.
    pub tokens: Box<[Token]>,
}

/// Who ended it first.
#[derive(Clone, Copy, Debug)]
pub struct Over {
    pub by: Direction,
    pub at: PacketRef,
    /// What that side's kernel had received, where known.
    pub acked: Option<u64>,
}

/// How a client sends its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sends {
    /// While nothing was owed.
    pub alone: u32,
    /// While something was, right behind it.
    pub at_one_go: u32,
    /// While something was, later.
    pub late: u32,
    /// Of those, while two answers or more were owed, none of which had come since the last request.
    pub deep: u32,
    /// How long it waited for an answer, with nothing sent meanwhile.
    pub waits: Waits,
}

impl Sends {
    pub fn add(&mut self, other: Sends) {
        self.waits.add(&other.waits);
        self.alone = self.alone.saturating_add(other.alone);
        self.at_one_go = self.at_one_go.saturating_add(other.at_one_go);
        self.late = self.late.saturating_add(other.late);
        self.deep = self.deep.saturating_add(other.deep);
    }
}

/// A request that was sent while an answer was owed, until it is known when that came.
#[derive(Debug)]
pub struct Slip {
    owed: (u32, Arc<str>, PacketRef),
    next: (u32, Option<Arc<str>>, PacketRef),
    gap: Duration,
    pub answer: Option<PacketRef>,
    /// The request whose answer was owed is one for which a server takes its time by design.
    blocking: bool,
    after: After,
}

/// What a client sent after a slip. Who counts wrong has one answer more to come than he waits for, from then on.
#[derive(Debug, Default)]
struct After {
    /// Right behind an answer, or behind the last request, with one owed: he had an answer in hand.
    moved_on: u32,
    /// At any other moment, or with nothing owed.
    otherwise: u32,
}

impl Line {
    pub fn new(client: Endpoint, server: Endpoint, protocol: Protocol, whole: bool, at: PacketRef) -> Line {
        Line {
            client,
            server,
            protocol,
            whole,
            // Most connections never have more.
            owed: VecDeque::with_capacity(1),
            early_answer: None,
            answers: VecDeque::with_capacity(1),
            served: None,
            last_said: at,
            answered: None,
            had_body: false,
            over: None,
            sends: Sends::default(),
            is_alone: false,
            counted: false,
            reuse: None,
            pipelines: false,
            stray_close: None,
        }
    }

    /// A request begins. `false`: too many are owed.
    pub fn asking(&mut self, index: u32, at: PacketRef) -> bool {
        self.count(index, at);
        if self.owed.len() >= OWED {
            return false;
        }
        let answering = match self.early_answer.take() {
            Some((early, at, acked)) if early == index => Some((at, acked)),
            _ => None,
        };
        self.owed.push_back(Ask {
            answered_first: answering.is_some(),
            index,
            at,
            head_end: None,
            request: None,
            whole: None,
            answering,
        });
        true
    }

    /// Whether it is sent while something is owed, and how.
    fn count(&mut self, index: u32, at: PacketRef) {
        let (Some(first), Some(before)) = (self.owed.front(), self.owed.back()) else {
            self.sends.alone = self.sends.alone.saturating_add(1);
            self.is_alone = true;
            if let Some(slip) = &mut self.reuse {
                slip.after.otherwise = slip.after.otherwise.saturating_add(1);
            }
            return;
        };
        self.is_alone = false;
        if let Some(slip) = &mut self.reuse {
            // What he sends at an answer, or at once, tells of the slip, and not of how he sends as a rule: he has an answer in hand.
            let last = self
                .answered
                .map_or(before.at.time, |answered| answered.time.max(before.at.time));
            let waited = at.time.since(last);
            let heard = self.answered.is_some_and(|answered| answered.number > before.at.number);
            match self.owed.len() {
                1 if waited <= AT_ONE_GO => slip.after.moved_on = slip.after.moved_on.saturating_add(1),
                1 => {
                    slip.after.otherwise = slip.after.otherwise.saturating_add(1);
                    self.sends.late = self.sends.late.saturating_add(u32::from(!heard));
                }
                _ if waited >= GIVEN_UP => {}
                _ => self.sends.deep = self.sends.deep.saturating_add(1),
            }
            return;
        }
        // Who counts wrong sends the next request as soon as an answer comes, with one owed for ever.
        if self.answered.is_some_and(|answered| answered.number > before.at.number) {
            return;
        }
        let gap = before.whole.map(|(whole, _)| at.time.since(whole.time));
        let Some(gap) = gap.filter(|gap| *gap > AT_ONE_GO) else {
            self.sends.at_one_go = self.sends.at_one_go.saturating_add(1);
            self.pipelines = true;
            return;
        };
        self.sends.late = self.sends.late.saturating_add(1);
        self.sends.deep = self.sends.deep.saturating_add(u32::from(self.owed.len() > 1));
        if self.owed.len() == 1
            // One that was coming in already was read: that is pipelining.
            && first.answering.is_none()
            && let Some(request) = &first.request
        {
            self.reuse = Some(Box::new(Slip {
                owed: (first.index, request.route.text.clone(), first.at),
                next: (index, None, at),
                gap,
                answer: None,
                blocking: request.blocking,
                after: After::default(),
            }));
        }
    }

    /// Its head is known. Says whether the capture has them in the wrong order: the server's kernel had received the request whose answer was
    /// recorded first.
    pub fn asked(&mut self, index: u32, head_end: u64, request: Request) -> bool {
        if let Some(slip) = &mut self.reuse
            && slip.next.0 == index
        {
            slip.next.1 = Some(request.route.text.clone());
        }
        let Some(ask) = self.ask(index) else { return false };
        ask.head_end = Some(head_end);
        ask.request = Some(request);
        let acked = ask.answering.and_then(|(_, acked)| acked);
        ask.answered_first && acked.is_some_and(|acked| acked >= head_end)
    }

    pub fn ask(&mut self, index: u32) -> Option<&mut Ask> {
        self.owed.iter_mut().find(|ask| ask.index == index)
    }

    /// A final answer begins.
    pub fn answering(&mut self, index: Option<u32>, at: PacketRef, acked: Option<u64>) {
        self.served.get_or_insert(at);
        let Some(index) = index else { return };
        match self.ask(index) {
            Some(ask) => ask.answering = Some((at, acked)),
            None => self.early_answer = Some((index, at, acked)),
        }
    }

    /// It is over: the request that it stood for is owed nothing.
    pub fn answered(&mut self, index: u32, at: PacketRef) -> Option<Ask> {
        let place = self.owed.iter().position(|ask| ask.index == index)?;
        let ask = self.owed.remove(place)?;
        self.answered = Some(at);
        let begun = ask.answering.map_or(at, |(at, _)| at);
        if std::mem::take(&mut self.is_alone)
            && let Some((whole, _)) = ask.whole
        {
            self.sends.waits.waited(begun.time.since(whole.time));
        }
        if let Some(slip) = &mut self.reuse
            && slip.owed.0 == index
            && slip.answer.is_none()
        {
            // One that had begun before the next request counts from its end: it was still coming in.
            let came = if begun.time > slip.next.2.time { begun } else { at };
            if came.time.since(slip.next.2.time) > CLEARLY {
                slip.answer = Some(came);
            } else {
                self.reuse = None;
            }
        }
        Some(ask)
    }

    /// Remembers an answer.
    pub fn remember(&mut self, ask: &Ask, look: &Look, at: PacketRef) {
        let Some(request) = &ask.request else { return };
        let kept = if self.pipelines { ANSWERS } else { 1 };
        while self.answers.len() >= kept {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer {
            index: ask.index,
            asked: ask.at,
            route: request.route.clone(),
            form: form(look),
            at,
            tokens: if self.pipelines {
                request.tokens.clone()
            } else {
                Box::default()
            },
        });
    }

    /// The first end of it. A reset that nobody must believe is none.
    pub fn ends(&mut self, by: Direction, how: How, at: PacketRef, acked: Option<u64>) -> bool {
        if how == How::ResetInVain || self.over.is_some() {
            return false;
        }
        self.over = Some(Over { by, at, acked });
        true
    }

    /// An answer from before its request.
    pub fn early(&self, ask: &Ask) -> Option<Early> {
        let (at, acked) = ask.answering?;
        let (acked, head_end) = (acked?, ask.head_end?);
        (self.whole && acked < head_end).then_some(Early {
            index: ask.index,
            at,
            acked,
            head_end,
        })
    }

    /// A request on a connection on which an answer was owed, once the answer has come.
    pub fn reused(&self, stream: u32, all: Sends) -> Option<Reuse> {
        let slip = self.reuse.as_ref().filter(|_| self.whole)?;
        let asked = |route: &Arc<str>, at: PacketRef| Asked {
            stream,
            client: self.client,
            route: route.clone(),
            at,
        };
        if all.at_one_go > 0 {
            return None;
        }
        Some(Reuse {
            protocol: self.protocol,
            owed: asked(&slip.owed.1, slip.owed.2),
            next: asked(slip.next.1.as_ref()?, slip.next.2),
            gap: slip.gap,
            answer: slip.answer?,
            alone: all.alone,
            late: all.late.saturating_sub(self.sends.late),
            deep: all.deep,
            as_long: all.waits.as_long_as(slip.gap),
            moved_on: slip.after.moved_on,
            otherwise: slip.after.otherwise,
            blocking: slip.blocking,
        })
    }
}
