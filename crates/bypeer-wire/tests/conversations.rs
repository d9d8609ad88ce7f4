//! Dialogues, cut into segments at random and disturbed on their way into the capture: what is told of the connection
//! does not depend on it, and where the capture missed bytes, exactly these are missing.
#![allow(clippy::unwrap_used)]

mod support;

use bypeer_wire::Direction;
use bypeer_wire::app::{Application, Exchange, Framing, Message, Protocol};
use bypeer_wire::conn::{Connection, Ending, Flow, Roles};
use support::dialogues::{Dialogue, dialogues};
use support::simulator::*;
use support::{Random, explain, is_sane};

const WHOLE: usize = 1 << 20;
const SEEDS: u64 = 15;

fn hosts(random: &mut Random) -> Hosts {
    let near_the_wrap = |random: &mut Random| (random.below(12_000) as u32).wrapping_sub(6_000);
    Hosts {
        v6: random.once_in(3),
        ports: [40_000, 80],
        initial: if random.once_in(2) {
            [near_the_wrap(random), near_the_wrap(random)]
        } else {
            [random.next() as u32, random.next() as u32]
        },
        segment: [3, 50, 700, 1_448, 60_000][random.below(5)],
        timestamps: random.once_in(2),
    }
}

/// What must not depend on how the bytes travelled: a connection without its packet numbers.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    ending: Ending,
    established: bool,
    flows: [(u64, u64, u64, Option<FinTold>); 2],
    resets: Vec<(Direction, i64, Option<i64>)>,
    app: AppTold,
}

type FinTold = (u64, u64, bool);

#[derive(Clone, Debug, PartialEq)]
struct AppTold {
    protocol: Protocol,
    counts: (u32, u32, u32),
    exchanges: Vec<ExchangeTold>,
    tls: Option<String>,
    lost_track: bool,
    surplus: u64,
    trailing: (Vec<u8>, u64),
}

