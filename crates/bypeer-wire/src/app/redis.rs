use std::collections::VecDeque;

use super::ear::Ear;
use super::notice::{Place, Request, Token};
use super::resp::{Read, Values};
use super::route::is_command_word;
use super::sample::Expected;
use super::words::Words;
use crate::Direction;

/// Commands and replies of Redis on one connection: each command has one reply, in order, but for what is said unasked by design.
#[derive(Clone, Debug)]
pub(super) struct Redis {
    key: u64,
    commands: Values,
    replies: Values,
    command: Command,
    reply: Reply,
    /// A subscription was asked for: arrays may be messages.
    subscribed: bool,
    /// MONITOR was asked for: lines of words may be what others do.
    monitored: bool,
    /// Commands of the SUBSCRIBE family that are not answered, by index.
    subscribing: VecDeque<(u32, Word)>,
}

#[derive(Clone, Debug, Default)]
struct Command {
    begun: bool,
    name: Word,
    second: Word,
    /// Strings of it that are over.
    strings: u32,
    /// Bytes of the string that is not.
    seen: u64,
    words: Option<Words>,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, Default)]
struct Reply {
    begun: bool,
    /// Its type; 0 before it is known.
    kind: u8,
    count: i64,
    /// Types of the elements, by bits.
    types: u16,
    elements: u32,
    /// Whether it is an answer shows in its first element.
    undecided: bool,
    first: Word,
}

/// The beginning of a string, in capitals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    bytes: [u8; Word::MAX],
    len: u8,
}

impl Word {
    const MAX: usize = 25;

    fn of(text: &[u8]) -> Word {
        let mut word = Word::default();
        word.push(text);
        word
    }

    fn push(&mut self, text: &[u8]) {
        let len = usize::from(self.len);
        for (place, byte) in self.bytes.iter_mut().skip(len).zip(text) {
            *place = byte.to_ascii_uppercase();
            self.len += 1;
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| word.as_bytes() == self.text())
    }
}

/// Arguments whose words are kept.
const ARGUMENTS: u32 = 4;
/// Bytes of an argument that are looked at.
const ARGUMENT_MAX: u64 = 128;
/// Subscriptions that may wait for their answers.
const SUBSCRIBING_MAX: usize = 4096;

const SUBSCRIBES: [&str; 6] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
];
const MESSAGES: [&str; 3] = ["MESSAGE", "PMESSAGE", "SMESSAGE"];
/// Commands that wait for others, or may.
const BLOCKING: [&str; 13] = [
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BLMPOP",
    "BRPOPLPUSH",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "WAIT",
    "WAITAOF",
    "XREAD",
    "XREADGROUP",
    "MONITOR",
];
/// Commands whose arguments are credentials, or may hold some.
const SECRETIVE: [&str; 6] = ["AUTH", "HELLO", "ACL", "CONFIG", "MIGRATE", "SENTINEL"];
/// Commands of which the second word says what they do.
const CONTAINERS: [&str; 18] = [
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
    "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO", "HOTKEYS",
];

impl Redis {
    pub(super) fn new(key: u64) -> Redis {
        Redis {
            key,
            commands: Values::new(true),
            replies: Values::new(false),
            command: Command::default(),
            reply: Reply::default(),
            subscribed: false,
            monitored: false,
            subscribing: VecDeque::new(),
        }
    }

