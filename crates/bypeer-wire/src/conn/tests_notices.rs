//! What is told while a connection lives: by which packet, in which order, and what that had acknowledged.

use super::testkit::*;
use super::*;
use crate::app::{How, Notice, Noticed};
use crate::packet::Segment;
use crate::{Direction, Endpoint};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const ASKED: i64 = GET.len() as i64;
const ANSWERED: i64 = OK.len() as i64;

fn listening() -> Wire {
    Wire::with(Limits {
        notices: true,
        ..Limits::default()
    })
}

fn greeted() -> Wire {
    let mut wire = listening();
    wire.greet();
    wire
}

fn told(wire: &mut Wire) -> Vec<Notice> {
    wire.table.notices().collect()
}

/// The packet of each answer's first byte, its request, and what it acknowledged.
fn answering(notices: &[Notice]) -> Vec<(u64, Option<u32>, Option<u64>)> {
    notices
        .iter()
        .filter_map(|notice| match notice.what {
            Noticed::Answering { index, acked, .. } => Some((notice.at.number, index, acked)),
            _ => None,
        })
        .collect()
}

/// Who ended it how, with what was acknowledged and sent.
fn over(notices: &[Notice]) -> Vec<(Direction, How, Option<u64>, u64)> {
    notices
        .iter()
        .filter_map(|notice| match notice.what {
            Noticed::Over { by, how, acked, sent } => Some((by, how, acked, sent)),
            _ => None,
        })
        .collect()
}

fn count(notices: &[Notice], which: fn(&Noticed) -> bool) -> usize {
    notices.iter().filter(|notice| which(&notice.what)).count()
}

#[test]
fn nothing_is_told_to_nobody() {
    let mut wire = Wire::new();
    wire.greet();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(ACK, 0, ASKED, OK));
    assert_eq!(told(&mut wire), []);
}

#[test]
fn an_answer_is_told_with_what_its_first_segment_acknowledged() {
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    // It left before the request came, and was sent again after that.
    wire.send(from_server(ACK, 0, 0, OK));
    wire.send(from_server(ACK, 0, ASKED, b""));
    wire.send_after(300 * MILLISECOND, from_server(ACK, 0, ASKED, OK));
    let notices = told(&mut wire);
    assert_eq!(answering(&notices), [(5, Some(0), Some(0))]);
    assert_eq!(
        count(&notices, |what| matches!(
            what,
            Noticed::Answered { complete: true, .. }
        )),
        1
    );
    assert!(
        notices
            .iter()
            .all(|notice| (notice.client, notice.server) == (client(), server()))
    );
}

#[test]
fn what_came_out_of_order_keeps_its_own_packet_and_ack() {
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_client(ACK, ASKED, 0, GET));
    // The second answer is captured first, then sent again with a higher ACK; the first one fills the gap last.
    wire.send(from_server(ACK, ANSWERED, ASKED, OK));
    wire.send(from_server(ACK, ANSWERED, 2 * ASKED, OK));
    assert_eq!(answering(&told(&mut wire)), []);
    wire.send(from_server(ACK, 0, 2 * ASKED, OK));
    assert_eq!(
        answering(&told(&mut wire)),
        [(8, Some(0), Some(2 * ASKED as u64)), (6, Some(1), Some(ASKED as u64))]
    );
}

#[test]
fn copies_tell_nothing_again() {
    let mut wire = listening();
    let ids = [11, 21, 31, 41, 51];
    let numbered = |id: u16, segment: Segment<'static>| Segment {
        ip_id: Some(id),
        ..segment
    };
    let segments = [
        numbered(ids[0], from_client(SYN, -1, 0, b"")),
        numbered(ids[1], from_server(SYN_ACK, -1, 0, b"")),
        numbered(ids[2], from_client(ACK, 0, 0, GET)),
        numbered(ids[3], from_server(ACK, 0, ASKED, OK)),
        numbered(ids[4], from_server(FIN_ACK, ANSWERED, ASKED, b"")),
    ];
    for segment in &segments {
        wire.send_after(MILLISECOND, *segment);
        wire.send_after(MILLISECOND / 100, *segment);
    }
    let mirrored = told(&mut wire);
    let mut wire = listening();
    for segment in &segments {
        wire.send_from(1, MILLISECOND, *segment);
        wire.send_from(2, MILLISECOND / 100, *segment);
    }
    let from_two_places = told(&mut wire);
    for notices in [mirrored, from_two_places] {
        assert_eq!(answering(&notices), [(7, Some(0), Some(ASKED as u64))]);
        assert_eq!(count(&notices, |what| matches!(what, Noticed::Asked { .. })), 1);
        assert_eq!(over(&notices).len(), 1);
    }
}

