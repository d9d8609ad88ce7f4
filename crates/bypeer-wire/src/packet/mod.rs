//! Checked views of one packet: link layer, IP, tunnels, TCP, ICMP errors about TCP.

mod segment;

pub use segment::{Flags, IcmpError, IcmpKind, Segment, TcpOptions};
