//! Captures with several interfaces.

use std::net::IpAddr;

use super::testkit::*;
use super::{Connection, Ending, Limits, Table, Vantages};
use crate::packet::{IcmpError, IcmpKind, Segment};
use crate::{Endpoint, PacketRef, Timestamp};

const CLIENTS: u32 = 0;
const SERVERS: u32 = 1;

/// A table that is told which interface saw what.
struct Path {
    table: Table,
    records: Vec<Connection>,
    number: u64,
    now: i64,
    ip_id: u16,
}

impl Path {
    fn new() -> Path {
        Path {
            table: Table::new(Limits::default()),
            records: Vec::new(),
            number: 0,
            now: 1_000_000_000_000,
            ip_id: 100,
        }
    }

    fn tick(&mut self, milliseconds: i64) -> PacketRef {
        self.now += milliseconds * MILLISECOND;
        self.number += 1;
        PacketRef {
            number: self.number,
            time: Timestamp(self.now),
        }
    }

    fn see(&mut self, interface: u32, milliseconds: i64, segment: &Segment<'_>) {
        let at = self.tick(milliseconds);
        let records = &mut self.records;
        self.table
            .push_from(at, interface, segment, &mut |record| records.push(record));
    }

    fn pass(&mut self, segment: &Segment<'_>) {
        self.tick(5);
        let records = &mut self.records;
        self.table.pass(segment, &mut |record| records.push(record));
    }

    /// A packet with an identification of its own.
    fn numbered<'a>(&mut self, segment: Segment<'a>) -> Segment<'a> {
        self.ip_id += 1;
        Segment {
            ip_id: Some(self.ip_id),
            ..segment
        }
    }

    /// One interface sees a packet, and 20 ms later the other one does, a few hops on.
    fn travel(&mut self, from: u32, segment: Segment<'_>) {
        let segment = self.numbered(segment);
        self.see(from, 5, &segment);
        self.see(1 - from, 20, &Segment { ttl: 55, ..segment });
    }

    fn greet(&mut self) {
        self.travel(CLIENTS, from_client(SYN, -1, 0, b""));
        self.travel(SERVERS, from_server(SYN_ACK, -1, 0, b""));
        self.travel(CLIENTS, from_client(ACK, 0, 0, b""));
    }

    fn finish(mut self) -> (Vec<Connection>, Vantages) {
        let records = &mut self.records;
        self.table.finish(&mut |record| records.push(record));
        (self.records, self.table.vantages().clone())
    }
}

#[test]
fn copies_of_another_vantage_point_are_left_out() {
    let mut path = Path::new();
    path.greet();
    path.travel(CLIENTS, from_client(ACK, 0, 0, b"GET / HTTP/1.1\r\n\r\n"));
    path.travel(
        SERVERS,
        from_server(ACK, 0, 18, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    );
    // Forged, behind the client's interface: the client never saw it.
    let forged = path.numbered(from_client(RST, 18, 0, b""));
    path.see(SERVERS, 5, &forged);
    let (records, vantages) = path.finish();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.to_server.packets, record.to_client.packets), (3, 2));
    assert_eq!((record.handshake.syns, record.handshake.syn_acks), (1, 1));
    assert_eq!(
        (record.to_server.retransmissions, record.to_client.retransmissions),
        (0, 0)
    );
    assert_eq!((record.resets_total, record.ending), (0, Ending::CaptureEnded));
    // The SYN-ACK and the answer are those that the client saw.
    assert_eq!(record.handshake.syn_ack.unwrap().number, 4);
    assert_eq!((vantages.connections, vantages.left_out), (1, 6));
    assert_eq!(vantages.judged_by.into_iter().collect::<Vec<_>>(), [(CLIENTS, 1)]);
}

#[test]
fn a_connection_is_judged_by_who_saw_it_first() {
    let mut path = Path::new();
    // The client's capture begins later, and the first that it shows, the server's shows again as its copy.
    let idle = path.numbered(from_server(ACK, 0, 0, b"early"));
    path.see(SERVERS, 5, &idle);
    path.travel(CLIENTS, from_client(ACK, 0, 5, b"question"));
    path.travel(SERVERS, from_server(ACK, 5, 8, b"answer"));
    let (records, vantages) = path.finish();
    assert_eq!((records.len(), vantages.connections), (1, 1));
    assert_eq!((records[0].to_server.packets, records[0].to_client.packets), (1, 2));
    assert_eq!(
        (
            records[0].to_server.retransmissions,
            records[0].to_client.retransmissions
        ),
        (0, 0)
    );
    assert_eq!(vantages.judged_by.into_iter().collect::<Vec<_>>(), [(SERVERS, 1)]);
}

