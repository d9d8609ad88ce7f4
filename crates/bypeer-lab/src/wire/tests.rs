//! The engine under a clock of the tests' own.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use bypeer_wire::Timestamp;

use super::engine::{Counts, Engine, Host, MOST_HELD, Output};
use super::packet::{ACK, FIN, MTU, PSH, Packet, RST, SYN, fold, sum};
use super::path::LIMIT_QUEUE;
use super::script::Script;
use crate::random::Random;

const CLIENT: usize = 0;
const SERVER: usize = 1;
const FRESH: usize = 2;
const MS: i64 = 1_000_000;
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn client() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 40_000)
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 80)
}

/// A segment before it is a frame.
#[derive(Clone, Copy)]
struct Segment<'a> {
    source: SocketAddrV4,
    destination: SocketAddrV4,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: &'a [u8],
}

impl Segment<'_> {
    /// With checksums as a virtual link leaves them: wrong.
    fn frame(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([0x50, self.flags, 1, 0, 0xde, 0xad, 0, 0]);
        tcp.extend_from_slice(self.payload);
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(((20 + tcp.len()) as u16).to_be_bytes());
        frame.extend([0, 9, 0x40, 0, 64, 6, 0xbe, 0xef]);
        frame.extend(self.source.ip().octets());
        frame.extend(self.destination.ip().octets());
        frame.extend(tcp);
        frame
    }
}

fn up(flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (client(), server());
    Segment {
        source,
        destination,
        flags,
        seq,
        ack: 5000,
        payload,
    }
    .frame()
}

fn down(flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (server(), client());
    Segment {
        source,
        destination,
        flags,
        seq,
        ack: 1000,
        payload,
    }
    .frame()
}

/// An engine, its clock, and what came out of it.
struct Lab {
    engine: Engine,
    now: i64,
    out: Output,
}

impl Lab {
    fn new(script: &str) -> Lab {
        Lab::seeded(script, 1)
    }

    fn seeded(script: &str, seed: u64) -> Lab {
        let names = ["client", "server", "fresh"].map(str::to_owned);
        let host = |address: SocketAddrV4, number: u8| Host {
            address: *address.ip(),
            mac: [number; 6],
            wire_mac: [0xf0 | number; 6],
        };
        let hosts = vec![host(client(), 1), host(server(), 2), host(server(), 3)];
        let script = Script::parse(script, &names).unwrap();
        Lab {
            engine: Engine::new(hosts, OWN, script, seed),
            now: 0,
            out: Output::default(),
        }
    }

    fn push(&mut self, port: usize, frame: &[u8]) -> Vec<(usize, Packet)> {
        self.engine.push(Timestamp(self.now), port, frame, &mut self.out);
        self.take()
    }

    fn up(&mut self, flags: u8, seq: u32, payload: &[u8]) -> Vec<(usize, Packet)> {
        self.push(CLIENT, &up(flags, seq, payload))
    }

    fn down(&mut self, flags: u8, seq: u32, payload: &[u8]) -> Vec<(usize, Packet)> {
        self.push(SERVER, &down(flags, seq, payload))
    }

    fn mark(&mut self, name: &str) -> Vec<(usize, Packet)> {
        self.engine.mark(Timestamp(self.now), name, &mut self.out);
        self.take()
    }

    fn at(&mut self, now: i64) -> Vec<(usize, Packet)> {
        self.now = now;
        self.engine.advance(Timestamp(now), &mut self.out);
        self.take()
    }

    /// SYN, SYN-ACK, ACK: the client's first byte is 1001, the server's 5001.
    fn open(&mut self) {
        self.up(SYN, 1000, b"");
        self.down(SYN | ACK, 5000, b"");
        self.up(ACK, 1001, b"");
    }

    /// What came out; all of it must be whole.
    fn take(&mut self) -> Vec<(usize, Packet)> {
        let frames = std::mem::take(&mut self.out.frames);
        frames
            .into_iter()
            .map(|(port, frame)| {
                assert_eq!(frame[..6], [port as u8 + 1; 6], "the receiver's address");
                assert_eq!(frame[6..12], [0xf0 | (port as u8 + 1); 6], "the wire's address");
                let packet = Packet::parse(&frame).unwrap();
                assert_whole(&packet);
                (port, packet)
            })
            .collect()
    }
}

