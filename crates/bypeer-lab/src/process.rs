//! The processes of a round: actors that are spoken to, and any program.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::actor::{FromActor, Job, ToActor};
use crate::sandbox::Host;

/// The most that is kept of what a program prints: its end.
const OUTPUT_KEPT: usize = 64 * 1024;
/// How long a program's output may take to end after the program.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// How actors are started: this program, with arguments that make it one.
#[derive(Clone, Debug)]
pub struct ActorProgram {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Something that happened to the process with this number.
#[derive(Debug)]
pub(crate) enum Event {
    /// The wire set a mark.
    WireMark(String),
    /// An actor spoke.
    Said(usize, FromActor),
    /// It ended.
    Exited(usize, io::Result<ExitStatus>),
}

/// A process of the round. Dropped, it is killed with its process group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    input: Option<ChildStdin>,
    output: Arc<Mutex<Vec<u8>>>,
    /// How it ended.
    pub(crate) exit: Option<ExitStatus>,
}

impl Process {
    /// Starts an actor with its job. Events carry `number`.
    pub(crate) fn actor(
        host: &Host,
        program: &ActorProgram,
        job: &Job,
        number: usize,
        events: &Sender<Event>,
    ) -> io::Result<Process> {
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = host.spawn(&mut command)?;
        let said = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let sender = events.clone();
        thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                // What is no message comes from a fault in the actor itself; its standard error tells.
                if let Ok(message) = serde_json::from_str(&line)
                    && sender.send(Event::Said(number, message)).is_err()
                {
                    return;
                }
            }
        });
        let errors = child
            .stderr
            .take()
            .ok_or_else(|| io::Error::other("no standard error"))?;
        let mut process = Process::watch(child, errors, number, events)?;
        let job = serde_json::to_string(job).map_err(io::Error::other)?;
        process.write(&job)?;
        Ok(process)
    }

    /// Starts a program by the shell.
    pub(crate) fn command(
        host: &Host,
        line: &str,
        folder: &Path,
        number: usize,
        events: &Sender<Event>,
    ) -> io::Result<Process> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command
            // Signals go to its group: to the program as well where the shell waits for it.
            .args(["-c", line])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        for proxy in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ] {
            command.env_remove(proxy);
        }
        command.env("no_proxy", "*").env("PYTHONUNBUFFERED", "1");
        let child = host.spawn(&mut command)?;
        // The command holds the writing end: dropped, the pipe ends with the program.
        drop(command);
        Process::watch(child, reader, number, events)
    }

    fn watch(
        mut child: Child,
        mut output: impl Read + Send + 'static,
        number: usize,
        events: &Sender<Event>,
    ) -> io::Result<Process> {
        let pid = Pid::from_raw(child.id() as i32);
        let input = child.stdin.take();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
                let excess = kept.len().saturating_sub(OUTPUT_KEPT);
                kept.drain(..excess);
            }
        });
        let sender = events.clone();
        thread::spawn(move || {
            let status = child.wait();
            // Its last words first, but for those of others whom it left with its output.
            for _ in 0..LAST_WORDS.as_millis() {
                if reader.is_finished() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            // Nobody listens any more when the round is over.
            let _ = sender.send(Event::Exited(number, status));
        });
        Ok(Process {
            pid,
            input,
            output: kept,
            exit: None,
        })
    }

    /// Tells an actor something; nothing for a program, or an actor that is gone.
    pub(crate) fn tell(&mut self, message: &ToActor) {
        if let Ok(line) = serde_json::to_string(message) {
            // An actor that was killed cannot be told.
            let _ = self.write(&line);
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.input {
            Some(input) => input
                .write_all(format!("{line}\n").as_bytes())
                .and_then(|()| input.flush()),
            None => Ok(()),
        }
    }

    /// Signals its process group; nothing once it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            // It may just have ended.
            let _ = killpg(self.pid, signal);
        }
    }

    /// Its exit status; none while it runs, or when a signal ended it.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.exit.and_then(|status| status.code())
    }

    /// The end of what it printed.
    pub(crate) fn output(&self) -> String {
        let kept = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also when it has ended: a server's workers may be left in its group.
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}
