use crate::app::Application;
use crate::{Direction, PacketRef};

/// Placeholder of the application layer: takes a connection's bytes in order and makes nothing of them.
#[derive(Default, Debug)]
pub struct Conversation;

impl Conversation {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self
    }

    /// In-order payload of one direction.
    pub fn data(&mut self, _direction: Direction, _offset: u64, _bytes: &[u8], _at: PacketRef) {}

    /// In-order bytes that exist but are not available or not wanted.
    pub fn skip(&mut self, _direction: Direction, _offset: u64, _len: u64, _at: PacketRef) {}

    /// How many of the next bytes of this direction need not be seen.
    pub fn unwanted(&self, _direction: Direction) -> u64 {
        0
    }

    /// The other side acknowledged `direction` up to `offset` (exclusive).
    pub fn acked(&mut self, _direction: Direction, _offset: u64, _at: PacketRef) {}

    /// The next offset whose acknowledgement matters; `u64::MAX` when none.
    pub fn next_ack_of_interest(&self, _direction: Direction) -> u64 {
        u64::MAX
    }

    /// The direction's stream ended in order.
    pub fn fin(&mut self, _direction: Direction, _at: PacketRef) {}

    /// The bytes show that the roles are the other way round.
    pub fn roles_reversed(&self) -> bool {
        false
    }

    /// Client and server change places.
    pub fn swap_roles(&mut self) {}

    /// What was said.
    pub fn finish(self) -> Application {
        Application::default()
    }
}
