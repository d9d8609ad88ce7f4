//! A whole probe: a first look, then the checks side by side.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bypeer_wire::app::Method;

use crate::card::{Card, Done};
use crate::check::{Check, Outcome, Status, Turn};
use crate::checks::CHECKS;
use crate::connection::{Buffers, Connection, Dial, OpenError, Roll, TlsDial};
use crate::gate::Gate;
use crate::http::{Answer, Ending, Writing};
use crate::prober::{NOBODYS_PATH, Notice, Options, Prober, request};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::target::{Place, Scheme, Target};
use crate::tls::{self, TlsError};

/// Connections with which the first look tries how many the server works on at once.
pub(crate) const FEW: u32 = 6;
/// Connections and requests of the first look, beside those of the checks.
pub(crate) const FIRST_LOOK: u32 = 2 + FEW * 2 + FEW + 2;

/// Why there is no card at all.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first request got no answer.
    #[error("{place} did not answer: {why}")]
    NoAnswer {
        /// Where.
        place: String,
        /// What came instead.
        why: String,
    },
    /// A check that there is not.
    #[error("there is no check {0:?}; `bypeer probe --list` names them")]
    NoSuchCheck(String),
}

/// The checks that will be done, in the table's order.
///
/// # Errors
/// When one is named that there is not.
pub fn chosen(options: &Options) -> Result<Vec<&'static Check>, ProbeError> {
    for name in options.only.iter().chain(&options.also).chain(&options.without) {
        if !CHECKS.iter().any(|check| check.id == name) {
            return Err(ProbeError::NoSuchCheck(name.clone()));
        }
    }
    let named = |names: &[String], check: &Check| names.iter().any(|name| name == check.id);
    let wanted = |check: &&&Check| {
        let by_default = options.only.is_empty() && !check.opt_in;
        (by_default || named(&options.only, check) || named(&options.also, check)) && !named(&options.without, check)
    };
    Ok(CHECKS.iter().filter(wanted).copied().collect())
}

/// Probes a server. What it does is bounded by the plans of its checks.
///
/// # Errors
/// When there is nothing to tell: no connection, no TLS, or no answer to the first request.
pub fn run(target: &Target, options: &Options, stop: &Stop, progress: &Progress) -> Result<Card, ProbeError> {
    let checks = chosen(options)?;
    let began = Instant::now();
    let epoch = SystemTime::now();
    let roll = Arc::new(Roll::default());
    let gate = Gate::of(options.at_once);
    let mut dial = dial(target, options)?;

    progress.doing("first look", "one request", began + options.patience);
    let look = first_look(target, options, &mut dial, &gate, stop, &roll)?;
    let workers = match options.serial {
        Some(_) => None,
        None => {
            progress.doing(
                "first look",
                "how many connections it serves at once",
                Instant::now() + options.patience * 2,
            );
            workers(target, options, &dial, &gate, stop, &roll, &look)
        }
    };
    // Where each open connection keeps a worker busy, connections side by side would wait for one another, and keep others out.
    let serial = options.at_once <= 1 || options.serial.unwrap_or(workers.is_some());
    let unfound = open(&dial, &gate, stop, &roll).ok().and_then(|mut connection| {
        let asked = request(target, options, Method::Get, NOBODYS_PATH);
        connection.exchange(&asked, Writing::AtOnce, options.patience).answer
    });
    progress.done("first look");
    if serial {
        gate.resize(1);
    }
    // Plans are of what is done, whoever found out that it must be done so.
    let options = &Options {
        serial: Some(serial),
        ..options.clone()
    };

    let idle = Notice::new();
    let prober = |check: &'static Check| Prober {
        target,
        options,
        first: &look.answer,
        first_took: look.took,
        round_trip: look.round_trip,
        serial,
        idle: &idle,
        check: check.id,
        dial: &dial,
        gate: &gate,
        stop,
        roll: &roll,
        progress,
    };
    // Checks that wait for what another tells must not wait for one that is not done.
    if !checks.iter().any(|check| check.id == crate::checks::IDLE) {
        idle.never();
    }
    let one = |check: &'static Check| {
        let began = Instant::now();
        let prober = prober(check);
        progress.doing(check.id, check.title, began + (check.plan)(options).longest);
        let mut outcome = if stop.is_set() {
            Outcome::skipped("stopped before it began")
        } else {
            (check.run)(&prober)
        };
        if stop.is_set() && outcome.status == Status::Done {
            outcome.status = Status::Cut("stopped".to_owned());
        }
        if check.id == crate::checks::IDLE {
            idle.never();
        }
        progress.done(check.id);
        Done {
            check,
            outcome,
            took: began.elapsed(),
        }
    };
    let mut done: Vec<Done> = Vec::new();
    for turn in [Turn::First, Turn::Together, Turn::Alone] {
        let checks = checks.iter().copied().filter(|check| check.turn == turn);
        if turn != Turn::Together || serial {
            done.extend(checks.map(one));
            continue;
        }
        thread::scope(|scope| {
            let one = &one;
            let running: Vec<_> = checks.map(|check| scope.spawn(move || one(check))).collect();
            let over = running.into_iter().map(|thread| thread.join());
            done.extend(over.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
        });
    }
    done.sort_by_key(|done| CHECKS.iter().position(|check| check.id == done.check.id));

    let (_, connections) = gate.counts();
    let logs = roll.logs();
    // The first handshake may have waited for the server to wake up.
    let handshakes = logs.iter().map(|log| log.handshake());
    let round_trip = handshakes.min().unwrap_or(look.round_trip).min(look.round_trip);
    Ok(Card {
        target: target.clone(),
        place: dial.place.clone(),
        began: epoch,
        clock: began,
        took: began.elapsed(),
        first: look.answer,
        unfound,
        round_trip,
        serial,
        workers,
        stopped: stop.is_set(),
        checks: done,
        connections,
        logs,
    })
}

