//! Traffic in which every answer is on its own request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::alarms::{self, Counted, Said};
use super::capture::{Capture, Loss};
use super::clients::Client;
use super::confined::{self, Place};
use super::damage::Damage;
use super::servers::{REDIS, SOFTWARE, Server, Software};
use super::traffic::{self, Done, Order};
use super::{page, servers};

/// The whole, and what of it is read when the page is written.
pub const ALL: u64 = 100_000;
const PAGE: &str = "docs/misdelivered-clean.md";
/// Of a hundred requests to a server: from our own client, from it while packets get lost, the rest from real ones, with our own beside them.
const OWN: u64 = 45;
const WITH_LOSS: u64 = 10;
const BESIDE: u64 = 15;
/// One packet in so many.
const LOSS: u32 = 60;
/// Of the ways to damage a capture, each is done to one in so many of them.
const DAMAGES_APART: usize = 4;
/// Where no more is begun.
const LASTS: Duration = Duration::from_secs(600);

/// How many, of whom.
#[derive(clap::Args)]
pub struct Arguments {
    /// Requests in all, at least
    #[arg(long, value_name = "N", default_value_t = ALL, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    requests: u64,
    /// Only servers whose name begins like this; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Another number for the dice
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where to keep the captures
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A line of JSON for each row, and no page
    #[arg(long)]
    json: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A server and those that asked it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub server: &'static str,
    pub clients: Vec<&'static str>,
    #[serde(flatten)]
    pub counted: Counted,
    /// By our own client.
    pub done: Done,
    pub restarts: u64,
    pub loss: bool,
    /// Packets that tcpdump says it missed.
    pub missed: u64,
    pub said: Said,
    /// Alarms of worse witnesses of the same.
    pub damaged: BTreeMap<String, Said>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Measured {
    pub rows: Vec<Row>,
    /// What is not here, and which server was left out for it.
    pub lacking: Vec<String>,
    pub took: Duration,
    /// A server or a client did not do what it was there for.
    pub failed: bool,
}

impl Measured {
    /// No alarm anywhere.
    pub fn is_quiet(&self) -> bool {
        self.rows
            .iter()
            .all(|row| row.said.alarms.is_empty() && row.damaged.values().all(|said| said.alarms.is_empty()))
    }

    pub fn requests(&self) -> u64 {
        self.rows.iter().map(|row| row.counted.requests).sum()
    }
}

/// Runs it, prints, writes the page. Fails when there was an alarm.
///
/// # Errors
/// When something cannot be run here.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = crate::bypeer::given(arguments.binary.as_deref())?;
    if let Place::Done(code) = confined::enter(&arguments.again(&binary))? {
        return Ok(code);
    }
    let folder = tempfile::tempdir()?;
    let captures = match &arguments.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.clone()
        }
        None => folder.path().to_path_buf(),
    };
    let measured = measure(arguments, &binary, &captures)?;
    ensure!(
        !measured.rows.is_empty(),
        "there is no server here: {}",
        measured.lacking.join("; ")
    );
    if arguments.json {
        for row in &measured.rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        let page = page::clean(&measured);
        println!("{page}");
        if !measured.failed && arguments.only.is_empty() && arguments.requests >= ALL {
            std::fs::write(crate::bypeer::root().join(PAGE), page).context(PAGE)?;
            eprintln!("wrote {PAGE}");
        }
    }
    for lacking in &measured.lacking {
        eprintln!("left out: {lacking}");
    }
    Ok(ExitCode::from(u8::from(measured.failed || !measured.is_quiet())))
}

impl Arguments {
    /// The same for the process inside.
    fn again(&self, binary: &Path) -> Vec<String> {
        let mut words = vec![
            "clean".to_owned(),
            format!("--requests={}", self.requests),
            format!("--seed={}", self.seed),
        ];
        words.extend(self.only.iter().map(|name| format!("--only={name}")));
        words.extend(self.keep.iter().map(|folder| format!("--keep={}", folder.display())));
        words.extend(self.json.then(|| "--json".to_owned()));
        words.push(format!("--binary={}", binary.display()));
        words
    }

    fn wants(&self, software: &Software) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| software.name.starts_with(name.as_str()))
    }
}

fn measure(arguments: &Arguments, binary: &Path, captures: &Path) -> Result<Measured> {
    let began = Instant::now();
    let mut measured = Measured::default();
    for tool in ["tcpdump", "nft", "ip"] {
        ensure!(servers::has(tool), "{tool} is needed");
    }
    let wanted: Vec<&'static Software> = SOFTWARE
        .iter()
        .chain([&REDIS])
        .filter(|software| arguments.wants(software))
        .collect();
    let here: Vec<&'static Software> = wanted
        .iter()
        .copied()
        .filter(|software| software.lacks().is_none())
        .collect();
    for software in &wanted {
        measured
            .lacking
            .extend(software.lacks().map(|what| format!("{}: lacks {what}", software.name)));
    }
    let share = arguments.requests.div_ceil(here.len().max(1) as u64);
    for software in here {
        if began.elapsed() > LASTS {
            measured.lacking.push(format!("{}: no time was left", software.name));
            continue;
        }
        eprintln!("{}", software.name);
        let meeting = Meeting {
            software,
            share,
            seed: arguments.seed,
            binary,
            captures,
        };
        // What the others did is told all the same.
        if let Err(error) = meeting.play(&mut measured) {
            measured
                .lacking
                .push(format!("{}, not to its end: {error:#}", software.name));
            measured.failed = true;
        }
    }
    // A client meets several servers.
    measured.lacking.sort();
    measured.lacking.dedup();
    measured.took = began.elapsed();
    Ok(measured)
}

