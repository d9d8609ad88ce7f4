//! Resets, copies of packets, and how connections leave the table.

use std::time::Duration;

use super::testkit::*;
use super::*;
use crate::packet::{IcmpError, IcmpKind, Segment};
use crate::{Direction, Endpoint, Issue};

fn stamped(mut segment: Segment<'_>, value: u32) -> Segment<'_> {
    segment.options.timestamps = Some((value, 1));
    segment
}

fn numbered(mut segment: Segment<'_>, ip_id: u16) -> Segment<'_> {
    segment.ip_id = Some(ip_id);
    segment
}

fn forwarded(mut segment: Segment<'_>) -> Segment<'_> {
    segment.ttl -= 1;
    segment
}

/// A greeting with timestamps, and a request acknowledged.
fn established() -> Wire {
    let mut wire = Wire::new();
    wire.send(stamped(from_client(SYN, -1, 0, b""), 1));
    wire.send(stamped(from_server(SYN_ACK, -1, 0, b""), 1));
    wire.send(stamped(from_client(ACK, 0, 0, b"request"), 2));
    wire.send(stamped(from_server(ACK, 0, 7, b""), 2));
    wire
}

#[test]
fn a_reset_without_the_agreed_timestamps_is_not_the_sockets_own() {
    for (segment, shape) in [
        (stamped(from_server(RST_ACK, 0, 7, b""), 3), ResetShape::Active),
        (from_server(RST_ACK, 0, 7, b""), ResetShape::Other),
        (stamped(from_server(RST_ACK, 0, 7, b"no"), 3), ResetShape::Other),
        (stamped(from_server(RST, 0, 0, b""), 3), ResetShape::Other),
        (stamped(from_server(RST_ACK, 400, 7, b""), 3), ResetShape::Other),
        (from_server(RST, 0, 0, b""), ResetShape::Passive),
        (from_server(RST, 400, 0, b""), ResetShape::Other),
    ] {
        let mut wire = established();
        wire.send(segment);
        let record = wire.only();
        assert_eq!(record.resets[0].shape, shape, "{:?}", record.resets[0]);
        assert_eq!(record.resets[0].payload_len, segment.payload_len);
    }
}

#[test]
fn a_sockets_own_reset_may_overtake_its_last_data() {
    let mut wire = established();
    let mut reset = stamped(from_server(RST_ACK, 1448, 7, b""), 3);
    reset.window = 64;
    wire.send(reset);
    wire.send(stamped(from_server(ACK, 0, 7, &[b'x'; 1448]), 3));
    let record = wire.only();
    assert_eq!(record.resets[0].shape, ResetShape::Active);
    assert!(
        record.resets[0].sender_went_on.is_none(),
        "what it counts on came a moment later"
    );
}

/// As captured on a server that closed with 100 bytes unread, while ACKs came in: the reset left from one processor, the last
/// segment from another, and each ACK that came later drew a bare RST.
#[test]
fn a_reset_that_overtook_its_last_data_counts_and_not_the_answers_to_late_acks() {
    let mut wire = established();
    wire.send(stamped(from_server(ACK, 0, 7, &[b'x'; 1448]), 3));
    wire.send(stamped(from_client(ACK, 7, 0, b""), 3));
    wire.send(stamped(from_server(ACK, 1448, 7, &[b'x'; 1448]), 3));
    wire.send(stamped(from_client(ACK, 7, 1448, b""), 4));
    let mut reset = stamped(from_server(RST_ACK, 4344, 7, b""), 4);
    reset.window = 64;
    wire.send(reset);
    wire.send(stamped(from_server(ACK, 2896, 7, &[b'x'; 1448]), 4));
    wire.send(from_server(RST, 1448, 0, b""));
    wire.send(stamped(from_client(ACK, 7, 2896, b""), 5));
    wire.send(from_server(RST, 2896, 0, b""));
    let resets = wire.only().resets;
    let seen: Vec<_> = resets.iter().map(|reset| (reset.shape, reset.validity)).collect();
    assert_eq!(
        seen,
        [
            (ResetShape::Active, ResetValidity::Unknown),
            (ResetShape::Passive, ResetValidity::Unknown),
            (ResetShape::Passive, ResetValidity::Unknown),
        ]
    );
    assert!(resets.iter().all(|reset| reset.sender_went_on.is_none()));

    // A forger's guess ahead of what was sent has neither timestamps nor window.
    let mut wire = established();
    wire.send(from_server(RST_ACK, 400, 7, b""));
    assert_eq!(wire.only().resets[0].validity, ResetValidity::InWindow);
}

#[test]
fn an_active_reset_may_follow_its_own_fin() {
    let mut wire = established();
    wire.send(stamped(from_server(FIN_ACK, 0, 7, b"bye"), 3));
    wire.send(stamped(from_client(ACK, 7, 4, b"more"), 3));
    wire.send(stamped(from_server(RST_ACK, 4, 11, b""), 4));
    let reset = &wire.only().resets[0];
    assert_eq!(
        (reset.shape, reset.validity, reset.seq),
        (ResetShape::Active, ResetValidity::Exact, 4)
    );
    assert_eq!(
        (reset.ack, reset.after_own_fin, reset.after_peer_fin),
        (Some(11), true, false)
    );
}

#[test]
fn resets_are_judged_by_rfc_5961() {
    for (seq, validity) in [
        (0, ResetValidity::Exact),
        (100, ResetValidity::InWindow),
        (499, ResetValidity::InWindow),
        (500, ResetValidity::OutOfWindow),
        (-50, ResetValidity::OutOfWindow),
    ] {
        let mut wire = established();
        wire.send(from_server(RST, seq, 0, b""));
        assert_eq!(wire.only().resets[0].validity, validity, "seq {seq}");
    }
    // Data on its way that the receiver has not acknowledged: it may or may not be there already.
    let mut wire = established();
    wire.send(stamped(from_server(ACK, 0, 7, b"answer"), 3));
    wire.send(from_server(RST, 0, 0, b""));
    assert_eq!(wire.only().resets[0].validity, ResetValidity::Unknown);
    // A SYN takes only a reset that acknowledges it.
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    wire.send(from_server(RST, 0, 0, b""));
    assert_eq!(wire.only().resets[0].validity, ResetValidity::OutOfWindow);
}

#[test]
fn who_goes_on_did_not_send_the_reset() {
    let mut wire = established();
    let forged = from_server(RST, 0, 0, b"");
    wire.send(forged);
    let proof = wire.send(stamped(from_server(ACK, 0, 7, b"answer"), 3));
    let record = wire.only();
    assert_eq!(record.resets[0].sender_went_on.unwrap().number, proof);
    assert_eq!(record.ending, Ending::CaptureEnded);

    let mut wire = established();
    wire.send(from_server(RST, 0, 0, b""));
    wire.send(stamped(from_server(ACK, 0, 7, b""), 3));
    assert!(wire.only().resets[0].sender_went_on.is_none(), "nothing new was said");
}

#[test]
fn a_trigger_is_the_newest_data_not_yet_accepted() {
    let mut wire = established();
    wire.send(stamped(from_client(ACK, 7, 0, b"second"), 3));
    let drew = wire.send(stamped(from_client(ACK, 13, 0, b"third"), 3));
    wire.send(stamped(from_client(ACK, 18, 0, b""), 3));
    wire.send(from_server(RST, 0, 0, b""));
    assert_eq!(wire.only().resets[0].trigger.unwrap().at.number, drew);

    // All data was accepted: the probe drew it.
    let mut wire = established();
    let probe = wire.send(stamped(from_client(ACK, 6, 0, b""), 3));
    wire.send(from_server(RST, 0, 0, b""));
    assert_eq!(wire.only().resets[0].trigger.unwrap().at.number, probe);
}

#[test]
fn a_trigger_long_gone_still_makes_a_passive_reset() {
    let mut wire = established();
    for offset in 0..3 {
        wire.send(stamped(from_client(ACK, 7 + offset, 0, b"x"), 3));
    }
    wire.send(stamped(from_server(ACK, 0, 9, b"answer"), 3));
    for offset in 0..60 {
        wire.send(stamped(from_client(ACK, 10 + offset, 6, b"x"), 4));
    }
    wire.send(from_server(RST, 0, 0, b""));
    let record = wire.only();
    assert_eq!(
        (record.resets[0].shape, record.resets[0].trigger.is_none()),
        (ResetShape::Passive, true)
    );
}

#[test]
fn sixteen_resets_are_kept_and_all_are_counted() {
    let mut wire = established();
    for step in 0..40 {
        wire.send(from_server(RST, step * 10, 0, b""));
    }
    let record = wire.only();
    assert_eq!((record.resets.len(), record.resets_total), (16, 40));
    assert_eq!(record.to_client.packets, 42);
    assert_eq!(record.to_client.last_packet.unwrap().number, 4, "resets do not count");
}

#[test]
fn copies_are_dropped() {
    let mut wire = Wire::new();
    for segment in [
        numbered(from_client(SYN, -1, 0, b""), 10),
        numbered(from_server(SYN_ACK, -1, 0, b""), 0),
        numbered(from_client(ACK, 0, 0, b"abc"), 11),
        numbered(from_server(ACK, 0, 3, b""), 90),
    ] {
        wire.send(segment);
        wire.send_after(20_000, forwarded(segment));
    }
    assert_eq!(wire.issue(Issue::Duplicate), 4);
    let record = wire.only();
    assert_eq!((record.to_server.packets, record.to_client.packets), (2, 2));
    assert_eq!((record.to_server.ttl, record.to_server.ttl_varies), (Some(64), false));
    assert_eq!(record.to_server.retransmissions, 0);
}

#[test]
fn what_was_really_sent_twice_is_no_copy() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(numbered(from_client(ACK, 0, 0, b"abc"), 11));
    // Another identification, then another time.
    wire.send_after(100_000, numbered(from_client(ACK, 0, 0, b"abc"), 12));
    wire.send_after(200 * MILLISECOND, numbered(from_client(ACK, 0, 0, b"abc"), 12));
    // ACKs, resets and SYN-ACKs without identification are legitimately equal.
    wire.send(from_server(ACK, 0, 0, b""));
    wire.send_after(50_000, from_server(ACK, 0, 0, b""));
    wire.send_after(50_000, from_server(RST, 0, 0, b""));
    wire.send_after(50_000, from_server(RST, 0, 0, b""));
    assert_eq!(wire.issue(Issue::Duplicate), 0);
    let record = wire.only();
    assert_eq!((record.to_server.retransmissions, record.resets_total), (2, 2));
}

#[test]
fn settled_connections_leave_and_stray_segments_keep_their_stream() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_server(FIN_ACK, 0, 0, b""));
    wire.send(from_client(FIN_ACK, 0, 1, b""));
    wire.send(from_server(ACK, 1, 1, b""));
    let now = wire.tick(9_000 * MILLISECOND).time;
    wire.table.advance(now, &mut |record| panic!("too early: {record:?}"));
    let now = wire.tick(2_000 * MILLISECOND).time;
    let mut ended = Vec::new();
    wire.table.advance(now, &mut |record| ended.push(record));
    assert_eq!((ended.len(), ended[0].ending, wire.table.live()), (1, Ending::Ended, 0));
    assert_eq!(ended[0].watched_until, now);
    wire.send(from_client(RST, 1, 0, b""));
    wire.send(segment(Endpoint { port: 9, ..client() }, server(), SYN, 1, 0, b""));
    let records = wire.finish();
    assert_eq!(records.iter().map(|record| record.stream).collect::<Vec<_>>(), [0, 1]);
    assert!(records[0].reused_tuple && !records[1].reused_tuple);
}

