//! The wire between the hosts: it forwards, delays, drops, holds and forges as its script says, and records what each end saw.
//!
//! The engine decides and neither reads a clock nor a socket; [`Wire`] is the thread that drives it.

mod connection;
mod engine;
mod forge;
mod packet;
mod path;
mod recording;
mod rule;
mod script;
mod socket;
mod strangers;
mod thread;
mod translation;

#[cfg(test)]
mod tests;

pub use recording::{RecordedFrame, Recording};
pub use script::Script;
pub use socket::PortSocket;
pub use thread::{Port, Wire};
