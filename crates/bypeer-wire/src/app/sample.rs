use std::sync::Arc;

use super::json::Json;
use super::notice::{Look, Shape};
use super::words::{Found, Words, mixed, plain_hash};

/// Looks at the beginning of a body, as it comes, and keeps its form and its distinctive words, but none of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    key: u64,
    /// Bytes that are still looked at.
    left: usize,
    body: Body,
    pub(super) found: Found,
    /// There was more, or something was missing.
    cut: bool,
    /// The body's type is JSON, by its head.
    said_json: bool,
}

#[derive(Clone, Debug)]
enum Body {
    /// Nothing, or blanks, so far.
    Empty,
    Json(Box<Json>, First),
    Text(Words, First),
    Binary,
    /// Compressed: the head said so.
    Encoded,
    /// There can be none.
    None,
    /// There is no body: what was known before it says all.
    Told {
        detailed: bool,
    },
}

/// What is known of a body before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Anything,
    /// JSON, by its type.
    Json,
    /// Compressed.
    Encoded,
    /// None, and that says nothing of the request.
    None,
    /// None, because what was said before says all; in detail, perhaps.
    Told {
        detailed: bool,
    },
}

/// What kind of byte a body begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Brace,
    Bracket,
    Markup,
    Letter,
    Digit,
    Other,
    Binary,
}

/// Bytes of a body that is no JSON that are looked at: words in prose are many, and tell little.
const TEXT_SAMPLE: usize = 1024;

impl Sampler {
    /// For a body of which nothing came yet.
    pub(super) fn new(key: u64) -> Sampler {
        Sampler {
            key,
            left: Look::SAMPLE,
            body: Body::Empty,
            found: Found::default(),
            cut: false,
            said_json: false,
        }
    }

    /// What the head says of the body.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.body = match expected {
            Expected::Anything => return,
            Expected::Json => {
                self.said_json = true;
                return;
            }
            Expected::Encoded => Body::Encoded,
            Expected::None => Body::None,
            Expected::Told { detailed } => Body::Told { detailed },
        };
        self.left = 0;
    }

    /// More bytes are wanted.
    pub(super) fn wants(&self) -> bool {
        self.left > 0
    }

    /// The next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let here = bytes.get(..self.left.min(bytes.len())).unwrap_or_default();
        self.cut |= here.len() < bytes.len();
        self.left -= here.len();
        let mut rest = here;
        if matches!(self.body, Body::Empty) {
            let blank = here.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            rest = here.get(blank..).unwrap_or_default();
            let Some(&byte) = rest.first() else { return };
            self.begin(First::of(byte));
        }
        match &mut self.body {
            Body::Json(json, _) => json.read(rest, &mut self.found),
            Body::Text(words, _) => {
                for &byte in rest {
                    if let Some(word) = words.byte(byte) {
                        self.found.add(Some(word));
                    }
                }
            }
            _ => {}
        }
    }

    /// Bytes of the body are not there: what comes after them is not looked at.
    pub(super) fn miss(&mut self) {
        self.cut = true;
        self.left = 0;
    }

    fn begin(&mut self, first: First) {
        self.body = match first {
            First::Brace | First::Bracket => Body::Json(Box::new(Json::new(self.key)), first),
            First::Binary => {
                self.left = 0;
                Body::Binary
            }
            _ if self.said_json => Body::Json(Box::new(Json::new(self.key)), first),
            _ => {
                self.left = self.left.min(TEXT_SAMPLE);
                Body::Text(Words::new(self.key), first)
            }
        };
    }

    /// The form, and the words. `complete`: the body came to its end. `before`: what was known before the body, for people.
    pub(super) fn finish(mut self, before: &str, complete: bool, last: Option<&Shape>) -> (Shape, Box<[u64]>, bool) {
        if let Body::Text(words, _) = &mut self.body {
            self.found.add(words.end());
        }
        let mut is_cut = self.cut || !complete;
        let is_bodiless = matches!(self.body, Body::None);
        let mut has_form = false;
        let (key, text, is_detailed) = match self.body {
            Body::Empty => (10, "nothing".to_owned(), false),
            Body::None => (11, "no body".to_owned(), false),
            Body::Encoded => (12, "encoded".to_owned(), false),
            Body::Told { detailed } => (14, String::new(), detailed),
            Body::Binary => (13, First::Binary.name().to_owned(), false),
            Body::Text(_, first) => (20 + first as u64, first.name().to_owned(), false),
            Body::Json(json, first) => {
                is_cut |= !json.is_whole();
                match json.into_form() {
                    Some(form) => {
                        has_form = true;
                        form
                    }
                    None => (20 + first as u64, first.name().to_owned(), false),
                }
            }
        };
        // Of prose, or what cannot be read, words are not all there: a body that is not JSON tells by its first byte, cut or not.
        let words_cut = is_cut || self.left == 0;
        let is_cut = is_cut && has_form;
        let key = mixed(plain_hash(before.as_bytes()) ^ mixed(key.wrapping_add(u64::from(is_cut))));
        let shape = match last.filter(|last| last.key == key) {
            Some(last) => last.clone(),
            None => Shape {
                key,
                text: text_of(before, &text, is_cut),
                is_detailed,
                is_cut,
                is_bodiless,
            },
        };
        let (tokens, too_many) = self.found.into_tokens();
        (shape, tokens, (words_cut || too_many) && !is_bodiless)
    }
}

