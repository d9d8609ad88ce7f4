//! The kernel part, loaded: `bpf/watch.bpf.c` tells what happens, [`Live`] hands it on as [`Event`]s.

mod btf;
mod capabilities;
mod decode;
mod reader;
mod symbols;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::Path;

use aya::maps::{MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{self, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use thiserror::Error;

pub use btf::BtfError;
use btf::KernelTypes;
use capabilities::{Attach, PROGRAMS, Program, Surroundings};
pub use capabilities::{Capabilities, Hook, HookState, Note};
pub use decode::DecodeError;
pub use reader::Reader;
use symbols::Symbols;

use crate::Tier;
use crate::event::Event;

/// The compiled kernel part; there is one for each processor.
#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!("../../bpf/x86_64/watch.bpf.o"));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Reasons for which a dropped segment is told, without their prefix: those that end connections, or let none come about. Kernels
/// have other numbers for them, and not all of them.
const DROP_REASONS: [&str; 6] = [
    "NETFILTER_DROP",
    "TCP_LISTEN_OVERFLOW",
    "TCP_MINTTL",
    "TCP_MD5NOTFOUND",
    "TCP_MD5UNEXPECTED",
    "TCP_MD5FAILURE",
];
/// As many as `watch.bpf.c` has room for.
const DROP_REASON_SLOTS: usize = 8;
/// As `watch.bpf.c` has it: how many bytes the ring holds.
const RING: usize = 4 << 20;
/// `enum loss`
const LOST_EVENT: u32 = 0;
const LOST_STACK: u32 = 1;
const PASSED_SENT: u32 = 2;
const PASSED_RECEIVED: u32 = 3;
const PASSED_FAILED: u32 = 4;
/// As many ports as `watch.bpf.c` has room for.
const PORTS: usize = 16;

/// As many rings of notes about closes as `watch.bpf.c` has room for, a power of two.
const RINGS: usize = 4;

/// What to record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How much.
    pub tier: Tier,
    /// Inode number of the only network namespace to look at; `None`: all of them.
    pub netns: Option<u32>,
    /// Whether programs' stacks are copied with the events.
    pub stacks: bool,
    /// The only ports, local or remote, that events are told of; all where the first is 0. See [`Settings::ports`].
    pub only_ports: [u16; PORTS],
}

impl Settings {
    /// As the kernel part has them: all ports where there are more than it has room for, or none.
    pub fn ports(ports: &[u16]) -> [u16; PORTS] {
        let mut only = [0; PORTS];
        if let Some(slots) = only.get_mut(..ports.len()) {
            slots.copy_from_slice(ports);
        }
        only
    }
}

/// What was not told because nobody asked for its ports. It counts from the loading on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Resets that this machine's kernel sent.
    pub resets_sent: u64,
    /// Resets that it received.
    pub resets_received: u64,
    /// Connections that failed without a reset.
    pub failures: u64,
}

/// What was not told. It counts from the loading on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events that found no room in the ring.
    pub events: u64,
    /// Events that happened while the same processor was at another of their kind: the kernel runs no program within itself.
    pub nested: u64,
    /// Stacks of programs left out because events came in a storm: more than 500 a second on a processor, or more
    /// than a quarter of the ring waits to be taken.
    pub stacks: u64,
}

/// Names of the running kernel's numbers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    reset_reasons: BTreeMap<u32, String>,
    drop_reasons: BTreeMap<u32, String>,
}

impl Names {
    /// `enum sk_rst_reason`, without `SK_RST_REASON_`; `None` for all before Linux 6.10.
    pub fn reset_reason(&self, number: u32) -> Option<&str> {
        self.reset_reasons.get(&number).map(String::as_str)
    }

    /// `enum skb_drop_reason`, without `SKB_DROP_REASON_`; `None` for all before Linux 5.17.
    pub fn drop_reason(&self, number: u32) -> Option<&str> {
        self.drop_reasons.get(&number).map(String::as_str)
    }

    fn of(types: &KernelTypes) -> Names {
        let names = |of: &str, prefix: &str| {
            let bare = |name: String| name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
            types
                .enumerators(of)
                .into_iter()
                .map(|(name, number)| (number, bare(name)))
                .collect()
        };
        Names {
            reset_reasons: names("sk_rst_reason", "SK_RST_REASON_"),
            drop_reasons: names("skb_drop_reason", "SKB_DROP_REASON_"),
        }
    }
}

