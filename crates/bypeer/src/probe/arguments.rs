//! The options of `bypeer probe`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bypeer_diagnose::facts::software_by_id;
use clap::Args;

use crate::cli::Format;
use crate::duration::wait;

/// What `bypeer probe --help` begins with.
pub(crate) const LONG_ABOUT: &str = "\
Asks a server of your own how it keeps, closes and resets connections, and says what its clients must be set to.

It opens some tens of connections of its own, side by side, times every byte, FIN and reset on them, and reports what can \
lose a request or an answer: idle limits, closes that nobody announces, answers cut off by a reset, and more. Then it prints the \
settings that fit: for the clients people use, as lines to paste, and for the server's product.

A probe is for servers that one may test. It says what it will do before it does it (--plan only says it), names itself in \
User-Agent, and does what is heavier than a client's everyday only when asked (--also). Requests with a body go to a path that \
nobody has, unless another is given. The whole takes one wait for the server's idle limit.";

const EXAMPLES: &str = "\
Examples:
  bypeer probe http://127.0.0.1:8000/health
  bypeer probe https://shop.example/ --plan
  bypeer probe https://10.0.0.7/ --server-name shop.example --cacert ca.pem
  bypeer probe http://app/ --unix-socket /run/app.sock
  bypeer probe http://127.0.0.1:8000/ --only idle-timeout --longest-wait 5m
  bypeer probe http://127.0.0.1:8000/ --save habits.json          keep what was measured
  bypeer probe http://127.0.0.1:8000/ --against habits.json       exit 1 when the server changed its habits

docs/probe.md is the guide: what each check asks, and what the answers mean.";

const EXIT_STATUS: &str = "\
Exit status:
  0  nothing that loses data, or only what a client's settings avoid; with --against: no habit changed
  1  faults: the server loses data however its clients are set; with --against: a habit changed or was not to be measured
  2  trouble: no connection, no HTTP, or an option cannot be met";

/// `bypeer probe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 no faults, 1 faults, 2 trouble. `--help` tells more and gives examples.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct Probe {
    /// The server and the resource to ask for, as http://host:port/path or https://host/path
    #[arg(value_name = "URL", required_unless_present_any = ["list", "manual"])]
    pub url: Option<String>,

    /// Only say what would be done
    #[arg(long)]
    pub plan: bool,

    /// List the checks
    #[arg(long)]
    pub list: bool,

    /// Print the manual of a check
    #[arg(long, value_name = "CHECK")]
    pub manual: Option<String>,

    /// How to print
    ///
    /// text: the card. json: a bypeer.finding/1 record for each connection of the probe that died, and a last bypeer.probe/1.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Show the settings of this client in full, as `requests` or `nginx`, or of `all`; can be repeated
    ///
    /// Without, those that fit on a line are shown. JSON always has all.
    #[arg(long, value_name = "NAME", value_parser = client)]
    pub client: Vec<Client>,

    /// Keep the card in this file, as JSON, to compare with later
    #[arg(long, value_name = "FILE", help_heading = "Comparing")]
    pub save: Option<PathBuf>,

    /// Compare with a card that --save kept; the exit status is 1 when a habit changed
    #[arg(long, value_name = "FILE", help_heading = "Comparing")]
    pub against: Option<PathBuf>,

    /// Write the probe's own packets to this pcapng file, payload and all
    ///
    /// Needs CAP_NET_RAW. Without TLS the file holds everything that was sent, secrets of --header too.
    #[arg(long, value_name = "FILE", help_heading = "Comparing")]
    pub write: Option<PathBuf>,

    /// Only this check; can be repeated
    #[arg(long, value_name = "CHECK", help_heading = "Selection")]
    pub only: Vec<String>,

    /// This check too, which is not done by default; can be repeated
    #[arg(long, value_name = "CHECK", help_heading = "Selection")]
    pub also: Vec<String>,

    /// Not this check; can be repeated
    #[arg(long, value_name = "CHECK", help_heading = "Selection")]
    pub without: Vec<String>,

    /// Connect to this host instead of the URL's, as HOST, HOST:PORT or [IPV6]:PORT
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        conflicts_with = "unix_socket",
        help_heading = "Connecting"
    )]
    pub connect: Option<String>,

    /// Connect to this unix socket
    #[arg(long, value_name = "PATH", help_heading = "Connecting")]
    pub unix_socket: Option<PathBuf>,

    /// Trust the certificate authorities in this PEM file, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "Connecting")]
    pub cacert: Option<PathBuf>,

    /// Do not check the server's certificate
    #[arg(long, help_heading = "Connecting")]
    pub insecure: bool,

    /// The name to ask for by SNI and in the certificate, instead of the URL's host
    #[arg(long, value_name = "NAME", help_heading = "Connecting")]
    pub server_name: Option<String>,

    /// A header field for every request, as 'Name: value'; can be repeated
    #[arg(long, short = 'H', value_name = "FIELD", value_parser = field, help_heading = "Asking")]
    pub header: Vec<(String, String)>,

    /// Where a request body may be sent without harm; by default a path that nobody has
    ///
    /// Bodies of a few bytes, by POST: give a path whose handler ignores or refuses bodies, to see whether its answers survive that.
    #[arg(long, value_name = "PATH", value_parser = path, help_heading = "Asking")]
    pub body_path: Option<String>,

    /// Where large uploads go; by default a path that nobody has
    #[arg(long, value_name = "PATH", value_parser = path, help_heading = "Asking")]
    pub upload_path: Option<String>,

    /// Bytes of a large upload, as 4M or 512K
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = size, help_heading = "Asking")]
    pub upload_size: usize,

    /// A path whose answer holds what {nonce} stands for, as '/echo?q={nonce}'
    ///
    /// With it, answers on the wrong request are found by what they say.
    #[arg(long, value_name = "PATH", value_parser = path, help_heading = "Asking")]
    pub echo_path: Option<String>,

    /// An address of this machine to connect from, for checks that use several; can be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "Asking")]
    pub source: Vec<IpAddr>,

    /// Connections for each situation that is measured
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Bounds")]
    pub connections: u32,

    /// Connections open at once, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Bounds")]
    pub at_once: u32,

    /// One connection at a time
    ///
    /// For servers that work on one; by default that is noticed.
    #[arg(long, help_heading = "Bounds")]
    pub serial: bool,

    /// How long to wait for the server to close idle connections
    #[arg(long, value_name = "DURATION", default_value = "135s", value_parser = wait, help_heading = "Bounds")]
    pub longest_wait: Duration,

    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = wait, help_heading = "Bounds")]
    pub patience: Duration,
}

