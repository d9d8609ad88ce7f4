//! What the guard makes of the five stories' servers and clients, and of restarts.

use std::process::Command;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;

#[test]
#[ignore = "needs long, root, namespaces, go, node, python3, uwsgi, gunicorn"]
fn nothing_is_lost_through_the_guard() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["guard", "--json", "--through", "guard", "--binary"])
        .arg(program::bypeer())
        .output()
        .expect("xtask");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let all: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let (stories, restarts): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|played| !played["story"].is_null());
    let numbers: Vec<u64> = stories.iter().filter_map(|played| played["story"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 2, 3, 4, 4, 4, 5], "{said}{told}");
    for played in stories {
        assert!(failed(&played["direct"]) > 0, "{played:#}");
        let through = played["through"].as_array().expect("ways");
        assert!(!through.is_empty(), "{played:#}");
        for way in through {
            if played["unknowable"].is_null() || way[0].as_str().is_some_and(|name| name.contains("careful")) {
                assert_eq!(failed(&way[1]), 0, "{played:#}");
            }
        }
    }
    assert_eq!(restarts.len(), 6, "{said}{told}");
    for restarted in restarts {
        let (count, account) = (&restarted["through"][0][1], &restarted["through"][0][2]);
        assert!(count.as_u64() > Some(0), "{restarted:#}");
        assert_eq!(account["requests"], 10_000, "{restarted:#}");
        assert!(account["lost"].as_object().expect("lost").is_empty(), "{restarted:#}");
    }
    assert!(output.status.success(), "{said}{told}");
}

fn failed(account: &Value) -> u64 {
    let counts = ["lost", "refused"].map(|kind| account[kind].as_object().expect("counts"));
    counts
        .iter()
        .flat_map(|kind| kind.values())
        .filter_map(Value::as_u64)
        .sum()
}
