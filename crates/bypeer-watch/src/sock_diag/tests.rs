//! Each row of the table, made on loopback by whoever runs the tests.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Instant;

use bypeer_wire::Timestamp;
use nix::sys::socket::{AddressFamily, SockFlag, SockType};

use super::*;

const FAMILIES: [&str; 2] = ["127.0.0.1", "::1"];
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, and who hears of it.
struct Scene {
    source: SockDiag,
    listener: Option<TcpListener>,
    client: Option<TcpStream>,
    server: Option<TcpStream>,
    client_end: SocketAddr,
    server_end: SocketAddr,
}

impl Scene {
    fn new(address: &str) -> Scene {
        // Others test at the same time: as they are told apart by their ports, nothing else is needed.
        let source = SockDiag::open().unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let server_end = listener.local_addr().unwrap();
        let client = TcpStream::connect(server_end).unwrap();
        Scene {
            source,
            client_end: client.local_addr().unwrap(),
            server_end,
            client: Some(client),
            server: Some(listener.accept().unwrap().0),
            listener: Some(listener),
        }
    }

    fn client(&mut self) -> &mut TcpStream {
        self.client.as_mut().unwrap()
    }

    fn server(&mut self) -> &mut TcpStream {
        self.server.as_mut().unwrap()
    }

    /// The client's bytes lie in the server's queue.
    fn request(&mut self, bytes: usize) {
        self.client().write_all(&vec![b'q'; bytes]).unwrap();
        while self.server().peek(&mut vec![0; bytes]).unwrap() < bytes {}
    }

    /// The server's bytes lie in the client's queue.
    fn answer(&mut self, bytes: usize) {
        self.server().write_all(&vec![b'a'; bytes]).unwrap();
        while self.client().peek(&mut vec![0; bytes]).unwrap() < bytes {}
    }

    fn serve(&mut self, request: usize, answer: usize) {
        self.request(request);
        self.server().read_exact(&mut vec![0; request]).unwrap();
        self.answer(answer);
        self.client().read_exact(&mut vec![0; answer]).unwrap();
    }

    /// What is heard of the connection until both of its ends are dead. First of the server, then of the client.
    fn end(mut self) -> (Option<Heard>, Option<Heard>) {
        let mut heard = self.take_until_quiet();
        self.server = None;
        heard.extend(self.take_until_quiet());
        self.client = None;
        heard.extend(self.take_until_quiet());
        self.listener = None;
        heard.extend(self.take_until_quiet());
        let mut of = |local: SocketAddr, remote: SocketAddr| {
            let mut its: Vec<Heard> = heard
                .extract_if(.., |heard| {
                    heard.local == local && (heard.remote == remote || heard.remote == SocketAddr::new(remote.ip(), 0))
                })
                .collect();
            assert!(its.len() <= 1, "{its:#?}");
            its.pop()
        };
        let both = (
            of(self.server_end, self.client_end),
            of(self.client_end, self.server_end),
        );
        for heard in [&both.0, &both.1].into_iter().flatten() {
            assert!(heard.cookie != 0 && heard.testimony.number > 0);
            assert!(heard.testimony.at.0 > 0 && !heard.testimony.tick.is_zero());
        }
        both
    }

