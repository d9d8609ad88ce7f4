//! Real captures, damaged: whatever comes, nothing panics, memory stays bounded, every packet is accounted for, and it ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use bypeer_wire::PacketRef;
use bypeer_wire::capture::{Parser, Step};
use bypeer_wire::conn::Limits;
use support::{Captured, Outcome, Pipeline, Random, is_sane};

/// Tight, so that the bounds are met.
fn tight() -> Limits {
    Limits {
        connections: 4,
        reassembly_bytes_per_direction: 3_000,
        reassembly_bytes_total: 5_000,
        remembered: 3,
        ..Limits::default()
    }
}

/// The real captures of at most `largest` bytes, by name. They belong to another crate of the workspace.
fn captures(largest: usize) -> Vec<(String, Vec<u8>)> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bypeer-diagnose/cases");
    let cases = fs::read_dir(&cases).expect("the workspace holds the cases");
    let mut found: Vec<_> = cases
        .filter_map(|case| {
            let case = case.ok()?;
            let packed = fs::read(case.path().join("capture.pcap.zst")).ok()?;
            let capture = zstd::decode_all(&packed[..]).unwrap();
            let name = case.file_name().to_string_lossy().into_owned();
            (capture.len() <= largest).then_some((name, capture))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 8, "captures went missing");
    found
}

/// Through all of this crate. `chunk`: how many bytes arrive at a time.
fn read(capture: &[u8], chunk: usize, limits: Limits) -> Outcome {
    let mut parser = Parser::new();
    let mut pipeline = Pipeline::new(limits);
    let (mut from, mut arrived) = (0, 0);
    let mut frames = 0;
    loop {
        match parser.next(&capture[from..arrived]) {
            Ok(Step::Frame { consumed, frame }) => {
                assert!(consumed > 0, "it goes on");
                frames += 1;
                pipeline.frame(frame.at, frame.link, frame.data, frame.original_len);
                from += consumed;
            }
            Ok(Step::Skipped { consumed }) => {
                assert!(consumed > 0, "it goes on");
                from += consumed;
            }
            Ok(Step::NeedMore { total }) if arrived < capture.len() => {
                assert!(total > arrived - from, "it asks for more than there is");
                arrived = (arrived + chunk).min(capture.len());
            }
            Ok(Step::NeedMore { .. }) | Err(_) => break,
        }
    }
    // No capture at all is an error, and fine.
    let _ = parser.end(&capture[from..arrived]);
    assert_eq!(parser.last_number(), frames, "every frame was handed on");
    let outcome = pipeline.finish();
    outcome.records.iter().for_each(is_sane);
    outcome
}

fn frames(capture: &[u8]) -> Vec<Captured> {
    let mut parser = Parser::new();
    let mut from = 0;
    let mut frames = Vec::new();
    while let Ok(step) = parser.next(&capture[from..]) {
        from += match step {
            Step::Frame { consumed, frame } => {
                frames.push(Captured {
                    at: frame.at,
                    link: frame.link,
                    data: frame.data.to_vec(),
                    original_len: frame.original_len,
                });
                consumed
            }
            Step::Skipped { consumed } => consumed,
            Step::NeedMore { .. } => break,
        };
    }
    frames
}

#[test]
fn every_prefix() {
    for (name, capture) in captures(4_500) {
        for length in 0..=capture.len() {
            let outcome = read(&capture[..length], usize::MAX >> 1, tight());
            assert!(outcome.segments > 0 || length < capture.len(), "{name}");
        }
    }
}

#[test]
fn the_outcome_does_not_depend_on_how_the_bytes_arrive() {
    for (name, capture) in captures(30_000) {
        let whole = read(&capture, usize::MAX >> 1, Limits::default());
        for chunk in [1, 7, 100] {
            let parts = read(&capture, chunk, Limits::default());
            assert_eq!(
                format!("{:?}", whole.records),
                format!("{:?}", parts.records),
                "{name}, {chunk} at a time"
            );
        }
    }
}

#[test]
fn mutated_files() {
    for (name, capture) in captures(25_000) {
        for seed in 0..60 {
            named_on_failure(&name, seed, || {
                let mut random = Random(seed);
                let mut capture = capture.clone();
                for _ in 0..1 + random.below(6) {
                    mutate(&mut random, &mut capture);
                }
                read(&capture, usize::MAX >> 1, tight());
            });
        }
    }
}

/// Only what lies within the frames, where TCP's numbers, options and the protocols above are.
#[test]
fn mutated_frames() {
    for (name, capture) in captures(25_000) {
        let frames = frames(&capture);
        for seed in 0..60 {
            named_on_failure(&name, seed, || {
                let mut random = Random(seed);
                let mut pipeline = Pipeline::new(tight());
                for frame in &frames {
                    let mut data = frame.data.clone();
                    if random.once_in(4) {
                        // Most likely in the headers.
                        let until = if random.once_in(3) {
                            data.len()
                        } else {
                            data.len().min(70)
                        };
                        let at = 14.min(until - 1) + random.below(until.saturating_sub(14));
                        if let Some(byte) = data.get_mut(at) {
                            *byte = [0, 0xff, *byte ^ (1 << random.below(8)), random.next() as u8][random.below(4)];
                        }
                    }
                    if random.once_in(30) {
                        data.truncate(random.below(data.len()));
                    }
                    pipeline.frame(frame.at, frame.link, &data, frame.original_len);
                }
                pipeline.finish().records.iter().for_each(is_sane);
            });
        }
    }
}

/// Shuffled, repeated, left out; with their times, and with times in their new order.
#[test]
fn shuffled_packets() {
    for (name, capture) in captures(115_000) {
        let frames = frames(&capture);
        for seed in 0..if capture.len() < 25_000 { 40 } else { 4 } {
            named_on_failure(&name, seed, || {
                let mut random = Random(seed);
                let mut shuffled = frames.clone();
                match random.below(3) {
                    0 => random.shuffle(&mut shuffled),
                    1 => shuffled.chunks_mut(6).for_each(|chunk| random.shuffle(chunk)),
                    _ => shuffled.reverse(),
                }
                let mut pipeline = Pipeline::new(if random.once_in(2) { tight() } else { Limits::default() });
                let in_order = random.once_in(2);
                let mut number = 0;
                for (index, frame) in shuffled.iter().enumerate() {
                    for _ in 0..random.below(3) {
                        number += 1;
                        let time = if in_order { frames[index].at.time } else { frame.at.time };
                        pipeline.frame(PacketRef { number, time }, frame.link, &frame.data, frame.original_len);
                    }
                }
                pipeline.finish().records.iter().for_each(is_sane);
            });
        }
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] = 0,
        1 => bytes[at] = 0xff,
        2 => bytes[at] ^= 1 << random.below(8),
        3 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
        4 => bytes.insert(at, random.next() as u8),
        _ => bytes[at] = random.next() as u8,
    }
}

/// Names what was being done when an assertion failed.
fn named_on_failure(name: &str, seed: u64, what: impl FnOnce()) {
    struct Bell<'a>(&'a str, u64);
    impl Drop for Bell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with {}, seed {}", self.0, self.1);
            }
        }
    }
    let bell = Bell(name, seed);
    what();
    drop(bell);
}
