use super::*;

#[test]
fn help_lists_the_verbs_that_exist_and_no_others() {
    let short = run(&["-h"]);
    assert_eq!(short.code, 0);
    let commands: Vec<&str> = short
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What is deeper continues the line above.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        commands,
        [
            "explain",
            "watch",
            "probe",
            "lab",
            "chain",
            "guard",
            "causes",
            "completions",
            "man",
            "help"
        ]
    );
    let long = run(&["--help"]);
    assert!(
        long.out.contains("Exit status:") && long.out.contains("Examples:"),
        "{}",
        long.out
    );
    assert!(long.out.lines().all(|line| line.chars().count() <= 100), "{}", long.out);
}

#[test]
fn help_of_explain_is_short_and_long() {
    let short = run(&["explain", "-h"]);
    let long = run(&["explain", "--help"]);
    assert!(short.out.lines().count() < 30, "{}", short.out);
    for part in [
        "--connection",
        "--error",
        "--around",
        "--cause",
        "--all",
        "--format",
        "--color",
        "bypeer.finding/1",
    ] {
        assert!(long.out.contains(part), "{part} in\n{}", long.out);
    }
    assert!(
        long.out.contains("0  nothing found") && long.out.contains("2  trouble"),
        "{}",
        long.out
    );
}

#[test]
fn help_of_the_lab_tells_of_its_verbs() {
    let long = run(&["lab", "--help"]);
    for part in [
        "  list ",
        "  run ",
        "  show ",
        "network namespaces",
        "root",
        "Exit status:",
        "docs/lab.md",
    ] {
        assert!(long.out.contains(part), "{part} in\n{}", long.out);
    }
    for verb in ["list", "run", "show"] {
        let long = run(&["lab", verb, "--help"]);
        assert_eq!(long.code, 0, "{}", long.err);
        assert!(long.out.lines().all(|line| line.chars().count() <= 100), "{}", long.out);
        let short = run(&["lab", verb, "-h"]);
        assert!(short.out.lines().count() < 45, "{}", short.out);
    }
    let run_help = run(&["lab", "run", "--help"]);
    for part in [
        "--server",
        "{addr}",
        "--fixes",
        "--real",
        "--keep",
        "bypeer.lab-round/1",
        "bypeer.lab/1",
    ] {
        assert!(run_help.out.contains(part), "{part} in\n{}", run_help.out);
    }
}

/// The lab starts itself with a verb and an option that are nobody else's.
#[test]
fn what_is_hidden_is_nowhere_to_be_seen() {
    let mut places: Vec<Vec<&str>> = vec![vec!["-h"], vec!["--help"], vec!["man"]];
    for verb in ["", "list", "run", "show"] {
        for start in [vec!["lab"], vec!["man", "lab"], vec!["help", "lab"]] {
            let mut place = start;
            place.extend(Some(verb).filter(|verb| !verb.is_empty()));
            if place[0] == "lab" {
                places.extend(["-h", "--help"].map(|help| [&place[..], &[help]].concat()));
            } else {
                places.push(place);
            }
        }
    }
    places.extend(["bash", "zsh", "fish", "elvish", "powershell"].map(|shell| vec!["completions", shell]));
    for place in places {
        let ran = run(&place);
        assert_eq!(ran.code, 0, "{place:?}: {}", ran.err);
        for hidden in ["actor", "inside", "staged"] {
            let shown: Vec<&str> = ran
                .out
                .lines()
                .filter(|line| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == hidden))
                .collect();
            assert!(shown.is_empty(), "{place:?}: {shown:#?}");
        }
    }
}

#[test]
fn without_a_verb_help_is_trouble() {
    let ran = run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage:"), "{}", ran.err);
    assert_eq!(run(&["frobnicate"]).code, 2);
}

#[test]
fn without_a_file_the_capture_command_is_told() {
    let ran = run(&["explain"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for part in ["-C 100 -W 20", "-s 0", "nsenter", "kubectl", "both ends"] {
        assert!(ran.err.contains(part), "{part} in\n{}", ran.err);
    }
    assert!(ran.err.lines().all(|line| line.chars().count() <= 126), "{}", ran.err);
}

#[test]
fn causes_are_listed_and_each_has_its_page() {
    let list = run(&["causes"]);
    assert_eq!(list.code, 0);
    let ids: Vec<&str> = list
        .out
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split("  ").next())
        .collect();
    assert!(
        ids.contains(&"unread-request-body") && ids.contains(&"silent-drop"),
        "{ids:?}"
    );
    for id in ids {
        let page = run(&["causes", id]);
        assert_eq!(page.code, 0, "{id}");
        assert!(
            !page.out.trim().is_empty() && !page.out.contains("**"),
            "{id}:\n{}",
            page.out
        );
    }
}

#[test]
fn an_unknown_cause_is_met_with_the_nearest() {
    let ran = run(&["causes", "silent-dropp"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("did you mean silent-drop?"), "{}", ran.err);
    let ran = run(&["causes", "\x1b[31mteapot"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.err.contains('\x1b'), "{:?}", ran.err);
    assert_eq!(run(&["causes", "silent_drop"]).code, 0, "underscores will do");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        for word in ["explain", "connection", "lab", "list", "fixes", "completions"] {
            assert!(ran.out.contains(word), "{word} for {shell}");
        }
    }
}

#[test]
fn manual_pages_for_the_program_and_its_verbs() {
    let page = run(&["man"]);
    assert_eq!(page.code, 0);
    assert!(
        page.out.contains(".TH bypeer 1") && page.out.contains("Exit status"),
        "{}",
        page.out
    );
    let page = run(&["man", "explain"]);
    assert!(
        page.out.contains(".TH bypeer-explain 1") && page.out.contains("around"),
        "{}",
        page.out
    );
    let page = run(&["man", "lab", "run"]);
    assert!(
        page.out.contains(".TH bypeer-lab-run 1") && page.out.contains("rounds"),
        "{}",
        page.out
    );
    for (unknown, told) in [
        (&["man", "nothing"][..], "there are explain, watch, probe, lab, chain,"),
        (&["man", "lab", "actor"], "there are list, run, show"),
        (&["man", "explain", "run"], "has no verbs"),
    ] {
        let ran = run(unknown);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(told), "{}", ran.err);
    }
}