fn dial(target: &Target, options: &Options) -> Result<Dial, TlsError> {
    let tls = match target.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(TlsDial {
            config: tls::configuration(&options.trust, &[b"http/1.1"])?,
            name: tls::server_name(options.server_name.as_deref().unwrap_or(&target.host))?,
        }),
    };
    Ok(Dial {
        place: target.place.clone(),
        tls,
        source: None,
        patience: options.handshake_patience,
        buffers: Buffers::default(),
    })
}

/// What the first request showed.
struct Look {
    answer: Answer,
    took: Duration,
    round_trip: Duration,
}

fn first_look(
    target: &Target,
    options: &Options,
    dial: &mut Dial,
    gate: &Gate,
    stop: &Stop,
    roll: &Arc<Roll>,
) -> Result<Look, ProbeError> {
    let mut connection = open(dial, gate, stop, roll)?;
    // From here on it is one server that is measured, not each of its name's.
    if let (Some(remote), Place::Tcp(_)) = (connection.log().remote, &dial.place) {
        dial.place = Place::Tcp(vec![remote]);
    }
    let asked = request(target, options, Method::Get, &target.path);
    let exchange = connection.exchange(&asked, Writing::AtOnce, options.patience);
    let round_trip = connection.log().handshake();
    let took = exchange.began.elapsed();
    match (exchange.ending.clone(), exchange.answer) {
        (Ending::Stopped, _) => Err(OpenError::Stopped.into()),
        (_, Some(answer)) if target.scheme == Scheme::Http && asks_for_tls(&answer) => Err(ProbeError::NoAnswer {
            place: dial.place.to_string(),
            why: "it answers that TLS is spoken there: the URL must begin with https://".to_owned(),
        }),
        // A head is enough: streams may never end.
        (_, Some(answer)) => Ok(Look {
            answer,
            took,
            round_trip,
        }),
        (ending, None) => Err(ProbeError::NoAnswer {
            place: dial.place.to_string(),
            why: why_not(&ending, options, target),
        }),
    }
}

fn why_not(ending: &Ending, options: &Options, target: &Target) -> String {
    match ending {
        Ending::TimedOut => format!(
            "nothing came within {:.0} s; it took the connection, so it is slow, busy with another connection, or waits for something \
             else than HTTP (--patience gives it longer)",
            options.patience.as_secs_f64()
        ),
        Ending::Closed => {
            "it closed the connection without a word; is it an HTTP server, and is TLS (https://) wanted?".to_owned()
        }
        Ending::Broken(broken) => format!("it broke off the connection ({broken}) at the first request"),
        Ending::TlsBroken(why) => format!("TLS broke: {why}"),
        Ending::NotHttp(bytes) if bytes.first() == Some(&0x15) && target.scheme == Scheme::Http => {
            "it answers with a TLS alert: the URL must begin with https://".to_owned()
        }
        Ending::NotHttp(bytes) if is_settings_frame(bytes) => {
            "it speaks HTTP/2 alone, without TLS; what is probed is HTTP/1.1, and only where that is spoken too, HTTP/2"
                .to_owned()
        }
        Ending::NotHttp(bytes) => format!(
            "it speaks another protocol than HTTP/1; its first bytes: {}",
            shown(bytes)
        ),
        Ending::Whole | Ending::Stopped => "stopped".to_owned(),
    }
}

/// What servers say to HTTP on their port for TLS: nginx, Go's net/http (and so Caddy), Apache httpd.
fn asks_for_tls(answer: &Answer) -> bool {
    let words: [&[u8]; 3] = [
        b"sent to HTTPS port",
        b"to an HTTPS server",
        b"to an SSL-enabled server port",
    ];
    let body = &answer.body;
    answer.head.status == 400
        && words
            .iter()
            .any(|words| body.windows(words.len()).any(|window| window == *words))
}

