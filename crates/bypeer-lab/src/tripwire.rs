//! Scripts that a server loads, and that name the mechanism before an answer goes to the wrong client.

/// For Node 12 to 20: `node -r ./tripwire.js server.js`.
pub const NODE: &str = include_str!("../tripwires/node.js");
