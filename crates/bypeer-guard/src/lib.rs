//! `bypeer guard`: a reverse proxy that closes right, in front of a server or a client that cannot be changed.
//!
//! Each worker is a thread with an event loop of its own, and has its own connections to the server: nothing on the way of a request
//! is shared between threads but the listening sockets, the learned [habits](upstream) and counters.
//!
//! ```text
//! client ──► front (hyper: HTTP/1.0, 1.1, 2; TLS) ──► exchange (what a proxy must do to a message) ──► upstream ──► server
//!              │ every close goes to a `lingering` set                     our own HTTP/1 connection, pool, retry
//!              └─────────────── account of each exchange ──► log, metrics, Proxy-Status, findings ◄──────┘
//! ```

pub mod account;
pub mod config;
mod descriptors;
mod exchange;
pub mod failure;
mod front;
pub mod guard;
pub mod handover;
pub mod listener;
pub mod say;
pub mod upstream;
mod worker;
