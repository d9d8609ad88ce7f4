//! Which source this machine allows, why not a better one, and what would help: decided from facts that are data.
//!
//! | source | needs | gives |
//! |---|---|---|
//! | [`Bpf`](Source::Bpf) | CAP_BPF, CAP_PERFMON, BTF, Linux 5.15 | everything |
//! | [`Tracefs`](Source::Tracefs) | root's tracefs | reason, way, sums, and the process where it closed |
//! | [`SockDiag`](Source::SockDiag) | nothing; one network namespace | sums of what died |
//!
//! `perf_event_open` on the tracepoints (CAP_PERFMON alone) would stand between the second and the first. It is left out: who has CAP_PERFMON
//! without CAP_BPF and without root's tracefs is rare, its ids of tracepoints are read from tracefs again, it wants one ring a processor,
//! and that needs `mmap`, which no safe call offers.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::kernel::{Deaths, TraceUnavailable, find_tracefs};

/// Where testimonies may come from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The kernel part in BPF.
    Bpf,
    /// The kernel's trace as text: [`crate::tracefs`].
    Tracefs,
    /// Destroyed sockets: [`crate::sock_diag`].
    SockDiag,
}

impl Source {
    /// All, best first.
    pub const ALL: [Source; 3] = [Source::Bpf, Source::Tracefs, Source::SockDiag];

    /// As options and JSON name it.
    pub fn name(self) -> &'static str {
        match self {
            Source::Bpf => "bpf",
            Source::Tracefs => "tracefs",
            Source::SockDiag => "sock-diag",
        }
    }

    /// What is never known with it.
    pub fn unknown(self) -> &'static [&'static str] {
        match self {
            Source::Bpf => &[],
            Source::Tracefs => &crate::tracefs::UNKNOWN,
            Source::SockDiag => &crate::sock_diag::UNKNOWN,
        }
    }
}

/// Whether a source can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// Which.
    pub source: Source,
    /// Why not; empty when it can be had.
    pub obstacles: Vec<Obstacle>,
    /// What is missing although it can be had.
    pub limits: Vec<Limit>,
}

impl Availability {
    /// Whether it can be had.
    pub fn is_available(&self) -> bool {
        self.obstacles.is_empty()
    }
}

/// Why a source cannot be had. `Display` says it in words, [`Obstacle::help`] what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The caller lacks a capability.
    Capability(Capability),
    /// The caller has capabilities, but in a user namespace: such count for nothing here.
    UserNamespace,
    /// The kernel has no type information of itself.
    NoBtf,
    /// The kernel is too old: its release.
    OldKernel(String),
    /// Lockdown forbids to read the kernel's memory.
    Lockdown,
    /// gVisor is no Linux: its own network stack tells nothing.
    Gvisor,
    /// Tracefs is mounted nowhere.
    TracefsNotMounted,
    /// Tracefs is there for others only.
    TracefsNotPermitted(PathBuf),
    /// The kernel has no such trace event.
    NoTraceEvent(PathBuf),
    /// The kernel does not speak `sock_diag`: what it answered.
    NoSockDiag(String),
    /// It was tried, and this was the answer.
    Refused(String),
}

/// What is missing although a source can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The caller is in a process namespace of its own: processes outside have no names and no files.
    ProcessNamespace,
    /// The caller may not look into processes of others: no program and no line of code.
    OtherProcesses,
    /// One network namespace only: that of the caller.
    OneNetwork,
    /// The kernel gives no reasons for resets (before 6.10).
    NoReasons,
}

/// A capability that is asked for here (`linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Read any file.
    DacReadSearch = 2,
    /// Look into any process.
    SysPtrace = 19,
    /// The old one for everything.
    SysAdmin = 21,
    /// Trace the kernel.
    Perfmon = 38,
    /// Load BPF.
    Bpf = 39,
}

