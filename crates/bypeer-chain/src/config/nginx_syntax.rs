//! The syntax of nginx's configuration: directives with words, blocks, includes.

use super::{MAX_DEPTH, MAX_FILES, MAX_TOTAL, folder_of, read_file, relative_to};
use crate::assemble::Files;
use crate::hop::Note;

/// Most directives of one configuration.
const MAX_DIRECTIVES: usize = 200_000;

/// A directive, as `keepalive_timeout 60s;` or `location / { … }`.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    pub file: std::rc::Rc<str>,
    /// From 1.
    pub line: u32,
    pub name: String,
    pub words: Vec<String>,
    /// What is in its braces. Nests no deeper than [`MAX_DEPTH`].
    pub block: Vec<Directive>,
}

impl Directive {
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }
}

/// Reads a configuration and all that it includes.
pub(super) fn read(file: &str, files: &dyn Files, notes: &mut Vec<Note>) -> Result<Vec<Directive>, String> {
    let mut reader = Reader {
        folder: folder_of(file).to_owned(),
        files,
        notes,
        stack: Vec::new(),
        read: 0,
        bytes: 0,
        directives: 0,
    };
    reader.file(file, 0)
}

struct Reader<'a> {
    folder: String,
    files: &'a dyn Files,
    notes: &'a mut Vec<Note>,
    stack: Vec<String>,
    read: usize,
    bytes: usize,
    directives: usize,
}

