//! The program that chores run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, built as this test is.
pub fn bypeer() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--package", "bypeer"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo").success());
    Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("bypeer")
}
