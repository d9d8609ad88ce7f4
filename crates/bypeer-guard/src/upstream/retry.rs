//! When a request is sent again.

use std::cell::Cell;

use http::Method;

use super::shared::Burst;
use crate::config;
use crate::failure::Failure;

/// Retries that can be saved up by requests that needed none.
const SAVED_MOST: u32 = 100;

/// RFC 9110, section 9.2.2.
pub fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

/// Whether a request that failed so may be sent once more, on a fresh connection: the server cannot have acted on it, or it does no harm if
/// it did (RFC 9112, section 9.3.1), and another connection may do better.
pub fn may_retry(failure: &Failure, idempotent: bool, unprocessed: bool, reused: bool) -> bool {
    let worth_it = match failure {
        Failure::Stale { .. } | Failure::ClosedUnanswered | Failure::Reset { .. } | Failure::Incomplete { .. } => true,
        Failure::StreamReset(_) | Failure::GoAway(_) | Failure::NoHttp2 => true,
        // On a connection that was used before, what does not fit may belong to another request.
        Failure::Malformed(_) | Failure::HeadTooLarge { .. } => reused,
        Failure::Unsolicited { .. } | Failure::Overrun => true,
        // Time that was waited once is not waited again; a server that cannot be connected to was tried at all its addresses.
        _ => false,
    };
    worth_it && (idempotent || unprocessed)
}

/// How many retries are left. A worker's own; the burst is everybody's.
#[derive(Debug)]
pub struct Budget {
    percent: u32,
    /// In hundredths of a retry.
    earned: Cell<u32>,
}

impl Budget {
    /// Nothing is earned yet.
    pub fn new(retry: &config::Retry) -> Budget {
        Budget {
            percent: retry.percent,
            earned: Cell::new(0),
        }
    }

    /// A request came.
    pub fn earn(&self) {
        self.earned
            .set(self.earned.get().saturating_add(self.percent).min(100 * SAVED_MOST));
    }

    /// Takes one retry; `false` if none is left.
    pub fn take(&self, burst: &Burst) -> bool {
        match self.earned.get().checked_sub(100) {
            Some(left) => {
                self.earned.set(left);
                true
            }
            None => burst.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn methods_that_may_be_repeated() {
        for (method, idempotent) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::TRACE, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
            (Method::CONNECT, false),
        ] {
            assert_eq!(is_idempotent(&method), idempotent, "{method}");
        }
    }

    #[test]
    fn failures_that_another_connection_may_mend() {
        let stale = Failure::Stale { reset: true };
        assert!(may_retry(&stale, true, false, true));
        assert!(may_retry(&stale, false, true, true));
        assert!(!may_retry(&stale, false, false, true));
        let malformed = Failure::Malformed("x");
        assert!(may_retry(&malformed, true, false, true));
        assert!(!may_retry(&malformed, true, false, false));
        for never in [
            Failure::AnswerTimeout,
            Failure::BodyTimeout,
            Failure::WriteTimeout,
            Failure::ConnectTimeout,
            Failure::Refused,
            Failure::ClientGone,
            Failure::Request("x".to_owned()),
            Failure::Certificate("x".to_owned()),
            Failure::Other(io::Error::other("x")),
        ] {
            assert!(!may_retry(&never, true, true, true), "{never:?}");
        }
    }

    #[test]
    fn requests_earn_retries_and_the_burst_comes_on_top() {
        let retry = config::Retry {
            enabled: true,
            percent: 20,
            burst: 1,
        };
        let budget = Budget::new(&retry);
        let burst = Burst::new(retry.burst);
        for _ in 0..5 {
            budget.earn();
        }
        assert!(budget.take(&burst));
        // The burst may be renewed once, should a second pass right here.
        let more = (0..100).filter(|_| budget.take(&burst)).count();
        assert!((1..=2).contains(&more), "{more}");
        for _ in 0..100_000 {
            budget.earn();
        }
        let saved = (0..1000).filter(|_| budget.take(&Burst::new(0))).count();
        assert_eq!(saved, SAVED_MOST as usize);
    }
}
