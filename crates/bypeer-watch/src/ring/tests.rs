use std::sync::Arc;

use bypeer_wire::capture::{LinkType, PacketDirection};
use bypeer_wire::packet::{Decoded, Decoder};
use bypeer_wire::{Endpoint, Timestamp};

use super::filter::{self, Instruction, LOOPBACK, OUTGOING, WHOLE, op};
use super::head::{Head, untagged};
use super::store::Store;
use super::{Interface, Options, Packet, Ring, RingError};

const ETHERNET: u16 = 1;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A packet as the filter sees it.
#[derive(Clone)]
struct Seen {
    hardware: u16,
    kind: u8,
    protocol: u16,
    bytes: Vec<u8>,
}

fn seen(protocol: u16, bytes: Vec<u8>) -> Seen {
    Seen {
        hardware: ETHERNET,
        kind: 0,
        protocol,
        bytes,
    }
}

fn tcp(ports: [u16; 2], seq: u32, flags: u8, options: usize, payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.extend(seq.to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend([((20 + options) * 4) as u8, flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend(std::iter::repeat_n(1, options));
    bytes.extend(std::iter::repeat_n(b'S', payload));
    bytes
}

fn v4(options: usize, id: u16, tcp: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x40 | ((20 + options) / 4) as u8, 0];
    bytes.extend(((20 + options + tcp.len()) as u16).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend([0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2]);
    bytes.extend(std::iter::repeat_n(1, options));
    bytes.extend(tcp);
    bytes
}

fn v6(extensions: &[(u8, Vec<u8>)], tcp: &[u8]) -> Vec<u8> {
    let length: usize = tcp.len() + extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend([extensions.first().map_or(6, |(kind, _)| *kind), 64]);
    bytes.extend([[0; 15].as_slice(), &[1]].concat().repeat(2));
    for (index, (_, extension)) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(6, |(kind, _)| *kind);
        bytes.push(next);
        bytes.extend(&extension[1..]);
    }
    bytes.extend(tcp);
    bytes
}

/// Packets of every shape that matters, and how many bytes of headers each has; `None` for those that nobody wants.
fn shapes() -> Vec<(&'static str, Seen, Option<usize>)> {
    let segment = tcp([40000, 80], 1, 0x18, 12, 100);
    let mut later_fragment = v4(0, 9, &segment);
    later_fragment[7] = 1;
    let mut udp = v4(0, 9, &segment);
    udp[9] = 17;
    let tagged = |bytes: Vec<u8>, kind: u16| [[0, 100].as_slice(), &kind.to_be_bytes(), &bytes].concat();
    let padded = [v4(0, 9, &tcp([40000, 80], 1, 0x10, 0, 0)), vec![0; 6]].concat();
    let hop_by_hop = (0, vec![0; 8]);
    let fragment = |offset: u8| (44, vec![0, 0, 0, offset, 0, 0, 0, 1]);
    let mut loopback = seen(IPV4, v4(0, 9, &segment));
    loopback.hardware = LOOPBACK;
    let mut outgoing = loopback.clone();
    outgoing.kind = OUTGOING;
    let mut other_outgoing = seen(IPV4, v4(0, 9, &segment));
    other_outgoing.kind = OUTGOING;
    vec![
        ("v4", seen(IPV4, v4(0, 9, &segment)), Some(52)),
        ("v4 going out", other_outgoing, Some(52)),
        ("v4 with options", seen(IPV4, v4(8, 9, &segment)), Some(60)),
        ("v4 padded", seen(IPV4, padded), Some(40)),
        (
            "v4 first fragment",
            seen(IPV4, {
                let mut bytes = v4(0, 9, &segment);
                bytes[6] = 0x20;
                bytes
            }),
            Some(52),
        ),
        ("v4 later fragment", seen(IPV4, later_fragment), None),
        ("udp", seen(IPV4, udp), None),
        ("v6", seen(IPV6, v6(&[], &segment)), Some(72)),
        (
            "v6 behind hop-by-hop",
            seen(IPV6, v6(std::slice::from_ref(&hop_by_hop), &segment)),
            Some(80),
        ),
        (
            "v6 first fragment",
            seen(IPV6, v6(&[hop_by_hop, fragment(0)], &segment)),
            Some(88),
        ),
        ("v6 later fragment", seen(IPV6, v6(&[fragment(8)], &segment)), None),
        ("v6 no next header", seen(IPV6, v6(&[(59, vec![0; 8])], &segment)), None),
        ("tag outside", seen(0x8100, v4(0, 9, &segment)), Some(52)),
        (
            "tag inside, v4",
            seen(0x8100, tagged(v4(0, 9, &segment), IPV4)),
            Some(52),
        ),
        (
            "tag inside, v6",
            seen(0x88a8, tagged(v6(&[], &segment), IPV6)),
            Some(72),
        ),
        // Total length 2048 is where a tag has its EtherType 0x0800.
        (
            "tag outside, looks inside",
            seen(0x8100, v4(0, 9, &tcp([40000, 80], 1, 0x18, 12, 2048 - 52))),
            Some(52),
        ),
        ("loopback", loopback, Some(52)),
        ("loopback's other copy", outgoing, None),
        ("arp", seen(0x0806, vec![0, 1, 8, 0, 6, 4, 0, 1]), None),
        ("nothing", seen(IPV4, Vec::new()), None),
    ]
}

/// What the kernel would keep of a packet: classic BPF, as far as the filter uses it.
fn run(program: &[Instruction], seen: &Seen) -> u32 {
    let load = |at: u32, size: usize| -> Option<u32> {
        match at.wrapping_sub(-0x1000_i32 as u32) {
            0 => return Some(seen.protocol.into()),
            4 => return Some(seen.kind.into()),
            28 => return Some(seen.hardware.into()),
            _ => {}
        }
        let bytes = seen.bytes.get(at as usize..at as usize + size)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    };
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0; 16], 0);
    loop {
        let (code, jump_true, jump_false, k) = program[at];
        at += 1;
        let loaded = match code {
            op::LD_W_ABS => load(k, 4),
            op::LD_H_ABS => load(k, 2),
            op::LD_B_ABS => load(k, 1),
            op::LD_H_IND => load(x.wrapping_add(k), 2),
            op::LD_B_IND => load(x.wrapping_add(k), 1),
            op::LD_IMM => Some(k),
            op::LD_MEM => Some(memory[k as usize]),
            op::TXA => Some(x),
            op::ADD_K => Some(a.wrapping_add(k)),
            op::ADD_X => Some(a.wrapping_add(x)),
            op::AND_K => Some(a & k),
            op::LSH_K => Some(a << k),
            op::RSH_K => Some(a >> k),
            _ => Some(a),
        };
        // A load from outside of the packet ends the program: not kept.
        let Some(loaded) = loaded else { return 0 };
        a = loaded;
        match code {
            op::LDX_IMM => x = k,
            op::TAX => x = a,
            op::ST => memory[k as usize] = a,
            op::JA => at += k as usize,
            op::JEQ_K => at += usize::from(if a == k { jump_true } else { jump_false }),
            op::JSET_K => at += usize::from(if a & k != 0 { jump_true } else { jump_false }),
            op::RET_K => return k,
            op::RET_A => return a,
            _ => {}
        }
    }
}

