#![allow(clippy::unwrap_used)]

use super::build::{Random, Writer};
use super::*;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const KUZNETZOV: u32 = 0xa1b2_cd34;

/// A frame that outlives the buffer.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    number: u64,
    nanoseconds: i64,
    interface: u32,
    link: u16,
    data: Vec<u8>,
    original_len: u32,
}

/// Parses `bytes`, shown to the parser in pieces of at most `piece` more than it asked for.
fn parse(bytes: &[u8], piece: usize) -> Result<(Vec<Owned>, Issues), CaptureError> {
    let mut parser = Parser::new();
    let (mut start, mut end, mut frames) = (0, 0, Vec::new());
    loop {
        match parser.next(&bytes[start..end])? {
            Step::Frame { consumed, frame } => {
                assert!(consumed > 0 && start + consumed <= end);
                assert!(frame.data.len() <= frame.original_len as usize);
                start += consumed;
                frames.push(Owned {
                    number: frame.at.number,
                    nanoseconds: frame.at.time.0,
                    interface: frame.interface,
                    link: frame.link.0,
                    data: frame.data.to_vec(),
                    original_len: frame.original_len,
                });
            }
            Step::Skipped { consumed } => {
                assert!(consumed > 0 && start + consumed <= end);
                start += consumed;
            }
            Step::NeedMore { total } => {
                assert!(total > end - start, "no progress");
                if end == bytes.len() {
                    parser.end(&bytes[start..])?;
                    return Ok((frames, parser.issues().clone()));
                }
                end = bytes.len().min(end + piece);
            }
        }
    }
}

fn frames(bytes: &[u8]) -> Vec<Owned> {
    let (frames, issues) = parse(bytes, usize::MAX / 2).unwrap();
    assert_eq!(issues, Issues::default());
    frames
}

fn count(issues: &Issues, issue: Issue) -> u64 {
    issues
        .iter()
        .find(|(found, _)| *found == issue)
        .map_or(0, |(_, count)| count)
}

fn packet(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8 | 0x80).collect()
}

fn pcap(writer: Writer) -> Vec<u8> {
    let mut bytes = writer.pcap_header(MICROSECONDS, 65_535, 1);
    for index in 0..20 {
        bytes.extend(writer.pcap_record(1_700_000_000 + index, index, 1500, &packet(60 + index as usize)));
    }
    bytes
}

fn pcapng(writer: Writer) -> Vec<u8> {
    let nanoseconds: [(u16, &[u8]); 1] = [(9, &[9])];
    let mut bytes = [
        writer.section(),
        writer.interface(1, 0, &[]),
        writer.interface(113, 0, &nanoseconds),
    ]
    .concat();
    for index in 0..10 {
        bytes.extend(writer.enhanced_packet(0, 1_700_000_000_000_000 + index, 60, &packet(60)));
        bytes.extend(writer.enhanced_packet(1, 1_700_000_000_000_000_000 + index, 70, &packet(61)));
        bytes.extend(writer.block(5, &[0; 12]));
    }
    bytes
}

#[test]
fn classic_pcap_in_both_byte_orders_and_resolutions() {
    for big in [false, true] {
        let writer = Writer { big };
        for (magic, nanoseconds) in [(MICROSECONDS, 5_000_000_007_000), (NANOSECONDS, 5_000_000_000_007)] {
            let header = writer.pcap_header(magic, 65_535, 1);
            let found = frames(&[header, writer.pcap_record(5000, 7, 1500, b"abc")].concat());
            let data = b"abc".to_vec();
            let expected = Owned {
                number: 1,
                nanoseconds,
                interface: 0,
                link: 1,
                data,
                original_len: 1500,
            };
            assert_eq!(found, [expected]);
        }
    }
}

#[test]
fn kuznetzov_records_have_eight_more_bytes() {
    let writer = Writer { big: false };
    let record = [
        &writer.pcap_record(1, 2, 3, b"")[..8],
        &writer.u32(3),
        &writer.u32(3),
        &[9; 8],
        b"abc",
    ]
    .concat();
    let found = frames(&[writer.pcap_header(KUZNETZOV, 65_535, 1), record.clone(), record].concat());
    assert_eq!(
        found.iter().map(|frame| &frame.data[..]).collect::<Vec<_>>(),
        [b"abc", b"abc"]
    );
}

