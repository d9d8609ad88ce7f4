//! `close` on real sockets.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lingering::{Closer, Ended, Limits, Outcome, close, so_linger, unread, unsent};
use socket2::SockRef;
use support::{ANSWER, ENOUGH, UPLOAD, answer_early, eventually, fill, pair, upload_then_read};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn an_early_answer_arrives_whole() {
    let (mut server, peer) = pair();
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    answer_early(&mut server);
    let outcome = close(server, &Limits::default());
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    assert_eq!((outcome.ended, outcome.drained), (Ended::Eof, UPLOAD as u64 - 1));
    assert_eq!((outcome.unread, outcome.delivered()), (Some(0), Some(true)));
    assert!(!outcome.is_cut());
}

#[test]
fn a_plain_close_loses_what_a_lingering_one_does_not() {
    const ROUNDS: usize = 40;
    let lost = |closes: &dyn Fn(std::net::TcpStream)| {
        let rounds = (0..ROUNDS).map(|_| {
            let (mut server, peer) = pair();
            let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
            answer_early(&mut server);
            closes(server);
            peer.join().unwrap().is_ok_and(|answer| answer == ANSWER)
        });
        rounds.filter(|arrived| !arrived).count()
    };
    let plain = lost(&|server| drop(server));
    let lingering = lost(&|server| assert_eq!(close(server, &Limits::default()).ended, Ended::Eof));
    assert_eq!(lingering, 0);
    assert!(plain > 0, "the plain close lost nothing");
}

#[test]
fn a_unix_socket_lingers_too() {
    let (mut server, peer) = UnixStream::pair().unwrap();
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    answer_early(&mut server);
    let outcome = close(server, &Limits::default());
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    assert_eq!((outcome.ended, outcome.drained), (Ended::Eof, UPLOAD as u64 - 1));
}

#[test]
fn more_than_the_bound_ends_it_and_is_said() {
    let (mut server, peer) = pair();
    let peer = thread::spawn(move || upload_then_read(peer, 4 * UPLOAD));
    answer_early(&mut server);
    let outcome = close(server, &Limits::default().bytes(100_000));
    assert_eq!((outcome.ended, outcome.drained), (Ended::ByteBound, 100_001));
    assert!(outcome.is_cut());
    assert!(outcome.unread > Some(0), "{outcome:?}");
    assert_ne!(outcome.delivered(), Some(true));
    let error = peer.join().unwrap().expect_err("the reset");
    assert!(
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        "{error}"
    );
}

#[test]
fn an_upload_of_exactly_the_bound_is_within_it() {
    for (sent, ended) in [(1000, Ended::Eof), (1001, Ended::ByteBound)] {
        let (server, mut peer) = pair();
        peer.write_all(&vec![0; sent]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            close(server, &Limits::default().bytes(1000)).ended,
            ended,
            "{sent} bytes"
        );
    }
}

#[test]
fn silence_ends_it() {
    let (server, peer) = pair();
    let idle = 100 * MILLISECOND;
    let outcome = close(server, &Limits::default().idle(idle).total(ENOUGH));
    assert_eq!(
        (outcome.ended, outcome.drained, outcome.unread),
        (Ended::Idle, 0, Some(0))
    );
    assert!(outcome.lasted >= idle && outcome.lasted < ENOUGH, "{outcome:?}");
    assert_eq!(outcome.delivered(), None);
    drop(peer);
}

#[test]
fn a_trickle_ends_with_the_total() {
    let (server, mut peer) = pair();
    let trickle = thread::spawn(move || {
        // Until the reset for a byte after the close.
        while peer.write_all(b"t").is_ok() {
            thread::sleep(5 * MILLISECOND);
        }
    });
    let total = 300 * MILLISECOND;
    let outcome = close(server, &Limits::default().idle(ENOUGH).total(total));
    assert_eq!(outcome.ended, Ended::Deadline);
    assert!(outcome.drained > 1, "{outcome:?}");
    assert!(outcome.lasted >= total && outcome.lasted < ENOUGH, "{outcome:?}");
    trickle.join().unwrap();
}

#[test]
fn a_reset_is_told() {
    let (mut server, peer) = pair();
    let (closing, closes) = mpsc::channel();
    let reset = thread::spawn(move || {
        closes.recv().unwrap();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    });
    server.write_all(ANSWER).unwrap();
    closing.send(()).unwrap();
    let outcome = close(server, &Limits::default());
    assert_eq!(outcome.ended, Ended::Reset);
    reset.join().unwrap();
}

