//! The five stories: who serves, who asks, and where they meet.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::account::Account;
use super::meeting::{Pair, Place, Way};
use crate::proxy::{Guard, Product};

/// What is played.
pub struct Story {
    pub number: u8,
    /// What it is, for the table.
    pub server: &'static str,
    pub client: &'static str,
    place: Place,
    files: &'static [(&'static str, &'static str)],
    serve: &'static str,
    /// Before `{addr}` are filled in: `{go}` is the Go client, `{requests}` how many.
    ask: &'static str,
    /// Played with the proxy beside the client too, where the server's close has a way to go.
    also_beside_client: bool,
    /// Why a proxy cannot prevent all of it.
    unknowable: Option<&'static str>,
}

const CLIENT: (&str, &str) = ("client.py", include_str!("programs/client.py"));
const APP: (&str, &str) = ("app.py", include_str!("programs/app.py"));
const CLOSES: (&str, &str) = ("closes.py", include_str!("../settings/programs/closes.py"));
const SILENT: (&str, &str) = ("silent.js", include_str!("../settings/programs/silent.js"));
const SURPLUS: (&str, &str) = ("surplus.js", include_str!("programs/surplus.js"));

const KEPT: &str = "Python's http.client, four at work, each with one connection for all of its requests";

pub const STORIES: &[Story] = &[
    Story {
        number: 1,
        server: "by hand in Python, single-threaded, HTTP/1.1: closes after each answer and does not say so",
        client: "Go's net/http: POSTs, ten at work over one pool, each pauses 2 ms on average",
        place: Place::Wire("100us"),
        files: &[CLOSES],
        serve: "python3 closes.py {host} {port}",
        ask: "{go} http://{addr}/ {requests} 10 2ms POST shared",
        also_beside_client: true,
        unknowable: None,
    },
    Story {
        number: 2,
        server: "uWSGI: an application that answers 413 and does not read",
        client: "Python's http.client: uploads of 1 MB, a connection each",
        place: Place::Loopback,
        files: &[APP, CLIENT],
        serve: "uwsgi --plugin python3 --http-socket {addr} --master --die-on-term --need-app --disable-logging --processes 2 \
                --listen 128 --wsgi-file app.py --callable refuses",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 413 --body 1000000",
        also_beside_client: false,
        unknowable: None,
    },
    Story {
        number: 2,
        server: "gunicorn (sync): an application that answers 404 with a page of 64 KB and does not read",
        client: "Python's http.client: uploads of 1 MB, a connection each",
        place: Place::Loopback,
        files: &[APP, CLIENT],
        serve: "gunicorn --bind {addr} --workers 2 --log-level critical app:absent",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 404 --length 65536 --body 1000000",
        also_beside_client: false,
        unknowable: None,
    },
    Story {
        number: 3,
        server: "Node's http.Server with `keepAliveTimeout = 500`, which its answers keep to themselves",
        client: "Go's net/http: POSTs, 200 clients with a pool each, which pause 1 s on average",
        place: Place::Wire("10ms"),
        files: &[SILENT],
        serve: "node silent.js {host} {port} 500",
        ask: "{go} http://{addr}/ {requests} 200 1s POST",
        also_beside_client: true,
        unknowable: None,
    },
    Story {
        number: 4,
        server: "Node: one answer of a hundred is written twice, at once",
        client: KEPT,
        place: Place::Loopback,
        files: &[SURPLUS, CLIENT],
        serve: "node surplus.js {host} {port} at-once",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 200 --keep --echo",
        also_beside_client: false,
        unknowable: Some(
            "A server that begins with this when it is no longer on trial: a next request may be on its way before the second answer has \
             come, if only for some microseconds, and nothing but its content tells it from the right one then. Only who uses no \
             connection twice is safe from that",
        ),
    },
    Story {
        number: 4,
        server: "Node: one answer of a hundred is written again, 3 ms later",
        client: KEPT,
        place: Place::Loopback,
        files: &[SURPLUS, CLIENT],
        serve: "node surplus.js {host} {port} late",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 200 --keep --echo",
        also_beside_client: false,
        unknowable: Some(
            "A server that begins with this when it is no longer on trial (`upstream.trial`), or writes again later than 10 ms behind: \
             where that comes while the next request waits for its own, nothing but its content tells it from that one. Only who uses \
             no connection twice is safe from that",
        ),
    },
    Story {
        number: 4,
        server: "Node: Content-Length counts characters, which in one answer of a hundred have two bytes each",
        client: KEPT,
        place: Place::Loopback,
        files: &[SURPLUS, CLIENT],
        serve: "node surplus.js {host} {port} length",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 200 --keep --echo",
        also_beside_client: false,
        unknowable: None,
    },
    Story {
        number: 5,
        server: "gunicorn (sync): a view that does not read the POST's body; its answer has 614 400 bytes",
        client: "Python's http.client: head and 22 bytes of body in two writes, a connection each",
        place: Place::Loopback,
        files: &[APP, CLIENT],
        serve: "gunicorn --bind {addr} --workers 2 --log-level critical app:large",
        ask: "python3 client.py http://{addr}/ {requests} 4 --status 200 --length 614400 --body 22",
        also_beside_client: false,
        unknowable: None,
    },
];

