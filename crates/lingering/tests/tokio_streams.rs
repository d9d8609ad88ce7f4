//! Tokio's streams on real sockets.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream as Blocking;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use lingering::{Ended, Limits, Lingering, LingeringSet, Outcome, Socket, SocketRef, Transport};
use socket2::SockRef;
use support::{ANSWER, ENOUGH, UPLOAD, upload_then_read};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn pair() -> (TcpStream, Blocking) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().await.unwrap().0, client)
}

/// A set whose outcomes come through a channel.
fn told(limits: Limits, most: usize) -> (LingeringSet<u32>, mpsc::Receiver<(u32, Outcome)>) {
    let (tell, told) = mpsc::channel();
    let set = LingeringSet::with_hook(limits, most, move |tag, outcome| {
        // The test may be over.
        let _ = tell.send((tag, outcome));
    });
    (set, told)
}

async fn answer_early(server: &mut (impl tokio::io::AsyncRead + AsyncWrite + Unpin)) {
    server.read_exact(&mut [0]).await.unwrap();
    server.write_all(ANSWER).await.unwrap();
}

#[tokio::test]
async fn a_set_lets_an_early_answer_arrive() {
    let (mut server, peer) = pair().await;
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    answer_early(&mut server).await;
    let (set, told) = told(Limits::default(), 10);
    set.add(server, 7);
    let counts = set.finish(ENOUGH).await;
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    let (tag, outcome) = told.try_recv().unwrap();
    let drained = UPLOAD as u64 - 1;
    assert_eq!((tag, outcome.ended, outcome.drained), (7, Ended::Eof, drained));
    assert_eq!(outcome.delivered(), Some(true));
    assert_eq!(
        (counts.added, counts.lingering, counts.eof, counts.drained),
        (1, 0, 1, drained)
    );
}