/// Why the kernel part cannot be had here: what, why, and what helps.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Built for a processor that there is no object for.
    #[error("the kernel part exists for x86-64 only so far; without it the packets and sock_diag still tell much")]
    Processor,
    /// The kernel is none.
    #[error("this is gVisor, whose kernel runs no BPF; watch on the machine that runs the sandbox")]
    GVisor,
    /// BPF as we need it came later.
    #[error("Linux {release} is too old: the kernel part needs 5.15 or later")]
    TooOld {
        /// What it calls itself.
        release: String,
    },
    /// No BTF.
    #[error(
        "this kernel (Linux {release}) does not describe its types (no {}); a kernel built with CONFIG_DEBUG_INFO_BTF does, as \
         those of the common distributions are",
        btf::PATH
    )]
    NoBtf {
        /// What it calls itself.
        release: String,
    },
    /// BTF that is none.
    #[error("the kernel's description of its types cannot be used: {0}")]
    BadBtf(#[source] BtfError),
    /// Locked down.
    #[error(
        "the kernel is locked down (confidentiality): nobody may read its memory, not even root; lockdown=integrity, or no \
         lockdown, in its command line allows it"
    )]
    Lockdown,
    /// Root of a container only.
    #[error(
        "in this user namespace nobody has rights over the kernel, whatever capabilities he has; run it outside of it, as root"
    )]
    UserNamespace,
    /// Not allowed.
    #[error(
        "not permitted: {} lacking{}; run it as root, or: sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep \
         $(command -v bypeer), or in a container: --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE --cap-add SYSLOG",
        .lacking.join(" and "),
        if *.unprivileged_disabled { " (and kernel.unprivileged_bpf_disabled is set)" } else { "" }
    )]
    NotPermitted {
        /// The capabilities that are.
        lacking: Vec<&'static str>,
        /// Whether the kernel refuses BPF to everybody else anyway.
        unprivileged_disabled: bool,
    },
    /// All capabilities are there, and yet.
    #[error(
        "the kernel refuses BPF although the capabilities are there{}: {source}; {}",
        if *.seccomp { ", probably by this container's seccomp filter" } else { "" },
        if *.seccomp { "--security-opt seccomp=unconfined lifts it" } else { "a security module's log may say why" }
    )]
    Refused {
        /// A seccomp filter is set.
        seccomp: bool,
        /// What it answered.
        source: io::Error,
    },
    /// No bpf().
    #[error("this kernel (Linux {release}) was built without BPF (CONFIG_BPF_SYSCALL)")]
    NoBpf {
        /// What it calls itself.
        release: String,
    },
    /// Not one program could be attached.
    #[error("the kernel lets the kernel part look nowhere: {0}")]
    NothingAttached(String),
    /// Anything else.
    #[error("the kernel part cannot be loaded: {}", chain(.0.as_ref()))]
    Failed(Box<dyn Error + Send + Sync>),
}

