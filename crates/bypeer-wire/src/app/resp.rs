/// The framing of one direction of the Redis serialisation protocol, versions 2 and 3: where values begin and end.
///
/// Strings are passed over; of lines the beginning is kept.
#[derive(Clone, Debug)]
pub(super) struct Values {
    state: State,
    line: [u8; Values::LINE],
    /// Bytes of the line so far, those that are not kept too.
    line_len: u32,
    /// The line was read; it stays until the next one begins.
    line_over: bool,
    /// Values still to come of each array that is open.
    open: Vec<Open>,
    /// Lines of words are commands: what the client says.
    inline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Line,
    /// In a string: bytes left.
    Text(u64),
    /// At the line end behind a string: bytes left.
    TextEnd(u8),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    left: u64,
    /// Attributes, which come before a value and are none.
    attribute: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Nothing to tell yet.
    More,
    /// The line that begins a value: its type, and the length or number it says, −1 for none. Lies at this depth.
    Line { kind: u8, count: i64, depth: usize },
    /// Bytes of a string, the last so many of those taken.
    Text(usize),
    /// A string is over.
    TextEnd,
    /// This is not the protocol, or goes deeper than anything sensible.
    Invalid,
}

/// How many bytes were taken, what they were, and whether a whole value ended with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) read: Read,
    pub(super) ended: bool,
}

/// Redis' own limit on a line that holds a command.
const INLINE_MAX: u32 = 64 * 1024;
/// Arrays in arrays.
const DEEP: usize = 32;

impl Values {
    /// Bytes of a line that are kept.
    const LINE: usize = 96;

    /// Before the first value; `inline`: of the client.
    pub(super) fn new(inline: bool) -> Values {
        Values {
            state: State::Line,
            line: [0; Values::LINE],
            line_len: 0,
            line_over: true,
            open: Vec::new(),
            inline,
        }
    }

    /// The last line, without its end, as far as it is kept.
    pub(super) fn line(&self) -> &[u8] {
        let kept = (self.line_len as usize).min(Values::LINE);
        self.line.get(..kept).unwrap_or_default().trim_ascii_end()
    }

    /// Bytes ahead that are a string's.
    pub(super) fn in_text(&self) -> u64 {
        match self.state {
            State::Text(left) => left,
            _ => 0,
        }
    }

    /// Passes over bytes of a string; false where they are more than that.
    pub(super) fn skip(&mut self, len: u64) -> bool {
        match self.state {
            State::Text(left) if len <= left => {
                self.state = if len == left {
                    State::TextEnd(2)
                } else {
                    State::Text(left - len)
                };
                true
            }
            _ => len == 0,
        }
    }

    /// Reads some of `bytes`, which are not empty.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Step {
        match self.state {
            State::Line => self.next_line(bytes),
            State::Text(left) => {
                let here = left.min(bytes.len() as u64);
                self.skip(here);
                step(here as usize, Read::Text(here as usize), false)
            }
            State::TextEnd(left) => {
                let expected = if left == 2 { b'\r' } else { b'\n' };
                if bytes.first() != Some(&expected) {
                    return step(0, Read::Invalid, false);
                }
                if left == 2 {
                    self.state = State::TextEnd(1);
                    return step(1, Read::More, false);
                }
                self.state = State::Line;
                let ended = self.value_ends();
                step(1, Read::TextEnd, ended)
            }
        }
    }

    fn next_line(&mut self, bytes: &[u8]) -> Step {
        if std::mem::take(&mut self.line_over) {
            self.line_len = 0;
        }
        let line_end = bytes.iter().position(|&byte| byte == b'\n');
        let taken = line_end.map_or(bytes.len(), |end| end + 1);
        let kept = (self.line_len as usize).min(Values::LINE);
        for (place, byte) in self.line.iter_mut().skip(kept).zip(bytes.iter().take(taken)) {
            *place = *byte;
        }
        self.line_len = self.line_len.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        let too_long = self.inline && self.line_len > INLINE_MAX;
        if too_long {
            return step(taken, Read::Invalid, false);
        }
        if line_end.is_none() {
            return step(taken, Read::More, false);
        }
        self.line_over = true;
        let (read, ended) = self.line_read();
        step(taken, read, ended)
    }

    fn line_read(&mut self) -> (Read, bool) {
        let depth = self.open.len();
        let line = self.line();
        let Some((&kind, rest)) = line.split_first() else {
            // An empty line of a client is nothing; elsewhere there is none.
            return (
                if self.inline && depth == 0 {
                    Read::More
                } else {
                    Read::Invalid
                },
                false,
            );
        };
        let number = || {
            let digits = rest.get(..24).map_or(rest, |_| &[]);
            std::str::from_utf8(digits)
                .ok()?
                .parse::<i64>()
                .ok()
                .filter(|n| *n >= -1)
        };
        let told = |count| Read::Line { kind, count, depth };
        match kind {
            _ if self.inline && depth == 0 && kind != b'*' => (told(0), true),
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' if !self.inline => (told(0), self.value_ends()),
            b'$' | b'=' | b'!' if kind == b'$' || !self.inline => match number() {
                Some(-1) if !self.inline => (told(-1), self.value_ends()),
                Some(len) if (0..=i64::from(u32::MAX)).contains(&len) => {
                    self.state = if len == 0 {
                        State::TextEnd(2)
                    } else {
                        State::Text(len as u64)
                    };
                    (told(len), false)
                }
                _ => (Read::Invalid, false),
            },
            b'*' | b'~' | b'>' | b'%' | b'|' if !self.inline || (kind == b'*' && depth == 0) => match number() {
                Some(count @ (-1 | 0)) if self.inline => (told(count), true),
                Some(count @ (-1 | 0)) => (told(count), kind != b'|' && self.value_ends()),
                Some(count) if count <= i64::from(u32::MAX) && depth < DEEP => {
                    let twice = matches!(kind, b'%' | b'|');
                    self.open.push(Open {
                        left: count as u64 * if twice { 2 } else { 1 },
                        attribute: kind == b'|',
                    });
                    (told(count), false)
                }
                _ => (Read::Invalid, false),
            },
            _ => (Read::Invalid, false),
        }
    }

    /// A value is over; true when no array is open any more.
    fn value_ends(&mut self) -> bool {
        while let Some(innermost) = self.open.last_mut() {
            innermost.left = innermost.left.saturating_sub(1);
            if innermost.left > 0 {
                return false;
            }
            let attribute = innermost.attribute;
            self.open.pop();
            if attribute {
                return false;
            }
        }
        true
    }
}

fn step(taken: usize, read: Read, ended: bool) -> Step {
    Step { taken, read, ended }
}
