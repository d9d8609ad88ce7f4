//! The closer on real sockets, with each way of waiting.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{Closer, Shared};
use crate::limits::Limits;
use crate::outcome::{Ended, Outcome};
use crate::poller::Poller;

const ENOUGH: Duration = Duration::from_secs(60);
const UPLOAD: usize = 4 << 20;

type Told = mpsc::Receiver<(usize, Outcome)>;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// The test, with epoll where there is one and with poll.
fn each_way(limits: Limits, most: usize, test: impl Fn(Closer<usize>, Told)) {
    for poller in [Poller::new(), Poller::portable()] {
        let (tell, told) = mpsc::channel();
        let hook = move |tag, outcome| tell.send((tag, outcome)).unwrap();
        test(Closer::with_poller(limits, most, hook, poller.unwrap()).unwrap(), told);
    }
}

#[test]
fn early_answers_arrive_whole() {
    each_way(Limits::default(), 1000, |closer, told| {
        let peers: Vec<_> = (0..20)
            .map(|number| {
                let (mut server, mut peer) = pair();
                let peer = thread::spawn(move || {
                    peer.write_all(&vec![b'u'; UPLOAD]).unwrap();
                    peer.shutdown(Shutdown::Write).unwrap();
                    let mut answer = String::new();
                    peer.read_to_string(&mut answer).unwrap();
                    answer
                });
                server.read_exact(&mut [0]).unwrap();
                server.write_all(b"answer").unwrap();
                closer.add(server, number);
                peer
            })
            .collect();
        for peer in peers {
            assert_eq!(peer.join().unwrap(), "answer");
        }
        let counts = closer.finish(ENOUGH);
        let drained = 20 * (UPLOAD as u64 - 1);
        assert_eq!(
            (counts.added, counts.lingering, counts.eof, counts.drained, counts.cut()),
            (20, 0, 20, drained, 0)
        );
        let mut outcomes: Vec<_> = told.try_iter().collect();
        outcomes.sort_by_key(|(number, _)| *number);
        assert_eq!(outcomes.len(), 20, "all are told of before the end");
        for (number, (tag, outcome)) in outcomes.iter().enumerate() {
            assert_eq!(
                (number, outcome.ended, outcome.delivered()),
                (*tag, Ended::Eof, Some(true))
            );
        }
    });
}

#[test]
fn a_unix_socket_and_a_socket_with_a_clone_linger_too() {
    each_way(Limits::default(), 10, |closer, told| {
        let (server, mut peer) = UnixStream::pair().unwrap();
        let clone = server.try_clone().unwrap();
        closer.add(server, 0);
        peer.write_all(&[0; 10_000]).unwrap();
        drop(peer);
        let (tag, outcome) = told.recv_timeout(ENOUGH).unwrap();
        assert_eq!((tag, outcome.ended, outcome.drained), (0, Ended::Eof, 10_000));
        // The clone keeps the socket open; nobody waits for it any more.
        let (server, peer) = pair();
        closer.add(server, 1);
        drop(peer);
        assert_eq!(told.recv_timeout(ENOUGH).unwrap().0, 1);
        drop(clone);
    });
}

/// Whose peer has half-closed, and has not read what was written; and that peer.
fn half_closed() -> (TcpStream, TcpStream, usize) {
    let (server, peer) = pair();
    server.set_nonblocking(true).unwrap();
    let mut written = 0;
    while let Ok(bytes) = (&server).write(&[0; 65_536]) {
        written += bytes;
    }
    peer.shutdown(Shutdown::Write).unwrap();
    (server, peer, written)
}

#[test]
fn who_half_closed_is_waited_for_until_it_has_everything() {
    each_way(Limits::default().idle(ENOUGH).total(ENOUGH), 10, |closer, told| {
        let (server, mut peer, written) = half_closed();
        let (resets, reset, _) = half_closed();
        closer.add(server, 0);
        closer.add(resets, 1);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
        let (tag, outcome) = told.recv_timeout(ENOUGH).unwrap();
        assert_eq!((tag, outcome.ended, outcome.delivered()), (0, Ended::Eof, Some(true)));
        // With so much unread its kernel resets.
        drop(reset);
        let (tag, outcome) = told.recv_timeout(ENOUGH).unwrap();
        assert_eq!(
            (tag, outcome.ended, outcome.delivered()),
            (1, Ended::Reset, Some(false))
        );
    });
}

#[test]
fn who_half_closed_and_takes_nothing_is_bounded() {
    let idle = Duration::from_millis(100);
    each_way(Limits::default().idle(idle).total(ENOUGH), 10, |closer, told| {
        let (server, _peer, _) = half_closed();
        closer.add(server, 0);
        let (_, outcome) = told.recv_timeout(ENOUGH).unwrap();
        assert_eq!((outcome.ended, outcome.delivered()), (Ended::Idle, None));
        assert!(outcome.unsent > Some(0), "{outcome:?}");
    });
}