/// Both checksums are right.
fn assert_whole(packet: &Packet) {
    let ip = packet.ip();
    assert_eq!(fold(sum(&ip[..20])), 0xffff, "IPv4 header");
    let body = &ip[20..];
    let pseudo = match packet.protocol() {
        1 => 0,
        protocol => sum(&ip[12..20]) + u64::from(protocol) + body.len() as u64,
    };
    assert_eq!(fold(pseudo + sum(body)), 0xffff, "{packet:?}");
}

fn flags(packets: &[(usize, Packet)]) -> Vec<(usize, u8)> {
    packets.iter().map(|(port, packet)| (*port, packet.flags())).collect()
}

#[test]
fn without_rules_packets_pass_at_once() {
    let mut lab = Lab::new("");
    let out = lab.up(ACK | PSH, 1001, HEAD);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].0, out[0].1.payload()), (SERVER, HEAD));
    assert_eq!(lab.engine.next_deadline(), None);
    // To itself, to nobody, and what is no IPv4.
    let (source, mut destination) = (client(), client());
    assert!(
        lab.push(
            CLIENT,
            &Segment {
                source,
                destination,
                flags: SYN,
                seq: 1,
                ack: 0,
                payload: b""
            }
            .frame()
        )
        .is_empty()
    );
    destination.set_ip(Ipv4Addr::new(10, 9, 9, 9));
    assert!(
        lab.push(
            CLIENT,
            &Segment {
                source,
                destination,
                flags: SYN,
                seq: 1,
                ack: 0,
                payload: b""
            }
            .frame()
        )
        .is_empty()
    );
    let mut arp = up(SYN, 1, b"");
    arp[13] = 6;
    assert!(lab.push(CLIENT, &arp).is_empty());
    let expected = Counts {
        ignored: 1,
        unroutable: 2,
        ..Counts::default()
    };
    assert_eq!(lab.engine.counts(), expected);
}

#[test]
fn delay_takes_its_time_from_one_host_or_from_all() {
    let mut lab = Lab::new("delay 5ms from server\ndelay 2ms");
    assert!(lab.up(SYN, 1000, b"").is_empty());
    assert!(lab.down(SYN | ACK, 5000, b"").is_empty());
    assert_eq!(lab.engine.next_deadline(), Some(Timestamp(2 * MS)));
    assert!(lab.at(2 * MS - 1).is_empty());
    assert!(lab.engine.is_busy());
    assert_eq!(flags(&lab.at(2 * MS)), [(SERVER, SYN)]);
    assert!(lab.at(5 * MS - 1).is_empty());
    assert_eq!(flags(&lab.at(5 * MS)), [(CLIENT, SYN | ACK)]);
    assert!(!lab.engine.is_busy());
    assert!(lab.engine.unused_rules().is_empty());
}

