use super::exchange::{Close, Exchange, Framing, Head, Message, Method, RequestHead, ResponseHead, Version};
use super::http1_head::{RequestFacts, ResponseFacts};
use super::texts::{TextId, Texts};
use crate::{PacketRef, Timestamp};

/// An [`Exchange`] while its connection lives: a third of its size, and used again for a later one.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) request: Option<Part>,
    pub(super) response: Option<Part>,
    /// [`RequestHead::path`].
    path: String,
    /// Box: rare.
    continued: Option<Box<PacketRef>>,
    pub(super) index: u32,
    interim: u8,
}

impl Draft {
    /// Begins another exchange in the place of this one.
    pub(super) fn reuse(&mut self, index: u32, request: Option<Part>) {
        self.request = request;
        self.response = None;
        self.path.clear();
        self.continued = None;
        self.index = index;
        self.interim = 0;
    }

    /// All of the request was seen.
    pub(super) fn request_complete(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.complete)
    }

    /// All of the response was seen.
    pub(super) fn response_complete(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.complete)
    }

    /// An interim response came; `at` when it was `100 Continue`.
    pub(super) fn add_interim(&mut self, continued: Option<PacketRef>) {
        self.interim = self.interim.saturating_add(1);
        if let (None, Some(at)) = (&self.continued, continued) {
            self.continued = Some(Box::new(at));
        }
    }

    /// The request's head is known.
    pub(super) fn set_request_head(&mut self, facts: &RequestFacts<'_>, texts: &mut Texts) {
        let Some(request) = &mut self.request else { return };
        self.path.clear();
        self.path.reserve_exact(facts.path.len());
        self.path.push_str(&facts.path);
        request.head = HeadDraft::request(facts, texts);
    }

    /// The response's head is known.
    pub(super) fn set_response_head(&mut self, facts: &ResponseFacts<'_>, texts: &mut Texts) {
        if let Some(response) = &mut self.response {
            response.head = HeadDraft::response(facts, texts);
        }
    }

    /// The names of texts that are in use.
    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut TextId> {
        let parts = self.request.iter_mut().chain(self.response.iter_mut());
        parts.flat_map(|part| part.head.texts())
    }

    /// As told to the outside. `base`: number of a packet near all of its own.
    pub(super) fn finish(self: Box<Self>, base: u64, texts: &Texts) -> Exchange {
        let draft = *self;
        let path = draft.path.into_boxed_str();
        Exchange {
            index: draft.index,
            request: draft.request.map(|part| part.finish(base, texts, path)),
            response: draft.response.map(|part| part.finish(base, texts, Box::default())),
            interim: draft.interim,
            continued: draft.continued.map(|at| *at),
        }
    }
}

/// A [`Message`] while its connection lives.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) seen: u64,
    /// Body bytes where `framing` is `Kind::Length`.
    length: u64,
    begun: Stamp,
    last: Stamp,
    acked: Option<Stamp>,
    /// `u32::MAX` for not known.
    head_len: u32,
    pub(super) head: HeadDraft,
    framing: Kind,
    end: End,
    pub(super) complete: bool,
}

/// [`Framing`] without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Length,
    Chunked,
    Close,
    Tunnel,
    Unknown,
}

/// What is known of a message's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Unknown,
    /// Where head and framing say.
    Declared,
    /// Where it stands.
    Here,
}

impl Part {
    /// A message of which nothing is known but where it begins.
    pub(super) fn begin(start: u64, at: PacketRef, head: HeadDraft) -> Part {
        Part {
            start,
            seen: start,
            length: 0,
            begun: Stamp::of(at),
            last: Stamp::of(at),
            acked: None,
            head_len: u32::MAX,
            head,
            framing: Kind::Unknown,
            end: End::Unknown,
            complete: false,
        }
    }

    /// Bytes of it up to `seen` were sent. A guessed end is taken back.
    pub(super) fn grow(&mut self, seen: u64, at: PacketRef) {
        if seen <= self.seen {
            return;
        }
        self.seen = seen;
        self.last = Stamp::of(at);
        if self.framing == Kind::Unknown || self.complete {
            self.reopen();
            self.acked = None;
        }
    }

    /// It ends here: by its framing, or by a guess where that is unknown.
    pub(super) fn finish_here(&mut self) {
        self.end = End::Here;
        self.complete = true;
    }

    /// It does not end here after all.
    pub(super) fn reopen(&mut self) {
        self.end = End::Unknown;
        self.complete = false;
    }

    /// The head ends at `head_end`, and so tells the end.
    pub(super) fn enter(&mut self, head_end: u64, framing: Framing) {
        self.set_head_end(head_end);
        self.set_framing(framing);
        self.complete = false;
        self.end = match framing {
            Framing::None | Framing::Tunnel | Framing::Length(_) => End::Declared,
            Framing::Chunked | Framing::Close | Framing::Unknown => End::Unknown,
        };
    }

