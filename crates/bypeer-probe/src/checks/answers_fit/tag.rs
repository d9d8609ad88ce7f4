//! Tokens in requests, found again in answers.

use std::hash::{BuildHasher, RandomState};

use bypeer_wire::app::Framing;

use crate::http::Answer;

/// What every token begins with.
const PREFIX: &str = "bypq";
/// Hexadecimal digits behind that.
const DIGITS: usize = 16;

/// A number that no other request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(pub(super) u64);

impl Token {
    /// The one for this count. Nobody can foresee it: the keys are random.
    pub(super) fn of(keys: &RandomState, count: u64) -> Token {
        Token(keys.hash_one(count))
    }

    pub(super) fn text(self) -> String {
        format!("{PREFIX}{:016x}", self.0)
    }
}

/// The tokens that an answer holds, in its fields and the kept part of its body.
pub(super) fn tokens(answer: &Answer) -> Vec<Token> {
    let mut found = Vec::new();
    for field in &answer.fields {
        find(field.value.as_bytes(), &mut found);
    }
    match answer.framing {
        Framing::Chunked => find(&without_chunks(&answer.body), &mut found),
        _ => find(&answer.body, &mut found),
    }
    found
}

fn find(bytes: &[u8], found: &mut Vec<Token>) {
    let prefix = PREFIX.as_bytes();
    for (at, _) in bytes
        .windows(prefix.len())
        .enumerate()
        .filter(|(_, window)| *window == prefix)
    {
        let digits = bytes.get(at + prefix.len()..at + prefix.len() + DIGITS);
        let token = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        found.extend(token.map(Token));
    }
}

/// A chunked body's content, as far as it is there.
pub(super) fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&body[..end]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        let rest = &body[end + 1..];
        if size == 0 {
            break;
        }
        let taken = size.min(rest.len());
        content.extend_from_slice(&rest[..taken]);
        // The line end behind the chunk.
        body = rest.get(taken + 2..).unwrap_or_default();
    }
    content
}
