use super::draft::Part;
use super::ear::Ear;
use super::exchange::{Application, Protocol, Tls};
use super::ledger::Ledger;
use crate::{Direction, PacketRef};

/// What a conversation has established so far; every protocol's parser writes into it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) protocol: Protocol,
    pub(super) ledger: Ledger,
    pub(super) tls: Option<Box<Tls>>,
    pub(super) lost_track: Option<PacketRef>,
    pub(super) unseen_bounds: bool,
    pub(super) broken_chunk: bool,
    pub(super) surplus_response_bytes: u64,
    pub(super) trailing: Trailing,
    /// Where somebody listens.
    pub(super) ear: Option<Box<Ear>>,
}

impl Record {
    /// Bytes of a message up to `seen` were sent. Response bytes that nobody asked for are counted.
    pub(super) fn grow(&mut self, direction: Direction, index: u32, seen: u64, at: PacketRef) {
        let unasked = direction == Direction::ToClient
            && self
                .ledger
                .get(index)
                .is_some_and(|exchange| exchange.request.is_none());
        let Some(message) = self.ledger.message(direction, index) else {
            return;
        };
        let grown = seen.saturating_sub(message.seen);
        message.grow(seen, at);
        if let Some(end) = message.ack_of_interest() {
            self.ledger.await_ack(direction, end);
        }
        if unasked {
            self.add_surplus(grown, at);
        }
    }

    /// Response bytes that nobody asked for. Before the first request that was seen nothing is surplus: it may answer one
    /// from before the capture, or say that the server did not want to wait for one.
    pub(super) fn add_surplus(&mut self, len: u64, at: PacketRef) {
        if self.ledger.asked && len > 0 {
            self.ledger.unasked_begins(at);
            self.surplus_response_bytes = self.surplus_response_bytes.saturating_add(len);
        }
    }

    /// They are no response, but go before one.
    pub(super) fn take_back_surplus(&mut self, len: u64) {
        self.surplus_response_bytes = self.surplus_response_bytes.saturating_sub(len);
        if self.surplus_response_bytes == 0 {
            self.ledger.forget_unasked();
        }
    }

    /// Somebody listens, and need not from here on: nothing that comes could be told.
    pub(super) fn lose(&mut self) {
        if let Some(ear) = &mut self.ear {
            ear.lose();
        }
    }

    /// The same, because bytes are not there that would have said where a message ends.
    pub(super) fn lose_unseen(&mut self) {
        self.unseen_bounds = true;
        self.lose();
    }

    /// A message is complete where it stands.
    pub(super) fn finish(&mut self, direction: Direction, index: u32) {
        let Some(message) = self.ledger.message(direction, index) else {
            return;
        };
        message.finish_here();
        let (end, acked) = (message.seen, message.is_acked());
        if !acked {
            self.ledger.await_ack(direction, end);
        }
    }

    /// The message of an exchange, if kept.
    pub(super) fn message(&mut self, direction: Direction, index: u32) -> Option<&mut Part> {
        self.ledger.message(direction, index)
    }

    /// The result.
    pub(super) fn into_application(self) -> Application {
        Application {
            protocol: self.protocol,
            exchanges: self.ledger.into_exchanges(),
            tls: self.tls.map(|tls| *tls),
            lost_track: self.lost_track,
            unseen_bounds: self.unseen_bounds,
            broken_chunk: self.broken_chunk,
            surplus_response_bytes: self.surplus_response_bytes,
            trailing_request_bytes: self.trailing.kept().to_vec(),
            trailing_request_len: self.trailing.len,
        }
    }
}

/// Client bytes after the last complete request: how many, and the first of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailing {
    first: [u8; 8],
    kept: u8,
    pub(super) len: u64,
}

impl Trailing {
    /// More of them.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // Only as long as no byte was missing in between.
        if self.len == u64::from(self.kept) {
            for (slot, byte) in self.first.iter_mut().skip(usize::from(self.kept)).zip(bytes) {
                *slot = *byte;
                self.kept += 1;
            }
        }
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// More of them, not available.
    pub(super) fn add_unseen(&mut self, len: u64) {
        self.len = self.len.saturating_add(len);
    }

    /// They became a request.
    pub(super) fn clear(&mut self) {
        *self = Trailing::default();
    }

    fn kept(&self) -> &[u8] {
        self.first.get(..usize::from(self.kept)).unwrap_or(&[])
    }
}
