//! What this kernel and this caller allow, and what is lost where they do not.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use super::btf::KernelTypes;
use crate::Tier;

/// What the kernel part can tell here.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Each place where the kernel part looks.
    pub hooks: Vec<Hook>,
    /// What besides is not as it could be.
    pub notes: Vec<Note>,
}

/// A place in the kernel where the kernel part looks.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The kernel's name of the tracepoint or function.
    pub name: &'static str,
    /// Whether it looks there.
    pub state: HookState,
    /// One sentence: what is not told when it does not.
    pub lost: &'static str,
}

/// Whether the kernel part looks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// It does.
    Attached,
    /// Nobody asked for what it tells: a higher tier has it, or another hook tells it already.
    NotWanted,
    /// The kernel has no such place.
    Missing,
    /// It has, and lets nobody look: its own words.
    Refused(String),
}

/// Something that is not as it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What, and what is lost by it.
    pub what: String,
    /// What would help.
    pub help: &'static str,
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.help)
    }
}

impl Capabilities {
    /// Loads all there is, looks what was let in, and removes it again.
    pub fn probe() -> Result<Capabilities, super::LoadError> {
        let settings = super::Settings {
            tier: Tier::Payload,
            stacks: true,
            ..super::Settings::default()
        };
        let (live, _) = super::Live::load(&settings)?;
        Ok(live.capabilities().clone())
    }

    /// What is missing, one sentence each.
    pub fn lost(&self) -> impl Iterator<Item = &'static str> {
        let lacking = |hook: &&Hook| matches!(hook.state, HookState::Missing | HookState::Refused(_));
        self.hooks.iter().filter(lacking).map(|hook| hook.lost)
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attach {
    Tracepoint,
    Entry,
    Exit,
}

/// A program of `bpf/watch.bpf.c`.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) target: &'static str,
    pub(super) attach: Attach,
    pub(super) tier: Tier,
    /// How many arguments its target must have at least, or exactly where it is a function.
    arguments: usize,
    /// Whether this kernel needs it: some only stand in for others.
    needed: fn(&KernelTypes) -> bool,
    pub(super) lost: &'static str,
}

impl Program {
    pub(super) fn is_wanted(&self, tier: Tier, types: &KernelTypes) -> bool {
        self.tier <= tier && (self.needed)(types)
    }

    pub(super) fn has_target(&self, types: &KernelTypes) -> bool {
        match self.attach {
            Attach::Tracepoint => types
                .tracepoint_arguments(self.target)
                .is_some_and(|arguments| arguments >= self.arguments),
            Attach::Entry => types
                .function_arguments(self.target)
                .is_some_and(|arguments| arguments >= self.arguments),
            Attach::Exit => types.function_arguments(self.target) == Some(self.arguments),
        }
    }
}

const fn always(_: &KernelTypes) -> bool {
    true
}

/// Until 6.10 the tracepoint says nothing of resets without a full socket.
fn has_silent_resets(types: &KernelTypes) -> bool {
    types
        .tracepoint_arguments("tcp_send_reset")
        .is_none_or(|arguments| arguments < 3)
}

fn has_no_lengths(types: &KernelTypes) -> bool {
    types.tracepoint_arguments("sock_send_length").is_none()
}

/// Every program, in the order in which they are attached.
pub(super) const PROGRAMS: [Program; 14] = [
    tracepoint("state_changed", "inet_sock_set_state", 3, Tier::Resets)
        .lost("who had closed a connection before a reset answered late data is not known"),
    tracepoint("destroyed", "tcp_destroy_sock", 1, Tier::Resets)
        .lost("which process held a connection that its peer reset is not known"),
    tracepoint("reset_sent", "tcp_send_reset", 2, Tier::Resets).lost("resets that this machine sends are not seen"),
    tracepoint("reset_received", "tcp_receive_reset", 1, Tier::Resets).lost("resets that come in are not seen"),
    tracepoint("failed", "inet_sk_error_report", 1, Tier::Resets)
        .lost("connections that end by a timeout or an ICMP error are not seen"),
    tracepoint("dropped", "kfree_skb", 3, Tier::Resets)
        .lost("segments that a firewall or a full listen queue drops are not seen"),
    tracepoint("signalled", "signal_generate", 5, Tier::Resets)
        .lost("whether a process that ended had been told to stop, and by whom, is not known"),
    tracepoint("sent_length", "sock_send_length", 3, Tier::Calls)
        .lost("who writes to a connection is not known, nor answers on a wrong one"),
    tracepoint("received_length", "sock_recv_length", 3, Tier::Calls)
        .lost("who reads from a connection is not known, nor answers on a wrong one"),
    tracepoint("arrived", "tcp_probe", 2, Tier::Payload).lost("when data came in is not known"),
    function(
        "reset_without_socket_v4",
        "tcp_v4_send_reset",
        2,
        Attach::Entry,
        Tier::Resets,
        has_silent_resets,
    )
    .lost("this kernel (before 6.10) tells of no resets by closed ports or after a close, IPv4"),
    function(
        "reset_without_socket_v6",
        "tcp_v6_send_reset",
        2,
        Attach::Entry,
        Tier::Resets,
        has_silent_resets,
    )
    .lost("this kernel (before 6.10) tells of no resets by closed ports or after a close, IPv6"),
    function("sent", "tcp_sendmsg", 3, Attach::Exit, Tier::Calls, has_no_lengths)
        .lost("this kernel (before 6.3) does not tell who writes to a connection"),
    function("received", "tcp_recvmsg", 5, Attach::Exit, Tier::Calls, has_no_lengths)
        .lost("this kernel (before 6.3) does not tell who reads from a connection"),
];