#[test]
fn files_appended_to_each_other_are_read_on() {
    let writer = Writer { big: false };
    let second = [
        writer.pcap_header(NANOSECONDS, 65_535, 101),
        writer.pcap_record(1, 2, 3, b"abc"),
    ]
    .concat();
    let same = [
        writer.pcap_header(MICROSECONDS, 65_535, 101),
        writer.pcap_record(1, 2, 3, b"abc"),
    ]
    .concat();
    let found = frames(&[pcap(writer), same].concat());
    assert_eq!((found.len(), found[20].number, found[20].link), (21, 21, 101));
    // Not the same kind of file: taken for damage, never for packets.
    let (found, issues) = parse(&[pcap(writer), second].concat(), 1000).unwrap();
    assert!(found.len() >= 20 && count(&issues, Issue::CorruptRecord) + count(&issues, Issue::TornRecord) > 0);
}

#[test]
fn pcapng_in_both_byte_orders_and_several_sections() {
    let both = [pcapng(Writer { big: false }), pcapng(Writer { big: true })].concat();
    let found = frames(&both);
    assert_eq!(found.len(), 40);
    for (index, frame) in found.iter().enumerate() {
        let (section, odd, tick) = (index / 20, index % 2 == 1, (index as i64 % 20) / 2);
        assert_eq!(frame.number, index as u64 + 1);
        assert_eq!(frame.interface, section as u32 * 2 + u32::from(odd));
        let (unit, link) = if odd { (1, 113) } else { (1000, 1) };
        assert_eq!(
            (frame.nanoseconds, frame.link),
            (1_700_000_000_000_000_000 + tick * unit, link)
        );
        assert_eq!(
            (frame.data.len(), frame.original_len),
            if odd { (61, 70) } else { (60, 60) }
        );
    }
}

#[test]
fn time_resolutions_and_offsets() {
    let writer = Writer { big: true };
    let time = |options: &[(u16, &[u8])], ticks| {
        let bytes = [
            writer.section(),
            writer.interface(1, 0, options),
            writer.enhanced_packet(0, ticks, 1, b"x"),
        ];
        frames(&bytes.concat())[0].nanoseconds
    };
    assert_eq!(time(&[], 3), 3000);
    assert_eq!(time(&[(9, &[0])], 3), 3_000_000_000);
    assert_eq!(time(&[(9, &[3])], 3), 3_000_000);
    assert_eq!(time(&[(9, &[12])], 3999), 3);
    // Powers of two: 2^-10 s.
    assert_eq!(time(&[(9, &[0x8a])], 1536), 1_500_000_000);
    assert_eq!(time(&[(9, &[0xff])], 1), 0);
    assert_eq!(
        time(&[(2, b"eth0"), (9, &[9]), (14, &writer.u64(10)), (0, &[])], 3),
        10_000_000_003
    );
    assert_eq!(time(&[(14, &writer.u64((-1_i64) as u64))], 0), -1_000_000_000);
    assert_eq!(time(&[], u64::MAX), i64::MAX);
}

#[test]
fn simple_and_obsolete_packets() {
    let writer = Writer { big: false };
    let simple = writer.block(3, &[&writer.u32(100)[..], &packet(50)].concat());
    let ticks = [writer.u32(0), writer.u32(7)].concat();
    let body = [
        &writer.u16(0)[..],
        &writer.u16(3),
        &ticks,
        &writer.u32(5),
        &writer.u32(9),
        b"abcde",
    ]
    .concat();
    let found = frames(
        &[
            writer.section(),
            writer.interface(1, 50, &[]),
            writer.block(2, &body),
            simple,
        ]
        .concat(),
    );
    assert_eq!(
        (&found[0].data[..], found[0].original_len, found[0].nanoseconds),
        (&b"abcde"[..], 9, 7000)
    );
    assert_eq!(
        (found[1].data.len(), found[1].original_len, found[1].nanoseconds),
        (50, 100, 7000)
    );
}

