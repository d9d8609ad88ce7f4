//! Stories of connections → findings.
//!
//! Each [`Cause`] weighs a [`Story`] without knowing its rivals; one arbiter compares what they say; what only several
//! connections together show comes from the [`Judge`]'s ledger. No IO, no clock, no printing, no panic on any input.

mod accounts;
mod arbiter;
mod cause;
pub mod causes;
pub mod facts;
mod finding;
mod groups;
mod habits;
mod heard;
mod hearing;
mod hops;
mod inquiry;
mod judge;
mod ledger;
pub mod misdelivered;
mod story;
pub mod testimony;

pub use cause::{Cause, Strength, Weighed};
pub use facts::{Software, clause, software};
pub use finding::{
    Accounts, Clause, Confidence, Evidence, Finding, Fix, Follows, Insight, Lost, Misdelivered, NotJudged, Owner,
    Party, Retry, Rival, Source,
};
pub use habits::Habits;
pub use heard::decide as decide_heard;
pub use hearing::{Came, Hearing, Late, Unread};
pub use inquiry::{Agreement, Answer, Inquiry, Next, Odds};
pub use judge::{Judge, Verdicts};
pub use ledger::Surroundings;
pub use story::Story;
pub use testimony::Testimony;
