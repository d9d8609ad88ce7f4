//! Whether each answer belongs to the request it came for: tagged requests side by side, pipelined, on connections of
//! their own, beside aborted ones.

mod judge;
mod lane;
mod packets;
mod shape;
mod tag;
mod tell;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

pub use self::packets::add_packets;

use self::judge::{During, Work};
use self::lane::{Abort, Lane};
use self::shape::Ways;
use crate::check::{Check, Outcome, Plan, Status, Turn};
use crate::habit::{Habit, Tolerance};
use crate::prober::{NOBODYS_PATH, Options, Prober};
use crate::target::Place;

pub(super) static CHECK: Check = Check {
    id: "answers-fit",
    title: "whether each answer belongs to its request",
    manual: include_str!("answers_fit.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[&WRONG, &SURPLUS, &OWNER, &PIPELINING],
    plan: |options| GENTLE.plan(options),
    run: |prober| run(prober, &GENTLE),
};

pub(super) static LOAD: Check = Check {
    id: "answers-fit-load",
    title: "whether each answer belongs to its request, in some thousand requests",
    manual: include_str!("answers_fit_load.md"),
    opt_in: true,
    turn: Turn::Alone,
    habits: &[&LOAD_WRONG, &LOAD_SURPLUS],
    plan: |options| HEAVY.plan(options),
    run: |prober| run(prober, &HEAVY),
};

/// Answers to other requests.
static WRONG: Habit = Habit {
    name: "answers-fit.wrong",
    what: "answers that belonged to another request",
    tolerance: Tolerance::Never,
};
/// Bytes that nobody had asked for.
static SURPLUS: Habit = Habit {
    name: "answers-fit.surplus",
    what: "times that bytes came which nobody had asked for",
    tolerance: Tolerance::Exact,
};
/// How an answer's owner is known.
static OWNER: Habit = Habit {
    name: "answers-fit.owner",
    what: "how the owner of an answer was told: token, shape, count",
    tolerance: Tolerance::Never,
};
/// What becomes of two requests in one write.
static PIPELINING: Habit = Habit {
    name: "answers-fit.pipelining",
    what: "what becomes of pipelined requests: all-answered, first-only, mixed",
    // Servers that sometimes leave the second one (Puma) change between two of these words.
    tolerance: Tolerance::Never,
};
/// The same, of the heavier check.
static LOAD_WRONG: Habit = Habit {
    name: "answers-fit-load.wrong",
    what: "answers that belonged to another request, in some thousand",
    tolerance: Tolerance::Never,
};
/// The same, of the heavier check.
static LOAD_SURPLUS: Habit = Habit {
    name: "answers-fit-load.surplus",
    what: "times that bytes came which nobody had asked for, in some thousand requests",
    tolerance: Tolerance::Exact,
};

/// How much is done.
struct Size {
    /// Connections that ask side by side.
    lanes: u32,
    /// Requests of each, one after the other.
    steady: u32,
    /// Pipelined pairs of each.
    pairs: u32,
    /// Connections of each for one request alone, one after the other: the server opens and closes while others wait for answers.
    single: u32,
    /// How often all of it.
    rounds: u32,
    /// Most connections.
    connections: u32,
    /// Most requests.
    requests: u32,
    wrong: &'static Habit,
    surplus: &'static Habit,
    /// The other habits are measured, too.
    whole: bool,
}

static GENTLE: Size = Size {
    lanes: 4,
    steady: 8,
    pairs: 4,
    single: 10,
    rounds: 1,
    connections: 60,
    requests: 200,
    wrong: &WRONG,
    surplus: &SURPLUS,
    whole: true,
};

static HEAVY: Size = Size {
    lanes: 8,
    steady: 20,
    pairs: 10,
    single: 50,
    rounds: 8,
    connections: 4000,
    requests: 7000,
    wrong: &LOAD_WRONG,
    surplus: &LOAD_SURPLUS,
    whole: false,
};

/// The most that a check takes before it begins no more.
const LONGEST: Duration = Duration::from_secs(60);
/// So long nothing may come on an idle connection.
const QUIET: Duration = Duration::from_millis(150);
/// A slow request pauses so long in its body.
const SLOW: Duration = Duration::from_millis(300);
/// Our own addresses beside the usual one, where the server is on loopback.
const LOOPBACK_SOURCES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5)),
];

