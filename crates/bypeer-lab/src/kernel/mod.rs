//! The kernel's own account of a round: resets with their reasons, sockets that died, counters.

mod counters;
mod deaths;
mod reset_event;
mod tracefs;

pub use counters::Counters;
pub use deaths::{Death, Deaths};
pub use reset_event::{ResetEvent, ResetPath, path};
pub use tracefs::{ResetTrace, TraceUnavailable, find_tracefs, remove_instances_of, remove_leftovers};
