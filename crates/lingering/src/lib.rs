//! Closes a connection so that nothing that was written is destroyed.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod limits;
mod outcome;
mod outq;
mod roster;
mod socket;
pub mod state;
#[cfg(feature = "tokio")]
mod tokio_streams;

pub use limits::Limits;
pub use outcome::{Counts, Ended, Outcome};
pub use socket::{so_linger, unread, unsent};
#[cfg(feature = "tokio")]
pub use tokio_streams::{Lingering, LingeringSet, Socket, SocketRef, Transport};
