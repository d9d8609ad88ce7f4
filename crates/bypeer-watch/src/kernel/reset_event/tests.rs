use super::*;

const OFFSET: i64 = 1_700_000_000_000_000_000;

/// As Linux 6.18 wrote it: a close with unread data, and late data that a TIME_WAIT answered.
const TRACE: &str = "\
         python3-5436    [001] ..... 11261.259746: tcp_send_reset: skbaddr=0000000000000000 skaddr=00000000f437e7bf src=127.0.0.1:38691 dest=127.0.0.1:37728 state=TCP_CLOSE reason=TCP_ABORT_ON_CLOSE
         python3-5436    [001] ..... 11261.260198: <stack trace>
 => trace_event_raw_event_tcp_send_reset
 => tcp_send_active_reset
 => __tcp_close
 => tcp_close
 => inet_release
         python3-5436    [001] ..s1. 11261.382407: tcp_send_reset: skbaddr=00000000c6766e74 skaddr=000000002782b94c src=[::ffff:127.0.0.1]:51969 dest=[2001:db8::7]:60554 state=TCP_TIME_WAIT reason=TCP_TIMEWAIT_SOCKET
         python3-5436    [001] ..s1. 11261.382448: <stack trace>
 => trace_event_raw_event_tcp_send_reset
 => tcp_v4_send_reset
 => tcp_v4_rcv
 => __tcp_close
";

fn read(text: &str) -> (Vec<ResetEvent>, TraceText) {
    let mut trace = TraceText::default();
    trace.push(text, OFFSET, true);
    (trace.take(), trace)
}

#[test]
fn a_trace_of_linux_6_18() {
    let (events, trace) = read(TRACE);
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[0],
        ResetEvent {
            time: Timestamp(OFFSET + 11_261_259_746_000),
            source: "127.0.0.1:38691".parse().unwrap(),
            destination: "127.0.0.1:37728".parse().unwrap(),
            state: "CLOSE".into(),
            reason: Some("TCP_ABORT_ON_CLOSE".into()),
            answers: false,
            stack: ["tcp_send_active_reset", "__tcp_close", "tcp_close", "inet_release"]
                .map(String::from)
                .to_vec(),
        }
    );
    assert_eq!(events[0].path(), ResetPath::CloseUnread);
    assert_eq!(events[1].source, "127.0.0.1:51969".parse().unwrap());
    assert_eq!(events[1].destination, "[2001:db8::7]:60554".parse().unwrap());
    assert_eq!(events[1].state, "TIME_WAIT");
    assert!(events[1].answers);
    assert_eq!(events[1].path(), ResetPath::Answer);
    assert_eq!((trace.lost(), trace.unreadable()), (0, 0));
}

#[test]
fn any_pieces_give_the_same() {
    let (whole, _) = read(TRACE);
    for size in 1..200 {
        let mut trace = TraceText::default();
        for piece in TRACE.as_bytes().chunks(size) {
            trace.push(std::str::from_utf8(piece).unwrap(), OFFSET, true);
        }
        assert!(!trace.is_waiting());
        assert_eq!(trace.take(), whole, "pieces of {size}");
    }
}

#[test]
fn a_cut_trace_gives_each_event_at_most_once_and_never_panics() {
    for end in 0..TRACE.len() {
        let mut trace = TraceText::default();
        trace.push(&TRACE[..end], OFFSET, true);
        let early = trace.take().len();
        trace.push(&TRACE[end..], OFFSET, true);
        assert_eq!(early + trace.take().len(), 2, "cut at {end}");
    }
}

#[test]
fn layouts_of_older_kernels() {
    let (events, trace) = read(
        "  a [b]: c-1  [000] ..s.  12.000001: tcp_send_reset: skbaddr=1 skaddr=2 src=10.0.0.1:80 dest=10.0.0.2:4000 state=TCP_ESTABLISHED\n\
         <idle>-0     [007] 12.5: tcp_send_reset: family=AF_INET sport=80 dport=4001 saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_CLOSE\n",
    );
    assert_eq!(trace.unreadable(), 0);
    assert_eq!(events[0].reason, None);
    assert_eq!(events[0].destination, "10.0.0.2:4000".parse().unwrap());
    assert_eq!(events[1].source, "10.0.0.1:80".parse().unwrap());
    assert_eq!(events[1].destination, "10.0.0.2:4001".parse().unwrap());
    assert_eq!(events[1].time, Timestamp(OFFSET + 12_500_000_000));
}

