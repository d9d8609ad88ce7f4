//! Facts of a connection, each shown by the fewest segments that have it.

use super::testkit::*;
use super::*;
use crate::Direction;
use crate::packet::Segment;

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

#[test]
fn picked_up_mid_stream_the_first_byte_seen_is_offset_0() {
    let mut wire = Wire::new();
    wire.send(from_client(ACK, 700, 9_000, b"abc"));
    wire.send(from_server(ACK, 9_000, 703, b"defg"));
    wire.send(from_client(ACK, 703, 9_004, b""));
    let record = wire.only();
    assert_eq!((record.client, record.roles), (client(), Roles::Ports));
    assert_eq!((record.to_server.sent, record.to_server.acked), (3, 3));
    assert_eq!(
        (record.to_client.sent, record.to_client.acked, record.to_client.missed),
        (4, 4, 0)
    );
    assert!(record.established() && !record.seen_from_start());
}

#[test]
fn a_guessed_offset_0_moves_to_the_first_byte_seen() {
    let mut wire = Wire::new();
    // The client acknowledges bytes before those that the capture sees first.
    let first = wire.send(from_client(ACK, 0, 1_000, b""));
    wire.send(from_server(ACK, 1_500, 0, b"12345"));
    wire.send(from_client(ACK, 0, 1_505, b""));
    let record = wire.only();
    assert_eq!(
        (record.to_client.sent, record.to_client.acked, record.to_client.missed),
        (5, 5, 0)
    );
    assert_eq!(record.timeline.find(first).unwrap().ack, -500);
}

#[test]
fn a_keep_alive_probe_seen_first_is_no_missed_byte() {
    let mut wire = Wire::new();
    let probe = wire.send(from_server(ACK, 99, 50, b""));
    wire.send(from_client(ACK, 50, 100, b""));
    wire.send(from_server(ACK, 100, 50, b"data"));
    let record = wire.only();
    assert_eq!((record.to_client.sent, record.to_client.missed), (4, 0));
    assert_eq!(record.timeline.find(probe).unwrap().seq, -1);
}

#[test]
fn windows_are_scaled_when_both_offered_it() {
    let scaled = |mut segment: Segment<'static>, shift| {
        segment.options.window_scale = Some(shift);
        segment
    };
    for (server_offers, expected) in [(true, 500 << 7), (false, 500)] {
        let mut wire = Wire::new();
        wire.send(scaled(from_client(SYN, -1, 0, b""), 7));
        let answer = from_server(SYN_ACK, -1, 0, b"");
        wire.send(if server_offers { scaled(answer, 2) } else { answer });
        wire.send(from_client(ACK, 0, 0, b""));
        let record = wire.only();
        assert_eq!(record.to_server.window, expected);
        assert_eq!(
            record.timeline.iter().map(|note| note.window).collect::<Vec<_>>(),
            [500, 500, expected]
        );
    }
}

#[test]
fn retransmissions_are_counted_once_sent_once() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"abcdef"));
    let whole = wire.send_after(300 * MILLISECOND, from_client(ACK, 0, 0, b"abcdef"));
    let partly = wire.send_after(300 * MILLISECOND, from_client(ACK, 3, 0, b"defghi"));
    let record = wire.only();
    let flow = &record.to_server;
    assert_eq!(
        (
            flow.sent,
            flow.data_packets,
            flow.retransmissions,
            flow.unanswered_retransmissions
        ),
        (9, 2, 1, 1)
    );
    assert!(record.timeline.find(whole).unwrap().marks.has(Marks::RETRANSMISSION));
    assert!(!record.timeline.find(partly).unwrap().marks.has(Marks::RETRANSMISSION));
}

