//! A dialogue as packets: what two hosts would send, and what happens to it on the way into a capture.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bypeer_wire::capture::LinkType;
use bypeer_wire::{Direction, Endpoint, PacketRef, Timestamp};
use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, TcpOptionElement, ip_number};

use super::{Captured, Random};

pub const MILLISECOND: i64 = 1_000_000;
const MICROSECOND: i64 = 1_000;

/// A line of a dialogue.
#[derive(Clone, Debug)]
pub enum Said {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Fin(Direction),
    Reset(Direction),
}

pub fn c(bytes: impl AsRef<[u8]>) -> Said {
    Said::Client(bytes.as_ref().to_vec())
}

pub fn s(bytes: impl AsRef<[u8]>) -> Said {
    Said::Server(bytes.as_ref().to_vec())
}

pub const CLIENT_FIN: Said = Said::Fin(Direction::ToServer);
pub const SERVER_FIN: Said = Said::Fin(Direction::ToClient);

/// How two hosts talk.
#[derive(Clone, Copy, Debug)]
pub struct Hosts {
    pub v6: bool,
    pub ports: [u16; 2],
    /// Sequence numbers of the first payload byte of client and server.
    pub initial: [u32; 2],
    /// Longest segment; with `usize::MAX` each line of a dialogue is one.
    pub segment: usize,
    pub timestamps: bool,
}

impl Hosts {
    pub fn endpoint(&self, direction: Direction) -> Endpoint {
        let side = direction.index();
        let addr = if self.v6 {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1 + side as u16))
        } else {
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + side as u8))
        };
        Endpoint {
            addr,
            port: self.ports[side],
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

/// A packet, its numbers as offsets in the streams: a SYN is at −1.
#[derive(Clone, Debug)]
pub struct Packet {
    pub time: i64,
    pub direction: Direction,
    pub bits: Bits,
    pub seq: i64,
    pub ack: i64,
    pub payload: Vec<u8>,
    pub id: u16,
    pub ttl: u8,
    pub clock: u32,
    /// Another copy of the packet before, not a packet of its own.
    pub copy: bool,
}

impl Packet {
    pub fn end(&self) -> i64 {
        self.seq + self.payload.len() as i64
    }

    /// Payload, not sent before.
    pub fn is_data(&self) -> bool {
        !self.payload.is_empty()
    }
}

/// The packets of one connection in the order in which they cross the wire, and what either side has sent by then.
pub struct Wire<'r> {
    pub packets: Vec<Packet>,
    random: &'r mut Random,
    sent: [i64; 2],
    fin: [bool; 2],
    streams: [Vec<u8>; 2],
    now: i64,
    id: u16,
}

/// What happens between the hosts, seen by both: it is part of what is captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    /// Segments are sent again: as they were, or with other boundaries.
    pub retransmissions: bool,
    /// Idle sides probe each other.
    pub keep_alive: bool,
}

/// Plays a dialogue.
pub fn play(dialogue: &[Said], hosts: &Hosts, troubles: Troubles, random: &mut Random) -> Vec<Packet> {
    let mut wire = Wire {
        packets: Vec::new(),
        random,
        sent: [0; 2],
        fin: [false; 2],
        streams: [Vec::new(), Vec::new()],
        now: 1_700_000_000_000 * MILLISECOND,
        id: 1,
    };
    wire.greet();
    for said in dialogue {
        match said {
            Said::Client(bytes) => wire.say(Direction::ToServer, bytes, hosts, troubles),
            Said::Server(bytes) => wire.say(Direction::ToClient, bytes, hosts, troubles),
            Said::Fin(direction) => wire.close(*direction, troubles),
            Said::Reset(direction) => {
                wire.acknowledge(*direction);
                wire.acknowledge(direction.reverse());
                let bits = Bits {
                    rst: true,
                    ack: true,
                    ..Bits::default()
                };
                let seq = wire.next(*direction);
                wire.send(*direction, bits, seq, Vec::new());
            }
        }
        if troubles.keep_alive && wire.random.once_in(3) && wire.packets.last().is_some_and(|packet| !packet.bits.rst) {
            wire.probe();
        }
    }
    if wire.packets.last().is_some_and(|packet| !packet.bits.rst) {
        wire.acknowledge(Direction::ToServer);
        wire.acknowledge(Direction::ToClient);
    }
    wire.packets
}

