use bypeer_wire::conn::Connection;

use crate::Surroundings;

/// One connection, all that was seen of it, and what is known of its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// What other connections of the same server did around it.
    pub around: &'a Surroundings,
}