#[tokio::test]
async fn a_wrapper_lets_an_early_answer_arrive() {
    let (server, peer) = pair().await;
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    let mut server: Lingering<_> = Lingering::new(server, Limits::default());
    answer_early(&mut server).await;
    assert_eq!(server.outcome(), None);
    server.shutdown().await.unwrap();
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    let outcome = server.outcome().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    // Once more is no harm.
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_wrapper_gives_to_its_set_when_it_is_shut_down_and_when_it_is_dropped() {
    for shut_down in [true, false] {
        let (set, told) = told(Limits::default(), 10);
        let (server, peer) = pair().await;
        let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
        let mut server = Lingering::with_set(server, set.clone(), 3);
        answer_early(&mut server).await;
        if shut_down {
            server.shutdown().await.unwrap();
            assert!(server.get_ref().is_none());
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
            let error = server.write(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        drop(server);
        assert_eq!(set.finish(ENOUGH).await.eof, 1, "{shut_down}");
        assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
        assert_eq!(told.try_iter().count(), 1, "{shut_down}: told once");
    }
}

#[tokio::test]
async fn a_wrapper_that_is_taken_apart_closes_nothing() {
    let (set, _told) = told(Limits::default(), 10);
    let (server, mut peer) = pair().await;
    let server = Lingering::with_set(server, set.clone(), 0);
    let shown = format!("{server:?}");
    assert!(shown.starts_with("Lingering { stream: Some("), "{shown}");
    let mut server = server.into_inner().unwrap();
    server.write_all(b"still open").await.unwrap();
    let mut answer = [0; 10];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!((&answer, set.counts().added), (b"still open", 0));
}

/// More than one read takes, unread; and the peer.
async fn much_unread() -> Option<(TcpStream, Blocking)> {
    const MUCH: usize = 1 << 20;
    let (server, mut peer) = pair().await;
    let socket = SockRef::from(&server);
    socket.set_recv_buffer_size(2 * MUCH).unwrap();
    if socket.recv_buffer_size().unwrap() < 2 * MUCH {
        eprintln!("skipped: net.core.rmem_max is too small for this test");
        return None;
    }
    SockRef::from(&peer).set_send_buffer_size(2 * MUCH).unwrap();
    peer.write_all(&vec![0; MUCH]).unwrap();
    support::eventually("all is there", || lingering::unread(&server) == Some(MUCH as u64));
    Some((server, peer))
}

/// The peer's end came, and no reset: behind an end no read tells of one.
fn assert_closed_well(mut peer: &Blocking) {
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    // Loopback: what the close sends is there when it returns.
    assert!(peer.take_error().unwrap().is_none(), "a reset");
}

#[tokio::test]
async fn a_wrapper_that_is_dropped_leaves_nothing_unread() {
    let Some((server, peer)) = much_unread().await else {
        return;
    };
    let server: Lingering<_> = Lingering::new(server, Limits::default());
    drop(server);
    assert_closed_well(&peer);
}

#[tokio::test]
async fn who_is_crowded_out_leaves_nothing_unread() {
    let Some((server, peer)) = much_unread().await else {
        return;
    };
    let (other, _peer) = pair().await;
    let (set, told) = told(Limits::default(), 1);
    set.add(server, 0);
    // The task had no turn.
    set.add(other, 1);
    let outcome = told.try_recv().unwrap().1;
    assert_eq!((outcome.ended, outcome.unread), (Ended::Crowded, Some(0)));
    assert_eq!(outcome.drained, 1 << 20);
    assert_closed_well(&peer);
}

#[test]
fn a_runtime_that_ends_leaves_nothing_unread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (set, told) = runtime.block_on(async { told(Limits::default(), 10) });
    let Some((server, peer)) = runtime.block_on(much_unread()) else {
        return;
    };
    set.add(server, 0);
    drop(runtime);
    let outcome = told.try_recv().unwrap().1;
    assert_eq!((outcome.ended, outcome.unread), (Ended::Stopped, Some(0)));
    assert_closed_well(&peer);
}

#[tokio::test]
async fn bounds_end_a_wrapper_and_are_said() {
    let idle = Limits::default().idle(100 * MILLISECOND).total(ENOUGH);
    let total = Limits::default().idle(ENOUGH).total(100 * MILLISECOND);
    let bytes = Limits::default().bytes(1000);
    for (limits, sent, ended) in [
        (idle, 0, Ended::Idle),
        (total, 0, Ended::Deadline),
        (bytes, 2000, Ended::ByteBound),
    ] {
        let (server, mut peer) = pair().await;
        peer.write_all(&vec![0; sent]).unwrap();
        let mut server: Lingering<_> = Lingering::new(server, limits);
        server.shutdown().await.unwrap();
        let outcome = server.outcome().unwrap();
        assert_eq!(outcome.ended, ended, "{outcome:?}");
        assert!(outcome.lasted < ENOUGH);
    }
}

#[tokio::test]
async fn what_is_left_unread_is_counted() {
    let (set, _told) = told(Limits::default().bytes(1000), 10);
    let (server, mut peer) = pair().await;
    peer.write_all(&[0; 2000]).unwrap();
    support::eventually("all is there", || lingering::unread(&server) == Some(2000));
    set.add(server, 0);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.byte_bound, counts.with_unsent, counts.with_unread), (1, 0, 1));
}

#[tokio::test]
async fn unix_sockets_linger_too() {
    let (mut server, peer) = UnixStream::pair().unwrap();
    let peer = peer.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    answer_early(&mut server).await;
    let (set, told) = told(Limits::default(), 10);
    set.add(server, 0);
    assert_eq!(set.finish(ENOUGH).await.drained, UPLOAD as u64 - 1);
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    assert_eq!(told.try_recv().unwrap().1.ended, Ended::Eof);
}

#[tokio::test]
async fn resets_are_counted() {
    let (set, told) = told(Limits::default(), 10);
    let (server, peer) = pair().await;
    set.add(server, 0);
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.reset, counts.lingering), (1, 0));
    assert_eq!(told.try_recv().unwrap().1.ended, Ended::Reset);
}

/// A stream whose peer has reset it, with so much of its own before that.
async fn reset(sent: usize) -> TcpStream {
    let (server, mut peer) = pair().await;
    server.try_write(ANSWER).unwrap();
    peer.write_all(&vec![0; sent]).unwrap();
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    // Loopback: the reset is there when the close is over.
    server
}