    /// Reads bytes; false when they make no sense, or no sense from here on.
    pub(super) fn read(&mut self, ear: &mut Ear, direction: Direction, mut offset: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match direction {
                Direction::ToServer => self.read_command(ear, offset, rest),
                Direction::ToClient => self.read_reply(ear, offset, rest),
            };
            let Some(taken) = taken else { return false };
            offset = offset.saturating_add(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        true
    }

    /// Passes over bytes that are not there; false when they might be more than a string's.
    pub(super) fn skip(&mut self, ear: &mut Ear, direction: Direction, offset: u64, len: u64) -> bool {
        match direction {
            Direction::ToServer => {
                self.command.seen = u64::MAX;
                // A word with a hole in it is none.
                self.command.words = None;
                self.commands.skip(len)
            }
            Direction::ToClient => {
                ear.no_body();
                ear.answer_reaches(offset.saturating_add(len));
                self.replies.skip(len)
            }
        }
    }

    /// Bytes ahead that need not be seen; `body`: those of a reply that is a string are looked at.
    pub(super) fn unwanted(&self, direction: Direction, body: bool) -> u64 {
        match direction {
            Direction::ToServer => {
                let command = &self.command;
                let wanted = command.strings <= ARGUMENTS && command.seen < ARGUMENT_MAX;
                if wanted { 0 } else { self.commands.in_text() }
            }
            Direction::ToClient => {
                let wanted = self.reply.undecided || (body && is_text(self.reply.kind));
                if wanted { 0 } else { self.replies.in_text() }
            }
        }
    }

    fn read_command(&mut self, ear: &mut Ear, offset: u64, bytes: &[u8]) -> Option<usize> {
        if !self.command.begun {
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                return Some(blank);
            }
            self.command = Command {
                begun: true,
                ..Command::default()
            };
            ear.request_begins(offset);
            ear.request_is_one();
        }
        let step = self.commands.next(bytes);
        let end = offset.saturating_add(step.taken as u64);
        match step.read {
            Read::More => {}
            Read::Invalid => return None,
            Read::Line {
                kind: b'*',
                depth: 0,
                count,
            } => {
                // An empty one is left unanswered.
                if count <= 0 {
                    return None;
                }
            }
            Read::Line { depth: 0, .. } => {
                let mut words = self
                    .commands
                    .line()
                    .split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty());
                let name = words.next().unwrap_or_default();
                if !is_command_word(name) {
                    return None;
                }
                (self.command.name, self.command.second) = (Word::of(name), Word::of(words.next().unwrap_or_default()));
            }
            Read::Line { .. } => {
                self.command.seen = 0;
                self.command.words = Some(Words::new(self.key));
            }
            Read::Text(len) => self.command.text(bytes.get(..len).unwrap_or_default()),
            Read::TextEnd => self.command.text_ends(),
        }
        if step.ended {
            self.command_ends(ear, end)?;
        }
        Some(step.taken)
    }

    fn command_ends(&mut self, ear: &mut Ear, end: u64) -> Option<()> {
        let command = std::mem::take(&mut self.command);
        let name = command.name;
        let index = ear.request_index()?;
        let second = name.is_any(&CONTAINERS).then(|| command.second.text());
        ear.command(end, name.text(), second, name.is_any(&BLOCKING), command.tokens);
        if name.is_any(&SUBSCRIBES) {
            self.subscribed = true;
            self.subscribing.push_back((index, name));
        }
        self.monitored |= name.is_any(&["MONITOR"]);
        // A stream of commands follows, or no answers at all.
        let silent = name.is_any(&["CLIENT"]) && command.second.is_any(&["REPLY"]);
        let leaves = name.is_any(&["SYNC", "PSYNC"]) || silent;
        (!leaves && self.subscribing.len() <= SUBSCRIBING_MAX).then_some(())
    }

    fn read_reply(&mut self, ear: &mut Ear, offset: u64, bytes: &[u8]) -> Option<usize> {
        if !self.reply.begun {
            self.reply = Reply {
                begun: true,
                ..Reply::default()
            };
            ear.answer_begins(offset);
        }
        let step = self.replies.next(bytes);
        let end = offset.saturating_add(step.taken as u64);
        ear.answer_reaches(end);
        match step.read {
            Read::More => {}
            Read::Invalid => return None,
            // Attributes come before what they are about.
            Read::Line { kind: b'|', .. } => {}
            Read::Line { kind, count, depth: 0 } => self.reply_begins(ear, kind, count),
            Read::Line { kind, depth: 1, .. } if self.reply.kind != 0 => {
                self.reply.types |= 1 << type_bit(kind);
                self.reply.elements = self.reply.elements.saturating_add(1);
                if self.reply.elements == 1 && self.reply.undecided && !is_text(kind) {
                    self.decide(ear);
                }
            }
            Read::Line { .. } => {}
            Read::Text(len) => {
                let text = bytes.get(..len).unwrap_or_default();
                if is_text(self.reply.kind) {
                    ear.body(text);
                } else if self.reply.undecided {
                    self.reply.first.push(text);
                }
            }
            Read::TextEnd => {
                if self.reply.undecided {
                    self.decide(ear);
                }
            }
        }
        if step.ended {
            if self.reply.undecided {
                self.decide(ear);
            }
            self.say_kind(ear);
            ear.answer_ends(end);
            self.reply = Reply::default();
        }
        Some(step.taken)
    }

    fn reply_begins(&mut self, ear: &mut Ear, kind: u8, count: i64) {
        self.reply.kind = kind;
        self.reply.count = count;
        let by_others = self.monitored && kind == b'+' && self.replies.line().get(1).is_some_and(u8::is_ascii_digit);
        if by_others {
            ear.answer_is_none();
        } else if kind == b'>' || (self.subscribed && kind == b'*' && count > 0) {
            self.reply.undecided = true;
        } else {
            ear.answer_is_final();
        }
        if is_text(kind) && count >= 0 {
            self.say_kind(ear);
        }
    }

    /// An array: a message, the answer to a command of the SUBSCRIBE family, or any other.
    fn decide(&mut self, ear: &mut Ear) {
        self.reply.undecided = false;
        let first = self.reply.first;
        let index = ear.answer_index();
        self.subscribing
            .retain(|(subscribing, _)| index.is_none_or(|index| *subscribing >= index));
        let confirms = first.is_any(&SUBSCRIBES);
        let awaited = self.subscribing.front() == index.map(|index| (index, first)).as_ref();
        let unasked = match () {
            () if confirms => !awaited,
            () => self.reply.kind == b'>' || first.is_any(&MESSAGES),
        };
        if unasked {
            ear.answer_is_none();
        } else {
            ear.answer_is_final();
        }
    }

    fn say_kind(&self, ear: &mut Ear) {
        let Reply { kind, count, types, .. } = self.reply;
        let line = self.replies.line();
        let told = Expected::Told { detailed: false };
        match kind {
            b'+' => {
                let word = STATUSES.iter().find(|word| line.get(1..) == Some(word.as_bytes()));
                let in_transaction = word.is_some_and(|word| *word == "QUEUED");
                let expected = if in_transaction { Expected::None } else { told };
                ear.reply_is(&format!("+{}", word.unwrap_or(&"")), false, expected);
            }
            b'-' => {
                let code = line
                    .get(1..)
                    .unwrap_or_default()
                    .split(|byte| *byte == b' ')
                    .next()
                    .unwrap_or_default();
                let plain = code.len() <= 16 && code.iter().all(u8::is_ascii_uppercase);
                let code = std::str::from_utf8(code).ok().filter(|_| plain).unwrap_or_default();
                ear.reply_is(&format!("-{code}"), true, told);
            }
            b'$' | b'*' if count < 0 => ear.reply_is("nil", false, told),
            b'_' => ear.reply_is("nil", false, told),
            b'$' | b'=' => ear.reply_is("string", false, Expected::Anything),
            b'!' => ear.reply_is("error", true, Expected::Anything),
            b':' => ear.reply_is("integer", false, told),
            b',' => ear.reply_is("double", false, told),
            b'#' => ear.reply_is("boolean", false, told),
            b'(' => ear.reply_is("big-number", false, told),
            _ => {
                let name = match kind {
                    b'%' => "map",
                    b'~' => "set",
                    b'>' => "push",
                    _ => "array",
                };
                let count = ["0", "1", "2"].get(count as usize).copied().unwrap_or("3+");
                let kinds: String = TYPES
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| types & (1 << bit) != 0)
                    .map(|(_, kind)| char::from(*kind))
                    .collect();
                ear.reply_is(
                    &format!("{name}({count}:{kinds})"),
                    false,
                    Expected::Told { detailed: true },
                );
            }
        }
    }
}

