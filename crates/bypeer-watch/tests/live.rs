//! The kernel part against this machine's kernel: resets made on loopback, and what is told of them.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bypeer_watch::Tier;
use bypeer_watch::bpf::{Capabilities, HookState, Live, Ring, Settings};
use bypeer_watch::event::{Event, Kind, RawDeedKind};
use bypeer_watch::kernel::{ResetPath, path};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, SockFilter, SockRef, Socket, TcpKeepalive, Type};

#[path = "live/swaps.rs"]
mod swaps;

const ESTABLISHED: u32 = 1;
const FIN_WAIT1: u32 = 4;
const TIME_WAIT: u32 = 6;
const CLOSE: u32 = 7;
const LAST_ACK: u32 = 9;
/// Calls of x86-64.
const CALL_CLOSE: i64 = 3;
const CALL_CONNECT: i64 = 42;
const FIN: u8 = 1;
const SYN: u8 = 2;

/// One at a time: a storm that one test makes fills the rings of the others.
static ALONE: Mutex<()> = Mutex::new(());

/// A machine's events, of which a test takes those of its own ports: others may run tests at the same time.
struct Watched {
    _alone: MutexGuard<'static, ()>,
    live: Live,
    ring: Ring,
    events: Vec<Event>,
}

impl Watched {
    fn new(tier: Tier) -> Watched {
        Watched::with(&Settings {
            tier,
            stacks: true,
            ..Settings::default()
        })
    }

    fn with(settings: &Settings) -> Watched {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (live, ring) = Live::load(settings).unwrap();
        Watched {
            _alone: alone,
            live,
            ring,
            events: Vec::new(),
        }
    }

    /// The first event that fits, waiting for it.
    fn find(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let events = &mut self.events;
            self.ring.take(&mut |event| events.push(event));
            if let Some(event) = self.events.iter().find(|event| fits(event)) {
                return event.clone();
            }
            let losses = self.live.losses();
            assert!(
                Instant::now() < end,
                "no event: {what}; {losses:?}, and of {:#?}",
                self.events
            );
            let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
            poll(&mut fds, Some(&Duration::from_millis(100).try_into().unwrap())).unwrap();
        }
    }

    /// The reset that is sent by `local`.
    fn reset(&mut self, local: SocketAddr) -> Event {
        self.find("a reset sent", |event| {
            event.kind == Kind::ResetSent && event.local == Some(local)
        })
    }

    fn reason(&self, event: &Event) -> &str {
        event
            .reason
            .and_then(|reason| self.live.names().reset_reason(reason))
            .unwrap_or("?")
    }

    fn path(&self, event: &Event) -> ResetPath {
        path(&self.live.kernel_functions(&event.kernel_stack))
    }
}

