use super::draft::{HeadDraft, Part};
use super::exchange::Framing;
use super::framed::Framed;
use super::record::Record;
use super::turns::Turns;
use crate::{Direction, PacketRef};

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const TYPE_MAX: u8 = 11;
const KEEP_CONNECTION: u8 = 1;
/// Place of the flags in FCGI_BEGIN_REQUEST's content, after the role.
const FLAGS_AT: u64 = 2;

/// FastCGI records (FastCGI specification §3.3, §5), one request at a time as every known web server sends them.
///
/// A request's `head_end` is after its last `FCGI_PARAMS` record, its end after the empty `FCGI_STDIN`; a response ends with
/// `FCGI_END_REQUEST`. Framing is `Unknown` until a message is complete and then the length behind the head.
#[derive(Clone, Debug, Default)]
pub(super) struct FastCgi {
    sides: [Side; 2],
}

#[derive(Clone, Debug, Default)]
struct Side {
    framed: Framed<8>,
    kind: u8,
    /// Bytes of content, without padding.
    content: u16,
    /// Bytes of the record behind its header.
    len: u64,
    /// The exchange whose message is being read, when one is.
    index: Option<u32>,
}

impl FastCgi {
    /// Reads bytes of a segment. `Err`: these are no records; how many bytes were taken before.
    pub(super) fn data(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Result<(), usize> {
        let mut position = 0;
        while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
            let here = offset.saturating_add(position as u64);
            let side = self.side(direction);
            if side.framed.left > 0 {
                position += self.body(record, direction, here, rest, at);
                continue;
            }
            let (taken, whole) = side.framed.take(here, rest, at);
            if let Some(whole) = whole {
                let [1, kind @ 1..=TYPE_MAX, _, _, high, low, padding, _] = whole else {
                    let (start, begun) = (side.framed.start, side.framed.at);
                    side.framed.forget();
                    record.lost_track.get_or_insert(at);
                    // Bytes of this header that came with segments before.
                    Turns::spoken(record, direction, start, here.saturating_sub(start), begun);
                    return Err(position);
                };
                side.kind = kind;
                side.content = u16::from_be_bytes([high, low]);
                side.len = u64::from(side.content) + u64::from(padding);
                side.framed.left = side.len;
                self.begun(record, direction);
                self.grow(record, direction, here.saturating_add(taken as u64), at);
                if self.side(direction).len == 0 {
                    self.ended(record, direction);
                }
            }
            position += taken;
        }
        Ok(())
    }

    /// Passes over bytes that are not there. False when record borders are lost.
    pub(super) fn skip(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        len: u64,
        at: PacketRef,
    ) -> bool {
        let left = self.side(direction).framed.left;
        if left == 0 || len > left {
            record.lost_track.get_or_insert(at);
            return false;
        }
        self.pass(record, direction, offset, len, at);
        true
    }

    /// Bytes ahead that need not be seen: the rest of a record.
    pub(super) fn unwanted(&self, direction: Direction) -> u64 {
        let side = &self.sides[direction.index()];
        let flags_to_come = side.kind == BEGIN_REQUEST && side.framed.left + FLAGS_AT >= side.len;
        if flags_to_come { 0 } else { side.framed.left }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction.index()]
    }

    /// A record's header is whole.
    fn begun(&mut self, record: &mut Record, direction: Direction) {
        let side = self.side(direction);
        let (start, begun, kind) = (side.framed.start, side.framed.at, side.kind);
        let unknown = HeadDraft::FastCgi {
            keep_connection: false,
            stdin_ended: false,
        };
        match (direction, kind) {
            (Direction::ToServer, BEGIN_REQUEST) => {
                side.index = Some(record.ledger.begin(Some(Part::begin(start, begun, unknown)), begun));
            }
            (Direction::ToClient, STDOUT | STDERR | END_REQUEST) if side.index.is_none() => {
                let index = record
                    .ledger
                    .answering()
                    .unwrap_or_else(|| record.ledger.begin(None, begun));
                side.index = Some(index);
                if let Some(exchange) = record.ledger.get(index) {
                    let head = exchange
                        .request
                        .as_ref()
                        .map_or(unknown, |request| request.head.clone());
                    exchange.response = Some(Part::begin(start, begun, head));
                }
            }
            _ => {}
        }
    }

    fn body(&mut self, record: &mut Record, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) -> usize {
        let side = self.side(direction);
        let done = side.len - side.framed.left;
        if side.kind == BEGIN_REQUEST {
            let flags = FLAGS_AT
                .checked_sub(done)
                .and_then(|ahead| bytes.get(ahead as usize))
                .copied();
            let index = side.index.filter(|_| side.len > FLAGS_AT);
            let message = index.and_then(|index| record.message(direction, index));
            if let (Some(flags), Some(HeadDraft::FastCgi { keep_connection, .. })) =
                (flags, message.map(|m| &mut m.head))
            {
                *keep_connection = flags & KEEP_CONNECTION != 0;
            }
        }
        let here = self.side(direction).framed.left.min(bytes.len() as u64);
        self.pass(record, direction, offset, here, at);
        here as usize
    }

    fn pass(&mut self, record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        let here = self.side(direction).framed.pass(len);
        self.grow(record, direction, offset.saturating_add(here), at);
        if self.side(direction).framed.left == 0 {
            self.ended(record, direction);
        }
    }

    fn grow(&mut self, record: &mut Record, direction: Direction, seen: u64, at: PacketRef) {
        if let Some(index) = self.side(direction).index {
            record.grow(direction, index, seen, at);
        }
    }

    /// A record is whole.
    fn ended(&mut self, record: &mut Record, direction: Direction) {
        let side = self.side(direction);
        let (kind, empty) = (side.kind, side.content == 0);
        let Some(index) = side.index else { return };
        let Some(message) = record.message(direction, index) else {
            return;
        };
        let complete = match (direction, kind) {
            (Direction::ToServer, PARAMS) => {
                message.set_head_end(message.seen);
                false
            }
            (Direction::ToServer, STDIN) if empty => {
                if let HeadDraft::FastCgi { stdin_ended, .. } = &mut message.head {
                    *stdin_ended = true;
                }
                true
            }
            (Direction::ToClient, END_REQUEST) => true,
            _ => false,
        };
        if complete {
            let body = message.seen.saturating_sub(message.head_end().unwrap_or(message.start));
            message.set_framing(Framing::Length(body));
            side.index = None;
            record.finish(direction, index);
            record.ledger.settle(index);
        }
    }
}
