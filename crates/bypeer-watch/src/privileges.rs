//! What a watcher gives up once it watches.
//!
//! To load and to open takes privileges; to read a ring, a pipe or a netlink socket that is open takes none. What does take some for as
//! long as it runs is to look into processes of others: `/proc/PID/{exe,maps,fd,root}` wants CAP_SYS_PTRACE, and programs and debug files
//! that only their owner may read want CAP_DAC_READ_SEARCH. So [`drop_privileges`] keeps at most these two, and:
//!
//! - leaves all others out of every set, the bounding one too, and forbids that an `exec` brings any back (`no_new_privs`);
//! - becomes nobody (uid and gid 65534, no supplementary groups) when it was root. Root without capabilities still owns `/etc`,
//!   `/usr` and much of `/proc/sys`; nobody owns nothing. Who started as an ordinary user with file capabilities stays that user.
//!
//! With [`Source::Tracefs`] it stays uid 0, without capabilities but those two: the trace's folder is root's, and somebody has to remove it
//! at the end. Nothing more may be opened by then that wants more: open every source first.
//!
//! What is kept is still much: CAP_SYS_PTRACE may change other processes, and CAP_DAC_READ_SEARCH reads every file, `/etc/shadow`
//! too. [`Plan::nothing`] is for those who can do without names of programs and lines of code of other users.
//!
//! All of this is of the calling thread. Capabilities cannot be taken from other threads, so that there must be none yet; those that are
//! started later inherit.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};
use thiserror::Error;

use crate::source::{Capability, Source};

/// The kernel's `overflowuid` and everybody's "nobody".
const NOBODY: u32 = 65534;

/// What is to be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Kept, where they are there.
    pub keep: Vec<Capability>,
    /// Root becomes nobody.
    pub becomes_nobody: bool,
}

impl Plan {
    /// What this source needs once it is open, and to look into the processes that it names.
    pub fn of(source: Source) -> Plan {
        let to_look = vec![Capability::DacReadSearch, Capability::SysPtrace];
        match source {
            Source::Bpf => Plan {
                keep: to_look,
                becomes_nobody: true,
            },
            Source::Tracefs => Plan {
                keep: to_look,
                becomes_nobody: false,
            },
            // It names no process.
            Source::SockDiag => Plan::nothing(),
        }
    }

    /// No capability at all, and nobody.
    pub fn nothing() -> Plan {
        Plan {
            keep: Vec::new(),
            becomes_nobody: true,
        }
    }
}

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// User.
    pub uid: u32,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
    /// What was tried and refused, and does less harm than to give up: it is root in a user namespace that has no nobody.
    pub refused: Vec<String>,
}

/// Why privileges could not be dropped. The caller had better not go on.
#[derive(Debug, Error)]
pub enum PrivilegesError {
    /// There are threads already.
    #[error("privileges can only be dropped before threads are started: there are {0}")]
    Threads(usize),
    /// A call was refused.
    #[error("{call} was refused: {source}")]
    Refused {
        /// Which.
        call: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel says that more is left than should be.
    #[error("capabilities are left that should be gone: {0:#x}")]
    Left(u64),
}

/// Drops everything that is not in the plan, of the only thread.
pub fn drop_privileges(plan: &Plan) -> Result<Held, PrivilegesError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(PrivilegesError::Threads(threads));
    }
    drop_of_this_thread(plan)
}

fn drop_of_this_thread(plan: &Plan) -> Result<Held, PrivilegesError> {
    let wanted = plan.keep.iter().fold(0, |mask, capability| mask | capability.bit());
    let had = rustix::thread::capabilities(None).map_err(refused("capget"))?;
    let kept = CapabilitySet::from_bits_retain(wanted) & had.permitted;
    // Before Linux 4.3 there is no ambient set.
    let _ = rustix::thread::clear_ambient_capability_set();
    empty_bounding_set(kept);
    let mut refusals = Vec::new();
    if plan.becomes_nobody && nix::unistd::geteuid().is_root() {
        become_nobody(&mut refusals)?;
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(refused("capset"))?;
    rustix::thread::set_no_new_privs(true).map_err(refused("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    let left = rustix::thread::capabilities(None).map_err(refused("capget"))?;
    if left != sets {
        return Err(PrivilegesError::Left((left.permitted | left.inheritable).bits()));
    }
    let is_kept = |capability: &Capability| kept.bits() & capability.bit() != 0;
    Ok(Held {
        uid: nix::unistd::geteuid().as_raw(),
        capabilities: plan.keep.iter().copied().filter(is_kept).collect(),
        refused: refusals,
    })
}

/// Needs CAP_SETPCAP. Without it nothing is lost: `no_new_privs` keeps an `exec` from using the set.
fn empty_bounding_set(kept: CapabilitySet) {
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(one) {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) => drop(rustix::thread::remove_capability_from_bounding_set(one)),
            Ok(false) => {}
            // Past the last that this kernel knows.
            Err(_) => return,
        }
    }
}

fn become_nobody(refusals: &mut Vec<String>) -> Result<(), PrivilegesError> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(NOBODY), nix::unistd::Gid::from_raw(NOBODY));
    // Else the change of user clears the permitted set.
    rustix::thread::set_keep_capabilities(true).map_err(refused("prctl(PR_SET_KEEPCAPS)"))?;
    let mut attempt = |call: &str, result: nix::Result<()>| {
        if let Err(error) = result {
            refusals.push(format!("{call} was refused: {error}"));
        }
    };
    attempt("setgroups", nix::unistd::setgroups(&[]));
    attempt("setresgid", nix::unistd::setresgid(gid, gid, gid));
    attempt("setresuid", nix::unistd::setresuid(uid, uid, uid));
    rustix::thread::set_keep_capabilities(false).map_err(refused("prctl(PR_SET_KEEPCAPS)"))
}