/// Server's side, client's side.
fn pair() -> (TcpStream, TcpStream) {
    pair_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn pair_at(address: IpAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

fn inode(stream: &TcpStream) -> u64 {
    rustix::fs::fstat(stream).unwrap().st_ino
}

fn this_netns() -> u32 {
    rustix::fs::stat("/proc/self/ns/net")
        .unwrap()
        .st_ino
        .try_into()
        .unwrap()
}

fn gettid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

#[test]
#[ignore = "needs root"]
fn every_combination_of_settings_is_let_in() {
    for tier in [Tier::Resets, Tier::Calls, Tier::Payload] {
        for (netns, only_ports) in [
            (None, Settings::ports(&[])),
            (Some(this_netns()), Settings::ports(&[80, 443])),
        ] {
            for stacks in [false, true] {
                let settings = Settings {
                    tier,
                    netns,
                    stacks,
                    only_ports,
                };
                let (live, _) = Live::load(&settings).unwrap();
                // A branch that a setting switches off hides code that the kernel would not take.
                for hook in &live.capabilities().hooks {
                    let is_refused = matches!(hook.state, HookState::Refused(_));
                    assert!(!is_refused, "{settings:?}: {hook:#?}");
                }
            }
        }
    }
    assert!(!Capabilities::probe().unwrap().hooks.is_empty());
}

#[test]
#[ignore = "needs root"]
fn a_close_with_data_unread() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, mut client) = pair();
    client.write_all(&[b'Q'; 123]).unwrap();
    (&server).write_all(&[b'R'; 45]).unwrap();
    let (local, remote) = (server.local_addr().unwrap(), client.local_addr().unwrap());
    let (inode, descriptor) = (inode(&server), server.as_raw_fd());
    drop(server);

    let event = watched.reset(local);
    assert_eq!(watched.reason(&event), "TCP_ABORT_ON_CLOSE");
    assert_eq!(watched.path(&event), ResetPath::CloseUnread);
    assert_eq!(
        (event.remote, event.state, event.inode, event.netns),
        (Some(remote), CLOSE, inode, this_netns())
    );
    assert!(event.cookie != 0 && event.segment.is_none() && event.closing.is_none());
    let tcp = event.tcp.unwrap();
    assert_eq!((tcp.unread, tcp.received, tcp.sent, tcp.unsent), (123, 123, 45, 0));
    assert!(!tcp.fin_received && !tcp.linger && !tcp.orphan && tcp.owned);
    assert_eq!(
        tcp.backlog, 128,
        "std listens with 128, and who is accepted inherits it"
    );
    let task = &event.task;
    assert_eq!((task.pid, task.tid), (std::process::id(), gettid()));
    assert!(task.acting && !task.exiting);
    assert_eq!((task.call, task.arguments[0]), (CALL_CLOSE, descriptor as u64));
    assert_eq!(task.started / 10_000_000, started_ticks("self"));
    assert!(!task.name.is_empty());
    let stack = event.user_stack.unwrap();
    assert!(stack.ip != 0 && stack.sp != 0);
    assert!(stack.bytes.len() >= 4096, "{} bytes of the stack", stack.bytes.len());

    let received = watched.find("the reset received", |event| {
        event.kind == Kind::ResetReceived && event.local == Some(remote)
    });
    assert_eq!(received.tcp.unwrap().backlog, 0, "it connected");
    assert_eq!(received.remote, Some(local));
    // Its owner closes it: that is how the owner is known.
    drop(client);
    let closed = watched.find("the end of the client", |event| {
        event.kind == Kind::Closed && event.cookie == received.cookie
    });
    assert!(closed.task.acting);
    assert_eq!((closed.task.pid, closed.task.call), (std::process::id(), CALL_CLOSE));
    assert_eq!(watched.ring.unreadable(), 0);
}

/// `starttime` of /proc/PID/stat, hundredths of a second since boot.
fn started_ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').nth(19).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_fin_counts_as_one_unread() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, mut client) = pair();
    client.write_all(b"four").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let local = server.local_addr().unwrap();
    let remote = client.local_addr().unwrap();
    drop(server);
    let tcp = watched.reset(local).tcp.unwrap();
    assert!(tcp.fin_received);
    assert_eq!((tcp.unread, tcp.received), (5, 5));
    // The client had closed its half: that is remembered of the other end.
    let received = watched.find("the reset received", |event| {
        event.kind == Kind::ResetReceived && event.local == Some(remote)
    });
    let closing = received.closing.unwrap();
    assert!(closing.half);
    assert_eq!((closing.state, closing.sent, closing.backlog), (FIN_WAIT1, 4, 0));
}

#[test]
#[ignore = "needs root"]
fn linger_zero() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, _client) = pair();
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    let local = server.local_addr().unwrap();
    drop(server);
    let event = watched.reset(local);
    assert_eq!(watched.reason(&event), "TCP_STATE");
    assert_eq!(watched.path(&event), ResetPath::LingerZero);
    assert!(event.task.acting && event.tcp.unwrap().linger);
    assert_eq!(event.task.call, CALL_CLOSE);
}

