//! What causes make of what kernels say. The figures are those that Linux 6.18 gave for the deed that each test names.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bypeer_diagnose::testimony::{
    Act, Actor, Closed, Deed, DeedKind, Frame, PartialMessage, Predecessor, ResetPath, Side, State, Testimony, Told,
    Trigger,
};
use bypeer_diagnose::{Confidence, Finding, Hearing, Party, Retry, decide_heard};
use bypeer_wire::app::{sole_request, sole_response};
use bypeer_wire::{Endpoint, Timestamp};

const NOW: i64 = 1_767_355_445_000_000_000;

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
    }
}

fn hearing(deciding: Testimony) -> Hearing {
    Hearing {
        number: 1,
        client: endpoint(40_000),
        server: endpoint(80),
        opened: None,
        deciding,
        peer: None,
    }
}

fn judge(deciding: Testimony) -> Option<Finding> {
    decide_heard(&hearing(deciding))
}

/// Cause, confidence, harmless; with the rivals of an undecided one.
fn verdict(deciding: Testimony) -> String {
    let Some(finding) = judge(deciding) else {
        return "nothing".to_owned();
    };
    let mut causes: Vec<&str> = finding.rivals.iter().map(|rival| rival.cause.id).collect();
    causes.insert(0, finding.cause.id);
    let harmless = if finding.harmless { " (harmless)" } else { "" };
    format!("{} {}{harmless}", finding.confidence, causes.join(" | "))
}

fn actor(act: Act) -> Actor {
    Actor {
        pid: 4711,
        name: "srv".to_owned(),
        act,
        call: matches!(act, Act::Close).then(|| "close(9)".to_owned()),
        ..Actor::default()
    }
}

/// A server that closed with `unread` of `received` bytes unread, having sent `sent`: the last data came, and was sent, so long before.
fn closed_unread(unread: u64, received: u64, sent: u64, came: u64, wrote: u64) -> Testimony {
    Testimony {
        at: Timestamp(NOW),
        number: 1,
        told: Told::ResetSent,
        side: Some(Side::Server),
        reason: Some("TCP_ABORT_ON_CLOSE".to_owned()),
        path: Some(ResetPath::CloseUnread),
        state: Some(State::Closed),
        unread: Some(unread),
        received: Some(received),
        acked: Some(0),
        unacked: Some(sent),
        unsent: Some(0),
        linger: Some(None),
        fin_received: Some(false),
        since_received: Some(milliseconds(came)),
        since_sent: Some(milliseconds(wrote)),
        tick: milliseconds(4),
        segment_size: Some(1460),
        actor: Some(actor(Act::Close)),
        ..Testimony::default()
    }
}

fn on_client(testimony: Testimony) -> Testimony {
    Testimony {
        side: Some(Side::Client),
        ..testimony
    }
}

fn with_heads(request: &str, passed: u64, response: &str, testimony: Testimony) -> Testimony {
    let request = sole_request(request.as_bytes()).unwrap();
    let response = sole_response(response.as_bytes(), Some(&request.head.method));
    Testimony {
        request: Some(PartialMessage {
            head: Box::new(request.head),
            length: request.length,
            passed,
            at: Timestamp(NOW),
        }),
        response: response.map(|response| PartialMessage {
            head: Box::new(response.head),
            length: response.length,
            passed: 0,
            at: Timestamp(NOW),
        }),
        ..testimony
    }
}

/// `len` bytes reach a socket that its program had closed: the last data had been sent `idle` before the close, the segment comes `after`.
fn late(side: Side, len: u32, received: u64, sent: u64, idle: u64, after: u64) -> Testimony {
    Testimony {
        at: Timestamp(NOW),
        number: 1,
        told: Told::ResetSent,
        side: Some(side),
        reason: Some("TIMEWAIT_SOCKET".to_owned()),
        path: Some(ResetPath::Answer),
        state: Some(State::TimeWait),
        tick: milliseconds(4),
        closed: Some(Closed {
            at: Timestamp(NOW - 1_000_000 * after as i64),
            received,
            sent,
            since_received: milliseconds(idle),
            since_sent: milliseconds(idle),
            half: false,
        }),
        trigger: Some(trigger(len)),
        actor: Some(actor(Act::Close)),
        ..Testimony::default()
    }
}

