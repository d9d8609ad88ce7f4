//! What the built-in scenarios cover. Nothing is run.

use std::collections::BTreeSet;

use bypeer_diagnose::causes::CAUSES;
use bypeer_diagnose::facts::misdelivered;
use bypeer_lab::scenario::{Scenario, Truth};

use super::*;

#[test]
fn every_cause_has_a_scenario() {
    let scenarios = listed();
    let shown: BTreeSet<&str> = scenarios
        .iter()
        .filter_map(|scenario| scenario["cause"].as_str())
        .collect();
    let without: Vec<&str> = CAUSES
        .iter()
        .map(|cause| cause.id)
        .filter(|id| !shown.contains(id))
        .collect();
    assert!(without.is_empty(), "no scenario shows {without:?}");
}

#[test]
fn every_story_has_a_scenario() {
    let told: BTreeSet<u64> = listed()
        .iter()
        .filter_map(|scenario| scenario["story"].as_u64())
        .collect();
    assert_eq!(told, BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn scenarios_speak_of_causes_that_exist() {
    let mut complaints = Complaints::default();
    for scenario in Scenario::all().unwrap() {
        let truths = scenario.reals.iter().filter_map(|real| real.truth.as_ref());
        let mut named: Vec<String> = scenario.cause.clone().into_iter().collect();
        for Truth { finds, also, .. } in truths.chain([&scenario.truth]) {
            named.extend(finds.values().chain(also.values()).flatten().cloned());
        }
        named.extend(
            scenario
                .fixes
                .iter()
                .flat_map(|fix| fix.finds.values().flatten())
                .cloned(),
        );
        for id in named {
            if CAUSES.iter().all(|cause| cause.id != id) {
                complaints.add(&scenario.id, format!("no cause is called {id}"));
            }
        }
    }
    complaints.none();
}

#[test]
fn mechanisms_speak_of_scenarios_that_exist() {
    let scenarios = listed();
    let ids: BTreeSet<&str> = scenarios
        .iter()
        .filter_map(|scenario| scenario["scenario"].as_str())
        .collect();
    let mut named = BTreeSet::new();
    for mechanism in &misdelivered().mechanisms {
        for id in &mechanism.scenarios {
            assert!(
                ids.contains(id.as_str()),
                "{}: no scenario is called {id}",
                mechanism.id
            );
            named.insert(id.as_str());
        }
        for command in &mechanism.settle {
            let mut words = command.split_whitespace().skip_while(|word| *word != "show").skip(1);
            if let Some(id) = words.next().filter(|_| command.starts_with("bypeer lab show")) {
                assert!(ids.contains(id), "{command}");
            }
        }
    }
    let of_the_story = scenarios.iter().filter(|scenario| scenario["story"] == 4);
    let unnamed: Vec<&Value> = of_the_story
        .map(|scenario| &scenario["scenario"])
        .filter(|id| !named.contains(id.as_str().unwrap()))
        .collect();
    assert!(unnamed.is_empty(), "no mechanism has the scenarios {unnamed:?}");
}

#[test]
fn stories_are_told_by_their_scenarios() {
    for number in 1..=5 {
        let ran = Place::new().lab(As::Oneself, &["story", &number.to_string()]).out;
        let of_it = listed();
        let of_it = of_it.iter().filter(|scenario| scenario["story"] == number);
        for id in of_it.filter_map(|scenario| scenario["scenario"].as_str()) {
            assert!(ran.contains(&format!("\n  {id}\n")), "{id} in\n{ran}");
        }
    }
    let story = Place::new().lab(As::Oneself, &["story", "4"]).out;
    for part in [
        "descriptor-closed-twice  fits    against fits",
        "F10",
        "It alone predicts",
        "against F2: ",
    ] {
        assert!(story.contains(part), "{part} in\n{story}");
    }
}

#[test]
fn scenarios_are_well_told() {
    let mut complaints = Complaints::default();
    for scenario in Scenario::all().unwrap() {
        let mut complain = |what: String| complaints.add(&scenario.id, what);
        for (what, empty) in [
            ("title", scenario.title.trim().is_empty()),
            ("about", scenario.about.trim().is_empty()),
        ] {
            if empty {
                complain(format!("its {what} is empty"));
            }
        }
        if scenario.title.chars().count() > 110 {
            complain(format!("its title has {} characters", scenario.title.chars().count()));
        }
        let mut names = BTreeSet::new();
        for id in scenario.fixes.iter().map(|fix| &fix.id) {
            if !names.insert(id) {
                complain(format!("two changes are called {id}"));
            }
        }
        for fix in &scenario.fixes {
            if !["server", "client", "proxy", "network", "operator"].contains(&fix.owner.as_str()) {
                complain(format!("{} belongs to {:?}, which is nobody", fix.id, fix.owner));
            }
            if fix.set.is_empty() {
                complain(format!("{} changes nothing", fix.id));
            }
        }
        let mut names = BTreeSet::new();
        for real in &scenario.reals {
            if !names.insert(&real.id) {
                complain(format!("two programs are called {}", real.id));
            }
            if real.needs.is_empty() {
                complain(format!("{} needs no command: how can it be real software?", real.id));
            }
        }
    }
    complaints.none();
}