#[test]
#[ignore = "needs root"]
fn data_after_a_close_tells_who_had_closed() {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut watched = Watched::new(Tier::Resets);
        let (mut server, mut client) = pair_at(address);
        client.write_all(b"request").unwrap();
        server.read_exact(&mut [0; 7]).unwrap();
        server.write_all(b"answer").unwrap();
        let local = server.local_addr().unwrap();
        let closer = thread::spawn(move || {
            drop(server);
            gettid()
        })
        .join()
        .unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        // Until the FIN is acknowledged the socket is not small yet.
        thread::sleep(Duration::from_millis(100));
        client.write_all(b"late").unwrap();

        let event = watched.reset(local);
        assert!(!event.task.acting);
        assert_eq!(watched.path(&event), ResetPath::Answer);
        assert!(event.tcp.is_none(), "{event:#?}");
        let segment = event.segment.clone().unwrap();
        assert_eq!(
            (
                segment.source,
                segment.destination,
                segment.len,
                segment.flags & (SYN | FIN)
            ),
            (client.local_addr().unwrap(), local, 4, 0)
        );
        let closing = event.closing.clone().unwrap();
        assert_eq!((closing.task.pid, closing.task.tid), (std::process::id(), closer));
        assert_eq!(closing.task.call, CALL_CLOSE);
        assert_eq!((closing.received, closing.sent, closing.half), (7, 6, false));
        assert_eq!((closing.state, closing.backlog), (FIN_WAIT1, 128));
        assert_eq!(segment.seq, closing.receive_next);
        assert!(closing.at < event.at && event.at - closing.at > 90_000_000);
        if event.state == TIME_WAIT {
            assert_eq!(watched.reason(&event), "TCP_TIMEWAIT_SOCKET");
            assert_eq!(closing.cookie, event.cookie);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn who_closed_second_is_remembered_too() {
    let mut watched = Watched::new(Tier::Resets);
    let (mut server, mut client) = pair();
    let (local, remote) = (server.local_addr().unwrap(), client.local_addr().unwrap());
    client.write_all(b"request").unwrap();
    server.read_exact(&mut [0; 7]).unwrap();
    // The server closes first, and the client goes on for a while before it closes: its last words are answered with a reset.
    drop(server);
    thread::sleep(Duration::from_millis(50));
    let closer = thread::spawn(move || {
        client.write_all(b"late").unwrap();
        drop(client);
        gettid()
    })
    .join()
    .unwrap();
    let event = watched.find("a reset received by who closed second", |event| {
        event.kind == Kind::ResetReceived && event.local == Some(remote)
    });
    // Reset before it closed, or after: both are told, and who closed only then.
    if let Some(closing) = &event.closing {
        assert_eq!((closing.state, closing.task.tid), (LAST_ACK, closer));
    }
    let reset = watched.reset(local);
    assert_eq!(reset.closing.unwrap().state, FIN_WAIT1);
}

#[test]
#[ignore = "needs root"]
fn notes_of_many_closes_are_right_or_missing() {
    let mut watched = Watched::new(Tier::Resets);
    let mut checked = 0;
    // More at once than a row has notes for some of them, on all processors.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(|| {
                let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
                let mut open = Vec::new();
                for (server, client) in pairs {
                    let ends = (server.local_addr().unwrap(), client.local_addr().unwrap());
                    drop(server);
                    open.push((client, ends));
                }
                for (client, _) in &mut open {
                    // Answered with a reset; the second word would be an error.
                    client.write_all(b"late").unwrap();
                }
                let ends: Vec<_> = open.into_iter().map(|(_, ends)| ends).collect();
                (gettid(), ends)
            })
        })
        .collect();
    let closers: Vec<(u32, Vec<(SocketAddr, SocketAddr)>)> =
        threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (tid, ends) in &closers {
        for (local, remote) in ends {
            let event = watched.find("a reset of these ends", |event| {
                event.kind == Kind::ResetSent && event.local == Some(*local) && event.remote == Some(*remote)
            });
            let Some(closing) = event.closing else { continue };
            assert_eq!(closing.task.tid, *tid, "{local} {remote}");
            checked += 1;
        }
    }
    assert!(checked >= 760, "{checked} of 800 closes are remembered");
}