#[derive(Clone, Debug, PartialEq)]
struct ExchangeTold {
    index: u32,
    request: Option<MessageTold>,
    response: Option<MessageTold>,
    interim: u8,
    continued: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct MessageTold {
    start: u64,
    head_end: Option<u64>,
    end: Option<u64>,
    seen: u64,
    complete: bool,
    acked: bool,
    framing: Framing,
    head: String,
}

impl Told {
    fn of(record: &Connection) -> Told {
        let flow = |flow: &Flow| {
            let fin = flow.fin.map(|fin| (fin.offset, fin.ack, fin.acked.is_some()));
            (flow.sent, flow.acked, flow.missed, fin)
        };
        Told {
            ending: record.ending,
            established: record.established(),
            flows: [flow(&record.to_server), flow(&record.to_client)],
            resets: record
                .resets
                .iter()
                .map(|reset| (reset.direction, reset.seq, reset.ack))
                .collect(),
            app: AppTold::of(&record.app),
        }
    }
}

impl AppTold {
    fn of(app: &Application) -> AppTold {
        let tls = app.tls.as_ref().map(|tls| {
            let last = tls
                .last_record
                .map(|last| last.map(|last| (last.content_type, last.len, last.start)));
            let alerts: Vec<_> = tls
                .alerts
                .iter()
                .map(|alert| (alert.direction, alert.start, alert.end))
                .collect();
            format!(
                "{:?} {:?} {} {:?} {last:?} {alerts:?} {:?}",
                tls.server_name, tls.version, tls.established, tls.application_records, tls.record_open
            )
        });
        AppTold {
            protocol: app.protocol,
            counts: (app.exchanges.total, app.exchanges.complete, app.exchanges.announced),
            exchanges: app.exchanges.iter().map(ExchangeTold::of).collect(),
            tls,
            lost_track: app.lost_track.is_some(),
            surplus: app.surplus_response_bytes,
            trailing: (app.trailing_request_bytes.clone(), app.trailing_request_len),
        }
    }
}

impl ExchangeTold {
    fn of(exchange: &Exchange) -> ExchangeTold {
        let message = |message: &Message| MessageTold {
            start: message.start,
            head_end: message.head_end,
            end: message.end,
            seen: message.seen,
            complete: message.complete,
            acked: message.acked.is_some(),
            framing: message.framing,
            head: format!("{:?}", message.head),
        };
        ExchangeTold {
            index: exchange.index,
            request: exchange.request.as_ref().map(message),
            response: exchange.response.as_ref().map(message),
            interim: exchange.interim,
            continued: exchange.continued.is_some(),
        }
    }
}

/// Shows only the lines that differ.
fn assert_same(what: &str, record: &Connection, expected: &Told) {
    let told = Told::of(record);
    if told == *expected {
        return;
    }
    let [told, expected] = [told, Told::clone(expected)].map(|told| format!("{told:#?}"));
    let lines = expected.lines().zip(told.lines()).filter(|(one, other)| one != other);
    let differences: Vec<_> = lines
        .take(12)
        .map(|(one, other)| format!("- {one}\n+ {other}"))
        .collect();
    panic!("{what}\n{}", differences.join("\n"));
}

fn only(packets: &[Packet], hosts: &Hosts, snap: usize) -> Connection {
    let mut outcome = explain(&capture(packets, hosts, snap));
    assert_eq!(outcome.records.len(), 1, "one connection");
    outcome.records.remove(0)
}

/// For each dialogue and seed: the packets as they cross the wire, and the undisturbed run's outcome.
fn each(troubles: Troubles, check: impl Fn(&str, &Dialogue, &Hosts, Vec<Packet>, Told, &mut Random)) {
    for dialogue in dialogues() {
        for seed in 0..SEEDS {
            let mut random = Random(seed);
            let mut hosts = hosts(&mut random);
            // A few hundred packets tell as much as thousands.
            let longest = lengths(&dialogue.said).into_iter().max().unwrap_or(0);
            hosts.segment = hosts.segment.max(longest as usize / 200);
            let calm = play(&dialogue.said, &hosts, Troubles::default(), &mut random);
            let expected = Told::of(&only(&calm, &hosts, WHOLE));
            let packets = play(&dialogue.said, &hosts, troubles, &mut random);
            let what = format!("{}, seed {seed}, {hosts:?}", dialogue.name);
            check(&what, &dialogue, &hosts, packets, expected, &mut random);
        }
    }
}

/// Payload bytes that a dialogue has in each direction.
fn lengths(said: &[Said]) -> [u64; 2] {
    said.iter().fold([0; 2], |[client, server], said| match said {
        Said::Client(bytes) => [client + bytes.len() as u64, server],
        Said::Server(bytes) => [client, server + bytes.len() as u64],
        _ => [client, server],
    })
}

/// First packet that acknowledges a direction up to `end`.
fn first_ack(packets: &[Packet], direction: Direction, end: u64) -> Option<u64> {
    let acks = |packet: &Packet| packet.direction != direction && !packet.bits.rst && packet.bits.ack;
    let found = packets
        .iter()
        .position(|packet| acks(packet) && packet.ack >= end as i64)?;
    Some(found as u64 + 1)
}

/// Which packet acknowledged each message: by a plain search.
fn assert_acknowledged(what: &str, record: &Connection, packets: &[Packet]) {
    for exchange in record.app.exchanges.iter() {
        for (message, direction) in [
            (&exchange.request, Direction::ToServer),
            (&exchange.response, Direction::ToClient),
        ] {
            let Some((message, end)) = message.as_ref().and_then(|message| Some((message, message.end?))) else {
                continue;
            };
            let expected = first_ack(packets, direction, end);
            assert_eq!(message.acked.map(|at| at.number), expected, "{what}: {message:?}");
        }
    }
}

#[test]
fn undisturbed_it_is_what_was_said() {
    each(Troubles::default(), |what, dialogue, hosts, packets, expected, _| {
        let record = only(&packets, hosts, WHOLE);
        // Another cut of the same dialogue.
        assert_same(what, &record, &expected);
        let app = &record.app;
        assert_eq!(
            (app.protocol, app.exchanges.total, app.exchanges.complete),
            (dialogue.protocol, dialogue.total, dialogue.complete),
            "{what}: {app:#?}"
        );
        assert_eq!(
            [record.to_server.sent, record.to_client.sent],
            lengths(&dialogue.said),
            "{what}"
        );
        assert_eq!(
            record.to_server.retransmissions + record.to_client.retransmissions,
            0,
            "{what}"
        );
        assert_eq!(
            (record.client, record.server),
            (hosts.endpoint(Direction::ToServer), hosts.endpoint(Direction::ToClient))
        );
        assert_acknowledged(what, &record, &packets);
    });
}

#[test]
fn retransmissions_change_nothing() {
    let troubles = Troubles {
        retransmissions: true,
        ..Troubles::default()
    };
    each(troubles, |what, _, hosts, packets, expected, _| {
        let record = only(&packets, hosts, WHOLE);
        assert_same(what, &record, &expected);
        assert_acknowledged(what, &record, &packets);
        // What repeats nothing but old bytes or a FIN.
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (mut sent, mut fin, mut repeats) = (0, false, 0);
            for packet in packets.iter().filter(|packet| packet.direction == direction) {
                let again = packet.is_data() && packet.end() <= sent || packet.bits.fin && fin;
                repeats += u32::from(again);
                sent = sent.max(packet.end());
                fin |= packet.bits.fin;
            }
            assert_eq!(record.flow(direction).retransmissions, repeats, "{what}");
        }
    });
}

