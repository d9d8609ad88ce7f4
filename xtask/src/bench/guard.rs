//! `cargo xtask bench guard`: what `bypeer guard` costs, beside nginx and HAProxy in front of the same server, in one run.
//!
//! Load, proxy and server share two cores, so that how much passes says little of the proxy: its processor time is what counts. In each
//! round every proxy does every work once, in an order that changes. One of them is there twice: where the two differ, the machine does.

mod backend;
mod memory;
mod steady;
mod table;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::backend::{Backend, LARGE_BYTES};
use self::memory::Memory;
use self::steady::Rate;
pub use self::table::aligned;
use self::table::{Row, Table};
use self::work::{Slice, Work};
use super::core::Core;
use crate::proxy::{Guard, Product, Proxy};

const PAGE: &str = "docs/guard-speed.md";
/// The one that is there twice.
const TWICE: Product = Product::Nginx;

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; in each every proxy does everything once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only this work; can be repeated
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Work>,
    /// Seconds of each slice
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Requests a second for the times of answers; 0: they are not measured
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    rate: u32,
    /// Idle clients for the memory of each; 0: it is not measured
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(..=7_000))]
    idle: u32,
    /// Without the guard: what the machine and the others do
    #[arg(long)]
    without_guard: bool,
    /// Write docs/guard-speed.md
    #[arg(long)]
    write: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A proxy, and what was measured of it.
struct Subject {
    name: String,
    product: Product,
    proxy: Proxy,
    /// By work, round by round.
    slices: Vec<Vec<Slice>>,
    /// Of requests at a fixed rate, round by round.
    steady: Steady,
}

#[derive(Default)]
struct Steady {
    median: Vec<f64>,
    late: Vec<f64>,
    processor: Vec<f64>,
}

/// Measures and prints.
///
/// # Errors
/// When something is not installed, or a proxy does not answer.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut products = vec![Product::Nginx, Product::Haproxy];
    if !arguments.without_guard {
        let binary = crate::bypeer::given(arguments.binary.as_deref())?;
        let settings = "workers = 1\nlog = \"off\"\n";
        products.insert(0, Product::Guard(Guard { binary, settings }));
    }
    memory::raise_descriptors()?;
    let page = measure(arguments, &products)?;
    println!("{page}");
    if arguments.write {
        std::fs::write(crate::bypeer::root().join(PAGE), page).context(PAGE)?;
        eprintln!("wrote {PAGE}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Arguments, products: &[Product]) -> Result<String> {
    let [proxy_core, load_core] = Core::two()?;
    let backend = Backend::start(load_core)?;
    let folder = tempfile::tempdir()?;
    let upload = folder.path().join("upload.lua");
    std::fs::write(
        &upload,
        format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {LARGE_BYTES})\n"),
    )?;
    let works: Vec<Work> = Work::ALL
        .into_iter()
        .filter(|work| arguments.only.is_empty() || arguments.only.contains(work))
        .collect();
    let mut subjects: Vec<Subject> = Vec::new();
    for product in products.iter().chain([&TWICE]) {
        let again = subjects.iter().any(|subject| subject.product == *product);
        subjects.push(Subject {
            name: format!("{}{}", product.name(), if again { " again" } else { "" }),
            product: product.clone(),
            proxy: product.start(&[backend.address], Some(proxy_core))?,
            slices: vec![Vec::new(); works.len()],
            steady: Steady::default(),
        });
    }
    let rate = Rate {
        per_second: arguments.rate,
        connections: 32,
        span: Duration::from_secs(arguments.seconds.into()),
    };
    let mut direct = Steady::default();
    for round in 0..arguments.rounds as usize {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for (number, work) in works.iter().enumerate() {
            for turn in 0..subjects.len() {
                let count = subjects.len();
                let subject = &mut subjects[(round + turn) % count];
                let slice = work
                    .slice(&subject.proxy, load_core, arguments.seconds, &upload)
                    .with_context(|| subject.name.clone())?;
                subject.slices[number].push(slice);
            }
        }
        if arguments.rate > 0 {
            for turn in 0..subjects.len() {
                let count = subjects.len();
                let subject = &mut subjects[(round + turn) % count];
                let pid = subject.proxy.process.pid();
                let before = super::core::processor_time(pid)?;
                subject.steady.ask(rate, subject.proxy.address, load_core)?;
                let used = super::core::processor_time(pid)?.saturating_sub(before);
                let requests = f64::from(arguments.rate) * rate.span.as_secs_f64();
                subject.steady.processor.push(used.as_secs_f64() * 1e6 / requests);
            }
            direct.ask(rate, backend.address, load_core)?;
        }
    }
    let mut idle = Vec::new();
    if arguments.idle > 0 {
        for subject in &subjects {
            // Afresh: memory that was needed for the work before would hide what is needed now.
            let proxy = subject.product.start(&[backend.address], Some(proxy_core))?;
            let memory = memory::of_idle(proxy.address, proxy.process.pid(), arguments.idle);
            idle.push(memory.with_context(|| subject.name.clone())?);
        }
    }
    Ok(page(arguments, &works, &subjects, &direct, &idle))
}

