//! Heads and pages as the products sent them.
#![allow(clippy::unwrap_used)]

use super::*;

/// A head without its status line, an empty line, and the beginning of the body.
fn shown(answer: &str) -> Vec<(String, Option<String>, Sure, Place)> {
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    let fields: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(':')).collect();
    let found = recognise(&Signs {
        fields: &fields,
        status: None,
        body: body.as_bytes(),
    });
    found
        .into_iter()
        .map(|found| {
            assert!(!found.why.is_empty());
            let version = found.version.map(|version| version.to_string());
            (found.software.id.clone(), version, found.sure, found.place)
        })
        .collect()
}

fn ids(answer: &str) -> Vec<(String, Place)> {
    shown(answer).into_iter().map(|(id, _, _, place)| (id, place)).collect()
}

fn one(answer: &str, id: &str, sure: Sure) {
    let found = shown(answer);
    assert_eq!(found.len(), 1, "{found:?}");
    let (found, _, how, place) = &found[0];
    assert_eq!((found.as_str(), *how, *place), (id, sure, Place::Front), "{answer}");
}

const NGINX_PAGE: &str = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const APACHE_PAGE: &str = "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/strict.dtd\">\n<html><head>\n<title>404 Not Found</title>\n</head><body>\n<h1>Not Found</h1>\n<p>The requested URL was not found on this server.</p>\n</body></html>\n";

#[test]
fn every_mark_says_something_and_is_known_to_parse() {
    let mut marks = 0;
    for software in SOFTWARE.iter() {
        for mark in &software.marks {
            marks += 1;
            assert!(mark.sure.is_some() && !mark.why.is_empty(), "{}: {mark:?}", software.id);
            let conditions = mark.fields.len() + mark.values.len() + mark.exact.len() + mark.body.len();
            let only_absent = mark.sure == Some(Sure::Perhaps) && !mark.absent.is_empty();
            assert!(
                conditions > 0 || mark.order.len() > 1 || only_absent,
                "{}: {mark:?}",
                software.id
            );
            assert!(
                mark.body
                    .iter()
                    .chain(&mark.values.values().cloned().collect::<Vec<_>>())
                    .all(|part| !part.is_empty()),
                "{}: {mark:?}",
                software.id
            );
        }
    }
    assert!(marks > 40);
}

#[test]
fn servers_that_name_themselves_with_their_version() {
    for (server, id, version) in [
        ("nginx/1.22.1", "nginx", Some("1.22.1")),
        ("nginx", "nginx", None),
        // Its versions are not those of nginx.
        ("Tengine/3.1.0", "nginx", None),
        ("openresty/1.25.3.1", "nginx", Some("1.25.3.1")),
        ("Apache/2.4.71 (Debian)", "apache", Some("2.4.71")),
        ("Apache-Coyote/1.1", "tomcat", None),
        ("lighttpd/1.4.69", "lighttpd", Some("1.4.69")),
        ("gunicorn", "gunicorn", None),
        ("uvicorn", "uvicorn", None),
        ("hypercorn-h11", "hypercorn", None),
        ("waitress", "waitress", None),
        ("Python/3.11 aiohttp/3.14.5", "aiohttp", Some("3.14.5")),
        ("TornadoServer/6.6.1", "tornado", Some("6.6.1")),
        ("Cheroot/11.1.2", "cheroot", Some("11.1.2")),
        ("TwistedWeb/26.10.0", "twisted", Some("26.10.0")),
        ("SimpleHTTP/0.6 Python/3.11.7", "python-http-server", None),
        ("Jetty(12.0.15)", "jetty", Some("12.0.15")),
        ("Kestrel", "kestrel", None),
        ("istio-envoy", "istio", None),
        ("envoy", "envoy", None),
    ] {
        let found = shown(&format!("Date: x\nServer: {server}\nContent-Type: text/plain"));
        let expected = vec![(id.to_owned(), version.map(str::to_owned), Sure::Named, Place::Front)];
        assert_eq!(found, expected, "{server}");
    }
}