#[test]
#[ignore = "needs root"]
fn other_ports_are_only_counted() {
    let (mut asked_for, other) = (pair(), pair());
    let port = asked_for.0.local_addr().unwrap().port();
    let mut watched = Watched::with(&Settings {
        only_ports: Settings::ports(&[port]),
        stacks: true,
        ..Settings::default()
    });
    let mut others = Vec::new();
    for (server, mut client) in std::iter::once(other).chain((0..20).map(|_| pair())) {
        others.push(server.local_addr().unwrap());
        client.write_all(b"request").unwrap();
        drop(server);
    }
    asked_for.1.write_all(b"request").unwrap();
    let local = asked_for.0.local_addr().unwrap();
    drop(asked_for.0);
    let event = watched.reset(local);
    assert!(
        !event.user_stack.unwrap().bytes.is_empty(),
        "the others took no room for stacks"
    );
    let of_others = |event: &&Event| event.local.is_some_and(|local| others.contains(&local));
    assert!(
        !watched.events.iter().any(|event| of_others(&event)),
        "{:#?}",
        watched.events
    );
    let passed_over = watched.live.passed_over();
    assert!(
        passed_over.resets_sent >= 21 && passed_over.resets_received >= 21,
        "{passed_over:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn who_was_told_to_end_and_by_whom() {
    let mut watched = Watched::new(Tier::Resets);
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .unwrap();
    // Its start is what the kernel's own events of it say.
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    let event = watched.find("a signal", |event| {
        event.kind == Kind::Signalled && event.inode == u64::from(child.id())
    });
    assert_eq!((event.reason, event.state), (Some(15), 0));
    assert_eq!(event.task.pid, std::process::id());
    assert!(event.cookie > 0 && event.local.is_none());
}

#[test]
#[ignore = "needs root"]
fn a_dual_stack_server_is_told_by_ipv4_addresses() {
    let mut watched = Watched::new(Tier::Resets);
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    listener.set_only_v6(false).unwrap();
    listener
        .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
        .unwrap();
    listener.listen(7).unwrap();
    let listener = TcpListener::from(listener);
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    drop(server);
    thread::sleep(Duration::from_millis(100));
    client.write_all(b"late").unwrap();
    let event = watched.reset(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(event.remote, Some(client.local_addr().unwrap()));
    assert_eq!(event.closing.unwrap().backlog, 7);
}

#[test]
#[ignore = "needs root"]
fn a_closed_port() {
    let mut watched = Watched::new(Tier::Resets);
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    TcpStream::connect(gone).unwrap_err();
    let event = watched.reset(gone);
    assert_eq!(watched.reason(&event), "NO_SOCKET");
    assert_eq!((event.state, event.cookie, event.inode), (0, 0, 0));
    assert_eq!(event.netns, this_netns());
    assert!(event.tcp.is_none() && !event.task.acting && event.closing.is_none());
    assert_eq!(event.segment.unwrap().flags & SYN, SYN);
    let failed = watched.find("the client's error", |event| {
        event.kind == Kind::Failed && event.remote == Some(gone)
    });
    assert_eq!(failed.tcp.unwrap().error, nix::libc::ECONNREFUSED.cast_unsigned());
}

#[test]
#[ignore = "needs root"]
fn a_process_that_is_killed_with_data_unread() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, mut client) = pair();
    client.write_all(b"request").unwrap();
    let local = server.local_addr().unwrap();
    // It has the connection as its standard input, and never reads from it.
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(server)))
        .spawn()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let event = watched.reset(local);
    assert_eq!(watched.reason(&event), "TCP_ABORT_ON_CLOSE");
    assert_eq!((event.task.pid, event.task.exit_code), (child.id(), 9));
    assert!(event.task.acting && event.task.exiting);
    assert!(event.user_stack.is_none());
    assert_eq!(event.tcp.unwrap().unread, 7);
}

#[test]
#[ignore = "needs root"]
fn a_listener_closed_with_connections_waiting() {
    let mut watched = Watched::new(Tier::Resets);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let local = listener.local_addr().unwrap();
    let _client = TcpStream::connect(local).unwrap();
    drop(listener);
    let event = watched.reset(local);
    assert_eq!(watched.path(&event), ResetPath::ListenerClosed);
    // Nobody holds the lock of a connection that was never accepted.
    assert!(event.task.acting && !event.tcp.unwrap().owned);
    assert_eq!((event.task.pid, event.inode), (std::process::id(), 0));
    assert!(event.user_stack.is_some_and(|stack| !stack.bytes.is_empty()));
}

