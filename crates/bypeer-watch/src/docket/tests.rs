use bypeer_diagnose::testimony::{Actor, Frame};

use super::*;
use crate::event::{Closing, OtherConnection, Segment, Task, Tcp, UserStack};

/// A machine whose kernel has two reasons, and which knows the path by the first address of a stack.
#[derive(Default)]
struct Stage;

const UNREAD: u64 = 1;
const ANSWER: u64 = 2;

impl Machine for Stage {
    fn real_time(&self, monotonic: u64) -> Timestamp {
        Timestamp(i64::try_from(monotonic).unwrap_or(i64::MAX))
    }
    fn tick(&self) -> Duration {
        Duration::from_millis(4)
    }
    fn reset_reason(&self, number: u32) -> Option<String> {
        (number == 1).then(|| "TCP_ABORT_ON_CLOSE".to_owned())
    }
    fn drop_reason(&self, number: u32) -> Option<String> {
        ["NETFILTER_DROP", "TCP_LISTEN_OVERFLOW"]
            .get(number as usize)
            .map(|name| (*name).to_owned())
    }
    fn reset_path(&self, kernel_stack: &[u64]) -> ResetPath {
        match kernel_stack.first() {
            Some(&UNREAD) => ResetPath::CloseUnread,
            Some(&ANSWER) => ResetPath::Answer,
            _ => ResetPath::Other,
        }
    }
    fn actor(&mut self, task: &Task, _: Option<ResetPath>) -> Actor {
        Actor {
            pid: task.pid,
            ..Actor::default()
        }
    }
    fn owner(&mut self, _: u64) -> Option<Actor> {
        None
    }
    fn frames(&mut self, _: &Task, _: &UserStack) -> Vec<Frame> {
        Vec::new()
    }
    fn listening(&mut self, _: u32, _: SocketAddr) -> Option<bool> {
        None
    }
    fn listened(&self, _: u32, _: SocketAddr) -> bool {
        false
    }
}

const SECOND: u64 = 1_000_000_000;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn event(kind: Kind, at: u64, local: u16, remote: u16) -> Event {
    Event {
        kind,
        at,
        cookie: u64::from(local),
        local: Some(address(local)),
        remote: Some(address(remote)),
        tcp: Some(Tcp {
            backlog: u32::from(local == 80),
            ..Tcp::default()
        }),
        task: Task {
            pid: u32::from(local),
            call: 3,
            ..Task::default()
        },
        ..Event::default()
    }
}

fn unread(at: u64) -> Event {
    let mut event = event(Kind::ResetSent, at, 80, 40_000);
    event.kernel_stack = vec![UNREAD];
    event.reason = Some(1);
    event.task.acting = true;
    event.tcp = event.tcp.map(|tcp| Tcp {
        unread: 23,
        fin_received: true,
        received: 415,
        sent: 700,
        retransmitted: 100,
        unacked: 600,
        ..tcp
    });
    event
}

#[test]
fn the_sender_decides_although_its_peer_was_heard_first() {
    let mut docket = Docket::new();
    docket.push(&event(Kind::ResetReceived, SECOND, 40_000, 80), &mut Stage);
    docket.push(&unread(SECOND + 10), &mut Stage);
    assert!(docket.ripe(SECOND + 20, &mut Stage).is_empty());
    let ripe = docket.ripe(2 * SECOND, &mut Stage);
    assert_eq!(ripe.len(), 1);
    let hearing = &ripe[0];
    assert_eq!((hearing.client.port, hearing.server.port), (40_000, 80));
    assert_eq!(hearing.deciding.told, Told::ResetSent);
    assert_eq!(hearing.deciding.side, Some(Side::Server));
    assert_eq!(hearing.peer.as_ref().map(|peer| peer.side), Some(Some(Side::Client)));
    // The FIN's sequence number is no byte, and retransmissions were not written twice.
    assert_eq!(hearing.deciding.unread, Some(22));
    assert_eq!(hearing.deciding.received, Some(414));
    assert_eq!((hearing.deciding.acked, hearing.deciding.unacked), (Some(0), Some(600)));
    assert_eq!(hearing.deciding.actor.as_ref().map(|actor| actor.pid), Some(80));
    let counted = docket.counted();
    assert_eq!(
        (counted.resets_sent, counted.resets_received, counted.follow_ups),
        (1, 1, 0)
    );
}

