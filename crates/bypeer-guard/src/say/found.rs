//! What an exchange shows of the server, or of its client: the causes of `bypeer explain`, as sure as the guard can be.
//!
//! The guard sees its own sockets: FINs, resets, bytes, and when they came. Where that decides, it says *certain*; where two things leave
//! the same marks on this end, it says *undecided* and names both. Resets are judged by the engine of `explain` and `watch`
//! ([`own_socket`](super::own_socket)).

use std::time::Duration;

use bypeer_diagnose::causes::find;
use bypeer_diagnose::facts::fixes_of_http;
use bypeer_diagnose::{Cause, Confidence, Fix};

use super::ending::{Ending, failures};
use super::own_socket;
use crate::account::{Account, Attempt};
use crate::failure::Failure;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The cause; of an undecided one the first of the candidates.
    pub cause: &'static Cause,
    /// How sure: the promise is that of `explain`.
    pub confidence: Confidence,
    /// What else it can have been. Never empty when undecided.
    pub rivals: Vec<&'static Cause>,
    /// What happened, in one line without addresses.
    pub verdict: String,
    /// The one observation that would decide.
    pub settle: Option<String>,
    /// What to change, by owner.
    pub fixes: Vec<Fix>,
    /// Whose server it was about; `None`: the client's doing.
    pub server: Option<String>,
    /// Whether the client got the whole answer all the same.
    pub saved: bool,
}

/// Right after an answer: no idle limit is as short.
const RIGHT_AFTER: Duration = Duration::from_millis(250);

/// Where the process and the kernel's reason are to be had.
const ON_THE_SERVER: &str =
    "`bypeer watch` on the server's machine: it names the process, the call and the kernel's reason";

/// What an exchange shows. Empty for nearly all. `behind`: the server as it is configured, for failures before there was a connection.
pub fn found(account: &Account, behind: impl Fn() -> String) -> Vec<Found> {
    let ending = Ending::of(account);
    let saved = matches!(ending, Ending::Answered | Ending::Saved(_));
    let mut found = Vec::new();
    for (attempt, failure) in failures(account) {
        let of_server = !matches!(
            failure,
            Failure::ClientGone | Failure::ClientStalled | Failure::Request(_)
        );
        found.extend(of_failure(account, attempt, failure, saved).map(|found| Found {
            server: found.server.or_else(|| of_server.then(&behind)),
            ..found
        }));
    }
    for attempt in &account.attempts {
        if attempt.send_failed && attempt.failure.is_none() && saved {
            found.extend(of_early_answer(account, attempt));
        }
        if attempt.surplus > 0 {
            found.extend(of_surplus(attempt, attempt.surplus, saved));
        }
    }
    found
}

fn of_failure(account: &Account, attempt: Option<&Attempt>, failure: &Failure, saved: bool) -> Option<Found> {
    match failure {
        Failure::Stale { reset: false } => of_stale(account, attempt?, saved),
        Failure::ClosedUnanswered => Some(
            // A worker that ends, by a restart or after so many requests, closes what it had accepted in the same way.
            Draft::of("upstream-no-response-close", Confidence::Undecided, "the server closed a fresh connection without a byte of an answer")
                .or(&["process-killed"])
                .settled_by("the server's log at that moment: an exception, a worker that was stopped, a request it refused in silence")
                .found(account, attempt, saved),
        ),
        Failure::Incomplete { have, expected, reset: false } => {
            let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
            let verdict = format!("the server's answer ended after {have}{of} bytes of its body");
            Some(
                Draft::of("incomplete-response", Confidence::Likely, verdict)
                    .settled_by("the server's log at that moment: an exception in a generator, a worker timeout, a full disk")
                    .found(account, attempt, saved),
            )
        }
        Failure::Unsolicited { bytes } => of_surplus(attempt?, *bytes, saved),
        Failure::ClientGone => Some(
            Draft::of("client-cancel", Confidence::Likely, "the client went away before it had the whole answer").found(account, None, saved),
        ),
        Failure::Refused
        | Failure::ConnectTimeout
        | Failure::Stale { reset: true }
        | Failure::Reset { .. }
        | Failure::Incomplete { reset: true, .. } => own_socket::judge(account, attempt, failure).map(|found| Found { saved, ..found }),
        _ => None,
    }
}

