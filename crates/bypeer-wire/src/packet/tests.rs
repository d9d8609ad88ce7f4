#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use etherparse::{SlicedPacket, TransportSlice};

use super::build::*;
use super::*;
use crate::capture::LinkType;
use crate::capture::build::Random;
use crate::{Issue, Timestamp};

const RAW: LinkType = LinkType::RAW;
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6];

fn decode(link: LinkType, data: &[u8], check: impl FnOnce(Decoded<'_>)) {
    check(Decoder::new().decode(link, data, data.len() as u32, Timestamp(0)));
}

/// The segment must be the one that `build::tcp` wrote, with this payload.
fn assert_segment(what: &str, link: LinkType, data: &[u8], payload: &[u8]) {
    decode(link, data, |decoded| match decoded {
        Decoded::Tcp(segment) => {
            assert_eq!((segment.source.port, segment.destination.port), (40_000, 80), "{what}");
            assert_eq!(
                (segment.seq, segment.ack, segment.window, segment.ttl),
                (1000, 2000, 501, 64),
                "{what}"
            );
            assert_eq!(
                (segment.payload, segment.payload_len),
                (payload, payload.len() as u32),
                "{what}"
            );
        }
        other => panic!("{what}: {other:?}"),
    });
}

fn issue_of(link: LinkType, data: &[u8], original_len: usize) -> Option<Issue> {
    match Decoder::new().decode(link, data, original_len as u32, Timestamp(0)) {
        Decoded::Unusable(issue) => Some(issue),
        _ => None,
    }
}

/// Each encapsulation around the same segment.
fn encapsulations() -> Vec<(&'static str, LinkType, Vec<u8>)> {
    let segment = tcp(0x18, &TIMESTAMPS, b"hello");
    let (v4, v6) = (ipv4(6, &segment), ipv6(6, &segment));
    let frame = ethernet(0x0800, &v4);
    let join = |head: &[u8], rest: &[u8]| [head, rest].concat();
    let in_v4 = |protocol, head: &[u8], rest: &[u8]| ipv4(protocol, &join(head, rest));
    let vxlan = udp(4789, &join(&[8, 0, 0, 0, 0, 0, 9, 0], &frame));
    let linux_vxlan = udp(8472, &join(&[8, 0, 0, 0, 0, 0, 9, 0], &frame));
    let geneve = udp(6081, &join(&[1, 0, 0x65, 0x58, 0, 0, 9, 0, 1, 2, 3, 0], &frame));
    let geneve_ip = udp(6081, &join(&[0, 0, 0x08, 0, 0, 0, 9, 0], &v4));
    let authentication = join(
        &[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        &segment,
    );
    let destination = join(&[6, 0, 1, 4, 0, 0, 0, 0], &segment);
    let routing = join(
        &[60, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &destination,
    );
    let extended = ipv6(0, &join(&[43, 0, 5, 2, 0, 0, 1, 0], &routing));
    let atomic = ipv6(44, &join(&[6, 0, 0, 0, 0, 0, 0, 1], &segment));
    let mut no_length = v4.clone();
    no_length[2..4].fill(0);
    let e = LinkType::ETHERNET;
    vec![
        ("ethernet v4", e, frame.clone()),
        ("ethernet v6", e, ethernet(0x86dd, &v6)),
        ("padding", e, join(&ethernet(0x0800, &v4), &[0; 9])),
        ("v4 options", e, ethernet(0x0800, &ipv4_with_options(6, &segment))),
        ("v4 length 0", e, ethernet(0x0800, &no_length)),
        ("vlan", e, ethernet(0x8100, &join(&[0, 5, 0x08, 0], &v4))),
        (
            "qinq",
            e,
            ethernet(0x88a8, &join(&[0, 5, 0x81, 0, 0, 6, 0x86, 0xdd], &v6)),
        ),
        (
            "snap",
            e,
            ethernet(8 + v4.len() as u16, &join(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4)),
        ),
        ("mpls", e, ethernet(0x8847, &join(&[0, 1, 0, 64, 0, 2, 1, 64], &v4))),
        (
            "mpls pseudowire",
            e,
            ethernet(0x8847, &join(&[0, 2, 1, 64, 0, 0, 0, 0], &frame)),
        ),
        (
            "mpls ethernet",
            e,
            ethernet(0x8848, &join(&[0, 2, 1, 64], &join(&[0x10; 12], &frame[12..]))),
        ),
        (
            "pppoe",
            e,
            ethernet(0x8864, &join(&[0x11, 0, 0, 1, 0, 99, 0, 0x21], &v4)),
        ),
        (
            "pppoe v6",
            e,
            ethernet(0x8864, &join(&[0x11, 0, 0, 1, 0, 99, 0, 0x57], &v6)),
        ),
        (
            "sll",
            LinkType::LINUX_SLL,
            join(&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], &v4),
        ),
        (
            "sll2",
            LinkType::LINUX_SLL2,
            join(&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], &v4),
        ),
        ("null little", LinkType::NULL, join(&[2, 0, 0, 0], &v4)),
        ("null big", LinkType::NULL, join(&[0, 0, 0, 30], &v6)),
        ("loop", LinkType::LOOP, join(&[0, 0, 0, 24], &v6)),
        ("raw v4", RAW, v4.clone()),
        ("raw v6", LinkType(12), v6.clone()),
        ("openbsd raw", LinkType(14), v4.clone()),
        ("ipv4", LinkType::IPV4, v4.clone()),
        ("ipv6", LinkType::IPV6, v6.clone()),
        ("ppp", LinkType::PPP, join(&[0xff, 3, 0, 0x21], &v4)),
        ("ppp compressed", LinkType::PPP, join(&[0x21], &v4)),
        ("ipip", RAW, ipv4(4, &v4)),
        ("6in4", RAW, ipv4(41, &v6)),
        ("4in6", RAW, ipv6(4, &v4)),
        ("gre", RAW, in_v4(47, &[0, 0, 8, 0], &v4)),
        (
            "gre with all",
            RAW,
            in_v4(47, &[0xb0, 0, 0x86, 0xdd, 1, 1, 0, 0, 2, 2, 2, 2, 3, 3, 3, 3], &v6),
        ),
        ("nvgre", RAW, in_v4(47, &[0x20, 0, 0x65, 0x58, 0, 0, 9, 0], &frame)),
        (
            "pptp",
            RAW,
            in_v4(
                47,
                &[
                    0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21,
                ],
                &v4,
            ),
        ),
        ("erspan 1", RAW, in_v4(47, &[0, 0, 0x88, 0xbe], &frame)),
        (
            "erspan 2",
            RAW,
            in_v4(
                47,
                &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 1],
                &frame,
            ),
        ),
        (
            "erspan 3",
            RAW,
            in_v4(
                47,
                &[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
                &frame,
            ),
        ),
        ("mpls in ip", RAW, in_v4(137, &[0, 2, 1, 64], &v4)),
        ("vxlan", RAW, ipv4(17, &vxlan)),
        ("vxlan v6", RAW, ipv6(17, &linux_vxlan)),
        ("geneve", RAW, ipv4(17, &geneve)),
        ("geneve ip", RAW, ipv4(17, &geneve_ip)),
        ("ah", RAW, ipv4(51, &authentication)),
        ("ah v6", RAW, ipv6(51, &authentication)),
        ("extensions", RAW, extended),
        ("atomic fragment", RAW, atomic),
    ]
}

#[test]
fn every_encapsulation() {
    for (what, link, data) in encapsulations() {
        assert_segment(what, link, &data, b"hello");
        decode(link, &data, |decoded| {
            let Decoded::Tcp(segment) = decoded else {
                panic!("{what}")
            };
            assert_eq!(segment.options.timestamps, Some((5, 6)), "{what}");
            assert_eq!(segment.ip_id.is_some(), segment.source.addr.is_ipv4(), "{what}");
        });
    }
}

/// A snap length anywhere: before the TCP header it is an issue, behind it the lengths stay those of the wire.
#[test]
fn every_prefix_of_every_encapsulation() {
    for (what, link, data) in encapsulations() {
        // Padding is cut first, and counts for nothing.
        let whole = data.len() - if what == "padding" { 9 } else { 0 };
        for length in 0..whole {
            let decoded = Decoder::new();
            let mut decoder = decoded;
            match decoder.decode(link, &data[..length], data.len() as u32, Timestamp(0)) {
                Decoded::Tcp(segment) => {
                    assert!(length >= whole - 17 - 20, "{what} cut to {length}");
                    assert_eq!((segment.seq, segment.payload_len), (1000, 5), "{what} cut to {length}");
                    assert_eq!(
                        segment.payload,
                        &b"hello"[..(length + 5).saturating_sub(whole)],
                        "{what} cut to {length}"
                    );
                }
                Decoded::Unusable(Issue::HeaderCut) => assert!(length < whole - 17, "{what} cut to {length}"),
                other => panic!("{what} cut to {length}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_not_tcp_is_named() {
    let e = LinkType::ETHERNET;
    let cases = [
        (e, ethernet(0x0806, &[0; 28]), Issue::NotIp),
        (e, ethernet(0x0800, &ipv4(17, &udp(53, b"x"))), Issue::NotTcp),
        (e, ethernet(0x0800, &ipv4(50, &[1; 40])), Issue::Encrypted),
        (e, ethernet(0x0800, &ipv4(17, &udp(4500, &[1; 40]))), Issue::Encrypted),
        (e, ethernet(0x0800, &ipv4(6, &[0; 19])), Issue::Malformed),
        (e, ethernet(0x0800, &ipv4(6, &[0; 20])), Issue::Malformed),
        (e, ethernet(0x0800, &ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0])), Issue::NotTcp),
        (RAW, vec![0x20; 40], Issue::NotIp),
        (RAW, vec![0x44; 40], Issue::Malformed),
        (LinkType(105), vec![0; 60], Issue::UnknownLinkType),
    ];
    for (link, data, issue) in cases {
        assert_eq!(issue_of(link, &data, data.len()), Some(issue));
    }
    let nested = |depth| (0..depth).fold(ipv4(6, &tcp(0x10, &[], b"")), |inner, _| ipv4(4, &inner));
    assert_segment("six tunnels", RAW, &nested(6), b"");
    assert_eq!(issue_of(RAW, &nested(7), nested(7).len()), Some(Issue::TunnelTooDeep));
}

#[test]
fn options() {
    let options = |list: &[u8]| {
        let data = ipv4(6, &tcp(0x12, list, b""));
        match Decoder::new().decode(RAW, &data, data.len() as u32, Timestamp(0)) {
            Decoded::Tcp(segment) => segment.options,
            other => panic!("{other:?}"),
        }
    };
    let syn = options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 20]);
    let none = TcpOptions::default();
    let timestamps = Some((1, 2));
    let expected = TcpOptions {
        mss: Some(1460),
        window_scale: Some(14),
        timestamps,
        sack_permitted: true,
        ..none
    };
    assert_eq!(syn, expected);
    // The acknowledgement is 2000: only a block below it is a D-SACK.
    assert_eq!(
        options(&[1, 1, 5, 10, 0, 0, 3, 0xe8, 0, 0, 7, 0xd0]).sack,
        Some((1000, 2000))
    );
    assert_eq!(options(&[1, 1, 5, 10, 0, 0, 3, 0xe8, 0, 0, 7, 0xd1]).sack, None);
    assert_eq!(options(&[1, 1, 5, 10, 0, 0, 7, 0xd0, 0, 0, 3, 0xe8]).sack, None);
    assert_eq!(options(&[30, 4, 0x20, 0]).mptcp, Some(2));
    // Lengths of 0 or 1, or beyond the list, end it.
    for list in [[3, 0, 7, 0], [3, 1, 7, 0], [1, 3, 3, 7], [3, 9, 7, 0], [1, 1, 1, 3]] {
        let shift = if list == [1, 3, 3, 7] { Some(7) } else { None };
        assert_eq!(
            options(&list),
            TcpOptions {
                window_scale: shift,
                ..none
            }
        );
    }
}

#[test]
fn icmp_errors_quote_eight_bytes() {
    let segment = tcp(0x02, &[], b"");
    let quote_v4 = ipv4(6, &segment)[..28].to_vec();
    let quote_v6 = ipv6(6, &segment)[..48].to_vec();
    let error_v4 = |kind: u8, code: u8, quote: &[u8]| ipv4(1, &[&[kind, code, 0, 0, 0, 0, 5, 0xdc], quote].concat());
    let error_v6 = |kind: u8, code: u8, quote: &[u8]| ipv6(58, &[&[kind, code, 0, 0, 0, 0, 5, 0], quote].concat());
    let cases = [
        (error_v4(3, 1, &quote_v4), IcmpKind::Unreachable),
        (error_v4(3, 3, &quote_v4), IcmpKind::PortUnreachable),
        (error_v4(3, 4, &quote_v4), IcmpKind::TooBig(1500)),
        (error_v4(3, 13, &quote_v4), IcmpKind::Prohibited),
        (error_v4(11, 0, &quote_v4), IcmpKind::TimeExceeded),
        (error_v4(12, 0, &quote_v4), IcmpKind::Other),
        (error_v6(1, 0, &quote_v6), IcmpKind::Unreachable),
        (error_v6(1, 1, &quote_v6), IcmpKind::Prohibited),
        (error_v6(1, 4, &quote_v6), IcmpKind::PortUnreachable),
        (error_v6(2, 0, &quote_v6), IcmpKind::TooBig(1280)),
        (error_v6(3, 0, &quote_v6), IcmpKind::TimeExceeded),
    ];
    for (data, kind) in cases {
        decode(RAW, &data, |decoded| {
            let Decoded::IcmpError(error) = decoded else {
                panic!("{decoded:?}")
            };
            assert_eq!((error.kind, error.seq), (kind, 1000));
            assert_eq!((error.source.port, error.destination.port), (40_000, 80));
            assert_eq!(error.reporter, error.source.addr);
        });
        assert_eq!(
            issue_of(RAW, &data[..data.len() - 1], data.len()),
            Some(Issue::HeaderCut)
        );
    }
    let udp_quote = ipv4(17, &udp(53, b""));
    let data = error_v4(3, 3, &udp_quote);
    assert_eq!(issue_of(RAW, &data, data.len()), Some(Issue::NotTcp));
}

/// The packet in parts of these sizes, of IPv4 or IPv6.
fn parts(v6: bool, id: u16, payload: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut offset = 0;
    let mut parts = Vec::new();
    for size in sizes {
        let end = (offset + size).min(payload.len());
        let more = end < payload.len();
        let part = &payload[offset..end];
        parts.push(if v6 {
            let place = (offset as u16 | u16::from(more)).to_be_bytes();
            ipv6(
                44,
                &[&[6, 0, place[0], place[1], 0, 0][..], &id.to_be_bytes(), part].concat(),
            )
        } else {
            ipv4_part(6, id, (offset / 8) as u16 | if more { 0x2000 } else { 0 }, part)
        });
        offset = end;
    }
    assert_eq!(offset, payload.len());
    parts
}

/// What each packet, in this order, decodes to: the payload of a segment, or an issue; `None` when held.
fn feed(decoder: &mut Decoder, packets: &[&[u8]], now: i64) -> Vec<Option<Result<Vec<u8>, Issue>>> {
    let mut outcomes = Vec::new();
    for packet in packets {
        outcomes.push(match decoder.decode(RAW, packet, packet.len() as u32, Timestamp(now)) {
            Decoded::Held => None,
            Decoded::Tcp(segment) => Some(Ok(segment.payload.to_vec())),
            Decoded::Unusable(issue) => Some(Err(issue)),
            Decoded::IcmpError(error) => panic!("{error:?}"),
        });
    }
    outcomes
}

#[test]
fn fragments_in_every_order() {
    let payload: Vec<u8> = (0..100).collect();
    let segment = tcp(0x18, &TIMESTAMPS, &payload);
    for v6 in [false, true] {
        let parts = parts(v6, 9, &segment, &[8, 64, 200]);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut decoder = Decoder::new();
            let outcomes = feed(&mut decoder, &order.map(|index| &parts[index][..]), 0);
            assert_eq!(outcomes, [None, None, Some(Ok(payload.clone()))]);
            // The same again, as `-i any` sees it.
            let again = feed(&mut decoder, &order.map(|index| &parts[index][..]), 1_000_000);
            assert_eq!(again, vec![Some(Err(Issue::Duplicate)); 3]);
            // Two seconds later it is another packet.
            let later = feed(&mut decoder, &order.map(|index| &parts[index][..]), 2_000_000_000);
            assert_eq!(later[2], Some(Ok(payload.clone())));
            decoder.end();
            assert_eq!(decoder.issues().iter().count(), 0);
        }
    }
}

