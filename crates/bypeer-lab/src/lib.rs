//! The lab: every cause on demand, on a real kernel, and the proof that a fix works.
//!
//! A [`scenario::Scenario`] says what hosts do and what the wire between them does. A [`round::Bench`] gives each host a network
//! namespace and joins them by a [`wire::Wire`]; a [`round::Round`] runs the scenario once and holds what everybody saw: the packets at
//! each end, the actors' accounts, the kernel's. Whether it showed its cause is decided from these alone ([`verdict`]), never from
//! bypeer's own findings.
//!
//! `docs/scenarios.md` describes the scenarios and the two small languages in them.

pub mod actor;
pub mod confine;
pub mod json;
pub mod kernel;
pub mod quantity;
pub mod round;
pub mod sandbox;
pub mod scenario;
pub mod statistics;
pub mod story;
pub mod tally;
pub mod tripwire;
pub mod verdict;
pub mod wire;
pub mod words;

mod leftovers;
mod link;
mod namespace;
mod process;
mod random;
mod round_error;
#[cfg(test)]
mod sample;
mod script_error;

pub use leftovers::{remove_folders_of, remove_stale_folders};
pub use namespace::Namespace;
pub use process::ActorProgram;
pub use script_error::ScriptError;
