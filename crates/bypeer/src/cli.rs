//! The table of verbs and options: help, completions and manual pages are made from it.
// Doc comments are help texts here, and IPv6 endpoints stand in brackets.
#![allow(rustdoc::broken_intra_doc_links)]

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use bypeer_report::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::causes::arguments::CausesArguments;
use crate::chain::arguments::ChainArguments;
use crate::guard::arguments::Guard;
use crate::lab::arguments::Lab;
use crate::probe::arguments::Probe;
use crate::watch::arguments::Watch;
use crate::{chain, guard, lab, output, probe, watch};

const EXIT_STATUS: &str = "\
Exit status:
  0  nothing found: every connection ended well, or was harmless, or could not be judged
  1  findings among those asked for, undecided ones included, harmless ones not
  2  trouble: an input could not be read or holds no TCP, or what was asked for is not in it";

const ABOUT: &str = "Says why TCP connections died: who reset them, why, what was lost, and what to change";

const LONG_ABOUT: &str = "\
\"Connection reset by peer\": by whom exactly, why, what was lost, and what to change, with proof.

`explain` reads packet captures and explains the end of every TCP connection in them; it changes nothing and sends \
nothing. `watch` tells of this machine's connections as they die, and which line of which program did it. `probe` asks a \
server how it closes, and says what its clients must be set to; `chain` finds idle timeouts that are the wrong way round. \
`guard` is a reverse proxy that prevents what can be prevented from beside a server or a client. `lab` makes each cause happen on this \
machine's kernel, in network namespaces of its own, and measures what helps.";

const EXAMPLES: &str = "\
Examples:
  bypeer explain                            the capture command that you need
  bypeer explain web.pcap                   explain a capture
  tcpdump -U -w - tcp | bypeer explain -    explain connections as they end
  sudo bypeer watch                         explain the resets of this machine as they happen
  bypeer probe http://127.0.0.1:8000/       what a server's clients must be set to
  bypeer chain client=90 alb=60 nginx=75    whether idle timeouts are in the right order
  bypeer guard --listen :8080 --to http://127.0.0.1:8000    keep answers from being lost
  bypeer causes unread-request-body         the manual page of a cause";

const EXPLAIN_LONG: &str = "\
Explains why the connections in a capture died.

Reads pcap and pcapng, plain or compressed with gzip or Zstandard, from files or from a pipe (-). Several files are read \
as one rotated capture, in the order of their first packets. Findings are grouped by cause and server, worst first; each \
group proves itself with the packets of one connection and names the others. Every connection is accounted for at the end.

From a pipe, each finding is printed in one line as soon as its connection has ended; the grouped report comes at the end \
of the input or after Ctrl-C.

Without FILE it prints the capture command that you need.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  bypeer explain web.pcap
  bypeer explain /var/tmp/ring.pcap*
  tcpdump -i any -U -w - 'tcp or icmp or icmp6' | bypeer explain -
  bypeer explain web.pcap --connection 5
  bypeer explain web.pcap --connection 10.0.0.7:49802-10.0.0.9:8765
  bypeer explain web.pcap --error 'read tcp 10.0.0.7:49802->10.0.0.9:8765: read: connection reset by peer'
  bypeer explain web.pcap --around 13:04:05 --within 2
  bypeer explain both-ends.pcapng --interface server
  bypeer explain web.pcap --format json | jq 'select(.cause == \"silent-drop\")'";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "bypeer",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = "`bypeer help VERB` and `--help` tell more.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"),
    max_term_width = 100,
    disable_help_subcommand = false
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// When to use colours
    ///
    /// `auto` colours what goes to a terminal, unless NO_COLOR is set or TERM is dumb.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Explain why the connections in a capture died
    #[command(long_about = EXPLAIN_LONG)]
    Explain(Explain),

    /// Tell of every reset on this machine as it happens, and who did it
    #[command(long_about = watch::arguments::LONG_ABOUT)]
    Watch(Watch),

    /// Ask a server how it keeps, closes and resets connections, and what clients must be set to
    #[command(long_about = probe::arguments::LONG_ABOUT)]
    Probe(Box<Probe>),

    /// Make a cause happen on this machine, show it, measure what helps
    #[command(long_about = lab::arguments::LONG_ABOUT)]
    Lab(Lab),

    /// Check that the idle timeouts along a row of hops are in the right order
    #[command(long_about = chain::arguments::LONG_ABOUT)]
    Chain(ChainArguments),

    /// Keep answers from being lost: a reverse proxy that closes right
    #[command(long_about = guard::arguments::LONG_ABOUT)]
    Guard(Box<Guard>),

    /// List the causes, or print the manual page of one
    Causes(CausesArguments),

    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  bypeer completions bash > ~/.local/share/bash-completion/completions/bypeer")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Print the program's manual page (roff)
    #[command(after_help = "Examples:\n  bypeer man | man -l -\n  bypeer man lab run > bypeer-lab-run.1")]
    Man {
        /// The verb whose page to print, as `explain` or `lab run`; without, the program's
        #[arg(value_name = "VERB")]
        page: Vec<String>,
    },
}