const ACK: Bits = Bits {
    ack: true,
    syn: false,
    fin: false,
    rst: false,
};

impl Wire<'_> {
    fn next(&self, direction: Direction) -> i64 {
        self.sent[direction.index()] + i64::from(self.fin[direction.index()])
    }

    fn send(&mut self, direction: Direction, bits: Bits, seq: i64, payload: Vec<u8>) {
        self.now += 5 * MILLISECOND + (self.random.below(10_000) as i64) * MICROSECOND;
        self.id += 1;
        self.packets.push(Packet {
            time: self.now,
            direction,
            bits,
            seq,
            ack: if bits.ack { self.next(direction.reverse()) } else { 0 },
            payload,
            id: self.id,
            ttl: 64,
            clock: (self.now / MILLISECOND) as u32,
            copy: false,
        });
    }

    fn greet(&mut self) {
        let syn = Bits {
            syn: true,
            ..Bits::default()
        };
        self.send(Direction::ToServer, syn, -1, Vec::new());
        self.send(Direction::ToClient, Bits { ack: true, ..syn }, -1, Vec::new());
        self.acknowledge(Direction::ToServer);
    }

    fn acknowledge(&mut self, by: Direction) {
        let seq = self.next(by);
        self.send(by, ACK, seq, Vec::new());
    }

    fn say(&mut self, direction: Direction, bytes: &[u8], hosts: &Hosts, troubles: Troubles) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = if hosts.segment == usize::MAX {
                (rest, &[][..])
            } else {
                rest.split_at(1 + self.random.below(hosts.segment.min(rest.len())))
            };
            let seq = self.sent[direction.index()];
            self.sent[direction.index()] += now.len() as i64;
            self.streams[direction.index()].extend_from_slice(now);
            self.send(direction, ACK, seq, now.to_vec());
            rest = later;
            if troubles.retransmissions && self.random.once_in(4) {
                self.send_again(direction);
            }
            if self.random.once_in(2) {
                self.acknowledge(direction.reverse());
            }
        }
    }

    /// Some of what was sent lately, after a timeout.
    fn send_again(&mut self, direction: Direction) {
        let stream = &self.streams[direction.index()];
        let end = stream.len() - self.random.below(stream.len().min(300));
        // Not the last byte alone: that would be a keep-alive probe.
        let start = end.saturating_sub(2 + self.random.below(2_000));
        if end - start < 2 {
            return;
        }
        let again = stream[start..end].to_vec();
        self.now += 250 * MILLISECOND;
        self.send(direction, ACK, start as i64, again);
    }

    fn close(&mut self, direction: Direction, troubles: Troubles) {
        let seq = self.sent[direction.index()];
        let bits = Bits { fin: true, ..ACK };
        self.send(direction, bits, seq, Vec::new());
        let twice = troubles.retransmissions && self.random.once_in(2);
        if twice {
            self.now += 250 * MILLISECOND;
            self.send(direction, bits, seq, Vec::new());
        }
        self.fin[direction.index()] = true;
        self.acknowledge(direction.reverse());
    }

    /// An ACK of all, a probe, and its answer.
    fn probe(&mut self) {
        let by = [Direction::ToServer, Direction::ToClient][self.random.below(2)];
        if self.fin[by.index()] || self.sent[by.index()] == 0 {
            return;
        }
        self.acknowledge(by.reverse());
        self.now += 20_000 * MILLISECOND;
        let garbage = vec![0; self.random.below(2)];
        let seq = self.next(by) - 1;
        self.send(by, ACK, seq, garbage);
        self.acknowledge(by.reverse());
    }
}

