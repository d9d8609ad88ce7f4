//! Chains as people have them: what is right, what is wrong, what cannot be told, and what mends it.
#![allow(clippy::unwrap_used)]

mod common;

use bypeer_chain::{
    Chain, ClosesFirst, Level, Limit, Limits, Measure, Measured, Order, Origin, Report, Request, Style, Traffic,
    assemble, judge, report,
};
use common::{Memory, chain, hops};
use std::time::Duration;

fn orders(report: &Report) -> Vec<&'static str> {
    let name = |order: &Order| match order {
        Order::Right => "right",
        Order::Tight => "tight",
        Order::Wrong => "wrong",
        Order::NotReused => "not reused",
        Order::CannotTell(_) => "cannot tell",
    };
    report.pairs.iter().map(|pair| name(&pair.order)).collect()
}

fn of(hops: &[&str]) -> Vec<&'static str> {
    orders(&chain(hops).1)
}

#[test]
fn the_further_right_the_longer() {
    assert_eq!(of(&["client=4", "alb=60", "nginx=65/70", "app=75"]), ["right"; 3]);
    assert_eq!(
        of(&["client=90", "alb=60", "nginx=75/60", "gunicorn=2"]),
        ["wrong", "right", "wrong"]
    );
    assert_eq!(of(&["a=5", "b=5"]), ["wrong"], "at the same time is a race");
    assert_eq!(of(&["a=5", "b=5.1"]), ["tight"]);
    assert_eq!(of(&["a=5", "b=6"]), ["right"]);
    assert_eq!(of(&["a=never", "b=60"]), ["wrong"]);
    assert_eq!(of(&["a=never", "b=never"]), ["right"]);
    assert_eq!(of(&["a=60", "b=never"]), ["right"]);
    assert_eq!(of(&["a=close", "b=2"]), ["not reused"]);
    assert_eq!(of(&["a=2..7", "b=5"]), ["wrong"]);
    assert_eq!(of(&["a=4", "b=5..30"]), ["right"]);
}

#[test]
fn who_closes_first_is_said() {
    let first = |hops: &[&str]| chain(hops).1.pairs[0].closes_first;
    assert_eq!(first(&["a=4", "b=5"]), ClosesFirst::Opener);
    assert_eq!(first(&["a=9", "b=5"]), ClosesFirst::Acceptor);
    assert_eq!(first(&["a=2..7", "b=5"]), ClosesFirst::Either);
    assert_eq!(first(&["a=never", "b=never"]), ClosesFirst::Nobody);
    assert_eq!(first(&["a=close", "b=5"]), ClosesFirst::EachResponse);
    assert_eq!(first(&["a=5", "b=60/?", "c=9"]), ClosesFirst::Opener);
}

#[test]
fn a_round_trip_that_is_long_needs_room() {
    let request = |text: &str| Request::parse(text).unwrap();
    let at = |round_trip| {
        let mut requests = [request("a=5"), request("b=6")];
        requests[0].round_trip = Some(Duration::from_millis(round_trip));
        let hops = assemble(&requests, &Memory::default(), &bypeer_chain::NotMeasured).unwrap();
        orders(&judge(&Chain {
            hops,
            ..Chain::default()
        }))
    };
    assert_eq!((at(10), at(2_000)), (vec!["right"], vec!["tight"]));
}

