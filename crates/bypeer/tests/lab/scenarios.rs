//! Every built-in scenario on this machine's kernel: it shows what it claims, and explain is not wrong about it.

use std::collections::BTreeMap;

use bypeer_lab::scenario::{Scenario, Truth};

use super::*;

/// Rounds of each: as root, and without.
const ROUNDS: [&str; 2] = ["2", "1"];
/// Labs side by side.
const LABS: usize = 3;
/// Further rounds of one that happens by chance and did not yet.
const MORE_ROUNDS: &str = "25";

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn every_scenario_comes_true_and_is_explained() {
    hold_all(As::Oneself);
}

/// Without root the kernel's reset events cannot be read: counters, sockets and the actors' accounts must do.
#[test]
#[ignore = "needs userns"]
fn every_scenario_comes_true_without_root() {
    hold_all(As::OrdinaryUser);
}

fn hold_all(who: As) {
    let rounds_of_each = ROUNDS[usize::from(who == As::OrdinaryUser)];
    let _alone = alone();
    let place = Place::new();
    let listed = listed();
    let names: Vec<&str> = listed.iter().map(|scenario| text(scenario, "scenario")).collect();
    // Rounds wait more than they work, and labs do not meet.
    let ran = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..LABS)
            .map(|share| {
                let mut arguments = vec!["run", "--rounds", rounds_of_each, "--format", "json"];
                arguments.extend(names.iter().skip(share).step_by(LABS));
                let place = &place;
                scope.spawn(move || place.lab(who, &arguments))
            })
            .collect();
        let ran = shares.into_iter().map(|share| share.join().unwrap());
        ran.reduce(|first, second| Ran {
            code: first.code.max(second.code),
            out: first.out + &second.out,
            err: first.err + &second.err,
        })
    })
    .unwrap();
    let mut complaints = Complaints::default();
    let skipped = ran.skipped();
    for (name, why) in &skipped {
        report_skipped(&format!("lab scenario {name}: {why}"));
    }
    let mut rounds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in ran.records(ROUND) {
        rounds
            .entry(text(&record, "scenario").to_owned())
            .or_default()
            .push(record);
    }
    for scenario in &listed {
        let name = text(scenario, "scenario");
        if skipped.iter().any(|(skipped, _)| *skipped == name) {
            continue;
        }
        let mut of = rounds.remove(name).unwrap_or_default();
        if of.len() != rounds_of_each.parse::<usize>().unwrap() {
            let why = ran.err.lines().find(|line| line.contains(name)).unwrap_or(&ran.err);
            complaints.add(
                name,
                format!("{} of {rounds_of_each} rounds could be run: {why}", of.len()),
            );
            continue;
        }
        let deterministic = scenario["deterministic"] == true;
        if !deterministic && !of.iter().any(is_shown) {
            let more = place.lab(who, &["run", "--rounds", MORE_ROUNDS, "--format", "json", name]);
            of.extend(more.records(ROUND));
            if !of.iter().any(is_shown) {
                complaints.add(name, format!("it came true in none of {} rounds", of.len()));
            }
        }
        let truth = truth_of(name);
        for round in &of {
            for complaint in faults(round, deterministic, &truth, who) {
                complaints.add(name, complaint);
            }
        }
    }
    complaints.none();
}

fn truth_of(name: &str) -> Truth {
    Scenario::built_in(name).expect("it was listed").unwrap().truth
}

fn is_shown(round: &Value) -> bool {
    round["shown"] == true
}

/// What is wrong with a round.
fn faults(round: &Value, deterministic: bool, truth: &Truth, who: As) -> Vec<String> {
    let mut faults = records::faults(round);
    let of = |key: &str| round[key].as_array().unwrap().iter();
    if deterministic && !is_shown(round) {
        faults.extend(of("complaints").map(|complaint| format!("not shown: {complaint}")));
    }
    if who == As::Oneself {
        // Root's lab looks at everything, but for what programs that are not ours do not tell.
        let unchecked = of("unchecked").filter(|what| !what.as_str().unwrap().contains("not one of ours"));
        faults.extend(unchecked.map(|what| format!("unchecked: {what}")));
    }
    if is_shown(round) {
        faults.extend(disagreements(round, truth, who).into_iter().map(|what| {
            format!("it is said to be shown, but {what}") //
        }));
    }
    for host in ["client", "server"] {
        match round["explained"][host].as_str() {
            Some("right" | "fair" | "undecided") => {}
            Some(other) => faults.push(format!(
                "explain on {host}'s capture is {other}; `lab show {} --at {host}` shows one like it",
                text(round, "scenario")
            )),
            None => faults.push(format!("{host}'s capture was not explained")),
        }
    }
    faults
}

/// The kernel's reasons, the counters and the unread bytes of a record against the truth, looked at afresh.
fn disagreements(round: &Value, truth: &Truth, who: As) -> Vec<String> {
    let mut found = Vec::new();
    let address = |name: &str| {
        let hosts = round["hosts"].as_array().unwrap().iter();
        hosts
            .filter(|host| host["name"] == name)
            .map(|host| host["address"].clone())
            .next()
    };
    let of = |key: &str| round[key].as_array().unwrap().iter();
    let wanted = |list: &[String], value: &Value| {
        list.is_empty() || value.is_null() || list.iter().any(|wanted| value == wanted.as_str())
    };
    for claim in truth.kernel.iter().filter(|_| who == As::Oneself) {
        let there = of("kernel_resets").any(|reset| {
            address(text(reset, "host")) == address(&claim.host)
                && wanted(&claim.reason, &reset["reason"])
                && wanted(&claim.state, &reset["state"])
                && (reset["stack"].as_array().unwrap().is_empty() || wanted(&claim.path, &reset["path"]))
        });
        if !there {
            found.push(format!("no reset is as {claim:?}"));
        }
    }
    if truth.no_reset && !round["kernel_resets"].as_array().unwrap().is_empty() {
        found.push("a kernel sent a reset".to_owned());
    }
    for claim in &truth.counters {
        let by = round["counters"][&claim.host][&claim.name].as_u64().unwrap_or(0);
        if by < claim.by {
            found.push(format!("{} of {} moved by {by}", claim.name, claim.host));
        }
    }
    if let Some(claim) = &truth.unread {
        let deaths = of("deaths").filter(|death| death["host"] == claim.host.as_str());
        let most = deaths.filter_map(|death| death["unread"].as_u64()).max();
        if most < Some(u64::from(claim.bytes)) {
            found.push(format!("{most:?} bytes lay unread in sockets of {}", claim.host));
        }
    }
    found
}
