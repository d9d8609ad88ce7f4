//! What is kept beside the output: packets of dead connections, and counts for Prometheus.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bypeer_diagnose::{Finding, Hearing};
use bypeer_report::{Metrics, packet_comment};
use bypeer_watch::docket::Counted;
use bypeer_watch::metrics::MetricsServer;
use bypeer_watch::ring::{CaptureFile, LARGEST_FILE, Options, Prepared, Ring, Written};
use bypeer_wire::{Endpoint, Timestamp};

use super::arguments::Watch;
use super::session::Lost;

/// Packets from so long before the end belong to the connection, unless its beginning is known.
const BEFORE: Duration = Duration::from_secs(3600);

/// Writes what the options ask for.
#[derive(Default)]
pub(super) struct Recorder {
    packets: Option<Packets>,
    metrics: Option<Served>,
}

/// Counts, and who hands them out.
struct Served {
    metrics: Arc<Metrics>,
    _server: MetricsServer,
    told: Counted,
    /// When the counts were last asked for.
    asked: Option<Instant>,
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

/// What was opened while there were privileges.
#[derive(Default)]
pub(super) struct Opened {
    packets: Option<(Prepared, CaptureFile)>,
    metrics: Option<SocketAddr>,
}

impl Opened {
    /// Opens what the options ask for.
    pub(super) fn of(arguments: &Watch) -> anyhow::Result<Opened> {
        let packets = match &arguments.write {
            None => None,
            Some(path) => {
                let options = Options {
                    ports: arguments.port.clone(),
                    payload: arguments.payload,
                    ..Options::default()
                };
                let prepared = Prepared::open(&options)?;
                Some((prepared, CaptureFile::create(path, &options, LARGEST_FILE)?))
            }
        };
        Ok(Opened {
            packets,
            metrics: arguments.metrics,
        })
    }

    /// Begins, now that there may be threads.
    pub(super) fn start(self, source: &str) -> anyhow::Result<Recorder> {
        let packets = match self.packets {
            None => None,
            Some((prepared, file)) => Some(Packets {
                ring: prepared.start()?,
                file,
                waiting: VecDeque::new(),
                connections: 0,
                without: 0,
                full: 0,
            }),
        };
        let metrics = match self.metrics {
            None => None,
            Some(address) => {
                let metrics = Arc::new(Metrics::new(source, env!("CARGO_PKG_VERSION")));
                let rendered = Arc::clone(&metrics);
                let server = MetricsServer::start(address, Metrics::CONTENT_TYPE, move || rendered.render())?;
                eprintln!("counts are at http://{}/metrics", server.address());
                Some(Served {
                    metrics,
                    _server: server,
                    told: Counted::default(),
                    asked: None,
                })
            }
        };
        Ok(Recorder { packets, metrics })
    }
}

impl Recorder {
    /// A connection died.
    pub(super) fn note(&mut self, hearing: &Hearing, finding: Option<&Finding>) {
        if let (Some(served), Some(finding)) = (&self.metrics, finding) {
            served.metrics.finding(finding);
        }
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

    /// Whether packets wait to be written.
    pub(super) fn is_waiting(&self) -> bool {
        self.packets.as_ref().is_some_and(|packets| !packets.waiting.is_empty())
    }

    /// Whether it is time to tell it the counts of the moment: asking the kernel for them is not free.
    pub(super) fn wants_counts(&mut self) -> bool {
        const EVERY: Duration = Duration::from_secs(1);
        let Some(served) = &mut self.metrics else { return false };
        let is_due = served.asked.is_none_or(|asked| asked.elapsed() >= EVERY);
        if is_due {
            served.asked = Some(Instant::now());
        }
        is_due
    }

    /// Takes the counts of the moment.
    pub(super) fn counted(&mut self, counted: &Counted, lost: &Lost) {
        let Some(served) = &mut self.metrics else { return };
        let times = |now: u64, before: u64, count: &dyn Fn(&Metrics)| {
            for _ in before..now {
                count(&served.metrics);
            }
        };
        times(counted.resets_sent, served.told.resets_sent, &Metrics::reset_sent);
        times(
            counted.resets_received,
            served.told.resets_received,
            &Metrics::reset_received,
        );
        times(counted.failures, served.told.failures, &Metrics::connection_failed);
        served.told = *counted;
        served.metrics.set_events_lost(lost.events);
        served.metrics.set_stacks_left_out(lost.stacks);
    }

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
    let process = by.actor.as_ref().map(|actor| {
        let call = actor
            .call
            .as_deref()
            .map_or_else(String::new, |call| format!(", {call}"));
        format!("{} (pid {}){call}", actor.name, actor.pid)
    });
    match finding {
        Some(finding) => packet_comment(finding, process.as_deref()),
        None => "bypeer: it ended in a way that no cause describes".to_owned(),
    }
}
