//! Chores of the project: `cargo xtask score`, `cargo xtask bench`.
fn main() {}