#[test]
fn a_reset_that_came_before_is_told_unless_somebody_was_told() {
    let reset = || {
        let (server, peer) = pair();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        server
    };
    assert_eq!(close(reset(), &Limits::default()).ended, Ended::Reset);
    // Also where something lies before it that a read finds first.
    let (server, mut peer) = pair();
    peer.write_all(&[0; 1000]).unwrap();
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(close(server, &Limits::default()).ended, Ended::Reset);
    let mut told = reset();
    assert_eq!(told.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    // There is no connection any more, and no more is known.
    assert_eq!(close(told, &Limits::default()).ended, Ended::Gone);
}

#[test]
fn what_a_peer_threw_away_is_said() {
    let (server, peer) = pair();
    let written = fill(&server);
    // With so much unread its kernel resets.
    drop(peer);
    let outcome = close(server, &Limits::default());
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Reset, Some(false)));
    assert!(
        outcome.unsent > Some(0) && outcome.unsent <= Some(written as u64),
        "{outcome:?}"
    );
}

#[test]
fn so_linger_neither_destroys_nor_blocks() {
    for seconds in [0, 30] {
        let (server, mut peer) = pair();
        SockRef::from(&server)
            .set_linger(Some(Duration::from_secs(seconds)))
            .unwrap();
        assert_eq!(so_linger(&server), Some(Duration::from_secs(seconds)));
        let written = fill(&server);
        let clone = server.try_clone().unwrap();
        // The peer reads nothing: a close with SO_LINGER of 30 s would block, one of 0 s throw everything away.
        let outcome = close(server, &Limits::default().idle(50 * MILLISECOND));
        assert_eq!(so_linger(&clone), None);
        drop(clone);
        assert_eq!(outcome.ended, Ended::Idle);
        assert!(outcome.unsent > Some(0), "{outcome:?}");
        assert!(outcome.lasted < Duration::from_secs(20), "{outcome:?}");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written, "SO_LINGER {seconds}");
    }
}

#[test]
fn a_peer_that_reads_slowly_and_sends_nothing_gets_everything() {
    let (server, mut peer) = pair();
    let written = fill(&server);
    let (closed, closes) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut read = 0;
        let began = Instant::now();
        // Silent for longer than two idle limits, and reading all the time.
        while began.elapsed() < Duration::from_millis(2500) {
            read += peer.read(&mut buffer[..16 << 10]).unwrap();
            assert!(closes.try_recv().is_err(), "closed while the peer was reading");
            thread::sleep(5 * MILLISECOND);
        }
        read += peer.read_to_end(&mut Vec::new()).unwrap();
        read
    });
    let outcome = close(server, &Limits::default().idle(Duration::from_secs(1)).total(ENOUGH));
    closed.send(()).unwrap_or(());
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    assert_eq!(reader.join().unwrap(), written);
}

#[test]
fn a_peer_that_half_closed_early_is_waited_for_until_it_has_everything() {
    let (server, mut peer) = pair();
    let written = fill(&server);
    peer.shutdown(Shutdown::Write).unwrap();
    let closes = thread::spawn(move || close(server, &Limits::default().idle(ENOUGH).total(ENOUGH)));
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    let outcome = closes.join().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    assert_eq!(received.len(), written);
}

#[test]
fn a_peer_that_half_closed_and_takes_nothing_is_no_end() {
    let idle = Limits::default().idle(100 * MILLISECOND).total(ENOUGH);
    let total = Limits::default().idle(ENOUGH).total(100 * MILLISECOND);
    for (limits, ended) in [(idle, Ended::Idle), (total, Ended::Deadline)] {
        let (server, mut peer) = pair();
        let written = fill(&server);
        peer.shutdown(Shutdown::Write).unwrap();
        let outcome = close(server, &limits);
        assert_eq!((outcome.ended, outcome.delivered()), (ended, None));
        assert!(outcome.unsent > Some(0), "{outcome:?}");
        // Nothing lay unread, so the kernel goes on.
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
    }
}

#[test]
fn a_reset_after_a_half_close_is_told() {
    let (server, mut peer) = pair();
    fill(&server);
    peer.write_all(b"all of it").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let clone = server.try_clone().unwrap();
    let closes = thread::spawn(move || close(server, &Limits::default().idle(ENOUGH).total(ENOUGH)));
    eventually("it is read", || unread(&clone) == Some(0));
    // With so much unread its kernel resets.
    drop(peer);
    let outcome = closes.join().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Reset, Some(false)));
}

#[test]
fn a_unix_socket_is_at_its_end_with_the_peers() {
    let (mut server, mut peer) = UnixStream::pair().unwrap();
    server.write_all(ANSWER).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    // The answer lies in the peer's own queue.
    let outcome = close(server, &Limits::default().idle(ENOUGH).total(ENOUGH));
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, ANSWER);
}