/// A guard that uses no connection twice.
const CAREFUL: &str = "guard, careful";

/// What came of one.
#[derive(Serialize)]
pub struct Played {
    pub story: u8,
    pub server: &'static str,
    pub client: &'static str,
    pub place: String,
    pub unknowable: Option<&'static str>,
    pub direct: Account,
    /// By what was between them.
    pub through: Vec<(String, Account)>,
}

impl Story {
    /// Directly, and through each of the proxies.
    ///
    /// # Errors
    /// When somebody cannot be started.
    pub fn play(&self, binary: &Path, go_client: &Path, proxies: &[Product], requests: u32) -> Result<Played> {
        let go = go_client.display().to_string();
        let requests = requests.to_string();
        let pair = Pair {
            place: self.place,
            server: self.serve,
            client: self.ask.replace("{go}", &go).replace("{requests}", &requests),
            files: self.files,
        };
        let direct = told("direct", pair.meet(binary, &Way::Direct)?);
        let mut through = Vec::new();
        for product in proxies {
            let name = product.name().to_owned();
            let account = pair.meet(binary, &Way::BesideServer(product.clone()))?;
            through.push((name.clone(), told(&name, account)));
            if self.also_beside_client {
                let name = format!("{name} beside the client");
                let account = pair.meet(binary, &Way::BesideClient(product.clone()))?;
                through.push((name.clone(), told(&name, account)));
            }
            if let (Some(_), Product::Guard(guard)) = (self.unknowable, product) {
                let settings = "[upstream]\nkeep = 0\n";
                let careful = Product::Guard(Guard {
                    settings,
                    ..guard.clone()
                });
                let name = format!("{CAREFUL}: `upstream.keep = 0`");
                let account = pair.meet(binary, &Way::BesideServer(careful))?;
                through.push((name.clone(), told(&name, account)));
            }
        }
        Ok(Played {
            story: self.number,
            server: self.server,
            client: self.client,
            place: match self.place {
                Place::Loopback => "loopback".to_owned(),
                Place::Wire(delay) => format!("{} one way", delay.replace("us", " µs").replace("ms", " ms")),
            },
            unknowable: self.unknowable,
            direct,
            through,
        })
    }
}

impl Played {
    /// It failed directly, and lost nothing through the guard that a proxy can save.
    pub fn is_right(&self) -> bool {
        // Where the guard as it is cannot save all, the careful one does.
        let whose = if self.unknowable.is_some() { CAREFUL } else { "guard" };
        let mut guards = self.through.iter().filter(|(name, _)| name.starts_with(whose));
        let nothing_lost = guards.all(|(_, account)| account.lost().events == 0);
        self.direct.lost().events > 0 && nothing_lost
    }
}

fn told(way: &str, account: Account) -> Account {
    eprintln!("  {way}: {} right, {}", account.right, account.ways());
    account
}