#[test]
fn stacks_of_two_processors_and_of_an_interrupt_find_their_events() {
    let reset = |task: &str, cpu: &str, port: u16| {
        format!(
            "  {task} [{cpu}] ..... 1.000001: tcp_send_reset: src=10.0.0.1:{port} dest=10.0.0.2:1 state=TCP_CLOSE reason=TCP_STATE\n"
        )
    };
    let stack = |task: &str, cpu: &str, function: &str| {
        format!("  {task} [{cpu}] ..... 1.000002: <stack trace>\n => {function}\n")
    };
    let text = [
        reset("a-1", "000", 1),
        reset("b-2", "001", 2),
        // An interrupt in a-1.
        reset("a-1", "000", 3),
        stack("a-1", "000", "third"),
        stack("b-2", "001", "second"),
        stack("a-1", "000", "first"),
        stack("c-3", "001", "nobody's"),
    ]
    .concat();
    let (events, _) = read(&text);
    let found: Vec<(u16, &str)> = events
        .iter()
        .map(|event| (event.source.port(), event.stack[0].as_str()))
        .collect();
    assert_eq!(found, [(1, "first"), (2, "second"), (3, "third")]);
    assert!(events.iter().all(|event| event.stack.len() == 1));
}

#[test]
fn what_was_lost_is_counted() {
    let mut trace = TraceText::default();
    let first = TRACE.lines().next().unwrap();
    trace.push(&format!("{first}\n"), OFFSET, true);
    assert!(trace.is_waiting(), "its stack is to come");
    trace.push("CPU:1 [LOST 123 EVENTS]\nCPU:0 [LOST EVENTS]\n", OFFSET, true);
    assert!(!trace.is_waiting(), "its stack may be lost");
    assert_eq!(trace.lost(), 124);
    trace.push("a-1 [000] . x: tcp_send_reset: src=1.1.1.1:1\n", OFFSET, true);
    assert_eq!(trace.unreadable(), 1);
    assert_eq!(trace.take().len(), 1);
}

#[test]
fn ways_by_their_stacks() {
    let of = |functions: &str| path(&functions.split(' ').map(String::from).collect::<Vec<_>>());
    let cases = [
        (
            "tcp_send_active_reset __tcp_close tcp_close inet_release",
            ResetPath::CloseUnread,
        ),
        (
            "tcp_send_active_reset tcp_disconnect __tcp_close tcp_close",
            ResetPath::LingerZero,
        ),
        (
            "tcp_send_active_reset tcp_disconnect inet_child_forget inet_csk_listen_stop __tcp_close",
            ResetPath::ListenerClosed,
        ),
        (
            "tcp_send_active_reset tcp_abort tcp_diag_destroy inet_diag_cmd_exact",
            ResetPath::Killed,
        ),
        (
            "tcp_send_active_reset tcp_disconnect __inet_stream_connect __sys_connect",
            ResetPath::Disconnected,
        ),
        // Loopback: the segment is answered inside the call that sent it.
        (
            "tcp_v4_send_reset.isra.0 tcp_v4_rcv process_backlog tcp_v4_connect __inet_stream_connect",
            ResetPath::Answer,
        ),
        (
            "tcp_send_active_reset+0x12/0x40 tcp_keepalive_timer call_timer_fn __tcp_close",
            ResetPath::Timer,
        ),
        ("something_new", ResetPath::Other),
    ];
    for (functions, expected) in cases {
        assert_eq!(of(functions), expected, "{functions}");
    }
}

#[test]
fn a_close_that_ran_out_of_memory_had_nothing_unread() {
    let (mut events, _) = read(TRACE);
    events[0].reason = Some("TCP_ABORT_ON_MEMORY".into());
    assert_eq!(events[0].path(), ResetPath::Other);
}

