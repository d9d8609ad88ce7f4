//! Beginnings and endings that are legal and rare, and captures that show things in another order than they happened.

use super::testkit::*;
use super::*;
use crate::Direction;
use crate::app::Noticed;
use crate::packet::Segment;

fn stamped(mut segment: Segment<'_>, value: u32) -> Segment<'_> {
    segment.options.timestamps = Some((value, 1));
    segment
}

#[test]
fn old_data_sent_again_is_no_going_on() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"request"));
    wire.send(from_server(ACK, 0, 7, b"answer"));
    wire.send(from_server(RST_ACK, 6, 7, b""));
    wire.send_after(250 * MILLISECOND, from_server(ACK, 0, 7, b"answer"));
    wire.send(from_server(RST_ACK, 6, 7, b""));
    let record = wire.only();
    assert_eq!(record.resets_total, 2);
    assert!(record.resets.iter().all(|reset| reset.sender_went_on.is_none()));
    assert_eq!(record.ending, Ending::Ended);
}

#[test]
fn what_the_reset_covers_and_was_captured_after_it_is_no_going_on() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"request"));
    // One host's data, FIN and reset, read from another queue first.
    wire.send(from_server(RST_ACK, 7, 7, b""));
    wire.send_after(50_000, from_server(ACK, 0, 7, b"answer"));
    wire.send_after(50_000, from_server(FIN_ACK, 6, 7, b""));
    let record = wire.only();
    assert!(record.resets[0].sender_went_on.is_none());
    assert_eq!((record.to_client.sent, record.to_client.fin.unwrap().offset), (6, 6));
}

#[test]
fn a_resets_copy_with_timestamps_is_one_reset() {
    let mut wire = Wire::new();
    wire.send(stamped(from_client(SYN, -1, 0, b""), 1));
    wire.send(stamped(from_server(SYN_ACK, -1, 0, b""), 1));
    wire.send(stamped(from_client(ACK, 0, 0, b"request"), 2));
    let mut reset = stamped(from_server(RST_ACK, 0, 7, b""), 90);
    reset.ip_id = Some(77);
    wire.send(reset);
    wire.send_after(20_000, Segment { ttl: 63, ..reset });
    assert_eq!(wire.issue(crate::Issue::Duplicate), 1);
    assert_eq!(wire.only().resets_total, 1);
}

#[test]
fn data_captured_after_its_fin_was_not_sent_again() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(FIN_ACK, 3, 0, b""));
    wire.send_after(100_000, from_client(ACK, 0, 0, b"abc"));
    let flow = wire.only().to_server;
    assert_eq!((flow.sent, flow.data_packets, flow.retransmissions), (3, 1, 0));
}

#[test]
fn a_fin_that_the_capture_missed_is_no_byte() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"GET / HTTP/1.0\r\n\r\n"));
    wire.send(from_server(
        ACK,
        0,
        18,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ));
    wire.send(from_client(ACK, 18, 41, b""));
    wire.send(from_client(FIN_ACK, 18, 41, b""));
    wire.send(from_server(ACK, 41, 19, b""));
    let record = wire.only();
    let flow = &record.to_client;
    assert_eq!((flow.sent, flow.acked, flow.missed), (40, 41, 1));
    assert_eq!(record.app.surplus_response_bytes, 0);
    assert_eq!(record.app.exchanges.complete, 1);
}

#[test]
fn bytes_missed_before_the_first_word_stay_missed() {
    let mut wire = Wire::new();
    wire.send(from_server(ACK, 0, 100, b""));
    wire.send(from_server(ACK, 0, 168, b""));
    wire.send(from_client(ACK, 168, 0, b"abc"));
    wire.send(from_server(ACK, 0, 171, b""));
    let flow = wire.only().to_server;
    assert_eq!((flow.sent, flow.acked, flow.missed), (71, 71, 68));
}

#[test]
fn a_syn_captured_after_its_syn_ack_was_answered() {
    let mut wire = Wire::new();
    wire.send(from_server(SYN_ACK, -1, 0, b""));
    wire.send_after(20_000, from_client(SYN, -1, 0, b""));
    wire.send(from_client(ACK, 0, 0, b"abc"));
    wire.send(from_server(ACK, 0, 3, b""));
    let record = wire.only();
    assert_eq!((record.client, record.roles), (client(), Roles::Handshake));
    assert_eq!((record.to_server.sent, record.to_server.acked), (3, 3));
    assert!(record.seen_from_start() && record.handshake.syn_answered_by_ack.is_none());
}

#[test]
fn both_sides_close_at_once() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(FIN_ACK, 0, 0, b""));
    wire.send_after(10_000, from_server(FIN_ACK, 0, 0, b""));
    wire.send(from_client(ACK, 1, 1, b""));
    wire.send(from_server(ACK, 1, 1, b""));
    let record = wire.only();
    assert_eq!(record.ending, Ending::Ended);
    for (flow, acked) in [(&record.to_server, 7), (&record.to_client, 6)] {
        let fin = flow.fin.unwrap();
        assert_eq!((fin.offset, fin.ack, fin.acked.unwrap().number), (0, 0, acked));
        assert_eq!((flow.sent, flow.acked, flow.missed, flow.retransmissions), (0, 0, 0, 0));
    }
}

