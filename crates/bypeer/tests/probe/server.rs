//! Servers that a test starts and ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A virtual machine for Java takes its time on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// A server that listens; it and all that it started end with this.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its files.
    pub folder: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Server {
    /// A folder and an address for a server that is not started yet.
    pub fn new() -> Server {
        let folder = tempfile::tempdir().unwrap();
        // Servers that give up root must find their files.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Server {
            address: free_address(),
            folder,
            processes: Vec::new(),
        }
    }

    /// Writes a file into its folder. In the text, as in commands, `{addr}`, `{host}`, `{port}` and `{dir}` are filled in.
    pub fn file(self, name: &str, text: &str) -> Server {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.filled(text)).unwrap();
        self
    }

    /// Runs a command to its end, as a compiler.
    pub fn made_by(self, command: &str) -> Server {
        let output = self.command(command).output().unwrap();
        assert!(
            output.status.success(),
            "{command}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        self
    }

    /// Starts it, and waits until it listens.
    pub fn start(self, command: &str) -> Server {
        let address = self.address;
        self.start_at(address, command)
    }

    /// Starts another program beside it, which listens elsewhere.
    pub fn start_at(mut self, address: SocketAddr, command: &str) -> Server {
        let log = self.log();
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = self
            .command(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        let began = Instant::now();
        let listens = loop {
            if TcpStream::connect(address).is_ok() {
                break true;
            }
            if child.try_wait().unwrap().is_some() || began.elapsed() > START {
                break false;
            }
            thread::sleep(Duration::from_millis(20));
        };
        self.processes.push(child);
        assert!(
            listens,
            "{command}: nothing listens at {address}:\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
        self
    }

    /// The URL of its root.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What it printed.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("printed.log")
    }

    fn command(&self, command: &str) -> Command {
        let mut words = command.split_whitespace().map(|word| self.filled(word));
        let mut made = Command::new(words.next().unwrap());
        made.args(words).current_dir(self.folder.path());
        made
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{addr}", &self.address.to_string())
            .replace("{host}", &self.address.ip().to_string())
            .replace("{port}", &self.address.port().to_string())
            .replace("{dir}", self.folder.path().to_str().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.processes {
            // Those that it started are in its group.
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// Nobody else's: an address of loopback for each, so that two tests never take the same port in turn.
pub fn free_address() -> SocketAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let own = LAST.fetch_add(1, Relaxed) + 1;
    let process = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, process[2], process[3], own);
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}
