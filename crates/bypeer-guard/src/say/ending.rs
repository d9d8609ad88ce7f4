//! How an exchange ended, as its account tells.

use std::mem::discriminant;

use crate::account::{Account, Attempt};
use crate::failure::Failure;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The server's answer was handed over whole, at the first try.
    Answered,
    /// The server's answer was handed over whole, and a plain proxy might have lost it.
    Saved(How),
    /// There was no answer of the server's, or none that could be used: the guard answered for it.
    Failed,
    /// The server's answer broke off after the client had a part of it.
    Cut,
    /// The client went away before it had the answer, or did not read it.
    ClientGone,
    /// The request itself could not be taken: it was not whole, or too slow.
    Refused,
}

/// How an answer was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// It was tried again: the request was sent again, or another connection was made where one could not be had.
    Retry,
    /// Sending failed, and the answer was read all the same.
    ReadOn,
}

impl Ending {
    /// Every ending, in the order of metrics.
    pub const ALL: [Ending; 7] = [
        Ending::Answered,
        Ending::Saved(How::Retry),
        Ending::Saved(How::ReadOn),
        Ending::Failed,
        Ending::Cut,
        Ending::ClientGone,
        Ending::Refused,
    ];

    /// How this exchange ended.
    pub fn of(account: &Account) -> Ending {
        match &account.failure {
            None if account.attempts.iter().any(|attempt| attempt.failure.is_some()) => Ending::Saved(How::Retry),
            None if account.attempts.iter().any(|attempt| attempt.send_failed) => Ending::Saved(How::ReadOn),
            None => Ending::Answered,
            Some(Failure::ClientGone | Failure::ClientStalled) => Ending::ClientGone,
            Some(Failure::Request(_)) => Ending::Refused,
            Some(failure) if account.status.is_none_or(|status| status == failure.status()) => Ending::Failed,
            Some(_) => Ending::Cut,
        }
    }

    /// As log and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Answered => "answered",
            Ending::Saved(How::Retry) => "saved-by-retry",
            Ending::Saved(How::ReadOn) => "saved-by-reading-on",
            Ending::Failed => "failed",
            Ending::Cut => "cut",
            Ending::ClientGone => "client-gone",
            Ending::Refused => "refused",
        }
    }
}

/// Every failure of an exchange, with the try that it ended.
pub(super) fn failures(account: &Account) -> impl Iterator<Item = (Option<&Attempt>, &Failure)> {
    let tried = account
        .attempts
        .iter()
        .filter_map(|attempt| Some((Some(attempt), attempt.failure.as_ref()?)));
    // The last try's failure may stand in both places.
    let last = account.attempts.last();
    let told = last.and_then(|attempt| attempt.failure.as_ref()).map(discriminant);
    let rest = account
        .failure
        .as_ref()
        .filter(|failure| told != Some(discriminant(failure)))
        .map(|failure| (last.filter(|_| told.is_none()), failure));
    tried.chain(rest)
}