#[test]
fn data_in_the_syn_counts() {
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b"GET / HTTP/1.1\r\n\r\n"));
    wire.send(from_server(SYN_ACK, -1, 18, b""));
    wire.send(from_client(ACK, 18, 0, b""));
    let record = wire.only();
    assert_eq!(
        (record.to_server.sent, record.to_server.acked, record.to_server.missed),
        (18, 18, 0)
    );
    assert!(record.app.exchanges.first.unwrap().request_complete());

    // Not taken by the server, and sent again.
    let mut wire = Wire::new();
    wire.send(from_client(SYN, -1, 0, b"abc"));
    wire.send(from_server(SYN_ACK, -1, 0, b""));
    wire.send(from_client(ACK, 0, 0, b"abc"));
    wire.send(from_server(ACK, 0, 3, b""));
    let flow = wire.only().to_server;
    assert_eq!((flow.sent, flow.acked, flow.retransmissions), (3, 3, 1));
}

#[test]
fn a_syn_with_data_is_refused() {
    for ack in [0, 3] {
        let mut wire = Wire::new();
        wire.send(from_client(SYN, -1, 0, b"abc"));
        let mut refusal = from_server(RST_ACK, 0, ack, b"");
        refusal.seq = 0;
        wire.send(refusal);
        let record = wire.only();
        let reset = &record.resets[0];
        assert_eq!(
            (reset.shape, reset.validity),
            (ResetShape::Refusal, ResetValidity::Exact)
        );
        assert_eq!(reset.trigger.unwrap().at.number, 1);
        assert!(!record.established());
    }
}

#[test]
fn a_tuple_used_again_right_after_both_fins() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(FIN_ACK, 0, 0, b""));
    wire.send(from_server(FIN_ACK, 0, 1, b""));
    wire.send(from_client(ACK, 1, 1, b""));
    wire.send(from_client(SYN, 400_000, 0, b""));
    wire.send(segment(server(), client(), SYN_ACK, S + 900_000, C + 400_002, b""));
    let records = wire.finish();
    assert_eq!(records[0].ending, Ending::TupleReused);
    assert!(records[0].to_server.fin.unwrap().acked.is_some() && records[0].to_client.fin.unwrap().acked.is_some());
    assert_eq!((records[1].handshake.syns, records[1].handshake.syn_acks), (1, 1));
    assert_eq!(records[1].to_server.acked, 0);
}

#[test]
fn what_went_unanswered_at_the_end() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"request"));
    for _ in 0..3 {
        wire.send_after(300 * MILLISECOND, from_client(ACK, 0, 0, b"request"));
    }
    // Somebody's reset is no answer.
    wire.send(from_server(RST, 0, 0, b""));
    let flow = wire.only().to_server;
    assert_eq!((flow.retransmissions, flow.unanswered_retransmissions), (3, 3));
}

#[test]
fn acknowledgements_never_go_back() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, b"abcdef"));
    let first = wire.send(from_server(ACK, 0, 6, b""));
    wire.send(from_server(ACK, 0, 3, b""));
    let record = wire.only();
    assert_eq!((record.to_server.acked, record.to_server.missed), (6, 0));
    assert_eq!(record.to_server.last_ack_of_it.unwrap().number, first);
    assert_eq!(record.timeline.find(first).unwrap().direction, Direction::ToClient);
}

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A request and its answer (packets 4 and 5), and the answer to another request that was not recorded yet (6).
fn two_answers_to_one() -> Wire {
    let (asked, answered) = (GET.len() as i64, OK.len() as i64);
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(ACK, 0, asked, OK));
    wire.send(from_server(ACK, answered, 2 * asked, OK));
    wire
}

/// Two exchanges; the second answer was recorded before its request, which came so much later. What was said of it.
fn answered_before(nanoseconds: i64) -> Connection {
    let (asked, answered) = (GET.len() as i64, OK.len() as i64);
    let mut wire = two_answers_to_one();
    wire.send_after(nanoseconds, from_client(ACK, asked, answered, GET));
    wire.send(from_client(FIN_ACK, 2 * asked, 2 * answered, b""));
    wire.send(from_server(FIN_ACK, 2 * answered, 2 * asked + 1, b""));
    wire.only()
}

#[test]
fn an_answer_recorded_before_its_request_waits_for_it() {
    let record = answered_before(900_000);
    let app = &record.app;
    assert_eq!((app.exchanges.total, app.exchanges.complete), (2, 2));
    assert_eq!((app.surplus_response_bytes, app.unseen_bounds), (0, false));
    assert_eq!((record.to_server.missed, record.to_client.missed), (0, 0));
    let newest = app.exchanges.newest().unwrap();
    assert_eq!(newest.request.as_ref().unwrap().begun.number, 7);
    assert_eq!(newest.response.as_ref().unwrap().begun.number, 6);
    let marked = |number: u64| {
        let notes = record.timeline.iter();
        notes
            .filter(|note| note.at.number == number && note.marks.has(Marks::ACKS_MISSED))
            .count()
    };
    assert_eq!((marked(6), marked(8)), (1, 0), "what is held was not missed");
}

