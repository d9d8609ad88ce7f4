//! Words, texts and symbols of a directive.

use super::template::Wrong;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Letters, digits, and `_ . % -` between them.
    Word(String),
    /// What stood in double quotes.
    Text(String),
    /// Everything else: `( ) [ ] , ; : = != < <= > >= + - * /`.
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 18] = [
    "<=", ">=", "!=", "(", ")", "[", "]", ",", ";", ":", "=", "<", ">", "+", "-", "*", "/", "|",
];

/// The tokens of a directive, taken from the front.
#[derive(Clone, Debug)]
pub struct Tokens {
    tokens: Vec<Token>,
    next: usize,
    line: usize,
}

impl Tokens {
    /// Reads a text that stands on `line` of the template.
    pub fn of(text: &str, line: usize) -> Result<Tokens, Wrong> {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let (text, after) = quoted(rest).ok_or_else(|| Wrong::at(line, "a text in quotes has no end"))?;
                tokens.push(Token::Text(text));
                rest = after;
            } else if first.is_alphanumeric() || first == '_' {
                let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                tokens.push(Token::Symbol(symbol));
                rest = &rest[symbol.len()..];
            } else {
                return Err(Wrong::at(
                    line,
                    format!("{first:?} means nothing here; put it in quotes"),
                ));
            }
            rest = rest.trim_start();
        }
        Ok(Tokens { tokens, next: 0, line })
    }

    /// What comes next, without taking it.
    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    /// Whether the token behind the next one is this symbol.
    pub fn second_is(&self, symbol: &str) -> bool {
        matches!(self.tokens.get(self.next + 1), Some(Token::Symbol(found)) if *found == symbol)
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes this symbol, if it is next.
    pub fn takes(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(next)) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    /// Takes this word, if it is next.
    pub fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.next += usize::from(found);
        found
    }

    /// Takes this symbol, which must be next.
    pub fn expect(&mut self, symbol: &str) -> Result<(), Wrong> {
        if self.takes(symbol) {
            return Ok(());
        }
        Err(self.wrong(format!("expected `{symbol}`, found {}", self.found())))
    }

    /// Takes a word, which must be next.
    pub fn word(&mut self, what: &str) -> Result<String, Wrong> {
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.wrong(format!("expected {what}, found {}", self.found())));
        };
        let word = word.clone();
        self.next += 1;
        Ok(word)
    }

    /// Takes a word or a text, which must be next.
    pub fn value(&mut self, what: &str) -> Result<String, Wrong> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => self.word(what),
        }
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), Wrong> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong(format!("{} is too much", self.found()))),
        }
    }

    /// An error on this line.
    pub fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong::at(self.line, what)
    }

    fn found(&self) -> String {
        match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Text(text)) => format!("{text:?}"),
            Some(Token::Symbol(symbol)) => format!("`{symbol}`"),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '%' | '-')
}

/// A text in quotes and what follows; knows `\n`, `\"` and `\\`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}
