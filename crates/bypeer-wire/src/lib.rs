//! Captured bytes → packets → TCP connections → the exchanges on them.
//!
//! Everything is *pushed* in: this crate performs no IO, reads no clock, prints nothing and does not panic
//! on any input. What it could not understand becomes a counted [`Issue`], never silence.
//!
//! ```text
//! capture::Parser ─► packet::Decoder ─► conn::Table ─► conn::Connection (with app::Application inside)
//! ```

pub mod app;
pub mod capture;
pub mod conn;
pub mod packet;

mod endpoint;
mod issue;
mod seq;
mod time;

pub use endpoint::{Direction, Endpoint};
pub use issue::{Issue, Issues};
pub use seq::Seq;
pub use time::{PacketRef, Timestamp};
