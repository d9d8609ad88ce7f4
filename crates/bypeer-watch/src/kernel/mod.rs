//! What the kernel tells without a program of ours in it: sockets that died (sock_diag), resets with their reasons (tracefs).

mod deaths;
mod reset_event;
mod tracefs;

pub use bypeer_diagnose::testimony::ResetPath;
pub use deaths::{Death, Deaths};
pub use reset_event::{ResetEvent, path};
pub use tracefs::{ResetTrace, TraceUnavailable, find_tracefs, remove_instances_of, remove_leftovers};
