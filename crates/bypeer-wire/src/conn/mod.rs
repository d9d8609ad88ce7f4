//! TCP connections: who, when, how many bytes, in which order it ended, and with what kind of reset.

mod connection;

pub use connection::{
    Connection, Ending, Fin, Flow, Handshake, IcmpNote, Marks, Reset, ResetShape, ResetValidity, Roles, SegmentNote,
    Timeline,
};
