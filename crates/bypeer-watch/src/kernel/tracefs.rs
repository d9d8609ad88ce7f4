use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use super::reset_event::{ResetEvent, TraceEvent, TraceText};
use crate::clock::monotonic_to_real;

/// Names of our instances begin with this; the process id of the lab follows.
const INSTANCE: &str = "bypeer-lab-";
/// The same of a watcher.
const WATCH_INSTANCE: &str = "bypeer-watch-";
const EVENT: &str = "events/tcp/tcp_send_reset";
/// What a watcher wants besides, where the kernel has it: since Linux 4.16 and 5.10.
const MORE_EVENTS: [&str; 2] = ["events/tcp/tcp_receive_reset", "events/sock/inet_sk_error_report"];
/// Of each processor: about 1000 resets with their stacks between two calls of [`ResetTrace::take`].
const BUFFER_KIB: &str = "512";
/// The kernel writes a stack some 50 µs after its event; longer than this it takes on no machine that still does anything.
const STACK_PATIENCE: Duration = Duration::from_millis(20);
/// Options that a new instance inherits and that change what the text looks like.
const PLAIN_TEXT: [&str; 11] = [
    "context-info",
    "noraw",
    "nohex",
    "nobin",
    "noverbose",
    "nofields",
    "nosym-offset",
    "nosym-addr",
    "nostacktrace",
    "nouserstacktrace",
    "nolatency-format",
];

/// The resets that this machine's kernel sends while it is open, in every network namespace of the machine: who has more
/// than one lab running tells them apart by their addresses.
///
/// A tracefs instance of its own, so that nobody else's tracing is disturbed; dropping it removes it.
#[derive(Debug)]
pub struct ResetTrace {
    instance: PathBuf,
    /// Open as long as we live: an instance whose pipe is open cannot be removed by anybody.
    pipe: Option<File>,
    text: TraceText,
    stacks: bool,
    /// Of [`MORE_EVENTS`].
    more: Vec<&'static str>,
    without_sockets: bool,
}

/// Why the kernel's reset events cannot be had here. A round goes on without them.
#[derive(Debug, Error)]
pub enum TraceUnavailable {
    /// No tracefs anywhere.
    #[error(
        "the kernel's reset events are missing: tracefs is not mounted at /sys/kernel/tracing (as root: mount -t tracefs \
         tracefs /sys/kernel/tracing)"
    )]
    NotMounted,
    /// It is there, but for root only.
    #[error("the kernel's reset events are missing: {0} is root's alone")]
    NotPermitted(PathBuf),
    /// The kernel has no such event.
    #[error(
        "the kernel's reset events are missing: it has no event tcp:tcp_send_reset ({0}; Linux 4.16 or later with \
         CONFIG_FTRACE has it)"
    )]
    NoEvent(PathBuf),
    /// Anything else.
    #[error("the kernel's reset events are missing: {path}: {source}")]
    Failed {
        /// The file that refused.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

/// Where tracefs is mounted, in the mount namespace of the caller.
pub fn find_tracefs() -> Result<PathBuf, TraceUnavailable> {
    for path in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] {
        let path = Path::new(path);
        match path.join("instances").symlink_metadata() {
            Ok(_) => return Ok(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(TraceUnavailable::NotPermitted(path.to_owned()));
            }
            Err(_) => {}
        }
    }
    Err(TraceUnavailable::NotMounted)
}

impl ResetTrace {
    /// Begins to record. `tracefs` is where it is mounted ([`find_tracefs`]); `id` makes the instance's name, and is
    /// `PID-N` with a process id as the *machine* counts it (a process in a PID namespace is told by its parent) and a
    /// number that the process has not used before. Instances that dead labs left behind are removed.
    pub fn open(tracefs: &Path, id: &str) -> Result<ResetTrace, TraceUnavailable> {
        ResetTrace::begin(tracefs, &format!("{INSTANCE}{id}"))
    }

    /// The same for a watcher: also resets that are received, and errors that sockets get.
    pub fn open_all(tracefs: &Path, id: &str) -> Result<ResetTrace, TraceUnavailable> {
        let mut trace = ResetTrace::begin(tracefs, &format!("{WATCH_INSTANCE}{id}"))?;
        for event in MORE_EVENTS {
            if trace.write(&format!("{event}/enable"), "1").is_ok() {
                trace.more.push(event);
            }
        }
        Ok(trace)
    }