#[test]
fn what_is_not_known_is_no_fault() {
    for hops in [
        &["a=5", "b=?"][..],
        &["a=?", "b=5"],
        &["a=4", "b=60", "c=75"],
        // Whether it says close is not known.
        &["a=5", "b=close"],
        // 26 keeps for 65 s, older ones for 5 s.
        &["a=30", "node"],
    ] {
        let (_, report) = chain(hops);
        assert!(!report.has_faults(), "{hops:?}");
        assert!(orders(&report).contains(&"cannot tell"), "{hops:?}: {report:?}");
        for pair in &report.pairs {
            if let Order::CannotTell(missing) = &pair.order {
                assert!(
                    missing
                        .iter()
                        .all(|missing| !missing.what.is_empty() && !missing.how.is_empty())
                );
            }
        }
    }
    assert_eq!(of(&["a=30", "node@20"]), ["wrong"]);
    assert_eq!(of(&["a=30", "node@26.1"]), ["right"]);
    assert_eq!(of(&["a=3", "node"]), ["right"], "all versions are right");
    assert_eq!(of(&["a=90", "node"]), ["wrong"], "all versions are wrong");
    // A server that is never asked again needs no limit, and one that keeps for ever no pool.
    assert_eq!(of(&["a=close", "b=?"]), ["not reused"]);
    assert_eq!(of(&["a=?", "b=never"]), ["right"]);
}

#[test]
fn defaults_have_their_source() {
    let (built, _) = chain(&["go-client", "aws-alb", "gunicorn"]);
    let pool = built.hops[0].opens.pool.as_ref().unwrap();
    assert_eq!(pool.value, Limit::exactly(Duration::from_secs(90)));
    assert!(matches!(&pool.origin, Origin::Default { source, .. } if source.contains("transport.go")));
    let alb = &built.hops[1];
    assert_eq!(
        alb.opens.pool.as_ref().unwrap().value,
        alb.accepts.idle.as_ref().unwrap().value
    );
    let (built, _) = chain(&["go-client", "alb=30", "gunicorn"]);
    assert_eq!(
        built.hops[1].opens.pool.as_ref().unwrap().value,
        Limit::exactly(Duration::from_secs(30)),
        "one limit for both"
    );
}

#[test]
fn names_that_nobody_knows_need_numbers() {
    let error = |chain: &[&str]| hops(&Memory::default(), chain).unwrap_err().to_string();
    assert!(error(&["frontdoor", "a=5"]).contains("frontdoor=90"));
    assert!(error(&["a=5", "frontdoor", "b=5"]).contains("frontdoor=60/30"));
    assert!(error(&["a=5", "ngnix"]).contains("it knows nginx"));
    assert!(error(&["a=5"]).contains("at least two hops"));
    assert!(error(&["a=5", "http://127.0.0.1:80/"]).contains("not measured"));
    assert!(error(&["a=5", "node@new"]).contains("no version"));
}

/// Applies what is told first until nothing is wrong.
fn mended(mut chain: Chain) -> Report {
    for _ in 0..10 {
        let report = judge(&chain);
        let Some((pair, mend)) = report.pairs.iter().find_map(|pair| {
            Some((
                pair,
                pair.findings
                    .iter()
                    .find(|finding| finding.level == Level::Fault)?
                    .mends
                    .first()?,
            ))
        }) else {
            return report;
        };
        // What a reader would do with the words: the number in them, at the hop that they name.
        let number: String = mend
            .what
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        let limit = match number.parse() {
            Ok(seconds) => Limit::exactly(Duration::from_secs(seconds)),
            Err(_) => Limit::AtOnce,
        };
        let hop = &mut chain.hops[mend.hop];
        let told = Some(bypeer_chain::Told::given(limit));
        let alb = hop.name == "alb";
        if mend.hop == pair.opener || alb {
            hop.opens.pool.clone_from(&told);
        }
        if mend.hop != pair.opener || alb {
            hop.accepts.idle = told;
        }
    }
    judge(&chain)
}