#[tokio::test]
async fn a_reset_that_came_before_is_a_reset_however_it_is_closed() {
    for sent in [0, 1000] {
        let (set, told) = told(Limits::default(), 10);
        set.add(reset(sent).await, 0);
        set.add(good_layer(reset(sent).await), 1);
        assert_eq!(set.finish(ENOUGH).await.reset, 2, "after {sent} bytes");
        for (_, outcome) in told.try_iter() {
            assert_ne!(outcome.delivered(), Some(true), "{outcome:?}");
        }
        let mut wrapped: Lingering<_> = Lingering::new(reset(sent).await, Limits::default());
        wrapped.shutdown().await.unwrap();
        assert_eq!(wrapped.outcome().unwrap().ended, Ended::Reset, "after {sent} bytes");
    }
}

#[tokio::test]
async fn a_reset_that_somebody_was_told_of_leaves_no_connection() {
    let told_of = async || {
        let mut server = reset(0).await;
        let error = server.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        server
    };
    let (set, _told) = told(Limits::default(), 10);
    set.add(told_of().await, 0);
    assert_eq!(set.finish(ENOUGH).await.gone, 1);
    let mut wrapped: Lingering<_> = Lingering::new(told_of().await, Limits::default());
    wrapped.shutdown().await.unwrap();
    assert_eq!(wrapped.outcome().unwrap().ended, Ended::Gone);
}

#[tokio::test]
async fn a_peer_whose_end_came_first_is_at_its_end_however_it_is_closed() {
    let half_closed = async || {
        let (server, peer) = pair().await;
        SockRef::from(&peer).shutdown(std::net::Shutdown::Write).unwrap();
        server.readable().await.unwrap();
        (server, peer)
    };
    let (set, _told) = told(Limits::default(), 10);
    let (server, _one) = half_closed().await;
    set.add(server, 0);
    let (server, _other) = half_closed().await;
    set.add(good_layer(server), 1);
    assert_eq!(set.finish(ENOUGH).await.eof, 2);
    let (server, _peer) = half_closed().await;
    let mut wrapped: Lingering<_> = Lingering::new(server, Limits::default());
    wrapped.shutdown().await.unwrap();
    assert_eq!(wrapped.outcome().unwrap().ended, Ended::Eof);
}

/// Whose peer has half-closed, and has not read what was written; and that peer.
async fn half_closed() -> (TcpStream, Blocking, usize) {
    let (server, peer) = pair().await;
    let mut written = 0;
    while let Ok(bytes) = server.try_write(&[0; 65_536]) {
        written += bytes;
    }
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    server.readable().await.unwrap();
    (server, peer, written)
}

async fn read_all(mut peer: Blocking) -> usize {
    let read = tokio::task::spawn_blocking(move || peer.read_to_end(&mut Vec::new()));
    read.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_peer_that_half_closed_is_waited_for_until_it_has_everything() {
    let limits = Limits::default().idle(ENOUGH).total(ENOUGH);
    let (set, told) = told(limits, 10);
    let (server, peer, written) = half_closed().await;
    set.add(server, 0);
    assert_eq!(read_all(peer).await, written);
    assert_eq!(set.finish(ENOUGH).await.eof, 1);
    assert_eq!(told.try_recv().unwrap().1.delivered(), Some(true));

    let (server, peer, _) = half_closed().await;
    set.add(server, 1);
    // With so much unread its kernel resets.
    drop(peer);
    assert_eq!(set.finish(ENOUGH).await.reset, 1);
    assert_eq!(told.try_recv().unwrap().1.delivered(), Some(false));

    let (server, peer, written) = half_closed().await;
    let mut wrapped: Lingering<_> = Lingering::new(server, limits);
    let (shut_down, read) = tokio::join!(wrapped.shutdown(), read_all(peer));
    shut_down.unwrap();
    assert_eq!(read, written);
    let outcome = wrapped.outcome().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
}

#[tokio::test]
async fn a_peer_that_half_closed_and_takes_nothing_is_bounded() {
    let limits = Limits::default().idle(100 * MILLISECOND).total(ENOUGH);
    let (set, told) = told(limits, 10);
    let (server, _peer, _) = half_closed().await;
    set.add(server, 0);
    assert_eq!(set.finish(ENOUGH).await.idle, 1);
    assert!(told.try_recv().unwrap().1.unsent > Some(0));
    let (server, _peer, _) = half_closed().await;
    let mut wrapped: Lingering<_> = Lingering::new(server, limits);
    wrapped.shutdown().await.unwrap();
    let outcome = wrapped.outcome().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Idle, None));
}