#[test]
fn without_a_stack_the_reason_tells() {
    // A timer on an idle processor, as Linux 6.18 wrote it: no stack follows.
    let timer = "          <idle>-0       [001] ..s2. 12952.404062: tcp_send_reset: skbaddr=0000000000000000 skaddr=000000005739e713 src=127.0.0.1:39089 dest=127.0.0.1:45588 state=TCP_ESTABLISHED reason=TCP_KEEPALIVE_TIMEOUT\n";
    let (events, trace) = read(timer);
    assert!(!trace.is_waiting(), "what was given is waited for no more");
    assert_eq!(events[0].path(), ResetPath::Timer);
    let way = |text: &str| read(text).0[0].path();
    assert_eq!(
        way(&timer.replace("TCP_KEEPALIVE_TIMEOUT", "TCP_STATE")),
        ResetPath::Other
    );
    assert_eq!(
        way(&timer.replace("skbaddr=0000000000000000", "skbaddr=(null)")),
        ResetPath::Timer
    );
    assert_eq!(
        way(&timer.replace("skbaddr=0000000000000000", "skbaddr=00000000c6766e74")),
        ResetPath::Answer
    );
}

/// As Linux 6.18 wrote it: a reset that came, the error that its program gets, a keep-alive that ran out, and one of another protocol.
#[test]
fn what_came_and_what_failed() {
    let text = "\
          <idle>-0       [000] ..s1.   100.000001: tcp_receive_reset: family=AF_INET sport=37728 dport=38691 saddr=127.0.0.1 daddr=127.0.0.1 saddrv6=::ffff:127.0.0.1 daddrv6=::ffff:127.0.0.1 sock_cookie=10a3
          <idle>-0       [000] ..s1.   100.000002: inet_sk_error_report: family=AF_INET protocol=IPPROTO_TCP sport=37728 dport=38691 saddr=127.0.0.1 daddr=127.0.0.1 saddrv6=::ffff:127.0.0.1 daddrv6=::ffff:127.0.0.1 error=104
      kworker/0:1-55     [000] ..s1.   101.000000: inet_sk_error_report: family=AF_INET6 protocol=IPPROTO_TCP sport=80 dport=4096 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=2001:db8::1 daddrv6=2001:db8::2 error=110
      kworker/0:1-55     [000] ..s1.   101.000000: inet_sk_error_report: family=AF_INET protocol=IPPROTO_SCTP sport=80 dport=4096 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=2001:db8::1 daddrv6=2001:db8::2 error=110
      kworker/0:1-55     [000] ..s1.   102.000000: tcp_receive_reset: family=AF_INET6 what=ever
";
    let mut trace = TraceText::default();
    trace.push(&format!("{text}{TRACE}"), 0, true);
    let events = trace.take_all();
    assert_eq!(trace.unreadable(), 1);
    let [received, error, timeout, sent, late] = &events[..] else {
        panic!("{events:#?}")
    };
    let (local, remote) = ("127.0.0.1:37728".parse().unwrap(), "127.0.0.1:38691".parse().unwrap());
    let time = Timestamp(100_000_001_000);
    let cookie = 0x10a3;
    assert_eq!(
        *received,
        TraceEvent::Received {
            time,
            local,
            remote,
            cookie
        }
    );
    let time = Timestamp(100_000_002_000);
    assert_eq!(
        *error,
        TraceEvent::Failed {
            time,
            local,
            remote,
            error: 104
        }
    );
    assert_eq!(
        *timeout,
        TraceEvent::Failed {
            time: Timestamp(101_000_000_000),
            local: "[2001:db8::1]:80".parse().unwrap(),
            remote: "[2001:db8::2]:4096".parse().unwrap(),
            error: 110
        }
    );
    for event in [sent, late] {
        let TraceEvent::Sent { event, task, tid } = event else {
            panic!("{event:?}")
        };
        assert_eq!((task.as_str(), *tid), ("python3", 5436));
        assert!(!event.stack.is_empty());
    }
    assert_eq!(trace.take_all(), []);
}
