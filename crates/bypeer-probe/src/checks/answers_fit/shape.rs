//! What is asked, and what the answers look like when all is well.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::http::Answer;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// What the URL names.
    Page,
    /// Something else, whose answers hold the request's token or look different.
    Other,
}

/// What can be asked for, and how answers are told apart.
pub(super) struct Ways {
    page_path: String,
    /// `{nonce}` in it stands for the token, where there is one.
    other_path: Option<String>,
    page: Option<Shape>,
    other: Option<Shape>,
    /// The answers to `other` hold the token.
    pub(super) tagged: bool,
}

/// What the answers to the same request have in common; `None`: they differ in it.
#[derive(Debug)]
pub(super) struct Shape {
    status: Option<u16>,
    kind: Option<String>,
    length: Option<u64>,
    body: Option<u64>,
}

impl Ways {
    pub(super) fn new(page: &str) -> Ways {
        Ways {
            page_path: page.to_owned(),
            other_path: None,
            page: None,
            other: None,
            tagged: false,
        }
    }

    /// These answers came for `template`, each with its token.
    pub(super) fn tagged(&mut self, template: &str, answers: &[Answer]) {
        self.other_path = Some(template.to_owned());
        self.other = Shape::of(answers);
        self.tagged = true;
    }

    /// These answers came for a path that nobody has.
    pub(super) fn nobodys(&mut self, path: &str, answers: &[Answer]) {
        self.other_path = Some(format!("{path}/{{nonce}}"));
        self.other = Shape::of(answers);
    }

    /// These answers came for the URL.
    pub(super) fn page(&mut self, answers: &[Answer]) {
        self.page = Shape::of(answers);
    }

    /// The answers to both can be told apart by what they look like.
    pub(super) fn differ(&self) -> bool {
        matches!((&self.page, &self.other), (Some(page), Some(other)) if page.differs(other))
    }

    /// What to ask for at a turn: mostly what can be told best, and the other one in between.
    pub(super) fn ask(&self, turn: u32) -> Ask {
        match (self.tagged, self.differ()) {
            (true, _) if turn % 3 != 2 => Ask::Other,
            (true, _) => Ask::Page,
            (false, true) if turn % 2 == 1 => Ask::Other,
            (false, _) => Ask::Page,
        }
    }

    /// The target of a request.
    pub(super) fn path(&self, ask: Ask, token: &str) -> String {
        match (ask, &self.other_path) {
            (Ask::Other, Some(path)) => path.replace("{nonce}", token),
            _ => self.page_path.clone(),
        }
    }

    /// An answer to `ask` looks like one to the other, and not like one to `ask`.
    pub(super) fn looks_swapped(&self, ask: Ask, answer: &Answer) -> bool {
        let (Some(page), Some(other)) = (&self.page, &self.other) else {
            return false;
        };
        let (mine, not_mine) = match ask {
            Ask::Page => (page, other),
            Ask::Other => (other, page),
        };
        page.differs(other) && !mine.fits(answer) && not_mine.fits(answer)
    }
}

impl Shape {
    fn of(answers: &[Answer]) -> Option<Shape> {
        fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
            let first = values.next()?;
            values.all(|value| value == first).then_some(first)
        }
        let whole = answers.iter().all(|answer| answer.complete);
        (whole && !answers.is_empty()).then(|| Shape {
            status: same(answers.iter().map(|answer| answer.head.status)),
            kind: same(answers.iter().map(kind)),
            length: same(answers.iter().map(|answer| answer.body_len)),
            body: same(answers.iter().map(hash)),
        })
    }

    fn differs(&self, other: &Shape) -> bool {
        fn apart<T: PartialEq>(one: &Option<T>, two: &Option<T>) -> bool {
            matches!((one, two), (Some(one), Some(two)) if one != two)
        }
        // Lengths and bodies differ by chance, too; with the same status and type that is too little.
        apart(&self.status, &other.status) || apart(&self.kind, &other.kind)
    }

    fn fits(&self, answer: &Answer) -> bool {
        fn is<T: PartialEq>(expected: &Option<T>, found: T) -> bool {
            expected.as_ref().is_none_or(|expected| *expected == found)
        }
        is(&self.status, answer.head.status)
            && is(&self.kind, kind(answer))
            && is(&self.length, answer.body_len)
            && is(&self.body, hash(answer))
    }
}

fn kind(answer: &Answer) -> String {
    answer.field("content-type").unwrap_or_default().to_ascii_lowercase()
}

fn hash(answer: &Answer) -> u64 {
    let mut hasher = DefaultHasher::new();
    answer.body.hash(&mut hasher);
    hasher.finish()
}
