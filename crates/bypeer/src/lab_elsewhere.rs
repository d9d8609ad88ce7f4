//! `bypeer lab` where there is no Linux: it says so.

#[path = "lab/arguments.rs"]
pub(crate) mod arguments;

use anyhow::bail;
use bypeer_report::Exit;

use self::arguments::Lab;
use crate::cli::Color;

/// `bypeer lab`.
pub(crate) fn run(_: &Lab, _: Color) -> anyhow::Result<Exit> {
    bail!("the lab needs Linux: its hosts are network namespaces; `bypeer explain` works here")
}
