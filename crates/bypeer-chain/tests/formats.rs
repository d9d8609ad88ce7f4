//! Configuration files of products, as they are in the world: what is taken from them, and what is said of the rest.
#![allow(clippy::unwrap_used)]

mod common;

use bypeer_chain::{NoteKind, Origin};
use bypeer_diagnose::facts::Repeats;
use common::{Memory, limits, middle};

fn read(hop: &str) -> bypeer_chain::Hop {
    middle(&Memory::formats(), hop).unwrap_or_else(|error| panic!("{hop}: {error}"))
}

fn pair(hop: &str) -> (String, String) {
    limits(&read(hop))
}

fn is(hop: &str, idle: &str, pool: &str) {
    assert_eq!(pair(hop), (idle.to_owned(), pool.to_owned()), "{hop}");
}

fn file_line(origin: &Origin) -> (&str, u32) {
    match origin {
        Origin::File { file, line } => (file, *line),
        other => panic!("{other:?} is not a line"),
    }
}

#[test]
fn nginx_inherits_and_replaces() {
    is("nginx@1.22:nginx.conf#app.example.com/", "65 s", "30 s");
    let hop = read("nginx@1.22:nginx.conf#app.example.com/");
    assert_eq!(file_line(&hop.accepts.idle.as_ref().unwrap().origin), ("nginx.conf", 7));
    assert_eq!(file_line(&hop.opens.pool.as_ref().unwrap().origin), ("nginx.conf", 24));
    let announced = hop.accepts.announces_idle.unwrap().value.unwrap();
    assert_eq!(announced.as_secs(), 60);
    assert_eq!(hop.accepts.max_requests.unwrap().value, Some(500));
    assert_eq!(hop.opens.max_requests.unwrap().value, Some(100));
    assert_eq!(hop.opens.lifetime.unwrap().value.unwrap().as_secs(), 600);
}

#[test]
fn nginx_keeps_upstream_connections_only_where_all_of_it_is_said() {
    // The usual map says close for requests without Upgrade; the other one does not.
    is("nginx@1.22:nginx.conf#app.example.com/ws/", "65 s", "not kept");
    is("nginx@1.22:nginx.conf#app.example.com/live/", "65 s", "30 s");
    // No keepalive, no HTTP/1.1: nothing is kept before 1.29.7, and everything since.
    is("nginx@1.22:nginx.conf#plain.example.com", "not kept", "not kept");
    is("nginx@1.29.7:nginx.conf#plain.example.com", "not kept", "60 s");
    let hop = read("nginx:nginx.conf#plain.example.com");
    let pool = hop.opens.pool.unwrap();
    assert_eq!(
        (pool.value.words().as_str(), pool.otherwise[0].0.as_str()),
        ("60 s", "before 1.29.7")
    );
    assert_eq!(hop.opens.waits.unwrap().value.unwrap().as_secs(), 90);
    is("nginx@1.22:nginx.conf#app.example.com ~ \\.php$", "65 s", "not kept");
}

#[test]
fn nginx_asks_which_part_where_parts_differ() {
    let error = middle(&Memory::formats(), "nginx@1.22:nginx.conf").unwrap_err();
    assert!(
        error.contains("#app.example.com/ (65 s / 30 s)") && error.contains("nginx:nginx.conf#"),
        "{error}"
    );
    let error = middle(&Memory::formats(), "nginx:nginx.conf#none.example.com").unwrap_err();
    assert!(
        error.contains("\"none.example.com\"") && error.contains("plain.example.com/"),
        "{error}"
    );
}

#[test]
fn what_is_not_understood_is_no_default() {
    let hop = read("nginx@1.22:nginx.conf#odd.example.com");
    assert_eq!(limits(&hop), ("unknown".to_owned(), "unknown".to_owned()));
    let riddles: Vec<String> = hop
        .notes
        .iter()
        .filter(|note| note.kind == NoteKind::NotUnderstood)
        .map(|note| note.words())
        .collect();
    assert!(
        riddles
            .iter()
            .any(|note| note.starts_with("sites/20-odd.conf:3: keepalive_timeout")),
        "{riddles:?}"
    );
    assert!(
        riddles
            .iter()
            .any(|note| note.starts_with("sites/20-odd.conf:4: proxy_pass goes where")),
        "{riddles:?}"
    );
}

