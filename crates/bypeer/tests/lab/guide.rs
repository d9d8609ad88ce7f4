//! The examples of `docs/lab.md`, run as they stand there.