#[test]
fn the_filter_keeps_headers_of_tcp_alone() {
    let program = filter::instructions(&Options::default());
    for (name, seen, headers) in shapes() {
        let kept = run(&program, &seen);
        let tag = seen.bytes.len() - untagged(seen.protocol, &seen.bytes).len();
        match headers {
            // Behind extension headers the filter does not look.
            _ if name.starts_with("v6 ") && kept == WHOLE => {}
            Some(headers) => assert_eq!(kept as usize, headers + tag, "{name}"),
            None => assert_eq!(kept, 0, "{name}"),
        }
    }
}

#[test]
fn the_filter_keeps_payload_that_is_asked_for() {
    let options = Options {
        payload: true,
        ..Options::default()
    };
    let program = filter::instructions(&options);
    for (name, seen, headers) in shapes() {
        let kept = run(&program, &seen) as usize;
        assert_eq!(
            kept >= seen.bytes.len().max(1),
            headers.is_some() || (name.starts_with("v6 later")),
            "{name}"
        );
    }
}

#[test]
fn the_filter_lets_the_wanted_ports_pass() {
    let many = (1..=100).chain([40000]).collect();
    for (ports, expected) in [
        (vec![80], true),
        (vec![1, 40000], true),
        (vec![81, 443], false),
        (many, true),
    ] {
        let options = Options {
            ports: ports.clone(),
            ..Options::default()
        };
        let program = filter::instructions(&options);
        assert!(program.len() < 4096);
        for (name, seen, headers) in shapes() {
            if headers.is_some() && run(&program, &seen) != WHOLE {
                assert_eq!(run(&program, &seen) > 0, expected, "{name} {ports:?}");
            }
        }
    }
}

