//! What was measured, as pages of the documentation.

use std::collections::BTreeMap;

use super::clean::{Measured, Row};
use super::table::{self, Sights};
use crate::bench::guard::aligned;

const BEGINNING: &str = "\
# Clean traffic, and what is said of it

Written by `cargo xtask misdelivered clean` (as root, with the servers and clients below, tcpdump and nft). Real servers and real clients
meet in a network namespace of their own and do everything that is odd and legal. Every answer is on its own request. tcpdump listens on
the loopback interface, `bypeer explain --format json` reads what it wrote. An *alarm* is a finding that names a cause of the family
`desync`, or a lost NAT entry, as its cause or among its suspects, and is not harmless; a *note* is one that is (a body behind the answer
to HEAD). Requests and connections are as bypeer counts them; with a proxy each hop counts.
";

const WITNESSES: &str = "\
# Which witness sees an answer on the wrong request

Written by `cargo xtask misdelivered table` (as root; `tools/lab/install` installs the old versions). Each way in which an answer comes to the
wrong request is played by the [lab](lab.md), or by a server of ours that `bypeer probe` asks. What is true comes from what was done: the
client's own account, or the server's word that its fault struck. A round that did not come to what the scenario claims was *in vain*, and
is in no other count. What a witness makes of a round is read from JSON: *found*, the cause, likely or certain; *suspected*, undecided with the
cause among the candidates; *named otherwise*, another cause of the same family; *told the server's death*, that its process was gone, and no more (a
descriptor that is closed twice ends some); *unseen*, none of it. The client's capture is that of the client who saw most; *both* is all hosts' at
once; *live* is `bypeer watch --calls`; *probe* is `bypeer probe --only answers-fit`, under load `answers-fit-load`. strace cannot be read yet. An empty cell was not asked.

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

/// The page of the witnesses.
pub fn table(measured: &table::Measured) -> String {
    let mut lines = vec![cells(&[
        "cause",
        "how",
        "software",
        "rounds",
        "server's capture",
        "client's capture",
        "both",
        "strace",
        "live",
        "probe",
        "probe, under load",
    ])];
    lines.extend(measured.rows.iter().map(witnesses));
    let mut page = WITNESSES.to_owned() + &aligned(&lines);
    page += &format!("\nIt took {} s.\n", measured.took.as_secs());
    for lacking in &measured.lacking {
        page += &format!("\nLeft out: {lacking}.\n");
    }
    page
}

fn witnesses(row: &table::Row) -> Vec<String> {
    let cell = |sights: &Option<Sights>| sights.as_ref().map_or_else(String::new, ToString::to_string);
    let rounds = match row.not_shown {
        0 => row.rounds.to_string(),
        not => format!("{}, {not} of them in vain", row.rounds),
    };
    vec![
        row.cause.clone(),
        row.scenario.clone(),
        row.real.clone().unwrap_or_else(|| "our own".to_owned()),
        rounds,
        cell(&row.server),
        cell(&row.client),
        cell(&row.both),
        String::new(),
        cell(&row.live),
        cell(&row.probe),
        cell(&row.probe_load),
    ]
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