fn refused(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> PrivilegesError {
    move |error| PrivilegesError::Refused {
        call,
        source: error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::process::Command;

    use super::*;

    /// Whose value is what [`child`] is to try.
    const TASK: &str = "BYPEER_PRIVILEGES_TASK";

    fn status(name: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().replace('\t', " ")
    }

    /// The mask of each set.
    fn sets() -> [u64; 5] {
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| u64::from_str_radix(&status(set), 16).unwrap())
    }

    /// Runs [`child`] in a process of its own: by this command, which ends with the program and its arguments.
    fn run(task: &str, prefix: &[&str]) {
        let program = std::env::current_exe().unwrap();
        let own = ["--exact", "privileges::tests::child", "--test-threads=1", "--nocapture"];
        let mut words = prefix.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        words.push(program.to_str().unwrap().to_owned());
        words.extend(own.map(str::to_owned));
        let output = Command::new(&words[0])
            .args(&words[1..])
            .env(TASK, task)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{task}: {text}");
        assert!(text.contains(&format!("did {task}")), "{text}");
    }

    /// In a process of its own (whose main thread is the harness's, so that only this thread counts), what a test below asks for; else nothing.
    #[test]
    fn child() {
        let Ok(task) = std::env::var(TASK) else { return };
        let mask = Capability::SysPtrace.bit() | Capability::DacReadSearch.bit();
        let both = [Capability::DacReadSearch, Capability::SysPtrace];
        // Not the machine's first process: that may be hardened even against root.
        let root = nix::unistd::getppid().as_raw();
        match task.as_str() {
            "bpf" => {
                let held = drop_of_this_thread(&Plan::of(Source::Bpf)).unwrap();
                assert_eq!(
                    (held.uid, &held.capabilities[..], held.refused),
                    (NOBODY, &both[..], Vec::new())
                );
                assert_eq!(sets(), [0, mask, mask, mask, 0]);
                assert_eq!(status("Uid"), "65534 65534 65534 65534");
                assert_eq!(status("Gid"), "65534 65534 65534 65534");
                assert_eq!((status("Groups").as_str(), status("NoNewPrivs").as_str()), ("", "1"));
                // What it is kept for: files of root's processes.
                assert!(may_look(root));
                assert!(File::open("/etc/shadow").is_ok());
                nothing_can_be_changed();
                // A process that is started later has no more.
                let cat = Command::new("cat").arg("/proc/thread-self/status").output().unwrap();
                let text = String::from_utf8(cat.stdout).unwrap();
                assert!(text.contains("CapEff:\t0000000000000000") && text.contains("CapPrm:\t0000000000000000"));
                std::thread::spawn(move || assert_eq!(sets()[2], mask)).join().unwrap();
            }
            "nothing" => {
                let held = drop_of_this_thread(&Plan::of(Source::SockDiag)).unwrap();
                assert_eq!((held.uid, held.capabilities), (NOBODY, Vec::new()));
                assert_eq!(sets(), [0; 5]);
                assert!(!may_look(root) && File::open("/etc/shadow").is_err());
                nothing_can_be_changed();
                // A second time there is nothing left to drop.
                assert!(drop_of_this_thread(&Plan::nothing()).is_ok());
            }
            "tracefs" => {
                let held = drop_of_this_thread(&Plan::of(Source::Tracefs)).unwrap();
                assert_eq!((held.uid, &held.capabilities[..]), (0, &both[..]));
                assert_eq!(sets(), [0, mask, mask, mask, 0]);
                assert!(may_look(root));
                // The owner needs no capability to tidy up; everything else is closed.
                // glibc's call is of all threads, and the harness's still may: the kernel's own is of this one.
                assert!(rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(1)).is_err());
                assert!(std::net::TcpListener::bind("127.0.0.1:7").is_err());
            }
            "traces" => {
                crate::kernel::see_tracefs();
                let source = crate::tracefs::Tracefs::open(std::process::id()).unwrap();
                drop_of_this_thread(&Plan::of(Source::Tracefs)).unwrap();
                let instances = crate::kernel::find_tracefs().unwrap().join("instances");
                let own = format!("bypeer-watch-{}-", std::process::id());
                let is_there = || {
                    let names = fs::read_dir(&instances)
                        .unwrap()
                        .flatten()
                        .map(|entry| entry.file_name());
                    names.into_iter().any(|name| name.to_string_lossy().starts_with(&own))
                };
                assert!(is_there());
                drop(source);
                assert!(!is_there(), "who owns the trace's folder can remove it");
            }
            "ordinary" => {
                let uid = nix::unistd::getuid();
                assert!(!uid.is_root());
                let before = sets();
                assert_eq!(before[2] & mask, mask);
                assert_ne!(before[2], mask);
                let held = drop_of_this_thread(&Plan::of(Source::Bpf)).unwrap();
                assert_eq!((held.uid, &held.capabilities[..]), (uid.as_raw(), &both[..]));
                let [inheritable, permitted, effective, _, ambient] = sets();
                assert_eq!([inheritable, permitted, effective, ambient], [0, mask, mask, 0]);
                assert!(may_look(root));
                nothing_can_be_changed();
            }
            "unprivileged" => {
                let held = drop_of_this_thread(&Plan::of(Source::Bpf)).unwrap();
                assert_eq!((held.capabilities, held.refused), (Vec::new(), Vec::new()));
                assert_eq!(sets()[..3], [0; 3]);
                assert_eq!(status("NoNewPrivs"), "1");
                // It goes on to hear.
                crate::sock_diag::SockDiag::open().unwrap();
            }
            other => panic!("{other}"),
        }
        println!("did {task}");
    }

    /// Whether the files of this process can be read.
    fn may_look(pid: i32) -> bool {
        let of = |name: &str| format!("/proc/{pid}/{name}");
        let descriptors = fs::read_dir(of("fd")).map_or(0, Iterator::count);
        let has_maps = fs::read_to_string(of("maps")).is_ok_and(|maps| !maps.is_empty());
        let has_root = fs::read_dir(of("root")).is_ok();
        let all = [fs::read_link(of("exe")).is_ok(), descriptors > 0, has_maps, has_root];
        assert!(all == [true; 4] || all == [false; 4], "{all:?}");
        all[0]
    }

    fn nothing_can_be_changed() {
        assert!(OpenOptions::new().append(true).open("/etc/shadow").is_err());
        assert!(File::create("/etc/bypeer-privileges-test").is_err());
        assert!(nix::unistd::setuid(0.into()).is_err());
        assert!(nix::unistd::setgid(0.into()).is_err());
        assert!(nix::unistd::setgroups(&[0.into()]).is_err());
        let all = CapabilitySets {
            effective: CapabilitySet::SYS_ADMIN,
            permitted: CapabilitySet::SYS_ADMIN,
            inheritable: CapabilitySet::empty(),
        };
        assert!(rustix::thread::set_capabilities(None, all).is_err());
    }

    #[test]
    #[ignore = "needs root"]
    fn root_becomes_nobody_who_may_look() {
        run("bpf", &[]);
    }

    #[test]
    #[ignore = "needs root"]
    fn root_becomes_nobody_who_may_nothing() {
        run("nothing", &[]);
    }

    #[test]
    #[ignore = "needs root"]
    fn with_a_trace_root_stays_root_without_its_powers() {
        run("tracefs", &[]);
    }

    #[test]
    #[ignore = "needs root tracefs"]
    fn a_trace_is_removed_after_the_powers_are_gone() {
        run("traces", &[]);
    }

    #[test]
    #[ignore = "needs root setpriv"]
    fn an_ordinary_user_with_capabilities_stays_that_user() {
        let capabilities = "+sys_ptrace,+dac_read_search,+dac_override,+net_raw";
        let inheritable = format!("--inh-caps={capabilities}");
        let ambient = format!("--ambient-caps={capabilities}");
        let user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
        run("ordinary", &[&user[..], &[&inheritable, &ambient]].concat());
    }

    #[test]
    fn who_has_nothing_loses_nothing() {
        if nix::unistd::geteuid().is_root() {
            return println!("skipped: who_has_nothing_loses_nothing: this is root, which has much to lose");
        }
        run("unprivileged", &[]);
    }

    #[test]
    fn other_threads_are_in_the_way() {
        // The harness's own.
        let error = drop_privileges(&Plan::nothing()).unwrap_err();
        assert!(matches!(error, PrivilegesError::Threads(2..)), "{error}");
    }
}
