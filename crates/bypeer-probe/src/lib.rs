//! Asks a server how it keeps, closes and resets connections.
//!
//! Each question is a [`Check`](check::Check) in the table [`CHECKS`](checks::CHECKS). [`run`] asks them side by side, over connections
//! of its own whose every event is timed, and gives a [`Card`]: what was seen and what can lose data. Nothing is printed here.

pub mod advice;
pub mod baseline;
pub mod card;
pub mod check;
pub mod checks;
pub mod connection;
pub mod gate;
pub mod habit;
pub mod http;
pub mod http2;
pub mod json;
pub mod prober;
pub mod progress;
mod run;
pub mod stop;
pub mod story;
pub mod target;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod words;

pub use advice::Advice;
pub use card::Card;
pub use run::{ProbeError, chosen, run};
