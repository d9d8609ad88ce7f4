//! The options of `bypeer causes`.

use clap::Args;

use crate::cli::Format;

const EXAMPLES: &str = "\
Examples:
  bypeer causes keepalive-race-unannounced-close
  bypeer causes misdelivered                    an answer on the wrong request: what can do that
  bypeer causes misdelivered --ask              the questions that tell which it was, and the odds
  bypeer causes misdelivered --ask --story 4    beginning with what was told of that incident
  bypeer causes misdelivered --ask --answers 'same-port=yes,end-of-file=no'";

/// `bypeer causes`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CausesArguments {
    /// A cause's id, as findings and the list show it, or `misdelivered`
    pub id: Option<String>,

    /// Put the questions that tell the mechanisms apart, one by one, and give the odds
    ///
    /// For `misdelivered`. The most telling question comes first: that from which the greatest loss of entropy is to be expected. Each line
    /// of standard input is an answer: y, n, ? (not known: changes nothing), QUESTION=y, QUESTION=n or QUESTION=? for another question,
    /// b (take the last answer back), l (all odds), q (to the result). It ends when no question is worth asking, or with the input.
    #[arg(long, requires = "id")]
    pub ask: bool,

    /// Take these answers, ask nothing, and give the result: QUESTION=yes, =no or =?, with commas between
    #[arg(long, value_name = "QUESTION=ANSWER,…", requires = "ask")]
    pub answers: Option<String>,

    /// Begin with what was told of this incident, each fact for what it is worth; 4 is the one that is known
    #[arg(long, value_name = "NUMBER", requires = "ask")]
    pub story: Option<u8>,

    /// How to print the result of --ask
    ///
    /// json: a bypeer.ask/1 record; questions then go to standard error.
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "ask")]
    pub format: Format,
}
