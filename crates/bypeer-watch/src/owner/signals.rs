//! Which processes were told to end, and by whom.

use crate::event::{Event, Kind};
use crate::recent::Recent;

/// Processes that are remembered.
const MOST: usize = 4096;

/// A signal that asks or forces a process to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number: 15, SIGTERM; 2, 3, 9.
    pub number: u8,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// Id and name of the process that sent it; `None` when the kernel did, for a terminal or for want of memory.
    pub by: Option<(u32, String)>,
}

/// The first such signal of each process: those that follow only insist.
#[derive(Debug)]
pub(super) struct Signals {
    /// By id and start of the process: ids are used again.
    told: Recent<(u32, u64), Signal>,
}

impl Signals {
    pub(super) fn new() -> Signals {
        Signals {
            told: Recent::new(MOST, usize::MAX),
        }
    }

    /// Takes note of [`Kind::Signalled`].
    pub(super) fn note(&mut self, event: &Event) {
        let number = event.reason.and_then(|reason| u8::try_from(reason).ok());
        let (Some(number), Ok(pid), Kind::Signalled) = (number, u32::try_from(event.inode), event.kind) else {
            return;
        };
        let key = (pid, event.cookie);
        if self.told.get(&key).is_some() {
            return;
        }
        let sender = &event.task;
        let signal = Signal {
            number,
            at: event.at,
            by: (event.state == 0).then(|| (sender.pid, sender.name.clone())),
        };
        self.told.insert(key, signal, 1);
    }

    /// What the process with this id, that started so many nanoseconds after boot, was told.
    pub(super) fn of(&mut self, pid: u32, started: u64) -> Option<Signal> {
        self.told.get(&(pid, started)).cloned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::Task;

    fn signalled(pid: u64, started: u64, number: u32, at: u64, by_kernel: bool) -> Event {
        Event {
            kind: Kind::Signalled,
            inode: pid,
            cookie: started,
            reason: Some(number),
            state: u32::from(by_kernel),
            at,
            task: Task {
                pid: 1,
                name: "systemd".to_owned(),
                ..Task::default()
            },
            ..Event::default()
        }
    }

    #[test]
    fn the_first_counts_and_ids_are_used_again() {
        let mut signals = Signals::new();
        signals.note(&signalled(7, 100, 15, 1000, false));
        signals.note(&signalled(7, 100, 9, 2000, false));
        signals.note(&signalled(8, 100, 2, 3000, true));
        let told = signals.of(7, 100).unwrap();
        assert_eq!(
            (told.number, told.at, told.by),
            (15, 1000, Some((1, "systemd".to_owned())))
        );
        assert_eq!(signals.of(8, 100).unwrap().by, None);
        assert_eq!(signals.of(7, 101), None);
    }

    #[test]
    fn memory_has_an_end() {
        let mut signals = Signals::new();
        for pid in 0..10_000 {
            signals.note(&signalled(pid, 1, 15, pid, false));
        }
        assert_eq!(signals.of(0, 1), None);
        assert!(signals.of(9_999, 1).is_some());
    }
}