#[test]
#[ignore = "needs root, ss"]
fn a_connection_killed_by_an_administrator() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, client) = pair();
    let local = server.local_addr().unwrap();
    let filter = ["-K", "sport", "=", &format!(":{}", local.port())];
    // It says that it could not kill sockets of other kinds, too.
    let mut ss = Command::new("ss")
        .args(filter)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = ss.id();
    ss.wait().unwrap();
    let event = watched.reset(local);
    assert_eq!(watched.path(&event), ResetPath::Killed);
    assert_eq!(event.state, ESTABLISHED);
    assert!(event.task.acting);
    assert_eq!((event.task.pid, event.task.name.as_str()), (id, "ss"));
    assert_eq!(event.inode, inode(&server), "whose it was");
    drop(client);
}

#[test]
#[ignore = "needs root"]
fn a_connection_dissolved_by_connect() {
    let mut watched = Watched::new(Tier::Resets);
    let (_server, client) = pair();
    let local = client.local_addr().unwrap();
    rustix::net::connect_unspec(&client).unwrap();
    let event = watched.reset(local);
    assert_eq!(watched.path(&event), ResetPath::Disconnected);
    assert_eq!(watched.reason(&event), "TCP_STATE");
    assert_eq!((event.task.call, event.task.acting), (CALL_CONNECT, true));
}

#[test]
#[ignore = "needs root"]
fn ipv6() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, mut client) = pair_at(IpAddr::V6(Ipv6Addr::LOCALHOST));
    client.write_all(b"request").unwrap();
    let (local, remote) = (server.local_addr().unwrap(), client.local_addr().unwrap());
    drop(server);
    let event = watched.reset(local);
    assert_eq!((event.remote, event.tcp.unwrap().unread), (Some(remote), 7));
}

#[test]
#[ignore = "needs root"]
fn a_peer_that_keep_alive_finds_dead() {
    let mut watched = Watched::new(Tier::Resets);
    let (server, client) = pair();
    let local = server.local_addr().unwrap();
    let keep_alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1))
        .with_retries(1);
    SockRef::from(&server).set_tcp_keepalive(&keep_alive).unwrap();
    // A filter that lets nothing in: BPF_RET, 0.
    SockRef::from(&client)
        .attach_filter(&[SockFilter::new(6, 0, 0, 0)])
        .unwrap();
    let event = watched.reset(local);
    assert_eq!(watched.reason(&event), "TCP_KEEPALIVE_TIMEOUT");
    assert!(!event.task.acting && event.tcp.unwrap().probes >= 1);
}

