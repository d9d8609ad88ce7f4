//! The outcome does not depend on how a dialogue is cut into segments, and nothing panics.

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Dialogues whose framing is never lost.
fn dialogues() -> Vec<Vec<Said>> {
    let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        vec![c(get), s(ok), c(get), s(ok), Said::ServerFin, Said::ClientFin],
        vec![c(get.repeat(7)), s(ok.repeat(3)), c(get), s(ok.repeat(5))],
        vec![
            c("\r\nPOST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n\r\n"),
            s(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
            ),
            c("GET /next HT"),
        ],
        vec![
            c("HEAD / HTTP/1.1\r\n\r\n"),
            s("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"),
            c(get),
            s("HTTP/1.1 304 N\r\n\r\n"),
        ],
        vec![
            c("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc"),
            s("HTTP/1.1 413 Big\r\nConnection: close\r\n\r\nno"),
            c("def"),
            Said::ServerFin,
            c("ghi"),
        ],
        vec![
            c("GET /ws HTTP/1.1\r\nUpgrade: x\r\n\r\n"),
            s("HTTP/1.1 101 S\r\n\r\n\x01\x02a"),
            c("\x03\x04zzzzz"),
            s("b"),
        ],
        vec![
            c("CONNECT h:1 HTTP/1.1\r\n\r\nearly"),
            s("HTTP/1.1 200 OK\r\n\r\n"),
            c("more"),
            s("x"),
        ],
        vec![c(get), s(format!("{ok}\r\n<html>")), c("\r\n")],
        vec![c(get), s(format!("{ok}{ok}"))],
        vec![
            c(get),
            s(ok),
            c("left over body"),
            s("HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n"),
            Said::ServerFin,
        ],
        vec![c("GARBAGE WITHOUT version\r\nfoo\r\n\r\n"), s("HTTQ nothing"), c("y")],
        vec![c("GET /x HTTP/1.1\r\n\r\n"), s("\x15\x03\x01\x00\x02\x02\x46"), c("z")],
        vec![s("220 hi\r\n"), c("EHLO x\r\n"), s("250 a\r\n"), Said::ServerFin],
        vec![s("HTTP/1.1 408 T\r\nContent-Length: 0\r\n\r\n"), Said::ServerFin],
        vec![c("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxx"), s("yyyy"), c("zzzz")],
        vec![c("*1\r\n$4\r\nPING\r\n"), s("+PONG\r\n")],
        vec![c("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), s(ok)],
        vec![
            c("GET / HTTP/1.1\r\nX"),
            s("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
            c(": 1\r\n\r\n"),
        ],
        vec![c(format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n{get}")), s(ok)],
        vec![
            c("PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n"),
            s("220 mail"),
            c("EHLO x\r\n"),
        ],
        tls::dialogue_12(),
        tls::dialogue_13(),
        vec![c(tls::client_hello("x.org")), s("HTTP/1.1 400 Bad Request\r\n\r\n")],
        fastcgi::dialogue(),
    ]
}

fn outcome(dialogue: &[Said], heeds_unwanted: bool, mut size: impl FnMut() -> usize) -> String {
    let mut feeder = Feeder::new();
    feeder.anonymous = true;
    feeder.heeds_unwanted = heeds_unwanted;
    for said in dialogue {
        let (direction, mut bytes) = match said {
            Said::Client(bytes) => (Direction::ToServer, bytes.as_slice()),
            Said::Server(bytes) => (Direction::ToClient, bytes.as_slice()),
            other => {
                feeder.say(other);
                continue;
            }
        };
        while !bytes.is_empty() {
            let here = size().clamp(1, bytes.len());
            feeder.segment(direction, &bytes[..here]);
            bytes = &bytes[here..];
        }
    }
    format!("{:#?}", feeder.conversation.finish())
}

#[test]
fn every_split_tells_the_same() {
    for (number, dialogue) in dialogues().iter().enumerate() {
        let whole = outcome(dialogue, true, || usize::MAX);
        assert_eq!(
            outcome(dialogue, false, || usize::MAX),
            whole,
            "dialogue {number}, unwanted bytes fed"
        );
        assert_eq!(
            outcome(dialogue, true, || 1),
            whole,
            "dialogue {number}, by single bytes"
        );
        assert_eq!(
            outcome(dialogue, false, || 1),
            whole,
            "dialogue {number}, by single bytes, unwanted fed"
        );
        for seed in 0..60 {
            let mut random = Random(seed);
            let split = outcome(dialogue, seed % 2 == 0, || 1 + random.below(20));
            assert_eq!(split, whole, "dialogue {number}, seed {seed}");
        }
    }
}

#[test]
fn nothing_panics_on_prefixes_and_mutations() {
    for (number, dialogue) in dialogues().iter().enumerate() {
        for seed in 0..400u64 {
            let mut random = Random(seed << 16 | number as u64);
            let mut feeder = Feeder::new();
            feeder.heeds_unwanted = seed % 3 != 0;
            for said in dialogue {
                let mut said = said.clone();
                if let Said::Client(bytes) | Said::Server(bytes) = &mut said {
                    for _ in 0..random.below(4) {
                        let at = random.below(bytes.len());
                        match random.below(4) {
                            0 => bytes.truncate(at),
                            1 => bytes.insert(at.min(bytes.len()), random.next() as u8),
                            _ => {
                                if let Some(byte) = bytes.get_mut(at) {
                                    *byte = random.next() as u8
                                }
                            }
                        }
                    }
                }
                match random.below(12) {
                    0 => continue,
                    1 => feeder.unseen(Direction::ToServer, random.next() >> random.below(64)),
                    2 => feeder.unseen(Direction::ToClient, random.next() >> random.below(64)),
                    3 => feeder.fin(Direction::ToClient),
                    4 if feeder.conversation.roles_reversed() => feeder.conversation.swap_roles(),
                    _ => {}
                }
                feeder.say(&said);
                let acked = random.next() >> random.below(64);
                feeder
                    .conversation
                    .acked(Direction::ToServer, acked, PacketRef::default());
                feeder
                    .conversation
                    .acked(Direction::ToClient, acked, PacketRef::default());
            }
            let app = feeder.conversation.finish();
            let kept: Vec<u32> = app.exchanges.iter().map(|exchange| exchange.index).collect();
            assert!(
                kept.is_sorted() && app.exchanges.last.len() <= Exchanges::LAST,
                "dialogue {number}, seed {seed}"
            );
            for message in app
                .exchanges
                .iter()
                .flat_map(|e| e.request.iter().chain(e.response.iter()))
            {
                assert!(
                    !message.complete || message.end == Some(message.seen),
                    "{number}, {seed}: {message:?}"
                );
            }
        }
    }
}
