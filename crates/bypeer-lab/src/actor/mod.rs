//! Actors: small servers and clients that do exactly what their script says, each a process of its own.

mod protocol;

pub use protocol::{Deed, FromActor, Job, Signal, ToActor};