#[test]
fn one_that_is_not_over_does_not_leave() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_server(FIN_ACK, 0, 0, b""));
    wire.send(from_client(ACK, 0, 1, b""));
    let now = wire.tick(3_600_000 * MILLISECOND).time;
    wire.table
        .advance(now, &mut |record| panic!("half closed is not closed: {record:?}"));
    assert_eq!(wire.table.live(), 1);
}

#[test]
fn a_full_table_puts_out_the_one_silent_longest() {
    let mut wire = Wire::with(Limits {
        connections: 3,
        ..Limits::default()
    });
    let from = |port| segment(Endpoint { port, ..client() }, server(), SYN, 1, 0, b"");
    for port in [1, 2, 3, 1, 4, 3, 5] {
        wire.send_after(1_000 * MILLISECOND, from(port));
    }
    let evicted: Vec<_> = wire
        .records
        .iter()
        .map(|record| (record.client.port, record.ending))
        .collect();
    assert_eq!(evicted, [(2, Ending::Evicted), (1, Ending::Evicted)]);
    assert_eq!((wire.table.live(), wire.issue(Issue::Evicted)), (3, 2));
}

#[test]
fn icmp_errors_find_their_connection() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    let error = IcmpError {
        reporter: server().addr,
        kind: IcmpKind::Prohibited,
        icmp_type: 3,
        icmp_code: 13,
        source: client(),
        destination: server(),
        seq: C,
    };
    let at = wire.tick(MILLISECOND);
    wire.table.push_icmp(at, &error);
    wire.table.push_icmp(at, &IcmpError { seq: C + 9, ..error });
    let record = wire.only();
    assert_eq!(
        record.icmp.iter().map(|note| note.about_syn).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!((record.icmp[0].about, record.icmp[0].at), (Direction::ToServer, at));
}

#[test]
fn time_that_goes_back_is_counted() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    wire.send_after(-MILLISECOND, from_server(SYN_ACK, -1, 0, b""));
    assert_eq!(wire.issue(Issue::TimeWentBack), 0);
    wire.send_after(-5_000 * MILLISECOND, from_client(ACK, 0, 0, b""));
    assert_eq!(wire.issue(Issue::TimeWentBack), 1);
    assert!(wire.only().handshake.round_trip() == Some(Duration::ZERO));
}
