//! Claims about measurements: `failures(a) = 0 and rate(b) > rate(c) + 20%`.

use super::lexer::{Token, Tokens};
use super::metric::Metric;
use super::spec::{Names, Spec};
use super::template::Wrong;

/// A number that is worked out from measurements.
#[derive(Clone, Debug)]
pub enum Sum {
    /// In seconds, bytes, shares of 1, or as it stands.
    Number(f64),
    /// What was measured of a run.
    Asked(Metric, Spec),
    /// Two, and what is done with them.
    Both(Box<Sum>, Operator, Box<Sum>),
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`
    By,
}

/// Comparisons that are all true, it is claimed. Each is a chain: `a < b < c`.
#[derive(Clone, Debug)]
pub struct Claim {
    chains: Vec<(Sum, Vec<(&'static str, Sum)>)>,
    /// As it stands in the template.
    pub text: String,
}

/// Finds what was measured of a run.
pub type Look<'a> = dyn Fn(&Metric, &Spec) -> Option<f64> + 'a;

impl Claim {
    /// Reads one.
    pub fn parse(text: &str, line: usize, names: &Names) -> Result<Claim, Wrong> {
        let mut tokens = Tokens::of(text, line)?;
        let mut chains = Vec::new();
        loop {
            let first = Sum::parse(&mut tokens, names)?;
            let mut links = Vec::new();
            while let Some(comparison) = comparison(&mut tokens) {
                links.push((comparison, Sum::parse(&mut tokens, names)?));
            }
            if links.is_empty() {
                return Err(tokens.wrong("a claim compares: expected one of = != < <= > >="));
            }
            chains.push((first, links));
            if !tokens.takes_word("and") {
                break;
            }
        }
        tokens.end()?;
        Ok(Claim {
            chains,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    /// The runs that it speaks of.
    pub fn specs(&self) -> Vec<&Spec> {
        let sums = self.chains.iter().flat_map(|(first, links)| {
            let others = links.iter().map(|(_, sum)| sum);
            std::iter::once(first).chain(others)
        });
        sums.flat_map(Sum::specs).collect()
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// The comparison that is not, with its numbers.
    pub fn check(&self, look: &Look<'_>) -> Result<(), String> {
        for (first, links) in &self.chains {
            let mut left = first.value(look)?;
            for (comparison, sum) in links {
                let right = sum.value(look)?;
                let true_ = match *comparison {
                    "=" => (left - right).abs() < 1e-9,
                    "!=" => (left - right).abs() >= 1e-9,
                    "<" => left < right,
                    "<=" => left <= right,
                    ">" => left > right,
                    _ => left >= right,
                };
                if !true_ {
                    return Err(format!(
                        "measured: {} {comparison} {} is false",
                        short(left),
                        short(right)
                    ));
                }
                left = right;
            }
        }
        Ok(())
    }
}

impl Sum {
    /// Takes one from the front.
    pub fn parse(tokens: &mut Tokens, names: &Names) -> Result<Sum, Wrong> {
        let mut sum = Sum::product(tokens, names)?;
        loop {
            let operator = match tokens {
                _ if tokens.takes("+") => Operator::Plus,
                _ if tokens.takes("-") => Operator::Minus,
                _ => return Ok(sum),
            };
            sum = Sum::Both(Box::new(sum), operator, Box::new(Sum::product(tokens, names)?));
        }
    }

    fn product(tokens: &mut Tokens, names: &Names) -> Result<Sum, Wrong> {
        let mut product = Sum::atom(tokens, names)?;
        loop {
            let operator = match tokens {
                _ if tokens.takes("*") => Operator::Times,
                _ if tokens.takes("/") => Operator::By,
                _ => return Ok(product),
            };
            product = Sum::Both(Box::new(product), operator, Box::new(Sum::atom(tokens, names)?));
        }
    }

    fn atom(tokens: &mut Tokens, names: &Names) -> Result<Sum, Wrong> {
        if tokens.takes("(") {
            let sum = Sum::parse(tokens, names)?;
            tokens.expect(")")?;
            return Ok(sum);
        }
        if let Some(Token::Word(word)) = tokens.peek()
            && word.starts_with(|c: char| c.is_ascii_digit())
        {
            let number = quantity(word).ok_or_else(|| tokens.wrong(format!("`{word}` is no quantity")))?;
            tokens.take();
            return Ok(Sum::Number(number));
        }
        let metric = Metric::parse(tokens)?;
        tokens.expect("(")?;
        let spec = Spec::parse(tokens, names)?;
        tokens.expect(")")?;
        Ok(Sum::Asked(metric, spec))
    }

    /// The runs that it speaks of.
    pub fn specs(&self) -> Vec<&Spec> {
        match self {
            Sum::Number(_) => Vec::new(),
            Sum::Asked(_, spec) => vec![spec],
            Sum::Both(left, _, right) => [left.specs(), right.specs()].concat(),
        }
    }

    /// Works it out.
    ///
    /// # Errors
    /// What has no value.
    pub fn value(&self, look: &Look<'_>) -> Result<f64, String> {
        match self {
            Sum::Number(number) => Ok(*number),
            Sum::Asked(metric, spec) => {
                look(metric, spec).ok_or_else(|| format!("{}({}) has no value", metric.name(), spec.run))
            }
            Sum::Both(left, operator, right) => {
                let (left, right) = (left.value(look)?, right.value(look)?);
                match operator {
                    Operator::Plus => Ok(left + right),
                    Operator::Minus => Ok(left - right),
                    Operator::Times => Ok(left * right),
                    Operator::By if right == 0.0 => Err(format!("{} is divided by 0", short(left))),
                    Operator::By => Ok(left / right),
                }
            }
        }
    }
}

fn comparison(tokens: &mut Tokens) -> Option<&'static str> {
    ["=", "!=", "<", "<=", ">", ">="]
        .into_iter()
        .find(|symbol| tokens.takes(symbol))
}

/// `20%`, `5ms`, `64KiB`, `3`: a share of 1, seconds, bytes, a number.
fn quantity(text: &str) -> Option<f64> {
    use bypeer_lab::quantity::{duration, size};
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if let Some(percent) = text.strip_suffix('%') {
        return Some(percent.parse::<f64>().ok()? / 100.0);
    }
    let time = duration(text).map(|time| time.as_secs_f64());
    time.or_else(|| size(text).map(|bytes| bytes as f64))
}

fn short(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `failures` of a run is the number that its scenario ends with.
    fn look(metric: &Metric, spec: &Spec) -> Option<f64> {
        assert_eq!(metric.name(), "failures");
        spec.run.scenario.strip_prefix("run-")?.parse().ok()
    }

    fn check(text: &str) -> Result<(), String> {
        Claim::parse(text, 1, &Names::new()).unwrap().check(&look)
    }

    #[test]
    fn claims_are_checked() {
        for text in [
            "failures(run-3) = 3",
            "failures(run-3) != 4 and failures(run-0) = 0",
            "failures(run-1) < failures(run-2) <= failures(run-2, fix=x) < failures(run-9)",
            "failures(run-10) - failures(run-2) - 3 = 5",
            "failures(run-2) + failures(run-3) * 2 = 8",
            "(failures(run-2) + failures(run-3)) * 2 = 10",
            "20% = 0.2 and 5ms = 0.005 and 64KiB = 65536 and 1 / 4 = 25%",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_false_is_told_with_its_numbers() {
        assert_eq!(check("failures(run-3) = 0").unwrap_err(), "measured: 3 = 0 is false");
        assert_eq!(
            check("1 < 2 and failures(run-1) < failures(run-2) < failures(run-2)").unwrap_err(),
            "measured: 2 < 2 is false"
        );
        assert_eq!(
            check("failures(other k=\"a b\") = 0").unwrap_err(),
            "failures(other k=\"a b\") has no value"
        );
        assert_eq!(check("1 / failures(run-0) > 0").unwrap_err(), "1 is divided by 0");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("failures(run-1)", "line 7: a claim compares"),
            ("failures(run-1 = 0", "line 7: expected `)`"),
            (
                "misses(run-1) = 0",
                "line 7: `misses` cannot be asked; known are failures",
            ),
            (
                "ended(run-1) = 0",
                "line 7: ended needs an ending, as ECONNRESET in [brackets]",
            ),
            ("failures(run-1) = 3parsec", "line 7: `3parsec` is no quantity"),
            ("failures(run-1) = 0 or 1 = 1", "line 7: `or` is too much"),
            ("failures(run-1, rounds=0) = 0", "line 7: rounds=0 is no number"),
            ("failures(run-1, fix=\"x) = 0", "line 7: a text in quotes has no end"),
            ("failures(run-1) = 0 & 1 = 1", "line 7: '&' means nothing here"),
        ] {
            let wrong = Claim::parse(text, 7, &Names::new()).unwrap_err().to_string();
            assert!(wrong.starts_with(expected), "{text}: {wrong}");
        }
    }

    #[test]
    fn runs_in_a_claim_are_found() {
        let claim = Claim::parse(
            "failures(a fix=x) = 0 < failures(b) + rate(a, delay=5ms)",
            1,
            &Names::new(),
        )
        .unwrap();
        let runs: Vec<String> = claim.specs().iter().map(|spec| spec.run.to_string()).collect();
        assert_eq!(runs, ["a fix=x", "b", "a delay=5ms"]);
    }
}