#[test]
fn blocks_without_packets_are_numbered_as_wireshark_does() {
    let writer = Writer { big: false };
    let one = writer.enhanced_packet(0, 0, 1, b"x");
    let start = [writer.section(), writer.interface(1, 0, &[]), one.clone()].concat();
    let second = |kind, body: &[u8]| {
        let (found, issues) = parse(&[start.clone(), writer.block(kind, body), one.clone()].concat(), 7).unwrap();
        (found[1].number, count(&issues, Issue::UnknownBlock))
    };
    // Name resolution, statistics, secrets, unknown, then custom and journal, which tshark 4.0 gives a frame.number.
    assert_eq!(second(4, &[0; 4]), (2, 0));
    assert_eq!(second(5, &[0; 12]), (2, 0));
    assert_eq!(second(0x0a, b"LSKT\x04\0\0\0abcd"), (2, 0));
    assert_eq!(second(0x7777, b"abcd"), (2, 1));
    assert_eq!(second(0xbad, b"\xd9\x7e\0\0"), (3, 0));
    assert_eq!(second(0x4000_0bad, b"\xd9\x7e\0\0"), (3, 0));
    assert_eq!(second(9, b"MESSAGE=x\n\n"), (3, 0));
}

#[test]
fn numbering_continues_over_rotated_files() {
    let bytes = pcap(Writer { big: false });
    let mut parser = Parser::continuing(41);
    let Step::Skipped { consumed } = parser.next(&bytes).unwrap() else {
        panic!("no header")
    };
    let Step::Frame { frame, .. } = parser.next(&bytes[consumed..]).unwrap() else {
        panic!("no frame")
    };
    assert_eq!(frame.at.number, 42);
}

/// Every prefix gives the frames that are whole in it, and all chunkings give the same.
#[test]
fn every_prefix_and_chunking() {
    for bytes in [false, true]
        .iter()
        .flat_map(|big| [pcap(Writer { big: *big }), pcapng(Writer { big: *big })])
    {
        let whole = frames(&bytes);
        let mut seen = 0;
        for length in 0..=bytes.len() {
            match parse(&bytes[..length], usize::MAX / 2) {
                Ok((found, issues)) => {
                    assert!(
                        found.len() >= seen && found[..] == whole[..found.len()],
                        "prefix of {length}"
                    );
                    assert!(count(&issues, Issue::TornRecord) <= 1 && count(&issues, Issue::CorruptRecord) == 0);
                    seen = found.len();
                }
                Err(CaptureError::Empty) => assert_eq!(length, 0),
                Err(CaptureError::HeaderTorn { have }) => assert!(have == length && length < 28),
                Err(other) => assert!(length < 4, "{other}"),
            }
        }
        assert_eq!(seen, whole.len());
        for piece in [1, 2, 3, 16, 61, 1000] {
            assert_eq!(parse(&bytes, piece).unwrap().0, whole, "pieces of {piece}");
        }
    }
}

#[test]
fn reading_goes_on_behind_damage() {
    for big in [false, true] {
        let writer = Writer { big };
        let damage = |mut bytes: Vec<u8>, at: usize, with: &[u8]| {
            bytes[at..at + with.len()].copy_from_slice(with);
            parse(&bytes, 100).unwrap()
        };
        // The fourth record's captured length; then the whole of its header in zeroes.
        let at = 24 + 3 * 16 + 60 + 61 + 62;
        for (place, with) in [(at + 8, &[0xff; 4][..]), (at, &[0; 16])] {
            let (found, issues) = damage(pcap(writer), place, with);
            assert_eq!(count(&issues, Issue::CorruptRecord), 1);
            let whole = frames(&pcap(writer));
            assert_eq!(found.len(), 19);
            assert_eq!(
                (&found[2].data, &found[3].data, &found[18].data),
                (&whole[2].data, &whole[4].data, &whole[19].data)
            );
        }
        // The length of the second packet's block, at its beginning and at its end.
        let first = writer.section().len() + 20 + 28 + writer.enhanced_packet(0, 0, 60, &packet(60)).len();
        let length = writer.enhanced_packet(1, 0, 70, &packet(61)).len();
        for (place, frames_left) in [(first + 4, 19), (first + length - 4, 19)] {
            let (found, issues) = damage(pcapng(writer), place, &[0xff; 4]);
            assert_eq!((count(&issues, Issue::CorruptRecord), found.len()), (1, frames_left));
        }
    }
}

