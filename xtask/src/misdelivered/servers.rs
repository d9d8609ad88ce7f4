//! Real servers with one site, and how each is started.

mod software;

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

pub use self::software::{REDIS, SOFTWARE};
use super::clients::Client;

/// A virtual machine for Java takes its time on a machine that is busy.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// What a server can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Files only, in place of an application with waits, chunks and bodies.
    pub files: bool,
    /// Refuses a large body before it has it.
    pub refuses_early: bool,
    /// Reads bodies in chunks.
    pub reads_chunks: bool,
    /// Says `103 Early Hints`.
    pub hints: bool,
    /// Never answers where it should not, and sends events without end.
    pub endless: bool,
    /// Changes to another protocol.
    pub upgrades: bool,
}

/// A server, or one behind another.
pub struct Software {
    pub name: &'static str,
    /// Commands that it takes.
    pub needs: &'static [&'static str],
    /// A name in capitals is that of a part of the others.
    pub files: &'static [(&'static str, &'static str)],
    /// To be run before it is started.
    pub made_by: Option<&'static str>,
    /// Those behind it first. `{addr}`, `{host}`, `{port}` are its own; `{behind}` and its parts are those of the one behind.
    pub lines: &'static [&'static str],
    pub site: Site,
    /// Real clients that meet it.
    pub clients: &'static [&'static Client],
}

impl Software {
    /// What is not here of what it needs.
    pub fn lacks(&self) -> Option<&'static str> {
        self.needs.iter().copied().find(|need| !has(need))
    }
}

/// Where programs are looked for: also what `./test` and `tools/lab/install` have installed.
pub fn search_path() -> OsString {
    let target = crate::bypeer::root().join("target");
    let given = std::env::var_os("PATH").unwrap_or_default();
    let folders = [target.join("python/bin")]
        .into_iter()
        .chain(std::env::split_paths(&given))
        .chain([target.join("lab/bin")]);
    std::env::join_paths(folders).unwrap_or(given)
}

/// Whether a command, or a file, is there.
pub fn has(need: &str) -> bool {
    let path = search_path();
    need.starts_with('/') && Path::new(need).exists()
        || std::env::split_paths(&path).any(|folder| folder.join(need).is_file())
}

/// Where nobody else is: in a network namespace of one's own all ports below those of clients are free, and a client that meets a server
/// which is being started again must not be given the server's own port.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(8000);
    SocketAddr::from(([127, 0, 0, 1], NEXT.fetch_add(1, Relaxed)))
}

/// A server that runs. Dropped, it and all that it started end.
pub struct Server {
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
    behind: SocketAddr,
    software: &'static Software,
    children: Vec<Child>,
}

impl Server {
    /// Starts it, and those behind it.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(software: &'static Software) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        // Servers that give up root must find their files.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let mut server = Server {
            address: own_address(),
            folder,
            behind: own_address(),
            software,
            children: Vec::new(),
        };
        let is_part = |name: &str| name.chars().all(char::is_uppercase);
        for (name, text) in software.files.iter().filter(|(name, _)| !is_part(name)) {
            let parts = software.files.iter().filter(|(name, _)| is_part(name));
            let text = parts.fold((*text).to_owned(), |text, (part, of_it)| text.replace(part, of_it));
            let path = server.folder.path().join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, server.filled(&text))?;
        }
        if software.site.files {
            server.write_files("htdocs")?;
            server.write_files("webapps/ROOT")?;
        }
        if let Some(line) = software.made_by {
            let output = server.command(line)?.output()?;
            ensure!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> Result<()> {
        let last = self.software.lines.len() - 1;
        for (number, line) in self.software.lines.iter().enumerate() {
            let log = File::options().create(true).append(true).open(self.log())?;
            let mut command = self.command(line)?;
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0);
            self.children.push(command.spawn().with_context(|| (*line).to_owned())?);
            self.wait_for(if number == last { self.address } else { self.behind })?;
        }
        Ok(())
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = self.children.last_mut().context("a process")?.try_wait()?;
            ensure!(
                ended.is_none() && began.elapsed() < STARTS_WITHIN,
                "{} does not listen: {}",
                self.software.name,
                fs::read_to_string(self.log()).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it, politely or not, and starts it again at the same address.
    ///
    /// # Errors
    /// When it does not listen again.
    pub fn restart(&mut self, politely: bool) -> Result<()> {
        self.end(politely);
        // Those that it had started may take a moment longer to die, and hold the socket.
        let began = Instant::now();
        while TcpStream::connect(self.address).is_ok() && began.elapsed() < ENDS_WITHIN {
            thread::sleep(Duration::from_millis(10));
        }
        self.launch()
    }

    /// Fails when it, or one behind it, has ended by itself.
    ///
    /// # Errors
    /// With what it printed.
    pub fn lives(&mut self) -> Result<()> {
        for child in &mut self.children {
            let ended = child.try_wait()?;
            ensure!(
                ended.is_none(),
                "{} has ended: {}",
                self.software.name,
                fs::read_to_string(self.folder.path().join("printed.log")).unwrap_or_default()
            );
        }
        Ok(())
    }

    fn end(&mut self, politely: bool) {
        // From the front to those behind.
        for child in self.children.iter_mut().rev() {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let tell = |signal| group.map(|group| kill_process_group(group, signal));
            if politely {
                let _ = tell(Signal::TERM);
                let began = Instant::now();
                while matches!(child.try_wait(), Ok(None)) && began.elapsed() < ENDS_WITHIN {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            // It may be gone already; those that it started are in its group.
            let _ = tell(Signal::KILL);
            let _ = child.wait();
        }
        self.children.clear();
    }

    /// The site as files: what is the same each time.
    fn write_files(&self, folder: &str) -> Result<()> {
        let root = self.folder.path().join(folder);
        let mut pages: Vec<(String, String)> = vec![
            ("session".into(), r#"{"status":"ok","session":"s1"}"#.into()),
            ("list".into(), "[1,2,3]".into()),
            ("cached".into(), r#"{"kind":"cached"}"#.into()),
            ("deprecated".into(), r#"{"error":"gone"}"#.into()),
            ("large".into(), "x".repeat(600_000)),
        ];
        for number in 1..10 {
            pages.push((
                format!("account/{number}"),
                format!(r#"{{"kind":"account","balance":{number},"currency":"KES"}}"#),
            ));
            pages.push((
                format!("transactions/{number}"),
                format!(r#"{{"kind":"transactions","items":[{{"id":{number}}}]}}"#),
            ));
            pages.push((format!("twin/a/{number}"), format!(r#"{{"id":"{number}","value":1}}"#)));
            pages.push((format!("twin/b/{number}"), format!(r#"{{"id":"{number}","value":2}}"#)));
        }
        for (name, text) in pages {
            let path = root.join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("printed.log")
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut words = line.split_whitespace().map(|word| self.filled(word));
        let mut command = Command::new(words.next().context("a command")?);
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("PATH", search_path());
        Ok(command)
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{addr}", &self.address.to_string())
            .replace("{host}", &self.address.ip().to_string())
            .replace("{port}", &self.address.port().to_string())
            .replace("{behind}", &self.behind.to_string())
            .replace("{behind_host}", &self.behind.ip().to_string())
            .replace("{behind_port}", &self.behind.port().to_string())
            .replace("{dir}", &self.folder.path().to_string_lossy())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(false);
    }
}
