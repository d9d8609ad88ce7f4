//! Random segments: against a bitmap, and hostile ones.

use std::collections::HashMap;

use super::assembler::{Assembler, Budget, after};
use super::delivery::Carrier;
use super::numbering::Lineage;
use super::testkit::*;
use super::*;
use crate::packet::{Flags, TcpOptions};
use crate::{Endpoint, PacketRef};

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }
}

fn carrier() -> Carrier {
    Carrier {
        at: PacketRef::default(),
        acked: None,
    }
}

fn budget(total: usize) -> Budget {
    Budget {
        per_direction: total,
        total,
        used: 0,
    }
}

#[test]
fn the_assembler_gives_back_what_a_bitmap_holds() {
    for seed in 1..400 {
        let mut random = Random(seed);
        let stream: Vec<u8> = (0..600).map(|_| random.next() as u8).collect();
        let mut held = vec![false; stream.len()];
        let mut assembler = Assembler::default();
        let mut budget = budget(1 << 20);
        for _ in 0..random.below(40) {
            let start = random.below(590) as usize;
            let end = start + 1 + random.below(9 + (600 - start as u64 - 9) / 8) as usize;
            let end = end.min(stream.len());
            assembler.insert(
                start as u64,
                (end - start) as u64,
                &stream[start..end],
                carrier(),
                &mut budget,
            );
            held[start..end].fill(true);
            let (from, until) = (random.below(600), random.below(600));
            let expected = held
                .get(from as usize..until as usize)
                .is_none_or(|range| range.iter().all(|held| *held));
            assert_eq!(assembler.covers(from, until), expected, "seed {seed}: {from}..{until}");
        }
        assert_eq!(
            budget.used,
            held.iter().filter(|held| **held).count(),
            "seed {seed}: each byte is held once"
        );
        let mut seen = vec![false; stream.len()];
        while let Some((start, range)) = assembler.take_at(u64::MAX, &mut budget) {
            let start = start as usize;
            assert_eq!(&*range.bytes, &stream[start..start + range.len as usize], "seed {seed}");
            for place in &mut seen[start..start + range.len as usize] {
                assert!(!*place, "seed {seed}: given back twice");
                *place = true;
            }
        }
        assert_eq!(seen, held, "seed {seed}");
        assert_eq!(budget.used, 0, "seed {seed}");
    }
}

#[test]
fn beyond_its_budget_the_assembler_keeps_places_only() {
    let mut assembler = Assembler::default();
    let mut budget = budget(10);
    assembler.insert(100, 8, b"12345678", carrier(), &mut budget);
    assembler.insert(200, 8, b"12345678", carrier(), &mut budget);
    assert_eq!(budget.used, 8);
    assert!(assembler.covers(100, 108) && assembler.covers(200, 208));
    assert_eq!(assembler.take_at(100, &mut budget).unwrap().1.bytes.len(), 8);
    let (start, range) = assembler.take_at(200, &mut budget).unwrap();
    assert_eq!((start, range.len, range.bytes.len()), (200, 8, 0));
}

#[test]
fn cutting_never_panics() {
    assert_eq!(after(b"abcdef", 2, 3), b"cde");
    assert_eq!(after(b"abcdef", 4, 9), b"ef");
    assert_eq!(after(b"abcdef", u64::MAX, u64::MAX), b"");
}

/// Overlap, reordering, loss before and after the capture point, and a sequence space that wraps within.
#[test]
fn a_lossy_stream_is_accounted_for_like_a_bitmap_does() {
    for seed in 1..300 {
        let mut random = Random(seed * 77);
        let initial = (random.next() as u32) | 0xFFFF_F000;
        let length = 4_000u64;
        let bytes = [b'x'; 200];
        let mut held = vec![false; length as usize];
        let mut wire = Wire::new();
        wire.send(segment(client(), server(), SYN, initial.wrapping_sub(1), 0, b""));
        wire.send(segment(server(), client(), SYN_ACK, S, initial, b""));
        let (mut sent, mut acked, mut payloads) = (0u64, 0u64, 0u64);
        for _ in 0..60 {
            if random.below(4) == 0 {
                // What lies before may have been seen or not: the receiver had it.
                let ack = acked + random.below(sent - acked + 1);
                acked = acked.max(ack);
                wire.send(segment(
                    server(),
                    client(),
                    ACK,
                    S + 1,
                    initial.wrapping_add(ack as u32),
                    b"",
                ));
                continue;
            }
            let start = (sent + random.below(300))
                .saturating_sub(random.below(300))
                .min(length - 200);
            let len = 2 + random.below(198);
            let end = start + len;
            let from = initial.wrapping_add(start as u32);
            wire.send(segment(client(), server(), ACK, from, S + 1, &bytes[..len as usize]));
            payloads += 1;
            // Bytes that were given up as missed do not count again when they come after all.
            held[start as usize..end as usize].fill(true);
            sent = sent.max(end);
        }
        let never_held = held[..acked as usize].iter().filter(|held| !**held).count() as u64;
        let record = wire.only();
        let flow = &record.to_server;
        assert_eq!((flow.sent, flow.acked), (sent, acked), "seed {seed}");
        assert!(flow.missed >= never_held, "seed {seed}: {} < {never_held}", flow.missed);
        assert!(flow.missed <= acked, "seed {seed}");
        assert!(
            flow.data_packets + u64::from(flow.retransmissions) == payloads,
            "seed {seed}: {flow:?}"
        );
    }
}

