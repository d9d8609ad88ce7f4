//! Away from the machine: the chore starts itself again in namespaces of its own, which end with it.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use bypeer_lab::confine::{attend, confine, settle};
use nix::sys::wait::WaitStatus;

/// Tells the process what it is to do.
const STAGE: &str = "BYPEER_XTASK_STAGE";

/// Where this process is.
pub enum Place {
    /// Inside, and to do the work.
    Inside,
    /// Outside: the work was done, and ended like this.
    Done(ExitCode),
}

/// Goes into network, mount and process namespaces of its own. What the caller builds it has built before.
///
/// # Errors
/// When this kernel does not let it.
pub fn enter(arguments: &[String]) -> Result<Place> {
    match std::env::var(STAGE).as_deref() {
        Err(_) => {
            confine()?;
            let status = again("init", arguments)?.status()?;
            Ok(Place::Done(code(status.code())))
        }
        Ok("init") => {
            settle()?;
            let stop = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(&stop))?;
            }
            match attend(&mut again("work", arguments)?, &stop)? {
                WaitStatus::Exited(_, status) => Ok(Place::Done(code(Some(status)))),
                other => bail!("the work ended with {other:?}"),
            }
        }
        Ok("work") => {
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .context("ip")?;
            ensure!(up.success(), "the loopback interface cannot be brought up");
            Ok(Place::Inside)
        }
        Ok(other) => bail!("{STAGE}={other} is no stage"),
    }
}

fn again(stage: &str, arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("misdelivered").args(arguments).env(STAGE, stage);
    Ok(command)
}

fn code(code: Option<i32>) -> ExitCode {
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}