#[tokio::test]
async fn the_oldest_makes_room_and_who_is_done_does_not_need_to() {
    let (set, told) = told(Limits::default().idle(ENOUGH).total(ENOUGH), 2);
    let mut peers = Vec::new();
    for number in 0..5 {
        let (server, peer) = pair().await;
        set.add(server, number);
        peers.push(peer);
    }
    for number in 0..3 {
        let (tag, outcome) = told.try_recv().unwrap();
        assert_eq!((tag, outcome.ended), (number, Ended::Crowded));
    }
    drop(peers);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.added, counts.crowded, counts.eof), (5, 3, 2));
}

#[tokio::test]
async fn attackers_are_bounded() {
    let limits = Limits::default()
        .idle(200 * MILLISECOND)
        .total(600 * MILLISECOND)
        .bytes(1 << 20);
    let (set, told) = told(limits, 100);
    let mut peers = Vec::new();
    for number in 0..40_u32 {
        let (server, peer) = pair().await;
        let kept = peer.try_clone().unwrap();
        match number % 4 {
            0 => drop(thread::spawn(move || {
                while (&peer).write_all(b"t").is_ok() {
                    thread::sleep(10 * MILLISECOND);
                }
            })),
            1 => drop(thread::spawn(move || while (&peer).write_all(&[0; 65_536]).is_ok() {})),
            2 => while server.try_write(&[0; 65_536]).is_ok() {},
            _ => {}
        }
        peers.push(kept);
        set.add(server, number);
    }
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.added, counts.lingering, counts.cut()), (40, 0, 40));
    assert_eq!(counts.stopped, 0, "each ended by its own bound");
    for (number, outcome) in told.try_iter() {
        // See the closer's test.
        let expected: &[Ended] = match number % 4 {
            0 => &[Ended::Deadline, Ended::Idle],
            1 => &[Ended::ByteBound, Ended::Deadline, Ended::Idle],
            // Whoever looks late finds both bounds passed.
            _ => &[Ended::Idle, Ended::Deadline],
        };
        assert!(expected.contains(&outcome.ended), "{number}: {outcome:?}");
        assert!(outcome.drained <= (1 << 20) + 1);
    }
}

#[tokio::test]
async fn the_end_of_a_set_is_bounded() {
    let (set, told) = told(Limits::default().idle(ENOUGH).total(ENOUGH), 10);
    let (server, _peer) = pair().await;
    set.add(server, 0);
    let counts = set.finish(50 * MILLISECOND).await;
    assert_eq!((counts.stopped, counts.lingering), (1, 0));
    assert_eq!(told.try_recv().unwrap().1.ended, Ended::Stopped);
    // What is added later goes by the same moment, but what its peer has done already is seen.
    let (server, peer) = pair().await;
    drop(peer);
    set.add(server, 1);
    let (server, _peer) = pair().await;
    set.add(server, 2);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.stopped, counts.eof), (2, 1));
}

#[test]
fn a_runtime_that_ends_closes_what_lingers_and_what_comes_later() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (set, told, server, _peers) = runtime.block_on(async {
        let (set, told) = told(Limits::default(), 10);
        let (server, peer) = pair().await;
        let (later, peer_of_later) = pair().await;
        set.add(server, 0);
        (set, told, later, [peer, peer_of_later])
    });
    drop(runtime);
    assert_eq!(told.recv_timeout(ENOUGH).unwrap().1.ended, Ended::Stopped);
    set.add(server, 1);
    assert_eq!(told.recv_timeout(ENOUGH).unwrap().1.ended, Ended::Stopped);
    assert_eq!((set.counts().stopped, set.counts().lingering), (2, 0));
}

