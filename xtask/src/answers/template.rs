//! The template of docs/answers.md: prose, with directives in `{{…}}` and HTML comments.
//!
//! | directive | |
//! |---|---|
//! | `{{METRIC RUN}}` | a number within a sentence: `{{failures so-linger-zero fix=no-linger}}` |
//! | `{{= SUM as UNIT}}` | one that is worked out; UNIT is time, share, bytes or number |
//! | `<!-- run NAME: RUN -->` | a name for a run; what follows may name it, and change more of it |
//! | `<!-- fixes: RUN; ID, ID…; against ID; counting WHAT -->` | a table of changes; their delay is compared with that of one of them; what fails is counted in rounds, clients or requests |
//! | `<!-- table: METRIC, … of RUN; rows KEY = VALUE, …; columns KEY = VALUE, … -->` | a table over one or two values |
//! | `<!-- holds: CLAIM -->` | guards the prose before it: what it says must be so |
//! | `<!-- known: SOURCE -->` | guards prose that no measurement here could prove wrong |
//! | `<!-- made -->` | when, where and how it was measured |
//! | `<!-- note: … -->` | nothing |
//!
//! In `rows` and `columns` a text before KEY is their heading, and `LABEL: VALUE` gives a value another name. KEY is a name of the
//! scenario's `[set]`, `fix`, or `run`, whose values are names of runs. Below the first `##`, prose without a guard is an error.

use std::fmt;

use super::expression::{Claim, Sum};
use super::lexer::Tokens;
use super::metric::{Metric, Unit};
use super::spec::{Names, Spec};

/// A mistake in the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Counted from 1.
    pub line: usize,
    /// What, and what would be right.
    pub what: String,
}

impl Wrong {
    /// A mistake on a line.
    pub fn at(line: usize, what: impl Into<String>) -> Wrong {
        Wrong {
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Wrong {}

/// A template that was read.
#[derive(Clone, Debug)]
pub struct Template {
    /// In order.
    pub pieces: Vec<Piece>,
    /// What its prose claims.
    pub guards: Vec<Guard>,
}

/// What becomes text.
#[derive(Clone, Debug)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// A number.
    Value(Metric, Spec),
    /// A number that is worked out, and the directive.
    Sum(Sum, Unit, String),
    /// A table of changes.
    Fixes(Fixes),
    /// A table over values.
    Table(Table),
    /// When, where, how.
    Made,
}

/// Prose that must be true.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where the claim stands.
    pub line: usize,
    /// The claim.
    pub claim: Claim,
    /// The prose.
    pub prose: String,
}

/// A table of changes; the first row is without one.
#[derive(Clone, Debug)]
pub struct Fixes {
    /// Without a change.
    pub base: Spec,
    /// The changes.
    pub ids: Vec<String>,
    /// The row with which times are compared; none: the one without a change.
    pub against: Option<String>,
    /// What fails, and its interval.
    pub counting: [Metric; 2],
}

/// A table over one or two values.
#[derive(Clone, Debug)]
pub struct Table {
    /// What is asked.
    pub metrics: Vec<Metric>,
    /// Down.
    pub rows: Axis,
    /// Across; none: the metrics.
    pub columns: Option<Axis>,
    /// By row and column (one column where there are none).
    pub specs: Vec<Vec<Spec>>,
}

/// The values of a side of a table.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What varies.
    pub title: String,
    key: String,
    /// Label and value.
    pub values: Vec<(String, String)>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first mistake and its line.
    pub fn parse(text: &str) -> Result<Template, Wrong> {
        let mut reader = Reader {
            line: 1,
            ..Reader::default()
        };
        let mut rest = text;
        while let Some(at) = next_directive(rest) {
            reader.text(&rest[..at])?;
            let (open, close) = if rest[at..].starts_with("{{") {
                ("{{", "}}")
            } else {
                ("<!--", "-->")
            };
            let inner = &rest[at + open.len()..];
            let Some(end) = inner.find(close) else {
                return Err(Wrong::at(reader.line, format!("`{open}` without `{close}`")));
            };
            let inner_text = &inner[..end];
            rest = &inner[end + close.len()..];
            if open == "{{" {
                reader.value(inner_text)?;
            } else if reader.comment(inner_text)? {
                rest = reader.close_gap(rest);
            }
            reader.line += inner_text.matches('\n').count();
        }
        reader.text(rest)?;
        reader.end_block()?;
        Ok(Template {
            pieces: reader.pieces,
            guards: reader.guards,
        })
    }

