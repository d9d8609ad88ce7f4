use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bypeer_wire::capture::{Frame, Interface, Parser, Step};
use bypeer_wire::{Issues, Timestamp};

use crate::chunks::{Arrival, End, Threaded, Window};
use crate::compression::Plain;
use crate::order::{self, Span};
use crate::source::{Counted, Origin};
use crate::{InputError, Source};

/// After this long without a byte, [`Event::Quiet`] is delivered, and again each time as much has passed.
const QUIET: Duration = Duration::from_millis(500);
/// How long a stop may go unnoticed.
const STOP_WITHIN: Duration = Duration::from_millis(50);

/// What the caller's closure gets.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An interface, before the first packet that it saw. Each file numbers its own from 0.
    Interface(&'a Interface<'a>),
    /// A packet.
    Frame(&'a Frame<'a>),
    /// A pipe has been silent for 500 ms.
    Quiet,
}

/// One or several captures that are read as one: rotated files, in the order of their first packets.
#[derive(Debug)]
pub struct Input {
    sources: Vec<Source>,
    stop: Arc<AtomicBool>,
    meter: Meter,
}

/// How far reading has come; a clone can be asked from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Meter {
    /// Bytes read so far, compressed as they are in the file.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes there are; `None` when one of the inputs is a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Number of the last packet: as many as there were, and journal entries and custom blocks of pcapng, which Wireshark
    /// numbers too.
    pub frames: u64,
    /// Time of the earliest and the latest packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Damage and blocks that could not be used.
    pub issues: Issues,
    /// Compressed streams that broke off; what came before was used.
    pub torn: Vec<TornStream>,
    /// pcapng blocks with TLS keys.
    pub decryption_secrets: u64,
    /// Whether reading was ended by the stop flag or by the closure, before the end of the input.
    pub stopped: bool,
}

/// A compressed stream that broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornStream {
    /// The input.
    pub name: String,
    /// What the decompressor said.
    pub what: String,
}

impl Input {
    /// Looks at the first packet of each source where there are several, and sorts them.
    ///
    /// # Errors
    /// When one of several cannot be read or is no capture. A single source is not looked at before its turn.
    pub fn new(sources: Vec<Source>) -> Result<Input, InputError> {
        let total = sources.iter().map(Source::size).sum();
        let sources = order::by_first_packet(sources)?;
        Ok(Input {
            sources,
            stop: Arc::default(),
            meter: Meter {
                read: Arc::default(),
                total,
            },
        })
    }

    /// Ends reading soon after `stop` becomes true, as if the input ended there.
    #[must_use]
    pub fn stopped_by(mut self, stop: Arc<AtomicBool>) -> Input {
        self.stop = stop;
        self
    }

    /// For progress.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Reads everything. `on_event` is called on this thread; it can break off.
    ///
    /// A source that begins before the one before it ends is no rotated file: such captures are not merged yet.
    /// This is found out when its turn comes; what was delivered before stays good.
    ///
    /// # Errors
    /// When a source cannot be read, is no capture, or overlaps in time with the one before it.
    pub fn for_each(self, mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>) -> Result<Summary, InputError> {
        let Input { sources, stop, meter } = self;
        let mut run = Run {
            summary: Summary::default(),
            stop,
            before: None,
        };
        for source in sources {
            run.read(source, &meter, &mut on_event)?;
            if run.summary.stopped {
                break;
            }
        }
        Ok(run.summary)
    }
}

struct Run {
    summary: Summary,
    stop: Arc<AtomicBool>,
    /// The last source that had packets.
    before: Option<Span>,
}

/// Why the window did not grow.
enum Halt {
    Stopped,
    End(End),
}