#[test]
fn fragments_that_overlap_spoil_their_packet() {
    let segment = tcp(0x18, &[], &[7; 100]);
    let parts = parts(false, 9, &segment, &[64, 200]);
    let overlapping = ipv4_part(6, 9, 0x2000 | 7, &[9; 16]);
    let mut decoder = Decoder::new();
    let outcomes = feed(&mut decoder, &[&parts[0], &overlapping, &parts[1]], 0);
    assert_eq!(
        outcomes,
        [None, Some(Err(Issue::Malformed)), Some(Err(Issue::Duplicate))]
    );
    // A copy of one part harms nothing.
    let outcomes = feed(&mut Decoder::new(), &[&parts[0], &parts[0], &parts[1]], 0);
    assert_eq!(outcomes, [None, Some(Err(Issue::Duplicate)), Some(Ok(vec![7; 100]))]);
    // Beyond 65 535 bytes, and a part that is no multiple of 8 but not the last.
    for bad in [ipv4_part(6, 9, 0x1fff, &[1; 16]), ipv4_part(6, 9, 0x2000, &[1; 15])] {
        assert_eq!(issue_of(RAW, &bad, bad.len()), Some(Issue::Malformed));
    }
}

#[test]
fn fragments_age_and_are_bounded() {
    let first = |id| parts(false, id, &tcp(0x18, &[], &[7; 100]), &[64, 200]).swap_remove(0);
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, &[&first(1)], 0), [None]);
    assert_eq!(feed(&mut decoder, &[&first(2)], 31_000_000_000), [None]);
    assert_eq!(
        decoder.issues().iter().collect::<Vec<_>>(),
        [(Issue::FragmentIncomplete, 1)]
    );
    for id in 3..5000 {
        assert_eq!(feed(&mut decoder, &[&first(id)], 31_000_000_000), [None]);
    }
    decoder.end();
    let counted: Vec<_> = decoder.issues().iter().collect();
    assert_eq!(
        counted,
        [
            (Issue::FragmentIncomplete, 1 + 1024),
            (Issue::FragmentsDropped, 4998 - 1024)
        ]
    );
}

