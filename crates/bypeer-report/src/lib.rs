//! Findings → text for a terminal, packet comments, metrics, and JSON Lines whose schema is versioned and kept in `docs/schema`.
//!
//! Gives back strings and writes into writers it is handed; opens nothing, asks no terminal, reads no environment.

mod annotation;
mod escape;
mod group;
mod heard;
mod inquiry;
pub mod json;
mod ladder;
mod layout;
mod look;
mod manual;
mod metrics;
pub mod prometheus;
mod summary;
mod terminal;
mod time;

pub use annotation::packet_comment;
pub use escape::escape;
pub use group::{Group, Groups, Seen};
pub use heard::{WatchSummary, heard_line, unexplained_line, watch_report};
pub use inquiry::{fits_table, inquiry_odds, inquiry_question, inquiry_verdict, mechanisms_page};
pub use ladder::segment_text::segment_text;
pub use ladder::{Ladder, LadderRow, PacketKind};
pub use layout::{Page, wrap};
pub use look::{Look, Role};
pub use manual::{cause_table, manual_page};
pub use metrics::Metrics;
pub use summary::{Exit, Summary};
pub use terminal::{brief, report};
pub use time::utc;
