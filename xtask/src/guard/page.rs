//! What was measured, as a page of the documentation.

use bypeer_lab::statistics::Rate;

use super::account::Account;
use super::restarts::Restarted;
use super::stories::Played;
use crate::bench::guard::aligned;

const BEGINNING: &str = "\
# The five stories, through the guard

Written by `cargo xtask guard` (as root, with Go, Node, Python, uWSGI, gunicorn and nginx). Real servers and clients meet: directly, and
with `bypeer guard` between them, as it is without settings of its own. *Lost*: a request without its whole and right answer, and without
a status that says why. *Refused*: a status of the proxy's, with `Proxy-Status` that names the reason; the client knows what became of its
request. Intervals are of the true share, 95 % (Wilson).
";

const RESTARTS: &str = "
## Restarts under load

Go's net/http, twenty at work over one pool, GET and POST in turn, some 700 requests a second, while something is restarted every half
second.

";

/// The whole page.
pub(super) fn page(stories: &[Played], restarts: &[Restarted]) -> String {
    let mut page = BEGINNING.to_owned();
    for story in stories {
        page += &section(story);
    }
    if !restarts.is_empty() {
        page += RESTARTS;
        page += &table(restarts);
    }
    page
}

/// One story.
pub(super) fn section(played: &Played) -> String {
    let mut lines = vec![heading(&["", "lost", "", "refused", "how"])];
    let named = |name: &str, account: &Account| row(name.to_owned(), account);
    lines.push(named("directly", &played.direct));
    lines.extend(
        played
            .through
            .iter()
            .map(|(name, account)| named(&format!("through {name}"), account)),
    );
    format!(
        "\n## Story {}\n\n- Server: {}.\n- Client: {}.\n- The way between them: {}.\n{}\n{}",
        played.story,
        played.server,
        played.client,
        played.place,
        played
            .unknowable
            .map_or_else(String::new, |why| format!("- What no proxy can save: {why}.\n")),
        aligned(&lines)
    )
}

fn table(restarts: &[Restarted]) -> String {
    let mut lines = vec![heading(&["", "lost", "", "refused", "how"])];
    for restarted in restarts {
        if let Some((count, account)) = &restarted.direct {
            lines.push(row(format!("{}, {count} times; directly", restarted.what), account));
        }
        for (name, count, account) in &restarted.through {
            lines.push(row(
                format!("{}, {count} times; through {name}", restarted.what),
                account,
            ));
        }
    }
    aligned(&lines)
}

fn heading(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn row(name: String, account: &Account) -> Vec<String> {
    let lost = account.lost();
    vec![
        name,
        format!("{} of {}", lost.events, lost.of),
        interval(&lost),
        account.explained().to_string(),
        account.ways(),
    ]
}

fn interval(rate: &Rate) -> String {
    let (low, high) = rate.interval();
    format!("{:.2}–{:.2} %", low * 100.0, high * 100.0)
}
