//! A server and a client meet: directly, or with a proxy between them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::account::Account;
use crate::process::{Process, free_address};
use crate::proxy::Product;
use crate::wire::Lab;

/// The server's port where it stands behind a guard on the same host of the lab, and the guard's beside the client. Nobody else is there.
const INNER: &str = "127.0.0.1:9000";

/// Where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Loopback,
    /// In two network namespaces, with the lab's wire between them: this long one way.
    Wire(&'static str),
}

/// What is between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// A proxy on the server's host.
    BesideServer(Product),
    /// A proxy on the client's host.
    BesideClient(Product),
}

/// Two programs, as lines for the shell: `{host}`, `{port}`, `{addr}` are where the server is, for the client the proxy if there is one.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    pub place: Place,
    pub server: &'a str,
    pub client: String,
    /// Written to the folder that both work in.
    pub files: &'a [(&'static str, &'static str)],
}

impl Pair<'_> {
    /// Starts the server, the proxy, the client, and gives what the client printed.
    ///
    /// # Errors
    /// When one of them cannot be started or the client does not count all of its requests.
    pub fn meet(&self, binary: &Path, way: &Way) -> Result<Account> {
        let said = match self.place {
            Place::Loopback => self.on_loopback(way)?,
            Place::Wire(delay) => self.over_the_wire(binary, delay, way)?,
        };
        account(&said)
    }

    fn on_loopback(&self, way: &Way) -> Result<String> {
        let mut server = Server::start(self.server, self.files)?;
        let proxy = match way {
            Way::Direct => None,
            Way::BesideServer(product) | Way::BesideClient(product) => Some(product.start(&[server.address], None)?),
        };
        let address = proxy.as_ref().map_or(server.address, |proxy| proxy.address);
        let said = ask(server.folder.path(), &self.client, address).with_context(|| {
            let proxy = proxy.as_ref().map_or_else(String::new, |proxy| proxy.process.said());
            format!("the server said: {}\nthe proxy said: {proxy}", server.process.said())
        })?;
        ensure!(
            server.process.ends(std::time::Duration::ZERO)?.is_none(),
            "the server has ended"
        );
        Ok(said)
    }

    fn over_the_wire(&self, binary: &Path, delay: &'static str, way: &Way) -> Result<String> {
        let lab = Lab::new(binary, delay)?;
        write(lab.folder(), self.files)?;
        match way {
            Way::Direct => lab.meet(self.server, &self.client),
            Way::BesideServer(product) => {
                let proxy = product.command(lab.folder(), "{addr}", &[INNER.to_owned()])?;
                let server = at(self.server, INNER);
                lab.meet(&format!("{server} & {} exec {proxy}", until_it_listens()), &self.client)
            }
            Way::BesideClient(product) => {
                let proxy = product.command(lab.folder(), INNER, &["{addr}".to_owned()])?;
                let client = at(&self.client, INNER);
                // The lab's line for the client goes on after it with what it prints.
                let all = format!(
                    "{{ {proxy} & }} > proxy.log 2>&1; proxy=$!; {} {{ {client}; kill $proxy; }}",
                    until_it_listens()
                );
                lab.meet(self.server, &all)
            }
        }
    }
}

/// A server on a free port of loopback.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Server {
    /// Starts it in a folder with these files.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(line: &str, files: &[(&str, &str)]) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        write(folder.path(), files)?;
        let address = free_address()?;
        let process = Server::again(line, folder.path(), address)?;
        Ok(Server {
            process,
            address,
            folder,
        })
    }

    /// Another process of it, in the same place.
    ///
    /// # Errors
    /// The same.
    pub fn again(line: &str, folder: &Path, address: SocketAddr) -> Result<Process> {
        let mut process = Process::start(
            &mut shell(folder, &format!("exec {}", at(line, &address.to_string()))),
            folder,
        )?;
        process.listens(address)?;
        Ok(process)
    }
}

/// What a client prints.
///
/// # Errors
/// When it fails.
pub fn ask(folder: &Path, line: &str, address: SocketAddr) -> Result<String> {
    let line = at(line, &address.to_string());
    let output = shell(folder, &line).output().with_context(|| line.clone())?;
    ensure!(
        output.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Reads what a client printed.
///
/// # Errors
/// When that is not an account of all requests.
pub fn account(said: &str) -> Result<Account> {
    let account: Account = serde_json::from_str(said).with_context(|| format!("the client said {said:?}"))?;
    ensure!(account.is_whole(), "the client lost count: {account:?}");
    Ok(account)
}

fn shell(folder: &Path, line: &str) -> Command {
    let mut command = Command::new("sh");
    // Where ./test installs gunicorn.
    let own = crate::bypeer::root().join("target/python/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{}", own.display()));
    command.args(["-c", line]).current_dir(folder).stdin(Stdio::null());
    command
}

fn write(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Fills in an address with its port.
fn at(line: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    line.replace("{addr}", address)
        .replace("{host}", host)
        .replace("{port}", port)
}

/// For the shell: waits until somebody listens at the inner address.
fn until_it_listens() -> String {
    let (host, port) = INNER.rsplit_once(':').unwrap_or_default();
    format!(
        "until python3 -c \"import socket; socket.create_connection((\\\"{host}\\\", {port})).close()\" 2>/dev/null; do sleep 0.05; done;"
    )
}

/// The Go client, built.
///
/// # Errors
/// When Go is not installed or does not build it.
pub fn build_go_client(folder: &Path) -> Result<PathBuf> {
    let source = folder.join("client.go");
    fs::write(&source, include_str!("programs/client.go"))?;
    let client = folder.join("client");
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&client)
        .arg(&source)
        .current_dir(folder)
        .output()
        .context("go build")?;
    ensure!(
        output.status.success(),
        "the client cannot be built: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(client)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_filled_in() {
        assert_eq!(
            at("serve {host} {port}; ask http://{addr}/", "[::1]:80"),
            "serve [::1] 80; ask http://[::1]:80/"
        );
    }

    #[test]
    fn an_account_is_of_all_requests() {
        let said = r#"{"requests": 3, "right": 2, "lost": {"EOF": 1}, "refused": {}}"#;
        assert_eq!(account(said).unwrap().right, 2);
        assert!(account(&said.replace("3", "4")).is_err());
        assert!(account("").is_err());
    }
}