impl Capability {
    /// As the manual names it.
    pub fn name(self) -> &'static str {
        match self {
            Capability::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Capability::SysPtrace => "CAP_SYS_PTRACE",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::Perfmon => "CAP_PERFMON",
            Capability::Bpf => "CAP_BPF",
        }
    }

    /// Its bit in the kernel's masks.
    pub fn bit(self) -> u64 {
        1 << (self as u32)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Capability(capability) => write!(f, "{} is missing", capability.name()),
            Obstacle::UserNamespace => f.write_str("capabilities of a user namespace do not count"),
            Obstacle::NoBtf => f.write_str("the kernel has no BTF (/sys/kernel/btf/vmlinux)"),
            Obstacle::OldKernel(release) => write!(f, "Linux {release} is older than {OLDEST_NAME}"),
            Obstacle::Lockdown => f.write_str("the kernel is locked down (confidentiality)"),
            Obstacle::Gvisor => f.write_str("this is gVisor, not Linux"),
            Obstacle::TracefsNotMounted => f.write_str("tracefs is not mounted at /sys/kernel/tracing"),
            Obstacle::TracefsNotPermitted(path) => write!(f, "{} is root's alone", path.display()),
            Obstacle::NoTraceEvent(path) => {
                write!(f, "the kernel has no event tcp:tcp_send_reset ({})", path.display())
            }
            Obstacle::NoSockDiag(answer) => write!(f, "the kernel does not tell of sockets: {answer}"),
            Obstacle::Refused(answer) => f.write_str(answer),
        }
    }
}

impl Obstacle {
    /// What would help; `None` when nothing does but another machine or kernel.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Obstacle::Capability(Capability::Bpf | Capability::Perfmon) => {
                "run it as root, or once: sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep \
                 $(command -v bypeer); in a container: --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE --cap-add SYSLOG"
            }
            Obstacle::Capability(_) => "run it as root",
            Obstacle::UserNamespace => "run it on the host, not in a rootless container",
            Obstacle::NoBtf => {
                "a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have it; in a container: -v /sys/kernel/btf:/sys/kernel/btf:ro"
            }
            Obstacle::TracefsNotMounted => "as root: mount -t tracefs tracefs /sys/kernel/tracing",
            Obstacle::TracefsNotPermitted(_) => "run it as root",
            Obstacle::NoTraceEvent(_) => "Linux 4.16 or later with CONFIG_FTRACE=y",
            Obstacle::NoSockDiag(_) => "a kernel with CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG; modprobe tcp_diag",
            Obstacle::Gvisor => "run it on the host; the sandbox's own connections cannot be watched",
            Obstacle::OldKernel(_) | Obstacle::Lockdown | Obstacle::Refused(_) => return None,
        };
        Some(help.to_owned())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::ProcessNamespace => "processes outside this container stay without names (docker run --pid=host)",
            Limit::OtherProcesses => {
                "processes of other users stay without program and line: CAP_SYS_PTRACE is missing"
            }
            Limit::OneNetwork => "only connections of this network namespace are seen",
            Limit::NoReasons => "this kernel gives no reasons for resets: Linux 6.10 or later does",
        })
    }
}

/// Oldest kernel that the kernel part is made for.
const OLDEST: (u32, u32) = (5, 15);
const OLDEST_NAME: &str = "5.15";
/// First that gives reasons for resets.
const REASONS: (u32, u32) = (6, 10);

/// The machine and the caller, as the kernel's own files say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/self/status`.
    pub status: String,
    /// `/proc/self/uid_map`.
    pub uid_map: String,
    /// `/proc/version`.
    pub version: String,
    /// `/proc/sys/kernel/osrelease`.
    pub release: String,
    /// `/sys/kernel/security/lockdown`; empty without it.
    pub lockdown: String,
    /// Link of `/proc/self/ns/pid`.
    pub process_namespace: String,
    /// `/sys/kernel/btf/vmlinux` can be read.
    pub has_btf: bool,
    /// What became of looking for the trace.
    pub tracefs: Option<Obstacle>,
    /// What became of listening to sock_diag.
    pub sock_diag: Option<Obstacle>,
}

impl Facts {
    /// Those of this machine and the calling thread.
    pub fn read() -> Facts {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Facts {
            status: text("/proc/thread-self/status"),
            uid_map: text("/proc/self/uid_map"),
            version: text("/proc/version"),
            release: text("/proc/sys/kernel/osrelease"),
            lockdown: text("/sys/kernel/security/lockdown"),
            process_namespace: namespace.to_string_lossy().into_owned(),
            has_btf: fs::File::open("/sys/kernel/btf/vmlinux").is_ok(),
            tracefs: look_for_trace(),
            sock_diag: Deaths::open()
                .err()
                .map(|error| Obstacle::NoSockDiag(error.to_string())),
        }
    }