#[test]
fn what_is_no_capture_is_named() {
    let cases: [(&[u8], Looks); 9] = [
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Looks::Gzip),
        (b"<!DOCTYPE html><html>", Looks::Html),
        (b"[\n  {\n    \"_index\": \"packets\"", Looks::Json),
        (b"{\"timestamp\": 1, \"a\": 2}", Looks::Json),
        (b"12:00:01.000000 IP 10.0.0.1.1 > 10.0.0.2.2: Flags [S]", Looks::Text),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0", Looks::Elf),
        (b"snoop\0\0\0\0\0\0\x02\0\0\0\x04", Looks::Snoop),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x02\x04\0\x5c\0\0\0\x48", Looks::Erf),
        (
            b"\x01\x02\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0",
            Looks::Unknown([1, 2, 3, 4]),
        ),
    ];
    for (bytes, looks) in cases {
        assert_eq!(parse(bytes, 5).unwrap_err(), CaptureError::NotACapture(looks));
        assert!(looks.to_string().len() > 10);
    }
    assert_eq!(parse(b"", 1).unwrap_err(), CaptureError::Empty);
    assert_eq!(parse(b"hi\n", 1).unwrap_err(), CaptureError::NotACapture(Looks::Text));
    let mut later = pcap(Writer { big: false });
    later[4] = 3;
    assert_eq!(
        parse(&later, 99).unwrap_err(),
        CaptureError::UnsupportedVersion { major: 3, minor: 4 }
    );
}

/// No damage panics, hangs (`parse` asserts progress) or makes more packets than there is room for.
#[test]
fn mutations_are_survived() {
    for seed in 0..6000 {
        let mut random = Random(seed);
        let writer = Writer { big: seed & 1 == 0 };
        let mut bytes = if seed & 2 == 0 { pcap(writer) } else { pcapng(writer) };
        random.mutate(&mut bytes);
        let piece = 1 + random.below(400);
        if let Ok((found, _)) = parse(&bytes, piece) {
            assert!(found.len() <= bytes.len() / 12, "seed {seed}");
        }
    }
}

/// The names of all interfaces, and how many there are.
fn interfaces(bytes: &[u8]) -> (Vec<Option<String>>, u32) {
    let mut parser = Parser::new();
    let mut start = 0;
    while let Ok(Step::Frame { consumed, .. } | Step::Skipped { consumed }) = parser.next(&bytes[start..]) {
        start += consumed;
    }
    let names = (0..)
        .map_while(|number| parser.interface(number))
        .map(|interface| interface.name.map(str::to_owned))
        .collect();
    (names, parser.interfaces())
}

#[test]
fn interfaces_have_names() {
    for writer in [Writer { big: false }, Writer { big: true }] {
        assert_eq!(interfaces(&pcap(writer)), (vec![None], 1));
        let bytes = [
            writer.section(),
            writer.interface(1, 0, &[(9, &[9]), (2, b"client")]),
            writer.interface(1, 0, &[(3, b"a description is no name")]),
            writer.enhanced_packet(1, 0, 60, &packet(60)),
            writer.section(),
            writer.interface(1, 0, &[(2, b"server\0\0"), (0, b""), (2, b"behind the end")]),
            writer.interface(1, 0, &[(2, b"")]),
        ]
        .concat();
        let names = [Some("client"), None, Some("server"), None].map(|name| name.map(str::to_owned));
        assert_eq!(interfaces(&bytes), (names.to_vec(), 4));
    }
}

#[test]
fn names_of_interfaces_are_bounded() {
    let writer = Writer { big: false };
    let mut bytes = writer.section();
    for name in [&[0xff; 300][..], &[b'a'; 1000], "ü".repeat(200).as_bytes()] {
        bytes.extend(writer.interface(1, 0, &[(2, name)]));
    }
    for _ in 0..5000 {
        bytes.extend(writer.interface(1, 0, &[(2, b"x")]));
    }
    let (names, count) = interfaces(&bytes);
    assert_eq!((names.len(), count), (5003, 5003));
    assert_eq!(names.iter().flatten().count(), 4096);
    let lengths: Vec<usize> = names.iter().take(3).flatten().map(String::len).collect();
    assert_eq!(lengths, [255, 255, 254]);
}
