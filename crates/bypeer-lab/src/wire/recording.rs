use bypeer_wire::Timestamp;
use bypeer_wire::capture::{PacketDirection, PcapngWriter};

/// Bytes of frames that one round may record.
const MOST_BYTES: usize = 256 << 20;

/// What a round of the wire was.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What each host's interface sent and received, in order of time.
    pub frames: Vec<RecordedFrame>,
    /// Rules that never came to anything, as written: most likely the scenario does not do what it says.
    pub unused_rules: Vec<String>,
    /// Packets that are missing by no rule's doing: not recorded for want of room, dropped where the wire could not hold or
    /// delay more, dropped by the kernel before the wire read them or when it wrote them.
    pub lost: u64,
    /// Packets that were still held or on their way at the end, and were thrown away.
    pub thrown_away: u64,
    /// Packets that `limit` dropped because its queue was full.
    pub limited: u64,
    /// Packets that an address translation had no entry for.
    pub untranslated: u64,
    /// Packets for addresses that no host has.
    pub unroutable: u64,
    /// Bytes in `frames`.
    bytes: usize,
}

/// A frame at a host's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFrame {
    /// When the wire read it from, or wrote it to, the host.
    pub time: Timestamp,
    /// Whose interface.
    pub port: usize,
    /// The host sent it; otherwise it received it.
    pub sent_by_host: bool,
    /// From the Ethernet header on. What a host sent is as the wire read it: its checksums may be incomplete.
    pub bytes: Vec<u8>,
}

impl Recording {
    /// Did any host send, or get, a TCP segment with RST?
    pub fn saw_reset(&self) -> bool {
        self.frames.iter().any(|frame| {
            let ip = frame.bytes.get(14..).unwrap_or_default();
            let header = usize::from(ip.first().copied().unwrap_or_default() & 0x0f) * 4;
            let is_tcp = ip.get(9) == Some(&6);
            is_tcp && ip.get(header + 13).is_some_and(|flags| flags & 0x04 != 0)
        })
    }

    pub(super) fn add(&mut self, frame: RecordedFrame) {
        if self.bytes + frame.bytes.len() > MOST_BYTES {
            self.lost += 1;
            return;
        }
        self.bytes += frame.bytes.len();
        self.frames.push(frame);
    }

    /// All interfaces in one pcapng file, each named after its host. `names` are in the order of the ports.
    pub fn pcapng(&self, names: &[String]) -> Vec<u8> {
        self.write(names, |_| true)
    }

    /// What one host's interface alone saw.
    pub fn pcapng_of(&self, names: &[String], port: usize) -> Vec<u8> {
        self.write(names, |other| other == port)
    }

    fn write(&self, names: &[String], wanted: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut writer = PcapngWriter::new();
        let interfaces: Vec<Option<u32>> = names
            .iter()
            .enumerate()
            .map(|(port, name)| wanted(port).then(|| writer.interface(name, None)))
            .collect();
        for frame in &self.frames {
            let Some(Some(interface)) = interfaces.get(frame.port) else {
                continue;
            };
            let direction = match frame.sent_by_host {
                true => PacketDirection::Outbound,
                false => PacketDirection::Inbound,
            };
            writer.packet(*interface, frame.time, &frame.bytes, direction, None);
        }
        writer.into_bytes()
    }
}
