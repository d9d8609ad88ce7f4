use super::route::looks_like_value;
use super::words::{Found, Words, mixed, plain_hash_on};

/// The form of a JSON text, read as it comes: names of two levels with the types of their values. Arrays are opaque.
///
/// Not a validator: what cannot be JSON is noticed where names should stand, and nowhere else.
#[derive(Clone, Debug)]
pub(super) struct Json {
    place: Place,
    /// Objects that are read: 0 to 2.
    depth: u8,
    /// Arrays and objects open that are not looked into.
    opaque: u32,
    /// After a backslash.
    escaped: bool,
    name: Name,
    /// The name in whose object we are.
    parent: u64,
    /// Names with types, hashed.
    seen: Vec<u64>,
    /// The first level's names, for people.
    outline: String,
    /// The type of the whole.
    whole: Option<Type>,
    words: Words,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Value,
    /// Before a name, or at the object's end.
    Name,
    InName,
    Colon,
    /// In a string.
    Text,
    /// In a number or a word.
    Scalar,
    /// In something opaque, and in a string there.
    Opaque,
    OpaqueText,
    /// Behind a value.
    Behind,
    Done,
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// A name as far as it is kept.
#[derive(Clone, Copy, Debug)]
struct Name {
    bytes: [u8; Name::MAX],
    len: u8,
    /// Longer, or of characters that names of fields do not have.
    odd: bool,
}

impl Name {
    const MAX: usize = 40;

    fn new() -> Name {
        Name {
            bytes: [0; Name::MAX],
            len: 0,
            odd: false,
        }
    }

    fn push(&mut self, byte: u8) {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$' | b'@' | b':');
        match self.bytes.get_mut(usize::from(self.len)).filter(|_| plain) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.odd = true,
        }
    }

    /// The name of a field, or `*`.
    fn text(&self) -> &[u8] {
        let text = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        // An address or a time is somebody's, whatever it is made of.
        let somebodys = || text.iter().skip(1).any(|byte| matches!(byte, b'@'));
        if self.odd || text.is_empty() || somebodys() || looks_like_value(text) {
            b"*"
        } else {
            text
        }
    }
}

impl Json {
    /// Most names that are told apart.
    const NAMES: usize = 64;
    /// Most bytes of the outline.
    const OUTLINE: usize = 140;

    /// Before the first byte.
    pub(super) fn new(key: u64) -> Json {
        Json {
            place: Place::Value,
            depth: 0,
            opaque: 0,
            escaped: false,
            name: Name::new(),
            parent: 0,
            seen: Vec::new(),
            outline: String::new(),
            whole: None,
            words: Words::new(key),
        }
    }

    /// More of it.
    pub(super) fn read(&mut self, bytes: &[u8], found: &mut Found) {
        for &byte in bytes {
            match self.place {
                Place::Text | Place::OpaqueText => self.text(byte, found),
                Place::Opaque => self.opaque(byte, found),
                Place::InName => self.name(byte),
                Place::Scalar => self.scalar(byte, found),
                Place::Done | Place::Invalid => return,
                _ if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => {}
                Place::Value => self.value(byte, found),
                Place::Name => match byte {
                    b'"' => (self.place, self.name) = (Place::InName, Name::new()),
                    b'}' => self.close(),
                    _ => self.place = Place::Invalid,
                },
                Place::Colon => self.place = if byte == b':' { Place::Value } else { Place::Invalid },
                Place::Behind => self.behind(byte),
            }
        }
    }

    /// What it looked like: key, words for people, and whether there were names. `None`: it is no JSON.
    pub(super) fn into_form(mut self) -> Option<(u64, String, bool)> {
        if self.place == Place::Invalid {
            return None;
        }
        let whole = self.whole?;
        self.seen.sort_unstable();
        self.seen.dedup();
        let key = self.seen.iter().fold(whole as u64, |key, name| mixed(key ^ *name));
        let text = match whole {
            Type::Object => format!("{{{}}}", self.outline),
            Type::Array => "[]".to_owned(),
            other => other.name().to_owned(),
        };
        Some((key, text, !self.seen.is_empty()))
    }