/// A request went on a kept connection, and a FIN came in place of an answer.
fn of_stale(account: &Account, attempt: &Attempt, saved: bool) -> Option<Found> {
    let idle = attempt.idle.unwrap_or_default();
    let draft = if idle < RIGHT_AFTER {
        let verdict = format!(
            "the server closed right after its answer number {}, and the next request met the close",
            attempt.requests_before
        );
        Draft::of("unannounced-close-each-response", Confidence::Undecided, verdict)
            .or(&["proxy-max-requests", "keepalive-race-unannounced-close", "process-killed"])
            .settled_by("whether every connection of this server ends after as many requests: the field requests_before in the log")
    } else if saved && is_a_timer(idle) {
        // That the same request was answered elsewhere refutes that it is what the server closed for, and a restart seldom comes so punctually.
        let verdict = format!(
            "the server closed a connection that had been idle for {} as a request was sent on it",
            words(idle)
        );
        Draft::of("keepalive-race-unannounced-close", Confidence::Likely, verdict)
            .settled_by("whether the server was restarted at that moment: its other connections then ended too")
    } else if saved {
        let verdict = format!(
            "the server closed a connection that had been idle for {} as a request was sent on it",
            words(idle)
        );
        Draft::of("keepalive-race-unannounced-close", Confidence::Undecided, verdict)
            .or(&["process-killed"])
            .settled_by("whether the server was restarted at that moment: its other connections then ended too")
    } else {
        let verdict = format!(
            "the server closed a connection that had been idle for {} and did not answer the request on it",
            words(idle)
        );
        Draft::of("keepalive-race-unannounced-close", Confidence::Undecided, verdict)
            .or(&["upstream-no-response-close", "process-killed"])
            .settled_by("the server's log: whether it saw the request")
    };
    Some(draft.idle(idle).found(account, Some(attempt), saved))
}

/// The server answered before it had the whole request, and no more could be sent: the answer was read all the same.
fn of_early_answer(account: &Account, attempt: &Attempt) -> Option<Found> {
    let status = account.status?.as_u16();
    let draft = if status >= 400 {
        let verdict = format!(
            "the server answered {status} and closed while the request's body was being sent; the answer was read all the same"
        );
        Draft::of("early-error-body-limit", Confidence::Likely, verdict)
    } else {
        let verdict = format!(
            "the server answered {status} and closed before it had taken the whole request; the answer was read all the same"
        );
        Draft::of("unread-request-body", Confidence::Undecided, verdict).or(&["late-data-after-close"])
    };
    Some(draft.settled_by(ON_THE_SERVER).found(account, Some(attempt), true))
}

fn of_surplus(attempt: &Attempt, bytes: usize, saved: bool) -> Option<Found> {
    // On a connection that had carried others, a surplus answer may have been taken for the next request's, and so on.
    let shifted = attempt.requests_before > 0;
    let verdict = match shifted {
        true => format!(
            "the server sent {bytes} bytes that no request had asked for, on a connection that had carried {} others: this answer may have been \
             another request's",
            attempt.requests_before
        ),
        false => format!("the server sent {bytes} bytes that no request had asked for"),
    };
    let cause = find("desync-unsolicited-response")?;
    Some(Found {
        cause,
        confidence: Confidence::Likely,
        rivals: Vec::new(),
        verdict,
        settle: Some("what they are: a capture, or `bypeer probe --only answers-fit`".to_owned()),
        fixes: fixes_of_http(cause.id, None, false, None, None),
        server: Some(attempt.to.to_string()),
        saved: saved && !shifted,
    })
}

/// A finding that is being put together.
struct Draft {
    cause: &'static str,
    confidence: Confidence,
    verdict: String,
    rivals: &'static [&'static str],
    settle: Option<&'static str>,
    idle: Option<Duration>,
}

impl Draft {
    fn of(cause: &'static str, confidence: Confidence, verdict: impl Into<String>) -> Draft {
        Draft {
            cause,
            confidence,
            verdict: verdict.into(),
            rivals: &[],
            settle: None,
            idle: None,
        }
    }

    fn or(mut self, rivals: &'static [&'static str]) -> Draft {
        self.rivals = rivals;
        self
    }

    fn settled_by(mut self, what: &'static str) -> Draft {
        self.settle = Some(what);
        self
    }

    fn idle(mut self, idle: Duration) -> Draft {
        self.idle = Some(idle);
        self
    }

    fn found(self, account: &Account, attempt: Option<&Attempt>, saved: bool) -> Found {
        let cause = find(self.cause).expect("the table of causes has it: a test looks");
        let status = account.status.map(|status| status.as_u16());
        Found {
            cause,
            confidence: self.confidence,
            rivals: self.rivals.iter().filter_map(|id| find(id)).collect(),
            verdict: self.verdict,
            settle: self.settle.map(str::to_owned),
            fixes: match self.confidence {
                Confidence::Undecided => Vec::new(),
                _ => fixes_of_http(cause.id, None, account.request_bytes > 0, status, self.idle),
            },
            server: attempt.map(|attempt| attempt.to.to_string()),
            saved,
        }
    }
}

/// Whether it is a length that people set timers to, whole seconds: one in ten of all lengths is, by chance.
fn is_a_timer(idle: Duration) -> bool {
    const OFF: u32 = 50;
    let beyond = idle.subsec_millis();
    idle >= Duration::from_secs(1) - Duration::from_millis(OFF.into()) && (beyond <= OFF || beyond >= 1000 - OFF)
}

/// A time as in "idle for 5.01 s".
pub(super) fn words(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{} µs", time.as_micros()),
        1..1000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
