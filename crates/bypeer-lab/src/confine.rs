//! Away from the machine: namespaces for the whole lab, made before anything runs in it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid};

/// Why the lab cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// No user namespace for a user who is not root.
    #[error(
        "this kernel does not let you make a user namespace ({error}{}){}; run it as root, or see \
         user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns \
         (sysctl). `bypeer explain` and `bypeer lab list` work without",
        limit(error),
        within_container()
    )]
    UserNamespace {
        /// The kernel's answer.
        error: io::Error,
    },
    /// No network, mount or process namespaces.
    #[error(
        "cannot make network, mount and process namespaces ({error}){}; the lab needs CAP_SYS_ADMIN, or user \
         namespaces. `bypeer explain` and `bypeer lab list` work without",
        within_container()
    )]
    Namespaces {
        /// The kernel's answer.
        error: io::Error,
    },
    /// The new user namespace could not be told who its root is.
    #[error("cannot write {path}: {error}; the lab needs to be root in a user namespace of its own, or root")]
    Identity {
        /// The file.
        path: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// What the confined process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It is the machine's root: the kernel's reset events can be read.
    Root,
    /// It is root in a user namespace of its own only.
    UserNamespace,
}

/// Moves the calling process into namespaces of its own: user (unless it is root), network, mounts; its children from here on
/// are in a process namespace of their own. The first child, which must call [`settle`], is that namespace's init:
/// when it ends, however it ends, the kernel ends all others in it.
///
/// To be called while the process has one thread.
///
/// # Errors
/// What is missing, and what would help.
pub fn confine() -> Result<Privilege, ConfineError> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    let (user, group) = (geteuid(), getegid());
    // Root in a container may lack the capability; then a user namespace may still serve.
    if user.is_root() {
        match unshare(namespaces) {
            Ok(()) => return Ok(Privilege::Root),
            Err(nix::Error::EPERM) => {}
            Err(error) => return Err(ConfineError::Namespaces { error: error.into() }),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| ConfineError::UserNamespace { error: error.into() })?;
    become_root_inside(user, group)?;
    unshare(namespaces).map_err(|error| ConfineError::Namespaces { error: error.into() })?;
    Ok(Privilege::UserNamespace)
}

/// In the first process of the new process namespace: ends with its parent, and sees its own /proc, where it may.
///
/// # Errors
/// When mounts cannot be kept from the machine's.
pub fn settle() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    // Programs that look up their own process in /proc find another's without this. In a container it may be refused: most do without.
    let _ = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    );
    let tracing = Path::new("/sys/kernel/tracing");
    if geteuid().is_root() && tracing.is_dir() && !tracing.join("trace").exists() {
        // Refused in a user namespace; then the kernel's events are not available, which is said elsewhere.
        let _ = mount(
            Some("tracefs"),
            tracing,
            Some("tracefs"),
            MsFlags::empty(),
            None::<&str>,
        );
    }
    Ok(())
}

/// Starts a program, and does the work of its process namespace's init until it ends: what programs leave behind when they are
/// killed, such as a server's workers, is reaped. `stop`, once true, sends the program SIGTERM.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn attend(program: &mut Command, stop: &AtomicBool) -> io::Result<WaitStatus> {
    let program = Pid::from_raw(program.spawn()?.id() as i32);
    let mut told = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => thread::sleep(Duration::from_millis(10)),
            ended if ended.pid() == Some(program) => return Ok(ended),
            _ => {}
        }
        if stop.load(Ordering::Relaxed) && !told {
            told = true;
            // It may just have ended.
            let _ = kill(program, Signal::SIGTERM);
        }
    }
}

/// Maps the caller to root of its new user namespace: the one mapping that needs no privilege.
fn become_root_inside(user: Uid, group: Gid) -> Result<(), ConfineError> {
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(path, text).map_err(|error| ConfineError::Identity { path, error })?;
    }
    Ok(())
}

/// ENOSPC does not speak of a disk here.
fn limit(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(nix::Error::from_raw) {
        Some(nix::Error::ENOSPC) => ": there are as many as user.max_user_namespaces allows",
        _ => "",
    }
}

fn within_container() -> &'static str {
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        "; this looks like a container: it would need --privileged, or --cap-add SYS_ADMIN with seccomp and AppArmor relaxed"
    } else {
        ""
    }
}