#[test]
fn keep_alive_probes_change_nothing() {
    let troubles = Troubles {
        keep_alive: true,
        ..Troubles::default()
    };
    each(troubles, |what, _, hosts, packets, expected, _| {
        let record = only(&packets, hosts, WHOLE);
        assert_same(what, &record, &expected);
        assert_eq!(
            record.to_server.retransmissions + record.to_client.retransmissions,
            0,
            "{what}"
        );
        let idle = 19_000 * MILLISECOND;
        let probes = packets
            .windows(2)
            .filter(|pair| pair[1].time - pair[0].time > idle)
            .count();
        let found = record.to_server.keep_alive_probes + record.to_client.keep_alive_probes;
        assert_eq!(found as usize, probes, "{what}");
        assert_eq!(
            record.to_server.unanswered_probes + record.to_client.unanswered_probes,
            0,
            "{what}"
        );
    });
}

#[test]
fn reordering_changes_nothing() {
    each(Troubles::default(), |what, _, hosts, mut packets, expected, random| {
        reorder(&mut packets, random);
        let record = only(&packets, hosts, WHOLE);
        assert_same(what, &record, &expected);
        assert_eq!(
            record.to_server.retransmissions + record.to_client.retransmissions,
            0,
            "{what}"
        );
    });
}

#[test]
fn acks_captured_before_their_data_change_nothing() {
    each(Troubles::default(), |what, _, hosts, mut packets, expected, random| {
        acks_first(&mut packets, random);
        let record = only(&packets, hosts, WHOLE);
        assert_same(what, &record, &expected);
        assert_eq!(
            record.to_server.retransmissions + record.to_client.retransmissions,
            0,
            "{what}"
        );
    });
}

#[test]
fn copies_change_nothing() {
    let troubles = Troubles {
        retransmissions: true,
        keep_alive: true,
    };
    each(troubles, |what, _, hosts, mut packets, expected, _| {
        let copies = mirror(&mut packets);
        let mut outcome = explain(&capture(&packets, hosts, WHOLE));
        assert_eq!((outcome.records.len(), outcome.duplicates), (1, copies), "{what}");
        assert_same(what, &outcome.records.remove(0), &expected);
    });
}

#[test]
fn everything_at_once_changes_nothing() {
    let troubles = Troubles {
        retransmissions: true,
        keep_alive: true,
    };
    each(troubles, |what, _, hosts, mut packets, expected, random| {
        reorder(&mut packets, random);
        acks_first(&mut packets, random);
        mirror(&mut packets);
        let record = only(&packets, hosts, WHOLE);
        assert_same(what, &record, &expected);
    });
}

/// What a capture that missed packets can know of a direction: sent, acknowledged, missed. Bit by bit.
fn known(packets: &[Packet], direction: Direction) -> (u64, u64, u64) {
    let own = || {
        packets
            .iter()
            .filter(move |packet| packet.direction == direction && !packet.bits.syn && !packet.bits.rst)
    };
    let fin = own().find(|packet| packet.bits.fin).map(|packet| packet.seq);
    let data = own().filter(|packet| packet.is_data());
    let sent = data.clone().map(Packet::end).chain(fin).max().unwrap_or(0);
    let acks = packets
        .iter()
        .filter(|packet| packet.direction != direction && packet.bits.ack && !packet.bits.rst);
    let acked = acks
        .map(|packet| packet.ack)
        .max()
        .unwrap_or(0)
        .min(fin.unwrap_or(i64::MAX));
    let mut held = vec![false; sent.max(acked) as usize];
    data.for_each(|packet| held[packet.seq as usize..packet.end() as usize].fill(true));
    let missed = held[..acked as usize].iter().filter(|held| !**held).count();
    (sent as u64, acked as u64, missed as u64)
}