#[test]
fn servers_that_do_not_name_themselves() {
    one(
        "Date: x\nConnection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 3\n\nno\n",
        "node",
        Sure::Marked,
    );
    one(
        "Content-Type: text/html;charset=utf-8\nContent-Language: en\nContent-Length: 762\nDate: x\nKeep-Alive: timeout=20\nConnection: keep-alive",
        "tomcat",
        Sure::Marked,
    );
    one(
        "Content-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\nDate: x\nContent-Length: 19\n\n404 page not found\n",
        "go",
        Sure::Marked,
    );
    one(
        "Content-Type: text/plain; charset=utf-8\nConnection: close\n\n400 Bad Request",
        "go",
        Sure::Marked,
    );
    one(
        "Content-length: 90\nCache-Control: no-cache\nConnection: close\nContent-Type: text/html\n\n<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n",
        "haproxy",
        Sure::Marked,
    );
    one(
        "Content-Length: 50\nContent-Type: text/html\nConnection: close\n\n<h1>404 Not Found</h1>No context found for request",
        "jdk-httpserver",
        Sure::Marked,
    );
    one(
        "content-type: application/json; charset=utf-8\ncontent-length: 83\nDate: x\nConnection: keep-alive\nKeep-Alive: timeout=72\n\n{\"message\":\"Route GET:/nonexistent not found\",\"error\":\"Not Found\",\"statusCode\":404}",
        "fastify",
        Sure::Marked,
    );
    one(
        "Content-Type: text/json\nAccess-Control-Allow-Origin: http://localhost\nContent-Length: 14\n\nAnkiConnect v.6",
        "anki-connect",
        Sure::Marked,
    );
    one(
        "Connection: close\nContent-Type: text/html\nContent-Length: 200\n\n<html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n    <h1><p>Bad Request</p></h1>\n",
        "gunicorn",
        Sure::Marked,
    );
    // Hidden by `server_tokens off` or a removed field, its page tells.
    one(
        &format!("Date: x\nContent-Type: text/html\n\n{NGINX_PAGE}"),
        "nginx",
        Sure::Marked,
    );
    one(
        &format!("Date: x\nContent-Type: text/html\n\n{APACHE_PAGE}"),
        "apache",
        Sure::Marked,
    );
    let tomcat = "Content-Type: text/html;charset=utf-8\nDate: x\n\n<!doctype html><html lang=\"en\"><head><title>HTTP Status 404 – Not Found</title></head><body><h3>Apache Tomcat/10.1.60 (Debian)</h3></body></html>";
    assert_eq!(
        shown(tomcat),
        [(
            "tomcat".to_owned(),
            Some("10.1.60".to_owned()),
            Sure::Marked,
            Place::Front
        )]
    );
}

#[test]
fn what_is_not_known_is_unknown() {
    for answer in [
        "",
        "Server:",
        "Server: ",
        "Server: my-own/1.0\nDate: x\nContent-Type: text/plain\n\nok",
        "Date: x\nContent-Type: application/json\nContent-Length: 2\n\n{}",
        "Date: x\nserver-timing: nginx\nContent-Length: 0",
        "Date: x\nContent-Type: text/plain\n\nnginx is a web server, and so is Apache Tomcat/10",
    ] {
        assert!(shown(answer).is_empty(), "{answer}: {:?}", shown(answer));
    }
}

#[test]
fn a_page_about_an_error_page_is_none() {
    let recognised = |status| {
        let signs = Signs {
            fields: &[("Date", "x")],
            status: Some(status),
            body: NGINX_PAGE.as_bytes(),
        };
        recognise(&signs).len()
    };
    assert_eq!((recognised(404), recognised(502), recognised(200)), (1, 1, 0));
}

#[test]
fn what_may_be_of_many_is_not_sold_as_sure() {
    // uWSGI and Puma both send neither Server nor Date.
    let found = shown("Content-Type: text/plain\nContent-Length: 3\n\nno\n");
    let names: Vec<&str> = found.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(names, ["uwsgi", "puma"]);
    assert!(found.iter().all(|(_, _, sure, _)| *sure == Sure::Perhaps), "{found:?}");
    // But a name ends the guessing.
    assert_eq!(
        ids("Server: daphne\nContent-Type: text/plain"),
        [("daphne".to_owned(), Place::Front)]
    );
    // PHP never closes an HTTP connection itself.
    assert_eq!(
        ids("Date: x\nX-Powered-By: PHP/8.2.1"),
        [("php-fpm".to_owned(), Place::Behind)]
    );
}