#[test]
fn hostile_segments_neither_panic_nor_pile_up() {
    for seed in 1..60 {
        let mut random = Random(seed * 1_000_003);
        let limits = Limits {
            connections: 8,
            reassembly_bytes_per_direction: 500,
            reassembly_bytes_total: 1_500,
            remembered: 10,
            ..Limits::default()
        };
        let mut wire = Wire::with(limits);
        let payload = [1; 300];
        let places = [0, 1, C, S, 1 << 30, 1 << 31, u32::MAX, u32::MAX - 100];
        let mut total = 0;
        for _ in 0..4_000 {
            let mut number = || {
                let place = places[random.below(8) as usize].wrapping_add(random.below(400) as u32);
                if random.below(20) == 0 {
                    random.next() as u32
                } else {
                    place
                }
            };
            let (seq, ack) = (number(), number());
            let end = |port: u64| Endpoint {
                port: port as u16,
                ..client()
            };
            let (source, destination) = (end(random.below(5)), end(random.below(5)));
            let len = random.below(300) as usize;
            let flags = Flags(random.next() as u8);
            let mut hostile = segment(source, destination, flags, seq, ack, &payload[..len]);
            hostile.ack = ack;
            hostile.window = random.next() as u16;
            hostile.payload_len = match random.below(10) {
                0 => u32::MAX,
                1 => random.next() as u32,
                _ => len as u32,
            };
            hostile.options = TcpOptions {
                window_scale: (random.below(2) == 0).then_some(random.next() as u8),
                timestamps: (random.below(2) == 0).then_some((random.next() as u32, 0)),
                ..TcpOptions::default()
            };
            let after = (random.below(1_000_000_000) as i64) - 100_000_000;
            match random.below(8) {
                0 => wire.pass(after, hostile),
                interface => wire.send_from(interface.saturating_sub(4) as u32, after, hostile),
            };
            total += 1;
            assert!(wire.table.live() <= 8, "seed {seed}");
            assert!(wire.table.reassembly_bytes() <= 1_500, "seed {seed}");
        }
        wire.table.finish(&mut |_| {});
        assert_eq!(
            (wire.table.live(), wire.table.reassembly_bytes()),
            (0, 0),
            "seed {seed} after {total}"
        );
    }
}

/// Whichever packets are judged, streams are numbered over all of them.
#[test]
fn streams_do_not_depend_on_what_passes() {
    for seed in 1..40 {
        let mut random = Random(seed * 1_000_003);
        let mut wire = Wire::new();
        let mut conversations: HashMap<u16, Lineage> = HashMap::new();
        let (mut next_stream, mut streams) = (0, HashMap::new());
        for _ in 0..2_000 {
            let port = random.below(12) as u16 + 1000;
            let client = Endpoint { port, ..client() };
            let (source, destination) = match random.below(2) {
                0 => (client, server()),
                _ => (server(), client),
            };
            let flags = [SYN, SYN, SYN_ACK, ACK, FIN_ACK, RST][random.below(6) as usize];
            let (seq, ack) = (random.below(3) as u32, random.below(3) as u32);
            let segment = segment(source, destination, flags, seq, ack, b"");
            let after = random.below(2_000) as i64 * MILLISECOND;
            let number = match random.below(3) {
                0 => wire.send_after(after, segment),
                _ => wire.pass(after, segment),
            };

            let side = usize::from(source > destination);
            let continues = |lineage: &Lineage| !lineage.is_broken_by(side, flags, seq);
            let lineage = match conversations.get_mut(&port).filter(|lineage| continues(lineage)) {
                Some(lineage) => lineage,
                None => {
                    next_stream += 1;
                    conversations.insert(port, Lineage::new(next_stream - 1));
                    conversations.get_mut(&port).unwrap()
                }
            };
            lineage.note(side, flags, seq, ack);
            streams.insert(number, lineage.stream);
        }
        let records = wire.finish();
        assert!(records.len() > 100, "seed {seed}: {}", records.len());
        for record in records {
            assert_eq!(record.stream, streams[&record.opened.number], "seed {seed}: {record:?}");
        }
    }
}

#[test]
fn times_at_the_edge_do_not_overflow() {
    for time in [i64::MIN, i64::MAX, 0] {
        let mut table = Table::new(Limits::default());
        let mut records = 0;
        for (number, flags) in [(1, SYN), (2, RST_ACK), (3, ACK)] {
            let at = PacketRef {
                number,
                time: crate::Timestamp(time),
            };
            table.push(at, &from_client(flags, 0, 0, b""), &mut |_| records += 1);
        }
        table.advance(crate::Timestamp(i64::MAX), &mut |_| records += 1);
        table.finish(&mut |_| records += 1);
        assert!(records >= 1);
    }
}
