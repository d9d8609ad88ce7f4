//! The options of `bypeer guard`: one for each key of its file, from the same table.

use std::path::PathBuf;

use bypeer_guard::config::keys::{KEYS, Key};
use bypeer_guard::config::value::Kind;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// What `bypeer guard --help` begins with.
pub(crate) const LONG_ABOUT: &str = "\
A reverse proxy that closes right, beside a server or a client that cannot be changed.

Towards clients: no answer is lost to a reset, closes are announced before they happen, uploads that are refused get to read why, a \
restart loses nothing. Towards the server: no request is sent into a connection that is about to be closed, head and body go in one \
write, an answer is read even after sending failed, and a request is sent again where that is safe, once. What happened is said: a \
line of JSON for each request, Proxy-Status, Prometheus, and findings with the causes of `bypeer explain`.

HTTP/1.0, 1.1 and 2 in front, 1.1 or 2 behind, TLS on both sides, WebSocket and CONNECT. It runs until SIGTERM or Ctrl-C, then \
lets requests finish; another one, a second or more later, ends it at once. SIGHUP reads the file again, SIGUSR2 hands over to a new \
process, SIGUSR1 opens the log again.";

const EXAMPLES: &str = "\
Examples:
  bypeer guard --listen 127.0.0.1:8080 --to http://127.0.0.1:8000
  bypeer guard --listen :443 --certificate chain.pem --key key.pem --to unix:/run/app.sock --user www-data
  bypeer guard --listen :8080 --to http://10.0.0.7 --to http://10.0.0.8 --log /var/log/guard.log --metrics 127.0.0.1:9753
  bypeer guard --config guard.toml --check
  bypeer guard --config guard.toml --client-idle 2m          flags go before the file

docs/guard.md is the manual: each key, the log, the metrics, signals, a unit for systemd, and what it cannot save.";

const EXIT_STATUS: &str = "\
Exit status:
  0  it was told to end, and every request was finished; with --check: all is right
  1  it was told to end, and requests were still running when the time for that was over; with --check: right, with risks
  2  trouble: it could not begin; with --check: something is wrong";

/// `bypeer guard`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 ended well, 1 requests were cut, 2 trouble. `--help` tells more and gives examples.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct Guard {
    /// Read this file (TOML); flags go before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Only read everything, certificates too, and say what would be done; nothing is opened or asked over the network
    #[arg(long)]
    pub check: bool,

    /// What keys are set by flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// Keys that were given on the command line, with their values as text.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub Vec<(&'static Key, String)>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().fold(command, |command, key| command.arg(argument(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0 = KEYS
            .iter()
            .flat_map(|key| {
                let values = matches.get_many::<String>(key.flag).into_iter().flatten();
                values.map(move |value| (key, value.clone()))
            })
            .collect();
        Ok(())
    }
}

fn argument(key: &'static Key) -> Arg {
    let default = match key.default {
        "" => String::new(),
        default => format!(" [{default}]"),
    };
    let many = if key.many { "; can be repeated" } else { "" };
    let range = match key.kind {
        Kind::Duration { .. } | Kind::Size { .. } | Kind::Count { .. } | Kind::Choice(_) => {
            format!("; {}", key.kind.range())
        }
        _ => String::new(),
    };
    let argument = Arg::new(key.flag)
        .long(key.flag)
        .value_name(key.kind.value_name())
        .help(format!("{}{many}{default}", key.about))
        .long_help(format!(
            "{}{many}{default}\n\nIn the file: {}{range}.",
            key.about, key.name
        ))
        .help_heading(heading(key.name))
        .action(if key.many { ArgAction::Append } else { ArgAction::Set })
        .value_parser(ValueParser::from(move |text: &str| {
            key.kind.parse(text).map(|_| text.to_owned())
        }));
    match key.kind {
        // `--upstream-insecure`, `--retry=false`.
        Kind::Bool => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        _ => argument,
    }
}

fn heading(name: &str) -> &'static str {
    match name.split('.').next() {
        Some("listen") => "Listening",
        Some("to" | "upstream") => "The server behind",
        Some("client") => "Clients",
        Some("close") => "Closing",
        Some("retry") => "Sending again",
        Some("log" | "metrics" | "proxy_status") => "Saying what happened",
        _ => "The process",
    }
}