fn assert_known(what: &str, record: &Connection, packets: &[Packet]) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        let flow = record.flow(direction);
        assert_eq!(
            (flow.sent, flow.acked, flow.missed),
            known(packets, direction),
            "{what}: {direction:?}"
        );
    }
}

#[test]
fn what_the_capture_missed_is_counted() {
    each(Troubles::default(), |what, _, hosts, mut packets, _, random| {
        let rate = 2 + random.below(12);
        packets.retain(|packet| packet.bits.syn || !random.once_in(rate));
        let record = only(&packets, hosts, WHOLE);
        assert_known(what, &record, &packets);
        is_sane(&record);
    });
}

#[test]
fn what_is_missed_of_a_body_of_known_length_does_not_matter() {
    each(
        Troubles::default(),
        |what, dialogue, hosts, mut packets, mut expected, random| {
            let bodies = |direction: Direction| -> Vec<std::ops::Range<i64>> {
                let exchanges = expected.app.exchanges.iter();
                let messages = exchanges.filter_map(|exchange| match direction {
                    Direction::ToServer => exchange.request.as_ref(),
                    Direction::ToClient => exchange.response.as_ref(),
                });
                messages
                    .filter(|message| matches!(message.framing, Framing::Length(_)) && message.complete)
                    .filter_map(|message| Some(message.head_end? as i64..message.end? as i64))
                    .collect()
            };
            if dialogue.protocol != Protocol::Http1 {
                return;
            }
            let bodies = [bodies(Direction::ToServer), bodies(Direction::ToClient)];
            // A last byte that is acknowledged and was not seen might as well be a FIN.
            let sent = sent_before(&packets);
            packets.retain(|packet| {
                let in_body = bodies[packet.direction.index()]
                    .iter()
                    .any(|body| body.start <= packet.seq && packet.end() <= body.end);
                let is_last = packet.end() as u64 == sent[packet.direction.index()];
                !(packet.is_data() && in_body && !is_last && random.once_in(2))
            });
            let record = only(&packets, hosts, WHOLE);
            assert_known(what, &record, &packets);
            for (flow, direction) in expected
                .flows
                .iter_mut()
                .zip([Direction::ToServer, Direction::ToClient])
            {
                flow.2 = known(&packets, direction).2;
            }
            assert_same(what, &record, &expected);
        },
    );
}

#[test]
fn a_snap_length_leaves_the_offsets() {
    each(Troubles::default(), |what, dialogue, hosts, _, expected, random| {
        // A line a segment: where a message begins within one, the capture does not show it.
        let hosts = Hosts {
            segment: usize::MAX,
            ..*hosts
        };
        let packets = play(&dialogue.said, &hosts, Troubles::default(), random);
        let record = only(&packets, &hosts, 96);
        let told = Told::of(&record);
        assert_eq!(
            (&told.flows, &told.resets, told.ending),
            (&expected.flows, &expected.resets, expected.ending),
            "{what}"
        );
        is_sane(&record);
        // Ten bytes of a status line do not show that it is one.
        let too_short = hosts.v6 && hosts.timestamps;
        if too_short || matches!(dialogue.protocol, Protocol::Tls | Protocol::FastCgi) || dialogue.name == "pipelined" {
            return;
        }
        let places = |told: &Told| -> Vec<_> {
            let place = |message: &Option<MessageTold>| message.as_ref().map(|message| (message.start, message.seen));
            let exchanges = told.app.exchanges.iter();
            exchanges
                .map(|exchange| (exchange.index, place(&exchange.request), place(&exchange.response)))
                .collect()
        };
        assert_eq!(places(&told), places(&expected), "{what}");
        assert_eq!(told.app.protocol, expected.app.protocol, "{what}");
    });
}

