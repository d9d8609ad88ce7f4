use super::*;
use crate::sample::{account, at, cut, death, deed, program, reset, well};
use crate::scenario::{CounterClaim, UnreadClaim};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What `cut` shows.
fn truth() -> Truth {
    Truth {
        client: names(&["ECONNRESET", "EPIPE"]),
        lost: Some(true),
        kernel: vec![claim("server")],
        counters: vec![CounterClaim {
            host: "server".to_owned(),
            name: "TCPAbortOnClose".to_owned(),
            by: 1,
        }],
        unread: Some(UnreadClaim {
            host: "server".to_owned(),
            bytes: 22,
        }),
        ..Truth::default()
    }
}

fn claim(host: &str) -> KernelClaim {
    KernelClaim {
        host: host.to_owned(),
        reason: names(&["TCP_ABORT_ON_CLOSE"]),
        state: names(&["CLOSE"]),
        path: names(&["close-unread"]),
    }
}

fn complaints(round: &Round, truth: &Truth) -> Vec<String> {
    Verdict::of(round, truth, Told::All).complaints
}

/// One complaint, which holds these words.
fn check(round: &Round, truth: &Truth, words: &[&str]) {
    match complaints(round, truth).as_slice() {
        [one] if words.iter().all(|word| one.contains(word)) => {}
        other => panic!("wanted one complaint with {words:?}: {other:#?}"),
    }
}

#[test]
fn a_round_that_is_as_claimed_shows_it() {
    let verdict = Verdict::of(&cut(), &truth(), Told::All);
    assert_eq!(verdict.complaints, [""; 0]);
    assert_eq!(verdict.unchecked, [""; 0]);
    assert!(verdict.shows() && verdict.failed());
    assert_eq!(verdict.endings, ["ECONNRESET"]);
    assert_eq!((verdict.responses_lost, verdict.bytes_lost), (1, 4000));
    assert_eq!(verdict.bytes_of_cut, [1000]);
    assert_eq!(verdict.misdelivered, 0);
}

#[test]
fn a_round_in_which_nothing_happened_shows_nothing() {
    let verdict = Verdict::of(&well(), &truth(), Told::All);
    assert!(!verdict.shows() && !verdict.failed());
    assert_eq!(verdict.endings, ["ok"]);
    // Of the client, the loss, the reset, the counter and the socket.
    assert_eq!(verdict.complaints.len(), 5, "{:#?}", verdict.complaints);
    assert_eq!((verdict.responses_lost, verdict.bytes_lost), (0, 0));
}

#[test]
fn a_reset_of_a_kernel_that_must_send_none_is_a_complaint() {
    let by = |host: &str| Truth {
        no_reset_by: vec![host.to_owned()],
        ..Truth::default()
    };
    // In this round the server's kernel sends one.
    assert!(Verdict::of(&cut(), &by("client"), Told::All).shows());
    let verdict = Verdict::of(&cut(), &by("server"), Told::All);
    assert_eq!(verdict.complaints.len(), 1, "{:#?}", verdict.complaints);
    let blind = Verdict::of(&cut(), &by("server"), Told::Nothing);
    assert!(
        blind.shows() && blind.unchecked.len() == 1,
        "what cannot be read is no complaint"
    );
}

#[test]
fn no_claim_is_met_by_every_round() {
    for round in [well(), cut()] {
        assert!(Verdict::of(&round, &Truth::default(), Told::All).shows());
    }
}

#[test]
fn another_ending_is_told_with_its_statement() {
    let truth = Truth {
        client: names(&["EOF"]),
        ..truth()
    };
    check(
        &cut(),
        &truth,
        &["ended with ECONNRESET", "not with EOF", "\"read response\""],
    );
}

#[test]
fn one_client_of_several_is_enough() {
    let mut round = cut();
    round.accounts.push(account("client-2", vec![deed(3, "connect", None)]));
    assert_eq!(complaints(&round, &truth()), [""; 0]);
    assert_eq!(Verdict::of(&round, &truth(), Told::All).endings, ["ECONNRESET", "ok"]);
}