#[test]
fn the_oldest_makes_room() {
    each_way(Limits::default().idle(ENOUGH).total(ENOUGH), 2, |closer, told| {
        let pairs: Vec<_> = (0..5).map(|_| pair()).collect();
        let mut peers = Vec::new();
        for (number, (server, peer)) in pairs.into_iter().enumerate() {
            closer.add(server, number);
            peers.push(peer);
        }
        for number in 0..3 {
            let (tag, outcome) = told.recv_timeout(ENOUGH).unwrap();
            assert_eq!((tag, outcome.ended), (number, Ended::Crowded));
        }
        assert_eq!(closer.counts().lingering, 2);
        drop(peers);
        let counts = closer.finish(ENOUGH);
        assert_eq!((counts.crowded, counts.eof), (3, 2));
    });
}

#[test]
fn who_is_done_is_not_crowded_out() {
    each_way(Limits::default(), 1, |closer, told| {
        for number in 0..50 {
            let (server, peer) = pair();
            drop(peer);
            closer.add(server, number);
        }
        let counts = closer.finish(ENOUGH);
        assert_eq!((counts.added, counts.eof, counts.crowded), (50, 50, 0));
        drop(told);
    });
}

#[test]
fn attackers_are_bounded() {
    let idle = Duration::from_millis(200);
    let total = Duration::from_millis(600);
    each_way(
        Limits::default().idle(idle).total(total).bytes(1 << 20),
        100,
        |closer, told| {
            let began = Instant::now();
            let mut peers = Vec::new();
            for number in 0..40 {
                let (server, peer) = pair();
                let kept = peer.try_clone().unwrap();
                match number % 4 {
                    // Sends a byte now and then.
                    0 => drop(thread::spawn(move || {
                        while (&peer).write_all(b"t").is_ok() {
                            thread::sleep(Duration::from_millis(10));
                        }
                    })),
                    // Sends what it can.
                    1 => drop(thread::spawn(move || while (&peer).write_all(&[0; 65_536]).is_ok() {})),
                    // Never reads, and has much to read.
                    2 => {
                        server.set_nonblocking(true).unwrap();
                        while (&server).write(&[0; 65_536]).is_ok() {}
                    }
                    // Never closes.
                    _ => {}
                }
                peers.push(kept);
                closer.add(server, number);
            }
            for _ in 0..40 {
                let (number, outcome) = told.recv_timeout(ENOUGH).unwrap();
                // A busy machine may starve a writer for as long as an idle limit, and kernels go on moving for a while what
                // nobody reads.
                let expected: &[Ended] = match number % 4 {
                    0 => &[Ended::Deadline, Ended::Idle],
                    1 => &[Ended::ByteBound, Ended::Deadline, Ended::Idle],
                    // Whoever looks late finds both bounds passed.
                    _ => &[Ended::Idle, Ended::Deadline],
                };
                assert!(expected.contains(&outcome.ended), "{number}: {outcome:?}");
                assert!(outcome.drained <= (1 << 20) + 1);
            }
            let counts = closer.counts();
            assert_eq!((counts.lingering, counts.cut()), (0, 40));
            assert!(began.elapsed() < ENOUGH);
        },
    );
}

#[test]
fn the_end_is_bounded_and_holds_for_later_ones() {
    each_way(Limits::default().idle(ENOUGH).total(ENOUGH), 10, |closer, told| {
        let (server, _peer) = pair();
        closer.add(server, 0);
        let began = Instant::now();
        let counts = closer.finish(Duration::from_millis(50));
        assert!(began.elapsed() < ENOUGH);
        assert_eq!((counts.stopped, counts.lingering), (1, 0));
        assert_eq!(told.try_recv().unwrap().1.ended, Ended::Stopped);
        let (server, _peer) = pair();
        closer.add(server, 1);
        assert_eq!(told.recv_timeout(ENOUGH).unwrap().1.ended, Ended::Stopped);
        assert_eq!(closer.finish(ENOUGH).stopped, 2);
    });
}

#[test]
fn a_hook_that_panics_ends_nothing() {
    let closer = Closer::with_hook(Limits::default(), 10, |number, _| {
        assert_ne!(number, 0, "a panic of this test")
    });
    let closer = closer.unwrap();
    for number in 0..3 {
        let (server, peer) = pair();
        drop(peer);
        closer.add(server, number);
    }
    assert_eq!(closer.finish(ENOUGH).eof, 3);
}

#[test]
fn the_thread_ends_after_the_last_handle_and_the_last_connection() {
    let closer = Closer::new(Limits::default(), 10).unwrap();
    let shared: Weak<Shared<()>> = Arc::downgrade(&closer.owner.0);
    let (server, peer) = pair();
    closer.clone().add(server, ());
    drop(closer);
    assert!(shared.upgrade().is_some(), "a connection is left");
    drop(peer);
    let began = Instant::now();
    while shared.strong_count() > 0 {
        assert!(began.elapsed() < ENOUGH, "the thread does not end");
        thread::sleep(Duration::from_millis(1));
    }
}
