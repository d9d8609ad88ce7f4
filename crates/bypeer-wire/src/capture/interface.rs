/// What a capture says of one of its interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// As in [`Frame::interface`](super::Frame::interface): from 0, counted over all sections of the file.
    pub number: u32,
    /// pcapng's `if_name`, such as "eth0": what its writer chose, at most 255 bytes, to be escaped where it is shown.
    pub name: Option<&'a str>,
}

/// Names of interfaces beyond this are not kept.
const MOST_NAMES: usize = 4096;
/// Bytes kept of a name.
const LONGEST_NAME: usize = 255;

/// The names of all interfaces of a file.
#[derive(Debug, Default)]
pub(super) struct Names {
    kept: Vec<Option<Box<str>>>,
    count: u32,
}

impl Names {
    /// Takes the next interface; `name` is the option's value.
    pub(super) fn push(&mut self, name: Option<&[u8]>) {
        self.count = self.count.saturating_add(1);
        if self.kept.len() < MOST_NAMES {
            self.kept.push(name.and_then(readable));
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn get(&self, number: u32) -> Option<Interface<'_>> {
        let name = || self.kept.get(number as usize)?.as_deref();
        (number < self.count).then(|| Interface { number, name: name() })
    }
}

/// A name as text. Some writers count the zero behind it in.
fn readable(name: &[u8]) -> Option<Box<str>> {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(name.get(..LONGEST_NAME).unwrap_or(name));
    // A broken character becomes three bytes.
    let end = text.floor_char_boundary(LONGEST_NAME);
    let text = text.get(..end).unwrap_or_default();
    (!text.is_empty()).then(|| text.into())
}
