use super::chunked::{Chunked, ChunkedRead};
use super::draft::{HeadDraft, MethodDraft, Part};
use super::ear::Ear;
use super::exchange::{Framing, Method};
use super::http1_head::{self as head, Answers, HEAD_MAX, Line, RequestFacts, ResponseFacts};
use super::http1_scan as scan;
use super::record::Record;
use super::turns::Turns;
use crate::{Direction, PacketRef};

/// Requests that may wait for their responses at once; with more, track is lost (or one direction was not captured).
const PIPELINED_MAX: usize = 256;

/// Fewer bytes are no request: `GET / HTTP/1.0`, and two line ends.
const SHORTEST_REQUEST: u64 = 18;

/// HTTP/1 on both directions of a connection (RFC 9112).
///
/// Bodies are passed over by their framing. Where the framing of a message is not known (its head was cut by the snap
/// length, packets were missed, two lengths contradict each other), the message lasts until a segment begins with a start line.
#[derive(Clone, Debug, Default)]
pub(super) struct Http1 {
    sides: [Side; 2],
    /// A response head was understood: what follows that is no status line is surplus, not another protocol.
    answered: bool,
    /// The first byte that came after a CONNECT before its answer.
    held: Option<Box<(u64, PacketRef)>>,
}

#[derive(Clone, Debug, Default)]
struct Side {
    reading: Reading,
    /// The exchange whose message is being read.
    index: u32,
    /// The request of this response is not known: it may have been HEAD, and then there is no body.
    unsure: bool,
}

/// Where a direction stands.
#[derive(Clone, Debug, Default)]
enum Reading {
    /// Between messages: nothing, or line ends.
    #[default]
    Between,
    /// In a head: its bytes so far.
    Head(Vec<u8>),
    /// In a body: bytes left of it.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In a body that ends with the connection.
    Close,
    /// After CONNECT, before its answer: perhaps another protocol's first bytes.
    Held,
    /// Framing is lost: until a segment begins with a start line.
    Adrift(Belongs),
}

/// What bytes between two known places are counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    /// The current message.
    Message,
    /// No message: surplus, or trailing bytes.
    Nobody,
    /// Something from before the capture began.
    Before,
}

/// What is to be done with the rest of the bytes.
pub(super) enum Step {
    /// So many were taken.
    Took(usize),
    /// The connection goes on as turns after so many bytes.
    Turns(usize),
}

impl Http1 {
    /// Picked up in the middle of things: `other`, the direction that did not show a start line yet, may be in a body.
    pub(super) fn picked_up(other: Direction) -> Http1 {
        let mut http1 = Http1::default();
        http1.side(other).reading = Reading::Adrift(Belongs::Before);
        http1
    }

    /// Reads some of `bytes` (never empty). Called again with the rest, it comes to an end. `segment_start`: they begin a segment.
    pub(super) fn data(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
        segment_start: bool,
    ) -> Step {
        let unsure = std::mem::take(&mut self.side(direction).unsure);
        match self.side(direction).reading {
            Reading::Between => self.between(record, direction, offset, bytes, at),
            Reading::Head(_) => self.head(record, direction, offset, bytes, at),
            Reading::Length(_) if unsure => {
                if segment_start && head::status_line(bytes) == Line::Yes {
                    self.without_body(record);
                }
                Step::Took(0)
            }
            Reading::Length(left) => {
                let here = left.min(bytes.len() as u64);
                Self::show(record, direction, bytes.get(..here as usize).unwrap_or_default());
                self.pass(record, direction, offset, here, at);
                Step::Took(here as usize)
            }
            Reading::Chunked(chunked) => self.chunked(record, direction, chunked, offset, bytes, at),
            Reading::Close | Reading::Held => {
                Self::show(record, direction, bytes);
                self.pass(record, direction, offset, bytes.len() as u64, at);
                Step::Took(bytes.len())
            }
            Reading::Adrift(belongs) => {
                if segment_start && self.begins_message(direction, bytes) {
                    return self.resynchronise(record, direction, offset, bytes, at);
                }
                match (belongs, direction) {
                    (Belongs::Nobody, Direction::ToServer) => record.trailing.add(bytes),
                    _ => self.pass(record, direction, offset, bytes.len() as u64, at),
                }
                Step::Took(bytes.len())
            }
        }
    }

