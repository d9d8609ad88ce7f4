//! For tokio's streams.

mod held;
mod set;
mod transport;
mod wrapper;

pub use set::LingeringSet;
pub use transport::{Socket, SocketRef, Transport};
pub use wrapper::Lingering;