/// Whose settings are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Of every client that is known.
    All,
    /// Of this one, by its id in the facts.
    One(&'static str),
}

fn client(text: &str) -> Result<Client, String> {
    if text == "all" {
        return Ok(Client::All);
    }
    match software_by_id(text) {
        Some(software) => Ok(Client::One(&software.id)),
        None => Err(
            "no settings are known of it; go-client, requests, undici, okhttp, nginx and such are, and all".to_owned(),
        ),
    }
}

/// What the probe sets by itself: another value would change what is asked.
const ITS_OWN: [&str; 5] = ["Connection", "Content-Length", "Expect", "Transfer-Encoding", "Upgrade"];

/// `Name: value`.
fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("give it as 'Name: value'")?;
    let name = name.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is no field name"));
    }
    if ITS_OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(format!(
            "{name} is set by the probe itself, for it is a part of what is asked"
        ));
    }
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
        return Err("the value holds a control character".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// What a request line can hold as a path.
fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "{text:?} does not begin with /; give the path alone, as /upload"
        ));
    }
    // RFC 3986 §3.5: a fragment is the client's own, and never sent.
    match text.chars().find(|letter| !letter.is_ascii_graphic() || *letter == '#') {
        Some(letter) => Err(format!(
            "{text:?} holds {letter:?}, which a request line cannot; write it with %"
        )),
        None => Ok(text.to_owned()),
    }
}

/// `4M`, `512K`, `1000`.
fn size(text: &str) -> Result<usize, String> {
    const LARGEST: usize = 256 << 20;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        _ => return Err(format!("{text:?} is no size; 512K and 4M are")),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| format!("{text:?} is no size; 512K and 4M are"))?;
    match number.checked_mul(unit) {
        Some(size) if (1..=LARGEST).contains(&size) => Ok(size),
        _ => Err(format!("{text:?} is not between 1 and 256M")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_frame_requests_are_the_probes_own() {
        assert_eq!(field("X-Test:  1 "), Ok(("X-Test".to_owned(), "1".to_owned())));
        for wrong in ["content-length: 3", "Connection: close", "a b: c", "X: a\r\nb", "X"] {
            assert!(field(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_fits_into_a_request_line() {
        for right in ["/", "/echo?q={nonce}", "/a%20b"] {
            assert_eq!(path(right).as_deref(), Ok(right));
        }
        for wrong in ["", "upload", "http://h/", "/a b", "/a\r\nX: 1", "/ä", "/a#b"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