#[test]
fn a_proxy_in_front_and_the_server_behind_are_told_apart() {
    let front = |id: &str| (id.to_owned(), Place::Front);
    let behind = |id: &str| (id.to_owned(), Place::Behind);
    for (answer, expected) in [
        (
            "Server: nginx\nDate: x\nX-Powered-By: Express\nConnection: keep-alive",
            vec![front("nginx"), behind("express")],
        ),
        (
            "X-Powered-By: Express\nDate: x\nConnection: keep-alive\nKeep-Alive: timeout=5",
            vec![front("express")],
        ),
        (
            "Server: cloudflare\nCF-RAY: 8f0-AMS\nDate: x",
            vec![front("cloudflare")],
        ),
        (
            "server: gunicorn\nx-envoy-upstream-service-time: 3\ndate: x",
            vec![front("envoy"), behind("gunicorn")],
        ),
        (
            "server: istio-envoy\nx-envoy-upstream-service-time: 3\ndate: x",
            vec![front("istio")],
        ),
        (
            "Server: Apache/2.4.71\nX-Varnish: 32770\nVia: 1.1 host (Varnish/7.1)",
            vec![front("varnish"), behind("apache")],
        ),
        (
            "Server: uvicorn\nVia: 1.1 google\nDate: x",
            vec![front("gcp-alb"), behind("uvicorn")],
        ),
        (
            "Server: nginx/1.22.1\nVia: 1.1 Caddy\nDate: x",
            vec![front("caddy"), behind("nginx")],
        ),
        (
            "Server: nginx/1.22.1\nX-Powered-By: PHP/8.2.1\nDate: x",
            vec![front("nginx"), behind("php-fpm")],
        ),
    ] {
        assert_eq!(ids(answer), expected, "{answer}");
    }
    // A page of another than the one that names itself was passed on, or the name lies: the page's is behind.
    assert_eq!(
        ids(&format!("Server: cloudflare\nDate: x\n\n{NGINX_PAGE}")),
        [front("cloudflare"), behind("nginx")]
    );
    assert_eq!(
        ids(&format!("Server: nginx\nDate: x\n\n{APACHE_PAGE}")),
        [front("nginx"), behind("apache")]
    );
}

#[test]
fn a_timeout_that_haproxy_passed_on_is_not_its_own() {
    // HAProxy in front of Node, as measured.
    let found = shown("date: x\nkeep-alive: timeout=5\ncontent-length: 3\n\nno\n");
    assert_eq!(found, [("haproxy".to_owned(), None, Sure::Perhaps, Place::Front)]);
}

#[test]
fn nothing_that_a_server_sends_makes_it_panic() {
    let mut seed: u64 = 0x5eed;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let names = [
        "Server",
        "server",
        "Via",
        "X-Powered-By",
        "Date",
        "Keep-Alive",
        "Connection",
        "é",
        "",
    ];
    let values = [
        "nginx/",
        "Jetty(",
        "é",
        "timeout=",
        "Apache/é",
        "\u{0}",
        "",
        "1.1 Caddy",
        "awselb/2.0",
    ];
    let bodies: [&[u8]; 6] = [
        b"",
        b"\xff\xfe",
        b"Apache Tomcat/",
        b"<title>HTTP Status 4<h3>Apache Tomcat/\xff",
        NGINX_PAGE.as_bytes(),
        b"<",
    ];
    for _ in 0..20_000 {
        let count = next() % 5;
        let fields: Vec<(&str, &str)> = (0..count)
            .map(|_| (names[next() % names.len()], values[next() % values.len()]))
            .collect();
        let found = recognise(&Signs {
            fields: &fields,
            status: [None, Some(200), Some(404)][next() % 3],
            body: bodies[next() % bodies.len()],
        });
        assert!(found.len() < 20);
    }
}