#[tokio::test]
async fn a_set_without_handles_goes_on_with_what_it_holds() {
    let (set, told) = told(Limits::default(), 10);
    let (server, peer) = pair().await;
    set.add(server, 0);
    drop(set);
    tokio::time::sleep(20 * MILLISECOND).await;
    assert!(told.try_recv().is_err());
    drop(peer);
    let outcome = tokio::task::spawn_blocking(move || {
        let outcome = told.recv_timeout(ENOUGH).unwrap();
        // The task is gone, and its hook with it.
        (outcome, told.recv_timeout(ENOUGH))
    });
    let ((_, outcome), end) = outcome.await.unwrap();
    assert_eq!(outcome.ended, Ended::Eof);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_from_many_tasks() {
    let (set, told) = told(Limits::default(), 1000);
    let mut tasks = Vec::new();
    for number in 0..200 {
        let set = set.clone();
        tasks.push(tokio::spawn(async move {
            let (server, mut peer) = pair().await;
            set.add(server, number);
            let mut peer = tokio::task::spawn_blocking(move || {
                peer.write_all(&vec![0; number as usize * 100]).unwrap();
                peer
            });
            drop((&mut peer).await.unwrap());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.added, counts.eof), (200, 200));
    assert_eq!(counts.drained, (0..200).map(|number| number * 100).sum::<u64>());
    assert_eq!(told.try_iter().count(), 200);
}

/// A layer that holds back what was written until its shutdown, as TLS may, and tells when it is gone.
struct Layer {
    socket: TcpStream,
    held: Vec<u8>,
    gone: Arc<AtomicUsize>,
    good_bye: Result<(), io::ErrorKind>,
    panics: Option<Method>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    PollShutdown,
    IntoSocket,
}

/// One that has nothing to send, and no trouble with its good-bye.
fn good_layer(socket: TcpStream) -> Layer {
    Layer {
        socket,
        held: Vec::new(),
        gone: Arc::default(),
        good_bye: Ok(()),
        panics: None,
    }
}

impl AsyncWrite for Layer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let this = &mut *self;
            let written = std::task::ready!(Pin::new(&mut this.socket).poll_write(cx, &this.held))?;
            this.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert_ne!(self.panics, Some(Method::PollShutdown), "a panic of this test");
        self.good_bye?;
        std::task::ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Transport for Layer {
    fn socket(&self) -> SocketRef<'_> {
        SocketRef::Tcp(&self.socket)
    }

    fn into_socket(self: Box<Self>) -> Socket {
        assert_ne!(self.panics, Some(Method::IntoSocket), "a panic of this test");
        self.gone.fetch_add(1, Ordering::SeqCst);
        Socket::Tcp(self.socket)
    }
}

#[tokio::test]
async fn what_a_layer_holds_is_sent_although_the_peer_reads_last() {
    let (socket, peer) = pair().await;
    let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
    let gone = Arc::new(AtomicUsize::new(0));
    let mut layer = Layer {
        socket,
        held: Vec::new(),
        gone: gone.clone(),
        good_bye: Ok(()),
        panics: None,
    };
    // More than both kernels hold: the peer, which uploads before it reads, and we would wait for each other.
    let answer: Vec<u8> = (0..32_u32 << 20).map(|byte| byte as u8).collect();
    layer.write_all(&answer).await.unwrap();
    let (set, told) = told(Limits::default().idle(ENOUGH).total(ENOUGH), 10);
    set.add(layer, 0);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.eof, counts.drained), (1, UPLOAD as u64));
    assert_eq!(
        gone.load(Ordering::SeqCst),
        1,
        "the layer is thrown away with its good-bye"
    );
    assert!(peer.join().unwrap().unwrap() == answer, "whole");
    assert_eq!(told.try_recv().unwrap().1.ended, Ended::Eof);
}

#[tokio::test]
async fn a_layer_that_cannot_say_good_bye_is_told_of_and_its_socket_drained() {
    let layer = async || {
        let (mut socket, peer) = pair().await;
        let peer = thread::spawn(move || upload_then_read(peer, UPLOAD));
        answer_early(&mut socket).await;
        let good_bye = Err(io::ErrorKind::InvalidData);
        let layer = Layer {
            good_bye,
            ..good_layer(socket)
        };
        (layer, peer)
    };
    let is_well = |outcome: Outcome| {
        assert_eq!((outcome.ended, outcome.drained), (Ended::Eof, UPLOAD as u64 - 1));
        assert_eq!(outcome.good_bye_failed, Some(io::ErrorKind::InvalidData));
        // What it held is not known.
        assert_eq!((outcome.unsent, outcome.delivered()), (Some(0), None));
    };
    let (set, told) = told(Limits::default(), 10);
    let (stream, peer) = layer().await;
    set.add(stream, 0);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.eof, counts.failed, counts.good_byes_failed), (1, 0, 1));
    is_well(told.try_recv().unwrap().1);
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);

    let (stream, peer) = layer().await;
    let mut wrapped: Lingering<_> = Lingering::new(stream, Limits::default());
    wrapped.shutdown().await.unwrap();
    is_well(wrapped.outcome().unwrap());
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
}

