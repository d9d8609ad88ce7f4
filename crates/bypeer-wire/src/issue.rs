use std::collections::BTreeMap;

/// Something in the input that could not be used, or not fully. Each kind is counted and shown, never dropped in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Issue {
    /// The capture ends inside a record.
    TornRecord,
    /// A record's lengths contradict each other; reading went on at the next plausible record.
    CorruptRecord,
    /// A pcapng block of a type that is not known; skipped.
    UnknownBlock,
    /// A link type that bypeer does not decode.
    UnknownLinkType,
    /// Shorter than its own headers say: cut by the snap length before the TCP header was complete.
    HeaderCut,
    /// Header fields that contradict each other or the packet's size.
    Malformed,
    /// A fragment whose rest never came.
    FragmentIncomplete,
    /// Fragments beyond the memory bound.
    FragmentsDropped,
    /// Tunnels nested deeper than the bound.
    TunnelTooDeep,
    /// IP, but neither TCP nor an ICMP error about TCP.
    NotTcp,
    /// Not IP at all (ARP, LLDP, ...).
    NotIp,
    /// The same packet captured twice (`-i any`, a mirror port); counted once.
    Duplicate,
    /// Encrypted on the IP level (ESP), unreadable.
    Encrypted,
    /// Connections put out of the table because there were too many at once.
    Evicted,
    /// A packet older than one before it by more than reordering explains.
    TimeWentBack,
}

impl Issue {
    /// One line, plural, for a summary: "packets of a protocol other than TCP".
    pub fn what(self) -> &'static str {
        match self {
            Issue::TornRecord => "records torn off at the capture's end",
            Issue::CorruptRecord => "corrupt records skipped",
            Issue::UnknownBlock => "pcapng blocks of an unknown type skipped",
            Issue::UnknownLinkType => "packets of a link type that bypeer does not decode",
            Issue::HeaderCut => "packets cut before the end of their TCP header",
            Issue::Malformed => "malformed packets",
            Issue::FragmentIncomplete => "IP fragments whose rest never came",
            Issue::FragmentsDropped => "IP fragments beyond the memory bound",
            Issue::TunnelTooDeep => "packets in tunnels nested too deep",
            Issue::NotTcp => "packets of a protocol other than TCP",
            Issue::NotIp => "packets that are not IP",
            Issue::Duplicate => "duplicates of a packet already seen",
            Issue::Encrypted => "packets encrypted on the IP level",
            Issue::Evicted => "connections put out of the table for lack of room",
            Issue::TimeWentBack => "packets older than the one before them",
        }
    }
}

/// How often each [`Issue`] occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issues(BTreeMap<Issue, u64>);

impl Issues {
    /// Counts one.
    pub fn note(&mut self, issue: Issue) {
        *self.0.entry(issue).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Issues) {
        for (issue, count) in &other.0 {
            *self.0.entry(*issue).or_default() += count;
        }
    }

    /// The counts that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Issue, u64)> + '_ {
        self.0.iter().map(|(issue, count)| (*issue, *count))
    }
}
