//! Programs that chores start, and that end with them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::core::Core;

const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Those with children of their own take time to end them.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A program that runs. Dropped, it is asked to end, and killed if it does not.
pub struct Process {
    child: Child,
    name: String,
    /// What it writes to its standard error.
    log: PathBuf,
    /// Has no children, and may be killed at once.
    alone: bool,
}

impl Process {
    /// Starts it in a folder of its own, where what it says is kept.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn start(command: &mut Command, folder: &Path) -> Result<Process> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file_name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy();
        let log = (0..)
            .map(|number| folder.join(format!("{file_name}-{number}.log")))
            .find(|path| !path.exists())
            .context("no name is left")?;
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        command.current_dir(folder).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| name.clone())?;
        Ok(Process {
            child,
            name,
            log,
            alone: false,
        })
    }

    /// As [`Process::start`], on this core.
    ///
    /// # Errors
    /// The same, and when the kernel refuses.
    pub fn start_on(core: Core, mut command: Command, folder: &Path) -> Result<Process> {
        let start = || -> Result<Process> {
            // A child is kept where the thread is that starts it.
            core.hold_me()?;
            command.stdin(Stdio::null());
            Process::start(&mut command, folder)
        };
        std::thread::scope(|scope| scope.spawn(start).join())
            .map_err(|_| anyhow!("a thread that starts a program panicked"))?
    }

    /// It has no children, and nothing to tidy up: killed when it is dropped.
    pub fn alone(mut self) -> Process {
        self.alone = true;
        self
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut text));
        read.map_or_else(
            |error| error.to_string(),
            |_| String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Waits until somebody can connect.
    ///
    /// # Errors
    /// When it has ended, or nobody listens for long.
    pub fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.said());
            }
            ensure!(
                begin.elapsed() < STARTS_WITHIN,
                "{} does not listen at {address}: {}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it has said this.
    ///
    /// # Errors
    /// When it has ended, or does not say so for long.
    pub fn says(&mut self, word: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.said().contains(word) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.said());
            }
            ensure!(
                begin.elapsed() < STARTS_WITHIN,
                "{} does not say {word:?}: {}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it answers a request: where the socket is not its own, somebody can connect before it is there.
    ///
    /// # Errors
    /// As [`Process::listens`].
    pub fn answers(&mut self, address: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(STARTS_WITHIN))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        read.with_context(|| format!("{} does not answer at {address}: {}", self.name, self.said()))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is no more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process has this number")?, signal).with_context(|| self.name.clone())
    }

    /// How it ended; `None` when it still runs after this time.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ends(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if begin.elapsed() >= within {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Any of this may fail because it has just ended.
        if !self.alone && self.signal(Signal::TERM).is_ok() && matches!(self.ends(ENDS_WITHIN), Ok(Some(_))) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// When none is left.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