#[test]
fn what_late_segments_draw_is_no_second_story() {
    let mut docket = Docket::new();
    docket.push(&unread(SECOND), &mut Stage);
    let mut late = event(Kind::ResetSent, SECOND + 5, 80, 40_000);
    late.cookie = 0;
    late.tcp = None;
    late.kernel_stack = vec![ANSWER];
    late.segment = Some(Segment {
        source: address(40_000),
        destination: address(80),
        seq: 1,
        ack: 1,
        flags: 24,
        len: 10,
        window: 0,
    });
    docket.push(&late, &mut Stage);
    assert_eq!(docket.ripe(2 * SECOND, &mut Stage).len(), 1);
    late.at = 30 * SECOND;
    docket.push(&late, &mut Stage);
    assert!(docket.ripe(u64::MAX, &mut Stage).is_empty());
    assert_eq!(docket.counted().follow_ups, 2);
    // A SYN on the same ports is a new connection.
    late.segment = late.segment.map(|segment| Segment { flags: 2, ..segment });
    docket.push(&late, &mut Stage);
    assert_eq!(docket.ripe(u64::MAX, &mut Stage).len(), 1);
}

#[test]
fn the_error_of_a_reset_is_the_same_story_and_its_owner_is_who_closes() {
    let mut docket = Docket::new();
    docket.push(&event(Kind::ResetReceived, SECOND, 40_000, 80), &mut Stage);
    docket.push(&event(Kind::Failed, SECOND, 40_000, 80), &mut Stage);
    let mut closed = event(Kind::Closed, SECOND + 100, 40_000, 80);
    closed.task.pid = 7;
    docket.push(&closed, &mut Stage);
    closed.task.pid = 99;
    closed.task.acting = true;
    docket.push(&closed, &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert_eq!(ripe.len(), 1);
    let actor = ripe[0].deciding.actor.as_ref();
    assert_eq!(
        actor.map(|actor| (actor.pid, actor.known)),
        Some((99, Known::ClosedLater))
    );
    assert_eq!(docket.counted().failures, 0);
}

#[test]
fn whoever_ran_is_not_who_closed() {
    let mut docket = Docket::new();
    let mut late = event(Kind::ResetSent, SECOND, 80, 40_000);
    late.tcp = None;
    late.kernel_stack = vec![ANSWER];
    late.task.pid = 7;
    late.task.acting = true;
    late.closing = Some(Closing {
        at: SECOND / 2,
        task: Task {
            pid: 80,
            ..Task::default()
        },
        backlog: 128,
        ..Closing::default()
    });
    docket.push(&late, &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    let by = &ripe[0].deciding;
    assert_eq!(by.actor.as_ref().map(|actor| actor.pid), Some(80));
    assert_eq!(by.side, Some(Side::Server));
    assert_eq!(by.closed.as_ref().map(|closed| closed.at), Some(Timestamp(500_000_000)));
}

#[test]
fn an_attempt_that_a_full_queue_drops_again_and_again_is_told_once() {
    let mut docket = Docket::new();
    for second in [1, 2, 4, 8] {
        let mut drop = event(Kind::Dropped, second * SECOND, 80, 40_000);
        drop.reason = Some(1);
        docket.push(&drop, &mut Stage);
    }
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert_eq!(ripe.len(), 1);
    assert_eq!(ripe[0].deciding.told, Told::Overflowed);
    assert_eq!(docket.counted().follow_ups, 3);
}

#[test]
fn memory_is_bounded() {
    let mut docket = Docket::new();
    for number in 0..40_000u32 {
        let mut event = unread(u64::from(number));
        event.remote = Some(SocketAddr::from((
            [10, 0, (number >> 8) as u8, number as u8],
            1 + (number >> 16) as u16,
        )));
        docket.push(&event, &mut Stage);
        if number % 1000 == 0 {
            docket.ripe(0, &mut Stage);
            assert!(docket.waiting.len() <= WAITING);
        }
    }
    docket.ripe(u64::MAX, &mut Stage);
    assert!(docket.waiting.is_empty() && docket.by_ends.is_empty() && docket.by_cookie.is_empty());
    assert!(docket.told.moments.len() <= KEPT && docket.told.order.len() <= KEPT);
}

#[test]
fn a_closed_socket_that_resets_itself_received_nothing() {
    let mut docket = Docket::new();
    docket.push(&event(Kind::ResetReceived, SECOND, 80, 40_000), &mut Stage);
    docket.push(&event(Kind::ResetReceived, SECOND + 1, 40_000, 80), &mut Stage);
    let mut sent = event(Kind::ResetSent, SECOND + 2, 80, 40_000);
    sent.kernel_stack = vec![ANSWER];
    docket.push(&sent, &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert_eq!(ripe.len(), 1);
    assert_eq!(ripe[0].deciding.told, Told::ResetSent);
    assert_eq!(ripe[0].peer.as_ref().map(|peer| peer.told), Some(Told::ResetReceived));
    assert_eq!((ripe[0].client.port, ripe[0].server.port), (40_000, 80));
    let counted = docket.counted();
    assert_eq!((counted.resets_sent, counted.resets_received), (1, 1));
}

#[test]
fn a_forged_reset_is_not_corrected_by_what_is_answered_later() {
    let mut docket = Docket::new();
    docket.push(&event(Kind::ResetReceived, SECOND, 40_000, 80), &mut Stage);
    let mut late = event(Kind::ResetSent, SECOND + 2, 40_000, 80);
    late.cookie = 0;
    late.tcp = None;
    late.kernel_stack = vec![ANSWER];
    docket.push(&late, &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert_eq!(ripe.len(), 1);
    assert_eq!(ripe[0].deciding.told, Told::ResetReceived);
}

#[test]
fn a_firewall_s_drop_is_told_with_the_reset_that_follows() {
    let mut docket = Docket::new();
    let mut drop = event(Kind::Dropped, SECOND, 40_000, 80);
    drop.reason = Some(0);
    docket.push(&drop, &mut Stage);
    docket.push(&event(Kind::ResetReceived, SECOND + 10, 40_000, 80), &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert!(ripe.len() == 1 && ripe[0].deciding.firewalled);
}

/// As the kernel part tells it: the other connection had the descriptor before.
fn retaken(at: u64) -> Event {
    let mut event = event(Kind::Retaken, at, 80, 40_000);
    event.task.acting = true;
    event.other = Some(OtherConnection {
        cookie: 7,
        local: address(80),
        remote: address(39_999),
        read_at: SECOND / 2,
        descriptor: 9,
        answered: false,
        closed_by: Some(Closing {
            at: SECOND / 2 + 1,
            task: Task {
                pid: 4711,
                ..Task::default()
            },
            ..Closing::default()
        }),
    });
    event
}

#[test]
fn a_retaken_number_is_told_of_its_new_connection_and_names_the_old() {
    let mut docket = Docket::new();
    docket.push(&retaken(SECOND), &mut Stage);
    let ripe = docket.ripe(2 * SECOND, &mut Stage);
    assert_eq!(ripe.len(), 1);
    let told = &ripe[0].deciding;
    assert_eq!((told.told, told.side), (Told::Retaken, Some(Side::Server)));
    assert_eq!(ripe[0].client.port, 40_000);
    let before = told.predecessor.as_ref().expect("the other connection");
    assert_eq!((before.remote.port(), before.descriptor), (39_999, 9));
    let (closed, closer) = before.closed.as_ref().expect("its close");
    assert_eq!(
        (closed.0, closer.pid, closer.known),
        (500_000_001, 4711, Known::Remembered)
    );
    // Who closed, and not who reads.
    assert_eq!(told.actor.as_ref(), Some(closer));

    // It goes on: what it dies of is told.
    docket.push(&event(Kind::ResetReceived, 3 * SECOND, 80, 40_000), &mut Stage);
    assert_eq!(docket.ripe(u64::MAX, &mut Stage).len(), 1);
}

#[test]
fn a_swap_stands_in_place_of_the_suspicion() {
    let mut docket = Docket::new();
    docket.push(&retaken(SECOND), &mut Stage);
    let mut swapped = retaken(SECOND + 5);
    swapped.kind = Kind::Swapped;
    docket.push(&swapped, &mut Stage);
    let ripe = docket.ripe(u64::MAX, &mut Stage);
    assert_eq!(ripe.len(), 1);
    assert_eq!(ripe[0].deciding.told, Told::Swapped);
    assert!(ripe[0].deciding.predecessor.is_some());
}

#[test]
fn a_client_that_reads_under_an_old_number_is_not_told() {
    let mut docket = Docket::new();
    let mut event = retaken(SECOND);
    event.tcp = Some(Tcp::default());
    docket.push(&event, &mut Stage);
    assert!(docket.ripe(u64::MAX, &mut Stage).is_empty());
}
