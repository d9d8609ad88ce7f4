//! `bypeer probe` as one runs it, against servers of the test's own.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A server that does the same to each connection, in a thread each.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn of(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                counted.fetch_add(1, SeqCst);
                let serve = serve.clone();
                thread::spawn(move || serve(connection));
            }
        });
        Server { address, connections }
    }

    /// Keeps connections for so long, and closes them without a word.
    fn keeping(limit: Duration) -> Server {
        Server::of(move |mut connection| {
            connection.set_read_timeout(Some(limit)).unwrap();
            while request(&mut connection) {
                connection.write_all(ANSWER).unwrap();
            }
        })
    }

    /// Closes after each answer, without saying so.
    fn closing() -> Server {
        Server::of(|mut connection| {
            if request(&mut connection) {
                connection.write_all(ANSWER).unwrap();
            }
        })
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Reads a request with its body; false when none came.
fn request(connection: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return true;
            }
        }
        match connection.read(&mut chunk) {
            Ok(0) => return false,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => return false,
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bypeer"));
    command.arg("probe").args(arguments);
    command
}

fn probe(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// The card of a probe's JSON output, held to the schema.
fn card(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no card: {}", said(output)));
    let card: Value = serde_json::from_str(line).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../../docs/schema/probe-1.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let complaints: Vec<String> = validator.iter_errors(&card).map(|error| error.to_string()).collect();
    assert!(complaints.is_empty(), "{complaints:#?}\n{line}");
    card
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn measured<'a>(card: &'a Value, habit: &str) -> &'a Value {
    card["checks"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|check| check["measured"].as_array().unwrap())
        .find(|measured| measured["habit"] == habit)
        .unwrap_or_else(|| panic!("{habit} was not measured: {card}"))
}

