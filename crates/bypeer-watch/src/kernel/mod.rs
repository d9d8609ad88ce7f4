//! What the kernel tells without a program of ours in it: sockets that died (sock_diag), resets with their reasons (tracefs).

mod deaths;
mod listener;
mod listeners;
mod reset_event;
mod tcp_info;
mod tracefs;

pub use bypeer_diagnose::testimony::ResetPath;
pub use deaths::{Death, Deaths};
pub use listener::{Listener, listeners};
pub use listeners::Listeners;
pub use reset_event::{ResetEvent, TraceEvent, path};
pub use tcp_info::TcpInfo;
#[cfg(test)]
pub(crate) use tracefs::see_tracefs;
pub use tracefs::{ResetTrace, TraceUnavailable, find_tracefs, remove_instances_of, remove_leftovers};
