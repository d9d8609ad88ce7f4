//! What was measured, as a page of the documentation.

use bypeer_lab::statistics::Rate;

use super::experiment::{Account, Measured};

const BEGINNING: &str = "\
# What the settings are worth

`bypeer probe` ends with lines to paste. Here they are pasted: a real client and a real server meet, some way apart, and the
client's requests fail now and then. The probe is asked; the line that its card has for the client goes into the client's source, as it
stands there; they meet again. Client and server are in network namespaces, the wire between them is the [lab](lab.md)'s.

This page is written by `cargo xtask settings` (as root, with Go, Node and Python). Nobody chooses a number in between. A request is a
POST, which Go does not repeat by itself. Intervals are of the true share, 95 % (Wilson).
";

const END: &str = "
## What it does not show

Story 3's server kept idle connections for 5 s. Here it is told 0.5 s, so that the pauses of ten thousand requests are over in a minute;
Node adds a second of its own. A request is lost when it leaves the client in the last round trip before the server's limit, which is
why so few are: more with a longer way, fewer with a shorter one. Story 1's is lost when the client takes the connection from its pool
before the server's FIN has come: the share depends on how soon the client sends again.

Story 5's server, which does not read the bodies of requests, is not here: no setting of a client helps, and the card says so.
";

/// The whole page.
pub(super) fn page(all: &[Measured]) -> String {
    let mut page = BEGINNING.to_owned();
    for measured in all {
        page += &section(measured);
    }
    page + END
}

/// What one experiment gave.
pub(super) fn section(measured: &Measured) -> String {
    let Measured {
        story, server, client, ..
    } = measured;
    format!(
        "\n## Story {story}\n\n\
         - Server: {server}.\n\
         - Client: {client}.\n\
         - The card, {:.1} ms away: {} (`{}`, {}).\n\n\
         | http.Transport | failed | | how |\n\
         |---|---|---|---|\n\
         {}{}",
        measured.round_trip_ms,
        measured.what,
        measured.cause,
        measured.severity,
        row("as Go's DefaultTransport", measured.line_before, &measured.before),
        row("as the card says", &measured.line_after, &measured.after)
    )
}

fn row(whose: &str, lines: &str, account: &Account) -> String {
    let rate = account.failed();
    format!(
        "| {whose}: `{}` | {} of {} | {} | {} |\n",
        lines.replace('\n', "` `"),
        rate.events,
        rate.of,
        interval(&rate),
        ways(account)
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