/// RFC 9113 §3.4: a server's first frame is SETTINGS, on stream 0.
fn is_settings_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, _, 4, 0 | 1, 0, 0, 0, 0, ..])
}

/// Bytes of a stranger, fit for a terminal.
fn shown(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(32)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect()
}

fn open(dial: &Dial, gate: &Gate, stop: &Stop, roll: &Arc<Roll>) -> Result<Connection, OpenError> {
    let permit = gate.enter(stop).ok_or(OpenError::Stopped)?;
    dial.open("first-look", permit, stop, roll)
}

/// How many connections the server works on at once, where that is at most [`FEW`]: so many open connections on which nothing is said
/// keep another's request from being answered, and it is answered when they are gone. `None`: more.
fn workers(
    target: &Target,
    options: &Options,
    dial: &Dial,
    gate: &Gate,
    stop: &Stop,
    roll: &Arc<Roll>,
    look: &Look,
) -> Option<u32> {
    let asked = request(target, options, Method::Get, &target.path);
    // Short enough to be over before usual limits free the server.
    const MOST: Duration = Duration::from_millis(1800);
    // An answer that takes as long by itself, or does not end, tells nothing by being late.
    if look.took * 3 > MOST {
        return None;
    }
    let patience = (look.took * 8 + Duration::from_millis(400)).min(MOST);
    // Whether another request is answered beside these. Where it is late, they are given up, and then its answer must come: otherwise
    // nothing is known.
    let beside = |silent: &mut Vec<Connection>| -> Option<bool> {
        let mut asking = open(dial, gate, stop, roll).ok()?;
        match asking.exchange(&asked, Writing::AtOnce, patience).ending {
            Ending::Whole => Some(true),
            Ending::TimedOut => {
                silent.clear();
                let until = Instant::now() + options.patience;
                asking.answer(&Method::Get, until).answer.map(|_| false)
            }
            _ => None,
        }
    };
    let mut silent = Vec::new();
    for held in 1..=FEW.min(options.at_once.saturating_sub(1)) {
        silent.push(open(dial, gate, stop, roll).ok()?);
        if beside(&mut silent)? {
            continue;
        }
        // Once more: one answer that is late may be a slow one.
        if !beside(&mut silent)? {
            return None;
        }
        for _ in 0..held {
            silent.push(open(dial, gate, stop, roll).ok()?);
        }
        return (!beside(&mut silent)?).then_some(held);
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::testing::{Server, answer, read_head};

    fn card(server: &Server, patience: Duration) -> Card {
        card_of(&server.url(), patience)
    }

    fn card_of(url: &str, patience: Duration) -> Card {
        let options = Options {
            only: vec!["trailing-bytes".to_owned()],
            without: vec!["trailing-bytes".to_owned()],
            patience,
            ..Options::default()
        };
        let target = Target::find(url, &crate::target::Instead::Name).unwrap();
        run(&target, &options, &Stop::default(), &Progress::default()).unwrap()
    }

    fn keeping(takes: impl Fn() -> Duration + Send + Sync + 'static) -> impl Fn(TcpStream) + Send + Sync + 'static {
        move |mut stream| {
            while read_head(&mut stream).is_some() {
                thread::sleep(takes());
                if !answer(&mut stream, "200 OK", "", 3) {
                    return;
                }
            }
        }
    }

    #[test]
    fn a_slow_server_is_not_taken_for_one_with_few_workers() {
        let server = Server::start(keeping(|| Duration::from_millis(2100)));
        assert_eq!(card(&server, Duration::from_secs(10)).workers, None);
        // One answer that is late, the second one beside a silent connection.
        let asked = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(keeping(move || {
            match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                2 => Duration::from_millis(2500),
                _ => Duration::ZERO,
            }
        }));
        assert_eq!(card(&server, Duration::from_secs(10)).workers, None);
    }

    #[test]
    fn a_server_with_one_worker_is_found_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || listener.incoming().flatten().for_each(keeping(|| Duration::ZERO)));
        let card = card_of(&url, Duration::from_secs(10));
        assert_eq!((card.workers, card.serial), (Some(1), true));
    }

    #[test]
    fn an_answer_that_never_ends_ends_the_first_look_all_the_same() {
        let server = Server::start(|mut stream| {
            use std::io::Write as _;
            let chunk = vec![b'z'; 1 << 20];
            if read_head(&mut stream).is_some() && stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok() {
                while stream.write_all(&chunk).is_ok() {}
            }
        });
        let began = Instant::now();
        let card = card(&server, Duration::from_millis(500));
        assert!(!card.first.complete);
        assert_eq!(card.workers, None);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
