//! The watch, as a child.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take until the watch hears something.
const HEARS_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A running watch. Dropped, it is killed.
pub struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts it and waits until it hears.
    ///
    /// # Errors
    /// When it cannot listen here.
    pub fn start(binary: &Path, tier: Option<&str>) -> Result<Watch> {
        let mut child = Command::new(binary)
            .args(["watch", "--format", "json", "--source", "bpf"])
            .args(tier)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the watch cannot be started")?;
        let output = child.stdout.take().context("the watch has no output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut watch = Watch {
            child,
            lines,
            reader: Some(reader),
        };
        watch.wait_until_it_hears()?;
        Ok(watch)
    }

    /// Resets a connection of our own again and again until it is told.
    fn wait_until_it_hears(&mut self) -> Result<()> {
        let end = Instant::now() + HEARS_WITHIN;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                bail!("the watch ended with {status}");
            }
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let server = format!("\"server\":\"{}\"", listener.local_addr()?);
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            client.write_all(b"unread")?;
            // Closed over what it had not read: the kernel resets it.
            drop(listener.accept()?);
            std::thread::sleep(Duration::from_millis(600));
            if self.told().iter().any(|line| line.contains(&server)) {
                return Ok(());
            }
        }
        bail!(
            "the watch did not tell of a reset on loopback within {} s",
            HEARS_WITHIN.as_secs()
        )
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it as Ctrl-C does. What it told, a line each.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn end(mut self) -> Result<Vec<String>> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).context("the watch cannot be told to end")?;
        }
        let end = Instant::now() + ENDS_WITHIN;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < end, "the watch did not end when it was told to");
            std::thread::sleep(Duration::from_millis(20));
        };
        ensure!(matches!(status.code(), Some(0 | 1)), "the watch ended with {status}");
        if let Some(reader) = self.reader.take() {
            // It cannot panic but by the allocator.
            let _ = reader.join();
        }
        let told = std::mem::take(&mut *self.told());
        Ok(told)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // It may just have ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
