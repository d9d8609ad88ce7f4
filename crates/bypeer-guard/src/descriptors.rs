//! File descriptors: how many there may be, and how many clients they are enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For log, metrics and those who read them, signals, a handover.
const OTHERS: u64 = 48;
/// Of each worker: its event loop.
const OF_A_WORKER: u64 = 4;
/// So many clients are let in however few there are, and each may need a connection to the server.
const FEWEST: u64 = 16;

/// How many are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// With fewer it does not start.
    pub least: u64,
    /// For as many connections as are configured.
    pub all: u64,
}

/// The limit is lower than what is needed.
pub(crate) struct Shortage {
    pub(crate) limit: u64,
    /// So many clients there is room for.
    pub(crate) room: usize,
    /// It is not enough to begin with.
    pub(crate) is_too_large: bool,
}

pub(crate) fn needed(config: &Config, workers: usize) -> Needed {
    let own = own(config, workers);
    let all = own + server(config, workers) + config.client.connections as u64;
    Needed {
        least: all.min(own + 2 * FEWEST),
        all,
    }
}

/// Raises the limit as far as it goes. `None`: it is enough.
pub(crate) fn shortage(config: &Config, workers: usize) -> Option<Shortage> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }?;
    let needed = needed(config, workers);
    if limit >= needed.all {
        return None;
    }
    // Those that linger are clients too; that many of them linger at once is rare, and what is crowded out is closed.
    let room = limit.saturating_sub(own(config, workers) + server(config, workers));
    Some(Shortage {
        limit,
        room: usize::try_from(room.max(FEWEST)).unwrap_or(usize::MAX),
        is_too_large: limit < needed.least,
    })
}

/// Without any client.
fn own(config: &Config, workers: usize) -> u64 {
    let places = config.listen.len() as u64;
    OTHERS + places + workers as u64 * (OF_A_WORKER + places)
}

fn server(config: &Config, workers: usize) -> u64 {
    config.upstream.most.max(config.upstream.keep * workers) as u64
}
