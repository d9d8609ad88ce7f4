//! Resets, as many as come: what is told of them, what is lost, and what the watch takes for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use super::attached::{Attached, Ended};
use crate::bench::core::processor_time;

/// Resets a second, and for how long.
const RISING: [u64; 5] = [1_000, 2_500, 5_000, 10_000, 20_000];
const RISING_FOR: Duration = Duration::from_secs(2);
const STORM: u64 = 20_000;
const STORM_FOR: Duration = Duration::from_secs(5);
/// What is on its way is told within this.
const SETTLES: Duration = Duration::from_secs(1);
/// Addresses of loopback that the connections go to, so that seldom two in a storm have the same ends.
const ADDRESSES: u8 = 8;

/// Threads that make resets: one cannot make enough.
const THREADS: u64 = 2;

/// What resets are made of.
#[derive(Clone, Copy)]
enum Weather {
    /// Connections closed over what was not read.
    Unread,
    /// Connections to where nobody listens.
    Refused,
}

/// How a storm is listened to.
#[derive(Clone, Copy)]
enum Format {
    Text,
    Json,
}

/// What was sent, and what became of it.
struct Storm {
    weather: Weather,
    format: Format,
    sent: u64,
    /// Resets that this machine's kernel counted meanwhile: those, and what others sent.
    counted: u64,
    took: Duration,
    told: Told,
    processor: Duration,
    peak_at_rest: u64,
    peak: u64,
}

/// From the watch's summary.
#[derive(Default)]
struct Told {
    resets: u64,
    lost: u64,
    stacks: u64,
}

/// Prints storms, the greatest last.
///
/// # Errors
/// When connections cannot be made, or the watch fails.
pub fn run(binary: &Path, quick: bool) -> Result<()> {
    let times = |span: Duration| if quick { span / 4 } else { span };
    println!(
        "{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>13}",
        "", "reset/s", "sent", "told", "missing", "lost", "cpu s", "cpu %", "peak MB"
    );
    for rate in RISING {
        let storm = Storm::raise(binary, Weather::Unread, Format::Text, rate, times(RISING_FOR))?;
        println!("{storm}");
    }
    for (weather, format) in [
        (Weather::Unread, Format::Text),
        (Weather::Unread, Format::Json),
        (Weather::Refused, Format::Text),
        (Weather::Refused, Format::Json),
    ] {
        let storm = Storm::raise(binary, weather, format, STORM, times(STORM_FOR))?;
        println!("{storm}");
        println!(
            "{:<22}{}; {} stacks left out; resets by the kernel's own count: {}; peak before the storm {:.1} MB",
            "",
            storm.honesty(),
            storm.told.stacks,
            storm.counted,
            storm.peak_at_rest as f64 / 1e6,
        );
    }
    println!(
        "lost: events that the watch says it lost, of any kind (a connection makes up to four). cpu: of the watch, without its start"
    );
    Ok(())
}

/// Resets that this machine's kernel says it sent, in this network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn resets_sent() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/snmp").context("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no counts of TCP")?;
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "OutRsts").context("no OutRsts")?;
    Ok(value.parse()?)
}

impl Weather {
    fn name(self) -> &'static str {
        match self {
            Weather::Unread => "unread",
            Weather::Refused => "refused",
        }
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
        }
    }
}

impl Storm {
    fn raise(binary: &Path, weather: Weather, format: Format, rate: u64, span: Duration) -> Result<Storm> {
        let options: &[&str] = match format {
            Format::Text => &[],
            Format::Json => &["--format", "json", "--metrics", "127.0.0.1:0"],
        };
        let attached = Attached::start(binary, options)?;
        let pid = attached.pid();
        let peak_at_rest = peak(pid)?;
        let (used, counted) = (processor_time(pid)?, resets_sent()?);
        let begin = Instant::now();
        let sent = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| reset_connections(weather, rate / THREADS, span)))
                .collect();
            let failed = |_| anyhow!("a thread of the benchmark panicked");
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(failed)?)
                .sum::<Result<u64>>()
        })?;
        let took = begin.elapsed();
        std::thread::sleep(SETTLES);
        let processor = processor_time(pid)?.saturating_sub(used);
        let counted = resets_sent()?.saturating_sub(counted);
        let peak = peak(pid)?;
        let ended = attached.end()?;
        Ok(Storm {
            weather,
            format,
            sent,
            counted,
            took,
            told: Told::of(format, &ended)?,
            processor,
            peak_at_rest,
            peak: peak.max(ended.peak_bytes),
        })
    }

    fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.told.resets)
    }

    /// Whether it says of all that it did not tell that it was lost.
    fn honesty(&self) -> &'static str {
        if self.missing() == 0 {
            "all were told"
        } else if self.missing() <= self.told.lost {
            "told and lost account for all that were sent"
        } else {
            "MORE ARE MISSING THAN WERE SAID TO BE LOST"
        }
    }
}

