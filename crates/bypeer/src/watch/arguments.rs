//! The options of `bypeer watch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bypeer_watch::metrics::loopback_address;
use clap::{Args, ValueEnum};

use crate::cli::Format;
use crate::duration::duration;

/// What `bypeer watch --help` begins with.
pub(crate) const LONG_ABOUT: &str = "\
Tells of every reset on this machine as it happens: by which process, by which call and where in its program, and why.

The kernel knows the reason for each reset and what its socket had not read, not sent and not had acknowledged. Where the \
caller may load eBPF (root, or CAP_BPF with CAP_PERFMON), a small program in the kernel remembers who closed what, and tells of \
a connection only when it dies; healthy ones cost next to nothing. Elsewhere the kernel is asked by ways that need less, and \
what stays unknown is said: `--check` lists what this kernel and this caller allow. Nothing is stopped, nothing is sent, and \
nothing is left behind.

It runs until Ctrl-C, or for as long as --for says; then comes a report, grouped by cause.";

const EXAMPLES: &str = "\
Examples:
  sudo bypeer watch                             every reset on this machine, until Ctrl-C
  bypeer watch --check                          what can be had here, and what is missing
  sudo bypeer watch --port 8000 --for 60s       of one port, for a minute
  sudo bypeer watch --payload                   also read the heads of requests and responses, to tell look-alikes apart
  sudo bypeer watch --format json | jq .        JSON Lines, as `explain` writes them
  sudo bypeer watch --write dead.pcapng         also the last packets of each dead connection, without payload
  sudo bypeer watch --metrics 127.0.0.1:9753    counts by cause for Prometheus

docs/watch.md is the guide: what each source tells, what it costs, and what it looks like.";

const EXIT_STATUS: &str = "\
Exit status:
  0  nothing was found, or what was found is harmless
  1  findings among those asked for, undecided and unexplained ones included
  2  trouble: nothing could be listened to, or an option cannot be met";

/// `bypeer watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 nothing found, 1 findings, 2 trouble. `--help` tells more and gives examples.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct Watch {
    /// Only say what this kernel and this caller allow, what is missing, and what is lost by it
    #[arg(long)]
    pub check: bool,

    /// Stop after this long, as in 60s, 5m or 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub how_long: Option<Duration>,

    /// How to print
    ///
    /// text: a line for each connection that died, and a report at the end. json: a bypeer.finding/1 record each (or
    /// bypeer.unexplained/1), and a last bypeer.watch-summary/1.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Also show harmless findings
    ///
    /// These are resets by which nobody lost anything. JSON always contains them.
    #[arg(long)]
    pub all: bool,

    /// Where to listen
    ///
    /// bpf tells most. tracefs (root) tells the kernel's reasons. sock-diag needs no privilege and tells how much each socket of this
    /// network namespace had not read and not sent when it died.
    #[arg(long, value_enum, default_value_t = SourceChoice::Auto, value_name = "SOURCE", help_heading = "Listening")]
    pub source: SourceChoice,

    /// Also record each socket's reads and writes, and descriptors that change hands
    ///
    /// Costs some 10 % on small requests. Finds an answer that is written to another connection than its request came from.
    #[arg(long, help_heading = "Listening")]
    pub calls: bool,

    /// Also read the first bytes of requests and responses (implies --calls)
    ///
    /// Heads tell where requests end: an unread body from an unread next request. Bodies, queries, cookies and credentials are not
    /// kept; methods, paths and status codes are shown. With --write, the packets keep their payload: the file then holds everything
    /// that was sent.
    #[arg(long, help_heading = "Listening")]
    pub payload: bool,

    /// Keep all privileges
    ///
    /// Otherwise everything is given up once the kernel part is loaded, but for what it takes to read of other users' processes in /proc.
    #[arg(long, help_heading = "Listening")]
    pub keep_privileges: bool,

    /// Only connections with this port at either end; can be repeated
    #[arg(long, value_name = "PORT", help_heading = "Selection")]
    pub port: Vec<u16>,

    /// Only sockets of this process; can be repeated
    #[arg(long, value_name = "PID", help_heading = "Selection")]
    pub pid: Vec<u32>,

    /// Only sockets of processes whose cgroup's path, container or pod contains this
    #[arg(long, value_name = "TEXT", help_heading = "Selection")]
    pub cgroup: Vec<String>,

    /// Only findings of this cause; can be repeated
    #[arg(long, value_name = "ID", help_heading = "Selection")]
    pub cause: Vec<String>,

    /// Write the last packets of each dead connection to this pcapng file
    ///
    /// At most 64 packets a connection, their payload zeroed unless --payload, with the finding as a comment. Needs CAP_NET_RAW.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub write: Option<PathBuf>,

    /// Serve counts by cause to Prometheus on this loopback address, or a name that stands for one
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Output", value_parser = loopback_address)]
    pub metrics: Option<SocketAddr>,
}

/// `--source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceChoice {
    /// The best that may be had
    Auto,
    /// A program in the kernel
    Bpf,
    /// The kernel's trace of resets
    Tracefs,
    /// The kernel's notes of destroyed sockets
    SockDiag,
}
