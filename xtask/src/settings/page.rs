//! What was measured, as a page of the documentation.

use std::fmt::Write;

use bypeer_lab::statistics::Rate;

use super::experiment::{Account, Measured};

const BEGINNING: &str = "\
# What the settings are worth

`bypeer probe` ends with lines to paste. Here they are pasted: a real client and a real server meet, some way apart, and the
client's requests fail now and then. The probe is asked; the line that its card has for the client goes into the client's source, as it
stands there; they meet again. Client and server are in network namespaces, the wire between them is the [lab](lab.md)'s.

This page is written by `cargo xtask settings` (as root, with Go, Node and Python). Nobody chooses a number in between.

| story | server | client | setting | failed | 95 % | how |
|---|---|---|---|---|---|---|
";

const END: &str = "
A request is a POST, which Go does not repeat by itself. *before* is what Go's DefaultTransport sets; *after* is the card's line. The
interval is that of the true share (Wilson).

Story 3's server kept idle connections for 5 s. Here it is told 0.5 s, so that the pauses of ten thousand requests are over in a minute;
Node adds a second of its own. A request is lost when it leaves the client in the last round trip before the server's limit, which is
why so few are. Story 1's is lost when the client takes the connection from its pool before the server's FIN has come.
";

/// The whole page.
pub(super) fn page(all: &[Measured]) -> String {
    let mut page = BEGINNING.to_owned();
    for measured in all {
        page += &row(measured);
    }
    page += END;
    page += "\n## What the cards said\n";
    for measured in all {
        // Writing into a String does not fail.
        let _ = write!(
            page,
            "\n**Story {}**, {:.1} ms away: {} (`{}`, {}). The rule for its clients: {}.\n",
            measured.story,
            measured.round_trip_ms,
            measured.what,
            measured.cause,
            measured.severity,
            measured.because.join("; ")
        );
    }
    page
}

/// Its two rows of the table.
pub(super) fn row(measured: &Measured) -> String {
    let Measured {
        story, server, client, ..
    } = measured;
    let line = |when: &str, line: &str, account: &Account| {
        let rate = account.failed();
        format!(
            "| {when}: `{}` | {} of {} | {} | {} |\n",
            line.replace('\n', "` `"),
            rate.events,
            rate.of,
            interval(&rate),
            ways(account)
        )
    };
    format!(
        "| {story} | {server} | {client} {}| | | {}",
        line("before", measured.line_before, &measured.before),
        line("after", &measured.line_after, &measured.after)
    )
}

fn interval(rate: &Rate) -> String {
    let (low, high) = rate.interval();
    format!("{:.2}–{:.2} %", low * 100.0, high * 100.0)
}

fn ways(account: &Account) -> String {
    let ways: Vec<String> = account
        .failures
        .iter()
        .map(|(way, count)| format!("{count} {way}"))
        .collect();
    ways.join(", ")
}
