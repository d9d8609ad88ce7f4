//! What errors of hyper's mean.

use std::error::Error;
use std::io;

use super::super::stream::is_reset;
use crate::failure::Failure;

const NO_VALID_HTTP2: &str =
    "it is no valid HTTP/2 (if the server speaks HTTP/1.1 only, set upstream.version = \"1.1\")";

/// What an error of hyper's means, and whether the server cannot have acted on the request.
pub fn failure_of(error: hyper::Error) -> (Failure, bool) {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return h2_failure(h2);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return (ended(is_reset(io)), false);
        }
        source = inner.source();
    }
    match error.is_canceled() || error.is_closed() {
        // It was not taken from the queue before the connection ended.
        true => (Failure::Stale { reset: false }, true),
        false => (Failure::Malformed(NO_VALID_HTTP2), false),
    }
}

fn h2_failure(error: &h2::Error) -> (Failure, bool) {
    if let Some(io) = error.get_io() {
        return (ended(is_reset(io)), false);
    }
    let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
    // RFC 9113, sections 8.7 and 6.8: REFUSED_STREAM, and GOAWAY for streams above the one that it names: not processed. With NO_ERROR
    // h2 fails no other streams.
    // h2 ends connections for much else, too, which is the server's doing: this alone is told by the words.
    let overrun = error.is_go_away() && error.is_library() && error.to_string().contains("too_many_data_frames");
    match (error.is_remote(), error.is_go_away()) {
        _ if overrun => (Failure::Overrun, false),
        (true, true) => (Failure::GoAway(reason), reason == h2::Reason::NO_ERROR),
        (_, false) if reason == h2::Reason::REFUSED_STREAM => (Failure::StreamReset(reason), true),
        (true, false) => (Failure::StreamReset(reason), false),
        (false, _) => (Failure::Malformed(NO_VALID_HTTP2), false),
    }
}

fn ended(reset: bool) -> Failure {
    match reset {
        true => Failure::Reset { acknowledged: None },
        false => Failure::ClosedUnanswered,
    }
}
