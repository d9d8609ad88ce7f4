//! Runs the lab: each run once, however many directives ask for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::measured::{Collector, Heading, Measured, Round, Tally};
use super::render::Measurements;
use super::spec::{Run, Spec};

/// What was measured, by the run's text.
#[derive(Debug, Default)]
pub struct Measurement {
    runs: BTreeMap<String, Measured>,
    /// Seconds since the epoch: the oldest and the newest.
    pub span: Option<(i64, i64)>,
    /// Seconds that it took, all together.
    pub took: f64,
}

/// One call of the lab: a scenario with values, alone and with changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    base: Run,
    fixes: Vec<String>,
    rounds: u32,
}

/// What is kept of a call for `--reuse`.
#[derive(Serialize, Deserialize)]
struct Kept {
    program: u64,
    run: String,
    ended: i64,
    took: f64,
    measured: Measured,
}

/// The calls that are needed for these runs; each in as many rounds as most of what asks for it.
pub fn plan(specs: &[Spec], asked: u32) -> Vec<Call> {
    let mut rounds: BTreeMap<&Run, u32> = BTreeMap::new();
    for spec in specs {
        let most = rounds.entry(&spec.run).or_default();
        *most = spec.rounds(asked).max(*most);
    }
    // Rounds with a change go together with those without it, which the lab makes anyway.
    let mut calls: BTreeMap<(Run, u32), BTreeSet<String>> = BTreeMap::new();
    for (run, rounds) in rounds {
        let mut base = run.clone();
        let fix = base.fix.take();
        calls.entry((base, rounds)).or_default().extend(fix);
    }
    let calls = calls.into_iter().map(|((base, rounds), fixes)| Call {
        base,
        fixes: fixes.into_iter().collect(),
        rounds,
    });
    calls.collect()
}

impl Call {
    fn variants(&self) -> usize {
        1 + self.fixes.len()
    }

    fn run_with(&self, fix: Option<&str>) -> Run {
        Run {
            fix: fix.map(str::to_owned),
            ..self.base.clone()
        }
    }

    /// What bypeer is called with.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["lab".to_owned(), "run".to_owned(), self.base.scenario.clone()];
        arguments.extend(["--rounds".to_owned(), self.rounds.to_string()]);
        if !self.fixes.is_empty() {
            arguments.extend(["--fixes".to_owned(), self.fixes.join(",")]);
        }
        if let Some(real) = &self.base.real {
            arguments.extend(["--real".to_owned(), real.clone()]);
        }
        for (key, value) in &self.base.set {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(["--format".to_owned(), "json".to_owned()]);
        arguments
    }
}

impl Measurements for Measurement {
    fn of(&self, run: &Run) -> Option<&Measured> {
        self.runs.get(&run.to_string())
    }
}

impl Measurement {
    /// Makes all calls, and says how far it is. What is measured is kept beside the program, so that a sentence that must be
    /// rewritten does not cost all rounds again: `reuse` takes it from there, where program and rounds are the same.
    ///
    /// # Errors
    /// When the lab cannot run something.
    pub fn make(program: &Path, calls: &[Call], reuse: bool) -> Result<Measurement> {
        let mut hasher = DefaultHasher::new();
        fs::read(program)
            .context("the program cannot be read")?
            .hash(&mut hasher);
        let version = hasher.finish();
        let store = program.with_file_name("answers.jsonl");
        let mut measurement = Measurement::default();
        if reuse {
            measurement.take_kept(&store, version)?;
        } else if store.exists() {
            fs::remove_file(&store).context("old measurements cannot be removed")?;
        }
        let wanted: Vec<&Call> = calls.iter().filter(|call| !measurement.has(call)).collect();
        let all: u64 = wanted.iter().map(|call| work(call)).sum();
        let begun = Instant::now();
        let mut done = 0;
        for (number, call) in wanted.iter().enumerate() {
            eprint!("{} of {}: {} ×{} ", number + 1, wanted.len(), call.base, call.rounds);
            if !call.fixes.is_empty() {
                eprint!("with {} ", call.fixes.join(", "));
            }
            measurement.run(program, call, (version, &store))?;
            done += work(call);
            let spent = begun.elapsed().as_secs_f64();
            let left = spent / done as f64 * (all - done) as f64;
            eprintln!("  {:.0} s gone, about {left:.0} s left", spent);
        }
        Ok(measurement)
    }