#[test]
fn a_kernels_reset_must_be_of_that_host_reason_state_and_path() {
    let reasons = |change: &dyn Fn(&mut KernelClaim)| {
        let mut truth = truth();
        change(&mut truth.kernel[0]);
        complaints(&cut(), &truth)
    };
    assert_eq!(reasons(&|_| {}), [""; 0]);
    for (name, wrong) in [
        ("host", reasons(&|claim| claim.host = "client".to_owned())),
        ("reason", reasons(&|claim| claim.reason = names(&["NO_SOCKET"]))),
        ("state", reasons(&|claim| claim.state = names(&["ESTABLISHED"]))),
        ("path", reasons(&|claim| claim.path = names(&["linger-zero"]))),
    ] {
        assert_eq!(wrong.len(), 1, "{name}: {wrong:#?}");
        assert!(
            wrong[0].contains("server TCP_ABORT_ON_CLOSE in CLOSE (close-unread)"),
            "{name}: {wrong:#?}"
        );
    }
    // What is not claimed may be anything, and one of several is enough.
    for fine in [
        reasons(&|claim| claim.reason.clear()),
        reasons(&|claim| claim.state.clear()),
        reasons(&|claim| claim.path.clear()),
        reasons(&|claim| claim.reason.push("NO_SOCKET".to_owned())),
        // `fresh` has the server's address.
        reasons(&|claim| claim.host = "fresh".to_owned()),
    ] {
        assert_eq!(fine, [""; 0]);
    }
}

#[test]
fn an_old_kernel_gives_no_reason_and_some_give_no_stack() {
    let mut round = cut();
    round.resets[0].1.reason = None;
    assert_eq!(complaints(&round, &truth()), [""; 0]);
    let mut round = cut();
    round.resets[0].1.stack.clear();
    let truth = Truth {
        kernel: vec![KernelClaim {
            path: names(&["timer"]),
            ..claim("server")
        }],
        ..truth()
    };
    assert_eq!(complaints(&round, &truth), [""; 0]);
}

#[test]
fn an_old_kernel_does_not_tell_of_resets_that_no_socket_sends() {
    let mut round = cut();
    round.resets.clear();
    let verdict = |round: &Round, reasons: &[&str], told: Told| {
        let truth = Truth {
            kernel: vec![KernelClaim {
                host: "server".to_owned(),
                reason: names(reasons),
                state: Vec::new(),
                path: Vec::new(),
            }],
            ..Truth::default()
        };
        let verdict = Verdict::of(round, &truth, told);
        (verdict.complaints.len(), verdict.unchecked.len())
    };
    let closed = ["NO_SOCKET", "TCP_FLAGS"];
    assert_eq!(verdict(&round, &closed, Told::All), (1, 0));
    assert_eq!(verdict(&round, &closed, Told::OfSockets), (0, 1));
    let unread = ["TCP_ABORT_ON_CLOSE"];
    assert_eq!(verdict(&round, &unread, Told::OfSockets), (1, 0), "a socket sends it");
    assert_eq!(verdict(&cut(), &unread, Told::OfSockets), (0, 0));
    let none = Truth {
        no_reset: true,
        ..Truth::default()
    };
    assert_eq!(Verdict::of(&round, &none, Told::OfSockets).unchecked.len(), 1);
    assert!(!Verdict::of(&cut(), &none, Told::OfSockets).shows(), "one was told of");
}

#[test]
fn without_a_trace_the_kernels_reasons_are_unchecked() {
    for truth in [
        truth(),
        Truth {
            kernel: Vec::new(),
            no_reset: true,
            ..truth()
        },
    ] {
        let mut round = cut();
        round.resets.clear();
        let verdict = Verdict::of(&round, &truth, Told::Nothing);
        assert!(verdict.shows(), "{:#?}", verdict.complaints);
        assert_eq!(verdict.unchecked.len(), 1);
    }
    // Of what is not claimed nothing is said.
    let verdict = Verdict::of(&well(), &Truth::default(), Told::Nothing);
    assert_eq!(verdict.unchecked, [""; 0]);
}

