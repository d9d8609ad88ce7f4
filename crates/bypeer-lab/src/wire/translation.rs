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

/// The table of a NAT behind which a server is published: a port of the NAT's address, as a container's on its machine.
///
/// A SYN to the public address makes an entry. Without one nothing is changed: what the server sends leaves from the
/// server's own address, as a machine sends it whose table was flushed, and what comes for the public address stays there.
#[derive(Debug, Default)]
pub(super) struct Publications {
    /// By the client's end, and the server's by its own address: when a packet last passed, in either direction.
    entries: HashMap<(SocketAddrV4, SocketAddrV4), Timestamp>,
}

impl Publications {
    /// Gives a packet for the public address the server's. `false`: it has no entry, and cannot make one.
    pub(super) fn inward(&mut self, now: Timestamp, inner: Ipv4Addr, packet: &mut Packet) -> bool {
        let Some((source, destination)) = packet.ends().filter(|_| packet.is_tcp()) else {
            return false;
        };
        let ends = (source, SocketAddrV4::new(inner, destination.port()));
        if packet.flags() & (SYN | ACK) != SYN && !self.entries.contains_key(&ends) {
            return false;
        }
        self.entries.insert(ends, now);
        packet.set_destination(ends.1);
        true
    }

    /// Gives a packet of the server the public source, where it has an entry.
    pub(super) fn outward(&mut self, now: Timestamp, public: Ipv4Addr, packet: &mut Packet) {
        if let Some((source, destination)) = packet.ends()
            && let Some(used) = self.entries.get_mut(&(destination, source))
        {
            *used = now;
            packet.set_source(SocketAddrV4::new(public, source.port()));
        }
    }

    /// Forgets all entries of one server.
    pub(super) fn forget(&mut self, inner: Ipv4Addr) {
        self.entries.retain(|(_, server), _| *server.ip() != inner);
    }

    /// Forgets the entries of one server that no packet used for `idle`. Returns whether there were any.
    pub(super) fn forget_idle(&mut self, inner: Ipv4Addr, now: Timestamp, idle: Duration) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(_, server), used| *server.ip() != inner || now.since(*used) < idle);
        self.entries.len() < before
    }
}
