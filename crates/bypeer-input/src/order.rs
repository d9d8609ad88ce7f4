//! Rotated files: which comes first, and which are not rotated files at all.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::time::Duration;

use bypeer_wire::Timestamp;
use bypeer_wire::capture::{CaptureError, Parser, Step};

use crate::compression::Plain;
use crate::source::Origin;
use crate::{InputError, Overlap, Source};

/// Packets of two processors can be written this much out of order, across the border of two files too.
const DISORDER: Duration = Duration::from_millis(10);

/// When a stream shows no packet within this many bytes, it is not looked at any further.
const LOOK: usize = 16 << 20;

/// Sorts by the time of the first packet; those without a packet come last. Files are opened and closed again.
pub(crate) fn by_first_packet(sources: Vec<Source>) -> Result<Vec<Source>, InputError> {
    if sources.len() < 2 {
        return Ok(sources);
    }
    let mut timed = Vec::with_capacity(sources.len());
    for mut source in sources {
        let time = first_time(&mut source)?;
        timed.push((time.is_none(), time, source));
    }
    timed.sort_by_key(|(without, time, _)| (*without, *time));
    Ok(timed.into_iter().map(|(_, _, source)| source).collect())
}

fn first_time(source: &mut Source) -> Result<Option<Timestamp>, InputError> {
    let name = source.name.clone();
    let read = |source| InputError::Read {
        name: name.clone(),
        source,
    };
    let not_a_capture = |source| InputError::NotACapture {
        name: name.clone(),
        source,
    };
    match &mut source.origin {
        Origin::File { path, .. } => {
            let file = File::open(&*path).map_err(|error| InputError::of_open(path, error))?;
            let mut plain = Plain::open(file).map_err(read)?;
            look(&mut plain, &mut Vec::new()).map_err(not_a_capture)
        }
        Origin::Stream(stream) => {
            let stream = std::mem::replace(stream, Box::new(io::empty()));
            let mut plain = Plain::open(stream).map_err(read)?;
            let mut seen = Vec::new();
            let time = look(&mut plain, &mut seen).map_err(not_a_capture)?;
            source.origin = Origin::Stream(Box::new(Cursor::new(seen).chain(plain)));
            Ok(time)
        }
    }
}

/// The first packet's time; all bytes that were read are in `seen`. What fails to be read is found again when it is its turn.
fn look(reader: &mut impl Read, seen: &mut Vec<u8>) -> Result<Option<Timestamp>, CaptureError> {
    let mut parser = Parser::new();
    let mut consumed = 0;
    let mut block = vec![0; 64 << 10];
    loop {
        match parser.next(seen.get(consumed..).unwrap_or_default())? {
            Step::Frame { frame, .. } => return Ok(Some(frame.at.time)),
            Step::Skipped { consumed: more } => consumed += more,
            Step::NeedMore { .. } if seen.len() > LOOK => return Ok(None),
            Step::NeedMore { .. } => match reader.read(&mut block) {
                Ok(0) => {
                    parser.end(seen.get(consumed..).unwrap_or_default())?;
                    return Ok(None);
                }
                Ok(count) => seen.extend_from_slice(block.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            },
        }
    }
}

/// The time that one input covers.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Span {
    /// Whether an input that begins at `first` was captured at the same time as this one.
    pub(crate) fn overlap(&self, later: &str, first: Timestamp) -> Option<Overlap> {
        let by = self.last.since(first);
        let most_of_it = !by.is_zero() && by * 2 >= self.last.since(self.first);
        let overlaps = by > DISORDER || most_of_it;
        overlaps.then(|| Overlap {
            earlier: self.name.clone(),
            later: later.to_owned(),
            by,
        })
    }
}
