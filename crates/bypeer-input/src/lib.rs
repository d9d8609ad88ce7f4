//! Capture files and pipes → frames, in order, from bounded memory.
//!
//! ```text
//! Source ─► reading, decompression (a thread of its own) ─► chunks ─► capture::Parser ─► the caller's closure
//! ```
//!
//! gzip and Zstandard are known by their first bytes, never by a file's name. Frames of a pipe are delivered as soon as
//! they are whole. The closure runs on the caller's thread.

mod chunks;
mod compression;
mod error;
mod input;
mod order;
mod source;

pub use error::{InputError, Overlap};
pub use input::{Event, Input, Meter, Summary, TornStream};
pub use source::Source;