    fn take_until_quiet(&mut self) -> Vec<Heard> {
        let (start, mut heard) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_millis(60) {
            heard.extend(self.source.take().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.source.lost(), 0);
        heard
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    told: Told,
    side: Option<Side>,
    unread: Option<u64>,
    /// Unsent and unacknowledged.
    unsent: Option<u64>,
}

fn seen(heard: Option<Heard>) -> Seen {
    let heard = heard.expect("it is told");
    Seen {
        told: heard.testimony.told,
        side: heard.testimony.side,
        unread: heard.testimony.unread,
        unsent: heard.testimony.unsent.zip(heard.testimony.unacked).map(|(a, b)| a + b),
    }
}

fn destroyed(side: Side, unread: impl Into<Option<u64>>, unsent: u64) -> Seen {
    Seen {
        told: Told::Destroyed,
        side: Some(side),
        unread: unread.into(),
        unsent: Some(unsent),
    }
}

fn reset_sent(side: Side) -> Seen {
    Seen {
        told: Told::ResetSent,
        side: Some(side),
        unread: None,
        unsent: None,
    }
}

fn linger_zero(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An acknowledgment alone may take 40 ms.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn closed_with_unread_bytes() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.serve(7, 9);
        scene.request(22);
        scene.server().read_exact(&mut [0; 2]).unwrap();
        a_moment();
        let lingering = family == FAMILIES[1];
        if lingering {
            linger_zero(scene.server());
        }
        scene.server = None;
        let (server, client) = scene.end();
        let testimony = server.clone().unwrap().testimony;
        assert_eq!((testimony.received, testimony.acked), (Some(29), Some(9)));
        assert!(testimony.since_received.unwrap() >= Duration::from_millis(20));
        assert!(testimony.round_trip.is_some() && testimony.listening == Some(true));
        assert_eq!(seen(server), destroyed(Side::Server, 20, 0));
        // It received the reset.
        let testimony = client.clone().unwrap().testimony;
        assert_eq!((testimony.received, testimony.acked), (Some(9), Some(29)));
        assert_eq!(testimony.listening, Some(false));
        assert_eq!(seen(client), destroyed(Side::Client, 0, 0));
    }
}

#[test]
fn closed_with_unread_bytes_and_a_fin() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.request(22);
        scene.client().shutdown(Shutdown::Write).unwrap();
        a_moment();
        scene.server = None;
        let (server, client) = scene.end();
        assert_eq!(seen(server), destroyed(Side::Server, 23, 0));
        // Its own FIN was acknowledged: whether the reset was received cannot be told.
        assert!(client.is_none(), "{client:?}");
    }
}

#[test]
fn one_unread_byte_may_be_a_fin() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.request(1);
        scene.server = None;
        let (server, client) = scene.end();
        assert_eq!(seen(server), destroyed(Side::Server, None, 0));
        assert_eq!(seen(client), destroyed(Side::Client, 0, 0));
    }
}

#[test]
fn closed_with_unread_bytes_and_a_full_queue() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.server().set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(length) = scene.server().write(&[0; 1 << 16]) {
            written += length as u64;
        }
        scene.server().set_nonblocking(false).unwrap();
        scene.request(22);
        scene.server = None;
        let (server, client) = scene.end();
        let testimony = server.unwrap().testimony;
        assert_eq!((testimony.unread, testimony.side), (Some(22), Some(Side::Server)));
        let left = testimony.unsent.unwrap() + testimony.unacked.unwrap();
        assert_eq!(left + testimony.acked.unwrap(), written);
        // It had read nothing.
        let testimony = client.unwrap().testimony;
        assert_eq!(testimony.unread, testimony.received);
        assert_eq!(testimony.side, Some(Side::Client));
    }
}

#[test]
fn killed_and_exited_with_unread_bytes() {
    for (family, program) in FAMILIES.into_iter().zip(["sleep 60", "exit 0"]) {
        let mut scene = Scene::new(family);
        scene.request(22);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 1>&-; {program}")]);
        command.stdin(OwnedFd::from(scene.server.take().unwrap()));
        let mut child = command.spawn().unwrap();
        drop(command);
        if program != "exit 0" {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        // A shell that was killed leaves its child with our socket for a moment at most.
        let (server, _) = scene.end();
        if let Some(server) = server {
            assert_eq!(seen(Some(server)), destroyed(Side::Server, 22, 0));
        } else {
            assert_ne!(program, "exit 0");
        }
    }
}

#[test]
fn who_received_a_reset_with_an_answer_unread() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.answer(9);
        scene.request(22);
        scene.server = None;
        a_moment();
        let read_error = family == FAMILIES[0];
        if read_error {
            let mut buffer = [0; 9];
            let _ = scene.client().read(&mut buffer);
        }
        let (server, client) = scene.end();
        assert_eq!(seen(server), destroyed(Side::Server, 22, 0));
        let unread = if read_error { 0 } else { 9 };
        assert_eq!(seen(client), destroyed(Side::Client, unread, 0));
    }
}