#[test]
fn what_comes_late_by_a_millisecond_was_reordered_and_not_sent_again() {
    for (late, retransmissions) in [(MILLISECOND, 0), (200 * MILLISECOND, 1)] {
        let mut wire = Wire::new();
        wire.greet();
        let early = wire.send(from_client(ACK, 3, 0, b"def"));
        wire.send_after(late, from_client(ACK, 0, 0, b"abc"));
        let record = wire.only();
        assert_eq!(
            (record.to_server.sent, record.to_server.retransmissions),
            (6, retransmissions)
        );
        assert!(record.timeline.find(early).unwrap().marks.has(Marks::OUT_OF_ORDER));
    }
}

#[test]
fn what_is_asked_for_twice_was_lost() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_server(ACK, 3, 0, b"def"));
    wire.send_after(1_000, from_client(ACK, 0, 0, b""));
    wire.send_after(1_000, from_client(ACK, 0, 0, b""));
    wire.send_after(1_000, from_server(ACK, 0, 0, b"abc"));
    assert_eq!(wire.only().to_client.retransmissions, 1);
}

#[test]
fn keep_alive_probes_are_no_data() {
    for garbage in [&b""[..], b"\0"] {
        let mut wire = Wire::new();
        wire.greet();
        wire.send(from_client(ACK, 0, 0, b"abc"));
        wire.send(from_server(ACK, 0, 3, b""));
        wire.send(from_client(ACK, 2, 0, garbage));
        wire.send(from_server(ACK, 0, 3, b""));
        wire.send(from_client(ACK, 2, 0, garbage));
        wire.send(from_client(ACK, 2, 0, garbage));
        let flow = wire.only().to_server;
        assert_eq!(
            (
                flow.sent,
                flow.keep_alive_probes,
                flow.unanswered_probes,
                flow.retransmissions
            ),
            (3, 3, 2, 0)
        );
        assert_eq!(flow.data_packets, 1);
    }
}

#[test]
fn a_closed_window_is_probed() {
    let closed = |mut segment: Segment<'static>| {
        segment.window = 0;
        segment
    };
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"abc"));
    wire.send(closed(from_server(ACK, 0, 3, b"")));
    let linux = wire.send(from_client(ACK, 2, 0, b""));
    wire.send(closed(from_server(ACK, 0, 3, b"")));
    let others = wire.send(from_client(ACK, 3, 0, b"d"));
    let record = wire.only();
    assert_eq!(
        (record.to_server.window_probes, record.to_server.keep_alive_probes),
        (2, 0)
    );
    assert_eq!(
        (record.to_client.zero_windows, record.to_client.window_closed),
        (2, true)
    );
    for number in [linux, others] {
        assert!(record.timeline.find(number).unwrap().marks.has(Marks::WINDOW_PROBE));
    }
}

#[test]
fn a_half_closed_side_goes_on_receiving() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(FIN_ACK, 0, 0, b"request"));
    wire.send(from_server(ACK, 0, 8, b""));
    wire.send(from_server(ACK, 0, 8, b"answer"));
    wire.send(from_client(ACK, 8, 6, b""));
    let record = wire.only();
    assert_eq!(record.ending, Ending::CaptureEnded);
    assert_eq!((record.to_server.sent, record.to_server.acked), (7, 7));
    assert_eq!(record.to_server.fin.unwrap().offset, 7);
    assert_eq!((record.to_client.sent, record.to_client.acked), (6, 6));
    assert_eq!(record.to_server.missed + record.to_client.missed, 0);
}

#[test]
fn a_syn_sent_again_is_the_same_connection() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    wire.send_after(1_000 * MILLISECOND, from_client(SYN, -1, 0, b""));
    wire.send_after(2_000 * MILLISECOND, from_client(SYN, -1, 0, b""));
    let record = wire.only();
    assert_eq!((record.handshake.syns, record.to_server.retransmissions), (3, 2));
    assert_eq!(record.handshake.last_syn.unwrap().number, 3);
    assert_eq!(record.to_server.unanswered_retransmissions, 2);
    assert!(!record.established());
}