impl Command {
    fn text(&mut self, text: &[u8]) {
        match self.strings {
            0 => self.name.push(text),
            1 => self.second.push(text),
            _ => {}
        }
        let seen = self.seen;
        self.seen = seen.saturating_add(text.len() as u64);
        if self.strings == 0 || self.strings > ARGUMENTS || self.name.is_any(&SECRETIVE) {
            return;
        }
        if self.seen > ARGUMENT_MAX {
            // Its end is not looked at: the last word would be half a word.
            self.words = None;
            return;
        }
        let Some(mut words) = self.words else { return };
        for &byte in text {
            let word = words.byte(byte);
            self.add(word);
        }
        self.words = Some(words);
    }

    fn text_ends(&mut self) {
        let word = self.words.take().and_then(|mut words| words.end());
        self.add(word);
        self.strings = self.strings.saturating_add(1);
        self.seen = 0;
    }

    fn add(&mut self, word: Option<u64>) {
        let place = Place::Argument(u8::try_from(self.strings).unwrap_or(u8::MAX).saturating_sub(1));
        if let Some(word) = word.filter(|_| self.tokens.len() < Request::TOKENS) {
            self.tokens.push(Token { place, word });
        }
    }
}

/// Statuses that are said in so many words. Others may hold anything.
const STATUSES: [&str; 8] = ["OK", "QUEUED", "PONG", "RESET", "CONTINUE", "NOKEY", "none", "string"];

/// Types of values, by bits.
const TYPES: [u8; 14] = *b"+-:$*_#,(!=%~>";

fn type_bit(kind: u8) -> usize {
    TYPES.iter().position(|known| *known == kind).unwrap_or(TYPES.len())
}

fn is_text(kind: u8) -> bool {
    matches!(kind, b'$' | b'=' | b'!')
}
