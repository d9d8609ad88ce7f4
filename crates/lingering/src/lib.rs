//! Closes a connection so that nothing that was written is destroyed.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocking;
mod body;
mod closer;
mod limits;
mod outcome;
mod outq;
mod poller;
mod roster;
#[cfg(test)]
mod simulation;
mod socket;
pub mod state;
#[cfg(feature = "tokio")]
mod tokio_streams;

pub use blocking::close;
#[cfg(feature = "http-body")]
pub use body::drain_http_body;
pub use body::{Drained, drain_body};
pub use closer::Closer;
pub use limits::Limits;
pub use outcome::{Counts, Ended, Outcome};
pub use socket::{so_linger, unread, unsent};
#[cfg(feature = "tokio")]
pub use tokio_streams::{Lingering, LingeringSet, Socket, SocketRef, Transport};