#[test]
fn disconnected() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.serve(22, 3);
        linger_zero(scene.server());
        scene.server = None;
        let (server, client) = scene.end();
        let heard = server.clone().unwrap();
        assert_eq!(heard.remote, SocketAddr::new(family.parse().unwrap(), 0));
        assert_eq!(seen(server), reset_sent(Side::Server));
        assert_eq!(seen(client), destroyed(Side::Client, 0, 0));

        // Nobody had accepted it.
        let mut scene = Scene::new(family);
        let waiting = TcpStream::connect(scene.server_end).unwrap();
        // It was there for more than a second.
        scene.source.facts.listeners.as_mut().unwrap().ask().unwrap();
        scene.listener = None;
        let heard = scene.take_until_quiet();
        let heard = heard.into_iter().find(|heard| heard.local == scene.server_end);
        assert_eq!(seen(heard), reset_sent(Side::Server));
        let own = waiting.local_addr().unwrap();
        drop(waiting);
        let heard = scene.take_until_quiet();
        let heard = heard.into_iter().find(|heard| heard.local == own);
        assert_eq!(seen(heard), destroyed(Side::Client, 0, 0));
    }
}

#[test]
fn late_data() {
    for family in FAMILIES {
        for reads_the_end in [true, false] {
            let mut scene = Scene::new(family);
            scene.serve(22, 3);
            scene.server = None;
            a_moment();
            if reads_the_end {
                assert_eq!(scene.client().read(&mut [0]).unwrap(), 0);
            }
            scene.client().write_all(b"late").unwrap();
            a_moment();
            let (server, client) = scene.end();
            assert!(server.is_none(), "{server:?}");
            let unread = if reads_the_end { Some(0) } else { None };
            let testimony = client.clone().unwrap().testimony;
            assert_eq!((testimony.unacked, testimony.acked), (Some(4), Some(22)));
            assert_eq!(seen(client), destroyed(Side::Client, unread, 4));
        }
    }
}

#[test]
fn data_after_a_shutdown_both_ways() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.server().shutdown(Shutdown::Both).unwrap();
        a_moment();
        scene.client().write_all(b"late").unwrap();
        a_moment();
        let (server, client) = scene.end();
        assert_eq!(seen(server), destroyed(Side::Server, 0, 0));
        assert_eq!(seen(client), destroyed(Side::Client, 0, 4));
    }
}

#[test]
fn a_close_with_bytes_unread_after_a_shutdown() {
    for family in FAMILIES {
        let mut scene = Scene::new(family);
        scene.client().shutdown(Shutdown::Write).unwrap();
        scene.answer(6);
        scene.client = None;
        a_moment();
        let (server, client) = scene.end();
        assert_eq!(seen(client), destroyed(Side::Client, 6, 0));
        assert_eq!(seen(server), destroyed(Side::Server, 0, 0));
    }
}