    /// Passes over bytes that are not there. Returns true when the connection goes on as turns, after these bytes.
    pub(super) fn skip(
        &mut self,
        record: &mut Record,
        direction: Direction,
        mut offset: u64,
        mut len: u64,
        at: PacketRef,
    ) -> bool {
        while len > 0 {
            let mut here = len;
            self.side(direction).unsure = false;
            match &mut self.side(direction).reading {
                Reading::Between if direction == Direction::ToServer && len < SHORTEST_REQUEST => {
                    record.lose_unseen();
                    self.side(direction).reading = Reading::Adrift(Belongs::Nobody);
                }
                Reading::Between => {
                    record.lose_unseen();
                    if !self.begin(record, direction, offset, at) {
                        return true;
                    }
                    self.side(direction).reading = Reading::Adrift(Belongs::Message);
                }
                Reading::Head(buffer) => {
                    let buffer = std::mem::take(buffer);
                    record.unseen_bounds = true;
                    // The rest of the head, in all likelihood.
                    let index = self.side(direction).index;
                    record.grow(direction, index, offset.saturating_add(len), at);
                    if self.cut(record, direction, &buffer) {
                        return true;
                    }
                    if matches!(self.side(direction).reading, Reading::Adrift(Belongs::Nobody)) {
                        // Of an interim head, which is no surplus.
                        return false;
                    }
                }
                Reading::Length(left) => here = len.min(*left),
                Reading::Chunked(chunked) => match chunked.unwanted() {
                    0 => {
                        self.side(direction).reading = Reading::Adrift(Belongs::Message);
                        record.lose_unseen();
                    }
                    ahead => here = len.min(ahead),
                },
                Reading::Adrift(Belongs::Message) => self.missed_turn(record, direction, offset, at),
                Reading::Close | Reading::Held | Reading::Adrift(_) => {}
            }
            if direction == Direction::ToClient
                && let Some(ear) = &mut record.ear
            {
                ear.no_body();
            }
            self.pass(record, direction, offset, here, at);
            offset = offset.saturating_add(here);
            len -= here;
        }
        false
    }

    /// Bytes ahead that need not be seen.
    pub(super) fn unwanted(&self, record: &Record, direction: Direction) -> u64 {
        let side = &self.sides[direction.index()];
        let shown = direction == Direction::ToClient && record.ear.as_ref().is_some_and(|ear| ear.wants_body());
        match &side.reading {
            _ if side.unsure || shown => 0,
            Reading::Length(left) => *left,
            Reading::Chunked(chunked) => chunked.unwanted(),
            Reading::Close | Reading::Held => u64::MAX,
            Reading::Between | Reading::Head(_) | Reading::Adrift(_) => 0,
        }
    }

    /// The sender of this direction is done.
    pub(super) fn fin(&mut self, record: &mut Record, direction: Direction) {
        let side = self.side(direction);
        let index = side.index;
        match side.reading {
            Reading::Close => self.complete(record, direction),
            Reading::Head(_) | Reading::Length(_) | Reading::Chunked(_) if direction == Direction::ToClient => {
                if let Some(ear) = &mut record.ear {
                    ear.cut_answer();
                }
            }
            // A guess, as with turns.
            Reading::Adrift(Belongs::Message) => record.finish(direction, index),
            _ => {}
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction.index()]
    }