#[test]
fn fragments_of_a_tunnel_and_within_it() {
    let inner = parts(false, 3, &tcp(0x18, &[], b"inside"), &[16, 200]);
    let mut decoder = Decoder::new();
    let mut last = None;
    for (id, packet) in inner.iter().enumerate() {
        let sizes = [16, 200];
        let outer = parts(true, id as u16, packet, &sizes).into_iter().map(|mut part| {
            part[40] = 4;
            part
        });
        for part in outer {
            last = feed(&mut decoder, &[&part], 0).pop();
        }
    }
    assert_eq!(last, Some(Some(Ok(b"inside".to_vec()))));
}

/// What the snap length left of fragments: the length is that of the wire, the bytes end at the first gap.
#[test]
fn cut_fragments() {
    let parts = parts(false, 9, &tcp(0x18, &[], &[7; 100]), &[64, 200]);
    let mut decoder = Decoder::new();
    for (part, last) in parts.iter().zip([false, true]) {
        match decoder.decode(RAW, &part[..60], part.len() as u32, Timestamp(0)) {
            Decoded::Held => assert!(!last),
            Decoded::Tcp(segment) => {
                assert_eq!((last, segment.payload_len, segment.payload), (true, 100, &[7; 20][..]))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn segments_above_64_kilobytes() {
    let mut data = ipv4(6, &tcp(0x10, &[], &[5; 40_000]));
    data.extend([5; 40_000]);
    data[2..4].fill(0);
    let frame = ethernet(0x0800, &data);
    match Decoder::new().decode(LinkType::ETHERNET, &frame[..96], frame.len() as u32, Timestamp(0)) {
        Decoded::Tcp(segment) => assert_eq!((segment.payload_len, segment.payload.len()), (80_000, 42)),
        other => panic!("{other:?}"),
    }
}

/// Against etherparse: what it finds to be TCP in a whole, unfragmented packet must come out the same here.
#[test]
fn agrees_with_etherparse_under_mutation() {
    let samples = encapsulations();
    let mut agreed = 0;
    for seed in 0..40_000 {
        let mut random = Random(seed);
        let (what, link, sample) = &samples[seed as usize % samples.len()];
        let mut data = sample.clone();
        if seed >= samples.len() as u64 {
            random.mutate(&mut data);
        }
        let mut decoder = Decoder::new();
        let ours = decoder.decode(*link, &data, data.len() as u32, Timestamp(0));
        let theirs = match *link {
            LinkType::ETHERNET => SlicedPacket::from_ethernet(&data),
            RAW => SlicedPacket::from_ip(&data),
            _ => continue,
        };
        let Ok(SlicedPacket {
            transport: Some(TransportSlice::Tcp(tcp)),
            ..
        }) = theirs
        else {
            continue;
        };
        let Decoded::Tcp(segment) = ours else {
            panic!("seed {seed}, {what}: etherparse finds TCP, we {ours:?}")
        };
        assert_eq!(
            (segment.source.port, segment.destination.port),
            (tcp.source_port(), tcp.destination_port())
        );
        let theirs = (
            tcp.sequence_number(),
            tcp.acknowledgment_number(),
            tcp.window_size(),
            tcp.payload(),
        );
        assert_eq!(
            (segment.seq, segment.ack, segment.window, segment.payload),
            theirs,
            "seed {seed}, {what}"
        );
        let flags = [
            (Flags::FIN, tcp.fin()),
            (Flags::SYN, tcp.syn()),
            (Flags::RST, tcp.rst()),
            (Flags::ACK, tcp.ack()),
        ];
        assert!(
            flags.iter().all(|(flag, set)| segment.flags.has(*flag) == *set),
            "seed {seed}, {what}"
        );
        agreed += 1;
    }
    assert!(agreed > 2000, "only {agreed} packets were compared");
}

/// Random bytes and wild lengths, with one decoder that keeps its fragments: no panic, and no payload beyond the data.
#[test]
fn garbage_is_survived() {
    let links = [0, 1, 9, 12, 14, 50, 101, 108, 113, 228, 229, 276, 105].map(LinkType);
    let samples = encapsulations();
    let mut decoder = Decoder::new();
    for seed in 0..30_000 {
        let mut random = Random(seed);
        let (_, link, sample) = &samples[random.below(samples.len())];
        let mut data = sample.clone();
        let random_link = links[random.below(links.len())];
        let link = if seed % 4 == 0 { random_link } else { *link };
        (0..1 + random.below(3)).for_each(|_| random.mutate(&mut data));
        let original_len = if seed % 3 == 0 {
            random.next() as u32
        } else {
            data.len() as u32
        };
        let now = Timestamp(random.next() as i64);
        if let Decoded::Tcp(segment) = decoder.decode(link, &data, original_len, now) {
            assert!(segment.payload.len() <= segment.payload_len as usize, "seed {seed}");
            assert!(
                !matches!(segment.source.addr, IpAddr::V4(_)) || segment.ip_id.is_some(),
                "seed {seed}"
            );
        }
    }
}
