//! Which run of the lab is meant: `SCENARIO [fix=ID] [real=ID] [rounds=N] [NAME=VALUE]…`.

use std::collections::BTreeMap;
use std::fmt;

use super::lexer::{Token, Tokens};
use super::template::Wrong;

/// A run of the lab, but for how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The scenario.
    pub scenario: String,
    /// Values of its `[set]` table.
    pub set: BTreeMap<String, String>,
    /// The change.
    pub fix: Option<String>,
    /// The real software.
    pub real: Option<String>,
}

/// A run, and how often where a hundred rounds are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// The run.
    pub run: Run,
    /// Rounds of a hundred, where that differs.
    pub rounds: Option<u32>,
}

/// Runs that have a name.
pub type Names = BTreeMap<String, Spec>;

impl Spec {
    /// Takes one from the front: a scenario or a name, and pairs for as long as there are any. Commas between them are welcome.
    pub fn parse(tokens: &mut Tokens, names: &Names) -> Result<Spec, Wrong> {
        let name = tokens.word("a scenario, or the name of a run")?;
        let mut spec = names.get(&name).cloned().unwrap_or_else(|| Spec {
            run: Run {
                scenario: name,
                ..Run::default()
            },
            rounds: None,
        });
        loop {
            let mut ahead = tokens.clone();
            ahead.takes(",");
            if !matches!(ahead.peek(), Some(Token::Word(_))) || !ahead.second_is("=") {
                return Ok(spec);
            }
            let key = ahead.word("a name")?;
            ahead.expect("=")?;
            let value = ahead.value("a value")?;
            spec.set(&key, &value).map_err(|why| ahead.wrong(why))?;
            *tokens = ahead;
        }
    }

    /// Changes one thing. `fix=none` and `real=none` take it away.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let or_none = |value: &str| (value != "none").then(|| value.to_owned());
        match key {
            "fix" => self.run.fix = or_none(value),
            "real" => self.run.real = or_none(value),
            "rounds" => {
                let rounds = value.parse().ok().filter(|rounds| (1..=100_000).contains(rounds));
                self.rounds = Some(rounds.ok_or_else(|| format!("rounds={value} is no number from 1 to 100000"))?);
            }
            _ => {
                self.run.set.insert(key.to_owned(), value.to_owned());
            }
        }
        if self.run.fix.is_some() && self.run.real.is_some() {
            return Err("fix and real do not go together".to_owned());
        }
        Ok(())
    }

    /// The same with one thing changed.
    pub fn with(&self, key: &str, value: &str) -> Result<Spec, String> {
        let mut spec = self.clone();
        spec.set(key, value)?;
        Ok(spec)
    }

    /// How often, where `asked` is what the command line says. It is in proportion, so that a trial stays one.
    pub fn rounds(&self, asked: u32) -> u32 {
        self.rounds.map_or(asked, |rounds| {
            let scaled = (u64::from(rounds) * u64::from(asked)).div_ceil(100);
            u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        for (key, value) in [("fix", &self.fix), ("real", &self.real)] {
            if let Some(value) = value {
                write!(f, " {key}={value}")?;
            }
        }
        for (key, value) in &self.set {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == ',') {
                write!(f, " {key}={value:?}")?;
            } else {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}
