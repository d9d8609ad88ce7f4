//! The upstream against servers that do what they should not, over sockets of the loopback.

#![allow(clippy::unwrap_used)]

mod answers;
mod connections;
mod early;
mod http2;
mod learning;
mod requests;
mod stale;
mod support;