    /// Every run that is needed; some more than once.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(_) | Piece::Made => {}
                Piece::Value(_, spec) => specs.push(spec.clone()),
                Piece::Sum(sum, _, _) => specs.extend(sum.specs().into_iter().cloned()),
                Piece::Fixes(fixes) => {
                    specs.push(fixes.base.clone());
                    specs.extend(fixes.ids.iter().map(|id| fixes.with(id)));
                }
                Piece::Table(table) => specs.extend(table.specs.iter().flatten().cloned()),
            }
        }
        specs.extend(self.guards.iter().flat_map(|guard| guard.claim.specs()).cloned());
        specs
    }
}

impl Fixes {
    /// The run with a change.
    pub fn with(&self, id: &str) -> Spec {
        let mut spec = self.base.clone();
        spec.run.fix = Some(id.to_owned());
        spec
    }
}

#[derive(Default)]
struct Reader {
    line: usize,
    pieces: Vec<Piece>,
    guards: Vec<Guard>,
    names: Names,
    /// Prose of this block that has no guard yet.
    open: String,
    /// Where it begins.
    open_line: usize,
    /// Below the first `##`.
    answers: bool,
}

impl Reader {
    fn text(&mut self, text: &str) -> Result<(), Wrong> {
        for line in text.split_inclusive('\n') {
            let whole = line.ends_with('\n');
            let words = line.trim();
            if words.is_empty() && whole && self.ends_line() {
                self.end_block()?;
            } else if words.starts_with('#') && self.ends_line() {
                self.end_block()?;
                self.answers |= words.starts_with("## ");
            } else if !words.is_empty() || !self.open.is_empty() {
                self.prose(line);
            }
            self.push_text(line);
            self.line += usize::from(whole);
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Whether what comes next begins a line.
    fn ends_line(&self) -> bool {
        match self.pieces.last() {
            None => true,
            Some(Piece::Text(text)) => text.is_empty() || text.ends_with('\n'),
            Some(_) => false,
        }
    }

    fn prose(&mut self, text: &str) {
        if self.open.is_empty() {
            self.open_line = self.line;
        }
        self.open.push_str(text);
    }

    fn end_block(&mut self) -> Result<(), Wrong> {
        let open = std::mem::take(&mut self.open);
        if !self.answers || open.trim().is_empty() {
            return Ok(());
        }
        Err(Wrong::at(
            self.open_line,
            format!(
                "nothing guards {:?}; end it with <!-- holds: CLAIM -->, or with <!-- known: SOURCE --> where nothing here measures it",
                in_a_line(&open)
            ),
        ))
    }

    fn value(&mut self, text: &str) -> Result<(), Wrong> {
        let mut tokens = Tokens::of(text, self.line)?;
        self.prose(&format!("{{{{{}}}}}", text.trim()));
        if tokens.takes("=") {
            let sum = Sum::parse(&mut tokens, &self.names)?;
            if !tokens.takes_word("as") {
                return Err(tokens.wrong("expected `as time`, `as share`, `as bytes` or `as number`"));
            }
            let name = tokens.word("time, share, bytes or number")?;
            let unit = Unit::named(&name)
                .ok_or_else(|| tokens.wrong(format!("`{name}` is none of time, share, bytes, number")))?;
            tokens.end()?;
            self.pieces.push(Piece::Sum(sum, unit, in_a_line(text)));
        } else {
            let metric = Metric::parse(&mut tokens)?;
            let spec = Spec::parse(&mut tokens, &self.names)?;
            tokens.end()?;
            self.pieces.push(Piece::Value(metric, spec));
        }
        Ok(())
    }

    /// Whether it leaves no trace in the text.
    fn comment(&mut self, text: &str) -> Result<bool, Wrong> {
        let text = text.trim();
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        match name.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["made"] if rest.is_empty() => self.pieces.push(Piece::Made),
            ["note"] => return Ok(true),
            ["known"] if rest.trim().is_empty() => return Err(Wrong::at(self.line, "known: from where?")),
            ["known"] => {
                self.open.clear();
                return Ok(true);
            }
            ["holds"] => {
                let claim = Claim::parse(rest, self.line, &self.names)?;
                let prose = in_a_line(&self.open);
                // Several guards of the same prose.
                let prose = match self.guards.last() {
                    Some(last) if prose.is_empty() => last.prose.clone(),
                    None if prose.is_empty() => {
                        return Err(Wrong::at(self.line, "there is no prose before this claim"));
                    }
                    _ => prose,
                };
                self.guards.push(Guard {
                    line: self.line,
                    claim,
                    prose,
                });
                self.open.clear();
                return Ok(true);
            }
            ["run", name] => {
                let mut tokens = Tokens::of(rest, self.line)?;
                let spec = Spec::parse(&mut tokens, &self.names)?;
                tokens.end()?;
                if self.names.insert((*name).to_owned(), spec).is_some() {
                    return Err(Wrong::at(self.line, format!("there is a run {name} already")));
                }
                return Ok(true);
            }
            ["fixes"] => {
                let fixes = self.fixes(rest)?;
                self.pieces.push(Piece::Fixes(fixes));
            }
            ["table"] => {
                let table = self.table(rest)?;
                self.pieces.push(Piece::Table(table));
            }
            _ => {
                let known = "run NAME:, fixes:, table:, holds:, known:, note: or made";
                return Err(Wrong::at(
                    self.line,
                    format!("`{name}` is no directive; expected {known}"),
                ));
            }
        }
        Ok(false)
    }

    /// Takes away the white space that a directive without a trace would leave behind.
    fn close_gap<'a>(&mut self, rest: &'a str) -> &'a str {
        if self.ends_line() {
            let after = rest.trim_start_matches([' ', '\t']);
            let Some(after) = after.strip_prefix('\n') else {
                return after;
            };
            self.line += 1;
            let blank_before = match self.pieces.last() {
                Some(Piece::Text(text)) => text.ends_with("\n\n"),
                Some(_) => false,
                None => true,
            };
            match after.strip_prefix('\n') {
                Some(after) if blank_before => {
                    self.line += 1;
                    after
                }
                _ => after,
            }
        } else {
            if let Some(Piece::Text(text)) = self.pieces.last_mut() {
                text.truncate(text.trim_end_matches([' ', '\t']).len());
            }
            rest
        }
    }

    fn fixes(&self, text: &str) -> Result<Fixes, Wrong> {
        let mut tokens = Tokens::of(text, self.line)?;
        let base = Spec::parse(&mut tokens, &self.names)?;
        tokens.expect(";")?;
        let mut ids = vec![tokens.word("a change")?];
        while tokens.takes(",") {
            ids.push(tokens.word("a change")?);
        }
        let (mut against, mut counting) = (None, "rounds".to_owned());
        while tokens.takes(";") {
            if tokens.takes_word("against") {
                let id = tokens.word("a change of the table")?;
                if !ids.contains(&id) {
                    return Err(tokens.wrong(format!("{id} is not in the table")));
                }
                against = Some(id);
            } else if tokens.takes_word("counting") {
                counting = tokens.word("rounds, clients or requests")?;
            } else {
                return Err(tokens.wrong("expected `against ID` or `counting WHAT`"));
            }
        }
        tokens.end()?;
        let names = match counting.as_str() {
            "rounds" => ["failures", "interval"],
            "clients" => ["caught", "caught-interval"],
            "requests" => ["unanswered", "unanswered-interval"],
            _ => return Err(tokens.wrong("what is counted is rounds, clients or requests")),
        };
        let [Some(failed), Some(interval)] = names.map(Metric::named) else {
            return Err(tokens.wrong("this cannot be counted"));
        };
        Ok(Fixes {
            base,
            ids,
            against,
            counting: [failed, interval],
        })
    }

    fn table(&self, text: &str) -> Result<Table, Wrong> {
        let mut tokens = Tokens::of(text, self.line)?;
        let mut metrics = vec![Metric::parse(&mut tokens)?];
        while tokens.takes(",") {
            metrics.push(Metric::parse(&mut tokens)?);
        }
        if !tokens.takes_word("of") {
            return Err(tokens.wrong("expected `of RUN`"));
        }
        let base = Spec::parse(&mut tokens, &self.names)?;
        tokens.expect(";")?;
        let rows = axis(&mut tokens, "rows")?;
        let columns = tokens.takes(";").then(|| axis(&mut tokens, "columns")).transpose()?;
        tokens.end()?;
        if columns.is_some() && metrics.len() > 1 {
            return Err(tokens.wrong("a table with columns has room for one question"));
        }
        let mut specs = Vec::new();
        for (_, value) in &rows.values {
            let row = self.turn(&base, &rows.key, value)?;
            specs.push(match &columns {
                None => vec![row],
                Some(columns) => {
                    let cells = columns
                        .values
                        .iter()
                        .map(|(_, value)| self.turn(&row, &columns.key, value));
                    cells.collect::<Result<_, _>>()?
                }
            });
        }
        Ok(Table {
            metrics,
            rows,
            columns,
            specs,
        })
    }

    /// A run with one thing changed, or another one by its name.
    fn turn(&self, base: &Spec, key: &str, value: &str) -> Result<Spec, Wrong> {
        if key == "run" {
            let named = self.names.get(value).cloned();
            return named.ok_or_else(|| Wrong::at(self.line, format!("there is no run {value}")));
        }
        base.with(key, value).map_err(|why| Wrong::at(self.line, why))
    }
}

