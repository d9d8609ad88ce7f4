use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::packet::{ACK, Packet, SYN};

/// Connections of a round beyond this are all let in.
const MOST_CONNECTIONS: usize = 65_536;

/// Tells a round's own segments from those of connections that earlier rounds left behind: the kernels of ended processes go on
/// sending FINs and data that nobody acknowledged, for minutes, and a host would answer them with resets.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Of the connections whose SYN was seen, both ways round.
    known: HashSet<(SocketAddrV4, SocketAddrV4)>,
    /// What a NAT translates is for the wire's own address, where the ends of a connection have other names.
    own_address: Ipv4Addr,
}

impl Strangers {
    pub(super) fn new(own_address: Ipv4Addr) -> Strangers {
        Strangers {
            known: HashSet::new(),
            own_address,
        }
    }

    /// Is a frame that a host sent a segment of a connection that did not begin in this round?
    pub(super) fn is_one(&mut self, frame: &[u8]) -> bool {
        let Some(packet) = Packet::parse(frame).filter(Packet::is_tcp) else {
            return false;
        };
        let Some((source, destination)) = packet.ends() else {
            return false;
        };
        if packet.flags() & (SYN | ACK) == SYN {
            if self.known.len() < 2 * MOST_CONNECTIONS {
                self.known.extend([(source, destination), (destination, source)]);
            }
            return false;
        }
        *destination.ip() != self.own_address
            && self.known.len() < 2 * MOST_CONNECTIONS
            && !self.known.contains(&(source, destination))
    }
}