#[test]
fn nothing_is_told_of_what_ends_in_order() {
    type Order = (&'static str, fn(&mut Scene));
    for family in FAMILIES {
        let orders: [Order; 8] = [
            ("the server closes first", |scene| {
                scene.server = None;
                a_moment();
                assert_eq!(scene.client().read(&mut [0]).unwrap(), 0);
                scene.client = None;
            }),
            ("the client closes first", |scene| {
                scene.client = None;
                a_moment();
                assert_eq!(scene.server().read(&mut [0]).unwrap(), 0);
                scene.server = None;
            }),
            ("the server's FIN is not read", |scene| {
                scene.server = None;
                a_moment();
                scene.client = None;
            }),
            ("the client's FIN is not read", |scene| {
                scene.client = None;
                a_moment();
                scene.server = None;
            }),
            ("at once", |scene| {
                scene.client = None;
                scene.server = None;
            }),
            ("the listener goes first", |scene| {
                scene.listener = None;
                scene.server = None;
                a_moment();
                scene.client = None;
            }),
            ("the client is half-closed", |scene| {
                scene.client().shutdown(Shutdown::Write).unwrap();
                assert_eq!(scene.server().read(&mut [0]).unwrap(), 0);
                scene.answer(5);
                scene.client().read_exact(&mut [0; 5]).unwrap();
                scene.server = None;
                a_moment();
                scene.client = None;
            }),
            ("a program is killed", |scene| {
                let mut command = Command::new("sleep");
                command.arg("60").stdin(OwnedFd::from(scene.server.take().unwrap()));
                let mut child = command.spawn().unwrap();
                drop(command);
                child.kill().unwrap();
                child.wait().unwrap();
                a_moment();
                scene.client = None;
            }),
        ];
        for (name, order) in orders {
            let mut scene = Scene::new(family);
            scene.serve(22, 300);
            order(&mut scene);
            let (server, client) = scene.end();
            assert!(server.is_none() && client.is_none(), "{name}: {server:#?} {client:#?}");

            let mut unused = Scene::new(family);
            if !name.contains("half") {
                order(&mut unused);
            }
            let (server, client) = unused.end();
            assert!(server.is_none() && client.is_none(), "{name}: {server:#?} {client:#?}");
        }
    }
}

#[test]
fn nothing_is_told_of_what_was_no_connection() {
    let mut source = SockDiag::open().unwrap();
    let mut ports = Vec::new();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = refusing.local_addr().unwrap();
    drop(refusing);
    let connect = |blocks: bool| {
        let flags = if blocks {
            SockFlag::empty()
        } else {
            SockFlag::SOCK_NONBLOCK
        };
        let socket = nix::sys::socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let socket = socket2::Socket::from(socket);
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        assert!(socket.connect(&refused.into()).is_err());
        a_moment();
        port
    };
    ports.extend([connect(true), connect(false)]);
    a_moment();
    let heard = source.take().unwrap();
    let its: Vec<&Heard> = heard
        .iter()
        .filter(|heard| ports.contains(&heard.local.port()))
        .collect();
    assert!(its.is_empty(), "{its:#?}");
}

#[test]
fn an_overflow_is_told_with_what_comes_next() {
    let mut source = SockDiag::open().unwrap();
    let start = Instant::now();
    let set_buffer = |source: &SockDiag, bytes: usize| {
        nix::sys::socket::setsockopt(&source.deaths, nix::sys::socket::sockopt::RcvBuf, &bytes).unwrap();
    };
    set_buffer(&source, 2048);
    loop {
        for _ in 0..50 {
            drop(Scene::new("127.0.0.1"));
        }
        let _ = source.take().unwrap();
        if source.lost() > 0 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "everything fits into 2 KiB");
    }
    set_buffer(&source, 4 << 20);
    // Until it is emptied a full one takes nothing more; and what was lost is told with the next that is heard of.
    source.take().unwrap();
    source.untold = source.lost;
    let start = Instant::now();
    let mut told = 0;
    while told == 0 {
        let mut scene = Scene::new("127.0.0.1");
        scene.request(22);
        drop(scene);
        a_moment();
        told += source.take().unwrap().iter().map(|heard| heard.lost).sum::<u64>();
        assert!(start.elapsed() < PATIENCE);
    }
}

