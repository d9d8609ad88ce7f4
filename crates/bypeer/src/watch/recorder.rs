//! What is kept beside the output: packets of dead connections, and counts for Prometheus.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bypeer_diagnose::{Finding, Hearing};
use bypeer_watch::docket::Counted;
use bypeer_watch::ring::{CaptureFile, LARGEST_FILE, Options, Ring, Written};
use bypeer_wire::{Endpoint, Timestamp};

use super::arguments::Watch;

/// Packets from so long before the end belong to the connection, unless its beginning is known.
const BEFORE: Duration = Duration::from_secs(3600);

/// Writes what the options ask for.
#[derive(Default)]
pub(super) struct Recorder {
    packets: Option<Packets>,
}

struct Packets {
    ring: Ring,
    file: CaptureFile,
    /// Connections whose last packets may still come.
    waiting: VecDeque<Due>,
    connections: u64,
    without: u64,
    full: u64,
}

struct Due {
    at: Instant,
    client: Endpoint,
    server: Endpoint,
    since: Timestamp,
    comment: String,
}

impl Recorder {
    /// Opens what the options ask for. To be called before privileges are given up.
    pub(super) fn of(arguments: &Watch) -> anyhow::Result<Recorder> {
        let Some(path) = &arguments.write else {
            return Ok(Recorder::default());
        };
        let options = Options {
            ports: arguments.port.clone(),
            payload: arguments.payload,
            ..Options::default()
        };
        let ring = Ring::start(&options)?;
        let file = CaptureFile::create(path, &options, LARGEST_FILE)?;
        Ok(Recorder {
            packets: Some(Packets {
                ring,
                file,
                waiting: VecDeque::new(),
                connections: 0,
                without: 0,
                full: 0,
            }),
        })
    }

    /// A connection died.
    pub(super) fn note(&mut self, hearing: &Hearing, finding: Option<&Finding>) {
        let Some(packets) = &mut self.packets else { return };
        let ended = hearing.deciding.at;
        let before = i64::try_from(BEFORE.as_nanos()).unwrap_or(i64::MAX);
        packets.waiting.push_back(Due {
            at: Instant::now() + bypeer_watch::ring::LATE,
            client: hearing.client,
            server: hearing.server,
            since: hearing.opened.unwrap_or(Timestamp(ended.0.saturating_sub(before))),
            comment: comment(hearing, finding),
        });
    }

    /// Writes what is due; all with `true`.
    pub(super) fn write(&mut self, all: bool) -> anyhow::Result<()> {
        let Some(packets) = &mut self.packets else {
            return Ok(());
        };
        let now = Instant::now();
        while let Some(due) = packets.waiting.front() {
            if !all && due.at > now {
                break;
            }
            let Some(due) = packets.waiting.pop_front() else { break };
            let found = packets.ring.packets_of(due.client, due.server, due.since);
            match packets.file.add(&found, &due.comment)? {
                Written::Packets(_) => packets.connections += 1,
                Written::NoPackets => packets.without += 1,
                Written::Full => packets.full += 1,
            }
        }
        Ok(())
    }

    /// Takes the counts of the moment.
    pub(super) fn counted(&mut self, _: &Counted, _: &[(&'static str, u64)]) {}

    /// The last of it, and what there is to say about it.
    pub(super) fn end(&mut self) -> anyhow::Result<Vec<String>> {
        if self.packets.is_some() {
            std::thread::sleep(bypeer_watch::ring::LATE);
        }
        self.write(true)?;
        let Some(packets) = &self.packets else {
            return Ok(Vec::new());
        };
        let mut notes = vec![format!(
            "packets of {} connections were written ({} bytes)",
            packets.connections,
            packets.file.written()
        )];
        if packets.without > 0 {
            notes.push(format!(
                "of {} connections no packet was seen: they are of other network namespaces, or older than the watch",
                packets.without
            ));
        }
        if packets.full > 0 {
            notes.push(format!("the file was full: {} connections are not in it", packets.full));
        }
        let counts = packets.ring.counts();
        if counts.dropped > 0 {
            notes.push(format!("{} packets came too fast to be kept", counts.dropped));
        }
        if let Some(error) = packets.ring.failure() {
            notes.push(format!("packets were no longer recorded: {error}"));
        }
        Ok(notes)
    }
}

/// What Wireshark shows beside the connection's last packet.
fn comment(hearing: &Hearing, finding: Option<&Finding>) -> String {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let mut text = match finding {
        Some(finding) => format!(
            "bypeer: {} {}: {}",
            finding.confidence, finding.cause.id, finding.verdict
        ),
        None => "bypeer: it ended in a way that no cause describes".to_owned(),
    };
    if let Some(reason) = &by.reason {
        text.push_str(&format!("\nkernel's reason: {reason}"));
    }
    if let Some(actor) = &by.actor {
        let call = actor
            .call
            .as_deref()
            .map_or_else(String::new, |call| format!(", {call}"));
        text.push_str(&format!("\nprocess: {} (pid {}){call}", actor.name, actor.pid));
    }
    text
}