    fn between(&mut self, record: &mut Record, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) -> Step {
        // RFC 9112 §2.2: CRLF before a request line is to be ignored; some clients send one after a POST body.
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            match direction {
                Direction::ToServer => record.trailing.add(bytes.get(..blank).unwrap_or_default()),
                Direction::ToClient => record.add_surplus(blank as u64, at),
            }
            return Step::Took(blank);
        }
        if let Some(step) = self.common_head(record, direction, offset, bytes, at) {
            return step;
        }
        let line = match direction {
            Direction::ToServer => head::request_line(bytes),
            Direction::ToClient => head::status_line(bytes),
        };
        if line == Line::No {
            return self.nonsense(record, direction, offset, bytes, at);
        }
        if !self.begin(record, direction, offset, at) {
            return Step::Turns(0);
        }
        self.side(direction).reading = Reading::Head(Vec::new());
        self.head(record, direction, offset, bytes, at)
    }

    /// A whole head of the common kind, at once.
    fn common_head(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Option<Step> {
        let bytes = bytes.get(..HEAD_MAX).unwrap_or(bytes);
        let (taken, tunnel) = match direction {
            Direction::ToServer => {
                let (line, fields, end) = scan::request(bytes)?;
                if !self.begin(record, direction, offset, at) {
                    return Some(Step::Turns(0));
                }
                let head_end = offset.saturating_add(end as u64);
                self.head_came(record, direction, head_end, at);
                let (head, framing) = line.understand(fields);
                self.request_head(record, &head, framing, head_end);
                (end, false)
            }
            Direction::ToClient => {
                let (line, fields, end) = scan::response(bytes)?;
                if !self.begin(record, direction, offset, at) {
                    return Some(Step::Turns(0));
                }
                let head_end = offset.saturating_add(end as u64);
                self.head_came(record, direction, head_end, at);
                let answers = Self::answers(record, self.side(direction).index);
                let (head, framing) = line.understand(fields, answers);
                (end, self.response_head(record, &head, framing, head_end, at))
            }
        };
        Some(if tunnel { Step::Turns(taken) } else { Step::Took(taken) })
    }

    /// Begins a message. False when too many requests wait for their responses.
    fn begin(&mut self, record: &mut Record, direction: Direction, offset: u64, at: PacketRef) -> bool {
        let message = Part::begin(offset, at, HeadDraft::Partial);
        let index = match direction {
            Direction::ToServer => {
                if record.ledger.open_len() >= PIPELINED_MAX {
                    record.lost_track.get_or_insert(at);
                    return false;
                }
                self.close_guessed_response(record);
                if let Some(ear) = &mut record.ear {
                    ear.request_begins(offset);
                }
                record.ledger.begin(Some(message), at)
            }
            Direction::ToClient => {
                if let Some(ear) = &mut record.ear {
                    ear.answer_begins(offset);
                }
                let index = record
                    .ledger
                    .answering()
                    .unwrap_or_else(|| record.ledger.begin(None, at));
                record.ledger.close_before(index);
                let requests = self.side(Direction::ToServer);
                let in_head = requests.index == index && matches!(requests.reading, Reading::Head(_));
                if let Some(exchange) = record.ledger.get(index) {
                    let unknown = exchange
                        .request
                        .as_mut()
                        .filter(|request| request.framing() == Framing::Unknown);
                    if let Some(request) = unknown.filter(|_| !in_head) {
                        // A guess; taken back when the client goes on.
                        request.finish_here();
                    }
                    exchange.response = Some(message);
                }
                index
            }
        };
        self.side(direction).index = index;
        true
    }

    /// The client goes on: a response of unknown framing was probably all there.
    fn close_guessed_response(&mut self, record: &mut Record) {
        let side = self.side(Direction::ToClient);
        if matches!(side.reading, Reading::Adrift(Belongs::Message)) {
            let index = side.index;
            record.finish(Direction::ToClient, index);
        }
    }

    fn head(&mut self, record: &mut Record, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) -> Step {
        let side = self.side(direction);
        let index = side.index;
        let Reading::Head(buffer) = &mut side.reading else {
            return Step::Took(bytes.len());
        };
        let mut buffer = std::mem::take(buffer);
        let known = buffer.len();
        let piece = bytes
            .get(..bytes.len().min(HEAD_MAX.saturating_sub(known)))
            .unwrap_or_default();
        let view = if known == 0 {
            piece
        } else {
            buffer.extend_from_slice(piece);
            &buffer
        };
        let end = head::head_end(view, known);
        let taken = end.map_or(piece.len(), |end| end.saturating_sub(known));
        // The line was checked when its LF came, unless it came now.
        let line_known = view.get(..known).is_some_and(|before| before.contains(&b'\n'));
        let line = match direction {
            _ if line_known => Line::Yes,
            Direction::ToServer => head::request_line(view),
            Direction::ToClient => head::status_line(view),
        };
        if line == Line::No {
            return self.nonsense(record, direction, offset, bytes, at);
        }
        if line == Line::Yes
            && end.is_none()
            && let Some(ear) = &mut record.ear
        {
            Self::line_came(ear, direction, view);
        }
        let Some(end) = end else {
            if direction == Direction::ToServer {
                record.trailing.add(piece);
            }
            record.grow(direction, index, offset.saturating_add(piece.len() as u64), at);
            if known == 0 {
                buffer.extend_from_slice(piece);
            }
            if buffer.len() >= HEAD_MAX {
                if self.cut(record, direction, &buffer) {
                    return Step::Turns(taken);
                }
            } else {
                self.side(direction).reading = Reading::Head(buffer);
            }
            return Step::Took(taken);
        };
        let whole = view.get(..end).unwrap_or_default();
        let head_end = offset.saturating_add(taken as u64);
        self.head_came(record, direction, head_end, at);
        let tunnel = match direction {
            Direction::ToServer => self.request(record, whole, head_end),
            Direction::ToClient => self.response(record, whole, head_end, at),
        };
        if tunnel { Step::Turns(taken) } else { Step::Took(taken) }
    }

    /// The head's last byte came.
    fn head_came(&mut self, record: &mut Record, direction: Direction, head_end: u64, at: PacketRef) {
        let index = self.side(direction).index;
        if direction == Direction::ToClient {
            return record.grow(direction, index, head_end, at);
        }
        // Not `Record::grow`: what is to be acknowledged is told by the head.
        if let Some(message) = record.message(direction, index) {
            message.grow(head_end, at);
        }
    }

    fn request(&mut self, record: &mut Record, whole: &[u8], head_end: u64) -> bool {
        let Some((head, framing)) = head::request(whole) else {
            return self.cut(record, Direction::ToServer, whole);
        };
        self.request_head(record, &head, framing, head_end);
        false
    }

    fn request_head(&mut self, record: &mut Record, head: &RequestFacts<'_>, framing: Framing, head_end: u64) {
        record.trailing.clear();
        if let Some(ear) = &mut record.ear {
            ear.request_head(head, head_end);
        }
        let connect = head.method == Method::Connect;
        let index = self.side(Direction::ToServer).index;
        record.ledger.set_request_head(index, head);
        self.enter(record, Direction::ToServer, head_end, framing);
        let side = self.side(Direction::ToServer);
        if connect && matches!(side.reading, Reading::Between) {
            side.reading = Reading::Held;
        }
    }

    /// True when a tunnel begins.
    fn response(&mut self, record: &mut Record, whole: &[u8], head_end: u64, at: PacketRef) -> bool {
        let index = self.side(Direction::ToClient).index;
        let Some((head, framing)) = head::response(whole, Self::answers(record, index)) else {
            return self.cut(record, Direction::ToClient, whole);
        };
        self.response_head(record, &head, framing, head_end, at)
    }

    /// True when a tunnel begins.
    fn response_head(
        &mut self,
        record: &mut Record,
        head: &ResponseFacts<'_>,
        framing: Framing,
        head_end: u64,
        at: PacketRef,
    ) -> bool {
        let index = self.side(Direction::ToClient).index;
        self.answered = true;
        if (100..200).contains(&head.status) && head.status != 101 {
            self.interim(record, index, head.status, at);
            return false;
        }
        if let Some(ear) = &mut record.ear {
            ear.answer_head(head, matches!(framing, Framing::None) && !head.says_empty);
        }
        record.ledger.announced = record
            .ledger
            .announced
            .saturating_add(u32::from(head.connection.closes()));
        record.ledger.set_response_head(index, head);
        self.enter(record, Direction::ToClient, head_end, framing);
        let in_length = matches!(framing, Framing::Length(_));
        self.side(Direction::ToClient).unsure = in_length && record.message(Direction::ToServer, index).is_none();
        self.release_held(record, framing == Framing::Tunnel);
        framing == Framing::Tunnel
    }

    fn answers(record: &mut Record, index: u32) -> Answers {
        let request = record.message(Direction::ToServer, index);
        match request.map(|request| &request.head) {
            Some(HeadDraft::Request(head)) if head.method == MethodDraft::Head => Answers::Head,
            Some(HeadDraft::Request(head)) if head.method == MethodDraft::Connect => Answers::Connect,
            _ => Answers::Ordinary,
        }
    }

    /// An interim response is not the response: the final one is still to begin.
    fn interim(&mut self, record: &mut Record, index: u32, status: u16, at: PacketRef) {
        self.side(Direction::ToClient).reading = Reading::Between;
        if let Some(ear) = &mut record.ear {
            ear.answer_is_none();
        }
        let Some(exchange) = record.ledger.get(index) else {
            return;
        };
        let head = exchange.response.take();
        exchange.add_interim((status == 100).then_some(at));
        if exchange.request.is_none() {
            // Its request was recorded behind it, or a final response is still to come that tells more.
            record.take_back_surplus(head.map_or(0, |head| head.seen.saturating_sub(head.start)));
            record.ledger.undo(index);
        }
    }

    /// The head is known: into the body.
    fn enter(&mut self, record: &mut Record, direction: Direction, head_end: u64, framing: Framing) {
        let index = self.side(direction).index;
        let Some(message) = record.message(direction, index) else {
            return;
        };
        message.enter(head_end, framing);
        if let Some(end) = message.end() {
            record.ledger.await_ack(direction, end);
        }
        self.side(direction).reading = match framing {
            Framing::None | Framing::Tunnel => return self.complete(record, direction),
            Framing::Length(length) => Reading::Length(length),
            Framing::Chunked => Reading::Chunked(Chunked::new()),
            Framing::Close => Reading::Close,
            Framing::Unknown => {
                record.lose();
                Reading::Adrift(Belongs::Message)
            }
        };
    }

    fn complete(&mut self, record: &mut Record, direction: Direction) {
        let side = self.side(direction);
        side.reading = Reading::Between;
        let index = side.index;
        record.finish(direction, index);
        if record.ear.is_some() {
            Self::tell_end(record, direction, index);
        }
        record.ledger.settle(index);
    }

    fn tell_end(record: &mut Record, direction: Direction, index: u32) {
        let end = record.message(direction, index).map_or(0, |message| message.seen);
        let Some(ear) = &mut record.ear else { return };
        match direction {
            Direction::ToServer => ear.request_ends(end),
            Direction::ToClient => ear.answer_ends(end),
        }
    }

    /// A start line came whose head is not all there.
    fn line_came(ear: &mut Ear, direction: Direction, view: &[u8]) {
        if direction == Direction::ToServer {
            ear.request_is_one();
        } else if view.get(9) != Some(&b'1') || view.get(9..12) == Some(b"101") {
            ear.answer_is_final();
        }
    }

    /// Bytes of a response's body, to whom may want to look at them.
    fn show(record: &mut Record, direction: Direction, bytes: &[u8]) {
        if direction == Direction::ToClient
            && let Some(ear) = &mut record.ear
        {
            ear.body(bytes);
        }
    }

    /// A status line where a body was expected: the request that was not seen was HEAD.
    fn without_body(&mut self, record: &mut Record) {
        let index = self.side(Direction::ToClient).index;
        if let Some(message) = record
            .message(Direction::ToClient, index)
            .filter(|m| Some(m.seen) == m.head_end())
        {
            message.set_framing(Framing::None);
            self.complete(record, Direction::ToClient);
        }
    }

    /// The head ended unseen, or is none that could be read. True when it began a tunnel nevertheless.
    fn cut(&mut self, record: &mut Record, direction: Direction, seen: &[u8]) -> bool {
        self.side(direction).reading = Reading::Adrift(Belongs::Message);
        record.lose();
        let index = self.side(direction).index;
        let cut = head::CutHead::of(seen);
        let mut status = None;
        if direction == Direction::ToServer {
            record.trailing.clear();
            if let Some(head) = cut.request() {
                record.ledger.set_request_head(index, &head);
            }
        } else if let Some(head) = cut.response() {
            status = Some(head.status);
            self.answered = true;
            if (100..200).contains(&head.status) && head.status != 101 {
                // Interim heads are short; where even they are cut, what follows is found by its status line.
                let at = record.ledger.begun(direction, index);
                self.interim(record, index, head.status, at);
                self.side(direction).reading = Reading::Adrift(Belongs::Nobody);
                return false;
            }
            record.ledger.announced = record
                .ledger
                .announced
                .saturating_add(u32::from(head.connection.closes()));
            record.ledger.set_response_head(index, &head);
        }
        let connect = direction == Direction::ToClient && Self::answers(record, index) == Answers::Connect;
        let tunnel = status == Some(101) || (connect && matches!(status, Some(200..=299)));
        if tunnel {
            self.complete(record, direction);
        }
        tunnel
    }

    fn chunked(
        &mut self,
        record: &mut Record,
        direction: Direction,
        mut chunked: Chunked,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Step {
        let read = match &mut record.ear {
            Some(ear) if direction == Direction::ToClient && ear.wants_body() => {
                chunked.read_data(bytes, &mut |data| ear.body(data))
            }
            _ => chunked.read(bytes),
        };
        let taken = match read {
            ChunkedRead::End(taken) => taken,
            ChunkedRead::More | ChunkedRead::Invalid => bytes.len(),
        };
        self.side(direction).reading = match read {
            ChunkedRead::Invalid => Reading::Adrift(Belongs::Message),
            _ => Reading::Chunked(chunked),
        };
        let index = self.side(direction).index;
        record.grow(direction, index, offset.saturating_add(taken as u64), at);
        match read {
            ChunkedRead::End(_) => self.complete(record, direction),
            ChunkedRead::Invalid => {
                record.lose();
                // Of an answer whose request was not seen (HEAD) it is not known whether chunks were to come, nor what follows it.
                let asked = record
                    .ledger
                    .get(index)
                    .is_some_and(|exchange| exchange.request.is_some());
                record.unseen_bounds |= !asked;
                record.broken_chunk |= asked && direction == Direction::ToClient && record.lost_track.is_none();
                record.lost_track.get_or_insert(at);
            }
            ChunkedRead::More => {}
        }
        Step::Took(taken)
    }

    /// Bytes of the current message (or of none) that are not looked at.
    fn pass(&mut self, record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        let side = self.side(direction);
        let index = side.index;
        let mut complete = false;
        match &mut side.reading {
            Reading::Length(left) => {
                *left = left.saturating_sub(len);
                complete = *left == 0;
            }
            Reading::Chunked(chunked) => {
                let within = chunked.skip(len);
                side.reading = if within {
                    Reading::Chunked(*chunked)
                } else {
                    record.lose_unseen();
                    Reading::Adrift(Belongs::Message)
                };
            }
            Reading::Adrift(Belongs::Nobody) => {
                return match direction {
                    Direction::ToServer => record.trailing.add_unseen(len),
                    Direction::ToClient => {
                        record.add_surplus(len, at);
                    }
                };
            }
            Reading::Adrift(Belongs::Before) => return,
            Reading::Held => {
                self.held.get_or_insert_with(|| Box::new((offset, at)));
                return record.trailing.add_unseen(len);
            }
            _ => {}
        }
        let seen = offset.saturating_add(len);
        record.grow(direction, index, seen, at);
        if direction == Direction::ToClient
            && let Some(ear) = &mut record.ear
        {
            ear.answer_reaches(seen);
        }
        if complete {
            self.complete(record, direction);
        }
    }

    /// Bytes that cannot begin a message.
    fn nonsense(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Step {
        record.lose();
        let begun = matches!(self.side(direction).reading, Reading::Head(_));
        let index = self.side(direction).index;
        match direction {
            Direction::ToServer => {
                let answered = record
                    .ledger
                    .get(index)
                    .is_some_and(|exchange| exchange.response.is_some());
                if begun && answered {
                    // Answered before it was whole: no request, but something that drew an answer.
                    self.side(direction).reading = Reading::Adrift(Belongs::Message);
                    self.pass(record, direction, offset, bytes.len() as u64, at);
                    return Step::Took(bytes.len());
                }
                if begun {
                    record.ledger.undo(index);
                }
                record.trailing.add(bytes);
                self.side(direction).reading = Reading::Adrift(Belongs::Nobody);
            }
            Direction::ToClient => {
                if !self.answered {
                    record.lost_track.get_or_insert(at);
                    if let Some(message) = record.message(direction, index).filter(|_| begun) {
                        message.head = HeadDraft::Opaque;
                    }
                    return Step::Turns(0);
                }
                let mut surplus = bytes.len();
                if begun {
                    surplus += self.take_back_response(record, index);
                }
                record.add_surplus(surplus as u64, at);
                self.side(direction).reading = Reading::Adrift(Belongs::Nobody);
            }
        }
        Step::Took(bytes.len())
    }

    /// A response that had begun is none. Returns how many bytes of it were not yet counted as surplus.
    fn take_back_response(&mut self, record: &mut Record, index: u32) -> usize {
        let Some(exchange) = record.ledger.get(index) else {
            return 0;
        };
        let seen = exchange
            .response
            .take()
            .map_or(0, |message| message.seen.saturating_sub(message.start));
        if exchange.request.is_some() {
            return usize::try_from(seen).unwrap_or(usize::MAX);
        }
        record.ledger.undo(index);
        0
    }

    fn begins_message(&self, direction: Direction, bytes: &[u8]) -> bool {
        match direction {
            Direction::ToServer => head::is_plain_request_line(bytes),
            Direction::ToClient => head::status_line(bytes) == Line::Yes,
        }
    }

    /// A segment begins with a start line: what was before it is over.
    fn resynchronise(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Step {
        let side = self.side(direction);
        let index = side.index;
        if matches!(side.reading, Reading::Adrift(Belongs::Message)) {
            record.finish(direction, index);
            if direction == Direction::ToClient {
                record.ledger.close_before(index.saturating_add(1));
            }
        }
        self.side(direction).reading = Reading::Between;
        self.between(record, direction, offset, bytes, at)
    }

    /// Bytes of a response of unknown framing are missing after the client went on: they are the next response, in all likelihood.
    fn missed_turn(&mut self, record: &mut Record, direction: Direction, offset: u64, at: PacketRef) {
        let index = self.side(direction).index;
        if direction == Direction::ToServer {
            return;
        }
        let Some(message) = record.message(direction, index) else {
            return;
        };
        if message.complete && !message.came_with(at) && record.ledger.answering().is_some() {
            self.begin(record, direction, offset, at);
        }
    }

    /// CONNECT was answered: what came after it is the tunnel's first turn, or not known to be anything.
    fn release_held(&mut self, record: &mut Record, tunnel: bool) {
        let held = self.held.take();
        let side = self.side(Direction::ToServer);
        if !matches!(side.reading, Reading::Held) {
            return;
        }
        side.reading = match held {
            None => Reading::Between,
            Some(_) => {
                record.lose();
                Reading::Adrift(Belongs::Nobody)
            }
        };
        if let Some((start, at)) = held.filter(|_| tunnel).map(|held| *held) {
            let len = record.trailing.len;
            record.trailing.clear();
            Turns::spoken(record, Direction::ToServer, start, len, at);
        }
    }
}