#[test]
fn a_packet_whose_header_knows_no_length_is_not_cut() {
    let mut large = v4(0, 9, &tcp([40000, 80], 1, 0x18, 12, 100));
    large[2..4].fill(0);
    let program = filter::instructions(&Options::default());
    assert!(run(&program, &seen(IPV4, large.clone())) >= WHOLE);
    assert_eq!(Head::parse(&large).unwrap().total, None);
}

#[test]
fn headers_are_read_as_the_decoder_reads_them() {
    for (name, seen, headers) in shapes() {
        let bytes = untagged(seen.protocol, &seen.bytes);
        let head = Head::parse(bytes);
        let is_copy = name.contains("other copy");
        assert_eq!(head.map(|head| head.len), headers.or(is_copy.then_some(52)), "{name}");
        let Some(head) = head.filter(|_| !name.contains("fragment")) else {
            continue;
        };
        let mut decoder = Decoder::new();
        let Decoded::Tcp(segment) = decoder.decode(LinkType::RAW, bytes, bytes.len() as u32, Timestamp(0)) else {
            panic!("{name}");
        };
        assert_eq!(
            (segment.source, segment.destination),
            (head.source, head.destination),
            "{name}"
        );
        assert_eq!((segment.seq, segment.flags.0), (head.seq, head.flags), "{name}");
        assert_eq!(head.total.unwrap(), head.len + segment.payload_len as usize, "{name}");
    }
}

#[test]
fn no_packet_however_cut_or_damaged_panics() {
    for (_, seen, _) in shapes() {
        for end in 0..seen.bytes.len() {
            let _ = Head::parse(untagged(seen.protocol, &seen.bytes[..end]));
        }
        for at in 0..seen.bytes.len().min(80) {
            for value in [0, 0x0f, 0x7f, 0xff] {
                let mut bytes = seen.bytes.clone();
                bytes[at] = value;
                if let Some(head) = Head::parse(&bytes) {
                    assert!(head.len <= bytes.len() && head.total.is_none_or(|total| total >= head.len));
                }
            }
        }
    }
}

/// Pushes a packet of a client's port into a store.
fn push(store: &mut Store, time: i64, port: u16, flags: u8, seq: u32, interface: &Arc<Interface>) {
    let bytes = v4(0, 0, &tcp([port, 80], seq, flags, 0, 0));
    let packet = Packet {
        time: Timestamp(time),
        interface: Arc::clone(interface),
        direction: PacketDirection::Inbound,
        original_len: bytes.len() as u32,
        bytes: bytes.clone().into(),
    };
    store.push(&Head::parse(&bytes).unwrap(), packet);
}

fn interface(index: u32) -> Arc<Interface> {
    Arc::new(Interface {
        index,
        name: format!("eth{index}"),
    })
}

fn client(port: u16) -> Endpoint {
    Endpoint {
        addr: [127, 0, 0, 1].into(),
        port,
    }
}

fn server() -> Endpoint {
    Endpoint {
        addr: [127, 0, 0, 2].into(),
        port: 80,
    }
}

fn times(store: &Store, port: u16, since: i64) -> Vec<i64> {
    let packets = store.packets_of(server(), client(port), Timestamp(since));
    packets.iter().map(|packet| packet.time.0).collect()
}

