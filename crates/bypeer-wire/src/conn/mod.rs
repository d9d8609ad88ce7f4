//! TCP connections: who, when, how many bytes, in which order it ended, and with what kind of reset.
//!
//! [`Table`] takes segments and makes a [`Connection`] of those that belong together.

mod assembler;
mod connection;
mod delivery;
mod duplicates;
mod expiry;
mod half;
mod notes;
mod numbering;
mod resets;
mod table;
mod tracker;
mod vantage;

pub use connection::{
    Connection, Ending, Fin, Flow, Handshake, IcmpNote, Marks, Reset, ResetShape, ResetValidity, Roles, SegmentNote,
    Timeline,
};
pub use table::{Limits, Table};
pub use vantage::Vantages;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testkit;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_endings;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_notices;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_random;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_unusual;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_vantage;