#[test]
fn random_delay_keeps_order_and_its_bounds_and_is_the_same_for_a_seed() {
    let run = |seed| {
        let mut lab = Lab::seeded("delay 1ms to 9ms", seed);
        let (mut sent, mut arrivals) = (Vec::new(), Vec::new());
        for index in 0..200 {
            lab.now = index * MS / 2;
            sent.push(lab.now);
            let now = lab.now;
            let frame = up(ACK, 1000 + index as u32, b"x");
            arrivals.extend(
                lab.push(CLIENT, &frame)
                    .into_iter()
                    .map(|(_, packet)| (now, packet.seq())),
            );
        }
        while let Some(time) = lab.engine.next_deadline() {
            arrivals.extend(lab.at(time.0).into_iter().map(|(_, packet)| (time.0, packet.seq())));
        }
        assert!(
            arrivals.iter().map(|(_, seq)| *seq).eq(1000..1200),
            "seed {seed}: in order, all of them"
        );
        for ((time, _), sent) in arrivals.iter().zip(&sent) {
            assert!(
                (sent + MS..=sent + 10 * MS).contains(time),
                "seed {seed}: {sent} to {time}"
            );
        }
        arrivals
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn limit_spaces_packets_and_drops_behind_a_full_queue() {
    // 1 Mbit/s: 8 us a byte.
    let mut lab = Lab::new("limit 1mbit from client");
    let payload = [0; 946];
    assert!(lab.up(ACK, 1, &payload).is_empty());
    assert!(lab.up(ACK, 947, &payload).is_empty());
    assert_eq!(lab.engine.next_deadline(), Some(Timestamp(8 * MS)));
    assert_eq!(lab.at(8 * MS).len(), 1);
    assert_eq!(lab.engine.next_deadline(), Some(Timestamp(16 * MS)));
    assert_eq!(lab.down(ACK, 5000, b"x").len(), 1, "the other way is free");
    for index in 2..400 {
        lab.up(ACK, 1 + index * 946, &payload);
    }
    let limited = lab.engine.counts().limited;
    assert_eq!(
        400 - limited,
        1 + LIMIT_QUEUE / 1000,
        "the one that was through, and what fits"
    );
}

#[test]
fn lose_drops_its_share_and_nothing_else() {
    for (script, least, most) in [
        ("lose 0%", 0, 0),
        ("lose 100%", 1000, 1000),
        ("lose 20%", 150, 250),
        ("lose 100% data from server", 0, 0),
    ] {
        let mut lab = Lab::new(script);
        let passed: usize = (0..1000).map(|index| lab.up(ACK, 1000 + index, b"x").len()).sum();
        assert!((least..=most).contains(&(1000 - passed)), "{script}: {passed}");
    }
}

#[test]
fn drop_counts_first_copies_of_all_connections_and_drops_later_ones() {
    let mut lab = Lab::new("drop 2nd data from client");
    lab.open();
    assert_eq!(lab.up(ACK, 1001, b"one").len(), 1);
    assert_eq!(lab.up(ACK, 1001, b"one").len(), 1, "again, not counted");
    assert!(lab.up(ACK, 1004, b"two").is_empty());
    assert!(
        lab.up(ACK, 1004, b"two").is_empty(),
        "a retransmission of what was dropped"
    );
    assert_eq!(lab.up(ACK, 1007, b"three").len(), 1);
    assert!(
        lab.up(ACK, 1004, b"twothree").is_empty(),
        "begins with what was dropped"
    );
    assert_eq!(lab.down(ACK, 5001, b"x").len(), 1);
}

#[test]
fn a_fin_behind_old_data_is_a_new_fin() {
    let mut lab = Lab::new("mark fin when 1st FIN from client");
    lab.open();
    lab.up(ACK, 1001, b"one");
    lab.up(ACK, 1001, b"one");
    assert!(lab.out.marks.is_empty());
    lab.up(ACK | FIN, 1001, b"one");
    assert_eq!(std::mem::take(&mut lab.out.marks), ["fin"]);
    lab.up(ACK | FIN, 1001, b"one");
    assert!(lab.out.marks.is_empty());
}

#[test]
fn drop_begins_behind_its_event_and_ends_behind_the_other() {
    let mut lab = Lab::new("drop data from client after 1st request until mark enough");
    lab.open();
    assert_eq!(lab.up(ACK, 1001, HEAD).len(), 1);
    assert!(lab.up(ACK, 1020, b"body").is_empty());
    assert_eq!(lab.up(ACK, 1020, b"").len(), 1, "an acknowledgement is no data");
    lab.mark("something");
    assert!(lab.up(ACK, 1020, b"body").is_empty());
    lab.mark("enough");
    assert_eq!(lab.up(ACK, 1020, b"body").len(), 1);
}

#[test]
fn each_kind_is_told_from_the_others() {
    let shapes: [(&str, u8, &[u8], &[&str]); 9] = [
        ("a SYN", SYN, b"", &["SYN"]),
        ("a SYN-ACK", SYN | ACK, b"", &["SYN-ACK"]),
        ("a FIN", FIN | ACK, b"", &["FIN"]),
        ("a FIN with data", FIN | ACK, b"x", &["FIN", "data"]),
        ("a reset", RST, b"", &["RST"]),
        ("a reset with ACK", RST | ACK, b"", &["RST"]),
        ("an ACK", ACK, b"", &["ACK"]),
        ("a request", ACK | PSH, HEAD, &["data", "request"]),
        ("a response", ACK, ANSWER, &["data", "response"]),
    ];
    let kinds = [
        "SYN", "SYN-ACK", "FIN", "RST", "ACK", "data", "request", "response", "any",
    ];
    for (what, flags, payload, expected) in shapes {
        for kind in kinds {
            let passed = Lab::new(&format!("drop {kind}")).up(flags, 1000, payload).len();
            let is_dropped = expected.contains(&kind) || kind == "any";
            assert_eq!(passed == 0, is_dropped, "{what}, drop {kind}");
        }
    }
    assert_eq!(Lab::new("drop request").up(ACK, 1, b"GETTING").len(), 1);
}

#[test]
fn hold_lets_go_in_order_when_its_event_has_passed() {
    let mut lab = Lab::new("hold FIN from server until 2nd request\nhold response until 2nd request");
    lab.open();
    assert_eq!(lab.up(ACK, 1001, HEAD).len(), 1);
    assert!(lab.down(ACK, 5001, ANSWER).is_empty());
    assert!(lab.down(FIN | ACK, 5020, b"").is_empty());
    assert!(lab.down(FIN | ACK, 5020, b"").is_empty(), "a later copy");
    assert!(!lab.engine.is_busy(), "held packets are not on their way");
    assert_eq!(lab.engine.held(), 3);
    let out = lab.up(ACK, 1020, HEAD);
    let fin = (CLIENT, FIN | ACK);
    assert_eq!(flags(&out), [(SERVER, ACK), (CLIENT, ACK), fin, fin]);
    assert_eq!(flags(&lab.down(FIN | ACK, 5020, b"")), [fin], "the hold is over");
}

#[test]
fn hold_until_a_time_counts_from_the_first() {
    let mut lab = Lab::new("hold data from server until 5ms");
    lab.now = MS;
    assert!(lab.down(ACK, 5001, b"a").is_empty());
    lab.now = 4 * MS;
    assert!(lab.down(ACK, 5002, b"b").is_empty());
    assert_eq!(lab.engine.next_deadline(), Some(Timestamp(6 * MS)));
    assert!(lab.at(6 * MS - 1).is_empty());
    let out = lab.at(6 * MS);
    assert_eq!(
        out.iter().map(|(_, packet)| packet.seq()).collect::<Vec<_>>(),
        [5001, 5002]
    );
    assert_eq!(lab.down(ACK, 5003, b"c").len(), 1);
}

#[test]
fn what_is_held_is_bounded() {
    let mut lab = Lab::new("hold any until mark never");
    let payload = [0; 1460];
    let count = MOST_HELD / 1514 + 10;
    for index in 0..count {
        lab.up(ACK, (index * 1460) as u32, &payload);
    }
    assert_eq!(lab.engine.held() as usize, MOST_HELD / 1514);
    assert_eq!(lab.engine.counts().overflowed, 10);
}

#[test]
fn duplicate_sends_twice() {
    let mut lab = Lab::new("duplicate 1st data");
    assert_eq!(lab.up(ACK, 1001, b"a").len(), 2);
    assert_eq!(lab.up(ACK, 1002, b"b").len(), 1);
}

#[test]
fn swallow_looks_at_the_ip_packet() {
    let mut lab = Lab::new("swallow above 1000 from client");
    assert_eq!(lab.up(ACK, 1001, &[0; 960]).len(), 1);
    assert!(lab.up(ACK, 1961, &[0; 961]).is_empty());
    assert_eq!(lab.down(ACK, 5001, &[0; 1400]).len(), 1);
}

#[test]
fn the_first_rule_that_takes_a_packet_decides() {
    let mut lab = Lab::new("duplicate request\ndrop data");
    assert_eq!(lab.up(ACK, 1001, HEAD).len(), 2);
    assert!(lab.up(ACK, 1020, b"body").is_empty());
    let mut lab = Lab::new("drop data\nduplicate request");
    assert!(lab.up(ACK, 1001, HEAD).is_empty());
    assert_eq!(lab.engine.unused_rules(), ["duplicate request"]);
}

#[test]
fn a_forged_reset_stands_where_the_receiver_expects_it() {
    let mut lab = Lab::new(
        "drop 2nd data from server\nforge RST to client ttl 44 after 3rd data from server\nforge RST,ACK to server after mark now",
    );
    lab.open();
    lab.up(ACK, 1001, HEAD);
    lab.down(ACK, 5001, b"0123456789");
    assert!(lab.down(ACK, 5011, b"0123456789").is_empty());
    let out = lab.down(ACK, 5021, b"0123456789");
    assert_eq!(flags(&out), [(CLIENT, ACK), (CLIENT, RST)]);
    let reset = &out[1].1;
    // The second piece never came.
    assert_eq!((reset.seq(), reset.ip()[8]), (5011, 44));
    assert_eq!(reset.ends(), Some((server(), client())));
    assert_eq!(reset.ip()[28..32], [0; 4], "no acknowledgement");
    let out = lab.mark("now");
    assert_eq!(flags(&out), [(SERVER, RST | ACK)]);
    assert_eq!((out[0].1.seq(), out[0].1.ip()[8]), (1001 + HEAD.len() as u32, 64));
    assert_eq!(out[0].1.ip()[28..32], 5011_u32.to_be_bytes());
    assert!(lab.mark("now").is_empty(), "one for each connection");
}

#[test]
fn a_forged_reset_keeps_its_place_behind_delayed_data() {
    let mut lab = Lab::new("delay 2ms\nforge RST to server after 1st request");
    assert!(lab.up(ACK, 1001, HEAD).is_empty());
    assert_eq!(flags(&lab.at(2 * MS)), [(SERVER, ACK), (SERVER, RST)]);
}

#[test]
fn no_reset_is_forged_into_a_connection_that_is_reset() {
    let mut lab = Lab::new("forge RST to client after mark now");
    lab.open();
    lab.down(RST, 5001, b"");
    assert!(lab.mark("now").is_empty());
    assert_eq!(lab.engine.unused_rules().len(), 1);
}

#[test]
fn refuse_quotes_what_it_refuses() {
    let mut lab = Lab::new("delay 1ms from server\nrefuse SYN to server with admin-prohibited after mark shut");
    assert_eq!(lab.up(SYN, 1000, b"").len(), 1);
    lab.mark("shut");
    let syn = up(SYN, 1000, b"");
    assert!(lab.push(CLIENT, &syn).is_empty());
    let out = lab.at(MS);
    assert_eq!(out.len(), 1);
    let (port, error) = &out[0];
    assert_eq!((*port, error.protocol(), error.source()), (CLIENT, 1, OWN));
    assert_eq!(error.ip()[20..22], [3, 13]);
    assert_eq!(error.ip()[28..], syn[14..]);
    assert_eq!(flags(&lab.up(ACK, 1001, b"")), [(SERVER, ACK)]);
}

#[test]
fn translate_changes_addresses_both_ways_until_it_forgets() {
    let mut lab = Lab::new("translate client\nforget client after mark gone");
    let out = lab.up(SYN, 1000, b"");
    let outside = SocketAddrV4::new(OWN, client().port());
    assert_eq!(out[0].1.ends(), Some((outside, server())));
    let answer = Segment {
        source: server(),
        destination: outside,
        flags: SYN | ACK,
        seq: 5000,
        ack: 1001,
        payload: b"",
    };
    let out = lab.push(SERVER, &answer.frame());
    assert_eq!((out[0].0, out[0].1.ends()), (CLIENT, Some((server(), client()))));
    lab.mark("gone");
    assert!(lab.push(SERVER, &answer.frame()).is_empty());
    assert!(lab.up(ACK, 1001, HEAD).is_empty(), "only a SYN makes an entry");
    assert_eq!(lab.engine.counts().untranslated, 2);
    assert_eq!(lab.up(SYN, 90_000, b"").len(), 1);
}

#[test]
fn a_translation_that_is_idle_is_forgotten() {
    let mut lab = Lab::new("translate client\nforget client idle 100ms");
    lab.up(SYN, 1000, b"");
    lab.at(90 * MS);
    assert_eq!(
        lab.up(ACK, 1001, b"").len(),
        1,
        "used in time, and kept for another 100 ms"
    );
    lab.at(180 * MS);
    assert_eq!(lab.up(ACK, 1001, HEAD).len(), 1);
    lab.at(280 * MS);
    assert!(lab.up(ACK, 1001, HEAD).is_empty());
    assert_eq!(lab.engine.unused_rules(), [""; 0]);
}

#[test]
fn a_published_server_answers_in_its_own_name_once_it_is_forgotten() {
    let public = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 3), 80);
    let host = |end: SocketAddrV4, number: u8| Host {
        address: *end.ip(),
        mac: [number; 6],
        wire_mac: [0xf0 | number; 6],
    };
    let hosts = vec![host(client(), 1), host(server(), 2), host(public, 3)];
    let names = ["client", "server", "gateway"].map(str::to_owned);
    let script = Script::parse("publish server at gateway\nforget server after mark gone", &names).unwrap();
    let mut lab = Lab {
        engine: Engine::new(hosts, OWN, script, 1),
        now: 0,
        out: Output::default(),
    };
    let asked = |flags, seq, payload| {
        let (source, destination, ack) = (client(), public, 5000);
        Segment {
            source,
            destination,
            flags,
            seq,
            ack,
            payload,
        }
        .frame()
    };
    let answer = down(ACK, 5000, ANSWER);
    assert_eq!(
        lab.push(SERVER, &answer)[0].1.ends(),
        Some((server(), client())),
        "no entry yet"
    );
    let out = lab.push(CLIENT, &asked(SYN, 1000, b""));
    assert_eq!((out[0].0, out[0].1.ends()), (SERVER, Some((client(), server()))));
    let out = lab.push(SERVER, &answer);
    assert_eq!((out[0].0, out[0].1.ends()), (CLIENT, Some((public, client()))));
    assert_eq!(lab.push(CLIENT, &asked(ACK, 1001, HEAD))[0].0, SERVER);
    lab.mark("gone");
    let out = lab.push(SERVER, &answer);
    assert_eq!((out[0].0, out[0].1.ends()), (CLIENT, Some((server(), client()))));
    let out = lab.push(CLIENT, &asked(ACK, 1001, HEAD));
    assert_eq!(
        (out[0].0, out[0].1.ends()),
        (FRESH, Some((client(), public))),
        "the public host's own"
    );
    assert_eq!(lab.engine.unused_rules(), [""; 0]);
}