fn axis(tokens: &mut Tokens, name: &str) -> Result<Axis, Wrong> {
    if !tokens.takes_word(name) {
        return Err(tokens.wrong(format!("expected `{name} KEY = VALUE, …`")));
    }
    let first = tokens.value("a name of the scenario's [set]")?;
    let (title, key) = if tokens.takes("=") {
        (first.clone(), first)
    } else {
        let key = tokens.word("a name of the scenario's [set]")?;
        tokens.expect("=")?;
        (first, key)
    };
    let mut values = Vec::new();
    loop {
        let first = tokens.value("a value")?;
        values.push(if tokens.takes(":") {
            (first, tokens.value("a value")?)
        } else {
            (first.clone(), first)
        });
        if !tokens.takes(",") {
            return Ok(Axis { title, key, values });
        }
    }
}

fn next_directive(text: &str) -> Option<usize> {
    [text.find("{{"), text.find("<!--")].into_iter().flatten().min()
}

/// White space made single.
fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text_of(template: &Template) -> String {
        let pieces = template.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            _ => "@",
        });
        pieces.collect()
    }

    #[test]
    fn a_template_is_prose_and_directives() {
        let template = Template::parse(
            "# Answers\n\nBefore.\n\n<!-- made -->\n\n## One\n\n<!-- run base: scenario delay=5ms -->\n\n\
             It fails {{failures base}}\ntimes. <!-- holds: failures(base, fix=x) = 0 --> It costs {{= time(base) * 2 as time}}.\n\
             <!-- holds: time(base) > 0\n  and time(base) < 1s -->\nMore. <!-- known: RFC 9112 9.6 -->\n\n\
             <!-- fixes: base; x, y; against y -->\n<!-- table: failures of base; rows \"way\" delay = none: 0, 5ms; columns fix = none, x -->\n",
        )
        .unwrap();
        assert_eq!(
            text_of(&template),
            "# Answers\n\nBefore.\n\n@\n\n## One\n\nIt fails @\ntimes. It costs @.\nMore.\n\n@\n@\n"
        );
        let guards: Vec<(usize, &str)> = template
            .guards
            .iter()
            .map(|guard| (guard.line, guard.prose.as_str()))
            .collect();
        assert_eq!(
            guards,
            [
                (12, "It fails {{failures base}} times."),
                (13, "It costs {{= time(base) * 2 as time}}.")
            ]
        );
        let runs: std::collections::BTreeSet<String> =
            template.specs().iter().map(|spec| spec.run.to_string()).collect();
        assert_eq!(
            runs.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "scenario delay=0",
                "scenario delay=5ms",
                "scenario fix=x delay=0",
                "scenario fix=x delay=5ms",
                "scenario fix=y delay=5ms"
            ]
        );
    }

    #[test]
    fn prose_needs_a_guard_below_the_first_section() {
        assert!(Template::parse("# A\n\nProse.\n").is_ok());
        for (text, expected) in [
            (
                "## A\n\nProse.\nMore.\n\nB. <!-- known: x -->\n",
                (3, "nothing guards \"Prose. More.\""),
            ),
            (
                "## A\n\nB. <!-- known: x --> And {{failures r}}.\n",
                (3, "nothing guards \"And {{failures r}}.\""),
            ),
            ("## A\n\nB.\n## C\n", (3, "nothing guards \"B.\"")),
        ] {
            let wrong = Template::parse(text).unwrap_err();
            assert_eq!(wrong.line, expected.0, "{wrong}");
            assert!(wrong.what.starts_with(expected.1), "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("a\n{{failures", "line 2: `{{` without `}}`"),
            ("a\n\n<!-- made", "line 3: `<!--` without `-->`"),
            (
                "{{failures}}",
                "line 1: expected a scenario, or the name of a run, found the end",
            ),
            ("{{= failures(a)}}", "line 1: expected `as time`"),
            ("{{= failures(a) as furlongs}}", "line 1: `furlongs` is none of"),
            (
                "\n<!-- todo: x -->",
                "line 2: `todo` is no directive; expected run NAME:",
            ),
            ("<!-- known: -->", "line 1: known: from where?"),
            (
                "<!-- holds: failures(a) = 0 -->",
                "line 1: there is no prose before this claim",
            ),
            (
                "<!-- run a: b -->\n<!-- run a: c -->",
                "line 2: there is a run a already",
            ),
            ("<!-- fixes: a -->", "line 1: expected `;`, found the end"),
            ("<!-- fixes: a; b; against c -->", "line 1: c is not in the table"),
            (
                "<!-- fixes: a; b; counting sheep -->",
                "line 1: what is counted is rounds, clients or requests",
            ),
            ("<!-- table: failures a; rows b = 1 -->", "line 1: expected `of RUN`"),
            (
                "<!-- table: failures of a; columns b = 1 -->",
                "line 1: expected `rows KEY = VALUE, …`",
            ),
            (
                "<!-- table: failures of a; rows run = b -->",
                "line 1: there is no run b",
            ),
            (
                "<!-- table: failures, rate of a; rows b = 1; columns c = 2 -->",
                "line 1: a table with columns",
            ),
            (
                "x {{failures a fix=b real=c}}",
                "line 1: fix and real do not go together",
            ),
        ] {
            let wrong = Template::parse(text).unwrap_err().to_string();
            assert!(wrong.starts_with(expected), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn every_beginning_of_a_template_is_read_or_refused() {
        let text = "# A\n\n## B\n\n{{= time(a) as time}} <!-- holds: failures(a k=\"ä\") < 3% -->\n<!-- table: ended[EOF] of a; rows b = x: 1 -->\n";
        assert!(Template::parse(text).is_ok());
        for end in text.char_indices().map(|(at, _)| at) {
            let _ = Template::parse(&text[..end]);
        }
    }
}
