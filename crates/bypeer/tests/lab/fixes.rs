//! Every change that a scenario names does what it is said to do.

use super::*;

#[test]
#[ignore = "needs root, namespaces, long"]
fn every_change_does_what_it_is_said_to() {
    let _alone = alone();
    let place = Place::new();
    let mut complaints = Complaints::default();
    for scenario in listed() {
        let name = text(&scenario, "scenario");
        let changes = scenario["fixes"].as_array().unwrap().len();
        if changes == 0 {
            continue;
        }
        let ran = place.lab(
            As::Oneself,
            &["run", name, "--fixes", "all", "--rounds", "15", "--format", "json"],
        );
        if let [(_, why), ..] = ran.skipped()[..] {
            report_skipped(&format!("changes of lab scenario {name}: {why}"));
            continue;
        }
        let tallies = ran.records(TALLY);
        if tallies.len() != changes + 1 {
            complaints.add(
                name,
                format!(
                    "{} of {} could be run: {}",
                    tallies.len(),
                    changes + 1,
                    ran.err.trim_end()
                ),
            );
        }
        for tally in &tallies {
            for fault in records::faults(tally) {
                complaints.add(name, fault);
            }
            if tally["fix"].is_null() {
                continue;
            }
            let change = text(&tally["fix"], "id");
            if tally["claim_holds"] != true {
                complaints.add(
                    name,
                    format!(
                        "{change}: said to be {}: {} of {} rounds failed",
                        tally["fix"]["claim"], tally["failed"]["events"], tally["rounds"]
                    ),
                );
            }
            // A round that was cured must not be accused, and one that was not is still what it is.
            for (accusation, count) in tally["accusations"].as_object().unwrap() {
                complaints.add(name, format!("{change}: {count} times explain was wrong: {accusation}"));
            }
        }
    }
    complaints.none();
}

/// The same with real software in a role, where there is any.
#[test]
#[ignore = "needs root, namespaces, long"]
fn real_software_shows_it_too() {
    let _alone = alone();
    let place = Place::new();
    let mut complaints = Complaints::default();
    for scenario in listed() {
        let name = text(&scenario, "scenario");
        if scenario["real"].as_array().unwrap().is_empty() {
            continue;
        }
        let ran = place.lab(
            As::Oneself,
            &["run", name, "--real", "all", "--rounds", "10", "--format", "json"],
        );
        let skipped = ran.skipped();
        for (label, why) in &skipped {
            report_skipped(&format!("lab scenario {label}: {why}"));
        }
        let tallies = ran.records(TALLY);
        for real in scenario["real"].as_array().unwrap() {
            let label = format!("{name} with {}", real.as_str().unwrap());
            if skipped.iter().any(|(skipped, _)| *skipped == label) {
                continue;
            }
            let Some(tally) = tallies.iter().find(|tally| tally["real"] == *real) else {
                complaints.add(&label, format!("it could not be run: {}", ran.err.trim_end()));
                continue;
            };
            let needed = if tally["deterministic"] == true { 10 } else { 1 };
            if tally["shown"]["events"].as_u64().unwrap() < needed {
                complaints.add(
                    &label,
                    format!("shown {} of 10: {}", tally["shown"]["events"], tally["complaints"]),
                );
            }
            for (accusation, count) in tally["accusations"].as_object().unwrap() {
                complaints.add(&label, format!("{count} times explain was wrong: {accusation}"));
            }
        }
    }
    complaints.none();
}
