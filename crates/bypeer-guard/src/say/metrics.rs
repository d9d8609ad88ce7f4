//! Counters for Prometheus. All labels are from fixed tables, or the addresses of `to`: nothing that a client sent is among them. Every series is there
//! from the beginning, at 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bypeer_diagnose::Confidence;
use bypeer_diagnose::causes::CAUSES;
use bypeer_report::prometheus::{header, sample};
use lingering::{Ended, Outcome};

use super::ending::{Ending, failures};
use super::found::Found;
use super::{Change, Why};
use crate::account::Account;
use crate::failure::Failure;
use crate::guard::Figures;
use crate::upstream::{Counters, Event, Shared};
pub use bypeer_report::prometheus::CONTENT_TYPE;

/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const CONFIDENCES: [Confidence; 3] = [Confidence::Undecided, Confidence::Likely, Confidence::Certain];
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// Every type of error of RFC 9209 that the guard gives.
const ERRORS: [&str; 17] = [
    "dns_error",
    "connection_refused",
    "destination_unavailable",
    "destination_ip_unroutable",
    "connection_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "connection_terminated",
    "http_response_timeout",
    "http_response_incomplete",
    "connection_read_timeout",
    "connection_write_timeout",
    "http_protocol_error",
    "http_response_header_section_size",
    "proxy_configuration_error",
    "proxy_internal_error",
];
const CLOSES: [&str; 9] = [
    "eof",
    "byte-bound",
    "idle",
    "deadline",
    "reset",
    "gone",
    "failed",
    "crowded",
    "stopped",
];
const WHYS: [(Why, &str); 13] = [
    (Why::Peer, "peer"),
    (Why::PeerBroke, "peer-broke"),
    (Why::Announced, "announced"),
    (Why::Idle, "idle"),
    (Why::HeadTime, "head-time"),
    (Why::Silence, "silence"),
    (Why::NotHttp, "not-http"),
    (Why::Tls, "tls"),
    (Why::AnswerBroke, "answer-broke"),
    (Why::Tunnel, "tunnel"),
    (Why::TunnelIdle, "tunnel-idle"),
    (Why::DrainEnded, "drain-ended"),
    (Why::Other, "other"),
];

/// What is learned of each server of `to`, which is its label.
pub const LEARNED: [&str; 2] = ["bypeer_guard_learned_idle_seconds", "bypeer_guard_learned_requests"];

/// What happened so far.
#[derive(Debug)]
pub struct Metrics {
    version: &'static str,
    began: SystemTime,
    /// The configuration was taken when it was read last.
    reloaded: AtomicBool,
    /// When it was taken last, in milliseconds since the epoch.
    configured: AtomicU64,
    requests: [AtomicU64; STATUSES.len()],
    endings: [AtomicU64; Ending::ALL.len()],
    refused: AtomicU64,
    failed_tries: [AtomicU64; ERRORS.len()],
    retries: AtomicU64,
    reused: AtomicU64,
    findings: Vec<[AtomicU64; CONFIDENCES.len()]>,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    clients_opened: AtomicU64,
    clients_open: AtomicI64,
    clients_closed: [AtomicU64; WHYS.len()],
    closes: [AtomicU64; CLOSES.len()],
    drained: AtomicU64,
    kept_from_reset: AtomicU64,
    closed_idle: [AtomicU64; 2],
    unsolicited: AtomicU64,
    log_dropped: AtomicU64,
}