    /// The text ended where a JSON text may end.
    pub(super) fn is_whole(&self) -> bool {
        self.place == Place::Done || (self.place == Place::Scalar && self.depth == 0)
    }

    fn text(&mut self, byte: u8, found: &mut Found) {
        if self.escaped {
            self.escaped = false;
            return;
        }
        match byte {
            b'\\' => {
                self.escaped = true;
                found.add(self.words.end());
            }
            b'"' => {
                found.add(self.words.end());
                self.place = match self.place {
                    Place::OpaqueText => Place::Opaque,
                    _ => self.after_value(),
                };
            }
            _ => {
                if let Some(word) = self.words.byte(byte) {
                    found.add(Some(word));
                }
            }
        }
    }

    fn opaque(&mut self, byte: u8, found: &mut Found) {
        match byte {
            b'"' => self.place = Place::OpaqueText,
            b'[' | b'{' => self.opaque = self.opaque.saturating_add(1),
            b']' | b'}' => {
                self.opaque = self.opaque.saturating_sub(1);
                if self.opaque == 0 {
                    self.place = self.after_value();
                }
            }
            _ => {
                if let Some(word) = self.words.byte(byte) {
                    found.add(Some(word));
                }
                return;
            }
        }
        found.add(self.words.end());
    }

    fn name(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
            return self.name.odd = true;
        }
        match byte {
            b'"' => self.place = Place::Colon,
            b'\\' => self.escaped = true,
            _ => self.name.push(byte),
        }
    }

    fn scalar(&mut self, byte: u8, found: &mut Found) {
        if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
            found.add(self.words.end());
            self.place = self.after_value();
            if self.place == Place::Behind && matches!(byte, b',' | b'}' | b']') {
                self.behind(byte);
            }
        } else if let Some(word) = self.words.byte(byte) {
            found.add(Some(word));
        }
    }

    fn value(&mut self, byte: u8, found: &mut Found) {
        let Some(kind) = Type::begun_by(byte) else {
            self.place = Place::Invalid;
            return;
        };
        match self.depth {
            0 => self.whole = Some(kind),
            _ => self.note(kind),
        }
        self.place = match kind {
            Type::Object if self.depth < 2 => {
                self.depth += 1;
                if self.depth == 2 {
                    self.parent = plain_hash_on(1, self.name.text());
                }
                Place::Name
            }
            Type::Object | Type::Array => {
                self.opaque = 1;
                Place::Opaque
            }
            Type::Text => Place::Text,
            _ => {
                found.add(self.words.byte(byte));
                Place::Scalar
            }
        };
    }

    fn behind(&mut self, byte: u8) {
        match byte {
            b',' => self.place = Place::Name,
            b'}' => self.close(),
            _ => self.place = Place::Invalid,
        }
    }

    /// An object that was read ends.
    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.parent = 0;
        self.place = self.after_value();
    }

    fn after_value(&self) -> Place {
        if self.depth == 0 { Place::Done } else { Place::Behind }
    }

    /// A name and its value's type.
    fn note(&mut self, kind: Type) {
        let name = self.name.text();
        let hash = plain_hash_on(self.parent ^ kind as u64, name);
        if self.seen.len() >= Json::NAMES || self.seen.contains(&hash) {
            return;
        }
        self.seen.push(hash);
        if self.depth == 1 && self.outline.len() + name.len() + 8 <= Json::OUTLINE {
            if !self.outline.is_empty() {
                self.outline.push_str(", ");
            }
            self.outline.extend(name.iter().copied().map(char::from));
            self.outline.push(':');
            self.outline.push_str(kind.letter());
        }
    }
}

impl Type {
    fn begun_by(byte: u8) -> Option<Type> {
        Some(match byte {
            b'{' => Type::Object,
            b'[' => Type::Array,
            b'"' => Type::Text,
            b'-' | b'0'..=b'9' => Type::Number,
            b't' | b'f' => Type::Bool,
            b'n' => Type::Null,
            _ => return None,
        })
    }

