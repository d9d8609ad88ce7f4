//! nginx under wrk.
//!
//! With keep-alive wrk runs all the time, and a slice is what nginx counts between two looks: no start, and no connection that is opened,
//! is in it. With `Connection: close` each slice is a wrk of its own, because one alone would run out of ports.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Pid;
use tempfile::TempDir;
use wait4::Wait4;

use super::{Slice, Traffic};
use crate::bench::core::{Core, processor_time};
use crate::bench::wrk::requests;

/// By turns, so that the ports to none of them run out. Not more: together they must stay below net.ipv4.tcp_max_tw_buckets, or the
/// kernel lets go of connections before their end, and what still comes for them is answered with a reset.
const ADDRESSES: [&str; 4] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
const FILE: &str = "small.txt";
const STATUS: &str = "/status";
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
    child: Process,
    port: u16,
    load: Load,
    _folder: TempDir,
}

/// Who asks.
enum Load {
    /// One wrk for all slices, and a connection on which nginx tells how many requests it has answered.
    Steady { wrk: Process, status: TcpStream },
    /// A wrk for each slice, on this core; how many there were.
    Fresh { core: Core, slices: usize },
}

/// A child that is killed when it is dropped.
struct Process(Child);

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
        let mut child = Process(child);
        let [core, wrk_core] = Core::two()?;
        let status = child.listens(port)?;
        core.hold(i32::try_from(child.0.id()).ok().and_then(Pid::from_raw))?;
        let load = if keep_alive {
            let wrk = wrk(wrk_core, ADDRESSES[0], port, "24h", true)?;
            Load::Steady {
                wrk: Process(wrk),
                status,
            }
        } else {
            Load::Fresh {
                core: wrk_core,
                slices: 0,
            }
        };
        Ok(Nginx {
            child,
            port,
            load,
            _folder: folder,
        })
    }
}

impl Process {
    /// Waits until somebody can connect.
    fn listens(&mut self, port: u16) -> Result<TcpStream> {
        let begin = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect((ADDRESSES[0], port)) {
                return Ok(stream);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("nginx ended with {status}");
            }
            ensure!(begin.elapsed() < STARTS_WITHIN, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn processor_time(&self) -> Result<Duration> {
        processor_time(self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may just have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Traffic for Nginx {
    fn slice(&mut self, span: Duration) -> Result<Slice> {
        match &mut self.load {
            Load::Steady { wrk, status } => steady(&self.child, wrk, status, span),
            Load::Fresh { core, slices } => {
                let address = ADDRESSES[*slices % ADDRESSES.len()];
                *slices += 1;
                fresh(&self.child, *core, address, self.port, span)
            }
        }
    }
}

/// What nginx and wrk did between two looks.
fn steady(nginx: &Process, wrk: &mut Process, status: &mut TcpStream, span: Duration) -> Result<Slice> {
    if let Some(status) = wrk.0.try_wait()? {
        bail!("wrk ended with {status}");
    }
    let mut look = || -> Result<(u64, Instant, Duration)> {
        let answered = answered(status)?;
        Ok((
            answered,
            Instant::now(),
            nginx.processor_time()? + wrk.processor_time()?,
        ))
    };
    let (before, begin, used) = look()?;
    std::thread::sleep(span);
    let (after, end, used_then) = look()?;
    Ok(Slice {
        requests: after.saturating_sub(before),
        elapsed: end - begin,
        processor: used_then.saturating_sub(used),
    })
}

/// A wrk from its start to its end.
fn fresh(nginx: &Process, core: Core, address: &str, port: u16, span: Duration) -> Result<Slice> {
    let before = nginx.processor_time()?;
    let mut wrk = wrk(core, address, port, &format!("{}s", span.as_secs().max(1)), false)?;
    let output = wrk.stdout.take().context("wrk has no output")?;
    let text = std::io::read_to_string(output)?;
    let used = wrk.wait4()?;
    ensure!(used.status.success(), "wrk ended with {}", used.status);
    let of_wrk = used.rusage.utime + used.rusage.stime;
    let of_nginx = nginx.processor_time()?.saturating_sub(before);
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

/// wrk with 32 connections, on this core.
fn wrk(core: Core, address: &str, port: u16, duration: &str, keep_alive: bool) -> Result<Child> {
    let mut command = Command::new("wrk");
    command.args(["--connections", "32", "--threads", "1", "--duration", duration]);
    if !keep_alive {
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("http://{address}:{port}/{FILE}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let start = move || -> Result<Child> {
        // A child is kept where the thread is that starts it.
        core.hold_me()?;
        command.spawn().context("wrk")
    };
    std::thread::spawn(start)
        .join()
        .map_err(|_| anyhow!("a thread of the benchmark panicked"))?
}

/// How many requests nginx has answered since it runs.
fn answered(status: &mut TcpStream) -> Result<u64> {
    write!(status, "GET {STATUS} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    // The last line of the body ends with a space and a line's end, and no other does with these words.
    while !text.windows(9).any(|words| words == b"Waiting: ") || !text.ends_with(b"\n") {
        let read = status.read(&mut buffer)?;
        ensure!(read > 0, "nginx closed the connection of its status");
        text.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&text);
    requests_of(&text).with_context(|| format!("nginx says:\n{text}"))
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
    server {{ {listens}root .; location = {STATUS} {{ stub_status; }} }}
}}
"
    )
}

/// The third number below `server accepts handled requests`.
fn requests_of(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    lines.find(|line| line.trim() == "server accepts handled requests")?;
    lines.next()?.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_nginx_says() {
        let text = "HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nActive connections: 33 \nserver accepts handled requests\n 34 34 918273 \nReading: 0 Writing: 33 Waiting: 0 \n";
        assert_eq!(requests_of(text), Some(918_273));
        assert!(requests_of("HTTP/1.1 404 Not Found\r\n\r\n").is_none());
    }
}