impl Reader<'_> {
    /// `depth`: of the block in which the file is included.
    fn file(&mut self, path: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let text = read_file(self.files, path)?;
        self.read += 1;
        self.bytes += text.len();
        if self.read > MAX_FILES || self.bytes > MAX_TOTAL {
            return Err(format!(
                "{path}: too many files are included; {MAX_FILES} are read, and {MAX_TOTAL} bytes"
            ));
        }
        self.stack.push(path.to_owned());
        let directives = self.directives(&text, path, depth);
        self.stack.pop();
        directives
    }

    fn directives(&mut self, text: &str, path: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let file: std::rc::Rc<str> = path.into();
        let mut lexer = Lexer { rest: text, line: 1 };
        // Blocks that are open: their directive, and what is in them so far.
        let mut open: Vec<Directive> = Vec::new();
        let mut done: Vec<Directive> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = 1;
        loop {
            match lexer.next() {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = lexer.line;
                    }
                    words.push(word);
                    continue;
                }
                Token::Semicolon if words.is_empty() => continue,
                Token::Semicolon => {
                    let directive = self.directive(&file, line, std::mem::take(&mut words))?;
                    let found = if directive.name == "include" {
                        self.include(&directive, depth + open.len())?
                    } else {
                        vec![directive]
                    };
                    open.last_mut()
                        .map_or(&mut done, |block| &mut block.block)
                        .extend(found);
                }
                Token::Open => {
                    let directive = self.directive(&file, line, std::mem::take(&mut words))?;
                    if depth + open.len() >= MAX_DEPTH {
                        return Err(format!("{path}:{line}: blocks nest deeper than {MAX_DEPTH}"));
                    }
                    if directive.name.ends_with("_by_lua_block") {
                        lexer.skip_block();
                        let text = format!("{} is not read: a program may decide otherwise", directive.name);
                        self.notes.push(Note::not_understood(path, line, text));
                        continue;
                    }
                    open.push(directive);
                }
                Token::Close => {
                    if !words.is_empty() {
                        return Err(format!("{path}:{line}: {:?} does not end with ';'", words[0]));
                    }
                    let Some(block) = open.pop() else {
                        return Err(format!("{path}:{}: '}}' closes no block", lexer.line));
                    };
                    open.last_mut().map_or(&mut done, |outer| &mut outer.block).push(block);
                }
                Token::End if !words.is_empty() => {
                    return Err(format!("{path}:{line}: {:?} does not end with ';'", words[0]));
                }
                Token::End => match open.last() {
                    Some(block) => {
                        return Err(format!(
                            "{path}:{}: the block {:?} is not closed",
                            block.line, block.name
                        ));
                    }
                    None => return Ok(done),
                },
                Token::Unfinished => {
                    return Err(format!("{path}:{}: a quote is not closed", lexer.line));
                }
            }
        }
    }

    fn directive(&mut self, file: &std::rc::Rc<str>, line: u32, mut words: Vec<String>) -> Result<Directive, String> {
        self.directives += 1;
        if self.directives > MAX_DIRECTIVES {
            return Err(format!("{file}:{line}: more than {MAX_DIRECTIVES} directives"));
        }
        if words.is_empty() {
            return Err(format!("{file}:{line}: '{{' without a name before it"));
        }
        let name = words.remove(0);
        Ok(Directive {
            file: file.clone(),
            line,
            name,
            words,
            block: Vec::new(),
        })
    }

    /// `include`: what nginx would read, in the order of names.
    fn include(&mut self, directive: &Directive, depth: usize) -> Result<Vec<Directive>, String> {
        let at = format!("{}:{}", directive.file, directive.line);
        let pattern = relative_to(&self.folder, directive.word(0));
        let is_pattern = pattern.contains(['*', '?', '[']);
        let paths = self
            .files
            .glob(&pattern)
            .map_err(|error| format!("{at}: include {pattern}: {error}"))?;
        let mut found = Vec::new();
        for path in paths {
            if self.stack.contains(&path) || self.stack.len() >= MAX_DEPTH {
                return Err(format!("{at}: {path} includes itself"));
            }
            match self.file(&path, depth) {
                Ok(directives) => found.extend(directives),
                // nginx would not start either; but only a part of its configuration may have been copied.
                Err(error) if !is_pattern && self.files.read(&path).is_err() => {
                    let text = format!("what it includes is not there ({error})");
                    self.notes
                        .push(Note::not_understood(&directive.file, directive.line, text));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
    Unfinished,
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
}

impl Lexer<'_> {
    fn next(&mut self) -> Token {
        self.skip_space();
        let Some(first) = self.rest.chars().next() else {
            return Token::End;
        };
        match first {
            ';' => self.one(Token::Semicolon),
            '{' => self.one(Token::Open),
            '}' => self.one(Token::Close),
            '"' | '\'' => self.quoted(first),
            _ => self.bare(),
        }
    }

    fn one(&mut self, token: Token) -> Token {
        self.rest = &self.rest[1..];
        token
    }

    fn skip_space(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            self.pass(self.rest.len() - trimmed.len());
            if !self.rest.starts_with('#') {
                return;
            }
            self.pass(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    /// Goes on by so many bytes.
    fn pass(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line = self.line.saturating_add(passed.matches('\n').count() as u32);
        self.rest = rest;
    }

    fn quoted(&mut self, quote: char) -> Token {
        let mut word = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                c if escaped => {
                    if c != quote && c != '\\' {
                        word.push('\\');
                    }
                    word.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                c if c == quote => {
                    self.pass(at + 1);
                    return Token::Word(word);
                }
                c => word.push(c),
            }
        }
        Token::Unfinished
    }

    fn bare(&mut self) -> Token {
        let mut end = self.rest.len();
        let mut variable = false;
        let mut before = ' ';
        for (at, c) in self.rest.char_indices() {
            // `${name}` is part of a word.
            variable = (variable || (c == '{' && before == '$')) && before != '}';
            if before != '\\' && (c.is_whitespace() || c == ';' || (!variable && (c == '{' || c == '}'))) {
                end = at;
                break;
            }
            before = c;
        }
        let word = self.rest[..end].to_owned();
        self.pass(end);
        Token::Word(word)
    }

    /// Behind an open brace: to the one that closes it.
    fn skip_block(&mut self) {
        let mut depth = 1usize;
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => continue,
            }
            if depth == 0 {
                end = at + 1;
                break;
            }
        }
        self.pass(end);
    }
}
