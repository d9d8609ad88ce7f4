use super::*;

fn ms(millis: f64) -> Duration {
    Duration::from_nanos((millis * 1e6) as u64)
}

fn packet(at: f64, from: usize, to: usize, arrives: impl Into<Option<f64>>, text: &str) -> LadderRow {
    let kind = match text {
        "ACK" => PacketKind::Ack,
        _ if text.starts_with("RST") => PacketKind::Reset,
        _ => PacketKind::Other,
    };
    LadderRow::Packet {
        at: ms(at),
        from,
        to,
        arrives: arrives.into().map(ms),
        text: text.into(),
        kind,
    }
}

fn data(at: f64, from: usize, to: usize, arrives: f64, bytes: u32) -> LadderRow {
    let text = format!("ACK {bytes} bytes");
    LadderRow::Packet {
        at: ms(at),
        from,
        to,
        arrives: Some(ms(arrives)),
        text,
        kind: PacketKind::Data(bytes),
    }
}

fn deed(at: f64, host: usize, text: &str) -> LadderRow {
    LadderRow::Deed {
        at: ms(at),
        host,
        text: text.into(),
        failed: text.contains('E'),
    }
}

fn kernel(at: f64, host: usize, text: &str) -> LadderRow {
    LadderRow::Kernel {
        at: ms(at),
        host,
        text: text.into(),
    }
}

fn ladder(hosts: &[&str], rows: Vec<LadderRow>) -> Ladder {
    Ladder {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        rows,
    }
}

fn unread() -> Ladder {
    ladder(
        &["client", "server"],
        vec![
            deed(0.0, 0, "connect"),
            packet(0.01, 0, 1, 2.02, "SYN"),
            packet(2.05, 1, 0, 4.06, "SYN,ACK"),
            packet(4.07, 0, 1, 6.08, "ACK"),
            deed(4.1, 0, "request POST /form"),
            packet(4.12, 0, 1, 6.2, "POST /form, 392 bytes"),
            deed(6.3, 1, "respond 200, 614400 bytes"),
            packet(6.31, 1, 0, 8.4, "HTTP/1.1 200, 1448 bytes"),
            packet(6.32, 0, 1, 8.33, "PSH,ACK 22 bytes"),
            deed(6.4, 1, "close"),
            kernel(8.43, 1, "TCP_ABORT_ON_CLOSE in state CLOSE, 22 bytes unread"),
            packet(8.43, 1, 0, 10.44, "RST,ACK"),
            deed(10.5, 0, "read 1448 bytes"),
            deed(10.51, 0, "read: ECONNRESET"),
        ],
    )
}

const NARROW: Look = Look {
    width: 60,
    color: false,
};

fn check(ladder: &Ladder, look: Look, expected: &str) {
    let text = ladder.render(look);
    let expected = expected.strip_prefix('\n').unwrap_or(expected);
    assert!(text == expected, "{text}\nand not\n{expected}");
}

#[test]
fn packets_and_deeds_of_two_hosts() {
    check(
        &unread(),
        Look::PLAIN,
        r"
   ms  client                                                                        server  arrives
 0.00  │ connect                                                                          │
 0.01  ├── SYN ──────────────────────────────────────────────────────────────────────────▶│     2.02
 2.05  │◀────────────────────────────────────────────────────────────────────── SYN,ACK ──┤     4.06
 4.07  ├── ACK ──────────────────────────────────────────────────────────────────────────▶│     6.08
 4.10  │ request POST /form                                                               │
 4.12  ├── POST /form, 392 bytes ────────────────────────────────────────────────────────▶│     6.20
 6.30  │                                                        respond 200, 614400 bytes │
 6.31  │┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄─────────────────────────── HTTP/1.1 200, 1448 bytes ──┤     8.40
 6.32  ├── PSH,ACK 22 bytes ───────────────────────────────┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄│     8.33
 6.40  │                                                                            close │
 8.33  │┄┄ PSH,ACK 22 bytes (sent 6.32) ─────────────────────────────────────────────────▶│
 8.40  │◀───────────────────────────────────────── HTTP/1.1 200, 1448 bytes (sent 6.31) ┄┄│
 8.43  │                       kernel: TCP_ABORT_ON_CLOSE in state CLOSE, 22 bytes unread │
 8.43  │◀━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ RST,ACK ━━┫    10.44
10.50  │ read 1448 bytes                                                                  │
10.51  │ ✗ read: ECONNRESET                                                               │
",
    );
}