#[test]
fn a_publication_that_is_idle_is_forgotten() {
    // The public address is the client's own: who asks is somebody else, at another port of the wire.
    let mut lab = Lab::new("publish server at client\nforget server idle 100ms");
    let asker = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 9), 40_000);
    let public = SocketAddrV4::new(*client().ip(), server().port());
    let asked = |flags| Segment {
        source: asker,
        destination: public,
        flags,
        seq: 1000,
        ack: 5000,
        payload: b"",
    };
    assert_eq!(lab.push(FRESH, &asked(SYN).frame())[0].0, SERVER);
    lab.at(90 * MS);
    assert_eq!(lab.push(FRESH, &asked(ACK).frame())[0].0, SERVER, "used in time");
    lab.at(180 * MS);
    assert_eq!(lab.push(FRESH, &asked(ACK).frame())[0].0, SERVER);
    lab.at(280 * MS);
    assert_eq!(lab.push(FRESH, &asked(ACK).frame())[0].0, CLIENT);
    assert_eq!(lab.engine.unused_rules(), [""; 0]);
}

#[test]
fn rules_see_translated_hosts_as_themselves() {
    let mut lab = Lab::new(
        "translate client\ndrop SYN-ACK to client\nforge RST to client after mark a\nforge RST to server after mark b",
    );
    lab.up(SYN, 1000, b"");
    let outside = SocketAddrV4::new(OWN, client().port());
    let mut answer = Segment {
        source: server(),
        destination: outside,
        flags: SYN | ACK,
        seq: 5000,
        ack: 1001,
        payload: b"",
    };
    assert!(lab.push(SERVER, &answer.frame()).is_empty());
    (answer.flags, answer.seq, answer.payload) = (ACK, 5001, b"x");
    assert_eq!(lab.push(SERVER, &answer.frame()).len(), 1);
    let out = lab.mark("a");
    assert_eq!(
        (out[0].0, out[0].1.ends(), out[0].1.seq()),
        (CLIENT, Some((server(), client())), 5002)
    );
    let out = lab.mark("b");
    assert_eq!(
        (out[0].0, out[0].1.ends(), out[0].1.seq()),
        (SERVER, Some((outside, server())), 1001)
    );
}

