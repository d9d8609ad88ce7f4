/// What other connections of the same server did around a connection.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {}
