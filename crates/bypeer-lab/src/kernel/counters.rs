use std::collections::BTreeMap;
use std::{fs, io};

/// Of the calling thread, so that a thread which entered a namespace reads that namespace's; `/proc/net` would be the
/// process's.
const FILES: [&str; 2] = ["/proc/thread-self/net/netstat", "/proc/thread-self/net/snmp"];

/// The counters of TCP and IP in one network namespace (SNMP's, RFC 4022, and Linux's own), by their names in the kernel:
/// `TCPAbortOnClose`, `ListenOverflows`, `OutRsts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Those of the calling thread's network namespace, as of now.
    pub fn read() -> io::Result<Counters> {
        let mut counters = Counters::default();
        for file in FILES {
            let text =
                fs::read_to_string(file).map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
            counters.parse(&text);
        }
        Ok(counters)
    }

    /// The value of one; `None` when this kernel has none of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// What was counted since `earlier`, without what did not change. Gauges (`CurrEstab`) that fell are left out too.
    pub fn since(&self, earlier: &Counters) -> BTreeMap<String, u64> {
        self.0
            .iter()
            .filter_map(|(name, value)| {
                let before = earlier.get(name).unwrap_or(0);
                (*value > before).then(|| (name.clone(), value - before))
            })
            .collect()
    }

    /// Lines come in pairs with the same beginning: names, then values. Only TCP's and IP's are taken, where the names are
    /// of TCP: `Ip:` and `Udp:` have names in common.
    fn parse(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (Some((group, names)), Some((same, values))) = (names.split_once(':'), values.split_once(':')) else {
                continue;
            };
            if group != same || !matches!(group, "Tcp" | "TcpExt") {
                continue;
            }
            for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                // MaxConn is -1: no counter.
                if let Ok(value) = value.parse() {
                    self.0.insert(name.to_owned(), value);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EARLIER: &str = "TcpExt: SyncookiesSent TCPAbortOnData TCPAbortOnClose\nTcpExt: 0 3 7\n\
        IpExt: InNoRoutes OutRsts\nIpExt: 5 6\n\
        Tcp: MaxConn CurrEstab OutRsts\nTcp: -1 4 9\n";
    const LATER: &str = "TcpExt: SyncookiesSent TCPAbortOnData TCPAbortOnClose TCPNew\nTcpExt: 0 3 8 2\n\
        Tcp: MaxConn CurrEstab OutRsts\nTcp: -1 3 11\n";

    fn parsed(text: &str) -> Counters {
        let mut counters = Counters::default();
        counters.parse(text);
        counters
    }

    #[test]
    fn only_what_changed() {
        let (earlier, later) = (parsed(EARLIER), parsed(LATER));
        let since = later.since(&earlier);
        let expected = [("OutRsts", 2), ("TCPAbortOnClose", 1), ("TCPNew", 2)];
        assert_eq!(since, expected.map(|(name, count)| (name.to_owned(), count)).into());
        assert!(earlier.since(&earlier).is_empty());
        assert_eq!(earlier.get("InNoRoutes"), None);
        assert_eq!(earlier.get("MaxConn"), None);
    }

    #[test]
    fn damage_gives_what_was_understood() {
        for end in 0..LATER.len() {
            let counters = parsed(&LATER[..end]);
            assert!(counters.0.len() <= parsed(LATER).0.len());
        }
        assert_eq!(parsed("Tcp: A B\nUdp: 1 2\nTcp: C\nTcp: 3\n").0.len(), 1);
    }

    #[test]
    fn this_kernel_has_those_that_scenarios_name() {
        let counters = Counters::read().unwrap();
        for name in [
            "TCPAbortOnClose",
            "TCPAbortOnData",
            "TCPAbortOnLinger",
            "TCPAbortOnTimeout",
            "TCPReqQFullDrop",
            "TCPTimeouts",
            "ListenOverflows",
            "ListenDrops",
            "OutRsts",
            "EstabResets",
            "AttemptFails",
        ] {
            assert!(counters.get(name).is_some(), "{name}");
        }
    }
}