#[test]
fn redirect_moves_an_address() {
    let mut lab = Lab::new("redirect server to fresh after mark moved");
    assert_eq!(flags(&lab.up(SYN, 1000, b"")), [(SERVER, SYN)]);
    lab.mark("moved");
    assert_eq!(flags(&lab.up(ACK, 1001, b"x")), [(FRESH, ACK)]);
    assert_eq!(flags(&lab.push(FRESH, &down(RST, 5001, b""))), [(CLIENT, RST)]);
    // The first rule tells whose the address is, not the order of the ports.
    let mut lab = Lab::new("redirect fresh to server after mark moved");
    assert_eq!(flags(&lab.up(SYN, 1000, b"")), [(FRESH, SYN)]);
}

#[test]
fn marks_of_the_wire_are_told_and_are_events() {
    let mut lab = Lab::new("mark seen when 1st request\ndrop any after mark seen");
    assert_eq!(lab.up(ACK, 1001, HEAD).len(), 1);
    assert_eq!(lab.out.marks, ["seen"]);
    assert!(lab.up(ACK, 1020, b"x").is_empty());
}

#[test]
fn a_port_that_is_used_again_is_a_new_connection() {
    let mut lab = Lab::new("drop 2nd SYN");
    assert_eq!(lab.up(SYN, 1000, b"").len(), 1);
    assert_eq!(lab.up(SYN, 1000, b"").len(), 1, "a retransmission");
    assert!(lab.up(SYN, 500, b"").is_empty(), "another connection");
}