impl std::fmt::Display for Storm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(
            formatter,
            "{:<22}{:>10.0}{:>10}{:>10}{:>10}{:>10}{:>10.2}{:>9.1}{:>13.1}",
            format!("{}, {}, {seconds:.1} s", self.weather.name(), self.format.name()),
            self.sent as f64 / seconds,
            self.sent,
            self.told.resets,
            self.missing(),
            self.told.lost,
            self.processor.as_secs_f64(),
            self.processor.as_secs_f64() / seconds * 100.0,
            self.peak as f64 / 1e6,
        )
    }
}

impl Told {
    fn of(format: Format, ended: &Ended) -> Result<Told> {
        // The end of it: what comes before are stories.
        let text = ended
            .last
            .get(ended.last.rfind("\nsummary ").unwrap_or(0)..)
            .unwrap_or_default();
        match format {
            Format::Json => Told::of_json(text),
            Format::Text => Told::of_text(text),
        }
        .with_context(|| format!("the watch's summary is not understood:\n{text}"))
    }

    fn of_json(text: &str) -> Option<Told> {
        #[derive(Deserialize)]
        struct Summary {
            resets_sent: u64,
            lost: BTreeMap<String, u64>,
        }
        let summary: Summary = serde_json::from_str(text.lines().last()?).ok()?;
        let mut told = Told {
            resets: summary.resets_sent,
            ..Told::default()
        };
        for (what, count) in &summary.lost {
            told.add_loss(what, *count);
        }
        Some(told)
    }

    /// The end of the report: `120 000 resets sent, …`, and rows of a count and what it is of.
    fn of_text(text: &str) -> Option<Told> {
        let sent = text
            .lines()
            .rfind(|line| line.contains(" sent, ") && line.contains(" received, "))?;
        let mut told = Told {
            resets: number(sent.split("reset").next()?)?,
            ..Told::default()
        };
        for line in text.lines() {
            if let Some((count, what)) = line.trim().split_once("  ")
                && let Some(count) = number(count)
            {
                told.add_loss(what, count);
            }
        }
        Some(told)
    }

    fn add_loss(&mut self, what: &str, count: u64) {
        if what.starts_with("stacks left out") {
            self.stacks += count;
        } else if ["events lost", "events missed", "events that could not be read"]
            .iter()
            .any(|loss| what.starts_with(loss))
        {
            self.lost += count;
        }
    }
}

/// Digits, however they are grouped.
fn number(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Makes as many as come in `span` at `rate` a second, and tells how many. It takes longer where they cannot be made so fast.
fn reset_connections(weather: Weather, rate: u64, span: Duration) -> Result<u64> {
    let mut listener = Some(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?);
    let port = listener.as_ref().context("no listener")?.local_addr()?.port();
    if matches!(weather, Weather::Refused) {
        listener = None;
    }
    let all = u64::try_from(u128::from(rate) * span.as_millis() / 1000)?;
    let begin = Instant::now();
    for count in 0..all {
        let due = Duration::from_nanos(count * 1_000_000_000 / rate);
        // In bursts of a millisecond: a shorter sleep is none.
        while due > begin.elapsed() + Duration::from_millis(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let address = Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(count % u64::from(ADDRESSES))?);
        let client = TcpStream::connect(SocketAddr::from((address, port)));
        let Some(listener) = &listener else {
            ensure!(client.is_err(), "somebody listens at port {port}");
            continue;
        };
        let mut client = client.context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        client.write_all(b"unread").context("write")?;
        // RFC 2525 2.17: closed with data pending, it is reset.
        drop(server);
    }
    Ok(all)
}

/// Greatest resident set so far, in bytes.
fn peak(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the watch is no more")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(number(line).context("no VmHWM")? * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_summaries_tell_the_same() {
        let text = "summary  6.0 s by bpf, tier resets\n  99 000 resets sent, 98 000 received, 0 connections failed without a reset\n\n      1000  events lost: they came faster than they were read\n        17  stacks left out: too many events in a second\n";
        let json = r#"{"resets_sent":99000,"lost":{"events lost: they came":1000,"stacks left out: too":17}}"#;
        for told in [Told::of_text(text).unwrap(), Told::of_json(json).unwrap()] {
            assert_eq!((told.resets, told.lost, told.stacks), (99_000, 1000, 17));
        }
    }

    #[test]
    fn the_kernel_counts_resets() {
        assert!(resets_sent().is_ok());
    }
}