impl Size {
    fn plan(&self, options: &Options) -> Plan {
        Plan {
            what: format!(
                "sends at most {} marked requests over at most {} connections, {} side by side, some pipelined, some aborted, and looks \
                 whose answers come",
                self.requests, self.connections, self.lanes
            ),
            connections: self.connections,
            requests: self.requests,
            longest: LONGEST + options.patience,
        }
    }
}

fn run(prober: &Prober<'_>, size: &Size) -> Outcome {
    let until = Instant::now() + LONGEST;
    let work = Work::new(size.connections, size.requests, until);
    let sources = sources(prober);
    let ways = match ways(prober, &work) {
        Ok(ways) => ways,
        Err(why) => return Outcome::failed(why),
    };
    // Each keeps a connection, and one more is opened beside them: where there is no room for it, all would wait for ever.
    let lanes = match prober.options.at_once.saturating_sub(1) {
        _ if prober.serial => 1,
        room => size.lanes.min(room).max(1),
    };
    let mut lanes: Vec<Lane<'_>> = (0..lanes)
        .map(|index| Lane::new(prober, &work, &ways, sources[index as usize % sources.len()]))
        .collect();
    for _ in 0..size.rounds {
        prober.doing("requests side by side", until);
        together(&mut lanes, |lane| {
            for turn in 0..size.steady {
                if !lane.ask(&[ways.ask(turn)], During::Steady) {
                    break;
                }
            }
        });
        prober.doing("pipelined requests", until);
        together(&mut lanes, |lane| {
            for turn in 0..size.pairs {
                if !lane.ask(&[ways.ask(turn), ways.ask(turn + 1)], During::Pipelined) {
                    break;
                }
            }
        });
        prober.doing("a connection for each request", until);
        together(&mut lanes, |lane| {
            for turn in 0..size.single {
                lane.close();
                if !lane.ask(&[ways.ask(turn)], During::Single) {
                    break;
                }
            }
        });
        prober.doing("requests beside aborted ones", until);
        for (turn, abort) in Abort::ALL.into_iter().enumerate() {
            beside_an_abort(prober, &work, &ways, &mut lanes, abort, sources[turn % sources.len()]);
        }
        if !prober.serial {
            around_a_slow_body(prober, &work, &ways, &mut lanes);
        }
        prober.doing("whether anything comes unasked", until);
        together(&mut lanes, |lane| {
            lane.head(QUIET);
            lane.ask(&[ways.ask(0)], During::AfterHead);
            lane.stray(QUIET + prober.round_trip * 2, During::Idle);
        });
        if work.is_over() || prober.stopped() {
            break;
        }
    }
    drop(lanes);
    let mut outcome = tell::tell(&work.seen(), &ways, size, &sources);
    if prober.stopped() {
        outcome.status = Status::Cut("stopped in between".to_owned());
    }
    outcome
}

/// All lanes at the same moment.
fn together<'a>(lanes: &mut [Lane<'a>], each: impl Fn(&mut Lane<'a>) + Sync) {
    let start = Barrier::new(lanes.len());
    thread::scope(|scope| {
        for lane in lanes {
            let (start, each) = (&start, &each);
            scope.spawn(move || {
                start.wait();
                each(lane);
            });
        }
    });
}

