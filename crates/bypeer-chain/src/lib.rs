//! A chain of hops and the idle limits between them: who closes first, whether that is right, what it costs, what mends it.
//!
//! Text in, values out. Files are asked for through [`Files`], measurements through [`Measure`]: no IO, no clock, no environment,
//! no printing, no panic on any input.

mod assemble;
mod config;
mod drawing;
mod file;
mod hop;
pub mod json;
mod judge;
mod mend;
mod request;
mod risk;
pub mod time;
mod words;

pub use assemble::{AssembleError, Files, Measure, Measured, NotMeasured, assemble};
pub use config::MAX_FILE;
pub use file::{ChainFile, ChainFileError};
pub use hop::{Accepts, Hop, Limit, Note, NoteKind, Opens, Origin, Told};
pub use judge::{Chain, ClosesFirst, Finding, Level, Missing, Order, Pair, Report, Traffic, judge};
pub use mend::Mend;
pub use request::{Limits, Request, RequestError};
pub use risk::Risk;
pub use words::{Style, report};
