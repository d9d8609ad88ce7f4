//! `bypeer watch --check`: what this kernel and this caller allow.

use std::fmt::Write as _;
use std::io::Write as _;

use bypeer_report::{Exit, escape};
use bypeer_watch::bpf::{Capabilities, HookState};
use bypeer_watch::kernel::Deaths;
use bypeer_watch::ring::{Options, Ring};
use bypeer_watch::tracefs::Tracefs;
use bypeer_watch::{sock_diag, tracefs};

use crate::cli::Color;
use crate::output;

/// Prints it. The exit status is that of trouble only when nothing at all can be listened to.
pub(super) fn run(_: Color) -> anyhow::Result<Exit> {
    let mut text = String::new();
    let bpf = bpf(&mut text);
    let tracefs = line(
        &mut text,
        "tracefs",
        Tracefs::open(std::process::id()).err().map(|error| error.to_string()),
        &tracefs::UNKNOWN,
    );
    let sock_diag = line(
        &mut text,
        "sock-diag",
        Deaths::open().err().map(|error| error.to_string()),
        &sock_diag::UNKNOWN,
    );
    let packets = Ring::start(&Options::default()).err().map(|error| error.to_string());
    line(&mut text, "packets (--write)", packets, &[]);
    let best = match (bpf, tracefs, sock_diag) {
        (true, _, _) => "bpf",
        (_, true, _) => "tracefs",
        (_, _, true) => "sock-diag",
        _ => "nothing",
    };
    let _ = writeln!(text, "\n`bypeer watch` would listen by {best}");
    let mut out = output::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(if best == "nothing" {
        Exit::Trouble
    } else {
        Exit::Nothing
    })
}

/// The kernel part, hook by hook; whether it can be had.
fn bpf(text: &mut String) -> bool {
    let capabilities = match Capabilities::probe() {
        Ok(capabilities) => capabilities,
        Err(error) => {
            let _ = writeln!(text, "bpf                not to be had: {}", escape(&error.to_string()));
            return false;
        }
    };
    let _ = writeln!(text, "bpf                can be had");
    for hook in &capabilities.hooks {
        let state = match &hook.state {
            HookState::Attached => "looks there".to_owned(),
            HookState::NotWanted => "not needed: another hook tells it".to_owned(),
            HookState::Missing => format!("this kernel has none; lost: {}", hook.lost),
            HookState::Refused(words) => format!("refused ({}); lost: {}", escape(words), hook.lost),
        };
        let _ = writeln!(text, "  {:<28} {state}", hook.name);
    }
    for note in &capabilities.notes {
        let _ = writeln!(text, "  note: {}", escape(&note.to_string()));
    }
    true
}

/// One of the other sources; whether it can be had.
fn line(text: &mut String, name: &str, refusal: Option<String>, unknown: &[&str]) -> bool {
    match &refusal {
        None => {
            let _ = writeln!(text, "{name:<18} can be had");
            for unknown in unknown {
                let _ = writeln!(text, "  not told: {unknown}");
            }
        }
        Some(refusal) => {
            let _ = writeln!(text, "{name:<18} not to be had: {}", escape(refusal));
        }
    }
    refusal.is_none()
}