    fn begin(tracefs: &Path, name: &str) -> Result<ResetTrace, TraceUnavailable> {
        let instances = tracefs.join("instances");
        if !tracefs.join(EVENT).exists() && fs::read_dir(tracefs.join("events")).is_ok() {
            return Err(TraceUnavailable::NoEvent(tracefs.join(EVENT)));
        }
        let instance = instances.join(name);
        fs::create_dir(&instance).map_err(unavailable(&instance))?;
        // From here on, dropping it removes it.
        let mut trace = ResetTrace {
            instance,
            pipe: None,
            text: TraceText::default(),
            stacks: false,
            more: Vec::new(),
            without_sockets: false,
        };
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let path = trace.instance.join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path);
        trace.pipe = Some(pipe.map_err(unavailable(&path))?);
        for option in PLAIN_TEXT {
            // A kernel that does not know one has no such text either.
            let _ = trace.write("trace_options", option);
        }
        // Loses the oldest when it overflows, and then says how many.
        let _ = trace.write("buffer_size_kb", BUFFER_KIB);
        trace.write("trace_clock", "mono")?;
        trace.stacks = trace.write(&format!("{EVENT}/trigger"), "stacktrace").is_ok();
        let format = fs::read_to_string(trace.instance.join(EVENT).join("format"));
        trace.without_sockets = format.is_ok_and(|format| gives_reasons(&format));
        trace.write(&format!("{EVENT}/enable"), "1")?;
        trace.write("tracing_on", "1")?;
        Ok(trace)
    }

    /// The resets since the last call, in the order of the trace. Does not wait, but for the stack of an event that is
    /// just being written (20 ms at the most).
    pub fn take(&mut self) -> io::Result<Vec<ResetEvent>> {
        self.read()?;
        Ok(self.text.take())
    }

    /// All events since the last call, with the tasks that ran, in the order of their times.
    pub fn take_all(&mut self) -> io::Result<Vec<TraceEvent>> {
        self.read()?;
        Ok(self.text.take_all())
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let offset = monotonic_to_real();
        let mut buffer = vec![0; 64 << 10];
        let mut waited = Duration::ZERO;
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => {}
                Ok(length) => {
                    // The text is ASCII but for names of tasks, which nobody reads.
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    self.text.push(&text, offset, self.stacks);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if !self.text.is_waiting() || waited >= STACK_PATIENCE {
                return Ok(());
            }
            let pause = Duration::from_millis(1);
            std::thread::sleep(pause);
            waited += pause;
        }
    }

    /// Trace entries, events and stacks, that the kernel dropped because nobody read them in time. While this is not 0, that an
    /// event is missing proves nothing.
    pub fn lost(&self) -> u64 {
        self.text.lost()
    }

    /// Events whose text this program does not understand: a layout of a newer kernel.
    pub fn unreadable(&self) -> u64 {
        self.text.unreadable()
    }

    /// Whether resets that are received are recorded too.
    pub fn has_received(&self) -> bool {
        self.more.contains(&MORE_EVENTS[0])
    }

    /// Whether errors of sockets are recorded too.
    pub fn has_errors(&self) -> bool {
        self.more.contains(&MORE_EVENTS[1])
    }

    /// Whether events come with their stacks; without, only the reason tells one way from another.
    pub fn has_stacks(&self) -> bool {
        self.stacks
    }

    /// Whether resets are told that no socket sends, or one in TIME_WAIT: the answers of a closed port among them. Without, that an event
    /// is missing proves nothing of those.
    pub fn tells_of_those_without_a_socket(&self) -> bool {
        self.without_sockets
    }

    fn write(&self, file: &str, value: &str) -> Result<(), TraceUnavailable> {
        let path = self.instance.join(file);
        fs::write(&path, value).map_err(unavailable(&path))
    }
}

