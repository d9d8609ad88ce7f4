//! Two programs, and the lab's wire between them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const SCENARIO: &str = include_str!("wire.toml");

/// A folder that both programs work in.
pub(crate) struct Lab<'a> {
    binary: &'a Path,
    delay: &'static str,
    folder: tempfile::TempDir,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(binary: &'a Path, delay: &'static str) -> Result<Lab<'a>> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("wire.toml"), SCENARIO)?;
        Ok(Lab { binary, delay, folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server, then the client, and gives what the client printed. Each pair meets with a server of its own.
    pub(crate) fn meet(&self, server: &str, client: &str) -> Result<String> {
        let said = self.folder().join("said");
        let output = Command::new(self.binary)
            .args(["lab", "run", "wire.toml", "--rounds", "1"])
            .arg(format!("--set=delay={}", self.delay))
            .args(["--server", server])
            // A probe that finds a fault ends with 1: what it says counts.
            .args(["--client", &format!("{client} > said; test $? -lt 2")])
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .output()
            .context("bypeer lab")?;
        // Exit status 1: explain finds what the clients suffer, and the scenario has no opinion of it.
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "{server}, {client}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let text = fs::read_to_string(&said).context("the client printed nothing")?;
        fs::remove_file(&said)?;
        Ok(text)
    }
}