    /// How many rounds, and of how many runs.
    pub fn extent(&self) -> (u64, usize) {
        (self.runs.values().map(|run| run.rounds).sum(), self.runs.len())
    }

    fn has(&self, call: &Call) -> bool {
        let fixes = call.fixes.iter().map(|fix| Some(fix.as_str()));
        fixes.chain([None]).all(|fix| {
            let run = self.of(&call.run_with(fix));
            run.is_some_and(|run| run.rounds >= u64::from(call.rounds))
        })
    }

    fn take_kept(&mut self, store: &Path, version: u64) -> Result<()> {
        let Ok(text) = fs::read_to_string(store) else {
            return Ok(());
        };
        for line in text.lines() {
            // The last line may be cut.
            let Ok(kept) = serde_json::from_str::<Kept>(line) else {
                continue;
            };
            if kept.program == version {
                self.add(kept);
            }
        }
        Ok(())
    }

    fn add(&mut self, kept: Kept) {
        let (first, last) = self.span.unwrap_or((kept.ended, kept.ended));
        self.span = Some((first.min(kept.ended), last.max(kept.ended)));
        self.took += kept.took;
        let known = self.runs.get(&kept.run).map_or(0, |run| run.rounds);
        if kept.measured.rounds >= known {
            self.runs.insert(kept.run, kept.measured);
        }
    }

