use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::*;
use bypeer_diagnose::testimony::Side;

/// A connection over loopback: listener, client, server, and the ends of client and server.
fn pair(address: &str) -> (TcpListener, TcpStream, TcpStream, SocketAddr, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (client_end, server_end) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let server = listener.accept().unwrap().0;
    (listener, client, server, client_end, server_end)
}

/// Everything within two seconds about these ends.
fn of(source: &mut Tracefs, ends: [SocketAddr; 2]) -> Vec<Heard> {
    let (start, mut heard) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(2) {
        heard.extend(source.take().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((source.lost(), source.complaints()), (0, Vec::new()));
    heard.retain(|heard| ends.contains(&heard.local));
    heard
}

fn open() -> Tracefs {
    crate::kernel::see_tracefs();
    Tracefs::open(std::process::id()).unwrap()
}

#[test]
#[ignore = "needs tracefs"]
fn a_close_with_bytes_unread_has_reason_way_sums_and_process() {
    for address in ["127.0.0.1", "::1"] {
        let mut source = open();
        let (_listener, mut client, server, client_end, server_end) = pair(address);
        client.write_all(&[b'q'; 22]).unwrap();
        server.peek(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        drop(server);
        let heard = of(&mut source, [client_end, server_end]);
        drop(client);
        let [sent, received] = &heard[..] else {
            panic!("{heard:#?}")
        };
        let (sent, received) = if sent.local == server_end {
            (sent, received)
        } else {
            (received, sent)
        };
        assert_eq!((sent.local, sent.remote), (server_end, client_end));
        let told = &sent.testimony;
        assert_eq!((told.told, told.path), (Told::ResetSent, Some(ResetPath::CloseUnread)));
        assert_eq!(told.reason.as_deref(), Some("TCP_ABORT_ON_CLOSE"));
        assert_eq!(
            (told.side, told.unread, told.unsent),
            (Some(Side::Server), Some(22), Some(0))
        );
        assert!(told.since_received.unwrap() >= Duration::from_millis(40), "{told:#?}");
        assert_eq!(told.listening, Some(true));
        let actor = told.actor.as_ref().unwrap();
        assert_eq!((actor.pid, actor.act), (std::process::id(), Act::Close));
        assert_eq!(actor.call.as_deref(), Some("close"));

        let told = &received.testimony;
        assert_eq!((received.local, received.remote), (client_end, server_end));
        assert_eq!((told.told, told.error), (Told::ResetReceived, Some(104)));
        assert!(received.cookie != 0 && told.peer_is_local);
        // The client still held its socket: its sums are not known, and its close is no news.
        assert_eq!(told.unread, None);
        assert!(of(&mut source, [client_end, server_end]).is_empty());
    }
}

#[test]
#[ignore = "needs tracefs"]
fn a_disconnected_socket_finds_its_event() {
    let mut source = open();
    let (_listener, client, server, client_end, server_end) = pair("127.0.0.1");
    socket2::SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop((server, client));
    let heard = of(&mut source, [client_end, server_end]);
    let [sent, received] = &heard[..] else {
        panic!("{heard:#?}")
    };
    let (sent, received) = if sent.local == server_end {
        (sent, received)
    } else {
        (received, sent)
    };
    assert_eq!((sent.local, sent.remote), (server_end, client_end));
    assert_eq!(sent.testimony.path, Some(ResetPath::LingerZero));
    assert_eq!(sent.testimony.side, Some(Side::Server));
    assert!(sent.cookie != 0);
    // This one was closed within the second.
    assert_eq!(received.testimony.told, Told::ResetReceived);
    assert_eq!(
        (received.testimony.unread, received.testimony.side),
        (Some(0), Some(Side::Client))
    );
}

#[test]
#[ignore = "needs tracefs"]
fn an_answer_to_late_data_knows_how_the_socket_was_closed() {
    let mut source = open();
    let (_listener, mut client, mut server, _, server_end) = pair("127.0.0.1");
    client.write_all(&[b'q'; 22]).unwrap();
    server.read_exact(&mut [0; 22]).unwrap();
    server.write_all(b"bye").unwrap();
    drop(server);
    std::thread::sleep(Duration::from_millis(100));
    let early = source.take().unwrap();
    assert!(early.iter().all(|heard| heard.local != server_end), "{early:#?}");
    client.write_all(b"late").unwrap();
    let heard = of(&mut source, [server_end, server_end]);
    drop(client);
    let [answer] = &heard[..] else { panic!("{heard:#?}") };
    let told = &answer.testimony;
    assert_eq!((told.told, told.path), (Told::ResetSent, Some(ResetPath::Answer)));
    assert_eq!((told.state, told.side), (Some(State::TimeWait), Some(Side::Server)));
    assert_eq!(told.reason.as_deref(), Some("TCP_TIMEWAIT_SOCKET"));
    assert!(told.actor.is_none());
    let closed = told.closed.as_ref().unwrap();
    assert_eq!((closed.received, closed.sent), (22, 3));
    assert!(closed.at < told.at);
}

#[test]
#[ignore = "needs tracefs"]
fn nobody_listens() {
    let mut source = open();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    assert!(TcpStream::connect(closed).is_err());
    let heard = of(&mut source, [closed, closed]);
    let [answer] = &heard[..] else { panic!("{heard:#?}") };
    assert_eq!(answer.testimony.reason.as_deref(), Some("NO_SOCKET"));
    assert_eq!(
        (answer.testimony.listening, answer.testimony.state),
        (Some(false), None)
    );
}

fn ends() -> (SocketAddr, SocketAddr) {
    ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4096".parse().unwrap())
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp(milliseconds * 1_000_000)
}

fn death(milliseconds: i64, unread: u64) -> Ending {
    Ending::Broken(Box::new(Testimony {
        at: at(milliseconds),
        told: Told::Destroyed,
        unread: Some(unread),
        since_received: Some(Duration::from_millis(500)),
        ..Testimony::default()
    }))
}

fn received(milliseconds: i64) -> TraceEvent {
    let (local, remote) = ends();
    let (time, cookie) = (at(milliseconds), 7);
    TraceEvent::Received {
        time,
        local,
        remote,
        cookie,
    }
}

#[test]
fn events_and_deaths_are_joined_in_either_order() {
    let (local, remote) = ends();
    for death_first in [true, false] {
        let mut book = Book::default();
        if death_first {
            book.note_death(local, remote, 7, death(1100, 9));
            assert!(book.take(at(1100)).is_empty());
        }
        book.note_event(received(1000));
        book.note_event(TraceEvent::Failed {
            time: at(1000),
            local,
            remote,
            error: 104,
        });
        if !death_first {
            assert!(book.take(at(1100)).is_empty());
            book.note_death(local, remote, 7, death(1100, 9));
        }
        let heard = book.take(at(1100));
        let [one] = &heard[..] else { panic!("{heard:#?}") };
        assert_eq!(
            (one.testimony.told, one.testimony.error),
            (Told::ResetReceived, Some(104))
        );
        assert_eq!(one.testimony.unread, Some(9));
        assert_eq!(one.testimony.since_received, Some(Duration::from_millis(400)));
        assert!(book.take(at(100_000)).is_empty());
    }
}

#[test]
fn what_stays_alone_is_told_after_a_second() {
    let (local, remote) = ends();
    let mut book = Book::default();
    book.note_event(received(1000));
    assert!(book.take(at(2000)).is_empty());
    assert_eq!(book.take(at(2001)).len(), 1);
    // It has been told of; another of the same ends has not.
    book.note_death(local, remote, 7, death(9000, 0));
    assert!(book.take(at(20_000)).is_empty());
    let mut book = Book::default();
    book.note_death(local, remote, 8, death(9000, 0));
    assert!(book.take(at(10_000)).is_empty());
    let heard = book.take(at(10_001));
    assert_eq!((heard.len(), heard[0].testimony.told), (1, Told::Destroyed));
}

#[test]
fn other_sockets_stay_apart() {
    let (local, remote) = ends();
    let mut book = Book::default();
    book.note_event(received(1000));
    // The same ends, used again at once: the cookie tells.
    book.note_death(local, remote, 8, death(1001, 3));
    // A disconnected socket is none that received a reset.
    book.note_death(local, SocketAddr::new(remote.ip(), 0), 0, death(1001, 4));
    let heard = book.take(at(3000));
    assert!(
        heard
            .iter()
            .any(|heard| heard.testimony.told == Told::ResetReceived && heard.testimony.unread.is_none())
    );
}

#[test]
fn memory_has_an_end() {
    let mut book = Book::default();
    for number in 0..(2 * MEMORIES as u32) {
        let remote = SocketAddr::from((std::net::Ipv4Addr::from(number), 1));
        book.note_death(ends().0, remote, u64::from(number) + 1, death(1000, 1));
        if number % 1000 == 0 {
            book.take(at(1000));
        }
    }
    book.take(at(1000));
    assert!(book.dead.len() <= MEMORIES);
    book.take(at(100_000));
    assert!(book.dead.is_empty() && book.told.len() <= MEMORIES);
}

#[test]
fn deeds_by_their_stacks() {
    let of = |stack: &[&str]| act(&stack.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(
        of(&["__tcp_close", "__fput", "__x64_sys_close"]),
        (Act::Close, Some("close"))
    );
    assert_eq!(
        of(&["__tcp_close", "__fput", "task_work_run", "do_exit", "do_group_exit"]).1,
        Some("exit_group")
    );
    assert_eq!(of(&["__tcp_close", "do_close_on_exec", "begin_new_exec"]).0, Act::Exec);
    assert_eq!(of(&["__tcp_close", "task_work_run"]), (Act::Close, None));
    assert_eq!(of(&[]), (Act::Unknown, None));
}

#[test]
fn states_by_their_names() {
    assert_eq!(state("TIME_WAIT"), Some(State::TimeWait));
    assert_eq!(state("NEW_SYN_RECV"), Some(State::NewSynReceived));
    assert_eq!(state("UNKNOWN"), None);
}