fn text_of(before: &str, form: &str, is_cut: bool) -> Arc<str> {
    let mut text = String::with_capacity(before.len() + form.len() + 5);
    text.extend(
        before
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { '?' })
            .take(40),
    );
    if !text.is_empty() && !form.is_empty() {
        text.push(' ');
    }
    text.push_str(form);
    if is_cut {
        text.push_str(" ...");
    }
    text.into()
}

impl First {
    fn of(byte: u8) -> First {
        match byte {
            b'{' => First::Brace,
            b'[' => First::Bracket,
            b'<' => First::Markup,
            b'a'..=b'z' | b'A'..=b'Z' => First::Letter,
            b'0'..=b'9' | b'-' | b'+' => First::Digit,
            b'!'..=b'~' => First::Other,
            _ => First::Binary,
        }
    }

    fn name(self) -> &'static str {
        match self {
            First::Brace => "text in braces",
            First::Bracket => "text in brackets",
            First::Markup => "markup",
            First::Letter => "text",
            First::Digit => "a number",
            First::Other => "other text",
            First::Binary => "binary",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pieces: &[&[u8]], complete: bool) -> (Shape, Box<[u64]>, bool) {
        let mut sampler = Sampler::new(3);
        pieces.iter().for_each(|piece| sampler.read(piece));
        sampler.finish("text/x", complete, None)
    }

    #[test]
    fn bodies_are_told_apart_by_their_first_byte_at_least() {
        let bodies: [&[u8]; 7] = [b"", b"<p>", b"hello", b"12", b"{\"a\":1}", b"\0\x01", b"{a}"];
        let shapes = bodies.map(|body| look(&[body], true).0);
        for (index, shape) in shapes.iter().enumerate() {
            assert!(shapes.iter().skip(index + 1).all(|other| other != shape), "{shape:?}");
        }
        assert_eq!(look(&[b" \n", b"hello"], true).0, look(&[b"world"], true).0);
    }

    #[test]
    fn a_long_body_is_cut_and_says_so() {
        let long = format!("{{\"a\":\"{}\",\"b\":1}}", "x ".repeat(5000));
        let (shape, _, cut) = look(&[long.as_bytes()], true);
        assert!(shape.is_cut && cut && shape.is_detailed);
        assert_eq!(&*shape.text, "text/x {a:s} ...");
        let (halves, _, _) = look(&[&long.as_bytes()[..100], &long.as_bytes()[100..]], true);
        assert_eq!(halves, shape);
        let (prose, _, cut) = look(&["x ".repeat(5000).as_bytes()], true);
        assert!(!prose.is_cut && cut);
    }

    #[test]
    fn what_is_missed_is_not_looked_over() {
        let mut sampler = Sampler::new(3);
        sampler.read(b"{\"a\":");
        sampler.miss();
        sampler.read(b"1}");
        assert!(sampler.finish("", true, None).0.is_cut);
    }
}