const fn tracepoint(name: &'static str, target: &'static str, arguments: usize, tier: Tier) -> Program {
    Program {
        name,
        target,
        attach: Attach::Tracepoint,
        tier,
        arguments,
        needed: always,
        lost: "",
    }
}

const fn function(
    name: &'static str,
    target: &'static str,
    arguments: usize,
    attach: Attach,
    tier: Tier,
    needed: fn(&KernelTypes) -> bool,
) -> Program {
    Program {
        name,
        target,
        attach,
        tier,
        arguments,
        needed,
        lost: "",
    }
}

impl Program {
    const fn lost(self, lost: &'static str) -> Program {
        Program { lost, ..self }
    }
}

/// What decides whether BPF may be had, as files of `/proc` and `/sys` say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    pub(super) release: String,
    pub(super) gvisor: bool,
    pub(super) has_btf: bool,
    /// `CapEff`; `None` when unknown.
    pub(super) capabilities: Option<u64>,
    pub(super) seccomp: bool,
    pub(super) confidential: bool,
    /// `kernel.unprivileged_bpf_disabled`.
    pub(super) unprivileged_disabled: bool,
    /// Capabilities count only in the first user namespace.
    pub(super) is_first_userns: bool,
    pub(super) is_first_pidns: bool,
}

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// What the first ones are called in every kernel: `include/linux/proc_ns.h`.
const FIRST_USERNS: &str = "user:[4026531837]";
const FIRST_PIDNS: &str = "pid:[4026531836]";

impl Surroundings {
    /// `root` is `/`, but for tests.
    pub(super) fn look(root: &Path) -> Surroundings {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let link = |path: &str| {
            fs::read_link(root.join(path))
                .ok()
                .map(|to| to.to_string_lossy().into_owned())
        };
        let status = read("proc/self/status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = read("proc/sys/kernel/osrelease").trim().to_owned();
        Surroundings {
            // It calls itself 4.4.0 of that day, and since 2025 by its name.
            gvisor: release.contains("gvisor") || read("proc/version").contains("Sun Jan 10 15:06:54 PST 2016"),
            release,
            has_btf: root.join(super::btf::PATH.trim_start_matches('/')).exists(),
            capabilities: field("CapEff:").and_then(|field| u64::from_str_radix(field, 16).ok()),
            seccomp: field("Seccomp:") == Some("2"),
            confidential: read("sys/kernel/security/lockdown").contains("[confidentiality]"),
            unprivileged_disabled: !matches!(read("proc/sys/kernel/unprivileged_bpf_disabled").trim(), "" | "0"),
            is_first_userns: link("proc/self/ns/user").is_none_or(|namespace| namespace == FIRST_USERNS),
            is_first_pidns: link("proc/self/ns/pid").is_none_or(|namespace| namespace == FIRST_PIDNS),
        }
    }

    /// The capabilities that are lacking. CAP_SYS_ADMIN has them in it.
    pub(super) fn lacking(&self) -> Vec<&'static str> {
        let Some(capabilities) = self.capabilities else {
            return Vec::new();
        };
        let has = |number: u32| capabilities >> number & 1 == 1 || capabilities >> CAP_SYS_ADMIN & 1 == 1;
        [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter(|(number, _)| !has(*number))
            .map(|(_, name)| name)
            .collect()
    }

    /// Major and minor version.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }

    pub(super) fn notes(&self, symbols_are_hidden: bool) -> Vec<Note> {
        let mut notes = Vec::new();
        if !self.is_first_pidns {
            notes.push(Note {
                what: "this is a container with processes of its own: process ids are the machine's, and programs outside \
                       cannot be looked at"
                    .to_owned(),
                help: "docker run --pid=host, or hostPID: true for a pod, shows them",
            });
        }
        if symbols_are_hidden {
            notes.push(Note {
                what:
                    "addresses of the kernel's functions are hidden: by which way a reset came is known only where its \
                       reason says it"
                        .to_owned(),
                help: "sysctl kernel.kptr_restrict=1 and CAP_SYSLOG, or kernel.kptr_restrict=0, show them",
            });
        }
        notes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.parent().unwrap().ends_with("ns") {
                symlink(text, path).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        root
    }

    #[test]
    fn a_container_is_known_by_what_it_lacks() {
        let root = machine(&[
            (
                "proc/self/status",
                "Name:\tx\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nSeccomp_filters:\t1\n",
            ),
            ("proc/self/ns/pid", "pid:[4026532201]"),
            ("proc/self/ns/user", FIRST_USERNS),
            ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
            ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
            ("sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
        ]);
        let surroundings = Surroundings::look(root.path());
        assert_eq!(surroundings.lacking(), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(surroundings.version(), Some((6, 1)));
        assert!(surroundings.seccomp && surroundings.confidential && surroundings.unprivileged_disabled);
        assert!(surroundings.is_first_userns && !surroundings.is_first_pidns && !surroundings.has_btf);
        assert!(!surroundings.gvisor);
        assert_eq!(surroundings.notes(true).len(), 2);
    }

    #[test]
    fn gvisor_is_known_by_its_birthday() {
        let root = machine(&[(
            "proc/version",
            "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n",
        )]);
        assert!(Surroundings::look(root.path()).gvisor);
    }

    #[test]
    fn one_capability_stands_for_the_others() {
        let of = |capabilities| {
            Surroundings {
                capabilities: Some(capabilities),
                ..Surroundings::default()
            }
            .lacking()
        };
        assert_eq!(of(1 << CAP_SYS_ADMIN), [""; 0]);
        assert_eq!(of(1 << CAP_BPF), ["CAP_PERFMON"]);
    }

    #[test]
    fn every_program_says_what_is_lost_without_it() {
        for program in PROGRAMS {
            assert!(
                !program.lost.is_empty() && !program.lost.ends_with('.'),
                "{}",
                program.name
            );
        }
    }
}