impl Drop for ResetTrace {
    fn drop(&mut self) {
        let _ = self.write(&format!("{EVENT}/enable"), "0");
        let _ = self.write(&format!("{EVENT}/trigger"), "!stacktrace");
        for event in &self.more {
            let _ = self.write(&format!("{event}/enable"), "0");
        }
        // It is busy while its pipe is open.
        self.pipe = None;
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Does an event's format have the reason? It came with Linux 6.10, together with events of those without a socket, of which nothing in the
/// format tells: until then tcp_v4_send_reset() had the event for `sk_fullsock(sk)` alone.
fn gives_reasons(format: &str) -> bool {
    let is_reason = |line: &str| line.split(';').next().is_some_and(|field| field.ends_with(" reason"));
    format.lines().any(is_reason)
}

/// Removes the instances of labs and watchers that are no more. One that is in use is busy and stays, also when its process is invisible
/// from our PID namespace; that its process is gone is asked all the same, for one that is just being opened.
fn remove_stale(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let strip = |name: &'_ str| -> Option<String> {
            let id = name
                .strip_prefix(INSTANCE)
                .or_else(|| name.strip_prefix(WATCH_INSTANCE))?;
            Some(id.to_owned())
        };
        let id = name.to_str().and_then(strip);
        let pid: Option<u32> = id.and_then(|id| id.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Removes what labs and watchers left behind that ended without tidying up. To be called where other processes can be seen.
pub fn remove_leftovers() {
    if let Ok(tracefs) = find_tracefs() {
        remove_stale(&tracefs.join("instances"));
    }
}

/// Removes all that is left of the lab with this process id: it is over.
pub fn remove_instances_of(over: u32) {
    let Ok(tracefs) = find_tracefs() else { return };
    let instances = tracefs.join("instances");
    let own = format!("{INSTANCE}{over}-");
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&own)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn unavailable(path: &Path) -> impl FnOnce(io::Error) -> TraceUnavailable {
    let path = path.to_owned();
    move |source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => TraceUnavailable::NotPermitted(path),
        _ => TraceUnavailable::Failed { path, source },
    }
}

/// Mounts tracefs where the machine has it nowhere: for the calling thread alone, as long as that lives.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn see_tracefs() {
    if find_tracefs().is_err() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let mount = "mount --make-rprivate / && mount -t tracefs tracefs /sys/kernel/tracing";
        let mounted = std::process::Command::new("sh").args(["-c", mount]).status();
        assert!(mounted.unwrap().success());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::SystemTime;

    use super::*;
    use crate::kernel::ResetPath;

    fn trace(number: u32) -> ResetTrace {
        see_tracefs();
        let id = format!("{}-{number}", std::process::id());
        ResetTrace::open(&find_tracefs().unwrap(), &id).unwrap()
    }

    /// A connection over loopback: listener, client, server.
    fn pair(listen: &str, connect: &str) -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let client = TcpStream::connect((connect, listener.local_addr().unwrap().port())).unwrap();
        let server = listener.accept().unwrap().0;
        (listener, client, server)
    }

    /// Unread data in `server` when it is closed.
    fn close_unread((listener, mut client, server): (TcpListener, TcpStream, TcpStream)) -> u16 {
        let port = listener.local_addr().unwrap().port();
        client.write_all(&[0; 22]).unwrap();
        server.peek(&mut [0]).unwrap();
        drop(server);
        port
    }

    fn from(events: Vec<ResetEvent>, port: u16) -> Vec<ResetEvent> {
        events.into_iter().filter(|event| event.source.port() == port).collect()
    }

    #[test]
    #[ignore = "needs root"]
    fn resets_by_their_reasons_and_ways() {
        let mut trace = trace(1);
        let before = SystemTime::now();
        let unread = close_unread(pair("127.0.0.1", "127.0.0.1"));
        let dual = close_unread(pair("::", "127.0.0.1"));

        let (listener, client, server) = pair("127.0.0.1", "127.0.0.1");
        let lingering = listener.local_addr().unwrap().port();
        socket2::SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop((server, client, listener));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener);
        drop(client);
        assert!(TcpStream::connect(("127.0.0.1", closed)).is_err());

