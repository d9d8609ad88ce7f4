//! nginx under wrk.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Pid;
use tempfile::TempDir;
use wait4::Wait4;

use super::core::{Core, processor_time};
use super::{Slice, Traffic};

/// By turns, so that the ports to none of them run out. Not more: together they must stay below net.ipv4.tcp_max_tw_buckets, or the
/// kernel lets go of connections before their end, and what still comes for them is answered with a reset.
const ADDRESSES: [&str; 4] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
const FILE: &str = "small.txt";
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A program that is not installed, and the package that has it.
#[derive(Debug)]
pub struct Missing(&'static str);

impl std::fmt::Display for Missing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.0;
        write!(formatter, "{name} is not installed (apt install {name})")
    }
}

impl std::error::Error for Missing {}

/// One process of nginx, on a core of its own. Dropped, it is killed.
pub struct Nginx {
    child: Child,
    port: u16,
    keep_alive: bool,
    slices: usize,
    wrk_core: Core,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    /// [`Missing`] when nginx or wrk is not installed.
    pub fn start(keep_alive: bool) -> Result<Nginx> {
        must_be_installed("nginx", "-v")?;
        must_be_installed("wrk", "-v")?;
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        std::fs::write(folder.path().join("nginx.conf"), configuration(port))?;
        std::fs::write(folder.path().join(FILE), [b'x'; 612])?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("nginx")?;
        let [core, wrk_core] = Core::two()?;
        let mut nginx = Nginx {
            child,
            port,
            keep_alive,
            slices: 0,
            wrk_core,
            _folder: folder,
        };
        nginx.wait()?;
        core.hold(i32::try_from(nginx.child.id()).ok().and_then(Pid::from_raw))?;
        Ok(nginx)
    }

    fn wait(&mut self) -> Result<()> {
        let begin = Instant::now();
        while TcpStream::connect((ADDRESSES[0], self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("nginx ended with {status}");
            }
            ensure!(begin.elapsed() < STARTS_WITHIN, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What wrk says, and the processor time it took.
    fn wrk(&self, span: Duration) -> Result<(String, Duration)> {
        // A child is kept where the thread is that starts it.
        self.wrk_core.hold_me()?;
        let address = ADDRESSES[self.slices % ADDRESSES.len()];
        let mut command = Command::new("wrk");
        command.args(["--connections", "32", "--threads", "1", "--duration"]);
        command.arg(format!("{}s", span.as_secs().max(1)));
        if !self.keep_alive {
            command.args(["--header", "Connection: close"]);
        }
        command.arg(format!("http://{address}:{}/{FILE}", self.port));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("wrk has no output")?;
        let text = std::io::read_to_string(output)?;
        let used = child.wait4()?;
        ensure!(used.status.success(), "wrk ended with {}", used.status);
        Ok((text, used.rusage.utime + used.rusage.stime))
    }
}

impl Traffic for Nginx {
    fn slice(&mut self, span: Duration) -> Result<Slice> {
        let before = processor_time(self.child.id())?;
        let (text, of_wrk) = std::thread::scope(|scope| {
            let wrk = scope.spawn(|| self.wrk(span));
            wrk.join().map_err(|_| anyhow!("a thread of the benchmark panicked"))?
        })?;
        self.slices += 1;
        let of_nginx = processor_time(self.child.id())?.saturating_sub(before);
        let (requests, elapsed) = requests(&text).with_context(|| format!("wrk says:\n{text}"))?;
        // What fails is quick, and nothing to compare.
        ensure!(!text.contains("Non-2xx"), "nginx refuses:\n{text}");
        if let Some(errors) = text.lines().find(|line| line.contains("Socket errors")) {
            eprintln!("wrk: {}", errors.trim());
        }
        Ok(Slice {
            requests,
            elapsed,
            processor: of_nginx + of_wrk,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may just have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn must_be_installed(program: &'static str, option: &str) -> Result<()> {
    let status = Command::new(program)
        .arg(option)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Missing(program).into()),
        Err(error) => Err(error).context(program),
    }
}

/// One process in the foreground, which writes nowhere but into its folder.
fn configuration(port: u16) -> String {
    let listens: String = ADDRESSES
        .iter()
        .map(|address| format!("listen {address}:{port} backlog=1024; "))
        .collect();
    format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type text/plain;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ {listens}root .; }}
}}
"
    )
}

/// `  123456 requests in 1.10s, 40.2MB read`
fn requests(text: &str) -> Option<(u64, Duration)> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let (count, rest) = line.trim().split_once(" requests in ")?;
    let time = rest.split(',').next()?;
    let seconds: f64 = match time.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().ok()? / 1e3,
        None => time.strip_suffix('s')?.parse().ok()?,
    };
    Some((count.parse().ok()?, Duration::try_from_secs_f64(seconds).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  52786 requests in 1.10s, 42.23MB read\n";
        assert_eq!(requests(text).unwrap(), (52786, Duration::from_millis(1100)));
        assert_eq!(
            requests("  1 requests in 900.00ms, 1B read").unwrap(),
            (1, Duration::from_millis(900))
        );
        assert!(requests("unable to connect").is_none());
    }
}