#[test]
fn interfaces_that_share_the_packets_are_put_together() {
    let mut path = Path::new();
    for (interface, segment) in [
        (0, from_client(SYN, -1, 0, b"")),
        (1, from_server(SYN_ACK, -1, 0, b"")),
        (0, from_client(ACK, 0, 0, b"")),
        (0, from_client(ACK, 0, 0, b"question")),
        (1, from_server(ACK, 0, 8, b"answer")),
    ] {
        let segment = path.numbered(segment);
        path.see(interface, 5, &segment);
    }
    // Sent again, over the other interface: no copy, for it has an identification of its own.
    let again = path.numbered(from_client(ACK, 0, 0, b"question"));
    path.see(1, 250, &again);
    let (records, vantages) = path.finish();
    assert_eq!((records[0].to_server.packets, records[0].to_client.packets), (4, 2));
    assert_eq!(records[0].to_server.retransmissions, 1);
    assert_eq!(vantages, Vantages::default());
}

#[test]
fn what_has_no_number_of_its_own_is_a_copy_only_soon() {
    for (after, ip_id, copies) in [
        (50, Some(0), 1),
        (250, Some(0), 0),
        (250, Some(7), 1),
        (2500, Some(7), 0),
        (50, None, 1),
    ] {
        let mut path = Path::new();
        let syn = Segment {
            ip_id,
            ..from_client(SYN, -1, 0, b"")
        };
        path.see(0, 5, &syn);
        path.see(1, after, &syn);
        let (records, vantages) = path.finish();
        assert_eq!(vantages.connections, copies, "{after} ms, {ip_id:?}");
        assert_eq!(
            u64::from(records[0].handshake.syns),
            2 - copies,
            "{after} ms, {ip_id:?}"
        );
    }
}

#[test]
fn what_the_other_vantage_point_shows_later_opens_nothing() {
    let mut path = Path::new();
    path.greet();
    path.travel(CLIENTS, from_client(RST_ACK, 0, 0, b""));
    let settled = path.tick(20_000).time;
    let records = &mut path.records;
    path.table.advance(settled, &mut |record| records.push(record));
    assert_eq!((path.table.live(), path.records.len()), (0, 1));
    // The reset never reached the server, which goes on.
    let late = path.numbered(from_server(ACK, 0, 0, b"late"));
    path.see(SERVERS, 5, &late);
    let (records, vantages) = path.finish();
    assert_eq!((records.len(), vantages.left_out), (1, 5));
}

#[test]
fn icmp_errors_of_the_other_vantage_point_are_left_out() {
    let mut path = Path::new();
    path.greet();
    let error = IcmpError {
        reporter: IpAddr::from([10, 9, 9, 9]),
        kind: IcmpKind::Unreachable,
        icmp_type: 3,
        icmp_code: 1,
        source: client(),
        destination: server(),
        seq: C + 1,
    };
    for interface in [SERVERS, CLIENTS] {
        let at = path.tick(5);
        path.table.push_icmp_from(at, interface, &error);
    }
    let (records, _) = path.finish();
    assert_eq!(records[0].icmp.len(), 1);
    assert_eq!(records[0].icmp[0].at.number, 8);
}

#[test]
fn what_passes_counts_for_the_numbers_of_streams_alone() {
    let mut path = Path::new();
    let other = Endpoint { port: 9, ..client() };
    // Stream 0 is never asked for, stream 1 passes first and is then seen.
    path.pass(&segment(other, server(), SYN, 1, 0, b""));
    path.pass(&from_client(SYN, -1, 0, b""));
    path.see(SERVERS, 5, &from_client(SYN, -1, 0, b""));
    path.pass(&from_server(SYN_ACK, -1, 0, b""));
    path.pass(&from_client(ACK, 0, 0, b"lost on the way"));
    // Stream 2 has the same ends.
    path.pass(&from_client(SYN, 70_000, 0, b""));
    path.see(SERVERS, 5, &from_client(SYN, 70_000, 0, b""));
    let (records, vantages) = path.finish();
    let streams: Vec<u32> = records.iter().map(|record| record.stream).collect();
    assert_eq!(streams, [1, 2]);
    assert_eq!((records[0].reused_tuple, records[1].reused_tuple), (false, true));
    assert_eq!(records[0].ending, Ending::TupleReused);
    assert_eq!((records[0].to_server.packets, records[0].to_client.packets), (1, 0));
    assert_eq!(vantages, Vantages::default());
}