    fn run(&mut self, program: &Path, call: &Call, (version, store): (u64, &PathBuf)) -> Result<()> {
        let begun = Instant::now();
        let command = call.arguments().join(" ");
        let mut lab = Command::new(program)
            .args(call.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the program cannot be started")?;
        let records = read_records(lab.stdout.take().context("the lab has no output")?);
        let status = lab.wait()?;
        // 1: something did not come true. That is for the claims to say.
        ensure!(matches!(status.code(), Some(0 | 1)), "bypeer {command}: {status}");
        let records = records.with_context(|| format!("bypeer {command}"))?;
        ensure!(
            records.len() == call.variants(),
            "bypeer {command}: {} of {} variants were run; is a program missing that it needs?",
            records.len(),
            call.variants()
        );
        let mut file = fs::OpenOptions::new().create(true).append(true).open(store)?;
        let took = begun.elapsed().as_secs_f64() / records.len() as f64;
        for (fix, measured) in records {
            ensure!(
                measured.rounds == u64::from(call.rounds),
                "bypeer {command}: {} of {} rounds were made",
                measured.rounds,
                call.rounds
            );
            let kept = Kept {
                program: version,
                run: call.run_with(fix.as_deref()).to_string(),
                ended: now(),
                took,
                measured,
            };
            writeln!(file, "{}", serde_json::to_string(&kept)?)?;
            let metric = super::metric::Metric::named("failures");
            eprint!(
                "· {} ",
                metric.map_or(String::new(), |metric| metric.words(&kept.measured))
            );
            self.add(kept);
        }
        Ok(())
    }
}

/// How long a call takes is not known before; rounds say something.
fn work(call: &Call) -> u64 {
    u64::from(call.rounds) * call.variants() as u64
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// By change, in the order of the tallies.
fn read_records(out: impl std::io::Read) -> Result<Vec<(Option<String>, Measured)>> {
    type Variant = (Option<String>, Option<String>);
    let mut collectors: BTreeMap<Variant, Collector> = BTreeMap::new();
    let mut measured = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        let heading = Heading::of(&line)?;
        match heading.schema.as_str() {
            "bypeer.lab-round/1" => {
                let round: Round = serde_json::from_str(&line).context("the record of a round")?;
                collectors.entry(heading.variant()).or_default().add_round(&round);
            }
            "bypeer.lab/1" => {
                let tally: Tally = serde_json::from_str(&line).context("the record of a tally")?;
                let variant = heading.variant();
                let collector = collectors.remove(&variant).unwrap_or_default();
                measured.push((variant.0, collector.finish(tally)));
            }
            other => bail!("a record of an unknown kind, {other}"),
        }
    }
    Ok(measured)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lexer::Tokens;
    use super::super::spec::Names;
    use super::*;

    fn spec(text: &str) -> Spec {
        Spec::parse(&mut Tokens::of(text, 1).unwrap(), &Names::new()).unwrap()
    }

    #[test]
    fn each_run_is_planned_once() {
        let specs = [
            "s",
            "s fix=a",
            "s, fix=b",
            "s",
            "s delay=5ms rounds=30",
            "s delay=5ms rounds=20",
            "s real=r",
        ]
        .map(spec);
        let calls: Vec<String> = plan(&specs, 10).iter().map(|call| call.arguments().join(" ")).collect();
        assert_eq!(
            calls,
            [
                "lab run s --rounds 10 --fixes a,b --format json",
                "lab run s --rounds 10 --real r --format json",
                "lab run s --rounds 3 --set delay=5ms --format json",
            ]
        );
    }

    #[test]
    fn records_are_added_up() {
        let deed = |what: &str, time: f64, bytes: u64, error: &str| {
            format!(r#"{{"time":{time},"took":0.5,"what":{what:?},"bytes":{bytes},"error":{error},"counts":true}}"#)
        };
        let round = |lost: u64, deeds: &[String]| {
            format!(
                r#"{{"schema":"bypeer.lab-round/1","fix":null,"real":null,"responses":1,"responses_lost":{lost},"bytes_lost":7,"accounts":[{{"host":"client","deeds":[{}]}},{{"host":"server","deeds":[]}}]}}"#,
                deeds.join(",")
            )
        };
        let rounds = [
            round(
                0,
                &[deed("connect", 1.0, 0, "null"), deed("read response", 3.5, 300, "null")],
            ),
            round(1, &[deed("read 300", 9.0, 0, r#""EOF""#)]),
        ];
        let tally = r#"{"schema":"bypeer.lab/1","fix":null,"real":null,"rounds":2,"shown":{"events":1,"of":2},"failed":{"events":1,"of":2},
            "endings":{"ok":1,"EOF":1},"misdelivered":0,"server_time_median":0.25,"unread_median":null,
            "kernel_resets":[{"host":"server","reason":"NO_SOCKET","state":"CLOSE","count":1},{"host":"server","reason":"NO_SOCKET","state":"LISTEN","count":2}],
            "counters":{"server":{"OutRsts":3}},"explained":{"client":{"right":2}}}"#
            .replace('\n', "");
        let records = format!("{}\n{}\n{tally}\n", rounds[0], rounds[1]);
        let measured = read_records(records.as_bytes()).unwrap();
        let [(None, run)] = measured.as_slice() else {
            panic!("{measured:?}")
        };
        assert_eq!((run.requests, run.unanswered, run.failed, run.rounds), (2, 1, 1, 2));
        assert_eq!((&run.arrived, &run.lost), (&vec![300, 0], &vec![7, 7]));
        assert_eq!(
            (run.cut.as_slice(), run.time_per_answer.as_slice()),
            (&[0][..], &[3.0][..])
        );
        assert_eq!(run.resets, BTreeMap::from([("server NO_SOCKET".to_owned(), 3)]));
        assert_eq!(run.counters, BTreeMap::from([("server OutRsts".to_owned(), 3)]));
    }

    #[test]
    fn a_record_that_is_none_is_told() {
        assert!(read_records("nonsense\n".as_bytes()).is_err());
        let unknown = read_records(r#"{"schema":"bypeer.finding/1"}"#.as_bytes()).unwrap_err();
        assert!(unknown.to_string().contains("bypeer.finding/1"), "{unknown}");
    }
}