#[test]
fn haproxy_takes_from_its_defaults() {
    // pool-purge-delay 10 s of the slower server; connections live 2 to 14 times that.
    is("haproxy:haproxy.cfg#web/app", "3 min", "20–140 s");
    // Its own timeout is missing: http-request, before client.
    is("haproxy:haproxy.cfg#old/app", "10 s", "not kept");
    // Then a server's connection ends with the client's.
    is("haproxy:haproxy.cfg#web/api", "3 min", "3 min");
    is("haproxy:haproxy.cfg#stats", "not kept", "not kept");
    let api = read("haproxy:haproxy.cfg#web/api");
    assert_eq!(api.opens.repeats.unwrap().value, Repeats::Idempotent);
    assert_eq!(api.opens.waits.unwrap().value.unwrap().as_secs(), 120);
    let notes: Vec<String> = api.notes.iter().map(|note| note.words()).collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("haproxy.cfg:22: use_backend \"%[req.hdr(host),lower]\"")),
        "{notes:?}"
    );
    let error = middle(&Memory::formats(), "haproxy:haproxy.cfg").unwrap_err();
    assert!(error.contains("#web/app") && error.contains("#old/app"), "{error}");
}

#[test]
fn haproxy_without_timeouts_keeps_for_ever() {
    let files = Memory::of(&[(
        "h",
        "frontend f\n  bind :80\n  default_backend b\nbackend b\n  server s 1.2.3.4:80\n",
    )]);
    let hop = middle(&files, "haproxy:h").unwrap();
    assert_eq!(limits(&hop), ("no limit".to_owned(), "10–70 s".to_owned()));
    let odd = Memory::of(&[(
        "h",
        "listen f\n  bind :80\n  timeout client soon\n  server s 1.2.3.4:80 pool-purge-delay x\n",
    )]);
    let hop = middle(&odd, "haproxy:h").unwrap();
    assert_eq!(limits(&hop), ("unknown".to_owned(), "unknown".to_owned()));
}

#[test]
fn envoy_in_yaml_and_json() {
    is("envoy:envoy.yaml#app", "15 min", "4.5 s");
    is("envoy:envoy.yaml#api", "15 min", "15 min");
    let app = read("envoy:envoy.yaml#web/app");
    assert_eq!(app.opens.repeats.as_ref().unwrap().value, Repeats::Any);
    assert_eq!(app.opens.waits.as_ref().unwrap().value, None);
    assert_eq!(app.opens.max_requests.as_ref().unwrap().value, Some(1000));
    assert_eq!(app.accepts.lifetime.as_ref().unwrap().value.unwrap().as_secs(), 3600);
    assert_eq!(file_line(&app.opens.pool.as_ref().unwrap().origin), ("envoy.yaml", 36));
    assert_eq!(
        read("envoy:envoy.yaml#api").opens.repeats.unwrap().value,
        Repeats::Nothing
    );
    let json = read("envoy:envoy.json");
    assert_eq!(limits(&json), ("no limit".to_owned(), "unknown".to_owned()));
    assert!(
        json.notes
            .iter()
            .any(|note| note.words().contains("\"half an hour\" is no duration")),
        "{:?}",
        json.notes
    );
}

#[test]
fn apache_by_virtual_host() {
    is("apache:apache.conf#app.example.com", "500 ms", "20 s");
    is("apache:apache.conf#plain.example.com", "5 s", "no limit");
    is("apache:apache.conf#closed.example.com", "not kept", "not kept");
    let app = read("apache:apache.conf#app.example.com/");
    assert_eq!(app.opens.waits.unwrap().value.unwrap().as_secs(), 10);
    assert_eq!(file_line(&app.opens.pool.unwrap().origin), ("apache.conf", 12));
    let error = middle(&Memory::formats(), "apache:apache.conf").unwrap_err();
    assert!(error.contains("#app.example.com/ (500 ms / 20 s)"), "{error}");
}

