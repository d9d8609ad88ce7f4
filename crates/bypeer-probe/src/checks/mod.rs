//! The checks, one a file, each with its manual beside it. The table [`CHECKS`] is the one place that lists them: help, plan, card and
//! tests walk it.

mod accept_queue;
mod answers_fit;
mod close_manners;
mod closing_window;
mod early_answer;
mod fate;
mod half_close;
mod idle_timeout;
mod life;
mod lifetime;
mod persistence;
mod request_limit;
mod trailing_bytes;
mod unread_body;
mod versions;

use crate::check::Check;

pub use answers_fit::add_packets;
pub use idle_timeout::{AFTER_ONE, AFTER_SEVERAL, ENDS_BY, KEPT, PROMISED};
pub use lifetime::AGE;
pub use request_limit::REQUESTS;
pub use versions::H2_IDLE;

/// The id of the check that measures the idle limit, which others wait for.
pub const IDLE: &str = "idle-timeout";

/// Every check, in the order of the card.
pub static CHECKS: &[&Check] = &[
    &versions::CHECK,
    &persistence::CHECK,
    &idle_timeout::CHECK,
    &closing_window::CHECK,
    &request_limit::CHECK,
    &lifetime::CHECK,
    &unread_body::CHECK,
    &early_answer::CHECK,
    &trailing_bytes::CHECK,
    &half_close::CHECK,
    &close_manners::CHECK,
    &answers_fit::CHECK,
    &answers_fit::LOAD,
    &accept_queue::CHECK,
];

#[cfg(test)]
mod tests;
