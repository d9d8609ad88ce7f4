//! The causes, one a file. This table is the one place that lists them; help, manual, documentation and tests walk it.

use crate::Cause;

/// Every cause, in the order of the manual.
pub static CAUSES: &[&Cause] = &[];

/// The cause with an id.
pub fn find(id: &str) -> Option<&'static Cause> {
    CAUSES.iter().copied().find(|cause| cause.id == id)
}
