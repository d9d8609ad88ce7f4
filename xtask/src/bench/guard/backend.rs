//! The server behind all proxies: nginx, which answers at once.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::core::Core;
use crate::process::{Process, free_address};

/// One process of nginx. Dropped, it is killed.
pub struct Backend {
    pub address: SocketAddr,
    _process: Process,
    _folder: tempfile::TempDir,
}

/// Its body has 612 bytes, as nginx's welcome page had.
pub const SMALL: &str = "/small";
/// As many bytes as [`LARGE_BYTES`].
pub const LARGE: &str = "/large";
/// Answers when it has read all of the request's body.
pub const UPLOAD: &str = "/upload";
/// Of a large answer, and of an upload.
pub const LARGE_BYTES: usize = 1 << 20;

impl Backend {
    /// Starts it on a free port, on this core.
    ///
    /// # Errors
    /// When nginx is not installed.
    pub fn start(core: Core) -> Result<Backend> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let address = free_address()?;
        std::fs::write(folder.path().join("large"), vec![b'x'; LARGE_BYTES])?;
        std::fs::write(folder.path().join("nginx.conf"), configuration(address))?;
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut process = Process::start_on(core, command, folder.path())?.alone();
        process.listens(address)?;
        Ok(Backend {
            address,
            _process: process,
            _folder: folder,
        })
    }
}

/// An upload goes on, without its body, to a second server inside of it: `return` alone would answer before the body has come.
fn configuration(address: SocketAddr) -> String {
    let small = "x".repeat(612);
    format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    client_max_body_size 0; client_body_buffer_size 2m;
    server {{
        listen {address} backlog=4096; root .;
        location = {SMALL} {{ return 200 {small}; }}
        location = {UPLOAD} {{ proxy_pass http://unix:inside.sock:; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }}
    }}
    server {{ listen unix:inside.sock; location / {{ return 200 taken; }} }}
}}
"
    )
}