        let events = trace.take().unwrap();
        let after = SystemTime::now();
        let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
        assert_eq!((trace.lost(), trace.unreadable(), trace.has_stacks()), (0, 0, true));
        let seen = |port| -> Vec<(ResetPath, String, String)> {
            from(events.clone(), port)
                .into_iter()
                .map(|event| (event.path(), event.reason.unwrap_or_default(), event.state))
                .collect()
        };
        let is = |path, reason: &str, state: &str| (path, reason.to_owned(), state.to_owned());
        assert_eq!(
            seen(unread),
            [is(ResetPath::CloseUnread, "TCP_ABORT_ON_CLOSE", "CLOSE")]
        );
        assert_eq!(seen(dual), [is(ResetPath::CloseUnread, "TCP_ABORT_ON_CLOSE", "CLOSE")]);
        assert_eq!(seen(lingering), [is(ResetPath::LingerZero, "TCP_STATE", "CLOSE")]);
        assert_eq!(
            seen(closed),
            [
                is(ResetPath::ListenerClosed, "TCP_STATE", "CLOSE"),
                is(ResetPath::Answer, "NO_SOCKET", "UNKNOWN")
            ]
        );
        for event in events {
            assert!(event.source.is_ipv4(), "{event:?}");
            assert_eq!(event.answers, event.path() == ResetPath::Answer, "{event:?}");
            let slack = 10_000;
            assert!(event.time.0 > since_epoch(before) - slack, "{event:?}");
            assert!(event.time.0 < since_epoch(after) + slack, "{event:?}");
        }
    }

    #[test]
    #[ignore = "needs root"]
    fn nothing_is_given_twice_and_nothing_is_lost_between_two_takes() {
        // Other tests make resets too, perhaps from a port that was one of ours.
        const ADDRESS: &str = "127.41.17.3";
        let mut trace = trace(2);
        let mut ports = Vec::new();
        let mut seen = Vec::new();
        for round in 0..40 {
            ports.push(close_unread(pair(ADDRESS, ADDRESS)));
            if round % 3 == 0 {
                seen.extend(trace.take().unwrap());
            }
        }
        seen.extend(trace.take().unwrap());
        // A reset of another test may be in the middle of being written.
        seen.retain(|event| event.source.ip().to_string() == ADDRESS);
        assert!(seen.iter().all(|event| !event.stack.is_empty()));
        let ours: Vec<u16> = seen.iter().map(|event| event.source.port()).collect();
        assert_eq!(ours, ports);
    }

    #[test]
    #[ignore = "needs root"]
    fn an_overflow_is_counted() {
        const RESETS: u64 = 200;
        let mut trace = trace(3);
        trace.write("buffer_size_kb", "8").unwrap();
        // Each processor has such a buffer, and a thread that moves fills more than one.
        let mut one = nix::sched::CpuSet::new();
        one.set(rustix::thread::sched_getcpu()).unwrap();
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).unwrap();
        for _ in 0..RESETS {
            close_unread(pair("127.0.0.1", "127.0.0.1"));
        }
        let given = trace.take().unwrap().len() as u64;
        assert!(given < RESETS, "{given} fitted");
        assert!(trace.lost() >= RESETS - given, "{} of {given}", trace.lost());
    }

    #[test]
    #[ignore = "needs root"]
    fn stale_instances_go_and_living_ones_stay() {
        see_tracefs();
        let instances = find_tracefs().unwrap().join("instances");
        // No process has this id: the kernel's highest is 4194304.
        let stale = instances.join(format!("{INSTANCE}4194999-1"));
        fs::create_dir(&stale).unwrap();
        fs::write(stale.join(EVENT).join("trigger"), "stacktrace").unwrap();
        fs::write(stale.join(EVENT).join("enable"), "1").unwrap();
        // One that lives, of a process that we cannot see.
        let hidden = ResetTrace::open(&find_tracefs().unwrap(), "4194998-1").unwrap();
        let own = trace(4);
        remove_stale(&instances);
        assert!(!stale.exists());
        assert!(hidden.instance.exists());
        let paths = [hidden.instance.clone(), own.instance.clone()];
        drop((hidden, own));
        assert!(paths.iter().all(|path| !path.exists()));
    }

    #[test]
    fn old_kernels_give_no_reasons() {
        let old = "name: tcp_send_reset\nID: 1427\nformat:\n\tfield:const void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
                   \tfield:int state;\toffset:24;\tsize:4;\tsigned:1;\n\nprint fmt: \"skbaddr=%p\", REC->skbaddr\n";
        assert!(!gives_reasons(old));
        let line = "\tfield:enum sk_rst_reason reason;\toffset:28;\tsize:4;\tsigned:0;\n";
        assert!(gives_reasons(&old.replace("\n\nprint", &format!("\n{line}\nprint"))));
    }

    #[test]
    fn what_is_not_tracefs_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = ResetTrace::open(folder.path(), "1-1").unwrap_err();
        assert!(matches!(error, TraceUnavailable::Failed { .. }), "{error}");
        fs::create_dir_all(folder.path().join("instances")).unwrap();
        fs::create_dir_all(folder.path().join("events")).unwrap();
        let error = ResetTrace::open(folder.path(), "1-1").unwrap_err();
        assert!(matches!(error, TraceUnavailable::NoEvent(_)), "{error}");
    }
}
