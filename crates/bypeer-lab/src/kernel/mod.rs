//! The kernel's own account of a round: resets with their reasons, sockets that died, counters.

mod counters;

pub use bypeer_watch::kernel::{
    Death, Deaths, ResetEvent, ResetPath, ResetTrace, TraceUnavailable, find_tracefs, path, remove_instances_of,
    remove_leftovers,
};
pub use counters::Counters;
