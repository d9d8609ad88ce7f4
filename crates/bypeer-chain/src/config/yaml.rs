//! YAML (and so JSON) to a tree that knows its lines. Made from events, without recursion: neither depth nor aliases cost more than
//! what is written.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser};

use super::MAX_DEPTH;

/// Most nodes of one file.
const MAX_NODES: usize = 500_000;

/// A file's documents.
#[derive(Debug, Default)]
pub(super) struct Yaml {
    nodes: Vec<Node>,
    /// The roots.
    pub documents: Vec<Id>,
}

/// A node of a [`Yaml`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(usize);

#[derive(Debug)]
struct Node {
    line: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(String),
    /// Invariant: children were made after their parent, but for aliases, which name what is complete.
    Sequence(Vec<Id>),
    Mapping(Vec<(Id, Id)>),
}

impl Yaml {
    /// Reads a file; the error has its line.
    pub fn parse(text: &str) -> Result<Yaml, String> {
        let mut yaml = Yaml::default();
        // What is open: a node, and of a mapping the key that waits for its value.
        let mut open: Vec<(Id, Option<Id>, usize)> = Vec::new();
        let mut anchors: std::collections::HashMap<usize, Id> = std::collections::HashMap::new();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| error.to_string())?;
            let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
            let (kind, anchor, opens) = match event {
                Event::Scalar(text, _, anchor, _) => (Kind::Scalar(Cow::into_owned(text)), anchor, false),
                Event::SequenceStart(anchor, _) => (Kind::Sequence(Vec::new()), anchor, true),
                Event::MappingStart(anchor, _) => (Kind::Mapping(Vec::new()), anchor, true),
                Event::Alias(anchor) => {
                    // One that is not complete yet would be a ring.
                    if let Some(id) = anchors.get(&anchor).copied() {
                        yaml.place(id, &mut open);
                    }
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some((id, _, anchor)) = open.pop()
                        && anchor > 0
                    {
                        anchors.insert(anchor, id);
                    }
                    continue;
                }
                _ => continue,
            };
            if yaml.nodes.len() >= MAX_NODES {
                return Err(format!("line {line}: more than {MAX_NODES} values"));
            }
            let id = Id(yaml.nodes.len());
            yaml.nodes.push(Node { line, kind });
            yaml.place(id, &mut open);
            if opens {
                if open.len() >= MAX_DEPTH {
                    return Err(format!("line {line}: nests deeper than {MAX_DEPTH}"));
                }
                open.push((id, None, anchor));
            } else if anchor > 0 {
                anchors.insert(anchor, id);
            }
        }
        Ok(yaml)
    }

    fn place(&mut self, id: Id, open: &mut [(Id, Option<Id>, usize)]) {
        // A text of several lines is looked for where its key stands.
        if let Some((_, Some(key), _)) = open.last()
            && matches!(self.nodes[id.0].kind, Kind::Scalar(_))
        {
            self.nodes[id.0].line = self.nodes[key.0].line;
        }
        let Some((parent, key, _)) = open.last_mut() else {
            self.documents.push(id);
            return;
        };
        match &mut self.nodes[parent.0].kind {
            Kind::Sequence(items) => items.push(id),
            Kind::Mapping(entries) => match key.take() {
                Some(key) => entries.push((key, id)),
                None => *key = Some(id),
            },
            Kind::Scalar(_) => {}
        }
    }

    /// The line, from 1.
    pub fn line(&self, id: Id) -> u32 {
        self.nodes[id.0].line
    }

    /// The text of a scalar.
    pub fn text(&self, id: Id) -> Option<&str> {
        match &self.nodes[id.0].kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self, id: Id) -> &[Id] {
        match &self.nodes[id.0].kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping whose keys are text.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        let entries: &[(Id, Id)] = match &self.nodes[id.0].kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        };
        entries
            .iter()
            .filter_map(|(key, value)| Some((self.text(*key)?, *value)))
    }

    /// The value of a mapping's key.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id)
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value)
    }

    /// The value behind several keys.
    pub fn at(&self, id: Id, path: &[&str]) -> Option<Id> {
        path.iter().try_fold(id, |id, key| self.get(id, key))
    }

    /// The text behind several keys.
    pub fn text_at(&self, id: Id, path: &[&str]) -> Option<&str> {
        self.text(self.at(id, path)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_values_of_yaml_and_json() {
        let yaml = Yaml::parse("a:\n  - b: 1s\n  - {b: \"2s\"}\n---\nc: d\n").unwrap();
        assert_eq!(yaml.documents.len(), 2);
        let items = yaml.items(yaml.get(yaml.documents[0], "a").unwrap());
        let found: Vec<(&str, u32)> = items
            .iter()
            .map(|item| yaml.get(*item, "b").unwrap())
            .map(|id| (yaml.text(id).unwrap(), yaml.line(id)))
            .collect();
        assert_eq!(found, [("1s", 2), ("2s", 3)]);
        let json = Yaml::parse("{\"a\": {\"b\": [1, true, null]}}").unwrap();
        assert_eq!(yaml.text_at(yaml.documents[1], &["c"]), Some("d"));
        assert_eq!(json.items(json.at(json.documents[0], &["a", "b"]).unwrap()).len(), 3);
    }

    #[test]
    fn aliases_are_not_copied_and_rings_are_not_followed() {
        let mut bomb = "a0: &a0 [x, x, x, x]\n".to_owned();
        for level in 1..40 {
            bomb += &format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1);
        }
        let yaml = Yaml::parse(&bomb).unwrap();
        assert!(yaml.nodes.len() < 1_000, "{}", yaml.nodes.len());
        assert!(Yaml::parse("a: &a [*a]\n").is_ok());
    }

    #[test]
    fn depth_has_an_end() {
        assert!(Yaml::parse(&"[".repeat(100_000)).is_err());
        assert!(Yaml::parse(&"- ".repeat(10_000)).is_err());
    }
}