/// The kernel part at work. Dropping it removes it from the kernel.
pub struct Live {
    losses: PerCpuArray<MapData, u64>,
    capabilities: Capabilities,
    names: Names,
    symbols: Symbols,
    /// The programs that are attached, which hold the kernel's counters; and all the rest.
    ebpf: Ebpf,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Puts it into the kernel. It takes some tenths of a second: the kernel checks every program. What it tells comes by the ring.
    pub fn load(settings: &Settings) -> Result<(Live, Ring), LoadError> {
        let surroundings = Surroundings::look(Path::new("/"));
        let object = OBJECT.ok_or(LoadError::Processor)?;
        refused_beforehand(&surroundings)?;

        let types = KernelTypes::of_this_kernel().map_err(LoadError::BadBtf)?;
        let btf = Btf::from_sys_fs().map_err(|error| LoadError::Failed(Box::new(error)))?;
        let names = Names::of(&types);
        let symbols = Symbols::of_this_kernel();

        let mut drop_reasons = [0u32; DROP_REASON_SLOTS];
        let told = names
            .drop_reasons
            .iter()
            .filter(|(_, name)| DROP_REASONS.contains(&name.as_str()));
        drop_reasons
            .iter_mut()
            .zip(told)
            .for_each(|(slot, (number, _))| *slot = *number);
        let listen_stop = symbols.range("inet_csk_listen_stop").unwrap_or(0..0);
        let tier = settings.tier as u32;
        let netns = settings.netns.unwrap_or(0);
        let stacks = u32::from(settings.stacks);
        let rings = rings(aya::util::nr_cpus().unwrap_or(1));

        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&btf))
            .override_global("tier", &tier, true)
            .override_global("only_netns", &netns, true)
            .override_global("with_stacks", &stacks, true)
            .override_global("rings", &rings, true)
            .override_global("only_ports", &settings.only_ports[..], true)
            .override_global("drop_reasons", &drop_reasons[..], true)
            .override_global("listen_stop_begin", &listen_stop.start, true)
            .override_global("listen_stop_end", &listen_stop.end, true);
        if settings.tier < Tier::Calls {
            // The kernel sets aside room for all of these at once.
            for map in ["readings", "strays"] {
                loader.map_max_entries(map, 1);
            }
        }
        let mut ebpf = loader.load(object).map_err(|error| explained(error, &surroundings))?;

        let hooks: Vec<_> = PROGRAMS
            .iter()
            .map(|program| Hook {
                name: program.target,
                state: attach(&mut ebpf, program, settings.tier, &types, &btf),
                lost: program.lost,
            })
            .collect();
        if !hooks.iter().any(|hook| hook.state == HookState::Attached) {
            let words = hooks.iter().find_map(|hook| match &hook.state {
                HookState::Refused(words) => Some(format!("{}: {words}", hook.name)),
                _ => None,
            });
            return Err(LoadError::NothingAttached(
                words.unwrap_or_else(|| "it has none of the tracepoints".to_owned()),
            ));
        }

        let map = |ebpf: &mut Ebpf, name: &str| ebpf.take_map(name).expect("watch.bpf.c has this map");
        let failed = |error: MapError| LoadError::Failed(Box::new(error));
        let ring = Ring {
            ring: RingBuf::try_from(map(&mut ebpf, "events")).map_err(failed)?,
            unreadable: 0,
        };
        let live = Live {
            losses: PerCpuArray::try_from(map(&mut ebpf, "losses")).map_err(failed)?,
            capabilities: Capabilities {
                hooks,
                notes: surroundings.notes(symbols.are_hidden()),
            },
            names,
            symbols,
            ebpf,
        };
        Ok((live, ring))
    }

    /// What it can tell here, and what not.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What was not told so far for want of room.
    pub fn losses(&self) -> Losses {
        Losses {
            events: self.sum(LOST_EVENT),
            nested: self.ebpf.programs().map(|(_, program)| nested(program)).sum(),
            stacks: self.sum(LOST_STACK),
        }
    }

    /// What was not told so far because nobody asked for it.
    pub fn passed_over(&self) -> PassedOver {
        PassedOver {
            resets_sent: self.sum(PASSED_SENT),
            resets_received: self.sum(PASSED_RECEIVED),
            failures: self.sum(PASSED_FAILED),
        }
    }

    /// Over all processors.
    fn sum(&self, which: u32) -> u64 {
        let values = self.losses.get(&which, 0);
        values.map_or(0, |values| values.iter().sum())
    }

    /// Names of reasons.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Names of the functions of a kernel stack, innermost first, without those that only belong to the watching. Empty where the
    /// kernel hides its addresses; [`Capabilities::notes`] says so then.
    pub fn kernel_functions(&self, addresses: &[u64]) -> Vec<String> {
        self.symbols.stack(addresses)
    }
}

/// Where the kernel part puts what it has to tell.
pub struct Ring {
    ring: RingBuf<MapData>,
    unreadable: u64,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Hands on all that is in the ring, without waiting; how many that were. Returns also when events come as fast as they are
    /// taken: after as many as the ring holds at most.
    pub fn take(&mut self, each: &mut dyn FnMut(Event)) -> usize {
        let (mut taken, mut bytes) = (0, 0);
        while bytes < RING
            && let Some(record) = self.ring.next()
        {
            bytes += record.len();
            match decode::event(&record) {
                Ok(event) => {
                    taken += 1;
                    each(event);
                }
                Err(_) => self.unreadable += 1,
            }
        }
        taken
    }

