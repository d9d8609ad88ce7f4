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
    // Where nothing failed and nothing was shown there is nothing to cure, and of no round nothing can be said.
    assert_eq!(tally(Some(Claim::Cures), 0, 10).claim_holds(&tally(None, 0, 10)), None);
    assert_eq!(tally(Some(Claim::Cures), 0, 0).claim_holds(&without), None);
}

#[test]
fn a_cure_of_what_no_client_notices_lets_no_round_show_it() {
    let unnoticed = |mut tally: Tally, shown: u64| {
        tally.shown = shown;
        tally
    };
    let without = unnoticed(tally(None, 0, 10), 10);
    let cured = |shown| unnoticed(tally(Some(Claim::Cures), 0, 10), shown).claim_holds(&without);
    assert_eq!((cured(0), cured(1)), (Some(true), Some(false)));
    let fails = unnoticed(tally(Some(Claim::Cures), 1, 9), 0);
    assert_eq!(
        fails.claim_holds(&without),
        Some(false),
        "and it lets none fail that did not"
    );
}

#[test]
fn a_help_lets_fewer_fail_or_loses_less_by_more_than_chance() {
    let without = tally(None, 10, 0);
    assert_eq!(tally(Some(Claim::Helps), 2, 8).claim_holds(&without), Some(true));
    assert_eq!(tally(Some(Claim::Helps), 10, 0).claim_holds(&without), Some(false));
    assert_eq!(
        tally(Some(Claim::Helps), 9, 1).claim_holds(&without),
        Some(false),
        "one of ten"
    );
    let loses = |bytes: [u64; 10]| {
        let mut tally = tally(Some(Claim::Helps), 10, 0);
        tally.bytes_lost = bytes.to_vec();
        tally.claim_holds(&without)
    };
    assert_eq!(loses([3999; 10]), Some(true), "each round lost less");
    assert_eq!(
        loses([3999, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000]),
        Some(false)
    );
    assert_eq!(loses([4001; 10]), Some(false));
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
fn what_makes_it_worse_is_beyond_chance() {
    let without = tally(None, 1, 19);
    for (cuts, holds) in [(20, true), (10, true), (2, false), (1, false)] {
        let worse = tally(Some(Claim::Worsens), cuts, 20 - cuts);
        assert_eq!(worse.claim_holds(&without), Some(holds), "{cuts}");
    }
    let mut more = tally(Some(Claim::Worsens), 20, 0);
    let without = tally(None, 20, 0);
    assert_eq!(more.claim_holds(&without), Some(false));
    more.bytes_lost = vec![4001; 20];
    assert_eq!(more.claim_holds(&without), Some(true), "each round lost more");
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
