//! Everything that a file and flags say: what the proxy works by, and what only the program around it needs.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ClientLimits, Close, Config, Retry, Upstream};

/// What the guard is told, and what the program that runs it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// For the proxy.
    pub config: Config,
    /// Where it says what happened.
    pub say: Say,
    /// The user to become once the sockets are open: a name or a number.
    pub user: Option<String>,
    /// The group to become; the user's own otherwise.
    pub group: Option<String>,
}

/// Where it is said what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Say {
    /// The access log.
    pub log: LogTo,
    /// Where Prometheus is answered: a loopback address.
    pub metrics: Option<SocketAddr>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output.
    Stdout,
    /// A file, opened to be appended to.
    File(PathBuf),
    /// There is none.
    Nowhere,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            config: Config {
                listen: Vec::new(),
                upstream: Upstream::default(),
                client: ClientLimits::default(),
                close: Close::default(),
                retry: Retry::default(),
                workers: 0,
                proxy_status: false,
            },
            say: Say {
                log: LogTo::Stdout,
                metrics: None,
            },
            user: None,
            group: None,
        }
    }
}