impl Metrics {
    /// All zero. `version`: this program's.
    pub fn new(version: &'static str) -> Metrics {
        let began = SystemTime::now();
        Metrics {
            version,
            began,
            reloaded: AtomicBool::new(true),
            configured: AtomicU64::new(millis(began)),
            requests: Default::default(),
            endings: Default::default(),
            refused: AtomicU64::new(0),
            failed_tries: Default::default(),
            retries: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            findings: CAUSES.iter().map(|_| Default::default()).collect(),
            buckets: Default::default(),
            micros: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            clients_opened: AtomicU64::new(0),
            clients_open: AtomicI64::new(0),
            clients_closed: Default::default(),
            closes: Default::default(),
            drained: AtomicU64::new(0),
            kept_from_reset: AtomicU64::new(0),
            closed_idle: Default::default(),
            unsolicited: AtomicU64::new(0),
            log_dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn exchange(&self, account: &Account, found: &[Found], lasted: Duration) {
        let status = account
            .status
            .map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        self.requests[status].fetch_add(1, Relaxed);
        let ending = Ending::of(account);
        if let Some(index) = Ending::ALL.iter().position(|known| *known == ending) {
            self.endings[index].fetch_add(1, Relaxed);
        }
        for (_, failure) in failures(account) {
            self.failed_try(failure);
        }
        // Without a connection nothing was sent.
        let sent = account.attempts.iter().filter(|attempt| attempt.connection > 0);
        self.retries.fetch_add((sent.count() as u64).saturating_sub(1), Relaxed);
        let reused = account
            .attempts
            .iter()
            .filter(|attempt| attempt.requests_before > 0)
            .count();
        self.reused.fetch_add(reused as u64, Relaxed);
        found.iter().for_each(|found| self.finding(found));
        let seconds = lasted.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros
            .fetch_add(u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.request_bytes.fetch_add(account.request_bytes, Relaxed);
        self.response_bytes.fetch_add(account.response_bytes, Relaxed);
    }

    fn failed_try(&self, failure: &Failure) {
        if let Some(index) = ERRORS.iter().position(|error| *error == failure.proxy_error()) {
            self.failed_tries[index].fetch_add(1, Relaxed);
        }
    }

    fn finding(&self, found: &Found) {
        let cause = CAUSES.iter().position(|cause| *cause == found.cause);
        let confidence = CONFIDENCES
            .iter()
            .position(|confidence| *confidence == found.confidence);
        if let (Some(cause), Some(confidence)) = (cause, confidence) {
            self.findings[cause][confidence].fetch_add(1, Relaxed);
        }
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn client(&self, change: Change) {
        match change {
            Change::Opened => {
                self.clients_opened.fetch_add(1, Relaxed);
                self.clients_open.fetch_add(1, Relaxed);
            }
            Change::Closed(why) => {
                self.clients_open.fetch_sub(1, Relaxed);
                let index = WHYS.iter().position(|(known, _)| *known == why);
                self.clients_closed[index.unwrap_or(WHYS.len() - 1)].fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn closed(&self, outcome: &Outcome) {
        let index = match outcome.ended {
            Ended::Eof => 0,
            Ended::ByteBound => 1,
            Ended::Idle => 2,
            Ended::Deadline => 3,
            Ended::Reset => 4,
            Ended::Gone => 5,
            Ended::Crowded => 7,
            Ended::Stopped => 8,
            _ => 6,
        };
        self.closes[index].fetch_add(1, Relaxed);
        self.drained.fetch_add(outcome.drained, Relaxed);
        if outcome.drained > 0 {
            self.kept_from_reset.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn server(&self, event: &Event<'_>) {
        match event {
            Event::ClosedIdle { reset, .. } => self.closed_idle[usize::from(*reset)].fetch_add(1, Relaxed),
            Event::Unsolicited { .. } => self.unsolicited.fetch_add(1, Relaxed),
            _ => 0,
        };
    }

    /// The configuration was read again, and taken or not.
    pub fn reloaded(&self, taken: bool) {
        if taken {
            self.configured.store(millis(SystemTime::now()), Relaxed);
        }
        self.reloaded.store(taken, Relaxed);
    }

    /// Sets how many lines of the log were dropped since the beginning.
    pub(super) fn set_log_dropped(&self, total: u64) {
        self.log_dropped.fetch_max(total, Relaxed);
    }

    /// Exchanges so far.
    pub fn exchanges(&self) -> u64 {
        sum(&self.endings)
    }

    /// Exchanges that ended so, so far.
    pub fn ended(&self, ending: Ending) -> u64 {
        let index = Ending::ALL.iter().position(|known| *known == ending);
        index.map_or(0, |index| self.endings[index].load(Relaxed))
    }

    /// Clients' connections on which bytes came after the last answer, which a plain close would have answered with a reset.
    pub fn kept_from_reset(&self) -> u64 {
        self.kept_from_reset.load(Relaxed)
    }

    /// Idle connections that the server closed, on which no request was.
    pub fn closed_idle(&self) -> u64 {
        sum(&self.closed_idle)
    }

    /// Idle connections that held bytes that no request had asked for.
    pub fn unsolicited(&self) -> u64 {
        self.unsolicited.load(Relaxed)
    }

    /// All of it in Prometheus's text format, with how the guard stands and what it counts of the server.
    pub fn render(&self, guard: Option<(Figures, Arc<Shared>)>) -> String {
        let mut out = String::with_capacity(24 << 10);
        labelled(
            &mut out,
            "bypeer_guard_requests_total",
            "Requests, by the class of the status that the client got.",
            "status",
            STATUSES,
            &self.requests,
        );
        let names = Ending::ALL.map(Ending::name);
        labelled(
            &mut out,
            "bypeer_guard_exchanges_total",
            "Requests, by how they ended.",
            "ending",
            names,
            &self.endings,
        );
        labelled(
            &mut out,
            "bypeer_guard_failed_tries_total",
            "Tries that gave no whole answer, by RFC 9209's type of error.",
            "error",
            ERRORS,
            &self.failed_tries,
        );
        self.render_findings(&mut out);
        self.render_seconds(&mut out);
        labelled(
            &mut out,
            "bypeer_guard_client_connections_closed_total",
            "Connections of clients that are used no more, by why.",
            "why",
            WHYS.map(|(_, name)| name),
            &self.clients_closed,
        );
        labelled(
            &mut out,
            "bypeer_guard_closes_total",
            "Closes of clients' connections, by what ended them.",
            "ended",
            CLOSES,
            &self.closes,
        );
        labelled(
            &mut out,
            "bypeer_guard_server_closed_idle_total",
            "Idle connections that the server closed before a request was sent on them.",
            "by",
            ["fin", "reset"],
            &self.closed_idle,
        );
        header(
            &mut out,
            "bypeer_guard_client_connections",
            "gauge",
            "Connections of clients that are in use or idle.",
        );
        sample(
            &mut out,
            "bypeer_guard_client_connections",
            &[],
            self.clients_open.load(Relaxed).max(0),
        );
        let plain = [
            (
                "bypeer_guard_refused_total",
                "Requests that were refused before they were understood.",
                &self.refused,
            ),
            (
                "bypeer_guard_retries_total",
                "Requests that were sent again.",
                &self.retries,
            ),
            (
                "bypeer_guard_reused_total",
                "Tries on a connection that had been used before.",
                &self.reused,
            ),
            (
                "bypeer_guard_request_bytes_total",
                "Bytes of requests' bodies that were read.",
                &self.request_bytes,
            ),
            (
                "bypeer_guard_response_bytes_total",
                "Bytes of answers' bodies that were handed over.",
                &self.response_bytes,
            ),
            (
                "bypeer_guard_client_connections_opened_total",
                "Connections that clients opened.",
                &self.clients_opened,
            ),
            (
                "bypeer_guard_drained_bytes_total",
                "Bytes of clients that were read and thrown away at a close.",
                &self.drained,
            ),
            (
                "bypeer_guard_closes_kept_from_reset_total",
                "Closes during which bytes came that a plain close would have answered with a reset.",
                &self.kept_from_reset,
            ),
            (
                "bypeer_guard_unsolicited_total",
                "Connections that held bytes that no request had asked for. Each time, the server's connections carry one request each for five minutes.",
                &self.unsolicited,
            ),
            (
                "bypeer_guard_log_lines_dropped_total",
                "Lines of the access log that could not be written.",
                &self.log_dropped,
            ),
        ];
        for (name, help, count) in plain {
            header(&mut out, name, "counter", help);
            sample(&mut out, name, &[], count.load(Relaxed));
        }
        let seconds = |millis: u64| format!("{:.3}", Duration::from_millis(millis).as_secs_f64());
        let gauges = [
            (
                "bypeer_guard_config_last_reload_successful",
                "Whether the configuration was taken when it was read last, at the start or by SIGHUP: 1 or 0.",
                u8::from(self.reloaded.load(Relaxed)).to_string(),
            ),
            (
                "bypeer_guard_config_last_reload_success_timestamp_seconds",
                "When the configuration that is in use was read, in seconds since the epoch.",
                seconds(self.configured.load(Relaxed)),
            ),
            (
                "process_start_time_seconds",
                "When this process began, in seconds since the epoch.",
                seconds(millis(self.began)),
            ),
        ];
        for (name, help, value) in gauges {
            header(&mut out, name, "gauge", help);
            sample(&mut out, name, &[], value);
        }
        if let Some((figures, shared)) = guard {
            render_guard(&mut out, &figures, &shared.counters);
            render_learned(&mut out, &shared);
        }
        header(&mut out, "bypeer_guard_info", "gauge", "What answers: always 1.");
        sample(&mut out, "bypeer_guard_info", &[("version", self.version)], 1);
        out
    }

    fn render_findings(&self, out: &mut String) {
        let name = "bypeer_guard_findings_total";
        header(out, name, "counter", "Findings, by cause and how sure they are.");
        for (cause, counts) in CAUSES.iter().zip(&self.findings) {
            for (confidence, count) in CONFIDENCES.iter().zip(counts) {
                let confidence = confidence.to_string();
                sample(
                    out,
                    name,
                    &[("cause", cause.id), ("confidence", &confidence)],
                    count.load(Relaxed),
                );
            }
        }
    }

    fn render_seconds(&self, out: &mut String) {
        let name = "bypeer_guard_exchange_seconds";
        header(
            out,
            name,
            "histogram",
            "From a request's head to the end of its answer.",
        );
        let mut so_far = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            so_far += count.load(Relaxed);
            let bound = BUCKETS.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            sample(out, "bypeer_guard_exchange_seconds_bucket", &[("le", &bound)], so_far);
        }
        sample(
            out,
            "bypeer_guard_exchange_seconds_sum",
            &[],
            self.micros.load(Relaxed) as f64 / 1e6,
        );
        sample(out, "bypeer_guard_exchange_seconds_count", &[], so_far);
    }
}

/// What the workers and their connections to the server count themselves.
fn render_guard(out: &mut String, figures: &Figures, counters: &Counters) {
    let (opened, closed) = (counters.opened.load(Relaxed), counters.closed.load(Relaxed));
    let lingering: u64 = figures.lingering.iter().map(|counts| counts.lingering).sum();
    let gauges = [
        (
            "bypeer_guard_exchanges_running",
            "Requests that are being answered.",
            figures.exchanges,
        ),
        (
            "bypeer_guard_lingering",
            "Connections of clients that are being closed.",
            lingering,
        ),
        (
            "bypeer_guard_server_connections",
            "Connections to the server.",
            opened.saturating_sub(closed),
        ),
    ];
    for (name, help, value) in gauges {
        header(out, name, "gauge", help);
        sample(out, name, &[], value);
    }
    let name = "bypeer_guard_certificate_expiry_timestamp_seconds";
    header(
        out,
        name,
        "gauge",
        "When the certificate that clients are shown expires, in seconds since the epoch.",
    );
    for (listen, until) in &figures.certificates {
        sample(out, name, &[("listen", &listen.to_string())], until);
    }
    let counts = [
        (
            "bypeer_guard_server_connections_opened_total",
            "Connections to the server that were opened.",
            &counters.opened,
        ),
        (
            "bypeer_guard_server_retired_total",
            "Idle connections that were closed before the server would close them.",
            &counters.retired,
        ),
        (
            "bypeer_guard_retries_over_budget_total",
            "Retries that were allowed but for the budget.",
            &counters.over_budget,
        ),
    ];
    for (name, help, count) in counts {
        header(out, name, "counter", help);
        sample(out, name, &[], count.load(Relaxed));
    }
}

/// What was learned of the server. Absent where nothing was.
fn render_learned(out: &mut String, shared: &Shared) {
    let [name, requests] = LEARNED;
    header(
        out,
        name,
        "gauge",
        "How long the server keeps idle connections, as learned.",
    );
    for (to, habits) in shared.habits() {
        if let Some(idle) = habits.learned_idle() {
            sample(out, name, &[("to", to)], idle.as_secs_f64());
        }
    }
    let name = requests;
    header(
        out,
        name,
        "gauge",
        "How many requests the server allows on a connection, as learned.",
    );
    for (to, habits) in shared.habits() {
        if let Some(requests) = habits.learned_requests() {
            sample(out, name, &[("to", to)], requests);
        }
    }
}

fn labelled<const N: usize>(
    out: &mut String,
    name: &str,
    help: &str,
    label: &str,
    values: [&str; N],
    counts: &[AtomicU64; N],
) {
    header(out, name, "counter", help);
    for (value, count) in values.into_iter().zip(counts) {
        sample(out, name, &[(label, value)], count.load(Relaxed));
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn sum(counts: &[AtomicU64]) -> u64 {
    counts.iter().map(|count| count.load(Relaxed)).sum()
}