#[test]
fn a_request_that_does_not_turn_up_was_missed() {
    let (asked, answered) = (GET.len() as i64, OK.len() as i64);
    let mut wire = two_answers_to_one();
    wire.send_after(1_100_000, from_client(ACK, 2 * asked, 2 * answered, b""));
    wire.send(from_client(ACK, 2 * asked, 2 * answered, GET));
    wire.send(from_server(ACK, 2 * answered, 3 * asked, OK));
    let record = wire.only();
    assert_eq!(
        (record.to_server.missed, record.app.surplus_response_bytes),
        (asked as u64, 0)
    );
    assert!(record.app.unseen_bounds);
    assert_eq!((record.app.exchanges.total, record.app.exchanges.complete), (3, 3));
}

/// Each side's bytes wait for the other's: neither waits forever, and nothing is lost.
#[test]
fn one_direction_alone_is_told_whole() {
    let mut wire = Wire::new();
    let answered = OK.len() as i64;
    for exchange in 0..50 {
        wire.send_after(100_000, from_server(ACK, exchange * answered, (exchange + 1) * 20, OK));
    }
    let record = wire.only();
    assert_eq!(record.to_client.sent, 50 * OK.len() as u64);
    assert_eq!((record.to_client.missed, record.app.exchanges.total), (0, 50));
    assert!(record.app.unseen_bounds, "no request was seen");
}

/// A piece of a body was missed, and before it is given up for lost three more requests are asked and answered: they wait for it, and for
/// each other.
#[test]
fn exchanges_behind_a_missed_piece_keep_their_order() {
    let (asked, answered) = (GET.len() as i64, OK.len() as i64);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n";
    let (piece, whole) = ([b'x'; 1000], head.len() as i64 + 3000);
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(ACK, 0, asked, head));
    wire.send_after(1_000, from_server(ACK, whole - 3000, asked, &piece));
    wire.send_after(1_000, from_server(ACK, whole - 1000, asked, &piece));
    for exchange in 0..3 {
        let (ask, answer) = ((exchange + 1) * asked, whole + exchange * answered);
        wire.send_after(50_000, from_client(ACK, ask, answer, GET));
        wire.send_after(50_000, from_server(ACK, answer, ask + asked, OK));
    }
    wire.send(from_client(FIN_ACK, 4 * asked, whole + 3 * answered, b""));
    wire.send(from_server(FIN_ACK, whole + 3 * answered, 4 * asked + 1, b""));
    let record = wire.only();
    let app = &record.app;
    assert_eq!((record.to_server.missed, record.to_client.missed), (0, 1000));
    assert_eq!(
        (app.exchanges.total, app.exchanges.complete, app.surplus_response_bytes),
        (4, 4, 0)
    );
    for exchange in app.exchanges.iter() {
        let numbers =
            [exchange.request.as_ref(), exchange.response.as_ref()].map(|message| message.unwrap().begun.number);
        assert_eq!(numbers[0] + 1, numbers[1], "{app:#?}");
    }
}

/// A side's end is told when all before it was: here its last answer had to wait.
#[test]
fn an_end_is_told_behind_what_it_ends() {
    let asked = GET.len() as i64;
    let mut wire = Wire::with(Limits {
        notices: true,
        ..Limits::default()
    });
    wire.greet();
    wire.send(from_server(FIN_ACK, 0, asked, OK));
    wire.send_after(100_000, from_client(ACK, 0, 0, GET));
    wire.send(from_client(FIN_ACK, asked, OK.len() as i64 + 1, b""));
    let told: Vec<&str> = wire
        .table
        .notices()
        .filter_map(|notice| match notice.what {
            Noticed::AskedAll { .. } => Some("asked"),
            Noticed::Answered { index: Some(0), .. } => Some("answered"),
            Noticed::Over {
                by: Direction::ToClient,
                ..
            } => Some("server over"),
            Noticed::Over {
                by: Direction::ToServer,
                ..
            } => Some("client over"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["asked", "answered", "server over", "client over"]);
}

/// The capture began with an answer, and its request was recorded behind that: it is answered.
#[test]
fn picked_up_at_an_answer_whose_request_follows() {
    let (asked, answered) = (GET.len() as i64, OK.len() as i64);
    let mut wire = Wire::new();
    wire.send(from_server(ACK, 0, asked, OK));
    wire.send_after(100_000, from_client(ACK, 0, 0, GET));
    for exchange in 1..3 {
        wire.send(from_client(ACK, exchange * asked, exchange * answered, GET));
        wire.send(from_server(ACK, exchange * answered, (exchange + 1) * asked, OK));
    }
    let app = wire.only().app;
    let unanswered = |exchange: &&crate::app::Exchange| exchange.request.is_some() && exchange.response.is_none();
    assert_eq!(app.exchanges.iter().filter(unanswered).count(), 0, "{app:#?}");
    assert_eq!(app.exchanges.complete, 2);
}
