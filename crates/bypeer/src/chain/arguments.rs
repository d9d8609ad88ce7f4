//! The arguments of `bypeer chain`.
// Doc comments are help texts here.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::time::Duration;

use bypeer_chain::time::{Unit, parse};
use clap::Args;

use crate::cli::Format;
use crate::duration::wait;

pub const LONG_ABOUT: &str = "\
Checks a row of hops: are their idle timeouts in the right order?

Each hop keeps idle connections for a time of its own. The one that opened a connection must give it up before the one that \
accepted it closes it: the further right (towards the origin), the longer. Otherwise a request meets a close, sooner or later. \
`chain` says for each pair who closes first, whether that is right, what share of requests it costs, and the smallest change that mends \
it, in the words of the software.

A hop is NAME[@VERSION][:FILE[#PART]][=IDLE[/POOL]], from the client to the last server. IDLE is how long it keeps an idle \
connection that it accepted, POOL how long one that it opened; one number of the first hop is its POOL, one number of another \
its IDLE. Times are seconds, or 500ms, 2m, 1h; 2..3 for a range; `never`: until the other end closes; `close`: after each \
response; `?`: not known. What is not given is read from FILE (of nginx, haproxy, envoy, apache, gunicorn, ingress-nginx), or is \
the product's default by its NAME and VERSION; the report says where each number is from. #PART picks a server, \
location, upstream, frontend, backend, listener or cluster where a file has several. gunicorn=--keep-alive=5 reads its command line.

A hop may also be a URL, http:// or https://: that server is probed for how long it keeps idle connections, as `bypeer probe --only \
idle-timeout` does. It is for servers that one may test. Else nothing is sent. docs/chain.md is the guide.";

const EXAMPLES: &str = "\
Examples:
  bypeer chain client=90 alb=60 nginx=75/60 gunicorn=2
  bypeer chain go-client alb nginx@1.28 node@20
  bypeer chain client=30 nginx:/etc/nginx/nginx.conf#example.com gunicorn:gunicorn.conf.py
  bypeer chain client=4 haproxy:/etc/haproxy/haproxy.cfg node@20 --rate 50 --connections 20
  bypeer chain --file chain.toml
  bypeer chain client=90 nginx=75/60 http://127.0.0.1:8000/     the last one is measured
  bypeer chain client=90 nginx=75/60 gunicorn=2 --format json | jq .pairs[].order";

const EXIT_STATUS: &str = "\
Exit status:
  0  no fault: every pair is right, or cannot be told
  1  at least one pair is in the wrong order, or loses requests otherwise
  2  trouble: a hop could not be understood, or a file could not be read";

/// `bypeer chain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 no fault, 1 faults, 2 trouble. `--help` tells more and gives examples.",
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}")
)]
pub struct ChainArguments {
    /// The hops, from the client to the last server: NAME[@VERSION][:FILE[#PART]][=IDLE[/POOL]]
    #[arg(value_name = "HOP", conflicts_with = "file")]
    pub hops: Vec<String>,

    /// Read the hops from this file
    ///
    /// TOML: a [[hop]] for each, with name, idle, pool, config and more, and rate, connections and round_trip above them.
    /// docs/chain.md has the format. Files that it names lie beside it.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// How long to wait for a probed server to close idle connections
    #[arg(long, value_name = "DURATION", default_value = "135s", value_parser = wait)]
    pub longest_wait: Duration,

    /// Requests a second: over --connections together, or over each connection
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    pub rate: Option<f64>,

    /// How many pooled connections share --rate
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    pub connections: Option<f64>,

    /// Round trip between two hops, as 2ms
    ///
    /// Without, the distance between limits allows for 200 ms, and what a fault costs is told for 1 ms.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub round_trip: Option<Duration>,

    /// How to print
    ///
    /// json: one bypeer.chain/1 record.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("write a number above 0".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse(text, Unit::Seconds).ok_or_else(|| "write a time, as 2ms or 0.5s".to_owned())
}
