//! The lab: every cause on demand, on a real kernel, and the proof that a fix works.
//!
//! A [`scenario::Scenario`] says what hosts do and what the wire between them does. A [`Sandbox`] gives each host a network
//! namespace and joins them by a [`wire::Wire`]; a round runs the scenario once and returns what everybody saw: the packets at
//! each end, the actors' accounts, the kernel's. Whether the round showed its cause is decided from these alone, never from
//! bypeer's own findings.
//!
//! `docs/scenarios.md` describes the scenarios and the two small languages in them.

pub mod actor;
pub mod kernel;
pub mod quantity;
pub mod scenario;
pub mod statistics;
pub mod wire;

mod script_error;

pub use script_error::ScriptError;
