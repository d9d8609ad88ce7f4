//! The servers, each with what its configuration says and what it is known to do.

pub mod c;
pub mod go;
pub mod java;
pub mod node;
pub mod python;
pub mod ruby;
