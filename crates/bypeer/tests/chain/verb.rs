//! Arguments, exit status, JSON.

use super::*;

#[test]
fn a_fault_is_an_exit_status_of_one() {
    let ran = chain(&["client=90", "alb=60", "nginx=75/60", "gunicorn=2"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.out.contains("90 s X 60 s") && ran.out.contains("keepalive = 65"),
        "{}",
        ran.out
    );
    assert!(ran.out.is_ascii(), "not a terminal: {}", ran.out);
    assert!(ran.out.ends_with("3 pairs: 1 right, 2 wrong\n"), "{}", ran.out);
    let ran = chain(&["client=4", "nginx=65/60", "gunicorn=75"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    // What cannot be told is no fault.
    let ran = chain(&["client=4", "server=?"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("cannot be told") && ran.out.contains("server=SECONDS"),
        "{}",
        ran.out
    );
}

#[test]
fn trouble_is_said_with_its_place_and_what_to_do() {
    for (arguments, said) in [
        (&[][..], "name the hops"),
        (&["client=4"], "at least two hops"),
        (&["client=4", "frontdoor"], "frontdoor=60"),
        (&["client=4", "nginx=soon"], "IDLE/POOL"),
        (&["client=4", "nginx:none.conf"], "none.conf"),
        (&["client=4", "nginx:."], "is a folder"),
        (&["client=4", "http://127.0.0.1:1/"], "refuses connections"),
        (&["--file", "none.toml"], "none.toml"),
        (&["client=4", "a=5", "--rate", "0"], "--rate"),
        (&["client=4", "a=5", "--round-trip", "soon"], "--round-trip"),
        (&["client=4", "--file", "chain.toml"], "cannot be used with"),
    ] {
        let ran = chain(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn records_are_as_their_schema_says() {
    for hops in [
        &["client=90", "alb=60", "nginx=75/60", "gunicorn=2"][..],
        &["client=4", "node"],
        &["go-client", "envoy", "tomcat", "--rate", "10", "--connections", "5"],
        &["client=5", "a=close", "--round-trip", "20ms"],
        &["client=?", "haproxy:haproxy-node/haproxy.cfg", "node@20"],
        &["--file", "chain.toml"],
    ] {
        record(&data(), hops);
    }
    let record = record(&data(), &["client=90", "nginx=75/60", "gunicorn=2"]);
    assert_eq!(record["pairs"][1]["order"], "wrong");
    let finding = &record["pairs"][1]["findings"][0];
    assert_eq!(
        (&finding["cause"], &finding["fault"]),
        (&"idle-timeout-inversion".into(), &true.into())
    );
    assert!(finding["clauses"].as_array().is_some_and(|clauses| !clauses.is_empty()));
    assert_eq!(finding["mends"][0]["line"], "keepalive = 65");
    assert_eq!(
        record["hops"][2]["idle"]["latest"], 3.0,
        "gunicorn sweeps once a second"
    );
}

#[test]
fn a_file_says_what_flags_can_and_more() {
    let record = record(&data(), &["--file", "chain.toml"]);
    let hops: Vec<&str> = record["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| hop["name"].as_str().unwrap())
        .collect();
    assert_eq!(hops, ["worker", "edge", "app"]);
    assert_eq!(record["rate"], 50.0);
    assert_eq!(record["hops"][1]["pool"]["origin"]["file"], "nginx-gunicorn/nginx.conf");
    assert_eq!(record["pairs"][1]["findings"][0]["risk"]["rate"], 2.5);
}

#[test]
fn the_configurations_of_the_pairs_are_found_at_fault() {
    for (hops, place) in [
        (
            [
                "client=4",
                "nginx@1.22:nginx-gunicorn/nginx.conf",
                "gunicorn:nginx-gunicorn/gunicorn.conf.py",
            ],
            "nginx-gunicorn/gunicorn.conf.py:4",
        ),
        (
            ["client=4", "haproxy:haproxy-node/haproxy.cfg", "node@20=5"],
            "where the server is made",
        ),
    ] {
        let record = record(&data(), &hops);
        assert_eq!(record["faults"], 1);
        assert_eq!(record["pairs"][0]["order"], "right");
        let finding = &record["pairs"][1]["findings"][0];
        assert_eq!(finding["cause"], "idle-timeout-inversion");
        assert_eq!(finding["mends"][0]["place"], place);
    }
    for hops in [
        [
            "client=4",
            "nginx@1.22:nginx-gunicorn/nginx.conf",
            "gunicorn:nginx-gunicorn/gunicorn-mended.conf.py",
        ],
        ["client=4", "haproxy:haproxy-node/haproxy-mended.cfg", "node@20=5"],
        ["client=4", "haproxy:haproxy-node/haproxy.cfg", "node@20=75"],
    ] {
        assert_eq!(record(&data(), &hops)["faults"], 0, "{hops:?}");
    }
}
