//! HTTP/1 as a client that wants to know: requests to the byte, answers with the moment of each part.

mod afterwards;
mod answer;
mod exchange;
mod request;

pub use afterwards::Afterwards;
pub use answer::{Answer, AnswerReader, Fed, Field};
pub use exchange::{Ending, Exchange, Writing};
pub use request::Request;
