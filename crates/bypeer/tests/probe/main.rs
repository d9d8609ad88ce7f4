//! `bypeer probe` held to real servers: what it measures of them, beside what the kernel saw and what their configuration says.
//!
//! Each server is started by its test, on an address of its own on loopback, with a configuration of the test's. A packet socket records
//! what the kernel sends and when; the probe knows nothing of that.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod defaults;
mod hold;
mod kernel;
mod server;
mod servers;
mod stories;
