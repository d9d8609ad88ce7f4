use super::example::{SO_LINGER_ZERO, UNREAD_BODY, finding};
use super::*;
use bypeer_diagnose::{Accounts, Rival};

fn groups(findings: impl IntoIterator<Item = Finding>) -> Groups {
    let mut groups = Groups::new();
    for finding in findings {
        groups.count_connection(finding.server);
        groups.add(finding);
    }
    groups
}

fn plain(groups: &Groups, insights: &[Insight]) -> String {
    report(groups, insights, &Summary::default(), false, Look::PLAIN)
}

#[test]
fn a_group_tells_everything_once() {
    let mut groups = groups((1..=7).map(|stream| finding(&UNREAD_BODY, stream)));
    for _ in 0..35 {
        groups.count_connection(finding(&UNREAD_BODY, 0).server);
    }
    let text = plain(&groups, &[]);
    for part in [
        "likely: gunicorn closed while 22 of 414 request bytes were unread\n",
        "unread-request-body at 192.0.2.80:8000 (gunicorn/20.1.0) · 7 of 42 connections to it",
        "to blame: the server program",
        "7 requests without a whole answer, 2809856 bytes of responses",
        "unsafe: POST is not idempotent",
        "#98   +0.000150  POST /upload",
        "#117  +0.012345  RST,ACK",
        "RFC 1122 §4.2.2.13",
        "server: read the body",
        "client: send head",
        "tcp.stream in {1..7}",
        "192.0.2.1 (7)",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part:?} once in\n{text}");
    }
    let (server, client) = (text.find("server: read"), text.find("client: send"));
    assert!(server < client, "the server's fix first:\n{text}");
}

#[test]
fn lines_fit_the_terminal() {
    let mut undecided = finding(&SO_LINGER_ZERO, 3);
    undecided.confidence = Confidence::Undecided;
    undecided.verdict = "word ".repeat(60);
    let groups = groups([finding(&UNREAD_BODY, 1), finding(&UNREAD_BODY, 2), undecided]);
    for width in [10, 60, 80, 100, 300] {
        let look = Look { width, color: false };
        let text = report(&groups, &[], &Summary::default(), false, look);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(
            longest <= width.clamp(Look::NARROWEST, Look::WIDEST),
            "{longest} columns at {width}:\n{text}"
        );
    }
}