    fn letter(self) -> &'static str {
        match self {
            Type::Object => "{}",
            Type::Array => "[]",
            Type::Text => "s",
            Type::Number => "n",
            Type::Bool => "b",
            Type::Null => "0",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::Text => "string",
            Type::Number => "number",
            Type::Bool => "boolean",
            Type::Null => "null",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn form(text: &str) -> Option<(u64, String, bool)> {
        let mut json = Json::new(1);
        json.read(text.as_bytes(), &mut Found::default());
        json.into_form()
    }

    fn key(text: &str) -> u64 {
        form(text).unwrap().0
    }

    #[test]
    fn names_and_types_of_two_levels_are_the_form() {
        let base = key(r#"{"id":1,"user":{"name":"x","deep":{"a":1}},"list":[1,{"z":2}],"ok":true}"#);
        let alike = [
            r#" { "ok" : false , "list":[], "user" : {"deep":{"b":[1,"}"]}, "name":"\"},{"}, "id":-2.5e3 } "#,
            r#"{"id":9,"user":{"name":"","deep":{}},"list":["]"],"ok":true}"#,
        ];
        for text in alike {
            assert_eq!(key(text), base, "{text}");
        }
        let others = [
            r#"{"id":"1","user":{"name":"x","deep":{"a":1}},"list":[1],"ok":true}"#,
            r#"{"id":1,"user":{"name":"x","deep":[]},"list":[1],"ok":true}"#,
            r#"{"id":1,"user":{"name":"x"},"list":[1],"ok":true}"#,
            r#"{"id":1,"list":[1],"ok":true}"#,
            r#"[{"id":1}]"#,
            "{}",
        ];
        for text in others {
            assert_ne!(key(text), base, "{text}");
        }
        assert_eq!(
            form(r#"{"id":1,"user":{"name":"x"},"l":[],"o":null}"#).unwrap().1,
            "{id:n, user:{}, l:[], o:0}"
        );
    }

    #[test]
    fn names_that_are_values_are_stars() {
        let (by_id, text, _) =
            form(r#"{"17":{"n":1},"18":{"n":2},"6fa459ea-ee8a-3ca4-894e-db77e160355e":{"n":3}}"#).unwrap();
        assert_eq!(text, "{*:{}}");
        assert_eq!(by_id, key(r#"{"4711":{"n":1}}"#));
        let (_, text, _) = form(r#"{"jane@doe.example":1,"Some Body":2,"caf\u00e9":3,"kind":4}"#).unwrap();
        assert_eq!(text, "{*:n, kind:n}");
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["{abc}", "{\"a\" 1}", "{\"a\":x}", "{\"a\":1]", "<html>", ""] {
            assert!(form(text).is_none(), "{text}");
        }
    }

    #[test]
    fn every_cut_reads_alike() {
        let text = r#"{"a":"b\"12345678\\","n":{"x":[1,{"y":"]123456a"}],"z":null},"t":true,"d":1234567890}"#;
        let read = |cut: usize| {
            let (mut json, mut found) = (Json::new(1), Found::default());
            json.read(&text.as_bytes()[..cut], &mut found);
            json.read(&text.as_bytes()[cut..], &mut found);
            assert!(json.is_whole());
            (json.into_form().unwrap(), found.into_tokens())
        };
        let whole = read(0);
        assert_eq!(whole.1.0.len(), 3);
        for cut in 1..=text.len() {
            assert_eq!(read(cut), whole, "{cut}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let names: Vec<String> = (0..1000)
            .map(|i| format!("\"{}x\":{i}", "ab".repeat(1 + i % 15)))
            .collect();
        let mut json = Json::new(1);
        json.read(format!("{{{}}}", names.join(",")).as_bytes(), &mut Found::default());
        assert!(json.seen.len() <= Json::NAMES && json.outline.len() <= Json::OUTLINE);
    }
}
