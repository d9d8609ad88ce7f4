//! What became of the probe's own connections that died: its packets, where they may be recorded, judged as `explain` judges a capture.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bypeer_diagnose::{Finding, decide_heard};
use bypeer_probe::Card;
use bypeer_probe::connection::Log;
use bypeer_probe::story::hearings;
use bypeer_probe::target::{Place, Scheme, Target};
use bypeer_watch::ring::{CaptureFile, LARGEST_FILE, Options, Packet, Prepared, Ring};
use bypeer_wire::capture::{Frame, LinkType};
use bypeer_wire::{Endpoint, PacketRef, Timestamp};

use crate::engine::Engine;
use crate::selection::Selection;

/// Packets of one connection that are kept: a large upload over a link of 1500 bytes has some thousands.
const PACKETS: usize = 16_384;
/// Bytes of packets in all.
const BYTES: usize = 192 << 20;
/// The ring's thread may lag behind so much.
const SETTLE: Duration = Duration::from_millis(300);

/// Records the probe's packets.
pub(super) struct Recording {
    ring: Option<Ring>,
    options: Options,
    /// Why there is no recording.
    pub(super) why_not: Option<String>,
}

/// What the packets showed.
#[derive(Default)]
pub(super) struct Stories {
    /// Findings about the probe's connections, with the check that opened each.
    pub(super) findings: Vec<(&'static str, Finding)>,
    /// Packets written to a file.
    pub(super) written: usize,
}

impl Recording {
    /// Begins to record, where that is allowed.
    pub(super) fn start(target: &Target) -> Recording {
        let mut options = Options {
            payload: true,
            packets_per_connection: PACKETS,
            bytes: BYTES,
            ..Options::default()
        };
        let Place::Tcp(addresses) = &target.place else {
            return Recording {
                ring: None,
                options,
                why_not: Some("a unix socket has no packets".to_owned()),
            };
        };
        options.ports = addresses.iter().map(|address| address.port()).collect();
        options.ports.dedup();
        match Prepared::open(&options).and_then(Prepared::start) {
            Ok(ring) => Recording {
                ring: Some(ring),
                options,
                why_not: None,
            },
            Err(error) => Recording {
                ring: None,
                options,
                why_not: Some(error.to_string()),
            },
        }
    }

    /// Judges the connections that are over, and writes their packets where wanted.
    pub(super) fn judge(self, card: &Card, write: Option<&Path>) -> anyhow::Result<Stories> {
        let Some(ring) = self.ring else {
            return Ok(Stories {
                findings: of_sockets(card),
                ..Stories::default()
            });
        };
        std::thread::sleep(SETTLE);
        let mut stories = Stories::default();
        let mut opened_by: HashMap<Endpoint, &'static str> = HashMap::new();
        let mut packets: Vec<Packet> = Vec::new();
        for log in &card.logs {
            let (Some(local), Some(remote)) = (log.local, log.remote) else {
                continue;
            };
            let (local, remote) = (endpoint(local), endpoint(remote));
            packets.extend(ring.packets_of(local, remote, began(card, log)));
            opened_by.insert(local, log.check);
        }
        packets.sort_by_key(|packet| packet.time);
        // A connection's packets are asked for once for each time that its addresses were used.
        packets.dedup();
        if let Some(path) = write {
            let mut file = CaptureFile::create(path, &self.options, LARGEST_FILE)?;
            file.add(&packets, &format!("bypeer probe {}", card.target))?;
            stories.written = packets.len();
        }
        // Under TLS packets do not tell where requests end, and what the checks sent is odd on purpose: the sockets know what they had.
        if card.target.scheme == Scheme::Https {
            stories.findings = of_sockets(card);
            return Ok(stories);
        }
        let mut engine = Engine::new(Selection::default(), false);
        for (number, packet) in packets.iter().enumerate() {
            engine.frame(&Frame {
                at: PacketRef {
                    number: number as u64 + 1,
                    time: packet.time,
                },
                interface: 0,
                link: LinkType::RAW_DLT,
                data: &packet.bytes,
                original_len: packet.original_len,
            });
        }
        for finding in engine.finish().findings {
            if let (false, Some(check)) = (finding.harmless, opened_by.get(&finding.client)) {
                stories.findings.push((check, finding));
            }
        }
        Ok(stories)
    }
}

/// What this end's sockets tell of the connections that died.
fn of_sockets(card: &Card) -> Vec<(&'static str, Finding)> {
    let heard = hearings(card).into_iter();
    let findings = heard.filter_map(|(check, hearing)| Some((check, decide_heard(&hearing)?)));
    findings.filter(|(_, finding)| !finding.harmless).collect()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        addr: address.ip().to_canonical(),
        port: address.port(),
    }
}

/// Wall-clock time of the connection's beginning, a little earlier.
fn began(card: &Card, log: &Log) -> Timestamp {
    let at = card.began + log.began.saturating_duration_since(card.clock);
    let at = at
        .checked_sub(Duration::from_millis(50))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
