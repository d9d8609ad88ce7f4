//! What was measured, as pages of the documentation.

use std::collections::BTreeMap;

use super::clean::{Measured, Row};
use crate::bench::guard::aligned;

const BEGINNING: &str = "\
# Clean traffic, and what is said of it

Written by `cargo xtask misdelivered clean` (as root, with the servers and clients below, tcpdump and nft). Real servers and real clients
meet in a network namespace of their own and do everything that is odd and legal. Every answer is on its own request. tcpdump listens on
the loopback interface, `bypeer explain --format json` reads what it wrote. An *alarm* is a finding that names a cause of the family
`desync`, or a lost NAT entry, as its cause or among its suspects, and is not harmless; a *note* is one that is (a body behind the answer
to HEAD). Requests and connections are as bypeer counts them; with a proxy each hop counts.
";

/// The page of the clean traffic.
pub fn clean(measured: &Measured) -> String {
    let alarms: usize = measured.rows.iter().map(|row| row.said.alarms.len()).sum();
    let servers: std::collections::BTreeSet<&str> = measured.rows.iter().map(|row| row.server).collect();
    let connections: u64 = measured.rows.iter().map(|row| row.counted.connections).sum();
    let mut page = BEGINNING.to_owned();
    page += &format!(
        "\n**{} requests on {connections} connections to {} servers: {alarms} alarms.** It took {} s.\n\n",
        measured.requests(),
        servers.len(),
        measured.took.as_secs()
    );
    let mut lines = vec![cells(&[
        "server",
        "clients",
        "requests",
        "connections",
        "sent again",
        "",
        "alarms",
        "notes",
    ])];
    lines.extend(measured.rows.iter().map(row));
    page += &aligned(&lines);
    page += "\n## What our own client did\n\n";
    page += &deeds(&measured.rows);
    page += "\n## The same traffic, seen by worse witnesses\n\nEach capture again, damaged after the fact.\n\n";
    page += &damaged(&measured.rows);
    for lacking in &measured.lacking {
        page += &format!("\nLeft out: {lacking}.\n");
    }
    page
}

fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn row(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    if row.loss {
        remarks.push("packets lost".to_owned());
    }
    if row.restarts > 0 {
        remarks.push(format!("{} restarts", row.restarts));
    }
    if row.missed > 0 {
        remarks.push(format!("{} packets missed by tcpdump", row.missed));
    }
    vec![
        row.server.to_owned(),
        row.clients.join("; "),
        row.counted.requests.to_string(),
        row.counted.connections.to_string(),
        row.counted.sent_again.to_string(),
        remarks.join(", "),
        row.said.alarms.len().to_string(),
        row.said.notes.to_string(),
    ]
}

fn deeds(rows: &[Row]) -> String {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (deed, times) in rows.iter().flat_map(|row| &row.done) {
        *all.entry(deed).or_default() += times;
    }
    let mut lines = vec![cells(&["what", "times"])];
    lines.extend(
        all.iter()
            .map(|(deed, times)| vec![(*deed).to_owned(), times.to_string()]),
    );
    aligned(&lines)
}

fn damaged(rows: &[Row]) -> String {
    let mut all: BTreeMap<&str, (u64, usize, u64)> = BTreeMap::new();
    for (damage, said) in rows.iter().flat_map(|row| &row.damaged) {
        let sum = all.entry(damage).or_default();
        *sum = (sum.0 + 1, sum.1 + said.alarms.len(), sum.2 + said.notes);
    }
    let mut lines = vec![cells(&["witness", "captures", "alarms", "notes"])];
    lines.extend(all.iter().map(|(damage, (captures, alarms, notes))| {
        vec![
            (*damage).to_owned(),
            captures.to_string(),
            alarms.to_string(),
            notes.to_string(),
        ]
    }));
    aligned(&lines)
}
