use super::*;
use crate::sample::{at, cut, program, well};
use crate::scenario::Truth;
use crate::verdict::{Told, Verdict};

fn judged(mut round: Round) -> Round {
    let truth = Truth {
        lost: Some(true),
        ..Truth::default()
    };
    round.verdict = Verdict::of(&round, &truth, Told::All);
    round
}

/// So many rounds that were cut and so many that went well.
fn tally(claim: Option<Claim>, cuts: u64, wells: u64) -> Tally {
    let fix = claim.map(|claim| ("a-change".to_owned(), "server".to_owned(), "a change".to_owned(), claim));
    let mut tally = Tally::new(Variant {
        fix,
        ..Variant::default()
    });
    for _ in 0..cuts {
        tally.add(&judged(cut()));
    }
    for _ in 0..wells {
        tally.add(&judged(well()));
    }
    tally
}

#[test]
fn rounds_are_counted() {
    let tally = tally(None, 2, 1);
    assert_eq!((tally.rounds, tally.shown, tally.failed), (3, 2, 2));
    assert_eq!(
        tally.complaints,
        BTreeMap::from([("0 responses were lost".to_owned(), 1)])
    );
    assert_eq!(
        tally.endings,
        BTreeMap::from([("ECONNRESET".to_owned(), 2), ("ok".to_owned(), 1)])
    );
    assert_eq!((tally.responses_lost, tally.misdelivered), (2, 0));
    assert_eq!(tally.bytes_lost, [4000, 4000, 0]);
    assert_eq!(tally.unread, [22, 22, 0]);
    let key = ("server".to_owned(), "TCP_ABORT_ON_CLOSE".to_owned(), "CLOSE".to_owned());
    assert_eq!(tally.resets, BTreeMap::from([(key, 2)]));
    assert_eq!(
        tally.counters,
        BTreeMap::from([(("server".to_owned(), "TCPAbortOnClose".to_owned()), 2)])
    );
    // From the start of `connect`, which ended after 4 ms and had taken 1, to the last deed.
    assert_eq!(tally.client_time, [17, 17, 7].map(Duration::from_millis));
    assert_eq!(tally.server_time, [8, 8, 1].map(Duration::from_millis));
}

#[test]
fn a_programs_time_is_its_life() {
    let mut round = cut();
    round.accounts[1] = program("client", "exit 0", "");
    round.accounts[1].lived = (at(3), Some(at(45)));
    let mut tally = Tally::new(Variant::default());
    tally.add(&round);
    assert_eq!(tally.client_time, [Duration::from_millis(42)]);
}

#[test]
fn without_a_change_no_claim_is_made() {
    let without = tally(None, 10, 0);
    assert_eq!(tally(None, 10, 0).claim_holds(&without), None);
}

#[test]
fn a_cure_lets_no_round_fail() {
    let without = tally(None, 10, 0);
    assert_eq!(tally(Some(Claim::Cures), 0, 10).claim_holds(&without), Some(true));
    assert_eq!(tally(Some(Claim::Cures), 1, 99).claim_holds(&without), Some(false));
    // Where nothing failed there is nothing to cure, and of no round nothing can be said.
    assert_eq!(tally(Some(Claim::Cures), 0, 10).claim_holds(&tally(None, 0, 10)), None);
    assert_eq!(tally(Some(Claim::Cures), 0, 0).claim_holds(&without), None);
}

#[test]
fn a_help_lets_fewer_fail_or_loses_less() {
    let without = tally(None, 10, 0);
    assert_eq!(tally(Some(Claim::Helps), 2, 8).claim_holds(&without), Some(true));
    assert_eq!(tally(Some(Claim::Helps), 10, 0).claim_holds(&without), Some(false));
    let mut smaller = tally(Some(Claim::Helps), 10, 0);
    smaller.bytes_lost = vec![1999; 10];
    assert_eq!(smaller.claim_holds(&without), Some(true), "less than half of the bytes");
    smaller.bytes_lost = vec![2000; 10];
    assert_eq!(smaller.claim_holds(&without), Some(false));
}

#[test]
fn what_changes_nothing_stays_within_chance() {
    let without = tally(None, 10, 10);
    assert_eq!(tally(Some(Claim::None), 8, 12).claim_holds(&without), Some(true));
    assert_eq!(
        tally(Some(Claim::None), 0, 20).claim_holds(&without),
        Some(false),
        "it cured"
    );
    assert_eq!(
        tally(Some(Claim::None), 20, 0).claim_holds(&without),
        Some(false),
        "it made it worse"
    );
}

#[test]
fn what_makes_it_worse_is_beyond_chance_or_loses_more() {
    let without = tally(None, 1, 19);
    assert_eq!(tally(Some(Claim::Worsens), 20, 0).claim_holds(&without), Some(true));
    assert_eq!(tally(Some(Claim::Worsens), 1, 19).claim_holds(&without), Some(false));
    assert_eq!(
        tally(Some(Claim::Worsens), 2, 18).claim_holds(&without),
        Some(true),
        "twice the bytes"
    );
}

#[test]
fn wrong_findings_are_kept_in_words() {
    let mut tally = tally(None, 2, 0);
    tally.add_explained("client", Explained::Right, None);
    tally.add_explained("client", Explained::Right, None);
    assert!(!tally.accused());
    tally.add_explained("server", Explained::Wrong, Some("likely silent-drop: …".to_owned()));
    assert!(tally.accused());
    assert_eq!(tally.explained["client"], BTreeMap::from([(Explained::Right, 2)]));
    assert_eq!(
        tally.accusations,
        BTreeMap::from([("server: likely silent-drop: …".to_owned(), 1)])
    );
}
