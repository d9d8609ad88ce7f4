//! A lab for actors in this process: it runs them over loopback, passes their marks on, and keeps their accounts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bypeer_lab::actor::{Deed, FromActor, Job, ToActor, act};

/// Nothing here takes as long.
const FOREVER: Duration = Duration::from_secs(60);

/// The actors of one round, by the order in which they were started.
#[derive(Default)]
pub struct Round {
    inner: Arc<Inner>,
    actors: Vec<JoinHandle<i32>>,
    server: Option<SocketAddrV4>,
}

#[derive(Default)]
struct Inner {
    inputs: Mutex<Vec<PipeWriter>>,
    said: Mutex<Vec<Vec<FromActor>>>,
    changed: Condvar,
}

impl Round {
    /// A round with a loopback address of its own: its ports, and those beside them, are nobody else's.
    pub fn new() -> Self {
        static ROUNDS: AtomicU8 = AtomicU8::new(1);
        let (process, round) = (std::process::id() % 200, ROUNDS.fetch_add(1, Ordering::Relaxed));
        let address = Ipv4Addr::new(127, process as u8 + 1, round, 1);
        Round {
            server: Some(SocketAddrV4::new(address, 20080)),
            ..Round::default()
        }
    }

    /// Starts a server and waits until it listens.
    pub fn server(script: &str) -> Self {
        let mut round = Round::new();
        round.start(script);
        round.wait(0, "Listening", |said| said.contains(&FromActor::Listening));
        round
    }

    /// Starts an actor. Returns its number.
    pub fn start(&mut self, script: &str) -> usize {
        let own = self.server.unwrap();
        let hosts = BTreeMap::from([("server".to_owned(), own), ("client".to_owned(), own)]);
        let job = Job {
            host: String::new(),
            script: script.to_owned(),
            own,
            server: own,
            hosts,
            seed: 1,
        };
        self.start_with(&serde_json::to_string(&job).unwrap())
    }

    pub fn start_with(&mut self, first_line: &str) -> usize {
        let (input, mut to_actor) = pipe().unwrap();
        let (from_actor, output) = pipe().unwrap();
        writeln!(to_actor, "{first_line}").unwrap();
        let number = self.actors.len();
        self.inner.inputs.lock().unwrap().push(to_actor);
        self.inner.said.lock().unwrap().push(vec![]);
        let inner = Arc::clone(&self.inner);
        std::thread::spawn(move || inner.hear(number, from_actor));
        self.actors
            .push(std::thread::spawn(move || act(BufReader::new(input), output)));
        number
    }

    /// What an actor has said, as soon as `enough` is true of it.
    pub fn wait(&self, actor: usize, what: &str, enough: impl Fn(&[FromActor]) -> bool) -> Vec<FromActor> {
        let begun = Instant::now();
        let mut said = self.inner.said.lock().unwrap();
        while !enough(&said[actor]) {
            assert!(
                begun.elapsed() < FOREVER,
                "no {what} from actor {actor}: {:#?}",
                said[actor]
            );
            said = self.inner.changed.wait_timeout(said, Duration::from_secs(1)).unwrap().0;
        }
        said[actor].clone()
    }

    /// An actor's deeds when its script has ended.
    pub fn deeds(&self, actor: usize) -> Vec<Deed> {
        let said = self.wait(actor, "end", |said| said.contains(&FromActor::Ended));
        said.into_iter()
            .filter_map(|said| {
                if let FromActor::Did(deed) = said {
                    Some(deed)
                } else {
                    None
                }
            })
            .collect()
    }

    /// Runs a client to its end.
    pub fn client(&mut self, script: &str) -> Vec<Deed> {
        let number = self.start(script);
        self.deeds(number)
    }

    /// Ends all actors. Returns their exit statuses.
    pub fn over(mut self) -> Vec<i32> {
        self.inner.tell_all(&ToActor::Over);
        self.actors.drain(..).map(|actor| actor.join().unwrap()).collect()
    }

    /// Waits for one actor to exit by itself.
    pub fn exit(&mut self, actor: usize) -> i32 {
        self.actors.remove(actor).join().unwrap()
    }
}

impl Inner {
    fn hear(&self, number: usize, from_actor: PipeReader) {
        for line in BufReader::new(from_actor).lines() {
            let message: FromActor = serde_json::from_str(&line.unwrap()).unwrap();
            match &message {
                FromActor::Mark(name) => self.tell_all(&ToActor::Marked(name.clone())),
                FromActor::Signal { host, .. } => self.tell_all(&ToActor::Marked(format!("signal {host}"))),
                _ => {}
            }
            self.said.lock().unwrap()[number].push(message);
            self.changed.notify_all();
        }
    }

    fn tell_all(&self, message: &ToActor) {
        let line = serde_json::to_string(message).unwrap();
        for input in self.inputs.lock().unwrap().iter_mut() {
            // An actor that has exited does not read any more.
            let _ = writeln!(input, "{line}");
        }
    }
}

/// The only deed of that statement.
pub fn deed<'a>(deeds: &'a [Deed], what: &str) -> &'a Deed {
    let found: Vec<_> = deeds.iter().filter(|deed| deed.what == what).collect();
    assert_eq!(found.len(), 1, "{what}: {deeds:#?}");
    found[0]
}

/// What counts: statement and error.
pub fn counting(deeds: &[Deed]) -> Vec<(&str, Option<&str>)> {
    let counting = deeds.iter().filter(|deed| deed.counts);
    counting
        .map(|deed| (deed.what.as_str(), deed.error.as_deref()))
        .collect()
}
