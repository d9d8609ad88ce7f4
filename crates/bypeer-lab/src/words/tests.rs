use super::*;
use crate::sample::{cut, well};
use crate::scenario::{Claim, Truth};
use crate::tally::Variant;
use crate::verdict::{Told, Verdict};

fn tally(fix: Option<(&str, Claim)>, rounds: &[crate::round::Round]) -> Tally {
    let fix = fix.map(|(id, claim)| (id.to_owned(), "server".to_owned(), "a change".to_owned(), claim));
    let mut tally = Tally::new(Variant {
        scenario: "a-scenario".to_owned(),
        title: "What happens".to_owned(),
        fix,
        ..Variant::default()
    });
    for round in rounds {
        let mut round = round.clone();
        let truth = Truth {
            lost: Some(true),
            ..Truth::default()
        };
        round.verdict = Verdict::of(&round, &truth, Told::All);
        tally.add(&round);
    }
    tally
}

#[test]
fn an_account_says_what_was_counted() {
    let mut tally = tally(None, &[cut(), cut(), well()]);
    tally.add_explained("client", Explained::Right, None);
    tally.add_explained(
        "server",
        Explained::Wrong,
        Some("certain closed-port: nobody listens".to_owned()),
    );
    let expected = "\
a-scenario: What happens
  shown      2 of 3 rounds (95 %: 21–94 %)
  not shown  1: 0 responses were lost
  client     ECONNRESET 2, ok 1
  lost       2 of 3 responses (95 %: 21–94 %); median 4000 bytes a round
  resets     server TCP_ABORT_ON_CLOSE in CLOSE 2
  counters   server TCPAbortOnClose 2
  unread     median 22 bytes in the server's socket when it died
  explain    client's capture: right 1
  explain    server's capture: wrong 1
  wrong      1: server: certain closed-port: nobody listens
";
    assert_eq!(account(&tally), expected);
}

#[test]
fn an_account_of_a_quiet_scenario_is_short() {
    let tally = tally(None, &[well()]);
    let account = account(&tally);
    assert!(account.contains("resets     none that the kernel told of"), "{account}");
    for absent in ["counters", "unread", "lost  ", "wrong", "change"] {
        assert!(!account.contains(absent), "{absent} in\n{account}");
    }
}

#[test]
fn changes_stand_in_columns() {
    let without = tally(None, &[cut(), cut(), cut(), cut()]);
    let cure = tally(Some(("read-the-body", Claim::Cures)), &[well(), well(), well(), well()]);
    let none = tally(Some(("linger", Claim::Cures)), &[cut(), cut(), cut(), cut()]);
    let expected = "\
change         who     failures  95 %      lost    bytes lost  client's time  said to  holds
(none)                 4 of 4    51–100 %  4 of 4  4000        17.0 ms
read-the-body  server  0 of 4    0–49 %    0 of 4  0           −10.0 ms       cures    yes
linger         server  4 of 4    51–100 %  4 of 4  4000        +0.0 ms        cures    NO
";
    assert_eq!(fixes(&[without, cure, none]), expected);
    assert_eq!(fixes(&[]), "");
}

#[test]
fn the_overview_names_what_is_wrong_and_nothing_else() {
    let mut good = tally(None, &[cut()]);
    good.add_explained("client", Explained::Fair, None);
    let line = overview_line(&good);
    assert_eq!(line.lines().count(), 1, "{line}");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "a-scenario",
            "1",
            "of",
            "1",
            "ECONNRESET",
            "client's",
            "capture",
            "fair",
            "1"
        ]
    );
    let bad = overview_line(&tally(None, &[well()]));
    assert!(bad.contains("1: 0 responses were lost"), "{bad}");
}

#[test]
fn the_list_names_changes_and_software() {
    let text = r#"
title = "What happens"
cause = "closed-port"
story = 2
deterministic = false
about = "Why."
[set]
size = 1
[server]
[client]
script = "connect"
[truth]
[[fix]]
id = "listen"
owner = "operator"
title = "start the server"
claim = "cures"
set.size = 2
[[real]]
id = "curl"
client = "curl {addr}"
needs = ["curl"]
"#;
    let scenario = Scenario::parse("nobody-there", text).unwrap();
    assert_eq!(
        list(&[scenario]),
        "\
nobody-there
  What happens
  cause closed-port; story 2; by chance: a rate is measured
    --fixes listen: start the server (operator)
    --real curl: curl
"
    );
}

#[test]
fn shares_and_times_have_few_digits() {
    let percent = |events, of| interval(&Rate { events, of });
    assert_eq!(percent(0, 0), "0–100 %");
    assert_eq!(percent(0, 100), "0–3.7 %");
    assert_eq!(percent(100, 100), "96–100 %");
    assert_eq!(milliseconds(Duration::from_micros(1234)), "1.2 ms");
    assert_eq!(milliseconds(Duration::from_millis(1234)), "1234 ms");
}
