use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bypeer_wire::Timestamp;

use super::packet::{ACK, PROTOCOL_TCP, Packet, SYN};

/// Where new ports come from when the host's own is taken.
const FIRST_OTHER_PORT: u16 = 20_000;

/// A NAT's table: a host's ends, and the ports of the wire's own address that stand for them.
///
/// It keeps state as boxes do that let no stray segment through: only a SYN makes an entry for TCP. What has none goes
/// nowhere, in either direction.
#[derive(Debug)]
pub(super) struct Translation {
    outside: Ipv4Addr,
    /// By protocol and inner end.
    ports: HashMap<(u8, SocketAddrV4), u16>,
    /// By protocol and outer port.
    inner: HashMap<(u8, u16), SocketAddrV4>,
    /// When a packet last passed, in either direction.
    used: HashMap<(u8, SocketAddrV4), Timestamp>,
}

impl Translation {
    pub(super) fn new(outside: Ipv4Addr) -> Translation {
        Translation {
            outside,
            ports: HashMap::new(),
            inner: HashMap::new(),
            used: HashMap::new(),
        }
    }

    /// Gives a packet from inside its outer source. `false`: it has no entry, and cannot make one.
    pub(super) fn outward(&mut self, now: Timestamp, packet: &mut Packet) -> bool {
        let Some((source, _)) = packet.ends() else {
            return false;
        };
        let protocol = packet.protocol();
        let port = match self.ports.get(&(protocol, source)) {
            Some(port) => *port,
            None if protocol == PROTOCOL_TCP && packet.flags() & (SYN | ACK) != SYN => return false,
            None => match self.add(protocol, source) {
                Some(port) => port,
                None => return false,
            },
        };
        self.used.insert((protocol, source), now);
        packet.set_source(SocketAddrV4::new(self.outside, port));
        true
    }

    /// Gives a packet for the outer address its inner destination. `false`: nobody is known behind that port.
    pub(super) fn inward(&mut self, now: Timestamp, packet: &mut Packet) -> bool {
        let Some((_, destination)) = packet.ends() else {
            return false;
        };
        match self.inner.get(&(packet.protocol(), destination.port())) {
            Some(inner) => {
                self.used.insert((packet.protocol(), *inner), now);
                packet.set_destination(*inner);
                true
            }
            None => false,
        }
    }

    /// Forgets all entries of one inner address.
    pub(super) fn forget(&mut self, address: Ipv4Addr) {
        self.ports.retain(|(_, inner), _| *inner.ip() != address);
        self.inner.retain(|_, inner| *inner.ip() != address);
    }

    /// Forgets the entries of one inner address that no packet used for `idle`. Returns whether there were any.
    pub(super) fn forget_idle(&mut self, address: Ipv4Addr, now: Timestamp, idle: Duration) -> bool {
        let old: Vec<(u8, SocketAddrV4)> = self
            .used
            .iter()
            .filter(|((_, inner), used)| *inner.ip() == address && now.since(**used) >= idle)
            .map(|(key, _)| *key)
            .collect();
        for key in &old {
            self.used.remove(key);
            if let Some(port) = self.ports.remove(key) {
                self.inner.remove(&(key.0, port));
            }
        }
        !old.is_empty()
    }

    fn add(&mut self, protocol: u8, inner: SocketAddrV4) -> Option<u16> {
        let free = |port: &u16| !self.inner.contains_key(&(protocol, *port));
        let port = Some(inner.port())
            .filter(free)
            .or_else(|| (FIRST_OTHER_PORT..=u16::MAX).find(free))?;
        self.ports.insert((protocol, inner), port);
        self.inner.insert((protocol, port), inner);
        Some(port)
    }
}