#[test]
fn colours_only_when_asked_for() {
    let groups = groups([finding(&UNREAD_BODY, 1)]);
    assert!(!plain(&groups, &[]).contains('\x1b'));
    let look = Look {
        width: 100,
        color: true,
    };
    let colored = report(&groups, &[], &Summary::default(), false, look);
    assert!(colored.contains("\x1b["));
    let mut stripped = String::new();
    let mut rest = colored.as_str();
    while let Some(start) = rest.find("\x1b[") {
        stripped.push_str(&rest[..start]);
        let end = rest[start..].find('m').map_or(rest.len(), |end| start + end + 1);
        rest = &rest[end..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain(&groups, &[]));
}

#[test]
fn nothing_off_the_wire_reaches_the_terminal_raw() {
    let evil = "x\x1b]0;title\x07\u{202e}\u{9b}2J\r\n";
    let mut bad = finding(&UNREAD_BODY, 1);
    bad.server_software = Some(evil.to_owned());
    for text in [
        &mut bad.verdict,
        &mut bad.closing,
        &mut bad.lost.what,
        &mut bad.retry_reason,
    ] {
        text.push_str(evil);
    }
    bad.settle = Some(evil.to_owned());
    bad.evidence[0].what = evil.to_owned();
    bad.fixes[0].what = evil.to_owned();
    bad.confidence = Confidence::Undecided;
    bad.rivals = vec![Rival {
        cause: &SO_LINGER_ZERO,
        because: evil.to_owned(),
    }];
    let insight = Insight {
        cause: &UNREAD_BODY,
        server: bad.server,
        what: evil.to_owned(),
        connections: 3,
    };
    let mut text = brief(&bad, Look::PLAIN);
    text.push('\n');
    text.push_str(&plain(&groups([bad]), &[insight]));
    let raw: Vec<char> = text
        .chars()
        .filter(|c| *c != '\n' && crate::escape::is_treacherous(*c))
        .collect();
    assert!(raw.is_empty(), "{raw:?} in {text:?}");
    assert!(text.matches("\\u{1b}]0;title").count() >= 10, "{text}");
}

#[test]
fn undecided_names_its_rivals_and_what_settles_it() {
    let mut open = finding(&UNREAD_BODY, 1);
    open.confidence = Confidence::Undecided;
    open.rivals = vec![Rival {
        cause: &SO_LINGER_ZERO,
        because: "everything may have been read".to_owned(),
    }];
    let text = plain(&groups([open]), &[]);
    for part in [
        "undecided: gunicorn",
        "either     unread-request-body: The server closed",
        "or         so-linger-zero: everything may",
        "confirm    strace",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    assert!(!text.contains("to blame"), "nobody is accused:\n{text}");
}

#[test]
fn filters_are_short_enough_to_use() {
    assert_eq!(display_filter(vec![4]), ("tcp.stream eq 4".to_owned(), 1));
    assert_eq!(display_filter(vec![4, 4]), ("tcp.stream eq 4".to_owned(), 2));
    assert_eq!(
        display_filter(vec![9, 1, 2, 2, 5, 6, 7]),
        ("tcp.stream in {1, 2, 5..7, 9}".to_owned(), 7)
    );
    let (filter, shown) = display_filter((0..1000).map(|stream| stream * 3).collect());
    assert!(filter.len() <= FILTER_LENGTH + 3 && filter.ends_with('}'), "{filter}");
    assert_eq!(shown as usize, filter.split(',').count());
}

#[test]
fn what_is_general_is_said_once() {
    let mut elsewhere = finding(&UNREAD_BODY, 9);
    elsewhere.server.port = 8001;
    let text = plain(&groups([finding(&UNREAD_BODY, 1), elsewhere]), &[]);
    assert_eq!(text.matches("RFC 1122").count(), 1, "{text}");
    assert_eq!(text.matches("server: read the body").count(), 1, "{text}");
    assert!(text.contains("fix        as for 192.0.2.80:8000 above"), "{text}");
}

#[test]
fn a_scan_of_every_port_makes_no_book() {
    let base = finding(&SO_LINGER_ZERO, 1);
    let scan = (1..=u16::MAX).map(|port| {
        let mut one = base.clone();
        one.server.port = port;
        one
    });
    let text = plain(&groups(scan), &[]);
    assert!(text.lines().count() < 1000, "{} lines", text.lines().count());
    assert!(
        text.contains("so-linger-zero: 65495 connections to 4960 or more other servers"),
        "{text}"
    );
}

#[test]
fn harmless_findings_wait_for_all() {
    let mut harmless = finding(&SO_LINGER_ZERO, 1);
    harmless.harmless = true;
    let groups = groups([harmless]);
    let summary = Summary {
        accounts: Accounts {
            connections: 1,
            harmless: 1,
            ..Accounts::default()
        },
        ..Summary::default()
    };
    let short = report(&groups, &[], &summary, false, Look::PLAIN);
    assert!(
        !short.contains("so-linger-zero") && short.contains("--all shows them"),
        "{short}"
    );
    let long = report(&groups, &[], &summary, true, Look::PLAIN);
    assert!(
        long.contains("so-linger-zero") && !long.contains("--all shows"),
        "{long}"
    );
    assert!(!long.contains("to blame"), "a note accuses nobody:\n{long}");
}

#[test]
fn insights_stand_with_their_group_and_others_by_themselves() {
    let ours = finding(&UNREAD_BODY, 1);
    let insight = |cause, what: &str| Insight {
        cause,
        server: ours.server,
        what: what.to_owned(),
        connections: 4,
    };
    let mut elsewhere = insight(&SO_LINGER_ZERO, "a burst of resets");
    elsewhere.server.port = 9;
    let insights = [
        insight(&UNREAD_BODY, "only with two segments"),
        insight(&SO_LINGER_ZERO, "closes after 5.00 s idle"),
        elsewhere,
    ];
    let text = plain(&groups([ours]), &insights);
    for part in [
        "  pattern    only with two segments (from 4 connections)\n",
        "  pattern    closes after 5.00 s idle (from 4 connections)\n",
        "\npattern what only several connections together show\n  so-linger-zero at 192.0.2.80:9: a burst of resets",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part:?} in\n{text}");
    }
}

#[test]
fn long_lists_are_cut_and_say_so() {
    let mut many = finding(&UNREAD_BODY, 0);
    let one = many.evidence[0].clone();
    many.evidence = (1..=40).map(|number| Evidence { number, ..one.clone() }).collect();
    let mut findings = vec![many];
    findings.extend((1..=2000).map(|stream| finding(&UNREAD_BODY, stream)));
    let text = plain(&groups(findings), &[]);
    assert!(text.contains("(28 more)"), "{text}");
    assert!(
        text.contains("tcp.stream in {0..999}\n") && text.contains("and 1001 connections more"),
        "{text}"
    );
    assert!(text.lines().count() < 60, "{} lines", text.lines().count());
}

#[test]
fn what_to_do_comes_before_its_proof() {
    let text = plain(&groups([finding(&UNREAD_BODY, 1)]), &[]);
    let places: Vec<usize> = [
        "likely: ",
        "  closed ",
        "  lost ",
        "  retry ",
        "  fix ",
        "  proof ",
        "  confirm ",
        "  wireshark ",
        "  standard ",
        "`bypeer causes ID`",
    ]
    .iter()
    .map(|part| text.find(part).unwrap_or_else(|| panic!("{part:?} in\n{text}")))
    .collect();
    assert!(places.is_sorted(), "{places:?} in\n{text}");
    assert!(
        !text.contains("should send a reset"),
        "the clause's text is the manual's:\n{text}"
    );
}

#[test]
fn retries_that_differ_name_their_streams() {
    let mut findings: Vec<Finding> = (1..=5).map(|stream| finding(&UNREAD_BODY, stream)).collect();
    findings[1].retry = Retry::Safe;
    let text = plain(&groups(findings), &[]);
    assert!(
        text.contains("safe on stream 2; unsafe on streams 1, 3..5; on stream 1 unsafe:"),
        "{text}"
    );
    assert!(text.contains("all 5 connections to it"), "{text}");
    let two = plain(&groups([finding(&UNREAD_BODY, 1), finding(&UNREAD_BODY, 2)]), &[]);
    assert!(two.contains("both connections to it"), "{two}");
}

#[test]
fn patterns_name_their_connections_once() {
    let ours = finding(&UNREAD_BODY, 1);
    let insight = Insight {
        cause: &UNREAD_BODY,
        server: ours.server,
        what: "closes after 5.00 s idle (seen on 4 connections)".to_owned(),
        connections: 7,
    };
    let text = plain(&groups([ours]), &[insight]);
    assert!(text.contains("(seen on 4 connections)\n"), "{text}");
}

#[test]
fn what_is_unexplained_is_not_all_clear() {
    let summary = Summary {
        accounts: Accounts {
            connections: 3,
            harmless: 1,
            ended_well: 1,
            not_judged: vec![(NotJudged::NoCauseFits, 1)],
            ..Accounts::default()
        },
        unexplained: vec![2],
        ..Summary::default()
    };
    let text = report(&Groups::new(), &[], &summary, false, Look::PLAIN);
    assert!(
        text.starts_with("No cause was found, but 1 connection ended abnormally"),
        "{text}"
    );
    assert!(text.contains("no cause describes: stream 2\n"), "{text}");
}