#[test]
#[ignore = "needs root"]
fn reads_and_writes_are_remembered() {
    let mut watched = Watched::new(Tier::Payload);
    let (mut server, mut client) = pair();
    let (local, descriptor) = (server.local_addr().unwrap(), server.as_raw_fd());
    let mut request = b"POST / HTTP/1.1\r\n\r\n".to_vec();
    request.resize(700, b'x');
    client.write_all(&request).unwrap();
    // By several calls, of several kinds.
    let mut buffer = [0; 700];
    server.read_exact(&mut buffer[..100]).unwrap();
    let mut halves = [0; 150];
    let (first, second) = halves.split_at_mut(50);
    let read = server
        .read_vectored(&mut [std::io::IoSliceMut::new(first), std::io::IoSliceMut::new(second)])
        .unwrap();
    assert_eq!(read, 150);
    let (read, _) = rustix::net::recv(&server, &mut buffer[250..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(read, 450);
    let parts = [std::io::IoSlice::new(b"HTTP/1.1 "), std::io::IoSlice::new(b"200 OK")];
    assert_eq!(server.write_vectored(&parts).unwrap(), 15);
    client.write_all(b"more").unwrap();
    drop(server);

    let history = watched.reset(local).history.unwrap();
    assert_eq!(
        (history.read_total, history.written_total, history.unreadable),
        (700, 15, 0)
    );
    assert_eq!(history.read, request[..512]);
    assert_eq!(history.written, b"HTTP/1.1 200 OK");
    let me = (std::process::id(), gettid(), descriptor.cast_unsigned());
    assert_eq!((history.reader, history.writer), (Some(me), Some(me)));
    assert!(history.first > 0 && history.read_at <= history.written_at && history.let_go == 0);
    let deeds: Vec<_> = history.deeds.iter().map(|deed| (deed.what, deed.count)).collect();
    assert_eq!(
        deeds,
        [
            (RawDeedKind::Arrived(700), 1),
            (RawDeedKind::Read(700), 3),
            (RawDeedKind::Wrote(15), 1),
            (RawDeedKind::Arrived(4), 1),
            (RawDeedKind::State(ESTABLISHED, CLOSE), 1),
        ]
    );
    assert!(history.deeds.iter().is_sorted_by_key(|deed| deed.at));
    let reader = history.deeds[1];
    assert_eq!((reader.tid, u32::from(reader.descriptor)), (me.1, me.2));
    assert_eq!(history.deeds[0].descriptor, u16::MAX);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_read_is_counted() {
    let mut watched = Watched::new(Tier::Payload);
    let (server, client) = pair();
    let local = server.local_addr().unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(rustix::fs::sendfile(&server, &file, None, 1000).unwrap(), 1000);
    (&client).write_all(b"unread").unwrap();
    drop(server);
    let history = watched.reset(local).history.unwrap();
    assert_eq!((history.written_total, history.written.len()), (1000, 0));
    assert_eq!(history.unreadable, 1);
}

#[test]
#[ignore = "needs root"]
fn only_one_network_namespace() {
    let settings = Settings {
        tier: Tier::Resets,
        // None has this number.
        netns: Some(1),
        stacks: false,
        ..Settings::default()
    };
    let (_live, mut live) = Live::load(&settings).unwrap();
    let (server, mut client) = pair();
    client.write_all(b"request").unwrap();
    drop(server);
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    TcpStream::connect(gone).unwrap_err();
    assert_eq!(live.take(&mut |event| panic!("{event:#?}")), 0);
}

#[test]
#[ignore = "needs root"]
fn a_storm_is_told_or_counted() {
    const RESETS: usize = 5000;
    let mut watched = Watched::new(Tier::Resets);
    // Losses are counted for the whole machine and for all kinds of events: they are at least those of this test.
    let mut storm = |resets_between_takes: usize| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = listener.local_addr().unwrap();
        let mut told = BTreeSet::new();
        let mut take = |ring: &mut Ring| {
            ring.take(&mut |event| {
                if event.kind == Kind::ResetSent && event.local == Some(local) {
                    told.insert(event.cookie);
                }
            });
        };
        for round in 1..=RESETS {
            let client = TcpStream::connect(local).unwrap();
            let (server, _) = listener.accept().unwrap();
            SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
            drop(server);
            drop(client);
            if round % resets_between_takes == 0 {
                take(&mut watched.ring);
            }
        }
        let losses = watched.live.losses();
        println!("{} of {RESETS}, {losses:?}", told.len());
        let lost = losses.events + losses.nested;
        assert!(
            told.len() as u64 + lost >= RESETS as u64,
            "{} of {RESETS}, {losses:?}",
            told.len()
        );
        assert_eq!(watched.ring.unreadable(), 0);
        (told.len(), losses)
    };
    let (told, losses) = storm(100);
    assert_eq!(told, RESETS, "{losses:?}");
    assert!(losses.stacks > 0, "a storm has no room for stacks");
    // The ring runs full.
    let (told, losses) = storm(RESETS);
    assert!(told < RESETS && losses.events > 0, "{told} {losses:?}");
}

#[test]
#[ignore = "needs root"]
fn dropping_it_removes_it() {
    let mut watched = Watched::new(Tier::Payload);
    assert!(watched.ring.as_fd().as_raw_fd() >= 0);
    let before = maps_of_this_process();
    watched.ring.take(&mut |_| ());
    drop(watched);
    assert!(maps_of_this_process() + 8 <= before);
}

#[test]
#[ignore = "needs clang-14, llvm-strip-14"]
fn the_object_is_what_its_source_gives() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    if !std::path::Path::new("/usr/include/bpf/bpf_helpers.h").exists() {
        println!("skipped: building the kernel part anew: lacks libbpf-dev");
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let made = made.path().join("watch.bpf.o");
    let status = Command::new(folder.join("build")).arg(&made).status().unwrap();
    assert!(status.success());
    let committed = folder.join("x86_64/watch.bpf.o");
    assert!(
        std::fs::read(made).unwrap() == std::fs::read(committed).unwrap(),
        "crates/bypeer-watch/bpf/build was not run after a change"
    );
}

/// Descriptors of BPF that this process holds.
fn maps_of_this_process() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("anon_inode:bpf"))
        .count()
}