#[test]
fn a_unix_socket_takes_nothing_from_its_peer() {
    let (mut server, mut peer) = UnixStream::pair().unwrap();
    server.write_all(ANSWER).unwrap();
    peer.write_all(&[0; 1000]).unwrap();
    let outcome = close(server, &Limits::default().bytes(100));
    assert_eq!(outcome.ended, Ended::ByteBound);
    assert!(outcome.unsent > Some(0) && outcome.unread > Some(0), "{outcome:?}");
    assert_eq!(outcome.delivered(), None);
    let mut received = vec![0; ANSWER.len()];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(received, ANSWER);
}

#[test]
fn our_end_comes_before_the_close_and_what_is_sent_after_it_is_drained() {
    let (mut server, mut peer) = pair();
    server.write_all(ANSWER).unwrap();
    let closes = thread::spawn(move || close(server, &Limits::default()));
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, ANSWER);
    for _ in 0..50 {
        peer.write_all(&[0; 1000]).unwrap();
    }
    drop(peer);
    let outcome = closes.join().unwrap();
    assert_eq!((outcome.ended, outcome.drained), (Ended::Eof, 50_000));
}

#[test]
fn whether_the_socket_blocks_and_its_timeouts_do_not_matter() {
    for nonblocking in [false, true] {
        let (mut server, peer) = pair();
        let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
        answer_early(&mut server);
        server.set_read_timeout(Some(MILLISECOND)).unwrap();
        server.set_nonblocking(nonblocking).unwrap();
        assert_eq!(close(server, &Limits::default()).ended, Ended::Eof);
        assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    }
}

#[test]
fn what_is_unread_and_unsent_can_be_asked() {
    let (server, mut peer) = pair();
    peer.write_all(&[0; 1234]).unwrap();
    eventually("1234 bytes unread", || unread(&server) == Some(1234));
    eventually("all acknowledged", || unsent(&peer) == Some(0));
    let written = fill(&server);
    let held = unsent(&server).unwrap();
    assert!(held > 0 && held <= written as u64, "{held} of {written}");
    let (one, mut other) = UnixStream::pair().unwrap();
    other.write_all(&[0; 77]).unwrap();
    assert_eq!(unread(&one), Some(77));
    assert!(unsent(&other) >= Some(77));
    assert_eq!(unsent(&one), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_is_ready_without_end_outlasts_no_bound() {
    let idle = Limits::default().idle(100 * MILLISECOND).total(ENOUGH);
    let total = Limits::default().idle(ENOUGH).total(100 * MILLISECOND);
    for (limits, ended) in [(idle, Ended::Idle), (total, Ended::Deadline)] {
        let (server, _peer) = pair();
        support::write_stamped(&server);
        eventually("a stamp in the error queue", || support::is_ready(&server));
        let clone = server.try_clone().unwrap();
        let (closed, closes) = mpsc::channel();
        thread::spawn(move || closed.send(close(server, &limits)));
        let outcome = closes.recv_timeout(ENOUGH).expect("it ends");
        assert_eq!((outcome.ended, outcome.unsent), (ended, Some(0)));
        assert!(!support::is_ready(&clone), "and did not wake us all the time");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closer_is_not_kept_awake_by_an_error_queue() {
    let closer = Closer::new(Limits::default().idle(ENOUGH).total(ENOUGH), 10).unwrap();
    let (server, _peer) = pair();
    let clone = server.try_clone().unwrap();
    support::write_stamped(&server);
    eventually("a stamp in the error queue", || support::is_ready(&clone));
    closer.add(server, ());
    eventually("the queue is emptied", || !support::is_ready(&clone));
    assert_eq!(closer.finish(Duration::ZERO).stopped, 1);
}

#[test]
fn a_thread_that_ends_can_still_close() {
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    struct Late(Option<std::net::TcpStream>, mpsc::Sender<Outcome>);
    impl Drop for Late {
        fn drop(&mut self) {
            let stream = self.0.take().unwrap();
            self.1.send(close(stream, &Limits::default())).unwrap();
        }
    }
    let (server, peer) = pair();
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    let (closed, closes) = mpsc::channel();
    let ends = thread::spawn(move || {
        // The crate's own buffer is made after it, and is gone before it.
        LATE.set(Some(Late(Some(server), closed)));
        let (first, peer) = pair();
        drop(peer);
        assert_eq!(close(first, &Limits::default()).ended, Ended::Eof);
    });
    ends.join().unwrap();
    assert_eq!(closes.recv().unwrap().ended, Ended::Eof);
    peer.join().unwrap().unwrap();
}

#[test]
fn what_is_no_connection_fails_and_does_not_hang() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let outcome = close(listener, &Limits::default());
    assert_eq!(outcome.ended, Ended::Gone);
    let (reader, _writer) = io::pipe().unwrap();
    let outcome = close(reader, &Limits::default());
    assert!(matches!(outcome.ended, Ended::Failed(_)), "{outcome:?}");
}