#[test]
fn no_reset_means_none_by_anybody() {
    let truth = Truth {
        no_reset: true,
        ..Truth::default()
    };
    assert_eq!(complaints(&well(), &truth), [""; 0]);
    let mut round = well();
    round.resets.push(("client".to_owned(), reset()));
    check(&round, &truth, &["1 resets were sent"]);
}

#[test]
fn counters_and_unread_bytes_are_lower_bounds() {
    let mut truth = truth();
    truth.counters[0].by = 2;
    check(&cut(), &truth, &["TCPAbortOnClose on server moved by 1, not 2"]);
    truth.counters[0].by = 1;
    truth.unread = Some(UnreadClaim {
        host: "server".to_owned(),
        bytes: 23,
    });
    check(&cut(), &truth, &["22 bytes lay unread", "not 23"]);
    // The socket with the most decides; one that was disconnected first tells nothing.
    let mut round = cut();
    round.deaths.push(("server".to_owned(), death(None)));
    round.deaths.push(("server".to_owned(), death(Some(23))));
    assert_eq!(complaints(&round, &truth), [""; 0]);
    round.deaths.clear();
    check(&round, &truth, &["no socket of server was seen to die"]);
}

#[test]
fn a_response_of_another_is_counted() {
    let mut round = cut();
    round.accounts[1].deeds[2].error = Some("another's response".to_owned());
    let verdict = Verdict::of(&round, &Truth::default(), Told::All);
    assert_eq!((verdict.misdelivered, verdict.responses_lost), (1, 1));
    // One that was tried again does not count.
    round.accounts[1].deeds[2].counts = false;
    let verdict = Verdict::of(&round, &Truth::default(), Told::All);
    assert_eq!((verdict.misdelivered, verdict.responses_lost), (0, 0));
    assert!(!verdict.failed());
}

#[test]
fn a_server_that_waited_in_vain_is_a_complaint() {
    let mut round = cut();
    round.accounts[0]
        .deeds
        .push(deed(30, "await unread 22", Some("timeout")));
    check(&round, &truth(), &["server", "await unread 22", "timeout"]);
}

#[test]
fn a_program_has_an_exit_status_and_no_errno() {
    let mut round = cut();
    round.accounts[1] = program("client", "exit 56", "curl: (56) Recv failure: Connection reset by peer");
    let verdict = Verdict::of(&round, &truth(), Told::All);
    assert!(verdict.shows() && verdict.failed(), "{:#?}", verdict.complaints);
    assert_eq!(
        verdict.unchecked.len(),
        2,
        "how it failed, what was lost: {:#?}",
        verdict.unchecked
    );
    assert!(verdict.unchecked[0].contains("exit 56"));
    // Where the truth names the status it must be that one.
    let named = |status: &str| Truth {
        client: names(&[status]),
        ..truth()
    };
    assert_eq!(complaints(&round, &named("exit 56")), [""; 0]);
    check(&round, &named("exit 52"), &["exit 56, not with exit 52", "curl: (56)"]);
    check(&round, &named("ok"), &["exit 56, not with ok"]);
    // One that succeeded did not meet what the scenario claims.
    round.accounts[1] = program("client", "exit 0", "");
    check(&round, &truth(), &["ended with ok"]);
}

#[test]
fn a_client_without_an_end_is_unfinished_and_one_that_was_killed_says_so() {
    let mut round = well();
    round.accounts[1].lived = (at(0), None);
    assert_eq!(
        Verdict::of(&round, &Truth::default(), Told::All).endings,
        ["unfinished"]
    );
    round.accounts[1].ended = Some("signal 9".to_owned());
    assert_eq!(Verdict::of(&round, &Truth::default(), Told::All).endings, ["signal 9"]);
}
