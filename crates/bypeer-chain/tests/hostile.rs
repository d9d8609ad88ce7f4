//! Configuration files that nobody means well with: no panic, an end in good time, and memory that stays bounded.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bypeer_chain::{Chain, NotMeasured, Request, Style, assemble, json, judge, report};
use common::{Memory, middle};

const READERS: [(&str, &str); 7] = [
    ("nginx", "nginx.conf"),
    ("haproxy", "haproxy.cfg"),
    ("envoy", "envoy.yaml"),
    ("envoy", "envoy.json"),
    ("apache", "apache.conf"),
    ("gunicorn", "gunicorn.conf.py"),
    ("ingress-nginx", "ingress-nginx.yaml"),
];

/// Reads it, and prints what came of it.
fn survive(product: &str, text: &str) {
    static FORMATS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| Memory::formats().0);
    let mut files = Memory(FORMATS.clone());
    files.0.insert("f".to_owned(), text.to_owned());
    let requests: Vec<Request> = ["client=1", &format!("{product}:f"), "end=9"]
        .iter()
        .map(|hop| Request::parse(hop).unwrap())
        .collect();
    let Ok(hops) = assemble(&requests, &files, &NotMeasured) else {
        return;
    };
    let chain = Chain {
        hops,
        ..Chain::default()
    };
    let judged = judge(&chain);
    let style = Style {
        width: 80,
        color: true,
        unicode: true,
    };
    assert!(!report(&chain, &judged, style).is_empty());
    let mut out = Vec::new();
    json::write(&mut out, &chain, &judged).unwrap();
    assert!(out.ends_with(b"\n"));
}

#[test]
fn every_beginning_of_real_files() {
    let formats = Memory::formats();
    for (product, name) in READERS {
        let text = &formats.0[name];
        for (end, _) in text.char_indices() {
            survive(product, &text[..end]);
        }
    }
}

#[test]
fn every_reader_on_the_files_of_the_others() {
    let formats = Memory::formats();
    for (product, _) in READERS {
        for text in formats.0.values() {
            survive(product, text);
        }
    }
}

#[test]
fn mutations_of_real_files() {
    let formats = Memory::formats();
    let mut seed: u64 = 0x5EED;
    let mut dice = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let pieces = [
        "{",
        "}",
        ";",
        "\"",
        "'",
        "\\",
        "#",
        "\n",
        "<",
        "</",
        ">",
        "[",
        "]",
        ": ",
        "- ",
        "&a ",
        "*a",
        "${",
        "=",
        "0",
        "\u{0}",
        "é",
        "999999999999999999999s",
    ];
    for (product, name) in READERS {
        let text: Vec<char> = formats.0[name].chars().collect();
        for _ in 0..400 {
            let mut changed = text.clone();
            for _ in 0..=dice(4) {
                let at = dice(changed.len());
                match dice(3) {
                    0 => changed
                        .splice(at..at, pieces[dice(pieces.len())].chars())
                        .for_each(drop),
                    1 => changed.drain(at..(at + dice(20)).min(changed.len())).for_each(drop),
                    _ => {
                        let end = (at + dice(60)).min(changed.len());
                        let copy: Vec<char> = changed[at..end].to_vec();
                        changed.splice(at..at, copy).for_each(drop);
                    }
                }
            }
            survive(product, &changed.iter().collect::<String>());
        }
    }
}

#[test]
fn what_is_deep_or_long_has_an_end() {
    let began = Instant::now();
    let mega = 1 << 20;
    let inputs = [
        "http {".repeat(100_000),
        "{".repeat(100_000),
        "<Location /a>\n".repeat(100_000),
        "[".repeat(100_000),
        "a: {".repeat(50_000),
        "- ".repeat(50_000),
        "\"".repeat(10_001),
        "x".repeat(mega),
        format!("keepalive = {}\n", "9".repeat(mega)),
        format!("http {{ keepalive_timeout {}; server {{ }} }}", "9".repeat(mega)),
        format!("frontend f\n timeout client {}\n", "9".repeat(mega)),
        format!("KeepAliveTimeout {}\n", "1h".repeat(mega / 2)),
        format!("Define a {0}\n{1}\n", "x".repeat(1000), "${a}".repeat(mega / 4)),
        "frontend f\n default_backend b\nbackend b\n server a b\n".repeat(2_000),
        "http { server { location / { proxy_pass http://a; } } }\n".repeat(5_000),
        "\u{0}\u{1}\u{fffd}\u{feff}\u{202e}".repeat(20_000),
        "\\\n".repeat(100_000),
        "defaults a from b\ndefaults b from a\nfrontend f from b\n timeout client 5s\n".to_owned(),
    ];
    for input in &inputs {
        for (product, _) in READERS {
            survive(product, input);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(180), "{:?}", began.elapsed());
}

#[test]
fn includes_that_go_in_circles_are_said() {
    for (product, main, other) in [
        ("nginx", "http { include b; }", "include a;"),
        ("nginx", "include a;", ""),
        ("nginx", "http { include *; }", "server { }"),
        ("apache", "Include b\n", "Include a\n"),
        ("apache", "Include a\n", ""),
    ] {
        let files = Memory::of(&[("a", main), ("b", other)]);
        let error = middle(&files, &format!("{product}:a")).unwrap_err();
        assert!(error.contains("includes itself"), "{product} {main}: {error}");
    }
}

#[test]
fn includes_that_multiply_have_an_end() {
    // Each file includes the next one twice: 2^40 files.
    let mut files = Memory::default();
    for level in 0..40 {
        let text = format!("include f{0};\ninclude f{0};\n", level + 1);
        files.0.insert(format!("f{level}"), text);
    }
    files.0.insert("f40".to_owned(), "# end\n".to_owned());
    let error = middle(&files, "nginx:f0").unwrap_err();
    assert!(error.contains("too many files"), "{error}");
    for (name, text) in &mut files.0 {
        *text = text.replace("include ", "Include ").replace(';', "");
        assert!(!name.is_empty());
    }
    let error = middle(&files, "apache:f0").unwrap_err();
    assert!(error.contains("too many files"), "{error}");
}