fn risks(card: &Value) -> Vec<(&str, &str)> {
    card["checks"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|check| check["risks"].as_array().unwrap())
        .map(|risk| (risk["cause"].as_str().unwrap(), risk["severity"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_server_that_keeps_connections_is_measured_and_the_setting_lies_below() {
    let server = Server::keeping(Duration::from_millis(700));
    let output = probe(&[
        &server.url(),
        "--only",
        "idle-timeout",
        "--longest-wait",
        "5s",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let card = card(&output);
    let limit = measured(&card, "idle-timeout.after-one");
    let median = limit["median"].as_f64().unwrap();
    assert!((0.7..0.9).contains(&median), "{limit}");
    assert_eq!(measured(&card, "idle-timeout.kept")["value"], "kept");
    assert_eq!(risks(&card), [("idle-timeout-inversion", "trap")]);
    let pool = card["client_rule"]["pool_idle_seconds"].as_f64().unwrap();
    assert!(pool < 0.7 && pool > 0.3, "{pool}");
    let go = card["client_settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|lines| lines["software"] == "go-client")
        .unwrap();
    assert!(
        go["lines"][0]["text"].as_str().unwrap().starts_with("IdleConnTimeout:"),
        "{go}"
    );
}

#[test]
fn a_server_that_closes_without_saying_so_is_at_fault_and_reuse_is_to_be_turned_off() {
    let server = Server::closing();
    let output = probe(&[
        &server.url(),
        "--only",
        "idle-timeout",
        "--longest-wait",
        "1s",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let card = card(&output);
    assert_eq!(risks(&card), [("unannounced-close-each-response", "fault")]);
    assert_eq!(card["client_rule"]["no_reuse"], true);
    assert_eq!(card["client_rule"]["pool_idle_seconds"], Value::Null);

    let text = probe(&[&server.url(), "--only", "idle-timeout", "--longest-wait", "1s"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("FAULT the server closes after each answer and does not say so"),
        "{text}"
    );
    assert!(text.contains("DisableKeepAlives: true"), "{text}");
}

#[test]
fn a_saved_card_tells_whether_the_server_changed_its_habits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("card.json");
    let file = file.to_str().unwrap();
    let only = ["--only", "idle-timeout", "--longest-wait", "4s"];
    let before = Server::keeping(Duration::from_millis(300));
    let saved = probe(&[&[&*before.url()], &only[..], &["--save", file]].concat());
    assert_eq!(saved.status.code(), Some(0), "{}", said(&saved));

    let same = probe(&[&[&*before.url()], &only[..], &["--against", file, "--format", "json"]].concat());
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    assert_eq!(card(&same)["against"]["changed"].as_array().unwrap().len(), 0);

    let after = Server::keeping(Duration::from_millis(2500));
    let changed = probe(&[&[&*after.url()], &only[..], &["--against", file]].concat());
    assert_eq!(changed.status.code(), Some(1), "{}", said(&changed));
    let text = String::from_utf8(changed.stdout).unwrap();
    assert!(text.contains("changed    idle-timeout.after-one: "), "{text}");

    // A fault that was there before is no change.
    let closing = Server::closing();
    probe(&[&[&*closing.url()], &only[..], &["--save", file]].concat());
    let same = probe(&[&[&*closing.url()], &only[..], &["--against", file]].concat());
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
}

#[test]
fn a_plan_opens_no_connection() {
    let server = Server::closing();
    let output = probe(&[&server.url(), "--plan"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("idle-timeout") && text.contains("connections") && text.contains("bypeer/"),
        "{text}"
    );
    assert_eq!(server.connections.load(SeqCst), 0);
}

#[test]
fn it_opens_no_more_connections_than_its_plan_says() {
    let server = Server::keeping(Duration::from_millis(200));
    let output = probe(&[&server.url(), "--longest-wait", "2s", "--patience", "2s"]);
    let plan = said(&output);
    let most: usize = plan
        .split("at most ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{plan}"));
    let opened = server.connections.load(SeqCst);
    assert!(opened > 5 && opened <= most, "{opened} of {most}");
}

#[test]
fn each_trouble_has_its_own_line_and_status_2() {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Server::of(|connection| {
        thread::sleep(Duration::from_secs(20));
        drop(connection);
    });
    let mail = Server::of(|mut connection| connection.write_all(b"220 mail.example ESMTP\r\n").unwrap());
    let closes = Server::of(drop);
    let resets = Server::of(|connection| {
        // Unread bytes at close.
        thread::sleep(Duration::from_millis(100));
        drop(connection);
    });
    let tls = format!("https://{}/", closes.address);
    let wants_tls = Server::of(|mut connection| {
        let page = "<html><body>The plain HTTP request was sent to HTTPS port</body></html>";
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        connection.write_all(answer.as_bytes()).unwrap();
        let _ = connection.read(&mut [0; 4096]);
    });
    let cases: [(&str, &[&str], &str); 10] = [
        (&wants_tls.url(), &[], "the URL must begin with https://"),
        (
            &format!("http://{refused}/"),
            &[],
            "refuses connections: nobody listens there",
        ),
        (&silent.url(), &["--patience", "1s"], "nothing came within 1 s"),
        (
            &mail.url(),
            &[],
            "speaks another protocol than HTTP/1; its first bytes: 220 mail",
        ),
        (
            &closes.url(),
            &["--patience", "5s"],
            "at the first request|closed the connection without a word",
        ),
        (
            &resets.url(),
            &[],
            "broke off the connection (ECONNRESET) at the first request",
        ),
        (&tls, &[], "no TLS with"),
        ("http://no-such-name.invalid/", &[], "cannot be resolved"),
        ("ftp://127.0.0.1/", &[], "ftp:// cannot be probed"),
        (
            "http://127.0.0.1/",
            &["--only", "nonsense"],
            "there is no check \"nonsense\"",
        ),
    ];
    for (url, more, expected) in cases {
        let output = probe(&[&[url, "--insecure"], more].concat());
        let message = said(&output);
        let last = message.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{url}: {message}");
        assert!(last.starts_with("bypeer: "), "{url}: {message}");
        assert!(expected.split('|').any(|part| last.contains(part)), "{url}: {last}");
    }
}

#[test]
fn ctrl_c_still_reports_what_was_seen() {
    let server = Server::of(|mut connection| {
        // The first request is answered, and connections are kept for long.
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        while request(&mut connection) {
            connection.write_all(ANSWER).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("card.json");
    let save = ["--save", saved.to_str().unwrap()];
    let arguments = [&*server.url(), "--only", "idle-timeout", "--format", "json"];
    let mut child: Child = command(&[&arguments[..], &save].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while server.connections.load(SeqCst) < 25 && began.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let card = card(&output);
    assert_eq!(card["stopped"], true);
    assert_eq!(card["checks"][0]["status"], "cut");
    assert!(!saved.exists(), "half a card was saved");
    assert!(said(&output).contains("stopped before its end"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn no_secret_is_shown() {
    let server = Server::keeping(Duration::from_millis(200));
    let url = format!("{}path?token=hush1", server.url());
    for format in ["text", "json"] {
        let output = probe(&[
            &url,
            "--header",
            "Authorization: Bearer hush2",
            "--header",
            "Cookie: id=hush3",
            "--longest-wait",
            "1s",
            "--patience",
            "2s",
            "--format",
            format,
        ]);
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
        assert!(all.contains("/path?…"), "{all}");
        assert!(!all.contains("hush"), "{all}");
    }
}

#[test]
fn the_lists_of_checks_agree() {
    let list = String::from_utf8(probe(&["--list"]).stdout).unwrap();
    assert!(list.lines().count() >= 1);
    for line in list.lines() {
        let id = line.split(' ').next().unwrap();
        let manual = probe(&["--manual", id]);
        assert_eq!(manual.status.code(), Some(0));
        assert!(
            String::from_utf8(manual.stdout)
                .unwrap()
                .starts_with(&format!("# {id}: ")),
            "{id}"
        );
    }
}

#[test]
fn what_only_may_be_there_is_told_as_that() {
    // Neither Server nor Date: some products look like that, and so does this one.
    let server = Server::of(|mut connection| {
        connection.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        while request(&mut connection) {
            connection
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
                .unwrap();
        }
    });
    let arguments = [&*server.url(), "--only", "idle-timeout", "--longest-wait", "3s"];
    let json = card(&probe(&[&arguments[..], &["--format", "json"]].concat()));
    let products = json["products"].as_array().unwrap();
    assert!(products.len() > 1, "nothing to be unsure of: {json}");
    assert!(
        products.iter().all(|product| product["sure"] == "perhaps"),
        "{products:?}"
    );
    let settings = json["server_settings"].as_array().unwrap();
    assert!(
        !settings.is_empty() && settings.iter().all(|lines| lines["perhaps"] == true),
        "{settings:?}"
    );
    let text = String::from_utf8(probe(&arguments).stdout).unwrap();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for product in products {
        let name = product["name"].as_str().unwrap();
        assert!(words.contains(&format!("perhaps {name}")), "{text}");
    }
    for lines in settings {
        let name = lines["name"].as_str().unwrap();
        assert!(words.contains(&format!("if it is {name}")), "{text}");
    }
}
