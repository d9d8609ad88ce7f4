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
    /// Public addresses, and the servers' own that are published there: a connection has both names.
    published: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Strangers {
    pub(super) fn new(own_address: Ipv4Addr, published: Vec<(Ipv4Addr, Ipv4Addr)>) -> Strangers {
        Strangers {
            known: HashSet::new(),
            own_address,
            published,
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
                let of = self.published.iter().filter(|(public, _)| public == destination.ip());
                for inner in of.map(|(_, inner)| SocketAddrV4::new(*inner, destination.port())) {
                    self.known.extend([(source, inner), (inner, source)]);
                }
            }
            return false;
        }
        *destination.ip() != self.own_address
            && self.known.len() < 2 * MOST_CONNECTIONS
            && !self.known.contains(&(source, destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ([u8; 4], u16) = ([198, 18, 0, 1], 40000);
    const SERVER: ([u8; 4], u16) = ([198, 18, 0, 2], 8000);
    const OWN: ([u8; 4], u16) = ([198, 18, 0, 254], 50000);

    /// An Ethernet frame with nothing but headers; nobody looks at its checksums.
    fn frame(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[17] = 40;
        frame[23] = 6;
        frame[26..30].copy_from_slice(&from.0);
        frame[30..34].copy_from_slice(&to.0);
        frame[34..36].copy_from_slice(&from.1.to_be_bytes());
        frame[36..38].copy_from_slice(&to.1.to_be_bytes());
        frame[46] = 5 << 4;
        frame[47] = flags;
        frame
    }

    #[test]
    fn connections_that_began_in_the_round_are_none_and_others_are() {
        let mut strangers = Strangers::new(OWN.0.into(), vec![]);
        assert!(strangers.is_one(&frame(SERVER, CLIENT, ACK)), "left behind by a server");
        assert!(strangers.is_one(&frame(SERVER, CLIENT, SYN | ACK)), "half a handshake");
        assert!(!strangers.is_one(&frame(CLIENT, SERVER, SYN)));
        assert!(!strangers.is_one(&frame(SERVER, CLIENT, SYN | ACK)));
        assert!(!strangers.is_one(&frame(CLIENT, SERVER, ACK)));
        assert!(strangers.is_one(&frame((CLIENT.0, 40001), SERVER, ACK)), "another port");
    }

    #[test]
    fn a_published_server_is_known_by_both_addresses() {
        let inner: ([u8; 4], u16) = ([198, 18, 0, 3], SERVER.1);
        let mut strangers = Strangers::new(OWN.0.into(), vec![(SERVER.0.into(), inner.0.into())]);
        assert!(strangers.is_one(&frame(inner, CLIENT, ACK)));
        assert!(!strangers.is_one(&frame(CLIENT, SERVER, SYN)));
        assert!(!strangers.is_one(&frame(SERVER, CLIENT, SYN | ACK)));
        assert!(!strangers.is_one(&frame(inner, CLIENT, ACK)));
        assert!(
            !strangers.is_one(&frame(CLIENT, inner, ACK)),
            "a reset for the server's own"
        );
    }

    #[test]
    fn what_is_no_tcp_and_what_is_translated_passes() {
        let mut strangers = Strangers::new(OWN.0.into(), vec![]);
        assert!(!strangers.is_one(&frame(SERVER, OWN, ACK)));
        let mut icmp = frame(SERVER, CLIENT, 0);
        icmp[23] = 1;
        assert!(!strangers.is_one(&icmp));
        assert!(!strangers.is_one(&[0; 14]));
    }
}
