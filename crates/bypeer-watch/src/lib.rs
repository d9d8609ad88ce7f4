//! Kernel events → what each end's kernel says of connections that died.
//!
//! The kernel part (`bpf/`) is loaded where the caller may ([`Tier`]); elsewhere the kernel is asked by the ways that need less. Whatever
//! the source, the outcome is a [`bypeer_diagnose::Testimony`]: this crate judges nothing.

#![cfg(target_os = "linux")]

pub mod backlog;
pub mod bpf;
pub mod clock;
pub mod docket;
pub mod event;
pub mod heard;
pub mod kernel;
pub mod metrics;
pub mod owner;
pub mod privileges;
mod recent;
pub mod ring;
pub mod sock_diag;
pub mod source;
pub mod stack;
pub mod tracefs;
pub mod witness;

/// How much the kernel part records, and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Resets, failures, and who closed: nothing for connections that stay healthy but a note when they are closed.
    #[default]
    Resets,
    /// Also each socket's reads, writes and state changes, and descriptors that change hands.
    Calls,
    /// Also the first bytes of what was read and written.
    Payload,
}
