//! Whose a socket is, what that process is, and what it was doing.

mod call;
mod cgroup;
mod descriptors;
mod namespace;
mod process;
mod signals;

use bypeer_diagnose::testimony::{Actor, Known};

pub use self::call::act;
pub use self::signals::Signal;

use self::descriptors::Descriptors;
use self::process::{Process, Processes};
use self::signals::Signals;
use crate::event::{Event, Task};

/// Finds the processes that own sockets, and remembers processes when they are gone.
#[derive(Debug)]
pub struct Owners {
    descriptors: Descriptors,
    processes: Processes,
    signals: Signals,
    /// `/proc` knows processes by the ids of events.
    proc_has_ids_of_events: bool,
}

impl Default for Owners {
    fn default() -> Owners {
        Owners::new()
    }
}

impl Owners {
    /// Knows nobody yet.
    pub fn new() -> Owners {
        Owners {
            descriptors: Descriptors::default(),
            processes: Processes::new(),
            signals: Signals::new(),
            proc_has_ids_of_events: namespace::proc_is_of_the_first_namespace(),
        }
    }

    /// Whether `/proc` is of the first process namespace, as the ids in events are. Elsewhere (in a container) processes of events are known
    /// by what the kernel says of them alone, and their stacks cannot be read.
    pub fn sees_processes_of_events(&self) -> bool {
        self.proc_has_ids_of_events
    }

    /// The processes that hold a socket, by `/proc`'s ids, in order; several after a fork, though those that came to hold it since it was
    /// last looked for may be missing.
    ///
    /// None for inode 0, when nobody holds it any more, or when those who do may not be asked. To ask all processes is costly: it is done
    /// once in 100 ms at most, and in a tenth of the time. [`Owners::unanswered`] counts how often that left a question open.
    pub fn of_inode(&mut self, inode: u64) -> Vec<u32> {
        self.descriptors.of(inode)
    }

    /// How often [`Owners::of_inode`] found nobody without having asked everybody.
    pub fn unanswered(&self) -> u64 {
        self.descriptors.unanswered()
    }

    /// The process of a task, as it is or was: what it did is left open.
    pub fn process(&mut self, task: &Task) -> Actor {
        let process = if self.proc_has_ids_of_events {
            self.processes.of(task.pid, Some(task.started), &task.name)
        } else {
            None
        };
        Actor {
            pid: task.pid,
            tid: task.tid,
            uid: task.uid,
            name: task.name.clone(),
            ..described(process.unwrap_or_default())
        }
    }

    /// Takes note that a process was told to end ([`Kind::Signalled`](crate::event::Kind::Signalled)).
    pub fn signalled(&mut self, event: &Event) {
        self.signals.note(event);
    }

    /// The first signal that told the process of this task to end, where there was one.
    pub fn signal(&mut self, task: &Task) -> Option<Signal> {
        self.signals.of(task.pid, task.started)
    }

    /// Takes note of a task's process while it lives, so that it is known after it ended.
    pub fn remember(&mut self, task: &Task) {
        if self.proc_has_ids_of_events {
            self.processes.of(task.pid, Some(task.started), &task.name);
        }
    }

    /// The process that has an id of `/proc`'s now; `None` when there is none.
    pub fn of_pid(&mut self, pid: u32) -> Option<Actor> {
        let process = self.processes.of(pid, None, "")?;
        Some(Actor {
            pid,
            tid: pid,
            known: Known::Descriptor,
            ..described(process)
        })
    }
}

fn described(process: Process) -> Actor {
    Actor {
        uid: process.uid,
        name: process.name,
        program: process.program,
        command: process.command,
        cgroup: process.cgroup,
        container: process.belonging.container,
        pod: process.belonging.pod,
        ..Actor::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_kept_where_proc_knows_nobody() {
        let mut owners = Owners::new();
        let task = Task {
            pid: u32::MAX,
            tid: 7,
            uid: 33,
            name: "nginx".to_owned(),
            ..Task::default()
        };
        let expected = Actor {
            pid: u32::MAX,
            tid: 7,
            uid: 33,
            name: "nginx".to_owned(),
            ..Actor::default()
        };
        assert_eq!(owners.process(&task), expected);
        // With ids of another namespace somebody else would be named.
        owners.proc_has_ids_of_events = false;
        let own = Task {
            pid: std::process::id(),
            started: u64::MAX,
            ..task
        };
        assert_eq!(owners.process(&own).program, None);
        assert_eq!(owners.of_pid(u32::MAX), None);
        let found = owners.of_pid(std::process::id()).unwrap();
        assert_eq!(found.program.as_deref(), std::env::current_exe().unwrap().to_str());
        assert_eq!(found.known, Known::Descriptor);
    }
}
