//! Segments made by hand, and a table to put them in.

use std::net::{IpAddr, Ipv4Addr};

use super::{Connection, Limits, Table};
use crate::packet::{Flags, Segment, TcpOptions};
use crate::{Endpoint, Issue, PacketRef, Timestamp};

pub(super) const MILLISECOND: i64 = 1_000_000;
/// The client's and the server's initial sequence numbers.
pub(super) const C: u32 = 1_000;
pub(super) const S: u32 = 5_000_000;

pub(super) const SYN: Flags = Flags::SYN;
pub(super) const ACK: Flags = Flags::ACK;
pub(super) const RST: Flags = Flags::RST;
pub(super) const SYN_ACK: Flags = Flags(0x12);
pub(super) const FIN_ACK: Flags = Flags(0x11);
pub(super) const RST_ACK: Flags = Flags(0x14);

pub(super) fn client() -> Endpoint {
    Endpoint {
        addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        port: 40_000,
    }
}

pub(super) fn server() -> Endpoint {
    Endpoint {
        addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        port: 80,
    }
}

/// From the client, numbers relative to the byte after the SYN.
pub(super) fn from_client(flags: Flags, seq: i64, ack: i64, payload: &[u8]) -> Segment<'_> {
    segment(client(), server(), flags, absolute(C, seq), absolute(S, ack), payload)
}

/// From the server, likewise.
pub(super) fn from_server(flags: Flags, seq: i64, ack: i64, payload: &[u8]) -> Segment<'_> {
    segment(server(), client(), flags, absolute(S, seq), absolute(C, ack), payload)
}

fn absolute(initial: u32, offset: i64) -> u32 {
    initial.wrapping_add(1).wrapping_add(offset as u32)
}

pub(super) fn segment(
    source: Endpoint,
    destination: Endpoint,
    flags: Flags,
    seq: u32,
    ack: u32,
    payload: &[u8],
) -> Segment<'_> {
    Segment {
        source,
        destination,
        seq,
        ack: if flags.has(ACK) { ack } else { 0 },
        flags,
        window: if flags.has(RST) { 0 } else { 500 },
        options: TcpOptions::default(),
        ttl: 64,
        ip_id: Some(0),
        checksum: crate::packet::Checksum::Unchecked,
        payload_len: payload.len() as u32,
        payload,
    }
}

pub(super) struct Wire {
    pub(super) table: Table,
    pub(super) records: Vec<Connection>,
    number: u64,
    now: i64,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self {
            table: Table::new(limits),
            records: Vec::new(),
            number: 0,
            now: 1_000_000_000_000,
        }
    }

    /// Sends 10 ms after the one before.
    pub(super) fn send(&mut self, segment: Segment<'_>) -> u64 {
        self.send_after(10 * MILLISECOND, segment)
    }

    pub(super) fn send_after(&mut self, nanoseconds: i64, segment: Segment<'_>) -> u64 {
        self.send_from(0, nanoseconds, segment)
    }

    /// Sends past another interface.
    pub(super) fn send_from(&mut self, interface: u32, nanoseconds: i64, segment: Segment<'_>) -> u64 {
        let at = self.tick(nanoseconds);
        let records = &mut self.records;
        self.table
            .push_from(at, interface, &segment, &mut |record| records.push(record));
        at.number
    }

    /// Lets a segment of an interface pass that is not asked for.
    pub(super) fn pass(&mut self, nanoseconds: i64, segment: Segment<'_>) -> u64 {
        let at = self.tick(nanoseconds);
        let records = &mut self.records;
        self.table.pass(&segment, &mut |record| records.push(record));
        at.number
    }

    pub(super) fn tick(&mut self, nanoseconds: i64) -> PacketRef {
        self.now += nanoseconds;
        self.number += 1;
        PacketRef {
            number: self.number,
            time: Timestamp(self.now),
        }
    }

    /// SYN, SYN-ACK, ACK: packets 1 to 3.
    pub(super) fn greet(&mut self) {
        self.send(from_client(SYN, -1, 0, b""));
        self.send(from_server(SYN_ACK, -1, 0, b""));
        self.send(from_client(ACK, 0, 0, b""));
    }

    pub(super) fn issue(&self, issue: Issue) -> u64 {
        self.table
            .issues()
            .iter()
            .find(|(kind, _)| *kind == issue)
            .map_or(0, |(_, count)| count)
    }

    pub(super) fn finish(mut self) -> Vec<Connection> {
        let records = &mut self.records;
        self.table.finish(&mut |record| records.push(record));
        self.records
    }

    /// The record of the only connection there was.
    pub(super) fn only(self) -> Connection {
        let mut records = self.finish();
        assert_eq!(records.len(), 1, "one connection expected: {records:#?}");
        records.remove(0)
    }
}