    /// Whether the caller has it, in the first user namespace.
    pub fn has(&self, capability: Capability) -> bool {
        let line = self.status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & capability.bit() != 0) && self.is_first_user_namespace()
    }

    fn is_first_user_namespace(&self) -> bool {
        // A kernel without user namespaces has no such file.
        self.uid_map.is_empty() || self.uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
    }

    fn is_root(&self) -> bool {
        let ids = self.status.lines().find_map(|line| line.strip_prefix("Uid:"));
        ids.and_then(|ids| ids.split_ascii_whitespace().nth(1)) == Some("0")
    }

    fn is_gvisor(&self) -> bool {
        // Its /proc/version names Linux 4.4.0; what follows is its own.
        self.version.contains("gVisor") || self.version.trim_end().ends_with("#1 SMP Sun Jan 10 15:06:54 PST 2016")
    }

    /// `none [integrity] confidentiality`: only the last forbids to read the kernel.
    fn is_locked_down(&self) -> bool {
        self.lockdown.contains("[confidentiality]")
    }

    fn is_older_than(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < wanted,
            _ => false,
        }
    }

    /// `PROC_PID_INIT_INO` of `linux/proc_ns.h` is the machine's own.
    fn is_first_process_namespace(&self) -> bool {
        self.process_namespace.is_empty() || self.process_namespace == "pid:[4026531836]"
    }
}

/// All sources, best first.
pub fn availabilities(facts: &Facts) -> Vec<Availability> {
    let of = |source| Availability {
        source,
        obstacles: match source {
            Source::Bpf => obstacles_to_bpf(facts),
            Source::Tracefs => obstacles_to_trace(facts),
            Source::SockDiag => facts.sock_diag.iter().cloned().collect(),
        },
        limits: limits(facts, source),
    };
    Source::ALL.map(of).into()
}

/// The best that can be had.
pub fn best(availabilities: &[Availability]) -> Option<Source> {
    let available = availabilities.iter().filter(|availability| availability.is_available());
    available.map(|availability| availability.source).min()
}

/// Notes that a source was tried and refused: the hook for loaders, which know better than any list of conditions.
pub fn refuse(availabilities: &mut [Availability], source: Source, answer: &str) {
    for availability in availabilities.iter_mut().filter(|of| of.source == source) {
        availability.obstacles.push(Obstacle::Refused(answer.to_owned()));
    }
}

fn obstacles_to_bpf(facts: &Facts) -> Vec<Obstacle> {
    if facts.is_gvisor() {
        return vec![Obstacle::Gvisor];
    }
    let mut obstacles = Vec::new();
    if facts.is_older_than(OLDEST) {
        obstacles.push(Obstacle::OldKernel(facts.release.trim().to_owned()));
    }
    if !facts.is_first_user_namespace() {
        obstacles.push(Obstacle::UserNamespace);
    } else if !facts.has(Capability::SysAdmin) {
        let missing = [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|one| !facts.has(*one));
        obstacles.extend(missing.map(Obstacle::Capability));
    }
    if facts.is_locked_down() {
        obstacles.push(Obstacle::Lockdown);
    }
    if !facts.has_btf {
        obstacles.push(Obstacle::NoBtf);
    }
    obstacles
}

fn obstacles_to_trace(facts: &Facts) -> Vec<Obstacle> {
    if facts.is_gvisor() {
        return vec![Obstacle::Gvisor];
    }
    let mut obstacles: Vec<Obstacle> = facts.tracefs.iter().cloned().collect();
    if facts.is_locked_down() {
        obstacles.push(Obstacle::Lockdown);
    }
    obstacles
}

fn limits(facts: &Facts, source: Source) -> Vec<Limit> {
    let mut limits = Vec::new();
    if source == Source::SockDiag {
        limits.push(Limit::OneNetwork);
        return limits;
    }
    if !facts.is_first_process_namespace() {
        limits.push(Limit::ProcessNamespace);
    }
    if !facts.has(Capability::SysPtrace) && (source == Source::Bpf || !facts.is_root()) {
        limits.push(Limit::OtherProcesses);
    }
    if facts.is_older_than(REASONS) {
        limits.push(Limit::NoReasons);
    }
    limits
}