    pub(super) fn set_head_end(&mut self, head_end: u64) {
        let len = head_end.saturating_sub(self.start);
        // Beyond 4 GiB (a FastCGI request without end, say) it is not told.
        self.head_len = u32::try_from(len).unwrap_or(u32::MAX);
    }

    pub(super) fn head_end(&self) -> Option<u64> {
        let known = self.head_len != u32::MAX;
        known.then(|| self.start.saturating_add(u64::from(self.head_len)))
    }

    pub(super) fn set_framing(&mut self, framing: Framing) {
        self.framing = match framing {
            Framing::None => Kind::None,
            Framing::Length(length) => {
                self.length = length;
                Kind::Length
            }
            Framing::Chunked => Kind::Chunked,
            Framing::Close => Kind::Close,
            Framing::Tunnel => Kind::Tunnel,
            Framing::Unknown => Kind::Unknown,
        };
    }

    pub(super) fn framing(&self) -> Framing {
        match self.framing {
            Kind::None => Framing::None,
            Kind::Length => Framing::Length(self.length),
            Kind::Chunked => Framing::Chunked,
            Kind::Close => Framing::Close,
            Kind::Tunnel => Framing::Tunnel,
            Kind::Unknown => Framing::Unknown,
        }
    }

    /// [`Message::end`].
    pub(super) fn end(&self) -> Option<u64> {
        let head_end = self.head_end();
        match (self.end, self.framing) {
            (End::Unknown, _) => None,
            (End::Here, _) => Some(self.seen),
            (End::Declared, Kind::Length) => head_end.map(|head_end| head_end.saturating_add(self.length)),
            (End::Declared, _) => head_end,
        }
    }

    /// The offset whose acknowledgement is waited for.
    pub(super) fn ack_of_interest(&self) -> Option<u64> {
        match self.framing {
            _ if self.acked.is_some() => None,
            Kind::Unknown => Some(self.seen),
            _ => self.end(),
        }
    }

    pub(super) fn is_acked(&self) -> bool {
        self.acked.is_some()
    }

    pub(super) fn set_acked(&mut self, at: PacketRef) {
        self.acked = Some(Stamp::of(at));
    }

    /// Its newest byte came with this packet.
    pub(super) fn came_with(&self, at: PacketRef) -> bool {
        self.last.number == at.number as u32
    }

    /// The packet of its first byte.
    pub(super) fn begun(&self, base: u64) -> PacketRef {
        self.begun.restore(base)
    }

    fn finish(self, base: u64, texts: &Texts, path: Box<str>) -> Message {
        Message {
            start: self.start,
            head_end: self.head_end(),
            end: self.end(),
            seen: self.seen,
            complete: self.complete,
            begun: self.begun.restore(base),
            last: self.last.restore(base),
            acked: self.acked.map(|acked| acked.restore(base)),
            framing: self.framing(),
            head: self.head.finish(texts, path),
        }
    }
}

/// A [`PacketRef`] in twelve bytes: of the number only the low half.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    number: u32,
    time: [u32; 2],
}

impl Stamp {
    fn of(at: PacketRef) -> Stamp {
        let time = at.time.0 as u64;
        Stamp {
            number: at.number as u32,
            time: [time as u32, (time >> 32) as u32],
        }
    }

    /// Right where it is fewer than 2^31 packets away from number `base`.
    fn restore(self, base: u64) -> PacketRef {
        let distance = self.number.wrapping_sub(base as u32) as i32;
        let [low, high] = self.time.map(u64::from);
        PacketRef {
            number: base.wrapping_add_signed(i64::from(distance)),
            time: Timestamp((low | (high << 32)) as i64),
        }
    }
}

/// A [`Head`] while its connection lives. The path is in the [`Draft`].
#[derive(Clone, Debug)]
pub(super) enum HeadDraft {
    Request(RequestDraft),
    Response(ResponseDraft),
    FastCgi { keep_connection: bool, stdin_ended: bool },
    Opaque,
    Partial,
}

#[derive(Clone, Debug)]
pub(super) struct RequestDraft {
    pub(super) method: MethodDraft,
    version: Version,
    connection: Close,
    has_query: bool,
    expects_continue: bool,
    upgrade: bool,
    ambiguous_framing: bool,
    idempotency_key: bool,
    user_agent: TextId,
}

/// A [`Method`] in four bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MethodDraft {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Query,
    Other(TextId),
}

#[derive(Clone, Debug)]
pub(super) struct ResponseDraft {
    keep_alive: [u32; 2],
    status: u16,
    server: TextId,
    via: TextId,
    content_type: TextId,
    version: Version,
    connection: Close,
    /// Which of `keep_alive` were said: timeout, max.
    keep_alive_said: [bool; 2],
}