#[test]
fn an_end_is_told_with_what_it_acknowledged() {
    let asked = ASKED as u64;
    let by = Direction::ToClient;
    for (segment, how, acked) in [
        (from_server(FIN_ACK, 0, ASKED, b""), How::Fin, Some(asked)),
        (from_server(FIN_ACK, 0, 0, b""), How::Fin, Some(0)),
        (from_server(RST_ACK, 0, ASKED, b""), How::Reset, Some(asked)),
        (from_server(RST, 0, 0, b""), How::Reset, Some(0)),
        (from_server(RST_ACK, 300, ASKED, b""), How::ResetInVain, Some(asked)),
    ] {
        let mut wire = greeted();
        wire.send(from_client(ACK, 0, 0, GET));
        wire.send(segment);
        let notices = told(&mut wire);
        assert_eq!(over(&notices), [(by, how, acked, 0)]);
        assert_eq!(notices.last().map(|notice| notice.at.number), Some(5));
    }
    // A bare reset acknowledges nothing; its side had before.
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(ACK, 0, ASKED, b""));
    wire.send(from_server(RST, 0, 0, b""));
    assert_eq!(over(&told(&mut wire)), [(by, How::Reset, Some(asked), 0)]);
}

#[test]
fn a_reset_cuts_the_answer_and_a_fin_comes_after_it() {
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(ACK, 0, ASKED, &OK[..40]));
    wire.send(from_client(RST_ACK, ASKED, 40, b""));
    let notices = told(&mut wire);
    let [.., cut, reset] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert!(
        matches!(
            cut.what,
            Noticed::Answered {
                complete: false,
                end: 40,
                ..
            }
        ),
        "{cut:?}"
    );
    assert!(
        matches!(
            reset.what,
            Noticed::Over {
                by: Direction::ToServer,
                ..
            }
        ),
        "{reset:?}"
    );

    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(FIN_ACK, 0, ASKED, b"HTTP/1.1 200 OK\r\n\r\nall of it"));
    let notices = told(&mut wire);
    let [.., whole, fin] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert!(
        matches!(whole.what, Noticed::Answered { complete: true, .. }),
        "{whole:?}"
    );
    assert!(matches!(fin.what, Noticed::Over { how: How::Fin, .. }), "{fin:?}");
}

#[test]
fn a_hole_is_the_end_of_telling() {
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    // Missed by the capture, and acknowledged.
    wire.send(from_client(ACK, ASKED, ANSWERED, GET));
    wire.send(from_server(ACK, ANSWERED, 2 * ASKED, OK));
    let notices = told(&mut wire);
    assert_eq!(count(&notices, |what| *what == Noticed::Lost), 1);
    assert_eq!(answering(&notices), []);
}

#[test]
fn roles_that_were_guessed_wrong_are_right_in_what_is_told() {
    let mut wire = listening();
    let (high, low) = (
        Endpoint {
            port: 50_000,
            ..server()
        },
        client(),
    );
    // Seen from the middle: the ports say that 40000 is the server's.
    wire.send(segment(low, high, ACK, 1_000, 9_000, GET));
    wire.send(segment(high, low, ACK, 9_000, 1_000 + GET.len() as u32, OK));
    wire.send(segment(
        high,
        low,
        FIN_ACK,
        9_000 + OK.len() as u32,
        1_000 + GET.len() as u32,
        b"",
    ));
    let notices = told(&mut wire);
    assert!(
        notices
            .iter()
            .all(|notice| (notice.client, notice.server) == (low, high)),
        "{notices:?}"
    );
    assert!(matches!(notices[0].what, Noticed::Begun { whole: false, .. }));
    assert_eq!(answering(&notices), [(2, Some(0), Some(ASKED as u64))]);
    assert_eq!(
        over(&notices),
        [(Direction::ToClient, How::Fin, Some(ASKED as u64), ANSWERED as u64)]
    );
}

#[test]
fn a_connection_that_is_forgotten_says_so() {
    let mut wire = greeted();
    wire.send(from_client(ACK, 0, 0, GET));
    wire.send(from_server(RST_ACK, 0, ASKED, b""));
    told(&mut wire);
    // Much later, somebody else.
    let other = Endpoint {
        port: 40_001,
        ..client()
    };
    wire.send_after(100_000 * MILLISECOND, segment(other, server(), SYN, 1, 0, b""));
    let notices = told(&mut wire);
    assert_eq!(
        notices.iter().map(|notice| &notice.what).collect::<Vec<_>>(),
        [&Noticed::Gone]
    );
}