#[test]
fn a_narrow_terminal() {
    check(
        &unread(),
        NARROW,
        r"
   ms  client                                server  arrives
 0.00  │ connect                                  │
 0.01  ├── SYN ──────────────────────────────────▶│     2.02
 2.05  │◀────────────────────────────── SYN,ACK ──┤     4.06
 4.07  ├── ACK ──────────────────────────────────▶│     6.08
 4.10  │ request POST /form                       │
 4.12  ├── POST /form, 392 bytes ────────────────▶│     6.20
 6.30  │                respond 200, 614400 bytes │
 6.31  │┄┄┄┄┄┄┄─────── HTTP/1.1 200, 1448 bytes ──┤     8.40
 6.32  ├── PSH,ACK 22 bytes ───────────┄┄┄┄┄┄┄┄┄┄┄│     8.33
 6.40  │                                    close │
 8.33  │┄┄ PSH,ACK 22 bytes (sent 6.32) ─────────▶│
 8.40  │◀─────── HTTP/1.1 200, 1448 bytes (sent ┄┄│
       │                                    6.31) │
 8.43  │      kernel: TCP_ABORT_ON_CLOSE in state │
       │                   CLOSE, 22 bytes unread │
 8.43  │◀━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ RST,ACK ━━┫    10.44
10.50  │ read 1448 bytes                          │
10.51  │ ✗ read: ECONNRESET                       │
",
    );
}

#[test]
fn what_is_dropped_and_what_is_held() {
    check(
        &ladder(
            &["client", "server"],
            vec![
                packet(0.0, 0, 1, None, "SYN"),
                packet(1000.0, 0, 1, 1000.5, "SYN"),
                packet(1001.0, 1, 0, 2050.0, "FIN,ACK"),
                LadderRow::Note {
                    at: ms(1001.5),
                    text: "the wire holds FIN,ACK".into(),
                },
                packet(1500.0, 0, 1, 1500.1, "GET /, 80 bytes"),
                packet(1500.2, 1, 0, 1500.4, "RST"),
                deed(1501.0, 0, "read: ECONNRESET"),
            ],
        ),
        NARROW,
        r"
     ms  client                              server  arrives
   0.00  ├── SYN ────────────────✗                │    never
1000.00  ├── SYN ────────────────────────────────▶│  1000.50
1001.00  │┄┄┄┄┄┄┄┄┄┄┄┄┄┄─────────────── FIN,ACK ──┤  2050.00
1001.50  · the wire holds FIN,ACK
1500.00  ├── GET /, 80 bytes ────────────────────▶│  1500.10
1500.20  │◀━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ RST ━━┫  1500.40
1501.00  │ ✗ read: ECONNRESET                     │
2050.00  │◀───────────── FIN,ACK (sent 1001.00) ┄┄│
",
    );
}

#[test]
fn three_hosts_and_words_longer_than_an_arrow() {
    check(
        &ladder(
            &["client", "proxy", "server"],
            vec![
                packet(0.0, 0, 1, 0.1, "GET /, 80 bytes"),
                deed(0.2, 1, "forward"),
                packet(0.3, 1, 2, 0.4, "GET /, 99 bytes"),
                kernel(0.5, 2, "TCP_ABORT_ON_CLOSE"),
                packet(0.5, 2, 1, 0.6, "RST,ACK"),
                packet(
                    0.7,
                    1,
                    0,
                    0.8,
                    "HTTP/1.1 502, 300 bytes with words that do not fit on it",
                ),
                packet(0.9, 0, 2, 1.0, "PSH,ACK 4 bytes"),
                packet(1.0, 2, 0, None, "RST"),
            ],
        ),
        Look::PLAIN,
        r"
   ms  client                                 proxy                                  server  arrives
 0.00  ├── GET /, 80 bytes ────────────────────▶│                                         │     0.10
 0.20  │                                        │ forward                                 │
 0.30  │                                        ├── GET /, 99 bytes ─────────────────────▶│     0.40
 0.50  │                                        │              kernel: TCP_ABORT_ON_CLOSE │
 0.50  │                                        │◀━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ RST,ACK ━━┫     0.60
 0.70  │◀─────── HTTP/1.1 502, 300 bytes with ──┤                                         │     0.80
       │            words that do not fit on it │                                         │
 0.90  ├── PSH,ACK 4 bytes ──────────────────────────────────────────────────────────────▶│     1.00
 1.00  │                                     ✗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ RST ━━┫    never
",
    );
}

#[test]
fn long_runs_are_folded() {
    let mut rows = vec![deed(0.0, 1, "write 54760 bytes")];
    for index in 0..37 {
        let at = 0.1 + f64::from(index) * 0.01;
        rows.push(data(at, 1, 0, at + 2.0, 1480));
        if index % 2 == 0 {
            rows.push(packet(at + 2.0, 0, 1, at + 4.0, "ACK"));
        }
    }
    rows.push(deed(1.0, 0, "wait"));
    rows.push(packet(5.0, 1, 0, 7.0, "FIN,ACK"));
    check(
        &ladder(&["client", "server"], rows),
        NARROW,
        r"
   ms  client                                server  arrives
 0.00  │                        write 54760 bytes │
 0.10  │┄┄┄┄┄┄┄─────── 37 segments, 54760 bytes ──┤     2.46
 1.00  │ wait                                     │
 2.10  ├── 19 ACKs ──────────────────────────────▶│     4.46
 2.46  │◀─────── 37 segments, 54760 bytes (sent ┄┄│
       │                                    0.10) │
 5.00  │◀────────────────────────────── FIN,ACK ──┤     7.00
",
    );
}