impl Steady {
    fn ask(&mut self, rate: Rate, address: std::net::SocketAddr, core: Core) -> Result<()> {
        let times = rate.ask(address, core)?;
        ensure!(
            times.count() >= 100,
            "too few requests to tell the slowest of a hundred"
        );
        self.median.push(times.median().as_secs_f64() * 1e6);
        self.late.push(times.quantile(0.99).as_secs_f64() * 1e6);
        Ok(())
    }
}

fn page(arguments: &Arguments, works: &[Work], subjects: &[Subject], direct: &Steady, idle: &[Memory]) -> String {
    let of = |what: String, digits: usize, value: &dyn Fn(&Subject) -> Vec<f64>| Row {
        what,
        values: subjects.iter().map(value).collect(),
        digits,
    };
    let mut costs = Vec::new();
    let mut throughput = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for (number, work) in works.iter().enumerate() {
        let what = format!("{}: {}", work.title(), work.unit());
        costs.push(of(what, 2, &|subject| {
            subject.slices[number].iter().map(|slice| work.cost(slice)).collect()
        }));
        throughput.push(of(work.title().to_owned(), 0, &|subject| {
            subject.slices[number].iter().map(Slice::per_second).collect()
        }));
        for subject in subjects {
            let count: u64 = subject.slices[number].iter().map(|slice| slice.failed).sum();
            if count > 0 {
                failed.push(format!("{} by {}, {}", count, subject.name, work.title()));
            }
        }
    }
    let mut times = Vec::new();
    if arguments.rate > 0 {
        let rate = arguments.rate;
        let what = format!("612 bytes, {rate} a second: CPU ms per 1000 requests");
        costs.push(of(what, 2, &|subject| subject.steady.processor.clone()));
        times.push(of("half of all answers within, µs".to_owned(), 0, &|subject| {
            subject.steady.median.clone()
        }));
        times.push(of("99 of 100 answers within, µs".to_owned(), 0, &|subject| {
            subject.steady.late.clone()
        }));
    }
    let columns: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
    let table = |rows: Vec<Row>| Table {
        columns: columns.clone(),
        rows,
    };
    let place = |name: &str| columns.iter().position(|column| column == name);
    let pairs: Vec<(usize, usize)> = [
        ("guard", "nginx"),
        ("guard", "HAProxy"),
        ("HAProxy", "nginx"),
        ("nginx again", "nginx"),
    ]
    .into_iter()
    .filter_map(|(one, other)| Some((place(one)?, place(other)?)))
    .collect();
    let mut versions: Vec<String> = subjects.iter().map(|subject| subject.product.version()).collect();
    versions.dedup();
    versions.pop();
    let mut text = format!(
        "{BEGINNING}\n{}; {} rounds, slices of {} s. {}.\n\n## Processor time\n\n",
        machine(),
        arguments.rounds,
        arguments.seconds,
        versions.join("; ")
    );
    let costs = table(costs);
    text += &costs.values();
    text += "\nThe same as ratios, of neighbours in time:\n\n";
    text += &costs.ratios(&pairs);
    if !times.is_empty() {
        let mut times = table(times);
        times.columns.push("no proxy".to_owned());
        for (row, direct) in times.rows.iter_mut().zip([&direct.median, &direct.late]) {
            row.values.push(direct.clone());
        }
        text += &format!(
            "\n## Times of answers\n\n{} requests a second at random moments over 32 connections, each timed from when it was due.\n\n",
            arguments.rate
        );
        text += &times.values();
    }
    if !idle.is_empty() {
        let lines = vec![
            [vec![String::new()], columns.clone()].concat(),
            [
                vec!["MB with one client (PSS)".to_owned()],
                idle.iter()
                    .map(|memory| format!("{:.1}", memory.at_first as f64 / 1e6))
                    .collect(),
            ]
            .concat(),
            [
                vec![format!("bytes more for each of {} idle clients", arguments.idle)],
                idle.iter().map(|memory| format!("{:.0}", memory.per_client)).collect(),
            ]
            .concat(),
        ];
        text += "\n## Memory\n\nEach client has asked once and keeps its connection. What the kernel keeps for it is the same for all, \
                 and not counted. nginx makes room for all connections that it may have (16 384) when it starts.\n\n";
        text += &aligned(&lines);
    }
    text += "\n## What passed\n\nAnswers a second, where load and server share the other core: no measure of the proxies alone.\n\n";
    text += &table(throughput).values();
    text += &match failed[..] {
        [] => "\nNo request failed.\n".to_owned(),
        _ => format!("\nRequests that failed: {}.\n", failed.join("; ")),
    };
    text
}

const BEGINNING: &str = "\
# What the guard costs

Written by `cargo xtask bench guard --write`: the guard, nginx and HAProxy side by side in front of the same server (another nginx), each
with one worker on one core; load and server are on another one. All keep connections to the server, log nothing, and pass bodies on as
they come. Medians over rounds, with the interval in which the true median lies with 95 %. One proxy is there twice: where the two
differ, it is the machine that does.
";

/// `2 cores, Linux 6.18.5`
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname();
    format!("{cores} cores, Linux {}", kernel.release().to_string_lossy())
}
