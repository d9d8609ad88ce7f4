use std::io::{self, BufWriter, IsTerminal, StdoutLock};

use bypeer_report::Look;

use crate::cli::Color;

/// Standard output, buffered: to be flushed by the one who writes, for a drop swallows errors.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// How text on standard output is to look.
pub(crate) fn look(color: Color) -> Look {
    let terminal = io::stdout().is_terminal();
    let width = match terminal {
        true => terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        false => None,
    };
    let dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    // https://no-color.org: present and not empty.
    let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look {
        width: width.unwrap_or(Look::PLAIN.width),
        color: match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !unwanted() && !dumb(),
        },
    }
}

/// The moment, by the machine's clock.
pub(crate) fn now() -> bypeer_wire::Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    bypeer_wire::Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Whether the reader of our output went away: `bypeer … | head`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
