//! `cargo xtask vm`: bypeer as root on kernels that are older than this machine's, in virtual machines that live for one run.

mod archive;
mod image;
mod kernel;
mod machine;
mod modules;
mod tool;
mod transcript;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::kernel::{Kernel, Series};
use self::machine::{Accelerator, Ending, Machine};

/// What `--kernel all` means: Linux before the kernel told the reasons of resets (6.10), and after.
const ALL: [&str; 2] = ["6.1", "6.12"];
/// A guest under KVM begins within two or three seconds; where KVM does not work it never does.
const KVM_BEGINS_WITHIN: Duration = Duration::from_secs(20);
/// Exit status where there is none of the job's: as `timeout` has it, and as shells have it.
const TIMED_OUT: u8 = 124;
const INTERRUPTED: u8 = 130;

/// What to boot, and what to run there.
#[derive(clap::Args)]
pub struct Arguments {
    /// A series of Debian's kernels, such as 6.12; can be repeated. all: 6.1 and 6.12
    #[arg(long, value_name = "SERIES|all", default_value = "all")]
    kernel: Vec<String>,
    /// Bound of each boot; the machine is killed then
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// How the processor is made. auto: by KVM where it works, else emulated (20 times as slow)
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    accel: Choice,
    /// Also put this program of this machine there, with its libraries; can be repeated
    #[arg(long, value_name = "PROGRAM")]
    with: Vec<String>,
    /// Run this there, in place of xtask/src/vm/job.sh
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    Auto,
    Kvm,
    Tcg,
}

/// Boots one kernel after the other, prints what the job printed there, and gives the status of the first job that failed.
///
/// # Errors
/// When a kernel or a tool is missing, bypeer cannot be built, or a guest does not run its job.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the guests are x86-64, and would not run this machine's bypeer"
    );
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).context("signals cannot be handled")?;
    }
    let store = crate::bypeer::root().join("target/vm");
    fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
    // A kernel that cannot be had is said before anything is built.
    let kernels: Vec<Kernel> = series(&arguments.kernel)?
        .iter()
        .map(|series| Kernel::get(series, &store))
        .collect::<Result<_>>()?;
    for tool in [tool::BUSYBOX, tool::QEMU] {
        tool.path()?;
    }
    let bypeer = crate::bypeer::build()?;
    let job = match arguments.command.as_slice() {
        [] => image::DEFAULT_JOB.to_owned(),
        command => image::job(command),
    };
    let mut with = arguments.with.clone();
    if arguments.command.is_empty() {
        // The default job holds the watcher to the lab with this very program.
        let own = std::env::current_exe().context("where this program lies is not known")?;
        with.push(own.to_string_lossy().into_owned());
    }
    let mut status = 0;
    for kernel in &kernels {
        let initramfs = store.join(format!("{}.cpio", kernel.release));
        image::write(&initramfs, kernel, &bypeer, &with, &job)?;
        let machine = Machine::new(kernel, &initramfs, &store, Duration::from_secs(arguments.timeout));
        let own = match boot(&machine, arguments.accel, &stop)? {
            Ending::Interrupted => return Ok(INTERRUPTED.into()),
            Ending::Job(own) => own,
            Ending::TimedOut => {
                eprintln!(
                    "{}: stopped after {} s\n{}",
                    kernel.release,
                    arguments.timeout,
                    machine.last_words()
                );
                TIMED_OUT
            }
        };
        if status == 0 {
            status = own;
        }
    }
    Ok(status.into())
}

fn series(named: &[String]) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for name in named {
        match name.as_str() {
            "all" => all.extend(ALL),
            name => all.push(name),
        }
    }
    all.into_iter().map(str::parse).collect()
}

/// Boots with what was chosen. That there is a /dev/kvm does not say that it works: where it was not asked for by name, a machine that
/// does not begin its job is started once more without.
fn boot(machine: &Machine<'_>, choice: Choice, stop: &AtomicBool) -> Result<Ending> {
    let attempt = |accelerator: Accelerator, begins_within: Option<Duration>| {
        eprintln!("{}: booting, {}", machine.release(), accelerator.what());
        machine.boot(accelerator, begins_within, stop, |line| println!("{line}"))
    };
    match choice {
        Choice::Tcg => attempt(Accelerator::Tcg, None),
        Choice::Kvm => attempt(Accelerator::Kvm, None),
        Choice::Auto if !can_open(Path::new("/dev/kvm")) => attempt(Accelerator::Tcg, None),
        Choice::Auto => attempt(Accelerator::Kvm, Some(KVM_BEGINS_WITHIN)).or_else(|error| {
            let began = error.downcast_ref().is_some_and(machine::Failure::had_begun);
            if began || stop.load(Ordering::Relaxed) {
                return Err(error);
            }
            eprintln!("{}: KVM does not boot it here", machine.release());
            attempt(Accelerator::Tcg, None)
        }),
    }
}

fn can_open(device: &Path) -> bool {
    fs::File::options().read(true).write(true).open(device).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_is_two_series_and_nonsense_is_none() {
        let named = |names: &[&str]| series(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["all"]).unwrap().len(), 2);
        assert_eq!(named(&["6.1", "6.19"]).unwrap().len(), 2);
        assert!(named(&["newest"]).is_err());
    }
}
