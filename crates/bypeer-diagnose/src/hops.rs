//! A proxy passes on what its own server did to it: the connection in front is no fault of the proxy's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Finding, Fix, Follows, Owner, Party};

/// Causes that a proxy shows to its client when the server behind it fails.
const PASSED_ON: &[&str] = &["incomplete-response", "upstream-no-response-close", "process-killed"];

/// A proxy may keep what it has in its buffers this long before it passes the end on.
const PASSING: Duration = Duration::from_secs(2);

/// Finds, for each connection that a proxy cut short, the one behind the proxy that had broken off, where both are in the
/// same capture: the proxy's address is the client there, it was opened while the one in front was open, and it ended
/// first. Of several the one that ended last before.
pub(crate) fn link(findings: &mut [Finding]) {
    let mut by_client: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate().filter(|(_, finding)| !finding.harmless) {
        by_client.entry(finding.client.addr).or_default().push(index);
    }
    for index in 0..findings.len() {
        let front = &findings[index];
        if !PASSED_ON.contains(&front.cause.id) || front.harmless {
            continue;
        }
        let behind = by_client
            .get(&front.server.addr)
            .into_iter()
            .flatten()
            .map(|other| &findings[*other])
            .filter(|behind| behind.server != front.server && behind.began() >= front.began())
            // The same request, or it is only a neighbour on the same host.
            .filter(|behind| front.request.is_some() && behind.request == front.request)
            .filter(|behind| behind.ended <= front.ended && front.ended.since(behind.ended) <= PASSING)
            .max_by_key(|behind| behind.ended);
        let Some(behind) = behind else { continue };
        let follows = Follows {
            stream: behind.stream,
            server: behind.server,
            cause: behind.cause,
        };
        let blame = behind.blame;
        let front = &mut findings[index];
        front.verdict = format!(
            "{}; it follows from stream {}, on which {} broke off first ({})",
            front.verdict, follows.stream, follows.server, follows.cause.id
        );
        front.blame = if blame == Party::Nobody { front.blame } else { blame };
        // What helps against a proxy's own failures is beside the point; what its client can do is not.
        front.fixes.retain(|fix| fix.owner == Owner::Client);
        front.settle = None;
        front.fixes.insert(
            0,
            Fix {
                owner: Owner::Server,
                what: format!(
                    "Fix stream {} first: {} at {}.",
                    follows.stream, follows.cause.id, follows.server
                ),
            },
        );
        front.follows = Some(follows);
    }
}
