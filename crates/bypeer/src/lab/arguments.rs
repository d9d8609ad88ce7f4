//! The options of `bypeer lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Format;

/// What `bypeer lab --help` begins with.
pub(crate) const LONG_ABOUT: &str = "\
Makes a cause happen on this machine's kernel, shows it, and measures what helps.

Client and server run in network namespaces of their own, joined by a wire that delays, drops, holds and forges packets as \
the scenario says and records what each end saw. Nothing touches the machine's own network, and nothing is left behind. \
It needs to be root, or a kernel that lets users make namespaces; as root it also reads the kernel's reason for each reset.";

const EXAMPLES: &str = "\
Examples:
  bypeer lab list                               what there is
  bypeer lab show unread-request-body           one round, packet by packet, explained
  bypeer lab run unread-request-body --rounds 100
  bypeer lab run unread-request-body --fixes all --rounds 50
  bypeer lab run --all
  bypeer lab run unread-request-body --server 'gunicorn --bind {addr} app'
  bypeer lab run my-scenario.toml --keep out
  bypeer lab story 4                            an incident: what of it each scenario shows

docs/lab.md is the guide to the lab, docs/scenarios.md tells how to write a scenario.";

const EXIT_STATUS: &str = "\
Exit status:
  0  every scenario came true in every round it must; no finding was wrong
  1  a deterministic scenario did not show its cause in a round, a scenario never did, or a finding was wrong
  2  trouble: a scenario could not be run";

/// `bypeer lab`.
#[derive(Debug, Args)]
#[command(
    after_help = "`bypeer help lab VERB` tells more.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct Lab {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,

    /// This process is the lab's own, in its namespaces; the number tells it from others.
    #[arg(long, hide = true, global = true, value_name = "NUMBER")]
    pub inside: Option<u32>,

    /// This process is not the first one there.
    #[arg(long, hide = true, global = true, requires = "inside")]
    pub staged: bool,
}

/// The verbs of the lab.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the scenarios, with their fixes and the real software that each can run with
    List {
        /// Only scenarios of this cause, or the one with this name
        #[arg(value_name = "SCENARIO")]
        which: Option<String>,

        /// How to print
        ///
        /// json: a bypeer.lab-scenario/1 record a scenario.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },

    /// Run scenarios, count what came true, and hold explain to it
    #[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
    Run(Run),

    /// Run one round, and print it packet by packet with what hosts and kernels did, explained
    #[command(
        after_help = "Examples:\n  bypeer lab show closed-port\n  bypeer lab show unread-request-body --fix read-the-body"
    )]
    Show(Show),

    /// Tell one of the five incidents by the scenarios that show it
    ///
    /// Of the fourth, which was never explained, it tells each mechanism that could have done it, and which of the incident's facts it fits.
    #[command(after_help = "Examples:\n  bypeer lab story 1\n  bypeer lab story 4 --run")]
    Story(StoryArguments),

    /// Print a script that a server loads, to name what is about to bring an answer to the wrong client
    #[command(
        after_help = "Example:\n  bypeer lab tripwire node > tripwire.js; node -r ./tripwire.js server.js\n\ndocs/misdelivered.md tells what its lines mean."
    )]
    Tripwire {
        /// What the server runs on
        #[arg(value_enum)]
        runtime: Runtime,
    },

    /// Be an actor: read a job from standard input and do it.
    #[command(hide = true)]
    Actor,
}

/// `bypeer lab story`.
#[derive(Debug, Args)]
pub struct StoryArguments {
    /// Its number, from 1 to 5
    #[arg(value_name = "NUMBER")]
    pub number: u8,

    /// Also run each scenario once, and say what came of it
    #[arg(long)]
    pub run: bool,

    /// Write what was recorded into this folder, as `lab run --keep` does
    #[arg(long, value_name = "DIR", requires = "run")]
    pub keep: Option<PathBuf>,

    /// How to print
    ///
    /// json: a bypeer.lab-scenario/1 record a scenario; with --run, the records of `lab run` instead.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What a server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Node 12 to 20
    Node,
}

/// What `run` and `show` have in common.
#[derive(Debug, Args)]
pub struct Change {
    /// Set a value of the scenario's [set] table; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,

    /// Run this program as the server, in place of the scenario's
    ///
    /// The shell starts it in this folder, on the server's host. {addr}, {host} and {port} are replaced by where it must listen,
    /// {dir} by a temporary folder that is the round's own. The round begins when something listens there. What the scenario
    /// claims of its own server's behaviour may not hold for yours: it is said.
    #[arg(long, value_name = "COMMAND")]
    pub server: Option<String>,

    /// Run this program as the client, in place of the scenario's
    ///
    /// The shell starts it in this folder, on the client's host. {addr}, {host} and {port} are replaced by where the server
    /// listens. It failed when its exit status is not 0.
    #[arg(long, value_name = "COMMAND")]
    pub client: Option<String>,

    /// Write what was recorded into this folder
    ///
    /// Per round: capture.pcapng (one interface a host), CLIENT.pcapng and so on, round.json (the accounts of actors and
    /// kernels, and the truth). Captures hold what programs of yours sent.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// Seed of the wire's randomness; the second round's is one more
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// `bypeer lab run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Scenarios or causes by name, or scenario files
    #[arg(value_name = "SCENARIO", required_unless_present = "all")]
    pub which: Vec<String>,

    /// Every built-in scenario
    #[arg(long, conflicts_with = "which")]
    pub all: bool,

    /// How often each
    ///
    /// 10 unless said, 1 with --all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: Option<u32>,

    /// Also with these changes, to measure them: `all`, or names as `lab list` shows them
    #[arg(long, value_name = "all|NAME,…", value_delimiter = ',')]
    pub fixes: Vec<String>,

    /// With real software in a role: `all`, or names as `lab list` shows them
    #[arg(long, value_name = "all|NAME,…", value_delimiter = ',', conflicts_with_all = ["server", "client", "fixes"])]
    pub real: Vec<String>,

    #[command(flatten)]
    pub change: Change,

    /// How to print
    ///
    /// json: a bypeer.lab-round/1 record a round, a bypeer.lab/1 record a scenario and change.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `bypeer lab show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A scenario or cause by name, or a scenario file
    #[arg(value_name = "SCENARIO")]
    pub which: String,

    /// With this change
    #[arg(long, value_name = "NAME")]
    pub fix: Option<String>,

    /// With this real software
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "client"])]
    pub real: Option<String>,

    #[command(flatten)]
    pub change: Change,

    /// Explain this host's capture
    #[arg(long, value_name = "HOST", default_value = "client")]
    pub at: String,
}