/// A request that its client gives up, while the lanes ask; and what comes on a new connection behind it.
fn beside_an_abort<'a>(
    prober: &'a Prober<'a>,
    work: &'a Work,
    ways: &'a Ways,
    lanes: &mut [Lane<'a>],
    abort: Abort,
    source: Option<IpAddr>,
) {
    let mut victim = Lane::new(prober, work, ways, source);
    let mut after = Lane::new(prober, work, ways, source);
    if prober.serial {
        for lane in lanes {
            lane.close();
        }
        victim.abort(abort);
    } else {
        thread::scope(|scope| {
            scope.spawn(|| victim.abort(abort));
            together(lanes, |lane| {
                let _ = lane.ask(&[ways.ask(0)], During::Abort) && lane.ask(&[ways.ask(1)], During::Abort);
            });
        });
    }
    // One that could not ask any more still holds its connection, which the next one may be waiting for.
    drop(victim);
    let _ = after.ask(&[ways.ask(0)], During::AfterAbort) && after.ask(&[ways.ask(1), ways.ask(0)], During::AfterAbort);
}

/// A request whose body comes slowly, while the lanes ask.
fn around_a_slow_body<'a>(prober: &'a Prober<'a>, work: &'a Work, ways: &'a Ways, lanes: &mut [Lane<'a>]) {
    let mut slow = Lane::new(prober, work, ways, None);
    thread::scope(|scope| {
        scope.spawn(|| slow.slow(SLOW));
        together(lanes, |lane| {
            prober.pause(SLOW / 3);
            let _ = lane.ask(&[ways.ask(0)], During::SlowBody) && lane.ask(&[ways.ask(1)], During::SlowBody);
        });
    });
}

/// Where to connect from. The machine's own choice is one of them.
fn sources(prober: &Prober<'_>) -> Vec<Option<IpAddr>> {
    let given = &prober.options.sources;
    if !given.is_empty() {
        return given.iter().copied().map(Some).collect();
    }
    let is_loopback = match &prober.dial().place {
        Place::Tcp(addresses) => addresses
            .iter()
            .all(|address| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback())),
        Place::Unix(_) => false,
    };
    let can_be_bound = |source: &IpAddr| TcpListener::bind((*source, 0)).is_ok();
    let more = LOOPBACK_SOURCES
        .into_iter()
        .filter(|source| is_loopback && can_be_bound(source));
    [None].into_iter().chain(more.map(Some)).collect()
}

/// Asks one at a time, to know what answers look like when all is well.
fn ways(prober: &Prober<'_>, work: &Work) -> Result<Ways, String> {
    const SAMPLES: u32 = 3;
    let nobodys = format!("{NOBODYS_PATH}/{{nonce}}");
    let mut ways = Ways::new(&prober.target.path);
    let mut lane = Lane::plain(prober, work);
    let paths = prober.options.echo_path.iter().chain([&nobodys]);
    for path in paths {
        let template = path.as_str();
        let mut own = 0;
        let mut answers = Vec::new();
        for _ in 0..SAMPLES {
            let token = work.token(lane.id(), lane.source());
            let answer = lane.once(&template.replace("{nonce}", &token.text()))?;
            own += u32::from(tag::tokens(&answer).contains(&token));
            answers.push(answer);
        }
        if own == SAMPLES {
            ways.tagged(template, &answers);
            break;
        }
        if Some(path) == prober.options.echo_path.as_ref() {
            work.note(format!(
                "--echo-path gave back its nonce in {own} of {SAMPLES} requests made one after the other: it is not used; {}",
                if answers.iter().any(|answer| !tag::tokens(answer).is_empty()) {
                    "it gave back another one, as a cache does that does not look at the query, or a server that answers one too late"
                } else {
                    "its answers must hold what stands for {nonce}, in a field or the first 16 KiB"
                }
            ));
        } else {
            ways.nobodys(NOBODYS_PATH, &answers);
        }
    }
    let mut pages = Vec::new();
    for _ in 0..SAMPLES - 1 {
        pages.push(lane.once(&prober.target.path)?);
    }
    pages.push(prober.first.clone());
    ways.page(&pages);
    Ok(ways)
}