/// Neighbours of one direction change places, within the patience of a capture that reads several queues.
pub fn reorder(packets: &mut [Packet], random: &mut Random) {
    let mut at = 1;
    while at < packets.len() {
        let [one, other] = [&packets[at - 1], &packets[at]];
        let may = one.direction == other.direction && !one.bits.syn && !one.bits.rst && !other.bits.rst;
        if may && random.once_in(3) {
            packets.swap(at - 1, at);
            packets[at - 1].time = packets[at].time;
            packets[at].time += (1 + random.below(400) as i64) * MICROSECOND;
            at += 1;
        }
        at += 1;
    }
}

/// An ACK is captured before what it acknowledges.
pub fn acks_first(packets: &mut [Packet], random: &mut Random) {
    for at in 4..packets.len() {
        let [one, other] = [&packets[at - 1], &packets[at]];
        let swapped = one.time + 400 * MICROSECOND > other.time;
        let may = one.direction != other.direction && one.is_data() && other.bits == ACK && !other.is_data();
        if may && !swapped && random.once_in(2) {
            packets.swap(at - 1, at);
            packets[at - 1].time = packets[at].time;
            packets[at].time += (1 + random.below(400) as i64) * MICROSECOND;
        }
    }
}

/// Every packet twice, the second one hop on. Returns how many copies there are.
pub fn mirror(packets: &mut Vec<Packet>) -> u64 {
    let copies = packets.len() as u64;
    *packets = std::mem::take(packets)
        .into_iter()
        .flat_map(|packet| {
            let copy = Packet {
                time: packet.time + 30 * MICROSECOND,
                ttl: packet.ttl - 1,
                copy: true,
                ..packet.clone()
            };
            [packet, copy]
        })
        .collect();
    copies
}

/// Frames as captured; `snap` bytes of each.
pub fn capture(packets: &[Packet], hosts: &Hosts, snap: usize) -> Vec<Captured> {
    packets
        .iter()
        .enumerate()
        .map(|(index, packet)| {
            let mut data = frame(packet, hosts);
            let original_len = data.len() as u32;
            data.truncate(snap);
            Captured {
                at: PacketRef {
                    number: index as u64 + 1,
                    time: Timestamp(packet.time),
                },
                link: LinkType::ETHERNET,
                data,
                original_len,
            }
        })
        .collect()
}

fn frame(packet: &Packet, hosts: &Hosts) -> Vec<u8> {
    let (source, destination) = (
        hosts.endpoint(packet.direction),
        hosts.endpoint(packet.direction.reverse()),
    );
    let ip = match (source.addr, destination.addr) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header =
                Ipv4Header::new(0, packet.ttl, ip_number::TCP, source.octets(), destination.octets()).unwrap();
            header.identification = packet.id;
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                hop_limit: packet.ttl,
                next_header: ip_number::TCP,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        mixed => panic!("{mixed:?}"),
    };
    let [own, peer] = [packet.direction, packet.direction.reverse()].map(|side| hosts.initial[side.index()]);
    let seq = own.wrapping_add(packet.seq as u32);
    let mut builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(ip)
        .tcp(source.port, destination.port, seq, 501);
    if packet.bits.ack {
        builder = builder.ack(peer.wrapping_add(packet.ack as u32));
    }
    if packet.bits.syn {
        builder = builder.syn();
    }
    if packet.bits.fin {
        builder = builder.fin();
    }
    if packet.bits.rst {
        builder = builder.rst();
    }
    let mut options = Vec::new();
    if packet.bits.syn {
        options = vec![
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::WindowScale(7),
        ];
    }
    if hosts.timestamps {
        options.push(TcpOptionElement::Timestamp(packet.clock, 1));
    }
    let builder = builder.options(&options).unwrap();
    let mut frame = Vec::with_capacity(builder.size(packet.payload.len()));
    builder.write(&mut frame, &packet.payload).unwrap();
    frame
}
