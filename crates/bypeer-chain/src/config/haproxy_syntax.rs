//! The syntax of HAProxy's configuration: sections of lines, and what proxies take from their defaults.

use super::lines::words;

/// A section that concerns proxies.
#[derive(Debug)]
pub(super) struct Section {
    /// `defaults`, `frontend`, `backend` or `listen`.
    pub kind: String,
    pub name: String,
    /// The section whose settings it takes where it has none: an index that is smaller than its own.
    pub defaults: Option<usize>,
    pub lines: Vec<Line>,
}

/// A line of a section.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub number: u32,
    pub words: Vec<String>,
}

impl Line {
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// What stands behind a word.
    pub fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|found| found == word)?;
        Some(self.word(at + 1))
    }
}

/// The sections of a file.
pub(super) fn parse(text: &str) -> Vec<Section> {
    const OTHERS: [&str; 18] = [
        "global",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "cache",
        "program",
        "ring",
        "fcgi-app",
        "http-errors",
        "log-forward",
        "log-profile",
        "crt-store",
        "traces",
        "acme",
        "namespace_list",
        "module-path",
        "dynamic-update",
    ];
    let mut sections: Vec<Section> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let words = words(line, true);
        let Some(first) = words.first().map(String::as_str) else {
            continue;
        };
        if ["defaults", "frontend", "backend", "listen"].contains(&first) {
            let from = words.iter().position(|word| word == "from").map(|at| words.get(at + 1));
            let named = |name: &String| {
                sections
                    .iter()
                    .position(|known| known.kind == "defaults" && known.name == *name)
            };
            let defaults = match from {
                Some(name) => name.and_then(named),
                // A defaults section begins anew.
                None if first == "defaults" => None,
                None => sections.iter().rposition(|known| known.kind == "defaults"),
            };
            inside = true;
            sections.push(Section {
                kind: first.to_owned(),
                name: words.get(1).filter(|word| *word != "from").cloned().unwrap_or_default(),
                defaults,
                lines: Vec::new(),
            });
        } else if OTHERS.contains(&first) && !line.starts_with([' ', '\t']) {
            inside = false;
        } else if let Some(section) = sections.last_mut().filter(|_| inside) {
            section.lines.push(Line { number, words });
        }
    }
    sections
}

/// The lines of a section and of the defaults that it takes, its own first, each the last before the ones above it.
pub(super) fn lines_of(sections: &[Section], index: usize) -> impl Iterator<Item = &Line> {
    std::iter::successors(sections.get(index), |section| sections.get(section.defaults?))
        .take(sections.len())
        .flat_map(|section| section.lines.iter().rev())
}
