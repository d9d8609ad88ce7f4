//! `bypeer guard` where there is no Linux: it says so.

pub(crate) mod arguments {
    use clap::Args;

    /// What `bypeer guard --help` begins with.
    pub(crate) const LONG_ABOUT: &str = "A reverse proxy that closes right. It needs Linux.";

    /// `bypeer guard`.
    #[derive(Debug, Args)]
    pub struct Guard {
        /// Options, as on Linux
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pub options: Vec<String>,
    }
}

use anyhow::bail;
use bypeer_report::Exit;

use self::arguments::Guard;
use crate::cli::Color;

/// `bypeer guard`.
pub(crate) fn run(_: &Guard, _: Color) -> anyhow::Result<Exit> {
    bail!(
        "guard needs Linux: it asks that kernel what a connection still holds, and hands its sockets over by its means"
    )
}