#[test]
fn sequence_numbers_wrap() {
    let mut lab = Lab::new("drop 2nd data\nforge RST to server after mark now");
    assert_eq!(lab.up(ACK, u32::MAX - 1, b"abcd").len(), 1);
    assert_eq!(lab.up(ACK, u32::MAX - 1, b"abcd").len(), 1);
    assert!(lab.up(ACK, 2, b"x").is_empty());
    assert_eq!(lab.mark("now")[0].1.seq(), 2);
}

#[test]
fn what_offload_left_whole_is_cut() {
    let payload: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let mut lab = Lab::new("");
    let out = lab.up(ACK | PSH | FIN, 1001, &payload);
    assert_eq!(out.len(), 50_000_usize.div_ceil(1460));
    let mut together = Vec::new();
    for (index, (_, packet)) in out.iter().enumerate() {
        assert!(packet.ip().len() <= MTU);
        assert_eq!(packet.seq(), 1001 + together.len() as u32);
        let is_last = index + 1 == out.len();
        assert_eq!(packet.flags() & (PSH | FIN) != 0, is_last);
        together.extend_from_slice(packet.payload());
    }
    assert_eq!(together, payload);
}

#[test]
fn no_frame_makes_it_panic() {
    let script = "delay 0 to 1ms\nlimit 10mbit\nlose 1%\nduplicate 1st data\nhold FIN until 1ms\nswallow above 1200\n\
        translate client\nforge RST,ACK to client after data\nforge RST to server after FIN\nrefuse RST with host-unreachable\n\
        redirect server to fresh after 9th data\nforget client after 20th any\nmark a when ACK";
    let outside = SocketAddrV4::new(OWN, client().port());
    let answer = Segment {
        source: server(),
        destination: outside,
        flags: ACK,
        seq: 5001,
        ack: 1001,
        payload: ANSWER,
    };
    let mut icmp = up(ACK, 1, b"");
    icmp[23] = 1;
    let mut datagram = up(ACK, 1, b"");
    datagram[23] = 17;
    let frames = [
        (CLIENT, up(SYN, 1000, b"")),
        (CLIENT, up(ACK | PSH, 1001, HEAD)),
        (CLIENT, up(FIN | ACK, 1020, &[7; 3000])),
        (SERVER, answer.frame()),
        (SERVER, down(ACK | RST, 5001, ANSWER)),
        (SERVER, icmp),
        (CLIENT, datagram),
    ];
    let mut lab = Lab::new(script);
    for (port, frame) in &frames {
        for length in 0..frame.len().min(100) {
            lab.push(*port, &frame[..length]);
        }
    }
    assert!(lab.engine.counts().ignored > 300);
    let seed = 20_261_120;
    let mut random = Random::new(seed);
    let (mut lab, mut came_out) = (Lab::seeded(script, seed), 0);
    for round in 0..30_000 {
        let (port, frame) = &frames[random.up_to(frames.len() as u64 - 1) as usize];
        let mut frame = frame.clone();
        for _ in 0..random.up_to(3) {
            let at = random.up_to(frame.len().min(60) as u64 - 1) as usize;
            frame[at] = random.next() as u8;
        }
        lab.now += random.up_to(100_000) as i64;
        lab.engine.push(Timestamp(lab.now), *port, &frame, &mut lab.out);
        came_out += lab.out.frames.len();
        lab.out = Output::default();
        if round % 1000 == 0 {
            let next = lab.engine.next_deadline();
            assert!(
                next.is_none_or(|next| next.0 > lab.now),
                "seed {seed}: something is overdue"
            );
        }
    }
    assert!(came_out > 1000, "seed {seed}: {came_out}");
}
