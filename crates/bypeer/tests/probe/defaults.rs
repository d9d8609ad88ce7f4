//! What `facts` say of products that nobody configured, held to the products: the probe measures them as they come.

use std::process::Command;
use std::thread;
use std::time::Duration;

use bypeer_diagnose::facts::{Known, Limit, defaults};
use bypeer_probe::Card;
use bypeer_probe::habit::Value;

use crate::hold::{measured, probe};
use crate::server::Server;
use crate::servers::c::{apache, haproxy, lighttpd, nginx};
use crate::servers::go::go;
use crate::servers::java::tomcat;
use crate::servers::node::node;
use crate::servers::python::{gunicorn, uvicorn, uwsgi};
use crate::servers::ruby::puma;

/// Longer than the longest default here.
const LONGEST: Duration = Duration::from_secs(82);
/// Between what a row says that a stopwatch shows and what it shows.
const NEAR: Duration = Duration::from_millis(300);
/// How much later than its limit a server may look: lighttpd asks once a second whether more whole seconds have passed.
const SWEEP: Duration = Duration::from_millis(2100);

/// A product as it comes.
struct Product {
    /// Its id in `facts`.
    id: &'static str,
    /// What prints its version.
    version: &'static [&'static str],
    start: fn() -> Server,
}

const PRODUCTS: &[Product] = &[
    Product {
        id: "nginx",
        version: &["nginx", "-v"],
        start: || nginx(""),
    },
    Product {
        id: "apache",
        version: &["apache2", "-v"],
        start: || apache(""),
    },
    Product {
        id: "lighttpd",
        version: &["lighttpd", "-v"],
        start: || lighttpd(""),
    },
    Product {
        id: "haproxy",
        version: &["haproxy", "-v"],
        start: || haproxy(""),
    },
    Product {
        id: "gunicorn",
        version: &["gunicorn", "--version"],
        start: || gunicorn("--worker-class gthread --threads 40"),
    },
    Product {
        id: "uvicorn",
        version: &["uvicorn", "--version"],
        start: || uvicorn(""),
    },
    Product {
        id: "uwsgi",
        version: &["uwsgi", "--version"],
        start: || uwsgi("--http-socket {addr} --threads 40"),
    },
    Product {
        id: "node",
        version: &["node", "--version"],
        start: || node(""),
    },
    Product {
        id: "go",
        version: &["go", "version"],
        start: || go(""),
    },
    Product {
        id: "puma",
        version: &["puma", "--version"],
        start: || puma(""),
    },
    Product {
        id: "tomcat",
        version: &["/usr/share/tomcat10/bin/version.sh"],
        // As in the server.xml that is shipped.
        start: || tomcat(r#"connectionTimeout="20000""#),
    },
];

#[test]
#[ignore = "needs long, nginx, apache2, lighttpd, haproxy, python3, gunicorn, uvicorn, uwsgi, node, go, puma, tomcat10"]
fn products_do_by_default_what_facts_say() {
    let held: Vec<(&Product, Vec<String>)> = thread::scope(|scope| {
        let running: Vec<_> = PRODUCTS
            .iter()
            .map(|product| (product, scope.spawn(|| hold(product))))
            .collect();
        running
            .into_iter()
            .map(|(product, thread)| (product, thread.join().unwrap()))
            .collect()
    });
    let complaints: Vec<String> = held
        .iter()
        .flat_map(|(product, complaints)| {
            complaints
                .iter()
                .map(move |complaint| format!("{}: {complaint}", product.id))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn hold(product: &Product) -> Vec<String> {
    let server = (product.start)();
    let version = version(product);
    let known = defaults(product.id, Some(&version));
    let card = probe(&server, &|options| {
        options.only = vec!["idle-timeout".to_owned()];
        options.connections = 3;
        options.longest_wait = LONGEST;
        options.fields = vec![("Connection".to_owned(), "keep-alive".to_owned())];
    });
    let mut complaints = Vec::new();
    let kept = measured(&card, "idle-timeout.kept").and_then(Value::word);
    let idle = measured(&card, "idle-timeout.after-one");
    println!("{} {version}: {kept:?} {idle:?}; facts: {:?}", product.id, known.idle);
    match known.idle {
        None => complaints.push("facts do not say how long it keeps idle connections".to_owned()),
        Some(row) => complaints.extend(disagree(&row, kept, idle)),
    }
    if kept == Some("kept") {
        complaints.extend(promise(&card, known.announces_idle.as_ref()));
    }
    complaints
}

/// What is wrong with what facts say of the limit.
fn disagree(row: &Known<Limit>, kept: Option<&str>, idle: Option<&Value>) -> Option<String> {
    let right = match (row.value, idle) {
        (Limit::NotKept, _) => kept.is_some_and(|word| word.starts_with("closed")),
        (Limit::None, Some(Value::LongerThan(_))) => true,
        (Limit::Time(value), Some(Value::Time(spread))) => match row.observed {
            Some(observed) => observed.abs_diff(spread.median()) <= NEAR,
            None => spread.low() + NEAR >= value && spread.median() <= value + SWEEP,
        },
        _ => false,
    };
    (!right).then(|| {
        format!(
            "facts say {:?} (observed {:?}); it shows {kept:?}, {idle:?}",
            row.value, row.observed
        )
    })
}

/// What is wrong with what facts say of `Keep-Alive: timeout`.
fn promise(card: &Card, announces: Option<&Known<bool>>) -> Option<String> {
    let promised = measured(card, "idle-timeout.promised").is_some();
    match announces {
        None => Some("facts do not say whether it announces its limit".to_owned()),
        Some(row) if row.value != promised => Some(format!(
            "facts say that it announces its limit: {}; it does: {promised}",
            row.value
        )),
        Some(_) => None,
    }
}

/// The first word of what it prints that begins with a number and has a dot.
fn version(product: &Product) -> String {
    let output = Command::new(product.version[0])
        .args(&product.version[1..])
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let words = said.split(|between: char| !(between.is_ascii_digit() || between == '.'));
    let found = words
        .into_iter()
        .find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()));
    found.unwrap_or_else(|| panic!("no version in {said}")).to_owned()
}
