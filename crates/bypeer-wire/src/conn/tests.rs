//! Facts of a connection, each shown by the fewest segments that have it.

use std::time::Duration;

use super::testkit::*;
use super::*;
use crate::packet::{Flags, IcmpError, IcmpKind, Segment, TcpOptions};
use crate::{Direction, Endpoint, Issue};

fn stamped(mut segment: Segment<'_>, value: u32) -> Segment<'_> {
    segment.options.timestamps = Some((value, 1));
    segment
}

#[test]
fn a_whole_connection() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"ping"));
    wire.send(from_server(ACK, 0, 4, b""));
    wire.send(from_server(ACK, 0, 4, b"pong!"));
    wire.send(from_client(ACK, 4, 5, b""));
    wire.send(from_server(FIN_ACK, 5, 4, b""));
    wire.send(from_client(FIN_ACK, 4, 6, b""));
    wire.send(from_server(ACK, 6, 5, b""));
    let record = wire.only();
    assert_eq!(
        (record.client, record.server, record.roles),
        (client(), server(), Roles::Handshake)
    );
    assert_eq!(record.ending, Ending::Ended);
    assert_eq!((record.to_server.sent, record.to_server.acked), (4, 4));
    assert_eq!((record.to_client.sent, record.to_client.acked), (5, 5));
    assert_eq!(record.handshake.ack.unwrap().number, 3);
    assert!(record.established());
    let fin = record.to_client.fin.unwrap();
    assert_eq!(
        (fin.at.number, fin.offset, fin.ack, fin.acked.unwrap().number),
        (8, 5, 4, 9)
    );
    assert_eq!(record.to_server.fin.unwrap().acked.unwrap().number, 10);
    assert_eq!(
        record.timeline.iter().map(|note| note.at.number).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    assert_eq!(record.to_server.last_ack_of_it.unwrap().number, 5);
    assert_eq!(
        (record.to_server.retransmissions, record.to_client.retransmissions),
        (0, 0)
    );
}

#[test]
fn a_refused_connection() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    let mut refusal = from_server(RST_ACK, 0, 0, b"");
    refusal.seq = 0;
    wire.send(refusal);
    let record = wire.only();
    let reset = &record.resets[0];
    assert_eq!(
        (reset.shape, reset.validity),
        (ResetShape::Refusal, ResetValidity::Exact)
    );
    assert_eq!((reset.ack, reset.trigger.unwrap().at.number), (Some(0), 1));
    assert!(!record.established());
}

#[test]
fn an_active_reset_covers_what_its_kernel_had() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(stamped(from_client(ACK, 0, 0, b"request"), 10));
    wire.send(stamped(from_server(ACK, 0, 7, b"answer"), 20));
    let mut reset = stamped(from_server(RST_ACK, 6, 7, b""), 21);
    reset.window = 400;
    wire.send(reset);
    let record = wire.only();
    let reset = &record.resets[0];
    assert_eq!(
        (reset.shape, reset.validity),
        (ResetShape::Active, ResetValidity::Exact)
    );
    assert_eq!(
        (reset.seq, reset.ack, reset.direction),
        (6, Some(7), Direction::ToClient)
    );
    assert_eq!(record.ending, Ending::Ended);
}

#[test]
fn a_passive_reset_names_the_data_that_drew_it() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_server(FIN_ACK, 0, 0, b""));
    wire.send(from_client(ACK, 0, 1, b""));
    let late = wire.send(from_client(ACK, 0, 1, b"late"));
    wire.send(from_server(RST, 1, 0, b""));
    let record = wire.only();
    let reset = &record.resets[0];
    assert_eq!(
        (reset.shape, reset.validity),
        (ResetShape::Passive, ResetValidity::Exact)
    );
    assert_eq!(reset.trigger.unwrap().at.number, late);
    assert!(reset.after_own_fin && !reset.after_peer_fin);
}
