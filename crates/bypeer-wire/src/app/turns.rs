use super::draft::{HeadDraft, Part};
use super::exchange::Framing;
use super::record::Record;
use crate::{Direction, PacketRef};

/// Bytes that nobody understands, as turns: what the client sends until the server speaks, then what the server sends
/// until the client speaks again.
///
/// That a turn is complete is a guess, made when the other side begins to speak or the sender's FIN comes, and taken back
/// when the same side goes on; [`Framing::Unknown`] says so. A server may speak first (SMTP, MySQL): exchange without request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// What is on this connection is settled: do not look for HTTP or TLS in it any more.
    pub(super) settled: bool,
}

impl Turns {
    /// Turns to the end of the connection.
    pub(super) fn settled() -> Turns {
        Turns { settled: true }
    }

    /// `len` more bytes of a side.
    pub(super) fn spoken(record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        if len == 0 {
            return;
        }
        let index = match direction {
            Direction::ToServer => Self::client_turn(record, offset, at),
            Direction::ToClient => Self::server_turn(record, offset, at),
        };
        let Some(message) = record.ledger.message(direction, index) else {
            return;
        };
        // An unasked turn of the server is normal here and no surplus.
        message.grow(offset.saturating_add(len), at);
        let seen = message.seen;
        record.ledger.await_ack(direction, seen);
    }

    /// The sender of this direction is done.
    pub(super) fn fin(record: &mut Record, direction: Direction) {
        let Some(newest) = record.ledger.newest() else { return };
        let index = newest.index;
        let message = match direction {
            Direction::ToServer => newest.request.as_ref(),
            Direction::ToClient => newest.response.as_ref(),
        };
        if message.is_some_and(is_turn) {
            record.finish(direction, index);
        }
    }

    fn client_turn(record: &mut Record, offset: u64, at: PacketRef) -> u32 {
        if let Some(newest) = record.ledger.newest() {
            let index = newest.index;
            if newest.response.is_none() && newest.request.as_ref().is_some_and(is_turn) {
                return index;
            }
            if newest.response.as_ref().is_some_and(is_turn) {
                record.finish(Direction::ToClient, index);
                record.ledger.settle(index);
            }
        }
        record
            .ledger
            .begin(Some(Part::begin(offset, at, HeadDraft::Opaque)), at)
    }

    fn server_turn(record: &mut Record, offset: u64, at: PacketRef) -> u32 {
        if let Some(newest) = record.ledger.newest() {
            let index = newest.index;
            match &newest.response {
                Some(response) if is_turn(response) => return index,
                None => {
                    newest.response = Some(Part::begin(offset, at, HeadDraft::Opaque));
                    if newest.request.as_ref().is_some_and(is_turn) {
                        record.finish(Direction::ToServer, index);
                    }
                    return index;
                }
                // The answer to an upgrade, say: what follows is nobody's answer.
                Some(_) => {}
            }
        }
        let index = record.ledger.begin(None, at);
        if let Some(exchange) = record.ledger.get(index) {
            exchange.response = Some(Part::begin(offset, at, HeadDraft::Opaque));
        }
        index
    }
}

fn is_turn(message: &Part) -> bool {
    message.framing() == Framing::Unknown
}