    /// Records that could not be read: never, but for a fault of ours.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Readable when there is something to [`take`](Ring::take).
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Rings of notes for so many processors: no ring is nobody's, for the notes of that would be missing from the others.
fn rings(processors: usize) -> u32 {
    let fitting = (processors.max(1) + 1).next_power_of_two() / 2;
    fitting.min(RINGS) as u32
}

/// What can be said without trying, because what the kernel would answer says less.
fn refused_beforehand(surroundings: &Surroundings) -> Result<(), LoadError> {
    let release = || surroundings.release.clone();
    if surroundings.gvisor {
        return Err(LoadError::GVisor);
    }
    if surroundings.version().is_some_and(|version| version < (5, 15)) {
        return Err(LoadError::TooOld { release: release() });
    }
    let lacking = surroundings.lacking();
    if !lacking.is_empty() {
        let unprivileged_disabled = surroundings.unprivileged_disabled;
        return Err(LoadError::NotPermitted {
            lacking,
            unprivileged_disabled,
        });
    }
    if !surroundings.is_first_userns {
        return Err(LoadError::UserNamespace);
    }
    if surroundings.confidential {
        return Err(LoadError::Lockdown);
    }
    if !surroundings.has_btf {
        return Err(LoadError::NoBtf { release: release() });
    }
    Ok(())
}

/// What the kernel's answer to the first calls means.
fn explained(error: EbpfError, surroundings: &Surroundings) -> LoadError {
    let Some(answer) = io_error(&error) else {
        return LoadError::Failed(Box::new(error));
    };
    match answer.raw_os_error() {
        Some(number) if number == nix::libc::EPERM || number == nix::libc::EACCES => {
            let source = io::Error::from_raw_os_error(number);
            LoadError::Refused {
                seccomp: surroundings.seccomp,
                source,
            }
        }
        Some(nix::libc::ENOSYS) => LoadError::NoBpf {
            release: surroundings.release.clone(),
        },
        _ => LoadError::Failed(Box::new(error)),
    }
}

/// The system's answer that is at the bottom of an error.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error with all that caused it.
fn chain(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = error.source();
    }
    text
}

fn attach(ebpf: &mut Ebpf, program: &Program, tier: Tier, types: &KernelTypes, btf: &Btf) -> HookState {
    if !program.is_wanted(tier, types) {
        return HookState::NotWanted;
    }
    if !program.has_target(types) {
        return HookState::Missing;
    }
    let loaded = ebpf.program_mut(program.name).expect("watch.bpf.c has this program");
    match attach_to(loaded, program, btf) {
        Ok(()) => HookState::Attached,
        Err(error) => HookState::Refused(refusal(&error)),
    }
}

fn attach_to(loaded: &mut programs::Program, program: &Program, btf: &Btf) -> Result<(), ProgramError> {
    match program.attach {
        Attach::Tracepoint => {
            let loaded: &mut programs::BtfTracePoint = loaded.try_into()?;
            loaded.load(program.target, btf)?;
            loaded.attach()?;
        }
        Attach::Entry => {
            let loaded: &mut programs::FEntry = loaded.try_into()?;
            loaded.load(program.target, btf)?;
            loaded.attach()?;
        }
        Attach::Exit => {
            let loaded: &mut programs::FExit = loaded.try_into()?;
            loaded.load(program.target, btf)?;
            loaded.attach()?;
        }
    }
    Ok(())
}

/// The kernel's words, short: its checker's log can have thousands of lines, of which the last that is no statistics says what it is.
fn refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            const STATISTICS: [&str; 4] = ["processed ", "stack depth ", "verification time ", "max_states"];
            let is_statistics = |line: &str| line.is_empty() || STATISTICS.iter().any(|words| line.starts_with(words));
            let words = log.lines().rev().find(|line| !is_statistics(line));
            match words {
                Some(words) => format!("{io_error}: {words}"),
                None => io_error.to_string(),
            }
        }
        error => chain(error),
    }
}

/// How often the kernel did not run a program because the processor was in it already.
fn nested(program: &programs::Program) -> u64 {
    let Ok(fd) = program.fd() else { return 0 };
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    field.and_then(|field| field.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_a_power_of_two_and_each_has_a_processor() {
        let of = [0, 1, 2, 3, 4, 5, 8, 64].map(rings);
        assert_eq!(of, [1, 1, 2, 2, 4, 4, 4, 4]);
    }
}
