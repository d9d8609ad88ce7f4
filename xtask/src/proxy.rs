//! Reverse proxies: the guard, and those that it is measured beside.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::bench::core::Core;
use crate::process::{Process, free_address};

/// A program that can be a reverse proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Product {
    /// `bypeer guard`.
    Guard(Guard),
    Nginx,
    Haproxy,
}

/// The guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub binary: PathBuf,
    /// Its file.
    pub settings: &'static str,
}

/// As the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    Guard,
    Nginx,
    Haproxy,
}

impl Name {
    /// The guard is this program, with nothing set.
    pub fn product(self, guard: &Path) -> Product {
        match self {
            Name::Guard => Product::Guard(Guard {
                binary: guard.to_path_buf(),
                settings: "",
            }),
            Name::Nginx => Product::Nginx,
            Name::Haproxy => Product::Haproxy,
        }
    }
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
            Product::Guard(guard) => (guard.binary.as_path(), "--version"),
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

    /// Starts it on a free port; nginx and HAProxy with one worker, connections to the server kept, nothing logged, nothing on disk.
    ///
    /// # Errors
    /// When it is not installed, or does not listen.
    pub fn start(&self, servers: &[SocketAddr], core: Option<Core>) -> Result<Proxy> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let address = free_address()?;
        let mut command = Command::new("sh");
        let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        let line = self.command(folder.path(), &address.to_string(), &servers)?;
        command.args(["-c", &format!("exec {line}")]);
        let process = match core {
            Some(core) => Process::start_on(core, command, folder.path()),
            None => Process::start(command.stdin(Stdio::null()), folder.path()),
        };
        let mut process = process?.alone();
        process.listens(address)?;
        Ok(Proxy {
            process,
            address,
            _folder: folder,
        })
    }

    /// A line for the shell that becomes the proxy, once its files are written to this folder, from where it is to be started. All
    /// addresses with their ports; they may be names that somebody else replaces, as the lab does with `{addr}`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn command(&self, folder: &Path, address: &str, servers: &[String]) -> Result<String> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        let each = |line: &dyn Fn(usize, &str) -> String| -> String {
            let lines = servers.iter().enumerate().map(|(number, server)| line(number, server));
            lines.collect()
        };
        // nginx and HAProxy: what the command line replaces cannot stand in a file.
        Ok(match self {
            Product::Guard(Guard { binary, settings }) => {
                write("guard.toml", settings)?;
                let to = each(&|_, server| format!(" --to http://{server}"));
                format!("{} guard --listen {address}{to} --config guard.toml", binary.display())
            }
            Product::Nginx => {
                write("nginx.conf", NGINX)?;
                let servers = each(&|_, server| format!("server {server}; "));
                format!(
                    "sh -c 'echo \"listen {address} backlog=4096;\" > listen.conf; echo \"{servers}\" > servers.conf; \
                     exec nginx -p . -c nginx.conf -e stderr'"
                )
            }
            Product::Haproxy => {
                let lines = each(&|number, _| format!("    server server{number} \"$SERVER{number}\"\n"));
                write("haproxy.cfg", &format!("{HAPROXY}{lines}"))?;
                let servers = each(&|number, server| format!(" SERVER{number}={server}"));
                format!("env LISTEN={address}{servers} haproxy -db -f haproxy.cfg")
            }
        })
    }
}

/// Bodies pass through as they come. `Connection: ""` and version 1.1 keep connections to the server.
const NGINX: &str = "\
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 16384; }
http {
    access_log off; keepalive_requests 1000000000; keepalive_timeout 95s; client_max_body_size 0; tcp_nopush on;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    upstream server { include servers.conf; keepalive 64; keepalive_requests 1000000000; }
    server { include listen.conf; location / { proxy_pass http://server; } }
}
";

/// Connections to the server are kept and shared by default.
const HAPROXY: &str = "\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 95s
    timeout server 95s
    http-reuse always
listen all
    bind \"$LISTEN\" backlog 4096
";