/// `bypeer explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 nothing found, 1 findings, 2 trouble. `--help` tells more and gives examples.",
    after_long_help = format!("{EXPLAIN_EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct Explain {
    /// Captures, or - for standard input; without any, how to capture is printed
    ///
    /// Several files are read as one rotated capture, in the order of their first packets. Without any, the exit status is 2.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// How to print the findings
    ///
    /// json: a bypeer.finding/1 record a finding, and a last bypeer.summary/1.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Also show harmless findings
    ///
    /// These are resets by which nobody lost anything. JSON always contains them.
    #[arg(long)]
    pub all: bool,

    /// Only findings of this cause; can be repeated
    #[arg(long, value_name = "ID", help_heading = "Selection")]
    pub cause: Vec<String>,

    /// Only this connection: a tcp.stream number, or two ends A:PORT-B:PORT
    ///
    /// The number is Wireshark's. The ends come in any order, as in 10.0.0.7:49802-10.0.0.9:8765 or
    /// [2001:db8::7]:49802-[2001:db8::9]:8765. If the connection ended well, that is said.
    #[arg(long, value_name = "WHICH", help_heading = "Selection", conflicts_with = "error")]
    pub connection: Option<String>,

    /// Only the connection that an error line from a log speaks of
    ///
    /// Paste the line as it stands in the log: of Go, nginx, HAProxy, Node, Python, Java, .NET, curl or another. Addresses in
    /// it pick the connections; a time, the kind of failure (reset, refused, closed early, broken pipe, timeout) and a path
    /// narrow them further, each unless nothing would be left. A line that tells the kind alone picks by that. What the line
    /// does not tell is said.
    #[arg(long, value_name = "LINE", help_heading = "Selection", allow_hyphen_values = true)]
    pub error: Option<String>,

    /// Only connections that ended, or lived, around a time
    ///
    /// The time is RFC 3339 (2026-01-02T13:04:05Z), a date and time in this machine's zone (2026-01-02 13:04:05), seconds
    /// since the epoch, or HH:MM:SS of the capture's day in this machine's zone (TZ=UTC in the environment sets another).
    #[arg(long, value_name = "TIME", help_heading = "Selection")]
    pub around: Option<String>,

    /// Only what this interface of the capture saw: a name, or a number
    ///
    /// A pcapng file may hold several interfaces, each with a name; numbers are Wireshark's, from 0, and what is all digits is
    /// a number. Classic pcap has interface 0 alone, without a name. Packets and streams (tcp.stream) keep the numbers that
    /// they have in the whole file, as in Wireshark.
    ///
    /// Without this option, connections that several interfaces saw are judged by the one that saw their first packet, which
    /// is most often the client's; the copies that others saw are left out, and the summary says so.
    #[arg(long, value_name = "NAME-OR-NUMBER", help_heading = "Selection")]
    pub interface: Option<String>,

    /// Seconds that --around, or the time in --error, may be off
    #[arg(long, value_name = "SECONDS", help_heading = "Selection", default_value_t = 5.0)]
    pub within: f64,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A report for people
    Text,
    /// JSON Lines, for programs
    Json,
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Prints a shell's completion script.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    let mut command = without_hidden(&Arguments::command()).version(env!("CARGO_PKG_VERSION"));
    clap_complete::generate(shell, &mut command, "bypeer", &mut script);
    print(&script)
}

/// What completions offer: clap hides from help alone what is hidden.
fn without_hidden(command: &clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    clap::Command::new(command.get_name().to_owned())
        .about(about)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(
            command
                .get_subcommands()
                .filter(|verb| !verb.is_hide_set())
                .map(without_hidden),
        )
}

/// Prints the manual page of the program or of one verb.
pub(crate) fn manual_page(verb: &[String]) -> anyhow::Result<Exit> {
    let mut command = Arguments::command();
    command.build();
    let mut page = &command;
    for word in verb {
        let found = page.find_subcommand(word).filter(|verb| !verb.is_hide_set());
        page = found.with_context(|| {
            let verbs = page.get_subcommands().filter(|verb| !verb.is_hide_set());
            let verbs: Vec<&str> = verbs.map(clap::Command::get_name).collect();
            match verbs.as_slice() {
                [] => format!("{} has no verbs, and so no {word:?}", page.get_name()),
                _ => format!("no verb is called {word:?}; there are {}", verbs.join(", ")),
            }
        })?;
    }
    let mut roff = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut roff)?;
    print(&roff)
}

fn print(bytes: &[u8]) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(Exit::Nothing)
}
