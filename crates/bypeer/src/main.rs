//! `bypeer`: why did these TCP connections die?

use std::process::ExitCode;

fn main() -> ExitCode {
    bypeer::run(std::env::args_os())
}