#[test]
fn short_runs_and_what_was_overtaken_are_not_folded() {
    let rows = vec![
        data(0.0, 0, 1, 5.0, 1),
        data(0.1, 0, 1, 1.0, 2),
        data(0.2, 0, 1, 1.1, 3),
        data(0.3, 0, 1, 1.2, 4),
        data(0.4, 0, 1, 1.3, 5),
        packet(2.0, 0, 1, 3.0, "GET /, 80 bytes"),
        data(2.1, 0, 1, 3.0, 6),
        data(2.2, 0, 1, 3.0, 7),
        data(2.3, 0, 1, 3.0, 8),
    ];
    check(
        &ladder(&["client", "server"], rows),
        NARROW,
        r"
   ms  client                                server  arrives
 0.00  ├── ACK 1 bytes ──────────────┄┄┄┄┄┄┄┄┄┄┄┄┄│     5.00
 0.10  ├── 4 segments, 14 bytes ─────────────────▶│     1.30
 2.00  ├── GET /, 80 bytes ──────────────────────▶│     3.00
 2.10  ├── ACK 6 bytes ──────────────────────────▶│     3.00
 2.20  ├── ACK 7 bytes ──────────────────────────▶│     3.00
 2.30  ├── ACK 8 bytes ──────────────────────────▶│     3.00
 5.00  │┄┄ ACK 1 bytes (sent 0.00) ──────────────▶│
",
    );
}

#[test]
fn text_is_made_safe_and_unknown_hosts_lose_no_words() {
    let rows = vec![
        packet(0.0, 0, 7, 1.0, "SYN\u{1b}[31m"),
        deed(1.0, 9, "read\r\n"),
        kernel(2.0, 9, "\u{202e}"),
        packet(3.0, 1, 1, 3.0, "to itself"),
    ];
    check(
        &ladder(&["cli\u{1b}ent", "server"], rows),
        NARROW,
        r"
   ms  cli\u{1b}ent                          server  arrives
 0.00  · SYN\u{1b}[31m
 1.00  · read\r\n
 2.00  · kernel: \u{202e}
 3.00  · to itself
",
    );
}

#[test]
fn an_empty_ladder_is_its_heading() {
    assert_eq!(Ladder::default().render(NARROW), "   ms\n");
}

#[test]
fn colours_change_no_character() {
    let colored = unread().render(Look {
        width: 100,
        color: true,
    });
    assert!(colored.contains('\u{1b}'));
    let mut plain = String::new();
    let mut pieces = colored.split('\u{1b}');
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    assert_eq!(plain, unread().render(Look::PLAIN));
}

#[test]
fn any_ladder_is_drawn_within_its_width_and_in_the_order_of_time() {
    for seed in 1..=300u64 {
        let mut state = seed;
        // xorshift64
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut rows = Vec::new();
        for _ in 0..next(60) {
            let at = next(200) as f64 / 10.0;
            let (from, to) = (next(3) as usize, next(3) as usize);
            let arrives = (next(5) > 0).then(|| at + next(80) as f64 / 10.0);
            rows.push(match next(6) {
                0 => deed(at, from, "something that takes a few words to say"),
                1 => kernel(at, from, "TCP_ABORT_ON_CLOSE"),
                2 => packet(at, from, to, arrives, "RST"),
                3 => packet(at, from, to, arrives, "ACK"),
                4 => packet(at, from, to, arrives, "GET /a/path/that/is/rather/long, 80 bytes"),
                _ => data(at, from, to, at + 2.0, 100),
            });
        }
        let width = Look::NARROWEST + next(51) as usize;
        let text = ladder(&["client", "proxy", "server"], rows).render(Look { width, color: false });
        let mut before = 0.0;
        for line in text.lines().skip(1) {
            assert!(line.chars().count() <= width, "seed {seed}, width {width}:\n{text}");
            // A time stands in front, or nothing where words go on.
            let front: String = line.chars().take(5).collect();
            let Ok(time) = front.trim().parse::<f64>() else {
                continue;
            };
            assert!(time >= before, "seed {seed}:\n{text}");
            before = time;
        }
        assert!(before > 0.0 || text.lines().count() < 4, "seed {seed}: no times found");
    }
}
