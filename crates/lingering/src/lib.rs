//! Closes a connection so that nothing that was written is destroyed.
//!
//! A close with received bytes unread, or followed by bytes that arrive later, makes the kernel send a reset (RFC 1122
//! 4.2.2.13, RFC 2525 2.17). A client that is still sending sees its write fail, and may never see the answer. RFC 9112 9.6
//! has the remedy: `shutdown(SHUT_WR)`, then read until the peer closes too or some time is over, then close. This crate does
//! that, with [`Limits`], and says what became of it: [`Outcome`].
//!
//! - [`close`]: one blocking socket, in this thread.
//! - [`Closer`]: thousands, in one thread.
#![cfg_attr(
    feature = "tokio",
    doc = "- [`Lingering`]: around a stream that hyper, axum or another server reads and writes."
)]
#![cfg_attr(
    feature = "tokio",
    doc = "- [`LingeringSet`]: thousands of tokio's streams, in one task; also with TLS."
)]
#![cfg_attr(
    not(feature = "tokio"),
    doc = "- With the feature `tokio`: `Lingering` and `LingeringSet`, for tokio's streams."
)]
//! - [`drain_body`]: a request body, so that the connection can be kept. For `http_body::Body` with the feature `http-body`.
//! - [`unread`], [`unsent`], [`so_linger`]: what a close would meet.
//! - [`state`]: the close as a state machine, for drivers of one's own.
//!
//! # What it promises
//!
//! What was written arrives whole at a peer that reads it, or the outcome names the bound, or the peer's own reset, that cut
//! it. Never longer than [`Limits::total`]; never more connections than a set was told to hold; and after
//! [`Ended::Eof`] no reset, and on Linux nothing that is not acknowledged: a peer that half-closed early is waited for.
//!
//! # Systems
//!
//! Linux in full. Elsewhere [`unsent`] is `None`, so that a peer that only reads counts as silent and one that half-closed
//! is at its end before it has everything, and what is drained is copied first. It was never run on Windows, macOS or a BSD.
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