#[test]
fn a_capture_that_begins_with_the_syn_ack() {
    each(Troubles::default(), |what, _, hosts, packets, expected, _| {
        let record = only(&packets[1..], hosts, WHOLE);
        assert_same(what, &record, &expected);
        assert_eq!(
            (record.roles, record.seen_from_start()),
            (Roles::Handshake, false),
            "{what}"
        );
        assert_eq!(record.client, hosts.endpoint(Direction::ToServer), "{what}");
    });
}

#[test]
fn picked_up_anywhere_offsets_count_from_there() {
    each(Troubles::default(), |what, dialogue, hosts, packets, _, random| {
        let first_end = packets
            .iter()
            .position(|packet| packet.bits.fin || packet.bits.rst)
            .unwrap_or(packets.len());
        if dialogue.protocol == Protocol::Silent {
            return;
        }
        let from = 3 + random.below(first_end - 3);
        let sent = sent_before(&packets[..from]);
        let record = only(&packets[from..], hosts, WHOLE);
        let whole = only(&packets, hosts, WHOLE);
        is_sane(&record);
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (flow, expected, base) = (record.flow(direction), whole.flow(direction), sent[direction.index()]);
            let fin = |flow: &Flow| flow.fin.map(|fin| fin.offset);
            assert_eq!(
                (
                    flow.sent + base,
                    flow.acked + base,
                    flow.missed,
                    fin(flow).map(|fin| fin + base)
                ),
                (expected.sent, expected.acked, 0, fin(expected)),
                "{what}, from packet {from}, {direction:?}"
            );
        }
    });
}

fn sent_before(packets: &[Packet]) -> [u64; 2] {
    [Direction::ToServer, Direction::ToClient].map(|direction| {
        let own = packets.iter().filter(|packet| packet.direction == direction);
        own.map(|packet| packet.end().max(0) as u64).max().unwrap_or(0)
    })
}

/// Where the ports tell who is the server, and where they say the contrary.
#[test]
fn picked_up_at_a_request_all_later_exchanges_are_told() {
    for ports in [[40_000, 80], [2_000, 8_443]] {
        each(Troubles::default(), |what, dialogue, hosts, packets, _, _| {
            if dialogue.protocol != Protocol::Http1 {
                return;
            }
            let hosts = Hosts { ports, ..*hosts };
            let whole = only(&packets, &hosts, WHOLE);
            // Exchanges that began when all before them were over.
            for exchange in whole.app.exchanges.iter().filter(|exchange| exchange.index > 0) {
                let begun = exchange.request.as_ref().unwrap();
                let from = begun.begun.number as usize - 1;
                let sent = sent_before(&packets[..from]);
                let before = whole
                    .app
                    .exchanges
                    .iter()
                    .filter(|before| before.index + 1 == exchange.index);
                let over = before
                    .filter_map(|before| before.response.as_ref()?.end)
                    .all(|end| end == sent[1]);
                if begun.start != sent[0] || !over || begun.framing == Framing::Unknown || exchange.index == 2 {
                    continue;
                }
                let record = only(&packets[from..], &hosts, WHOLE);
                let what = format!("{what}, ports {ports:?}, from exchange {}", exchange.index);
                assert_eq!(record.client, hosts.endpoint(Direction::ToServer), "{what}");
                let by_ports = ports[1] < ports[0];
                assert_eq!(
                    record.roles,
                    if by_ports { Roles::Ports } else { Roles::Protocol },
                    "{what}"
                );
                let later = whole.app.exchanges.iter().filter(|later| later.index >= exchange.index);
                let mut expected: Vec<_> = later.map(ExchangeTold::of).collect();
                for later in &mut expected {
                    later.index -= exchange.index;
                    shift(&mut later.request, sent[0]);
                    shift(&mut later.response, sent[1]);
                }
                let told: Vec<_> = record.app.exchanges.iter().map(ExchangeTold::of).collect();
                assert_eq!(told, expected, "{what}");
                let directions: Vec<_> = record.timeline.iter().map(|note| note.direction).collect();
                let sides: Vec<_> = packets[from..].iter().map(|packet| packet.direction).collect();
                let head = directions.len().min(6);
                assert_eq!(directions[..head], sides[..head], "{what}");
            }
        });
    }
}

fn shift(message: &mut Option<MessageTold>, by: u64) {
    let Some(message) = message else { return };
    message.start -= by;
    message.seen -= by;
    message.end = message.end.map(|end| end - by);
    message.head_end = message.head_end.map(|end| end - by);
}