#[test]
fn gunicorn_by_file_and_command_line() {
    let idle = |hop: &str| pair(hop).0;
    assert_eq!(idle("gunicorn:gunicorn.conf.py"), "15–16 s");
    assert_eq!(idle("gunicorn:gunicorn.conf.py=--keep-alive 5"), "5–6 s");
    assert_eq!(idle("gunicorn=--keep-alive=5 -k gthread app:app"), "5–6 s");
    assert_eq!(idle("gunicorn=-w 4 --threads 2 app:app"), "2–3 s");
    // The sync worker keeps nothing, and says so.
    assert_eq!(idle("gunicorn=--keep-alive 5 app:app"), "not kept");
    let sync = read("gunicorn=-w 4");
    assert!(sync.accepts.announces_close.unwrap().value);
    // A condition or an expression is not guessed.
    let files = Memory::of(&[
        ("a.py", "worker_class = 'gthread'\nkeepalive = int(os.environ['K'])\n"),
        ("b.py", "worker_class = os.environ['W']\nkeepalive = 5\n"),
        ("c.py", "worker_class = 'gthread'\nif big:\n    keepalive = 5\n"),
    ]);
    for name in ["a.py", "b.py", "c.py"] {
        let hop = middle(&files, &format!("gunicorn:{name}")).unwrap();
        assert_eq!(limits(&hop).0, "unknown", "{name}");
        assert!(
            hop.notes.iter().any(|note| note.kind == NoteKind::NotUnderstood),
            "{name}"
        );
    }
}

#[test]
fn ingress_nginx_by_config_map_and_annotation() {
    is("ingress-nginx:ingress-nginx.yaml#app", "120 s", "45 s");
    is("ingress-nginx:ingress-nginx.yaml#old", "120 s", "not kept");
    let app = read("ingress-nginx:ingress-nginx.yaml#app");
    assert_eq!(app.opens.waits.unwrap().value.unwrap().as_secs(), 90);
    assert_eq!(app.opens.repeats.unwrap().value, Repeats::Any);
    assert!(
        app.notes
            .iter()
            .any(|note| note.words().contains("ingress-nginx.yaml:11: http-snippet")),
        "{:?}",
        app.notes
    );
    let files = Memory::of(&[(
        "values.yaml",
        "controller:\n  config:\n    upstream-keepalive-timeout: 20\n",
    )]);
    let hop = middle(&files, "ingress-nginx:values.yaml").unwrap();
    assert_eq!(limits(&hop).1, "20 s");
    assert_eq!(limits(&hop).0, "75 s", "the default of what it does not say");
}

#[test]
fn files_that_cannot_be_used_are_said() {
    let files = Memory::of(&[
        ("empty", ""),
        ("words", "only words"),
        ("quote", "http { server_name \"a"),
        ("open", "http {"),
    ]);
    for (hop, said) in [
        ("nginx:none.conf", "none.conf: no such file"),
        ("nginx:empty", "no http block"),
        ("nginx:words", "does not end with ';'"),
        ("nginx:quote", "quote:1: a quote is not closed"),
        ("nginx:open", "open:1: the block \"http\" is not closed"),
        ("haproxy:empty", "no frontend"),
        ("envoy:empty", "is empty"),
        ("envoy:words", "has no static_resources"),
        ("ingress-nginx:empty", "neither a ConfigMap"),
        ("puma:empty", "does not read configuration files of puma"),
        ("nobody:empty", "does not read configuration files of nobody"),
        ("nginx=-x", "command line of gunicorn only"),
        ("gunicorn=--keep-alive", "its value is missing"),
    ] {
        let error = middle(&files, hop).unwrap_err();
        assert!(error.contains(said), "{hop}: {error}");
    }
}
