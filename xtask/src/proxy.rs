//! Reverse proxies: the guard, and those that it is measured beside.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::core::Core;
use crate::process::{Process, free_address};

/// A program that can be a reverse proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Product {
    /// This program, `bypeer guard`.
    Guard(PathBuf),
    Nginx,
    Haproxy,
}

/// One that runs, in front of a server.
pub struct Proxy {
    pub process: Process,
    /// Where it answers.
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Product {
    /// As tables have it.
    pub fn name(&self) -> &'static str {
        match self {
            Product::Guard(_) => "guard",
            Product::Nginx => "nginx",
            Product::Haproxy => "HAProxy",
        }
    }

    /// Its version, in its own words.
    pub fn version(&self) -> String {
        let (program, argument) = match self {
            Product::Guard(binary) => (binary.as_path(), "--version"),
            Product::Nginx => (Path::new("nginx"), "-v"),
            Product::Haproxy => (Path::new("haproxy"), "-v"),
        };
        let Ok(output) = Command::new(program).arg(argument).output() else {
            return format!("no {}", self.name());
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("nginx version: ")
            .split(" 20")
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Starts it on a free port: one worker, connections to the server kept, nothing logged, nothing on disk.
    ///
    /// # Errors
    /// When it is not installed, or does not listen.
    pub fn start(&self, server: SocketAddr, core: Option<Core>) -> Result<Proxy> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let address = free_address()?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        let mut command;
        match self {
            Product::Guard(binary) => {
                let file = write("guard.toml", GUARD.to_owned())?;
                command = Command::new(binary);
                command.args([
                    "guard",
                    "--listen",
                    &address.to_string(),
                    "--to",
                    &format!("http://{server}"),
                ]);
                command.arg("--config").arg(file);
            }
            Product::Nginx => {
                let file = write("nginx.conf", nginx(address, server))?;
                command = Command::new("nginx");
                command
                    .arg("-p")
                    .arg(folder.path())
                    .arg("-c")
                    .arg(file)
                    .args(["-e", "stderr"]);
            }
            Product::Haproxy => {
                let file = write("haproxy.cfg", haproxy(address, server))?;
                command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(file);
            }
        }
        let process = match core {
            Some(core) => Process::start_on(core, command, folder.path()),
            None => Process::start(command.stdin(std::process::Stdio::null()), folder.path()),
        };
        let mut process = process?.alone();
        process.listens(address)?;
        Ok(Proxy {
            process,
            address,
            _folder: folder,
        })
    }
}

/// One worker, as the others have.
const GUARD: &str = "workers = 1\n";

/// Bodies pass through as they come. `Connection: ""` and version 1.1 keep connections to the server.
fn nginx(address: SocketAddr, server: SocketAddr) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 95s; client_max_body_size 0; tcp_nopush on;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    upstream server {{ server {server}; keepalive 64; keepalive_requests 1000000000; }}
    server {{ listen {address} backlog=4096; location / {{ proxy_pass http://server; }} }}
}}
"
    )
}

/// Connections to the server are kept and shared by default.
fn haproxy(address: SocketAddr, server: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 95s
    timeout server 95s
    http-reuse always
listen all
    bind {address} backlog 4096
    server server {server}
"
    )
}
