//! What the kernel saw of the probe's connections: an account that owes nothing to the probe.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bypeer_watch::ring::{LATE, Options, Packet, Ring};
use bypeer_wire::{Endpoint, Timestamp};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// Records the packets of one server's port.
pub struct Recording {
    ring: Ring,
    server: SocketAddr,
}

/// In which situation the client left a connection alone, read from what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    AfterOne,
    AfterSeveral,
    Unused,
    InHead,
    InBody,
}

/// One connection, as the packets tell it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub left: Left,
    /// When the server's FIN or reset was sent, whichever came first.
    pub end: Option<Timestamp>,
    /// That was a reset.
    pub reset: bool,
    /// From the last payload of either side (or the handshake) to what ended the wait: an answer to half a request, or the end.
    pub idle: Option<Duration>,
}

impl Recording {
    pub fn start(server: SocketAddr) -> Recording {
        let options = Options {
            ports: vec![server.port()],
            payload: true,
            packets_per_connection: 256,
            ..Options::default()
        };
        Recording {
            ring: Ring::start(&options).unwrap(),
            server,
        }
    }

    /// Waits until the last packets must have come.
    pub fn settle(&self) {
        thread::sleep(LATE);
        assert_eq!(self.ring.counts().dropped, 0, "packets are missing");
    }

    /// What became of the connection from this address.
    pub fn seen(&self, client: SocketAddr) -> Seen {
        let packets = self
            .ring
            .packets_of(endpoint(client), endpoint(self.server), Timestamp(0));
        let segments: Vec<Segment<'_>> = packets
            .iter()
            .filter_map(|packet| Segment::of(packet, self.server))
            .collect();
        let sent: Vec<u8> = segments
            .iter()
            .filter(|segment| !segment.of_server)
            .flat_map(|segment| segment.payload.iter().copied())
            .collect();
        let left = Left::of(&sent);
        let ends = |segment: &&Segment<'_>| segment.of_server && segment.flags & (FIN | RST) != 0;
        let end = segments.iter().find(ends);
        let half = matches!(left, Left::InHead | Left::InBody | Left::Unused);
        // What comes after half a request is the end of the wait for the other half.
        let counts = |segment: &Segment<'_>| !segment.payload.is_empty() && (!half || !segment.of_server);
        let before = |segment: &&Segment<'_>| {
            end.is_none_or(|end| segment.time < end.time) && (segment.flags & SYN != 0 || counts(segment))
        };
        let last = segments.iter().filter(before).map(|segment| segment.time).max();
        let answer = segments
            .iter()
            .find(|segment| half && segment.of_server && !segment.payload.is_empty());
        let over = answer.or(end).map(|segment| segment.time);
        Seen {
            left,
            end: end.map(|segment| segment.time),
            reset: end.is_some_and(|segment| segment.flags & RST != 0),
            idle: over.zip(last).map(|(over, last)| over.since(last)),
        }
    }
}

impl Left {
    fn of(sent: &[u8]) -> Left {
        if sent.is_empty() {
            return Left::Unused;
        }
        if sent.starts_with(b"POST") {
            return Left::InBody;
        }
        match sent.windows(4).filter(|window| window == b"\r\n\r\n").count() {
            0 => Left::InHead,
            1 => Left::AfterOne,
            _ => Left::AfterSeveral,
        }
    }

    /// The habit that the probe measures in this situation.
    pub fn habit(self) -> &'static str {
        match self {
            Left::AfterOne => "idle-timeout.after-one",
            Left::AfterSeveral => "idle-timeout.after-several",
            Left::Unused => "idle-timeout.unused",
            Left::InHead => "idle-timeout.in-head",
            Left::InBody => "idle-timeout.in-body",
        }
    }
}

struct Segment<'a> {
    time: Timestamp,
    of_server: bool,
    flags: u8,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// IPv4 and TCP by hand: nothing of ours decodes what ours is held to.
    fn of(packet: &'a Packet, server: SocketAddr) -> Option<Segment<'a>> {
        let bytes = &packet.bytes;
        let header = usize::from(bytes.first()? & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        let tcp = bytes.get(header..total.min(bytes.len()))?;
        let from = u16::from_be_bytes([*tcp.first()?, *tcp.get(1)?]);
        let offset = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Segment {
            time: packet.time,
            of_server: from == server.port(),
            flags: *tcp.get(13)?,
            payload: tcp.get(offset..)?,
        })
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        addr: address.ip(),
        port: address.port(),
    }
}
