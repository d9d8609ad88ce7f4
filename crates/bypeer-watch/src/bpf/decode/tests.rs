use std::net::SocketAddr;

use super::*;

/// Writes what the kernel part would.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn u8(mut self, value: u8) -> Record {
        self.0.push(value);
        self
    }
    fn u16(mut self, value: u16) -> Record {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Record {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Record {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn bytes(mut self, bytes: &[u8], room: usize) -> Record {
        self.0.extend(bytes);
        self.0.extend(vec![0xee; room - bytes.len()]);
        self
    }
    fn address(self, text: &str) -> Record {
        let mapped = match text.parse().unwrap() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.bytes(&mapped.octets(), 16)
    }
    /// Numbers that tell where they stand, from `first` on.
    fn count_u32(self, first: u32, count: u32) -> Record {
        (first..first + count).fold(self, Record::u32)
    }
    fn count_u64(self, first: u64, count: u64) -> Record {
        (first..first + count).fold(self, Record::u64)
    }
    fn ends(self) -> Record {
        self.address("10.0.0.1")
            .address("2001:db8::2")
            .u16(80)
            .u16(4000)
            .u32(77)
    }
    fn task(self, pid: u32) -> Record {
        let ids = self.u32(pid).u32(pid + 1).u32(1000).u32(1);
        let call = ids.u64(u64::MAX).count_u64(5, 3);
        call.u32(1).u32(9).u64(123).u64(456).bytes(b"server\0", 16)
    }
    fn closing(self) -> Record {
        self.count_u64(20, 4)
            .u32(24)
            .u32(25)
            .u32(26)
            .u32(1)
            .u32(4)
            .u32(27)
            .task(300)
    }
    fn user(self, length: u32) -> Record {
        self.u64(1).u64(2).u64(3).u32(2).u32(length).count_u64(100, 24)
    }
}

/// An event with every part, `deeds` of them recorded.
fn record(deeds: u32) -> Vec<u8> {
    let event = Record::default()
        .u32(0)
        .u16(4)
        .u16(0x1ff)
        .u64(10)
        .u64(11)
        .u64(12)
        .ends()
        .u32(14)
        .u32(7)
        .task(200);
    let tcp = event.count_u32(30, 8).count_u64(38, 5).count_u32(43, 12);
    let segment = tcp
        .address("10.0.0.3")
        .address("10.0.0.1")
        .u16(1)
        .u16(2)
        .count_u32(60, 3)
        .u16(63)
        .u16(0x112)
        .u32(0);
    let stacks = segment.closing().user(3).u32(1).u32(0).count_u64(200, 24);
    let mut history = stacks
        .u64(70)
        .u32(deeds)
        .u32(2)
        .u32(1)
        .u32(2)
        .u32(3)
        .u32(1)
        .u32(4)
        .u32(5)
        .u32(6)
        .u32(0);
    for slot in 0..16u8 {
        history = history
            .u64(u64::from(slot))
            .u64(0x0104)
            .u32(9)
            .u16(8)
            .u8(1 + slot % 4)
            .u8(1);
    }
    let runs = history
        .u64(900)
        .u64(71)
        .u32(4)
        .u32(0)
        .bytes(b"GET ", 512)
        .u64(800)
        .u64(72)
        .u32(9999)
        .u32(0)
        .bytes(b"", 512);
    let stack = runs.bytes(b"stack", 16384);
    let other = stack
        .u64(80)
        .u64(81)
        .ends()
        .u32(8)
        .u32(1)
        .u32(1)
        .u32(0)
        .closing()
        .user(2)
        .bytes(b"stray", 4096);
    let mut bytes = other.0;
    let size = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&size.to_ne_bytes());
    bytes
}

#[test]
fn every_field_is_where_it_should_be() {
    let event = event(&record(3)).unwrap();
    assert_eq!(
        (event.kind, event.at, event.cookie, event.inode),
        (Kind::Swapped, 10, 11, 12)
    );
    let ends: [SocketAddr; 2] = ["10.0.0.1:80".parse().unwrap(), "[2001:db8::2]:4000".parse().unwrap()];
    assert_eq!([event.local.unwrap(), event.remote.unwrap()], ends);
    assert_eq!((event.netns, event.reason, event.state), (77, Some(14), 7));
    let task = &event.task;
    assert_eq!(
        (task.pid, task.tid, task.uid, task.acting, task.call),
        (200, 201, 1000, true, -1)
    );
    assert_eq!((task.arguments, task.exiting, task.exit_code), ([5, 6, 7], true, 9));
    assert_eq!((task.started, task.cgroup, task.name.as_str()), (123, 456, "server"));
    let tcp = event.tcp.unwrap();
    assert_eq!((tcp.shutdown, tcp.unread, tcp.unsent, tcp.unacked), (30, 35, 36, 37));
    assert_eq!((tcp.linger_ticks, tcp.received, tcp.retransmitted), (38, 39, 42));
    assert_eq!(
        (tcp.round_trip, tcp.waiting, tcp.backlog, tcp.receive_next),
        (44, 52, 53, 54)
    );
    let segment = event.segment.unwrap();
    assert_eq!(segment.source, "10.0.0.3:1".parse().unwrap());
    assert_eq!(
        (segment.seq, segment.ack, segment.len, segment.window, segment.flags),
        (60, 61, 62, 63, 0x12)
    );
    let closing = event.closing.unwrap();
    assert_eq!(
        (closing.at, closing.sent, closing.half, closing.receive_next),
        (20, 23, true, 27)
    );
    assert_eq!((closing.task.pid, &closing.user_stack), (300, &None));
    assert_eq!(event.kernel_stack, [200]);
    let stack = event.user_stack.unwrap();
    assert_eq!(
        (stack.ip, stack.sp, stack.bp, stack.bytes.as_slice()),
        (1, 2, 3, &b"sta"[..])
    );
    assert_eq!(stack.by_frame_pointers, [100, 101]);
    let other = event.other.unwrap();
    assert_eq!(
        (other.cookie, other.read_at, other.descriptor, other.answered),
        (80, 81, 8, true)
    );
    assert_eq!(other.closed_by.unwrap().user_stack.unwrap().bytes, b"st");
    let history = event.history.unwrap();
    assert_eq!((history.first, history.let_go, history.unreadable), (70, 0, 2));
    assert_eq!((history.reader, history.writer), (Some((1, 2, 3)), None));
    assert_eq!(
        (history.read.as_slice(), history.read_total, history.read_at),
        (&b"GET "[..], 900, 71)
    );
    // A length that cannot be is cut to the room there is.
    assert_eq!(
        (history.written.len(), history.written_total, history.written_at),
        (512, 800, 72)
    );
    let deeds: Vec<_> = history.deeds.iter().map(|deed| deed.what).collect();
    assert_eq!(
        deeds,
        [
            RawDeedKind::Read(0x104),
            RawDeedKind::Wrote(0x104),
            RawDeedKind::Arrived(0x104)
        ]
    );
}

#[test]
fn kinds_have_the_numbers_of_the_header() {
    let header = include_str!("../../../bpf/event.h");
    let names = header
        .split_once("enum kind { ")
        .unwrap()
        .1
        .split_once(" };")
        .unwrap()
        .0;
    for (number, name) in names.split(", ").enumerate() {
        let mut bytes = record(3);
        bytes[4..6].copy_from_slice(&u16::try_from(number).unwrap().to_ne_bytes());
        let kind = format!("{:?}", event(&bytes).unwrap().kind).to_uppercase();
        assert_eq!(kind, name.replace('_', ""));
    }
    let mut bytes = record(3);
    bytes[4..6].copy_from_slice(&8u16.to_ne_bytes());
    assert_eq!(event(&bytes).unwrap_err(), DecodeError::Kind(8));
}

#[test]
fn deeds_are_in_order_when_the_oldest_are_gone() {
    for deeds in [16, 17, 21, 32, 35] {
        let history = event(&record(deeds)).unwrap().history.unwrap();
        let oldest = u64::from(deeds % 16);
        let expected: Vec<u64> = (oldest..oldest + 16).map(|slot| slot % 16).collect();
        assert_eq!(
            history.deeds.iter().map(|deed| deed.at).collect::<Vec<_>>(),
            expected,
            "{deeds}"
        );
        assert_eq!(history.let_go, deeds - 16);
    }
}

#[test]
fn no_prefix_of_an_event_is_one() {
    let whole = record(20);
    for end in 0..whole.len() {
        assert!(event(&whole[..end]).is_err(), "{end}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(
        event(&longer).unwrap_err(),
        DecodeError::Size {
            says: whole.len() as u32,
            have: longer.len()
        }
    );
}

#[test]
fn whatever_the_bytes_are_it_does_not_panic() {
    let whole = record(20);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..random() % 40 {
            // Numbers stand before the stack.
            let at = random() as usize % 2500;
            bytes[at] = random() as u8;
        }
        let _ = event(&bytes);
    }
    for length in 0..3000 {
        let bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        let _ = event(&bytes);
    }
}

#[test]
fn the_sizes_are_those_that_the_header_asserts() {
    let header = include_str!("../../../bpf/event.h");
    let size = |name: &str| -> usize {
        let line = header
            .lines()
            .find(|line| line.starts_with(&format!("HAS_SIZE(struct {name},")))
            .unwrap();
        line.split_once(", ").unwrap().1.trim_end_matches(");").parse().unwrap()
    };
    let whole = size("event") + size("history") + STACK + size("other") + STRAY_STACK;
    assert_eq!(record(0).len(), whole);
    for (name, value) in [
        ("FRAMES", FRAMES),
        ("DEEDS", DEEDS),
        ("PAYLOAD", PAYLOAD),
        ("STACK", STACK),
        ("STRAY_STACK", STRAY_STACK),
    ] {
        assert!(header.contains(&format!("#define {name} {value}\n")), "{name}");
    }
}