fn trigger(len: u32) -> Trigger {
    Trigger {
        source: "127.0.0.1:40000".parse().unwrap(),
        destination: "127.0.0.1:80".parse().unwrap(),
        len,
        syn: false,
        ack: true,
        fin: false,
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

#[test]
fn a_request_that_nobody_read() {
    assert_eq!(
        verdict(closed_unread(100, 100, 0, 500, 0)),
        "certain unread-request-body"
    );
    // The first request of a connection that was opened long before, and the close right behind it: a limit for idle connections does that.
    let opened_ahead = closed_unread(100, 100, 0, 4, 60_004);
    assert_eq!(
        verdict(opened_ahead),
        "undecided unread-request-body | keepalive-race-unannounced-close"
    );
    // Not one that came as soon as the connection was open, or of which a part was read.
    assert_eq!(verdict(closed_unread(100, 100, 0, 4, 8)), "certain unread-request-body");
    assert_eq!(
        verdict(closed_unread(60, 100, 0, 4, 60_004)),
        "certain unread-request-body"
    );
    // Who only hears that a socket was destroyed cannot tell a close from the end of its process.
    let destroyed = Testimony {
        told: Told::Destroyed,
        reason: None,
        path: None,
        actor: None,
        ..closed_unread(100, 100, 0, 500, 0)
    };
    assert_eq!(verdict(destroyed), "undecided unread-request-body | process-killed");
    // Nor one that hears that it was ending, and not how.
    let ending = Testimony {
        actor: Some(actor(Act::Unknown)),
        ..closed_unread(100, 100, 600, 40, 8)
    };
    assert_eq!(verdict(ending), "undecided unread-request-body | process-killed");
    let finding = judge(closed_unread(100, 100, 0, 500, 0)).unwrap();
    assert_eq!(finding.retry, Retry::Safe, "{}", finding.retry_reason);
    assert_eq!(finding.blame, Party::ServerProgram);
    assert!(
        finding.closing.contains("srv (pid 4711) called close(9)"),
        "{}",
        finding.closing
    );
}

#[test]
fn an_answer_with_the_rest_of_the_request_unread() {
    // It came before the answer was written: it belongs to what was answered.
    assert_eq!(
        verdict(closed_unread(22, 414, 614_612, 40, 8)),
        "likely unread-request-body"
    );
    // In the same ticks: the next request would be at least as long as a request.
    assert_eq!(
        verdict(closed_unread(22, 414, 614_612, 0, 0)),
        "likely unread-request-body"
    );
    assert_eq!(
        verdict(closed_unread(70, 414, 614_612, 0, 0)),
        "undecided unread-request-body | keepalive-race-unannounced-close | unannounced-close-each-response"
    );
    // Before the answer, but as long as a request: a pipelined one looks the same.
    assert_eq!(
        verdict(closed_unread(50, 99, 378_000, 60, 0)),
        "undecided unread-request-body | unread-trailing-bytes"
    );
    // Its own head decides.
    let body = with_heads(POST, 48, OK, closed_unread(22, 70, 600, 0, 0));
    assert_eq!(verdict(body), "certain unread-request-body");
    let whole = with_heads(POST, 70, OK, closed_unread(71, 141, 600, 0, 0));
    assert_eq!(
        verdict(whole),
        "undecided keepalive-race-unannounced-close | unannounced-close-each-response"
    );
    let refused = with_heads(POST, 48, "HTTP/1.1 413 No\r\n\r\n", closed_unread(22, 70, 600, 0, 0));
    assert_eq!(verdict(refused), "certain early-error-body-limit");
}

#[test]
fn a_line_end_after_the_request() {
    assert_eq!(
        verdict(closed_unread(2, 92, 600, 40, 8)),
        "likely unread-trailing-bytes"
    );
    let known = with_heads(GET, 27, OK, closed_unread(2, 29, 600, 0, 0));
    assert_eq!(verdict(known), "certain unread-trailing-bytes");
}

#[test]
fn the_next_request_lay_unread() {
    // 3 s after the answer, and closed at that moment: no habit of closing after answers.
    assert_eq!(
        verdict(closed_unread(78, 156, 600, 0, 3000)),
        "likely keepalive-race-unannounced-close"
    );
    // Right after the answer it may be the server's habit.
    assert_eq!(
        verdict(closed_unread(78, 156, 600, 0, 20)),
        "undecided keepalive-race-unannounced-close | unannounced-close-each-response"
    );
    // As long as a TLS good-bye: that is what it may be, and nobody is accused of a race.
    assert_eq!(
        verdict(closed_unread(31, 600, 600, 0, 3000)),
        "likely unread-tls-record (harmless)"
    );
    // In the same ticks it may be that, or the rest of the request.
    assert_eq!(
        verdict(closed_unread(31, 600, 600, 0, 0)),
        "undecided unread-request-body | unread-tls-record"
    );
    // Long unread: no close that crossed it, but a server that did not look.
    assert_eq!(
        verdict(closed_unread(78, 156, 600, 2000, 5000)),
        "likely unread-request-body"
    );
    let announced = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    assert_eq!(
        verdict(with_heads(GET, 27, announced, closed_unread(78, 105, 600, 0, 20))),
        "certain keepalive-race-announced-close"
    );
    // A pipelined one had been sent before the announcement could be read.
    assert_eq!(
        verdict(with_heads(GET, 27, announced, closed_unread(78, 105, 600, 40, 8))),
        "likely unread-trailing-bytes"
    );
    // Recorded deeds are finer than ticks.
    let mut fine = closed_unread(78, 156, 600, 0, 0);
    let deed = |at, what| Deed {
        at: Timestamp(at),
        what,
        tid: 1,
        descriptor: 9,
        count: 1,
    };
    fine.history = vec![
        deed(NOW - 900_000, DeedKind::Wrote(600)),
        deed(NOW - 100_000, DeedKind::Arrived(78)),
    ];
    assert_eq!(
        verdict(fine),
        "undecided keepalive-race-unannounced-close | unannounced-close-each-response"
    );
}

#[test]
fn an_upload_that_went_on_after_the_answer() {
    assert_eq!(
        verdict(closed_unread(200_000, 300_000, 300, 0, 40)),
        "undecided unread-request-body | early-error-body-limit"
    );
}

#[test]
fn aborts_on_purpose() {
    let abort = |path, side| Testimony {
        path: Some(path),
        reason: Some("TCP_STATE".to_owned()),
        linger: Some(Some(Duration::ZERO)),
        side: Some(side),
        unread: Some(0),
        ..closed_unread(0, 100, 500, 300, 200)
    };
    assert_eq!(
        verdict(abort(ResetPath::LingerZero, Side::Server)),
        "certain so-linger-zero"
    );
    assert_eq!(
        verdict(abort(ResetPath::Disconnected, Side::Server)),
        "certain so-linger-zero"
    );
    let killed = Testimony {
        actor: Some(actor(Act::Destroy)),
        linger: Some(None),
        ..abort(ResetPath::Killed, Side::Server)
    };
    let finding = judge(killed).unwrap();
    assert_eq!((finding.cause.id, finding.blame), ("so-linger-zero", Party::Operator));
    // Linger 0 with something unread: the kernel looks at the unread first, the program had decided before.
    let both = Testimony {
        linger: Some(Some(Duration::ZERO)),
        ..closed_unread(22, 414, 600, 40, 8)
    };
    assert_eq!(verdict(both), "certain so-linger-zero");
    // A client's pool that throws away what owes it nothing.
    let idle = Testimony {
        since_sent: Some(milliseconds(300)),
        since_received: Some(milliseconds(200)),
        unacked: Some(0),
        acked: Some(500),
        ..abort(ResetPath::LingerZero, Side::Client)
    };
    assert_eq!(verdict(idle.clone()), "likely deliberate-pool-rst (harmless)");
    // And one that waits for an answer.
    let waiting = Testimony {
        since_received: Some(milliseconds(900)),
        ..idle
    };
    assert_eq!(verdict(waiting), "likely client-cancel");
}

#[test]
fn a_process_that_dies() {
    let killed = Testimony {
        actor: Some(actor(Act::Killed(9))),
        ..closed_unread(100, 100, 0, 500, 0)
    };
    assert_eq!(verdict(killed), "certain process-killed");
    let late_killed = Testimony {
        actor: Some(actor(Act::Killed(15))),
        ..late(Side::Server, 40, 90, 300, 5, 3)
    };
    assert_eq!(verdict(late_killed), "certain process-killed");
    // Exiting in order with something unread is a close like any other.
    let done = Testimony {
        actor: Some(actor(Act::Exit(0))),
        ..closed_unread(100, 100, 600_000, 40, 8)
    };
    assert_eq!(verdict(done), "likely unread-request-body");
    let listener = Testimony {
        path: Some(ResetPath::ListenerClosed),
        reason: Some("TCP_STATE".to_owned()),
        ..closed_unread(0, 0, 0, 9, 9)
    };
    assert_eq!(verdict(listener), "certain listener-closed-pending-accept");
}

#[test]
fn what_came_after_a_close() {
    // The server never answered.
    assert_eq!(
        verdict(late(Side::Server, 500, 90, 0, 50, 2)),
        "certain late-data-after-close"
    );
    // After 5 s of silence the server closed, the client's kernel knew, and its program sent a request: it does not look.
    assert_eq!(
        verdict(late(Side::Server, 78, 78, 300, 5000, 2000)),
        "likely idle-timeout-inversion"
    );
    // A connection that was opened ahead of need, and timed out before its first request.
    assert_eq!(
        verdict(late(Side::Server, 78, 0, 0, 5000, 2000)),
        "likely idle-timeout-inversion"
    );
    // The request crossed the FIN.
    let crossed = Testimony {
        state: Some(State::FinWait1),
        ..late(Side::Server, 78, 78, 300, 5000, 2)
    };
    assert_eq!(verdict(crossed), "likely keepalive-race-unannounced-close");
    // Right after the answer: the rest of the request, or the next one.
    assert_eq!(
        verdict(late(Side::Server, 300, 90, 600, 1, 2)),
        "undecided late-data-after-close | keepalive-race-unannounced-close | unannounced-close-each-response | \
         keepalive-race-announced-close"
    );
    // Too short for a request.
    assert_eq!(
        verdict(late(Side::Server, 22, 392, 600, 1, 2)),
        "likely late-data-after-close"
    );
    // Perhaps a TLS good-bye: at a port of TLS that is what it is.
    assert_eq!(
        verdict(late(Side::Server, 24, 900, 600, 1, 2)),
        "undecided late-data-after-close | tls-close-notify-answer-rst"
    );
    let mut tls = hearing(late(Side::Server, 24, 900, 600, 1, 2));
    tls.server.port = 443;
    assert!(decide_heard(&tls).unwrap().harmless);
    // And of a client that has left, whatever the port.
    assert_eq!(
        verdict(late(Side::Client, 24, 900, 600, 1, 2)),
        "likely tls-close-notify-answer-rst (harmless)"
    );
    // The client had left.
    assert_eq!(
        verdict(late(Side::Client, 1448, 0, 90, 1000, 500)),
        "likely client-cancel"
    );
}

#[test]
fn clients_that_do_not_read() {
    // All had come, and the server was done.
    let done = Testimony {
        fin_received: Some(true),
        ..on_client(closed_unread(5000, 5200, 90, 2, 20))
    };
    assert_eq!(verdict(done), "likely client-undrained-response (harmless)");
    // The server's kernel still had some of it.
    let cut = Hearing {
        peer: Some(Testimony {
            told: Told::ResetReceived,
            side: Some(Side::Server),
            unsent: Some(400_000),
            number: 2,
            ..Testimony::default()
        }),
        ..hearing(on_client(closed_unread(200_000, 200_100, 90, 0, 20)))
    };
    let finding = decide_heard(&cut).unwrap();
    assert_eq!(
        (finding.cause.id, finding.confidence),
        ("client-cancel", Confidence::Certain)
    );
}

#[test]
fn segments_without_a_socket() {
    let unknown = |reason: &str, state, syn| Testimony {
        reason: Some(reason.to_owned()),
        state,
        closed: None,
        actor: None,
        trigger: Some(Trigger {
            syn,
            ack: !syn,
            ..trigger(if syn { 0 } else { 78 })
        }),
        ..late(Side::Server, 78, 0, 0, 0, 0)
    };
    assert_eq!(verdict(unknown("NO_SOCKET", None, true)), "certain closed-port");
    assert_eq!(
        verdict(unknown("NO_SOCKET", None, false)),
        "likely half-open-after-reboot"
    );
    assert_eq!(
        verdict(unknown("TCP_FLAGS", Some(State::Listen), false)),
        "likely half-open-after-reboot"
    );
    // A stray ACK or FIN harms nobody.
    let stray = Testimony {
        trigger: Some(trigger(0)),
        ..unknown("NO_SOCKET", None, false)
    };
    assert_eq!(verdict(stray), "likely half-open-after-reboot (harmless)");
    let overflow = |testimony| Testimony {
        overflowed: true,
        ..testimony
    };
    assert_eq!(
        verdict(overflow(unknown("INVALID_SYN", Some(State::Listen), false))),
        "certain backlog-overflow-rst"
    );
    assert_eq!(
        verdict(overflow(unknown("NO_SOCKET", None, false))),
        "likely backlog-overflow-drop"
    );
    let dropped = Testimony {
        told: Told::Overflowed,
        ..unknown("", Some(State::Listen), true)
    };
    assert_eq!(verdict(dropped), "certain backlog-overflow-drop");
}

#[test]
fn failures_without_a_reset() {
    let failed = |error, state| Testimony {
        told: Told::Failed,
        reason: None,
        path: None,
        error: Some(error),
        state: Some(state),
        retransmits: Some(5),
        ..on_client(closed_unread(0, 100, 90, 9000, 8000))
    };
    assert_eq!(verdict(failed(110, State::Established)), "certain user-timeout-or-rto");
    assert_eq!(
        verdict(failed(110, State::SynSent)),
        "undecided backlog-overflow-drop | silent-drop"
    );
    assert_eq!(verdict(failed(113, State::SynSent)), "certain icmp-error-abort");
    assert_eq!(verdict(failed(113, State::Established)), "likely icmp-error-abort");
    let probes = Testimony {
        reason: Some("TCP_KEEPALIVE_TIMEOUT".to_owned()),
        path: Some(ResetPath::Timer),
        ..closed_unread(0, 100, 90, 9000, 8000)
    };
    assert_eq!(verdict(probes.clone()), "certain keepalive-timeout");
    // Linux 6.1 gives no reason, but counts its probes.
    let without_reason = Testimony {
        reason: None,
        probes: Some(3),
        unacked: Some(0),
        ..probes
    };
    assert_eq!(verdict(without_reason), "likely keepalive-timeout");
}

#[test]
fn resets_that_come_from_elsewhere() {
    let received = |side, state, since_received, since_sent| Testimony {
        told: Told::ResetReceived,
        reason: None,
        path: None,
        side: Some(side),
        state: Some(state),
        unread: Some(0),
        acked: Some(90),
        unacked: Some(0),
        ..closed_unread(0, 100, 0, since_received, since_sent)
    };
    assert_eq!(
        verdict(received(Side::Client, State::SynSent, 0, 0)),
        "likely closed-port"
    );
    assert_eq!(
        verdict(received(Side::Client, State::Established, 3000, 3200)),
        "likely deliberate-pool-rst (harmless)"
    );
    // A request was waiting for its answer: which of many causes it was cannot be told from here, and that is said.
    let waiting = verdict(received(Side::Client, State::Established, 900, 5));
    assert!(waiting.starts_with("undecided "), "{waiting}");
    for rival in [
        "unread-request-body",
        "keepalive-race-unannounced-close",
        "so-linger-zero",
        "process-killed",
    ] {
        assert!(waiting.contains(rival), "{waiting}");
    }
    // So is one that came in the middle of an answer, as far as this end can tell.
    let cut = verdict(received(Side::Client, State::Established, 3, 200));
    assert!(cut.starts_with("undecided unread-request-body | "), "{cut}");
    assert_eq!(
        verdict(received(Side::Server, State::Established, 5, 900)),
        "likely client-cancel"
    );
    let firewall = Testimony {
        firewalled: true,
        ..received(Side::Client, State::Established, 900, 5)
    };
    assert_eq!(verdict(firewall), "certain netfilter-reject");
    let forged = Testimony {
        peer_is_local: true,
        ..received(Side::Client, State::Established, 900, 5)
    };
    assert_eq!(verdict(forged), "likely injected-rst");
}

#[test]
fn an_answer_under_another_connection_s_descriptor() {
    let swapped = Testimony {
        told: Told::Swapped,
        reason: None,
        path: None,
        ..closed_unread(0, 100, 90, 9, 0)
    };
    assert_eq!(verdict(swapped), "certain desync-fd-reuse-double-close");
}

#[test]
fn a_number_that_was_taken_from_under_its_reader() {
    let retaken = |function: &str| Testimony {
        at: Timestamp(NOW),
        told: Told::Retaken,
        side: Some(Side::Server),
        state: Some(State::Established),
        reason: None,
        path: None,
        predecessor: Some(Predecessor {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:39999".parse().unwrap(),
            descriptor: 9,
            read_at: Timestamp(NOW - 900_000_000),
            closed: Some((
                Timestamp(NOW - 500_000_000),
                Actor {
                    frames: vec![Frame {
                        function: Some(function.to_owned()),
                        ..Frame::default()
                    }],
                    ..actor(Act::Close)
                },
            )),
        }),
        ..Testimony::default()
    };
    // A pool's thread may close on purpose what it will not answer.
    assert_eq!(
        verdict(retaken("give_up")),
        "undecided upstream-no-response-close | desync-fd-reuse-double-close"
    );
    let finding = judge(retaken("give_up")).unwrap();
    assert!(finding.settle.unwrap().contains("--payload"));
    assert_eq!(finding.retry, Retry::Unknown);
    assert!(finding.lost.what.contains("127.0.0.1:39999"), "{}", finding.lost.what);
    let evidence: Vec<&str> = finding.evidence.iter().map(|item| item.what.as_str()).collect();
    assert_eq!(evidence.len(), 3, "{evidence:#?}");
    assert!(evidence[0].contains("127.0.0.1:39999 → 127.0.0.1:80, under descriptor 9"));
    assert!(evidence[1].contains("srv (pid 4711) called close(9)") && evidence[1].ends_with("; give_up"));

    // libuv closes no socket where it closes files.
    assert_eq!(verdict(retaken("uv__fs_work")), "likely desync-fd-reuse-double-close");
    // Without the other connection nothing can be said of it.
    let alone = Testimony {
        predecessor: None,
        ..retaken("")
    };
    assert_eq!(verdict(alone), "nothing");
}

/// The server closed right after its answer, and the next request met the close.
fn met_the_close(port: u16, idle: u64) -> Hearing {
    let mut hearing = hearing(Testimony {
        at: Timestamp(NOW),
        number: 1,
        told: Told::ResetSent,
        side: Some(Side::Server),
        reason: Some("TCP_TIMEWAIT_SOCKET".to_owned()),
        path: Some(ResetPath::Answer),
        state: Some(State::TimeWait),
        trigger: Some(Trigger {
            source: "127.0.0.1:40000".parse().unwrap(),
            destination: "127.0.0.1:80".parse().unwrap(),
            len: 171,
            syn: false,
            ack: true,
            fin: false,
        }),
        closed: Some(Closed {
            at: Timestamp(NOW - 1_000_000),
            received: 171,
            sent: 200,
            since_received: milliseconds(idle),
            since_sent: milliseconds(idle),
            half: false,
        }),
        actor: Some(actor(Act::Close)),
        tick: milliseconds(4),
        ..Testimony::default()
    });
    hearing.client = endpoint(port);
    hearing
}

#[test]
fn a_habit_is_what_several_connections_have_in_common() {
    let habits_of = |hearings: &[Hearing]| {
        let mut habits = bypeer_diagnose::Habits::default();
        hearings.iter().for_each(|hearing| habits.note(hearing));
        habits.insights()
    };
    let alike: Vec<Hearing> = (0..5).map(|number| met_the_close(40_000 + number, 0)).collect();
    let insights = habits_of(&alike);
    assert_eq!(insights.len(), 1);
    assert_eq!(insights[0].cause.id, "unannounced-close-each-response");
    assert_eq!((insights[0].server, insights[0].connections), (endpoint(80), 5));
    assert!(
        insights[0].what.contains("is not known (--payload"),
        "{}",
        insights[0].what
    );
    assert_eq!(habits_of(&alike[..2]).len(), 0, "two are no habit");
    // One that closes when it has been idle has another.
    let idle: Vec<Hearing> = (0..5).map(|number| met_the_close(40_000 + number, 5000)).collect();
    assert_eq!(habits_of(&idle).len(), 0);
    assert_eq!(habits_of(&[&alike[..], &idle[..]].concat()).len(), 0);
    // With heads: it said so, or not.
    let answered = |head: &[u8]| {
        let mut hearing = met_the_close(40_000, 0);
        hearing.deciding.response = sole_response(head, None).map(|sole| PartialMessage {
            head: Box::new(sole.head),
            length: sole.length,
            passed: head.len() as u64,
            at: Timestamp(NOW),
        });
        hearing
    };
    let silent = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let what = &habits_of(&[silent.clone(), silent.clone(), silent.clone()])[0].what;
    assert!(what.ends_with("and never said Connection: close"), "{what}");
    let said = answered(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(habits_of(&[silent.clone(), silent.clone(), silent, said]).len(), 0);
}

#[test]
fn who_was_told_to_end_did_not_give_up() {
    use bypeer_diagnose::testimony::ToldToEnd;
    // A proxy that is stopped while its upstream answers.
    let stopped = |act, told_before: Option<i64>| {
        let mut hearing = met_the_close(40_000, 0);
        let by = &mut hearing.deciding;
        by.side = Some(Side::Client);
        by.actor = Some(Actor {
            told_to_end: told_before.map(|before| ToldToEnd {
                signal: 15,
                at: Timestamp(NOW - 1_000_000 - before),
                by: Some((1, "systemd".to_owned())),
            }),
            ..actor(act)
        });
        let finding = decide_heard(&hearing).unwrap();
        format!("{} {}: {}", finding.confidence, finding.cause.id, finding.verdict)
    };
    let exited = stopped(Act::Exit(0), Some(12_000_000));
    assert_eq!(
        exited,
        "certain process-killed: the client's process was told to end (SIGTERM from systemd (pid 1)), and exited with status 0 12.0 ms \
         later with the connection open"
    );
    let closed = stopped(Act::Close, Some(12_000_000));
    assert!(
        closed.starts_with("likely process-killed: the client's process was told to end"),
        "{closed}"
    );
    // Long before, or after what it did: another story.
    for other in [None, Some(600_000_000_000), Some(-500_000)] {
        let text = stopped(Act::Close, other);
        assert!(text.contains("client-cancel"), "{other:?}: {text}");
    }
}

/// tracefs has no segment in its text: what is known is told, and nobody is accused.
#[test]
fn an_answer_to_a_segment_that_is_not_told() {
    let answer = |state, listening, side| Testimony {
        at: Timestamp(NOW),
        number: 1,
        told: Told::ResetSent,
        path: Some(ResetPath::Answer),
        reason: Some("NO_SOCKET".to_owned()),
        side,
        state,
        listening,
        ..Testimony::default()
    };
    let server = Some(Side::Server);
    assert_eq!(
        verdict(answer(None, Some(false), None)),
        "undecided late-data-after-close | closed-port | half-open-after-reboot"
    );
    assert_eq!(
        verdict(answer(None, Some(true), server)),
        "undecided late-data-after-close | half-open-after-reboot"
    );
    assert_eq!(
        verdict(answer(Some(State::TimeWait), Some(true), server)),
        "undecided late-data-after-close | keepalive-race-unannounced-close"
    );
    // A socket that is there has its own reasons.
    assert_eq!(verdict(answer(Some(State::Established), None, server)), "nothing");
    // That of a client cannot be the server's fault.
    assert_eq!(
        verdict(answer(Some(State::TimeWait), None, Some(Side::Client))),
        "nothing"
    );
}