impl Run {
    fn read(
        &mut self,
        source: Source,
        meter: &Meter,
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), InputError> {
        let Source { name, origin } = source;
        let opened = Opened::of(&name, origin, meter)?;
        let mut window = Window::new(opened.feed);
        let mut parser = Parser::continuing(self.summary.frames);
        let mut span: Option<Span> = None;
        let mut interfaces = 0;
        let not_a_capture = |source| InputError::NotACapture {
            name: name.clone(),
            source,
        };
        let halt = loop {
            match parser.next(window.bytes()) {
                Ok(Step::Frame { consumed, frame }) => {
                    match &mut span {
                        Some(span) => span.last = span.last.max(frame.at.time),
                        None => span = Some(self.first_frame(&name, frame.at.time)?),
                    }
                    if on_event(Event::Frame(&frame)).is_break() {
                        break Halt::Stopped;
                    }
                    window.consume(consumed);
                }
                Ok(Step::Skipped { consumed }) => {
                    window.consume(consumed);
                    if announce(&parser, &mut interfaces, on_event).is_break() {
                        break Halt::Stopped;
                    }
                }
                Ok(Step::NeedMore { total }) => {
                    if let Err(halt) = self.fill(&mut window, total, on_event) {
                        break halt;
                    }
                }
                Err(error) => return Err(not_a_capture(error)),
            }
        };
        match halt {
            Halt::Stopped => self.summary.stopped = true,
            Halt::End(End { result, format }) => {
                let read_anything = span.is_some() || !window.bytes().is_empty();
                if let Err(error) = result {
                    self.broken(
                        &name,
                        format,
                        opened.failed.load(Ordering::Relaxed),
                        read_anything,
                        error,
                    )?;
                }
                parser.end(window.bytes()).map_err(not_a_capture)?;
            }
        }
        self.summary.frames = parser.last_number();
        self.summary.decryption_secrets += parser.decryption_secrets();
        self.summary.issues.merge(parser.issues());
        if let Some(span) = span {
            let (first, last) = self.summary.span.unwrap_or((span.first, span.last));
            self.summary.span = Some((first.min(span.first), last.max(span.last)));
            self.before = Some(span);
        }
        Ok(())
    }

    /// Judges whether this source may follow the one before it.
    #[cold]
    fn first_frame(&self, name: &str, time: Timestamp) -> Result<Span, InputError> {
        match self.before.as_ref().and_then(|before| before.overlap(name, time)) {
            Some(overlap) => Err(InputError::Overlapping(overlap)),
            None => Ok(Span {
                name: name.to_owned(),
                first: time,
                last: time,
            }),
        }
    }

    /// Waits until the window holds `total` bytes.
    #[cold]
    fn fill(
        &self,
        window: &mut Window,
        total: usize,
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Halt> {
        let mut silent_since = Instant::now();
        while window.bytes().len() < total {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Halt::Stopped);
            }
            match window.grow(STOP_WITHIN) {
                Arrival::More => silent_since = Instant::now(),
                Arrival::End(end) => return Err(Halt::End(end)),
                Arrival::Nothing => {
                    if silent_since.elapsed() >= QUIET {
                        silent_since = Instant::now();
                        if on_event(Event::Quiet).is_break() {
                            return Err(Halt::Stopped);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A stream that ended in an error: fatal unless it is a compressed one of which something came.
    fn broken(
        &mut self,
        name: &str,
        format: Option<&'static str>,
        below: bool,
        read_anything: bool,
        source: io::Error,
    ) -> Result<(), InputError> {
        let name = name.to_owned();
        match format {
            Some(_) if !below && read_anything => {
                self.summary.torn.push(TornStream {
                    name,
                    what: source.to_string(),
                });
                Ok(())
            }
            Some(format) if !below => Err(InputError::Compression { name, format, source }),
            _ => Err(InputError::Read { name, source }),
        }
    }
}

/// Tells of the interfaces that were described since `told`.
fn announce(
    parser: &Parser,
    told: &mut u32,
    on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some(interface) = parser.interface(*told) {
        *told += 1;
        on_event(Event::Interface(&interface))?;
    }
    ControlFlow::Continue(())
}

/// A source whose bytes come.
struct Opened {
    feed: Threaded,
    /// Whether an error came from the operating system and not from the decompressor.
    failed: Arc<AtomicBool>,
}

impl Opened {
    fn of(name: &str, origin: Origin, meter: &Meter) -> Result<Opened, InputError> {
        let failed = Arc::new(AtomicBool::new(false));
        let thread = |source| InputError::Thread {
            name: name.to_owned(),
            source,
        };
        let feed = match origin {
            Origin::File { path, .. } => {
                let inner = File::open(&path).map_err(|error| InputError::of_open(&path, error))?;
                let counted = Counted {
                    inner,
                    bytes: meter.read.clone(),
                    failed: failed.clone(),
                };
                let read = |source| InputError::Read {
                    name: name.to_owned(),
                    source,
                };
                let plain = Plain::open(counted).map_err(read)?;
                Threaded::start(|| Ok(plain), true).map_err(thread)?
            }
            Origin::Stream(inner) => {
                let counted = Counted {
                    inner,
                    bytes: meter.read.clone(),
                    failed: failed.clone(),
                };
                Threaded::start(|| Plain::open(counted), false).map_err(thread)?
            }
        };
        Ok(Opened { feed, failed })
    }
}
