//! A line of a script, cut into words; and what a word that is not known was probably meant to be.

use std::collections::VecDeque;
use std::time::Duration;

use crate::quantity;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    bytes: Vec<u8>,
    /// It stood in double quotes, and is never a keyword.
    quoted: bool,
}

/// The words of one line that are not used up yet. Every error says what is wrong and what would be right.
#[derive(Debug)]
pub(super) struct Words {
    words: VecDeque<Word>,
}

impl Words {
    /// Cuts a line: white space separates, double quotes hold together, `#` at the start of a word begins a comment.
    pub(super) fn cut(line: &str) -> Result<Self, String> {
        let mut words = VecDeque::new();
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let word = if let Some(quoted) = rest.strip_prefix('"') {
                let (bytes, behind) = unquote(quoted)?;
                if !behind.is_empty() && !behind.starts_with(char::is_whitespace) {
                    return Err("there must be a space behind a closing quote".to_owned());
                }
                rest = behind;
                Word { bytes, quoted: true }
            } else {
                let (word, behind) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
                rest = behind;
                Word {
                    bytes: word.as_bytes().to_vec(),
                    quoted: false,
                }
            };
            words.push_back(word);
            rest = rest.trim_start();
        }
        Ok(Words { words })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether the next word is in quotes.
    pub(super) fn is_quoted(&self) -> bool {
        self.words.front().is_some_and(|word| word.quoted)
    }

    /// The next word, without taking it; none if it is quoted.
    pub(super) fn peek(&self) -> Option<&str> {
        let word = self.words.front().filter(|word| !word.quoted)?;
        std::str::from_utf8(&word.bytes).ok()
    }

    /// Takes the next word if it is this one.
    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let found = self.peek() == Some(keyword);
        if found {
            self.words.pop_front();
        }
        found
    }

    /// Takes this word, which must come next.
    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), String> {
        if self.eat(keyword) {
            Ok(())
        } else {
            Err(format!("expected `{keyword}`{}", self.instead()))
        }
    }

    /// Takes the next word as it is.
    pub(super) fn bytes(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let word = self
            .words
            .pop_front()
            .ok_or_else(|| format!("expected {what}, but the line ends here"))?;
        Ok(word.bytes)
    }

    /// Takes the next word as text.
    pub(super) fn text(&mut self, what: &str) -> Result<String, String> {
        String::from_utf8(self.bytes(what)?).map_err(|_| format!("{what} must be UTF-8"))
    }

    /// Takes a name: letters, digits, `-`, `_` and `.`.
    pub(super) fn name(&mut self, what: &str) -> Result<String, String> {
        let name = self.text(what)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!(
                "{what} is made of letters, digits, `-`, `_` and `.`, not {name:?}"
            ));
        }
        Ok(name)
    }

    /// Takes a size in bytes.
    pub(super) fn size(&mut self) -> Result<u64, String> {
        let text = self.text("a size like `22` or `64KiB`")?;
        quantity::size(&text).ok_or_else(|| format!("{text:?} is no size: write `22`, `64KiB` or `1MiB`"))
    }

    /// Takes a time.
    pub(super) fn duration(&mut self) -> Result<Duration, String> {
        let text = self.text("a time like `5ms`")?;
        quantity::duration(&text).ok_or_else(|| format!("{text:?} is no time: write `100us`, `5ms` or `2s`"))
    }

    /// Takes a whole number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let text = self.text(what)?;
        text.parse().map_err(|_| format!("expected {what}, not {text:?}"))
    }

    /// Takes `+N`, an offset to the port.
    pub(super) fn port(&mut self) -> Result<u16, String> {
        let text = self.text("a port like `+1`")?;
        let offset = text.strip_prefix('+').and_then(|number| number.parse().ok());
        offset.ok_or_else(|| format!("a port is said as an offset to the round's own, like `+1`, not {text:?}"))
    }

    /// Takes one of these words.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, String> {
        for (keyword, value) in choices {
            if self.eat(keyword) {
                return Ok(*value);
            }
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(format!("expected {}{}", names.join(" or "), self.instead()))
    }

    /// The line must end here; `known` are the words that could have followed.
    pub(super) fn finish(&self, known: &[&str]) -> Result<(), String> {
        let Some(word) = self.words.front() else { return Ok(()) };
        let text = String::from_utf8_lossy(&word.bytes);
        let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        Err(match nearest(&text, known) {
            Some(name) => format!("`{text}` is not known here: did you mean `{name}`?"),
            None if known.is_empty() => format!("the statement is complete before `{text}`"),
            None => format!("`{text}` is not known here: what may follow is {}", names.join(", ")),
        })
    }

    fn instead(&self) -> String {
        match self.words.front() {
            Some(word) => format!(", not `{}`", String::from_utf8_lossy(&word.bytes)),
            None => ", but the line ends here".to_owned(),
        }
    }
}

/// The known name that this was probably meant to be.
pub(super) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let ranked = known.iter().map(|name| (distance(text, name), *name));
    let (distance, name) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.len() / 3).max(1)).then_some(name)
}

/// Levenshtein's distance, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Reads to the closing quote. Returns the bytes, and the text behind the quote.
fn unquote(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut bytes = Vec::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let escaped = match character {
            '"' => return Ok((bytes, &text[at + 1..])),
            '\\' => characters.next().map(|(_, character)| character),
            other => {
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        bytes.push(match escaped {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('"') => b'"',
            Some('\\') => b'\\',
            Some('x') => {
                let mut digit = || characters.next().and_then(|(_, character)| character.to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("`\\x` is followed by two hexadecimal digits".to_owned()),
                }
            }
            Some(other) => {
                return Err(format!(
                    "`\\{other}` is not known in quotes: there are \\r \\n \\t \\0 \\\" \\\\ \\xHH"
                ));
            }
            None => break,
        });
    }
    Err("a quoted text has no closing `\"`".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_are_understood() {
        let mut words = Words::cut(r#"write "a b\r\n\x00\xff\"\\é" x#y # a comment "unclosed"#).unwrap();
        assert!(words.eat("write"));
        assert_eq!(words.bytes("").unwrap(), b"a b\r\n\x00\xff\"\\\xc3\xa9");
        assert_eq!(words.text("").unwrap(), "x#y");
        assert!(words.is_empty());
    }

    #[test]
    fn broken_quotes_are_refused() {
        for line in [r#""a"#, r#""a\"#, r#""\q""#, r#""\x4""#, r#""\xg0""#, r#""a"b"#] {
            assert!(Words::cut(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_quoted_word_is_no_keyword() {
        let mut words = Words::cut(r#""split""#).unwrap();
        assert!(!words.eat("split"));
    }

    #[test]
    fn slips_of_the_finger_are_recognised() {
        assert_eq!(nearest("conect", &["close", "connect"]), Some("connect"));
        assert_eq!(nearest("lisen", &["listen", "linger"]), Some("listen"));
        assert_eq!(nearest("teleport", &["listen", "linger"]), None);
    }
}