#[test]
fn a_syn_with_another_number_is_another_connection() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(FIN_ACK, 0, 0, b""));
    wire.send(from_client(SYN, 70_000, 0, b""));
    let records = wire.finish();
    assert_eq!(records.iter().map(|record| record.stream).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(records[0].ending, Ending::TupleReused);
    assert_eq!((records[0].reused_tuple, records[1].reused_tuple), (false, true));
    assert_eq!(records[1].handshake.syns, 1);
}

#[test]
fn a_syn_answered_by_an_old_connections_ack() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    let challenge = wire.send(from_server(ACK, 3_000_000, 800_000, b""));
    wire.send(from_client(RST, 800_000, 0, b""));
    wire.send_after(1_000 * MILLISECOND, from_client(SYN, -1, 0, b""));
    wire.send(from_server(SYN_ACK, -1, 0, b""));
    wire.send(from_client(ACK, 0, 0, b"hello"));
    wire.send(from_server(ACK, 0, 5, b""));
    let record = wire.only();
    assert_eq!(record.handshake.syn_answered_by_ack.unwrap().number, challenge);
    assert_eq!(record.resets[0].trigger.unwrap().at.number, challenge);
    assert_eq!(record.resets[0].shape, ResetShape::Passive);
    assert!(record.resets[0].sender_went_on.is_none());
    assert!(record.established());
    assert_eq!(
        (record.to_server.sent, record.to_server.acked, record.to_server.missed),
        (5, 5, 0)
    );
    assert_eq!(record.ending, Ending::CaptureEnded);
}

#[test]
fn both_may_open_at_once() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b""));
    wire.send(from_server(SYN, -1, 0, b""));
    wire.send(from_client(SYN_ACK, -1, 0, b""));
    wire.send(from_server(SYN_ACK, -1, 0, b""));
    wire.send(from_client(ACK, 0, 0, b"hi"));
    let record = wire.only();
    assert!(record.established());
    assert_eq!((record.client, record.to_server.sent), (client(), 2));
}

#[test]
fn numbers_wrap() {
    let mut wire = Wire::new();
    let block = vec![0; 60_000];
    let initial = u32::MAX - 100_000;
    wire.send(segment(client(), server(), SYN, initial.wrapping_sub(1), 0, b""));
    wire.send(segment(server(), client(), SYN_ACK, S, initial, b""));
    let mut offset = 0u64;
    // 4.8 GB, with snap length: the bytes need not be there.
    for _ in 0..80_000 {
        let mut data = segment(
            client(),
            server(),
            ACK,
            initial.wrapping_add(offset as u32),
            S + 1,
            &block[..10],
        );
        data.payload_len = 60_000;
        wire.send_after(1_000, data);
        offset += 60_000;
        wire.send_after(
            1_000,
            segment(server(), client(), ACK, S + 1, initial.wrapping_add(offset as u32), b""),
        );
    }
    let record = wire.only();
    assert_eq!((record.to_server.sent, record.to_server.acked), (offset, offset));
    assert_eq!((record.to_server.missed, record.to_server.retransmissions), (0, 0));
    let last = record.timeline.iter().next_back().unwrap();
    assert_eq!(last.ack, offset as i64);
    assert_eq!(record.timeline.iter().count() as u64 + record.timeline.let_go, 160_002);
}

#[test]
fn bytes_acknowledged_and_not_seen_are_missed() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"abc"));
    let ack = wire.send(from_server(ACK, 0, 10, b""));
    wire.send(from_client(ACK, 10, 0, b"xyz"));
    let record = wire.only();
    let flow = &record.to_server;
    assert_eq!((flow.sent, flow.acked, flow.missed), (13, 10, 7));
    assert!(record.timeline.find(ack).unwrap().marks.has(Marks::ACKS_MISSED));
}

#[test]
fn a_packet_captured_after_its_ack_is_not_missed() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_server(ACK, 0, 5, b""));
    wire.send_after(10_000, from_client(ACK, 0, 0, b"hello"));
    wire.send(from_client(ACK, 5, 0, b"!"));
    let flow = wire.only().to_server;
    assert_eq!((flow.sent, flow.missed, flow.data_packets), (6, 0, 2));
}