impl HeadDraft {
    fn request(facts: &RequestFacts<'_>, texts: &mut Texts) -> HeadDraft {
        HeadDraft::Request(RequestDraft {
            method: MethodDraft::of(&facts.method, texts),
            version: facts.version,
            connection: facts.connection,
            has_query: facts.has_query,
            expects_continue: facts.expects_continue,
            upgrade: facts.upgrade,
            ambiguous_framing: facts.ambiguous_framing,
            idempotency_key: facts.idempotency_key,
            user_agent: texts.keep(facts.user_agent.as_deref()),
        })
    }

    fn response(facts: &ResponseFacts<'_>, texts: &mut Texts) -> HeadDraft {
        let keep_alive = [facts.keep_alive_timeout, facts.keep_alive_max];
        HeadDraft::Response(ResponseDraft {
            keep_alive: keep_alive.map(Option::unwrap_or_default),
            status: facts.status,
            server: texts.keep(facts.server.as_deref()),
            via: texts.keep(facts.via.as_deref()),
            content_type: texts.keep(facts.content_type.as_deref()),
            version: facts.version,
            connection: facts.connection,
            keep_alive_said: keep_alive.map(|said| said.is_some()),
        })
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut TextId> {
        let texts = match self {
            HeadDraft::Request(head) => {
                let other = match &mut head.method {
                    MethodDraft::Other(name) => Some(name),
                    _ => None,
                };
                [Some(&mut head.user_agent), other, None]
            }
            HeadDraft::Response(head) => [
                Some(&mut head.server),
                Some(&mut head.via),
                Some(&mut head.content_type),
            ],
            HeadDraft::FastCgi { .. } | HeadDraft::Opaque | HeadDraft::Partial => [None, None, None],
        };
        texts.into_iter().flatten()
    }

    fn finish(self, texts: &Texts, path: Box<str>) -> Head {
        match self {
            HeadDraft::Request(head) => Head::Request(Box::new(RequestHead {
                method: head.method.finish(texts),
                path,
                has_query: head.has_query,
                version: head.version,
                connection: head.connection,
                expects_continue: head.expects_continue,
                upgrade: head.upgrade,
                ambiguous_framing: head.ambiguous_framing,
                user_agent: texts.get(head.user_agent),
                idempotency_key: head.idempotency_key,
            })),
            HeadDraft::Response(head) => {
                let [timeout, max] = head.keep_alive;
                let [timeout_said, max_said] = head.keep_alive_said;
                Head::Response(Box::new(ResponseHead {
                    status: head.status,
                    version: head.version,
                    connection: head.connection,
                    keep_alive_timeout: timeout_said.then_some(timeout),
                    keep_alive_max: max_said.then_some(max),
                    server: texts.get(head.server),
                    via: texts.get(head.via),
                    content_type: texts.get(head.content_type),
                }))
            }
            HeadDraft::FastCgi {
                keep_connection,
                stdin_ended,
            } => Head::FastCgi {
                keep_connection,
                stdin_ended,
            },
            HeadDraft::Opaque => Head::Opaque,
            HeadDraft::Partial => Head::Partial,
        }
    }
}

impl MethodDraft {
    fn of(method: &Method, texts: &mut Texts) -> MethodDraft {
        match method {
            Method::Get => MethodDraft::Get,
            Method::Head => MethodDraft::Head,
            Method::Post => MethodDraft::Post,
            Method::Put => MethodDraft::Put,
            Method::Delete => MethodDraft::Delete,
            Method::Connect => MethodDraft::Connect,
            Method::Options => MethodDraft::Options,
            Method::Trace => MethodDraft::Trace,
            Method::Patch => MethodDraft::Patch,
            Method::Query => MethodDraft::Query,
            Method::Other(name) => MethodDraft::Other(texts.keep(Some(name))),
        }
    }

    fn finish(self, texts: &Texts) -> Method {
        match self {
            MethodDraft::Get => Method::Get,
            MethodDraft::Head => Method::Head,
            MethodDraft::Post => Method::Post,
            MethodDraft::Put => Method::Put,
            MethodDraft::Delete => Method::Delete,
            MethodDraft::Connect => Method::Connect,
            MethodDraft::Options => Method::Options,
            MethodDraft::Trace => Method::Trace,
            MethodDraft::Patch => Method::Patch,
            MethodDraft::Query => Method::Query,
            MethodDraft::Other(name) => Method::Other(texts.get(name).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_small() {
        assert!(size_of::<Part>() <= 96, "{}", size_of::<Part>());
        assert!(size_of::<Draft>() <= 232, "{}", size_of::<Draft>());
    }

    #[test]
    fn packets_are_told_again() {
        for (number, base) in [
            (0, 0),
            (7, 9),
            (9, 7),
            (1 << 32, (1 << 32) - 1),
            ((1 << 32) + 5, 1 << 32),
            (5 << 33, (5 << 33) + 1_000_000),
        ] {
            for time in [0, -1, i64::MAX, i64::MIN, 1_700_000_000_123_456_789] {
                let at = PacketRef {
                    number,
                    time: Timestamp(time),
                };
                assert_eq!(Stamp::of(at).restore(base), at, "{number} from {base}");
            }
        }
    }
}