#[test]
fn what_is_told_mends_it_and_breaks_nothing() {
    for hops in [
        &["client=90", "alb=60", "nginx=75/60", "gunicorn=2"][..],
        &["go-client", "alb", "nginx=75/60", "node@20"],
        &["client=120", "cloudfront", "alb", "envoy", "tomcat"],
        &["a=never", "b=60/never", "c=75"],
        &["client=300", "nginx=75/90", "uvicorn"],
        &["a=5", "b=5/5", "c=5/5", "d=5"],
        &["a=7200", "b=5000"],
        &["a=1", "b=0.5"],
    ] {
        let (built, before) = chain(hops);
        assert!(before.has_faults(), "{hops:?}");
        for finding in before
            .pairs
            .iter()
            .flat_map(|pair| &pair.findings)
            .filter(|finding| finding.level == Level::Fault)
        {
            assert!(!finding.mends.is_empty(), "{hops:?}: nothing mends {finding:?}");
            assert!(
                bypeer_diagnose::causes::find(finding.cause).is_some(),
                "{}",
                finding.cause
            );
        }
        let after = mended(built);
        assert!(!after.has_faults(), "{hops:?}: {after:#?}");
    }
}

#[test]
fn two_seconds_are_not_undercut_but_lengthened() {
    let (_, report) = chain(&["nginx=75/60", "gunicorn=2"]);
    let mends = &report.pairs[0].findings[0].mends;
    assert_eq!(mends.len(), 1, "{mends:?}");
    assert_eq!(mends[0].line.as_deref(), Some("keepalive = 65"));
    // An hour is shortened, and not met by servers that keep for an hour.
    let (_, report) = chain(&["client=4", "envoy", "tomcat"]);
    let first = &report.pairs[1].findings[0].mends[0];
    assert!(
        first.hop == 1 && first.what.starts_with("envoy: keep connections that it opened for"),
        "{first:?}"
    );
}

#[test]
fn a_change_that_breaks_the_next_pair_is_not_told() {
    // One limit for both sides of the balancer: raised for the client it would outlast nginx.
    let (_, report) = chain(&["client=90", "alb=60", "nginx=75/60", "app=120"]);
    let mends = &report.pairs[0].findings[0].mends;
    assert!(!mends.is_empty() && mends.iter().all(|mend| mend.hop == 0), "{mends:?}");
}

#[test]
fn an_announced_limit_is_followed_by_who_follows_it() {
    let files = Memory::of(&[(
        "n",
        "http { keepalive_timeout 5 5; server { server_name a; location / { return 200; } } }",
    )]);
    let judged = |client: &str| {
        let hops = hops(&files, &[client, "nginx:n"]).unwrap();
        orders(&judge(&Chain {
            hops,
            ..Chain::default()
        }))
    };
    assert_eq!(judged("undici=60"), ["right"]);
    assert_eq!(judged("go-client"), ["wrong"]);
    assert_eq!(judged("client=60"), ["wrong"], "its own number was given");
    assert_eq!(judged("okhttp"), ["cannot tell"], "whether it follows is not known");
}

#[test]
fn a_close_after_each_response_must_be_said() {
    let mut server = Request::parse("server=close").unwrap();
    let client = Request::parse("client=90").unwrap();
    let mut judged = |says| {
        server.says_close = says;
        let hops = assemble(
            &[client.clone(), server.clone()],
            &Memory::default(),
            &bypeer_chain::NotMeasured,
        )
        .unwrap();
        judge(&Chain {
            hops,
            ..Chain::default()
        })
    };
    assert_eq!(orders(&judged(Some(true))), ["not reused"]);
    assert_eq!(orders(&judged(None)), ["cannot tell"]);
    let report = judged(Some(false));
    assert_eq!(report.pairs[0].findings[0].cause, "unannounced-close-each-response");
    assert_eq!(report.pairs[0].findings[0].mends.len(), 2);
}

