use super::http1_head::{RequestFacts, ResponseFacts};
use super::notice::{How, Look, Noticed, Place, Request, Route, Shape, Token};
use super::redis::Redis;
use super::route;
use super::sample::{Expected, Sampler};
use super::words::{Words, plain_hash};
use super::{Method, Protocol};
use crate::{Direction, PacketRef};

/// Tells what is said on one connection as [`Noticed`]: the parsers say what begins and ends, here it is counted and paired.
///
/// Where nobody listens a conversation has none.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    /// Of hashes of words.
    pub(super) key: u64,
    /// The packet whose bytes are being read.
    pub(super) at: PacketRef,
    /// How much of the client's stream that packet acknowledged, if it is the server's.
    acked: Option<u64>,
    /// Offset after all that the client was heard to say.
    heard: u64,
    state: State,
    /// From the handshake on.
    whole: bool,
    /// FIN and reset of either side that were told.
    over: u8,
    /// Requests that were told: the next one's index.
    asked: u32,
    /// Answers that stand for a request: the next one's index. At most one ahead of `asked`.
    answered: u32,
    /// A request that has begun, while it is not sure that it is one.
    asking: Option<(u64, PacketRef)>,
    /// The request that is not over.
    request: Option<u32>,
    answer: Option<Box<Answer>>,
    redis: Option<Box<Redis>>,
    route: Option<Route>,
    shape: Option<Shape>,
    told: Vec<(PacketRef, Noticed)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Hearing,
    Lost,
}

/// An answer that is not over.
#[derive(Clone, Debug)]
struct Answer {
    index: Option<u32>,
    start: u64,
    at: PacketRef,
    acked: Option<u64>,
    /// Its beginning was told.
    told: bool,
    /// After its last byte seen.
    end: u64,
    status: Option<u16>,
    is_error: bool,
    date: Option<i64>,
    kind: Box<str>,
    sampler: Sampler,
}

/// What may wait to be fetched of one connection: as much as one packet, and what waited for it, can say.
const TOLD_MAX: usize = 1 << 16;

impl Ear {
    pub(super) fn new(key: u64, whole: bool) -> Ear {
        Ear {
            key,
            at: PacketRef::default(),
            acked: None,
            heard: 0,
            state: State::Waiting,
            whole,
            over: 0,
            asked: 0,
            answered: 0,
            asking: None,
            request: None,
            answer: None,
            redis: None,
            route: None,
            shape: None,
            told: Vec::new(),
        }
    }