#[tokio::test]
async fn a_layer_that_panics_ends_nothing_but_itself() {
    for (at, ended) in [
        (Method::PollShutdown, Ended::Eof),
        (Method::IntoSocket, Ended::Failed(io::ErrorKind::Other)),
    ] {
        let (set, told) = told(Limits::default().idle(ENOUGH).total(ENOUGH), 10);
        let (server, other) = pair().await;
        set.add(server, 0);
        let (socket, peer) = pair().await;
        let panics = Some(at);
        set.add(
            Layer {
                panics,
                ..good_layer(socket)
            },
            1,
        );
        // Its peer sees an end, whichever.
        read_all(peer).await;
        let (socket, peer) = pair().await;
        set.add_broken_off(
            Layer {
                panics,
                ..good_layer(socket)
            },
            2,
        );
        read_all(peer).await;
        drop(other);
        let counts = tokio::time::timeout(ENOUGH, set.finish(ENOUGH)).await.unwrap();
        assert_eq!((counts.added, counts.lingering, counts.stopped), (3, 0, 0), "{at:?}");
        let mut outcomes: Vec<_> = told.try_iter().collect();
        outcomes.sort_by_key(|(tag, _)| *tag);
        let ends: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.ended).collect();
        assert_eq!(ends, [Ended::Eof, ended, ended], "{at:?}");
    }
}

/// A layer that gives another connection to its set, and asks the set, when it says its good-bye and when it is gone.
struct Busybody {
    socket: Option<TcpStream>,
    set: LingeringSet<u32>,
    others: Vec<TcpStream>,
}

impl Busybody {
    fn be_busy(&mut self) {
        if let Some(other) = self.others.pop() {
            self.set.add(other, 0);
        }
        assert!(self.set.counts().added > 0);
    }
}

impl AsyncWrite for Busybody {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        unreachable!("nothing is written")
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.be_busy();
        Pin::new(self.socket.as_mut().unwrap()).poll_shutdown(cx)
    }
}

impl Drop for Busybody {
    fn drop(&mut self) {
        self.be_busy();
    }
}

impl Transport for Busybody {
    fn socket(&self) -> SocketRef<'_> {
        SocketRef::Tcp(self.socket.as_ref().unwrap())
    }

    fn into_socket(mut self: Box<Self>) -> Socket {
        Socket::Tcp(self.socket.take().unwrap())
    }
}

#[test]
fn a_layer_may_call_its_set_and_be_crowded_out_by_that() {
    for (most, ends) in [(10, [Ended::Eof; 3]), (1, [Ended::Crowded, Ended::Crowded, Ended::Eof])] {
        // In a thread of its own: who waits for a lock that it holds would not let the test end.
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (set, told) = told(Limits::default().idle(ENOUGH).total(ENOUGH), most);
                let (server, peer) = pair().await;
                let (one, peer_of_one) = pair().await;
                let (other, peer_of_other) = pair().await;
                let busybody = Busybody {
                    socket: Some(server),
                    set: set.clone(),
                    others: vec![one, other],
                };
                set.add(busybody, 1);
                // The good-bye, and the end of the layer.
                assert_eq!(read_all(peer).await, 0);
                drop((peer_of_one, peer_of_other));
                set.finish(ENOUGH).await;
                let mut ended: Vec<_> = told.try_iter().map(|(_, outcome)| outcome.ended).collect();
                ended.sort_by_key(|ended| *ended == Ended::Eof);
                done.send(ended).unwrap();
            });
        });
        assert_eq!(is_done.recv_timeout(ENOUGH).expect("no lock that is held"), ends);
    }
}

#[tokio::test]
async fn so_linger_is_off_in_the_set() {
    let (server, mut peer) = pair().await;
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    let mut written = 0;
    while let Ok(bytes) = server.try_write(&[0; 65_536]) {
        written += bytes;
    }
    let (set, told) = told(Limits::default().idle(50 * MILLISECOND), 10);
    set.add(server, 0);
    let counts = set.finish(ENOUGH).await;
    assert_eq!((counts.with_unsent, counts.with_unread), (1, 0));
    let outcome = told.try_recv().unwrap().1;
    assert!(outcome.is_cut() && outcome.unsent > Some(0), "{outcome:?}");
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), written);
}