#[test]
fn a_connection_keeps_its_last_packets_and_its_opening() {
    let options = Options {
        packets_per_connection: 4,
        ..Options::default()
    };
    let (mut store, eth) = (Store::new(&options), interface(1));
    push(&mut store, 0, 1000, 0x02, 100, &eth);
    for time in 1..=10 {
        push(&mut store, time, 1000, 0x10, 101, &eth);
    }
    assert_eq!(times(&store, 1000, 0), [0, 7, 8, 9, 10]);
    assert_eq!(times(&store, 1000, 9), [9, 10]);
    assert_eq!(times(&store, 1001, 0), [0; 0]);
    // The same two ends again: what opened the first connection goes when the second one's opening takes its place.
    push(&mut store, 11, 1000, 0x02, 900, &eth);
    for time in 12..=20 {
        push(&mut store, time, 1000, 0x10, 901, &eth);
    }
    assert_eq!(times(&store, 1000, 0), [11, 17, 18, 19, 20]);
}

#[test]
fn a_flood_of_syns_is_bounded() {
    let options = Options {
        packets_per_connection: 4,
        ..Options::default()
    };
    let (mut store, eth) = (Store::new(&options), interface(1));
    for time in 0..100 {
        push(&mut store, time, 1000, 0x02, 100, &eth);
    }
    assert_eq!(times(&store, 1000, 0).len(), 8);
}

#[test]
fn the_connection_silent_the_longest_goes_first() {
    let options = Options {
        bytes: 3000,
        packets_per_connection: 2,
        ..Options::default()
    };
    let (mut store, eth) = (Store::new(&options), interface(1));
    // Connection 1 speaks again each time before another one begins.
    for port in 2..50 {
        push(&mut store, 0, 1, 0x10, 1, &eth);
        push(&mut store, 1, port, 0x10, 1, &eth);
        assert!(!times(&store, 1, 0).is_empty() && !times(&store, port, 0).is_empty());
    }
    assert!(times(&store, 2, 0).is_empty());
    assert!(store.counts().connections_let_go > 40);
}

#[test]
fn the_bytes_kept_are_bounded_and_add_up() {
    let options = Options {
        bytes: 20_000,
        packets_per_connection: 8,
        ..Options::default()
    };
    let (mut store, eth) = (Store::new(&options), interface(1));
    let mut random = 1_u32;
    for time in 0..20_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let flags = if random >> 29 == 0 { 0x02 } else { 0x10 };
        push(&mut store, time, (random >> 24) as u16, flags, random >> 20, &eth);
        assert_eq!(store.bytes(), store.recount());
        assert!(store.bytes() <= 20_000);
    }
    let nothing = Options { bytes: 0, ..options };
    let mut store = Store::new(&nothing);
    push(&mut store, 0, 1, 0x10, 1, &eth);
    assert_eq!((store.bytes(), store.recount()), (0, 0));
}

#[test]
fn a_copy_by_another_interface_is_left_out_and_a_repetition_is_not() {
    let (mut store, bridge, port) = (Store::new(&Options::default()), interface(1), interface(2));
    push(&mut store, 1, 1000, 0x10, 5, &bridge);
    push(&mut store, 2, 1000, 0x10, 5, &port);
    push(&mut store, 3, 1000, 0x10, 5, &bridge);
    assert_eq!(times(&store, 1000, 0), [1, 3]);
    assert_eq!(store.counts().copies, 1);
}

#[test]
fn without_the_capability_the_error_says_what_to_do() {
    // Capabilities are a thread's own.
    let outcome = std::thread::spawn(|| {
        let mut held = rustix::thread::capabilities(None).unwrap();
        held.effective.remove(rustix::thread::CapabilitySet::NET_RAW);
        rustix::thread::set_capabilities(None, held).unwrap();
        Ring::start(&Options::default())
    });
    let error = outcome.join().unwrap().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RingError::NotAllowed), "{text}");
    assert!(
        text.contains("CAP_NET_RAW") && text.contains("setcap") && text.contains("--write"),
        "{text}"
    );
}