/// Sums that were measured; a firewall dropped what came in.
#[test]
fn timeouts_by_their_sums() {
    let death = |unread, unsent, retransmits, sent, retransmitted| Death {
        time: Timestamp(1),
        local: "10.0.0.1:80".parse().unwrap(),
        remote: "10.0.0.2:4096".parse().unwrap(),
        state: "CLOSE",
        unread: Some(unread),
        unsent: Some(unsent),
        cookie: 1,
        info: Some(TcpInfo {
            retransmits,
            acked: Some(0),
            received: Some(unread.into()),
            not_sent: Some(0),
            data_segments_in: Some(unread.min(1)),
            data_segments_out: Some(retransmits.into()),
            sent: Some(sent),
            retransmitted: Some(retransmitted),
            send_window: Some(65536),
            round_trip: Duration::from_micros(24),
            ..TcpInfo::default()
        }),
    };
    let ended = |death: &Death| {
        let mut facts = Surroundings {
            listeners: None,
            ephemeral: (32768, 60999),
            tick: Duration::from_millis(4),
        };
        match facts.ending(death) {
            Ending::Broken(testimony) => Some((
                testimony.side,
                testimony.unread,
                testimony.unacked,
                testimony.retransmits,
            )),
            _ => None,
        }
    };
    let server = Some(Side::Server);
    // Keep-alive, without and with something unread.
    assert_eq!(ended(&death(0, 0, 0, 0, 0)), Some((server, Some(0), Some(0), Some(0))));
    assert_eq!(
        ended(&death(22, 0, 0, 0, 0)),
        Some((server, Some(22), Some(0), Some(0)))
    );
    // TCP_USER_TIMEOUT with 5 bytes under way.
    assert_eq!(
        ended(&death(0, 5, 3, 25, 20)),
        Some((server, Some(0), Some(5), Some(3)))
    );
    // The same after a close: who listens is not known here, so that the FIN is not either.
    assert_eq!(ended(&death(0, 6, 3, 20, 15)), Some((None, Some(0), Some(6), Some(3))));
    let sums = Sums::of(&death(0, 6, 3, 20, 15), server).unwrap();
    assert_eq!((sums.unacked, sums.is_in_order), (Some(5), false));

    // The last FIN, unanswered: nothing is lost.
    assert!(Sums::of(&death(0, 1, 3, 0, 0), server).unwrap().is_in_order);

    // Segments that our own firewall dropped spoil the sums; what is left in the queue does not go away.
    let spoilt = death(0, 5, 2, 15, 0);
    assert_eq!(ended(&spoilt), Some((None, Some(0), Some(5), Some(2))));
    // A kernel before 4.19: only the queues.
    let mut old = death(22, 0, 0, 0, 0);
    let info = old.info.as_mut().unwrap();
    (info.sent, info.retransmitted, info.send_window) = (None, None, None);
    assert_eq!(ended(&old), Some((None, Some(22), Some(0), Some(0))));
    old.unread = Some(0);
    assert_eq!(ended(&old), None);
    old.info = None;
    old.unread = Some(22);
    assert_eq!(ended(&old), Some((None, Some(22), None, None)));
}

#[test]
fn any_sums_are_survived() {
    let mut facts = Surroundings::read();
    let extremes = [0, 1, 2, u32::MAX - 1, u32::MAX];
    for unread in extremes {
        for unsent in extremes {
            for sum in [0, 1, 2, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
                for other in [0, 1, u64::MAX] {
                    let _ = facts.ending(&Death {
                        time: Timestamp(1),
                        local: "10.0.0.1:80".parse().unwrap(),
                        remote: "10.0.0.2:4096".parse().unwrap(),
                        state: "CLOSE",
                        unread: Some(unread),
                        unsent: Some(unsent),
                        cookie: 1,
                        info: Some(TcpInfo {
                            acked: Some(sum),
                            received: Some(other),
                            not_sent: Some(unread),
                            data_segments_in: Some(unsent),
                            sent: Some(other),
                            retransmitted: Some(sum),
                            ..TcpInfo::default()
                        }),
                    });
                }
            }
        }
    }
}

#[test]
fn port_ranges() {
    assert_eq!(port_range("32768\t60999\n"), Some((32768, 60999)));
    assert_eq!(port_range("32768"), None);
    assert_eq!(port_range(""), None);
    assert_eq!(port_range("1 70000"), None);
}