    /// What comes next was carried by a packet that acknowledged this much of the other side's stream. Returns what was said of the one before.
    pub(super) fn carried(&mut self, acked: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.acked, acked)
    }

    /// Something was told of this connection, or is going to be.
    pub(super) fn is_in_use(&self) -> bool {
        self.state != State::Waiting
    }

    /// Bytes of a direction, whatever they are, are read, or missing.
    pub(super) fn heard(&mut self, direction: Direction, offset: u64, len: u64) {
        if direction == Direction::ToServer {
            self.heard = self.heard.max(offset.saturating_add(len));
        }
    }

    /// The protocol is known; `first`: from its first byte on.
    pub(super) fn begin(&mut self, protocol: Protocol, first: bool) {
        if self.state != State::Waiting {
            return;
        }
        self.state = State::Hearing;
        self.whole &= first;
        if protocol == Protocol::Redis {
            self.redis = Some(Box::new(Redis::new(self.key)));
        }
        let whole = self.whole;
        self.tell(Noticed::Begun { protocol, whole });
    }

    /// Nothing that follows can be told.
    pub(super) fn lose(&mut self) {
        if self.state == State::Hearing {
            self.cut_answer();
            self.tell(Noticed::Lost);
            self.state = State::Lost;
        }
        self.redis = None;
        self.asking = None;
        self.request = None;
        self.answer = None;
    }

    /// A request's first byte, perhaps.
    pub(super) fn request_begins(&mut self, offset: u64) {
        if self.state == State::Hearing {
            self.asking = Some((offset, self.at));
        }
    }

    /// What had begun is a request. Returns its index.
    pub(super) fn request_is_one(&mut self) -> Option<u32> {
        let (start, at) = self.asking.take()?;
        let index = self.asked;
        self.asked = self.asked.saturating_add(1);
        self.request = Some(index);
        self.tell_at(at, Noticed::Asking { index, start });
        Some(index)
    }

    /// Its head is known.
    pub(super) fn request_head(&mut self, facts: &RequestFacts<'_>, head_end: u64) {
        self.request_is_one();
        let Some(index) = self.request else { return };
        let route = Route::of_request(facts.method.as_str(), facts.target, self.route.as_ref());
        self.route = Some(route.clone());
        let request = Request {
            route,
            is_head: facts.method == Method::Head,
            expects_continue: facts.expects_continue,
            blocking: false,
            tokens: tokens(self.key, facts),
        };
        self.tell(Noticed::Asked {
            index,
            head_end,
            request,
        });
    }

    /// The request that has begun and is not over.
    pub(super) fn request_index(&self) -> Option<u32> {
        self.request
    }

    /// A Redis command is known, which is all of it.
    pub(super) fn command(
        &mut self,
        end: u64,
        name: &[u8],
        subcommand: Option<&[u8]>,
        blocking: bool,
        tokens: Vec<Token>,
    ) {
        let Some(index) = self.request else { return };
        let route = Route::of_command(name, subcommand, self.route.as_ref());
        self.route = Some(route.clone());
        let request = Request {
            route,
            is_head: false,
            expects_continue: false,
            blocking,
            tokens: tokens.into(),
        };
        self.tell(Noticed::Asked {
            index,
            head_end: end,
            request,
        });
        self.request_ends(end);
    }

    /// All of the request was seen.
    pub(super) fn request_ends(&mut self, end: u64) {
        if let Some(index) = self.request.take() {
            self.tell(Noticed::AskedAll { index, end });
        }
    }

    /// An answer's first byte.
    pub(super) fn answer_begins(&mut self, offset: u64) {
        if self.state != State::Hearing {
            return;
        }
        self.cut_answer();
        // The client had said more than was heard of it: the capture has the request later than its answer.
        let unheard = self.answered == self.asked && self.acked.is_some_and(|acked| acked > self.heard);
        let owed = self.answered < self.asked || unheard;
        self.answer = Some(Box::new(Answer {
            index: owed.then_some(self.answered),
            start: offset,
            at: self.at,
            acked: self.acked,
            told: false,
            end: offset,
            status: None,
            is_error: false,
            date: None,
            kind: Box::default(),
            sampler: Sampler::new(self.key),
        }));
    }

    /// It is no answer, or none that counts.
    pub(super) fn answer_is_none(&mut self) {
        if self.answer.as_ref().is_some_and(|answer| !answer.told) {
            self.answer = None;
        }
    }

    /// Its first line was read, and it is a final one.
    pub(super) fn answer_is_final(&mut self) {
        let Some(answer) = self.answer.as_mut().filter(|answer| !answer.told) else {
            return;
        };
        answer.told = true;
        let (at, index, start, acked) = (answer.at, answer.index, answer.start, answer.acked);
        self.answered = self.answered.saturating_add(u32::from(index.is_some()));
        self.tell_at(at, Noticed::Answering { index, start, acked });
    }

    /// The request that the answer stands for.
    pub(super) fn answer_index(&self) -> Option<u32> {
        self.answer.as_ref()?.index
    }

    /// Its head is known; `none`: it has no body, whatever the head says.
    pub(super) fn answer_head(&mut self, facts: &ResponseFacts<'_>, none: bool) {
        self.answer_is_final();
        let key = self.key;
        let Some(answer) = &mut self.answer else { return };
        answer.status = Some(facts.status);
        answer.date = facts.date.and_then(super::date::seconds);
        let kind = facts.content_type.as_deref().unwrap_or_default();
        answer.sampler.expect(match () {
            () if none => Expected::None,
            () if facts.encoded => Expected::Encoded,
            () if is_json(kind) => Expected::Json,
            () => Expected::Anything,
        });
        answer.kind = kind.into();
        for (_, value) in facts.named.iter() {
            Words::of(key, value).for_each(|word| answer.sampler.found.add(Some(word)));
        }
    }

    /// What a Redis reply is before what it holds.
    pub(super) fn reply_is(&mut self, kind: &str, is_error: bool, expected: Expected) {
        if let Some(answer) = &mut self.answer {
            answer.is_error = is_error;
            answer.kind = kind.into();
            answer.sampler.expect(expected);
        }
    }

    /// The next bytes of its body.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.sampler.read(bytes);
        }
    }

    /// Bytes of its body are not there, or were not asked for.
    pub(super) fn no_body(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.sampler.miss();
        }
    }

    /// More of its body should be seen.
    pub(super) fn wants_body(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.sampler.wants())
    }

    /// It was seen up to here.
    pub(super) fn answer_reaches(&mut self, end: u64) {
        if let Some(answer) = &mut self.answer {
            answer.end = answer.end.max(end);
        }
    }

    /// It is whole.
    pub(super) fn answer_ends(&mut self, end: u64) {
        self.answer_reaches(end);
        self.answer_is_over(true);
    }

    /// No more of it will come.
    pub(super) fn cut_answer(&mut self) {
        self.answer_is_over(false);
    }

    fn answer_is_over(&mut self, complete: bool) {
        let Some(answer) = self.answer.take().filter(|answer| answer.told) else {
            return;
        };
        let answer = *answer;
        let (shape, tokens, tokens_cut) = answer.sampler.finish(&answer.kind, complete, self.shape.as_ref());
        self.shape = Some(shape.clone());
        self.tell(Noticed::Answered {
            index: answer.index,
            end: answer.end,
            complete,
            look: Look {
                status: answer.status,
                is_error: answer.is_error,
                shape,
                date: answer.date,
                tokens,
                tokens_cut,
            },
        });
    }

    /// A side's FIN or reset.
    pub(super) fn over(&mut self, at: PacketRef, by: Direction, how: How, acked: Option<u64>, sent: u64) {
        let once = 1 << (2 * by.index() + usize::from(how != How::Fin));
        if self.state == State::Waiting || self.over & once != 0 {
            return;
        }
        self.over |= once;
        self.at = at;
        if how == How::Reset {
            self.cut_answer();
        }
        self.tell(Noticed::Over { by, how, acked, sent });
    }

    /// Bytes for the parser of Redis; `None` for bytes that are missing.
    pub(super) fn redis(&mut self, direction: Direction, offset: u64, bytes: Option<&[u8]>, len: u64) {
        // Taken out so that it may tell.
        let Some(mut redis) = self.redis.take() else { return };
        let sane = match bytes {
            Some(bytes) => redis.read(self, direction, offset, bytes),
            None => redis.skip(self, direction, offset, len),
        };
        if sane && self.state == State::Hearing {
            self.redis = Some(redis);
        } else {
            self.lose();
        }
    }

    /// What of a Redis connection need not be seen. `None`: nothing, nobody listens.
    pub(super) fn redis_unwanted(&self, direction: Direction) -> Option<u64> {
        let redis = self.redis.as_ref()?;
        Some(redis.unwanted(direction, self.wants_body()))
    }

    /// What was told since the last time.
    pub(super) fn take_told(&mut self) -> Vec<(PacketRef, Noticed)> {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, what: Noticed) {
        self.tell_at(self.at, what);
    }

    fn tell_at(&mut self, at: PacketRef, what: Noticed) {
        if self.state == State::Lost && !matches!(what, Noticed::Over { .. }) {
            return;
        }
        self.told.push((at, what));
        if self.told.len() >= TOLD_MAX && self.state == State::Hearing {
            self.told.push((self.at, Noticed::Lost));
            self.state = State::Lost;
        }
    }
}

fn is_json(content_type: &str) -> bool {
    let tail = content_type.len().saturating_sub(4);
    content_type
        .as_bytes()
        .get(tail..)
        .is_some_and(|tail| tail.eq_ignore_ascii_case(b"json"))
}

/// Distinctive words of a request, from the path, the query, and the fields that name it.
fn tokens(key: u64, facts: &RequestFacts<'_>) -> Box<[Token]> {
    let mut tokens = Vec::new();
    let mut add = |place: Place, text: &[u8]| {
        for word in Words::of(key, text) {
            if tokens.len() < Request::TOKENS {
                tokens.push(Token { place, word });
            }
        }
    };
    for (index, segment) in route::segments(facts.target).enumerate().take(64) {
        add(Place::Segment(index as u8), segment.as_bytes());
    }
    for (name, value) in route::query(facts.target).take(64) {
        add(Place::Query(plain_hash(name.as_bytes()) as u16), value.as_bytes());
    }
    for (name, value) in facts.named.iter() {
        add(Place::Field(plain_hash(&name.to_ascii_lowercase()) as u16), value);
    }
    tokens.into()
}
