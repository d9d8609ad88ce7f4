//! `bypeer watch` where there is no Linux: it says so.

#[path = "watch/arguments.rs"]
pub(crate) mod arguments;

use anyhow::bail;
use bypeer_report::Exit;

use self::arguments::Watch;
use crate::cli::Color;

/// `bypeer watch`.
pub(crate) fn run(_: &Watch, _: Color) -> anyhow::Result<Exit> {
    bail!("watch needs Linux: it asks that kernel; `bypeer explain` works here, on captures from any machine")
}