/// One server, and all who ask it.
struct Meeting<'a> {
    software: &'static Software,
    share: u64,
    seed: u64,
    binary: &'a Path,
    captures: &'a Path,
}

/// What was done while one capture was made.
struct Scene {
    name: &'static str,
    clients: Vec<&'static Client>,
    own: u64,
    others: u64,
    loss: bool,
    restarts: bool,
}

impl Meeting<'_> {
    fn play(&self, measured: &mut Measured) -> Result<()> {
        let mut server = Server::start(self.software)?;
        let mut clients = Vec::new();
        for client in self.software.clients {
            match client.lacks() {
                None => clients.push(*client),
                Some(what) => measured.lacking.push(format!("{}: lacks {what}", client.name)),
            }
        }
        let redis = self.software.name == REDIS.name;
        let part = |percent: u64| if redis { 0 } else { self.share * percent / 100 };
        let mut scenes = vec![
            Scene {
                name: "own",
                clients: Vec::new(),
                own: part(OWN),
                others: 0,
                loss: false,
                restarts: true,
            },
            Scene {
                name: "loss",
                clients: Vec::new(),
                own: part(WITH_LOSS),
                others: 0,
                loss: true,
                restarts: false,
            },
        ];
        if redis {
            scenes.clear();
            scenes.push(Scene {
                name: "loss",
                clients: clients.clone(),
                own: 0,
                others: self.share / 10,
                loss: true,
                restarts: false,
            });
        }
        if !clients.is_empty() {
            let others = self.share.saturating_sub(part(OWN + WITH_LOSS + BESIDE));
            scenes.push(Scene {
                name: "all",
                clients,
                own: part(BESIDE),
                others,
                loss: false,
                restarts: false,
            });
        }
        for scene in &scenes {
            let row = self.scene(&mut server, scene, measured.rows.len());
            measured.rows.push(row.with_context(|| scene.name)?);
        }
        Ok(())
    }

    fn scene(&self, server: &mut Server, scene: &Scene, measured_before: usize) -> Result<Row> {
        let began = Instant::now();
        let folders = scene.clients.iter().map(|client| {
            let folder = tempfile::tempdir()?;
            client.prepare(folder.path())?;
            Ok(folder)
        });
        let folders = folders.collect::<Result<Vec<_>>>()?;
        let plain: String = self
            .software
            .name
            .chars()
            .map(|letter| if letter.is_alphanumeric() { letter } else { '-' })
            .collect();
        let capture = Capture::start(self.captures, &format!("{plain}-{}", scene.name))?;
        let file = capture.file.clone();
        let loss = scene.loss.then(|| Loss::of_one_in(LOSS)).transpose()?;
        let mut restarts = 0;
        let address = server.address;
        let done = std::thread::scope(|scope| {
            let each = scene.others / scene.clients.len().max(1) as u64;
            let real: Vec<_> = scene
                .clients
                .iter()
                .zip(&folders)
                .map(|(client, folder)| scope.spawn(move || client.ask(folder.path(), address, each)))
                .collect();
            let order = Order {
                server: address,
                site: self.software.site,
                requests: scene.own,
                seed: self.seed ^ (scene.own << 20),
            };
            let done = traffic::ask(order, |number| {
                if scene.restarts {
                    restarts += 1;
                    server.restart(number == 0)?;
                }
                Ok(())
            });
            for client in real {
                client
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client's thread panicked"))??;
            }
            done
        })?;
        drop(loss);
        let asked = began.elapsed();
        server.lives()?;
        let missed = capture.end()?;
        let mut clients: Vec<&str> = scene.clients.iter().map(|client| client.name).collect();
        if scene.own > 0 {
            clients.insert(0, "our own");
        }
        let row = Row {
            server: self.software.name,
            clients,
            counted: alarms::count(&file)?,
            done,
            restarts,
            loss: scene.loss,
            missed,
            said: alarms::explain(self.binary, &file)?,
            damaged: self.damaged(&file, measured_before)?,
        };
        for alarm in &row.said.alarms {
            eprintln!(
                "  {} {} ({}): {}",
                file.display(),
                alarm.connection,
                alarm.cause,
                alarm.verdict
            );
        }
        eprintln!(
            "  {}: {} requests on {} connections in {:.1} s, read in {:.1} s",
            scene.name,
            row.counted.requests,
            row.counted.connections,
            asked.as_secs_f64(),
            (began.elapsed() - asked).as_secs_f64()
        );
        Ok(row)
    }

    /// Each capture is damaged in some ways, in turn; so all of them are read as often as time allows.
    fn damaged(&self, file: &Path, turn: usize) -> Result<BTreeMap<String, Said>> {
        let mut all = BTreeMap::new();
        for damage in Damage::ALL
            .into_iter()
            .skip(turn % DAMAGES_APART)
            .step_by(DAMAGES_APART)
        {
            let worse = file.with_extension(format!("{}.pcap", damage.words().replace(' ', "-")));
            damage.copy(file, &worse)?;
            let said = alarms::explain(self.binary, &worse)?;
            for alarm in &said.alarms {
                eprintln!(
                    "  {}: {} ({}): {}",
                    worse.display(),
                    alarm.connection,
                    alarm.cause,
                    alarm.verdict
                );
            }
            // Only those that show something are worth their room.
            if said.alarms.is_empty() {
                std::fs::remove_file(&worse)?;
            }
            all.insert(damage.words(), said);
        }
        Ok(all)
    }
}