#[test]
fn a_limit_of_requests_must_be_said_or_be_out_of_reach() {
    let client = Request::parse("client=5").unwrap();
    let judged = |says: Option<bool>, own: Option<u64>| {
        let mut server = Request::parse("server=60").unwrap();
        (server.max_requests, server.says_close) = (Some(100), says);
        let mut client = client.clone();
        client.pool_max_requests = own;
        let hops = assemble(&[client, server], &Memory::default(), &bypeer_chain::NotMeasured).unwrap();
        judge(&Chain {
            hops,
            ..Chain::default()
        })
    };
    assert!(!judged(None, None).has_faults());
    assert!(!judged(Some(true), None).has_faults());
    assert!(!judged(Some(false), Some(90)).has_faults());
    let report = judged(Some(false), None);
    let finding = &report.pairs[0].findings[0];
    assert_eq!(finding.cause, "proxy-max-requests");
    assert!(
        finding
            .mends
            .iter()
            .any(|mend| mend.what.contains("at most 90 requests")),
        "{finding:?}"
    );
}

#[test]
fn waits_that_are_the_wrong_way_round_are_a_note() {
    let mut outer = Request::parse("outer=4").unwrap();
    let mut inner = Request::parse("inner=60/4").unwrap();
    let server = Request::parse("server=60").unwrap();
    outer.waits = Some(Duration::from_secs(10));
    inner.waits = Some(Duration::from_secs(30));
    let requests = [outer, inner, server];
    let hops = assemble(&requests, &Memory::default(), &bypeer_chain::NotMeasured).unwrap();
    let report = judge(&Chain {
        hops,
        ..Chain::default()
    });
    let finding = &report.pairs[0].findings[0];
    assert_eq!((finding.cause, finding.level), ("client-cancel", Level::Note));
    assert!(!report.has_faults());
}

#[test]
fn a_rate_is_shared_by_connections() {
    let (mut built, _) = chain(&["a=60", "b=5"]);
    built.traffic = Traffic {
        rate: Some(10.0),
        connections: Some(50.0),
    };
    built.round_trip = Some(Duration::from_millis(10));
    let risk = judge(&built).pairs[0].findings[0].risk.unwrap();
    assert_eq!(risk.rate, Some(0.2));
    let chance = (-1.0f64).exp() * (0.2f64 * 0.0102).exp_m1();
    assert!((risk.share.unwrap() - chance / (1.0 + chance)).abs() < 1e-9, "{risk:?}");
    assert!(risk.worst_share >= risk.share.unwrap());
}

struct Always(Limit);

impl Measure for Always {
    fn measure(&self, _: &str) -> Result<Measured, String> {
        Ok(Measured {
            idle: self.0,
            announces_idle: Some(None),
            announces_close: None,
        })
    }
}

#[test]
fn a_measured_limit_is_taken_as_it_is() {
    let requests = ["a=9", "gunicorn=http://127.0.0.1:8000/"].map(|hop| Request::parse(hop).unwrap());
    let measured = Limit::After {
        earliest: Duration::from_millis(2_010),
        latest: Duration::from_millis(2_990),
    };
    let hops = assemble(&requests, &Memory::default(), &Always(measured)).unwrap();
    let idle = hops[1].accepts.idle.as_ref().unwrap();
    assert_eq!(
        (idle.value, matches!(idle.origin, Origin::Measured(_))),
        (measured, true)
    );
    assert_eq!(
        Request::parse("a=9").unwrap().limits,
        Limits::One(Limit::exactly(Duration::from_secs(9)))
    );
}

#[test]
fn the_drawing_keeps_to_the_width_and_to_ascii() {
    let (built, judged) = chain(&["client=90", "aws-alb=60", "nginx=75/60", "gunicorn=2"]);
    for width in [20, 40, 60, 80, 120] {
        for unicode in [false, true] {
            let style = Style {
                width,
                color: false,
                unicode,
            };
            let text = report(&built, &judged, style);
            assert!(unicode || text.is_ascii(), "{text}");
            assert_eq!(text.contains('●'), unicode);
            let drawing: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
            assert_eq!(drawing.len() == 2, width >= 80, "{width}: {drawing:#?}");
            assert!(
                text.lines().all(|line| line.chars().count() <= width.max(60)),
                "{width}: {text}"
            );
        }
    }
}