/// `None` when an instance could be made.
fn look_for_trace() -> Option<Obstacle> {
    let tracefs = match find_tracefs() {
        Ok(path) => path,
        Err(TraceUnavailable::NotPermitted(path)) => return Some(Obstacle::TracefsNotPermitted(path)),
        Err(_) => return Some(Obstacle::TracefsNotMounted),
    };
    check_trace(&tracefs)
}

fn check_trace(tracefs: &Path) -> Option<Obstacle> {
    let event = tracefs.join("events/tcp/tcp_send_reset");
    let instances = tracefs.join("instances");
    let is_writable = rustix::fs::access(&instances, rustix::fs::Access::WRITE_OK).is_ok();
    match event.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Obstacle::NoTraceEvent(event)),
        Ok(_) if is_writable => None,
        _ => Some(Obstacle::TracefsNotPermitted(tracefs.to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An ordinary user on a current kernel.
    fn ordinary() -> Facts {
        Facts {
            status: "Name:\tbypeer\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n".into(),
            uid_map: "         0          0 4294967295\n".into(),
            version: "Linux version 6.12.38+deb13-amd64 (debian-kernel@lists.debian.org) …\n".into(),
            release: "6.12.38+deb13-amd64\n".into(),
            lockdown: "[none] integrity confidentiality\n".into(),
            process_namespace: "pid:[4026531836]".into(),
            has_btf: true,
            tracefs: Some(Obstacle::TracefsNotPermitted("/sys/kernel/tracing".into())),
            sock_diag: None,
        }
    }

    fn root() -> Facts {
        Facts {
            status: "Name:\tbypeer\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n".into(),
            tracefs: None,
            ..ordinary()
        }
    }

    fn with_capabilities(capabilities: &[Capability]) -> Facts {
        let mask = capabilities.iter().fold(0, |mask, one| mask | one.bit());
        Facts {
            status: format!("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t{mask:016x}\n"),
            ..ordinary()
        }
    }

    fn obstacles(facts: &Facts, source: Source) -> Vec<Obstacle> {
        let all = availabilities(facts);
        all.into_iter().find(|one| one.source == source).unwrap().obstacles
    }

    #[test]
    fn root_may_everything() {
        let all = availabilities(&root());
        assert!(all.iter().all(Availability::is_available), "{all:?}");
        assert_eq!(best(&all), Some(Source::Bpf));
        assert_eq!(all[0].limits, []);
        assert_eq!(all[2].limits, [Limit::OneNetwork]);
    }

    #[test]
    fn an_ordinary_user_hears_of_deaths_and_is_told_what_is_missing() {
        let all = availabilities(&ordinary());
        assert_eq!(best(&all), Some(Source::SockDiag));
        let missing = [Capability::Bpf, Capability::Perfmon].map(Obstacle::Capability);
        assert_eq!(all[0].obstacles, missing);
        assert_eq!(all[0].obstacles[0].to_string(), "CAP_BPF is missing");
        assert!(all[0].obstacles[0].help().unwrap().contains("setcap"));
        assert_eq!(all[1].obstacles[0].to_string(), "/sys/kernel/tracing is root's alone");
        assert!(Source::SockDiag.unknown()[0].starts_with("no process, no line of code"));
    }

    #[test]
    fn file_capabilities_are_enough() {
        let facts = with_capabilities(&[Capability::Bpf, Capability::Perfmon]);
        let all = availabilities(&facts);
        assert_eq!(best(&all), Some(Source::Bpf));
        assert_eq!(all[0].limits, [Limit::OtherProcesses]);
        let facts = with_capabilities(&[Capability::Bpf, Capability::Perfmon, Capability::SysPtrace]);
        assert_eq!(availabilities(&facts)[0].limits, []);
        let facts = with_capabilities(&[Capability::Perfmon]);
        assert_eq!(obstacles(&facts, Source::Bpf), [Obstacle::Capability(Capability::Bpf)]);
        assert_eq!(obstacles(&with_capabilities(&[Capability::SysAdmin]), Source::Bpf), []);
    }

    #[test]
    fn root_of_a_container_is_not_root() {
        let rootless = Facts {
            uid_map: "         0       1000          1\n         1     100000      65536\n".into(),
            tracefs: Some(Obstacle::TracefsNotPermitted("/sys/kernel/tracing".into())),
            process_namespace: "pid:[4026532301]".into(),
            ..root()
        };
        assert_eq!(obstacles(&rootless, Source::Bpf), [Obstacle::UserNamespace]);
        assert_eq!(best(&availabilities(&rootless)), Some(Source::SockDiag));
        // Docker's default capabilities.
        let docker = Facts {
            status: "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n".into(),
            process_namespace: "pid:[4026532301]".into(),
            tracefs: Some(Obstacle::TracefsNotMounted),
            ..root()
        };
        let all = availabilities(&docker);
        assert_eq!(
            all[0].obstacles,
            [Capability::Bpf, Capability::Perfmon].map(Obstacle::Capability)
        );
        assert_eq!(all[0].limits, [Limit::ProcessNamespace, Limit::OtherProcesses]);
        assert_eq!(best(&all), Some(Source::SockDiag));
    }

    #[test]
    fn kernels_that_do_not_allow_it() {
        let old = Facts {
            release: "5.10.0-28-amd64\n".into(),
            ..root()
        };
        assert_eq!(
            obstacles(&old, Source::Bpf),
            [Obstacle::OldKernel("5.10.0-28-amd64".into())]
        );
        let all = availabilities(&old);
        assert_eq!(
            (best(&all), &all[1].limits[..]),
            (Some(Source::Tracefs), &[Limit::NoReasons][..])
        );
        for (lockdown, is_free) in [
            ("none [integrity] confidentiality\n", true),
            ("none integrity [confidentiality]\n", false),
            ("", true),
        ] {
            let facts = Facts {
                lockdown: lockdown.into(),
                ..root()
            };
            let all = availabilities(&facts);
            assert_eq!(all[0].is_available() && all[1].is_available(), is_free, "{lockdown}");
            assert!(all[2].is_available());
        }
        let no_btf = Facts {
            has_btf: false,
            ..root()
        };
        assert_eq!(obstacles(&no_btf, Source::Bpf), [Obstacle::NoBtf]);
        assert_eq!(best(&availabilities(&no_btf)), Some(Source::Tracefs));
        for release in ["", "6", "custom", "6.x"] {
            let facts = Facts {
                release: release.into(),
                ..root()
            };
            assert_eq!(obstacles(&facts, Source::Bpf), [], "{release}");
        }
    }

    #[test]
    fn gvisor_is_no_linux() {
        let gvisor = Facts {
            version: "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n".into(),
            sock_diag: Some(Obstacle::NoSockDiag("Protocol not supported (os error 93)".into())),
            ..root()
        };
        let all = availabilities(&gvisor);
        assert_eq!((best(&all), &all[0].obstacles[..]), (None, &[Obstacle::Gvisor][..]));
    }

    #[test]
    fn a_loader_has_the_last_word() {
        let mut all = availabilities(&root());
        refuse(&mut all, Source::Bpf, "the verifier refused it");
        assert_eq!(best(&all), Some(Source::Tracefs));
        assert_eq!(all[0].obstacles[0].to_string(), "the verifier refused it");
    }

    #[test]
    fn this_machine_has_an_answer() {
        let facts = Facts::read();
        assert!(
            facts.status.contains("CapEff:") && !facts.release.is_empty(),
            "{facts:?}"
        );
        assert_eq!(facts.sock_diag, None);
        assert!(best(&availabilities(&facts)).is_some());
    }

    #[test]
    fn what_a_trace_lacks() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(check_trace(folder.path()), Some(Obstacle::NoTraceEvent(_))));
        fs::create_dir_all(folder.path().join("events/tcp/tcp_send_reset")).unwrap();
        assert!(matches!(
            check_trace(folder.path()),
            Some(Obstacle::TracefsNotPermitted(_))
        ));
        fs::create_dir(folder.path().join("instances")).unwrap();
        assert_eq!(check_trace(folder.path()), None);
    }
}
