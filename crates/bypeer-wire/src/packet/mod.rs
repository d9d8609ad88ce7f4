//! Checked views of one packet: link layer, IP, tunnels, TCP, ICMP errors about TCP.

mod checksum;
mod decoder;
mod fragments;
mod icmp;
mod ip;
mod layer;
mod link;
mod segment;
mod tcp;
mod tunnel;

#[cfg(test)]
mod build;
#[cfg(test)]
mod tests;

pub use checksum::Checksum;
pub use decoder::{Decoded, Decoder};
pub use segment::{Flags, IcmpError, IcmpKind, Segment, TcpOptions};
