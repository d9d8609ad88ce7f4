//! File descriptors: how many there may be, and how many clients they are enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For logs, listening sockets, event loops, metrics.
const OTHERS: u64 = 64;
/// However few there are, so many clients are let in.
const FEWEST: u64 = 16;

/// Raises the limit as far as it goes. How many clients there is room for, and the limit; `None`: it is without end.
pub(crate) fn room(config: &Config, workers: usize) -> Option<(usize, u64)> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }?;
    let server = (config.upstream.most.max(config.upstream.keep * workers)) as u64;
    // Those that linger are clients too; that many of them linger at once is rare, and what is crowded out is closed.
    let room = limit.saturating_sub(OTHERS + server).max(FEWEST);
    Some((usize::try_from(room).unwrap_or(usize::MAX), limit))
}
