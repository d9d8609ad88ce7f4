//! Files, pipes, compression, rotation, damage.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bypeer_input::{Event, Input, InputError, Source, Summary};
use bypeer_wire::Issue;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A classic pcap: its packets' times in ms and their lengths.
fn pcap(packets: &[(u64, usize)]) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1_u32];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    packets.iter().for_each(|packet| bytes.extend(record(*packet)));
    bytes
}

fn record((ms, length): (u64, usize)) -> Vec<u8> {
    let words = [
        (ms / 1000) as u32,
        (ms % 1000 * 1000) as u32,
        length as u32,
        length as u32,
    ];
    let data = (0..length).map(|at| (at as u64 ^ ms) as u8);
    words.iter().flat_map(|word| word.to_le_bytes()).chain(data).collect()
}

fn many(count: u64) -> Vec<(u64, usize)> {
    (0..count)
        .map(|index| (index * 10, 40 + (index as usize * 131) % 1460))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// Packets as (number, ms, length).
type Seen = Vec<(u64, u64, usize)>;

/// Every packet, with its bytes checked.
fn read(sources: Vec<Source>) -> Result<(Seen, Summary), InputError> {
    let mut seen = Vec::new();
    let summary = Input::new(sources)?.for_each(|event| {
        if let Event::Frame(frame) = event {
            let ms = frame.at.time.0 as u64 / 1_000_000;
            assert_eq!(frame.data, &record((ms, frame.data.len()))[16..]);
            seen.push((frame.at.number, ms, frame.data.len()));
        }
        ControlFlow::Continue(())
    })?;
    Ok((seen, summary))
}

fn numbered(packets: &[(u64, usize)]) -> Seen {
    (1..)
        .zip(packets)
        .map(|(number, (ms, length))| (number, *ms, *length))
        .collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn plain_and_compressed_in_files_and_pipes() {
    let packets = many(9000);
    let bytes = pcap(&packets);
    let (first, second) = bytes.split_at(bytes.len() / 3);
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let forms = [
        bytes.clone(),
        gzip(&bytes),
        [gzip(first), gzip(b""), gzip(second)].concat(),
        zstd(&bytes),
        [&skippable[..], &zstd(first), &skippable, &zstd(second)].concat(),
    ];
    let folder = tempfile::tempdir().unwrap();
    for form in forms {
        let path = write(folder.path(), "capture", &form);
        let input = Input::new(vec![Source::open(&path).unwrap()]).unwrap();
        let meter = input.meter();
        input.for_each(|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(
            (meter.read(), meter.total()),
            (form.len() as u64, Some(form.len() as u64))
        );
        for source in [
            Source::open(&path).unwrap(),
            Source::reader("pipe", io::Cursor::new(form)),
        ] {
            let (seen, summary) = read(vec![source]).unwrap();
            assert_eq!(seen, numbered(&packets));
            assert_eq!((summary.frames, summary.stopped, summary.torn.len()), (9000, false, 0));
        }
    }
}

/// Records larger than the buffers, one after another and between small ones.
#[test]
fn large_records() {
    let packets = [
        (1, 60),
        (2, 200_000),
        (3, 60),
        (4, 262_144),
        (5, 262_000),
        (6, 140_000),
        (7, 1),
    ];
    let bytes = pcap(&packets);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "capture", &bytes);
    for source in [
        Source::open(path).unwrap(),
        Source::reader("pipe", Dribble(bytes.clone(), 0, 70_001)),
    ] {
        assert_eq!(read(vec![source]).unwrap().0, numbered(&packets));
    }
    let small = pcap(&many(30));
    assert_eq!(
        read(vec![Source::reader("pipe", Dribble(small, 0, 1))]).unwrap().0,
        numbered(&many(30))
    );
}

/// Gives a few bytes at a time.
struct Dribble(Vec<u8>, usize, usize);

impl Read for Dribble {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.2.min(into.len()).min(self.0.len() - self.1);
        into[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
        self.1 += count;
        Ok(count)
    }
}

/// A pipe whose writer is a channel.
struct Pipe(Receiver<Vec<u8>>, Vec<u8>);

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.1.is_empty() {
            match self.0.recv() {
                Ok(bytes) => self.1 = bytes,
                Err(_) => return Ok(0),
            }
        }
        let count = into.len().min(self.1.len());
        into[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

#[test]
fn a_pipe_is_read_as_it_comes_ticks_when_quiet_and_stops() {
    let (pipe, receiver) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let source = Source::reader("pipe", Pipe(receiver, Vec::new()));
    let input = Input::new(vec![source]).unwrap().stopped_by(stop.clone());
    pipe.send(pcap(&[(1, 60)])).unwrap();
    let (mut frames, mut quiet, mut stopped_at) = (0, 0, None);
    let start = Instant::now();
    let summary = input
        .for_each(|event| {
            match event {
                Event::Interface(_) => {}
                // The next packet is sent only once this one was delivered, and the pipe stays open.
                Event::Frame(_) if frames < 5 => {
                    frames += 1;
                    pipe.send(record((1 + frames, 60))).unwrap();
                }
                Event::Frame(_) => frames += 1,
                Event::Quiet => {
                    quiet += 1;
                    stop.store(true, Ordering::Relaxed);
                    stopped_at = Some(Instant::now());
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((frames, quiet, summary.frames, summary.stopped), (6, 1, 6, true));
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(stopped_at.unwrap().elapsed() < Duration::from_millis(400));
    drop(pipe);
}

/// A pipe that has not given a byte yet stops as well: nothing of it is read on the caller's thread.
#[test]
fn a_silent_pipe_can_be_stopped() {
    let (pipe, receiver) = channel::<Vec<u8>>();
    let input = Input::new(vec![Source::reader("pipe", Pipe(receiver, Vec::new()))]).unwrap();
    let summary = input.for_each(|_| ControlFlow::Break(())).unwrap();
    assert_eq!((summary.frames, summary.stopped), (0, true));
    drop(pipe);
}

#[test]
fn a_stop_takes_effect_between_the_frames_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "capture", &pcap(&many(200_000)));
    let stop = Arc::new(AtomicBool::new(false));
    let input = Input::new(vec![Source::open(path).unwrap()])
        .unwrap()
        .stopped_by(stop.clone());
    let summary = input
        .for_each(|_| {
            stop.store(true, Ordering::Relaxed);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(summary.stopped && summary.frames < 20_000, "{}", summary.frames);
}

#[test]
fn rotated_files_are_put_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let packets = many(3000);
    let files: Vec<_> = [(2000, 3000, "a"), (0, 1000, "b"), (1000, 2000, "c")]
        .map(|(from, to, name)| {
            let bytes = pcap(&packets[from..to]);
            write(folder.path(), name, &if name == "c" { zstd(&bytes) } else { bytes })
        })
        .into_iter()
        .chain([write(folder.path(), "without packets", &pcap(&[]))])
        .collect();
    let mut sources: Vec<_> = files.iter().map(|path| Source::open(path).unwrap()).collect();
    // One of them as a pipe.
    sources[2] = Source::reader("pipe", File::open(&files[2]).unwrap());
    let (seen, summary) = read(sources).unwrap();
    assert_eq!(seen, numbered(&packets));
    assert_eq!(
        summary.span.map(|(first, last)| (first.0, last.0)),
        Some((0, 29_990_000_000))
    );
}

#[test]
fn captures_that_overlap_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let files = [(0, "client"), (5, "server")].map(|(shift, name)| {
        let packets: Vec<_> = many(100).iter().map(|(ms, length)| (ms + shift, *length)).collect();
        Source::open(write(folder.path(), name, &pcap(&packets))).unwrap()
    });
    let error = read(files.into()).unwrap_err();
    let InputError::Overlapping(overlap) = &error else {
        panic!("{error}")
    };
    assert!(overlap.earlier.ends_with("client") && overlap.later.ends_with("server"));
    assert_eq!(overlap.by, Duration::from_millis(985));
    assert!(error.to_string().contains("not merged yet"));
    // A little disorder across the border of two files is none.
    let files = [(0..100, "one"), (100..200, "two")].map(|(range, name)| {
        let mut packets = many(200)[range].to_vec();
        packets[0].0 -= packets[0].0.min(15);
        Source::open(write(folder.path(), name, &pcap(&packets))).unwrap()
    });
    assert_eq!(read(files.into()).unwrap().0.len(), 200);
}

#[test]
fn damage_at_the_end_is_counted() {
    let bytes = pcap(&many(5000));
    let (seen, summary) = read(vec![Source::reader(
        "pipe",
        io::Cursor::new(bytes[..bytes.len() - 1].to_vec()),
    )])
    .unwrap();
    assert_eq!(seen, numbered(&many(4999)));
    assert_eq!(summary.issues.iter().collect::<Vec<_>>(), [(Issue::TornRecord, 1)]);
    for form in [gzip(&bytes), zstd(&bytes)] {
        let half = form[..form.len() / 2].to_vec();
        let (seen, summary) = read(vec![Source::reader("pipe", io::Cursor::new(half))]).unwrap();
        assert!(
            seen.len() > 500 && seen[..] == numbered(&many(5000))[..seen.len()],
            "{}",
            seen.len()
        );
        assert_eq!((summary.torn.len(), &summary.torn[0].name[..]), (1, "pipe"));
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let path = write(folder.path(), name, bytes);
        let error = Source::open(&path)
            .and_then(|source| read(vec![source]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
        error
    };
    assert!(message("empty", b"").contains("it is empty"));
    assert!(message("short", &pcap(&[])[..20]).contains("ends inside"));
    assert!(message("text", b"12:00:00.0 IP a > b: Flags [S], seq 1").contains("tcpdump -w"));
    assert!(message("twice", &gzip(&gzip(b"x"))).contains("once more"));
    assert!(
        message("broken", &[0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff]).contains("cannot be decompressed")
    );
    let missing = Source::open(folder.path().join("missing")).unwrap_err();
    assert!(matches!(missing, InputError::Missing { .. }), "{missing}");
    let directory = Source::open(folder.path()).unwrap_err();
    assert!(matches!(directory, InputError::Directory { .. }), "{directory}");
    // Among several, the one that is no capture is named before anything is read.
    let good = Source::open(write(folder.path(), "good", &pcap(&many(3)))).unwrap();
    let bad = Source::open(write(folder.path(), "bad", b"no capture, but text")).unwrap();
    assert!(Input::new(vec![good, bad]).unwrap_err().to_string().contains("bad"));
}

/// A pcapng with one packet of each of two interfaces; the second one is described after the first one's packet.
fn pcapng(names: [&str; 2]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let length = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    };
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut bytes = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    for (number, name) in (0..).zip(names) {
        let padding = vec![0; name.len().next_multiple_of(4) - name.len()];
        let option = words(&[(name.len() as u32) << 16 | 2]);
        bytes.extend(block(1, &[words(&[1, 0]), option, name.into(), padding].concat()));
        bytes.extend(block(6, &words(&[number, 0, 1000 + number, 4, 4, 0])));
    }
    bytes
}

#[test]
fn interfaces_are_told_before_their_packets() {
    let folder = tempfile::tempdir().unwrap();
    let classic = write(folder.path(), "b.pcap", &pcap(&[(5000, 60)]));
    let pipe = Source::reader("pipe", io::Cursor::new(pcapng(["client", "ser\u{1b}ver"])));
    let mut told = Vec::new();
    let input = Input::new(vec![Source::open(classic).unwrap(), pipe]).unwrap();
    let summary = input.for_each(|event| {
        match event {
            Event::Interface(interface) => told.push(format!("{} {:?}", interface.number, interface.name)),
            Event::Frame(frame) => told.push(format!("#{} on {}", frame.at.number, frame.interface)),
            Event::Quiet => {}
        }
        ControlFlow::Continue(())
    });
    assert_eq!(summary.unwrap().frames, 3);
    let expected = [
        r#"0 Some("client")"#,
        "#1 on 0",
        r#"1 Some("ser\u{1b}ver")"#,
        "#2 on 1",
        "0 None",
        "#3 on 0",
    ];
    assert_eq!(told, expected);
}
